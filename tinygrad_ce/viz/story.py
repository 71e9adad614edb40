"""What a page tells about a graph, as plain data: its tensors, its steps, its sources.

Nothing here knows how a page looks. Large arrays are given as a window onto them; numbers keep
four digits, which is what is shown.
"""

from __future__ import annotations

import linecache
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.viz.cards import Picture, Reader
from tinygrad_ce.viz.flow import Arrival, arrivals, relation
from tinygrad_ce.viz.labels import derivative_label, sum_label
from tinygrad_ce.viz.mathematics import (
    WHY,
    backward_math,
    forward_math,
    free_letters,
    symbols_of,
)
from tinygrad_ce.viz.values import gradient_text, number, value_text

ROWS, COLUMNS, SLICES = 12, 12, 4  # of a window onto an array


# --- numbers --------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """One element for JSON, which knows no nan and no infinity.

    >>> plain(np.float32(1 / 3)), plain(np.inf), plain(np.True_), plain(np.int64(12345))
    (0.3333, '∞', 1, 12345)
    """
    if isinstance(value, (np.bool_, np.integer)):
        return int(value)
    if not np.isfinite(value):
        return number(value)
    short = float(f"{float(value):.4g}")
    return int(short) if short.is_integer() and abs(short) < 1e6 else short


def window(array: Any) -> dict[str, Any]:
    """An array as a page shows it: its shape and its first slices, rows and columns.

    The last axis runs along a row, the one before down a column; those before are slices.
    """
    array = np.asarray(array)
    shape = array.shape
    rows, columns = (1, *shape)[-2:] if shape else (1, 1)
    slices = array.reshape(prod(shape[:-2]), rows, columns)
    shown = slices[:SLICES, :ROWS, :COLUMNS]
    told: dict[str, Any] = {"s": list(shape), "d": [plain(x) for x in shown.ravel()]}
    if shown.size < array.size:
        told["of"] = value_text(array)
        told["w"] = list(shown.shape)
    if array.dtype.kind == "b":
        told["b"] = 1
    return told


# --- the whole ------------------------------------------------------------------------------


def story(
    reader: Reader, picture: Picture, ids: Mapping[Node, str], checks: Mapping[int, Any], why: str
) -> dict[str, Any]:
    """Everything that the page needs besides the picture."""
    teller = Teller(reader, picture, ids)
    told = {
        "title": picture.title,
        "tensors": {id: teller.tensor(node) for node, id in ids.items()},
        "steps": teller.steps(checks),
        "files": teller.sources,
        "why": why,
        "loss": teller.loss,
    }
    for node, gradient in teller.gradients.items():
        if node in ids:
            told["tensors"][ids[node]]["g"] = window(gradient)
            told["tensors"][ids[node]]["n"] = teller.arrived.get(node, 0)
            told["tensors"][ids[node]]["norm"] = gradient_text(gradient)
    return told


class Teller:
    """Tells one graph. `gradients` are complete when the steps are told."""

    def __init__(self, reader: Reader, picture: Picture, ids: Mapping[Node, str]) -> None:
        self.reader, self.ids = reader, ids
        self.cards = {card.id: card for card in picture.cards}
        self.gradients: dict[Node, np.ndarray] = {}
        self.arrived: dict[Node, int] = {}
        self.sources: list[list[Any]] = []
        self.loss = reader.names.get(reader.root, "") or "L"
        self.letter = free_letters(reader.names.values())
        self.read: dict[Node, list[Node]] = {}
        for use in reader.uses:
            self.read.setdefault(use.target, []).append(use.source)

    def tensor(self, node: Node) -> dict[str, Any]:
        """Name, operation and value of one tensor."""
        card = self.cards[self.ids[node]]
        told = {"op": card.op, "name": card.name, "role": card.role, "v": window(node.array)}
        told["t"] = str(node.array.dtype)
        if node.requires_grad:
            told["r"] = 1
        return told

    def steps(self, checks: Mapping[int, Any]) -> list[dict[str, Any]]:
        """The start, each operation, the seed, each arrival of a gradient, the end."""
        reader = self.reader
        told = [{"k": "start"}, *map(self.forward, reader.operations)]
        if reader.root.requires_grad and reader.root.array.size == 1:
            came = list(arrivals(reader.root, reader.operations, reader.uses))
            self.gradients[reader.root] = np.ones(reader.root.array.shape)
            for arrival in came:
                source = reader.uses[arrival.use].source
                self.gradients[source] = arrival.after
                self.arrived[source] = self.arrived.get(source, 0) + 1
            told.append({"k": "seed", "y": self.ids[reader.root]})
            so_far: dict[Node, int] = {}
            for arrival in came:
                source = reader.uses[arrival.use].source
                so_far[source] = so_far.get(source, 0) + 1
                last = so_far[source] == self.arrived[source]
                told.append(self.backward(arrival, checks.get(arrival.use), last))
        return [*told, {"k": "end"}]

    # --- one step ---------------------------------------------------------------------------

    def symbols(self, node: Node) -> dict[str, str]:
        """What the letters of a rule are called at this node."""
        names = [self.short(x) for x in self.operands(node)]
        found = symbols_of(names, self.reader.numbers(node), self.letter)
        return {**found, "y": self.short(node) or self.letter["y"], "L": self.loss}

    def short(self, node: Node) -> str | None:
        """The name that somebody gave, if it is not a word of ours."""
        return self.reader.names.get(node)

    def operands(self, node: Node) -> list[Node]:
        """The operands as they were when the operation read them."""
        return self.read[node]

    def forward(self, node: Node) -> dict[str, Any]:
        """One operation."""
        symbols = self.symbols(node)
        step: dict[str, Any] = {"k": "f", "y": self.ids[node]}
        step["m"] = forward_math(node.op.name, node.settings, symbols)
        step["x"] = [self.operand(node, i, x) for i, x in enumerate(self.operands(node))]
        step["as"] = self.letters(node, symbols)
        step["out"] = symbols["y"]
        self.add_source(step, node)
        return step

    def letters(self, node: Node, symbols: Mapping[str, str]) -> list[str]:
        """What each operand is called in the formula."""
        if len(node.inputs) == 1:
            return [symbols["x"]]
        return [symbols[letter] for letter in "abc"[: len(node.inputs)]] + [
            "" for _ in node.inputs[3:]
        ]

    def operand(self, node: Node, position: int, x: Node) -> dict[str, Any]:
        """One operand of an operation: a card, or a number without one."""
        told: dict[str, Any] = {"id": self.ids[x]} if x in self.ids else {"v": window(x.array)}
        related = relation(node, position)
        if related is not None and x.array.size > 0:
            told["m"] = related
        if node.op.stretches and x.array.shape != node.array.shape and related == "e":
            told["c"] = sum_label(x.array.shape, node.array.shape).removeprefix("Σ ")
        return told

    def backward(self, arrival: Arrival, check: Any, last: bool) -> dict[str, Any]:
        """One gradient on its way from an operation to one of its operands."""
        use = self.reader.uses[arrival.use]
        node, source, position = use.target, use.source, use.position
        symbols = self.symbols(node)
        letter = "x" if len(node.inputs) == 1 else "abc"[position] if position < 3 else "x"
        shapes = source.array.shape, node.array.shape
        stretched = arrival.product.shape != arrival.new.shape
        slope = None if arrival.local is None or (arrival.local == 1).all() else arrival.local
        summed = sum_label(*shapes).removeprefix("Σ ") if stretched else ""
        step: dict[str, Any] = {"k": "b", "y": self.ids[node], "x": self.ids[source], "p": position}
        step["m"] = backward_math(node.op.name, position, node.settings, symbols, letter, summed)
        step["as"] = [symbols[letter], symbols["y"]]
        step["lab"] = self.label(use.target, position, shapes)
        if slope is not None:
            step["loc"] = window(slope)
        other = self.other(node, position)
        if other is not None:
            step["o"] = [self.ids[other], symbols["ba"[position]]]
        if stretched and slope is not None:
            step["full"], step["sum"] = window(arrival.product), summed
        if arrival.before is not None:
            step["old"] = window(arrival.before)
        if arrival.before is not None or not last:
            step["new"] = window(arrival.new)
        if not last and arrival.before is not None:
            step["now"] = window(arrival.after)
        related = relation(node, position)
        if related is not None:
            step["map"] = related
        why = WHY.get(node.op.name)
        if why:
            step["why"] = why[min(position, len(why) - 1)]
        if last:
            said = residual(source.array, self.gradients[source], self.exponential(node))
            if said:
                step["is"] = said
        if check is not None:
            step["ok"] = check
        self.add_source(step, node)
        return step

    def label(self, node: Node, position: int, shapes: tuple[Any, Any]) -> str:
        """The local derivative as the picture's edge has it."""
        numbers = self.reader.numbers(node)
        names = [text or self.short(x) for text, x in zip(numbers, self.operands(node))]
        return derivative_label(node.op.name, position, node.settings, names, *shapes)

    def other(self, node: Node, position: int) -> Node | None:
        """The other factor of a matrix product."""
        if node.op.name not in ("matmul", "inner"):
            return None
        factor = self.operands(node)[1 - position]
        return factor if factor in self.ids else None

    def exponential(self, node: Node) -> bool:
        """Whether the graph has an exp at all: only then a softmax can be looked for."""
        return any(other.op.name == "exp" for other in self.reader.operations)

    def add_source(self, step: dict[str, Any], node: Node) -> None:
        """The place in the user's program, as a number into `sources`."""
        place = source_of(node)
        if place is not None:
            if place not in self.sources:
                self.sources.append(place)
            step["src"] = self.sources.index(place)


def source_of(node: Node) -> list[Any] | None:
    """File, line number, text, and the first and last column of what made a node, if known."""
    if not hasattr(node, "line"):
        return None
    code, instruction = node.line
    positions = list(code.co_positions())[instruction // 2]
    first, end, start, stop = positions
    if first is None:
        return None
    text = linecache.getline(code.co_filename, first).rstrip("\n")
    if start is None or stop is None or end != first:
        start, stop = 0, len(text)
    else:  # columns are counted in bytes
        raw = text.encode()
        start, stop = len(raw[:start].decode()), len(raw[:stop].decode())
    indent = len(text) - len(text.lstrip())
    file = code.co_filename.replace("\\", "/").rpartition("/")[2]
    return [file, first, text.strip(), max(start - indent, 0), max(stop - indent, 0)]


# --- what the program recognises ------------------------------------------------------------


def residual(value: np.ndarray, gradient: np.ndarray, exponential: bool) -> dict[str, Any] | None:
    """Whether a gradient is (p − y)/N with p a softmax or a sigmoid of the value: checked here.

    y = p − N·gradient must be 0 or 1 everywhere, and one 1 in each row for a softmax.
    """
    if not exponential or value.dtype.kind != "f" or value.size < 2 or value.ndim not in (1, 2):
        return None
    z, g = value.astype(np.float64), np.asarray(gradient, np.float64)
    if z.shape != g.shape or not (np.isfinite(z).all() and np.isfinite(g).all()):
        return None
    tolerance = 1e-9 if value.dtype == np.float64 else 1e-5
    n = z.shape[0]
    if z.ndim == 2 and z.shape[1] > 1:
        e = np.exp(z - z.max(1, keepdims=True))
        found = fits(e / e.sum(1, keepdims=True), g, n, tolerance)
        if found is not None and (found[1].sum(1) == 1).all():
            return {"of": "softmax", "N": n, "d": found[0]}
        return None
    found = fits(1 / (1 + np.exp(-np.clip(z, -700, 700))), g, n, tolerance)
    return None if found is None else {"of": "sigmoid", "N": n, "d": found[0]}


def fits(
    p: np.ndarray, gradient: np.ndarray, n: int, tolerance: float
) -> tuple[float, np.ndarray] | None:
    """The largest |gradient − (p − y)/N| for the y of 0 and 1 that is nearest, if it is small."""
    y = np.round(p - n * gradient)
    if not np.isin(y, (0, 1)).all():
        return None
    difference = float(np.abs(gradient - (p - y) / n).max())
    return (difference, y) if difference <= tolerance else None
