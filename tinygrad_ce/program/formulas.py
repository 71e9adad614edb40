"""Passes that write formulas as books do. They keep values but for rounding, and are checked so.

`x·c` and `x/c` are moved outward until like terms meet, and what is left of a composed function and
its gradient is recognised: softmax − onehot, sigmoid − y, relu. Each is a function from Program to
Program; `FORMULAS` is the order in which listings use them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.operations import ELEMENTWISE
from tinygrad_ce.program.passes import (
    Rewriter,
    same,
    with_common_steps_shared,
    with_constants_folded,
    with_plain_steps_left_out,
    without_dead_steps,
)

ROUNDS = 12
ARITHMETIC = ("add", "subtract", "multiply", "divide", "negative", "power")


class Algebra(Rewriter):
    """A Rewriter that knows how often values are read, and factors."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.counts = program.uses()
        self.looked_at = set(program.roots())

    def free(self, x: Var, op: str) -> Step | None:
        """The step that makes x, if x has no name and nobody else reads it."""
        step = self.maker(x, op)
        return step if step is not None and self.is_free(x) else None

    def is_free(self, x: Var) -> bool:
        """Whether x has no name and one reader, so that nobody misses it."""
        return not x.name and self.counts.get(x, 1) == 1 and x not in self.looked_at

    def factor(self, x: Var) -> tuple[float, Var]:
        """(c, y) with x = c·y; a value with a name or several readers stays whole."""
        step = self.makers.get(x)
        if step is None or not self.is_free(x) or (x.dtype is not None and x.dtype.kind != "f"):
            return 1.0, x
        if step.op == "negative":
            return -1.0, step.operands[0]
        if step.op in ("multiply", "divide"):
            a, b = step.operands
            if step.op == "multiply" and (c := self.number(a)) is not None and b.shape == x.shape:
                return c, b
            if (c := self.number(b)) and a.shape == x.shape:
                return c if step.op == "multiply" else 1 / c, a
        return 1.0, x

    def times(self, c: float, y: Var, step: Step) -> Step:
        """The step that makes c·y instead of what it made."""
        if c == -1.0:
            return step._replace(op="negative", operands=(y,), settings={})
        return step._replace(op="multiply", operands=(self.typed(c, step.out), y), settings={})

    def typed(self, c: float, like: Var) -> Var:
        """A constant number of the dtype of `like`."""
        return self.constant(c if like.dtype is None else like.dtype.type(c))


def going_back(rule: Any) -> Any:
    """A rule that leaves all but the backward pass as the user has written it."""
    return lambda r, step: rule(r, step) if step.scope[:1] == ("backward",) else None


def settled(program: Program, *rules: Any) -> Program:
    """Apply rules until nothing changes."""
    for _ in range(ROUNDS):
        before = [(s.op, s.operands) for s in program.steps]
        program = with_common_steps_shared(Algebra(program).run(*rules))
        if [(s.op, s.operands) for s in program.steps] == before:
            break
    return program


# --- exact: shapes ----------------------------------------------------------------------------


def with_numbers_for_uniform_arrays(program: Program) -> Program:
    """A constant array of equal elements is a number, where the other operand has the shape."""
    return Algebra(program).run(_uniform_operand)


def _uniform_operand(r: Rewriter, step: Step) -> Step | None:
    if step.op not in ELEMENTWISE and step.op != "scatter":
        return None
    operands = list(step.operands)
    for i, x in enumerate(operands):
        value = r.constants.get(x)
        if value is None or not np.ndim(value) or (step.op == "scatter" and i):
            continue
        array = np.asarray(value)
        others = [o.shape for j, o in enumerate(operands) if j != i]
        fits = step.op == "scatter" or np.broadcast_shapes(*others) == step.out.shape
        if array.size and fits and (array == array.flat[0]).all():
            operands[i] = r.constant(array.flat[0])
    return step._replace(operands=tuple(operands)) if operands != list(step.operands) else None


def with_reductions_along_rows(program: Program) -> Program:
    """The maximum down the columns of x.T is the one along the rows of x."""
    return with_plain_steps_left_out(Algebra(program).run(_reduction_of_transposed))


def _reduction_of_transposed(r: Rewriter, step: Step) -> Step | None:
    if step.op not in ("max", "min") or type(step.settings["axis"]) is not int:
        return None
    turned = r.maker(step.operands[0], "transpose")
    if turned is None or step.settings["keepdims"] or len(step.operands[0].shape) != 2:
        return None
    axis = turned.settings["axes"][step.settings["axis"]]
    return step._replace(operands=turned.operands, settings={"axis": axis, "keepdims": False})


def with_plain_rows(program: Program) -> Program:
    """A row that broadcasts needs no axis of size 1 in front."""
    return settled(program, _row_of_sums, _row_operands)


def _row_of_sums(r: Algebra, step: Step) -> Step | None:
    if step.op not in ("sum", "max", "min") or not step.settings["keepdims"]:
        return None
    x, axis = step.operands[0], step.settings["axis"]
    axes = range(len(x.shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if sorted(a % len(x.shape) for a in axes) != list(range(len(tuple(axes)))):
        return None
    small = Var(x.shape[len(tuple(axes)) :], x.dtype, False)
    small = r.make(step.op, (x,), small, axis=axis, keepdims=False)
    return step._replace(op="reshape", operands=(small,), settings={"shape": step.out.shape})


def _row_operands(r: Algebra, step: Step) -> Step | None:
    """f(row reshaped to (1, k), ...) is f(row, ...), reshaped if need be."""
    if step.op not in ELEMENTWISE:
        return None
    operands = []
    for x in step.operands:
        before = r.maker(x, "reshape")
        row = before.operands[0] if before is not None else x
        in_front = x.shape[: len(x.shape) - len(row.shape)]
        plain = before is not None and x.shape == (*in_front, *row.shape) and set(in_front) == {1}
        operands.append(row if plain else x)
    if operands == list(step.operands):
        return None
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    if shape == step.out.shape:
        return step._replace(operands=tuple(operands))
    small = r.make(step.op, tuple(operands), Var(shape, step.out.dtype, False), **step.settings)
    return step._replace(op="reshape", operands=(small,), settings={"shape": step.out.shape})


def with_turned_products(program: Program) -> Program:
    """(aᵀ b)ᵀ is bᵀ a."""
    return with_plain_steps_left_out(Algebra(program).run(_turned_product))


def _turned_product(r: Algebra, step: Step) -> Step | None:
    made = r.free(step.operands[0], "dot") if step.op == "transpose" else None
    if made is None or len(step.out.shape) != 2:
        return None
    a, b = (
        r.make("transpose", (x,), Var(x.shape[::-1], x.dtype, False), axes=(1, 0))
        for x in made.operands
    )
    return step._replace(op="dot", operands=(b, a), settings={})


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
    straight = rows in r.constants and np.array_equal(r.constants[rows], np.arange(n))
    if not straight or len(step.out.shape) != 2 or limits is None or classes.shape != (n,):
        return None
    if limits["low"] < 0 or limits["high"] >= width or limits["also"] is not None:
        return None
    column = r.make("reshape", (classes,), Var((n, 1), classes.dtype, False), shape=(n, 1))
    counted = r.constant(np.arange(width))
    onehot = r.make("equal", (column, counted), Var((n, width), np.dtype(bool), False))
    return step._replace(op="multiply", operands=(value, onehot), settings={})


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
                return step._replace(op="subtract", operands=(_sigmoid(r, found[1], e, below), minus.operands[1]))
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
    """x where x > 0 is maximum(x, 0); its gradient passes where that is > 0."""
    program = Algebra(program).run(_relu)
    return Algebra(program).run(_relu_gradient)


def _not_below(r: Rewriter, keep: Var) -> Var | None:
    """x of ~(x <= 0)."""
    not_ = r.maker(keep, "invert")
    test = r.maker(not_.operands[0], "less_equal") if not_ else None
    return test.operands[0] if test and r.number(test.operands[1]) == 0.0 else None


def _relu(r: Algebra, step: Step) -> Step | None:
    if step.op != "masked" or _not_below(r, step.operands[1]) is not step.operands[0]:
        return None
    x = step.operands[0]
    return step._replace(op="maximum", operands=(x, r.typed(0.0, x)))


def _relu_gradient(r: Algebra, step: Step) -> Step | None:
    x = _not_below(r, step.operands[1]) if step.op == "masked" else None
    if x is None:
        return None
    made = (s.out for s in r.steps if s.op == "maximum" and s.operands[0] is x)
    h = next((h for h in made if r.number(r.makers[h].operands[1]) == 0.0), x)
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


# --- algebra: scalar factors and common divisors ----------------------------------------------


def with_factors_outside(program: Program) -> Program:
    """Numbers move outward through products and sums until like terms meet.

    c·a·b, c·a/b, Σ c·x, c·a + c·b and x + b + b are c·(a·b), c·(a/b), c·Σ x, c·(a + b) and x + 2·b.
    """
    rules = (_product, _reciprocal, _sum, _like_terms, _twice, _negated)
    return settled(program, *map(going_back, rules))


def floats(*xs: Var) -> bool:
    """Whether all of these are arrays of floats or Python numbers."""
    return all(x.dtype is None or x.dtype.kind == "f" for x in xs)


def _product(r: Algebra, step: Step) -> Step | None:
    if step.op not in ("multiply", "divide") or not floats(step.out):
        return None
    (ca, a), (cb, b) = map(r.factor, step.operands)
    if step.op == "multiply" and (k := r.number(step.operands[0])) is not None and cb != 1.0:
        return r.times(k * cb, b, step)
    if (k := r.number(step.operands[1])) and ca != 1.0:
        return r.times(k * ca if step.op == "multiply" else ca / k, a, step)
    if ca == cb == 1.0 or r.number(step.operands[0]) is not None or not (floats(a) or floats(b)):
        return None
    c = ca * cb if step.op == "multiply" else ca / cb
    if c == 1.0:
        return step._replace(operands=(a, b))
    return r.times(c, r.make(step.op, (a, b), step.out), step)


def _reciprocal(r: Algebra, step: Step) -> Step | None:
    """(c/s)·x is c·(x/s)."""
    if step.op != "multiply" or not floats(*step.operands):
        return None
    for quotient, x in (step.operands, step.operands[::-1]):
        made = r.maker(quotient, "divide")
        if made is None or quotient.name or x.shape != step.out.shape or r.number(x) is not None:
            continue
        if (c := r.number(made.operands[0])) is not None:
            return r.times(c, r.make("divide", (x, made.operands[1]), step.out), step)
    return None


def _sum(r: Algebra, step: Step) -> Step | None:
    if step.op != "sum" or not floats(step.out):
        return None
    c, x = r.factor(step.operands[0])
    if c == 1.0 or not same(x, step.operands[0]):
        return None
    return r.times(c, r.make("sum", (x,), step.out, **step.settings), step)


def _like_terms(r: Algebra, step: Step) -> Step | None:
    if step.op not in ("add", "subtract") or not floats(step.out):
        return None
    (ca, a), (cb, b) = map(r.factor, step.operands)
    cb = cb if step.op == "add" else -cb
    if not (floats(a) or floats(b)):
        return None
    if abs(ca) == abs(cb) != 1.0 or ca == cb == -1.0:
        c = max(ca, cb)
        if ca == cb:
            return r.times(c, r.make("add", (a, b), step.out), step)
        pair = (a, b) if ca > 0 else (b, a)
        return r.times(c, r.make("subtract", pair, step.out), step)
    if ca == -1.0 and cb == 1.0:
        return step._replace(op="subtract", operands=(b, a))
    if cb < 0 and step.op == "add" and floats(b):
        y = b if cb == -1.0 else r.make("multiply", (r.typed(-cb, step.out), b), step.operands[1])
        return step._replace(op="subtract", operands=(step.operands[0], y))
    return None


def _twice(r: Algebra, step: Step) -> Step | None:
    if step.op == "add" and floats(step.out) and step.operands[0] is step.operands[1]:
        return r.times(2.0, step.operands[0], step)
    before = r.free(step.operands[0], "add") if step.op == "add" else None
    if before is None or before.operands[1] is not step.operands[1] or not floats(step.out):
        return None
    b = step.operands[1]
    both = r.make("multiply", (r.typed(2.0, b), b), b)
    return step._replace(operands=(before.operands[0], both))


def _negated(r: Algebra, step: Step) -> Step | None:
    if step.op != "negative" or not floats(step.out):
        return None
    c, x = r.factor(step.operands[0])
    return r.times(-c, x, step) if c not in (1.0, -1.0) and floats(x) else None


def with_common_divisors(program: Program) -> Program:
    """a/s + b/s is (a + b)/s, Σ x/s is (Σ x)/s where s stays the same, (a/s)·b is a·b/s."""
    rules = (_sum_of_quotients, _known_quotient, _product_of_quotient, _one_divisor)
    return settled(program, *map(going_back, rules))


def _sum_of_quotients(r: Algebra, step: Step) -> Step | None:
    made = r.free(step.operands[0], "divide") if step.op == "sum" else None
    if made is None or made.operands[0].shape != made.out.shape:
        return None
    x, s = made.operands
    axis = step.settings["axis"]
    axes = axis if isinstance(axis, tuple) else (axis,)
    in_front = None not in axes and sorted(axes) == list(range(len(axes)))
    if not (s.shape == step.out.shape and (step.settings["keepdims"] or in_front)):
        return None
    total = r.make("sum", (x,), step.out, **step.settings)
    return step._replace(op="divide", operands=(total, s), settings={})


def _known_quotient(r: Algebra, step: Step) -> Step | None:
    """(a/s)·x is a·y where y = x/s is there already."""
    if step.op != "multiply":
        return None
    for quotient, x in (step.operands, step.operands[::-1]):
        made = r.free(quotient, "divide")
        if made is None:
            continue
        for known in r.steps:
            there = known.op == "divide" and known.operands == (x, made.operands[1])
            if there and not r.free(known.out, "divide"):
                return step._replace(operands=(known.out, made.operands[0]))
    return None


def _product_of_quotient(r: Algebra, step: Step) -> Step | None:
    if step.op != "multiply" or not floats(*step.operands):
        return None
    for quotient, x in (step.operands, step.operands[::-1]):
        made = r.free(quotient, "divide")
        if made is None or r.number(x) is not None or r.number(made.operands[1]) is not None:
            continue
        a, s = made.operands
        if r.number(a) is None and np.broadcast_shapes(a.shape, x.shape) == step.out.shape:
            pair = (x, a) if x.dtype is None else (a, x)
            return step._replace(op="divide", operands=(r.make("multiply", pair, step.out), s))
    return None


def _one_divisor(r: Algebra, step: Step) -> Step | None:
    if step.op not in ("add", "subtract"):
        return None
    made = [r.free(x, "divide") for x in step.operands]
    scaled = [r.free(x, "multiply") for x in step.operands]
    if made[0] and scaled[1] and (c := r.number(scaled[1].operands[0])) is not None:
        inner = r.free(scaled[1].operands[1], "divide")
        if inner and inner.operands[1] is made[0].operands[1]:
            y = r.make("multiply", (r.typed(c, step.out), inner.operands[0]), step.out)
            pair = (made[0].operands[0], y)
            return step._replace(op="divide", operands=(r.make(step.op, pair, step.out), inner.operands[1]))
    if not made[0] or not made[1] or made[0].operands[1] is not made[1].operands[1]:
        return None
    if made[0].operands[1] in r.constants:
        return None
    pair = (made[0].operands[0], made[1].operands[0])
    return step._replace(
        op="divide", operands=(r.make(step.op, pair, step.out), made[0].operands[1])
    )


def with_means(program: Program) -> Program:
    """c·(… Σ x …) with c = 1/n is … (Σ x / n) …: a mean of n numbers."""
    return Algebra(program).run(going_back(_mean))


def _mean(r: Algebra, step: Step) -> Step | None:
    if step.op != "multiply" or (c := r.number(step.operands[0])) is None or not floats(step.out):
        return None
    inner = _with_mean(r, step.operands[1], abs(c))
    if inner is None:
        return None
    if c < 0:
        return step._replace(op="negative", operands=(inner,))
    made = r.makers[inner]
    r.steps.remove(made)
    return made._replace(out=step.out)


def _with_mean(r: Algebra, x: Var, c: float) -> Var | None:
    """c·x with c moved onto a sum of 1/c numbers, if there is one."""
    made = r.makers.get(x)
    if made is None or not r.is_free(x):
        return None
    if made.op == "sum":
        n = made.operands[0].size / max(x.size, 1)
        if not math.isclose(c * n, 1.0, rel_tol=1e-6):
            return None
        return r.make("divide", (x, r.typed(n, x)), x)
    if made.op in ("multiply", "divide"):
        for i, operand in enumerate(made.operands[: 2 if made.op == "multiply" else 1]):
            if (found := _with_mean(r, operand, c)) is not None:
                operands = (*made.operands[:i], found, *made.operands[i + 1 :])
                return r.make(made.op, operands, x)
    return None


def with_divisions(program: Program) -> Program:
    """x·(1/n) for a whole number n is x/n."""
    return Algebra(program).run(going_back(_division))


def _division(r: Algebra, step: Step) -> Step | None:
    if step.op != "multiply" or not floats(step.out):
        return None
    for a, b in (step.operands, step.operands[::-1]):
        c = r.number(a)
        if c is None or not 0 < abs(c) < 1 or b in r.constants:
            continue
        n = round(1 / c)
        if math.isclose(c * n, 1.0, rel_tol=1e-6) and abs(n) > 1:
            divided = step._replace(op="divide", operands=(b, r.typed(float(abs(n)), step.out)))
            if n > 0:
                return divided
            small = r.make("divide", divided.operands, step.out)
            return step._replace(op="negative", operands=(small,))
    return None


def with_numbers_first(program: Program) -> Program:
    """0.9·m and 1 + e, not m·0.9 and e + 1."""
    return Algebra(program).run(_number_first)


def _number_first(r: Algebra, step: Step) -> Step | None:
    if step.op not in ("multiply", "add") or len(step.operands) != 2:
        return None
    a, b = step.operands
    c = r.number(b)
    if c is None or r.number(a) is not None or (step.op == "add" and (c != 1.0 or not floats(a))):
        return None
    return step._replace(operands=(b, a))


# --- scalars ----------------------------------------------------------------------------------


def with_scalars_as_python_floats(program: Program) -> Program:
    """Numbers made from settings and counters are Python's: they take the dtype of what they meet."""
    r = Algebra(program)
    readers: dict[Var, list[Step]] = {}
    for step in program.steps:
        for x in step.operands:
            readers.setdefault(x, []).append(step)
    results = set(program.roots())
    python = {s.var for s in program.settings}

    def plain(x: Var) -> bool:
        return x in python or (x in r.constants and np.ndim(r.constants[x]) == 0)

    def as_python(x: Var) -> Var:
        return x if x in python else r.constant(np.asarray(r.constants[x]).item())

    def rule(_: Rewriter, step: Step) -> Var | Step | None:
        x = step.operands[0] if step.operands else None
        if x is None or step.out in python or step.out.shape or step.out in results:
            return None
        number = Var((), None, True, step.out.name)
        if step.op == "astype" and step.settings["dtype"] == np.float64 and x not in python:
            python.add(number)
            return r.add(step._replace(out=number, op="float", settings={}))
        if step.op == "astype" and x in python and floats(step.out):
            meets = (any(o.shape and o.dtype == step.out.dtype for o in s.operands) for s in readers[step.out])
            return x if all(meets) else None
        if step.op not in (*ARITHMETIC, "sqrt") or not all(map(plain, step.operands)):
            return None
        if not any(o in python for o in step.operands) or step.out.dtype not in (None, np.float64):
            return None
        operands = tuple(map(as_python, step.operands))
        python.add(number)
        if step.op == "sqrt":
            return r.add(step._replace(out=number, op="power", operands=(*operands, r.constant(0.5))))
        return r.add(step._replace(out=number, operands=operands))

    return r.run(rule)


FORMULAS = (
    with_reductions_along_rows,
    with_numbers_for_uniform_arrays,
    with_plain_rows,
    with_turned_products,
    with_common_steps_shared,
    with_onehot,
    with_factors_outside,
    with_sigmoid_minus_y,
    with_sides_as_absolutes,
    with_relu,
    with_scalars_as_python_floats,
    with_common_divisors,
    with_factors_outside,
    with_common_divisors,
    with_sigmoid,
    with_truth_as_numbers,
    with_means,
    with_divisions,
    with_numbers_first,
    with_constants_folded,
    with_plain_steps_left_out,
    with_common_steps_shared,
    without_dead_steps,
)
