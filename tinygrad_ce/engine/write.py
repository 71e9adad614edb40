"""In-place writes that the graph can trust.

Every write goes through a Tensor. While recording, a tensor that is written becomes a new node:
what it was is set aside (`node.was`), so earlier consumers still find it, and all recorded views
of the same memory follow. A backward pass that would need an overwritten value raises instead of
using the new one (`chain.refuse`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.graph import Node, new
from tinygrad_ce.engine.memory import mark_written
from tinygrad_ce.engine.operands import constant, leaf, numbers, value_of


def assign(x: Node, arrays: tuple[Any, ...], index: tuple[Any, ...], values: Any) -> None:
    """x[index] = values."""
    values = apart(values, x) if isinstance(values, Node) else constant(values, x)
    if values.live and current().record:
        refuse_repeated(x, arrays, index)

    def write(target: Any) -> None:
        target[table.filled(index, tuple(value_of(a) for a in arrays))] = value_of(values)

    change(x, values, write, lambda old: table.put(old, values, *arrays, index=index), "x[...] = v")


def update(x: Node, operation: Callable[..., Any], other: Any, name: str) -> Node:
    """x = operation(x, other), written into the memory of x; gives x."""
    other = apart(other, x) if isinstance(other, Node) else constant(other, x)

    def write(target: Any) -> None:
        change = operation(target, value_of(other))
        if change.shape != target.shape or not np.can_cast(change.dtype, target.dtype, "same_kind"):
            raise ValueError(
                f"{name}: a result of shape {change.shape} and dtype {change.dtype} does not fit "
                f"into a tensor of shape {target.shape} and dtype {target.dtype}; "
                "write x = x + d for a new tensor"
            )
        target[...] = change

    change(x, other, write, lambda old: operation(old, other), name)
    return x


def apart(operand: Node, x: Node) -> Any:
    """`operand`, or a copy of it if it looks at the memory that is about to be written."""
    same = operand is x or (operand.memory is not None and operand.memory is x.memory)
    return table.copy(operand) if same else operand


def refuse_repeated(x: Node, arrays: tuple[Any, ...], index: tuple[Any, ...]) -> None:
    """Which of several values written to one element stays is not defined: no gradient then."""
    if not arrays or not isinstance(x.array, np.ndarray):
        return
    numbers = np.arange(x.array.size).reshape(x.array.shape)
    written = numbers[table.filled(index, tuple(a.array for a in arrays))]
    if np.unique(written).size != written.size:
        raise ValueError(
            "x[index] = v: the index names an element twice, so which value it gets, and so the "
            "gradient of v, is not defined; write each element once"
        )


def change(
    x: Node,
    operand: Node,
    write: Callable[[Any], None],
    redo: Callable[[Node], Node],
    name: str,
) -> None:
    """Write into the memory of x; while recording, also move the graph along with `redo`."""
    group = aliases(x) if current().record else [x]
    live = x.live or operand.live or any(node.live for node in group)
    recorded = current().record and live
    if recorded:
        refuse_leaf(x, name)
    if isinstance(x.array, np.generic):
        x.array = np.array(x.array)  # a scalar result gets a place of its own
    elif isinstance(x.array, np.ndarray) and not x.array.flags.writeable:
        raise RuntimeError(
            f"{name}: this tensor of shape {x.array.shape} repeats its elements (expand, windows) "
            "and cannot be written; write into x.clone()"
        )
    before = {node: aside(node) for node in group} if recorded else {}
    write(value_of(x))
    mark_written(x, name)
    if recorded:
        follow(x, redo(before[x]), before)


def refuse_leaf(x: Node, name: str) -> None:
    """A leaf that requires a gradient must not be written while recording, nor a view of one."""
    if x.array.dtype.kind != "f":
        raise TypeError(
            f"{name}: this tensor of dtype {x.array.dtype} cannot carry the gradient of what is "
            "written into it; write v.detach(), or use x.float()"
        )
    owner = x.memory.owner() if x.memory is not None else None
    for node, what in ((x, "a leaf"), (owner, "a view of a leaf")):
        if node is not None and node.live and not node.inputs:
            raise RuntimeError(
                f"{name}: this tensor is {what} that requires a gradient, so its value must stay. "
                "To update a parameter write `with no_grad(): w -= lr * w.grad`; for a new value "
                "write w = w - d"
            )


def aliases(x: Node) -> list[Node]:
    """x and the nodes that look at the same memory and follow its writes, its owner first."""
    memory = x.memory
    if memory is None:
        return [x]
    owner = memory.owner()
    if owner is None:  # nobody holds it any more, but its views still look at its numbers
        owner = leaf(memory.array)
        owner.memory, memory.owner = memory, weakref.ref(owner)
    found = [owner, *memory.nodes()]
    return found if x in set(found) else [x]


def aside(x: Node) -> Node:
    """A node with the past of x and a copy of its numbers."""
    old = new(type(x))
    for slot in ("op", "inputs", "settings", "tick", "scope", "live"):
        setattr(old, slot, getattr(x, slot))
    old.cut = None if x.live else x.cut
    old.array = x.array.copy()
    old.memory = old.kept = None
    if hasattr(x, "was"):
        old.was = x.was
    return old


def follow(x: Node, changed: Node, before: dict[Node, Node]) -> None:
    """Let x become `changed`, and everything that looks at the same memory what follows."""
    owner = next(iter(before))
    if x is not owner:
        place = places(value_of(x), value_of(owner))
        flat = table.reshape(before[owner], (-1,))
        whole = table.put(flat, changed, place, index=(table.SLOT,))
        rebind(owner, table.reshape(whole, owner.array.shape), before[owner])
    else:
        rebind(owner, changed, before[owner])
    for view in before:
        if view is not owner:
            flat = table.reshape(table.copy(owner), (-1,))
            place = places(value_of(view), value_of(owner))
            rebind(view, table.getitem(flat, place, index=(table.SLOT,)), before[view])


def rebind(x: Node, node: Node, before: Node) -> None:
    """Give x the origin of `node`; its array, already written, stays where it is."""
    tracer = current().tracer
    if tracer is not None:
        tracer.rebinds(x)
    for slot in ("op", "inputs", "settings", "tick", "scope", "live"):
        setattr(x, slot, getattr(node, slot))
    if not x.live:
        x.cut = node.cut
    x.was = before


def places(view: np.ndarray, owner: np.ndarray) -> Node:
    """For each element of `view`, its number among the elements of `owner`, by their addresses."""
    address = addresses(owner).ravel()
    order = np.argsort(address)
    return leaf(order[np.searchsorted(address, addresses(view), sorter=order)])


def addresses(array: np.ndarray) -> np.ndarray:
    """Where each element lies in memory."""
    array = numbers(array)
    where = np.array(array.__array_interface__["data"][0], dtype=np.int64)
    for n, stride in zip(array.shape, array.strides):
        where = where[..., None] + np.arange(n) * stride
    return where
