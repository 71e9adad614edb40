"""Layers: a module for each function of `nn.functional` that has parameters or settings.

Parameter names, shapes and initial draws are PyTorch's, so weights go both ways.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F, init
from tinygrad_ce.nn.losses import check_reduction
from tinygrad_ce.nn.module import Module, Parameter


def positive(value: Any, name: str, layer: str) -> int:
    """A size: an integer of at least 1."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{layer}: {name}={value!r}; wanted an integer of at least 1")
    return int(value)


class Layer(Module):
    """A module whose constructor takes settings: data that is given to it is refused."""

    data: str = "x"  # what it is called with
    weights: tuple[str, ...] = ()  # settings that are tensors

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """An empty module, if no argument is a Tensor in the place of a setting."""
        init = cls.__init__
        if init is object.__init__ or init.__module__ == __name__:  # and is no subclass's
            if any(isinstance(x, (Tensor, np.ndarray)) for x in (*args, *kwargs.values())):
                refuse_data(cls, args, kwargs)
            elif init is object.__init__ and (args or kwargs):
                raise TypeError(f"{cls.__name__}() takes no settings")
        return super().__new__(cls)


def refuse_data(kind: type[Layer], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """`MSELoss(x, y)` is a mistake that everybody makes once."""
    has_settings = kind.__init__ is not object.__init__
    settings = list(inspect.signature(kind.__init__).parameters.values())[1:] * has_settings
    names = [setting.name for setting in settings] + ["an argument"] * len(args)
    free = all(setting.default is not setting.empty for setting in settings)
    for name, value in [*zip(names, args), *kwargs.items()]:
        if isinstance(value, (Tensor, np.ndarray)) and name not in kind.weights:
            raise TypeError(
                f"{kind.__name__}: got a {type(value).__name__} of shape {value.shape} for {name}, "
                "a setting. First make the module, then call it: "
                f"{kind.__name__}({'' if free else '...'})({kind.data})"
            )


class Linear(Layer):
    """x @ Wᵀ + b: (..., in_features) -> (..., out_features); W is (out, in), b is (out,).

    Both are drawn uniformly on ±1/√in_features.

    >>> Linear(64, 10)
    Linear(64 → 10)  # weight (10, 64), bias (10,), 650 parameters
    """

    formula = "x @ Wᵀ + b"

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features = positive(in_features, "in_features", "Linear")
        self.out_features = positive(out_features, "out_features", "Linear")
        self.weight = Parameter(np.empty((out_features, in_features), np.float32))
        self.bias = Parameter(np.empty(out_features, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """x @ Wᵀ + b."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.in_features} → {self.out_features}"


class Embedding(Layer):
    """A table of vectors: ids (...) -> (..., embedding_dim).

    >>> Embedding(27, 8)
    Embedding(27, 8)  # weight (27, 8), 216 parameters
    """

    formula = "W[ids]"

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None
    ) -> None:
        self.num_embeddings = positive(num_embeddings, "num_embeddings", "Embedding")
        self.embedding_dim = positive(embedding_dim, "embedding_dim", "Embedding")
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx={padding_idx} of {num_embeddings} rows")
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), np.float32))
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with recording(False):
                self.weight[self.padding_idx] = 0.0

    def forward(self, ids: Any) -> Tensor:
        """W[ids]."""
        return F.embedding(ids, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Conv2d(Layer):
    """Σ over window and channels of x·w, + b: (N, C, H, W) -> (N, O, H', W').

    >>> Conv2d(1, 8, 3, padding=1)
    Conv2d(1 → 8, kernel 3×3, stride (1, 1), padding (1, 1))  # weight (8, 1, 3, 3), bias (8,), 80 parameters
    """  # noqa: E501

    formula = "W @ windows(x) + b"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self.in_channels = positive(in_channels, "in_channels", "Conv2d")
        self.out_channels = positive(out_channels, "out_channels", "Conv2d")
        self.kernel_size = F.pair(kernel_size, "Conv2d: kernel_size")
        self.stride = F.pair(stride, "Conv2d: stride")
        self.padding = F.pair(padding, "Conv2d: padding", 0)
        self.dilation = F.pair(dilation, "Conv2d: dilation")
        self.groups = positive(groups, "groups", "Conv2d")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: {in_channels} and {out_channels} channels do not divide into "
                f"{groups} groups"
            )
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(np.empty(shape, np.float32))
        self.bias = Parameter(np.empty(out_channels, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Slide the kernel over x."""
        return F.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        """Sizes."""
        size = "×".join(map(str, self.kernel_size))
        return (
            f"{self.in_channels} → {self.out_channels}, kernel {size}, "
            f"stride {self.stride}, padding {self.padding}"
        )


class _Pool2d(Layer):
    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        name = type(self).__name__
        size = F.pair(kernel_size, f"{name}: kernel_size")
        F.pair(self.stride, f"{name}: stride")
        F.pool_padding(padding, size, name)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.kernel_size}, stride {self.stride}"


class MaxPool2d(_Pool2d):
    """The largest element of each window; of equal ones the first gets the gradient.

    >>> MaxPool2d(2)
    MaxPool2d(2, stride 2)
    """

    formula = "max over windows"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)


class AvgPool2d(_Pool2d):
    """The mean of each window.

    >>> AvgPool2d(2)
    AvgPool2d(2, stride 2)
    """

    formula = "mean over windows"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding)


class _BatchNorm(Layer):
    formula = "(x − μ) / √(σ² + ε) · γ + β"
    ndims: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        name = type(self).__name__
        self.num_features = positive(num_features, "num_features", name)
        if not isinstance(momentum, (int, float)) or not 0.0 <= momentum <= 1.0:
            raise ValueError(f"{name}: momentum={momentum}; wanted a number, 0 to 1")
        self.eps = eps
        self.momentum = momentum
        one, zero = np.ones(num_features, np.float32), np.zeros(num_features, np.float32)
        self.weight = Parameter(one) if affine else None
        self.bias = Parameter(zero) if affine else None
        track = track_running_stats
        self.register_buffer("running_mean", Tensor(zero) if track else None)
        self.register_buffer("running_var", Tensor(one) if track else None)
        self.register_buffer("num_batches_tracked", Tensor(0) if track else None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape."""
        name = type(self).__name__
        if x.ndim not in self.ndims or x.shape[1] != self.num_features:
            wanted = " or ".join(f"(N, {self.num_features}{', ·' * (n - 2)})" for n in self.ndims)
            raise ValueError(f"{name}: input has shape {x.shape}; wanted {wanted}")
        running_mean, running_var = vars(self)["running_mean"], vars(self)["running_var"]
        if self.training and running_mean is not None:
            with recording(False):
                vars(self)["num_batches_tracked"] += 1
        return F.batch_norm(
            x,
            running_mean,
            running_var,
            self.weight,
            self.bias,
            self.training or running_mean is None,
            self.momentum,
            self.eps,
        )

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.num_features}"


class BatchNorm1d(_BatchNorm):
    """(x - μ)/√(σ² + ε)·γ + β for each of C features: (N, C) or (N, C, L).

    >>> BatchNorm1d(4)
    BatchNorm1d(4)  # weight (4,), bias (4,), 8 parameters
    """

    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """(x - μ)/√(σ² + ε)·γ + β for each of C channels: (N, C, H, W).

    >>> BatchNorm2d(4)
    BatchNorm2d(4)  # weight (4,), bias (4,), 8 parameters
    """

    ndims = (4,)


class LayerNorm(Layer):
    """(x - μ)/√(σ² + ε)·γ + β over the last dimensions.

    >>> LayerNorm(8)
    LayerNorm((8,))  # weight (8,), bias (8,), 16 parameters
    """

    formula = "(x − μ) / √(σ² + ε) · γ + β"

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        several = isinstance(normalized_shape, (tuple, list))
        sizes = normalized_shape if several else (normalized_shape,)
        self.normalized_shape = tuple(positive(n, "normalized_shape", "LayerNorm") for n in sizes)
        self.eps = eps
        shape = self.normalized_shape
        self.weight = Parameter(np.ones(shape, np.float32)) if elementwise_affine else None
        affine = elementwise_affine and bias
        self.bias = Parameter(np.zeros(shape, np.float32)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., *normalized_shape) -> the same shape."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.normalized_shape}"


class Dropout(Layer):
    """While training, 0 with probability p, else x/(1 - p).

    >>> Dropout(0.5).eval()(Tensor([1.0]))
    tensor([1.])
    """

    formula = "x · mask / (1 − p)"

    def __init__(self, p: float = 0.5, generator: Any = None) -> None:
        if not isinstance(p, (int, float, np.number)) or not 0.0 <= p <= 1.0:
            raise ValueError(f"Dropout: p={p!r}; wanted a probability, 0 to 1")
        self.p = p
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.dropout(x, self.p, self.training, self.generator)

    def extra_repr(self) -> str:
        """The probability."""
        return f"{self.p}"


class Flatten(Layer):
    """All dimensions from `start_dim` to `end_dim` as one: (N, ...) -> (N, ·).

    >>> Flatten()(Tensor([[[1.0], [2.0]]]))
    tensor([[1., 2.]])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, ·)."""
        return x.flatten(self.start_dim, self.end_dim)


class Identity(Layer):
    """x."""

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x


# --- activations: the functions as modules -----------------------------------------------------


class ReLU(Layer):
    """max(x, 0).

    >>> ReLU()(Tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.relu(x)


class LeakyReLU(Layer):
    """x where x > 0, else negative_slope·x."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.leaky_relu(x, self.negative_slope)


class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.sigmoid(x)


class LogSigmoid(Layer):
    """-log(1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.log_sigmoid(x)


class Softplus(Layer):
    """log(1 + exp(x))."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.softplus(x)


class Tanh(Layer):
    """tanh(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.tanh(x)


class GELU(Layer):
    """x·Φ(x)."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.gelu(x, self.approximate)


class SiLU(Layer):
    """x·sigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.silu(x)


class Softmax(Layer):
    """exp(z) / Σ exp(z) along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, z: Tensor) -> Tensor:
        """The same shape."""
        return F.softmax(z, self.dim)


class LogSoftmax(Layer):
    """z - log Σ exp(z) along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, z: Tensor) -> Tensor:
        """The same shape."""
        return F.log_softmax(z, self.dim)


# --- losses: the functions as modules, with their settings kept ----------------------------------


class _Loss(Layer):
    data = "input, target"

    def __init__(self, **settings: Any) -> None:
        for name in ("weight", "pos_weight"):
            if isinstance(settings.get(name), Tensor):
                self.register_buffer(name, settings.pop(name))
        check_reduction(settings.get("reduction", "mean"), type(self).__name__)
        self.settings = settings

    def _options(self) -> dict[str, Any]:
        buffers = {name: getattr(self, name) for name in self._buffer_names}
        return {**self.settings, **buffers}


class CrossEntropyLoss(_Loss):
    """-log softmax(z)[y], the mean: (N, C), (N,) -> (); see `functional.cross_entropy`.

    >>> CrossEntropyLoss()(Tensor([[0.0, 0.0]]), Tensor([1]))
    tensor(0.6931)
    """

    weights = ("weight",)

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        if weight is not None and np.ndim(weight) != 1:
            raise ValueError(
                f"CrossEntropyLoss: weight has shape {np.shape(weight)}; wanted (C,), one for each "
                "class. Logits and targets go to the module: CrossEntropyLoss()(logits, targets)"
            )
        super().__init__(
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """(N, C), (N,) -> ()."""
        return F.cross_entropy(input, target, **self._options())


class NLLLoss(_Loss):
    """-logp[y], the mean: (N, C), (N,) -> ()."""

    weights = ("weight",)

    def __init__(
        self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        if weight is not None and np.ndim(weight) != 1:
            raise ValueError(
                f"NLLLoss: weight has shape {np.shape(weight)}; wanted (C,), one weight for each "
                "class. Logits and targets go to the module: NLLLoss()(logits, targets)"
            )
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """(N, C), (N,) -> ()."""
        return F.nll_loss(input, target, **self._options())


class BCELoss(_Loss):
    """-(y·log p + (1 - y)·log(1 - p)), the mean."""

    weights = ("weight",)

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(weight=weight, reduction=reduction)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Probabilities of one shape -> ()."""
        return F.binary_cross_entropy(input, target, **self._options())


class BCEWithLogitsLoss(_Loss):
    """log(1 + exp(z)) - z·y, the mean."""

    weights = ("weight", "pos_weight")

    def __init__(
        self,
        weight: Tensor | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(weight=weight, reduction=reduction, pos_weight=pos_weight)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Logits and probabilities of one shape -> ()."""
        return F.binary_cross_entropy_with_logits(input, target, **self._options())


class MSELoss(_Loss):
    """(x - y)², the mean."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Two tensors of one shape -> ()."""
        return F.mse_loss(input, target, **self._options())


class L1Loss(_Loss):
    """|x - y|, the mean."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Two tensors of one shape -> ()."""
        return F.l1_loss(input, target, **self._options())


class HuberLoss(_Loss):
    """d²/2 near 0, linear from δ on; the mean."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction, delta=delta)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Two tensors of one shape -> ()."""
        return F.huber_loss(input, target, **self._options())


class KLDivLoss(_Loss):
    """p·(log p - log q), from log q and p."""

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        if reduction != "batchmean":
            check_reduction(reduction, "KLDivLoss")
        super().__init__(log_target=log_target)
        self.settings["reduction"] = reduction

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Two tensors of one shape -> ()."""
        return F.kl_div(input, target, **self._options())
