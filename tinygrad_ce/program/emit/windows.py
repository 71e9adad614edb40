"""How operations on windows of images are written: one place inside the window after the other.

The views of all places are taken before the first run, so that a run only copies, adds or compares
whole arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_ce.engine.table import Pair, window_counts, window_parts
from tinygrad_ce.program.emit.memory import Kernel, Plan
from tinygrad_ce.program.emit.text import Printer
from tinygrad_ce.program.ir import Step, Var
from tinygrad_ce.program.ops import BITS

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


def prepared(p: Printer, function: Callable[..., Any], *texts: str, **attrs: Any) -> str:
    """The name of what `function` gives before the first run."""
    p.names[function.__name__] = function
    words = [*texts, *(f"{k}={v!r}" for k, v in attrs.items())]
    return p.hoist(f"{function.__name__}({', '.join(words)})", "parts")


def unsettled(plan: Plan, step: Step) -> list[Var]:
    """Memory for copies of the operands that lie elsewhere in each run, or with gaps."""
    places = [(x, plan.places[x]) for x in step.operands]
    return [Var(x.shape, x.dtype, False) for x, p in places if not (p.static and p.contiguous)]


def settled(p: Printer, step: Step) -> tuple[list[str], list[str]]:
    """The operands where they lie in every run, and the memory that is left for the step."""
    spare = iter([p.at(x) for x in p.plan.scratch[step.out]])
    texts = []
    for x in step.operands:
        place = p.plan.places[x]
        texts.append(p.at(x) if place.static and place.contiguous else next(spare))
        if texts[-1] != p.at(x):
            p.line(f"copyto({texts[-1]}, {p.at(x)})")
    return texts, list(spare)


def way_of(step: Step) -> dict[str, Any]:
    """The attributes of a step that say which windows there are."""
    return {k: v for k, v in step.attrs.items() if k != "full"}


def im2col(p: Printer, step: Step) -> None:
    """Each place in a window is some rows of the columns."""
    (x,), _ = settled(p, step)
    pairs = prepared(p, columns_and_parts, p.at(step.out), x, **way_of(step))
    p.line(f"for a, b in {pairs}: copyto(a, b)")


def col2im(p: Printer, step: Step) -> None:
    """Rows of the columns, added where they were taken."""
    (x,), _ = settled(p, step)
    pairs = prepared(p, columns_and_parts, x, p.at(step.out), **way_of(step))
    p.line(f"{p.at(step.out)}.fill(0)")
    p.line(f"for a, b in {pairs}: add(b, a, b)")


def several(plan: Plan, step: Step) -> bool:
    """Whether a window has more than one element."""
    return bool(step.attrs["size"] != (1, 1))


def pool(p: Printer, step: Step) -> None:
    """The largest of each window, or the sum."""
    (x,), _ = settled(p, step)
    y, word = p.at(step.out), "maximum" if step.op == "max_pool" else "add"
    parts = prepared(p, window_parts, x, **way_of(step))
    first, second, rest = (p.hoist(f"{parts}[{i}]") for i in ("0", "1", "2:"))
    p.line(f"{word}({first}, {second}, out={y})")
    if math.prod(step.attrs["size"]) > 2:
        p.line(f"for a in {rest}: {word}({y}, a, out={y})")


def two_masks(plan: Plan, step: Step) -> list[Var]:
    """Memory for two arrays of truths."""
    masks = [Var(step.out.shape, np.dtype(bool), False) for _ in range(2)]
    return [*unsettled(plan, step), *masks]


def argmax_pool(p: Printer, step: Step) -> None:
    """How many elements of each window come before the first that is the largest."""
    (x, y), (missing, part) = settled(p, step)
    out = p.at(step.out)
    squares, compare = p.fresh(prefix="squares"), p.fresh(prefix="compare")
    p.names["unequal_or_nan"] = unequal_or_nan
    flat = p.hoist(f"{y}.reshape(-1)")
    p.line(f"{squares} = vdot({flat}, {flat})")
    p.line(f"{compare} = not_equal if {squares} == {squares} else unequal_or_nan")
    parts = prepared(p, window_parts, x, **way_of(step))
    first, rest = (p.hoist(f"{parts}[{i}]") for i in ("0", "1:-1"))
    p.line(f"{compare}({first}, {y}, {missing})")
    p.line(f"copyto({out}, {missing})")
    if math.prod(step.attrs["size"]) > 2:
        p.line(f"for a in {rest}:")
        p.line(f"    {compare}(a, {y}, {part})")
        p.line(f"    logical_and({missing}, {part}, {missing})")
        p.line(f"    add({out}, {missing}, {out})")


def tiles(shape: tuple[int, ...], axes: Pair, size: Pair, stride: Pair) -> bool:
    """Whether every element is in one window, and in no other."""
    return size == stride and all(shape[a] % s == 0 for a, s in zip(axes, stride))


def overlap(step: Step) -> bool:
    """Whether an element may be in several windows."""
    return any(n > s for n, s in zip(step.attrs["size"], step.attrs["stride"]))


def mask_and_part(plan: Plan, step: Step) -> list[Var]:
    """Memory for truths, and for what is added where windows overlap."""
    x = step.operands[0]
    part = [Var(x.shape, x.dtype, False)] if overlap(step) else []
    return [*unsettled(plan, step), Var(x.shape, np.dtype(bool), False), *part]


def put_in_windows(p: Printer, step: Step) -> None:
    """For each place in a window: what belongs there, times 1, and the rest of x, times 0."""
    (x, best), (mask, *part) = settled(p, step)
    out, bits = p.at(step.out), p.dtype(BITS[step.operands[0].dtype])
    parts = prepared(p, window_parts, out, **way_of(step))
    left = p.hoist(f"{x}.view({bits})")
    if not tiles(step.out.shape, **way_of(step)):
        p.line(f"{out}.fill(0)")
    if part:
        p.line(f"for i, a in enumerate({parts}):")
        p.line(f"    equal({best}, i, {mask})")
        p.line(f"    multiply({left}, {mask}, {p.hoist(f'{part[0]}.view({bits})')})")
        p.line(f"    add(a, {part[0]}, a)")
    else:
        of = p.dtype(step.operands[1].dtype)
        p.line(f"for i, a in {prepared(p, numbered, parts, of, bits)}:")
        p.line(f"    equal({best}, i, {mask})")
        p.line(f"    multiply({left}, {mask}, a)")


def sum_unpool(p: Printer, step: Step) -> None:
    """x at every element of its window."""
    x, out = p.at(step.operands[0]), p.at(step.out)
    parts = prepared(p, window_parts, out, **way_of(step))
    if tiles(step.out.shape, **way_of(step)):
        p.line(f"for a in {parts}: copyto(a, {x})")
    else:
        p.line(f"{out}.fill(0)")
        p.line(f"for a in {parts}: add(a, {x}, a)")


def pad(p: Printer, step: Step) -> None:
    """x in the middle of a constant."""
    out, ends = p.at(step.out), zip(step.attrs["widths"], step.out.shape)
    inside = ", ".join(f"{before}:{n - after}" for (before, after), n in ends)
    p.line(f"{out}.fill({step.attrs['value']})")
    p.line(f"copyto({p.hoist(f'{out}[{inside}]')}, {p.at(step.operands[0])})")


def has_bits(plan: Plan, step: Step) -> bool:
    """Whether floats can be multiplied as integers."""
    return step.operands[0].dtype in BITS


KERNELS: dict[str, Kernel] = {
    "pad": Kernel(pad),
    "im2col": Kernel(im2col, scratch=unsettled),
    "col2im": Kernel(col2im, scratch=unsettled),
    "max_pool": Kernel(pool, several, scratch=unsettled),
    "sum_pool": Kernel(pool, several, scratch=unsettled),
    "argmax_pool": Kernel(argmax_pool, several, scratch=two_masks),
    "put_in_windows": Kernel(put_in_windows, has_bits, scratch=mask_and_part),
    "sum_unpool": Kernel(sum_unpool),
}
