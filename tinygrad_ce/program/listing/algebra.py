"""Passes of algebra: shapes that are plainer, factors that move outward, divisors in common.

Those of shapes keep every value to the last bit; those of factors and divisors round otherwise,
and change the backward pass only: the forward pass stays as the user has written it.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from tinygrad_ce.program.ir import Step, Var
from tinygrad_ce.program.ops import ELEMENTWISE
from tinygrad_ce.program.passes.exact import PLAIN, reduced_axes, sweep, transposed
from tinygrad_ce.program.passes.patterns import is_float, rules
from tinygrad_ce.program.passes.reassociate import transpose_of
from tinygrad_ce.program.passes.rewriter import Rewriter, on

ROUNDS = 12


# --- shapes ----------------------------------------------------------------------------


@on(*ELEMENTWISE, "scatter")
def _uniform_operand(r: Rewriter, step: Step) -> Step | None:
    """A constant array of equal elements is a number, where the other operand has the shape."""
    for i, x in enumerate(step.operands[:1] if step.op == "scatter" else step.operands):
        if not x.shape or not x.size or x not in r.constants:
            continue
        array = np.asarray(r.constants[x])
        others = (*step.operands[:i], *step.operands[i + 1 :])
        fits = step.op == "scatter" or shape_of(others) == step.out.shape
        if fits and (array == array.flat[0]).all():
            number = r.constant(array.flat[0])
            return step._replace(operands=(*others[:i], number, *others[i:]))
    return None


def shape_of(operands: tuple[Var, ...]) -> tuple[int, ...]:
    """The shape that operands have together."""
    return np.broadcast_shapes(*(x.shape for x in operands))


@on("sum", "max", "min")
def _row_of_sums(r: Rewriter, step: Step) -> Step | None:
    """A row that broadcasts needs no axis of size 1 in front."""
    n = len(axes := reduced_axes(step))
    if not step.attrs["keepdims"] or axes != set(range(n)):
        return None
    small = Var(step.out.shape[n:], step.out.dtype, False)
    attrs = {**step.attrs, "keepdims": False}
    row = r.put(step._replace(out=small, attrs=attrs))
    return step._replace(op="reshape", operands=(row,), attrs={"shape": step.out.shape})


@on(*ELEMENTWISE, after="reshape")
def _row_operands(r: Rewriter, step: Step) -> Step | None:
    """f(row reshaped to (1, k), ...) is f(row, ...), reshaped if need be."""

    def plain(x: Var) -> Var:
        row = made.operands[0] if (made := r.maker(x, "reshape")) else x
        in_front = x.shape[: len(x.shape) - len(row.shape)]
        return row if x.shape == (*in_front, *row.shape) and set(in_front) == {1} else x

    operands = tuple(map(plain, step.operands))
    if operands == step.operands:
        return None
    small = Var(shape_of(operands), step.out.dtype, False)
    if small.shape == step.out.shape:
        return step._replace(operands=operands)
    row = r.put(step._replace(out=small, operands=operands))
    return step._replace(op="reshape", operands=(row,), attrs={"shape": step.out.shape})


@on("transpose", after="dot")
def _transposed_product(r: Rewriter, step: Step) -> Step | None:
    """(aᵀ b)ᵀ is bᵀ a."""
    made = r.free(step.operands[0], "dot")
    if made is None or len(step.out.shape) != 2:
        return None
    a, b = made.operands
    return step._replace(op="dot", operands=(transpose_of(r, b), transpose_of(r, a)), attrs={})


with_numbers_for_uniform_arrays = sweep("with_numbers_for_uniform_arrays", _uniform_operand, *PLAIN)
with_plain_shapes = sweep(
    "with_plain_shapes", _row_of_sums, _row_operands, _transposed_product,
    transposed,
)  # fmt: skip

# --- scalar factors and common divisors ----------------------------------------------


def goes_back(step: Step) -> bool:
    """Whether a step makes floats in the backward pass."""
    return step.scope[:1] == ("backward",) and is_float(step.out)


backward = partial(rules, free=True, when=goes_back)

FACTORS = backward(
    "k * (c * x) -> (k * c) * x",
    "(c * x) / k -> (c / k) * x if k",
    "(c * a) * (d * b) -> (c * d) * (a * b)",
    "(c * a) * b -> c * (a * b) if number(b) is None",
    "(c * a) / (d * b) -> (c / d) * (a / b)",
    "(c * a) / b -> c * (a / b) if number(b) is None",
    "a / (d * b) -> (1 / d) * (a / b) if number(a) is None",
    "sum(c * x) -> c * sum(x)",
    "c * a + c * b -> c * (a + b)",
    "c * a - c * b -> c * (a - b) if c > 0",
    "c * a - c * b -> -c * (b - a) if c < 0",
    "c * a - d * b -> c * (a + b) if c == -d",
    "x + d * b -> x - -d * b if d < 0",
    "a + a -> 2 * a",
    "(x + b) + b -> x + 2 * b",
    "-(c * x) -> -c * x if c != -1",
)
RECIPROCALS = rules("(q := k / s) * x -> k * (x / s) if not q.name and number(x) is None"
                    " and x.shape == out.shape", when=goes_back)  # fmt: skip


# Numbers move outward through products and sums until like terms meet.
with_factors_outside = sweep("with_factors_outside", *FACTORS, *RECIPROCALS, rounds=ROUNDS)

DIVISORS = backward(
    "(a / s) * x -> known(x / s) * a",
    "(a / s) * x -> (x * a) / s if x.dtype is None and number(x) is None and number(s) is None",
    "(a / s) * x -> (a * x) / s if number(a) is None and number(x) is None and number(s) is None",
    "a / s + k * (b / s) -> (a + k * b) / s",
    "a / s - k * (b / s) -> (a - k * b) / s",
    "a / s + b / s -> (a + b) / s if number(s) is None",
    "a / s - b / s -> (a - b) / s if number(s) is None",
)


@on("sum", after="divide")
def _sum_of_quotients(r: Rewriter, step: Step) -> Step | None:
    """Σ x/s is (Σ x)/s where s stays the same."""
    made = r.free(step.operands[0], "divide") if goes_back(step) else None
    if made is None or made.operands[0].shape != made.out.shape:
        return None
    x, s = made.operands
    in_front = reduced_axes(step) == set(range(len(x.shape) - len(step.out.shape)))
    if s.shape != step.out.shape or not (step.attrs["keepdims"] or in_front):
        return None
    total = r.make("sum", (x,), step.out, **step.attrs)
    return step._replace(op="divide", operands=(total, s), attrs={})


with_common_divisors = sweep("with_common_divisors", _sum_of_quotients, *DIVISORS, rounds=ROUNDS)


# x·(1/n) for a whole number n is x/n; the sum of n numbers in a product is divided itself: a mean.
OF_ALL = "k > 0 and is_whole(1 / k) and round(1 / k) * t.size == x.size"
DIVISIONS = backward(
    "k * x -> -(-k * x) if k < 0 and number(x) is None and is_whole(-1 / k)",
    f"k * ((t := sum(x)) * a) -> (t / round(1 / k)) * a if {OF_ALL}",
    f"k * ((t := sum(x)) / s) -> (t / round(1 / k)) / s if {OF_ALL}",
    "k * x -> x / round(1 / k) if k > 0 and number(x) is None and is_whole(1 / k)",
)
NUMBERS_FIRST = rules("x * k -> k * x if number(x) is None", "x + 1 -> 1 + x if is_float(x)")
with_numbers_in_place = sweep("with_numbers_in_place", *DIVISIONS, *NUMBERS_FIRST)
