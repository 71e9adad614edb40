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

from tinygrad_ce.engine.frame import current
from tinygrad_ce.program.before import Before
from tinygrad_ce.program.check import compare_settings, compare_traces, compare_values, failures
from tinygrad_ce.program.emit.text import GuardFailure
from tinygrad_ce.program.ir import Program, Var
from tinygrad_ce.program.running import MISS, Call, Runner
from tinygrad_ce.program.traced import TracedProgram
from tinygrad_ce.program.tracing.symbol import TraceError, UnsetError
from tinygrad_ce.program.tracing.trace import Trace, check_function, trace_call

F = TypeVar("F", bound=Callable[..., Any])
MOST = 32  # programs that a compiled function keeps; the one not used for longest goes first


class Compiled:
    """A function that was compiled: call it as the function itself.

    Attributes that it does not have are those of the function, or of the module, inside.
    """

    fn: Callable[..., Any]
    check: bool
    runners: list[Runner]  # the one used last in front
    usual: Call  # the call that was the right one last
    refused: bool  # the last comparison failed: the next program is compared at once
    lock: Any
    engine_options: Any  # of an engine that takes some, else None

    def __init__(self, fn: Callable[..., Any], check: bool = False, **more: Any) -> None:
        functools.update_wrapper(self, fn, updated=())
        own = {"fn": fn, "check": check, "runners": [], "usual": missed, "refused": False}
        own |= {"lock": RLock(), "engine_options": None, **more}
        vars(self).update(own)  # all others are attributes of the function
        EVERY[id(self)] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program that was traced for such arguments; trace one if there is none."""
        frame = current()
        if frame.tracer is not None or not isinstance(frame.lines, bool):  # traced, or watched
            return self.fn(*args, **kwargs)
        with self.lock:
            try:
                result = self.usual(args, kwargs)
                if result is not MISS:
                    return result
            except GuardFailure as failure:
                return self.deoptimise(self.runners[0], failure, args, kwargs)
            return self.unusual(args, kwargs)

    def unusual(self, args: Any, kwargs: Any) -> Any:
        """Find the program for such arguments and run it, trace one if there is none."""
        self.usual = missed
        runner = self.fitting(args, kwargs)
        if runner is None:
            try:
                trace = trace_call(self.fn, args, kwargs)
            except UnsetError:  # eager code sets it, and the next call finds a tensor there
                return self.fn(*args, **kwargs)
            if not self.refused:
                return self.first(trace, frozenset(), args, kwargs)
            runner = self.remembered(self.runner_of(trace))
        if self.check or self.refused or runner.to_be_checked():
            return self.checked(runner, args, kwargs)
        try:
            result = runner.call(args, kwargs)
        except GuardFailure as failure:
            return self.deoptimise(runner, failure, args, kwargs)
        self.usual = runner.usual_call()
        return result

    def fitting(self, args: Any, kwargs: Any) -> Runner | None:
        """The program for such arguments, if there is one."""
        for runner in self.runners:
            if runner.fits(args, kwargs) and runner.bound() and runner.unaliased(args, kwargs):
                self.runners.remove(runner)
                self.runners.insert(0, runner)
                return runner
        return None

    def first(self, trace: Trace, failed: frozenset[Any], args: Any, kwargs: Any) -> Any:
        """Run a new program, and see that it computes what the function did while it was traced."""
        again = replace(trace, found=copied(trace))
        runner = self.remembered(self.runner_of(trace, failed))
        return self.compared(runner, again, args, kwargs)

    def runner_of(self, trace: Trace, without: frozenset[Any] = frozenset()) -> Runner:
        """What runs a program."""
        return Runner(trace, without)

    def another(self, fn: Any) -> Compiled:
        """The same for another function."""
        return type(self)(fn, *self.settings())

    def settings(self) -> tuple[Any, ...]:
        """What it was made with besides the function."""
        return (self.check,) if self.engine_options is None else (self.check, self.engine_options)

    def sync(self) -> None:
        """Nothing to wait for: NumPy has finished, and the state is here. Other engines differ."""

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

    def deoptimise(self, runner: Runner, failure: GuardFailure, args: Any, kwargs: Any) -> Any:
        """What the program took for granted does not hold here: trace one that does without."""
        key = runner.program.assumptions[failure.number].key
        return self.without(runner, frozenset({key}), args, kwargs)

    def without(self, runner: Runner, keys: frozenset[Any], args: Any, kwargs: Any) -> Any:
        """Trace a program in the place of another one that takes less for granted, and run it."""
        failed = runner.without | keys
        trace = trace_call(self.fn, args, kwargs, failed)
        self.forget(runner)
        return self.first(trace, failed, args, kwargs)

    def checked(self, runner: Runner, args: Any, kwargs: Any) -> Any:
        """Run both ways: the function, written down once more, and the program."""
        before = [(s.group, s.key, s.group[s.key]) for s in runner.trace.program.settings]
        try:
            again = trace_call(self.fn, args, kwargs, runner.without)
            compare_settings(runner.program.name, before)
            failing = failures(runner.trace.program, again.program)
            may_stay = failing or compare_traces(runner.trace, again, runner.calls + 1)
        except TraceError:
            self.refuse(runner)
            raise
        if failing:
            return self.without(runner, frozenset(failing), args, kwargs)
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
        except GuardFailure as failure:
            return self.deoptimise(runner, failure, args, kwargs)
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
        bound = self.another(self.fn.__get__(instance, owner))
        vars(instance)[self.fn.__name__] = bound
        return bound

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "fn" not in vars(self):
            raise AttributeError(name)
        return getattr(self.fn, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) or name.startswith("__"):
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
        return type(self), (self.fn, *self.settings())

    @property
    def program(self) -> TracedProgram:
        """The program that ran last, as it was traced."""
        trace = self.last().trace
        trace.program = program = with_example(trace.program)
        return program

    def source(self, level: str = "formula") -> str:
        """The program that ran last, as a person would have written it: see Program.source."""
        return self.program.source(level)

    def backward_source(self, level: str = "formula") -> str:
        """The backward pass of it alone: see Program.backward_source."""
        return self.program.backward_source(level)

    def table(self) -> str:
        """What each line of it costs: see Program.table."""
        return self.program.table()

    def emitted(self) -> str:
        """The text that really runs: buffers made beforehand, then the function that fills them."""
        return self.last().emitted.source

    def last(self) -> Runner:
        """The program that ran last, bound to its memory."""
        if not self.runners:
            raise RuntimeError("compile: nothing is traced yet; call the function once")
        return self.runners[0]

    def __repr__(self) -> str:
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        return f"<compiled {name}, {len(self.runners)} programs>"


class CompiledModule(Compiled):
    """A module that was compiled. While it trains, its results are to have a graph, for the caller
    to call backward(): it is then called itself, and the programs are for eval() and no_grad().
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        module: Any = self.fn
        records = module.training and current().record
        if records and any(parameter.requires_grad for parameter in module.parameters()):
            return module(*args, **kwargs)
        return super().__call__(*args, **kwargs)


ENGINES = ("numpy", "jax", "auto")
SETTINGS = ("devices", "mesh", "batched", "random", "donate", "local")

copyreg.pickle(Compiled, Compiled.__reduce__)
copyreg.pickle(CompiledModule, CompiledModule.__reduce__)

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


def after_fork_in_child() -> None:  # pragma: no cover - runs in a child that writes no data
    """Nobody else is there any more: new locks."""
    _held.clear()
    for compiled in list(EVERY.values()):
        compiled.lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=before_fork, after_in_parent=after_fork, after_in_child=after_fork_in_child
    )


def compile(
    fn: F | None = None, *, check: bool = False, disable: bool = False, fullgraph: bool = False,
    dynamic: bool | None = None, backend: Any = None, mode: str | None = None, options: Any = None,
    engine: str = "numpy", **how: Any,
) -> Any:  # fmt: skip
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

    Results are new tensors without a graph: call backward() inside. A module, though, that is in
    training mode while the graph is recorded is called as it is, for the caller's backward(), and
    compiled for eval() and no_grad().

    `engine="jax"` runs the program on XLA, its state on the device between calls, and knows more
    settings (docs/scale.md): `devices=8` or `mesh=` divide the batch, `batched=("x", "y")` says
    which inputs have it, `local=True` that each process gives its own rows; `random="device"` draws
    there, other numbers than "host"; `donate=False` keeps the old state until the new one is
    known. `engine="auto"` times NumPy and JAX in the first calls and keeps the faster.

    `disable` gives `fn` itself; the other options are
    PyTorch's, and change nothing. The `.grad` of a parameter is
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
    if engine not in ENGINES:
        raise ValueError(f"compile: got engine={engine!r}; wanted one of {', '.join(ENGINES)}")
    unknown = [name for name in how if engine == "numpy" or name not in SETTINGS]
    if unknown:
        raise TypeError(
            f"compile: got an unexpected keyword argument {', '.join(map(repr, unknown))}; "
            f"{', '.join(SETTINGS[:-1])} and {SETTINGS[-1]} are for engine='jax'"
        )
    if fn is None:
        return functools.partial(compile, check=check, disable=disable, engine=engine, **how)
    check_function(fn, "compile")
    if disable:
        return fn
    if engine != "numpy":
        from tinygrad_ce.engines.options import compiled

        return compiled(fn, check, engine, **how)
    return (CompiledModule if is_module(fn) else Compiled)(fn, check)


def is_module(fn: Any) -> bool:
    """Whether it is a module, which is called as it is while it trains."""
    return hasattr(fn, "training") and hasattr(fn, "parameters")


def copied(trace: Trace) -> dict[Var, Any]:
    """What the outputs, states and gradients are, apart from memory that a run replaces."""
    return {x: np.array(trace.found[x]) for x in trace.program.roots() if x in trace.found}


def missed(args: Any, kwargs: Any) -> Any:
    """Stands for the usual call where there is none."""
    return MISS


def with_example(program: Program) -> TracedProgram:
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
    return TracedProgram.of(program)
