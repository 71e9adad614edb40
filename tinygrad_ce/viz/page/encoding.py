"""A program as JSON, for the engine in a page: arrays to the last bit, steps as short lists.

    {"type": "float32", "given": [array, ...], "ops": ["add", ...], "steps": [[0, 2, 1], ...]}

Values are numbered: first what is given, then the result of each step. A step has the number of its
operation, its operands, counted backwards from its own result, its attrs if it has some, and
the type of its result where that is another one.
"""

from __future__ import annotations

import math
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_ce.engine.table import SLOT
from tinygrad_ce.program.ir import Program, Var


def encoded_array(value: Any) -> dict[str, Any]:
    """An array or a number: shape `s`, type `t`, and the one number `f` or all bytes `b`.

    >>> encoded_array(np.ones((2, 3), np.float32)), encoded_array(0.1)
    ({'s': [2, 3], 't': 'float32', 'f': 1.0}, {'s': [], 't': 'number', 'f': 0.1})
    """
    array = np.asarray(value)
    told: dict[str, Any] = {"s": list(array.shape), "t": type_of(Var.like(value))}
    first = array.reshape(-1)[:1]
    if array.size and first.tobytes() * array.size == array.tobytes():
        return told | {"f": plain_setting(first[0].item())}
    little = array if sys.byteorder == "little" else array.byteswap()
    return told | {"b": b64encode(little.tobytes()).decode()}


def type_of(x: Var) -> str:
    """The type of a value: of a Python number "number"."""
    return "number" if x.dtype is None else str(x.dtype)


def plain_setting(value: Any) -> Any:
    """A setting of a step for JSON, which knows no nan, no slice and no slot for an array."""
    if value is SLOT:
        return "·"
    if value is Ellipsis:
        return "…"
    if isinstance(value, slice):
        return {"s": [plain_setting(end) for end in (value.start, value.stop, value.step)]}
    if isinstance(value, (tuple, list)):
        return [plain_setting(part) for part in value]
    if isinstance(value, (float, np.floating)):
        return (
            float(value) if math.isfinite(value) else str(float(value)).replace("inf", "Infinity")
        )
    if isinstance(value, np.integer):
        return int(value)
    return str(value) if isinstance(value, (np.dtype, type)) else value


def encoded(program: Program, given: Sequence[Var], values: Mapping[Var, Any]) -> dict[str, Any]:
    """The program, with the number of each value as `ids`: those in `given` come first."""
    ids: dict[Var, int] = {}
    for x in (*given, *program.constants):
        ids.setdefault(x, len(ids))
    arrays = [encoded_array(values[x] if x in values else program.constants[x]) for x in ids]
    usual = Counter(type_of(step.out) for step in program.steps).most_common(1)
    told: dict[str, Any] = {"type": usual[0][0] if usual else "float32", "given": arrays}
    ops = {op: i for i, op in enumerate(dict.fromkeys(step.op for step in program.steps))}
    steps: list[Any] = []
    told |= {"ops": list(ops), "steps": steps}
    for step in program.steps:
        kind = "" if type_of(step.out) == told["type"] else type_of(step.out)
        attrs = {key: plain_setting(value) for key, value in step.attrs.items()}
        line = [ops[step.op], *(len(ids) - ids[x] for x in step.operands)]
        steps.append(line + [attrs] * bool(attrs) + [kind] * bool(kind))
        ids[step.out] = len(ids)
    return {**told, "ids": ids}
