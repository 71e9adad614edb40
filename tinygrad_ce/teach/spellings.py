"""Other ways in which people write a line of a backward pass: what stands in textbooks.

A listing has the form that is computed most safely, of softplus `np.where(keep, dh, 0) + ...`. Who
works by hand writes `dh * p` with p = σ(z), and makes slips in that. Which of these ways is a way
of writing a line is found by computing both from numbers drawn at random.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np

from tinygrad_ce.teach.book import Book, Line, Values, leading, names_in, resting

NORM = (
    "s = 1 / np.sqrt(z.var(axis=A, keepdims=True) + 1e-05); "
    "n = (z - z.mean(axis=A, keepdims=True)) * s; "
)
SIGMA = "1 / (1 + np.exp(-z))"
PHI = "0.5 * (1 + np.vectorize(math.erf)(z / np.sqrt(2)))"
# h is a function of z, g the gradient of h; y targets, t classes, a gains, w a step's arrays; A an
# axis with N elements, H x W the shape of g as an image, U x V that of w, J and K how often a
# picture is larger: what is computed first, then the gradient of z
WAYS: tuple[str, ...] = (
    # the logistic function, tanh
    *("g * h * (1 - h)", f"p = {SIGMA}; g * p * (1 - p)", "g * np.exp(-z) / (1 + np.exp(-z)) ** 2"),
    *("g * (1 - h ** 2)", "g * (1 - h) * (1 + h)", "g * (1 - np.tanh(z) ** 2)"),
    "g / np.cosh(z) ** 2",
    # softplus, the logarithm of the logistic function, their negatives
    *(f"p = {SIGMA}; g * p", "g / (1 + np.exp(-z))", "g * np.exp(z) / (1 + np.exp(z))"),
    *("g * (1 - np.exp(-h))", f"p = {SIGMA}; -g * p", f"p = {SIGMA}; -g * (1 - p)"),
    *(f"p = {SIGMA}; g * (1 - p)", "g / (1 + np.exp(z))", "g * np.exp(-z) / (1 + np.exp(-z))"),
    "g * (1 - np.exp(h))",
    # silu, gelu, mish, softsign
    *(f"p = {SIGMA}; g * (p + z * p * (1 - p))", f"p = {SIGMA}; g * p * (1 + z * (1 - p))"),
    *(f"p = {SIGMA}; g * (h + p * (1 - h))", f"p = {SIGMA}; g * p + g * z * p * (1 - p)"),
    f"c = {PHI}; f = np.exp(-z ** 2 / 2) / np.sqrt(2 * np.pi); g * (c + z * f)",
    "k = np.sqrt(2 / np.pi); t = np.tanh(k * (z + 0.044715 * z ** 3)); "
    "g * (0.5 * (1 + t) + 0.5 * z * (1 - t ** 2) * k * (1 + 3 * 0.044715 * z ** 2))",
    f"p = {SIGMA}; t = np.tanh(np.log(1 + np.exp(z))); g * (t + z * p * (1 - t ** 2))",
    "g / (1 + np.abs(z)) ** 2",
    # relu and its like
    *("g * (z > 0)", "np.where(z > 0, g, 0)", "g * np.where(z > 0, 1, 0.01)"),
    *("np.where(z > 0, g, 0.01 * g)", "g * np.where(z > 0, 1, np.exp(z))"),
    "np.where(z > 0, g, g * (h + 1))",
    # softmax, its logarithm, and what is shifted and scaled to mean 0 and variance 1
    "h * (g - (g * h).sum(axis=A, keepdims=True))",
    "g * h - h * (g * h).sum(axis=A, keepdims=True)",
    "g - np.exp(h) * g.sum(axis=A, keepdims=True)",
    "s = 1 / np.sqrt(z.var(axis=A, keepdims=True) + 1e-05); s * (g - g.mean(axis=A, keepdims=True)"
    " - h * (g * h).mean(axis=A, keepdims=True))",
    "s = 1 / np.sqrt(z.var(axis=A, keepdims=True) + 1e-05); s / N * (N * g - g.sum(axis=A, "
    "keepdims=True) - h * (g * h).sum(axis=A, keepdims=True))",
    NORM + "s * (g * a - (g * a).mean(axis=A, keepdims=True) - n * (g * a * n).mean(axis=A, "
    "keepdims=True))",
    NORM + "s / N * (N * (g * a) - (g * a).sum(axis=A, keepdims=True) - n * (g * a * n).sum(axis=A,"
    " keepdims=True))",
    NORM + "a * s / N * (N * g - g.sum(axis=A, keepdims=True) - n * (g * n).sum(axis=A, "
    "keepdims=True))",
)  # fmt: skip
# what begins with a loss: both cross-entropies
LOSSES: tuple[str, ...] = (
    f"p = {SIGMA}; g * (p - y)",
    f"p = {SIGMA}; g * (p * (1 - y) - y * (1 - p))",
    *("-y * g / (1 + np.exp(y * z))", "p = 1 / (1 + np.exp(y * z)); -y * g * p"),
    "g * (z - y) / (z * (1 - z))",
    "g * ((1 - y) / (1 - z) - y / z)",
    "-g * (y / z - (1 - y) / (1 - z))",
    "e = np.exp(z); p = e / e.sum(axis=A, keepdims=True); g * (p - np.eye(N)[t])",
)
# pooling and convolution, as loops over the places of the image
IMAGES: tuple[str, ...] = (
    "m = z == h.repeat(J, 2).repeat(K, 3); m * g.repeat(J, 2).repeat(K, 3)",
    "g.repeat(J, 2).repeat(K, 3) / (J * K)",
    """\
d = np.zeros(z.shape)
for i in range(H):
    for j in range(W):
        d[:, :, i:i + U, j:j + V] += np.einsum("no,ocuv->ncuv", g[:, :, i, j], w)""",
)
# h itself, which has to be worked out where the step has no name for it
VALUES: tuple[str, ...] = (
    SIGMA,
    "np.exp(z) / (1 + np.exp(z))",
    "np.exp(z) / np.exp(z).sum(axis=A, keepdims=True)",
    "e = np.exp(z); e / e.sum(axis=A, keepdims=True)",
)
NEAR = 1e-5  # the constants of a listing may be those of float32


@cache
def code_of(way: str) -> Any:
    """A way of writing, ready to run: it leaves its result in d."""
    return compile("\n".join(lines_of(way)), "<way>", "exec")


@cache
def letters(way: str) -> set[str]:
    """The names in it."""
    return names_in(ast.parse("\n".join(lines_of(way))))


def lines_of(way: str) -> list[str]:
    """What is computed first, line by line, and what gives d."""
    *first, last = way.split("; ")
    return [*first, last if "\n" in last else f"d = {last}"]


def respell(book: Book) -> None:
    """Give the lines of a book the other ways of writing them, and what these compute first."""
    floats = [x.name for x in book.lines if np.asarray(book.truth[x.name]).dtype.kind == "f"]
    shapes = {name: np.shape(book.truth[name]) for name in floats}
    slopes = [name for name in reversed(shapes) if name in book.slopes]
    for line in [x for x in book.lines if x.own and shapes.get(x.name)]:
        d, shape = line.name, shapes[line.name]
        same = [x for x in reversed(shapes) if x != d and shapes[x] == shape]
        images = [g for g in slopes if len(shapes[g]) == len(shape) == 4 and g not in (d, *same)]
        first = [z for z in reversed(same) if z not in slopes]  # what was computed first
        tries = [(z, "", "", VALUES) for z in first]
        if d in slopes:
            ends = [(g, WAYS) for g in slopes if g in same] + [(g, IMAGES) for g in images]
            tries = [
                (z, g, h, ways)
                for z in reversed(book.tensors.get(d, ()))
                for g, ways in [*ends, ("", WAYS + LOSSES)]
                for h in (book.tensors.get(g, ()) if g else [""])
            ]
        found: dict[str, Line] = {}
        for z, g, h, ways in tries:
            names = {"z": z, "h": h, "g": g, "d": d}
            for free in ("zg", "z") if shapes.get(z) == shape else ():
                fits = list(fitting(book, tried(book, names, free), ways))
                for way, given in fits:
                    found.setdefault(way, written(book, line, way, names | given))
                if fits or not g:
                    break
        line.others = tuple(x for x in found.values() if x.text != line.text)


def tried(book: Book, names: dict[str, str], free: str) -> Values:
    """z (and g) drawn at random, and what the book makes of them: h, and d, the gradient of z.

    Nothing where they do not lead to both. Without a name for g d is to rest on z alone.
    """
    starts, ends = ({names[x] for x in of} - {""} for of in (free, "hd"))
    stream = np.random.default_rng(0)
    drawn = {x: stream.standard_normal(np.shape(book.truth[x])) for x in sorted(starts)}
    lines = list(resting(leading(book.lines, ends, starts), drawn))
    if not ends <= {*drawn, *(line.name for line in lines)}:
        return {}
    values = book.attempt({**book.truth, **drawn}, lines)
    if values is None or not np.isfinite(values[names["d"]]).all():
        return {}
    return {x: values[name] for x, name in names.items() if name}


def fitting(book: Book, drawn: Values, ways: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The ways that give the same, and what stands for their letters."""
    if not drawn or not drawn["d"].size:
        return
    right = drawn["d"]
    known = {"g": np.ones(right.shape), "h": np.full(right.shape, np.nan), **drawn}
    for way in ways:
        for given, arrays in choices(book, way, right, known["g"]):
            made = computed(way, {**known, **given, **arrays})
            if np.shape(made) != right.shape or not np.isfinite(made).all():
                continue
            own = {name: str(x) for name, x in given.items()}
            if "g" not in drawn and ways is not VALUES:
                if not (right.all() and made.all()):
                    continue
                made = made * (ratio := float(right.flat[0] / made.flat[0]))
                whole = round(1 / ratio)
                share = f"1 / {whole}" if abs(whole) > 1 else str(whole)
                own["g"] = share if abs(ratio * whole - 1) < NEAR else f"{ratio:.7g}"
            if np.allclose(made, right, NEAR, NEAR * np.abs(right).max()):
                yield way, own | {x: name for x in arrays for name, v in book.given.items()
                                  if v is arrays[x]}  # fmt: skip
                break


def choices(book: Book, way: str, d: Any, g: Any) -> Iterator[tuple[dict[str, int], Values]]:
    """What the letters of a way may stand for: numbers, and arrays that the step was given."""
    read = letters(way)
    arrays: list[Values] = [{}]
    for letter in sorted(read & {"a", "t", "w", "y"}):
        given = [v for v in book.given.values() if np.ndim(v)]
        fits = {
            "a": lambda v: v.shape == d.shape[-1:],
            "y": lambda v: v.shape == d.shape,
            "t": lambda v: v.shape == d.shape[:-1] and v.dtype.kind == "i",
            "w": lambda v: v.ndim == 4,
        }[letter]
        arrays = [{letter: v} for v in given if fits(v)]
    for array in arrays:
        for axis in range(d.ndim if "A" in read else 1):
            numbers = {"A": axis, "N": d.shape[axis]}
            if d.shape != g.shape:
                numbers |= dict(zip("HW", g.shape[2:]), J=d.shape[2] // g.shape[2],
                                K=d.shape[3] // g.shape[3])  # fmt: skip
                numbers |= dict(zip("UV", np.shape(array.get("w", 0))[2:]))
            if "A" not in read or d.shape[axis] > 1:
                yield numbers, array


def computed(way: str, values: Values) -> Any:
    """What a way of writing gives; None where that cannot be computed."""
    space = {"np": np, "math": math, **values}
    del space["d"]
    try:
        with np.errstate(all="ignore"):
            exec(code_of(way), space)
    except (ValueError, IndexError, TypeError):  # the shapes are others; -y of booleans
        return None
    return space["d"]


def written(book: Book, line: Line, way: str, names: dict[str, str]) -> Line:
    """A line in that way, with the names of the book; what it computes first gets a name there."""
    *first, last = lines_of(way)
    lines = []
    for text in first:
        name, _, value = put(text, names).partition(" = ")
        with np.errstate(all="ignore"):
            made = eval(value, {"np": np, "math": math}, book.truth)
        there = [x for x in (name, *book.truth) if agrees(book.truth.get(x), made)]
        free = (x for x in (name, *(f"{name}{i}" for i in range(2, 99))) if x not in book.truth)
        names[name] = own = there[0] if there else next(free)
        book.truth.setdefault(own, made)
        lines.append(f"{own} = {value}")
    lines.append(put(last, names))
    tree = ast.parse("\n".join(lines))
    return Line(line.name, tree, scope=line.scope, root=line)


def agrees(value: Any, made: Any) -> bool:
    """Whether a value is what was computed, but for rounding."""
    same = np.shape(value) == np.shape(made) and np.asarray(value).dtype == np.asarray(made).dtype
    return same and np.allclose(value, made, 1e-12, 0)


def put(text: str, names: dict[str, str]) -> str:
    """A text with other names, or with numbers for them."""
    return ast.unparse(Put(names).visit(ast.parse(text)))


class Put(ast.NodeTransformer):
    """What stands for the names of a text; a factor that is 1 is none."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The name, or the number."""
        put = ast.parse(self.names.get(node.id, node.id), mode="eval").body
        return ast.Name(put.id, node.ctx) if isinstance(put, ast.Name) else put

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """A product without its 1, and -x for -1 * x."""
        self.generic_visit(node)
        match node:
            case ast.BinOp(ast.Constant(1), ast.Mult(), x) | ast.BinOp(
                x, ast.Mult(), ast.Constant(1)
            ):
                return x
            case ast.BinOp(ast.UnaryOp(ast.USub(), ast.Constant(1)), ast.Mult(), x):
                return ast.UnaryOp(ast.USub(), x)
        return node
