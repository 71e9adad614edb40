"""compile(): trace a function once for each kind of arguments, then run the program instead."""

from __future__ import annotations

import copyreg
import functools
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from threading import RLock, get_ident
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from tinygrad_ce.engine.backward import COMPILED
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import memory_of, tick
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.program.arguments import Given
from tinygrad_ce.program.attributes import AttributeOf
from tinygrad_ce.program.calling import MISS, usual_call
from tinygrad_ce.program.checking import (
    Before,
    compare_settings,
    compare_traces,
    compare_values,
    doubts,
)
from tinygrad_ce.program.emit import Doubt, Emitted, Emitter, assumptions_first, in_one_piece
from tinygrad_ce.program.fast import optimised
from tinygrad_ce.program.guards import Guards
from tinygrad_ce.program.ir import Program, State, Var
from tinygrad_ce.program.packing import Packed, Unpackable
from tinygrad_ce.program.places import root
from tinygrad_ce.program.symbol import TraceError
from tinygrad_ce.program.tracing import GradOf, Hole, Trace, check_function, trace_call

F = TypeVar("F", bound=Callable[..., Any])
SMALL_EXAMPLE = 1 << 14  # bytes of an input that is kept from the example
MOST = 32  # programs that a compiled function keeps; the one not used for longest goes first


class Compiled:
    """A function that was compiled: call it as the function itself.

    Attributes that it does not have are those of the function, or of the module, inside.
    """

    def __init__(self, fn: Callable[..., Any], check: bool = False) -> None:
        functools.update_wrapper(self, fn, updated=())
        self.fn = fn
        self.check = check
        self.runners: list[Runner] = []  # the one used last in front
        self.usual: Callable[[Any, Any], Any] = missed  # the call that was the right one last
        self.refused = False  # the last comparison failed: the next program is compared at once
        self.lock = RLock()
        EVERY[id(self)] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program that was traced for such arguments; trace one if there is none."""
        if current().tracer is not None:
            return self.fn(*args, **kwargs)
        with self.lock:
            try:
                result = self.usual(args, kwargs)
                if result is not MISS:
                    return result
            except Doubt as doubt:
                return self.doubted(self.runners[0], doubt, args, kwargs)
            return self.unusual(args, kwargs)

    def unusual(self, args: Any, kwargs: Any) -> Any:
        """Find the program for such arguments and run it, trace one if there is none."""
        self.usual = missed
        runner = self.fitting(args, kwargs)
        if runner is None:
            trace = trace_call(self.fn, args, kwargs)
            if not self.refused:
                return self.first(trace, frozenset(), args, kwargs)
            runner = self.remembered(Runner(trace))
        if self.check or self.refused or runner.to_be_checked():
            return self.checked(runner, args, kwargs)
        try:
            result = runner.call(args, kwargs)
        except Doubt as doubt:
            return self.doubted(runner, doubt, args, kwargs)
        self.usual = runner.usual or usual_call(runner) or missed
        runner.usual = self.usual
        return result

    def fitting(self, args: Any, kwargs: Any) -> Runner | None:
        """The program for such arguments, if there is one."""
        for runner in self.runners:
            if runner.fits(args, kwargs) and runner.bound() and runner.apart(args, kwargs):
                self.runners.remove(runner)
                self.runners.insert(0, runner)
                return runner
        return None

    def first(self, trace: Trace, doubted: frozenset[Any], args: Any, kwargs: Any) -> Any:
        """Run a new program, and see that it computes what the function did while it was traced."""
        again = replace(trace, found=copied(trace))
        runner = self.remembered(Runner(trace, doubted))
        return self.compared(runner, again, args, kwargs)

    def remembered(self, runner: Runner) -> Runner:
        """The runner, in front of the others."""
        self.usual = missed
        self.runners.insert(0, runner)
        if len(self.runners) > MOST:
            self.runners.pop()
            name = runner.trace.program.name
            warnings.warn(
                f"compile: {name} was traced for more than {MOST} kinds of arguments; each new "
                "shape is one, and each new value of an int or a text among them, or of what the "
                "function reads from outside. Pass numbers that change as floats or tensors",
                stacklevel=5,
            )
        return runner

    def doubted(self, runner: Runner, doubt: Doubt, args: Any, kwargs: Any) -> Any:
        """What the program took for granted does not hold here: trace one that does without."""
        key = runner.program.assumptions[doubt.number].key
        return self.without(runner, frozenset({key}), args, kwargs)

    def without(self, runner: Runner, keys: frozenset[Any], args: Any, kwargs: Any) -> Any:
        """Trace a program in the place of another one that takes less for granted, and run it."""
        doubted = runner.without | keys
        trace = trace_call(self.fn, args, kwargs, doubted)
        self.forget(runner)
        return self.first(trace, doubted, args, kwargs)

    def checked(self, runner: Runner, args: Any, kwargs: Any) -> Any:
        """Run both ways: the function, written down once more, and the program."""
        before = [(s.group, s.key, s.group[s.key]) for s in runner.trace.program.settings]
        try:
            again = trace_call(self.fn, args, kwargs, runner.without)
            compare_settings(runner.program.name, before)
            doubtful = doubts(runner.trace.program, again.program)
            may_stay = doubtful or compare_traces(runner.trace, again, runner.calls + 1)
        except TraceError:
            self.refuse(runner)
            raise
        if doubtful:
            return self.without(runner, frozenset(doubtful), args, kwargs)
        if not may_stay:  # it may differ like this: take the new one
            self.forget(runner)
            return self.first(again, runner.without, args, kwargs)
        again.found.update(copied(again))
        result = self.compared(runner, again, args, kwargs)
        if runner in self.runners:
            self.refused = False
            runner.rest_on(again.guards)
        return result

    def compared(self, runner: Runner, again: Trace, args: Any, kwargs: Any) -> Any:
        """Run a program and compare it with the trace of the same call; nothing changes if it is
        wrong.
        """
        runner.bound()  # parameters may move: before they are looked at
        before = Before(runner, args, kwargs)
        try:
            result = runner.call(args, kwargs)
            compare_values(runner, again, before)
        except Doubt as doubt:
            return self.doubted(runner, doubt, args, kwargs)
        except BaseException as error:
            before.put_back()
            if isinstance(error, TraceError):
                self.refuse(runner)
            raise
        return result

    def refuse(self, runner: Runner) -> None:
        """Never run a program again that does not do what the function does."""
        self.forget(runner)
        self.refused = True

    def forget(self, runner: Runner) -> None:
        """Let a program go."""
        self.usual = missed
        self.runners = [r for r in self.runners if r is not runner]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a decorator of a method: one compiled function for each object."""
        if instance is None:
            return self
        bound = Compiled(self.fn.__get__(instance, owner), self.check)
        vars(instance)[self.fn.__name__] = bound
        return bound

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "fn" not in vars(self):
            raise AttributeError(name)
        return getattr(self.fn, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OWN or name.startswith("__"):
            object.__setattr__(self, name, value)
        else:
            setattr(self.fn, name, value)

    def __reduce__(self) -> Any:
        owner = getattr(self.fn, "__self__", None)
        name = getattr(self.fn, "__name__", "")
        if owner is not None and vars(owner).get(name) is self:
            return getattr, (owner, name)
        module = sys.modules.get(getattr(self.fn, "__module__", ""))
        if getattr(module, name, None) is self:
            return name
        return Compiled, (self.fn, self.check)

    @property
    def program(self) -> Program:
        """The program that ran last, as it was traced."""
        if not self.runners:
            raise RuntimeError("compile: nothing is traced yet; call the function once")
        return with_example(self.runners[0].trace.program)

    def source(self, level: str = "formula") -> str:
        """The program that ran last, as a person would have written it: see Program.source."""
        return self.program.source(level)

    def emitted(self) -> str:
        """The text that really runs: buffers made beforehand, then the function that fills them."""
        if not self.runners:
            raise RuntimeError("compile: nothing is traced yet; call the function once")
        return self.runners[0].emitted.source

    def __repr__(self) -> str:
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        return f"<compiled {name}, {len(self.runners)} programs>"


OWN = {"fn", "check", "runners", "usual", "refused", "lock"}

copyreg.pickle(Compiled, Compiled.__reduce__)

# A process that is forked while another thread is inside of a call would find the lock taken for
# ever, and numbers half written. So a fork waits for the calls under way, as long as is reasonable.
EVERY: WeakValueDictionary[int, Compiled] = WeakValueDictionary()
PATIENCE = 5.0  # seconds for all of them together
_held: dict[int, list[Any]] = {}  # thread that forks -> the locks that it has taken


def before_fork() -> None:
    """Take the locks of all compiled functions."""
    locks = [compiled.lock for ref in EVERY.valuerefs() if (compiled := ref()) is not None]
    end = monotonic() + PATIENCE
    _held[get_ident()] = [
        lock for lock in locks if lock.acquire(timeout=max(0.0, end - monotonic()))
    ]


def after_fork() -> None:
    """Give them back."""
    for lock in _held.pop(get_ident(), ()):
        lock.release()


def after_fork_in_child() -> None:
    """Nobody else is there any more: new locks."""
    _held.clear()
    for compiled in list(EVERY.values()):
        compiled.lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=before_fork, after_in_parent=after_fork, after_in_child=after_fork_in_child
    )


def compile(fn: F | None = None, *, check: bool = False) -> Any:
    """A function that does what `fn` does, as a straight line of NumPy calls.

    The first call for each combination of shapes, dtypes and modes (train, eval, no_grad) runs
    `fn` once to write down what it does; later calls run what was written. Calls 2, 4, 8, 16, ...
    run both ways and raise TraceError, naming the step, where they differ; `check=True` does so
    in every call. A program that was refused never runs again.

    Inputs are Tensors, arrays and floats among the arguments, also in tuples, lists and dicts;
    another int, bool or text makes another program. State is what `fn` reads from elsewhere and
    may write: parameters, buffers, optimisers, learning rates, generators. **Whatever else `fn`
    reads by name is a constant**: variables, attributes, what lists and dicts hold, functions.
    Each call looks whether it still is the same, and traces `fn` anew if not; but no call looks
    into a NumPy array or into what installed packages read. What is printed, appended or counted
    inside happens when `fn` is traced, not in other calls.

    Results are new tensors without a graph: call backward() inside. The `.grad` of a parameter is
    the same Tensor after every call, and the next call overwrites it; clone() what you keep.

    An exception before the first write leaves everything as it was. KeyboardInterrupt in the
    middle of a run leaves each tensor either as it was or as the run leaves it, and `.grad` as it
    was before.

    >>> from tinygrad_ce import tensor
    >>> @compile
    ... def f(x):
    ...     return (x * x).sum()
    >>> f(tensor([1.0, 2.0]))
    tensor(5.)
    """
    if fn is None:
        return functools.partial(compile, check=check)
    check_function(fn, "compile")
    return Compiled(fn, check)


def with_example(program: Program) -> Program:
    """The program with an example to compute: the state as it is now, and some numbers for the
    inputs that were too large to keep.
    """
    stream = np.random.default_rng(0)
    for x in program.inputs:
        if x not in program.example:
            normal = x.dtype is not None and x.dtype.kind == "f"
            value = stream.standard_normal(x.shape) if normal else np.zeros(x.shape)
            program.example[x] = value.astype(x.dtype)
    program.example.update((s.before, np.array(s.node.array)) for s in program.states)
    program.example.update((s.var, float(s.group[s.key])) for s in program.settings)
    return program


def copied(trace: Trace) -> dict[Var, Any]:
    """What the outputs, states and gradients are, apart from memory that a run replaces."""
    return {x: np.array(trace.found[x]) for x in trace.program.roots() if x in trace.found}


def missed(args: Any, kwargs: Any) -> Any:
    """Stands for the usual call where there is none."""
    return MISS


class Runner:
    """A program, bound to the memory that it reads and writes."""

    def __init__(self, trace: Trace, without: frozenset[Any] = frozenset()) -> None:
        trace.found.clear()  # the memory of an example is not kept
        trace.program.example = {
            x: v for x, v in trace.program.example.items() if x.nbytes <= SMALL_EXAMPLE
        }
        self.trace = trace
        self.without = without  # assumptions that did not hold once
        self.calls = 0
        self.usual: Callable[[Any, Any], Any] | None = None
        self.build(pack=True)
        self.names = trace.guards.names  # those that the expressions for arguments use
        self.rest_on(trace.guards)
        self.arrays = arrays_function(trace)
        self.results: tuple[Any, ...] = ()
        self.kept: list[tuple[Any, Any]] = []
        self.entering: list[tuple[Any, Any]] = []  # (tensor, array for the gradient it has)
        self.leaving: list[tuple[Any, Any]] = []  # those of them that are written in place

    def rest_on(self, guards: Guards) -> None:
        """Let these be the conditions: what a trace itself has changed is no reason for another."""
        guards.names = {**self.names, **guards.names}
        self.trace.guards = guards
        self.fits = guards.holds()
        self.usual = None

    def to_be_checked(self) -> bool:
        """Whether the next call is the second, fourth, eighth, ..."""
        return self.calls > 0 and self.calls & (self.calls + 1) == 0

    def build(self, pack: bool) -> None:
        """Make the program fast and write its text; with `pack`, parameters may move together."""
        self.program = program = optimised(self.trace.program, self.without, pack)
        self.emitted: Emitted = Emitter(program).emit()
        self.layouts = list(map(in_one_piece, program.states))
        self.states = [node for s in program.states for node in tensors_of(s)]
        self.written = [
            node for s in program.states if s.after is not s.before for node in tensors_of(s)
        ]
        self.seen: list[Any] = [None] * len(self.states)  # the arrays of the states
        self.drawing = [s.settings["generator"] for s in early_draws(program)]
        self.run: Callable[..., Any] = self.not_bound

    def not_bound(self, *_: Any) -> Any:
        """Stands for the function until the first call."""
        raise RuntimeError("not bound yet")  # pragma: no cover - call() binds before it runs

    def bound(self) -> bool:
        """Bind the program to the arrays that its state has now; False if they do not fit."""
        for node, array in zip(self.states, self.seen):
            if node.array is not array:
                break
        else:
            if self.calls:
                return True
        if not all(s.node.fits() for s in self.program.states if isinstance(s.node, Packed)):
            return False
        try:
            arrays = [state.node.array for state in self.program.states]
        except Unpackable:
            self.build(pack=False)
            return self.bound()
        for state, array in zip(self.program.states, arrays):
            if array.shape != state.before.shape or array.dtype != state.before.dtype:
                return False
        if list(map(in_one_piece, self.program.states)) != self.layouts:  # the text counts on it
            self.build(pack=True)
            return self.bound()
        if not states_apart(self.program):
            return False
        self.bind()
        return True

    def apart(self, args: Any, kwargs: Any) -> bool:
        """Whether arguments are as many as they were, and what the program writes is known to it
        under one name only: no argument lies in the memory of a state or argument that is written.
        """
        arrays = self.arrays(args, kwargs)
        places = [*self.trace.tensors, *self.trace.arrays]
        if len({id(place.find(args, kwargs)) for place in places}) < len(places):
            return False
        for x in arrays:
            if any(np.shares_memory(x, y) for y in self.roots.get(root(x), ())):
                return False
        for place, _ in self.trace.written:
            given = place.find(args, kwargs)
            own = given.array if isinstance(given, Node) else given
            text = place.path + ".array" * isinstance(given, Node)
            others = [x for x, found in zip(arrays, self.trace.texts) if found != text]
            others += [node.array for node in self.states]
            if any(np.shares_memory(own, x) for x in others):
                return False
        return True

    def bind(self) -> None:
        """Give the names of the text their meaning: the arrays of the state, new buffers."""
        try:
            self.bind_names()
        except Unpackable:  # somebody else looks at a parameter: it stays where it is
            self.build(pack=False)
            self.bind_names()

    def bind_names(self) -> None:
        """The same; raises Unpackable if a parameter cannot move."""
        self.usual = None
        names = dict(self.emitted.names)
        self.entering, self.leaving = [], []
        after = {id(s.node): s.after is not s.before for s in self.program.states}
        for name, node in self.emitted.state_names:
            if not isinstance(node, GradOf):
                names[name] = node.array
                continue
            names[name] = np.empty(node.array.shape, node.array.dtype)
            self.entering.append((node.node, names[name]))
            if after[id(node)]:
                self.leaving.append((node.node, names[name]))
        self.seen = [node.array for node in self.states]
        exec(self.emitted.source, names)
        self.run = names["run"]
        self.kept = [(node, leaf(names[name]) if name else None) for node, name in names["KEPT"]]
        gradients = [kept for _, kept in self.kept if kept is not None]
        for place in self.trace.attributes:
            place.bind()
        self.memories = dict.fromkeys(map(memory_of, [*self.written, *gradients]))
        self.roots: dict[int, list[Any]] = {}
        for node in self.written:
            self.roots.setdefault(root(node.array), []).append(node.array)
        self.gradients = {root(kept.array) for kept in gradients}

    def call(self, args: Any, kwargs: Any) -> Any:
        """Run the program on these arguments."""
        for place in self.trace.attributes:
            place.renew()
        if self.run == self.not_bound or self.trace.attributes:
            self.bound()
        arrays = self.arrays(args, kwargs)
        if self.gradients:  # of the last run: they are written while this one reads
            arrays = tuple(np.array(x) if root(x) in self.gradients else x for x in arrays)
        drawn = [(g, g.get_state()) for g in self.drawing]
        for node, array in self.entering:
            np.copyto(array, node.kept.array)
        try:
            self.results = self.run(*arrays)
        except Doubt:
            for generator, state in drawn:
                generator.set_state(state)
            raise
        finally:
            now, writer = tick(), self.program.name + "()"
            for memory in self.memories:
                memory.written, memory.writer = now, writer
        self.calls += 1
        self.write_gradients()
        if self.trace.written or self.trace.gradients or self.trace.live:
            self.write_arguments(args, kwargs)
        return self.filled(self.results, args, kwargs)

    def filled(self, values: tuple[Any, ...], args: Any, kwargs: Any) -> Any:
        """What the function returns, with the values of a run."""
        return filled(self.trace.structure, values, args, kwargs, {})

    def write_gradients(self) -> None:
        """The gradients that the run has computed, into the `.grad` of their tensors."""
        new = [kept for _, kept in self.kept]
        for node, array in self.leaving:
            if not any(node.kept is kept for kept in new):  # else it is the new one by now
                np.copyto(node.kept.array, array)
        for node, kept in self.kept:
            node.kept = kept

    def write_arguments(self, args: Any, kwargs: Any) -> None:
        """What the function does to its arguments."""
        trace = self.trace
        for place, number in trace.written:
            given, value = place.find(args, kwargs), self.results[number]
            if not isinstance(given, Node):
                given[...] = value
                continue
            if isinstance(given.array, np.generic):
                given.array = np.array(given.array)
            given.array[...] = value
            memory = memory_of(given)
            memory.written, memory.writer = tick(), self.program.name + "()"
        for place in trace.live:
            place.find(args, kwargs).requires_grad_()
        for place, gradient in trace.gradients:
            value = None if gradient is None else leaf(np.array(self.results[gradient]))
            place.find(args, kwargs).kept = value


def early_draws(program: Program) -> list[Any]:
    """The draws that come before the last assumption is checked."""
    asked = {a.var for a in program.assumptions}
    steps = assumptions_first(program)
    last = max((i for i, s in enumerate(steps) if s.out in asked), default=0)
    return [s for s in steps[:last] if s.op == "draw"]


def arrays_function(trace: Trace) -> Callable[[Any, Any], tuple[Any, ...]]:
    """`arrays(args, kwargs)`: the inputs of the program among the arguments."""
    names = dict(trace.guards.names)
    exec(f"def arrays(args, kwargs): return ({''.join(t + ', ' for t in trace.texts)})", names)
    result: Callable[[Any, Any], tuple[Any, ...]] = names["arrays"]
    return result


def filled(structure: Any, values: tuple[Any, ...], args: Any, kwargs: Any, made: Any) -> Any:
    """What the function returns, with the values of this run."""
    if isinstance(structure, Hole):
        value = values[structure.number]
        if structure.array:
            return value
        if structure not in made:
            y = made[structure] = leaf(value)
            y.cut = COMPILED if structure.requires_grad else None
        return made[structure]
    if isinstance(structure, Given):
        return structure.find(args, kwargs)
    if isinstance(structure, dict):
        return {k: filled(v, values, args, kwargs, made) for k, v in structure.items()}
    if isinstance(structure, (tuple, list)):
        parts = [filled(v, values, args, kwargs, made) for v in structure]
        return type(structure)(*parts) if hasattr(structure, "_fields") else type(structure)(parts)
    return structure


def states_apart(program: Program) -> bool:
    """Whether no state that is written lies in the memory of another one."""
    arrays = [s.node.array for s in program.states]
    roots = list(map(root, arrays))
    return not any(
        s.after is not s.before and i != j and roots[i] == roots[j] and np.shares_memory(x, y)
        for i, (s, x) in enumerate(zip(program.states, arrays))
        for j, y in enumerate(arrays)
    )


def tensors_of(state: State) -> list[Any]:
    """The Tensors that a state stands for; none for a gradient, which may be another each time."""
    if isinstance(state.node, Packed):
        return state.node.nodes
    return [state.node] if isinstance(state.node, (Node, AttributeOf)) else []
