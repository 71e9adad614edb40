"""Small pieces of programs, one for each corner of what is traced, compiled and printed."""

import math

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from programs import calls_of
from side_by_side import side_by_side
from test_programs import keeps_what_it_computes, text_does_what_eager_code_does

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program.passes.patterns import rules


def weighed(y, seed=0):
    """Σ w·y, with w different in every element; a number is itself."""
    if not y.shape:
        return y
    w = np.random.default_rng(seed).uniform(0.5, 1.5, y.shape).astype(y.dtype)
    return (y * tg.tensor(w)).sum()


def with_gradients(function, value=True):
    """The function's values and the gradients of all that is float among its arguments."""

    def step(*xs):
        live = [x for x in xs if isinstance(x, tg.Tensor) and x.is_floating_point()]
        for x in live:
            x.requires_grad_()
        found = function(*xs)
        parts = [y for y in (found if isinstance(found, tuple) else (found,)) if y.requires_grad]
        gradients = tg.autograd.grad(sum(weighed(y, i) for i, y in enumerate(parts)), live)
        return (found, gradients) if value else gradients

    return step


def classes_of(n, *ids):
    return tg.tensor(np.array(ids)), tg.arange(n)


def pairs(x):
    """All windows of 2 × 2 elements."""
    return sliding_window_view(x, (2, 2), axis=(2, 3))


def ids(x):
    """Whole numbers that depend on what is given."""
    return (x.detach() * 4.0).int()


CLASSES = tg.tensor([1, 0, 2, 2])
SCALARS = {
    "sums": lambda x: (x.sum() * 2.0 - 1.0) / (x * x).mean().sqrt(),
    "squares": lambda x: x.sum().square() + x.sum() ** 2 + x.sum() ** 3,
    "absolute": lambda x: abs(x.sum()) * x,
    "shapes": lambda x: x.sum().reshape(1) * x.mean().reshape(1, 1).reshape(()),
    "functions": lambda x: x.sum().exp().log1p() + x.mean().tanh() - x.amax().sin() * x.amin(),
    "comparisons": lambda x: tg.where(x.sum() > 0.0, x.amax(), x.amin()) * x,
    "of larger ones": lambda x: tg.maximum(x.sum(), x.mean()) + tg.minimum(x.sum(), 0.25),
    "negated": lambda x: -x.sum() * -(x.mean() - 3.0),
    "powers": lambda x: 0.5 ** x.sum().detach() * x + x.abs().sum() ** 0.5,
    "divided": lambda x: 1.0 / (x.sum() + 7.0) / 4.0 + x.mean() / 0.3,
    "repeated": lambda x: x.sum().expand(2, 3) * x.mean().expand(3),
    "with an axis": lambda x: x.sum()[None] * x + x.mean()[None, ...] - x.amax()[..., None] * 2.0,
    "one element": lambda x: x[0] * x[1] - x[-1] / (x[0] * x[0] + 1.0),
    "casts": lambda x: (x.sum().float().expand(2) * 3.0, x.sum() - x.sum().float().double()),
}
CHAINS = {
    "of numbers": lambda x: ((x * 2.0 + 1.0) * 3.0 - 4.0) * 0.5 + 7.0,
    "that cancel": lambda x: ((x + 1e6) * 3.0 - 3e6) + 0.25,
    "of large numbers": lambda x: ((x * 1e13 + 1.0) * 1e-13 - 0.5) * 3.0,
    "of differences": lambda x: 3.0 - (2.0 - (1.0 - x * 0.5)) * 4.0,
    "that are read twice": lambda x: (x * 2.0 + 1.0) * 3.0 * ((x * 2.0 + 1.0) * 3.0 + 1.0),
    "with ends": lambda x: (((x * 2.0 + 1.0) * 3.0 + 1.0) * x, ((x - 1.0) * 0.5 - 2.0).exp()),
    "of negatives": lambda x: -(-(x * 2.0) - 3.0) * -1.0 - -x,
    "of quotients": lambda x: ((x / 3.0 + 1.0) / 7.0 - 2.0) / 0.1,
}
ROWS = {
    "one piece": lambda x: tg.cat([x]) * 2.0,
    "rows and columns": lambda x: x[classes_of(4, 2, 0, 1, 1)[::-1]] - x.sum(1),
    "columns and rows": lambda x: (x - x.amax(0))[classes_of(3, 3, 1, 0)[0], tg.arange(3)],
    "picked of a difference": lambda x: (x - x.logsumexp(1, keepdim=True))[
        tg.arange(4), tg.tensor([2, 0, 1, 1])
    ],
    "picked of two": lambda x: (x * 2.0 - x.mean(1, keepdim=True))[tg.arange(2), tg.tensor([2, 0])],
    "picked twice": lambda x: ((d := x - x.mean(0)) * 2.0)[0].sum() + d[tg.arange(3), tg.arange(3)],
    "picked in a stack": lambda x: (x - x.mean(1, keepdim=True))[
        tg.tensor([[0], [2]]), tg.arange(3)
    ],
    "of which rows are summed": lambda x: (x + x[0])[tg.arange(4), tg.tensor([2, 0, 1, 1])],
    "more classes than columns": lambda x: (
        F.cross_entropy(tg.cat([x, x[:, :2]], 1), CLASSES) + x[tg.arange(4), CLASSES].sum()
    ),
    "softmax": lambda x: F.cross_entropy(x, tg.tensor([1, 0, 2, 2])),
    "softmax by hand": lambda x: (x.exp() / x.exp().sum(1, keepdim=True)).log()[:, 1].mean(),
    "softmax over rows": lambda x: F.softmax(x, 0) * x,
    "onehot": lambda x: (F.one_hot(tg.tensor([1, 0, 2, 2]), 3) * x).sum(1),
    "negative classes": lambda x: x[tg.arange(4), tg.tensor([-1, 0, -3, 2])] * 2.0,
    "few rows": lambda x: x[tg.tensor([[3, 3], [0, 3]])].sum(1),
    "product of rows": lambda x: x @ x.T + (x @ tg.ones(3, 3, dtype=x.dtype)).T[0],
    "features": lambda x: (
        (h := x @ (2.0 * x.T) + x[:, 0]).sum(-1),
        h[:, :2].amax(-1),
        h.argmax(-1),
        h[:, :3].sum((-1,)),
        (k := x @ x[:2].T + x[:2, 1]).sum(-1),
        k.amax(-1),
        k.argmin(-1),
        k.sum(-2),
        k.argmax(0),
    ),
    "vectors": lambda x: (x[0] @ x[1], x @ x[2], x[:, 0] @ x),
    "turned": lambda x: (x.T @ (x * 2.0)).T + x.T.amax(1, keepdim=True),
    "stacks": lambda x: (
        x.reshape(2, 2, 3) @ x[:3].reshape(3, 3) + x.reshape(2, 2, 3).sum(1)[:, None]
    ),
    "products": lambda x: (x * x * 3.0).sum() + (x * 2.0 * x.detach()).sum(0).sum(),
    "einsum": lambda x: tg.einsum("ij,kj->ik", x, x) * tg.einsum("ij,ij->i", x, x),
    "constants": lambda x: x * tg.tensor([0.1, 0.7, -3.0]) + tg.eye(4, 3) - tg.ones(4, 1),
    "tables": lambda x: x * tg.tensor(np.arange(12.0).reshape(4, 3)) + tg.full((3,), 0.25),
    "kept and cut": lambda x: (
        x.sum(0, keepdim=True).clamp(-0.4, 0.6) * x.amax(0, keepdim=True).abs()
    ),
    "kept axes": lambda x: x.sum(0, keepdim=True).reshape(3) * x.amax(1).reshape(4, 1),
    "empty": lambda x: x[:0].sum(1).sum() + x.sum() + x[:, :0].sum(0).sum(),
}
SLOPES = {  # where gradients are written as formulas
    "factors that cancel": lambda x, y: x * (y.detach() * 2.0) * (y.detach().exp() * 0.5) + y,
    "whole numbers": lambda x, y: (x * (ids(y) * 2.0) + x * (ids(y * y) * 2.0)).sum() + y.sum(),
    "one divisor": lambda x, y: (x / tg.arange(1, 4)) * y + (x / tg.arange(1, 4)) * y.exp(),
    "one number": lambda x, y: 2.0 / (x * x + 1.0) + 2.0 / (y * y + 1.0) - 3.0 * x - 3.0 * y,
    "another side": lambda x, y: (1.0 - 2.0 * (x >= 0.5).to(x.dtype)) * x + y,
    "sigmoid alone": lambda x, y: x.sigmoid() + y * 2.0,
    "negative mean": lambda x, y: -(y * (x[0] + y)).mean(),
    "mean beside a factor": lambda x, y: (y * x.mean()).mean() + (x.mean() * y).mean() / 6.0,
    "means": lambda x, y: (x * y).mean(0).square().mean() + (x - y).abs().mean(1).sum(),
    "common divisor": lambda x, y: x / (y * y + 1.0) + y / (y * y + 1.0) - x.exp() / (y * y + 1.0),
    "slope of sigmoid": lambda x, y: x.sigmoid() * y.sigmoid() - F.logsigmoid(x * y),
    "two sigmoids": lambda x, y: F.binary_cross_entropy_with_logits(x, y.detach().abs()) * y.sum(),
    "kinks": lambda x, y: (
        F.relu(x) * F.relu(-y) + F.leaky_relu(x * y) + (x.abs() * y).clamp(-0.1, 0.3)
    ),
    "twice the same": lambda x, y: x + x + y + y + x * x * x,
    "a third": lambda x, y: x * (1.0 / 3.0) + y * -0.25 - x * y * 0.1,
    "signs": lambda x, y: (-x).neg() + -y * -x - (-y) / (-(x * x) - 1.0),
    "quotients": lambda x, y: (x / (y.exp() + 1.0) / (x * x + 2.0)) * 3.0 / (y * y + 1.0),
    "norms": lambda x, y: F.layer_norm(x, (3,)) * y + x / x.norm() + y / y.std(0),
    "roots": lambda x, y: (x * x + 0.5).sqrt() * (y.abs() + 0.1) ** 1.5 + (y * y + 1.0) ** -0.5,
    "masks": lambda x, y: tg.where(x > y, x * 2.0, y) + (x > 0.0) * y + (x > y).to(x.dtype) * x,
}
IMAGES = {
    "every window": lambda x: sliding_window_view(x, (2, 3), axis=(2, 3)).sum((4, 5)),
    "every second": lambda x: pairs(x)[:, :, ::2, ::2].amax((4, 5)),
    "from the second": lambda x: pairs(x)[:, :, 1:, ::2, :, :].sum((4, 5)),
    "turned pixels": lambda x: (x * 2.0).permute(0, 3, 1, 2) * 3.0,
    "rows of pixels": lambda x: F.max_pool2d((x.reshape(6, 20) * 2.0).reshape(3, 2, 4, 5), 2),
    "other rows": lambda x: F.max_pool2d(x, 2).reshape(6, -1) * 2.0,
    "a channel": lambda x: F.max_pool2d(x, 2, 1)[:, 0, :, :, None] * 2.0,
    "with gaps": lambda x: sliding_window_view(x, (3, 3), axis=(2, 3))[..., ::2, ::2].sum((4, 5)),
    "of two samples": lambda x: pairs(x)[::2].sum((4, 5)),
    "of other axes": lambda x: sliding_window_view(x, (2, 2), axis=(1, 2)).sum((4, 5)),
    "kept": lambda x: pairs(x).sum((4, 5), keepdim=True) * 2.0,
    "over one axis": lambda x: pairs(x).sum(5),
    "turned": lambda x: pairs(x)
    .permute(0, 2, 3, 1, 4, 5).reshape(3, -1) * 2.0,
    "turned otherwise": lambda x: pairs(x)
    .permute(0, 3, 2, 1, 4, 5).reshape(3 * 12, -1) * 2.0,
    "pixels": lambda x: (x * 2.0).permute(0, 2, 3, 1).reshape(3, 20, 2) * 3.0,
    "maxima by hand": lambda x: pairs(x)
    .reshape(3, 2, 3, 4, 4).amax(4),
    "maxima with gaps": lambda x: sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, :, :, ::2, ::2]
    .reshape(36, 4).max(1).values,
    "pool and relu": lambda x: F.max_pool2d(F.relu(x), 2) + F.relu(x)[:, :, :2, :2],
    "relu of two pools": lambda x: F.max_pool2d(r := F.relu(x), 2) * F.max_pool2d(r, 2, (3, 2)),
    "spread and pooled": lambda x: F.avg_pool2d(F.avg_pool2d(x, 2, 1), 2) + F.max_pool2d(x, 2),
    "slices of images": lambda x: (y := F.max_pool2d(x, 2, 1))[:, 0] + y[:, 1:, :, ::2].sum(),
    "convolved": lambda x: F.conv2d(x, x[:2, :, :2, :3] * 0.5, x[0, 0, 0, :2]),
    "convolved twice": lambda x: F.conv2d(F.conv2d(x, x[:2, :, :2, :2]).relu(), x[:1, :, :2, :2]),
    "convolved with gaps": lambda x: F.conv2d(
        x * 1.0, x[:1, :, :2, :3], stride=(1, 2), padding=(1, 0), dilation=(2, 1)
    ),
    "convolved in groups": lambda x: F.conv2d(x.tanh(), x[:2, :1, :3, :1], padding=1, groups=2),
    "convolved by points": lambda x: F.conv2d(x, x[:, :, :1, :1]) * F.max_pool2d(x, 1)[:, :1],
    "largest of one row": lambda x: F.max_pool2d(x.sin(), (1, 3), (2, 1)).square(),
    "means of one column": lambda x: F.avg_pool2d(x.sin(), (3, 1), (1, 2)).square(),
    "maxima that overlap": lambda x: F.max_pool2d(x * x, (2, 3), 1, (1, 1)) * 0.5,
    "pooled pads": lambda x: F.max_pool2d(x, 3, 2, 1).flatten(1) @ tg.ones(12, 2, dtype=x.dtype),
}  # fmt: skip
PIECES = {
    **{f"numbers: {k}": (f, [(5,)]) for k, f in SCALARS.items()},
    **{f"chains {k}": (f, [(6,)]) for k, f in CHAINS.items()},
    **{f"rows: {k}": (f, [(4, 3)]) for k, f in ROWS.items()},
    **{f"slopes: {k}": (f, [(2, 3), (2, 3)]) for k, f in SLOPES.items()},
    **{f"images: {k}": (f, [(3, 2, 4, 5)]) for k, f in IMAGES.items()},
}
by_name = pytest.mark.parametrize("name", PIECES)


@by_name
def test_a_piece_and_its_gradients_are_what_eager_code_gives(name):
    function, shapes = PIECES[name]
    calls = calls_of(*shapes, count=3)(np.float64)
    side_by_side(lambda: (with_gradients(function), []), calls, noise=1e-14)
    small = [[a.astype(np.float32) for a in call] for call in calls]
    noise = 1.0 if "cancel" in name or "large" in name else 1e-5  # of 3·10⁶ in float32
    side_by_side(lambda: (with_gradients(function, False), []), small, noise=noise)


@by_name
def test_the_text_of_a_piece_and_each_pass_do_the_same(name):
    function, shapes = PIECES[name]
    calls = calls_of(*shapes, count=2)(np.float64)
    for value in (True, False):  # the gradients alone: what only the loss reads is not computed
        step = with_gradients(function, value)
        for level in ("formula", "primitive"):
            text_does_what_eager_code_does(step, calls, level)
        keeps_what_it_computes(step, calls[0])


# --- programs that need a way of their own ----------------------------------------------------


def two_draws():
    """The first draw is not needed for the assumption on the second, and still comes first."""
    return lambda x: (F.dropout(x, 0.5), F.silu(F.dropout(x * 2.0, 0.5)))


def read_between_two_updates():
    p, q = (tg.ones(3, requires_grad=True) for _ in range(2))
    one, two = (tg.optim.SGD([x], lr=0.1) for x in (p, q))

    def step(x):
        p.grad = q.grad = None
        ((p * x).sum() + (q * q * x).sum()).backward()
        one.step()
        seen = (p * 2.0).sum()
        two.step()
        return seen, p.sum(), q.sum()

    return step


def pool_of_more_than_a_relu():
    w = tg.ones(1, 1, 4, 4, requires_grad=True)

    def step(x):
        w.grad = None
        F.max_pool2d((w * x).relu() + x, 2).square().sum().backward()
        return w.grad.clone()

    return step


def large_weight():
    w = tg.randn(512, 512)
    return lambda x: F.linear(x.reshape(2, 512), w).tanh()


def product_and_its_transpose():
    w = tg.randn(3, 2)

    def step(x):
        y = x.reshape(4, 3) @ w
        return y.T * 1.0, y * 2.0

    return step


class Chained(tg.optim.SGD):
    """Each parameter takes a part of what the one before it has become."""

    before = None

    def update(self, p, w, g, group):
        if self.before is not None:
            g = g + 0.01 * self.before.sum()
        w -= group["lr"] * g
        self.before = w


def updates_that_read_each_other():
    ps = [tg.ones(3, requires_grad=True) for _ in range(4)]
    optimizer = Chained(ps, lr=0.1)

    def step(x):
        optimizer.zero_grad()
        sum((p * p * x).sum() for p in ps).backward()
        optimizer.step()
        optimizer.before = None
        return tuple(p.detach() * 1.0 for p in ps)

    return step


def parameters_that_are_numbers():
    p, q = ((tg.ones(2) * k).sum().detach().requires_grad_() for k in (0.5, 0.7))
    optimizer = tg.optim.SGD([p, q], lr=0.1, momentum=0.9)

    def step(x):
        optimizer.zero_grad()
        (p * p * x.mean() + q * x.mean()).backward()
        optimizer.step()
        return p.detach() * 1.0, q.detach() * 1.0

    return step


@pytest.mark.parametrize(("make", "shape"), [
    (two_draws, (5,)), (read_between_two_updates, (3,)), (pool_of_more_than_a_relu, (1, 1, 4, 4)),
    (large_weight, (1024,)), (product_and_its_transpose, (12,)),
    (updates_that_read_each_other, (3,)), (parameters_that_are_numbers, (3,)),
], ids=lambda x: getattr(x, "__name__", None))  # fmt: skip
def test_what_needs_a_way_of_its_own_is_right(make, shape):
    found = []
    for compile in (tg.compile, lambda f: f):
        tg.manual_seed(3)
        step = compile(make())
        x = tg.linspace(-1.0, 1.5, math.prod(shape)).reshape(shape)
        runs = [step(x * i) for i in (1.0, 2.0, 3.0)]
        ys = [y for run in runs for y in (run if type(run) is tuple else [run])]
        found.append([y.detach().numpy() for y in ys])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_weights_of_another_dtype_are_another_program():
    layer = nn.Linear(3, 2)
    total = tg.compile(lambda: layer.weight.sum())
    for dtype in (tg.float32, tg.float64, tg.float32):
        layer.to(dtype)
        for _ in range(3):
            assert total().dtype == dtype
            assert total().item() == pytest.approx(layer.weight.sum().item(), rel=1e-6)


def test_a_rule_is_made_of_operations():
    with pytest.raises(ValueError, match=r"no operation: x\[0\]"):
        rules("x[0] -> x")


WITH_NUMBERS = {
    "sum": lambda x: x + 0.1,
    "difference": lambda x: 0.3 - x,
    "product": lambda x: x * 0.1,
    "quotient": lambda x: x / 0.3,
    "reciprocal": lambda x: 0.7 / x,
    "remainder": lambda x: x % 0.3,
    "chain": lambda x: ((x * 0.1 + 0.7).tanh() - 0.3) / 0.9,
    "comparison": lambda x: x > 0.1,
    "maximum": lambda x: np.maximum(x, 0.1) + np.minimum(0.7, x),
    "clamp": lambda x: x.clamp(0.1, 0.7),
    "choice": lambda x: tg.where(x > 0.0, x * 0.1, 0.3),
    "whole numbers": lambda x: (x * 10.0).long() * 3 + 7,
    "whole numbers and a float": lambda x: (x * 10.0).long() * 0.1,
    "number that is computed": lambda x: x * x.amax() + x[7] * 0.1,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_arithmetic_with_numbers_is_that_of_eager_code_to_the_last_bit(name, dtype):
    f = WITH_NUMBERS[name]
    compiled = tg.compile(f)
    for seed in range(3):
        x = tg.tensor(np.random.default_rng(seed).uniform(-2.0, 2.0, 1000).astype(dtype))
        found, wanted = compiled(x), f(x)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())
