"""A program as plain data: values, and the steps that make one from others.

Every value is written once (static single assignment): a tensor that is written in place is a
`State`, whose value before the run is one `Var` and whose value after it another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

NUMBERS = (bool, int, float)


class Var:
    """One value: its shape, its dtype (None for a Python number) and a name to print."""

    __slots__ = ("dtype", "name", "scalar", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any, scalar: bool, name: str = "") -> None:
        self.shape = shape
        self.dtype = dtype
        self.scalar = scalar  # a NumPy scalar or a Python number, no array
        self.name = name

    @staticmethod
    def like(value: Any, name: str = "") -> Var:
        """A Var for what has the shape and dtype of `value`."""
        if type(value) in NUMBERS:
            return Var((), None, True, name)
        return Var(value.shape, value.dtype, isinstance(value, np.generic), name)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        return self.size * (self.dtype.itemsize if self.dtype is not None else 8)

    def __repr__(self) -> str:
        return f"{self.name or 'value'}: {self.dtype or 'number'} {self.shape}"


def common_dtype(operands: Iterable[Var]) -> Any:
    """The dtype in which NumPy computes with these; Python numbers take that of the others."""
    return np.result_type(*(x.dtype for x in operands if x.dtype is not None))


class Line(NamedTuple):
    """A line of the user's program."""

    file: str
    number: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number} in {self.function}"


class Step(NamedTuple):
    """`out = op(*operands, **attrs)`, and where in the program that stands."""

    out: Var
    op: str
    operands: tuple[Var, ...]
    attrs: dict[str, Any]
    scope: tuple[str, ...] = ()
    line: Line | None = None

    def __repr__(self) -> str:
        attrs = "".join(f", {k}={v!r}" for k, v in self.attrs.items())
        operands = ", ".join(x.name or str(x.shape) for x in self.operands)
        return f"{self.out!r} = {self.op}({operands}{attrs})"


@dataclass(eq=False, slots=True)
class State:
    """A tensor that outlives the run: read at its beginning, replaced at its end if it changes."""

    node: Any
    before: Var
    after: Var


@dataclass(eq=False, slots=True)
class Setting:
    """A number read at each run from a dict of settings: `group["lr"]`."""

    group: dict[str, Any]
    key: str
    var: Var


@dataclass(eq=False, slots=True)
class Grad:
    """The `.grad` of a tensor after the run: a value, or None."""

    node: Any
    var: Var | None


@dataclass(eq=False, slots=True)
class Assumption:
    """What the program takes for granted: checked before anything is written."""

    var: Var  # a truth value
    what: str
    key: Any  # where the function asked for it, so that a failure is remembered


@dataclass(eq=False, slots=True, weakref_slot=True)
class Program:
    """A straight-line program: what goes in, the steps, what comes out and what it replaces."""

    name: str
    inputs: list[Var] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    constants: dict[Var, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    outputs: list[Var] = field(default_factory=list)
    grads: list[Grad] = field(default_factory=list)
    assumptions: list[Assumption] = field(default_factory=list)
    example: dict[Var, Any] = field(default_factory=dict)
    """What was given when it was traced: inputs, state and settings."""
    gradient_of: dict[Var, tuple[Var, ...]] = field(default_factory=dict)
    """Which values a value is the gradient of: several where it was handed on unchanged."""
    updates: list[range] = field(default_factory=list)
    """Which steps an optimiser took for each parameter; as it was traced, before any pass."""
    returned: int = 0
    """How many outputs the function returned: after them comes what it did to its arguments."""
    microseconds: list[float] = field(default_factory=list)
    """How long each step of the formulas took in a profiled run."""

    def __repr__(self) -> str:
        given = len(self.inputs) + len(self.states) + len(self.settings)
        return f"<Program {self.name}: {len(self.steps)} steps on {given} given values>"

    def roots(self) -> Iterator[Var]:
        """What somebody looks at after the run."""
        yield from self.outputs
        yield from (state.after for state in self.states)
        yield from (grad.var for grad in self.grads if grad.var is not None)
        yield from (assumption.var for assumption in self.assumptions)

    def given(self) -> Iterator[Var]:
        """What is there before the first step."""
        yield from self.inputs
        yield from (state.before for state in self.states)
        yield from (setting.var for setting in self.settings)
        yield from self.constants

    def makers(self) -> dict[Var, Step]:
        """The step that makes each value."""
        return {step.out: step for step in self.steps}

    def uses(self) -> dict[Var, int]:
        """How often each value is read, by steps and after the run."""
        counts: dict[Var, int] = {}
        for step in self.steps:
            for x in step.operands:
                counts[x] = counts.get(x, 0) + 1
        for x in self.roots():
            counts[x] = counts.get(x, 0) + 1
        return counts

    def with_steps(self, steps: Iterable[Step], renamed: dict[Var, Var] | None = None) -> Program:
        """The same program with other steps; `renamed` says which value stands for which."""
        new = renamed or {}

        def now(x: Var) -> Var:
            while x in new:
                x = new[x]
            return x

        def renamed_in(step: Step) -> Step:
            touched = any(x in new for x in step.operands)
            return step._replace(operands=tuple(map(now, step.operands))) if touched else step

        steps = [renamed_in(s) for s in steps] if new else list(steps)
        result = self.around(steps, now)
        read = {x for step in steps for x in step.operands}.union(result.roots())
        result.constants = {x: v for x, v in self.constants.items() if x in read}
        return result

    def around(self, steps: list[Step], now: Callable[[Var], Var]) -> Program:
        """The same program around other steps, where `now` says which value stands for which."""
        return replace(
            self,
            inputs=[now(x) for x in self.inputs],
            states=[State(s.node, now(s.before), now(s.after)) for s in self.states],
            settings=[Setting(s.group, s.key, now(s.var)) for s in self.settings],
            constants={now(x): v for x, v in self.constants.items()},
            steps=steps,
            outputs=[now(x) for x in self.outputs],
            grads=[Grad(k.node, k.var and now(k.var)) for k in self.grads],
            assumptions=[Assumption(now(a.var), a.what, a.key) for a in self.assumptions],
            gradient_of={now(g): tuple(map(now, xs)) for g, xs in self.gradient_of.items()},
            updates=[],
        )


def coarsest(program: Program) -> Any:
    """The float dtype of least precision among the values of a program."""
    vars_ = [*program.given(), *(s.out for s in program.steps)]
    floats = [x.dtype for x in vars_ if x.dtype is not None and x.dtype.kind == "f"]
    return max(floats, key=lambda dtype: np.finfo(dtype).eps, default=np.dtype(np.float64))
