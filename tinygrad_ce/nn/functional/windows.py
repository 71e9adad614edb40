"""Convolutions and pools: sums and maxima over windows of images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.functional.normalization import check_shapes


def pair(value: Any, name: str, least: int = 1) -> tuple[int, int]:
    """A number for both directions, or one for each."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(n, (int, np.integer)) and n >= least for n in both):
        raise ValueError(f"{name}={value!r}; wanted an integer of at least {least}, or two")
    return int(both[0]), int(both[1])


def check_fits(name: str, shape: tuple[int, ...], spans: tuple[int, int]) -> None:
    """A window has to fit into the image, padding included: shape (N, C, H, W)."""
    if len(shape) != 4:
        raise ValueError(f"{name}: input has shape {tuple(shape)}; wanted (N, C, H, W)")
    if spans[0] > shape[2] or spans[1] > shape[3]:
        raise ValueError(
            f"{name}: a window of {spans[0]}×{spans[1]} does not fit into an image of "
            f"{shape[2]}×{shape[3]} (padding included)"
        )


def padded(x: Any, padding: tuple[int, int], value: float, axes: tuple[int, int] = (2, 3)) -> Any:
    """The image with `value` around it."""
    if padding == (0, 0):
        return x
    around = dict(zip(axes, padding))
    return table.pad(x, tuple((around.get(a, 0),) * 2 for a in range(4)), value)


@composed("W @ windows(x) + b")
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Σ over window and channels of x·w, + b: (N, C, H, W), (O, C, kh, kw) -> (N, O, H', W').

    Every window becomes a column, and the convolution is one matrix product of the kernels with the
    columns. With groups the channels fall into so many parts, each with kernels of its own.

    >>> from tinygrad_ce import ones
    >>> conv2d(ones(1, 1, 3, 3), ones(1, 1, 2, 2))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    if input.ndim == 3:
        return conv2d(input[None], weight, bias, stride, padding, dilation, groups)[0]
    out, depth, *size = weight.shape if weight.ndim == 4 else (0, 0)
    if input.ndim != 4 or len(size) != 2 or input.shape[1] != depth * groups or out % groups:
        raise ValueError(
            f"conv2d: input {tuple(input.shape)}, weight {tuple(weight.shape)}, groups={groups}; "
            "wanted (N, C, H, W) and (O, C/groups, kh, kw)"
        )
    check_shapes("conv2d", (out,), bias=bias)
    if groups > 1:
        each = functions.split(input, depth, 1)
        kernels = functions.split(weight, out // groups, 0)
        biases = [None] * groups if bias is None else functions.split(bias, out // groups, 0)
        parts = [
            conv2d(x, w, b, stride, padding, dilation) for x, w, b in zip(each, kernels, biases)
        ]
        return table.concatenate(*parts, axis=1)
    steps, spread = pair(stride, "conv2d: stride"), pair(dilation, "conv2d: dilation")
    border = pair(padding, "conv2d: padding", 0)
    images = padded(table.transpose(input, (1, 2, 3, 0)), border, 0.0, (1, 2))
    spans = ((size[0] - 1) * spread[0] + 1, (size[1] - 1) * spread[1] + 1)
    n, (height, width) = input.shape[0], images.shape[1:3]
    check_fits("conv2d", (n, depth, height, width), spans)
    columns = table.im2col(images, (size[0], size[1]), steps, spread)
    y = table.matmul(table.reshape(weight, (out, -1)), columns)
    if bias is not None:
        y = y + table.reshape(bias, (out, 1))
    h, w = table.window_counts(images.shape, (1, 2), (size[0], size[1]), steps, spread)
    return table.transpose(table.reshape(y, (out, h, w, n)), (3, 0, 1, 2))


@composed("max over windows")
def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The largest element of each window: (N, C, H, W) -> (N, C, H', W').

    Of equal elements the first gets the gradient, a nan counts as the largest. Padding is -inf, or
    the smallest integer: where nothing in a window is larger it is chosen and takes the gradient.

    >>> from tinygrad_ce import arange
    >>> max_pool2d(arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    if input.ndim == 3:
        return max_pool2d(input[None], kernel_size, stride, padding)[0]
    size = pair(kernel_size, "max_pool2d: kernel_size")
    step = size if stride is None else pair(stride, "max_pool2d: stride")
    kind = input.dtype.kind
    lowest = np.iinfo(input.dtype).min if kind in "iu" else -math.inf if kind == "f" else 0
    x = padded(input, pool_padding(padding, size, "max_pool2d"), lowest)
    check_fits("max_pool2d", x.shape, size)
    return table.max_pool(x, size, step, (2, 3))


@composed("mean over windows")
def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The mean of each window, padding counted as 0: (N, C, H, W) -> (N, C, H', W').

    >>> from tinygrad_ce import arange
    >>> avg_pool2d(arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 2.5,  4.5],
              [10.5, 12.5]]]])
    """
    if input.ndim == 3:
        return avg_pool2d(input[None], kernel_size, stride, padding)[0]
    size = pair(kernel_size, "avg_pool2d: kernel_size")
    step = size if stride is None else pair(stride, "avg_pool2d: stride")
    x = padded(input, pool_padding(padding, size, "avg_pool2d"), 0.0)
    check_fits("avg_pool2d", x.shape, size)
    return table.sum_pool(x, size, step, (2, 3)) / float(size[0] * size[1])


def pool_padding(padding: Any, size: tuple[int, int], name: str) -> tuple[int, int]:
    """Padding of at most half a window, so that no window sees only padding."""
    both = pair(padding, f"{name}: padding", 0)
    if not all(p <= k // 2 for p, k in zip(both, size)):
        raise ValueError(f"{name}: padding={padding}; wanted at most half the window {size}")
    return both
