"""A program bound to the memory that it reads and writes: look, run, hand out.

A call is the text of one function that is made when the program is bound: a line stands there only
if this program needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_ce.engine.backward import COMPILED
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import memory_of, tick
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.program.emit.emitter import emit
from tinygrad_ce.program.emit.memory import in_one_piece
from tinygrad_ce.program.emit.schedule import scheduled
from tinygrad_ce.program.emit.text import Emitted, GuardFailure
from tinygrad_ce.program.ir import State
from tinygrad_ce.program.memory import FlatParameter, Unmovable, root
from tinygrad_ce.program.passes.order import optimised
from tinygrad_ce.program.tracing.arguments import ArgumentPath
from tinygrad_ce.program.tracing.attributes import AttributeOf
from tinygrad_ce.program.tracing.guards import Guards
from tinygrad_ce.program.tracing.trace import GradOf, OutputSlot, Trace, mapped

Call = Callable[[Any, Any], Any]
MISS = object()
"""What the usual call gives if it is none."""
SMALL_EXAMPLE = 1 << 14  # bytes of an input that is kept from the example


class Runner:
    """A program, bound to the memory that it reads and writes."""

    def __init__(self, trace: Trace, without: frozenset[Any] = frozenset()) -> None:
        trace.found.clear()  # the memory of an example is not kept
        trace.program.example = {
            x: v for x, v in trace.program.example.items() if x.nbytes <= SMALL_EXAMPLE
        }
        self.trace = trace
        self.without = without | trace.failed  # assumptions that did not hold once
        self.calls = 0
        self.usual: Call | None = None
        self.build(flatten=True)
        self.names = trace.guards.names  # those that the expressions for arguments use
        self.rest_on(trace.guards)
        self.arrays = arrays_function(trace)
        self.results: tuple[Any, ...] = ()

    def rest_on(self, guards: Guards) -> None:
        """Let these be the conditions: what a trace itself has changed is no reason for another."""
        guards.names = {**self.names, **guards.names}
        self.trace.guards = guards
        self.fits = guards.holds()
        self.usual = None

    def to_be_checked(self) -> bool:
        """Whether the next call is the second, fourth, eighth, ..."""
        return self.calls > 0 and self.calls & (self.calls + 1) == 0

    def build(self, flatten: bool) -> None:
        """Make the program fast and write its text; parameters may move if `flatten`."""
        self.program = program = optimised(self.trace.program, self.without, flatten)
        self.emitted: Emitted = emit(program)
        self.layouts = list(map(in_one_piece, program.states))
        self.states = [node for s in program.states for node in tensors_of(s)]
        self.written = [
            node for s in program.states if s.after is not s.before for node in tensors_of(s)
        ]
        self.seen: list[Any] = [None] * len(self.states)  # the arrays of the states
        self.drawing = [s.attrs["generator"] for s in scheduled(program).draws]
        self.go: Call | None = None  # the call of a program that is bound

    def bound(self) -> bool:
        """Bind the program to the arrays that its state has now; False if they do not fit."""
        for node, array in zip(self.states, self.seen):
            if node.array is not array:
                break
        else:
            if self.go is not None:
                return True
        if not all(s.node.fits() for s in self.program.states if isinstance(s.node, FlatParameter)):
            return False
        try:
            arrays = [state.node.array for state in self.program.states]
        except Unmovable:  # somebody else looks at a parameter: it stays where it is
            self.build(flatten=False)
            return self.bound()
        for state, array in zip(self.program.states, arrays):
            if array.shape != state.before.shape or array.dtype != state.before.dtype:
                return False
        if list(map(in_one_piece, self.program.states)) != self.layouts:  # the text counts on it
            self.build(flatten=True)
            return self.bound()
        self.bind()
        return True

    def unaliased(self, args: Any, kwargs: Any) -> bool:
        """Whether arguments are as many as they were, and what the program writes is known to it
        under one name only: no argument lies in the memory of a state or argument that is written,
        and none that requires a gradient in that of a state that does.
        """
        places = [*self.trace.tensors, *self.trace.arrays]
        if len({id(place.find(args, kwargs)) for place in places}) < len(places):
            return False
        if not (self.roots or self.live_roots or self.trace.written):
            return True
        arrays = self.arrays(args, kwargs)
        tensors = (place.find(args, kwargs) for place in self.trace.tensors)
        live = [x.array for x in tensors if x.live]
        for looking, roots in ((arrays, self.roots), (live, self.live_roots)):
            for x in looking:
                if any(np.shares_memory(x, y) for y in roots.get(root(x), ())):
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
        self.usual = None
        names = {**self.emitted.names, "__name__": __name__}  # where NumPy's warnings come from
        self.entering: list[Any] = []  # (tensor, array for the gradient that it has)
        self.leaving: list[Any] = []  # those of them that are written in place
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
        self.grads = [(node, leaf(names[name]) if name else None) for node, name in names["GRADS"]]
        gradients = [grad for _, grad in self.grads if grad is not None]
        for place in self.trace.attributes:
            place.bind()
        self.memories = dict.fromkeys(map(memory_of, [*self.written, *gradients]))
        live = [node for node in self.states if node.live]
        self.watched = {*self.memories, *map(memory_of, live)}
        self.roots, self.live_roots = roots_of(self.written), roots_of(live)
        self.gradients = {root(grad.array) for grad in gradients}
        self.go = self.spelt_out(looks=False)

    def call(self, args: Any, kwargs: Any) -> Any:
        """Run the program on these arguments."""
        for place in self.trace.attributes:
            place.renew()
        if self.go is None or self.trace.attributes:
            self.bound()
        go: Any = self.go
        return go(args, kwargs)

    def usual_call(self) -> Call:
        """The same for arguments like those before: it gives MISS if anything is not as it was."""
        if self.usual is None:
            self.usual = self.spelt_out(looks=True)
        return self.usual

    def spelt_out(self, looks: bool) -> Call:
        """The text of a call, as a function; one that looks before it runs, or does not."""
        trace = self.trace
        names = {**trace.guards.names, "runner": self, "run": self.run, "MISS": MISS, "tick": tick,
                 "leaf": leaf, "writer": self.program.name + "()", "GuardFailure": GuardFailure,
                 "copyto": np.copyto, "free": self.free}  # fmt: skip

        def name(value: Any) -> str:
            names[f"n{len(names)}"] = value
            return f"n{len(names) - 1}"

        lines = []
        if looks:
            lines += ["try:", f"    if not ({' and '.join(self.conditions(name))}): return MISS"]
            lines += ["except Exception: return MISS"]  # an attribute or an entry is gone
        if looks and trace.attributes:
            lines.append("return runner.call(args, kwargs)")
        else:
            lines += self.body(name, looks)
        exec("def call(args, kwargs):\n    " + "\n    ".join(lines), names)
        call: Call = names["call"]
        return call

    def conditions(self, name: Callable[[Any], str]) -> list[str]:
        """What must be as it was for the usual call."""
        trace = self.trace
        check = (1 << self.calls.bit_length()) - 1  # calls before the next comparison
        conditions = [f"runner.calls < {check}", *trace.guards.conditions]
        for i, (node, array) in enumerate(zip(self.states, self.seen)):
            counted = isinstance(node, AttributeOf)  # who holds it: see AttributeOf.bind
            seen = f"runner.seen[{i}]" if counted else name(array)
            conditions.append(f"{name(node)}.array is {seen}")
        for node, array in self.entering:
            grad = f"{name(node)}._grad.array"
            conditions += [f"{grad}.shape == {array.shape}", f"{grad}.dtype == {name(array.dtype)}"]
        if trace.written or trace.gradients or trace.live:
            return [*conditions, "runner.unaliased(args, kwargs)"]
        if self.watched:
            shared, written = name(self.watched), name(self.memories)
            conditions += [
                f"({p.path}.memory is None or {p.path}.memory not in {shared} or "
                f"({p.path}.memory not in {written} and not {p.path}.live))"
                for p in trace.tensors
            ]
            known = name({*self.roots, *self.gradients})
            conditions += [
                f"({text}.base is None or {name(root)}({text}) not in {known})"
                for x, text in zip(trace.program.inputs, trace.texts)
                if not (x.scalar or text.endswith(".array"))
            ]
        return conditions

    def body(self, name: Callable[[Any], str], looked: bool) -> list[str]:
        """The lines that run and hand out."""
        trace, structure = self.trace, self.trace.structure
        lines = [*self.run_lines(name, looked), "runner.calls += 1"]
        if self.leaving:
            lines.append("runner.leave()")
        for node, grad in self.grads:
            lines.append(f"{name(node)}._grad = {name(grad) if grad is not None else None}")
        if trace.written or trace.gradients or trace.live:
            lines.append("runner.write_arguments(values, args, kwargs)")
        if not looked:
            lines.append("runner.results = values")
        if not isinstance(structure, OutputSlot) or structure.array:
            return [*lines, f"return {name(filled)}({name(structure)}, values, args, kwargs)"]
        lines.append(f"y = leaf(values[{structure.number}])")
        return [*lines, *[f"y.detached_by = {COMPILED!r}"] * structure.requires_grad, "return y"]

    def run_lines(self, name: Callable[[Any], str], looked: bool) -> list[str]:
        """The run itself: with the gradients that are there before it, and the marks after it."""
        texts = self.trace.texts if looked else [f"free({text})" for text in self.trace.texts]
        lines = [
            f"copyto({name(array)}, {name(node)}._grad.array)" for node, array in self.entering
        ]
        run = [f"    values = run({', '.join(texts)})"]
        draws = [(name(generator), f"drawn{i}") for i, generator in enumerate(self.drawing)]
        lines += [f"{drawn} = {generator}.get_state()" for generator, drawn in draws]
        if draws:
            run.append("except GuardFailure:")
            run += [f"    {generator}.set_state({drawn})" for generator, drawn in draws]
            run.append("    raise")
        marks = ["now = tick()"]
        for memory in map(name, self.memories):
            marks += [f"{memory}.written = now", f"{memory}.writer = writer"]
        if self.memories:
            run += ["finally:", f"    {'; '.join(marks)}"]
        return [*lines, "try:", *run] if len(run) > 1 else [*lines, run[0].strip()]

    def free(self, x: Any) -> Any:
        """An input, apart from the gradients of the last run: they are written while it is read."""
        return np.array(x) if self.gradients and root(x) in self.gradients else x

    def leave(self) -> None:
        """Write gradients that were there before the run and are changed in place."""
        new = [grad for _, grad in self.grads]
        for node, array in self.leaving:
            if not any(node._grad is grad for grad in new):  # else it is the new one by now
                np.copyto(node._grad.array, array)

    def write_arguments(self, values: tuple[Any, ...], args: Any, kwargs: Any) -> None:
        """What the function does to its arguments."""
        trace = self.trace
        for place, number in trace.written:
            given, value = place.find(args, kwargs), values[number]
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
            grad = None if gradient is None else leaf(np.array(values[gradient]))
            place.find(args, kwargs)._grad = grad


def arrays_function(trace: Trace) -> Callable[[Any, Any], tuple[Any, ...]]:
    """`arrays(args, kwargs)`: the inputs of the program among the arguments."""
    names = dict(trace.guards.names)
    exec(f"def arrays(args, kwargs): return ({''.join(t + ', ' for t in trace.texts)})", names)
    result: Callable[[Any, Any], tuple[Any, ...]] = names["arrays"]
    return result


def roots_of(nodes: list[Any]) -> dict[int, list[Any]]:
    """The arrays of Tensors, by the memory that they lie in."""
    roots: dict[int, list[Any]] = {}
    for node in nodes:
        roots.setdefault(root(node.array), []).append(node.array)
    return roots


def filled(
    structure: Any, values: tuple[Any, ...], args: Any, kwargs: Any, tensor: Any = leaf
) -> Any:
    """What the function returns, with the values of this run; a value that stands twice is one."""
    made: dict[OutputSlot, Any] = {}

    def part(x: Any) -> Any:
        if isinstance(x, ArgumentPath):
            return x.find(args, kwargs)
        if not isinstance(x, OutputSlot):
            return x
        if x.array:
            return values[x.number]
        if x not in made:
            made[x] = tensor(values[x.number])
            made[x].detached_by = COMPILED if x.requires_grad else None
        return made[x]

    return mapped(part, structure)


def parts_of(state: State) -> list[Any]:
    """The tensors of a state, or the place where its gradient is found."""
    return state.node.nodes if isinstance(state.node, FlatParameter) else [state.node]


def tensors_of(state: State) -> list[Any]:
    """The Tensors that a state stands for; none for a gradient, which may be another each time."""
    return [] if isinstance(state.node, GradOf) else parts_of(state)
