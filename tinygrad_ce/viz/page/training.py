"""A step of training as steps of the page's program: what it replaces, and what it multiplies by.

The update is what the optimiser's own step writes down when it is traced, on copies of its settings
and of the list of what it keeps, so nothing of the user's changes. In a traced program it is there
already.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.optim import Optimizer
from tinygrad_ce.program.ir import Program, State, Step, Var
from tinygrad_ce.program.ops import run
from tinygrad_ce.program.tracing.symbol import Symbol, TraceError, Tracer
from tinygrad_ce.program.tracing.trace import trace_call
from tinygrad_ce.viz.graph.programs import Player

KEPT = ("max_exp_avg_sq", "exp_avg_sq", "exp_avg", "momentum_buffer", "square_avg", "grad_avg",
        "acc_delta", "step", "sum")  # fmt: skip
"""What optimisers keep for a parameter; of two that end alike the longer one first."""


class Setting(Symbol):
    """A number of an optimiser that can be changed in the page. Asked if it is 0, it is not."""

    def __bool__(self) -> bool:  # type: ignore[override]
        return True


LETTERS = {"lr": "lr", "momentum": "μ", "alpha": "α", "betas": "β"}


def bounds_of(name: str) -> dict[str, int]:
    """From where on and up to where a setting can be changed."""
    letter = name.rstrip("₁₂")
    found = {"low": 0} if letter in LETTERS.values() else {}
    return found | ({"high": 1} if found and letter != "lr" else {})


@dataclass
class Update:
    """How one parameter is replaced."""

    node: Node  # the parameter in the graph
    w: Symbol
    new: Symbol
    g: Symbol | None = None  # the gradient that the optimiser was given
    kind: str = ""  # of the optimiser
    group: dict[str, Any] = field(default_factory=dict)  # its settings
    changing: dict[str, tuple[int, Symbol]] = field(default_factory=dict)
    """By its letter each setting that can be changed: its number among all, and its value."""
    kept: dict[str, tuple[Symbol, Symbol]] = field(default_factory=dict)  # before and after


class Training:
    """What a program replaces, written into a tracer: `states`, `numbers` and `updates`.

    `bound` says which values of the tracer stand for some that the program is given, `nodes` which
    tensors of the graph these are, and `names` what numbers are called that it takes.
    """

    def __init__(
        self, tracer: Tracer, program: Program, nodes: dict[Var, Any], bound: dict[Var, Symbol],
        names: Mapping[Var, str] | None = None,
    ) -> None:  # fmt: skip
        self.tracer, self.program, self.nodes, self.bound = tracer, program, nodes, bound
        steps = [step for step in program.steps if step.op != "draw"]
        self.draws = len(program.steps) - len(steps)
        self.values = {**program.constants, **program.example}
        self.values.update((x, s.value) for x, s in bound.items())
        drawn = [step.out for step in program.steps if step.op == "draw"]
        self.values.update((x, array_of(nodes[x])) for x in drawn)
        with np.errstate(all="ignore"):
            run(steps, self.values)
        own = program.with_steps(steps, {x: symbol.now for x, symbol in bound.items()})
        tracer.constants.update(own.constants)
        tracer.constants.update((x, self.values[x]) for x in drawn)
        tracer.steps += own.steps
        for x in program.given():
            if x not in bound and x not in program.constants:
                tracer.given.append((x, self.values[x]))
        self.numbers = [(x.var, x.key) for x in program.settings]
        called = names or {}
        floats = [x for x in program.inputs if is_float(self.values[x])]
        self.numbers += [(x, called.get(x, x.name)) for x in floats]
        self.changed = [s for s in program.states if s.after is not s.before]
        self.updates: list[Update] = []

    def symbol(self, x: Var) -> Symbol:
        """The Symbol for a value of the program."""
        found = self.bound.get(x)
        return Symbol(self.tracer, x, self.values[x]) if found is None else found

    def find_updates(self, slopes: Mapping[Node, Any]) -> None:
        """Say how each parameter is replaced, in the order of the steps; `slopes` are gradients."""
        parts = [self.program.steps[part.start : part.stop] for part in self.program.updates]
        self.updates = [update for steps in parts if (update := self.update(steps)) is not None]
        taken = {update.node for update in self.updates}
        for state in self.changed:  # what is written by hand
            node = self.nodes.get(state.before)
            if isinstance(node, Node) and node.requires_grad and node not in taken:
                w, new = self.symbol(state.before), self.symbol(state.after)
                self.updates.append(Update(node, w, new, slopes.get(node)))

    def update(self, steps: Sequence[Step]) -> Update | None:
        """What an optimiser does in these steps."""
        made = {step.out for step in steps}
        states = [state for state in self.changed if state.after in made]
        read = dict.fromkeys(x for step in steps for x in step.operands)
        number = next((i for i, (x, _) in enumerate(self.numbers) if x in read), None)
        group = self.program.settings[number].group if number is not None else {}
        params = {id(p) for p in group.get("params", ())}
        own: State | None = next((s for s in states if id(s.node) in params), None)
        node = own and self.nodes.get(own.before)
        if own is None or not isinstance(node, Node) or number is None:
            return None
        given = {*made, *(s.before for s in states), *self.program.constants}
        slopes = [x for x in read if x not in given and x.shape == own.before.shape and x.dtype]
        kind = steps[0].scope[-1]
        w, new = self.symbol(own.before), self.symbol(own.after)
        update = Update(node, w, new, None, kind, group)
        for i, (x, letter) in enumerate(self.numbers):
            if x in read or i == number:
                update.changing[letter] = i, self.symbol(x)
        if len(slopes) == 1:
            update.g = self.symbol(slopes[0])
        for state in states:
            key = next((k for k in KEPT if state.before.name.endswith("_" + k)), None)
            if state is not own and key is not None:
                update.kept[key] = self.symbol(state.before), self.symbol(state.after)
        return update

    @property
    def replaced(self) -> list[tuple[Var, Symbol]]:
        """What each step of training replaces, and by what."""
        return [(self.symbol(s.before).now, self.symbol(s.after)) for s in self.changed]


def of_program(tracer: Tracer, player: Player) -> Training:
    """A traced program that was played, as it is."""
    return Training(tracer, player.program, player.values, {})


def of_optimizer(
    tracer: Tracer, optimizer: Optimizer, values: dict[Node, Any], slopes: dict[Node, Any]
) -> Training:
    """The step of an optimiser on values and gradients of the page's program.

    Raises ValueError where it has no parameter of the graph, or where its step cannot be traced.
    """
    twin = copy.copy(optimizer)
    twin.state = defaultdict(dict, {p: dict(kept) for p, kept in optimizer.state.items()})
    twin.param_groups = [dict(group) for group in optimizer.param_groups]
    params = [p for group in twin.param_groups for p in group["params"]]
    trained = [p for p in params if isinstance(values.get(p), Symbol) and p in slopes]
    if not trained:
        raise ValueError(
            "play: no parameter of the optimizer is one of the loss. Compute the loss anew after "
            "the last step, and play it with the optimizer of its parameters"
        )

    def update(*given: Any) -> None:
        for p in params:
            p.grad = None
        for p, gradient in zip(trained, given):
            p.grad = gradient
        settings = iter([Setting(x.tracer, x.now, x.value) for x in given[len(trained) :]])
        for group in groups:
            group.update({key: with_those(group[key], settings) for key in changing(group)})
        twin.step()
        for group, numbers in zip(groups, kept):  # else they would outlive the trace
            group.update(numbers)

    groups, kept = twin.param_groups, [dict(group) for group in twin.param_groups]
    values_of = [(LETTERS[k], g[k]) for g in groups for k in changing(g)]
    letters = [(letter + sub, x) for letter, value in values_of for sub, x in numbered(value)]
    examples = [*(leaf(np.array(slopes[p].value)) for p in trained), *(x for _, x in letters)]
    try:
        program = trace_call(update, tuple(examples), {}).program
    except (TraceError, TypeError, ValueError) as error:
        name = type(optimizer).__name__
        raise ValueError(f"play: the step of {name} cannot be played: {error}") from error
    bound = {x: slopes[p] for x, p in zip(program.inputs, trained)}
    nodes = {s.before: s.node for s in program.states if s.node in dict.fromkeys(trained)}
    bound.update((x, values[p]) for x, p in nodes.items())
    names = dict(zip(program.inputs[len(trained) :], (letter for letter, _ in letters)))
    return Training(tracer, program, nodes, bound, names)


def with_those(value: Any, settings: Iterator[Setting]) -> Any:
    """A setting, or a tuple of several, made of the next ones."""
    return tuple(next(settings) for _ in value) if numbered(value)[1:] else next(settings)


def numbered(value: Any) -> list[tuple[str, float]]:
    """The numbers of a setting, and what stands below its letter for each: β₁ and β₂."""
    several = isinstance(value, (list, tuple))
    return [("₁₂"[i], float(x)) for i, x in enumerate(value)] if several else [("", float(value))]


def changing(group: dict[str, Any]) -> list[str]:
    """The settings of a group that can be changed besides its learning rate."""
    return [key for key in ("momentum", "alpha", "betas") if group.get(key)]


def array_of(value: Any) -> Any:
    """The array of a Tensor; a number as it is."""
    return value.array if isinstance(value, Node) else value


def is_float(value: Any) -> bool:
    """Whether it is a Python float, such as a learning rate among the arguments."""
    return type(value) is float
