"""Datasets and loaders: what is trained on, cut into batches, in the order that PyTorch has.

A dataset is anything with ``dataset[i]`` and ``len(dataset)``: a `TensorDataset`, a list, a class
of yours. A sampler is an iterable of indices, a batch sampler one of lists of them, and a
`DataLoader` puts the samples of each such list together to a batch.
"""

from typing import Any

from tinygrad_ce.absent import refuse
from tinygrad_ce.utils.data import dataloader, dataset, sampler
from tinygrad_ce.utils.data.collate import default_collate, default_convert
from tinygrad_ce.utils.data.dataloader import DataLoader, get_worker_info
from tinygrad_ce.utils.data.dataset import (
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)
from tinygrad_ce.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "dataloader",
    "dataset",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "random_split",
    "sampler",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    refuse(__name__, name)
