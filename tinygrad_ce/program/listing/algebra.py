"""Passes of algebra: shapes that are plainer, factors that move outward, divisors in common.

Those of shapes keep every value to the last bit; those of factors and divisors round otherwise,
and change the backward pass only: the forward pass stays as the user has written it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.ops import ELEMENTWISE
from tinygrad_ce.program.passes.exact import (
    Rewriter,
    same_form,
    with_common_steps_shared,
    with_plain_steps_left_out,
)

Rule = Callable[[Any, Step], Var | Step | None]
ROUNDS = 12


class Algebra(Rewriter):
    """A Rewriter that knows how often values are read, and factors."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.counts = program.uses()
        self.looked_at = set(program.roots())

    def run(self, *rules: Rule) -> Program:
        """Apply the first rule that has something to say to each step, until none has."""
        return super().run(*rules)

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


def going_back(rule: Rule) -> Rule:
    """A rule that leaves all but the backward pass as the user has written it."""
    return lambda r, step: rule(r, step) if step.scope[:1] == ("backward",) else None


def settled(program: Program, *rules: Rule) -> Program:
    """Apply rules until nothing changes."""
    for _ in range(ROUNDS):
        before = [(s.op, s.operands) for s in program.steps]
        program = with_common_steps_shared(Algebra(program).run(*rules))
        if [(s.op, s.operands) for s in program.steps] == before:
            break
    return program


def floats(*xs: Var) -> bool:
    """Whether all of these are arrays of floats or Python numbers."""
    return all(x.dtype is None or x.dtype.kind == "f" for x in xs)


# --- shapes ----------------------------------------------------------------------------


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


# --- scalar factors and common divisors ----------------------------------------------


def with_factors_outside(program: Program) -> Program:
    """Numbers move outward through products and sums until like terms meet.

    c·a·b, c·a/b, Σ c·x, c·a + c·b and x + b + b are c·(a·b), c·(a/b), c·Σ x, c·(a + b) and x + 2·b.
    """
    rules = (_product, _reciprocal, _sum, _like_terms, _twice, _negated)
    return settled(program, *map(going_back, rules))


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
    if c == 1.0 or not same_form(x, step.operands[0]):
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
            return step._replace(
                op="divide", operands=(r.make(step.op, pair, step.out), inner.operands[1])
            )
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
