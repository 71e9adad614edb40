"""Layers that drop numbers while training."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.nn.layer import Layer


class _Dropout(Layer):
    formula = "x · mask / (1 − p)"

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if not isinstance(p, (int, float, np.number)) or not 0.0 <= p <= 1.0:
            raise ValueError(f"{type(self).__name__}: p={p!r}; wanted a probability, 0 to 1")
        self.p = p
        self.inplace = inplace


class Dropout(_Dropout):
    """While training, 0 with probability p, else x/(1 - p).

    >>> Dropout(0.5).eval()(Tensor([1.0]))
    tensor([1.])
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, generator: Any = None) -> None:
        super().__init__(p, inplace)
        self.generator = generator

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.dropout(input, self.p, self.training, self.inplace, generator=self.generator)


class Dropout1d(_Dropout):
    """While training, whole channels 0 with probability p: (N, C, L) or (C, L)."""

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """While training, whole channels 0 with probability p: (N, C, H, W) -> the same shape."""

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.dropout2d(input, self.p, self.training, self.inplace)
