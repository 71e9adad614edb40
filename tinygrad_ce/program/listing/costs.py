"""What the steps of a program cost: operations, bytes, microseconds; and the table that says so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from statistics import median
from timeit import repeat
from typing import Any

import numpy as np

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.listing.listing import joined, shown_program, values_of
from tinygrad_ce.program.listing.statements import Writer
from tinygrad_ce.program.ops import ELEMENTWISE, OPS, VIEWS, evaluate

COLUMNS = ("scope", "line", "shape", "FLOPs", "bytes", "µs")
WIDEST = 48


def operations(step: Step) -> int:
    """How many additions, products and functions a step takes; a product of matrices 2·n·k·m."""
    if step.op in ("dot", "inner", "matmul"):
        return 2 * step.out.size * step.operands[0].shape[-1]
    if step.op == "einsum":
        return 2 * loops(step)
    if OPS[step.op].kind in ("view", "move") or step.op in ("where", "astype"):
        return 0
    if step.op in ELEMENTWISE:
        return step.out.size
    return max((x.size for x in step.operands[:1]), default=0)


def loops(step: Step) -> int:
    """The product of the sizes of all labels of an einsum."""
    terms = step.attrs["spec"].split("->")[0].split(",")
    sizes = {c: n for term, x in zip(terms, step.operands) for c, n in zip(term, x.shape)}
    return int(np.prod(list(sizes.values()), dtype=np.int64))


def moved(step: Step) -> int:
    """How many bytes a step reads and writes; a view none."""
    if step.op in VIEWS:
        return 0
    return sum(x.nbytes for x in step.operands) + step.out.nbytes


def profile(program: Program, repeats: int = 100) -> None:
    """Run every step of the formulas `repeats` times; keep each one's median time."""
    if repeats < 1:
        raise ValueError(f"profile: repeats is {repeats}; wanted at least 1")
    shown = shown_program(program, "formula")
    values = values_of(shown, program)
    program.microseconds = [
        0.0 if step.op == "draw" else median_time(step, [values[x] for x in step.operands], repeats)
        for step in shown.steps
    ]


def median_time(step: Step, operands: list[Any], repeats: int) -> float:
    """How many microseconds a step takes."""
    times = repeat(lambda: evaluate(step.op, operands, step.attrs), number=1, repeat=repeats)
    return median(times) * 1e6


def table(program: Program) -> str:
    """The lines of the listing with what each costs: see Program.table."""
    shown = shown_program(program, "formula")
    timed = dict(zip((s.out for s in shown.steps), program.microseconds))
    rows = [list(COLUMNS if timed else COLUMNS[:-1])]
    last, totals = "", (0, 0, 0.0)
    counted: set[Var] = set()
    for scope, line, shape, steps in lines_of(shown):
        new = [s for s in steps if s.out not in counted]
        counted.update(s.out for s in new)
        cost = (
            sum(map(operations, new)),
            sum(map(moved, new)),
            sum(timed.get(s.out, 0.0) for s in new),
        )
        totals = (totals[0] + cost[0], totals[1] + cost[1], totals[2] + cost[2])
        text = line if len(line) <= WIDEST else line[: WIDEST - 1] + "…"
        rows.append([scope if scope != last else "", text, shape, *numbers(cost, bool(timed))])
        last = scope
    rows.append(["total", f"{len(counted)} steps", "", *numbers(totals, bool(timed))])
    return aligned(rows)


def lines_of(program: Program) -> Iterator[tuple[str, str, str, list[Step]]]:
    """(scope, line, shape, steps) for each line of the listing; draws are given, not computed."""
    writer = Writer(program, False)
    for statement in writer.statements:
        shape = "" if statement.out is None else str(statement.out.shape)
        yield joined(statement.labels), statement.lines[0], shape, statement.steps
    for x, tree in zip(program.outputs, writer.returned):
        if x in writer.pending:
            yield joined(writer.labels[x]), ast.unparse(tree), str(x.shape), writer.inside[x]


def numbers(cost: Any, timed: bool) -> list[str]:
    """1,234 operations, bytes and perhaps µs."""
    return [f"{cost[0]:,}", f"{cost[1]:,}", *([f"{cost[2]:,.1f}"] if timed else [])]


def aligned(rows: list[list[str]]) -> str:
    """Columns of one width, words to the left and numbers to the right; rules around the totals."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    texts = [
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([texts[0], rule, *texts[1:-1], rule, texts[-1]]) + "\n"
