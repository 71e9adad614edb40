"""Initial values for parameters: PyTorch's names, formulas and draws for the same seed.

fan_in is the number of inputs that one output sums over, fan_out the number of outputs that one
input goes to; the formulas keep the variance of activations (fan_in) or gradients (fan_out).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.tensor import Tensor, generator_or_default

GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "conv2d": 1.0}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much a nonlinearity's input may be scaled to keep the variance: √2 for relu.

    >>> calculate_gain("relu")
    1.4142135623730951
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in GAINS:
        known = ", ".join([*GAINS, "leaky_relu"])
        raise ValueError(f"calculate_gain: {nonlinearity!r} is not known; wanted one of {known}")
    return GAINS[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, ...)."""
    if tensor.ndim < 2:
        raise ValueError(f"init: shape {tuple(tensor.shape)} has no fans; wanted (out, in) or more")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def fill(tensor: Tensor, values: Any) -> Tensor:
    """Write values into a parameter, outside the graph."""
    with recording(False):
        return tensor.copy_(values)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform on [a, b)."""
    source = generator_or_default(generator)
    return fill(tensor, source.uniform(a, b, tensor.shape, tensor.dtype))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal, N(mean, std²)."""
    source = generator_or_default(generator)
    return fill(tensor, source.normal(mean, std, tensor.shape, tensor.dtype))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """The same number everywhere."""
    return fill(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return fill(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return fill(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: shape {tuple(tensor.shape)}; wanted a matrix")
    return fill(tensor, np.eye(*tensor.shape, dtype=tensor.dtype))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform on ±gain·√(6/(fan_in + fan_out)) (Glorot and Bengio, 2010).

    >>> from tinygrad_ce import zeros
    >>> bool((xavier_uniform_(zeros(3, 3)).abs() <= 1).all())
    True
    """
    bound = math.sqrt(3.0) * (gain * math.sqrt(2.0 / sum(fans(tensor))))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with std gain·√(2/(fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor))), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'kaiming: mode={mode!r}; wanted "fan_in" or "fan_out"')
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Uniform on ±√3·gain/√fan (He et al., 2015); `a` is the slope of the leaky relu."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Normal with std gain/√fan (He et al., 2015)."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """A matrix with orthonormal rows (or columns), times gain (Saxe et al., 2013)."""
    if tensor.ndim < 2:
        raise ValueError(
            f"orthogonal_: shape {tuple(tensor.shape)}; wanted at least two dimensions"
        )
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    z = generator_or_default(generator).randn((rows, columns), tensor.dtype)
    q, r = np.linalg.qr(z.T if rows < columns else z)
    q = q * np.sign(np.diagonal(r))
    return fill(tensor, (q.T if rows < columns else q).reshape(tensor.shape) * gain)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> Tensor:
    """N(mean, std²), drawn again where outside [a, b]: for intervals that hold enough of it.

    Raises ValueError if less than 30 % of the distribution lies in the interval.
    """

    def below(x: float) -> float:
        return 0.5 * math.erfc((mean - x) / (std * math.sqrt(2)))

    if below(b) - below(a) <= 0.3:
        raise ValueError(
            f"trunc_normal_: [{a}, {b}] holds {below(b) - below(a):.0%} of N({mean}, {std}²); "
            "wanted more than 30 %"
        )
    source = generator_or_default(generator)
    values = source.normal(mean, std, tensor.shape, tensor.dtype)
    low, high = np.asarray(a, tensor.dtype), np.asarray(b, tensor.dtype)
    while (outside := (values < low) | (values > high)).any():
        again = source.normal(mean, std, tensor.shape, tensor.dtype)
        values = np.where(outside, again, values)
    return fill(tensor, values)
