"""Optimisers and learning-rate schedules, with PyTorch's names."""

from tinygrad_ce.optim import lr_scheduler
from tinygrad_ce.optim.optimizer import SGD, Adam, AdamW, Optimizer

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
