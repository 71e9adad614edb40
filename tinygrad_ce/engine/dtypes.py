"""What a tensor says of itself: the dtypes under the names that everybody knows, and sizes.

An array knows NumPy's dtype and a plain tuple, and the engine reads those. What users see of a
Tensor is a `dtype`, which NumPy takes wherever it takes its own, and a `Size`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np


class Named(type):
    """The kind of a class that prints under the name that everybody knows, as a dtype does.

    >>> import tinygrad_ce as tg
    >>> type(tg.ones(2)), type(tg.nn.Parameter(tg.ones(2))), tg.Size
    (<class 'torch.Tensor'>, <class 'torch.nn.parameter.Parameter'>, <class 'torch.Size'>)
    """

    def __repr__(cls) -> str:
        package, *rooms = cls.__module__.split(".")
        if package != __package__.partition(".")[0]:  # somebody's subclass
            return super().__repr__()
        inside = "" if rooms[0] == "engine" else ".".join((*rooms, ""))
        return f"<class 'torch.{inside}{cls.__qualname__}'>"


class dtype(metaclass=Named):  # noqa: N801
    """The kind of number that a tensor holds. It equals NumPy's, and NumPy takes it for its own.

    >>> import tinygrad_ce as tg
    >>> tg.ones(2).dtype, tg.double, tg.long.itemsize
    (torch.float32, torch.float64, 8)
    >>> tg.ones(2).dtype == np.float32, np.zeros(2, dtype=tg.int32).dtype
    (True, dtype('int32'))
    """

    __slots__ = ("dtype", "is_complex", "is_floating_point", "is_signed", "itemsize", "kind",
                 "name", "type")  # fmt: skip

    def __init__(self, name: str) -> None:
        self.dtype = np.dtype(name)  # where NumPy looks
        self.name = name
        self.kind, self.itemsize = self.dtype.kind, self.dtype.itemsize
        self.type: Any = self.dtype.type
        self.is_floating_point, self.is_complex = self.kind == "f", self.kind == "c"
        self.is_signed = self.kind in "fi"

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __eq__(self, other: object) -> Any:
        if isinstance(other, dtype):
            return self is other
        return self.dtype == other

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __reduce__(self) -> Any:
        return of, (self.name,)


class Missing(dtype):
    """A dtype that NumPy has not: it has a name, and using it is refused."""

    __slots__ = ("instead",)

    def __init__(self, name: str, instead: str) -> None:
        self.name, self.instead = name, instead
        self.kind, self.itemsize, self.is_signed = "f", 2, True
        self.is_floating_point, self.is_complex = True, False

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """There is none. Raises TypeError."""
        raise TypeError(f"{self.name}: NumPy has no such numbers; write {self.instead}")

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return hash(self.name)


_known: dict[str, dtype] = {}


def of(kind: Any) -> dtype:
    """The dtype for NumPy's, for its name or for one of Python's types."""
    if isinstance(kind, dtype):
        return kind
    name = kind if kind == "bfloat16" else np.dtype(kind).name
    if name not in _known:
        _known[name] = dtype(name)
    return _known[name]


float16, float32, float64 = map(of, ("float16", "float32", "float64"))
int8, int16, int32, int64 = map(of, ("int8", "int16", "int32", "int64"))
uint8, bool_ = of("uint8"), of("bool")
bfloat16 = _known["bfloat16"] = Missing("bfloat16", "float16, or float32 for its range")

BY_NUMBER = {np.dtype(code).num: of(code) for code in np.typecodes["AllInteger"] + "efdg?"}
"""What a Tensor says of its array's dtype."""


class Limits:
    """What the numbers of a dtype can be."""

    __slots__ = ("bits", "dtype", "max", "min")
    shown: ClassVar[tuple[str, ...]] = ("min", "max")

    def __init__(self, info: Any) -> None:
        self.dtype, self.bits = of(info.dtype).name, info.bits
        for name in self.shown:
            setattr(self, name, getattr(info, name).item() if info.dtype.kind == "f"
                    else getattr(info, name))  # fmt: skip

    def __repr__(self) -> str:
        limits = ", ".join(f"{name}={getattr(self, name):g}" for name in self.shown)
        return f"{type(self).__name__}({limits}, dtype={self.dtype})"


class iinfo(Limits):  # noqa: N801
    """The smallest and the largest integer of a dtype.

    >>> iinfo(int32).max
    2147483647
    """

    __slots__ = ()

    def __init__(self, type: Any) -> None:
        super().__init__(np.iinfo(of(type).dtype))


class finfo(Limits):  # noqa: N801
    """The largest float of a dtype, the distance from 1 to the next one, and the like.

    >>> finfo(float32).eps
    1.1920928955078125e-07
    """

    __slots__ = ("eps", "resolution", "smallest_normal", "tiny")
    shown = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")

    def __init__(self, type: Any = float32) -> None:
        super().__init__(np.finfo(of(type).dtype))


class Size(tuple[int, ...], metaclass=Named):
    """The sizes of a tensor: a tuple that knows how many elements they make.

    >>> import tinygrad_ce as tg
    >>> size = tg.zeros(2, 3).shape
    >>> size, size.numel(), size[:1] + (5,), size == (2, 3)
    (torch.Size([2, 3]), 6, torch.Size([2, 5]), True)
    """

    __slots__ = ()

    def __new__(cls, sizes: Iterable[Any] = ()) -> Size:
        """From any row of integers."""
        try:
            return tuple.__new__(cls, map(operator.index, sizes))
        except TypeError:
            raise TypeError(f"Size: got {sizes!r}; wanted integers: Size([2, 3])") from None

    def numel(self) -> int:
        """How many elements there are: the product of the sizes."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __getitem__(self, index: Any) -> Any:
        part = tuple.__getitem__(self, index)
        return tuple.__new__(Size, part) if isinstance(part, tuple) else part

    def __add__(self, other: tuple[Any, ...]) -> Any:
        return tuple.__new__(Size, tuple.__add__(self, other))

    def __radd__(self, other: tuple[Any, ...]) -> Size:
        return tuple.__new__(Size, other + tuple(self))

    def __mul__(self, times: Any) -> Size:
        return tuple.__new__(Size, tuple.__mul__(self, times))

    __rmul__ = __mul__
