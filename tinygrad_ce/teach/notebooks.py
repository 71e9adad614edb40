"""teach.exercise: a notebook in which the backward pass of one's own network is to be written."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tinygrad_ce.program.ir import Program
from tinygrad_ce.teach.answers import traced
from tinygrad_ce.teach.exam import Exam
from tinygrad_ce.teach.questions import BLANK, Question, book_of, forward_lines, shown
from tinygrad_ce.teach.sealed import sealed
from tinygrad_ce.viz.drawing import draw
from tinygrad_ce.viz.graph.dot import to_dot
from tinygrad_ce.viz.graph.engines import EngineMissingError, render
from tinygrad_ce.viz.writing import write

LEVELS = ("factor", "line", "block", "all")
MARKERS = ("nbgrader", "otter")
HEAD = """\
# {title}

The forward pass below is that of `{name}`. Write its backward pass: each `...` stands for a
gradient that is missing, and the comment behind it is its shape. Run the cell under an answer: it
tells whether the answer is right, or follows from earlier ones, or which factor is wrong.{hints}
"""
HINTS = ' `exam.hint("{first}")` gives a hint, and a bigger one each time.'
Cell = dict[str, Any]


def exercise(
    step: Callable[..., Any] | Program,
    inputs: Sequence[Any] = (),
    *,
    level: str = "line",
    title: str = "",
    hints: int = 4,
    pictures: bool = True,
    markers: str = "nbgrader",
) -> Exercise:
    """Make an exercise of a step: its backward pass is to be written, line by line.

    step: a function of `inputs` that returns a loss (and may call backward() itself), or what
    `trace` made of it. The forward pass stands in the notebook as in its listing; answers are
    called as there, `dlogits`, `dW1`.

    level: what is to be filled in: a "factor", a "line", a "block" (all lines of a layer or
        function), or "all".
    hints: how many each question has, at most 4: shape, rule, factor, line.
    pictures: False leaves out the pictures, in which the gradient to find is marked.
    markers: of the solution, "nbgrader" (its metadata, which students get, too) or "otter".

    `.save(path)` writes the notebook for students, `.save_solution(path)` that with the answers,
    from which `nbgrader generate_assignment` or `otter assign` make what is handed out. The
    notebooks need this library, no file of yours: the numbers and the traced step are in them,
    packed, and the check works out what is right when it is run.

    Raises ValueError for a step without gradients, or another level or markers.

    >>> import tinygrad_ce as tg
    >>> w = tg.ones(3, requires_grad=True)
    >>> def step(x):
    ...     z = x * w
    ...     return (z * z).sum()
    >>> [question.name for question in exercise(step, (tg.ones(3),)).questions]
    ['dw']
    """
    for what, given, known in (("level", level, LEVELS), ("markers", markers, MARKERS)):
        if given not in known:
            raise ValueError(f"exercise: {what} is {given!r}; wanted {', '.join(known)}")
    program = traced(step, inputs)
    if not (program.gradient_of or program.grads):
        raise ValueError("exercise: the step has no gradient; give it a parameter that needs one")
    title = title or f"Backward through {program.name}"
    made = Exercise(program, level, title, hints, pictures, markers)
    if not made.questions:
        raise ValueError("exercise: there is nothing to write; each gradient is there already")
    return made


class Exercise:
    """An exercise: `.questions`, and the notebooks with and without the answers."""

    def __init__(
        self, program: Program, level: str, title: str, hints: int, pictures: bool, markers: str
    ) -> None:
        self.program, self.level, self.title = program, level, title
        self.pictures, self.markers, self.hints = pictures, markers, hints
        self.drawn: dict[tuple[str, ...], str] = {}
        self.sealed = sealed(program)
        self.exam = Exam(self.sealed)
        self.questions = list(self.exam.questions.values())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the notebook for students, an .ipynb file. Gives its path."""
        return written(path, self.cells(False))

    def save_solution(self, path: str | os.PathLike[str]) -> Path:
        """Write the notebook with the answers between the markers. Gives its path."""
        return written(path, self.cells(True))

    # --- cells --------------------------------------------------------------------------------

    def cells(self, solved: bool) -> list[Cell]:
        """The cells of a notebook."""
        hints = HINTS.format(first=self.questions[0].name) if self.hints else ""
        head = HEAD.format(title=self.title, name=self.program.name, hints=hints)
        book, values = book_of(self.exam.program), self.exam.values
        data = [f'{name} = exam["{name}"]  # {shown(x.shape)}' for name, x in values.items()]
        opening = [
            "import numpy as np",
            "from tinygrad_ce.teach import Exam, blank",
            "",
            f'exam = Exam("{self.sealed}", hints={self.hints})',
        ]
        cells = [
            markdown("exercise", head),
            code("opening", opening, hidden=True),
            code("numbers", data),
            markdown("forward-title", "## Forward"),
            code("forward", forward_lines(book)),
            markdown("backward-title", "## Backward"),
        ]
        for number, group in enumerate(self.groups(), 1):
            cells += self.question(number, group, solved)
        if self.markers == "otter" and solved:
            cells.insert(0, raw("# ASSIGNMENT CONFIG\nrequirements: requirements.txt"))
        return cells

    def groups(self) -> list[list[Question]]:
        """The questions that are answered in one cell."""
        if self.level == "all":
            return [self.questions]
        groups: list[list[Question]] = []
        for question in self.questions:
            same = self.level == "block" and groups and groups[-1][-1].scope == question.scope
            if same:
                groups[-1].append(question)
            else:
                groups.append([question])
        return groups

    def question(self, number: int, group: list[Question], solved: bool) -> Iterator[Cell]:
        """The text, the cell of the answer, the cell of the check."""
        asked = [q.name for q in group]
        id = f"answer-{number}-{asked[0]}"[:40]
        text = self.told(id, number, group)
        given = [line for q in group for line in q.given]
        blanks = [self.open(q) for q in group]
        answer = [line for q in group for line in q.lines]
        if solved and self.markers == "otter":
            marked = ['""" # BEGIN PROMPT', *blanks, '""" # END PROMPT', "# BEGIN SOLUTION",
                      *answer, "# END SOLUTION"]  # fmt: skip
            names = [q.name for q in self.questions]
            so_far = names[: names.index(group[-1].name) + 1]
            test = code(f"check-{id}", [f"exam.right({', '.join(map(repr, asked))},",
                                        f"    {handed_in(so_far)})"])  # fmt: skip
            yield raw(f"# BEGIN QUESTION\nname: {asked[0]}\npoints: {len(group)}")
            yield text
            yield from (raw("# BEGIN SOLUTION"), code(id, [*given, *marked]), raw("# END SOLUTION"))
            yield raw("# BEGIN TESTS")
            yield test | {"outputs": [true()], "execution_count": 1}
            yield from (raw("# END TESTS"), raw("# END QUESTION"))
            return
        yield text
        marked = ["### BEGIN SOLUTION", *answer, "### END SOLUTION"] if solved else []
        yield code(id, [*given, *blanks, *marked], graded(id, solution=True))
        check = graded(f"check-{id}", points=len(group))
        yield code(f"check-{id}", [f"exam.check({handed_in(asked)})"], check)

    def told(self, id: str, number: int, group: list[Question]) -> Cell:
        """What is asked, with the picture of it."""
        told = ", ".join(f"`{q.name}`" for q in group)
        what = f"### {number} · {told}\n\nThe gradient of the loss with respect to "
        what += ", ".join(f"`{q.of}`" for q in group)
        picture = self.picture(tuple(q.name for q in group))
        if not picture:
            return markdown(f"text-{id}", what)
        file = f"{group[0].name}.svg"
        text = markdown(f"text-{id}", f"{what}\n\n![](attachment:{file})")
        return text | {"attachments": {file: {"image/svg+xml": picture}}}

    def open(self, question: Question) -> str:
        """The line that is to be completed."""
        line = f"{question.name} = ..."
        if self.level == "factor":  # other lines with gaps are run on what stands here
            line = question.with_gap or f"{question.name} = {BLANK}"
        return f"{line}  # {shown(question.shape)}"

    # --- pictures -----------------------------------------------------------------------------

    @cached_property
    def drawing(self) -> Any:
        """The graph of the step, one card for each layer and function."""
        return draw(self.program, depth=0, theme="light", values=False, gradients=False,
                    direction="LR")  # fmt: skip

    def picture(self, names: tuple[str, ...]) -> str:
        """The graph with the tensors marked whose gradients are asked for, as base64 of an SVG."""
        if names not in self.drawn:
            self.drawn[names] = self.marked(names) if self.pictures else ""
        return self.drawn[names]

    def marked(self, names: tuple[str, ...]) -> str:
        """The same, drawn."""
        asked = {name.removeprefix("d") for name in names}
        picture = self.drawing.picture
        marked = {card.id for card in picture.cards if card.name in asked}
        if not marked:
            return ""
        cards = [replace(x, gradient="∇ ?" if x.id in marked else "") for x in picture.cards]
        lines = to_dot(replace(picture, cards=cards)).split("\n")
        lines = [mark(x) if x.partition(" ")[0] in marked else x for x in lines]
        try:
            return b64encode(render("\n".join(lines), "svg", "light", self.title)).decode()
        except EngineMissingError:
            return ""


def handed_in(names: list[str]) -> str:
    """Answers as arguments."""
    return ", ".join(f"{name}={name}" for name in names)


MARK = {"BORDER": "4", "COLOR": "#d97706", "BGCOLOR": "#fef3c7"}


def mark(line: str) -> str:
    """A card of DOT text, with a thick frame."""
    for name, value in MARK.items():
        line = re.sub(rf'(<TABLE[^>]*? {name}=)"[^"]*"', rf'\1"{value}"', line, count=1)
    return line


# --- notebooks ------------------------------------------------------------------------------------


def markdown(id: str, text: str) -> Cell:
    """A cell of text, which students cannot change."""
    grade = {"grade": False, "grade_id": id, "locked": True, "schema_version": 3,
             "solution": False, "task": False}  # fmt: skip
    return {"cell_type": "markdown", "id": id, "source": text, "metadata": {"nbgrader": grade}}


def code(id: str, lines: list[str], grade: Cell | None = None, hidden: bool = False) -> Cell:
    """A cell of code; one that is not an answer is locked."""
    metadata: Cell = {"nbgrader": grade or graded(id)}
    if hidden:
        metadata |= {"jupyter": {"source_hidden": True}, "tags": ["hide-input"]}
    return {"cell_type": "code", "id": id, "source": "\n".join(lines), "metadata": metadata,
            "outputs": [], "execution_count": None}  # fmt: skip


def raw(text: str) -> Cell:
    """A cell that tells Otter what follows."""
    return {"cell_type": "raw", "source": text, "metadata": {}}


def true() -> Cell:
    """The output of a check that went well."""
    return {"output_type": "execute_result", "execution_count": 1, "metadata": {},
            "data": {"text/plain": "True"}}  # fmt: skip


def graded(id: str, solution: bool = False, points: int = 0) -> Cell:
    """The metadata by which nbgrader knows a cell."""
    told = {"grade": points > 0, "grade_id": id, "locked": not solution, "schema_version": 3,
            "solution": solution, "task": False}  # fmt: skip
    return told | ({"points": points} if points else {})


def written(path: str | os.PathLike[str], cells: list[Cell]) -> Path:
    """Write cells as a notebook."""
    try:
        import nbformat
    except ImportError:
        raise ImportError(
            'exercise: nbformat is missing; pip install "tinygrad_ce[teach]"'
        ) from None
    path = Path(path)
    if path.suffix != ".ipynb":
        raise ValueError(f"exercise: {path.name!r} ends in {path.suffix!r}; wanted '.ipynb'")
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = nbformat.from_dict({
        "cells": [{"id": f"cell-{i}"} | cell for i, cell in enumerate(cells)],
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4, "nbformat_minor": 5,
    })  # fmt: skip
    nbformat.validate(notebook)
    return write(path, nbformat.writes(notebook).encode())
