"""Parameters: tensors that a module trains."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine import operands
from tinygrad_ce.engine.tensor import Tensor, as_subclass, check_can_require_grad


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
