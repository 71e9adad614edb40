"""The lines of a loop: steps on long rows, done piece by piece while a piece is in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.program.emit.schedule import Loop
from tinygrad_ce.program.emit.text import Printer
from tinygrad_ce.program.ir import Step, Var

BLOCK = 1 << 15  # elements of a block


class LoopPrinter:
    """Writes one loop into the function."""

    def __init__(self, p: Printer, loop: Loop, assumptions: dict[Var, int]) -> None:
        self.p = p
        self.assumptions = assumptions
        self.steps = loop.steps
        self.n = next(s.out.size for s in loop.steps if s.out.shape)
        self.parts: dict[str, str] = {}  # a row -> the name of its piece in the loop
        self.short: dict[Any, str] = {}  # the rows that are no longer than a block
        self.moving: dict[Var, tuple[str, str]] = {}  # (row, piece) of what is another in each run
        self.lines: list[str] = []

    def write(self) -> None:
        """The lines before the loop, and the loop itself."""
        p = self.p
        for step in self.steps:
            if step.op == "sum":
                p.numbers[step.out] = p.fresh(step.out, "n")
                p.line(f"{p.numbers[step.out]} = 0.0")
        for step in self.steps:
            self.step(step)
        p.names["in_pieces"] = in_pieces
        rows = p.hoist(f"in_pieces({self.n}, {BLOCK}, [{', '.join(self.parts)}])", "blocks")
        p.line(f"for {', '.join(['i', 'j', *self.parts.values()])} in {rows}:")
        for row, name in self.moving.values():
            p.line(f"    {name} = {row}[i:j]")
        for line in self.lines:
            p.line(f"    {line}")

    def step(self, step: Step) -> None:
        """The line of one step; a sum goes over all blocks, a check looks at each."""
        p, out = self.p, step.out
        texts = p.operands(step, self.block)
        if step.op == "all_finite":
            product = f"vdot({texts[0]}, {texts[0]})"
            self.lines.append(
                f"if not {product} < inf: raise GuardFailure({self.assumptions[out]})"
            )
            p.numbers[out] = "True"
        elif step.op == "sum":
            row = p.shared(np.ones(min(BLOCK, self.n), step.operands[0].dtype), "ones")
            product = f"dot({texts[0]}, {self.piece(row)})"
            self.lines.append(f"{p.numbers[out]} += float({product})")
        elif step.op == "astype":
            self.lines.append(f"copyto({self.block(out)}, {texts[0]}, 'unsafe')")
        else:
            keyword = "out=" if step.op in ("maximum", "minimum") else ""
            self.lines.append(f"{step.op}({', '.join(texts)}, {keyword}{self.block(out)})")

    def block(self, x: Var) -> str:
        """The piece of a value."""
        p = self.p
        if x in p.plan.blocks:
            dtype, _ = block = p.plan.blocks[x]
            if block not in self.short:
                name = self.short[block] = p.fresh(prefix="block")
                p.setup.append(f"{name} = empty({min(BLOCK, self.n)}, {p.dtype(dtype)})")
            return self.piece(self.short[block])
        place = p.plan.places[x]
        if place.static and place.contiguous:
            return self.piece(p.row(x))
        if x not in self.moving:
            self.moving[x] = p.fresh(prefix="row"), p.fresh(prefix="part")
            p.line(f"{self.moving[x][0]} = {p.row(x)}")
        return self.moving[x][1]

    def piece(self, row: str) -> str:
        """The name of the piece of a row that is there before the run."""
        if row not in self.parts:
            self.parts[row] = self.p.fresh(prefix="part")
        return self.parts[row]


def in_pieces(n: int, block: int, arrays: list[np.ndarray]) -> list[tuple[Any, ...]]:
    """(start, end, piece of each array): of long arrays the piece itself, of short ones as much
    of their beginning as the piece is long.
    """
    pieces = []
    for i in range(0, n, block):
        j = min(i + block, n)
        parts = [a[i:j] if len(a) == n and n > block else a[: j - i] for a in arrays]
        pieces.append((i, j, *parts))
    return pieces
