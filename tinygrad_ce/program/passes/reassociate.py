"""Passes that change the last bits: the order of additions, or where a factor stands.

What they give is within 1e-12 of the tensor's largest element in float64 and 1e-5 in float32.
"""

from __future__ import annotations

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.passes.exact import sweep
from tinygrad_ce.program.passes.rewriter import Rewriter, counts_up, on

MUCH_LARGER = 16


@on("take", after="subtract")
def _pick_first(r: Rewriter, step: Step) -> Step | None:
    """(a − b)[rows, columns], with one row or column after the other and a number b for each, is
    a[rows, columns] − b: to the last bit the same, and nothing is computed that is not picked.
    """
    if len(step.operands) != 3 or len(step.out.shape) != 1:
        return None
    x, *ids = step.operands
    difference, (n,) = r.maker(x, "subtract"), step.out.shape
    axis = next((i for i, one in enumerate(ids) if counts_up(r.constants, one, n)), None)
    if difference is None or r.counts.get(x) != 1 or axis is None or len(x.shape) != 2:
        return None
    a, b = difference.operands
    if a.shape != x.shape or x.shape[axis] != n or b.shape != ((n, 1), (1, n))[axis]:
        return None
    picked = r.make("take", (a, *ids), step.out, **step.attrs)
    row = r.make("reshape", (b,), Var((n,), b.dtype, False), shape=(n,))
    return step._replace(op="subtract", operands=(picked, row), attrs={})


@on("transpose", after="dot")
def _transposed_product(r: Rewriter, step: Step) -> Step | None:
    """(A B)ᵀ is Bᵀ Aᵀ: a weight's gradient is computed as the weight lies, and not copied."""
    product = r.makers[step.operands[0]]
    a, b = product.operands
    if len(step.out.shape) != 2 or r.counts.get(product.out) != 1:
        return None
    if a.size >= MUCH_LARGER * b.size or b.size >= MUCH_LARGER * a.size:
        return None  # the large one is read as it lies
    return step._replace(op="dot", operands=(transpose_of(r, b), transpose_of(r, a)), attrs={})


def transpose_of(r: Rewriter, x: Var) -> Var:
    """x with its axes exchanged."""
    before = r.maker(x, "transpose")
    if before is not None:
        return before.operands[0]
    return r.make("transpose", (x,), Var(x.shape[::-1], x.dtype, False), axes=(1, 0))


with_picks_first = sweep("with_picks_first", _pick_first)
with_products_transposed = sweep("with_products_transposed", _transposed_product)


def with_finite_sums_checked(program: Program) -> Program:
    """All numbers of x are finite if Σ (x·a + b) is: the sum is looked at instead of all of x."""
    checks = {s.operands[0]: s for s in program.steps if s.op == "all_finite"}
    totals = {t: checks[x] for x in checks if (t := total_over(program, x)) is not None}
    if not totals:
        return program
    steps: list[Step] = []
    for step in program.steps:
        if step not in totals.values():
            steps.append(step)
        if (check := totals.get(step.out)) is not None:
            steps.append(check._replace(operands=(step.out,)))
    return program.with_steps(steps)


def total_over(program: Program, x: Var) -> Var | None:
    """A sum over all elements that is finite only if x is: of x·a, or of that plus something."""
    spreading = {s.out for s in program.steps if s.op == "multiply" and x in s.operands}
    for step in program.steps:
        if spreading.isdisjoint(step.operands):
            continue
        if step.op in ("add", "subtract"):
            spreading.add(step.out)
        elif step.op == "sum" and not step.out.shape:
            return step.out
    return None
