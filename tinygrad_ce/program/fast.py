"""Which passes make a program fast, in their order."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.program.images import IMAGES, with_products_of_transposed
from tinygrad_ce.program.ir import Program
from tinygrad_ce.program.layout import feature_major, with_relus_recognised
from tinygrad_ce.program.packing import packed
from tinygrad_ce.program.passes import EXACT, simplified
from tinygrad_ce.program.reassociate import (
    with_large_operands_untransposed,
    with_picks_first,
    with_products_summed,
    with_scalar_chains_folded,
)

FAST = (
    with_scalar_chains_folded,
    with_relus_recognised,
    with_picks_first,
    *IMAGES,
    feature_major,
    with_products_of_transposed,
    with_products_summed,
    with_large_operands_untransposed,
)


def optimised(
    program: Program, doubted: frozenset[Any] = frozenset(), pack: bool = True
) -> Program:
    """The program as compile() runs it."""
    program = simplified(program)
    for change in FAST:
        program = simplified(change(program), EXACT)
    return packed(program, doubted) if pack else program
