"""From DOT text to a picture, with whatever program is there to lay it out.

The `dot` program is asked first, through the `graphviz` package; then `pygraphviz`, whose wheels
bring Graphviz along. What comes back is checked, because an engine may fail without saying so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from tempfile import TemporaryFile
from threading import Lock
from xml.etree import ElementTree

from tinygrad_ce.viz.graph.columns import in_columns
from tinygrad_ce.viz.graph.dot import NOT_XML, dark_style

INSTALL = (
    "pip install pygraphviz (or the Graphviz program: apt install graphviz, brew install graphviz)"
)
DPI = 144  # of a PNG: twice the pixels that a browser draws
ONE_AT_A_TIME = Lock()  # standard error belongs to the whole process


class EngineMissingError(Exception):
    """No program that lays out graphs is installed."""


class EngineFailedError(RuntimeError):
    """A program that lays out graphs gave no usable picture."""


def with_dot(source: str, format: str) -> bytes:
    """Let the `dot` program draw."""
    try:
        import graphviz
    except ImportError:
        raise EngineMissingError from None
    try:
        return graphviz.pipe("dot", format, source.encode(), quiet=True)
    except graphviz.ExecutableNotFound:
        raise EngineMissingError from None
    except graphviz.CalledProcessError as error:
        raise EngineFailedError(f"dot: {error}") from None


def with_pygraphviz(source: str, format: str) -> bytes:
    """Let the Graphviz inside pygraphviz draw."""
    try:
        import pygraphviz
    except ImportError:
        raise EngineMissingError from None
    try:
        with without_font_warnings():
            drawn = pygraphviz.AGraph(string=source).draw(format=format, prog="dot")
    except (OSError, ValueError) as error:
        raise EngineFailedError(f"pygraphviz: {error}") from None
    return drawn if isinstance(drawn, bytes) else b""


@contextmanager
def without_font_warnings() -> Iterator[None]:
    """Keep from standard error what fontconfig says of settings that are newer than itself.

    The wheels of pygraphviz bring an old one along, which writes in this process and past Python.
    Everything else that was written meanwhile is passed on.
    """
    with ONE_AT_A_TIME:
        try:
            stderr = os.dup(2)
        except OSError:  # there is none
            yield
            return
        with TemporaryFile() as written:
            os.dup2(written.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(stderr, 2)
                os.close(stderr)
                written.seek(0)
                for line in written:
                    if not line.startswith(b"Fontconfig warning:"):
                        os.write(2, line)


Engine = Callable[[str, str], bytes]
ENGINES: tuple[Engine, ...] = (with_dot, with_pygraphviz)


def render(
    source: str,
    format: str,
    theme: str = "auto",
    title: str = "",
    aspect: float | None = None,
    columns: bool = False,
) -> bytes:
    """The picture as svg, png or pdf, from the first engine that gives a whole one.

    With `columns` it is set in as many as come close to an aspect, or fit on a screen. An SVG says
    by `title` what it is, and with the theme "auto" it turns dark where its reader prefers that.
    """
    failures = []
    for engine in ENGINES:
        try:
            placed = set_in_columns(engine, source, aspect) if columns else source
            if format == "png":
                placed = placed.replace("graph [", f"graph [dpi={DPI} ", 1)
            drawn = engine(placed, format)
            check(drawn, format, source)
        except EngineMissingError:
            continue
        except EngineFailedError as error:
            failures.append(str(error))
        else:
            return styled(drawn, theme, title) if format == "svg" else drawn
    if failures:
        raise EngineFailedError(
            f"draw: no {format} came out of the drawing engines: {'; '.join(failures)}. "
            'The DOT text is whole: save it with drawing.save("graph.dot")'
        )
    raise EngineMissingError


def set_in_columns(engine: Engine, source: str, aspect: float | None) -> str:
    """The DOT text with a place for everything, as far as the engine says where all belongs."""
    said = engine(source, "json0")
    try:
        return in_columns(source, said, aspect)
    except (ValueError, KeyError):
        raise EngineFailedError(f"the layout is not complete ({len(said)} bytes)") from None


def check(drawn: bytes, format: str, source: str) -> None:
    """Raise unless the picture is complete: readable, and with every card of the source."""
    if format == "png":
        whole = drawn.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" in drawn[-12:]
    elif format == "pdf":
        whole = drawn.startswith(b"%PDF-") and b"%%EOF" in drawn[-32:]
    else:
        try:
            root = ElementTree.fromstring(drawn)
        except ElementTree.ParseError as error:
            raise EngineFailedError(f"the SVG is not XML: {error}") from None
        wanted = set(re.findall(r'^ *n\d+ \[id="(n\d+)"', source, re.MULTILINE))
        whole = wanted <= {element.get("id") for element in root.iter()}
    if not whole:
        raise EngineFailedError(f"the {format} is not complete ({len(drawn)} bytes)")


def styled(svg: bytes, theme: str, title: str) -> bytes:
    """The SVG as one image with a title, and with rules for dark screens."""
    head, opening, rest = svg.decode().partition("<svg ")
    attributes, _, inner = rest.partition(">")
    said = escape(NOT_XML.sub("\ufffd", title) or "Computation graph")
    attributes = f'class="tinygrad_ce" role="img" aria-label="{said}" {attributes}'
    style = dark_style() if theme == "auto" else ""
    return f"{head}{opening}{attributes}>\n<title>{said}</title>\n{style}{inner}".encode()
