"""Layers that bring their input to mean 0 and variance 1."""

from __future__ import annotations

from typing import Any

from tinygrad_ce import creation
from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F, init
from tinygrad_ce.nn.layer import Layer, new_parameter, positive
from tinygrad_ce.nn.parameter import Parameter


class _BatchNorm(Layer):
    formula = "(x − μ) / √(σ² + ε) · γ + β"
    ndims: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        name = type(self).__name__
        self.num_features = positive(num_features, "num_features", name)
        number = momentum is None or isinstance(momentum, (int, float))
        if not number or not 0.0 <= (momentum or 0.0) <= 1.0:
            raise ValueError(f"{name}: momentum={momentum}; wanted a number, 0 to 1, or None")
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.weight, self.bias = scale_and_shift((num_features,), affine, bias, device, dtype)
        track = track_running_stats
        mean, var = (new_parameter(num_features, dtype=dtype).detach() for _ in range(2))
        self.register_buffer("running_mean", mean if track else None)
        self.register_buffer("running_var", var if track else None)
        self.register_buffer("num_batches_tracked", creation.tensor(0) if track else None)
        self.reset_running_stats()

    def reset_running_stats(self) -> None:
        """Forget all batches: mean 0, variance 1."""
        for name, value in (("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
            if vars(self)[name] is not None:
                vars(self)[name].fill_(value)

    def reset_parameters(self) -> None:
        """Back to the initial values."""
        self.reset_running_stats()
        reset(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape."""
        name = type(self).__name__
        if x.ndim not in self.ndims or x.shape[1] != self.num_features:
            wanted = " or ".join(f"(N, {self.num_features}{', ·' * (n - 2)})" for n in self.ndims)
            raise ValueError(f"{name}: input has shape {tuple(x.shape)}; wanted {wanted}")
        running_mean, running_var = vars(self)["running_mean"], vars(self)["running_var"]
        momentum: Any = self.momentum
        if self.training and running_mean is not None:
            with recording(False):
                count = vars(self)["num_batches_tracked"]
                count += 1
                if momentum is None:  # the mean over all batches
                    momentum = 1.0 / count.to(x.dtype)
        return F.batch_norm(
            x,
            running_mean,
            running_var,
            self.weight,
            self.bias,
            self.training or running_mean is None,
            momentum,
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
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.normalized_shape = last_sizes(normalized_shape, "LayerNorm")
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        shape = self.normalized_shape
        self.weight, self.bias = scale_and_shift(shape, elementwise_affine, bias, device, dtype)

    def reset_parameters(self) -> None:
        """Back to γ = 1 and β = 0."""
        reset(self)

    def forward(self, input: Tensor) -> Tensor:
        """(..., *normalized_shape) -> the same shape."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(Layer):
    """x/√(mean of x² + ε)·γ over the last dimensions; ε is that of the dtype.

    >>> RMSNorm(2)(Tensor([3.0, 3.0]))
    tensor([1., 1.], grad_fn=<MulBackward0>)
    """

    formula = "x / √(1/n Σ x² + ε) · γ"

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.normalized_shape = last_sizes(normalized_shape, "RMSNorm")
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        shape = self.normalized_shape
        self.weight, _ = scale_and_shift(shape, elementwise_affine, False, device, dtype)

    def reset_parameters(self) -> None:
        """Back to γ = 1."""
        reset(self)

    def forward(self, input: Tensor) -> Tensor:
        """(..., *normalized_shape) -> the same shape."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Layer):
    """(x - μ)/√(σ² + ε)·γ + β over each group of channels: (N, C, ...) -> the same shape.

    >>> GroupNorm(2, 4)(Tensor([[1.0, 3.0, 5.0, 9.0]])).tolist()[0][0] < -0.99
    True
    """

    formula = "(x − μ) / √(σ² + ε) · γ + β"

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        self.num_groups = positive(num_groups, "num_groups", "GroupNorm")
        self.num_channels = positive(num_channels, "num_channels", "GroupNorm")
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: {num_channels} channels do not divide into {num_groups} groups"
            )
        self.eps = eps
        self.affine = affine
        self.weight, self.bias = scale_and_shift((num_channels,), affine, bias, device, dtype)

    def reset_parameters(self) -> None:
        """Back to γ = 1 and β = 0."""
        reset(self)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


def last_sizes(shape: Any, name: str) -> tuple[int, ...]:
    """The sizes of the last dimensions, of which one may be given as a number."""
    each = shape if isinstance(shape, (tuple, list)) else (shape,)
    return tuple(positive(n, "normalized_shape", name) for n in each)


def scale_and_shift(
    shape: tuple[int, ...], affine: bool, bias: bool, device: Any, dtype: Any
) -> tuple[Parameter | None, Parameter | None]:
    """γ = 1 and β = 0, as far as they are wanted."""
    given = {"device": device, "dtype": dtype}
    weight = init.ones_(new_parameter(*shape, **given)) if affine else None
    shift = init.zeros_(new_parameter(*shape, **given)) if affine and bias else None
    return weight, shift  # type: ignore[return-value]


def reset(layer: Any) -> None:
    """γ = 1 and β = 0, where they are."""
    for name, value in (("weight", 1.0), ("bias", 0.0)):
        if getattr(layer, name, None) is not None:
            init.constant_(getattr(layer, name), value)
