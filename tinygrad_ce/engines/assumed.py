"""What a program takes for granted, and where it is looked at.

What rests on the inputs alone is checked on the host, before anything runs. The rest is known on
the device only, when other steps may be on their way: there a flag remembers the first call in
which it did not hold, and from that call on the state stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tinygrad_ce.engine.table import filled
from tinygrad_ce.program.ir import Assumption, Program, Step, Var
from tinygrad_ce.program.ops import OPS

FREE = ("astype", "copy", "contiguous")
"""Besides views, what is done to an input before it is checked on the host."""


def axes_of(part: Any) -> int:
    """How many axes a part of an index takes."""
    if part is None or part is Ellipsis:
        return 0
    return len(part.shape) if isinstance(part, Var) and part.dtype == bool else 1


def indices(step: Step) -> Iterator[tuple[Var, int]]:
    """The arrays of whole numbers among the indices of a step, and the size of the axis of each."""
    first = {"take": 1, "scatter": 1, "put": 2}.get(step.op)
    if first is None:
        return
    shape = step.attrs["shape"] if step.op == "scatter" else step.operands[0].shape
    parts, axis = filled(step.attrs["index"], step.operands[first:]), 0
    for i, part in enumerate(parts):
        if part is Ellipsis:
            axis = len(shape) - sum(map(axes_of, parts[i + 1 :]))
        if isinstance(part, Var) and part.dtype != bool:
            yield part, shape[axis]
        axis += axes_of(part)


def with_indices_checked(program: Program) -> Program:
    """The program that also takes for granted that indices are those of elements: NumPy raises
    where XLA would give nan or another element.
    """
    known: dict[Var, list[dict[str, Any]]] = {}
    makers = program.makers()
    for a in program.assumptions:
        step = makers.get(a.var)
        if step is not None and step.op == "all_within":
            known.setdefault(step.operands[0], []).append(step.attrs)
    steps: list[Step] = []
    assumptions: list[Assumption] = []
    for step in program.steps:
        for ids, n in indices(step):
            bounds = {"low": -n, "high": n - 1, "also": None}
            sure = any(
                b["low"] >= -n and b["high"] < n and b["also"] is None for b in known.get(ids, ())
            )
            if ids in program.constants or sure:
                continue
            known.setdefault(ids, []).append(bounds)
            held = Var((), None, True)
            steps.append(Step(held, "all_within", (ids,), bounds, step.scope, step.line))
            what = f"all indices are in {-n} ... {n - 1}"
            assumptions.append(Assumption(held, what, ("index", step.line, len(assumptions))))
        steps.append(step)
    if not assumptions:
        return program
    return replace(program, steps=steps, assumptions=[*program.assumptions, *assumptions])


class Checks:
    """The assumptions of a program: those that are looked at on the host, and the others."""

    def __init__(self, program: Program) -> None:
        makers = program.makers()
        given = {*program.inputs, *program.constants}
        self.host: list[tuple[int, Var, list[Any]]] = []
        self.device: list[Assumption] = []
        for number, a in enumerate(program.assumptions):
            steps: list[Step] = []
            x = a.var
            while x in makers and (not steps or is_free(makers[x])):
                steps.insert(0, makers[x])
                x = steps[0].operands[0]
            if a.var in program.constants:
                continue  # it was found to hold
            if x in given and steps:
                functions: list[Any] = [partial(OPS[s.op].run, **s.attrs) for s in steps]
                self.host.append((number, x, functions))
            else:
                self.device.append(a)
        self.steps = [makers[a.var] for a in self.device]

    def failing(self, arrays: dict[Var, Any]) -> int | None:
        """The number of the first assumption that these inputs and constants do not keep."""
        for number, x, (*moves, holds) in self.host:
            value = arrays[x]
            for move in moves:
                with np.errstate(all="ignore"):  # of what nobody may look at
                    value = move(value)
            if not holds(value):
                return number
        return None

    def told(self, number: int) -> str:
        """An assumption of the device, as an error tells it."""
        line = self.steps[number].line
        return f"{self.device[number].what}{f' ({line})' if line is not None else ''}"


def is_free(step: Step) -> bool:
    """Whether a step of one operand moves numbers at most."""
    return len(step.operands) == 1 and (OPS[step.op].kind == "view" or step.op in FREE)
