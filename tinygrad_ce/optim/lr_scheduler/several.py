"""Schedules that are made of others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.optim.lr_scheduler.base import LRScheduler, checked, wanted
from tinygrad_ce.optim.lr_scheduler.plateau import ReduceLROnPlateau
from tinygrad_ce.optim.optimizer import Optimizer


class Several(LRScheduler):
    """What the two have in common."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> None:
        name = type(self).__name__
        self._schedulers = list(schedulers)
        if not schedulers:
            raise ValueError(f"{name}: got no schedules; wanted a list of them")
        for i, one in enumerate(schedulers):
            if not isinstance(one, LRScheduler):
                raise TypeError(f"{name}: schedule {i} is {a_type(one)}")
            if isinstance(one, ReduceLROnPlateau):
                raise ValueError(
                    f"{name}: schedule {i} is a ReduceLROnPlateau, whose step() wants a metric; "
                    "call its step on its own"
                )
        self.optimizer = checked(schedulers[0].optimizer if optimizer is None else optimizer)
        if any(one.optimizer is not self.optimizer for one in schedulers):
            raise ValueError(f"{name}: the schedules belong to different optimisers; wanted one")

    def check(self) -> None:
        """The parts check themselves."""

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        state = super().state_dict()
        del state["_schedulers"]
        return {**state, "_schedulers": [one.state_dict() for one in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave: all of it, or none and an error."""
        own, before = self._schedulers, [{**vars(one)} for one in self._schedulers]
        saved = state_dict.get("_schedulers", ()) if isinstance(state_dict, Mapping) else ()
        try:
            if saved and len(saved) != len(own):
                raise ValueError(f"load_state_dict: {len(saved)} _schedulers; wanted {len(own)}")
            for one, state in zip(own, saved):
                one.load_state_dict(state)
            super().load_state_dict(state_dict)
        except (TypeError, ValueError):
            for one, held in zip(own, before):
                vars(one).update(held)
            raise
        self._schedulers = own


class SequentialLR(Several):
    """One schedule after the other: the next one begins at each of the milestones, at its epoch 0.

    All of them belong to one optimiser; there is one milestone less than schedules.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        super().__init__(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: {len(milestones)} milestones for {len(schedulers)} schedules; "
                "wanted one less than schedules"
            )
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        take_back(self._schedulers)
        first = self._schedulers[bisect_right(milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def check(self) -> None:
        """The number of an epoch."""
        wanted(self, "last_epoch", self.last_epoch, whole=True)

    def step(self) -> None:  # type: ignore[override]
        """One epoch is over."""
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[i]
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(Several):
    """All schedules at once: each changes the learning rate that the one before it has left."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        super().__init__(schedulers, optimizer)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def step(self) -> None:  # type: ignore[override]
        """One epoch is over."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def take_back(schedulers: Sequence[LRScheduler]) -> None:
    """Undo the first step that each schedule took when it was made."""
    for scheduler in schedulers:
        if isinstance(scheduler, Several):
            take_back(scheduler._schedulers)
        else:
            scheduler.last_epoch -= 1
