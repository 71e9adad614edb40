"""A NumPy function with its gradients: `rule`, and what a call of one does.

    exp = rule(np.exp, lambda g, y: g * y)
    mul = rule(operator.mul, lambda g, b: g * b, lambda g, a: g * a)

There is one gradient per operand, `None` where none flows. A gradient names what it reads, and
the engine hands it just that: `g` (the gradient of the output, always first), `y` (the output),
an operand or a setting by its name in the forward function, `shape` (of the operand that the
gradient is for), `shapes` (of all operands) or `i` (which operand it is for). So the signature of a gradient
tells which values must still be what they were when the backward pass comes.

What a call does depends on what it is fed: arrays give numbers, Tensors give a node of the
graph, and while somebody traces, Tensors are first lifted to Symbols.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine.graph import (
    Frame,
    Node,
    calling_line,
    current,
    share_memory,
    tick,
)

new = object.__new__
EXTENSION = ("shape", "shapes", "i")
Result: type[Node] = Node  # what operations return: engine/tensor.py sets it to Tensor


NOTHING, SEVERAL = -2, -3  # what a gradient reads, if not one operand (its number) or y (-1)


class Gradient(NamedTuple):
    """The gradient for one operand: the function, and where the values that it reads stand."""

    function: Callable[..., Any]
    read: int  # the only value it reads: an operand's number, -1 for y, NOTHING or SEVERAL
    pick: Callable[[Any], Any]  # the values from (y, operands, settings, shape, shapes, i)
    operands: tuple[int, ...]  # all operands that it reads, -1 for y


class Op:
    """One operation: its name, how it is computed, and its gradients."""

    __slots__ = ("defaults", "differentiable", "fixed", "forward", "gradients", "name", "names",
                 "star", "stretches", "view")  # fmt: skip

    def __init__(
        self, name: str, forward: Callable[..., Any], gradients: tuple[Any, ...], view: bool
    ) -> None:
        self.name = name
        self.forward = forward
        self.view = view
        self.names, self.defaults, self.star = signature(forward, len(gradients))
        self.fixed = len(gradients) - self.star  # operands before the starred one
        self.differentiable = any(gradients)
        self.gradients = tuple(map(self.compile, gradients))
        self.stretches = True  # operands may be broadcast: the chain rule sums them back

    def compile(self, function: Callable[..., Any] | None) -> Gradient | None:
        """Find where the values that `function` names stand."""
        if function is None:
            return None
        values = ["y", *self.names, *EXTENSION]
        names = list(inspect.signature(function).parameters)
        unknown = [name for name in names[1:] if name not in values]
        if names[0] != "g" or unknown:
            raise TypeError(f"{self.name}: a gradient reads g, then any of {values}; got {names}")
        where = [values.index(name) for name in names[1:]]
        operands = tuple(index - 1 for index in where if index <= self.fixed + self.star)
        alone = len(where) == len(operands) == 1 and operands[0] < self.fixed
        read = NOTHING if not where else operands[0] if alone else SEVERAL
        pick = itemgetter(*where) if len(where) > 1 else lambda values: (values[where[0]],)
        return Gradient(function, read, pick, operands)

    def gradient(self, position: int) -> Gradient | None:
        """The gradient for the operand at `position` (starred operands share the last one)."""
        return self.gradients[min(position, len(self.gradients) - 1)]

    def __repr__(self) -> str:
        return self.name


def signature(forward: Callable[..., Any], operands: int) -> tuple[list[str], tuple[Any, ...], int]:
    """Names of operands and settings, the settings' defaults, and whether operands are starred."""
    if not inspect.isfunction(forward):  # NumPy's own
        return [["x"], ["a", "b"]][operands - 1], (), 0
    parameters = list(inspect.signature(forward).parameters.values())
    star = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return [p.name for p in parameters], tuple(p.default for p in parameters[operands:]), int(star)


def rule(
    forward: Callable[..., Any], *gradients: Any, view: bool = False, name: str = ""
) -> Callable[..., Any]:
    """The operation that computes `forward` and knows its gradients, as a plain function."""
    op = Op(name or forward.__name__, forward, gradients, view)
    plain = not op.star and not op.defaults
    if len(gradients) == 1 and not op.star:
        call = unary(op) if plain else single(op)
    else:
        call = binary(op) if len(gradients) == 2 and plain else general(op)
    call.__name__ = call.__qualname__ = op.name
    call.__doc__ = forward.__doc__
    call.op = op  # type: ignore[attr-defined]
    return call


def differentiable(*gradients: Any, view: bool = False) -> Callable[..., Callable[..., Any]]:
    """`rule` as a decorator, for a forward that needs a body."""
    return lambda forward: rule(forward, *gradients, view=view)


def speaks_numpy(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of ours be taken over by its arguments, as NumPy's are (NEP 18)."""

    @functools.wraps(forward)
    def call(*args: Any, **kwargs: Any) -> Any:
        for x in args:
            if type(x) is not np.ndarray and hasattr(x, "__array_function__"):
                return x.__array_function__(call, (type(x),), args, kwargs)
        return forward(*args, **kwargs)

    return call


def unary(op: Op) -> Callable[..., Any]:
    """A call with one operand and no settings."""
    forward, view = op.forward, op.view
    op.stretches = False

    def call(x: Any) -> Any:
        if not isinstance(x, Node):
            return forward(x)
        frame = current()
        try:
            array = forward(x.array if frame.tracer is None else frame.tracer.lift(x))
        except (ValueError, TypeError) as error:
            raise explained(op, (x,), error) from None
        y = result(op, (x,), (), array, x.requires_grad, frame)
        if view:
            share_memory(y, x)
        return y

    return call


def binary(op: Op) -> Callable[..., Any]:
    """A call with two operands and no settings."""
    forward = op.forward

    def call(a: Any, b: Any) -> Any:
        if not isinstance(b, Node):
            if not isinstance(a, Node):
                return forward(a, b)
            b = constant(b, a, op)
        elif not isinstance(a, Node):
            a = constant(a, b, op)
        frame = current()
        tracer = frame.tracer
        try:
            if tracer is None:
                array = forward(a.array, b.array)
            else:
                array = forward(tracer.lift(a), tracer.lift(b))
        except (ValueError, TypeError) as error:
            raise explained(op, (a, b), error) from None
        return result(op, (a, b), (), array, a.requires_grad or b.requires_grad, frame)

    return call


def single(op: Op) -> Callable[..., Any]:
    """A call with one operand, and settings."""
    forward, view, count = op.forward, op.view, len(op.defaults)

    def call(x: Any, *settings: Any, **keywords: Any) -> Any:
        if keywords or len(settings) != count:
            settings = completed(op, (x, *settings), keywords)[1:]
        if not isinstance(x, Node):
            return forward(x, *settings)
        frame = current()
        try:
            array = forward(x.array if frame.tracer is None else frame.tracer.lift(x), *settings)
        except (ValueError, TypeError, IndexError) as error:
            raise explained(op, (x,), error) from None
        y = result(op, (x,), settings, array, x.requires_grad, frame)
        if view:
            share_if_view(y, x)
        return y

    return call


def general(op: Op) -> Callable[..., Any]:
    """A call with any number of operands, starred ones among them, and settings."""
    count, names = op.fixed, op.names

    if op.star:  # settings are keyword-only after *operands

        def starred(*operands: Any, **keywords: Any) -> Any:
            settings = completed(op, names[: count + 1], keywords)[count + 1 :]
            return apply(op, operands, settings)

        return starred

    def call(*args: Any, **keywords: Any) -> Any:
        if keywords or len(args) != len(names):
            args = completed(op, args, keywords)
        return apply(op, args[:count], args[count:])

    return call


def completed(op: Op, args: Any, keywords: dict[str, Any]) -> tuple[Any, ...]:
    """All arguments of a call, those given by name and the defaults filled in."""
    missing = inspect.Parameter.empty
    if len(keywords) == len(op.names) - len(args) and list(keywords) == op.names[len(args) :]:
        return (*args, *keywords.values())
    defaults = (missing,) * (len(op.names) - len(op.defaults)) + op.defaults
    rest = list(zip(op.names, defaults))[len(args) :]
    full = (*args, *(keywords.pop(name, default) for name, default in rest))
    if keywords or len(full) != len(op.names) or missing in full[len(args) :]:
        given = ", ".join([*map(type_name, args), *keywords])
        raise TypeError(f"{op.name}({', '.join(op.names)}) does not take ({given})")
    return full


def type_name(x: Any) -> str:
    """What kind of thing x is."""
    return type(x).__name__


def apply(op: Op, operands: tuple[Any, ...], settings: tuple[Any, ...]) -> Any:
    """Run `op` on operands of any kind and number."""
    like = None
    for x in operands:
        if isinstance(x, Node) and (like is None or like.array.dtype.kind != "f"):
            like = x
    keywords = dict(zip(op.names[op.fixed + 1 :], settings)) if op.star else {}
    positional = () if op.star else settings
    if like is None:
        return op.forward(*operands, *positional, **keywords)
    nodes = tuple([x if isinstance(x, Node) else constant(x, like, op) for x in operands])
    frame = current()
    tracer = frame.tracer
    arrays = [x.array for x in nodes] if tracer is None else [tracer.lift(x) for x in nodes]
    try:
        array = op.forward(*arrays, *positional, **keywords)
    except (ValueError, TypeError, IndexError) as error:
        raise explained(op, nodes, error) from None
    live = False
    for x in nodes:
        live = live or x.requires_grad
    y = result(op, nodes, settings, array, live, frame)
    if op.view:
        share_if_view(y, nodes[0])
    return y


def share_if_view(y: Node, x: Node) -> None:
    """Let y look at the memory of x if its array is a view of the array of x."""
    array = y.array
    if isinstance(array, np.ndarray) and array.base is not None and np.may_share_memory(array, x.array):
        share_memory(y, x)


def result(
    op: Op,
    inputs: tuple[Node, ...],
    settings: tuple[Any, ...],
    array: Any,
    live: bool,
    frame: Frame,
) -> Node:
    """The node that holds `array`. It remembers where it came from only if a gradient can flow."""
    y = new(Result)
    y.array = array
    y.op = op
    y.memory = y.kept = None
    if live and frame.record and op.differentiable:
        y.requires_grad = True
        y.inputs = inputs
        y.settings = settings
        y.scope = frame.scope
        y.tick = tick()
        if frame.lines:
            y.line = calling_line()
        return y
    y.requires_grad = False
    y.inputs = y.settings = ()
    y.scope = frame.scope
    y.tick = 0
    y.cut = None
    for x in inputs:
        if x.requires_grad:
            y.cut = op.name if frame.record else f"{op.name} under no_grad()"
        elif x.cut and not y.cut:
            y.cut = x.cut
    return y


def leaf(array: Any, requires_grad: bool = False) -> Any:
    """A node that no operation made."""
    y = new(Result)
    y.array = array
    y.op = y.memory = y.kept = y.cut = None
    y.scope = current().scope
    y.inputs = y.settings = ()
    y.requires_grad = requires_grad
    y.tick = tick() if requires_grad else 0
    return y


_boxes: dict[Any, dict[float, Any]] = {}  # dtype -> number -> 0-d array
_constants: dict[Any, dict[float, Node]] = {}  # dtype (or scalar type) -> number -> node


def box(value: float, dtype: Any) -> Any:
    """A Python number as a 0-d array, made once: NumPy multiplies by it twice as fast."""
    known = _boxes.setdefault(dtype, {})
    array = known.get(value)
    if array is None:
        array = np.asarray(value, dtype)
        array.flags.writeable = False
        if len(known) < 1024 and value:  # 0.0 == -0.0 as a key
            known[value] = array
    return array


def constant(value: Any, like: Node, op: Op | None = None) -> Node:
    """`value` as an operand next to `like`: Python numbers take its dtype, arrays are copied."""
    kind = type(value)
    if kind is float or kind is int or kind is bool:
        array = like.array
        known = _constants.get(array.dtype if type(array) is np.ndarray else type(array))
        if known is not None and (value or kind is int or math.copysign(1.0, value) > 0):
            node = known.get(value)
            if node is not None:
                return node
        return boxed(value, array)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "fiub":
        return leaf(value.copy())
    if isinstance(value, (list, tuple)):
        return leaf(array_from(value))
    if hasattr(value, "__array_function__") and current().tracer is not None:
        return leaf(value)  # a Symbol
    where = f"{op.name}: " if op else ""
    got = f"an array of dtype {value.dtype}" if isinstance(value, np.ndarray) else kind.__name__
    raise TypeError(
        f"{where}got {got} next to a Tensor; wanted a Tensor, an array of numbers or a number"
    )


def boxed(value: float, array: Any) -> Node:
    """A Python number as a constant node next to `array`, kept for the next time."""
    dtype = np.result_type(array.dtype, value)
    scalar = type(array) is not np.ndarray  # a NumPy scalar, or a Symbol
    box = np.asarray(value, dtype)
    node: Node = leaf(box[()] if scalar else box)
    kept = _constants.setdefault(type(array) if scalar else array.dtype, {})
    # -0.0 == 0.0 as a key, and integers next to integers may differ in dtype: those are not kept
    if array.dtype.kind == "f" and len(kept) < 1024 and math.copysign(1.0, value) + value != -1.0:
        kept[value] = node
    return node


def array_from(data: Any, dtype: Any = None) -> np.ndarray:
    """A new array of numbers from nested lists, a number or an array; Python floats are float32."""
    if isinstance(data, Node):
        data = data.array
    try:
        array = np.array(data, dtype=object if _holds_nodes(data) else None)
    except ValueError:
        raise ValueError(
            f"tensor: the rows of {_short(data)} have different lengths; "
            "a Tensor is rectangular: pad the rows or keep a list of Tensors"
        ) from None
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"tensor: {_short(data)} has dtype {array.dtype}; a Tensor holds numbers: "
            "floats, integers or booleans" + ("; stack(list) joins Tensors"
            if array.dtype == object else "")
        )  # fmt: skip
    if dtype is None:
        python_floats = array.dtype == np.float64 and not isinstance(data, (np.ndarray, np.generic))
        dtype = np.float32 if python_floats and not _holds_float64(data) else array.dtype
    dtype = np.dtype(dtype)
    if dtype.kind not in "fiub":
        raise TypeError(f"tensor: dtype {dtype} is not a dtype of numbers: float32, int64, bool")
    return array.astype(dtype, copy=False)


def _holds_nodes(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and any(isinstance(x, Node) for x in data)


def _holds_float64(data: Any) -> bool:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.ndarray, np.generic)) and data.dtype == np.float64


def _short(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else text[:57] + "..."


def explained(op: Op, nodes: tuple[Node, ...], error: Exception) -> Exception:
    """NumPy's complaint, with the operation's name and the shapes that arrived."""
    shapes = [x.array.shape for x in nodes]
    arrived = " and ".join(str(shape) for shape in shapes)
    if op.name == "matmul" and all(shapes):
        inner = shapes[0][-1], shapes[1][max(len(shapes[1]) - 2, 0)]
        if inner[0] != inner[1]:
            return ValueError(
                f"matmul: {shapes[0]} @ {shapes[1]}: the inner sizes {inner[0]} and {inner[1]} "
                "differ; (n, k) @ (k, m) gives (n, m). A transposed operand is x.mT"
            )
    if "broadcast" in str(error) and len(shapes) == 2:
        return ValueError(
            f"{op.name}: shapes {arrived} do not broadcast: from the right, sizes must be equal "
            "or 1; x.unsqueeze(dim) adds a size of 1, x.reshape(...) changes the shape"
        )
    kind = next(k for k in (IndexError, TypeError, ValueError) if isinstance(error, k))
    return kind(f"{op.name} on shape{'s' * (len(shapes) > 1)} {arrived}: {error}")
