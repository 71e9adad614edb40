"""Passes that recognise what composed functions and their gradients come from.

Onehot, softmax − onehot, sigmoid and its slope, sigmoid − y, relu; numbers that are Python's. They
round otherwise than the steps that they stand for, and are checked.
"""

from __future__ import annotations

import numpy as np

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.ops import UFUNCS
from tinygrad_ce.program.passes.exact import TIDY, reduced_axes, sweep
from tinygrad_ce.program.passes.patterns import is_float, rules
from tinygrad_ce.program.passes.rewriter import Rewriter, counts_up, fresh, on

ARITHMETIC = ("add", "subtract", "multiply", "divide", "negative", "power")

# --- recognised: onehot, softmax, sigmoid, relu -------------------------------------------------


def with_onehot(program: Program) -> Program:
    """One number put at the class of each row is that number times onehot.

    Only for classes that the program has checked: a negative one would be no class.
    """
    checked = {s.operands[0]: s.attrs for s in program.steps if s.op == "all_within"}

    @on("scatter", after="number")
    def onehot(r: Rewriter, step: Step) -> Step | None:
        if not one_in_each_row(r, step) or (limits := checked.get(step.operands[2])) is None:
            return None
        value, _, classes = step.operands
        n, width = step.out.shape
        if limits["low"] < 0 or limits["high"] >= width or limits["also"] is not None:
            return None
        if classes.shape != (n,):  # else the number is the value
            return None
        column = r.make("reshape", (classes,), Var((n, 1), classes.dtype, False), shape=(n, 1))
        truth = Var((n, width), np.dtype(bool), False)
        onehot = r.make("equal", (column, r.constant(np.arange(width))), truth)
        return step._replace(op="multiply", operands=(value, onehot), attrs={})

    return Rewriter(program).run(onehot)


def one_in_each_row(r: Rewriter, scatter: Step) -> bool:
    """Whether a scatter puts one value into each row of a matrix."""
    shape, (_, *ids) = scatter.attrs["shape"], scatter.operands
    if len(shape) != 2 or len(ids) != 2 or len(scatter.attrs["index"]) != 2:
        return False
    return counts_up(r.constants, ids[0], shape[0]) and ids[1].shape in ((), (1,), ids[0].shape)


@on("negative", after="scatter")
def _negated_scatter(r: Rewriter, step: Step) -> Step:
    scatter = r.makers[step.operands[0]]
    value, *ids = scatter.operands
    negated = r.put(step._replace(out=fresh(value), operands=(value,)))
    return scatter._replace(out=step.out, operands=(negated, *ids))


@on("sum", after="scatter")
def _onehot_sum(r: Rewriter, step: Step) -> Var | Step | None:
    scatter = r.makers[step.operands[0]]
    if not one_in_each_row(r, scatter) or reduced_axes(step) != {1}:
        return None
    value, n = scatter.operands[0], step.out.shape[0]
    if value.shape != (n,):
        row = Var((n,), value.dtype, False)
        value = r.put(r.like_here(row, "broadcast_to", (value,), {"shape": (n,)}))
    return step._replace(op="reshape", operands=(value,), attrs={"shape": step.out.shape})


@on("scatter", after="broadcast_to")
def _scatter_of_repeats(r: Rewriter, step: Step) -> Step | None:
    """One number put in every place needs no row of copies."""
    value, *ids = step.operands
    repeats = r.maker(value, "broadcast_to")
    if repeats is None or repeats.operands[0].shape:
        return None
    return step._replace(operands=(*repeats.operands, *ids))


# The row sums of an array with one value in each row are those values.
with_onehot_sums_read_off = sweep(
    "with_onehot_sums_read_off", _negated_scatter, _onehot_sum, _scatter_of_repeats, *TIDY
)

SIDE = "(side := 1 - 2 * truth(z >= 0))"  # -1 where z >= 0, else 1; e = exp(side * z)
P = "where(z >= 0, 1, e) / s"  # 1 / (1 + exp(-z)), with s = 1 + e

with_activations = sweep(
    "with_activations",
    *rules(
        f"(truth(z >= 0) - y) + {SIDE} * ((e := exp(u)) / (s := e + 1)) -> {P} - y",
        f"{SIDE} * z -> -absolute(z)",
        "relu(x) -> maximum(x, 0)",
        "masked(g, (h := maximum(x, 0)) != 0) -> g * (h > 0)",
    ),
)
with_sigmoid = sweep(
    "with_sigmoid",
    *rules(
        f"{SIDE} * (e / (s := e + 1)) + truth(z >= 0) -> {P}",
        f"(q := e / (s := e + 1)) * ((t := g * {SIDE}) - t * q) * side"
        f" -> g * known({P}) * (1 - {P})",
    ),
)


@on("add", "subtract", "multiply", after="astype")
def _cast_truth(r: Rewriter, step: Step) -> Step | None:
    """Next to floats, true is 1 and false is 0 without being told."""
    for i, (x, other) in enumerate(zip(step.operands, step.operands[::-1])):
        cast = r.maker(x, "astype")
        if cast is None or cast.operands[0].dtype != bool or other.dtype != step.out.dtype:
            continue
        if other not in r.constants and not x.name:
            truth = cast.operands[0]
            return step._replace(operands=(truth, other) if i == 0 else (other, truth))
    return None


with_truth_as_numbers = sweep("with_truth_as_numbers", _cast_truth)

# --- scalars ----------------------------------------------------------------------------------


def readers_of(program: Program) -> dict[Var, list[Step]]:
    """The steps that read each value."""
    readers: dict[Var, list[Step]] = {}
    for step in program.steps:
        for x in step.operands:
            readers.setdefault(x, []).append(step)
    return readers


def numbers_for_python(program: Program, readers: dict[Var, list[Step]]) -> set[Var]:
    """The float64 numbers that nobody could tell from Python's: what reads them is such a number
    itself, calculates in float64 anyway, or asks for another dtype.
    """
    results = set(program.roots())
    given = {x for x in program.given() if x.dtype is None and x not in program.constants}
    numbers = given | {
        s.out for s in program.steps
        if not s.out.shape and s.out not in results and s.out.dtype in (None, np.float64)
        and (s.op in (*ARITHMETIC, "sqrt") or is_cast(s))
    }  # fmt: skip

    def plain(x: Var) -> bool:
        return x in numbers or (x in program.constants and not x.shape)

    def sees_none(step: Step) -> bool:
        if step.out in numbers or step.op == "astype":
            return True
        others = [x.dtype for x in step.operands if not plain(x)]
        return step.op in UFUNCS and all(d is not None and d == np.float64 for d in others)

    def fits(step: Step) -> bool:
        known = is_cast(step) or (
            all(map(plain, step.operands)) and any(x in numbers for x in step.operands)
        )
        return known and all(map(sees_none, readers.get(step.out, ())))

    count = -1
    while count != len(numbers):
        count = len(numbers)
        for step in (*program.steps, *reversed(program.steps)):  # chains are long
            if step.out in numbers and not fits(step):
                numbers.remove(step.out)
    return numbers - given


def is_cast(step: Step) -> bool:
    """Whether a step makes a number a float64."""
    return step.op == "astype" and step.attrs["dtype"] == np.float64


def with_scalars_as_python_floats(program: Program) -> Program:
    """Numbers made from settings and counters are Python's: they take what they meet as dtype."""
    r = Rewriter(program)
    readers = readers_of(program)
    python = numbers_for_python(program, readers)
    results = set(program.roots())

    def as_python(x: Var) -> Var:
        if x not in r.constants:
            return r.renamed.get(x, x)
        return r.constant(np.asarray(r.constants[x]).item())

    def rule(_: Rewriter, step: Step) -> Var | Step | None:
        x = step.operands[0] if step.operands else None
        if x is None:
            return None
        number = Var((), None, True, step.out.name)
        if step.op == "astype" and x.dtype is None and is_float(step.out):
            meets = (
                any(o.shape and o.dtype == step.out.dtype for o in s.operands)
                for s in readers.get(step.out, ())
            )
            unseen = step.out not in results and all(meets)
            return x if step.out in python or unseen else None
        if step.out not in python:
            return None
        if step.op == "astype":
            return r.add(step._replace(out=number, op="float", attrs={}))
        operands = tuple(map(as_python, step.operands))
        if step.op == "sqrt":
            step, operands = step._replace(op="power"), (*operands, r.constant(0.5))
        return r.add(step._replace(out=number, operands=operands))

    return r.run(rule)
