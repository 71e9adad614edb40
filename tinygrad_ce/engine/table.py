"""The calculus table: every primitive operation with its derivative.

Read a line as in a book: the function, then for each operand the gradient of the loss with
respect to it, given `g`, the gradient with respect to the output `y`. Broadcasting is undone by
the chain rule, so a rule forgets it. Operations without a gradient (comparisons, argmax) stand at
the end. Everything that is not here is composed from what is.

Rules are fed arrays, Tensors or Symbols, so they use operators, functions of NumPy and functions
of this table, never branch on values and never write in place.
"""

# The names of the table are NumPy's: sum, max, abs and pow hide Python's on purpose.

from __future__ import annotations

import builtins
import math
import operator
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_ce.engine.erfc import erf as erf_of_array, erfc as erfc_of_array
from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.engine.operands import all_within, box, is_number, speaks_numpy
from tinygrad_ce.engine.rule import differentiable, rule

warnings.filterwarnings(
    "ignore",
    r"(divide by zero|overflow|underflow|invalid value) encountered",
    RuntimeWarning,
    r"tinygrad_ce(\.|$)",
)  # inf and nan come without a word, as in PyTorch: NumPy says it where our code calls it
Function = Callable[..., Any]
Pair = tuple[int, int]  # of an image: its height, or rows, and its width, or columns

# --- arithmetic -----------------------------------------------------------------------------

add = rule(operator.add, lambda g: g, lambda g: g)
sub = rule(operator.sub, lambda g: g, lambda g: -g, dtypes="numbers")
mul = rule(operator.mul, lambda g, b: g * b, lambda g, a: g * a)
div = rule(operator.truediv, lambda g, b: g / b, lambda g, y, b: -g * y / b, dtypes="float")
neg = rule(operator.neg, lambda g: -g)


@differentiable(lambda g, x, exponent: g * exponent * power(x, exponent - 1) if exponent else g * 0)
def power(x: Any, exponent: float) -> Any:
    """x ** exponent for a Python number; 0 ** 0 = 1."""
    if exponent == 2:
        return np.square(x)
    if exponent == 1:
        return x * 1
    if exponent == 0.5:
        return np.sqrt(x)
    return np.power(x, exponent)


# 0 ** b: the factor b is 0 where b = 0, and log has a safe operand where 0 ** b is flat.
float_power = rule(
    operator.pow,
    lambda g, a, b: g * b * where(b == 0, 1.0, a) ** (b - 1),
    lambda g, y, a, b: g * y * log(where((a == 0) & (b >= 0), 1.0, a)),
)

# --- elementary functions -------------------------------------------------------------------

exp = rule(np.exp, lambda g, y: g * y, dtypes="float")
log: Function = rule(np.log, lambda g, x: g / x, dtypes="float")
log2 = rule(np.log2, lambda g, x: g / x / math.log(2), dtypes="float")
log10 = rule(np.log10, lambda g, x: g / x / math.log(10), dtypes="float")
log1p = rule(np.log1p, lambda g, x: g / (x + 1.0), dtypes="float")
expm1 = rule(np.expm1, lambda g, y: g * (y + 1.0), dtypes="float")
sqrt = rule(np.sqrt, lambda g, y: g / (y * 2.0), dtypes="float")
sin = rule(np.sin, lambda g, x: g * cos(x), dtypes="float")
cos: Function = rule(np.cos, lambda g, x: -g * sin(x), dtypes="float")
tan = rule(np.tan, lambda g, y: g * (1.0 + y * y), dtypes="float")
sinh = rule(np.sinh, lambda g, x: g * cosh(x), dtypes="float")
cosh: Function = rule(np.cosh, lambda g, x: g * sinh(x), dtypes="float")
tanh = rule(np.tanh, lambda g, y: g * (1.0 - y * y), dtypes="float")

# 1 - x² near 1 keeps its digits as a product, and 1 + x² = hypot(x, 1)² cannot overflow.
arcsin = rule(np.arcsin, lambda g, x: g / sqrt((1.0 - x) * (1.0 + x)), dtypes="float")
arccos = rule(np.arccos, lambda g, x: -g / sqrt((1.0 - x) * (1.0 + x)), dtypes="float")
arctan = rule(np.arctan, lambda g, x: g / hypot(x, 1.0) / hypot(x, 1.0), dtypes="float")
arcsinh = rule(np.arcsinh, lambda g, x: g / hypot(x, 1.0), dtypes="float")
arctan2 = rule(
    np.arctan2,
    lambda g, a, b: g * (b / nonzero_or_one(hypot(a, b)) / nonzero_or_one(hypot(a, b))),
    lambda g, a, b: g * (-a / nonzero_or_one(hypot(a, b)) / nonzero_or_one(hypot(a, b))),
    dtypes="float",
)
hypot: Function = rule(
    np.hypot,
    lambda g, y, a: g * (a / nonzero_or_one(y)),
    lambda g, y, b: g * (b / nonzero_or_one(y)),
    dtypes="float",
)

# exp(−x²) is 0 from 28 on, where x² may still overflow.
erf = rule(
    speaks_numpy(erf_of_array),
    lambda g, x: g * exp(-power(clip(x, -28.0, 28.0), 2)) * (2.0 / math.sqrt(math.pi)),
    name="erf",
    dtypes="float",
)
erfc = rule(
    speaks_numpy(erfc_of_array),
    lambda g, x: g * exp(-power(clip(x, -28.0, 28.0), 2)) * (-2.0 / math.sqrt(math.pi)),
    name="erfc",
    dtypes="float",
)

# At the kinks: |x|' is 0 at 0, a step is flat, and equal operands share the gradient.
abs = rule(np.abs, lambda g, x: g * sign(x))
sign: Function = rule(np.sign, lambda g: g * 0.0)
floor = rule(np.floor, lambda g: g * 0.0)
ceil = rule(np.ceil, lambda g: g * 0.0)
round = rule(np.rint, lambda g: g * 0.0)
trunc: Function = rule(np.trunc, lambda g: g * 0.0)
maximum = rule(
    np.maximum,
    lambda g, a, b: where(a > b, g, where(a == b, g * 0.5, 0.0)),
    lambda g, a, b: where(b > a, g, where(a == b, g * 0.5, 0.0)),
)
minimum = rule(
    np.minimum,
    lambda g, a, b: where(a < b, g, where(a == b, g * 0.5, 0.0)),
    lambda g, a, b: where(b < a, g, where(a == b, g * 0.5, 0.0)),
)


@differentiable(lambda g, y: masked(g, y != 0))
@speaks_numpy
def relu(x: Any) -> Any:
    """max(x, 0); its slope at 0 is 0. A nan stays a nan."""
    return np.maximum(x, box(0.0, x.dtype))


@differentiable(lambda g, x, low, high: masked(g, inside(x, low, high)))
def clip(x: Any, low: float | None, high: float | None) -> Any:
    """min(max(x, low), high) for Python numbers; the gradient passes at the bounds."""
    return np.clip(x, low, high)


def inside(x: Any, low: float | None, high: float | None) -> Any:
    """low ≤ x ≤ high, where None is no bound."""
    if low is None:
        return x <= high
    return x >= low if high is None else (x >= low) & (x <= high)


# --- selection ------------------------------------------------------------------------------


def _where(condition: Any, a: Any, b: Any) -> Any:
    return np.where(condition, a, b)


choose = rule(
    _where,
    None,
    lambda g, condition: masked(g, condition),
    lambda g, condition: masked(g, ~condition),
    name="where",
    dtypes="branches",
)


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds (is not 0), b elsewhere."""
    dtype = getattr(condition, "dtype", None)
    if dtype is None:
        array = np.asarray(condition)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"where: the condition is {a_type(condition)}; wanted a Tensor")
        condition = array != 0
    elif dtype != np.bool_:
        condition = condition != 0
    return choose(condition, a, b)


_BITS = {np.dtype(f): np.dtype(i) for f, i in ((np.float32, np.int32), (np.float64, np.int64))}


@differentiable(lambda g, keep: masked(g, keep), None)
@speaks_numpy
def masked(x: Any, keep: Any) -> Any:
    """x where `keep` is true, 0 elsewhere: `where(keep, x, 0)`, several times faster.

    The bits of x are multiplied by 0 or 1, so infinities and nans disappear too.
    """
    dtype = x.dtype
    bits = _BITS.get(dtype)
    if keep.dtype != bool:
        raise TypeError(f"masked: keep has dtype {keep.dtype}; wanted booleans: keep != 0")
    return np.where(keep, x, 0) if bits is None else (x.view(bits) * keep.astype(bits)).view(dtype)


# --- sums and products ----------------------------------------------------------------------


def axis_of(axis: int, ndim: int) -> int:
    """`axis` counted from the first one; -1 is the last."""
    if not isinstance(axis, (int, np.integer)):
        raise TypeError(f"dimension {axis!r}: wanted an integer")
    if not ndim:
        raise IndexError(f"dimension {axis} of a tensor that has none, a number: x.reshape(1)")
    if not -ndim <= axis < ndim:
        raise IndexError(f"dimension {axis} of a tensor with {ndim}: wanted {-ndim} to {ndim - 1}")
    return axis % ndim


def with_axes_back(g: Any, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Any:
    """`g` of a reduction over `axis`, with the reduced axes back as axes of size 1."""
    return g if keepdims or axis is None else g.reshape(kept_shape(shape, axis))


@lru_cache(1024)
def kept_shape(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """`shape` with 1 at the reduced axes."""
    if axis is None:
        return (1,) * len(shape)
    axes = axis if isinstance(axis, tuple) else (axis,)
    reduced = {a % len(shape) for a in axes} if shape else set()
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


@lru_cache(1024)
def reduced_shape(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """`shape` without the axes that are reduced."""
    if axis is None or not shape:
        return ()
    axes = {a % len(shape) for a in (axis if isinstance(axis, tuple) else (axis,))}
    return tuple(n for i, n in enumerate(shape) if i not in axes)


add_up: Function = np.add.reduce
SHORT = 256  # so many numbers may be added one after another; longer rows are added in pairs

_ones: dict[tuple[int, Any], np.ndarray] = {}


def ones(n: int, dtype: Any) -> np.ndarray:
    """A row of n ones, made once."""
    row = _ones.get((n, dtype))
    if row is None:
        row = np.ones(n, dtype)
        row.flags.writeable = False
        if len(_ones) < 256:
            _ones[n, dtype] = row
    return row


@differentiable(
    lambda g, shape, axis, keepdims: broadcast_to(with_axes_back(g, shape, axis, keepdims), shape)
)
def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Σ x over `axis` (an int, a tuple, or None for all)."""
    if type(axis) is int and x.ndim == 2 and x.dtype.kind == "f":  # products with ones are faster
        if axis in (0, -2) and (x.shape[1] > 1 or x.shape[0] <= SHORT):
            y = np.dot(ones(x.shape[0], x.dtype), x)
            return y.reshape(1, -1) if keepdims else y
        if x.shape[1] <= SHORT and axis in (1, -1):
            y = np.dot(x, ones(x.shape[1], x.dtype))
            return y.reshape(-1, 1) if keepdims else y
    elif (
        axis is not None
        and isinstance(x, np.ndarray)
        and x.dtype.kind == "f"
        and (found := as_matrix(x.shape, axis))
    ):
        shape, along = found
        row = ones(shape[along], x.dtype)
        y = np.dot(x.reshape(shape), row) if along else np.dot(row, x.reshape(shape))
        return y.reshape((kept_shape if keepdims else reduced_shape)(x.shape, axis))
    return add_up(x, axis, None, None, keepdims)


@lru_cache(1024)
def as_matrix(shape: tuple[int, ...], axis: Any) -> tuple[Pair, int] | None:
    """The matrix that has a sum over `axis` along its axis 0 or 1, and which of both.

    There is one for sums over the first axes, and over few numbers in the last ones; none for many
    numbers that lie side by side, which NumPy adds up in pairs.
    """
    n = len(shape)
    axes = axis if isinstance(axis, tuple) else (axis,)
    if axis is None or not n or (n == 2 and isinstance(axis, tuple)):
        return None
    reduced = [a + n * (a < 0) for a in sorted(axes, key=lambda a: a % n)]
    for along, cut in enumerate((len(axes), n - len(axes))):
        if 0 < cut < n and reduced == [*(range(cut, n) if along else range(cut))]:
            matrix = math.prod(shape[:cut]), math.prod(shape[cut:])
            apart = not along and matrix[1] > 1
            return (matrix, along) if apart or matrix[along] <= SHORT else None
    return None


def _extremum_gradient(g: Any, y: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    shape = x.shape
    at = astype(x == with_axes_back(y, shape, axis, keepdims), g.dtype)
    return with_axes_back(g, shape, axis, keepdims) * at / sum(at, axis, True)


def _extremum(ufunc: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """A reduction over short rows is faster along a transposed copy; a program has one step.

    What is the largest does not depend on the way (but for the sign of a zero among zeros of both
    signs), so a trace need not know which was taken, and is the same for every number of rows.
    """
    if not isinstance(x, np.ndarray):
        return ufunc.reduce(x, axis=axis, keepdims=keepdims)
    if x.ndim == 2 and (axis == 1 or axis == -1) and x.shape[0] > x.shape[1] > 1:
        y = ufunc.reduce(x.T.copy(), 0)
        return y.reshape(-1, 1) if keepdims else y
    n = x.shape[-1] if x.ndim > 2 else 0
    if n > 1 and (axis == -1 or axis == x.ndim - 1) and x.size > n * n:
        y = ufunc.reduce(x.reshape(-1, n).T.copy(), 0)
        return y.reshape(x.shape[:-1] + (1,) * keepdims)
    return ufunc.reduce(x, axis=axis, keepdims=keepdims)


@differentiable(_extremum_gradient)
def amax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest element over `axis`; equal ones share the gradient."""
    return _extremum(np.maximum, x, axis, keepdims)


@differentiable(_extremum_gradient)
def amin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest element over `axis`; equal ones share the gradient."""
    return _extremum(np.minimum, x, axis, keepdims)


@differentiable(lambda g, axis: flip(cumsum(flip(g, (axis,)), axis), (axis,)))
def cumsum(x: Any, axis: int) -> Any:
    """y[k] = Σ x[0..k] along `axis`."""
    return np.add.accumulate(x, axis=axis)


def _cumprod_gradient(g: Any, x: Any, axis: int) -> Any:
    """∂y[k]/∂x[i] = Π over j ≤ k, j ≠ i of x[j] for i ≤ k: no division, so zeros are no case."""
    n = x.shape[axis]
    rows = reshape(moveaxis(x, axis, -1), (*other_axes(x.shape, axis), 1, n))
    eye = np.eye(n, dtype=bool)
    others = cumprod(where(eye, 1.0, rows), -1)
    into = where(np.tri(n, dtype=bool).T, others, 0.0)
    g = reshape(moveaxis(g, axis, -1), (*other_axes(x.shape, axis), 1, n))
    return moveaxis(sum(g * into, -1), -1, axis)


@differentiable(_cumprod_gradient)
def cumprod(x: Any, axis: int) -> Any:
    """y[k] = Π x[0..k] along `axis`."""
    return np.multiply.accumulate(x, axis=axis)


def other_axes(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """`shape` without `axis`."""
    axis = axis_of(axis, len(shape))
    return shape[:axis] + shape[axis + 1 :]


def _prod_gradient(g: Any, x: Any) -> Any:
    """∂y/∂x[i] = Π of the others = (Π before i)·(Π after i), for the last axis."""
    ones = x[..., :1] * 0.0 + 1.0
    before = concatenate(ones, cumprod(x, -1)[..., :-1], axis=-1)
    after = concatenate(flip(cumprod(flip(x, (-1,)), -1), (-1,))[..., 1:], ones, axis=-1)
    return reshape(g, (*g.shape, 1)) * before * after


@differentiable(_prod_gradient)
def prod(x: Any) -> Any:
    """Π x over the last axis."""
    return np.multiply.reduce(x, axis=-1)


@differentiable(
    lambda g, y, x, axis, keepdims: (
        x
        / nonzero_or_one(with_axes_back(y, x.shape, axis, keepdims))
        * with_axes_back(g, x.shape, axis, keepdims)
    )
)
def norm(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """√(Σ x²) over `axis`, without overflow or underflow; its gradient at 0 is 0."""
    size = _extremum(np.maximum, np.abs(x), axis, True)
    _, exponent = np.frexp(np.where(np.isfinite(size), size, 1))
    squares = sum(np.square(np.ldexp(x, -exponent)), axis, True)
    y = np.ldexp(np.sqrt(squares), exponent)
    return y if keepdims else y.reshape(reduced_shape(x.shape, axis))


def nonzero_or_one(x: Any) -> Any:
    """x, with 1 in the place of 0: something safe to divide by."""
    return where(x == 0.0, 1.0, x)


# --- matrix products ------------------------------------------------------------------------


def _product_with_vectors(a: Any, v: Any) -> Any:
    """a (..., n, k), v (..., k) -> (..., n): each matrix times its own vector."""
    return matmul(a, v) if a.ndim == 2 else matmul(a, v[..., None])[..., 0]


def _matmul_gradient_a(g: Any, a: Any, b: Any) -> Any:
    if b.ndim == 1:  # g (..., m), b (k,) -> (..., m, k)
        return g[..., None] * b
    if a.ndim == 1:  # g (..., m), b (..., k, m) -> (..., k)
        return _product_with_vectors(b, g)
    return matmul(g, b.mT)


def _matmul_gradient_b(g: Any, a: Any, b: Any) -> Any:
    if a.ndim == 1:  # a (k,), g (..., m) -> (..., k, m); b (k,) -> (k,)
        return a * g if b.ndim == 1 else a[:, None] * g[..., None, :]
    if b.ndim == 1:  # a (..., m, k), g (..., m) -> (..., k)
        return _product_with_vectors(a.mT, g)
    if b.ndim == 2 and a.ndim > 2:  # one product over all leading axes
        k, m = b.shape
        rows = math.prod(a.shape[:-1])
        return matmul(reshape(a, (rows, k)).mT, reshape(g, (rows, m)))
    return matmul(a.mT, g)


# Of two matrices: (n, k), (k, m) -> (n, m), and inner: a bᵀ, (n, k), (m, k) -> (n, m).
mm: Function = rule(
    np.dot, lambda g, b: mm(g, b.mT), lambda g, a: mm(a.mT, g), name="matmul", dtypes="one"
)
inner = rule(np.inner, lambda g, b: mm(g, b), lambda g, a: mm(g.mT, a), name="inner", dtypes="one")
any_matmul = rule(np.matmul, _matmul_gradient_a, _matmul_gradient_b, dtypes="one")


def matmul(a: Any, b: Any) -> Any:
    """a @ b: (..., n, k), (..., k, m) -> (..., n, m); one-dimensional operands as in NumPy.

    ∂L/∂a = g @ b.mT; ∂L/∂b = a.mT @ g
    """
    matrices = getattr(a, "ndim", 0) == 2 and getattr(b, "ndim", 0) == 2
    return mm(a, b) if matrices else any_matmul(a, b)


def _einsum_gradient(g: Any, operands: tuple[Any, ...], spec: str, i: int) -> Any:
    """Swap operand i with the output; where the others have a label not, or once, repeat g."""
    terms, out = spec.split("->")[0].split(","), spec.split("->")[1]
    others = [(t, x) for j, (t, x) in enumerate(zip(terms, operands)) if j != i]
    here = {label for term in [out, *(t for t, _ in others)] for label in term}
    found = "".join(label for label in terms[i] if label in here)
    left = ",".join([out, *(t for t, _ in others)])
    d = einsum(g, *(x for _, x in others), spec=f"{left}->{found}")
    pairs = list(zip(terms[i], operands[i].shape))
    found_sizes = iter(d.shape)  # larger than the operand's where it was broadcast
    kept = tuple(next(found_sizes) if label in here else 1 for label, _ in pairs)
    full = tuple(n if k == 1 else k for k, (_, n) in zip(kept, pairs))
    return broadcast_to(d.reshape(kept), full)


@differentiable(_einsum_gradient, dtypes="one")
def einsum(*operands: Any, spec: str = "") -> Any:
    """Σ over the labels that the output lacks; `spec` is explicit, no label twice in a term."""
    y = np.einsum(spec, *operands, optimize=True)
    return y.copy() if len(operands) == 1 else y  # of one operand it may be a view


# --- shape ----------------------------------------------------------------------------------


@differentiable(lambda g, shape: reshape(g, shape), view=True)
def reshape(x: Any, new_shape: tuple[int, ...]) -> Any:
    """The same elements in rows of another length."""
    return x.reshape(new_shape)


@differentiable(lambda g, axes: transpose(g, inverse(axes)), view=True)
def transpose(x: Any, axes: tuple[int, ...]) -> Any:
    """Axis i of the result is axis axes[i] of x."""
    return x.transpose(axes)


@differentiable(lambda g: g.mT, view=True)
def mT(x: Any) -> Any:  # noqa: N802
    """The last two axes exchanged."""
    return x.mT


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `axes`."""
    n = len(axes)
    return tuple(sorted(range(n), key=lambda i: axes[i] % n))


def moveaxis(x: Any, source: int, destination: int) -> Any:
    """x with one axis moved, the others in their order."""
    source, destination = axis_of(source, x.ndim), axis_of(destination, x.ndim)
    axes = [i for i in range(x.ndim) if i != source]
    axes.insert(destination, source)
    return transpose(x, tuple(axes))


@differentiable(lambda g: g, view=True)  # the chain rule sums over what was repeated
@speaks_numpy
def broadcast_to(x: Any, shape: tuple[int, ...]) -> Any:
    """x repeated (not copied) to `shape`."""
    if x.ndim == 0 and math.prod(shape) <= SHORT:
        y = np.empty(shape, x.dtype)
        y.fill(x)
        return y
    strides = repeating(x.shape, x.strides, tuple(shape)) if x.flags.c_contiguous else None
    if strides is None:
        return np.broadcast_to(x, shape)
    y = np.ndarray(shape, x.dtype, x, 0, strides)  # the same, several times faster
    y.flags.writeable = False
    return y


@lru_cache(1024)
def repeating(shape: Any, strides: tuple[int, ...], full: Any) -> tuple[int, ...] | None:
    """The strides with which `shape` repeats to `full`, where it does."""
    extra = len(full) - len(shape)
    if extra < 0 or builtins.any(m not in (1, n) for m, n in zip(shape, full[extra:])):
        return None
    return (0,) * extra + tuple(0 if m == 1 else s for m, s in zip(shape, strides))


@differentiable(lambda g: g)
def copy(x: Any) -> Any:
    """The same values in a new array."""
    return x.copy()


@differentiable(lambda g, own_dtype: astype(g, own_dtype))
def astype(x: Any, dtype: Any) -> Any:
    """The same values in another dtype of floats."""
    return x.astype(dtype)


as_whole = rule(lambda x, dtype: x.astype(dtype), None, name="astype")  # steps have no slope


# --- indexing -------------------------------------------------------------------------------


class Slot:
    """Where an index array stands in an index: arrays are operands, the rest is a setting."""

    def __repr__(self) -> str:
        return "·"


SLOT = Slot()


def filled(index: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """`index` with the arrays back in their slots."""
    if len(arrays) == len(index):
        return tuple(arrays)
    rest = iter(arrays)
    return tuple(next(rest) if part is SLOT else part for part in index)


@differentiable(
    lambda g, shape, arrays, index: scatter(g, *arrays, index=index, shape=shape), None, view=True
)
def getitem(x: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    """x[index]. An element taken twice gathers both gradients."""
    if arrays:
        return x[filled(index, arrays)]
    if len(index) == x.ndim and builtins.all(type(i) is int for i in index) and not is_number(x):
        index = (*index, ...)  # of one element too a view, into which one can write
    return x[index]


@differentiable(
    lambda g, arrays, index: put(g, 0.0, *arrays, index=index),
    lambda g, arrays, index: getitem(g, *arrays, index=index),
    None,
)
@speaks_numpy
def put(x: Any, values: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    """x with `values` at `index`: what `x[index] = values` makes of x."""
    y = x.copy() if x.ndim else np.array(x)  # of a number too
    y[filled(index, arrays)] = values
    return y


@differentiable(lambda g, arrays, index: getitem(g, *arrays, index=index), None)
@speaks_numpy
def scatter(x: Any, *arrays: Any, index: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
    """Zeros of `shape`, plus x at `index`: the transpose of getitem."""
    y = np.zeros(shape, x.dtype)
    at = filled(index, arrays)
    for array in arrays:
        if array.dtype.kind != "b":
            add_at(y, at, x)
            return y
    y[at] = x
    return y


LONG_ROWS = 1 << 11  # numbers from which sorting the rows pays


def add_at(y: Any, index: tuple[Any, ...], x: Any) -> None:
    """y[index] += x, where what is named twice gets both, as by `np.add.at`.

    Many rows are sorted by where they go, and each run of them is added up at once: that is up to
    eight times faster, and adds in the order in which the rows stand.
    """
    ids = index[0]
    if len(index) > 1 or y.ndim < 2 or x.size < LONG_ROWS or x.shape != ids.shape + y.shape[1:]:
        np.add.at(y, index, x)
        return
    ids = ids.astype(np.intp, copy=False).ravel()
    ids = np.where(ids < 0, ids + len(y), ids)
    order = ids.argsort(kind="stable")
    ids = ids[order]
    first = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
    y[ids[first]] += np.add.reduceat(x.reshape(-1, *y.shape[1:])[order], first, axis=0)


@differentiable(
    lambda g, shape, offset: scatter(
        g, *places_on_diagonal(shape, offset), index=(..., SLOT, SLOT), shape=shape
    ),
    view=True,
)
def diagonal(x: Any, offset: int) -> Any:
    """x[..., i, i + offset]."""
    return x.diagonal(offset, -2, -1)


def places_on_diagonal(shape: tuple[int, ...], offset: int) -> tuple[Any, Any]:
    """Rows and columns of the diagonal of the last two axes."""
    rows, columns = shape[-2:]
    above, left = max(-offset, 0), max(offset, 0)
    i = np.arange(max(min(rows - above, columns - left), 0))
    return i + above, i + left


@differentiable(lambda g, axes: flip(g, axes))
def flip(x: Any, axes: tuple[int, ...]) -> Any:
    """x backwards along `axes`, a copy."""
    back = {axis_of(axis, x.ndim) for axis in axes}
    return x[tuple(slice(None, None, -1 if i in back else None) for i in range(x.ndim))].copy()


def _part(g: Any, shapes: tuple[tuple[int, ...], ...], i: int, axis: int) -> Any:
    """The piece of g that came from operand i."""
    axis %= g.ndim
    start = builtins.sum(shape[axis] for shape in shapes[:i])
    return g[(slice(None),) * axis + (slice(start, start + shapes[i][axis]),)]


@differentiable(_part, dtypes="mixed")
def concatenate(*xs: Any, axis: int = 0) -> Any:
    """The arrays one after another along `axis`."""
    return np.concatenate(xs, axis=axis)


@differentiable(lambda g, i, axis: g[(slice(None),) * (axis % g.ndim) + (i,)], dtypes="mixed")
def stack(*xs: Any, axis: int = 0) -> Any:
    """The arrays side by side along a new axis."""
    return np.stack(xs, axis=axis)


@differentiable(
    lambda g, shape, widths: g[tuple(slice(w[0], w[0] + n) for w, n in zip(widths, shape))]
)
@speaks_numpy
def pad(x: Any, widths: tuple[Pair, ...], value: float = 0.0) -> Any:
    """x with `value` around it; widths are (before, after) for each axis."""
    full = tuple(a + n + b for n, (a, b) in zip(x.shape, widths))
    y = np.full_like(x, value, shape=full)
    y[tuple(slice(a, a + n) for n, (a, b) in zip(x.shape, widths))] = x
    return y


@differentiable(lambda g, shape, window, axes: overlap_add(g, shape, window, axes), view=True)
def sliding_windows(x: Any, window: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """Every window of the given sizes along `axes`; the windows' elements become the last axes."""
    return sliding_window_view(x, window, axes)


@differentiable(lambda g, window, axes: sliding_windows(g, window, axes))
@speaks_numpy
def overlap_add(
    x: Any, full: tuple[int, ...], window: tuple[int, ...], axes: tuple[int, ...]
) -> Any:
    """Windows laid back where they were taken, overlaps added: the transpose of windows."""
    y = np.zeros(full, x.dtype)
    for offset in np.ndindex(*window):
        part = [slice(None)] * len(full)
        for axis, start in zip(axes, offset):
            part[axis] = slice(start, start + x.shape[axis])
        y[tuple(part)] += x[(..., *offset)]
    return y


# --- windows of images ----------------------------------------------------------------------
#
# A window of kh·kw elements is looked at as kh·kw arrays: all first elements, all second ones, and
# so on. Each is a view of the image, so a maximum over windows is a few maxima of whole arrays.
# What is as large as the image lies in memory as the image does.


def window_counts(
    shape: tuple[int, ...], axes: Pair, size: Pair, stride: Pair, dilation: Pair = (1, 1)
) -> Pair:
    """How many windows fit below and beside each other."""
    h, w = ((shape[a] - (k - 1) * d - 1) // s + 1
            for a, k, s, d in zip(axes, size, stride, dilation))  # fmt: skip
    return h, w


def window_parts(
    x: Any, axes: Pair, size: Pair, stride: Pair, dilation: Pair = (1, 1)
) -> list[Any]:
    """For each place in a window, row by row, a view of the elements there."""
    counts = window_counts(x.shape, axes, size, stride, dilation)
    views = []
    for offset in np.ndindex(*size):
        index = [slice(None)] * x.ndim
        for axis, i, n, s, d in zip(axes, offset, counts, stride, dilation):
            index[axis] = slice(i * d, i * d + (n - 1) * s + 1, s)
        views.append(x[tuple(index)])
    return views


@differentiable(lambda g, shape, size, stride, dilation: col2im(g, shape, size, stride, dilation))
@speaks_numpy
def im2col(x: Any, size: Pair, stride: Pair, dilation: Pair) -> Any:
    """Every window as a column: (C, H, W, N) -> (C·kh·kw, H'·W'·N)."""
    x = np.ascontiguousarray(x)
    c, k, n = x.shape[0], math.prod(size), x.shape[3]
    h, w = window_counts(x.shape, (1, 2), size, stride, dilation)
    y = np.empty((c, k, h, w, n), x.dtype)
    for i, part in enumerate(window_parts(x, (1, 2), size, stride, dilation)):
        y[:, i] = part
    return y.reshape(c * k, h * w * n)


@differentiable(lambda g, size, stride, dilation: im2col(g, size, stride, dilation))
@speaks_numpy
def col2im(x: Any, full: tuple[int, ...], size: Pair, stride: Pair, dilation: Pair) -> Any:
    """Columns laid back where they were taken, overlaps added: the transpose of im2col."""
    y = np.zeros(full, x.dtype)
    counts = window_counts(full, (1, 2), size, stride, dilation)
    x = x.reshape(full[0], math.prod(size), *counts, full[3])
    for i, part in enumerate(window_parts(y, (1, 2), size, stride, dilation)):
        part += x[:, i]
    return y


def _max_pool_gradient(g: Any, x: Any, size: Pair, stride: Pair, axes: Pair) -> Any:
    best = argmax_pool(x, max_pool(x, size, stride, axes), size, stride, axes)
    return put_in_windows(g, best, x.shape, size, stride, axes)


@differentiable(_max_pool_gradient)
@speaks_numpy
def max_pool(x: Any, size: Pair, stride: Pair, axes: Pair) -> Any:
    """The largest element of each window along `axes`; the gradient goes to the first of equals."""
    first, *rest = window_parts(x, axes, size, stride)
    y = first.copy("K")
    for part in rest:
        np.maximum(y, part, out=y)
    return np.ascontiguousarray(y)


def _argmax_pool(x: Any, y: Any, size: Pair, stride: Pair, axes: Pair) -> Any:
    """Where in each window its largest element `y` is, counted row by row; the first, or nan."""
    parts = window_parts(x, axes, size, stride)
    best = np.zeros_like(x, np.min_scalar_type(len(parts)), shape=parts[0].shape)
    y = like(y, best)
    missing = np.ones_like(best, bool)
    nan = np.isnan(y).any()
    for part in parts[:-1]:
        missing &= part != y
        if nan:
            missing &= part == part
        best += missing
    return best


def like(x: Any, y: Any) -> Any:
    """x, its axes in memory in the order of those of y."""
    z = np.empty_like(y, x.dtype, shape=x.shape)
    z[...] = x
    return z


argmax_pool: Function = rule(speaks_numpy(_argmax_pool), None, None, name="argmax_pool")


@differentiable(
    lambda g, best, size, stride, axes: take_in_windows(g, best, size, stride, axes), None
)
@speaks_numpy
def put_in_windows(
    x: Any, best: Any, full: tuple[int, ...], size: Pair, stride: Pair, axes: Pair
) -> Any:
    """Zeros, plus x at the place `best` in each window: the transpose of take_in_windows."""
    y = np.zeros_like(best, x.dtype, shape=full)
    x = like(x, best)
    apart = size[0] <= stride[0] and size[1] <= stride[1]
    for i, part in enumerate(window_parts(y, axes, size, stride)):
        own = masked(x, best == i)
        part[...] = own if apart else part + own
    return y


@differentiable(
    lambda g, shape, best, size, stride, axes: put_in_windows(g, best, shape, size, stride, axes),
    None,
)
@speaks_numpy
def take_in_windows(x: Any, best: Any, size: Pair, stride: Pair, axes: Pair) -> Any:
    """Of each window the element at the place `best`."""
    y = np.zeros(best.shape, x.dtype)
    for i, part in enumerate(window_parts(x, axes, size, stride)):
        y += masked(part, best == i)
    return y


@differentiable(lambda g, shape, size, stride, axes: sum_unpool(g, shape, size, stride, axes))
@speaks_numpy
def sum_pool(x: Any, size: Pair, stride: Pair, axes: Pair) -> Any:
    """The sum of each window along `axes`."""
    first, *rest = window_parts(x, axes, size, stride)
    y = first.copy("K")
    for part in rest:
        y += part
    return np.ascontiguousarray(y)


@differentiable(lambda g, size, stride, axes: sum_pool(g, size, stride, axes))
@speaks_numpy
def sum_unpool(x: Any, full: tuple[int, ...], size: Pair, stride: Pair, axes: Pair) -> Any:
    """x added to every element of its window: the transpose of sum_pool."""
    y = np.zeros_like(x, shape=full)
    for part in window_parts(y, axes, size, stride):
        part += x
    return y


# --- without a gradient ---------------------------------------------------------------------

greater = rule(operator.gt, None, None)
greater_equal = rule(operator.ge, None, None)
less = rule(operator.lt, None, None)
less_equal = rule(operator.le, None, None)
equal = rule(operator.eq, None, None)
not_equal = rule(operator.ne, None, None)
logical_and = rule(operator.and_, None, None)
logical_or = rule(operator.or_, None, None)
logical_xor = rule(operator.xor, None, None)
logical_not = rule(operator.invert, None)
isnan = rule(np.isnan, None)
isinf = rule(np.isinf, None)
isfinite = rule(np.isfinite, None)


def divisor(a: Any, b: Any) -> Any:
    """b, if a / b is not of integers with a 0 in b, which NumPy makes 0."""
    whole = builtins.all(
        getattr(x, "dtype", None) is not None and x.dtype.kind in "iub" for x in (a, b)
    )
    if whole and not all_within(b == 0, 0, 0):
        raise RuntimeError(
            "ZeroDivisionError: integers are divided by 0; floats give inf or nan: a.float()"
        )
    return b


mod = rule(
    lambda a, b: a % divisor(a, b), lambda g: g, lambda g, a, b: -g * floor(a / b), name="mod"
)
fmod = rule(
    lambda a, b: np.fmod(a, divisor(a, b)), lambda g: g, lambda g, a, b: -g * trunc(a / b),
    name="fmod",
)  # fmt: skip
floordiv = rule(
    lambda a, b: a // divisor(a, b), lambda g: g * 0.0, lambda g: g * 0.0, name="floordiv"
)


@differentiable(None)
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The index of the first largest element."""
    return np.argmax(x, axis=axis, keepdims=keepdims)


@differentiable(None)
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The index of the first smallest element."""
    return np.argmin(x, axis=axis, keepdims=keepdims)


@differentiable(None)
def argsort(x: Any, axis: int = -1) -> Any:
    """The indices that sort x; equal elements stay in their order."""
    return np.argsort(x, axis=axis, kind="stable")


@differentiable(None)
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether all elements are true."""
    return np.all(x, axis=axis, keepdims=keepdims)


@differentiable(None)
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether some element is true."""
    return np.any(x, axis=axis, keepdims=keepdims)


# --- what help() says of those that NumPy computes ------------------------------------------

SAID: dict[Function, tuple[str, ...]] = {
    add: ("input + other.", "1", "1"),
    sub: ("input - other.", "1", "-1"),
    mul: ("input · other.", "other", "input"),
    div: ("input / other.", "1 / other", "-y / other"),
    neg: ("-x.", "-1"),
    float_power: ("input ** other.", "other * input ** (other - 1)", "y * log(input)"),
    exp: ("eˣ.", "y"),
    log: ("log x, to the base e.", "1 / x"),
    log2: ("log x, to the base 2.", "1 / (x * log(2))"),
    log10: ("log x, to the base 10.", "1 / (x * log(10))"),
    log1p: ("log(1 + x), exact near 0.", "1 / (1 + x)"),
    expm1: ("eˣ - 1, exact near 0.", "y + 1"),
    sqrt: ("√x.", "1 / (2 * y)"),
    sin: ("sin x, of radians.", "cos(x)"),
    cos: ("cos x, of radians.", "-sin(x)"),
    tan: ("tan x, of radians.", "1 + y**2"),
    sinh: ("(eˣ - e⁻ˣ) / 2.", "cosh(x)"),
    cosh: ("(eˣ + e⁻ˣ) / 2.", "sinh(x)"),
    tanh: ("(eˣ - e⁻ˣ) / (eˣ + e⁻ˣ).", "1 - y**2"),
    arcsin: ("The angle in [−π/2, π/2] whose sine is x.", "1 / sqrt(1 - x**2)"),
    arccos: ("The angle in [0, π] whose cosine is x.", "-1 / sqrt(1 - x**2)"),
    arctan: ("The angle in (−π/2, π/2) whose tangent is x.", "1 / (1 + x**2)"),
    arcsinh: ("log(x + √(x² + 1)).", "1 / sqrt(1 + x**2)"),
    arctan2: (
        "The angle of the point with height input and width other; at (0, 0) its gradient is 0.",
        "other / (input**2 + other**2)",
        "-input / (input**2 + other**2)",
    ),
    hypot: (
        "√(input² + other²), without overflow; its gradient at (0, 0) is 0.",
        "input / y",
        "other / y",
    ),
    abs: ("|x|; its slope at 0 is 0.", "sign(x)"),
    sign: ("-1, 0 or 1.", "0"),
    floor: ("The next integer below.", "0"),
    ceil: ("The next integer above.", "0"),
    round: ("The nearest integer, of two the even one.", "0"),
    trunc: ("The next integer towards 0.", "0"),
    maximum: (
        "The larger of both; where they are equal each gets half of the gradient.",
        "(input > other) + (input == other) / 2",
        "(other > input) + (input == other) / 2",
    ),
    minimum: (
        "The smaller of both; where they are equal each gets half of the gradient.",
        "(input < other) + (input == other) / 2",
        "(other < input) + (input == other) / 2",
    ),
    greater: ("Whether input > other.",),
    greater_equal: ("Whether input ≥ other.",),
    less: ("Whether input < other.",),
    less_equal: ("Whether input ≤ other.",),
    equal: ("Whether input = other.",),
    not_equal: ("Whether input ≠ other.",),
    logical_and: ("Bits that are set in both.",),
    logical_or: ("Bits that are set in one of both, or in both.",),
    logical_xor: ("Bits that are set in one of both.",),
    logical_not: ("Bits that are not set.",),
    isnan: ("Whether it is no number.",),
    isinf: ("Whether it is infinite.",),
    isfinite: ("Whether it is a finite number.",),
    mod: ("What is left of input / other, with the sign of other.", "1", "-floor(input / other)"),
    fmod: ("What is left of input / other, with the sign of input.", "1", "-trunc(input / other)"),
    floordiv: ("⌊input / other⌋.", "0", "0"),
    choose: ("a where the condition holds, b elsewhere.",),
    as_whole: ("The same values as integers or booleans.",),
    mm: ("a @ b of two matrices.",),
    inner: ("a @ bᵀ of two matrices.",),
    any_matmul: ("a @ b of operands with any number of axes.",),
}
for _function, (_words, *_slopes) in SAID.items():
    _of = ("x",) if len(_slopes) == 1 else ("input", "other")
    _told = "; ".join(f"∂y/∂{name} = {slope}" for name, slope in zip(_of, _slopes))
    _function.__doc__ = f"{_words}\n\n{_told}" if _told else _words
