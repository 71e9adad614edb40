"""Passes that choose how values lie in memory. They change the order in which sums are added up.

A batch (N, C) of activations is kept feature by feature, (C, N): a bias is then added along long
rows, a maximum or a sum over the features of each sample runs over whole rows, and a row of ones
below the features lets the bias ride in the matrix product.
"""

from __future__ import annotations

from tinygrad_ce.program.ir import Program, Step, Var, common_dtype
from tinygrad_ce.program.ops import BITS, ELEMENTWISE
from tinygrad_ce.program.passes.exact import Rewriter, without_dead_steps

SWAP = (1, 0)


# --- relu -------------------------------------------------------------------------------------


def with_relus_recognised(program: Program) -> Program:
    """masked(x, ~(x ≤ 0)) is max(x, 0), and what it lets pass is read off its result.

    The same values, but for the sign of a zero.
    """
    return Rewriter(program).run(_relu, _relu_gradient)


def _relu_mask(r: Rewriter, keep: Var) -> Var | None:
    """x, if `keep` is ~(x ≤ 0)."""
    inverted = r.maker(keep, "invert")
    compared = r.maker(inverted.operands[0], "less_equal") if inverted else None
    if compared is None or r.number(compared.operands[1]) != 0.0:
        return None
    return compared.operands[0]


def _relu(r: Rewriter, step: Step) -> Step | None:
    if step.op != "masked" or step.out.dtype not in BITS:
        return None
    x, keep = step.operands
    return step._replace(op="relu", operands=(x,)) if _relu_mask(r, keep) is x else None


def _relu_gradient(r: Rewriter, step: Step) -> Step | None:
    if step.op != "masked" or step.out.dtype not in BITS or not step.out.shape:
        return None
    g, keep = step.operands
    x = _relu_mask(r, keep)
    y = next((s.out for s in r.steps if x and s.op == "relu" and s.operands[0] is x), None)
    if y is None or (g.shape, g.dtype) != (y.shape, y.dtype):
        return None
    bits = Var(y.shape, BITS[y.dtype], False)
    known = next((s.out for s in r.steps if s.op == "passes" and s.operands[0] is y), None)
    if known is None:
        r.add(step._replace(out=bits, op="passes", operands=(y,), settings={}))
    return step._replace(op="let_pass", operands=(g, known or bits))


# --- batches of batches as one -----------------------------------------------------------------


def with_flat_batches(program: Program) -> Program:
    """(B, T, C) @ (C, D) is one product of (B·T, C): leading axes are one long batch."""
    return Rewriter(program).run(_flat_product, _flat_elementwise, _flat_reduction)


def flattened(r: Rewriter, x: Var) -> Var:
    """x with all its leading axes as one."""
    c = x.shape[-1]
    n = x.size // c if c else 0
    before = r.maker(x, "reshape")
    if before is not None and before.operands[0].shape == (n, c):
        return before.operands[0]
    return r.make("reshape", (x,), Var((n, c), x.dtype, False), shape=(n, c))


def is_flat(r: Rewriter, x: Var) -> bool:
    """Whether x is a matrix with its rows laid out along several axes."""
    before = r.maker(x, "reshape")
    return (
        before is not None and len(x.shape) > 2 and len(before.operands[0].shape) == 2
        and before.operands[0].shape[1] == x.shape[-1] > 1
    )  # fmt: skip


def reshaped(r: Rewriter, step: Step, out: Var) -> Step:
    """The step that gives the flat result `out` the shape of the step's own."""
    return step._replace(op="reshape", operands=(out,), settings={"shape": step.out.shape})


def _flat_product(r: Rewriter, step: Step) -> Step | None:
    if step.op != "matmul" or len(step.out.shape) < 3:
        return None
    a, b = step.operands
    if len(b.shape) != 2 or len(a.shape) < 3 or not a.size:
        return None
    rows = flattened(r, a)
    out = Var((rows.shape[0], b.shape[1]), step.out.dtype, False, step.out.name)
    return reshaped(r, step, r.make("dot", (rows, b), out))


def _flat_elementwise(r: Rewriter, step: Step) -> Step | None:
    shape = step.out.shape
    if step.op not in ELEMENTWISE or len(shape) < 3:
        return None
    if not any(is_flat(r, x) for x in step.operands):
        return None
    if not all(x.shape in (shape, (), shape[-1:], (*shape[:-1], 1)) for x in step.operands):
        return None
    operands = tuple(flattened(r, x) if len(x.shape) == len(shape) else x for x in step.operands)
    n = step.out.size // shape[-1]
    out = Var((n, shape[-1]), step.out.dtype, False, step.out.name)
    r.add(step._replace(out=out, operands=operands))
    return reshaped(r, step, out)


def _flat_reduction(r: Rewriter, step: Step) -> Step | None:
    """Sums and maxima over the last axis, or over all but it."""
    if step.op not in ("sum", "max", "min") or not step.out.shape:
        return None
    (x,) = step.operands
    axis, n = step.settings["axis"], len(x.shape)
    if axis is None or n < 3 or not x.size:
        return None
    axes = {a % n for a in (axis if isinstance(axis, tuple) else (axis,))}
    if axes == {n - 1}:
        flat_axis, count = 1, x.size // x.shape[-1]
    elif axes == set(range(n - 1)):
        flat_axis, count = 0, x.shape[-1]
    else:
        return None
    rows = flattened(r, x)
    flat = r.make(step.op, (rows,), Var((count,), x.dtype, False), axis=flat_axis, keepdims=False)
    return reshaped(r, step, flat)


# --- feature by feature -----------------------------------------------------------------------

LINKED = frozenset(ELEMENTWISE)  # operations whose operands and result want one layout
TURNABLE = LINKED | {"dot", "inner", "scatter"}  # operations that can make a turned result


def feature_major(program: Program) -> Program:
    """Keep batches (N, C) as (C, N) where biases are added or features are reduced."""
    turned = values_to_turn(program)
    return Turner(program, turned).run() if turned else program


def values_to_turn(program: Program) -> set[Var]:
    """The matrices that are better kept with their axes exchanged, with all that meets them in
    elementwise operations.
    """
    makers = program.makers()
    parent: dict[Var, Var] = {}

    def root(x: Var) -> Var:
        while parent.setdefault(x, x) is not x:
            x = parent[x]
        return x

    for step in program.steps:
        if step.op in LINKED and len(step.out.shape) == 2:
            for x in step.operands:
                if x.shape == step.out.shape:
                    parent[root(x)] = root(step.out)
    fixed = {s.before for s in program.states} | {s.after for s in program.states}
    fixed |= {k.var for k in program.kept if k.var is not None}
    refused, wished = set(), set()
    for step in program.steps:
        first = step.operands[0] if step.operands else step.out
        if adds_bias(step, makers):
            wished.add(root(step.out))
        elif step.op in ("max", "sum") and reduces_features(step):
            wished.add(root(first))
    for step in program.steps:
        first = step.operands[0] if step.operands else step.out
        matrix = len(first.shape) == 2 and 1 not in first.shape
        if step.op == "reshape" and first in parent and matrix:
            refused.add(root(first))  # of a turned matrix that would be a copy
    for x in list(parent):
        maker = makers.get(x)
        if x in fixed or (maker is not None and not turnable(maker)):
            refused.add(root(x))
    return {x for x in parent if root(x) in wished - refused and x in makers}


def turnable(step: Step) -> bool:
    """Whether a step can make its result with the axes exchanged."""
    if step.op == "scatter":  # x[rows, columns] is xᵀ[columns, rows]; x[rows] is no such thing
        return len(step.operands) == 3 and len(step.settings["index"]) == 2
    return step.op in TURNABLE


def adds_bias(step: Step, makers: dict[Var, Step]) -> bool:
    """Whether a step adds one number for each feature to a product."""
    shape = step.out.shape
    if step.op != "add" or len(shape) != 2:
        return False
    products = [x for x in step.operands if x in makers and makers[x].op in ("dot", "inner")]
    return bool(products) and any(x.shape in (shape[1:], (1, shape[1])) for x in step.operands)


def reduces_features(step: Step) -> bool:
    """Whether a step takes the maximum or the sum over the features of each of many samples."""
    x = step.operands[0]
    return len(x.shape) == 2 and step.settings["axis"] in (1, -1) and x.shape[0] > x.shape[1]


class Turner:
    """Writes the steps again with some values turned."""

    def __init__(self, program: Program, turned: set[Var]) -> None:
        self.program = program
        self.turned = turned
        self.now: dict[Var, Var] = {}  # a turned value -> what is computed instead
        self.natural: dict[Var, Var] = {}  # a turned value -> the view of it as it was
        self.steps: list[Step] = []
        self.here: Step

    def run(self) -> Program:
        """The program with turned values."""
        for step in self.program.steps:
            self.here = step
            out = self.now_of(step.out) if step.out in self.turned else step.out
            if step.out in self.turned:
                self.steps.append(self.turn(step)._replace(out=out))
            else:
                self.keep(step)
        renamed = {}
        for x in self.program.roots():
            if x in self.turned:
                self.here = self.program.makers()[x]
                renamed[x] = self.as_was(x)
        program = self.program.with_steps(self.steps, renamed)
        return without_dead_steps(program)

    def now_of(self, x: Var) -> Var:
        """What is computed in the place of a value."""
        if x not in self.now:
            self.now[x] = Var(x.shape[::-1], x.dtype, False, x.name)
        return self.now[x]

    def add(
        self, op: str, operands: tuple[Var, ...], size: tuple[int, ...], **settings: object
    ) -> Var:
        """A new step."""
        out = Var(size, common_dtype(operands), False)
        self.steps.append(self.here._replace(out=out, op=op, operands=operands, settings=settings))
        return out

    def as_was(self, x: Var) -> Var:
        """A value in its natural layout."""
        if x not in self.turned:
            return x
        if x not in self.natural:
            self.natural[x] = self.exchanged(self.now[x])
        return self.natural[x]

    def other_way(self, x: Var) -> Var:
        """A matrix with its axes exchanged."""
        return self.now[x] if x in self.turned else self.exchanged(x)

    def exchanged(self, x: Var) -> Var:
        """A step that exchanges the axes of a matrix."""
        shape = x.shape[::-1]
        if 1 in shape:
            return self.add("reshape", (x,), shape, shape=shape)
        return self.add("transpose", (x,), shape, axes=SWAP)

    def turn(self, step: Step) -> Step:
        """The step that makes the turned result."""
        if step.op == "inner":  # (N, k), (C, k): a bᵀ, turned b aᵀ
            a, b = step.operands
            if a in self.turned:
                return step._replace(op="dot", operands=(self.as_was(b), self.now[a]))
            return step._replace(op="inner", operands=(self.as_was(b), a))
        if step.op == "dot":
            a, b = step.operands
            return step._replace(operands=(self.other_way(b), self.other_way(a)))
        if step.op == "scatter":
            value, *arrays = step.operands
            settings = {**step.settings, "shape": step.settings["shape"][::-1]}
            return step._replace(operands=(value, *arrays[::-1]), settings=settings)
        operands = tuple(self.beside(x, step.out) for x in step.operands)
        return step._replace(operands=operands)

    def beside(self, x: Var, out: Var) -> Var:
        """An operand of an elementwise operation as the turned result needs it."""
        if not x.shape:
            return x
        if len(x.shape) == 1:
            return self.add("reshape", (x,), (x.shape[0], 1), shape=(x.shape[0], 1))
        return self.other_way(x)

    def keep(self, step: Step) -> None:
        """A step whose result keeps its layout, though an operand may be turned."""
        x = step.operands[0] if step.operands else None
        if x not in self.turned or x is None:
            self.steps.append(step._replace(operands=tuple(map(self.as_was, step.operands))))
            return
        now, settings, out = self.now[x], step.settings, step.out
        if step.op == "transpose":
            self.steps.append(
                step._replace(op="reshape", operands=(now,), settings={"shape": out.shape})
            )
        elif step.op in ("sum", "max", "min") and settings["axis"] in (0, 1, -1, (0,), (1,)):
            axis = settings["axis"]
            axis = 1 - (axis[0] if isinstance(axis, tuple) else axis) % 2
            flat = self.add(step.op, (now,), (now.shape[1 - axis],), axis=axis, keepdims=False)
            self.steps.append(
                step._replace(op="reshape", operands=(flat,), settings={"shape": out.shape})
            )
        elif step.op == "sum" and settings["axis"] is None:
            self.steps.append(step._replace(operands=(now,)))
        elif step.op == "take" and len(step.operands) == 3 and len(settings["index"]) == 2:
            _, rows, columns = step.operands
            self.steps.append(step._replace(operands=(now, columns, rows)))
        elif step.op == "reshape" and 1 in x.shape:
            self.steps.append(step._replace(operands=(now,)))
        elif step.op in ("argmax", "argmin") and settings["axis"] in (0, 1, -1):
            axis = 1 - settings["axis"] % 2
            flat = Var((now.shape[1 - axis],), out.dtype, False)
            self.steps.append(
                step._replace(out=flat, operands=(now,), settings={"axis": axis, "keepdims": False})
            )
            self.steps.append(
                step._replace(op="reshape", operands=(flat,), settings={"shape": out.shape})
            )
        else:
            self.steps.append(step._replace(operands=tuple(map(self.as_was, step.operands))))
