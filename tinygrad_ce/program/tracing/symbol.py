"""Symbol: stands for an array and writes down what is done to it; Tracer: keeps what is written.

While a function is traced, every operation of the engine is fed Symbols. NumPy's own protocols
hand them back to us: each operation becomes a `Step`, and is carried out at once on the example,
so that shapes, dtypes and everything that rests on them are those of a real run.
"""

from __future__ import annotations

import re
import sys
import traceback
import weakref
from collections import UserDict
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from tinygrad_ce.autograd.batched import Batched
from tinygrad_ce.autograd.linting import warn_of
from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import current, untraced
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import PAST, repeats
from tinygrad_ce.engine.operands import all_finite, all_within, dtype_beside, leaf
from tinygrad_ce.engine.promotion import default_dtype
from tinygrad_ce.program.ir import Assumption, Line, Setting, Step, Var
from tinygrad_ce.program.ops import OPS, UFUNCS, VIEWS, evaluate


class TraceError(RuntimeError):
    """Something that a program cannot hold; the message says where, and what to write instead."""


class UnsetError(TraceError):
    """An attribute that was None holds a tensor when the function has run."""


class Symbol(NDArrayOperatorsMixin):
    """An array that writes down what is done to it.

    It is a place that holds a value: writing into it gives it another one, but where NumPy has a
    number (`scalar`), which nobody can write into: there `x += 1` gives x another Symbol. A view
    has no value of its own: it is taken again from its `base` when that was written since, and
    what is written into it is written into the base.
    """

    __hash__ = object.__hash__
    __slots__ = (
        "__weakref__",
        "base",
        "example",
        "how",
        "now",
        "scalar",
        "seen",
        "tracer",
        "writes",
    )

    def __init__(self, tracer: Tracer, var: Var, value: Any) -> None:
        self.tracer = tracer
        self.now = var  # the value that this place holds
        self.example = value  # the same in the example
        self.scalar = var.scalar  # of this place; the value that it holds later may be either
        self.writes = 0
        self.base: Symbol | None = None  # what this is a view of
        self.how: tuple[str, dict[str, Any], Any] = ("", {}, ())  # the operation, index arrays
        self.seen = 0  # how often its place was written when the view was taken
        tracer.alive.append(weakref.ref(self))

    @property
    def line(self) -> Line | None:
        """The user's line that computed it."""
        steps = reversed(self.tracer.steps)
        return next((step.line for step in steps if step.out is self.now), None)

    def view_of(self, base: Symbol, op: str, attrs: dict[str, Any], arrays: Any = ()) -> None:
        """Let this be a view of another. What is taken at `arrays` is one in eager code only."""
        self.base, self.how, self.seen = base, (op, attrs, arrays), base.place.writes
        self.scalar = False
        if not isinstance(self.example, np.ndarray):
            number = arrays or not isinstance(base.example, np.ndarray)
            index = (*attrs["index"], ...)
            self.example = np.array(self.example) if number else base.example[index]

    @property
    def place(self) -> Symbol:
        """The Symbol that this is a view of, or a view of a view; itself if it is none."""
        place = self
        while place.base is not None:
            place = place.base
        return place

    @property
    def value(self) -> Any:
        """What it is in the example."""
        self.tracer.look(self)
        return self.example

    def as_array(self) -> Symbol:
        """This, as a place that can be written, though it began as a number."""
        if self.scalar:
            self.scalar, self.example = False, np.array(self.example)
        return self

    def fresh(self, order: Any = "K") -> Symbol:
        """The same value in a Symbol that nobody else holds."""
        now, example = self.tracer.look(self), self.example
        if isinstance(example, np.ndarray) and not example.flags.c_contiguous:
            example = example.copy(order)
        copy = Symbol(self.tracer, now, example)
        copy.scalar = self.scalar
        return copy

    # --- what it looks like -----------------------------------------------------------------

    shape = property(lambda self: self.now.shape)
    ndim = property(lambda self: len(self.now.shape))
    size = property(lambda self: self.now.size)
    itemsize = property(lambda self: self.dtype.itemsize)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype; of a Python number, the one that it has alone."""
        return self.now.dtype if self.now.dtype is not None else np.asarray(self.value).dtype

    @property
    def T(self) -> Symbol:  # noqa: N802
        """The axes in reverse order."""
        return self.transpose(tuple(range(self.ndim))[::-1])

    @property
    def mT(self) -> Symbol:  # noqa: N802
        """The last two axes exchanged."""
        n = self.ndim
        return self.transpose((*range(n - 2), n - 1, n - 2))

    def __repr__(self) -> str:
        self.tracer.printed = True  # its numbers may be read in the text
        number = self.now.dtype is None and self.now.name
        return f"<traced number {number}>" if number else f"<traced {self.dtype} {self.shape}>"

    def __len__(self) -> int:
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Symbol]:
        return (self[i] for i in range(len(self)))

    # --- methods of arrays ------------------------------------------------------------------

    def record(self, op: str, *operands: Any, **attrs: Any) -> Any:
        """A step on this and other operands."""
        return self.tracer.record(op, (self, *operands), attrs)

    def reshape(self, *shape: Any) -> Symbol:
        """The same elements in another shape."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        return self.record("reshape", shape=self.value.reshape(wanted).shape)

    def transpose(self, axes: tuple[int, ...]) -> Symbol:
        """Axis i of the result is axis axes[i] of this."""
        return self.record("transpose", axes=tuple(a % self.ndim for a in axes))

    def astype(self, dtype: Any, copy: bool = True) -> Symbol:
        """The same values in another dtype."""
        same = self.now.dtype is not None and dtype == self.now.dtype
        return self.fresh() if same else self.record("astype", dtype=np.dtype(dtype))

    def converted(self, dtype: Any) -> Symbol:
        """A copy in another dtype, as `tensor` makes it: a Python float gets the default dtype."""
        if dtype is None:
            dtype = default_dtype() if self.now.dtype is None else self.dtype
        return self.astype(dtype).as_array()

    def beside(self, dtype: np.dtype[Any]) -> Symbol:
        """A copy as an operand next to a Tensor of `dtype`: numbers take the dtype of floats."""
        if self.now.dtype is None:  # a Python float: NumPy lets it take the dtype of floats
            return self.copy() if dtype.kind == "f" else self.astype(default_dtype())
        if self.scalar and self.dtype.kind in "fiu":
            return self.astype(dtype_beside(self.value.item(), dtype))
        return self.copy()

    def copy(self) -> Symbol:
        """The same value in a place of its own, its elements in their order."""
        return self.fresh("C")

    def sum(self, axis: Any = None, keepdims: bool = False) -> Symbol:
        """Σ x over `axis`."""
        return self.record("sum", axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Symbol:
        """The largest element."""
        return self.record("max", axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None) -> Any:
        """Σ x / n, in the order in which NumPy does it."""
        total = np.add.reduce(self, axis=axis)
        return total / np.asarray(self.size / max(total.size, 1), self.dtype)

    def var(self, axis: Any = None, ddof: int = 0) -> Any:
        """Σ (x - mean)² / (n - ddof)."""
        total = np.add.reduce(self, axis=axis, keepdims=True)
        n = self.size / max(total.size, 1)
        d = self - total / np.asarray(n, self.dtype)
        return np.add.reduce(d * d, axis=axis) / np.asarray(n - ddof, self.dtype)

    def __getitem__(self, index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        parts = tuple(self.tracer.mask(p) if isinstance(p, Symbol) else p for p in parts)
        arrays = tuple(p for p in parts if isinstance(p, (Symbol, np.ndarray)))
        if not arrays:
            return self.part(parts)
        slots = tuple(table.SLOT if isinstance(p, (Symbol, np.ndarray)) else p for p in parts)
        if all(not a.ndim and a.dtype.kind in "iu" for a in arrays):
            return self.taken(arrays, slots)
        return self.record("take", *arrays, index=slots)

    def taken(self, arrays: tuple[Any, ...], index: tuple[Any, ...]) -> Symbol:
        """x[index], which the program copies and which is a view to who writes it."""
        y: Symbol = self.record("take", *arrays, index=index)
        y.view_of(self, "take", {"index": index}, arrays)
        return y

    def diagonal(self, offset: int, axis1: int, axis2: int) -> Symbol:
        """x[..., i, i + offset] of the last two axes."""
        return self.taken(table.places_on_diagonal(self.shape, offset), (..., *[table.SLOT] * 2))

    def part(self, index: tuple[Any, ...]) -> Symbol:
        """x[index] for integers, slices and None: a view, but where NumPy gives a number."""
        element = index[-1:] == (Ellipsis,) and not self.scalar and not self.value[index].shape
        if not element:
            return self.record("slice", index=index)
        attrs = {"index": index[:-1]}  # x[1, ...] is a view of what is x[1]
        y: Symbol = self.tracer.record("slice", (self,), attrs)
        y.view_of(self, "slice", attrs)
        return y

    def __setitem__(self, index: Any, value: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        if len(parts) != 1 or parts[0] is not Ellipsis:
            arrays = tuple(p for p in parts if isinstance(p, (Symbol, np.ndarray)))
            slots = tuple(table.SLOT if isinstance(p, (Symbol, np.ndarray)) else p for p in parts)
            self.write(self.record("put", value, *arrays, index=slots))
        else:
            self.write(value)

    def write(self, value: Any) -> None:
        """Let this place hold `value` from here on, in its own shape and dtype."""
        if not isinstance(value, Symbol):
            value = self.tracer.constant(np.array(value, self.dtype))
        if value.dtype != self.dtype or value.now.dtype is None:
            value = value.record("astype", dtype=self.dtype)
        if value.ndim > self.ndim:  # sizes of 1 in front
            value = value.reshape(value.shape[value.ndim - self.ndim :])
        if value.shape != self.shape:
            value = value.record("broadcast_to", shape=self.shape)
        if self.base is not None:
            self.base.write(self.instead(value, self.base))
            return
        self.now, self.example = self.tracer.look(value), laid_out(value.example, self.example)
        self.scalar = False
        self.writes += 1

    def instead(self, value: Symbol, base: Symbol) -> Symbol:
        """The base of this view with `value` in the place of the view."""
        op, attrs, arrays = self.how
        if repeats(self.value):
            self.tracer.refuse(
                "what is written repeats its elements, or is a part of what does (expand, windows)",
                "Write into the tensor that was expanded, or into x.clone()",
            )
        if op in ("slice", "take"):
            return self.tracer.record("put", (base, value, *arrays), attrs)
        if op == "transpose":
            return value.transpose(table.inverse(attrs["axes"]))
        return value.reshape(base.shape)

    # --- what NumPy hands back --------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, Node) for x in inputs):
            return NotImplemented  # the Tensor knows better
        out = kwargs.pop("out", None)
        if out is not None and isinstance(out[0], Symbol) and out[0].scalar:
            out = None  # numbers cannot be written: x += 1 gives x another one
        kwargs = {k: v for k, v in kwargs.items() if v is not None or k == "axis"}
        if method == "__call__" and ufunc is np.frexp and not kwargs:
            parts = [self.tracer.record("frexp", inputs, {"part": i}) for i in (0, 1)]
            return tuple(parts)
        if method == "__call__" and ufunc is np.matmul and not kwargs:
            result = self.tracer.record("matmul", inputs, {})
        elif method == "__call__" and ufunc.__name__ in UFUNCS and not kwargs:
            result = self.tracer.record(ufunc.__name__, inputs, {})
        elif method == "reduce" and ufunc in REDUCE and kwargs.keys() <= {"axis", "keepdims"}:
            attrs = {"axis": kwargs.get("axis", 0), "keepdims": kwargs.get("keepdims", False)}
            if ufunc is np.add and self.ndim == 2 and type(attrs["axis"]) is int:
                attrs["pairwise"] = True  # table.sum adds in another order there
            result = self.tracer.record(REDUCE[ufunc], inputs, attrs)
        elif method == "accumulate" and ufunc in (np.add, np.multiply):
            name = "cumsum" if ufunc is np.add else "cumprod"
            result = self.tracer.record(name, inputs, {"axis": kwargs.get("axis", 0)})
        else:
            name = ufunc.__name__ + ("" if method == "__call__" else f".{method}")
            self.tracer.unknown(name)
        if out is None:
            return result
        if not np.can_cast(result.dtype, out[0].dtype, "same_kind"):
            raise TypeError(f"cannot write {result.dtype} into a tensor of {out[0].dtype}")
        out[0].write(result)
        return out[0]

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if any(issubclass(t, Node) for t in types):
            return NotImplemented
        handler = FUNCTIONS.get(function)
        if handler is None:
            name = getattr(function, "__name__", str(function))
            if getattr(function, "__module__", "").startswith(table.__name__):
                raise TraceError(f"trace: {name} needs an entry in OPS, program/ops.py")
            self.tracer.unknown(name)
        return handler(self.tracer, *args, **kwargs)

    # --- what a program cannot know ---------------------------------------------------------

    def looked_at(self, *_: Any, **__: Any) -> NoReturn:
        """A value is asked for that is not there yet: it is another one in every run."""
        numbers = self.tracer.numbers_behind(self.now)
        if numbers:
            self.tracer.refuse(f"the value of {numbers[0]} is asked for", advice(numbers))
        self.tracer.refuse(
            "the program would depend on a value that it has not computed yet (item(), float(), "
            "bool(), if, while, assert, numpy())",
            "Return the tensor and look at it outside; write where(condition, a, b) for a choice "
            "between numbers",
        )

    __bool__ = __float__ = __int__ = __index__ = __complex__ = __round__ = looked_at
    __floor__ = __ceil__ = __trunc__ = __format__ = is_integer = looked_at
    item = tolist = __array__ = any = all = min = looked_at
    __array_interface__ = property(looked_at)


def advice(numbers: list[str]) -> str:
    """What to write where the value of a float among the arguments is asked for."""
    name, *others = numbers
    are = f"{' and '.join(numbers)} are floats" if others else f"{name} is a float"
    return (
        f"{are} among the arguments, which may change from call to call, and the program is the "
        f"same for all of them. Operators and functions of NumPy take it as it is: {name} ** 0.5, "
        f"np.sqrt({name}), np.maximum({name}, 0.1), where({name} > 0.5, a, b). float(), int(), "
        "round(), max(), math, if, an f-string and settings such as p= and max_norm= need the "
        "number itself: read it from a variable or an attribute outside of the function. It is a "
        "constant of the program then, and another one makes another program"
    )


def laid_out(value: Any, place: Any) -> Any:
    """The numbers of an array in the memory layout of the place that they are written into."""
    if isinstance(value, np.ndarray) and value.strides == place.strides and value.flags.writeable:
        return value
    y = np.empty_like(place)
    y[...] = value
    return y


SET_OUTSIDE = (
    'Set it outside of the function: group["lr"] = lr, for each group in optimizer.param_groups. '
    "Each call reads it anew"
)
PLAIN = (bool, int, float, str)


def same_number(a: Any, b: Any) -> bool:
    """Whether a number or text is set to itself."""
    return type(b) in PLAIN and bool(a == b)


REDUCE = {
    np.add: "sum", np.maximum: "max", np.minimum: "min", np.multiply: "prod",
    np.logical_and: "all", np.logical_or: "any",
}  # fmt: skip


class ReadSettings(UserDict[str, Any]):
    """The settings of an optimiser, with a Symbol as learning rate; it notes what is read."""

    def __init__(self, group: dict[str, Any], lr: Symbol, read: dict[str, Any]) -> None:
        super().__init__(group, lr=lr)
        self.read = read

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        parts = value if isinstance(value, (list, tuple)) else [value]
        if key not in ("lr", "params") and not any(isinstance(x, Symbol) for x in parts):
            self.read[key] = value
        return value


class Tracer:
    """Writes a program down: hands out Symbols and keeps the steps."""

    numbers = False

    def __init__(self, failed: frozenset[Any] = frozenset()) -> None:
        self.steps: list[Step] = []
        self.constants: dict[Var, Any] = {}
        self.settings_read: list[Setting] = []
        self.fixed_settings: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.assumptions: list[Assumption] = []
        self.failed = failed
        self.asked: dict[Any, int] = {}  # (what, where) -> how often
        self.lifted: dict[int, LiftedArray] = {}
        self.inputs: list[Var] = []
        self.given: list[tuple[Var, Any]] = []  # inputs and settings of the example
        self.grads: dict[Any, Any] = {}  # tensor from outside -> its .grad at this point
        self.replaced: dict[Any, None] = {}  # those of them whose .grad was set
        self.empty: dict[Any, bool] = {}  # tensor -> whether its .grad was None when it was read
        self.rebound: list[tuple[Any, dict[str, Any], str]] = []
        self.ticks: list[tuple[Any, int]] = []  # tensors, and when they were written last
        self.owners: dict[Any, None] = {}  # modules and optimisers that were called, in order
        self.generators: dict[Any, Any] = {}  # generator -> its state before the first draw
        self.assigned: dict[Any, tuple[Any, str, Any]] = {}  # attributes, what they held before
        self.filled: list[tuple[Any, str]] = []  # attributes that were None and are tensors now
        self.gradient_of: list[tuple[Var, Any]] = []
        self.updates: list[range] = []  # the steps that an optimiser took for each parameter
        self.backward_of: tuple[str, ...] | None = None
        self.alive: list[weakref.ref[Symbol]] = []
        self.layout_matters = False
        self.printed = False
        self.refused: TraceError | None = None
        self.floor = sys._getframe(1)

    # --- values -----------------------------------------------------------------------------

    def lift(self, node: Any) -> Any:
        """The Symbol that stands for the array of a Tensor."""
        array = node.array
        if isinstance(array, Batched):  # of a vmap in the function: Symbols lie in it
            return array
        if type(array) is Symbol:
            if array.tracer is not self:
                raise TraceError(
                    "this tensor was made while another function was traced and has no numbers; "
                    "return it from that function"
                )
            if node.requires_grad and not node.inputs:
                array.as_array()  # a leaf that gathers a gradient has an array of its own
            return array
        lifted = self.lifted.get(id(array))
        if lifted is None:
            lifted = self.lifted[id(array)] = LiftedArray(self, array)
        if id(node) not in lifted.nodes:
            lifted.nodes[id(node)] = weakref.ref(node)
            memory = node.memory
            self.ticks.append((weakref.ref(node), memory.written if memory is not None else 0))
        memory = lifted.memory = node.memory
        for other in (memory.owner(), *memory.nodes()) if memory is not None else ():
            if (
                other is not None and other.array is array
            ):  # node may be x.detach(), which goes away
                lifted.nodes.setdefault(id(other), weakref.ref(other))
        return lifted.symbol

    def input(self, array: Any, name: str) -> Symbol:
        """A Symbol for an argument."""
        var = Var.like(array, name)
        self.inputs.append(var)
        self.given.append((var, array))
        return Symbol(self, var, array)

    def constant(self, value: Any) -> Symbol:
        """A Symbol for a number or an array that is the same in every run."""
        var = Var.like(value)
        self.constants[var] = value
        return Symbol(self, var, value)

    def look(self, symbol: Symbol) -> Var:
        """The value that a Symbol has now, if it may be read."""
        if symbol.tracer is not self:
            raise TraceError("a value of another traced function is used; pass it as an argument")
        if symbol.base is not None:
            self.take_again(symbol)
        return symbol.now

    def take_again(self, view: Symbol) -> None:
        """Take a view once more if its place was written since, and what it is a view of."""
        writes, stale = view.place.writes, []
        while view.base is not None and view.seen != writes:
            stale.append((view, view.base))
            view = view.base
        for view, base in reversed(stale):
            op, attrs, arrays = view.how
            again = self.record(op, (base, *arrays), attrs)
            view.now, view.example = again.now, again.example
            view.view_of(base, *view.how)

    def record(self, op: str, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Carry a step out on the example and write it down."""
        symbols = [x if isinstance(x, Symbol) else self.constant(x) for x in operands]
        operands_ = tuple(map(self.look, symbols))
        if op in REDUCE.values() and not symbols[0].ndim:
            attrs = {**attrs, "axis": None}  # NumPy lets 0 and -1 stand for none there
        value = evaluate(op, [s.example for s in symbols], attrs)
        var = Var.like(value)
        line = self.note_names()
        self.steps.append(Step(var, op, operands_, attrs, self.scope(), line))
        result = Symbol(self, var, value)
        base = symbols[0]
        views = op in VIEWS and isinstance(value, np.ndarray) and not base.scalar
        if views and np.may_share_memory(value, base.example):
            result.view_of(base, op, attrs)
        return result

    # --- where ------------------------------------------------------------------------------

    def scope(self) -> tuple[str, ...]:
        """The names of the scopes around the step, outermost first."""
        frame = current()
        own = frame.scope.path() if frame.scope is not None else ()
        return own if self.backward_of is None else (*self.backward_of, *own)

    def note_names(self) -> Line | None:
        """The user's line; on the way, the names of the tensors that the user's variables hold."""
        line = None
        for frame in user_frames(self.floor):
            if line is None:
                code = frame.f_code
                line = Line(code.co_filename, frame.f_lineno, code.co_name)
            for name, value in frame.f_locals.items():
                if isinstance(value, Node) and not name.startswith("_"):
                    self.name(value, name)
        return line

    def name(self, node: Any, name: str) -> None:
        """Call the value that a Tensor has now by the user's name."""
        if type(node.array) is Symbol:
            if not node.array.now.name and node.array.now not in self.constants:
                node.array.now.name = name
        else:
            lifted = self.lifted.get(id(node.array))
            if lifted is not None and not lifted.name:
                lifted.name = name

    def enter_backward(self, node: Any, g: Any) -> None:
        """The chain rule is at `node`, whose gradient is `g`; at None when it is through."""
        if node is None:
            self.backward_of = None
            return
        if self.backward_of is None:
            warn_of(node)
        path = node.scope.path() if node.scope is not None else ()
        self.backward_of = ("backward", *path)
        if isinstance(g, Symbol):
            self.gradient_of.append((g.now, weakref.ref(node)))

    # --- what the engine tells --------------------------------------------------------------

    def get_grad(self, node: Any) -> Any:
        """The `.grad` of a Tensor at this point of the program; nothing of it is there yet."""
        if type(node.array) in (Symbol, Batched):
            return node._grad
        if node not in self.grads:
            grad = self.grads[node] = node._grad
            self.empty[node] = grad is None
            if isinstance(grad, Node) and type(grad.array) is not Symbol:
                self.lift(grad)
                self.lifted[id(grad.array)].grad_of = node
        return self.grads[node]

    def set_grad(self, node: Any, grad: Any) -> None:
        """The `.grad` of a Tensor is replaced, in the program only."""
        if isinstance(grad, Node) and type(grad.array) is Symbol:
            grad.array.as_array()  # it gets an array of its own
        if type(node.array) in (Symbol, Batched):
            node._grad = grad
        else:
            self.grads[node] = grad
            self.replaced[node] = None

    def reads_layout(self) -> None:
        """Whether the elements of a tensor lie in order decides what the program does."""
        self.layout_matters = True

    def rebinds(self, node: Any) -> None:
        """A tensor that is written becomes part of the graph: not if it was there before."""
        if isinstance(node.array, np.ndarray):
            past = {slot: getattr(node, slot, None) for slot in (*PAST, "detached_by")}
            self.rebound.append((weakref.ref(node), past, self.where()))

    def enters(self, owner: Any) -> None:
        """A module is called, or an optimiser takes a step."""
        self.owners[owner] = None

    def sets(self, module: Any, name: str, value: Any) -> None:
        """An attribute of a module is set: that would be done now and in no later run."""
        old = vars(module).get(name)
        if name == "training":
            old = module.training
        elif old is None or name.startswith("_"):
            if name in vars(module) and isinstance(value, Node):
                self.filled.append((weakref.ref(module), name))
            return
        if isinstance(old, Node) and isinstance(value, Node) and not old.requires_grad:
            self.assigns(module, name, old, value)
        elif old is not value and not (type(old) in PLAIN and same_number(old, value)):
            grown = isinstance(old, Node) and isinstance(value, Node) and bool(value.inputs)
            self.refuse(
                f"{type(module).__name__}.{name} is set, which would be done only once",
                f"Keep the numbers without their graph: self.{name} = x.detach()"
                if grown
                else "Set it outside of the function, or write into a tensor: self.register_buffer"
                "(name, tensor) and then self.name[...] = x",
            )

    def assigns(self, module: Any, name: str, old: Node, new: Node) -> None:
        """An attribute that holds a tensor is set to another one: so does each run."""
        if (old.array.shape, old.array.dtype) != (new.array.shape, new.array.dtype):
            self.refuse(
                f"{type(module).__name__}.{name} of shape {old.array.shape} and dtype "
                f"{old.array.dtype} is set to a tensor of shape {new.array.shape} and dtype "
                f"{new.array.dtype}, so that each call would be another program",
                f"Set it before the first call to a tensor of the shape and dtype that it will "
                f"have: module.{name} = zeros(...)",
            )
        self.assigned.setdefault((id(module), name), (module, name, old))

    def settings(self, group: dict[str, Any]) -> Any:
        """The settings of an optimiser: its learning rate is read at each run, the rest is fixed.

        A program that was traced with other settings, of those that were read, is not used.
        """
        for setting, (_, fixed) in zip(self.settings_read, self.fixed_settings):
            if setting.group is group:
                return ReadSettings(group, Symbol(self, setting.var, group["lr"]), fixed)
        if type(group["lr"]) is Symbol:
            self.refuse("a learning rate is set to a value of the program", SET_OUTSIDE)
        fixed = {}
        self.fixed_settings.append((group, fixed))
        lr = float(group["lr"])
        var = Var.like(lr, "lr")
        self.settings_read.append(Setting(group, "lr", var))
        self.given.append((var, lr))
        return ReadSettings(group, Symbol(self, var, lr), fixed)

    def check_settings(self) -> None:
        """Stop if the function has set a learning rate that it had read before."""
        example = dict(self.given)
        for setting in self.settings_read:
            now, read = setting.group[setting.key], example[setting.var]
            if type(now) is Symbol or now != read:
                setting.group[setting.key] = read
                self.refuse(
                    f"a learning rate is set, from {read:g}, which would be done only once",
                    SET_OUTSIDE,
                )

    def draw(self, generator: Any, method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Random numbers, drawn anew in each run."""
        if generator not in self.generators:
            self.generators[generator] = generator.get_state()
        symbols = [x for x in args if isinstance(x, Symbol)]
        operands = tuple(map(self.look, symbols))
        args = tuple(table.SLOT if isinstance(x, Symbol) else x for x in args)
        with untraced():
            given = table.filled(args, tuple(x.example for x in symbols))
            value = method(generator, *given, **kwargs)
        var = Var.like(value)
        attrs = {
            "generator": generator, "method": method.__name__, "args": args, "kwargs": kwargs
        }  # fmt: skip
        self.steps.append(Step(var, "draw", operands, attrs, self.scope(), self.note_names()))
        return Symbol(self, var, value)

    def assume(self, op: str, x: Any, what: str, **attrs: Any) -> bool:
        """Whether something holds for the example; the program then checks it in each run."""
        line = self.note_names()
        asked = self.asked[op, line] = self.asked.get((op, line), 0) + 1
        key = (op, line, asked)
        if key in self.failed or not evaluate(op, [x.value], attrs):
            self.failed |= {key}  # no other trace for this program may count on it
            return False
        var = Var((), None, True)
        self.steps.append(Step(var, op, (self.look(x),), attrs, self.scope(), line))
        self.assumptions.append(Assumption(var, what, key))
        return True

    def mask(self, index: Symbol) -> Any:
        """An index that picks elements: how many a mask picks must be the same in every run."""
        if index.dtype != bool:
            return index
        var = self.look(index)
        there = var in self.inputs or any(lifted.before is var for lifted in self.lifted.values())
        if not there or not self.assume(
            "all_equal", index, "the mask is the same", value=np.array(index.value)
        ):
            self.refuse(
                "how many elements x[mask] has depends on a value that changes",
                "Write where(mask, x, 0.0), or x[indices] with indices from outside",
            )
        return np.array(index.value)

    # --- errors -----------------------------------------------------------------------------

    def refuse(self, what: str, instead: str) -> NoReturn:
        """Stop: this cannot be part of a program, though the function may catch the error."""
        self.refused = TraceError(f"trace: {what}{self.where()}. {instead}")
        raise self.refused

    def numbers_behind(self, var: Var) -> list[str]:
        """The names of the arguments that a value is computed from, if all of them are floats."""
        makers = {step.out: step for step in self.steps}
        names: dict[str, None] = {}
        stack = [var]
        while stack:
            x = stack.pop()
            if x in makers:
                stack += makers[x].operands
            elif x in self.inputs and x.dtype is None:
                names[x.name] = None
            elif x not in self.constants:
                return []
        return [*names]

    def explain(self, error: Exception) -> None:
        """Stop with what to write instead, if what was raised speaks of a float argument."""
        numbers = [x.name for x in self.inputs if x.dtype is None]
        shown = next((n for n in numbers if f"<traced number {n}>" in str(error)), None)
        if shown is None and not (numbers and re.search(r"\bSymbol\b|<traced", str(error))):
            return
        lines = [
            f" ({Line(frame.f_code.co_filename, number, frame.f_code.co_name)})"
            for frame, number in traceback.walk_tb(error.__traceback__)
            if is_users(frame)
        ]
        names = [shown] if shown else numbers
        raise TraceError(f"trace: {error}{lines[-1]}. {advice(names)}") from error

    def where(self) -> str:
        """The user's line, for an error."""
        frame = next(user_frames(self.floor), None)
        if frame is None:
            return ""
        code = frame.f_code
        return f" ({Line(code.co_filename, frame.f_lineno, code.co_name)})"

    def unknown(self, name: str) -> NoReturn:
        """Stop at a NumPy function that has no record."""
        self.refuse(
            f"np.{name} cannot be written down",
            "Compose it from operations of Tensor, or compute it outside and pass it in",
        )


class LiftedArray:
    """An array that was there before the trace, the Symbol for it, and the Tensors that hold it."""

    __slots__ = ("array", "before", "grad_of", "memory", "name", "nodes", "symbol")

    def __init__(self, tracer: Tracer, array: Any) -> None:
        self.array = array
        self.before = Var.like(array)
        self.symbol = Symbol(tracer, self.before, array)
        self.nodes: dict[int, weakref.ref[Any]] = {}
        self.grad_of: Any = None
        self.memory: Any = None
        self.name = ""

    def holders(self) -> list[Any]:
        """The Tensors that hold the array: one of ours, if all are gone but somebody else looks at
        its memory, such as b after b.detach().
        """
        nodes = [node for ref in self.nodes.values() if (node := ref()) is not None]
        if not nodes and self.memory is not None and sys.getrefcount(self.memory) > 2:
            nodes = [leaf(self.array)]
            nodes[0].memory = self.memory
        return nodes


def user_frames(floor: FrameType) -> Iterator[FrameType]:
    """The frames of the user's functions, innermost first, down to where the trace began."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame is not floor:
        if is_users(frame):
            yield frame
        frame = frame.f_back


def is_users(frame: FrameType) -> bool:
    """Whether a frame is of the user's code."""
    return frame.f_globals.get("__name__", "").partition(".")[0] not in NOT_THE_USERS


NOT_THE_USERS = {__name__.partition(".")[0], "numpy", *sys.stdlib_module_names}


# --- functions of NumPy and of the table ------------------------------------------------------


def _dot(tracer: Tracer, a: Any, b: Any) -> Any:
    """A product with a row of ones is a sum; of more than two dimensions, matmul knows better."""
    if is_ones(b) and a.ndim == 2:
        return tracer.record("sum", (a,), {"axis": 1, "keepdims": False})
    if is_ones(a) and b.ndim == 2:
        return tracer.record("sum", (b,), {"axis": 0, "keepdims": False})
    return tracer.record("dot", (a, b), {})


def is_ones(x: Any) -> bool:
    """Whether x is one of the rows of ones that sums are computed with."""
    return isinstance(x, np.ndarray) and x.ndim == 1 and table.ones(len(x), x.dtype) is x


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.dot: _dot,
    np.pad: lambda t, x, widths, constant_values=0: t.record(
        "pad", (x,), {"widths": widths, "value": constant_values}
    ),
    np.reshape: lambda t, x, shape: x.reshape(shape),
    np.transpose: lambda t, x, axes: x.transpose(axes),
    np.shape: lambda t, x: x.shape,
    np.ndim: lambda t, x: x.ndim,
    np.size: lambda t, x: x.size,
    np.zeros_like: lambda t, x, dtype=None: np.zeros(x.shape, dtype or x.dtype),
    np.ones_like: lambda t, x, dtype=None: np.ones(x.shape, dtype or x.dtype),
    np.can_cast: lambda t, x, to, casting="safe": np.can_cast(x.dtype, to, casting),
    np.result_type: lambda t, *xs: np.result_type(
        *(x.value if isinstance(x, Symbol) else x for x in xs)
    ),
    all_finite: lambda t, x: t.assume("all_finite", x, "all numbers are finite"),
    all_within: lambda t, x, low, high, also=None: t.assume(
        "all_within", x, f"all numbers are in {low} ... {high}", low=low, high=high, also=also
    ),
}


def recorded(name: str, given: Callable[..., Any]) -> Callable[..., Any]:
    """What writes a call down as the operation `name`."""
    return lambda tracer, *args, **kwargs: tracer.record(name, *given(*args, **kwargs))


FUNCTIONS.update(
    (op.recorded or op.run, recorded(name, op.given))
    for name, op in OPS.items()
    if op.given is not None
)
