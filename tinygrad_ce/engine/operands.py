"""What may stand next to a Tensor: numbers, lists and arrays as leaves of the graph, and what
is said when something does not fit.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine.frame import calling_lines, current, kind_of
from tinygrad_ce.engine.graph import Node, kinds, new
from tinygrad_ce.engine.memory import memory_of, tick
from tinygrad_ce.engine.promotion import default_dtype


def leaf(array: Any, requires_grad: bool = False) -> Any:
    """A node that no operation made."""
    y = new(kinds["result"])
    y.array = array
    y.op = y.memory = y._grad = None
    y.detached_by = ""
    y.scope = current().scope
    y.inputs = y.attrs = ()
    y.live = requires_grad
    y.tick = tick() if requires_grad else 0
    return y


class Made(NamedTuple):
    """What made a node that needs no gradient, and how many operations in a row are known."""

    op: Any
    inputs: tuple[Node, ...]
    attrs: tuple[Any, ...]
    tick: int
    depth: int


REMEMBERED = 32  # operations in a row, so that a running mean does not keep all of its past


def remember(y: Node, op: Any, inputs: tuple[Node, ...], attrs: tuple[Any, ...] = ()) -> None:
    """Let a node that needs no gradient know what made it, for pictures and pages."""
    depth = 1 + max(map(depth_of, inputs), default=0)
    if depth <= REMEMBERED and current().tracer is None:
        y.made = Made(op, inputs, attrs, tick(), depth)
        y.line = calling_lines()


def noted(y: Node, op: Any, inputs: tuple[Node, ...], attrs: tuple[Any, ...]) -> None:
    """Let a node know the line that made it, and let whoever watches look at its value."""
    watcher = current().lines
    if not y.live:
        remember(y, op, inputs, attrs)
    if y.live or watcher is not True:
        y.line = calling_lines()
    if not isinstance(watcher, bool):
        watcher.made(y, op, inputs, attrs)


def depth_of(x: Node) -> int:
    """How many operations without a gradient, one after the other, are known behind x."""
    waiting, seen, depth = [x], {x}, 0
    while waiting:
        y = waiting.pop()
        depth = max(depth, y.made.depth if hasattr(y, "made") else 0)
        new_ones = [z for z in y.inputs if z not in seen]
        seen.update(new_ones)
        waiting += new_ones
    return depth


def settled_by(array: Any, name: str, *inputs: Any) -> Any:
    """A leaf with what `name` found in the numbers of the inputs, which may be cut off by it."""
    y = leaf(array)
    detached_by = [name if x.live else x.detached_by for x in inputs if isinstance(x, Node)]
    y.detached_by = next(filter(None, detached_by), "")
    memory_of(y).stained = any(by is not None for by in detached_by)
    return y


def settle(x: Node) -> None:
    """Give a number that NumPy returned without a place one that can be looked at and written."""
    if isinstance(x.array, np.generic):
        x.array = np.array(x.array)
    elif type(x.array) is not np.ndarray:
        x.array.as_array()  # a Symbol


_boxes: dict[tuple[float, Any], Any] = {}
_constants: dict[tuple[float, Any, type], Node] = {}  # number, dtype or scalar type, its kind


def box(value: float, dtype: Any) -> Any:
    """A Python number as a 0-d array, made once: NumPy calculates with it twice as fast."""
    array = _boxes.get((value, dtype))
    if array is None or (not value and math.copysign(1.0, value) < 0):  # -0.0 == 0.0 as a key
        array = np.asarray(value, dtype)
        array.flags.writeable = False
        if len(_boxes) < 4096 and str(value) != "-0.0":
            _boxes[value, dtype] = array
    return array


def constant(value: Any, like: Node, op: str = "") -> Node:
    """`value` as an operand next to `like`: Python numbers take its dtype, arrays are copied."""
    array, kind = like.array, type(value)
    if kind is float or kind is int or kind is bool:
        place = array.dtype if type(array) is np.ndarray else type(array)
        node = _constants.get((value, place, kind))
        if node is None or (not value and kind is float and math.copysign(1.0, value) < 0):
            node = boxed(value, array)
        return node
    if isinstance(value, np.generic) and value.dtype.kind in "fiu":  # as a Python number is
        return leaf(np.asarray(value, dtype_beside(value.item(), array.dtype)))
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "fiub":
        return leaf(plain_array(value, op).copy())
    if isinstance(value, (list, tuple)):
        array = array_from(value)
        floats = like.array.dtype.kind == "f" and array.dtype.kind in "fiu"
        return leaf(array_from(value, like.array.dtype) if floats else array)
    if hasattr(value, "__array_function__") and current().tracer is not None:
        return leaf(value.beside(array.dtype))  # a Symbol
    where = f"{op}: " if op else ""
    got = f"an array of dtype {value.dtype}" if isinstance(value, np.ndarray) else type_name(value)
    raise TypeError(
        f"{where}got {got} next to a Tensor; wanted a Tensor, an array of numbers or a number"
    )


def as_nodes(name: str, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """The operands as nodes, if one of them is: numbers take the dtype of the floats among them."""
    nodes = [x for x in operands if isinstance(x, Node)]
    if not nodes:
        return operands
    like = next((x for x in nodes if x.array.dtype.kind == "f"), nodes[0])
    return tuple(x if isinstance(x, Node) else constant(x, like, name) for x in operands)


def plain_array(value: Any, op: str) -> Any:
    """The numbers of a np.matrix, a memmap, ...: subclasses mean something else by `*` or `==`."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(
            f"{f'{op}: ' if op else ''}got a masked array, which has no number where it is masked; "
            "write array.filled(0.0), or array.compressed() for the others"
        )
    return np.asarray(value) if isinstance(value, np.ndarray) else value


def dtype_beside(value: float, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of a Python number beside a tensor: it never widens what the tensor is."""
    own = np.result_type(dtype, value)
    return default_dtype() if own.kind == "f" != dtype.kind else own


def boxed(value: float, array: Any) -> Node:
    """A Python number as a constant node next to `array`, kept for the next time."""
    number = np.asarray(value, dtype_beside(value, array.dtype))
    number.flags.writeable = False
    scalar = isinstance(array, np.generic)
    node: Node = leaf(number[()] if scalar else number)
    node.scope = node.detached_by = None
    lasting = array.dtype.kind == "f" or number.dtype.kind != "f"  # default dtypes change
    if lasting and len(_constants) < 4096 and repr(value) != "-0.0":  # -0.0 == 0.0 as a key
        _constants[value, type(array) if scalar else array.dtype, type(value)] = node
    return node


def holds_number(node: Node) -> bool:
    """Whether a node is one of the shared constants, which always hold the same number."""
    array = node.array
    if array.ndim:
        return False
    place = type(array) if isinstance(array, np.generic) else array.dtype
    return any(_constants.get((array.item(), place, kind)) is node for kind in (float, int, bool))


def array_from(data: Any, dtype: Any = None) -> np.ndarray:
    """A new array of numbers from nested lists, a number or an array; Python floats are float32."""
    if isinstance(data, Node):
        data = value_of(data)
    data = plain_array(data, "tensor")
    if _holds_nodes(data):
        data = _numbers_of(data)
    if is_symbol(data):
        return data.converted(dtype)
    if current().tracer is not None and _holds_symbols(data):
        return _stacked(data, array_from(_samples(data), dtype).dtype)
    try:
        array = np.array(data)
    except ValueError:
        raise ValueError(
            f"tensor: the rows of {_short(data)} have different lengths; "
            "a Tensor is rectangular: pad the rows or keep a list of Tensors"
        ) from None
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"tensor: {_short(data)} has dtype {array.dtype}; a Tensor holds numbers: "
            "floats, integers or booleans"
        )
    if dtype is None:
        python_floats = array.dtype == np.float64 and not isinstance(data, (np.ndarray, np.generic))
        dtype = default_dtype() if python_floats and not _holds_float64(data) else array.dtype
    dtype = np.dtype(dtype)
    if dtype.kind not in "fiub":
        raise TypeError(f"tensor: dtype {dtype} is not a dtype of numbers: float32, int64, bool")
    if dtype != array.dtype and dtype.kind in "iu" and array.dtype.kind in "iu":
        return fitted(array, dtype, f"tensor: {_short(data)}")
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)


def exact(data: Any) -> Any:
    """A new array with all digits of the numbers in `data`."""
    array = array_from(data)
    return array_from(data, np.float64) if array.dtype.kind == "f" else array


def fitted(array: Any, dtype: Any, what: str) -> Any:
    """The array in another dtype of its kind, if its numbers fit: no wrap-around, no infinity."""
    with np.errstate(over="ignore"):
        converted = array.astype(dtype, copy=False)
    whole = array.dtype.kind != "f"
    same = (converted, array) if whole else (np.isinf(converted), np.isinf(array))
    if not np.array_equal(*same):
        raise ValueError(f"{what} does not fit into {np.dtype(dtype)}")
    return converted


def _numbers_of(data: Any) -> list[Any]:
    """A list of numbers and 0-d Tensors as a list of numbers."""
    for x in data:
        if isinstance(x, Node) and (x.array.ndim or x.live):
            raise TypeError(
                f"tensor: the list holds a Tensor of shape {x.array.shape}"
                f"{', which requires a gradient' * x.live}; stack(list) joins Tensors "
                "and keeps the graph"
            )
    return [value_of(x)[()] if isinstance(x, Node) else x for x in data]


def _holds_nodes(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and any(isinstance(x, Node) for x in data)


def is_symbol(x: Any) -> bool:
    """Whether x stands for an array, or a number, of a program that is being traced."""
    return not isinstance(x, (np.ndarray, Node)) and hasattr(x, "__array_function__")


def _holds_symbols(data: Any) -> bool:
    return any(map(_holds_symbols, data)) if isinstance(data, (list, tuple)) else is_symbol(data)


def _samples(data: Any) -> Any:
    """Nested lists with zeros in the place of Symbols: they become the same dtype and shape."""
    if isinstance(data, (list, tuple)):
        return [_samples(x) for x in data]
    if not is_symbol(data):
        return data
    dtype = data.converted(None).dtype
    return 0.0 if dtype != data.dtype else np.zeros(data.shape, dtype)[()]  # a Python float


def _stacked(data: Any, dtype: Any) -> Any:
    """Nested lists, in which Symbols are, joined level by level."""
    lists = isinstance(data, (list, tuple))
    return np.stack([_stacked(x, dtype) for x in data]) if lists else array_from(data, dtype)


def _holds_float64(data: Any) -> bool:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.ndarray, np.generic)) and data.dtype == np.float64


def _short(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else text[:57] + "..."


def asked_for(op: str) -> str:
    """What the user called: `view`, where an operation called reshape did not fit."""
    package = sys.modules[__name__.partition(".")[0]]
    frame: Any = sys._getframe(2)
    while frame is not None and str(frame.f_globals.get("__package__")).startswith(
        package.__name__
    ):
        code = frame.f_code
        function, method = (
            code.co_qualname in package.__all__,
            code.co_qualname.startswith("Tensor."),
        )
        if function or (method and not code.co_name.startswith("_")):
            op = code.co_name
        frame = frame.f_back
    return op


def refuse_tensor(op: Any, count: int, attrs: tuple[Any, ...]) -> None:
    """A forward pass gave a Tensor where arrays went in: it has read one that is no operand."""
    name = next((n for n, s in zip(op.names[count:], attrs) if isinstance(s, Node)), "")
    if not name:
        raise TypeError(f"{op.name}: forward gave a Tensor; it is given arrays, and gives an array")
    raise TypeError(
        f"{op.name}: got a Tensor for {name}, a setting, for the rule has no gradient for it; pass "
        f"an array, {name}.numpy(), or give the rule one more gradient, None if it has none"
    )


def explained(op: str, nodes: tuple[Node, ...], error: Exception) -> Exception:
    """NumPy's complaint, with the name of what was called and the shapes that arrived."""
    called = asked_for(op)
    shapes = [x.array.shape for x in nodes]
    arrived = " and ".join(str(shape) for shape in shapes)
    if op == "matmul" and not all(shapes):
        return ValueError(
            f"matmul: {' @ '.join(map(str, shapes))}: a number has no rows to multiply; write a * b"
        )
    if op == "matmul":
        inner = shapes[0][-1], shapes[1][max(len(shapes[1]) - 2, 0)]
        if inner[0] != inner[1]:
            return ValueError(
                f"matmul: {shapes[0]} @ {shapes[1]}: the inner sizes {inner[0]} and {inner[1]} "
                "differ; (n, k) @ (k, m) gives (n, m). A transposed operand is x.mT"
            )
    if op == "broadcast_to":
        return ValueError(
            f"{called}: shape {arrived} does not repeat to the shape that was asked for: from the "
            "right, sizes must be equal or 1, and none may be missing"
        )
    if "not supported" in str(error):
        kinds = " and ".join(str(x.array.dtype) for x in nodes)
        return TypeError(
            f"{called}: not for {kinds}; booleans and integers wanted: (x > 0), x.long()"
        )
    if "broadcast" in str(error) and len(shapes) > 1:
        return ValueError(
            f"{called}: shapes {arrived} do not broadcast: from the right, sizes must be equal "
            "or 1; x.unsqueeze(dim) adds a size of 1, x.reshape(...) changes the shape"
        )
    kind = next(k for k in (IndexError, TypeError, ValueError) if isinstance(error, k))
    return kind(f"{called} on shape{'s' * (len(shapes) > 1)} {arrived}: {error}")


def shaped(x: Any, name: str) -> Any:
    """x, if it is an array of some kind."""
    if not hasattr(x, "shape"):
        raise TypeError(f"{name}: got {kind_of(x)}; wanted a Tensor")
    return x


def type_name(x: Any) -> str:
    """What the type of x is called: `list`, `Tensor`, but `torch.Tensor`."""
    kind = type(x)
    own = kind.__module__ in ("builtins", "numpy") or isinstance(x, Node)
    return kind.__name__ if own else f"{kind.__module__}.{kind.__name__}"


def value_of(x: Any) -> Any:
    """The array of a node, or its Symbol while somebody traces; anything else as it is."""
    if not isinstance(x, Node):
        return x
    tracer = current().tracer
    return x.array if tracer is None else tracer.lift(x)


def slices_like(x: Any, array: Any) -> Any:
    """A new array that is to be written as x is: of each slice of a vmap, if x has slices."""
    spread = getattr(value_of(x), "in_each_slice", None)
    return array if spread is None or hasattr(array, "in_each_slice") else spread(array)


def get_grad(x: Node) -> Any:
    """What a node keeps as its `.grad`, at this point of the program if somebody traces."""
    tracer = current().tracer
    return x._grad if tracer is None else tracer.get_grad(x)


def set_grad(x: Node, grad: Any) -> None:
    """Let a node keep `grad` as its `.grad`; while somebody traces, in the program only."""
    tracer = current().tracer
    if tracer is None:
        x._grad = grad
    else:
        tracer.set_grad(x, grad)


def speaks_numpy(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of ours be taken over by its first argument, as NumPy's are (NEP 18)."""

    @functools.wraps(forward)
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, np.ndarray) or not hasattr(x, "__array_function__"):
            return forward(x, *args, **kwargs)
        return x.__array_function__(call, (type(x),), (x, *args), kwargs)

    return call


@speaks_numpy
def all_finite(x: Any) -> bool:
    """Whether all elements are finite. A tracer takes what it finds for granted."""
    return np.count_nonzero(np.isfinite(x)) == x.size  # of small arrays faster than .all()


@speaks_numpy
def all_within(x: Any, low: float, high: float, also: float | None = None) -> bool:
    """Whether all elements are in low ... high, or are `also`. A tracer takes it for granted."""
    if also is None and low == 0 and x.dtype == np.int64 and x.size:
        return bool(np.maximum.reduce(x.view(np.uint64), axis=None) <= high)  # -1 is very large
    inside = (x >= low) & (x <= high)
    return bool((inside if also is None else inside | (x == also)).all())


def is_number(x: Any) -> bool:
    """Whether x is a number of NumPy, which nobody can write into, or the Symbol of one."""
    return isinstance(x, np.generic) or getattr(x, "scalar", False)


def numbers(x: Any) -> Any:
    """The array, or the example of a Symbol: what an error message shows."""
    return getattr(x, "value", x)
