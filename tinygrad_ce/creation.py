"""Making tensors: from data, from a rule, from the random stream."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.lending import borrow
from tinygrad_ce.engine.operands import (
    array_from,
    is_symbol,
    leaf,
    plain_array,
    shaped,
    type_name,
    value_of,
)
from tinygrad_ce.engine.promotion import default_dtype
from tinygrad_ce.engine.tensor import Tensor, check_can_require_grad, generator_or_default, sizes


def made(array: Any, dtype: Any, requires_grad: bool) -> Tensor:
    """A leaf around an array that nobody else holds."""
    if dtype is not None and array.dtype != dtype:
        array = array.astype(dtype)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"dtype {array.dtype} is not a dtype of numbers: float32, float64, int64, bool"
        )
    check_can_require_grad(array, requires_grad)
    return leaf(array, requires_grad)


def repeated(value: Any, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """`value` everywhere: np.full, which knows no numbers of a program."""
    if is_symbol(value):
        function: Any = table.broadcast_to
        return function.op.forward(value, shape).copy()
    return np.full(shape, value, dtype)


def room(size: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes of a new tensor, given one by one or as one tuple."""
    shape = sizes(size)
    if any(n < 0 for n in shape):
        raise ValueError(f"got sizes {shape}; wanted none below 0")
    return shape


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new Tensor from numbers, nested lists or an array, which is copied.

    Lists of Python floats get the default dtype, float32, of integers int64; NumPy arrays keep
    their dtype. Raises ValueError for ragged lists, TypeError for what are not numbers and for
    integers that are to require a gradient.

    >>> tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    array = array_from(data, dtype)
    check_can_require_grad(array, requires_grad)
    return leaf(array, requires_grad)


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """`data` itself if it is a Tensor of this dtype; an array of it is shared, all else copied.

    >>> as_tensor(np.ones(2))
    tensor([1., 1.], dtype=torch.float64)
    """
    if isinstance(data, Tensor):
        return data if dtype is None else data.astype(dtype)
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == dtype):
        return from_numpy(data)
    return tensor(data, dtype)


def from_numpy(array: np.ndarray) -> Tensor:
    """A Tensor on the memory of an array: what is written into one is written into both.

    A backward pass that would need what was overwritten raises RuntimeError.

    >>> from_numpy(np.arange(3))
    tensor([0, 1, 2])
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: got {type_name(array)}; wanted an ndarray, or tensor(...)")
    if current().tracer is not None or array.dtype.kind not in "fiub":
        return tensor(array)
    x: Tensor = borrow(leaf(plain_array(array, "from_numpy")))
    return x


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """0 everywhere.

    >>> zeros(2, 3).shape
    torch.Size([2, 3])
    """
    return made(np.zeros(room(size), dtype or default_dtype()), None, requires_grad)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """1 everywhere.

    >>> ones(3)
    tensor([1., 1., 1.])
    """
    return made(np.ones(room(size), dtype or default_dtype()), None, requires_grad)


def empty(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Room for numbers; what stands there is not defined.

    >>> empty(2, 3).shape
    torch.Size([2, 3])
    """
    return made(np.empty(room(size), dtype or default_dtype()), None, requires_grad)


def full(size: Any, fill_value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """The same number everywhere.

    >>> full((2,), 7.0)
    tensor([7., 7.])
    """
    return made(repeated(array_from(fill_value, dtype), room((size,))), None, requires_grad)


def eye(n: int, m: int | None = None, dtype: Any = None) -> Tensor:
    """The identity matrix.

    >>> eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    room((n, n if m is None else m))
    return made(np.eye(n, m, dtype=dtype or default_dtype()), None, False)


def arange(
    start: float, end: float | None = None, step: float = 1, dtype: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, ... below end; integers give int64, floats the default dtype.

    >>> arange(3), arange(0.0, 1.0, 0.5)
    (tensor([0, 1, 2]), tensor([0.0000, 0.5000]))
    """
    if end is None:
        start, end = 0, start
    for x in (start, end, step):
        if not isinstance(x, (int, float, np.integer, np.floating, Tensor)):
            raise TypeError(f"arange: got a {type(x).__name__}; wanted numbers: arange(start, end)")
    if step == 0:
        raise ValueError("arange: a step of 0 never arrives; wanted another number")
    whole = all(isinstance(x, (int, np.integer)) for x in (start, end, step))
    wanted = dtype or (np.int64 if whole else default_dtype())
    return made(np.arange(start, end, step), wanted, requires_grad)


def linspace(
    start: float, end: float, steps: int, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers from start to end, evenly spaced, both included.

    >>> linspace(0, 1, 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    room((steps,))
    return made(np.linspace(start, end, steps, dtype=dtype or default_dtype()), None, requires_grad)


def zeros_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """0 in the shape and dtype of `input`.

    >>> zeros_like(ones(2))
    tensor([0., 0.])
    """
    return made(
        np.zeros(shaped(input, "zeros_like").shape, dtype or input.dtype), None, requires_grad
    )


def ones_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """1 in the shape and dtype of `input`.

    >>> ones_like(zeros(2))
    tensor([1., 1.])
    """
    return made(
        np.ones(shaped(input, "ones_like").shape, dtype or input.dtype), None, requires_grad
    )


def full_like(input: Tensor, fill_value: Any, dtype: Any = None) -> Tensor:
    """The same number in the shape and dtype of `input`.

    >>> full_like(zeros(2), 3.0)
    tensor([3., 3.])
    """
    shape, dtype = shaped(input, "full_like").shape, dtype or input.dtype
    value = fill_value if current().tracer is None else array_from(fill_value, dtype)
    return made(repeated(value, shape, dtype), None, False)


# --- random: PyTorch's numbers for the same seed ------------------------------------------------


def rand(
    *size: Any, generator: Any = None, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """Uniform on [0, 1).

    >>> from tinygrad_ce import Generator
    >>> rand(3, generator=Generator().manual_seed(2147483647))
    tensor([0.7081, 0.3542, 0.1054])
    """
    source = generator_or_default(generator)
    return made(source.rand(room(size), np.dtype(dtype or default_dtype())), None, requires_grad)


def randn(
    *size: Any, generator: Any = None, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """Normal, N(0, 1).

    >>> from tinygrad_ce import Generator
    >>> randn(3, generator=Generator().manual_seed(0))
    tensor([ 1.5410, -0.2934, -2.1788])
    """
    source = generator_or_default(generator)
    return made(source.randn(room(size), np.dtype(dtype or default_dtype())), None, requires_grad)


def rand_like(input: Tensor, generator: Any = None) -> Tensor:
    """Uniform on [0, 1), in the shape and dtype of `input`.

    >>> rand_like(zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    shape = shaped(input, "rand_like").shape
    return rand(shape, generator=generator, dtype=input.dtype)


def randn_like(input: Tensor, generator: Any = None) -> Tensor:
    """Normal, in the shape and dtype of `input`.

    >>> randn_like(zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    shape = shaped(input, "randn_like").shape
    return randn(shape, generator=generator, dtype=input.dtype)


def randint(
    low: int, high: Any = None, size: Any = None, generator: Any = None, dtype: Any = None
) -> Tensor:
    """Integers from low up to high - 1: randint(10, (2,)) or randint(5, 10, (2,)).

    >>> from tinygrad_ce import Generator
    >>> randint(0, 10, (3,), generator=Generator().manual_seed(0))
    tensor([4, 9, 3])
    """
    if size is None:
        low, high, size = 0, low, high
    if size is None:
        raise TypeError(
            "randint: no size; write randint(high, (2, 3)) or randint(low, high, (2, 3))"
        )
    shape = (size,) if isinstance(size, int) else tuple(size)
    return made(generator_or_default(generator).randint(low, high, shape), dtype or np.int64, False)


def randperm(n: int, generator: Any = None) -> Tensor:
    """0 ... n-1 in random order.

    >>> from tinygrad_ce import Generator
    >>> randperm(4, generator=Generator().manual_seed(0))
    tensor([0, 1, 3, 2])
    """
    return made(generator_or_default(generator).randperm(n), None, False)


def normal(mean: Any, std: Any, size: Any = None, generator: Any = None) -> Tensor:
    """N(mean, std²): two numbers with a size, or Tensors of means and deviations.

    >>> normal(0.0, 1.0, (2, 3)).shape
    torch.Size([2, 3])
    """
    source = generator_or_default(generator)
    if size is not None:
        shape = (size,) if isinstance(size, int) else tuple(size)
        return made(source.normal(mean, std, shape, default_dtype()), None, False)
    pair = (mean, std)
    arrays = [
        value_of(x) if isinstance(x, Tensor) else array_from(x, default_dtype()) for x in pair
    ]
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    draws = source.randn(shape, np.dtype(np.result_type(*arrays)))
    return made(draws * arrays[1] + arrays[0], None, False)


def bernoulli(input: Tensor, generator: Any = None) -> Tensor:
    """1 with the probability that stands there, else 0.

    >>> bernoulli(tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    draws = generator_or_default(generator).bernoulli(value_of(input))
    return made(draws, input.dtype, False)


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, generator: Any = None
) -> Tensor:
    """Indices drawn with the probabilities in each row, which need not add up to 1.

    >>> multinomial(tensor([0.0, 1.0, 0.0]), 1)
    tensor([1])
    """
    source = generator_or_default(generator)
    return made(source.multinomial(value_of(input), num_samples, replacement), None, False)


def numel(input: Tensor) -> int:
    """Number of elements.

    >>> numel(zeros(2, 3))
    6
    """
    return math.prod(shaped(input, "numel").shape)
