"""Switches of PyTorch's backends: they can be read and set, and change nothing here."""

from tinygrad_ce.backends import cuda as cuda, cudnn as cudnn, mps as mps

__all__ = ["cuda", "cudnn", "mps"]


def __dir__() -> list[str]:
    return __all__
