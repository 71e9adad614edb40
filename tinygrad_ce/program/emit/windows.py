"""How operations on windows of images are written: one place inside the window after the other.

The views of all places are taken before the first run, so that a run only copies, adds or compares
whole arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_ce.engine.table import Pair, window_counts, window_parts
from tinygrad_ce.program.ir import Step, Var
from tinygrad_ce.program.ops import BITS

if TYPE_CHECKING:
    from tinygrad_ce.program.emit.emitter import Emitter
    from tinygrad_ce.program.emit.places import Place

Array = np.ndarray


def columns_and_parts(y: Array, x: Array, **way: Pair) -> list[tuple[Array, Array]]:
    """For each place in a window: its rows of the columns, and its elements of the image."""
    h, w = window_counts(x.shape, (1, 2), **way)
    y = y.reshape(x.shape[0], math.prod(way["size"]), h, w, x.shape[3])
    return [(y[:, i], part) for i, part in enumerate(window_parts(x, (1, 2), **way))]


def numbered(parts: list[Array], dtype: Any, bits: Any) -> list[tuple[Array, Array]]:
    """Each part as integers of as many bits, with its number."""
    return [(np.array(i, dtype), part.view(bits)) for i, part in enumerate(parts)]


def unequal_or_nan(a: Array, b: Array, out: Array) -> Array:
    """Where a ≠ b, unless a is nan."""
    return np.logical_and(np.not_equal(a, b, out), np.equal(a, a), out)


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


def settled(e: Emitter, x: Var, taken: list[Place]) -> str:
    """An operand where it lies in every run, in one piece: else a copy, noted in `taken`."""
    place = e.places[x]
    if place.contiguous and place.storage is not None and place.storage.static:
        return place.text
    taken.append(scratch(e, x.shape, x.dtype))
    e.say(f"copyto({taken[-1].text}, {place.text})")
    return taken[-1].text


def way_of(step: Step) -> dict[str, Any]:
    """The settings of a step that say which windows there are."""
    return {k: v for k, v in step.settings.items() if k != "full"}


def _im2col(e: Emitter, step: Step) -> None:
    taken: list[Place] = []
    x = settled(e, step.operands[0], taken)
    place = e.destination(step)
    pairs = prepared(e, columns_and_parts, place.text, x, **way_of(step))
    e.say(f"for a, b in {pairs}: copyto(a, b)")
    given_back(e, *taken)
    e.put(step.out, place)


def _col2im(e: Emitter, step: Step) -> None:
    taken: list[Place] = []
    x = settled(e, step.operands[0], taken)
    place = e.destination(step)
    pairs = prepared(e, columns_and_parts, x, place.text, **way_of(step))
    e.say(f"{place.text}.fill(0)")
    e.say(f"for a, b in {pairs}: add(b, a, b)")
    given_back(e, *taken)
    e.put(step.out, place)


def _pool(e: Emitter, step: Step) -> None:
    if step.settings["size"] == (1, 1):
        e.emit_call(step)
        return
    taken: list[Place] = []
    x = settled(e, step.operands[0], taken)
    place, word = e.destination(step), "maximum" if step.op == "max_pool" else "add"
    parts = prepared(e, window_parts, x, **way_of(step))
    first, second, rest = (e.once(f"{parts}[{i}]") for i in ("0", "1", "2:"))
    e.say(f"{word}({first}, {second}, out={place.text})")
    if math.prod(step.settings["size"]) > 2:
        e.say(f"for a in {rest}: {word}({place.text}, a, out={place.text})")
    given_back(e, *taken)
    e.put(step.out, place)


def _argmax_pool(e: Emitter, step: Step) -> None:
    """How many elements of each window come before the first that is the largest."""
    if step.settings["size"] == (1, 1):
        e.emit_call(step)
        return
    taken: list[Place] = []
    x, y = (settled(e, operand, taken) for operand in step.operands)
    place = e.destination(step)
    missing, part = (scratch(e, step.out.shape, bool) for _ in range(2))
    squares, compare = e.fresh(prefix="squares"), e.fresh(prefix="compare")
    e.names["unequal_or_nan"] = unequal_or_nan
    flat = e.once(f"{y}.reshape(-1)")
    e.say(f"{squares} = vdot({flat}, {flat})")
    e.say(f"{compare} = not_equal if {squares} == {squares} else unequal_or_nan")
    parts = prepared(e, window_parts, x, **way_of(step))
    first, rest = (e.once(f"{parts}[{i}]") for i in ("0", "1:-1"))
    e.say(f"{compare}({first}, {y}, {missing.text})")
    e.say(f"copyto({place.text}, {missing.text})")
    if math.prod(step.settings["size"]) > 2:
        e.say(f"for a in {rest}:")
        e.say(f"    {compare}(a, {y}, {part.text})")
        e.say(f"    logical_and({missing.text}, {part.text}, {missing.text})")
        e.say(f"    add({place.text}, {missing.text}, {place.text})")
    given_back(e, missing, part, *taken)
    e.put(step.out, place)


def tiles(shape: tuple[int, ...], axes: Pair, size: Pair, stride: Pair) -> bool:
    """Whether every element is in one window, and in no other."""
    return size == stride and all(shape[a] % s == 0 for a, s in zip(axes, stride))


def _put_in_windows(e: Emitter, step: Step) -> None:
    """For each place in a window: what belongs there, times 1, and the rest of x, times 0."""
    x, best = step.operands
    bits = BITS.get(x.dtype)
    if bits is None:
        e.emit_call(step)
        return
    taken: list[Place] = []
    way = way_of(step)
    g, at = settled(e, x, taken), settled(e, best, taken)
    place = e.destination(step)
    mask = scratch(e, x.shape, bool)
    dtype, of = e.names_of_dtype(bits), e.names_of_dtype(best.dtype)
    parts = prepared(e, window_parts, place.text, **way)
    left = e.once(f"{g}.view({dtype})")
    apart = all(n <= s for n, s in zip(way["size"], way["stride"]))
    if not tiles(step.out.shape, **way):
        e.say(f"{place.text}.fill(0)")
    if apart:
        e.say(f"for i, a in {prepared(e, numbered, parts, of, dtype)}:")
        e.say(f"    equal({at}, i, {mask.text})")
        e.say(f"    multiply({left}, {mask.text}, a)")
    else:
        own = scratch(e, x.shape, x.dtype)
        e.say(f"for i, a in enumerate({parts}):")
        e.say(f"    equal({at}, i, {mask.text})")
        e.say(f"    multiply({left}, {mask.text}, {e.once(f'{own.text}.view({dtype})')})")
        e.say(f"    add(a, {own.text}, a)")
        taken.append(own)
    given_back(e, mask, *taken)
    e.put(step.out, place)


def _sum_unpool(e: Emitter, step: Step) -> None:
    (x,) = step.operands
    way = way_of(step)
    place = e.destination(step)
    parts = prepared(e, window_parts, place.text, **way)
    if tiles(step.out.shape, **way):
        e.say(f"for a in {parts}: copyto(a, {e.places[x].text})")
    else:
        e.say(f"{place.text}.fill(0)")
        e.say(f"for a in {parts}: add(a, {e.places[x].text}, a)")
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
    "pad": _pad,
    "im2col": _im2col,
    "col2im": _col2im,
    "max_pool": _pool,
    "sum_pool": _pool,
    "argmax_pool": _argmax_pool,
    "put_in_windows": _put_in_windows,
    "sum_unpool": _sum_unpool,
}
