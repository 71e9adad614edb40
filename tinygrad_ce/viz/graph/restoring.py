"""Run a model for a picture and leave everything as it was: tensors, buffers, random streams.

What a function can reach is found as the garbage collector finds it: through arguments, closures,
containers and attributes, and through the global variables that its code names. All tensors among
that are noted before the run, and those that were written are put back after it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np

from tinygrad_ce.engine.chain import history
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import PAST, Memory, mark_written, tick
from tinygrad_ce.engine.operands import value_of
from tinygrad_ce.engine.write import aside

MANY = 200_000  # things that are looked at, so that a picture comes in seconds
NUMBERS = (np.ndarray, np.generic)
ATOMS = (str, bytes, int, float, complex, type(None), *NUMBERS)
HOUSE = {"tinygrad_ce", "numpy", *sys.stdlib_module_names}  # code that holds no user's tensors


def undone(run: Callable[[], Any], things: Iterable[Any]) -> tuple[Any, dict[Node, Node]]:
    """run(), after which the tensors and streams that the things lead to are as before.

    In the graph of a Tensor that comes out, copies stand for what was put back: the second result.
    """
    from tinygrad_ce.random import Generator, default_generator  # not before something is drawn

    found = reached([default_generator, *things])
    streams = [(stream, stream.get_state()) for stream in found if isinstance(stream, Generator)]
    nodes = [node for node in found if isinstance(node, Node) and isinstance(node.array, NUMBERS)]
    tensors = [(node, node.array, noted(node)) for node in nodes]
    held = [
        (module, name, getattr(module, name))
        for module in found
        if hasattr(type(module), "named_buffers")
        for name in module._buffer_names
    ]
    since = tick()
    try:
        result = run()
        changed = [node for node, array, before in tensors if differs(node, array, before)]
        copies = {node: as_it_is(node) for node in changed}
        if isinstance(result, Node) and copies:
            result = copies.get(result, result)
            for node in history([result]):
                if node.tick > since:  # what is older has read what is put back
                    node.inputs = tuple(copies.get(x, x) for x in node.inputs)
        return result, copies
    finally:
        for stream, state in streams:
            stream.set_state(state)
        for module, name, value in held:
            if getattr(module, name) is not value:
                setattr(module, name, value)
        for node, array, before in tensors:
            if differs(node, array, before):
                put_back(node, array, before)


def differs(node: Node, array: Any, before: Node) -> bool:
    """Whether a tensor has other numbers or another past than before."""
    same = node.array is array and node.op is before.op and node.tick == before.tick
    if not same or node.requires_grad != before.requires_grad:
        return True
    return not np.array_equal(array, before.array, equal_nan=array.dtype.kind in "fc")


def put_back(node: Node, array: Any, before: Node) -> None:
    """Give a tensor its numbers and its past again."""
    node.array = array
    if isinstance(array, np.ndarray) and array.flags.writeable:
        array[...] = before.array
    for slot in (*PAST, "detached_by"):
        setattr(node, slot, getattr(before, slot))
    if hasattr(before, "was"):
        node.was = before.was
    elif hasattr(node, "was"):
        del node.was
    mark_written(node, "draw (which put the tensor back)")


def noted(node: Node) -> Node:
    """A copy with the numbers and the past of a tensor."""
    copy = aside(node, value_of(node).copy())
    if hasattr(node, "was"):
        copy.was = [*node.was]
    return copy


def as_it_is(node: Node) -> Node:
    """A copy with the numbers and the past of a tensor, written when it was written."""
    copy = noted(node)
    copy.memory = Memory(copy)
    if node.memory is not None:
        copy.memory.written, copy.memory.writer = node.memory.written, node.memory.writer
    return copy


# --- what a function can reach --------------------------------------------------------------


def reached(things: Iterable[Any]) -> list[Any]:
    """The things and what they lead to, each once."""
    stack, seen = list(things), dict[int, Any]()
    while stack and len(seen) < MANY:
        thing = stack.pop()
        if not isinstance(thing, ATOMS) and id(thing) not in seen:
            seen[id(thing)] = thing
            stack += parts_of(thing)
    return list(seen.values())


def parts_of(thing: Any) -> Iterable[Any]:
    """What a thing leads to: attributes, elements, cells, and the globals that its code names."""
    if isinstance(thing, (Node, ModuleType, CodeType, FrameType)) or is_house(thing):
        return ()
    if not isinstance(thing, FunctionType):
        return gc.get_referents(thing)
    around = variables_of(thing)
    names = set(names_in(thing.__code__))
    inside = [
        value
        for module in around.values()
        if isinstance(module, ModuleType) and not is_house(module)
        for name, value in vars(module).items()
        if name in names
    ]
    return [*around.values(), *inside, thing.__defaults__, thing.__kwdefaults__, vars(thing)]


def is_house(thing: Any) -> bool:
    """Whether it is code of this package, of NumPy or of Python."""
    if not isinstance(thing, (type, FunctionType, ModuleType)):
        return False
    name = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
    return str(name).partition(".")[0] in HOUSE


def variables_of(function: FunctionType) -> dict[str, Any]:
    """The variables from outside that a function's code names; an empty cell has none yet."""
    around = function.__globals__
    found = {name: around[name] for name in names_in(function.__code__) if name in around}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # the variable is assigned later
            continue
    return found


def names_in(code: CodeType) -> Iterator[str]:
    """The global names and attributes that code uses, and functions that are written in it."""
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from names_in(part)
