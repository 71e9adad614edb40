"""The lines of a backward pass as questions: what is asked, what is given, and what helps."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tinygrad_ce.program.ir import Program
from tinygrad_ce.program.listing.listing import joined
from tinygrad_ce.teach.book import Book, goes_back, names_in, text
from tinygrad_ce.teach.faults import swapped

BLANK = "blank"


@dataclass(frozen=True)
class Question:
    """One gradient that is asked for: `dh`, of shape (32, 4), from a line of `relu`."""

    name: str
    shape: tuple[int, ...]
    scope: str
    given: tuple[str, ...]  # lines that rest on no gradient: p, onehot
    lines: tuple[str, ...]  # the answer
    slopes: frozenset[str]  # the names of all gradients
    source: str = ""  # how what it is the gradient of is computed, or its name

    @property
    def of(self) -> str:
        """What it is the gradient of: `h`, or `z = x @ W + b` where z has no line."""
        name = self.name.removeprefix("d")
        return name if not self.source or self.source.isidentifier() else f"{name} = {self.source}"

    @cached_property
    def with_gap(self) -> str:
        """Its line with `blank` in the place of one factor; nothing where it has no factors."""
        if len(self.lines) > 1 or "\n" in self.lines[0]:
            return ""
        tree = ast.parse(self.lines[0])
        above = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.BinOp) and isinstance(node.op, FACTORS):
                left, right = (bool(names_in(x) & self.slopes) for x in (node.left, node.right))
                lost = node.left if right and not left else node.right
                return text(swapped(lost, ast.Name(BLANK, ast.Load()), above))
        return ""

    @property
    def rule(self) -> str:
        """The rule that its line comes from, in words."""
        last = ast.parse(self.lines[-1])
        kinds = {type(node.op) for node in ast.walk(last) if isinstance(node, ast.BinOp)}
        for fits, words in (
            ("cross_entropy" in self.scope, "the gradient of cross-entropy is what was predicted "
             "minus what is so, p - onehot, over the number of samples"),
            (any(isinstance(node, ast.For) for node in last.body), "each place of a window sends "
             "its gradient back to where it came from, and what meets there is added up"),
            ("np.add.at" in self.lines[-1], "what an index has picked gets its gradient back at "
             "that index, and what was picked twice gets both"),
            (ast.MatMult in kinds, "where y = a @ b, da = dy @ b.T and db = a.T @ dy: the shapes "
             "tell which is which"),
            (ast.Add in kinds, "what is read more than once gets the sum of what comes back"),
            (".sum(" in self.lines[-1], "what was broadcast forward is added up backward"),
            (bool(kinds), "the gradient from above times the slope of what was done"
             + (f", {self.scope}" if self.scope else "")),
        ):  # fmt: skip
            if fits:
                return words
        return "numbers that were only moved send their gradients back to where they were"

    def hints(self) -> list[str]:
        """What helps, more with each: the shape, the rule, the factor, the line."""
        gap = self.with_gap.replace(BLANK, "▢")
        found = [
            f"a gradient has the shape of its tensor: {self.name} is {shown(self.shape)}",
            self.rule,
            f"one factor is missing here: {gap}" if gap else "",
            "\n".join(["it is", *self.lines]) if "\n" in self.answer else f"it is {self.answer}",
        ]
        return [hint for hint in found if hint]

    @property
    def answer(self) -> str:
        """Its lines."""
        return "\n".join(self.lines)


FACTORS = (ast.Mult, ast.MatMult, ast.Div)


def shown(shape: tuple[int, ...]) -> str:
    """A shape as it stands behind a line."""
    return str(shape) if shape else "a number"


def book_of(program: Program) -> Book:
    """The formulas of a step, with a line for the gradient of everything that has a name."""
    named = [g for g, sources in program.gradient_of.items() if any(x.name for x in sources)]
    return Book(program, "formula", named)


def questions_of(book: Book) -> list[Question]:
    """What is asked, in the order of the backward pass.

    A line that is no gradient (p, columns in another order) goes with the question that reads it:
    it is part of the answer where it rests on a gradient, else it is given.
    """
    asked = {line.name: line for line in book.lines if line.backward and line.name in book.slopes}
    back = {x.name for name in asked for x in book.slice(name)}
    found: list[Question] = []
    there: set[str] = set()
    rests = set(asked)  # on a gradient
    for name, line in asked.items():
        lines = [x for x in book.slice(name, asked) if x.backward and x.name in back]
        lines = [x for x in lines if x is line or x.name not in {*asked, *there}]
        there.update(x.name for x in lines)
        given: list[str] = []
        own: list[str] = []
        for x in lines:
            (own if x is line or x.reads & rests else given).append(x.text)
            rests |= {x.name} if x.reads & rests else set()
        shape = np.shape(book.truth[name])
        found.append(Question(name, shape, line.scope, tuple(given), tuple(own), frozenset(rests),
                              book.sources.get(name, "")))  # fmt: skip
    return found


def forward_lines(book: Book) -> list[str]:
    """The forward pass as it stands in the listing, with shapes and comments."""
    lines: list[str] = []
    for _, group in book.listing.groups():
        ahead = [s for s in group if s.step is not None and not goes_back(s)]
        comment = joined(list(dict.fromkeys(x for s in ahead for x in s.labels)))
        if ahead and comment and f"# {comment}" not in lines[-8:]:
            lines.append(f"# {comment}")
        lines += [line for s in ahead for line in book.listing.annotated(s)]
    returned = book.writer.returned[:1]
    if returned and not isinstance(returned[0], ast.Name):
        lines.append(f"loss = {ast.unparse(returned[0])}")
    return lines
