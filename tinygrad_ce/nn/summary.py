"""A model at a glance: its layers, their parameters, and the shapes that go through them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.engine.modes import no_grad
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.module import Module, below_first, own_modules, own_parameters
from tinygrad_ce.nn.shown import tree


class Summary(str):
    """A text that shows itself as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def summary(model: Module, *inputs: Any) -> Summary:
    """The repr of a model with the shapes and the number of its parameters, layer by layer.

    With inputs, the model is run on them, in evaluation mode and without a graph, and each layer
    shows the shape of its output: `summary(model, x)`.

    >>> from tinygrad_ce import nn, ones
    >>> summary(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), ones(5, 2))
    Sequential(  # (5, 3), 9 parameters
      (0): Linear(in_features=2, out_features=3, bias=True)  # (5, 3), weight (3, 2), bias (3,), 9 parameters
      (1): ReLU()  # (5, 3)
    )
    """  # noqa: E501
    if not isinstance(model, Module):
        raise TypeError(f"summary: got {a_type(model)}; wanted a Module, then its inputs")
    shapes: dict[int, str] = {}
    if inputs:
        with watched(model, shapes), no_grad():
            model(*inputs)

    def note(module: Module) -> str:
        own = [f"{name} {tuple(p.shape)}" for name, p in own_parameters(module)]
        total = sum(p.numel() for p in module.parameters())
        count = [f"{total:,} parameters"] if total else []
        parts = [*filter(None, [shapes.get(id(module))]), *own, *count]
        return f"  # {', '.join(parts)}" if parts else ""

    return Summary(tree(model, below_first(model), own_modules, note))


@contextmanager
def watched(model: Module, shapes: dict[int, str]) -> Iterator[None]:
    """While the block runs, write down the shape of each module's last output."""
    modules = list(model.modules())
    modes = [module.training for module in modules]

    def look(module: Module, inputs: Any, output: Any) -> None:
        shapes[id(module)] = shape_text(output)

    handles = [module.register_forward_hook(look) for module in modules]
    model.eval()
    try:
        yield
    finally:
        for module, mode, handle in zip(modules, modes, handles):
            module.training = mode
            handle.remove()


def shape_text(y: Any) -> str:
    """The shape of an output, of several in brackets."""
    if isinstance(y, Tensor):
        return str(y.array.shape)
    if isinstance(y, (tuple, list)):
        return f"[{', '.join(map(shape_text, y))}]"
    return type(y).__name__
