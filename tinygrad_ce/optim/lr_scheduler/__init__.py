"""Schedules for the learning rate: call `scheduler.step()` once after each epoch."""

from typing import Any

from tinygrad_ce.absent import refuse
from tinygrad_ce.optim.lr_scheduler.base import LRScheduler
from tinygrad_ce.optim.lr_scheduler.cycle import OneCycleLR
from tinygrad_ce.optim.lr_scheduler.formulas import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from tinygrad_ce.optim.lr_scheduler.plateau import ReduceLROnPlateau
from tinygrad_ce.optim.lr_scheduler.several import ChainedScheduler, SequentialLR

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


def __dir__() -> list[str]:
    return __all__


_LRScheduler = LRScheduler  # what it was called before


def __getattr__(name: str) -> Any:
    refuse(__name__, name)
