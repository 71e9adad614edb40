"""The steps of a page as pictures for slides: a GIF, a film, a PDF, or one picture.

On the left is the graph, of which a step moves the part that it is about into view, on the right
what it computes: the formula and the numbers. No browser is needed.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from tinygrad_ce.viz.graph.dot import NOT_XML
from tinygrad_ce.viz.page.arrays import unpacked
from tinygrad_ce.viz.writing import write

WIDTH, HEIGHT, GRAPH, DPI = 1120, 630, 500, 100  # pixels, and how many of them the graph has
SECONDS = 1.4  # of each step
SUFFIXES = (".gif", ".mp4", ".pdf", ".png", ".svg")
CELLS = 6  # rows and columns of numbers that fit
INK, FAINT, RED, BLUE, GLOW = "#0f172a", "#526079", "#b91c1c", "#1d4ed8", "#d97706"
SIGNS = ((0.976, 0.451, 0.086), (0.231, 0.51, 0.965))  # the colours of + and of −
GRADIENTS = {"#dc2626", "#f87171"}  # the colours of gradients in the picture of the graph
FONTS = ("Arial", "Liberation Sans", "DejaVu Sans")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def save(path: Path, title: str, graph: str, told: Mapping[str, Any]) -> Path:
    """Write the steps to a file, by its suffix; .png and .svg have the last step. Gives the path.

    Raises ImportError without matplotlib, RuntimeError for a film where ffmpeg is missing.
    """
    try:
        from matplotlib import animation, rc_context
    except ImportError:
        raise ImportError(
            f'save: {path.name} is drawn by matplotlib; pip install "tinygrad_ce[plots]"'
        ) from None
    suffix = path.suffix.lower()
    if suffix == ".mp4" and not animation.FFMpegWriter.isAvailable():
        raise RuntimeError(
            f"save: {path.name} needs the program ffmpeg, which is not installed; "
            f'save("{path.stem}.gif") does without'
        )
    with warnings.catch_warnings(), rc_context({"svg.hashsalt": "tinygrad_ce", "path.simplify": 0}):
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        film = Film(title, graph, told)
        return write(path, CONTENT[suffix](film))


def as_gif(film: Film) -> bytes:
    """All steps, one after the other, again and again."""
    from PIL import Image

    frames = [Image.fromarray(picture).quantize(128) for picture in film.pictures()]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], loop=0,
                   duration=int(1000 * SECONDS))  # fmt: skip
    return out.getvalue()


def as_film(film: Film) -> bytes:
    """All steps as a film."""
    from tempfile import TemporaryDirectory

    from matplotlib.animation import FFMpegWriter

    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        rate: Any = 1 / SECONDS
        writer = FFMpegWriter(fps=rate, extra_args=["-pix_fmt", "yuv420p"])
        with writer.saving(film.figure, str(path), DPI):
            for _ in film.each():
                writer.grab_frame()
        return path.read_bytes()


def as_pages(film: Film) -> bytes:
    """Every step on a page of its own."""
    from matplotlib.backends.backend_pdf import PdfPages

    out = io.BytesIO()
    with PdfPages(out, metadata={"CreationDate": None}) as pages:
        for _ in film.each():
            pages.savefig(film.figure)
    return out.getvalue()


def as_picture(format: str) -> Any:
    """The last step in one format."""

    def drawn(film: Film) -> bytes:
        out = io.BytesIO()
        film.show(len(film.steps) - 1)
        film.figure.savefig(
            out, format=format, metadata={"Date": None} if format == "svg" else None
        )
        return out.getvalue()

    return drawn


CONTENT = {".gif": as_gif, ".mp4": as_film, ".pdf": as_pages, ".png": as_picture("png"),
           ".svg": as_picture("svg")}  # fmt: skip


class Film:
    """A figure that shows one step at a time. The graph is drawn once, and faded, lit and moved."""

    def __init__(self, title: str, graph: str, told: Mapping[str, Any]) -> None:
        from matplotlib import font_manager
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.title, self.told = title, told
        self.steps, self.tensors = told["steps"], told["tensors"]
        there = set(font_manager.get_font_names())
        self.fonts = [name for name in FONTS if name in there]
        self.figure = Figure((WIDTH / DPI, HEIGHT / DPI), DPI, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.left = self.figure.add_axes((0, 0, GRAPH / WIDTH, 1))
        self.right = self.figure.add_axes((GRAPH / WIDTH, 0, 1 - GRAPH / WIDTH, 1))
        self.parts: dict[str, list[Any]] = {}  # what is drawn of each card and edge
        self.boxes: dict[str, tuple[float, float, float, float]] = {}
        self.ends: dict[str, tuple[str, str]] = {}
        self.reds: dict[str, list[Any]] = {}
        root = ElementTree.fromstring(NOT_XML.sub("\ufffd", graph))
        self.size = [float(x) for x in root.attrib["viewBox"].split()[2:]]
        self.scale = float(np.clip(GRAPH / self.size[0], 0.62, 1.15))
        for group in root.iter("g"):
            if set(group.get("class", "").split()) & {"card", "edge", "cluster"}:
                self.draw(group)
        self.made, self.came = self.times()

    # --- the graph --------------------------------------------------------------------------

    def draw(self, group: ElementTree.Element) -> None:
        """A card, an edge or a call around cards, as matplotlib's shapes."""
        from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
        from matplotlib.path import Path as Curve

        name = group.get("id", "")
        drawn = self.parts.setdefault(name, [])
        if "data-a" in group.attrib:
            self.ends[name] = group.attrib["data-a"], group.attrib["data-b"]
        for shape in group.iter():
            if shape.tag == "g":
                continue
            look: dict[str, Any] = {"facecolor": shape.get("fill", INK)}
            look["edgecolor"] = shape.get("stroke", "none")
            look["linewidth"] = float(shape.get("stroke-width", 1)) * 0.72
            if shape.tag == "rect":
                x, y, w, h = (float(shape.attrib[key]) for key in ("x", "y", "width", "height"))
                r = min(float(shape.get("rx", 0)), w / 2, h / 2)
                style = f"round,pad=0,rounding_size={r}"
                drawn.append(self.left.add_patch(FancyBboxPatch((x, y), w, h, style, **look)))
                self.boxes.setdefault(name, (x, y, x + w, y + h))
            elif shape.tag in ("path", "polygon"):
                written = shape.attrib["d" if shape.tag == "path" else "points"]
                numbers = [float(x) for x in NUMBER.findall(written)]
                points = list(zip(numbers[::2], numbers[1::2]))
                if shape.tag == "polygon":
                    drawn.append(self.left.add_patch(Polygon(points, **look)))
                else:
                    codes = [Curve.MOVETO, *[Curve.CURVE4] * (len(points) - 1)]
                    look |= {"linestyle": "--" if shape.get("stroke-dasharray") else "-"}
                    drawn.append(self.left.add_patch(PathPatch(Curve(points, codes), **look)))
            elif shape.tag == "text":
                drawn.append(self.write(shape))
            label = name in self.ends and shape.tag == "text"
            if label or GRADIENTS & set(shape.attrib.values()):
                self.reds.setdefault(name, []).append(drawn[-1])

    def write(self, text: ElementTree.Element) -> Any:
        """The words of a card."""
        size, _, look = text.get("class", "t10 ")[1:].partition(" ")
        at = {"m": "center"}.get(look[-1:], "right" if text.get("text-anchor") == "end" else "left")
        return self.left.text(
            float(text.attrib["x"]), float(text.attrib["y"]), "".join(text.itertext()),
            color=text.get("fill", INK), fontsize=0.95 * float(size) * self.scale * 72 / DPI, ha=at,
            weight="bold" if "b" in look else "normal", style="italic" if "i" in look else "normal",
            family=self.fonts, parse_math=False, clip_on=True,
        )  # fmt: skip

    def times(self) -> tuple[dict[str, int], dict[str, int]]:
        """When a card is computed, and when all of its gradient is there, or an edge has one."""
        made: dict[str, int] = {}
        came: dict[str, int] = {}
        edges = {ends: name for name, ends in self.ends.items()}
        for k, step in enumerate(self.steps):
            if step["k"] == "f":
                made[step["y"]] = k
            elif step["k"] in ("seed", "b"):
                came[step["x"] if step["k"] == "b" else step["y"]] = k
            if step["k"] == "b":
                came.setdefault(edges.get((step["x"], step["y"]), ""), k)
        return made, came

    def show(self, k: int) -> None:
        """Show step k."""
        step = self.steps[k]
        now = {"f": step.get("y"), "b": step.get("x"), "seed": step.get("y")}.get(step["k"])
        from_ = [x.get("id") for x in step["x"]] if step["k"] == "f" else [step.get("y")]
        view = self.view([now, *from_])
        for name, drawn in self.parts.items():
            end = self.ends.get(name, ("", name))[1]
            faint = self.made.get(end, 0) > k
            lit = name in self.boxes and name in (now, *from_)
            hidden = self.reds.get(name, ()) if self.came.get(name, 0) > k else ()
            seen = self.is_seen(name, view)
            for artist in drawn:
                artist.set_alpha(0.2 if faint else None)
                artist.set_visible(seen and artist not in hidden)
            if name in self.tensors and drawn:
                self.light(drawn[0], lit, name == now)
        left, top = view
        self.left.set(xlim=(left, left + GRAPH / self.scale), ylim=(top + HEIGHT / self.scale, top))
        self.left.axis("off")
        self.tell(k, step)

    def is_seen(self, name: str, view: tuple[float, float]) -> bool:
        """Whether a card, or an edge between two, reaches into the part that is seen."""
        boxes = [self.boxes[end] for end in self.ends.get(name, (name,)) if end in self.boxes]
        for axis, room in ((0, GRAPH / self.scale), (1, HEIGHT / self.scale)):
            low, high = min(b[axis] for b in boxes), max(b[axis + 2] for b in boxes)
            if high < view[axis] or low > view[axis] + room:
                return False
        return True

    def light(self, border: Any, lit: bool, now: bool) -> None:
        """The border of a card that a step is about."""
        if not hasattr(border, "was"):
            border.was = border.get_edgecolor(), border.get_linewidth()
        border.set_edgecolor(GLOW if lit else border.was[0])
        border.set_linewidth((3 if now else 2) if lit else border.was[1])
        border.set_linestyle("--" if lit and not now else "-")

    def view(self, ids: list[str | None]) -> tuple[float, float]:
        """The left and top of the part of the graph that is seen."""
        boxes = [self.boxes[id] for id in ids if id in self.boxes]
        corner = []
        for axis, room in ((0, GRAPH / self.scale), (1, HEIGHT / self.scale)):
            most = self.size[axis] - room
            near = [b for b in boxes if abs(b[axis] - boxes[0][axis]) < room - 150]
            low = min((b[axis] for b in near), default=0)
            high = max((b[axis + 2] for b in near), default=0)
            middle = (low + high - room) / 2
            corner.append(most / 2 if most < 0 else float(np.clip(middle, 0, most)))
        return corner[0], corner[1]

    # --- the numbers ------------------------------------------------------------------------

    def tell(self, k: int, step: Mapping[str, Any]) -> None:
        """What a step computes."""
        ax = self.right
        ax.clear()
        ax.set(xlim=(0, WIDTH - GRAPH), ylim=(HEIGHT, 0))
        ax.axis("off")
        ax.plot([0, 0], [0, HEIGHT], color="#cbd5e1", linewidth=2)
        self.say(20, 26, self.title, 11, color=FAINT)
        self.say(
            WIDTH - GRAPH - 18, 26, f"{k} / {len(self.steps) - 1}", 10, color=FAINT, ha="right"
        )
        words, color = self.heading(step)
        self.say(20, 66, words, 15, color=color, weight="bold")
        if "m" in step:
            self.say(20, 104, formula(step["m"], self.told["loss"]), 14)
        x, y, lowest = 20.0, 140.0, 0.0
        for caption, win, whole in self.arrays(step):
            wide, high = self.room(win)
            if x > 20 and x + wide > WIDTH - GRAPH - 12:
                x, y = 20, y + lowest + 18
                lowest = 0
            if y + high > HEIGHT:
                break
            self.array(x, y, caption, win, whole)
            x, lowest = x + wide + 26, max(lowest, high)

    def say(self, x: float, y: float, words: str, size: float, **look: Any) -> None:
        """Words at a place."""
        words = words if len(words) < 64 else words[:63] + "…"
        self.right.text(x, y, words, fontsize=size, family=self.fonts, parse_math=False,
                        **{"color": INK, **look})  # fmt: skip

    def called(self, id: str) -> str:
        """What a card is called."""
        tensor = self.tensors[id]
        return str(tensor["name"] or tensor.get("as") or tensor["op"] or id)

    def heading(self, step: Mapping[str, Any]) -> tuple[str, str]:
        """What a step is about, and its colour."""
        if step["k"] == "f":
            return f"Forward {self.called(step['y'])}", BLUE
        if step["k"] == "seed":
            return f"Backward starts at {self.called(step['y'])}", RED
        if step["k"] == "b":
            return f"Backward through {self.called(step['y'])}, to {self.called(step['x'])}", RED
        return ("What is given", BLUE) if step["k"] == "start" else ("The end", RED)

    def arrays(self, step: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
        """The arrays of a step: the name, the window onto it, and whether it holds integers."""

        def value(id: str) -> tuple[str, Mapping[str, Any], bool]:
            return self.called(id), self.tensors[id]["v"], not self.tensors[id]["t"].startswith("f")

        def slope(id: str) -> str:
            return f"∂{self.told['loss']}/∂{self.called(id)}"

        if step["k"] == "f":
            yield from (value(x["id"]) for x in step["x"] if "id" in x)
            yield value(step["y"])
        elif step["k"] == "b":
            if "g" in self.tensors[step["y"]]:
                yield f"upstream {slope(step['y'])}", self.tensors[step["y"]]["g"], False
            if "loc" in step:
                yield "slope", step["loc"], False
            elif "o" in step:
                yield value(step["o"][0])
            gradient = step.get("new") or self.tensors[step["x"]].get("g")
            if gradient:
                yield f"{'share of ' * ('share' in step)}{slope(step['x'])}", gradient, False
        elif step["k"] == "end":
            for id, tensor in self.tensors.items():
                if not tensor["op"] and "g" in tensor:
                    yield slope(id), tensor["g"], False
        elif step["k"] == "start":
            yield from (value(id) for id, tensor in self.tensors.items() if not tensor["op"])

    def matrix(self, win: Mapping[str, Any]) -> np.ndarray:
        """The first matrix of an array, as far as it is there."""
        shape = win.get("as") or win["s"]
        rows, columns = win["w"][1:] if "w" in win else ([1, 1, *shape])[-2:]
        numbers = unpacked(win, self.told["pool"])[: rows * columns]
        return np.array(numbers, dtype=object).reshape(rows, columns)

    def room(self, win: Mapping[str, Any]) -> tuple[float, float]:
        """Width and height of what is drawn of an array."""
        rows, columns = self.matrix(win).shape
        if self.is_picture(win, rows, columns):
            return min(190.0, max(90.0, 190.0 * columns / max(rows, 1))), 210.0
        return max(110.0, 62.0 * columns), 24.0 + 24.0 * rows

    def is_picture(self, win: Mapping[str, Any], rows: int, columns: int) -> bool:
        """Whether an array is drawn as a picture instead of as numbers."""
        return max(rows, columns) > CELLS or win.get("k") == "grey"

    def array(self, x: float, y: float, caption: str, win: Mapping[str, Any], whole: bool) -> None:
        """An array with its caption: numbers, or a picture of many."""
        matrix = self.matrix(win)
        rows, columns = matrix.shape
        short = caption if len(caption) < 26 else caption[:25] + "…"
        self.say(x, y + 8, f"{short}  {' × '.join(map(str, win['s'])) or 'scalar'}", 9, color=FAINT)
        if not matrix.size:
            return
        numbers = np.array([[x if isinstance(x, (int, float)) else np.nan for x in row]
                            for row in matrix], float)  # fmt: skip
        size = float(np.nanmax(np.abs(numbers), initial=0.0)) or 1.0
        if self.is_picture(win, rows, columns):
            wide, high = self.room(win)[0], 180.0
            k = min(wide / columns, high / rows)
            self.right.imshow(shades(numbers, size, win.get("k") == "grey"), aspect="auto",
                              extent=(x, x + k * columns, y + 18 + k * rows, y + 18),
                              interpolation="nearest")  # fmt: skip
            self.right.set(xlim=(0, WIDTH - GRAPH), ylim=(HEIGHT, 0))
            return
        from matplotlib.patches import Rectangle

        for (i, j), value in np.ndenumerate(matrix):
            color = shades(numbers[i : i + 1, j : j + 1], size, False)[0, 0] * 0.5 + 0.5
            at = x + 62 * j, y + 18 + 24 * i
            self.right.add_patch(Rectangle(at, 60, 22, facecolor=color, edgecolor="none"))
            text = ("true" if value else "false") if win.get("b") else printed(value, whole)
            self.say(at[0] + 55, at[1] + 16, text, 9, ha="right")

    # --- one after the other ----------------------------------------------------------------

    def each(self) -> Iterator[int]:
        """Show every step, one after the other."""
        for k in range(len(self.steps)):
            self.show(k)
            yield k

    def pictures(self) -> Iterator[np.ndarray]:
        """The pixels of every step."""
        for _ in self.each():
            canvas: Any = self.figure.canvas
            canvas.draw()
            yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def shades(numbers: np.ndarray, size: float, grey: bool) -> np.ndarray:
    """The colours of numbers: grey from the least to the largest, or the sign's by their size."""
    known = np.nan_to_num(numbers)
    if grey:
        low, high = known.min(), known.max()
        return np.repeat(((known - low) / ((high - low) or 1.0))[..., None], 3, -1)
    share = (np.abs(known) / size)[..., None]
    paper, sign = (
        np.array([0.945, 0.961, 0.976]),
        np.where(known[..., None] > 0, *map(np.array, SIGNS)),
    )
    return paper + (sign - paper) * share


def printed(value: Any, whole: bool) -> str:
    """A plain number as a cell shows it.

    >>> printed(-0.25, False), printed(12345, True), printed("∞", False), printed(1e-5, False)
    ('−0.25', '12345', '∞', '1e−05')
    """
    if isinstance(value, str) or whole:
        return str(value).replace("-", "−")
    return f"{float(value):.6g}".replace("-", "−")


def formula(markup: str, loss: str = "L") -> str:
    """What is inside of a formula's MathML as one line of text; `<d>` is a slope of the loss.

    >>> formula("<mi>y</mi><mo>=</mo><mfrac><mn>1</mn><msup><mi>x</mi><mn>2</mn></msup></mfrac>")
    'y = 1/x^2'
    >>> formula("<d><mi>x</mi></d><mo>=</mo><d><mi>y</mi></d><mo>⊙</mo><msqrt><mi>x</mi></msqrt>")
    '∂L/∂x = ∂L/∂y ⊙ √(x)'
    >>> formula("<msup><mi>W</mi><mo>⊤</mo></msup><msub><mi>x</mi><mi>i</mi></msub>")
    'Wᵀ x_i'
    """
    inside = ElementTree.fromstring(f"<math>{NOT_XML.sub(' ', markup)}</math>")
    return re.sub(r"\s+", " ", " ".join(linear(part, loss) for part in inside)).strip()


def linear(part: ElementTree.Element, loss: str) -> str:
    """One part of a formula."""
    inside = [linear(child, loss) for child in part]
    if part.tag == "d":
        return f"∂{loss}/∂{inside[0]}"
    if part.tag == "mfrac":
        over, under = (x if len(x) < 12 and " " not in x else f"({x})" for x in inside)
        return f"{over}/{under}"
    if part.tag in ("msup", "msub"):
        base, raised = inside
        if raised == "⊤":
            return f"{base}ᵀ"
        raised = raised if len(raised) < 4 else f"({raised})"
        return f"{base}{'^' if part.tag == 'msup' else '_'}{raised}"
    if part.tag == "msqrt":
        return f"√({' '.join(inside)})"
    return (part.text or "").replace("\xa0", " ") + " ".join(inside)
