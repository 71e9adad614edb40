"""Flat parameters: one update for all parameters that an optimiser treats alike.

Which steps update which parameter is said by the optimiser itself (`Program.updates`). When the
arrays of these parameters are pieces of one long array, the steps are done once for all of them; so
are their gradients, moments and step counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.program.ir import Assumption, Program, State, Step, Var
from tinygrad_ce.program.memory import FlatParameter, FlatSlice, movable, slices_of
from tinygrad_ce.program.ops import ELEMENTWISE
from tinygrad_ce.program.passes.exact import without_dead_steps

EQUAL_COUNTS = "counts_agree"


class Update(NamedTuple):
    """The steps that replace one parameter, and what its optimiser keeps for it."""

    steps: list[Step]
    states: list[State]  # those whose new value is made here
    leaves: list[Var]  # what is read here in the shape of the parameter: its gradient
    key: Any  # equal for parameters that are treated alike

    @property
    def values(self) -> list[Var]:
        """All values, in an order that is the same for parameters that are treated alike."""
        return [*(s.before for s in self.states), *self.leaves, *(s.out for s in self.steps)]


def update_of(program: Program, steps: list[Step]) -> Update | None:
    """The update that these steps are, if each of them is elementwise."""
    number = {s.out: i for i, s in enumerate(steps)}
    states = [s for s in program.states if s.after in number]
    befores = {s.before: i for i, s in enumerate(states)}
    shape = next((s.before.shape for s in states if s.before.shape), ())
    leaves: dict[Var, int] = {}
    words: list[Any] = [[(number[s.after], s.before.shape == shape) for s in states]]

    def word(x: Var) -> Any:
        if x in number:
            return "step", number[x]
        if x in befores:
            return "state", befores[x]
        if x.shape:
            return "leaf", leaves.setdefault(x, len(leaves)), str(x.dtype)
        value = program.constants.get(x)
        return x if value is None else (type(value), str(x.dtype), np.asarray(value).tobytes())

    for s in steps:
        known = (x.shape in (shape, ()) for x in (s.out, *s.operands))
        if not shape or s.op not in ELEMENTWISE or not all(known):
            return None
        attrs = repr(sorted(s.attrs.items()))
        words.append([s.op, attrs, str(s.out.dtype), s.out.shape == shape, *map(word, s.operands)])
    counters = [s for s in states if not s.before.shape]
    count = all(s.before in steps[number[s.after]].operands for s in counters)
    if not count or len({s.after for s in states}) < len(states):  # a copy of a parameter
        return None
    return Update(steps, states, list(leaves), tuple(map(tuple, words)))


def flattened(program: Program, failed: frozenset[Any] = frozenset()) -> Program:
    """Update all parameters that are treated alike at once, where their tensors may move."""
    groups: dict[Any, list[Update]] = {}
    for part in program.updates:
        update = update_of(program, program.steps[part.start : part.stop])
        if update is not None:
            groups.setdefault(update.key, []).append(update)
    for group in groups.values():
        counted = any(not s.before.shape for s in group[0].states)
        moves = all(movable(s.node) for u in group for s in u.states)
        if len(group) > 1 and moves and not (counted and EQUAL_COUNTS in failed):
            program = together(program, group)
    return program


def together(program: Program, group: list[Update]) -> Program:
    """The program with one update in the place of several, where the last of them stood."""
    moved = {s.out for u in group for s in u.steps}
    last = max(i for i, s in enumerate(program.steps) if s.out in moved)
    before, after = (
        [s for s in steps if s.out not in moved]
        for steps in (program.steps[:last], program.steps[last:])
    )
    if any(x in moved for s in before for x in s.operands):
        return program  # somebody reads a new value before all are there
    first = group[0]
    shapes = [next(s.before.shape for s in u.states if s.before.shape) for u in group]
    places = slices_of(shapes)
    size = (places[-1].end,)
    flat: dict[Var, Var] = {}  # a value of the first update -> that of all
    renamed: dict[Var, Var] = {}
    given: list[Step] = []
    update: list[Step] = []
    members = dict(zip(first.values, zip(*(u.values for u in group))))  # what is where x is
    others = replace(program, states=[s for s in program.states if s.after not in moved])
    read = {x for s in (*before, *after, *first.steps) for x in s.operands}
    read.update(others.roots(), (x for u in group for x in u.leaves))

    def pieces(x: Var) -> Iterator[Step]:
        own = [FlatSlice(i, ()) for i in range(len(group))] if not x.shape else places
        for part, place in zip(members[x], own):
            if part in read:
                yield Step(part, "flat_slice", (flat[x],), {"piece": place})

    states = [flat_state([u.states[j] for u in group]) for j in range(len(first.states))]
    checks = []
    for old, new in zip(first.states, states):
        flat[old.before], flat[old.after] = new.before, new.after
        given += pieces(old.before)
        if not old.before.shape:
            truth = Var((), None, True)
            given.append(Step(truth, "counts_agree", (new.before,), {}))
            checks.append(Assumption(truth, "all step counts are equal", EQUAL_COUNTS))
    for leaf in first.leaves:
        flat[leaf] = Var(size, leaf.dtype, False, "gradients")
        attrs = {"slices": tuple(places), "shape": size}
        update.append(Step(flat[leaf], "flatten", members[leaf], attrs, first.steps[0].scope))
    for step in first.steps:
        if not step.out.shape and step.out not in flat:  # a number that is the same for all
            renamed.update((x, step.out) for x in members[step.out][1:])
            update.append(step)
            continue
        out = flat.setdefault(step.out, Var(size, step.out.dtype, False))
        counts = not step.out.shape
        operands = tuple(flat.get(x, x) if x.shape or counts else x for x in step.operands)
        update += [step._replace(out=out, operands=operands), *pieces(step.out)]
    program = replace(program, states=[*others.states, *states])
    program = program.with_steps([*given, *before, *update, *after], renamed)
    program.assumptions += checks
    return without_dead_steps(program)


def flat_state(olds: list[State]) -> State:
    """Several states as one."""
    old = olds[0].before
    name = old.name.partition("_")[2] or "parameters"
    node = FlatParameter(
        [s.node for s in olds], slices_of([s.before.shape for s in olds]), old.dtype
    )
    before, after = (Var((node.size,), old.dtype, False, name) for _ in range(2))
    return State(node, before, after)
