"""Apple's GPUs: not here."""


def is_available() -> bool:
    """No.

    >>> is_available(), is_built()
    (False, False)
    """
    return False


is_built = is_available
