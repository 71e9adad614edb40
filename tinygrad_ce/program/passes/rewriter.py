"""Writes a program again, each step by the first rule that has something to say to it.

A rule looks at a step and at what its operands were made from; it gives another step in its place,
a value that is there already, or None. Steps and constants that are equal are made once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_ce.program.ir import Program, Step, Var

Apply = Callable[[Any, Step], Var | Step | None]
RANDOM = ("draw",)
ROUNDS = 20  # rules that one step may go through


@dataclass(eq=False)
class Rule:
    """A rule, for steps of these operations (all of them if there are none) that read a result of
    each operation in `after`; "number" is a constant number.
    """

    apply: Apply
    ops: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()


def on(*ops: str, after: str = "") -> Callable[[Apply], Rule]:
    """Make a function a rule for steps of these operations."""
    return lambda apply: Rule(apply, frozenset(ops), frozenset(after.split()))


class Rewriter:
    """Goes through the steps in order, and lets rules look at what the operands were made from.

    `index` holds the rules for each operation, for all runs with the same rules.
    """

    def __init__(self, program: Program, index: dict[str, list[Rule]] | None = None) -> None:
        self.program = program
        self.index = {} if index is None else index
        self.constants: dict[Var, Any] = {}
        self.makers: dict[Var, Step] = {}
        self.renamed: dict[Var, Var] = {}
        self.steps: list[Step] = []
        self.known: dict[Any, Var] = {}  # what is computed, or the value of a constant -> its Var
        self.here: Step | None = None
        self.rules: tuple[Rule, ...] = ()
        for var, value in program.constants.items():
            first = self.known.setdefault(constant_key(value), var)
            if first is var:
                self.constants[var] = value
            else:
                self.renamed[var] = first

    @cached_property
    def counts(self) -> dict[Var, int]:
        """How often each value is read, as far as it is known."""
        counts = self.program.uses()
        for out, now in self.renamed.items():
            counts[now] = counts.get(now, 1) + counts.get(out, 1)
        return counts

    def run(self, *rules: Rule | Apply) -> Program:
        """Apply the first rule that has something to say to each step, until none has."""
        self.rules = tuple(r if isinstance(r, Rule) else Rule(r) for r in rules)
        steps = self.program.steps
        if rules and not any(self.rules_for(step.op) for step in steps):
            return self.program
        for step in steps:
            self.here = step
            self.put(step)
        same = len(self.steps) == len(steps) and all(a is b for a, b in zip(self.steps, steps))
        if same and not self.renamed:
            return self.program
        roots = [self.renamed.get(x, x) for x in self.program.roots()]
        program = replace(self.program, constants=self.constants)
        return program.with_steps(live(self.steps, roots), self.renamed)

    def put(self, step: Step) -> Var:
        """The value of a step after all rules: one that is there already, or that of a new step."""
        if self.renamed:
            operands = tuple([self.renamed.get(x, x) for x in step.operands])
            step = step if operands == step.operands else step._replace(operands=operands)
        out = step.out
        now = self.rewritten(step)
        for _ in range(ROUNDS):  # in case that rules undo each other
            if not isinstance(now, Step):
                break
            step, now = now, self.rewritten(now)
        if not isinstance(now, Var):
            now = self.known.get(key := step_key(step))
            if now is None or step.op in RANDOM:
                self.known[key] = step.out
                return self.add(step)
        self.renamed[out] = now
        if now not in self.constants:
            now.name = now.name or out.name
        if "counts" in vars(self):
            self.counts[now] = self.counts.get(now, 1) + self.counts.get(out, 1)
        return now

    def rewritten(self, step: Step) -> Var | Step | None:
        """What the first rule says that has something to say."""
        rules = self.rules_for(step.op)
        if not rules:
            return None
        after = {self.made_by(x) for x in step.operands}
        for rule in rules:
            if rule.after <= after and (new := rule.apply(self, step)) is not None:
                return new
        return None

    def rules_for(self, op: str) -> list[Rule]:
        """The rules for an operation."""
        if op not in self.index:
            self.index[op] = [rule for rule in self.rules if not rule.ops or op in rule.ops]
        return self.index[op]

    def add(self, step: Step) -> Var:
        """Put a step down as it is."""
        self.steps.append(step)
        self.makers[step.out] = step
        return step.out

    def make(self, op: str, operands: tuple[Var, ...], like: Var, **attrs: Any) -> Var:
        """The result of a step, of the shape and dtype of `like`: a new one, if need be."""
        step = self.like_here(fresh(like), op, operands, attrs)
        return self.there(step) or self.known.setdefault(step_key(step), self.add(step))

    def there(self, step: Step) -> Var | None:
        """What a step would compute, if it is computed already."""
        return self.known.get(step_key(step))

    def like_here(self, out: Var, op: str, operands: tuple[Var, ...], attrs: Any) -> Step:
        """A step with the scope of the one that is looked at."""
        scope, line = (self.here.scope, self.here.line) if self.here else ((), None)
        return Step(out, op, operands, attrs, scope, line)

    def constant(self, value: Any) -> Var:
        """A constant."""
        var = self.known.setdefault(constant_key(value), Var.like(value))
        self.constants.setdefault(var, value)
        return var

    def typed(self, number: float, like: Var) -> Var:
        """A constant number of the dtype of `like`."""
        return self.constant(number if like.dtype is None else like.dtype.type(number))

    # --- what rules ask -------------------------------------------------------------------------

    def made_by(self, x: Var) -> str:
        """The operation that makes x; "number" for a constant number, "" for what is given."""
        if x in self.constants:
            return "" if x.shape else "number"
        return self.makers[x].op if x in self.makers else ""

    def maker(self, x: Var, op: str) -> Step | None:
        """The step that makes x, if it is of this kind."""
        step = self.makers.get(x)
        return step if step is not None and step.op == op else None

    def free(self, x: Var, op: str) -> Step | None:
        """The step that makes x, if x has no name and nobody else reads it."""
        return self.maker(x, op) if self.is_free(x) else None

    def is_free(self, x: Var) -> bool:
        """Whether x has no name and one reader, so that nobody misses it."""
        return not x.name and self.counts.get(x, 1) == 1

    def number(self, x: Var) -> float | None:
        """The value of a constant that is one number."""
        return float(self.constants[x]) if not x.shape and x in self.constants else None


def constant_key(value: Any) -> Any:
    """What constants have in common that are equal bit for bit."""
    array = np.asarray(value)
    return type(value), array.dtype.str, array.shape, array.tobytes()


def step_key(step: Step) -> Any:
    """What steps have in common that compute the same."""
    attrs = repr(sorted(step.attrs.items())) if step.attrs else ""
    return step.op, step.operands, attrs


def fresh(x: Var) -> Var:
    """A new value of the same form."""
    return Var(x.shape, x.dtype, x.scalar)


def live(steps: Iterable[Step], roots: Iterable[Var]) -> list[Step]:
    """The steps whose result is read. Draws stay: they move their generator on."""
    needed = set(roots)
    found = []
    for step in reversed([*steps]):
        if step.out in needed or step.op in RANDOM:
            found.append(step)
            needed.update(step.operands)
    return found[::-1]


def same_form(a: Var, b: Var) -> bool:
    """Whether two values have the same shape and dtype."""
    numbers = (a.dtype is None) + (b.dtype is None)  # to NumPy, float64 == None
    return a.shape == b.shape and (numbers == 2 or (not numbers and a.dtype == b.dtype))


def counts_up(constants: dict[Var, Any], x: Var, n: int) -> bool:
    """Whether x is the constant index 0, 1, ... n - 1, one after the other in one row."""
    if x not in constants or x.shape != (n,) or x.dtype is None or x.dtype.kind not in "iu":
        return False
    return bool(np.array_equal(constants[x], np.arange(n)))
