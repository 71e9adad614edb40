"""How much memory a step needs, as NumPy and Python report it to tracemalloc.

PyTorch and JAX report nothing there, so that this compares our own ways with NumPy by hand.
"""

import gc
import tracemalloc
from typing import Any, NamedTuple

from tests.benchmarks.timing import WARM_UP_STEPS
from tests.benchmarks.workloads import Build


class Peak(NamedTuple):
    """MiB at the peak of one step after the warm-up."""

    held: float
    """Beyond the data and the first parameters: a graph, temporaries, and also the buffers and
    the program that a compiled step keeps from one step to the next."""
    new: float
    """Those of them that were not there before the step."""


def step_peak(build: Build, data: Any) -> Peak:
    build(data).step()  # imports, and whatever else happens only once, do not count
    gc.collect()
    tracemalloc.start()
    try:
        run = build(data)
        built, _ = tracemalloc.get_traced_memory()
        for _ in range(WARM_UP_STEPS):
            run.step()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        run.step()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return Peak((peak - built) / 2**20, (peak - before) / 2**20)
