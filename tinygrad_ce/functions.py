"""The functions of the top level: methods of Tensor under their names, and joins of Tensors.

A function is the method, with two things more: its tensor may be given as `input=`, and its result
may be written into a Tensor that is there already, `out=`.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from tinygrad_ce import creation
from tinygrad_ce.engine import counting, functions, linear, table
from tinygrad_ce.engine.operands import as_nodes, settled_by
from tinygrad_ce.engine.returned import text
from tinygrad_ce.engine.tensor import Tensor, by_axis
from tinygrad_ce.engine.write import into

METHODS = """
    abs absolute acos add addcdiv addcmul addmm all amax amin any arccos arcsin arcsinh arctan
    arctan2 argmax argmin argsort argwhere asin asinh atan atan2 baddbmm bincount bitwise_and
    bitwise_not bitwise_or bitwise_xor bmm ceil chunk clamp clip cos cosh cross cumprod cumsum
    det diag diagonal diff div divide dot eq erf erfc exp expm1 fix flatten flip floor
    floor_divide fmod gather ge greater greater_equal gt histc histogram hypot index_add
    index_copy index_fill index_select inverse is_floating_point isfinite isinf isnan le lerp
    less less_equal log log10 log1p log2 log_softmax logaddexp logical_and logical_not logical_or
    logical_xor logsumexp lt masked_fill masked_scatter masked_select matmul max maximum mean
    median min minimum mm moveaxis movedim mul multiply mv nan_to_num nanmean nansum narrow ne
    neg negative nonzero norm not_equal outer permute pow prod quantile ravel reciprocal relu
    remainder repeat_interleave reshape roll rot90 round rsqrt scatter scatter_add select sigmoid
    sign sin sinh softmax sort split sqrt square squeeze std sub subtract sum swapaxes t
    take_along_dim tan tanh tensor_split tile topk transpose tril triu true_divide trunc unbind
    unflatten unique unsqueeze var
"""


IN_PLACE = """
    abs acos arccos arcsin arcsinh arctan asin asinh atan ceil clamp clip cos cosh erf erfc exp
    expm1 fix floor log log10 log1p log2 neg negative reciprocal relu round rsqrt sigmoid sin sinh
    sqrt square tan tanh trunc
"""
"""The functions of one tensor that have a twin: `sin_(x)` writes sin(x) into x."""


def public(name: str) -> Callable[..., Any]:
    """The method of that name as a function of the top level."""
    method = getattr(Tensor, name)
    op = getattr(method, "op", None)
    count = op.fixed if op is not None and not op.defaults else 0

    def unary(input: Any, *, out: Any = None) -> Any:
        return method(input) if out is None else into(out, method(input), name)

    def binary(input: Any, other: Any, *, out: Any = None) -> Any:
        return method(input, other) if out is None else into(out, method(input, other), name)

    @wraps(method)
    def call(input: Any, *args: Any, out: Any = None, **settings: Any) -> Any:
        y = method(input, *args, **settings)
        return y if out is None else into(out, y, name)

    function: Callable[..., Any] = (call, unary, binary)[count]
    function.__name__ = function.__qualname__ = name
    function.__module__ = __name__
    function.__doc__ = method.__doc__
    return function


for _name in METHODS.split():
    globals()[_name] = public(_name)
for _name in IN_PLACE.split():
    globals()[f"{_name}_"] = getattr(Tensor, f"{_name}_")

if TYPE_CHECKING:  # the same names for type checkers: what gives a Tensor, and the others
    (
        abs, absolute, acos, add, addcdiv, addcmul, addmm, all, amax, amin, any, arccos,
        arcsin, arcsinh, arctan, arctan2, argmax, argmin, argsort, argwhere, asin, asinh,
        atan, atan2, baddbmm, bincount, bitwise_and, bitwise_not, bitwise_or, bitwise_xor,
        bmm, ceil, clamp, clip, cos, cosh, cross, cumprod, cumsum, det, diag, diagonal,
        diff, div, divide, dot, eq, erf, erfc, exp, expm1, fix, flatten, flip, floor,
        floor_divide, fmod, gather, ge, greater, greater_equal, gt, histc, hypot,
        index_add, index_copy, index_fill, index_select, inverse, isfinite, isinf, isnan,
        le, lerp, less, less_equal, log, log10, log1p, log2, log_softmax, logaddexp,
        logical_and, logical_not, logical_or, logical_xor, logsumexp, lt, masked_fill,
        masked_scatter, masked_select, matmul, maximum, mean, minimum, mm, moveaxis,
        movedim, mul, multiply, mv, nan_to_num, nanmean, nansum, narrow, ne, neg, negative,
        norm, not_equal, outer, permute, pow, prod, quantile, ravel, reciprocal, relu,
        remainder, repeat_interleave, reshape, roll, rot90, round, rsqrt, scatter,
        scatter_add, select, sigmoid, sign, sin, sinh, softmax, sqrt, square, squeeze, std,
        sub, subtract, sum, swapaxes, t, take_along_dim, tan, tanh, tile, transpose, tril,
        triu, true_divide, trunc, unflatten, unsqueeze, var, abs_, acos_, arccos_, arcsin_,
        arcsinh_, arctan_, asin_, asinh_, atan_, ceil_, clamp_, clip_, cos_, cosh_, erf_,
        erfc_, exp_, expm1_, fix_, floor_, log_, log10_, log1p_, log2_, neg_, negative_,
        reciprocal_, relu_, round_, rsqrt_, sigmoid_, sin_, sinh_, sqrt_, square_, tan_,
        tanh_, trunc_,
    ) = list[Callable[..., Tensor]]()  # fmt: skip
    (
        chunk, histogram, is_floating_point, max, median, min, nonzero, sort, split,
        tensor_split, topk, unbind, unique,
    ) = list[Callable[..., Any]]()  # fmt: skip


einsum = functions.einsum


@overload
def where(condition: Any, input: Any, other: Any) -> Tensor: ...
@overload
def where(condition: Any) -> tuple[Tensor, ...]: ...
def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, `other` elsewhere; alone, the indices where it holds.

    >>> from tinygrad_ce import tensor
    >>> where(tensor([True, False]), tensor([1.0, 2.0]), 0.0)
    tensor([1., 0.])
    >>> where(tensor([0, 5, 7]))
    (tensor([1, 2]),)
    """
    if input is None and other is None:
        return counting.nonzero(condition, as_tuple=True)
    return table.where(condition, input, other)


@by_axis
def cat(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Tensors one after another along `dim`: (n, k), (m, k) -> (n + m, k).

    >>> from tinygrad_ce import tensor
    >>> cat([tensor([1.0]), tensor([2.0, 3.0])])
    tensor([1., 2., 3.])
    """
    several = some(tensors, "cat")
    if not several[0].ndim:
        raise ValueError("cat: a tensor of shape () has no dimension to join along; write stack")
    return table.concatenate(*several, axis=dim)


concat = concatenate = cat


def vstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors one below the other; a vector is a row: n times (k,) -> (n, k).

    >>> from tinygrad_ce import tensor
    >>> vstack([tensor([1, 2]), tensor([[3, 4], [5, 6]])])
    tensor([[1, 2],
            [3, 4],
            [5, 6]])
    """
    rows = some(tensors, "vstack")
    return table.concatenate(*(x if x.ndim > 1 else x.reshape(1, -1) for x in rows), axis=0)


def column_stack(tensors: Sequence[Any]) -> Tensor:
    """Tensors side by side as columns: vectors are columns, n times (k,) -> (k, n).

    >>> from tinygrad_ce import tensor
    >>> column_stack([tensor([1, 2]), tensor([3, 4])])
    tensor([[1, 3],
            [2, 4]])
    """
    several = some(tensors, "column_stack")
    columns = [x if x.ndim > 1 else x.reshape(-1, 1) for x in several]
    return table.concatenate(*columns, axis=1)


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Tensors repeated, not copied, to the shape that an operation of them would have.

    >>> from tinygrad_ce import ones
    >>> [tuple(x.shape) for x in broadcast_tensors(ones(3, 1), ones(2))]
    [(3, 2), (3, 2)]
    """
    parts = some(tensors, "broadcast_tensors")
    try:
        shape = np.broadcast_shapes(*(tuple(x.shape) for x in parts))
    except ValueError:
        raise ValueError(
            f"broadcast_tensors: shapes {[tuple(x.shape) for x in parts]} do not broadcast"
        ) from None
    return tuple(x.expand(shape) for x in parts)


def hstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors side by side: along their second dimension, vectors along their only one.

    >>> from tinygrad_ce import tensor
    >>> hstack([tensor([1, 2]), tensor([3])])
    tensor([1, 2, 3])
    """
    parts = [x if x.ndim else x.reshape(1) for x in some(tensors, "hstack")]
    return table.concatenate(*parts, axis=builtins.min(parts[0].ndim - 1, 1))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Vectors repeated to a grid: the i-th varies along dimension i; with "xy" as in a plot.

    >>> from tinygrad_ce import tensor
    >>> rows, columns = meshgrid(tensor([1, 2]), tensor([3, 4, 5]), indexing="ij")
    >>> rows, columns[0]
    (tensor([[1, 1, 1],
            [2, 2, 2]]), tensor([3, 4, 5]))
    """
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: indexing={indexing!r}; wanted 'ij' or 'xy'")
    parts = some(tensors, "meshgrid")
    if builtins.any(x.ndim > 1 for x in parts):
        raise ValueError(f"meshgrid: shapes {[x.array.shape for x in parts]}; wanted vectors")
    swapped = indexing == "xy" and len(parts) > 1
    order = [1, 0, *range(2, len(parts))] if swapped else [*range(len(parts))]
    shape = [parts[i].numel() for i in order]
    columns = [[-1 if i == place else 1 for i in range(len(parts))] for place in range(len(parts))]
    rows = [x.reshape(columns[order.index(i)]) for i, x in enumerate(parts)]
    return tuple(x.expand(shape) for x in rows)


def cartesian_prod(*tensors: Any) -> Tensor:
    """Every choice of one element from each vector, one a row.

    >>> from tinygrad_ce import tensor
    >>> cartesian_prod(tensor([1, 2]), tensor([3, 4]))
    tensor([[1, 3],
            [1, 4],
            [2, 3],
            [2, 4]])
    """
    grids = [x.reshape(-1) for x in meshgrid(*tensors)]
    return grids[0] if len(grids) == 1 else table.stack(*grids, axis=1)


@by_axis
def stack(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new `dim`: n times (k,) -> (n, k).

    >>> from tinygrad_ce import tensor
    >>> stack([tensor([1.0, 2.0]), tensor([3.0, 4.0])])
    tensor([[1., 2.],
            [3., 4.]])
    """
    return table.stack(*some(tensors, "stack"), axis=dim)


def some(tensors: Any, name: str) -> list[Any]:
    """At least one Tensor, in a list."""
    if isinstance(tensors, Tensor):
        raise TypeError(f"{name}: got one Tensor; wanted a list of them: {name}([a, b])")
    tensors = list(tensors)
    if not tensors:
        raise ValueError(f"{name}: got an empty list; wanted at least one Tensor")
    if builtins.any(isinstance(t, Tensor) for t in tensors):
        return list(as_nodes(name, tuple(tensors)))
    return [creation.tensor(t) for t in tensors]


searchsorted = counting.searchsorted
isclose, allclose, equal = counting.isclose, counting.allclose, counting.equal


class SVD(NamedTuple):
    """input = U diag(S) Vᵀ."""

    U: Tensor
    S: Tensor
    V: Tensor

    def __repr__(self) -> str:
        return text(self)


SVD.__name__ = "svd"


def svd(input: Any, some: bool = True, compute_uv: bool = True) -> SVD:
    """U, S, V with input = U diag(S) Vᵀ; linalg.svd gives Vᵀ instead. Without a gradient.

    >>> from tinygrad_ce import tensor
    >>> svd(tensor([[0.0, 2.0], [3.0, 0.0]])).S
    tensor([3., 2.])
    """
    u, s, vh = np.linalg.svd(linear.without_gradient(input, "svd"), full_matrices=not some)
    if not compute_uv:
        u, vh = np.zeros_like(u), np.zeros_like(vh)
    return SVD(*(settled_by(x, "svd", input) for x in (u, s, vh.mT.copy())))


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a Tensor.

    >>> is_tensor([1.0])
    False
    """
    return isinstance(obj, Tensor)
