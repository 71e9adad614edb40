"""Training, seen: `plot_history`, `plot_activations` and `plot_gradients` of a Recorder.

Each gives matplotlib's Axes, or an array of them where there are several; the picture is
`ax.figure`, and `ax.figure.savefig("training.png")` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_ce.viz.plots.canvas import (
    COLOURS,
    INK,
    SOFT,
    axes_for,
    dress,
    given_back,
    legend_above,
    new_figure,
    steps_below,
    through_time,
)
from tinygrad_ce.viz.plots.recorder import RATE, Histogram, Recorder, Series

SHARES = {"accuracy", "acc", "precision", "recall", "f1"}  # shown in percent
ROWS = 10  # histograms of one array that are drawn, one below the other
HEIGHT = 1.8  # of a histogram, in rows
HEALTHY = (10**-3.5, 10**-2.5)  # update per weight: about a thousandth


# --- numbers --------------------------------------------------------------------------------


def plot_history(
    recorder: Recorder,
    ax: Any = None,
    *,
    names: Iterable[str] | None = None,
    smooth: float | None = None,
    units: Mapping[str, str] | None = None,
) -> Any:
    """Loss, accuracy and whatever else was recorded, against the step: one Axes for each.

    Returns an array of matplotlib's Axes, or the Axes itself where there is one quantity only.
    What ends alike is drawn together: "loss", "val_loss" and "test_loss". Each series has its own
    steps. Long ones are drawn twice, thin as recorded and bold smoothed, by lines fitted to their
    neighbours with the weights exp(-(i - j)²/2σ²). A learning rate that changes has an axis of its
    own on the right of the first plot.

    names: the quantities to plot, such as ["loss"]; all by default.
    smooth: σ, in recorded numbers; 0 draws them as they are. By default a 50th of their count.
    units: what is written behind a quantity: {"loss": "nats"}.

    Raises ValueError if there is nothing to plot, ImportError without matplotlib.
    """
    check_recorder("plot_history", recorder)
    groups = quantities(recorder.series)
    if not groups:
        raise ValueError("plot_history: nothing was recorded; call recorder.step(loss=loss)")
    shown = chosen("plot_history", "quantity", groups, names)

    def make(count: int) -> Sequence[Any]:
        columns = min(count, 3)
        rows = -(-count // columns)
        figure = new_figure(max(6.4, 4.6 * columns), 3.4 * rows)
        return [figure.add_subplot(rows, columns, i + 1) for i in range(count)]

    axes = axes_for("plot_history", ax, list(shown), make)
    colours = colour_of_roles(recorder.series)
    for one, (quantity, series) in zip(axes, shown.items()):
        for name, s in series.items():
            draw_series(one, s, name.replace("_", " "), colours[role(name)], smooth)
        finish_quantity(one, quantity, series, (units or {}).get(quantity))
    changing = [s for n, s in recorder.series.items() if n.startswith(RATE) and changes(s)]
    if changing:
        draw_rates(axes[0], changing)
    return given_back(axes)


def quantities(series: Mapping[str, Series]) -> dict[str, dict[str, Series]]:
    """Series by what they measure: the last word of their names.

    >>> s = Series([1], [0.5])
    >>> {q: list(group) for q, group in quantities({"loss": s, "acc": s, "val_loss": s}).items()}
    {'loss': ['loss', 'val_loss'], 'acc': ['acc']}
    """
    groups: dict[str, dict[str, Series]] = {}
    for name, s in series.items():
        if not name.startswith(RATE):
            groups.setdefault(words(name)[-1], {})[name] = s
    return groups


def words(name: str) -> list[str]:
    """The words of a name: test_loss, test/loss."""
    return [word for word in re.split(r"[_/.\s]+", name) if word] or [name]


def role(name: str) -> str:
    """Whose number it is: "test" for test_loss, "" for that of training."""
    before = " ".join(words(name)[:-1])
    return "" if before in ("train", "training") else before


def colour_of_roles(series: Mapping[str, Series]) -> dict[str, str]:
    """A colour for each role, the same in all plots."""
    roles = dict.fromkeys(["", *(role(name) for name in series if not name.startswith(RATE))])
    return {r: COLOURS[i % len(COLOURS)] for i, r in enumerate(roles)}


def draw_series(ax: Any, series: Series, label: str, colour: str, smooth: float | None) -> None:
    """Numbers against steps: a line, or a thin line and its smoothed one."""
    steps, values = np.array(series.steps), np.array(series.values)
    width = len(values) / 50 if smooth is None else smooth
    if smooth is None and len(values) < 40:
        width = 0
    if width <= 0:
        marker = "o" if len(values) <= 30 else None
        ax.plot(steps, values, color=colour, lw=1.8, marker=marker, ms=3, label=label)
        return
    ax.plot(steps, values, color=colour, lw=0.7, alpha=0.35)
    ax.plot(steps, smoothed(values, width), color=colour, lw=2.2, label=label)


def smoothed(values: np.ndarray, width: float) -> np.ndarray:
    """a + b·i, the line that fits best at i: least Σⱼ wᵢⱼ (a + b·j - xⱼ)², over the finite xⱼ.

    wᵢⱼ = exp(-(i - j)²/2σ²), σ is `width`. A line, where a mean would lag at both ends. A nan stays
    a gap (local linear regression; Cleveland, 1979).

    >>> smoothed(np.array([1.0, 2.0, np.nan, 4.0]), 2.0)
    array([ 1.,  2., nan,  4.])
    """
    reach = min(int(np.ceil(3 * width)), len(values) - 1)
    away = np.arange(-reach, reach + 1)  # i - j
    weights = np.exp(-0.5 * (away / width) ** 2)
    there = np.isfinite(values)

    def total(of: np.ndarray, power: int) -> np.ndarray:
        return np.convolve(of, weights * away**power)[reach : reach + len(values)]

    x = np.where(there, values, 0.0)
    n = there.astype(np.float64)
    top = total(n, 2) * total(x, 0) - total(n, 1) * total(x, 1)
    bottom = total(n, 2) * total(n, 0) - total(n, 1) ** 2
    fits = there & (bottom > 1e-12 * total(n, 0) ** 2)  # two finite numbers at least
    return np.where(fits, top / np.where(fits, bottom, 1.0), values)


def finish_quantity(ax: Any, quantity: str, series: dict[str, Series], unit: str | None) -> None:
    """Axes named, shares in percent, a legend where there are several lines."""
    from matplotlib.ticker import PercentFormatter

    dress(ax)
    steps_below(ax)
    ax.set_ylabel(f"{quantity} ({unit})" if unit else quantity, color=INK)
    numbers = [v for s in series.values() for v in s.values]
    if quantity in SHARES and all(0 <= v <= 1 for v in numbers):
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    if len(series) > 1:
        legend_above(ax)


def changes(series: Series) -> bool:
    """Whether the numbers are not all the same."""
    return len(set(series.values)) > 1


def draw_rates(ax: Any, rates: list[Series]) -> None:
    """Learning rates on an axis of their own, on the right."""
    right = ax.twinx()
    for series, style in zip(rates, ["--", ":", "-."] * len(rates)):
        right.plot(series.steps, series.values, color=SOFT, lw=1.3, ls=style)
    values = [v for series in rates for v in series.values]
    right.set_ylim(0, 1.08 * max(values))
    right.set_ylabel("learning rate (dashed)", color=SOFT)
    right.tick_params(colors=SOFT, labelsize=9)
    right.spines[["top", "left", "bottom"]].set_visible(False)
    right.spines["right"].set_color(SOFT)


# --- histograms -----------------------------------------------------------------------------


def plot_activations(
    recorder: Recorder, ax: Any = None, *, names: Iterable[str] | None = None
) -> Any:
    """What each layer gives, as histograms through time: an array of Axes, one for each layer.

    The first look is the top row, light; the last one the bottom row, dark. Each row is scaled to
    its highest bin, and tails beyond the outermost hundredths are cut off. Zeros are left out of
    the rows and told above them, with the standard deviation σ: many zeros are dead ReLUs, σ that
    shrinks from layer to layer is a signal lost.

    names: the layers to plot; all by default.

    Raises ValueError if `recorder.look(x)` was never called, ImportError without matplotlib.
    """
    check_recorder("plot_activations", recorder)
    if not recorder.activations:
        raise ValueError(
            "plot_activations: no activations were recorded; call recorder.look(x) now and then, "
            "with an example batch, of a Recorder(model)"
        )
    shown = chosen("plot_activations", "layer", recorder.activations, names)
    axes = axes_for("plot_activations", ax, list(shown), grid_of_axes)
    for one, (name, histograms) in zip(axes, shown.items()):
        draw_ridges(one, histograms, name, "activation")
    return given_back(axes)


def plot_gradients(
    recorder: Recorder, ax: Any = None, *, names: Iterable[str] | None = None
) -> Any:
    """‖∂loss/∂w‖ of each parameter against depth, and below it the ratio ‖Δw‖/‖w‖ of its update.

    Both in powers of ten over the same x: the parameters in the order in which the model names
    them, each with a colour of its own. Three lines, pale to dark: the first, the middle and the
    last look. A line that falls to the left is a gradient that vanishes on its way back. About a
    thousandth is a healthy ratio: far above it training jumps, far below it hardly moves. What is
    0 or not finite has no point.

    Gives an array of two Axes. If no update was seen, the first alone, and its title says so.

    names: the parameters to plot, in this order; by default those of two or more dimensions, or
        else all.

    Raises ValueError if no gradient was recorded or none is above 0, ImportError without
    matplotlib.
    """
    check_recorder("plot_gradients", recorder)
    gradients = recorder.gradients
    if not gradients:
        raise ValueError(
            "plot_gradients: no gradients were recorded; make a Recorder(model), and call "
            "recorder.step(...) after loss.backward() and before zero_grad()"
        )
    if names is None:
        shapes = {} if recorder.model is None else dict(recorder.model.named_parameters())
        names = [n for n in shapes if n in gradients and shapes[n].ndim > 1] or None
    shown = list(chosen("plot_gradients", "parameter", gradients, names))
    norms = {n: {h.step: h.norm for h in gradients[n]} for n in shown}
    updates = {n: recorder.updates.get(n, Series([], [])) for n in shown}
    ratios = {n: dict(zip(s.steps, s.values)) for n, s in updates.items()}
    if not any_points(norms):
        raise ValueError(
            f"plot_gradients: the gradients of {shown} are 0 or not finite at each look; "
            "recorder.gradients has their histograms"
        )
    panels = {"gradient": norms, "update to weight": ratios}
    if not any_points(ratios):
        del panels["update to weight"]
    axes = axes_for(
        "plot_gradients", ax, list(panels), lambda count: stacked_axes(count, len(shown))
    )
    steps = thinned(sorted({step for of in norms.values() for step in of}), 3)
    for one, values in zip(axes, panels.values()):
        draw_against_depth(one, values, steps)
    axes[0].set_ylabel("‖∇‖", color=INK)
    legend_above(axes[0])
    if len(axes) == 1:
        axes[0].set_title("No update was seen: the weights did not move.\n", color=SOFT, fontsize=9)
    else:
        finish_updates(axes[1])
    return given_back(axes)


Looks = Mapping[str, Mapping[int, float]]  # of each parameter: step and number


def any_points(values: Looks) -> bool:
    """Whether there is a number that powers of ten can show."""
    return any(0 < v < np.inf for of in values.values() for v in of.values())


def stacked_axes(count: int, parameters: int) -> list[Any]:
    """Plots one below the other, with room for the names of so many parameters."""
    width = min(max(6.4, 0.5 * parameters), 24)
    axes = new_figure(width, 0.8 + 2.8 * count).subplots(count, sharex=True, squeeze=False)
    return list(axes[:, 0])


def draw_against_depth(ax: Any, values: Looks, steps: Sequence[int]) -> None:
    """A line for each step, later ones darker, through a point of each parameter's colour."""
    places, colours = range(len(values)), colours_of(len(values))
    for i, step in enumerate(steps):
        strength = (i + 1) / len(steps)
        y = np.array([of.get(step, np.nan) for of in values.values()])
        y = np.where((y > 0) & (y < np.inf), y, np.nan)
        line = {"color": INK, "lw": 1.4, "alpha": 0.7 * strength, "zorder": 2}
        ax.plot(places, y, label=f"step {step}", **line)
        ax.scatter(places, y, s=16 + 26 * strength, c=colours, alpha=strength, zorder=3, lw=0)
    dress(ax)
    ax.set_yscale("log")
    ax.minorticks_off()
    low, high = np.log10(ax.get_ylim())
    ax.set_ylim(10 ** np.floor(low), 10 ** np.ceil(high))  # two powers of ten to read at least
    ax.set_xlim(-0.5, len(values) - 0.5)
    turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(places, list(values), **(turned if len("".join(values)) > 60 else {}))
    for label, colour in zip(ax.get_xticklabels(), colours):
        label.set_color(colour)


def colours_of(count: int) -> list[Any]:
    """A colour for each of so many parameters, all different."""
    from matplotlib import colormaps

    if count <= len(COLOURS):
        return list(COLOURS[:count])
    return list(colormaps["turbo"](np.linspace(0.03, 0.97, count)))


def finish_updates(ax: Any) -> None:
    """The region of healthy updates, and room for it."""
    ax.axhspan(*HEALTHY, color="#009e73", alpha=0.12, lw=0)
    ax.axhline(1e-3, color="#009e73", lw=1, ls="--")
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, 1e-4), max(high, 1e-2))
    ax.set_ylabel("‖Δw‖ / ‖w‖", color=INK)
    ax.text(
        0, 1.02, "dashed: 10⁻³, a healthy update", color=SOFT, fontsize=9, transform=ax.transAxes
    )


def grid_of_axes(count: int) -> list[Any]:
    """Rows of up to five plots, as even as may be."""
    rows, columns = rows_and_columns(count)
    figure = new_figure(max(4.2, 2.8 * columns), 3.6 * rows)
    return [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def rows_and_columns(count: int) -> tuple[int, int]:
    """A grid for so many plots, at most five wide.

    >>> rows_and_columns(5), rows_and_columns(6), rows_and_columns(7)
    ((1, 5), (2, 3), (2, 4))
    """
    rows = -(-count // 5)
    return rows, -(-count // rows)


def draw_ridges(ax: Any, histograms: list[Histogram], name: str, what: str) -> None:
    """Histograms below each other, first to last, each one's base at its own row."""
    from matplotlib.ticker import MaxNLocator

    shown = thinned(histograms, ROWS)
    for row, (h, colour) in enumerate(zip(shown, through_time(len(shown)))):
        heights = HEIGHT * h.counts / max(h.counts.max(), 1)
        place = {"baseline": -row, "zorder": 2 + row / ROWS}
        ax.stairs(heights - row, h.edges, color="white", lw=1.6, **place)  # a halo
        ax.stairs(heights - row, h.edges, color=colour, fill=True, **place)
    dress(ax, grid="x")
    ax.spines["left"].set_visible(False)
    ax.set_yticks([-row for row in range(len(shown))], [str(h.step) for h in shown])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-len(shown) + 0.8, HEIGHT + 0.1)
    ax.set_xlim(*limits(shown))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.ticklabel_format(axis="x", scilimits=(-2, 3), useMathText=True)
    ax.set_ylabel("step", color=INK)
    ax.set_xlabel(what, color=INK)
    ax.set_title(f"{name}\n", color=INK, fontsize=10.5, loc="left")
    ax.text(0, 1.015, remarks(shown), color=SOFT, fontsize=8.5, transform=ax.transAxes)


def thinned(things: list[Any], count: int) -> list[Any]:
    """At most `count` of them, evenly chosen, the first and the last among them.

    >>> thinned([1, 11, 21, 31, 41], 3)
    [1, 21, 41]
    """
    if len(things) <= count:
        return things
    places = np.linspace(0, len(things) - 1, count).round().astype(int)
    return [things[i] for i in places]


def limits(histograms: list[Histogram]) -> tuple[float, float]:
    """Where all but one element in a hundred lie on either side, at each look; and 0."""
    full = [h for h in histograms if h.counts.any()]
    if not full:
        return -1.0, 1.0
    low, high = (min(h.quantile(0.01) for h in full), max(h.quantile(0.99) for h in full))
    low, high = min(low, 0.0), max(high, 0.0)
    room = 0.03 * (high - low)
    return low - room, high + room


def remarks(histograms: list[Histogram]) -> str:
    """Standard deviation, zeros, and what is not finite: at the first look, and at the last."""
    first, last = histograms[0], histograms[-1]
    parts = [f"σ {arrow(f'{first.std:.2g}', f'{last.std:.2g}')}"]
    if first.zeros or last.zeros:
        parts.append(f"zeros {arrow(f'{first.zeros:.0%}', f'{last.zeros:.0%}')}")
    if first.broken or last.broken:
        parts.append(f"nan or inf {arrow(f'{first.broken:.0%}', f'{last.broken:.0%}')}")
    return "   ".join(parts)


def arrow(first: str, last: str) -> str:
    """From one to the other, if it changed."""
    return last if first == last else f"{first} → {last}"


# --- what was asked for ---------------------------------------------------------------------


def check_recorder(caller: str, recorder: Any) -> None:
    """Refuse what is no Recorder."""
    if not isinstance(recorder, Recorder):
        raise TypeError(f"{caller}: got a {type(recorder).__name__}; wanted a Recorder")


def chosen(
    caller: str, kind: str, things: Mapping[str, Any], names: Iterable[str] | None
) -> dict[str, Any]:
    """The things of these names, in this order; all without names."""
    if names is None:
        return dict(things)
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in things:
            raise ValueError(f"{caller}: no {kind} is called {name!r}; there are {list(things)}")
    if not names:
        raise ValueError(f"{caller}: names is empty; there are {list(things)}")
    return {name: things[name] for name in names}
