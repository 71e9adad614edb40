"""Initial values for parameters: PyTorch's names, formulas and draws for the same seed.

fan_in is the number of inputs that one output sums over, fan_out the number of outputs that one
input goes to; the formulas keep the variance of activations (fan_in) or gradients (fan_out).
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.tensor import Tensor, generator_or_default

__all__ = ["calculate_gain", "constant", "constant_", "dirac", "dirac_", "eye", "eye_",
           "kaiming_normal", "kaiming_normal_", "kaiming_uniform", "kaiming_uniform_", "normal",
           "normal_", "ones_", "orthogonal", "orthogonal_", "sparse", "sparse_", "trunc_normal_",
           "uniform", "uniform_", "xavier_normal", "xavier_normal_", "xavier_uniform",
           "xavier_uniform_", "zeros_"]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


SUMS = ("linear", *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)))
GAINS = {**dict.fromkeys((*SUMS, "sigmoid"), 1.0), "tanh": 5 / 3, "relu": math.sqrt(2),
         "selu": 3 / 4}  # fmt: skip


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


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """1 in the middle of kernel i of channel i, 0 elsewhere: a convolution that changes nothing."""
    if tensor.ndim not in (3, 4, 5):
        raise ValueError(f"dirac_: shape {tuple(tensor.shape)}; wanted kernels (O, C, ...)")
    if tensor.shape[0] % groups:
        raise ValueError(f"dirac_: {tensor.shape[0]} kernels do not divide into {groups} groups")
    values = np.zeros(tensor.shape)
    each = tensor.shape[0] // groups
    i = np.arange(min(each, tensor.shape[1]))
    middle = tuple(n // 2 for n in tensor.shape[2:])
    for group in range(groups):
        values[(group * each + i, i, *middle)] = 1.0
    return fill(tensor, values.astype(tensor.dtype))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """N(0, std²), with that part of each column 0 (Martens, 2010)."""
    if tensor.ndim != 2:
        raise ValueError(f"sparse_: shape {tuple(tensor.shape)}; wanted a matrix")
    rows, columns = tensor.shape
    values = generator_or_default(generator).normal(0.0, std, (rows, columns), tensor.dtype)
    for column in range(columns):
        zeros = generator_or_default(None).randperm(rows)[: math.ceil(sparsity * rows)]
        values[zeros, column] = 0.0
    return fill(tensor, values)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> Tensor:
    """N(mean, std²), drawn again where outside [a, b].

    Where [a, b] holds little of it, uniform draws are taken with the probability that the normal
    gives them.
    """

    def below(x: float) -> float:
        return 0.5 * math.erfc((mean - x) / (std * math.sqrt(2)))

    if not (std > 0 and a < b):
        raise ValueError(f"trunc_normal_: std={std}, a={a}, b={b}; wanted std > 0 and a < b")
    source = generator_or_default(generator)
    if below(b) - below(a) > 0.3:
        return fill(tensor, normal_within(tensor, mean, std, a, b, source))
    return fill(tensor, uniform_by_density(tensor, mean, std, a, b, source))


def normal_within(tensor: Tensor, mean: float, std: float, a: float, b: float, source: Any) -> Any:
    """Normal draws, drawn again where outside."""
    values = source.normal(mean, std, tensor.shape, tensor.dtype)
    low, high = np.asarray(a, tensor.dtype), np.asarray(b, tensor.dtype)
    while (outside := (values < low) | (values > high)).any():
        again = source.normal(mean, std, tensor.shape, tensor.dtype)
        values = np.where(outside, again, values)
    return values


def uniform_by_density(
    tensor: Tensor, mean: float, std: float, a: float, b: float, source: Any
) -> Any:
    """Uniform draws, each kept with the probability that its density is of the highest one."""
    shape, dtype = tensor.shape, tensor.dtype
    peak = -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2
    values, pending = np.empty(shape, dtype), np.ones(shape, bool)
    while pending.any():
        drawn = source.uniform(a, b, shape, dtype)
        values = np.where(pending, drawn, values)
        density = ((drawn - dtype.type(mean)) / dtype.type(std)) ** 2 * dtype.type(-0.5)
        with np.errstate(divide="ignore"):
            chance = np.log(source.uniform(0.0, 1.0, shape, dtype))
        pending &= chance > density - dtype.type(peak)
    return values


def deprecated(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function under the name without its underscore, which warns."""
    old = function.__name__[:-1]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Tensor:
        warnings.warn(
            f"`nn.init.{old}` is now deprecated in favor of `nn.init.{old}_`.",
            FutureWarning,
            stacklevel=2,
        )
        return function(*args, **kwargs)

    call.__name__ = call.__qualname__ = old
    return call


uniform = deprecated(uniform_)
normal = deprecated(normal_)
constant = deprecated(constant_)
eye = deprecated(eye_)
dirac = deprecated(dirac_)
xavier_uniform = deprecated(xavier_uniform_)
xavier_normal = deprecated(xavier_normal_)
kaiming_uniform = deprecated(kaiming_uniform_)
kaiming_normal = deprecated(kaiming_normal_)
orthogonal = deprecated(orthogonal_)
sparse = deprecated(sparse_)
