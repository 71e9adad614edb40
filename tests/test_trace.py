"""trace(): what a function does, written down; run on other numbers it gives what eager gives."""

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import TraceError, nn
from tinygrad_ce.engine import table
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program.ops import run
from tinygrad_ce.program.passes.exact import EXACT, simplified


def network(parameters, x, targets):
    W1, b1, W2, b2 = parameters
    return F.cross_entropy(F.linear(F.relu(F.linear(x, W1, b1)), W2, b2), targets)


def fresh(seed, dtype=np.float32):
    stream = np.random.default_rng(seed)
    shapes = (5, 3), (5,), (2, 5), (2,)
    arrays = [stream.standard_normal(s).astype(dtype) for s in shapes]
    return arrays, stream.standard_normal((7, 3)).astype(dtype), stream.integers(0, 2, 7)


def eager(arrays, x, targets):
    parameters = [tg.tensor(a, requires_grad=True) for a in arrays]
    loss = network(parameters, tg.tensor(x), tg.tensor(targets))
    loss.backward()
    return [loss.detach().numpy(), *(p.grad.numpy() for p in parameters)]


def values_of(program, inputs):
    """Outputs and gradients of a program on other inputs, and the state as it is now."""
    values = {**program.constants, **dict(zip(program.inputs, inputs))}
    values.update((s.before, np.array(s.node.array)) for s in program.states)
    values.update((s.var, s.group[s.key]) for s in program.settings)
    run(program.steps, values)
    return [values[x] for x in program.roots()]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_program_is_forward_and_backward_of_the_two_layer_network(dtype):
    arrays, x, targets = fresh(0, dtype)
    parameters = [tg.tensor(a, requires_grad=True) for a in arrays]

    def step(x, targets):
        loss = network(parameters, x, targets)
        loss.backward()
        return loss

    program = tg.trace(step, tg.tensor(x), tg.tensor(targets))
    assert all(p.grad is None for p in parameters)
    other_arrays, other_x, other_targets = fresh(1, dtype)
    for p, a in zip(parameters, other_arrays):
        p.data = a
    values = values_of(program, [other_x, other_targets])
    wanted = eager(other_arrays, other_x, other_targets)
    grads = {k.node: k.var for k in program.grads}
    names = dict(zip(program.roots(), values))
    for a, b in zip([names[program.outputs[0]], *(names[grads[p]] for p in parameters)], wanted):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("change", EXACT, ids=lambda change: change.__name__)
def test_an_exact_pass_keeps_every_value_to_the_last_bit(change):
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    optimizer = tg.optim.Adam(model.parameters())

    def step(x, targets):
        loss = F.cross_entropy(model(x), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    _, x, targets = fresh(0)
    program = tg.trace(step, tg.tensor(x), tg.tensor(targets))
    changed = change(program)
    for a, b in zip(values_of(program, [x, targets]), values_of(changed, [x, targets])):
        np.testing.assert_array_equal(a, b)
    after_all = simplified(program)
    assert len(after_all.steps) < len(program.steps)


def test_nothing_is_traced_outside_of_the_function():
    program = tg.trace(lambda x: x * 2.0, tg.tensor([1.0]))
    y = tg.tensor([1.0], requires_grad=True) * 2.0
    assert isinstance(y.array, np.ndarray) and len(program.steps) == 1


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x if x.sum() > 1.0 else -x,
        lambda x: x * x.sum().item(),
        lambda x: x * float(x[0]),
        lambda x: tg.tensor(x.detach().numpy()),
        lambda x: x * len(x.tolist()),
    ],
    ids=["if", "item", "float", "numpy", "tolist"],
)
def test_looking_at_a_value_while_tracing_is_found(look):
    with pytest.raises(tg.TraceError, match=r"has not computed yet .*test_trace\.py"):
        tg.trace(look, tg.tensor([1.0, 2.0]))


def test_a_value_that_outlives_the_trace_is_found():
    seen = []

    def step(x):
        h = x * 2.0
        seen.append(h)
        return h.sum()

    with pytest.raises(tg.TraceError, match=r"h, made at .* outlives the function"):
        tg.trace(step, tg.tensor([1.0]))


def test_a_view_that_is_read_after_a_write_is_taken_again():
    buffer = tg.zeros(4)

    def step(x):
        view = buffer.reshape(2, 2)
        buffer.copy_(x)
        return view * 2.0

    x = np.arange(4.0, dtype=np.float32)
    program = tg.trace(step, tg.tensor(x))
    given = {program.inputs[0]: x, program.states[0].before: np.zeros(4, np.float32)}
    values = run(program.steps, {**program.constants, **given})
    assert values[program.outputs[0]].tolist() == [[0.0, 2.0], [4.0, 6.0]]


@pytest.mark.parametrize("of", [lambda x, h: h, lambda x, h: x, lambda x, h: x.grad])
def test_a_value_that_outlives_the_trace_is_found_though_it_is_returned(of):
    seen = []

    def step(x):
        h = (x * x).sum()
        h.backward()
        seen.append(of(x, h))
        return seen[-1]

    with pytest.raises(tg.TraceError, match="outlives the function"):
        tg.trace(step, tg.ones(2, requires_grad=True))


def test_a_function_that_catches_the_refusal_is_refused_all_the_same():
    def step(x):
        try:
            return x * 2 if float(x.sum()) > 3 else x
        except RuntimeError:
            return x

    with pytest.raises(TraceError, match=r"has not computed yet .*test_trace\.py"):
        tg.trace(step, tg.ones(2))
    with pytest.raises(TraceError, match="has not computed yet"):
        tg.compile(step)(tg.ones(4))


def test_a_rule_without_an_entry_says_where_it_goes():
    @table.differentiable(lambda g, x: g / (1 + abs(x)) ** 2)
    @table.speaks_numpy
    def softsign(x):
        return x / (1 + np.abs(x))

    softsign.op.forward.__module__ = table.__name__
    with pytest.raises(TraceError, match=r"softsign needs an entry in OPS, program/ops\.py"):
        tg.trace(softsign, tg.ones(3))


def test_a_compiled_function_shows_what_its_program_shows():
    w = tg.ones(3, requires_grad=True)

    def step(x):
        w.grad = None
        ((w * x) ** 2).sum().backward()

    compiled = tg.compile(step)
    compiled(tg.ones(3))
    assert compiled.backward_source() == tg.trace(step, tg.ones(3)).backward_source()
    assert compiled.table() == tg.trace(step, tg.ones(3)).table()


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x.amax(1),
        lambda x: x.amin(-1, keepdim=True),
        lambda x: x.reshape(-1, 2, 2).amax(2),
        lambda x: x.norm(dim=1),
        lambda x: F.log_softmax(x, 1),
        lambda x: F.cross_entropy(x, tg.tensor([1] * len(x))),
    ],
    ids=["max", "min", "three axes", "norm", "log_softmax", "cross_entropy"],
)
def test_how_a_reduction_is_computed_does_not_show_in_the_program(fn):
    def operations(rows):
        return [step.op for step in tg.trace(fn, tg.ones(rows, 4)).steps]

    assert operations(2) == operations(4) == operations(5) == operations(300)
