"""Everything in the tables of the other tests, compiled and eager side by side."""

import copy
import os
import sys
from pathlib import Path

import nn_cases as cases
import numpy as np
import pytest
import test_rules
from hypothesis import given, settings, strategies as st
from side_by_side import side_by_side, with_gradients
from test_nn import MODULES
from test_trace import values_of

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.engine import table
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program.passes import simplified

sys.path.append(str(Path(__file__).parents[1] / "examples"))

import cross_entropy
import digits

CALLS = 4


def weighed(y, seed=0):
    """Σ w·y, with w different in every element."""
    w = np.random.default_rng(seed).uniform(0.5, 1.5, y.shape).astype(y.dtype)
    return (y * tg.tensor(w)).sum()


def moved(x, k):
    """The same numbers a little elsewhere, in their order: no kink is crossed."""
    return np.asarray(x * (1.0 + 0.001 * k)) if x.dtype.kind == "f" else x


@pytest.mark.parametrize("case", test_rules.CASES, ids=test_rules.IDS)
def test_every_rule(case):
    def build():
        def f(*xs):
            for x in xs:
                x.requires_grad_()
            y = case.ours(*xs)
            if y.requires_grad:
                weighed(y).backward()
            return y

        return f, []

    calls = [[moved(np.asarray(x), k) for x in case.inputs] for k in range(CALLS)]
    side_by_side(build, calls)


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_every_function_of_nn(case):
    def build():
        def f(*xs):
            for i in case.wrt:
                xs[i].requires_grad_()
            y = case.call(F, *xs)
            weighed(y).backward()
            return y

        return f, []

    side_by_side(build, [[np.asarray(x) for x in case.inputs]] * CALLS)


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize(("module", "inputs", "_"), MODULES, ids=lambda m: type(m).__name__)
def test_every_module_for_twenty_steps(module, inputs, _, double):
    def build():
        model = copy.deepcopy(module).train()
        model.to(np.float64 if double else np.float32)
        parameters = list(model.parameters())
        optimizer = tg.optim.Adam(parameters, lr=0.01) if parameters else None

        def f(*xs):
            if optimizer is not None:
                optimizer.zero_grad()
            y = model(*xs)
            if y.requires_grad:
                weighed(y * y).backward()
                optimizer.step()
            return y

        held = with_gradients(parameters)
        return f, lambda: [held(), list(model.buffers())]

    dtype = np.float64 if double else np.float32
    arrays = [x.detach().numpy() for x in inputs]
    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]
    shrink = 0.999 if isinstance(module, nn.BCELoss) else 1.001
    calls = [
        [a * dtype(shrink**k) if a.dtype.kind == "f" else a for a in arrays] for k in range(20)
    ]
    side_by_side(build, calls, noise=0.0 if double else 1e-6)  # of twenty steps of Adam


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("name", cases.OPTIMISERS)
def test_every_optimiser_for_twenty_steps(name, double):
    def build():
        parameters = cases.start(tg, double)
        optimizer = cases.OPTIMISERS[name](tg.optim, parameters)
        w, v, _ = parameters

        def f(x, y):
            optimizer.zero_grad()
            d = (x @ w).tanh() @ v - y
            (d * d).mean().backward()
            optimizer.step()

        held = with_gradients(parameters)
        return f, lambda: [held(), optimizer.state_dict()["state"]]

    stream = np.random.default_rng(1)
    dtype = np.float64 if double else np.float32
    calls = [[stream.standard_normal(s).astype(dtype) for s in ((7, 3), (7,))] for _ in range(20)]
    side_by_side(build, calls)


# --- random programs ----------------------------------------------------------------------------

UNARY = [
    table.neg, table.exp, table.sin, table.cos, table.tanh, table.abs, table.expm1, table.erfc,
    F.relu, F.softplus, F.sigmoid, F.gelu, F.silu, F.logsigmoid,
    lambda x: table.log(x * x + 1.0), lambda x: table.sqrt(x * x + 0.5),
    lambda x: 1.0 / (x * x + 2.0), lambda x: x.clone().mul_(2.0),
    lambda x: x.softmax(-1), lambda x: x.log_softmax(0), lambda x: x**3, lambda x: x.T.flip(0).T,
    lambda x: x - x.mean(0), lambda x: x / (x.std(1, keepdim=True) + 0.5), lambda x: x.cumsum(1),
    lambda x: x.sum(0).expand(*x.shape), lambda x: x.amax(1, keepdim=True) * x,
    lambda x: x[:, [4, 1, 4, 0, 2]], lambda x: x.reshape(5, 3).mT,
    lambda x: table.clip(x, -0.5, 0.5),
    lambda x: x.sort(1).values, lambda x: x.prod(1, keepdim=True) + x, lambda x: x.tril(1),
    lambda x: tg.cat([x[1:], x[:1]]), lambda x: tg.stack([x, -x]).sum(0), lambda x: x @ (x.T @ x),
    lambda x: x.norm(dim=1, keepdim=True) + x, lambda x: x.detach() * x,
]  # fmt: skip
BINARY = [
    table.add, table.sub, table.mul, table.maximum, table.minimum,
    lambda a, b: a / (b * b + 1.0), lambda a, b: table.where(a.detach() > 0.0, a, b),
    lambda a, b: tg.einsum("ij,kj->ik", a, b) @ b, lambda a, b: a + b[1], lambda a, b: a * b[:, :1],
    lambda a, b: a.gather(1, b.detach().argsort(1)), lambda a, b: written(a, b),
]  # fmt: skip


def written(a, b):
    a = a.clone()
    a[1] = b[0]
    a[:, 2] = a[:, 2] * 0.5
    return a


@st.composite
def programs(draw):
    """Steps (function, operands): each takes what stands before it."""
    steps = []
    for i in range(draw(st.integers(1, 12))):
        pool = draw(st.sampled_from([UNARY, BINARY]))
        n = 1 if pool is UNARY else 2
        operands = [draw(st.integers(0, 1 + i)) for _ in range(n)]
        steps.append((draw(st.sampled_from(pool)), operands))
    return steps


@settings(deadline=None, max_examples=int(os.environ.get("PROGRAMS", "60")), derandomize=True)
@given(programs(), st.booleans(), st.booleans())
def test_random_programs(steps, double, momentum):
    dtype = np.float64 if double else np.float32

    def build():
        w = tg.tensor(
            np.random.default_rng(0).uniform(-1, 1, (3, 5)).astype(dtype), requires_grad=True
        )
        optimizer = tg.optim.SGD([w], lr=0.01, momentum=0.9 * momentum)

        def f(x):
            optimizer.zero_grad()
            values = [w, x]
            for function, operands in steps:
                values.append(function(*(values[i] for i in operands)).tanh())
            loss = sum(weighed(v, seed=i) for i, v in enumerate(values))
            loss.backward()
            optimizer.step()
            return loss, values[-1]

        return f, with_gradients([w])

    stream = np.random.default_rng(7)
    calls = [[stream.uniform(-1, 1, (3, 5)).astype(dtype)] for _ in range(3)]
    noise = 1e-12 if double else 1e-4  # of sums that nearly cancel
    side_by_side(build, calls, noise=noise)
    step, held = build()
    program = tg.trace(step, tg.tensor(calls[0][0]))
    both = [
        (p, dict(zip(p.roots(), values_of(p, calls[0])))) for p in (program, simplified(program))
    ]
    loss, last = step(tg.tensor(calls[0][0]))
    ((w, g),) = held()
    for p, values in both:
        after = next(s.after for s in p.states if s.node is w)
        found = [values[x] for x in (*p.outputs, after, p.kept[0].var)]
        for a, b in zip(found, (loss, last, w, g)):
            np.testing.assert_array_equal(a, b.detach().numpy())


# --- whole networks -----------------------------------------------------------------------------


def learning(make, loss, optimise):
    """What builds a network that learns: `side_by_side` wants two of them."""

    def build():
        model = make()
        optimizer = optimise(model.parameters())
        schedule = tg.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)

        def step(x, y):
            value = loss(model(x), y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            return value

        held = with_gradients(model.parameters())
        held.schedule = schedule
        return step, held

    return build


def adam(parameters):
    return tg.optim.Adam(parameters, lr=0.01)


def descent(parameters):
    return tg.optim.SGD(parameters, lr=0.3)


NETWORKS = {
    "digits-softmax": (digits.SoftmaxRegression, F.cross_entropy, adam, 64, 10),
    "digits-network": (lambda: digits.TwoLayerNetwork(16), F.cross_entropy, adam, 64, 10),
    "lesson-logistic": (
        lambda: nn.Sequential(nn.Linear(30, 1)), cross_entropy.binary, descent, 30, 2,
    ),
    "lesson-softmax": (lambda: nn.Sequential(nn.Linear(13, 3)), F.cross_entropy, descent, 13, 3),
    "lesson-network": (
        lambda: nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)),
        F.cross_entropy, descent, 64, 10,
    ),
    "lesson-squared-error": (
        lambda: nn.Sequential(nn.Linear(30, 1)), cross_entropy.half_squared_error, descent, 30, 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_of_the_examples(name, double):
    make, loss, optimise, features, classes = NETWORKS[name]
    dtype = np.float64 if double else np.float32
    build = learning(lambda: make().to(dtype), loss, optimise)
    stream = np.random.default_rng(0)
    calls = []
    for _ in range(20):
        ids = stream.integers(0, classes, 17)
        targets = ids.astype(dtype) if classes == 2 else ids
        calls.append([stream.standard_normal((17, features)).astype(dtype), targets])
    noise = 1e-14 if double else 1e-5
    side_by_side(build, calls, lambda held, i: held.schedule.step(), noise=noise)


@pytest.mark.parametrize("name", cases.MODELS)
def test_networks_with_everything(name):
    make, shape = cases.MODELS[name]
    build = learning(
        lambda: make(nn).double(), lambda y, _: weighed(y), lambda ps: tg.optim.SGD(ps, lr=0.003)
    )
    stream = np.random.default_rng(0)
    calls = [[stream.standard_normal(shape), 0.0] for _ in range(20)]
    side_by_side(build, calls, noise=1e-13)  # a bias before batch normalisation


@pytest.mark.parametrize("function", [cross_entropy.naive, cross_entropy.stable])
def test_the_losses_of_the_lesson(function):
    def build():
        def f(z, y):
            z.requires_grad_()
            value = function(z, y)
            value.sum().backward()
            return value

        return f, []

    side_by_side(build, [[np.linspace(-3.0, 3.0, 5) + k, k % 2] for k in range(6)])
