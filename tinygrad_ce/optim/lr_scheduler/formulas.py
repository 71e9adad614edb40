"""Schedules that are a formula of the epoch."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any

from tinygrad_ce.engine.frame import a_type, refuse_once
from tinygrad_ce.optim.lr_scheduler.base import (
    STEP_OUTSIDE,
    LRScheduler,
    checked,
    one_each,
    wanted,
)
from tinygrad_ce.optim.optimizer import Optimizer


class StepLR(LRScheduler):
    """lr₀·γ^⌊epoch/step_size⌋: times γ every `step_size` epochs, whatever it is then."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def check(self) -> None:
        """Also step_size ≥ 1 and γ ≥ 0."""
        super().check()
        wanted(self, "step_size", self.step_size, 1, whole=True)
        wanted(self, "gamma", self.gamma)

    def onward(self, lr: float, first: float, epoch: int) -> float:
        """lr·γ where `epoch` is a multiple of step_size, else lr."""
        return lr if epoch == 0 or epoch % self.step_size else lr * self.gamma

    def rate(self, first: float, epoch: int) -> float:
        """lr₀·γ^⌊epoch/step_size⌋."""
        return float(first * self.gamma ** (epoch // self.step_size))


class MultiStepLR(LRScheduler):
    """Times γ at each of the milestones, which are epochs; twice where one is there twice."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones: Counter[int] = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def check(self) -> None:
        """Also epochs as milestones and γ ≥ 0."""
        super().check()
        wanted(self, "gamma", self.gamma)
        if not isinstance(self.milestones, Mapping):
            raise ValueError(f"MultiStepLR: milestones={self.milestones!r}; wanted a Counter")
        if not all(str(epoch).isdecimal() for epoch in self.milestones):
            raise ValueError(f"MultiStepLR: milestones={[*self.milestones]}; wanted epochs")
        self.milestones = Counter({int(epoch): n for epoch, n in self.milestones.items()})

    def onward(self, lr: float, first: float, epoch: int) -> float:
        """lr·γ where `epoch` is a milestone, else lr."""
        return lr * self.gamma ** self.milestones[epoch] if epoch in self.milestones else lr

    def rate(self, first: float, epoch: int) -> float:
        """lr₀·γⁿ, n milestones being over."""
        return float(first * self.gamma ** bisect_right(sorted(self.milestones.elements()), epoch))


class ConstantLR(LRScheduler):
    """lr₀·factor for `total_iters` epochs, then lr₀."""

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def check(self) -> None:
        """Also 0 ≤ factor ≤ 1."""
        super().check()
        wanted(self, "factor", self.factor, most=1)
        wanted(self, "total_iters", self.total_iters, whole=True)

    def onward(self, lr: float, first: float, epoch: int) -> float:
        """lr·factor at first, lr/factor after total_iters epochs, else lr."""
        if epoch == 0:
            return lr * self.factor
        if epoch != self.total_iters:
            return lr
        return lr * (1.0 / self.factor) if self.factor else first

    def rate(self, first: float, epoch: int) -> float:
        """lr₀·factor or lr₀."""
        return first * (self.factor + (epoch >= self.total_iters) * (1 - self.factor))


class LinearLR(LRScheduler):
    """lr₀ times a factor that goes from `start_factor` to `end_factor` in `total_iters` epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def check(self) -> None:
        """Also 0 < start_factor ≤ 1 and 0 ≤ end_factor ≤ 1."""
        super().check()
        wanted(self, "start_factor", self.start_factor, math.ulp(0.0), most=1)
        wanted(self, "end_factor", self.end_factor, most=1)
        wanted(self, "total_iters", self.total_iters, whole=True)

    def onward(self, lr: float, first: float, epoch: int) -> float:
        """lr times factor(epoch)/factor(epoch - 1)."""
        if epoch == 0:
            return lr * self.start_factor
        if self._is_initial or epoch > self.total_iters:
            return lr
        way = self.end_factor - self.start_factor
        return lr * (1.0 + way / (self.total_iters * self.start_factor + (epoch - 1) * way))

    def rate(self, first: float, epoch: int) -> float:
        """lr₀·(start + (end - start)·epoch/total)."""
        way = (self.end_factor - self.start_factor) * min(self.total_iters, epoch)
        return first * (self.start_factor + way / max(self.total_iters, 1))


class ExponentialLR(LRScheduler):
    """lr₀·γ^epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def check(self) -> None:
        """Also γ ≥ 0."""
        super().check()
        wanted(self, "gamma", self.gamma)

    def onward(self, lr: float, first: float, epoch: int) -> float:
        """lr·γ."""
        return lr if self._is_initial else lr * self.gamma

    def rate(self, first: float, epoch: int) -> float:
        """lr₀·γ^epoch."""
        return float(first * self.gamma**epoch)


class PolynomialLR(LRScheduler):
    """lr₀·(1 - epoch/total_iters)^power: down to 0."""

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def check(self) -> None:
        """Also total_iters ≥ 1 and power ≥ 0."""
        super().check()
        wanted(self, "total_iters", self.total_iters, 1, whole=True)
        wanted(self, "power", self.power)

    def onward(self, lr: float, first: float, epoch: int) -> float:
        """lr times factor(epoch)/factor(epoch - 1)."""
        if self._is_initial or epoch > self.total_iters:
            return lr
        now, before = (1.0 - e / self.total_iters for e in (epoch, epoch - 1))
        return float(lr * (now / before) ** self.power)

    def rate(self, first: float, epoch: int) -> float:
        """lr₀·(1 - epoch/total)^power."""
        return float(first * (1.0 - min(self.total_iters, epoch) / self.total_iters) ** self.power)


class CosineAnnealingLR(LRScheduler):
    """η + (lr₀ - η)(1 + cos(π·epoch/T))/2: from lr₀ down to η = eta_min in T_max epochs, and back.

    A rate set by hand keeps its share of the way: lr - η is scaled by what the curve is scaled by.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def check(self) -> None:
        """Also T_max ≥ 1 and η ≥ 0."""
        super().check()
        wanted(self, "T_max", self.T_max, 1, whole=True)
        wanted(self, "eta_min", self.eta_min)

    def onward(self, lr: float, first: float, epoch: int) -> float:
        """η + (lr - η)(1 + cos(π·epoch/T))/(1 + cos(π·(epoch - 1)/T)); up from η as lr₀ would."""
        if self._is_initial:
            return lr
        if (epoch - 1 - self.T_max) % (2 * self.T_max) == 0:
            return lr + (first - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        now, before = (1 + math.cos(math.pi * e / self.T_max) for e in (epoch, epoch - 1))
        return now / before * (lr - self.eta_min) + self.eta_min

    def rate(self, first: float, epoch: int) -> float:
        """η + (lr₀ - η)(1 + cos(π·epoch/T))/2."""
        way = (first - self.eta_min) * (1 + math.cos(math.pi * epoch / self.T_max))
        return self.eta_min + way / 2


class CosineAnnealingWarmRestarts(LRScheduler):
    """η + (lr₀ - η)(1 + cos(π·t/T))/2, t from 0 up to T = T_0, then anew with T·T_mult.

    `step(epoch)` goes to any time, which need not be whole: `step(epoch + batch / batches)`
    (Loshchilov and Hutter, 2017).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def check(self) -> None:
        """Also T_0 ≥ 1 and T_mult ≥ 1."""
        super().check()
        for name in ("T_0", "T_i", "T_mult"):
            wanted(self, name, getattr(self, name), 1, whole=True)
        wanted(self, "T_cur", self.T_cur, -1)
        wanted(self, "eta_min", self.eta_min)

    def onward(self, lr: float, first: float, epoch: int) -> float:
        """η + (lr₀ - η)(1 + cos(π·t/T))/2."""
        way = (first - self.eta_min) * (1 + math.cos(math.pi * self.T_cur / self.T_i))
        return self.eta_min + way / 2

    def step(self, epoch: float | None = None) -> None:
        """Go on by one epoch, or to this time."""
        refuse_once(f"{type(self).__name__}.step() is called", STEP_OUTSIDE)
        if epoch is None and self.last_epoch >= 0:
            self.last_epoch += 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            time = 0 if epoch is None else epoch
            wanted(self, "epoch", time)
            self.last_epoch = math.floor(time)
            self.T_cur, self.T_i = self.place(time)
        self._set(self.get_lr())

    def place(self, time: float) -> tuple[float, int]:
        """How much of its period is over at this time, and how long that is."""
        if time < self.T_0:
            return time, self.T_0
        if self.T_mult == 1:
            return time % self.T_0, self.T_i
        n = int(math.log(time / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
        start = self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
        return time - start, self.T_0 * self.T_mult**n


class LambdaLR(LRScheduler):
    """lr₀·f(epoch), with one function `lr_lambda` for all groups or a list with one for each.

    Functions are not saved; the attributes of an object that can be called are.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = one_each("LambdaLR: lr_lambda", lr_lambda, checked(optimizer))
        super().__init__(optimizer, last_epoch)

    def check(self) -> None:
        """Also functions."""
        super().check()
        for f in self.lr_lambdas:
            if not callable(f):
                raise TypeError(f"LambdaLR: lr_lambda is {a_type(f)}; wanted a function")

    def get_lr(self) -> list[float]:
        """lr₀·f(epoch) for each group."""
        return [first * f(self.last_epoch) for f, first in zip(self.lr_lambdas, self.base_lrs)]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser and functions."""
        state = super().state_dict()
        del state["lr_lambdas"]
        saved = [
            None if isinstance(f, FunctionType) else {**getattr(f, "__dict__", {})}
            for f in self.lr_lambdas
        ]
        return {**state, "lr_lambdas": saved}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave: all of it, or none and an error."""
        own = self.lr_lambdas
        saved = state_dict.get("lr_lambdas") or [] if isinstance(state_dict, Mapping) else []
        if len(saved) not in (0, len(own)):
            raise ValueError(f"load_state_dict: {len(saved)} lr_lambdas; wanted {len(own)}")
        super().load_state_dict({**state_dict, "lr_lambdas": own} if saved else state_dict)
        self.lr_lambdas = own
        for f, attributes in zip(own, saved):
            if attributes:
                vars(f).update(attributes)
