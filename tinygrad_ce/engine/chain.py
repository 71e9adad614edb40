"""The chain rule: walk the graph backwards, newest node first, and add up what arrives.

For each node, the gradient of the loss with respect to it is the sum over its consumers, so a
node may pass its gradient on only after all of them have spoken. Consumers are newer than what
they consume: sorting by the clock is all the order that is needed.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from functools import lru_cache
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.graph import DETACHED, Node
from tinygrad_ce.engine.hooks import changed_by_hooks, hooked
from tinygrad_ce.engine.operands import value_of
from tinygrad_ce.engine.slices import add_slices, mapped

by_tick, array_of = attrgetter("tick"), attrgetter("array")


def as_of(node: Node, at: int) -> Node:
    """What `node` was when the clock stood at `at`, or the oldest that is known."""
    past = getattr(node, "was", None)
    if node.tick <= at or not past:
        return node
    return past[max(bisect(past, at, key=by_tick) - 1, 0)]


def version(node: Node, at: int) -> Node | None:
    """What `node` was when the clock stood at `at`, or None if no gradient reached it then."""
    node = as_of(node, at)
    if node.tick > at:  # a leaf that became live later, perhaps not the first time
        return node if bisect(getattr(node, "switched", ()), at) % 2 else None
    return node if node.live else None


def history(roots: Iterable[Node]) -> list[Node]:
    """All nodes with inputs that the roots were computed from, newest first."""
    stack = [root for root in roots if root.inputs]
    seen = set(stack)
    nodes = []
    while stack:
        nodes.append(node := stack.pop())
        for x in node.inputs:
            if not x.live and x.detached_by is not DETACHED:
                continue
            source = x if x.live and x.tick <= node.tick else version(x, node.tick)
            if source is None or source in seen:
                continue
            if source.inputs:
                seen.add(source)
                stack.append(source)
            elif source.op is not None:
                raise freed(source)
    nodes.sort(key=by_tick, reverse=True)
    return nodes


def freed(node: Node) -> RuntimeError:
    """The error for a node whose past was given up."""
    return RuntimeError(
        f"backward: the graph behind {node.op.name} was freed by backward(retain_graph=False); "
        "leave that out of the first backward() to go through the graph again"
    )


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum `g` over the axes along which a tensor of `shape` was repeated."""
    extra = g.ndim - len(shape)
    if extra < 0:  # sizes of 1 in front, which an assignment x[i] = v drops
        return unbroadcast(g, shape[-extra:]).reshape(shape)
    if g.ndim == 2 and g.size:  # sums over rows or columns: products with ones are faster
        if extra == 1 and g.shape[1] == shape[0] and (shape[0] > 1 or g.shape[0] <= table.SHORT):
            return np.dot(table.ones(g.shape[0], g.dtype), g)
        if shape == (g.shape[0], 1) and g.shape[1] <= table.SHORT:
            return np.dot(g, table.ones(g.shape[1], g.dtype)).reshape(shape)
    return table.sum(g, repeated_axes(tuple(g.shape), shape), True).reshape(shape)


@lru_cache(1024)
def repeated_axes(full: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes along which `shape` was repeated to become `full`."""
    extra = len(full) - len(shape)
    return *range(extra), *(i + extra for i, n in enumerate(shape) if n == 1 != full[i + extra])


def propagate(
    seeds: dict[Node, Any], wanted: Iterable[Node] = (), graph: bool = False
) -> dict[Node, Any]:
    """Gradients of Σ seed·root at all leaves, at nodes that retain theirs, and at the `wanted`.

    Gradients are arrays; with `graph` they are Tensors, recorded like everything else, so that
    they can be differentiated again. While somebody traces, they are Symbols.
    """
    tracer = current().tracer
    value = itself if graph else array_of if tracer is None else value_of
    arrived = dict(seeds)  # node -> the sum of what has arrived
    kept = {}
    for node in history(seeds):
        g = arrived.pop(node, None)
        if g is None:
            continue
        if hooked:
            g = changed_by_hooks(node, g, graph)
        if tracer is None:
            retained = node._grad is not None
        else:
            tracer.enter_backward(node, g)
            retained = tracer.get_grad(node) is not None
        if retained or node in wanted:
            kept[node] = g
        op, at, inputs = node.op, node.tick, node.inputs
        for x, pull in zip(inputs, op.gradients_for(len(inputs)) if op.star else op.gradients):
            if pull is None or not (x.live or x.detached_by is DETACHED):
                continue
            target = x if x.live and x.tick <= at else version(x, at)
            if target is None:
                continue
            d = pull(node, g, value)
            if mapped:
                d = add_slices(d, x.array)
            if op.broadcasts and d.shape != x.array.shape:
                d = unbroadcast(d, x.array.shape)
            arrived[target] = arrived[target] + d if target in arrived else d
    if tracer is not None:
        tracer.enter_backward(None, None)
    if hooked:
        arrived = {node: changed_by_hooks(node, g, graph) for node, g in arrived.items()}
    arrived.update(kept)
    for node, g in arrived.items():
        if g.dtype is not node.array.dtype and g.dtype != node.array.dtype:
            arrived[node] = table.astype(g, node.array.dtype)
    return arrived


def itself(node: Node) -> Node:
    """The node: what rules are fed to make a new graph."""
    return node
