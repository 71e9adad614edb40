"""What is done to the gradients of a whole model between backward() and the step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_ce.engine.memory import mark_written
from tinygrad_ce.engine.operands import get_grad, leaf, value_of
from tinygrad_ce.engine.tensor import Tensor


def clip_grad_norm_(parameters: Iterable[Tensor] | Tensor, max_norm: float) -> Tensor:
    """g·min(1, max_norm/‖g‖), ‖g‖ the norm of all gradients together, which is given back.

    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> clip_grad_norm_([w], max_norm=1.0)
    tensor(5.)
    >>> w.grad
    tensor([0.6000, 0.8000])
    """
    if not isinstance(max_norm, (int, float, np.number)) or not max_norm > 0:
        raise ValueError(f"clip_grad_norm_: max_norm={max_norm!r}; wanted a number above 0")
    gradients = gradients_of(parameters)
    arrays = [value_of(g) for g in gradients]
    squares = [np.add.reduce(np.square(v.astype(np.float64)), axis=None) for v in arrays]
    total = np.sqrt(sum(squares, np.float64(0.0)))
    factor = np.minimum(1.0, max_norm / (total + 1e-6))
    for g, v in zip(gradients, arrays):
        v *= factor.astype(v.dtype)
        mark_written(g, "clip_grad_norm_")
    return leaf(total.astype(arrays[0].dtype if arrays else np.float32))


def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
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
    many = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [g for p in many if isinstance(g := get_grad(p), Tensor)]
