"""The clock, and memories: which nodes look at the same numbers, and when they were written.

The clock numbers nodes and in-place writes from one counter, so "was it written after it was
read?" is one comparison. A memory is shared by all nodes that look at the same numbers.

A view keeps its `window`: the node that it was taken from, the operation, its attributes and its
other operands (an index, in a trace). That is how it follows a recorded write into what it looks
at (engine/write.py).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from threading import RLock
from typing import Any

import numpy as np

Node = Any  # engine/graph.py has it, and imports this

tick: Callable[[], int] = count(1).__next__
"""The clock: each call gives the next number. Shared by node creation and in-place writes."""

PAST = ("op", "inputs", "attrs", "tick", "scope", "live")
"""What a node knows of how it was made."""

shared = RLock()
"""Held where threads may change the same thing: while gradients are added, a memory is made, a
view follows a write."""
if hasattr(os, "register_at_fork"):  # whichever thread holds it, the child has a free one
    os.register_at_fork(
        before=shared.acquire, after_in_parent=shared.release, after_in_child=shared.release
    )


def keep_freed_memory() -> None:
    """Let the C library keep up to 64 MB that arrays have given back, for the arrays to come.

    glibc returns freed memory to the system above a threshold, and raises that to twice the size of
    the largest array of up to 32 MB that it has seen freed. Until then the steps of a convolution
    take thousands of pages anew, each. An array that nobody touches takes no memory and no time.
    """
    with suppress(MemoryError):
        np.empty((1 << 25) - (1 << 14), np.uint8)


keep_freed_memory()


class Memory:
    """Numbers that several nodes look at: the first owner, the views of it, the last write."""

    __slots__ = ("__weakref__", "borrowed", "followed", "left", "lent_until", "loans", "owner",
                 "stained", "tidy", "views", "writer", "written")  # fmt: skip

    def __init__(self, owner: Node) -> None:
        self.owner: Callable[[], Node | None] = weakref.ref(owner)
        self.views: list[weakref.ref[Node]] = []  # those that have followed the last write
        self.followed = False  # whether there were others at an earlier write
        self.left: dict[Node, Node] = {}  # who has gone to other numbers -> what stays in its place
        self.tidy = 16  # so many views, and the dead ones are dropped
        self.written = 0
        self.writer = ""
        self.stained = False  # whether what was written came from other data
        self.borrowed = False  # whether NumPy has it for ever, and
        self.loans: list[Any] = []  # what it has for a while (engine/lending.py)
        self.lent_until = 0  # when the last loan began through which NumPy has written

    def nodes(self) -> list[Node]:
        """The views that are alive and look at what was written last."""
        return [node for ref in self.views if (node := ref()) is not None]

    def watch(self, view: Node) -> None:
        """Let `view` know of the next recorded write."""
        if len(self.views) >= self.tidy:
            with shared:
                n = len(self.views)  # another thread may append while the first n are looked at
                self.views[:n] = [ref for ref in self.views[:n] if ref() is not None]
                self.tidy = 2 * len(self.views) + 16
        self.views.append(weakref.ref(view))


def memory_of(node: Node) -> Memory:
    """The memory that `node` looks at, made when it is first asked for."""
    if node.memory is None:
        with shared:
            if node.memory is None:  # no other thread was faster
                node.memory = Memory(node)
    return node.memory


def share_memory(y: Node, x: Node, attrs: tuple[Any, ...], others: Any = ()) -> None:
    """Let y look at the memory of x, if its array is a view: a write through one is one to both.

    It follows recorded writes too, but for those into a leaf that requires a gradient, which are
    refused.
    """
    array, base = y.array, y.array.base
    if base is None:
        return
    same = base is x.array or base is x.array.base or type(array) is not np.ndarray  # a Symbol
    if same or np.may_share_memory(array, x.array):
        memory = y.memory = memory_of(x)
        y.window = x, y.op, attrs, others
        if not x.live or x.inputs:
            memory.watch(y)


def repeats(array: np.ndarray) -> bool:
    """Whether elements may lie in one place, as those of an expanded array and of windows do."""
    reach = array.itemsize
    for stride, n in sorted((abs(s), n) for s, n in zip(array.strides, array.shape) if n > 1):
        if stride < reach:
            return True
        reach += stride * (n - 1)
    return False


def writable(array: np.ndarray) -> bool:
    """Whether an array can be written: NumPy locks diagonals and rows of what repeats rows, too."""
    if not array.flags.writeable and not repeats(array):
        with suppress(ValueError):  # it looks at what is read-only itself
            array.flags.writeable = True
    return array.flags.writeable


def base_of(view: Node) -> Node:
    """What a view was taken from, or what stays in its place after `base.data = v`."""
    base = view.window[0]
    return base if base.memory is view.memory else view.memory.left.get(base, base)


def leave(node: Node, stand_in: Node) -> None:
    """Let `node` get a memory of its own; its views stay behind, with `stand_in` as their base."""
    old = memory_of(node)
    if old.views or old.followed:
        stand_in.memory = old
        old.left[node] = stand_in
        old.views[:] = [weakref.ref(stand_in) if ref() is node else ref for ref in old.views]
    old.owner = lambda: None
    node.memory = None
    if hasattr(node, "window"):
        stand_in.window = node.window
        del node.window


def root_of(node: Node) -> Node:
    """What a view of a view of ... was taken from in the end; a node that is no view itself."""
    while hasattr(node, "window"):
        node = base_of(node)
    return node


def is_stained(node: Node) -> bool:
    """Whether the numbers under a node were made from data that is not on record."""
    return node.memory is not None and node.memory.stained


def mark_written(node: Node, writer: str) -> None:
    """Note that the numbers under `node` were changed in place just now."""
    memory = memory_of(node)
    memory.written = tick()
    memory.writer = writer
