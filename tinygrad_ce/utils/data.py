"""Datasets and loaders: what is trained on, cut into batches, in the order that PyTorch has.

A dataset is anything with ``dataset[i]`` and ``len(dataset)``: a `TensorDataset`, a list, a class
of yours. A sampler is an iterable of indices, a batch sampler one of lists of them, and a
`DataLoader` puts the samples of each such list together to a batch.

From the same seed the batches are PyTorch's, and the generator is afterwards in the same state:

- ``iter(loader)`` draws one int64 (there it seeds the workers), with or without shuffling;
- a shuffling sampler draws its permutation when it is asked for the first index: from the
  loader's generator, or else from a new one, which one int64 of the default generator seeds;
- asked for one index more than there are, it draws a second permutation, for nothing. A short
  last batch asks while it is made, otherwise the ``next`` that finds the end does.
"""

from __future__ import annotations

import itertools
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from tinygrad_ce.engine import rule
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.random import Generator, default_generator

__all__ = [
    "BatchSampler",
    "DataLoader",
    "Dataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "TensorDataset",
    "default_collate",
    "random_split",
]

T_co = TypeVar("T_co", covariant=True)
Indices = npt.NDArray[np.int64]

INT64_END = 2**63
DRAWN_AT_ONCE = 32  # indices with replacement are drawn in blocks of this many


class Indexable(Protocol[T_co]):
    """What a dataset is asked for."""

    def __getitem__(self, index: int, /) -> T_co:
        """The sample with this index."""

    def __len__(self) -> int:
        """How many samples there are."""


# --- datasets ---------------------------------------------------------------------------------


class Dataset(Generic[T_co]):
    """The base of datasets: write ``__getitem__(self, index)`` and ``__len__(self)``.

    A dataset need not inherit from it, a list will do.

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


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Samples ``(x[i], y[i], ...)`` of tensors with the same first size: ``(N, ...), (N, ...)``.

    Arrays are copied into Tensors. A `DataLoader` takes a batch of them with one indexing each.

    Raises TypeError for anything else, and ValueError when there is no tensor, one is 0-d, or
    their first sizes differ.

    >>> TensorDataset(Tensor([[1.0], [2.0]]), Tensor([0, 1]))[1]
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
                    f"TensorDataset: argument {i} is a {type(x).__name__}; wanted a Tensor or an "
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
        self.tensors = tuple(x if isinstance(x, Tensor) else Tensor(x) for x in tensors)

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
    order = _or_default(generator).randperm(sum(sizes)).tolist()
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


# --- samplers ---------------------------------------------------------------------------------


class Sampler(Generic[T_co]):
    """The base of samplers: write ``__iter__(self)``, which gives indices, and ``__len__``."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} is a Sampler without __iter__")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ...

    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def blocks(self) -> Iterator[Indices]:
        """The same indices, as arrays."""
        yield np.arange(len(self.data_source))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """All indices in random order; or ``num_samples`` of them, in whole permutations and a part.

    With ``replacement`` each index is drawn anew. Without a generator each iteration draws a seed
    from the default generator, and the indices from a new generator with that seed.

    Raises ValueError when there is nothing to draw from.

    >>> list(RandomSampler("abcde", generator=Generator().manual_seed(0)))
    [4, 0, 1, 3, 2]
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self.generator = generator
        self._num_samples = None if num_samples is None else _positive("num_samples", num_samples)
        if not len(data_source):
            raise ValueError(
                "RandomSampler: got a dataset of length 0; wanted one sample or more: "
                "write shuffle=False for a dataset that may be empty"
            )

    @property
    def num_samples(self) -> int:
        """How many indices one iteration gives."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        for block in self.blocks():
            yield from block.tolist()

    def blocks(self) -> Iterator[Indices]:
        """The same indices, as arrays; each is drawn when it is asked for."""
        n, count, g = len(self.data_source), self.num_samples, self._source()
        if self.replacement:
            for _ in range(count // DRAWN_AT_ONCE):
                yield g.randint(0, n, DRAWN_AT_ONCE)
            yield g.randint(0, n, count % DRAWN_AT_ONCE)
        else:
            for _ in range(count // n):
                yield g.randperm(n)
            if part := count % n:
                yield g.randperm(n)[:part]
            else:
                # PyTorch draws a permutation here too, and uses nothing of it. This draws as
                # many words, without the work of ordering.
                g.randint(0, 2, n - 1)

    def _source(self) -> Generator:
        if self.generator is not None:
            return self.generator
        return Generator().manual_seed(_draw_seed(default_generator))

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """The indices of a sampler in lists of ``batch_size``.

    The last list may be shorter; ``drop_last`` leaves it out then.

    Raises TypeError when the batch size is no int, ValueError when it is less than 1.

    >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool = False) -> None:
        self.sampler = sampler
        self.batch_size = _positive("batch_size", batch_size)
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch

    def arrays(self) -> Iterator[Indices]:
        """The same batches, as arrays, without a Python integer per sample where that is known."""
        sampler = self.sampler
        if type(sampler) is not SequentialSampler and type(sampler) is not RandomSampler:
            yield from map(_index_array, self)
            return
        blocks, size = sampler.blocks(), self.batch_size
        rest = np.empty(0, np.int64)
        while True:
            while len(rest) < size:
                block = next(blocks, None)
                if block is None:
                    if len(rest) and not self.drop_last:
                        yield rest
                    return
                rest = np.concatenate([rest, block])
            yield rest[:size]
            rest = rest[size:]

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


# --- collation --------------------------------------------------------------------------------


def default_collate(samples: Sequence[Any]) -> Any:
    """Put samples together to a batch, which has one dimension more in front.

    Tensors and arrays of one shape are stacked: ``B × (...) -> (B, ...)``; numbers become a
    Tensor ``(B,)``, of Python floats in float32 as everywhere; strings stay a list; tuples and
    lists become a list with a batch for each place, named tuples and dicts keep their names. The
    batch requires no gradient and shares no memory with the samples.

    Raises ValueError when shapes, lengths or keys differ, TypeError for samples of another kind.

    >>> default_collate([(Tensor([1.0, 2.0]), 7), (Tensor([3.0, 4.0]), 8)])
    [tensor([[1., 2.], [3., 4.]]), tensor([7, 8])]
    """
    first = samples[0]
    if isinstance(first, (Tensor, np.ndarray)):
        return _stacked(samples)
    if isinstance(first, (bool, int, float, np.bool_, np.number)):
        _check_alike(samples, (bool, int, float, np.bool_, np.number))
        return Tensor(list(samples))
    if isinstance(first, (str, bytes)):
        return list(samples)
    if isinstance(first, Mapping):
        _check_alike(samples, Mapping)
        _check_equal("the keys", [sorted(sample, key=repr) for sample in samples])
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, (tuple, list)):
        _check_alike(samples, (tuple, list))
        _check_equal("the length", [len(sample) for sample in samples])
        columns = [default_collate(column) for column in zip(*samples)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    raise TypeError(
        f"default_collate: got samples of type {type(first).__name__}; wanted Tensors, arrays, "
        "numbers, strings, or tuples, lists and dicts of them: write "
        "DataLoader(..., collate_fn=...) with a function of the list of samples"
    )


def _stacked(samples: Sequence[Any]) -> Tensor:
    """Tensors or arrays of one shape as one Tensor: ``B × (...) -> (B, ...)``."""
    _check_alike(samples, (Tensor, np.ndarray))
    arrays = [x.array if isinstance(x, Tensor) else x for x in samples]
    _check_equal("the shape", [x.shape for x in arrays])
    if arrays[0].dtype.kind not in "fiub":
        raise TypeError(
            f"default_collate: got arrays of dtype {arrays[0].dtype}; wanted floats, integers or "
            "booleans: write DataLoader(..., collate_fn=...) with a function of the samples"
        )
    return rule.leaf(np.stack(arrays))


def _check_alike(samples: Sequence[Any], kinds: Any) -> None:
    """Raise unless all samples are of these kinds, as the first one is."""
    for i, sample in enumerate(samples):
        if not isinstance(sample, kinds):
            raise TypeError(
                f"default_collate: sample 0 of the batch is a {type(samples[0]).__name__}, sample "
                f"{i} a {type(sample).__name__}; wanted samples of one kind"
            )


def _check_equal(what: str, values: list[Any]) -> None:
    """Raise unless the values, one of each sample, are equal."""
    for i, value in enumerate(values):
        if value != values[0]:
            raise ValueError(
                f"default_collate: sample 0 of the batch has {what} {values[0]}, sample {i} has "
                f"{value}; wanted equal ones: pad the samples, or write "
                "DataLoader(..., collate_fn=...) with a function of the list of samples"
            )


# --- the loader -------------------------------------------------------------------------------


class DataLoader(Generic[T_co]):
    """The batches of a dataset, in order or shuffled: ``for x, y in DataLoader(dataset, 32)``.

    ``shuffle`` takes the samples in a new random order in each iteration, drawn from
    ``generator`` or the default one; ``drop_last`` leaves out a last batch that is too short. A
    ``sampler`` gives the order instead, a ``batch_sampler`` whole batches, as lists of indices.
    ``collate_fn`` makes the batch of a list of samples; by default it is `default_collate`, and
    the batches of a `TensorDataset` are lists ``[x, y]`` of new Tensors. ``num_workers`` and
    ``pin_memory`` are there for scripts written for PyTorch, and change nothing.

    Raises TypeError or ValueError when the batch size is no int ≥ 1, when two of these options
    contradict each other, or when the dataset has no indices or no length.

    >>> dataset = TensorDataset(Tensor([[0.0], [1.0], [2.0]]), Tensor([5, 6, 7]))
    >>> for x, y in DataLoader(dataset, batch_size=2):
    ...     print(x.tolist(), y.tolist())
    [[0.0], [1.0]] [5, 6]
    [[2.0]] [7]
    """

    def __init__(
        self,
        dataset: Indexable[T_co],
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
        generator: Generator | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        _check_dataset(dataset)
        _check_options(batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.dataset = dataset
        self.batch_size = None if batch_sampler is not None else batch_size
        self.drop_last = drop_last
        self.generator = generator
        self.collate_fn = default_collate if collate_fn is None else collate_fn
        if sampler is None and shuffle:
            sampler = RandomSampler(dataset, generator=generator)
        self.sampler = SequentialSampler(dataset) if sampler is None else sampler
        if batch_sampler is None:
            batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler

    def __iter__(self) -> Iterator[Any]:
        _draw_seed(_or_default(self.generator))
        return self._batches()

    def _batches(self) -> Iterator[Any]:
        rows = _rows_of(self.dataset) if self.collate_fn is default_collate else None
        if rows is None:
            for indices in self.batch_sampler:
                yield self.collate_fn([self.dataset[i] for i in indices])
            return
        tensors, order = rows
        for picked in _index_arrays(self.batch_sampler):
            try:
                index = picked if order is None else order[picked]
                batch = [rule.leaf(x.array.take(index, 0)) for x in tensors]
            except IndexError as error:
                raise IndexError(
                    f"DataLoader: the dataset has {len(self.dataset)} samples, and the sampler "
                    f"asks for more: {error}"
                ) from None
            yield batch

    def __len__(self) -> int:
        return len(self.batch_sampler)  # type: ignore[arg-type]


def _rows_of(dataset: Any) -> tuple[tuple[Tensor, ...], Indices | None] | None:
    """Tensors whose rows are the samples, and which rows those are (None: all); else None."""
    if _indexed_by(dataset, TensorDataset):
        return dataset.tensors, None
    if not _indexed_by(dataset, Subset) or (rows := _rows_of(dataset.dataset)) is None:
        return None
    tensors, order = rows
    chosen = _index_array(dataset.indices)
    return tensors, chosen if order is None else order[chosen]


def _indexed_by(dataset: Any, kind: type[Dataset[Any]]) -> bool:
    """Whether it is a dataset of this kind, and no subclass gives other samples."""
    return isinstance(dataset, kind) and type(dataset).__getitem__ is kind.__getitem__


def _index_arrays(batch_sampler: Iterable[list[int]]) -> Iterator[Indices]:
    if type(batch_sampler) is BatchSampler:
        return batch_sampler.arrays()
    return map(_index_array, batch_sampler)


def _index_array(indices: Any) -> Indices:
    """Indices as an array; they must be integers, else an array of booleans would be a mask."""
    return np.array([operator.index(i) for i in indices], np.int64)


def _check_dataset(dataset: Any) -> None:
    """Raise unless the dataset has indices and a length."""
    missing = [name for name in ("__getitem__", "__len__") if not hasattr(dataset, name)]
    if missing:
        raise TypeError(
            f"DataLoader: got a {type(dataset).__name__}, which has no {' and no '.join(missing)}; "
            "wanted a dataset: write list(...) for an iterator, or a class with both methods"
        )


def _check_options(
    batch_size: int, shuffle: bool, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    """Raise unless the options of a DataLoader can go together."""
    _positive("batch_size", batch_size)
    for name, value in (("shuffle", shuffle), ("drop_last", drop_last)):
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"DataLoader: got {name}={value!r}; wanted True or False")
    if sampler is not None and shuffle:
        raise ValueError(
            "DataLoader: got a sampler and shuffle=True; wanted one of them, since both give the "
            "order: write RandomSampler(dataset) for a sampler that shuffles"
        )
    if batch_sampler is not None and (
        batch_size != 1 or shuffle or sampler is not None or drop_last
    ):
        raise ValueError(
            "DataLoader: got a batch_sampler and batch_size, shuffle, sampler or drop_last; wanted "
            "it alone, since it gives whole batches"
        )


def _positive(name: str, value: Any) -> int:
    """The value as an int, if it is one and at least 1."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, Tensor, np.ndarray)):
        hint = (
            "; write TensorDataset(x, y) for two" if isinstance(value, Tensor | np.ndarray) else ""
        )
        raise TypeError(f"got {name} of type {type(value).__name__}; wanted an int >= 1{hint}")
    if number < 1:
        raise ValueError(f"got {name}={number}; wanted an int >= 1")
    return number


def _or_default(generator: Generator | None) -> Generator:
    return default_generator if generator is None else generator


def _draw_seed(generator: Generator) -> int:
    """One draw of all nonnegative int64."""
    return int(generator.randint(0, INT64_END, ()))


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
