"""Datasets: anything with ``dataset[i]`` and ``len(dataset)``, or to be iterated."""

from __future__ import annotations

import itertools
import math
import operator
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from tinygrad_ce import creation
from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.random import Generator
from tinygrad_ce.utils.data.sampler import or_default

__all__ = [
    "ConcatDataset",
    "Dataset",
    "IterableDataset",
    "Subset",
    "TensorDataset",
    "random_split",
]


def __dir__() -> list[str]:
    return __all__


T_co = TypeVar("T_co", covariant=True)


class Indexable(Protocol[T_co]):
    """What a dataset is asked for."""

    def __getitem__(self, index: int, /) -> T_co:
        """The sample with this index."""

    def __len__(self) -> int:
        """How many samples there are."""


class Dataset(Generic[T_co]):
    """The base of datasets: write ``__getitem__(self, index)`` and ``__len__(self)``.

    A dataset need not inherit from it, a list will do.

    >>> from tinygrad_ce.utils.data import DataLoader
    >>> class Squares(Dataset[int]):
    ...     def __getitem__(self, index):
    ...         return index**2
    ...
    ...     def __len__(self):
    ...         return 4
    >>> next(iter(DataLoader(Squares(), batch_size=4)))
    tensor([0, 1, 4, 9])
    """

    def __getitem__(self, index: int) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} is a Dataset without __getitem__")

    def __add__(self, other: Any) -> ConcatDataset[T_co]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """The base of datasets without indices: write ``__iter__(self)``.

    >>> from tinygrad_ce.utils.data import DataLoader
    >>> class Letters(IterableDataset[str]):
    ...     def __iter__(self):
    ...         return iter("abc")
    >>> list(DataLoader(Letters(), batch_size=2))
    [['a', 'b'], ['c']]
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} is an IterableDataset without __iter__")


class ConcatDataset(Dataset[T_co]):
    """One dataset after the other; ``one + other`` of two of them.

    Raises ValueError when there is none, TypeError for one without indices, IndexError for an index
    that none of them has.

    >>> both = ConcatDataset(["abc", "de"])
    >>> both[3], both[-1], len(both), both.cumulative_sizes
    ('d', 'e', 5, [3, 5])
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: got no datasets; wanted a list of them")
        for i, dataset in enumerate(self.datasets):
            if isinstance(dataset, IterableDataset):
                raise TypeError(
                    f"ConcatDataset: dataset {i} is an IterableDataset, without indices"
                )
        self.cumulative_sizes = list(itertools.accumulate(map(len, self.datasets)))

    def __getitem__(self, index: int) -> T_co:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"ConcatDataset: index {index} of {count} samples")
        index %= count
        which = bisect_right(self.cumulative_sizes, index)
        start = self.cumulative_sizes[which - 1] if which else 0
        sample: T_co = self.datasets[which][index - start]
        return sample

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Samples ``(x[i], y[i], ...)`` of tensors with the same first size: ``(N, ...), (N, ...)``.

    Arrays are copied into Tensors. A `DataLoader` takes a batch of them with one indexing each.

    Raises TypeError for anything else, and ValueError when there is no tensor, one is 0-d, or
    their first sizes differ.

    >>> from tinygrad_ce import tensor
    >>> TensorDataset(tensor([[1.0], [2.0]]), tensor([0, 1]))[1]
    (tensor([2.]), tensor(1))
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor | npt.NDArray[Any]) -> None:
        if not tensors:
            raise ValueError("TensorDataset: got no tensors; wanted one or more: (x, y)")
        for i, x in enumerate(tensors):
            if not isinstance(x, (Tensor, np.ndarray)):
                hint = (
                    "*tensors for a tuple of them" if isinstance(x, (tuple, list)) else "Tensor(x)"
                )
                raise TypeError(
                    f"TensorDataset: argument {i} is {a_type(x)}; wanted a Tensor or an "
                    f"array: write TensorDataset({hint})"
                )
        shapes = [tuple(x.shape) for x in tensors]
        if () in shapes:
            raise ValueError(
                f"TensorDataset: got the shapes {_listed(shapes)}; a 0-d tensor has no samples: "
                "write x.reshape(1)"
            )
        if len({shape[0] for shape in shapes}) > 1:
            raise ValueError(
                f"TensorDataset: got the shapes {_listed(shapes)}, with the first sizes "
                f"{_listed([shape[0] for shape in shapes])}; wanted equal ones, a row per sample"
            )
        self.tensors = tuple(x if isinstance(x, Tensor) else creation.tensor(x) for x in tensors)

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(x[index] for x in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset[T_co]):
    """The samples of a dataset at some indices: ``subset[i] = dataset[indices[i]]``.

    >>> subset = Subset("abcdef", [4, 0])
    >>> subset[0], len(subset)
    ('e', 2)
    """

    def __init__(self, dataset: Indexable[T_co], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: int) -> T_co:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(
    dataset: Indexable[T_co],
    lengths: Sequence[int | float],
    generator: Generator | None = None,
) -> list[Subset[T_co]]:
    """Cut a dataset into parts that have no sample in common, drawn at random.

    ``lengths`` are the sizes of the parts, or fractions f ≥ 0 with the sum 1: then part k gets
    ⌊n f⌋ of the n samples, and what rounding left over goes to parts 0, 1, 2, ..., one each. One
    permutation is drawn, from ``generator`` or the default one, and cut in this order.

    Raises ValueError when sizes do not add up to the dataset's, or a length is negative. Warns
    when a fraction comes to no sample at all.

    >>> parts = random_split(range(10), [0.75, 0.25], Generator().manual_seed(0))
    >>> [list(part) for part in parts]
    [[4, 1, 7, 5, 3, 9, 0, 8], [6, 2]]
    """
    sizes = _sizes_of_parts(len(dataset), lengths)
    order = or_default(generator).randperm(sum(sizes)).tolist()
    ends = itertools.accumulate(sizes)
    return [Subset(dataset, order[end - size : end]) for end, size in zip(ends, sizes)]


def _sizes_of_parts(count: int, lengths: Sequence[int | float]) -> list[int]:
    """Sizes with the sum `count`, from sizes or fractions."""
    if any(not length >= 0 for length in lengths):
        raise ValueError(f"random_split: got the lengths {lengths}; wanted numbers >= 0")
    if math.isclose(sum(lengths), 1):
        sizes = [math.floor(count * fraction) for fraction in lengths]
        for i in range(count - sum(sizes)):
            sizes[i % len(sizes)] += 1
        for fraction, size in zip(lengths, sizes):
            if fraction and not size:
                warnings.warn(
                    f"random_split: the fraction {fraction} of {count} samples is no sample",
                    stacklevel=3,
                )
        return sizes
    if any(isinstance(length, float) for length in lengths):
        raise ValueError(
            f"random_split: got the fractions {lengths}, with the sum {sum(lengths)}; wanted the "
            "sum 1, or whole numbers of samples (int)"
        )
    sizes = [operator.index(length) for length in lengths]  # type: ignore[arg-type]
    if sum(sizes) != count:
        raise ValueError(
            f"random_split: got the sizes {lengths}, with the sum {sum(sizes)}; the dataset has "
            f"{count} samples, wanted this sum, or fractions with the sum 1"
        )
    return sizes


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
