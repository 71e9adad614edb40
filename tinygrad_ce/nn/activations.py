"""Activations: the functions as modules."""

from __future__ import annotations

from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.nn.layer import Layer


class ReLU(Layer):
    """max(x, 0).

    >>> ReLU()(Tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.relu(x)


class LeakyReLU(Layer):
    """x where x > 0, else negative_slope·x."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.leaky_relu(x, self.negative_slope)


class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.sigmoid(x)


class LogSigmoid(Layer):
    """-log(1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.log_sigmoid(x)


class Softplus(Layer):
    """log(1 + exp(x))."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.softplus(x)


class Tanh(Layer):
    """tanh(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.tanh(x)


class GELU(Layer):
    """x·Φ(x)."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.gelu(x, self.approximate)


class SiLU(Layer):
    """x·sigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.silu(x)


class Softmax(Layer):
    """exp(z) / Σ exp(z) along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, z: Tensor) -> Tensor:
        """The same shape."""
        return F.softmax(z, self.dim)


class LogSoftmax(Layer):
    """z - log Σ exp(z) along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, z: Tensor) -> Tensor:
        """The same shape."""
        return F.log_softmax(z, self.dim)
