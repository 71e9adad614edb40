"""What is within reach of a function: if a call changes it, this is no function of its arguments.

Tensors are not looked at: what is written into them stands in a program.
"""

from __future__ import annotations

import gc
import random
import sys
import warnings
from contextvars import ContextVar
from types import BuiltinFunctionType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.program.tracing.variables import contents_of, names_in

MOST = 10_000  # values that are looked at
BUILTINS = (type, BuiltinFunctionType, MethodType)
PLAIN = (bool, int, float, complex, str, bytes, type(None))
OTHERS = {"tinygrad_ce", "numpy", *sys.stdlib_module_names} - {"__main__"}
CHANGING = {"datetime", "secrets", "time", "uuid"}  # modules that answer otherwise each time


def within_reach(*functions: Any) -> list[Any]:
    """The numbers, texts, arrays and states of generators that functions can get at."""
    found: list[Any] = [random.getstate(), *map(repr, np.random.get_state(legacy=False).items())]
    seen: dict[int, Any] = {}
    stack = list(functions)
    while stack and len(found) < MOST:
        value = stack.pop()
        if isinstance(value, PLAIN):
            found.append(value)
        elif name_of_module(value) in CHANGING or value is hash or value is id:
            found.append(object())  # equal to nothing else
        elif id(value) not in seen and not isinstance(value, (Node, ModuleType)):
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
        case ContextVar():
            return [value.get(None)]
        case GeneratorType(gi_frame=frame):
            return [] if frame is None else [frame.f_lasti, *frame.f_locals.values()]
        case np.random.Generator():
            return repr(value.bit_generator.state)
        case random.Random():
            return repr(value.getstate())
        case staticmethod() | classmethod():
            return [value.__func__]
        case type():
            own = is_own(value.__module__)
            return [*value.__bases__, *vars(value).values()] if own else []
    if type(value).__module__ == "functools":  # what a cache holds is told to nobody else
        return gc.get_referents(value)
    return [type(value), *state_of(value)]


def name_of_module(value: Any) -> str:
    """The module that a value is, or that a function is from."""
    if isinstance(value, ModuleType):
        return value.__name__
    return getattr(value, "__module__", None) or "" if isinstance(value, BUILTINS) else ""


def state_of(value: Any) -> list[Any]:
    """What would be pickled: attributes, slots and elements; the attributes where nothing would."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of iterators that shall not be, some day
            _, *parts = value.__reduce_ex__(2)
    except Exception:  # whatever it raises: a file cannot be pickled
        return [*getattr(value, "__dict__", {}).values()]
    return [[*part] if hasattr(part, "__next__") else part for part in parts]


def is_own(module: str) -> bool:
    """Whether a module may be the user's."""
    return module.partition(".")[0] not in OTHERS


def held_by(function: FunctionType) -> list[Any]:
    """The variables, defaults and attributes of a function of the user."""
    if not is_own(function.__globals__.get("__name__", "")):
        return []
    names, found = names_in(function.__code__), []
    spaces = [function.__globals__]
    for space in spaces:  # those of modules that are named, too
        for value in (space[n] for n in sorted(names & space.keys())):
            if not isinstance(value, ModuleType) or value.__name__ in CHANGING:
                found.append(value)
            elif is_own(value.__name__) and not any(vars(value) is x for x in spaces):
                spaces.append(vars(value))
    found += [x for x in (hash, id) if x.__name__ in names - function.__globals__.keys()]
    cells = [contents_of(cell) for cell in function.__closure__ or ()]
    return [*found, *cells, function.__defaults__, function.__kwdefaults__, vars(function)]
