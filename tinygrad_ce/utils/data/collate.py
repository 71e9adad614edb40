"""How samples are put together to a batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from tinygrad_ce.creation import as_tensor, tensor
from tinygrad_ce.engine import operands
from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.functions import stack

NUMBERS = (bool, int, float, np.bool_, np.number)


def default_collate(batch: Sequence[Any]) -> Any:
    """Put samples together to a batch, which has one dimension more in front.

    Tensors and arrays of one shape are stacked: ``B × (...) -> (B, ...)``; numbers become a
    Tensor ``(B,)``: Python floats float64, integers int64, NumPy's keep their dtype. Strings stay
    as they are; tuples become a list with a batch for each place, lists, named tuples and dicts
    keep their kind. The batch shares no memory with the samples.

    Raises ValueError when shapes, lengths or keys differ, TypeError for samples of another kind.

    >>> default_collate([(tensor([1.0, 2.0]), 7), (tensor([3.0, 4.0]), 8)])
    [tensor([[1., 2.],
            [3., 4.]]), tensor([7, 8])]
    """
    first = batch[0]
    if isinstance(first, (Tensor, np.ndarray)):
        return _stacked(batch)
    if isinstance(first, NUMBERS):
        _check_alike(batch, NUMBERS)
        if isinstance(first, np.generic):
            return tensor(np.array(batch))
        return tensor(list(batch), np.float64 if type(first) is float else None)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        _check_alike(batch, Mapping)
        _check_equal("the keys", [sorted(sample, key=repr) for sample in batch])
        return _like(first, {key: default_collate([s[key] for s in batch]) for key in first})
    if isinstance(first, Sequence):
        _check_alike(batch, Sequence)
        _check_equal("the length", [len(sample) for sample in batch])
        return _like(first, [default_collate(column) for column in zip(*batch)])
    raise TypeError(
        f"default_collate: got samples of type {type(first).__name__}; wanted Tensors, arrays, "
        "numbers, strings, or tuples, lists and dicts of them: write "
        "DataLoader(..., collate_fn=...) with a function of the list of samples"
    )


def default_convert(data: Any) -> Any:
    """One sample, not put together with others: arrays and numbers of NumPy as Tensors.

    >>> default_convert({"x": np.ones(2, np.float32), "name": "a"})
    {'x': tensor([1., 1.]), 'name': 'a'}
    """
    if isinstance(data, (np.ndarray, np.generic)) and data.dtype.kind in "fiub":
        return as_tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like(data, [default_convert(value) for value in data])
    return data


def _like(sample: Any, parts: Any) -> Any:
    """A list or dict of parts as a container of the sample's kind; of a tuple, a list."""
    if isinstance(sample, tuple):
        return type(sample)(*parts) if hasattr(sample, "_fields") else parts
    try:
        if isinstance(sample, MutableMapping):
            clone: Any = copy.copy(sample)
            clone.update(parts)
            return clone
        if isinstance(sample, MutableSequence):
            clone = copy.copy(sample)
            clone[:] = parts
            return clone
        return type(sample)(parts)
    except TypeError:  # made in another way
        return parts


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
    live = any(isinstance(x, Tensor) and x.requires_grad for x in samples)
    if live or len({x.dtype for x in arrays}) > 1:
        return stack([x if isinstance(x, Tensor) else as_tensor(x) for x in samples])
    batch: Tensor = operands.leaf(np.stack(arrays))
    return batch


def _check_alike(samples: Sequence[Any], kinds: Any) -> None:
    """Raise unless all samples are of these kinds, as the first one is."""
    for i, sample in enumerate(samples):
        if not isinstance(sample, kinds):
            raise TypeError(
                f"default_collate: sample 0 of the batch is {a_type(samples[0])}, sample "
                f"{i} {a_type(sample)}; wanted samples of one kind"
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
