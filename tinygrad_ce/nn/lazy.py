"""Layers that see from their first input how large it is.

Until then their parameters are there, uninitialised, so that an optimiser or a model can hold them;
with the first call they get their shapes and values, and the layer becomes what it is lazy of.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinygrad_ce.engine.frame import refuse_once
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.convolution import Conv1d, Conv2d
from tinygrad_ce.nn.layer import Layer, positive
from tinygrad_ce.nn.linear import Linear
from tinygrad_ce.nn.module import own_buffers, own_parameters
from tinygrad_ce.nn.normalization import BatchNorm1d, BatchNorm2d
from tinygrad_ce.nn.parameter import (
    Uninitialized,
    UninitializedBuffer,
    UninitializedParameter,
)


class LazyModuleMixin(Layer):
    """What lazy layers have: parameters without a shape, until the first call gives them one."""

    cls_to_become: ClassVar[type[Layer]]
    size = ""  # the attribute that is not known yet

    def _wait(self, *, dtype: Any = None) -> None:
        """Take back what depends on the input."""
        setattr(self, self.size, 0)
        for name, _ in own_parameters(self):
            vars(self)[name] = UninitializedParameter(dtype=dtype)
        for name, buffer in own_buffers(self):
            if buffer.ndim:
                vars(self)[name] = UninitializedBuffer(dtype=dtype)

    def reset_parameters(self) -> None:
        """Nothing yet: the first call draws."""

    def has_uninitialized_params(self) -> bool:
        """Whether it still waits for its first input."""
        own = [*own_parameters(self), *own_buffers(self)]
        return any(isinstance(tensor, Uninitialized) for _, tensor in own)

    def shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        """The shapes of parameters and buffers for inputs of this size."""
        raise NotImplementedError

    def initialize_parameters(self, input: Tensor) -> None:
        """Give parameters that wait the shapes that this input asks for, and draw them."""
        if not self.has_uninitialized_params():
            return
        refuse_once(
            f"the first call of {type(self).__name__} draws its parameters",
            "Call the model once before",
        )
        size = int(self.size_of(input))
        setattr(self, self.size, size)
        for name, shape in self.shapes(size).items():
            tensor = vars(self)[name]
            if isinstance(tensor, Uninitialized):
                tensor.materialize(shape)
        self.cls_to_become.reset_parameters(self)  # type: ignore[attr-defined]

    def size_of(self, input: Tensor) -> int:
        """What the input says."""
        return input.shape[-1]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Become the layer that this is lazy of, and call it."""
        self.initialize_parameters(*args, **kwargs)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        vars(self)["_name"] = self._name.removeprefix("Lazy")
        return self(*args, **kwargs)


class LazyLinear(LazyModuleMixin, Linear):
    """A Linear that finds in_features in its first input.

    >>> layer = LazyLinear(3)
    >>> layer.weight
    <UninitializedParameter>
    >>> _ = layer(Tensor([1.0, 2.0]))
    >>> layer
    Linear(in_features=2, out_features=3, bias=True)
    """

    cls_to_become = Linear
    size = "in_features"

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        positive(out_features, "out_features", "LazyLinear")
        Linear.__init__(self, 1, out_features, bias, device, dtype)
        self._wait(dtype=dtype)

    def shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        """The shapes of weight and bias."""
        shapes = {"weight": (self.out_features, size), "bias": (self.out_features,)}
        return shapes if self.bias is not None else {"weight": shapes["weight"]}


class _LazyConv(LazyModuleMixin):
    size = "in_channels"
    directions = 2

    def __init__(
        self,
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
        kind: Any = self.cls_to_become
        kind.__init__(
            self, groups, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip
        self._wait(dtype=dtype)

    def size_of(self, input: Tensor) -> int:
        """What the input says: the channels."""
        return input.shape[-1 - self.directions]

    def shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        """The shapes of weight and bias."""
        layer: Any = self
        if size % layer.groups:
            raise ValueError(f"{type(self).__name__}: {size} channels, {layer.groups} groups")
        shapes = {"weight": layer.kernel_shape()}
        return shapes if layer.bias is None else {**shapes, "bias": (layer.out_channels,)}


class LazyConv1d(_LazyConv, Conv1d):
    """A Conv1d that finds in_channels in its first input."""

    directions = 1
    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """A Conv2d that finds in_channels in its first input.

    >>> layer = LazyConv2d(4, 3)
    >>> layer(Tensor([[[1.0] * 5] * 5])).shape, layer.weight.shape
    (torch.Size([4, 3, 3]), torch.Size([4, 1, 3, 3]))
    """

    cls_to_become = Conv2d


class _LazyBatchNorm(LazyModuleMixin):
    size = "num_features"

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        kind: Any = self.cls_to_become
        kind.__init__(self, 1, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self._wait(dtype=dtype)

    def size_of(self, input: Tensor) -> int:
        """What the input says: the second dimension."""
        return input.shape[1]

    def shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        """A number for each feature."""
        own = [*own_parameters(self), *own_buffers(self)]
        return {name: (size,) for name, tensor in own if isinstance(tensor, Uninitialized)}


class LazyBatchNorm1d(_LazyBatchNorm, BatchNorm1d):
    """A BatchNorm1d that finds num_features in its first input."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyBatchNorm, BatchNorm2d):
    """A BatchNorm2d that finds num_features in its first input."""

    cls_to_become = BatchNorm2d
