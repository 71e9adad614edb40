"""When numbers count as the same: an answer, what is right, and what rounding makes of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_ce.teach.book import Values

COARSE, FINE = 1e-5, 1e-9  # what float32 and float64 may be off, of the size of what is summed
UNDERFLOW = 1e-30  # what is smaller may be 0 in float32


@dataclass(frozen=True)
class Answer:
    """An answer, what is right, and how far two numbers may be apart that count as the same."""

    array: np.ndarray
    right: np.ndarray
    tolerance: float
    close: bool = False  # what is wrong are small elements beside large ones

    @cached_property
    def least(self) -> float:
        """How large numbers are that are rounding alone: where the answer is 0 but for that."""
        noise = self.tolerance * largest(self.right)
        return noise if 0 < largest(self.array) <= noise else 0.0

    def is_right(self, x: np.ndarray) -> bool:
        """Whether the right answer is this."""
        return agree(self.right, x, self.tolerance)

    def is_in(self, values: Values | None, name: str) -> bool:
        """Whether it is what came out under a name."""
        return (
            values is not None
            and agree(self.array, values[name], self.tolerance, self.least)
            and not (self.close and apart(self.array, values[name], self.tolerance).any())
        )

    def distance(self, x: Any) -> float:
        """How far it is off, as a share of the largest element."""
        with np.errstate(invalid="ignore"):  # both may be infinite
            off = np.abs(np.subtract(self.array, np.reshape(x, self.array.shape), dtype=float))
        return largest(off) / max(largest(self.array), UNDERFLOW)

    @cached_property
    def zeros(self) -> bool:
        """Whether it is nothing but zeros, where something else is right."""
        return bool(largest(self.right) and self.array.size) and not self.array.any()

    @cached_property
    def hollow(self) -> str:
        """What it is if it tells nothing: zeros, numbers that are not finite."""
        if np.isfinite(self.right).all() and not np.isfinite(self.array).all():
            return "not finite"
        return "all zeros" if self.zeros else ""

    @cached_property
    def digits(self) -> int:
        """To how many digits it is the right one, rounded; 0 where it is not."""
        a, b = fitted(self.array, self.right), self.right
        known = a.shape == b.shape and np.isfinite(a).all() and np.isfinite(b).all()
        if self.close or not known:
            return 0
        size = largest(b)
        least = 2 if a.size > 1 else 3  # one number is soon near to another
        for n in range(least, 8) if size and a.any() else ():
            places = n - 1 - math.floor(math.log10(size))
            if agree(a, np.round(b, places), self.tolerance):
                return n
        return 0

    @cached_property
    def by_chance(self) -> str:
        """What it is if many slips give it, so that none of them is to be named."""
        same = self.array.size > 1 and bool((self.array == self.array.flat[0]).all())
        if self.hollow or not same or np.ptp(self.right) <= self.tolerance * largest(self.right):
            return self.hollow
        return "all elements are the same"


def largest(x: np.ndarray) -> float:
    """The largest finite element."""
    return float(np.abs(x[np.isfinite(x)]).max(initial=0.0))


def alike(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two shapes are the same, or would be without axes of 1: no column is a row."""
    return a == b or (len(a) != len(b) and [n for n in a if n > 1] == [n for n in b if n > 1])


def fitted(a: Any, b: Any) -> np.ndarray:
    """An array in the shape of another, where only axes of 1 are different."""
    a, shape = np.asarray(a), np.shape(b)
    return a.reshape(shape) if a.shape != shape and alike(a.shape, shape) else a


def agree(a: Any, b: Any, tolerance: float, least: float = 0.0) -> bool:
    """Whether two arrays are `alike` and near to each other, as seen from the largest element."""
    b = np.asarray(b, float)
    a = fitted(np.asarray(a, float), b)
    if a.shape != b.shape:
        return False
    known = np.isfinite(a) & np.isfinite(b)
    if not known.all():
        if not np.array_equal(a[~known], b[~known], equal_nan=True):
            return False
        a, b = a[known], b[known]
    near = max(tolerance * max(np.abs(b).max(initial=0.0), UNDERFLOW), least)
    return bool(np.abs(a - b).max(initial=0.0) <= near)


def apart(a: Any, b: Any, tolerance: float, shaken: Sequence[Any] = ()) -> np.ndarray:
    """Which elements of two arrays are apart.

    shaken: b as it comes out where every number on the way is off by the tolerance. How far its
    elements are from b is what rounding can do to each.
    """
    b = np.asarray(b, float)
    a = fitted(np.asarray(a, float), b)
    most = tolerance * max(largest(b), UNDERFLOW)
    with np.errstate(all="ignore"):
        moved = [np.abs(np.reshape(x, b.shape) - b) for x in shaken]
        own = np.max([tolerance * np.abs(b), np.full(b.shape, UNDERFLOW), *moved], axis=0)
        near = (np.abs(a - b) <= np.fmin(own, most)) | (a == b)
    return ~(near | (np.isnan(a) & np.isnan(b)))
