"""A traced step as one text, and back: an exercise carries the program that its answers meet.

The text is a program of primitive steps, packed: nobody reads a solution off it by accident. Who
unpacks it on purpose has done more than the exercise asked for.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np

from tinygrad_ce.engine.table import SLOT
from tinygrad_ce.program.ir import Assumption, Grad, Program, State, Step, Var
from tinygrad_ce.program.listing.listing import gradients_of_arguments, oracle
from tinygrad_ce.program.passes.exact import without_dead_steps
from tinygrad_ce.program.tracing.trace import GradOf


class Place:
    """What stands for a tensor of the program that was sealed."""


def without_updates(program: Program) -> Program:
    """The forward and the backward pass; what was drawn at random is given, as it was drawn."""
    values = oracle(program, program.example)
    drawn = [s.out for s in program.steps if s.op == "draw"]
    for i, x in enumerate(drawn):
        x.name = x.name or f"drawn{i + 1}"
    settings = [s.var for s in program.settings]
    stays = replace(
        program,
        inputs=[*program.inputs, *drawn],
        states=[State(s.node, s.before, s.before) for s in program.states],
        settings=[],
        steps=[s for s in program.steps if s.op != "draw"],
        constants=program.constants | {x: program.example[x] for x in settings},
        outputs=program.outputs[: program.returned] + gradients_of_arguments(program),
        example={x: v for x, v in program.example.items() if x not in settings}
        | {x: values[x] for x in drawn},
    )
    return without_dead_steps(stays)


def sealed(program: Program) -> str:
    """The program as text."""
    program = without_updates(program)
    ids: dict[Var, int] = {}
    arrays: dict[str, np.ndarray] = {}

    def of(x: Var) -> int:
        return ids.setdefault(x, len(ids))

    def value(x: Var, given: Any) -> Any:
        if isinstance(given, (np.ndarray, np.generic)):
            arrays[f"v{of(x)}"] = np.asarray(given)
            return {"array": of(x), "number": isinstance(given, np.generic)}
        return given

    nodes = {id(s.node): i for i, s in enumerate(program.states)}
    states = [
        [of(s.before), nodes.get(id(s.node.node)) if isinstance(s.node, GradOf) else None]
        for s in program.states
    ]
    told = {
        "name": program.name,
        "returned": program.returned,
        "inputs": [of(x) for x in program.inputs],
        "states": states,
        "constants": [[of(x), value(x, v)] for x, v in program.constants.items()],
        "example": [[of(x), value(x, v)] for x, v in program.example.items()],
        "steps": [
            [of(s.out), s.op, [of(x) for x in s.operands], plain(s.attrs), s.scope]
            for s in program.steps
        ],
        "outputs": [of(x) for x in program.outputs],
        "assumptions": [[of(a.var), a.what] for a in program.assumptions],
        "kept": [
            [nodes[id(k.node)], of(k.var)]
            for k in program.grads
            if k.var is not None and id(k.node) in nodes
        ],
        "gradients": [[of(g), [of(x) for x in xs]] for g, xs in program.gradient_of.items()],
    }
    told["vars"] = [
        [list(x.shape), None if x.dtype is None else str(x.dtype), x.scalar, x.name] for x in ids
    ]
    packed = BytesIO()
    arrays["program"] = np.frombuffer(json.dumps(told).encode(), np.uint8)
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    return b64encode(packed.getvalue()).decode()


def opened(text: str) -> Program:
    """The program of a text that `sealed` made. Raises ValueError for any other."""
    try:
        packed = np.load(BytesIO(b64decode(text)), allow_pickle=False)
        told = json.loads(bytes(packed["program"]))
    except (ValueError, OSError, KeyError) as error:
        raise ValueError("Exam: the text of the exercise is not whole; copy it again") from error
    vars = [Var(tuple(s), d and np.dtype(d), n, name) for s, d, n, name in told["vars"]]

    def value(given: Any) -> Any:
        if isinstance(given, dict):
            array = packed[f"v{given['array']}"]
            return array[()] if given["number"] else array
        return given

    def some(ids: Iterable[int]) -> list[Var]:
        return [vars[i] for i in ids]

    places: list[Any] = [Place() for _ in told["states"]]
    for i, (_, owner) in enumerate(told["states"]):
        if owner is not None:
            places[i] = GradOf(places[owner])
    befores = some(before for before, _ in told["states"])
    return Program(
        told["name"],
        some(told["inputs"]),
        [State(place, x, x) for place, x in zip(places, befores)],
        constants={vars[i]: value(v) for i, v in told["constants"]},
        steps=[
            Step(vars[out], op, tuple(some(xs)), unfolded(settings), tuple(scope))
            for out, op, xs, settings, scope in told["steps"]
        ],
        outputs=some(told["outputs"]),
        grads=[Grad(places[i], vars[x]) for i, x in told["kept"]],
        assumptions=[Assumption(vars[x], what, None) for x, what in told["assumptions"]],
        example={vars[i]: value(v) for i, v in told["example"]},
        gradient_of={vars[g]: tuple(some(xs)) for g, xs in told["gradients"]},
        returned=told["returned"],
    )


# --- settings of steps: JSON has no tuple, slice, dtype ... ---------------------------------------


def plain(value: Any) -> Any:
    """A setting as JSON has it: what JSON does not know, as a list that begins with its kind."""
    match value:
        case dict():
            return {key: plain(x) for key, x in value.items()}
        case tuple() | list():
            return ["tuple" if isinstance(value, tuple) else "list", *map(plain, value)]
        case slice():
            return ["slice", plain(value.start), plain(value.stop), plain(value.step)]
        case np.dtype():
            return ["dtype", str(value)]
        case np.generic():
            return value.item()
    if value is SLOT:
        return ["slot"]
    return ["ellipsis"] if value is Ellipsis else value


def unfolded(value: Any) -> Any:
    """A setting that `plain` has written."""
    if isinstance(value, dict):
        return {key: unfolded(x) for key, x in value.items()}
    if not isinstance(value, list):
        return value
    kind, *parts = value[0], *map(unfolded, value[1:])
    made: dict[str, Any] = {
        "tuple": tuple, "list": list, "slice": lambda xs: slice(*xs),
        "dtype": lambda xs: np.dtype(xs[0]), "slot": lambda _: SLOT, "ellipsis": lambda _: ...,
    }  # fmt: skip
    return made[kind](parts)
