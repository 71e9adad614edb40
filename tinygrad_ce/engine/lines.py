"""The line of the user's program that made a tensor, for those that remember it.

A node that was recorded under `source_lines()` has code objects and instructions, the nearest
caller first; one of a traced program has a file and a line number.
"""

from __future__ import annotations

import linecache
import os
from itertools import islice
from typing import NamedTuple

from tinygrad_ce.engine.graph import Node


class Place(NamedTuple):
    """A stretch of one line: its text without indentation, and where in it the stretch is."""

    file: str
    number: int
    text: str
    start: int
    stop: int


def place_of(node: Node) -> Place | None:
    """Where a node was made, if it is known: all of the line, or the part that did it."""
    line = getattr(node, "line", None) or getattr(node.array, "line", None)  # of a Symbol
    if not line:
        return None
    if hasattr(line, "number"):
        return whole(line.file, line.number)
    code, instruction, *_ = line[0]
    first, last, start, stop = next(
        islice(code.co_positions(), instruction // 2, None), (None,) * 4
    )
    if first is None:
        return None
    place = whole(code.co_filename, first)
    if start is None or stop is None or last != first:
        return place
    raw = linecache.getline(code.co_filename, first).encode()
    indent = len(raw) - len(raw.lstrip())
    columns = [len(raw[indent:at].decode(errors="ignore")) for at in (start, stop)]
    return place._replace(start=columns[0], stop=columns[1])


def whole(file: str, number: int) -> Place:
    """A line from its first letter to its last."""
    text = linecache.getline(file, number).strip()
    return Place(os.path.basename(file), number, text, 0, len(text))
