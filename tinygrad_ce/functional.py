"""What `torch.functional` has: functions that are at the top level too."""

from tinygrad_ce.functions import cartesian_prod, einsum, meshgrid, norm, split, unique

__all__ = ["cartesian_prod", "einsum", "meshgrid", "norm", "split", "unique"]


def __dir__() -> list[str]:
    return __all__
