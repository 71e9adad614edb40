"""Passes that change the last bits: the order of additions, or where a factor stands.

What they give is within 1e-12 of the tensor's largest element in float64 and 1e-5 in float32.
"""

from __future__ import annotations

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.passes.exact import Rewriter, counts_up

LARGE = 1 << 16  # elements from which it matters in which order a product reads a matrix
MUCH_LARGER = 16


def with_picks_first(program: Program) -> Program:
    """take(a − b, ids) is take(a, ids) − take(b, ids): nothing is computed that is not picked.

    To the last bit the same.
    """
    uses = program.uses()
    return Rewriter(program).run(lambda r, step: _pick_first(r, step, uses))


def _pick_first(r: Rewriter, step: Step, uses: dict[Var, int]) -> Step | None:
    if step.op != "take" or len(step.operands) != 3 or len(step.out.shape) != 1:
        return None
    x, rows, columns = step.operands
    difference = r.maker(x, "subtract")
    if difference is None or uses.get(x, 0) != 1:
        return None
    a, b = difference.operands
    n = step.out.shape[0]
    axis = next(
        (i for i, ids in enumerate((rows, columns)) if counts_up(r.constants, ids, n)), None
    )
    if axis is None or len(x.shape) != 2 or a.shape != x.shape or x.shape[axis] != n:
        return None
    wanted = (n, 1) if axis == 0 else (1, n)
    if b.shape != wanted:
        return None
    picked = r.make("take", (a, rows, columns), step.out, **step.settings)
    row = r.make("reshape", (b,), Var((n,), b.dtype, False), shape=(n,))
    return step._replace(op="subtract", operands=(picked, row), settings={})


def with_large_operands_untransposed(program: Program) -> Program:
    """Aᵀ Bᵀ with a large B and a small A is (B A)ᵀ: the large one is read as it lies in memory."""
    return Rewriter(program).run(_turn_product)


def _turn_product(r: Rewriter, step: Step) -> Step | None:
    if step.op not in ("dot", "inner") or len(step.out.shape) != 2:
        return None
    a, b = step.operands
    left, right = r.maker(a, "transpose"), r.maker(b, "transpose")
    large_left = left is not None and larger(a, b)
    large_right = (step.op == "inner" or right is not None) and larger(b, a)
    if not (large_left or large_right) or (step.op == "inner" and large_left):
        return None
    if step.op == "inner":  # a bᵀ with a large b: (b aᵀ)ᵀ
        new = (b, a)
    else:
        new = (turned(r, b), turned(r, a))
    product = r.make(step.op, new, Var(step.out.shape[::-1], step.out.dtype, False))
    other = r.make("transpose", (product,), step.out, axes=(1, 0))
    return step._replace(op="contiguous", operands=(other,), settings={})


def turned(r: Rewriter, x: Var) -> Var:
    """x with its axes exchanged."""
    before = r.maker(x, "transpose")
    if before is not None:
        return before.operands[0]
    return r.make("transpose", (x,), Var(x.shape[::-1], x.dtype, False), axes=(1, 0))


def larger(a: Var, b: Var) -> bool:
    """Whether a is so large that it should be read in its own order."""
    return a.size >= LARGE and a.size >= MUCH_LARGER * b.size


def with_finite_sums_checked(program: Program) -> Program:
    """All numbers of x are finite if Σ (x·a + b) is: the sum is looked at instead of all of x."""
    checks = {s.operands[0]: s for s in program.steps if s.op == "all_finite"}
    found = {x: total for x in checks if (total := total_over(program, x)) is not None}
    if not found:
        return program
    replaced = {checks[x].out: total for x, total in found.items()}
    steps = [s for s in program.steps if s.out not in replaced]
    for out, total in replaced.items():
        place = next(i for i, s in enumerate(steps) if s.out is total) + 1
        steps.insert(place, Step(out, "all_finite", (total,), {}))
    return program.with_steps(steps)


def total_over(program: Program, x: Var) -> Var | None:
    """A sum over all elements that is finite only if x is: of x·a, or of that plus something."""
    spreading = {s.out for s in program.steps if s.op == "multiply" and x in s.operands}
    for step in program.steps:
        if not spreading & {*step.operands}:
            continue
        if step.op in ("add", "subtract"):
            spreading.add(step.out)
        elif step.op == "sum" and not step.out.shape:
            return step.out
    return None
