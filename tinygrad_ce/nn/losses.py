"""Losses: the functions as modules, with their settings kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.nn.functional.losses import check_reduction
from tinygrad_ce.nn.layer import Layer


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
