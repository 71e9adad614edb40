"""Matrix products, tables of vectors, and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce import creation
from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import a_type, composed, current, recording
from tinygrad_ce.engine.functions import decided, fixed, looked_at
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import all_within, numbers, remember, settled_by, value_of
from tinygrad_ce.engine.past import called
from tinygrad_ce.engine.rule import Op
from tinygrad_ce.engine.table import SLOT, where
from tinygrad_ce.engine.tensor import Tensor, generator_or_default
from tinygrad_ce.nn.functional.activations import written


@composed("x @ Wᵀ + b")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ Wᵀ + b: (..., in), (out, in), (out,) -> (..., out).

    ∂L/∂x = g @ W; ∂L/∂W = g.T @ x; ∂L/∂b = sum(g, 0)

    >>> from tinygrad_ce import tensor
    >>> linear(tensor([1.0, 2.0]), tensor([[1.0, 1.0]]), tensor([0.5]))
    tensor([3.5000])
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
        return TypeError(f"linear: the input is {a_type(input)}; wanted a Tensor")
    return ValueError(
        f"linear: input has shape {tuple(input.shape)} and weight {tuple(weight.shape)}; wanted an "
        f"input of shape (..., {weight.shape[-1]})"
    )


def embedding(
    input: Any,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """W[ids]: ids (...), W (num, dim) -> (..., dim). The row `padding_idx` gets no gradient.

    ∂L/∂W = onehot.T @ g

    With `max_norm` the rows that are looked up and longer are first made that long, in place.
    Gradients are never sparse, whatever `sparse` says.

    >>> from tinygrad_ce import tensor
    >>> embedding(tensor([1, 0]), tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    ids = input if isinstance(input, Node) else creation.tensor(input)
    v = value_of(ids)
    if v.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids have dtype {v.dtype}; wanted integers: ids.long()")
    if scale_grad_by_freq:
        raise ValueError("embedding: gradients are not scaled by frequency; leave it out")
    n = weight.shape[0]
    if padding_idx is not None and not -n <= padding_idx < n:
        raise IndexError(f"embedding: padding_idx={padding_idx} is no row of a table of {n} rows")
    if not all_within(v, 0, n - 1):
        v = numbers(v)
        bad = v.min() if v.min() < 0 else v.max()
        raise IndexError(f"embedding: id {bad} is outside 0 ... {n - 1}, the rows of the table")
    if max_norm is not None:
        with recording(False):
            shorten(weight, v, max_norm, norm_type)
    rows = table.getitem(weight, ids, index=(SLOT,))
    if padding_idx is None:
        return called(rows, "Embedding")
    padding = decided(looked_at(ids)[..., None] == padding_idx % n, ids)
    return called(where(padding, rows.detach(), rows), "Embedding")


def shorten(weight: Tensor, ids: Any, max_norm: float, p: float) -> None:
    """Make the rows that are looked up at most so long."""
    size = weight.norm(p, -1, keepdim=True)
    used = table.any(ids.reshape(-1, 1) == np.arange(weight.shape[0]), 0)[:, None]
    long = fixed(value_of(size) > max_norm, weight) & fixed(used, weight)
    weight.copy_(where(long, weight * (max_norm / (size + 1e-7)), weight))


def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """1 at the id, 0 elsewhere: ids (...) -> (..., C), integers; C is max id + 1 unless given.

    >>> one_hot([1, 0], 3)
    tensor([[0, 1, 0],
            [1, 0, 0]])
    """
    v = value_of(tensor if isinstance(tensor, Node) else creation.tensor(tensor))
    if v.dtype.kind not in "iu":
        raise TypeError(f"one_hot: ids have dtype {v.dtype}; wanted integers: ids.long()")
    if num_classes == -1:
        num_classes = int(v.max()) + 1 if v.size else 0
    if not all_within(v, 0, num_classes - 1):
        v = numbers(v)
        bad = v.min() if v.min() < 0 else v.max()
        raise ValueError(f"one_hot: id {bad} is outside 0 ... {num_classes - 1}")
    y: Tensor = settled_by(hot(v, num_classes), "one_hot", tensor)
    if current().lines and isinstance(tensor, Node):
        remember(y, ONE_HOT, (tensor,), (num_classes,))
    return y


def hot(ids: Any, classes: int) -> Any:
    """1 at each id, 0 elsewhere, along a new last axis."""
    return (ids[..., None] == np.arange(classes)).astype(np.int64)


ONE_HOT = Op("one_hot", hot, (None,), False, "")  # what pictures call it


# --- dropout --------------------------------------------------------------------------------


@composed("x · mask / (1 − p)")
def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Any = None,
) -> Tensor:
    """x·mask/(1 - p), mask = 1 with probability 1 - p; x itself when not training.

    ∂L/∂x = g * mask / (1 - p)

    The mask is PyTorch's for the same seed.

    >>> from tinygrad_ce import tensor
    >>> dropout(tensor([1.0, 2.0]), p=0.5, training=False)
    tensor([1., 2.])
    """
    return dropped(input, input.shape, p, training, inplace, generator, "dropout")


@composed("x · mask / (1 − p)")
def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """As `dropout`, but whole channels at once: (N, C, H, W) -> the same shape.

    >>> from tinygrad_ce import ones
    >>> sorted({*dropout2d(ones(1, 50, 2, 2)).amax((2, 3)).flatten().tolist()})
    [0.0, 2.0]
    """
    if input.ndim not in (3, 4):
        raise ValueError(f"dropout2d: input has shape {tuple(input.shape)}; wanted (N, C, H, W)")
    shape = (*input.shape[:2], *(1,) * (input.ndim - 2))
    return dropped(input, shape, p, training, inplace, None, "dropout2d")


@composed("x · mask / (1 − p)")
def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """As `dropout`, but whole channels at once: (N, C, L) or (C, L) -> the same shape."""
    if input.ndim not in (2, 3):
        raise ValueError(f"dropout1d: input has shape {tuple(input.shape)}; wanted (N, C, L)")
    return dropped(input, (*input.shape[:-1], 1), p, training, inplace, None, "dropout1d")


def dropped(
    x: Any, shape: Any, p: float, training: bool, inplace: bool, generator: Any, name: str
) -> Any:
    """x times a mask of this shape, which is drawn."""
    if not isinstance(p, (int, float, np.number)) or not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: p={p!r}; wanted a probability, 0 to 1")
    if not training or p == 0.0:
        return x
    if p == 1.0:
        return written(x, lambda x: x * 0.0, inplace, name)
    axes = memory_order(x) if shape == x.shape else None
    given = shape if axes is None else tuple(shape[axis] for axis in axes)
    mask = generator_or_default(generator).bernoulli(1.0 - p, given, dtype=x.dtype)
    factor = (mask if axes is None else mask.transpose(table.inverse(axes))) / (1.0 - p)
    return written(x, lambda x: x * fixed(factor, x), inplace, name)


def memory_order(x: Any) -> tuple[int, ...] | None:
    """The axes as they lie in memory, if x was turned: masks are drawn in that order.

    In PyTorch what is computed lies in memory as it is written, and only what was turned since (as
    the output of a recurrent layer with batch_first) does not.
    """
    view, turned = x, False
    while not turned and hasattr(view, "window"):
        by_hand = view.scope is None or view.scope.kind != "function"  # not inside of a convolution
        turned = view.window[1].name in ("transpose", "mT") and by_hand
        view = view.window[0]
    if not turned:
        return None
    array = numbers(value_of(x))
    if not isinstance(array, np.ndarray) or array.flags.c_contiguous:
        return None
    return tuple(int(axis) for axis in np.argsort(-np.array(array.strides), kind="stable"))
