"""A schedule that looks at a metric."""

from __future__ import annotations

import math
import warnings
from typing import Any

from tinygrad_ce.engine.frame import refuse_once
from tinygrad_ce.optim.lr_scheduler.base import (
    STEP_OUTSIDE,
    LRScheduler,
    checked,
    one_each,
    wanted,
)
from tinygrad_ce.optim.optimizer import Optimizer, is_number


class ReduceLROnPlateau(LRScheduler):
    """lr·factor when a metric has not improved for more than `patience` epochs.

    Better means smaller (mode="min") or larger ("max") by `threshold`·|best|, or by `threshold`
    where `threshold_mode` is "abs"; PyTorch takes best itself and so calls a slightly worse metric
    better where metrics are negative. After a change `cooldown` epochs are not counted. No rate
    goes below `min_lr`, a number or a list with one for each group, and a change by `eps` or less
    is not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        self.factor = factor
        self.optimizer = checked(optimizer)
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.min_lrs = one_each("ReduceLROnPlateau: min_lr", min_lr, optimizer)
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self.check()

    def check(self) -> None:
        """Refuse settings that make no sense, given or loaded."""
        for name, known in (("mode", ("min", "max")), ("threshold_mode", ("rel", "abs"))):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(
                    f'ReduceLROnPlateau: {name}={value!r}; wanted "{known[0]}" or "{known[1]}"'
                )
        if not (is_number(self.factor) and 0.0 < self.factor < 1.0):
            raise ValueError(f"ReduceLROnPlateau: factor={self.factor!r}; wanted between 0 and 1")
        for name in ("patience", "cooldown", "num_bad_epochs", "cooldown_counter", "last_epoch"):
            wanted(self, name, getattr(self, name), whole=True)
        for name in ("threshold", "eps"):
            wanted(self, name, getattr(self, name))
        for least in self.min_lrs if isinstance(self.min_lrs, (list, tuple)) else [self.min_lrs]:
            wanted(self, "min_lrs", least)
        if not is_number(self.best) or math.isnan(self.best):
            raise ValueError(f"ReduceLROnPlateau: best={self.best!r}; wanted a number")

    def is_better(self, value: float) -> bool:
        """Whether the metric has improved."""
        sign = -1.0 if self.mode == "min" else 1.0
        margin = sign * self.threshold
        if not math.isfinite(self.best):
            limit = self.best
        else:
            limit = self.best + margin * (abs(self.best) if self.threshold_mode == "rel" else 1.0)
        return value < limit if self.mode == "min" else value > limit

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """One epoch is over, with this value of the metric. (`epoch` is deprecated.)"""
        refuse_once("ReduceLROnPlateau.step() is called", STEP_OUTSIDE)
        if epoch is not None:
            warnings.warn(
                "The epoch parameter in `scheduler.step()` is deprecated; write step(metrics)",
                stacklevel=2,
            )
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        value = float(metrics)
        if self.is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if self.num_bad_epochs > self.patience:
            rates = self.reduced(rates)
            self.num_bad_epochs, self.cooldown_counter = 0, self.cooldown
        self._set(rates)

    def reduced(self, rates: list[float]) -> list[float]:
        """Each learning rate times the factor, where that changes it."""
        if len(rates) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise RuntimeError(
                    f"ReduceLROnPlateau: {len(rates)} groups and {len(self.min_lrs)} min_lrs; set "
                    "scheduler.min_lrs after add_param_group"
                )
            self.min_lrs = [self.default_min_lr] * len(rates)
        lower = [max(lr * self.factor, least) for lr, least in zip(rates, self.min_lrs)]
        return [new if lr - new > self.eps else lr for lr, new in zip(rates, lower)]
