"""Schedules for the learning rate: call `scheduler.step()` once after each epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from tinygrad_ce.engine.frame import refuse_once
from tinygrad_ce.optim.optimizer import Optimizer, is_number

STEP_OUTSIDE = "Call it after the compiled function, which reads the learning rate anew each time"


class LRScheduler:
    """Sets the learning rate of every group after each epoch.

    A subclass says how: `rate(first, epoch)` from the first one and the number of epochs, or
    `onward(lr, first, epoch)` from the present one, so that a rate set by hand in between lasts,
    as with the schedules here.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"scheduler: got {type(optimizer).__name__}; wanted an optimiser")
        self.optimizer = optimizer
        self.base_lrs: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        LRScheduler.check(self)

    def check(self) -> None:
        """Refuse settings that make no sense, given or loaded."""
        count = len(self.optimizer.param_groups)
        if not (isinstance(self.base_lrs, (list, tuple)) and len(self.base_lrs) == count):
            raise ValueError(
                f"{type(self).__name__}: base_lrs={self.base_lrs}; wanted {count}, one a group"
            )
        for lr in self.base_lrs:
            wanted(self, "base_lrs", lr)
        wanted(self, "last_epoch", self.last_epoch, whole=True)

    def rate(self, first: float, epoch: int) -> float:
        """The learning rate after `epoch` steps of the schedule."""
        raise TypeError(f"{type(self).__name__} has no rate(first, epoch) method")

    def onward(self, lr: float, first: float, epoch: int) -> float:
        """The learning rate after `epoch` steps, from the one before the last of them."""
        return self.rate(first, epoch)

    def step(self) -> None:
        """One epoch is over."""
        refuse_once(f"{type(self).__name__}.step() is called", STEP_OUTSIDE)
        self.last_epoch += 1
        for group, first in zip(self.optimizer.param_groups, self.base_lrs):
            group["lr"] = self.onward(group["lr"], first, self.last_epoch)

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave: all of it, or none and an error."""
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: got a {type(state_dict).__name__}; wanted a dict")
        own = vars(self).keys() - {"optimizer"}
        if unknown := sorted(map(str, state_dict.keys() - own)):
            raise ValueError(f"load_state_dict: {unknown} does not belong to this schedule")
        if missing := sorted(own - state_dict.keys()):
            raise ValueError(f"load_state_dict: {missing} is missing")
        trial = object.__new__(type(self))
        vars(trial).update(vars(self), **copy.deepcopy(dict(state_dict)))
        trial.check()
        vars(self).update(vars(trial))


def wanted(owner: Any, name: str, value: Any, least: float = 0, whole: bool = False) -> None:
    """A finite number of at least `least`, or an error that names it."""
    if not (is_number(value) and least <= value < math.inf) or (whole and value != int(value)):
        kind = "an integer" if whole else "a number"
        raise ValueError(
            f"{type(owner).__name__}: {name}={value!r}; wanted {kind} of at least {least}"
        )


class StepLR(LRScheduler):
    """lr₀·γ^⌊epoch/step_size⌋: times γ every `step_size` epochs, whatever it is then."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        self.step_size = step_size
        self.gamma = gamma
        self.check()

    def check(self) -> None:
        """Also step_size ≥ 1 and γ ≥ 0."""
        super().check()
        wanted(self, "step_size", self.step_size, 1, whole=True)
        wanted(self, "gamma", self.gamma)

    def onward(self, lr: float, first: float, epoch: int) -> float:
        """lr·γ where `epoch` is a multiple of step_size, else lr."""
        return lr if epoch % self.step_size else lr * self.gamma


class CosineAnnealingLR(LRScheduler):
    """η + (lr₀ - η)(1 + cos(π·epoch/T))/2: from lr₀ down to η = eta_min in T_max epochs, and back.

    A rate set by hand keeps its share of the way: lr - η is scaled by what the curve is scaled by.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(optimizer)
        self.T_max = T_max
        self.eta_min = eta_min
        self.check()

    def check(self) -> None:
        """Also T_max ≥ 1 and η ≥ 0."""
        super().check()
        wanted(self, "T_max", self.T_max, 1, whole=True)
        wanted(self, "eta_min", self.eta_min)

    def onward(self, lr: float, first: float, epoch: int) -> float:
        """η + (lr - η)(1 + cos(π·epoch/T))/(1 + cos(π·(epoch - 1)/T)); up from η as lr₀ would."""
        if epoch % (2 * self.T_max) == (self.T_max + 1) % (2 * self.T_max):
            return lr + (first - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        now, before = (1 + math.cos(math.pi * e / self.T_max) for e in (epoch, epoch - 1))
        return now / before * (lr - self.eta_min) + self.eta_min


class ReduceLROnPlateau:
    """lr·factor when a metric has not improved for more than `patience` epochs.

    Better means smaller (mode="min") or larger ("max") by `threshold`·|best|; PyTorch takes
    best itself and so calls a slightly worse metric better where metrics are negative. A change
    of the learning rate by `eps` or less is not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        *,
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"scheduler: got {type(optimizer).__name__}; wanted an optimiser")
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.eps = eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.check()

    def check(self) -> None:
        """Refuse settings that make no sense, given or loaded."""
        if self.mode not in ("min", "max"):
            raise ValueError(f'ReduceLROnPlateau: mode={self.mode!r}; wanted "min" or "max"')
        if not (is_number(self.factor) and 0.0 < self.factor < 1.0):
            raise ValueError(f"ReduceLROnPlateau: factor={self.factor!r}; wanted between 0 and 1")
        for name in ("patience", "cooldown", "num_bad_epochs", "cooldown_counter"):
            wanted(self, name, getattr(self, name), whole=True)
        for name in ("threshold", "min_lr", "eps"):
            wanted(self, name, getattr(self, name))
        if not is_number(self.best) or math.isnan(self.best):
            raise ValueError(f"ReduceLROnPlateau: best={self.best!r}; wanted a number")

    def step(self, metrics: Any) -> None:
        """One epoch is over, with this value of the metric."""
        refuse_once("ReduceLROnPlateau.step() is called", STEP_OUTSIDE)
        value = float(metrics)
        margin = -self.threshold if self.mode == "min" else self.threshold
        limit = self.best + abs(self.best) * margin if math.isfinite(self.best) else self.best
        if value < limit if self.mode == "min" else value > limit:
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group in self.optimizer.param_groups:
                lower = max(group["lr"] * self.factor, self.min_lr)
                if group["lr"] - lower > self.eps:
                    group["lr"] = lower
            self.num_bad_epochs, self.cooldown_counter = 0, self.cooldown

    get_last_lr = LRScheduler.get_last_lr
    state_dict = LRScheduler.state_dict
    load_state_dict = LRScheduler.load_state_dict
