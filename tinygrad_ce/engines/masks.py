"""x[mask] = v as a choice, for engines that must know how many elements there are."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.engine.table import filled
from tinygrad_ce.engines.assumed import axes_of
from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.passes.exact import simplified, sweep
from tinygrad_ce.program.passes.rewriter import Rewriter, on


@on("put")
def choice(r: Rewriter, step: Step) -> Step | None:
    """x[before, mask, after] = v is part = x[before, :, after]; where(mask, v, part) put there."""
    x, values, *arrays = step.operands
    if len(arrays) != 1 or arrays[0].dtype != bool or arrays[0] in r.constants:
        return None
    (mask,), parts = arrays, list(filled(step.attrs["index"], tuple(arrays)))
    if Ellipsis not in parts:
        parts.append(Ellipsis)
    at = parts.index(Ellipsis)
    parts[at : at + 1] = [slice(None)] * (len(x.shape) - sum(map(axes_of, parts)))
    place = parts.index(mask)
    inside = [*parts[:place], *[slice(None)] * len(mask.shape), *parts[place + 1 :]]
    single = [isinstance(p, int) for p in parts]
    behind = len(parts) - 1 - place - sum(single[place:])
    shape = shape_there(values.shape, len(parts) - sum(single), behind, len(mask.shape))
    if shape is None or (shape and any(single)):
        return None
    part, whole = x, all(p == slice(None) for p in inside)
    if not whole:
        part = r.make("slice", (x,), Var(sizes(x.shape, inside), x.dtype, False), index=(*inside,))
    values, mask = reshaped(r, values, shape), reshaped(r, mask, (*mask.shape, *[1] * behind))
    if values.dtype != x.dtype:
        values = r.make("astype", (values,), Var(shape, x.dtype, False), dtype=x.dtype)
    if whole:
        return step._replace(op="where", operands=(mask, values, x), attrs={})
    part = r.make("where", (mask, values, part), part)
    return step._replace(operands=(x, part), attrs={"index": (*inside,)})


def shape_there(
    shape: tuple[int, ...], axes: int, behind: int, depth: int
) -> tuple[int, ...] | None:
    """The shape of values among `axes` axes, one of them what a mask picks and `behind` after it,
    where the mask has its own `depth` axes; None if there is a value for each place.
    """
    if all(n == 1 for n in shape):
        return ()
    shape = shape[max(len(shape) - axes, 0) :]
    picked = len(shape) - behind - 1
    if picked < 0:
        return shape
    return (*shape[:picked], *[1] * depth, *shape[picked + 1 :]) if shape[picked] == 1 else None


choosing = sweep("choosing", choice)


def ready(program: Program) -> Program:
    """The program as other engines take it: after what keeps every bit, and nothing for the speed
    of NumPy.
    """
    return choosing(simplified(program))


def reshaped(r: Rewriter, x: Var, shape: tuple[int, ...]) -> Var:
    """x in another shape."""
    like = Var(shape, x.dtype, x.scalar)
    return x if x.shape == shape else r.make("reshape", (x,), like, shape=shape)


def sizes(shape: tuple[int, ...], index: list[Any]) -> tuple[int, ...]:
    """The shape of x[index], where the index has integers, slices and None only."""
    found, rest = [], iter(shape)
    for part in index:
        if part is None:
            found.append(1)
        else:
            n = next(rest)
            if isinstance(part, slice):
                found.append(n if part == slice(None) else len(range(*part.indices(n))))
    return tuple(found)
