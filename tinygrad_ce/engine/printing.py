"""How a tensor prints: aligned columns, in the form that everybody knows.

All numbers of a tensor are written alike, in one of three forms: whole (`3.`), with decimals
(`3.1416`), or scientific (`3.1416e+05`), which is taken where the largest is more than a thousand
times the smallest, above 10⁸, or below 10⁻⁴. Zeros, nan and infinities have no say in it. Of more
than `threshold` elements only the first and the last few along each dimension are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

OPTIONS: dict[str, Any] = {
    "precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None,
}  # fmt: skip
PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Say how tensors print: digits after the point, how many elements, how many at the edges.

    `profile` is "default", "short" or "full", and the other options change it. `sci_mode` is
    True or False for all tensors, or None, also where it is not given, for each by its numbers.
    Raises ValueError for an unknown profile.

    >>> import tinygrad_ce as tg
    >>> tg.set_printoptions(precision=2, sci_mode=True)
    >>> tg.tensor([1.0, 0.125])
    tensor([1.00e+00, 1.25e-01])
    >>> tg.set_printoptions(profile="default")
    >>> tg.tensor([1.0, 0.125])
    tensor([1.0000, 0.1250])
    """
    if profile is not None and profile not in PROFILES:
        raise ValueError(f"profile: got {profile!r}; wanted one of {', '.join(PROFILES)}")
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems,
             "linewidth": linewidth}  # fmt: skip
    OPTIONS.update(PROFILES.get(profile or "", {}))
    OPTIONS.update({name: value for name, value in given.items() if value is not None})
    OPTIONS["sci_mode"] = sci_mode


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """`set_printoptions` for a `with` block."""
    before = dict(OPTIONS)
    try:
        set_printoptions(**options)
        yield
    finally:
        OPTIONS.update(before)


def tensor_text(array: np.ndarray, prefix: str, suffixes: list[str]) -> str:
    """`prefix(numbers, suffix, ...)`, a suffix on a line of its own where it does not fit."""
    indent = len(prefix) + 1
    text = f"{prefix}({numbers_text(array, indent) if array.size else '[]'}"
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        fits = used + len(suffix) + 2 <= OPTIONS["linewidth"]
        text += ", " + suffix if fits else ",\n" + " " * indent + suffix
        used = used + len(suffix) + 2 if fits else indent + len(suffix)
    return f"{text})"


def numbers_text(array: np.ndarray, indent: int) -> str:
    """The numbers in nested brackets, which begin at column `indent`."""
    edge = OPTIONS["edgeitems"]
    cut = [array.size > OPTIONS["threshold"] and n > 2 * edge for n in array.shape]
    shown = array
    for axis, shortened in enumerate(cut):
        if shortened:
            kept = [*range(edge), *range(-edge, 0)]
            shown = shown.take(kept, axis)
    words, width = column(shown.ravel())
    return nested(iter(words), shown.shape, cut, indent, width + 2) if array.ndim else words[0]


def nested(
    words: Iterator[str], shape: tuple[int, ...], cut: list[bool], indent: int, width: int
) -> str:
    """The words in brackets, one pair for each dimension, with `...` where one was cut."""
    edge = OPTIONS["edgeitems"]
    if len(shape) > 1:
        deeper = (shape[1:], cut[1:], indent + 1, width)
        parts = [nested(words, *deeper) for _ in range(shape[0])]
    else:
        parts = list(islice(words, shape[0]))
    if cut[0]:
        parts.insert(edge, " ..." if len(shape) == 1 and edge else "...")
    if len(shape) == 1:
        in_line = max(1, (OPTIONS["linewidth"] - indent) // width)
        parts = [", ".join(parts[i : i + in_line]) for i in range(0, len(parts), in_line)]
    between = "," + "\n" * max(1, len(shape) - 1) + " " * (indent + 1)
    return f"[{between.join(parts)}]"


def column(values: np.ndarray) -> tuple[list[str], int]:
    """The numbers as words, and how wide they are: as the widest that is finite and not 0."""
    if values.dtype.kind != "f":
        words = [str(value) for value in values.tolist()]
        width = max(map(len, words), default=1)
    else:
        deciding = values[np.isfinite(values) & (values != 0)]
        form = form_of(deciding)
        words = [written(form, value) for value in values.tolist()]
        width = max((len(written(form, value)) for value in deciding.tolist()), default=1)
    return [word.rjust(width) for word in words], width


def form_of(values: np.ndarray) -> str:
    """How numbers like these, finite and none of them 0, are written: as "%.0f.", say."""
    whole = bool((values == np.ceil(values)).all())
    scientific = OPTIONS["sci_mode"]
    if not values.size:
        return "%.0f."
    if scientific is None:
        sizes = np.abs(values.astype(np.float64))
        with np.errstate(over="ignore"):
            low, high = sizes.min(), sizes.max()
            scientific = high / low > 1000 or high > 1e8 or low < 1e-4
    if scientific:
        return f"%.{OPTIONS['precision']}e"
    return "%.0f." if whole else f"%.{OPTIONS['precision']}f"


def written(form: str, value: float) -> str:
    """One number; nan and inf have no point."""
    return form % value if math.isfinite(value) else str(value)
