"""Layers that multiply by a matrix, look rows up in one, or do nothing but reshape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F, init
from tinygrad_ce.nn.layer import Layer, positive
from tinygrad_ce.nn.parameter import Parameter


class Linear(Layer):
    """x @ Wᵀ + b: (..., in_features) -> (..., out_features); W is (out, in), b is (out,).

    Both are drawn uniformly on ±1/√in_features.

    >>> Linear(64, 10)
    Linear(in_features=64, out_features=10, bias=True)
    """

    formula = "x @ Wᵀ + b"

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features = positive(in_features, "in_features", "Linear")
        self.out_features = positive(out_features, "out_features", "Linear")
        self.weight = Parameter(np.empty((out_features, in_features), np.float32))
        self.bias = Parameter(np.empty(out_features, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """x @ Wᵀ + b."""
        return F.linear(x, self.weight, self.bias)


class Embedding(Layer):
    """A table of vectors: ids (...) -> (..., embedding_dim).

    >>> Embedding(27, 8)
    Embedding(27, 8)
    """

    formula = "W[ids]"

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None
    ) -> None:
        self.num_embeddings = positive(num_embeddings, "num_embeddings", "Embedding")
        self.embedding_dim = positive(embedding_dim, "embedding_dim", "Embedding")
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx={padding_idx} of {num_embeddings} rows")
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), np.float32))
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with recording(False):
                self.weight[self.padding_idx] = 0.0

    def forward(self, ids: Any) -> Tensor:
        """W[ids]."""
        return F.embedding(ids, self.weight, self.padding_idx)


class Flatten(Layer):
    """All dimensions from `start_dim` to `end_dim` as one: (N, ...) -> (N, ·).

    >>> Flatten()(Tensor([[[1.0], [2.0]]]))
    tensor([[1., 2.]])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, ·)."""
        return x.flatten(self.start_dim, self.end_dim)


class Identity(Layer):
    """x, whatever the settings are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """x."""
        return input
