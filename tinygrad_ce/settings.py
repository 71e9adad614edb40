"""Switches of PyTorch that scripts set at their beginning: the device, threads, precision."""

from __future__ import annotations

import os
from typing import Any

from tinygrad_ce.engine.devices import CPU, check, device

_set: dict[str, Any] = {"threads": None, "deterministic": False, "precision": "highest"}


def set_default_device(device: Any) -> None:
    """Where new tensors are made: "cpu". Raises RuntimeError for a device that is not here.

    >>> set_default_device("cpu")
    >>> get_default_device()
    device(type='cpu')
    """
    check(device)


def get_default_device() -> device:
    """Where new tensors are made."""
    return CPU


def set_num_threads(n: int) -> None:
    """Remember a number of threads; how many NumPy takes, the environment says before it starts.

    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    """
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads: got {n!r}; wanted an integer of at least 1")
    _set["threads"] = n


set_num_interop_threads = set_num_threads


def get_num_threads() -> int:
    """The number that was set, or else that of OMP_NUM_THREADS, or of the cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    usual = int(given) if given.isdigit() else os.cpu_count() or 1
    return _set["threads"] or usual


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for the same numbers in each run, which is always so here.

    >>> use_deterministic_algorithms(True)
    >>> are_deterministic_algorithms_enabled()
    True
    """
    _set["deterministic"] = bool(mode)


def are_deterministic_algorithms_enabled() -> bool:
    """What was asked for."""
    value: bool = _set["deterministic"]
    return value


def set_float32_matmul_precision(precision: str) -> None:
    """How exact products of float32 matrices have to be; here they always are "highest".

    Raises ValueError for anything but "highest", "high" and "medium".

    >>> set_float32_matmul_precision("high")
    """
    if precision not in ("highest", "high", "medium"):
        raise ValueError(
            f"set_float32_matmul_precision: got {precision!r}; wanted 'highest', 'high' or 'medium'"
        )
    _set["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What was asked for."""
    text: str = _set["precision"]
    return text


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """No."""
    return False
