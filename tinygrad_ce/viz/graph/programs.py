"""From a traced program to a recorded graph, which `draw` takes as it takes any other.

A program is a list of steps on arrays. Here its forward steps are run once more, on the example
that it was traced with, with Tensors in the place of arrays: so a graph is recorded, in the scopes
and with the lines of the program. Nothing that the program knows is changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from tinygrad_ce import nn
from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.chain import propagate
from tinygrad_ce.engine.frame import Frame, Scope, current, enter, leave
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.nn import functional, losses
from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.listing.names import Names
from tinygrad_ce.program.ops import OPS, evaluate, run
from tinygrad_ce.viz.graph.values import largest


def graph_of(program: Program) -> tuple[Node, dict[str, Any]]:
    """The root of the graph that leads to the program's result, and the names of its tensors.

    The root is the first scalar that the program returns, else the first tensor of floats. States
    that require a gradient are parameters; without any, the inputs of floats are. Backward steps
    and updates are left out, unless the result depends on them.

    A program does not hold where `detach()` cut the graph. If it has a backward pass, only values
    that got a gradient there get one here.

    Raises ValueError if the program returns nothing that can be drawn, if a step has no gradient
    rule, and if the gradients are not those that the program computes.

    >>> import tinygrad_ce as tg
    >>> program = tg.trace(lambda x: (x * x).sum(), tg.tensor([1.0, 2.0]))
    >>> root, names = graph_of(program)
    >>> root, names["x"]
    (tensor(5., grad_fn=<SumBackward0>), tensor([1., 2.], requires_grad=True))
    """
    player = played(program)
    return player.values[result_of(program)], player.names()


def played(program: Program) -> Player:
    """The forward steps of a program, run on Tensors."""
    if current().tracer is not None:
        raise RuntimeError("graph_of: call it outside of the function that is traced")
    result = result_of(program)
    with np.errstate(all="ignore"), generators_kept(program):
        player = Player(program)
        for step in needed(program, result):
            player.play(step)
    root = player.values[result]
    if program.gradient_of and root.requires_grad and root.array.size == 1:
        with generators_kept(program):
            compare(program, player, root)
    return player


# --- which steps ------------------------------------------------------------------------------


def result_of(program: Program) -> Var:
    """What is drawn of what the program returns: a scalar of floats, or floats."""
    made = program.makers()
    floats = [x for x in program.outputs if x in made and x.dtype is not None]
    floats = [x for x in floats if x.dtype.kind == "f"]
    scalars = [x for x in floats if x.size == 1]
    if floats:
        return (scalars or floats)[0]
    what = "only what it was given, or no floats" if program.outputs else "nothing"
    raise ValueError(
        f"graph_of: {program.name} returns {what}, so there is no computation to draw; let it "
        "return the loss"
    )


def needed(program: Program, result: Var) -> list[Step]:
    """The steps that the result depends on, and every draw of random numbers, in order."""
    wanted = {result}
    steps = []
    for step in reversed(program.steps):
        if step.out in wanted or step.op == "draw":
            wanted.update(step.operands)
            steps.append(step)
    return steps[::-1]


def live_values(program: Program) -> set[Var]:
    """The values that got a gradient in the program's backward pass, and those inside of them.

    One operation may be several steps, of which the last has the gradient.
    """
    live = {x for xs in program.gradient_of.values() for x in xs}
    for step in reversed(program.steps):
        if step.out in live and len(step.operands) == 1:
            live.add(step.operands[0])
    return live


@contextmanager
def generators_kept(program: Program) -> Iterator[None]:
    """Let random numbers be drawn, and put the generators back where they were."""
    drawn = [step.attrs["generator"] for step in program.steps if step.op == "draw"]
    before = [(generator, generator.get_state()) for generator in dict.fromkeys(drawn)]
    try:
        yield
    finally:
        for generator, state in before:
            generator.set_state(state)


# --- running them -----------------------------------------------------------------------------

WITHOUT_GRADIENT = {
    name
    for name, rule in ((name, getattr(op.rule, "op", None)) for name, op in OPS.items())
    if rule is not None and not rule.differentiable
}
INSIDE_NORM = {"frexp", "ldexp"}

# What these functions take from the numbers without a gradient, besides comparisons.
DETACHED = {"softmax": "max", "log_softmax": "max", "logsumexp": "max", "huber_loss": "sign"}
KEEPS_CONDITION = {"leaky_relu"}  # its condition is a Tensor; others compare arrays


def as_leaf(value: Any, requires_grad: bool = False) -> Any:
    """An array as a Tensor; a Python number as it is."""
    array = isinstance(value, (np.ndarray, np.generic))
    return leaf(value, requires_grad) if array else value


def is_alive(value: Any) -> bool:
    """Whether a gradient flows to a value."""
    return isinstance(value, Node) and value.requires_grad


def call_of(step: Step) -> str:
    """The innermost call that a step belongs to."""
    return step.scope[-1] if step.scope else ""


def takes_numbers(call: str) -> bool:
    """Whether a function computes what needs no gradient on arrays, not on Tensors."""
    return call in formulas() and call not in KEEPS_CONDITION


class Player:
    """Runs steps on Tensors: `values` has a Tensor for each value, or a Python number."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.makers = program.makers()
        self.scopes = Scopes()
        self.live = live_values(program)
        self.twins: dict[Node, Var] = {}  # what was detached
        self.taken: set[Var] = set()  # random, or made from what gets a gradient
        parameters = {
            state.before for state in program.states if getattr(state.node, "requires_grad", False)
        }
        if not parameters:
            parameters = {x for x in program.inputs if x.dtype is not None and x.dtype.kind == "f"}
        self.values: dict[Var, Any] = {
            x: as_leaf(np.array(value) if x.dtype is not None else value, x in parameters)
            for x, value in program.example.items()
        }

    def play(self, step: Step) -> None:
        """Run one step, recorded under its scope."""
        token = enter(Frame(self.scopes.of(step.scope), True, None, True))
        try:
            for x in step.operands:  # a constant stands in the scope that uses it first
                if x not in self.values:
                    self.values[x] = as_leaf(self.program.constants[x])
            values = [self.values[x] for x in step.operands]
            y = self.recorded(step, values)
            if y is None:
                arrays = [v.array if isinstance(v, Node) else v for v in values]
                y = as_leaf(evaluate(step.op, arrays, step.attrs))
        finally:
            leave(token)
        if isinstance(y, Node) and hasattr(y, "line"):
            y.line = step.line  # type: ignore[assignment]  # place_of reads it
        self.values[step.out] = y
        reached = any(map(is_alive, values)) or not self.taken.isdisjoint(step.operands)
        if step.op == "draw" or (reached and not is_alive(y)):
            self.taken.add(step.out)

    def recorded(self, step: Step, values: list[Any]) -> Node | None:
        """The step as an operation on Tensors; None if it makes a constant."""
        operation = OPS[step.op].rule
        norm = self.norm(step)
        alive = is_alive(norm) or any(map(is_alive, values))
        if operation is None and alive and step.op not in INSIDE_NORM:  # pragma: no cover
            # A guard for operations that are still to come: today each has its rule.
            where = f" ({step.line})" if step.line else ""
            raise ValueError(f"graph_of: {step.op}{where} has no gradient rule to draw")
        if not any(isinstance(v, Node) for v in values) or self.is_fixed(step, alive):
            return None
        whole = self.reduction(step) if norm is None else norm
        if whole is not None or operation is None:
            return whole
        if step.op == "power" and not isinstance(values[1], Node):
            return table.power(values[0], values[1])
        if step.op == "where" and step.operands[1] is step.operands[2]:
            values[1] = leaf(values[1].array)  # one of the two was detached, as in embedding
            self.twins[values[1]] = step.operands[1]
        made: Node = operation(*values, **step.attrs)
        return made

    def is_fixed(self, step: Step, alive: bool) -> bool:
        """Whether the value was taken from the numbers, so that no gradient flows to it."""
        call = call_of(step)
        if step.op in WITHOUT_GRADIENT:
            return takes_numbers(call)
        if DETACHED.get(call) == step.op:
            return True
        if not alive:
            return takes_numbers(call) and not self.taken.isdisjoint(step.operands)
        return bool(self.live) and step.out not in self.live and not self.passes_on(step)

    def passes_on(self, step: Step) -> bool:
        """Whether a step might have got a gradient that is a constant, of which nothing is known.

        That is so at the result, and for sums that are handed on from there unchanged.
        """
        root = result_of(self.program)
        handed, steps = {root}, [self.makers[root]]
        while steps:
            maker = steps.pop()
            for x in maker.operands if maker.op in ("add", "reshape", "sum") else ():
                if x in self.makers and x not in handed:
                    handed.add(x)
                    steps.append(self.makers[x])
        return step.out in handed

    def made(self, x: Var, op: str) -> Step | None:
        """The step that made a value, if it is such a one."""
        step = self.makers.get(x)
        return step if step is not None and step.op == op else None

    def norm(self, step: Step) -> Node | None:
        """‖x‖, of which a program has the pieces: 2ᵉ·√(Σ (x·2⁻ᵉ)²), and the reshape after that."""
        last = self.made(step.operands[0], "ldexp") if step.op == "reshape" else step
        x = last.operands[0] if last is not None and last.op == "ldexp" else None
        axis = None
        for op in ("sqrt", "sum", "square", "ldexp"):
            kept = self.made(x, "reshape") if x is not None and op == "sum" else None  # keepdims
            x = x if kept is None else kept.operands[0]
            made = None if x is None else self.made(x, op)
            if made is None:
                return None
            x = made.operands[0]
            axis = made.attrs["axis"] if op == "sum" else axis
        y: Node = table.norm(self.values[x], axis, last is step)  # type: ignore[index]
        return y

    def reduction(self, step: Step) -> Node | None:
        """Σ along the rows or columns of a matrix that keeps its axis: a sum and a reshape."""
        total = self.made(step.operands[0], "sum") if step.op == "reshape" else None
        if total is None or total.attrs["keepdims"]:
            return None
        (x,), axis = total.operands, total.attrs["axis"]
        if len(x.shape) != 2 or type(axis) is not int:
            return None
        if step.out.shape != table.kept_shape(x.shape, axis):
            return None
        y: Node = table.sum(self.values[x], axis, True)
        return y

    def names(self) -> dict[str, Any]:
        """The tensors by the names that they have in the program; the first of two of a name."""
        given = Names(self.program).of  # W1 and b1, where nobody has named a parameter
        found: dict[str, Any] = {}
        for x, value in self.values.items():
            name = x.name or given.get(x, "")
            if name and isinstance(value, Node):
                found.setdefault(name, value)
        return found


# --- scopes -----------------------------------------------------------------------------------


@cache
def formulas() -> dict[str, str]:
    """The formulas of our composed functions, by their names."""
    found = {}
    for module in (functions, functional, losses):
        for name, function in vars(module).items():
            closure = getattr(function, "__closure__", None)
            if closure and hasattr(function, "__wrapped__"):
                held = inspect.getclosurevars(function).nonlocals
                if "formula" in held:
                    found[held.get("name", name)] = held["formula"]
    return found


class Scopes:
    """Scope objects for the paths of steps: steps that follow each other share what they can."""

    def __init__(self) -> None:
        self.open: list[Scope] = []

    def of(self, path: tuple[str, ...]) -> Scope | None:
        """The scope of the next step."""
        same = 0
        while same < min(len(path), len(self.open)) and self.open[same].name == path[same]:
            same += 1
        del self.open[same:]
        for i in range(same, len(path)):
            outer = self.open[-1] if self.open else None
            self.open.append(Scope(path[i], outer, *kind_and_formula(path, i)))
        return self.open[-1] if self.open else None


def kind_and_formula(path: tuple[str, ...], i: int) -> tuple[str, str]:
    """What is called so: one of our functions, or else a module.

    A module may have the name of the function that it calls: `relu`, and in it `relu`.
    """
    name = path[i]
    if name in formulas() and path[i + 1 : i + 2] != (name,):
        return "function", formulas()[name]
    kind = getattr(nn, name.partition(" ")[0], None)
    return "module", getattr(kind, "formula", "")


# --- the gradients ----------------------------------------------------------------------------


def compare(program: Program, player: Player, root: Node) -> None:
    """Raise ValueError if a value has another gradient here than in the program."""
    values = {**program.constants, **program.example}
    with np.errstate(all="ignore"):
        run(program.steps, values)
        theirs: dict[Var, list[Any]] = {}
        for g, xs in program.gradient_of.items():
            for x in xs:
                theirs.setdefault(x, []).append(values[g])
        nodes = {x: player.values[x] for x in theirs if is_alive(player.values.get(x))}
        seed = np.ones(root.array.shape, root.array.dtype)
        ours = propagate({root: seed}, set(nodes.values()))
    for x, node in nodes.items():
        if not any(close(ours.get(node, np.zeros(x.shape)), g) for g in theirs[x]):
            raise ValueError(
                f"graph_of: the gradient of {x.name or repr(x)} is not the one that {program.name} "
                "computes. The program cuts the graph with detach(), which a program does not "
                "hold, or it calls backward() on another value than the one that it returns. "
                "Draw the loss itself: draw(loss)"
            )


def close(a: Any, b: Any) -> bool:
    """Whether two gradients are the same but for rounding."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    size = max(largest(a), largest(b))
    return bool(np.allclose(a, b, rtol=0.0, atol=1e-3 * size, equal_nan=True))
