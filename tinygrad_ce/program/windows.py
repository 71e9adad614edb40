"""What is done on windows of images, one offset inside the window after the other.

A window of kh·kw elements is looked at as kh·kw arrays: all first elements, all second ones, and
so on. Each is a strided view of the image, so a maximum over windows is a few maxima of views, and
with the batch as last axis, (C, H, W, N), all of them run along the batch. `axes` says which two
axes of an image are its height and width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_ce.program.ir import Step, Var

if TYPE_CHECKING:
    from tinygrad_ce.program.emit.emitter import Emitter
    from tinygrad_ce.program.emit.places import Place

Pair = tuple[int, int]
Array = np.ndarray
BITS = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}


def reach(n: int, size: int, stride: int, dilation: int = 1) -> int:
    """How many windows fit side by side into n elements."""
    return (n - (size - 1) * dilation - 1) // stride + 1


def counts(shape: tuple[int, ...], axes: Pair, size: Pair, stride: Pair, dilation: Pair) -> Pair:
    """How many windows fit below and beside each other."""
    h, w = (reach(shape[a], *way) for a, way in zip(axes, zip(size, stride, dilation)))
    return h, w


def parts(
    x: Array, axes: Pair, size: Pair, stride: Pair, dilation: Pair = (1, 1)
) -> Iterator[tuple[Pair, Array]]:
    """For each place in a window: (row, column), and a view of the elements there."""
    number = counts(x.shape, axes, size, stride, dilation)
    for offset in np.ndindex(*size):
        index = [slice(None)] * x.ndim
        for axis, i, n, s, d in zip(axes, offset, number, stride, dilation):
            index[axis] = slice(i * d, i * d + (n - 1) * s + 1, s)
        yield (offset[0], offset[1]), x[tuple(index)]


# --- convolution, sample by sample: (N, C, H, W) and rows (N·H'·W', C·kh·kw) --------------------


def im2col(x: Array, size: Pair, stride: Pair, dilation: Pair) -> Array:
    """Every window of an image as a row."""
    n, c = x.shape[:2]
    h, w = counts(x.shape, (2, 3), size, stride, dilation)
    rows = np.empty((n, h, w, c, *size), x.dtype)
    for (i, j), part in parts(x, (2, 3), size, stride, dilation):
        rows[..., i, j] = part.transpose(0, 2, 3, 1)
    return rows.reshape(n * h * w, -1)


def col2im(rows: Array, shape: tuple[int, ...], size: Pair, stride: Pair, dilation: Pair) -> Array:
    """Rows laid back where they were taken, overlaps added: the transpose of im2col."""
    y = np.zeros(shape, rows.dtype)
    h, w = counts(shape, (2, 3), size, stride, dilation)
    rows = rows.reshape(shape[0], h, w, shape[1], *size)
    for (i, j), part in parts(y, (2, 3), size, stride, dilation):
        part += rows[..., i, j].transpose(0, 3, 1, 2)
    return y


def rows_of(x: Array) -> Array:
    """Every pixel as a row of its channels: (N, C, H, W) -> (N·H·W, C)."""
    return x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1])


def image_of(rows: Array, shape: tuple[int, ...]) -> Array:
    """The reverse: (N·H·W, C) -> (N, C, H, W)."""
    n, c, h, w = shape
    return rows.reshape(n, h, w, c).transpose(0, 3, 1, 2)


# --- convolution, batch last: (C, H, W, N) and columns (C·kh·kw, H'·W'·N) -----------------------


def batch_last(x: Array) -> Array:
    """(N, C, H, W) -> (C, H, W, N), in one piece."""
    return np.ascontiguousarray(x.transpose(1, 2, 3, 0))


def into_columns(y: Array, x: Array, **way: Pair) -> list[tuple[Array, Array]]:
    """(where it goes, what goes there) for each place in a window."""
    h, w = counts(x.shape, (1, 2), **way)
    y = y.reshape(x.shape[0], *way["size"], h, w, x.shape[3])
    return [(y[:, i, j], part) for (i, j), part in parts(x, (1, 2), **way)]


def columns(x: Array, **way: Pair) -> Array:
    """Every window as a column: (C, H, W, N) -> (C·kh·kw, H'·W'·N)."""
    h, w = counts(x.shape, (1, 2), **way)
    y = np.empty((x.shape[0] * math.prod(way["size"]), h * w * x.shape[3]), x.dtype)
    for place, part in into_columns(y, x, **way):
        place[...] = part
    return y


def add_columns(y: Array, shape: tuple[int, ...], **way: Pair) -> Array:
    """Columns laid back where they were taken, overlaps added: the transpose of columns."""
    x = np.zeros(shape, y.dtype)
    for part, place in into_columns(y, x, **way):
        place += part
    return x


# --- pooling ------------------------------------------------------------------------------------


def max_pool(x: Array, axes: Pair, size: Pair, stride: Pair) -> Array:
    """The largest element of each window; nan, if there is one."""
    views = [part for _, part in parts(x, axes, size, stride)]
    y = views[0].copy()
    for part in views[1:]:
        np.maximum(y, part, out=y)
    return y


def max_pool_gradient(g: Array, x: Array, y: Array, axes: Pair, size: Pair, stride: Pair) -> Array:
    """g at the first of the largest elements of each window, 0 elsewhere; y is max_pool(x)."""
    d = np.zeros(x.shape, g.dtype)
    rest = g.copy()
    for (_, a), (_, place) in zip(parts(x, axes, size, stride), parts(d, axes, size, stride)):
        here = equal_or_nan(a, y)
        place += np.where(here, rest, 0)
        rest[here] = 0
    return d


def equal_or_nan(a: Array, b: Array, out: Array | None = None) -> Array:
    """Where a = b, or a is nan."""
    return np.logical_or(np.equal(a, b, out), np.isnan(a), out)


def sum_pool(x: Array, axes: Pair, size: Pair, stride: Pair) -> Array:
    """The sum of each window."""
    views = [part for _, part in parts(x, axes, size, stride)]
    y = views[0].copy()
    for part in views[1:]:
        y += part
    return y


def sum_pool_gradient(
    g: Array, shape: tuple[int, ...], axes: Pair, size: Pair, stride: Pair
) -> Array:
    """g at every element of its window, overlaps added."""
    d = np.zeros(shape, g.dtype)
    for _, place in parts(d, axes, size, stride):
        place += g
    return d


EVALUATE: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        im2col, col2im, rows_of, image_of, batch_last, columns, add_columns, max_pool,
        max_pool_gradient, sum_pool, sum_pool_gradient,
    )
}  # fmt: skip


# --- how they are written -----------------------------------------------------------------------


def views(x: Array, axes: Pair, size: Pair, stride: Pair) -> list[Array]:
    """The views of `parts`."""
    return [part for _, part in parts(x, axes, size, stride)]


def fixed(e: Emitter, *operands: Var) -> bool:
    """Whether all operands lie where they lay in the last run."""
    storages = [e.places[x].storage for x in operands]
    return all(s is not None and s.static for s in storages)


def prepared(e: Emitter, function: Callable[..., Any], *texts: str, **settings: Any) -> str:
    """The name of what `function` gives before the first run."""
    e.names[function.__name__] = function
    words = [*texts, *(f"{k}={v!r}" for k, v in settings.items())]
    return e.once(f"{function.__name__}({', '.join(words)})", "parts")


def scratch(e: Emitter, shape: tuple[int, ...], dtype: Any) -> Place:
    """Memory for one step: give it back with `given_back`."""
    return e.buffer(Var(shape, np.dtype(dtype), False))


def given_back(e: Emitter, *places: Place) -> None:
    """Later steps may use this memory."""
    e.free.extend(p.storage for p in places if p.storage is not None)


def _batch_last(e: Emitter, step: Step) -> None:
    place = e.destination(step)
    e.say(f"copyto({place.text}, {e.places[step.operands[0]].text}.transpose((1, 2, 3, 0)))")
    e.put(step.out, place)


def _columns(e: Emitter, step: Step) -> None:
    (x,) = step.operands
    if not fixed(e, x):
        e.emit_call(step)
        return
    place = e.destination(step)
    pairs = prepared(e, into_columns, place.text, e.places[x].text, **step.settings)
    e.say(f"for a, b in {pairs}: copyto(a, b)")
    e.put(step.out, place)


def _add_columns(e: Emitter, step: Step) -> None:
    (y,) = step.operands
    if not fixed(e, y):
        e.emit_call(step)
        return
    way = {k: v for k, v in step.settings.items() if k != "shape"}
    place = e.destination(step)
    pairs = prepared(e, into_columns, e.places[y].text, place.text, **way)
    e.say(f"{place.text}.fill(0)")
    e.say(f"for a, b in {pairs}: add(b, a, b)")
    e.put(step.out, place)


def _pool(e: Emitter, step: Step) -> None:
    (x,) = step.operands
    if not fixed(e, x) or step.settings["size"] == (1, 1):
        e.emit_call(step)
        return
    place, word = e.destination(step), "maximum" if step.op == "max_pool" else "add"
    y = place.text
    pieces = prepared(e, views, e.places[x].text, **step.settings)
    first, second, rest = (e.once(f"{pieces}[{i}]") for i in ("0", "1", "2:"))
    e.say(f"{word}({first}, {second}, out={y})")
    if math.prod(step.settings["size"]) > 2:
        e.say(f"for a in {rest}: {word}({y}, a, out={y})")
    e.put(step.out, place)


def tiles(shape: tuple[int, ...], axes: Pair, size: Pair, stride: Pair) -> bool:
    """Whether every element is in one window, and in no other."""
    return size == stride and all(shape[a] % s == 0 for a, s in zip(axes, stride))


def _max_pool_gradient(e: Emitter, step: Step) -> None:
    """For each place in a window: what of g belongs there is written there and taken from g."""
    g, x, y = step.operands
    way, bits = step.settings, BITS.get(g.dtype)
    if bits is None or g.dtype != x.dtype or not fixed(e, g, x, y):
        e.emit_call(step)
        return
    whole = tiles(x.shape, **way)
    place = e.destination(step, (x,) if whole else ())
    rest = e.buffer(g, (g,))
    mask, part = scratch(e, g.shape, bool), scratch(e, g.shape, g.dtype)
    taken = [mask, part]
    if rest.text != e.places[g].text:
        e.say(f"copyto({rest.text}, {e.places[g].text})")
        taken.append(rest)
    compare = comparison(e, y)
    if not whole:
        e.say(f"{place.text}.fill(0)")
    sources = prepared(e, views, e.places[x].text, **way)
    targets = prepared(e, views, place.text, **way)
    pairs, last = e.once(f"list(zip({sources}, {targets}))[:-1]"), e.once(f"{targets}[-1]")
    dtype = e.names_of_dtype(bits)
    left, own = (e.once(f"{p.text}.view({dtype})") for p in (rest, part))
    apart = all(n <= s for n, s in zip(way["size"], way["stride"]))
    put = "copyto({0}, {1})" if apart else "add({0}, {1}, {0})"
    e.say(f"for a, d in {pairs}:")
    e.say(f"    {compare}(a, {e.places[y].text}, {mask.text})")
    e.say(f"    multiply({left}, {mask.text}, {own})")  # times 0 or 1, bit by bit
    e.say(f"    {put.format('d', part.text)}")
    e.say(f"    bitwise_xor({left}, {own}, {left})")
    e.say(put.format(last, rest.text))
    given_back(e, *taken)
    e.put(step.out, place)


def comparison(e: Emitter, y: Var) -> str:
    """The name of the function that finds y in x: a slower one, if there is a nan in y."""
    squares, compare = e.fresh(prefix="squares"), e.fresh(prefix="compare")
    e.names["equal_or_nan"] = equal_or_nan
    e.say(f"{squares} = vdot({e.flat(y)}, {e.flat(y)})")
    e.say(f"{compare} = equal if {squares} == {squares} else equal_or_nan")
    return compare


def _sum_pool_gradient(e: Emitter, step: Step) -> None:
    (g,) = step.operands
    way = {k: v for k, v in step.settings.items() if k != "shape"}
    place = e.destination(step)
    targets = prepared(e, views, place.text, **way)
    if tiles(step.out.shape, **way):
        e.say(f"for a in {targets}: copyto(a, {e.places[g].text})")
    else:
        e.say(f"{place.text}.fill(0)")
        e.say(f"for a in {targets}: add(a, {e.places[g].text}, a)")
    e.put(step.out, place)


def _pad(e: Emitter, step: Step) -> None:
    (x,) = step.operands
    widths, value = step.settings["widths"], step.settings["value"]
    place = e.destination(step)
    ends = zip(widths, step.out.shape)
    inside = ", ".join(f"{before}:{n - after}" for (before, after), n in ends)
    e.say(f"{place.text}.fill({value})")
    e.say(f"copyto({e.once(f'{place.text}[{inside}]')}, {e.places[x].text})")
    e.put(step.out, place)


WRITERS: dict[str, Callable[[Emitter, Step], None]] = {
    "batch_last": _batch_last,
    "pad": _pad,
    "columns": _columns,
    "add_columns": _add_columns,
    "max_pool": _pool,
    "sum_pool": _pool,
    "max_pool_gradient": _max_pool_gradient,
    "sum_pool_gradient": _sum_pool_gradient,
}
