"""What was computed, from what, and when.

A `Node` is one value of the computation: the array, the operation that made it, and the nodes
it was made from. Nothing here knows a derivative. The other two things are small:

- the *clock* numbers nodes and in-place writes from one counter, so "was it written after it
  was read?" is one comparison;
- a *memory* is shared by all nodes that look at the same numbers, and knows its last write.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

from tinygrad_ce.engine.frame import Scope

tick: Callable[[], int] = count(1).__next__
"""The clock: each call gives the next number. Shared by node creation and in-place writes."""


new = object.__new__


class Node:
    """One value in the computation graph, as plain data.

    `array` is the value, `op` the operation that made it, `inputs` the nodes that went in,
    `settings` its other arguments (axis, shape, ...), `tick` its number on the clock and
    `scope` where in the program it was made. A leaf has no inputs. `cut` names what cut the
    graph in a node that needs no gradient.
    """

    __slots__ = ("__weakref__", "array", "cut", "inputs", "kept", "line", "memory", "op",
                 "requires_grad", "scope", "settings", "tick", "was")  # fmt: skip

    array: Any  # ndarray, a NumPy scalar for 0-d results, or a tracer's Symbol
    op: Any
    inputs: tuple[Node, ...]
    settings: tuple[Any, ...]
    tick: int
    scope: Scope | None
    memory: Memory | None
    requires_grad: bool
    kept: Any  # the gradient that a leaf (or retain_grad) keeps
    cut: str | None
    line: tuple[Any, int]  # code object and instruction; only under source_lines()
    was: Node  # what this node was before the last recorded in-place write; only after one


class Memory:
    """Numbers that several nodes look at: the first owner, the views of it, the last write."""

    __slots__ = ("owner", "views", "writer", "written")

    def __init__(self, owner: Node) -> None:
        self.owner = weakref.ref(owner)
        self.views: list[weakref.ref[Node]] = []
        self.written = 0
        self.writer = ""


def memory_of(node: Node) -> Memory:
    """The memory that `node` looks at, made when it is first asked for."""
    if node.memory is None:
        node.memory = Memory(node)
    return node.memory


def share_memory(view: Node, base: Node) -> None:
    """Let `view` look at the memory of `base`: a write through one is a write to both."""
    memory = view.memory = memory_of(base)
    if base.inputs or not base.requires_grad:  # recorded writes to a leaf are refused anyway
        memory.views = [ref for ref in memory.views if ref() is not None]
        memory.views.append(weakref.ref(view))


def mark_written(node: Node, writer: str) -> None:
    """Note that the numbers under `node` were changed in place just now."""
    memory = memory_of(node)
    memory.written = tick()
    memory.writer = writer
