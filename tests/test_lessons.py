"""The lessons run, and the grader says of wrong answers what the teachers' notes say it says."""

import contextlib
import io
import re
from pathlib import Path

import nbformat
import pytest
from notebooks import examples, notebook

FOLDER = Path(__file__).parent.parent / "docs" / "lessons"
LESSONS = sorted(path.stem for path in FOLDER.glob("[0-9]*.md"))
ROW = re.compile(r"^\| (\d+) \| `(.+?)` \| (.+) \|$", re.M)
SOLUTION = re.compile(r"^```\{admonition\} Solution\n:class: dropdown\n(.*?)^```$", re.M | re.S)
SAID = re.compile(r"^(\w+) +([✓✗])  (.+)$", re.M)


def text_of(lesson):
    return (FOLDER / f"{lesson}.md").read_text(encoding="utf-8")


def cells(lesson):
    """The code of a lesson, cell by cell."""
    return re.findall(r"^```\{code-cell\}.*?\n(.*?)^```$", text_of(lesson), re.M | re.S)


def solutions(lesson):
    """The lines of code that each solution has, `name = ...` in backquotes."""
    return [re.findall(r"`(\w+ = [^`]+)`", box) for box in SOLUTION.findall(text_of(lesson))]


def notes():
    """(lesson, exercise, answer, what the grader says) of the teachers' notes."""
    parts = re.split(r"^## .*\n\n\{doc\}`.* <(\w+)>`", text_of("teachers"), flags=re.M)
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


def answered(code, answer):
    """The cell with this line where it has another one of the same name."""
    own = re.compile(rf"^( *){re.escape(answer.partition(' = ')[0])} = .*$", re.M)
    assert len(own.findall(code)) == 1, "the exercise has one line of that name"
    return own.sub(lambda line: line[1] + answer, code)


def verdicts(code, names):
    """{name: (mark, text)} of what the grader prints in a cell."""
    return {name: (mark, text) for name, mark, text in SAID.findall(said_by(code, dict(names)))}


def wordings(text):
    """All that is said of a line, and the same without what belongs there and what was used."""
    short = re.sub(r"^.+ belongs here; ", "", text)
    return {text, short, re.sub(r"^yours uses .+?: ", "", short)}


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_runs_and_the_grader_says_of_its_exercises_what_the_notes_say(lesson):
    names, exercise = {}, 0
    for code in cells(lesson):
        if "teach.check(" in code:
            exercise += 1
            rows = [row[2:] for row in notes() if row[:2] == (lesson, exercise)]
            assert len(rows) >= 3, "three usual mistakes"
            for answer, expected in rows:
                said = verdicts(answered(code, answer), names)
                wrong = [name for name, (mark, _) in said.items() if mark == "✗"]
                name = answer.partition(" = ")[0]
                mark, text = said[name if name in said else wrong[0]]
                assert mark == "✗" and expected in wordings(text), (answer, text)
            right = code
            for answer in solutions(lesson)[exercise - 1]:
                right = answered(right, answer)
            assert right != code
            assert set(verdicts(right, names).values()) == {("✓", "right")}
        said_by(code, names)
    assert exercise == len(solutions(lesson)) == 2


def test_every_row_of_the_notes_is_of_an_exercise():
    tables = re.findall(r"^\| exercise \|.*\n.*\n((?:\|.*\n)+)", text_of("teachers"), re.M)
    rows = "".join(tables).splitlines()
    tried = [row for row in notes() if row[0] in LESSONS and row[1] in (1, 2)]
    assert len(tried) == len(rows) >= 6 * len(LESSONS)


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_downloads_as_a_notebook_that_installs_the_library_and_has_all_its_code(lesson):
    made = notebook(text_of(lesson))
    nbformat.validate(made)
    first, *code = [cell.source for cell in made.cells if cell.cell_type == "code"]
    assert '%pip install -q "{wheels[0]}[examples,teach]"' in first, "no stranger's newer one"
    assert code == [own.strip() for own in cells(lesson)]
    prose = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    assert prose.startswith("# ") and prose.count("<summary>Solution</summary>") == 2
    assert not re.search(r"^(```|:::)|\{[\w:]+\}`", prose, re.M), "what only the site shows"
    assert not re.search(r"\{doc\}`[^`<]*`", text_of(lesson)), "a link without a title"


def test_the_archive_has_the_examples_that_lessons_name():
    wanted = ["cross_entropy.py", "digits.py", "story.txt", "transformer.py"]
    assert [file.name for file in examples()] == wanted
