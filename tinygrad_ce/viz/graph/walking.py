"""The graph behind a tensor, walked with loops: its operations, every use of a value, its calls.

Nothing here computes or changes anything. The order is that of the clock, so operands come before
what is computed from them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from tinygrad_ce.engine.chain import as_of, history
from tinygrad_ce.engine.frame import Scope, chain_of
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.viz.graph.names import free_letters, names_of, renamed
from tinygrad_ce.viz.graph.prepared import made_inside, prepared
from tinygrad_ce.viz.graph.sources import knows, written

VIEWS = {"mT", "transpose", "reshape", "broadcast_to", "astype"}
"""Operations that show the same numbers in another shape or type."""


@dataclass
class Use:
    """One operand of one operation: which node, where, and whether a gradient flows to it."""

    source: Node
    target: Node
    position: int
    flows: bool


class Graph:
    """All that the roots were computed from.

    `since` is the clock's time from which on operations belong to the backward pass, if any do.
    `given` are leaves that stand for the examples that a model was run on.
    """

    def __init__(
        self,
        roots: Sequence[Node],
        names: dict[Node, str],
        since: int | None = None,
        given: Collection[Node] = (),
    ) -> None:
        self.since, self.given = since, given
        self.title = ""  # of the loss whose gradients these are
        recorded = history(roots)[::-1]
        self.stand = stand = prepared(recorded, roots, lambda x: x in names or is_found(x))
        self.operations = sorted([*recorded, *stand.values()], key=lambda node: node.tick)
        self.roots = [stand.get(root, root) for root in roots]
        self.ends = frozenset(self.roots)
        self.uses = uses_of(self.operations, stand)
        self.used: dict[Node, list[Use]] = {}
        self.operands: dict[Node, list[Use]] = {}
        for use in self.uses:
            self.used.setdefault(use.source, []).append(use)
            self.operands.setdefault(use.target, []).append(use)
        scopes = dict.fromkeys(node.scope for node in self.operations)
        self.chains = {scope: chain_of(scope) for scope in scopes}
        of_modules = names_of(modules_of(self.chains.values()))
        self.handed_in = names.keys() - of_modules.keys() if of_modules else set()
        self.names = {**of_modules, **names}
        self.names.update({y: self.names[x] for x, y in stand.items() if x in self.names})
        operands = {node: [use.source for use in uses] for node, uses in self.operands.items()}
        leaves = [x for x in self.used if not (x.inputs or made_inside(x) or x in self.names)]
        made = {x: x.made.tick if hasattr(x, "made") else x.tick for x in leaves if knows(x)}
        made.update((node, node.tick) for node in self.operations)
        self.written, self.texts = written(sorted(made, key=made.__getitem__), operands, self.names)
        self.letters = free_letters([*self.names.values(), *self.written.values()])
        self.last = {
            scope: node.op.name
            for node in self.operations
            if node.op.name not in VIEWS
            for scope in self.chains[node.scope]
        }  # what each call does at its end
        self.sole = sole_calls(self.chains.values())
        self.formulas = {outer: inner.formula for inner, outer in self.sole.items()}
        self.containers = {
            outer
            for chain in self.chains.values()
            for i, scope in enumerate(chain)
            if scope.kind == "module"
            for outer in chain[:i]
        }  # calls that call modules

    def levels(self, chain: list[Scope]) -> list[Scope]:
        """The calls of a chain that count as a level: no containers, none that are all of one."""
        return [s for s in chain if s not in self.containers and s not in self.sole]

    def name(self, node: Node) -> str:
        """What a tensor is called: by whoever draws, by a module, or in the source; or ""."""
        return self.names.get(node) or self.written.get(node, "")

    def clear(self, text: str, scope: Scope | None) -> str:
        """A text about a call, in which no letter is the name of another tensor.

        The letters of tensors that the call reads stay: it is about these.
        """
        read = self.read_by.get(scope, set())
        kept = {letter: letter for letter in read if letter in self.letters}
        return renamed(text, {**self.letters, **kept})

    @cached_property
    def read_by(self) -> dict[Scope | None, set[str]]:
        """The names of what each call reads from outside."""
        found: dict[Scope | None, set[str]] = {}
        for use in self.uses:
            name, made = self.name(use.source), set(chain_of(use.source.scope))
            for scope in self.chains[use.target.scope] if name else ():
                if scope not in made or not use.source.inputs:
                    found.setdefault(scope, set()).add(name)
        return found

    def formula(self, scope: Scope) -> str:
        """The formula of a call, or of the only function that it calls, as far as it was done.

        A layer without bias or scale adds or multiplies none at its end.
        """
        formula, last = scope.formula or self.formulas.get(scope, ""), self.last.get(scope)
        if last != "add":
            formula = formula.removesuffix(" + b").removesuffix(" + β")
            if last != "mul":
                formula = formula.removesuffix(" · γ")
        return self.clear(formula, scope)

    def is_number(self, node: Node) -> bool:
        """Whether a number belongs into the operation's header instead of on a card of its own."""
        return is_number(node) and node not in self.names

    def is_back(self, node: Node) -> bool:
        """Whether it was made by the backward pass."""
        return self.since is not None and node.tick > self.since

    def role(self, node: Node) -> str:
        """What a card is tinted by."""
        if self.is_back(node):
            return "gradient" if node in self.ends else "backward"
        made = node.inputs or (node.requires_grad and node.op is not None)  # or was, and is freed
        if node is self.roots[-1] and made and node.array.size == 1:
            return "loss"
        if made:
            return "step"
        if node in self.given:
            return "input"
        if node.requires_grad:
            return "parameter"
        made_inside = node.scope is not None or node.detached_by or self.only_read_back(node)
        return "constant" if made_inside and node not in self.names else "input"

    def only_read_back(self, leaf: Node) -> bool:
        """Whether nothing but the backward pass reads it."""
        return self.since is not None and all(
            self.is_back(use.target) for use in self.used.get(leaf, ())
        )

    @cached_property
    def nodes(self) -> list[Node]:
        """All nodes that could have a card, operands before what is computed from them."""
        order: dict[Node, None] = {}
        for node in self.operations:
            for use in self.operands[node]:
                if not use.source.inputs and not self.is_number(use.source):
                    order.setdefault(use.source)
            order.setdefault(node)
        order.update(dict.fromkeys(self.roots))
        return list(order)


AXES = {"sum", "amax", "amin", "norm", "cumsum", "cumprod", "concatenate", "stack"}
"""Operations whose first setting is an axis, or several."""


def settings_of(node: Node) -> tuple[Any, ...]:
    """The attributes of an operation; axes are counted from the first, not from the last."""
    attrs: tuple[Any, ...] = node.attrs
    if node.op.name not in AXES or not attrs or attrs[0] is None:
        return attrs
    axis, count = attrs[0], (node if node.op.name == "stack" else node.inputs[0]).array.ndim
    several = isinstance(axis, tuple)
    found = [i + count if i < 0 else i for i in (axis if several else (axis,))]
    return (tuple(found) if several else found[0], *attrs[1:])


def is_number(node: Node) -> bool:
    """Whether it is a number that an operation was given, and nothing that was computed."""
    return not node.requires_grad and not node.detached_by and node.array.ndim == 0


def is_found(leaf: Node) -> bool:
    """Whether the user's program, not a function that it called, made a leaf that is no number."""
    made = leaf.detached_by or hasattr(leaf, "made")
    return leaf.scope is None and not made and leaf.array.ndim > 0


def uses_of(operations: Iterable[Node], stand: Mapping[Node, Node] | None = None) -> list[Use]:
    """Every operand of every operation, as it was when the operation read it.

    `stand` has the nodes that stand for others.
    """
    uses, stand = [], stand or {}
    for node in operations:
        gradients = node.op.gradients_for(len(node.inputs))
        for position, x in enumerate(node.inputs):
            x = as_of(x, node.tick)
            x = stand.get(x, x)
            flows = x.requires_grad and x.tick <= node.tick
            flows = flows and gradients[position] is not None
            uses.append(Use(x, node, position, flows))
    return uses


# --- calls ----------------------------------------------------------------------------------


def modules_of(chains: Iterable[list[Scope]]) -> dict[str, Any]:
    """The outermost modules that were called and are still there: they know their parameters."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for chain in chains:
        outermost = next((scope for scope in chain if scope.module is not None), None)
        module = outermost.module() if outermost is not None and outermost.module else None
        if outermost is not None and module is not None and id(module) not in seen:
            seen.add(id(module))
            again = f" {len(found) + 1}" if outermost.name in found else ""
            found[outermost.name + again] = module
    return found


def common(scopes: list[Scope | None]) -> Scope | None:
    """The innermost scope that is around all of `scopes`."""
    first, *others = [chain_of(scope) for scope in dict.fromkeys(scopes)]
    for chain in others:
        same = [a is b for a, b in zip(first, chain)]
        first = first[: same.index(False) if False in same else len(same)]
    return first[-1] if first else None


def sole_calls(chains: Iterable[list[Scope]]) -> dict[Scope, Scope]:
    """Function calls that are all that a module call does, each with that module call.

    A Linear that only calls `linear` is drawn as one cluster, not as two around the same cards.
    """
    inside: dict[Scope, set[Scope | None]] = {}
    for calls in chains:
        chain: list[Scope | None] = [*calls, None]
        for outer, inner in pairwise(chain):
            if outer is not None:
                inside.setdefault(outer, set()).add(inner)
    sole: dict[Scope, Scope] = {}
    for outer, contents in inside.items():
        inner = next(iter(contents))
        if outer.kind == "module" and len(contents) == 1 and inner and inner.kind == "function":
            sole[inner] = outer
    return sole
