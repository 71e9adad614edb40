"""Public functions and methods beside PyTorch's: values, dtypes, shapes, gradients, errors.

Its answers to the texts of torch_names.py are frozen, and asked anew, of other numbers, where it is
installed.
"""

import functools
import re

import numpy as np
import pytest
from torch_names import DIFFERS, ROWS, answer, data, difference, frozen, questions

import tinygrad_ce as tg
from tinygrad_ce import functions


@functools.cache
def wanted():
    return dict(zip(questions(), frozen(), strict=True))


def differences(texts, seed, answers):
    """text -> in what ours differs, for the first of its questions that is answered otherwise."""
    found = {}
    for question in questions():
        if question[0] in texts and question[::2] not in DIFFERS:
            told = difference(answer(*question, seed, tg), answers(question), question[2])
            if told:
                found.setdefault(question[0], (*question[1:], told))
    return found


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_an_answer_is_pytorchs(row):
    assert not differences(ROWS[row][1], 0, lambda question: wanted()[question])


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_an_answer_is_pytorchs_today_and_for_other_numbers(row):
    torch = pytest.importorskip("torch")
    assert not differences(ROWS[row][1], 1, lambda question: answer(*question, 1, torch))


@pytest.mark.parametrize(("text", "dtype"), DIFFERS)
def test_what_differs_on_purpose_does(text, dtype):
    asked = [question for question in questions() if question[::2] == (text, dtype)]
    told = [difference(answer(*q, 0, tg), wanted()[q], q[2]) for q in asked]
    assert asked and any(told)


def test_every_function_is_asked_for():
    texts = " ".join(text for _, texts in ROWS for text in texts)
    asked = set(re.findall(r"\.(\w+)\(", texts))
    assert set(functions.METHODS.split()) <= asked


COMPOSED = {
    "roll": lambda a: a.roll(1, 0) + a.roll((1, 1), (0, 1)),
    "rot90": lambda a: a.rot90().tanh(),
    "lerp": lambda a: a.lerp(a * 2, 0.3) + a.lerp(a * 2, a),
    "addcmul": lambda a: a.addcmul(a, a, value=0.5).addcdiv(a, a + 3.0),
    "addmm": lambda a: (a @ a.T).addmm(a, a.T, beta=0.5, alpha=2),
    "tile": lambda a: a.tile(2, 1) * a.repeat_interleave(2, 0),
    "diag": lambda a: a[0].diag() + a[:, :2].diag().sum(),
    "cross": lambda a: tg.cross(a, a.flip(1), dim=1),
    "scatter": lambda a: a.scatter(0, (a * 0).long(), 0.5).scatter_add(1, (a * 0).long(), a),
    "index": lambda a: a.index_add(1, tg.tensor([0, 0, 2]), a).index_fill(0, tg.tensor([1]), 2.0),
    "index_copy": lambda a: a.index_copy(1, tg.tensor([2, 0, 1]), a * a),
    "masked_scatter": lambda a: a.masked_scatter(a > 0.2, a * 2),
    "take_along_dim": lambda a: a.take_along_dim(a.argsort(1), 1),
    "unfold": lambda a: a.unfold(1, 2, 1).sum(-1) * a.unfold(1, 2, 2).prod(),
    "meshgrid": lambda a: tg.cartesian_prod(a[0], a[1]).sum(1) * tg.meshgrid(a[0], a[1])[0].sum(),
    "in place": lambda a: (a * 1.0).tanh_().mul_(a).masked_fill_(a > 0.5, 0.1).clamp_(-0.5, 0.4),
    "logaddexp": lambda a: tg.logaddexp(a, a.flip(1)) + tg.atan2(a, a + 2) + a.erf() + a.norm(3),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_what_is_composed_of_rules_is_written_down_with_its_gradient(name):
    function = COMPOSED[name]

    def step(a):
        y = function(a)
        (y * y).sum().backward()
        return y

    compiled = tg.compile(step)
    for seed in (0, 1, 2):
        a, b = (tg.tensor(data((2, 3), "float64", seed), requires_grad=True) for _ in range(2))
        y, z = step(a), compiled(b)
        np.testing.assert_allclose(z.detach().numpy(), y.detach().numpy(), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), rtol=1e-12, atol=1e-14)
