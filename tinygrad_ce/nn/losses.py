"""Losses: the functions as modules, with their settings kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce import creation
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.nn.functional.reduction import reduction_of
from tinygrad_ce.nn.layer import Layer


class _Loss(Layer):
    """A loss: its function, called with the settings that were given."""

    data = "input, target"
    reductions: tuple[str, ...] = ()  # that it knows besides the three

    def __init__(
        self, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        name = type(self).__name__
        self.reduction = reduction_of(size_average, reduce, reduction, name, *self.reductions)


class _WeightedLoss(_Loss):
    """A loss with a weight for each class, or for each element: a buffer."""

    weights: tuple[str, ...] = ("weight",)
    weight: Any

    def __init__(
        self, weight: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self._keep("weight", weight)

    def _keep(self, name: str, weight: Any) -> None:
        given = weight is None or isinstance(weight, Tensor)
        self.register_buffer(name, weight if given else creation.tensor(weight))


def class_weight(weight: Any, name: str) -> Any:
    """Weights of classes: one dimension, or logits have been given in their place."""
    if weight is not None and np.ndim(weight) != 1:
        raise ValueError(
            f"{name}: weight has shape {np.shape(weight)}; wanted (C,), one for each "
            f"class. Logits and targets go to the module: {name}()(logits, targets)"
        )
    return weight


class CrossEntropyLoss(_WeightedLoss):
    """-log softmax(z)[y], the mean: (N, C), (N,) -> (); see `functional.cross_entropy`.

    >>> from tinygrad_ce import tensor
    >>> CrossEntropyLoss()(tensor([[0.0, 0.0]]), tensor([1]))
    tensor(0.6931)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        weight = class_weight(weight, "CrossEntropyLoss")
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """(N, C), (N,) -> ()."""
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_WeightedLoss):
    """-logp[y], the mean: (N, C), (N,) -> ()."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(class_weight(weight, "NLLLoss"), size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """(N, C), (N,) -> ()."""
        return F.nll_loss(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )


class BCELoss(_WeightedLoss):
    """-(y·log p + (1 - y)·log(1 - p)), the mean."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Probabilities of one shape -> ()."""
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """log(1 + exp(z)) - z·y, the mean."""

    weights = ("weight", "pos_weight")
    pos_weight: Any

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self._keep("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Logits and probabilities of one shape -> ()."""
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class MSELoss(_Loss):
    """(x - y)², the mean."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Two tensors of one shape -> ()."""
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|x - y|, the mean."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Two tensors of one shape -> ()."""
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """d²/2β near 0, |d| - β/2 from β on; the mean."""

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Two tensors of one shape -> ()."""
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """d²/2 near 0, linear from δ on; the mean."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Two tensors of one shape -> ()."""
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class KLDivLoss(_Loss):
    """p·(log p - log q), from log q and p."""

    reductions = ("batchmean",)

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Two tensors of one shape -> ()."""
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class CosineEmbeddingLoss(_Loss):
    """1 - cos(a, b) where y = 1, max(cos(a, b) - margin, 0) where y = -1; the mean."""

    data = "input1, input2, target"

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """(N, D), (N, D), (N,) -> ()."""
        return F.cosine_embedding_loss(
            input1, input2, target, self.margin, reduction=self.reduction
        )


class TripletMarginLoss(_Loss):
    """max(‖a - p‖ - ‖a - n‖ + margin, 0), the mean."""

    data = "anchor, positive, negative"

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        if margin <= 0:
            raise ValueError(f"TripletMarginLoss: margin={margin}; wanted a positive number")
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Three times (N, D) -> ()."""
        return F.triplet_margin_loss(
            anchor,
            positive,
            negative,
            self.margin,
            self.p,
            self.eps,
            self.swap,
            reduction=self.reduction,
        )
