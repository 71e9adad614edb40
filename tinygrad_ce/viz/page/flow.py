"""The backward pass, one use of one tensor at a time: what a page shows and checks.

`arrivals` goes the way of the chain rule, newest operation first, and keeps everything that a
reader may ask for: the gradient that came, the slope, the product before and after copies are
summed, what was there already and what is there now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.chain import array_of, unbroadcast
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.viz.graph.told import entry
from tinygrad_ce.viz.graph.walking import Use

TRACKED = 600  # elements whose way through an operation that moves them is written down


@dataclass
class Arrival:
    """What one operation sends to one of its operands."""

    use: int  # its place in the list of uses
    upstream: np.ndarray  # ∂L/∂output
    local: np.ndarray | None  # ∂output/∂operand, where it is a number for each element
    product: np.ndarray  # before copies are summed
    new: np.ndarray  # what arrives, in the shape of the operand
    before: np.ndarray | None  # what had arrived, None for the first
    after: np.ndarray
    live: Arrival | None = None  # the same as values of a program


def arrivals(
    root: Node,
    operations: Sequence[Node],
    uses: Sequence[Use],
    value: Callable[[Node], Any] = array_of,
    constant: Callable[[np.ndarray], Any] = np.asarray,
) -> Iterator[Arrival]:
    """All that arrives anywhere, in the order of the chain rule.

    `operations` are oldest first; `value` gives what rules read of a node: its array or its Symbol,
    and `constant` the same of an array. Raises RuntimeError where a value was written over that a
    rule reads.
    """
    of: dict[Node, list[int]] = {}
    for i, use in enumerate(uses):
        of.setdefault(use.target, []).append(i)
    arrived: dict[Node, Any] = {root: constant(np.ones(root.array.shape, root.array.dtype))}
    for node in reversed(operations):
        upstream = arrived.get(node)
        if upstream is None:
            continue
        for i in of[node]:
            if not uses[i].flows:
                continue
            source = uses[i].source
            rule = rule_of(node, uses[i].position, value)
            product, local = rule(upstream), None
            if entry(node.op.name).kind == "elementwise":
                local = rule(constant(np.ones(upstream.shape, upstream.dtype)))
            new = summed(product, source.array.shape) if node.op.broadcasts else product
            before = arrived.get(source)
            arrived[source] = new if before is None else before + new
            yield Arrival(i, upstream, local, product, new, before, arrived[source])


def rule_of(node: Node, position: int, value: Callable[[Node], Any]) -> Callable[[Any], Any]:
    """What an operation makes of a gradient for one operand; `value` gives the values it reads."""
    pull = node.op.gradients_for(len(node.inputs))[position]
    return lambda g: as_array(pull(node, g, value))


def as_array(x: Any) -> Any:
    """An array of one of NumPy's numbers; an array or a Symbol as it is."""
    return np.asarray(x) if isinstance(x, np.generic) else x


def summed(product: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The product in the shape of the operand."""
    return product if product.shape == shape else as_array(unbroadcast(product, shape))


# --- which element comes from which ---------------------------------------------------------


def relation(node: Node, position: int) -> Any:
    """How the elements of an operand and of the output belong together, for a page to light up.

    "e": those at the same place; ["mm", i] and ["in", i]: operand i of a b and of a bᵀ;
    ["sum", axes]: all along the axes; ["flat"]: those that are as many from the first; ["ix",
    places]: for each element of the output, in order, the place in the operand that it came from
    or −1; None: not known.
    """
    name, attrs = node.op.name, node.attrs
    shape = node.inputs[position].array.shape
    if entry(name).kind == "elementwise":
        return "e"
    if name in ("matmul", "inner"):
        return ["mm" if name == "matmul" else "in", position]
    if entry(name).kind == "reduction":
        axis = attrs[0] if attrs else None
        axes = range(len(shape)) if axis is None else np.atleast_1d(axis).tolist()
        return ["sum", [a % len(shape) for a in axes if shape]]
    if name == "prod":
        return ["sum", [len(shape) - 1]]
    if name == "reshape":
        return ["flat"]
    indices = position >= {"getitem": 1, "put": 2}.get(name, len(node.inputs))
    if (
        entry(name).kind == "move"
        and not indices
        and node.array.size <= TRACKED
        and node.inputs[position].array.size
    ):
        return ["ix", moved(node, position)]
    return None


def first_index(node: Node) -> int:
    """Where the operands begin that say which elements are meant."""
    return {"getitem": 1, "put": 2}.get(node.op.name, len(node.inputs))


def moved(node: Node, position: int) -> list[int]:
    """Where each element of the output of an operation that only moves elements came from."""
    if node.op.name == "max_pool":
        return largest_of_windows(node)
    operands = [np.zeros(x.array.shape, int) for x in node.inputs[: first_index(node)]]
    operands += [x.array for x in node.inputs[first_index(node) :]]
    size, shape = operands[position].size, operands[position].shape
    operands[position] = np.arange(1, size + 1).reshape(shape)
    return [int(place) - 1 for place in np.ravel(run(node, operands))]


def largest_of_windows(node: Node) -> list[int]:
    """Where the largest element of each window came from."""
    x, attrs = node.inputs[0].array, node.attrs
    best = table.argmax_pool(x, node.array, *attrs)
    places = table.take_in_windows(np.arange(x.size).reshape(x.shape), best, *attrs)
    return [int(place) for place in np.ravel(places)]


def run(node: Node, arrays: Sequence[Any]) -> Any:
    """The operation of a node on other arrays."""
    op = node.op
    if op.star:
        return op.forward(*arrays, **dict(zip(op.names[op.fixed + 1 :], node.attrs)))
    return op.forward(*arrays, *node.attrs)
