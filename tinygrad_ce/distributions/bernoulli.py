"""The Bernoulli distribution."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.creation import bernoulli
from tinygrad_ce.distributions.distribution import (
    Distribution,
    broadcast_all,
    is_real,
    lazy,
    probs_to_logits,
)
from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F


class Bernoulli(Distribution):
    """1 with probability p = `probs`, or σ(`logits`), else 0. Give one of them.

    Raises ValueError unless 0 ≤ p ≤ 1.

    >>> coin = Bernoulli(logits=Tensor([0.0, 2.0]))
    >>> coin.probs
    tensor([0.5000, 0.8808])
    >>> coin.log_prob(Tensor([1.0, 1.0]))
    tensor([-0.6931, -0.1269])
    """

    wanted = {  # noqa: RUF012
        "probs": ("numbers from 0 to 1", lambda x: (x >= 0) & (x <= 1)),
        "logits": ("numbers", is_real),
    }

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Bernoulli: wanted either probs or logits, and not both")
        if probs is not None:
            (self.probs,) = broadcast_all(probs)
        else:
            (self.logits,) = broadcast_all(logits)
        given = self.logits if probs is None else self.probs
        super().__init__(given.shape, validate_args=validate_args)

    @lazy
    def logits(self) -> Tensor:
        """log p - log(1 - p)."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy
    def probs(self) -> Tensor:
        """σ(logits)."""
        return self.logits.sigmoid()

    @property
    def mean(self) -> Tensor:
        """p."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """1 where p > ½, 0 where p < ½, nan where it is ½."""
        mode = (self.probs >= 0.5).to(self.probs.dtype)
        return mode.masked_fill(self.probs == 0.5, float("nan"))

    @property
    def variance(self) -> Tensor:
        """p(1 - p)."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Zeros and ones."""
        with recording(False):
            return bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """x log p + (1 - x) log(1 - p), from the logits."""
        self._check_value(value, "0 or 1", lambda x: (x == 0) | (x == 1))
        logits, value = broadcast_all(self.logits, value)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        """-p log p - (1 - p) log(1 - p), from the logits."""
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")
