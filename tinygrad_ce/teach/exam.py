"""What stands behind the cells of an exercise: its numbers, the check of answers, hints."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_ce.teach.answers import numbers
from tinygrad_ce.teach.grader import Judge, report
from tinygrad_ce.teach.questions import BLANK, Question, book_of, questions_of
from tinygrad_ce.teach.sealed import opened


class Blank:
    """What is still to be written: whatever is computed with it is blank again.

    >>> np.ones(3) * blank
    blank
    """

    def _again(self, *args: Any, **kwargs: Any) -> Blank:
        return self

    __call__ = __getitem__ = __neg__ = __array_ufunc__ = __array_function__ = _again
    __add__ = __sub__ = __mul__ = __matmul__ = __truediv__ = __pow__ = _again
    __radd__ = __rsub__ = __rmul__ = __rmatmul__ = __rtruediv__ = __rpow__ = _again

    __lt__ = __le__ = __gt__ = __ge__ = __mod__ = __floordiv__ = __abs__ = __invert__ = _again
    __setitem__ = _again

    def __iter__(self) -> Iterator[Blank]:
        return iter((self,))

    def __getattr__(self, name: str) -> Blank:
        if name.startswith("_"):
            raise AttributeError(name)
        return self

    def __repr__(self) -> str:
        return BLANK


blank = Blank()


class Exam:
    """The step of an exercise: `exam["x"]` is a number of it, `exam.check(dh=dh)` judges.

    sealed: the text that `teach.exercise` has put into the notebook. hints: how many hints there
    are for a question, 0 for none: its shape, the rule, the factor, the line.
    """

    def __init__(self, sealed: str, hints: int = 4) -> None:
        self.program = opened(sealed)
        book = book_of(self.program)
        self.values = dict(book.given)
        self.questions: dict[str, Question] = {q.name: q for q in questions_of(book)}
        self.judge = Judge(self.program, list(self.questions))
        self.answers: dict[str, np.ndarray] = {}
        self.left: list[str] = []  # answers that stood at ... when they were looked at
        self.most = hints
        self.hinted: dict[str, int] = {}

    def __getitem__(self, name: str) -> Any:
        return np.copy(self.values[name])

    def check(self, **answers: Any) -> int | None:
        """Judge answers, each also by what follows from those before, and say what is wrong.

        None where all are right or follow from earlier ones, else how many are; where none is, the
        words go to the error stream: graders of notebooks take both as points. A variable of the
        notebook that was left at ... is `blank` from here on, so that the cells below run.
        """
        space = sys._getframe(1).f_globals
        for name, answer in answers.items():
            self.question(name)
            if answer is ... and space.get(name) is ...:
                space[name] = blank
        left = {x for x in self.left if answers.get(x, blank) is blank}  # no longer: is written
        left |= {x for x, answer in answers.items() if answer is ...}
        self.left = [x for x in self.questions if x in left]
        lines, right = [], 0
        given = {name: x for name, x in answers.items() if x is not ... and x is not blank}
        for name in given:
            try:
                self.answers[name] = numbers(name, given[name])
            except ValueError as error:
                lines.append(f"{name}  ✗  {str(error).removeprefix('check: ')}")
                self.answers.pop(name, None)
        verdicts = report(self.judge, *self.judge.judge(self.answers, set(answers)))
        for name in answers:
            if name not in given:
                lines.append(f"{name}  …  {self.missing(name)}")
            elif name in self.answers:
                wrong = verdicts[name].verdict == "wrong"
                right += not wrong
                mark, more = ("✗", self.help(name)) if wrong else ("✓", "")
                lines.append(f"{name}  {mark}  {verdicts[name].text}{more}")
        print("\n".join(lines), file=sys.stdout if right else sys.stderr)
        return None if right == len(answers) else right or None

    def missing(self, name: str) -> str:
        """What is said of an answer that is not there: to be written, or an earlier one is."""
        lines = self.judge.books.formula.slice(name)
        read = set().union(*(line.reads for line in lines))
        earlier = [x for x in self.left if x in read]
        if name in self.left or not earlier:
            return f"still to be written: {wanted(self.questions[name].shape)}{self.help(name)}"
        one = "which is" if len(earlier) == 1 else "one of which is"
        return f"rests on {' and '.join(earlier)}, {one} still to be written"

    def right(self, *asked: str, **answers: Any) -> bool:
        """Whether the answers that are asked for are right, or follow from the others rightly."""
        given = {k: numbers(k, v) for k, v in answers.items() if v is not ... and v is not blank}
        verdicts, _ = self.judge.judge(given, ())
        return all(name in verdicts and verdicts[name].verdict != "wrong" for name in asked)

    def hint(self, name: str) -> None:
        """Print a hint for an answer; another one each time, until there are no more."""
        hints = self.question(name).hints()[: self.most]
        if not hints:
            print("this exercise has no hints")
            return
        count = min(self.hinted.get(name, 0), len(hints) - 1)
        self.hinted[name] = count + 1
        left = len(hints) - count - 1
        more = "; ask again for more" * (left > 0)
        print(f"{name}, hint {count + 1} of {len(hints)}: {hints[count]}{more}")

    def question(self, name: str) -> Question:
        """The question with that answer."""
        if name not in self.questions:
            raise KeyError(
                f"Exam: nothing asks for {name}; it asks for {', '.join(self.questions)}"
            )
        return self.questions[name]

    def help(self, name: str) -> str:
        """Where a hint is to be had."""
        return f'\n   exam.hint("{name}") helps' if self.most else ""


def wanted(shape: tuple[int, ...]) -> str:
    """What an answer is."""
    return f"an array of shape {shape}" if shape else "a number"
