"""Pools: the largest element, or the mean, of each window."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.engine.functions import fixed
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.functional.windows import (
    as_image,
    as_signal,
    check_fits,
    padded,
    pair,
    several,
)


def pool_padding(padding: Any, size: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Padding of at most half a window, so that no window sees only padding."""
    each = several(padding, f"{name}: padding", 0, len(size))
    if not all(p <= k // 2 for p, k in zip(each, size)):
        raise ValueError(f"{name}: padding={padding}; wanted at most half the window {size}")
    return each


def beyond(n: int, k: int, s: int, p: int, ceil_mode: bool) -> int:
    """How many rows after the padding the last window needs, which begins before it."""
    if not ceil_mode:
        return 0
    count = -(-(n + 2 * p - k) // s) + 1
    if (count - 1) * s >= n + p:
        count -= 1
    return max((count - 1) * s + k - (n + 2 * p), 0)


@composed("max over windows")
def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The largest element of each window: (N, C, H, W) -> (N, C, H', W').

    Of equal elements the first gets the gradient, a nan counts as the largest. Padding is -inf, or
    the smallest integer: where nothing in a window is larger it is chosen and takes the gradient.
    With `ceil_mode` windows that begin inside and end outside count too.

    >>> from tinygrad_ce import arange
    >>> max_pool2d(arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    if input.ndim == 3:
        return max_pool2d(
            input[None], kernel_size, stride, padding, dilation, ceil_mode, return_indices
        )[0]
    if return_indices or pair(dilation, "max_pool2d: dilation") != (1, 1):
        raise ValueError(
            f"max_pool2d: dilation={dilation}, return_indices={return_indices}; here windows have "
            "no gaps and give no indices: leave both out"
        )
    size = pair(kernel_size, "max_pool2d: kernel_size")
    step = size if stride is None else pair(stride, "max_pool2d: stride")
    kind = input.dtype.kind
    lowest = np.iinfo(input.dtype).min if kind in "iu" else -math.inf if kind == "f" else 0
    x = surrounded(input, size, step, padding, ceil_mode, lowest, "max_pool2d")
    return table.max_pool(x, size, step, (2, 3))


def surrounded(
    x: Any, size: Any, step: Any, padding: Any, ceil_mode: bool, value: float, name: str
) -> Any:
    """The image with what its windows need around it."""
    if x.ndim != 4:
        raise ValueError(f"{name}: input has shape {tuple(x.shape)}; wanted (N, C, H, W)")
    around = pool_padding(padding, size, name)
    sides = tuple(
        (p, p + beyond(n, k, s, p, ceil_mode))
        for n, k, s, p in zip(x.shape[2:], size, step, around)
    )
    x = padded(x, sides, value, (2, 3))
    check_fits(name, x.shape, size)
    return x


@composed("mean over windows")
def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window, padding counted as 0: (N, C, H, W) -> (N, C, H', W').

    Each element of a window of n gets g/n; where windows overlap, these add up.

    `count_include_pad=False` divides by the elements of the image alone, `divisor_override` by
    that number. With `ceil_mode` windows that begin inside and end outside count too.

    >>> from tinygrad_ce import arange
    >>> avg_pool2d(arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 2.5000,  4.5000],
              [10.5000, 12.5000]]]])
    """
    if input.ndim == 3:
        return avg_pool2d(input[None], kernel_size, stride, padding, ceil_mode,
                          count_include_pad, divisor_override)[0]  # fmt: skip
    size = pair(kernel_size, "avg_pool2d: kernel_size")
    step = size if stride is None else pair(stride, "avg_pool2d: stride")
    around = pool_padding(padding, size, "avg_pool2d")
    x = surrounded(input, size, step, padding, ceil_mode, 0.0, "avg_pool2d")
    total = table.sum_pool(x, size, step, (2, 3))
    if divisor_override is not None:
        return total / float(divisor_override)
    if not any(around) and x.shape == input.shape:
        return total / float(size[0] * size[1])
    rows, columns = (
        seen(n, k, s, p, count, count_include_pad)
        for n, k, s, p, count in zip(input.shape[2:], size, step, around, total.shape[2:])
    )
    counts = np.multiply.outer(rows, columns)
    if counts.min(initial=counts.max(initial=1)) == counts.max(initial=1):
        return total / float(counts.max(initial=1))
    return total / fixed(counts.astype(input.dtype), total)


def seen(n: int, k: int, s: int, p: int, count: int, with_padding: bool) -> np.ndarray:
    """How many elements each window has along one axis, padding counted or not."""
    start = np.arange(count) * s - p
    low, high = (-p, n + p) if with_padding else (0, n)
    return np.minimum(start + k, high) - np.maximum(start, low)


@composed("max over windows")
def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The largest element of each window: (N, C, L) -> (N, C, L'); as `max_pool2d`.

    >>> from tinygrad_ce import tensor
    >>> max_pool1d(tensor([[1.0, 3.0, 2.0, 0.0]]), 2)
    tensor([[3., 2.]])
    """
    if input.ndim == 2:
        return max_pool1d(
            input[None], kernel_size, stride, padding, dilation, ceil_mode, return_indices
        )[0]
    size, step, around = of_signal(kernel_size, stride, padding, "max_pool1d")
    (spread,) = several(dilation, "max_pool1d: dilation", count=1)
    x = as_image(input, "max_pool1d")
    return as_signal(max_pool2d(x, size, step, around, (1, spread), ceil_mode, return_indices))


@composed("mean over windows")
def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window, padding counted as 0: (N, C, L) -> (N, C, L'); as `avg_pool2d`.

    >>> from tinygrad_ce import tensor
    >>> avg_pool1d(tensor([[1.0, 3.0, 2.0, 0.0]]), 2)
    tensor([[2., 1.]])
    """
    if input.ndim == 2:
        return avg_pool1d(input[None], kernel_size, stride, padding, ceil_mode, count_include_pad)[
            0
        ]
    size, step, around = of_signal(kernel_size, stride, padding, "avg_pool1d")
    x = as_image(input, "avg_pool1d")
    return as_signal(avg_pool2d(x, size, step, around, ceil_mode, count_include_pad))


def of_signal(size: Any, stride: Any, padding: Any, name: str) -> Any:
    """The settings of a pool over a signal as those of a pool over an image of one row."""
    (k,) = several(size, f"{name}: kernel_size", count=1)
    (s,) = (k,) if stride is None else several(stride, f"{name}: stride", count=1)
    (p,) = pool_padding(padding, (k,), name)
    return (1, k), (1, s), (0, p)


@composed("mean over parts")
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The means of H'×W' parts that cover the image: (N, C, H, W) -> (N, C, H', W').

    Part i of n rows goes from ⌊i·n/H'⌋ to ⌈(i + 1)·n/H'⌉: a product with a matrix on each side.
    A size of None stays.

    >>> from tinygrad_ce import arange
    >>> adaptive_avg_pool2d(arange(16.0).reshape(1, 1, 4, 4), 1)
    tensor([[[[7.5000]]]])
    """
    if input.ndim not in (3, 4):
        raise ValueError(
            f"adaptive_avg_pool2d: input has shape {tuple(input.shape)}; wanted (N, C, H, W)"
        )
    each = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    sizes = (n if out is None else out for n, out in zip(input.shape[-2:], each))
    h, w = pair(tuple(sizes), "adaptive_avg_pool2d: output_size")
    rows, columns = parts(input.shape[-2], h, input), parts(input.shape[-1], w, input)
    return table.matmul(table.matmul(rows, input), table.mT(columns))


@composed("mean over parts")
def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The means of L' parts that cover the signal: (N, C, L) -> (N, C, L').

    >>> from tinygrad_ce import arange
    >>> adaptive_avg_pool1d(arange(4.0).reshape(1, 4), 2)
    tensor([[0.5000, 2.5000]])
    """
    if input.ndim not in (2, 3):
        raise ValueError(
            f"adaptive_avg_pool1d: input has shape {tuple(input.shape)}; wanted (N, C, L)"
        )
    (n,) = several(output_size, "adaptive_avg_pool1d: output_size", count=1)
    return table.matmul(input, table.mT(parts(input.shape[-1], n, input)))


def parts(n: int, out: int, like: Any) -> Any:
    """A matrix (out, n) that takes the mean of each part."""
    i = np.arange(out)[:, None]
    inside = (np.arange(n) >= i * n // out) & (np.arange(n) < -(-(i + 1) * n // out))
    return fixed((inside / inside.sum(1, keepdims=True)).astype(like.dtype), like)
