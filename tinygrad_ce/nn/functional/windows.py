"""What convolutions and pools share: sizes for each direction, and what is around an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine import table


def several(value: Any, name: str, least: int = 1, count: int = 2) -> tuple[int, ...]:
    """A number for all directions, or one for each of `count`."""
    each = tuple(value) if isinstance(value, (tuple, list)) else (value,) * count
    if len(each) == 1:
        each *= count
    wanted = all(isinstance(n, (int, np.integer)) and n >= least for n in each)
    if len(each) != count or not wanted:
        many = f", or {['', '', 'two', 'three'][count]}" if count > 1 else ""
        raise ValueError(f"{name}={value!r}; wanted an integer of at least {least}{many}")
    return tuple(map(int, each))


def pair(value: Any, name: str, least: int = 1) -> tuple[int, int]:
    """A number for both directions, or one for each."""
    height, width = several(value, name, least)
    return height, width


def border(
    padding: Any, name: str, size: Any, dilation: Any, stride: Any, count: int = 2
) -> tuple[tuple[int, int], ...]:
    """(before, after) for each direction: numbers, "valid" (none), or "same".

    "same" keeps the size; what is odd of it comes after, as in PyTorch.
    """
    if not isinstance(padding, str):
        return tuple((p, p) for p in several(padding, f"{name}: padding", 0, count))
    if padding not in ("same", "valid"):
        raise ValueError(f'{name}: padding={padding!r}; wanted "same", "valid" or integers')
    if padding == "valid":
        return ((0, 0),) * count
    if any(s != 1 for s in stride):
        raise ValueError(f'{name}: padding="same" with stride={stride}; wanted a stride of 1')
    return tuple(((k - 1) * d // 2, -(-(k - 1) * d // 2)) for k, d in zip(size, dilation))


def padded(x: Any, around: tuple[tuple[int, int], ...], value: float, axes: tuple[int, int]) -> Any:
    """The image with `value` around it."""
    if not any(map(any, around)):
        return x
    widths = dict(zip(axes, around))
    return table.pad(x, tuple(widths.get(axis, (0, 0)) for axis in range(4)), value)


def check_fits(name: str, shape: tuple[int, ...], spans: tuple[int, ...]) -> None:
    """A window has to fit into the image, padding included: shape (N, C, H, W)."""
    if spans[0] > shape[2] or spans[1] > shape[3]:
        raise ValueError(
            f"{name}: a window of {spans[0]}×{spans[1]} does not fit into an image of "
            f"{shape[2]}×{shape[3]} (padding included)"
        )


def as_image(x: Any, name: str) -> Any:
    """A signal (N, C, L) as an image of one row, (N, C, 1, L)."""
    if x.ndim != 3:
        raise ValueError(f"{name}: input has shape {tuple(x.shape)}; wanted (N, C, L) or (C, L)")
    return table.reshape(x, (*x.shape[:2], 1, x.shape[2]))


def as_signal(y: Any) -> Any:
    """An image of one row as a signal."""
    return table.reshape(y, (*y.shape[:2], y.shape[3]))
