"""compile(): a compiled function does what the function does, in every call, or says why not."""

import copy
import functools
import itertools
import pickle
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import TraceError, nn
from tinygrad_ce.autograd import grad, hessian, jacobian, vjp
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program.emit import Emitter


def batches(*shapes, count=6, seed=0, dtype=np.float64):
    """`count` tuples of fresh arrays."""
    stream = np.random.default_rng(seed)
    return [[stream.standard_normal(s).astype(dtype) for s in shapes] for _ in range(count)]


def numbers_of(x):
    """What something holds, as nested arrays and numbers, for comparisons."""
    if isinstance(x, tg.Tensor):
        return x.detach().numpy().copy()
    if isinstance(x, dict):
        return {k: numbers_of(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [numbers_of(v) for v in x]
    return x


def agree(found, wanted, bound=1e-12, noise=0.0):
    """Equal up to `bound` of the largest element, or up to `noise`."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(wanted, list):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted):
            agree(a, b, bound, noise)
    elif isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        bound = bound if wanted.dtype == np.float64 else 1e-5
        top = np.max(np.abs(wanted), initial=0.0, where=np.isfinite(wanted))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=bound * top + noise)
    else:
        assert found == wanted


def side_by_side(build, calls, between=lambda thing, i: None, bound=1e-12, noise=0.0):
    """Two equal things, one compiled: results, arguments and state agree in every call.

    `build()` gives (function, state): the state is anything that holds tensors, or a function
    that gives it.
    """
    tg.manual_seed(3)
    plain, state = build()
    streams = [tg.random.get_rng_state()]
    tg.manual_seed(3)
    inner, other = build()
    compiled = tg.compile(inner)
    streams.append(tg.random.get_rng_state())
    for i, call in enumerate(calls):
        seen = []
        for k, (fn, own) in enumerate(((plain, state), (compiled, other))):
            tg.random.set_rng_state(streams[k])
            args = [tg.tensor(a) if isinstance(a, np.ndarray) else a for a in call]
            result = fn(*args)
            between(own, i)
            streams[k] = tg.random.get_rng_state()
            held = own() if callable(own) else own
            given = [[a, a.grad] if isinstance(a, tg.Tensor) else a for a in args]
            seen.append(numbers_of([result, given, held]))
        agree(seen[1], seen[0], bound, noise)
    return compiled


def with_gradients(parameters):
    """A function that gives parameters and their gradients."""
    parameters = list(parameters)
    return lambda: [[p, p.grad] for p in parameters]


def network(seed=0, dropout=False):
    tg.manual_seed(seed)
    layers = [nn.Linear(3, 5, bias=False), nn.BatchNorm1d(5), nn.ReLU()]  # a bias has no slope
    layers += [nn.Dropout(0.4)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(5, 2)).double()


def training(model, optimizer, zero="begin"):
    """A step of training, as people write it."""

    def step(x, y):
        if zero == "begin":
            optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if zero == "end":
            optimizer.zero_grad()
        return loss

    return step


PAIRS = batches((7, 3), (7, 2), count=20)

# --- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("zero", ["begin", "end", "never"])
@pytest.mark.parametrize("dropout", [False, True])
def test_twenty_steps_of_training(zero, dropout):
    def build():
        model = network(dropout=dropout)
        optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
        step = training(model, optimizer, zero)
        held = with_gradients(model.parameters())
        return step, lambda: [held(), list(model.buffers()), optimizer.state_dict()["state"]]

    side_by_side(build, PAIRS)


def test_schedules_and_settings_are_read_anew():
    def build():
        model = network()
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        schedule = tg.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        step = training(model, optimizer)
        return step, SimpleNamespace(parts=(model, optimizer, schedule))

    def between(state, i):
        _, optimizer, schedule = state.parts
        schedule.step()
        if i == 9:
            optimizer.param_groups[0]["momentum"] = 0.5
        if i == 14:
            optimizer.param_groups[0]["weight_decay"] = 0.1

    def build_held():
        step, state = build()

        def held():
            return list(state.parts[0].parameters())

        held.parts = state.parts
        return step, held

    side_by_side(build_held, PAIRS, between)


def test_modes_and_frozen_parameters_make_programs_of_their_own():
    def build():
        model = network(dropout=True)
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        held = with_gradients(model.parameters())
        held.model = model
        return step, held

    def between(held, i):
        held.model.train(i % 5 > 1)
        if i == 8:
            held.model[0].weight.requires_grad_(False)
        if i == 10:
            held.model[0].weight.requires_grad = True
        if i == 12:
            held.model[1].momentum = 0.3
        if i == 14:
            held.model[3].p = 0.1

    compiled = side_by_side(build, PAIRS, between)
    assert len(compiled.runners) > 3


@pytest.mark.parametrize("change", [
    "replace parameter", "replace module", "data", "load", "double", "add group", "load optimiser",
    "forget gradient", "give gradient", "append", "state",
])  # fmt: skip
def test_what_is_changed_between_calls_is_seen(change):
    def build():
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        late = nn.Parameter(np.ones(2))
        if change != "double":
            model.double()
        optimizer = tg.optim.Adam(model.parameters(), lr=0.05)
        saved = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())

        def step(x, y):
            x = x.to(model[0].weight.dtype)
            if change != "forget gradient" and change != "give gradient":
                optimizer.zero_grad()
            loss = F.mse_loss(model(x) + late.to(x.dtype), y.to(x.dtype))
            loss.backward()
            optimizer.step()
            return loss

        def held():
            return [[p, p.grad] for p in (*model.parameters(), late)]

        held.parts = model, late, optimizer, saved
        return step, held

    def between(held, i):
        if i not in (2, 6):
            return
        model, late, optimizer, saved = held.parts
        stream = np.random.default_rng(i)
        if change == "replace parameter":
            model[0].weight = nn.Parameter(stream.standard_normal((4, 3)))
        if change == "replace module":
            setattr(model, "1", nn.ReLU())
        if change == "data":
            model[0].weight.data = tg.tensor(stream.standard_normal((4, 3)))
        if change == "load":
            model.load_state_dict(saved[0])
        if change == "double":
            model.double()
        if change == "add group" and i == 2:
            optimizer.add_param_group({"params": [late], "lr": 0.5})
        if change == "load optimiser":
            optimizer.load_state_dict(saved[1])
        if change == "state":
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        if change == "forget gradient":
            model[0].weight.grad = None
        if change == "give gradient":
            model[0].weight.grad = tg.tensor(stream.standard_normal((4, 3)))
        if change == "append":
            model.append(nn.Tanh())

    rounding = 1e-5 if change == "double" else 1e-12  # it begins in float32
    side_by_side(build, PAIRS[:10], between, bound=rounding)


def test_clipping_between_backward_and_step():
    def build():
        model = nn.Linear(3, 2).double()
        optimizer = tg.optim.SGD(model.parameters(), lr=0.5)

        def step(x, y):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            total = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            nn.utils.clip_grad_value_(model.parameters(), 0.05)
            optimizer.step()
            return total

        return step, with_gradients(model.parameters())

    side_by_side(build, PAIRS)


def test_only_the_step_of_the_optimiser_is_compiled():
    def build():
        model = nn.Linear(3, 2).double()
        optimizer = tg.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)

        def step():
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()

        held = with_gradients(model.parameters())
        held.model = model
        return step, held

    def between(held, i):
        held.model.zero_grad()
        x, y = map(tg.tensor, PAIRS[i])
        F.mse_loss(held.model(x), y).backward()

    side_by_side(build, [()] * 8, between)


def test_two_compiled_functions_share_parameters():
    def build():
        model = nn.Linear(3, 2).double()
        optimizer = tg.optim.Adam(model.parameters(), lr=0.1)

        def forward(x, y):
            F.mse_loss(model(x), y).backward()

        def penalty():
            (0.1 * model.weight.square().sum()).backward()

        return (forward, penalty, optimizer), with_gradients(model.parameters())

    (one, two, optimizer), held = build()
    (other, another, other_optimizer), other_held = build()
    for p, q in zip(held(), other_held()):
        q[0].data = p[0]
    other, another = tg.compile(other), tg.compile(another)
    step = tg.compile(other_optimizer.step)
    for x, y in PAIRS[:8]:
        for f, x_y in ((one, (x, y)), (two, ()), (other, (x, y)), (another, ())):
            f(*map(tg.tensor, x_y))
        agree(numbers_of(other_held()), numbers_of(held()))
        optimizer.step()
        step()
        agree(numbers_of(other_held()), numbers_of(held()))
        optimizer.zero_grad()
        other_optimizer.zero_grad()


def test_the_gradient_of_a_parameter_is_the_same_tensor_after_every_call():
    w = tg.ones(3, requires_grad=True)

    @tg.compile
    def step(x):
        w.grad = None
        (w * x).sum().backward()

    step(tg.ones(3))
    first = w.grad
    step(tg.ones(3) * 2.0)
    step(tg.ones(3) * 3.0)
    assert w.grad is first and first.tolist() == [3.0, 3.0, 3.0]


# --- arguments and results ----------------------------------------------------------------------


def slope(x):
    (x * x * x).sum().backward()
    return x.grad * 2.0


def test_the_gradient_of_an_argument_is_set():
    compiled = tg.compile(slope)
    for k in range(4):
        x = tg.tensor([1.0 + k, 2.0], requires_grad=True)
        assert compiled(x).tolist() == slope(x.detach().clone().requires_grad_()).tolist()
        assert x.grad.tolist() == [3 * (1.0 + k) ** 2, 12.0]
        compiled(x)
        assert x.grad.tolist() == [6 * (1.0 + k) ** 2, 24.0]
    y = tg.tensor([1.0, 1.0], requires_grad=True)
    kept = x.grad.tolist()
    compiled(y)
    assert x.grad.tolist() == kept and not np.shares_memory(x.grad.array, y.grad.array)


def test_a_function_may_let_its_argument_require_a_gradient():
    def f(x):
        x.requires_grad_()
        (x * x).sum().backward()

    compiled = tg.compile(f)
    for k in range(3):
        x = tg.tensor([1.0 + k])
        compiled(x)
        assert x.requires_grad and x.grad.item() == 2.0 + 2 * k


def test_zero_grad_on_an_argument():
    def f(x):
        x.grad = None
        return x * 2.0

    compiled = tg.compile(f)
    for _ in range(3):
        x = tg.tensor([1.0], requires_grad=True)
        (x * 3.0).sum().backward()
        compiled(x)
        assert x.grad is None


def test_an_argument_with_a_graph_behind_it_is_refused():
    w = tg.ones(2, requires_grad=True)
    with pytest.raises(TraceError, match=r"made by mul.*detach"):
        tg.compile(lambda x: (x * x).sum().backward())(w * 2.0)


def test_arguments_of_all_kinds():
    def f(pair, named, scale, flag, array, power=2, *, extra=None, mode="plus"):
        y = pair[0] * scale + named["x"] * tg.tensor(array)
        y = y if flag else -y
        y = y**power if mode == "plus" else y
        return y if extra is None else y + extra[0][1]

    calls = []
    for i, (a, b, c) in enumerate(batches((3,), (3,), (3,), count=8)):
        pair = (tg.tensor(a), "text")
        calls += [
            ((pair, {"x": tg.tensor(b)}, 0.5 * i, True, c), {}),
            ((pair, {"x": tg.tensor(b)}, np.float64(i), False, c), {"power": 3}),
            ((pair, {"x": tg.tensor(b)}, 2.0, True, c, 2), {"extra": [(0, tg.tensor(c))]}),
            ((pair, {"x": tg.tensor(b)}, 1, True, c), {"mode": "minus"}),
        ]
    compiled = tg.compile(f)
    for args, keywords in calls:
        agree(numbers_of(compiled(*args, **keywords)), numbers_of(f(*args, **keywords)))
    assert len(compiled.runners) == 4


@pytest.mark.parametrize(
    "wrong", [{1, 2}, SimpleNamespace(x=1), iter([1]), (i for i in ())],
    ids=["set", "unhashable", "iterator", "generator"],
)  # fmt: skip
def test_other_arguments_are_refused(wrong):
    with pytest.raises(TypeError, match=r"argument x is a .*; wanted Tensors, arrays"):
        tg.compile(lambda x: 1)(wrong)


def test_the_same_tensor_twice():
    def f(a, b):
        (a * b).sum().backward()
        return a + b

    compiled = tg.compile(f)
    for k in range(3):
        x = tg.tensor([1.0 + k, 2.0], requires_grad=True)
        y = tg.tensor([5.0, 7.0], requires_grad=True)
        compiled(x, y)
        assert x.grad.tolist() == [5.0, 7.0] and y.grad.tolist() == [1.0 + k, 2.0]
        x.grad = None
        compiled(x, x)
        assert x.grad.tolist() == [2 * (1.0 + k), 4.0]


def test_an_argument_is_written():
    def f(x, a):
        x += 1.0
        x[0] = 7.0
        a *= 2.0
        return x * a

    def build():
        return f, []

    for i in range(4):
        args = [(tg.tensor(np.full(3, float(i))), np.arange(3.0) + i) for _ in range(2)]
        if not i:
            compiled = tg.compile(f)
        (x, a), (z, c) = args
        w = tg.tensor(c.copy())
        wanted, found = f(z, w), compiled(x, a)
        agree(numbers_of(found), numbers_of(wanted))
        agree(x.numpy(), z.numpy())
        agree(a, w.numpy())


def test_a_written_argument_is_newer_than_the_graph_that_read_it():
    compiled = tg.compile(lambda x: [x.add_(1.0)])
    w, x = tg.ones(2, requires_grad=True), tg.ones(2)
    for _ in range(2):
        loss = (w * x).sum()
        compiled(x)
        with pytest.raises(RuntimeError, match="changed it in place"):
            loss.backward()


def test_an_argument_that_cannot_be_written():
    total = tg.zeros(3)

    def f(x):
        total.add_(1.0)
        x += 1.0

    compiled = tg.compile(f)
    compiled(np.ones(3))
    for x in (np.broadcast_to(np.ones(1), 3), tg.ones(1).expand(3)):
        with pytest.raises(TraceError, match=r"read-only, or repeats.*clone"):
            compiled(x)
    assert total.tolist() == [1.0] * 3


@pytest.mark.parametrize("number", [0.1, np.float64(0.1), np.float32(0.1), np.int64(3), 3, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_numbers_take_the_dtype_of_the_tensor_as_in_eager_code(number, dtype):
    def f(x, s):
        return x * s, s - x, x / s, x.float() + s

    compiled = tg.compile(f)
    for _ in range(3):
        x = tg.tensor([1, 2, 3], dtype=dtype)
        agree(numbers_of(compiled(x, number)), numbers_of(f(x, number)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64])
def test_numbers_that_python_does_not_know(dtype):
    def build():
        count = tg.tensor(np.array(np.iinfo(dtype).max - 50, dtype))

        def f(x):
            count.add_(20)
            return count + count, count * 2, -count, x * count

        return f, [count]

    with np.errstate(over="ignore"):
        side_by_side(build, [[np.ones(2, np.float32)]] * 6)


def test_truths_are_not_added_as_numbers():
    def f(a, b):
        more = a > b
        return more + more, more * more, more.astype(np.int64) + 1, a.bool(), a.long()

    calls = [[tg.tensor(a), tg.tensor(1.5)] for a in (0.0, 2.0, 3.0, np.nan, 1.0)]
    with np.errstate(invalid="ignore"):
        side_by_side(lambda: (f, []), calls)


def test_a_number_that_is_changed_in_the_function_stays_for_the_caller():
    def f(x, scale):
        first = scale
        scale *= 2.0
        return x * scale + first

    compiled = tg.compile(f)
    for k in range(3):
        assert compiled(tg.tensor([1.0]), 1.5 + k).item() == f(tg.tensor([1.0]), 1.5 + k).item()


def test_a_parameter_as_an_argument_and_from_outside_is_refused():
    w = tg.ones(2, requires_grad=True)
    with pytest.raises(TraceError, match=r"same memory.*clone"):
        tg.compile(lambda x: (x * w).sum().backward())(w)


def test_an_argument_in_the_memory_of_written_state_is_refused():
    total = tg.zeros(2)

    @tg.compile
    def f(x):
        total.add_(x)

    f(tg.ones(2))
    f(tg.ones(2))
    for alias in (total, total.detach()):
        with pytest.raises(TraceError, match=r"memory.*clone"):
            f(alias)
    assert total.tolist() == [2.0, 2.0]


def test_results_of_all_kinds():
    w = nn.Parameter(np.ones(3))
    constant = tg.ones(2)

    def f(x):
        y = x * 2.0
        return {
            "y": y, "twice": (y, y), "list": [x, w, constant, None, 3, "text", 2.5],
            "fresh": tg.zeros(2), "view": w.reshape(3, 1), "rows": y[1:], "max": y.max(0),
        }  # fmt: skip

    compiled = tg.compile(f)
    before = []
    for (a,) in batches((3,), count=5):
        x = tg.tensor(a)
        found, wanted = compiled(x), f(x)
        agree(numbers_of(found), numbers_of(wanted))
        assert found["twice"][0] is found["twice"][1] is found["y"]
        assert found["list"][0] is x and found["list"][1] is w and found["list"][2] is constant
        assert type(found["max"]) is type(wanted["max"])
        found["fresh"] += 1.0
        before.append((found, numbers_of(found)))
    for found, numbers in before:
        agree(numbers_of({**found, "list": 0}), {**numbers, "list": 0})
    w.data.fill_(9.0)
    assert before[0][0]["view"].tolist() == [[1.0], [1.0], [1.0]]


def test_one_number_of_a_row_is_read_when_the_row_is_computed():
    def f(x):
        y = F.tanh(x)
        row = y.sum(0)
        return row[1] * 2.0, row[-1].exp(), y[1, 2] + 1.0, row[0]

    side_by_side(lambda: (f, []), batches((2, 3)))


def test_results_share_no_memory():
    @tg.compile
    def f(x):
        y = x.clamp(-1.0, 1.0)
        return y * 1.0, y.clone(), y.T.clone(), y, x.T.clone(), x.flatten() * 1.0

    for _ in range(3):
        x = tg.ones(2, 3)
        held = [x, *f(x)]
        for i, a in enumerate(held):
            for b in held[:i]:
                assert not np.shares_memory(a.numpy(), b.numpy())


def test_results_have_no_graph():
    w = tg.ones(2, requires_grad=True)
    compiled = tg.compile(lambda x: (w * x).sum())
    for _ in range(3):
        y = compiled(tg.ones(2))
        with pytest.raises(RuntimeError, match="compiled function"):
            y.backward()
    with tg.no_grad():
        compiled(tg.ones(2))
    assert len(compiled.runners) == 2


def test_modes_inside_of_the_function():
    w = tg.tensor([2.0], requires_grad=True)

    @tg.compile
    def f(x):
        with tg.no_grad():
            a = w * x
            with tg.enable_grad():
                b = w * x * x
        (b * a).sum().backward()
        return a.requires_grad, b.requires_grad

    for _ in range(3):
        w.grad = None
        assert f(tg.tensor([3.0])) == (False, True)
        assert w.grad.tolist() == [54.0]


# --- derivatives --------------------------------------------------------------------------------


@pytest.mark.parametrize("derive", [
    lambda f, x: grad(f(x), x)[0],
    lambda f, x: vjp(f, x)[1],
    lambda f, x: jacobian(lambda v: v.tanh() * v.sum(), x),
    lambda f, x: hessian(f, x),
    lambda f, x: grad(grad(f(x), x, create_graph=True)[0].square().sum(), x)[0],
], ids=["grad", "vjp", "jacobian", "hessian", "grad of grad"])  # fmt: skip
def test_derivatives_inside(derive):
    def build():
        def f(x):
            x.requires_grad_()
            return derive(lambda v: (v**3).sin().sum(), x)

        return f, []

    side_by_side(build, batches((4,), count=4))


def test_create_graph_and_retain_grad():
    def build():
        w = tg.tensor(np.arange(1.0, 4.0), requires_grad=True)

        def f(x):
            h = (w * x).tanh()
            h.retain_grad()
            loss = (h * h).sum()
            loss.backward(create_graph=True)
            penalty = (w.grad * w.grad).sum()
            w.grad = None
            penalty.backward()
            return h.grad.detach(), penalty

        return f, with_gradients([w])

    side_by_side(build, batches((3,), count=5))


# --- writes -------------------------------------------------------------------------------------


def test_writes_to_captured_and_computed_tensors():
    def build():
        total, count, table = tg.zeros(3).double(), tg.tensor(0), tg.zeros(4, 3).double()

        def f(x):
            total.add_(x)
            count.add_(1)
            table[1:3] = x
            table[0] = table[1] + total
            alias = total.detach()
            alias *= 0.5
            seen = total * 2.0
            total.data = total + count
            y = x * 2.0
            y[0] = total.sum()
            return seen, y, count.float()

        return f, [total, count, table]

    side_by_side(build, batches((3,), count=6))


def swapped():
    a, b = tg.ones(2, 3).double(), tg.zeros(2, 3).double()

    def f(x):
        old = a.clone()
        a.copy_(b)
        b.copy_(old + x)
        return old

    return f, [a, b]


def swapped_numbers():
    a, b = tg.tensor(1.0), tg.tensor(2.0)

    def f(x):
        old = a.clone()
        a.copy_(b)
        b.copy_(old)
        return x * old, a + 1.0

    return f, [a, b]


def shifted():
    cells = [tg.zeros(2, 3).double() for _ in range(3)]

    def f(x):
        for a, b in itertools.pairwise(cells):
            a.copy_(b)
        cells[-1].copy_(x)
        return cells[0] * 1.0

    return f, cells


def turned_before_it_is_written():
    a, b = tg.ones(2, 3).double(), tg.zeros(3, 2).double()

    def f(x):
        old = a.T.clone()
        a.add_(x)
        b.copy_(old)
        return old

    return f, [a, b]


def fixed_numbers():
    a, b = tg.ones(2, 3).double(), tg.ones(2, 3).double()

    def f(x):
        a.zero_()
        b.zero_()
        return a + x

    return f, [a, b]


@pytest.mark.parametrize(
    "build", [swapped, swapped_numbers, shifted, turned_before_it_is_written, fixed_numbers]
)
def test_a_tensor_becomes_what_another_was(build):
    side_by_side(build, batches((2, 3)))


@pytest.mark.parametrize("first", [True, False])
def test_parameters_are_copied_before_or_after_their_update(first):
    def build():
        model = nn.Linear(3, 2).double()
        copies = [tg.zeros(2, 3).double(), tg.zeros(2).double(), tg.zeros(2, 3).double()]
        optimizer = tg.optim.Adam(model.parameters(), lr=0.1)

        def keep():
            for c, p in zip(copies, model.parameters()):
                c.copy_(p.detach())

        def f(x):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            if first:
                keep()
            optimizer.step()
            if not first:
                keep()
            copies[2].copy_(model.weight.grad)

        return f, lambda: [copies, with_gradients(model.parameters())()]

    side_by_side(build, batches((4, 3)))


def test_a_gradient_and_its_copy_do_not_share_memory():
    w, seen = tg.ones(3).requires_grad_(), tg.zeros(3)

    @tg.compile
    def f(x):
        w.grad = None
        (w * x).sum().backward()
        seen.copy_(w.grad)

    for _ in range(3):
        f(tg.ones(3))
    w.grad.zero_()
    assert seen.tolist() == [1.0, 1.0, 1.0]


def test_the_detached_number_of_a_sum_stays_when_the_sum_is_written():
    def f(x):
        total = x.sum()
        before = total.detach()
        total += 1.0
        return total, before

    side_by_side(lambda: (f, []), batches((3,), count=4))


def test_a_tensor_made_inside_is_new_in_every_call():
    def build():
        w = tg.ones(3).double().requires_grad_()

        def f(x):
            out = tg.zeros(3).double()
            out[1:] = (w * x)[1:]
            out[0] = x.sum()
            v = tg.zeros(3).double().requires_grad_()
            for _ in range(3):
                v.grad = None
                ((v - x) ** 2).sum().backward()
                with tg.no_grad():
                    v -= 0.25 * v.grad
            (out * out).sum().backward()
            return out, v.detach()

        return f, with_gradients([w])

    side_by_side(build, batches((3,), count=5))


def test_a_gradient_written_into_a_tensor_from_outside_is_refused():
    w, store = tg.ones(2, requires_grad=True), tg.zeros(2)

    def f(x):
        store.copy_(w * x)

    with pytest.raises(TraceError, match=r"carries a gradient.*test_compile\.py.*detach"):
        tg.compile(f)(tg.ones(2))
    assert store.tolist() == [0.0, 0.0] and store.is_leaf and not store.requires_grad


def test_integer_counters_that_differ():
    def build():
        weights = [tg.ones(3).double().requires_grad_(), tg.ones(2, 3).double().requires_grad_()]
        counters = [tg.tensor(5), tg.tensor(0)]

        def f(x):
            for w in weights:
                w.grad = None
            sum((w * x).square().sum() for w in weights).backward()
            with tg.no_grad():
                for w, t in zip(weights, counters):
                    t.add_(1)
                    w.sub_(w.grad * 0.1 / (1.0 - 0.5**t))

        return f, lambda: [counters, with_gradients(weights)()]

    side_by_side(build, batches((3,)))


def test_a_view_that_is_written_is_refused():
    store = tg.zeros(4)

    def f(x):
        store.reshape(2, 2)[0] = x

    with pytest.raises(TraceError, match=r"view is written.*test_compile\.py"):
        tg.compile(f)(tg.ones(2))


# --- random draws -------------------------------------------------------------------------------


def test_draws_go_on_as_eager_ones_do():
    def build():
        own = tg.random.Generator().manual_seed(5)

        def f(x):
            y = F.dropout(x, 0.5) + tg.randn(3) + tg.rand(3, generator=own)
            return y, tg.randperm(5), tg.bernoulli(tg.full((3,), 0.3)), tg.empty(3).normal_()

        return f, []

    side_by_side(build, batches((3,), count=20, dtype=np.float32))


def test_a_doubt_does_not_draw_twice():
    def build():
        own = tg.random.Generator().manual_seed(5)

        def f(x):
            z = F.dropout(x, 0.5, generator=own)
            return F.silu(z * tg.rand(3, generator=own))

        return f, []

    calls = batches((3,), count=6, dtype=np.float32)
    calls[3][0][1] = np.inf
    with np.errstate(invalid="ignore"):
        side_by_side(build, calls)


def test_draws_of_numpy_are_found():
    compiled = tg.compile(lambda x: x * np.random.random())
    compiled(tg.ones(2))
    with pytest.raises(TraceError, match=r"another number.*multiply at .*test_compile\.py"):
        compiled(tg.ones(2))


# --- assumptions --------------------------------------------------------------------------------


def classifier():
    model = nn.Linear(3, 4).double()
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x, targets):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), targets)
        loss.backward()
        optimizer.step()
        return loss

    held = with_gradients(model.parameters())
    return step, lambda: [held(), optimizer.state_dict()["state"]]


def test_class_ids_that_are_ignored_later():
    calls = [[x, np.arange(7) % 4] for (x,) in batches((7, 3), count=10)]
    calls[4][1][2:4] = -100
    calls[7][1][0] = -100
    side_by_side(classifier, calls)


@pytest.mark.parametrize("after", [1, 2, 4])
def test_class_ids_out_of_range_raise_as_in_eager_code(after):
    tg.manual_seed(0)
    step, held = classifier()
    compiled = tg.compile(step)
    calls = [[tg.tensor(x), tg.tensor(np.arange(7) % 4)] for (x,) in batches((7, 3), count=6)]
    for call in calls[:after]:
        compiled(*call)
    before = numbers_of(held())
    wrong = tg.tensor(np.array([0, 1, 2, 4, 0, 0, 0]))
    with pytest.raises(ValueError, match="class id 4 is outside"):
        compiled(calls[0][0], wrong)
    agree(numbers_of(held()), before)
    programs = len(compiled.runners)
    for call in calls[after:]:
        compiled(*call)
    assert len(compiled.runners) == programs


@pytest.mark.parametrize("function", [F.gelu, F.silu, F.logsigmoid, F.softplus])
def test_infinite_logits_later(function):
    def build():
        w = tg.ones(3).double().requires_grad_()

        def f(x):
            w.grad = None
            y = function(x * w)
            y.backward(tg.ones(3).double())
            return y

        return f, with_gradients([w])

    calls = batches((3,), count=6)
    calls[3][0][1], calls[5][0][2] = np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        side_by_side(build, calls)


def evaluated_after_its_update():
    model = nn.Linear(3, 4).double()
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    total = tg.ones(6).double()

    def f(x, y):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        total.mul_(1.5)
        after = F.cross_entropy(model(x * x), y, label_smoothing=0.1)
        return after, F.dropout(total, 0.5)

    return f, lambda: [total, with_gradients(model.parameters())()]


def in_one_long_row():
    w, total = tg.ones(4).double().requires_grad_(), tg.ones(6).double()

    def f(x, y):
        w.grad = None
        z = (x.repeat(1 << 16, 1) * w).flatten()
        z = F.tanh(z * 2.0 + 1.0) * z
        loss = F.binary_cross_entropy_with_logits(z, tg.ones(z.shape[0]).double())
        loss.backward()
        total.mul_(1.5)
        return loss, F.dropout(total, 0.5)

    return f, lambda: [total, with_gradients([w])()]


@pytest.mark.parametrize(
    ("build", "width"), [(evaluated_after_its_update, 3), (in_one_long_row, 4)]
)
def test_nothing_is_written_or_drawn_before_a_doubt(build, width):
    calls = [[tg.tensor(x), tg.tensor([0, 3])] for (x,) in batches((2, width), count=6)]
    with np.errstate(all="ignore"), tg.no_grad():
        calls[3][0][0, 1] = 1e200 if width == 3 else np.inf
    with np.errstate(all="ignore"):
        side_by_side(build, calls, bound=1e-9)


# --- the second call ----------------------------------------------------------------------------


def counted():
    calls = iter(range(100))
    return lambda x: x * float(next(calls))


def appended():
    seen = []

    def f(x):
        seen.append(1)
        for _ in seen:
            x = x * 2.0
        return x

    return f


def sliced():
    calls = iter(range(100))
    return lambda x: x[next(calls) :].sum() * 2.0


def branching():
    seen = []

    def f(x):
        seen.append(1)
        return x * 2.0 if len(seen) == 1 else x + 2.0

    return f


def rebound():
    held = SimpleNamespace(t=tg.ones(2), u=tg.ones(2))

    def f(x):
        held.t, held.u = held.u, held.t
        return (x + held.u) * held.t

    return f


def returned():
    seen = []

    def f(x):
        seen.append(1)
        return x * 2.0, len(seen)

    return f


def exchanged():
    seen = []

    def f(x):
        seen.append(1)
        a, b = x * 2.0, x * 3.0
        return (a, b) if len(seen) % 2 else (b, a)

    return f


@pytest.mark.parametrize(("make", "message"), [
    (exchanged, "another value is returned"),
    (counted, "another number in its second call.*0.0 became 1.0 in multiply at .*test_compile"),
    (appended, "2 steps instead of 1, first multiply at .*test_compile"),
    (sliced, "something else.*slice at .*test_compile"),
    (branching, "add at .*test_compile.* instead of multiply at .*test_compile"),
    (rebound, "reads another tensor.*add at .*test_compile"),
    (returned, "returns 2 in its second call instead of 1"),
], ids=lambda v: getattr(v, "__name__", ""))  # fmt: skip
def test_what_differs_in_the_second_call_is_named(make, message):
    compiled = tg.compile(make())
    compiled(tg.ones(2))
    with pytest.raises(TraceError, match=message):
        compiled(tg.ones(2))


def test_check_looks_at_every_call():
    factor = np.ones(2, np.float32)
    for check in (False, True):
        factor[:] = 2.0
        compiled = tg.compile(lambda x: x * factor, check=check)
        for _ in range(3):
            compiled(tg.ones(2))
        factor[:] = 3.0
        if not check:
            assert compiled(tg.ones(2)).tolist() == [2.0, 2.0]  # a NumPy array is a constant
            continue
        with pytest.raises(TraceError, match=r"became an array .* in multiply"):
            compiled(tg.ones(2))


VALUE = tg.tensor([2.0])


def test_a_variable_that_holds_another_tensor_is_seen(monkeypatch):
    inner = tg.tensor([1.0])
    parts = [tg.tensor([5.0])]
    table = {"t": tg.tensor([7.0])}

    def helper(x):
        return x * VALUE

    def f(x):
        return helper(x) + inner + parts[0] + table["t"]

    compiled = tg.compile(f)
    for k in range(4):
        assert compiled(tg.ones(1)).item() == f(tg.ones(1)).item()
        assert compiled(tg.ones(1)).item() == f(tg.ones(1)).item()
        monkeypatch.setitem(globals(), "VALUE", tg.tensor([3.0 + k]))
        assert compiled(tg.ones(1)).item() == f(tg.ones(1)).item()
        inner = tg.tensor([4.0 + k])
        assert compiled(tg.ones(1)).item() == f(tg.ones(1)).item()
        parts[0] = tg.tensor([6.0 + k])
        assert compiled(tg.ones(1)).item() == f(tg.ones(1)).item()
        table["t"] = tg.tensor([8.0 + k])


def test_a_computed_number_from_outside_is_seen_when_it_changes():
    scale = tg.ones(3).sum()
    compiled = tg.compile(lambda x: x * scale)
    for _ in range(4):
        assert compiled(tg.ones(1)).item() == scale.item()
        scale += 1.0


def test_the_detached_numbers_of_a_parameter_are_no_constants():
    w = nn.Parameter(np.ones(2))
    compiled = tg.compile(lambda x: x * w.detach() + w.data)
    for k in range(4):
        assert compiled(tg.ones(2).double()).tolist() == [2.0 * (k + 1)] * 2
        w.data += 1.0


@pytest.mark.parametrize("wrong", ["result", "state", "gradient"])
def test_a_wrong_program_is_found_and_changes_nothing(wrong):
    w = nn.Parameter(np.array([1.0, 2.0]))
    total = tg.zeros(2).double()

    def f(x):
        w.grad = None
        ((w * x).exp() * 3.0).sum().backward()
        total.add_(w.grad * 5.0)
        return x * 7.0

    compiled = tg.compile(f)
    compiled(tg.ones(2).double())
    runner = compiled.runners[0]
    number = {"result": 7.0, "state": 5.0, "gradient": 3.0}[wrong]
    var = next(v for v, c in runner.program.constants.items() if np.all(c == number))
    runner.program.constants[var] = runner.program.constants[var] + 1.0
    runner.emitted = Emitter(runner.program).emit()
    runner.bind()
    before = numbers_of([total, w.grad, tg.random.get_rng_state()])
    with pytest.raises(TraceError, match=r"does not compute what the function does.*multiply at"):
        compiled(tg.tensor([1.0, 3.0], dtype=np.float64))
    agree(numbers_of([total, w.grad, tg.random.get_rng_state()]), before)


# --- what cannot be traced ----------------------------------------------------------------------


class Counting(nn.Module):
    def __init__(self):
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x


def switching(model):
    def f(x):
        model.train()
        return model(x)

    return f


@pytest.mark.parametrize(("make", "message"), [
    (lambda: lambda x: x if x.sum() > 1.0 else -x, "where"),
    (lambda: lambda x: print(f"{x.sum():.3f}"), "outside"),
    (lambda: lambda x: np.linalg.svd(x), "svd"),
    (lambda: lambda x: x[x > 0.5], "how many elements.*where"),
    (lambda: Counting(), "Counting.calls is set.*Set it outside"),
    (lambda: switching(nn.Linear(2, 2).eval()), "Linear.training is set"),
], ids=["if", "format", "svd", "mask", "attribute", "train"])  # fmt: skip
def test_what_cannot_be_traced_is_an_error_that_names_the_line(make, message):
    compiled = tg.compile(make())
    for _ in range(2):
        with pytest.raises((TraceError, TypeError), match=message) as caught:
            compiled(tg.ones(2))
        if caught.type is TraceError:
            assert "test_compile.py" in str(caught.value)


def test_a_mask_from_outside_picks_the_same_in_every_call():
    mask = tg.tensor([True, False, True])
    compiled = tg.compile(lambda x, m: x[mask].sum() * x[m].sum())
    other = tg.tensor([False, True, True])
    for k in range(3):
        x = tg.tensor([1.0 + k, 2.0, 3.0])
        assert compiled(x, other).item() == (4.0 + k) * 5.0
    with pytest.raises(TraceError, match="how many elements"):
        compiled(x, mask)
    mask[1] = True
    with pytest.raises(TraceError, match="how many elements"):
        compiled(x, other)


def test_a_schedule_inside_is_refused():
    optimizer = tg.optim.SGD([tg.ones(1, requires_grad=True)])
    schedule = tg.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(RuntimeError, match="only once"):
        tg.compile(lambda: schedule.step())()


def test_a_tensor_may_be_printed_while_it_is_traced(capsys):
    tg.compile(lambda x: print(x * 2.0))(tg.ones(2))
    assert "traced float32 (2,)" in capsys.readouterr().out


# --- forms --------------------------------------------------------------------------------------


class Scaler:
    def __init__(self, factor):
        self.factor = tg.tensor([factor])

    @tg.compile
    def scaled(self, x):
        return x * self.factor

    def __call__(self, x):
        return x + self.factor


def test_methods_lambdas_partials_and_callables():
    one, two, x = Scaler(2.0), Scaler(3.0), tg.ones(1)
    for k in range(3):
        assert one.scaled(x).item() == 2.0 + k and two.scaled(x).item() == 3.0 + k
        one.factor, two.factor = tg.tensor([3.0 + k]), tg.tensor([4.0 + k])
    assert one.scaled is one.scaled is not two.scaled
    double = tg.compile(functools.partial(lambda t, x: x * t, tg.tensor([2.0])))
    called = tg.compile(two)
    model = nn.Linear(1, 1)
    layer = tg.compile(model)
    for _ in range(3):
        assert double(x).item() == 2.0 and called(x).item() == 1.0 + two.factor.item()
        assert layer(x).item() == model(x).item()
        model.weight = nn.Parameter([[4.0]])
    assert list(layer.parameters()) == list(model.parameters()) and layer.weight is model.weight
    two.factor = tg.tensor([10.0])
    assert called(x).item() == 11.0


def test_as_a_decorator_with_and_without_parentheses():
    @tg.compile
    def f(x):
        """One."""
        return x

    @tg.compile(check=True)
    def g(x):
        """Two."""
        return f(x) * 2.0

    assert (f.__doc__, g.__name__) == ("One.", "g")
    for _ in range(3):
        assert g(tg.ones(1)).item() == 2.0
    assert not f.runners  # inside another one it is a plain function


def test_copies_and_pickles():
    one = Scaler(2.0)
    one.scaled(tg.ones(1))
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), copy.copy(one)):
        assert other.scaled(tg.ones(1)).item() == 2.0
    assert pickle.loads(pickle.dumps(decorated)) is decorated
    other = copy.deepcopy(one)
    other.factor = tg.tensor([5.0])
    assert other.scaled(tg.ones(1)).item() == 5.0 and one.scaled(tg.ones(1)).item() == 2.0


@tg.compile
def decorated(x):
    return x * 2.0


def generating(x):
    yield x


async def waiting(x):
    return x


@pytest.mark.parametrize(
    ("fn", "message"), [(generating, "generator"), (waiting, "coroutine"), (3, "wanted a function")]
)
def test_what_is_no_function_is_refused(fn, message):
    with pytest.raises(TypeError, match=message):
        tg.compile(fn)


def test_recursion():
    def f(x, n):
        return x if n == 0 else compiled(x * 2.0, n - 1)

    compiled = tg.compile(f)
    for _ in range(3):
        assert compiled(tg.ones(1), 3).item() == 8.0
    assert len(compiled.runners) == 1


def test_many_kinds_of_arguments_are_too_many():
    compiled = tg.compile(lambda x, n: x * n)
    for n in range(32):
        compiled(tg.ones(1), n)
    with pytest.warns(UserWarning, match=r"32 kinds.*floats or tensors"):
        assert compiled(tg.ones(1), 32).item() == 32.0
    assert len(compiled.runners) == 32


def test_another_shape_or_dtype_makes_another_program():
    compiled = tg.compile(lambda x: (x * 2.0).sum(0))
    for _ in range(3):
        for x in (np.ones((2, 3)), np.ones((3, 2)), np.ones((2, 3), np.float32), np.ones(2)):
            y = compiled(tg.tensor(x))
            assert y.dtype == x.dtype and y.tolist() == (2 * x.sum(0)).tolist()
    assert len(compiled.runners) == 4


# --- threads and exceptions ---------------------------------------------------------------------


def in_threads(*functions):
    failures = []

    def guarded(function):
        try:
            function()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_threads_share_a_compiled_function():
    model = network().eval()
    total = tg.zeros(1).double()

    @tg.compile
    def f(x):
        total.add_(1.0)
        return model(x)

    wanted = {n: model(tg.ones(n, 3).double()).tolist() for n in (2, 3, 4)}

    def many(n):
        for _ in range(50):
            agree(numbers_of(f(tg.ones(n, 3).double())), np.array(wanted[n]))

    in_threads(*(functools.partial(many, n) for n in (2, 3, 4, 2)))
    assert total.item() == 200.0


def test_eager_code_in_another_thread_sees_nothing_of_a_trace():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    inside, go_on = threading.Event(), threading.Event()

    def f(x):
        w.grad = None
        (w * x).sum().backward()
        inside.set()
        assert go_on.wait(10)
        return w.grad * 2.0

    def eager():
        assert inside.wait(10)
        assert w.grad is None
        (w * 5.0).sum().backward()
        assert w.grad.tolist() == [5.0, 5.0]
        go_on.set()

    results = []
    compiled = tg.compile(f)
    in_threads(lambda: results.append(compiled(tg.ones(2)).tolist()), eager)
    assert results == [[2.0, 2.0]] and w.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_while_tracing_changes_nothing(error):
    model = network(dropout=True)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    plain, stop = training(model, optimizer), []

    def step(x, y):
        loss = plain(x, y)
        if stop:
            raise error("stop")
        return loss

    compiled = tg.compile(step)
    x, y = map(tg.tensor, PAIRS[0])
    for calls in range(3):
        grads = [p.grad for p in model.parameters()]
        held = [list(model.state_dict().values()), tg.random.get_rng_state()]
        before = numbers_of(held)
        stop.append(1)
        with pytest.raises(error, match="stop"):
            compiled(x[: calls + 2], y[: calls + 2])
        stop.clear()
        agree(numbers_of([held[0], tg.random.get_rng_state()]), before)
        assert all(p.grad is g for p, g in zip(model.parameters(), grads))
        assert tg.is_grad_enabled() and isinstance((x * 1.0).array, np.ndarray)
        compiled(x, y)


def test_an_exception_while_tracing_leaves_older_graphs_alone():
    w, total = tg.ones(2, requires_grad=True), tg.ones(2)
    loss = (w * total).sum()

    def f(x):
        total.add_(x)
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        tg.compile(f)(tg.ones(2))
    loss.backward()
    assert w.grad.tolist() == [1.0, 1.0]


class Interrupting(tg.random.Generator):
    """Draws that end in an interrupt while the program runs."""

    stop = False

    def rand(self, *args, **kwargs):
        if self.stop:
            raise KeyboardInterrupt
        return super().rand(*args, **kwargs)


def test_an_interrupt_in_the_middle_of_a_run_leaves_whole_tensors():
    generator = Interrupting()
    first, second = tg.zeros(3).double(), tg.zeros(3).double()
    w = tg.ones(3).double().requires_grad_()

    def f(x):
        w.grad = None
        first.add_(x)
        (w * first).sum().backward()
        noise = tg.rand(3, generator=generator, dtype=np.float64)
        second.add_(noise * 0.0 + x)

    compiled = tg.compile(f)
    x = tg.ones(3).double()
    for _ in range(3):
        compiled(x)
    kept = w.grad
    generator.stop = True
    with pytest.raises(KeyboardInterrupt):
        compiled(x)
    generator.stop = False
    assert first.tolist() in ([3.0] * 3, [4.0] * 3) and second.tolist() == [3.0] * 3
    assert w.grad is kept
    n = first[0].item()
    compiled(x)
    assert first.tolist() == [n + 1.0] * 3 and second.tolist() == [4.0] * 3
    assert w.grad.tolist() == first.tolist()


def test_a_function_of_no_module_is_compiled():
    names = {"tg": tg}
    exec("def double(x): return x * 2.0", names)  # as a notebook or a template makes them
    names["double"].__module__ = None
    compiled = tg.compile(names["double"])
    for _ in range(3):
        np.testing.assert_array_equal(compiled(tg.tensor([1.0])).numpy(), [2.0])


class Holder:
    """Any object of the user's that holds a model, an optimiser and a number."""


def fresh_model(seed):
    tg.manual_seed(seed)
    model = nn.Linear(3, 2)
    return model, tg.optim.SGD(model.parameters(), lr=0.1)


@pytest.mark.parametrize("kind", ["object", "dict", "list"])
def test_another_model_in_an_object_dict_or_list_is_seen(kind):
    results = []
    for compile in (lambda fn: fn, tg.compile):
        place = {"object": Holder(), "dict": {}, "list": [None, None]}[kind]

        def put(model, optimizer, place=place):
            if kind == "object":
                place.model, place.optimizer = model, optimizer
            elif kind == "dict":
                place.update(model=model, optimizer=optimizer)
            else:
                place[:] = [model, optimizer]

        def step(x, y, place=place):
            if kind == "object":
                model, optimizer = place.model, place.optimizer
            else:
                model, optimizer = place.values() if kind == "dict" else place
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        def through(x, y, step=step, place=place):
            return step(x, y)

        names = {"step": step, "place": place}
        exec("def run(x, y): return step(x, y, place)", names)
        run = compile(names["run"])
        put(*fresh_model(0))
        x, y = tg.ones(4, 3), tg.ones(4, 2)
        losses = [run(x, y).item() for _ in range(4)]
        put(*fresh_model(7))
        results.append(losses + [run(x, y).item() for _ in range(4)])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)


def test_a_number_that_changes_after_the_second_call_makes_another_program():
    names = {"rate": 2.0, "holder": Holder()}
    names["holder"].shift = 1.0
    exec("def f(x): return x * rate + holder.shift", names)
    compiled = tg.compile(names["f"])
    x = tg.tensor([1.0])
    found = []
    for rate, shift in [(2.0, 1.0)] * 3 + [(3.0, 1.0)] * 3 + [(3.0, 5.0)] * 2 + [(2.0, 1.0)]:
        names["rate"], names["holder"].shift = rate, shift
        found.append(compiled(x).item())
    assert found == [3.0] * 3 + [4.0] * 3 + [8.0] * 2 + [3.0]


def test_what_a_failed_trace_has_bound_is_put_back():
    names = {"W": tg.ones(2, requires_grad=True), "kept": [1.0], "at": {"h": 2.0}, "tg": tg}
    exec(
        "def step(x):\n"
        "    global W\n"
        "    loss = (x * W).sum()\n"
        "    kept.append(loss)\n"
        "    at['h'] = at['new'] = loss * 1.0\n"
        "    W = W * 2.0\n"
        "    return loss",
        names,
    )
    before = names["W"]
    for run in (lambda x: tg.trace(names["step"], x), tg.compile(names["step"])):
        with pytest.raises(tg.TraceError, match="outlives the function"):
            run(tg.ones(2))
        assert names["W"] is before and names["kept"] == [1.0] and names["at"] == {"h": 2.0}


def test_single_elements_whose_gradient_is_zero_do_not_alarm():
    tg.manual_seed(1)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3)]
    layers += [nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5)]
    model = nn.Sequential(*layers)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    x, y = tg.randn(8, 1, 12, 12), tg.randint(0, 5, (8,))

    @tg.compile(check=True)
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(x, y).item() for _ in range(4)]
    assert losses[-1] < losses[0]


def test_a_compiled_function_can_be_traced_after_many_calls():
    w = tg.ones(3, requires_grad=True)

    @tg.compile
    def step(x):
        return (x * w).sum()

    for _ in range(4):
        step(tg.ones(3))
    assert [s.op for s in tg.trace(step, tg.ones(3)).steps] == ["multiply", "sum"]


def test_an_empty_batch_gives_what_eager_code_gives():
    def build():
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = model(x).sum()
            loss.backward()
            optimizer.step()
            return loss

        return step, with_gradients(model.parameters())

    side_by_side(build, [[np.zeros((n, 3))] for n in (4, 0, 4, 0, 0)])


def test_a_compiled_function_shows_what_runs():
    @tg.compile
    def double(x):
        return x * 2.0

    with pytest.raises(RuntimeError, match="call the function once"):
        double.emitted()
    double(tg.ones(2))
    assert "return 2 * x" in double.source() or "return x * 2" in double.source()
    assert "multiply(" in double.emitted()


@pytest.mark.parametrize(
    "part", [lambda y: y[:1], lambda y: y[1], lambda y: y[:, :1], lambda y: y[::-1],
             lambda y: y[tg.tensor([3, 1, 0, 2])]]
)  # fmt: skip
@pytest.mark.parametrize("classes", [4, 2])
def test_a_part_of_a_layer_is_added_to_it(part, classes):
    def build():
        model = nn.Linear(3, classes).double()

        def f(x):
            model.zero_grad()
            y = model(x).relu()
            loss = (part(y) + y).relu().square().mean()
            loss.backward()
            return loss

        return f, with_gradients(model.parameters())

    side_by_side(build, batches((4, 3)))


def test_a_relu_of_float32_under_a_gradient_of_float64():
    def build():
        w, v = tg.ones(3).requires_grad_(), tg.ones(3).double().requires_grad_()

        def f(x):
            w.grad = v.grad = None
            y = (w * x).relu()
            loss = (tg.where(y > 0.0, v, v * 2.0) * y).sum()
            loss.backward()
            return loss

        return f, with_gradients([w, v])

    side_by_side(build, batches((3,), dtype=np.float32), bound=1e-5)


def test_a_constant_that_is_returned_may_be_written():
    count = tg.tensor(7.0)

    @tg.compile
    def f(x):
        count.fill_(1.0)
        return count.clone(), x * 2.0

    for _ in range(4):
        result, _ = f(tg.ones(2))
        assert result.item() == 1.0
        result.add_(5.0)
