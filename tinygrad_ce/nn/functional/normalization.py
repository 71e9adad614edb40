"""Mean 0 and variance 1, over features, channels or batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.engine.functions import fixed
from tinygrad_ce.engine.operands import value_of
from tinygrad_ce.engine.tensor import Tensor


@composed("(x − μ) / √(σ² + ε) · γ + β")
def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - μ)/√(σ² + ε)·γ + β, μ and σ² over the last dimensions, those of `normalized_shape`.

    With s = √(σ² + ε), x̂ = (x - μ)/s, h = g·γ, means over the same dimensions as μ, and sums over
    all others:

    ∂L/∂x = (h - mean(h) - x̂ * mean(h * x̂)) / s; ∂L/∂γ = sum(g * x̂); ∂L/∂β = sum(g)

    >>> from tinygrad_ce import tensor
    >>> layer_norm(tensor([[1.0, 3.0]]), (2,))
    tensor([[-1.0000,  1.0000]])
    """
    axes = last_axes("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    return scaled(normalized(input, axes, eps), weight, bias)


@composed("x / √(1/n Σ x² + ε) · γ")
def rms_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """x/√(mean of x² + ε)·γ, the mean over the last dimensions; ε is that of the dtype.

    With r = √(mean of x² + ε), h = g·γ, and sums over the dimensions that γ does not have:

    ∂L/∂x = (h - x * mean(h * x) / r**2) / r; ∂L/∂γ = sum(g * x / r)

    >>> from tinygrad_ce import tensor
    >>> rms_norm(tensor([[3.0, 3.0]]), (2,))
    tensor([[1., 1.]])
    """
    axes = last_axes("rms_norm", input, normalized_shape, weight=weight)
    eps = float(np.finfo(input.dtype).eps) if eps is None else eps
    n = float(functions.count(input.shape, axes))
    y = input / table.sqrt(table.sum(input * input, axes, True) / n + eps)
    return scaled(y, weight, None)


@composed("(x − μ) / √(σ² + ε) · γ + β")
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - μ)/√(σ² + ε)·γ + β, μ and σ² over each group of channels: (N, C, ...) -> the same.

    With s = √(σ² + ε), x̂ = (x - μ)/s, h = g·γ, means over each group of channels, and sums over
    all dimensions but that of the channels:

    ∂L/∂x = (h - mean(h) - x̂ * mean(h * x̂)) / s; ∂L/∂γ = sum(g * x̂); ∂L/∂β = sum(g)

    >>> from tinygrad_ce import tensor
    >>> group_norm(tensor([[1.0, 3.0, 5.0, 9.0]]), 2)
    tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])
    """
    if input.ndim < 2 or num_groups < 1 or input.shape[1] % num_groups:
        raise ValueError(
            f"group_norm: input has shape {tuple(input.shape)} and num_groups={num_groups}; wanted "
            "(N, C, ...) with C a multiple of it"
        )
    n, channels, *rest = input.shape
    check_shapes("group_norm", (channels,), weight=weight, bias=bias)
    groups = table.reshape(input, (n, num_groups, channels // num_groups, *rest))
    y = normalized(groups, tuple(range(2, groups.ndim)), eps)
    channel = (1, -1, *(1,) * len(rest))
    weight = None if weight is None else table.reshape(weight, channel)
    bias = None if bias is None else table.reshape(bias, channel)
    return scaled(table.reshape(y, input.shape), weight, bias)


def last_axes(name: str, x: Any, normalized_shape: Any, **operands: Any) -> tuple[int, ...]:
    """The axes of `normalized_shape`, the last ones; parameters have that shape too."""
    several = isinstance(normalized_shape, (tuple, list))
    shape = tuple(normalized_shape) if several else (normalized_shape,)
    if x.shape[x.ndim - len(shape) :] != shape:
        raise ValueError(f"{name}: input has shape {tuple(x.shape)}; wanted it to end with {shape}")
    check_shapes(name, shape, **operands)
    return tuple(range(-len(shape), 0))


def check_shapes(name: str, wanted: tuple[int, ...], **operands: Any) -> None:
    """All operands that are there have the same shape: broadcasting would hide a mistake."""
    for which, x in operands.items():
        if x is not None and x.shape != wanted:
            raise ValueError(f"{name}: {which} has shape {tuple(x.shape)}; wanted {wanted}")


def normalized(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    """(x - μ)/√(σ² + ε) with μ and σ² over `axes`."""
    n = float(functions.count(x.shape, axes))
    d = x - table.sum(x, axes, True) / n
    variance = table.sum(d * d, axes, True) / n
    return d / table.sqrt(variance + eps)


def scaled(x: Any, weight: Any, bias: Any) -> Any:
    """x·γ + β, where each may be missing."""
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


@composed("(x − μ) / √(σ² + ε) · γ + β")
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - μ)/√(σ² + ε)·γ + β for each channel: (N, C, ...) -> the same shape.

    When training, with s = √(σ² + ε), x̂ = (x - μ)/s, h = g·γ, and means and sums over all
    dimensions but that of the channels:

    ∂L/∂x = (h - mean(h) - x̂ * mean(h * x̂)) / s; ∂L/∂γ = sum(g * x̂); ∂L/∂β = sum(g)

    With the running μ and σ², which do not depend on x, it is h / s.

    When training, μ and σ² are those of the batch, and the running ones move towards them:
    running = (1 - momentum)·running + momentum·batch (with the unbiased variance). Otherwise the
    running ones are used.

    >>> from tinygrad_ce import tensor
    >>> batch_norm(tensor([[1.0], [3.0]]), training=True)
    tensor([[-1.0000],
            [ 1.0000]])
    """
    if input.ndim < 2:
        raise ValueError(f"batch_norm: input has shape {tuple(input.shape)}; wanted (N, C, ...)")
    check_shapes("batch_norm", (input.shape[1],), running_mean=running_mean,
                 running_var=running_var, weight=weight, bias=bias)  # fmt: skip
    stats = running_mean is not None and running_var is not None
    if not (stats or training) or (running_mean is None) is not (running_var is None):
        raise ValueError(
            "batch_norm: wanted running_mean and running_var, or training=True and neither"
        )
    axes = (0, *range(2, input.ndim))
    channel = (1, -1, *(1,) * (input.ndim - 2))
    weight = None if weight is None else table.reshape(weight, channel)
    bias = None if bias is None else table.reshape(bias, channel)
    if not training and running_mean is not None and running_var is not None:
        mean, variance = running_mean.reshape(channel), running_var.reshape(channel)
        return scaled((input - mean) / table.sqrt(variance + eps), weight, bias)
    n = functions.count(input.shape, axes)
    if training and n < 2:
        raise ValueError(
            f"batch_norm: input has shape {tuple(input.shape)}, one value per channel: no "
            "variance; wanted a batch of at least 2, or model.eval()"
        )
    if training and running_mean is not None and running_var is not None:
        v, part = value_of(input), value_of(momentum)
        for running, batch in ((running_mean, v.mean(axes)), (running_var, v.var(axes, ddof=1))):
            running *= 1.0 - momentum
            running += fixed(batch * part, input)
    return scaled(normalized(input, axes, eps), weight, bias)
