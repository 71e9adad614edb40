"""What a classifier says about each point of the plane: `plot_decision_boundary`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz.plots.canvas import (
    COLOURS,
    INK,
    axes_for,
    dress,
    given_back,
    legend_above,
    new_figure,
)
from tinygrad_ce.viz.plots.looking import evaluating

NAME = "plot_decision_boundary"
LEVELS = np.linspace(0, 1, 11)


def plot_decision_boundary(
    model: Callable[[Tensor], Tensor],
    X: Any,
    y: Any,
    ax: Any = None,
    *,
    classes: Sequence[str] | None = None,
    labels: tuple[str, str] = ("x₁", "x₂"),
    resolution: int = 200,
) -> Any:
    """p(class | x) of a classifier over the plane, and the points: X (N, 2), y (N,).

    The model gives logits: (N,) or (N, 1) of the second of two classes (sigmoid), or (N, C) of C
    classes (softmax). Two classes: filled contours of p, with a line where it is ½. More classes:
    the likeliest one's colour, deeper where it is surer, with lines where another one takes over.
    The model runs in evaluation mode and without a graph; its mode is put back.

    classes: names for the legend; labels: of the axes; resolution: grid points along each side.

    Raises ValueError where shapes or labels do not fit, ImportError without matplotlib.
    """
    points, ids = checked_points(X, y, resolution)

    def make(count: int) -> Sequence[Any]:
        return [new_figure(6.4, 4.8).add_subplot()]

    (one,) = axes_for(NAME, ax, ["boundary"], make)
    across, up = (side_of(points[:, i], resolution) for i in (0, 1))
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2).astype(points.dtype)
    p = probabilities(model, grid).reshape(resolution, resolution, -1)
    count = p.shape[-1]
    if ids.max() >= count or ids.min() < 0:
        raise ValueError(
            f"{NAME}: labels go from {ids.min()} to {ids.max()}; the model knows {count} classes, "
            f"0 to {count - 1}"
        )
    names = class_names(classes, count)
    (draw_two if count == 2 else draw_many)(one, across, up, p, names)
    for c in range(count):
        mine = points[ids == c]
        one.scatter(mine[:, 0], mine[:, 1], s=24, color=class_colour(c), edgecolors="white",
                    linewidths=0.7, label=names[c], zorder=3)  # fmt: skip
    dress(one, grid="")
    one.set(xlim=across[[0, -1]], ylim=up[[0, -1]])
    one.set_xlabel(labels[0], color=INK)
    one.set_ylabel(labels[1], color=INK)
    legend_above(one)
    return given_back([one])


def checked_points(X: Any, y: Any, resolution: Any) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 2) as floats and class ids (N,) as integers."""
    points, ids = (np.asarray(t.array if isinstance(t, Tensor) else t) for t in (X, y))
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(
            f"{NAME}: X has shape {points.shape}; wanted (N, 2): the plane has two coordinates"
        )
    if ids.shape != points.shape[:1]:
        advice = ": y.squeeze(1)" if ids.shape == (len(points), 1) else ""
        raise ValueError(f"{NAME}: y has shape {ids.shape}; wanted ({len(points)},){advice}")
    if points.dtype.kind not in "biuf" or not np.isfinite(points).all():
        raise ValueError(f"{NAME}: X has points that are not finite numbers; leave them out")
    if ids.dtype.kind not in "biuf" or (ids != np.floor(ids)).any():
        raise ValueError(f"{NAME}: y has labels that are no class ids; wanted 0, 1, 2, ...")
    if isinstance(resolution, bool) or not isinstance(resolution, int) or resolution < 2:
        raise ValueError(f"{NAME}: resolution={resolution!r}; wanted a whole number of at least 2")
    if points.dtype.kind != "f":
        points = points.astype(np.float32)
    return points, ids.astype(np.int64)


def side_of(values: np.ndarray, count: int) -> np.ndarray:
    """`count` numbers from a little below the least to a little above the greatest."""
    low, high = float(values.min()), float(values.max())
    room = 0.1 * (high - low) or 1.0
    return np.linspace(low - room, high + room, count)


def probabilities(model: Any, grid: np.ndarray) -> np.ndarray:
    """p (M, C) of the points (M, 2): sigmoid of one logit, softmax of several."""
    parameters: Any = getattr(model, "parameters", tuple)()
    kind = next((p.array.dtype for p in parameters), grid.dtype)
    with evaluating(model):
        logits = model(leaf(grid.astype(kind, copy=False)))
        if not isinstance(logits, Tensor):
            raise TypeError(f"{NAME}: the model gave a {type(logits).__name__}; wanted a Tensor")
        n = len(grid)
        if logits.shape in ((n,), (n, 1)):
            p = F.sigmoid(logits).numpy().reshape(n)
            return np.stack([1 - p, p], axis=-1)
        if logits.ndim == 2 and len(logits) == n:
            return F.softmax(logits, 1).numpy()
    raise ValueError(
        f"{NAME}: for points {grid.shape} the model gave {np.shape(logits)}; wanted "
        f"logits, ({n},) or ({n}, 1) for two classes, ({n}, C) for C"
    )


def class_names(classes: Sequence[str] | None, count: int) -> list[str]:
    """What the classes are called."""
    if classes is None:
        return [f"class {c}" for c in range(count)]
    if len(classes) != count:
        raise ValueError(f"{NAME}: {len(classes)} names in classes; the model knows {count}")
    return list(classes)


def class_colour(c: int) -> str:
    """The colour of a class."""
    return COLOURS[c % len(COLOURS)]


def draw_two(ax: Any, across: np.ndarray, up: np.ndarray, p: np.ndarray, names: list[str]) -> None:
    """Filled contours of the second class's probability, from one colour to the other."""
    from matplotlib.colors import LinearSegmentedColormap

    second = p[..., 1]
    tints = ["#7fb8d8", "#ffffff", "#eaae7f"]
    colours = LinearSegmentedColormap.from_list("two classes", tints)
    filled = ax.contourf(across, up, second, levels=LEVELS, cmap=colours, zorder=1)
    if second.min() < 0.5 < second.max():
        ax.contour(across, up, second, levels=[0.5], colors=INK, linewidths=1.6, zorder=2)
    bar = ax.figure.colorbar(filled, ax=ax, ticks=[0, 0.25, 0.5, 0.75, 1], pad=0.02)
    bar.set_label(f"p({names[1]})", color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, length=0, labelcolor=INK)
    bar.ax.axhline(0.5, color=INK, lw=1.6)


def draw_many(ax: Any, across: np.ndarray, up: np.ndarray, p: np.ndarray, names: list[str]) -> None:
    """The colour of the likeliest class, deeper where it is surer."""
    from matplotlib.colors import to_rgb

    count = len(names)
    paint = np.array([to_rgb(class_colour(c)) for c in range(count)])[p.argmax(-1)]
    sure = (p.max(-1) - 1 / count) / max(1 - 1 / count, 1e-9)
    depth = (0.08 + 0.42 * np.clip(sure, 0, 1))[..., None]
    half = [(side[1] - side[0]) / 2 for side in (across, up)]
    extent = (across[0] - half[0], across[-1] + half[0], up[0] - half[1], up[-1] + half[1])
    ax.imshow(1 - depth * (1 - paint), origin="lower", extent=extent, aspect="auto",
              interpolation="bilinear", zorder=1)  # fmt: skip
    for c in range(count):
        lead = p[..., c] - np.delete(p, c, axis=-1).max(-1) if count > 1 else p[..., c]
        if lead.min() < 0 < lead.max():
            ax.contour(across, up, lead, levels=[0.0], colors=INK, linewidths=1.2, zorder=2)
