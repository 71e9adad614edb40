"""Axes to plot on, and how they look: light, few lines, colours that the colour-blind tell apart.

Everything is said to the Axes themselves: no style, backend or current figure of matplotlib's
changes, and no window opens. Below a notebook's cell a figure is shown as pyplot's are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

INK, SOFT, GRID = "#1e293b", "#64748b", "#e2e8f0"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#785ef0")
"""Okabe and Ito's palette, its yellow replaced by a violet that is seen on white."""
TIME = ("#a9cdea", "#5b9bd5", "#1f5fa8", "#0b2545")
"""From first to last."""


def check_matplotlib(caller: str) -> None:
    """Raise ImportError in one line if matplotlib is not there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError(
            f'{caller}: matplotlib is missing; pip install "tinygrad_ce[plots]"'
        ) from None


def new_figure(width: float, height: float) -> Any:
    """A white figure that belongs to nobody but its Axes, or to the cell of a notebook."""
    import matplotlib
    from matplotlib.figure import Figure

    how: dict[str, Any] = {"figsize": (width, height), "facecolor": "white", "dpi": 120}
    if "inline" in (matplotlib.get_backend(auto_select=False) or ""):  # it closes what it shows
        from matplotlib import pyplot

        return pyplot.figure(layout="constrained", **how)
    return Figure(layout="constrained", **how)


def axes_for(
    caller: str, ax: Any, what: Sequence[str], make: Callable[[int], Sequence[Any]]
) -> list[Any]:
    """One Axes for each of `what`: the given ones, or those that `make` gives."""
    check_matplotlib(caller)
    if ax is None:
        return list(make(len(what)))
    from matplotlib.axes import Axes

    given = list(np.ravel(np.array(ax, dtype=object)))
    for one in given:
        if not isinstance(one, Axes):
            raise TypeError(f"{caller}: ax is a {type(one).__name__}; wanted matplotlib's Axes")
    if len(given) != len(what):
        raise ValueError(
            f"{caller}: ax has {len(given)} Axes for {len(what)} plots ({', '.join(what)}); "
            f"wanted {len(what)}, as in ax=figure.subplots({len(what)}), or fewer names=[...]"
        )
    return given


def given_back(axes: list[Any]) -> Any:
    """The Axes, or an array of them where there are several."""
    if len(axes) == 1:
        return axes[0]
    array = np.empty(len(axes), dtype=object)
    array[:] = axes
    return array


def dress(ax: Any, grid: str = "y") -> None:
    """Light grid behind the data, no frame above and on the right."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(SOFT)
    ax.tick_params(colors=SOFT, labelcolor=INK, labelsize=9)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color=GRID, lw=0.8)


def steps_below(ax: Any) -> None:
    """Steps from left to right, as whole numbers."""
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel("step (updates made)", color=INK)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ax.margins(x=0.02)


def legend_above(ax: Any, columns: int = 4) -> None:
    """A legend over the plot, where it covers no data."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=9,
              labelcolor=INK, borderaxespad=0.2, handlelength=1.4, columnspacing=1.4)  # fmt: skip


def through_time(count: int) -> list[Any]:
    """Colours from the first to the last of `count`, light to dark."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("time", TIME)
    return [colours(i / max(count - 1, 1)) for i in range(count)]
