"""Exercises: their cells are run as a kernel runs them, with the answers, without, and with slips.

What is right is told by the backward passes of grading.py, which people wrote.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import subprocess
import sys
from base64 import b64decode
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_ce as tg
from tests import grading
from tinygrad_ce import nn, teach
from tinygrad_ce.nn import functional as F
from tinygrad_ce.teach import sealed
from tinygrad_ce.teach.near import agree

NETWORKS = list(grading.NETWORKS)


@cache
def made(network: str, level: str = "line", **options: Any) -> teach.Exercise:
    return teach.exercise(grading.examples(network)[0][0], level=level, pictures=False, **options)


def run(cells: list[dict[str, Any]], **wrong: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """(all names, what each check gave, what was printed to the error stream) of a notebook.

    `wrong` are lines that a student writes: `dh="dlogits @ W2"`.
    """
    space: dict[str, Any] = {}
    given, errors = {}, io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        for cell in cells:
            if cell["cell_type"] != "code":
                continue
            for name, line in wrong.items():
                if cell["id"].endswith(f"-{name}") and cell["id"].startswith("answer"):
                    cell = cell | {"source": f"{cell['source']}\n{name} = {line}"}
            tree = ast.parse(cell["source"])
            last = tree.body[-1]
            if isinstance(last, ast.Expr) and cell["id"].startswith("check"):
                given[cell["id"].rpartition("-")[2]] = eval(ast.unparse(last), space)
            else:
                exec(compile(tree, cell["id"], "exec"), space)
    return space, given, errors.getvalue()


@pytest.mark.parametrize("network", NETWORKS)
def test_the_answers_of_the_solution_are_those_that_people_derive(network: str) -> None:
    space, given, errors = run(made(network).cells(True))
    right = grading.right(network)[0][0]
    shared = sorted(right.keys() & space.keys())
    assert len(shared) >= 3
    assert grading.parameters(network) <= set(shared)
    for name in shared:
        assert agree(space[name], right[name], 1e-5), name
    assert set(given.values()) == {None}  # full points
    assert not errors


@pytest.mark.parametrize("level", ["factor", "line", "block", "all"])
@pytest.mark.parametrize("network", ["two layers", "LeNet", "attention"])
def test_a_notebook_that_nobody_has_filled_in_runs_and_says_so(network: str, level: str) -> None:
    exercise = made(network, level)
    _, given, errors = run(exercise.cells(False))
    assert set(given.values()) == {None}
    for question in exercise.questions:
        assert (
            f"{question.name}  …  still to be written: an array of shape {question.shape}" in errors
        )
    _, given, errors = run(exercise.cells(True))
    assert not errors
    assert len(given) == {"factor": len(exercise.questions), "line": len(exercise.questions),
                          "block": len(exercise.groups()), "all": 1}[level]  # fmt: skip


def test_what_rests_on_a_gradient_that_is_still_to_be_written_says_so() -> None:
    lines = {"dh": "dlogits @ W2.T", "dz": "dh * (h > 0)", "db1": "dz.sum(axis=0)"}
    lines["dW1"] = "x.T @ dz"
    space, given, errors = run(made("two layers").cells(False), **lines)
    assert given["dz"] is None and space["dlogits"] is space["dz"] is teach.blank
    for name in ("dh", "dz", "db1", "dW1"):
        assert f"{name}  …  rests on dlogits, which is still to be written\n" in errors + "\n"
    assert "dlogits  …  still to be written: an array of shape (32, 3)" in errors
    exam, answers = space["exam"], {"dlogits": ..., "dh": ..., "dz": teach.blank}
    for dlogits, said in (
        (teach.blank, "dz  …  rests on dlogits and dh, one of which is still to be written\n"),
        (np.ones((32, 3)), "dz  …  rests on dh, which is still to be written\n"),
    ):
        with contextlib.redirect_stderr(io.StringIO()) as printed:
            exam.check(**answers)
            exam.check(dlogits=dlogits, dz=teach.blank)
        assert printed.getvalue().endswith(said)


def test_a_slip_is_marked_once_and_what_follows_has_its_points() -> None:
    _, given, errors = run(made("two layers").cells(True), dlogits="p - onehot", dz="dh")
    assert set(given.values()) == {None}
    assert errors.count("✗") == 2
    assert "dlogits  ✗  32 times too large: the 1/N of the mean over the 32 samples" in errors
    assert "the slope of relu is missing" in errors
    assert 'exam.hint("dz") helps' in errors


def test_a_block_of_which_a_part_is_right_has_a_part_of_the_points() -> None:
    exam = teach.Exam(made("softmax regression").sealed)
    right = grading.right("softmax regression")[0][0]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        points = exam.check(dlogits=right["dlogits"], db=right["db"], dW=-right["dW"])
    assert points == 2
    assert "dW  ✗  dW = x.T @ dlogits belongs here" in said.getvalue() or "sign" in said.getvalue()
    assert exam.right("db", "dlogits", **{k: right[k] for k in ("db", "dlogits")})
    assert not exam.right("dW", dW=-right["dW"])
    assert not exam.right("dW", dW=...)
    doubled = {"dlogits": 2 * right["dlogits"], "db": 2 * right["db"]}
    assert exam.right("db", **doubled)
    assert not exam.right("dlogits", **doubled)


def test_an_answer_that_is_no_array_is_refused_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    exam = teach.Exam(made("softmax regression").sealed, hints=0)
    exam.check(dW="x.T @ dlogits")
    assert capsys.readouterr().err == "dW  ✗  dW is 'x.T @ dlogits'; wanted an array of numbers\n"
    exam.check(dW=teach.blank)
    assert capsys.readouterr().err == "dW  …  still to be written: an array of shape (5, 4)\n"
    exam.hint("dW")
    assert capsys.readouterr().out == "this exercise has no hints\n"
    with pytest.raises(KeyError, match="nothing asks for dV; it asks for dlogits, db, dW"):
        exam.check(dV=1)


def test_hints_grow_from_the_shape_to_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    exam = teach.Exam(made("two layers").sealed)
    for _ in range(5):
        exam.hint("dz")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == ("dz, hint 1 of 4: a gradient has the shape of its tensor: dz is (32, 4); "
                       "ask again for more")  # fmt: skip
    assert "the gradient from above times the slope of what was done, relu" in said[1]
    assert "one factor is missing here: dz = dh * ▢" in said[2]
    assert said[3] == said[4] == "dz, hint 4 of 4: it is dz = dh * (h > 0)"


def test_every_rule_is_told_in_words() -> None:
    told = {q.name: q.rule for n in NETWORKS for q in made(n).questions}
    for name, words in {
        "dlogits": "predicted minus what is so", "dW": "da = dy @ b.T", "dbias": "added up",
        "dC": "picked twice gets both", "dc2": "each place of a window", "dh1": "da = dy @ b.T",
        "da2": "only moved", "dhpre": "read more than once", "dhbn": "times the slope",
    }.items():  # fmt: skip
        assert words in told[name], (name, told[name])


def test_no_cell_of_a_student_holds_an_answer() -> None:
    for network in NETWORKS:
        exercise = made(network)
        cells = exercise.cells(False)
        text = "\n".join(cell["source"] for cell in cells if cell.get("id") != "opening")
        for question in exercise.questions:
            assert question.lines[-1] not in text
        opening = next(cell["source"] for cell in cells if cell.get("id") == "opening")
        assert not any(q.lines[-1] in opening for q in exercise.questions)


def test_graders_know_their_cells() -> None:
    cells = made("two layers").cells(True)
    grades = {c["id"]: c["metadata"]["nbgrader"] for c in cells}
    assert len(grades) == len(cells)
    assert grades["answer-3-dh"] == {
        "grade": False, "grade_id": "answer-3-dh", "locked": False, "schema_version": 3,
        "solution": True, "task": False,
    }  # fmt: skip
    assert grades["check-answer-3-dh"] == {
        "grade": True, "grade_id": "check-answer-3-dh", "locked": True, "schema_version": 3,
        "solution": False, "task": False, "points": 1,
    }  # fmt: skip
    source = next(c["source"] for c in cells if c["id"] == "answer-3-dh")
    assert source == ("dh = ...  # (32, 4)\n### BEGIN SOLUTION\ndh = dlogits @ W2.T\n"
                      "### END SOLUTION")  # fmt: skip
    cells = made("two layers", markers="otter").cells(True)
    raws = [c["source"] for c in cells if c["cell_type"] == "raw"]
    assert raws[0] == "# ASSIGNMENT CONFIG\nrequirements: requirements.txt"
    assert raws[1:3] == ["# BEGIN QUESTION\nname: dlogits\npoints: 1", "# BEGIN SOLUTION"]
    _, given, _ = run(cells)
    assert set(given.values()) == {True}
    assert set(run(made("two layers", markers="otter").cells(False))[1].values()) == {None}


def test_parameters_of_modules_dropout_and_an_optimiser(tmp_path: Path) -> None:
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))
    optimizer = tg.optim.Adam(model.parameters())
    model(tg.ones(5, 4)).sum().backward()  # gradients that the step finds there

    def step(x: Any, y: Any) -> Any:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        return loss

    exercise = teach.exercise(step, (tg.randn(5, 4), tg.randint(0, 3, (5,))), pictures=False)
    names = {question.name for question in exercise.questions}
    assert {"dW0", "db0", "dW3", "db3"} <= names
    space, given, errors = run(exercise.cells(True))
    assert set(given.values()) == {None}
    assert not errors
    z = space["dW3"]  # (p - onehot)/5 h, on the very draw of the exercise
    x, y = space["x"], space["y"]
    kept = space["drawn1"] / 0.5
    h = np.maximum(x @ space["W0"].T + space["b0"], 0) * kept
    e = np.exp(h @ space["W3"].T + space["b3"])
    dlogits = (e / e.sum(1, keepdims=True) - np.eye(3)[y]) / 5
    np.testing.assert_allclose(z, dlogits.T @ h, rtol=1e-4, atol=1e-7)


def test_files_are_notebooks_with_the_gradient_to_find_marked(tmp_path: Path) -> None:
    program = grading.examples("two layers")[0][0]
    exercise = teach.exercise(program, title="Softmax")
    path = exercise.save(tmp_path / "a.ipynb")
    exercise.save_solution(tmp_path / "b.ipynb")
    book = json.loads(path.read_text(encoding="utf-8"))
    assert book["cells"][0]["source"][0] == "# Softmax\n"
    (drawn,) = [c["attachments"]["dW2.svg"]["image/svg+xml"] for c in book["cells"]
                if "dW2.svg" in c.get("attachments", {})]  # fmt: skip
    picture = b64decode("".join(drawn)).decode()
    assert "#d97706" in picture
    assert "∇ ?" in picture
    assert "BEGIN SOLUTION" not in path.read_text(encoding="utf-8")
    assert "BEGIN SOLUTION" in (tmp_path / "b.ipynb").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"'a.txt' ends in '.txt'; wanted '.ipynb'"):
        exercise.save(tmp_path / "a.txt")


def test_without_nbformat_or_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = grading.examples("softmax regression")[0][0]
    exercise = teach.exercise(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    assert not any("attachments" in cell for cell in exercise.cells(False))
    monkeypatch.setitem(sys.modules, "nbformat", None)
    with pytest.raises(
        ImportError, match=r'nbformat is missing; pip install "tinygrad_ce\[teach\]"'
    ):
        exercise.save(tmp_path / "a.ipynb")


def test_what_cannot_be_an_exercise_says_why() -> None:
    program = grading.examples("softmax regression")[0][0]
    with pytest.raises(ValueError, match="level is 'word'; wanted factor, line, block, all"):
        teach.exercise(program, level="word")
    with pytest.raises(ValueError, match="markers is 'x'; wanted nbgrader, otter"):
        teach.exercise(program, markers="x")
    with pytest.raises(ValueError, match="the text of the exercise is not whole"):
        teach.Exam("abc")
    with pytest.raises(ValueError, match="the step has no gradient"):
        teach.exercise(tg.trace(lambda x: x * 2, tg.ones(3)))
    w, x = tg.ones(3, requires_grad=True), tg.ones(3)
    with pytest.raises(ValueError, match="nothing to write; each gradient is there already"):
        teach.exercise(lambda x: (x * w).sum().backward(), (x,))


@pytest.mark.parametrize(
    "value", [(1, (2, None)), [1.5, True], slice(None, 3, -1), np.dtype("f4"), ..., "sum",
              {"a": (1,)}, np.int64(3)],
    ids=repr,
)  # fmt: skip
def test_settings_come_back_as_they_were(value: Any) -> None:
    back = sealed.unfolded(json.loads(json.dumps(sealed.plain(value))))
    assert back == (value.item() if isinstance(value, np.generic) else value)
    assert isinstance(value, (type(back), np.generic))


def test_blank_is_blank_whatever_is_done_with_it() -> None:
    blank, x = teach.blank, np.ones((2, 2))
    for made in (np.tanh(blank), np.where(x > 0, blank, x), x * blank,
                 blank * x, x @ blank, blank @ x, x / blank, blank / 2, 1 - blank,
                 blank**2, -blank, blank.T, blank.sum(axis=0), blank[0], x + blank,
                 blank > 0, blank <= x, x < blank, abs(blank), blank // 2, blank % 2,
                 sum(row for row in blank), sum(a * b for a, b in zip(x, blank))):  # fmt: skip
        assert made is blank
    assert repr(blank) == "blank"
    blank[x > 0] = 3
    with pytest.raises(AttributeError):
        blank.__array_interface__  # noqa: B018


def test_the_command_line_makes_both_notebooks(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import tinygrad_ce as tg\n"
        "w, x = tg.ones(3, requires_grad=True), tg.ones(2, 3)\n"
        "def step(x):\n"
        "    z = x @ w\n"
        "    return (z * z).sum()\n"
    )

    def call(*words: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "tinygrad_ce", "exercise", *words],
            capture_output=True, text=True, cwd=tmp_path, check=False,
            env={**os.environ, "PYTHONPATH": str(Path(tg.__file__).parents[1])},
        )  # fmt: skip

    done = call("net.py:step", "x", "--out", "a.ipynb", "--solution", "b.ipynb", "--level", "all")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.ipynb\nb.ipynb\n", "")
    assert "dz = 2 * z" in (tmp_path / "b.ipynb").read_text(encoding="utf-8")
    done = call("net.py:step", "x", "--out", "a.ipynb", "--solution", "b.txt")
    assert (done.returncode, done.stderr) == (
        2, "tinygrad_ce: --solution b.txt ends in '.txt'; wanted .ipynb\n",
    )  # fmt: skip


def test_a_program_that_adds_to_gradients_is_asked_for_what_it_adds_to_them() -> None:
    w, x = tg.tensor([[1.0], [2.0]], requires_grad=True), tg.ones(3, 2)

    def step(x: Any) -> Any:
        z = x @ w
        loss = (z * z).sum()
        loss.backward()
        return loss

    step(x)
    made = teach.exercise(tg.trace(step, x))
    exam = teach.Exam(made.sealed)
    assert [question.name for question in made.questions] == ["dz"]
    assert exam.right("dz", dz=np.full((3, 1), 6.0))
