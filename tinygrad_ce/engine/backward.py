"""backward(): where gradients start, which leaves keep them, and how a graph is let go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.chain import freed, history
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import shared, tick
from tinygrad_ce.engine.operands import array_from, get_grad, leaf, set_grad, value_of
from tinygrad_ce.engine.rule import Op

COMPILED = "a compiled function"  # what cut the graph behind the result of one
INSTEAD = {
    COMPILED: "Call backward() inside of the compiled function, without leaving the graph",
    "grad()": "Write grad(..., create_graph=True) to differentiate a gradient again",
    "backward()": "Write backward(create_graph=True) to differentiate a gradient again",
}


def seed_for(root: Node, gradient: Any, graph: bool) -> Any:
    """∂L/∂root to start from: what was given, or 1 for a scalar."""
    if not root.live:
        if root.op is None:
            why = (
                f"it came through {root.detached_by}"
                if root.detached_by
                else "it is a leaf without requires_grad"
            )
        else:
            why = f"{root.op.name} made it from " + (
                f"what {root.detached_by} cut off the graph"
                if root.detached_by
                else "tensors without requires_grad"
            )
        instead = INSTEAD.get(
            root.detached_by or "",
            "Create the parameters with requires_grad=True and compute the loss from them "
            "without leaving the graph",
        )
        raise RuntimeError(f"backward: this tensor needs no gradient: {why}. {instead}")
    if root.op is not None and not root.inputs:
        raise freed(root)
    shape, dtype = root.array.shape, root.array.dtype
    if gradient is None:
        if shape and root.array.size != 1:
            raise RuntimeError(
                f"backward: a tensor of shape {shape} is not a scalar; write loss.sum().backward() "
                "or loss.mean().backward(), or give backward() a gradient of that shape"
            )
        one = np.ones(shape, dtype) if shape else dtype.type(1)
        if not graph and current().tracer is None:
            return one
        gradient = leaf(one)
    seed = gradient if isinstance(gradient, Node) else leaf(array_from(gradient, dtype))
    if seed.array.shape != shape:
        raise ValueError(f"backward: the gradient has shape {seed.array.shape}, the tensor {shape}")
    if seed.array.dtype != dtype:
        seed = table.astype(seed, dtype)
    return seed if graph else value_of(seed)


def accumulate(arrived: dict[Node, Any], graph: bool, seed: Any) -> None:
    """Add to `.grad` of the leaves, and of the nodes that retain theirs, what arrived there."""
    tracer = current().tracer
    now = tick()
    owned = {id(seed)}  # what others hold: a gradient gets an array of its own
    with shared:  # no other thread adds meanwhile
        for node, g in arrived.items():
            old = node._grad if tracer is None else tracer.get_grad(node)
            if old is not None and not isinstance(old, Node):
                old = None
            if graph:
                alone = table.copy(g) if id(g) in owned else g
                set_grad(node, alone if old is None else old + g)
                owned.add(id(g))
                continue
            if old is not None:
                g = value_of(old) + g
            if not isinstance(g, np.ndarray):
                g = np.array(g) if isinstance(g, np.generic) else g.copy()  # of a Symbol: free
            elif g.base is not None or id(g) in owned:  # a view, or another's too
                g = g.copy()
            owned.add(id(g))
            gradient = leaf(g)
            gradient.detached_by = "backward()"
            gradient.tick = now
            if old is not None:
                gradient.since = first_share(old) or now
            if tracer is None:
                node._grad = gradient
            else:
                tracer.set_grad(node, gradient)


def first_share(gradient: Node) -> int:
    """When the oldest share of a gradient came, 0 if that is not known: somebody made it."""
    written = 0 if gradient.memory is None else gradient.memory.written
    return max(getattr(gradient, "since", gradient.tick), written)


def switch(leaf: Node, live: bool) -> None:
    """Let a leaf gather gradients, or not, of what is computed from here on."""
    now = tick()
    before = getattr(leaf, "switched", (leaf.tick,) if leaf.live else ())
    leaf.switched = (*before[2 * (len(before) > 64) :], now)
    leaf.live = live
    if live:
        leaf.tick = now


class Keeping(Op):
    """An operation of one call, which keeps what it needs: a user's Function."""

    __slots__ = ()

    def free(self) -> None:
        """Let go of it: here of nothing."""


def free(root: Node) -> None:
    """Forget the graph behind `root`, node by node, so that nothing recurses."""
    for node in history([root]):
        node.inputs = node.attrs = ()  # an operation without inputs: freed
        node.detached_by = "backward(retain_graph=False)"
        if hasattr(node, "held"):
            node.held = {}
        if isinstance(node.op, Keeping):
            node.op.free()


def forget_grads(nodes: Iterable[Node], set_to_none: bool = True) -> None:
    """Let leaves have no gradient, or zeros if they have one and `set_to_none` is False."""
    with shared:
        for node in nodes:
            if set_to_none or get_grad(node) is None:
                set_grad(node, None)
            else:
                set_grad(node, leaf(np.zeros(node.array.shape, node.array.dtype)))
