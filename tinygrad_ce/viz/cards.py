"""From a graph to the cards of a picture: plain data, in which nothing knows how it is drawn.

`read` walks the graph (with a loop, never by recursion), computes the gradients for the picture
without touching any `.grad`, and gives one card per tensor, one edge per use of it, and one
cluster per call of a module or of a composed function. Cards are numbered by their place in the
graph, so the same program gives the same picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_ce.engine.backward import seed_for
from tinygrad_ce.engine.chain import history, propagate
from tinygrad_ce.engine.frame import Scope, current
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.viz.labels import SYMBOLS, derivative_label, op_label
from tinygrad_ce.viz.values import gradient_text, listed, number, shape_text, value_text

FOLD_ABOVE = 300  # cards that a reader can still follow with every call open
VIEWS = {"mT", "transpose", "reshape", "broadcast_to", "astype"}
REFUSE_ABOVE = 1500  # cards that nobody looks at


@dataclass
class Card:
    """One tensor: what made it, its name, shape, value and gradient, as texts."""

    id: str
    role: str  # input, parameter, constant, step, loss, module or function (a folded call)
    op: str  # "" for a leaf
    name: str
    shape: str
    value: str
    gradient: str  # "" where none can arrive
    added: int  # how many gradients are added up here
    tooltip: str
    cluster: int | None
    formula: str | None = None  # of a folded call
    operations: int = 1
    spine: bool = False  # an operation on the way of the data, not beside it


@dataclass
class Edge:
    """One use of a tensor: forward from source to target, and backward with a label."""

    source: str
    target: str
    label: str
    flows: bool  # whether a gradient comes back
    spine: bool  # from an operation
    beside: bool  # the source stands next to its only consumer


@dataclass
class Cluster:
    """One call of a module or of a composed function, and the cluster around it."""

    name: str
    kind: str
    formula: str
    outer: int | None
    depth: int


@dataclass
class Picture:
    """All that is drawn. Cards are in the order of the computation."""

    title: str
    notes: list[str]
    cards: list[Card] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)
    folded: bool = False


@dataclass
class Use:
    """One operand of one operation: which node, where, and whether a gradient flows to it."""

    source: Node
    target: Node
    position: int
    flows: bool


# --- names ----------------------------------------------------------------------------------


def names_of(names: Any) -> dict[Node, str]:
    """The name of each tensor, from a dict such as `locals()`, from a module, or from both.

    A dict's modules name their parameters and buffers, after the module if there are several.
    Names that start with an underscore are passed over, as are values that are no tensors.
    """
    found: dict[Node, str] = {}
    if names is None:
        return found
    if hasattr(type(names), "named_parameters"):
        names = {"": names}
    if not isinstance(names, Mapping):
        raise TypeError(
            f"draw: names is a {type(names).__name__}; wanted a dict of tensors by name, such as "
            'locals() or {"x": x}, or a module'
        )
    for name, value in list(names.items()):
        if isinstance(value, Node) and not str(name).startswith("_"):
            found.setdefault(value, str(name))
    held = {
        str(name): [*value.named_parameters(), *value.named_buffers()]
        for name, value in list(names.items())
        if hasattr(type(value), "named_parameters")
    }
    several = sum(map(bool, held.values())) > 1
    for owner, tensors in held.items():
        for name, tensor in tensors:
            found.setdefault(tensor, f"{owner}.{name}" if several else name)
    return found


# --- the graph ------------------------------------------------------------------------------


def uses_of(operations: Iterable[Node]) -> list[Use]:
    """Every operand of every operation, as it was when the operation read it."""
    uses = []
    for node in operations:
        gradients = node.op.gradients_for(len(node.inputs))
        for position, x in enumerate(node.inputs):
            while x.tick > node.tick and hasattr(x, "was"):
                x = x.was
            flows = x.requires_grad and x.tick <= node.tick
            flows = flows and gradients[position] is not None
            uses.append(Use(x, node, position, flows))
    return uses


def is_folded_constant(node: Node, names: dict[Node, str]) -> bool:
    """Whether a number belongs into the operation's header instead of on a card of its own."""
    plain = not node.requires_grad and not node.cut and node not in names
    return plain and node.array.ndim == 0


def gradients_of(root: Node, nodes: Iterable[Node]) -> tuple[dict[Node, np.ndarray], str]:
    """∂root/∂node for all nodes that get one, and why there is none if there is none."""
    if not root.requires_grad:
        why = f": {root.cut} cut the graph" if root.cut else ""
        return {}, f"no gradient{why}"
    if root.array.size != 1:
        return {}, "no gradients: the last tensor is not a scalar"
    try:
        with np.errstate(all="ignore"):
            arrived = propagate({root: seed_for(root, None, False)}, wanted=set(nodes))
    except RuntimeError as error:
        return {}, f"no gradients: {str(error).partition('. ')[0]}"
    return {node: np.asarray(g) for node, g in arrived.items()}, ""


# --- scopes ---------------------------------------------------------------------------------


def chain_of(scope: Scope | None) -> list[Scope]:
    """The scope and those around it, outermost first."""
    chain = []
    while scope is not None:
        chain.append(scope)
        scope = scope.outer
    return chain[::-1]


def common(scopes: list[Scope | None]) -> Scope | None:
    """The innermost scope that is around all of `scopes`."""
    first, *others = [chain_of(scope) for scope in scopes]
    for chain in others:
        same = [a is b for a, b in zip(first, chain)]
        first = first[: same.index(False) if False in same else len(same)]
    return first[-1] if first else None


def sole_calls(operations: Iterable[Node]) -> dict[Scope, Scope]:
    """Function calls that are all that a module call does, each with that module call.

    A Linear that only calls `linear` is drawn as one cluster, not as two around the same cards.
    """
    inside: dict[Scope, set[Scope | None]] = {}
    for scope in dict.fromkeys(node.scope for node in operations):
        chain: list[Scope | None] = [*chain_of(scope), None]
        for outer, inner in pairwise(chain):
            if outer is not None:
                inside.setdefault(outer, set()).add(inner)
    sole: dict[Scope, Scope] = {}
    for outer, contents in inside.items():
        inner = next(iter(contents))
        if outer.kind == "module" and len(contents) == 1 and inner and inner.kind == "function":
            sole[inner] = outer
    return sole


def calls_to_fold(nodes: Iterable[Node]) -> dict[Scope, Scope]:
    """For each scope, the call that is folded with it: the outermost that calls no module."""
    chains = {scope: chain_of(scope) for scope in dict.fromkeys(node.scope for node in nodes)}
    containers: set[Scope] = set()
    for chain in chains.values():
        for i, scope in enumerate(chain):
            if scope.kind == "module":
                containers.update(chain[:i])
    folded = {}
    for called, chain in chains.items():
        closed = [outer for outer in chain if outer not in containers]
        if called is not None and closed:
            folded[called] = closed[0]
    return folded


# --- the picture ----------------------------------------------------------------------------


class Reader:
    """Reads one graph. `front` says which node's card a node is shown on, if not on its own."""

    def __init__(self, root: Node, names: dict[Node, str], fold: bool | None) -> None:
        self.root, self.names = root, names
        self.operations = history([root])[::-1]
        self.uses = uses_of(self.operations)
        self.used: dict[Node, list[Use]] = {}
        for use in self.uses:
            self.used.setdefault(use.source, []).append(use)
        self.sole = sole_calls(self.operations)
        self.formulas = {outer: inner.formula for inner, outer in self.sole.items()}
        self.front: dict[Node, Node] = {}
        self.call: dict[Node, Scope] = {}  # of a node that stands for a folded call
        self.size: dict[Node, int] = {}
        self.beside: set[Node] = set()
        if fold or (fold is None and len(self.shown()) > FOLD_ABOVE):
            self.fold()
        if not self.call:
            self.beside = self.stand_beside()

    def fold(self) -> None:
        """Let the last operation of each call stand for all of the call."""
        folded = calls_to_fold(self.operations)
        members: dict[Scope, list[Node]] = {}
        for node in self.operations:
            if node.scope in folded:
                members.setdefault(folded[node.scope], []).append(node)
        for scope, nodes in members.items():
            self.call[nodes[-1]], self.size[nodes[-1]] = scope, len(nodes)
            self.front.update(dict.fromkeys(nodes, nodes[-1]))
        for leaf, uses in self.used.items():
            fronts = {self.front.get(use.target) for use in uses}
            (front,) = fronts if len(fronts) == 1 else (None,)
            if front is not None and not leaf.inputs and self.belongs_to(leaf, front):
                self.front[leaf] = front

    def belongs_to(self, leaf: Node, front: Node) -> bool:
        """Whether a leaf is a part of the folded call at `front`, not something it was given."""
        role = self.role(leaf)
        return role == "constant" or (role == "parameter" and self.role_of_call(front) == "module")

    def role_of_call(self, front: Node) -> str:
        """module or function."""
        return "module" if self.call[front].kind == "module" else "function"

    def shown(self) -> list[Node]:
        """The nodes that have a card, operands before what is computed from them."""
        order: dict[Node, None] = {}
        operands: dict[Node, list[Use]] = {}
        for use in self.uses:
            operands.setdefault(use.target, []).append(use)
        for node in self.operations:
            for use in operands[node]:
                if not use.source.inputs and not is_folded_constant(use.source, self.names):
                    order.setdefault(use.source)
            order.setdefault(node)
        order.setdefault(self.root)
        return [node for node in order if self.front.get(node, node) is node]

    def role(self, node: Node) -> str:
        """What a card is tinted by."""
        if node is self.root and node.inputs and node.array.size == 1:
            return "loss"
        if node in self.call:
            return self.role_of_call(node)
        if node.inputs:
            return "step"
        if node.requires_grad:
            return "parameter"
        made_inside = node.scope is not None or node.cut
        return "constant" if made_inside and node not in self.names else "input"

    def place(self, node: Node) -> Scope | None:
        """The scope that a card stands in: a leaf stands with those who use it."""
        if node in self.call:
            return self.call[node].outer
        if node.inputs:
            return node.scope
        if self.role(node) == "input" or node not in self.used:
            return None
        fronts = [self.front.get(use.target, use.target) for use in self.used[node]]
        return common([self.place(front) for front in fronts])

    def read(self) -> Picture:
        """The picture of the graph."""
        shown = self.shown()
        if len(shown) > REFUSE_ABOVE:
            raise ValueError(
                f"draw: the graph has {len(shown)} cards, and a picture of more than "
                f"{REFUSE_ABOVE} is not readable. Draw the loss of fewer steps or layers, or put "
                "repeated work into modules, which fold into one card each"
            )
        gradients, note = gradients_of(self.root, shown)
        name = self.names.get(self.root, "loss" if self.role(self.root) == "loss" else "")
        value = value_text(np.asarray(self.root.array))
        picture = Picture(f"{name} = {value}" if name else value, [])
        count = len(self.operations)
        picture.notes = [f"{count} operation{'s' * (count != 1)}"] + [note] * bool(note)
        picture.folded = bool(self.call)
        clusters = self.clusters(shown, picture)
        ids = {node: f"n{i}" for i, node in enumerate(shown)}
        for node in shown:
            around = self.open_calls(self.place(node))
            cluster = clusters[around[-1]] if around else None
            picture.cards.append(self.card(node, ids[node], cluster, gradients.get(node)))
        picture.edges = self.edges(ids)
        return picture

    def clusters(self, shown: list[Node], picture: Picture) -> dict[Scope, int]:
        """Number the scopes in which cards stand, outer ones before inner ones."""
        numbers: dict[Scope, int] = {}
        for node in shown:
            outer = None
            for depth, scope in enumerate(self.open_calls(self.place(node))):
                if scope not in numbers:
                    numbers[scope] = len(numbers)
                    formula = scope.formula or self.formulas.get(scope, "")
                    picture.clusters.append(Cluster(scope.name, scope.kind, formula, outer, depth))
                outer = numbers[scope]
        return numbers

    def open_calls(self, scope: Scope | None) -> list[Scope]:
        """The calls around a card that have a cluster, outermost first."""
        return [call for call in chain_of(scope) if call not in self.sole]

    def card(self, node: Node, id: str, cluster: int | None, g: np.ndarray | None) -> Card:
        """The texts on the card of one node."""
        array, role, call = np.asarray(node.array), self.role(node), self.call.get(node)
        op = call.name if call else self.header(node)
        name = self.names.get(node, "")
        if not op and not name:
            name = self.origin(node) or role
        shape = shape_text(array)
        lines = [f"{name or op}: {shape} {array.dtype}", listed(array)]
        if g is not None:
            lines += ["gradient", listed(g)]
        uses = self.used.get(node, [])
        added = sum(use.flows for use in uses)
        card = Card(id, role, op, name, shape, value_text(array), "", added, "", cluster)
        card.gradient = gradient_text(g) if node.requires_grad or node is self.root else ""
        card.tooltip = "\n".join(lines)
        card.spine = bool(node.inputs) and node not in self.beside
        if call:
            card.formula = call.formula or self.formulas.get(call, "")
            card.operations = self.size[node]
        return card

    def origin(self, node: Node) -> str:
        """Where the numbers of a nameless leaf come from, if that is known."""
        if node.op is None:
            return node.cut or ""
        under = " under no_grad()" if node.cut == f"{node.op.name} under no_grad()" else ""
        return SYMBOLS.get(node.op.name, node.op.name) + under

    def header(self, node: Node) -> str:
        """The operation of a node with its constants, "" for a leaf."""
        if not node.inputs:
            return ""
        return op_label(node.op.name, node.settings, self.numbers(node))

    def numbers(self, node: Node) -> list[str | None]:
        """The text of each operand that is folded into the operation, None for the others."""
        return [
            number(x.array[()]) if is_folded_constant(x, self.names) else None for x in node.inputs
        ]

    def edges(self, ids: dict[Node, str]) -> list[Edge]:
        """The uses between different cards; to or from a folded call all of them as one."""
        groups: dict[tuple[Node, Node, int], list[Use]] = {}
        for use in self.uses:
            source = self.front.get(use.source, use.source)
            target = self.front.get(use.target, use.target)
            if source is not target and source in ids:
                single = source not in self.call and target not in self.call
                groups.setdefault((source, target, use.position * single), []).append(use)
        edges = []
        for (source, target, _), uses in groups.items():
            flowing = [use for use in uses if use.flows]
            label = self.label(flowing[0], target) if flowing else ""
            edges.append(
                Edge(ids[source], ids[target], label, bool(flowing), bool(source.inputs),
                     source in self.beside)
            )  # fmt: skip
        return edges

    def label(self, use: Use, target: Node) -> str:
        """The local derivative that an edge's gradient is multiplied by."""
        if target in self.call:
            return f"∂{self.call[target].name}"
        node = use.target
        operands = [
            text or self.names.get(x, "").rpartition(".")[2][:16] or None
            for text, x in zip(self.numbers(node), node.inputs)
        ]
        shape, output = use.source.array.shape, node.array.shape
        return derivative_label(node.op.name, use.position, node.settings, operands, shape, output)

    def stand_beside(self) -> set[Node]:
        """Nodes that stand next to their only consumer, to keep the way of the data straight.

        A consumer has one at most, a leaf or a leaf's view (the transposed weight of a layer), and
        something else above it. Inputs never do.
        """
        operands: dict[Node, list[Node]] = {}
        for use in self.uses:
            if not is_folded_constant(use.source, self.names):
                operands.setdefault(use.target, []).append(use.source)
        beside: set[Node] = set()
        for node, sources in operands.items():
            for x in reversed(sources if len(sources) > 1 else []):
                leaf = operands[x][0] if x.inputs and x.op.name in VIEWS else x
                single = len(self.used[x]) == len(self.used[leaf]) == 1
                if single and not leaf.inputs and self.role(leaf) != "input":
                    beside |= {x, leaf} if x.scope is node.scope or x is leaf else set()
                    break
        return beside


def read(root: Node, names: Any = None, fold: bool | None = None) -> Picture:
    """The cards, edges and clusters of the graph behind `root`."""
    if not isinstance(root, Node):
        raise TypeError(
            f"draw: got {type(root).__name__}; wanted a Tensor, such as the loss: draw(loss)"
        )
    if current().tracer is not None:
        raise RuntimeError(
            "draw: while a program is traced there are no values; draw outside of it"
        )
    return Reader(root, names_of(names), fold).read()
