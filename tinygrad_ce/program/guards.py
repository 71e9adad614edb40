"""What a traced program rests on besides its arguments, as conditions that each call looks at.

Conditions are collected as Python text, joined by `and` and compiled once: a call of a compiled
function pays a few attribute reads, not a loop over objects.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

from tinygrad_ce.engine.frame import changes, current
from tinygrad_ce.engine.graph import Node

PLAIN = (bool, int, float, str, tuple, type(None))
_PACKAGE = __name__.partition(".")[0]


class Guards:
    """Conditions over `args` and `kwargs`, and the names that they use."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.numbers: list[str] = []  # numbers and texts that the function reads from variables
        self.read: set[int] = set()  # functions whose variables are looked at
        self.names: dict[str, Any] = {"current": current, "changes": changes, "item": item}

    def define(self, value: Any) -> str:
        """A name for a value that a condition looks at."""
        name = f"v{len(self.names)}"
        self.names[name] = value
        return name

    def require(self, condition: str) -> None:
        """One more condition."""
        self.conditions.append(condition)

    def holds(self, numbers: bool = False) -> Callable[[Any, Any], bool]:
        """`holds(args, kwargs)`: whether all conditions hold, with those on numbers or without."""
        names = dict(self.names)
        conditions = self.conditions + self.numbers * numbers
        exec(f"def holds(args, kwargs): return {' and '.join(conditions) or 'True'}", names)
        result: Callable[[Any, Any], bool] = names["holds"]
        return result

    # --- what is looked at ------------------------------------------------------------------

    def mode(self) -> None:
        """Whether the graph is recorded."""
        self.require(f"current().record is {current().record}")

    def settings(self, group: dict[str, Any], fixed: dict[str, Any]) -> None:
        """The settings of an optimiser that are constants of the program."""
        name = self.define(group)
        for key, value in fixed.items():
            self.require(f"{name}.get({key!r}) == {self.define(value)}")

    def gradient(self, node: Node, empty: bool) -> None:
        """Whether a tensor has a gradient before the call."""
        self.require(f"({self.define(node)}.kept is None) is {empty}")

    def state(self, node: Node) -> None:
        """Whether a tensor requires a gradient."""
        self.require(f"{self.define(node)}.requires_grad is {node.requires_grad}")

    def constant(self, node: Node) -> None:
        """That a tensor that cannot be written still has the same numbers."""
        self.require(f"{self.define(node)}.array is {self.define(node.array)}")

    def owners(self, owners: Iterator[Any]) -> None:
        """The parts and settings of modules and optimisers; looked at when some have changed."""
        parts = Parts(list(owners))
        if parts.before:
            name = self.define(parts)
            self.require(f"({name}.count == changes.count or {name}.unchanged())")

    def variables(self, fn: Callable[..., Any]) -> None:
        """That the variables which `fn` reads still are the same tensors and modules."""
        for text, value in variables_of(fn, self.define, self.read):
            if isinstance(value, SIMPLE):
                self.numbers.append(f"{text} == {self.define(value)}")
            else:
                self.require(f"{text} is {self.define(value)}")


class Parts:
    """Modules and optimisers, and what they consisted of when they were traced."""

    def __init__(self, owners: list[Any]) -> None:
        self.before = {owner: parts_of(owner) for owner in owners}
        self.count = changes.count

    def unchanged(self) -> bool:
        """Whether they consist of the same now."""
        for owner, before in self.before.items():
            now = parts_of(owner)
            if now.keys() != before.keys() or not all(map(same, now.values(), before.values())):
                return False
        self.count = changes.count
        return True


def parts_of(owner: Any) -> dict[Any, Any]:
    """The attributes of a module; groups, parameters and state of an optimiser."""
    if not hasattr(owner, "param_groups"):
        return {**vars(owner), "training": owner.training}
    parts: dict[Any, Any] = dict(enumerate(owner.param_groups))
    for i, group in enumerate(owner.param_groups):
        parts.update(((i, j), p) for j, p in enumerate(group["params"]))
    for p, state in owner.state.items():
        parts.update(((p, name), tensor) for name, tensor in state.items())
    return parts


def same(a: Any, b: Any) -> bool:
    """The same object, or an equal number or text."""
    return a is b or (type(a) is type(b) and type(a) in PLAIN and a == b)


def variables_of(
    fn: Any, define: Callable[[Any], str], seen: set[int]
) -> Iterator[tuple[str, Any]]:
    """(expression, value) for the tensors, modules, ... that a function reads from outside, and
    for those of the user's functions that it calls.
    """
    fn = getattr(fn, "func", fn)  # of a functools.partial
    if not isinstance(fn, (types.FunctionType, types.MethodType)):
        fn = types.MethodType(type(fn).__call__, fn)
    if isinstance(fn, types.MethodType):
        owner = fn.__self__
        known_already = id(owner) in seen or hasattr(owner, "named_parameters")
        written_in_python = hasattr(fn.__func__, "__code__")
        if written_in_python and not known_already and hasattr(owner, "__dict__"):
            seen.add(id(owner))
            own, names = vars(fn.__self__), names_in(fn.__func__.__code__)
            read = {k: v for k, v in own.items() if k in names or not isinstance(v, SIMPLE)}
            yield from held_by(define(own) + ".get({!r})", read, define, seen, names)
        fn = fn.__func__
    code = getattr(fn, "__code__", None)
    if code is None or id(fn) in seen or (fn.__module__ or "").partition(".")[0] == _PACKAGE:
        return
    seen.add(id(fn))
    known, names = fn.__globals__, names_in(code)
    read = {name: known[name] for name in sorted(names) if name in known}
    yield from held_by(define(known) + ".get({!r})", read, define, seen, names)
    for cell in fn.__closure__ or ():
        try:
            contents = {"": cell.cell_contents}
        except ValueError:  # not bound yet
            continue
        yield from held_by(define(cell) + ".cell_contents", contents, define, seen, names)


def names_in(code: types.CodeType) -> set[str]:
    """The names that a function reads, in its inner functions too."""
    names = set(code.co_names)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names |= names_in(inner)
    return names


def held_by(
    text: str,
    values: dict[str, Any],
    define: Callable[[Any], str],
    seen: set[int],
    names: set[str],
    depth: int = 3,
) -> Iterator[tuple[str, Any]]:
    """(expression, value) for each value that is a tensor, a module, a number or a text, and for
    those that lists, dicts and objects hold. Numbers of an object only if they are in `names`.
    """
    for name, value in values.items():
        place = text.format(name)
        if isinstance(value, (types.FunctionType, types.MethodType)):
            yield from variables_of(value, define, seen)
        elif isinstance(getattr(value, "fn", None), (types.FunctionType, types.MethodType)):
            yield from variables_of(value.fn, define, seen)  # of another compiled one
        elif isinstance(value, (Node, *SIMPLE)) or any(hasattr(value, a) for a in KNOWN_BY):
            yield place, value
        elif not depth or (id(value) in seen and not isinstance(value, (list, tuple, dict))):
            continue
        elif type(value) in (list, tuple) and len(value) <= FEW:
            yield place, value
            inside = {str(i): v for i, v in enumerate(value)}
            part = f"item({place}, {{}})"
            yield from held_by(part, inside, define, seen, names, depth - 1)
        elif type(value) is dict and len(value) <= FEW:
            yield place, value
            inside = {k: v for k, v in value.items() if isinstance(k, str)}
            yield from held_by(define(value) + ".get({!r})", inside, define, seen, names, depth - 1)
        elif isinstance(getattr(value, "__dict__", None), dict):
            if isinstance(value, (types.ModuleType, type)):
                continue
            seen.add(id(value))
            yield place, value
            own = vars(value)
            inside = {k: v for k, v in own.items() if k in names or not isinstance(v, SIMPLE)}
            yield from held_by(define(own) + ".get({!r})", inside, define, seen, names, depth - 1)


def item(x: Any, i: int) -> Any:
    """x[i], or None if there is none any more."""
    return x[i] if i < len(x) else None


FEW = 64  # parts of a list or dict that are looked at
SIMPLE = (bool, int, float, str)
KNOWN_BY = ("named_parameters", "param_groups", "manual_seed")  # modules, optimisers, generators
