"""`play(loss)`: a page that plays a graph back, forward and backward, step by step.

The page is one file: the picture that Graphviz laid out (geometry.py), the steps as JSON
(story.py), and a page of plain HTML, CSS and JavaScript that needs no network (page/).
"""

from __future__ import annotations

import json
import os
import re
import zlib
from base64 import b64encode
from collections.abc import Collection
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from tinygrad_ce.optim import Optimizer
from tinygrad_ce.viz.graph.cards import Options
from tinygrad_ce.viz.graph.dot import DARK, to_dot
from tinygrad_ce.viz.graph.engines import INSTALL, EngineMissingError, render
from tinygrad_ce.viz.graph.programs import played
from tinygrad_ce.viz.graph.reading import Reader
from tinygrad_ce.viz.graph.subjects import is_program, resolve
from tinygrad_ce.viz.graph.values import written_with
from tinygrad_ce.viz.graph.walking import Graph
from tinygrad_ce.viz.notebook import frame_of
from tinygrad_ce.viz.page import animation
from tinygrad_ce.viz.page.animation import SUFFIXES
from tinygrad_ce.viz.page.geometry import column, slim
from tinygrad_ce.viz.page.listing import listed_steps
from tinygrad_ce.viz.page.story import story
from tinygrad_ce.viz.writing import write

STRICT = """"use strict";
const story = JSON.parse(document.getElementById("story").textContent, unpacked);"""
FORMULA = re.compile(r"\\u003c(/?(?:m[a-z]+|d)>)")  # what MathML is made of ends no script
MARK = re.compile("<!--([A-Z]+)-->")
COMMENT = re.compile(r"^(?:\s+|/\*(?s:.*?)\*/\n|//.*\n)+", re.MULTILINE)
SCRIPTS = (
    "tables.js", "slices.js", "images.js", "graph.js", "engine.js", "numbers.js", "living.js",
    "checks.js", "training.js", "points.js", "births.js", "repeats.js", "start.js", "way.js",
    "search.js", "quiz.js", "windows.js", "steps.js", "player.js", "editing.js", "export.js",
)  # fmt: skip
NEEDED = {
    "images.js": lambda told: told["pictures"] or told["slides"],
    "windows.js": lambda told: told["slides"],
    "training.js": lambda told: "train" in told.get("live", ()),
    "points.js": lambda told: "points" in told.get("live", {}).get("train", ()),
}  # scripts that only some pages have
NO_LINES = "To see the line behind each step, compute it under tinygrad_ce.source_lines()."
HEIGHT = 720  # of the page in a notebook, in CSS pixels


class Page:
    """A page as one text: `html`. Notebooks show it, `save` writes it, or its steps as pictures."""

    def __init__(self, title: str, html: str, steps: int, graph: str, told: dict[str, Any]) -> None:
        self.title, self.steps = title, steps
        self._graph, self._told = graph, told  # for pictures of the steps
        self.html = html.encode("utf-8", "replace").decode()  # half a surrogate is no character

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page as one .html file that needs nothing else. Gives the path.

        For slides the steps are drawn one after the other as a .gif, an .mp4 (where ffmpeg is
        installed) or a .pdf with a page for each; as .png or .svg the last of them. These need
        matplotlib: pip install "tinygrad_ce[plots]".

        Raises ValueError for another suffix, ImportError without matplotlib, RuntimeError for an
        .mp4 without ffmpeg.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix in SUFFIXES:
            return animation.save(path, self.title, self._graph, self._told)
        if suffix not in (".html", ".htm"):
            raise ValueError(
                f"save: {path.name!r} ends in {path.suffix!r}; wanted .html for the page, or "
                f'{", ".join(SUFFIXES)} for its steps, as in save("page.html")'
            )
        return write(path, self.html.encode())

    def __repr__(self) -> str:
        kilobytes = len(self.html.encode()) / 1000
        return f'<Page {self.title}: {self.steps} steps, {kilobytes:.0f} kB; save("page.html")>'

    def _repr_html_(self) -> str:
        return frame_of(self.html, self.title, HEIGHT)


def play(
    what: Any,
    *examples: Any,
    names: Any = None,
    depth: int | str | Collection[str] | None = None,
    theme: str = "auto",
    digits: int = 4,
    optimizer: Optimizer | None = None,
) -> Page:
    """A page that plays the graph of a tensor back: its values forward, its gradients backward.

    `play(loss)`, `play(loss, locals())`, `play(model, x)` and `play(program)` take what `draw`
    takes. Each step has the numbers, the rule as mathematics, the line of the program that it comes
    from and a comparison with central differences, which is made now. For the lines of a tensor
    that is there already, compute it under `with tinygrad_ce.source_lines():`.

    With an `optimizer` of `tinygrad_ce.optim`, or a traced step that updates its parameters, the
    page trains: it takes one step or many, always on the numbers that it shows, draws the loss, and
    tells how each parameter is replaced, w − lr · ∂L/∂w with the optimiser's own terms. The
    learning rate can be changed there. What was drawn at random stays as it was recorded. Nothing
    of the optimiser, the parameters or the program is changed.

    The page keeps nothing of the graph alive. depth, theme and digits are those of `draw`.

    Raises TypeError or ValueError for what cannot be drawn, and for an optimiser that has no
    parameter of the loss or takes no step that can be traced (LBFGS asks for the loss many times).

    >>> from tinygrad_ce import tensor
    >>> a, b = tensor(2.0, requires_grad=True), tensor(-3.0, requires_grad=True)
    >>> page = play(a * b + 1, names={"a": a, "b": b})
    >>> page.title, page.steps
    ('loss = −5', 8)
    """
    options = Options(depth=depth, direction="TB", theme=theme, digits=digits, caller="play")
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"play: got optimizer={optimizer!r:.40}; wanted one of tinygrad_ce.optim, such as "
            "SGD(model.parameters(), lr=0.1)"
        )
    player = played(what) if is_program(what) else None
    if player is not None and optimizer is not None:
        raise TypeError(
            "play: got a traced program and an optimizer; a program takes its own steps: "
            "play(program)"
        )
    root, found, given = resolve(what if player is None else player, examples, names, "play")
    reader = Reader(Graph([root], found, given=given), options)
    picture = reader.read()
    note = ""
    try:  # before the checks, which take longer
        graph = slim(render(to_dot(picture), "svg", "light").decode(), picture)
    except EngineMissingError:
        graph, note = column(picture), f"To see the graph laid out: {INSTALL}"
    with written_with(digits):
        told = story(reader, picture, player, optimizer)
    lines = any("src" in step for step in told["steps"])
    told["why"] = "" if lines else NO_LINES
    if note:
        told["note"] = note
    told |= {"theme": theme, "digits": digits}
    html = page(picture.title, graph, told, listed_steps(told, picture))
    return Page(picture.title, html, len(told["steps"]), graph, told)


def page(title: str, graph: str, told: dict[str, Any], steps: str) -> str:
    """The HTML text."""
    here = files("tinygrad_ce.viz") / "page"
    text = (here / "index.html").read_text("utf-8")
    names = [name for name in SCRIPTS if name not in NEEDED or NEEDED[name](told)]
    data = json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    parts = {
        "TITLE": escape(title),
        "STYLE": (here / "style.css").read_text("utf-8") + dark_rules(graph),
        "GRAPH": graph,
        "STEPS": steps,
        "STORY": FORMULA.sub(r"<\1", data.replace("<", "\\u003c")),
        "SCRIPT": packed("\n".join([STRICT, *map(script, names)])),
        "UNPACK": script("unpack.js"),
    }
    return MARK.sub(lambda mark: parts[mark[1]], text)


def script(name: str) -> str:
    """A script, without the comments that stand on lines of their own and without indentation."""
    return COMMENT.sub("", (files("tinygrad_ce.viz") / "page" / name).read_text("utf-8"))


def packed(text: str) -> str:
    """A text as unpack.js reads it: deflate, as base64.

    >>> len(packed("x" * 1000)) < 30
    True
    """
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b64encode(squeezer.compress(text.encode()) + squeezer.flush()).decode()


def dark_rules(drawn: str) -> str:
    """CSS that turns the colours that are drawn dark when the page is."""
    rules = "".join(
        f'[{what}="{light}"]{{{what}:{dark}}}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
        if f'{what}="{light}"' in drawn or light in OWN
    )
    return f":root[data-theme=dark] :is(#graph,.sample){{{rules}}}"


OWN = {"#0f172a", "#4b5a70", "#475569", "#f87171"}
"""Colours of what a page draws itself: folded cards and edges between them, the legend."""
