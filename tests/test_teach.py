"""The grader against backward passes written by hand, each with one slip: it has to name the slip.

The lines of the students are not those of the library's listing: they are written as people write
them, and the slips are put in by replacing text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import tinygrad_ce as tg
from tests import grading
from tests.grading import (
    ATTENTION,
    BATCH_NORM,
    CELL,
    EMBEDDING,
    LENET,
    LOGISTIC,
    SOFTMAX,
    TWO_LAYERS,
    attention,
    backward_of,
    batch_norm,
    cell,
    embedding,
    lenet,
    logistic,
    made,
    softmax,
    two_layers,
)
from tinygrad_ce import nn, teach
from tinygrad_ce.nn import functional as F
from tinygrad_ce.teach import grader
from tinygrad_ce.teach.answers import numbers, traced as program_of
from tinygrad_ce.teach.book import Book
from tinygrad_ce.teach.faults import changes


def pooling() -> Any:
    W = made(3, 16)

    def step(x: Any, c: Any) -> Any:
        image = (x @ W).view(len(x), 1, 4, 4)
        top = F.max_pool2d(image, 3, stride=1)
        return (top * c).sum()

    return step, (tg.randn(5, 3), tg.randn(5, 1, 2, 2))


POOLING = """
dtop = c
dimage = np.zeros(image.shape)
for n, i, j in np.ndindex(len(x), 2, 2):
    window = image[n, 0, i : i + 3, j : j + 3]
    dimage[n, 0, i : i + 3, j : j + 3] += c[n, 0, i, j] * (window == window.max())
dW = x.T @ dimage.reshape(len(x), 16)
"""

# network, its lines, (right, wrong) text, the answer that is wrong, the kind that it has
CASES: list[tuple[Callable[[], Any], str, str, str, str, str]] = [
    (logistic, LOGISTIC, "(p - y) / len(y)", "(p - y)", "dz", "scale"),
    (logistic, LOGISTIC, "(p - y) / len(y)", "(y - p) / len(y)", "dz", "sign"),
    (logistic, LOGISTIC, "(p - y) / len(y)", "(z - y) / len(y)", "dz", "wrong operand"),
    (logistic, LOGISTIC, "(p - y) / len(y)", "p / len(y)", "dz", "lost share"),
    (logistic, LOGISTIC, "dz.sum(keepdims=True)", "dz.mean(keepdims=True)", "db", "mean for sum"),
    (softmax, SOFTMAX, "p - onehot", "p", "dlogits", "lost share"),
    (softmax, SOFTMAX, "p - onehot", "onehot - p", "dlogits", "sign"),
    (softmax, SOFTMAX, "p - onehot", "-onehot", "dlogits", "lost share"),
    (softmax, SOFTMAX, "p - onehot", "p - -onehot", "dlogits", "sign"),
    (softmax, SOFTMAX, "dlogits.sum(0)", "dlogits.mean(0)", "db", "mean for sum"),
    (softmax, SOFTMAX, "dlogits.sum(0)", "dlogits", "db", "missing sum"),
    (softmax, SOFTMAX, "x.T @ dlogits", "(x.T @ dlogits).T", "dW", "transpose"),
    (softmax, SOFTMAX, "x.T @ dlogits", "x.T @ p", "dW", "value for gradient"),
    (two_layers, TWO_LAYERS, "(p - onehot) / len(y)", "p - onehot", "dlogits", "scale"),
    (two_layers, TWO_LAYERS, "dh * (h > 0)", "dh", "dz", "missing factor"),
    (two_layers, TWO_LAYERS, "dh * (h > 0)", "dh * h", "dz", "value for slope"),
    (two_layers, TWO_LAYERS, "dh * (h > 0)", "dh * (h <= 0)", "dz", "other branch"),
    (two_layers, TWO_LAYERS, "dh * (h > 0)", "1.0 * (h > 0)", "dz", "no upstream"),
    (two_layers, TWO_LAYERS, "dh * (h > 0)", "h > 0", "dz", "no upstream"),
    (two_layers, TWO_LAYERS, "h.T @ dlogits", "(h > 0).T @ dlogits", "dW2", ""),
    (two_layers, TWO_LAYERS, "h.T @ dlogits", "h.T @ logits", "dW2", "value for gradient"),
    (two_layers, TWO_LAYERS, "dz.sum(0)", "dz.mean(0)", "db1", "mean for sum"),
    (two_layers, TWO_LAYERS, "dz.sum(0)", "dh.sum(0)", "db1", "wrong operand"),
    (batch_norm, BATCH_NORM, "dh * (1 - h**2)", "dh * (1 - h)", "dhbn", "missing factor"),
    (batch_norm, BATCH_NORM, "dh * (1 - h**2)", "dh * h", "dhbn", "value for slope"),
    (batch_norm, BATCH_NORM, "dhbn * gain", "dhbn", "dxhat", "missing factor"),
    (batch_norm, BATCH_NORM, "dhbn * gain", "dhbn / gain", "dxhat", "inverted factor"),
    (batch_norm, BATCH_NORM, "* -0.5 *", "* 0.5 *", "dvar", "sign"),
    (batch_norm, BATCH_NORM, "** -1.5", "** -0.5", "dvar", "wrong power"),
    (batch_norm, BATCH_NORM, "dvar * 2 * diff", "dvar * diff", "ddiff", "scale"),
    (batch_norm, BATCH_NORM, "dxhat * inv + ", "", "ddiff", "lost share"),
    (batch_norm, BATCH_NORM, " + dvar * 2 * diff / (N - 1)", "", "ddiff", "lost share"),
    (batch_norm, BATCH_NORM, "-ddiff.sum", "ddiff.sum", "dmean", "sign"),
    (batch_norm, BATCH_NORM, "+ dmean / N", "+ dmean", "dhpre", "scale"),
    (batch_norm, BATCH_NORM, "ddiff + dmean / N", "ddiff", "dhpre", "lost share"),
    (batch_norm, BATCH_NORM, "(dhbn * xhat).sum(0)", "(dhbn * diff).sum(0)", "dgain", ""),
    (embedding, EMBEDDING, "np.add.at(dC, x, demb)", "dC[x] = demb", "dC", "overwritten"),
    (embedding, EMBEDDING, "(1 - h**2)", "h", "demb", "value for slope"),
    (embedding, EMBEDDING, "demb = (dh * ", "demb = (", "demb", "no upstream"),
    (attention, ATTENTION, "2 * (out - y)", "(out - y)", "dout", "scale"),
    (attention, ATTENTION, "@ k / 2", "@ k", "dq", "scale"),
    (attention, ATTENTION, "dscores.swapaxes(1, 2) @ q", "dscores @ q", "dk", "transpose"),
    (attention, ATTENTION, "datt - (datt * att).sum(-1, keepdims=True)", "datt", "dscores", ""),
    (attention, ATTENTION, "(datt * att).sum(-1", "(datt * att).sum(1", "dscores", "wrong axis"),
    (attention, ATTENTION, "att.swapaxes(1, 2) @ dout", "att @ dout", "dv", "transpose"),
    (pooling, POOLING, "x.T @ dimage", "x.T @ image", "dW", "value for gradient"),
    (cell, CELL, "h1.T @ dz2 + h0.T @ dz1", "h1.T @ dz2", "dWh", "lost share"),
    (cell, CELL, "h1.T @ dz2 + h0", "h1.T @ dz2 - h0", "dWh", "sign"),
    (cell, CELL, "dz2.sum(0) + dz1.sum(0)", "dz1.sum(0)", "db", "lost share"),
    (cell, CELL, "dz2 @ Wh.T", "dz2 @ Wh", "dh1", "transpose"),
    (cell, CELL, "(1 - h1**2)", "(1 - h2**2)", "dz1", "wrong operand"),
    (lenet, LENET, "dk2 = dc2.sum((0, 2, 3))", "dk2 = dc2", "dk2", "missing sum"),
    (lenet, LENET, "dk2 = dc2.sum((0, 2, 3))", "dk2 = dc2.sum((0, 2))", "dk2", "wrong axis"),
    (lenet, LENET, "dc2 = top2 * ds2", "dc2 = 1.0 * top2  # ", "dc2", "no upstream"),
    (lenet, LENET, "dc2.sum((0, 2, 3))", "top2.sum((0, 2, 3))", "dk2", "value for gradient"),
    (lenet, LENET, "+= np.einsum", "= np.einsum", "da1", "overwritten"),
    (
        softmax,
        SOFTMAX,
        "np.eye(logits.shape[1])[y]",
        "np.eye(logits.shape[1])[y] * 2",
        "dlogits",
        "",
    ),
]


@pytest.mark.parametrize(
    ("network", "lines", "right", "wrong", "answer", "kind"),
    CASES,
    ids=[f"{c[0].__name__}-{i}" for i, c in enumerate(CASES)],
)
def test_a_slip_is_marked_once_and_named(
    network: Any, lines: str, right: str, wrong: str, answer: str, kind: str
) -> None:
    assert right in lines
    _, values = traced(network)
    report = judged(network, backward_of(lines.replace(right, wrong, 1))(**values))
    marked = [name for name in report if report[name].verdict == "wrong"]
    assert marked == [answer], str(report)
    kinds = {fault.kind for fault in report[answer].faults}
    assert kinds
    if kind:
        assert kind in kinds, (kinds, str(report))
    assert not report.ok


@cache
def traced(network: Any) -> tuple[Any, dict[str, Any]]:
    """The program of a network, and what a student starts from: the forward values by name."""
    tg.manual_seed(1)
    step, inputs = network()
    program = program_of(step, inputs)
    return program, grader.Judge(program, []).forward()


@cache
def judge_of(network: Any, names: tuple[str, ...]) -> grader.Judge:
    """What teach.check makes of a network before it looks at the answers."""
    return grader.Judge(traced(network)[0], list(names))


def judged(network: Any, answers: dict[str, Any]) -> teach.Report:
    """What teach.check says of answers to a network."""
    judge = judge_of(network, tuple(answers))
    given = {name: numbers(name, x) for name, x in answers.items()}
    return grader.report(judge, *judge.judge(given))


@pytest.mark.parametrize(
    ("network", "lines"),
    [(logistic, LOGISTIC), (softmax, SOFTMAX), (two_layers, TWO_LAYERS), (batch_norm, BATCH_NORM),
     (embedding, EMBEDDING), (attention, ATTENTION), (cell, CELL), (lenet, LENET),
     (pooling, POOLING)],
    ids=lambda x: getattr(x, "__name__", ""),
)  # fmt: skip
def test_what_is_right_is_right_on_other_examples_too(network: Any, lines: str) -> None:
    tg.manual_seed(1)
    step, inputs = network()
    report = teach.check(step, inputs, backward_of(lines))
    assert report.ok, str(report)
    assert len(report) >= 2


def test_every_slip_that_is_looked_for_can_be_run() -> None:
    program, _ = traced(softmax)
    judge = grader.Judge(program, [])
    for book in judge.respelled:
        lines = [way for line in book.lines for way in (line, *line.others)]
        found = [x for way in lines for x in changes(way, book.truth, book.slopes, [3])]
        assert all(change.now.code for change in found)
        assert {change.kind for change in found} >= {"rows for columns", "wrong operand", "sign"}


def two_layers_with(**wrong: str) -> teach.Report:
    """The report on the two-layer network where some lines are written otherwise."""
    _, values = traced(two_layers)
    text = TWO_LAYERS
    for name, line in wrong.items():
        old = next(x for x in text.splitlines() if x.startswith(f"{name} = "))
        text = text.replace(old, f"{name} = {line}")
    return judged(two_layers, backward_of(text)(**values))


def test_the_report_reads_as_a_teacher_writes() -> None:
    report = two_layers_with(dlogits="p - onehot", dz="dh")
    assert str(report).splitlines() == [
        "dlogits  ✗  32 times too large: the 1/N of the mean over the 32 samples is missing",
        "db2      ✓  follows from your dlogits",
        "dh       ✓  follows from your dlogits",
        "dW2      ✓  follows from your dlogits",
        "dz       ✗  dz = dh * (h > 0) belongs here; yours uses dh: the slope of relu is missing",
        "db1      ✓  follows from your dz",
        "dW1      ✓  follows from your dz",
    ]
    assert not report.ok
    assert len(report) == 7
    assert report["dW1"].verdict == "follows"
    assert str(report["dW1"]) == "dW1  ✓  follows from your dz"
    assert all(fault.kind in teach.FAULTS for fault in report["dz"].faults)
    assert {fault.line for fault in report["dz"].faults} == {"dz = dh * (h > 0)"}


@pytest.mark.parametrize(
    ("reduce", "said"),
    [
        (lambda h: h.sum(), "dw  ✗  2 times too large: a factor 1/2 is missing"),
        (lambda h: h.mean(0).sum(), "dw  ✗  2 times too large: the 1/N of the mean over the 2"),
        (lambda h: h.sum() / len(h), "dw  ✗  2 times too large: the 1/N of the mean over the 2"),
    ],
)
def test_a_mean_is_missing_only_where_there_is_one(reduce: Callable[..., Any], said: str) -> None:
    w = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x = tg.tensor([[1.0, 2.0, 3.0], [3.0, 4.0, 6.0]])
    right = 2 * x.numpy().sum(0) * w.detach().numpy()
    answer = {"dw": 2 * right / (1 if said.endswith("is missing") else 2)}
    assert str(teach.check(lambda x: reduce(x * w**2), (x,), answer)).startswith(said)


def test_a_mask_of_booleans_is_given_and_stands_for_no_labels() -> None:
    later = tg.ones(3, 3).triu(1) > 0

    def attend(s: Any, v: Any) -> Any:
        A = F.softmax(s.masked_fill(later, -float("inf")), 1)
        h = A @ v
        return (h**2).sum() / 2

    s = tg.tensor([[1.0, 2, 3], [0, -1, 2], [2, 0, 1]]).requires_grad_()
    v = tg.tensor([[1.0, 0], [2, 1], [-1, 3]])
    e = np.exp(s.numpy(force=True)) * np.tril(np.ones((3, 3)))
    A = e / e.sum(1, keepdims=True)
    dA = A @ v.numpy() @ v.numpy().T
    right = A * (dA - (A * dA).sum(1, keepdims=True))
    assert teach.check(attend, (s, v), {"ds": right}).ok
    verdict = teach.check(attend, (s, v), {"ds": A * dA})["ds"]
    assert "the share (dA * A).sum(axis=1, keepdims=True) is lost" in verdict.text


def test_expected_is_the_gradient() -> None:
    tg.manual_seed(1)
    step, (x, y) = two_layers()
    W1 = next(w for w in (c.cell_contents for c in step.__closure__) if tuple(w.shape) == (5, 4))
    step(x, y)
    report = teach.check(step, (x, y), {"dW1": np.zeros((5, 4))})
    np.testing.assert_allclose(report["dW1"].expected, W1.grad.numpy(), rtol=1e-4, atol=1e-7)


def test_two_slips_in_one_answer_are_both_named() -> None:
    report = two_layers_with(dz="-dh")
    kinds = [set(fault.kind.split(" and ")) for fault in report["dz"].faults]
    assert {"sign", "missing factor"} in kinds


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("h.T @ dlogits + np.sin(np.arange(12.0)).reshape(4, 3)", "first difference is [0, 1]"),
        ("(h.T @ dlogits) * np.array([[3.3], [4.4], [5.5], [6.6]])", "the same over each row"),
        ("(h.T @ dlogits) * np.array([3.3, 4.4, 5.5])", "the same over each column"),
        ("(h.T @ dlogits) * 3.3", "the same over all elements: 3.3"),
        ("(h.T @ dlogits)[:2]", "its shape is (2, 3), wanted (4, 3)"),
    ],
)
def test_what_nothing_explains_is_said_to_be_unexplained(
    line: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grader, "PAIRS", 200)  # the search ends sooner
    verdict = two_layers_with(dW2=line)["dW2"]
    assert (verdict.verdict, verdict.faults) == ("wrong", ())
    assert said in verdict.text


def test_a_slip_that_shows_on_other_inputs_alone_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grader, "PAIRS", 200)
    tg.manual_seed(1)
    step, inputs = two_layers()
    lines = TWO_LAYERS.replace("/ len(y)", "/ 32")
    report = teach.check(step, inputs, backward_of(lines))
    assert report["dlogits"].text.startswith("on other inputs, (33, 5) and (33,): ")
    assert report["dW1"].verdict == "right"  # on the first example, and it follows on the others


def test_a_function_that_gives_nothing_of_use_is_judged_on_other_inputs_too() -> None:
    tg.manual_seed(1)
    step, inputs = two_layers()
    for value, said in (
        ("0", "all zeros"),
        ("1", "all elements are the same"),
        ("np.nan", "not fin"),
    ):
        lines = f"{TWO_LAYERS}dW1 = np.full_like(dW1, {value})"
        report = teach.check(step, inputs, backward_of(lines))
        assert [x.name for x in report.values() if x.verdict == "wrong"] == ["dW1"]
        assert report["dW1"].text.startswith(said) and report["dW1"].faults == ()


def test_a_gradient_that_is_a_constant_is_judged_too() -> None:
    w = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)

    def step(x):
        h = x * w
        m = h.mean()
        return 3 * m

    x = tg.tensor([[1.0, 2.0, 3.0], [3.0, 4.0, 6.0]])
    right = {"dm": 3.0, "dh": np.full((2, 3), 0.5), "dw": x.numpy().sum(0) / 2}
    report = teach.check(step, (x,), right)
    assert report.ok and list(report) == ["dm", "dh", "dw"]
    report = teach.check(step, (x,), right | {"dh": np.full((2, 3), 3.0)})
    assert [v.verdict for v in report.values()] == ["right", "wrong", "right"]
    assert report["dh"].text.startswith("6 times too large")


def test_an_input_has_no_line_to_be_wrong_in() -> None:
    program, values = traced(two_layers)
    verdict = teach.check(program, (), {"x": values["x"] + 1})["x"]
    assert (verdict.verdict, verdict.faults) == ("wrong", ())


def test_causes_that_part_on_other_inputs_are_told_apart() -> None:
    w = tg.tensor([2.0, 2.0, 2.0], requires_grad=True)

    def step(x: Any) -> Any:
        z = w * x
        return (z * z).sum()

    def backward(x: Any, w: Any, z: Any) -> dict[str, Any]:
        return {"dz": 2 * z, "dw": 2 * z * w}  # w for x, which are equal on the first example

    first = teach.check(step, (tg.full((3,), 2.0),), {"dw": np.full(3, 16.0)})
    assert first.ok
    report = teach.check(step, (tg.tensor([1.0, 2.0, 3.0]),), backward)
    assert [fault.kind for fault in report["dw"].faults] == ["wrong operand"]


OTHER_SPELLINGS = [
    # what is done to z; how its slope is written, and the slips in that with their kinds
    (F.softplus, "p = 1 / (1 + np.exp(-z)); dh * p",
     [("dh * p", "dh", "missing factor"), ("* p", "* p * (1 - p)", "factor too many"),
      ("dh * p", "dh * h", ""), ("dh * p", "-dh * p", "sign"), ("-z", "z", "sign"),
      ("dh * p", "p", "no upstream")]),
    (F.logsigmoid, "p = 1 / (1 + np.exp(-z)); dh * (1 - p)",
     [("(1 - p)", "(1 + p)", "sign"), ("(1 - p)", "p", "value for slope"),
      ("dh * ", "", "no upstream"), ("(1 - p)", "(1 - h)", "wrong operand")]),
    (tg.sigmoid, "p = 1 / (1 + np.exp(-z)); dh * p * (1 - p)",
     [(" * (1 - p)", "", "missing factor"), ("(1 - p)", "(1 + p)", "sign"),
      ("p * (1 - p)", "z * (1 - z)", "wrong operand"), ("dh * p", "dh * z", "")]),
    (F.silu, "p = 1 / (1 + np.exp(-z)); dh * p * (1 + z * (1 - p))",
     [("z * ", "", "missing factor"), ("(1 + z", "(1 - z", "sign"), ("1 + z", "z", "lost share"),
      ("dh * p *", "dh *", "missing factor"), (" * (1 + z * (1 - p))", "", "")]),
    (F.gelu, "c = 0.5 * (1 + np.vectorize(math.erf)(z / np.sqrt(2)))\n"
     "f = np.exp(-z**2 / 2) / np.sqrt(2 * np.pi); dh * (c + z * f)",
     [("z * f", "f", "missing factor"), ("c + ", "", "lost share"), ("-z**2", "z**2", "sign")]),
    (lambda z: F.softmax(z, 1), "dh * h - h * (dh * h).sum(1, keepdims=True)",
     [("- h", "+ h", "sign"), (" - h * (dh * h).sum(1, keepdims=True)", "", "lost share"),
      ("(1,", "(0,", "wrong axis"), ("- h * ", "- ", "missing factor")]),
    (lambda z: F.log_softmax(z, 1), "dh - np.exp(h) * dh.sum(1, keepdims=True)",
     [("(1,", "(0,", "wrong axis"), ("np.exp(h) * ", "", "missing factor"),
      ("- np", "+ np", "sign")]),
    (lambda z: F.layer_norm(z, (4,)),
     "s = 1 / np.sqrt(z.var(1, keepdims=True) + 1e-5)\n"
     "s / 4 * (4 * dh - dh.sum(1, keepdims=True) - h * (dh * h).sum(1, keepdims=True))",
     [("4 * dh -", "dh -", "missing factor"), ("- h * ", "+ h * ", "sign"),
      ("s / 4", "s", ""), (" - dh.sum(1, keepdims=True)", "", "lost share")]),
    (lambda z: F.layer_norm(z, (4,), tg.tensor([2.0, 0.5, 3.0, -1.0])),
     "n = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5)\n"
     "g = dh * [2.0, 0.5, 3.0, -1.0]; s = 1 / np.sqrt(z.var(1, keepdims=True) + 1e-5)\n"
     "s * (g - g.mean(1, keepdims=True) - n * (g * n).mean(1, keepdims=True))",
     [("s * (g -", "s * (dh -", ""), ("- n *", "+ n *", "sign"),
      ("(g * n)", "g", "missing factor")]),
]  # fmt: skip


def test_slips_in_another_spelling_than_the_listing_are_named() -> None:
    tg.manual_seed(1)
    for f, right, slips in OTHER_SPELLINGS:
        W1, W2 = made(5, 4), made(4, 2)

        def step(x: Any, y: Any, f: Any = f, W1: Any = W1, W2: Any = W2) -> Any:
            z = x @ W1
            h = f(z)
            out = h @ W2
            return ((out - y) ** 2).mean()

        program = program_of(step, (tg.randn(6, 5), tg.randn(6, 2)))
        judge = grader.Judge(program, ["dh", "dz"])
        values = judge.forward()
        *first, last = right.replace("; ", "\n").splitlines()
        text = "\n".join([*first, f"dz = {last}"])
        for old, new, kind in [("", "", ""), *slips]:
            assert old in text
            space = {"np": np, "math": math, **values, "dh": 2 / 12 * (values["out"] - values["y"])}
            space["dh"] = space["dh"] @ values["W2"].T
            exec(text.replace(old, new, 1) if old else text, space)
            report = grader.report(judge, *judge.judge({x: space[x] for x in ("dh", "dz")}))
            if not old:
                assert report.ok, (right, str(report))
                continue
            assert report["dh"].verdict == "right"
            kinds = {x for fault in report["dz"].faults for x in fault.kind.split(" and ")}
            assert kinds and (kind in kinds or not kind), (right, old, new, str(report))


def test_the_price_of_an_answer_is_told_in_the_names_of_the_step() -> None:
    z = tg.tensor([2.0, -1.0, 0.5, -3.0, 1.5], requires_grad=True)
    truth = tg.tensor([1.0, 0, 0, 1, 1])

    def price(z: Any, y: Any) -> Any:
        h = F.sigmoid(z)
        return -(y * tg.log(h) + (1 - y) * tg.log(1 - h)).sum()

    def squares(z: Any, y: Any) -> Any:
        h = F.sigmoid(z)
        return 0.5 * ((h - y) ** 2).sum()

    def surprise(z: Any, y: Any) -> Any:
        h = F.sigmoid(z)
        return -tg.log(h).sum()

    h = 1 / (1 + np.exp(-z.detach().numpy()))
    y = truth.numpy()
    dh = (h - y) / (h * (1 - h))
    for step, answers, said in (
        (price, {"dh": dh, "dz": dh}, "yours uses dh: the slope of sigmoid is missing"),
        (squares, {"dz": h - y}, "yours uses dh: the slope of sigmoid is missing"),
        (price, {"dh": -y / h}, "the share (1 - y) / (1 - h) is lost"),
        (price, {"dh": h - y}, "dh = (h - y) / (h * (1 - h)) belongs here; yours uses h - y: "),
        (surprise, {"dh": -np.log(h)}, "np.log(h) stands where its slope 1 / h belongs"),
        (surprise, {"dh": -1 / h, "dz": -1 / h + h * (1 - h)}, "is added where it should be a fac"),
    ):
        report = teach.check(step, (z, truth), answers)
        assert [x.verdict for x in report.values()][-1] == "wrong"
        assert said in str(report)


def weighted(z: Any, c: Any) -> Any:
    h = F.sigmoid(z)
    return (c * h).sum()


Z, C = np.array([2.0, -1.0, 0.5, -3.0, 1.5]), np.array([1.0, 3.0, -2.0, 0.5, -1.0])
H, X5 = 1 / (1 + np.exp(-Z)), np.array([0.5, -1.0, 2.0, 3.0, -0.25])
U5 = X5 * X5 + 1
TOLD = [  # a step, answers, what is said
    # what nobody has named is spelled out where it is read, with the brackets that it needs
    (weighted, Z, {"dz": H * (1 - H)},
     "dz  ✗  z2 = c * h belongs here; yours uses h: the factor c is missing"),
    (weighted, Z, {"dz": C * H},
     "dz  ✗  dz = c * h * (1 - h) belongs here; yours uses c * h: the factor 1 - h is missing"),
    # a slope is missing where all of it is
    (weighted, Z, {"dz": C},
     "dz  ✗  dz = c * h * (1 - h) belongs here; yours uses c: the slope of sigmoid is missing"),
    (lambda z, c: (c * F.silu(z)).sum(), Z, {"dz": C},
     "belongs here; yours uses c: the slope of silu is missing"),
    (lambda z, c: (c * F.silu(z)).sum(), Z, {"dz": C * H + C * H * (1 - H)},
     "dz  ✗  dp = c * z belongs here; yours uses c: the factor z is missing"),
    (lambda z, c: (c * F.relu(z) + c * z).sum(), Z, {"dz": C}, "the share c * (h > 0) is lost"),
    (lambda z, c: (c * tg.tanh(z)).sum(), Z, {"dz": C * (1 - np.tanh(Z))},
     "np.tanh(z) stands where np.tanh(z) * np.tanh(z) belongs: its square is missing"),
    # the slope of what is inside
    (lambda z, c: (tg.log(z * z + 1) ** 2).sum(), X5, {"dz": 2 * np.log(U5) / U5},
     "yours uses 2 * (log / (1 + z * z)): the factor 2 * z is missing"),
    (lambda z, c: (tg.log(z * z + 1) ** 2).sum(), X5, {"dz": 4 * np.log(U5) * X5},
     "yours uses 4 * (log * z): the division by 1 + z * z is missing"),
    (lambda z, c: (c * (z * z + 1) ** 3).sum(), X5, {"dz": 3 * C * U5**2},
     "the factor 2 * z is missing"),
    (lambda z, c: (c * tg.sqrt(z * z + 1)).sum(), X5, {"dz": C / np.sqrt(U5) / 2},
     "the factor 2 * z is missing"),
    (lambda z, c: (c * tg.sin(z**3)).sum(), X5, {"dz": C * np.cos(X5**3)},
     "the factor 3 * z ** 2 is missing"),
]  # fmt: skip


def test_what_is_said_of_usual_slips() -> None:
    for step, z, answers, said in TOLD:
        named = lambda z, c, step=step: step(z, c)  # noqa: E731
        report = teach.check(named, (tg.tensor(z, requires_grad=True), tg.tensor(C)), answers)
        assert said in str(report), (said, str(report))


def test_a_mean_is_told_of_a_sum_that_is_divided_alone() -> None:
    x, W = tg.tensor(np.eye(4, 3) + 1), tg.tensor(np.eye(3, 2) - 2, requires_grad=True)
    mean, none = "the 1/N of the mean over the 4 samples is missing", "a factor 1/4 is missing"
    weights = tg.tensor(np.arange(8.0).reshape(4, 2))
    for loss, said in (
        (lambda z: ((z / 4) ** 2).sum(), none),
        (lambda z: (weights * F.softmax(z / 4, 1)).sum(), none),
        (lambda z: ((z - z.mean(0)) ** 2).sum(), none),
        (lambda z: (z**2).mean(1).sum(), none),
        (lambda z: (z**2).mean(), mean),
        (lambda z: ((z @ z.T) ** 2).mean(0).sum(), mean),
        (lambda z: ((z @ z.T) ** 2).mean((-1, -2)), mean),
        (lambda z: (z**2).view(8).mean(), mean),
        (lambda z: (z**2 / 4).sum(), mean),
        (lambda z: ((z**2).sum() + 3 * z.sum()) / len(z), mean),
        (lambda z: -(F.log_softmax(z, 1)[:, 0]).mean(), mean),
        (lambda z: tg.ones(4, dtype=tg.float64) @ z[:, 0] ** 2 / 4, mean),
    ):
        program = program_of(lambda x, loss=loss: loss(x @ W), (x,))
        right = grader.Judge(program, ["dW"]).truth["dW"]
        text = teach.check(program, (), {"dW": 4 * right})["dW"].text
        assert text.endswith(said) and text.startswith("4 times too large"), (text, said)


def test_nothing_is_wrong_with_a_batch_of_no_samples() -> None:
    W = tg.eye(3, 2).requires_grad_()

    def step(x: Any) -> Any:
        z = x @ W / 4
        return (z**2).sum()

    x = tg.zeros(0, 3)
    assert teach.check(step, (x,), {"dz": np.ones((0, 2)), "dW": np.zeros((3, 2))}).ok
    assert teach.check(step, (x,), lambda x, z: {"dW": x.T @ (z / 2)}).ok
    assert teach.check(step, (x,), {"dW": np.ones((3, 2))})["dW"].faults == ()


def test_zeros_alone_are_explained_by_nothing_that_is_zero_on_every_example() -> None:
    tg.manual_seed(0)
    W, V = tg.randn(3, 4, requires_grad=True), tg.randn(4, 2, requires_grad=True)

    def step(x: Any, y: Any) -> Any:
        h = F.sigmoid(x @ W)
        return ((h @ V - y) ** 2).sum()

    for name in ("dW", "dV"):
        verdict = teach.check(step, (tg.randn(5, 3), tg.randn(5, 2)), {name: W.numpy(force=True) * 0
                              if name == "dW" else np.zeros((4, 2))})[name]  # fmt: skip
        assert verdict.text.startswith("all zeros") and verdict.faults == ()


def test_a_sum_over_all_axes_and_a_transpose_are_told_as_they_are_written() -> None:
    b, x = tg.tensor([1.0, -2.0, 3.0], requires_grad=True), tg.tensor([[1.0, 2, 3], [3, 1, -1]])
    V = tg.arange(6.0).reshape(2, 3).requires_grad_()

    def step(x: Any) -> Any:
        h = x + b
        return (h**2).sum()

    def layer(x: Any) -> Any:
        z = x @ V.T
        return (z**2).sum()

    dh = 2 * (x + b).numpy(force=True)
    dz = 2 * (x @ V.T).numpy(force=True)
    for f, answers, said in (
        (step, {"dh": dh, "db": dh.sum()}, "yours uses dh.sum(): dh is summed over axes (0, 1)"),
        (step, {"db": dh.sum(1)}, "the sum runs over axis 1"),
        (layer, {"dz": dz, "dV": x.numpy().T @ dz}, "; yours is the transpose of dz.T @ x"),
        (
            layer,
            {"dz": dz[:, ::-1], "dV": dz[:, ::-1].T @ x.numpy()},
            "dV  ✓  follows from your dz",
        ),
    ):
        assert said in str(teach.check(f, (x,), answers))


def test_products_of_matrices_that_are_none_and_of_sums_are_named() -> None:
    tg.manual_seed(1)
    x, W, b = tg.randn(3, 3), tg.randn(3, 3, requires_grad=True), tg.randn(3, requires_grad=True)

    def step(x: Any) -> Any:
        h = x * b
        z = h @ W
        return (z**2).sum()

    X, V, B = x.numpy(), W.detach().numpy(), b.detach().numpy()
    dz = 2 * (X * B) @ V
    dh = dz @ V.T
    for name, answer, kind in (
        ("dh", dz * V, "elementwise"),
        ("dh", dz * V.T, "elementwise"),
        ("dW", (X * B) * dz, "elementwise"),
        ("dh", dz, "missing factor"),
        ("dW", dz, "missing factor"),
        ("dW", (X * B).T, "no upstream"),
        ("db", dh.sum(0) * X.sum(0), "product of sums"),
    ):
        verdict = teach.check(step, (x,), {"dz": dz, name: answer})[name]
        assert [fault.kind for fault in verdict.faults] == [kind], verdict.text


def test_no_line_reads_what_it_makes() -> None:
    def step(h: Any) -> Any:
        return -tg.log(h).sum()

    h = tg.tensor([0.9, 0.3, 0.6], requires_grad=True)
    verdict = teach.check(step, (h,), {"dh": h.detach().numpy()})["dh"]
    assert verdict.verdict == "wrong" and "dh stands where" not in verdict.text


def test_the_slope_of_sigmoid_does_not_belong_to_a_loss_that_has_it() -> None:
    program, values = traced(logistic)
    text = LOGISTIC.replace("(p - y) / len(y)", "(p - y) * p * (1 - p) / len(y)")
    verdict = teach.check(program, (), backward_of(text)(**values))["dz"]
    assert verdict.text.endswith("the factor p * (1 - p) does not belong there")


def test_two_sizes_too_many_are_told_from_the_parameters_alone() -> None:
    program, values = traced(cell)
    for wrong, words in (
        ("2 * (h2 - y) * h2.size", "576 times too large"),
        ("-2 * (h2 - y) / h2.size / h2.size", "24 times too small"),
        ("2 * (y - h2) * h2.size", "576 times too large, and the sign is the other way round"),
    ):
        given = backward_of(CELL.replace("2 * (h2 - y) / h2.size", wrong))(**values)
        report = teach.check(program, (), {name: given[name] for name in ("db", "dWx", "dWh")})
        assert report["db"].text.startswith(words)
        assert {report[x].text for x in ("dWx", "dWh")} == {"follows from the slip in db"}


def test_answers_may_come_from_anywhere() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)

    def step(x: Any) -> Any:
        y = (x * w).sum()
        return y**2

    x = tg.tensor([3.0, 1.0])
    for answer in ([30.0, 10.0], np.array([30, 10]), tg.tensor([30.0, 10.0], requires_grad=True)):
        assert teach.check(step, (x,), {"dw": answer}).ok
    shares = [tg.tensor([10.0, 5.0], requires_grad=True), np.array([20, 5])]
    assert teach.check(step, (x,), {"dw": shares}).ok
    assert teach.check(step, (np.float32(3.0),), lambda w, y: {"dw": 2 * y * 3 + 0 * w}).ok


ROW = tg.tensor([3.0, 1.0])
RIGHT = np.array([30.0, 10.0])


@pytest.mark.parametrize(
    ("inputs", "answers", "error", "said"),
    [
        ((ROW,), {"dw": "ten"}, ValueError, "dw is 'ten'; wanted an array of numbers"),
        ((ROW,), {"dw": None}, ValueError, "dw is None; wanted an array of numbers"),
        ((ROW,), lambda v: {"dw": v}, KeyError, "the function asks for v; the forward pass has "),
        # inputs
        (ROW, {"dw": RIGHT}, TypeError, "the inputs of a step are a Tensor; wanted a tuple: (x, "),
        (3.0, {"dw": RIGHT}, TypeError, "the inputs of a step are a float; wanted a tuple"),
        (ROW.numpy(), {"dw": RIGHT}, TypeError, "the inputs of a step are a ndarray; wanted a tu"),
        ((ROW, ROW), {"dw": RIGHT}, TypeError, "step(x) is given 2 inputs: too many positional"),
        ((), {"dw": RIGHT}, TypeError, "step(x) is given 0 inputs: missing a required argument"),
        # answers
        ((ROW,), RIGHT, TypeError, "the answers are a ndarray; wanted a dict of arrays by name"),
        ((ROW,), [RIGHT], TypeError, 'the answers are a list; wanted a dict of arrays by name'),
        ((ROW,), None, TypeError, "the answers are None; wanted a dict"),
        ((ROW,), {}, ValueError, "there are no answers; wanted arrays by name"),
        ((ROW,), lambda x: x, TypeError, "<lambda> gave a ndarray; wanted a dict of arrays by"),
        ((ROW,), lambda: None, TypeError, "<lambda> gave None; wanted a dict of arrays by name"),
        ((ROW,), lambda: {}, ValueError, "<lambda> gave no answers; wanted arrays by name"),
        # shares
        ((ROW,), {"dw": [RIGHT, RIGHT[:1]]}, ValueError, "dw is a list of arrays of shapes ("),
        ((ROW,), {"dw": [tg.ones(2, 2), RIGHT]}, ValueError, "; the shares of a gradient have one"),
        ((ROW,), {"dw": [[1.0], [2.0, 3.0]]}, ValueError, "dw is a list of rows of different leng"),
        # names
        ((ROW,), {"dv": RIGHT}, KeyError, "'dv' is no value of the step; it has dy, dw, y"),
        ((ROW,), {"dW": RIGHT}, KeyError, ". Did you mean 'dw'?"),
        ((ROW,), {"grad_Y": 1}, KeyError, ". Did you mean 'dy'?"),
        ((ROW,), {"dx": RIGHT}, KeyError, "No gradient flows to x: it has no requires_grad=True"),
        ((ROW,), {"dlogits": RIGHT}, KeyError, "without a name is given one in the step: logits ="),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused_in_words(
    inputs: Any, answers: Any, error: type[Exception], said: str
) -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)

    def step(x: Any) -> Any:
        y = (x * w).sum()
        return y**2

    with pytest.raises(error) as found:
        teach.check(step, inputs, answers)
    assert said in str(found.value.args[0])


def test_a_step_that_gives_no_loss_or_no_gradient_is_refused_in_words() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    for given in (None, 3.0):
        with pytest.raises(TypeError, match=f"<lambda> gave {given}; wanted a loss: does it end"):
            teach.check(lambda x: given, (ROW,), {"dw": RIGHT})  # noqa: B023
    with pytest.raises(KeyError, match=r"calls no loss\.backward"):
        teach.check(tg.trace(lambda x: (x * w).sum(), ROW), (), {"dw": RIGHT})


def test_of_a_model_the_paths_of_its_parameters_are_told() -> None:
    tg.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))

    def step(x: Any, y: Any) -> Any:
        return F.cross_entropy(model(x), y)

    inputs = (tg.ones(4, 2), tg.tensor([0, 1, 1, 0]))
    for name, said in {
        "dlogits": "What is computed without a name is given one in the step: logits = ...; a "
        "parameter of a model is called by its path: 0.weight",
        "0.wieght": "Did you mean '0.weight'?",
        "dp": "No gradient of p is computed in it",
        "model.4": "given one in the step: h = ...",
    }.items():
        with pytest.raises(KeyError) as found:
            teach.check(step, inputs, {name: 0.0})
        assert said in found.value.args[0]
    assert not teach.check(step, inputs, {"0.weight": tg.zeros(3, 2)}).ok


def test_a_step_of_one_number_of_samples_is_tried_on_that_alone() -> None:
    W = made(6, 2)

    def step(x: Any) -> Any:
        return x.view(3, 6).mm(W).sum()

    inputs = (tg.randn(3, 2, 3),)
    report = teach.check(step, inputs, lambda x: {"dW": x.reshape(3, 6).T @ np.ones((3, 2))})
    assert report.ok


def test_a_sum_over_everything_has_no_axis() -> None:
    scale = tg.tensor(3.0, requires_grad=True)

    def step(x: Any) -> Any:
        return ((x * scale) ** 2).mean()

    x = np.array([1.0, 2.0, 4.0, 5.0], np.float32)
    right = (2 * x * 3 / 4 * x).sum()
    report = teach.check(step, (tg.tensor(x),), {"dscale": right / 4})
    assert "mean for sum" in {fault.kind for fault in report["dscale"].faults}
    assert teach.check(step, (tg.tensor(x),), {"dscale": right}).ok


def test_overlapping_windows_are_added_up() -> None:
    program, _ = traced(pooling)
    book = Book(program, "formula")
    line = next(x for x in book.lines if x.name == "dimage")
    text = line.text.replace("+=", "=")
    space = dict(book.truth)
    exec(text, {"np": np}, space)
    report = teach.check(program, (), {"dimage": space["dimage"]})
    assert [fault.kind for fault in report["dimage"].faults] == ["overwritten"]


def test_a_sample_of_all_slips_is_named_and_none_wrongly() -> None:
    tallies = [grading.Tally(), grading.Tally()]
    for network in ("softmax regression", "embedding"):
        slips = list(grading.singles(network))
        for kind, what, given in slips[::12]:
            tallies[0].add({kind}, what, network, given, grading.lines_of(network, what))
            only = [{k: x[k] for k in sorted(grading.parameters(network))} for x in given]
            tallies[1].add({kind}, what, network, only, set())
    assert [tally.missed for tally in tallies] == [[], []]
    assert tallies[0].all > 8


def test_answers_that_are_no_numbers_or_not_finite_are_told_apart() -> None:
    w = tg.tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)

    def step(x: Any) -> Any:
        return (x * w).exp().sum()

    x = np.array([1.0, 2.0, 3.0])
    right = np.exp(x * x) * x
    for answer, said in (
        ([np.inf, *right[1:]], "not finite; the first difference is [0]: yours inf, right 2.7183"),
        ([np.nan] * 3, "yours nan, right 2.7183"),
        ([0.0] * 3, "all zeros; the first difference is [0]: yours 0, right 2.7183"),
        ([4.0] * 3, "all elements are the same; the first difference is [0]: yours 4"),
        (right * [1, 1, 1 + 1e-7], "yours 24309.2542, right 24309.2518"),
        (np.array([right] * 3), "its shape is (3, 3), wanted (3,)"),
        ([], "its shape is (0,), wanted (3,)"),
        (3.0, "its shape is (), wanted (3,)"),
    ):
        text = teach.check(step, (tg.tensor(x),), {"dw": answer})["dw"].text
        assert said in text, text


def test_a_mean_over_the_places_of_a_row_is_told_from_their_sum() -> None:
    ids, want = tg.tensor([1, 0, 2, 0, 2, 0]), tg.arange(12.0).reshape(6, 2) ** 2
    E = tg.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]], requires_grad=True)

    def step(ids: Any, want: Any) -> Any:
        x = F.embedding(ids, E)
        return ((x - want) ** 2).sum() / 2

    dx = E.detach().numpy()[ids.numpy()] - want.numpy()
    rows = [dx[ids.numpy() == k] for k in range(3)]
    assert teach.check(step, (ids, want), {"dE": np.stack([r.sum(0) for r in rows])}).ok
    verdict = teach.check(step, (ids, want), {"dE": np.stack([r.mean(0) for r in rows])})["dE"]
    assert verdict.text.endswith("get the sum of their shares, not the mean")


def test_an_answer_that_is_rounding_alone_is_explained_by_what_cancels() -> None:
    program, values = traced(batch_norm)
    lines = BATCH_NORM.replace("dbias = dhbn.sum(0)", "dbias = dhpre.sum(0)") + "\n"
    move = "dbias = dhpre.sum(0)\n"
    report = teach.check(program, (), backward_of(lines.replace(move, "") + move)(**values))
    assert "dhpre stands where dhbn belongs" in {
        f.text.partition(": ")[2] for f in report["dbias"].faults
    }


def test_an_answer_of_another_shape_does_not_stop_those_after_it() -> None:
    program, values = traced(two_layers)
    for wrong in ("dlogits", "(dh * (h > 0)).T", "np.ones((2, 3, 4))"):
        answers = backward_of(TWO_LAYERS)(**values)
        answers["dz"] = eval(wrong, {"np": np}, answers | values)
        report = teach.check(program, (), answers)
        assert report["dz"].verdict == "wrong"
        assert report["dW1"].verdict == report["db1"].verdict == "right"
        answers["dW1"] = 2 * answers["dW1"]
        report = teach.check(program, (), answers)
        assert report["dW1"].text.startswith("2 times too large")


def test_nobody_is_given_the_gradients_that_are_asked_for() -> None:
    _, values = traced(batch_norm)
    assert {"hpre", "xhat", "logits"} <= set(values)
    assert not {"dlogits", "dh", "dhpre"} & set(values)


def test_parameters_are_called_as_their_modules_call_them() -> None:
    tg.manual_seed(0)
    model = tg.nn.Sequential(tg.nn.Linear(3, 4), tg.nn.Tanh(), tg.nn.Linear(4, 2))

    def step(x: Any) -> Any:
        return (model(x) ** 2).sum()

    x = tg.randn(5, 3)
    step(x).backward()
    right = model[2].weight.grad.numpy()
    h = np.tanh(x.numpy() @ model[0].weight.detach().numpy().T + model[0].bias.detach().numpy())
    z = h @ model[2].weight.detach().numpy().T + model[2].bias.detach().numpy()
    np.testing.assert_allclose(right, 2 * z.T @ h, rtol=1e-4)
    program = program_of(step, (x,))
    for name in ("dW2", "2.weight", "d2.weight", "d_2_weight", "model.2.weight", "d_model_2_weight",
                 "2.weight.grad", "layers.2.weight"):  # fmt: skip
        assert teach.check(program, (), {name: 2 * z.T @ h}).ok, name
        verdict = teach.check(program, (), {name: z.T @ h})[name]
        assert verdict.text.startswith("2 times too small"), name
    for name in ("weight", "d_weight", "3.weight", "dv"):  # two are called so, or none
        with pytest.raises(KeyError, match="is no value of the step"):
            teach.check(program, (), {name: right})
    shares = [2 * z[i : i + 1].T @ h[i : i + 1] for i in range(5)]
    assert teach.check(program, (), {"2.weight": shares}).ok
    assert teach.check(program, (), lambda: {"2.weight": shares}).ok
    assert not teach.check(program, (), {"2.weight": shares[1:]}).ok


def test_a_sheet_of_zeros_earns_nothing_and_no_slip_is_told_of_what_is_not_finite() -> None:
    _, values = traced(two_layers)
    right = backward_of(TWO_LAYERS)(**values)
    for value, said in ((0.0, "all zeros"), (np.nan, "not finite"), (np.inf, "not finite")):
        garbage = {name: np.full_like(v, value) for name, v in right.items()}
        report = judged(two_layers, garbage)
        for name in right:
            alone = judged(two_layers, right | {name: garbage[name]})
            for verdict in (report[name], alone[name]):
                assert verdict.verdict == "wrong", verdict
                assert verdict.faults or verdict.text.startswith(said), verdict
                assert not verdict.faults or (value == 0 and name in ("dlogits", "dz")), verdict
            assert [x for x in alone if alone[x].verdict != "right"] == [name]
    twice = right | {"dlogits": 2 * right["dlogits"], "dh": 0 * right["dh"], "dz": 2 * right["dz"]}
    report = judged(two_layers, twice)
    assert report["dz"].text == "follows from your dlogits"  # past the zeros
    ones = judged(two_layers, right | {"dh": np.ones_like(right["dh"])})["dh"]
    assert (ones.faults, ones.text[:25]) == ((), "all elements are the same")


def test_zeros_that_a_slip_gives_are_told_and_what_follows_from_them_is_right() -> None:
    report = two_layers_with(dz="dh * (h < 0)")
    assert {fault.kind for fault in report["dz"].faults} >= {"other branch"}
    assert "h < 0 stands where h > 0 belongs" in report["dz"].text
    assert {report[x].text for x in ("dW1", "db1")} == {"follows from your dz"}
    assert [x for x in report if report[x].verdict == "wrong"] == ["dz"]
    nothing = two_layers_with(dlogits="p - p")  # all that is handed in is zero, as if unwritten
    assert nothing["dlogits"].text.startswith("all zeros")  # nobody writes p - p
    assert {verdict.verdict for verdict in nothing.values()} == {"wrong"}
    half = two_layers_with(dz="dh * (h < 0)", dh="0 * h")  # for dh no slip is known
    assert [x for x in half if half[x].verdict == "wrong"] == ["dh", "dz", "db1", "dW1"]
    assert not any(verdict.faults for verdict in half.values())


def test_a_share_that_is_nothing_beside_one_that_is_lost_is_told() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)

    def step(x: Any, h: Any) -> Any:
        y = h * w + x * w
        return (y * y).sum()

    x, h = np.array([3.0, 4.0]), np.zeros(2)
    dy = 2 * x * w.detach().numpy()
    report = teach.check(step, (tg.tensor(x), tg.tensor(h)), {"dy": dy, "dw": dy * h})
    assert [verdict.verdict for verdict in report.values()] == ["right", "wrong"]
    assert report["dw"].faults


def test_where_the_gradient_is_infinite_so_is_the_answer() -> None:
    x = tg.tensor([0.0, 4.0, 1.0], requires_grad=True)
    for answer, verdict in (
        ([np.inf, 0.25, 0.5], "right"),
        ([-np.inf, 0.25, 0.5], "wrong"),
        ([np.inf, 0.5, 1.0], "wrong"),
        ([0.5, 0.25, 0.5], "wrong"),
    ):
        with np.errstate(divide="ignore"):
            report = teach.check(lambda x: x.sqrt().sum(), (x,), {"dx": answer})
        assert report["dx"].verdict == verdict, answer


def test_small_elements_beside_large_ones_are_looked_at() -> None:
    w = tg.tensor(np.array([1e6, 1e-6, 3e-6], np.float32), requires_grad=True)

    def step(x: Any) -> Any:
        return ((x * w) ** 2).sum()

    right = 2 * w.detach().numpy()
    assert teach.check(step, (tg.ones(3),), {"dw": right}).ok
    for wrong in ([2e6, 5.0, 6e-6], [2e6, 2e-6, 6.01e-6], [2e6, 0.0, 6e-6], [2e6, 2e-6, 2e-6]):
        verdict = teach.check(step, (tg.ones(3),), {"dw": wrong})["dw"]
        at = next(i for i in (1, 2) if abs(wrong[i] - right[i]) > 1e-9)
        assert verdict.verdict == "wrong"
        assert f"the first difference is [{at}]" in verdict.text, verdict
        assert not verdict.faults


def test_what_cancels_may_be_off_by_the_rounding_of_what_is_added_up() -> None:
    big = np.array([[3e4, 100.0], [-3e4, 100.0], [1e-3, 100.0]], np.float32)
    w = tg.tensor([1.0, 1.0], requires_grad=True)

    def step(x: Any) -> Any:
        return (x * w).sum()

    for first, ok in ((1e-3, True), (2e-3, True), (5.0, False)):  # float32 has 2e-3 beside 3e4
        assert teach.check(step, (tg.tensor(big),), {"dw": [first, 300.0]}).ok is ok


def test_what_follows_is_compared_element_by_element_too() -> None:
    w = tg.tensor([1.0, 1.0], requires_grad=True)

    def step(x: Any) -> Any:
        z = x * w
        return (z * z).sum()

    x = tg.tensor([[3e4, 1e-3], [1.0, 1e-3]])
    dz = -2 * x.numpy()
    for small, verdict in ((-4e-6, "follows"), (4e-6, "wrong"), (-5e-6, "wrong")):
        dw = [(dz * x.numpy()).sum(0)[0], small]
        assert teach.check(step, (x,), {"dz": dz, "dw": dw})["dw"].verdict == verdict
    x = tg.tensor([[3e4, 300.0], [-3e4, 100.0], [1e-3, 100.0]])

    def cancelled(c: Any) -> Any:
        z = c * w
        return (z * x).sum()

    c = tg.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    twice = {"dz": 2 * x.numpy(), "dw": [4e-3, 1000.0]}  # 2e-3, but for rounding
    assert teach.check(cancelled, (c,), twice)["dw"].verdict == "follows"


def test_axes_of_1_are_told_and_a_column_is_no_row() -> None:
    w = tg.tensor([[1.0], [2.0], [3.0]], requires_grad=True)

    def step(x: Any) -> Any:
        return ((x @ w) ** 2).sum()

    right = 2.0 * w.detach().numpy()
    for shape in ((3,), (1, 3, 1)):
        verdict = teach.check(step, (tg.eye(3),), {"dw": right.reshape(shape)})["dw"]
        assert (verdict.verdict, verdict.text) == (
            "right", f"right, but for its shape: {shape}, PyTorch's (3, 1)",
        )  # fmt: skip
    verdict = teach.check(step, (tg.eye(3),), {"dw": right.T})["dw"]
    assert verdict.verdict == "wrong"
    assert teach.check(step, (tg.eye(3),), {"dw": right})["dw"].text == "right"


def test_the_search_ends_where_it_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grader, "SINGLES", 1)
    monkeypatch.setattr(grader, "PAIRS", 1)
    assert two_layers_with(dz="dh")["dz"].faults == ()


W = np.array([[1.0, -2.0], [3.0, 0.5], [0.25, 1.0]])
X = np.array([[1.0, 2.0, -1.0], [0.5, -1.0, 2.0]])
OF_INPUTS = {  # a step, and its gradients derived by hand
    "matrix": (lambda x, w: ((x @ w) ** 2).sum(), {"dx": 2 * X @ W @ W.T, "dw": 2 * X.T @ X @ W}),
    "sum": (lambda x, w: x.sum() + 3 * w.sum(),
            {"dx": np.ones((2, 3)), "dw": np.full((3, 2), 3.0)}),
    "product": (lambda x, w: (x.T * w).sum(), {"dx": W.T, "dw": X.T}),
}  # fmt: skip


@pytest.mark.parametrize("case", OF_INPUTS)
@pytest.mark.parametrize("before", [False, True])
def test_gradients_of_what_is_handed_in_are_judged_too(case: str, before: bool) -> None:
    of, right = OF_INPUTS[case]
    w, x = (tg.tensor(v, requires_grad=True) for v in (W, X))
    step = lambda x: of(x, w)  # noqa: E731
    if before:  # a run that leaves its gradients behind
        step(x).backward()
    left = x.grad, w.grad
    assert teach.check(step, (x,), right).ok
    report = teach.check(step, (x,), {"dx": 2 * right["dx"], "dw": right["dw"]})
    assert report["dx"].verdict == "wrong" and report["dw"].verdict == "right"
    assert "2 times too large" in str(report["dx"])
    assert (x.grad, w.grad) == left
    assert "= ?" not in teach.derive(step, (x,), wrt="x").text
    if case == "matrix":
        by_hand = lambda x, w: {"dx": 2 * x @ w @ w.T, "dw": 2 * x.T @ x @ w}  # noqa: E731
        assert teach.check(step, (x,), by_hand).ok  # on other inputs, too
        names = [question.name for question in teach.exercise(step, (x,)).questions]
        assert names == ["dz", "dx", "dw"]


def test_a_gradient_that_is_an_operand_itself_may_be_the_wrong_one() -> None:
    a, b = (tg.tensor(v, requires_grad=True) for v in ([1.0, -2.0, 3.0], [0.5, 4.0, -1.0]))
    report = teach.check(lambda a, b: (a * b).sum(), (a, b), {"da": a.detach(), "db": a.detach()})
    assert "a stands where b belongs" in str(report["da"].faults[0].text)
    assert report["da"].faults[0].kind == "wrong operand" and report["db"].verdict == "right"


def classified() -> tuple[Any, dict[str, Any]]:
    """Six samples in three classes, and what a student has worked out: all of it right."""
    tg.manual_seed(3)
    W1, b1, W2, b2 = made(3, 4), made(4), made(4, 3), made(3)

    def step(x: Any, y: Any) -> Any:
        h = (x @ W1 + b1).relu()
        z = h @ W2 + b2
        return F.cross_entropy(z, y)

    x, y = tg.randn(6, 3), tg.randint(0, 3, (6,))
    A, B, a, b = (w.detach().numpy().astype(float) for w in (W1, W2, b1, b2))
    X, Y = x.numpy().astype(float), np.eye(3)[y.numpy()]
    h = np.maximum(X @ A + a, 0)
    z = h @ B + b
    e = np.exp(z)
    P = e / e.sum(1, keepdims=True)
    dz = (P - Y) / 6
    dh = dz @ B.T
    dz_ = dh * (h > 0)
    own = {"X": X, "Y": Y, "W1": A, "W2": B, "h": h, "z": z, "e": e, "P": P}
    own |= {"dz": dz, "dh": dh, "dh_": dz_}
    return program_of(step, (x, y)), own


IN_A_STUDENTS_NAMES = [  # what is handed in, and how what is said begins or ends
    ("dz", "P", "6 times too large: the 1/N of the mean over the 6 samples is missing; "
     "and the share onehot is lost"),
    ("dz", "(P - 1) * Y / 6", "belongs here; the share p of the other classes is missing"),
    ("dz", "(P - 1) * Y", "is missing; and the share p of the other classes is missing"),
    ("dz", "-Y", "is missing; and the share p is lost"),
    ("dz", "(P - Y) / 18", "18 stands where 6 belongs, the number of samples"),
    ("dz", "(P - Y) / 36", "6 times too small: a factor 6 is missing, or 1/6 is there twice"),
    ("dz", "(e / e.sum(0) - Y) / 6", "the sum runs over axis 0"),
    ("dz", "np.round(dz, 3)", "right to 3 digits: do not round it"),
    ("dz", "z", "yours uses z: z is a value, not a gradient"),
    ("dW2", "h.T @ ((P - 1) * Y) / 6", "the share p of the other classes is missing"),
    ("dW2", "(h > 0).T @ dz", "h != 0 stands where h belongs"),
    ("dW2", "W2", "yours uses W2: W2 is a value, not a gradient"),
    ("dW2", "h.T @ dz + W2", "yours uses h.T @ dz + W2: the share W2 does not belong there"),
    ("db2", "dz.mean(0)", "yours uses dz.mean(axis=0): the mean stands where the sum belongs"),
    ("W1", "X.T @ dh_", "W1 is a value; call its gradient dW1"),
    ("W1", "W1", "W1 is a value; call its gradient dW1"),
    ("h", "dh", "h is a value; call its gradient dh"),
    ("y", "Y[:, 0]", "y is a value"),
]  # fmt: skip


def test_what_is_said_has_names_that_a_student_knows_alone() -> None:
    program, own = classified()
    for name, text, said in IN_A_STUDENTS_NAMES:
        report = teach.check(program, (), {name: eval(text, {"np": np}, own)})
        assert report[name].verdict == "wrong"
        assert report[name].text.startswith(said) or report[name].text.endswith(said), (
            name, text, report[name].text,
        )  # fmt: skip
        unknown = r"\bdlogp|\bdu\d*\b|\bdlog\b|\bdtotal"
        assert not any(re.search(unknown, fault.text) for fault in report[name].faults), text


def test_an_answer_that_was_right_may_be_worked_out_otherwise_in_the_next() -> None:
    program, own = classified()
    wrong = own["h"].T @ own["P"] / 6
    report = teach.check(program, (), {"dz": own["dz"], "dW2": wrong})
    assert report["dz"].text == "right"
    assert report["dW2"].text.endswith("yours uses p / 6: the share onehot is lost")


def test_a_name_of_the_listing_is_told_with_what_it_is_the_gradient_of() -> None:
    W = made(2, 3)
    x, y = tg.randn(5, 3), tg.randn(5, 2)

    def step(x: Any, y: Any) -> Any:
        return ((x @ W.T - y) ** 2).sum()

    X, A = x.numpy(), W.detach().numpy()
    du = 2 * (X @ A.T - y.numpy())
    verdict = teach.check(step, (x, y), {"du": 3 * du})["du"]
    assert verdict.text.endswith("is missing; du here is the gradient of x @ W.T - y")
    assert teach.check(step, (x, y), {"du": du})["du"].text == "right"
    flat = teach.check(step, (x, y), {"dW": (X.T @ du).reshape(2, 3)})["dW"]
    assert flat.text.endswith("a reshape stands where the transpose belongs")


def test_a_sum_without_keepdims_is_told_of_a_square() -> None:
    s, v = made(4, 4), made(4, 2)

    def step(s: Any, v: Any) -> Any:
        A = F.softmax(s, 1)
        h = A @ v
        return (h**2).sum() / 2

    A, V = (x.detach().numpy() for x in (F.softmax(s, 1), v))
    dA = A @ V @ V.T
    for axis, text in (("(A * dA).sum(1)", "keepdims=True is missing in "),
                       ("dA.sum(1)", "; and the factor A is missing")):  # fmt: skip
        verdict = teach.check(step, (s, v), {"ds": A * (dA - eval(axis))})["ds"]
        assert text in verdict.text


def test_a_gradient_that_no_formula_has_is_told_by_the_name_of_its_value() -> None:
    program, values = traced(batch_norm)
    for right, wrong, said in (("+ dvar * 2", "+ var * 2", "var stands where dvar belongs"),):
        assert right in BATCH_NORM
        answers = backward_of(BATCH_NORM.replace(right, wrong))(**values)
        verdict = teach.check(program, (), {"dW1": answers["dW1"]})["dW1"]
        assert verdict.text.endswith(said), verdict


def test_rows_that_are_picked_with_the_wrong_sign_are_told() -> None:
    E, ids, want = made(3, 2), tg.tensor([1, 0, 2, 0, 2, 0]), tg.randn(6, 2)

    def step(ids: Any, want: Any) -> Any:
        x = F.embedding(ids, E)
        return ((x - want) ** 2).sum() / 2

    dx = want.numpy() - E.detach().numpy()[ids.numpy()]
    dE = np.stack([dx[ids.numpy() == k].sum(0) for k in range(3)])
    for name, answer, where in (("dE", dE, "the lines that make dE"), ("dx", dx, "dx")):
        verdict = teach.check(step, (ids, want), {name: answer})[name]
        assert verdict.text == f"in {where}, the sign is the other way round"
