"""What is done to all parameters of a model, or to their gradients before the step."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import a_type, recording
from tinygrad_ce.engine.memory import mark_written
from tinygrad_ce.engine.operands import all_finite, get_grad, leaf, value_of
from tinygrad_ce.engine.tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "rnn",
           "vector_to_parameters"]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


def clip_grad_norm_(
    parameters: Iterable[Tensor] | Tensor,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """g·min(1, max_norm/‖g‖), ‖g‖ the norm of all gradients together, which is given back.

    `norm_type` is the p of (Σ |g|ᵖ)^(1/p), or infinity. With error_if_nonfinite a norm that is no
    number raises RuntimeError. `foreach`, for speed in PyTorch, changes nothing.

    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> clip_grad_norm_([w], max_norm=1.0)
    tensor(5.)
    >>> w.grad
    tensor([0.6000, 0.8000])
    """
    if not isinstance(max_norm, (int, float, np.number)) or not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm={max_norm!r}; wanted a number from 0 on")
    gradients = gradients_of(parameters)
    arrays = [value_of(g) for g in gradients]
    total = norm_of([v.astype(np.float64) for v in arrays], float(norm_type))
    if error_if_nonfinite and not all_finite(total):
        raise RuntimeError(
            f"clip_grad_norm_: the norm of order {norm_type} is not finite, so gradients cannot be "
            "clipped; leave error_if_nonfinite out to go on"
        )
    factor = np.minimum(1.0, max_norm / (total + 1e-6))
    for g, v in zip(gradients, arrays):
        v *= factor.astype(v.dtype)
        mark_written(g, "clip_grad_norm_")
    return leaf(total.astype(arrays[0].dtype if arrays else np.float32))


def norm_of(arrays: list[Any], p: float) -> Any:
    """(Σ |v|ᵖ)^(1/p) over all elements of all arrays."""
    if not arrays:
        return np.float64(0.0)
    if p == math.inf:
        tops = [np.maximum.reduce(np.abs(v), axis=None) for v in arrays]
        return functools.reduce(np.maximum, tops)
    if p == 2.0:
        squares = [np.add.reduce(np.square(v), axis=None) for v in arrays]
        return np.sqrt(sum(squares, np.float64(0.0)))
    powers = [np.add.reduce(np.power(np.abs(v), p), axis=None) for v in arrays]
    return np.power(sum(powers, np.float64(0.0)), 1.0 / p)


def clip_grad_value_(
    parameters: Iterable[Tensor] | Tensor, clip_value: float, foreach: bool | None = None
) -> None:
    """min(max(g, -clip_value), clip_value), element by element.

    >>> w = Tensor([3.0, 0.5], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> clip_grad_value_([w], 1.0)
    >>> w.grad
    tensor([1.0000, 0.5000])
    """
    for g in gradients_of(parameters):
        v = value_of(g)
        v[...] = np.clip(v, -clip_value, clip_value)
        mark_written(g, "clip_grad_value_")


def gradients_of(parameters: Iterable[Tensor] | Tensor) -> list[Any]:
    """The gradients that are there."""
    single = isinstance(parameters, Tensor) or not isinstance(parameters, Iterable)
    given: list[Any] = [parameters] if single else list(parameters)
    if not all(isinstance(p, Tensor) for p in given):
        raise TypeError(f"clip_grad: got {a_type(parameters)}; wanted Tensors: model.parameters()")
    return [g for p in given if isinstance(g := get_grad(p), Tensor)]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters in one row, in their order.

    >>> parameters_to_vector([Tensor([[1.0], [2.0]]), Tensor([3.0])])
    tensor([1., 2., 3.])
    """
    return table.concatenate(*(p.reshape(-1) for p in parameters), axis=0)


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write a row that `parameters_to_vector` gave into the parameters.

    >>> w = Tensor([0.0, 0.0])
    >>> vector_to_parameters(Tensor([1.0, 2.0]), [w])
    >>> w
    tensor([1., 2.])
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"vector_to_parameters: got {type(vec).__name__}; wanted a Tensor")
    start = 0
    with recording(False):
        for p in parameters:
            p.copy_(vec[start : start + p.numel()].reshape(*p.shape))
            start += p.numel()
