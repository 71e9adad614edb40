"""erf and erfc on whole arrays. erfc: 2/√π ∫ from x to ∞ of exp(−t²) dt, to 4 ulp.

For x ≥ 0, erfc(x) = exp(−x²)·p(t)/(x + 7/8) with t = (x − k)/(x + k): what p has to follow goes
from 0.88 at 0 to 0.56 at ∞ and is flat at both ends, so a polynomial with the least relative error
does, and nothing cancels (Shepherd and Laframboise, 1981). For x < 0, erfc(x) = 2 − erfc(−x).
erf is 1 − erfc, and near 0, where that would cancel, its Taylor series.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

FEW = 512  # so many numbers are faster one by one
BLOCK = 1 << 15  # so many fit into the cache
one_by_one = {f: np.frompyfunc(f, 1, 1) for f in (math.erf, math.erfc)}
NEAR = 0.5  # up to here the series of erf is summed: 13 terms give all digits
SERIES = tuple(
    2 / math.sqrt(math.pi) * (-1) ** n / math.factorial(n) / (2 * n + 1) for n in range(13)
)

# k, and the coefficients of p from t⁰ on. Relative errors: 9e-9 up to 10.2, 3e-17 up to 28.
SINGLE = 2.5, (
    0.7114714727488081, -0.20057965623995444, 0.04488070544764934, 0.03192759178721264,
    -0.0365200818400187, 0.014880679995767969, -0.00048727359342136634, -0.0018435630024547466,
    0.0002541249757987975, 0.0002139025287670638,
)  # fmt: skip
DOUBLE = 4.0, (
    0.6678723559221743, -0.16696107670534585, 0.08970970564565434, -0.027548154134119828,
    -0.009658341493295695, 0.023200986633496377, -0.021428036717378945, 0.013767278017703775,
    -0.00657626810519817, 0.002216312357104303, -0.00038704771583938463, -7.000935400790963e-05,
    6.68540782175111e-05, -1.2913902731298776e-05, -4.511434125116956e-06, 2.7018224617864516e-06,
    4.812776812109329e-08, -3.7526801296343157e-07, 3.88999268953749e-08, 4.649766665438661e-08,
    -5.421339258379101e-09, -4.1776504863816405e-09,
)  # fmt: skip


def erfc(x: Any) -> Any:
    """2/√π ∫ from x to ∞ of exp(−t²) dt, element by element, in the dtype of x.

    ∂y/∂x = -2 / sqrt(pi) * exp(-(x**2))
    """
    return in_blocks(x, math.erfc, of_row)


def erf(x: Any) -> Any:
    """2/√π ∫ from 0 to x of exp(−t²) dt, element by element, in the dtype of x.

    ∂y/∂x = 2 / sqrt(pi) * exp(-(x**2))
    """
    return in_blocks(x, math.erf, erf_of_row)


def in_blocks(x: Any, few: Any, many: Any) -> Any:
    """`few` of each number, or `many` of rows of them that fit into the cache."""
    if x.size < FEW or x.dtype not in (np.float32, np.float64):
        y = np.asarray(one_by_one[few](x), x.dtype)
        return y if x.ndim else y[()]
    flat = np.ravel(x)
    y = np.empty_like(flat)
    for i in range(0, flat.size, BLOCK):
        y[i : i + BLOCK] = many(flat[i : i + BLOCK])
    return y.reshape(x.shape)


def erf_of_row(x: Any) -> Any:
    """erf of a row of numbers: the sign of x, and 1 − erfc(|x|) or the series."""
    size = np.abs(x)
    near = np.minimum(size, NEAR)
    y = np.where(size > NEAR, 1.0 - of_row(size), near * polynomial(SERIES, near * near))
    return np.copysign(y, x, out=y)


def of_row(x: Any) -> Any:
    """erfc of a row of numbers, in few passes over them."""
    single = x.dtype == np.float32
    size = np.abs(x)
    k, coefficients = SINGLE if single else DOUBLE
    t = size + k
    np.divide(2 * k, t, out=t)
    np.subtract(1.0, t, out=t)  # (x - k)/(x + k), at infinity too
    y = polynomial(coefficients, t)
    y *= single_bell(size) if single else double_bell(size)
    bits, two = (np.int32, 1 << 30) if single else (np.int64, 1 << 62)
    side = x.view(bits) >> (8 * x.itemsize - 1)  # all bits are the sign
    side &= two
    y -= side.view(x.dtype)  # 0.0, or 2.0 where x < 0
    return np.abs(y, out=y)


def polynomial(coefficients: tuple[float, ...], t: Any) -> Any:
    """Σ c[k]·tᵏ, from the last one on (Horner)."""
    *others, last = coefficients
    y = t * last
    for c in others[:0:-1]:
        y += c
        y *= t
    y += others[0]
    return y


def single_bell(x: Any) -> Any:
    """exp(−x²)/(x + 7/8), computed in float64, where x² has all its digits."""
    x = x.astype(np.float64)
    y = x * -x
    np.exp(y, out=y)
    x += 0.875
    y /= x
    return y.astype(np.float32)


def double_bell(x: Any) -> Any:
    """exp(−x²)/(x + 7/8). −x² is −h² + (h − x)(h + x), and h, x to 26 bits, has an exact square."""
    x = np.minimum(x, 28.0)  # from where on it is 0
    h = (x.view(np.int64) & -(1 << 27)).view(np.float64)
    y = h - x
    y *= h + x
    np.expm1(y, out=y)
    h *= -h
    y *= np.exp(h, out=h)
    y += h
    x += 0.875
    y /= x
    return y
