"""Parameters side by side: one update for all of them.

An optimiser does the same to every parameter. When the arrays of all parameters are pieces of one
long array, it is done once; so are their gradients, moments and step counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.program.ir import Assumption, Program, State, Step, Var
from tinygrad_ce.program.memory import FLATS, Packed, Placement, alone
from tinygrad_ce.program.ops import ELEMENTWISE
from tinygrad_ce.program.passes.exact import without_dead_steps

# --- which updates are alike --------------------------------------------------------------------


@dataclass(eq=False)
class Update:
    """The steps that replace a parameter and what its optimiser keeps for it."""

    steps: list[Step] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    leaves: list[Var] = field(default_factory=list)  # gradients
    signature: Any = None


def updates_of(program: Program) -> list[Update]:
    """The update of each parameter, if it is elementwise from gradient, state and numbers."""
    makers = program.makers()
    stop: set[Var | None] = {k.var for k in program.kept}
    owner: dict[Var, Update] = {}
    updates: list[Update] = []
    for state in program.states:
        if state.after is state.before or state.before.dtype.kind != "f":
            continue
        chain = chain_of(state, makers, stop, program)
        if chain is None:
            continue
        found = {id(u): u for x in [*chain, state.before] if (u := owner.get(x)) is not None}
        update = next(iter(found.values()), None)
        if update is None:
            update = Update()
            updates.append(update)
        update.states.append(state)
        for x in [*chain, state.before]:
            owner[x] = update
        for other in list(found.values())[1:]:
            update.states += other.states
            updates.remove(other)
            for x, u in owner.items():
                if u is other:
                    owner[x] = update
    for update in updates:
        update.steps = [s for s in program.steps if owner.get(s.out) is update]
    return [u for u in updates if sign(u, program, makers)]


def chain_of(
    state: State, makers: dict[Var, Step], stop: set[Var | None], program: Program
) -> list[Var] | None:
    """The values between the state before and after, if all are elementwise and of its shape."""
    shape = state.before.shape
    found: list[Var] = []
    stack = [state.after]
    seen = set()
    befores = {s.before for s in program.states}
    while stack:
        x = stack.pop()
        if x in seen or x in stop or (not x.shape and shape):
            continue
        seen.add(x)
        maker = makers.get(x)
        if x in befores or maker is None:
            if x in befores and x.shape == shape:
                found.append(x)
            continue
        if x.shape != shape or maker.op not in ELEMENTWISE or x.dtype != state.before.dtype:
            if x is state.after:
                return None
            continue
        found.append(x)
        stack.extend(maker.operands)
    return found


def sign(update: Update, program: Program, makers: dict[Var, Step]) -> bool:
    """Note what the update does, in words that are equal for parameters that are treated alike."""
    shape = update.states[0].before.shape
    befores = {s.before: i for i, s in enumerate(update.states)}
    afters = {s.after for s in update.states}
    number = {s.out: i for i, s in enumerate(update.steps)}
    words: list[Any] = []
    if any(s.before.shape != shape for s in update.states):
        return False
    for step in update.steps:
        refs: list[Any] = []
        for x in step.operands:
            if x in number:
                refs.append(("step", number[x]))
            elif x in befores:
                refs.append(("state", befores[x]))
            elif x.shape == shape and shape:
                if x not in update.leaves:
                    update.leaves.append(x)
                refs.append(("leaf", update.leaves.index(x)))
            elif not x.shape:
                refs.append(scalar_key(x, program, makers))
            else:
                return False
        words.append(
            (step.op, repr(sorted(step.settings.items())), tuple(refs), step.out in afters)
        )
    finals = tuple(number.get(s.after, -1) for s in update.states)
    dtypes = tuple(s.before.dtype for s in update.states)
    update.signature = (
        bool(shape),
        dtypes,
        tuple(x.dtype for x in update.leaves),
        tuple(words),
        finals,
    )
    return -1 not in finals and len({*finals}) == len(finals)


def scalar_key(x: Var, program: Program, makers: dict[Var, Step]) -> Any:
    """A number in words: equal for the step counters of several parameters."""
    if x in program.constants:
        return ("number", str(x.dtype), repr(np.asarray(program.constants[x]).item()))
    if any(s.before is x for s in program.states):
        return counter_key(x, program) or ("state", id(x))
    maker = makers.get(x)
    if maker is None or any(o.shape for o in maker.operands) or maker.op == "draw":
        return ("value", id(x))
    operands = tuple(scalar_key(o, program, makers) for o in maker.operands)
    return (maker.op, repr(sorted(maker.settings.items())), operands)


def counter_key(x: Var, program: Program) -> Any:
    """Words for a 0-d state that counts: so much more after each run. None if it does not, or is
    no float: the pass then has no way to see that it stands where the others stand.
    """
    state = next(s for s in program.states if s.before is x)
    step = program.makers().get(state.after)
    if step is None or step.op != "add" or step.operands[0] is not x or x.dtype.kind != "f":
        return None
    value = program.constants.get(step.operands[1])
    return None if value is None else ("counter", str(x.dtype), repr(np.asarray(value).item()))


# --- the pass -----------------------------------------------------------------------------------


def packed(program: Program, doubted: frozenset[Any] = frozenset()) -> Program:
    """Update all parameters that are treated alike at once."""
    tried: set[Any] = set()
    while True:
        groups: dict[Any, list[Update]] = {}
        for update in updates_of(program):
            groups.setdefault(update.signature, []).append(update)
        counters = [u for group in groups.values() for u in group if not u.states[0].before.shape]
        if counters and (
            EQUAL_COUNTS in doubted or not all(packable(u.states[0].node) for u in counters)
        ):
            return program
        order = sorted(groups.items(), key=lambda item: not item[0][0])  # counters come last
        group = next((g for key, g in order if key not in tried and worth(g)), None)
        if group is None:
            return program
        tried.add(group[0].signature)
        program = without_dead_steps(Packer(program, group).run())


EQUAL_COUNTS = "counts_agree"


def worth(group: list[Update]) -> bool:
    """Whether there are several updates alike, of tensors that may move."""
    return len(group) > 1 and all(packable(s.node) for u in group for s in u.states)


def packable(node: Any) -> bool:
    """Whether the array of a Tensor may move, or has moved already."""
    if not isinstance(node, Node) or not isinstance(node.array, np.ndarray):
        return False
    return alone(node) or id(node.array.base) in FLATS


class Packer:
    """Writes a program again with a group of updates made one."""

    def __init__(self, program: Program, group: list[Update]) -> None:
        self.program = program
        self.group = group
        shapes = [u.states[0].before.shape for u in group]
        ends = list(accumulate(map(math.prod, shapes), initial=0))
        self.places = list(map(Placement, ends, shapes))
        self.size = ends[-1]
        self.steps: list[Step] = []

    def run(self) -> Program:
        """The program after packing."""
        group, program = self.group, self.program
        first = group[0]
        states = [replace_state(self, j) for j in range(len(first.states))]
        moved = {step.out for update in group for step in update.steps}
        last = max(i for i, s in enumerate(program.steps) if s.out in moved)
        late = {x for s in program.steps[:last] if s.out not in moved for x in s.operands} & moved
        leaves = [u.leaves for u in group]
        made = {s.out: i for i, s in enumerate(program.steps)}
        if late - self.readable(late) or any(made.get(x, -1) > last for row in leaves for x in row):
            return program
        for j, state in enumerate(states):
            for i, update in enumerate(group):
                self.piece(state.before, i, update.states[j].before)
        self.write_steps(moved, last, states)
        gone = {id(s) for u in group for s in u.states}
        kept_states = [s for s in program.states if id(s) not in gone]
        program = replace(program, states=[*kept_states, *states])
        program = program.with_steps(self.steps)
        if not first.states[0].before.shape:
            self.assume_equal(program, states[0].before)
        return program

    def readable(self, late: set[Var]) -> set[Var]:
        """Values of the updates that steps in between may read: none but counters."""
        return late if not self.group[0].states[0].before.shape else set()

    def assume_equal(self, program: Program, flat: Var) -> None:
        """All counters stand at the same number, so that one correction fits all."""
        var = Var((), None, True)
        program.steps.insert(0, Step(var, "counts_agree", (flat,), {}))
        program.assumptions.append(Assumption(var, "all step counts are equal", EQUAL_COUNTS))

    def piece(self, flat: Var, i: int, out: Var) -> None:
        """A step that names a piece of a flat value."""
        self.steps.append(Step(out, "piece", (flat,), {"placement": self.places[i]}))

    def write_steps(self, moved: set[Var], last: int, states: list[State]) -> None:
        """All steps in order, the updates as one in the place of the last of them."""
        counters = not self.group[0].states[0].before.shape
        for i, step in enumerate(self.program.steps):
            if counters and step.out in moved:
                if step.out is next(iter(s for s in self.group[0].steps)).out:
                    self.update(states)
            elif step.out not in moved:
                self.steps.append(step)
            if i == last and not counters:
                self.update(states)

    def update(self, states: list[State]) -> None:
        """The update of all parameters at once."""
        first = self.group[0]
        dtype = first.states[0].before.dtype
        known: dict[Var, Var] = {s.before: flat.before for s, flat in zip(first.states, states)}
        for j, leaf in enumerate(first.leaves):
            known[leaf] = self.gradients(j, dtype)
        finals = {s.after: flat for s, flat in zip(first.states, states)}
        for n, step in enumerate(first.steps):
            state = finals.get(step.out)
            out = state.after if state else Var((self.size,), step.out.dtype, False)
            known[step.out] = out
            operands = tuple(known.get(x, x) for x in step.operands)
            self.steps.append(step._replace(out=out, operands=operands))
            for i, update in enumerate(self.group):
                self.piece(out, i, update.steps[n].out)

    def gradients(self, j: int, dtype: Any) -> Var:
        """The gradients of all parameters as one value."""
        flat = Var((self.size,), dtype, False, "gradients")
        pieces = tuple(update.leaves[j] for update in self.group)
        settings = {"placements": tuple(self.places), "shape": (self.size,)}
        self.steps.append(Step(flat, "pack", pieces, settings, self.group[0].steps[0].scope))
        return flat


def replace_state(packer: Packer, j: int) -> State:
    """The j-th states of all updates as one."""
    olds = [u.states[j] for u in packer.group]
    dtype = olds[0].before.dtype
    name = olds[0].before.name.partition("_")[2] or "parameters"
    nodes = [s.node for s in olds]
    shape = (packer.size,)
    before, after = Var(shape, dtype, False, name), Var(shape, dtype, False, name)
    return State(Packed(nodes, packer.places, packer.size, dtype), before, after)
