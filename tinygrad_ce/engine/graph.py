"""What was computed, from what, and when.

A `Node` is one value of the computation: the array, the operation that made it, and the nodes
it was made from. Nothing here knows a derivative. The other three things are small:

- the *frame* says where recording happens: under which name, whether the graph is kept, and
  who else listens (a tracer);
- the *clock* numbers nodes and in-place writes from one counter, so "was it written after it
  was read?" is one comparison;
- a *memory* is shared by all nodes that look at the same numbers, and knows its last write.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from itertools import count
from typing import Any, Protocol, TypeVar

import numpy as np

tick: Callable[[], int] = count(1).__next__
"""The clock: each call gives the next number. Shared by node creation and in-place writes."""


class Node:
    """One value in the computation graph, as plain data.

    `array` is the value, `op` the operation that made it, `inputs` the nodes that went in,
    `settings` its other arguments (axis, shape, ...), `tick` its number on the clock and
    `scope` where in the program it was made. A leaf has no inputs. `cut` names what cut the
    graph in a node that needs no gradient.
    """

    __slots__ = (
        "__weakref__",
        "array",
        "cut",
        "inputs",
        "kept",
        "line",
        "memory",
        "op",
        "requires_grad",
        "scope",
        "settings",
        "tick",
        "was",
    )

    array: Any  # ndarray, a NumPy scalar for 0-d results, or a tracer's Symbol
    op: Any
    inputs: tuple[Node, ...]
    settings: tuple[Any, ...]
    tick: int
    scope: Scope | None
    memory: Memory | None
    requires_grad: bool
    kept: Any  # the gradient that a leaf (or retain_grad) keeps
    cut: str | None
    line: tuple[Any, int]  # code object and instruction; only under source_lines()
    was: Node  # what this node was before the last recorded in-place write; only after one


class Memory:
    """Numbers that several nodes look at: the first owner, the views of it, the last write."""

    __slots__ = ("owner", "views", "written", "writer")

    def __init__(self, owner: Node) -> None:
        self.owner = weakref.ref(owner)
        self.views: list[weakref.ref[Node]] = []
        self.written = 0
        self.writer = ""


def memory_of(node: Node) -> Memory:
    """The memory that `node` looks at, made when it is first asked for."""
    if node.memory is None:
        node.memory = Memory(node)
    return node.memory


def share_memory(view: Node, base: Node) -> None:
    """Let `view` look at the memory of `base`: a write through one is a write to both."""
    memory = view.memory = memory_of(base)
    if base.inputs or not base.requires_grad:  # recorded writes to a leaf are refused anyway
        memory.views = [ref for ref in memory.views if ref() is not None]
        memory.views.append(weakref.ref(view))


def mark_written(node: Node, writer: str) -> None:
    """Note that the numbers under `node` were changed in place just now."""
    memory = memory_of(node)
    memory.written = tick()
    memory.writer = writer


class Scope:
    """A named stretch of the program: one call of a module or of a composed function."""

    __slots__ = ("formula", "kind", "name", "outer")

    def __init__(self, name: str, outer: Scope | None, kind: str, formula: str = "") -> None:
        self.name = name
        self.outer = outer
        self.kind = kind
        self.formula = formula

    def path(self) -> tuple[str, ...]:
        """Names from the outermost scope to this one."""
        names: list[str] = []
        scope: Scope | None = self
        while scope is not None:
            names.append(scope.name)
            scope = scope.outer
        return tuple(reversed(names))

    def __repr__(self) -> str:
        return "/".join(self.path())


class Tracer(Protocol):
    """Who writes down what is done: turns a Tensor's array into a Symbol bound to its buffer."""

    def lift(self, node: Node) -> Any:
        """The Symbol that stands for `node.array` from here on."""


class Frame:
    """Where recording happens. Never changed after it is made; entering a scope makes another."""

    __slots__ = ("lines", "record", "scope", "tracer")

    def __init__(
        self, scope: Scope | None, record: bool, tracer: Tracer | None, lines: bool
    ) -> None:
        self.scope = scope
        self.record = record
        self.tracer = tracer
        self.lines = lines


_frame: ContextVar[Frame] = ContextVar("frame", default=Frame(None, True, None, False))  # noqa: B039
current: Callable[[], Frame] = _frame.get
"""The frame of this thread (of this context, to be exact)."""
enter, leave = _frame.set, _frame.reset

F = TypeVar("F", bound=Callable[..., Any])


class recording:  # noqa: N801
    """Switch recording on or off, as a context manager or a decorator, for this thread only."""

    def __init__(self, on: bool) -> None:
        self._on = on
        self._tokens: list[Any] = []

    def __enter__(self) -> None:
        frame = current()
        self._tokens.append(enter(Frame(frame.scope, self._on, frame.tracer, frame.lines)))

    def __exit__(self, *exc: object) -> None:
        leave(self._tokens.pop())

    def __call__(self, function: F) -> F:
        """Decorate: the function's body runs with recording switched."""
        on = self._on

        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with recording(on):
                return function(*args, **kwargs)

        return inside  # type: ignore[return-value]


@contextmanager
def tracing(tracer: Tracer) -> Iterator[None]:
    """Hand every operation's Tensors to `tracer.lift` while the block runs."""
    frame = current()
    token = enter(Frame(frame.scope, frame.record, tracer, frame.lines))
    try:
        yield
    finally:
        leave(token)


@contextmanager
def source_lines() -> Iterator[None]:
    """Let each node remember the line of the user's program that made it."""
    frame = current()
    token = enter(Frame(frame.scope, frame.record, frame.tracer, True))
    try:
        yield
    finally:
        leave(token)


def call_in_scope(
    name: str, kind: str, formula: str, function: Callable[..., Any], args: Any, kwargs: Any
) -> Any:
    """`function(*args, **kwargs)` with its operations recorded under a named scope."""
    frame = current()
    scope = Scope(name, frame.scope, kind, formula)
    token = enter(Frame(scope, frame.record, frame.tracer, frame.lines))
    try:
        return function(*args, **kwargs)
    finally:
        leave(token)


def composed(formula: str) -> Callable[[F], F]:
    """Mark a function that is composed of other operations: pictures fold it under its name."""

    def mark(function: F) -> F:
        name = function.__name__

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            frame = current()
            scope = Scope(name, frame.scope, "function", formula)
            token = enter(Frame(scope, frame.record, frame.tracer, frame.lines))
            try:
                return function(*args, **kwargs)
            finally:
                leave(token)

        return call  # type: ignore[return-value]

    return mark


def calling_line() -> tuple[Any, int]:
    """Code object and instruction of the nearest caller outside this package."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_PACKAGE):
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


_PACKAGE = __name__.partition(".")[0] + "."


def is_floating(dtype: Any) -> bool:
    """Whether numbers of this dtype can carry a gradient."""
    return np.dtype(dtype).kind == "f"
