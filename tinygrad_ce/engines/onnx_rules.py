"""What each step is in ONNX: `RULES[op]` writes its nodes, `REFUSED[op]` says why there are none.

Nodes compute in the dtype that NumPy would; where a plain node is not exact (log(1 + x) near 0) it
is composed as NumPy's is computed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engines.batches import RANDOM, Size, full_index
from tinygrad_ce.engines.onnx_graph import Graph, Rule, wide
from tinygrad_ce.engines.onnx_images import (
    FROM_IMAGE,
    IMAGES,
    TO_IMAGE,
    apart_from_batch,
    conv_of,
    divide,
    grouped_conv,
)
from tinygrad_ce.program.ir import Step, Var
from tinygrad_ce.program.ops import UFUNCS

# --- elementwise --------------------------------------------------------------------------------

SAME = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "negative": "Neg",
    "reciprocal": "Reciprocal", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "sin": "Sin",
    "cos": "Cos", "tanh": "Tanh", "absolute": "Abs", "sign": "Sign", "floor": "Floor",
    "ceil": "Ceil", "rint": "Round", "maximum": "Max", "minimum": "Min", "power": "Pow",
    "float_power": "Pow", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
    "less_equal": "LessOrEqual", "equal": "Equal", "isnan": "IsNaN", "isinf": "IsInf",
    "arcsin": "Asin", "arccos": "Acos", "arctan": "Atan",
}  # fmt: skip
"""Functions of NumPy's that are one node."""
TRUTHS = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "logical_not": "Not"}
BITS = {"bitwise_and": "And", "bitwise_or": "Or", "bitwise_xor": "Xor", "invert": "Not"}
SINGLE = ("erf", "erfc", "arcsin", "arccos", "arctan", "arctan2", "arcsinh", "col2im")
"""What onnxruntime has no kernel for in float64."""
DOUBLE = np.dtype(np.float64)


def method(kind: str) -> Callable[..., Any]:
    """The method of Value that writes such a node."""
    return lambda x, *others: x(kind, *others)


class Value:
    """A value by its name, and its dtype: arithmetic and `x("Exp")` write nodes. A number next to
    it is a constant of its dtype.
    """

    def __init__(self, g: Graph, name: str, dtype: Any) -> None:
        self.g, self.name, self.dtype = g, name, np.dtype(dtype)

    def __call__(self, kind: str, *others: Any, **attrs: Any) -> Value:
        """What a node makes of this and others."""
        names = [self.of(x).name for x in others]
        dtype = bool if kind in COMPARED else self.dtype
        return Value(self.g, self.g.node(kind, self.name, *names, **attrs), dtype)

    def of(self, x: Any) -> Value:
        """A value as it is, or the constant that a number is."""
        return x if isinstance(x, Value) else Value(self.g, self.g.array(x, self.dtype), self.dtype)

    def to(self, dtype: Any) -> Value:
        """The same in another dtype."""
        return Value(self.g, self.g.cast(self.name, self.dtype, dtype), dtype)

    def where(self, yes: Any, no: Any) -> Value:
        """`yes` where this holds, else `no`."""
        like = yes if isinstance(yes, Value) else no
        y, n = like.of(yes), like.of(no)
        return Value(self.g, self.g.node("Where", self.name, y.name, n.name), like.dtype)

    __add__, __sub__, __mul__, __truediv__ = map(method, ("Add", "Sub", "Mul", "Div"))
    __neg__, __abs__, __lt__, __or__ = map(method, ("Neg", "Abs", "Less", "Or"))


Write = Callable[..., Value]


def dtypes_of(g: Graph, step: Step) -> tuple[Any, ...]:
    """In which dtypes NumPy takes the operands, and makes the result, which may be another one."""
    kinds = [x.dtype if x.dtype is not None else g.dtype(x).type for x in step.operands]
    weak = [k if isinstance(k, np.dtype) else {"f": float, "i": int, "b": bool}[np.dtype(k).kind]
            for k in kinds]  # fmt: skip
    ufunc: Any = UFUNCS[step.op]
    return tuple(ufunc.resolve_dtypes((*weak, None)))


def single(g: Graph, step: Step, dtype: Any) -> None:
    """Refuse a function of float64 that onnxruntime has in float32 only."""
    if dtype == DOUBLE:
        g.refuse(step, "onnxruntime computes it in float32 only: export model.float()")


def ufunc(write: Write) -> Rule:
    """The rule of a function of NumPy's, `write(*values)`, in the dtypes that it has there."""

    def rule(g: Graph, step: Step) -> str:
        *inputs, _ = dtypes_of(g, step)
        if step.op in SINGLE:
            single(g, step, inputs[0])
        values = [Value(g, g.of(x, d), d) for x, d in zip(step.operands, inputs)]
        return write(*values).to(step.out.dtype).name

    return rule


def plain(kind: str) -> Rule:
    """The rule of what is one node."""

    def rule(g: Graph, step: Step) -> str:
        dtype = dtypes_of(g, step)[0]
        if step.op in SINGLE:
            single(g, step, dtype)
        if kind in ROUNDED and dtype.kind != "f":
            return g.of(step.operands[0], step.out.dtype)
        if kind in OF_FLOATS and dtype.kind != "f":
            dtype = np.dtype(np.float32)
        if kind != "Equal" or dtype.kind != "b":
            dtype = wide(dtype)
        y = g.node(kind, *(g.of(x, dtype) for x in step.operands))
        return g.cast(y, bool if kind in COMPARED else dtype, step.out.dtype)

    return rule


ROUNDED = ("Floor", "Ceil", "Round")
OF_FLOATS = ("IsNaN", "IsInf", "Reciprocal")
COMPARED = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "IsNaN", "IsInf")


def sinh(x: Value) -> Value:
    """(eˣ - e⁻ˣ) / 2 by eˣ - 1, which is exact near 0; a half of eˣ far from it."""
    size = abs(x)
    e = expm1(size)
    far = 9 if x.dtype == np.float32 else 19
    return x("Sign") * (size < far).where((e + e / (e + 1)) / 2, half_exp(size))


def cosh(x: Value) -> Value:
    """(eˣ + e⁻ˣ) / 2."""
    size = abs(x)
    return half_exp(size) + (-size)("Exp") * 0.5


def half_exp(x: Value) -> Value:
    """eˣ / 2, which is a number where eˣ is none any more."""
    root = (x / 2)("Exp")
    return root * 0.5 * root


def log1p(x: Value) -> Value:
    """log u · x / (u - 1) with u = 1 + x, which forgives the rounding of u."""
    u = x.of(1) + x
    rest, infinite = u - 1, x("IsInf")
    none = rest("Equal", 0)
    y = u("Log") * (x / (none | infinite).where(1, rest))
    return none.where(x, infinite.where(u("Log"), y))


def expm1(x: Value) -> Value:
    """2t / (1 - t) with t = tanh(x / 2) near 0, eˣ - 1 elsewhere."""
    t = (x / 2)("Tanh")
    return (abs(x) < 1).where(x.of(2) * t / (x.of(1) - t), x("Exp") - 1)


def log_to(base: float) -> Write:
    """log x / log base."""
    return lambda x: x("Log") / math.log(base)


def remainder(a: Value, b: Value) -> Value:
    """What is left of a / b, with the sign of b."""
    if a.dtype.kind != "f":
        return a("Mod", b, fmod=0)
    rest = a("Mod", b, fmod=1)
    wrong = (rest < 0)("Xor", b < 0)("And", rest("Equal", 0)("Not"))
    return wrong.where(rest + b, rest)


def floor_divide(a: Value, b: Value) -> Value:
    """⌊a / b⌋ = (a - remainder) / b."""
    y = (a - remainder(a, b)) / b
    if a.dtype.kind != "f":
        return y
    below = (a < 0)("Xor", b < 0)("And", a("Equal", 0)("Not"))
    y = b("IsInf").where(below.where(a.of(-1), 0) + (a - a), y("Round"))
    return b("Equal", 0).where(a / b, y)


def trunc(x: Value) -> Value:
    """⌊|x|⌋ with the sign of x."""
    return x if x.dtype.kind != "f" else x("Sign") * abs(x)("Floor")


def isfinite(x: Value) -> Value:
    """Neither infinite nor no number."""
    x = x if x.dtype.kind == "f" else x.to(np.float32)
    return (x("IsInf") | x("IsNaN"))("Not")


def copysign(a: Value, b: Value) -> Value:
    """|a| with the sign of b."""
    return signed(b).where(-abs(a), abs(a))


def signed(x: Value) -> Value:
    """Whether x has a minus sign, as -0.0 has: 1 / -0.0 is -∞."""
    return (x < 0) | (x("Reciprocal") < 0)


def hypot(a: Value, b: Value) -> Value:
    """m √(1 + (n / m)²) for the larger m and the smaller n of both."""
    a, b = abs(a), abs(b)
    m, n = a("Max", b), a("Min", b)
    ratio = n / m("Equal", 0).where(1, m)
    y = m * (ratio.of(1) + ratio * ratio)("Sqrt")
    return (a("IsInf") | b("IsInf")).where(math.inf, y)  # next to nan, too


def arctan2(a: Value, b: Value) -> Value:
    """The angle of the point with height a and width b."""
    both = a("IsInf")("And", b("IsInf"))
    a, b = both.where(a("Sign"), a), both.where(b("Sign"), b)
    nowhere = a("Equal", 0)("And", b("Equal", 0))
    y = (a / nowhere.where(1, b))("Atan")
    turn = signed(a).where(a.of(-math.pi), a.of(math.pi))
    return y + signed(b).where(turn, 0)


def ldexp(x: Value, n: Value) -> Value:
    """x·2ⁿ, in two factors, so that neither overflows before the product does."""
    n = n.to(np.int64)
    half = n / 2
    for part in (half, n - half):
        x = x * x.of(2)("Pow", part.to(x.dtype))
    return x


def frexp(g: Graph, step: Step) -> str:
    """x = m·2ⁿ with m in ½ ... 1: n from the logarithm, mended by one where that was rounded."""
    x = Value(g, g.of(step.operands[0]), step.operands[0].dtype)
    fixed = abs(x)("Equal", 0) | isfinite(x)("Not")
    safe = fixed.where(0.5, abs(x))
    n = (log_to(2)(safe)("Floor") + 1).to(np.int32)
    n = n + ldexp(safe, -n)("GreaterOrEqual", 1).to(np.int32)
    n = n - (ldexp(safe, -n) < 0.5).to(np.int32)
    return (fixed.where(0, n) if step.attrs["part"] else fixed.where(x, ldexp(x, -n))).name


def truth(kind: str) -> Rule:
    """The rule of a function of truth values: numbers are true where they are not 0."""
    return lambda g, s: g.node(kind, *(g.of(x, bool) for x in s.operands))


def bits(kind: str) -> Rule:
    """The rule of a function of bits, or of truth values."""

    def rule(g: Graph, s: Step) -> str:
        dtype = s.out.dtype
        node = kind if dtype.kind == "b" else f"Bitwise{kind}"
        return g.node(node, *(g.of(x, dtype) for x in s.operands))

    return rule


def not_equal(g: Graph, s: Step) -> str:
    """Not Equal."""
    return g.node("Not", plain("Equal")(g, s))


def where(g: Graph, s: Step) -> str:
    """a where the condition holds, else b."""
    dtype = s.out.dtype
    kind = wide(dtype)
    condition, a, b = s.operands
    y = g.node("Where", g.of(condition, bool), g.of(a, kind), g.of(b, kind))
    return g.cast(y, kind, dtype)


def masked(g: Graph, s: Step) -> str:
    """x where the mask holds, else 0."""
    x, keep = s.operands
    return g.node("Where", g.of(keep), g.of(x), g.array(0, s.out.dtype))


def clip(g: Graph, s: Step) -> str:
    """min(max(x, low), high); Clip itself knows no infinite bound."""
    dtype = s.out.dtype
    kind = wide(dtype)
    y = g.of(s.operands[0], kind)
    for node, bound in (("Max", s.attrs["low"]), ("Min", s.attrs["high"])):
        y = y if bound is None else g.node(node, y, g.array(bound, kind))
    return g.cast(y, kind, dtype)


def erf(g: Graph, s: Step) -> str:
    """The error function; erfc is 1 - erf."""
    single(g, s, s.out.dtype)
    y = g.node("Erf", g.of(s.operands[0]))
    return y if s.op == "erf" else g.node("Sub", g.array(1, s.out.dtype), y)


def relu(g: Graph, s: Step) -> str:
    """max(x, 0)."""
    if s.out.dtype.kind == "f":
        return g.node("Relu", g.of(s.operands[0]))
    return g.cast(
        g.node("Max", g.of(s.operands[0], np.int64), g.array(0, np.int64)), np.int64, s.out.dtype
    )


def add(g: Graph, s: Step) -> str:
    """a + b; a product plus a row is Gemm."""
    for product, other in (s.operands, s.operands[::-1]):
        factors = gemm_of(g, product)
        if factors and other.dtype == product.dtype == s.out.dtype and s.out.shape == product.shape:
            given, flags = factors
            return g.node("Gemm", *given, g.of(other), **flags)
    return plain("Add")(g, s)


# --- along axes ---------------------------------------------------------------------------------

REDUCE = {"sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd",
          "all": "ReduceMin", "any": "ReduceMax"}  # fmt: skip


def axes_of(s: Step) -> list[int]:
    """The axes that are reduced."""
    axis, n = s.attrs["axis"], len(s.operands[0].shape)
    axes = range(n) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return [a % n for a in axes]


def reduced(g: Graph, s: Step) -> str:
    """A sum, a product, the largest or the smallest along axes."""
    (x,), dtype = s.operands, s.out.dtype
    kind = wide(dtype)
    name = g.of(x, bool) if s.op in ("all", "any") else g.of(x, kind)
    name = g.cast(name, bool, kind) if s.op in ("all", "any") else name
    axes = axes_of(s)
    if axes:
        keep = int(s.attrs["keepdims"])
        name = g.node(REDUCE[s.op], name, g.integers(axes), keepdims=keep)
    return g.cast(name, kind, dtype)


def arg(kind: str) -> Rule:
    """The place of the first largest or smallest."""

    def rule(g: Graph, s: Step) -> str:
        (x,), axis = s.operands, s.attrs["axis"]
        name = g.of(x, wide(x.dtype))
        if axis is None or not x.shape:
            y = g.node(kind, g.node("Reshape", name, g.array([-1], np.int64)), axis=0, keepdims=0)
            return g.reshape(y, s.out.shape)
        return g.node(kind, name, axis=axis % len(x.shape), keepdims=int(s.attrs["keepdims"]))

    return rule


def cumsum(g: Graph, s: Step) -> str:
    """y[k] = Σ x[0..k]."""
    (x,), dtype = s.operands, s.out.dtype
    kind = wide(dtype)
    return g.cast(g.node("CumSum", g.of(x, kind), g.array(s.attrs["axis"], np.int64)), kind, dtype)


def cumprod(g: Graph, s: Step) -> str:
    """y[k] = Π x[0..k]: the products of the rows of a matrix with 1 above its diagonal."""
    (x,), dtype = s.operands, s.out.dtype
    kind = wide(dtype)
    axis, n = s.attrs["axis"] % len(x.shape), x.shape[s.attrs["axis"]]
    if isinstance(n, Size):
        return g.refuse(s, "along the batch it has no counterpart in ONNX; pass batch=None")
    axes = [i for i in range(len(x.shape)) if i != axis] + [axis]
    rows = g.unsqueeze(g.transpose(g.of(x, kind), axes), len(axes) - 1)
    known = g.node("Where", g.array(np.tri(n, dtype=bool)), rows, g.array(1, kind))
    y = g.node("ReduceProd", known, g.integers([len(axes)]), keepdims=0)
    return g.cast(g.transpose(y, table.inverse(tuple(axes))), kind, dtype)


def argsort(g: Graph, s: Step) -> str:
    """The indices that sort x; equal elements stay in their order."""
    (x,) = s.operands
    axis = s.attrs["axis"] % len(x.shape)
    from onnx import helper

    values, places = g.free("Sorted"), g.free("TopK")
    given = [g.of(x, wide(x.dtype)), g.size(x.shape[axis])]
    g.nodes.append(
        helper.make_node("TopK", given, [values, places], axis=axis, largest=0, sorted=1)
    )
    return places


# --- shapes -------------------------------------------------------------------------------------


def reshape(g: Graph, s: Step) -> str:
    """The same elements in another shape."""
    conv = conv_of(g, s)
    if conv is not None:
        return g.transpose(conv, FROM_IMAGE)
    (x,) = s.operands
    return g.of(x) if x.shape == s.out.shape else g.reshape(g.of(x), s.out.shape)


def transpose(g: Graph, s: Step) -> str:
    """Axes in another order; of the matrix of a convolution that is an image again."""
    images = s.attrs["axes"] == TO_IMAGE
    conv = conv_of(g, g.maker(s.operands[0], "reshape")) if images else None
    return conv if conv is not None else g.transpose(g.of(s.operands[0]), s.attrs["axes"])


def broadcast_to(g: Graph, s: Step) -> str:
    """Repeats."""
    (x,), shape = s.operands, s.out.shape
    old = (1,) * (len(shape) - len(x.shape)) + x.shape
    kept = [1 if n == o else n for n, o in zip(shape, old)]
    return g.node("Expand", g.of(x, x.dtype or s.out.dtype), g.integers(kept))


def windows(g: Graph, s: Step) -> str:
    """Every window along some axes; its elements become the last axes."""
    (x,), (sizes, axes) = s.operands, (s.attrs["window"], s.attrs["axes"])
    name, last = g.of(x), len(x.shape)
    for k, axis in zip(sizes, axes):
        axis, n = axis % len(x.shape), x.shape[axis]
        apart_from_batch(g, s, [n])
        places = np.arange(n - k + 1)[:, None] + np.arange(k)
        name = g.node("Gather", name, g.array(places, np.int64), axis=axis)
        rest = [i for i in range(last + 1) if i != axis + 1]
        name, last = g.transpose(name, [*rest, axis + 1]), last + 1
    return name


def sliced(g: Graph, s: Step) -> str:
    """x[index] for integers, slices and None."""
    (x,) = s.operands
    parts = full_index(s.attrs["index"], len(x.shape))
    cuts, gone, new, axis, at = {}, [], [], 0, 0
    for p in parts:
        if p is None:
            new.append(at)
        elif isinstance(p, slice):
            cuts[axis] = p
        else:
            cuts[axis] = one_row(p)
            gone.append(axis)
        axis += p is not None
        at += p is None or isinstance(p, slice)
    return g.unsqueeze(g.squeeze(g.slices(g.of(x), cuts), *gone), *new)


def one_row(i: Any) -> slice:
    """The slice of one index."""
    if isinstance(i, Size):
        return slice(i, Size(int(i) + 1, i.a, i.c + 1))
    i = operator.index(i)
    return slice(i, i + 1 if i != -1 else None)


def take(g: Graph, s: Step) -> str:
    """x[index] with arrays of integers: Gather along one axis, GatherND along several."""
    x, *arrays = s.operands
    parts = index_parts(g, s, arrays, len(x.shape))
    name = g.slices(g.of(x), {a: p for a, p in enumerate(parts) if isinstance(p, slice)})
    picked = [a for a, p in enumerate(parts) if not isinstance(p, slice)]
    if len(picked) == 1:
        return g.node("Gather", name, parts[picked[0]], axis=picked[0])
    rest = [a for a in range(len(parts)) if a not in picked]
    name = g.transpose(name, [*picked, *rest])
    y = g.node("GatherND", name, together(g, [parts[a] for a in picked]))
    return g.transpose(y, order_of(picked, len(rest), index_depth(arrays)))


def order_of(picked: list[int], rest: int, depth: int) -> list[int]:
    """How the axes that arrays pick, first, come to stand where NumPy has them: in the place of
    those that were picked, if these stand side by side.
    """
    before = picked[0] if picked == [*range(picked[0], picked[-1] + 1)] else 0
    axes = [*range(depth, depth + rest)]
    return [*axes[:before], *range(depth), *axes[before:]]


def index_parts(g: Graph, s: Step, arrays: Sequence[Var], ndim: int) -> list[Any]:
    """For each axis a slice or the name of its indices."""
    filled = unmasked(g, s, table.filled(s.attrs["index"], tuple(arrays)))
    if any(p is None for p in filled):
        g.refuse(s, "an index of arrays and None has no counterpart; write x[index][:, None]")
    return [
        p if isinstance(p, str | slice) else g.of(p, np.int64) if isinstance(p, Var)
        else g.squeeze(g.size(p), 0)
        for p in full_index(filled, ndim)
    ]  # fmt: skip


def unmasked(g: Graph, s: Step, index: Sequence[Any]) -> tuple[Any, ...]:
    """An index in which masks that are constants are the places where they are true."""
    found: list[Any] = []
    for p in index:
        if isinstance(p, Var) and p.dtype == bool:
            if p not in g.program.constants:
                g.refuse(s, "how many elements the mask picks is not known beforehand; write "
                            "where(mask, values, x)")  # fmt: skip
            found += [g.array(a, np.int64) for a in np.nonzero(g.program.constants[p])]
        else:
            found.append(p)
    return tuple(found)


def together(g: Graph, names: Sequence[str]) -> str:
    """Index arrays, broadcast, side by side along a last axis."""
    shape = g.node("Shape", sum_of(g, names))
    last = [g.node("Unsqueeze", g.node("Expand", n, shape), g.array([-1], np.int64)) for n in names]
    return g.node("Concat", *last, axis=-1)


def sum_of(g: Graph, names: Sequence[str]) -> str:
    """What has the shape that all of them broadcast to."""
    total = names[0]
    for n in names[1:]:
        total = g.node("Add", total, n)
    return total


def index_depth(arrays: Sequence[Var]) -> int:
    """How many axes index arrays have together."""
    return max((1 if a.dtype == bool else len(a.shape) for a in arrays), default=0)


# --- writing at an index ------------------------------------------------------------------------


def put(g: Graph, s: Step) -> str:
    """x with values at an index."""
    x, values = s.operands[:2]
    return laid(g, s, g.of(x), x, g.of(values, x.dtype), 2, "none")


def scatter(g: Graph, s: Step) -> str:
    """Zeros, plus x at an index."""
    (x, *_), shape = s.operands, s.attrs["shape"]
    zeros = g.node("Expand", g.array(0, x.dtype), g.integers(shape))
    like = Var(shape, x.dtype, False)
    return laid(g, s, zeros, like, g.of(x), 1, "add")


def laid(g: Graph, s: Step, base: str, like: Var, values: str, first: int, how: str) -> str:
    """ScatterND of values, where arrays pick along some axes or all places are known now."""
    kind = np.dtype(np.float32) if like.dtype == np.float16 else wide(like.dtype)
    base, values = g.cast(base, like.dtype, kind), g.cast(values, like.dtype, kind)
    arrays, index = s.operands[first:], s.attrs["index"]
    parts = full_index(index, len(like.shape))
    plain = all(p is not None and p == slice(None) for p in parts if isinstance(p, slice | None))
    picks = any(not isinstance(p, slice) for p in parts)
    write = at_arrays if plain and picks else at_known_places
    return g.cast(write(g, s, base, like, values, arrays, how), kind, like.dtype)


def at_arrays(
    g: Graph, s: Step, base: str, like: Var, values: str, arrays: Sequence[Var], how: str
) -> str:
    """ScatterND along the axes that arrays pick, which come first meanwhile."""
    parts = index_parts(g, s, arrays, len(like.shape))
    picked = [a for a, p in enumerate(parts) if not isinstance(p, slice)]
    rest = [a for a in range(len(parts)) if a not in picked]
    at, depth = together(g, [parts[a] for a in picked]), index_depth(arrays)
    order = order_of(picked, len(rest), depth)
    heads = g.node("Slice", g.node("Shape", at), g.array([0], np.int64), g.array([depth], np.int64))
    before = order.index(0) if depth else 0
    sizes = [like.shape[a] for a in rest]
    shape = g.node("Concat", g.integers(sizes[:before]), heads, g.integers(sizes[before:]), axis=0)
    new = g.transpose(g.node("Expand", values, shape), table.inverse(tuple(order)))
    axes = [*picked, *rest]
    y = g.node("ScatterND", g.transpose(base, axes), at, new, reduction=how)
    return g.transpose(y, table.inverse(tuple(axes)))


def at_known_places(
    g: Graph, s: Step, base: str, like: Var, values: str, arrays: Sequence[Var], how: str
) -> str:
    """ScatterND into rows, one for each place that is known now; an axis that follows the batch
    runs along the rows.
    """
    index = table.filled(s.attrs["index"], tuple(g.program.constants.get(x) for x in arrays))
    free = [a for a, n in enumerate(like.shape) if isinstance(n, Size)]
    along = [p for p in full_index(s.attrs["index"], len(like.shape)) if p is not None]
    known = all(x in g.program.constants for x in arrays) and "batch" not in repr(along)
    if not known or len(free) > 1 or any(along[a] != slice(None) for a in free):
        g.refuse(s, "such places have no counterpart in ONNX; write where(mask, values, x)")
    rest = [a for a in range(len(like.shape)) if a not in free]
    sizes = [1 if a in free else n for a, n in enumerate(like.shape)]
    places = np.arange(math.prod(sizes)).reshape(sizes)[index]
    n = like.shape[free[0]] if free else 1
    longer = np.broadcast_to(0, [2 if a in free else n for a, n in enumerate(sizes)])[index].shape
    there = [a for a, (k, m) in enumerate(zip(places.shape, longer)) if k != m]
    full = [n if a in there else k for a, k in enumerate(places.shape)]
    order = [*(a for a in range(places.ndim) if a not in there), *there]
    new = g.transpose(g.node("Expand", values, g.integers(full)), order)
    rows = g.reshape(g.transpose(base, [*rest, *free]), [math.prod(sizes), n])
    at = g.array(places.reshape(-1, 1), np.int64)
    y = g.node("ScatterND", rows, at, g.reshape(new, [places.size, n]), reduction=how)
    y = g.reshape(y, [like.shape[a] for a in (*rest, *free)])
    return g.transpose(y, table.inverse((*rest, *free)))


# --- joining, products --------------------------------------------------------------------------


def joined(g: Graph, s: Step) -> str:
    """Arrays one after another; of convolutions of groups, one Conv."""
    return grouped_conv(g, s) or g.node(
        "Concat", *(g.of(x, s.out.dtype) for x in s.operands), axis=s.attrs["axis"]
    )


def stack(g: Graph, s: Step) -> str:
    """Arrays side by side along a new axis."""
    axis = s.attrs["axis"] % len(s.out.shape)
    each = [g.unsqueeze(g.of(x, s.out.dtype), axis) for x in s.operands]
    return g.node("Concat", *each, axis=axis)


def pad(g: Graph, s: Step) -> str:
    """x with a value around it."""
    (x,), dtype = s.operands, s.out.dtype
    kind = wide(dtype)
    before, after = zip(*s.attrs["widths"])
    value = g.array(s.attrs["value"], kind)
    y = g.node("Pad", g.of(x, kind), g.integers([*before, *after]), value)
    return g.cast(y, kind, dtype)


def full(g: Graph, s: Step) -> str:
    """A number, repeated."""
    return g.node("Expand", g.of(s.operands[0], s.out.dtype), g.integers(s.out.shape))


def same(g: Graph, s: Step) -> str:
    """What it is given."""
    return g.of(s.operands[0], s.out.dtype)


def gemm_of(g: Graph, x: Var) -> tuple[list[str], dict[str, int]] | None:
    """The factors of a product of two matrices of floats, and which of them are transposed."""
    step = g.makers.get(x)
    if step is None or step.op not in ("dot", "inner"):
        return None
    a, b = step.operands
    if not len(a.shape) == len(b.shape) == 2 or a.dtype != b.dtype or a.dtype.kind != "f":
        return None
    flags = {"transA": 0, "transB": int(step.op == "inner")}
    names = []
    for factor, flag in ((a, "transA"), (b, "transB")):
        turned = g.maker(factor, "transpose")
        source = turned.operands[0] if turned else factor
        flags[flag] ^= turned is not None
        names.append(g.of(source))
    return names, {k: v for k, v in flags.items() if v}


def product(g: Graph, s: Step) -> str:
    """A product: Gemm of two matrices of floats, MatMul of all else."""
    factors = gemm_of(g, s.out)
    if factors:
        return g.node("Gemm", *factors[0], **factors[1])
    a, b = s.operands
    dtype = s.out.dtype
    kind = wide(dtype)
    names = [g.of(a, kind), g.of(b, kind)]
    if s.op == "inner" and len(b.shape) > 1:
        names[1] = g.transpose(names[1], (1, 0))
    if not a.shape or not b.shape:
        return g.cast(g.node("Mul", *names), kind, dtype)
    return g.cast(g.node("MatMul", *names), kind, dtype)


def einsum(g: Graph, s: Step) -> str:
    """Σ over the labels that the output lacks; a term has no axes that would be repeated."""
    dtype = s.out.dtype
    kind = wide(dtype)
    terms, out = s.attrs["spec"].split("->")
    pairs = list(zip(terms.split(","), s.operands))
    long = {label for term, x in pairs for label, n in zip(term, x.shape) if n != 1}
    names, kept = [], []
    for term, x in pairs:
        ones = [i for i, n in enumerate(x.shape) if n == 1 and term[i] in long]
        names.append(g.squeeze(g.of(x, kind), *ones))
        kept.append("".join(label for i, label in enumerate(term) if i not in ones))
    return g.cast(g.node("Einsum", *names, equation=f"{','.join(kept)}->{out}"), kind, dtype)


# --- the table ----------------------------------------------------------------------------------

COMPOSED: dict[str, Write] = {
    "log1p": log1p, "expm1": expm1, "log2": log_to(2), "log10": log_to(10),
    "fmod": lambda a, b: a("Mod", b, fmod=1), "remainder": remainder, "floor_divide": floor_divide,
    "trunc": trunc, "tan": lambda x: x("Sin") / x("Cos"), "isfinite": isfinite,
    "copysign": copysign, "hypot": hypot, "arctan2": arctan2, "arcsinh": lambda x: x("Asinh"),
    "ldexp": ldexp, "sinh": sinh, "cosh": cosh,
    "square": lambda x: x * x,
}  # fmt: skip
RULES: dict[str, Rule] = {
    **{op: plain(kind) for op, kind in SAME.items()},
    **{op: truth(kind) for op, kind in TRUTHS.items()},
    **{op: bits(kind) for op, kind in BITS.items()},
    **dict.fromkeys(REDUCE, reduced),
    **{op: ufunc(write) for op, write in COMPOSED.items()},
    "add": add, "divide": lambda g, s: divide(g, s, plain("Div")), "not_equal": not_equal,
    "where": where, "masked": masked, "clip": clip, "erf": erf, "erfc": erf, "relu": relu,
    "astype": same, "copy": same, "contiguous": same, "like": same,
    "float": lambda g, s: g.of(s.operands[0], DOUBLE), "frexp": frexp, "argmax": arg("ArgMax"),
    "argmin": arg("ArgMin"), "cumsum": cumsum, "cumprod": cumprod, "argsort": argsort,
    "reshape": reshape, "transpose": transpose, "broadcast_to": broadcast_to, "windows": windows,
    "slice": sliced, "take": take, "put": put, "scatter": scatter, "concatenate": joined,
    "stack": stack, "pad": pad, "full": full, "dot": product, "inner": product,
    "matmul": product, "einsum": einsum, **IMAGES,
}  # fmt: skip

GRADIENT = "it belongs to the gradient of a pool or of windows, for which ONNX has no node"
FAST = "it is made where a program is compiled for NumPy, and never traced"
CHECKED = "it checks an assumption, which a graph cannot"
REFUSED: dict[str, str] = {
    "draw": RANDOM,
    "overlap_add": GRADIENT,
    "argmax_pool": GRADIENT,
    "put_in_windows": GRADIENT,
    "take_in_windows": GRADIENT,
    "sum_unpool": GRADIENT,
    **dict.fromkeys(("relu_mask", "relu_grad", "flat_slice", "flatten"), FAST),
    **dict.fromkeys(("counts_agree", "all_finite", "all_within", "all_equal", "is_equal"), CHECKED),
}
