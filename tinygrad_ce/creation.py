"""Making tensors: from data, from a rule, from the random stream."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.engine import devices, table
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
from tinygrad_ce.engine.tensor import (
    Tensor,
    check_can_require_grad,
    generator_or_default,
    sizes as as_sizes,
)


def made(array: Any, dtype: Any, requires_grad: bool, device: Any = None) -> Tensor:
    """A leaf around an array that nobody else holds."""
    if device is not None:
        devices.check(device)
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


def room(given: tuple[Any, ...], size: Any = None) -> tuple[int, ...]:
    """Sizes of a new tensor, given one by one, as one tuple, or by name."""
    shape = as_sizes(given if size is None else (*given, size))
    if any(n < 0 for n in shape):
        raise ValueError(f"got sizes {shape}; wanted none below 0")
    return shape


def tensor(
    data: Any, dtype: Any = None, requires_grad: bool = False, *, device: Any = None
) -> Tensor:
    """A new Tensor from numbers, nested lists or an array, which is copied.

    Lists of Python floats get the default dtype, float32, of integers int64; NumPy arrays keep
    their dtype. Raises ValueError for ragged lists, TypeError for what are not numbers and for
    integers that are to require a gradient.

    >>> tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    return made(array_from(data, dtype), None, requires_grad, device)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` itself if it is a Tensor of this dtype; an array of it is shared, all else copied.

    >>> as_tensor(np.ones(2))
    tensor([1., 1.], dtype=torch.float64)
    """
    if isinstance(data, Tensor):
        return data.to(device, dtype)
    devices.check(device)
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


def zeros(
    *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0 everywhere.

    >>> zeros(2, 3).shape
    torch.Size([2, 3])
    """
    array = np.zeros(room(sizes, size), dtype or default_dtype())
    return made(array, None, requires_grad, device)


def ones(
    *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """1 everywhere.

    >>> ones(3)
    tensor([1., 1., 1.])
    """
    array = np.ones(room(sizes, size), dtype or default_dtype())
    return made(array, None, requires_grad, device)


def empty(
    *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Room for numbers; what stands there is not defined.

    >>> empty(2, 3).shape
    torch.Size([2, 3])
    """
    array = np.empty(room(sizes, size), dtype or default_dtype())
    return made(array, None, requires_grad, device)


def full(
    size: Any, fill_value: Any, dtype: Any = None, requires_grad: bool = False, *,
    device: Any = None,
) -> Tensor:  # fmt: skip
    """The same number everywhere.

    >>> full((2,), 7.0)
    tensor([7., 7.])
    """
    array = repeated(array_from(fill_value, dtype), room((size,)))
    return made(array, None, requires_grad, device)


def eye(
    n: int, m: int | None = None, dtype: Any = None, *, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The identity matrix.

    >>> eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    room((n, n if m is None else m))
    return made(np.eye(n, m, dtype=dtype or default_dtype()), None, requires_grad, device)


def arange(
    start: float, end: float | None = None, step: float = 1, dtype: Any = None,
    requires_grad: bool = False, *, device: Any = None,
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
    return made(np.arange(start, end, step), wanted, requires_grad, device)


def linspace(
    start: float, end: float, steps: int, dtype: Any = None, requires_grad: bool = False, *,
    device: Any = None,
) -> Tensor:  # fmt: skip
    """`steps` numbers from start to end, evenly spaced, both included.

    >>> linspace(0, 1, 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    return made(spaced(start, end, steps, dtype), None, requires_grad, device)


def spaced(start: Any, end: Any, steps: int, dtype: Any) -> Any:
    """PyTorch's numbers: counted from the nearer end, each product and sum rounded together."""
    room((steps,))
    kind = np.dtype(dtype or default_dtype())
    if kind.kind != "f" or is_symbol(start) or is_symbol(end):
        return np.linspace(start, end, steps, dtype=kind)
    wide: Any = np.longdouble if kind == np.float64 else np.float64
    first, last = kind.type(start), kind.type(end)
    step = wide((last - first) / kind.type(max(steps - 1, 1)))
    up = np.arange(steps).astype(wide)
    ascending, descending = wide(first) + step * up, wide(last) - step * up[::-1]
    near = up < max(steps // 2, 1)
    return np.where(near, ascending, descending).astype(kind)


def zeros_like(
    input: Tensor, dtype: Any = None, requires_grad: bool = False, *, device: Any = None
) -> Tensor:
    """0 in the shape and dtype of `input`.

    >>> zeros_like(ones(2))
    tensor([0., 0.])
    """
    shape = shaped(input, "zeros_like").shape
    return made(np.zeros(shape, dtype or input.dtype), None, requires_grad, device)


def ones_like(
    input: Tensor, dtype: Any = None, requires_grad: bool = False, *, device: Any = None
) -> Tensor:
    """1 in the shape and dtype of `input`.

    >>> ones_like(zeros(2))
    tensor([1., 1.])
    """
    shape = shaped(input, "ones_like").shape
    return made(np.ones(shape, dtype or input.dtype), None, requires_grad, device)


def full_like(
    input: Tensor, fill_value: Any, dtype: Any = None, *, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The same number in the shape and dtype of `input`.

    >>> full_like(zeros(2), 3.0)
    tensor([3., 3.])
    """
    shape, dtype = shaped(input, "full_like").shape, dtype or input.dtype
    value = fill_value if current().tracer is None else array_from(fill_value, dtype)
    return made(repeated(value, shape, dtype), None, requires_grad, device)


def empty_like(
    input: Tensor, dtype: Any = None, requires_grad: bool = False, *, device: Any = None
) -> Tensor:
    """Room for numbers in the shape and dtype of `input`.

    >>> empty_like(zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    shape = shaped(input, "empty_like").shape
    return made(np.empty(shape, dtype or input.dtype), None, requires_grad, device)


# --- random: PyTorch's numbers for the same seed ------------------------------------------------


def rand(
    *sizes: Any, size: Any = None, generator: Any = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform on [0, 1).

    >>> from tinygrad_ce import Generator
    >>> rand(3, generator=Generator().manual_seed(2147483647))
    tensor([0.7081, 0.3542, 0.1054])
    """
    source = generator_or_default(generator)
    kind = np.dtype(dtype or default_dtype())
    return made(source.rand(room(sizes, size), kind), None, requires_grad, device)


def randn(
    *sizes: Any, size: Any = None, generator: Any = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal, N(0, 1).

    >>> from tinygrad_ce import Generator
    >>> randn(3, generator=Generator().manual_seed(0))
    tensor([ 1.5410, -0.2934, -2.1788])
    """
    source = generator_or_default(generator)
    kind = np.dtype(dtype or default_dtype())
    return made(source.randn(room(sizes, size), kind), None, requires_grad, device)


def rand_like(
    input: Tensor, generator: Any = None, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform on [0, 1), in the shape and dtype of `input`.

    >>> rand_like(zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    return rand(
        size=shaped(input, "rand_like").shape, generator=generator, dtype=dtype or input.dtype,
        device=device, requires_grad=requires_grad,
    )  # fmt: skip


def randn_like(
    input: Tensor, generator: Any = None, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal, in the shape and dtype of `input`.

    >>> randn_like(zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    return randn(
        size=shaped(input, "randn_like").shape, generator=generator, dtype=dtype or input.dtype,
        device=device, requires_grad=requires_grad,
    )  # fmt: skip


def randint(
    low: Any = 0, high: Any = None, size: Any = None, generator: Any = None, dtype: Any = None, *,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Integers from low up to high - 1: randint(10, (2,)) or randint(5, 10, (2,)).

    >>> from tinygrad_ce import Generator
    >>> randint(0, 10, (3,), generator=Generator().manual_seed(0))
    tensor([4, 9, 3])
    """
    if size is None:
        high, size = None, high
    if high is None:
        low, high = 0, low
    if size is None:
        raise TypeError(
            "randint: no size; write randint(high, (2, 3)) or randint(low, high, (2, 3))"
        )
    shape = (size,) if isinstance(size, int) else tuple(size)
    draws = generator_or_default(generator).randint(low, high, shape)
    return made(draws, dtype or np.int64, requires_grad, device)


def randperm(
    n: int, generator: Any = None, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0 ... n-1 in random order.

    >>> from tinygrad_ce import Generator
    >>> randperm(4, generator=Generator().manual_seed(0))
    tensor([0, 1, 3, 2])
    """
    return made(generator_or_default(generator).randperm(n), dtype, requires_grad, device)


def normal(
    mean: Any, std: Any = 1.0, size: Any = None, generator: Any = None, *, dtype: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """N(mean, std²): two numbers with a size, or Tensors of means and deviations.

    >>> normal(0.0, 1.0, (2, 3)).shape
    torch.Size([2, 3])
    """
    source = generator_or_default(generator)
    if size is not None:
        shape = (size,) if isinstance(size, int) else tuple(size)
        draws = source.normal(mean, std, shape, np.dtype(dtype or default_dtype()))
        return made(draws, None, requires_grad, device)
    pair = (mean, std)
    arrays = [
        value_of(x) if isinstance(x, Tensor) else array_from(x, default_dtype()) for x in pair
    ]
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    draws = source.randn(shape, np.dtype(np.result_type(*arrays)))
    return made(draws * arrays[1] + arrays[0], dtype, requires_grad, device)


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
