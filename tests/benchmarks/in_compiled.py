"""The workloads in tinygrad_ce, compiled: the same step functions, each given to `tg.compile`."""

from functools import partial

import tinygrad_ce as tg
from tests.benchmarks import in_tinygrad_ce
from tests.benchmarks.workloads import Build

RUNS: dict[str, dict[str, Build]] = {
    workload: {"compiled": partial(builds["tinygrad_ce"], compile=tg.compile)}
    for workload, builds in in_tinygrad_ce.RUNS.items()
}
