"""Layers that multiply by a matrix, look rows up in one, or do nothing but reshape."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F, init
from tinygrad_ce.nn.layer import Layer, new_parameter, positive
from tinygrad_ce.nn.parameter import Parameter


def draw_as_linear(weight: Any, bias: Any) -> None:
    """New initial values for a layer that sums over fan_in inputs: uniform on ±1/√fan_in."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        fan_in = init.fans(weight)[0]
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        init.uniform_(bias, -bound, bound)


class Linear(Layer):
    """x @ Wᵀ + b: (..., in_features) -> (..., out_features); W is (out, in), b is (out,).

    Both are drawn uniformly on ±1/√in_features.

    >>> Linear(64, 10)
    Linear(in_features=64, out_features=10, bias=True)
    """

    formula = "x @ Wᵀ + b"
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.in_features = positive(in_features, "in_features", "Linear")
        self.out_features = positive(out_features, "out_features", "Linear")
        self.weight = new_parameter(out_features, in_features, device=device, dtype=dtype)
        self.bias = new_parameter(out_features, dtype=dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        draw_as_linear(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """x @ Wᵀ + b."""
        return F.linear(input, self.weight, self.bias)


class Embedding(Layer):
    """A table of vectors: ids (...) -> (..., embedding_dim), drawn from N(0, 1).

    >>> Embedding(27, 8)
    Embedding(27, 8)
    """

    formula = "W[ids]"
    weights = ("_weight",)

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.num_embeddings = positive(num_embeddings, "num_embeddings", "Embedding")
        self.embedding_dim = positive(embedding_dim, "embedding_dim", "Embedding")
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx={padding_idx} of {num_embeddings} rows")
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if _weight is None:
            self.weight = new_parameter(num_embeddings, embedding_dim, device=device, dtype=dtype)
            self.reset_parameters()
        else:
            if tuple(_weight.shape) != (num_embeddings, embedding_dim):
                raise ValueError(f"Embedding: _weight has shape {tuple(_weight.shape)}; wanted "
                                 f"({num_embeddings}, {embedding_dim})")  # fmt: skip
            self.weight = Parameter(_weight)
        self.weight.requires_grad_(not _freeze)

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with recording(False):
                self.weight[self.padding_idx] = 0.0

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """A table with these rows, which is not trained unless freeze=False.

        >>> from tinygrad_ce import tensor
        >>> Embedding.from_pretrained(tensor([[1.0, 2.0]]))(tensor([0]))
        tensor([[1., 2.]])
        """
        if embeddings.ndim != 2:
            raise ValueError(
                f"from_pretrained: got shape {tuple(embeddings.shape)}; wanted (num, dim)"
            )
        rows, columns = embeddings.shape
        return cls(rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
                   _weight=embeddings.detach(), _freeze=freeze)  # fmt: skip

    def forward(self, input: Any) -> Tensor:
        """W[ids]."""
        return F.embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )


class Flatten(Layer):
    """All dimensions from `start_dim` to `end_dim` as one: (N, ...) -> (N, ·).

    >>> Flatten()(Tensor([[[1.0], [2.0]]]))
    tensor([[1., 2.]])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """(N, ...) -> (N, ·)."""
        return input.flatten(self.start_dim, self.end_dim)


class Unflatten(Layer):
    """One dimension as several: (N, 6) -> (N, 2, 3).

    >>> Unflatten(1, (2, -1))(Tensor([[1.0, 2.0, 3.0, 4.0]]))
    tensor([[[1., 2.],
             [3., 4.]]])
    """

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        """The same elements."""
        dim = range(input.ndim)[self.dim]
        return input.reshape(*input.shape[:dim], *self.unflattened_size, *input.shape[dim + 1 :])


class Identity(Layer):
    """x, whatever the settings are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """x."""
        return input
