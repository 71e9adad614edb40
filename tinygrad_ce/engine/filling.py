"""Tensors with other values at some of their elements: by a mask, or by indices along a dimension.

`x.scatter(0, index, src)` is a new tensor; `x.scatter_(0, index, src)` writes it into x.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.arranging import ALL, at_least_1d
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import leaf, shaped, value_of
from tinygrad_ce.engine.past import named
from tinygrad_ce.engine.table import SLOT, axis_of
from tinygrad_ce.engine.write import refuse_repeated


@named("MaskedFill")
def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """`value` where the mask is true."""
    return table.where(mask, element(value, input), input)


def element(value: Any, input: Any) -> Any:
    """A number as an element of the tensor: among booleans a boolean, among integers one."""
    if not isinstance(value, (int, float)) or input.array.dtype.kind == "f":
        return value
    return bool(value) if input.array.dtype.kind == "b" else int(value)


@named("MaskedScatter")
def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """The elements of `source`, one after another, where the mask is true."""
    there = mask.expand(input.shape).reshape(-1)
    flat = source.reshape(-1)
    wanted = int(value_of(there).sum()) if current().tracer is None else 0
    if wanted > flat.numel():
        raise ValueError(f"masked_scatter: the mask has {wanted} places, source {flat.numel()}")
    if not flat.numel():
        return table.copy(input)
    number = (table.cumsum(there.long(), 0) - 1).clip(0, flat.numel() - 1)
    return table.where(there.reshape(input.shape), flat[number].reshape(input.shape), input)


def picked(input: Any, dim: int, index: Any, source: Any, name: str) -> tuple[Any, ...]:
    """(x, arrays, values): where each element of `index` points to along `dim`, what goes there.

    `source` is cut to the shape of the index.
    """
    shaped(index, name)
    x, index = at_least_1d(input), at_least_1d(index)
    if index.ndim != x.ndim:
        raise ValueError(f"{name}: index has shape {index.array.shape}; wanted {x.ndim} dimensions")
    values = source
    if getattr(source, "ndim", 0):
        if source.ndim != index.ndim or any(n < k for n, k in zip(source.shape, index.shape)):
            raise ValueError(
                f"{name}: src has shape {source.array.shape}, index {index.array.shape}"
            )
        values = source[tuple(slice(n) for n in index.shape)]
    return x, functions.along_axis(index, axis_of(dim, x.ndim)), values


@named("Scatter")
def scatter(
    input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: Any = None
) -> Any:
    """x[index[i, j], j] = src[i, j] for dim 0; `src` may be a number, or be called `value`.

    With reduce="add" or "multiply" what was there is kept as a term or a factor. Raises ValueError
    where an element of x is named twice and src requires a gradient.
    """
    source = value if src is None else src
    if source is None:
        raise TypeError("scatter: no src; write x.scatter(dim, index, src), or a number")
    if reduce == "add":
        return scatter_add(input, dim, index, source)
    x, arrays, values = picked(input, dim, index, source, "scatter")
    arrays = tuple(a if isinstance(a, Node) else leaf(a) for a in arrays)
    if reduce == "multiply":
        at, ones = (SLOT,) * x.ndim, np.ones(x.shape, x.array.dtype)
        if isinstance(values, Node) and values.live and current().record:
            refuse_repeated(x, arrays, at)
            factors = table.put(leaf(ones), values, *arrays, index=at)
        else:  # of an element that is named twice both are factors
            np.multiply.at(ones, tuple(value_of(a) for a in arrays), value_of(values))
            factors = leaf(ones)
        return (x * factors).reshape(input.shape)
    if reduce is not None:
        raise ValueError(f"scatter: reduce={reduce!r}; wanted 'add' or 'multiply'")
    return placed(x, values, arrays, (SLOT,) * x.ndim).reshape(input.shape)


def placed(x: Any, values: Any, arrays: tuple[Any, ...], index: tuple[Any, ...]) -> Any:
    """x with the values at an index that names each element once, or values without a gradient."""
    if isinstance(values, Node) and values.live and current().record:
        refuse_repeated(x, arrays, index)
    if getattr(values, "dtype", x.dtype) != x.dtype:
        values = values.astype(x.dtype)
    return table.put(x, values, *arrays, index=index)


@named("ScatterAdd")
def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """x[index[i, j], j] += src[i, j] for dim 0; what is named twice gets both."""
    x, arrays, values = picked(input, dim, index, src, "scatter_add")
    if not isinstance(values, Node):
        values = leaf(np.full(index.shape, values, x.dtype))
    return (x + table.scatter(values, *arrays, index=(SLOT,) * x.ndim, shape=x.shape)).reshape(
        input.shape
    )


def slices(x: Any, dim: int) -> tuple[Any, ...]:
    """The index with a slot for the numbers of slices along `dim`."""
    return (ALL,) * axis_of(dim, x.ndim) + (SLOT,)


@named("IndexAdd")
def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """The slices at `index` along `dim` plus alpha times those of `source`."""
    x, rows = at_least_1d(input), at_least_1d(source)
    added = table.scatter(rows, at_least_1d(index), index=slices(x, dim), shape=x.shape)
    return (x + functions.times(alpha, added)).reshape(input.shape)


@named("IndexCopy")
def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """The slices of `source` in the place of those at `index` along `dim`."""
    x, rows, index = at_least_1d(input), at_least_1d(source), at_least_1d(index)
    wanted = x.shape[: axis_of(dim, x.ndim)] + index.shape + x.shape[axis_of(dim, x.ndim) + 1 :]
    if rows.shape != wanted:
        raise ValueError(f"index_copy: source has shape {source.array.shape}; wanted {wanted}")
    return placed(x, rows, (index,), slices(x, dim)).reshape(input.shape)


@named("IndexFill")
def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """`value` in the slices at `index` along `dim`."""
    x = at_least_1d(input)
    return table.put(x, value, at_least_1d(index), index=slices(x, dim)).reshape(input.shape)


@named("Put")
def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """The elements of `source` at `index`, which counts the elements row by row."""
    flat, at, values = input.reshape(-1), index.reshape(-1), source.reshape(-1)
    if accumulate:
        y = flat + table.scatter(values, at, index=(SLOT,), shape=flat.shape)
    else:
        y = placed(flat, values, (at,), (SLOT,))
    return y.reshape(input.shape)


def fill_diagonal(input: Any, fill_value: Any, wrap: bool = False) -> Any:
    """`fill_value` where all indices are equal; with `wrap` again below a tall matrix's square."""
    if input.ndim < 2 or (input.ndim > 2 and len(set(input.shape)) > 1):
        raise ValueError(
            f"fill_diagonal_: shape {input.array.shape}; wanted a matrix, or equal sizes"
        )
    mask = np.zeros(input.shape, bool)
    np.fill_diagonal(mask, True, wrap=wrap)
    return table.where(leaf(mask), element(fill_value, input), input)


@named("IndexPut")
def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """What x[indices] = values makes of x; with `accumulate` x[indices] += values, for each place
    that is named as often as it is.
    """
    arrays = tuple(i if isinstance(i, Node) else leaf(np.asarray(i)) for i in indices)
    index = (SLOT,) * len(arrays)
    if not accumulate:
        return placed(input, values, arrays, index)
    shape = input[arrays].shape
    return input + table.scatter(values.expand(shape), *arrays, index=index, shape=input.shape)
