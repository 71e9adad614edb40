"""Numbers as a card shows them: three digits, a real minus sign, never more than a line.

Up to five elements are shown one by one; more are summed up as mean ± standard deviation, integers
by their range, booleans by how many are true. What is not finite is counted and named.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SHOWN = 5  # so many elements still fit on a card
LISTED = 20  # so many elements still fit in a tooltip
EXACT = 9_999_999  # up to here an integer shows all its digits


def number(value: Any) -> str:
    """One number with three significant digits.

    >>> number(-1234.5), number(2.0), number(1e-12), number(float("-inf")), number(np.True_)
    ('−1.23e3', '2', '1e-12', '−∞', 'true')
    """
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)) and abs(int(value)) <= EXACT:
        return str(int(value)).replace("-", "−")
    text = f"{float(value) + 0.0:.3g}".replace("inf", "∞")
    mantissa, e, exponent = text.partition("e")
    return mantissa.replace("-", "−") + (f"e{int(exponent)}" if e else "")


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
        return listed(array)
    if array.dtype.kind == "b":
        return f"{int(array.sum())} of {array.size} true"
    if array.dtype.kind in "iu":
        return f"{number(array.min())} … {number(array.max())}"
    parts = [spread(array[np.isfinite(array)])] if np.isfinite(array).any() else []
    for name, there in (("nan", np.isnan), ("∞", np.isposinf), ("−∞", np.isneginf)):
        if count := int(there(array).sum()):
            parts.append(f"{count} × {name}")
    return ", ".join(parts)


def spread(values: np.ndarray) -> str:
    """`mean ± standard deviation` of finite numbers, scaled so that no square overflows.

    A mean that is nothing but rounding next to the deviation is 0.

    >>> spread(np.array([1.0, -1.0, 1e-8], np.float32)), spread(np.array([1.0, -1.0, 1e-8]))
    ('0 ± 0.816', '3.33e-9 ± 0.816')
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
        return f"∇ {number(gradient.item())}"
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
