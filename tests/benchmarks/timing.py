"""Times runs in turn, in one process, so that a busy machine slows all of them alike."""

import statistics
import time
from typing import Any

from tests.benchmarks.workloads import Build, Run

BATCH_SECONDS = 0.03
"""How long the slowest candidate is timed in one go."""
WARM_UP_STEPS = 4
"""An optimiser makes its state in the first, and a compiler may compile until the third."""
LEAST_ROUNDS = 5


def interleaved_medians(
    candidates: dict[str, Build], data: Any, seconds: float, rounds: int | None = None
) -> dict[str, float]:
    """Median microseconds per step of each candidate.

    A round times one batch of steps of every candidate, in an order that rotates from round to
    round. Every batch starts from fresh weights and is equally long for all, so that all compute
    with the same numbers: ones that sink below the smallest normal float are slow. There are
    `rounds` of them, or as many as fit into `seconds`, and at least five. `tg.compile` compares in
    calls 2, 4, 8, 16, ... and prepares its usual call in the one after: so many steps come before
    a batch that neither is in it.
    """
    names = list(candidates)
    steps = max(1, round(BATCH_SECONDS / max(_step_seconds(candidates[n], data) for n in names)))
    before = (1 << (steps + 2).bit_length()) + 2
    samples: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds
    done = 0
    while done < rounds if rounds else done < LEAST_ROUNDS or time.perf_counter() < end:
        turn = done % len(names)
        for name in names[turn:] + names[:turn]:
            run = _warm(candidates[name], data, before)
            samples[name].append(_batch_seconds(run, steps) / steps)
        done += 1
    return {name: 1e6 * statistics.median(times) for name, times in samples.items()}


def _warm(build: Build, data: Any, steps: int = WARM_UP_STEPS) -> Run:
    run = build(data)
    for _ in range(steps):
        run.step()
    return run


def _batch_seconds(run: Run, steps: int) -> float:
    step = run.step
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start


def _step_seconds(build: Build, data: Any) -> float:
    run = _warm(build, data)
    return min(_batch_seconds(run, 1) for _ in range(5))
