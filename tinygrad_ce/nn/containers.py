"""Modules that hold modules: in a row, in a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tinygrad_ce.nn.module import Module, held

N = TypeVar("N", bound="Numbered")


class Numbered(Module):
    """Modules in a row, each an attribute named by its number."""

    def append(self: N, module: Module) -> N:
        """Add a module at the end."""
        add_module(self, str(len(self)), module)
        return self

    def extend(self: N, modules: Iterable[Module]) -> N:
        """Add several modules at the end."""
        if not isinstance(modules, Iterable):
            name = type(self).__name__
            raise TypeError(f"{name}: got a {type(modules).__name__}; wanted a list: [module]")
        for module in modules:
            self.append(module)
        return self

    def __len__(self) -> int:
        return len(held(self))

    def __iter__(self) -> Iterator[Module]:
        return iter(held(self))

    def __getitem__(self, index: int | slice) -> Any:
        modules = held(self)
        return type(self)().extend(modules[index]) if isinstance(index, slice) else modules[index]


class Sequential(Numbered):
    """Modules one after another: f₃(f₂(f₁(x))).

    >>> model = Sequential(Module(), Module())
    >>> len(model)
    2
    """

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], dict):
            for name, module in modules[0].items():
                add_module(self, name, module)
        else:
            self.extend(modules)

    def forward(self, x: Any) -> Any:
        """Each module's output is the next one's input."""
        for module in held(self):
            x = module(x)
        return x


class ModuleList(Numbered):
    """Modules in a list, found by `parameters()`; the user calls them.

    >>> len(ModuleList([Module(), Module()]))
    2
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)


def add_module(parent: Module, name: str, module: Any) -> None:
    """Hold `module` under `name`; anything else is refused."""
    if not isinstance(module, Module):
        raise TypeError(
            f"{type(parent).__name__}: item {name} is a {type(module).__name__}; wanted a Module "
            "(nn.ReLU() for the function relu)"
        )
    setattr(parent, name, module)
