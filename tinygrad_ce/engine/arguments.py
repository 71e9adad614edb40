"""What an operation takes: names and defaults, read off its forward function, and one call's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tinygrad_ce.engine.operands import type_name

MISSING = object()  # the default of a setting that has none


def signature(forward: Callable[..., Any], operands: int) -> tuple[list[str], tuple[Any, ...], int]:
    """Names of operands and attributes, defaults of these, and whether operands are starred."""
    forward = getattr(forward, "__wrapped__", forward)
    code = getattr(forward, "__code__", None)
    if code is None:  # NumPy's own
        return [["x"], ["a", "b"]][operands - 1], (), 0
    count, names = code.co_argcount, list(code.co_varnames)
    if code.co_flags & inspect.CO_VARARGS:  # attributes are keyword-only, after *operands
        attrs = names[count : count + code.co_kwonlyargcount]
        defaults = forward.__kwdefaults__ or {}
        return [*names[:count], names[count + len(attrs)], *attrs], tuple(
            defaults.get(name, MISSING) for name in attrs
        ), 1  # fmt: skip
    attrs = names[operands:count]
    given = forward.__defaults__ or ()
    return names[:count], (MISSING,) * (len(attrs) - len(given)) + given, 0


def completed(op: Any, args: Any, keywords: dict[str, Any]) -> tuple[Any, ...]:
    """All arguments of a call, those given by name and the defaults filled in."""
    wanted = len(op.names) - len(args)
    if len(keywords) == wanted and list(keywords) == op.names[len(args) :]:
        return (*args, *keywords.values())
    if not keywords and wanted == len(op.defaults) and MISSING not in op.defaults:
        return (*args, *op.defaults)
    defaults = (MISSING,) * (len(op.names) - len(op.defaults)) + op.defaults
    rest = list(zip(op.names, defaults))[len(args) :]
    full = (*args, *(keywords.pop(name, default) for name, default in rest))
    if keywords or len(full) != len(op.names) or MISSING in full[len(args) :]:
        given = ", ".join([*map(type_name, args), *keywords])
        raise TypeError(f"{op.name}({', '.join(op.names)}) does not take ({given})")
    return full
