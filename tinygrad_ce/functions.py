"""The functions of the top level: methods of Tensor under their names, and joins of Tensors.

A function is the method, with two things more: its tensor may be given as `input=`, and its result
may be written into a Tensor that is there already, `out=`.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_ce.engine import functions, table, write
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.operands import type_name
from tinygrad_ce.engine.rule import as_nodes
from tinygrad_ce.engine.tensor import Tensor

METHODS = """
    abs absolute acos add all amax amin any arccos arcsin arcsinh arctan arctan2 argmax argmin
    argsort asin asinh atan atan2 bitwise_and bitwise_not bitwise_or bitwise_xor bmm ceil
    chunk clamp clip cos cosh cumprod cumsum diagonal div divide dot eq erf erfc exp expm1 fix
    flatten flip floor floor_divide fmod gather ge greater greater_equal gt hypot index_select
    is_floating_point isfinite isinf isnan le less less_equal log log10 log1p log2 log_softmax
    logaddexp logical_and logical_not logical_or logical_xor logsumexp lt masked_fill
    masked_select matmul max maximum mean min minimum mm moveaxis mul multiply ne neg negative
    nonzero norm not_equal outer permute pow prod reciprocal relu remainder reshape round
    rsqrt sigmoid sign sin sinh softmax sort split sqrt square squeeze std sub subtract sum
    swapaxes t tan tanh topk transpose tril triu true_divide trunc unbind unsqueeze var
"""


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


def into(out: Any, y: Any, name: str) -> Any:
    """`out`, into which the result y was written. A Tensor without elements takes its shape, too.

    Raises RuntimeError where that would cut y from its gradient, TypeError for another category of
    numbers, ValueError for another shape.
    """
    if isinstance(y, tuple):
        for target, part in zip(out, y, strict=True):
            into(target, part, name)
        return out
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}: out is {type_name(out)}; wanted a Tensor")
    if current().record and (y.requires_grad or out.requires_grad):
        raise RuntimeError(
            f"{name}: out= has no gradient, and one is required here; leave out= away, or write "
            "with no_grad():"
        )
    if not np.can_cast(y.dtype, out.dtype, "same_kind"):
        raise TypeError(f"{name}: a result of dtype {y.dtype} does not fit into out, {out.dtype}")
    if out.shape != y.shape:
        if out.numel():
            raise ValueError(
                f"{name}: out has shape {tuple(out.shape)}; the result has {tuple(y.shape)}"
            )
        write.exchange(out, np.empty(y.shape, out.dtype), "out=")
    return out.copy_(y)


for _name in METHODS.split():
    globals()[_name] = public(_name)

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


einsum = functions.einsum


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """`input` where the condition holds, `other` elsewhere.

    >>> from tinygrad_ce import tensor
    >>> where(tensor([True, False]), tensor([1.0, 2.0]), 0.0)
    tensor([1., 0.])
    """
    return table.where(condition, input, other)


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


concatenate = cat


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
    return [Tensor(t) for t in tensors]


def allclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether |a - b| ≤ atol + rtol·|b| everywhere.

    >>> from tinygrad_ce import tensor
    >>> allclose(tensor([1.0]), tensor([1.0 + 1e-7]))
    True
    """
    a, b = (np.asarray(x.array if isinstance(x, Tensor) else x) for x in (input, other))
    for size, wanted in zip(a.shape[::-1], b.shape[::-1]):
        if size != wanted and 1 not in (size, wanted):
            raise ValueError(
                f"allclose: shapes {tuple(a.shape)} and {tuple(b.shape)} do not broadcast"
            )
    return bool(np.allclose(a, b, rtol=rtol, atol=atol))


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a Tensor.

    >>> is_tensor([1.0])
    False
    """
    return isinstance(obj, Tensor)
