"""teach.check: each gradient that was worked out by hand is judged, and what is wrong is named.

An answer is right, or it follows from the student's own earlier answers, or it is wrong. For a
wrong one the lines that lead to it are written otherwise, one place at a time and then two, until
they give the very numbers of the answer (hunt.py): what is said (wording.py) has been reproduced.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from tinygrad_ce.creation import tensor
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.program.ir import Program
from tinygrad_ce.teach.answers import numbers, refuse_answers, traced, unknown
from tinygrad_ce.teach.book import Book, Books, Line, Values
from tinygrad_ce.teach.faults import Change
from tinygrad_ce.teach.hunt import Budget, Hunt, Slip, after
from tinygrad_ce.teach.near import COARSE, FINE, Answer, agree, alike, apart, fitted
from tinygrad_ce.teach.spellings import respell
from tinygrad_ce.teach.wording import Words, gap, right

SHAKEN = 4  # runs of a book in which every number is off by as much as may be
SINGLES = 80_000  # lines that are run at most in search of one change, for all answers together
SLIPS = 60  # causes of one answer that are tried on the others
ANEW = 4_000  # the same in search of what an earlier answer would have been
PAIRS = 12_000  # the same of two changes, for one answer


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


Verdicts = dict[str, Verdict]
Causes = dict[str, list[Slip]]  # what gives each wrong answer, the likeliest first


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
    return report(*judged(program, answers))


def judged(program: Program, answers: Mapping[str, Any]) -> tuple[Judge, Verdicts, Causes]:
    """The judge of an example, and what it makes of the answers."""
    given = {name: numbers(name, answer) for name, answer in answers.items()}
    judge = Judge(program, list(given))
    given = {name: judge.added_up(name, x, answers[name]) for name, x in given.items()}
    return (judge, *judge.judge(given))


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
            again = {key(x, judge.books.samples) for x in causes.get(name, ())}
            if verdicts[name].verdict == "wrong":
                fit = [x for x in explained.get(name, ()) if key(x, first.books.samples) in again]
                explained[name] = fit
            else:
                tried = " and ".join(str(tuple(np.shape(x))) for x in others)
                where[name] = f"on other inputs, {tried}: "
                verdicts[name], explained[name] = verdict, causes.get(name, [])
    found = report(first, verdicts, explained).verdicts
    return Report({k: replace(v, text=where.get(k, "") + v.text) for k, v in found.items()})


def graded(program: Program, backward: Callable[..., Any]) -> tuple[Judge, Verdicts, Causes]:
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
    return judged(program, answers)


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


def key(slip: Slip, samples: int) -> tuple[Any, ...]:
    """What is the same slip on another example."""
    return tuple(change.key(samples) for change in slip)


def report(judge: Judge, verdicts: Verdicts, explained: Causes) -> Report:
    """The verdicts with the faults that explain them, in words."""
    words, said = judge.words, {}
    for name, verdict in verdicts.items():
        faults = tuple(
            Fault(
                " and ".join(c.kind for c in slip),
                words.spelled(slip[0].line)(slip[0].line.tree),
                words.told(slip),
            )
            for slip in explained.get(name, ())
        )
        text = faults[0].text if faults else verdict.text
        more = words.what_it_is(name) if verdict.verdict == "wrong" else ""
        said[name] = replace(verdict, text=text + more, faults=faults)
    return Report(said)


# --- judging ------------------------------------------------------------------------------------


class Judge:
    """One traced example, and what is right in it."""

    def __init__(self, program: Program, names: list[str]) -> None:
        wanted = {
            gradient
            for gradient, sources in program.gradient_of.items()
            if any("d" + x.name in names for x in sources if x.name)
        }
        self.books = Books(program, wanted)
        self.truth: Values = {}
        book = self.books.formula
        for name in names:
            if (own := self.own_name(book, name)) is None:
                raise unknown(name, book)
            self.truth[name] = np.asarray(book.truth[own])
        places = {line.name: i for i, line in enumerate(book.lines)}
        self.names = sorted(names, key=lambda name: places.get(self.own_name(book, name) or "", -1))
        self.words = Words(self.books)

    def own_name(self, book: Book, name: str) -> str | None:
        """What a book calls a value that the student calls `name`; None where it has no line."""
        own = book.named(name)
        if own is None or own not in book.truth:
            return None
        same = name not in self.truth or agree(book.truth[own], self.truth[name], COARSE)
        return own if same else None

    def own_names(self, book: Book, names: Iterable[str]) -> set[str]:
        """What a book calls these."""
        return {own for name in names if (own := self.own_name(book, name))}

    def added_up(self, name: str, array: np.ndarray, answer: Any) -> np.ndarray:
        """The sum of the shares of a gradient, where a list of them was given."""
        shares = isinstance(answer, (list, tuple)) and array.shape[1:] == self.truth[name].shape
        return array.sum(0) if shares and array.ndim > self.truth[name].ndim else array

    def forward(self) -> Values:
        """The values of the forward pass by their names."""
        book = self.books.formula
        made = {line.name: book.truth[line.name] for line in book.lines if not line.backward}
        return {**self.books.named, **book.given, **made}

    def answer(self, name: str, array: np.ndarray) -> Answer:
        """What the student gave, and how near to it is near enough."""
        fine = not self.books.coarse and array.dtype == np.float64
        return Answer(array, self.truth[name], FINE if fine else COARSE)

    def lines_of(self, name: str, books: Iterable[Book]) -> list[tuple[Book, str]]:
        """The books in which an answer has lines, and its name there."""
        own = [(book, self.own_name(book, name)) for book in books]
        return [(book, x) for book, x in own if x and book.slice(x)]

    def base(self, book: Book, answers: Mapping[str, np.ndarray]) -> Values:
        """The values of a book, with the student's own in place of the right ones."""
        base = dict(book.truth)
        for name, value in answers.items():
            if own := self.own_name(book, name):
                base[own] = fitted(np.asarray(value, float), book.truth[own])
        return base

    @cached_property
    def respelled(self) -> Books:
        """The books, the formulas with other ways of writing their lines."""
        respell(self.books.formula)
        return self.books

    def judge(
        self, answers: Mapping[str, np.ndarray], asked: Collection[str] | None = None
    ) -> tuple[Verdicts, Causes]:
        """The verdicts, and for each wrong answer the changes that give it: of those `asked`."""
        return Sheet(self, answers, answers if asked is None else asked).judged()


class Sheet:
    """Answers that are judged, one after the other, each with what is known of those before it."""

    def __init__(
        self, judge: Judge, answers: Mapping[str, np.ndarray], asked: Collection[str]
    ) -> None:
        self.judge, self.answers, self.asked = judge, answers, asked
        self.budget = Budget(SINGLES)
        self.verdicts: Verdicts = {}
        self.explained: Causes = {}
        self.zeros: dict[str, str] = {}  # answers that are zeros alone, and what is said of them
        self.empty: set[str] = set()  # those that tell nothing, as nothing that is known gives them

    def judged(self) -> tuple[Verdicts, Causes]:
        """The verdicts, and what explains them."""
        verdicts, truth = self.verdicts, self.judge.truth
        for name in (name for name in self.judge.names if name in self.answers):
            verdict, said = self.verdict(name)
            verdicts[name] = Verdict(name, verdict, said, truth[name])
        earned = [x for x in verdicts if verdicts[x].verdict != "wrong" and np.any(self.answers[x])]
        if self.zeros and (self.empty & self.zeros.keys() or not earned):  # it was not filled in
            for name in self.empty and self.zeros:
                self.explained.pop(name, None)
            verdicts |= {x: Verdict(x, "wrong", said, truth[x]) for x, said in self.zeros.items()}
        return verdicts, self.explained

    def verdict(self, name: str) -> tuple[str, str]:
        """The verdict on the next answer, and what is said of it."""
        answer = self.judge.answer(name, self.answers[name])
        if said := self.judge.words.no_gradient(name):
            self.empty.add(name)
            return "wrong", said
        shaken: list[Any] = []
        if agree(answer.array, answer.right, answer.tolerance):
            if apart(answer.array, answer.right, answer.tolerance).any():
                for book, own in self.judge.lines_of(name, self.judge.books):
                    shaken += shaken_runs(book, own, book.slice(own), book.truth, answer)
            if not apart(answer.array, answer.right, answer.tolerance, shaken).any():
                return "right", right(answer)
            answer = replace(answer, close=True)
        said = gap(answer, shaken)
        if answer.zeros:
            self.zeros[name] = said
        earlier = {x: self.answers[x] for x in self.verdicts if x not in self.empty}
        off = {other for other in earlier if self.verdicts[other].verdict != "right"}
        if answer.hollow != "not finite" and (follows := self.follows(name, answer, off)):
            return "follows", follows
        ones = bool(answer.by_chance) and abs(np.ravel(answer.array)[0]) == 1
        tells = not answer.hollow and not ones and not answer.digits
        if answer.zeros or (name in self.asked and tells):
            self.explained[name] = self.explain(name, answer, earlier, off)
        if answer.hollow and not self.explained.get(name):
            self.empty.add(name)
        return "wrong", said

    def follows(self, name: str, answer: Answer, off: set[str]) -> str:
        """What an answer follows from: earlier answers, or the slip that was found in another."""
        judge = self.judge
        for book, own in judge.lines_of(name, judge.books):
            lines = book.slice(own, judge.own_names(book, off))
            read = set().union(*(line.reads for line in lines))
            used = [x for x in judge.names if x in off and judge.own_name(book, x) in read]
            base = judge.base(book, {x: self.answers[x] for x in off})
            if used and follows_from(answer, book, own, lines, base):
                return f"follows from your {' and '.join(used)}"
            for other, found in self.explained.items():
                tried = [(slip, after(slip, book, lines, base)) for slip in found[:SLIPS]]
                if fit := [slip for slip, values in tried if answer.is_in(values, own)]:
                    self.explained[other] = fit  # what gives both answers
                    return f"follows from the slip in {other}"
        return ""

    # --- what explains a wrong answer -----------------------------------------------------------

    def explain(
        self, name: str, answer: Answer, earlier: dict[str, np.ndarray], off: set[str]
    ) -> list[Slip]:
        """The changes that give the answer: of one place, or of two where none of one does."""
        judge, words = self.judge, self.judge.words
        hunts = [
            Hunt(book, own, cut, judge.base(book, answers), answer, judge.books.samples)
            for answers in (earlier, {})[: 1 + bool(off)]
            for book, own in judge.lines_of(name, judge.respelled)
            for cut in [judge.own_names(book, earlier)]
        ]
        near: list[tuple[float, Change]] = []
        least = 1.0  # an input has no line that could be another
        sure = answer.tolerance / 20  # what is met by chance is not as near
        for hunt in hunts:
            near += hunt.fitting(self.budget)
            if (least := min((off for off, _ in near), default=1.0)) <= sure:
                break
        most = max(10 * least, sure)
        fits = sorted((change for off, change in near if off <= most), key=words.rank)
        told: list[Slip] = [(x,) for x in fits if not words.is_strange(x)]
        left: list[Slip] = [(x,) for x in fits if words.is_strange(x) and words.plain(x)]
        if told or answer.by_chance:  # of which other slips soon give the same
            return told + left
        found = self.less_simple(name, answer, earlier, hunts)
        strange = any(map(words.is_strange, chain(*found)))
        return left + found if strange else found + left

    def less_simple(
        self, name: str, answer: Answer, earlier: dict[str, np.ndarray], hunts: list[Hunt]
    ) -> list[Slip]:
        """What no one change explains: another value, other axes, two factors, two changes."""
        judge, words = self.judge, self.judge.words
        if answer.array.size > 1 and alike(answer.array.shape, answer.right.shape):
            slopes = judge.books.formula.slopes
            values = {x: v for x, v in judge.forward().items() if x not in slopes}
            for hunt in hunts:
                if found := hunt.values(values):
                    return found
        for look in (Hunt.reductions, Hunt.scales):
            for hunt in hunts:
                if found := list(filter(words.can_be_told, look(hunt))):
                    return found
        if answer.array.size < 2:
            return []
        if earlier:  # an earlier answer that was worked out anew, and otherwise
            budget = Budget(min(ANEW, self.budget.left))
            for book, own in judge.lines_of(name, [judge.books.formula]):
                hunt = Hunt(book, own, set(), book.truth, answer, judge.books.samples)
                if anew := sorted((x for _, x in hunt.fitting(budget)), key=words.rank):
                    return [(change,) for change in anew]
        strange: list[Slip] = []
        for hunt in hunts:
            for slip in hunt.pairs(PAIRS // len(hunts)):
                if not any(map(words.is_strange, slip)):
                    return [slip]
                if not strange and words.can_be_told(slip):
                    strange = [slip]
        return strange


# --- what rounding does -------------------------------------------------------------------------


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
