"""Samplers: iterables of indices; a batch sampler is one of lists of indices."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from tinygrad_ce.creation import tensor
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.random import Generator, default_generator

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]


def __dir__() -> list[str]:
    return __all__


T_co = TypeVar("T_co", covariant=True)
Indices = npt.NDArray[np.int64]

INT64_END = 2**63
DRAWN_AT_ONCE = 32  # indices with replacement are drawn in blocks of this many


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
        self.replacement = is_flag("replacement", replacement)
        self.generator = generator
        self._num_samples = None if num_samples is None else positive("num_samples", num_samples)
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
        return Generator().manual_seed(draw_seed(default_generator))

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
        self.batch_size = positive("batch_size", batch_size)
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
            yield from map(index_array, self)
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


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order, drawn from the generator or the default one.

    >>> list(SubsetRandomSampler([7, 8, 9], Generator().manual_seed(0)))
    [9, 7, 8]
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in or_default(self.generator).randperm(len(self.indices)).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """``num_samples`` indices, each i with a probability proportional to ``weights[i]``.

    Without ``replacement`` no index comes twice. Raises ValueError for weights that are no row of
    numbers, and while it draws for negative ones.

    >>> sampler = WeightedRandomSampler([2, 0, 3], 5, generator=Generator().manual_seed(0))
    >>> list(sampler)
    [2, 2, 2, 2, 2]
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        self.weights = tensor(weights, np.float64)
        if self.weights.ndim != 1:
            raise ValueError(
                f"WeightedRandomSampler: got weights of shape {tuple(self.weights.shape)}; wanted "
                "one for each sample: (N,)"
            )
        self.num_samples = positive("num_samples", num_samples)
        self.replacement = is_flag("replacement", replacement)
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        source = or_default(self.generator)
        drawn = source.multinomial(self.weights.array, self.num_samples, self.replacement)
        yield from drawn.tolist()

    def __len__(self) -> int:
        return self.num_samples


def index_array(indices: Any) -> Indices:
    """Indices as an array; they must be integers, else an array of booleans would be a mask."""
    return np.array([operator.index(i) for i in indices], np.int64)


def positive(name: str, value: Any) -> int:
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


def is_flag(name: str, value: Any) -> bool:
    """The value, if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"got {name}={value!r}; wanted True or False")
    return bool(value)


def or_default(generator: Generator | None) -> Generator:
    """The generator, or the default one."""
    return default_generator if generator is None else generator


def draw_seed(generator: Generator) -> int:
    """One draw of all nonnegative int64."""
    return int(generator.randint(0, INT64_END, ()))
