"""Pools: the largest element or the mean of each window."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.nn.functional.windows import pair, pool_padding
from tinygrad_ce.nn.layer import Layer


class _Pool2d(Layer):
    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        name = type(self).__name__
        size = pair(kernel_size, f"{name}: kernel_size")
        pair(self.stride, f"{name}: stride")
        pool_padding(padding, size, name)


class MaxPool2d(_Pool2d):
    """The largest element of each window; of equal ones the first gets the gradient.

    >>> MaxPool2d(2)
    MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
    """

    formula = "max over windows"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)


class AvgPool2d(_Pool2d):
    """The mean of each window.

    >>> AvgPool2d(2)
    AvgPool2d(kernel_size=2, stride=2, padding=0)
    """

    formula = "mean over windows"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding)
