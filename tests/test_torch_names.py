"""Public functions and methods beside PyTorch's: values, dtypes, shapes, gradients, errors.

Its answers to the texts of torch_names.py are frozen, and asked anew, of other numbers, where it is
installed.
"""

import functools
import re

import pytest
from torch_names import DIFFERS, ROWS, answer, difference, frozen, questions

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
