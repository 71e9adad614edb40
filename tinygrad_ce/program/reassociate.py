"""Passes that change the last bits: the order of additions, or where a factor stands.

What they give is within 1e-12 of the tensor's largest element in float64 and 1e-5 in float32.
"""

from __future__ import annotations

from typing import Any

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.passes import Rewriter, counts_up, without_dead_steps

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


def with_products_summed(program: Program) -> Program:
    """Σ a·b is the inner product of a and b."""
    uses = program.uses()
    return Rewriter(program).run(lambda r, step: _inner_product(r, step, uses))


def _inner_product(r: Rewriter, step: Step, uses: dict[Var, int]) -> Step | None:
    if step.op != "sum" or step.out.shape:
        return None
    product = r.maker(step.operands[0], "multiply")
    if product is None or uses.get(product.out, 0) != 1:
        return None
    a, b = product.operands
    if a.shape != b.shape or not a.shape or a.dtype != b.dtype or a.dtype.kind != "f":
        return None
    return step._replace(op="vdot", operands=(a, b), settings={})


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


def with_products_turned(program: Program) -> Program:
    """(A B)ᵀ is Bᵀ Aᵀ: a weight's gradient is computed as the weight lies."""
    uses = program.uses()
    return Rewriter(program).run(lambda r, step: _turned_product(r, step, uses))


def _turned_product(r: Rewriter, step: Step, uses: dict[Var, int]) -> Step | None:
    if step.op != "transpose" or len(step.out.shape) != 2:
        return None
    product = r.maker(step.operands[0], "dot")
    if product is None or uses.get(product.out, 0) != 1:
        return None
    a, b = product.operands
    if a.size >= MUCH_LARGER * b.size or b.size >= MUCH_LARGER * a.size:
        return None  # see with_large_operands_untransposed
    return step._replace(op="dot", operands=(turned(r, b), turned(r, a)), settings={})


ONEHOT = 1 << 20  # elements that an array of ones and zeros may have


def with_rows_gathered_by_products(program: Program) -> Program:
    """Rows added up by their ids, the gradient of an embedding: onehot(ids)ᵀ @ rows."""
    checked = {s.operands[0]: s.settings for s in program.steps if s.op == "all_within"}
    return Rewriter(program).run(lambda r, step: _gathered(r, step, checked))


def _gathered(r: Rewriter, step: Step, checked: dict[Var, dict[str, Any]]) -> Step | None:
    if step.op != "scatter" or len(step.operands) != 2 or len(step.settings["index"]) != 1:
        return None
    rows, ids = step.operands
    settings, shape = checked.get(ids), step.settings["shape"]
    if settings is None or settings["also"] is not None or len(shape) != 2 or not ids.shape:
        return None
    if settings["low"] < 0 or settings["high"] >= shape[0] or ids.size * shape[0] > ONEHOT:
        return None
    flat = r.make("reshape", (rows,), Var((ids.size, shape[1]), rows.dtype, False),
                  shape=(ids.size, shape[1]))  # fmt: skip
    like = Var((ids.size, shape[0]), rows.dtype, False)
    onehot = r.make("onehot", (ids,), like, classes=shape[0], dtype=rows.dtype)
    turn = r.make("transpose", (onehot,), Var(like.shape[::-1], rows.dtype, False), axes=(1, 0))
    return step._replace(op="dot", operands=(turn, flat), settings={})


def with_running_means_moved(program: Program) -> Program:
    """x·β + y·(1 − β), a running mean, is x + (y − x)·(1 − β): one temporary less."""
    uses = program.uses()
    befores = {s.before for s in program.states}
    return Rewriter(program).run(lambda r, step: _moved_mean(r, step, uses, befores))


def _moved_mean(r: Rewriter, step: Step, uses: dict[Var, int], befores: set[Var]) -> Step | None:
    if step.op != "add" or not step.out.shape:
        return None
    old, new = (r.maker(x, "multiply") for x in step.operands)
    if old is None or new is None or uses.get(old.out) != 1 or uses.get(new.out) != 1:
        return None
    for first, second in ((old, new), (new, old)):
        x, beta = scaled(r, first)
        y, rest = scaled(r, second)
        if x not in befores or x is None or y is None or x.shape != y.shape:
            continue
        if not 0.0 < beta < 1.0 or abs(beta + rest - 1.0) > 2e-7:
            continue
        distance = r.make("subtract", (y, x), step.out)
        part = r.make("multiply", (distance, r.constant(step.out.dtype.type(rest))), step.out)
        return step._replace(operands=(x, part))
    return None


def scaled(r: Rewriter, step: Step) -> tuple[Var | None, float]:
    """(x, a) if the step computes x·a with a number a."""
    for x, number in (step.operands, step.operands[::-1]):
        value = r.number(number)
        if value is not None:
            return x, value
    return None, 0.0


def with_factors_moved_out(program: Program) -> Program:
    """What scales a factor scales the result: (k/u)·x is k·(x/u), k·a + k·b is k·(a + b)."""
    uses = program.uses()

    def rule(r: Rewriter, step: Step) -> Step | None:
        if step.op == "multiply":
            return _factor_of_product(r, step, uses)
        return _factor_of_sum(r, step, uses) if step.op in ("add", "subtract") else None

    return Rewriter(program).run(rule)


def factored(r: Rewriter, x: Var, uses: dict[Var, int]) -> tuple[Var, Var, Var | None] | None:
    """(k, a, None) if x is k·a, (k, one, u) if x is k/u, with a number k and no other reader."""
    maker = r.makers.get(x)
    if maker is None or uses.get(x, 0) > 1 or maker.op not in ("multiply", "divide"):
        return None
    a, b = maker.operands
    if r.number(a) is not None and b.shape == x.shape:
        return (a, b, None) if maker.op == "multiply" else (a, a, b)
    if maker.op == "multiply" and r.number(b) is not None and a.shape == x.shape:
        return b, a, None
    return None


def _factor_of_product(r: Rewriter, step: Step, uses: dict[Var, int]) -> Step | None:
    for x, y in (step.operands, step.operands[::-1]):
        found = factored(r, x, uses)
        if found is None or not y.shape or x.shape != step.out.shape:
            continue
        number, a, divisor = found
        if divisor is None:
            inner = r.make("multiply", (a, y), step.out)
        else:
            inner = r.make("divide", (y, divisor), step.out)
        return step._replace(operands=(number, inner))
    return None


def _factor_of_sum(r: Rewriter, step: Step, uses: dict[Var, int]) -> Step | None:
    found = [factored(r, x, uses) for x in step.operands]
    if found[0] is None or found[1] is None or found[0][0] is not found[1][0]:
        return None
    if found[0][2] is not None or found[1][2] is not None:
        return None
    inner = r.make(step.op, (found[0][1], found[1][1]), step.out)
    return step._replace(op="multiply", operands=(found[0][0], inner))


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
        if step.op == "vdot" and x in step.operands:
            return step.out
        if not spreading & {*step.operands}:
            continue
        if step.op in ("add", "subtract"):
            spreading.add(step.out)
        elif step.op == "sum" and not step.out.shape:
            return step.out
    return None


# --- numbers ----------------------------------------------------------------------------------

SAFE = 1e12  # factors and summands beyond this are left alone


def with_scalar_chains_folded(program: Program) -> Program:
    """((x·a + b)·c + d) is x·(a·c) + (b·c + d) for constant numbers, unless the sum cancels."""
    uses = program.uses()
    reader = {x: step for step in program.steps for x in step.operands}
    chains: dict[Var, tuple[Var, float, float, int]] = {}
    rewriter = Rewriter(program)

    def fold(r: Rewriter, step: Step) -> Step | None:
        found = affine(r, step)
        if found is None or step.out.dtype is None or step.out.dtype.kind != "f":
            return None
        x, a, b = found
        before = chains.get(x)
        length = 1
        if before is not None and uses.get(x, 0) == 1:
            source, a0, b0, n = before
            total = b0 * a + b
            if abs(total) >= 0.5 * max(abs(b0 * a), abs(b)) and moderate(a0 * a, total):
                x, a, b, length = source, a0 * a, total, n + 1
        chains[step.out] = (x, a, b, length)
        if length < 3 or (uses.get(step.out, 0) == 1 and feeds_chain(program, step.out, reader)):
            return None
        return written(r, step, x, a, b)

    return without_dead_steps(rewriter.run(fold))


def feeds_chain(program: Program, x: Var, reader: dict[Var, Step]) -> bool:
    """Whether the only reader of x goes on with the chain."""
    step = reader.get(x)
    if step is None or step.op not in ("multiply", "add", "subtract", "negative"):
        return False
    return all(o is x or (o in program.constants and not o.shape) for o in step.operands)


def affine(r: Rewriter, step: Step) -> tuple[Var, float, float] | None:
    """(x, a, b) if the step computes x·a + b with numbers a and b."""
    if step.op == "negative":
        return step.operands[0], -1.0, 0.0
    if step.op not in ("multiply", "add", "subtract"):
        return None
    first, second = step.operands
    for x, number, left in ((first, second, True), (second, first, False)):
        value = r.number(number)
        if value is None or x in r.constants or not moderate(value, value):
            continue
        if x.shape != step.out.shape or x.dtype != step.out.dtype:
            continue
        if step.op == "multiply":
            return x, value, 0.0
        if step.op == "add":
            return x, 1.0, value
        return (x, 1.0, -value) if left else (x, -1.0, value)
    return None


def moderate(a: float, b: float) -> bool:
    """Whether no overflow can come of these numbers."""
    return 1.0 / SAFE < abs(a) < SAFE and (b == 0.0 or 1.0 / SAFE < abs(b) < SAFE)


def written(r: Rewriter, step: Step, x: Var, a: float, b: float) -> Step:
    """x·a + b as steps."""
    dtype: Any = step.out.dtype.type
    if b == 0.0:
        return step._replace(op="multiply", operands=(x, r.constant(dtype(a))), settings={})
    scaled = r.make("multiply", (x, r.constant(dtype(a))), step.out)
    return step._replace(op="add", operands=(scaled, r.constant(dtype(b))), settings={})
