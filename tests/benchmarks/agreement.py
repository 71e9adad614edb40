"""Which frameworks can run a workload, and whether they compute the same."""

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from tests.benchmarks.workloads import Array, Build

FRAMEWORKS = {
    "numpy": "tests.benchmarks.in_numpy",
    "tinygrad_ce": "tests.benchmarks.in_tinygrad_ce",
    "torch": "tests.benchmarks.in_torch",
}
"""The package to look for, and the module that writes the workloads down in it."""

LOSS_RTOL = 1e-4
RESULT_RTOL = 1e-3


class DisagreementError(Exception):
    """Two frameworks do not compute the same thing, so comparing their times means nothing."""


def installed_frameworks() -> list[str]:
    return [name for name in FRAMEWORKS if find_spec(name) is not None]


def builds(workload: str, frameworks: Iterable[str]) -> dict[str, Build]:
    """Every way to run a workload in these frameworks, by name, "numpy" or "torch fused"."""
    return {
        name: build
        for framework in frameworks
        for name, build in import_module(FRAMEWORKS[framework]).RUNS.get(workload, {}).items()
    }


def check_agreement(workload: str, data: Any, candidates: dict[str, Build], steps: int = 3) -> None:
    """Compares the losses of the first steps and what was learnt, with the first candidate's.

    Losses agree to a relative 1e-4. Results agree when each array is within a thousandth of its
    own norm: Adam's first steps are signs of the gradient, so that single entries may part.

    Raises:
        DisagreementError: names the two that part and shows their numbers.
    """
    reference: tuple[str, list[float], list[Array]] | None = None
    for name, build in candidates.items():
        run = build(data)
        losses = [run.step() for _ in range(steps)]
        results = run.results()
        if not np.isfinite(losses).all():
            raise DisagreementError(f"{workload}: the losses of {name} are {losses}")
        if reference is None:
            # Copies, because a run hands out its living parameters.
            reference = name, losses, [np.array(result) for result in results]
            continue
        other, other_losses, other_results = reference
        if not np.allclose(losses, other_losses, rtol=LOSS_RTOL, atol=0):
            raise DisagreementError(
                f"{workload}: the losses of the first {steps} steps differ: "
                f"{name} {losses}, {other} {other_losses}"
            )
        _compare_results(workload, name, results, other, other_results)


def _compare_results(
    workload: str, name: str, results: list[Array], other: str, other_results: list[Array]
) -> None:
    shapes = [result.shape for result in results]
    other_shapes = [result.shape for result in other_results]
    if shapes != other_shapes:
        raise DisagreementError(
            f"{workload}: the results of {name} have shapes {shapes}, of {other} {other_shapes}"
        )
    for i, (result, wanted) in enumerate(zip(results, other_results)):
        distance, norm = np.linalg.norm(result - wanted), np.linalg.norm(wanted)
        if not distance <= RESULT_RTOL * norm:
            raise DisagreementError(
                f"{workload}: result {i} of {name} and {other}, of shape {result.shape}, "
                f"differ by {distance:.3g} where its norm is {norm:.3g}"
            )
