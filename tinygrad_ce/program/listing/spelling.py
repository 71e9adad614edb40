"""Operations on windows of images as a listing spells them: with NumPy's sliding windows."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_ce.engine.table import window_counts
from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.passes.rewriter import Rewriter, Rule, on


def with_windows_spelt_out(program: Program, exact: bool) -> Program:
    """Columns, maxima and their places from `sliding_window_view`.

    What is `exact` lies in memory as eager code has it, which decides in what order later sums are
    added up; else the sum of a window is a sum over its last two axes.
    """
    rules: tuple[Rule, ...] = (columns, over_windows, place)
    if exact:  # a sum is added up window by window
        largest = Rule(over_windows.apply, frozenset(["max_pool"]))
        rules = (in_order(columns), in_order(largest), place_in_order)
    return Rewriter(program).run(added_columns, *rules)


def windows_of(r: Rewriter, step: Step, axes: tuple[int, int]) -> Var:
    """Every window that a step looks at; its elements are the last two axes."""
    x, s = step.operands[0], step.attrs
    size, stride, dilation = s["size"], s["stride"], s.get("dilation", (1, 1))
    spans = tuple((k - 1) * d + 1 for k, d in zip(size, dilation))
    shape = list(x.shape)
    shape[axes[0]], shape[axes[1]] = window_counts(x.shape, axes, spans, (1, 1))
    every = Var((*shape, *spans), x.dtype, False)
    every = r.make("windows", (x,), every, window=spans, axes=axes)
    if stride == dilation == (1, 1):
        return every
    index: list[Any] = [slice(None)] * len(shape)
    counts = window_counts(x.shape, axes, size, stride, dilation)
    for axis, by, count in zip(axes, stride, counts):
        index[axis], shape[axis] = slice(None, None, by), count
    index += [slice(None, None, d) for d in dilation]
    some = Var((*shape, *size), x.dtype, False)
    return r.make("slice", (every,), some, index=tuple(index))


@on("im2col")
def columns(r: Rewriter, step: Step) -> Step:
    """The windows with their axes in another order, as a matrix."""
    w = windows_of(r, step, (1, 2))
    axes = (0, 4, 5, 1, 2, 3)
    rows = Var(tuple(w.shape[a] for a in axes), w.dtype, False)
    rows = r.make("transpose", (w,), rows, axes=axes)
    attrs = {"shape": step.out.shape}
    return step._replace(op="reshape", operands=(rows,), attrs=attrs)


@on("col2im")
def added_columns(r: Rewriter, step: Step) -> Step | None:
    """The same of columns with an axis for each place in a window."""
    (x,), s = step.operands, step.attrs
    if len(x.shape) != 2:
        return None
    c, _, _, n = s["full"]
    counts = window_counts(s["full"], (1, 2), s["size"], s["stride"], s["dilation"])
    shape = (c, *s["size"], *counts, n)
    x = r.make("reshape", (x,), Var(shape, x.dtype, False), shape=shape)
    return step._replace(operands=(x,))


@on("max_pool", "sum_pool")
def over_windows(r: Rewriter, step: Step) -> Step:
    """The maximum or the sum over the elements of each window."""
    attrs = {"axis": (4, 5), "keepdims": False}
    windows = windows_of(r, step, step.attrs["axes"])
    return step._replace(op=step.op[:3], operands=(windows,), attrs=attrs)


@on("argmax_pool")
def place(r: Rewriter, step: Step) -> Step:
    """The place of the maximum in a row of the elements of each window."""
    w = windows_of(r, step, step.attrs["axes"])
    rows = Var((*w.shape[:4], math.prod(w.shape[4:])), w.dtype, False)
    rows = r.make("reshape", (w,), rows, shape=rows.shape)
    attrs = {"axis": 4, "keepdims": False}
    return step._replace(op="argmax", operands=(rows,), attrs=attrs)


@on("argmax_pool")
def place_in_order(r: Rewriter, step: Step) -> Step:
    """The same, its axes in memory in the order of those of the image."""
    best = place.apply(r, step)
    best = r.make(best.op, best.operands, step.out, **best.attrs)  # type: ignore[union-attr]
    return step._replace(op="like", operands=(best, step.operands[0]), attrs={})


def in_order(rule: Rule) -> Rule:
    """The rule for an array in one piece."""

    def apply(r: Rewriter, step: Step) -> Step:
        spelt = rule.apply(r, step)
        y = r.make(spelt.op, spelt.operands, step.out, **spelt.attrs)  # type: ignore[union-attr]
        return step._replace(op="contiguous", operands=(y,), attrs={})

    return Rule(apply, rule.ops)
