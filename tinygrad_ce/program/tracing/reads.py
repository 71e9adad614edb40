"""What the code of a function reads, in its own words: `cfg.model["lr"]` is a path.

A path begins at a global, a variable of the closure, an argument or an import and goes on by
attributes and by items whose key stands in the code. What is computed first, `f(x).scale` or
`part.scale` for each part of a list, has no path: there only the attribute's name is known.
"""

from __future__ import annotations

import dis
import types
from functools import lru_cache
from typing import Any, NamedTuple

Path = tuple[tuple[str, Any], ...]
"""(kind, name) pairs: "global", "cell", "local" or "import" first, then ".", "()" and "[]"."""


class Reads(NamedTuple):
    """What one function reads, its inner functions included."""

    paths: tuple[Path, ...]
    values: frozenset[str]  # attributes of what has no path
    methods: frozenset[str]  # those of them that are called
    texts: frozenset[str]  # texts that may name an attribute, for getattr and the like


LOADS = {"GLOBAL": "global", "NAME": "global", "DEREF": "cell", "CLASSDEREF": "cell"}
UNSEEN = {"EXTENDED_ARG", "CACHE", "NOP", "PUSH_NULL", "COPY", "RESUME", "PRECALL"}
BY_TEXT = {"getattr", "hasattr", "vars", "__dict__", "attrgetter"}
NO_KEY = object()


@lru_cache(maxsize=1024)
def reads_of(code: types.CodeType) -> Reads:
    """The reads of a function with this code."""
    paths: dict[Path, None] = {}  # in the order of the code
    names: dict[str, set[str]] = {"values": set(), "methods": set(), "texts": set()}
    texts = code.co_names if BY_TEXT & {*code.co_names} else ()
    path: Path = ()
    key: Any = NO_KEY
    before: Any = 0  # the constant before that: how many dots an import has
    for step in dis.get_instructions(code):
        op, arg = step.opname, step.argval
        if op in UNSEEN:
            continue
        if op in ("LOAD_CONST", "LOAD_SMALL_INT", "RETURN_CONST"):
            before, key = key, arg
            if isinstance(arg, types.CodeType):
                inner = reads_of(arg)
                paths.update(dict.fromkeys(inner.paths))
                for kind, known in names.items():
                    known |= getattr(inner, kind)
            elif texts and isinstance(arg, str) and arg.isidentifier():
                names["texts"].add(arg)
            continue
        item = op == "BINARY_SUBSCR" or (op == "BINARY_OP" and step.argrepr == "[]")
        if item and path and key is not NO_KEY:
            path, key = (*path, ("[]", key)), NO_KEY
            continue
        if op in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
            called = op == "LOAD_METHOD" or "NULL|self" in step.argrepr
            if path and key is NO_KEY and op != "LOAD_SUPER_ATTR":
                path = (*path, ("()" if called else ".", arg))
                continue
            names["methods" if called else "values"].add(arg)
        if op == "IMPORT_FROM" and path:
            paths[*path, (".", arg)] = None
            continue
        paths[path] = None
        path, key = begun(op, "." * before + arg if op == "IMPORT_NAME" else arg), NO_KEY
    paths[path] = None
    return Reads(tuple(filter(None, paths)), *map(frozenset, names.values()))


def begun(op: str, arg: Any) -> Path:
    """The path that an instruction begins; an empty one if it begins none."""
    if op == "IMPORT_NAME":
        return (("import", arg),)
    if not op.startswith("LOAD_"):
        return ()
    if op.startswith("LOAD_FAST"):
        return (("local", arg[-1] if isinstance(arg, tuple) else arg),)
    kind = LOADS.get(op[len("LOAD_") :])
    return ((kind, arg),) if kind else ()
