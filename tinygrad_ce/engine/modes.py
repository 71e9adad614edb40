"""Switching the recording of the graph on and off, per thread."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.engine.frame import Frame, current, recording


class no_grad(recording):  # noqa: N801
    """Record nothing: results need no gradient. A context manager and a decorator.

    >>> from tinygrad_ce import tensor
    >>> w = tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     w -= 0.1
    >>> w
    tensor([0.9000], requires_grad=True)
    """

    _on_inside = False

    def __new__(cls, function: Any = None) -> Any:
        """The context manager, or the decorated function."""
        made = super().__new__(cls)
        if function is None:
            return made
        made.__init__()  # type: ignore[misc]
        return made(function)  # used as @no_grad, without parentheses

    def __init__(self, function: Any = None) -> None:
        super().__init__(self._on_inside)


class enable_grad(no_grad):  # noqa: N801
    """Record again, inside no_grad(). A context manager and a decorator.

    >>> with no_grad(), enable_grad():
    ...     print(is_grad_enabled())
    True
    """

    _on_inside = True


class inference_mode(no_grad):  # noqa: N801
    """Record nothing, as no_grad does; with mode=False leave it as it is.

    >>> with inference_mode():
    ...     print(is_grad_enabled())
    False
    """

    def __new__(cls, mode: Any = True) -> Any:
        """The context manager, or the decorated function."""
        return super().__new__(cls, mode if callable(mode) else None)

    def __init__(self, mode: Any = True) -> None:
        super().__init__()
        self._mode = mode is not False

    def frame(self, outer: Frame) -> Frame:
        """The frame of the block."""
        return super().frame(outer) if self._mode else outer


class set_grad_enabled(recording):  # noqa: N801
    """Record or not, by a flag: from the call on, or for the length of a `with` block.

    >>> with set_grad_enabled(False):
    ...     print(is_grad_enabled())
    False
    >>> is_grad_enabled()
    True
    """

    def __init__(self, mode: bool) -> None:
        super().__init__(bool(mode))
        super().__enter__()

    def __enter__(self) -> None:
        """Recording was switched when this was made."""


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread.

    >>> is_grad_enabled()
    True
    """
    return current().record
