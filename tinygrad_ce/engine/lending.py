"""Memory that NumPy holds, too: `from_numpy` and `.numpy()` share it, and nobody tells of writes.

A node that is recorded keeps a copy of those operands whose memory is lent out, and of its output
if that is written into such memory; a loan keeps one of the tensor that was lent, for the nodes
before it. A backward pass that needs an operand or the output compares: a write through NumPy
raises, as a write through a Tensor does, instead of giving a wrong gradient. Tensors that are not
lent pay nothing.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import Memory, memory_of, tick

lent: dict[int, weakref.ref[Memory]] = {}
"""The memories that NumPy holds, too; as long as there are none, operations do not ask."""


SMALL = 1 << 16  # bytes that are compared as soon as NumPy lets go


def same(a: Any, b: Any) -> bool:
    """Whether two arrays of one dtype are the same bit by bit, nan and -0.0 too."""
    if type(a) is not np.ndarray:  # a number, or the slices of a vmap
        return bool(a.tobytes() == b.tobytes())
    whole = f"u{a.itemsize}"
    return a.shape == b.shape and bool(np.array_equal(a.view(whole), b.view(whole)))


class Loan:
    """One array that was handed to NumPy: when, and what stood there then.

    When NumPy lets go of a large array, the loan stays: what NumPy has written is looked at when a
    backward pass asks, or at the next loan, and not at all after a write through a Tensor.
    """

    __slots__ = ("array", "holder", "kept", "tick")

    def __init__(self, array: Any, handed: Any, memory: Memory) -> None:
        kept = forget_ended(memory, array)
        self.kept = array.copy() if kept is None else kept
        self.array, self.tick = array, tick()
        self.holder = weakref.ref(handed, partial(end, weakref.ref(memory)))

    def is_kept(self) -> bool:
        """Whether what was handed out still stands there."""
        return same(self.array, self.kept)


def end(ref: weakref.ref[Memory], _: Any, leaving: Any = sys.is_finalizing) -> None:
    """NumPy has let go of an array of this memory. When Python ends there is nothing to note."""
    memory = ref()
    if memory is None or leaving():
        return
    if not any(loan.holder() is not None for loan in memory.loans):
        memory.loans = [loan for loan in memory.loans if loan.tick > memory.written]
        if sum(loan.array.nbytes for loan in memory.loans) <= SMALL:
            forget_ended(memory, None)
        if not memory.borrowed:
            lent.pop(id(memory), None)


def forget_ended(memory: Memory, array: Any) -> Any:
    """Keep of the loans that have ended only whether NumPy has written through them.

    Gives a copy of `array`, if one of them has it.
    """
    copy = None
    for loan in [loan for loan in memory.loans if loan.holder() is None]:
        memory.loans.remove(loan)
        if loan.tick <= memory.written:
            continue
        if not loan.is_kept():
            memory.lent_until = max(memory.lent_until, loan.tick)
        elif loan.array is array:
            copy = loan.kept
    return copy


def lend(memory: Memory) -> None:
    """Note that NumPy holds this memory, too."""
    key = id(memory)
    lent[key] = weakref.ref(memory, lambda _: lent.pop(key, None))


def borrow(node: Any) -> Any:
    """A leaf around an array that the user holds, and may write for ever.

    One that is read-only may look at one that is not.
    """
    memory = memory_of(node)
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


def is_lent(node: Node) -> bool:
    """Whether NumPy holds the memory of a node, too."""
    return node.memory is not None and id(node.memory) in lent


def keep_lent(node: Node, sources: Iterable[Node]) -> None:
    """Let a node that is recorded keep what NumPy may write of what its gradient may read.

    The output of the node itself stands under None: a node does not hold itself.
    """
    held = {None if x is node else x: x.array.copy() for x in sources if is_lent(x)}
    if held:
        node.held = {**getattr(node, "held", {}), **held}


def writer_since(node: Node, source: Node) -> str:
    """What has changed `source` in place since `node` was made from it; no text if nothing has."""
    memory = memory_of(source)
    if memory.written > node.tick:
        return memory.writer
    if not (memory.loans or memory.lent_until or hasattr(node, "held")):
        return ""  # it was never lent
    kept = getattr(node, "held", {}).get(None if source is node else source)
    if kept is not None:
        changed = not same(source.array, kept)
    else:
        loans = [loan for loan in memory.loans if loan.tick > node.tick]
        changed = memory.lent_until > node.tick or not all(loan.is_kept() for loan in loans)
    return "a write through NumPy" if changed else ""
