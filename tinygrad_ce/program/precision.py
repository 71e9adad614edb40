"""The same program in float64: is a difference mere rounding, or a mistake?

A relu, a comparison, a largest element may turn over in the last bit of float32, and what comes
after it then differs by much. In float64 none of them turns, so a program that computes there what
it should is right, and so is the text that is made of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_ce.engine.table import window_parts
from tinygrad_ce.program.before import Before
from tinygrad_ce.program.emit.emitter import emit
from tinygrad_ce.program.ir import Program, State, Step, Var
from tinygrad_ce.program.memory import FlatParameter
from tinygrad_ce.program.ops import OPS, evaluate
from tinygrad_ce.program.passes.exact import reduced_axes
from tinygrad_ce.program.tracing.trace import GradOf

WIDE = np.dtype(np.float64)


def is_float(setting: Any) -> bool:
    """Whether a setting is a dtype of floats."""
    return isinstance(setting, (type, np.dtype)) and np.dtype(setting).kind == "f"


def raised(value: Any) -> Any:
    """The value in float64, if it is an array of floats."""
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "f":
        return value.astype(WIDE, copy=False)
    return value


def in_float64(program: Program, before: Before) -> dict[Var, Any]:
    """All values of a program, computed in float64 from what was given."""
    before.set_generators()
    values = {x: raised(value) for x, value in before.given(program).items()}
    for step in program.steps:
        attrs = {k: WIDE if is_float(v) else v for k, v in step.attrs.items()}
        operands = [values[x] for x in step.operands]
        values[step.out] = raised(evaluate(step.op, operands, attrs))
    return values


def may_turn(program: Program, values: dict[Var, Any], noise: float) -> bool:
    """Whether something is decided by no more than the last bits of float32, of numbers as large
    as `noise`; `values` are those of float64.
    """
    bound = 64 * float(np.finfo(np.float32).eps) * noise
    return any(
        np.any(distance <= bound)
        for step in program.steps
        for distance in distances(step, [np.asarray(values[x]) for x in step.operands])
    )


def distances(step: Step, given: list[Any]) -> Iterator[Any]:
    """How far the numbers of a step are from where its result jumps."""
    if not given or given[0].dtype.kind != "f":
        return
    x, attrs = given[0], step.attrs
    if OPS[step.op].jumps == "compares":
        limits = [attrs[k] for k in ("low", "high") if attrs.get(k) is not None]
        for other in given[1:] or limits or [0.0]:
            yield np.abs(x - other)
    elif step.op == "argmax_pool":
        yield np.diff(np.sort(np.stack(window_parts(x, **attrs), -1))[..., -2:])
    elif OPS[step.op].jumps == "chooses":
        over = reduced_axes(step)
        rest = [i for i in range(x.ndim) if i not in over]
        rows = x.transpose(*rest, *over)
        rows = np.sort(rows.reshape(*rows.shape[: len(rest)], -1), axis=-1)
        ends = {"argmin": np.s_[:2], "min": np.s_[:2], "argsort": np.s_[:]}
        yield np.diff(rows[..., ends.get(step.op, np.s_[-2:])])
    elif OPS[step.op].jumps == "rounds" and not is_float(attrs.get("dtype")):
        quotient = x / given[1] if len(given) > 1 else x
        yield np.abs(2 * quotient - np.rint(2 * quotient))  # rint jumps at halves


def emitted_in_float64(program: Program, values: dict[Var, Any], before: Before) -> dict[Var, Any]:
    """What the text that is made of a program computes in float64: outputs, states, gradients.

    `values` are those of the steps. The text is bound to memory laid out as that of the states,
    and only then is the memory filled: a copy made too early would be found.
    """
    wide = {x: Var.like(v, x.name) for x, v in values.items()}
    emitted = emit(widened(program, wide))
    names = dict(emitted.names)
    memory = {id(s.node): empty_like(s, values[s.before]) for s in program.states}
    names.update((name, memory[id(node)]) for name, node in emitted.state_names)
    exec(emitted.source, names)
    for state in program.states:
        memory[id(state.node)][...] = values[state.before]
    before.set_generators()
    results = names["run"](*(values[x] for x in program.inputs))
    found: dict[Var, Any] = dict(zip(program.outputs, results))
    found.update((s.after, memory[id(s.node)]) for s in program.states)
    left = dict(names["GRADS"])
    found.update((k.var, names[left[k.node]]) for k in program.grads if k.var is not None)
    return found


def empty_like(state: State, value: Any) -> Any:
    """Memory for a state, laid out as it lies now."""
    now = value if isinstance(state.node, (FlatParameter, GradOf)) else np.asarray(state.node.array)
    return np.zeros_like(now, value.dtype)


def widened(program: Program, wide: dict[Var, Var]) -> Program:
    """The program with other values in the place of its own."""
    steps = [
        Step(
            wide[s.out], s.op, tuple(wide[x] for x in s.operands),
            {k: WIDE if is_float(v) else v for k, v in s.attrs.items()}, s.scope, s.line,
        )
        for s in program.steps
    ]  # fmt: skip
    program = replace(program, gradient_of={}).around(steps, wide.__getitem__)
    program.constants = {x: raised(v) for x, v in program.constants.items()}
    return program
