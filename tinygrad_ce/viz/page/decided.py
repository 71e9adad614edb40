"""Constants of a graph that were decided by its values: `x ≥ 0` in sigmoid, `max z` in softmax.

A graph holds them as arrays. Here it is found again how they come from what the operation reads
that uses them: a formula counts if it gives the recorded array to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.viz.graph.walking import Graph, Use

Formula = Callable[[Any], Any]


def heaviside(v: Any) -> Any:
    """1 where v ≥ 0, else 0."""
    return (v >= 0).astype(v.dtype)


def side(v: Any) -> Any:
    """−1 where v ≥ 0, else 1."""
    return v.dtype.type(1) - v.dtype.type(2) * heaviside(v)


def largest(v: Any) -> Iterator[Formula]:
    """The largest along some axis, which stays or does not."""
    for axis in range(v.ndim):
        for keepdims in (True, False):
            yield partial(np.max, axis=axis, keepdims=keepdims)


def descending(v: Any, axis: int) -> Any:
    """The order of v, the largest first."""
    return np.argsort(-v, axis=axis, kind="stable")


FINDS = {
    "argmax": (np.argmax,),
    "argmin": (np.argmin,),
    "argsort": (partial(np.argsort, kind="stable"), descending),
}
"""By the operation that found places along an axis."""


def places(v: Any, finds: tuple[Callable[..., Any], ...]) -> Iterator[Formula]:
    """Where the largest or smallest is along some axis, or the order."""
    for axis in range(v.ndim):
        for find in finds:
            if find in (np.argmax, np.argmin):
                yield partial(find, axis=axis, keepdims=True)
            yield partial(find, axis=axis)


FORMULAS: dict[str, tuple[Formula, ...]] = {
    "sigmoid": (side, heaviside),
    "softplus": (side, lambda v: v >= 0),
    "log_sigmoid": (side, lambda v: ~(v >= 0)),
    "binary_cross_entropy_with_logits": (side,),
    "leaky_relu": (lambda v: v > 0,),
    "elu": (lambda v: v > 0,),
}
"""By the composed function that made the constant."""
LARGEST = {"softmax", "log_softmax", "logsumexp"}  # it cancels out, whichever axis it is along


def formulas_of(use: Use, v: Any) -> Iterator[Formula]:
    """What a constant may be of v."""
    constant, scope = use.source, use.target.scope
    name = scope.name if scope is not None else ""
    yield from FORMULAS.get(name, ())
    if name in LARGEST and use.target.op.name == "where":
        yield lambda v: v == 0
    elif name in LARGEST:
        yield from largest(v)
    yield from places(v, FINDS.get(constant.detached_by or "", ()))


def formula_of(graph: Graph, use: Use, value: Callable[[Any], Any]) -> Any:
    """The Symbol of a constant that was decided by values; None if it is not known how.

    `value` gives the Symbols of what was computed so far. A composed function decides by what it
    is given, so what it makes for itself on the way is not asked; and where two formulas give the
    recorded array, nobody knows which of them would give the next one.
    """
    constant, target, scope = use.source, use.target, use.target.scope
    others = [other.source for other in graph.operands[target] if other.source is not constant]
    inside = dict.fromkeys(y for y in graph.operations if y.scope is scope is not None)
    given = [other.source for node in inside for other in graph.operands[node]]
    name = scope.name if scope is not None else ""
    asked = [x for x in (*others, *given) if x not in inside or name not in FORMULAS]
    found: list[Any] = []
    for x in dict.fromkeys(asked):
        if not x.requires_grad or (symbol := value(x)) is None:
            continue
        made = (formula(symbol) for formula in formulas_of(use, x.array))
        found += [y for y in made if same_bits(y.value, constant.array)]
        if name == SHIFTED and target.op.name == "mul" and is_plain(graph, target):
            y = heaviside(symbol)
            found.append(y - (y.value - constant.array))  # [z ≥ 0] − y
    sure = len(found) == 1 or (len(found) > 1 and name in LARGEST)  # what is taken off cancels out
    return found[0] if sure else None


def is_plain(graph: Graph, product: Node) -> bool:
    """Whether z·([z ≥ 0] − y) is added to log(1 + e) without weights, which would be in both."""
    sums = [use.target for use in graph.used.get(product, ())]
    return all({x.op and x.op.name for x in y.inputs} == {"mul", "log1p"} for y in sums)


SHIFTED = "binary_cross_entropy_with_logits"


def same_bits(a: Any, b: Any) -> bool:
    """Whether two arrays are equal, of one dtype and shape."""
    a, b = np.asarray(a), np.asarray(b)
    return (
        a.shape == b.shape
        and a.dtype == b.dtype
        and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    )
