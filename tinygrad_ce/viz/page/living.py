"""What is played as one program of primitive steps, so that a page can compute it again.

The operations of the recorded graph and the rules of its way back are run once more on Symbols in
the place of arrays, and write down what they do. So every number of a page is a value of one
program, the same steps as a traced program has, and no derivative is known anywhere but in the
rules.

What the graph holds as a constant stays one: random numbers, masks that were given. A condition is
decided anew, as it is on record; where it is not, it has to be known for sure what decided it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.backward import Keeping
from tinygrad_ce.engine.chain import as_of, history
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import is_stained
from tinygrad_ce.engine.operands import holds_number
from tinygrad_ce.engine.table import SLOT
from tinygrad_ce.optim import Optimizer
from tinygrad_ce.program.ir import Program, Var
from tinygrad_ce.program.passes.exact import simplified
from tinygrad_ce.program.tracing.symbol import Symbol, TraceError, Tracer
from tinygrad_ce.viz.graph.prepared import made_inside, past_of
from tinygrad_ce.viz.graph.programs import Player
from tinygrad_ce.viz.graph.told import symbol_of
from tinygrad_ce.viz.graph.values import largest
from tinygrad_ce.viz.graph.walking import Graph, Use
from tinygrad_ce.viz.page.decided import formula_of
from tinygrad_ce.viz.page.encoding import encoded, encoded_array
from tinygrad_ce.viz.page.flow import Arrival, arrivals, first_index, run
from tinygrad_ce.viz.page.points import points_of
from tinygrad_ce.viz.page.training import Training, bounds_of, of_optimizer, of_program

MOST = 20_000  # numbers that are given
CLOSE = 1e-4  # of the largest element: how far numbers may be off that are computed again


class NotLivingError(Exception):
    """Why a page cannot compute what it shows."""


class Writer(Tracer):
    """A tracer of what no line of the user's does."""

    def __init__(self) -> None:
        super().__init__()
        del self.floor  # a frame, which would keep all that is played alive

    def note_names(self) -> None:
        """No line, and no variables with names."""

    def scope(self) -> tuple[str, ...]:
        """No call."""
        return ()

    def where(self) -> str:
        """No line."""
        return ""


def is_dropout(node: Node) -> bool:
    """Whether a node belongs to a call of dropout, whose mask is a constant of the graph."""
    return node.scope is not None and "dropout" in node.scope.name


class Living:
    """The values of a graph as Symbols, and the list of those that a page shows.

    Raises NotLivingError where the graph is too large, or cannot be computed again.
    """

    def __init__(self, graph: Graph, player: Player | None = None) -> None:
        self.graph = graph
        self.tracer = Writer()
        self.traced = player is not None
        self.training: Training | None = None
        self.made: dict[Node, Symbol] = {}  # what a traced program has computed
        if player is not None:
            self.training = of_program(self.tracer, player)
            self.made = {
                node: self.training.symbol(x)
                for x, node in player.values.items()
                if isinstance(node, Node) and not node.inputs
            }
            self.made |= {node: self.training.symbol(x) for node, x in player.twins.items()}
        self.symbols: dict[Node, Any] = {}
        self.leaves: dict[Node, Var] = {}  # whose numbers can be edited
        self.locked: dict[Node, None] = {}  # of these the ones that cannot: not all is on record
        self.unknown: set[Node] = set()  # what was computed, nobody knows from what
        self.wanted: dict[Var, int] = {}
        self.slopes: dict[Node, Any] = {}
        sources = dict.fromkeys(use.source for use in graph.uses)
        given = [x for x in sources if x.op is None or not x.inputs]
        size = sum(x.array.size for x in given)
        if size > MOST:
            raise NotLivingError(f"it has {size:,} numbers, and at most {MOST:,} can be edited")
        with np.errstate(all="ignore"):
            for x in given:
                if not self.is_in_doubt(x):
                    self.symbols[x] = self.given(x)
            for node in graph.operations:
                self.symbols[node] = self.computed(node)
        self.lock()

    def given(self, x: Node) -> Any:
        """The Symbol for a leaf: something to edit, or a constant."""
        editable = not self.graph.is_number(x) and self.graph.role(x) in ("input", "parameter")
        symbol = self.made.get(x)
        if symbol is not None and symbol.now in self.tracer.constants:
            symbol = None
        computed = symbol is not None and symbol.now not in dict(self.tracer.given)
        if computed or not editable or x.array.dtype.kind not in "fiub":
            return self.tracer.constant(x.array) if symbol is None else symbol
        symbol = self.tracer.input(np.array(x.array), "") if symbol is None else symbol
        self.leaves[x] = symbol.now
        return symbol

    def computed(self, node: Node) -> Any:
        """What the operation of a node makes of Symbols."""
        if isinstance(node.op, Keeping):  # what its backward reads are numbers
            raise NotLivingError(f"{node.op.name} is a Function, of which no steps are known")
        uses = self.graph.operands[node]
        for use in uses:
            if use.source not in self.symbols:
                self.symbols[use.source] = self.constant(use)
        operands = [self.symbols[use.source] for use in uses]
        for x, symbol in zip(node.inputs, operands):
            self.symbols.setdefault(x, symbol)  # a node may stand for x in the graph
        return self.run(node, operands, node)

    def run(self, made: Any, operands: list[Any], shown: Node) -> Any:
        """What an operation makes of Symbols, which is what a node holds."""
        try:
            y = run(made, operands)
        except (TraceError, TypeError, ValueError, AttributeError) as error:
            raise NotLivingError(f"{made.op.name} cannot be written down as steps") from error
        y = y if isinstance(y, Symbol) else self.tracer.constant(y)
        if not same(y.value, shown.array):
            raise NotLivingError(f"what {made.op.name} read was written in place since")
        return y

    def is_in_doubt(self, x: Node) -> bool:
        """Whether it may have been computed from values that the page has."""
        made_inside = x.scope is not None and self.graph.role(x) == "constant"
        before = x.detached_by or hasattr(x, "made") or hasattr(x, "window") or made_inside
        return x not in self.made and not x.live and bool(before) and not holds_number(x)

    def constant(self, use: Use) -> Any:
        """The Symbol of what is in doubt: computed again, decided again, or a constant for sure."""
        x = use.source
        found = self.again(x)
        found = formula_of(self.graph, use, self.symbols.get) if found is None else found
        if found is not None:
            return found
        if x.detached_by or hasattr(x, "made"):
            what = symbol_of(x.detached_by or "a condition")
            raise NotLivingError(
                f"{what}, which {symbol_of(use.target.op.name)} reads, was decided by the numbers, "
                "and how is not on record. Compute it under tinygrad_ce.source_lines(), or play a "
                "traced program"
            )
        return self.tracer.constant(x.array)

    def again(self, x: Node) -> Any:
        """What is on record of a constant, done again; None if something is missing there.

        What depends on nothing that the page computes is given, as any leaf is.
        """
        behind = self.behind(x)
        if behind is None:
            return None
        known = {y: self.symbols[y] for y, past in behind.items() if past is None}
        if all(symbol.now in self.tracer.constants for symbol in known.values()):
            return self.given(x)
        waiting = [x]
        while waiting:
            y, past = waiting[-1], behind[waiting[-1]]
            operands = [self.at(z, past) for z in past.inputs]
            missing = [z for z in operands if z not in known]
            if not missing:
                known[waiting.pop()] = self.run(past, [known[z] for z in operands], y)
            waiting += missing
        return known[x]

    def behind(self, x: Node) -> dict[Node, Any] | None:
        """What made a constant, and what made that; None for each value that the page has."""
        found: dict[Node, Any] = {}
        waiting = [x]
        while waiting:
            y = waiting.pop()
            if y in found:
                continue
            past = found[y] = None if y in self.symbols else past_of(y)
            if past is not None:
                waiting += [self.at(z, past) for z in past.inputs]
            elif y not in self.symbols:
                if y is x or y.inputs or y.detached_by or is_stained(y):
                    return None
                self.symbols[y] = self.tracer.constant(y.array)
        return found

    def at(self, x: Node, reader: Any) -> Node:
        """What an operand was when it was read."""
        x = as_of(x, reader.tick)
        return self.graph.stand.get(x, x)

    def lock(self) -> None:
        """Keep as it is of what a constant may have been computed before: the y of 1 − y.

        A constant of a call of ours comes from what this call reads, and often has its shape.
        """
        given = {x for x in self.graph.names if x in self.leaves}
        self.unknown = {x for x in self.graph.used if x not in given and self.was_computed(x)}
        for x in [x for x in self.leaves if not x.live]:
            if any(c is not x and self.may_come_from(c, x) for c in self.unknown):
                self.locked[x] = None

    def may_come_from(self, constant: Node, x: Node) -> bool:
        """Whether a constant may have been computed from a leaf."""
        if not made_inside(constant) or constant.array.shape == x.array.shape:
            return True
        return any(use.target.scope is constant.scope for use in self.graph.used.get(x, ()))

    def was_computed(self, x: Node) -> bool:
        """Whether numbers of a constant come from data, of which nobody knows which."""
        if x.inputs or x.live or x.detached_by != "" or x in self.made or hasattr(x, "made"):
            return False
        recorded = any(hasattr(use.target, "line") for use in self.graph.used.get(x, ()))
        if recorded or is_stained(x):
            return is_stained(x)
        base = x
        while hasattr(base, "window"):
            base = base.window[0]
        return base.op is not None or (base is x and made_inside(x))

    def places(self, node: Node, position: int) -> Any:
        """Where each element of the output came from, from 1 on, as ids or values decide it."""
        constant = self.tracer.constant
        operands = [self.symbols[use.source] for use in self.graph.operands[node]]
        size = node.inputs[position].array.size
        numbered = constant(np.arange(1, size + 1).reshape(node.inputs[position].array.shape))
        if node.op.name == "max_pool":
            best = table.argmax_pool(operands[0], self.symbols[node], *node.attrs)
            return table.take_in_windows(numbered, best, *node.attrs)
        for i in range(min(first_index(node), len(operands))):
            operands[i] = constant(np.zeros(node.inputs[i].array.shape, int))
        operands[position] = numbered
        return run(node, operands)

    def way_back(self, root: Node) -> list[Arrival]:
        """Everything that arrives on the way back, as Symbols."""
        graph, constant = self.graph, self.tracer.constant
        with np.errstate(all="ignore"):
            came = list(arrivals(root, graph.operations, graph.uses, self.value, constant))
        self.slopes = {graph.uses[arrival.use].source: arrival.after for arrival in came}
        return came

    def train(self, optimizer: Optimizer) -> None:
        """Let a step of an optimiser follow the way back."""
        self.training = of_optimizer(self.tracer, optimizer, self.symbols, self.slopes)

    def value(self, node: Node) -> Any:
        """What a rule reads."""
        return self.symbols[node]

    def follows(self, score: Node, x: Node) -> bool:
        """Whether all that makes a score of the points x is known."""
        made = {score, *history([score])}
        read = {use.source for use in self.graph.uses if use.target in made}
        return x in self.leaves and read.isdisjoint(self.unknown)

    def most(self, x: Node) -> int | None:
        """The largest index that a leaf may hold where it says which elements are taken."""
        sizes = [
            size
            for use in self.graph.used.get(x, ())
            if (size := size_of_axis(use.target, use.position)) is not None
        ]
        return min(sizes) - 1 if sizes else None

    def want(self, value: Any, constant: bool = False) -> int | None:
        """The number of a value that the page shows; None for one that no edit changes.

        With `constant` these have a number, too.
        """
        if not isinstance(value, Symbol) or (not constant and value.now in self.tracer.constants):
            return None
        return self.wanted.setdefault(self.tracer.look(value), len(self.wanted))

    def told(self, cards: dict[Node, tuple[str, int]], slopes: dict[Node, Any]) -> dict[str, Any]:
        """The program for the page: what is given, its steps, the value of each wanted number.

        `cards` says on which card a leaf is, and after how many elements of others; `slopes` are
        the gradients that arrive.
        """
        gradients = {x: self.want(slopes.get(x), constant=True) for x in self.leaves}
        training = self.training
        replaced = training.replaced if training is not None else []
        points = points_of(self.graph) if replaced else None
        if points is not None and not self.follows(points.score, points.x):
            points = None
        score = self.want(self.symbols[points.score]) if points is not None else None
        states = [(x, number) for x, y in replaced if (number := self.want(y)) is not None]
        values = dict(self.tracer.given)
        whole = Program("page", inputs=list(values), constants=self.tracer.constants,
                        steps=self.tracer.steps, outputs=list(self.wanted))  # fmt: skip
        program = simplified(whole)
        told = encoded(program, list(values), values)
        numbers = told.pop("ids")
        told["out"] = [numbers[x] for x in program.outputs]
        told["leaves"] = [
            {"n": self.graph.name(x), "i": numbers[var], "g": gradients[x]}
            | (dict(zip("co", cards[x])) if x in cards else {})
            | ({} if (most := self.most(x)) is None else {"most": most})
            for x, var in self.leaves.items()
            if x not in self.locked
        ]
        if names := ", ".join(filter(None, map(self.graph.name, self.locked))):
            told["locked"] = names
        if states and training is not None:
            told["train"] = {
                "states": [[numbers[x], told["out"][number]] for x, number in states],
                "rates": [
                    {"n": name, "i": numbers[x]} | bounds_of(name) for x, name in training.numbers
                ],
                "draws": training.draws or int(any(map(is_dropout, self.graph.operations))),
            }
            if points is not None and score is not None:
                x, y = numbers[self.leaves[points.x]], self.leaves.get(points.y)
                told["train"]["points"] = {
                    "x": x, **({"y": numbers[y]} if y else {"t": encoded_array(points.targets)}),
                    "score": told["out"][score], "level": points.level
                }  # fmt: skip
        return told


def size_of_axis(node: Node, position: int) -> int | None:
    """How long the axis is along which an operand says what is taken; None for other operands."""
    if node.op.name == "one_hot":
        return int(node.attrs[0])
    if node.op.name not in ("getitem", "put", "scatter") or position < first_index(node):
        return None
    attrs = dict(zip(node.op.names[node.op.fixed + 1 :], node.attrs))
    shape = attrs.get("shape", node.inputs[0].array.shape)
    slots = [part for part in attrs["index"] if part is not None]
    if Ellipsis in slots:
        at = slots.index(Ellipsis)
        slots[at : at + 1] = [slice(None)] * (len(shape) - len(slots) + 1)
    here = [n for n, part in zip(shape, slots) if part is SLOT]
    return here[position - first_index(node)]


def same(a: Any, b: Any) -> bool:
    """Whether two arrays are the same but for rounding."""
    a, b = np.asarray(a), np.asarray(b)
    near = a.shape == b.shape and a.dtype.kind in "fc"
    return np.array_equal(a, b) or (
        near and np.allclose(a, b, rtol=CLOSE, atol=CLOSE * largest(b), equal_nan=True)
    )
