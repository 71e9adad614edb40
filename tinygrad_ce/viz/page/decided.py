"""Constants of a graph that were decided by its values: `x ≥ 0` in sigmoid, `max z` in softmax.

A graph holds them as arrays. Here it is found again how they come from what the operation reads
that uses them: a formula counts if it gives the recorded array to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tinygrad_ce.viz.graph.walking import Graph, Use

Formula = Callable[[Any], Any]


def step(v: Any) -> Any:
    """1 where v ≥ 0, else 0."""
    return (v >= 0).astype(v.dtype)


def side(v: Any) -> Any:
    """−1 where v ≥ 0, else 1."""
    return v.dtype.type(1) - v.dtype.type(2) * step(v)


def largest(v: Any) -> Iterator[Formula]:
    """The largest along some axis, which stays or does not."""
    for axis in range(v.ndim):
        for keepdims in (True, False):
            yield partial(np.max, axis=axis, keepdims=keepdims)


def descending(v: Any, axis: int) -> Any:
    """The order of v, the largest first."""
    return np.argsort(-v, axis=axis, kind="stable")


def places(v: Any) -> Iterator[Formula]:
    """Where the largest or smallest is along some axis, and the order."""
    for axis in range(v.ndim):
        for keepdims in (True, False):
            for find in (np.argmax, np.argmin):
                yield partial(find, axis=axis, keepdims=keepdims)
        yield partial(np.argsort, axis=axis, kind="stable")
        yield partial(descending, axis=axis)


FORMULAS: dict[str, tuple[Formula, ...]] = {
    "sigmoid": (side, step),
    "softplus": (side, lambda v: v >= 0),
    "log_sigmoid": (side, lambda v: ~(v >= 0)),
    "binary_cross_entropy_with_logits": (side,),
    "huber_loss": (np.sign, lambda v: abs(v) <= 1),
    "smooth_l1_loss": (np.sign, lambda v: abs(v) <= 1),
    "leaky_relu": (lambda v: v > 0,),
    "elu": (lambda v: v > 0,),
}
"""By the composed function that made the constant."""
LARGEST = {"softmax", "log_softmax", "logsumexp"}
PLACES = {"argmax", "argmin", "argsort"}


def formulas_of(use: Use, v: Any) -> Iterator[Formula]:
    """What a constant may be of v."""
    constant, scope = use.source, use.target.scope
    name = scope.name if scope is not None else ""
    yield from FORMULAS.get(name, ())
    if name in LARGEST:
        yield from largest(v)
    if constant.cut in PLACES:
        yield from places(v)


def decided(graph: Graph, use: Use, value: Callable[[Any], Any]) -> Any:
    """The Symbol of a constant that was decided by values; None if it is not known how.

    `value` gives the Symbols of what was computed so far.
    """
    constant, target = use.source, use.target
    others = [other.source for other in graph.operands[target] if other.source is not constant]
    inside = [node for node in graph.operations if node.scope is target.scope is not None]
    given = [other.source for node in inside for other in graph.operands[node]]
    for x in dict.fromkeys([*others, *given]):
        if not x.requires_grad or (symbol := value(x)) is None:
            continue
        for formula in formulas_of(use, x.array):
            found = formula(symbol)
            if same_bits(found.value, constant.array):
                return found
        is_loss = target.scope is not None and target.scope.name == SHIFTED
        if is_loss and use.position == 1 and x in others:
            found = step(symbol)
            return found - (found.value - constant.array)  # [z ≥ 0] − y
    return None


SHIFTED = "binary_cross_entropy_with_logits"


def same_bits(a: Any, b: Any) -> bool:
    """Whether two arrays are equal, of one dtype and shape."""
    a, b = np.asarray(a), np.asarray(b)
    return (
        a.shape == b.shape
        and a.dtype == b.dtype
        and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    )
