"""What a step can do: for each operation, how it is computed on arrays.

The names are NumPy's. `evaluate` runs a step on arrays with the very functions that eager code
uses, so a program that no pass has changed gives what eager code gives, to the last bit.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.program import windows
from tinygrad_ce.program.ir import Step, Var

UFUNCS: dict[str, Any] = {
    u.__name__: u
    for u in (
        np.add, np.subtract, np.multiply, np.divide, np.negative, np.power, np.float_power,
        np.square, np.reciprocal, np.exp, np.log, np.log1p, np.expm1, np.sqrt, np.sin, np.cos,
        np.tanh, np.absolute, np.sign, np.floor, np.ceil, np.rint, np.maximum, np.minimum,
        np.remainder, np.floor_divide, np.greater, np.greater_equal, np.less, np.less_equal,
        np.equal, np.not_equal, np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert,
        np.logical_and, np.logical_or, np.logical_xor, np.logical_not, np.isnan, np.isinf,
        np.isfinite, np.ldexp, np.copysign, np.log2, np.log10, np.arctan, np.sinh, np.cosh,
    )
}  # fmt: skip

# Python numbers stay Python numbers: next to an array they take its dtype.
NUMBERS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv, "negative": operator.neg, "power": operator.pow,
    "greater": operator.gt, "greater_equal": operator.ge, "less": operator.lt,
    "less_equal": operator.le, "equal": operator.eq, "not_equal": operator.ne,
    "remainder": operator.mod, "floor_divide": operator.floordiv, "absolute": abs,
}  # fmt: skip


PYTHON = (bool, int, float)


def as_eager(function: Any) -> Callable[..., Any]:
    """What a function of the table computes on arrays."""
    forward: Callable[..., Any] = function.op.forward
    return forward


def total(x: Any, axis: Any, keepdims: bool, pairwise: bool = False) -> Any:
    """Σ x over `axis`, computed as `table.sum` does or, `pairwise`, as `np.add.reduce`."""
    if pairwise:
        add_up: Any = np.add.reduce
        return add_up(x, axis=axis, keepdims=keepdims)
    return as_eager(table.sum)(x, axis, keepdims)


def extremum(function: Any) -> Callable[..., Any]:
    """The largest or smallest element over an axis, computed as eager code does."""
    forward = as_eager(function)
    return lambda x, axis, keepdims: forward(x, axis, keepdims)


# As many bits as the float has: multiplied by 1 they stay, by 0 they are 0.0, inf and nan too.
BITS: dict[Any, Any] = {
    np.dtype(np.float32): np.dtype(np.uint32),
    np.dtype(np.float64): np.dtype(np.uint64),
}

ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **UFUNCS,
    "where": np.where,
    "masked": as_eager(table.masked),
    "erfc": as_eager(table.erfc),
    "clip": lambda x, low, high: np.clip(x, low, high),
    "astype": lambda x, dtype: dtype.type(x) if type(x) in PYTHON else x.astype(dtype),
    "relu": lambda x: np.maximum(x, x.dtype.type(0)),
    "passes": lambda y: np.where(y <= 0, 0, 1).astype(BITS[y.dtype]),
    "let_pass": lambda g, bits: (g.view(bits.dtype) * bits).view(g.dtype),
}


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": total,
    "max": extremum(table.amax),
    "min": extremum(table.amin),
    "prod": lambda x, axis, keepdims: np.prod(x, axis=axis, keepdims=keepdims),
    "all": lambda x, axis, keepdims: np.all(x, axis=axis, keepdims=keepdims),
    "any": lambda x, axis, keepdims: np.any(x, axis=axis, keepdims=keepdims),
    "argmax": lambda x, axis, keepdims: np.argmax(x, axis=axis, keepdims=keepdims),
    "argmin": lambda x, axis, keepdims: np.argmin(x, axis=axis, keepdims=keepdims),
}

VIEWS: dict[str, Callable[..., Any]] = {
    "reshape": lambda x, shape: x.reshape(shape),
    "transpose": lambda x, axes: x.transpose(axes),
    "broadcast_to": lambda x, shape: as_eager(table.broadcast_to)(x, shape),
    "windows": lambda x, window, axes: as_eager(table.sliding_windows)(x, window, axes),
    "slice": lambda x, index: x[index],
}

OTHERS: dict[str, Callable[..., Any]] = {
    "dot": np.dot,
    "inner": np.inner,
    "matmul": np.matmul,
    "einsum": lambda *xs, spec: as_eager(table.einsum)(*xs, spec=spec),
    "take": lambda x, *arrays, index: x[table.filled(index, arrays)],
    "put": lambda x, values, *arrays, index: as_eager(table.put)(x, values, *arrays, index=index),
    "scatter": lambda x, *arrays, index, shape: as_eager(table.scatter)(
        x, *arrays, index=index, shape=shape
    ),
    "overlap_add": lambda x, full, window, axes: as_eager(table.overlap_add)(x, full, window, axes),
    "concatenate": lambda *xs, axis: np.concatenate(xs, axis=axis),
    "stack": lambda *xs, axis: np.stack(xs, axis=axis),
    "pad": lambda x, widths, value: np.pad(x, widths, constant_values=value),
    "cumsum": lambda x, axis: np.add.accumulate(x, axis=axis),
    "cumprod": lambda x, axis: np.multiply.accumulate(x, axis=axis),
    "argsort": lambda x, axis: np.argsort(x, axis=axis, kind="stable"),
    "frexp": lambda x, part: np.frexp(x)[part],
    "full": lambda x, shape: np.full(shape, x),
    "copy": lambda x: x.copy(),
    "contiguous": lambda x: x.copy(),
    "float": float,
    "draw": lambda *xs, generator, method, args, kwargs: getattr(generator, method)(
        *table.filled(args, xs), **kwargs
    ),
    "piece": lambda x, placement: placement.of(np.ascontiguousarray(x)),
    "pack": lambda *xs, placements, shape: pack(xs, placements, shape),
    "counts_agree": lambda x: bool((x == x[0]).all()),
    "all_finite": lambda x: bool(np.isfinite(x).all()),
    "all_within": lambda x, low, high, also: within(x, low, high, also),
    "all_equal": lambda x, value: np.array_equal(x, value),
    "is_equal": lambda x, value: bool(x == value),
}


def pack(xs: Sequence[Any], placements: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """Pieces laid into one array."""
    y = np.zeros(shape, xs[0].dtype)
    flat = y.reshape(-1)
    for x, placement in zip(xs, placements):
        placement.of(flat)[...] = x
    return y


def within(x: Any, low: float, high: float, also: float | None) -> bool:
    """Whether all elements of x are in low ... high, or are `also`."""
    inside = (x >= low) & (x <= high)
    return bool((inside if also is None else inside | (x == also)).all())


EVALUATE = {**ELEMENTWISE, **REDUCTIONS, **VIEWS, **OTHERS, **windows.EVALUATE}


def evaluate(op: str, values: Sequence[Any], settings: dict[str, Any]) -> Any:
    """`op` of arrays and numbers."""
    if op in NUMBERS and all(type(v) in PYTHON for v in values):
        return NUMBERS[op](*values)
    return EVALUATE[op](*values, **settings)


def run(steps: Sequence[Step], values: dict[Var, Any]) -> dict[Var, Any]:
    """Every step in turn, on the given values: slow, plain, and what all else is compared with."""
    for step in steps:
        values[step.out] = evaluate(step.op, [values[x] for x in step.operands], step.settings)
    return values
