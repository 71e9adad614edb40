"""compile(): training, arguments, results and derivatives, eager and compiled side by side."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
from side_by_side import (
    PAIRS,
    agree,
    batches,
    network,
    numbers_of,
    side_by_side,
    training,
    with_gradients,
)

import tinygrad_ce as tg
from tinygrad_ce import TraceError, nn
from tinygrad_ce.autograd import grad, hessian, jacobian, vjp
from tinygrad_ce.nn import functional as F

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


# --- layers, batches and results at their edges ---------------------------------------------------


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
