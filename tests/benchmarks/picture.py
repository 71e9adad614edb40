"""The times as a picture: for each workload, how much longer than NumPy by hand the others take."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.benchmarks.tables import Times, shown
from tests.benchmarks.workloads import WORKLOADS

STYLES = {
    "compiled": ("tinygrad_ce, compiled", "#1f4e9c"),
    "tinygrad_ce": ("tinygrad_ce, eager", "#8db4e8"),
    "torch.compile": ("PyTorch, torch.compile", "#b8500f"),
    "torch": ("PyTorch, eager", "#f2b07b"),
    "jax": ("JAX, jit", "#8a8a8a"),
}
"""Names and colours, in their order from above."""
GREY = "#555555"


HEAD, FOOT = 0.65, 0.5
"""Inches above and below the bars."""


def save_picture(times: dict[str, Times], path: Path, threads: int) -> None:
    """Bars that start at NumPy's time, leftwards where faster, on a logarithmic scale."""
    candidates = [name for name in STYLES if any(name in own for own in times.values())]
    height = HEAD + FOOT + 0.14 * len(times) * (len(candidates) + 1)
    figure = Figure(figsize=(10, height), dpi=160)
    axes = figure.add_axes((0.31, FOOT / height, 0.67, 1 - (HEAD + FOOT) / height))
    for i, candidate in enumerate(candidates):
        draw_bars(axes, times, candidate, i, len(candidates))
    dress(axes, times)
    figure.legend(loc="upper center", ncols=len(candidates), frameon=False, fontsize=9)
    note = f"Time of a training step, float32, {threads} thread" + "s" * (threads > 1)
    figure.text(0.98, 0.08 / height, note, color=GREY, size=8, ha="right")
    figure.savefig(path, facecolor="white")


def draw_bars(axes: Axes, times: dict[str, Times], candidate: str, i: int, of: int) -> None:
    """One bar for each workload, the i-th of its group, with its ratio at the end."""
    name, color = STYLES[candidate]
    ratios = {
        group: own[candidate] / own["numpy"]
        for group, own in enumerate(times.values())
        if candidate in own and "numpy" in own
    }
    thickness = 1 / (of + 1)
    y = [group + (i - (of - 1) / 2) * thickness for group in ratios]
    logs = np.log10(list(ratios.values()))
    axes.barh(y, logs, height=0.88 * thickness, color=color, label=name)
    for place, log, ratio in zip(y, logs, ratios.values()):
        left = log < 0
        axes.annotate(
            shown(ratio),
            (log, place),
            xytext=(-3 if left else 3, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center_baseline",
            size=6.5,
            weight="bold" if candidate == "compiled" else "normal",
            color=GREY,
        )


def dress(axes: Axes, times: dict[str, Times]) -> None:
    """Names at the groups, thin lines between them, and a scale in multiples of NumPy's time."""
    axes.set_ylim(len(times) - 0.5, -0.5)
    axes.set_yticks([])
    for i, (name, own) in enumerate(times.items()):
        write_title(axes, i, name, own)
        axes.axhline(i + 0.5, color="#e4e4e4", linewidth=0.8, zorder=0)
    low, high = axes.dataLim.intervalx
    axes.set_xlim(low - 0.2, high + 0.2)
    steps = (0.01, 0.03, 0.1, 0.25, 0.5, 1, 2, 4, 10, 30, 100, 300, 1000)
    ticks = [x for x in steps if low - 0.2 <= np.log10(x) <= high + 0.2]
    axes.set_xticks(np.log10(ticks), [f"{x:g} ×" for x in ticks], size=8.5)
    axes.xaxis.grid(True, color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.axvline(0, color="black", linewidth=1)
    axes.annotate(
        "← faster      NumPy by hand      slower →",
        (0, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 5),
        textcoords="offset points",
        ha="center",
        size=8.5,
        color=GREY,
    )


def write_title(axes: Axes, group: int, name: str, times: Times) -> None:
    """What is done, to the left of its bars, and how long NumPy takes for it."""
    first, _, rest = WORKLOADS[name].title.partition(", ")
    numpy = f"NumPy {times['numpy']:,.0f} µs" if "numpy" in times else ""
    lines = [f"{name}  {first}", *filter(None, (rest, numpy))]
    for i, line in enumerate(lines):
        axes.annotate(
            line,
            (0, group),
            xycoords=("axes fraction", "data"),
            xytext=(-8, 12 * ((len(lines) - 1) / 2 - i)),
            textcoords="offset points",
            ha="right",
            va="center",
            size=9 if i == 0 else 8,
            weight="bold" if i == 0 else "normal",
            color="black" if i == 0 else GREY,
        )
