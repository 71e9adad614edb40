"""compile(): trace a function once for each kind of arguments, then run the program instead."""

from __future__ import annotations

import functools
from collections.abc import Callable
from threading import RLock
from typing import Any, TypeVar

import numpy as np

from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import memory_of, tick
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.program.emit import Doubt, Emitted, Emitter
from tinygrad_ce.program.ir import Program, Var
from tinygrad_ce.program.fast import optimised
from tinygrad_ce.program.symbol import TraceError
from tinygrad_ce.program.tracing import Hole, Trace, trace_call

F = TypeVar("F", bound=Callable[..., Any])


class Compiled:
    """A function that was compiled: call it as the function itself.

    `programs` are what it was traced to, one for each combination of shapes, dtypes and modes.
    """

    def __init__(self, fn: Callable[..., Any], check: bool = False) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.check = check
        self.runners: list[Runner] = []
        self.lock = RLock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program that was traced for such arguments; trace one if there is none."""
        if current().tracer is not None:
            return self.fn(*args, **kwargs)
        with self.lock:
            for runner in self.runners:
                if runner.fits(args, kwargs):
                    if runner is not self.runners[0]:
                        self.runners.remove(runner)
                        self.runners.insert(0, runner)
                    if runner.calls == 1 or self.check:
                        return self.checked(runner, args, kwargs)
                    try:
                        return runner.call(args, kwargs)
                    except Doubt as doubt:
                        return self.doubted(runner, doubt, args, kwargs)
            return self.traced(args, kwargs, frozenset()).call(args, kwargs)

    def traced(self, args: Any, kwargs: Any, doubted: frozenset[Any]) -> Runner:
        """A new runner, for arguments of this kind."""
        runner = Runner(trace_call(self.fn, args, kwargs, doubted), args, kwargs)
        runner.doubted = doubted
        self.runners.insert(0, runner)
        return runner

    def doubted(self, runner: Runner, doubt: Doubt, args: Any, kwargs: Any) -> Any:
        """What the program took for granted does not hold here: trace one that does without."""
        key = runner.trace.program.assumptions[doubt.number].key
        new = self.traced(args, kwargs, runner.doubted | {key})
        self.runners.remove(runner)
        return new.call(args, kwargs)

    def checked(self, runner: Runner, args: Any, kwargs: Any) -> Any:
        """Run both ways: the function, written down once more, and the program."""
        again = trace_call(self.fn, args, kwargs, runner.doubted)
        compare_traces(runner.trace, again)
        try:
            result = runner.call(args, kwargs)
        except Doubt as doubt:
            return self.doubted(runner, doubt, args, kwargs)
        runner.compare(again)
        return result

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a decorator of a method: one compiled function for each object."""
        if instance is None:
            return self
        bound = Compiled(self.fn.__get__(instance, owner), self.check)
        vars(instance)[self.fn.__name__] = bound
        return bound

    @property
    def program(self) -> Program:
        """The program that ran last, as it was traced."""
        if not self.runners:
            raise RuntimeError("compile: nothing is traced yet; call the function once")
        return self.runners[0].trace.program

    def __repr__(self) -> str:
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        return f"<compiled {name}, {len(self.runners)} programs>"


def compile(fn: F | None = None, *, check: bool = False) -> Any:
    """A function that does what `fn` does, as a straight line of NumPy calls.

    The first call for each combination of shapes, dtypes and modes (train, eval, no_grad) runs
    `fn` once to write down what it does; later calls run what was written. Tensors, arrays and
    floats among the arguments are inputs; other arguments, and numbers that `fn` reads from
    elsewhere, are constants. Parameters, buffers, optimisers and generators are read and written
    as `fn` would.

    >>> from tinygrad_ce import tensor
    >>> @compile
    ... def f(x):
    ...     return (x * x).sum()
    >>> f(tensor([1.0, 2.0]))
    tensor(5.)
    """
    if fn is None:
        return functools.partial(compile, check=check)
    if not callable(fn):
        raise TypeError(f"compile: got a {type(fn).__name__}; wanted a function")
    return Compiled(fn, check)


class Runner:
    """A program, bound to the memory that it reads and writes."""

    def __init__(self, trace: Trace, args: Any, kwargs: Any) -> None:
        self.trace = trace
        self.calls = 0
        self.doubted: frozenset[Any] = frozenset()
        self.key = kind_of((args, kwargs))
        self.record = current().record
        trace.tracer.cells.clear()
        program = optimised(trace.program)
        self.optimised = program
        self.emitted: Emitted = Emitter(program).emit()
        self.states: list[tuple[Any, Any]] = []
        self.memories: list[Any] = []
        self.kept: list[tuple[Any, Any]] = []
        changed = [s.node for s in program.states if s.after is not s.before]
        self.written = [node for x in changed for node in getattr(x, "nodes", [x])]
        self.run: Callable[..., Any] = self.not_bound

    def not_bound(self, *_: Any) -> Any:
        """Stands for the function until the first call."""
        raise RuntimeError("not bound yet")

    def bind(self) -> None:
        """Give the names of the text their meaning: the arrays of the state, new buffers."""
        names = dict(self.emitted.names)
        self.states = []
        for name, node in self.emitted.state_names:
            names[name] = node.array
            self.states.append((node, node.array))
        exec(self.emitted.source, names)
        self.run = names["run"]
        self.kept = []
        for node, name in names["KEPT"]:
            self.kept.append((node, leaf(names[name]) if name else None))

    def fits(self, args: Any, kwargs: Any) -> bool:
        """Whether the program was traced for such arguments, and nothing that it rests on has
        changed.
        """
        tracer = self.trace.tracer
        if kind_of((args, kwargs)) != self.key or current().record is not self.record:
            return False
        for module, training in tracer.modules.items():
            if module.training is not training:
                return False
        for group, fixed in tracer.fixed_settings:
            for name, value in fixed.items():
                if group[name] != value:
                    return False
        for node, empty in tracer.empty.items():
            if (node.kept is None) is not empty:
                return False
        return True

    def call(self, args: Any, kwargs: Any) -> Any:
        """Run the program on these arguments."""
        for node, array in self.states:
            if node.array is not array:
                self.run = self.not_bound
        if not self.calls or self.run == self.not_bound:
            self.bind()
        values = self.run(*arrays_in((args, kwargs)))
        self.calls += 1
        self.results = values
        now = tick()
        for node in self.written:
            memory = memory_of(node)
            memory.written, memory.writer = now, self.optimised.name + "()"
        for node, kept in self.kept:
            node.kept = kept
        return filled(self.trace.structure, values)

    def compare(self, again: Trace) -> None:
        """Stop if the run that has just been differs from what the function itself computed."""
        found = list(self.results)
        wanted = again.found
        for i, (a, b) in enumerate(zip(found, wanted)):
            if not close(a, b):
                raise TraceError(
                    f"compile: {self.optimised.name} gave {a} as result {i}, its program {b}"
                )


def kind_of(x: Any) -> Any:
    """What of the arguments the program rests on: shapes and dtypes, and all that is no array."""
    if isinstance(x, Node):
        return ("Tensor", x.array.shape, x.array.dtype, x.requires_grad)
    if isinstance(x, (np.ndarray, np.generic)):
        return ("array", x.shape, x.dtype)
    if isinstance(x, (tuple, list)):
        return (type(x), *map(kind_of, x))
    if isinstance(x, dict):
        return ("dict", *((k, kind_of(v)) for k, v in x.items()))
    return float if type(x) is float else (type(x), x)


def arrays_in(x: Any) -> list[Any]:
    """The arrays and floats among the arguments, in the order in which the trace met them."""
    if isinstance(x, Node):
        return [x.array]
    if isinstance(x, (np.ndarray, np.generic)) or type(x) is float:
        return [x]
    if isinstance(x, dict):
        return [a for v in x.values() for a in arrays_in(v)]
    if isinstance(x, (tuple, list)):
        return [a for v in x for a in arrays_in(v)]
    return []


def filled(structure: Any, values: tuple[Any, ...]) -> Any:
    """What the function returns, with the values of this run."""
    if isinstance(structure, Hole):
        value = values[structure.number]
        if structure.array:
            return value
        y = leaf(value)
        y.cut = "a compiled function" if structure.requires_grad else None
        return y
    if isinstance(structure, dict):
        return {k: filled(v, values) for k, v in structure.items()}
    if isinstance(structure, (tuple, list)):
        parts = [filled(v, values) for v in structure]
        return type(structure)(*parts) if hasattr(structure, "_fields") else type(structure)(parts)
    return structure


def close(a: Any, b: Any) -> bool:
    """Equal up to 1e-12 of the largest element in float64, 1e-5 in float32."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    bound = 1e-12 if a.dtype == np.float64 else 1e-5
    largest = np.max(np.abs(b), initial=0.0, where=np.isfinite(b))
    return bool(np.allclose(a, b, rtol=0.0, atol=bound * largest, equal_nan=True))


def compare_traces(first: Trace, again: Trace) -> None:
    """Stop at the first step that is another one when the function runs again."""
    one, two = first.program, again.program
    names: dict[Var, Var] = dict(zip(one.inputs, two.inputs))
    names.update((a.var, b.var) for a, b in zip(one.settings, two.settings))
    states = {id(s.node): s.before for s in two.states}
    for state in one.states:
        other = states.get(id(state.node))
        if other is not None:
            names[state.before] = other
    for a, b in zip(one.steps, two.steps):
        for x, y in zip(a.operands, b.operands):
            if x in one.constants and y in two.constants:
                v, w = np.asarray(one.constants[x]), np.asarray(two.constants[y])
                if v.shape != w.shape or v.tobytes() != w.tobytes():
                    raise TraceError(
                        f"compile: {one.name} reads another number in its second call than in the "
                        f"first: {short(v)} became {short(w)} in {b.op} at {b.line}. A program "
                        "would repeat the first one: pass it as an argument, or keep it in a "
                        "Tensor that is written in place"
                    )
            elif names.get(x) is not y:
                raise TraceError(
                    f"compile: {one.name} reads another tensor in its second call than in the "
                    f"first, in {b.op} at {b.line}. Pass it as an argument, or write into one "
                    "tensor in place: t[...] = x"
                )
        if a.op != b.op or len(a.operands) != len(b.operands):
            raise TraceError(
                f"compile: {one.name} does something else in its second call than in the first: "
                f"{b.op} at {b.line} instead of {a.op} at {a.line}. What is done may depend on "
                "shapes, dtypes and modes, not on numbers that change between calls"
            )
        names[a.out] = b.out
    if len(one.steps) != len(two.steps):
        longer = max(one.steps, two.steps, key=len)[min(len(one.steps), len(two.steps))]
        raise TraceError(
            f"compile: {one.name} has {len(two.steps)} steps in its second call and "
            f"{len(one.steps)} in the first; the first one more is {longer.op} at {longer.line}"
        )


def short(v: Any) -> str:
    """A constant, as an error shows it."""
    return repr(v.item()) if v.ndim == 0 else f"an array of shape {v.shape}"
