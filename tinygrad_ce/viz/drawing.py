"""`draw`, and the Drawing that it gives: shown, written, or opened as a page."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_ce.viz.graph.cards import Options, Picture
from tinygrad_ce.viz.graph.dot import direction_of, to_dot
from tinygrad_ce.viz.graph.engines import INSTALL, EngineMissingError, render
from tinygrad_ce.viz.graph.reading import picture_of
from tinygrad_ce.viz.graph.subjects import again, resolve
from tinygrad_ce.viz.graph.text import listing
from tinygrad_ce.viz.notebook import image_of
from tinygrad_ce.viz.writing import write

if TYPE_CHECKING:
    from tinygrad_ce.viz.page.playing import Page

SUFFIXES = (".svg", ".png", ".pdf", ".dot", ".html", ".txt")
FEW = 8  # cards that are in nobody's way in one column
LINES = 40  # of a listing in the interactive interpreter


def draw(
    what: Any,
    *examples: Any,
    names: Any = None,
    depth: int | str | Collection[str] | None = None,
    direction: str | None = None,
    theme: str = "auto",
    values: bool = True,
    gradients: bool = True,
    backward: bool = False,
    digits: int = 4,
    aspect: float | str | None = None,
) -> Drawing:
    """The picture of how a tensor was computed, with ∂tensor/∂node at every node.

    `draw(loss)` or `draw(loss, locals())`; `draw(model, x)` runs a module or function on copies of
    the examples, which get gradients too, and puts its buffers and the random streams back;
    `draw(program)` draws what was traced.
    Each tensor is a card: operation, name, shape, value and, in red, the gradient. Gradients are
    computed for the picture; no `.grad` changes, and `backward()` need not have been called. Where
    none can be computed there is `∇ —`. The drawing keeps nothing of the graph, nor the
    model, alive, only its examples.

    names: what tensors are called: a dict such as `locals()` or `{"x": x}`, or a module, whose
        parameters have names already.
    depth: how far calls are opened: 0 draws each layer and each composed function as one card, 1
        opens one level inside of them, None all. Blocks that repeat become one card, `Block × 6`.
        A name, or several, folds the calls of that name or class. Above 300 cards None folds.
    direction: "TB" one column from top to bottom, "LR" from left to right, None what fits: a tall
        picture is set in as many columns as a screen shows side by side.
    theme: "light", "dark", or "auto", in which an SVG follows its reader.
    values: False leaves values out. gradients: False computes none; all rows are `∇ —`.
    backward: True draws the graph of the gradient itself, `∂loss/∂parameter` being its results.
    digits: how many digits numbers have; a number alone has them after its point, 24.7041.
    aspect: width by height, "16:9" or a number: the columns that come closest to it.

    Raises TypeError or ValueError for what cannot be drawn so, or for more than 1500 cards.
    RuntimeError where backward(retain_graph=False) has freed a part of the graph, where
    `backward=True` finds no scalar that needs a gradient, and while a program is traced.

    >>> from tinygrad_ce import tensor
    >>> a, b = tensor(2.0, requires_grad=True), tensor(-3.0, requires_grad=True)
    >>> draw(a * b + 1, names={"a": a, "b": b})
    loss = −5 · 2 operations
    n0  parameter  a                  scalar  2   ∇ −3
    n1  parameter  b                  scalar  −3  ∇ 2
    n2  step       ×         ← n0 n1  scalar  −6  ∇ 1
    n3  loss       + 1 loss  ← n2     scalar  −5  ∇ 1
    """
    options = Options(depth, direction, theme, values, gradients, backward, digits, aspect)
    root, found, given = resolve(what, examples, names)
    return Drawing(picture_of(root, found, options, given), again(what, examples, found))


class Drawing:
    """A picture of a graph: shown by notebooks, written by `save`, and `source` as DOT text."""

    def __init__(self, picture: Picture, again: Callable[[], Any] | None = None) -> None:
        self.picture = picture
        self.source = to_dot(picture)
        self._again = again

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture as .svg, .png, .pdf, .dot, .html or .txt, by the suffix of `path`.

        Gives the path. An .html file is the page of `play`, for which the tensor has still to be
        there. A file is written whole or not at all. Without an engine that draws, the DOT text is
        written next to where the picture was wanted, and a warning says what to install. A
        symbolic link stays one: the file that it points to is replaced.

        Raises ValueError for another suffix, OSError where nothing can be written, such as
        FileNotFoundError without the folder, RuntimeError if no page can be made.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(
                f"save: {path.name!r} ends in {path.suffix!r}; wanted {', '.join(SUFFIXES[:-1])} "
                f'or {SUFFIXES[-1]}, as in save("graph.svg")'
            )
        if suffix == ".html":
            return page_of(self).save(path)
        if suffix == ".txt":
            return write(path, f"{self.text}\n".encode())
        if suffix == ".dot":
            return write(path, self.source.encode())
        try:
            drawn = self._drawn(suffix[1:])
        except EngineMissingError:
            instead = write(path.with_suffix(".dot"), self.source.encode())
            warnings.warn(
                f"draw: nothing here draws {path.name}, so {instead.name} was written; {INSTALL}",
                stacklevel=2,
            )
            return instead
        return write(path, drawn)

    def _drawn(self, format: str) -> bytes:
        picture, options = self.picture, self.picture.options
        columns = in_columns(picture)
        return render(self.source, format, options.theme, self._title(), options.ratio(), columns)

    def _title(self) -> str:
        picture = self.picture
        return f"Computation graph: {', '.join([picture.title, *picture.notes])}"

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

    def _repr_html_(self) -> str:
        try:
            return image_of(self._drawn("svg"), self._title())
        except EngineMissingError:
            advice = f"To see it drawn: {INSTALL}"
        except Exception as error:  # a display hook must not fail
            advice = str(error)
        return f"<pre>{escape(str(self))}\n\n{escape(advice)}</pre>"


def in_columns(picture: Picture) -> bool:
    """Whether a picture may be set in columns: it runs from top to bottom and is not short."""
    options = picture.options
    asked = options.direction is None or options.aspect is not None
    return asked and direction_of(picture) == "TB" and len(picture.cards) > FEW


def page_of(drawing: Drawing) -> Page:
    """The page that plays the drawing's graph back.

    Raises RuntimeError where the graph is gone, ValueError for the graph of a gradient or
    one without values or gradients.
    """
    from tinygrad_ce.viz.page.playing import play

    options = drawing.picture.options
    if options.backward:
        raise ValueError(
            "save: a page plays a loss and its gradients back, not the graph of a gradient; "
            "leave backward=True out, or save a picture: save('graph.svg')"
        )
    if not (options.values and options.gradients):
        raise ValueError(
            "save: a page plays values and gradients back; leave values=False and gradients=False "
            "out, or save a picture: save('graph.svg')"
        )
    if drawing._again is None:
        raise RuntimeError("save: this picture knows no graph; write play(loss).save('page.html')")
    what, examples, names = drawing._again()
    return play(what, *examples, names=names, depth=options.depth, theme=options.theme,
                digits=options.digits)  # fmt: skip
