"""Parameters: tensors that a module trains."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine import operands
from tinygrad_ce.engine.promotion import default_dtype
from tinygrad_ce.engine.tensor import Tensor, as_subclass, check_can_require_grad

__all__ = ["Parameter", "UninitializedBuffer", "UninitializedParameter"]


def __dir__() -> list[str]:
    return __all__


class Parameter(Tensor):
    """A Tensor that a Module trains: a leaf that requires a gradient, found by `parameters()`.

    >>> Parameter([1.0, 2.0])
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __new__(cls, data: Any = (), requires_grad: bool = True) -> Parameter:
        """A leaf with a copy of the data."""
        array = operands.array_from(data)
        check_can_require_grad(array, requires_grad)
        return as_subclass(operands.leaf(array, requires_grad), cls)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __reduce__(self) -> Any:
        return type(self), (np.array(self.array), self.requires_grad)


class Uninitialized(Tensor):
    """A tensor whose shape is not known yet: it has a dtype, and can be held."""

    __slots__ = ()
    becomes: type[Tensor] = Tensor

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        """A leaf without numbers."""
        array = np.empty(0, default_dtype() if dtype is None else dtype)
        return as_subclass(operands.leaf(array, requires_grad), cls)

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Get a shape, and room for numbers: it is a Parameter, or a Tensor, from here on."""
        self.array = np.empty(tuple(shape), self.array.dtype if dtype is None else dtype)
        self.__class__ = self.becomes  # type: ignore[assignment]

    @property
    def shape(self) -> Any:
        """Not known yet. Raises RuntimeError."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer: call the model once, "
            "so that its first input tells"
        )

    def numel(self) -> int:
        """Not known yet. Raises ValueError."""
        raise ValueError(
            "Attempted to use an uninitialized parameter: call the model once, so that its first "
            "input tells the shape"
        )

    def detach(self) -> Any:
        """Itself."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return type(self)(self.requires_grad, dtype=self.array.dtype)

    def __reduce__(self) -> Any:
        return type(self), (self.requires_grad, None, self.array.dtype)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(Uninitialized, Parameter):
    """A Parameter whose shape is not known yet.

    >>> p = UninitializedParameter()
    >>> p.materialize((2, 3))
    >>> type(p).__name__, p.shape
    ('Parameter', torch.Size([2, 3]))
    """

    __slots__ = ()
    becomes = Parameter


class UninitializedBuffer(Uninitialized):
    """A buffer whose shape is not known yet."""

    __slots__ = ()

    def __new__(cls, requires_grad: bool = False, device: Any = None, dtype: Any = None) -> Any:
        """A leaf without numbers."""
        return super().__new__(cls, requires_grad, device, dtype)


def is_lazy(tensor: Any) -> bool:
    """Whether its shape is not known yet.

    >>> is_lazy(UninitializedParameter())
    True
    """
    return isinstance(tensor, Uninitialized)
