"""Matrix products, tables of vectors, and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.engine.functions import fixed
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import all_within, leaf, numbers, value_of
from tinygrad_ce.engine.past import called
from tinygrad_ce.engine.table import SLOT, where
from tinygrad_ce.engine.tensor import Tensor, generator_or_default


@composed("x @ Wᵀ + b")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ Wᵀ + b: (..., in), (out, in), (out,) -> (..., out).

    >>> from tinygrad_ce import tensor
    >>> linear(tensor([1.0, 2.0]), tensor([[1.0, 1.0]]), tensor([0.5]))
    tensor([3.5])
    """
    try:
        matrix = input.ndim == 2
        y = table.inner(input, weight) if matrix else table.matmul(input, table.mT(weight))
    except (AttributeError, TypeError, ValueError) as error:
        raise linear_complaint(input, weight, error) from None
    return y if bias is None else y + bias


def linear_complaint(input: Any, weight: Any, error: Exception) -> Exception:
    """What is wrong with the input of `linear`."""
    if isinstance(error, TypeError):
        return TypeError(f"linear: {str(error).removeprefix('inner: ').removeprefix('matmul: ')}")
    if not hasattr(input, "shape"):
        return TypeError(f"linear: the input is a {type(input).__name__}; wanted a Tensor")
    return ValueError(
        f"linear: input has shape {tuple(input.shape)} and weight {tuple(weight.shape)}; wanted an "
        f"input of shape (..., {weight.shape[-1]})"
    )


def embedding(input: Any, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """W[ids]: ids (...), W (num, dim) -> (..., dim). The row `padding_idx` gets no gradient.

    >>> from tinygrad_ce import tensor
    >>> embedding(tensor([1, 0]), tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    ids = input if isinstance(input, Node) else Tensor(input)
    v = value_of(ids)
    if v.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids have dtype {v.dtype}; wanted integers: ids.long()")
    n = weight.shape[0]
    if padding_idx is not None and not -n <= padding_idx < n:
        raise IndexError(f"embedding: padding_idx={padding_idx} is no row of a table of {n} rows")
    if not all_within(v, 0, n - 1):
        v = numbers(v)
        bad = v.min() if v.min() < 0 else v.max()
        raise IndexError(f"embedding: id {bad} is outside 0 ... {n - 1}, the rows of the table")
    rows = table.getitem(weight, ids, index=(SLOT,))
    if padding_idx is None:
        return called(rows, "Embedding")
    padding = fixed(value_of(ids)[..., None] == padding_idx % n, rows)
    return called(where(padding, rows.detach(), rows), "Embedding")


def one_hot(ids: Any, num_classes: int = -1) -> Tensor:
    """1 at the id, 0 elsewhere: ids (...) -> (..., C), integers; C is max id + 1 unless given.

    >>> one_hot([1, 0], 3)
    tensor([[0, 1, 0],
            [1, 0, 0]])
    """
    v = value_of(ids if isinstance(ids, Node) else Tensor(ids))
    if v.dtype.kind not in "iu":
        raise TypeError(f"one_hot: ids have dtype {v.dtype}; wanted integers: ids.long()")
    if num_classes == -1:
        num_classes = int(v.max()) + 1 if v.size else 0
    if not all_within(v, 0, num_classes - 1):
        v = numbers(v)
        bad = v.min() if v.min() < 0 else v.max()
        raise ValueError(f"one_hot: id {bad} is outside 0 ... {num_classes - 1}")
    return leaf((v[..., None] == np.arange(num_classes)).astype(np.int64))


@composed("x · mask / (1 − p)")
def dropout(input: Tensor, p: float = 0.5, training: bool = True, generator: Any = None) -> Tensor:
    """x·mask/(1 - p), mask = 1 with probability 1 - p; x itself when not training.

    The mask is PyTorch's for the same seed.

    >>> from tinygrad_ce import tensor
    >>> dropout(tensor([1.0, 2.0]), p=0.5, training=False)
    tensor([1., 2.])
    """
    if not isinstance(p, (int, float, np.number)) or not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: p={p!r}; wanted a probability, 0 to 1")
    if not training or p == 0.0:
        return input
    if p == 1.0:
        return input * 0.0
    mask = generator_or_default(generator).bernoulli(1.0 - p, input.shape, dtype=input.dtype)
    return input * fixed(mask / (1.0 - p), input)
