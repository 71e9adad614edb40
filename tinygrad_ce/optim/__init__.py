"""Optimisers and learning-rate schedules, with PyTorch's names."""

from typing import Any

from tinygrad_ce.absent import refuse
from tinygrad_ce.optim import lr_scheduler
from tinygrad_ce.optim.adam import Adam, AdamW
from tinygrad_ce.optim.adaptive import Adadelta, Adagrad, RMSprop
from tinygrad_ce.optim.lbfgs import LBFGS
from tinygrad_ce.optim.optimizer import Optimizer
from tinygrad_ce.optim.sgd import SGD

__all__ = [
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "lr_scheduler",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    refuse(__name__, name)
