"""The lessons run, and the grader says of wrong answers what the teachers' notes say it says."""

import contextlib
import io
import re
from pathlib import Path

import nbformat
import pytest
from notebooks import notebook

FOLDER = Path(__file__).parent.parent / "docs" / "lessons"
LESSONS = sorted(path.stem for path in FOLDER.glob("[0-9]*.md"))
ROW = re.compile(r"^\| (\d+) \| `(.+?)` \| (.+) \|$", re.M)


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


def said_by(code, names):
    """What a cell prints; its names are added to those that there are."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, names)
    return out.getvalue()


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_runs_and_the_grader_says_of_its_exercises_what_the_notes_say(lesson):
    names, exercise = {}, 0
    for code in cells(lesson):
        if "teach.check(" in code:
            exercise += 1
            rows = [row[2:] for row in notes() if row[:2] == (lesson, exercise)]
            assert len(rows) >= 3, "three usual mistakes"
            for answer, expected in rows:
                own = re.compile(rf"^( *){re.escape(answer.partition(' = ')[0])} = .*$", re.M)
                assert own.search(code), "the exercise has a line of that name"
                changed = own.sub(lambda line, answer=answer: line[1] + answer, code)
                assert expected in said_by(changed, dict(names)), answer
        said_by(code, names)
    assert exercise == 2


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
