"""Everything in the tables of the other tests, compiled and eager side by side."""

import copy
import sys
from pathlib import Path

import nn_cases as cases
import numpy as np
import pytest
import test_rules
from side_by_side import side_by_side, with_gradients
from test_nn import MODULES

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F

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


MADE = {
    "zeros_like": tg.zeros_like,
    "ones_like": tg.ones_like,
    "full_like": lambda x: tg.full_like(x, 2.5),
    "full_like of a tensor": lambda x: tg.full_like(x, x.sum()),
    "new_zeros": lambda x: x.new_zeros(3),
    "new_ones": lambda x: x.new_ones(3),
    "new_full": lambda x: x.new_full((3,), 0.5),
    "zeros": lambda x: tg.zeros(3),
    "full": lambda x: tg.full((3,), 4.0),
    "eye": lambda x: tg.eye(3)[1],
    "arange": lambda x: tg.arange(3.0),
    "linspace": lambda x: tg.linspace(0, 1, 3),
}


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_in_a_step_is_made_anew(name):
    def build():
        def f(x):
            made = MADE[name](x)
            before = made.clone()
            made += x  # into the new one, and nowhere else
            return before, made, x * 1

        return f, []

    side_by_side(build, [[np.arange(3.0) + k] for k in range(4)])
