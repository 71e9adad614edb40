"""Operations on windows of images as a listing spells them: with NumPy's sliding windows."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_ce.engine.table import window_counts
from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.passes.rewriter import Rewriter, on


def with_windows_spelt_out(program: Program, exact: bool) -> Program:
    """Columns, maxima and their places from `sliding_window_view`.

    What is `exact` lies in memory as eager code has it, which decides in what order later sums are
    added up; else the sum of a window is a sum over its last two axes.
    """
    ordered = on("max_pool")(_largest_in_order), on("argmax_pool")(_place_in_order)
    plain = on("max_pool")(_largest), on("argmax_pool")(_place), on("sum_pool")(_sum)
    return Rewriter(program).run(_columns, _add_columns, *(ordered if exact else plain))


def windows_of(r: Rewriter, step: Step, axes: tuple[int, int]) -> Var:
    """Every window that a step looks at; its elements are the last two axes."""
    x, s = step.operands[0], step.settings
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
    for axis, step_, count in zip(axes, stride, counts):
        index[axis], shape[axis] = slice(None, None, step_), count
    index += [slice(None, None, d) for d in dilation]
    some = Var((*shape, *size), x.dtype, False)
    return r.make("slice", (every,), some, index=tuple(index))


@on("im2col")
def _columns(r: Rewriter, step: Step) -> Step:
    w = windows_of(r, step, (1, 2))
    axes = (0, 4, 5, 1, 2, 3)
    turned = Var(tuple(w.shape[a] for a in axes), w.dtype, False)
    turned = r.make("transpose", (w,), turned, axes=axes)
    settings = {"shape": step.out.shape}
    return step._replace(op="reshape", operands=(turned,), settings=settings)


@on("col2im")
def _add_columns(r: Rewriter, step: Step) -> Step | None:
    if len(step.operands[0].shape) != 2:
        return None
    (x,), s = step.operands, step.settings
    c, _, _, n = s["full"]
    counts = window_counts(s["full"], (1, 2), s["size"], s["stride"], s["dilation"])
    shape = (c, *s["size"], *counts, n)
    x = r.make("reshape", (x,), Var(shape, x.dtype, False), shape=shape)
    return step._replace(operands=(x,))


def _largest(r: Rewriter, step: Step) -> Step:
    settings = {"axis": (4, 5), "keepdims": False}
    windows = windows_of(r, step, step.settings["axes"])
    return step._replace(op="max", operands=(windows,), settings=settings)


def _largest_in_order(r: Rewriter, step: Step) -> Step:
    largest = _largest(r, step)
    y = r.make("max", largest.operands, step.out, **largest.settings)
    return step._replace(op="contiguous", operands=(y,), settings={})


def _place(r: Rewriter, step: Step) -> Step:
    w = windows_of(r, step, step.settings["axes"])
    rows = Var((*w.shape[:4], math.prod(w.shape[4:])), w.dtype, False)
    rows = r.make("reshape", (w,), rows, shape=rows.shape)
    settings = {"axis": 4, "keepdims": False}
    return step._replace(op="argmax", operands=(rows,), settings=settings)


def _place_in_order(r: Rewriter, step: Step) -> Step:
    place = _place(r, step)
    best = r.make("argmax", place.operands, step.out, **place.settings)
    return step._replace(op="like", operands=(best, step.operands[0]), settings={})


def _sum(r: Rewriter, step: Step) -> Step:
    settings = {"axis": (4, 5), "keepdims": False}
    windows = windows_of(r, step, step.settings["axes"])
    return step._replace(op="sum", operands=(windows,), settings=settings)
