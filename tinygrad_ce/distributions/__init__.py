"""Distributions: draws, also with a gradient, log-probabilities, entropies and divergences.

The first dimensions of a draw are those that were asked for, `sample((n,))`, then come those of the
parameters (`batch_shape`), each of which is a distribution of its own. The draws are PyTorch's for
the same seed.
"""

from typing import Any

from tinygrad_ce.absent import refuse
from tinygrad_ce.distributions.bernoulli import Bernoulli
from tinygrad_ce.distributions.categorical import Categorical
from tinygrad_ce.distributions.distribution import Distribution
from tinygrad_ce.distributions.kl import kl_divergence, register_kl
from tinygrad_ce.distributions.multinomial import Multinomial
from tinygrad_ce.distributions.normal import Normal
from tinygrad_ce.distributions.uniform import Uniform

__all__ = [
    "Bernoulli",
    "Categorical",
    "Distribution",
    "Multinomial",
    "Normal",
    "Uniform",
    "kl_divergence",
    "register_kl",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    refuse(__name__, name)
