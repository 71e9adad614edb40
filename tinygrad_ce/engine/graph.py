"""What was computed, from what, and when.

A `Node` is one value of the computation: the array, the operation that made it, and the nodes
it was made from. Nothing here knows a derivative.
"""

from __future__ import annotations

from typing import Any

from tinygrad_ce.engine.frame import Scope
from tinygrad_ce.engine.memory import Memory

new = object.__new__
DETACHED = "detach_()"  # what cut a node that had a past, in which older nodes find it
kinds: dict[str, type[Node]] = {}  # the result of an operation, a view that is behind a write


class Node:
    """One value in the computation graph, as plain data.

    `array` is the value, `op` the operation that made it, `inputs` the nodes that went in,
    `attrs` its other arguments (axis, shape, ...), `tick` its number on the clock and
    `scope` where in the program it was made. `live` says whether a gradient flows to it, which
    users read and set as `requires_grad`. A leaf has no inputs. `detached_by` names what cut the
    graph in a node that needs no gradient; it is "" if nothing did, and None if no data are in it,
    as in `tril(ones(3, 3)) > 0`.
    """

    __slots__ = ("__weakref__", "_grad", "array", "attrs", "called", "detached_by", "held", "hooks",
                 "inputs", "line", "live", "made", "memory", "op", "scope", "since", "source",
                 "switched", "tick", "was", "window")  # fmt: skip

    array: Any  # ndarray, a NumPy scalar for 0-d results, or a tracer's Symbol
    op: Any
    inputs: tuple[Node, ...]
    attrs: tuple[Any, ...]
    tick: int
    scope: Scope | None
    memory: Memory | None
    live: bool
    _grad: Any  # the gradient that a leaf (or retain_grad) keeps
    detached_by: str | None
    called: tuple[Any, str]  # (op, PyTorch's name), where the operation does not tell it
    held: dict[Node | None, Any]  # what NumPy may write, as it was (engine/lending.py)
    hooks: dict[Any, Any]  # handle -> what is called with the gradient (engine/hooks.py)
    line: tuple[tuple[Any, int, int, int], ...]  # of callers; only under source_lines()
    made: Any  # what made it without a gradient (operands.Made); only under source_lines()
    since: int  # of a gradient that several backward passes gave: when its first share came
    source: Node  # the tensor of another dtype that a constant was converted from
    switched: tuple[int, ...]  # when a leaf became live, stopped, ...; only after a change
    was: list[Node]  # what it was before each recorded write into it, oldest first
    window: tuple[Node, Any, tuple[Any, ...], tuple[Node, ...]]  # of a view: from what, and how

    def __init_subclass__(cls, kind: str = "") -> None:
        """`class Tensor(Node, kind="result")`: what operations make is a Tensor."""
        if kind:
            kinds[kind] = cls

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to this node."""
        return self.live  # pragma: no cover - every node is a Tensor, which has its own
