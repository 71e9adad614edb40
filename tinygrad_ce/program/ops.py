"""What is known of each operation, one entry each: `OPS["add"]`.

The names are NumPy's. `evaluate` runs a step on arrays with the very functions that eager code
uses, so a program that no pass has changed gives what eager code gives, to the last bit.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_ce.engine import table
from tinygrad_ce.engine.operands import all_within
from tinygrad_ce.program.ir import NUMBERS, Step, Var

Array = Callable[..., Any]


class Op(NamedTuple):
    """One operation.

    `text` says how a person writes it: a, b, c are its operands, other names its attributes;
    without one it is `np.name(a, b)`. `exactly` is what eager code calls, where that differs.
    """

    run: Array  # on arrays, attributes by name
    text: str = ""
    rule: Array | None = None  # what draws it with its gradient: of the calculus table
    number: Array | None = None  # on Python's numbers: next to an array they take its dtype
    jumps: str = ""  # the last bit decides: it "compares", "chooses" an element, "rounds"
    exactly: str = ""
    given: Array | None = None  # how the arguments of a call are operands and attributes, ...
    recorded: Array | None = None  # ... of this function, if it is not `run`
    kind: str = "other"  # "elementwise", "reduction", "view": it costs nothing, "move": no FLOPs


def as_eager(function: Any) -> Array:
    """What a function of the table computes on arrays."""
    forward: Array = function.op.forward
    return forward


def as_operands(*xs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments that are operands all."""
    return xs, {}


def over_axis(x: Any, axis: Any = None, keepdims: bool = False) -> tuple[Any, dict[str, Any]]:
    """The arguments of a reduction."""
    return (x,), {"axis": axis, "keepdims": keepdims}


def total(x: Any, axis: Any, keepdims: bool, pairwise: bool = False) -> Any:
    """Σ x over `axis`, computed as `table.sum` does or, `pairwise`, as `np.add.reduce`."""
    if pairwise:
        add_up: Any = np.add.reduce
        return add_up(x, axis=axis, keepdims=keepdims)
    return as_eager(table.sum)(x, axis, keepdims)


def transposed(x: Any, axes: tuple[int, ...]) -> Any:
    """A Tensor with its axes in another order: `mT` if it is just the last two."""
    n = len(axes)
    last = n > 1 and axes == (*range(n - 2), n - 1, n - 2)
    return table.mT(x) if last else table.transpose(x, axes)


def converted(x: Any, dtype: Any) -> Any:
    """A Tensor in another dtype: no gradient flows through whole numbers."""
    return table.astype(x, dtype) if dtype.kind == "f" else table.as_whole(x, dtype)


def flatten(xs: Sequence[Any], slices: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """Pieces laid into one array."""
    y = np.zeros(shape, xs[0].dtype)
    flat = y.reshape(-1)
    for x, piece in zip(xs, slices):
        piece.of(flat)[...] = x
    return y


# As many bits as the float has: multiplied by 1 they stay, by 0 they are 0.0, inf and nan too.
BITS: dict[Any, Any] = {
    np.dtype(np.float32): np.dtype(np.uint32),
    np.dtype(np.float64): np.dtype(np.uint64),
}

# --- elementwise: functions of NumPy's, then others ---------------------------------------------

UFUNC_OPS: dict[str, Op] = {
    "add": Op(np.add, "a + b", table.add, operator.add),
    "subtract": Op(np.subtract, "a - b", table.sub, operator.sub),
    "multiply": Op(np.multiply, "a * b", table.mul, operator.mul),
    "divide": Op(np.divide, "a / b", table.div, operator.truediv),
    "negative": Op(np.negative, "-a", table.neg, operator.neg),
    "power": Op(np.power, "a ** b", table.float_power, operator.pow, exactly="np.power(a, b)"),
    "square": Op(np.square, "a ** 2", lambda x: table.power(x, 2), exactly="np.square(a)"),
    "absolute": Op(np.absolute, "np.abs(a)", table.abs, abs, "compares", "np.absolute(a)"),
    "remainder": Op(np.remainder, "a % b", table.mod, operator.mod, "rounds"),
    "floor_divide": Op(np.floor_divide, "a // b", table.floordiv, operator.floordiv, "rounds"),
    "greater": Op(np.greater, "a > b", table.greater, operator.gt, "compares"),
    "greater_equal": Op(np.greater_equal, "a >= b", table.greater_equal, operator.ge, "compares"),
    "less": Op(np.less, "a < b", table.less, operator.lt, "compares"),
    "less_equal": Op(np.less_equal, "a <= b", table.less_equal, operator.le, "compares"),
    "equal": Op(np.equal, "a == b", table.equal, operator.eq, "compares"),
    "not_equal": Op(np.not_equal, "a != b", table.not_equal, operator.ne, "compares"),
    "maximum": Op(np.maximum, rule=table.maximum, jumps="compares"),
    "minimum": Op(np.minimum, rule=table.minimum, jumps="compares"),
    "sign": Op(np.sign, rule=table.sign, jumps="compares"),
    "floor": Op(np.floor, rule=table.floor, jumps="rounds"),
    "ceil": Op(np.ceil, rule=table.ceil, jumps="rounds"),
    "trunc": Op(np.trunc, rule=table.trunc, jumps="rounds"),
    "fmod": Op(np.fmod, rule=table.fmod, jumps="rounds"),
    "rint": Op(np.rint, "np.round(a)", table.round, jumps="rounds"),
    "bitwise_and": Op(np.bitwise_and, "a & b", table.logical_and),
    "bitwise_or": Op(np.bitwise_or, "a | b", table.logical_or),
    "bitwise_xor": Op(np.bitwise_xor, "a ^ b", table.logical_xor),
    "invert": Op(np.invert, "~a", table.logical_not),
    **{
        u.__name__: Op(u, rule=getattr(table, u.__name__, None))
        for u in (
            np.exp, np.log, np.log1p, np.expm1, np.sqrt, np.sin, np.cos, np.tanh, np.isnan,
            np.isinf, np.isfinite, np.float_power, np.reciprocal, np.ldexp, np.copysign, np.log2,
            np.log10, np.tan, np.arcsin, np.arccos, np.arctan, np.arctan2, np.hypot, np.sinh,
            np.cosh, np.arcsinh,
        )
    },
    **{
        u.__name__: Op(u)
        for u in (np.logical_and, np.logical_or, np.logical_xor, np.logical_not)
    },
}  # fmt: skip

ELEMENTWISE_OPS: dict[str, Op] = {
    "where": Op(np.where, "np.where(a, b, c)", table.choose, given=as_operands),
    "masked": Op(as_eager(table.masked), "np.where(b, a, 0)", table.masked, given=as_operands),
    "erfc": Op(
        as_eager(table.erfc), "np.vectorize(math.erfc, otypes=[dtype])(a)", table.erfc,
        given=as_operands,
    ),
    "erf": Op(
        as_eager(table.erf), "np.vectorize(math.erf, otypes=[dtype])(a)", table.erf,
        given=as_operands,
    ),
    "clip": Op(
        lambda x, low, high: np.clip(x, low, high), "np.clip(a, low, high)", table.clip,
        jumps="compares", recorded=np.clip,
        given=lambda x, low=None, high=None: ((x,), {"low": low, "high": high}),
    ),
    "astype": Op(
        lambda x, dtype: dtype.type(x) if type(x) in NUMBERS else x.astype(dtype),
        "a.astype(dtype)", converted, jumps="rounds",
    ),
    "relu": Op(
        as_eager(table.relu), "np.maximum(a, 0)", table.relu, jumps="compares", given=as_operands
    ),
    "relu_mask": Op(lambda y: np.where(y <= 0, 0, 1).astype(BITS[y.dtype])),
    "relu_grad": Op(lambda g, bits: (g.view(bits.dtype) * bits).view(g.dtype)),
}  # fmt: skip

# --- along axes, views, products, indices -------------------------------------------------------

REDUCTION_OPS: dict[str, Op] = {
    "sum": Op(
        total, rule=lambda x, axis, keepdims, pairwise=False: table.sum(x, axis, keepdims),
        recorded=np.sum, given=over_axis,
    ),
    "max": Op(as_eager(table.amax), "", table.amax, None, "chooses", "", over_axis, np.max),
    "min": Op(as_eager(table.amin), "", table.amin, None, "chooses", "", over_axis, np.min),
    "prod": Op(np.prod, rule=lambda x, axis, keepdims: table.prod(x), given=over_axis),
    "all": Op(np.all, rule=table.all, given=over_axis),
    "any": Op(np.any, rule=table.any, given=over_axis),
    "argmax": Op(np.argmax, rule=table.argmax, jumps="chooses", given=over_axis),
    "argmin": Op(np.argmin, rule=table.argmin, jumps="chooses", given=over_axis),
}  # fmt: skip

VIEW_OPS: dict[str, Op] = {
    "reshape": Op(lambda x, shape: x.reshape(shape), rule=lambda x, shape: table.reshape(x, shape)),
    "transpose": Op(lambda x, axes: x.transpose(axes), rule=transposed),
    "broadcast_to": Op(
        as_eager(table.broadcast_to), "np.broadcast_to(a, shape)", table.broadcast_to,
        given=lambda x, shape: ((x,), {"shape": shape}),
    ),
    "windows": Op(
        as_eager(table.sliding_windows),
        "np.lib.stride_tricks.sliding_window_view(a, window, axis=axes)",
        lambda x, window, axes: table.sliding_windows(x, window, axes),
        recorded=sliding_window_view,
        given=lambda x, window_shape, axis: (
            (x,), {"window": tuple(window_shape), "axes": tuple(axis)}
        ),
    ),
    "slice": Op(lambda x, index: x[index], rule=table.getitem),
}  # fmt: skip

MOVE_OPS: dict[str, Op] = {
    "take": Op(lambda x, *arrays, index: x[table.filled(index, arrays)], rule=table.getitem),
    "put": Op(
        as_eager(table.put), rule=table.put,
        given=lambda x, values, *arrays, index: ((x, values, *arrays), {"index": index}),
    ),
    "concatenate": Op(
        lambda *xs, axis: np.concatenate(xs, axis=axis), rule=table.concatenate,
        recorded=np.concatenate, given=lambda xs, axis=0: (tuple(xs), {"axis": axis}),
    ),
    "stack": Op(
        lambda *xs, axis: np.stack(xs, axis=axis), rule=table.stack,
        recorded=np.stack, given=lambda xs, axis=0: (tuple(xs), {"axis": axis}),
    ),
    "pad": Op(
        as_eager(table.pad), rule=table.pad,
        given=lambda x, widths, value=0.0: ((x,), {"widths": widths, "value": value}),
    ),
    "full": Op(lambda x, shape: np.full(shape, x), "np.full(shape, a)"),
    "copy": Op(lambda x: x.copy(), "a.copy()"),
    "draw": Op(
        lambda *xs, generator, method, args, kwargs: getattr(generator, method)(
            *table.filled(args, xs), **kwargs
        )
    ),
}  # fmt: skip

OTHER_OPS: dict[str, Op] = {
    "dot": Op(np.dot, "a @ b", table.mm, exactly="np.dot(a, b)"),
    "inner": Op(np.inner, "a @ b.T", table.inner, exactly="np.inner(a, b)", given=as_operands),
    "matmul": Op(np.matmul, "a @ b", table.any_matmul, exactly="np.matmul(a, b)"),
    "einsum": Op(
        lambda *xs, spec: as_eager(table.einsum)(*xs, spec=spec), rule=table.einsum,
        recorded=np.einsum, given=lambda spec, *xs, optimize=True: (xs, {"spec": spec}),
    ),
    "scatter": Op(
        as_eager(table.scatter), rule=table.scatter,
        given=lambda x, *arrays, index, shape: ((x, *arrays), {"index": index, "shape": shape}),
    ),
    "overlap_add": Op(
        as_eager(table.overlap_add), rule=table.overlap_add,
        given=lambda x, full, window, axes: (
            (x,), {"full": full, "window": window, "axes": axes}
        ),
    ),
    "cumsum": Op(lambda x, axis: np.add.accumulate(x, axis=axis), "np.cumsum(a, axis=axis)",
                 table.cumsum),
    "cumprod": Op(lambda x, axis: np.multiply.accumulate(x, axis=axis),
                  "np.cumprod(a, axis=axis)", table.cumprod),
    "argsort": Op(
        lambda x, axis: np.argsort(x, axis=axis, kind="stable"),
        "np.argsort(a, axis=axis, kind='stable')", table.argsort, jumps="chooses",
        recorded=np.argsort, given=lambda x, axis=-1, kind=None: ((x,), {"axis": axis}),
    ),
    "frexp": Op(lambda x, part: np.frexp(x)[part], "np.frexp(a)[part]"),
    "contiguous": Op(lambda x: x.copy(), "np.ascontiguousarray(a)"),
    "like": Op(table.like),
    "float": Op(float, "float(a)"),
    "flat_slice": Op(lambda x, piece: piece.of(np.ascontiguousarray(x))),
    "flatten": Op(lambda *xs, slices, shape: flatten(xs, slices, shape)),
    "counts_agree": Op(lambda x: bool((x == x[0]).all())),
    "all_finite": Op(lambda x: bool(np.isfinite(x).all())),
    "all_within": Op(all_within),
    "all_equal": Op(lambda x, value: np.array_equal(x, value)),
    "is_equal": Op(lambda x, value: bool(x == value)),
}  # fmt: skip


def of_windows(function: Any, jumps: str = "") -> Op:
    """An operation on windows of images, with the attributes that it has in the table."""
    op = function.op
    names = op.names[op.fixed :]

    def given(*args: Any) -> tuple[Any, dict[str, Any]]:
        return args[: op.fixed], dict(zip(names, args[op.fixed :]))

    return Op(op.forward, rule=function, jumps=jumps, given=given)


WINDOW_OPS: dict[str, Op] = {
    "im2col": of_windows(table.im2col),
    "col2im": of_windows(table.col2im),
    "max_pool": of_windows(table.max_pool),
    "argmax_pool": of_windows(table.argmax_pool, "chooses"),
    "put_in_windows": of_windows(table.put_in_windows),
    "take_in_windows": of_windows(table.take_in_windows),
    "sum_pool": of_windows(table.sum_pool),
    "sum_unpool": of_windows(table.sum_unpool),
}

KINDS = {
    "elementwise": {**UFUNC_OPS, **ELEMENTWISE_OPS},
    "reduction": REDUCTION_OPS,
    "view": VIEW_OPS,
    "move": MOVE_OPS,
    "other": {**OTHER_OPS, **WINDOW_OPS},
}
OPS: dict[str, Op] = {
    name: op._replace(kind=kind) for kind, ops in KINDS.items() for name, op in ops.items()
}
UFUNCS = {name: op.run for name, op in UFUNC_OPS.items()}
ELEMENTWISE, REDUCTIONS, VIEWS = (
    {name: op.run for name, op in KINDS[kind].items()}
    for kind in ("elementwise", "reduction", "view")
)


def evaluate(op: str, values: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """`op` of arrays and numbers."""
    known = OPS[op]
    if known.number is not None and all(type(v) in NUMBERS for v in values):
        return known.number(*values)
    return known.run(*values, **attrs)


def run(steps: Sequence[Step], values: dict[Var, Any]) -> dict[Var, Any]:
    """Every step in turn, on the given values: slow, plain, and what all else is compared with."""
    for step in steps:
        values[step.out] = evaluate(step.op, [values[x] for x in step.operands], step.attrs)
    return values
