"""Passes that choose how values lie in memory. They change the order in which sums are added up.

Where relu stands, and in which order the axes lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tinygrad_ce.engine.table import inverse
from tinygrad_ce.program.ir import Program, Step, Var, common_dtype
from tinygrad_ce.program.ops import BITS, ELEMENTWISE
from tinygrad_ce.program.passes.exact import reduced_axes, without_dead_steps
from tinygrad_ce.program.passes.rewriter import Rewriter, on, same_form

Axes = tuple[int, ...]


# --- relu -------------------------------------------------------------------------------------


def with_relus_recognised(program: Program) -> Program:
    """What a relu lets pass is read off the bits of its result."""
    return Rewriter(program).run(_relu_gradient)


@on("masked", after="not_equal")
def _relu_gradient(r: Rewriter, step: Step) -> Step | None:
    if step.out.dtype not in BITS or not step.out.shape:
        return None
    g, mask = step.operands
    compared = r.maker(mask, "not_equal")
    y, zero = compared.operands if compared else (g, mask)
    if r.number(zero) != 0 or not r.maker(y, "relu") or not same_form(g, y):
        return None
    bits = r.make("relu_mask", (y,), Var(y.shape, BITS[y.dtype], False))
    return step._replace(op="relu_grad", operands=(g, bits))


def with_relus_after_pools(program: Program) -> Program:
    """max_pool(relu(x)) is relu(max_pool(x)), of fewer elements; so is its gradient.

    Where the maximum is > 0, or nan, the same element has it; where it is not, nothing passes.
    """
    readers: dict[Var, list[str]] = {}
    for step in program.steps:
        for x in step.operands:
            readers.setdefault(x, []).append(step.op)
    for x in program.roots():
        readers.setdefault(x, []).append("root")

    @on("max_pool", after="relu")
    def pool(r: Rewriter, step: Step) -> Step | None:
        before, others = r.makers[step.operands[0]], readers[step.operands[0]]
        if others.count("max_pool") != 1 or set(others) - {"max_pool", "argmax_pool", "relu_mask"}:
            return None
        largest = r.make("max_pool", before.operands, step.out, **step.attrs)
        return step._replace(op="relu", operands=(largest,), attrs={})

    return Rewriter(program).run(pool, _gradient_of_relu_and_pool)


@on("relu_grad", after="put_in_windows")
def _gradient_of_relu_and_pool(r: Rewriter, step: Step) -> Step | None:
    put = r.maker(step.operands[0], "put_in_windows")
    passes = r.maker(step.operands[1], "relu_mask") if put else None
    best = r.maker(put.operands[1], "argmax_pool") if put and passes else None
    if put is None or passes is None or best is None or best.operands[0] is not passes.operands[0]:
        return None
    y, z = best.operands
    before, after = r.maker(y, "relu"), r.maker(z, "relu")
    largest = r.maker(after.operands[0], "max_pool") if after else None
    if before is None or largest is None or largest.operands != before.operands:
        return None
    bits = r.make("relu_mask", (z,), Var(z.shape, passes.out.dtype, False))
    g = r.make("relu_grad", (put.operands[0], bits), put.operands[0])
    operands = (before.operands[0], largest.out)
    where = r.make("argmax_pool", operands, best.out, **best.attrs)
    return put._replace(out=step.out, operands=(g, where))


# --- axes in another order --------------------------------------------------------------------
#
# A batch (N, C) of activations is kept feature by feature, (C, N), where a maximum or a sum over
# the features of each sample is taken: it runs over whole rows then. Images (N, C, H, W) are kept
# as (C, H, W, N), as a convolution makes them: copying windows is copying long runs of memory, and
# pooling compares whole rows of samples.

SWAP = (1, 0)
LAST = (1, 2, 3, 0)  # (N, C, H, W) -> (C, H, W, N)
FIRST = (3, 0, 1, 2)
POOLS = frozenset(
    ["max_pool", "argmax_pool", "put_in_windows", "take_in_windows", "sum_pool", "sum_unpool"]
)
LINKED = POOLS | frozenset(ELEMENTWISE)  # operations whose operands and result want one layout
TRANSPOSABLE = LINKED | {"dot", "inner", "scatter"}  # operations that can make a matrix transposed
REDUCTIONS = ("sum", "max", "min", "argmax", "argmin")


def with_best_layouts(program: Program) -> Program:
    """Keep matrices feature by feature, and images with the batch last, where that pays."""
    wanted = wanted_layouts(program)
    return Layouts(program, wanted).run() if wanted else program


def wanted_layouts(program: Program) -> dict[Var, Axes]:
    """The values that are better computed in another layout, with all that meets them in
    elementwise operations: x is then t.transpose(axes) of what is computed.
    """
    makers = program.makers()
    parent: dict[Var, Var] = {}

    def root(x: Var) -> Var:
        while parent.setdefault(x, x) is not x:
            x = parent[x]
        return x

    for step in program.steps:
        if step.op in LINKED and len(step.out.shape) in (2, 4):
            for x in step.operands:
                if x.shape == step.out.shape or step.op in POOLS:
                    parent[root(x)] = root(step.out)
    wishes = {root(x): axes for step in program.steps for x, axes in wish(step)}
    fixed = {s.before for s in program.states} | {s.after for s in program.states}
    fixed |= {k.var for k in program.grads if k.var is not None}
    refused = set()
    for step in program.steps:
        first = step.operands[0] if step.operands else step.out
        if step.op == "reshape" and len(first.shape) == 2 and 1 not in first.shape:
            refused.add(root(first))  # of a transposed matrix that would be a copy
    for x in list(parent):
        maker = makers.get(x)
        if len(x.shape) == 2 and (x in fixed or (maker is not None and not transposable(maker))):
            refused.add(root(x))
    roots = wishes.keys() - refused
    return {x: wishes[root(x)] for x in parent if root(x) in roots and x in makers}


def wish(step: Step) -> Iterator[tuple[Var, Axes]]:
    """The values that a step wants in another layout."""
    first = step.operands[0] if step.operands else step.out
    if step.op in ("max", "sum") and reduces_features(step):
        yield first, SWAP
    elif step.op == "transpose" and step.attrs["axes"] == LAST:
        yield first, FIRST
    elif step.op == "transpose" and step.attrs["axes"] == FIRST:
        yield step.out, FIRST


def transposable(step: Step) -> bool:
    """Whether a step can make its result with the axes exchanged."""
    if step.op == "scatter":  # x[rows, columns] is xᵀ[columns, rows]; x[rows] is no such thing
        return len(step.operands) == 3 and len(step.attrs["index"]) == 2
    return step.op in TRANSPOSABLE


def reduces_features(step: Step) -> bool:
    """Whether a step takes the maximum or the sum over the features of each of many samples."""
    x = step.operands[0]
    return len(x.shape) == 2 and step.attrs["axis"] in (1, -1) and x.shape[0] > x.shape[1]


def permuted(parts: Sequence[Any], axes: Axes) -> tuple[Any, ...]:
    """What belongs to each axis, for the axes in another order."""
    return tuple(parts[a] for a in axes)


def in_order(axes: Axes) -> bool:
    """Whether nothing is moved."""
    return axes == tuple(range(len(axes)))


class Layouts:
    """Writes the steps again, some values with their axes in another order.

    `stored[x] = (t, axes)` says that x is t.transpose(axes), and that t is computed. A step that no
    rule knows is given x itself: what is not understood costs a copy, and is never wrong.
    """

    def __init__(self, program: Program, wanted: dict[Var, Axes]) -> None:
        self.program = program
        self.wanted = wanted
        self.makers = program.makers()
        self.uses = program.uses()
        self.stored: dict[Var, tuple[Var, Axes]] = {}
        self.known: dict[tuple[Var, Axes], Var] = {}
        self.steps: list[Step] = []
        self.here: Step

    def run(self) -> Program:
        """The program in its new layouts."""
        for step in self.program.steps:
            self.here = step
            rule = RULES.get(step.op, _elementwise if step.op in ELEMENTWISE else None)
            made = rule(self, step) if rule is not None else None
            if made is not None:
                self.stored[step.out] = made
            else:
                self.steps.append(step._replace(operands=tuple(map(self.as_it_was, step.operands))))
        renamed = {}
        for x in self.program.roots():
            if x in self.stored:
                self.here = self.makers[x]
                renamed[x] = self.as_it_was(x)
        renamed = {x: y for x, y in renamed.items() if x is not y}
        return without_dead_steps(self.program.with_steps(self.steps, renamed))

    def add(
        self, op: str, operands: tuple[Var, ...], shape: tuple[int, ...], /, **attrs: Any
    ) -> Var:
        """A new step."""
        out = Var(shape, common_dtype(operands), False)
        self.steps.append(self.here._replace(out=out, op=op, operands=operands, attrs=attrs))
        return out

    def rewritten(self, step: Step, operands: tuple[Var, ...], axes: Axes, /, **attrs: Any) -> Var:
        """The step on other operands, its result with the axes in another order."""
        shape = permuted(step.out.shape, inverse(axes))
        out = Var(shape, step.out.dtype, False, step.out.name)
        attrs = {**step.attrs, **attrs}
        self.steps.append(step._replace(out=out, operands=operands, attrs=attrs))
        return out

    def reshape(self, x: Var, shape: tuple[int, ...]) -> Var:
        """x in another shape."""
        return x if x.shape == shape else self.add("reshape", (x,), shape, shape=shape)

    def transpose(self, x: Var, axes: Axes) -> Var:
        """x with its axes in another order: a reshape, if only axes of size 1 move."""
        shape = permuted(x.shape, axes)
        moved = [a for a in axes if x.shape[a] != 1]
        if moved == sorted(moved):
            return self.reshape(x, shape)
        return self.add("transpose", (x,), shape, axes=axes)

    # --- from one layout to another

    def as_it_was(self, x: Var) -> Var:
        """The value in its own layout."""
        t, axes = self.stored.get(x, (x, ()))
        return x if t is x else self.transposed(t, axes)

    def in_layout(self, x: Var, axes: Axes) -> Var:
        """The t of which x is t.transpose(axes)."""
        t, own = self.stored.get(x, (x, ()))
        return t if own == axes else self.transposed(self.as_it_was(x), inverse(axes))

    def transposed(self, x: Var, axes: Axes) -> Var:
        """x with its axes in another order, made once."""
        if (x, axes) not in self.known:
            self.known[x, axes] = self.transpose(x, axes)
        return self.known[x, axes]

    def layout_of(self, step: Step, operands: Sequence[Var]) -> Axes | None:
        """The layout for a result: the one it should have, or that of an operand."""
        if step.out in self.wanted:
            return self.wanted[step.out]
        known = (self.stored[x][1] for x in operands if x in self.stored)
        return next((axes for axes in known if not in_order(axes)), None)

    def beside(self, x: Var, out: Var, axes: Axes) -> Var:
        """An operand of an elementwise operation, as the result in this layout needs it."""
        if not x.shape:
            return x
        if len(x.shape) == len(out.shape):
            return self.in_layout(x, axes)
        ones = (1,) * (len(out.shape) - len(x.shape))
        return self.transpose(self.reshape(self.as_it_was(x), ones + x.shape), inverse(axes))


Stored = tuple[Var, Axes]


def _elementwise(b: Layouts, step: Step) -> Stored | None:
    axes = b.layout_of(step, [x for x in step.operands if x.shape == step.out.shape])
    if axes is None:
        return None
    return b.rewritten(step, tuple(b.beside(x, step.out, axes) for x in step.operands), axes), axes


def _pool(b: Layouts, step: Step) -> Stored | None:
    axes = b.layout_of(step, step.operands)
    if axes is None:
        return None
    attrs = {"axes": permuted(axes, step.attrs["axes"])}
    if "full" in step.attrs:
        attrs["full"] = permuted(step.attrs["full"], inverse(axes))
    operands = tuple(b.in_layout(x, axes) for x in step.operands)
    return b.rewritten(step, operands, axes, **attrs), axes


def _transpose(b: Layouts, step: Step) -> Stored | None:
    (x,), axes = step.operands, step.attrs["axes"]
    if x in b.stored:
        t, own = b.stored[x]
        return t, permuted(own, axes)
    return (x, axes) if b.wanted.get(step.out) == axes else None


def _product(b: Layouts, step: Step) -> Stored | None:
    """(a b)ᵀ is bᵀ aᵀ, and (a bᵀ)ᵀ is b aᵀ."""
    if b.wanted.get(step.out) != SWAP:
        return None
    return transposed_product(b, step), SWAP


def transposed_product(b: Layouts, step: Step) -> Var:
    """The product with its axes exchanged."""
    left, right = step.operands
    if step.op == "dot":
        operands = (b.in_layout(right, SWAP), b.in_layout(left, SWAP))
    elif left in b.stored:
        operands = (b.as_it_was(right), b.in_layout(left, SWAP))
    else:
        return b.add("inner", (b.as_it_was(right), left), step.out.shape[::-1])
    return b.add("dot", operands, step.out.shape[::-1])


def _reduction(b: Layouts, step: Step) -> Stored | None:
    """Over some axes: those axes where they are now."""
    (x,), axis = step.operands, step.attrs["axis"]
    if x not in b.stored or in_order(b.stored[x][1]) or (axis is not None and not step.out.shape):
        return None
    t, axes = b.stored[x]
    if axis is None:
        if step.op.startswith("arg"):
            return None  # the number of an element in another order
        b.steps.append(step._replace(operands=(t,)))
        return step.out, tuple(range(len(step.out.shape)))
    given = reduced_axes(step)
    over = tuple(sorted(axes[a] for a in given))
    rest = [axes[a] for a in range(len(axes)) if a not in given]
    if over == tuple(range(over[0], len(axes))):  # one long row
        t, over = b.reshape(t, (*t.shape[: over[0]], math.prod(t.shape[over[0] :]))), over[:1]
    out = Var(tuple(n for a, n in enumerate(t.shape) if a not in over), step.out.dtype, False)
    attrs = {"axis": over[0] if len(over) == 1 else over, "keepdims": False}
    attrs = {**step.attrs, **attrs}
    b.steps.append(step._replace(out=out, operands=(t,), attrs=attrs))
    total = b.transpose(out, tuple(sorted(rest).index(a) for a in rest))
    shape = step.out.shape
    return b.reshape(total, shape), tuple(range(len(shape)))


def _reshape(b: Layouts, step: Step) -> Stored | None:
    """(N, C, H, W) -> (N, ...): the leading axes stay, the others become others; and back."""
    (x,), shape = step.operands, step.out.shape
    if x not in b.stored:
        if b.wanted.get(step.out) != FIRST or len(x.shape) != 2 or x.shape[0] != shape[0]:
            return None
        made = b.makers.get(x)
        product = made is not None and made.op == "dot" and b.uses[x] == 1
        t = transposed_product(b, made) if product and made is not None else b.in_layout(x, SWAP)
        return b.reshape(t, permuted(shape, LAST)), FIRST
    t, axes = b.stored[x]
    n, first = len(axes), axes[0]
    k = n - first  # leading axes of x, which are the last ones of t
    if axes != (*range(first, n), *range(first)) or shape[:k] != x.shape[:k] or not step.out.size:
        return None
    rest = len(shape) - k
    return b.reshape(t, (*shape[k:], *shape[:k])), (*range(rest, rest + k), *range(rest))


def _pad(b: Layouts, step: Step) -> Stored | None:
    """The same of the axes in another order."""
    (x,) = step.operands
    if x not in b.stored:
        return None
    t, axes = b.stored[x]
    widths = permuted(step.attrs["widths"], inverse(axes))
    return b.rewritten(step, (t,), axes, widths=widths), axes


def _scatter(b: Layouts, step: Step) -> Stored | None:
    """x[rows, columns] of a matrix is xᵀ[columns, rows]."""
    if b.wanted.get(step.out) != SWAP or len(step.operands) != 3:
        return None
    value, rows, columns = map(b.as_it_was, step.operands)
    shape = step.attrs["shape"][::-1]
    return b.rewritten(step, (value, columns, rows), SWAP, shape=shape), SWAP


def _take(b: Layouts, step: Step) -> Stored | None:
    x, *arrays = step.operands
    if len(arrays) != 2 or len(step.attrs["index"]) != 2 or b.stored.get(x, ((), ()))[1] != SWAP:
        return None
    rows, columns = map(b.as_it_was, arrays)
    b.steps.append(step._replace(operands=(b.stored[x][0], columns, rows)))
    return step.out, tuple(range(len(step.out.shape)))


def _concatenated(b: Layouts, step: Step) -> Stored | None:
    axes = b.layout_of(step, step.operands)
    if axes is None or not all(b.stored.get(x, (x, ()))[1] == axes for x in step.operands):
        return None
    axis = axes[step.attrs["axis"] % len(axes)]
    return b.rewritten(step, tuple(b.stored[x][0] for x in step.operands), axes, axis=axis), axes


RULES: dict[str, Callable[[Layouts, Step], Stored | None]] = {
    "transpose": _transpose, "reshape": _reshape, "dot": _product, "inner": _product,
    "scatter": _scatter, "take": _take, "concatenate": _concatenated, "pad": _pad,
    **dict.fromkeys(POOLS, _pool), **dict.fromkeys(REDUCTIONS, _reduction),
}  # fmt: skip
