"""What tensors are called: from a dict such as `locals()`, from a module, or from both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tinygrad_ce.engine.graph import Node

HALVES = re.compile("[\ud800-\udfff]")


def names_of(names: Any, caller: str = "draw") -> dict[Node, str]:
    """The name of each tensor, from a dict such as `locals()`, from a module, or from both.

    A dict's modules name their parameters and buffers, after the module if there are several.
    Names that start with an underscore are passed over, as are values that are no tensors.

    Raises TypeError for anything else.

    >>> from tinygrad_ce import tensor
    >>> list(names_of({"x": tensor(1.0), "_": tensor(2.0), "n": 3}).values())
    ['x']
    """
    found: dict[Node, str] = {}
    if names is None:
        return found
    if hasattr(type(names), "named_parameters"):
        names = {"": names}
    if not isinstance(names, Mapping):
        raise TypeError(
            f"{caller}: names is a {type(names).__name__}; wanted a dict of tensors by name, such "
            'as locals() or {"x": x}, or a module'
        )
    for name, value in list(names.items()):
        if isinstance(value, Node) and not str(name).startswith("_"):
            found.setdefault(value, writable(str(name)))
    held = {
        str(name): [*value.named_parameters(), *value.named_buffers()]
        for name, value in list(names.items())
        if hasattr(type(value), "named_parameters")
    }
    several = sum(map(bool, held.values())) > 1
    for owner, tensors in held.items():
        for name, tensor in tensors:
            found.setdefault(tensor, writable(f"{owner}.{name}" if several else name))
    return found


def writable(text: str) -> str:
    """The text without halves of surrogate pairs, which no file can hold."""
    return HALVES.sub("\ufffd", text)


def free_letters(taken: Iterable[str]) -> dict[str, str]:
    """The letters of a rule, or others where the user's tensors have these names already.

    >>> free_letters(["x", "W"])
    {'a': 'a', 'b': 'b', 'c': 'c', 'x': 'u', 'y': 'y'}
    """
    names = set(taken)
    return {
        letter: next((other for other in letter + others if other not in names), letter)
        for letter, others in (("a", "pf"), ("b", "qg"), ("c", "rh"), ("x", "ut"), ("y", "vs"))
    }
