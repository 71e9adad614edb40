"""From a graph to the cards of a picture: texts, gradients, and which cluster a card stands in.

Gradients are computed for the picture; no `.grad` is touched. Cards are numbered by their place in
the graph, so the same program gives the same picture.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np

from tinygrad_ce.engine.backward import seed_for
from tinygrad_ce.engine.chain import propagate
from tinygrad_ce.engine.frame import Scope, chain_of
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.lines import place_of
from tinygrad_ce.viz.graph.cards import Card, Cluster, Edge, Options, Picture
from tinygrad_ce.viz.graph.folding import fold
from tinygrad_ce.viz.graph.labels import (
    CONSTANTS,
    INFIX,
    bracketed,
    derivative_label,
    in_words,
    op_label,
)
from tinygrad_ce.viz.graph.names import short, writable
from tinygrad_ce.viz.graph.prepared import made_inside
from tinygrad_ce.viz.graph.told import entry, symbol_of
from tinygrad_ce.viz.graph.values import (
    gradient_text,
    listed,
    number,
    shape_text,
    sizes_text,
    value_text,
    written_with,
)
from tinygrad_ce.viz.graph.walking import VIEWS, Graph, Use, common, settings_of

NAME = 13  # letters of a name that fit into a label
HEAD = 16  # letters of the program's text that fit on a card
PHRASE = 34  # letters of an expression that stands for a name
WORD = re.compile(r"[\w.]+")


def picture_of(
    root: Node,
    names: dict[Node, str] | None = None,
    options: Options | None = None,
    given: Collection[Node] = (),
) -> Picture:
    """The cards, edges and clusters of the graph behind `root`, or of its gradients' graph.

    >>> from tinygrad_ce import tensor
    >>> [card.op for card in picture_of(tensor(2.0, requires_grad=True) * 3).cards]
    ['', '× 3']
    """
    options = options or Options()
    if not options.backward:
        return Reader(Graph([root], names or {}, given=given), options).read()
    from tinygrad_ce.viz.graph.gradients import gradient_graph

    return Reader(gradient_graph(root, names or {}, given), options).read()


def gradients_of(root: Node, nodes: Iterable[Node]) -> tuple[dict[Node, np.ndarray], str]:
    """∂root/∂node for all nodes that get one, and why there is none if there is none."""
    if not root.requires_grad:
        floats = root.array.dtype.kind == "f"
        why = "nothing here requires one" if floats else "only floats have one"
        return (
            {},
            f"no gradient: {f'{root.detached_by} cut the graph' if root.detached_by else why}",
        )
    if root.array.size != 1:
        return {}, "no gradients: the last tensor is not a scalar"
    try:
        with np.errstate(all="ignore"):
            arrived = propagate({root: seed_for(root, None, False)}, wanted=set(nodes))
    except RuntimeError as error:
        why = str(error).removeprefix("backward: ").partition(". ")[0]
        return {}, f"no gradients: {why}"
    return {node: np.asarray(g) for node, g in arrived.items()}, ""


def line_of(node: Node) -> str:
    """Where in the program a node was made, if it remembers: `train.py:12`."""
    place = None if made_inside(node) else place_of(node)
    return writable(f"{place.file}:{place.number}") if place else ""


Arrived = Mapping[Node, np.ndarray]


def together(leaves: Sequence[Node], arrived: Arrived | None = None) -> np.ndarray:
    """The values of leaves, or their gradients, along a new first axis; of many shapes in a row."""
    arrays = [np.asarray(leaf.array) for leaf in leaves]
    if arrived is not None:
        arrays = [arrived.get(leaf, np.zeros(array.shape)) for leaf, array in zip(leaves, arrays)]
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    return np.concatenate([array.ravel() for array in arrays])


def named_together(role: str, names: Sequence[str]) -> str:
    """`2,000 parameters w0 … w1999`, without names where there are none."""
    called = f" {names[0]} … {names[-1]}" if names[0] and names[-1] else ""
    return f"{len(names):,} {role}s{called}"


class Reader:
    """Reads one graph: what stands on each card, and what goes from one to the other."""

    def __init__(self, graph: Graph, options: Options) -> None:
        self.graph, self.options = graph, options
        self.fold, self.note = fold(graph, options.depth, options.caller)
        self.shown = self.fold.in_order(graph)
        self.beside = self.stand_beside()
        self.root = graph.roots[-1]
        self.letters = graph.letters  # no user's name means another tensor
        self.both = options.gradients and not options.backward  # whether the way back is drawn

    def read(self) -> Picture:
        """The picture of the graph."""
        with written_with(self.options.digits):
            return self.picture()

    def picture(self) -> Picture:
        """The same, with as many digits as are set just now."""
        graph, why = self.graph, ""
        arrived: dict[Node, np.ndarray] = {}
        if self.both:
            shared = [leaf for leaves in self.fold.leaves.values() for leaf in leaves]
            arrived, why = gradients_of(self.root, [*self.shown, *shared])
        count = len(graph.operations)
        notes = [f"{count:,} operation{'s' * (count != 1)}", self.note, why]
        picture = Picture(self.title(), [note for note in notes if note], options=self.options)
        picture.folded = bool(self.fold.groups)
        picture.letters = self.letters
        clusters = self.clusters(picture)
        ids = {node: f"n{i}" for i, node in enumerate(self.shown)}
        for node in self.shown:
            around = self.open_calls(self.place(node))
            cluster = clusters[around[-1]] if around else None
            card = self.shared if node in self.fold.leaves else self.card
            picture.cards.append(card(node, ids[node], cluster, arrived))
        picture.edges = self.edges(ids)
        return picture

    @cached_property
    def loss(self) -> str:
        """What the last tensor is called: by its name, or by one that no other tensor has."""
        taken = {*self.graph.names.values(), *self.graph.written.values()}
        free = (name for name in ("loss", "L", "the loss") if name not in taken)
        return self.graph.name(self.root) or next(free, "the last")

    def title(self) -> str:
        """What is drawn: `loss = 1.79`."""
        loss = self.graph.role(self.root) == "loss"
        name = self.loss if loss else self.graph.name(self.root)
        if self.options.backward:
            return f"the gradient of {self.graph.title}"
        value = value_text(np.asarray(self.root.array)) if self.options.values else ""
        return " = ".join(filter(None, [name, value])) or "a graph"

    # --- where cards stand ------------------------------------------------------------------

    def place(self, node: Node) -> Scope | None:
        """The scope that a card stands in: a leaf stands with those who use it."""
        if node in self.fold.groups:
            return self.fold.groups[node].outer
        if node.inputs:
            return node.scope
        uses = self.graph.used.get(node, [])
        forward = [use for use in uses if not self.graph.is_back(use.target)]
        if self.graph.role(node) == "input" or not forward:
            return None
        return common([self.place(self.fold.of(use.target)) for use in forward])

    def clusters(self, picture: Picture) -> dict[Scope, int]:
        """Number the scopes in which cards stand, outer ones before inner ones."""
        numbers: dict[Scope, int] = {}
        for node in self.shown:
            outer = None
            for depth, scope in enumerate(self.open_calls(self.place(node))):
                if scope not in numbers:
                    numbers[scope] = len(numbers)
                    name, formula = writable(scope.name), writable(self.graph.formula(scope))
                    picture.clusters.append(Cluster(name, scope.kind, formula, outer, depth))
                outer = numbers[scope]
        return numbers

    def open_calls(self, scope: Scope | None) -> list[Scope]:
        """The calls around a card that have a cluster, outermost first."""
        return [call for call in chain_of(scope) if call not in self.graph.sole]

    def stand_beside(self) -> dict[Node, Node]:
        """Nodes that stand next to what reads them, to keep the way of the data straight.

        Above it they would pull its cluster up, beside the one before. A consumer has one such
        neighbour: a parameter that is read once, a constant that is read first here, or a leaf's
        view (the transposed weight of a layer), and something else above it. Where one call has
        several views, they stand above, each with its leaf next to it.
        """
        graph = self.graph
        beside: dict[Node, Node] = {}
        views = Counter(x.scope for x in graph.operations if self.is_view(x))
        for node, uses in graph.operands.items():
            sources = [use.source for use in uses if not graph.is_number(use.source)]
            if node in self.fold.front or len(set(sources)) < 2:
                continue
            for x in reversed(sources):
                view = self.is_view(x)
                leaf = graph.operands[x][0].source if view else x
                if leaf.inputs or leaf in beside or not self.belongs_beside(x, node, leaf):
                    continue
                if view:
                    beside[leaf] = x
                if not view or views[x.scope] == 1:
                    beside[x] = node
                    break
        return beside

    def belongs_beside(self, x: Node, reader: Node, leaf: Node) -> bool:
        """Whether a leaf, or x as a view of it, may stand next to what reads it."""
        readers = self.readers(x)
        if self.graph.role(leaf) == "constant":
            return readers[0] is reader and all(r.scope is reader.scope for r in readers)
        alone = len(readers) == 1 and (x is leaf or x.scope is reader.scope)
        return alone and self.graph.role(leaf) != "input"

    def is_view(self, x: Node) -> bool:
        """Whether a node only shows a leaf in another shape, for one reader."""
        if not x.inputs or x.op.name not in VIEWS or len(self.readers(x)) != 1:
            return False
        leaf = self.graph.operands[x][0].source
        return not leaf.inputs and len(self.readers(leaf)) == 1

    def readers(self, x: Node) -> list[Node]:
        """What reads a node in the forward pass; in the backward pass, what reads it there."""
        targets = [use.target for use in self.graph.used.get(x, ())]
        return [target for target in targets if not self.graph.is_back(target)] or targets

    # --- what stands on them ----------------------------------------------------------------

    def shared(self, node: Node, id: str, cluster: int | None, arrived: Arrived) -> Card:
        """The card that leaves of one kind share."""
        leaves, role, options = self.fold.leaves[node], self.role(node), self.options
        array, g = together(leaves), together(leaves, arrived) if node in arrived else None
        name = self.together(node)
        return Card(
            id, role, "", name, shape_text(array),
            value=value_text(array) if options.values else "",
            gradient=self.gradient(node, g), added=0,
            tooltip=self.tooltip(f"{name}: {sizes_text(array)} {array.dtype}", array, g),
            cluster=cluster, line=line_of(node),
        )  # fmt: skip

    def together(self, node: Node) -> str:
        """What leaves of one kind are called that share the card of this one, "" if none do."""
        leaves = self.fold.leaves.get(node, ())
        names = [self.graph.names.get(leaf, "") for leaf in leaves]
        return named_together(self.role(node), names) if leaves else ""

    def card(self, node: Node, id: str, cluster: int | None, arrived: Arrived) -> Card:
        """The texts on the card of one node."""
        g = arrived.get(node)
        array, group, options = np.asarray(node.array), self.fold.groups.get(node), self.options
        op = group.title if group else self.header(node)
        role = self.role(node)
        name = self.graph.name(node)
        text = "" if group or name else self.graph.texts.get(node, "")
        if not op and not name:
            name, text = text or self.origin(node) or role, ""
        shape = shape_text(array)
        flowing = {self.way(use) for use in self.graph.used.get(node, []) if use.flows}
        card = Card(
            id, role, op, name, shape,
            value=value_text(array) if options.values else "",
            gradient=self.gradient(node, g),
            added=len(flowing) if self.both else 0,
            tooltip=self.tooltip(f"{name or op}: {sizes_text(array)} {array.dtype}", array, g),
            cluster=cluster, line=line_of(node),
            text=text if len(text) <= HEAD and not self.asks_for_words(node) else "",
            spine=bool(node.inputs) and node not in self.beside and not self.is_view(node),
        )  # fmt: skip
        if group:
            card.formula, card.operations = group.formula, group.operations
        if group and self.options.backward:  # its result may not be among what is read
            card.value = "values inside are read" if options.values else ""
            card.shape, card.tooltip = "", op
        return card

    def role(self, node: Node) -> str:
        """What a card is tinted by."""
        role = self.graph.role(node)
        if node in self.fold.groups and role == "step":
            return self.fold.groups[node].kind
        return role

    def gradient(self, node: Node, g: np.ndarray | None) -> str:
        """The gradient's row: `∇ —` where there is none, and "" where none can be."""
        if self.options.backward or not (node.requires_grad or node is self.root):
            return ""
        return gradient_text(g)

    def tooltip(self, head: str, array: np.ndarray, g: np.ndarray | None) -> str:
        """Shape, dtype and numbers, more of them than on the card."""
        lines = [head] + ([listed(array)] if self.options.values else [])
        return "\n".join(lines if g is None else [*lines, "gradient", listed(g)])

    def origin(self, node: Node) -> str:
        """Where the numbers of a nameless leaf come from, if that is known."""
        decided = hasattr(node, "made") and made_inside(node)
        if node.op is None or node.array.dtype.kind == "b" or decided:
            for use in self.graph.used.get(node, ()):
                scope = use.target.scope
                place = use.target.op.name, use.position
                for function in (scope.name if scope else "", ""):
                    if (function, *place) in CONSTANTS and not node.requires_grad:
                        return self.graph.clear(CONSTANTS[(function, *place)], scope)
            return node.detached_by or (self.ones(node) if self.graph.only_read_back(node) else "")
        under = " under no_grad()" if node.detached_by == f"{node.op.name} under no_grad()" else ""
        return self.ones(node) or symbol_of(node.op.name) + under

    def ones(self, node: Node) -> str:
        """What a gradient starts with, where that is what a nameless leaf is."""
        return "ones" if bool((np.asarray(node.array) == 1).all()) else ""

    def header(self, node: Node) -> str:
        """The operation of a node with its constants, "" for a leaf."""
        if not node.inputs:
            return ""
        shown = self.words(node) if self.asks_for_words(node) else None
        return op_label(
            node.op.name, settings_of(node), self.numbers(node), shown, self.about(node)
        )

    def asks_for_words(self, node: Node) -> bool:
        """Whether the header has to say which operand a letter on an edge means."""
        known = {self.known(x) for x in self.operands(node)}
        return not any(self.numbers(node)) and not known.issuperset(self.words(node))

    def about(self, node: Node) -> dict[str, str]:
        """The letters of a rule at one operation: x and y are its operand and its result."""
        operands = self.operands(node)
        alone = [x for x, text in zip(operands, self.numbers(node)) if text is None]
        one = len(set(alone)) == 1 or not entry(node.op.name).header  # x is the first of several
        names = {"x": self.known(alone[0]) if one and alone else ""}
        names["y"] = self.known(node)
        found = {letter: name for letter, name in names.items() if WORD.fullmatch(name)}
        return {**self.letters, **found}

    def words(self, node: Node) -> list[str]:
        """What labels and headers call the operands: by number, by name or by a letter."""
        numbers = self.numbers(node)
        operands = self.operands(node)
        alone = len({x for x, text in zip(operands, numbers) if text is None}) == 1
        letters = [self.letters[letter] for letter in ("xxx" if alone else "abc")]
        return [
            text or self.known(x) or letter
            for text, x, letter in zip(numbers, operands, letters + letters[2:] * len(numbers))
        ]

    def phrase(self, node: Node) -> str:
        """What a value is called in a sentence: by its name, by the program's text, or as computed.

        What would be too long has dots in it, `exp(…)`, or only says where it is: `− in softmax`.
        """
        graph = self.graph
        found = self.together(node) or short(graph.name(node), PHRASE) or graph.texts.get(node, "")
        if found or not node.inputs:
            return found or self.origin(node) or graph.role(node)
        for deep in (3, 2, 1, 0):
            made, operands = self.composed(node, deep)
            if len(made) <= PHRASE:
                break
        if node.op.name in INFIX and not any(letter.isalpha() for letter in "".join(operands)):
            return f"{symbol_of(node.op.name)} in {node.scope.name}" if node.scope else made
        return made

    def composed(self, node: Node, deep: int) -> tuple[str, list[str]]:
        """An operation as it would be written, and its operands, which are told so far down."""
        pairs = zip(self.numbers(node), self.operands(node))
        words = [text or self.operand(x, deep) for text, x in pairs]
        return in_words(node.op.name, settings_of(node), words, self.letters), words

    def operand(self, x: Node, deep: int) -> str:
        """An operand within a phrase, in brackets where it is more than one word."""
        name, text = short(self.graph.name(x), PHRASE // 2), self.graph.texts.get(x, "")
        if name or not x.inputs:
            known = name or self.origin(x) or self.graph.role(x)
            return known if name or known.replace(" ", "").isalnum() else f"({known})"
        if text and len(text) <= HEAD:
            return bracketed(text)
        if deep:
            made = self.composed(x, deep - 1)[0]
        else:
            made = in_words(x.op.name, settings_of(x), ["…"] * len(x.inputs), self.letters)
        infix = x.op.name in INFIX or " in " in made
        return ("(" + made + ")" if deep else "…") if infix else made

    def known(self, x: Node) -> str:
        """The name of a tensor or constant, shortened to its last parts, "" if it is too long."""
        name = "" if x in self.fold.leaves else self.graph.name(x)
        if not name and self.graph.role(x) == "constant":
            name = self.origin(x)
            name = name if any(map(str.isalpha, name)) else ""  # `+ × b` would say little
        while len(name) > NAME and "." in name:
            name = name.partition(".")[2]
        return name if len(name) <= NAME else ""

    def numbers(self, node: Node) -> list[str | None]:
        """The text of each operand that is folded into the operation, None for the others."""
        numbers = map(self.graph.is_number, self.operands(node))
        return [number(x.array[()]) if it else None for x, it in zip(self.operands(node), numbers)]

    def operands(self, node: Node) -> list[Node]:
        """The operands as they were when the operation read them."""
        return [use.source for use in self.graph.operands.get(node, ())]

    # --- what goes between them -------------------------------------------------------------

    def edges(self, ids: dict[Node, str]) -> list[Edge]:
        """The uses between different cards; to or from a folded card all of them as one."""
        groups: dict[tuple[Node, Node, int], list[Use]] = {}
        for use in self.graph.uses:
            source, target, position = self.way(use)
            if source is not target and source in ids:
                groups.setdefault((source, target, position), []).append(use)
        return [
            self.edge(source, target, uses, ids) for (source, target, _), uses in groups.items()
        ]

    def way(self, use: Use) -> tuple[Node, Node, int]:
        """Source, target and operand of the edge that a use is drawn as."""
        source, target = self.fold.of(use.source), self.fold.of(use.target)
        groups = self.fold.groups
        single = source not in self.fold.leaves and source not in groups and target not in groups
        return source, target, use.position * single

    def edge(self, source: Node, target: Node, uses: list[Use], ids: dict[Node, str]) -> Edge:
        """Uses of one card by another as one edge."""
        flowing = [use for use in uses if use.flows]
        one_pass = self.graph.is_back(source) == self.graph.is_back(target)
        return Edge(
            ids[source], ids[target],
            label=self.label(flowing[0], target) if flowing and self.both else "",
            flows=bool(flowing),
            spine=bool(source.inputs) and not self.is_view(source) and one_pass,
            beside=self.beside.get(source) is target,
            kind=self.kind(target, bool(flowing)),
        )  # fmt: skip

    def kind(self, target: Node, flows: bool) -> str:
        """How an edge is drawn: forth and back, without a gradient, or one way only."""
        if self.options.backward:
            return "backward" if self.graph.is_back(target) else "forward"
        return "data" if not flows else "flow" if self.both else "forward"

    def label(self, use: Use, target: Node) -> str:
        """The local derivative that an edge's gradient is multiplied by."""
        if target in self.fold.groups:
            call = self.fold.groups[target].call
            return f"∂{call}" if call else "×∂y/∂x"
        node = use.target
        shape, output = use.source.array.shape, node.array.shape
        return derivative_label(
            node.op.name, use.position, node.attrs, self.words(node), shape, output,
            self.about(node),
        )  # fmt: skip
