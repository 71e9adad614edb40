"""Activations: the functions as modules."""

from __future__ import annotations

from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.nn.layer import Layer


class _InPlace(Layer):
    """An activation that may write into its input."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace


class ReLU(_InPlace):
    """max(x, 0).

    >>> ReLU()(Tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.relu(input, self.inplace)


class LeakyReLU(Layer):
    """x where x > 0, else negative_slope·x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.leaky_relu(input, self.negative_slope, self.inplace)


class ELU(Layer):
    """x where x > 0, else alpha·(exp(x) - 1).

    >>> ELU()(Tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.elu(input, self.alpha, self.inplace)


class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.sigmoid(input)


class LogSigmoid(Layer):
    """-log(1 + exp(-x))."""

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.logsigmoid(input)


class Softplus(Layer):
    """log(1 + exp(beta·x)) / beta."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.softplus(input, self.beta, self.threshold)


class Tanh(Layer):
    """tanh(x)."""

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.tanh(input)


class GELU(Layer):
    """x·Φ(x)."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.gelu(input, self.approximate)


class SiLU(_InPlace):
    """x·sigmoid(x)."""

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.silu(input, self.inplace)


class _OverDim(Layer):
    def __init__(self, dim: int | None = None) -> None:
        self.dim = dim


class Softmax(_OverDim):
    """exp(z) / Σ exp(z) along `dim`."""

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.softmax(input, self.dim)


class LogSoftmax(_OverDim):
    """z - log Σ exp(z) along `dim`."""

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.log_softmax(input, self.dim)
