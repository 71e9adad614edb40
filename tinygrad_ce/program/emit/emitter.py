"""The fast path: a Program as the text of a Python function whose lines fill buffers.

A schedule says in which order the steps run, a plan where their values live; both are data. Then
each step is printed: a run is one NumPy call after another, each writing into memory that is there
already, in place where nobody looks at the old value any more.
"""

from __future__ import annotations

from tinygrad_ce.program.emit.blocks import LoopPrinter
from tinygrad_ce.program.emit.kernels import KERNELS
from tinygrad_ce.program.emit.memory import Plan
from tinygrad_ce.program.emit.numbers import number_text
from tinygrad_ce.program.emit.schedule import Loop, scheduled
from tinygrad_ce.program.emit.text import Emitted, Printer
from tinygrad_ce.program.ir import Program, Step
from tinygrad_ce.program.ops import OPS


def emit(program: Program) -> Emitted:
    """The function for this program."""
    schedule = scheduled(program)
    p = Printer(Plan(program, schedule, KERNELS))
    assumptions = {a.var: i for i, a in enumerate(program.assumptions)}
    for item in schedule.items:
        if isinstance(item, Loop):
            LoopPrinter(p, item, assumptions).write()
            continue
        emit_step(p, item)
        if item.out in assumptions:
            p.line(f"if not ({p.number(item.out)}): raise GuardFailure({assumptions[item.out]})")
    return p.finish()


def emit_step(p: Printer, step: Step) -> None:
    """The lines of one step; none for a view, which is made when it is used."""
    way = p.plan.ways[step.out]
    if way == "number":
        name = p.fresh(step.out, "n")
        texts = [p.number(x) for x in step.operands]
        p.line(f"{name} = {number_text(step, texts, p.program.constants)}")
        p.numbers[step.out] = name
    elif way == "kernel":
        KERNELS[step.op].write(p, step)
    elif way == "call":
        call(p, step)


def call(p: Printer, step: Step) -> None:
    """The function that eager code calls, with a result of its own."""
    op, name = OPS[step.op], p.fresh(step.out)
    attrs = [f"{k}={p.define(v, k)}" for k, v in step.attrs.items()]
    text = f"{p.define(op.run, step.op)}({', '.join([*map(p.value, step.operands), *attrs])})"
    arrays = [p.at(x) for x in step.operands if x.shape]
    may_be_view = step.out.shape or op.kind == "view"  # an array of no axes can be one too
    if op.kind not in ("elementwise", "reduction") and may_be_view and arrays:
        text = f"copy_if_aliased({', '.join([text, *arrays])})"
    p.line(f"{name} = {text}")
    p.hold(step.out, name)
