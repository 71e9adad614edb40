"""cuDNN: not here; its switches can be set. What runs here always gives the same numbers."""

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
