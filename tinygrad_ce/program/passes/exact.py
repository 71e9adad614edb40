"""Passes: small functions from Program to Program that keep every value to the last bit (-0.0
may become 0.0, where x + 0.0 is x).

What changes the order of additions stands in `reassociate.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.ops import ELEMENTWISE, evaluate

Pass = Callable[[Program], Program]
LARGEST_CONSTANT = 4096  # elements that folding may make: larger constants are computed each time
RANDOM = ("draw",)


def without_dead_steps(program: Program) -> Program:
    """Drop the steps whose result nobody reads. Draws stay: they move their generator on."""
    needed = set(program.roots())
    kept = []
    for step in reversed(program.steps):
        if step.out in needed or step.op in RANDOM:
            kept.append(step)
            needed.update(step.operands)
    return program.with_steps(reversed(kept))


def with_constants_folded(program: Program, repeats: bool = True) -> Program:
    """Compute now what rests on constants alone; with repeats=False, repeat no number."""
    constants = dict(program.constants)
    steps = []
    for step in program.steps:
        known = all(x in constants for x in step.operands)
        known = known and (repeats or step.op != "broadcast_to" or not step.out.shape)
        if known and step.op not in RANDOM and step.out.size <= LARGEST_CONSTANT:
            constants[step.out] = evaluate(
                step.op, [constants[x] for x in step.operands], step.settings
            )
        else:
            steps.append(step)
    program = program.with_steps(steps)
    read = {x for step in steps for x in step.operands} | set(program.roots())
    program.constants = {x: v for x, v in constants.items() if x in read}
    return program


def with_equal_constants_shared(program: Program) -> Program:
    """One name for constants that are equal bit for bit."""
    first: dict[Any, Var] = {}
    renamed = {}
    for var, value in program.constants.items():
        array = np.asarray(value)
        key = (type(value), array.dtype.str, array.shape, array.tobytes())
        if key in first:
            renamed[var] = first[key]
        else:
            first[key] = var
    return program.with_steps(program.steps, renamed)


def with_common_steps_shared(program: Program) -> Program:
    """Compute once what is computed twice from the same values."""
    first: dict[Any, Var] = {}
    renamed: dict[Var, Var] = {}
    steps = []
    for step in program.steps:
        operands = tuple(renamed.get(x, x) for x in step.operands)
        key = (step.op, operands, repr(sorted(step.settings.items())))
        if key in first and step.op not in RANDOM:
            renamed[step.out] = first[key]
            if not first[key].name:
                first[key].name = step.out.name
        else:
            first[key] = step.out
            steps.append(step._replace(operands=operands))
    return program.with_steps(steps, renamed)


# --- algebra ----------------------------------------------------------------------------------


class Rewriter:
    """Goes through the steps in order, and lets rules look at what the operands were made from."""

    def __init__(self, program: Program) -> None:
        self.constants = dict(program.constants)
        self.makers: dict[Var, Step] = {}
        self.renamed: dict[Var, Var] = {}
        self.steps: list[Step] = []
        self.program = program
        self.here: Step | None = None

    def run(self, *rules: Callable[[Rewriter, Step], Var | Step | None]) -> Program:
        """Apply the first rule that has something to say to each step, until none has."""
        for step in self.program.steps:
            step = step._replace(operands=tuple(self.renamed.get(x, x) for x in step.operands))
            self.here = step
            result: Var | Step | None = step
            while isinstance(result, Step):
                step = result
                result = next((r for rule in rules if (r := rule(self, step)) is not None), None)
            if result is None:
                self.add(step)
            else:
                self.renamed[step.out] = result
                if not result.name and result not in self.constants:
                    result.name = step.out.name
        program = self.program.with_steps(self.steps, self.renamed)
        read = {x for step in self.steps for x in step.operands} | set(program.roots())
        program.constants = {x: v for x, v in self.constants.items() if x in read}
        return without_dead_steps(program)

    def add(self, step: Step) -> Var:
        """Put a step down."""
        self.steps.append(step)
        self.makers[step.out] = step
        return step.out

    def make(self, op: str, operands: tuple[Var, ...], like: Var, **settings: Any) -> Var:
        """A new step, of the shape and dtype of `like`."""
        out = Var(like.shape, like.dtype, like.scalar)
        step = Step(out, op, operands, settings)
        if self.here is not None:
            step = step._replace(scope=self.here.scope, line=self.here.line)
        return self.add(step)

    def constant(self, value: Any) -> Var:
        """A new constant."""
        var = Var.like(value)
        self.constants[var] = value
        return var

    def maker(self, x: Var, op: str) -> Step | None:
        """The step that makes x, if it is of this kind."""
        step = self.makers.get(x)
        return step if step is not None and step.op == op else None

    def number(self, x: Var) -> float | None:
        """The value of a constant that is one number."""
        value = self.constants.get(x)
        if value is None or np.ndim(value):
            return None
        return float(value)


def with_plain_steps_left_out(program: Program) -> Program:
    """x·1, x/1, x + 0, −(−x), a reshape to the same shape, a transpose undone: x."""
    return Rewriter(program).run(_identity, _chain_of_views, _negations, _keepdims)


def same_form(a: Var, b: Var) -> bool:
    """Whether two values have the same shape and dtype."""
    numbers = (a.dtype is None) + (b.dtype is None)  # to NumPy, float64 == None
    return a.shape == b.shape and (numbers == 2 or (not numbers and a.dtype == b.dtype))


def _identity(r: Rewriter, step: Step) -> Var | None:
    x, out = (step.operands[0] if step.operands else None), step.out
    if x is None or step.op == "draw":
        return None
    if step.op in ("reshape", "broadcast_to", "astype", "copy") and same_form(x, out):
        return x
    if step.op == "transpose" and step.settings["axes"] == tuple(range(len(x.shape))):
        return x
    if step.op == "concatenate" and len(step.operands) == 1:
        return x
    if step.op in ("multiply", "add") and len(step.operands) == 2:
        for a, b in (step.operands, step.operands[::-1]):
            if r.number(b) == (1.0 if step.op == "multiply" else 0.0) and same_form(a, out):
                return a
    if step.op in ("divide", "subtract") and same_form(x, out):
        neutral = 1.0 if step.op == "divide" else 0.0
        return x if r.number(step.operands[1]) == neutral else None
    return None


def _chain_of_views(r: Rewriter, step: Step) -> Step | None:
    x = step.operands[0] if step.operands else None
    if step.op == "reshape" and x is not None and (before := r.maker(x, "reshape")):
        return step._replace(operands=before.operands)
    if step.op == "transpose" and x is not None and (before := r.maker(x, "transpose")):
        inner, outer = before.settings["axes"], step.settings["axes"]
        return step._replace(
            operands=before.operands, settings={"axes": tuple(inner[a] for a in outer)}
        )
    return None


def _negations(r: Rewriter, step: Step) -> Var | Step | None:
    if step.op == "negative":
        before = r.maker(step.operands[0], "negative")
        return before.operands[0] if before else None
    if step.op not in ("add", "subtract", "multiply", "divide"):
        return None
    a, b = step.operands
    left, right = r.maker(a, "negative"), r.maker(b, "negative")
    if step.op in ("multiply", "divide"):
        if left and right:
            return step._replace(operands=(left.operands[0], right.operands[0]))
    elif right:
        other = "subtract" if step.op == "add" else "add"
        return step._replace(op=other, operands=(a, right.operands[0]))
    elif left and step.op == "add":
        return step._replace(op="subtract", operands=(b, left.operands[0]))
    return None


def _keepdims(r: Rewriter, step: Step) -> Step | None:
    """A sum whose axes come back as axes of size 1 is a sum that keeps them, and the reverse."""
    if step.op != "reshape":
        return None
    total = next((m for op in ("sum", "max", "min") if (m := r.maker(step.operands[0], op))), None)
    if total is None:
        return None
    x, axis = total.operands[0], total.settings["axis"]
    axes = range(len(x.shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    reduced = {a % len(x.shape) for a in axes} if x.shape else set()
    with_ones = tuple(1 if i in reduced else n for i, n in enumerate(x.shape))
    without = tuple(n for i, n in enumerate(x.shape) if i not in reduced)
    for shape, keep in ((with_ones, True), (without, False)):
        if step.settings["shape"] == shape and total.settings["keepdims"] is not keep:
            return step._replace(
                op=total.op, operands=(x,), settings={**total.settings, "keepdims": keep}
            )
    return None


def with_late_broadcasts(program: Program) -> Program:
    """Repeat values as late as can be: elementwise operations broadcast by themselves."""
    return Rewriter(program).run(_broadcast_operand, _broadcast_result)


def _broadcast_operand(r: Rewriter, step: Step) -> Step | None:
    """f(broadcast(a), b) is f(a, b) if b alone has the shape of the result."""
    if step.op not in ELEMENTWISE:
        return None
    for i, x in enumerate(step.operands):
        before = r.maker(x, "broadcast_to")
        if before is None:
            continue
        operands = (*step.operands[:i], before.operands[0], *step.operands[i + 1 :])
        if np.broadcast_shapes(*(o.shape for o in operands)) == step.out.shape:
            return step._replace(operands=operands)
    return None


def _broadcast_result(r: Rewriter, step: Step) -> Step | Var | None:
    """f(broadcast(a), broadcast(b)) is broadcast(f(a, b)); a view of repeats repeats a view."""
    if step.op in ELEMENTWISE:
        sources = []
        for x in step.operands:
            before = r.maker(x, "broadcast_to")
            sources.append(before.operands[0] if before else x)
        shape = np.broadcast_shapes(*(s.shape for s in sources))
        if shape == step.out.shape or sources == list(step.operands):
            return None
        small = Var(shape, step.out.dtype, False)
        if not shape:
            small.scalar = all(s.scalar for s in sources)
        r.add(step._replace(out=small, operands=tuple(sources)))
        return step._replace(
            op="broadcast_to", operands=(small,), settings={"shape": step.out.shape}
        )
    repeats = r.maker(step.operands[0], "broadcast_to") if step.operands else None
    if repeats is None or repeats.operands[0].shape:
        return None
    if step.op in ("reshape", "transpose", "slice", "broadcast_to"):
        return step._replace(
            op="broadcast_to", operands=repeats.operands, settings={"shape": step.out.shape}
        )
    return None


def counts_up(constants: dict[Var, Any], x: Var, n: int) -> bool:
    """Whether x is the constant index 0, 1, ... n - 1, one after the other in one row."""
    if x not in constants or x.shape != (n,) or x.dtype is None or x.dtype.kind not in "iu":
        return False
    return bool(np.array_equal(constants[x], np.arange(n)))


def with_numbers_folded(program: Program) -> Program:
    """The same, but a number that is repeated stays one number."""
    return with_constants_folded(program, repeats=False)


EXACT: tuple[Pass, ...] = (
    without_dead_steps,
    with_equal_constants_shared,
    with_constants_folded,
    with_equal_constants_shared,
    with_common_steps_shared,
    with_late_broadcasts,
    with_plain_steps_left_out,
    with_constants_folded,
    with_late_broadcasts,
    with_plain_steps_left_out,
    with_equal_constants_shared,
    with_common_steps_shared,
    with_constants_folded,
    without_dead_steps,
)


def simplified(program: Program, passes: tuple[Pass, ...] = EXACT) -> Program:
    """The program after all passes."""
    for change in passes:
        program = change(program)
    return program
