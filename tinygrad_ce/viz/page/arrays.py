"""Arrays as a page has them: all numbers of small ones, a part of large ones, a few digits each.

The last axis runs along a row, the one before down a column; those before are slices. Of an array
that is too large for its share of the page there are its first slices or, of a larger matrix, its
first rows and columns, with a thumbnail of the whole and a histogram.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt, prod
from typing import Any

import numpy as np

from tinygrad_ce.viz.graph.values import digits, number, value_text

EXACT = 2**53  # up to here a browser's numbers hold integers
FULL = 8  # rows and columns of a matrix of more than FULL² numbers that are shown in full
WIDE = 10  # and of a smaller one
SMALL = 100  # so many numbers are given as they are; more are packed
MOST = 5000  # numbers of one array
BUDGET = 48_000  # numbers of all arrays that are not small
THUMB = 32  # rows and columns of a thumbnail, at most
BINS = 24  # of a histogram
ALPHABET = "".join(chr(c) for c in range(35, 127) if chr(c) not in "&'<>\\`$")
BASE = len(ALPHABET)  # 85: three letters are one number
POWERS = 170  # of ten that a packed number may have, up and down
WORDS = {"nan": 0, "∞": 1, "−∞": 2, "0": 3}
MIDDLE = 300_000  # what is added to a packed integer


def plain(value: Any, count: int = 0) -> Any:
    """One element for JSON, which knows no nan and no infinity, with so many digits if any.

    >>> plain(np.float32(1 / 3)), plain(np.inf), plain(np.True_), plain(np.int64(12345))
    (0.3333, '∞', 1, 12345)
    """
    if isinstance(value, (np.bool_, np.integer)):
        return int(value) if abs(int(value)) < EXACT else str(value).replace("-", "−")
    short = float(f"{float(value):.{count or digits.get()}g}")
    if not np.isfinite(short):  # the largest floats, rounded up, too
        return number(value)
    return int(short) if short.is_integer() and abs(short) < 1e6 else short


# --- packed ---------------------------------------------------------------------------------


def packed(values: list[Any]) -> str | None:
    """Plain numbers of three digits as three letters each, None if there are others.

    A number is ±d.dd·10^e: 1800 signs and digits for each of the powers from −170 to 170. The
    first codes are 0, nan and the infinities.
    """
    codes = [code_of(value) for value in values]
    if None in codes:
        return None
    return "".join(letters(code) for code in codes if code is not None)


def code_of(value: Any) -> int | None:
    """The code of one plain number, None if it has none.

    >>> code_of(0), code_of(1.0), code_of(-0.25), code_of("nan"), code_of(1e200)
    (3, 306004, 305254, 0, None)
    """
    if isinstance(value, str):
        return WORDS.get(value)
    if value == 0:
        return WORDS["0"]
    first, _, power = f"{abs(value):.2e}".partition("e")
    mantissa, e = int(first.replace(".", "")) - 100, int(power)
    if abs(e) > POWERS:
        return None
    return len(WORDS) + ((e + POWERS) * 2 + (value < 0)) * 900 + mantissa


def letters(code: int) -> str:
    """A code as three letters."""
    high, low = divmod(code, BASE)
    return ALPHABET[high // BASE] + ALPHABET[high % BASE] + ALPHABET[low]


def numbers(array: np.ndarray) -> dict[str, Any]:
    """The elements in order: a list `d`, or packed, floats as `p` and integers as `i`."""
    flat = array.ravel()
    whole = flat.size > SMALL and flat.dtype.kind in "iu"
    if whole and flat.min() > -MIDDLE and flat.max() < MIDDLE:
        return {"i": "".join(letters(int(x) + MIDDLE) for x in flat)}
    if flat.size > SMALL and flat.dtype.kind == "f":
        text = packed([plain(x, 3) for x in flat])
        if text is not None:
            return {"p": text}
    return {"d": [plain(x) for x in flat]}


def unpacked(told: Mapping[str, Any], pool: Sequence[str]) -> list[Any]:
    """The plain numbers of a window again.

    >>> unpacked({"p": 0}, ["".join(map(letters, map(code_of, ["∞", -0.25, 0])))])
    ['∞', -0.25, 0.0]
    """
    if "d" in told:
        return list(told["d"])
    text = told["i"] if "i" in told else pool[told["p"]]
    place = {letter: k for k, letter in enumerate(ALPHABET)}
    digits = [place[letter] for letter in text]
    codes = [(a * BASE + b) * BASE + c for a, b, c in zip(digits[::3], digits[1::3], digits[2::3])]
    return [c - MIDDLE for c in codes] if "i" in told else [number_of(code) for code in codes]


def number_of(code: int) -> Any:
    """The plain number of a code."""
    if code < len(WORDS):
        return 0.0 if code == WORDS["0"] else list(WORDS)[code]
    rest, mantissa = divmod(code - len(WORDS), 900)
    return float(f"{'-' * (rest % 2)}{mantissa + 100}e{rest // 2 - POWERS - 2}")


# --- windows --------------------------------------------------------------------------------


def window(
    array: Any, most: int = MOST, image: tuple[int, ...] = (), kind: str = ""
) -> dict[str, Any]:
    """An array as a page shows it, with at most about `most` of its numbers.

    `s` is its shape, `k` the kind of image that it is, `as` the shape in which it is one. Where
    only a part is there, `w` says how many slices, rows and columns, `of` what is in all of it,
    `h` its histogram and `t`, of a matrix that is not there in full, a thumbnail.

    >>> window(np.array([[1.0, -2.0]]))
    {'s': [1, 2], 'd': [1, -2]}
    """
    array = np.asarray(array)
    told: dict[str, Any] = {"s": list(array.shape)}
    if kind:
        told["k"] = kind
    if image and image != array.shape:
        told["as"] = list(image)
        array = array.reshape(image)
    shape = array.shape
    rows, columns = (1, *shape)[-2:] if shape else (1, 1)
    slices = array.reshape(prod(shape[:-2]), rows, columns)
    kept = part_of(slices.shape, most)
    shown = slices[tuple(slice(n) for n in kept)]
    told |= numbers(shown)
    if shown.size < array.size:
        told |= {"of": value_text(array), "w": list(kept), "h": histogram(array)}
    if kept[1] < rows or kept[2] < columns:
        told["t"] = thumbnail(slices[0], min(THUMB, isqrt(most)))
    if array.dtype.kind == "b":
        told["b"] = 1
    return told


def part_of(shape: tuple[int, ...], most: int) -> tuple[int, int, int]:
    """How many slices, rows and columns of a shape of three axes are kept.

    >>> part_of((2, 3, 4), 100), part_of((64, 28, 28), 5000), part_of((1, 1000, 64), 5000)
    ((2, 3, 4), (6, 28, 28), (1, 78, 64))
    """
    slices, rows, columns = shape
    if slices * rows * columns <= most:
        return slices, rows, columns
    if rows * columns <= most:
        return max(most // (rows * columns), 1), rows, columns
    kept = min(columns, max(isqrt(most), most // rows, 1) if columns > most // 4 else columns)
    return 1, min(rows, max(most // kept, 1)), kept


def thumbnail(matrix: np.ndarray, side: int = THUMB) -> dict[str, Any]:
    """The number of each block of a matrix that is farthest from 0, as one of so many rows at most.

    >>> thumbnail(np.diag(np.arange(64.0)))["s"]
    [32, 32]
    """
    reduced = np.where(np.isnan(matrix), 0, matrix) if matrix.dtype.kind == "f" else matrix
    for axis in (0, 1):
        size = -(-reduced.shape[axis] // side)
        starts = range(0, reduced.shape[axis], size)
        low = np.minimum.reduceat(reduced, starts, axis)
        high = np.maximum.reduceat(reduced, starts, axis)
        reduced = np.where(np.abs(low) > np.abs(high), low, high)
    return {"s": list(reduced.shape), **numbers(reduced)}


def histogram(array: np.ndarray) -> list[Any]:
    """The least and the largest finite number, and how many fall into each part between them."""
    finite = array[np.isfinite(array)].astype(np.float64)
    if not finite.size:
        return []
    low, high = float(finite.min()), float(finite.max())
    with np.errstate(all="ignore"):
        if low == high or not np.isfinite(high - low):
            return []
        counts = np.histogram(finite, BINS, (low, high))[0]
    return [plain(low), plain(high), *map(int, counts)]


class Windows:
    """The arrays of one page, which share its room: what is large is cut when all are known."""

    def __init__(self) -> None:
        self.waiting: list[tuple[dict[str, Any], Any, tuple[int, ...], str]] = []
        self.pool: dict[str, int] = {}  # packed numbers, each once, and the place of each
        self.pictures = False  # whether one of them is shown as a picture

    def add(self, array: Any, image: tuple[int, ...] = (), kind: str = "") -> dict[str, Any]:
        """The window onto an array, which is filled now, if it is small, or by `fill`."""
        array = np.asarray(array)
        rows, columns = (1, 1, *array.shape)[-2:]
        most = FULL if rows * columns > FULL * FULL else WIDE
        self.pictures |= bool(kind) or max(rows, columns) > most
        if array.size <= SMALL:
            return window(array, SMALL, image, kind)
        told: dict[str, Any] = {}
        self.waiting.append((told, array, image, kind))
        return told

    def fill(self, budget: int = BUDGET) -> None:
        """Give every array that waits its share: all that it needs, or as much as any other.

        Equal arrays take the room of one.
        """
        left, most = budget, MOST
        different = {hash(array.tobytes()): min(array.size, MOST) for _, array, *_ in self.waiting}
        sizes = sorted(different.values())
        for k, size in enumerate(sizes):
            share = left // (len(sizes) - k)
            if size > share:
                most = max(share, SMALL)
                break
            left -= size
        for told, array, image, kind in self.waiting:
            told.update(window(array, most, image, kind))
            for packed in (told, told.get("t", {})):
                if "p" in packed:
                    packed["p"] = self.pool.setdefault(packed["p"], len(self.pool))
        self.waiting.clear()
