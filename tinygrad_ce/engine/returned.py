"""What functions with several results give: named tuples, printed as PyTorch prints them."""

from __future__ import annotations

from typing import Any, NamedTuple


def text(results: Any) -> str:
    """One result a line, after its name."""
    parts = ",\n".join(f"{name}={value!r}" for name, value in zip(results._fields, results))
    return f"torch.return_types.{type(results).__name__}(\n{parts})"


class Extremum(NamedTuple):
    """The values over one dimension, and the indices they come from."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return text(self)


class Histogram(NamedTuple):
    """How many elements, or how much weight, there is between the edges."""

    hist: Any
    bin_edges: Any

    def __repr__(self) -> str:
        return text(self)


def named(name: str, base: Any = Extremum) -> Any:
    """The type of what the function of that name gives."""
    return type(name, (base,), {"__slots__": (), "__doc__": base.__doc__})


BY_NAME = {name: named(name) for name in ("max", "median", "min", "sort", "topk")}
