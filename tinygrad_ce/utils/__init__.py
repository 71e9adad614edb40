"""Helpers around training: data, the datasets and the loaders that cut them into batches."""

from tinygrad_ce.utils import data

__all__ = ["data"]
