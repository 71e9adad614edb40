"""Memory that NumPy holds, too: `from_numpy` and `.numpy()` share it, and nobody tells of writes.

A node that is recorded keeps the bytes of an operand whose memory is lent out, and a loan keeps
those of the tensor that was lent, for the nodes before it. A backward pass that needs an operand
compares: a write through NumPy raises, as a write through a Tensor does, instead of giving a wrong
gradient. Tensors that are not lent pay nothing.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import Memory, memory_of, tick

lent: dict[int, weakref.ref[Memory]] = {}
"""The memories that NumPy holds, too; as long as there are none, operations do not ask."""


class Loan:
    """One array that was handed to NumPy: when, and what stood there then."""

    __slots__ = ("array", "holder", "kept", "tick")

    def __init__(self, array: Any, handed: Any, memory: Memory) -> None:
        self.array, self.kept, self.tick = array, array.tobytes(), tick()
        at = weakref.ref(memory)
        self.holder = weakref.ref(handed, lambda _: self.end(at()))

    def was_written(self) -> bool:
        """Whether what stands there is another thing now."""
        return bool(self.array.tobytes() != self.kept)

    def end(self, memory: Memory | None) -> None:
        """NumPy has let go: what is remembered is whether it has written."""
        if memory is None:
            return
        if memory.written <= self.tick and self.was_written():
            memory.lent_until = max(memory.lent_until, self.tick)
        memory.loans.remove(self)
        if not memory.borrowed and not memory.loans:
            lent.pop(id(memory), None)


def lend(memory: Memory) -> None:
    """Note that NumPy holds this memory, too."""
    key = id(memory)
    lent[key] = weakref.ref(memory, lambda _: lent.pop(key, None))


def borrow(node: Any) -> Any:
    """A leaf around an array that the user holds, and may write for ever."""
    memory = memory_of(node)
    if node.array.flags.writeable:
        memory.borrowed = True
        lend(memory)
    return node


def hand_out(node: Node) -> np.ndarray:
    """The array of a node for NumPy, on the same memory."""
    array = np.asarray(memoryview(node.array))  # alive as long as one of its views is
    if array.flags.writeable:
        memory = memory_of(node)
        memory.loans.append(Loan(node.array, array, memory))
        lend(memory)
    return array


def keep_lent(node: Node) -> None:
    """Let a node that is recorded keep the bytes of those operands that NumPy may write."""
    held = {x: x.array.tobytes() for x in node.inputs
            if x.memory is not None and id(x.memory) in lent}  # fmt: skip
    if held:
        node.held = held


def writer_since(node: Node, source: Node) -> str:
    """What has changed `source` in place since `node` was made from it; no text if nothing has."""
    memory = memory_of(source)
    if memory.written > node.tick:
        return memory.writer
    if not (memory.loans or memory.borrowed or memory.lent_until):
        return ""
    kept = getattr(node, "held", {}).get(source)
    if kept is None:
        loans = [loan for loan in memory.loans if loan.tick > node.tick]
        changed = memory.lent_until > node.tick or any(loan.was_written() for loan in loans)
    else:
        changed = source.array.tobytes() != kept
    return "a write through NumPy" if changed else ""
