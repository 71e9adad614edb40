"""Which passes make a program fast, in their order."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.program.ir import Program
from tinygrad_ce.program.passes.exact import (
    EXACT,
    simplified,
    with_constants_folded,
    with_numbers_folded,
    without_dead_steps,
)
from tinygrad_ce.program.passes.flatten import flattened
from tinygrad_ce.program.passes.layout import (
    with_best_layouts,
    with_flat_batches,
    with_products_of_transposed,
    with_relus_after_pools,
    with_relus_recognised,
)
from tinygrad_ce.program.passes.reassociate import (
    with_finite_sums_checked,
    with_large_operands_untransposed,
    with_picks_first,
)

# First what makes long programs short: a loop of numbers need not go through all other passes.
SHORTER = (without_dead_steps, with_numbers_folded)

FAST = (
    with_finite_sums_checked,
    with_relus_recognised,
    with_picks_first,
    with_relus_after_pools,
    with_flat_batches,
    with_best_layouts,
    with_products_of_transposed,
    with_large_operands_untransposed,
)

TIDY = tuple(with_numbers_folded if p is with_constants_folded else p for p in EXACT)


def optimised(
    program: Program, doubted: frozenset[Any] = frozenset(), flatten: bool = True
) -> Program:
    """The program as compile() runs it; with `flatten`, parameters may move together."""
    program = flattened(program, doubted) if flatten else program
    program = simplified(program, SHORTER)
    program = simplified(program, TIDY)
    for change in FAST:
        changed = change(program)
        if not same_steps(program, changed):
            program = simplified(changed, TIDY)
    return with_constants_folded(program)


def same_steps(a: Program, b: Program) -> bool:
    """Whether a pass has found nothing to do."""
    if len(a.steps) != len(b.steps):
        return False
    return all(
        x.out is y.out and x.op == y.op and x.operands == y.operands
        for x, y in zip(a.steps, b.steps)
    )
