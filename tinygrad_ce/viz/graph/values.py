"""Numbers as a card shows them: a few digits, a real minus sign, never more than a line.

One number of 1 or more has as many digits after the point: 24.7041. Up to five elements are shown
one by one; more are summed up as mean ± standard deviation, integers by their range, booleans by
how many are true. What is not finite is counted and named, and so is a mask of −1e9.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

digits = ContextVar("digits", default=4)
"""How many digits a number has, while a picture or a page is made."""
SHOWN = 5  # so many elements still fit on a card
HUGE = 1e4  # what hides scores that it is added to
LISTED = 20  # so many elements still fit in a tooltip
EXACT = 9_999_999  # up to here an integer shows all its digits
EXACT_ALONE = 1e5  # up to here a number that stands alone shows what is after its point


@contextmanager
def written_with(count: int) -> Iterator[None]:
    """Let numbers have so many digits while the block runs."""
    token = digits.set(count)
    try:
        yield
    finally:
        digits.reset(token)


def number(value: Any, more: int = 0) -> str:
    """One number with four significant digits, or as many as pictures have just now, and more.

    >>> number(-1234.2), number(2.0), number(1e-12), number(float("-inf")), number(np.True_)
    ('−1234', '2', '1e-12', '−∞', 'true')
    """
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)) and abs(int(value)) <= EXACT:
        return str(int(value)).replace("-", "−")
    text = f"{float(value) + 0.0:.{digits.get() + more}g}".replace("inf", "∞")
    mantissa, e, exponent = text.partition("e")
    return mantissa.replace("-", "−") + (f"e{int(exponent)}" if e else "")


def single(value: Any) -> str:
    """A number that stands alone: what is before the point does not count as digits.

    >>> single(24.7041), single(0.0247), single(2470410.0)
    ('24.7041', '0.0247', '2.47e6')
    """
    size = abs(float(value))
    return number(value, len(str(int(size))) if 1 <= size < EXACT_ALONE else 0)


def shape_text(array: np.ndarray) -> str:
    """The shape, and the dtype where it is not a float: `4 × 2`, `scalar`, `5 int64`."""
    sizes = sizes_text(array)
    return sizes if array.dtype.kind == "f" else f"{sizes} {array.dtype}"


def sizes_text(array: np.ndarray) -> str:
    """The sizes of the axes: `4 × 2` or `scalar`."""
    return " × ".join(map(str, array.shape)) or "scalar"


def value_text(array: np.ndarray) -> str:
    """What is in an array, on one line.

    >>> value_text(np.array([[1.0, -2.5]])), value_text(np.arange(10)), value_text(np.ones((0, 3)))
    ('[1, −2.5]', '0 … 9', 'empty')
    """
    if array.size == 0:
        return "empty"
    if array.size <= SHOWN:
        return single(array[()]) if array.ndim == 0 else listed(array)
    if array.dtype.kind == "b":
        return f"{int(array.sum())} of {array.size} true"
    if array.dtype.kind in "iu":
        return f"{number(array.min())} … {number(array.max())}"
    usual, masked = without_mask(array[np.isfinite(array)])
    parts = [spread(usual)] if usual.size else []
    parts += [f"{masked.size} × {number(masked[0])}"] if masked.size else []
    for name, there in (("nan", np.isnan), ("∞", np.isposinf), ("−∞", np.isneginf)):
        if count := int(there(array).sum()):
            parts.append(f"{count} × {name}")
    return ", ".join(parts)


def without_mask(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers, and apart from them a huge one that many of them are, such as −1e9 for a mask.

    >>> without_mask(np.array([0.5, -1e9, 1.5, -1e9 + 0.25]))
    (array([0.5, 1.5]), array([-1.e+09, -1.e+09]))
    """
    extreme = values[np.abs(values).argmax()] if values.size else 0.0
    masked = np.abs(values - extreme) <= 1e-3 * abs(extreme)
    rest = values[~masked]
    if abs(extreme) < HUGE or not rest.size or largest(rest) > 1e-3 * abs(extreme):
        return values, values[:0]
    return rest, values[masked]


def spread(values: np.ndarray) -> str:
    """`mean ± standard deviation` of finite numbers, scaled so that no square overflows.

    A mean that is nothing but rounding next to the deviation is 0.

    >>> spread(np.array([1.0, -1.0, 1e-8], np.float32)), spread(np.array([1.0, -1.0, 1e-8]))
    ('0 ± 0.8165', '3.333e-9 ± 0.8165')
    """
    scale = float(np.abs(values).max()) or 1.0
    scaled = values.astype(np.float64) / scale
    mean, deviation = scaled.mean(), scaled.std()
    if abs(mean) < np.finfo(values.dtype).eps * deviation:
        mean = 0.0
    return f"{number(mean * scale)} ± {number(deviation * scale)}"


def gradient_text(gradient: np.ndarray | None) -> str:
    """`∇ 0.25` for one number, its norm `‖∇‖ 0.25` for more, and `∇ —` where there is none.

    >>> gradient_text(np.array([3.0, 4.0])), gradient_text(np.array(-0.25)), gradient_text(None)
    ('‖∇‖ 5', '∇ −0.25', '∇ —')
    """
    if gradient is None:
        return "∇ —"
    if gradient.size == 0:
        return "∇ empty"
    if gradient.size == 1:
        return f"∇ {single(gradient.item())}"
    values = gradient.astype(np.float64)
    scale = float(np.abs(values).max())
    if 0 < scale < np.inf:
        return f"‖∇‖ {number(scale * np.sqrt(np.square(values / scale).sum()))}"
    return f"‖∇‖ {number(scale)}"  # 0, ∞ or nan


def listed(array: np.ndarray) -> str:
    """The elements as nested lists, a row or column as one list; of many, the ends of each axis.

    Of a stack of many elements the first matrix: the ends of n axes would be 4ⁿ numbers.

    >>> print(listed(np.arange(24).reshape(2, 3, 2, 2)))
    at [0, 0]:
    [[0, 1],
     [2, 3]]
    """
    if array.ndim and array.size == max(array.shape):
        array = array.reshape(-1)
    if array.size > LISTED and array.ndim > 2:
        at = (0,) * (array.ndim - 2)
        return f"at {list(at)}:\n{listed(array[at])}"
    text = np.array2string(
        array,
        max_line_width=100,
        separator=", ",
        threshold=LISTED,
        edgeitems=2,
        formatter={"all": number},
    )
    return text if array.size > SHOWN else " ".join(text.split())


def largest(x: Any) -> float:
    """The largest |x| of those that are finite, 0 of nothing.

    >>> largest([1.0, -3.0, np.inf]), largest([])
    (3.0, 0.0)
    """
    x = np.abs(np.asarray(x, np.float64))
    return float(np.max(x, initial=0.0, where=np.isfinite(x)))
