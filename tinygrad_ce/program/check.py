"""The second call: is the program that was traced still what the function does?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.program.before import Before, key_of
from tinygrad_ce.program.ir import Program, Step, Var, coarsest
from tinygrad_ce.program.memory import FlatParameter
from tinygrad_ce.program.ops import run
from tinygrad_ce.program.precision import emitted_in_float64, in_float64, may_turn
from tinygrad_ce.program.running import Runner, parts_of
from tinygrad_ce.program.tracing.guards import PLAIN, same
from tinygrad_ce.program.tracing.symbol import SET_OUTSIDE, TraceError
from tinygrad_ce.program.tracing.trace import GradOf, OutputSlot, Trace

NUMBERS = "Pass it as an argument, or keep it in a Tensor that is written in place: t[...] = x"


# --- the steps ----------------------------------------------------------------------------------


def failures(one: Program, two: Program) -> set[Any]:
    """The keys of what one program takes for granted and does not hold where two was traced."""
    makers, others = one.makers(), two.makers()
    asked = {a.key: others[a.var] for a in two.assumptions}
    return {
        a.key
        for a in one.assumptions
        if a.key not in asked or not alike(makers[a.var], asked[a.key])
    }


def compare_traces(first: Trace, again: Trace, call: int) -> bool:
    """Stop at the first step that is another one when the function runs again, in this call.

    False if the difference is none to complain about: what was made in the first call is there in
    the second.
    """
    one, two = first.program, again.program
    when = WHEN.get(call, f"call {call}")
    names: dict[Var, Var] = dict(zip(one.inputs, two.inputs))
    names.update((a.var, b.var) for a, b in zip(one.settings, two.settings))
    states = {key_of(s.node): s.before for s in two.states}
    names.update((s.before, states[key_of(s.node)]) for s in one.states if key_of(s.node) in states)
    known = {*names.values()}
    for a, b in zip(one.steps, two.steps):
        if a.op != b.op or len(a.operands) != len(b.operands) or not alike(a, b):
            raise different(one, when, f"{described(b)} instead of {described(a)}")
        for x, y in zip(a.operands, b.operands):
            if x in one.constants and y in two.constants:
                compare_constants(one, two, x, y, f"in {when} than in the first", b)
            elif names.get(x) is not y:
                made_before = y not in known or x in one.constants or y in two.constants
                if made_before and call <= 2:
                    return False  # read for the first time: it was made in the call before
                raise TraceError(
                    f"compile: {one.name} reads another tensor in {when} than in the "
                    f"first, in {described(b)}. Pass it as an argument, or write into one "
                    "tensor in place: t[...] = x"
                )
        names[a.out] = b.out
        known.add(b.out)
    if len(one.steps) != len(two.steps):
        longer = max(one.steps, two.steps, key=len)[min(len(one.steps), len(two.steps))]
        steps = f"{len(two.steps)} steps instead of {len(one.steps)}, first {described(longer)}"
        raise different(one, when, steps)
    compare_returned(one.name, when, first.structure, again.structure)
    compare_ends(first, again, when, names)
    return True


def compare_settings(name: str, before: list[tuple[dict[str, Any], str, Any]]) -> None:
    """Stop if the function itself sets a learning rate to another one in each call."""
    for group, key, value in before:
        now = group[key]
        if now != value:
            group[key] = value
            raise TraceError(
                f"compile: {name} sets a learning rate, here from {value:g} to {now:g}, which "
                f"would be done only in calls that trace. {SET_OUTSIDE}"
            )


WHEN = {1: "a second trace", 2: "its second call"}


def compare_ends(first: Trace, again: Trace, when: str, names: dict[Var, Var]) -> None:
    """Stop if the same values are computed, but others are returned, written or kept."""
    one, two = first.program, again.program
    after = {key_of(s.node): s.after for s in two.states}
    grads = {k.node: k.var for k in two.grads}
    pairs = [*zip(one.outputs, two.outputs), *((k.var, grads.get(k.node)) for k in one.grads)]
    pairs += [(s.after, after[key_of(s.node)]) for s in one.states if key_of(s.node) in after]
    given = [[(place.path, n) for place, n in t.written + t.gradients] for t in (first, again)]
    same_ends = len(one.outputs) == len(two.outputs) and grads.keys() == {k.node for k in one.grads}
    for x, y in pairs:
        if x in one.constants and y in two.constants:
            compare_constants(one, two, x, y, f"in {when} than in the first")
        else:
            same_ends = same_ends and (x and names.get(x)) is y
    if not same_ends or given[0] != given[1]:
        what = "another value is returned, written into a tensor or kept as .grad"
        raise different(one, when, what)


def compare_constants(
    one: Program, two: Program, x: Var, y: Var, when: str, step: Step | None = None
) -> None:
    """Stop if a constant is another one now."""
    v, w = np.asarray(one.constants[x]), np.asarray(two.constants[y])
    if v.shape != w.shape or v.dtype != w.dtype or v.tobytes() != w.tobytes():
        raise TraceError(
            f"compile: {one.name} reads another number {when}: {short(v)} became {short(w)} "
            f"in {described(step) if step else 'what it returns or keeps'}. The program would "
            f"repeat the first one. {NUMBERS}"
        )


def compare_returned(name: str, when: str, a: Any, b: Any) -> None:
    """Stop if a number or text that the function returns is another one now."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        a, b = list(a.values()), list(b.values())
    if isinstance(a, (list, tuple)) and type(a) is type(b) and len(a) == len(b):
        for x, y in zip(a, b):
            compare_returned(name, when, x, y)
        return
    if type(a) is not type(b) or (isinstance(a, (*PLAIN, np.generic)) and not same(a, b)):
        what = [("a value" if isinstance(x, OutputSlot) else repr(x)) for x in (a, b)]
        raise TraceError(
            f"compile: {name} returns {what[1]} in {when} instead of {what[0]}; the "
            f"program would repeat the first. {NUMBERS}"
        )


def different(program: Program, when: str, what: str) -> TraceError:
    """The error for other steps than in the first call."""
    return TraceError(
        f"compile: {program.name} does something else in {when} than in the first: "
        f"{what}. What is done may depend on shapes, dtypes and modes, not on numbers that change "
        f"between calls. {NUMBERS}"
    )


def alike(a: Step, b: Step) -> bool:
    """Whether two steps have the same attributes."""
    return a.attrs.keys() == b.attrs.keys() and all(
        same_attribute(v, b.attrs[k]) for k, v in a.attrs.items()
    )


def same_attribute(a: Any, b: Any) -> bool:
    """Whether two attributes are equal; NaN equals itself."""
    if isinstance(a, (tuple, list)) and type(a) is type(b):
        return len(a) == len(b) and all(map(same_attribute, a, b))
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return a is b or bool(a == b) or (a != a and b != b)


def described(step: Step) -> str:
    """A step, as an error names it."""
    return f"{step.op} at {step.line}" if step.line is not None else step.op


def short(v: Any) -> str:
    """A constant, as an error shows it."""
    return repr(v.item()) if v.ndim == 0 else f"an array of shape {v.shape}, {v.flat[0]!s} ...,"


# --- the values ---------------------------------------------------------------------------------


def compare_values(runner: Runner, again: Trace, before: Before) -> None:
    """Stop if the run that has just been differs from what the function itself computed."""
    found, wanted = run_ends(runner), ends(again.program, again.found)
    coarse = coarsest(again.program)
    wrong = different_ends(found, wanted, again.program, again.found, 0.0, coarse)
    if not wrong:
        return
    before.set_generators()
    with np.errstate(all="ignore"):
        noise = largest(run(again.program.steps, before.given(again.program)))
        wrong = different_ends(found, wanted, again.program, again.found, noise, coarse)
        if not wrong or rounding_explains(runner, again, before):
            return
        a, b = found[wrong[0]], wanted[wrong[0]]
        how = by_how_much(a.value, b.value) + first_difference(runner, before, a.var)
    raise TraceError(
        f"compile: the program of {runner.program.name} does not compute what the function "
        f"does: {a.name} differs{how}. Nothing was changed. "
        "This is a mistake of tinygrad_ce, not yours; call the function without compile"
    )


class End(NamedTuple):
    """What is there after a run: a result, a state or a gradient."""

    name: str
    var: Var
    value: Any


def ends(program: Program, values: dict[Var, Any]) -> dict[Any, End]:
    """All that a run of a program leaves, by what it is known by in another program."""
    left: dict[Any, End] = {
        i: End(f"result {i}", x, values[x]) for i, x in enumerate(program.outputs)
    }
    for state in program.states:
        if state.after not in values or isinstance(state.node, GradOf):
            continue
        if isinstance(state.node, FlatParameter):
            flat = np.ascontiguousarray(values[state.after])
            pieces = [piece.of(flat) for piece in state.node.slices]
        else:
            pieces = [values[state.after]]
        name = state.before.name or "a tensor"
        left.update((n, End(name, state.after, v)) for n, v in zip(parts_of(state), pieces))
    for grad in program.grads:
        if grad.var is not None:
            name = f"the gradient {grad.var.name}"
            left["grad", grad.node] = End(name, grad.var, values[grad.var])
    return left


def run_ends(runner: Runner) -> dict[Any, End]:
    """The same of the run that has just been."""
    program = runner.program
    values: dict[Var, Any] = dict(zip(program.outputs, runner.results))
    values.update((k.var, k.node._grad.array) for k in program.grads if k.var is not None)
    left = ends(replace(program, states=[]), values)
    for state in program.states:
        if not isinstance(state.node, GradOf):
            name = state.before.name or "a tensor"
            left.update((n, End(name, state.after, n.array)) for n in parts_of(state))
    return left


def different_ends(
    found: dict[Any, End],
    wanted: dict[Any, End],
    program: Program,
    values: dict[Var, Any],
    noise: float,
    coarse: Any,
) -> list[Any]:
    """What differs by more than rounding; `values` are those of the wanted program."""
    wrong = []
    gradients = {k.var for k in program.grads}
    for key, (_, var, value) in wanted.items():
        if key not in found or close(found[key].value, value, noise, coarse):
            continue
        significant = where_significant(program, values, var, noise)
        near = close_where(significant, found[key].value, value, noise, coarse)
        if not near or (var in gradients and (np.isnan(found[key].value) != np.isnan(value)).any()):
            wrong.append(key)
    return wrong


def rounding_explains(runner: Runner, again: Trace, before: Before) -> bool:
    """Whether the program is right, and a decision that hangs on the last bit of a float32 made
    the difference: both programs and the text give the same in float64.
    """
    coarse = coarsest(again.program)
    if coarse == np.float64:
        return False
    exact, own = in_float64(again.program, before), in_float64(runner.program, before)
    noise = largest(exact)
    if not may_turn(again.program, exact, noise):
        return False
    left, wanted = ends(runner.program, own), ends(again.program, exact)
    if different_ends(left, wanted, again.program, exact, noise, coarse):
        return False
    text = ends(runner.program, emitted_in_float64(runner.program, own, before))
    return not different_ends(text, left, runner.program, own, noise, coarse)


def where_significant(program: Program, values: dict[Var, Any], x: Var, noise: float) -> Any:
    """Where x can be compared: not where it comes from a gradient that is mathematically 0 and
    numerically mere rounding, as that of a bias before batch normalisation. Divided by its own
    size it may be anything.
    """
    gradients = {k.var for k in program.grads}
    makers = program.makers()
    stack, seen = [x], set()
    significant: Any = True
    while stack:
        var = stack.pop()
        if var in seen:
            continue
        seen.add(var)
        if var in gradients and var in values:
            g = np.asarray(values[var])
            large = ~(np.abs(g) <= 1e3 * float(np.finfo(g.dtype).eps) * noise)  # nan is no rounding
            significant = significant & (large if g.shape == x.shape else large.any())
        elif var in makers:
            stack.extend(makers[var].operands)
    return significant


def close_where(significant: Any, a: Any, b: Any, noise: float, coarse: Any) -> bool:
    """Whether a and b are close where one can be sure of them."""
    a, b = np.asarray(a), np.asarray(b)
    if significant is True or a.shape != b.shape:
        return False
    where = np.broadcast_to(significant, a.shape)
    return close(a[where], b[where], noise, coarse)


def largest(values: dict[Var, Any]) -> float:
    """The largest finite number of a computation."""
    arrays = map(np.asarray, values.values())
    return max((size_of(x) for x in arrays if x.dtype.kind == "f"), default=0.0)


def size_of(array: Any) -> float:
    """The largest finite |x| of an array; 0 if there is none."""
    size = float(np.abs(array).max(initial=0.0))
    if math.isfinite(size):
        return size
    return float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))


def close(a: Any, b: Any, noise: float, coarse: Any) -> bool:
    """Equal up to 1e-12 of the largest element in float64, 1e-5 in float32, or the rounding of
    numbers as large as `noise`. Where `coarse` floats took part, their rounding counts.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    bound = 1e-12 if coarse == np.float64 else 1e-5
    atol = bound * size_of(b) + 16 * float(np.finfo(coarse).eps) * noise
    with np.errstate(all="ignore"):
        near = (np.abs(a - b) <= atol).all()  # several times faster, where all are finite
    return bool(near or np.allclose(a, b, rtol=0.0, atol=atol, equal_nan=True))


def by_how_much(found: Any, wanted: Any) -> str:
    """The largest difference of two arrays, in words."""
    a, b = np.asarray(found), np.asarray(wanted)
    if a.shape != b.shape or a.dtype != b.dtype:
        return f" (shape {a.shape} and dtype {a.dtype} instead of {b.shape} and {b.dtype})"
    if a.dtype.kind != "f" or not a.size:
        return ""
    difference = np.max(np.abs(a - b))
    return f" by up to {difference:.3g}, where the largest element is {np.max(np.abs(b)):.3g}"


def first_difference(runner: Runner, before: Before, x: Var) -> str:
    """Where the program parts from the trace: the first step with another value, or else the step
    that makes x.
    """
    before.set_generators()
    plain = run(runner.trace.program.steps, before.given(runner.trace.program))
    before.set_generators()
    values = run(runner.program.steps, before.given(runner.program))
    noise, coarse = largest(plain), coarsest(runner.trace.program)
    for step in runner.program.steps:
        if step.out in plain and not close(values[step.out], plain[step.out], noise, coarse):
            return f", first in {described(step)}"
    maker = runner.program.makers().get(x)
    return f", which comes from {described(maker)}" if maker is not None else ""
