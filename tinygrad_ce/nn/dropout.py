"""Layers that drop numbers while training."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.nn.layer import Layer


class Dropout(Layer):
    """While training, 0 with probability p, else x/(1 - p).

    >>> Dropout(0.5).eval()(Tensor([1.0]))
    tensor([1.])
    """

    formula = "x · mask / (1 − p)"

    def __init__(self, p: float = 0.5, generator: Any = None) -> None:
        if not isinstance(p, (int, float, np.number)) or not 0.0 <= p <= 1.0:
            raise ValueError(f"Dropout: p={p!r}; wanted a probability, 0 to 1")
        self.p = p
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.dropout(x, self.p, self.training, self.generator)
