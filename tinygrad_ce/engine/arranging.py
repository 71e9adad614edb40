"""Pieces, copies and turns of tensors, and products of several: composed of the table.

They are methods of Tensor as well (engine/tensor.py).
"""

from __future__ import annotations

import builtins
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.operands import shaped, value_of
from tinygrad_ce.engine.past import named
from tinygrad_ce.engine.table import SLOT, axis_of

ALL = slice(None)


def before(input: Any, dim: int) -> tuple[slice, ...]:
    """An index that leaves the dimensions before `dim` as they are."""
    return (ALL,) * axis_of(dim, input.ndim)


def at_least_1d(input: Any) -> Any:
    """A number as a row of one."""
    return input if input.ndim else input.reshape(1)


def given(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    """What was given one by one, or as one tuple or list."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


# --- pieces: views ----------------------------------------------------------------------------


def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """`length` slices from `start` on along `dim`; a view."""
    n, first = input.shape[axis_of(dim, input.ndim)], int(start)
    first += n if first < 0 else 0
    if not 0 <= first <= first + length <= n:
        raise IndexError(f"narrow: {length} from {start} on along dim {dim} of size {n}")
    return input[(*before(input, dim), slice(first, first + length))]


def select(input: Any, dim: int, index: int) -> Any:
    """The slice at `index` along `dim`, which is gone then; a view."""
    return input[(*before(input, dim), index)]


@named("Unfold")
def unfold(input: Any, dimension: int, size: int, step: int) -> Any:
    """Every window of `size` elements along a dimension, `step` apart, as a last one; a view."""
    x = at_least_1d(input)
    axis = axis_of(dimension, x.ndim)
    if not 0 <= size <= x.shape[axis] or step < 1:
        raise ValueError(
            f"unfold: size {size} and step {step} along a dimension of size {x.shape[axis]}; "
            "wanted windows that fit, and a step of 1 or more"
        )
    if not input.ndim and not size:
        return input[None][:0]
    count = (x.shape[axis] - size) // step + 1
    if count == 1 or (size <= step and count * step <= x.shape[axis]):  # a view to write into
        apart = size if count == 1 else step
        rows = unflatten(narrow(x, axis, 0, count * apart), axis, (count, apart))
        y = movedim(narrow(rows, axis + 1, 0, size), axis + 1, -1)
    else:
        y = table.sliding_windows(x, (size,), (axis,))
        y = y if step == 1 else y[(ALL,) * axis + (slice(None, None, step),)]
    return y if input.ndim else y[0]


def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """So many pieces, the first ones longer by 1 if they do not divide; or cut at the indices."""
    n = input.shape[axis_of(dim, input.ndim)]
    if hasattr(indices_or_sections, "tolist"):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        if indices_or_sections < 1:
            raise ValueError(f"tensor_split: {indices_or_sections} pieces; wanted at least 1")
        size, longer = divmod(n, indices_or_sections)
        cuts = [size * i + min(i, longer) for i in range(indices_or_sections + 1)]
    else:
        cuts = [0, *indices_or_sections, n]
    slices = (slice(a, b) for a, b in itertools.pairwise(cuts))
    return tuple(input[(*before(input, dim), part)] for part in slices)


def unflatten(input: Any, dim: int, sizes: Sequence[int]) -> Any:
    """One dimension as several of the given sizes; of one of them, -1, the size is worked out."""
    axis = axis_of(dim, input.ndim)
    n, sizes = input.shape[axis], tuple(sizes)
    if -1 in sizes:
        known = -math.prod(sizes)
        sizes = tuple(n // known if s == -1 and known else s for s in sizes)
    if math.prod(sizes) != n:
        raise ValueError(f"unflatten: dim {dim} has size {n}, which {sizes} do not multiply to")
    return input.reshape(*input.shape[:axis], *sizes, *input.shape[axis + 1 :])


def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Dimensions moved from `source` to `destination`, the others in their order; a view."""
    ends = [x if isinstance(x, (tuple, list)) else (x,) for x in (source, destination)]
    places = [[axis_of(d, input.ndim or 1) for d in dims] for dims in ends]
    if len(places[0]) != len(places[1]) or builtins.any(len(set(p)) < len(p) for p in places):
        raise ValueError(f"movedim: {source} to {destination}; wanted as many, each one once")
    if not input.ndim:
        return input.permute(())
    rest = [axis for axis in range(input.ndim) if axis not in places[0]]
    for place, axis in sorted(zip(places[1], places[0])):
        rest.insert(place, axis)
    return input.permute(*rest)


def view_as(input: Any, other: Any) -> Any:
    """In the shape of `other`, on the same memory."""
    return input.view(other.shape)


def reshape_as(input: Any, other: Any) -> Any:
    """In the shape of `other`."""
    return input.reshape(other.shape)


def expand_as(input: Any, other: Any) -> Any:
    """Repeated, not copied, to the shape of `other`."""
    return input.expand(other.shape)


def ravel(input: Any) -> Any:
    """All elements in one row."""
    return input.reshape(-1)


# --- copies and turns ---------------------------------------------------------------------------


def tile(input: Any, *counts: Any, dims: Any = None) -> Any:
    """Copies side by side along each dimension; `dims` may be fewer than those of the tensor."""
    counts = given(counts if dims is None else (dims,))
    return input.repeat((1,) * (input.ndim - len(counts)) + tuple(counts))


def repeat_interleave(
    input: Any, repeats: Any, dim: int | None = None, *, output_size: int | None = None
) -> Any:
    """Each slice along `dim` so often, one after the other; without a dim each element."""
    x = input.reshape(-1) if dim is None else at_least_1d(input)
    axis = 0 if dim is None else axis_of(dim, x.ndim)
    if isinstance(repeats, int):
        if repeats < 0:
            raise ValueError(f"repeat_interleave: repeats={repeats}; wanted none below 0")
        between = (*x.shape[: axis + 1], repeats, *x.shape[axis + 1 :])
        once = x.reshape(*x.shape[: axis + 1], 1, *x.shape[axis + 1 :])
        shape = (*x.shape[:axis], x.shape[axis] * repeats, *x.shape[axis + 1 :])
        return table.copy(once.expand(between)).reshape(shape)
    counts = value_of(repeats) if hasattr(repeats, "shape") else np.asarray(repeats)
    counts = np.broadcast_to(counts, x.shape[axis])
    return x[(*before(x, axis), np.repeat(np.arange(x.shape[axis]), counts))]


@named("Roll")
def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """Moved by `shifts` along `dims`: what leaves at one end enters at the other."""
    if dims is None:
        return roll(input.reshape(-1), shifts, 0).reshape(input.shape)
    shifts, dims = (x if isinstance(x, (tuple, list)) else (x,) for x in (shifts, dims))
    if len(shifts) != len(dims):
        raise ValueError(f"roll: {len(shifts)} shifts for {len(dims)} dims; wanted as many")
    y = input
    for shift, dim in zip(shifts, dims):
        axis = axis_of(dim, y.ndim or 1)
        n = y.shape[axis] if y.ndim else 1
        if n and shift % n:
            ends = (slice(-(shift % n), None), slice(None, -(shift % n)))
            y = table.concatenate(*(y[(ALL,) * axis + (part,)] for part in ends), axis=axis)
    return table.copy(y) if y is input else y


@named("Rot90")
def rot90(input: Any, k: int = 1, dims: Sequence[int] = (0, 1)) -> Any:
    """Turned k times by 90°, from the first of two dimensions towards the second."""
    i, j = (axis_of(d, input.ndim) for d in dims)
    if i == j:
        raise ValueError(f"rot90: dims {tuple(dims)} of shape {input.array.shape} are the same")
    k %= 4
    if not k:
        return table.copy(input)
    if k == 2:
        return table.flip(input, (i, j))
    turned = table.flip(input, (j,)) if k == 1 else table.flip(input, (i,))
    return turned.transpose(i, j)


def diag(input: Any, diagonal: int = 0) -> Any:
    """The diagonal of a matrix, a copy; of a vector the matrix with it on its diagonal."""
    if input.ndim == 2:
        return table.copy(functions.diagonal(input, diagonal))
    if input.ndim != 1:
        raise ValueError(f"diag: shape {input.array.shape}; wanted a vector or a matrix")
    n = input.shape[0] + abs(diagonal)
    places = table.places_on_diagonal((n, n), diagonal)
    return table.scatter(input, *places, index=(SLOT, SLOT), shape=(n, n))


@named("Trace")
def trace(input: Any) -> Any:
    """Σ x[i, i] of a matrix."""
    if input.ndim != 2:
        raise ValueError(f"trace: shape {input.array.shape}; wanted a matrix")
    return functions.diagonal(input).sum()


def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """gather() with the other dimensions of both repeated to fit; without a dim of one row."""
    if dim is None:
        return functions.gather(input.reshape(-1), 0, indices.reshape(-1))
    axis = axis_of(dim, input.ndim)
    if indices.ndim != input.ndim:
        raise ValueError(
            f"take_along_dim: indices have shape {indices.array.shape}, x {input.array.shape}"
        )
    others = ((*x.shape[:axis], 1, *x.shape[axis + 1 :]) for x in (input, indices))
    common = np.broadcast_shapes(*others)

    def fitted(x: Any) -> Any:
        return x.expand(*common[:axis], x.shape[axis], *common[axis + 1 :])

    return functions.gather(fitted(input), axis, fitted(indices))


# --- products -------------------------------------------------------------------------------


def product(name: str, wanted: str, x: Any, y: Any) -> Any:
    """x @ y, where `wanted` says what shapes they must have: "(n, k) and (k, m)"."""
    shapes = [tuple(shaped(a, name).shape) for a in (x, y)]
    sizes: dict[str, int] = {}
    fits = True
    for shape, inside in zip(shapes, re.findall(r"\((.*?),?\)", wanted)):
        letters = inside.split(", ")
        alike = [sizes.setdefault(a, n) == n for a, n in zip(letters, shape)]
        fits = fits and len(shape) == len(letters) and all(alike)
    if not fits:
        other = "(a * b).sum() takes a number" if name == "dot" else "matmul takes other shapes"
        raise ValueError(f"{name}: shapes {shapes[0]} and {shapes[1]}; wanted {wanted}; {other}")
    return table.matmul(x, y)


def dot(input: Any, tensor: Any) -> Any:
    """Σ a·b of two vectors of one size: (n,), (n,) -> ().

    ∂L/∂a = g * b; ∂L/∂b = g * a
    """
    return product("dot", "(n,) and (n,)", input, tensor)


def mv(input: Any, vec: Any) -> Any:
    """A matrix times a vector: (n, m), (m,) -> (n,).

    ∂L/∂A = outer(g, x); ∂L/∂x = A.T @ g
    """
    return product("mv", "(n, m) and (m,)", input, vec)


def mm(input: Any, mat2: Any) -> Any:
    """A matrix times a matrix: (n, k), (k, m) -> (n, m).

    ∂L/∂a = g @ b.T; ∂L/∂b = a.T @ g
    """
    return product("mm", "(n, k) and (k, m)", input, mat2)


@named("Bmm")
def bmm(input: Any, mat2: Any) -> Any:
    """a[i] @ b[i]: (b, n, k), (b, k, m) -> (b, n, m).

    ∂L/∂a = g @ b.mT; ∂L/∂b = a.mT @ g
    """
    return product("bmm", "(b, n, k) and (b, k, m)", input, mat2)


def outer(input: Any, vec2: Any) -> Any:
    """y[i, j] = a[i]·b[j] of two vectors: (n,), (m,) -> (n, m).

    ∂L/∂a = g @ b; ∂L/∂b = g.T @ a
    """
    shapes = [tuple(shaped(a, "outer").shape) for a in (input, vec2)]
    if any(len(shape) != 1 for shape in shapes):
        raise ValueError(f"outer: shapes {shapes[0]} and {shapes[1]}; wanted (n,) and (m,)")
    return input.reshape(-1, 1) * vec2.reshape(1, -1)


@named("Addmm")
def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta·input + alpha·(mat1 @ mat2); with beta=0 the input, and nan in it, is left out.

    ∂L/∂input = beta * g; ∂L/∂mat1 = alpha * g @ mat2.T; ∂L/∂mat2 = alpha * mat1.T @ g
    """
    return added("addmm", input, product("addmm", "(n, k) and (k, m)", mat1, mat2), beta, alpha)


@named("Baddbmm")
def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta·input + alpha·(batch1 @ batch2), of stacks of matrices."""
    products = product("baddbmm", "(b, n, k) and (b, k, m)", batch1, batch2)
    return added("baddbmm", input, products, beta, alpha)


def added(name: str, input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """beta·input + alpha·product; the input repeats to the shape of the product."""
    own, wanted = tuple(shaped(input, name).shape), tuple(product.shape)
    if len(own) > len(wanted) or any(n not in (1, m) for n, m in zip(own[::-1], wanted[::-1])):
        raise ValueError(f"{name}: the input of shape {own} does not repeat to {wanted}")
    product = functions.times(alpha, product)
    if type(beta) in (int, float) and beta == 0:
        return product
    return table.add(functions.times(beta, input), product)


@named("Addcmul")
def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value·tensor1·tensor2.

    ∂L/∂input = g; ∂L/∂tensor1 = value * g * tensor2; ∂L/∂tensor2 = value * g * tensor1
    """
    return table.add(input, functions.times(value, table.mul(tensor1, tensor2)))


@named("Addcdiv")
def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value·tensor1 / tensor2.

    ∂L/∂input = g; ∂L/∂tensor1 = value * g / tensor2;
    ∂L/∂tensor2 = -value * g * tensor1 / tensor2**2
    """
    return table.add(input, functions.times(value, table.div(tensor1, tensor2)))


@named("Lerp")
def lerp(input: Any, end: Any, weight: Any) -> Any:
    """input + weight·(end - input), computed from the nearer end, so that both are met.

    ∂L/∂input = g * (1 - weight); ∂L/∂end = g * weight; ∂L/∂weight = g * (end - input)
    """
    d = end - input
    from_start = input + functions.times(weight, d)
    from_end = end - d * (1.0 - weight)
    if isinstance(weight, (int, float)):
        return from_start if builtins.abs(weight) < 0.5 else from_end
    near = functions.looked_at(weight)
    return table.where(functions.decided(np.abs(near) < 0.5, weight), from_start, from_end)


@named("LinalgCross")
def cross(input: Any, other: Any, dim: int | None = None) -> Any:
    """The vector product along `dim`; without one the first dimension of size 3.

    ∂L/∂a = cross(b, g); ∂L/∂b = cross(g, a)
    """
    a, b = (x.expand(np.broadcast_shapes(input.shape, other.shape)) for x in (input, other))
    if dim is None:
        dim = next((axis for axis, n in enumerate(a.shape) if n == 3), None)
    if dim is None or a.shape[axis_of(dim, a.ndim)] != 3:
        raise ValueError(
            f"cross: shapes {input.array.shape} and {other.array.shape}, dim={dim}; wanted size 3"
        )
    axis = axis_of(dim, a.ndim)

    def turned(x: Any, order: list[int]) -> Any:
        return x[(ALL,) * axis + (np.array(order),)]

    next_one, last_one = [1, 2, 0], [2, 0, 1]
    return turned(a, next_one) * turned(b, last_one) - turned(a, last_one) * turned(b, next_one)


def joined(tensors: list[Any]) -> Any:
    """The elements of several tensors in one row."""
    return table.concatenate(*[x.reshape(-1) for x in tensors], axis=0)


def apart(whole: Any, like: list[Any]) -> list[Any]:
    """What was joined, in the shapes and dtypes that it had."""
    parts = zip(whole.split([x.numel() for x in like]), like)
    return [part.reshape(x.shape).astype(x.dtype) for part, x in parts]
