"""Where a gradient leaves a vmap: what was the same for all slices gets what comes from each."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.engine.graph import Node

mapped: dict[int, Any] = {}
"""The vmaps of which something is left; as long as there are none, the chain rule does not ask."""


def add_slices(d: Any, array: Any) -> Any:
    """The gradient d of what has this array: Σ over the slices of a vmap that is over.

    That is so where d has slices and the array none. While the vmap is open, they stay apart: each
    slice has a gradient of its own.
    """
    slices = d.array if isinstance(d, Node) else d
    for level in getattr(slices, "levels", tuple)():
        if not level.open and level not in getattr(array, "levels", tuple)():
            d = level.total(d)
    return d
