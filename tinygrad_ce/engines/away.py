"""Tensors whose numbers lie on a device: fetched when somebody reads them, each by itself.

Such a Tensor is of a class of its own, in which `array` is a property that fetches and makes it an
ordinary Tensor again; so ordinary Tensors pay nothing. Only a Tensor whose memory nobody else looks
at is sent away, so no alias can show old numbers.
"""

from __future__ import annotations

import functools
import os
from threading import RLock
from typing import Any

import numpy as np

from tinygrad_ce.engine.dtypes import BY_NUMBER, Size
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.lending import forget_ended
from tinygrad_ce.engine.memory import mark_written, memory_of
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.program.memory import alone

SLOT: Any = vars(Node)["array"]
"""The slot itself: of a Tensor that is away it holds an Away."""


moving = RLock()
"""Held while numbers go to a device or come from it, and while a step runs that may use up their
memory: another thread then finds a Tensor here or there, never in between.
"""
if hasattr(os, "register_at_fork"):  # whichever thread holds it, the child has a free one
    os.register_at_fork(
        before=moving.acquire, after_in_parent=moving.release, after_in_child=moving.release
    )


TOLD = ("__len__", "dim", "element_size", "is_floating_point", "numel", "size")
"""Methods for which nothing is fetched."""


class Away:
    """Where the numbers of a Tensor are: in an array of a device, which a runner has computed; of a
    result or a gradient also in which call. Of what was only sent there the array is kept.
    """

    __slots__ = ("call", "kept", "runner", "value")

    def __init__(self, value: Any, runner: Any, call: int | None, kept: Any = None) -> None:
        self.value = value
        self.runner = runner
        self.call = call
        self.kept = kept

    @property
    def shape(self) -> Any:
        """As an array has it."""
        return self.value.shape

    @property
    def dtype(self) -> Any:
        """As an array has it."""
        return self.value.dtype


def is_away(node: Any) -> bool:
    """Whether the numbers of a Tensor are on a device."""
    return hasattr(type(node), "home")


def fetched(node: Any) -> Any:
    """The numbers of a Tensor that is away, in memory of its own: it is an ordinary one again."""
    with moving:
        if is_away(node):  # no other thread was faster
            away = SLOT.__get__(node)
            written(node, away.runner.fetched(away) if away.kept is None else away.kept)
        return node.array


def written(node: Any, array: Any) -> None:
    """Let a Tensor have other numbers, wherever the old ones are."""
    with moving:
        SLOT.__set__(node, array)  # first, for who finds an ordinary Tensor takes what is there
        node.__class__ = getattr(type(node), "home", type(node))


@functools.cache
def away_class(kind: Any) -> Any:
    """The class for Tensors of a kind that are away."""

    def value(self: Any) -> Any:
        held = SLOT.__get__(self)
        return held.value if isinstance(held, Away) else held  # by another thread, just now

    def reduced(self: Any, protocol: Any) -> Any:
        fetched(self)
        return self.__reduce_ex__(protocol)

    def told(name: str) -> Any:
        """A method that looks at shape and dtype only."""

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            zeros = np.broadcast_to(np.zeros((), value(self).dtype), value(self).shape)
            return getattr(kind, name)(leaf(zeros), *args, **kwargs)

        return method

    def overwritten(node: Any, act: Any, writer: str) -> None:
        """Let a Tensor have the numbers that `act` writes into another one: its old ones, which may
        be lost, are not read.
        """
        other = leaf(np.zeros(value(node).shape, value(node).dtype))
        act(other)
        written(node, np.asarray(other.array))
        mark_written(node, writer)
        if other.memory is not None and other.memory.stained:
            memory_of(node).stained = True
            node.detached_by = node.detached_by or other.detached_by

    def copy_(self: Any, other: Any) -> Any:
        frame = current()
        live = self.live or (isinstance(other, Node) and other.live)
        watched = frame.tracer is not None or not isinstance(frame.lines, bool)
        if watched or (frame.record and live):
            return kind.copy_(self, other)
        overwritten(self, lambda fresh: kind.copy_(fresh, other), "x[...] = v")
        return self

    def set_data(self: Any, new: Any) -> None:
        if current().tracer is not None:
            kind.data.fset(self, new)
        else:
            overwritten(self, lambda fresh: kind.data.fset(fresh, new), "x.data = v")

    body = {
        **{name: told(name) for name in TOLD},
        "__slots__": (), "home": kind, "array": property(fetched, written),
        "copy_": copy_, "data": property(kind.data.fget, set_data),
        "shape": property(lambda self: Size(value(self).shape)),
        "ndim": property(lambda self: value(self).ndim),
        "dtype": property(lambda self: BY_NUMBER[value(self).dtype.num]),
        "__reduce_ex__": reduced, "__module__": kind.__module__, "__qualname__": kind.__qualname__,
    }  # fmt: skip
    return type(kind.__name__, (kind,), body)


def may_go(node: Any) -> bool:
    """Whether nobody but the Tensor looks at its numbers; numbers of NumPy cannot be written."""
    if node.memory is not None and node.memory.loans:
        forget_ended(node.memory, None)  # what NumPy had and has no more
    return isinstance(node.array, np.generic) or alone(node)


def send_away(node: Any, value: Any, runner: Any, kept: Any = None) -> None:
    """Let the numbers of a Tensor be those of an array on a device; who calls holds `moving`."""
    if is_away(node):
        away = SLOT.__get__(node)
        away.value, away.runner, away.call, away.kept = value, runner, None, kept
        return
    kind: Any = type(node)
    node.__class__ = away_class(kind)  # first: who reads it now waits
    SLOT.__set__(node, Away(value, runner, None, kept))


def result(value: Any, runner: Any, call: int) -> Any:
    """A new Tensor whose numbers are what a call has computed."""
    y = leaf(Away(value, runner, call))
    kind: Any = type(y)
    y.__class__ = away_class(kind)
    return y
