"""Mixed precision under its older name."""

from typing import Any

from tinygrad_ce import amp
from tinygrad_ce.amp import GradScaler as GradScaler

__all__ = ["GradScaler", "autocast"]


def __dir__() -> list[str]:
    return __all__


class autocast(amp.autocast):  # noqa: N801
    """`amp.autocast("cuda")`: does nothing here."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True) -> None:
        super().__init__("cuda", dtype, enabled, cache_enabled)
