"""What is within reach of a function: if a call changes it, this is no function of its arguments.

Tensors are not looked at: what is written into them stands in a program.
"""

from __future__ import annotations

import random
import sys
from types import FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.program.tracing.variables import contents_of, names_in

MOST = 10_000  # values that are looked at
PLAIN = (bool, int, float, complex, str, bytes, type(None))
OTHERS = {"tinygrad_ce", "numpy", *sys.stdlib_module_names} - {"__main__"}


def within_reach(*functions: Any) -> list[Any]:
    """The numbers, texts, arrays and states of generators that functions can get at."""
    found: list[Any] = [random.getstate(), *map(repr, np.random.get_state(legacy=False).items())]
    seen: dict[int, Any] = {}
    stack = list(functions)
    while stack and len(found) < MOST:
        value = stack.pop()
        if isinstance(value, PLAIN):
            found.append(value)
        elif id(value) not in seen and not isinstance(value, (Node, ModuleType, type)):
            seen[id(value)] = value
            parts = parts_of(value)
            found.append(parts if isinstance(parts, str) else len(parts))
            stack += [] if isinstance(parts, str) else parts
    return found


def parts_of(value: Any) -> list[Any] | str:
    """What a value holds, or its state as a text."""
    match value:
        case MethodType():
            return [value.__self__, value.__func__]
        case FunctionType():
            return held_by(value)
        case dict():
            return [*value, *value.values()]
        case list() | tuple() | set() | frozenset():
            return [*value]
        case np.ndarray() | np.generic():
            return repr(value.tobytes())
        case GeneratorType(gi_frame=frame):
            return [] if frame is None else [frame.f_lasti, *frame.f_locals.values()]
        case np.random.Generator():
            return repr(value.bit_generator.state)
        case random.Random():
            return repr(value.getstate())
    if hasattr(value, "__next__"):
        return repr(value.__reduce__())
    methods = (getattr(type(value), name, None) for name in ("__call__", "forward"))
    return [*getattr(value, "__dict__", {}).values(), *methods]


def held_by(function: FunctionType) -> list[Any]:
    """The variables, defaults and attributes of a function of the user."""
    space = function.__globals__
    if space.get("__name__", "").partition(".")[0] in OTHERS:
        return []
    names = sorted(names_in(function.__code__) & space.keys())
    cells = [contents_of(cell) for cell in function.__closure__ or ()]
    given = [function.__defaults__, function.__kwdefaults__, vars(function)]
    return [*(space[n] for n in names), *cells, *given]
