"""Several processes at work on one model: not here, and `is_available()` says so."""

from typing import Any

from tinygrad_ce.absent import not_called

__all__ = ["is_available", "is_initialized", "is_torchelastic_launched"]


def __dir__() -> list[str]:
    return __all__


NAMES = """
    all_gather all_gather_object all_reduce all_to_all barrier broadcast broadcast_object_list
    destroy_process_group gather get_backend get_rank get_world_size init_process_group irecv isend
    new_group recv reduce reduce_scatter scatter send
"""


def is_available() -> bool:
    """No.

    >>> is_available(), is_initialized()
    (False, False)
    """
    return False


is_initialized = is_torchelastic_launched = is_available


def __getattr__(name: str) -> Any:
    return not_called(__name__, name, NAMES)
