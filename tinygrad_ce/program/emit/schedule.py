"""In which order steps run: first what assumptions rest on, and long rows in blocks.

A row of some million numbers does not fit into the cache, so each step would wait for memory. All
steps on one piece of it, then all on the next, touch memory once.
"""

from __future__ import annotations

from typing import NamedTuple

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.ops import UFUNCS

LONG = 1 << 18  # elements from which a row is done in blocks
LEAST = 4  # values that are worth a loop: they stay in the cache
FOREVER = 1 << 60


class Loop(NamedTuple):
    """Steps on values of one shape, done block by block."""

    steps: list[Step]

    @property
    def operands(self) -> tuple[Var, ...]:
        """What the loop reads from outside."""
        made = {s.out for s in self.steps}
        return tuple(dict.fromkeys(x for s in self.steps for x in s.operands if x not in made))


Item = Step | Loop


class Schedule(NamedTuple):
    """Steps and loops in the order in which they run."""

    items: list[Item]
    guarded: int  # the first item after all assumptions were looked at
    last: dict[Var, int]  # the item that reads a value last; FOREVER if somebody reads it after

    @property
    def draws(self) -> list[Step]:
        """What is drawn before all assumptions were looked at: drawn again if one does not hold."""
        steps = [s for item in self.items[: self.guarded] for s in steps_of(item)]
        return [s for s in steps if s.op == "draw"]


def scheduled(program: Program) -> Schedule:
    """The order of a program's steps, and how long each value is needed."""
    steps = assumptions_first(program)
    asked = {a.var for a in program.assumptions}
    guarded = max((i + 1 for i, s in enumerate(steps) if s.out in asked), default=0)
    items = in_blocks(steps, program, guarded)
    asking = [i + 1 for i, x in enumerate(items) if any(s.out in asked for s in steps_of(x))]
    last = {x: i for i, item in enumerate(items) for x in item.operands}
    after = [s.after for s in program.states if s.after is not s.before]
    grads = [k.var for k in program.grads if k.var is not None]
    last.update(dict.fromkeys([*program.outputs, *after, *grads], FOREVER))
    return Schedule(items, max(asking, default=0), last)


def steps_of(item: Item) -> list[Step]:
    """The steps of a loop, or the one step."""
    return item.steps if isinstance(item, Loop) else [item]


def assumptions_first(program: Program) -> list[Step]:
    """The steps, those that the assumptions rest on in front: they are checked before any write."""
    needed = {a.var for a in program.assumptions}
    if not needed:
        return list(program.steps)
    while True:
        for step in reversed(program.steps):
            if step.out in needed:
                needed.update(step.operands)
        draws = [i for i, s in enumerate(program.steps) if s.op == "draw" and s.out in needed]
        before = program.steps[: draws[-1]] if draws else []
        others = {s.out for s in before if s.op == "draw"} - needed
        if not others:
            break
        needed |= others  # draws keep their order among themselves
    first = [s for s in program.steps if s.out in needed]
    return first + [s for s in program.steps if s.out not in needed]


def in_blocks(steps: list[Step], program: Program, guarded: int) -> list[Item]:
    """The steps in an order in which runs of elementwise steps on long rows stand together.

    From number `guarded` on steps may write state or draw: none of them comes earlier, except
    those of a loop, which only fill buffers.
    """
    afters = {s.after for s in program.states if s.after is not s.before}
    stay = {id(s) for i, s in enumerate(steps) if i >= guarded or s.op == "draw"}
    items: list[Item] = list(steps)
    for shape in dict.fromkeys(s.out.shape for s in steps if s.out.size >= LONG):
        items = gathered(items, shape, afters, stay)
    return items


def gathered(
    items: list[Item], shape: tuple[int, ...], afters: set[Var], stay: set[int]
) -> list[Item]:
    """The same with one loop for the first run of steps on values of this shape; steps that
    `stay` do not come before it.
    """
    loop: list[Step] = []
    before: list[Item] = []
    after: list[Item] = []
    in_loop: set[Var] = set()
    late: set[Var] = set()
    for item in items:
        outs = {s.out for s in steps_of(item)}
        reads = set(item.operands)
        if not reads & late and isinstance(item, Step) and fits(item, shape, afters):
            loop.append(item)
            in_loop |= outs
        elif reads & (in_loop | late) or id(item) in stay:
            after.append(item)
            late |= outs
        else:
            before.append(item)
    read = {x for item in after for x in item.operands}
    staying = sum(s.out not in read for s in loop)
    return [*before, Loop(loop), *after] if staying >= LEAST else items


def fits(step: Step, shape: tuple[int, ...], afters: set[Var]) -> bool:
    """Whether a step can be done block by block."""
    if step.op in ("sum", "all_finite"):
        whole = step.op != "sum" or not step.out.shape
        return whole and all(x.shape == shape and x.dtype.kind == "f" for x in step.operands)
    if step.op not in UFUNCS and step.op != "astype":
        return False
    if step.out.shape != shape or step.out in afters:
        return False
    return all(x.shape in (shape, ()) for x in step.operands)
