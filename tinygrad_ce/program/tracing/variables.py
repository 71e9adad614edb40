"""The variables around a function, so that a trace that fails leaves them as they were.

A function that is traced may bind a global, fill a list or set an attribute. What it puts there has
no numbers; when the trace stops with an error, the old values come back.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.program.tracing.guards import vars_of
from tinygrad_ce.program.tracing.symbol import Symbol

HELD: Any = vars(Node)["array"]  # the slot itself, whatever `array` of a kind of Tensor does
FEW = 64  # parts of a list or dict that are remembered


class Variables:
    """Globals, closure cells, lists, dicts, attributes and settings that a function may write."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.dicts: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        self.lists: list[tuple[list[Any], list[Any]]] = []
        self.cells: list[tuple[Any, Any]] = []
        inner: Any = getattr(fn, "__func__", fn)
        code = getattr(inner, "__code__", None)
        owner = getattr(fn, "__self__", None)
        if owner is not None:
            self.remember([owner], 2)
        if code is None:
            return
        known, names = inner.__globals__, names_in(code)
        self.dicts.append((known, {k: known[k] for k in names if k in known}))
        self.remember((known[k] for k in sorted(names) if k in known), 2)
        for cell in inner.__closure__ or ():
            contents = contents_of(cell)
            self.cells.append((cell, contents))
            self.remember([contents], 2)

    def remember(self, values: Iterable[Any], depth: int) -> None:
        """What lists, dicts and objects hold, and those in them."""
        for value in values:
            groups = (vars_of(value) or {}).get("param_groups", ())  # of an optimiser
            self.dicts += [(group, dict(group)) for group in groups if type(group) is dict]
            if type(value) is list and len(value) <= FEW * FEW:
                self.lists.append((value, list(value)))
                inside: Iterator[Any] = iter(value[:FEW])
            else:
                held = value if type(value) is dict else attributes(value)
                if held is None or len(held) > FEW * FEW:
                    continue
                self.dicts.append((held, dict(held)))
                inside = iter(list(held.values())[:FEW])
            if depth:
                self.remember(inside, depth - 1)

    def put_back(self) -> None:
        """Bring back what was there in the place of tensors without numbers."""
        for cell, before in self.cells:
            if is_dead(contents_of(cell)):
                cell.cell_contents = before
        for now, then in self.dicts:
            for key in [k for k, v in now.items() if is_dead(v)]:
                if key in then:
                    now[key] = then[key]
                else:
                    del now[key]
        for now_list, then_list in self.lists:
            if any(map(is_dead, now_list)):
                now_list[:] = then_list


def names_in(code: types.CodeType) -> set[str]:
    """The names that a function reads, in its inner functions too."""
    names = set(code.co_names)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names |= names_in(inner)
    return names


def contents_of(cell: Any) -> Any:
    """What a closure cell holds."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def attributes(value: Any) -> dict[str, Any] | None:
    """The attributes of an object of the user's, or of a module."""
    if isinstance(value, (types.ModuleType, types.FunctionType, type)):
        return None
    held = vars_of(value)
    if held is None or "param_groups" in held or hasattr(type(value), "manual_seed"):
        return None
    return held


def is_dead(value: Any) -> bool:
    """Whether a tensor, or what stands for a number, has no numbers. Those that another engine has
    elsewhere stay there.
    """
    return type(HELD.__get__(value) if isinstance(value, Node) else value) is Symbol
