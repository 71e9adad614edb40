"""One cycle of learning rates: up to a large one, and down to almost nothing."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_ce.optim.lr_scheduler.base import LRScheduler, checked, one_each, wanted
from tinygrad_ce.optim.optimizer import Optimizer

UP = ("initial_lr", "max_lr", "max_momentum", "base_momentum")
DOWN = ("max_lr", "min_lr", "base_momentum", "max_momentum")
BACK = ("max_lr", "initial_lr", "base_momentum", "max_momentum")
OUT = ("initial_lr", "min_lr", "max_momentum", "max_momentum")
PARTS = ("start_lr", "end_lr", "start_momentum", "end_momentum")


class OneCycleLR(LRScheduler):
    """From max_lr/div_factor up to max_lr, then down to that start over final_div_factor.

    One step after each batch: `total_steps` of them, or `epochs` times `steps_per_epoch`; a share
    of `pct_start` goes up. Both ways follow a cosine, or a line where `anneal_strategy` is
    "linear"; `three_phase` goes down to the start as fast as it went up, and on from there.
    Momentum, or β₁, goes the other way, from `max_momentum` down to `base_momentum` and back,
    unless `cycle_momentum=False`: a compiled step is one program then, and else one for each
    momentum (Smith and Topin, 2019).

    Raises ValueError for a step after the last one.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        groups = checked(optimizer).param_groups
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: wanted total_steps, or epochs and steps_per_epoch")
            wanted(self, "epochs", epochs, 1, whole=True)
            wanted(self, "steps_per_epoch", steps_per_epoch, 1, whole=True)
            total_steps = epochs * steps_per_epoch
        self.total_steps = total_steps
        wanted(self, "total_steps", total_steps, 1, whole=True)
        wanted(self, "pct_start", pct_start, most=1)
        self._schedule_phases = phases(total_steps, pct_start, three_phase)
        self._anneal_func_type = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.use_beta1 = "betas" in optimizer.defaults
        if cycle_momentum and not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ValueError(
                f"OneCycleLR: {type(optimizer).__name__} has no momentum and no betas to cycle; "
                "write cycle_momentum=False"
            )
        tops = one_each("OneCycleLR: max_lr", max_lr, optimizer)
        lows, highs = (
            one_each(f"OneCycleLR: {name}", value, optimizer)
            for name, value in (("base_momentum", base_momentum), ("max_momentum", max_momentum))
        )
        for group, top, low, high in zip(groups, tops, lows, highs):
            if last_epoch == -1:
                start = top / div_factor
                group.update(initial_lr=start, max_lr=top, min_lr=start / final_div_factor)
                if cycle_momentum:
                    group.update(max_momentum=high, base_momentum=low)
        super().__init__(optimizer, last_epoch)

    def check(self) -> None:
        """Also a number of steps and a strategy that is known."""
        super().check()
        wanted(self, "total_steps", self.total_steps, 1, whole=True)
        if self._anneal_func_type not in ("cos", "linear"):
            raise ValueError(
                f'OneCycleLR: anneal_strategy={self._anneal_func_type!r}; wanted "cos" or "linear"'
            )

    def get_lr(self) -> list[float]:
        """The learning rates of this step; sets the momentum."""
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"OneCycleLR: step {self.last_epoch} of {self.total_steps}: call step() once after "
                "each batch, and give the number of all batches as total_steps"
            )
        return [self.rate_of(group) for group in self.optimizer.param_groups]

    def rate_of(self, group: dict[str, Any]) -> float:
        """The learning rate of one group; sets its momentum."""
        start = 0.0
        for phase in self._schedule_phases:
            end = phase["end_step"]
            if self.last_epoch <= end or phase is self._schedule_phases[-1]:
                break
            start = end
        share = (self.last_epoch - start) / (end - start)
        if self.cycle_momentum:
            momentum = self.between(
                group[phase["start_momentum"]], group[phase["end_momentum"]], share
            )
            if self.use_beta1:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum
        return self.between(group[phase["start_lr"]], group[phase["end_lr"]], share)

    def between(self, start: float, end: float, share: float) -> float:
        """A number on the way from start to end."""
        if self._anneal_func_type == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)


def phases(total: int, pct_start: float, three: bool) -> list[dict[str, Any]]:
    """Where each stretch ends, and the names of what it goes from and to."""
    up = float(pct_start * total) - 1
    back = [(float(2 * pct_start * total) - 2, BACK), (total - 1, OUT)]
    ends = [(up, UP), *(back if three else [(total - 1, DOWN)])]
    return [{"end_step": end, **dict(zip(PARTS, names))} for end, names in ends]
