"""What the grader says: slips in the names that a student knows, and where an answer is off."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_ce.program.ir import Program
from tinygrad_ce.program.listing.expressions import filled
from tinygrad_ce.teach.book import Books, Line, names_in, text
from tinygrad_ce.teach.faults import INSTEAD, Change
from tinygrad_ce.teach.near import COARSE, UNDERFLOW, Answer, agree, apart, fitted, largest

SHORT = 12  # letters of what is spelled out where a name would stand that nobody has given
PLAIN = 60  # letters of what stands for a name of a single step
UNNAMED = re.compile(r"[a-z]\d*")  # z2; what is called `mean` tells what it is
VAGUE = ("wrong operand", "factor too many", "share too many", "product of sums")
LINEAR = ("add", "subtract", "negative", "multiply", "reshape", "broadcast_to", "sum", "divide")


class Words:
    """How the lines of a step, and what was written otherwise in them, are put into words.

    `averaged` is how many samples there are where the step takes the mean of them, else 0.
    """

    def __init__(self, books: Books) -> None:
        self.books = books
        self.averaged = books.samples if is_mean(books.program, books.samples) else 0

    # --- slips ----------------------------------------------------------------------------------

    def told(self, slip: tuple[Change, ...]) -> str:
        """What is said of a slip; of two in one line the line is shown once, as it is with both."""
        first, *rest = slip
        within = bool(rest) and rest[0].line is first.now
        spelled = [self.spelled(first.line, change.line) for change in slip]
        if within:
            words = first.template, *first.parts
            first = Change(first.line, rest[0].now.tree, first.place, first.kind, *words)
        texts = [self.plain(c) or self.said(c, of) for c, of in zip((first, *rest), spelled)]
        if within and not rest[0].kind.startswith("scale") and not self.is_strange(rest[0]):
            texts[1] = rest[0].said(spelled[0])
        return "; and ".join(texts)

    def said(self, change: Change, spelled: Callable[[ast.AST], str]) -> str:
        """What was changed, the line that belongs there, and what stands there instead."""
        words, line, n = change.said(spelled), change.line, self.averaged
        if change.kind == "scale" and words.startswith(f"{n} times too large"):
            return f"{n} times too large: the 1/N of the mean over the {n} samples is missing"
        if change.kind.startswith("scale") and words[0].isdigit():
            of_samples = n and words.endswith(f"stands where {n} belongs")
            return f"{words}, the number of samples" if of_samples else words
        if any(isinstance(node, ast.For | ast.Expr) for node in line.tree.body):
            return f"in the lines that make {line.name}, {words}"
        stands, yours = spelled(line.tree), spelled(change.now.tree).partition(" = ")[2]
        alone = "\n" not in yours and len(yours) < len(stands) and not words.startswith("yours is")
        stands = stands.replace("\n", "; ")
        return f"{stands} belongs here; {f'yours uses {yours}: ' if alone else ''}{words}"

    def spelled(self, *lines: Line) -> Callable[[ast.AST], str]:
        """Trees as text in which what nobody has named stands as it is computed: 1 - h.

        But where one of the lines makes it: there it has its name.
        """
        # none where the slip was found on another example
        book = next((x.lines for x in self.books if lines[0].root in x.lines), [])
        unnamed = {x.name: x for x in book if x.own and not x.backward}
        made = {line.name for line in lines}
        short = {
            name: value
            for name, x in unnamed.items()
            if UNNAMED.fullmatch(name) and name not in made and (value := x.value)
            if len(text(value)) <= SHORT and not x.reads & unnamed.keys()
        }
        return lambda tree: text(filled(tree, short))

    # --- slips in single steps ------------------------------------------------------------------

    @cached_property
    def strange(self) -> dict[str, ast.expr | None]:
        """What the names of single steps stand for that neither a user nor a listing has.

        None where that is too long to be told.
        """
        formulas, steps = self.books
        found: dict[str, ast.expr | None] = {}
        own = {f"d{x}" for x in (*self.books.named, *formulas.given)}
        known = {*own, *formulas.gradients, *formulas.makers}
        for line in steps.lines:
            name = line.name
            same = name in formulas.truth and agree(formulas.truth[name], steps.truth[name], COARSE)
            if same or not line.own or (name in own and steps.gradients.get(name) == name):
                continue
            made = line.value
            if called := [x for x, g in steps.gradients.items() if g == name and x in known]:
                made = ast.Name(min(called, key=len), ast.Load())
            elif made:
                told = all(found.get(x, made) for x in names_in(made))
                made = filled(made, found) if told else None
            found[name] = made if made and len(ast.unparse(made)) <= PLAIN else None
        return found

    def is_strange(self, change: Change) -> bool:
        """Whether a change is told with such names."""
        if change.line.root not in self.books.single.lines:
            return False
        scale = change.kind.startswith("scale") and change.said(text)[0].isdigit()
        trees = (change.line.tree, change.now.tree)
        names = change.names.union(*map(names_in, trees))
        return not scale and bool(names & self.strange.keys())

    def plain(self, change: Change) -> str:
        """Such a change in words without them; nothing where these would be too long."""
        if not self.is_strange(change):
            return ""
        line = change.line.name
        untold = {name for name, made in self.strange.items() if made is None}
        if change.names & untold or (line in untold and not change.parts):
            return ""
        words = change.said(lambda tree: text(filled(tree, self.strange)))
        made = self.strange.get(line, ast.Name(line, ast.Load()))
        return f"in {text(made)}, {words}" if made else words

    def can_be_told(self, slip: tuple[Change, ...]) -> bool:
        """Whether all of it can be said in words."""
        return all(not self.is_strange(change) or self.plain(change) for change in slip)

    # --- which slip comes first -----------------------------------------------------------------

    def rank(self, change: Change) -> int:
        """What says least comes last, and a factor after what has put it there."""
        if change.kind in VAGUE:
            return 3
        if change.kind in ("mean for sum", "sum for mean"):
            return 0
        n = change.parts[-1] if change.parts else 2
        instead = change.template == INSTEAD and n == self.books.samples
        known = n in {self.averaged, *self.divisors} and change.template != INSTEAD
        return 1 if change.kind != "scale" or instead or known else 2

    @cached_property
    def divisors(self) -> set[int]:
        """By what the formulas divide, and 2."""
        lines = "\n".join(line.text for line in self.books.formula.lines)
        return {2, *map(int, re.findall(r"/ (\d+)\b", lines))}

    # --- names ----------------------------------------------------------------------------------

    def no_gradient(self, name: str) -> str:
        """What is said to a name that the step gave to a value."""
        book = self.books.formula
        if name in book.gradients or name not in {**self.books.named, **book.given}:
            return ""
        own = f"d{name}"
        return f"{name} is a value" + (f"; call its gradient {own}" if book.named(own) else "")

    def what_it_is(self, name: str) -> str:
        """Of a name that nobody has given, what it is the gradient of."""
        line = self.books.formula.makers.get(name[1:]) if name.startswith("d") else None
        if not line or not line.own or line.backward or len(line.text) > PLAIN:
            return ""
        return f"; {name} here is the gradient of {line.text.partition(' = ')[2]}"


def is_mean(program: Program, samples: int) -> bool:
    """Whether a step ends in a mean over the samples: in a sum of them that is divided.

    Which of both comes first is the same as long as all between them is linear.
    """
    forward = [s for s in program.steps if s.scope[:1] != ("backward",)]
    read = {x for s in forward for x in s.operands}
    makers = {s.out: s for s in forward}
    waiting = [(s.out, False, False) for s in forward if s.out not in read]
    known = set(waiting)
    while waiting:
        x, summed, divided = waiting.pop()
        step = makers.get(x)
        if step is None or step.op not in (*LINEAR, "dot", "matmul"):
            continue
        first, *others = step.operands
        if step.op == "sum" and first.shape and first.shape[0] % samples == 0:
            axis = step.attrs["axis"]
            over = range(len(first.shape)) if axis is None else np.atleast_1d(axis)
            summed = summed or any(i % len(first.shape) == 0 for i in over)
        if step.op in ("dot", "matmul"):  # y @ log(p)
            summed, others = summed or first.shape[-1:] == (samples,), []
        if step.op == "divide":
            by = np.asarray(program.constants.get(others[0], 0) if others else 0)
            divided = divided or bool(by.ndim == 0 and by and by % samples == 0)
        if summed and divided:
            return True
        more = {(y, summed, divided) for y in step.operands} - known
        known |= more
        waiting += more
    return False


def right(answer: Answer) -> str:
    """What is said of an answer that is right."""
    yours, wanted = answer.array.shape, answer.right.shape
    return "right" if yours == wanted else f"right, but for its shape: {yours}, PyTorch's {wanted}"


def gap(answer: Answer, shaken: Sequence[Any]) -> str:
    """Where an answer that nothing explains is different, and whether the ratio tells something."""
    b = answer.right
    a = fitted(answer.array, b)
    if a.shape != b.shape:
        return f"its shape is {answer.array.shape}, wanted {b.shape}"
    if digits := answer.digits:
        return f"right to {digits} digits: do not round it"
    off = apart(a, b, answer.tolerance, shaken if answer.close else ())
    if not answer.close:
        with np.errstate(all="ignore"):
            off &= ~(np.abs(a - b) <= answer.tolerance * max(largest(b), UNDERFLOW))
    first = tuple(int(i[0]) for i in np.nonzero(np.atleast_1d(off)))
    at = f"[{', '.join(map(str, first))}]" if a.ndim else ""
    yours, right = (np.atleast_1d(x)[first] for x in (a, b))
    said = answer.by_chance or "no change that is known here explains it"
    said += f"; the first difference is {at or 'its value'}: "
    digits = next((d for d in (5, 9) if f"{yours:.{d}g}" != f"{right:.{d}g}"), 17)
    return f"{said}yours {yours:.{digits}g}, right {right:.{digits}g}{ratio(answer, a)}"


def ratio(answer: Answer, a: np.ndarray) -> str:
    """What is said of a ratio that is the same everywhere, or over each row or column."""
    with np.errstate(all="ignore"):
        ratios = np.asarray(a / answer.right)
    for over, axes in (("all elements", None), ("each row", -1), ("each column", 0)):
        if answer.by_chance or (axes is not None and ratios.ndim != 2):
            continue
        with np.errstate(invalid="ignore"):  # inf, where 0 would be right
            spread = np.fmax.reduce(ratios, axis=axes) - np.fmin.reduce(ratios, axis=axes)
        if np.isfinite(spread).all() and (spread <= 1e-4 * np.abs(ratios).max()).all():
            value = f": {ratios.flat[0]:.5g}" if axes is None else ""
            return f"; the ratio is the same over {over}{value}"
    return ""
