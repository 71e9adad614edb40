"""Counts, places and order of the numbers in a tensor. They have no gradient.

How many there will be depends on the numbers themselves, so a traced program has none of these.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import array_from, settled_by, shaped, value_of
from tinygrad_ce.engine.returned import Histogram, named
from tinygrad_ce.engine.table import axis_of

HISTOGRAM = named("histogram", Histogram)


def evenly(start: Any, end: Any, steps: int, dtype: Any) -> np.ndarray:
    """`steps` numbers from start to end, each counted from the nearer end and rounded once.

    That is how PyTorch computes them, to the last bit.
    """
    low, high = np.asarray(start, dtype), np.asarray(end, dtype)
    if steps < 2 or low.dtype.kind != "f":
        return np.linspace(start, end, steps).astype(dtype)
    wide = np.longdouble if low.itemsize == 8 else np.float64
    step = ((high - low) / low.dtype.type(steps - 1)).astype(wide)
    i: Any = np.arange(steps).astype(wide)
    y: Any = np.where(i < steps // 2, low + step * i, high - step * (steps - 1 - i))
    return y.astype(dtype)


def argwhere(input: Any) -> Any:
    """(n, ndim): the indices of the elements that are not 0."""
    return settled_by(np.argwhere(value_of(input)), "argwhere", input)


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """(n, ndim): the indices of the elements that are not 0; as a tuple, one for each dimension."""
    if not as_tuple:
        return argwhere(input)
    places = np.nonzero(np.atleast_1d(value_of(input)))
    return tuple(settled_by(i, "nonzero", input) for i in places)


def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The different elements, in order; with `dim` the different slices.

    Then, where they are asked for, which of them each element is, and how often each occurs.
    """
    x = value_of(input)
    axis = None if dim is None else axis_of(dim, x.ndim)
    values, inverse, counts = np.unique(
        x, return_inverse=True, return_counts=True, axis=axis, equal_nan=False
    )
    if not (return_inverse or return_counts):
        return settled_by(values, "unique", input)
    inverse = inverse.reshape(x.shape if axis is None else -1)
    parts = [values, *([inverse] * return_inverse), *([counts] * return_counts)]
    return tuple(settled_by(part, "unique", input) for part in parts)


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each of the integers 0, 1, 2, ... occurs, or the sum of the weights there."""
    x = value_of(input)
    if x.ndim != 1 or x.dtype.kind not in "iu" or (x < 0).any():
        raise ValueError(
            f"bincount: got shape {x.shape} and dtype {x.dtype}; wanted a row of integers from 0 on"
        )
    if weights is None:
        return settled_by(np.bincount(x, minlength=minlength), "bincount", input)
    w = value_of(weights)
    if w.shape != x.shape:
        raise ValueError(f"bincount: weights have shape {w.shape}, input {x.shape}")
    total = np.bincount(x, w, minlength)
    total = total.astype(np.float32) if w.dtype == np.float32 else total
    return settled_by(total, "bincount", input, weights)


def limits(x: Any, low: Any, high: Any, name: str) -> tuple[Any, Any]:
    """The ends of a histogram: those that were given, or those of the numbers."""
    if low == high and x.size:
        low, high = x.min(), x.max()
    if low == high:
        low, high = low - 1, high + 1
    if not (low < high and np.isfinite([low, high]).all()):
        raise ValueError(f"{name}: from {low} to {high}; wanted finite ends, the lower one first")
    return x.dtype.type(low), x.dtype.type(high)


def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """How many elements are in each of `bins` equal bins from min to max, max included.

    With min = max the bins go from the smallest to the largest element.
    """
    x = value_of(input).reshape(-1)
    if bins < 1:
        raise ValueError(f"histc: {bins} bins; wanted at least 1")
    low, high = limits(x, min, max, "histc")
    x = x[(x >= low) & (x <= high)]
    number = np.minimum(((x - low) * bins / (high - low)).astype(np.int64), bins - 1)
    return settled_by(np.bincount(number, minlength=bins).astype(x.dtype), "histc", input)


def histogram(
    input: Any, bins: Any = 100, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    """Counts in equal bins over `range`, or between the edges `bins`: (hist, bin_edges).

    With `density` the area is 1; with `weight` elements count as much as it says.
    """
    x = value_of(input)
    if isinstance(bins, int):
        low, high = range or (0, 0)
        low, high = limits(x, low, high, "histogram")
        edges = evenly(low, high, bins + 1, x.dtype)
    else:
        edges = value_of(bins)
    flat = x.reshape(-1)
    w = np.ones_like(flat) if weight is None else value_of(weight).reshape(-1)
    inside = (flat >= edges[0]) & (flat <= edges[-1])
    number = np.searchsorted(edges, flat[inside], "right") - 1
    number = np.minimum(number, len(edges) - 2)
    hist = np.bincount(number, w[inside], len(edges) - 1).astype(x.dtype)
    if density:
        hist = (hist / hist.sum() / np.diff(edges)).astype(x.dtype)
    return HISTOGRAM(*(settled_by(x, "histogram", input, bins, weight) for x in (hist, edges)))


def searchsorted(
    sorted_sequence: Any, input: Any, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Any = None,
) -> Any:  # fmt: skip
    """Where each element of `input` would stand in the sorted sequence, or row of sequences.

    In front of equal ones; with right=True, or side="right", behind them.
    """
    rows, x = value_of(shaped(sorted_sequence, "searchsorted")), array_from(input)
    if side not in (None, "left", "right") or (right and side == "left"):
        raise ValueError(f"searchsorted: side={side!r} and right={right}; wanted one of them")
    if sorter is not None:
        rows = np.take_along_axis(rows, value_of(sorter), -1)
    where: Any = "right" if right else side or "left"
    dtype = np.int32 if out_int32 else np.int64
    if rows.ndim == 1:
        y = np.asarray(np.searchsorted(rows, x, where), dtype)
        return settled_by(y, "searchsorted", sorted_sequence, input)
    if rows.shape[:-1] != x.shape[:-1]:
        raise ValueError(f"searchsorted: shapes {rows.shape} and {x.shape}; wanted equal rows")
    y = np.empty(x.shape, dtype)
    for i in np.ndindex(*rows.shape[:-1]):
        y[i] = np.searchsorted(rows[i], x[i], where)
    return settled_by(y, "searchsorted", sorted_sequence, input)


def isclose(
    input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    """Whether |a - b| ≤ atol + rtol·|b|, element by element.

    >>> from tinygrad_ce import tensor
    >>> isclose(tensor([1.0, 2.0]), tensor([1.0 + 1e-7, 2.1]))
    tensor([ True, False])
    """
    found = close("isclose", input, other, rtol, atol, equal_nan)
    return settled_by(found, "isclose", input, other)


def close(name: str, input: Any, other: Any, *bounds: Any) -> np.ndarray:
    """np.isclose of what `name` was given."""
    a, b = (value_of(x) if isinstance(x, Node) else np.asarray(x) for x in (input, other))
    for size, wanted in zip(a.shape[::-1], b.shape[::-1]):
        if size != wanted and 1 not in (size, wanted):
            raise ValueError(f"{name}: shapes {a.shape} and {b.shape} do not broadcast")
    return np.isclose(a, b, *bounds)


def allclose(
    input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether |a - b| ≤ atol + rtol·|b| everywhere.

    >>> from tinygrad_ce import tensor
    >>> allclose(tensor([1.0]), tensor([1.0 + 1e-7]))
    True
    """
    return bool(close("allclose", input, other, rtol, atol, equal_nan).all())


def equal(input: Any, other: Any) -> bool:
    """Whether both have one shape and equal elements.

    >>> from tinygrad_ce import tensor
    >>> equal(tensor([1, 2]), tensor([1, 2])), equal(tensor([1]), tensor([1, 2]))
    (True, False)
    """
    return np.array_equal(input.array, other.array)
