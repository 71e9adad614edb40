"""trace(): run a function once on Symbols and keep what it did as a Program."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_ce.engine.frame import tracing
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.program.ir import Kept, Program, State, Var
from tinygrad_ce.program.symbol import Cell, Symbol, TraceError, Tracer

CONTAINERS = (tuple, list, dict)


@dataclass(eq=False, slots=True)
class Trace:
    """A program as it was written down, the example that it was written down from, and what it
    rests on.
    """

    program: Program
    structure: Any  # what the function returned, with a Hole for each value
    tracer: Tracer
    found: list[Any]  # the values of `program.roots()` in the example


class Hole:
    """Where a value of the program stands in what the function returned."""

    __slots__ = ("array", "number", "requires_grad")

    def __init__(self, number: int, array: bool, requires_grad: bool) -> None:
        self.number = number
        self.array = array
        self.requires_grad = requires_grad


class GradOf:
    """The `.grad` of a Tensor as a place to read from: at each run it is another Tensor."""

    __slots__ = ("node",)

    def __init__(self, node: Any) -> None:
        self.node = node

    @property
    def array(self) -> Any:
        """The array of the gradient that is there now."""
        return self.node.kept.array


def trace_call(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    doubted: frozenset[Any] = frozenset(),
) -> Trace:
    """Run `fn` on Symbols. Nothing that exists is changed: writes wait for the program to run."""
    tracer = Tracer(doubted)
    tracer.floor = sys._getframe()
    names = argument_names(fn, len(args))
    given = [
        *(symbols(arg, name, tracer) for arg, name in zip(args, names)),
        *(symbols(arg, name, tracer) for name, arg in kwargs.items()),
    ]
    try:
        with tracing(tracer):
            returned = fn(*given[: len(args)], **dict(zip(kwargs, given[len(args) :])))
        outputs: list[Symbol] = []
        structure = holes(returned, outputs, tracer)
        kept = {node: now_kept(node, tracer) for node in tracer.kept}
    finally:
        for node, old in tracer.kept.items():
            node.kept = old
        for generator, state in tracer.generators.items():
            generator.set_state(state)
    gradients = name_gradients(tracer)
    del returned, given
    result = finish(fn, tracer, structure, outputs, kept, names_around(fn, tracer))
    result.program.gradients = gradients
    return result


def trace(fn: Callable[..., Any], *examples: Any, **keywords: Any) -> Program:
    """What `fn` does to its arguments, as a Program: `fn` runs once, nothing is changed.

    Tensors, arrays and floats among the arguments are inputs of the program; parameters and other
    tensors that `fn` knows are state. Raises TraceError where a program cannot hold what `fn`
    does: a branch on a value, `.item()`, a NumPy function that has no record.

    >>> from tinygrad_ce import tensor
    >>> program = trace(lambda x: (x * x).sum(), tensor([1.0, 2.0]))
    >>> [step.op for step in program.steps]
    ['multiply', 'sum']
    """
    return trace_call(fn, examples, keywords).program


def argument_names(fn: Callable[..., Any], count: int) -> list[str]:
    """The names of the first `count` parameters."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in plain]
    return [*names, *(f"x{i + 1}" for i in range(len(names), count))][:count]


def symbols(arg: Any, name: str, tracer: Tracer) -> Any:
    """An argument with Symbols in the place of its arrays; numbers other than floats stay."""
    if isinstance(arg, Node):
        node = leaf(tracer.input(arg.array, name), arg.requires_grad)
        return node
    if isinstance(arg, (np.ndarray, np.generic)) or type(arg) is float:
        return tracer.input(arg, name)
    if isinstance(arg, dict):
        return {k: symbols(v, f"{name}_{k}", tracer) for k, v in arg.items()}
    if isinstance(arg, (tuple, list)):
        parts = [symbols(v, f"{name}{i + 1}", tracer) for i, v in enumerate(arg)]
        return type(arg)(*parts) if hasattr(arg, "_fields") else type(arg)(parts)
    return arg


def holes(x: Any, outputs: list[Symbol], tracer: Tracer) -> Any:
    """What the function returned, with a Hole in the place of each value of the program."""
    array = x.array if isinstance(x, Node) else x
    if isinstance(array, Symbol):
        tracer.look(array)
        outputs.append(array)
        return Hole(len(outputs) - 1, not isinstance(x, Node), getattr(x, "requires_grad", False))
    if isinstance(x, dict):
        return {k: holes(v, outputs, tracer) for k, v in x.items()}
    if isinstance(x, (tuple, list)):
        parts = [holes(v, outputs, tracer) for v in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return x


def now_kept(node: Any, tracer: Tracer) -> Var | bool | None:
    """The value that `.grad` has at the end: None, or True if it is what it was before."""
    if node.kept is tracer.kept[node]:
        return True if node.kept is not None else None
    if not isinstance(node.kept, Node):
        return None
    return tracer.look(tracer.lift(node.kept))


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
            cell = tracer.cells.get(id(node.array))
            if cell is None:
                continue
            of, name = cell.before, cell.name
        gradients[var] = (*gradients.get(var, ()), of)
        if name and not var.name:
            var.name = "d" + name
    return gradients


def names_around(fn: Callable[..., Any], tracer: Tracer) -> dict[int, str]:
    """The names by which a function knows Tensors, modules' parameters included: id -> name."""
    fn = inspect.unwrap(fn)
    code = getattr(fn, "__code__", None)
    scope: dict[str, Any] = {}
    if code is not None:
        known = getattr(fn, "__globals__", {})
        scope.update((n, known[n]) for n in code.co_names if n in known)
        for name, cell in zip(code.co_freevars, fn.__closure__ or ()):
            try:
                scope[name] = cell.cell_contents
            except ValueError:
                continue
    if getattr(fn, "__self__", None) is not None:
        scope["self"] = fn.__self__
    names: dict[int, str] = {}
    modules = sum(hasattr(value, "named_parameters") for value in scope.values())
    for name, value in scope.items():
        for found, tensor in tensors_in(value, name, alone=modules == 1):
            names.setdefault(id(tensor), found)
    for optimizer in (v for v in scope.values() if hasattr(v, "param_groups")):
        for p, state in getattr(optimizer, "state", {}).items():
            cell = tracer.cells.get(id(p.array))
            known_as = names.get(id(p)) or (cell.name if cell is not None else "")
            if known_as:
                names.update((id(tensor), f"{known_as}_{key}") for key, tensor in state.items())
    return names


def tensors_in(value: Any, name: str, alone: bool = True) -> list[tuple[str, Any]]:
    """(name, Tensor) for the Tensors that a variable holds, directly or in a list or module.

    The name of a module's variable stands in front where the function knows several modules.
    """
    if isinstance(value, Node):
        return [(name, value)]
    if hasattr(value, "named_parameters") and hasattr(value, "named_buffers"):
        both = [*value.named_parameters(), *value.named_buffers()]
        front = "" if alone else name + "_"
        return [(front + path.replace(".", "_"), tensor) for path, tensor in both]
    if isinstance(value, dict):
        return [(str(k), v) for k, v in value.items() if isinstance(v, Node)]
    if isinstance(value, (list, tuple)):
        return [(f"{name}{i + 1}", v) for i, v in enumerate(value) if isinstance(v, Node)]
    return []


def finish(
    fn: Callable[..., Any],
    tracer: Tracer,
    structure: Any,
    outputs: list[Symbol],
    kept: dict[Any, Any],
    names: dict[int, str],
) -> Trace:
    """Sort what was read into states and constants, and make the Program."""
    program = Program(getattr(fn, "__name__", type(fn).__name__))
    program.inputs = tracer.inputs
    program.settings = tracer.settings_read
    program.constants = tracer.constants
    program.steps = tracer.steps
    program.outputs = [tracer.look(symbol) for symbol in outputs]
    program.kept = [Kept(node, var) for node, var in kept.items() if var is not True]
    program.assumptions = tracer.assumptions
    found = [symbol.value for symbol in outputs]
    cells = list(tracer.cells.values())
    survivors_but(tracer, outputs, cells)
    program.example.update((var, value) for var, value in tracer.given)
    for cell in cells:
        add_cell(program, cell, names)
    check_overlaps(cells)
    return Trace(program, structure, tracer, found)


def survivors_but(tracer: Tracer, outputs: list[Symbol], cells: list[Cell]) -> None:
    """Stop if a Symbol is still held by somebody: what it stands for exists only in the trace."""
    own = {id(s) for s in outputs} | {id(cell.symbol) for cell in cells}
    for attempt in (0, 1):
        left = [s for ref in tracer.alive if (s := ref()) is not None and id(s) not in own]
        if not left:
            return
        if not attempt:
            del left
            gc.collect()
    symbol = left[0]
    maker = next((s for s in tracer.steps if s.out is symbol.now), None)
    where = f", made at {maker.line}," if maker is not None and maker.line else ""
    name = symbol.now.name or f"a tensor of shape {symbol.shape}"
    raise TraceError(
        f"trace: {name}{where} is kept by something that outlives the function, where it "
        "would have no numbers. Return it, or write it into a tensor that exists before: t[...] = x"
    )


def add_cell(program: Program, cell: Cell, names: dict[int, str]) -> None:
    """What was read from an array: a constant if nobody can change it, else state."""
    nodes = [node for ref in cell.nodes.values() if (node := ref()) is not None]
    written = cell.symbol.now is not cell.before
    if cell.grad_of is not None:
        nodes = [GradOf(cell.grad_of)]
    fixed = isinstance(cell.array, np.generic) or not cell.array.flags.writeable
    if not nodes or (fixed and not written):
        program.constants[cell.before] = cell.array
        return
    named = next((names[id(node)] for node in nodes if id(node) in names), "")
    cell.before.name = named or cell.name
    if written and not cell.symbol.now.name:
        cell.symbol.now.name = cell.before.name
    program.states.append(State(nodes[0], cell.before, cell.symbol.now))
    program.example[cell.before] = np.array(cell.array)


def check_overlaps(cells: list[Cell]) -> None:
    """Two tensors on one memory, of which one is written, would part in the program."""
    arrays = [c.array for c in cells if isinstance(c.array, np.ndarray)]
    for cell in cells:
        if cell.symbol.now is cell.before or not isinstance(cell.array, np.ndarray):
            continue
        for other in arrays:
            if other is not cell.array and np.may_share_memory(other, cell.array):
                raise TraceError(
                    f"trace: a tensor of shape {other.shape} looks at the memory of another of "
                    f"shape {cell.array.shape} that is written. Use one of the two in the function"
                )
