"""Arguments of a traced function: which of them are inputs, where each is found in a call, and
what must be the same in another call for the program to serve it.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_ce.engine.dtypes import BY_NUMBER
from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.program.tracing.guards import Guards
from tinygrad_ce.program.tracing.symbol import Symbol, TraceError, Tracer


class ArgumentPath:
    """Where a call finds an argument: the expression for it, and that as a function."""

    __slots__ = ("find", "path")

    def __init__(self, path: str, names: dict[str, Any]) -> None:
        self.path = path
        self.find: Callable[[Any, Any], Any] = eval(f"lambda args, kwargs: {path}", names)


def is_late(x: Any, live: bool, kind: Any, held: Any, shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether x is such a Tensor although its class is another for now: a view whose base was
    written is one when it is asked (engine's Behind), and one whose numbers are on a device tells
    shape and dtype without fetching them.
    """
    if getattr(x, "live", None) is not live:
        return False
    if getattr(type(x), "home", None) is kind:
        fetched = x.shape, x.dtype, np.ndarray
        return fetched == (shape, BY_NUMBER[dtype.num], held)
    array = x.array
    return type(x) is kind and type(array) is held and (array.shape, array.dtype) == (shape, dtype)


@dataclass(eq=False, slots=True)
class Argument:
    """A Tensor or an array among the arguments."""

    place: ArgumentPath
    given: Any  # the Tensor or array itself, in the example
    node: Any  # the Tensor that stands for it in the trace, or None
    symbol: Any  # the Symbol for its array
    grad: Any = None  # the `.grad` of `node` when the trace begins
    var: Any = None  # what `symbol` is when the trace begins

    def __post_init__(self) -> None:
        self.var = self.symbol.now


class Arguments:
    """Takes the arguments of one call apart."""

    def __init__(self, tracer: Tracer, guards: Guards) -> None:
        self.tracer = tracer
        self.guards = guards
        self.texts: list[str] = []  # for each input of the program, the expression for it
        self.found: dict[int, Argument] = {}
        self.objects: list[Any] = []  # what is neither an array nor a number

    def take(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> tuple[list[Any], Any]:
        """The arguments with Symbols in the place of arrays and floats."""
        self.guards.require(f"len(args) == {len(args)}")
        keys = self.guards.define(tuple(kwargs))
        self.guards.require(f"tuple(kwargs) == {keys}" if kwargs else "not kwargs")
        names = argument_names(fn, len(args))
        given = [
            self.one(arg, name, f"args[{i}]") for i, (arg, name) in enumerate(zip(args, names))
        ]
        keywords = {k: self.one(arg, k, f"kwargs[{k!r}]") for k, arg in kwargs.items()}
        self.require_distinct()
        return given, keywords

    def one(self, arg: Any, name: str, path: str) -> Any:
        """One argument, or one part of it."""
        known = self.found.get(id(arg))
        if known is not None:
            self.guards.require(f"{path} is {known.place.path}")
            return known.symbol if known.node is None else known.node
        if isinstance(arg, Node):
            return self.tensor(arg, name, path)
        if isinstance(arg, (np.ndarray, np.generic)):
            symbol = self.array(arg, name, path, path)
            if isinstance(arg, np.ndarray):
                self.found[id(arg)] = Argument(
                    ArgumentPath(path, self.guards.names), arg, None, symbol
                )
            return symbol
        self.guards.require(f"type({path}) is {self.guards.define(type(arg))}")
        if type(arg) is float:
            self.texts.append(path)
            return self.tracer.input(arg, name)
        if isinstance(arg, dict):
            keys = self.guards.define(tuple(arg))
            self.guards.require(f"tuple({path}) == {keys}")
            return {
                k: self.one(v, f"{name}_{k}", f"{path}[{self.guards.define(k)}]")
                for k, v in arg.items()
            }
        if isinstance(arg, (tuple, list)):
            self.guards.require(f"len({path}) == {len(arg)}")
            parts = [self.one(v, f"{name}{i + 1}", f"{path}[{i}]") for i, v in enumerate(arg)]
            return type(arg)(*parts) if hasattr(arg, "_fields") else type(arg)(parts)
        return self.fixed(arg, name, path)

    def array(self, array: Any, name: str, path: str, text: str) -> Symbol:
        """An array, or a number of NumPy."""
        dtype = self.guards.define(array.dtype)
        self.guards.require(f"type({path}) is {self.guards.define(type(array))}")
        self.guards.require(f"{path}.shape == {array.shape} and {path}.dtype == {dtype}")
        self.texts.append(text)
        return self.tracer.input(array, name)

    def tensor(self, arg: Any, name: str, path: str) -> Any:
        """A Tensor: a leaf of the traced function, with the gradient that it has."""
        live, own, array = arg.live, getattr(type(arg), "home", type(arg)), arg.array
        kind, held, dtype = map(self.guards.define, (own, type(array), array.dtype))
        usual = f"type({path}) is {kind} and type({path}.array) is {held}"
        usual += f" and {path}.array.shape == {array.shape} and {path}.array.dtype == {dtype}"
        wanted = f"{live}, {kind}, {held}, {array.shape}, {dtype}"
        self.guards.require(f"({usual} or {self.guards.define(is_late)}({path}, {wanted}))")
        self.texts.append(f"{path}.array")
        symbol = self.tracer.input(array, name)
        node = leaf(symbol, arg.requires_grad)
        node.detached_by = arg.detached_by if not arg.requires_grad else None
        self.guards.require(f"{path}.live is {arg.live}")
        if arg.requires_grad:
            self.guards.require(f"bool({path}.inputs) is {bool(arg.inputs)}")
            self.guards.require(f"({path}._grad is None) is {arg._grad is None}")
            if isinstance(arg._grad, Node):
                text = f"{path}._grad.array"
                node._grad = leaf(self.array(arg._grad.array, "old_d" + name, text, text))
        self.found[id(arg)] = Argument(
            ArgumentPath(path, self.guards.names), arg, node, symbol, node._grad
        )
        return node

    def fixed(self, arg: Any, name: str, path: str) -> Any:
        """What is no array: another value makes another program."""
        wrong = isinstance(arg, (Iterator, types.GeneratorType)) or type(arg).__hash__ is None
        if wrong:
            raise TypeError(
                f"compile: argument {name} is {a_type(arg)}; wanted Tensors, arrays, "
                "numbers, strings, or tuples, lists and dicts of them"
            )
        self.objects.append(arg)
        value = self.guards.define(arg)
        self.guards.require(f"({path} is {value} or equivalent({path}, {value}))")
        return arg

    def require_distinct(self) -> None:
        """Tensors that gather gradients are different ones in every call."""
        live = [a for a in self.found.values() if a.node is not None and a.node.requires_grad]
        for i, a in enumerate(live):
            for b in live[:i]:
                self.guards.require(f"{a.place.path} is not {b.place.path}")

    # --- after the function has run -----------------------------------------------------------

    def written(self) -> Iterator[Argument]:
        """The arguments that the function wrote into."""
        for argument in self.found.values():
            if argument.symbol.writes and argument.symbol.now is not argument.var:
                yield argument

    def gradients(self) -> Iterator[tuple[Argument, Any]]:
        """(argument, its new `.grad` or None) for the arguments whose gradient was set."""
        for argument in self.found.values():
            node = argument.node
            if node is None:
                continue
            grad = node._grad if isinstance(node._grad, Node) else None
            if grad is None:
                if isinstance(argument.given._grad, Node):
                    yield argument, None
                continue
            symbol = self.tracer.lift(grad)
            if grad is argument.grad and not symbol.writes:
                continue
            if argument.given.inputs:
                path, maker = argument.place.path, argument.given.op.name
                raise TraceError(
                    f"compile: argument {path} was made by {maker} and requires a "
                    "gradient, but the graph ends where the compiled function begins. Pass "
                    "x.detach(), or compute it inside of the function"
                )
            yield argument, symbol


def argument_names(fn: Callable[..., Any], count: int) -> list[str]:
    """The names of the first `count` parameters."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in plain]
    return [*names, *(f"x{i + 1}" for i in range(len(names), count))][:count]
