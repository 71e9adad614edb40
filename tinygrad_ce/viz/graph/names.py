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


def short(name: str, most: int) -> str:
    """A name of at most so many letters: the last parts of a path, or its beginning.

    >>> short("encoder.layers.query.weight", 16), short("a_long_name_without_parts", 12)
    ('…query.weight', 'a_long_name…')
    """
    if len(name) <= most:
        return name
    parts = name.split(".")
    while len(parts) > 1 and len(".".join(parts)) >= most:
        parts.pop(0)
    last = ".".join(parts)
    return f"…{last}" if last != name and len(last) < most else f"{name[: most - 1]}…"


def free_letters(taken: Iterable[str]) -> dict[str, str]:
    """The letters of rules and formulas, or others where the user's tensors have these names.

    No two letters are replaced by the same one. Euler's e becomes a letter of its own.

    >>> free = free_letters(["x", "W", "e"])
    >>> [free[letter] for letter in "xWeay"]
    ['u', 'A', 'ℯ', 'a', 'y']
    """
    names = set(taken)
    spare = [letter for letter in SPARE if letter not in names]
    found = {letter: letter for letter in LETTERS}
    for letter in LETTERS:
        if letter in names:
            wanted = [*USUAL.get(letter, ""), *spare]
            found[letter] = next((one for one in wanted if one in ALSO or one in spare), letter)
            if found[letter] in spare:
                spare.remove(found[letter])
    return found


def renamed(text: str, letters: Mapping[str, str]) -> str:
    """A text of ours with its letters replaced: those that stand alone, and raised ones.

    >>> renamed("x @ Wᵀ + log b, eˣ", {"x": "u", "b": "b", "W": "H"})
    'u @ Hᵀ + log b, eᵘ'
    """

    def other(match: re.Match[str]) -> str:
        new = letters.get(match[1], match[1])
        counted = text[: match.start()][-1:].isdigit()
        return f"·{new}" if counted and len(new) > 1 else new

    low = {small: letters.get(letter, letter) for small, letter in RAISED.items()}
    return LETTER.sub(other, "".join(LOW.get(low.get(c, ""), c) for c in text))


LETTERS = "abcdeikjmnpxyzEGKMNQVWβγδεμσταΦ"  # what rules and formulas call things
USUAL = {"a": "f", "b": "g", "c": "h", "x": "ut", "y": "vs", "z": "w", "e": "ℯ", "W": "A"}
ALSO = {"ℯ"}
SPARE = "fghqrstloABCDFHJPRSUXYZλωρφuvw"
LETTER = re.compile(r"(?<![A-Za-zα-ωΑ-Ω{])([A-Za-zα-ωΑ-Ω])(?![A-Za-zα-ωΑ-Ω}])")
RAISED = dict(zip("ᵃᵇᶜᵈˣʸᶻ", "abcdxyz"))
LOW = {**{letter: small for small, letter in RAISED.items()},
       **dict(zip("uvwfghrstlo", "ᵘᵛʷᶠᵍʰʳˢᵗˡᵒ"))}  # fmt: skip
