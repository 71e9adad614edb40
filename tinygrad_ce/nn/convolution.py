"""Convolutions, and their transposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.nn.functional.windows import border, several
from tinygrad_ce.nn.layer import Layer, new_parameter, positive
from tinygrad_ce.nn.linear import draw_as_linear
from tinygrad_ce.nn.parameter import Parameter

MODES = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


class _Conv(Layer):
    """What all convolutions have: sizes, kernels (out, in/groups, ...), and a bias."""

    formula = "W @ windows(x) + b"
    directions = 2
    function: Callable[..., Tensor]
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        name, n = type(self).__name__, self.directions
        self.in_channels = positive(in_channels, "in_channels", name)
        self.out_channels = positive(out_channels, "out_channels", name)
        self.kernel_size = several(kernel_size, f"{name}: kernel_size", 1, n)
        self.stride = several(stride, f"{name}: stride", 1, n)
        self.dilation = several(dilation, f"{name}: dilation", 1, n)
        text = isinstance(padding, str)
        self.padding = padding if text else several(padding, f"{name}: padding", 0, n)
        border(self.padding, name, self.kernel_size, self.dilation, self.stride, n)
        self.groups = positive(groups, "groups", name)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: {in_channels} and {out_channels} channels do not divide into "
                f"{groups} groups"
            )
        if padding_mode not in MODES:
            wanted = ", ".join(MODES)
            raise ValueError(f"{name}: padding_mode={padding_mode!r}; wanted one of {wanted}")
        self.padding_mode = padding_mode
        self.weight = new_parameter(*self.kernel_shape(), device=device, dtype=dtype)
        self.bias = new_parameter(out_channels, dtype=dtype) if bias else None
        self.reset_parameters()

    def kernel_shape(self) -> tuple[int, ...]:
        """The shape of the weight."""
        return self.out_channels, self.in_channels // self.groups, *self.kernel_size

    def reset_parameters(self) -> None:
        """Draw new initial values: uniform on ±1/√fan_in."""
        draw_as_linear(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Slide the kernel over x."""
        padding = self.padding
        if self.padding_mode != "zeros":
            sides = border(padding, "", self.kernel_size, self.dilation, self.stride,
                           self.directions)  # fmt: skip
            input = F.pad(input, [n for side in sides[::-1] for n in side], self.padding_mode)
            padding = 0
        return type(self).function(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class Conv1d(_Conv):
    """Σ over window and channels of x·w, + b: (N, C, L) -> (N, O, L').

    >>> Conv1d(2, 4, 3, padding="same")(Tensor([[[1.0, 2.0], [3.0, 4.0]]])).shape
    torch.Size([1, 4, 2])
    """

    directions = 1
    function = staticmethod(F.conv1d)


class Conv2d(_Conv):
    """Σ over window and channels of x·w, + b: (N, C, H, W) -> (N, O, H', W').

    >>> Conv2d(1, 8, 3, padding=1)
    Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """

    function = staticmethod(F.conv2d)


class ConvTranspose2d(_Conv):
    """The transpose of Conv2d: every element lays its kernel down, + b.

    (N, C, H, W) -> (N, O, H', W'), H' = (H - 1)·stride - 2·padding + dilation·(kh - 1) +
    output_padding + 1; see `functional.conv_transpose2d`. The weight is (C, O/groups, kh, kw).

    >>> ConvTranspose2d(4, 2, 2, stride=2).weight.shape
    torch.Size([4, 2, 2, 2])
    """

    formula = "windows laid down: Wᵀ @ x, overlaps added, + b"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros" or isinstance(padding, str):
            raise ValueError(
                f"ConvTranspose2d: padding={padding!r}, padding_mode={padding_mode!r}; wanted "
                'integers, and "zeros"'
            )
        self.output_padding = several(output_padding, "ConvTranspose2d: output_padding", 0)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups,
                         bias, padding_mode, device, dtype)  # fmt: skip

    def kernel_shape(self) -> tuple[int, ...]:
        """The shape of the weight."""
        return self.in_channels, self.out_channels // self.groups, *self.kernel_size

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """(N, C, H, W) -> (N, O, H', W'); `output_size` (H', W') in the place of output_padding."""
        more = self.output_padding if output_size is None else self.missing(input, output_size)
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, more, self.groups,
            self.dilation,
        )  # fmt: skip

    def missing(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives this size."""
        wanted = tuple(output_size)[-2:]
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                input.shape[-2:], self.stride, self.padding, self.dilation, self.kernel_size
            )
        ]
        more = tuple(w - n for w, n in zip(wanted, least))
        if not all(0 <= m < max(s, d) for m, s, d in zip(more, self.stride, self.dilation)):
            raise ValueError(
                f"ConvTranspose2d: output_size={wanted}; for an input of {tuple(input.shape)} "
                f"wanted from {tuple(least)} up to less than a stride more"
            )
        return more
