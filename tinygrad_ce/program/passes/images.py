"""Images: convolution and pooling recognised, and done with the batch as the last axis.

Eager code makes a row of every window, (N·H'·W', C·kh·kw). Here an image (N, C, H, W) is kept as
(C, H, W, N) and the rows as columns (C·kh·kw, H'·W'·N). Copying windows is then copying long runs
of memory, a product W @ columns is an image already, and pooling compares whole rows of samples.

Where a step is not known here, its operands are brought back into their natural layout: what is
not understood costs a copy, and is never wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.ops import ELEMENTWISE
from tinygrad_ce.program.passes.exact import Rewriter, counts_up, without_dead_steps
from tinygrad_ce.program.windows import Pair, counts

ONE = (1, 1)
WHOLE = slice(None)


# --- recognised ---------------------------------------------------------------------------------


class Windows(NamedTuple):
    """All windows of an image (N, C, H, W), as one array (N, C, H', W', kh, kw)."""

    image: Var
    size: Pair
    stride: Pair
    dilation: Pair

    @property
    def way(self) -> dict[str, Pair]:
        """How to go over the image, as settings of a convolution."""
        return {"size": self.size, "stride": self.stride, "dilation": self.dilation}

    @property
    def pool(self) -> dict[str, Pair]:
        """The same as settings of a pooling."""
        return {"axes": (2, 3), "size": self.size, "stride": self.stride}


def steps_of(index: tuple[Any, ...]) -> tuple[Pair, Pair] | None:
    """(stride, dilation), if the index is [:, :, ::s, ::s, ::d, ::d]."""
    if len(index) != 6 or not all(isinstance(part, slice) for part in index):
        return None
    if any(part.start is not None or part.stop is not None for part in index):
        return None
    a, b, *steps = (part.step or 1 for part in index)
    return ((steps[0], steps[1]), (steps[2], steps[3])) if a == b == 1 and min(steps) > 0 else None


def windows_at(r: Rewriter, x: Var) -> Windows | None:
    """The windows that x is, if it is that."""
    steps: tuple[Pair, Pair] | None = (ONE, ONE)
    cut, all_of_them = r.maker(x, "slice"), x
    if cut is not None:
        steps, all_of_them = steps_of(cut.settings["index"]), cut.operands[0]
    made = r.maker(all_of_them, "windows")
    if steps is None or made is None or made.settings["axes"] != (2, 3):
        return None
    return Windows(made.operands[0], (x.shape[4], x.shape[5]), *steps)


def laid_back(r: Rewriter, step: Step) -> tuple[Var, Windows] | None:
    """(windows, where they go) of a step that adds windows up to an image."""
    if step.op != "overlap_add" or step.settings["axes"] != (2, 3) or len(step.out.shape) != 4:
        return None
    x = step.operands[0]
    spread = r.maker(x, "scatter")
    if spread is None:
        return x, Windows(step.out, (x.shape[4], x.shape[5]), ONE, ONE)
    steps = steps_of(spread.settings["index"])
    if steps is None:
        return None
    x = spread.operands[0]
    return (x, Windows(step.out, (x.shape[4], x.shape[5]), *steps)) if len(x.shape) == 6 else None


def reordered(r: Rewriter, step: Step, axes: tuple[int, ...]) -> Var | None:
    """x, if the step is reshape(transpose(x, axes))."""
    before = r.maker(step.operands[0], "transpose") if step.op == "reshape" else None
    return before.operands[0] if before and before.settings["axes"] == axes else None


def ordered_rows(r: Rewriter, turned: Step | None, axes: tuple[int, ...]) -> Var | None:
    """rows, if the step is transpose(reshape(rows), axes), and rows has one row for each pixel."""
    if turned is None or turned.op != "transpose" or turned.settings["axes"] != axes:
        return None
    split = r.maker(turned.operands[0], "reshape")
    if split is None:
        return None
    shape, rows = split.out.shape, split.operands[0]
    return rows if rows.shape == (math.prod(shape[:3]), math.prod(shape[3:])) else None


def with_images_recognised(program: Program) -> Program:
    """Convolution and pooling as steps of their own. To the last bit the same, but for the sum of
    a window, which is added up in another order.
    """
    return Rewriter(program).run(
        _im2col, _col2im, _rows_of, _image_of, _max_pool, _max_pool_gradient, _sum_pool,
        _sum_pool_gradient,
    )  # fmt: skip


def _im2col(r: Rewriter, step: Step) -> Step | None:
    x = reordered(r, step, (0, 2, 3, 1, 4, 5))
    found = windows_at(r, x) if x is not None else None
    if x is None or found is None:
        return None
    n, c, h, w, *size = x.shape
    if step.out.shape != (n * h * w, c * math.prod(size)):
        return None
    return step._replace(op="im2col", operands=(found.image,), settings=found.way)


def _col2im(r: Rewriter, step: Step) -> Step | None:
    found = laid_back(r, step)
    turned = r.makers.get(found[0]) if found else None
    rows = ordered_rows(r, turned, (0, 3, 1, 2, 4, 5))
    if found is None or rows is None:
        return None
    settings = {"shape": step.out.shape, **found[1].way}
    return step._replace(op="col2im", operands=(rows,), settings=settings)


def _rows_of(r: Rewriter, step: Step) -> Step | None:
    x = reordered(r, step, (0, 2, 3, 1))
    if x is None or len(step.out.shape) != 2 or step.out.shape[1] != x.shape[1]:
        return None
    return step._replace(op="rows_of", operands=(x,), settings={})


def _image_of(r: Rewriter, step: Step) -> Step | None:
    rows = ordered_rows(r, step, (0, 3, 1, 2))
    if rows is None:
        return None
    return step._replace(op="image_of", operands=(rows,), settings={"shape": step.out.shape})


def pooled(r: Rewriter, rows: Var, ids: Var, best: Var) -> tuple[Var, Windows] | None:
    """(windows, what they are of) if `best` is the largest of each window, `rows` the windows as
    rows and `ids` their numbers.
    """
    chosen = r.maker(best, "argmax")
    split = r.maker(rows, "reshape")
    if chosen is None or split is None or chosen.operands[0] is not rows:
        return None
    if chosen.settings["axis"] not in (1, -1) or not counts_up(r.constants, ids, rows.shape[0]):
        return None
    x = split.operands[0]
    found = windows_at(r, x) if len(x.shape) == 6 else None
    if found is None or found.dilation != ONE or rows.shape[1] != math.prod(found.size):
        return None
    return x, found


def maximum_of(r: Rewriter, windows: Var, found: Windows) -> Var:
    """The step that pools these windows, made if it is not there yet."""
    for step in r.steps:
        if step.op == "max_pool" and (step.operands[0], step.settings) == (found.image, found.pool):
            return step.out
    like = Var(windows.shape[:4], windows.dtype, False)
    return r.make("max_pool", (found.image,), like, **found.pool)


def _max_pool(r: Rewriter, step: Step) -> Step | None:
    if step.op != "take" or len(step.operands) != 3 or len(step.settings["index"]) != 2:
        return None
    found = pooled(r, *step.operands)
    if found is None:
        return None
    settings = {"shape": step.out.shape}
    return step._replace(op="reshape", operands=(maximum_of(r, *found),), settings=settings)


def _max_pool_gradient(r: Rewriter, step: Step) -> Step | None:
    laid = laid_back(r, step)
    split = r.maker(laid[0], "reshape") if laid else None
    spread = r.maker(split.operands[0], "scatter") if split else None
    if laid is None or spread is None or len(spread.operands) != 3:
        return None
    g, ids, best = spread.operands
    chosen = r.maker(best, "argmax")
    found = pooled(r, chosen.operands[0], ids, best) if chosen else None
    if found is None or spread.settings["shape"] != chosen.operands[0].shape:  # type: ignore[union-attr]
        return None
    if found[1]._replace(image=step.out) != laid[1] or found[1].image.shape != step.out.shape:
        return None
    y = maximum_of(r, *found)
    word = "reshape" if g.shape else "broadcast_to"
    g = r.make(word, (g,), Var(y.shape, g.dtype, False), shape=y.shape)
    operands = (g, found[1].image, y)
    return step._replace(op="max_pool_gradient", operands=operands, settings=found[1].pool)


def _sum_pool(r: Rewriter, step: Step) -> Step | None:
    if step.op != "sum" or step.settings["axis"] != (4, 5) or step.settings["keepdims"]:
        return None
    found = windows_at(r, step.operands[0]) if len(step.operands[0].shape) == 6 else None
    if found is None or found.dilation != ONE:
        return None
    return step._replace(op="sum_pool", operands=(found.image,), settings=found.pool)


def _sum_pool_gradient(r: Rewriter, step: Step) -> Step | None:
    laid = laid_back(r, step)
    repeats = r.maker(laid[0], "broadcast_to") if laid else None
    if laid is None or repeats is None or laid[1].dilation != ONE:
        return None
    g, shape = repeats.operands[0], laid[0].shape[:4]
    if g.shape not in ((*shape, 1, 1), ()):
        return None
    word = "reshape" if g.shape else "broadcast_to"
    g = r.make(word, (g,), Var(shape, g.dtype, False), shape=shape)
    settings = {"shape": step.out.shape, **laid[1].pool}
    return step._replace(op="sum_pool_gradient", operands=(g,), settings=settings)


# --- relu after pooling -------------------------------------------------------------------------


def with_relus_after_pools(program: Program) -> Program:
    """max_pool(relu(x)) is relu(max_pool(x)), of fewer elements; so is its gradient.

    Where the maximum is > 0, or nan, the same element has it; where it is not, nothing passes.
    """
    readers: dict[Var, list[str]] = {}
    for step in program.steps:
        for x in step.operands:
            readers.setdefault(x, []).append(step.op)
    for x in program.roots():
        readers.setdefault(x, []).append("root")

    def pool(r: Rewriter, step: Step) -> Step | None:
        before = r.maker(step.operands[0], "relu") if step.op == "max_pool" else None
        others = sorted(readers[step.operands[0]]) if before else []
        if before is None or others.count("max_pool") != 1:
            return None
        if set(others) - {"max_pool", "max_pool_gradient", "passes"}:
            return None
        largest = r.make("max_pool", before.operands, step.out, **step.settings)
        return step._replace(op="relu", operands=(largest,), settings={})

    return Rewriter(program).run(pool, _gradient_of_relu_and_pool)


def _gradient_of_relu_and_pool(r: Rewriter, step: Step) -> Step | None:
    gradient = r.maker(step.operands[0], "max_pool_gradient") if step.op == "let_pass" else None
    passes = r.maker(step.operands[1], "passes") if gradient else None
    if gradient is None or passes is None or passes.operands[0] is not gradient.operands[1]:
        return None
    g, y, z = gradient.operands
    before, after = r.maker(y, "relu"), r.maker(z, "relu")
    largest = r.maker(after.operands[0], "max_pool") if after else None
    if before is None or largest is None or largest.operands != before.operands:
        return None
    bits = r.make("passes", (z,), Var(z.shape, passes.out.dtype, False))
    g = r.make("let_pass", (g, bits), g)
    return gradient._replace(out=step.out, operands=(g, before.operands[0], largest.out))


def with_pooled_gradients_summed(program: Program) -> Program:
    """The gradient of a maximum over windows, added up over all pixels, is that of the windows:
    each window gives its own to one pixel.
    """

    def rule(r: Rewriter, step: Step) -> Step | None:
        pixels = r.maker(step.operands[0], "rows_of") if step.op == "sum" else None
        gradient = r.maker(pixels.operands[0], "max_pool_gradient") if pixels else None
        if gradient is None or step.settings["axis"] not in (0, (0,)):
            return None
        g = gradient.operands[0]
        n, c, h, w = g.shape
        rows = r.make("rows_of", (g,), Var((n * h * w, c), g.dtype, False))
        return step._replace(operands=(rows,))

    return Rewriter(program).run(rule)


# --- batch last ---------------------------------------------------------------------------------

LAST = (1, 2, 3, 0)  # (N, C, H, W) -> (C, H, W, N)
FIRST = (3, 0, 1, 2)
GAINS = {"im2col", "col2im", "max_pool", "max_pool_gradient", "sum_pool", "sum_pool_gradient"}


class Rows(NamedTuple):
    """Rows, one for each pixel of N images of H × W, as columns (K, H·W·N)."""

    columns: Var
    pixels: tuple[int, int, int]  # N, H, W


def with_batch_last(program: Program) -> Program:
    """Keep images as (C, H, W, N), and rows of windows as columns."""
    if not any(step.op in GAINS for step in program.steps):
        return program
    return BatchLast(program).run()


class BatchLast:
    """Writes the steps again; each value in one layout or in both, the other when it is needed."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.makers = program.makers()
        self.uses = program.uses()
        self.natural: set[Var] = set(program.given())
        self.images: dict[Var, Var] = {}  # (N, C, H, W) -> (C, H, W, N)
        self.rows: dict[Var, Rows] = {}  # (N·H·W, K) -> (K, H·W·N)
        self.turned: dict[Var, Rows] = {}  # (K, N·H·W) -> (K, H·W·N)
        self.steps: list[Step] = []
        self.here: Step

    def run(self) -> Program:
        """The program with the batch last."""
        for step in self.program.steps:
            self.here = step
            rule = RULES.get(step.op, elementwise if step.op in ELEMENTWISE else None)
            if rule is None or not rule(self, step):
                for x in step.operands:
                    self.as_it_was(x)
                self.steps.append(step)
                self.natural.add(step.out)
        for x in self.program.roots():
            self.as_it_was(x)
        return without_dead_steps(self.program.with_steps(self.steps))

    def add(
        self, op: str, operands: tuple[Var, ...], shape: tuple[int, ...], out: Var | None = None,
        /, **settings: Any,
    ) -> Var:  # fmt: skip
        """A new step. Products and joins have the dtype of all, others that of the first."""
        alike = operands if op in ("dot", "concatenate") else operands[:1]
        dtype = np.result_type(*(x.dtype for x in alike))
        out = out if out is not None else Var(shape, dtype, False)
        self.steps.append(Step(out, op, operands, settings, self.here.scope, self.here.line))
        return out

    def reshape(self, x: Var, shape: tuple[int, ...]) -> Var:
        """x in another shape."""
        return x if x.shape == shape else self.add("reshape", (x,), shape, shape=shape)

    def transpose(self, x: Var, axes: tuple[int, ...] = (1, 0), out: Var | None = None) -> Var:
        """x with its axes in another order."""
        shape = tuple(x.shape[a] for a in axes)
        return self.add("transpose", (x,), shape, out, axes=axes)

    # --- from one layout to the other

    def as_it_was(self, x: Var) -> Var:
        """The value in its natural layout."""
        if x in self.natural:
            return x
        self.natural.add(x)
        if x in self.images:
            return self.transpose(self.images[x], FIRST, x)
        columns, (n, h, w) = self.rows.get(x) or self.turned[x]
        k = columns.shape[0]
        split = self.reshape(columns, (k, h, w, n))
        if x in self.turned:
            split = self.transpose(split, (0, 3, 1, 2))
        else:
            split = self.transpose(split, (3, 1, 2, 0))
        return self.add("reshape", (split,), x.shape, x, shape=x.shape)

    def image(self, x: Var) -> Var:
        """An image with the batch last."""
        if x not in self.images:
            self.images[x] = self.flat_image(x) or self.add(
                "batch_last", (self.as_it_was(x),), tuple(x.shape[a] for a in LAST)
            )
        return self.images[x]

    def flat_image(self, x: Var) -> Var | None:
        """The same for samples (N, C·H·W) that were reshaped: as a product with axes exchanged,
        if they come from one.
        """
        n, *shape = x.shape
        maker = self.makers.get(x)
        if maker is None or maker.op != "reshape" or len(maker.operands[0].shape) != 2:
            return None
        flat = maker.operands[0]
        if flat.shape[0] != n:
            return None
        product = self.makers.get(flat)
        if product is not None and product.op == "dot" and self.uses[flat] == 1:
            a, b = (self.transpose(self.as_it_was(o)) for o in product.operands)
            turned = self.add("dot", (b, a), flat.shape[::-1])
        else:
            turned = self.transpose(self.as_it_was(flat))
        return self.reshape(turned, (*shape, n))

    def columns(self, x: Var, pixels: tuple[int, int, int]) -> Var:
        """Rows as columns, for so many pixels."""
        known = self.rows.get(x)
        if known is not None and known.pixels == pixels:
            return known.columns
        n, h, w = pixels
        image = self.reshape(self.as_it_was(x), (n, h, w, x.shape[1]))
        columns = self.reshape(self.transpose(image, (3, 1, 2, 0)), (x.shape[1], h * w * n))
        self.rows.setdefault(x, Rows(columns, pixels))
        return columns

    def beside(self, x: Var, axes: int = 4) -> Var:
        """An operand of an elementwise operation on images."""
        if not x.shape or x in self.images:
            return self.images.get(x, x)
        shape = (1,) * (axes - len(x.shape)) + x.shape
        if shape[0] == 1:
            return self.reshape(self.as_it_was(x), (*shape[1:], 1))
        return self.image(x)


def elementwise(b: BatchLast, step: Step) -> bool:
    """On images, or on rows: in the layout of the first operand that has another one."""
    out = step.out
    shown = next((x for x in step.operands if x in b.images and x.shape == out.shape), None)
    if shown is not None:
        shape = tuple(out.shape[a] for a in LAST)
        operands = tuple(b.beside(x) for x in step.operands)
        b.images[out] = Var(shape, out.dtype, False, out.name)
        b.steps.append(step._replace(out=b.images[out], operands=operands))
        return True
    rows = next((x for x in step.operands if x in b.rows and x.shape == out.shape), None)
    if rows is None:
        return False
    columns, pixels = b.rows[rows]
    operands = tuple(_beside_rows(b, x, out, pixels) for x in step.operands)
    b.rows[out] = Rows(Var(columns.shape, out.dtype, False, out.name), pixels)
    b.steps.append(step._replace(out=b.rows[out].columns, operands=operands))
    return True


def _beside_rows(b: BatchLast, x: Var, out: Var, pixels: tuple[int, int, int]) -> Var:
    if not x.shape:
        return x
    if len(x.shape) == 2 and x.shape[0] == out.shape[0]:
        return b.columns(x, pixels)
    return b.reshape(b.as_it_was(x), (x.shape[-1], 1))


def _columns_of_windows(b: BatchLast, step: Step) -> bool:
    image = b.image(step.operands[0])
    (c, _, _, n), way = image.shape, step.settings
    h, w = counts(image.shape, (1, 2), **way)
    shape = (c * math.prod(way["size"]), h * w * n)
    b.rows[step.out] = Rows(b.add("columns", (image,), shape, **way), (n, h, w))
    return True


def _add_windows(b: BatchLast, step: Step) -> bool:
    n, c, height, width = step.settings["shape"]
    way = {k: v for k, v in step.settings.items() if k != "shape"}
    pixels = (n, *counts((height, width), (0, 1), **way))
    columns = b.columns(step.operands[0], pixels)
    shape = (c, height, width, n)
    b.images[step.out] = b.add("add_columns", (columns,), shape, shape=shape, **way)
    return True


def _image_to_rows(b: BatchLast, step: Step) -> bool:
    image = b.image(step.operands[0])
    c, h, w, n = image.shape
    b.rows[step.out] = Rows(b.reshape(image, (c, h * w * n)), (n, h, w))
    return True


def _rows_to_image(b: BatchLast, step: Step) -> bool:
    n, c, h, w = step.settings["shape"]
    b.images[step.out] = b.reshape(b.columns(step.operands[0], (n, h, w)), (c, h, w, n))
    return True


def _pool(b: BatchLast, step: Step) -> bool:
    operands = tuple(map(b.image, step.operands))
    shape = tuple(step.out.shape[a] for a in LAST)
    settings = {**step.settings, "axes": (1, 2)}
    if "shape" in settings:
        settings["shape"] = shape
    b.images[step.out] = b.add(step.op, operands, shape, **settings)
    return True


def _product(b: BatchLast, step: Step) -> bool:
    left, right = step.operands
    if left in b.rows and len(right.shape) == 2:
        columns, pixels = b.rows[left]
        weight = b.transpose(b.as_it_was(right))
        shape = (right.shape[1], columns.shape[1])
        b.rows[step.out] = Rows(b.add("dot", (weight, columns), shape), pixels)
        return True
    if left in b.turned and len(right.shape) == 2:
        columns, pixels = b.turned[left]
        other = b.transpose(b.columns(right, pixels))
        b.add("dot", (columns, other), step.out.shape, step.out)
        b.natural.add(step.out)
        return True
    return False


def _transposed(b: BatchLast, step: Step) -> bool:
    """Rows with their axes exchanged, or a product (rows)ᵀ rows."""
    (x,) = step.operands
    if x in b.rows:
        b.turned[step.out] = b.rows[x]
        return True
    product = b.makers.get(x)
    if product is None or product.op != "dot" or product.operands[0] not in b.turned:
        return False
    (left, right), pixels = product.operands, b.turned[product.operands[0]].pixels
    other = b.transpose(b.turned[left].columns)
    b.add("dot", (b.columns(right, pixels), other), step.out.shape, step.out)
    b.natural.add(step.out)
    return True


def _reduction(b: BatchLast, step: Step) -> bool:
    """Over some axes of images, or over all rows."""
    (x,), axis = step.operands, step.settings["axis"]
    source = b.images[x] if x in b.images else b.rows[x].columns if x in b.rows else None
    if source is None or x in b.natural or (axis is not None and not step.out.shape):
        return False
    given = axis if isinstance(axis, tuple) else (axis or 0,)
    axes = {a % len(x.shape) for a in given}
    if x in b.rows and axes != {0}:
        return False  # one result for each pixel, in the order of the columns
    b.natural.add(step.out)
    if axis is None:
        b.steps.append(step._replace(operands=(source,)))
        return True
    order = LAST if x in b.images else (1, 0)
    over = tuple(i for i, a in enumerate(order) if a in axes)
    rest = [a for a in order if a not in axes]
    if over == (1, 2, 3):
        source, over = b.reshape(source, (source.shape[0], math.prod(source.shape[1:]))), (1,)
    shape = tuple(n for i, n in enumerate(source.shape) if i not in over)
    total = b.add(
        step.op, (source,), shape, axis=over[0] if len(over) == 1 else over, keepdims=False
    )
    if rest != sorted(rest):
        total = b.transpose(total, (len(rest) - 1, *range(len(rest) - 1)))
    b.add("reshape", (total,), step.out.shape, step.out, shape=step.out.shape)
    return True


def _reshape(b: BatchLast, step: Step) -> bool:
    """(N, C, H, W) -> (N, ...): the transpose of (C·H·W, N)."""
    (x,), shape = step.operands, step.out.shape
    if x not in b.images or len(shape) < 2 or shape[0] != x.shape[0] or not step.out.size:
        return False
    n = shape[0]
    flat = b.reshape(b.images[x], (math.prod(shape[1:]), n))
    if len(shape) == 2:
        b.transpose(flat, (1, 0), step.out)
    else:
        turned = b.transpose(flat)
        b.add("reshape", (turned,), shape, step.out, shape=shape)
    b.natural.add(step.out)
    return True


def _permuted(b: BatchLast, step: Step) -> bool:
    """Padding, slices, and their transposes: the same with the axes in another order."""
    (x, *arrays), settings = step.operands, dict(step.settings)
    if x not in b.images or arrays or len(step.out.shape) != 4:
        return False
    for key, rest in (("widths", None), ("index", WHOLE), ("shape", None)):
        if key in settings:
            parts = settings[key]
            if key == "index" and not all(isinstance(part, slice) for part in parts):
                return False
            parts = (*parts, *(rest,) * (4 - len(parts)))
            settings[key] = tuple(parts[a] for a in LAST)
    shape = tuple(step.out.shape[a] for a in LAST)
    b.images[step.out] = b.add(step.op, (b.images[x],), shape, **settings)
    return True


def _concatenated(b: BatchLast, step: Step) -> bool:
    if not all(x in b.images for x in step.operands):
        return False
    axis = LAST.index(step.settings["axis"] % 4)
    shape = tuple(step.out.shape[a] for a in LAST)
    b.images[step.out] = b.add("concatenate", tuple(map(b.image, step.operands)), shape, axis=axis)
    return True


RULES: dict[str, Callable[[BatchLast, Step], bool]] = {
    "im2col": _columns_of_windows, "col2im": _add_windows, "rows_of": _image_to_rows,
    "image_of": _rows_to_image, "max_pool": _pool, "max_pool_gradient": _pool, "sum_pool": _pool,
    "sum_pool_gradient": _pool, "dot": _product, "transpose": _transposed, "sum": _reduction,
    "max": _reduction, "min": _reduction, "reshape": _reshape, "pad": _permuted,
    "slice": _permuted, "scatter": _permuted, "concatenate": _concatenated,
}  # fmt: skip


def with_products_of_transposed(program: Program) -> Program:
    """inner(a, bᵀ) is a b."""

    def rule(r: Rewriter, step: Step) -> Step | None:
        before = r.maker(step.operands[1], "transpose") if step.op == "inner" else None
        if before is None or len(step.out.shape) != 2:
            return None
        return step._replace(op="dot", operands=(step.operands[0], before.operands[0]))

    return Rewriter(program).run(rule)


IMAGES = (
    with_images_recognised,
    with_relus_after_pools,
    with_pooled_gradients_summed,
    with_batch_last,
)
