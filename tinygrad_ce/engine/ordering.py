"""Medians and quantiles, differences, and sums that leave nan out: composed functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.operands import shaped
from tinygrad_ce.engine.returned import BY_NAME


def sorted_along(input: Any, dim: int | None, name: str) -> tuple[Any, Any, int]:
    """Values in their order, nan last, where each was, and the dimension; all of them without."""
    x = shaped(input, name)
    x = x.reshape(-1) if dim is None or not x.ndim else x
    axis = 0 if dim is None else table.axis_of(dim, x.ndim)
    if not x.shape[axis] or (name == "quantile" and not x.numel()):
        raise ValueError(f"{name}: shape {tuple(x.shape)} has no elements along dim {axis}")
    values, places = x.sort(axis)
    return values.movedim(axis, -1), places.movedim(axis, -1), axis


def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element, of an even number the lower one of two; nan if there is one.

    With `dim`, values and indices. The gradient goes to that element.

    >>> from tinygrad_ce import tensor
    >>> tensor([3.0, 1.0, 2.0, 9.0]).median()
    tensor(2.)
    """
    if dim is None and not shaped(input, "median").numel():
        return input.sum() * math.nan  # as of no numbers
    values, places, axis = sorted_along(input, dim, "median")
    middle, last = (values.shape[-1] - 1) // 2, values.shape[-1] - 1
    if dim is None:
        return table.where(table.isnan(values[last]), values[last], values[middle])
    found = table.where(table.isnan(values[..., last]), last, middle).unsqueeze(-1)
    pair = [part.gather(-1, found).squeeze(-1) for part in (values, places)]
    if not input.ndim:
        pair = [part.reshape(()) for part in pair]
    elif keepdim:
        pair = [part.unsqueeze(axis) for part in pair]
    return BY_NAME["median"](*pair)


def quantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Any:  # fmt: skip
    """The number that a share q of the elements lies below, between two elements as told.

    `interpolation` is "linear", "lower", "higher", "midpoint" or "nearest"; several q come first.

    >>> from tinygrad_ce import tensor
    >>> tensor([1.0, 2.0, 4.0]).quantile(0.75)
    tensor(3.)
    """
    shares = np.asarray(q.tolist() if hasattr(q, "tolist") else q, np.float64)
    if shares.ndim > 1 or ((shares < 0) | (shares > 1)).any():
        raise ValueError(f"quantile: q={q}; wanted a number from 0 to 1, or a row of them")
    values, _, axis = sorted_along(input, dim, "quantile")
    last = values.shape[-1] - 1
    found = [between(values, share * last, interpolation) for share in shares.reshape(-1).tolist()]
    found = [table.where(table.isnan(values[..., last]), values[..., last], y) for y in found]
    if keepdim and dim is None:
        found = [y.reshape((1,) * input.ndim) for y in found]
    elif keepdim and input.ndim:
        found = [y.unsqueeze(axis) for y in found]
    return table.stack(*found, axis=0) if shares.ndim else found[0]


def between(values: Any, place: float, interpolation: str) -> Any:
    """What stands at a place between two elements of the last dimension."""
    low, high = math.floor(place), math.ceil(place)
    weights = {
        "linear": place - low, "lower": 0, "higher": 1, "midpoint": 0.5,
        "nearest": round(place) - low,
    }  # fmt: skip
    if interpolation not in weights:
        raise ValueError(f"quantile: interpolation={interpolation!r}; wanted one of {[*weights]}")
    start = values[..., low]
    return start if low == high else start + weights[interpolation] * (values[..., high] - start)


def nan_to_num(
    input: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Any:
    """x with numbers for nan, inf and -inf: 0, and the largest and the smallest of the dtype.

    >>> from tinygrad_ce import tensor
    >>> tensor([float("nan"), 1.0]).nan_to_num()
    tensor([0., 1.])
    """
    x = shaped(input, "nan_to_num")
    if x.dtype.kind != "f":
        return table.copy(x)
    ends = np.finfo(x.array.dtype)
    x = table.where(table.isnan(x), nan, x)
    x = table.where(x == math.inf, float(ends.max) if posinf is None else posinf, x)
    return table.where(x == -math.inf, float(ends.min) if neginf is None else neginf, x)


def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Σ x over `dim`, nan left out.

    >>> from tinygrad_ce import tensor
    >>> tensor([1.0, float("nan"), 2.0]).nansum()
    tensor(3.)
    """
    x = shaped(input, "nansum")
    return table.where(table.isnan(x), 0, x).sum(dim, keepdim, dtype=dtype)


def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The mean of the elements that are not nan.

    >>> from tinygrad_ce import tensor
    >>> tensor([1.0, float("nan"), 2.0]).nanmean()
    tensor(1.5000)
    """
    total = nansum(input, dim, keepdim, dtype=dtype)
    return total / (input == input).sum(dim, keepdim)


def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """x[i + 1] - x[i] along `dim`, n times, of x between `prepend` and `append`.

    >>> from tinygrad_ce import tensor
    >>> tensor([1, 4, 9]).diff()
    tensor([3, 5])
    """
    if not shaped(input, "diff").ndim or n < 0:
        raise ValueError(f"diff: n={n}, shape {tuple(input.shape)}; wanted n ≥ 0 and a dimension")
    axis = table.axis_of(dim, input.ndim)
    parts = [part for part in (prepend, input, append) if part is not None]
    x = table.concatenate(*parts, axis=axis) if len(parts) > 1 else input
    before = (slice(None),) * axis
    for _ in range(n):
        later, sooner = x[(*before, slice(1, None))], x[(*before, slice(None, -1))]
        x = table.not_equal(later, sooner) if x.dtype.kind == "b" else later - sooner
    return x
