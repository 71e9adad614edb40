"""The small programs of examples/ print what PyTorch prints when only their imports are changed."""

import importlib.util
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import tinygrad_ce as tg
from tests.lectures import EXAMPLES, STEPS, differences, printed

FROZEN = json.loads((Path(__file__).parent / "data" / "lectures.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def float32_afterwards():
    """Some of the programs choose another default dtype, for themselves alone."""
    yield
    tg.set_default_dtype(tg.float32)


def found(name, *more):
    if name in ("lenet", "vae"):
        pytest.importorskip("sklearn")
    return printed(name, *more)


@pytest.mark.parametrize("name", STEPS)
def test_a_program_prints_what_pytorch_printed(name):
    assert differences(found(name), FROZEN[name]) == []


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_what_is_frozen_is_what_pytorch_prints(name):
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own
            assert differences(found(name, "torch"), FROZEN[name]) == []
    finally:
        torch.set_default_dtype(torch.float32)


def test_every_program_is_followed():
    programs = {path.stem for path in EXAMPLES.glob("*.py")}
    assert programs - {"cross_entropy", "digits"} == set(STEPS) == set(FROZEN)


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ("loss 0.1234", "loss 0.1235", True),
        ("loss 0.1234", "loss 0.1236", False),
        ("loss 1.234e-05", "loss 1.235e-05", True),
        ("loss 1.234e-05", "loss 1.234e-04", False),
        ("image 12", "image 13", False),
        ("a clock 1.0", "a cloak 1.0", False),
        ("(1.0, 2.0)", "(1.0)", False),
    ],
)
def test_numbers_may_differ_in_the_last_decimal_and_words_not(ours, theirs, same):
    assert (differences([ours], [theirs]) == []) == same


def test_a_program_runs_from_the_command_line_for_as_many_steps_as_one_says():
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "bigrams.py"), str(STEPS["bigrams"])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=EXAMPLES.parent,
        env={"PYTHONPATH": str(EXAMPLES.parent)},
    )
    assert done.returncode == 0 and done.stderr == ""
    assert differences(done.stdout.splitlines(), FROZEN["bigrams"]) == []
