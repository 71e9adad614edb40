"""What a page knows of images: which arrays are some, and what slides over them.

A convolution is recorded as one matrix product of kernels with the windows of the image as columns.
`slides_of` finds the image, the kernels, the bias and the output again, and the sizes of the
windows, so that a page can show one window at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt, prod
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import Scope, chain_of
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.nn.convolution import Conv1d, Conv2d
from tinygrad_ce.viz.graph.walking import Graph
from tinygrad_ce.viz.page.arrays import BASE, MOST

Pair = tuple[int, int]
SHOWN_FIRST = (1, 2, 3, 0)  # (N, C, H, W) as a convolution reads it: (C, H, W, N)
LEAST = 4  # rows and columns of an input that is taken for an image
SIDES = (8, 28)  # of images that are often given as rows of a matrix


@dataclass(frozen=True)
class Slide:
    """Windows over an image: y[n, o, i, j] from x[n, c, i·stride + a·dilation − before, ...].

    `kind` is "conv" (Σ x·k + b), "max" or "sum" of each channel, or "up": a convolution on its way
    back, from y to x, which is what a transposed one computes. `nodes` are those at which it is to
    be shown. An image of which only the windows were recorded is an array, padding included.
    """

    kind: str
    x: Node | np.ndarray
    y: Node
    size: Pair
    stride: Pair
    nodes: tuple[Node, ...]
    dilation: Pair = (1, 1)
    before: Pair = (0, 0)
    k: Node | None = None
    b: Node | None = None


def slides_of(graph: Graph) -> Iterator[Slide]:
    """Every convolution and every pool of a graph."""
    for node in graph.operations:
        if node.op.name in ("max_pool", "sum_pool"):
            size, stride, axes = node.attrs
            x, before = before_padding(graph, sources(graph, node)[0], axes)
            if axes == (2, 3) and node.array.ndim == 4:
                yield Slide(node.op.name[:3], x, node, size, stride, (node,), before=before)
        elif node.op.name == "matmul" and len(node.inputs) == 2:
            found = convolution(graph, node)
            if found is not None:
                yield found
        elif node.op.name == "col2im" and (found := transposed(graph, node)) is not None:
            yield found


def convolution(graph: Graph, product: Node) -> Slide | None:
    """The convolution that a matrix product is the heart of, if it is one."""
    flat, columns = sources(graph, product)
    kernels = sources(graph, flat)[0] if is_a(flat, "reshape") else None
    if kernels is None or kernels.array.ndim != 4:
        return None
    size = kernels.array.shape[2], kernels.array.shape[3]
    y, b = product, None
    after = following(graph, y)
    if after is not None and is_a(after, "add"):
        spread = sources(graph, after)[1]
        if is_a(spread, "reshape"):
            y, b = after, sources(graph, spread)[0]
    added, shaped = y, following(graph, y)
    y_image = following(graph, shaped) if shaped is not None and is_a(shaped, "reshape") else None
    if (
        shaped is None
        or y_image is None
        or shaped.array.ndim != 4
        or not is_a(y_image, "transpose")
    ):
        return None
    nodes = (columns, product, added, y_image)
    if is_a(columns, "im2col"):
        if columns.attrs[0] != size:
            return None
        x, before = before_padding(graph, sources(graph, columns)[0], (1, 2))
        if not is_a(x, "transpose") or x.attrs[0] != SHOWN_FIRST:
            return None
        _, stride, dilation = columns.attrs
        return Slide(
            "conv", x.inputs[0], y_image, size, stride, nodes, dilation, before, kernels, b
        )
    layer = layer_of(product.scope)
    if layer is None or columns.op is None or columns.op.name != "im2col":
        return None
    stride, dilation = layer
    image = laid_back(
        columns.array, kernels.array.shape[1], shaped.array.shape, size, stride, dilation
    )
    if image is None:
        return None
    return Slide("conv", image, y_image, size, stride, nodes, dilation, k=kernels, b=b)


def transposed(graph: Graph, laid: Node) -> Slide | None:
    """The transposed convolution whose kernels are laid down here, if all of it is on record."""
    product, (_, size, stride, dilation) = sources(graph, laid)[0], laid.attrs
    kernels, image = unfolded(graph, product, ("mT", "reshape"), ("reshape", "transpose"))
    cut = following(graph, laid)
    if cut is not None and is_a(cut, "pad"):
        cut = following(graph, cut)
    if kernels is None or image is None or cut is None or not is_a(cut, "getitem"):
        return None
    y, b = cut, None
    added = following(graph, cut)
    if added is not None and is_a(added, "add"):
        y, b = added, sources(graph, sources(graph, added)[1])[0]
    shown = following(graph, y)
    if shown is None or not is_a(shown, "transpose") or image.array.ndim != 4:
        return None
    before = tuple(part.start for part in cut.attrs[0][1:3])
    return Slide("up", shown, image, size, stride, (product, laid, y, shown), dilation, before,
                 kernels, b)  # fmt: skip


def unfolded(graph: Graph, product: Node, *ways: tuple[str, ...]) -> list[Node | None]:
    """The operands of a product before these operations; None where there are others."""
    found: list[Node | None] = list(sources(graph, product)) if is_a(product, "matmul") else []
    for i, names in enumerate(ways[: len(found)]):
        for name in names:
            x = found[i]
            found[i] = sources(graph, x)[0] if x is not None and is_a(x, name) else None
    return found or [None] * len(ways)


def is_a(node: Node, name: str) -> bool:
    """Whether a node was computed by this operation."""
    return bool(node.inputs) and node.op.name == name


def following(graph: Graph, node: Node) -> Node | None:
    """The operation that reads a node, if it is the only one."""
    uses = graph.used.get(node, ())
    return uses[0].target if len(uses) == 1 else None


def sources(graph: Graph, node: Node) -> list[Node]:
    """The operands of a node, as it read them."""
    return [use.source for use in graph.operands[node]]


def before_padding(graph: Graph, x: Node, axes: Pair) -> tuple[Node, Pair]:
    """The image inside of its padding, and how much of that is above and to the left."""
    if not is_a(x, "pad"):
        return x, (0, 0)
    widths = x.attrs[0]
    return sources(graph, x)[0], (widths[axes[0]][0], widths[axes[1]][0])


def layer_of(scope: Scope | None) -> tuple[Pair, Pair] | None:
    """Stride and dilation of the convolution layer that was called, as it is now."""
    for around in chain_of(scope)[::-1]:
        module = around.module() if around.module is not None else None
        if isinstance(module, Conv2d):
            (down, across), (a, b) = module.stride, module.dilation
            return (down, across), (a, b)
        if isinstance(module, Conv1d):
            return (1, module.stride[0]), (1, module.dilation[0])
    return None


def laid_back(
    columns: np.ndarray, channels: int, counts: tuple[int, ...], size: Pair, stride: Pair,
    dilation: Pair,
) -> np.ndarray | None:  # fmt: skip
    """The image (N, C, H, W) whose windows these are, as far as they reach; None if some is unread.

    `counts` is (O, H', W', N).
    """
    _, height, width, n = counts
    spans = [(k - 1) * d + 1 for k, d in zip(size, dilation)]
    image = np.full(
        (channels, (height - 1) * stride[0] + spans[0], (width - 1) * stride[1] + spans[1], n),
        np.nan, columns.dtype,
    )  # fmt: skip
    parts = columns.reshape(channels, *size, height, width, n)
    for a, b in np.ndindex(*size):
        rows = slice(a * dilation[0], a * dilation[0] + (height - 1) * stride[0] + 1, stride[0])
        across = slice(b * dilation[1], b * dilation[1] + (width - 1) * stride[1] + 1, stride[1])
        image[:, rows, across] = parts[:, a, b]
    unread = np.isnan(image).any() and not np.isnan(columns).any()
    return None if unread else image.transpose(3, 0, 1, 2)


def told_of(slide: Slide) -> dict[str, Any]:
    """The sizes of a slide, for a page; for each largest element a letter, `#` for the first."""
    told: dict[str, Any] = {}
    if slide.kind == "max" and slide.y.array.size <= MOST and prod(slide.size) < BASE:
        x, attrs = slide.y.inputs[0].array, slide.y.attrs
        best = table.argmax_pool(x, slide.y.array, *attrs)
        told["won"] = "".join(chr(35 + int(k)) for k in best.ravel())
    return told | {
        "kind": slide.kind,
        "size": list(slide.size),
        "stride": list(slide.stride),
        "dilation": list(slide.dilation),
        "before": list(slide.before),
    }


# --- which arrays are images ----------------------------------------------------------------


def images_of(graph: Graph, slides: list[Slide]) -> dict[Node, tuple[str, tuple[int, ...]]]:
    """Which tensors are images, "grey" or "map", and their shapes as (N, C, H, W).

    Inputs are "grey" (or coloured, if they have three channels): those of one or three channels,
    those of which an image is made, and rows of 784 numbers or of 64 that are not negative. What
    convolutions and pools read and give are maps, and so are kernels.
    """
    found: dict[Node, tuple[str, tuple[int, ...]]] = {}
    shapes = {image.array.shape for s in slides for image in (s.x, s.y) if isinstance(image, Node)}
    for s in slides:
        if s.k is not None:
            found[s.k] = "map", s.k.array.shape
    for node in graph.nodes:
        shape = node.array.shape
        if node.array.dtype.kind == "b" or not node.array.size:
            continue
        given = graph.role(node) == "input"
        if shape in shapes or (given and len(shape) == 4 and shape[1] in (1, 3)):
            if min(shape[2:]) >= LEAST or not given:
                found[node] = "grey" if given else "map", shape
        elif given and len(shape) == 2:
            made = [x.array.shape for x in readers(graph, node) if x.op.name == "reshape"]
            image = next((s for s in made if s in shapes), None) or row_image(node.array)
            if image is not None:
                found[node] = "grey", image
    return found


def readers(graph: Graph, node: Node) -> list[Node]:
    """The operations that read a node."""
    return [use.target for use in graph.used.get(node, ())]


def row_image(rows: np.ndarray) -> tuple[int, ...] | None:
    """The shape of images that are the rows of a matrix, if they look like some."""
    side = isqrt(rows.shape[1])
    if side * side != rows.shape[1] or side not in SIDES or rows.dtype.kind not in "fiu":
        return None
    return (rows.shape[0], 1, side, side) if side > SIDES[0] or rows.min() >= 0 else None
