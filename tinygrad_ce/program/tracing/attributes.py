"""Tensors that a function sets as attributes of modules: `self.mean = 0.9 * self.mean + x.mean()`.

Eager code puts another tensor there in every call. So does a program: it reads the numbers of the
tensor that it finds, and leaves another one, with the new numbers, in its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine.backward import COMPILED
from tinygrad_ce.engine.memory import Memory, memory_of
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.program.memory import alone, references
from tinygrad_ce.program.tracing.symbol import Symbol, TraceError, Tracer


class AttributeOf:
    """An attribute of a module as a place to read from and write into."""

    __slots__ = ("held", "live", "module", "name", "seen")

    def __init__(self, module: Any, name: str, live: bool) -> None:
        self.module = module
        self.name = name
        self.live = live  # whether eager code leaves a graph behind
        self.seen: Any = None  # the array that a program is bound to
        self.held = 0  # how many held it then

    def __repr__(self) -> str:
        return f"{type(self.module).__name__}.{self.name}"

    @property
    def key(self) -> Any:
        """What it is known by in another trace."""
        return "attribute", id(self.module), self.name

    @property
    def tensor(self) -> Any:
        """The tensor that is there now."""
        return vars(self.module)[self.name]

    @tensor.setter
    def tensor(self, tensor: Any) -> None:
        vars(self.module)[self.name] = tensor

    @property
    def array(self) -> Any:
        """Its array."""
        return self.tensor.array

    @property
    def memory(self) -> Memory:
        """Its memory."""
        return memory_of(self.tensor)

    def bind(self) -> None:
        """Remember who holds the array: the tensor and the program, which begins with it."""
        self.seen = self.array
        self.held = references(self.tensor)

    def renew(self) -> None:
        """Put another tensor with the same numbers there; who holds the old one keeps it.

        The array that the program is bound to goes over to the new one, unless somebody looks.
        """
        old = self.tensor
        moves = isinstance(old.array, np.ndarray) and old.array.base is None
        moves = moves and (references(old) <= self.held if old.array is self.seen else alone(old))
        new = leaf(old.array if moves else np.array(old.array))
        if moves:
            old.array = old.array.copy()
        new.detached_by = COMPILED if self.live else None
        self.tensor = new


class Assigned(NamedTuple):
    """An attribute that holds another tensor when the function has run."""

    place: AttributeOf
    old: Any  # the tensor that was there
    symbol: Symbol  # the value of the new one
    lifted: Any  # what it was read from, if it holds an array that no operation made


def assigned(tracer: Tracer, arguments: Iterable[Symbol]) -> list[Assigned]:
    """What the function has left in the attributes that it has set."""
    olds = {id(tracer.lift(old)) for _, _, old in tracer.assigned.values()}
    outside = {id(lifted.symbol) for lifted in tracer.lifted.values()} | set(map(id, arguments))
    taken: set[int] = set()
    found = []
    for module, name, old in tracer.assigned.values():
        new = vars(module).get(name)
        if new is old:
            continue
        place = AttributeOf(module, name, new.requires_grad)
        base = tracer.lift(new).place
        made = type(new.array) is Symbol
        if (made and id(base) in outside - olds) or id(base) in taken:
            raise shared(place)
        taken.add(id(base))
        lifted = None if made or id(base) in olds else tracer.lifted[id(new.array)]
        found.append(Assigned(place, old, tracer.lift(new).fresh(), lifted))
    return found


def check_alone(found: list[Assigned]) -> None:
    """Stop if somebody holds what an attribute was set to."""
    for x in found:
        if x.lifted is not None and any(ref() is not None for ref in x.lifted.nodes.values()):
            raise shared(x.place)


def shared(place: AttributeOf) -> TraceError:
    """The error for an attribute that is set to numbers that somebody else looks at."""
    return TraceError(
        f"trace: {place!r} is set to a tensor that has another name too, or looks at the memory "
        "of one: after the call they would part. Write x.clone()"
    )
