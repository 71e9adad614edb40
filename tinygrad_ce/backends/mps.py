"""Apple's GPUs: not here."""

__all__ = ["is_available", "is_built"]


def __dir__() -> list[str]:
    return __all__


def is_available() -> bool:
    """No.

    >>> is_available(), is_built()
    (False, False)
    """
    return False


is_built = is_available
