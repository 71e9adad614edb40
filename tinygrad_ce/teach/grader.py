"""teach.check: each gradient that was worked out by hand is judged, and what is wrong is named.

An answer is right, or it follows from the student's own earlier answers, or it is wrong. For a
wrong one the lines that lead to it are written otherwise, one place at a time and then two, until
they give the very numbers of the answer: what is said has been reproduced.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, wraps
from itertools import chain, combinations
from typing import Any

import numpy as np

from tinygrad_ce.creation import tensor
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.program.ir import Program
from tinygrad_ce.program.listing.listing import oracle
from tinygrad_ce.program.traced import trace
from tinygrad_ce.program.tracing.trace import GradOf
from tinygrad_ce.teach.answers import numbers, refuse_answers, refuse_inputs, unknown
from tinygrad_ce.teach.book import Book, Line, Values, names_in, wide
from tinygrad_ce.teach.faults import INSTEAD, Change, changes, text
from tinygrad_ce.teach.spellings import respell

COARSE, FINE = 1e-5, 1e-9  # what float32 and float64 may be off, of the size of what is summed
SHAKEN = 4  # runs of a book in which every number is off by that much
UNDERFLOW = 1e-30  # what is smaller may be 0 in float32
SINGLES = 80_000  # lines that are run at most in search of one change, for all answers together
SLIPS = 60  # causes of one answer that are tried on the others
ANEW = 4_000  # the same in search of what an earlier answer would have been
PAIRS = 12_000  # the same of two changes, for one answer
SHORT = 12  # letters of what is spelled out where a name would stand that nobody has given
AWAY = ("missing factor", "no upstream", "sum for product", "lost share")
VAGUE = ("wrong operand", "factor too many", "share too many", "product of sums")
PLAIN = 60  # letters of what stands for a name of a single step
UNNAMED = re.compile(r"[a-z]\d*")  # z2; what is called `mean` tells what it is


@dataclass(frozen=True)
class Fault:
    """One slip that gives the student's numbers: its kind (`teach.FAULTS`), its line, in words."""

    kind: str
    line: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """What is said about one answer: "right", "follows" from others, or "wrong"."""

    name: str
    verdict: str
    text: str
    expected: np.ndarray
    faults: tuple[Fault, ...] = ()

    def __str__(self) -> str:
        return self.padded(0)

    def padded(self, width: int) -> str:
        """The same, the name padded to a width."""
        mark = "✗" if self.verdict == "wrong" else "✓"
        return f"{self.name.ljust(width)}  {mark}  {self.text}"


@dataclass(frozen=True, repr=False)
class Report(Mapping[str, Verdict]):
    """The verdicts by the names of the answers, in the order of the backward pass."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every answer is right."""
        return all(v.verdict == "right" for v in self.verdicts.values())

    def __getitem__(self, name: str) -> Verdict:
        return self.verdicts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.verdicts)

    def __len__(self) -> int:
        return len(self.verdicts)

    def __str__(self) -> str:
        width = max(map(len, self.verdicts), default=0)
        return "\n".join(v.padded(width) for v in self.verdicts.values())

    __repr__ = __str__


def check(
    step: Callable[..., Any] | Program,
    inputs: Sequence[Any],
    answers: Mapping[str, Any] | Callable[..., Mapping[str, Any]],
) -> Report:
    """Judge gradients that were worked out by hand, and name what is wrong with them.

    step: a function of `inputs` that returns a loss (and may call backward() itself), or what
    `trace` made of it. answers: arrays by name, `{"dW1": ..., "dlogits": ...}`, any of them; the
    names are d and what the step's own code calls the tensor, or those of its listing
    (`trace(step, x, y).source()`), or a parameter's path, `model.fc1.weight`; a list of arrays is
    the shares of a gradient, which are added up. Or a function that is called with values of the
    forward pass by their names, `backward(x, y, h, W2)`, and returns such a dict: it is tried on
    other inputs and another number of samples, too.

    Each answer is judged against the truth and against what follows from the earlier answers, so
    that one slip is marked once; nothing follows from zeros and from what is not finite. An element
    may be off by 1e-5 (float32) or 1e-9 (float64) of what is added up in it. Axes of 1 may be there
    or not, but a column is no row. A wrong answer is explained by what reproduces it, to as much of
    its largest element: kinds in `teach.FAULTS`. All that fit are in `.faults`; where nothing fits
    the report says where and by how much it differs.

    Raises KeyError for a name that the step does not have, ValueError for what is no number, or
    no answer at all, TypeError for inputs that are no tuple and answers that are no dict.

    >>> import tinygrad_ce as tg
    >>> w = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> def step(x):
    ...     return (x * w).sum() ** 2
    >>> print(check(step, (tg.tensor([3.0, 1.0, 2.0]),), {"dw": [33.0, 11.0, 22.0]}))
    dw  ✗  2 times too small: a factor 2 is missing, or 1/2 is there twice
    """
    program = traced(step, inputs)
    if callable(answers):
        return of_function(program, step, inputs, answers)
    refuse_answers(answers)
    given = {name: numbers(name, answer) for name, answer in answers.items()}
    judge = Judge(program, list(given))
    given = {name: judge.added_up(name, x, answers[name]) for name, x in given.items()}
    verdicts, explained = judge.judge(given)
    return report(judge, verdicts, explained)


def traced(step: Callable[..., Any] | Program, inputs: Sequence[Any]) -> Program:
    """The program of a step with its backward pass."""
    if isinstance(step, Program):
        return step
    refuse_inputs(step, inputs)
    program = trace(step, *inputs)
    if not (program.gradient_of or program.grads):  # it calls no backward()
        program = trace(with_backward(step), *inputs)
    held = [x for x in inputs if getattr(x, "grad", None) is not None]
    held += [state.node.node for state in program.states if isinstance(state.node, GradOf)]
    if not held:
        return program
    left = [x.grad for x in held]  # by an earlier backward pass: no part of this one
    try:
        for x in held:
            x.grad = None
        return traced(step, inputs)
    finally:
        for x, grad in zip(held, left):
            x.grad = grad


def with_backward(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step and the backward pass of what it returns."""

    name = getattr(step, "__name__", type(step).__name__)

    @wraps(step)
    def whole(*inputs: Any) -> Any:
        loss = step(*inputs)
        if not hasattr(loss, "backward"):
            raise TypeError(f"{name} gave {loss!r:.60}; wanted a loss: does it end in return loss?")
        loss.backward()
        return loss

    return whole


def of_function(
    program: Program, step: Any, inputs: Sequence[Any], backward: Callable[..., Any]
) -> Report:
    """The same of a function: what it gives on each of several examples has to have one cause."""
    first, verdicts, explained = graded(program, backward)
    where: dict[str, str] = {}
    for others in other_inputs(inputs) if not isinstance(step, Program) else ():
        try:
            program = traced(step, others)
        except (ValueError, IndexError, RuntimeError):
            continue  # the step takes this number of samples alone
        judge, now, causes = graded(program, backward)
        for name, verdict in now.items():
            if verdict.verdict != "wrong":
                continue
            again = {key(x, judge.samples) for x in causes.get(name, ())}
            if verdicts[name].verdict == "wrong":
                fit = [x for x in explained.get(name, ()) if key(x, first.samples) in again]
                explained[name] = fit
            else:
                where[name] = f"on other inputs, {shapes_of(others)}: "
                verdicts[name], explained[name] = verdict, causes.get(name, [])
    found = report(first, verdicts, explained).verdicts
    return Report({k: replace(v, text=where.get(k, "") + v.text) for k, v in found.items()})


def shapes_of(inputs: Sequence[Any]) -> str:
    """What was tried: (7, 5) and (7,)."""
    return " and ".join(str(tuple(np.shape(x))) for x in inputs)


def graded(program: Program, backward: Callable[..., Any]) -> Any:
    """The function's answers on one example, judged."""
    values = Judge(program, []).forward()
    wanted = inspect.signature(backward).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in wanted):
        given = values
    else:
        missing = [p.name for p in wanted if p.name not in values and p.default is p.empty]
        if missing:
            raise KeyError(
                f"check: the function asks for {', '.join(missing)}; "
                f"the forward pass has {', '.join(values)}"
            )
        given = {p.name: values[p.name] for p in wanted if p.name in values}
    answers = backward(**{name: np.copy(value) for name, value in given.items()})
    refuse_answers(answers, getattr(backward, "__name__", "the function"))
    found = {name: numbers(name, answer) for name, answer in answers.items()}
    judge = Judge(program, list(found))
    found = {name: judge.added_up(name, x, answers[name]) for name, x in found.items()}
    return (judge, *judge.judge(found))


def other_inputs(inputs: Sequence[Any]) -> Iterator[list[Any]]:
    """Other examples of the same kind: elements drawn anew, then another number of samples."""
    stream = np.random.default_rng(0)
    arrays = [np.asarray(x.detach() if hasattr(x, "detach") else x) for x in inputs]
    if not all(x.size for x in arrays):
        return  # there is nothing to draw from
    samples = arrays[0].shape[0] if arrays and arrays[0].ndim else 0
    taken = {n for x in arrays for n in x.shape}
    more = next(n for n in range(samples + 1, samples + 99) if n not in taken)
    for count in (samples, more):
        new = []
        for given, x in zip(inputs, arrays):
            split = x.ndim and x.shape[0] == samples
            shape = (count, *x.shape[1:]) if split else x.shape
            drawn = stream.choice(x.ravel(), shape).astype(x.dtype) if x.ndim else x
            wanted = getattr(given, "requires_grad", False)
            is_tensor = isinstance(given, Tensor)
            new.append(tensor(drawn, requires_grad=wanted) if is_tensor else drawn)
        yield new


# --- what is said -------------------------------------------------------------------------------


def key(changes: tuple[Change, ...], samples: int) -> tuple[Any, ...]:
    """What is the same slip on another example."""
    return tuple(change.key(samples) for change in changes)


def report(judge: Judge, verdicts: dict[str, Verdict], explained: dict[str, Any]) -> Report:
    """The verdicts with the faults that explain them."""
    for name, found in explained.items():
        faults = tuple(
            Fault(
                " and ".join(c.kind for c in changes),
                first.text(changes[0].line.tree),
                "; and ".join(judge.told(changes, first)),
            )
            for changes in found
            for first in [judge.spelling(changes[0].line)]
        )
        if faults:
            verdicts[name] = replace(verdicts[name], text=faults[0].text, faults=faults)
    return Report({name: judge.with_what_it_is(x) for name, x in verdicts.items()})


def said(change: Change, samples: int, spelling: Spelling) -> str:
    """What was changed, in words; `samples` is how many the step takes the mean of."""
    words, line = change.said(spelling.text), change.line
    if change.kind == "scale" and words.startswith(f"{samples} times too large"):
        return (
            f"{samples} times too large: the 1/N of the mean over the {samples} samples is missing"
        )
    if change.kind.startswith("scale") and words[0].isdigit():
        of_samples = samples and words.endswith(f"stands where {samples} belongs")
        return f"{words}, the number of samples" if of_samples else words
    if any(isinstance(node, ast.For | ast.Expr) for node in line.tree.body):
        return f"in the lines that make {line.name}, {words}"
    stands, yours = spelling.text(line.tree), spelling.text(change.now.tree).partition(" = ")[2]
    alone = "\n" not in yours and len(yours) < len(stands) and not words.startswith("yours is")
    stands = stands.replace("\n", "; ")
    return f"{stands} belongs here; {f'yours uses {yours}: ' if alone else ''}{words}"


class Spelling(ast.NodeTransformer):
    """Trees as text in which what nobody has named stands as it is computed: 1 - h."""

    def __init__(self, short: Mapping[str, ast.expr]) -> None:
        self.short = short

    def beside(self, line: Line) -> Spelling:
        """The same where a line makes one of these: there it has its name."""
        return Spelling({name: x for name, x in self.short.items() if name != line.name})

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """A name, or what it stands for where it is read."""
        read = isinstance(node.ctx, ast.Load)
        return self.short.get(node.id, node) if read else node

    def text(self, x: ast.AST) -> str:
        """A tree as text."""
        return text(self.visit(deepcopy(x)))


# --- comparing ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """An answer, what is right, and how far two numbers may be apart that count as the same."""

    array: np.ndarray
    right: np.ndarray
    tolerance: float
    close: bool = False  # what is wrong are small elements beside large ones

    @cached_property
    def least(self) -> float:
        """How large numbers are that are rounding alone: where the answer is 0 but for that."""
        noise = self.tolerance * largest(self.right)
        return noise if 0 < largest(self.array) <= noise else 0.0

    def is_right(self, x: np.ndarray) -> bool:
        """Whether the right answer is this."""
        return agree(self.right, x, self.tolerance)

    def is_in(self, values: Values | None, name: str) -> bool:
        """Whether it is what came out under a name."""
        return (
            values is not None
            and agree(self.array, values[name], self.tolerance, self.least)
            and not (self.close and apart(self.array, values[name], self.tolerance).any())
        )

    def distance(self, x: Any) -> float:
        """How far it is off, as a share of the largest element."""
        off = np.abs(np.subtract(self.array, np.reshape(x, self.array.shape), dtype=float))
        return largest(off) / max(largest(self.array), UNDERFLOW)

    @cached_property
    def zeros(self) -> bool:
        """Whether it is nothing but zeros, where something else is right."""
        return bool(largest(self.right) and self.array.size) and not self.array.any()

    @cached_property
    def hollow(self) -> str:
        """What it is if it tells nothing: zeros, numbers that are not finite."""
        if np.isfinite(self.right).all() and not np.isfinite(self.array).all():
            return "not finite"
        return "all zeros" if self.zeros else ""

    @cached_property
    def digits(self) -> int:
        """To how many digits it is the right one, rounded; 0 where it is not."""
        a, b = fitted(self.array, self.right), self.right
        known = a.shape == b.shape and np.isfinite(a).all() and np.isfinite(b).all()
        if self.close or not known:
            return 0
        size = largest(b)
        least = 2 if a.size > 1 else 3  # one number is soon near to another
        for n in range(least, 8) if size and a.any() else ():
            places = n - 1 - math.floor(math.log10(size))
            if agree(a, np.round(b, places), self.tolerance):
                return n
        return 0

    @cached_property
    def by_chance(self) -> str:
        """What it is if many slips give it, so that none of them is to be named."""
        same = self.array.size > 1 and bool((self.array == self.array.flat[0]).all())
        if self.hollow or not same or np.ptp(self.right) <= self.tolerance * largest(self.right):
            return self.hollow
        return "all elements are the same"


def largest(x: np.ndarray) -> float:
    """The largest finite element."""
    return float(np.abs(x[np.isfinite(x)]).max(initial=0.0))


def alike(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two shapes are the same, or would be without axes of 1: no column is a row."""
    return a == b or (len(a) != len(b) and [n for n in a if n > 1] == [n for n in b if n > 1])


def fitted(a: Any, b: Any) -> np.ndarray:
    """An array in the shape of another, where only axes of 1 are different."""
    a, shape = np.asarray(a), np.shape(b)
    return a.reshape(shape) if a.shape != shape and alike(a.shape, shape) else a


def agree(a: Any, b: Any, tolerance: float, least: float = 0.0) -> bool:
    """Whether two arrays are `alike` and near to each other, as seen from the largest element."""
    b = np.asarray(b, float)
    a = fitted(np.asarray(a, float), b)
    if a.shape != b.shape:
        return False
    known = np.isfinite(a) & np.isfinite(b)
    if not known.all():
        if not np.array_equal(a[~known], b[~known], equal_nan=True):
            return False
        a, b = a[known], b[known]
    near = max(tolerance * max(np.abs(b).max(initial=0.0), UNDERFLOW), least)
    return bool(np.abs(a - b).max(initial=0.0) <= near)


def apart(a: Any, b: Any, tolerance: float, shaken: Sequence[Any] = ()) -> np.ndarray:
    """Which elements of two arrays are apart.

    shaken: b as it comes out where every number on the way is off by the tolerance. How far its
    elements are from b is what rounding can do to each.
    """
    b = np.asarray(b, float)
    a = fitted(np.asarray(a, float), b)
    most = tolerance * max(largest(b), UNDERFLOW)
    with np.errstate(all="ignore"):
        moved = [np.abs(np.reshape(x, b.shape) - b) for x in shaken]
        own = np.max([tolerance * np.abs(b), np.full(b.shape, UNDERFLOW), *moved], axis=0)
        near = (np.abs(a - b) <= np.fmin(own, most)) | (a == b)
    return ~(near | (np.isnan(a) & np.isnan(b)))


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
    said += f"yours {yours:.{digits}g}, right {right:.{digits}g}"
    with np.errstate(all="ignore"):
        ratio = np.asarray(a / b)
    for over, axes in (("all elements", None), ("each row", -1), ("each column", 0)):
        if answer.by_chance or (axes is not None and ratio.ndim != 2):
            continue
        with np.errstate(invalid="ignore"):  # inf, where 0 would be right
            spread = np.fmax.reduce(ratio, axis=axes) - np.fmin.reduce(ratio, axis=axes)
        if np.isfinite(spread).all() and (spread <= 1e-4 * np.abs(ratio).max()).all():
            value = f": {ratio.flat[0]:.5g}" if axes is None else ""
            return f"{said}; the ratio is the same over {over}{value}"
    return said


# --- judging ------------------------------------------------------------------------------------


LINEAR = ("add", "subtract", "negative", "multiply", "reshape", "broadcast_to", "sum", "divide")


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
            value = program.constants.get(others[0]) if others else None
            divided = divided or (value is not None and times_of(value, samples))
        if summed and divided:
            return True
        more = {(y, summed, divided) for y in step.operands} - known
        known |= more
        waiting += more
    return False


def times_of(value: Any, samples: int) -> bool:
    """Whether a number is a multiple of another."""
    return np.ndim(value) == 0 and value != 0 and float(value) % samples == 0


class Judge:
    """One traced example, and the answers to it."""

    def __init__(self, program: Program, names: list[str]) -> None:
        wanted = {
            gradient
            for gradient, sources in program.gradient_of.items()
            if any("d" + x.name in names for x in sources if x.name)
        }
        values = oracle(program, {x: wide(v) for x, v in program.example.items()})
        forward = [s.out for s in program.steps if s.out.name and s.scope[:1] != ("backward",)]
        self.named = {x.name: wide(values[x]) for x in forward}
        self.books = [Book(program, "formula", wanted), Book(program, "primitive")]
        self.truth: Values = {}
        book = self.books[0]
        for name in names:
            if (own := self.own_name(book, name)) is None:
                raise unknown(name, book)
            self.truth[name] = np.asarray(book.truth[own])
        places = {line.name: i for i, line in enumerate(book.lines)}
        self.names = sorted(names, key=lambda name: places.get(self.own_name(book, name) or "", -1))
        dtypes = {np.asarray(v).dtype for v in program.example.values()}
        self.samples = max([1, *(x.shape[0] for x in program.inputs[:1] if x.shape)])
        self.averaged = self.samples if is_mean(program, self.samples) else 0
        self.coarse = np.dtype(np.float32) in dtypes

    def own_name(self, book: Book, name: str) -> str | None:
        """What a book calls a value that the student calls `name`; None where it has no line."""
        own = book.named(name)
        if own is None or own not in book.truth:
            return None
        same = name not in self.truth or agree(book.truth[own], self.truth[name], COARSE)
        return own if same else None

    def added_up(self, name: str, array: np.ndarray, answer: Any) -> np.ndarray:
        """The sum of the shares of a gradient, where a list of them was given."""
        shares = isinstance(answer, (list, tuple)) and array.shape[1:] == self.truth[name].shape
        return array.sum(0) if shares and array.ndim > self.truth[name].ndim else array

    def forward(self) -> Values:
        """The values of the forward pass by their names."""
        book = self.books[0]
        made = {line.name: book.truth[line.name] for line in book.lines if not line.backward}
        return {**self.named, **book.given, **made}

    def spelling(self, line: Line) -> Spelling:
        """How the book of a line, and what is made otherwise in it, is put into words."""
        lines = next((x.lines for x in self.books if line.root in x.lines), [])  # of this example
        unnamed = {x.name: x for x in lines if x.own and not x.backward}
        return Spelling(
            {
                name: value
                for name, x in unnamed.items()
                for value in [getattr(x.tree.body[0], "value", None)]
                if UNNAMED.fullmatch(name) and value and len(x.tree.body) == 1
                if len(text(value)) <= SHORT and not x.reads & unnamed.keys()
            }
        ).beside(line)

    def no_gradient(self, name: str) -> str:
        """What is said to a name that the step gave to a value."""
        book = self.books[0]
        if name in book.gradients or name not in {**self.named, **book.given}:
            return ""
        own = f"d{name}"
        return f"{name} is a value" + (f"; call its gradient {own}" if book.named(own) else "")

    def with_what_it_is(self, verdict: Verdict) -> Verdict:
        """A verdict; of a name that nobody has given, it tells what it is the gradient of."""
        line = self.books[0].makers.get(verdict.name[1:])
        unnamed = verdict.name.startswith("d") and line and line.own and not line.backward
        if not (unnamed and line) or verdict.verdict != "wrong" or len(line.text) > PLAIN:
            return verdict
        of = line.text.partition(" = ")[2]
        return replace(verdict, text=f"{verdict.text}; {verdict.name} here is the gradient of {of}")

    @cached_property
    def strange(self) -> dict[str, ast.expr | None]:
        """What the names of single steps stand for that neither a user nor a listing has.

        None where that is too long to be told.
        """
        formulas, steps = self.books
        found: dict[str, ast.expr | None] = {}
        own = {f"d{x}" for x in (*self.named, *formulas.given)}
        known = {*own, *formulas.gradients, *formulas.makers}
        for line in steps.lines:
            name = line.name
            same = name in formulas.truth and agree(formulas.truth[name], steps.truth[name], COARSE)
            if same or not line.own or (name in own and steps.gradients.get(name) == name):
                continue
            called = sorted(
                (x for x, g in steps.gradients.items() if g == name and x in known), key=len
            )
            value = getattr(line.tree.body[0], "value", None) if len(line.tree.body) == 1 else None
            made = ast.Name(called[0], ast.Load()) if called else value and put(value, found)
            found[name] = made if made and len(ast.unparse(made)) <= PLAIN else None
        return found

    def is_strange(self, change: Change) -> bool:
        """Whether a change is told with such names."""
        if change.line.root not in self.books[1].lines:
            return False
        trees = [change.line.tree, change.now.tree, *change.parts]
        names = [names_in(x) if isinstance(x, ast.AST) else {str(x)} for x in trees]
        scale = change.kind.startswith("scale") and change.said(text)[0].isdigit()
        return not scale and bool(set().union(*names) & self.strange.keys())

    def plain(self, change: Change) -> str:
        """Such a change in words without them; nothing where these would be too long."""
        if not self.is_strange(change):
            return ""
        names = [ast.Name(x, ast.Load()) if x in self.strange else x for x in change.parts]
        parts = [put(x, self.strange) if isinstance(x, ast.expr) else x for x in names]
        made = self.strange.get(change.line.name, ast.Name(change.line.name, ast.Load()))
        if any(x is None for x in parts) or (made is None and not parts):
            return ""
        words = change.template.format(*(text(x) if isinstance(x, ast.AST) else x for x in parts))
        return f"in {text(made)}, {words}" if made else words

    def told(self, changes: tuple[Change, ...], spelling: Spelling) -> list[str]:
        """What is said of each; of two in one line the line is shown once, as it is with both."""
        first, *rest = changes
        within = bool(rest) and rest[0].line is first.now
        if within:
            words = first.template, *first.parts
            first = Change(first.line, rest[0].now.tree, first.place, first.kind, *words)
        texts = [
            self.plain(c) or said(c, self.averaged, spelling.beside(c.line)) for c in (first, *rest)
        ]
        if within and not rest[0].kind.startswith("scale") and not self.is_strange(rest[0]):
            texts[1] = rest[0].said(spelling.text)
        return texts

    def can_be_told(self, slip: tuple[Change, ...]) -> bool:
        """Whether all of it can be said in words."""
        return all(not self.is_strange(change) or self.plain(change) for change in slip)

    def answer(self, name: str, array: np.ndarray) -> Answer:
        """What the student gave, and how near to it is near enough."""
        fine = not self.coarse and array.dtype == np.float64
        return Answer(array, self.truth[name], FINE if fine else COARSE)

    def judge(
        self, answers: Mapping[str, np.ndarray], asked: Collection[str] | None = None
    ) -> tuple[dict[str, Verdict], dict[str, list[tuple[Change, ...]]]]:
        """The verdicts, and for each wrong answer the changes that give it: of those `asked`."""
        self.budget = Budget(SINGLES)
        verdicts: dict[str, Verdict] = {}
        explained: dict[str, list[tuple[Change, ...]]] = {}
        zeros: dict[str, str] = {}  # answers that are nothing but zeros, and what is said of them
        empty: set[str] = set()  # those that tell nothing, as nothing that is known gives them
        for name in (name for name in self.names if name in answers):
            answer, expected = self.answer(name, answers[name]), self.truth[name]
            if said := self.no_gradient(name):
                verdicts[name] = Verdict(name, "wrong", said, expected)
                empty.add(name)
                continue
            shaken: list[Any] = []
            if agree(answer.array, expected, answer.tolerance):
                if apart(answer.array, expected, answer.tolerance).any():
                    for book, own in self.lines_of(name):
                        shaken += shaken_runs(book, own, book.slice(own), book.truth, answer)
                if not apart(answer.array, expected, answer.tolerance, shaken).any():
                    verdicts[name] = Verdict(name, "right", right(answer), expected)
                    continue
                answer = replace(answer, close=True)
            told = {x: answers[x] for x in verdicts if x not in empty}
            off = {other for other in told if verdicts[other].verdict != "right"}
            said, finite = gap(answer, shaken), answer.hollow != "not finite"
            if answer.zeros:
                zeros[name] = said
            if follows := finite and self.follows(name, answer, answers, off, explained):
                verdicts[name] = Verdict(name, "follows", follows, expected)
                continue
            ones = bool(answer.by_chance) and abs(np.ravel(answer.array)[0]) == 1
            wanted = asked is None or name in asked
            tells = not answer.hollow and not ones and not answer.digits
            if answer.zeros or (wanted and tells):
                explained[name] = self.explain(name, answer, told, off)
            if answer.hollow and not explained.get(name):
                empty.add(name)
            verdicts[name] = Verdict(name, "wrong", said, expected)
        earned = [x for x in verdicts if verdicts[x].verdict != "wrong" and np.any(answers[x])]
        if zeros and (empty & zeros.keys() or not earned):  # a sheet that was not filled in
            for name in empty and zeros:
                explained.pop(name, None)
            verdicts |= {x: Verdict(x, "wrong", zeros[x], self.truth[x]) for x in zeros}
        return verdicts, explained

    def follows(
        self,
        name: str,
        answer: Answer,
        answers: Mapping[str, np.ndarray],
        off: set[str],
        explained: dict[str, list[tuple[Change, ...]]],
    ) -> str:
        """What an answer follows from: earlier answers, or the slip that was found in another."""
        for book, own in self.lines_of(name):
            lines = book.slice(own, self.own_names(book, off))
            read = set().union(*(line.reads for line in lines))
            used = [x for x in self.names if x in off and self.own_name(book, x) in read]
            base = self.base(book, {x: answers[x] for x in off})
            if used and follows_from(answer, book, own, lines, base):
                return f"follows from your {' and '.join(used)}"
            for other, found in explained.items():
                fit = [
                    slip
                    for slip in found[:SLIPS]
                    if answer.is_in(after(slip, book, lines, base), own)
                ]
                if fit:
                    explained[other] = fit  # what gives both answers
                    return f"follows from the slip in {other}"
        return ""

    def lines_of(self, name: str, books: Sequence[Book] = ()) -> list[tuple[Book, str]]:
        """The books in which an answer has lines, and its name there."""
        own = [(book, self.own_name(book, name)) for book in books or self.books]
        return [(book, x) for book, x in own if x and book.slice(x)]

    def own_names(self, book: Book, names: Any) -> set[str]:
        """What a book calls these."""
        return {own for name in names if (own := self.own_name(book, name))}

    def base(self, book: Book, answers: Mapping[str, np.ndarray]) -> Values:
        """The values of a book, with the student's own in place of the right ones."""
        base = dict(book.truth)
        for name, value in answers.items():
            if own := self.own_name(book, name):
                base[own] = fitted(np.asarray(value, float), book.truth[own])
        return base

    @cached_property
    def respelled(self) -> list[Book]:
        """The books, the formulas with other ways of writing their lines."""
        respell(self.books[0])
        return self.books

    # --- what explains a wrong answer -----------------------------------------------------------

    def explain(
        self, name: str, answer: Answer, earlier: dict[str, np.ndarray], off: set[str]
    ) -> list[tuple[Change, ...]]:
        """The changes that give the answer: of one place, or of two where none of one does."""
        hunts = [
            Hunt(book, own, cut, self.base(book, answers), answer, self.samples, self.budget)
            for answers in (earlier, {})[: 1 + bool(off)]
            for book, own in self.lines_of(name, self.respelled)
            for cut in [self.own_names(book, earlier)]
        ]
        near: list[tuple[float, Change]] = []
        least = 1.0  # an input has no line that could be another
        sure = answer.tolerance / 20  # what is met by chance is not as near
        for hunt in hunts:
            near += hunt.fitting()
            if (least := min((off for off, _ in near), default=1.0)) <= sure:
                break
        most = max(10 * least, sure)
        fits = sorted((change for off, change in near if off <= most), key=self.rank)
        told: list[tuple[Change, ...]]
        told = [(change,) for change in fits if not self.is_strange(change)]
        left: list[tuple[Change, ...]] = [
            (x,) for x in fits if self.is_strange(x) and self.plain(x)
        ]
        if told or answer.by_chance:  # of which other slips soon give the same
            return told + left
        found = self.less_simple(name, answer, earlier, hunts)
        strange = any(self.is_strange(change) for change in chain(*found))
        return left + found if strange else found + left

    def rank(self, change: Change) -> int:
        """What says least comes last, and a factor after what has put it there."""
        if change.kind in VAGUE:
            return 3
        if change.kind in ("mean for sum", "sum for mean"):
            return 0
        n = change.parts[-1] if change.parts else 2
        instead = change.template == INSTEAD and n == self.samples
        known = n in {self.averaged, *self.divisors} and change.template != INSTEAD
        return 1 if change.kind != "scale" or instead or known else 2

    @cached_property
    def divisors(self) -> set[int]:
        """By what the formulas divide, and 2."""
        text = "\n".join(line.text for line in self.books[0].lines)
        return {2, *map(int, re.findall(r"/ (\d+)\b", text))}

    def less_simple(
        self, name: str, answer: Answer, earlier: dict[str, np.ndarray], hunts: list[Hunt]
    ) -> list[tuple[Change, ...]]:
        """What no one change explains: another value, other axes, two factors, two changes."""
        if answer.array.size > 1 and alike(answer.array.shape, answer.right.shape):
            slopes = self.books[0].slopes
            values = {x: v for x, v in self.forward().items() if x not in slopes}
            for hunt in hunts:
                if found := hunt.values(values):
                    return found
        for look in (Hunt.reductions, Hunt.scales):
            for hunt in hunts:
                if found := [x for x in look(hunt) if self.can_be_told(x)]:
                    return found
        if answer.array.size < 2:
            return []
        if earlier:  # an earlier answer that was worked out anew, and otherwise
            budget = Budget(min(ANEW, self.budget.left))
            for book, own in self.lines_of(name, self.books[:1]):
                hunt = Hunt(book, own, set(), book.truth, answer, self.samples, budget)
                if anew := sorted((x for _, x in hunt.fitting()), key=self.rank):
                    return [(change,) for change in anew]
        strange: list[tuple[Change, ...]] = []
        for hunt in hunts:
            for slip in hunt.pairs(PAIRS // len(hunts)):
                if not any(map(self.is_strange, slip)):
                    return [slip]
                if not strange and self.can_be_told(slip):
                    strange = [slip]
        return strange


def put(tree: ast.expr, found: Mapping[str, ast.expr | None]) -> ast.expr | None:
    """A formula with others in the place of names; None where one of them has none."""
    if any(found.get(name, tree) is None for name in names_in(tree)):
        return None
    return Put(found).visit(deepcopy(tree))


class Put(ast.NodeTransformer):
    """Formulas for names."""

    def __init__(self, found: Mapping[str, ast.expr | None]) -> None:
        self.found = found

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The formula of a name."""
        return self.found.get(node.id) or node


def right(answer: Answer) -> str:
    """What is said of an answer that is right."""
    yours, wanted = answer.array.shape, answer.right.shape
    return "right" if yours == wanted else f"right, but for its shape: {yours}, PyTorch's {wanted}"


def follows_from(answer: Answer, book: Book, own: str, lines: list[Line], base: Values) -> bool:
    """Whether an answer is what the lines make of the student's own values."""
    values = book.attempt(base, lines)
    if values is None or not answer.is_in(values, own):
        return False
    if answer.least or not apart(answer.array, values[own], answer.tolerance).any():
        return True
    shaken = shaken_runs(book, own, lines, base, answer)
    return not apart(answer.array, values[own], answer.tolerance, shaken).any()


def shaken_runs(book: Book, own: str, lines: list[Line], base: Values, answer: Answer) -> list[Any]:
    """What comes out of the lines where every number on the way is off by the tolerance."""
    found = []
    stream = np.random.default_rng(0)
    for _ in range(SHAKEN):
        values = {x: shake(v, answer.tolerance, stream) for x, v in base.items()}
        for line in lines:
            values = book.run(values, [line])
            values[line.name] = shake(values[line.name], answer.tolerance, stream)
        found.append(values[own])
    return found


def shake(value: Any, tolerance: float, stream: np.random.Generator) -> Any:
    """A value whose elements are off by the tolerance; labels and masks are as they are."""
    off = 1 + tolerance * stream.standard_normal(np.shape(value))
    return value * off if np.asarray(value).dtype.kind == "f" else value


def draw(value: Any, stream: np.random.Generator) -> Any:
    """Another value of that shape; labels and masks are as they are."""
    floats = np.asarray(value).dtype.kind == "f"
    return stream.standard_normal(np.shape(value)) if floats else value


def after(slip: tuple[Change, ...], book: Book, lines: list[Line], base: Values) -> Values | None:
    """What lines give that have a slip; None where it is not in them."""
    now = {change.line.root: change.now for change in slip}
    again = [now.get(line, line) for line in lines]
    return book.attempt(base, again) if again != lines else None


def of_all(line: Line, times: Fraction) -> Change:
    """What a line makes, that many times."""
    after = ast.parse(f"{line.name} = {line.name} * ({times})").body
    large = abs(times) > 1
    words = f"{abs(times) if large else 1 / abs(times)} times too {'large' if large else 'small'}"
    kind, sign = "scale", ""
    if times < 0:
        kind, sign = "scale and sign", ", and the sign is the other way round"
    return Change(line, ast.Module([*line.tree.body, *after], []), -1, kind, "{}", words + sign)


class Budget:
    """How many lines may still be run."""

    def __init__(self, lines: int) -> None:
        self.left = lines

    def spend(self, lines: list[Line]) -> bool:
        """Whether these may be run."""
        self.left -= sum(line.cost for line in lines)
        return self.left > 0


class Hunt:
    """The search for what was written otherwise, between given values and one answer."""

    def __init__(
        self,
        book: Book,
        name: str,
        cut: set[str],
        base: Values,
        answer: Answer,
        samples: int,
        budget: Budget,
    ) -> None:
        self.book, self.answer, self.base, self.samples = book, answer, base, samples
        self.budget = budget
        self.lines = book.slice(name, cut)
        self.readable: dict[str, Values] = {}
        self.starts = [base]  # the values before each line
        for line in self.lines:
            after = book.attempt(self.starts[-1], [line])
            if after is None:  # an earlier answer has a shape with which nothing can go on
                self.lines = []
                return
            self.starts.append(after)
        self.gradients = book.slopes
        shapes = [np.shape(v) for v in base.values() if hasattr(v, "shape")]
        self.sizes = {n for shape in shapes for n in (*shape, int(np.prod(shape))) if n > 2}

    def changes_of(self, line: Line, sizes: Iterable[int]) -> list[Change]:
        """Every slip in a line."""
        return [
            change
            for way in (line, *line.others)
            for change in changes(way, self.before(line.name), self.gradients, sorted(sizes))
        ]

    def before(self, name: str) -> Values:
        """What may be read where a value is made: what does not rest on it. And the value."""
        if name not in self.readable:
            resting = {name}
            for line in self.book.lines:
                if line.reads & resting:
                    resting.add(line.name)
            rest = resting - {name}
            self.readable[name] = {x: v for x, v in self.base.items() if x not in rest}
        return self.readable[name]

    def hits(self, lines: list[Line], values: Values) -> bool:
        """Whether the answer is what comes out."""
        return self.answer.is_in(self.book.attempt(values, lines), self.lines[-1].name)

    def fitting(self) -> Iterator[tuple[float, Change]]:
        """The changes of one place that give the answer, the last lines first; how far off each."""
        for i in reversed(range(len(self.lines))):
            for change in self.changes_of(self.lines[i], self.sizes):
                lines = [change.now, *self.lines[i + 1 :]]
                if not self.budget.spend(lines):
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

    def values(self, forward: Values) -> list[tuple[Change, ...]]:
        """The answer as a value of the forward pass that is no gradient."""
        words = "{} is a value, not a gradient"
        names = [x for x in forward if x not in self.gradients and self.answer.is_in(forward, x)]
        return [
            (Change(line, ast.parse(f"{line.name} = {x}"), -1, "value for gradient", words, x),)
            for line in self.lines[-1:]
            for x in names[:1]
        ]

    def reductions(self) -> list[tuple[Change, ...]]:
        """The answer as a sum, or a mean, over other axes of a gradient that is summed."""
        found: list[tuple[Change, ...]] = []
        for line in self.lines[-1:]:
            for name in sorted(self.gradients & self.base.keys() - {line.name}):
                g = np.asarray(self.base[name])
                axes = [s for n in range(g.ndim + 1) for s in combinations(range(g.ndim), n)]
                if not any(self.answer.is_right(g.sum(over)) for over in axes[1:]):
                    continue
                forms = [("missing sum", "", "the sum of {} is missing", "")]
                for over in axes[1:]:
                    axis = str(over[0] if len(over) == 1 else over)
                    which = f"{'axis' if len(over) == 1 else 'axes'} {axis}"
                    within = "" if len(over) == g.ndim else f"axis={axis}"
                    forms.append(("wrong axis", f".sum({within})", "{} is summed over {}", which))
                    said = "a mean of {} over {} stands there"
                    forms.append(("mean for sum", f".mean({within})", said, which))
                slips = [
                    Change(
                        line, ast.parse(f"{line.name} = {name}{form}"), -1, kind, words, name, of
                    )
                    for kind, form, words, of in forms
                ]
                found += [(slip,) for slip in slips if self.hits([slip.now], self.base)]
        return found

    def scales(self) -> list[tuple[Change, ...]]:
        """The answer as the right one times two sizes, or their inverses; with either sign."""
        if self.answer.array.size < 2 or not self.lines:
            return []
        name = self.lines[-1].name
        made = np.asarray(self.starts[-1][name])
        of = [n for size in sorted({2, *self.sizes}) for n in (Fraction(size), Fraction(1, size))]
        times = {sign * a * b for a in of for b in of for sign in (1, -1)} - {1, -1}
        fits = [x for x in sorted(times) if self.answer.is_in({name: float(x) * made}, name)]
        changes = [of_all(line, x) for x in fits[:1] for line in self.lines if line.backward]
        return [
            (change,)
            for change in changes
            for i in [self.lines.index(change.line)]
            if self.hits([change.now, *self.lines[i + 1 :]], self.starts[i])
        ]

    def pairs(self, effort: int) -> Iterator[tuple[Change, ...]]:
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
