"""Products of small matrices with long ones, block by block.

OpenBLAS copies the operands of a large product into panels first, and that takes longer than the
product itself where one side has only some ten rows. Products of at most a million multiplications
it does at once, so a long axis is cut into pieces of that size, and all pieces go into one matmul.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_ce.program.ir import Step, Var

if TYPE_CHECKING:
    from tinygrad_ce.program.emit import Emitter

Array = np.ndarray
AT_ONCE = 1_000_000  # multiplications of a product that OpenBLAS does without copying
LEAST = 256  # elements of a piece


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
    """Whether a value is in one piece, and where it was in the last run."""
    place = e.places.get(x)
    if place is None or place.storage is None:
        return False
    return place.contiguous and place.storage.static


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
    place = e.destination(step)
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
