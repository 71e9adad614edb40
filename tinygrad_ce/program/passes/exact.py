"""Passes: small functions from Program to Program that keep every value to the last bit (-0.0
may become 0.0, where x + 0.0 is x).

What changes the order of additions stands in `reassociate.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.ops import ELEMENTWISE, evaluate
from tinygrad_ce.program.passes.patterns import rules
from tinygrad_ce.program.passes.rewriter import RANDOM, Rewriter, Rule, live, on

Pass = Callable[[Program], Program]
LARGEST_CONSTANT = 4096  # elements that folding may make: larger constants are computed each time


def without_dead_steps(program: Program) -> Program:
    """Drop the steps whose result nobody reads."""
    steps = live(program.steps, program.roots())
    return program if len(steps) == len(program.steps) else program.with_steps(steps)


# --- constants ----------------------------------------------------------------------------------


def _fold(r: Rewriter, step: Step) -> Var | None:
    """What rests on constants alone is computed now."""
    for x in step.operands:
        if x not in r.constants:
            return None
    if step.op in RANDOM or step.out.size > LARGEST_CONSTANT:
        return None
    return r.constant(evaluate(step.op, [r.constants[x] for x in step.operands], step.attrs))


def _fold_numbers(r: Rewriter, step: Step) -> Var | None:
    """The same, but a number that is repeated stays one number."""
    repeats = step.op == "broadcast_to" and step.out.shape
    return None if repeats else _fold(r, step)


# --- steps that change nothing --------------------------------------------------------------------


@on("transpose")
def transposed(r: Rewriter, step: Step) -> Var | Step | None:
    """A transpose that changes nothing, or comes after another."""
    (x,), axes = step.operands, step.attrs["axes"]
    if axes == tuple(range(len(axes))):
        return x
    before = r.maker(x, "transpose")
    if before is None:
        return None
    inner = before.attrs["axes"]
    return step._replace(operands=before.operands, attrs={"axes": tuple(inner[a] for a in axes)})


@on("reshape")
def _keepdims(r: Rewriter, step: Step) -> Step | None:
    """A sum whose axes come back as axes of size 1 is a sum that keeps them, and the reverse."""
    total = r.makers.get(step.operands[0])
    if total is None or total.op not in ("sum", "max", "min"):
        return None
    shape, reduced = total.operands[0].shape, reduced_axes(total)
    with_ones = tuple(1 if i in reduced else n for i, n in enumerate(shape))
    without = tuple(n for i, n in enumerate(shape) if i not in reduced)
    for wanted, keep in ((with_ones, True), (without, False)):
        if step.attrs["shape"] == wanted and total.attrs["keepdims"] is not keep:
            attrs = {**total.attrs, "keepdims": keep}
            return step._replace(op=total.op, operands=total.operands, attrs=attrs)
    return None


def reduced_axes(step: Step) -> set[int]:
    """The axes over which a step adds up or takes the largest."""
    axis, n = step.attrs["axis"], len(step.operands[0].shape)
    axes = range(n) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return {a % n for a in axes} if n else set()


PLAIN: tuple[Rule, ...] = (
    transposed, _keepdims,
    *rules(
        "reshape(x) -> x",  # where that changes neither shape nor dtype, as everywhere
        "broadcast_to(x) -> x",
        "astype(x) -> x",
        "copy(x) -> x",
        "concatenate(x) -> x",
        "reshape(reshape(x)) -> reshape(x)",
        "x * 1 -> x",
        "x / 1 -> x",
        "x + 0 -> x",
        "x - 0 -> x",
        "-(-x) -> x",
        "-a * -b -> a * b",
        "-a / -b -> a / b",
        "a + -b -> a - b",
        "a - -b -> a + b",
    ),
)  # fmt: skip


# --- repeats as late as can be --------------------------------------------------------------------


@on(*ELEMENTWISE, after="broadcast_to")
def _broadcast_operand(r: Rewriter, step: Step) -> Step | None:
    """f(broadcast(a), b) is f(a, b) if b alone has the shape of the result."""
    for i, x in enumerate(step.operands):
        before = r.maker(x, "broadcast_to")
        if before is None:
            continue
        operands = (*step.operands[:i], before.operands[0], *step.operands[i + 1 :])
        if np.broadcast_shapes(*(o.shape for o in operands)) == step.out.shape:
            return step._replace(operands=operands)
    return None


@on(*ELEMENTWISE, after="broadcast_to")
def _broadcast_result(r: Rewriter, step: Step) -> Step | None:
    """f(broadcast(a), broadcast(b)) is broadcast(f(a, b))."""
    makers = [r.maker(x, "broadcast_to") for x in step.operands]
    sources = tuple(m.operands[0] if m else x for m, x in zip(makers, step.operands))
    shape = np.broadcast_shapes(*(s.shape for s in sources))
    if shape == step.out.shape:
        return None  # pragma: no cover - operands were replaced one by one before
    scalar = not shape and all(s.scalar for s in sources)
    small = r.put(step._replace(out=Var(shape, step.out.dtype, scalar), operands=sources))
    return repeated(step, small)


@on("reshape", "transpose", "slice", "broadcast_to", after="broadcast_to")
def _view_of_repeats(r: Rewriter, step: Step) -> Step | None:
    """A view of a repeated number repeats the number."""
    (number,) = r.makers[step.operands[0]].operands
    return None if number.shape else repeated(step, number)


def repeated(step: Step, x: Var) -> Step:
    """x repeated to what the step makes."""
    return step._replace(op="broadcast_to", operands=(x,), attrs={"shape": step.out.shape})


BROADCASTS: tuple[Rule, ...] = (_broadcast_operand, _broadcast_result, _view_of_repeats)


# --- passes ---------------------------------------------------------------------------------------


def sweep(name: str, *rules: Rule, rounds: int = 1) -> Pass:
    """The pass that goes through a program with some rules, at most so often."""

    index: dict[str, list[Rule]] = {}

    def change(program: Program) -> Program:
        for _ in range(rounds):
            before, program = program, Rewriter(program, index).run(*rules)
            if program is before:
                break
        return program

    change.__name__ = name
    return change


# Each rule looks at operands that no rule changes any more, so that one sweep is enough.
TIDY = (Rule(_fold), *PLAIN, *BROADCASTS)
tidied = sweep("tidied", *TIDY)
tidied_to_run = sweep("tidied_to_run", Rule(_fold_numbers), *PLAIN, *BROADCASTS)
with_constants_folded = sweep("with_constants_folded", Rule(_fold))

EXACT: tuple[Pass, ...] = (without_dead_steps, tidied)


def simplified(program: Program, passes: tuple[Pass, ...] = EXACT) -> Program:
    """The program after all passes."""
    for change in passes:
        program = change(program)
    return program
