"""Layers that bring their input to mean 0 and variance 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.nn.layer import Layer, positive
from tinygrad_ce.nn.parameter import Parameter


class _BatchNorm(Layer):
    formula = "(x − μ) / √(σ² + ε) · γ + β"
    ndims: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        name = type(self).__name__
        self.num_features = positive(num_features, "num_features", name)
        if not isinstance(momentum, (int, float)) or not 0.0 <= momentum <= 1.0:
            raise ValueError(f"{name}: momentum={momentum}; wanted a number, 0 to 1")
        self.eps = eps
        self.momentum = momentum
        one, zero = np.ones(num_features, np.float32), np.zeros(num_features, np.float32)
        self.weight = Parameter(one) if affine else None
        self.bias = Parameter(zero) if affine else None
        track = track_running_stats
        self.register_buffer("running_mean", Tensor(zero) if track else None)
        self.register_buffer("running_var", Tensor(one) if track else None)
        self.register_buffer("num_batches_tracked", Tensor(0) if track else None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape."""
        name = type(self).__name__
        if x.ndim not in self.ndims or x.shape[1] != self.num_features:
            wanted = " or ".join(f"(N, {self.num_features}{', ·' * (n - 2)})" for n in self.ndims)
            raise ValueError(f"{name}: input has shape {tuple(x.shape)}; wanted {wanted}")
        running_mean, running_var = vars(self)["running_mean"], vars(self)["running_var"]
        if self.training and running_mean is not None:
            with recording(False):
                vars(self)["num_batches_tracked"] += 1
        return F.batch_norm(
            x,
            running_mean,
            running_var,
            self.weight,
            self.bias,
            self.training or running_mean is None,
            self.momentum,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """(x - μ)/√(σ² + ε)·γ + β for each of C features: (N, C) or (N, C, L).

    >>> BatchNorm1d(4)
    BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """

    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """(x - μ)/√(σ² + ε)·γ + β for each of C channels: (N, C, H, W).

    >>> BatchNorm2d(4)
    BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """

    ndims = (4,)


class LayerNorm(Layer):
    """(x - μ)/√(σ² + ε)·γ + β over the last dimensions.

    >>> LayerNorm(8)
    LayerNorm((8,), eps=1e-05, elementwise_affine=True, bias=True)
    """

    formula = "(x − μ) / √(σ² + ε) · γ + β"

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        several = isinstance(normalized_shape, (tuple, list))
        sizes = normalized_shape if several else (normalized_shape,)
        self.normalized_shape = tuple(positive(n, "normalized_shape", "LayerNorm") for n in sizes)
        self.eps = eps
        shape = self.normalized_shape
        self.weight = Parameter(np.ones(shape, np.float32)) if elementwise_affine else None
        affine = elementwise_affine and bias
        self.bias = Parameter(np.zeros(shape, np.float32)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., *normalized_shape) -> the same shape."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
