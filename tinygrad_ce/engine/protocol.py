"""NumPy's names for our operations: how `np.exp(t)` and `np.sum(t, axis=1)` find their rule.

`UFUNCS` serves `__array_ufunc__` (NEP 13), `FUNCTIONS` serves `__array_function__` (NEP 18). A
function that is in neither gets the numbers, as np.asarray gives them, where no Tensor needs a
gradient. Else it raises and says so: it would return numbers cut off from the graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import leaf, settled_by

UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: table.add,
    np.subtract: table.sub,
    np.multiply: table.mul,
    np.divide: table.div,
    np.negative: table.neg,
    np.positive: table.copy,
    np.power: table.float_power,
    np.float_power: table.float_power,
    np.square: lambda x: x * x,
    np.reciprocal: lambda x: 1.0 / x,
    np.exp: table.exp,
    np.log: table.log,
    np.log1p: table.log1p,
    np.expm1: table.expm1,
    np.sqrt: table.sqrt,
    np.sin: table.sin,
    np.cos: table.cos,
    np.tanh: table.tanh,
    np.tan: table.tan,
    np.arcsin: table.arcsin,
    np.arccos: table.arccos,
    np.arctan: table.arctan,
    np.arctan2: table.arctan2,
    np.hypot: table.hypot,
    np.sinh: table.sinh,
    np.cosh: table.cosh,
    np.arcsinh: table.arcsinh,
    np.log2: table.log2,
    np.log10: table.log10,
    np.logaddexp: functions.logaddexp,
    np.trunc: table.trunc,
    np.fmod: table.fmod,
    np.abs: table.abs,
    np.fabs: table.abs,
    np.sign: table.sign,
    np.floor: table.floor,
    np.ceil: table.ceil,
    np.rint: table.round,
    np.maximum: table.maximum,
    np.minimum: table.minimum,
    np.matmul: table.matmul,
    np.remainder: table.mod,
    np.floor_divide: table.floordiv,
    np.greater: table.greater,
    np.greater_equal: table.greater_equal,
    np.less: table.less,
    np.less_equal: table.less_equal,
    np.equal: table.equal,
    np.not_equal: table.not_equal,
    np.bitwise_and: table.logical_and,
    np.bitwise_or: table.logical_or,
    np.bitwise_xor: table.logical_xor,
    np.invert: table.logical_not,
    np.logical_and: lambda a, b: table.logical_and(truth(a), truth(b)),
    np.logical_or: lambda a, b: table.logical_or(truth(a), truth(b)),
    np.logical_xor: lambda a, b: table.logical_xor(truth(a), truth(b)),
    np.logical_not: lambda x: table.logical_not(truth(x)),
    np.isnan: table.isnan,
    np.isinf: table.isinf,
    np.isfinite: table.isfinite,
}

REDUCTIONS: dict[Any, Callable[..., Any]] = {
    np.add: table.sum,
    np.multiply: functions.prod,
    np.maximum: table.amax,
    np.minimum: table.amin,
    np.logical_and: table.all,
    np.logical_or: table.any,
}

FUNCTIONS: dict[Any, Callable[..., Any]] = {}


def truth(x: Any) -> Any:
    """x ≠ 0, as a boolean."""
    return x if isinstance(x, bool) or getattr(x, "dtype", None) == np.bool_ else x != 0


def implements(*numpy_functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function as what the NumPy functions do on Tensors."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for numpy_function in numpy_functions:
            FUNCTIONS[numpy_function] = function
        return function

    return register


def array_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `Tensor.__array_ufunc__` does."""
    kwargs = {k: v for k, v in kwargs.items() if k == "axis" or v is not None}
    out = kwargs.get("out", ())
    if out and (needs_gradient(inputs) or any(isinstance(x, Node) for x in out)):
        raise TypeError(
            f"np.{ufunc.__name__}: out= would cut the result from the graph. Drop out=, or write "
            "into a Tensor with t[...] = value"
        )
    if method == "__call__" and ufunc in UFUNCS and not kwargs:
        return UFUNCS[ufunc](*inputs)
    if method == "reduce" and ufunc in REDUCTIONS and set(kwargs) <= {"axis", "keepdims"}:
        axis = kwargs.get("axis", 0)
        return REDUCTIONS[ufunc](inputs[0], as_axis(axis), kwargs.get("keepdims", False))
    if method == "accumulate" and ufunc in (np.add, np.multiply) and set(kwargs) <= {"axis"}:
        function = table.cumsum if ufunc is np.add else table.cumprod
        return function(inputs[0], kwargs.get("axis", 0))
    name = ufunc.__name__ + ("" if method == "__call__" else f".{method}")
    missing = no_rule(name, f" with {', '.join(kwargs)}" if kwargs else "")
    if method == "at" and isinstance(inputs[0], Node) and not needs_gradient(inputs):
        raise TypeError(WRITES.format(name))  # NumPy would, though the array is read-only
    found = in_numpy(getattr(ufunc, method), inputs, kwargs, missing)
    return found if out else leaves(found, ufunc.__name__, inputs)


def array_function(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `Tensor.__array_function__` does."""
    ours = FUNCTIONS.get(function)
    name = getattr(function, "__name__", str(function))
    if ours is None:
        module = getattr(function, "__module__", "numpy").removeprefix("numpy").lstrip(".")
        public = hasattr(np, module.split(".")[0]) if module else False
        return in_numpy(function, args, kwargs, no_rule(f"{module}.{name}" if public else name))
    try:
        inspect.signature(ours).bind(*args, **kwargs)
    except TypeError as error:
        return in_numpy(function, args, kwargs, TypeError(f"np.{name} on a Tensor: {error}"))
    try:
        return ours(*args, **kwargs)
    except NoRuleError as missing:
        return in_numpy(function, args, kwargs, missing)


WRITES = "np.{} cannot write into a Tensor; write t[...] = value, or give it t.numpy()"


def in_numpy(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], missing: TypeError
) -> Any:
    """What NumPy makes of the numbers, where no gradient is needed; else `missing` is raised."""
    if needs_gradient((args, kwargs)):
        raise TypeError(str(missing)) from None
    try:
        return function(*numbers_of(args), **numbers_of(kwargs))
    except ValueError as error:
        written = "read-only" in str(error)
        raise (TypeError(WRITES.format(function.__name__)) if written else error) from None
    except RuntimeError as error:  # a trace has no numbers
        raise type(error)(f"np.{function.__name__}: {error}") from None


def tensors_in(x: Any) -> list[Node]:
    """The Tensors of arguments, in lists, tuples and dicts, too."""
    if isinstance(x, Node):
        return [x]
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ()
    return [tensor for part in parts for tensor in tensors_in(part)]


def needs_gradient(x: Any) -> bool:
    """Whether NumPy would cut what is given from the graph."""
    found = tensors_in(x)
    return not found or any(tensor.live for tensor in found)


def numbers_of(x: Any) -> Any:
    """Arguments with arrays in the place of Tensors."""
    if isinstance(x, Node):
        return np.asarray(x)
    if isinstance(x, dict):
        return {key: numbers_of(part) for key, part in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(map(numbers_of, x)) if type(x) in (list, tuple) else [*map(numbers_of, x)]
    return x


class NoRuleError(TypeError):
    """A NumPy function would cut the graph."""


def no_rule(name: str, more: str = "") -> NoRuleError:
    """The error for a NumPy function that would cut the graph."""
    return NoRuleError(
        f"np.{name}{more} has no gradient rule, so a Tensor that needs a gradient cannot go "
        f"through it. Compose it from operations that have one, or leave the graph: "
        f"np.{name}(t.detach().numpy())"
    )


def as_axis(axis: Any) -> Any:
    """Lists of axes as tuples."""
    return tuple(axis) if isinstance(axis, list) else axis


def plain(x: Any) -> Any:
    """The array of a Tensor; anything else as it is."""
    return x.array if isinstance(x, Node) else x


def without_gradient(x: Any, name: str) -> Any:
    """The array of a Tensor, if that loses no gradient."""
    if isinstance(x, Node) and x.live and name in ("bincount", "unique"):
        raise no_rule(name)
    return plain(x)


# --- functions without a gradient: asked of the numbers ---------------------------------------

for _function in (np.shape, np.ndim, np.size, np.array_equal, np.allclose, np.result_type,
                  np.iscomplexobj, np.array_repr, np.array_str, np.array2string, np.can_cast,
                  np.min_scalar_type):  # fmt: skip
    FUNCTIONS[_function] = lambda *args, _ask=_function, **kwargs: _ask(
        *(plain(a) for a in args), **{k: plain(v) for k, v in kwargs.items()}
    )

for _numbers in (np.isclose, np.count_nonzero, np.unique, np.bincount, np.searchsorted, np.isin):
    FUNCTIONS[_numbers] = lambda *args, _ask=_numbers, **kwargs: leaves(
        _ask(*(without_gradient(a, _ask.__name__) for a in args), **kwargs), _ask.__name__, args
    )


def leaves(x: Any, name: str, inputs: Any) -> Any:
    """Arrays that `name` made of the inputs, as Tensors that need no gradient."""
    if isinstance(x, tuple):
        return tuple(leaves(part, name, inputs) for part in x)
    number = isinstance(x, (np.ndarray, np.generic))
    return settled_by(x, name, *tensors_in(inputs)) if number else x


implements(np.zeros_like)(lambda x: leaf(np.zeros_like(x.array)))
implements(np.ones_like)(lambda x: leaf(np.ones_like(x.array)))
implements(np.empty_like)(lambda x: leaf(np.empty_like(x.array)))
implements(np.full_like)(lambda x, fill_value: leaf(np.full_like(x.array, fill_value)))


# --- functions with one -----------------------------------------------------------------------


@implements(np.sum)
def _sum(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return table.sum(a, as_axis(axis), keepdims)


@implements(np.mean)
def _mean(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return functions.mean(a, as_axis(axis), keepdims)


@implements(np.var)
def _var(a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    return functions.var(a, as_axis(axis), keepdims, ddof)


@implements(np.std)
def _std(a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    return functions.std(a, as_axis(axis), keepdims, ddof)


@implements(np.max, np.amax)
def _max(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return table.amax(a, as_axis(axis), keepdims)


@implements(np.min, np.amin)
def _min(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return table.amin(a, as_axis(axis), keepdims)


@implements(np.prod)
def _prod(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    return functions.prod(a, axis, keepdims)


@implements(np.cumsum)
def _cumsum(a: Any, axis: int | None = None) -> Any:
    return table.cumsum(a.reshape(-1), 0) if axis is None else table.cumsum(a, axis)


@implements(np.cumprod)
def _cumprod(a: Any, axis: int | None = None) -> Any:
    return table.cumprod(a.reshape(-1), 0) if axis is None else table.cumprod(a, axis)


@implements(np.where)
def _where(condition: Any, x: Any, y: Any) -> Any:
    return table.where(condition, x, y)


@implements(np.clip)
def _clip(a: Any, a_min: Any = None, a_max: Any = None) -> Any:
    return functions.clip(a, a_min, a_max)


@implements(np.dot)
def _dot(a: Any, b: Any) -> Any:
    if np.ndim(b) > 2:
        raise no_rule("dot", " of more than two dimensions")
    return table.mul(a, b) if 0 in (np.ndim(a), np.ndim(b)) else table.matmul(a, b)


@implements(np.inner)
def _inner(a: Any, b: Any) -> Any:
    if np.ndim(b) > 2:
        raise no_rule("inner", " of more than two dimensions")
    if 0 in (np.ndim(a), np.ndim(b)):
        return table.mul(a, b)
    if np.ndim(a) == np.ndim(b) == 2:
        return table.inner(a, b)
    return table.matmul(a, b if np.ndim(b) == 1 else table.mT(b))


@implements(np.outer)
def _outer(a: Any, b: Any) -> Any:
    return a.reshape(-1, 1) * b.reshape(1, -1)


@implements(np.einsum)
def _einsum(subscripts: str, *operands: Any, optimize: Any = True) -> Any:
    return functions.einsum(subscripts, *operands)


@implements(np.reshape)
def _reshape(a: Any, shape: Any) -> Any:
    return a.reshape(shape)


@implements(np.ravel)
def _ravel(a: Any) -> Any:
    return a.reshape(-1)


@implements(np.transpose, np.permute_dims)
def _transpose(a: Any, axes: Any = None) -> Any:
    return table.transpose(a, tuple(range(a.ndim))[::-1] if axes is None else tuple(axes))


@implements(np.matrix_transpose)
def _matrix_transpose(x: Any, /) -> Any:
    return table.mT(x)


@implements(np.swapaxes)
def _swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    return a.transpose(axis1, axis2)


@implements(np.moveaxis)
def _moveaxis(a: Any, source: int, destination: int) -> Any:
    return table.moveaxis(a, source, destination)


@implements(np.broadcast_to)
def _broadcast_to(array: Any, shape: Any) -> Any:
    return array.expand(shape)


@implements(np.expand_dims)
def _expand_dims(a: Any, axis: int) -> Any:
    return a.unsqueeze(axis)


@implements(np.squeeze)
def _squeeze(a: Any, axis: Any = None) -> Any:
    return a.squeeze(axis)


@implements(np.concatenate)
def _concatenate(arrays: Any, axis: int | None = 0) -> Any:
    if axis is None:
        arrays, axis = [a.reshape(-1) for a in arrays], 0
    return table.concatenate(*arrays, axis=axis)


@implements(np.stack)
def _stack(arrays: Any, axis: int = 0) -> Any:
    return table.stack(*arrays, axis=axis)


@implements(np.vstack)
def _vstack(tup: Any) -> Any:
    rows = [a.reshape(1, -1) if a.ndim < 2 else a for a in tup]
    return table.concatenate(*rows, axis=0)


@implements(np.hstack)
def _hstack(tup: Any) -> Any:
    rows = [a.reshape(1) if a.ndim < 1 else a for a in tup]
    return table.concatenate(*rows, axis=0 if rows[0].ndim == 1 else 1)


@implements(np.split)
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return functions.split_like_numpy(ary, indices_or_sections, axis)


@implements(np.pad)
def _pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: float = 0) -> Any:
    if mode != "constant":
        raise no_rule("pad", f" with mode={mode!r}")
    widths = np.broadcast_to(pad_width, (array.ndim, 2)).tolist()
    return table.pad(array, tuple(map(tuple, widths)), constant_values)


@implements(np.flip)
def _flip(m: Any, axis: Any = None) -> Any:
    axes = range(m.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return table.flip(m, tuple(axes))


@implements(np.copy)
def _copy(a: Any) -> Any:
    return table.copy(a)


@implements(np.sort)
def _sort(a: Any, axis: int = -1) -> Any:
    return functions.sort(a, axis)[0]


@implements(np.argsort)
def _argsort(a: Any, axis: int = -1) -> Any:
    return table.argsort(a, axis)


@implements(np.argmax)
def _argmax(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    return table.argmax(a, axis, keepdims)


@implements(np.argmin)
def _argmin(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    return table.argmin(a, axis, keepdims)


@implements(np.all)
def _all(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return table.all(a, as_axis(axis), keepdims)


@implements(np.any)
def _any(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return table.any(a, as_axis(axis), keepdims)


@implements(np.take)
def _take(a: Any, indices: Any, axis: int | None = None) -> Any:
    if axis is None:
        return a.reshape(-1)[indices]
    return a[(slice(None),) * (axis % a.ndim) + (indices,)]


@implements(np.take_along_axis)
def _take_along_axis(arr: Any, indices: Any, axis: int = -1) -> Any:
    return functions.gather(arr, axis, indices)


@implements(np.tril)
def _tril(m: Any, k: int = 0) -> Any:
    return functions.tril(m, k)


@implements(np.triu)
def _triu(m: Any, k: int = 0) -> Any:
    return functions.triu(m, k)


@implements(np.diagonal)
def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return functions.diagonal(a, offset, axis1, axis2)


@implements(np.diag)
def _diag(v: Any, k: int = 0) -> Any:
    if v.ndim != 2:
        raise no_rule("diag", f" of a Tensor of shape {tuple(v.shape)}")
    return table.copy(functions.diagonal(v, k))


@implements(np.trace)
def _trace(a: Any) -> Any:
    return functions.einsum("ii->", a)


@implements(np.linalg.norm)
def _norm(x: Any, ord: None = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord not in (None, 2, "fro") or (
        ord == 2 and (x.ndim > 1 if axis is None else isinstance(axis, tuple))
    ):
        raise no_rule("linalg.norm", f" with ord={ord!r}")
    return table.norm(x, as_axis(axis), keepdims)


@implements(np.round, np.around)
def _round(a: Any, decimals: int = 0) -> Any:
    return table.round(a * 10.0**decimals) / 10.0**decimals if decimals else table.round(a)


@implements(np.lib.stride_tricks.sliding_window_view)
def _windows(x: Any, window_shape: Any, axis: Any = None) -> Any:
    window = (window_shape,) if isinstance(window_shape, int) else tuple(window_shape)
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return table.sliding_windows(x, window, tuple(table.axis_of(a, x.ndim) for a in axes))


@implements(np.tile)
def _tile(A: Any, reps: Any) -> Any:
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    return A.repeat((1,) * (A.ndim - len(reps)) + reps)
