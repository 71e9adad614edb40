"""An accelerator is not here: `is_available()` says so."""

from typing import Any

from tinygrad_ce.absent import not_called

__all__ = ["current_accelerator", "device_count", "is_available"]


def __dir__() -> list[str]:
    return __all__


def is_available() -> bool:
    """No.

    >>> is_available(), current_accelerator(), device_count()
    (False, None, 0)
    """
    return False


def current_accelerator(check_available: bool = False) -> None:
    """None."""


def device_count() -> int:
    """None of them."""
    return 0


def __getattr__(name: str) -> Any:
    names = "current_device_index current_stream set_device_index set_stream synchronize"
    return not_called(__name__, name, names)
