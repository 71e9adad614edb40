"""teach.prove: what is equal is proved, what is not is refuted, and nothing is claimed beyond that.

What is true is known from mathematics; counterexamples are run here, in the eager functions.
"""

import collections
import contextvars
import copy
import functools
import itertools
import math
import random
import subprocess
import sys
import threading
import time
import types
from fractions import Fraction
from time import perf_counter

import mpmath
import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn, teach
from tinygrad_ce.nn import functional as F
from tinygrad_ce.teach import algebra, elements, regions

sigmoid, exp, log, sqrt, where = F.sigmoid, tg.exp, tg.log, tg.sqrt, tg.where


def softmax_slope(z, y):
    return (F.softmax(z, 1) - F.one_hot(y, 3)) / 2


def jacobian_of_softmax(z):
    p = F.softmax(z, 0)
    return tg.diag(p) - tg.outer(p, p)


def normalised(x, g, axis):
    """The gradient through (x − μ)/σ along an axis, as it stands in the books."""
    s = sqrt(x.var(axis, unbiased=False, keepdim=True) + 1e-5)
    xhat = (x - x.mean(axis, keepdim=True)) / s
    mean = (g * xhat).mean(axis, keepdim=True)
    return (g - g.mean(axis, keepdim=True) - xhat * mean) / s


GRADIENTS = {
    "sigmoid": (sigmoid, {"z": lambda z, g: g * sigmoid(z) * (1 - sigmoid(z))}, {"z": (2, 3)}),
    "tanh": (tg.tanh, {"x": lambda x, g: g * (1 - tg.tanh(x) ** 2)}, {"x": (3,)}),
    "softmax, a Jacobian": (lambda z: F.softmax(z, 0), {"z": jacobian_of_softmax}, {"z": (3,)}),
    "cross-entropy": (F.cross_entropy, {"z": softmax_slope}, {"z": (2, 3), "y": [0, 2]}),
    "cross-entropy, NumPy": (
        F.cross_entropy,
        {"z": lambda z: (np.exp(z) / np.exp(z).sum(1, keepdims=True) - np.eye(3)[[0, 2]]) / 2},
        {"z": (2, 3), "y": [0, 2]},
    ),
    "its Hessian": (
        lambda z, y: tg.autograd.grad(F.cross_entropy(z, y), z, create_graph=True)[0],
        {"z": lambda z: jacobian_of_softmax(z[0])[None, :, None, :]},
        {"z": (1, 3), "y": [2]},
    ),
    "binary cross-entropy": (
        F.binary_cross_entropy_with_logits,
        {"z": lambda z, y: (sigmoid(z) - y) / 4, "y": lambda z, y: -z / 4},
        {"z": (4,), "y": (4,)},
    ),
    "linear": (
        F.linear,
        {"W": lambda x, g: g.T @ x, "x": lambda W, g: g @ W, "b": lambda g: g.sum(0)},
        {"x": (2, 3), "W": (2, 3), "b": (2,)},
    ),
    "mean squared error": (
        F.mse_loss,
        {"a": lambda a, b: 2 * (a - b) / 6},
        {"a": (2, 3), "b": (2, 3)},
    ),
    "batch norm": (
        lambda x: F.batch_norm(x, None, None, training=True),
        {"x": lambda x, g: normalised(x, g, 0)},
        {"x": (3, 2)},
    ),
    "layer norm": (
        lambda x: F.layer_norm(x, (3,)),
        {"x": lambda x, g: normalised(x, g, 1)},
        {"x": (2, 3)},
    ),
    "logsumexp": (
        lambda z: tg.logsumexp(z, 1),
        {"z": lambda z, g: g[:, None] * F.softmax(z, 1)},
        {"z": (2, 3)},
    ),
    "huber": (
        F.huber_loss,
        {"x": lambda x, y: where((x - y).abs() <= 1, x - y, tg.sign(x - y)) / 4},
        {"x": (2, 2), "y": (2, 2)},
    ),
    "gelu": (
        F.gelu,
        {
            "x": lambda x, g: (
                g
                * (
                    0.5 * (1 + tg.erf(x / math.sqrt(2)))
                    + x * exp(-x * x / 2) / math.sqrt(2 * math.pi)
                )
            )
        },
        {"x": (2,)},
    ),
    "elu": (F.elu, {"x": lambda x, g: g * where(x > 0, 1.0, exp(x))}, {"x": (2,)}),
    "x ** (1/3)": (
        lambda x: x ** (1 / 3),
        {"x": lambda x, g: g / 3 * x ** (-2 / 3)},
        {"x": (2,)},
    ),
    "KL divergence": (
        lambda a, b: F.kl_div(F.log_softmax(a, 0), F.softmax(b, 0), reduction="sum"),
        {"a": lambda a, b: F.softmax(a, 0) - F.softmax(b, 0)},
        {"a": (3,), "b": (3,)},
    ),
    "convolution": (
        F.conv2d,
        {
            "w": lambda x, g: tg.stack(
                [(g[0, 0] * x[0, 0, i : i + 2, j : j + 2]).sum() for i in (0, 1) for j in (0, 1)]
            ).reshape(1, 1, 2, 2)
        },
        {"x": (1, 1, 3, 3), "w": (1, 1, 2, 2)},
    ),
}


PAGE = """sigmoid; tanh; softmax, a Jacobian; cross-entropy; its Hessian; linear;
mean squared error; batch norm; layer norm; logsumexp""".replace("\n", " ").split("; ")
"""What tests/test_theorem_pages.py proves; here it is refuted with a wrong factor."""


@pytest.mark.parametrize("name", [n for n in GRADIENTS if n not in PAGE])
def test_a_gradient_found_by_hand_is_proved(name):
    function, gradient, inputs = GRADIENTS[name]
    proof = teach.prove(function, gradient=gradient, **inputs)
    assert proof.status == "proved", proof
    assert proof.compared == tuple(f"gradient of {n}" for n in gradient)
    assert proof.counterexample is None and "for all real numbers" in proof.text


@pytest.mark.parametrize("name", [n for n in GRADIENTS if "NumPy" not in n])
def test_a_wrong_factor_in_it_is_refuted_by_numbers(name):
    function, gradient, inputs = GRADIENTS[name]
    z, formula = next(iter(gradient.items()))
    import inspect

    names = list(inspect.signature(formula).parameters)
    wrong = eval(
        f"lambda {', '.join(names)}: formula({', '.join(names)}) * (1 + 1e-7)", {"formula": formula}
    )
    proof = teach.prove(function, gradient={z: wrong}, **inputs)
    assert proof.status == "refuted"
    left, right = map(float, proof.values)
    assert right == pytest.approx(left * (1 + 1e-7), rel=1e-9) and left != right


X: dict = {"x": ()}
XY: dict = {"x": (), "y": ()}


def cubic(x):
    """It is 0 at one x, which is no fraction."""
    return x**3 + x - 1


SAME = {
    "the stable sigmoid": (sigmoid, lambda z: 1 / (1 + exp(-z)), {"z": (2,)}),
    "the stable softplus": (F.softplus, lambda x: log(1 + exp(x)), {"x": (2,)}),
    "cross-entropy as it is defined": (
        F.cross_entropy,
        lambda z, y: -log(exp(z) / exp(z).sum(1, keepdim=True))[[0, 1], y].mean(),
        {"z": (2, 3), "y": [0, 2]},
    ),
    "relu": (F.relu, lambda x: where(x > 0, x, 0 * x), {"x": (2, 3)}),
    "tanh of a sigmoid": (tg.tanh, lambda x: 2 * sigmoid(2 * x) - 1, {"x": (2,)}),
    "Pythagoras": (lambda x: tg.sin(x) ** 2 + tg.cos(x) ** 2, tg.ones_like, {"x": (2,)}),
    "a shifted softmax": (
        lambda x: F.softmax(x, 0),
        lambda x: F.softmax(x + 7, 0),
        {"x": (3,)},
    ),
    "attention": (
        F.scaled_dot_product_attention,
        lambda q, k, v: F.softmax(q @ k.mT / math.sqrt(2), -1) @ v,
        {"q": (2, 2), "k": (2, 2), "v": (2, 2)},
    ),
    "a third": (lambda x: x * (1 / 3), lambda x: x / 3, {"x": ()}),
    "log 2": (lambda x: x * math.log(2), lambda x: x * log(0 * x + 2), {"x": ()}),
    "a power": (lambda a, b: a**b, lambda a, b: exp(b * log(a)), {"a": (2,), "b": (2,)}),
    "binomial": (
        lambda a, b: (a + b) ** 3,
        lambda a, b: a**3 + 3 * a * a * b + 3 * a * b * b + b**3,
        {"a": (), "b": ()},
    ),
    "what is nowhere": (lambda x: where((x > 5) & (x < 3), x + 1, x), lambda x: x, {"x": (2,)}),
    "a square below 0": (lambda x: where(x * x < 0, x + 1, x), lambda x: x, {"x": (2,)}),
    "no order is a circle": (
        lambda x, y: where((x > y) & (y > 0) & (x < 0), x + 1, x),
        lambda x, y: x,
        {"x": (), "y": ()},
    ),
    "the largest of six": (lambda x: x.amin(), lambda x: -(-x).amax(), {"x": (6,)}),
    "less than the largest": (
        lambda x: where((x[0] < x.amax()) & (x[1] < x.amax()), x.sum(), x[0]),
        lambda x: x[0],
        {"x": (2,)},
    ),
    "what is no number, replaced": (tg.nan_to_num, lambda x: x, {"x": (2,)}),
    "real numbers are numbers": (
        lambda x: where(tg.isnan(x) | tg.isinf(x) | ~tg.isfinite(x), x + 1, x),
        lambda x: x,
        {"x": (2,)},
    ),
    "two names of one loss": (F.smooth_l1_loss, F.huber_loss, {"a": (2,), "b": (2,)}),
    "clip": (
        lambda x: x.clip(-1, 1),
        lambda x: where((x >= -1) & (x <= 1), x, tg.sign(x)),
        {"x": (2,)},
    ),
    "minimum": (
        lambda a, b: tg.minimum(a, b),
        lambda a, b: -tg.maximum(-a, -b),
        {"a": (2,), "b": (2,)},
    ),
    "largest of three": (
        lambda x: x.amax(),
        lambda x: -(-x).amin(),
        {"x": (3,)},
    ),
    "hyperbolic": (lambda x: tg.sinh(x) / tg.cosh(x), tg.tanh, {"x": (2,)}),
    "a double angle": (lambda x: tg.sin(2 * x), lambda x: 2 * tg.sin(x) * tg.cos(x), X),
    "a threefold angle": (
        lambda x: tg.cos(-3 * x),
        lambda x: 4 * tg.cos(x) ** 3 - 3 * tg.cos(x),
        X,
    ),
    "a sum of angles": (
        lambda x, y: tg.cos(x - 2 * y),
        lambda x, y: tg.cos(x) * (1 - 2 * tg.sin(y) ** 2) + tg.sin(x) * tg.sin(2 * y),
        {"x": (), "y": ()},
    ),
    "tangent": (tg.tan, lambda x: tg.sin(x) / tg.cos(x), {"x": (2,)}),
    "reciprocal": (tg.reciprocal, lambda x: x**-1, {"x": (2,)}),
    "expm1": (tg.expm1, lambda x: exp(x) - 1, {"x": (2,)}),
    "einsum": (
        lambda a, b: tg.einsum("ij,jk->ik", a, b),
        lambda a, b: a @ b,
        {"a": (2, 2), "b": (2, 2)},
    ),
    "an element": (lambda x: x[0], lambda x: x[0] * 1, {"x": (2,)}),
    "cumulative product": (
        lambda x: x.cumprod(0),
        lambda x: tg.stack([x[0], x[0] * x[1]]),
        {"x": (2,)},
    ),
    "a power above 64": (lambda x: x**66, lambda x: x**33 * x**33, {"x": ()}),
    "product": (lambda x: x.prod(), lambda x: x[0] * x[1] * x[2], {"x": (3,)}),
    "exclusive or": (
        lambda x: where((x > 0) ^ (x > 3), x, 2 * x),
        lambda x: where((x > 0) & (x <= 3), x, 2 * x),
        {"x": ()},
    ),
    "less than infinity": (lambda x: where(x < math.inf, x, 0 * x), lambda x: x, {"x": ()}),
    "a norm": (lambda x: x.norm(), lambda x: sqrt((x * x).sum()), {"x": (2,)}),
    "logarithm of a root": (lambda x: log(sqrt(x * x + 1)), lambda x: log(x * x + 1) / 2, X),
    "one over a root of a root": (
        lambda x: 1 / sqrt(sqrt(x)),
        lambda x: sqrt(sqrt(x)) / sqrt(x),
        X,
    ),
    "a root where there is none": (lambda x: where(x == 0, sqrt(x - 1), x), lambda x: x, X),
    "root of an exponential on a line": (
        lambda x, y: where(x == 2 * y, sqrt(exp(x)), y),
        lambda x, y: where(x == 2 * y, exp(x / 2), y),
        XY,
    ),
    "root of an exponential of a logarithm": (
        lambda x, y: where(x == log(y), sqrt(exp(x)), y),
        lambda x, y: where(x == log(y), exp(x / 2), y),
        XY,
    ),
    "a sine on a line": (
        lambda x, y: where(x == y, tg.sin(x) * tg.sin(y), y),
        lambda x, y: where(x == y, tg.sin(x) - tg.sin(x) * (1 - tg.sin(y)), y),
        XY,
    ),
    "nowhere, of two variables": (
        lambda x, y: where((x == 0) & (x * y > 1), x + 1, x),
        lambda x, y: x,
        XY,
    ),
    "at the origin alone": (
        lambda x, y: where(x * x + y * y == 0, x * x, x),
        lambda x, y: where(x * x + y * y == 0, 0 * x, x),
        XY,
    ),
    "by the sign of what is put in": (
        lambda x, y: where(x == 0, sqrt(x + y * y), y),
        lambda x, y: where(x == 0, abs(y) + x / (2 * abs(y)), y),
        XY,
    ),
    "by the sign of a polynomial that is put in": (
        lambda x, y: where(x == 0, sqrt(x + cubic(y) ** 2), y),
        lambda x, y: where(x == 0, abs(cubic(y)) + x / (2 * abs(cubic(y))), y),
        XY,
    ),
    "infinite at a root": (
        lambda x: 1 / (cubic(x) + F.relu(cubic(x))),
        lambda x: where(cubic(x) > 0, 1 / (2 * cubic(x)), 1 / cubic(x)),
        X,
    ),
    **{
        f"where {name}": (
            lambda x, y, c=c: where(c(x, y), 2 * x, x),
            lambda x, y, c=c: where(c(x, y), x + x, x),
            XY,
        )
        for name, c in {
            "x³ + y² > 0": lambda x, y: x**3 + y * y > 0,
            "log x > 0": lambda x, y: log(x) > 0,
            "√(x y) > 0": lambda x, y: sqrt(x * y) > 0,
            "x = 0 = y³ + y − 1 < x + y³ + y − 1": lambda x, y: (
                (x == 0) & (cubic(y) == 0) & (x + cubic(y) > 0)
            ),
            "x = 0, x > y + 1": lambda x, y: (x == 0) & (x > y + 1),
            "x = y, x y + y³ > 0": lambda x, y: (x == y) & (x * y + y**3 > 0),
        }.items()
    },
}


@pytest.mark.parametrize("name", SAME)
def test_two_ways_to_write_a_function_are_proved_to_be_the_same(name):
    function, other, inputs = SAME[name]
    proof = teach.prove(function, same=other, **inputs)
    assert proof.status == "proved", proof
    assert proof.compared[0] == "value" and len(proof.compared) > 1


DIFFERENT = {
    "beyond a clip": (lambda x: x.clamp(-28.0, 28.0).detach(), lambda x: x.detach(), X),
    "at 0 alone, in the gradient": (F.relu, lambda x: where(x >= 0, x, 0 * x), {"x": (2,)}),
    "at a tie": (
        lambda a, b: tg.maximum(a, b),
        lambda a, b: where(a > b, a, b),
        {"a": (), "b": ()},
    ),
    "at a tie of three": (
        lambda x: x.amax(),
        lambda x: where((x[0] >= x[1]) & (x[0] >= x[2]), x[0], tg.maximum(x[1], x[2])),
        {"x": (3,)},
    ),
    "beyond a million": (lambda x: x, lambda x: x.clip(-1e6, 1e6), {"x": (2,)}),
    "beyond 10¹²": (lambda x: x, lambda x: where(x > 1e12, x + 1, x), {"x": (2,)}),
    "in a narrow strip": (
        lambda x: x,
        lambda x: where((x > 0) & (x < 1e-9), x * (1 + x), x),
        {"x": (2,)},
    ),
    "at one point": (lambda x: x, lambda x: where(x == 3.14159, x + 1, x), {"x": (2,)}),
    "at a third": (lambda x: x, lambda x: where(x == 1 / 3, x + 1, x), {"x": (2,)}),
    "on a line": (
        lambda x, y: x,
        lambda x, y: where(x - 2 * y == 0.5, x + 1, x),
        {"x": (), "y": ()},
    ),
    "where an exponential is large": (
        lambda x: where(exp(x) > 1e9, 2 * x, x),
        lambda x: x,
        {"x": (2,)},
    ),
    "by detach": (lambda x: x * x, lambda x: x * x.detach(), {"x": (2,)}),
    "in one gradient of two": (
        lambda a, b: a * b,
        lambda a, b: a * b + (b - b.detach()),
        {"a": (2,), "b": (2,)},
    ),
    "by no_grad": (lambda x: 2 * x, tg.no_grad()(lambda x: 2 * x), {"x": (2,)}),
    "by 1e-20": (lambda x: x, lambda x: x + 1e-20 * x, {"x": ()}),
    "in its shape": (lambda x: x, lambda x: x.sum(), {"x": (2,)}),
    "rarely": (lambda x: where(tg.sin(x) > 0.98, 2 * x, x), lambda x: x, {"x": ()}),
    "in the order": (lambda x: tg.sort(x).values, lambda x: x, {"x": (3,)}),
    "where a branch that is not taken has no value": (
        lambda x: where(x > 0, log(x), where(x == -3.123, x + 1, x)),
        lambda x: where(x > 0, log(x), x),
        X,
    ),
    "by being traced": (
        lambda x: 2 * x if isinstance(x.array, np.ndarray) else x,
        lambda x: x,
        X,
    ),
    "where a gradient has no value": (
        lambda x: sqrt((x - 0.371) ** 2) + where(x == 0.371, 1.0, 0.0),
        lambda x: abs(x - 0.371),
        X,
    ),
    "by what comes from above, called as an input is": (
        lambda g: tg.stack([g[1].detach(), -g[0].detach()]) * (g[0] - g[0].detach()),
        lambda g: 0 * g,
        {"g": (2,)},
    ),
    "by an input that is called as an element is": (
        lambda a, x: where(a - x[0] == 7.25, a, a - x[0]),
        lambda a, x: a - x[0],
        {"x[0]": (), "x": (2,)},
    ),
    "where an error function is flat": (
        lambda x: tg.erf(x.clamp(-28.0, 28.0)).detach(),
        lambda x: where(x == 40.5, 2.0, tg.erf(x.clamp(-28.0, 28.0))).detach(),
        X,
    ),
    "by a high power": (
        lambda x: x.detach() ** 66,
        lambda x: x.detach() * x.detach().abs() ** 65,
        {"x": ()},
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_anywhere_is_refuted_by_numbers_that_can_be_run(name):
    function, other, inputs = DIFFERENT[name]
    proof = teach.prove(function, same=other, **inputs)
    assert proof.status == "refuted", proof
    point = dict(proof.counterexample)
    weights = tg.tensor(point.pop("g_" if "g" in inputs else "g", np.ones(())))
    found = []
    for f in (function, other):
        leaves = [tg.tensor(x, requires_grad=True) for x in point.values()]
        with np.errstate(divide="ignore", invalid="ignore"):  # log of what is not taken
            value = f(*leaves)
            found.append([value.detach().numpy()])
            if value.requires_grad and value.shape == weights.shape:
                (value * weights).sum().backward()
        found[-1] += [np.zeros(x.shape) if x.grad is None else x.grad.numpy() for x in leaves]
    if name != "by 1e-20":  # which doubles do not see
        assert any(a.shape != b.shape or not np.array_equal(a, b) for a, b in zip(*found))
    assert "refuted" in str(proof)


def test_what_was_found_in_one_region_is_not_taken_for_another():
    first = teach.prove(
        lambda y, z: z.log() * 0 + (y == 0) * ((y + z * z).sqrt() > 30) * 1.0,
        same=lambda y, z: z.log() * 0 + (y == 0) * (z > 30) * 1.0,
        y=(),
        z=(),
    )
    assert first.status == "proved" and "z > 0" in first.assumptions
    second = teach.prove(  # at y = 0, z = −40 the sides are −40 and 0
        lambda y, z: (y == 0).detach() * ((y + z * z).sqrt() > 30).detach() * z,
        same=lambda y, z: (y == 0).detach() * (z > 30).detach() * z,
        y=(),
        z=(),
    )
    assert second.status != "proved", second


def test_a_proof_leaves_nothing_behind():
    teach.prove(F.softplus, same=lambda x: log(1 + exp(x)), x=(3,))
    regions.forget(0)
    assert len(algebra.Symbol.known) == 2 and not regions.MEMORY
    assert not algebra.variables_in.cache_info().currsize


def test_proofs_in_two_threads_keep_apart():
    claims = [
        (F.softplus, lambda x: log(1 + exp(x)), "proved"),
        (F.relu, lambda x: where(x >= 0, x, 0 * x), "refuted"),
    ]
    found = {}

    def prove(i):
        function, other, _ = claims[i]
        found[i] = [teach.prove(function, same=other, x=(2,)).status for _ in range(4)]

    threads = [threading.Thread(target=prove, args=(i,)) for i in (0, 1)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert found == {i: [status] * 4 for i, (*_, status) in enumerate(claims)}


def test_roots_of_different_orders_are_told_apart():
    x = algebra.of(algebra.Symbol("variable", "x"))
    shown = [str(algebra.root_symbol(x, n)) for n in (2, 3, 4, 5)]
    assert shown == ["√(x)", "∛(x)", "∜(x)", "root5 (x)"]
    m = elements.Formulas(opaque=True)
    square, cube = (
        regions.as_value(algebra.Ratio(algebra.of(algebra.root_symbol(x, n)))) for n in (2, 3)
    )
    assert m.extremum([square, cube, square], True) == m.extremum([cube, square], True)
    assert m.extremum([square, cube], True) != m.extremum([square, square], True)


def shrinking():
    calls = []

    def function(x):
        calls.append(x)
        return x / len(calls)

    return function


BUFFER, HISTORY, SEED = tg.zeros((), dtype=tg.float64), [], np.random.default_rng(0)
STEPS, SEEN, NUMBERS, DRAWN = iter(range(10**6)), {0}, np.zeros(1), random.Random(0)
COUNT = itertools.count()


def steps():
    at = 0
    while True:
        yield (at := at + 1)


class Counter:
    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x if self.calls < 900 else 2 * x


def counted(x):
    counted.calls = getattr(counted, "calls", 0) + 1
    return x if counted.calls < 900 else 2 * x


def by_default(x, calls=SEEN):
    calls.add(len(calls))
    return x if len(calls) < 900 else 2 * x


def written(x):
    result = x + where(BUFFER == 7.123, 1.0, 0.0)
    BUFFER.copy_(x.detach())
    return result


def listed(x):
    HISTORY.append(1)
    return x if len(HISTORY) < 900 else 2 * x


class Slotted:
    __slots__ = ("calls",)
    total = 0

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x if self.calls < 900 else 2 * x

    @classmethod
    def of_class(cls, x):
        cls.total += 1
        return x if cls.total < 900 else 2 * x


def in_module(x):
    MODULE.calls += 1
    return x if MODULE.calls < 900 else 2 * x


def in_deque(x):
    QUEUE.append(1)
    return x if len(QUEUE) < 900 else 2 * x


def in_bytes(x):
    BYTES[0] = (BYTES[0] + 1) % 256
    return x if BYTES[0] != 99 else 2 * x


def in_class(x):
    Slotted.total += 1
    return x if Slotted.total < 900 else 2 * x


def in_numpy(x):
    NUMBERS[0] += 1
    return x if NUMBERS[0] < 900 else 2 * x


def caught(x):
    try:
        return 2 * x if float(x) == 7.123 else x
    except RuntimeError:
        return x


GENERATOR = steps()
MODULE, QUEUE, BYTES = types.ModuleType("settings"), collections.deque(), bytearray(1)
MODULE.calls = 0
CACHED, CONTEXT = functools.cache(lambda n: [n]), contextvars.ContextVar("calls", default=0)


def in_context(x):
    CONTEXT.set(CONTEXT.get() + 1)
    return x if CONTEXT.get() < 900 else 2 * x


NOT_OF_THE_ARGUMENTS = {
    "a buffer": (written, "remembers"),
    "a list": (listed, "remembers"),
    "an object": (Counter(), "remembers"),
    "a method": (Counter().__call__, "remembers"),
    "an attribute of the function": (counted, "remembers"),
    "a default": (by_default, "remembers"),
    "an array": (in_numpy, "remembers"),
    "a slot": (Slotted(), "remembers"),
    "a class": (in_class, "remembers"),
    "a class by a method": (Slotted.of_class, "remembers"),
    "a module": (in_module, "remembers"),
    "a queue": (in_deque, "remembers"),
    "bytes": (in_bytes, "remembers"),
    "a cache": (lambda x: x if CACHED(0).append(0) or len(CACHED(0)) < 900 else 2 * x, "remembers"),
    "a context": (in_context, "remembers"),
    "the time": (lambda x: x if time.time() > 0 else 2 * x, "remembers"),
    "the clock": (lambda x: x if perf_counter() > 0 else 2 * x, "remembers"),
    "a hash": (lambda x: x if hash(x) else 2 * x, "remembers"),
    "a count": (lambda x: x if next(COUNT) < 900 else 2 * x, "remembers"),
    "an iterator": (lambda x: x if next(STEPS) < 900 else 2 * x, "remembers"),
    "a generator": (lambda x: x if next(GENERATOR) < 900 else 2 * x, "remembers"),
    "Python's random numbers": (lambda x: x if random.random() < 2 else 2 * x, "remembers"),
    "NumPy's random numbers": (lambda x: x if np.random.rand() < 2 else 2 * x, "remembers"),
    "a stream of Python's": (lambda x: x if DRAWN.random() < 2 else 2 * x, "remembers"),
    "a stream of them": (lambda x: x if SEED.random() < 2 else 2 * x, "remembers"),
    "repr": (lambda x: 2 * x if "7.123" in repr(x) else x, "text"),
    "str of what is computed": (lambda x: 2 * x if "7.123" in str(x.detach() + 0) else x, "text"),
    "a format": (lambda x: 2 * x if f"{x}" == "7.123" else x, "text"),
    "an error that is caught": (caught, "cannot be traced"),
    "a copy": (lambda x: 2 * x if copy.copy(x.detach()).item() == 7.123 else x, "traced"),
}


@pytest.mark.parametrize("name", NOT_OF_THE_ARGUMENTS)
def test_what_is_no_function_of_its_arguments_is_not_proved(name):
    function, why = NOT_OF_THE_ARGUMENTS[name]
    proof = teach.prove(function, same=lambda x: x, x=())
    assert proof.status == "undecided" and why in proof.reason, proof


UNDECIDED = {
    "a branch on a value": (
        lambda x: x * 2 if x.sum() > -1e9 else x,
        lambda x: x * 2,
        {"x": (2,)},
        "cannot be traced",
    ),
    "random numbers": (lambda x: F.dropout(x, 0.5), lambda x: x, {"x": (2,)}, "random"),
    "half an angle": (
        lambda x: tg.cos(x),
        lambda x: 1 - 2 * tg.sin(x / 2) ** 2,
        {"x": ()},
        "50 digits at",
    ),
    "an index that depends on values": (
        lambda x: x[tg.argsort(x)],
        lambda x: tg.sort(x).values,
        {"x": (3,)},
        "index",
    ),
    "a counter": (shrinking(), shrinking(), {"x": (2,)}, "other numbers"),
    "nowhere a value": (
        lambda x: log(-1 - x * x),
        lambda x: x * log(-2 - x * x),
        {"x": ()},
        "value",
    ),
    "a constant that is rounded": (
        lambda x: x * 1.234567890123456,
        lambda x: x * (1.234567890123456 * (1 + 2**-52)),
        {"x": ()},
        "rounded",
    ),
    "the float next to it": (
        lambda x: x * 0.9,
        lambda x: x * float(np.nextafter(0.9, 0)),
        {"x": ()},
        "rounded",
    ),
    "the float next to a root": (
        lambda x: x * math.sqrt(2),
        lambda x: x * float(np.nextafter(math.sqrt(2), 3)),
        {"x": ()},
        "rounded",
    ),
    "the float next to a multiple of π": (
        lambda x: x * math.sqrt(2 * math.pi),
        lambda x: x * float(np.nextafter(math.sqrt(2 * math.pi), 3)),
        {"x": ()},
        "two constants",
    ),
    "a power of millions": (
        lambda x: x**20_000,
        lambda x: x**19_999 * x,
        {"x": ()},
        "the power of 20000",
    ),
    "the float next to a third, in a function of ours": (
        lambda x: F.leaky_relu(x, 1 / 3),
        lambda x: F.leaky_relu(x, float(np.nextafter(1 / 3, 1))),
        X,
        "two constants",
    ),
    "a constant in float32 and in float64": (
        lambda x: x * tg.tensor(0.1, dtype=tg.float32),
        lambda x: x * 0.1,
        X,
        "two constants",
    ),
    "rounded to float32": (
        lambda x: x.to(tg.float32).to(tg.float64),
        lambda x: x,
        X,
        "rounding to float32. In doubles it holds",
    ),
    "a choice by whether there is a value": (
        lambda x: where(tg.isnan(log(x)), x, 2 * x),
        lambda x: where(x < 0, x, 2 * x),
        X,
        "whether there is a value",
    ),
    "what doubles say where there is no value": (
        lambda x: 1 / (1 / (x - 3.1)),
        lambda x: where(x == 3.1, 5.0, x - 3.1),
        X,
        "Equal with 10·x - 31 ≠ 0, but at x = 3.1 the functions give 0.0 and 5.0",
    ),
    "too large": (
        lambda x: x.sum() ** 4,
        lambda x: x.sum() ** 2 * x.sum() ** 2,
        {"x": (30,), "work": 20_000},
        "too large",
    ),
    "too many cases": (
        lambda x: exp(F.relu(x).sum()),
        lambda x: exp(F.relu(1 * x).sum()),
        {"x": (40,), "work": 20_000},
        "too large",
    ),
    "an infinite number": (
        lambda x: where(x > 0, x, -math.inf),
        lambda x: where(x > 0, 1 * x, -math.inf),
        X,
        "an infinite number. Equal to 50 digits at",
    ),
    "whole numbers": (
        lambda x: x * x.to(tg.int64),
        lambda x: x.to(tg.int64) * x,
        X,
        "depends on values. Equal to 50 digits",
    ),
    "a remainder": (lambda x: x % 2, lambda x: (1 * x) % 2, X, "remainder. Equal to 50 digits"),
    "rounded": (tg.round, lambda x: tg.round(1 * x), X, "rint. In doubles it holds at 100 points"),
    "both of one point": (
        lambda x: tg.stack([log(x), log(-1 - x)]),
        lambda x: tg.stack([log(x), 1 * log(-1 - x)]),
        X,
        "no numbers fulfil what is taken for granted. Equal to 50 digits",
    ),
    "one of two nowhere": (
        lambda x: tg.stack([log(x), log(-x)]),
        lambda x: tg.stack([log(x), 1 * log(-x)]),
        X,
        "no numbers fulfil what is taken for granted",
    ),
    "a logarithm where there is none": (
        lambda x: where(x == 0, log(x), x),
        lambda x: x,
        X,
        "Equal with x ≠ 0, but at x = 0. the functions give -inf and 0.0",
    ),
    "nowhere, by cases": (
        lambda x: tg.stack([x, log(-1 - F.relu(x))]),
        lambda x: tg.stack([x, 1 * log(-1 - F.relu(x))]),
        X,
        "nowhere",
    ),
    "an error function where there is none": (
        lambda x: where((x == 0) & (tg.erf(1 / x) > 0.5), x + 1, x),
        lambda x: x,
        X,
        "Equal with x ≠ 0, but at x = 0. the functions give 1.0 and 0.0",
    ),
    "infinite where it is taken": (
        lambda x: where(x == 0, 1 / x, x),
        lambda x: x,
        X,
        "Equal with x ≠ 0, but at x = 0. the functions give inf and 0.0",
    ),
    "a length of what is 0 at no fraction": (
        lambda x, y: where(x == 0, sqrt(x * x + cubic(y) ** 2), y),
        lambda x, y: where(x == 0, sqrt(2 * x * x + cubic(y) ** 2), y),
        XY,
        "No proof was found where",
    ),
    "a root of what is 0 at no fraction": (
        lambda x: sqrt(cubic(x) ** 2),
        lambda x: abs(cubic(x)),
        X,
        "the sign of x + x^3 - 1",
    ),
}


@pytest.mark.parametrize("name", UNDECIDED)
def test_what_is_neither_shown_nor_refuted_stays_undecided_and_says_why(name):
    function, other, inputs, why = UNDECIDED[name]
    proof = teach.prove(function, same=other, **inputs)
    assert proof.status == "undecided" and why in proof.reason, proof
    assert proof.text == f"undecided: {proof.claim}. {proof.reason}"


def test_a_function_that_becomes_another_while_it_is_looked_at_is_not_proved():
    for until in (3, 4, 5, 6):
        calls = iter(range(100))
        proof = teach.prove(lambda x: x * (1 + (next(calls) >= until)), same=lambda x: x, x=())  # noqa: B023
        assert proof.status == "refuted", until


def test_what_is_assumed_and_what_is_left_out_is_said():
    proof = teach.prove(lambda x: log(x * x), same=lambda x: 2 * log(x), x=())
    assert proof.status == "proved" and proof.assumptions == ("x > 0",)
    proof = teach.prove(lambda x: x / x, same=tg.ones_like, x=())
    assert proof.assumptions == ("x ≠ 0",)
    proof = teach.prove(tg.abs, same=lambda x: sqrt(x * x), x=())
    assert proof.left_out == ("x = 0",) and "left out" in proof.text
    proof = teach.prove(
        F.binary_cross_entropy,
        same=lambda p, y: (-y * log(p) - (1 - y) * log(1 - p)).mean(),
        p=(2,),
        y=np.array([1.0, 0.0]),
    )
    assert proof.status == "proved" and "p[0] > 0" in proof.assumptions
    proof = teach.prove(F.relu, same=lambda x: where(x > 0, x, 0 * x), x=(7,))
    assert proof.regions[0] == "x[0]" and "and 1 more" in proof.text


def test_a_branch_that_is_not_taken_restricts_nothing():
    proof = teach.prove(
        lambda x: where(x > 1, log(x), x), same=lambda x: where(x <= 1, x, -log(1 / x)), x=()
    )
    assert proof.status == "proved" and proof.assumptions == ("x ≠ 0",), proof
    proof = teach.prove(
        lambda x: where((x == 0) & (tg.erf(1 / x) == 0.5), x + 1, x), same=lambda x: x, x=()
    )
    assert proof.status == "proved" and proof.assumptions == ("x ≠ 0",)
    proof = teach.prove(
        lambda x, y: where(y > 0, sqrt(x), x).detach(),
        same=lambda x, y: where(y <= 0, x, sqrt(x)).detach(),
        x=(),
        y=(),
    )
    assert proof.status == "proved" and proof.assumptions == ("x ≥ 0 (for y > 0)",)
    proof = teach.prove(
        lambda x, y: where(y > 0, log(x), -log(x)),
        same=lambda x, y: where(y <= 0, log(1 / x), log(x)),
        x=(),
        y=(),
    )
    assert proof.status == "proved" and proof.assumptions == ("x > 0",)
    proof = teach.prove(
        lambda x: where((x > 0).amax(), x.sum(), log(x[0])),
        same=lambda x: where((x > 0).amax(), x.sum(), log(x[0]) + 0),
        x=(2,),
    )
    assert proof.status == "proved" and "x[0] < 0 and x[1] < 0" in proof.left_out
    proof = teach.prove(tg.amax, same=lambda x: -(-x).amin(), x=(3,))
    assert proof.status == "proved" and not proof.left_out
    model = nn.BatchNorm1d(2)  # it writes what it does not read

    def by_hand(x):
        s = sqrt(x.var(0, unbiased=False) + 1e-5)
        return (x - x.mean(0)) / s * model.weight + model.bias

    assert teach.prove(model, same=by_hand, x=(2, 2)).status == "proved"


def test_the_parameters_of_a_model_are_real_numbers_too():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    before = {n: p.detach().numpy().copy() for n, p in model.named_parameters()}

    def by_hand(x):
        h = F.relu(x @ model[0].weight.T + model[0].bias)
        return h @ model[2].weight.T + model[2].bias

    proof = teach.prove(model, same=by_hand, x=(1, 2))
    assert proof.status == "proved" and "gradient of 0_weight" in proof.compared

    def without_bias(x):
        return F.relu(x @ model[0].weight.T) @ model[2].weight.T + model[2].bias

    one, two = nn.Linear(1, 1), nn.Linear(1, 1)
    proof = teach.prove(lambda x: one(x) + two(x), same=lambda x: two(x) + one(x), x=(1, 1))
    assert proof.status == "proved" and len(set(proof.compared)) == 6

    proof = teach.prove(model, same=without_bias, x=(1, 2))
    assert proof.status == "refuted" and "0_bias" in proof.counterexample
    for name, p in model.named_parameters():
        assert np.array_equal(p.detach().numpy(), before[name])


def test_what_does_not_fit_raises():
    with pytest.raises(TypeError, match="wanted same="):
        teach.prove(F.relu, x=(2,))
    with pytest.raises(TypeError, match="got a int; wanted a function"):
        teach.prove(F.relu, same=3, x=(2,))
    with pytest.raises(
        ValueError, match=r"no input of real numbers has that name; give its shape, z"
    ):
        teach.prove(F.relu, gradient={"z": lambda x: x}, x=(2,))
    with pytest.raises(ValueError, match=r"gives shape \(2,\); wanted \(2,\), with the gradient g"):
        teach.prove(F.relu, gradient={"x": lambda x: x > 0}, x=(2,))
    with pytest.raises(ValueError, match=r"gives shape \(\); wanted \(2,\)"):
        teach.prove(lambda x: x.sum(), gradient={"x": lambda x: x.sum()}, x=(2,))
    with pytest.raises(TypeError, match="returns a tuple; wanted a Tensor"):
        teach.prove(lambda x: (x, x), same=lambda x: x, x=(2,))
    with pytest.raises(TypeError, match="one dtype"):
        teach.prove(lambda x: x @ tg.ones(2, dtype=tg.int64), same=lambda x: x, x=(2,))


def test_teach_is_light_and_says_what_it_needs():
    code = (
        "import sys; sys.modules['sympy'] = None\n"
        "from tinygrad_ce import teach\n"
        "assert 'mpmath' not in sys.modules\n"
        "try: teach.prove(abs, same=abs, x=())\n"
        "except ImportError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == 'teach.prove needs SymPy: pip install "tinygrad_ce[teach]"\n'


# --- the exact arithmetic, against mpmath -------------------------------------------------------


def number(x, at):
    """A formula at numbers, by its own definition."""
    mp = mpmath

    def of_polynomial(p):
        total = mp.mpf(0)
        for m, c in p.terms.items():
            term = mp.mpf(c.numerator) / c.denominator
            for s, e in m:
                term *= mp.power(
                    of_symbol(s), mp.mpf(Fraction(e).numerator) / Fraction(e).denominator
                )
            total += term
        return total

    def of_symbol(s):
        a = s.arguments[0]
        if s.kind == "variable":
            return at[a]
        if s.kind == "π":
            return mp.pi
        inside = mp.mpf(a) if isinstance(a, int) else number(a, at)
        if s.kind == "log":
            return mp.log(abs(inside))
        if s.kind == "root":
            return mp.root(inside, s.order)
        return getattr(mp, s.kind)(inside)

    if isinstance(x, algebra.Polynomial):
        return of_polynomial(x)
    result = of_polynomial(x.top)
    for f, k in x.below:
        result /= of_polynomial(f) ** k
    return result


def of_regions(value, at):
    """A value by cases at numbers."""
    total = mpmath.mpf(0)
    for region, formula in value.parts.items():
        signs = [(number(f, at), s) for f, s in region]
        if all(v > 0 if s == "+" else v == 0 for v, s in signs):
            total += number(formula, at)
    return total


def fulfilled(value, at):
    """Whether numbers are in the domain that was noted."""
    is_so = {"+": lambda v: v > 0, ">=": lambda v: v >= 0, "≠": lambda v: v != 0,
             "-": lambda v: v < 0, "0": lambda v: v == 0}  # fmt: skip
    return all(
        is_so[s](number(f, at)) or not all(is_so[t](number(g, at)) for g, t in where)
        for f, s, where in value.needs
    )


OPERATIONS = [
    ("add", 2), ("multiply", 2), ("divide", 2), ("exp", 1), ("log", 1), ("sqrt", 1),
    ("absolute", 1), ("maximum", 2), ("tanh", 1), ("relu", 1), ("sin", 1), ("erf", 1),
    ("square", 1), ("negative", 1), ("sign", 1), ("greater", 2), ("log1p", 1), ("cos", 1),
]  # fmt: skip


def test_what_may_take_minutes_to_factor_stays_together():
    x, y, z, *others = (algebra.of(algebra.Symbol("variable", n)) for n in "xyzabcdef")
    assert {f for f, _ in algebra.factors((x + y) * (x + z))} == {x + y, x + z}
    monomial = math.prod((v * v for v in others), start=algebra.ONE)
    wide = (monomial + x * x) * (monomial + y * y)
    assert algebra.factors(wide) == ((wide, 1),)


def test_exact_arithmetic_agrees_with_mpmath_on_random_formulas():
    compared = 0
    for seed in range(60):
        stream = np.random.default_rng(seed)
        regions.forget(0)
        m, digits = elements.Formulas(), elements.Digits(40)
        at = {n: digits.mp.mpf(int(stream.integers(-6, 7))) / 4 for n in "xy"}
        left = [elements_variable(n) for n in "xy"] + [m.number(0.5)]
        right = [at["x"], at["y"], digits.number(0.5)]
        try:
            for _ in range(5):
                op, count = OPERATIONS[stream.integers(len(OPERATIONS))]
                picked = stream.integers(len(left), size=count)
                left.append(elements.ELEMENTS[op](m, *(left[i] for i in picked)))
                right.append(elements.ELEMENTS[op](digits, *(right[i] for i in picked)))
        except (algebra.UndefinedError, NotImplementedError, algebra.TooLargeError):
            continue
        for a, b in zip(left, right):
            if digits.mp.isfinite(b) and abs(b) < 1e6:
                with mpmath.workdps(40):
                    try:
                        if not fulfilled(a, at):
                            continue
                        found = of_regions(a, {n: mpmath.mpf(v) for n, v in at.items()})
                    except ZeroDivisionError:
                        continue
                    if mpmath.im(found) or not mpmath.isfinite(found):
                        continue
                    assert abs(found - b) < 1e-25 * max(1, abs(b)), (seed, a)
                    compared += 1
    assert compared > 200


def elements_variable(name):
    return regions.as_value(algebra.Ratio(algebra.of(algebra.Symbol("variable", name))))


@pytest.mark.parametrize(
    ("value", "dtype", "exactly"),
    [
        (0.1, "float64", (Fraction(1, 10), 1, 0)),
        (1 / 3, "float64", (Fraction(1, 3), 1, 0)),
        (float(np.float32(0.1)), "float32", (Fraction(1, 10), 1, 0)),
        (0.044715, "float64", (Fraction(44715, 10**6), 1, 0)),
        (math.sqrt(2 / math.pi), "float64", (Fraction(2), Fraction(1, 2), -1)),
        (2 / math.sqrt(math.pi), "float64", (Fraction(4), Fraction(1, 2), -1)),
        (math.sqrt(3), "float64", (Fraction(3), Fraction(1, 2), 0)),
        (math.log(10), "float64", (Fraction(10), 0, 0)),
        (math.pi, "float64", None),
        (7.0, "float64", (Fraction(7), 1, 0)),
    ],
)
def test_constants_are_read_as_what_they_were_written_for(value, dtype, exactly):
    found = elements.read(value, dtype)
    assert found.plain
    if exactly is not None:
        assert tuple(found[:3]) == exactly
    with mpmath.workdps(30):
        r = mpmath.mpf(found.r.numerator) / found.r.denominator
        e = mpmath.mpf(found.e.numerator) / found.e.denominator
        exact = (r**e if found.e else mpmath.log(r)) * mpmath.sqrt(mpmath.pi) ** found.k
        assert np.dtype(dtype).type(float(exact)) == np.dtype(dtype).type(value)
    assert not elements.read(0.12345678912345678).plain
