"""The usual call of a compiled function, as the text of one function: look, run, hand out.

What `Runner.call` does step by step for every program is here spelt out for one: the conditions
that it rests on, the arrays of its state, the gradients that it leaves. A call that is not usual
gives MISS, before anything has happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_ce.engine.backward import COMPILED
from tinygrad_ce.engine.memory import tick
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.program.memory import root
from tinygrad_ce.program.running import Runner
from tinygrad_ce.program.tracing.trace import Hole

MISS = object()


def usual_call(runner: Runner) -> Callable[[Any, Any], Any] | None:
    """`call(args, kwargs)` for a program that is bound; None if its calls need more than this."""
    trace = runner.trace
    on_arguments = trace.written or trace.gradients or trace.live
    if runner.drawing or runner.entering or trace.attributes or on_arguments:
        return None
    names = {**trace.guards.names, "runner": runner, "run": runner.run}
    names.update(MISS=MISS, tick=tick, leaf=leaf, writer=runner.program.name + "()")

    def name(value: Any) -> str:
        names[f"n{len(names)}"] = value
        return f"n{len(names) - 1}"

    check = (1 << runner.calls.bit_length()) - 1  # calls before the next comparison
    conditions = [f"runner.calls < {check}", *trace.guards.conditions]
    conditions += [f"{name(n)}.array is {name(a)}" for n, a in zip(runner.states, runner.seen)]
    if runner.memories:
        shared = name(runner.memories)
        conditions += [
            f"({p.path}.memory is None or {p.path}.memory not in {shared})" for p in trace.tensors
        ]
        known = name({*runner.roots, *runner.gradients})
        conditions += [
            f"({text}.base is None or {name(root)}({text}) not in {known})"
            for x, text in zip(trace.program.inputs, trace.texts)
            if not (x.scalar or text.endswith(".array"))
        ]
    lines = ["try:", f"    if not ({' and '.join(conditions)}): return MISS"]
    lines += ["except Exception: return MISS"]  # an attribute or an entry is gone
    run = f"values = run({', '.join(trace.texts)})"
    marks = []
    for memory in map(name, runner.memories):
        marks += [f"{memory}.written = now", f"{memory}.writer = writer"]
    if marks:
        mark = "; ".join(["now = tick()", *marks])
        lines += ["try:", f"    {run}", "finally:", f"    {mark}"]
    else:
        lines.append(run)
    lines.append("runner.calls += 1")
    for node, kept in runner.kept:
        gradient = name(kept) if kept is not None else "None"
        lines.append(f"{name(node)}.kept = {gradient}")
    lines += returned(runner, name)
    exec("def call(args, kwargs):\n    " + "\n    ".join(lines), names)
    call: Callable[[Any, Any], Any] = names["call"]
    return call


def returned(runner: Runner, name: Callable[[Any], str]) -> list[str]:
    """The lines that give back what the function returns."""
    structure = runner.trace.structure
    if not isinstance(structure, Hole) or structure.array:
        return [f"return {name(runner.filled)}(values, args, kwargs)"]
    lines = [f"y = leaf(values[{structure.number}])"]
    if structure.requires_grad:
        lines.append(f"y.cut = {COMPILED!r}")
    return [*lines, "return y"]
