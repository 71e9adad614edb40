"""Random programs: eager code against PyTorch, compiled functions and listings against eager code.

`PROGRAMS=10000 python -m pytest tests/test_random_programs.py` tries so many instead of some
hundred, and with `SEED=1` other ones. What fails is printed as a script that reproduces it.
"""

import collections
import importlib
import importlib.util
import os
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings, strategies as st
from random_programs import (
    SUBJECTS,
    Function,
    Program,
    against_torch,
    difference,
    failure,
    frozen,
    judged,
    run,
    shrunk,
)

COUNT = int(os.environ.get("PROGRAMS", "140"))
HAS_TORCH = importlib.util.find_spec("torch") is not None
MOST = 0.1  # of the programs may end early: the others prove something


def tried(make, judge, count):
    """Let hypothesis make programs, and judge them; gives why some were not compared."""
    refused = collections.Counter()
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

    @seed(int(os.environ.get("SEED", "0")))
    @settings(max_examples=count, derandomize="SEED" not in os.environ, database=None,
              deadline=None, phases=[Phase.generate], suppress_health_check=quiet)  # fmt: skip
    @given(st.composite(lambda draw: make(lambda options: draw(st.sampled_from(options))))())
    def one(program):
        reason, complaint = judge(program)
        refused[reason] += 1
        if complaint is not None:
            seeded = f"SEED={os.environ.get('SEED')} PROGRAMS={COUNT}"
            pytest.fail(f"{seeded}: {failure(program, judge)}", pytrace=False)

    one()
    return refused


@pytest.mark.parametrize("name", SUBJECTS)
def test_random_programs(name):
    make, judge, share = SUBJECTS[name]
    if judge is against_torch and not HAS_TORCH:
        pytest.skip("PyTorch is not installed: its frozen answers are compared instead")
    refused = tried(make, judge, round(COUNT * share))
    assert sum(refused.values()) - refused[""] <= MOST * sum(refused.values()), refused


def test_frozen_answers_of_pytorch():
    compared = 0
    for program, wanted in frozen():
        found = run(program)
        verdict = judged(program, found, wanted._replace(names=found.names))
        assert verdict.complaint is None, program.script()
        compared += verdict.refused == ""
    assert compared >= 80


# --- how differences are found ------------------------------------------------------------------


def program_with(function):
    """Lines that matter, and others."""
    lines = ("u = w * x", f"v = u.{function}()", "t = b + 1.0", "s = t * v", "return s, t", "pass")
    setup = ("w = tg.tensor(data(0, 3)).requires_grad_()", "b = tg.tensor(data(1, 3))")
    events = ("b += 1.0", "look('f', f(tg.tensor(data(2, 3))))", "look('w', w)")
    return Program(setup, (Function("f", "x", lines),), events)


def test_a_difference_is_found_and_cut_down_to_what_it_needs():
    def differs(program):
        text = str(program)
        other = eval(text.replace("tanh", "sin"), {"Program": Program, "Function": Function})
        return difference(program, run(other), run(program), one_error=True)

    program = program_with("tanh")
    assert differs(program).startswith("f[0]: array(")
    small = shrunk(program, differs)
    needed = ("u = w * x", "v = u.tanh()", "t = b + 1.0", "s = t * v", "return s")
    assert (small.setup, small.functions[0].lines) == (program.setup, needed)
    assert small.events == program.events[1:2]


@pytest.mark.parametrize(("line", "message"), [
    ("return x.double()", "dtype float64 instead of"),
    ("return x[:2]", r"shape \(2,\) and"),
    ("return x * 1.0001", "instead of array"),
    ("return x.requires_grad_()", "requires_grad True instead of False"),
    ("return None", "None instead of array"),
    ("return x @ 3.0", "TypeError|ValueError"),
])  # fmt: skip
def test_every_kind_of_difference_is_told(line, message):
    def returning(line):
        event = "look('f', f(tg.tensor(data(2, 3, dtype='float32'))))"
        return Program((), (Function("f", "x", (line,)),), (event,))

    program = returning("return x")
    complaint = difference(program, run(returning(line)), run(program), one_error=True)
    assert complaint is not None and re.search(message, complaint)
    assert difference(program, run(program), run(program), one_error=True) is None


def test_what_rounding_alone_decides_is_no_difference():
    def returning(line):
        event = "look('f', f(tg.tensor(data(2, 3))))"
        return Program((), (Function("f", "x", (f"return {line}",)),), (event,))

    def differs(line, other):
        one = returning(other)
        return difference(one, run(returning(line)), run(one), one_error=True) is not None

    assert not differs("(1e12 * x).sin() + 1e-4", "(1e12 * x).sin()")
    assert differs("x.sin() + 1e-4", "x.sin()") and differs("x * 0.0", "(1e10 * x).sin()")


def test_a_script_runs_by_itself():
    names = {}
    exec(program_with("tanh").script(), names)
    for (what, value, graph), again in zip(names["seen"], run(program_with("tanh")).seen):
        assert (what, graph) == (again[0], again[2])
        np.testing.assert_array_equal(value, again[1])
