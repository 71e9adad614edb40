"""What is done to the gradients of a whole model between backward() and the step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor


def clip_grad_norm_(parameters: Iterable[Tensor] | Tensor, max_norm: float) -> Tensor:
    """g·min(1, max_norm/‖g‖), ‖g‖ the norm of all gradients together, which is given back.

    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> clip_grad_norm_([w], max_norm=1.0)
    tensor(5.)
    >>> w.grad
    tensor([0.6, 0.8])
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm_: max_norm={max_norm}; wanted a number above 0")
    gradients = gradients_of(parameters)
    total = math.sqrt(sum(float(np.square(g.array, dtype=np.float64).sum()) for g in gradients))
    for g in gradients:
        g.array = g.array * np.asarray(min(1.0, max_norm / (total + 1e-6)), g.array.dtype)
    return leaf(np.asarray(total, gradients[0].array.dtype if gradients else np.float32))


def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """min(max(g, -clip_value), clip_value), element by element.

    >>> w = Tensor([3.0, 0.5], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> clip_grad_value_([w], 1.0)
    >>> w.grad
    tensor([1. , 0.5])
    """
    for g in gradients_of(parameters):
        g.array = np.clip(g.array, -clip_value, clip_value)


def gradients_of(parameters: Iterable[Tensor] | Tensor) -> list[Any]:
    """The gradients that are there."""
    many = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.kept for p in many if p.kept is not None]
