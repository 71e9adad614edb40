"""The lessons run, and the grader says of wrong answers what the teachers' notes say it says."""

import contextlib
import io
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from notebooks import notebook

FOLDER = Path(__file__).parent.parent / "docs" / "lessons"
LESSONS = sorted(path.stem for path in FOLDER.glob("[0-9]*.md"))
ROW = re.compile(r"^\| (\d+) \| `(.+?)` \| (.+) \|$", re.M)


@cache
def cells(lesson):
    """The code of a lesson, cell by cell."""
    text = (FOLDER / f"{lesson}.md").read_text(encoding="utf-8")
    return re.findall(r"^```\{code-cell\}.*?\n(.*?)^```$", text, re.M | re.S)


def notes():
    """(lesson, exercise, answer, what the grader says) of the teachers' notes."""
    text = (FOLDER / "teachers.md").read_text(encoding="utf-8")
    parts = re.split(r"^## .*\n\n\{doc\}`.* <(\w+)>`", text, flags=re.M)
    return [
        (lesson, int(n), answer, said)
        for lesson, part in zip(parts[1::2], parts[2::2])
        for n, answer, said in ROW.findall(part)
    ]


@cache
def names_before(lesson, count):
    """What there is after the first cells of a lesson."""
    names = {} if not count else dict(names_before(lesson, count - 1))
    with contextlib.redirect_stdout(io.StringIO()):
        exec(cells(lesson)[count - 1] if count else "", names)
    return names


def exercises(lesson):
    """Where the cells with an exercise are."""
    return [i for i, code in enumerate(cells(lesson)) if "teach.check(" in code]


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_runs_and_has_two_exercises_of_which_the_notes_know_the_mistakes(lesson):
    names_before(lesson, len(cells(lesson)))
    assert len(exercises(lesson)) == 2
    known = [n for name, n, _, _ in notes() if name == lesson]
    assert all(known.count(n) >= 3 for n in (1, 2))


@pytest.mark.parametrize(("lesson", "number", "answer", "said"), notes())
def test_the_grader_says_what_the_notes_say(lesson, number, answer, said):
    at = exercises(lesson)[number - 1]
    cell = cells(lesson)[at]
    own = re.compile(rf"^{re.escape(answer.partition(' = ')[0])} = .*$", re.M)
    assert own.search(cell), "the exercise has a line of that name"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(own.sub(lambda _: answer, cell), dict(names_before(lesson, at)))
    assert said in out.getvalue()


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_downloads_as_a_notebook_that_installs_the_library_and_has_all_its_code(lesson):
    made = notebook((FOLDER / f"{lesson}.md").read_text(encoding="utf-8"))
    nbformat.validate(made)
    first, *code = [cell.source for cell in made.cells if cell.cell_type == "code"]
    assert "%pip install" in first
    assert code == [own.strip() for own in cells(lesson)]
    prose = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    assert prose.startswith("# ") and prose.count("<summary>Solution</summary>") == 2
    assert not re.search(r"^(```|:::)|\{[\w:]+\}`", prose, re.M), "what only the site shows"
