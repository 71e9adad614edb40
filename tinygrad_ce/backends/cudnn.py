"""cuDNN: not here; its switches can be set. What runs here always gives the same numbers."""

__all__ = ["allow_tf32", "benchmark", "deterministic", "enabled", "is_available", "version"]


def __dir__() -> list[str]:
    return __all__


enabled = True
deterministic = False
benchmark = False
allow_tf32 = True


def is_available() -> bool:
    """No.

    >>> is_available(), version()
    (False, None)
    """
    return False


def version() -> None:
    """None."""
