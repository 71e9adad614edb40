"""The steps of a program in JAX: a rule for each operation, one table, `RULES`.

A rule computes what NumPy computes, in the dtypes in which NumPy does. It is fed arrays of JAX,
tracers among them, and, where a program has a constant, the array of NumPy itself.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engines.found import jax, jnp, lax
from tinygrad_ce.program.ir import NUMBERS, Program, Step, Var, common_dtype
from tinygrad_ce.program.memory import FlatSlice
from tinygrad_ce.program.ops import BITS, ELEMENTWISE, OPS, UFUNCS
from tinygrad_ce.random import Generator

Array = Any
Pair = tuple[int, int]

# --- windows of images --------------------------------------------------------------------------


def transpose_of(linear: Callable[[Array], Array], shape: tuple[int, ...], g: Array) -> Array:
    """What the transpose of a linear function of an array of this shape makes of g."""
    return jax.linear_transpose(linear, jax.ShapeDtypeStruct(shape, g.dtype))(g)[0]


def added(parts: Iterable[Array]) -> Array:
    """The sum of arrays, one after the other."""
    return functools.reduce(jnp.add, parts)


def im2col(x: Array, size: Pair, stride: Pair, dilation: Pair) -> Array:
    parts = table.window_parts(x, (1, 2), size, stride, dilation)
    return jnp.stack(parts, 1).reshape(x.shape[0] * math.prod(size), -1)


def col2im(x: Array, full: tuple[int, ...], **how: Pair) -> Array:
    return transpose_of(lambda image: im2col(image, **how), full, x)


def max_pool(x: Array, size: Pair, stride: Pair, axes: Pair) -> Array:
    return functools.reduce(jnp.maximum, table.window_parts(x, axes, size, stride))


def argmax_pool(x: Array, y: Array, size: Pair, stride: Pair, axes: Pair) -> Array:
    parts = table.window_parts(x, axes, size, stride)
    missing, best = jnp.ones(y.shape, bool), jnp.zeros(y.shape, np.int32)
    for part in parts[:-1]:
        missing = missing & (part != y) & (part == part)
        best = best + missing
    return best


def put_in_windows(x: Array, best: Array, full: tuple[int, ...], **how: Pair) -> Array:
    return transpose_of(lambda image: take_in_windows(image, best, **how), full, x)


def take_in_windows(x: Array, best: Array, size: Pair, stride: Pair, axes: Pair) -> Array:
    parts = table.window_parts(x, axes, size, stride)
    return added(masked(part, best == i) for i, part in enumerate(parts))


def sum_pool(x: Array, size: Pair, stride: Pair, axes: Pair) -> Array:
    return added(table.window_parts(x, axes, size, stride))


def sum_unpool(x: Array, full: tuple[int, ...], **how: Pair) -> Array:
    return transpose_of(lambda image: sum_pool(image, **how), full, x)


def convolved(x: Array, k: Array, size: Pair, stride: Pair, dilation: Pair) -> Array:
    """k @ im2col(x) as a convolution: (C, H, W, N), (O, C·kh·kw) -> (O, H', W', N)."""
    kernel = k.reshape(k.shape[0], x.shape[0], *size)
    return lax.conv_general_dilated(
        x, kernel, stride, "VALID", rhs_dilation=dilation,
        dimension_numbers=("CHWN", "OIHW", "CHWN"),
    )  # fmt: skip


# --- windows along any axes, indices ------------------------------------------------------------


def windows(x: Array, window: Any, axes: Any) -> Array:
    for k, axis in zip(window, axes):
        n = x.shape[axis] - k + 1
        x = jnp.stack([lax.slice_in_dim(x, i, i + n, axis=axis) for i in range(k)], -1)
    return x


def overlap_add(x: Array, full: tuple[int, ...], window: Any, axes: Any) -> Array:
    return transpose_of(lambda y: windows(y, window, axes), full, x)


def one_of_each_row(arrays: tuple[Array, ...], index: Any, shape: tuple[int, ...]) -> bool:
    """Whether an index is [arange(n), ids] of a matrix of n rows."""
    if not len(arrays) == len(index) == len(shape) == 2 or not isinstance(arrays[0], np.ndarray):
        return False
    return arrays[1].shape == shape[:1] and np.array_equal(arrays[0], np.arange(shape[0]))


def take(x: Array, *arrays: Array, index: Any) -> Array:
    """x[index]. One element of each row is found in the row: where rows lie on several devices, no
    device asks another for its own.
    """
    if one_of_each_row(arrays, index, x.shape):
        return jnp.take_along_axis(jnp.asarray(x), jnp.asarray(arrays[1])[:, None], 1)[:, 0]
    return jnp.asarray(x)[table.filled(index, arrays)]


def scatter(x: Array, *arrays: Array, index: Any, shape: tuple[int, ...]) -> Array:
    if one_of_each_row(arrays, index, shape):
        ids = jnp.asarray(arrays[1])
        ids = jnp.where(ids < 0, ids + shape[1], ids)
        return jnp.where(ids[:, None] == np.arange(shape[1]), x[:, None], x.dtype.type(0))
    return (
        jnp.zeros(shape, x.dtype).at[table.filled(index, arrays)].add(x)
        if arrays
        else (transpose_of(lambda y: y[index], shape, x))
    )


def put(x: Array, values: Array, *arrays: Array, index: Any) -> Array:
    """x with `values` at `index`; of several values for one place, the last."""
    at = table.filled(index, arrays)
    place = jnp.zeros(x.shape, np.int64).at[at]
    if not arrays:
        return jnp.asarray(x).at[at].set(jnp.asarray(values, x.dtype))
    wanted = jax.eval_shape(lambda x: x[at], jax.ShapeDtypeStruct(x.shape, x.dtype)).shape
    numbers = np.arange(1, math.prod(wanted) + 1).reshape(wanted)
    last = place.max(numbers)
    values = jnp.broadcast_to(jnp.asarray(values, x.dtype), wanted).reshape(-1)
    return jnp.where(last > 0, values[last - 1], x) if values.size else x


# --- other rules --------------------------------------------------------------------------------


def masked(x: Array, keep: Array) -> Array:
    return jnp.where(keep, x, x.dtype.type(0))


def astype(x: Any, dtype: Any) -> Array:
    """x in another dtype. A mask becomes floats by their bits: XLA makes `convert(mask) * y` a
    choice between y and 0, where NumPy has 0 * nan = nan.
    """
    dtype = np.dtype(dtype)
    if not hasattr(x, "dtype"):
        return jnp.asarray(x, dtype)
    if x.dtype != bool or dtype.kind != "f":
        return jnp.asarray(x).astype(dtype)
    bits = np.ones((), dtype).view(f"i{dtype.itemsize}")
    return lax.bitcast_convert_type(jnp.asarray(x).astype(bits.dtype) * bits, dtype)


def clip(x: Array, low: Any, high: Any) -> Array:
    return jnp.clip(x, low, high)


def within(x: Array, low: Any, high: Any, also: Any) -> Array:
    inside = (x >= low) & (x <= high)
    return (inside if also is None else inside | (x == also)).all()


def flat_slice(x: Array, piece: FlatSlice) -> Array:
    return x.reshape(-1)[piece.offset : piece.end].reshape(piece.shape)


def flatten(*xs: Array, slices: Any, shape: tuple[int, ...]) -> Array:
    y = jnp.zeros(math.prod(shape), xs[0].dtype)
    for x, piece in zip(xs, slices):
        y = y.at[piece.offset : piece.end].set(x.reshape(-1))
    return y.reshape(shape)


def relu_grad(g: Array, bits: Array) -> Array:
    whole = lax.bitcast_convert_type(g, bits.dtype) * bits
    return lax.bitcast_convert_type(whole, g.dtype)


def reduction(name: str) -> Callable[..., Array]:
    function = getattr(jnp, name)
    return lambda x, axis, keepdims: function(x, axis=axis if x.ndim else None, keepdims=keepdims)


RULES: dict[str, Callable[..., Array]] = {
    **{n: reduction(n) for n in ("max", "min", "prod", "all", "any", "argmax", "argmin")},
    "sum": lambda x, axis, keepdims, pairwise=False: jnp.sum(x, axis, keepdims=keepdims),
    "cumsum": lambda x, axis: jnp.cumsum(x, axis),
    "cumprod": lambda x, axis: jnp.cumprod(x, axis),
    "argsort": lambda x, axis: jnp.argsort(x, axis, stable=True),
    "where": jnp.where,
    "masked": masked,
    "erf": lambda x: jax.scipy.special.erf(x),
    "erfc": lambda x: jax.scipy.special.erfc(x),
    "clip": clip,
    "astype": astype,
    "relu": lambda x: jnp.maximum(x, x.dtype.type(0)),
    "relu_mask": lambda y: jnp.where(y <= 0, 0, 1).astype(BITS[np.dtype(y.dtype)]),
    "relu_grad": relu_grad,
    "reshape": lambda x, shape: jnp.reshape(x, shape),
    "transpose": lambda x, axes: jnp.transpose(x, axes),
    "broadcast_to": lambda x, shape: jnp.broadcast_to(x, shape),
    "windows": windows,
    "overlap_add": overlap_add,
    "slice": lambda x, index: jnp.asarray(x)[index],
    "take": take,
    "put": put,
    "scatter": scatter,
    "concatenate": lambda *xs, axis: jnp.concatenate(xs, axis),
    "stack": lambda *xs, axis: jnp.stack(xs, axis),
    "pad": lambda x, widths, value: jnp.pad(x, widths, constant_values=value),
    "full": lambda x, shape: jnp.full(shape, x),
    "copy": jnp.asarray,
    "contiguous": jnp.asarray,
    "like": lambda x, y: jnp.asarray(x),
    "float": lambda x: jnp.asarray(x, np.float64).reshape(()),
    "dot": jnp.dot,
    "inner": jnp.inner,
    "matmul": jnp.matmul,
    "einsum": lambda *xs, spec: jnp.einsum(spec, *xs),
    "frexp": lambda x, part: jnp.frexp(x)[part],
    "flat_slice": flat_slice,
    "flatten": flatten,
    "counts_agree": lambda x: (x == x[0]).all(),
    "all_finite": lambda x: jnp.isfinite(x).all(),
    "all_within": within,
    "all_equal": lambda x, value: (x == value).all(),
    "is_equal": lambda x, value: jnp.asarray(x == value).reshape(()),
    "im2col": im2col,
    "col2im": col2im,
    "max_pool": max_pool,
    "argmax_pool": argmax_pool,
    "put_in_windows": put_in_windows,
    "take_in_windows": take_in_windows,
    "sum_pool": sum_pool,
    "sum_unpool": sum_unpool,
}
"""What computes an operation that is no ufunc; those go through `by_ufunc`, draws through DRAWS."""

ALIKE = {"where": 1, "dot": 0, "inner": 0, "matmul": 0, "einsum": 0, "concatenate": 0, "stack": 0}
"""Operations whose operands, from this one on, NumPy brings to one dtype."""


CHOSEN = ("max", "min", "max_pool")
"""What is compared with its operand afterwards: XLA may compute the operand twice, rounded in two
ways, so that no element equals the largest. It is computed once."""


def kind_of(x: Any, var: Var) -> Any:
    """The dtype of an operand, or the type of a Python number, which takes that of the others."""
    if var.dtype is not None:
        return var.dtype
    if type(x) in NUMBERS:
        return type(x)
    return {"b": bool, "i": int}.get(np.dtype(x.dtype).kind, float)


def by_ufunc(step: Step, xs: list[Any]) -> Array:
    """A ufunc of operands in the dtypes that NumPy computes it in: JAX promotes in another way."""
    kinds = [kind_of(x, var) for x, var in zip(xs, step.operands)]
    if all(kind in NUMBERS for kind in kinds):
        kinds = list(map(np.dtype, kinds))
    ufunc: Any = UFUNCS[step.op]
    dtypes = ufunc.resolve_dtypes((*kinds, None))
    return getattr(jnp, step.op)(*map(astype, xs, dtypes))


# --- random numbers on the device: those of JAX, distributed as ours ----------------------------


def _multinomial(key: Any, p: Array, count: int, replacement: bool) -> Array:
    logits = jnp.log(jnp.asarray(p))
    if replacement:
        drawn = jax.random.categorical(key, logits, axis=-1, shape=(count, *logits.shape[:-1]))
        return jnp.moveaxis(drawn, 0, -1)
    noise = jax.random.gumbel(key, logits.shape, logits.dtype)
    return lax.top_k(logits + noise, count)[1]


DRAWS: dict[str, Callable[..., Array]] = {
    "rand": lambda key, out: jax.random.uniform(key, out.shape, out.dtype),
    "uniform": lambda key, out, low, high: jax.random.uniform(
        key, out.shape, out.dtype, low, high
    ),
    "randn": lambda key, out: jax.random.normal(key, out.shape, out.dtype),
    "normal": lambda key, out, mean, std: mean + std * jax.random.normal(key, out.shape, out.dtype),
    "exponential": lambda key, out, rate: jax.random.exponential(key, out.shape, out.dtype) / rate,
    "randint": lambda key, out, low, high: jax.random.randint(
        key, out.shape, low, high, out.dtype
    ),
    "randperm": lambda key, out, n: jax.random.permutation(key, n),
    "bernoulli": lambda key, out, p: jax.random.bernoulli(key, jnp.asarray(p), out.shape),
    "multinomial": lambda key, out, p, num_samples, replacement=False: _multinomial(
        key, p, num_samples, replacement
    ),
}  # fmt: skip
"""A method of Generator -> what draws such numbers for a Var, by the names of its arguments."""


def drawn(step: Step, key: Any, xs: list[Any]) -> Array:
    """The numbers of a step that draws, from a key of JAX."""
    attrs = step.attrs
    args = table.filled(attrs["args"], tuple(xs))
    method = inspect.signature(getattr(Generator, attrs["method"]))
    given = dict(method.bind(None, *args, **attrs["kwargs"]).arguments)
    for name in ("self", "shape", "dtype"):
        given.pop(name, None)
    return DRAWS[attrs["method"]](key, step.out, **given)


# --- a whole program ----------------------------------------------------------------------------


class Lowering:
    """Computes the steps of a program; `images[x]` is a matrix (C, H·W·N) as (C, H, W, N).

    A convolution is a product with im2col, written around matrices whose columns run through
    pictures with the sample last. Read as what they are, they become a convolution of XLA, and
    samples may lie on several devices. XLA leaves out whichever of the two forms nobody reads.
    """

    def __init__(self, program: Program, values: dict[Var, Any]) -> None:
        self.program = program
        self.makers = program.makers()
        self.values = {**program.constants, **values}
        self.images: dict[Var, Array] = {}

    def run(self, key: Any = None) -> dict[Var, Any]:
        """All values; random numbers that are not given are drawn from a key of JAX."""
        precision = jax.config.jax_default_matmul_precision or "float32"
        draws = 0
        with jax.default_matmul_precision(precision):
            for step in self.program.steps:
                if step.op == "draw":
                    if step.out not in self.values:
                        xs = [self.values[x] for x in step.operands]
                        y = drawn(step, jax.random.fold_in(key, draws), xs)
                        self.values[step.out] = jnp.asarray(y, step.out.dtype)
                    draws += 1
                    continue
                with jax.named_scope("/".join(step.scope) or "step"):
                    self.values[step.out] = self.value(step)
        return self.values

    def value(self, step: Step) -> Any:
        """What a step computes."""
        if step.op in CHOSEN:
            x = step.operands[0]
            self.values[x] = lax.optimization_barrier(jnp.asarray(self.values[x]))
        xs = [self.values[x] for x in step.operands]
        number = OPS[step.op].number
        if number is not None and all(type(x) in NUMBERS for x in xs):
            return number(*xs)
        image = self.image(step)
        if image is not None:
            if len(step.out.shape) == 2 and image.ndim == 4:
                self.images[step.out] = image
            y = image.reshape(step.out.shape)
        elif step.op in UFUNCS:
            y = by_ufunc(step, xs)
        else:
            y = self.by_rule(step, xs)
        if step.out.dtype is None:
            return y
        y = jnp.asarray(y, step.out.dtype)
        if y.shape != step.out.shape:  # pragma: no cover - a rule that is wrong
            raise RuntimeError(
                f"to_jax: {step.op} at {step.line} has shape {y.shape} in JAX instead of "
                f"{step.out.shape}. This is a mistake of tinygrad_ce, not yours"
            )
        return y

    def by_rule(self, step: Step, xs: list[Any]) -> Array:
        """A step that is no ufunc, by its rule."""
        rule = RULES.get(step.op)
        if rule is None:
            raise NotImplementedError(
                f"to_jax: {step.op} at {step.line} has no rule in JAX; compile the function "
                "without engine='jax'"
            )
        if step.op in ALIKE:
            first = ALIKE[step.op]
            dtype = common_dtype(step.operands[first:])
            xs[first:] = [jnp.asarray(x, dtype) for x in xs[first:]]
        elif xs:
            kind = step.out.dtype if step.op == "clip" else step.operands[0].dtype
            xs[0] = jnp.asarray(xs[0], kind)
        try:
            return rule(*xs, **step.attrs)
        except jax.errors.NonConcreteBooleanIndexError:
            raise NotImplementedError(
                f"to_jax: {step.op} at {step.line}: how many elements the mask picks is not known "
                "beforehand; write where(mask, values, x)"
            ) from None

    # --- convolutions

    def maker(self, x: Var, op: str) -> Step | None:
        """The step that makes a value, if it is such an operation."""
        step = self.makers.get(x)
        return step if step is not None and step.op == op else None

    def image(self, step: Step) -> Array | None:
        """What a step on pictures computes, with their axes apart; None if it is none."""
        if step.op == "dot":
            return self.product(*step.operands)
        if step.op == "reshape":
            (x,), shape = step.operands, step.attrs["shape"]
            if x in self.images and self.images[x].shape == shape:
                return self.images[x]
            apart = len(x.shape) == 4 and shape == (x.shape[0], math.prod(x.shape[1:]))
            return jnp.asarray(self.values[x]) if apart else None
        if step.op == "col2im":
            return self.picture_gradient(step)
        images = [self.images[x] for x in step.operands if x in self.images]
        if not images or len(step.operands[0].shape) != 2:
            return None
        if step.op in ELEMENTWISE:
            return self.elementwise(step, images[0].shape)
        if step.op == "sum" and step.attrs["axis"] in (1, -1, (1,)):
            kept = step.attrs["keepdims"]
            return images[0].sum((1, 2, 3)).reshape(step.out.shape) if not kept else None
        return None

    def product(self, a: Var, b: Var) -> Array | None:
        """kernel @ im2col(x), or the gradient of the kernel, g @ im2col(x)ᵀ."""
        columns = self.maker(b, "im2col")
        if columns is not None:
            x = self.values[columns.operands[0]]
            return convolved(x, self.values[a], **columns.attrs)
        turned = self.maker(b, "transpose")
        columns = self.maker(turned.operands[0], "im2col") if turned is not None else None
        if columns is None or a not in self.images:
            return None
        x, attrs = self.values[columns.operands[0]], columns.attrs
        shape = (a.shape[0], b.shape[1])
        return transpose_of(lambda k: convolved(x, k, **attrs), shape, self.images[a])

    def picture_gradient(self, step: Step) -> Array | None:
        """col2im(kernelᵀ @ g), the gradient of a picture that was convolved."""
        product = self.maker(step.operands[0], "dot")
        turned = self.maker(product.operands[0], "transpose") if product is not None else None
        if product is None or turned is None or product.operands[1] not in self.images:
            return None
        kernel, attrs = self.values[turned.operands[0]], dict(step.attrs)
        full = attrs.pop("full")
        g = self.images[product.operands[1]]
        return transpose_of(lambda x: convolved(x, kernel, **attrs), full, g)

    def elementwise(self, step: Step, shape: tuple[int, ...]) -> Array | None:
        """An elementwise operation of pictures, and of numbers, one for each channel or for all."""
        xs = []
        for x in step.operands:
            if x in self.images and self.images[x].shape == shape:
                xs.append(self.images[x])
            elif not x.shape:
                xs.append(self.values[x])
            elif x.shape in ((shape[0], 1), (1, 1)):
                xs.append(jnp.reshape(self.values[x], (x.shape[0], 1, 1, 1)))
            else:
                return None
        y = by_ufunc(step, xs) if step.op in UFUNCS else self.by_rule(step, xs)
        return jnp.asarray(y, step.out.dtype)
