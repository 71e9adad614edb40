"""Divergences of one distribution from another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tinygrad_ce.creation import full_like
from tinygrad_ce.distributions.bernoulli import Bernoulli
from tinygrad_ce.distributions.categorical import Categorical
from tinygrad_ce.distributions.normal import Normal
from tinygrad_ce.distributions.uniform import Uniform
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.functions import where
from tinygrad_ce.nn.functional import softplus

Formula = Callable[[Any, Any], Tensor]
FORMULAS: dict[tuple[type, type], Formula] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Formula], Formula]:
    """Decorate a formula: `kl_divergence` uses it for distributions of these types."""

    def keep(formula: Formula) -> Formula:
        FORMULAS[type_p, type_q] = formula
        return formula

    return keep


def kl_divergence(p: Any, q: Any) -> Tensor:
    """KL(p‖q) = ∫ p log(p/q): the nats that q wastes on draws from p, one for each of the batch.

    Raises NotImplementedError for types of which no formula is known; see `register_kl`.

    >>> kl_divergence(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.5000)
    """
    for kind_p in type(p).__mro__:
        for kind_q in type(q).__mro__:
            if (kind_p, kind_q) in FORMULAS:
                return FORMULAS[kind_p, kind_q](p, q)
    raise NotImplementedError(
        f"kl_divergence: no formula for {type(p).__name__} and {type(q).__name__}; write one: "
        "@register_kl(P, Q) before def kl(p, q)"
    )


@register_kl(Normal, Normal)
def normals(p: Normal, q: Normal) -> Tensor:
    """½(r + ((μ - ν)/τ)² - 1 - log r), r = (σ/τ)²."""
    ratio = (p.scale / q.scale) ** 2
    distance = ((p.loc - q.loc) / q.scale) ** 2
    return 0.5 * (ratio + distance - 1 - ratio.log())


@register_kl(Bernoulli, Bernoulli)
def bernoullis(p: Bernoulli, q: Bernoulli) -> Tensor:
    """p log(p/q) + (1 - p) log((1 - p)/(1 - q)), from the logits; 0 log 0 = 0."""
    ones = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    ones = where(q.probs == 0, full_like(ones, math.inf), ones)
    ones = where(p.probs == 0, full_like(ones, 0.0), ones)
    zeros = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    zeros = where(q.probs == 1, full_like(zeros, math.inf), zeros)
    return ones + where(p.probs == 1, full_like(zeros, 0.0), zeros)


@register_kl(Categorical, Categorical)
def categoricals(p: Categorical, q: Categorical) -> Tensor:
    """Σ p log(p/q); 0 log 0 = 0."""
    parts = p.probs * (p.logits - q.logits)
    parts = where(q.probs == 0, full_like(parts, math.inf), parts)
    return where(p.probs == 0, full_like(parts, 0.0), parts).sum(-1)


@register_kl(Uniform, Uniform)
def uniforms(p: Uniform, q: Uniform) -> Tensor:
    """log of the ratio of widths; ∞ where p reaches beyond q."""
    result = ((q.high - q.low) / (p.high - p.low)).log()
    beyond = (q.low > p.low) | (q.high < p.high)
    return where(beyond, full_like(result, math.inf), result)


@register_kl(Uniform, Normal)
def uniform_and_normal(p: Uniform, q: Normal) -> Tensor:
    """log(√(2π)·τ/width) + ½(width²/12 + (mean - ν)²)/τ²."""
    width = p.high - p.low
    squares = width**2 / 12 + ((p.high + p.low - 2 * q.loc) / 2) ** 2
    return (math.sqrt(2 * math.pi) * q.scale / width).log() + 0.5 * squares / q.scale**2


@register_kl(Normal, Uniform)
def normal_and_uniform(p: Normal, q: Uniform) -> Tensor:
    """∞: every normal reaches beyond any interval."""
    return full_like(p.loc + q.low, math.inf)
