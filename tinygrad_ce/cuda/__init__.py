"""CUDA is not here: `is_available()` says so, and only what would need it raises RuntimeError."""

from typing import Any

from tinygrad_ce.absent import not_called
from tinygrad_ce.cuda import amp as amp

__all__ = ["amp", "device_count", "empty_cache", "is_available", "is_bf16_supported",
           "is_initialized", "manual_seed", "manual_seed_all", "max_memory_allocated",
           "max_memory_reserved", "memory_allocated", "memory_reserved"]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


NAMES = """
    current_device current_stream default_stream device Event get_device_capability get_device_name
    get_device_properties get_rng_state get_rng_state_all ipc_collect mem_get_info memory_summary
    reset_peak_memory_stats set_device set_rng_state set_rng_state_all stream Stream synchronize
"""


def is_available() -> bool:
    """No.

    >>> is_available(), device_count()
    (False, 0)
    """
    return False


is_initialized = is_bf16_supported = is_available


def device_count() -> int:
    """None of them."""
    return 0


def manual_seed(seed: int) -> None:
    """Seed what is not here: nothing to do."""


manual_seed_all = manual_seed


def empty_cache() -> None:
    """Free what is not here: nothing to do."""


def memory_allocated(device: Any = None) -> int:
    """No bytes."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def __getattr__(name: str) -> Any:
    return not_called(__name__, name, NAMES)
