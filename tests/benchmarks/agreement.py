"""Which frameworks can run a workload, and whether they compute the same."""

import shutil
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.workloads import Array, Build


class Framework(NamedTuple):
    """A way to run the workloads: what it is called in a table, and what it needs."""

    heading: str
    package: str
    module: str
    """Under tests.benchmarks, where the workloads are written down in it."""
    ready: Callable[[], bool] = lambda: True
    """Whether it can run, where the package is installed."""


FRAMEWORKS = {
    "numpy": Framework("NumPy", "numpy", "in_numpy"),
    "tinygrad_ce": Framework("eager", "tinygrad_ce", "in_tinygrad_ce"),
    "compiled": Framework("compiled", "tinygrad_ce", "in_compiled"),
    "torch": Framework("torch", "torch", "in_torch"),
    "torch.compile": Framework(
        "torch.compile",
        "torch",
        "in_torch_compile",
        lambda: any(map(shutil.which, ("c++", "g++", "clang++"))),
    ),
    "jax": Framework("jax", "jax", "in_jax"),
    "engine=jax": Framework("engine=jax", "jax", "in_engine_jax"),
}

LOSS_RTOL = 1e-4
RESULT_RTOL = 1e-3


class DisagreementError(Exception):
    """Two frameworks do not compute the same thing, so comparing their times means nothing."""


def installed_frameworks() -> list[str]:
    return [
        name
        for name, framework in FRAMEWORKS.items()
        if find_spec(framework.package) is not None and framework.ready()
    ]


def builds(workload: str, frameworks: Iterable[str]) -> dict[str, Build]:
    """Every way to run a workload in these frameworks, by name, "numpy" or "torch fused"."""
    modules = [
        import_module(f"tests.benchmarks.{FRAMEWORKS[framework].module}")
        for framework in frameworks
    ]
    return {
        name: build for module in modules for name, build in module.RUNS.get(workload, {}).items()
    }


def check_agreement(workload: str, data: Any, candidates: dict[str, Build], steps: int = 4) -> None:
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
