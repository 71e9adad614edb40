"""Products of small matrices with long ones: in pieces, and with rows that do not collide.

OpenBLAS copies the operands of a large product into panels first, and that takes longer than the
product itself where one side has only some ten rows. Products of at most a million multiplications
it does at once, so a long axis is cut into pieces of that size, and all pieces go into one matmul.

Rows that start a multiple of 4096 bytes apart share a few lines of the cache. The rows of a matrix
that only products read are therefore laid a little further apart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_ce.program.ir import Step, Var

if TYPE_CHECKING:
    from tinygrad_ce.program.emit import Emitter
    from tinygrad_ce.program.places import Place

Array = np.ndarray
AT_ONCE = 1_000_000  # multiplications of a product that OpenBLAS does without copying
LEAST = 256  # elements of a piece
SUMS = 1500  # elements of a sum of products up to which it is made of pieces
PAGE = 4096  # bytes
APART = 128  # bytes between rows


def piece_of(length: int, rows: int, columns: int) -> int | None:
    """How long the pieces are: a divisor of the length, or None if it should stay whole."""
    most = AT_ONCE // max(rows * columns, 1)
    if length <= most:
        return None
    return next((n for n in range(min(most, length // 2), LEAST - 1, -1) if not length % n), None)


def pieces(x: Array, n: int) -> Array:
    """(rows, length) -> (pieces, rows, n), a view."""
    return x.reshape(len(x), -1, n).transpose(1, 0, 2)


def pieces_turned(x: Array, n: int) -> Array:
    """(rows, length) -> (pieces, n, rows), a view."""
    return x.reshape(len(x), -1, n).transpose(1, 2, 0)


def lies_still(e: Emitter, x: Var) -> bool:
    """Whether the rows of a matrix are in one piece each, and where they were in the last run."""
    place = e.places.get(x)
    if place is None or place.storage is None or not place.storage.static:
        return False
    maker = e.makers.get(x)
    return place.contiguous or (maker is not None and maker.op in ("columns", "dot"))


def destination(e: Emitter, step: Step) -> Place:
    """Where a matrix goes: with its rows apart, if they would collide and only products and sums
    of windows read them.
    """
    out = step.out
    readers = [s for s in e.steps if out in s.operands]
    free = not any(out in known for known in (e.preplaced, e.dedicated, e.state_of))
    free = free and out not in e.program.outputs and len(readers) > 0
    if not free or out.shape[1] * out.dtype.itemsize % PAGE or out.shape[0] < 8:
        return e.destination(step)
    if any(s.op not in ("dot", "transpose", "add_columns") for s in readers):
        return e.destination(step)
    wide = out.shape[1] + APART // out.dtype.itemsize
    place = e.buffer(Var((out.shape[0], wide), out.dtype, False))
    view = e.once(f"{place.text}[:, :{out.shape[1]}]")
    return replace(place, text=view, contiguous=False)


def written_in_pieces(e: Emitter, step: Step) -> bool:
    """Write W @ x with a long x, or g @ xᵀ with long rows; False if it is neither."""
    e.names.update(pieces=pieces, pieces_turned=pieces_turned)
    a, b = step.operands
    if lies_still(e, b):
        return long_result(e, step)
    maker = e.makers.get(b)
    if maker is None or maker.op != "transpose" or not lies_still(e, a):
        return False
    return lies_still(e, maker.operands[0]) and long_sums(e, step, maker.operands[0])


def long_result(e: Emitter, step: Step) -> bool:
    """W (m, k) @ x (k, length), each piece of x by itself."""
    a, b = step.operands
    n = piece_of(b.shape[1], *a.shape)
    own = e.preplaced.get(step.out)
    if n is None or (own is not None and not own.contiguous):
        return False
    place = destination(e, step)
    x = e.once(f"pieces({e.places[b].text}, {n})")
    y = e.once(f"pieces({place.text}, {n})")
    e.say(f"matmul({e.places[a].text}, {x}, {y})")
    e.put(step.out, place)
    return True


def long_sums(e: Emitter, step: Step, x: Var) -> bool:
    """g (m, length) @ xᵀ with x (k, length): the sum of the products of all pieces."""
    g = step.operands[0]
    n = piece_of(g.shape[1], g.shape[0], x.shape[0])
    if n is None:
        return False
    if step.out.size > SUMS:
        return turned_sums(e, step, x)
    left = e.once(f"pieces({e.places[g].text}, {n})")
    right = e.once(f"pieces_turned({e.places[x].text}, {n})")
    place = e.destination(step)
    parts = e.buffer(Var((g.shape[1] // n, *step.out.shape), step.out.dtype, False))
    e.say(f"matmul({left}, {right}, {parts.text})")
    e.say(f"add.reduce({parts.text}, 0, None, {place.text})")
    if parts.storage is not None:
        e.free.append(parts.storage)
    e.put(step.out, place)
    return True


def turned_sums(e: Emitter, step: Step, x: Var) -> bool:
    """g @ xᵀ as (x @ gᵀ)ᵀ: OpenBLAS reads the matrix with more rows as it lies."""
    g = step.operands[0]
    if len(step.out.shape) != 2 or x.shape[0] < 2 * g.shape[0]:
        return False
    place = e.destination(step)
    turned = e.buffer(Var(step.out.shape[::-1], step.out.dtype, False))
    e.say(f"dot({e.places[x].text}, {e.once(f'{e.places[g].text}.T')}, {turned.text})")
    e.say(f"copyto({place.text}, {e.once(f'{turned.text}.T')})")
    if turned.storage is not None:
        e.free.append(turned.storage)
    e.put(step.out, place)
    return True
