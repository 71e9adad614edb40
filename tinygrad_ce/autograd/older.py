"""Older forms that scripts still have: `autograd.backward`, Variable."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.autograd.derivatives import as_tuple
from tinygrad_ce.engine.backward import free
from tinygrad_ce.engine.tensor import Tensor


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """`backward()` of each of the tensors, with a gradient for each.

    >>> from tinygrad_ce import tensor
    >>> x = tensor([1.0, 2.0], requires_grad=True)
    >>> backward([x.sum(), (x * x).sum()])
    >>> x.grad
    tensor([3., 5.])
    """
    many = as_tuple(tensors, "backward")
    given = grad_tensors
    if given is None or isinstance(given, Tensor):
        given = (given,) * len(many)
    for y, g in zip(many, given, strict=True):
        y.backward(g, None, create_graph, inputs)
    if retain_graph is False:
        for y in many:
            free(y)


def Variable(data: Tensor, requires_grad: bool = False) -> Tensor:  # noqa: N802
    """A Tensor on the same memory: what a Tensor was called before 2018."""
    x = data.detach()
    x.requires_grad = requires_grad
    return x
