"""Distances and angles between vectors, and the losses made of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.engine.functions import decided, looked_at
from tinygrad_ce.engine.table import where
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.functional.reduction import reduced, reduction_of


def at_least(x: Any, low: float) -> Any:
    """max(x, low), whose slope is that of x everywhere."""
    v = looked_at(x)
    return x + decided(np.maximum(low - v, 0.0), x)


def norm(x: Any, p: float, dim: Any) -> Any:
    """‖x‖ₚ over `dim`, which stays; for 1, 2 and infinity its slope at 0 is 0."""
    if p in (1, 2, math.inf):
        return x.norm(p, dim, keepdim=True)
    return table.sum(table.power(table.abs(x), p), dim, True) ** (1.0 / p)


@composed("x / max(‖x‖, ε)")
def normalize(
    input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """x / max(‖x‖ₚ, eps), the norm over `dim`: the same shape.

    For p = 2, ∂L/∂x = (g - y * sum(g * y)) / norm(x)

    >>> from tinygrad_ce import tensor
    >>> normalize(tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    size = norm(input, p, dim)
    y = input / table.clip(size, eps, None)
    return y if out is None else out.copy_(y)


@composed("a·b / (‖a‖·‖b‖)")
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Σ a·b / (max(‖a‖, eps)·max(‖b‖, eps)) over `dim`; shapes are broadcast.

    ∂L/∂a = g * (b / norm(b) - y * a / norm(a)) / norm(a);
    ∂L/∂b = g * (a / norm(a) - y * b / norm(b)) / norm(b)

    >>> from tinygrad_ce import tensor
    >>> cosine_similarity(tensor([[1.0, 0.0]]), tensor([[3.0, 4.0]]))
    tensor([0.6000])
    """
    shape = np.broadcast_shapes(x1.shape, x2.shape)
    x1, x2 = x1.expand(shape), x2.expand(shape)
    sizes = (at_least(table.norm(x, dim, True), eps) for x in (x1, x2))
    return table.sum((x1 / next(sizes)) * (x2 / next(sizes)), dim)


@composed("‖a − b + ε‖")
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """‖a - b + eps‖ₚ over the last dimension: (..., D), (..., D) -> (...).

    For p = 2, ∂L/∂a = g * (a - b + eps) / y; ∂L/∂b = -g * (a - b + eps) / y

    >>> from tinygrad_ce import tensor
    >>> pairwise_distance(tensor([[3.0, 4.0]]), tensor([[0.0, 0.0]]))
    tensor([5.0000])
    """
    size = norm(x1 - x2 + eps, p, -1)
    return size if keepdim else size.squeeze(-1)


@composed("y = 1 ? 1 − cos : max(cos − m, 0)")
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(a, b) where y = 1, max(cos(a, b) - margin, 0) where y = -1: (N, D), (N, D), (N,) -> ().

    ∂L/∂cos is -1/N where y = 1, and 1/N where y = -1 and cos(a, b) > margin; for the slopes of the
    cosine see `cosine_similarity`.
    One pair is (D,), (D,), ().

    >>> from tinygrad_ce import tensor
    >>> cosine_embedding_loss(tensor([[1.0, 0.0]]), tensor([[0.0, 1.0]]), tensor([1]))
    tensor(1.)
    """  # noqa: E501
    name = "cosine_embedding_loss"
    reduction = reduction_of(size_average, reduce, reduction, name)
    if target.ndim not in (0, 1) or {input1.ndim, input2.ndim} != {target.ndim + 1}:
        raise ValueError(
            f"{name}: inputs have shapes {tuple(input1.shape)} and {tuple(input2.shape)}, "
            f"target {tuple(target.shape)}; wanted (N, D), (N, D), (N,), or (D,), (D,), ()"
        )
    squares = (table.sum(x * x, -1) + 1e-12 for x in (input1, input2))
    cos = table.sum(input1 * input2, -1) / table.sqrt(next(squares) * next(squares))
    y = looked_at(target)
    alike, apart = decided(y == 1, target), decided(y == -1, target)
    far = where(apart, table.clip(cos - margin, 0.0, None), 0.0)
    return reduced(where(alike, 1.0 - cos, 0.0) + far, reduction, name)


@composed("max(‖a − p‖ − ‖a − n‖ + m, 0)")
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(‖a - p‖ - ‖a - n‖ + margin, 0), the mean: three times (N, D) -> ().

    With near = ‖a - p‖, far = ‖a - n‖, and on = 1 where near - far + margin > 0, else 0:

    ∂L/∂a = on * ((a - p) / near - (a - n) / far) / N; ∂L/∂p = on * (p - a) / near / N;
    ∂L/∂n = on * (a - n) / far / N

    With `swap` the nearer of anchor and positive counts for the negative.

    >>> from tinygrad_ce import tensor
    >>> a, b = tensor([[0.0, 0.0]]), tensor([[3.0, 4.0]])
    >>> triplet_margin_loss(a, b, a, eps=0.0)
    tensor(6.)
    """
    reduction = reduction_of(size_average, reduce, reduction, "triplet_margin_loss")
    if margin <= 0:
        raise ValueError(f"triplet_margin_loss: margin={margin}; wanted a positive number")
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = table.minimum(far, pairwise_distance(positive, negative, p, eps))
    losses = table.clip(near - far + margin, 0.0, None)
    return reduced(losses, reduction, "triplet_margin_loss")
