"""The loader: batches of a dataset, in the order that PyTorch has.

From the same seed the batches are PyTorch's, and the generator is afterwards in the same state:

- ``iter(loader)`` draws one int64 (there it seeds the workers), with or without shuffling;
- a shuffling sampler draws its permutation when it is asked for the first index: from the
  loader's generator, or else from a new one, which one int64 of the default generator seeds;
- asked for one index more than there are, it draws a second permutation, for nothing. A short
  last batch asks while it is made, otherwise the ``next`` that finds the end does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from tinygrad_ce.engine import operands
from tinygrad_ce.engine.frame import a_type, current
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.random import Generator
from tinygrad_ce.utils.data.collate import default_collate, default_convert
from tinygrad_ce.utils.data.dataset import (
    Dataset,
    Indexable,
    IterableDataset,
    Subset,
    TensorDataset,
)
from tinygrad_ce.utils.data.sampler import (
    BatchSampler,
    Indices,
    RandomSampler,
    Sampler,
    SequentialSampler,
    draw_seed,
    index_array,
    is_flag,
    or_default,
    positive,
)

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]


def __dir__() -> list[str]:
    return __all__


T_co = TypeVar("T_co", covariant=True)


class DataLoader(Generic[T_co]):
    """The batches of a dataset, in order or shuffled: ``for x, y in DataLoader(dataset, 32)``.

    ``shuffle`` takes the samples in a new random order in each iteration, drawn from
    ``generator`` or the default one; ``drop_last`` leaves out a last batch that is too short. A
    ``sampler`` gives the order instead, a ``batch_sampler`` whole batches, as lists of indices;
    with ``batch_size=None`` the samples come one by one. ``collate_fn`` makes the batch of a list
    of samples; by default it is `default_collate`, and the batches of a `TensorDataset` are lists
    ``[x, y]`` of new Tensors.

    All samples are loaded by the process that asks for them: ``num_workers`` and what belongs to
    it, ``worker_init_fn``, ``timeout``, ``multiprocessing_context``, ``prefetch_factor``,
    ``persistent_workers``, ``in_order``, and ``pin_memory`` are there for scripts written for
    PyTorch. The order of the batches is the same with them.

    Raises TypeError or ValueError when the batch size is no int ≥ 1, when two of these options
    contradict each other, or when the dataset has no indices or no length.

    >>> from tinygrad_ce import tensor
    >>> dataset = TensorDataset(tensor([[0.0], [1.0], [2.0]]), tensor([5, 6, 7]))
    >>> for x, y in DataLoader(dataset, batch_size=2):
    ...     print(x.tolist(), y.tolist())
    [[0.0], [1.0]] [5, 6]
    [[2.0]] [7]
    """

    def __init__(
        self,
        dataset: Indexable[T_co] | IterableDataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        shuffle = False if shuffle is None else is_flag("shuffle", shuffle)
        _check_dataset(dataset, shuffle, sampler, batch_sampler)
        _check_options(batch_size, shuffle, sampler, batch_sampler, is_flag("drop_last", drop_last))
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        self.persistent_workers = persistent_workers
        self.batch_size = None if batch_sampler is not None else batch_size
        self.drop_last = drop_last
        self.generator = generator
        if sampler is None:
            sampler = _sampler_for(dataset, shuffle, generator)
        self.sampler = sampler
        if batch_sampler is None and batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate
        self.collate_fn = collate_fn
        self._has_workers = False

    def __iter__(self) -> Iterator[Any]:
        batches = Batches(self)  # a batch sampler that draws at once draws before the loader
        if not self._has_workers:
            draw_seed(or_default(self.generator))
        self._has_workers = self.persistent_workers  # they are seeded once
        return batches

    def __len__(self) -> int:
        if not isinstance(self.dataset, IterableDataset):
            return len(self.batch_sampler or self.sampler)  # type: ignore[arg-type]
        count = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


class Batches:
    """One iteration of a loader."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader
        self.batches = _batches(loader)

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        return next(self.batches)

    def __len__(self) -> int:
        return len(self.loader)


def get_worker_info() -> None:
    """None: samples are loaded by the process that asks for them.

    >>> get_worker_info() is None
    True
    """


# --- one iteration ----------------------------------------------------------------------------


def _batches(loader: DataLoader[Any]) -> Iterator[Any]:
    """All batches, or all samples one by one."""
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset):
        return _batches_of_stream(loader, dataset)
    if loader.batch_sampler is None:
        return (loader.collate_fn(dataset[i]) for i in loader.sampler)
    rows = _rows_of(dataset) if loader.collate_fn is default_collate else None
    if rows is not None:
        return _batches_of_rows(loader, _index_arrays(loader.batch_sampler), *rows)
    at_once = getattr(dataset, "__getitems__", None)
    if at_once is None:
        return (loader.collate_fn([dataset[i] for i in some]) for some in loader.batch_sampler)
    return (loader.collate_fn(at_once(some)) for some in loader.batch_sampler)


def _batches_of_stream(loader: DataLoader[Any], dataset: Iterable[Any]) -> Iterator[Any]:
    """The batches of a dataset that is iterated."""
    size, samples = loader.batch_size, iter(dataset)
    if size is None:
        yield from map(loader.collate_fn, samples)
        return
    while batch := list(itertools.islice(samples, size)):
        if len(batch) < size and loader.drop_last:
            return
        yield loader.collate_fn(batch)


def _batches_of_rows(
    loader: DataLoader[Any],
    picks: Iterator[Indices],
    tensors: tuple[Tensor, ...],
    order: Indices | None,
) -> Iterator[Any]:
    """The batches of tensors, with one indexing each."""
    for picked in picks:
        try:
            index = picked if order is None else order[picked]
            batch = [_taken(x, index) for x in tensors]
        except IndexError as error:
            raise IndexError(
                f"DataLoader: the dataset has {len(loader.dataset)} samples, and the sampler "  # type: ignore[arg-type]
                f"asks for more: {error}"
            ) from None
        yield batch


def _taken(x: Tensor, index: Indices) -> Tensor:
    """Rows of a tensor; of one that requires a gradient, as a part of its graph."""
    if x.requires_grad and current().record:
        return x[index]
    rows: Tensor = operands.leaf(x.array.take(index, 0))
    return rows


def _rows_of(dataset: Any) -> tuple[tuple[Tensor, ...], Indices | None] | None:
    """Tensors whose rows are the samples, and which rows those are (None: all); else None."""
    if _indexed_by(dataset, TensorDataset):
        return dataset.tensors, None
    if not _indexed_by(dataset, Subset) or (rows := _rows_of(dataset.dataset)) is None:
        return None
    tensors, order = rows
    chosen = index_array(dataset.indices)
    return tensors, chosen if order is None else order[chosen]


def _indexed_by(dataset: Any, kind: type[Dataset[Any]]) -> bool:
    """Whether it is a dataset of this kind, and no subclass gives other samples."""
    return (
        isinstance(dataset, kind)
        and type(dataset).__getitem__ is kind.__getitem__
        and not hasattr(dataset, "__getitems__")
    )


def _index_arrays(batch_sampler: Any) -> Iterator[Indices]:
    if type(batch_sampler) is BatchSampler:
        return batch_sampler.arrays()
    return map(index_array, batch_sampler)


def _sampler_for(dataset: Any, shuffle: bool, generator: Generator | None) -> Any:
    """The sampler of a loader that is given none."""
    if isinstance(dataset, IterableDataset):
        return Sampler()
    return RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)


# --- options ----------------------------------------------------------------------------------


def _check_dataset(dataset: Any, shuffle: bool, sampler: Any, batch_sampler: Any) -> None:
    """Raise unless the dataset has indices and a length, or is to be iterated as it is."""
    if isinstance(dataset, IterableDataset):
        if shuffle or sampler is not None or batch_sampler is not None:
            raise ValueError(
                "DataLoader: got an IterableDataset and shuffle, sampler or batch_sampler; it has "
                "an order of its own: shuffle in its __iter__"
            )
        return
    needed = ["__getitem__"] if sampler is not None or batch_sampler is not None else [
        "__getitem__", "__len__"
    ]  # fmt: skip
    missing = [name for name in needed if not hasattr(dataset, name)]
    if missing:
        raise TypeError(
            f"DataLoader: got {a_type(dataset)}, which has no {' and no '.join(missing)}; "
            "wanted a dataset: write list(...) for an iterator, or a class with both methods"
        )


def _check_options(
    batch_size: int | None, shuffle: bool, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    """Raise unless the options of a DataLoader can go together."""
    if batch_size is not None:
        positive("batch_size", batch_size)
    elif drop_last and batch_sampler is None:
        raise ValueError("DataLoader: got batch_size=None and drop_last; without batches none is")
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


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    """Raise where PyTorch does."""
    for name, value in (("num_workers", num_workers), ("timeout", timeout)):
        if value < 0:
            raise ValueError(f"DataLoader: got {name}={value}; wanted a number >= 0")
    if not num_workers and (prefetch_factor is not None or persistent_workers):
        name = "persistent_workers" if persistent_workers else "prefetch_factor"
        raise ValueError(f"DataLoader: got {name} and no workers; wanted num_workers > 0 with it")
