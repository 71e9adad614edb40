"""Where recording happens: under which name, whether the graph is kept, and who else listens.

Each thread has a *frame*; entering a scope, `no_grad()` or a tracer makes another one, and
leaving it brings the old one back. The first thing that an operation does is to look at it.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from threading import get_ident
from typing import Any, NoReturn, Protocol, TypeVar
from weakref import ref


class Scope:
    """A named stretch of the program: one call of a module or of a composed function."""

    __slots__ = ("formula", "gave", "given", "kind", "module", "name", "outer", "owner")

    given: Any  # weak references to what the call was given, if lines are remembered

    def __init__(self, name: str, outer: Scope | None, kind: str, formula: str = "") -> None:
        self.name = name
        self.outer = outer
        self.kind = kind
        self.formula = formula
        self.owner = ""  # the class of the module that is called
        self.module: Callable[[], Any] | None = None  # a weak reference to it
        self.gave: Any = None  # of several results, when each was made, if lines are remembered

    def path(self) -> tuple[str, ...]:
        """Names from the outermost scope to this one."""
        return tuple(scope.name for scope in chain_of(self))


def chain_of(scope: Scope | None) -> list[Scope]:
    """A scope and those around it, the outermost first."""
    chain = []
    while scope is not None:
        chain.append(scope)
        scope = scope.outer
    return chain[::-1]


class Tracer(Protocol):
    """Who writes down what is done: turns a Tensor's array into a Symbol bound to its buffer."""

    numbers: bool  # whether there are numbers in what it lifts

    def lift(self, node: Any) -> Any:
        """The Symbol that stands for `node.array` from here on."""

    def enter_backward(self, node: Any, g: Any) -> None:
        """The chain rule has come to `node`, whose gradient is `g`; to None when it is through."""

    def get_grad(self, node: Any) -> Any:
        """What `node` keeps as its `.grad` at this point of the program."""

    def set_grad(self, node: Any, grad: Any) -> None:
        """Let `node` keep this as its `.grad` from here on."""

    def enters(self, owner: Any) -> None:
        """A module is called, or an optimiser takes a step."""

    def sets(self, module: Any, name: str, value: Any) -> None:
        """An attribute of a module is about to be set."""

    def rebinds(self, node: Any) -> None:
        """A tensor that is written becomes part of the graph."""

    def reads_layout(self) -> None:
        """Whether the elements of a tensor lie in order decides what happens next."""

    def settings(self, group: dict[str, Any]) -> dict[str, Any]:
        """The settings of an optimiser, as it may read them."""

    def draw(self, generator: Any, method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Random numbers of a generator."""

    def refuse(self, what: str, instead: str) -> NoReturn:
        """Stop: this cannot be written down."""


class Watcher(Protocol):
    """Who looks at each value when it is made: `detect_anomaly()`."""

    def made(self, node: Any, op: Any, inputs: tuple[Any, ...], attrs: tuple[Any, ...]) -> None:
        """An operation has given a value."""

    def written(self, node: Any, name: str, before: Any, sources: Any) -> None:
        """A value was written in place; what it was, and what it was written from."""

    def returned(self, result: Any, scope: Scope) -> None:
        """A composed function has given its result."""

    def reached(self, node: Any, g: Any) -> None:
        """The gradient of a node has been added up."""


class Frame:
    """Where recording happens. Never changed after it is made; entering a scope makes another."""

    __slots__ = ("lines", "record", "scope", "tracer")

    def __init__(
        self, scope: Scope | None, record: bool, tracer: Tracer | None, lines: bool | Watcher
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


class Switch:
    """Another frame for a `with` block, or for the body of a function as a decorator."""

    def __init__(self) -> None:
        self._tokens: dict[int, list[Any]] = {}  # of each thread that has entered

    def frame(self, outer: Frame) -> Frame:
        """The frame of the block, made of the one around it."""
        raise NotImplementedError

    def __enter__(self) -> None:
        self._tokens.setdefault(get_ident(), []).append(enter(self.frame(current())))

    def __exit__(self, *exc: object) -> None:
        leave(self._tokens[get_ident()].pop())

    def __call__(self, function: F) -> F:
        """Decorate: the function's body runs with the frame switched.

        Raises TypeError for a generator or a coroutine, whose body runs after the call.
        """
        later = (inspect.isgeneratorfunction, inspect.iscoroutinefunction)
        if any(kind(function) for kind in (*later, inspect.isasyncgenfunction)):
            name = getattr(function, "__name__", "the function")
            kind = "coroutine" if inspect.iscoroutinefunction(function) else "generator"
            raise TypeError(
                f"{name} is a {kind}: its body runs while others do. "
                "Write the `with` block inside of it"
            )

        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            token = enter(self.frame(current()))
            try:
                return function(*args, **kwargs)
            finally:
                leave(token)

        return inside  # type: ignore[return-value]


class recording(Switch):  # noqa: N801
    """Switch recording on or off, as a context manager or a decorator, for this thread only."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        self._on = on

    def frame(self, outer: Frame) -> Frame:
        """The frame around it, with recording switched."""
        return Frame(outer.scope, self._on, outer.tracer, outer.lines)


class source_lines(Switch):  # noqa: N801
    """Let each tensor remember the line of the program that made it, for pictures and pages.

    One that needs no gradient remembers, too, what it was made of: how inputs were prepared, what
    decided a condition. So a mask, or what was detached, keeps the graph that it is from alive.

    A `with` block or a decorator. It costs a few microseconds for each operation.

    >>> import tinygrad_ce as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> with tg.source_lines():
    ...     y = x * x
    >>> hasattr(y, "line"), hasattr(x * x, "line")
    (True, False)
    """

    def frame(self, outer: Frame) -> Frame:
        """The frame around it, with lines."""
        return Frame(outer.scope, outer.record, outer.tracer, outer.lines or True)


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
def untraced() -> Iterator[None]:
    """Compute with numbers while the block runs, though somebody traces."""
    frame = current()
    token = enter(Frame(frame.scope, frame.record, None, frame.lines))
    try:
        yield
    finally:
        leave(token)


def call_in_scope(
    name: str,
    kind: str,
    formula: str,
    function: Callable[..., Any],
    args: Any,
    kwargs: Any,
    called: Any = None,
) -> Any:
    """`function(*args, **kwargs)` with its operations recorded under a named scope.

    `called` is the module or the optimiser whose function it is.
    """
    frame = current()
    if frame.tracer is not None and called is not None:
        frame.tracer.enters(called)
    scope = Scope(name, frame.scope, kind, formula)
    if kind == "module" and called is not None:
        scope.owner, scope.module = type(called).__name__, ref(called)
    if frame.lines:
        scope.given = weakly(args)
    token = enter(Frame(scope, frame.record, frame.tracer, frame.lines))
    try:
        y = function(*args, **kwargs)
        if frame.lines and isinstance(y, tuple):
            scope.gave = ticks_of(y)
        return y
    finally:
        leave(token)


def ticks_of(y: Any) -> Any:
    """When results were made, in tuples like those that hold them: they are not kept alive."""
    return tuple(map(ticks_of, y)) if isinstance(y, tuple) else getattr(y, "tick", 0)


def weakly(x: Any) -> Any:
    """A weak reference to a tensor; of tuples and short lists likewise, of others None."""
    if isinstance(x, (tuple, list)) and len(x) < FEW:
        return tuple(map(weakly, x))
    return ref(x) if hasattr(x, "requires_grad") else None


FEW = 64


def composed(formula: str) -> Callable[[F], F]:
    """Mark a function that is composed of other operations: pictures fold it under its name."""

    def mark(function: F) -> F:
        name = function.__name__

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            frame = current()
            scope = Scope(name, frame.scope, "function", formula)
            if frame.lines:
                scope.given = weakly(args)
            token = enter(Frame(scope, frame.record, frame.tracer, frame.lines))
            try:
                y = function(*args, **kwargs)
                if frame.lines and frame.lines is not True:
                    frame.lines.returned(y, scope)
                return y
            except (AttributeError, TypeError) as error:
                if args and not hasattr(args[0], "shape") and "wanted" not in str(error):
                    raise TypeError(f"{name}: got {kind_of(args[0])}; wanted a Tensor") from None
                raise
            finally:
                leave(token)

        return call  # type: ignore[return-value]

    return mark


def refuse_once(what: str, instead: str) -> None:
    """Stop if somebody traces: this would be done now, and not again in later runs."""
    tracer = current().tracer
    if tracer is not None:
        tracer.refuse(f"{what}, which would be done only once", instead)


def kind_of(x: Any) -> str:
    """What x is, for an error: the class of an object, or the name of a function or class."""
    return repr(x) if isinstance(x, type) or callable(x) else a_type(x)


def a_type(x: Any) -> str:
    """The class of an object with its article: `an int`, `a list`."""
    name = type(x).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


Call = tuple[Any, int, int, int]
"""Code object and instruction, and how many scopes and frames of ours were entered further in."""


def calling_lines() -> tuple[Call, ...]:
    """The callers outside this package, the nearest first, up to where a file or a cell begins."""
    frame: Any = sys._getframe(2)
    found: list[Call] = []
    opened = own = 0
    while frame is not None and len(found) < CALLERS:
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE):
            own += 1
            opened += code in _OPENING
            own += PICTURE * (code in begins)
        else:
            found.append((code, frame.f_lasti, opened, own))
            if code.co_name == "<module>":
                break
        frame = frame.f_back
    return tuple(found)


CALLERS = 8  # so many calls within each other may be between an operation and who named its value
_PACKAGE = os.path.dirname(os.path.dirname(calling_lines.__code__.co_filename)) + os.sep
PICTURE = 1000  # so many frames count as ours where a model is run for a picture
begins: set[Any] = set()  # the code that does
_OPENING = {call_in_scope.__code__, composed("")(lambda: None).__code__}
