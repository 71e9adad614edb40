"""Mixed precision, which a CPU without half-precision units has no use for: all stays float32."""

from typing import Any, TypeVar

from tinygrad_ce.engine.tensor import Tensor

__all__ = ["GradScaler", "autocast", "is_autocast_available"]


def __dir__() -> list[str]:
    return __all__


F = TypeVar("F")


class autocast:  # noqa: N801
    """A `with` block or a decorator that changes nothing: results have the dtype of the operands.

    >>> from tinygrad_ce import ones
    >>> with autocast("cpu"):
    ...     y = ones(2, 2) @ ones(2, 2)
    >>> y.dtype
    torch.float32
    """

    def __init__(
        self, device_type: str = "cpu", dtype: Any = None, enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:  # fmt: skip
        self.device_type, self.dtype, self.enabled = device_type, dtype, enabled

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass

    def __call__(self, function: F) -> F:
        """The function as it is."""
        return function


class GradScaler:
    """Keeps small half-precision gradients from vanishing; here there are none, and 1 is the scale.

    >>> from tinygrad_ce import tensor
    >>> GradScaler().scale(tensor(2.0))
    tensor(2.)
    """

    def __init__(self, device: str = "cuda", *args: Any, **kwargs: Any) -> None:
        pass

    def scale(self, outputs: Any) -> Any:
        """The outputs as they are."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Nothing to do."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step()`."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Nothing to do."""

    def is_enabled(self) -> bool:
        """No."""
        return False

    def get_scale(self) -> float:
        """1."""
        return 1.0

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to do."""


def is_autocast_available(device_type: str) -> bool:
    """No."""
    return False
