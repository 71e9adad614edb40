"""Pictures: of computation graphs, `draw(loss)`, and of training, `plot_history(recorder)`.

A graph is read into cards (cards.py), cards become DOT text (dot.py), and an engine, if one is
installed, lays the text out (engines.py). A training loop tells a Recorder (recorder.py) what goes
on, and matplotlib plots it (training.py, boundary.py). Nothing here is imported before it is used.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.viz.cards import Card, Picture, read
from tinygrad_ce.viz.dot import darkened, to_dot
from tinygrad_ce.viz.engines import INSTALL, EngineMissingError, render

if TYPE_CHECKING:
    from tinygrad_ce.viz.boundary import plot_decision_boundary
    from tinygrad_ce.viz.recorder import Recorder
    from tinygrad_ce.viz.training import plot_activations, plot_gradients, plot_history

__all__ = [
    "Drawing",
    "Recorder",
    "draw",
    "plot_activations",
    "plot_decision_boundary",
    "plot_gradients",
    "plot_history",
]

LATER = {
    "Recorder": "recorder",
    "plot_activations": "training",
    "plot_decision_boundary": "boundary",
    "plot_gradients": "training",
    "plot_history": "training",
}  # names that are imported when they are first used, and the files they are in

LINES = 40  # of a listing in the interactive interpreter


def draw(tensor: Node, names: Any = None, *, fold: bool | None = None) -> Drawing:
    """The picture of how `tensor` was computed, with ∂tensor/∂node at every node.

    Each tensor is a card: operation, name, shape, value and, in red, the gradient. Gradients are
    computed for the picture; no `.grad` changes, and `backward()` need not have been called. A
    tensor that is not a scalar, or needs no gradient, is drawn with `∇ —`.

    names: what tensors are called: a dict such as `locals()` or `{"x": x}`, or a module, whose
        parameters have names already.
    fold: True draws every call of a module or of a composed function as one card, False none;
        None folds a graph of more than 300 cards.

    Raises ValueError for more than 1500 cards.

    >>> from tinygrad_ce.engine.tensor import Tensor
    >>> a, b = Tensor(2.0, requires_grad=True), Tensor(-3.0, requires_grad=True)
    >>> draw(a * b + 1, names={"a": a, "b": b})
    loss = −5 · 2 operations
    n0  parameter  a    scalar  2   ∇ −3
    n1  parameter  b    scalar  −3  ∇ 2
    n2  step       ×    scalar  −6  ∇ 1
    n3  loss       + 1  scalar  −5  ∇ 1
    """
    return Drawing(read(tensor, names, fold))


class Drawing:
    """A picture of a graph: shown by notebooks, written by `save`, and `source` as DOT text."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.source = to_dot(picture)

    def save(self, path: str | os.PathLike[str], *, dark: bool = False) -> Path:
        """Write the picture as .svg, .png, .pdf, .dot or .txt, by the suffix of `path`.

        Gives the path.

        An SVG turns dark where its reader prefers that; `dark` makes any picture dark. A file is
        written whole or not at all. Without an engine that draws, the DOT text is written next to
        where the picture was wanted, and a warning says what to install.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in (".svg", ".png", ".pdf", ".dot", ".txt"):
            raise ValueError(
                f"save: {path.name!r} ends in {path.suffix!r}; wanted .svg, .png, .pdf, .dot or "
                '.txt, as in save("graph.svg")'
            )
        if suffix == ".txt":
            return write_whole(path, f"{self.text}\n".encode())
        source = darkened(self.source) if dark else self.source
        if suffix == ".dot":
            return write_whole(path, source.encode())
        try:
            drawn = render(source, suffix[1:])
        except EngineMissingError:
            instead = write_whole(path.with_suffix(".dot"), source.encode())
            warnings.warn(
                f"draw: nothing here draws {path.name}, so {instead.name} was written; {INSTALL}",
                stacklevel=2,
            )
            return instead
        return write_whole(path, drawn)

    @property
    def text(self) -> str:
        """Every card on a line: operation, name, shape, value and gradient."""
        return listing(self.picture)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        lines = str(self).splitlines()
        if len(lines) > LINES:
            lines[LINES:] = [f"... and {len(lines) - LINES} more; print(drawing) shows them all"]
        return "\n".join(lines)

    def _repr_svg_(self) -> str | None:
        try:
            return render(self.source, "svg").decode()
        except Exception:  # a display hook must not fail; _repr_html_ says what is wrong
            return None

    def _repr_html_(self) -> str:
        try:
            svg = render(self.source, "svg").decode()
            return f'<div style="overflow:auto">{svg[svg.index("<svg") :]}</div>'
        except EngineMissingError:
            advice = f"To see it drawn: {INSTALL}"
        except Exception as error:  # a display hook must not fail
            advice = str(error)
        return f"<pre>{escape(str(self))}\n\n{escape(advice)}</pre>"


def listing(picture: Picture) -> str:
    """The cards as text, one a line, in the order of the computation."""
    rows = [
        (card.id, card.role, title(card), card.shape, card.value, gradient(card))
        for card in picture.cards
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    lines = ["  ".join(cell.ljust(n) for cell, n in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([" · ".join([picture.title, *picture.notes]), *lines])


def title(card: Card) -> str:
    """Operation and name, on one line."""
    return " ".join(f"{card.op} {card.name}".split())


def gradient(card: Card) -> str:
    """The gradient, and how many were added for it."""
    return f"{card.gradient} ⊕{card.added}" if card.gradient and card.added > 1 else card.gradient


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file completely, or leave what was there."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"save: the folder {str(path.parent)!r} does not exist; make it first"
        )
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return path


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module 'tinygrad_ce.viz' has no attribute {name!r}")
    value = getattr(import_module(f"tinygrad_ce.viz.{LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *LATER})
