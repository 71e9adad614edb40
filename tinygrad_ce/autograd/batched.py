"""Batched: many arrays of one shape, which look like one of them and are computed all at once.

Rules are fed arrays, Tensors or Symbols; inside of `vmap` they are fed these. The slices lie along
the first axis of `data`, or one stands there for all. NumPy's protocols hand over what is done to
a slice, and the entry of `RULES` does it to all of them: elementwise operations line up the axes,
reductions shift theirs, products become products of stacks. What has no entry is done slice by
slice, and the results are stacked.

A Batched may lie inside of another: that of the vmap that was entered last is outermost.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NoReturn
from weakref import ref

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import untraced
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import all_finite, all_within, leaf, numbers
from tinygrad_ce.engine.rule import differentiable
from tinygrad_ce.engine.slices import mapped
from tinygrad_ce.engine.write import TAKEN_IN

_numbers = count()


class Level:
    """One call of vmap, from within: who listens to the operations (see frame.Tracer)."""

    def __init__(self, size: int, randomness: str, outer: Any) -> None:
        self.size = size
        self.randomness = randomness
        self.outer = outer  # who else traces
        self.numbers = outer is None or outer.numbers
        self.number = next(_numbers)
        self.open = True
        key = id(self)
        mapped[key] = ref(self, lambda _: mapped.pop(key))

    def __repr__(self) -> str:
        return f"vmap of {self.size}"

    def __getattr__(self, name: str) -> Any:
        """What the engine tells is for the tracer outside, if there is one."""
        if name.startswith("_") or not hasattr(LISTENS, name):
            raise AttributeError(name)
        return getattr(self.outer or LISTENS, name)

    def lift(self, node: Any) -> Any:
        """The slices of a node; what comes from outside is the same for all."""
        if isinstance(node.array, Batched) and self in node.array.levels():
            return node.array
        array = node.array if self.outer is None else self.outer.lift(node)
        return Batched(self, array[None])

    def set_grad(self, node: Any, grad: Any) -> None:
        """Refuse `.grad` of what is outside: it would hold a gradient of each slice."""
        if not (isinstance(node.array, Batched) and self in node.array.levels()):
            self.refuse("backward() would add up a gradient for each slice", "Use func.grad")
        (self.outer or LISTENS).set_grad(node, grad)

    def refuse(self, what: str, instead: str) -> NoReturn:
        """Stop: this cannot be done to all slices at once."""
        raise RuntimeError(f"vmap: {what}. {instead}")

    def total(self, g: Any) -> Any:
        """Σ over the slices."""
        return total(g, self)

    def draw(self, generator: Any, method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Random numbers: the same for all slices, or others for each."""

        def drawn(*args: Any, **kwargs: Any) -> Any:
            if self.outer is not None:
                return self.outer.draw(generator, method, args, kwargs)
            with untraced():
                return method(generator, *args, **kwargs)

        if self.randomness == "error":
            self.refuse(
                "random numbers are drawn, and it is not said whether each slice gets its own",
                "Write vmap(..., randomness='different') or randomness='same'",
            )
        if self.randomness == "same":
            return drawn(*args, **kwargs)
        given = inspect.signature(method).bind(generator, *args, **kwargs).arguments
        if given.get("shape") is None:
            return looped(self, drawn, args, kwargs)
        shape = given["shape"]
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        like = Batched(self, np.empty((1, *shape), np.bool_))
        given = {name: line_up(self, (x, like))[0] for name, x in [*given.items()][1:]}
        return Batched(self, drawn(**{**given, "shape": (self.size, *shape)}))


class Listens:
    """What a vmap does with what the engine tells, where nobody else listens."""

    def get_grad(self, node: Any) -> Any:
        """The `.grad` that is there."""
        return node._grad

    def set_grad(self, node: Any, grad: Any) -> None:
        """It is kept."""
        node._grad = grad

    def settings(self, group: Any) -> Any:
        """Refuse an optimiser."""
        raise RuntimeError("vmap: an optimiser takes a step. Take it outside, with the gradients")

    def nothing(self, *_: Any) -> None:
        """There is nothing to do."""

    enter_backward = enters = sets = rebinds = reads_layout = nothing


LISTENS = Listens()


class Batched(NDArrayOperatorsMixin):
    """Arrays of one shape, which look like one of them: `data` has them along its first axis."""

    __slots__ = ("__weakref__", "base", "data", "level")
    __hash__ = object.__hash__
    scalar = False

    def __init__(self, level: Level, data: Any, base: Any = None) -> None:
        self.level = level
        self.data = data
        self.base = base  # what this is a view of

    shape = property(lambda self: self.data.shape[1:])
    ndim = property(lambda self: self.data.ndim - 1)
    size = property(lambda self: math.prod(self.shape))
    dtype = property(lambda self: self.data.dtype)
    itemsize = property(lambda self: self.data.dtype.itemsize)
    mT = property(lambda self: self.seen(self.data.mT))  # noqa: N815
    T = property(lambda self: self.transpose(tuple(range(self.ndim))[::-1]))

    @property
    def value(self) -> Any:
        """One slice, for what is said of it."""
        data = numbers(self.data)
        return data[0] if len(data) else np.zeros(self.shape, self.dtype)

    def levels(self) -> Iterator[Level]:
        """Whose slices these are, from outside in."""
        x: Any = self
        while isinstance(x, Batched):
            yield x.level
            x = x.data

    def __repr__(self) -> str:
        return f"<{self.level.size} slices of shape {tuple(self.shape)} and dtype {self.dtype}>"

    def __len__(self) -> int:
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    # --- methods of arrays ------------------------------------------------------------------

    def seen(self, data: Any) -> Batched:
        """Slices that may be views of these."""
        old, new = self.data, data
        while isinstance(new, Batched):
            old, new = old.data, new.data
        plain = isinstance(new, np.ndarray)
        view = np.may_share_memory(old, new) if plain else getattr(new, "base", None) is not None
        return Batched(self.level, data, self if view else None)

    def in_each_slice(self, array: Any) -> Batched:
        """As many copies of an array as there are slices."""
        data = np.repeat(array[None], self.level.size, 0)
        if isinstance(self.data, Batched):
            return Batched(self.level, self.data.in_each_slice(data))
        tracer = self.level
        while isinstance(tracer, Level):
            tracer = tracer.outer
        return Batched(self.level, data if tracer is None else tracer.lift(leaf(data)))

    def as_array(self) -> Batched:
        """This: it is a place that can be written."""
        return self

    def reshape(self, *shape: Any) -> Batched:
        """The same elements in another shape."""
        wanted = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        if -1 in wanted:
            rest = self.size // math.prod(n for n in wanted if n != -1)
            wanted = tuple(rest if n == -1 else n for n in wanted)
        return self.seen(self.data.reshape((self.data.shape[0], *wanted)))

    def transpose(self, axes: tuple[int, ...]) -> Batched:
        """Axis i of the result is axis axes[i] of this."""
        return self.seen(self.data.transpose((0, *(a % self.ndim + 1 for a in axes))))

    def diagonal(self, offset: int, axis1: int, axis2: int) -> Batched:
        """x[..., i, i + offset] of the last two axes."""
        return self.seen(self.data.diagonal(offset, axis1, axis2))

    def astype(self, dtype: Any, copy: bool = True) -> Batched:
        """The same values in another dtype."""
        return Batched(self.level, self.data.astype(dtype, copy=copy))

    def converted(self, dtype: Any) -> Batched:
        """A copy, as `tensor` makes it."""
        return self.astype(self.dtype if dtype is None else dtype)

    def beside(self, dtype: Any) -> Batched:
        """A copy, as an operand next to a Tensor of `dtype`."""
        return self.copy()

    def view(self, dtype: Any) -> Batched:
        """The same bits as numbers of another dtype."""
        return Batched(self.level, self.data.view(dtype))

    def copy(self, order: Any = "C") -> Batched:
        """The same values, elsewhere."""
        return Batched(self.level, self.data.copy())

    def tobytes(self) -> bytes:
        """What is compared to see whether NumPy has written."""
        return bytes(self.data.tobytes())

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Σ x over `axis`."""
        return self.__array_ufunc__(np.add, "reduce", self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The largest element."""
        return self.__array_ufunc__(np.maximum, "reduce", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None) -> Any:
        """Σ x / n."""
        return Batched(self.level, self.data.mean(shifted(axis, self.ndim)))

    def var(self, axis: Any = None, ddof: int = 0) -> Any:
        """Σ (x - mean)² / (n - ddof)."""
        return Batched(self.level, self.data.var(shifted(axis, self.ndim), ddof=ddof))

    def __getitem__(self, index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        if not any(map(is_array, parts)):
            return self.seen(self.data[(slice(None), *parts)])
        at, front = places(self.level, len(self.data), self.shape, parts)
        return Batched(self.level, front.back(self.data[at]))

    def __setitem__(self, index: Any, value: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        if len(self.data) < max(batch(self.level, x) for x in (value, *parts)):
            self.level.refuse(
                "what is the same for all slices is written, with what differs",
                "Make it of what differs: x.new_zeros(...), torch.zeros_like(x), or x + zeros",
            )
        if any(map(is_array, parts)):
            at, front = places(self.level, len(self.data), self.shape, parts)
            self.data[at] = front.forth(self.level, value)
        else:
            like = np.broadcast_to(np.empty(()), (1, *self.shape))[(slice(None), *parts)]
            self.data[(slice(None), *parts)] = lined_up(self.level, value, like.ndim - 1)

    # --- what NumPy hands back --------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, Node) for x in inputs):
            return NotImplemented  # the Tensor knows better
        out = kwargs.pop("out", (None,))[0]
        level = highest(inputs)
        if method == "__call__" and ufunc is not np.matmul:
            y = wrapped(level, ufunc(*line_up(level, inputs), **kwargs))
        elif method == "__call__":
            y = matmul(level, *inputs)
        elif method in ("reduce", "accumulate"):
            axis = shifted(kwargs.pop("axis", 0), inputs[0].ndim)
            y = Batched(level, getattr(ufunc, method)(inputs[0].data, axis=axis, **kwargs))
        else:
            y = looped(level, getattr(ufunc, method), inputs, kwargs)
        if out is None:
            return y
        out[...] = y
        return out

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if any(issubclass(t, Node) for t in types):
            return NotImplemented
        level = highest((*args, *kwargs.values()))
        known = RULES.get(function)
        if known is None:
            return looped(level, function, args, kwargs)
        return known(level, *args, **kwargs)

    # --- what is different in each slice ----------------------------------------------------

    def looked_at(self, *_: Any, **__: Any) -> NoReturn:
        """A value is asked for, and there is one for each slice."""
        self.level.refuse(
            "the value of a tensor is asked for (if, while, .item(), float(), NumPy), and each "
            "slice has its own",
            "Write where(condition, a, b) for `if condition`, or leave vmap for a loop",
        )

    __bool__ = __float__ = __int__ = __index__ = item = tolist = looked_at

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if self.level.open:
            self.looked_at()
        return np.asarray(self.data, dtype)  # for pictures: all of them


# --- slices and axes --------------------------------------------------------------------------


def is_array(x: Any) -> bool:
    """Whether a part of an index is an array."""
    return hasattr(x, "ndim")


def nested(xs: Any) -> Iterator[Any]:
    """The arguments, and what is in lists among them."""
    for x in xs:
        if isinstance(x, (list, tuple)):
            yield from nested(x)
        else:
            yield x


def highest(xs: Any) -> Level:
    """The vmap that was entered last, of those whose slices are among the arguments."""
    levels = [x.level for x in nested(xs) if isinstance(x, Batched)]
    return max(levels, key=lambda level: level.number)


def sliced(level: Level, x: Any) -> bool:
    """Whether x has slices of this vmap."""
    return isinstance(x, Batched) and x.level is level


def data_of(level: Level, x: Any) -> Any:
    """The slices of x along the first axis; one that stands for all, if x is none of them."""
    return x.data if sliced(level, x) else (x if hasattr(x, "ndim") else np.asarray(x))[None]


def batch(level: Level, x: Any) -> int:
    """How many slices of x differ."""
    return len(x.data) if sliced(level, x) else 1


def wrapped(level: Level, y: Any) -> Any:
    """Results of a function as slices."""
    return tuple(Batched(level, x) for x in y) if isinstance(y, tuple) else Batched(level, y)


def lined_up(level: Level, x: Any, n: int) -> Any:
    """x with slices of n axes; without slices, and so with NumPy's own broadcasting, as it is."""
    if not sliced(level, x):
        return x
    data = x.data
    if data.ndim == n + 1:
        return data
    own = data.shape[1 + max(data.ndim - 1 - n, 0) :]  # sizes of 1 in front, which a write drops
    return data.reshape((data.shape[0], *(1,) * (n - len(own)), *own))


def line_up(level: Level, xs: Any) -> list[Any]:
    """Operands of an elementwise operation, their last axes below each other."""
    n = max(getattr(x, "ndim", 0) for x in xs)
    return [lined_up(level, x, n) for x in xs]


def all_slices(level: Level, xs: Any) -> list[Any]:
    """The data of each, with as many slices as one of them has."""
    b = max(batch(level, x) for x in xs)
    datas = [data_of(level, x) for x in xs]
    return [d if len(d) == b else table.broadcast_to(d, (b, *d.shape[1:])) for d in datas]


def shifted(axis: Any, n: int) -> Any:
    """The axis (or axes, or all) of a slice of n axes, counted in the data."""
    if axis is None or not n:
        return tuple(range(1, n + 1))
    if isinstance(axis, tuple):
        return tuple(a % n + 1 for a in axis)
    return table.axis_of(axis, n) + 1


def moved(x: Any, source: int, destination: int) -> Any:
    """x with one axis moved, the others in their order."""
    axes = [i for i in range(x.ndim) if i != source % x.ndim]
    axes.insert(destination % x.ndim, source % x.ndim)
    return x.transpose(tuple(axes))


def looped(level: Level, function: Any, args: Any, kwargs: Any) -> Any:
    """A function without an entry: slice by slice, the results stacked."""
    differ = [batch(level, x) for x in nested((*args, *kwargs.values()))]
    n = level.size if level.randomness == "different" else max([1, *differ])

    def at(x: Any, i: int) -> Any:
        if isinstance(x, (list, tuple)):
            return type(x)(at(part, i) for part in x)
        return x.data[i if len(x.data) > 1 else 0] if sliced(level, x) else x

    results = [
        function(*at(args, i), **{name: at(x, i) for name, x in kwargs.items()}) for i in range(n)
    ]
    if isinstance(results[0], tuple):
        return tuple(Batched(level, np.stack(column)) for column in zip(*results))
    return Batched(level, np.stack(results))


# --- products ---------------------------------------------------------------------------------


def matmul(level: Level, a: Any, b: Any) -> Any:
    """a @ b of every slice. Rows that meet one matrix are one product."""
    x, y = data_of(level, a), data_of(level, b)
    row, column = a.ndim == 1, b.ndim == 1
    x, y = x[:, None] if row else x, y[..., None] if column else y
    if len(y) == 1 and y.ndim == 3:
        rows = x.reshape((-1, x.shape[-1]))
        z = (rows @ y[0]).reshape((*x.shape[:-1], y.shape[-1]))
    elif len(x) == 1 and x.ndim == 3 and column:
        z = (y[..., 0] @ x[0].mT)[..., None]
    else:
        n = max(x.ndim, y.ndim)
        x, y = (d.reshape((len(d), *(1,) * (n - d.ndim), *d.shape[1:])) for d in (x, y))
        z = np.matmul(x, y)
    z = z[..., 0, :] if row else z
    return Batched(level, z[..., 0] if column else z)


def dot(level: Level, a: Any, b: Any) -> Any:
    """np.dot: a product with a number, or of rows and matrices."""
    if not (a.ndim and b.ndim):
        return a * b
    return matmul(level, a, b) if b.ndim < 3 else looped(level, np.dot, (a, b), {})


def einsum(level: Level, spec: str, *xs: Any, **kwargs: Any) -> Any:
    """One more label for the slices, of those operands that differ."""
    new = next(c for c in "zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQ" if c not in spec)
    left, out = spec.split("->")
    differ = [batch(level, x) > 1 for x in xs]
    terms = [new * d + term for d, term in zip(differ, left.split(","))]
    datas = [data_of(level, x) if d else data_of(level, x)[0] for d, x in zip(differ, xs)]
    some = any(differ)
    y = np.einsum(f"{','.join(terms)}->{new * some}{out}", *datas, **kwargs)
    return Batched(level, y if some else y[None])


# --- indices ----------------------------------------------------------------------------------


class Front:
    """NumPy puts the axes of index arrays in front; `back` brings them to where they belong."""

    def __init__(self, first: int, many: int, n: int) -> None:
        own = range(1, many + 1)
        rest = [*range(many + 1, n + 1)]
        self.axes = (0, *rest[:first], *own, *rest[first:])

    def back(self, y: Any) -> Any:
        """What was taken, its axes in order."""
        return y.transpose(self.axes)

    def forth(self, level: Level, values: Any) -> Any:
        """What is to be put, its axes as NumPy wants them."""
        n = len(self.axes) - 1
        data = lined_up(level, Batched(level, data_of(level, values)), n)
        return data.transpose(table.inverse(self.axes))


def places(level: Level, b: int, shape: tuple[int, ...], parts: Any) -> tuple[Any, Front]:
    """Where `parts`, arrays among them, point to in b slices of this shape."""
    whole: list[Any] = []
    for part in parts:
        if is_array(part) and part.dtype == np.bool_:
            if batch(level, part) > 1:
                level.refuse("how many elements x[mask] has differs", "Write where(mask, x, 0.0)")
            whole += np.nonzero(data_of(level, part)[0])
        else:
            whole.append(np.asarray(part) if type(part) is int else part)
    if not any(part is ... for part in whole):
        whole.append(...)
    cut = next(i for i, part in enumerate(whole) if part is ...)
    used = sum(part is not None for part in whole) - 1
    whole[cut : cut + 1] = [slice(None)] * (len(shape) - used)
    at = [i for i, part in enumerate(whole) if is_array(part)]
    many = max(whole[i].ndim for i in at)
    together = at == [*range(at[0], at[-1] + 1)]
    for i in at:
        whole[i] = lined_up(level, Batched(level, data_of(level, whole[i])), many)
    n = many + len(whole) - len(at)
    rows = np.arange(b).reshape(b, *(1,) * many)
    return (rows, *whole), Front(at[0] if together else 0, many, n)


def slots(index: Any) -> tuple[tuple[Any, ...], list[Any]]:
    """An index as the functions of the table take it: its form, and the arrays in it."""
    arrays = [part for part in index if is_array(part)]
    return tuple(table.SLOT if is_array(part) else part for part in index), arrays


def scatter(level: Level, x: Any, *arrays: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros, plus x at the index, in every slice."""
    b = max(batch(level, y) for y in (x, *arrays))
    parts = table.filled(index, arrays)
    if arrays:
        at, front = places(level, b, shape, parts)
        data = front.forth(level, x)
    else:
        at, data = (slice(None), *parts), data_of(level, x)
    if len(data) < b:
        data = table.broadcast_to(data, (b, *data.shape[1:]))
    form, arrays_ = slots(at)
    return Batched(level, table.scatter(data, *arrays_, index=form, shape=(b, *shape)))


def put(level: Level, x: Any, values: Any, *arrays: Any, index: Any) -> Any:
    """x with `values` at the index, in every slice."""
    b = max(batch(level, y) for y in (x, values, *arrays))
    data = data_of(level, x)
    data = table.broadcast_to(data, (b, *data.shape[1:])) if len(data) < b else data
    y = Batched(level, data.copy())
    y[table.filled(index, arrays)] = values
    return y


# --- what is done to all slices at once -------------------------------------------------------


def elementwise(function: Any) -> Callable[..., Any]:
    """The operands lined up."""
    return lambda level, *xs, **kwargs: wrapped(level, function(*line_up(level, xs), **kwargs))


def along(function: Any, default: Any = None, flat: bool = False) -> Callable[..., Any]:
    """A function along an axis, which is shifted; of all axes, `flat` ones are made one before."""

    def call(level: Level, x: Any, axis: Any = default, *args: Any, **kwargs: Any) -> Any:
        if axis is None and flat:
            shape = (1,) * x.ndim
            y = function(x.data.reshape((len(x.data), -1)), 1)
            return Batched(level, y.reshape((-1, *shape)) if kwargs.get("keepdims") else y)
        return Batched(level, function(x.data, shifted(axis, x.ndim), *args, **kwargs))

    return call


def joined(function: Any) -> Callable[..., Any]:
    """Several arrays that become one, along an axis."""

    def call(level: Level, xs: Any, axis: int = 0) -> Any:
        return Batched(level, function(all_slices(level, xs), axis + (axis >= 0)))

    return call


def of_windows(function: Any) -> Callable[..., Any]:
    """A function of the table on windows along `axes`, which are shifted, to a `full` shape."""
    op = function.op

    def call(level: Level, *args: Any) -> Any:
        datas = all_slices(level, args[: op.fixed])
        given = dict(zip(op.names[op.fixed :], args[op.fixed :]))
        n = len(given["full"]) if "full" in given else args[0].ndim
        given["axes"] = shifted(tuple(given["axes"]), n)
        if "full" in given:
            given["full"] = (len(datas[0]), *given["full"])
        return Batched(level, op.forward(*datas, *given.values()))

    return call


def im2col(level: Level, x: Any, size: Any, stride: Any, dilation: Any) -> Any:
    """The slices as more images: (C, H, W, N)."""
    b, c, h, w, n = x.data.shape
    images = x.data.transpose((1, 2, 3, 0, 4)).reshape((c, h, w, b * n))
    y = table.im2col(images, size, stride, dilation)
    y = y.reshape((len(y), -1, b, n)).transpose((2, 0, 1, 3))
    return Batched(level, y.reshape((b, y.shape[1], -1)))


def col2im(level: Level, x: Any, full: Any, size: Any, stride: Any, dilation: Any) -> Any:
    """The same back."""
    (b, k, _), n = x.data.shape, full[3]
    columns = x.data.reshape((b, k, -1, n)).transpose((1, 2, 0, 3)).reshape((k, -1))
    y = table.col2im(columns, (*full[:3], b * n), size, stride, dilation)
    return Batched(level, y.reshape((*full[:3], b, n)).transpose((3, 0, 1, 2, 4)))


def repeated(level: Level, x: Any, shape: tuple[int, ...]) -> Any:
    """Every slice repeated to a shape."""
    data = lined_up(level, x, len(shape))
    return x.seen(table.broadcast_to(data, (data.shape[0], *shape)))


def padded(level: Level, x: Any, widths: Any, value: Any = 0.0, constant_values: Any = None) -> Any:
    """Every slice with `value` around it."""
    value = value if constant_values is None else constant_values
    return Batched(level, table.pad(x.data, ((0, 0), *widths), value))


def blank(function: Any) -> Callable[..., Any]:
    """A new array of the shape and dtype of x, which can be written."""
    return lambda level, x, dtype=None, shape=None, **_: x.in_each_slice(
        function(x.shape if shape is None else shape, x.dtype if dtype is None else dtype)
    )


def ours(function: Any) -> Any:
    """What a function of the table computes on arrays."""
    return function.op.forward


RULES: dict[Any, Callable[..., Any]] = {
    **{f: elementwise(f) for f in (np.where, np.clip, ours(table.relu),
       ours(table.masked), ours(table.erf), ours(table.erfc))},
    **{f: along(f) for f in (np.sum, np.max, np.min, np.all, np.any, np.prod, np.mean, np.var)},
    **{f: along(f, None, True) for f in (np.argmax, np.argmin)},
    np.argsort: along(np.argsort, -1, True),
    np.sort: along(np.sort, -1, True),
    np.concatenate: joined(np.concatenate),
    np.stack: joined(np.stack),
    np.dot: dot,
    np.inner: lambda level, a, b: matmul(level, a, b.mT if b.ndim > 1 else b),
    np.einsum: einsum,
    np.reshape: lambda level, x, shape: x.reshape(shape),
    np.transpose: lambda level, x, axes=None: x.T if axes is None else x.transpose(axes),
    ours(table.broadcast_to): repeated,
    np.broadcast_to: repeated,
    np.pad: padded,
    ours(table.pad): padded,
    ours(table.put): put,
    ours(table.scatter): scatter,
    sliding_window_view: lambda level, x, window, axis: x.seen(
        sliding_window_view(x.data, window, shifted(tuple(axis), x.ndim))
    ),
    **{ours(f): of_windows(f) for f in (table.overlap_add, table.max_pool, table.argmax_pool,
       table.put_in_windows, table.take_in_windows, table.sum_pool, table.sum_unpool)},
    ours(table.im2col): im2col,
    ours(table.col2im): col2im,
    np.ascontiguousarray: lambda level, x: x,
    np.zeros_like: blank(np.zeros),
    np.ones_like: blank(np.ones),
    np.empty_like: blank(np.zeros),
    np.shape: lambda level, x: x.shape,
    np.ndim: lambda level, x: x.ndim,
    np.size: lambda level, x: x.size,
    np.can_cast: lambda level, x, to, casting="safe": np.can_cast(x.dtype, to, casting),
    np.result_type: lambda level, *xs: np.result_type(
        *(x.dtype if isinstance(x, Batched) else x for x in xs)
    ),
    all_finite: lambda level, x: all_finite(x.data),
    all_within: lambda level, x, *args, **kwargs: all_within(x.data, *args, **kwargs),
}  # fmt: skip
"""A function of NumPy or of the table -> the same on all slices of a vmap."""


# --- into a vmap and out of it ----------------------------------------------------------------


def below(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function look for its vmap under those that were entered later."""

    def call(x: Any, *axis: int | None, level: Level) -> Any:
        if isinstance(x, Batched) and x.level.number > level.number:
            inner = (a if a is None else a + 1 for a in axis)
            return Batched(x.level, call(x.data, *inner, level=level))
        return function(x, *axis, level)

    return call


@below
def _into(x: Any, axis: int | None, level: Level) -> Any:
    return Batched(level, x[None] if axis is None else moved(x, axis, 0), x)


@below
def _out_of(x: Any, axis: int, level: Level) -> Any:
    data = data_of(level, x)
    if len(data) != level.size:
        data = table.broadcast_to(data, (level.size, *data.shape[1:]))
    return moved(data, 0, axis).copy()


@below
def _total(x: Any, level: Level) -> Any:
    data = data_of(level, x)
    y = np.add.reduce(data, axis=0)
    return y if len(data) == level.size else y * np.asarray(level.size, data.dtype)


@differentiable(
    lambda g, axis, level: total(g, level) if axis is None else out_of(g, axis, level), view=True
)
def into(x: Any, axis: int | None, level: Level) -> Any:
    """The slices of x along `axis`; None: x for each of them."""
    return _into(x, axis, level=level)


@differentiable(lambda g, axis, level: into(g, axis, level))
def out_of(x: Any, axis: int, level: Level) -> Any:
    """The slices side by side along `axis`."""
    return _out_of(x, axis, level=level)


@differentiable(lambda g, level: into(g, None, level))
def total(x: Any, level: Level) -> Any:
    """Σ over the slices; of what is the same in all, so many times that."""
    return _total(x, level=level)


TAKEN_IN["into"] = lambda y, x, axis, level: out_of(y, axis, level)
