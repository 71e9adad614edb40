"""The command line of the benchmarks; see `python -m tests.benchmarks --help`."""

import argparse
import platform
import sys
from collections.abc import Collection
from importlib.metadata import version

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tests.benchmarks.agreement import (
    FRAMEWORKS,
    DisagreementError,
    builds,
    check_agreement,
    installed_frameworks,
)
from tests.benchmarks.imports import import_costs
from tests.benchmarks.timing import interleaved_medians
from tests.benchmarks.workloads import WORKLOADS, Goal, Workload

Rows = list[list[str]]

STEP_COLUMNS = [
    "workload", "NumPy µs", "tinygrad_ce µs", "torch µs",
    "of NumPy", "of torch", "goal", "met",
]  # fmt: skip
IMPORT_COLUMNS = ["import", "ms", "peak MiB", "more ms", "more MiB", "goal", "met"]
IMPORT_GOAL_MS = 15
IMPORT_GOAL_MIB = 5


def main() -> int:
    options = arguments()
    console = Console(stderr=options.markdown)
    try:
        if options.imports:
            columns, rows = IMPORT_COLUMNS, import_rows(options.rounds or 15)
        else:
            columns, rows = STEP_COLUMNS, step_rows(options, console)
    except DisagreementError as error:
        print(f"stopped before timing: {error}", file=sys.stderr)
        return 1
    if options.markdown:
        print(as_markdown(columns, rows))
    else:
        # Away from a terminal rich would squeeze the table into 80 columns.
        Console(width=None if console.is_terminal else 140).print(as_table(columns, rows))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Times whole training steps of tinygrad_ce, NumPy by hand and PyTorch.",
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and PyTorch (1)")
    parser.add_argument(
        "--only",
        type=lambda text: names_among(WORKLOADS, text),
        default=list(WORKLOADS),
        help="W1,W2",
    )
    parser.add_argument(
        "--frameworks",
        type=lambda text: names_among(FRAMEWORKS, text),
        help="numpy,tinygrad_ce,torch (those installed)",
    )
    parser.add_argument("--seconds-per-workload", type=float, default=5.0, metavar="S")
    parser.add_argument("--rounds", type=int, help="this many rounds instead of a time")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--imports", action="store_true", help="time imports instead")
    return parser.parse_args()


def names_among(known: Collection[str], text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def step_rows(options: argparse.Namespace, console: Console) -> Rows:
    frameworks = options.frameworks or installed_frameworks()
    console.print(
        ", ".join(
            [f"Python {platform.python_version()}"]
            + [f"{name} {version(name)}" for name in frameworks]
            + [f"{options.threads} thread(s)"]
        )
    )
    if "torch" in frameworks:
        import torch

        torch.set_num_threads(options.threads)
    rows = []
    with threadpool_limits(options.threads):
        for name in options.only:
            workload = WORKLOADS[name]
            console.print(f"{name}: {workload.title}")
            data = workload.data()
            candidates = builds(name, frameworks)
            check_agreement(name, data, candidates)
            times = interleaved_medians(
                candidates, data, options.seconds_per_workload, options.rounds
            )
            rows += [step_row(workload, goal, times) for goal in workload.goals]
    return rows


def step_row(workload: Workload, goal: Goal, times: dict[str, float]) -> list[str]:
    torch = goal.against if goal.against.startswith("torch") else "torch"
    mine = times.get(goal.candidate)
    columns = [times.get("numpy"), mine, times.get(torch)]
    ratio = quotient(mine, times.get(goal.against))
    against = "NumPy" if goal.against == "numpy" else goal.against
    return [
        f"{workload.name} {workload.title}" + (f"; {goal.note}" if goal.note else ""),
        *("–" if time is None else f"{time:,.0f}" for time in columns),
        *(shown(quotient(mine, times.get(other))) for other in ("numpy", torch)),
        "" if goal.at_most is None else f"≤ {goal.at_most:.2f} {against}",
        "" if goal.at_most is None or ratio is None else mark(ratio <= goal.at_most),
    ]


def import_rows(rounds: int) -> Rows:
    costs = import_costs(("numpy", "tinygrad_ce"), rounds)
    numpy, mine = costs["numpy"], costs["tinygrad_ce"]
    more_ms = mine.milliseconds - numpy.milliseconds
    more_mib = mine.peak_mebibytes - numpy.peak_mebibytes
    return [
        ["numpy", f"{numpy.milliseconds:.1f}", f"{numpy.peak_mebibytes:.1f}", "", "", "", ""],
        [
            "tinygrad_ce",
            f"{mine.milliseconds:.1f}",
            f"{mine.peak_mebibytes:.1f}",
            f"{more_ms:+.1f}",
            f"{more_mib:+.1f}",
            f"≤ {IMPORT_GOAL_MS} ms, {IMPORT_GOAL_MIB} MiB more",
            mark(more_ms <= IMPORT_GOAL_MS and more_mib <= IMPORT_GOAL_MIB),
        ],
    ]


def quotient(time: float | None, other: float | None) -> float | None:
    return None if time is None or other is None else time / other


def shown(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}"


def mark(met: bool) -> str:
    return "✓" if met else "✗"


def as_table(columns: list[str], rows: Rows) -> Table:
    table = Table()
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=i > 0)
    for row in rows:
        table.add_row(*row)
    return table


def as_markdown(columns: list[str], rows: Rows) -> str:
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
