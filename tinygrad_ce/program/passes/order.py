"""Which passes make a program fast, in their order."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.program.ir import Program
from tinygrad_ce.program.passes.exact import (
    tidied_to_run,
    with_constants_folded,
    without_dead_steps,
)
from tinygrad_ce.program.passes.flatten import flattened
from tinygrad_ce.program.passes.layout import (
    with_best_layouts,
    with_relus_after_pools,
    with_relus_recognised,
)
from tinygrad_ce.program.passes.reassociate import (
    with_finite_sums_checked,
    with_picks_first,
    with_products_transposed,
)

FAST = (
    with_finite_sums_checked,
    with_relus_recognised,
    with_picks_first,
    with_relus_after_pools,
    with_best_layouts,
    with_products_transposed,
)


def optimised(
    program: Program, failed: frozenset[Any] = frozenset(), flatten: bool = True
) -> Program:
    """The program as compile() runs it; with `flatten`, parameters may move together."""
    program = flattened(program, failed) if flatten else program
    program = tidied_to_run(without_dead_steps(program))
    for change in FAST:
        changed = change(program)
        if changed is not program:  # a pass that finds nothing gives the program it was given
            program = tidied_to_run(changed)
    return with_constants_folded(program)
