"""The benchmarks compute the same by hand and with the engine. No time is measured here."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import tinygrad_ce as tg
from tests.benchmarks.agreement import DisagreementError, builds, check_agreement
from tests.benchmarks.in_numpy import RUNS
from tests.benchmarks.in_tinygrad_ce import two_moons
from tests.benchmarks.memory import step_peak
from tests.benchmarks.picture import save_picture
from tests.benchmarks.tables import goal_table, time_table
from tests.benchmarks.untuned import UNTUNED, compiled_without, eager
from tests.benchmarks.workloads import WORKLOADS, Build, Logits, Run

OURS = ["numpy", "tinygrad_ce", "compiled"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_engine_and_hand_written_backward_agree_over_the_first_steps(name: str) -> None:
    candidates = builds(name, OURS)
    assert list(candidates) == OURS
    check_agreement(name, WORKLOADS[name].small(), candidates)


def test_a_step_function_is_all_that_a_compiler_is_given() -> None:
    """It gets the batch as Tensors and returns the loss, backward and update done."""
    calls = []

    def compile(step):
        def compiled(*batch):
            loss = step(*batch)
            calls.append((batch, loss))
            return loss

        return compiled

    check_agreement(
        "W1",
        WORKLOADS["W1"].small(),
        {"numpy": RUNS["W1"]["numpy"], "compiled": lambda data: two_moons(data, compile)},
    )
    assert calls
    for batch, loss in calls:
        assert all(isinstance(part, tg.Tensor) for part in (*batch, loss))


def test_goals_are_judged_by_the_ratio_they_name() -> None:
    times = {"W1": {"numpy": 100.0, "tinygrad_ce": 90.0, "compiled": 40.0, "torch": 200.0}}
    (row,) = goal_table(times).rows
    assert row == ["W1", "0.90", "0.45", "≤ 0.40 torch ✗", "0.40", "0.20", "≤ 0.50 NumPy ✓",
                   "≤ 0.28 NumPy ✗"]  # fmt: skip


def test_what_was_not_timed_is_a_dash_or_has_no_column() -> None:
    times = {
        "W4": {"numpy": 1000.0, "tinygrad_ce": 900.0, "torch": 700.0, "torch fused": 800.0},
        "W6": {"numpy": 10.0, "jax": 20.0},
    }
    columns, (whole, fused, chain) = time_table(times)
    assert columns[1:] == ["NumPy", "eager", "torch", "jax"]
    assert whole[1:] == ["1,000", "900", "700", "–"]
    assert fused[1:] == ["", "", "800", ""]
    assert chain[1:] == ["10", "–", "–", "20"]
    columns, rows = goal_table(times)
    assert all(len(row) == len(columns) for row in rows)


def test_the_picture_is_drawn_with_what_was_timed(tmp_path: Path) -> None:
    file = tmp_path / "times.png"
    times = {"W1": {"numpy": 50.0, "tinygrad_ce": 100.0}, "W6": {"numpy": 100.0, "jax": 4.0}}
    save_picture(times, file, threads=1)
    height, width, _ = imread(file).shape
    assert width > height > 100


def test_the_peak_of_a_step_counts_what_is_kept_and_what_is_new() -> None:
    kept = []

    def build(data: None) -> Run:
        kept.clear()

        def step() -> float:
            if not kept:
                kept.append(np.empty(2**20, np.uint8))
            np.empty(2**21, np.uint8)
            return 0.0

        return Run(step, list)

    held, new = step_peak(build, None)
    assert held == pytest.approx(3, abs=0.1)
    assert new == pytest.approx(2, abs=0.1)


def wrong_loss(data: Logits) -> Run:
    right = RUNS["W5"]["numpy"](data)
    return Run(lambda: 1.001 * right.step(), right.results)


def wrong_gradient(data: Logits) -> Run:
    right = RUNS["W5"]["numpy"](data)
    return Run(right.step, lambda: [-result for result in right.results()])


def nan_loss(data: Logits) -> Run:
    return Run(lambda: float("nan"), lambda: [np.zeros_like(data.z)])


@pytest.mark.parametrize("wrong", [wrong_loss, wrong_gradient, nan_loss])
def test_a_wrong_implementation_is_found(wrong: Build) -> None:
    candidates = {"numpy": RUNS["W5"]["numpy"], "wrong": wrong}
    with pytest.raises(DisagreementError, match=r"W5.*wrong"):
        check_agreement("W5", WORKLOADS["W5"].small(), candidates)


@pytest.mark.parametrize("name", UNTUNED)
def test_programs_that_no_pass_was_written_for_train_as_they_do_eagerly(name: str) -> None:
    losses = []
    for compile in (eager, tg.compile):
        tg.manual_seed(0)
        step = UNTUNED[name][1](compile)
        losses.append([step().item() for _ in range(3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert losses[0][0] > losses[0][2]


def test_a_pass_is_left_out_and_the_step_computes_the_same() -> None:
    texts, losses = [], []
    for name in ("nothing", "relus_recognised", "flat parameters"):
        compiled = []

        def compile(step, name=name, compiled=compiled):
            compiled.append(compiled_without(name)(step))
            return compiled[0]

        tg.manual_seed(0)
        step = UNTUNED["U6"][1](compile)
        losses.append([step().item() for _ in range(2)])
        texts.append(compiled[0].__closure__[0].cell_contents.emitted())
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-6)
    assert "minimum" in texts[0] and "minimum" not in texts[1] and "not_equal" in texts[1]
    assert texts[0].count("sqrt") < texts[2].count("sqrt")
