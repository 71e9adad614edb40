"""Functions of neural networks, each a graph composed from the calculus table.

Nothing here is fused: a picture of `cross_entropy` shows its exp, log, sum and subtraction. What
makes them right at extremes is said where they are composed, here and in engine/functions.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.engine.functions import fixed, gated
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import all_within, leaf, numbers, value_of
from tinygrad_ce.engine.table import SLOT, where
from tinygrad_ce.engine.tensor import Tensor, generator_or_default
from tinygrad_ce.nn.losses import (
    binary_cross_entropy as binary_cross_entropy,
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    cross_entropy as cross_entropy,
    huber_loss as huber_loss,
    kl_div as kl_div,
    l1_loss as l1_loss,
    mse_loss as mse_loss,
    nll_loss as nll_loss,
)

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
    return gated(input, sigmoid(input))


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


def check_fits(name: str, shape: tuple[int, ...], spans: tuple[int, int]) -> None:
    """A window has to fit into the image, padding included: shape (N, C, H, W)."""
    if len(shape) != 4:
        raise ValueError(f"{name}: input has shape {shape}; wanted (N, C, H, W)")
    if spans[0] > shape[2] or spans[1] > shape[3]:
        raise ValueError(
            f"{name}: a window of {spans[0]}×{spans[1]} does not fit into an image of "
            f"{shape[2]}×{shape[3]} (padding included)"
        )


def padded(x: Any, padding: tuple[int, int], value: float, axes: tuple[int, int] = (2, 3)) -> Any:
    """The image with `value` around it."""
    if padding == (0, 0):
        return x
    around = dict(zip(axes, padding))
    return table.pad(x, tuple((around.get(a, 0),) * 2 for a in range(4)), value)


@composed("W @ windows(x) + b")
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

    Every window becomes a column, and the convolution is one matrix product of the kernels with the
    columns. With groups the channels fall into so many parts, each with kernels of its own.

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
    steps, spread = pair(stride, "conv2d: stride"), pair(dilation, "conv2d: dilation")
    border = pair(padding, "conv2d: padding", 0)
    images = padded(table.transpose(input, (1, 2, 3, 0)), border, 0.0, (1, 2))
    spans = ((size[0] - 1) * spread[0] + 1, (size[1] - 1) * spread[1] + 1)
    n, (height, width) = input.shape[0], images.shape[1:3]
    check_fits("conv2d", (n, depth, height, width), spans)
    columns = table.im2col(images, (size[0], size[1]), steps, spread)
    y = table.matmul(table.reshape(weight, (out, -1)), columns)
    if bias is not None:
        y = y + table.reshape(bias, (out, 1))
    h, w = table.window_counts(images.shape, (1, 2), (size[0], size[1]), steps, spread)
    return table.transpose(table.reshape(y, (out, h, w, n)), (3, 0, 1, 2))


@composed("max over windows")
def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The largest element of each window: (N, C, H, W) -> (N, C, H', W').

    Of equal elements the first gets the gradient, a nan counts as the largest. Padding is -inf, or
    the smallest integer: where nothing in a window is larger it is chosen and takes the gradient.

    >>> from tinygrad_ce import arange
    >>> max_pool2d(arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    if input.ndim == 3:
        return max_pool2d(input[None], kernel_size, stride, padding)[0]
    size = pair(kernel_size, "max_pool2d: kernel_size")
    step = size if stride is None else pair(stride, "max_pool2d: stride")
    kind = input.dtype.kind
    lowest = np.iinfo(input.dtype).min if kind in "iu" else -math.inf if kind == "f" else 0
    x = padded(input, pool_padding(padding, size, "max_pool2d"), lowest)
    check_fits("max_pool2d", x.shape, size)
    return table.max_pool(x, size, step, (2, 3))


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
    check_fits("avg_pool2d", x.shape, size)
    return table.sum_pool(x, size, step, (2, 3)) / float(size[0] * size[1])


def pool_padding(padding: Any, size: tuple[int, int], name: str) -> tuple[int, int]:
    """Padding of at most half a window, so that no window sees only padding."""
    both = pair(padding, f"{name}: padding", 0)
    if not all(p <= k // 2 for p, k in zip(both, size)):
        raise ValueError(f"{name}: padding={padding}; wanted at most half the window {size}")
    return both
