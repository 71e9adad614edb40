"""TensorBoard's files are not written here."""

from typing import Any

__all__ = ["SummaryWriter"]


def __dir__() -> list[str]:
    return __all__


class SummaryWriter:
    """Writes scalars and pictures for TensorBoard: not here.

    Raises RuntimeError when it is made. `viz.Recorder` records, `viz.plot_history` shows.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            "SummaryWriter: nothing is written for TensorBoard here; record with viz.Recorder and "
            "show it with viz.plot_history"
        )
