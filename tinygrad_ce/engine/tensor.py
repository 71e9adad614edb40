"""class Tensor: the operators and methods, one line each, over the functions of the engine."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import wraps
from typing import Any

import numpy as np

from tinygrad_ce.engine import (
    arranging,
    backward,
    counting,
    devices,
    dtypes,
    filling,
    functions,
    lending,
    linear,
    operands,
    ordering,
    promotion,
    protocol,
    rule,
    table,
    write,
)
from tinygrad_ce.engine.chain import propagate
from tinygrad_ce.engine.dtypes import Size
from tinygrad_ce.engine.frame import F, current, recording
from tinygrad_ce.engine.graph import Node, new
from tinygrad_ce.engine.hooks import TensorHandle
from tinygrad_ce.engine.memory import mark_written, memory_of, shared
from tinygrad_ce.engine.past import GradFn, called, grad_fn, name_of
from tinygrad_ce.engine.printing import OPTIONS, tensor_text
from tinygrad_ce.engine.promotion import default_dtype
from tinygrad_ce.engine.returned import BY_NAME, Extremum

new_tuple = tuple.__new__
RETAIN = object()  # in `_grad`: a gradient is wanted here, none has arrived yet
ALIAS = rule.Op("detach", lambda x: x, (None,), False, "")  # what pictures call it


def along(method: F) -> F:
    """A method along one dimension; to it a 0-d tensor is a row of one number, as in PyTorch."""

    @wraps(method)
    def call(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.ndim:
            return method(self, *args, **kwargs)
        y = method(self.reshape(1), *args, **kwargs)
        if isinstance(y, Extremum):
            return type(y)(*(part.reshape(()) if part.numel() else part for part in y))
        return y.reshape(())

    return call  # type: ignore[return-value]


def by_axis(function: F) -> F:
    """A function whose `dim` may be given by NumPy's name too, as all of PyTorch's may."""

    @wraps(function)
    def call(*args: Any, **settings: Any) -> Any:
        if "axis" in settings:
            if "dim" in settings:
                raise TypeError(f"{function.__name__}: got both dim and axis, which are the same")
            settings["dim"] = settings.pop("axis")
        return function(*args, **settings)

    return call  # type: ignore[return-value]


Operator = Callable[["Tensor", Any], "Tensor"]


def tensors(*operations: Any) -> list[Callable[..., Tensor]]:
    """Operations as type checkers shall know them: of Tensors they make Tensors."""
    return [*operations]


def reflected(operation: Callable[..., Any]) -> Operator:
    """The operator for a Tensor on the right, as in `2.0 - x`."""
    return lambda self, other: operation(other, self)


def in_place(operation: Callable[..., Any], name: str) -> Operator:
    """The operator that writes into the Tensor on the left, as in `w -= d`."""

    def call(self: Any, other: Any) -> Any:
        return write.update(self, operation, other, name)

    call.__doc__ = f"x {name} other."
    return call


class Tensor(Node, metaclass=dtypes.Named, kind="result"):
    """An array of numbers that remembers how it was computed.

    `Tensor(data)` copies its data into floats of the default dtype, and `Tensor(2, 3)` is room for
    numbers, as in PyTorch; `tensor(data)` keeps integers and the dtypes of NumPy arrays.

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 4., 6.])
    """

    __slots__ = ()
    __hash__ = object.__hash__
    __array_priority__ = 1000

    def __new__(cls, *data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
        """A leaf with a copy of the data, or of the sizes that are given."""
        dtype = promotion.default_dtype() if dtype is None else dtype
        if not data or isinstance(data[0], (int, np.integer)):
            array = np.empty(sizes(data or (0,)), dtype)
        elif len(data) > 1 or isinstance(data[0], (float, np.floating)):
            raise TypeError(f"Tensor: got {data}; wanted a list, an array or sizes; tensor(3.0)")
        else:
            array = operands.array_from(data[0], dtype)
        check_can_require_grad(array, requires_grad)
        node = operands.leaf(array, requires_grad)
        return node if cls is Tensor else as_subclass(node, cls)

    # --- what it is -------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """Sizes of the dimensions."""
        return new_tuple(Size, self.array.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        """The kind of number that the elements are."""
        return dtypes.BY_NUMBER[self.array.dtype.num]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.array.ndim

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return not self.inputs

    @property
    def grad_fn(self) -> GradFn | None:
        """The operation that made this tensor, as a step of the backward pass; None for a leaf."""
        return grad_fn(self) if self.inputs else None

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward() has added up here, or None.

        Only leaves keep one, and tensors that were told to by retain_grad(): asking another
        one gives None and a warning.
        """
        grad = operands.get_grad(self)
        if grad is None and self.inputs:
            warnings.warn(
                f"grad: this tensor was made by {self.op.name} and is no leaf, so backward() keeps "
                "no gradient here; call retain_grad() before, or look at the leaf (after "
                "w = w - d, w is no leaf: write with no_grad(): w -= d)",
                stacklevel=2,
            )
        return None if grad is RETAIN else grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"grad: got {type(value).__name__}; wanted a Tensor, or None to forget it"
                )
            if value.shape != self.shape or value.dtype != self.dtype:
                raise ValueError(
                    f"grad: got shape {value.array.shape} and dtype {value.array.dtype}; this "
                    f"tensor has shape {self.array.shape} and dtype {self.array.dtype}"
                )
        with shared:
            retained = value is None and self.inputs and operands.get_grad(self) is not None
            operands.set_grad(self, RETAIN if retained else value)

    @property
    def data(self) -> Tensor:
        """A Tensor on the same memory that knows nothing of the graph."""
        return self._alias("data" if self.requires_grad else self.detached_by)

    @data.setter
    def data(self, value: Any) -> None:
        array = value.array if isinstance(value, Tensor) else operands.array_from(value, self.dtype)
        if array is self.array:
            return
        if array.shape != self.shape:
            raise ValueError(
                f"data: got shape {array.shape}; this tensor has shape {self.array.shape}"
            )
        if current().tracer is not None:  # other numbers in the same place, when the program runs
            operands.value_of(self)[...] = operands.value_of(value)
            mark_written(self, "x.data = v")
            return
        write.exchange(self, np.array(array, self.dtype), "x.data = v")

    @property
    def T(self) -> Tensor:  # noqa: N802
        """The dimensions in reverse order."""
        y = table.mT(self) if self.ndim == 2 else self.permute(tuple(range(self.ndim))[::-1])
        return called(y, "Permute")

    @property
    def mT(self) -> Tensor:  # noqa: N802
        """The last two dimensions exchanged; a 0-d tensor as it is."""
        if not self.ndim:
            return table.transpose(self, ())
        if self.ndim < 2:
            raise ValueError(f"mT: shape {self.array.shape} has no two dimensions to exchange")
        return table.mT(self)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        return self.shape if dim is None else self.array.shape[table.axis_of(dim, self.ndim)]

    def dim(self) -> int:
        """Number of dimensions."""
        return self.ndim

    def numel(self) -> int:
        """Number of elements."""
        return int(self.array.size)

    nelement = numel

    @property
    def device(self) -> devices.device:
        """Where the numbers are: always the CPU."""
        return devices.CPU

    @property
    def is_cuda(self) -> bool:
        """No."""
        return False

    def is_floating_point(self) -> bool:
        """Whether the elements are floats, which can require a gradient."""
        return bool(self.dtype.kind == "f")

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d Tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d Tensor; its number is t.item()")
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self.array == protocol.plain(value)).any())

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in Node.__slots__]

    def __repr__(self) -> str:
        if not isinstance(self.array, (np.ndarray, np.generic)):
            return f"tensor({self.array!r})"  # while somebody traces there are no numbers
        suffixes = []
        if not OPTIONS["edgeitems"] if self.array.size else self.ndim != 1:
            suffixes.append(f"size={self.array.shape}")
        usual = (default_dtype().name, *(("int64", "bool") if self.array.size else ()))
        if self.dtype.name not in usual:
            suffixes.append(f"dtype={self.dtype}")
        if self.inputs:
            suffixes.append(f"grad_fn=<{name_of(self)}>")
        elif self.requires_grad:
            suffixes.append("requires_grad=True")
        plain = type(self).__repr__ is not Tensor.__repr__ or type(self) in (Tensor, Behind)
        prefix = "tensor" if plain else type(self).__name__
        return tensor_text(np.asarray(self.array), prefix, suffixes)

    def __format__(self, spec: str) -> str:
        numbers = isinstance(self.array, (np.ndarray, np.generic))  # else somebody traces
        if self.numel() == 1 and (spec or (numbers and not self.ndim)):
            return format(self.item(), spec)
        try:
            return format(str(self), spec)
        except ValueError:
            raise TypeError(
                f"format: {spec!r} is for one number, and this Tensor of shape {self.array.shape} "
                f"has {self.numel()}; write [f'{{v:{spec}}}' for v in t.tolist()], or t.mean()"
            ) from None

    # --- leaving the graph ------------------------------------------------------------------

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.array.size != 1:
            raise ValueError(
                f"item: shape {self.array.shape} has {self.array.size} elements; wanted 1. "
                "All of them are t.tolist()"
            )
        return operands.value_of(self).item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return operands.value_of(self).tolist()

    def numpy(self, *, force: Any = False) -> np.ndarray:
        """The array itself: what is written there is written here, and the other way round.

        A backward pass that would need what was overwritten raises. `force` detaches first; without
        it a Tensor that requires a gradient raises RuntimeError.
        """
        if self.requires_grad and not force:
            raise RuntimeError(
                "numpy: this Tensor requires a gradient, and NumPy would lose it. "
                "Write t.detach().numpy()"
            )
        array = operands.value_of(self)
        if not isinstance(array, (np.ndarray, np.generic)):
            return self._read_only(array)  # what a tracer has for one
        operands.settle(self)
        return lending.hand_out(self)

    def _read_only(self, array: Any) -> np.ndarray:
        view = np.asarray(array).view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise RuntimeError(
                "np.asarray: this Tensor requires a gradient, and NumPy would lose it. "
                "Write t.detach().numpy()"
            )
        array = self._read_only(operands.value_of(self))
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    @property
    def _data(self) -> np.ndarray:
        """What np.ma asks an operand of a masked array for."""
        raise TypeError(
            "got a masked array next to a Tensor: it has no number where it is masked; write "
            "array.filled(0.0), or t.detach().numpy() to stay in NumPy"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return protocol.array_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return protocol.array_function(function, args, kwargs)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iub":
            raise TypeError(f"index: got a Tensor of dtype {self.array.dtype}; wanted an integer")
        return int(self.item())

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise ValueError(
                f"bool: a Tensor of shape {self.array.shape} has {self.array.size} truth values; "
                "write (t > 0).any() or (t > 0).all()"
            )
        return bool(operands.value_of(self))

    def _alias(self, detached_by: str | None) -> Tensor:
        operands.settle(self)
        y = operands.leaf(self.array)
        y.memory = memory_of(self)
        y.detached_by = detached_by
        if current().lines:
            operands.remember(y, ALIAS, (self,))
        return y

    def detach(self) -> Tensor:
        """The same numbers, on the same memory, without a past."""
        return self._alias("detach()" if self.requires_grad else self.detached_by)

    def detach_(self) -> Tensor:
        """This tensor itself without a past, from here on; what used it before keeps its gradient.

        Raises RuntimeError for a view.
        """
        if not self.inputs:
            return self.requires_grad_(False)
        return write.cut_off(self)  # type: ignore[return-value]

    def __copy__(self) -> Tensor:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.inputs:
            raise RuntimeError(
                f"copy: this tensor was made by {self.op.name} and requires a gradient; write "
                "t.detach().numpy() for NumPy and for plots, t.clone() to stay in the graph, "
                "t.detach().clone() to leave it"
            )
        y = as_subclass(operands.leaf(np.array(self.array), self.requires_grad), type(self))
        if self.grad is not None:
            y._grad = self.grad.detach().clone()
        return y

    def __reduce__(self) -> Any:
        if self.inputs:
            raise RuntimeError(f"pickle: only leaves; this tensor was made by {self.op.name}")
        return unpickled, (type(self), np.array(self.array), self.requires_grad)

    # --- gradients --------------------------------------------------------------------------

    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add ∂self/∂leaf to `.grad` of every leaf that requires a gradient, or of the `inputs`.

        `gradient` is ∂L/∂self, 1 for a scalar. The graph stays alive, so it can be drawn;
        `retain_graph=False` frees it. With `create_graph` the gradients can be differentiated.
        """
        seed = backward.seed_for(self, gradient, create_graph)
        with recording(True) if create_graph else nullcontext():
            arrived = propagate({self: seed}, graph=create_graph)
            if inputs is not None:
                wanted = {*([inputs] if isinstance(inputs, Node) else inputs)}
                arrived = {node: g for node, g in arrived.items() if node in wanted}
            backward.accumulate(arrived, create_graph, seed)
        if retain_graph is False:
            backward.free(self)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Switch on (or off) that this leaf gathers a gradient, as `requires_grad = True` does.

        What was computed before keeps what held then: a leaf that was frozen while it was used
        gets no gradient from there. Raises RuntimeError where a recorded result is switched off,
        TypeError for what is no bool and for integers.
        """
        check_can_require_grad(self.array, requires_grad)
        if requires_grad is self.live:
            return self
        if self.live and self.op is not None:
            raise RuntimeError(
                f"requires_grad: this tensor was made by {self.op.name} and is no leaf, so a "
                "gradient flows through it; write t.detach() for its numbers without a past"
            )
        self.array = np.array(self.array) if isinstance(self.array, np.generic) else self.array
        self.op = None
        backward.switch(self, requires_grad)
        return self

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to this tensor; set on a leaf, as `requires_grad_` does."""
        return self.live

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        self.requires_grad_(requires_grad)

    def retain_grad(self) -> None:
        """Keep the gradient of this tensor, though it is not a leaf, in `.grad`."""
        if not self.requires_grad:
            raise RuntimeError("retain_grad: this tensor does not require a gradient")
        if self.inputs and operands.get_grad(self) is None:
            operands.set_grad(self, RETAIN)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> TensorHandle:
        """Call `hook(gradient)` when the gradient of this tensor has arrived, in each backward().

        What it gives, unless that is None, takes the place of the gradient. `remove()` of the
        handle ends it. Raises RuntimeError for a tensor that requires no gradient.

        >>> import tinygrad_ce as tg
        >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
        >>> handle = x.register_hook(lambda g: g * 10)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([20., 40.])
        """
        if not self.requires_grad:
            raise RuntimeError("register_hook: this tensor does not require a gradient")
        return TensorHandle(self, hook)

    # --- operators --------------------------------------------------------------------------

    __add__, __sub__, __mul__ = tensors(table.add, table.sub, table.mul)
    __truediv__, __matmul__ = tensors(table.div, table.matmul)
    __mod__, __floordiv__ = tensors(table.mod, table.floordiv)
    __gt__, __ge__ = tensors(table.greater, table.greater_equal)
    __lt__, __le__ = tensors(table.less, table.less_equal)
    __and__, __or__ = tensors(table.logical_and, table.logical_or)
    __xor__, __invert__ = tensors(table.logical_xor, table.logical_not)
    __neg__, __abs__ = tensors(table.neg, table.abs)

    def __pos__(self) -> Tensor:
        return self

    __radd__, __rsub__ = reflected(table.add), reflected(table.sub)
    __rmul__, __rtruediv__ = reflected(table.mul), reflected(table.div)
    __rmod__, __rfloordiv__ = reflected(table.mod), reflected(table.floordiv)
    __rand__, __ror__ = reflected(table.logical_and), reflected(table.logical_or)
    __rxor__, __rmatmul__ = reflected(table.logical_xor), reflected(table.matmul)
    __rpow__ = reflected(table.float_power)

    def __pow__(self, other: Any) -> Tensor:
        return functions.pow(self, other)

    def __eq__(self, other: object) -> Any:
        if isinstance(other, OPERANDS) or hasattr(other, "dtype"):
            return table.equal(self, other)
        return NotImplemented

    def __ne__(self, other: object) -> Any:
        if isinstance(other, OPERANDS) or hasattr(other, "dtype"):
            return table.not_equal(self, other)
        return NotImplemented

    __iadd__, __isub__ = in_place(table.add, "+="), in_place(table.sub, "-=")
    __imul__, __itruediv__ = in_place(table.mul, "*="), in_place(table.div, "/=")
    __ipow__ = in_place(functions.pow, "**=")

    def __getitem__(self, index: Any) -> Tensor:
        parts, arrays = index_parts(index)
        if arrays:
            self, parts = numbers_first(self, parts, arrays)
        return table.getitem(self, *arrays, index=parts)

    def __setitem__(self, index: Any, values: Any) -> None:
        parts, arrays = index_parts(index)
        if arrays:
            self, parts = numbers_first(self, parts, arrays)
        write.assign(self, arrays, parts, values)

    # --- elementwise ------------------------------------------------------------------------

    add, sub, mul = tensors(functions.add, functions.sub, table.mul)
    div, neg = tensors(functions.div, table.neg)
    pow, remainder, fmod = tensors(functions.pow, table.mod, table.fmod)
    floor_divide, hypot = tensors(table.floordiv, table.hypot)
    exp, log, sqrt = tensors(table.exp, table.log, table.sqrt)
    log1p, expm1 = tensors(table.log1p, table.expm1)
    log2, log10, logaddexp = tensors(table.log2, table.log10, functions.logaddexp)
    sin, cos, tan = tensors(table.sin, table.cos, table.tan)
    asin, acos, atan, atan2 = tensors(table.arcsin, table.arccos, table.arctan, table.arctan2)
    sinh, cosh, tanh, asinh = tensors(table.sinh, table.cosh, table.tanh, table.arcsinh)
    erf, erfc, abs, sign = tensors(table.erf, table.erfc, table.abs, table.sign)
    floor, ceil, round, trunc = tensors(table.floor, table.ceil, functions.round, table.trunc)
    maximum, minimum = tensors(table.maximum, table.minimum)
    isnan, isinf, isfinite = tensors(table.isnan, table.isinf, table.isfinite)
    eq, ne, gt, ge = tensors(table.equal, table.not_equal, table.greater, table.greater_equal)
    lt, le = tensors(table.less, table.less_equal)
    bitwise_and, bitwise_or = tensors(table.logical_and, table.logical_or)
    bitwise_xor, bitwise_not = tensors(table.logical_xor, table.logical_not)
    logical_and, logical_or = tensors(functions.logical_and, functions.logical_or)
    logical_xor, logical_not = tensors(functions.logical_xor, functions.logical_not)
    sigmoid, relu, softplus = tensors(functions.sigmoid, functions.relu, functions.softplus)

    # PyTorch's long names
    subtract, multiply, divide, true_divide, negative = sub, mul, div, div, neg
    absolute, fix, arcsin, arccos, arctan, arctan2 = abs, trunc, asin, acos, atan, atan2
    arcsinh, not_equal, greater, greater_equal, less = asinh, ne, gt, ge, lt
    less_equal = le

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """The nearest number from `min` to `max`; the gradient passes at these bounds."""
        return functions.clip(self, min, max)

    clip = clamp

    def square(self) -> Tensor:
        """x².

        ∂y/∂x = 2 * x
        """
        return called(self * self, "Pow")

    def reciprocal(self) -> Tensor:
        """1/x.

        ∂y/∂x = -(y**2)
        """
        return called(1.0 / self, "Reciprocal")

    def rsqrt(self) -> Tensor:
        """1/√x.

        ∂y/∂x = -y / (2 * x)
        """
        return called(1.0 / self.sqrt(), "Rsqrt")

    def where(self, condition: Any, other: Any) -> Tensor:
        """This where the condition holds, `other` elsewhere."""
        return table.where(condition, self, other)

    # --- reductions -------------------------------------------------------------------------

    def sum(
        self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, **numpy: Any
    ) -> Tensor:
        """Σ x over `dim` (an int, a tuple, or None for all), computed in `dtype`.

        ∂L/∂x = g
        """
        x = total_of(self) if dtype is None else self.astype(dtype)
        return table.sum(x, *over(x, dim, keepdim, numpy))

    def mean(
        self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, **numpy: Any
    ) -> Tensor:
        """Σ x / n over `dim`, computed in `dtype`.

        ∂L/∂x = g / n
        """
        x = self if dtype is None else self.astype(dtype)
        return functions.mean(x, *over(x, dim, keepdim, numpy))

    def var(
        self, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: float = 1, **numpy: Any,
    ) -> Tensor:  # fmt: skip
        """Σ (x - mean)² / (n - correction); correction is 1, as in PyTorch, unbiased=False is 0.

        ∂L/∂x = g * 2 * (x - mean(x)) / (n - correction)
        """
        dim, correction = corrected(dim, unbiased, correction, numpy)
        return functions.var(self, *over(self, dim, keepdim, numpy), correction)

    def std(
        self, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: float = 1, **numpy: Any,
    ) -> Tensor:  # fmt: skip
        """√var; its gradient is 0 where all x are equal.

        ∂L/∂x = g * (x - mean(x)) / (n - correction) / y
        """
        dim, correction = corrected(dim, unbiased, correction, numpy)
        return functions.std(self, *over(self, dim, keepdim, numpy), correction)

    def amax(self, dim: Any = None, keepdim: bool = False, **numpy: Any) -> Tensor:
        """The largest element; equal ones share the gradient."""
        return table.amax(self, *over(self, dim, keepdim, numpy))

    def amin(self, dim: Any = None, keepdim: bool = False, **numpy: Any) -> Tensor:
        """The smallest element; equal ones share the gradient."""
        return table.amin(self, *over(self, dim, keepdim, numpy))

    def max(self, dim: int | None = None, keepdim: bool = False, **numpy: Any) -> Any:
        """The largest element; with `dim`, values and indices, the gradient going to the index."""
        return self._extremum(table.amax, table.argmax, *over(self, dim, keepdim, numpy))

    def min(self, dim: int | None = None, keepdim: bool = False, **numpy: Any) -> Any:
        """The smallest element; with `dim`, values and indices."""
        return self._extremum(table.amin, table.argmin, *over(self, dim, keepdim, numpy))

    def _extremum(self, all_of: Any, arg_of: Any, dim: int | None, keepdim: bool) -> Any:
        if isinstance(dim, Node):  # max(a, b)
            return (table.maximum if all_of is table.amax else table.minimum)(self, dim)
        if dim is None:
            return all_of(self)
        kind = BY_NAME["max" if all_of is table.amax else "min"]
        return kind(*self._extremum_along(arg_of, dim, keepdim))

    @along
    def _extremum_along(self, arg_of: Any, dim: int, keepdim: bool) -> Extremum:
        indices = arg_of(self, dim, True)
        values = functions.gather(self, dim, indices)
        if not keepdim:
            values, indices = values.squeeze(dim), indices.squeeze(dim)
        return Extremum(called(values, "Max" if arg_of is table.argmax else "Min"), indices)

    def argmax(self, dim: int | None = None, keepdim: bool = False, **numpy: Any) -> Tensor:
        """The index of the first largest element."""
        return table.argmax(self, *over(self, dim, keepdim, numpy))

    def argmin(self, dim: int | None = None, keepdim: bool = False, **numpy: Any) -> Tensor:
        """The index of the first smallest element."""
        return table.argmin(self, *over(self, dim, keepdim, numpy))

    def all(self, dim: Any = None, keepdim: bool = False, **numpy: Any) -> Tensor:
        """Whether all elements are true."""
        return table.all(self, *over(self, dim, keepdim, numpy))

    def any(self, dim: Any = None, keepdim: bool = False, **numpy: Any) -> Tensor:
        """Whether some element is true."""
        return table.any(self, *over(self, dim, keepdim, numpy))

    @along
    def prod(
        self, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None, **numpy: Any
    ) -> Tensor:
        """Π x, computed in `dtype`; where x is 0 its slope is the product of the others.

        ∂L/∂x = g * y / x
        """
        x = total_of(self) if dtype is None else self.astype(dtype)
        return functions.prod(x, *over(x, dim, keepdim, numpy))

    @along
    def cumsum(self, dim: Any = None, *, dtype: Any = None, **numpy: Any) -> Tensor:
        """y[k] = Σ x[0..k] along `dim`, computed in `dtype`."""
        x = total_of(self) if dtype is None else self.astype(dtype)
        return table.cumsum(x, one_dim("cumsum", x, dim, numpy))

    @along
    def cumprod(self, dim: Any = None, *, dtype: Any = None, **numpy: Any) -> Tensor:
        """y[k] = Π x[0..k] along `dim`, computed in `dtype`."""
        x = total_of(self) if dtype is None else self.astype(dtype)
        return table.cumprod(x, one_dim("cumprod", x, dim, numpy))

    def norm(
        self, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None,
        **numpy: Any,
    ) -> Tensor:  # fmt: skip
        """(Σ |x|ᵖ)^(1/p), for p = inf the largest |x|; for p ≥ 1 its gradient at 0 is 0.

        ∂L/∂x = g * sign(x) * (abs(x) / y) ** (p - 1)
        """
        x = self if dtype is None else self.astype(dtype)
        return called(functions.norm_of(x, p, *over(x, dim, keepdim, numpy)), "LinalgVectorNorm")

    def logsumexp(self, dim: Any = None, keepdim: bool = False, **numpy: Any) -> Tensor:
        """log Σ exp(x).

        ∂L/∂x = g * exp(x - y)
        """
        return functions.logsumexp(self, *over(self, dim, keepdim, numpy))

    def softmax(self, dim: int, dtype: Any = None) -> Tensor:
        """exp(x) / Σ exp(x) along `dim`, computed in `dtype`.

        ∂L/∂x = y * (g - sum(g * y))
        """
        return functions.softmax(self if dtype is None else self.astype(dtype), dim)

    def log_softmax(self, dim: int, dtype: Any = None) -> Tensor:
        """x - log Σ exp(x) along `dim`, computed in `dtype`.

        ∂L/∂x = g - exp(y) * sum(g)
        """
        return functions.log_softmax(self if dtype is None else self.astype(dtype), dim)

    # --- products ---------------------------------------------------------------------------

    matmul, outer, dot = tensors(table.matmul, arranging.outer, arranging.dot)
    mv, mm, bmm = tensors(arranging.mv, arranging.mm, arranging.bmm)
    addmm, baddbmm = tensors(arranging.addmm, arranging.baddbmm)

    # --- shape ------------------------------------------------------------------------------

    def reshape(self, *sizes: Any, shape: Any = None) -> Tensor:
        """The same elements in another shape; -1 stands for what is left."""
        return table.reshape(self, in_one(sizes, shape))

    def view(self, *sizes: Any, size: Any = None) -> Tensor:
        """The same elements, on the same memory, in another shape."""
        y = self.reshape(in_one(sizes, size))
        if y.memory is not self.memory and y.numel() and isinstance(self.array, np.ndarray):
            raise ValueError(
                f"view: shape {self.array.shape} in this memory layout cannot be seen as "
                f"{y.array.shape} without a copy; write reshape"
            )
        return y

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """The dimensions from `start_dim` to `end_dim` as one."""
        if not self.ndim:
            return self.reshape(1).flatten(start_dim, end_dim)
        start, end = table.axis_of(start_dim, self.ndim), table.axis_of(end_dim, self.ndim)
        if start > end:
            raise ValueError(f"flatten: start_dim={start_dim} comes after end_dim={end_dim}")
        n = math.prod(self.shape[start : end + 1])
        return self.reshape(*self.shape[:start], n, *self.shape[end + 1 :])

    def squeeze(self, dim: Any = None) -> Tensor:
        """Without the dimensions of size 1, or without those of them in `dim`."""
        dims = range(self.ndim) if dim is None else dim if isinstance(dim, tuple) else (dim,)
        drop = {table.axis_of(d, self.ndim or 1) for d in dims}
        y = self.reshape(*(n for i, n in enumerate(self.array.shape) if n != 1 or i not in drop))
        return called(y, "SqueezeBackward0" if dim is None else "SqueezeBackward1")

    def unsqueeze(self, dim: int) -> Tensor:
        """With a dimension of size 1 at `dim`."""
        place = dim + self.ndim + 1 if dim < 0 else dim
        if not 0 <= place <= self.ndim:
            raise IndexError(f"unsqueeze: dim {dim} of shape {self.array.shape}")
        shape = self.array.shape
        return called(self.reshape(*shape[:place], 1, *shape[place:]), "Unsqueeze")

    @along
    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two dimensions exchanged."""
        axes = list(range(self.ndim))
        i, j = table.axis_of(dim0, self.ndim), table.axis_of(dim1, self.ndim)
        axes[i], axes[j] = j, i
        return table.transpose(self, tuple(axes))

    swapaxes = transpose

    def t(self) -> Tensor:
        """The transposed matrix; a vector or a number as it is."""
        if self.ndim > 2:
            raise ValueError(f"t: shape {self.array.shape}; wanted a matrix, or mT for several")
        return called(self.T, "T")

    def permute(self, *axes: Any, dims: Any = None) -> Tensor:
        """Dimension i of the result is dimension dims[i] of this."""
        return called(table.transpose(self, in_one(axes, dims)), "Permute")

    def expand(self, *sizes: Any, size: Any = None) -> Tensor:
        """Repeated, not copied, to these sizes; -1 keeps a size."""
        wanted = in_one(sizes, size)
        own = (1,) * (len(wanted) - self.ndim) + self.shape
        full = tuple(n if n != -1 else m for n, m in zip(wanted, own))
        return table.broadcast_to(self if self.ndim else self.reshape(own), full)

    def broadcast_to(self, shape: Any) -> Tensor:
        """Repeated, not copied, to `shape`."""
        return self.expand(*shape)

    def repeat(self, *counts: Any, repeats: Any = None) -> Tensor:
        """Copies of this laid side by side along each dimension."""
        counts = in_one(counts, repeats)
        if len(counts) < self.ndim:
            raise ValueError(
                f"repeat: {counts} for shape {self.array.shape}; wanted one number a dimension"
            )
        own = (1,) * (len(counts) - self.ndim) + self.shape
        pairs = self.reshape(*(k for n in own for k in (1, n)))
        full = tuple(k for r, n in zip(counts, own) for k in (r, n))
        y = pairs.expand(*full).reshape(*(r * n for r, n in zip(counts, own)))
        copied = isinstance(y.array, np.ndarray) and y.memory is None
        return called(y if copied else table.copy(y), "Repeat")

    @along
    def flip(self, *axes: Any, dims: Any = None) -> Tensor:
        """Backwards along the dimensions, a copy."""
        return table.flip(self, in_one(axes, dims))

    def split(self, split_size: int | list[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Pieces of the given size (or sizes) along `dim`."""
        return tuple(called(y, "Split") for y in functions.split(self, split_size, dim))

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` pieces of equal size, the last one smaller."""
        if chunks < 1:
            raise ValueError(f"chunk: {chunks} pieces; wanted at least 1")
        return self.split(max(1, -(-self.size(dim) // chunks)), dim)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The slices along `dim`."""
        n, before = self.size(dim), (slice(None),) * table.axis_of(dim, self.ndim)
        return tuple(called(self[(*before, i)], "Unbind") for i in range(n))

    def gather(self, dim: int, index: Any, *, sparse_grad: bool = False) -> Tensor:
        """y[i, j] = x[index[i, j], j] for dim 0. Gradients are never sparse."""
        if self.ndim and operands.shaped(index, "gather").ndim:
            return called(functions.gather(self, dim, index), "Gather")
        rows = (x if x.ndim else x.reshape(1) for x in (self, index))
        return functions.gather(next(rows), dim, next(rows)).reshape(index.shape)

    @along
    def index_select(self, dim: int, index: Any) -> Tensor:
        """The slices at `index` along `dim`."""
        y = self[(slice(None),) * table.axis_of(dim, self.ndim) + (index,)]
        return called(y, "IndexSelect")

    def masked_select(self, mask: Any) -> Tensor:
        """The elements where the mask is true, in one row."""
        return called(self[mask], "MaskedSelect")

    @along
    def sort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Extremum:
        """Sorted values and the indices they come from; equal ones always stay in their order."""
        values, indices = functions.sort(self, dim, descending)
        return BY_NAME["sort"](called(values, "Sort"), indices)

    @along
    def argsort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
        """The indices that sort; equal elements always stay in their order."""
        return functions.sorting(self, dim, descending)

    @along
    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Extremum:
        """The k largest values, largest first, or the smallest, and their indices."""
        if not 0 <= k <= self.size(dim):
            raise ValueError(f"topk: k={k} of {self.size(dim)} elements along dim {dim}")
        values, indices = functions.sort(self, dim, largest)
        first = (slice(None),) * table.axis_of(dim, self.ndim) + (slice(k),)
        return BY_NAME["topk"](called(values[first], "Topk"), indices[first])

    def tril(self, diagonal: int = 0) -> Tensor:
        """The lower triangle."""
        return called(functions.tril(self, diagonal), "Tril")

    def triu(self, diagonal: int = 0) -> Tensor:
        """The upper triangle."""
        return called(functions.triu(self, diagonal), "Triu")

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
        """x[i, i + offset] of two dimensions, which become the last one."""
        return functions.diagonal(self, offset, dim1, dim2)

    def clone(self, *, memory_format: Any = None) -> Tensor:
        """A copy that is part of the graph; there is one memory format, rows one by one."""
        return table.copy(self)

    def contiguous(self) -> Tensor:
        """This tensor if its elements lie in order, one row after another; else such a copy."""
        tracer = current().tracer
        if tracer is not None:
            tracer.reads_layout()
        array = np.asarray(operands.numbers(operands.value_of(self)))
        return self if array.flags.c_contiguous else table.copy(self)

    def is_contiguous(self) -> bool:
        """Whether the elements lie in order, one row after another."""
        array = np.asarray(operands.numbers(operands.value_of(self)))
        return bool(array.flags.c_contiguous)

    # --- composed elsewhere -----------------------------------------------------------------

    narrow, select, unfold = tensors(arranging.narrow, arranging.select, arranging.unfold)
    unflatten, ravel = tensors(arranging.unflatten, arranging.ravel)
    tensor_split = arranging.tensor_split
    movedim = moveaxis = arranging.movedim
    view_as, reshape_as = tensors(arranging.view_as, arranging.reshape_as)
    expand_as, tile, roll = tensors(arranging.expand_as, arranging.tile, arranging.roll)
    repeat_interleave, rot90 = arranging.repeat_interleave, arranging.rot90
    diag, trace = tensors(arranging.diag, arranging.trace)
    take_along_dim, lerp = tensors(arranging.take_along_dim, arranging.lerp)
    addcmul, addcdiv, cross = tensors(arranging.addcmul, arranging.addcdiv, arranging.cross)
    det, inverse = tensors(linear.det, linear.inv)
    median = ordering.median
    quantile, diff = tensors(ordering.quantile, ordering.diff)
    nan_to_num, nansum = tensors(ordering.nan_to_num, ordering.nansum)
    nanmean, masked_fill = tensors(ordering.nanmean, filling.masked_fill)
    masked_scatter, scatter = tensors(filling.masked_scatter, filling.scatter)
    scatter_add, index_add = tensors(filling.scatter_add, filling.index_add)
    index_copy, index_fill = tensors(filling.index_copy, filling.index_fill)
    index_put = filling.index_put
    isclose, argwhere = tensors(counting.isclose, counting.argwhere)
    bincount, histc = tensors(counting.bincount, counting.histc)
    allclose, equal, histogram = counting.allclose, counting.equal, counting.histogram
    nonzero, unique = counting.nonzero, counting.unique

    # --- new tensors like this one ----------------------------------------------------------

    def new_tensor(
        self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor:
        """A Tensor of this dtype with a copy of the data."""
        devices.check(device)
        array = operands.array_from(data, dtype or self.dtype)
        check_can_require_grad(array, requires_grad)
        return operands.leaf(array, requires_grad)

    def new_full(
        self, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:  # fmt: skip
        """`fill_value` everywhere, in this dtype."""
        devices.check(device)
        room = np.empty(sizes((size,)), dtype or self.array.dtype)
        y = operands.leaf(operands.slices_like(self, room)).fill_(fill_value)
        return y.requires_grad_(requires_grad)

    def new_zeros(self, *size: Any, **options: Any) -> Tensor:
        """0 everywhere, in this dtype; the options are those of new_full."""
        return self.new_full(sizes(size), 0, **options)

    def new_ones(self, *size: Any, **options: Any) -> Tensor:
        """1 everywhere, in this dtype; the options are those of new_full."""
        return self.new_full(sizes(size), 1, **options)

    def new_empty(self, *size: Any, **options: Any) -> Tensor:
        """Room for numbers of this dtype; what stands there is not defined."""
        return self.new_full(sizes(size), 0, **options)

    # --- memory -----------------------------------------------------------------------------

    ndimension = dim

    def element_size(self) -> int:
        """Bytes of an element."""
        return int(self.array.itemsize)

    def stride(self, dim: int | None = None) -> Any:
        """How many elements in memory one step along each dimension is, or along one."""
        array = np.asarray(operands.numbers(operands.value_of(self)))
        steps = tuple(n // array.itemsize for n in array.strides)
        if not array.size:
            steps = tuple(
                math.prod(max(n, 1) for n in self.shape[i + 1 :]) for i in range(self.ndim)
            )
        return steps if dim is None else steps[table.axis_of(dim, self.ndim)]

    def storage_offset(self) -> int:
        """At which element of the memory that it looks at the first one is."""
        array = np.asarray(operands.numbers(operands.value_of(self)))
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        starts = [a.__array_interface__["data"][0] for a in (array, base)]
        return int(starts[0] - starts[1]) // array.itemsize

    def data_ptr(self) -> int:
        """The address of the first element."""
        return int(np.asarray(operands.value_of(self)).__array_interface__["data"][0])

    def share_memory_(self) -> Tensor:
        """This tensor, as it is: other processes get a copy."""
        return self

    # --- dtypes -----------------------------------------------------------------------------

    def astype(self, dtype: Any) -> Tensor:
        """The same values in another dtype; no gradient flows through integers or booleans."""
        dtype = np.dtype(dtype)
        if self.dtype == dtype:
            return self
        if dtype.kind not in "fiub":
            raise TypeError(f"astype: {dtype} is not a dtype of numbers: float32, int64, bool")
        return table.astype(self, dtype) if dtype.kind == "f" else table.as_whole(self, dtype)

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """Another dtype: `to(dtype)`, `to(tensor)`, `to(device, dtype, non_blocking, copy)`.

        The device is "cpu", where every Tensor lives; RuntimeError for another. What changes
        nothing gives this tensor itself, or with `copy` a copy.
        """
        wanted = devices.dtype_wanted(args, kwargs)
        y = self if wanted is None else self.astype(wanted)
        flags = [x for x in args if isinstance(x, bool)]  # non_blocking, copy
        copied = kwargs.get("copy", len(flags) > 1 and flags[1])
        return table.copy(self) if copied and y is self else y

    def cpu(self) -> Tensor:
        """This tensor: it lives on the CPU."""
        return self

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Tensor:
        """Not here. Raises RuntimeError."""
        raise RuntimeError(devices.not_here("cuda"))

    def get_device(self) -> int:
        """-1: the number of no device but the CPU."""
        return -1

    def byte(self) -> Tensor:
        """As uint8."""
        return self.astype(np.uint8)

    def char(self) -> Tensor:
        """As int8."""
        return self.astype(np.int8)

    def short(self) -> Tensor:
        """As int16."""
        return self.astype(np.int16)

    def half(self) -> Tensor:
        """As float16."""
        return self.astype(np.float16)

    def float(self) -> Tensor:
        """As float32."""
        return self.astype(np.float32)

    def double(self) -> Tensor:
        """As float64."""
        return self.astype(np.float64)

    def long(self) -> Tensor:
        """As int64."""
        return self.astype(np.int64)

    def int(self) -> Tensor:
        """As int32."""
        return self.astype(np.int32)

    def bool(self) -> Tensor:
        """As booleans: x ≠ 0."""
        return self.astype(np.bool_)

    def type(self, dtype: Any = None) -> Any:
        """In this dtype, or a text such as "torch.FloatTensor"; without one that text."""
        if dtype is None:
            return f"torch.{TYPES[str(np.dtype(self.array.dtype))]}Tensor"
        if isinstance(dtype, str) and dtype.startswith("torch."):
            name = dtype.removeprefix("torch.").removesuffix("Tensor")
            dtype = next((d for d, known in TYPES.items() if known == name), dtype)
        return self.astype(dtype)

    def type_as(self, other: Any) -> Tensor:
        """In the dtype of `other`."""
        return self.astype(other.dtype)

    # --- in place ---------------------------------------------------------------------------

    def add_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """x += alpha·other."""
        return self.__iadd__(functions.times(alpha, other))

    def sub_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """x -= alpha·other."""
        return self.__isub__(functions.times(alpha, other))

    mul_, pow_ = __imul__, __ipow__
    multiply_, subtract_ = mul_, sub_

    def copy_(self, other: Any) -> Tensor:
        """x[...] = other."""
        self[...] = other
        return self

    def fill_(self, value: Any) -> Tensor:
        """x[...] = value."""
        return self.copy_(value)

    def zero_(self) -> Tensor:
        """x[...] = 0."""
        return self.copy_(0)

    def apply_(self, callable: Callable[[Any], Any]) -> Tensor:
        """x = callable(x), element by element in Python: slow, and no gradient follows."""
        if self.requires_grad:
            raise RuntimeError("apply_: this tensor requires a gradient; write a function of it")
        values = [callable(v) for v in operands.value_of(self).reshape(-1).tolist()]
        return self.copy_(np.array(values, self.array.dtype).reshape(self.shape))

    def normal_(self, mean: Any = 0.0, std: Any = 1.0, *, generator: Any = None) -> Tensor:
        """Fill with draws from N(mean, std²)."""
        source = generator_or_default(generator)
        return self.copy_(source.normal(mean, std, self.shape, self.dtype))

    def exponential_(self, lambd: Any = 1.0, *, generator: Any = None) -> Tensor:
        """Fill with draws from the exponential distribution with mean 1/lambd."""
        source = generator_or_default(generator)
        return self.copy_(source.exponential(lambd, self.shape, self.array.dtype))

    def random_(self, low: Any, high: Any = None, *, generator: Any = None) -> Tensor:
        """Fill with integers from low, or 0, up to high - 1."""
        ends = (0, low) if high is None else (low, high)
        return self.copy_(generator_or_default(generator).randint(*ends, self.shape))

    def uniform_(self, low: Any = 0.0, high: Any = 1.0, *, generator: Any = None) -> Tensor:
        """Fill with draws from the uniform distribution on [low, high)."""
        source = generator_or_default(generator)
        return self.copy_(source.uniform(low, high, self.shape, self.dtype))

    def bernoulli_(self, p: Any = 0.5, *, generator: Any = None) -> Tensor:
        """Fill with 1 with probability p, else 0."""
        source = generator_or_default(generator)
        return self.copy_(source.bernoulli(p, self.shape))


BY_AXIS = """
    argsort chunk cross log_softmax repeat_interleave softmax sort squeeze tensor_split topk unbind
    unsqueeze
"""
for _name in BY_AXIS.split():
    setattr(Tensor, _name, by_axis(getattr(Tensor, _name)))

IN_PLACE = """
    abs absolute acos addcdiv addcmul addmm arccos arcsin arcsinh arctan arctan2 asin asinh atan
    atan2 baddbmm bitwise_and bitwise_not bitwise_or bitwise_xor ceil clamp clip cos cosh cumprod
    cumsum div divide eq erf erfc exp expm1 fix floor floor_divide fmod ge greater greater_equal gt
    hypot index_add index_copy index_fill le lerp less less_equal log log10 log1p log2 logical_and
    logical_not logical_or logical_xor lt masked_fill masked_scatter ne neg negative not_equal
    reciprocal relu remainder round rsqrt scatter scatter_add sigmoid sign sin sinh sqrt square tan
    tanh tril triu true_divide trunc
"""
"""The methods that have a twin: `x.sin_()` writes x.sin() into x, and gives x."""

for _name in IN_PLACE.split():
    setattr(Tensor, f"{_name}_", write.in_place(getattr(Tensor, _name), f"{_name}_"))
for _name in ("put", "fill_diagonal", "index_put"):  # which have no other twin
    setattr(Tensor, f"{_name}_", write.in_place(getattr(filling, _name), f"{_name}_"))
for _name in ("squeeze", "swapaxes", "t", "transpose", "unsqueeze"):
    setattr(Tensor, f"{_name}_", write.reshaped(getattr(Tensor, _name), f"{_name}_"))


def late(slot: str) -> property:
    """A slot of the past, of a view that has to follow a write before it knows its past."""

    def get(view: Tensor) -> Any:
        write.catch_up(view)
        return getattr(view, slot)

    def put(view: Tensor, value: Any) -> None:
        write.catch_up(view)
        setattr(view, slot, value)

    return property(get, put)


class Behind(Tensor, kind="behind"):
    """A view whose base was written: a Tensor again as soon as somebody asks for its past.

    So a write need not look after views that nobody uses any more, and all other operations
    need not ask whether there was one. An operation asks each operand whether it is live, before
    it takes its own number from the clock: what it reads is older than itself.
    """

    __slots__ = ()
    op, inputs, attrs, tick = late("op"), late("inputs"), late("attrs"), late("tick")
    live, scope, line = late("live"), late("scope"), late("line")
    detached_by = late("detached_by")
    was, switched = late("was"), late("switched")


Behind.__name__ = Behind.__qualname__ = "Tensor"

TYPES = {
    "float32": "Float", "float64": "Double", "float16": "Half", "uint8": "Byte", "int8": "Char",
    "int16": "Short", "int32": "Int", "int64": "Long", "bool": "Bool",
}  # fmt: skip
"""What PyTorch calls a tensor of this dtype."""

rule.Result = Tensor  # what operations give

OPERANDS = (Node, np.ndarray, np.generic, int, float, list, tuple)


def generator_or_default(generator: Any) -> Any:
    """The generator that was given, or the one that manual_seed() seeds."""
    if generator is not None:
        return generator
    from tinygrad_ce.random import default_generator

    return default_generator


def as_subclass(node: Node, kind: type[Node]) -> Any:
    """The leaf `node` as an instance of a subclass of Tensor."""
    y = new(kind)
    for slot in ("array", "op", "inputs", "attrs", "tick", "scope", "memory", "live",
                 "_grad", "detached_by"):  # fmt: skip
        setattr(y, slot, getattr(node, slot))
    return y


def unpickled(kind: type[Node], array: Any, requires_grad: bool) -> Any:
    """The leaf that was pickled."""
    return as_subclass(operands.leaf(array, requires_grad), kind)


def check_can_require_grad(array: Any, requires_grad: bool) -> None:
    """Only floats can require a gradient."""
    if type(requires_grad) is not bool:
        raise TypeError(f"requires_grad: got {requires_grad!r}; wanted True or False")
    if requires_grad and array.dtype.kind != "f":
        raise TypeError(
            f"requires_grad: a tensor of dtype {array.dtype} has no derivative; "
            "write floats (1.0 for 1) or t.float()"
        )


def total_of(x: Tensor) -> Tensor:
    """What is added up: of uint8, NumPy's sums are uint64."""
    return x.long() if x.dtype.kind == "u" else x


def corrected(
    dim: Any, unbiased: bool | None, correction: float, numpy: dict[str, Any]
) -> tuple[Any, float]:
    """(dim, correction) of a variance; std(False) says that it is not to be unbiased."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    correction = numpy.pop("ddof", correction)
    return dim, correction if unbiased is None else float(unbiased)


def over(x: Tensor, dim: Any, keepdim: bool, numpy: dict[str, Any]) -> tuple[Any, bool]:
    """(axis, keepdims) from PyTorch's names, where no dimensions are all, or from NumPy's."""
    if isinstance(dim, (tuple, list)) and not (dim and x.ndim):
        dim = None if all(table.axis_of(d, 1) == 0 for d in dim) else dim
    if numpy:
        dim = numpy.pop("axis", dim)
        keepdim = numpy.pop("keepdims", keepdim)
        if numpy:
            raise TypeError(f"unknown argument {next(iter(numpy))!r}; wanted dim and keepdim")
    return protocol.as_axis(dim), keepdim


def one_dim(name: str, x: Tensor, dim: Any, numpy: dict[str, Any]) -> int:
    """The dimension that has to be named."""
    dim, _ = over(x, dim, False, numpy)
    if dim is None:
        raise TypeError(f"{name}: no dim; write {name}(0), or x.flatten().{name}(0)")
    return int(dim)


def sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes given one by one, or as one tuple or list."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    try:
        return tuple(map(operator.index, args))
    except TypeError:
        raise TypeError(f"got {args} for sizes; wanted integers: (2, 3)") from None


def in_one(args: tuple[Any, ...], named: Any) -> tuple[int, ...]:
    """Sizes given one by one, as one tuple, or by their name."""
    return sizes(args if named is None else (*args, named))


def index_parts(index: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """An index as (settings with slots, the arrays for the slots)."""
    if type(index) is not tuple:
        index = (index,)
    for part in index:
        if type(part) is not int:
            break
    else:
        return index, ()
    parts: list[Any] = []
    arrays: list[Any] = []
    for part in index:
        if isinstance(part, (int, slice, type(None), type(Ellipsis))) and not isinstance(
            part, bool
        ):
            parts.append(slice(*map(bound, (part.start, part.stop, part.step)))
                         if isinstance(part, slice) else part)  # fmt: skip
        elif isinstance(part, np.integer):
            parts.append(int(part))
        else:
            array = index_array(part)
            number = isinstance(array.array, (np.ndarray, np.generic)) and not array.array.ndim
            if number and array.array.dtype.kind != "b" and current().tracer is None:
                parts.append(int(array.array))  # x[i] is a view, as it is for a Python number
            else:
                parts.append(table.SLOT)
                arrays.append(array)
    return tuple(parts), tuple(arrays)


def numbers_first(x: Any, parts: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, Any]:
    """x after the numbers of an index, and what is left of it, where NumPy moves axes otherwise.

    In `x[0, :, [1, 2]]` a number counts as an array to NumPy, which puts their axis first.
    """
    places = [i for i, p in enumerate(parts) if type(p) is int or p is table.SLOT]
    if len(places) == len(arrays) or places[-1] - places[0] < len(places):
        return x, parts
    left = iter(arrays)
    first: list[Any] = []
    for part in parts:
        if part is table.SLOT:
            a = next(left).array
            first += [slice(None)] * (a.ndim if a.dtype.kind == "b" else 1)
        elif part is not None:
            first.append(part if type(part) is int or part is ... else slice(None))
    return table.getitem(x, index=tuple(first)), tuple(p for p in parts if type(p) is not int)


def bound(value: Any) -> int | None:
    """A bound of a slice as a number of its own: a Tensor there may change later."""
    return None if value is None else operator.index(value)


def index_array(part: Any) -> Any:
    """An index that is an array: integers or booleans."""
    if not isinstance(part, Node):
        array = operands.leaf(np.array(operands.plain_array(part, "index")))
    else:
        array = part
    dtype = array.array.dtype
    if array.array.size == 0 and dtype.kind == "f" and isinstance(part, (list, tuple)):
        return operands.leaf(np.zeros(array.array.shape, np.int64))
    if dtype.kind not in "iub":
        raise IndexError(
            f"index: got {type(part).__name__} of dtype {dtype}; wanted integers, booleans, "
            "slices, None or ..."
        )
    return array
