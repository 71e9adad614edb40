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
    behind = sum(not isinstance(p, int) for p in parts[place + 1 :])
    one = all(n == 1 for n in values.shape)
    shape = (1,) if one else values.shape
    picked = len(shape) - behind - 1  # the axis of the values that runs along what is picked
    if not one and (any(isinstance(p, int) for p in parts) or (picked >= 0 and shape[picked] != 1)):
        return None
    if one:
        shape = ()
    elif picked >= 0:
        shape = (*shape[:picked], *[1] * len(mask.shape), *shape[picked + 1 :])
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
