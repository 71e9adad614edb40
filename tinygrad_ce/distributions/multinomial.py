"""The multinomial distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.creation import zeros
from tinygrad_ce.distributions.categorical import Categorical
from tinygrad_ce.distributions.distribution import Distribution
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor


class Multinomial(Distribution):
    """How often each of C categories comes in `total_count` draws; `probs` as for Categorical.

    >>> coin = Multinomial(100, Tensor([1.0, 3.0]))
    >>> coin.mean, coin.variance
    (tensor([25., 75.]), tensor([18.7500, 18.7500]))
    >>> coin.log_prob(Tensor([25.0, 75.0]))
    tensor(-2.3881)
    """

    def __init__(
        self,
        total_count: int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError(
                f"Multinomial: total_count is {total_count!r}; wanted one whole number"
            )
        self.total_count = total_count
        self._categorical = Categorical(probs, logits, validate_args)
        shape = self._categorical._batch_shape, (self._categorical._num_events,)
        super().__init__(*shape, validate_args=validate_args)

    @property
    def probs(self) -> Tensor:
        """The probability of each category."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """log p."""
        return self._categorical.logits

    @property
    def mean(self) -> Tensor:
        """n·p."""
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        """n·p(1 - p)."""
        return self.probs * self.total_count * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Counts, floats as `probs` are."""
        drawn = self._categorical.sample((self.total_count, *sample_shape))
        counts = zeros(*drawn.shape[1:], self.probs.shape[-1], dtype=self.probs.dtype)
        rows = np.moveaxis(drawn.array, 0, -1)
        ones = np.ones(rows.shape, counts.array.dtype)
        return counts.scatter_add(-1, leaf(rows), leaf(ones))

    def log_prob(self, value: Tensor) -> Tensor:
        """log(n! / Π xᵢ!) + Σ xᵢ log pᵢ."""
        counts = value.detach()
        ways = log_factorial(counts.sum(-1)) - log_factorial(counts).sum(-1)
        logits = self.logits.masked_fill((counts == 0) & self.logits.isinf(), 0.0)
        return ways + (logits * value).sum(-1)


def log_factorial(n: Tensor) -> Tensor:
    """log n!, a constant."""
    values = np.array([math.lgamma(k + 1.0) for k in n.array.ravel()], n.array.dtype)
    return leaf(values.reshape(n.array.shape))
