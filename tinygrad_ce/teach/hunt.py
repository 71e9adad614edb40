"""The search for what was written otherwise: the lines that give a wrong answer's very numbers."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

from tinygrad_ce.teach.book import Book, Line, Values, resting
from tinygrad_ce.teach.faults import Change, changes
from tinygrad_ce.teach.near import FINE, Answer, largest

Slip = tuple[Change, ...]  # what gives an answer: one change, or two
AWAY = ("missing factor", "no upstream", "sum for product", "lost share")


class Budget:
    """How many lines may still be run."""

    def __init__(self, lines: int) -> None:
        self.left = lines

    def spend(self, lines: list[Line]) -> bool:
        """Whether these may be run."""
        self.left -= sum(line.cost for line in lines)
        return self.left > 0


class Hunt:
    """The search between given values and one answer, in the lines that are not in `cut`."""

    def __init__(
        self, book: Book, name: str, cut: set[str], base: Values, answer: Answer, samples: int
    ) -> None:
        self.book, self.answer, self.base, self.samples = book, answer, base, samples
        self.lines = book.slice(name, cut)
        self.readable: dict[str, Values] = {}
        self.starts = [base]  # the values before each line
        for line in self.lines:
            after = book.attempt(self.starts[-1], [line])
            if after is None:  # an earlier answer has a shape with which nothing can go on
                self.lines = []
                return
            self.starts.append(after)
        shapes = [np.shape(v) for v in base.values() if hasattr(v, "shape")]
        self.sizes = {n for shape in shapes for n in (*shape, int(np.prod(shape))) if n > 2}

    def changes_of(self, line: Line, sizes: Iterable[int]) -> list[Change]:
        """Every slip in a line."""
        return [
            change
            for way in (line, *line.others)
            for change in changes(way, self.before(line.name), self.book.slopes, sorted(sizes))
        ]

    def before(self, name: str) -> Values:
        """What may be read where a value is made: what does not rest on it. And the value."""
        if name not in self.readable:
            rest = {x.name for x in resting(self.book.lines, [name])} - {name}
            self.readable[name] = {x: v for x, v in self.base.items() if x not in rest}
        return self.readable[name]

    def hits(self, lines: list[Line], values: Values) -> bool:
        """Whether the answer is what comes out."""
        return self.answer.is_in(self.book.attempt(values, lines), self.lines[-1].name)

    # --- one change -----------------------------------------------------------------------------

    def fitting(self, budget: Budget) -> Iterator[tuple[float, Change]]:
        """The changes of one place that give the answer, the last lines first; how far off each."""
        for i in reversed(range(len(self.lines))):
            for change in self.changes_of(self.lines[i], self.sizes):
                lines = [change.now, *self.lines[i + 1 :]]
                if not budget.spend(lines):
                    return
                values = self.book.attempt(self.starts[i], lines)
                fits = values and self.answer.is_in(values, lines[-1].name)
                if values and fits and not self.by_chance(change):
                    yield self.answer.distance(values[lines[-1].name]), change

    def by_chance(self, change: Change) -> bool:
        """Whether a slip is told of what many give: of zeros, or of a single number.

        That is one that brings in what nobody has a name for.
        """
        if self.answer.zeros:
            return change.kind == "factor too many" or self.vanishes(change)
        line = self.book.makers.get(str(change.parts[0])) if change.parts else None
        return self.answer.array.size < 2 and line is not None and line.own and not line.backward

    def vanishes(self, change: Change) -> bool:
        """Whether a slip gives zeros on every example, 1 - h / h: nobody makes it.

        But the wrong side of a mask of a relu does so, too.
        """
        if change.kind == "other branch":
            return False
        stream = np.random.default_rng(0)
        drawn = {name: draw(value, stream) for name, value in self.book.given.items()}
        values = after((change,), self.book, self.book.lines, drawn)
        return values is None or largest(np.asarray(values[self.lines[-1].name], float)) <= FINE

    # --- other numbers --------------------------------------------------------------------------

    def values(self, forward: Values) -> list[Slip]:
        """The answer as a value of the forward pass that is no gradient."""
        words = "{} is a value, not a gradient"
        names = [x for x in forward if x not in self.book.slopes and self.answer.is_in(forward, x)]
        return [
            (Change.to(line, x, "value for gradient", words, x),)
            for line in self.lines[-1:]
            for x in names[:1]
        ]

    def reductions(self) -> list[Slip]:
        """The answer as a sum, or a mean, over other axes of a gradient that is summed."""
        found: list[Slip] = []
        for line in self.lines[-1:]:
            for name in sorted(self.book.slopes & self.base.keys() - {line.name}):
                g = np.asarray(self.base[name])
                axes = [s for n in range(1, g.ndim + 1) for s in combinations(range(g.ndim), n)]
                if not any(self.answer.is_right(g.sum(over)) for over in axes):
                    continue
                slips = [Change.to(line, name, "missing sum", "the sum of {} is missing", name)]
                for over in axes:
                    axis = str(over[0] if len(over) == 1 else over)
                    which = f"{'axis' if len(over) == 1 else 'axes'} {axis}"
                    within = "" if len(over) == g.ndim else f"axis={axis}"
                    for kind, method, words in (
                        ("wrong axis", "sum", "{} is summed over {}"),
                        ("mean for sum", "mean", "a mean of {} over {} stands there"),
                    ):
                        code = f"{name}.{method}({within})"
                        slips.append(Change.to(line, code, kind, words, name, which))
                found += [(slip,) for slip in slips if self.hits([slip.now], self.base)]
        return found

    def scales(self) -> list[Slip]:
        """The answer as the right one times two sizes, or their inverses; with either sign."""
        if self.answer.array.size < 2 or not self.lines:
            return []
        name = self.lines[-1].name
        made = np.asarray(self.starts[-1][name])
        of = [n for size in sorted({2, *self.sizes}) for n in (Fraction(size), Fraction(1, size))]
        times = {sign * a * b for a in of for b in of for sign in (1, -1)} - {1, -1}
        fits = [x for x in sorted(times) if self.answer.is_in({name: float(x) * made}, name)]
        slips = [(i, of_all(line, x)) for x in fits[:1] for i, line in enumerate(self.lines)]
        return [
            (slip,)
            for i, slip in slips
            if slip.line.backward and self.hits([slip.now, *self.lines[i + 1 :]], self.starts[i])
        ]

    # --- two changes ----------------------------------------------------------------------------

    def pairs(self, effort: int) -> Iterator[Slip]:
        """The changes of two places that give the answer; those near to it come first."""
        budget = Budget(effort)
        for first, second, before, rest in self.couples():
            lines = [second.now, *rest]
            if not budget.spend(lines):
                break
            if self.hits(lines, before):
                yield first, second

    def couples(self) -> Iterator[tuple[Change, Change, Values, list[Line]]]:
        """Two changes, the values before the second, and the lines after it."""
        single: dict[int, list[tuple[Change, Values]]] = {}
        for i in reversed(range(len(self.lines))):
            single[i] = self.distinct(self.lines[i], self.starts[i])
            for first, _ in single[i]:
                seconds = self.changes_of(first.now, self.near(first.line))
                for second in sorted(seconds, key=is_far_fetched):
                    if is_exchange(first, second) or is_exchange(second, first):
                        continue  # another value stands there
                    yield first, second, self.starts[i], self.lines[i + 1 :]
            for first, values in single[i]:
                for j in range(i + 1, len(self.lines)):
                    between = self.book.attempt(values, self.lines[i + 1 : j])
                    for second, _ in single[j] if between else ():
                        yield first, second, between or {}, self.lines[j + 1 :]

    def near(self, line: Line) -> set[int]:
        """The sizes of what a line makes: factors that two slips are looked for with."""
        shape = np.shape(self.book.truth[line.name])
        return {n for n in (*shape, int(np.prod(shape)), self.samples) if n > 2}

    def distinct(self, line: Line, before: Values) -> list[tuple[Change, Values]]:
        """The changes of a line that can be run, one for each other value that it takes by them."""
        found: dict[Any, tuple[Change, Values]] = {}
        unchanged = self.book.run(before, [line])
        for change in sorted(self.changes_of(line, self.near(line)), key=is_far_fetched):
            values = self.book.attempt(before, [change.now])
            if values is not None:
                found.setdefault(coarsely(values[line.name]), (change, values))
        found.pop(coarsely(unchanged[line.name]), None)  # a factor that is 1 everywhere is no slip
        return list(found.values())


def of_all(line: Line, times: Fraction) -> Change:
    """What a line makes, that many times."""
    after = ast.parse(f"{line.name} = {line.name} * ({times})").body
    large = abs(times) > 1
    words = f"{abs(times) if large else 1 / abs(times)} times too {'large' if large else 'small'}"
    kind, sign = "scale", ""
    if times < 0:
        kind, sign = "scale and sign", ", and the sign is the other way round"
    return Change(line, ast.Module([*line.tree.body, *after], []), -1, kind, "{}", words + sign)


def after(slip: Slip, book: Book, lines: list[Line], base: Values) -> Values | None:
    """What lines give that have a slip; None where it is not in them."""
    now = {change.line.root: change.now for change in slip}
    again = [now.get(line, line) for line in lines]
    return book.attempt(base, again) if again != lines else None


def draw(value: Any, stream: np.random.Generator) -> Any:
    """Another value of that shape; labels and masks are as they are."""
    floats = np.asarray(value).dtype.kind == "f"
    return stream.standard_normal(np.shape(value)) if floats else value


def is_far_fetched(change: Change) -> bool:
    """Whether fewer people make it than others."""
    return change.kind in ("factor too many", "share too many", "product of sums")


def is_exchange(first: Change, second: Change) -> bool:
    """Whether two changes are one thing for another, which is said in other words."""
    return first.kind.endswith("too many") and second.kind in AWAY


def coarsely(value: Any) -> tuple[Any, ...]:
    """The same for values that are the same but for rounding."""
    with np.errstate(all="ignore"):
        made = np.asarray(value, np.float32)
    return made.shape, made.tobytes()
