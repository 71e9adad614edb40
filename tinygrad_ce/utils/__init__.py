"""Helpers around training: data, the datasets and the loaders that cut them into batches."""

from typing import Any

from tinygrad_ce.utils import data

__all__ = ["data"]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    from tinygrad_ce.absent import refuse

    refuse(__name__, name)
