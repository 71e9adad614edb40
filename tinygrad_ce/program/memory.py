"""Memory of tensors: who else holds an array, and parameters side by side in one.

An optimiser does the same to every parameter: when their arrays are pieces of one long array, it is
done once. They move there when a program that wants it is bound, unless somebody else looks.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine.graph import Node


def root(x: Any) -> int:
    """The id of what owns the memory of an array: equal for arrays that may share it."""
    while (base := base_of(x)) is not None:
        x = base
    return id(x)


def base_of(x: Any) -> Any:
    """What an array is a view of; `.numpy()` hands a Tensor's out by way of a memoryview."""
    return x.obj if isinstance(x, memoryview) else getattr(x, "base", None)


class FlatSlice(NamedTuple):
    """A part of a flat array: its first element, and the shape that it is seen in."""

    offset: int
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        """The first element after it."""
        return self.offset + math.prod(self.shape)

    def of(self, flat: np.ndarray) -> np.ndarray:
        """That part of an array."""
        return flat[self.offset : self.end].reshape(self.shape)


def slices_of(shapes: Iterable[tuple[int, ...]]) -> list[FlatSlice]:
    """Parts of these shapes, side by side."""
    found: list[FlatSlice] = []
    for shape in shapes:
        found.append(FlatSlice(found[-1].end if found else 0, shape))
    return found


class Unmovable(Exception):  # noqa: N818
    """Somebody else looks at the memory of a parameter, so it must stay where it is."""


class FlatParameter:
    """Tensors whose arrays are slices of one array."""

    def __init__(self, nodes: list[Any], slices: list[FlatSlice], dtype: Any) -> None:
        self.nodes = nodes
        self.slices = slices
        self.size = slices[-1].end
        self.dtype = dtype

    def fits(self) -> bool:
        """Whether the tensors still have the shapes and the dtype that they were packed with."""
        return all(
            n.array.shape == p.shape and n.array.dtype == self.dtype
            for n, p in zip(self.nodes, self.slices)
        )

    @property
    def array(self) -> np.ndarray:
        """The one array; the tensors move into it if they are not there yet."""
        flat = self.nodes[0].array.base
        if isinstance(flat, np.ndarray) and flat.shape == (self.size,):
            expected = [p.of(flat) for p in self.slices]
            if all(same_memory(n.array, e) for n, e in zip(self.nodes, expected)):
                return flat
        if not all(map(alone, self.nodes)):
            raise Unmovable
        flat = np.zeros(self.size, self.dtype)
        FLATS[id(flat)] = flat
        for node, piece in zip(self.nodes, self.slices):
            moved = piece.of(flat)
            moved[...] = node.array
            node.array = moved
        return flat


FLATS: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()
"""The arrays that tensors have moved into."""


def same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are the same elements in the same places."""
    return bool(
        a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype
        and a.__array_interface__["data"] == b.__array_interface__["data"]
    )  # fmt: skip


def references(node: Any) -> int:
    """How many hold the array of a Tensor, with those that come from asking."""
    array = node.array
    return sys.getrefcount(array)


ONE = references(SimpleNamespace(array=np.empty(0)))  # 3, and 2 from Python 3.14 on


def movable(node: Any) -> bool:
    """Whether the array of a Tensor may move, or has moved already."""
    is_array = isinstance(node, Node) and isinstance(node.array, np.ndarray)
    return is_array and (alone(node) or id(node.array.base) in FLATS)


def alone(node: Any) -> bool:
    """Whether nobody but the Tensor itself holds its array. Of memory that is not NumPy's own (a
    buffer, a memmap, windows) nobody knows who else looks at it.
    """
    if not isinstance(node.array, np.ndarray) or references(node) > ONE:
        return False
    array = node.array
    if array.base is None:
        return bool(array.flags.owndata)
    owner = type(array.base) is np.ndarray and array.base.flags.owndata
    return owner and sys.getrefcount(array.base) <= 2
