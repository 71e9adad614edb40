"""Every pass keeps what a program computes: the exact ones every bit, the others to rounding."""

import gc
import weakref

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program.emit.emitter import emit
from tinygrad_ce.program.ir import Program
from tinygrad_ce.program.listing.formulas import FORMULAS
from tinygrad_ce.program.memory import FlatParameter
from tinygrad_ce.program.ops import run
from tinygrad_ce.program.passes.exact import EXACT, simplified
from tinygrad_ce.program.passes.flatten import flattened
from tinygrad_ce.program.passes.order import FAST, optimised
from tinygrad_ce.program.tracing.trace import trace_call

N, T, C = 6, 5, 4


class Net:
    """A model, its optimiser, and a step function on one batch."""

    def __init__(self, model, optimizer, loss, *batch):
        self.model, self.batch = model, batch
        self.optimizer = optimizer(list(model.parameters()))
        self.loss = loss

    def step(self, x, y):
        loss = self.loss(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


class Block(nn.Module):
    """Embedding, one attention head, layer norm and a feed-forward layer."""

    def __init__(self):
        self.tokens = nn.Embedding(7, C)
        self.norm = nn.LayerNorm(C)
        self.qkv = nn.Linear(C, 3 * C)
        self.up = nn.Linear(C, 8)
        self.out = nn.Linear(8, 7)

    def forward(self, ids):
        x = self.tokens(ids)
        q, k, v = self.qkv(self.norm(x)).chunk(3, 2)
        weights = F.softmax(q @ k.transpose(1, 2) / 2.0, 2)
        return self.out(F.relu(self.up(x + weights @ v))).flatten(0, 1)


def sgd(parameters):
    return tg.optim.SGD(parameters, lr=0.1, momentum=0.9)


def classifier(dtype):
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
    return Net(model.to(dtype), tg.optim.Adam, F.cross_entropy,
               tg.randn(N, 3, dtype=dtype), tg.randint(0, 2, (N,)))  # fmt: skip


def moons(dtype):
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)).to(dtype)
    y = tg.randint(0, 2, (N, 1)).astype(dtype)
    return Net(model, sgd, F.binary_cross_entropy_with_logits, tg.randn(N, 2, dtype=dtype), y)


def normalised(dtype):
    layers = nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3)
    model = nn.Sequential(*layers, nn.Linear(8, 2)).to(dtype)
    return Net(model, tg.optim.AdamW, F.cross_entropy,
               tg.randn(N, 3, dtype=dtype), tg.randint(0, 2, (N,)))  # fmt: skip


def transformer(dtype):
    y = tg.randint(0, 7, (N * T,))
    return Net(Block().to(dtype), sgd, F.cross_entropy, tg.randint(0, 7, (N, T)), y)


def images(dtype):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                          nn.Linear(12, 2)).to(dtype)  # fmt: skip
    return Net(model, sgd, F.cross_entropy,
               tg.randn(N, 2, 6, 6, dtype=dtype), tg.randint(0, 2, (N,)))  # fmt: skip


def regression(dtype):
    model = nn.Sequential(nn.Linear(3, 1), nn.Tanh()).to(dtype)
    return Net(model, sgd, F.mse_loss, tg.randn(N, 3, dtype=dtype), tg.randn(N, 1, dtype=dtype))


NETS = [classifier, moons, normalised, transformer, images, regression]


def traced(net, dtype):
    tg.manual_seed(0)
    made = net(dtype)
    trace = trace_call(made.step, made.batch, {})
    return trace.program, made


def state_of(state):
    """The array that a state has, without moving it."""
    if not isinstance(state.node, FlatParameter):
        return np.array(state.node.array)
    flat = np.zeros(state.node.size, state.node.dtype)
    for node, piece in zip(state.node.nodes, state.node.slices):
        piece.of(flat)[...] = node.array
    return flat


def computed(program: Program, batch):
    """Outputs, gradients and new states, in the order of their tensors."""
    values = {**program.constants, **{x: t.array for x, t in zip(program.inputs, batch)}}
    values.update((s.before, state_of(s)) for s in program.states)
    values.update((s.var, s.group[s.key]) for s in program.settings)
    numbers = tg.get_rng_state()
    run(program.steps, values)
    tg.set_rng_state(numbers)
    results = {"output": values[program.outputs[0]]}
    results.update((("grad", id(k.node)), values[k.var]) for k in program.grads)
    for s in program.states:
        nodes = s.node.nodes if isinstance(s.node, FlatParameter) else [s.node]
        places = s.node.slices if isinstance(s.node, FlatParameter) else [None]
        for node, place in zip(nodes, places):
            value = values[s.after]
            results["state", id(node)] = value if place is None else np.array(place.of(value))
    return results


def assert_close(found, wanted, dtype, exact=False):
    assert found.keys() == wanted.keys()
    bound = 1e-12 if dtype == np.float64 else 1e-5
    largest = max(np.abs(w).max() for k, w in wanted.items() if k[0] == "grad")
    for key, value in wanted.items():
        if exact:
            np.testing.assert_array_equal(found[key], value)
        else:  # gradients that are mathematically 0 are noise of the size of the others' eps
            scale = max(np.abs(value).max(), 1e-2 * largest)
            np.testing.assert_allclose(found[key], value, rtol=0, atol=bound * scale)


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
@pytest.mark.parametrize("change", EXACT, ids=lambda change: change.__name__)
def test_an_exact_pass_keeps_every_bit(change, net):
    program, made = traced(net, np.float32)
    assert_close(computed(change(program), made.batch), computed(program, made.batch),
                 np.float32, exact=True)  # fmt: skip


@pytest.mark.parametrize("change", [*EXACT, *FAST, *FORMULAS], ids=lambda change: change.__name__)
def test_a_pass_that_finds_nothing_gives_the_program_it_was_given(change):
    program = simplified(tg.trace(lambda x, y: (x * y).exp() - x, tg.ones(3), tg.ones(3)))
    assert change(program) is program


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_simplified_once_a_program_is_simple(net):
    program = simplified(traced(net, np.float32)[0])
    assert simplified(program) is program


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_a_fast_pass_keeps_values_to_rounding(net, dtype):
    program, made = traced(net, dtype)
    wanted = computed(program, made.batch)
    program = flattened(program)
    assert any(isinstance(s.node, FlatParameter) for s in program.states)
    assert_close(computed(program, made.batch), wanted, dtype, exact=True)
    program = simplified(program)
    for change in FAST:
        program = simplified(change(program))
        assert_close(computed(program, made.batch), wanted, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_the_emitted_function_computes_what_the_steps_say(net, dtype):
    program, made = traced(net, dtype)
    wanted = computed(program, made.batch)
    program = optimised(program)
    emitted = emit(program)
    names = dict(emitted.names)
    names.update((name, node.array) for name, node in emitted.state_names)
    exec(emitted.source, names)
    for _ in range(2):  # what the first run leaves in the buffers must not matter
        before = {name: names[name].copy() for name, _ in emitted.state_names}
        numbers = tg.get_rng_state()
        outputs = names["run"](*[t.array for t in made.batch])
        tg.set_rng_state(numbers)
        found = {"output": outputs[0]}
        found.update((("grad", id(n)), np.array(names[name])) for n, name in names["GRADS"])
        for name, node in emitted.state_names:
            for single in getattr(node, "nodes", [node]):
                found["state", id(single)] = np.array(single.array)
            names[name][...] = before[name]
        assert_close(found, wanted, dtype)


def test_a_long_row_goes_through_forward_and_backward_in_one_loop():
    z = tg.randn(1 << 18, requires_grad=True)
    y = tg.ones(1 << 18)

    def step(y):
        z.grad = None
        loss = F.binary_cross_entropy_with_logits(z, y)
        loss.backward()
        return loss

    compiled = tg.compile(step)
    losses = [compiled(y).item() for _ in range(3)]
    gradient = z.grad.clone()
    assert compiled.emitted().count("for i, j") == 1
    assert losses == pytest.approx([step(y).item()] * 3, rel=1e-5)
    np.testing.assert_allclose(gradient.numpy(), z.grad.numpy(), rtol=0, atol=1e-5 / (1 << 18))


def array_of_a_program_that_was_listed():
    w = tg.ones(3, 3, requires_grad=True)
    optimizer = tg.optim.Adam([w])

    def step(x):
        optimizer.zero_grad()
        image = F.relu(x @ w).reshape(1, 1, 3, 3)
        F.cross_entropy(F.max_pool2d(image, 2).flatten(1), tg.tensor([0])).backward()
        optimizer.step()

    program = tg.trace(step, tg.ones(3, 3))
    program.source()
    optimised(program)
    return weakref.ref(w.array)


def test_no_pass_keeps_a_program_alive():
    array = array_of_a_program_that_was_listed()
    gc.collect()
    assert array() is None


def steps_of(f, *shapes):
    """The steps that run, as (operation, shapes of the operands, shape of the result)."""
    compiled = tg.compile(f)
    for _ in range(2):
        compiled(*(tg.randn(*shape) for shape in shapes))
    steps = compiled.runners[0].program.steps
    return [(s.op, tuple(x.shape for x in s.operands), s.out.shape) for s in steps]


def test_the_gradient_of_a_weight_is_computed_as_the_weight_lies():
    w = tg.randn(5, 4, requires_grad=True)

    def step(x):
        w.grad = None
        (x @ w.T).square().sum().backward()

    steps = steps_of(step, (7, 4))
    assert ("dot", ((5, 7), (7, 4)), (5, 4)) in steps
    assert not any(op == "transpose" and shape == (5, 4) for op, _, shape in steps)


def test_a_product_with_a_much_larger_operand_is_transposed_itself():
    for shapes in (((64, 40), (40, 2)), ((2, 40), (40, 64))):
        steps = steps_of(lambda a, b: (a @ b).T * 1.0, *shapes)
        assert ("dot", shapes, (shapes[0][0], shapes[1][1])) in steps


@pytest.mark.parametrize("f, wanted", [
    (lambda x: F.softmax(x, -1), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    (lambda x: x.sum(-1) * 2.0, lambda x: x.sum(-1) * 2),
    (lambda x: x.sum((0, 1)) * 2.0, lambda x: x.sum((0, 1)) * 2),
    (lambda x: x.amin(2) + x.amax((0, 1)).sum(), lambda x: x.min(2) + x.max((0, 1)).sum()),
    (lambda x: x.amax((1, 2), True) * 2.0, lambda x: x.max((1, 2), keepdims=True) * 2),
    (lambda x: F.layer_norm(x, (4,), eps=0.0),
     lambda x: (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)),
    (lambda x: F.linear(x, tg.ones(2, 4).double()) * 1.0, lambda x: x @ np.ones((4, 2))),
])  # fmt: skip
def test_reductions_and_products_of_batches_run_on_matrices(f, wanted):
    x = np.random.default_rng(0).standard_normal((3, 7, 4))
    compiled = tg.compile(f)
    for given in (x, x[::-1] + 1.0, x * 2.0):
        np.testing.assert_allclose(compiled(tg.tensor(given)).numpy(), wanted(given), 1e-12, 1e-12)
    text = compiled.emitted()
    assert (
        "add.reduce" not in text and "matmul" not in text and ("dot(" in text or "reduce(" in text)
    )


def test_whether_all_numbers_are_finite_is_read_off_their_squares():
    f = tg.compile(lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction="none"))
    y = np.array([0.0, 1.0, 1.0, 0.0])
    for x in ([1.0, 2.0, -3.0, 0.0], [2.0, 0.0, 1.0, 1.0], [2.0, np.inf, 1.0, -np.inf]):
        found = f(tg.tensor(x), tg.tensor(y)).numpy()
        np.testing.assert_allclose(found, np.logaddexp(0, np.where(y, np.negative(x), x)), 1e-6)
        assert ("vdot(" in f.emitted()) == np.isfinite(x).all()
