"""Loss functions, each a graph composed from the calculus table; `nn.functional` has them too."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_ce import creation
from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.frame import a_type, composed, current
from tinygrad_ce.engine.functions import branch, decided, fixed, looked_at, safe_mul
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import all_within, constant, leaf, numbers, value_of
from tinygrad_ce.engine.table import SLOT, where
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.functional.reduction import (
    check_reduction,
    reduced,
    reduced_by,
    reduction_of,
    same_shape,
    to_dtype,
)

# --- cross-entropy --------------------------------------------------------------------------


@composed("−1/N Σ log softmax(z)[y]")
def cross_entropy(
    input: Tensor,
    target: Any,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(z)[y], the mean over the samples: (N, C), (N,) -> (), in nats.

    ∂L/∂z = (softmax(z) - onehot) / N

    `target` holds class ids of shape (N,), or probabilities of the shape of the logits. Logits
    may also be (C,) or (N, C, d1, ...). Samples whose id is `ignore_index` do not count; `weight`
    (C,) weighs the classes, and the mean divides by the weights that were used. With
    `label_smoothing` ε the target becomes (1 - ε)·target + ε/C. The gradient with respect to the
    logits is (p - y)/N.

    Raises ValueError or TypeError for ids outside 0 ... C-1 and shapes that do not fit.

    >>> from tinygrad_ce import tensor
    >>> z = tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True)
    >>> cross_entropy(z, tensor([0, 1]))
    tensor(0.4100, grad_fn=<NllLossBackward0>)
    """
    reduction = reduction_of(size_average, reduce, reduction, "cross_entropy")
    logits, labels, is_ids = logits_and_targets(input, target, "cross_entropy")
    logp = functions.log_softmax(logits, 1)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing={label_smoothing}; wanted 0 to 1")
    if is_ids:
        loss = picked_loss(logp, labels, weight, ignore_index, reduction, label_smoothing)
    else:
        loss = expected_loss(logp, labels, weight, reduction, label_smoothing)
    return spread(loss, input, reduction)


@composed("−1/N Σ log p[y]")
def nll_loss(
    input: Tensor,
    target: Any,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-logp[y], the mean over the samples: log-probabilities (N, C), ids (N,) -> (), in nats.

    ∂L/∂logp = -onehot / N

    >>> from tinygrad_ce import tensor
    >>> nll_loss(tensor([[-0.5, -1.0]]), tensor([1]))
    tensor(1.)
    """
    reduction = reduction_of(size_average, reduce, reduction, "nll_loss")
    logp, labels, is_ids = logits_and_targets(input, target, "nll_loss")
    if not is_ids:
        raise TypeError(
            "nll_loss: the targets are floats; wanted class ids, integers of shape (N,)"
        )
    loss = picked_loss(logp, labels, weight, ignore_index, reduction, 0.0, "nll_loss")
    return spread(loss, input, reduction)


def logits_and_targets(input: Any, target: Any, name: str) -> tuple[Any, Any, bool]:
    """Logits as (M, C), targets as (M,) ids or (M, C) probabilities, and which of the two."""
    if not isinstance(input, Node):
        raise TypeError(f"{name}: the logits are {a_type(input)}; wanted a Tensor")
    shape = input.array.shape
    if not shape:
        raise ValueError(f"{name}: the logits are a single number; wanted shape (N, C) or (C,)")
    if isinstance(target, (int, list, tuple)):
        ids = creation.tensor(target)  # or probabilities, in the dtype of the logits
        target = constant(target, input) if ids.array.dtype.kind == "f" else ids
    target = target if isinstance(target, Node) else constant(target, input)
    given = target.array.shape
    kind = target.array.dtype.kind
    is_ids = kind in "iu"
    wanted = (shape[0], *shape[2:]) if len(shape) > 1 else ()
    if kind == "b":
        raise TypeError(f"{name}: the targets are booleans; wanted class ids: targets.long()")
    if given != (wanted if is_ids else shape):
        raise ValueError(target_complaint(name, shape, given, wanted, is_ids))
    if len(shape) == 1:
        logits = table.reshape(input, (1, shape[0]))
        return logits, table.reshape(target, (1,) if is_ids else (1, shape[0])), is_ids
    if len(shape) > 2:
        input = table.reshape(table.moveaxis(input, 1, -1), (-1, shape[1]))
        flat = target if is_ids else table.moveaxis(target, 1, -1)
        target = table.reshape(flat, (-1,) if is_ids else (-1, shape[1]))
    return input, target, is_ids


def target_complaint(
    name: str, shape: tuple[int, ...], given: tuple[int, ...], wanted: tuple[int, ...], is_ids: bool
) -> str:
    """What is wrong with the targets' shape, and what to write."""
    text = f"{name}: logits have shape {shape} and targets {given}. "
    if is_ids and given == (*wanted, 1):
        return text + f"Class ids have shape {wanted}: targets.squeeze({len(given) - 1})."
    if is_ids and given == shape:
        return text + f"Class ids have shape {wanted}: targets.argmax(1) of one-hot rows."
    if not is_ids and given == wanted:
        return text + "These are floats; class ids are integers: targets.long()."
    return text + f"Wanted class ids of shape {wanted}, or probabilities of shape {shape}."


def picked_loss(
    logp: Any,
    labels: Any,
    weight: Any,
    ignore_index: int,
    reduction: str,
    smoothing: float,
    name: str = "cross_entropy",
) -> Any:
    """-logp[y] for class ids y, weighted, without the ignored ones, smoothed, reduced."""
    check_reduction(reduction, name)
    n, classes = logp.shape
    keep = kept_samples(labels, classes, ignore_index, name)
    if keep is not None:
        labels = decided(where(keep, looked_at(labels), 0), labels)
    picked = table.getitem(logp, counting(n), labels, index=(SLOT, SLOT))
    if weight is None and keep is None and not smoothing:
        return -reduced(picked, reduction, name)
    if weight is None:
        w = fixed(np.ones(n, logp.dtype), logp)
    else:
        w = class_weights(weight, logp, name)[labels]
    if keep is not None:
        w = w * decided(keep.astype(logp.dtype), labels)
        picked = where(decided(keep, labels), picked, 0.0)  # 0·inf would be nan
    losses = safe_mul(picked, w)
    if smoothing:
        every = logp if weight is None else safe_mul(logp, class_weights(weight, logp, name))
        all_classes = table.sum(every, 1)
        if keep is not None:
            all_classes = where(decided(keep, labels), all_classes, 0.0)
        losses = losses * (1.0 - smoothing) + all_classes * (smoothing / classes)
    if reduction == "mean":
        return -(table.sum(losses) / table.sum(w))
    return -reduced(losses, reduction, name)


@lru_cache(maxsize=64)
def counting(n: int) -> Any:
    """0 ... n-1 as a constant, made once."""
    array = np.arange(n)
    array.flags.writeable = False
    y = leaf(array)
    y.detached_by = None  # it is of no data
    return y


def expected_loss(logp: Any, target: Any, weight: Any, reduction: str, smoothing: float) -> Any:
    """-Σ y·logp for probabilities y; 0·log 0 is 0."""
    check_reduction(reduction, "cross_entropy")
    classes = logp.shape[1]
    target = to_dtype(target, logp)
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / classes
    nothing = (looked_at(target) == 0) & (looked_at(logp) == -math.inf)
    terms = where(decided(nothing, logp, target), 0.0, logp) * target
    if weight is not None:
        terms = terms * class_weights(weight, logp, "cross_entropy")
    losses = table.sum(terms, 1)
    return -reduced(losses, reduction, "cross_entropy")


def class_weights(weight: Any, logp: Any, name: str) -> Any:
    """The weights of the classes, of shape (C,)."""
    weight = weight if isinstance(weight, Node) else constant(weight, logp)
    classes = logp.shape[1]
    if weight.array.shape != (classes,):
        raise ValueError(
            f"{name}: weight has shape {weight.array.shape}; wanted ({classes},), "
            "one weight for each class"
        )
    return weight


def kept_samples(labels: Any, classes: int, ignore_index: int, name: str) -> Any:
    """Which samples count, or None if all do. Ids outside 0 ... C-1 are refused."""
    ids = value_of(labels)
    if not 0 <= ignore_index < classes and all_within(ids, 0, classes - 1):
        return None
    if not all_within(ids, 0, classes - 1, ignore_index):
        v = numbers(ids)
        wrong = v[(v != ignore_index) & ((v < 0) | (v >= classes))]
        raise ValueError(
            f"{name}: class id {wrong.flat[0]} is outside 0 ... {classes - 1}, "
            f"the ids of logits with {classes} classes (ignore_index is {ignore_index})"
        )
    return looked_at(labels) != ignore_index


def spread(loss: Any, input: Any, reduction: str) -> Any:
    """Losses of reduction="none" in the shape of the samples of `input`."""
    shape = input.array.shape
    if reduction != "none" or len(shape) == 2:
        return loss
    return table.reshape(loss, (shape[0], *shape[2:]) if len(shape) > 1 else ())


# --- binary cross-entropy -------------------------------------------------------------------


@composed("1/N Σ log(1 + eᶻ) − z·y")
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Tensor:
    """log(1 + exp(z)) - z·y, the mean: logits z and probabilities y of one shape -> (), in nats.

    ∂L/∂z = (sigmoid(z) - y) / n

    Composed as log1p(e) + z·(step - y), e = exp(-|z|), step = 1 where z ≥ 0: nothing cancels at
    z = 40, y = 1. `pos_weight` weighs the term of y = 1.

    >>> from tinygrad_ce import tensor
    >>> binary_cross_entropy_with_logits(tensor([0.0, 40.0]), tensor([1.0, 1.0]))
    tensor(0.3466)
    """
    name = "binary_cross_entropy_with_logits"
    reduction = reduction_of(size_average, reduce, reduction, name)
    target = to_dtype(same_shape(input, target, name), input)
    _, step, _, e = branch(input)
    live = isinstance(target, Node) and (target.requires_grad or current().lines is True)
    y: Any = target if live else value_of(target)
    step = decided(step, input) if live else step
    if isinstance(pos_weight, (list, tuple)):
        pos_weight = constant(pos_weight, input)
    if pos_weight is None:
        slope, smooth = step - y, table.log1p(e)
    else:
        slope = (step - 1.0) * y * pos_weight + step * (1.0 - y)
        smooth = table.log1p(e) * ((pos_weight - 1.0) * y + 1.0)
    losses = smooth + safe_mul(input, decided(slope, input))
    if weight is not None:
        losses = losses * weight
    return reduced(losses, reduction, name)


@composed("−1/N Σ y·log p + (1−y)·log(1−p)")
def binary_cross_entropy(
    input: Tensor,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(y·log p + (1 - y)·log(1 - p)), the mean: probabilities of one shape -> (), in nats.

    ∂L/∂p = (p - y) / (p * (1 - p)) / n

    0·log 0 is 0; a wrong answer given with certainty costs infinity. From logits,
    `binary_cross_entropy_with_logits` is exact where p itself has been rounded to 0 or 1.

    >>> from tinygrad_ce import tensor
    >>> binary_cross_entropy(tensor([0.5, 1.0]), tensor([1.0, 1.0]), reduction="none")
    tensor([0.6931, -0.0000])
    """
    reduction = reduction_of(size_average, reduce, reduction, "binary_cross_entropy")
    target = to_dtype(same_shape(input, target, "binary_cross_entropy"), input)
    p = value_of(input)
    if not all_within(p, 0, 1):
        v = numbers(p)
        raise ValueError(
            f"binary_cross_entropy: got values from {v.min():.4g} to {v.max():.4g}; wanted "
            "probabilities, 0 to 1. For logits write binary_cross_entropy_with_logits"
        )
    p, y = looked_at(input), looked_at(target)
    no_one, no_zero = np.equal(y, 0), np.equal(y, 1)
    if isinstance(target, Node) and target.requires_grad:  # the logarithms are its slope
        no_one, no_zero = no_one & (p == 0), no_zero & (p == 1)
    for_one = table.log(where(decided(no_one, input, target), 1.0, input))
    for_zero = table.log1p(-where(decided(no_zero, input, target), 0.0, input))
    losses = -(for_one * target + for_zero * (1.0 - target))
    if weight is not None:
        losses = losses * weight
    return reduced(losses, reduction, "binary_cross_entropy")


# --- other losses ---------------------------------------------------------------------------


@composed("1/n Σ (x − y)²")
def mse_loss(
    input: Tensor,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Tensor:
    """(x - y)², the mean over all elements: two tensors of one shape -> ().

    ∂L/∂x = 2 * (x - y) / n

    >>> from tinygrad_ce import tensor
    >>> mse_loss(tensor([1.0, 2.0]), tensor([1.0, 4.0]))
    tensor(2.)
    """
    reduction = reduction_of(size_average, reduce, reduction, "mse_loss")
    d = input - to_dtype(same_shape(input, target, "mse_loss"), input)
    return reduced_by(d * d, weight, reduction, "mse_loss")


@composed("1/n Σ |x − y|")
def l1_loss(
    input: Tensor,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Tensor:
    """|x - y|, the mean over all elements; its slope at 0 is 0.

    ∂L/∂x = sign(x - y) / n

    >>> from tinygrad_ce import tensor
    >>> l1_loss(tensor([1.0, 2.0]), tensor([1.0, 4.0]))
    tensor(1.)
    """
    reduction = reduction_of(size_average, reduce, reduction, "l1_loss")
    d = input - to_dtype(same_shape(input, target, "l1_loss"), input)
    return reduced_by(table.abs(d), weight, reduction, "l1_loss")


@composed("1/n Σ (|d| ≤ δ ? d²/2 : δ(|d| − δ/2))")
def huber_loss(
    input: Tensor, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Tensor:
    """d²/2 where |d| ≤ δ, else δ(|d| - δ/2), with d = x - y; the mean over all elements.

    ∂L/∂x = clip(x - y, -δ, δ) / n

    >>> from tinygrad_ce import tensor
    >>> huber_loss(tensor([0.5, 3.0]), tensor([0.0, 0.0]), reduction="none")
    tensor([0.1250, 2.5000])
    """
    if delta <= 0:
        raise ValueError(f"huber_loss: delta={delta}; wanted a positive number")
    d = input - to_dtype(same_shape(input, target, "huber_loss"), input)
    near, inside, size = near_and_far(d, delta)
    losses = where(near, inside * inside * 0.5, (size - 0.5 * delta) * delta)
    if weight is not None:
        losses = losses * to_dtype(same_shape(losses, weight, "huber_loss: weight"), losses)
    return reduced(losses, reduction, "huber_loss")


def near_and_far(d: Any, bound: float) -> tuple[Any, Any, Any]:
    """Where |d| ≤ bound; d there, else 0; and |d|, smooth wherever it is used."""
    v = looked_at(d)
    near = decided(np.abs(v) <= bound, d)
    return near, where(near, d, 0.0), d * decided(np.sign(v), d)


@composed("1/n Σ (|d| < β ? d²/2β : |d| − β/2)")
def smooth_l1_loss(
    input: Tensor,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """d²/2β where |d| ≤ β, else |d| - β/2, with d = x - y; the mean over all elements.

    ∂L/∂x = clip((x - y) / β, -1, 1) / n

    >>> from tinygrad_ce import tensor
    >>> smooth_l1_loss(tensor([0.5, 3.0]), tensor([0.0, 0.0]), reduction="none")
    tensor([0.1250, 2.5000])
    """
    reduction = reduction_of(size_average, reduce, reduction, "smooth_l1_loss")
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta={beta}; wanted a positive number, or 0")
    d = input - to_dtype(same_shape(input, target, "smooth_l1_loss"), input)
    if beta == 0:
        return reduced(table.abs(d), reduction, "smooth_l1_loss")
    near, inside, size = near_and_far(d, beta)
    losses = where(near, inside * inside * 0.5 / beta, size - 0.5 * beta)
    return reduced(losses, reduction, "smooth_l1_loss")


@composed("Σ p (log p − log q)")
def kl_div(
    input: Tensor,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """p·(log p - log q), from log q and p (or log p): two tensors of one shape, in nats.

    ∂L/∂log_q = -p / n

    reduction="batchmean" divides the sum by the first size, which is the divergence itself;
    "mean" divides by all elements, as in PyTorch. 0·log 0 is 0.

    >>> from tinygrad_ce import tensor
    >>> kl_div(tensor([[0.5, 0.5]]).log(), tensor([[1.0, 0.0]]), reduction="batchmean")
    tensor(0.6931)
    """
    reduction = reduction_of(size_average, reduce, reduction, "kl_div", "batchmean")
    target = to_dtype(same_shape(input, target, "kl_div"), input)
    if log_target:
        losses = safe_mul(target - input, table.exp(target))
    else:
        nothing = decided(looked_at(target) == 0, input, target)
        safe = where(nothing, 1.0, target)
        losses = target * (table.log(safe) - where(nothing, 0.0, input))
    if reduction == "batchmean":
        return table.sum(losses) / float(input.shape[0] if input.ndim else 1)
    return reduced(losses, reduction, "kl_div")
