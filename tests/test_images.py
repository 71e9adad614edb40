"""Convolution and pooling compiled: every pass against the program before it, and against eager."""

import numpy as np
import pytest
from side_by_side import batches, side_by_side, with_gradients

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program.emit.emitter import emit
from tinygrad_ce.program.listing.spelling import with_windows_spelt_out
from tinygrad_ce.program.ops import run
from tinygrad_ce.program.passes.exact import EXACT, simplified
from tinygrad_ce.program.passes.layout import (
    with_best_layouts,
    with_relus_after_pools,
    with_relus_recognised,
)
from tinygrad_ce.program.passes.order import optimised


class Both(nn.Module):
    """Two branches that are added and put side by side, and a pool of what both see."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 1)

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        h = tg.cat([a + b, F.relu(a), F.max_pool2d(b, 3, 1, 1)], 1)
        return h.mean((2, 3)) + h[:, :, 1:-1, ::2].amax((2, 3))


def flat(*layers):
    return nn.Sequential(*layers, nn.Flatten())


def conv(inputs, outputs, size, *after, **ways):
    return [nn.Conv2d(inputs, outputs, size, **ways), *after]


CONV = {
    "lenet": lambda: flat(
        *conv(2, 4, 3, nn.ReLU(), nn.MaxPool2d(2)), *conv(4, 5, 3, nn.ReLU(), nn.MaxPool2d(2))
    ),
    "padding": lambda: flat(*conv(2, 3, 3, padding=1)),
    "stride": lambda: flat(*conv(2, 3, 3, stride=2)),
    "dilation": lambda: flat(*conv(2, 3, 3, dilation=2)),
    "all of them": lambda: flat(
        *conv(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 3))
    ),
    "groups": lambda: flat(*conv(2, 4, 3, groups=2)),
    "no bias": lambda: flat(*conv(2, 3, 3, nn.Tanh(), bias=False), *conv(3, 3, 2, bias=False)),
    "one by one": lambda: flat(*conv(2, 3, 1)),
    "deep": lambda: flat(
        *conv(2, 3, 3, nn.ReLU()), *conv(3, 4, 3, nn.ReLU(), padding=1), *conv(4, 2, 3)
    ),
    "overlapping pool": lambda: flat(*conv(2, 3, 3, nn.ReLU(), nn.MaxPool2d(3, 2))),
    "padded pool": lambda: flat(*conv(2, 3, 3, nn.MaxPool2d(3, 2, 1), padding=1), *conv(3, 2, 2)),
    "average": lambda: flat(*conv(2, 3, 3, nn.AvgPool2d(2)), *conv(3, 2, 2)),
    "overlapping average": lambda: flat(*conv(2, 3, 3, nn.AvgPool2d(3, 2, 1)), *conv(3, 2, 2)),
    "batch norm": lambda: flat(
        *conv(2, 3, 3, nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), bias=False)
    ),
    "branches": Both,
    "no convolution": lambda: flat(nn.AvgPool2d(3, 1), nn.MaxPool2d(2)),
    "pool alone": lambda: flat(nn.MaxPool2d(2), *conv(2, 3, 2)),
}


class Net(nn.Module):
    """Layers for images, then a linear one."""

    def __init__(self, name, side=10):
        super().__init__()
        tg.manual_seed(3)
        self.images = CONV[name]()
        with tg.no_grad():
            features = self.images(tg.zeros(2, 2, side, side)).shape[1]
        self.out = nn.Linear(features, 3)

    def forward(self, x):
        return self.out(self.images(x))


def training(net, dtype, momentum=0.0):
    if dtype == np.float64:
        net.double()
    optimiser = tg.optim.SGD(net.parameters(), lr=0.05, momentum=momentum)

    def step(x, ids):
        loss = F.cross_entropy(net(x), ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    return step


def batch(stream, n, dtype, side=10):
    x = stream.standard_normal((n, 2, side, side)).astype(dtype)
    return tg.tensor(x), tg.tensor(stream.integers(0, 3, n))


def array_of(x):
    return x.detach().numpy() if isinstance(x, tg.Tensor) else np.asarray(x)


def assert_close(a, b):
    a, b = array_of(a), array_of(b)
    if b.dtype.kind != "f":
        np.testing.assert_array_equal(a, b)
        return
    bound = 1e-12 if b.dtype == np.float64 else 1e-5
    assert np.abs(a - b).max(initial=0.0) <= bound * np.abs(b).max(initial=0.0)


def arrays(net):
    return [array_of(t).copy() for t in net.state_dict().values()]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CONV)
def test_twenty_compiled_steps_are_twenty_eager_ones(name, dtype):
    one, two = Net(name), Net(name)
    eager, compiled = training(one, dtype), tg.compile(training(two, dtype))
    stream = np.random.default_rng(1)
    for _ in range(20):
        x, ids = batch(stream, 6, dtype)
        assert_close(compiled(x, ids), eager(x, ids))
    for a, b in zip(arrays(two), arrays(one)):
        assert_close(a, b)
    for p, q in zip(two.parameters(), one.parameters()):
        assert_close(p.grad, q.grad)


@pytest.mark.parametrize("n", [1, 2, 5, 64])
def test_batches_of_any_size(n):
    one, two = Net("lenet"), Net("lenet")
    eager, compiled = training(one, np.float64, 0.9), tg.compile(training(two, np.float64, 0.9))
    stream = np.random.default_rng(2)
    for _ in range(4):
        x, ids = batch(stream, n, np.float64)
        assert_close(compiled(x, ids), eager(x, ids))
    for a, b in zip(arrays(two), arrays(one)):
        assert_close(a, b)


# --- each pass against the program before it ---------------------------------------------------


def program_of(name, n=5, dtype=np.float64):
    net = Net(name)
    step = training(net, dtype)
    x, ids = batch(np.random.default_rng(4), n, dtype)
    program = simplified(tg.trace(step, x, ids), EXACT)
    return simplified(with_relus_recognised(program)), [x.numpy(), ids.numpy()]


def values_of(program, inputs):
    values = {**program.constants, **dict(zip(program.inputs, inputs))}
    values.update((s.before, np.array(s.node.array)) for s in program.states)
    values.update((s.var, s.group[s.key]) for s in program.settings)
    run(program.steps, values)
    return [values[x] for x in program.roots()]


def ops(program):
    return [step.op for step in program.steps]


@pytest.mark.parametrize("name", CONV)
def test_windows_spelt_out_are_the_same_to_the_last_bit(name):
    before, inputs = program_of(name)
    after = with_windows_spelt_out(before, True)
    assert not {"im2col", "max_pool"} & set(ops(after))
    for a, b in zip(values_of(after, inputs), values_of(before, inputs)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["lenet", "overlapping pool", "batch norm"])
def test_relus_go_after_pools_and_change_no_bit(name):
    before, inputs = program_of(name)
    after = with_relus_after_pools(before)
    sizes = [[s.out.size for s in p.steps if s.op == "relu"] for p in (after, before)]
    assert all(a < b for a, b in zip(*sizes))
    assert len(sizes[0]) == len(sizes[1]) == ops(after).count("max_pool")
    for a, b in zip(values_of(after, inputs), values_of(before, inputs)):
        np.testing.assert_array_equal(a, b)


NATURAL = ("pool alone", "no convolution")  # what pools an image that comes from outside


@pytest.mark.parametrize("name", CONV)
def test_in_other_layouts_the_values_are_close(name):
    before, inputs = program_of(name)
    after = simplified(with_best_layouts(before))
    pools = [s for s in after.steps if "axes" in s.attrs and "size" in s.attrs]
    assert all(s.attrs["axes"] == (1, 2) for s in pools) or name in NATURAL
    for a, b in zip(values_of(after, inputs), values_of(before, inputs)):
        assert_close(a, b)


def test_a_program_without_images_is_left_alone():
    program = tg.trace(lambda x: (x * x).sum(), tg.ones(2, 3, 4, 4))
    assert with_best_layouts(program) is program


def test_the_lenet_moves_no_image_but_its_input():
    program = optimised(program_of("lenet")[0])
    moved = [s for s in program.steps if s.op == "transpose" and len(s.out.shape) > 2]
    assert [s.operands[0] for s in moved] == [program.inputs[0]]


def test_the_lenet_makes_no_array_in_a_run():
    source = emit(optimised(program_of("lenet")[0])).source
    body = source[source.index("def run") :]
    for word in ("columns", "max_pool", "relu_mask", "relu_grad", "add_columns", "empty", "zeros"):
        assert word not in body


# --- what is not known here ---------------------------------------------------------------------


def check(function, *inputs):
    """Compiled and eager give the same value and the same gradients of all inputs."""

    results = []
    for wrap in (tg.compile, lambda f: f):
        xs = [x.detach().clone().requires_grad_() for x in inputs]
        optimiser = tg.optim.SGD(xs, lr=0.01)

        @wrap
        def step(xs=xs, optimiser=optimiser):
            y = function(*xs)
            optimiser.zero_grad()
            (y * y).mean().backward()
            optimiser.step()
            return y.detach() * 1.0

        results.append([*(step() for _ in range(3)), *xs, *(x.grad for x in xs)])
    for a, b in zip(*results):
        assert_close(a, b)


def images(*shape, seed=7):
    return tg.tensor(np.random.default_rng(seed).standard_normal(shape))


def rows(y):
    return y.permute(0, 2, 3, 1).reshape(-1, y.shape[1])


@pytest.mark.parametrize(
    "function",
    [
        lambda y: y.permute(3, 1, 0, 2) * 2.0,
        lambda y: y.reshape(-1).cumsum(0),
        lambda y: y[0] + y[1],
        lambda y: y[..., None] * y[:, :, :, :, None],
        lambda y: F.softmax(y, 1),
        lambda y: F.softmax(y.flatten(1), 1),
        lambda y: rows(y) @ images(y.shape[1], 5),
        lambda y: rows(y).sum(1) * rows(y).amax(1),
        lambda y: F.softmax(rows(y), 1) * rows(y).mean(0),
        lambda y: rows(y).T @ rows(y * 2.0),
        lambda y: rows(y) * rows(y).T.reshape(-1, y.shape[1]) + rows(y)[0],
        lambda y: (y.mean((0, 2, 3), keepdim=True) * y).amax(0),
        lambda y: y * images(y.shape[0], 1, 1, 1) + images(y.shape[1], 1, 1) - images(y.shape[3]),
        lambda y: y.reshape(y.shape[0], -1, 2).sum(2),
        lambda y: y.mean(),
        lambda y: y * (1.0 + y.argmax()),
        lambda y: y[0:1, None, 0] * y[1:2, None, 1],
        lambda y: y.sum((0, 1)),
        lambda y: y.sum((2, 3), keepdim=True) * y.sum(1, keepdim=True),
        lambda y: tg.where(y > 0.0, y, y * 0.1),
        lambda y: tg.stack([y, y * 2.0]),
        lambda y: tg.cat([y.flatten(1), y.sum((2, 3))], 1),
        lambda y: tg.cat([y, images(*y.shape)], 0)[1:, ::2],
    ],
)  # fmt: skip
def test_any_use_of_an_image_is_right(function):
    check(lambda x, w: function(F.conv2d(x, w)), images(4, 2, 6, 6), images(3, 2, 3, 3))
    check(lambda x: function(F.max_pool2d(x, 2)), images(4, 3, 8, 8))


def test_the_result_of_a_layer_is_in_its_own_order():
    x, w = images(3, 2, 5, 4), images(4, 2, 2, 2)
    y = tg.compile(lambda x, w: F.conv2d(x, w) * 1.0)(x, w)
    np.testing.assert_allclose(y.numpy(), F.conv2d(x, w).numpy(), atol=1e-12)
    assert y.shape == (3, 4, 4, 3)


# --- pooling ------------------------------------------------------------------------------------

WAYS = [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((2, 3), (3, 2)), ((1, 1), (1, 1)), ((3, 2), (1, 1))]


@pytest.mark.parametrize(
    "special", [(), (0.0, -0.0), (np.inf, -np.inf), (np.nan,), (np.nan, np.inf)]
)
@pytest.mark.parametrize(("size", "stride"), WAYS)
def test_ties_and_nans_get_the_gradient_that_eager_code_gives(size, stride, special):
    stream = np.random.default_rng(11)
    v = stream.integers(-1, 2, (8, 2, 7, 7)).astype(np.float64)
    for value in special:
        v[stream.random(v.shape) < 0.2] = value
    results = []
    for wrap in (tg.compile, lambda f: f):
        x = tg.tensor(v, requires_grad=True)
        y = F.max_pool2d(x.detach(), size, stride)
        g = tg.tensor(np.random.default_rng(12).integers(1, 9, y.shape).astype(np.float64))

        optimiser = tg.optim.SGD([x], lr=0.0)

        @wrap
        def step(g, x=x, optimiser=optimiser):
            y = F.max_pool2d(x, size, stride)
            optimiser.zero_grad()
            y.backward(g)
            optimiser.step()
            return y.detach() * 1.0

        results.append(([array_of(step(g)) for _ in range(3)], array_of(x.grad)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize(("size", "stride"), WAYS)
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_the_gradient_goes_to_the_first_of_the_largest(size, stride, value):
    x = tg.tensor(np.full((1, 1, 7, 7), value), requires_grad=True)
    y = F.max_pool2d(x, size, stride)
    y.sum().backward()
    wanted = np.zeros((1, 1, 7, 7))
    wanted[:, :, : (y.shape[2] - 1) * stride[0] + 1 : stride[0],
           : (y.shape[3] - 1) * stride[1] + 1 : stride[1]] = 1  # fmt: skip
    np.testing.assert_array_equal(x.grad.numpy(), wanted)


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (3, 0, 1, 2), (2, 3, 1, 0)])
@pytest.mark.parametrize(("size", "stride"), WAYS)
def test_how_an_image_lies_in_memory_changes_nothing(size, stride, axes):
    """Of the image, and of the gradient that arrives."""
    v = np.random.default_rng(3).integers(-1, 2, (7, 7, 7, 7)).astype(float)
    laid = np.ascontiguousarray(v.transpose(axes)).transpose(np.argsort(axes))
    results = []
    for array in (v, laid):
        x = tg.as_tensor(array).requires_grad_()
        y = F.max_pool2d(x, size, stride) * 2.0 + F.avg_pool2d(x, size, stride)
        y = y + F.conv2d(x, tg.ones(7, 7, *size, dtype=x.dtype), stride=stride)
        g = np.random.default_rng(4).integers(1, 9, y.shape).astype(float)
        y.backward(tg.as_tensor(np.asarray(g, order="C" if array is v else "F")))
        results.append((y.detach().numpy(), x.grad.numpy()))
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_what_a_pool_returns_lies_in_order():
    y = F.max_pool2d(F.conv2d(images(3, 2, 8, 8), images(4, 2, 3, 3)), 2)
    assert y.view(3, -1).shape == (3, 36)
    assert F.avg_pool2d(F.conv2d(images(3, 2, 8, 8), images(4, 2, 3, 3)), 2).view(-1).ndim == 1


@pytest.mark.parametrize("bias", [True, False])
def test_one_number_is_the_gradient_of_all_pixels(bias):
    conv = nn.Conv2d(2, 3, 3, padding=1, bias=bias).double()

    def step(x):
        conv.zero_grad()
        y = F.max_pool2d(conv(x).relu(), 2)
        y.sum().backward()
        return y.detach() * 1.0

    compiled = tg.compile(step)
    for i in range(3):
        x = images(2, 2, 6, 6, seed=i)
        wanted = [step(x), *(p.grad.clone() for p in conv.parameters())]
        found = [compiled(x), *(p.grad for p in conv.parameters())]
        for a, b in zip(found, wanted):
            assert_close(a, b)


@pytest.mark.parametrize("shape", [(1, 3, 8, 5), (3, 1, 8, 7), (2, 3, 4, 5)])
def test_rows_of_pixels_stay_when_the_image_is_written_over(shape):
    def function(x, w):
        y = F.leaky_relu(rows((w * 0.3 + x) * w - 1.0))
        z = F.softmax(y, 0)
        return (z * y).sum() + y.amax(0, keepdim=True) - y.relu()

    check(function, images(*shape), images(*shape[1:], seed=8))


def pooled(size):
    layers = [nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(size, 2))


def averaged(size):
    layers = [nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.GELU(), nn.AvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(size, 2))


@pytest.mark.parametrize("make", [pooled, averaged])
@pytest.mark.parametrize("call", [
    lambda model, x: model(x).double(),
    lambda model, x: model[1:-1](model[0](x).double()),
    lambda model, x: tg.cat([model[0](x), x.double()], 1),
], ids=["output", "between", "joined"])  # fmt: skip
def test_float64_next_to_a_float32_convolution(make, call):
    def build():
        tg.manual_seed(2)
        model = make(8)
        optimizer = tg.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

        def step(x):
            optimizer.zero_grad()
            loss = call(model, x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return step, with_gradients(model.parameters())

    side_by_side(build, batches((3, 1, 4, 4), count=4, dtype=np.float32), bound=1e-5, noise=1e-6)


@pytest.mark.parametrize("dtypes", [(np.float32, np.float64), (np.float64, np.float32)])
@pytest.mark.parametrize("make", [pooled, averaged])
def test_images_of_another_dtype_than_the_weights_are_refused(make, dtypes):
    weights, given = dtypes
    model = make(8).to(weights)
    x = tg.tensor(np.zeros((3, 1, 4, 4), given))
    for call in (model, tg.compile(lambda x: model(x))):
        with pytest.raises(TypeError, match="wanted one dtype"):
            call(x)
