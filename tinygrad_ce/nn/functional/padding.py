"""Tensors with something around them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor, sizes

MODES = ("constant", "reflect", "replicate", "circular")


@composed("x, and more around it")
def pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """x with more around it: `pad` is (before, after) for the last dimension, the one before, ...

    The gradient is that of the part where x stands; copies of an element add theirs.

    mode: "constant" (`value`, 0 by default), "reflect" (without the edge), "replicate" (the edge),
    "circular" (from the other end). A negative number cuts off. In the last three modes the first
    dimensions, samples and channels, stay: x is (N, C, L), (N, C, H, W) or has no N.

    >>> from tinygrad_ce import tensor
    >>> pad(tensor([[1.0, 2.0, 3.0]]), (2, 1), mode="reflect")
    tensor([[3., 2., 1., 2., 3., 2.]])
    """
    around = sizes((pad,) if isinstance(pad, (tuple, list)) else (tuple(pad),))
    count = len(around) // 2
    if len(around) % 2 or count > input.ndim:
        raise ValueError(
            f"pad: pad={around} for shape {tuple(input.shape)}; wanted (before, after) for the "
            "last dimension, and so on"
        )
    if mode not in MODES:
        raise ValueError(f"pad: mode={mode!r}; wanted one of {', '.join(MODES)}")
    if mode != "constant":
        check_mode(input, count, mode, value)
    for i in range(count):
        axis, before, after = input.ndim - 1 - i, around[2 * i], around[2 * i + 1]
        if mode == "constant":
            input = one_side(input, axis, before, after, 0.0 if value is None else value)
        elif before or after:
            places = taken(input.shape[axis], before, after, mode)
            input = input[(slice(None),) * axis + (leaf(places),)]
    return input


def check_mode(x: Any, count: int, mode: str, value: float | None) -> None:
    """What is around comes from the same sample and channel."""
    if value not in (None, 0):
        raise ValueError(f"pad: mode={mode!r} takes no value")
    if not count + 1 <= x.ndim <= count + 2:
        raise NotImplementedError(
            f"pad: mode={mode!r} pads the last {count} of {x.ndim} dimensions; wanted (C, ...) or "
            "(N, C, ...), of which all but these are padded"
        )


def one_side(x: Any, axis: int, before: int, after: int, value: float) -> Any:
    """Numbers around one axis, or less of it."""
    n = x.shape[axis]
    if before < 0 or after < 0:
        x = x[(slice(None),) * axis + (slice(max(-before, 0), n - max(-after, 0)),)]
    if before <= 0 and after <= 0:
        return x
    widths = tuple((max(before, 0), max(after, 0)) if i == axis else (0, 0) for i in range(x.ndim))
    return table.pad(x, widths, value)


def taken(n: int, before: int, after: int, mode: str) -> np.ndarray:
    """Which elements of n stand in a padded row."""
    places = np.arange(-before, n + after)
    most = {"reflect": n - 1, "circular": n}.get(mode)
    if most is not None and max(before, after) > most:
        raise RuntimeError(
            f"pad: ({before}, {after}) around {n} elements; mode={mode!r} has at most {most}"
        )
    if mode == "circular":
        return places % n
    if mode == "replicate":
        return np.clip(places, 0, n - 1)
    return np.where(places < 0, -places, np.where(places >= n, 2 * (n - 1) - places, places))
