"""What losses share: targets that fit, and the mean, the sum or all of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import constant
from tinygrad_ce.nn.functional.warn import warn


def reduced(losses: Any, reduction: str, name: str) -> Any:
    """The losses themselves, their mean or their sum."""
    if reduction == "mean":
        return table.sum(losses, None, False) / float(math.prod(losses.shape))
    if reduction == "sum":
        return table.sum(losses)
    check_reduction(reduction, name)
    return losses


def check_reduction(reduction: str, name: str) -> None:
    """Only the three reductions."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f'{name}: reduction={reduction!r}; wanted "mean", "sum" or "none"')


def reduced_by(losses: Any, weight: Any, reduction: str, name: str) -> Any:
    """The losses times their weights, if there are some; of the mean, over the weights."""
    if weight is None:
        return reduced(losses, reduction, name)
    weight = to_dtype(same_shape(losses, weight, f"{name}: weight"), losses)
    losses = losses * weight
    if reduction == "mean":
        return table.sum(losses) / table.sum(weight)
    return reduced(losses, reduction, name)


def reduction_of(size_average: Any, reduce: Any, reduction: str, name: str, *more: str) -> str:
    """The reduction, which `size_average` and `reduce`, deprecated, may say in its place.

    `reduce=False` is "none"; else `size_average=False` is "sum"; else it is "mean".
    """
    if size_average is None and reduce is None:
        if reduction not in more:
            check_reduction(reduction, name)
        return reduction
    for option, value in (("size_average", size_average), ("reduce", reduce)):
        if not (value is None or isinstance(value, (bool, int, np.bool_))):
            raise TypeError(f'{name}: {option}={value!r}; write reduction="mean", "sum" or "none"')
    flags = (True if flag is None else flag for flag in (size_average, reduce))
    average, reduced = flags
    found = "none" if not reduced else "mean" if average else "sum"
    warn(
        f"size_average and reduce args will be deprecated, please use reduction='{found}' instead."
    )
    return found


def same_shape(input: Any, target: Any, name: str) -> Any:
    """`target` as an operand of the shape of `input`."""
    if not isinstance(target, (Node, np.ndarray, list, tuple, int, float, np.generic)):
        raise TypeError(f"{name}: the target is {a_type(target)}; wanted a Tensor")
    if isinstance(target, (int, float)):
        return target
    target = target if isinstance(target, Node) else constant(target, input)
    if target.array.shape != input.shape:
        hint = ""
        if target.array.size == math.prod(input.shape):
            hint = f" Reshape one of them: target.reshape({tuple(input.shape)})."
        raise ValueError(
            f"{name}: input has shape {tuple(input.shape)} and target {target.array.shape}; wanted "
            f"equal shapes, since broadcasting would compare every pair.{hint}"
        )
    return target


def to_dtype(target: Any, like: Any) -> Any:
    """`target` in the dtype of `like`, so that integer targets do not widen the loss."""
    if isinstance(target, Node) and target.array.dtype != like.dtype:
        return table.astype(target, like.dtype)
    return target
