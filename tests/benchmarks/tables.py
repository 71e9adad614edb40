"""What was measured, as tables: times, goals, memory and imports, for a terminal or as Markdown."""

from typing import NamedTuple

from rich.table import Table as RichTable

from tests.benchmarks.agreement import FRAMEWORKS
from tests.benchmarks.imports import ImportCost
from tests.benchmarks.memory import Peak
from tests.benchmarks.workloads import WORKLOADS, Goal

Times = dict[str, float]
"""Median microseconds per step of each candidate."""
IMPORT_GOAL_MS = 15
IMPORT_GOAL_MIB = 5


class Table(NamedTuple):
    """Cells as text; the first column is set flush left."""

    columns: list[str]
    rows: list[list[str]]


def time_table(times: dict[str, Times]) -> Table:
    """Microseconds per step of each workload, in each framework that was timed."""
    frameworks = [one for one in FRAMEWORKS if any(one in own for own in times.values())]
    rows = []
    for name, own in times.items():
        workload = WORKLOADS[name]
        cells = [f"{own[one]:,.0f}" if one in own else "–" for one in frameworks]
        rows.append([f"{name} {workload.title}", *cells])
        if "torch fused" in own:
            cells = [f"{own['torch fused']:,.0f}" if one == "torch" else "" for one in frameworks]
            rows.append([f"{name}, {workload.fused}", *cells])
    return Table(["µs per step", *(FRAMEWORKS[one].heading for one in frameworks)], rows)


def goal_table(times: dict[str, Times]) -> Table:
    """Our times over NumPy's and PyTorch's, next to the goals."""
    rows = []
    for name, own in times.items():
        eager, compiled = (goal_of(name, mine) for mine in ("tinygrad_ce", "compiled"))
        row = [name, *ratios(own, "tinygrad_ce", "torch"), *judged(eager, own)]
        rows.append([*row, *ratios(own, "compiled", "torch"), *judged(compiled, own, wish=True)])
        if "torch fused" in own:
            row = [f"{name} fused", *ratios(own, "tinygrad_ce", "torch fused"), ""]
            rows.append([*row, *ratios(own, "compiled", "torch fused"), "", ""])
    eager_columns = ["eager / NumPy", "/ torch", "goal"]
    return Table(["ratio", *eager_columns, "compiled / NumPy", "/ torch", "must", "goal"], rows)


def goal_of(workload: str, candidate: str) -> Goal | None:
    goals = WORKLOADS[workload].goals
    return next((goal for goal in goals if goal.candidate == candidate), None)


def ratios(times: Times, mine: str, torch: str) -> list[str]:
    return [shown(quotient(times, mine, other)) for other in ("numpy", torch)]


def judged(goal: Goal | None, times: Times, wish: bool = False) -> list[str]:
    """ "≤ 0.40 torch ✓" for what must be reached, and once more for what is wished for."""
    if goal is None:
        return [""] * (1 + wish)
    ratio = quotient(times, goal.candidate, goal.against)
    against = FRAMEWORKS[goal.against].heading
    bounds = [goal.at_most, goal.wish] if wish else [goal.at_most]
    return [
        f"≤ {bound:.2f} {against}" + ("" if ratio is None else f" {mark(ratio <= bound)}")
        for bound in bounds
        if bound is not None
    ]


def quotient(times: Times, mine: str, other: str) -> float | None:
    return times[mine] / times[other] if mine in times and other in times else None


def shown(ratio: float | None) -> str:
    """With two decimals, fewer where it is large, one more where it is small."""
    if ratio is None:
        return "–"
    decimals = 0 if ratio >= 100 else 1 if ratio >= 10 else 2 if ratio >= 0.1 else 3
    return f"{ratio:,.{decimals}f}"


def mark(met: bool) -> str:
    return "✓" if met else "✗"


def memory_table(peaks: dict[str, dict[str, Peak]]) -> Table:
    """MiB beyond data and parameters at the peak of a step, and those of them that are new."""
    ours = ("numpy", "tinygrad_ce", "compiled")
    rows = []
    for name, own in peaks.items():
        cells = [
            f"{size:,.3f}" if size is not None else "–"
            for one in ours
            for size in own.get(one, (None, None))
        ]
        saved = None
        if "tinygrad_ce" in own and "compiled" in own:
            saved = own["compiled"].held / own["tinygrad_ce"].held
        rows.append([f"{name} {WORKLOADS[name].title}", *cells, shown(saved)])
    headings = [heading for one in ours for heading in (FRAMEWORKS[one].heading, "new")]
    return Table(["MiB at the peak of a step", *headings, "compiled / eager"], rows)


def import_table(costs: dict[str, ImportCost]) -> Table:
    numpy, mine = costs["numpy"], costs["tinygrad_ce"]
    more_ms = mine.milliseconds - numpy.milliseconds
    more_mib = mine.peak_mebibytes - numpy.peak_mebibytes
    return Table(
        ["import", "ms", "peak MiB", "more ms", "more MiB", "goal", "met"],
        [
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
        ],
    )


def as_rich(table: Table) -> RichTable:
    rich = RichTable()
    for i, column in enumerate(table.columns):
        rich.add_column(column, justify="right" if i else "left", no_wrap=True)
    for row in table.rows:
        rich.add_row(*row)
    return rich


def as_markdown(table: Table) -> str:
    lines = [table.columns, ["---"] + ["---:"] * (len(table.columns) - 1), *table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
