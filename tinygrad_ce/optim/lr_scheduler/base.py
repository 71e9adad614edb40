"""What all schedules share: the first learning rates, the epoch, saving."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from typing import Any

from tinygrad_ce.engine.frame import a_type, refuse_once
from tinygrad_ce.optim.optimizer import Optimizer, is_number

STEP_OUTSIDE = "Call it after the compiled function, which reads the learning rate anew each time"


class LRScheduler:
    """Sets the learning rate of every group after each epoch.

    A subclass says how, by one of these:

    - `rate(first, epoch)`: from the first learning rate and the number of epochs;
    - `onward(lr, first, epoch)`: from the present one, so that a rate set by hand in between lasts;
    - `get_lr()`: a list of them, one for each group, from `self.base_lrs` and `self.last_epoch`.

    Its constructor ends with `super().__init__(optimizer, last_epoch)`, which makes the first step.
    The groups of the optimiser remember their first rate as `"initial_lr"`; with a last_epoch of 0
    or more, to go on with a training, it has to be there.

    >>> from tinygrad_ce import optim, zeros
    >>> class Halving(LRScheduler):
    ...     def rate(self, first, epoch):
    ...         return first * 0.5**epoch
    >>> optimizer = optim.SGD([zeros(1, requires_grad=True)], lr=0.5)
    >>> scheduler = Halving(optimizer)
    >>> optimizer.step()
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = checked(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__}: last_epoch={last_epoch}, but group {i} has no "
                    "'initial_lr' to go on from; load the state of the optimiser first"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.check()
        self._initial_step()

    def _initial_step(self) -> None:
        """Set the learning rates of the first epoch."""
        self._step_count = 0
        self._is_initial = True
        self._get_lr_called_within_step = False  # in the files of PyTorch
        self.step()
        self._is_initial = False

    def check(self) -> None:
        """Refuse settings that make no sense, given or loaded."""
        count = len(self.optimizer.param_groups)
        if not (isinstance(self.base_lrs, (list, tuple)) and len(self.base_lrs) == count):
            raise ValueError(
                f"{type(self).__name__}: base_lrs={self.base_lrs}; wanted {count}, one a group"
            )
        for lr in self.base_lrs:
            wanted(self, "base_lrs", lr)
        wanted(self, "last_epoch", self.last_epoch, -1, whole=True)

    def rate(self, first: float, epoch: int) -> float:
        """The learning rate after `epoch` steps of the schedule."""
        raise TypeError(f"{type(self).__name__} has no rate(first, epoch) and no get_lr() method")

    def onward(self, lr: float, first: float, epoch: int) -> float:
        """The learning rate after `epoch` steps, from the one before the last of them."""
        return self.rate(first, epoch)

    def get_lr(self) -> list[float]:
        """The learning rates that come next."""
        groups = self.optimizer.param_groups
        later = [group["lr"] for group in groups[len(self.base_lrs) :]]  # added since
        firsts = [*self.base_lrs, *later]
        return [self.onward(g["lr"], first, self.last_epoch) for g, first in zip(groups, firsts)]

    def step(self, epoch: int | None = None) -> None:
        """One epoch is over. (`epoch` is deprecated: it goes to that epoch.)

        Warns where the optimiser has not taken a step yet: the first learning rate is lost then.
        """
        refuse_once(f"{type(self).__name__}.step() is called", STEP_OUTSIDE)
        if self._step_count == 1 and self.optimizer.stepped is False:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first "
                "learning rate of the schedule is skipped. Call `optimizer.step()` first",
                stacklevel=2,
            )
        if epoch is not None:
            warnings.warn(
                "The epoch parameter in `scheduler.step()` is deprecated; write step()",
                stacklevel=2,
            )
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        """Go on by one epoch, or to this one."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        by_formula = epoch is not None and type(self).rate is not LRScheduler.rate
        self._set(
            [self.rate(first, self.last_epoch) for first in self.base_lrs]
            if by_formula
            else self.get_lr()
        )

    def _set(self, rates: list[float]) -> None:
        """Give each group its learning rate."""
        for group, lr in zip(self.optimizer.param_groups, rates):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group after the last step."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave: all of it, or none and an error."""
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: got {a_type(state_dict)}; wanted a dict")
        own = self.state_dict().keys()
        if unknown := sorted(map(str, state_dict.keys() - own)):
            raise ValueError(f"load_state_dict: {unknown} does not belong to this schedule")
        if missing := sorted(own - state_dict.keys()):
            raise ValueError(f"load_state_dict: {missing} is missing")
        trial = object.__new__(type(self))
        vars(trial).update(vars(self), **copy.deepcopy(dict(state_dict)))
        trial.check()
        vars(self).update(vars(trial))


def checked(optimizer: Any) -> Optimizer:
    """The optimiser, if it is one."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"scheduler: got {type(optimizer).__name__}; wanted an optimiser")
    return optimizer


def wanted(
    owner: Any,
    name: str,
    value: Any,
    least: float = 0,
    whole: bool = False,
    most: float = math.inf,
) -> None:
    """A finite number of at least `least` and at most `most`, or an error that names it."""
    inside = is_number(value) and least <= value <= most and value < math.inf
    if not inside or (whole and value != int(value)):
        kind = "an integer" if whole else "a number"
        limit = "" if most == math.inf else f" and at most {most}"
        raise ValueError(
            f"{type(owner).__name__}: {name}={value!r}; wanted {kind} of at least {least}{limit}"
        )


def one_each(name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """A setting for each group: the same for all, or a list with one for each."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name}: got {len(value)}; wanted {count}, one for each group")
    return list(value)
