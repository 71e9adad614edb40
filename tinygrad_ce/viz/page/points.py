"""Points in the plane, their classes and a model's scores, where a graph has them.

A page draws the points and the boundary between the classes that the model tells them apart by.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.viz.graph.walking import Graph
from tinygrad_ce.viz.page.decided import SHIFTED

FEW = 3  # points that there are at least
CLASSES = 10  # at most


class Points(NamedTuple):
    """Points (N, 2), the tensor of targets, the scores of the model and their boundary."""

    x: Node
    y: Node  # or the constant [z ≥ 0] − y
    targets: np.ndarray
    score: Node
    level: float  # of a single score: above it lies the class 1


def points_of(graph: Graph) -> Points | None:
    """The points of a graph, if one input has two columns and another one tells its classes."""
    leaves = [x for x in graph.used if not x.inputs and graph.role(x) == "input"]
    for x in leaves:
        if x.array.ndim != 2 or x.array.shape[1] != 2 or len(x.array) < FEW:
            continue
        if x.array.dtype.kind != "f" or not np.isfinite(x.array).all():
            continue
        for y, targets in [*((y, y.array) for y in leaves if y is not x), *shifted(graph)]:
            classes = classes_of(targets, len(x.array))
            score = scores(graph, x, y, classes) if classes else None
            if score is not None:
                return Points(x, y, targets, score, level_of(graph, y, score))
    return None


def shifted(graph: Graph) -> Iterator[tuple[Node, np.ndarray]]:
    """The constants [z ≥ 0] − y of binary cross-entropy, and the targets in them."""
    for use in graph.uses:
        scope, c = use.target.scope, use.source
        if scope is not None and scope.name == SHIFTED and use.position == 1 and not c.inputs:
            z = use.target.inputs[0].array
            if z.shape == c.array.shape:
                yield c, (z >= 0) - c.array


def classes_of(y: np.ndarray, n: int) -> int:
    """How many classes targets tell apart: numbers (N,) or (N, 1), or one-hot rows (N, C); or 0."""
    if y.ndim == 2 and y.shape[1] > 1 and len(y) == n:
        hot = np.isin(y, (0, 1)).all() and (y.sum(1) == 1).all()
        return y.shape[1] if hot and y.shape[1] <= CLASSES else 0
    if y.shape not in ((n,), (n, 1)):
        return 0
    values = set(np.unique(y).tolist())
    if values <= {0, 1} or values <= {-1, 1}:
        return 2
    whole = y.dtype.kind in "iu" and min(values) >= 0
    return int(max(values)) + 1 if whole and max(values) < CLASSES else 0


def scores(graph: Graph, x: Node, y: Node, classes: int) -> Node | None:
    """The last sum or product of x that no target goes into, with a score for each class or one."""
    n = len(x.array)
    shapes = [(n, classes)] + [(n,), (n, 1)] * (classes == 2)
    of_x, of_y = {x}, {y}
    found = None
    for node in graph.operations:
        operands = {use.source for use in graph.operands[node]}
        if not operands.isdisjoint(of_y):
            of_y.add(node)
        if operands.isdisjoint(of_x):
            continue
        of_x.add(node)
        linear = node.op.name in ("add", "sub", "matmul", "inner")
        calls = graph.chains[node.scope]
        inside = any(call.kind == "function" and call.name != "linear" for call in calls)
        if linear and not inside and node not in of_y and node.array.shape in shapes:
            found = node
    return found


def level_of(graph: Graph, y: Node, score: Node) -> float:
    """Where the boundary of one score lies: ½ where it is compared with 0 and 1, else at 0."""
    reached, of_y = {score}, {y}
    for node in graph.operations:
        if all(use.source in of_y or graph.is_number(use.source) for use in graph.operands[node]):
            of_y.add(node)
    if score.array.size > len(score.array) or any((x.array < 0).any() for x in of_y):
        return 0.0
    for node in graph.operations:
        if any(use.source in reached for use in graph.operands[node]):
            if node.op.name == "exp":
                return 0.0
            reached.add(node)
    return 0.5
