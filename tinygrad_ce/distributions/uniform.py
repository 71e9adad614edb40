"""The uniform distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.creation import full_like, rand, zeros_like
from tinygrad_ce.distributions.distribution import Distribution, broadcast_all, is_real
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.functions import where


class Uniform(Distribution):
    """Uniform on [low, high): density 1/(high - low).

    Raises ValueError unless low < high.

    >>> Uniform(0.0, Tensor([1.0, 4.0])).log_prob(Tensor([0.5, 0.5]))
    tensor([ 0.0000, -1.3863])
    """

    wanted = {"low": ("numbers", is_real), "high": ("numbers", is_real)}  # noqa: RUF012
    has_rsample = True

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)
        looked_at = self._validate_args and current().tracer is None
        if looked_at and not np.all(self.low.array < self.high.array):
            raise ValueError(f"Uniform: low={self.low}, high={self.high}; wanted low < high")

    @property
    def mean(self) -> Tensor:
        """(low + high)/2."""
        return (self.high + self.low) / 2

    @property
    def stddev(self) -> Tensor:
        """(high - low)/√12."""
        return (self.high - self.low) / 12**0.5

    @property
    def variance(self) -> Tensor:
        """(high - low)²/12."""
        return (self.high - self.low) ** 2 / 12

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """low + u·(high - low), u uniform on [0, 1)."""
        u = rand(self._extended_shape(sample_shape), dtype=self.low.dtype)
        return self.low + u * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        """-log(high - low) inside, -∞ outside."""
        low, high = self.low.array, self.high.array
        self._check_value(value, "numbers between low and high",
                          lambda x: (low <= x) & (x <= high))  # fmt: skip
        value, low_, high_ = broadcast_all(value, self.low, self.high)
        inside = (low_ <= value) & (high_ > value)
        zero = zeros_like(value, dtype=self.low.dtype)
        return where(inside, zero, full_like(zero, -math.inf)) - (self.high - self.low).log()

    def cdf(self, value: Tensor) -> Tensor:
        """(x - low)/(high - low), from 0 to 1."""
        return ((value - self.low) / (self.high - self.low)).clamp(0, 1)

    def entropy(self) -> Tensor:
        """log(high - low)."""
        return (self.high - self.low).log()
