"""The functions of the top level: methods of Tensor under their names, and joins of Tensors."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.rule import as_nodes
from tinygrad_ce.engine.tensor import Tensor

abs, add, all, any, argmax, argmin = (
    Tensor.abs, Tensor.add, Tensor.all, Tensor.any, Tensor.argmax, Tensor.argmin,
)  # fmt: skip
amax, amin, argsort, bmm, ceil, chunk = (
    Tensor.amax, Tensor.amin, Tensor.argsort, Tensor.bmm, Tensor.ceil, Tensor.chunk,
)  # fmt: skip
clamp, clip, cos, cumprod, cumsum, div = (
    Tensor.clamp, Tensor.clip, Tensor.cos, Tensor.cumprod, Tensor.cumsum, Tensor.div,
)  # fmt: skip
dot, eq, exp, expm1, flatten, flip = (
    Tensor.dot, Tensor.eq, Tensor.exp, Tensor.expm1, Tensor.flatten, Tensor.flip,
)  # fmt: skip
floor, gather, ge, gt, index_select, isfinite = (
    Tensor.floor, Tensor.gather, Tensor.ge, Tensor.gt, Tensor.index_select, Tensor.isfinite,
)  # fmt: skip
isinf, isnan, le, log, log1p, log_softmax = (
    Tensor.isinf, Tensor.isnan, Tensor.le, Tensor.log, Tensor.log1p, Tensor.log_softmax,
)  # fmt: skip
logsumexp, lt, matmul, max, mean, min = (
    Tensor.logsumexp, Tensor.lt, Tensor.matmul, Tensor.max, Tensor.mean, Tensor.min,
)  # fmt: skip
maximum, minimum, mm, mul, ne, neg = (
    Tensor.maximum, Tensor.minimum, Tensor.mm, Tensor.mul, Tensor.ne, Tensor.neg,
)  # fmt: skip
norm, outer, permute, pow, prod, relu = (
    Tensor.norm, Tensor.outer, Tensor.permute, Tensor.pow, Tensor.prod, Tensor.relu,
)  # fmt: skip
reshape, round, rsqrt, sigmoid, sign, sin = (
    Tensor.reshape, Tensor.round, Tensor.rsqrt, Tensor.sigmoid, Tensor.sign, Tensor.sin,
)  # fmt: skip
softmax, sort, split, sqrt, square, squeeze = (
    Tensor.softmax, Tensor.sort, Tensor.split, Tensor.sqrt, Tensor.square, Tensor.squeeze,
)  # fmt: skip
std, sub, sum, tanh, topk, transpose = (
    Tensor.std, Tensor.sub, Tensor.sum, Tensor.tanh, Tensor.topk, Tensor.transpose,
)  # fmt: skip
tril, triu, unbind, unsqueeze, var = (
    Tensor.tril, Tensor.triu, Tensor.unbind, Tensor.unsqueeze, Tensor.var,
)  # fmt: skip
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
            raise ValueError(f"allclose: shapes {a.shape} and {b.shape} do not broadcast")
    return bool(np.allclose(a, b, rtol=rtol, atol=atol))


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a Tensor.

    >>> is_tensor([1.0])
    False
    """
    return isinstance(obj, Tensor)
