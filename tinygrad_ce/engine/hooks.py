"""Functions that look at a gradient, and may replace it, when it has arrived at a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np

from tinygrad_ce.engine.frame import Watcher, current, recording
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import leaf, type_name, value_of

Hook = Callable[[Any], Any]

hooked: dict[int, ref[Any]] = {}
"""The tensors that have hooks, and who watches; without any, the chain rule does not ask."""

changes = [0]
"""How often hooks were added or taken away: a compiled step then looks whether its own were."""


class TensorHandle:
    """What a hook is taken away by: `handle.remove()`, or the end of a `with` block."""

    def __init__(self, node: Node, hook: Hook) -> None:
        self.node = ref(node)
        node.hooks = {**getattr(node, "hooks", {}), self: hook}
        watch(node)

    def remove(self) -> None:
        """Call the hook no more."""
        node = self.node()
        if node is not None and self in node.hooks:
            node.hooks = {handle: hook for handle, hook in node.hooks.items() if handle is not self}
            watch(node)

    def __enter__(self) -> TensorHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def hooks_of(node: Node) -> dict[Any, Hook] | None:
    """The hooks of a node, another dict after each change; None without any."""
    return getattr(node, "hooks", None) or None


def watch(node: Node) -> None:
    """Note whether a node has hooks, and that they are others now."""
    key = id(node)
    if node.hooks:
        hooked[key] = ref(node, lambda _: hooked.pop(key, None))
    else:
        hooked.pop(key, None)
    changes[0] += current().tracer is None


def watch_all(watcher: Watcher) -> None:
    """Let the chain rule ask as long as somebody watches all gradients."""
    key = id(watcher)
    hooked[key] = ref(watcher, lambda _: hooked.pop(key, None))


def hand_over(node: Node, old: Node) -> None:
    """Let the hooks stay with what a node was before a write."""
    if getattr(node, "hooks", None):
        old.hooks, node.hooks = node.hooks, {}
        for handle in old.hooks:
            handle.node = ref(old)
        watch(old)
        watch(node)


def changed_by_hooks(node: Node, g: Any, graph: bool) -> Any:
    """The gradient that has arrived at a node, after its hooks; a Tensor with `graph`."""
    watcher = current().lines
    if not isinstance(watcher, bool):
        watcher.reached(node, g)
    if id(node) not in hooked:
        return g
    for hook in list(node.hooks.values()):
        if not graph:  # an array of its own: the hook may write into it
            g = leaf(own(g))
        with recording(graph):
            found = hook(g)
        if found is not None:
            if not isinstance(found, Node) or found.array.shape != node.array.shape:
                got = found.array.shape if isinstance(found, Node) else type_name(found)
                raise TypeError(
                    f"register_hook: the hook gave {got}; wanted None, or a Tensor of shape "
                    f"{node.array.shape}"
                )
            g = found
        g = g if graph else own(value_of(g))
    return g


def own(array: Any) -> Any:
    """A copy of an array, which is nobody else's."""
    return np.array(array) if isinstance(array, (np.ndarray, np.generic)) else array.copy()
