"""Functions of neural networks, each a graph composed from the calculus table.

Nothing here is fused: a picture of `cross_entropy` shows its exp, log, sum and subtraction. What
makes them right at extremes is said where they are composed, here and in engine/functions.py.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.engine.functions import branch, damped, fixed
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import constant, leaf, value_of
from tinygrad_ce.engine.table import SLOT, where
from tinygrad_ce.engine.tensor import Tensor, generator_or_default

# --- activations ----------------------------------------------------------------------------

sigmoid = functions.sigmoid
softplus = functions.softplus
log_sigmoid = logsigmoid = functions.log_sigmoid
relu = functions.relu
tanh = table.tanh


def softmax(input: Tensor, dim: int = -1) -> Tensor:
    """exp(z) / Σ exp(z) along `dim`: (..., C, ...) -> the same shape.

    >>> from tinygrad_ce import tensor
    >>> softmax(tensor([0.0, 0.0, 0.0, 0.0]))
    tensor([0.25, 0.25, 0.25, 0.25])
    """
    return functions.softmax(input, dim)


def log_softmax(input: Tensor, dim: int = -1) -> Tensor:
    """z - log Σ exp(z) along `dim`, without overflow.

    >>> from tinygrad_ce import tensor
    >>> log_softmax(tensor([1000.0, 0.0]))
    tensor([    0., -1000.])
    """
    return functions.log_softmax(input, dim)


def logsumexp(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """log Σ exp(z) over `dim`; -inf where all z are -inf.

    >>> from tinygrad_ce import tensor
    >>> logsumexp(tensor([1000.0, 1000.0]))
    tensor(1000.6932)
    """
    return functions.logsumexp(input, dim, keepdim)


@composed("x > 0 ? x : a·x")
def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope·x; the slope at 0 is negative_slope.

    >>> from tinygrad_ce import tensor
    >>> leaky_relu(tensor([-1.0, 2.0]))
    tensor([-0.01,  2.  ])
    """
    return where(input > 0.0, input, input * negative_slope)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x), Φ the normal distribution function; approximate="tanh" gives the usual formula.

    >>> from tinygrad_ce import tensor
    >>> gelu(tensor([0.0, 1.0]))
    tensor([0.    , 0.8413])
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate={approximate!r}; wanted "none" or "tanh"')
    return functions.gelu(input) if approximate == "none" else functions.gelu_tanh(input)


@composed("x · σ(x)")
def silu(input: Tensor) -> Tensor:
    """x·sigmoid(x), also called swish.

    >>> from tinygrad_ce import tensor
    >>> silu(tensor([0.0, 1.0]))
    tensor([0.    , 0.7311])
    """
    return damped(input, sigmoid(input))


# --- losses: what they share ----------------------------------------------------------------


def reduced(losses: Any, reduction: str, name: str) -> Any:
    """The losses themselves, their mean or their sum."""
    if reduction == "mean":
        return table.sum(losses) / float(math.prod(losses.shape))
    if reduction == "sum":
        return table.sum(losses)
    check_reduction(reduction, name)
    return losses


def check_reduction(reduction: str, name: str) -> None:
    """Only the three reductions."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f'{name}: reduction={reduction!r}; wanted "mean", "sum" or "none"')


def same_shape(input: Any, target: Any, name: str) -> Any:
    """`target` as an operand of the shape of `input`."""
    if not isinstance(target, (Node, np.ndarray, list, tuple, int, float, np.generic)):
        raise TypeError(f"{name}: the target is a {type(target).__name__}; wanted a Tensor")
    if isinstance(target, (int, float)):
        return target
    target = target if isinstance(target, Node) else constant(target, input)
    if target.array.shape != input.shape:
        hint = ""
        if target.array.size == math.prod(input.shape):
            hint = f" Reshape one of them: target.reshape({input.shape})."
        raise ValueError(
            f"{name}: input has shape {input.shape} and target {target.array.shape}; wanted equal "
            f"shapes, since broadcasting would compare every pair.{hint}"
        )
    return target


def to_dtype(target: Any, like: Any) -> Any:
    """`target` in the dtype of `like`, so that integer targets do not widen the loss."""
    if isinstance(target, Node) and target.array.dtype != like.dtype:
        return table.astype(target, like.dtype)
    return target


# --- cross-entropy --------------------------------------------------------------------------


@composed("−1/N Σ log softmax(z)[y]")
def cross_entropy(
    input: Tensor,
    target: Any,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(z)[y], the mean over the samples: (N, C), (N,) -> (), in nats.

    `target` holds class ids of shape (N,), or probabilities of the shape of the logits. Logits
    may also be (C,) or (N, C, d1, ...). Samples whose id is `ignore_index` do not count; `weight`
    (C,) weighs the classes, and the mean divides by the weights that were used. With
    `label_smoothing` ε the target becomes (1 - ε)·target + ε/C. The gradient with respect to the
    logits is (p - y)/N.

    Raises ValueError or TypeError for ids outside 0 ... C-1 and shapes that do not fit.

    >>> from tinygrad_ce import tensor
    >>> z = tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True)
    >>> cross_entropy(z, tensor([0, 1]))
    tensor(0.41, op=neg)
    """
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
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-logp[y], the mean over the samples: log-probabilities (N, C), ids (N,) -> (), in nats.

    >>> from tinygrad_ce import tensor
    >>> nll_loss(tensor([[-0.5, -1.0]]), tensor([1]))
    tensor(1.)
    """
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
        raise TypeError(f"{name}: the logits are a {type(input).__name__}; wanted a Tensor")
    shape = input.array.shape
    if not shape:
        raise ValueError(f"{name}: the logits are a single number; wanted shape (N, C) or (C,)")
    if isinstance(target, (int, list, tuple)):
        target = Tensor(target)
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
        return text + f"One-hot targets are floats: targets.float(); class ids have shape {wanted}."
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
    ids = value_of(labels)
    keep = kept_samples(ids, classes, ignore_index, name)
    if keep is not None:
        labels = fixed(where(keep, ids, 0), logp)
    picked = table.getitem(logp, counting(n), labels, index=(SLOT, SLOT))
    if weight is None and keep is None and not smoothing:
        return -reduced(picked, reduction, name)
    if weight is None:
        w = leaf(np.ones(n, logp.dtype))
    else:
        w = class_weights(weight, classes, name)[labels]
    if keep is not None:
        w = w * fixed(keep.astype(logp.dtype), logp)
        picked = where(fixed(keep, logp), picked, 0.0)  # 0·inf would be nan
    losses = damped(picked, w)
    if smoothing:
        every = logp if weight is None else damped(logp, class_weights(weight, classes, name))
        all_classes = table.sum(every, 1)
        if keep is not None:
            all_classes = where(fixed(keep, logp), all_classes, 0.0)
        losses = losses * (1.0 - smoothing) + all_classes * (smoothing / classes)
    if reduction == "mean":
        return -(table.sum(losses) / table.sum(w))
    return -reduced(losses, reduction, name)


@lru_cache(maxsize=64)
def counting(n: int) -> Any:
    """0 ... n-1 as a constant, made once."""
    array = np.arange(n)
    array.flags.writeable = False
    return leaf(array)


def expected_loss(logp: Any, target: Any, weight: Any, reduction: str, smoothing: float) -> Any:
    """-Σ y·logp for probabilities y; 0·log 0 is 0."""
    check_reduction(reduction, "cross_entropy")
    classes = logp.shape[1]
    target = to_dtype(target, logp)
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / classes
    nothing = (value_of(target) == 0) & (value_of(logp) == -math.inf)
    terms = where(fixed(nothing, logp), 0.0, logp) * target
    if weight is not None:
        terms = terms * class_weights(weight, classes, "cross_entropy")
    losses = table.sum(terms, 1)
    return -reduced(losses, reduction, "cross_entropy")


def class_weights(weight: Any, classes: int, name: str) -> Any:
    """The weights of the classes, of shape (C,)."""
    weight = weight if isinstance(weight, Node) else Tensor(weight)
    if weight.array.shape != (classes,):
        raise ValueError(
            f"{name}: weight has shape {weight.array.shape}; wanted ({classes},), "
            "one weight for each class"
        )
    return weight


def kept_samples(ids: Any, classes: int, ignore_index: int, name: str) -> Any:
    """Which samples count, or None if all do. Ids outside 0 ... C-1 are refused."""
    if not isinstance(ids, np.ndarray):  # a tracer's Symbol has no values to look at
        return ids != ignore_index
    outside = not 0 <= ignore_index < classes
    if outside and (not ids.size or _largest(ids) < classes):
        return None
    keep = ids != ignore_index
    wrong = ids[keep & ((ids < 0) | (ids >= classes))]
    if wrong.size:
        raise ValueError(
            f"{name}: class id {wrong.flat[0]} is outside 0 ... {classes - 1}, "
            f"the ids of logits with {classes} classes (ignore_index is {ignore_index})"
        )
    return keep


def _largest(ids: np.ndarray) -> int:
    """The largest id, where a negative one counts as very large: one pass finds both."""
    unsigned = ids.view(np.uint64 if ids.dtype == np.int64 else ids.dtype.str.replace("i", "u"))
    return int(np.maximum.reduce(unsigned, axis=None))


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
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Tensor:
    """log(1 + exp(z)) - z·y, the mean: logits z and probabilities y of one shape -> (), in nats.

    Composed as log1p(e) + z·(step - y), e = exp(-|z|), step = 1 where z ≥ 0: nothing cancels at
    z = 40, y = 1. `pos_weight` weighs the term of y = 1. The gradient is (sigmoid(z) - y)/N.

    >>> from tinygrad_ce import tensor
    >>> binary_cross_entropy_with_logits(tensor([0.0, 40.0]), tensor([1.0, 1.0]))
    tensor(0.3466)
    """
    name = "binary_cross_entropy_with_logits"
    target = to_dtype(same_shape(input, target, name), input)
    _, step, _, e = branch(input)
    live = isinstance(target, Node) and target.requires_grad
    y: Any = target if live else value_of(target)
    if isinstance(pos_weight, (list, tuple)):
        pos_weight = constant(pos_weight, input)
    if pos_weight is None:
        slope, smooth = step - y, table.log1p(e)
    else:
        slope = (step - 1.0) * y * pos_weight + step * (1.0 - y)
        smooth = table.log1p(e) * ((pos_weight - 1.0) * y + 1.0)
    if not isinstance(slope, Node):
        slope = fixed(slope, input)
    losses = smooth + damped(input, slope)
    if weight is not None:
        losses = losses * weight
    return reduced(losses, reduction, name)


@composed("−1/N Σ y·log p + (1−y)·log(1−p)")
def binary_cross_entropy(
    input: Tensor, target: Any, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """-(y·log p + (1 - y)·log(1 - p)), the mean: probabilities of one shape -> (), in nats.

    0·log 0 is 0; a wrong answer given with certainty costs infinity. From logits,
    `binary_cross_entropy_with_logits` is exact where p itself has been rounded to 0 or 1.

    >>> from tinygrad_ce import tensor
    >>> binary_cross_entropy(tensor([0.5, 1.0]), tensor([1.0, 1.0]), reduction="none")
    tensor([ 0.6931, -0.    ])
    """
    target = to_dtype(same_shape(input, target, "binary_cross_entropy"), input)
    p, y = value_of(input), value_of(target)
    if isinstance(p, np.ndarray) and p.size and not (p.min() >= 0 and p.max() <= 1):
        raise ValueError(
            f"binary_cross_entropy: got values from {p.min():.4g} to {p.max():.4g}; wanted "
            "probabilities, 0 to 1. For logits write binary_cross_entropy_with_logits"
        )
    no_one, no_zero = np.equal(y, 0), np.equal(y, 1)
    if isinstance(target, Node) and target.requires_grad:  # the logarithms are its slope
        no_one, no_zero = no_one & (p == 0), no_zero & (p == 1)
    for_one = table.log(where(fixed(no_one, input), 1.0, input))
    for_zero = table.log1p(-where(fixed(no_zero, input), 0.0, input))
    losses = -(for_one * target + for_zero * (1.0 - target))
    if weight is not None:
        losses = losses * weight
    return reduced(losses, reduction, "binary_cross_entropy")


# --- other losses ---------------------------------------------------------------------------


@composed("1/n Σ (x − y)²")
def mse_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """(x - y)², the mean over all elements: two tensors of one shape -> ().

    >>> from tinygrad_ce import tensor
    >>> mse_loss(tensor([1.0, 2.0]), tensor([1.0, 4.0]))
    tensor(2.)
    """
    d = input - to_dtype(same_shape(input, target, "mse_loss"), input)
    return reduced(d * d, reduction, "mse_loss")


@composed("1/n Σ |x − y|")
def l1_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """|x - y|, the mean over all elements; its slope at 0 is 0.

    >>> from tinygrad_ce import tensor
    >>> l1_loss(tensor([1.0, 2.0]), tensor([1.0, 4.0]))
    tensor(1.)
    """
    d = input - to_dtype(same_shape(input, target, "l1_loss"), input)
    return reduced(table.abs(d), reduction, "l1_loss")


@composed("1/n Σ (|d| ≤ δ ? d²/2 : δ(|d| − δ/2))")
def huber_loss(input: Tensor, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d²/2 where |d| ≤ δ, else δ(|d| - δ/2), with d = x - y; the mean over all elements.

    >>> from tinygrad_ce import tensor
    >>> huber_loss(tensor([0.5, 3.0]), tensor([0.0, 0.0]), reduction="none")
    tensor([0.125, 2.5  ])
    """
    if delta <= 0:
        raise ValueError(f"huber_loss: delta={delta}; wanted a positive number")
    d = input - to_dtype(same_shape(input, target, "huber_loss"), input)
    v = value_of(d)
    near = fixed(np.abs(v) <= delta, d)
    side = fixed(np.sign(v), d)
    inside = where(near, d, 0.0)
    return reduced(
        where(near, inside * inside * 0.5, (d * side - 0.5 * delta) * delta),
        reduction,
        "huber_loss",
    )


@composed("Σ p (log p − log q)")
def kl_div(input: Tensor, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """p·(log p - log q), from log q and p (or log p): two tensors of one shape, in nats.

    reduction="batchmean" divides the sum by the first size, which is the divergence itself;
    "mean" divides by all elements, as in PyTorch. 0·log 0 is 0.

    >>> from tinygrad_ce import tensor
    >>> kl_div(tensor([[0.5, 0.5]]).log(), tensor([[1.0, 0.0]]), reduction="batchmean")
    tensor(0.6931)
    """
    target = to_dtype(same_shape(input, target, "kl_div"), input)
    if log_target:
        losses = damped(target - input, table.exp(target))
    else:
        nothing = fixed(value_of(target) == 0, input)
        safe = where(nothing, 1.0, target)
        losses = target * (table.log(safe) - where(nothing, 0.0, input))
    if reduction == "batchmean":
        return table.sum(losses) / float(input.shape[0] if input.ndim else 1)
    return reduced(losses, reduction, "kl_div")


# --- layers ---------------------------------------------------------------------------------


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
    except (AttributeError, ValueError):
        raise linear_complaint(input, weight) from None
    return y if bias is None else y + bias


def linear_complaint(input: Any, weight: Any) -> Exception:
    """What is wrong with the input of `linear`."""
    if not hasattr(input, "shape"):
        return TypeError(f"linear: the input is a {type(input).__name__}; wanted a Tensor")
    return ValueError(
        f"linear: input has shape {input.shape} and weight {weight.shape}; wanted an input of "
        f"shape (..., {weight.shape[-1]})"
    )


def embedding(input: Any, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """W[ids]: ids (...), W (num, dim) -> (..., dim). The row `padding_idx` gets no gradient.

    >>> from tinygrad_ce import tensor
    >>> embedding(tensor([1, 0]), tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    ids = input if isinstance(input, Node) else Tensor(input)
    v = ids.array
    if v.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids have dtype {v.dtype}; wanted integers: ids.long()")
    n = weight.shape[0]
    if padding_idx is not None and not -n <= padding_idx < n:
        raise IndexError(f"embedding: padding_idx={padding_idx} is no row of a table of {n} rows")
    if isinstance(v, np.ndarray) and v.size and not (v.min() >= 0 and v.max() < n):
        bad = v.min() if v.min() < 0 else v.max()
        raise IndexError(f"embedding: id {bad} is outside 0 ... {n - 1}, the rows of the table")
    rows = table.getitem(weight, ids, index=(SLOT,))
    if padding_idx is None:
        return rows
    padding = fixed(value_of(ids)[..., None] == padding_idx % n, rows)
    return where(padding, rows.detach(), rows)


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
    if isinstance(v, np.ndarray) and v.size and not (v.min() >= 0 and v.max() < num_classes):
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
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: p={p}; wanted a probability, 0 to 1")
    if not training or p == 0.0:
        return input
    if p == 1.0:
        return input * 0.0
    mask = generator_or_default(generator).bernoulli(1.0 - p, input.shape, dtype=input.dtype)
    return input * fixed(mask / (1.0 - p), input)


@composed("(x − μ) / √(σ² + ε) · γ + β")
def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - μ)/√(σ² + ε)·γ + β, μ and σ² over the last dimensions, those of `normalized_shape`.

    >>> from tinygrad_ce import tensor
    >>> layer_norm(tensor([[1.0, 3.0]]), (2,))
    tensor([[-1.,  1.]])
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if input.shape[input.ndim - len(shape) :] != shape:
        raise ValueError(
            f"layer_norm: input has shape {input.shape}; wanted it to end with {shape}"
        )
    check_shapes("layer_norm", shape, weight=weight, bias=bias)
    axes = tuple(range(-len(shape), 0))
    return scaled(normalized(input, axes, eps), weight, bias)


def check_shapes(name: str, wanted: tuple[int, ...], **operands: Any) -> None:
    """All operands that are there have the same shape: broadcasting would hide a mistake."""
    for which, x in operands.items():
        if x is not None and x.shape != wanted:
            raise ValueError(f"{name}: {which} has shape {x.shape}; wanted {wanted}")


def normalized(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    """(x - μ)/√(σ² + ε) with μ and σ² over `axes`."""
    n = float(functions.count(x.shape, axes))
    d = x - table.sum(x, axes, True) / n
    variance = table.sum(d * d, axes, True) / n
    return d / table.sqrt(variance + eps)


def scaled(x: Any, weight: Any, bias: Any) -> Any:
    """x·γ + β, where each may be missing."""
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


@composed("(x − μ) / √(σ² + ε) · γ + β")
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - μ)/√(σ² + ε)·γ + β for each channel: (N, C, ...) -> the same shape.

    When training, μ and σ² are those of the batch, and the running ones move towards them:
    running = (1 - momentum)·running + momentum·batch (with the unbiased variance). Otherwise the
    running ones are used.

    >>> from tinygrad_ce import tensor
    >>> batch_norm(tensor([[1.0], [3.0]]), training=True)
    tensor([[-1.],
            [ 1.]])
    """
    if input.ndim < 2:
        raise ValueError(f"batch_norm: input has shape {input.shape}; wanted (N, C, ...)")
    check_shapes("batch_norm", (input.shape[1],), running_mean=running_mean,
                 running_var=running_var, weight=weight, bias=bias)  # fmt: skip
    stats = running_mean is not None and running_var is not None
    if not (stats or training) or (running_mean is None) is not (running_var is None):
        raise ValueError(
            "batch_norm: wanted running_mean and running_var, or training=True and neither"
        )
    axes = (0, *range(2, input.ndim))
    channel = (1, -1, *(1,) * (input.ndim - 2))
    weight = None if weight is None else table.reshape(weight, channel)
    bias = None if bias is None else table.reshape(bias, channel)
    if not training and running_mean is not None and running_var is not None:
        mean, variance = running_mean.reshape(channel), running_var.reshape(channel)
        return scaled((input - mean) / table.sqrt(variance + eps), weight, bias)
    n = functions.count(input.shape, axes)
    if training and n < 2:
        raise ValueError(
            f"batch_norm: input has shape {input.shape}, one value per channel: no variance; "
            "wanted a batch of at least 2, or model.eval()"
        )
    if training and running_mean is not None and running_var is not None:
        v = value_of(input)
        for running, batch in ((running_mean, v.mean(axes)), (running_var, v.var(axes, ddof=1))):
            running *= 1.0 - momentum
            running += fixed(batch * momentum, input)
    return scaled(normalized(input, axes, eps), weight, bias)


# --- images ---------------------------------------------------------------------------------


def pair(value: Any, name: str, least: int = 1) -> tuple[int, int]:
    """A number for both directions, or one for each."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(n, (int, np.integer)) and n >= least for n in both):
        raise ValueError(f"{name}={value!r}; wanted an integer of at least {least}, or two")
    return int(both[0]), int(both[1])


def windows(
    x: Any, size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], name: str
) -> Any:
    """(N, C, H, W) -> (N, C, H', W', kh, kw): every window that a kernel looks through."""
    spans = tuple((k - 1) * d + 1 for k, d in zip(size, dilation))
    if x.ndim != 4:
        raise ValueError(f"{name}: input has shape {x.shape}; wanted (N, C, H, W)")
    if spans[0] > x.shape[2] or spans[1] > x.shape[3]:
        raise ValueError(
            f"{name}: a window of {spans[0]}×{spans[1]} does not fit into an image of "
            f"{x.shape[2]}×{x.shape[3]} (padding included)"
        )
    w = table.sliding_windows(x, spans, (2, 3))
    if stride == (1, 1) and dilation == (1, 1):
        return w
    return w[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def padded(x: Any, padding: tuple[int, int], value: float) -> Any:
    """The image with `value` around it."""
    if padding == (0, 0):
        return x
    return table.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), value)


@composed("windows(x) @ Wᵀ + b")
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Σ over window and channels of x·w, + b: (N, C, H, W), (O, C, kh, kw) -> (N, O, H', W').

    Every window becomes a row, and the kernel is one matrix product with the rows. With groups
    the channels fall into so many parts, each with kernels of its own.

    >>> from tinygrad_ce import ones
    >>> conv2d(ones(1, 1, 3, 3), ones(1, 1, 2, 2))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    if input.ndim == 3:
        return conv2d(input[None], weight, bias, stride, padding, dilation, groups)[0]
    out, depth, *size = weight.shape if weight.ndim == 4 else (0, 0)
    if input.ndim != 4 or len(size) != 2 or input.shape[1] != depth * groups or out % groups:
        raise ValueError(
            f"conv2d: input {input.shape}, weight {weight.shape}, groups={groups}; wanted "
            "(N, C, H, W) and (O, C/groups, kh, kw)"
        )
    check_shapes("conv2d", (out,), bias=bias)
    if groups > 1:
        each = functions.split(input, depth, 1)
        kernels = functions.split(weight, out // groups, 0)
        biases = [None] * groups if bias is None else functions.split(bias, out // groups, 0)
        parts = [
            conv2d(x, w, b, stride, padding, dilation) for x, w, b in zip(each, kernels, biases)
        ]
        return table.concatenate(*parts, axis=1)
    x = padded(input, pair(padding, "conv2d: padding", 0), 0.0)
    steps, spread_by = pair(stride, "conv2d: stride"), pair(dilation, "conv2d: dilation")
    w = windows(x, (size[0], size[1]), steps, spread_by, "conv2d")
    n, _, height, width = w.shape[:4]
    rows = table.reshape(
        table.transpose(w, (0, 2, 3, 1, 4, 5)), (n * height * width, depth * size[0] * size[1])
    )
    y = table.matmul(rows, table.mT(table.reshape(weight, (out, -1))))
    if bias is not None:
        y = y + bias
    return table.transpose(table.reshape(y, (n, height, width, out)), (0, 3, 1, 2))


@composed("max over windows")
def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The largest element of each window: (N, C, H, W) -> (N, C, H', W').

    Of equal elements the first gets the gradient.

    >>> from tinygrad_ce import arange
    >>> max_pool2d(arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    if input.ndim == 3:
        return max_pool2d(input[None], kernel_size, stride, padding)[0]
    size = pair(kernel_size, "max_pool2d: kernel_size")
    step = size if stride is None else pair(stride, "max_pool2d: stride")
    x = padded(input, pool_padding(padding, size, "max_pool2d"), -math.inf)
    w = windows(x, size, step, (1, 1), "max_pool2d")
    rows = table.reshape(w, (-1, size[0] * size[1]))
    best = table.argmax(value_of(rows), 1)
    picked = table.getitem(
        rows, leaf(np.arange(rows.shape[0])), fixed(best, rows), index=(SLOT, SLOT)
    )
    return table.reshape(picked, w.shape[:4])


@composed("mean over windows")
def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The mean of each window, padding counted as 0: (N, C, H, W) -> (N, C, H', W').

    >>> from tinygrad_ce import arange
    >>> avg_pool2d(arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 2.5,  4.5],
              [10.5, 12.5]]]])
    """
    if input.ndim == 3:
        return avg_pool2d(input[None], kernel_size, stride, padding)[0]
    size = pair(kernel_size, "avg_pool2d: kernel_size")
    step = size if stride is None else pair(stride, "avg_pool2d: stride")
    x = padded(input, pool_padding(padding, size, "avg_pool2d"), 0.0)
    w = windows(x, size, step, (1, 1), "avg_pool2d")
    return table.sum(w, (4, 5)) / float(size[0] * size[1])


def pool_padding(padding: Any, size: tuple[int, int], name: str) -> tuple[int, int]:
    """Padding of at most half a window, so that no window sees only padding."""
    both = pair(padding, f"{name}: padding", 0)
    if not all(p <= k // 2 for p, k in zip(both, size)):
        raise ValueError(f"{name}: padding={padding}; wanted at most half the window {size}")
    return both
