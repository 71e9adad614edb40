"""Convolutions: sums over windows, as one matrix product; and their transposes."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.functional.normalization import check_shapes
from tinygrad_ce.nn.functional.windows import (
    as_image,
    as_signal,
    border,
    check_fits,
    padded,
    pair,
    several,
)


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

    With a stride of 1, without padding, and T exchanging the first two axes:

    ∂L/∂x = conv_transpose2d(g, w); ∂L/∂w = T(conv2d(T(x), T(g))); ∂L/∂b = sum(g, (0, 2, 3))

    Every window becomes a column, and the convolution is one matrix product of the kernels with the
    columns. With groups the channels fall into so many parts, each with kernels of its own.
    `padding` is a number of zeros, "valid" or "same".

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
    around = border(padding, "conv2d", size, spread, steps)
    images = padded(table.transpose(input, (1, 2, 3, 0)), around, 0.0, (1, 2))
    spans = ((size[0] - 1) * spread[0] + 1, (size[1] - 1) * spread[1] + 1)
    n, (height, width) = input.shape[0], images.shape[1:3]
    check_fits("conv2d", (n, depth, height, width), spans)
    columns = table.im2col(images, (size[0], size[1]), steps, spread)
    y = table.matmul(table.reshape(weight, (out, -1)), columns)
    if bias is not None:
        y = y + table.reshape(bias, (out, 1))
    h, w = table.window_counts(images.shape, (1, 2), (size[0], size[1]), steps, spread)
    return table.transpose(table.reshape(y, (out, h, w, n)), (3, 0, 1, 2))


@composed("W @ windows(x) + b")
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Σ over window and channels of x·w, + b: (N, C, L), (O, C, k) -> (N, O, L').

    >>> from tinygrad_ce import tensor
    >>> conv1d(tensor([[1.0, 2.0, 4.0]]), tensor([[[1.0, 1.0]]]))
    tensor([[3., 6.]])
    """
    if input.ndim == 2:
        return conv1d(input[None], weight, bias, stride, padding, dilation, groups)[0]
    if input.ndim != 3 or weight.ndim != 3 or input.shape[1] != weight.shape[1] * groups:
        raise ValueError(
            f"conv1d: input {tuple(input.shape)}, weight {tuple(weight.shape)}, groups={groups}; "
            "wanted (N, C, L) and (O, C/groups, k)"
        )
    (step,), (spread,) = (
        several(stride, "conv1d: stride", count=1),
        several(dilation, "conv1d: dilation", count=1),
    )
    ((before, after),) = border(padding, "conv1d", weight.shape[2:], (spread,), (step,), 1)
    x = padded(as_image(input, "conv1d"), ((0, 0), (before, after)), 0.0, (2, 3))
    kernels = as_image(weight, "conv1d")
    return as_signal(conv2d(x, kernels, bias, (1, step), 0, (1, spread), groups))


@composed("windows laid down: Wᵀ @ x, overlaps added, + b")
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transpose of conv2d, + b: (N, C, H, W), (C, O/groups, kh, kw) -> (N, O, H', W').

    With a stride of 1, without padding, and T exchanging the first two axes:

    ∂L/∂x = conv2d(g, w); ∂L/∂w = T(conv2d(T(g), T(x))); ∂L/∂b = sum(g, (0, 2, 3))

    Every element lays its kernel down, overlaps are added, and `padding` rows and columns are cut
    off at each side: H' = (H - 1)·stride - 2·padding + dilation·(kh - 1) + output_padding + 1.

    >>> from tinygrad_ce import ones
    >>> conv_transpose2d(ones(1, 1, 1, 2), ones(1, 1, 1, 2))
    tensor([[[[1., 2., 1.]]]])
    """
    name = "conv_transpose2d"
    if input.ndim == 3:
        return conv_transpose2d(
            input[None], weight, bias, stride, padding, output_padding, groups, dilation
        )[0]
    if input.ndim != 4 or weight.ndim != 4 or input.shape[1] != weight.shape[0]:
        raise ValueError(
            f"{name}: input {tuple(input.shape)}, weight {tuple(weight.shape)}; wanted "
            "(N, C, H, W) and (C, O/groups, kh, kw)"
        )
    n, channels, *counts = input.shape
    out, size = weight.shape[1], (weight.shape[2], weight.shape[3])
    check_shapes(name, (out * groups,), bias=bias)
    if groups > 1:
        xs, ws = (functions.split(t, channels // groups, i) for t, i in ((input, 1), (weight, 0)))
        bs = [None] * groups if bias is None else functions.split(bias, out, 0)
        return table.concatenate(
            *(conv_transpose2d(x, w, b, stride, padding, output_padding, 1, dilation)
              for x, w, b in zip(xs, ws, bs)), axis=1,
        )  # fmt: skip
    steps, spread = pair(stride, f"{name}: stride"), pair(dilation, f"{name}: dilation")
    cut, more = pair(padding, f"{name}: padding", 0), pair(output_padding, f"{name}: out", 0)
    if any(m >= max(s, d) for m, s, d in zip(more, steps, spread)):
        raise ValueError(
            f"{name}: output_padding={output_padding}; wanted less than the stride, or the dilation"
        )
    full = [(c - 1) * s + (k - 1) * d + 1 for c, s, k, d in zip(counts, steps, size, spread)]
    kernels = table.reshape(weight, (channels, -1))
    columns = table.matmul(
        table.mT(kernels), table.reshape(table.transpose(input, (1, 2, 3, 0)), (channels, -1))
    )
    laid = table.col2im(columns, (out, *full, n), size, steps, spread)
    y = padded(laid, tuple((0, m) for m in more), 0.0, (1, 2))
    ends = [f + m - c for f, m, c in zip(full, more, cut)]
    y = y[:, cut[0] : ends[0], cut[1] : ends[1]]
    if bias is not None:
        y = y + table.reshape(bias, (out, 1, 1, 1))
    return table.transpose(y, (3, 0, 1, 2))


def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Every window as a column: (N, C, H, W) -> (N, C·kh·kw, H'·W').

    The gradient of an element is the sum of those in all columns where it stands: fold(g).

    >>> from tinygrad_ce import arange
    >>> unfold(arange(4.0).reshape(1, 1, 2, 2), (1, 2))
    tensor([[[0., 2.],
             [1., 3.]]])
    """
    if input.ndim == 3:
        return unfold(input[None], kernel_size, dilation, padding, stride)[0]
    size, spread, cut, steps = (
        pair(value, f"unfold: {name}", least)
        for value, name, least in ((kernel_size, "kernel_size", 1), (dilation, "dilation", 1),
                                   (padding, "padding", 0), (stride, "stride", 1))
    )  # fmt: skip
    around = tuple((p, p) for p in cut)
    if input.ndim != 4:
        raise ValueError(f"unfold: input has shape {tuple(input.shape)}; wanted (N, C, H, W)")
    images = padded(table.transpose(input, (1, 2, 3, 0)), around, 0.0, (1, 2))
    shape = (input.shape[0], input.shape[1], *images.shape[1:3])
    check_fits("unfold", shape, tuple((k - 1) * d + 1 for k, d in zip(size, spread)))
    columns = table.im2col(images, size, steps, spread)
    y = table.reshape(columns, (columns.shape[0], -1, input.shape[0]))
    return table.transpose(y, (2, 0, 1))
