"""How inputs were prepared: operations without a gradient, which the graph itself does not hold.

Under `source_lines()`, so in `draw(model, x)` too, a tensor that needs no gradient remembers what
made it. Here those operations that lead from an input to the graph become part of it, on nodes of
their own: nothing of the user's changes. What was decided by values that need a gradient is drawn
as a constant, but still known: `past_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tinygrad_ce.engine.chain import as_of
from tinygrad_ce.engine.functions import LOOK, UNKNOWN
from tinygrad_ce.engine.graph import Node, new
from tinygrad_ce.engine.operands import Made
from tinygrad_ce.engine.rule import Op
from tinygrad_ce.viz.graph.told import symbol_of


def prepared(
    operations: Iterable[Node], roots: Iterable[Node], is_input: Callable[[Node], bool]
) -> dict[Node, Node]:
    """A node with operation and operands for each that has none, but was made from an input.

    Masks and the like, made of nothing but constants, stay constants. Oldest first.
    """
    known: dict[Node, Made] = {}
    stack = [as_of(x, node.tick) for node in operations for x in node.inputs] + [*roots]
    while stack:
        x = stack.pop()
        made = made_by(x)
        if made and x not in known:
            known[x] = made
            stack += made.inputs
    stand: dict[Node, Node] = {}
    for x in sorted(known, key=lambda x: known[x].tick):
        if any(y in stand or (y not in known and is_input(y)) for y in known[x].inputs):
            stand[x] = with_past(x, known[x], stand)
    return stand


def made_by(x: Node) -> Made | None:
    """What made a node that needs no gradient of others that need none, if it remembers.

    An input in the dtype of what stands beside it is that input.
    """
    made: Made | None = None if x.live or x.inputs else getattr(x, "made", None)
    if made is None or made.op in (None, LOOK) or any(y.live for y in made.inputs):
        return None
    return None if hasattr(x, "source") and not hasattr(x.source, "made") else made


def past_of(x: Node) -> Any:
    """What made a node under source_lines(): `op`, `inputs`, `attrs`, `tick`; None if unknown.

    Of an operation that was not recorded there its own constants have no past.
    """
    if x.inputs:
        return x if hasattr(x, "line") else None
    if hasattr(x, "window") and not (x.live or x.window[0].live):  # a view always remembers
        source, op, attrs, others = x.window
        return Made(op, (source, *others), attrs, 0, 0)
    made: Made | None = None if x.live else getattr(x, "made", None)
    known = made is not None and made is not UNKNOWN and not was_written(x, made)
    return made if known else None


def made_inside(x: Node) -> bool:
    """Whether it is a constant that a function of ours made for itself."""
    return not x.inputs and x.scope is not None and x.scope.kind == "function"


def was_written(x: Node, made: Made) -> bool:
    """Whether a node has other numbers now than it was made with."""
    return x.memory is not None and x.memory.written > made.tick


def with_past(x: Node, made: Made, stand: dict[Node, Node]) -> Node:
    """A node with the numbers of x, made of the operands that it had."""
    y = new(type(x))
    op = made.op
    if was_written(x, made):
        op = Op(f"{symbol_of(op.name)}, written in place", lambda x: x, (None,), False, "")
    y.array, y.op, y.attrs, y.tick = x.array, op, made.attrs, made.tick
    y.inputs = tuple(stand.get(z, z) for z in made.inputs)
    y.scope, y.memory, y.line = x.scope, x.memory, x.line
    y.live, y.detached_by, y._grad = False, None, None
    return y
