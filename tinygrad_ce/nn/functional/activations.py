"""Activations: functions of one number, and softmax, of a row of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_ce.engine import functions, table, write
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.engine.functions import decided, gated, looked_at
from tinygrad_ce.engine.operands import leaf, shaped
from tinygrad_ce.engine.table import where
from tinygrad_ce.engine.tensor import Tensor, generator_or_default
from tinygrad_ce.nn.functional.warn import warn

sigmoid = functions.sigmoid
log_sigmoid = logsigmoid = functions.log_sigmoid
tanh = table.tanh


def written(input: Tensor, function: Callable[[Any], Any], inplace: bool, name: str) -> Tensor:
    """f(x), or x itself with f(x) in its place.

    A leaf that requires a gradient is refused, as for every write; the gradient follows.
    """
    if not inplace:
        return function(input)
    return write.update(input, lambda x, _: function(x), 0.0, f"{name}_")  # type: ignore[return-value]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); its slope at 0 is 0. A nan stays a nan.

    ∂y/∂x = where(x > 0, 1, 0)

    >>> from tinygrad_ce import tensor
    >>> relu(tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return written(input, functions.relu, True, "relu") if inplace else functions.relu(input)


def relu_(input: Tensor) -> Tensor:
    """`relu`, written into the input."""
    return relu(input, inplace=True)


@composed("x > 0 ? x : a·x")
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope·x; the slope at 0 is negative_slope.

    ∂y/∂x = where(x > 0, 1, negative_slope)

    >>> from tinygrad_ce import tensor
    >>> leaky_relu(tensor([-1.0, 2.0]))
    tensor([-0.0100,  2.0000])
    """
    return written(input, lambda x: where(x > 0.0, x, x * negative_slope), inplace, "leaky_relu")


@composed("x > 0 ? x : α(eˣ − 1)")
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha·(exp(x) - 1); the slope at 0 is alpha.

    ∂y/∂x = where(x > 0, 1, y + alpha)

    >>> from tinygrad_ce import tensor
    >>> elu(tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """

    def of(x: Any) -> Any:
        above = decided(looked_at(x) > 0, x)
        return where(above, x, table.expm1(where(above, 0.0, x)) * alpha)

    return written(input, of, inplace, "elu")


@composed("x · σ(x)")
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x·sigmoid(x), also called swish.

    ∂y/∂x = sigmoid(x) * (1 + x * sigmoid(-x))

    >>> from tinygrad_ce import tensor
    >>> silu(tensor([0.0, 1.0]))
    tensor([0.0000, 0.7311])
    """
    return written(input, lambda x: gated(x, sigmoid(x)), inplace, "silu")


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x), Φ the normal distribution function; approximate="tanh" gives the usual formula.

    With φ, the density of Φ, ∂y/∂x = Φ(x) + x * φ(x)

    >>> from tinygrad_ce import tensor
    >>> gelu(tensor([0.0, 1.0]))
    tensor([0.0000, 0.8413])
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate={approximate!r}; wanted "none" or "tanh"')
    return functions.gelu(input) if approximate == "none" else functions.gelu_tanh(input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta·x)) / beta, without overflow; x itself where beta·x > threshold.

    ∂y/∂x = sigmoid(beta * x)

    With the threshold of 20 it is the formula everywhere: x differs by less than a billionth.

    >>> from tinygrad_ce import tensor
    >>> softplus(tensor([0.0, 100.0]))
    tensor([  0.6931, 100.0000])
    """
    if beta == 1 and threshold == 20:
        return functions.softplus(input)
    y = functions.softplus(input * beta) / beta
    return y if threshold == 20 else where(input * beta > threshold, input, y)


# --- over a row -----------------------------------------------------------------------------


def chosen_dim(dim: int | None, input: Any, name: str) -> int:
    """`dim`, or the one that was taken when none had to be given: 0 for 0, 1 and 3 dimensions."""
    if dim is not None:
        return dim
    ndim = shaped(input, name).ndim
    warn(
        f"Implicit dimension choice for {name} has been deprecated. "
        "Change the call to include dim=X as an argument."
    )
    return 0 if ndim in (0, 1, 3) else 1


def in_dtype(input: Any, dtype: Any) -> Any:
    """The input in this dtype, if one is given."""
    return input if dtype is None else input.astype(dtype)


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(z) / Σ exp(z) along `dim`: (..., C, ...) -> the same shape.

    ∂L/∂z = y * (g - sum(g * y))

    Without `dim` it is the first of 1 or 3 dimensions, the second of 2 or 4, with a warning.

    >>> from tinygrad_ce import tensor
    >>> softmax(tensor([0.0, 0.0, 0.0, 0.0]), dim=0)
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return functions.softmax(in_dtype(input, dtype), chosen_dim(dim, input, "softmax"))


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """z - log Σ exp(z) along `dim`, without overflow; without `dim` as `softmax`.

    ∂L/∂z = g - exp(y) * sum(g)

    >>> from tinygrad_ce import tensor
    >>> log_softmax(tensor([1000.0, 0.0]), dim=0)
    tensor([    0., -1000.])
    """
    return functions.log_softmax(in_dtype(input, dtype), chosen_dim(dim, input, "log_softmax"))


def logsumexp(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """log Σ exp(z) over `dim`; -inf where all z are -inf.

    ∂L/∂z = g * exp(z - y)

    >>> from tinygrad_ce import tensor
    >>> logsumexp(tensor([1000.0, 1000.0]))
    tensor(1000.6932)
    """
    return functions.logsumexp(input, dim, keepdim)


@composed("softmax((z − log E) / τ)")
def gumbel_softmax(
    logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """softmax((z + G) / tau) with G = -log E, E exponential: a draw that has a slope.

    With `hard` it is 1 at the largest and 0 elsewhere, with the slope of the soft one. `eps` has
    no effect. The draws are PyTorch's for the same seed.

    >>> from tinygrad_ce import zeros
    >>> gumbel_softmax(zeros(2, 3), hard=True).sum().item()
    2.0
    """
    draws = generator_or_default(None).exponential(1.0, logits.shape, dtype=logits.dtype)
    soft = functions.softmax((logits - leaf(np.log(draws))) / tau, dim)
    if not hard:
        return soft
    v = looked_at(soft)
    best = np.argmax(v, axis=dim, keepdims=True)
    places = np.arange(v.shape[dim]).reshape(
        [-1 if i == dim % v.ndim else 1 for i in range(v.ndim)]
    )
    return decided((places == best).astype(v.dtype), soft) - soft.detach() + soft
