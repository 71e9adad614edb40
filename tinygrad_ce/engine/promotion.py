"""Which dtype comes out where dtypes meet: PyTorch's rules, and the default dtype.

bool < integers < floats by category; within the highest category that occurs, tensors with axes
decide over 0-d ones, and the larger of them is taken. Integers never widen a float, and a Python
number takes the dtype of the tensor beside it (engine/operands.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ce.engine import dtypes
from tinygrad_ce.engine.frame import refuse_once
from tinygrad_ce.engine.graph import Node

CATEGORIES = "buif"  # kinds of dtypes, lowest first; u and i are one category
SINGLE = np.dtype(np.float32)
FLOATS = tuple(np.dtype(name) for name in ("float32", "float64", "float16"))

_default = np.dtype(np.float32)


def default_dtype() -> np.dtype[Any]:
    """The dtype of Python floats, and of what is computed of integers."""
    return _default


def set_default_dtype(dtype: Any) -> None:
    """Let new tensors of floats have this dtype, where none is given: float32 or another float.

    >>> from tinygrad_ce import float32, float64, set_default_dtype, zeros
    >>> set_default_dtype(float64)
    >>> zeros(2).dtype == float64
    True
    >>> set_default_dtype(float32)

    Raises TypeError for what is no dtype of floats.
    """
    global _default
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        wanted = np.dtype(object)
    if wanted not in FLOATS:
        raise TypeError(f"set_default_dtype: got {dtype}; wanted float32, float64 or float16")
    refuse_once("set_default_dtype changes all that is made later", "Call it before")
    _default = wanted


def get_default_dtype() -> dtypes.dtype:
    """The dtype of Python floats, and of what is computed of integers.

    >>> get_default_dtype()
    torch.float32
    """
    return dtypes.of(_default)


def category(dtype: Any) -> int:
    """0 for booleans, 1 for integers, 2 for floats."""
    return (CATEGORIES.index(dtype.kind) + 1) // 2


def promote_types(type1: Any, type2: Any) -> dtypes.dtype:
    """The smallest dtype that both fit in; next to a float, an integer counts as that float.

    >>> from tinygrad_ce import float16, int64
    >>> promote_types(int64, float16)
    torch.float16
    """
    return dtypes.of(wider(np.dtype(type1), np.dtype(type2)))


def wider(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """`promote_types` of NumPy's dtypes."""
    if category(a) == category(b) or "f" not in (a.kind, b.kind):
        return np.promote_types(a, b)
    return a if a.kind == "f" else b


def common_dtype(arrays: Sequence[Any]) -> np.dtype[Any]:
    """The dtype of what is computed of these arrays."""
    found: np.dtype[Any] | None = None
    for group in ([x for x in arrays if x.ndim], [x for x in arrays if not x.ndim]):
        mine: np.dtype[Any] | None = None
        for x in group:
            mine = x.dtype if mine is None else wider(mine, x.dtype)
        if found is None:
            found = mine
        elif mine is not None and category(mine) > category(found):
            found = wider(found, mine)
    return _default if found is None else found


def alike(operands: tuple[Node, ...], wants: str, name: str) -> tuple[Node, ...]:
    """The operands in dtypes from which NumPy computes the one that PyTorch would.

    What needs a gradient becomes that dtype, so that the gradient has the operand's own; the others
    do where NumPy would widen the result for them, but for booleans. `wants` is what the operation
    `name` takes, see `rule`.
    """
    first = operands[0].array.dtype
    for x in operands:
        if x.array.dtype is not first and x.array.dtype != first:
            break
    else:  # one dtype
        whole = wants == "float" and first.kind != "f"
        return tuple(map(as_float, operands)) if whole else operands
    arrays = [x.array for x in operands]
    if wants == "one":
        raise TypeError(
            f"{name}: got {' and '.join(str(x.dtype) for x in arrays)}; wanted one dtype: "
            "x.float(), x.to(other.dtype); a model of another dtype is model.double()"
        )
    if wants == "numbers" and any(x.dtype.kind == "b" for x in arrays):
        raise TypeError(
            f"{name}: got a tensor of booleans; write ~mask for 1 - mask, mask.long() for numbers"
        )
    wanted = common_dtype(arrays)
    if wants == "float" and wanted.kind != "f":
        wanted = _default
    widened = np.result_type(*(x.dtype for x in arrays)) != wanted
    return tuple(
        cast(x, wanted) if x.live or (widened and x.array.dtype.kind != "b") else x
        for x in operands
    )


def cast(x: Any, dtype: np.dtype[Any]) -> Any:
    """x in another dtype."""
    if x.array.dtype == dtype:
        return x
    y = x.astype(dtype)
    if not x.live:
        y.source = x
    return y


def as_float(x: Any) -> Any:
    """x, or the floats that integers and booleans are to a function such as exp."""
    return x if x.dtype.kind == "f" else x.astype(_default)
