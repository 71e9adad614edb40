"""Accuracy: values and gradients against exact numbers, at both precisions and at extremes.

The references are mpmath's, with 60 digits. An error is counted in ulp, units in the last place of
the exact result; where that is below the smallest normal number, in smallest subnormals. Warnings
are errors, so each test says as well that nothing overflows and no nan is made on the way.
"""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tinygrad_ce as tg
import tinygrad_ce.nn.functional as F
from tinygrad_ce import exp, log1p, maximum, tensor
from tinygrad_ce.autograd import grad
from tinygrad_ce.engine import functions, table

INF = math.inf
DTYPES = [np.float32, np.float64]
both_precisions = pytest.mark.parametrize("dtype", DTYPES)

# --- measuring ------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def sixty_digits():
    with mpmath.workdps(60):
        yield


def exact(x):
    """The number that a float is."""
    return mpmath.mpf(float(x))


def ulps(found, wanted, dtype):
    """|found − wanted| in units of the last place of wanted; `wanted` are mpmath's numbers."""
    info = np.finfo(dtype)
    errors = []
    for got, true in zip(found, wanted, strict=True):
        unit = info.smallest_subnormal
        if abs(true) >= float(info.smallest_normal):
            unit = np.spacing(dtype(abs(float(true))))
        errors.append(float(abs(exact(got) - true) / exact(unit)))
    return np.array(errors)


def worst(found, wanted, x, dtype):
    """The largest error in ulp, and where it is."""
    errors = ulps(found, wanted, dtype)
    return errors.max(), f"{errors.max():.3g} ulp at {x[errors.argmax()]!r}"


def value_and_gradient(f, x):
    """f and f' at each element of x, as arrays."""
    x = tensor(x, requires_grad=True)
    y = f(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == x.dtype
    return y.detach().numpy(), x.grad.numpy()


def extremes(dtype):
    """0, -0.0, and ± numbers where something underflows, saturates or overflows."""
    tiny = 1e-300 if dtype is np.float64 else 1e-38
    sizes = np.array([0, tiny, 1e-8, 0.1, 1, 10, 40, 88, 100, 700, 745, 1e4, 1e30], dtype)
    return np.concatenate([sizes, -sizes])


# --- the logistic family: 4 ulp -------------------------------------------------------------


def s(x):
    """1/(1+e⁻ˣ); mpmath's exponents are unbounded."""
    return 1 / (1 + mpmath.exp(-x))


def log_of_one_plus_exp(x):
    return mpmath.log1p(mpmath.exp(x)) if x < 0 else x + mpmath.log1p(mpmath.exp(-x))


LOGISTIC = {  # name: the function, its value, its derivative
    "sigmoid": (F.sigmoid, s, lambda x: s(-abs(x)) * s(abs(x))),
    "softplus": (F.softplus, log_of_one_plus_exp, s),
    "log_sigmoid": (F.logsigmoid, lambda x: -log_of_one_plus_exp(-x), lambda x: s(-x)),
}
logistic_family = pytest.mark.parametrize("name", LOGISTIC)


@both_precisions
@logistic_family
def test_logistic_family_is_within_4_ulp_at_extremes(name, dtype):
    f, value, derivative = LOGISTIC[name]
    x = extremes(dtype)
    y, g = value_and_gradient(f, x)
    for found, formula in ((y, value), (g, derivative)):
        error, where = worst(found, [formula(exact(v)) for v in x], x, dtype)
        assert error <= 4, where


@both_precisions
@logistic_family
def test_logistic_family_at_infinity(name, dtype):
    f = LOGISTIC[name][0]
    y, g = value_and_gradient(f, np.array([INF, -INF], dtype))
    limits = {
        "sigmoid": ([1, 0], [0, 0]),
        "softplus": ([INF, 0], [1, 0]),
        "log_sigmoid": ([0, -INF], [0, 1]),
    }
    assert (y.tolist(), g.tolist()) == limits[name]


@both_precisions
@logistic_family
def test_a_nan_stays_a_nan(name, dtype):
    y, g = value_and_gradient(LOGISTIC[name][0], np.array([np.nan], dtype))
    assert np.isnan(y).all()
    assert np.isnan(g).all()


# Where float32 is worst: found among all of its numbers from 2⁻¹² to 104. The slope of
# where(x ≥ 0, 1, e)/(1 + e), the shorter form of sigmoid, is off by 5 ulp at the first ones.
HARD = [3.41408205, 4.1449842, 5.546688, 4.153675, 2.6721475, 3.45702887, 2.04240108, 3.44075727]


def sweep(dtype, per_decade=2000):
    """Random numbers, as many in each decade from 1e-12 to 1e4 with either sign."""
    rng = np.random.default_rng(2)
    exponents = np.concatenate([rng.uniform(k, k + 1, per_decade) for k in range(-12, 4)])
    x = 10.0**exponents * rng.choice([-1.0, 1.0], exponents.size)
    return np.concatenate([x, HARD, -np.array(HARD)]).astype(dtype)


def wide_reference(name, x):
    """Value and derivative in wider floats, by the same case distinction."""
    e = np.exp(-np.abs(x))
    positive = x >= 0
    below, above = e / (1 + e), 1 / (1 + e)  # s(−|x|), s(|x|)
    if name == "sigmoid":
        return np.where(positive, above, below), below * above
    if name == "softplus":
        return np.where(positive, x, 0) + np.log1p(e), np.where(positive, above, below)
    return np.where(positive, 0, x) - np.log1p(e), np.where(positive, below, above)


WIDER = {np.float32: np.float64, np.float64: np.longdouble}
long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 2e-19, reason="long double is no wider than double here"
)
wider_than = pytest.mark.parametrize(
    "dtype", [np.float32, pytest.param(np.float64, marks=long_double)]
)


@wider_than
@logistic_family
def test_logistic_family_is_within_4_ulp_everywhere(name, dtype):
    x = sweep(dtype)
    info = np.finfo(dtype)
    found = value_and_gradient(LOGISTIC[name][0], x)
    with np.errstate(under="ignore"):
        wanted = wide_reference(name, x.astype(WIDER[dtype]))
    for got, true in zip(found, wanted):
        unit = np.spacing(np.maximum(np.abs(true), info.smallest_normal).astype(dtype))
        errors = np.abs(got - true) / unit.astype(true.dtype)
        at = errors.argmax()
        assert errors[at] <= 4, f"{errors[at]:.3g} ulp at {x[at]!r}"


@wider_than
@logistic_family
def test_the_wide_reference_agrees_with_mpmath(name, dtype):
    """To 1/100 ulp, so that it may stand for the exact value in the sweep."""
    x = np.concatenate([sweep(dtype, per_decade=15), extremes(dtype)])
    for wide, formula in zip(wide_reference(name, x.astype(WIDER[dtype])), LOGISTIC[name][1:]):
        for got, v in zip(wide, x):
            true = formula(exact(v))
            if abs(true) < float(np.finfo(dtype).smallest_normal):
                continue
            high = np.float64(got)  # mpmath reads no long double: two doubles
            got = exact(high) + exact(np.float64(got - high))
            assert abs(got - true) <= 0.01 * float(np.spacing(dtype(abs(float(true))))), (v, got)


def test_sigmoid_derivative_does_not_cancel():
    """s(1−s) is 0 in floats where s rounds to 1; the composition keeps it."""
    g = value_and_gradient(F.sigmoid, np.array([40.0, -40.0, 700.0]))[1]
    np.testing.assert_allclose(g, [math.exp(-40), math.exp(-40), math.exp(-700)], rtol=1e-15)
    assert f"{g[0]:.1e}" == "4.2e-18"


# --- erfc: 4 ulp ------------------------------------------------------------------------------


def erfc_points(dtype):
    """Numbers of every exponent, dense ones up to where erfc is 0 or 2, both ends, and 28 times 0.

    More than erfc takes one by one.
    """
    rng = np.random.default_rng(3)
    info, end = np.finfo(dtype), {np.float32: 10.2, np.float64: 27.3}[dtype]
    powers = np.exp2(np.arange(info.minexp - info.nmant, info.maxexp, 4, dtype=dtype))
    sizes = np.concatenate([
        powers * rng.uniform(1, 2, powers.size).astype(dtype), np.linspace(0, end, 2501)[:-1],
        end * 10 ** rng.uniform(-3, 0, 1500), rng.uniform(end - 1.5, end, 500),
    ])  # fmt: skip
    ends = [info.max, info.smallest_subnormal, end, 28.0, 6.0, math.sqrt(0.5)]
    sizes = np.concatenate([sizes, HARD_FOR_ERFC, ends]).astype(dtype)
    return np.concatenate([sizes, -sizes, np.zeros(28, dtype)])


# Where float32 is worst, or was with a rounding more: found among a third of its numbers.
HARD_FOR_ERFC = [1.7250531, 0.48264775, 0.5123249, 0.01265733, 7.9940295, 7.777241, 3.7441933]


@both_precisions
def test_erfc_is_within_4_ulp(dtype):
    x = erfc_points(dtype)
    wanted = [mpmath.erfc(exact(v)) if abs(v) < 1e3 else mpmath.mpf(2 if v < 0 else 0) for v in x]
    found = table.erfc(x)
    assert found.dtype == dtype
    error, where = worst(found, wanted, x, dtype)
    assert error <= 4, where
    assert (found[-28:] == 1).all() and found[x > 28].max() == 0 and found[x < -28].min() == 2


@both_precisions
@pytest.mark.parametrize("n", [1, 511, 512, 40_000])
def test_erfc_at_infinity_and_of_nan(dtype, n):
    x = np.resize(np.array([INF, -INF, math.nan, 0.0, -0.0], dtype), n)
    np.testing.assert_array_equal(table.erfc(x), np.resize(np.array([0, 2, math.nan, 1, 1]), n))


@both_precisions
def test_erfc_of_any_layout_is_that_of_its_elements(dtype):
    x = np.linspace(-5, 5, 120_000, dtype=dtype).reshape(200, 300, 2)
    wanted = [mpmath.erfc(exact(v)) for v in x[::40, 7, 1]]
    whole, turned, row = table.erfc(x), table.erfc(x.T), table.erfc(x[:, 7, 1])
    for y in (whole[::40, 7, 1], turned[1, 7, ::40], row[::40]):
        assert worst(y, wanted, x[::40, 7, 1], dtype)[0] <= 4
    assert table.erfc(x[:0]).shape == (0, 300, 2) and table.erfc(x.T).shape == (2, 300, 200)


@both_precisions
def test_erf_is_within_4_ulp(dtype):
    x = erfc_points(dtype)
    found = table.erf(x)
    wanted = [mpmath.erf(exact(v)) if abs(v) < 1e3 else mpmath.sign(exact(v)) for v in x]
    error, where = worst(found, wanted, x, dtype)
    assert error <= 4, where
    np.testing.assert_array_equal(table.erf(-x), -found)
    ends = np.resize(np.array([INF, -INF, math.nan, 0.0], dtype), 600)
    np.testing.assert_array_equal(table.erf(ends), np.resize([1, -1, math.nan, 0], 600))


# --- elementary functions: value, slope and curvature at every extreme -------------------------

# mpmath's function, its slope and its curvature; where it is defined, and where it is finite
ELEMENTARY = {
    "log2": (lambda x: mpmath.log(x, 2), lambda x: 1 / (x * mpmath.log(2)),
             lambda x: -1 / (x * x * mpmath.log(2)), (1e-12, INF)),
    "log10": (mpmath.log10, lambda x: 1 / (x * mpmath.log(10)),
              lambda x: -1 / (x * x * mpmath.log(10)), (1e-12, INF)),
    "tan": (mpmath.tan, lambda x: mpmath.sec(x) ** 2,
            lambda x: 2 * mpmath.tan(x) * mpmath.sec(x) ** 2, (-100, 100)),
    "sinh": (mpmath.sinh, mpmath.cosh, mpmath.sinh, (-80, 80)),
    "cosh": (mpmath.cosh, mpmath.sinh, mpmath.cosh, (-80, 80)),
    "arcsin": (mpmath.asin, lambda x: (1 - x * x) ** -0.5, lambda x: x * (1 - x * x) ** -1.5,
               (-1, 1)),
    "arccos": (mpmath.acos, lambda x: -((1 - x * x) ** -0.5), lambda x: -x * (1 - x * x) ** -1.5,
               (-1, 1)),
    "arctan": (mpmath.atan, lambda x: 1 / (1 + x * x), lambda x: -2 * x / (1 + x * x) ** 2,
               (-INF, INF)),
    "arcsinh": (mpmath.asinh, lambda x: (1 + x * x) ** -0.5, lambda x: -x * (1 + x * x) ** -1.5,
                (-INF, INF)),
    "erf": (mpmath.erf, lambda x: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x),
            lambda x: -4 * x / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x), (-1e4, 1e4)),
}  # fmt: skip


@both_precisions
@pytest.mark.parametrize("name", ELEMENTARY)
def test_elementary_functions_are_right_to_the_second_order(name, dtype):
    *wanted, (low, high) = ELEMENTARY[name]
    nearly = 1 - np.array([2.0**-k for k in (3, 10, 20)])
    x = np.concatenate([far(dtype), nearly, -nearly]).astype(dtype)
    x = x[(low < x) & (x < high)]
    leaf = tensor(x, requires_grad=True)
    y = getattr(table, name)(leaf)
    (first,) = grad(y, leaf, tensor(np.ones_like(x)), create_graph=True)
    (second,) = grad(first, leaf, tensor(np.ones_like(x)))
    for order, (got, f) in enumerate(zip((y, first, second), wanted)):
        for v, number in zip(x, got.detach().numpy()):
            true = f(exact(v))
            size = max(1, abs(true)) if name in ("arcsin", "arccos") else abs(true)
            bound = 16 * np.finfo(dtype).eps * size + 4 * float(np.finfo(dtype).tiny)
            assert abs(exact(number) - true) <= bound, (order, v, number, float(true))


def far_pairs(dtype):
    sizes = np.array([0, 1e-30, 1e-8, 0.5, 1, 3, 1e10, 1e30], dtype)
    ends = np.array([1e-300, 1e200, 1e300], dtype) if dtype is np.float64 else sizes[:0]
    x = np.concatenate([sizes, -sizes, ends])
    return [(a, b) for a in x for b in x]


@both_precisions
def test_angles_and_lengths_of_far_and_near_points(dtype):
    """∂ atan2(a, b) = (b, −a)/(a² + b²), ∂ hypot(a, b) = (a, b)/hypot(a, b); 0 at (0, 0)."""
    pairs = far_pairs(dtype)
    a, b = (tensor(np.array(part), requires_grad=True) for part in zip(*pairs))
    ones = tensor(np.ones(len(pairs), dtype))
    angle = grad(table.arctan2(a, b), (a, b), ones)
    length = grad(table.hypot(a, b), (a, b), ones)
    top = float(np.finfo(dtype).max)
    for i, (height, width) in enumerate(pairs):
        p, q = exact(height), exact(width)
        r = mpmath.sqrt(p * p + q * q) or mpmath.mpf(1)
        for found, true in zip((*angle, *length), (q / r / r, -p / r / r, p / r, q / r)):
            if abs(true) <= top:
                bound = 8 * np.finfo(dtype).eps * abs(true) + float(np.finfo(dtype).tiny)
                assert abs(exact(found.numpy()[i]) - true) <= bound, (height, width, float(true))


@both_precisions
def test_logaddexp_is_right_at_every_distance(dtype):
    """log(eᵃ + eᵇ), slopes s(a − b) and s(b − a), and the curvature s(d)·s(−d)."""
    x = np.array([0, 1e-8, 1, 30, 80, 1e10, 1e30, -0.5, -40, -80, -1e10, -1e30], dtype)
    pairs = [(p, q) for p in x for q in x]
    a, b = (tensor(np.array(part), requires_grad=True) for part in zip(*pairs))
    ones = tensor(np.ones(len(pairs), dtype))
    y = functions.logaddexp(a, b)
    first = grad(y, (a, b), ones, create_graph=True)
    curvature = grad(first[0], a, ones)[0]
    eps = np.finfo(dtype).eps
    for i, (p, q) in enumerate(pairs):
        d = exact(p) - exact(q)
        true = exact(max(p, q)) + mpmath.log1p(mpmath.exp(-abs(d)))
        wanted = (true, s(d), s(-d), s(d) * s(-d))
        for found, number in zip((y, *first, curvature), wanted):
            got = exact(found.detach().numpy()[i])
            bound = 8 * eps * (max(1, abs(d)) if abs(d) < 200 else 1) * abs(number)
            assert abs(got - number) <= bound + float(np.finfo(dtype).tiny), (p, q, number)


@both_precisions
def test_logaddexp_of_infinities(dtype):
    pairs = [(-INF, 1.0), (1.0, -INF), (INF, 1.0), (1.0, INF), (INF, -INF), (INF, INF),
             (-INF, -INF)]  # fmt: skip
    a, b = (tensor(np.array(part, dtype), requires_grad=True) for part in zip(*pairs))
    y = functions.logaddexp(a, b)
    np.testing.assert_array_equal(y.detach().numpy(), [1, 1, INF, INF, INF, INF, -INF])
    slopes = [g.numpy() for g in grad(y, (a, b), tensor(np.ones(7, dtype)))]
    np.testing.assert_array_equal(slopes[0], [0, 1, 1, 0, 1, 1, 1])
    np.testing.assert_array_equal(slopes[1], [1, 0, 0, 1, 0, 0, 0])


# --- higher derivatives ---------------------------------------------------------------------

POINTS = np.array([0.0, -0.0, 1.0, -1.0, 40.0, -40.0, 700.0, -700.0])


def derivatives(f, x, order):
    """f', f'', ... at each element of x: the graph of a gradient differentiated again."""
    x = tensor(x, requires_grad=True)
    y = f(x)
    found = []
    for _ in range(order):
        (y,) = grad(y.sum(), x, create_graph=True)
        found.append(y.detach().numpy())
    return found


def gelu_tanh_in_symbols(x):
    """x·s(2u) = x/2 (1 + tanh u), u = √(2/π)(x + 0.044715 x³)."""
    u = sympy.sqrt(2 / sympy.pi) * (x + sympy.Rational("0.044715") * x**3)
    return x / (1 + sympy.exp(-2 * u))


# Errors are relative where the composition keeps the tail, absolute where 1 − y² or erfc ends it.
SMOOTH = {
    "sigmoid": (F.sigmoid, lambda x: 1 / (1 + sympy.exp(-x)), "relative"),
    "softplus": (F.softplus, lambda x: sympy.log(1 + sympy.exp(x)), "relative"),
    "log_sigmoid": (F.logsigmoid, lambda x: -sympy.log(1 + sympy.exp(-x)), "relative"),
    "silu": (F.silu, lambda x: x / (1 + sympy.exp(-x)), "relative"),
    "tanh": (F.tanh, lambda x: 1 - 2 / (sympy.exp(2 * x) + 1), "absolute"),
    "gelu": (F.gelu, lambda x: x * sympy.erfc(-x / sympy.sqrt(2)) / 2, "absolute"),
    "gelu_tanh": (lambda x: F.gelu(x, "tanh"), gelu_tanh_in_symbols, "absolute"),
}


def closed_form(definition, order, points):
    """SymPy's derivative at the points, with digits enough for every cancellation."""
    x = sympy.Symbol("x", real=True)
    function = sympy.lambdify(x, sympy.diff(definition(x), x, order), "mpmath")
    with mpmath.workdps(1500):
        return [+function(exact(v)) for v in points]


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_are_right_to_the_fourth_order(name):
    """Within 16 eps, at ±0 too, where a composition through |x| has the curvature 0."""
    f, definition, kind = SMOOTH[name]
    eps = np.finfo(np.float64).eps
    for order, found in enumerate(derivatives(f, POINTS, 4), 1):
        for v, got, true in zip(POINTS, found, closed_form(definition, order, POINTS)):
            size = 1 if kind == "absolute" or abs(v) <= 1 else abs(true)
            assert abs(exact(got) - true) <= 16 * eps * size, (order, v, got, float(true))


def normal(x):
    """Φ(x), where mpmath's erfc does not overflow."""
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2 if abs(x) < 1e6 else mpmath.mpf(x > 0)


def density(x):
    """φ = Φ'; φ' = −x·φ."""
    return mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi) if abs(x) < 1e6 else mpmath.mpf(0)


def cubic(x):
    """2u, and its first two derivatives, of gelu's formula with tanh."""
    a, c = mpmath.mpf("0.044715"), 2 * mpmath.sqrt(2 / mpmath.pi)
    return c * (x + a * x**3), c * (1 + 3 * a * x**2), c * 6 * a * x


GATES = {  # x·p(x), p from 0 to 1: the function, and p, p', p''
    "silu": (F.silu, lambda x: (s(x), s(x) * s(-x), s(x) * s(-x) * (s(-x) - s(x)))),
    "gelu": (F.gelu, lambda x: (normal(x), density(x), -x * density(x))),
    "gelu_tanh": (lambda x: F.gelu(x, "tanh"), lambda x: gate_of_tanh(*cubic(x))),
}


def gate_of_tanh(u, slope, curvature):
    p, flat = s(u), s(u) * s(-u)
    return p, flat * slope, flat * (s(-u) - s(u)) * slope**2 + flat * curvature


def far(dtype):
    """0, subnormal numbers, the bounds inside of the formulas, and on to the largest number."""
    info = np.finfo(dtype)
    sizes = [0, info.smallest_subnormal, info.tiny, 1e-8, 0.5, 3, 5.5, 8, 27.5, 28, 30, 30.5, 100,
             1e4, 1e10, 1e13, 1e19, 1e30, info.max / 4, info.max]  # fmt: skip
    x = np.array([*sizes, *([1e103, 1e154, 1e200, 1e300] if dtype is np.float64 else [])], dtype)
    return np.concatenate([x, -x])


@both_precisions
@pytest.mark.parametrize("name", GATES)
def test_a_gate_is_right_to_the_second_order_from_0_to_the_largest_number(name, dtype):
    f, gate = GATES[name]
    x = far(dtype)
    leaf = tensor(x, requires_grad=True)
    ones = tensor(np.ones_like(x))  # the sum of the values would overflow
    y = f(leaf)
    (first,) = grad(y, leaf, ones, create_graph=True)
    (second,) = grad(first, leaf, ones)
    for i, v in enumerate(x):
        p, slope, curvature = gate(exact(v))
        true = exact(v) * p, p + exact(v) * slope, 2 * slope + exact(v) * curvature
        for order, (got, wanted) in enumerate(zip((y, first, second), true)):
            size = max(1, abs(wanted)) * np.finfo(dtype).eps
            assert abs(exact(got.detach().numpy()[i]) - wanted) <= 16 * size, (order, v, wanted)


@both_precisions
@pytest.mark.parametrize("name", GATES)
def test_a_gate_at_infinity(name, dtype):
    """Beside finite numbers, whose slopes stay what they were."""
    f = GATES[name][0]
    x = tensor(np.array([INF, -INF, np.nan, 1.0], dtype), requires_grad=True)
    alone = tensor(np.array([1.0], dtype), requires_grad=True)
    y = f(x)
    (first,) = grad(y.sum(), x, create_graph=True)
    (second,) = grad(first.sum(), x)
    (slope,) = grad(f(alone).sum(), alone, create_graph=True)
    (curvature,) = grad(slope.sum(), alone)
    np.testing.assert_array_equal(y.detach().numpy(), [INF, 0, np.nan, f(alone).item()])
    np.testing.assert_array_equal(first.detach().numpy(), [1, 0, np.nan, slope.item()])
    np.testing.assert_array_equal(second.numpy()[[0, 1, 3]], [0, 0, curvature.item()])


def test_a_form_through_a_kink_fails_this_check():
    """max(x, 0) + log(1 + e^−|x|) has the right value and slope everywhere, and at 0 the
    curvature 0 instead of ¼: only a second derivative, right there, tells."""

    def kinked(x):
        return maximum(x, 0.0) + log1p(exp(-x.abs()))

    x = tensor(POINTS)
    np.testing.assert_allclose(kinked(x).numpy(), F.softplus(x).numpy(), rtol=1e-15)
    wrong, right = derivatives(kinked, POINTS, 2), derivatives(F.softplus, POINTS, 2)
    np.testing.assert_allclose(wrong[0], right[0], rtol=1e-15)
    assert wrong[1][:2].tolist() == [0, 0]
    assert right[1][:2].tolist() == [0.25, 0.25]


# --- softmax and the losses: 4 eps ----------------------------------------------------------


def rows_of_logits(dtype):
    """Rows with ties, zeros, tiny, huge, opposite and infinite entries, and random ones."""
    tiny = 1e-300 if dtype is np.float64 else 1e-38
    rows = [
        [0, 0],
        [0, -0.0, tiny],
        [tiny, -tiny, 1e-8, -1e-8],
        [0.1, -0.1, 1, -1],
        [10, 0, -10],
        [40, 0],
        [0, 40, 40],
        [88, -88, 0],
        [100, 99, -100],
        [700, 745, -745],
        [-745, -746],
        [1e4, -1e4, 0],
        [1e30] * 4,
        [1e30, -1e30, 0],
        [-1e30, -1e30],
        [-INF, 0, 1],
        [-INF, -INF, 3],
        [1e4, -INF],
        [5],
    ]
    rng = np.random.default_rng(3)
    for scale in (1e-3, 1, 5, 20, 100):
        rows += list(rng.normal(0, scale, (12, rng.integers(2, 20))))
    return [np.array(row, dtype) for row in rows]


def log_sum_exp(z):
    top = max(z)
    return top + mpmath.log(mpmath.fsum(mpmath.exp(v - top) for v in z))


def within(found, wanted, bounds, what):
    """|found − wanted| ≤ bound, element by element; infinities must be equal."""
    for got, true, bound in zip(np.ravel(found), wanted, bounds, strict=True):
        if mpmath.isinf(true):
            assert float(got) == float(true), what
        else:
            error = abs(exact(got) - true)
            assert error <= bound, (
                f"{what}: {got!r}, exact {float(true)!r}, {float(error / bound):.3g}×"
            )


@both_precisions
def test_log_softmax_is_within_4_eps(dtype):
    eps = np.finfo(dtype).eps
    rng = np.random.default_rng(4)
    for row in rows_of_logits(dtype):
        g = rng.normal(size=row.size).astype(dtype)
        x = tensor(row, requires_grad=True)
        y = F.log_softmax(x, 0)
        y.backward(tensor(g))
        z = [exact(v) for v in row]
        total = log_sum_exp(z)
        value = [v - total for v in z]
        bounds = [4 * eps * (1 + abs(v - max(z))) for v in z]
        within(y.detach().numpy(), value, bounds, f"log_softmax of {row}")
        incoming = [exact(v) for v in g]
        gradient = [d - mpmath.exp(v) * mpmath.fsum(incoming) for d, v in zip(incoming, value)]
        bound = 4 * eps * mpmath.fsum(map(abs, incoming))
        within(x.grad.numpy(), gradient, [bound] * row.size, f"its gradient at {row}")


@both_precisions
def test_softmax_is_within_4_eps(dtype):
    eps = np.finfo(dtype).eps
    rng = np.random.default_rng(5)
    for row in rows_of_logits(dtype):
        g = rng.normal(size=row.size).astype(dtype)
        x = tensor(row, requires_grad=True)
        y = F.softmax(x, 0)
        y.backward(tensor(g))
        z = [exact(v) for v in row]
        p = [mpmath.exp(v - log_sum_exp(z)) for v in z]
        within(y.detach().numpy(), p, [4 * eps] * row.size, f"softmax of {row}")
        incoming = [exact(v) for v in g]
        mean = mpmath.fsum(a * b for a, b in zip(p, incoming))
        gradient = [a * (d - mean) for a, d in zip(p, incoming)]
        bound = 4 * eps * mpmath.fsum(map(abs, incoming))
        within(x.grad.numpy(), gradient, [bound] * row.size, f"its gradient at {row}")


@both_precisions
def test_logsumexp_is_within_4_eps(dtype):
    """The value has the size of max z, and so has its rounding."""
    eps = np.finfo(dtype).eps
    for row in rows_of_logits(dtype):
        x = tensor(row, requires_grad=True)
        y = F.logsumexp(x, 0)
        y.backward()
        z = [exact(v) for v in row]
        total = log_sum_exp(z)
        within(y.detach().numpy(), [total], [4 * eps * (1 + abs(max(z)))], f"logsumexp of {row}")
        p = [mpmath.exp(v - total) for v in z]
        within(x.grad.numpy(), p, [4 * eps] * row.size, f"its gradient at {row}")


@both_precisions
def test_cross_entropy_is_within_4_eps(dtype):
    eps = np.finfo(dtype).eps
    for row in rows_of_logits(dtype):
        z = [exact(v) for v in row]
        total = log_sum_exp(z)
        for label in {0, int(row.argmax()), int(row.argmin())}:
            if row[label] == -INF:
                continue
            x = tensor(row[None], requires_grad=True)
            loss = F.cross_entropy(x, tensor(np.array([label])), reduction="sum")
            (loss * 3.0).backward()  # an incoming gradient of 3
            what = f"cross_entropy of {row}, class {label}"
            bound = 4 * eps * (1 + abs(z[label] - max(z)))
            within(loss.detach().numpy(), [total - z[label]], [bound], what)
            gradient = [3 * (mpmath.exp(v - total) - (i == label)) for i, v in enumerate(z)]
            within(x.grad.numpy(), gradient, [12 * eps] * row.size, f"the gradient of {what}")


@both_precisions
@pytest.mark.parametrize("target", ["ids", "probabilities", "smoothed"])
def test_mean_cross_entropy_gradient_is_within_4_eps_over_n(dtype, target):
    """Every sample's incoming gradient is 1/N."""
    eps = np.finfo(dtype).eps
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 10, (7, 5)).astype(dtype)
    ids = rng.integers(0, 5, 7)
    wanted = np.eye(5, dtype=dtype)[ids]
    smoothing = 0.25 if target == "smoothed" else 0.0  # exact in floats, so that Σ target is 1
    x = tensor(logits, requires_grad=True)
    given = tensor(wanted if target == "probabilities" else ids)
    F.cross_entropy(x, given, label_smoothing=smoothing).backward()
    for row, y, g in zip(logits, wanted, x.grad.numpy()):
        z = [exact(v) for v in row]
        goal = [(1 - smoothing) * exact(v) + mpmath.mpf(smoothing) / 5 for v in y]
        gradient = [(mpmath.exp(v - log_sum_exp(z)) - t) / 7 for v, t in zip(z, goal)]
        within(g, gradient, [4 * eps / 7] * 5, f"{target}: row {row}")


@both_precisions
def test_binary_cross_entropy_from_logits_is_within_4_eps(dtype):
    eps = np.finfo(dtype).eps
    rng = np.random.default_rng(7)
    logits = np.concatenate([extremes(dtype), rng.normal(0, 10, 100).astype(dtype)])
    for target in (0.0, 1.0, 0.5, 0.25):
        y = np.full(logits.size, target, dtype)
        x = tensor(logits, requires_grad=True)
        losses = F.binary_cross_entropy_with_logits(x, tensor(y), reduction="none")
        losses.sum().backward()
        z = [exact(v) for v in logits]
        value = [log_of_one_plus_exp(-abs(v)) + v * ((v >= 0) - target) for v in z]
        bounds = [4 * eps * (1 + abs(v)) for v in z]
        within(losses.detach().numpy(), value, bounds, f"loss for y = {target}")
        gradient = [s(v) - target for v in z]
        within(x.grad.numpy(), gradient, [4 * eps] * len(z), f"gradient for y = {target}")


@both_precisions
def test_binary_cross_entropy_of_a_right_answer_keeps_its_digits(dtype):
    """At z = 40, y = 1 the loss is e⁻⁴⁰, where softplus(z) − z·y would cancel to 0; and the
    gradient is −e⁻⁴⁰ up to the rounding of s − y, which is absolute."""
    z = np.array([40, -40], dtype)
    y = np.array([1, 0], dtype)
    losses = F.binary_cross_entropy_with_logits(tensor(z), tensor(y), reduction="none").numpy()
    error, where = worst(losses, [log_of_one_plus_exp(exact(-40))] * 2, z, dtype)
    assert error <= 4, where


# --- finite where mathematics is finite -----------------------------------------------------


@both_precisions
def test_binary_cross_entropy_at_infinite_logits(dtype):
    """Certain and right costs 0, certain and wrong ∞ with slope ±1."""
    z = np.array([INF, -INF, INF, -INF, INF], dtype)
    y = tensor(np.array([1, 0, 0, 1, 0.5], dtype))
    loss, g = value_and_gradient(
        lambda x: F.binary_cross_entropy_with_logits(x, y, reduction="none"), z
    )
    assert loss.tolist() == [0, 0, INF, INF, INF]
    assert g.tolist() == [0, 0, 1, -1, 0.5]
    weights = tensor(np.full(5, 2, dtype))
    loss, g = value_and_gradient(
        lambda x: F.binary_cross_entropy_with_logits(x, y, reduction="none", pos_weight=weights),
        z,
    )
    assert loss.tolist() == [0, 0, INF, INF, INF]
    assert g.tolist() == [0, 0, 1, -2, 0.5]


@both_precisions
def test_binary_cross_entropy_at_certain_probabilities(dtype):
    """0·log 0 is 0: p = y = 1 and p = y = 0 cost nothing, with slopes −1 and 1."""
    y = tensor(np.array([1, 0], dtype))
    loss, g = value_and_gradient(
        lambda p: F.binary_cross_entropy(p, y, reduction="none"), np.array([1, 0], dtype)
    )
    assert loss.tolist() == [0, 0]
    assert g.tolist() == [-1, 1]


@both_precisions
def test_a_class_ruled_out_by_minus_infinity(dtype):
    """The others share the probability as if it were not there."""
    three, two = np.array([[0, -INF, 1]], dtype), np.array([[0, 1]], dtype)
    for f in (F.softmax, F.logsumexp):
        x, v = tensor(three, requires_grad=True), tensor(two, requires_grad=True)
        out, small = f(x, 1), f(v, 1)
        g = np.array([[1, 2, 3]], dtype)[:, : out.numel()]
        out.backward(tensor(g.reshape(out.shape)))
        small.backward(tensor(np.delete(g, 1, 1).reshape(small.shape) if out.ndim == 2 else g[0]))
        assert np.isfinite(out.detach().numpy()).all()
        assert x.grad.numpy()[0, 1] == 0
        assert x.grad.numpy()[:, [0, 2]].tolist() == v.grad.numpy().tolist()


@both_precisions
@pytest.mark.parametrize("given", ["ids", "probabilities", "weights", "ignored"])
def test_cross_entropy_where_other_classes_are_ruled_out(dtype, given):
    logits = np.array([[0, -INF, 1], [-INF, -INF, 3]], dtype)
    ids = np.array([0, 2])
    options = {}
    if given == "weights":
        options["weight"] = tensor(np.array([1, 0, 1], dtype))
    if given == "ignored":
        ids = np.array([0, -100])
    target = np.eye(3, dtype=dtype)[ids] if given == "probabilities" else ids
    x = tensor(logits, requires_grad=True)
    loss = F.cross_entropy(x, tensor(target), **options)
    loss.backward()
    n = 1 if given == "ignored" else 2
    p = 1 / (1 + math.e)  # of class 0 against class 2
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(loss.item(), -math.log(p) / n, rtol=4 * eps)
    wanted = np.array([[p - 1, 0, 1 - p], [0, 0, 0]]) / n
    np.testing.assert_allclose(x.grad.numpy(), wanted, rtol=4 * eps, atol=0)


@both_precisions
def test_a_class_of_probability_zero_that_is_right_costs_infinity(dtype):
    x = tensor(np.array([[0, -INF, 1]], dtype), requires_grad=True)
    loss = F.cross_entropy(x, tensor(np.array([1])))
    loss.backward()
    assert loss.item() == INF
    assert np.isfinite(x.grad.numpy()).all()


@both_precisions
def test_logsumexp_of_nothing_is_minus_infinity(dtype):
    """log 0, and no gradient anywhere; rows next to it are as always."""
    z = np.array([[-INF, -INF], [0, 0], [-INF, 3]], dtype)
    x = tensor(z, requires_grad=True)
    y = F.logsumexp(x, 1)
    y.sum().backward()
    assert y.detach().numpy().tolist() == [-INF, dtype(math.log(2)), 3]
    assert x.grad.numpy().tolist() == [[0, 0], [0.5, 0.5], [0, 1]]


@both_precisions
def test_logsumexp_of_huge_equal_numbers_has_equal_slopes(dtype):
    z = np.full(4, 1e30, dtype)
    y, g = value_and_gradient(lambda x: F.logsumexp(x, 0), z)
    assert y == z[0]
    assert g.tolist() == [0.25] * 4


@both_precisions
@pytest.mark.parametrize("correction", [0, 1])
def test_std_of_equal_numbers_has_slope_zero(dtype, correction):
    y, g = value_and_gradient(lambda x: x.std(correction=correction), np.full(4, 3, dtype))
    assert (y, g.tolist()) == (0, [0] * 4)


@both_precisions
def test_norm_of_zeros_has_slope_zero(dtype):
    y, g = value_and_gradient(lambda x: x.norm(), np.zeros(3, dtype))
    assert (y, g.tolist()) == (0, [0] * 3)
    y, g = value_and_gradient(lambda x: x.norm(dim=1), np.array([[0, 0], [3, 4]], dtype))
    assert y.tolist() == [0, 5]
    np.testing.assert_allclose(g, [[0, 0], [0.6, 0.8]], rtol=2 * np.finfo(dtype).eps)


LONG = 3 << 18  # numbers: added up one after another they lose digits of a float32
COLUMNS = {(LONG, 1): 0, (LONG, 1, 1): 0, (3, LONG // 3, 1): (0, 1), (1, LONG): 1, (2, LONG): -1}


@pytest.mark.parametrize("shape", COLUMNS, ids=str)
def test_many_numbers_side_by_side_are_added_up_in_pairs(shape):
    x, axis = tensor(np.full(shape, 0.1, np.float32)), COLUMNS[shape]
    exact = LONG * float(np.float32(0.1))
    for add_up in (lambda x: x.sum(axis), tg.compile(lambda x: x.sum(axis))):
        np.testing.assert_allclose(add_up(x).numpy().astype(float), exact, rtol=1e-6)


def test_the_slope_of_what_is_repeated_many_times_is_added_up_in_pairs():
    bias = tg.zeros(1, requires_grad=True)
    ((tg.zeros(LONG, 1) + bias) * np.float32(0.1)).sum().backward()
    assert bias.grad.item() == pytest.approx(LONG * float(np.float32(0.1)), rel=1e-6)


# exponent: x**exponent at 0 and its first three derivatives there
POWERS_AT_ZERO = {0: [1, 0, 0, 0], 1: [0, 1, 0, 0], 2: [0, 0, 2, 0], 3: [0, 0, 0, 6], 1.5: [0, 0]}


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("exponent", POWERS_AT_ZERO)
def test_powers_of_zero(exponent, as_tensor, zero):
    wanted = POWERS_AT_ZERO[exponent]
    x = tensor(np.array([zero]), requires_grad=True)
    y = x ** (tensor(np.array([float(exponent)])) if as_tensor else exponent)
    assert y.tolist() == [wanted[0]]
    for slope in wanted[1:]:
        if not y.requires_grad:  # a constant by now, as in PyTorch
            assert slope == 0
            break
        (y,) = grad(y.sum(), x, create_graph=True)
        assert y.tolist() == [slope]


@pytest.mark.parametrize("form", ["number", "tensor", "sqrt"])
def test_the_slope_of_a_square_root_at_zero_is_infinite(form):
    """And not nan; that it divides by 0, NumPy says."""
    x = tensor(np.array([0.0, 4.0]), requires_grad=True)
    half = {"number": 0.5, "tensor": tensor(np.array([0.5, 0.5]))}
    y = x.sqrt() if form == "sqrt" else x ** half[form]
    assert y.tolist() == [0, 2]
    with np.errstate(divide="ignore"):
        y.sum().backward()
    assert x.grad.tolist() == [INF, 0.25]


@both_precisions
@pytest.mark.parametrize(
    "x, first",
    [([0, 2, 3], [6, 0, 0]), ([0, 2, 0], [0, 0, 0]), ([0, 0, 0], [0, 0, 0]), ([4], [1])],
)
def test_products_with_zeros(dtype, x, first):
    y, g = value_and_gradient(lambda v: v.prod(), np.array(x, dtype))
    assert y == math.prod(x)
    assert g.tolist() == first
    rows = np.array([x, x], dtype)
    assert value_and_gradient(lambda v: v.prod(1), rows)[1].tolist() == [first, first]
    assert value_and_gradient(lambda v: v.prod(0), rows.T.copy())[1].T.tolist() == [first, first]


@both_precisions
def test_normalisation_of_equal_numbers_is_finite(dtype):
    """The deviations are 0, and ε keeps the denominator from being 0."""
    y, g = value_and_gradient(lambda x: F.layer_norm(x, 3), np.full((2, 3), 2, dtype))
    assert not y.any()
    assert np.isfinite(g).all()
    y, g = value_and_gradient(lambda x: F.batch_norm(x, training=True), np.full((3, 2), 2, dtype))
    assert not y.any()
    assert np.isfinite(g).all()


@both_precisions
def test_kl_divergence_of_a_certain_distribution(dtype):
    """0·log 0 is 0, even where q is 0 as well."""
    target = tensor(np.array([0, 1], dtype))
    y, g = value_and_gradient(
        lambda q: F.kl_div(q, target, reduction="sum"), np.array([-INF, 0], dtype)
    )
    assert (y, g.tolist()) == (0, [0, -1])


# --- for all logits -------------------------------------------------------------------------

finite = st.floats(-1e30, 1e30, allow_subnormal=False)
matrices = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=finite)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(matrices)
def test_softmax_rows_are_distributions(z):
    p = F.softmax(tensor(z), 1).numpy()
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-15 * (z.shape[1] + 1))
    np.testing.assert_array_equal(np.take_along_axis(p, z.argmax(1)[:, None], 1)[:, 0], p.max(1))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(matrices, st.data())
def test_cross_entropy_gradient_rows_sum_to_zero_and_only_the_target_is_negative(z, data):
    """Σⱼ (pⱼ − yⱼ) = 1 − 1, and pⱼ − yⱼ ≥ 0 for all j but the target."""
    n, classes = z.shape
    ids = data.draw(arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    x = tensor(z, requires_grad=True)
    loss = F.cross_entropy(x, tensor(ids))
    loss.backward()
    g = x.grad.numpy()
    assert loss.item() >= -1e-15
    np.testing.assert_allclose(g.sum(1), 0, atol=1e-15 * (classes + 1))
    others = np.arange(classes) != ids[:, None]
    assert (g[others] >= 0).all()
    assert (g[~others] <= 1e-15).all()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    arrays(
        np.int64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(-99, 99)
    ),
    st.integers(-(2**40), 2**40),
)
def test_a_shift_of_all_logits_changes_nothing(z, shift):
    """softmax(z + c) = softmax(z), to the last bit where z + c is exact, as with integers."""
    plain, shifted = z.astype(float), (z + shift).astype(float)
    ids = tensor(np.zeros(len(z), np.int64))
    for f in (
        lambda x: F.softmax(x, 1),
        lambda x: F.log_softmax(x, 1),
        lambda x: F.cross_entropy(x, ids),
    ):
        for one, other in zip(value_and_gradient(f, plain), value_and_gradient(f, shifted)):
            np.testing.assert_array_equal(one, other)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(arrays(np.float64, 5, elements=st.floats(-1e300, 1e300)))
def test_logistic_symmetries(z):
    """s(z) + s(−z) = 1, softplus(z) − softplus(−z) = z, log s(z) = −softplus(−z), 0 ≤ s ≤ 1."""
    x, minus = tensor(z), tensor(-z)
    one = (F.sigmoid(x) + F.sigmoid(minus)).numpy()
    np.testing.assert_allclose(one, 1, rtol=1e-15)
    np.testing.assert_allclose((F.softplus(x) - F.softplus(minus)).numpy(), z, 1e-15, 1e-15)
    np.testing.assert_array_equal(F.logsigmoid(x).numpy(), -F.softplus(minus).numpy())
    assert ((F.sigmoid(x).numpy() >= 0) & (F.sigmoid(x).numpy() <= 1)).all()


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (np.float32, 1e-22),
        (np.float32, 1e22),
        (np.float64, 1e-200),
        (np.float64, 1e200),
        (np.float64, 2.0**-1060),
    ],
)
def test_a_norm_neither_overflows_nor_underflows(dtype, scale):
    x = tg.tensor(np.array([3 * scale, 4 * scale], dtype), requires_grad=True)
    length = x.norm()
    length.backward()
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(length.item(), 5 * scale, rtol=4 * eps)
    np.testing.assert_allclose(x.grad.numpy(), [0.6, 0.8], rtol=4 * eps)


def test_infinities_that_a_factor_of_zero_ends():
    minus = tg.tensor([-np.inf, 1.0])
    for f in (F.silu, F.gelu):
        assert f(minus).tolist()[0] == 0.0
    assert tg.tensor([np.inf, 1000.0]).logsumexp().item() == np.inf
    target, log_q = tg.tensor([-np.inf, 0.0]), tg.tensor([-1.0, -1.0])
    assert F.kl_div(log_q, target, reduction="sum", log_target=True).item() == 1.0
    logits = tg.tensor([[0.0, -np.inf], [0.0, 0.0]])
    loss = F.cross_entropy(logits, tg.tensor([1, 0]), weight=tg.tensor([1.0, 0.0]))
    np.testing.assert_allclose(loss.item(), np.log(2), rtol=1e-6)


@both_precisions
@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (2, 300, 3), (2, 3, 300), (4, 1, 3), (2, 0, 3)])
def test_sums_and_extrema_over_any_axes(shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    n = len(shape)
    every = [axes for k in range(1, n + 1) for axes in itertools.permutations(range(-n, n), k)]
    for axes in every[:: 1 if n == 3 else 7]:
        if len({a % n for a in axes}) < len(axes):
            continue
        for axis, keepdims in itertools.product([axes, axes[0]][: 1 + (len(axes) == 1)], (0, 1)):
            for view in (x, x.transpose(), x[::-1]):
                y = table.sum(view, axis, bool(keepdims))
                exact = view.astype(np.float64).sum(axis, keepdims=bool(keepdims))
                assert y.shape == exact.shape and y.dtype == dtype
                bound = abs(view).sum(axis, keepdims=bool(keepdims)) * 32 * np.finfo(dtype).eps
                assert (abs(y - exact) <= bound).all(), (axis, keepdims)
    for axis, function in itertools.product(range(-n, n) if x.size else (), ("amax", "amin")):
        y = getattr(table, function)(x, axis, True)
        assert np.array_equal(y, getattr(np, function)(x, axis, keepdims=True)), (axis, function)
