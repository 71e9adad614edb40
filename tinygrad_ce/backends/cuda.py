"""Switches of CUDA's products of matrices: they can be set."""

from types import SimpleNamespace

__all__ = ["is_built", "matmul"]


def __dir__() -> list[str]:
    return __all__


matmul = SimpleNamespace(
    allow_tf32=False,
    allow_fp16_reduced_precision_reduction=True,
    allow_bf16_reduced_precision_reduction=True,
)


def is_built() -> bool:
    """No.

    >>> is_built()
    False
    """
    return False
