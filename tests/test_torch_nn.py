"""Every layer, container and hook of `torch_cases` gives PyTorch's names, draws and numbers."""

import importlib.util

import pytest
import torch_cases as cases

import tinygrad_ce as tg

FROZEN = cases.read()
OURS = dict(cases.answers(tg))


@pytest.mark.parametrize("name", OURS)
def test_the_answer_is_pytorchs(name):
    cases.same(cases.digest(OURS[name]()), FROZEN[name])


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
def test_what_is_frozen_is_still_what_pytorch_says():
    import torch

    theirs = dict(cases.answers(torch))
    assert list(theirs) == list(OURS) == list(FROZEN)
    for name, ask in theirs.items():
        cases.same(cases.digest(ask()), FROZEN[name], where=name)


def test_a_difference_would_be_seen():
    wanted = FROZEN["Linear"]
    for part in ("first", "output", "grads", "losses", "eval"):
        with pytest.raises(AssertionError):
            cases.same({**wanted, part: "something else"}, wanted)
    moved = {**wanted, "losses": [x * (1 + 1e-8) for x in wanted["losses"]]}
    with pytest.raises(AssertionError):
        cases.same(moved, wanted)
