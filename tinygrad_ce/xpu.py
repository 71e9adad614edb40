"""An XPU is not here: `is_available()` says so."""

from typing import Any

from tinygrad_ce.absent import not_called
from tinygrad_ce.accelerator import device_count as device_count, is_available as is_available
from tinygrad_ce.cuda import (
    empty_cache as empty_cache,
    manual_seed as manual_seed,
    manual_seed_all as manual_seed_all,
)

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed", "manual_seed_all"]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    return not_called(__name__, name, "current_device get_device_name set_device synchronize")
