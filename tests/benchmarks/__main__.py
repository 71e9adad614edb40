"""The command line of the benchmarks; see `python -m tests.benchmarks --help`."""

import argparse
import os
import platform
import sys
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tests.benchmarks.agreement import (
    FRAMEWORKS,
    DisagreementError,
    builds,
    check_agreement,
    installed_frameworks,
)
from tests.benchmarks.imports import import_costs
from tests.benchmarks.memory import Peak, step_peak
from tests.benchmarks.tables import (
    Table,
    Times,
    as_markdown,
    as_rich,
    goal_table,
    import_table,
    memory_table,
    time_table,
)
from tests.benchmarks.timing import interleaved_medians
from tests.benchmarks.untuned import ablation_table, untuned_table
from tests.benchmarks.workloads import WORKLOADS


def main() -> int:
    options = arguments()
    console = Console(stderr=options.markdown)
    try:
        tables = measure(options, console)
    except DisagreementError as error:
        print(f"stopped before measuring: {error}", file=sys.stderr)
        return 1
    if options.markdown:
        print("\n\n".join(as_markdown(table) for table in tables))
    else:
        # Away from a terminal rich would squeeze the tables into 80 columns.
        output = Console(width=None if console.is_terminal else 140)
        for table in tables:
            output.print(as_rich(table))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Times whole training steps of tinygrad_ce, NumPy by hand, PyTorch and JAX.",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of BLAS, PyTorch and JAX (1)"
    )
    parser.add_argument(
        "--only",
        type=lambda text: names_among(WORKLOADS, text),
        default=list(WORKLOADS),
        help="W1,W2",
    )
    parser.add_argument(
        "--frameworks",
        type=lambda text: names_among(FRAMEWORKS, text),
        help=f"{','.join(FRAMEWORKS)} (those installed)",
    )
    parser.add_argument(
        "--engine", choices=["jax"], help="compiled steps on it, beside NumPy and what is by hand"
    )
    parser.add_argument("--seconds-per-workload", type=float, default=5.0, metavar="S")
    parser.add_argument("--rounds", type=int, help="this many rounds instead of a time")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the times as well")
    parser.add_argument("--memory", action="store_true", help="peaks of memory instead of times")
    parser.add_argument("--untuned", action="store_true", help="programs no pass was written for")
    parser.add_argument("--ablate", action="store_true", help="the time without each pass")
    parser.add_argument("--imports", action="store_true", help="time imports instead")
    options = parser.parse_args()
    if options.engine:
        options.frameworks = ["compiled", f"engine={options.engine}", options.engine]
    return options


def names_among(known: Collection[str], text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def measure(options: argparse.Namespace, console: Console) -> list[Table]:
    if options.imports:
        return [import_table(import_costs(("numpy", "tinygrad_ce"), options.rounds or 15))]
    if options.untuned or options.ablate:
        console.print(conditions(["tinygrad_ce"], options.threads))
        with threadpool_limits(options.threads):
            if options.ablate:
                names = [name for name in options.only if not name.startswith("W6")]
                return [ablation_table(names, options.rounds or 9)]
            return [untuned_table(options.rounds or 9)]
    frameworks = options.frameworks or installed_frameworks()
    console.print(conditions(frameworks, options.threads))
    with threadpool_limits(options.threads):
        if options.memory:
            return [memory_table(step_peaks(options, frameworks, console))]
        limit_threads(frameworks, options.threads)
        times = step_times(options, frameworks, console)
    if options.picture:
        from tests.benchmarks.picture import save_picture

        save_picture(times, options.picture, options.threads)
    return [time_table(times), goal_table(times)]


def conditions(frameworks: list[str], threads: int) -> str:
    packages = dict.fromkeys(FRAMEWORKS[name].package for name in frameworks)
    versions = [f"{package} {version(package)}" for package in packages]
    return ", ".join([f"Python {platform.python_version()}", *versions, f"{threads} thread(s)"])


def limit_threads(frameworks: list[str], threads: int) -> None:
    """PyTorch's threads, and JAX's, which reads them where it expects the number of cores."""
    os.environ["NPROC"] = str(threads)
    if "torch" in frameworks or "torch.compile" in frameworks:
        import torch

        torch.set_num_threads(threads)


def step_times(
    options: argparse.Namespace, frameworks: list[str], console: Console
) -> dict[str, Times]:
    """Microseconds per step, by workload and candidate, of candidates that agree."""
    times = {}
    for name in options.only:
        console.print(f"{name}: {WORKLOADS[name].title}")
        data = WORKLOADS[name].data()
        candidates = builds(name, frameworks)
        check_agreement(name, data, candidates)
        times[name] = interleaved_medians(
            candidates, data, options.seconds_per_workload, options.rounds
        )
    return times


def step_peaks(
    options: argparse.Namespace, frameworks: list[str], console: Console
) -> dict[str, dict[str, Peak]]:
    """The memory that a step needs, by workload and candidate that reports it."""
    reporting = [name for name in ("numpy", "tinygrad_ce", "compiled") if name in frameworks]
    peaks = {}
    for name in options.only:
        console.print(f"{name}: {WORKLOADS[name].title}")
        data = WORKLOADS[name].data()
        candidates = builds(name, reporting)
        check_agreement(name, data, candidates)
        peaks[name] = {candidate: step_peak(build, data) for candidate, build in candidates.items()}
    return peaks


if __name__ == "__main__":
    sys.exit(main())
