"""Run a function once on Symbols and keep what it did as a Program."""

from __future__ import annotations

import gc
import inspect
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_ce.autograd.linting import warn_of
from tinygrad_ce.engine.frame import a_type, tracing
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.hooks import hooks_of
from tinygrad_ce.engine.memory import writable
from tinygrad_ce.engine.operands import holds_number
from tinygrad_ce.program.ir import Grad, Program, State, Var
from tinygrad_ce.program.memory import base_of
from tinygrad_ce.program.tracing.arguments import ArgumentPath, Arguments
from tinygrad_ce.program.tracing.attributes import Assigned, AttributeOf, assigned, check_alone
from tinygrad_ce.program.tracing.guards import Guards, Watch, vars_of
from tinygrad_ce.program.tracing.symbol import LiftedArray, Symbol, TraceError, Tracer, UnsetError
from tinygrad_ce.program.tracing.variables import Variables, contents_of


@dataclass(eq=False, slots=True)
class Trace:
    """A program as it was written down, and what it rests on and changes."""

    program: Program
    structure: Any  # what the function returned, with an OutputSlot for each value
    guards: Guards
    texts: list[str]  # for each input of the program, where a call finds it
    found: dict[Var, Any]  # what the outputs, states and gradients are in the example
    tensors: list[ArgumentPath] = field(default_factory=list)  # the Tensors among the arguments
    arrays: list[ArgumentPath] = field(default_factory=list)  # the arrays among them
    written: list[tuple[ArgumentPath, int]] = field(default_factory=list)
    """Arguments that are written, and the output with the new value."""
    gradients: list[tuple[ArgumentPath, int | None]] = field(default_factory=list)
    """Arguments whose `.grad` is set, and the output with it, or None to forget it."""
    live: list[ArgumentPath] = field(default_factory=list)
    """Arguments that require a gradient from then on."""
    failed: frozenset[Any] = frozenset()
    """Assumptions that did not hold for the example, or once before."""
    attributes: list[AttributeOf] = field(default_factory=list)
    """Attributes of modules that hold another tensor after each call."""
    printed: bool = False
    """Whether a value was made a text: the function may go by the numbers in it."""


def mapped(function: Callable[[Any], Any], x: Any) -> Any:
    """x with `function(v)` for each v in it that is no tuple, list or dict."""
    if isinstance(x, dict):
        return {k: mapped(function, v) for k, v in x.items()}
    if isinstance(x, (tuple, list)):
        parts = [mapped(function, v) for v in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return function(x)


class OutputSlot:
    """Where a value of the program stands in what the function returned."""

    __slots__ = ("array", "number", "requires_grad")

    def __init__(self, number: int, array: bool, requires_grad: bool) -> None:
        self.number = number
        self.array = array
        self.requires_grad = requires_grad


class GradOf:
    """The `.grad` of a Tensor as a place to read from: in each run it may be another Tensor."""

    __slots__ = ("node",)

    def __init__(self, node: Any) -> None:
        self.node = node

    @property
    def array(self) -> Any:
        """The array of the gradient that is there now."""
        return self.node._grad.array


def trace_call(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    failed: frozenset[Any] = frozenset(),
) -> Trace:
    """Run `fn` on Symbols. Nothing that exists is changed: writes wait for the program to run."""
    variables = Variables(fn)
    try:
        return traced(fn, args, kwargs, failed)
    except BaseException:
        variables.put_back()
        raise


def traced(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], failed: frozenset[Any]
) -> Trace:
    """The same; after an error, variables of the user may hold tensors without numbers."""
    tracer = Tracer(failed)
    tracer.floor = sys._getframe()
    guards = Guards()
    guards.mode()
    arguments = Arguments(tracer, guards)
    given, keywords = arguments.take(fn, args, kwargs)
    returned = Returned(tracer, arguments)
    try:
        with tracing(tracer):
            result = fn(*given, **keywords)
            if tracer.refused is not None:
                raise tracer.refused  # the function caught it, and went another way
            tracer.check_settings()
            structure = returned.take(result)
            left = assigned(tracer, [a.symbol for a in arguments.found.values()])
        gradients = name_gradients(tracer)  # while the graph is there
        del result
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        tracer.explain(error)
        raise
    finally:
        for generator, state in tracer.generators.items():
            generator.set_state(state)
        for module, name, old in tracer.assigned.values():
            vars(module)[name] = old
        put_back(tracer)
    del given, keywords
    finished = Finish(fn, tracer, guards, arguments, returned, structure, left).trace
    for g, of in gradients.items():
        finished.program.gradient_of[g] = (*of, *finished.program.gradient_of.get(g, ()))
    finished.failed = tracer.failed
    finished.printed = tracer.printed
    tracer.lifted.clear()  # they hold the arrays of the state, in a cycle
    return finished


def check_function(fn: Any, caller: str) -> None:
    """Refuse what is no function, and one whose body does not run when it is called."""
    if not callable(fn):
        raise TypeError(f"{caller}: got {a_type(fn)}; wanted a function")
    for is_kind, kind in KINDS:
        if is_kind(fn):
            raise TypeError(
                f"{caller}: {getattr(fn, '__name__', fn)} is {kind}, whose body runs in pieces; "
                f"{caller} the function that does one step, and loop outside of it"
            )


KINDS = (
    (inspect.isgeneratorfunction, "a generator"),
    (inspect.iscoroutinefunction, "a coroutine"),
    (inspect.isasyncgenfunction, "an asynchronous generator"),
)


class Returned:
    """What a function returned, taken apart: values of the program, arguments, and the rest."""

    def __init__(self, tracer: Tracer, arguments: Arguments) -> None:
        self.tracer = tracer
        self.outputs: list[Symbol] = []
        self.slots: dict[int, OutputSlot] = {}  # id of what was returned -> its slot
        self.known: dict[OutputSlot, weakref.ref[Any]] = {}  # tensors that may be there for longer
        self.given: dict[int, ArgumentPath] = {}
        for argument in arguments.found.values():
            stands_for = argument.symbol if argument.node is None else argument.node
            self.given[id(stands_for)] = argument.place

    def take(self, x: Any) -> Any:
        """The structure of x, with an OutputSlot in the place of each value."""
        return mapped(self.part, x)

    def part(self, x: Any) -> Any:
        """What stands for a value: an argument, an OutputSlot, or the value itself."""
        if id(x) in self.given:
            return self.given[id(x)]
        if isinstance(x, (Node, Symbol)):
            return self.slot(x)
        if isinstance(x, np.ndarray):
            return self.slot(self.tracer.constant(x))
        return x

    def slot(self, x: Any) -> OutputSlot:
        """The slot for a Tensor or Symbol, the same one if it is returned twice."""
        if id(x) in self.slots:
            return self.slots[id(x)]
        is_tensor = isinstance(x, Node)
        symbol = self.tracer.lift(x) if is_tensor else x
        slot = OutputSlot(len(self.outputs), not is_tensor, is_tensor and x.requires_grad)
        if not self.tracer.gradient_of:  # nothing was warned of when backward() began
            warn_of(x)
        self.outputs.append(symbol.fresh())
        if is_tensor and type(x.array) is not Symbol:
            self.known[slot] = weakref.ref(x)
        self.slots[id(x)] = slot
        return slot

    def without_known(self, structure: Any) -> Any:
        """The structure, with tensors that were there before the call in their own place."""

        def own(x: Any) -> Any:
            ref = self.known.get(x) if isinstance(x, OutputSlot) else None
            node = ref() if ref is not None else None
            return x if node is None else node

        return mapped(own, structure)


def put_back(tracer: Tracer) -> None:
    """Give tensors from outside their own past again: nothing was written yet."""
    for ref, written in reversed(tracer.ticks):
        node = ref()
        if node is not None and node.memory is not None:
            node.memory.written = written
    rebound = [(node, past) for ref, past, _ in tracer.rebound if (node := ref()) is not None]
    for node, past in reversed(rebound):
        for slot, value in past.items():
            setattr(node, slot, value)
        node.was.pop()
    tracer.rebound = [(ref, {}, where) for ref, _, where in tracer.rebound]  # a past holds Symbols


def refuse_rebound(tracer: Tracer) -> None:
    """Stop if a tensor from outside became part of the graph."""
    for ref, _, where in tracer.rebound:
        if ref() is not None:
            raise TraceError(
                "trace: what is written into a tensor from outside of the function carries a "
                f"gradient{where}, but the graph ends with the function. Write the numbers alone, "
                "with v.detach() or under no_grad(), or return the tensor"
            )


def name_gradients(tracer: Tracer) -> dict[Var, tuple[Var, ...]]:
    """A gradient is called after the value that it is the gradient of: dlogits, dW1.

    Returns which values each is the gradient of.
    """
    gradients: dict[Var, tuple[Var, ...]] = {}
    for var, ref in tracer.gradient_of:
        node = ref()
        if node is None or var in tracer.constants:
            continue
        if type(node.array) is Symbol:
            of, name = node.array.now, node.array.now.name
        else:
            lifted = tracer.lifted.get(id(node.array))
            if lifted is None:
                continue  # pragma: no cover - what gets a gradient was read, and so lifted
            of, name = lifted.before, lifted.name
        gradients[var] = (*gradients.get(var, ()), of)
        if name and not var.name:
            var.name = "d" + name
    return gradients


def names_around(fn: Callable[..., Any], tracer: Tracer) -> dict[int, str]:
    """The names by which a function knows Tensors, modules' parameters included: id -> name."""
    inner: Any = inspect.unwrap(fn)
    code = getattr(inner, "__code__", None)
    scope: dict[str, Any] = {}
    if code is not None:
        known = getattr(inner, "__globals__", {})
        scope.update((n, known[n]) for n in code.co_names if n in known)
        scope.update(zip(code.co_freevars, map(contents_of, inner.__closure__ or ())))
    if getattr(inner, "__self__", None) is not None:
        scope["self"] = inner.__self__
    if hasattr(type(inner), "named_parameters"):
        scope["self"] = inner
    names: dict[int, str] = {}
    modules = sum(hasattr(type(value), "named_parameters") for value in scope.values())
    for name, value in scope.items():
        for found, tensor in tensors_in(value, name, alone=modules == 1):
            names.setdefault(id(tensor), found)
    for held in filter(None, map(vars_of, scope.values())):
        for p, state in held["state"].items() if "param_groups" in held else ():
            lifted = tracer.lifted.get(id(p.array))
            known_as = names.get(id(p)) or (lifted.name if lifted is not None else "")
            if known_as:
                names.update((id(tensor), f"{known_as}_{key}") for key, tensor in state.items())
    return names


def tensors_in(value: Any, name: str, alone: bool) -> list[tuple[str, Any]]:
    """(name, Tensor) for the Tensors that a variable holds, directly or in a list or module.

    The name of a module's variable stands in front where the function knows several modules.
    """
    if isinstance(value, Node):
        return [(name, value)]
    if hasattr(type(value), "named_parameters") and hasattr(type(value), "named_buffers"):
        both = [*value.named_parameters(), *value.named_buffers()]
        front = "" if alone else name + "_"
        return [(front + path.replace(".", "_"), tensor) for path, tensor in both]
    if isinstance(value, dict):
        return [(str(k), v) for k, v in value.items() if isinstance(v, Node)]
    if isinstance(value, (list, tuple)):
        return [(f"{name}{i + 1}", v) for i, v in enumerate(value) if isinstance(v, Node)]
    return []


class Finish:
    """Sorts what was read into states and constants, and makes the Program."""

    def __init__(
        self,
        fn: Callable[..., Any],
        tracer: Tracer,
        guards: Guards,
        arguments: Arguments,
        returned: Returned,
        structure: Any,
        left: list[Assigned],
    ) -> None:
        self.tracer = tracer
        self.guards = guards
        self.objects = arguments.objects
        program = self.program = Program(getattr(fn, "__name__", type(fn).__name__))
        program.inputs = tracer.inputs
        program.settings = tracer.settings_read
        program.constants = tracer.constants
        program.steps = tracer.steps
        program.updates = tracer.updates
        program.assumptions = tracer.assumptions
        program.example.update((var, value) for var, value in tracer.given)
        names = names_around(fn, tracer)
        self.trace = Trace(program, None, guards, arguments.texts, {})
        outputs = list(returned.outputs)
        program.returned = len(outputs)
        self.arguments(arguments, outputs)
        self.gradients()
        refuse_rebound(tracer)
        check_alone(left)
        survivors_but(tracer, [*outputs, *self.grad_symbols, *(x.symbol for x in left)])
        self.trace.structure = returned.without_known(structure)
        program.outputs = [tracer.look(symbol) for symbol in outputs]
        self.trace.found.update((symbol.now, symbol.value) for symbol in outputs)
        self.attributes(left, names)
        for lifted in list(tracer.lifted.values()):
            self.lifted(lifted, names)
        self.guard(fn)

    def arguments(self, arguments: Arguments, outputs: list[Symbol]) -> None:
        """What the function did to its arguments, as further outputs."""
        trace = self.trace
        for argument in arguments.found.values() if self.tracer.layout_matters else ():
            path = argument.place.path + ("" if argument.node is None else ".array")
            strides = getattr(argument.given, "array", argument.given).strides
            self.guards.require(f"{path}.strides == {strides}")
        for argument in arguments.written():
            path = argument.place.path + ("" if argument.node is None else ".array")
            array = argument.given if argument.node is None else argument.given.array
            if isinstance(array, np.ndarray):
                users = argument.node is None  # who has locked it on purpose
                unlocked = f"{self.guards.define(writable)}({path})"
                self.guards.require(f"{path}.flags.writeable" if users else unlocked)
                if not (array.flags.writeable if users else writable(array)):
                    raise TraceError(
                        f"trace: argument {path} is written and cannot be: it is read-only, or "
                        "repeats its elements. Pass x.clone()"
                    )
            trace.written.append((argument.place, len(outputs)))
            outputs.append(argument.symbol.fresh())
        for argument, symbol in arguments.gradients():
            trace.gradients.append((argument.place, None if symbol is None else len(outputs)))
            if symbol is not None:
                outputs.append(symbol.fresh())
                if argument.given._grad is None:  # else it is added to what was there
                    slope = outputs[-1].now
                    slope.name = slope.name or f"d{argument.var.name}"
                    self.program.gradient_of[slope] = (argument.var,)
        check_overlaps(list(self.tracer.lifted.values()), arguments)
        symbol = None
        for argument in arguments.found.values():
            if argument.node is None:
                trace.arrays.append(argument.place)
            else:
                trace.tensors.append(argument.place)
                if argument.node.requires_grad and not argument.given.requires_grad:
                    trace.live.append(argument.place)
                argument.node._grad = argument.grad = argument.node = None
            argument.symbol = None  # if it is still there now, somebody else holds it

    def gradients(self) -> None:
        """The `.grad` of tensors from outside."""
        tracer = self.tracer
        self.grad_symbols: list[Symbol] = []
        grads = []
        for node in tracer.replaced:
            value = tracer.grads[node]
            if value is node._grad and value is not None:
                continue
            symbol = tracer.lift(value).fresh() if isinstance(value, Node) else None
            if symbol is not None:
                self.grad_symbols.append(symbol)
                self.trace.found[symbol.now] = symbol.value
            grads.append((weakref.ref(node), symbol))
        empty = [(weakref.ref(node), was) for node, was in tracer.empty.items()]
        for known in (tracer.grads, tracer.replaced, tracer.empty):  # so that what the function
            known.clear()  # itself has made goes away
        value = node = None
        for generation in (1, 2):  # a tensor that was written, and its views, may hold each other
            if any(ref() is not None for ref, _, _ in tracer.rebound):
                gc.collect(generation)
        for ref, was in empty:
            if (node := ref()) is not None:
                self.guards.require(f"({self.guards.define(node)}._grad is None) is {was}")
        for ref, symbol in grads:
            if (node := ref()) is not None:
                self.program.grads.append(Grad(node, symbol.now if symbol is not None else None))

    def attributes(self, left: list[Assigned], names: dict[int, str]) -> None:
        """What the function has set attributes of modules to."""
        read = {x for step in self.program.steps for x in step.operands}
        read.update(self.program.outputs)
        for place, old, symbol, _ in left:
            lifted = self.tracer.lifted.pop(id(old.array), None)
            if lifted is None or lifted.symbol.now is not lifted.before:
                raise TraceError(
                    f"trace: {place!r} is set to another tensor, and the old one is written in "
                    "place or is another attribute too. Do one of both, or keep x.clone()"
                )
            if place.live and lifted.before in read:
                raise TraceError(
                    f"trace: {place!r} is set to a tensor that carries a gradient, but the graph "
                    f"ends with the function, and the next call reads it. Write self.{place.name} "
                    "= x.detach(), or compute it under no_grad()"
                )
            lifted.before.name = names.get(id(old)) or lifted.name or place.name
            self.program.states.append(State(place, lifted.before, symbol.now))
            self.program.example[lifted.before] = np.array(lifted.array)
            self.trace.found[symbol.now] = symbol.value
            self.trace.attributes.append(place)
            self.guards.replaced[id(old)] = old
            self.guards.require(f"not {self.guards.define(place)}.tensor.requires_grad")

    def lifted(self, lifted: LiftedArray, names: dict[int, str]) -> None:
        """What was read from an array: a constant if nobody can change it, else state."""
        program = self.program
        nodes = lifted.holders()
        written = lifted.symbol.now is not lifted.before
        if lifted.grad_of is not None:
            nodes = [GradOf(lifted.grad_of)]
        fixed = not can_be_written(lifted.array)
        if not nodes or (fixed and not written):
            program.constants[lifted.before] = lifted.array
            for node in nodes:
                if isinstance(node, Node) and not holds_number(node):
                    self.guards.same(f"{self.guards.define(node)}.array", node.array)
            return
        named = next((names[id(node)] for node in nodes if id(node) in names), "")
        lifted.before.name = named or lifted.name
        if written and not lifted.symbol.now.name:
            lifted.symbol.now.name = lifted.before.name
        program.states.append(State(nodes[0], lifted.before, lifted.symbol.now))
        program.example[lifted.before] = np.array(lifted.array)
        self.trace.found[lifted.symbol.now] = lifted.symbol.value

    def guard(self, fn: Callable[..., Any]) -> None:
        """What must be as it is now for the program to be used."""
        tracer, guards = self.tracer, self.guards
        for group, fixed in tracer.fixed_settings:
            for key, value in fixed.items():
                guards.same(f"{guards.define(group)}[{key!r}]", value)
        own = {t for o in tracer.owners if hasattr(o, "state") for s in o.state.values()
               for t in s.values()}  # fmt: skip
        for state in self.program.states:
            if isinstance(state.node, Node) and state.node not in own:
                guards.require(f"{guards.define(state.node)}.live is {state.node.live}")
        nodes = [state.node for state in self.program.states if isinstance(state.node, Node)]
        guards.hooks(nodes)
        hooks = [hook for node in nodes for hook in (hooks_of(node) or {}).values()]
        Watch(guards, fn).look([fn, *tracer.owners, *self.objects, *hooks])


def can_be_written(array: Any) -> bool:
    """Whether the numbers of an array can change: through itself, or what it is a view of."""
    while array is not None:
        if isinstance(array, np.ndarray) and array.flags.writeable:
            return True
        array = base_of(array)
    return False


def is_left(value: Any, left: list[Symbol]) -> bool:
    """Whether a value is a Tensor with one of these Symbols."""
    return isinstance(value, Node) and any(value.array is s for s in left)


def survivors_but(tracer: Tracer, known: list[Symbol]) -> None:
    """Stop if a Symbol is still held by somebody: what it stands for exists only in the trace."""
    known = [*known, *(lifted.symbol for lifted in tracer.lifted.values())]
    own = {id(s) for s in known} | {id(s.place) for s in known}
    for generation in (1, 2, None):  # the young first: to look at all that there is takes long
        left = [s for ref in tracer.alive if (s := ref()) is not None and id(s) not in own]
        if not left:
            return
        if generation:
            del left
            gc.collect(generation)
    filled = [(m, name) for ref, name in tracer.filled if (m := ref()) is not None]
    filled = [(m, name) for m, name in filled if is_left(vars(m).get(name), left)]
    for module, name in filled:
        vars(module)[name] = None
    if filled:
        raise UnsetError(
            f"trace: {type(module).__name__}.{name} was None and is set to a tensor, so that the "
            "next call is another program. Let it hold a tensor of that shape and dtype before: "
            f"self.{name} = zeros(...), or call the function once before it is traced"
        )
    number = {step.out: i for i, step in enumerate(tracer.steps)}
    symbol = max(left, key=lambda s: number.get(s.now, -1))  # it holds the others
    maker = next((s for s in tracer.steps if s.out is symbol.now), None)
    where = f", made at {maker.line}," if maker is not None and maker.line else ""
    name = symbol.now.name or f"a tensor of shape {symbol.shape}"
    raise TraceError(
        f"trace: {name}{where} is kept by something that outlives the function, where it "
        "would have no numbers. Return it, or write it into a tensor that exists before: t[...] = x"
    )


def check_overlaps(lifted: list[LiftedArray], arguments: Arguments) -> None:
    """Two tensors on one memory, of which one is written, would part in the program."""
    symbols = [(c.array, c.symbol.now is not c.before) for c in lifted if c.array is not None]
    for argument in arguments.found.values():
        array = argument.given.array if argument.node is not None else argument.given
        live = argument.node is not None and argument.node.requires_grad
        symbols.append((array, live or argument.symbol.writes > 0))
    arrays = [(array, w) for array, w in symbols if isinstance(array, np.ndarray)]
    for i, (array, written) in enumerate(arrays):
        if not written:
            continue
        for j, (other, _) in enumerate(arrays):
            if i != j and np.shares_memory(other, array):
                raise TraceError(
                    f"trace: two tensors, of shapes {array.shape} and {other.shape}, look at the "
                    "same memory, and one of them is written or gathers a gradient. Use only one "
                    "of them in the function, as an argument or from outside, or pass x.clone()"
                )
