"""The normal distribution."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_ce.creation import normal, randn
from tinygrad_ce.distributions.distribution import Distribution, broadcast_all, is_real
from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.tensor import Tensor


class Normal(Distribution):
    """N(loc, scale²): density exp(-(x - loc)²/(2 scale²))/(scale √(2π)).

    Raises ValueError unless scale > 0.

    >>> q = Normal(Tensor([0.0, 1.0]), Tensor([1.0, 2.0]))
    >>> q.log_prob(Tensor([0.0, 0.0]))
    tensor([-0.9189, -1.7371])
    >>> q.sample((3,)).shape
    torch.Size([3, 2])
    """

    wanted = {"loc": ("numbers", is_real), "scale": ("numbers above 0", lambda x: x > 0)}  # noqa: RUF012
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """scale."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """scale²."""
        return self.scale**2

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """loc + scale·ε, without a gradient."""
        shape = self._extended_shape(sample_shape)
        with recording(False):
            return normal(self.loc.expand(shape), self.scale.expand(shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """loc + ε·scale, ε ~ N(0, 1): the gradient of loc is 1, that of scale ε."""
        epsilon = randn(self._extended_shape(sample_shape), dtype=self.loc.dtype)
        return self.loc + epsilon * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """-(x - loc)²/(2 scale²) - log scale - log √(2π)."""
        self._check_value(value, "numbers", is_real)
        square = (value - self.loc) ** 2
        return -square / (2 * self.variance) - self.scale.log() - math.log(math.sqrt(2 * math.pi))

    def cdf(self, value: Tensor) -> Tensor:
        """(1 + erf((x - loc)/(scale √2)))/2."""
        self._check_value(value, "numbers", is_real)
        return 0.5 * (1 + ((value - self.loc) * self.scale.reciprocal() / math.sqrt(2)).erf())

    def entropy(self) -> Tensor:
        """½ + ½ log(2π) + log scale."""
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()
