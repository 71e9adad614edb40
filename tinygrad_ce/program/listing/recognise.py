"""Passes that recognise what composed functions and their gradients come from.

Onehot, softmax − onehot, sigmoid and its slope, sigmoid − y, relu; numbers that are Python's. They
round otherwise than the steps that they stand for, and are checked.
"""

from __future__ import annotations

import numpy as np

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.listing.algebra import Algebra, floats
from tinygrad_ce.program.ops import UFUNCS
from tinygrad_ce.program.passes.exact import Rewriter, counts_up
from tinygrad_ce.program.passes.layout import mask_of_relu

ARITHMETIC = ("add", "subtract", "multiply", "divide", "negative", "power")

# --- recognised: softmax, sigmoid, relu -------------------------------------------------------


def with_onehot(program: Program) -> Program:
    """One number put at the class of each row is that number times onehot.

    Only for classes that the program has checked: a negative one would be no class.
    """
    return Algebra(program).run(_onehot)


def _onehot(r: Algebra, step: Step) -> Step | None:
    if step.op != "scatter" or len(step.operands) != 3 or r.number(step.operands[0]) is None:
        return None
    value, rows, classes = step.operands
    n, width = step.settings["shape"][0], step.settings["shape"][-1]
    checked = {s.operands[0]: s.settings for s in r.program.steps if s.op == "all_within"}
    limits = checked.get(classes)
    if (
        not counts_up(r.constants, rows, n)
        or len(step.out.shape) != 2
        or limits is None
        or classes.shape != (n,)
    ):
        return None
    if limits["low"] < 0 or limits["high"] >= width or limits["also"] is not None:
        return None
    column = r.make("reshape", (classes,), Var((n, 1), classes.dtype, False), shape=(n, 1))
    counted = r.constant(np.arange(width))
    onehot = r.make("equal", (column, counted), Var((n, width), np.dtype(bool), False))
    return step._replace(op="multiply", operands=(value, onehot), settings={})


def with_onehot_sums_read_off(program: Program) -> Program:
    """The row sums of an array with one value in each row are those values."""
    return Rewriter(program).run(_negated_scatter, _onehot_sum, _scatter_of_repeats)


def one_in_each_row(r: Rewriter, scatter: Step) -> bool:
    """Whether a scatter puts one value into each row of a matrix."""
    shape, arrays = scatter.settings["shape"], scatter.operands[1:]
    if len(shape) != 2 or len(arrays) != 2 or len(scatter.settings["index"]) != 2:
        return False
    rows, columns = arrays
    return counts_up(r.constants, rows, shape[0]) and columns.shape in ((), (1,), rows.shape)


def _negated_scatter(r: Rewriter, step: Step) -> Step | None:
    scatter = r.maker(step.operands[0], "scatter") if step.op == "negative" else None
    if scatter is None:
        return None
    value = scatter.operands[0]
    negated = r.make("negative", (value,), value)
    return scatter._replace(out=step.out, operands=(negated, *scatter.operands[1:]))


def _onehot_sum(r: Rewriter, step: Step) -> Var | Step | None:
    scatter = r.maker(step.operands[0], "scatter") if step.op == "sum" else None
    if scatter is None or not one_in_each_row(r, scatter):
        return None
    if step.settings["axis"] not in (1, -1, (1,), (-1,)):
        return None
    value = scatter.operands[0]
    n = scatter.settings["shape"][0]
    if value.shape != (n,):
        value = r.make("broadcast_to", (value,), Var((n,), value.dtype, False), shape=(n,))
    if not step.settings["keepdims"]:
        return value
    return step._replace(op="reshape", operands=(value,), settings={"shape": step.out.shape})


def _scatter_of_repeats(r: Rewriter, step: Step) -> Step | None:
    """One number put in every place needs no row of copies."""
    if step.op != "scatter" or not one_in_each_row(r, step):
        return None
    repeats = r.maker(step.operands[0], "broadcast_to")
    if repeats is None or repeats.operands[0].shape:
        return None
    return step._replace(operands=(repeats.operands[0], *step.operands[1:]))


def with_sides_as_absolutes(program: Program) -> Program:
    """(1 − 2·[x ≥ 0])·x is −|x|."""
    return Algebra(program).run(_side_times_x)


def positive_of(r: Rewriter, side: Var) -> tuple[Var, Var] | None:
    """(step, x) if `side` is 1 − 2·step and step is [x ≥ 0]."""
    minus = r.maker(side, "subtract")
    twice = r.maker(minus.operands[1], "multiply") if minus else None
    if minus is None or twice is None or r.number(minus.operands[0]) != 1.0:
        return None
    if r.number(twice.operands[0]) != 2.0:
        return None
    step = twice.operands[1]
    cast = r.maker(step, "astype")
    test = r.maker(cast.operands[0] if cast else step, "greater_equal")
    if test is None or r.number(test.operands[1]) != 0.0:
        return None
    return step, test.operands[0]


def _side_times_x(r: Algebra, step: Step) -> Step | None:
    if step.op != "multiply":
        return None
    found = positive_of(r, step.operands[0])
    if found is None or found[1] is not step.operands[1]:
        return None
    size = r.make("absolute", (step.operands[1],), step.out)
    return step._replace(op="negative", operands=(size,))


def with_sigmoid_minus_y(program: Program) -> Program:
    """[z ≥ 0] − y ± e/(1 + e), the gradient of binary cross-entropy, is p − y."""
    return Algebra(program).run(_sigmoid_minus_y)


def _sigmoid_minus_y(r: Algebra, step: Step) -> Step | None:
    if step.op != "add":
        return None
    for a, b in (step.operands, step.operands[::-1]):
        minus, sided = r.maker(a, "subtract"), r.maker(b, "multiply")
        if minus is None or sided is None:
            continue
        for share, side in (sided.operands, sided.operands[::-1]):
            found, quotient = positive_of(r, side), r.maker(share, "divide")
            if found is None or quotient is None or found[0] is not minus.operands[0]:
                continue
            e, below = quotient.operands
            one_more = r.maker(below, "add")
            if r.maker(e, "exp") and one_more and e in one_more.operands:
                return step._replace(
                    op="subtract", operands=(_sigmoid(r, found[1], e, below), minus.operands[1])
                )
    return None


def with_sigmoid(program: Program) -> Program:
    """e/(1 + e) or 1 − e/(1 + e), by the side of 0, is the sigmoid p; its slope is p·(1 − p)."""
    return Algebra(program).run(_sigmoid_forward, _sigmoid_slope)


def _sigmoid_forward(r: Algebra, step: Step) -> Step | None:
    if step.op != "add":
        return None
    sided = r.maker(step.operands[0], "multiply")
    found = positive_of(r, sided.operands[0]) if sided else None
    quotient = r.maker(sided.operands[1], "divide") if sided else None
    if found is None or quotient is None or found[0] is not step.operands[1]:
        return None
    p = _sigmoid(r, found[1], *quotient.operands)
    made = r.makers.pop(p)
    r.steps.remove(made)
    return made._replace(out=step.out)


def _sigmoid_slope(r: Algebra, step: Step) -> Step | None:
    """q·(d − d·q)·side with d = g·side and q = e/(1 + e): g·p·(1 − p)."""
    x = r.maker(step.operands[0], "multiply") if step.op == "multiply" else None
    if x is None or positive_of(r, side := step.operands[1]) is None:
        return None
    q, bracket = r.maker(x.operands[0], "divide"), r.maker(x.operands[1], "subtract")
    d = r.maker(bracket.operands[0], "multiply") if bracket else None
    dq = r.maker(bracket.operands[1], "multiply") if bracket else None
    if q is None or d is None or dq is None or dq.operands != (d.out, q.out):
        return None
    p = next((s.out for s in r.steps if s.op == "divide" and s.operands[1] is q.operands[1]
              and r.maker(s.operands[0], "where")), None)  # fmt: skip
    if p is None or d.operands[1] is not side:
        return None
    rest = r.make("subtract", (r.typed(1.0, p), p), p)
    first = r.make("multiply", (d.operands[0], p), step.out)
    return step._replace(operands=(first, rest))


def _sigmoid(r: Algebra, z: Var, e: Var, below: Var) -> Var:
    """where(z ≥ 0, 1, e) / (1 + e) with e = exp(−|z|)."""
    test = r.make("greater_equal", (z, r.typed(0.0, z)), Var(z.shape, np.dtype(bool), False))
    above = r.make("where", (test, r.typed(1.0, z), e), z)
    return r.make("divide", (above, below), z)


def with_relu(program: Program) -> Program:
    """The gradient of h = relu(x) passes where h > 0; h is maximum(x, 0)."""
    program = Algebra(program).run(_relu_gradient)
    return Algebra(program).run(_relu)


def _relu(r: Algebra, step: Step) -> Step | None:
    if step.op != "relu":
        return None
    (x,) = step.operands
    return step._replace(op="maximum", operands=(x, r.typed(0.0, x)))


def _relu_gradient(r: Algebra, step: Step) -> Step | None:
    h = mask_of_relu(r, step.operands[1]) if step.op == "masked" else None
    if h is None:
        return None
    passes = r.make("greater", (h, r.typed(0.0, h)), Var(h.shape, np.dtype(bool), False))
    return step._replace(op="multiply", operands=(step.operands[0], passes))


def with_truth_as_numbers(program: Program) -> Program:
    """Next to floats, true is 1 and false is 0 without being told."""
    return Algebra(program).run(_cast_truth)


def _cast_truth(r: Algebra, step: Step) -> Step | None:
    if step.op not in ("add", "subtract", "multiply") or len(step.operands) != 2:
        return None
    for i, (x, other) in enumerate((step.operands, step.operands[::-1])):
        cast = r.maker(x, "astype")
        if cast is None or cast.operands[0].dtype != bool or other.dtype != step.out.dtype:
            continue
        if other not in r.constants and not x.name:
            operands = (cast.operands[0], other) if i == 0 else (other, cast.operands[0])
            return step._replace(operands=operands)
    return None


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

    while True:
        wrong = {s.out for s in program.steps if s.out in numbers and not fits(s)}
        if not wrong:
            return numbers - given
        numbers -= wrong


def is_cast(step: Step) -> bool:
    """Whether a step makes a number a float64."""
    return step.op == "astype" and step.settings["dtype"] == np.float64


def with_scalars_as_python_floats(program: Program) -> Program:
    """Numbers made from settings and counters are Python's: they take what they meet as dtype."""
    r = Algebra(program)
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
        if step.op == "astype" and x.dtype is None and floats(step.out):
            meets = (
                any(o.shape and o.dtype == step.out.dtype for o in s.operands)
                for s in readers.get(step.out, ())
            )
            unseen = step.out not in results and all(meets)
            return x if step.out in python or unseen else None
        if step.out not in python:
            return None
        if step.op == "astype":
            return r.add(step._replace(out=number, op="float", settings={}))
        operands = tuple(map(as_python, step.operands))
        if step.op == "sqrt":
            return r.add(
                step._replace(out=number, op="power", operands=(*operands, r.constant(0.5)))
            )
        return r.add(step._replace(out=number, operands=operands))

    return r.run(rule)
