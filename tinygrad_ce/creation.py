"""Making tensors: from data, from a rule, from the random stream.

All of them take `out`, a Tensor to write into, `requires_grad`, and `device`, which is "cpu";
`dtype=None` is the default dtype, or that of the tensor that another one is to be like. Layouts,
pinned memory and memory formats are taken and change nothing: there is one of each.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from tinygrad_ce.engine import devices, table
from tinygrad_ce.engine.counting import evenly
from tinygrad_ce.engine.frame import a_type, calling_lines, current
from tinygrad_ce.engine.lending import borrow
from tinygrad_ce.engine.operands import (
    array_from,
    is_symbol,
    leaf,
    plain_array,
    shaped,
    slices_like,
    type_name,
    value_of,
)
from tinygrad_ce.engine.promotion import default_dtype
from tinygrad_ce.engine.tensor import Tensor, check_can_require_grad, generator_or_default, sizes
from tinygrad_ce.engine.write import into


def made(array: Any, requires_grad: bool) -> Tensor:
    """A leaf around an array that nobody else holds."""
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"dtype {array.dtype} is not a dtype of numbers: float32, float64, int64, bool"
        )
    check_can_require_grad(array, requires_grad)
    return placed(leaf(array, requires_grad))


def placed(y: Tensor) -> Tensor:
    """The leaf, which knows the line that made it where lines are remembered."""
    if current().lines:
        y.line = calling_lines()
    return y


SAME = {"zeros", "ones", "full", "eye", "zeros_like", "ones_like", "full_like"}
"""What they make says nothing of any data."""


def creates(make: Callable[..., Any]) -> Callable[..., Tensor]:
    """The function that gives the array of `make` as a Tensor, with what all of them take."""

    @wraps(make)
    def call(
        *args: Any, out: Tensor | None = None, requires_grad: bool = False, device: Any = None,
        layout: Any = None, pin_memory: bool = False, memory_format: Any = None, **settings: Any,
    ) -> Tensor:  # fmt: skip
        devices.check(device)
        y = made(make(*args, **settings), requires_grad)
        y.detached_by = None if make.__name__ in SAME else ""
        return y if out is None else into(out, y, make.__name__)

    return call


def cast(array: Any, dtype: Any) -> Any:
    """The array in this dtype; None is its own."""
    return array if dtype is None or array.dtype == dtype else array.astype(np.dtype(dtype))


def repeated(value: Any, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """`value` everywhere: np.full, which knows no numbers of a program."""
    if is_symbol(value):
        function: Any = table.broadcast_to
        return function.op.forward(value, shape).copy()
    return np.full(shape, value, dtype)


def room(given: tuple[Any, ...], size: Any = None) -> tuple[int, ...]:
    """Sizes of a new tensor, given one by one, as one tuple, or by name."""
    shape = sizes(given if size is None else (*given, size))
    if any(n < 0 for n in shape):
        raise ValueError(f"got sizes {shape}; wanted none below 0")
    return shape


def tensor(
    data: Any, dtype: Any = None, requires_grad: bool = False, *, device: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A new Tensor from numbers, nested lists or an array, which is copied.

    Lists of Python floats get the default dtype, float32, of integers int64; NumPy arrays keep
    their dtype. Raises ValueError for ragged lists, TypeError for what are not numbers and for
    integers that are to require a gradient.

    >>> tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    devices.check(device)
    array = array_from(data, dtype)
    check_can_require_grad(array, requires_grad)
    return placed(leaf(array, requires_grad))


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` itself if it is a Tensor of this dtype; an array of it is shared, all else copied.

    >>> as_tensor(np.ones(2))
    tensor([1., 1.], dtype=torch.float64)
    """
    devices.check(device)
    if isinstance(data, Tensor):
        return data if dtype is None else data.astype(dtype)
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == dtype):
        return from_numpy(data)
    return tensor(data, dtype)


class TypedTensor:
    """`LongTensor([1, 2])`: a Tensor of one dtype, of what is given or of these sizes.

    >>> LongTensor([1, 2]), isinstance(tensor([1.0]), FloatTensor)
    (tensor([1, 2]), True)
    """

    def __init__(self, name: str, dtype: Any) -> None:
        self.name, self.dtype = name, np.dtype(dtype)

    def __call__(self, *data: Any) -> Tensor:
        """A new Tensor."""
        return Tensor(*data, dtype=self.dtype)

    def __instancecheck__(self, x: Any) -> bool:
        return isinstance(x, Tensor) and x.dtype == self.dtype

    def __repr__(self) -> str:
        return f"<class 'torch.{self.name}'>"


FloatTensor, DoubleTensor = (
    TypedTensor("FloatTensor", np.float32), TypedTensor("DoubleTensor", np.float64),
)  # fmt: skip
LongTensor, IntTensor = TypedTensor("LongTensor", np.int64), TypedTensor("IntTensor", np.int32)
ByteTensor, BoolTensor = TypedTensor("ByteTensor", np.uint8), TypedTensor("BoolTensor", np.bool_)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A Tensor on the memory of an array: what is written into one is written into both.

    A backward pass that would need what was overwritten raises RuntimeError, and so does a write
    into a read-only array.

    >>> from_numpy(np.arange(3))
    tensor([0, 1, 2])
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"from_numpy: got {type_name(ndarray)}; wanted an ndarray, or tensor(...)")
    if current().tracer is not None or ndarray.dtype.kind not in "fiub":
        return tensor(ndarray)
    array = plain_array(ndarray, "from_numpy")
    return borrow(leaf(array if array.flags.writeable else np.asarray(memoryview(array))))


@creates
def zeros(*sizes: Any, size: Any = None, dtype: Any = None) -> Any:
    """0 everywhere.

    >>> zeros(2, 3).shape
    torch.Size([2, 3])
    """
    return np.zeros(room(sizes, size), dtype or default_dtype())


@creates
def ones(*sizes: Any, size: Any = None, dtype: Any = None) -> Any:
    """1 everywhere.

    >>> ones(3)
    tensor([1., 1., 1.])
    """
    return np.ones(room(sizes, size), dtype or default_dtype())


@creates
def empty(*sizes: Any, size: Any = None, dtype: Any = None) -> Any:
    """Room for numbers; what stands there is not defined.

    >>> empty(2, 3).shape
    torch.Size([2, 3])
    """
    return np.empty(room(sizes, size), dtype or default_dtype())


@creates
def full(size: Any, fill_value: Any, *, dtype: Any = None) -> Any:
    """The same number everywhere.

    >>> full((2,), 7.0)
    tensor([7., 7.])
    """
    return repeated(array_from(fill_value, dtype), room((size,)))


@creates
def eye(n: int, m: int | None = None, *, dtype: Any = None) -> Any:
    """The identity matrix, of n rows and m columns.

    >>> eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    room((n, n if m is None else m))
    return np.eye(n, m, dtype=dtype or default_dtype())


def number(x: Any, name: str) -> Any:
    """One of the ends of a row, or its step, as a number."""
    if not isinstance(x, (int, float, np.integer, np.floating, Tensor)):
        raise TypeError(f"{name}: got {a_type(x)}; wanted numbers: {name}(start, end)")
    return x.item() if isinstance(x, Tensor) else x


@creates
def arange(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: Any = None) -> Any:
    """start, start + step, ... below end; integers give int64, floats the default dtype.

    >>> arange(3), arange(0.0, 1.0, 0.5)
    (tensor([0, 1, 2]), tensor([0.0000, 0.5000]))
    """
    if end is None:
        start, end = 0, start
    start, end, step = (number(x, "arange") for x in (start, end, step))
    if step == 0:
        raise ValueError("arange: a step of 0 never arrives; wanted another number")
    if (end - start) * step < 0:
        raise ValueError(f"arange: a step of {step} does not lead from {start} to {end}")
    whole = all(isinstance(x, (int, np.integer)) for x in (start, end, step))
    kind = np.dtype(dtype or (np.int64 if whole else default_dtype()))
    if kind.kind != "f" or kind.itemsize < 4:
        return cast(np.arange(start, end, step), kind)
    return steps_from(start, step, math.ceil((end - start) / step), kind)


def steps_from(start: float, step: float, n: int, kind: np.dtype[Any]) -> np.ndarray:
    """start + i·step for i < n, to the last digit as PyTorch has it.

    It rounds once (a fused multiplication and addition), and counts within 32 bytes from their
    first number, which is rounded already; what does not fill two times 32 bytes counts from start.
    """
    i, lanes = np.arange(n), 32 // kind.itemsize
    within = np.where(i < n - n % (2 * lanes), i % lanes, 0)
    exact = np.longdouble(start) + np.longdouble(step) * (i - within)
    first = exact.astype(np.float64).astype(kind)
    return (first + np.longdouble(step) * within).astype(np.float64).astype(kind)


@creates
def range(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: Any = None) -> Any:
    """start, start + step, ... up to end, which is met: as in old scripts; arange is like Python's.

    >>> range(1, 3)
    tensor([1., 2., 3.])
    """
    start, end, step = (number(x, "range") for x in (start, end, step))
    if step == 0 or (end - start) * step < 0:
        raise ValueError(f"range: a step of {step} does not lead from {start} to {end}")
    steps = np.arange(math.floor((end - start) / step) + 1)
    return (start + step * steps).astype(dtype or default_dtype())


@creates
def linspace(start: Any, end: Any, steps: int, *, dtype: Any = None) -> Any:
    """`steps` numbers from start to end, evenly spaced, both included.

    >>> linspace(0, 1, 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    room((steps,))
    low, high = (number(x, "linspace") for x in (start, end))
    return evenly(low, high, steps, np.dtype(dtype or default_dtype()))


@creates
def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: Any = None) -> Any:
    """base to the power of `steps` numbers from start to end, evenly spaced.

    >>> logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    room((steps,))
    wanted = np.dtype(dtype or default_dtype())
    low, high = (number(x, "logspace") for x in (start, end))
    exponents = evenly(low, high, steps, wanted if wanted.kind == "f" else np.float64)
    return np.power(exponents.dtype.type(base), exponents).astype(wanted)


def shape_and_dtype(input: Any, dtype: Any, name: str) -> tuple[tuple[int, ...], Any]:
    """What a tensor like `input` has, if it is not to have another dtype."""
    return tuple(shaped(input, name).shape), np.dtype(dtype or input.dtype)


@creates
def zeros_like(input: Tensor, *, dtype: Any = None) -> Any:
    """0 in the shape and dtype of `input`.

    >>> zeros_like(ones(2))
    tensor([0., 0.])
    """
    return slices_like(input, np.zeros(*shape_and_dtype(input, dtype, "zeros_like")))


@creates
def ones_like(input: Tensor, *, dtype: Any = None) -> Any:
    """1 in the shape and dtype of `input`.

    >>> ones_like(zeros(2))
    tensor([1., 1.])
    """
    return slices_like(input, np.ones(*shape_and_dtype(input, dtype, "ones_like")))


@creates
def empty_like(input: Tensor, *, dtype: Any = None) -> Any:
    """Room for numbers in the shape and dtype of `input`; what stands there is not defined.

    >>> empty_like(zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    return slices_like(input, np.empty(*shape_and_dtype(input, dtype, "empty_like")))


@creates
def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None) -> Any:
    """The same number in the shape and dtype of `input`.

    >>> full_like(zeros(2), 3.0)
    tensor([3., 3.])
    """
    shape, kind = shape_and_dtype(input, dtype, "full_like")
    plain = current().tracer is None and not isinstance(fill_value, Tensor)
    value = fill_value if plain else array_from(fill_value, kind)
    return slices_like(input, repeated(value, shape, kind))


# --- random: PyTorch's numbers for the same seed ------------------------------------------------


@creates
def rand(*sizes: Any, size: Any = None, generator: Any = None, dtype: Any = None) -> Any:
    """Uniform on [0, 1).

    >>> from tinygrad_ce import Generator
    >>> rand(3, generator=Generator().manual_seed(2147483647))
    tensor([0.7081, 0.3542, 0.1054])
    """
    kind = np.dtype(dtype or default_dtype())
    return generator_or_default(generator).rand(room(sizes, size), kind)


@creates
def randn(*sizes: Any, size: Any = None, generator: Any = None, dtype: Any = None) -> Any:
    """Normal, N(0, 1).

    >>> from tinygrad_ce import Generator
    >>> randn(3, generator=Generator().manual_seed(0))
    tensor([ 1.5410, -0.2934, -2.1788])
    """
    kind = np.dtype(dtype or default_dtype())
    return generator_or_default(generator).randn(room(sizes, size), kind)


@creates
def rand_like(input: Tensor, *, generator: Any = None, dtype: Any = None) -> Any:
    """Uniform on [0, 1), in the shape and dtype of `input`.

    >>> rand_like(zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    return generator_or_default(generator).rand(*shape_and_dtype(input, dtype, "rand_like"))


@creates
def randn_like(input: Tensor, *, generator: Any = None, dtype: Any = None) -> Any:
    """Normal, in the shape and dtype of `input`.

    >>> randn_like(zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    return generator_or_default(generator).randn(*shape_and_dtype(input, dtype, "randn_like"))


@creates
def randint(
    low: Any = 0, high: Any = None, size: Any = None, *, generator: Any = None, dtype: Any = None
) -> Any:
    """Integers from low up to high - 1: randint(10, (2,)) or randint(5, 10, (2,)).

    >>> from tinygrad_ce import Generator
    >>> randint(0, 10, (3,), generator=Generator().manual_seed(0))
    tensor([4, 9, 3])
    """
    if size is None and isinstance(high, (tuple, list)):  # randint(high, size)
        low, high, size = 0, low, high
    elif high is None:  # randint(high, size=...)
        low, high = 0, low
    if size is None:
        raise TypeError(
            "randint: no size; write randint(high, (2, 3)) or randint(low, high, (2, 3))"
        )
    ends = operator.index(low), operator.index(high)
    return cast(generator_or_default(generator).randint(*ends, room((size,))), dtype)


@creates
def randint_like(
    input: Tensor, low: Any, high: Any = None, *, generator: Any = None, dtype: Any = None
) -> Any:
    """Integers from low, or 0, up to high - 1, in the shape and dtype of `input`.

    >>> randint_like(zeros(2, 3), 10).shape
    torch.Size([2, 3])
    """
    shape, kind = shape_and_dtype(input, dtype, "randint_like")
    low, high = (0, low) if high is None else (low, high)
    return cast(generator_or_default(generator).randint(low, high, shape), kind)


@creates
def randperm(n: int, *, generator: Any = None, dtype: Any = None) -> Any:
    """0 ... n-1 in random order.

    >>> from tinygrad_ce import Generator
    >>> randperm(4, generator=Generator().manual_seed(0))
    tensor([0, 1, 3, 2])
    """
    return cast(generator_or_default(generator).randperm(n), dtype)


@creates
def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None
) -> Any:
    """N(mean, std²): two numbers with a size, or Tensors of means and deviations.

    >>> normal(0.0, 1.0, (2, 3)).shape
    torch.Size([2, 3])
    """
    source = generator_or_default(generator)
    kind = np.dtype(dtype or default_dtype())
    if size is not None:
        return source.normal(mean, std, room((size,)), kind)
    if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
        raise TypeError("normal: two numbers and no size; write normal(0.0, 1.0, size=(2, 3))")
    pair = (mean, std)
    arrays = [value_of(x) if isinstance(x, Tensor) else array_from(x, kind) for x in pair]
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    draws = source.randn(shape, np.dtype(np.result_type(*arrays)))
    return draws * arrays[1] + arrays[0]


@creates
def bernoulli(input: Tensor, p: float | None = None, *, generator: Any = None) -> Any:
    """1 with the probability that stands there, or with p, else 0.

    >>> bernoulli(tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    source = generator_or_default(generator)
    draws = source.bernoulli(value_of(input)) if p is None else source.bernoulli(p, input.shape)
    return cast(draws, input.dtype)


@creates
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None
) -> Any:
    """Indices drawn with the probabilities in each row, which need not add up to 1.

    >>> multinomial(tensor([0.0, 1.0, 0.0]), 1)
    tensor([1])
    """
    source = generator_or_default(generator)
    return source.multinomial(value_of(input), num_samples, replacement)


def numel(input: Tensor) -> int:
    """Number of elements.

    >>> numel(zeros(2, 3))
    6
    """
    return math.prod(shaped(input, "numel").shape)
