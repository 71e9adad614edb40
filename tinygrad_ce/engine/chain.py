"""The chain rule: walk the graph backwards, newest node first, and add up what arrives.

For each node, the gradient of the loss with respect to it is the sum over its consumers, so a
node may pass its gradient on only after all of them have spoken. Consumers are newer than what
they consume: sorting by the clock is all the order that is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.graph import Node, current, tick
from tinygrad_ce.engine.rule import NOTHING, SEVERAL, Gradient, array_from, leaf

by_tick = attrgetter("tick")
array_of = attrgetter("array")


def version(node: Node, at: int) -> Node | None:
    """What `node` was when the clock stood at `at`, or None if no gradient reached it then."""
    while node.tick > at:
        if not hasattr(node, "was"):
            return None  # it was made a leaf that requires a gradient later
        node = node.was
    return node if node.requires_grad else None


def history(roots: Iterable[Node]) -> list[Node]:
    """All nodes with inputs that the roots were computed from, newest first."""
    stack = [root for root in roots if root.inputs]
    seen = set(stack)
    nodes = []
    while stack:
        node = stack.pop()
        nodes.append(node)
        at = node.tick
        for x in node.inputs:
            if x.requires_grad:
                source = x if x.tick <= at else version(x, at)
                if source is not None and source.inputs and source not in seen:
                    seen.add(source)
                    stack.append(source)
    nodes.sort(key=by_tick, reverse=True)
    return nodes


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum `g` over the axes along which a tensor of `shape` was repeated."""
    extra = g.ndim - len(shape)
    if extra == 1 and g.ndim == 2 and g.shape[1:] == shape:
        rows = table.ones(g.shape[0], g.dtype)
        return table.matmul(rows, g)  # four times faster than a sum over rows
    axes = tuple(range(extra)) + tuple(
        i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1
    )
    return table.sum(g, axes[0] if len(axes) == 1 else axes, True).reshape(shape)


def propagate(
    seeds: dict[Node, Any], wanted: Iterable[Node] = (), graph: bool = False
) -> dict[Node, Any]:
    """Gradients of Σ seed·root at all leaves, at nodes that retain theirs, and at the `wanted`.

    Gradients are arrays; with `graph` they are Tensors, recorded like everything else, so that
    they can be differentiated again. While somebody traces, they are Symbols.
    """
    value = itself if graph else lifted if current().tracer else array_of
    arrived = dict(seeds)  # node -> the sum of what has arrived
    kept = {}
    for node in history(seeds):
        g = arrived.pop(node, None)
        if g is None:
            continue
        if node.kept is not None or node in wanted:
            kept[node] = g
        op, at, inputs = node.op, node.tick, node.inputs
        gradients = op.gradients if not op.star else map(op.gradient, range(len(inputs)))
        for i, (x, gradient) in enumerate(zip(inputs, gradients)):
            if not x.requires_grad or gradient is None:
                continue
            target = x
            if x.tick > at:
                target = version(x, at)
                if target is None:
                    continue
            function, read, _, _ = gradient
            if read == NOTHING:
                d = function(g)
            elif read == SEVERAL:
                d = function(g, *values_for(gradient, node, i, value))
            else:
                source = inputs[read] if read >= 0 else node
                memory = source.memory
                if memory is not None and memory.written > at:
                    refuse(node, source)
                d = function(g, value(source))
            if op.stretches and d.shape != x.array.shape:
                d = unbroadcast(d, x.array.shape)
            before = arrived.get(target)
            arrived[target] = d if before is None else before + d
    arrived.update(kept)
    for node, g in arrived.items():
        if g.dtype is not node.array.dtype and g.dtype != node.array.dtype:
            arrived[node] = table.astype(g, node.array.dtype)
    return arrived


def itself(node: Node) -> Node:
    """The node: what rules are fed to make a new graph."""
    return node


def lifted(node: Node) -> Any:
    """The array of a node, or its Symbol while somebody traces."""
    tracer = current().tracer
    return node.array if tracer is None else tracer.lift(node)


def values_for(
    gradient: Gradient, node: Node, i: int, value: Callable[[Node], Any]
) -> tuple[Any, ...]:
    """What a gradient reads, if that is not just one operand or the output."""
    op, inputs = node.op, node.inputs
    for position in gradient.operands:
        if position < 0:
            sources: tuple[Node, ...] = (node,)
        elif position < op.fixed:
            sources = (inputs[position],)
        else:
            sources = inputs[position:]
        for source in sources:
            if source.memory is not None and source.memory.written > node.tick:
                refuse(node, source)
    operands = [value(x) for x in inputs]
    if op.star:
        operands[op.fixed :] = [tuple(operands[op.fixed :])]
    shapes = tuple([x.array.shape for x in inputs])
    return gradient.pick((value(node), *operands, *node.settings, shapes[i], shapes, i))


def refuse(node: Node, source: Node) -> None:
    """A value that the gradient of `node` reads was written after `node` was made."""
    name = "its output" if source is node else f"its input of shape {source.array.shape}"
    assert source.memory is not None  # noqa: S101 - for mypy: who calls has looked
    raise RuntimeError(
        f"backward: {node.op.name} needs {name} as it was, but {source.memory.writer} has "
        "changed it in place since. Compute a new tensor (x = x + d) instead of writing into "
        "this one, or write after backward()"
    )


def seed_for(root: Node, gradient: Any, graph: bool) -> Any:
    """∂L/∂root to start from: what was given, or 1 for a scalar."""
    if not root.requires_grad:
        if root.op is None:
            why = f"it came through {root.cut}" if root.cut else "it is a leaf without requires_grad"
        else:
            why = f"{root.op.name} made it from " + (
                f"what {root.cut} cut off the graph" if root.cut else "tensors without requires_grad"
            )
        raise RuntimeError(
            f"backward: this tensor needs no gradient: {why}. Create the parameters with "
            "requires_grad=True and compute the loss from them without leaving the graph"
        )
    shape, dtype = root.array.shape, root.array.dtype
    if gradient is None:
        if root.array.size != 1:
            raise RuntimeError(
                f"backward: a tensor of shape {shape} is not a scalar; write loss.sum().backward() "
                "or loss.mean().backward(), or give backward() a gradient of that shape"
            )
        seed = leaf(np.ones(shape, dtype))
    else:
        seed = gradient if isinstance(gradient, Node) else leaf(array_from(gradient, dtype))
        if seed.array.shape != shape:
            raise ValueError(
                f"backward: the gradient has shape {seed.array.shape}, the tensor {shape}"
            )
        if seed.array.dtype != dtype:
            seed = table.astype(seed, dtype)
    if graph:
        return seed
    tracer = current().tracer
    return seed.array if tracer is None else tracer.lift(seed)


def accumulate(arrived: dict[Node, Any], graph: bool) -> None:
    """Add to `.grad` of the leaves, and of the nodes that retain theirs, what arrived there."""
    owned: set[int] = set()
    for node, g in arrived.items():
        if node.inputs and node.kept is None:
            continue
        old = node.kept if isinstance(node.kept, Node) else None
        if graph:
            node.kept = table.copy(g) if old is None and id(g) in owned else g if old is None else old + g
            owned.add(id(g))
        else:
            if old is not None:
                g = lifted(old) + g
            if not isinstance(g, np.ndarray):
                g = np.array(g) if isinstance(g, np.generic) else g
            elif g.base is not None or id(g) in owned:  # a view, or another's too
                g = g.copy()
            owned.add(id(g))
            node.kept = leaf(g)


def free(root: Node) -> None:
    """Forget the graph behind `root`, node by node, so that nothing recurses."""
    for node in history([root]):
        node.inputs = node.settings = ()
        node.cut = "backward(retain_graph=False)"
        node.requires_grad = False
