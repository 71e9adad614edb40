"""The workloads in tinygrad_ce on XLA: the same step functions, `tg.compile(engine="jax")`."""

from functools import partial

import tinygrad_ce as tg
from tests.benchmarks import in_tinygrad_ce
from tests.benchmarks.workloads import Build

RUNS: dict[str, dict[str, Build]] = {
    workload: {"engine=jax": partial(builds["tinygrad_ce"], compile=tg.compile(engine="jax"))}
    for workload, builds in in_tinygrad_ce.RUNS.items()
}
