"""The graph of the gradient itself: what a backward pass computes, operation by operation.

The pass is recorded with create_graph. It starts from ∂loss/∂loss = 1 as a leaf of its own that
needs a gradient, so that all that depends on it is recorded: the whole pass.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tinygrad_ce.engine.backward import seed_for
from tinygrad_ce.engine.chain import as_of, history, propagate
from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import tick
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.viz.graph.walking import Graph


def gradient_graph(root: Node, names: dict[Node, str], given: Collection[Node] = ()) -> Graph:
    """The graph of ∂root/∂leaf for all leaves that require a gradient, each called that.

    Of examples that a model was run on, only if nothing else requires one.

    Raises RuntimeError for a root that is no scalar or needs no gradient.
    """
    seed_for(root, None, False)  # raises what backward() would
    leaves = wanted_leaves(root)
    leaves = [x for x in leaves if x not in given] or leaves
    since = tick()
    seed = leaf(np.ones(root.array.shape, root.array.dtype), requires_grad=True)
    with recording(True), np.errstate(all="ignore"):
        arrived = propagate({root: seed_for(root, seed, True)}, set(leaves), True)
    known = dict(names)
    for i, x in enumerate([x for x in leaves if x not in known], 1):
        known[x] = f"parameter {i}"
    loss = names.get(root, "loss")
    found = [(arrived[x], x) for x in leaves if x in arrived]
    called: dict[Node, list[str]] = {seed: [f"∂{loss}/∂{loss}"]}
    for gradient, x in found:
        called.setdefault(gradient, []).append(f"∂{loss}/∂{known[x]}")
    known.update({gradient: " = ".join(texts) for gradient, texts in called.items()})
    graph = Graph(list(dict.fromkeys(gradient for gradient, _ in found)), known, since, given)
    graph.title = loss
    return graph


def wanted_leaves(root: Node) -> list[Node]:
    """The leaves that require a gradient, in the order in which they are first read."""
    found: dict[Node, None] = {} if root.inputs else {root: None}
    for node in reversed(history([root])):
        for x in node.inputs:
            x = as_of(x, node.tick)
            if x.requires_grad and not x.inputs and x.tick <= node.tick:
                found.setdefault(x)
    return list(found)
