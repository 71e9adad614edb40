"""How a step is written in NumPy: for each operation an expression, as Python's own syntax tree.

A tree, not text, so that parentheses stand exactly where they must (`ast.unparse` knows). There are
two dialects: the exact one calls what eager code calls, to the last bit; the other writes what a
person writes, `x @ W.T` and `x.sum(axis=0)`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.program.ir import Step
from tinygrad_ce.program.ops import OPS, REDUCTIONS

# What is added for each place k1, k2 in a window: {part} is the part of an image that lies there.
WINDOWS = {
    "col2im": "{y}{part} += {a}[:, {k}1, {k}2]",
    "sum_unpool": "{y}{part} += {a}",
    "sum_pool": "{y} += {a}{part}",
    "put_in_windows": "{y}{part} += np.where({b} == {place}, {a}, 0)",
    "take_in_windows": "{y} += np.where({b} == {place}, {a}{part}, 0)",
}
BLOCKS = ("put", "scatter", "overlap_add", "like", *WINDOWS)  # these take several lines


def parsed(text: str) -> ast.expr:
    """The tree of an expression."""
    return ast.parse(text, mode="eval").body


@cache
def template(text: str) -> ast.expr:
    """The tree of an expression that is filled in many times."""
    return parsed(text)


def filled(tree: Any, found: Mapping[str, ast.expr | None]) -> Any:
    """A tree with expressions in the place of names that it reads; what has none is shared."""
    if isinstance(tree, list):
        return [filled(x, found) for x in tree]
    if isinstance(tree, ast.Name):
        new = found.get(tree.id) if isinstance(tree.ctx, ast.Load) else None
        if isinstance(new, ast.Name):  # one for each place
            new = ast.copy_location(ast.Name(new.id, new.ctx), tree)
        return new or tree
    if not isinstance(tree, ast.AST):
        return tree
    fields = {name: filled(x, found) for name, x in vars(tree).items()}
    return tree if fields == vars(tree) else type(tree)(**fields)


def fill(text: str, **trees: ast.expr) -> ast.expr:
    """An expression with trees in the place of its names."""
    tree: ast.expr = filled(template(text), trees)
    return tree


def literal(value: Any) -> ast.expr:
    """A setting as Python writes it: numbers, None, tuples, slices, dtypes."""
    if isinstance(value, tuple):
        return ast.Tuple([literal(v) for v in value], ast.Load())
    if isinstance(value, slice):
        step = None if value.step == 1 else value.step
        parts = [None if v is None else literal(v) for v in (value.start, value.stop, step)]
        return ast.Slice(*parts)
    if isinstance(value, np.dtype):
        return parsed("bool" if value.kind == "b" else f"np.{value.name}")
    if isinstance(value, (np.integer, np.bool_)):
        value = value.item()
    if isinstance(value, (float, np.floating)):
        text = repr(value) if type(value) is float else str(value)
        return parsed(text.replace("inf", "np.inf").replace("nan", "np.nan"))
    return parsed(repr(value))


def whole(number: float) -> bool:
    """Whether a number may be written without its point."""
    return abs(number) < 1e6 and number == int(number)


def expression(step: Step, operands: Sequence[ast.expr], exact: bool) -> ast.expr:
    """What computes the step from the expressions of its operands."""
    if step.op in SPECIAL:
        return SPECIAL[step.op](step, operands, exact)
    if step.op in REDUCTIONS:
        return reduction(step, operands[0], exact)
    names = dict(zip("abcdefgh", operands))
    names.update((k, literal(v)) for k, v in step.attrs.items())
    op = OPS[step.op]
    text = (exact and op.exactly) or op.text
    if not text:
        text = f"np.{step.op}({', '.join('abcdefgh'[: len(operands)])})"
    if step.op in ("erf", "erfc"):
        names["dtype"] = literal(step.out.dtype)
    return fill(text, **names)


def call(function: ast.expr, *args: ast.expr, **keywords: Any) -> ast.expr:
    """function(*args, **keywords), with attributes as keywords; None and False are left out."""
    given = [
        ast.keyword(k, literal(v)) for k, v in keywords.items() if v is not None and v is not False
    ]
    return ast.Call(function, list(args), given)


def reduction(step: Step, x: ast.expr, exact: bool) -> ast.expr:
    """x.sum(axis=..., keepdims=...); exactly, the product with ones that eager code computes."""
    axis, keepdims = step.attrs["axis"], step.attrs["keepdims"]
    source = step.operands[0]
    by_product = exact and step.op == "sum" and not step.attrs.get("pairwise")
    found = table.as_matrix(source.shape, axis) if by_product else None
    if found and source.dtype.kind == "f":  # as table.sum decides
        shape, along = found
        ones = fill("np.ones(n, dtype)", n=literal(shape[along]), dtype=literal(source.dtype))
        rows = reshaped(x, source.shape, shape)
        row = fill("np.dot(a, b)", a=rows if along else ones, b=ones if along else rows)
        return reshaped(row, (shape[1 - along],), step.out.shape)
    if not exact and isinstance(axis, tuple) and len(axis) == 1:
        axis = axis[0]
    return call(ast.Attribute(x, step.op, ast.Load()), axis=axis, keepdims=keepdims)


def reshaped(x: ast.expr, before: tuple[int, ...] | None, after: tuple[Any, ...]) -> ast.expr:
    """x.reshape(...), if it changes the shape."""
    method = ast.Attribute(x, "reshape", ast.Load())
    return x if before == after else call(method, *map(literal, after))


def mean(step: Step, x: ast.expr) -> ast.expr:
    """The mean for a sum that is divided by the number of what it adds."""
    return reduction(step._replace(op="mean"), x, False)


def _reshape(step: Step, operands: Sequence[ast.expr], exact: bool) -> ast.expr:
    before, after = step.operands[0].shape, step.attrs["shape"]
    if not exact and after == (*before, 1) and len(before) == 1:
        return fill("a[:, None]", a=operands[0])
    if not exact and before == (*after, 1) and len(after) == 1:
        return fill("a[:, 0]", a=operands[0])
    if step.operands[0].scalar:
        return fill("np.reshape(a, shape)", a=operands[0], shape=literal(after))
    return reshaped(operands[0], None, after or ((),))


def _transpose(step: Step, operands: Sequence[ast.expr], exact: bool) -> ast.expr:
    axes = step.attrs["axes"]
    if axes == tuple(range(len(axes)))[::-1]:
        return fill("a.T", a=operands[0])
    return ast.Call(ast.Attribute(operands[0], "transpose", ast.Load()), [*map(literal, axes)], [])


def index_of(parts: tuple[Any, ...], arrays: Sequence[ast.expr]) -> ast.expr:
    """An index with its arrays."""
    rest = iter(arrays)
    while len(parts) > 1 and parts[-1] in (slice(None), slice(None, None, 1)) and ... not in parts:
        parts = parts[:-1]
    trees = [next(rest) if part is table.SLOT else literal(part) for part in parts]
    return trees[0] if len(trees) == 1 else ast.Tuple(trees, ast.Load())


def _take(step: Step, operands: Sequence[ast.expr], exact: bool) -> ast.expr:
    index = index_of(step.attrs["index"], operands[1:])
    return ast.Subscript(operands[0], index, ast.Load())


def _broadcast_to(step: Step, operands: Sequence[ast.expr], exact: bool) -> ast.expr:
    shape = literal(step.out.shape)
    if step.operands[0].shape:
        return fill("np.broadcast_to(a, shape)", a=operands[0], shape=shape)
    dtype = literal(np.dtype(step.out.dtype))
    return fill("np.full(shape, a, dtype)", a=operands[0], shape=shape, dtype=dtype)


def _pad(step: Step, operands: Sequence[ast.expr], exact: bool) -> ast.expr:
    value = step.attrs["value"]
    return call(
        parsed("np.pad"), operands[0], literal(step.attrs["widths"]),
        **({"constant_values": value} if value else {}),
    )  # fmt: skip


def _join(step: Step, operands: Sequence[ast.expr], exact: bool) -> ast.expr:
    parts = ast.List(list(operands), ast.Load())
    return call(parsed(f"np.{step.op}"), parts, axis=step.attrs["axis"])


def _einsum(step: Step, operands: Sequence[ast.expr], exact: bool) -> ast.expr:
    return call(parsed("np.einsum"), literal(step.attrs["spec"]), *operands, optimize=True)


def _astype(step: Step, operands: Sequence[ast.expr], exact: bool) -> ast.expr:
    dtype = literal(step.attrs["dtype"])
    if step.operands[0].shape:
        return fill("a.astype(dtype)", a=operands[0], dtype=dtype)
    return ast.Call(dtype, [operands[0]], [])


SPECIAL: dict[str, Callable[[Step, Sequence[ast.expr], bool], ast.expr]] = {
    "reshape": _reshape, "transpose": _transpose, "take": _take, "slice": _take,
    "broadcast_to": _broadcast_to, "full": _broadcast_to, "pad": _pad, "concatenate": _join,
    "stack": _join, "einsum": _einsum, "astype": _astype,
}  # fmt: skip


def at(name: str, index: ast.expr) -> str:
    """`name[index]`."""
    return ast.unparse(ast.Subscript(parsed(name), index, ast.Load()))


def block(
    step: Step, name: str, operands: Sequence[ast.expr], exact: bool, k: str = "k"
) -> list[str]:
    """The lines of an operation that fills an array that it has made. Loops count in k1, k2, ..."""
    texts = [ast.unparse(x) for x in operands]
    attrs = step.attrs
    zeros = f"{name} = np.zeros({step.out.shape}, {literal_dtype(step)})"
    if step.op == "put":
        index = index_of(attrs["index"], operands[2:])
        copied = fill("a.copy()" if step.out.shape else "np.array(a)", a=operands[0])
        return [f"{name} = {ast.unparse(copied)}", f"{at(name, index)} = {texts[1]}"]
    if step.op == "scatter":
        index = index_of(attrs["index"], operands[1:])
        if all(x.dtype == bool for x in step.operands[1:]):
            return [zeros, f"{at(name, index)} = {texts[0]}"]
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        sliced = any(isinstance(part, ast.Slice) for part in parts)
        where = at("np.s_", index) if sliced else ast.unparse(index)
        return [zeros, f"np.add.at({name}, {where}, {texts[0]})"]
    if step.op in LIKE and exact:  # its memory in the order of that operand's
        of = texts[LIKE[step.op]]
        zeros = f"{name} = np.zeros_like({of}, {literal_dtype(step)}, shape={step.out.shape})"
    if step.op == "like":
        return [zeros, f"{name}[...] = {texts[0]}"]
    if step.op in WINDOWS:
        return [zeros, *window_by_window(step, name, texts, k)]
    axes, window = attrs["axes"], attrs["window"]
    places = [f"{k}{i + 1}" for i in range(len(axes))]
    windows = fill(f"a[..., {', '.join(places)}]", a=operands[0])
    part = [":"] * len(step.out.shape)
    for axis, place in zip(axes, places):
        part[axis] = f"{place} : {place} + {step.operands[0].shape[axis]}"
    return [
        zeros,
        f"for {', '.join(places)} in np.ndindex{window if len(window) > 1 else f'({window[0]})'}:",
        f"    {name}[{', '.join(part)}] += {ast.unparse(windows)}",
    ]


LIKE = {"like": 1, "put_in_windows": 1, "sum_unpool": 0}


def literal_dtype(step: Step) -> str:
    """The dtype of a result, as Python writes it."""
    return ast.unparse(literal(step.out.dtype))


def window_by_window(step: Step, name: str, texts: list[str], k: str) -> list[str]:
    """The loop over the places in a window."""
    s = step.attrs
    size, stride, dilation = s["size"], s["stride"], s.get("dilation", (1, 1))
    axes, full = s.get("axes", (1, 2)), s.get("full", step.operands[0].shape)
    part = [":"] * len(full)
    counts = table.window_counts(full, axes, size, stride, dilation)
    first, second = f"{k}1", f"{k}2"
    for axis, place, n, by, d in zip(axes, (first, second), counts, stride, dilation):
        start = place if d == 1 else f"{d} * {place}"
        part[axis] = f"{start} : {start} + {(n - 1) * by + 1}{f' : {by}' if by > 1 else ''}"
    while part[-1] == ":":
        part.pop()
    a, b = texts[0], texts[-1]
    line = WINDOWS[step.op].format(
        y=name, part=f"[{', '.join(part)}]", place=f"{size[1]} * {first} + {second}", a=a, b=b, k=k
    )
    return [f"for {first}, {second} in np.ndindex({size[0]}, {size[1]}):", f"    {line}"]
