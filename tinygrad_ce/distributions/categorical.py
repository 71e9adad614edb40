"""The categorical distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.creation import full, multinomial
from tinygrad_ce.distributions.distribution import Distribution, is_real, lazy, probs_to_logits
from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.tensor import Tensor


class Categorical(Distribution):
    """One of 0 ... C-1 with probabilities in proportion to `probs`, or to exp(`logits`).

    (C,) is one distribution, (N, C) is N of them. Give one of both, which is kept normalised.

    Raises ValueError for probabilities below 0 and for nan.

    >>> die = Categorical(probs=Tensor([1.0, 2.0, 1.0]))
    >>> die.probs
    tensor([0.2500, 0.5000, 0.2500])
    >>> die.log_prob(Tensor([1, 2])), die.entropy()
    (tensor([-0.6931, -1.3863]), tensor(1.0397))
    """

    wanted = {  # noqa: RUF012
        "probs": ("numbers of at least 0", lambda x: x >= 0),
        "logits": ("numbers", is_real),
    }

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = logits if probs is None else probs
        if given is None or (probs is not None and logits is not None):
            raise ValueError("Categorical: wanted either probs or logits, and not both")
        if not isinstance(given, Tensor) or given.ndim < 1:
            raise ValueError(
                f"Categorical: got {given!r}; wanted a Tensor (..., C), a number for each category"
            )
        if logits is None:
            self.probs = given / given.sum(-1, keepdim=True)
        else:
            self.logits = given - given.logsumexp(dim=-1, keepdim=True)
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @lazy
    def logits(self) -> Tensor:
        """log p."""
        return probs_to_logits(self.probs)

    @lazy
    def probs(self) -> Tensor:
        """softmax(logits)."""
        return self.logits.softmax(-1)

    @property
    def mean(self) -> Tensor:
        """nan: categories are no numbers."""
        return full(self._extended_shape(), math.nan, dtype=self.probs.dtype)

    @property
    def variance(self) -> Tensor:
        """nan, as the mean."""
        return self.mean

    @property
    def mode(self) -> Tensor:
        """The most probable category."""
        return self.probs.argmax(dim=-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Categories, int64."""
        rows = self.probs.detach().reshape(-1, self._num_events)
        with recording(False):
            drawn = multinomial(rows, math.prod(sample_shape), True)
            return drawn.T.reshape(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """log p[x]."""
        count = self._num_events
        self._check_value(
            value,
            f"whole numbers from 0 to {count - 1}",
            lambda x: (x >= 0) & (x < count) & (x == np.floor(x)),
        )
        shape = np.broadcast_shapes(value.shape, self._batch_shape)
        table = self.logits.expand((*shape, count))
        return table.gather(-1, value.long().expand(shape).unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """-Σ p log p, with 0 log 0 = 0."""
        least = float(np.finfo(self.logits.array.dtype).min)
        return -(self.logits.clamp(min=least) * self.probs).sum(-1)
