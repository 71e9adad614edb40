"""Pools: the largest element or the mean of each window."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.nn.functional.pools import pool_padding
from tinygrad_ce.nn.functional.windows import several
from tinygrad_ce.nn.layer import Layer


class _Pool(Layer):
    """What all pools have: windows that fit."""

    directions = 2

    def _keep(self, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool) -> None:
        name, n = type(self).__name__, self.directions
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        size = several(kernel_size, f"{name}: kernel_size", 1, n)
        several(self.stride, f"{name}: stride", 1, n)
        pool_padding(padding, size, name)


class _MaxPool(_Pool):
    formula = "max over windows"

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self._keep(kernel_size, stride, padding, ceil_mode)
        self.dilation = dilation
        self.return_indices = return_indices

    def _settings(self) -> tuple[Any, ...]:
        return (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
                self.return_indices)  # fmt: skip


class MaxPool1d(_MaxPool):
    """The largest element of each window: (N, C, L) -> (N, C, L').

    >>> MaxPool1d(2)(Tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[3., 2.]])
    """

    directions = 1

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) -> (N, C, L')."""
        return F.max_pool1d(input, *self._settings())


class MaxPool2d(_MaxPool):
    """The largest element of each window; of equal ones the first gets the gradient.

    >>> MaxPool2d(2)
    MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        return F.max_pool2d(input, *self._settings())


class AvgPool1d(_Pool):
    """The mean of each window: (N, C, L) -> (N, C, L').

    >>> AvgPool1d(2)(Tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[2., 1.]])
    """

    directions = 1
    formula = "mean over windows"

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self._keep(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) -> (N, C, L')."""
        return F.avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )


class AvgPool2d(_Pool):
    """The mean of each window.

    >>> AvgPool2d(2)
    AvgPool2d(kernel_size=2, stride=2, padding=0)
    """

    formula = "mean over windows"

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self._keep(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class AdaptiveAvgPool1d(Layer):
    """The means of L' parts that cover the signal: (N, C, L) -> (N, C, L')."""

    formula = "mean over parts"

    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) -> (N, C, L')."""
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(Layer):
    """The means of H'×W' parts that cover the image: (N, C, H, W) -> (N, C, H', W').

    >>> AdaptiveAvgPool2d(1)(Tensor([[[1.0, 3.0], [5.0, 7.0]]]))
    tensor([[[4.]]])
    """

    formula = "mean over parts"

    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        return F.adaptive_avg_pool2d(input, self.output_size)
