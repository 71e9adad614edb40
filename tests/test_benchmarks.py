"""The benchmarks compute the same by hand and with the engine. No time is measured here."""

import numpy as np
import pytest

from tests.benchmarks.agreement import DisagreementError, builds, check_agreement
from tests.benchmarks.in_numpy import RUNS
from tests.benchmarks.workloads import WORKLOADS, Build, Logits, Run


@pytest.mark.parametrize("name", WORKLOADS)
def test_engine_and_hand_written_backward_agree_over_three_steps(name: str) -> None:
    candidates = builds(name, ["numpy", "tinygrad_ce"])
    assert list(candidates) == ["numpy", "tinygrad_ce"]
    check_agreement(name, WORKLOADS[name].small(), candidates)


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
