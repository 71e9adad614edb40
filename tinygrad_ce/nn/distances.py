"""Distances and angles between vectors."""

from __future__ import annotations

from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.nn.layer import Layer


class CosineSimilarity(Layer):
    """Σ a·b / (‖a‖·‖b‖) over `dim`.

    >>> CosineSimilarity()(Tensor([[1.0, 0.0]]), Tensor([[3.0, 4.0]]))
    tensor([0.6000])
    """

    data = "x1, x2"

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Two tensors that broadcast -> one without `dim`."""
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Layer):
    """‖a - b + eps‖ₚ over the last dimension: (..., D), (..., D) -> (...).

    >>> PairwiseDistance(eps=0.0)(Tensor([[3.0, 4.0]]), Tensor([[0.0, 0.0]]))
    tensor([5.])
    """

    data = "x1, x2"

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """(..., D), (..., D) -> (...)."""
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
