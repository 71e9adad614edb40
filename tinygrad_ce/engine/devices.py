"""Where tensors live: always on the CPU. Other devices have names, and using them is refused."""

from __future__ import annotations

import re
from typing import Any, Self

import numpy as np

from tinygrad_ce.engine.dtypes import Named

KINDS = ("cpu", "cuda", "hip", "hpu", "ipu", "lazy", "maia", "meta", "mps", "mtia", "ve", "vulkan",
         "xla", "xpu")  # fmt: skip


class device(metaclass=Named):  # noqa: N801
    """The name of a device: `device("cpu")`, `device("cuda:0")`, `device("cuda", 0)`.

    Each can be named; only "cpu" can hold a tensor.

    >>> device("cpu"), device("cuda:1").index, str(device("mps"))
    (device(type='cpu'), 1, 'mps')
    """

    __slots__ = ("index", "type")

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        if isinstance(type, int) and not isinstance(type, bool):  # an accelerator's number
            type, index = "cuda", type
        name = str(type) if isinstance(type, device) else type
        if not isinstance(name, str):
            raise TypeError(f"device: got {type!r}; wanted a name, as 'cpu'")
        found = re.fullmatch(r"(\w+?)(?::(\d+))?", name)
        if found is None or found[1] not in KINDS or (found[2] and index is not None):
            raise RuntimeError(f"device: got {name!r}; wanted one of {', '.join(KINDS)}")
        self.type = found[1]
        self.index = int(found[2]) if found[2] else index

    def __repr__(self) -> str:
        number = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{number})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return str(self) == other
        return isinstance(other, device) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> Any:
        return device, (str(self),)

    def __enter__(self) -> Self:
        check(self)
        return self

    def __exit__(self, *exc: object) -> None:
        pass


CPU = device("cpu")


def check(where: Any) -> None:
    """Refuse a device, or the name of one, that is not here; None is the CPU."""
    if where is not None and device(where).type != "cpu":
        raise RuntimeError(not_here(str(device(where))))


def not_here(name: str) -> str:
    """What is said when somebody wants more than a CPU."""
    return f"{name}: not here, tensors live in NumPy arrays, on the CPU; write device='cpu'"


def dtype_wanted(args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.dtype[Any] | None:
    """The dtype that `to(device, dtype, non_blocking, copy)` asks for, in any of its forms.

    None for none. Raises RuntimeError for a device that is not here.
    """
    known = ("device", "dtype", "non_blocking", "copy", "memory_format", "other")
    unknown = [name for name in kwargs if name not in known]
    if unknown or len(args) > 4 or not (args or kwargs):
        raise TypeError(f"to: got {(*args, *unknown)}; wanted to(device, dtype), or one of them")
    wanted = None
    for x in (*args[:2], *(kwargs.get(name) for name in ("device", "dtype", "other"))):
        if x is None or isinstance(x, bool):
            continue
        if isinstance(x, (device, str)) and str(x).partition(":")[0] in KINDS:
            check(x)
        elif isinstance(x, int):
            check(device(x))
        else:
            wanted = as_dtype(getattr(x, "array", x))
    return wanted


def as_dtype(x: Any) -> np.dtype[Any]:
    """The dtype of an array, or what x names."""
    try:
        return np.dtype(x if isinstance(x, type) else getattr(x, "dtype", x))
    except TypeError as error:
        if "NumPy has no such" in str(error):
            raise
        raise TypeError(
            f'to: got {x!r}; wanted a dtype, a Tensor, or "cpu", where all tensors live'
        ) from None
