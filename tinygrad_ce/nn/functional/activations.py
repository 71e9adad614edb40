"""Activations: functions of one number, and softmax, of a row of them."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.engine.functions import gated
from tinygrad_ce.engine.table import where
from tinygrad_ce.engine.tensor import Tensor

sigmoid = functions.sigmoid
softplus = functions.softplus
log_sigmoid = logsigmoid = functions.log_sigmoid
relu = functions.relu
tanh = table.tanh


def softmax(input: Tensor, dim: int = -1) -> Tensor:
    """exp(z) / Σ exp(z) along `dim`: (..., C, ...) -> the same shape.

    >>> from tinygrad_ce import tensor
    >>> softmax(tensor([0.0, 0.0, 0.0, 0.0]))
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return functions.softmax(input, dim)


def log_softmax(input: Tensor, dim: int = -1) -> Tensor:
    """z - log Σ exp(z) along `dim`, without overflow.

    >>> from tinygrad_ce import tensor
    >>> log_softmax(tensor([1000.0, 0.0]))
    tensor([    0., -1000.])
    """
    return functions.log_softmax(input, dim)


def logsumexp(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """log Σ exp(z) over `dim`; -inf where all z are -inf.

    >>> from tinygrad_ce import tensor
    >>> logsumexp(tensor([1000.0, 1000.0]))
    tensor(1000.6932)
    """
    return functions.logsumexp(input, dim, keepdim)


@composed("x > 0 ? x : a·x")
def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope·x; the slope at 0 is negative_slope.

    >>> from tinygrad_ce import tensor
    >>> leaky_relu(tensor([-1.0, 2.0]))
    tensor([-0.01,  2.  ])
    """
    return where(input > 0.0, input, input * negative_slope)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x), Φ the normal distribution function; approximate="tanh" gives the usual formula.

    >>> from tinygrad_ce import tensor
    >>> gelu(tensor([0.0, 1.0]))
    tensor([0.0000, 0.8413])
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate={approximate!r}; wanted "none" or "tanh"')
    return functions.gelu(input) if approximate == "none" else functions.gelu_tanh(input)


@composed("x · σ(x)")
def silu(input: Tensor) -> Tensor:
    """x·sigmoid(x), also called swish.

    >>> from tinygrad_ce import tensor
    >>> silu(tensor([0.0, 1.0]))
    tensor([0.    , 0.7311])
    """
    return gated(input, sigmoid(input))
