"""Which operations share a card: calls to a depth or by name, repeated blocks, runs.

A folded card stands for a group of operations, is drawn in the place of the last of them and shows
its value and gradient. No group is entered again once it has been left, so folding makes no loop.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import groupby

from tinygrad_ce.engine.frame import Scope
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.viz.graph.names import writable
from tinygrad_ce.viz.graph.told import symbol_of
from tinygrad_ce.viz.graph.walking import Graph

FOLD_ABOVE = 300  # cards that a reader can still follow with every call open
REFUSE_ABOVE = 1500  # cards that nobody looks at
MANY = 3  # leaves of one kind that may share a card
COUNTED = 4  # kinds of operations that the card of a run counts one by one

Closing = Callable[[list[Scope]], Scope | None]
"""Of calls within each other, outermost first, the one that is folded, if one is."""


@dataclass
class Group:
    """What the card of a group says."""

    title: str
    kind: str  # module, function or operations
    formula: str
    operations: int
    outer: Scope | None = None
    call: str = ""  # what the derivative on its edges is called after


@dataclass
class Fold:
    """For each folded node the node whose card it is on, and for that one its group."""

    front: dict[Node, Node] = field(default_factory=dict)
    groups: dict[Node, Group] = field(default_factory=dict)
    leaves: dict[Node, list[Node]] = field(default_factory=dict)
    """Leaves that share the card of the last of them."""

    def add(self, nodes: list[Node], group: Group) -> None:
        """Fold operations into one card."""
        self.front.update(dict.fromkeys(nodes, nodes[-1]))
        self.groups[nodes[-1]] = group

    def of(self, node: Node) -> Node:
        """The node whose card it is on."""
        return self.front.get(node, node)

    def shown(self, graph: Graph) -> list[Node]:
        """The nodes that have a card."""
        return [node for node in graph.nodes if self.of(node) is node]

    def in_order(self, graph: Graph) -> list[Node]:
        """The same, operands before what is computed from them, else as they were computed."""
        shown = self.shown(graph)
        place = {node: i for i, node in enumerate(shown)}
        after: dict[Node, set[Node]] = {}
        for use in graph.uses:
            source, target = self.of(use.source), self.of(use.target)
            if source is not target and source in place:
                after.setdefault(source, set()).add(target)
        missing = Counter(node for targets in after.values() for node in targets)
        ready = [place[node] for node in shown if not missing[node]]
        order = []
        while ready:
            order.append(node := shown[heappop(ready)])
            for target in after.get(node, ()):
                missing[target] -= 1
                if not missing[target]:
                    heappush(ready, place[target])
        return order


def fold(
    graph: Graph, depth: int | str | Collection[str] | None, caller: str = "draw"
) -> tuple[Fold, str]:
    """What is folded, and what is to be said about it.

    Raises ValueError for a name that no call has, and for more cards than a picture can hold.
    """
    note = ""
    if depth is None:
        made = Fold()
        if len(made.shown(graph)) > FOLD_ABOVE:
            made, note = fold_by_itself(graph)
    elif isinstance(depth, int):
        made = fold_calls(graph, at_depth(graph, depth), True)
    else:
        made = fold_calls(graph, by_name(graph, depth, caller), False)
    count = len(made.shown(graph))
    if count > REFUSE_ABOVE:
        advice = "" if depth is None else "Leave depth out, so that it folds by itself; d"
        raise ValueError(
            f"{caller}: the graph has {count:,} cards, and a picture of more than {REFUSE_ABOVE:,} "
            f"is not readable. {advice or 'D'}raw the loss of fewer steps or layers; or put "
            "repeated work into modules, which fold into one card each"
        )
    return made, note


# --- by itself ------------------------------------------------------------------------------


def fold_by_itself(graph: Graph) -> tuple[Fold, str]:
    """The mildest folding that gives few enough cards, and its note."""

    def cards(made: Fold) -> int:
        return len(made.shown(graph))

    def to(depth: int) -> Fold:
        return fold_calls(graph, at_depth(graph, depth), False)

    deepest = max((len(graph.levels(chain)) for chain in graph.chains.values()), default=0)
    ranks = range(deepest)  # more depth, more cards
    depth = bisect_right(ranks, FOLD_ABOVE, key=lambda depth: cards(to(depth))) - 1
    depth = max(depth, 0)
    made, done = to(depth), [f"depth={depth}"]
    milder: list[tuple[str, Callable[[], Fold]]] = [
        ("repeated blocks", lambda: fold_calls(graph, at_depth(graph, 0), True)),
        ("whole calls", lambda: fold_calls(graph, outermost, True)),
        ("leaves of one kind", lambda: fold_leaves(graph, made)),
        ("runs of operations", lambda: fold_leaves(graph, fold_runs(graph, alone(made)))),
    ]
    for name, step in milder:
        before = cards(made)
        if before <= FOLD_ABOVE:
            break
        made = step()
        if cards(made) < before:
            done.append(name)
    *first, last = done
    how = f"{', '.join(first)} and {last}" if first else last
    return made, f"folded by itself: {len(graph.operations):,} operations, {how}"


# --- calls ----------------------------------------------------------------------------------


def at_depth(graph: Graph, depth: int) -> Closing:
    """Close calls below `depth` open ones."""

    def closing(chain: list[Scope]) -> Scope | None:
        levels = graph.levels(chain)
        return levels[depth] if len(levels) > depth else None

    return closing


def outermost(chain: list[Scope]) -> Scope | None:
    """Close every call that nothing else calls."""
    return chain[0] if chain else None


def by_name(graph: Graph, depth: str | Collection[str], caller: str) -> Closing:
    """Close the calls of these names, or of modules of these classes."""
    wanted = {depth} if isinstance(depth, str) else set(depth)
    calls = {scope for chain in graph.chains.values() for scope in chain}
    there = {name for scope in calls for name in (scope.name, scope.owner) if name}
    if unknown := sorted(wanted - there):
        raise ValueError(
            f"{caller}: depth: no call is named {', '.join(map(repr, unknown))}; there are "
            f"{', '.join(sorted(there)) or 'no calls at all'}"
        )

    def closing(chain: list[Scope]) -> Scope | None:
        return next((s for s in chain if s.name in wanted or s.owner in wanted), None)

    return closing


def fold_calls(graph: Graph, closing: Closing, repeats: bool) -> Fold:
    """Let the last operation of each closed call, or run of equal calls, stand for all of it."""
    made = Fold()
    for calls, nodes in repeated(graph, closing, made) if repeats else ():
        made.add(nodes, group_of(graph, calls, len(nodes)))
    members: dict[Scope, list[Node]] = {}
    for node in graph.operations:
        call = closing(graph.chains[node.scope])
        if call is not None and node not in made.front:
            members.setdefault(call, []).append(node)
    for call, nodes in members.items():
        made.add(nodes, group_of(graph, [call], len(nodes)))
    for leaf, uses in graph.used.items():
        fronts = {made.front.get(use.target) for use in uses if not graph.is_back(use.target)}
        (front,) = fronts if len(fronts) == 1 else (None,)
        if front is not None and not leaf.inputs and leaf not in graph.ends:
            role, kind = graph.role(leaf), made.groups[front].kind
            held = kind == "module" and leaf not in graph.handed_in
            if role == "constant" or (role == "parameter" and held):
                made.front[leaf] = front
    return made


def group_of(graph: Graph, calls: list[Scope], operations: int) -> Group:
    """One call, or several of one kind: `Block × 6`."""
    first = calls[0]
    kind = "module" if first.kind == "module" else "function"
    same = all(call.name == first.name for call in calls)
    name = first.name if same else first.owner or first.name
    name, formula = writable(name), writable(graph.formula(first))
    title = name if len(calls) == 1 else f"{name} × {len(calls)}"
    return Group(title, kind, formula, operations, first.outer, name)


# --- repeated blocks ------------------------------------------------------------------------


def repeated(
    graph: Graph, closing: Closing, made: Fold
) -> Iterator[tuple[list[Scope], list[Node]]]:
    """Calls of one kind, each fed by the one before, with what they do.

    Between them there may be other operations, such as those that pick the next word, but none
    that lead from one of the calls to a later one.
    """
    stack = [(graph.operations, 0)]
    while stack:
        nodes, level = stack.pop()
        for parts in in_rows(graph, in_parts(graph, nodes, level)):
            inside = [node for _, part in parts for node in part]
            if len(parts) > 1 and not comes_back(graph, made, inside):
                yield [call for call, _ in parts], inside
                continue
            for call, part in parts:
                if closing(graph.chains[part[0].scope][: level + 1]) is not call:
                    stack.append((part, level + 1))


Call = tuple[Scope, list[Node]]


def in_rows(graph: Graph, parts: Iterable[Part]) -> list[list[Call]]:
    """Calls that follow each other as steps of a recurrent network or equal blocks do."""
    rows: list[list[Call]] = []
    of_kind: dict[tuple[str, str, str], list[list[Call]]] = {}
    for call, part in parts:
        if call is None:
            continue
        known = of_kind.setdefault(kind_of(call), [])
        row = next((row for row in known if alike(graph, row[-1], (call, part))), None)
        if row is None:
            row = []
            rows.append(row)
            known.append(row)
        row.append((call, part))
    return rows


def comes_back(graph: Graph, made: Fold, inside: list[Node]) -> bool:
    """Whether a way leads out of these operations and into them again: as one card, a loop."""
    members: dict[Node, list[Node]] = {}
    for node, front in made.front.items():
        members.setdefault(front, []).append(node)
    own, seen = set(inside), set[Node]()
    stack = [*inside]
    while stack:
        for use in graph.used.get(stack.pop(), ()):
            front = made.of(use.target)
            if use.target in own or front in seen:
                continue
            seen.add(front)
            group = members.get(front, [front])
            if any(use.target in own for node in group for use in graph.used.get(node, ())):
                return True
            stack += group
    return False


Part = tuple[Scope | None, list[Node]]


def in_parts(graph: Graph, nodes: list[Node], level: int) -> list[Part]:
    """Operations that follow each other within one call of this level, or outside of all."""

    def call_of(node: Node) -> Scope | None:
        chain = graph.chains[node.scope]
        return chain[level] if len(chain) > level else None

    return [(call, list(part)) for call, part in groupby(nodes, call_of)]


def alike(graph: Graph, one: Call, two: Call) -> bool:
    """Whether the first of two calls of one kind feeds the second, which does the same.

    A module that is called again may do other things, as at the first step of a sequence.
    """
    (a, first), (b, second) = one, two
    own, others = (call.module() if call.module else None for call in (a, b))
    again = own is not None and own is others
    if not again and [(x.op, x.array.shape) for x in first] != [
        (x.op, x.array.shape) for x in second
    ]:
        return False
    made = set(first)
    return any(use.source in made for node in second for use in graph.operands[node])


def kind_of(scope: Scope) -> tuple[str, str, str]:
    """The class of a called module, or the name of a function."""
    return scope.kind, scope.owner or scope.name, scope.formula


# --- leaves ---------------------------------------------------------------------------------


def fold_leaves(graph: Graph, made: Fold) -> Fold:
    """Let leaves of one kind that go to the same cards share one."""
    alike: dict[tuple[str, frozenset[Node]], list[Node]] = {}
    for leaf in made.shown(graph):
        if not leaf.inputs and leaf not in graph.ends:
            readers = frozenset(made.of(use.target) for use in graph.used[leaf])
            alike.setdefault((graph.role(leaf), readers), []).append(leaf)
    shared = {leaves[-1]: leaves for leaves in alike.values() if len(leaves) >= MANY}
    fronts = {leaf: front for front, leaves in shared.items() for leaf in leaves}
    return Fold({**made.front, **fronts}, made.groups, shared)


def alone(made: Fold) -> Fold:
    """The fold in which each leaf has its own card again."""
    shared = {leaf for leaves in made.leaves.values() for leaf in leaves}
    return Fold({x: front for x, front in made.front.items() if x not in shared}, made.groups)


# --- runs of operations ---------------------------------------------------------------------


def fold_runs(graph: Graph, made: Fold) -> Fold:
    """Let unnamed operations join the one that reads them, if it is the only one.

    Newest first: whatever is read by one run only is a part of it. Named tensors and roots stand
    for themselves, and so do leaves that are no constants.
    """
    joins: dict[Node, Node] = {}
    readers: dict[Node, set[Node]] = {}
    for use in graph.uses:
        source, target = made.of(use.source), made.of(use.target)
        if source is not target:
            readers.setdefault(source, set()).add(target)
    free = {
        node for node in made.shown(graph) if node not in graph.names and node not in graph.ends
    }
    for node in reversed(made.shown(graph)):
        heads = {joins.get(reader) for reader in readers.get(node, ())}
        (head,) = heads if len(heads) == 1 else (None,)
        if node not in free:
            continue
        if head is not None and (node.inputs or graph.role(node) == "constant"):
            joins[node] = head
        elif node.inputs:
            joins[node] = node
    members: dict[Node, list[Node]] = {}
    for node in made.shown(graph):
        if node in joins and node.inputs:
            members.setdefault(joins[node], []).append(node)
    return joined(graph, made, joins, {h: nodes for h, nodes in members.items() if len(nodes) > 1})


def joined(
    graph: Graph, made: Fold, joins: dict[Node, Node], members: dict[Node, list[Node]]
) -> Fold:
    """The fold in which each run is one card that counts its operations."""
    runs = Fold()
    for node in [*graph.operations, *graph.used]:
        card = made.of(node)
        head = joins.get(card, card)
        if head in members:
            runs.front[node] = head
        elif card in made.groups:
            runs.front[node] = card
            runs.groups[card] = made.groups[card]
    for head, nodes in members.items():
        runs.groups[head] = run_of(nodes, made)
    return runs


def run_of(nodes: list[Node], made: Fold) -> Group:
    """Operations and folded calls as one card that counts them by kind, the commonest first."""
    groups = [made.groups.get(node) for node in nodes]
    titles = Counter(
        group.title if group else symbol_of(node.op.name) for node, group in zip(nodes, groups)
    )
    counts = [f"{title} {n:,}" if n > 1 else title for title, n in titles.most_common(COUNTED)]
    more = ["…"] * (len(titles) > COUNTED)
    total = sum(group.operations if group else 1 for group in groups)
    title = f"{total:,} operations"
    return Group(title, "operations", ", ".join([*counts, *more]), total)
