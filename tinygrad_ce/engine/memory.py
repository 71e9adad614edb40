"""The clock, and memories: which nodes look at the same numbers, and when they were written.

The clock numbers nodes and in-place writes from one counter, so "was it written after it was
read?" is one comparison. A memory is shared by all nodes that look at the same numbers.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

Node = Any  # engine/graph.py has it, and imports this

tick: Callable[[], int] = count(1).__next__
"""The clock: each call gives the next number. Shared by node creation and in-place writes."""


class Memory:
    """Numbers that several nodes look at: the first owner, the views of it, the last write."""

    __slots__ = ("array", "owner", "tidy", "views", "writer", "written")

    def __init__(self, owner: Node) -> None:
        self.owner: Callable[[], Node | None] = weakref.ref(owner)
        self.array = owner.array
        self.views: list[weakref.ref[Node]] = []
        self.tidy = 16  # so many views, and the dead ones are dropped
        self.written = 0
        self.writer = ""

    def nodes(self) -> list[Node]:
        """The views that are alive."""
        return [node for ref in self.views if (node := ref()) is not None]


def memory_of(node: Node) -> Memory:
    """The memory that `node` looks at, made when it is first asked for."""
    if node.memory is None:
        node.memory = Memory(node)
    return node.memory


def share_memory(view: Node, base: Node) -> None:
    """Let `view` look at the memory of `base`: a write through one is a write to both.

    It follows recorded writes too, unless `base` itself does not: a detached alias, or a leaf
    that requires a gradient, into which recorded writes are refused anyway.
    """
    memory = view.memory = memory_of(base)
    if base.live and not base.inputs:
        return
    if memory.owner() is base or any(ref() is base for ref in memory.views):
        if len(memory.views) >= memory.tidy:
            memory.views = [ref for ref in memory.views if ref() is not None]
            memory.tidy = 2 * len(memory.views) + 16
        memory.views.append(weakref.ref(view))


def mark_written(node: Node, writer: str) -> None:
    """Note that the numbers under `node` were changed in place just now."""
    memory = memory_of(node)
    memory.written = tick()
    memory.writer = writer
