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

    image: Var  # (N, C, H, W)
    kernel: Var  # (O, C, kh, kw)
    bias: Var | None
    pads: list[int]
    attrs: dict[str, Any]  # of im2col


def conv_of(g: Graph, step: Step | None) -> str | None:
    """The Conv whose result, (O, h, w, n), a reshape makes; None if it makes something else."""
    parts = convolution(g, step)
    return None if parts is None else conv(g, parts)


def conv(g: Graph, parts: Convolution, groups: int = 1) -> str:
    """The Conv of these parts."""
    bias = [] if parts.bias is None else [g.of(parts.bias)]
    return g.node(
        "Conv", g.of(parts.image), g.of(parts.kernel), *bias,
        kernel_shape=[*parts.attrs["size"]], strides=[*parts.attrs["stride"]],
        dilations=[*parts.attrs["dilation"]], pads=parts.pads, group=groups,
    )  # fmt: skip


def grouped_conv(g: Graph, step: Step) -> str | None:
    """The Conv of several groups whose results a concatenation joins."""
    turned = [made_of(g, x, "transpose", axes=TO_IMAGE) for x in step.operands]
    each = [convolution(g, g.maker(x, "reshape")) if x is not None else None for x in turned]
    found = [parts for parts in each if parts is not None]
    if len(found) < max(len(each), 2) or step.attrs["axis"] != 1:
        return None
    joined = found[0]._replace(
        image=whole(g, [p.image for p in found], 1),
        kernel=whole(g, [p.kernel for p in found], 0),
        bias=found[0].bias and whole(g, [p.bias for p in found], 0),
    )
    alike = all((p.pads, p.attrs) == (joined.pads, joined.attrs) for p in found)
    missing = (
        joined.image is None or joined.kernel is None or (joined.bias is None and found[0].bias)
    )
    return conv(g, joined, len(found)) if alike and not missing else None


def made_of(g: Graph, x: Var | None, op: str, **attrs: Any) -> Var | None:
    """The operand of the step that makes a value, if it is this one."""
    step = g.maker(x, op) if x is not None else None
    return step.operands[0] if step is not None and attrs.items() <= step.attrs.items() else None


def whole(g: Graph, xs: Sequence[Var | None], axis: int) -> Any:
    """What was split into these equal parts along an axis; None if there is no such thing."""
    sources = [made_of(g, x, "slice") for x in xs]
    source, n = sources[0], len(xs)
    if source is None or any(other is not source for other in sources):
        return None
    k = source.shape[axis] // n
    wanted = [{"index": (slice(None),) * axis + (slice(k * i, k * i + k),)} for i in range(n)]
    found = [g.makers[x].attrs for x in xs if x is not None]
    return source if found == wanted and k * n == source.shape[axis] else None


def convolution(g: Graph, step: Step | None) -> Convolution | None:
    """The parts of a convolution, by the steps that conv2d takes."""
    if step is None or len(step.out.shape) != 4 or step.out.dtype not in FLOATS:
        return None
    y, bias = step.operands[0], None
    plus = g.maker(y, "add")
    if plus is not None:
        y, bias = plus.operands[0], made_of(g, plus.operands[1], "reshape")
    product = g.maker(y, "dot")
    columns = g.maker(product.operands[1], "im2col") if product is not None else None
    if product is None or columns is None:
        return None
    x = columns.operands[0]
    inner, pads = without_border(g, x, 0.0, (1, 2))
    image = made_of(g, inner, "transpose", axes=FROM_IMAGE)
    kernel = made_of(g, product.operands[0], "reshape")
    counts = table.window_counts(x.shape, (1, 2), **columns.attrs)
    if image is None or kernel is None or tuple(map(int, step.out.shape[1:3])) != counts:
        return None
    out = kernel.shape[0]
    fits = kernel.shape == (out, x.shape[0], *columns.attrs["size"]) and step.out.shape[0] == out
    biased = (bias is not None and bias.shape == (out,)) if plus is not None else True
    return Convolution(image, kernel, bias, pads, columns.attrs) if fits and biased else None


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
    apart_from_batch(g, s, [x.shape[a] for a in axes])
    counts = table.window_counts(x.shape, axes, size, stride, spread)
    return [
        g.slices(name, {
            axis: slice(i * d, i * d + (n - 1) * t + 1, t)
            for axis, i, n, t, d in zip(axes, offset, counts, stride, spread)
        })
        for offset in np.ndindex(*size)
    ]  # fmt: skip


def apart_from_batch(g: Graph, s: Step, sizes: Sequence[int]) -> None:
    """Refuse windows along an axis that follows the batch."""
    if any(isinstance(n, Size) for n in sizes):
        g.refuse(s, "windows along the batch have no counterpart; pass batch=None")


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
    attrs = {"strides": [*s.attrs["stride"]], "dilations": [*s.attrs["dilation"]]}
    up = transposed_conv(g, x, attrs, size)
    if up is None:
        apart_from_batch(g, s, full[1:3])
        h, w = table.window_counts(full, (1, 2), size, s.attrs["stride"], s.attrs["dilation"])
        rows = g.reshape(g.of(x), [x.shape[0], h * w, full[3]])
        sizes = (g.integers(full[1:3]), g.integers(size))
        up = g.node("Col2Im", g.transpose(rows, (2, 0, 1)), *sizes, **attrs)
    return g.transpose(up, FROM_IMAGE)


def transposed_conv(g: Graph, x: Var, attrs: dict[str, Any], size: Any) -> str | None:
    """ConvTranspose(image, W) of columns that are Wᵀ @ image."""
    product = g.maker(x, "dot")
    if product is None:
        return None
    flat = made_of(g, product.operands[0], "transpose")
    kernel = made_of(g, flat, "reshape")
    image = made_of(g, made_of(g, product.operands[1], "reshape"), "transpose", axes=FROM_IMAGE)
    if kernel is None or image is None or kernel.shape[2:] != size:
        return None
    return g.node("ConvTranspose", g.of(image), g.of(kernel), **attrs)


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
