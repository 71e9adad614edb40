"""Windows of images in ONNX: Conv, ConvTranspose, MaxPool, AveragePool, by what they are made of.

A convolution is traced as reshape(W @ im2col(transpose(x)) + b) and is Conv(x, W, b) here; zeros
around the image become its `pads`. In a dtype that onnxruntime has no such kernel for, windows are
slices of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engines.batches import Size
from tinygrad_ce.engines.onnx_graph import FLOATS, Graph, Rule
from tinygrad_ce.program.ir import Step, Var

TO_IMAGE, FROM_IMAGE = (3, 0, 1, 2), (1, 2, 3, 0)  # (C, H, W, N) -> (N, C, H, W) and back


class Convolution(NamedTuple):
    """What a Conv node needs."""

    image: Var  # (C, H, W, N), or (N, C, H, W) where `turned`
    turned: bool
    kernel: Var  # (O, C, kh, kw), or the matrix (O, C·kh·kw)
    bias: Var | None
    pads: list[int]
    columns: Step


def conv_of(g: Graph, step: Step) -> str | None:
    """The Conv whose result, (O, h, w, n), a reshape makes; None if it makes something else."""
    parts = convolution(g, step)
    return None if parts is None else conv(g, step, parts)


def conv(g: Graph, step: Step, parts: Convolution, groups: int = 1) -> str:
    """The Conv of these parts."""
    s = parts.columns.attrs
    kernel = g.of(parts.kernel)
    if len(parts.kernel.shape) == 2:
        kernel = g.reshape(
            kernel, [step.out.shape[0], parts.columns.operands[0].shape[0], *s["size"]]
        )
    bias = [] if parts.bias is None else [g.of(parts.bias)]
    image = g.of(parts.image) if parts.turned else as_image(g, parts.image)
    return g.node(
        "Conv", image, kernel, *bias, kernel_shape=[*s["size"]], strides=[*s["stride"]],
        dilations=[*s["dilation"]], pads=parts.pads, group=groups,
    )  # fmt: skip


def as_image(g: Graph, x: Var) -> str:
    """A value (C, H, W, N) as (N, C, H, W)."""
    turned = g.maker(x, "transpose")
    if turned is not None and turned.attrs["axes"] == FROM_IMAGE:
        return g.of(turned.operands[0])
    maker = g.maker(x, "reshape")
    conv = conv_of(g, maker) if maker is not None else None
    return conv if conv is not None else g.transpose(g.of(x), TO_IMAGE)


def grouped_conv(g: Graph, step: Step) -> str | None:
    """The Conv of several groups whose results a concatenation joins."""
    turned = [g.maker(x, "transpose") for x in step.operands]
    made = [g.maker(t.operands[0], "reshape") for t in turned if t and t.attrs["axes"] == TO_IMAGE]
    found = [parts for m in made if m and (parts := convolution(g, m)) and parts.turned]
    if step.attrs["axis"] != 1 or len(found) < len(turned) or not made[0]:
        return None
    image = whole(g, [p.image for p in found], 1)
    kernel = whole(g, [p.kernel for p in found], 0)
    bias = found[0].bias and whole(g, [p.bias for p in found], 0)
    alike = all((p.pads, p.columns.attrs) == (found[0].pads, found[0].columns.attrs) for p in found)
    if image is None or kernel is None or not alike or (found[0].bias and bias is None):
        return None
    parts = found[0]._replace(image=image, kernel=kernel, bias=bias)
    return conv(g, made[0], parts, len(found))


def whole(g: Graph, xs: Sequence[Var | None], axis: int) -> Var | None:
    """What was split into these equal parts along an axis."""
    cuts = [g.maker(x, "slice") if x is not None else None for x in xs]
    if cuts[0] is None:
        return None
    source, n = cuts[0].operands[0], len(xs)
    k = source.shape[axis] // n
    wanted = [(slice(None),) * axis + (slice(k * i, k * i + k),) for i in range(n)]
    found = [cut.attrs["index"] for cut in cuts if cut and cut.operands[0] is source]
    return source if found == wanted and k * n == source.shape[axis] else None


def convolution(g: Graph, step: Step) -> Convolution | None:
    """The parts of a convolution, by the steps that conv2d takes."""
    if step.op != "reshape" or len(step.out.shape) != 4:
        return None
    y, bias = step.operands[0], None
    plus = g.maker(y, "add")
    if plus is not None:
        y = plus.operands[0]
        row = g.maker(plus.operands[1], "reshape")
        if row is None or row.operands[0].shape != (step.out.shape[0],):
            return None
        bias = row.operands[0]
    product = g.maker(y, "dot")
    columns = g.maker(product.operands[1], "im2col") if product is not None else None
    if product is None or columns is None or step.out.dtype not in FLOATS:
        return None
    flat = g.maker(product.operands[0], "reshape")
    kernel = flat.operands[0] if flat is not None else product.operands[0]
    if kernel.shape[1:] != (columns.operands[0].shape[0], *columns.attrs["size"]):
        kernel = product.operands[0]
    image, pads = without_border(g, columns.operands[0], 0.0, (1, 2))
    turned = g.maker(image, "transpose")
    if turned is not None and turned.attrs["axes"] == FROM_IMAGE:
        return Convolution(turned.operands[0], True, kernel, bias, pads, columns)
    return Convolution(image, False, kernel, bias, pads, columns)


def without_border(
    g: Graph, x: Var, value: float, axes: Sequence[int], most: Sequence[float] = (math.inf,) * 2
) -> tuple[Var, list[int]]:
    """What `pad` was put around, and how much, if it is this value around these axes alone, and
    less than `most` along each.
    """
    border = g.maker(x, "pad")
    if border is not None and border.attrs["value"] == value:
        widths = border.attrs["widths"]
        few = all(max(widths[a]) < limit for a, limit in zip(axes, most))
        if few and all(i in axes or w == (0, 0) for i, w in enumerate(widths)):
            return border.operands[0], [widths[a][end] for end in (0, 1) for a in axes]
    return x, [0] * (2 * len(axes))


# --- pools --------------------------------------------------------------------------------------


def max_pool(g: Graph, s: Step) -> str:
    """The largest of each window."""
    (x,), size, stride = s.operands, s.attrs["size"], s.attrs["stride"]
    if s.out.dtype.kind == "f" and s.attrs["axes"] == (2, 3):
        image, pads = without_border(g, x, -math.inf, (2, 3), size)
        return g.node("MaxPool", g.of(image), kernel_shape=[*size], strides=[*stride], pads=pads)
    wide = np.dtype(np.int64) if s.out.dtype.kind != "f" else s.out.dtype
    return g.cast(g.node("Max", *parts_of(g, g.of(x, wide), x, s)), wide, s.out.dtype)


def sum_pool(g: Graph, s: Step) -> str:
    """The sum of each window: its mean, times how many there are."""
    count = math.prod(s.attrs["size"])
    mean = mean_pool(g, s)
    if mean is not None:
        return g.node("Mul", mean, g.array(count, s.out.dtype))
    (x,) = s.operands
    total, *rest = parts_of(g, g.of(x), x, s)
    for part in rest:
        total = g.node("Add", total, part)
    return total


def mean_pool(g: Graph, s: Step) -> str | None:
    """The mean of each window, where there is a node for it."""
    if s.out.dtype not in FLOATS or s.attrs["axes"] != (2, 3):
        return None
    image, pads = without_border(g, s.operands[0], 0.0, (2, 3), s.attrs["size"])
    return g.node(
        "AveragePool", g.of(image), kernel_shape=[*s.attrs["size"]],
        strides=[*s.attrs["stride"]], pads=pads, count_include_pad=1,
    )  # fmt: skip


def parts_of(g: Graph, name: str, x: Var, s: Step) -> list[str]:
    """For each place in a window, row by row, the elements there."""
    size, stride = s.attrs["size"], s.attrs["stride"]
    spread = s.attrs.get("dilation", (1, 1))
    axes = s.attrs.get("axes", (1, 2))
    if any(isinstance(x.shape[a], Size) for a in axes):
        g.refuse(s, "windows along the batch have no counterpart; pass batch=None")
    counts = table.window_counts(x.shape, axes, size, stride, spread)
    return [
        g.slices(name, {
            axis: slice(i * d, i * d + (n - 1) * t + 1, t)
            for axis, i, n, t, d in zip(axes, offset, counts, stride, spread)
        })
        for offset in np.ndindex(*size)
    ]  # fmt: skip


# --- windows as columns -------------------------------------------------------------------------


def im2col(g: Graph, s: Step) -> str:
    """Every window as a column: (C, H, W, N) -> (C·kh·kw, H'·W'·N)."""
    (x,) = s.operands
    each = [g.unsqueeze(part, 1) for part in parts_of(g, g.of(x), x, s)]
    return g.reshape(g.node("Concat", *each, axis=1), s.out.shape)


def col2im(g: Graph, s: Step) -> str:
    """Columns laid back where they were taken: ConvTranspose of a product, else Col2Im."""
    (x,), full, size = s.operands, s.attrs["full"], s.attrs["size"]
    if x.dtype not in FLOATS:
        return g.refuse(s, "onnxruntime computes it in float32 only: export model.float()")
    settings = {"strides": [*s.attrs["stride"]], "dilations": [*s.attrs["dilation"]]}
    up = transposed_conv(g, x, settings, size)
    if up is None:
        if any(isinstance(n, Size) for n in full[1:3]):
            g.refuse(s, "windows along the batch have no counterpart; pass batch=None")
        h, w = table.window_counts(full, (1, 2), size, s.attrs["stride"], s.attrs["dilation"])
        rows = g.reshape(g.of(x), [x.shape[0], h * w, full[3]])
        sizes = (g.integers(full[1:3]), g.integers(size))
        up = g.node("Col2Im", g.transpose(rows, (2, 0, 1)), *sizes, **settings)
    return g.transpose(up, FROM_IMAGE)


def transposed_conv(g: Graph, x: Var, settings: dict[str, Any], size: Any) -> str | None:
    """ConvTranspose(image, W) of columns that are Wᵀ @ image."""
    product = g.maker(x, "dot")
    turned = g.maker(product.operands[0], "transpose") if product is not None else None
    rows = g.maker(product.operands[1], "reshape") if product is not None else None
    flat = g.maker(turned.operands[0], "reshape") if turned is not None else None
    if rows is None or flat is None or len(rows.operands[0].shape) != 4:
        return None
    kernel = flat.operands[0]
    if (
        len(kernel.shape) != 4
        or kernel.shape[2:] != size
        or rows.operands[0].shape[0] != kernel.shape[0]
    ):
        return None
    return g.node("ConvTranspose", as_image(g, rows.operands[0]), g.of(kernel), **settings)


def divide(g: Graph, s: Step, other: Rule) -> str:
    """A sum over windows by how many elements they have is AveragePool; other quotients."""
    pool = g.maker(s.operands[0], "sum_pool")
    n: Any = g.program.constants.get(s.operands[1])
    if pool is not None and np.ndim(n) == 0 and n == math.prod(pool.attrs["size"]):
        mean = mean_pool(g, pool)
        if mean is not None:
            return mean
    return other(g, s)


IMAGES: dict[str, Rule] = {
    "im2col": im2col, "col2im": col2im, "max_pool": max_pool, "sum_pool": sum_pool,
}  # fmt: skip
