"""Sequences of different lengths in one tensor: padded, or packed step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.engine.operands import leaf, numbers, value_of
from tinygrad_ce.engine.tensor import Tensor

__all__ = ["PackedSequence", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
           "pad_sequence", "unpad_sequence"]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


class PackedSequence(NamedTuple):
    """Sequences by steps: all first elements, all second ones, ..., the longest sequence first.

    `data` is (Σ lengths, ...), `batch_sizes` says how many sequences have a step; the indices
    sort the sequences by their length, and back. None: they were sorted.
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The data in another dtype."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def double(self) -> PackedSequence:
        """The data as float64."""
        return self._replace(data=self.data.double())

    def float(self) -> PackedSequence:
        """The data as float32."""
        return self._replace(data=self.data.float())


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (Lᵢ, ...) as one tensor: (L, N, ...), or (N, L, ...) with batch_first.

    >>> from tinygrad_ce import tensor
    >>> pad_sequence([tensor([1, 2]), tensor([3])], batch_first=True)
    tensor([[1, 2],
            [3, 0]])
    """
    if padding_side not in ("right", "left"):
        raise RuntimeError(f'pad_sequence: padding_side={padding_side!r}; wanted "right" or "left"')
    each = listed(sequences, "pad_sequence")
    longest = max(len(x) for x in each)
    rows = []
    for x in each:
        missing = longest - len(x)
        side = (0, missing) if padding_side == "right" else (missing, 0)
        widths = (side, *((0, 0),) * (x.ndim - 1))
        rows.append(table.pad(x, widths, padding_value) if missing else x)
    return table.stack(*rows, axis=0 if batch_first else 1)


def unpad_sequence(padded: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """What `pad_sequence` was given: (L, N, ...) and the lengths -> N times (Lᵢ, ...).

    >>> from tinygrad_ce import tensor
    >>> [x.tolist() for x in unpad_sequence(tensor([[1, 2], [3, 0]]), [2, 1], batch_first=True)]
    [[1, 2], [3]]
    """
    rows = padded if batch_first else padded.transpose(0, 1)
    return [rows[i, :n] for i, n in enumerate(whole(lengths, "unpad_sequence"))]


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Padded sequences without their padding, step by step: (L, N, ...) -> PackedSequence.

    With enforce_sorted the longest comes first; else they are sorted here.

    >>> from tinygrad_ce import tensor
    >>> packed = pack_padded_sequence(tensor([[1, 2], [3, 0]]), [2, 1], batch_first=True)
    >>> packed.data, packed.batch_sizes
    (tensor([1, 3, 2]), tensor([2, 1]))
    """
    sizes = np.array(whole(lengths, "pack_padded_sequence"))
    steps = input.transpose(0, 1) if batch_first else input
    if len(sizes) != steps.shape[1]:
        raise RuntimeError(
            f"pack_padded_sequence: {len(sizes)} lengths for a batch of {steps.shape[1]}"
        )
    order = None
    if not enforce_sorted:
        order = np.argsort(-sizes, kind="stable")
        sizes, steps = sizes[order], steps[:, leaf(order)]
    elif (np.diff(sizes) > 0).any():
        raise RuntimeError(
            "pack_padded_sequence: lengths are not sorted, the longest first; sort the batch, or "
            "write enforce_sorted=False"
        )
    if not len(sizes) or sizes[-1] < 1 or sizes[0] > len(steps):
        raise RuntimeError(
            f"pack_padded_sequence: lengths {sizes.tolist()}; wanted from 1 to {len(steps)}"
        )
    counts = (sizes[None] > np.arange(sizes[0])[:, None]).sum(1)
    data = table.concatenate(*(steps[t, :n] for t, n in enumerate(counts.tolist())), axis=0)
    if order is None:
        return PackedSequence(data, leaf(counts))
    return PackedSequence(data, leaf(counts), leaf(order), leaf(np.argsort(order)))


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (Lᵢ, ...) step by step.

    >>> from tinygrad_ce import tensor
    >>> pack_sequence([tensor([1, 2]), tensor([3])]).data
    tensor([1, 3, 2])
    """
    each = listed(sequences, "pack_sequence")
    return pack_padded_sequence(
        pad_sequence(each), [len(x) for x in each], enforce_sorted=enforce_sorted
    )


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Sequences padded again, in the order that they had, and their lengths.

    >>> from tinygrad_ce import tensor
    >>> pad_packed_sequence(pack_sequence([tensor([1, 2]), tensor([3])]), batch_first=True)
    (tensor([[1, 2],
            [3, 0]]), tensor([2, 1]))
    """
    counts = whole(sequence.batch_sizes, "pad_packed_sequence")
    n, length = counts[0], len(counts) if total_length is None else total_length
    if length < len(counts):
        raise ValueError(
            f"pad_packed_sequence: total_length={length}; wanted at least {len(counts)}"
        )
    rest = ((0, 0),) * (sequence.data.ndim - 1)
    steps = [
        table.pad(x, ((0, n - len(x)), *rest), padding_value) if len(x) < n else x
        for x in sequence.data.split(counts)
    ]
    padded = table.stack(*steps, axis=0)
    if length > len(counts):
        padded = table.pad(padded, ((0, length - len(counts)), (0, 0), *rest), padding_value)
    lengths = (np.array(counts)[:, None] > np.arange(n)).sum(0)
    if sequence.unsorted_indices is not None:
        back = sequence.unsorted_indices
        padded, lengths = padded[:, back], lengths[numbers(value_of(back))]
    return padded.transpose(0, 1) if batch_first else padded, leaf(lengths)


def listed(sequences: Any, name: str) -> list[Tensor]:
    """At least one sequence, in a list."""
    if isinstance(sequences, Tensor) and sequences.ndim:
        return list(sequences.unbind(0))
    if not isinstance(sequences, Iterable):
        raise RuntimeError(f"{name}: got {a_type(sequences)}; wanted a list of tensors")
    each = list(sequences)
    if not each or not all(isinstance(x, Tensor) for x in each):
        raise RuntimeError(f"{name}: wanted a list of at least one tensor")
    return each


def whole(lengths: Any, name: str) -> list[int]:
    """Lengths as Python numbers."""
    array = np.asarray(numbers(value_of(lengths)))
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"{name}: got {lengths!r} for lengths; wanted integers, one for each")
    return [int(n) for n in array]
