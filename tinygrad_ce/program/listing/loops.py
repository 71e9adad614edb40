"""The same lines for one parameter after another, written as one loop over them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

WORD = re.compile(r"[A-Za-z_]\w*|[^\sA-Za-z_]|\s+")
NAME = re.compile(r"[A-Za-z_]\w*")
WIDTH = 82
ORDER = {"w": 0, "g": 1, "m": 2, "velocity": 2, "v": 3, "t": 4}


def looped(
    blocks_of: Sequence[Any], roles: dict[str, str], taken: set[str], elsewhere: set[str]
) -> list[str] | None:
    """The lines of the statements as a loop, or None if they are not the same lines again.

    `roles` says what a loop may run over, and as what: `m_W0` as m, `dW0` as g. What a block makes
    for itself must have a name that does not stand `elsewhere`.
    """
    for count in range(len(blocks_of) // 2, 1, -1):
        if len(blocks_of) % count:
            continue
        size = len(blocks_of) // count
        blocks = [blocks_of[i : i + size] for i in range(0, len(blocks_of), size)]
        texts = ["\n".join(line for s in block for line in s.lines) for block in blocks]
        columns = matched(texts)
        if columns is None:
            continue
        own = [names - elsewhere for names in own_names(blocks)]
        lines = written(texts[0], columns, own, roles, taken)
        if lines is not None:
            return lines
    return None


def own_names(blocks: Sequence[Sequence[Any]]) -> list[set[str]]:
    """For each block, the names that it gives."""
    return [{s.lines[0].split(" ")[0] for s in block if s.shape is not None} for block in blocks]


def matched(texts: list[str]) -> list[tuple[str, ...]] | None:
    """The names that differ between texts that are else the same, each with its counterparts."""
    tokens = [WORD.findall(text) for text in texts]
    if len({len(t) for t in tokens}) != 1:
        return None
    columns = dict.fromkeys(zip(*tokens))
    differing = [column for column in columns if len(set(column)) > 1]
    if any(not NAME.fullmatch(word) for column in differing for word in column):
        return None
    for i in range(len(texts)):
        if len({column[i] for column in differing}) != len(differing):
            return None
    return differing


def written(
    text: str,
    columns: list[tuple[str, ...]],
    own: list[set[str]],
    roles: dict[str, str],
    taken: set[str],
) -> list[str] | None:
    """The loop: its variables in place of the first block's names."""
    over = [c for c in columns if not all(name in names for name, names in zip(c, own))]
    variables: dict[str, str] = {}
    for column in over:
        role = {roles.get(name) for name in column}
        if len(role) != 1 or None in role:
            return None
        name = next(iter(role)) or ""
        if name in variables.values():
            return None
        variables[column[0]] = name
    if len(over) < 2:
        return None
    variables = {first: name + "_" * (name in taken) for first, name in variables.items()}
    order = sorted(over, key=lambda column: ORDER.get(variables[column[0]].rstrip("_"), 5))
    rows = [line for row in zip(*order) for line in wrapped(row)]
    body = NAME.sub(lambda m: variables.get(m.group(), m.group()), text).split("\n")
    head = f"for {', '.join(variables[c[0]] for c in order)} in ("
    return [head, *rows, "):", *("    " + line for line in body)]


def wrapped(row: Sequence[str]) -> list[str]:
    """A tuple of names on one line, or on several if it is long."""
    one = f"    ({', '.join(row)}),"
    return [one] if len(one) <= WIDTH else ["    (", *in_rows(row, " " * 8, WIDTH), "    ),"]


def in_rows(names: Sequence[str], margin: str, width: int) -> list[str]:
    """Names with commas, on as many lines as they need."""
    text = ", ".join(names) + ","
    return wrap(text, width, initial_indent=margin, subsequent_indent=margin,
                break_long_words=False)  # fmt: skip
