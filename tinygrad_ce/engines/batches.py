"""A program for any number of rows, from what a model does with a few numbers of them.

Sizes that differ between the first two traces are a·batch + c, and the others test that. Constants
that differ (zeros for a first state, arange(n), the n of a mean) are computed by steps from such
sizes, so that whoever reads the program meets plain steps and sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from tinygrad_ce.program.ir import Program, Step, Var

RANDOM = (
    "random numbers are drawn, in each run others; call model.eval() first, or pass them in as an "
    "argument"
)


class ExportError(ValueError):
    """A model that no file can hold; the message names the operation and the user's line."""


class Size(int):
    """a·batch + c. As an int it is the size in the first trace; equal to others of that formula."""

    a: int
    c: int

    def __new__(cls, value: int, a: int, c: int) -> Size:  # noqa: D102
        size = super().__new__(cls, value)
        size.a, size.c = a, c
        return size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and (self.a, self.c) == (other.a, other.c)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.a, self.c))

    def __repr__(self) -> str:
        return self.named("batch")

    def named(self, batch: str) -> str:
        """The formula, as files of ONNX name a size."""
        factor = "" if self.a == 1 else f"{self.a}*"
        return f"{factor}{batch}{self.c:+}" if self.c else f"{factor}{batch}"


def where(step: Step) -> str:
    """The user's line of a step, or the modules that it is in."""
    if step.line is not None:
        return f" ({step.line})"
    return f" (in {' / '.join(step.scope)})" if step.scope else ""


FAR, WORK = 1000, 2e8  # many rows; products that take no time


def far_from(rows: int, program: Program) -> int:
    """A number of rows far from the few that `program` was traced with, so that `x[:100]` and
    `if len(x) > 300` show: FAR, or less where many rows would take long.
    """
    work = 1
    for step in program.steps:
        summed = step.operands[0].shape[-1:] if step.op in PRODUCTS else ()
        work += step.out.size * math.prod(summed)
    return max(2 * rows + 7, min(FAR, int(WORK * rows / work)))


PRODUCTS = ("dot", "inner", "matmul", "einsum")


def with_free_batch(programs: Sequence[Program], rows: Sequence[int]) -> Program:
    """The first of some programs of one model, with sizes that follow the batch.

    Raises ExportError, with the user's line, where a size or a constant follows it otherwise.
    """
    return Unifier(tuple(programs), tuple(rows)).run()


@dataclass(eq=False)
class Unifier:
    """Goes through some programs, three at least, side by side."""

    programs: tuple[Program, ...]
    rows: tuple[int, ...]

    def run(self) -> Program:
        """The program, or ExportError."""
        one = self.programs[0]
        self.here: Step | None = None
        self.known: dict[tuple[Var, ...], Var] = {}  # what stands for the same in all of them
        self.constants = one.constants  # and those of formulas of the batch
        self.steps: list[Step] = []
        for inputs in zip(*(p.inputs for p in self.programs)):
            self.known[inputs] = self.of_shape(inputs, f"the shape of {inputs[0].name}")
        given = [{id(s.node): s.before for s in p.states} for p in self.programs]
        for node in set.intersection(*map(set, given)):
            self.known[tuple(states[node] for states in given)] = given[0][node]
        for steps in zip(*(p.steps for p in self.programs)):
            self.step(steps)
        self.here = None
        if len({len(p.steps) for p in self.programs}) > 1:
            longest = max(self.programs, key=lambda p: len(p.steps)).steps
            self.differs(longest[min(len(p.steps) for p in self.programs)])
        outputs = [self.operand(xs) for xs in zip(*(p.outputs for p in self.programs))]
        read = {x for step in self.steps for x in step.operands}.union(outputs)
        constants = {x: v for x, v in self.constants.items() if x in read}
        return replace(one, steps=self.steps, outputs=outputs, constants=constants, updates=[])

    def differs(self, step: Step | None) -> NoReturn:
        """Refuse a program that does other things for other batches."""
        other = f": {step.op}{where(step)}" if step is not None else ""
        raise ExportError(
            f"export: with {listed(self.rows)} rows the model takes other steps{other}; wanted the "
            "same for each batch: leave out what goes by the number of rows, or pass batch=None "
            "for a file that serves the example's alone"
        )

    def refuse(self, what: str, values: Sequence[Any], rows: Sequence[int] = ()) -> NoReturn:
        """Refuse what follows the batch by no formula."""
        at = where(self.here) if self.here is not None else ""
        raise ExportError(
            f"export: {what}{at} is {listed(map(shown, values))} for "
            f"{listed(rows or self.rows)} rows; wanted the same, or a·batch + c. "
            "Pass batch=None for a file that serves the example's number of rows alone"
        )

    def step(self, steps: tuple[Step, ...]) -> None:
        """The step that stands for those of all programs."""
        first = self.here = steps[0]
        if len({(s.op, len(s.operands)) for s in steps}) > 1:
            self.differs(max(steps, key=lambda s: s.op != first.op))
        operands = tuple(self.operand(xs) for xs in zip(*(s.operands for s in steps)))
        attrs = {
            key: self.setting(tuple(s.attrs.get(key) for s in steps), f"{key} of {first.op}")
            for key in first.attrs
            if key != "pairwise"  # how a sum is rounded
        }
        outs = tuple(s.out for s in steps)
        self.known[outs] = self.of_shape(outs, f"the shape of what {first.op} makes")
        self.steps.append(first._replace(operands=operands, attrs=attrs))
        if first.op in ("slice", "take"):
            self.check_slices(operands[0].shape, attrs["index"])

    def check_slices(self, shape: tuple[Any, ...], index: tuple[Any, ...]) -> None:
        """Refuse slices whose lengths follow the batch for the rows that were traced, and do not
        for a few rows, or for many: of one row `x[:3]` has one, and `x[2:]` none instead of -1.
        """
        axes = (part for part in full_index(index, len(shape)) if part is not None)
        for size, part in zip(shape, axes):
            if isinstance(size, Size) and isinstance(part, slice):
                rows = sorted({*FEW, *self.rows[:2], MANY})
                found = {n: len(range(*at(part, n).indices(at(size, n)))) for n in rows}
                a, c = line_through(self.rows, [found[n] for n in self.rows[:2]]) or (0, 0)
                if any(a * n + c != length for n, length in found.items()):
                    self.refuse(f"the length of a slice [{spelt(part)}]", [*found.values()], rows)

    def of_shape(self, xs: tuple[Var, ...], what: str) -> Var:
        """The first of some values, with a shape of sizes that follow the batch."""
        xs[0].shape = self.setting(tuple(x.shape for x in xs), what)
        return xs[0]

    def setting(self, values: tuple[Any, ...], what: str) -> Any:
        """One setting for all programs."""
        a = values[0]
        if len({type(v) for v in values}) > 1:
            self.refuse(what, values)
        if isinstance(a, slice):
            ends = [tuple(getattr(v, k) for v in values) for k in ("start", "stop", "step")]
            return slice(*(self.setting(end, what) for end in ends))
        if isinstance(a, (tuple, list)):
            if len({len(v) for v in values}) > 1:
                self.refuse(what, values)
            return type(a)(self.setting(part, what) for part in zip(*values))
        if isinstance(a, (int, np.integer)) and not isinstance(a, bool):
            return self.size(tuple(map(int, values)), what)
        if not all(np.array_equal(a, v) if isinstance(a, np.ndarray) else a == v for v in values):
            self.refuse(what, values)
        return a

    def size(self, values: tuple[int, ...], what: str) -> int:
        """One size for all programs."""
        formula = line_through(self.rows, values)
        if formula is None or formula[0] != int(formula[0]):
            self.refuse(what, values)
        a, c = map(int, formula)
        return Size(values[0], a, c) if a else values[0]

    # --- constants ------------------------------------------------------------------------------

    def operand(self, xs: tuple[Var, ...]) -> Var:
        """What stands for one operand in all programs."""
        if xs in self.known:
            return self.known[xs]
        values = [p.constants.get(x) for p, x in zip(self.programs, xs)]
        if any(v is None for v in values):
            self.differs(self.here)
        same = all(v is values[0] or equal(v, values[0]) for v in values)
        self.known[xs] = xs[0] if same else self.formula(xs, values)
        return self.known[xs]

    def formula(self, xs: tuple[Var, ...], values: list[Any]) -> Var:
        """Steps for a constant that follows the batch: repeats, arange, or a number."""
        arrays = [np.asarray(v) for v in values]
        if len({(a.ndim, a.dtype) for a in arrays}) > 1:
            self.refuse("a constant", values)
        shape = self.setting(tuple(a.shape for a in arrays), "the shape of a constant")
        rows = [a[tuple(slice(1) if isinstance(n, Size) else slice(None) for n in shape)]
                for a in arrays]  # fmt: skip
        dtype = self.dtype_of(xs[0], arrays[0])
        if all(np.array_equal(r + 0 * a, a) for r, a in zip(rows, arrays)):
            if all(equal(r, rows[0]) for r in rows):
                return self.add("broadcast_to", self.constant(rows[0]), shape, dtype, shape=shape)
            if all((a == a.flat[0]).all() for a in arrays):
                number = self.number([a.flat[0].item() for a in arrays], dtype)
                return (
                    self.add("broadcast_to", number, shape, dtype, shape=shape) if shape else number
                )
        counted = self.counted(arrays, shape, dtype)
        return counted if counted is not None else self.refuse("a constant", values)

    def dtype_of(self, x: Var, array: np.ndarray) -> Any:
        """The dtype that a constant takes next to the other operands."""
        others = [y.dtype for y in self.here.operands if y.dtype is not None] if self.here else []
        return array.dtype if x.dtype is not None else np.result_type(*others, array.flat[0].item())

    def counted(self, arrays: list[np.ndarray], shape: Any, dtype: Any) -> Var | None:
        """first + step·i along the one axis that follows the batch; the others have size 1."""
        if sum(n != 1 for n in shape) != 1 or any(a.size < 2 for a in arrays):
            return None
        flat = [a.ravel().astype(np.float64) for a in arrays]
        step, first = flat[0][1] - flat[0][0], line_through(self.rows, [a[0] for a in flat])
        lines = [np.array_equal(a[0] + step * np.arange(a.size), a) for a in flat]
        if first is None or not all(lines):
            return None
        n = next(size for size in shape if size != 1)
        one = self.add("broadcast_to", self.constant(np.int64(1)), (n,), np.int64, shape=(n,))
        place = self.add("cumsum", one, (n,), np.int64, axis=0)
        place = self.times_plus(place, (step, -step), (n,), dtype)
        start = self.number([a[0] for a in flat], dtype)
        line = self.put("add", (place, start), (n,), dtype)
        return self.add("reshape", line, shape, dtype, shape=shape)

    def number(self, values: list[float], dtype: Any) -> Var:
        """A number that is f(a·batch + c) for all batches: f is none, 1 / x or √x."""
        for op, back in INVERSES.items():
            signs = (1,) if op == "sqrt" else (1, -1)
            known = not op or (
                np.dtype(dtype).kind == "f"
                and any(all(v * sign > 0 for v in values) for sign in signs)
            )
            formula = None if not known else line_through(self.rows, list(map(back, values)))
            if formula is not None:
                break
        else:
            self.refuse("a number", values)
        n = Size(self.rows[0], 1, 0)
        one = self.add("broadcast_to", self.constant(np.int64(1)), (n,), np.int64, shape=(n,))
        count = self.add("sum", one, (), np.int64, axis=None, keepdims=False)
        y = self.times_plus(count, formula, (), dtype)
        return self.add(op, y, (), dtype) if op else y

    def times_plus(self, x: Var, formula: Any, shape: Any, dtype: Any) -> Var:
        """a·x + c in a dtype."""
        a, c = (self.constant(np.dtype(dtype).type(v)) for v in formula)
        x = self.add("astype", x, shape, dtype, dtype=np.dtype(dtype))
        return self.put("add", (self.put("multiply", (x, a), shape, dtype), c), shape, dtype)

    def constant(self, value: Any) -> Var:
        """A constant of these steps."""
        x = Var.like(value)
        self.constants[x] = value
        return x

    def add(self, op: str, x: Var, shape: Any, dtype: Any, /, **settings: Any) -> Var:
        """A step of one operand."""
        return self.put(op, (x,), shape, dtype, **settings)

    def put(self, op: str, xs: tuple[Var, ...], out: Any, dtype: Any, /, **settings: Any) -> Var:
        """A step that stands before the one that is looked at."""
        y = Var(out, np.dtype(dtype), False)
        scope, line = (self.here.scope, self.here.line) if self.here else ((), None)
        self.steps.append(Step(y, op, xs, settings, scope, line))
        return y


INVERSES: dict[str, Callable[[float], float]] = {
    "": lambda y: y, "reciprocal": lambda y: 1 / y, "sqrt": lambda y: y * y,
}  # fmt: skip
"""What may be done to a·batch + c, and how it is undone."""


def line_through(rows: Sequence[int], values: Sequence[float]) -> tuple[float, float] | None:
    """(a, c) if the values are a·rows + c, to the rounding of floats."""
    (n, m, *_), (x, y, *_) = rows, values
    a = (y - x) / (m - n)
    c = x - a * n
    near = all(abs(a * k + c - z) <= 1e-6 * max(abs(x), abs(z)) for k, z in zip(rows, values))
    a, c = (round(v) if abs(v - round(v)) < 1e-6 * max(1, abs(v)) else v for v in (a, c))
    return (a, c) if near else None


def full_index(index: Sequence[Any], ndim: int) -> list[Any]:
    """An index with a part for each axis, and None for each new one."""
    known = sum(p is not None and p is not Ellipsis for p in index)
    missing = [slice(None)] * (ndim - known)
    parts = [q for p in index for q in (missing if p is Ellipsis else [p])]
    return parts if any(p is Ellipsis for p in index) else parts + missing


FEW, MANY = (1, 2, 3), 10**9  # rows for which lengths are computed without a trace


def at(x: Any, rows: Any) -> Any:
    """A size, or a slice or tuple of some, for so many rows."""
    if isinstance(x, (tuple, list)):
        return type(x)(at(part, rows) for part in x)
    if isinstance(x, slice):
        return slice(at(x.start, rows), at(x.stop, rows), at(x.step, rows))
    return x.a * rows + x.c if isinstance(x, Size) else x


def spelt(part: slice) -> str:
    """A slice as it is written."""
    ends = ["" if v is None else str(v) for v in (part.start, part.stop, part.step)]
    return ":".join(ends if ends[2] else ends[:2])


def listed(values: Iterable[Any]) -> str:
    """Some values in an error: a, b and c."""
    *first, last = map(str, values)
    return f"{', '.join(first)} and {last}"


def equal(a: Any, b: Any) -> bool:
    """Whether two constants are the same, nan included."""
    x, y = np.asarray(a), np.asarray(b)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def shown(value: Any) -> str:
    """A value in an error."""
    if isinstance(value, np.ndarray) and value.size > 4:
        return f"an array of shape {value.shape}"
    return str(tuple(value) if isinstance(value, tuple) else value)
