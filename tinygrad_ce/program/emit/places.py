"""Where values are: the memory that they live in, and the expression that finds them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Storage:
    """Memory that one or several values live in, one after another or as views."""

    name: str
    nbytes: int
    static: bool  # there before the run, and the same in every run
    mine: bool  # a buffer that later values may overwrite
    last: int = -1  # the last step that reads it


@dataclass(eq=False, slots=True)
class Place:
    """Where a value is found: the expression for it, its storage, whether it is contiguous."""

    text: str
    storage: Storage | None
    contiguous: bool
