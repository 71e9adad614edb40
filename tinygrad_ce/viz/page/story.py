"""What a page tells about a graph, as plain data: its tensors, its steps, its sources.

Nothing here knows how a page looks. Arrays are given as arrays.py says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_ce.engine.backward import seed_for
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.lines import Place, place_of
from tinygrad_ce.optim import Optimizer
from tinygrad_ce.viz.graph.cards import Picture
from tinygrad_ce.viz.graph.labels import INFIX, sum_label
from tinygrad_ce.viz.graph.names import renamed
from tinygrad_ce.viz.graph.programs import Player
from tinygrad_ce.viz.graph.reading import Reader, together
from tinygrad_ce.viz.graph.told import SUMMED, entry, symbol_of
from tinygrad_ce.viz.graph.values import gradient_text, number
from tinygrad_ce.viz.graph.walking import Graph, Use, settings_of
from tinygrad_ce.viz.page.arrays import Windows
from tinygrad_ce.viz.page.checks import Check, check_uses, is_written
from tinygrad_ce.viz.page.flow import Arrival, arrivals, relation
from tinygrad_ce.viz.page.living import Living, NotLivingError
from tinygrad_ce.viz.page.mathematics import (
    STABLE,
    backward_math,
    forward_math,
    mathml,
    shortened,
    slope_begins,
    symbols_of,
)
from tinygrad_ce.viz.page.training import Update
from tinygrad_ce.viz.page.updates import letters_for, lines_of
from tinygrad_ce.viz.page.windows import images_of, slides_of, told_of

LISTED = 8  # of the classes y of (p − y)/N, and of the parameters in a folded call


# --- the whole ------------------------------------------------------------------------------


def story(
    reader: Reader,
    picture: Picture,
    player: Player | None = None,
    optimizer: Optimizer | None = None,
) -> dict[str, Any]:
    """Everything that the page needs besides the picture.

    The graph may be that of a program that was played, or be trained by an optimiser.
    """
    teller = Teller(reader, picture, player, optimizer)
    tensors = {id: teller.tensor(node) for node, id in teller.ids.items()}
    told: dict[str, Any] = {
        "title": picture.title,
        "loss": teller.loss,
        "tensors": tensors,
        "steps": teller.steps(),
        "none": teller.none,
        "leaves": teller.leaves(),
        "slides": teller.all_slides(),
        "files": list(teller.sources),
        "d": slope_begins(teller.loss),
        "letters": renamed("a, b, x: what goes in · y: what comes out", teller.letter),
    }
    for node, gradient in teller.gradients.items():
        if node in teller.ids:
            tensors[teller.ids[node]].update(
                g=teller.window(gradient, node, teller.slopes.get(node), constant=True),
                n=teller.arrived.get(node, 0),
                norm=gradient_text(gradient),
            )
    if teller.live is None:
        told["fixed"] = teller.fixed
        if optimizer is not None:
            told["fixed"] += ", so it does not train"
    else:
        told["live"] = teller.program()
    for step in told["steps"]:
        if "m" in step:
            step["m"] = shortened(step["m"], told["d"])
    teller.windows.fill()
    windows = teller.windows
    return {"pool": list(windows.pool), "pictures": windows.pictures, **told}


class Teller:
    """Tells one graph. `gradients` are complete when the steps are told.

    Of what is folded only the card is known: it is one step forward, and what goes on inside of
    it is left out.
    """

    def __init__(
        self,
        reader: Reader,
        picture: Picture,
        player: Player | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        self.reader, self.graph, self.fold = reader, reader.graph, reader.fold
        self.ids = {node: f"n{i}" for i, node in enumerate(reader.shown)}
        self.cards = {card.id: card for card in picture.cards}
        self.gradients: dict[Node, np.ndarray] = {}
        self.arrived: dict[Node, int] = {}
        self.inside: dict[Node, str] = {}  # parameters in folded calls, of which a step has tables
        self.sources: dict[Place, int] = {}
        self.loss = reader.loss
        self.letter = self.graph.letters
        self.windows = Windows()
        self.slides = list(slides_of(self.graph))
        self.images = images_of(self.graph, self.slides)
        self.sliding = {node: i for i, s in enumerate(self.slides) for node in s.nodes}
        self.none = ""  # why there are no gradients
        self.live, self.fixed = None, ""  # the same as a program, or why it is none
        try:
            self.live = Living(reader.graph, player)
        except NotLivingError as error:
            self.fixed = str(error)
        self.slopes: dict[Node, Any] = {}  # the gradients as values of that program
        self.optimizer = optimizer

    def window(
        self, array: Any, like: Node | None = None, value: Any = None, constant: bool = False
    ) -> dict[str, Any]:
        """The window onto an array, which is an image where the tensor `like` it is one.

        `value` is the same in the program, whose number is told as `num`: of a `constant`, too.
        """
        kind, shape = self.images.get(like, ("", ())) if like is not None else ("", ())
        if like is None or np.shape(array) != like.array.shape:
            kind, shape = "", ()
        elif array is not like.array:
            kind = "map" * bool(kind)
        told, number = self.windows.add(array, shape, kind), self.number(value, constant)
        if number is not None:
            told["num"] = number
        return told

    def number(self, value: Any, constant: bool = False) -> int | None:
        """The number of a value in the program that the page runs; None if it never changes."""
        return None if self.live is None else self.live.want(value, constant)

    def tensor(self, node: Node) -> dict[str, Any]:
        """Name, operation and value of one tensor."""
        card = self.cards[self.ids[node]]
        alone = card.role in ("step", "loss") and not any(self.reader.numbers(node))
        op = symbol_of(node.op.name) if alone and node.op.name in INFIX else card.op
        told = {"op": op, "name": card.name, "role": card.role, "v": self.shown(node)}
        told["t"] = str(node.array.dtype)
        if not card.name and card.op and node not in self.fold.groups:
            told["as"] = self.reader.phrase(node)
        return told

    def value(self, node: Node) -> np.ndarray:
        """What a card shows: a tensor, or the leaves that share it."""
        leaves = self.fold.leaves.get(node)
        return together(leaves) if leaves else np.asarray(node.array)

    def spot(self, node: Node) -> Node:
        """The tensor, or the leaf on whose card it is."""
        front = self.fold.of(node)
        return front if front in self.fold.leaves else node

    def shown(self, node: Node) -> dict[str, Any]:
        """A window onto what a card shows."""
        symbols = {} if self.live is None else self.live.symbols
        leaves = self.fold.leaves.get(node)
        symbol = together(leaves, symbols) if leaves and symbols else symbols.get(node)
        return self.window(self.value(node), node, symbol)

    def steps(self) -> list[dict[str, Any]]:
        """The start, each operation, the seed, each arrival of a gradient, the end."""
        told = [{"k": "start"}]
        for node in self.reader.shown:
            if node in self.fold.groups:
                told.append(self.folded(node))
            elif node.inputs:
                told.append(self.forward(node))
        return [*told, *self.way_back(), *self.all_updates(), {"k": "end"}]

    def all_updates(self) -> list[dict[str, Any]]:
        """How an optimiser, or the program, replaces each parameter."""
        if self.live is None:
            return []
        if self.optimizer is not None:
            if self.none:
                raise ValueError(f"play: the optimizer has no gradient to go by. {self.none}")
            self.live.train(self.optimizer)
        if self.live.training is None:
            return []
        self.live.training.find_updates(self.live.slopes)
        alike: dict[Node, list[Update]] = {}
        for update in self.live.training.updates:
            alike.setdefault(self.spot(update.node), []).append(update)
        return [
            self.update(update, len(group))
            for spot, group in alike.items()
            for update in group[: 1 if spot in self.fold.leaves else None]
        ]

    def update(self, update: Update, alike: int) -> dict[str, Any]:
        """How one parameter is replaced, and so many others on its card."""
        name = self.graph.name(update.node) or "w"
        symbols = {**letters_for(name), "L": self.loss}

        def part(x: Any) -> Any:
            if isinstance(x, (str, int)):
                return x
            caption, value = x
            return {
                "c": re.sub("[A-Za-z]+", lambda m: symbols.get(m[0], m[0]), caption),
                "v": self.window(value.value, update.node, value),
            }

        lines = [
            {"m": mathml(line.math, symbols) if line.math else "", "row": list(map(part, line.row))}
            for line in lines_of(update)
        ]
        step = {"k": "u", "name": name, "kind": update.kind, "lines": lines}
        if alike > 1:
            step["why"] = f"{alike - 1:,} more parameters are replaced in the same way."
        spot = self.spot(update.node)
        return step | ({"x": self.ids[spot]} if spot in self.ids else {})

    def program(self) -> dict[str, Any]:
        """The program behind all numbers, its leaves, and the gradients that `leaves` lists."""
        assert self.live is not None
        listed = [self.live.want(self.slopes[x]) for x in self.gradients if not x.inputs]
        cards = {x: (id, 0) for x, id in (self.ids | self.inside).items()}
        for front, leaves in self.fold.leaves.items():
            before = 0
            for leaf in leaves:
                cards[leaf], before = (self.ids[front], before), before + leaf.array.size
        return self.live.told(cards, self.slopes) | {"listed": listed}

    def way_back(self) -> list[dict[str, Any]]:
        """The seed and each arrival of a gradient at a card; nothing where there are none."""
        root = self.reader.root
        came, self.none = all_arrivals(self.graph)
        if self.none:
            return []
        self.gradients[root] = np.ones(root.array.shape)
        for arrival in came:
            self.gradients[self.graph.uses[arrival.use].source] = arrival.after
        for front, leaves in self.fold.leaves.items():
            if front in self.gradients:
                shared = together(leaves, self.gradients)
                for leaf in leaves:
                    self.gradients.pop(leaf, None)
                self.gradients[front] = shared
        seen = self.at_cards(came)
        if self.live is not None:
            written = self.live.way_back(root)
            ones = np.ones(root.array.shape, root.array.dtype)
            self.slopes[root] = self.live.tracer.constant(ones)
            for arrival in written:
                self.slopes[self.graph.uses[arrival.use].source] = arrival.after
            for front, leaves in self.fold.leaves.items():
                self.slopes[front] = together(leaves, self.slopes)
            seen = [
                (replace(arrival, live=twin), count)
                for (arrival, count), (twin, _) in zip(seen, self.at_cards(written))
            ]
        for arrival, _ in seen:
            source = self.spot(self.graph.uses[arrival.use].source)
            self.arrived[source] = self.arrived.get(source, 0) + 1
        single = {arrival.use: arrival.new for arrival, count in seen if count == 1}
        checks = check_uses(root, self.graph.uses, single) if single else {}
        told: list[dict[str, Any]] = [{"k": "seed", "y": self.ids[root]}]
        so_far: dict[Node, int] = {}
        for arrival, count in seen:
            source = self.spot(self.graph.uses[arrival.use].source)
            so_far[source] = so_far.get(source, 0) + 1
            step = self.backward(arrival, so_far[source] == self.arrived[source])
            step["ok"] = said_of(checks.get(arrival.use), count)
            told.append(step)
        return told

    def at_cards(self, came: list[Arrival]) -> list[tuple[Arrival, int]]:
        """What arrives at cards from other cards; all that comes out of one folded card as one.

        With each goes how many arrivals it stands for.
        """
        merged: dict[tuple[Node, Node], list[Arrival]] = {}
        order: list[tuple[Arrival, list[Arrival]]] = []
        for arrival in came:
            use = self.graph.uses[arrival.use]
            source, front = self.spot(use.source), self.fold.of(use.target)
            if not self.is_seen(use):
                continue
            parts = [arrival]
            if front in self.fold.groups or source in self.fold.leaves:
                parts = merged.setdefault((source, front), [])
                parts.append(arrival)
            order.append((arrival, parts))
        there: dict[Node, np.ndarray] = {}
        seen = []
        for arrival, parts in order:
            if arrival is parts[-1]:
                source = self.spot(self.graph.uses[arrival.use].source)
                new, before = self.sum_of(parts, source), there.get(source)
                there[source] = new if before is None else before + new
                whole = replace(arrival, new=new, before=before, after=there[source])
                seen.append((whole, len(parts)))
        return seen

    def sum_of(self, parts: list[Arrival], source: Node) -> np.ndarray:
        """What arrives at a card together: a sum, for leaves that share it one for each."""
        sums: dict[Node, np.ndarray] = {}
        for part in parts:
            leaf = self.graph.uses[part.use].source
            sums[leaf] = sums[leaf] + part.new if leaf in sums else part.new
        leaves = self.fold.leaves.get(source)
        return together(leaves, sums) if leaves else sums[source]

    def leaves(self) -> list[list[Any]]:
        """Name, shape and gradient of each parameter, on a card of its own or not."""
        return [
            [self.title(node), list(self.value(node).shape), gradient_text(g)]
            for node, g in self.gradients.items()
            if not node.inputs
        ]

    def title(self, leaf: Node) -> str:
        """What a parameter is called."""
        card = self.cards[self.ids[leaf]].name if leaf in self.fold.leaves else ""
        return card or self.graph.name(leaf) or "parameter"

    def is_seen(self, use: Use) -> bool:
        """Whether a gradient goes from one card to another here, or to what is inside of it."""
        source = self.fold.of(use.source)
        return source in self.ids and self.fold.of(use.target) is not source

    def all_slides(self) -> list[dict[str, Any]]:
        """What slides over images: the cards of the image, the kernels, the bias and the output.

        What has no card is given as an array, `v`, with its gradient, `g`.
        """
        return [
            told_of(s)
            | {name: self.reference(x) for name in "xkby" if (x := getattr(s, name)) is not None}
            for s in self.slides
        ]

    def reference(self, x: Node | np.ndarray) -> dict[str, Any]:
        """A card, or the arrays of what has none."""
        if not isinstance(x, Node):
            return {"v": self.windows.add(x, x.shape, "grey")}
        if x in self.ids:
            return {"id": self.ids[x]}
        told = {"v": self.shown(x)}
        if x in self.gradients:
            told["g"] = self.window(self.gradients[x], x, self.slopes.get(x))
        return told

    def add_slide(self, step: dict[str, Any], *nodes: Node) -> None:
        """Which convolution or pool a step belongs to, if it is one."""
        found = {self.sliding[node] for node in nodes if node in self.sliding}
        if len(found) == 1:
            step["slide"] = found.pop()

    # --- one step ---------------------------------------------------------------------------

    def symbols(self, node: Node) -> dict[str, str]:
        """What the letters of a rule are called at this node."""
        names = [self.called(x) for x in self.operands(node)]
        numbers = self.reader.numbers(node)
        found = symbols_of(names, numbers, self.letter)
        scaled = node.op.name == "mul" and any(numbers)
        found["⊙"] = "·" if scaled or not node.array.ndim else "⊙"
        return {**found, "y": self.graph.name(node) or self.letter["y"], "L": self.loss}

    def called(self, node: Node) -> str | None:
        """The name of a tensor in formulas: the user's, or what a constant is: `max z`."""
        card = self.cards[self.ids[node]] if node in self.ids else None
        constant = None
        if card and card.role == "constant" and card.name != self.reader.origin(node):
            constant = card.name
        return self.graph.name(node) or constant or None

    def operands(self, node: Node) -> list[Node]:
        """The operands as they were when the operation read them."""
        return [use.source for use in self.graph.operands[node]]

    def forward(self, node: Node) -> dict[str, Any]:
        """One operation."""
        symbols = self.symbols(node)
        step: dict[str, Any] = {"k": "f", "y": self.ids[node]}
        if any(x.array.ndim == 1 for x in self.operands(node)):
            symbols["vector"] = "yes"
        step["m"] = forward_math(node.op.name, settings_of(node), symbols, len(node.inputs))
        stable = STABLE.get(node.scope.name) if node.scope is not None else None
        if stable:
            step["why"] = stable
        operands, letters = self.operands(node), self.letters(node, symbols)
        places = self.places(operands)
        step["x"] = [self.operand(node, i, operands[i]) for i in places]
        shared = self.fold.leaves
        step["as"] = ["" if self.spot(operands[i]) in shared else letters[i] for i in places]
        step["out"] = symbols["y"]
        self.add_slide(step, node)
        self.add_source(step, node)
        return step

    def places(self, operands: Sequence[Node]) -> list[int]:
        """The places of the operands, of those that share a card only the first."""
        first = {self.spot(x): i for i, x in reversed([*enumerate(operands)])}
        shared = self.fold.leaves
        return [
            i for i, x in enumerate(operands) if (f := self.spot(x)) not in shared or first[f] == i
        ]

    def folded(self, node: Node) -> dict[str, Any]:
        """A folded call as one step: what goes in, and what comes out."""
        read = [
            self.spot(use.source)
            for member, front in self.fold.front.items()
            if front is node
            for use in self.graph.operands.get(member, ())
            if self.fold.of(use.source) is not node or self.graph.role(use.source) == "parameter"
        ]
        once = list(dict.fromkeys(read))
        given = [x for x in once if x in self.ids]
        inside = [x for x in once if x not in self.ids and self.graph.name(x)][:LISTED]
        for x in inside:
            self.inside.setdefault(x, f"p{len(self.inside)}")
        step: dict[str, Any] = {"k": "f", "y": self.ids[node]}
        step["x"] = [{"id": self.ids[x]} for x in given]
        step["x"] += [{"v": self.shown(x), "card": self.inside[x]} for x in inside]
        step["as"] = [self.graph.name(x) for x in [*given, *inside]]
        step["out"] = self.graph.name(node) or self.letter["y"]
        step["why"] = self.folded_text(node)
        self.add_slide(step, *(x for x, front in self.fold.front.items() if front is node))
        self.add_source(step, node)
        return step

    def folded_text(self, node: Node) -> str:
        """How much a card stands for."""
        count = self.fold.groups[node].operations
        return f"{count:,} operation{'s' * (count != 1)}, folded into one card."

    def letters(self, node: Node, symbols: Mapping[str, str]) -> list[str]:
        """What each operand is called in the formula."""
        if len(node.inputs) == 1:
            return [symbols["x"]]
        letters = [symbols[letter] for letter in "abc"[: len(node.inputs)]]
        return letters + [""] * (len(node.inputs) - len(letters))

    def operand(self, node: Node, position: int, x: Node) -> dict[str, Any]:
        """One operand of an operation: a card, or a number without one."""
        spot = self.spot(x)
        told: dict[str, Any] = {"id": self.ids[spot]} if spot in self.ids else {"v": self.shown(x)}
        if self.graph.is_number(x) or spot in self.fold.leaves:
            return told
        related = self.related(node, position)
        if related is not None and x.array.size > 0:
            told["m"] = related
        if node.op.broadcasts and x.array.shape != node.array.shape and related == "e":
            told["c"] = sum_label(x.array.shape, node.array.shape).removeprefix("Σ ")
        return told

    def related(self, node: Node, position: int) -> Any:
        """How elements belong together; for places that an edit may change, their number too."""
        related = relation(node, position)
        if self.live is not None and related is not None and related[0] == "ix":
            with np.errstate(all="ignore"):
                number = self.number(self.live.places(node, position))
            related += [] if number is None else [number]
        return related

    def backward(self, arrival: Arrival, last: bool) -> dict[str, Any]:
        """One gradient on its way from an operation to one of its operands."""
        use = self.graph.uses[arrival.use]
        front, source = self.fold.of(use.target), self.spot(use.source)
        step: dict[str, Any] = {"k": "b", "y": self.ids[front], "x": self.ids[self.fold.of(source)]}
        whole = front in self.fold.groups or source in self.fold.leaves
        step |= self.through(use) if whole else self.rule(use, arrival)
        if self.arrived[source] > 1:
            step["share"] = 1
        if source not in self.ids:  # the card shows another value of the same call
            step["why"] = "It arrives at a value inside of the folded call, which is not shown."
            step |= {"map": None, "in": 1}
        if arrival.before is not None:
            step["old"] = self.of(arrival, "before", source)
        if arrival.before is not None or not last or "in" in step:
            step["new"] = self.of(arrival, "new", source)
        if arrival.before is not None and (not last or "in" in step):
            step["now"] = self.of(arrival, "after", source)
        if last and looks_like_p(self.graph, source):
            step["p"] = 1  # to be checked again after an edit
            said = residual(source.array, self.gradients[source])
            if said:
                step["is"] = said
        inside = [x for x, there in self.fold.front.items() if there is front]
        self.add_slide(step, use.target, *inside)
        if "slide" in step and not use.position and use.target.op.name == "matmul":
            step["to"] = "k"
        elif "slide" in step and use.position and use.target.op.name == "add":
            step["to"] = "b"
        self.add_source(step, use.target)
        return step

    def rule(self, use: Use, arrival: Arrival) -> dict[str, Any]:
        """What an operation multiplies by: as mathematics, as a sentence, and as numbers."""
        node, position, name = use.target, use.position, use.target.op.name
        symbols = self.symbols(node)
        letter = "x" if len(node.inputs) == 1 else "abc"[position] if position < 3 else "x"
        if position > 2:
            symbols["x"] = self.called(use.source) or self.letter["x"]
        shapes = use.source.array.shape, node.array.shape
        stretched = arrival.product.shape != arrival.new.shape
        summed = sum_label(*shapes).removeprefix("Σ ") if stretched else ""
        if name in ("matmul", "inner"):
            summed = "stacks" if shapes[0][:-2] != shapes[1][:-2] else ""
            summed = "stacks" if len(shapes[0]) == 1 and len(shapes[1]) > 1 else summed
            stretched = False
        share = self.arrived[use.source] > 1
        step: dict[str, Any] = {
            "m": backward_math(name, position, settings_of(node), symbols, letter, summed, share),
            "as": [symbols[letter], symbols["y"]],
            "lab": self.reader.label(use, node),
            "map": self.related(node, position),
        }
        why = entry(name).why
        if why:
            step["why"] = why[min(position, len(why) - 1)]
        if stretched:
            step["why"] = f"{step.get('why', '')} {SUMMED}".strip()
        moves = arrival.live is not None and self.number(arrival.live.local) is not None
        plain = arrival.local is None or bool(np.all(arrival.local == 1))
        if moves or not plain:
            step["loc"] = self.of(arrival, "local", node)
            if plain:
                step["loc"]["one"] = 1  # it is so now, and may be otherwise after an edit
            if stretched:
                step |= {"full": self.of(arrival, "product", node), "sum": summed}
        if name in ("matmul", "inner") and self.operands(node)[1 - position] in self.ids:
            other = self.operands(node)[1 - position]
            step["o"] = [self.ids[other], symbols["ba"[position]]]
        return step

    def of(self, arrival: Arrival, part: str, like: Node) -> dict[str, Any]:
        """A window onto what belongs to an arrival."""
        twin = arrival.live and getattr(arrival.live, part)
        return self.window(getattr(arrival, part), like, twin)

    def through(self, use: Use) -> dict[str, Any]:
        """The same of a folded call, of which nothing is known but that it has a derivative."""
        front = self.fold.of(use.target)
        name = self.graph.name
        symbols = {
            "x": name(use.source) or self.letter["x"],
            "y": name(front) or self.letter["y"],
        }
        source = self.spot(use.source)
        leaves = self.fold.leaves.get(source)
        if leaves:
            symbols["x"] = self.letter["x"]
        return {
            "m": backward_math(
                "", 0, (), {**symbols, "L": self.loss}, "x", share=self.arrived[source] > 1
            ),
            "as": [symbols["x"], symbols["y"]],
            "lab": self.reader.label(use, front),
            "why": f"{len(leaves):,} tensors share this card: each has a gradient of its own."
            if leaves
            else self.folded_text(front),
        }

    def add_source(self, step: dict[str, Any], node: Node) -> None:
        """The place in the user's program, as a number into `sources`, and what is out of date."""
        late = [x for x in self.operands(node) if is_written(x, node.tick)]
        if late:
            names = " and ".join(self.graph.name(x) or "an operand" for x in late)
            step["late"] = (
                f"{names[0].upper()}{names[1:]} was written in place after this operation read it: "
                "its old numbers are gone, and those that are shown here are of now."
            )
        place = place_of(node)
        if place is not None:
            step["src"] = self.sources.setdefault(place, len(self.sources))


# --- what was checked -----------------------------------------------------------------------


def all_arrivals(graph: Graph) -> tuple[list[Arrival], str]:
    """Everything that arrives on the way back, or why there is nothing."""
    root = graph.roots[-1]
    if not root.requires_grad:
        why = (
            f"{root.detached_by} cut the graph" if root.detached_by else "nothing here requires one"
        )
        return [], f"There are no gradients: {why}."
    if root.array.size != 1:
        return [], "There are no gradients: the last tensor is not a scalar."
    try:
        seed_for(root, None, False)  # raises where the graph was freed
        with np.errstate(all="ignore"):
            return list(arrivals(root, graph.operations, graph.uses)), ""
    except RuntimeError as error:
        return [], f"There are no gradients: {str(error).removeprefix('backward: ')}."


def said_of(check: Check | None, count: int) -> dict[str, Any]:
    """What a page says about a central difference: ok is 1, 0 or, where nothing is known, −1."""
    if count > 1:
        return {"ok": -1, "text": f"Not checked: {count:,} gradients arrive here together."}
    if check is None:
        return {"ok": -1, "text": "Not checked against a central difference: the graph is large."}
    smooth = check.checked - check.straddled
    elements = "1 element" if smooth == 1 else f"{smooth} elements"
    share = "" if check.size == check.checked else f" of {check.size:,}"
    to = f"to {number(check.difference)}" if check.difference else "exactly"
    agree = f"grees with central differences at {elements}{share}, {to}."
    if check.differs:
        at = f"[{', '.join(map(str, check.index))}]" if check.index else ""
        return {"ok": 0, "text": f"Differs from the central difference {number(check.slope)}{at} "
                f"by {number(check.difference)}."}  # fmt: skip
    if check.kink:
        rest = f" Elsewhere it a{agree}" if smooth and check.agrees else ""
        return {"ok": -1, "kink": 1, "text": f"A central difference straddles a kink here, with "
                f"another slope on each side: {check.kink}.{rest}"}  # fmt: skip
    if check.agrees:
        return {"ok": 1, "text": f"A{agree}"}
    return {"ok": -1, "text": f"No central difference: {check.note or 'nothing to compare'}."}


def looks_like_p(graph: Graph, z: Node) -> bool:
    """Whether a softmax or a sigmoid of z is computed: exp of z itself, less a constant, or ± z.

    For a matrix the exponentials have to be summed along their rows.
    """
    for use in graph.used.get(z, ()):
        found = [use.target] if use.target.op.name == "exp" else []
        others = [x for x in use.target.inputs if x is not z]
        if use.target.op.name in ("sub", "mul", "neg") and not any(x.requires_grad for x in others):
            following = graph.used.get(use.target, ())
            found += [after.target for after in following if after.target.op.name == "exp"]
        if found and (z.array.ndim == 1 or z.array.shape[-1:] == (1,)):
            return not (has_signs(z) or (is_turned(z) and found[0] is use.target))
        for e in found:
            readers = [after.target for after in graph.used.get(e, ())]
            sums = [settings_of(y)[0] for y in readers if y.op.name == "sum"]
            if z.array.ndim - 1 in sums:
                return True
    return False


def is_turned(x: Node) -> bool:
    """Whether x is −z or c − z, of which an exp is on the way to the sigmoid of z."""
    turned = {"neg": 0, "sub": 1}.get(x.op.name if x.inputs else "")
    return turned is not None and not any(x.requires_grad for x in x.inputs[:turned])


def has_signs(x: Node) -> bool:
    """Whether x is y·z with labels of ±1 or the like: its sigmoid is not that of any class."""
    others = [np.asarray(other.array) for other in x.inputs if not other.requires_grad]
    signed = any((other < 0).any() for other in others)
    return bool(x.inputs) and x.op.name in ("mul", "truediv") and signed


def residual(value: np.ndarray, gradient: np.ndarray) -> dict[str, Any] | None:
    """Whether a gradient is (p − y)/N with p a softmax or a sigmoid of the value: checked here.

    y = p − N·gradient must be 0 or 1 everywhere, and one 1 in each row for a softmax. Gives N, the
    largest difference d, what p is of, and the first of the y, as classes or as numbers.
    """
    if value.dtype.kind != "f" or value.size < 2 or value.ndim not in (1, 2):
        return None
    z, g = value.astype(np.float64), np.asarray(gradient, np.float64)
    if z.shape != g.shape or not (np.isfinite(z).all() and np.isfinite(g).all()):
        return None
    classes = z.ndim == 2 and z.shape[1] > 1
    e = np.exp(z - z.max(1, keepdims=True)) if classes else np.exp(-np.abs(z))
    p = e / e.sum(1, keepdims=True) if classes else np.where(z < 0, e, 1) / (1 + e)
    if not g.any() or not ((p > 1e-6) & (p < 1 - 1e-6)).any():  # then there is nothing to see
        return None
    n = z.shape[0]
    y = np.round(p - n * g)
    difference = np.abs(n * g - (p - y)).max()
    tolerance = 1e-9 if value.dtype == np.float64 else 1e-5
    if difference > tolerance or not np.isin(y, (0, 1)).all():
        return None
    if classes and (y.sum(1) != 1).any():
        return None
    first = (y.argmax(1) if classes else y.ravel())[:LISTED].astype(int).tolist()
    listed = ", ".join(map(str, first)) + ", …" * (len(first) < n)
    of = "softmax" if classes else "sigmoid"
    return {"of": of, "N": n, "d": float(difference / n), "y": listed}
