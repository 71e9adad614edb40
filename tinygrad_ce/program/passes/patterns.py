"""Rules as lines of mathematics: `rules("x * 1 -> x", "-a * -b -> a * b")`.

Both sides are Python expressions; functions have the names of operations. On the left

    x        is any value, the same name the same value; j and k are constant numbers
    c * x    is k * x, x * k, x / k or -x, and c or d the factor
    (q := e) gives a part a name
    truth(t) is t, or t as a number

and a sum, a product or a comparison for equality has its operands in any order. On the right
numbers are computed, and known(e) is e where that is computed already, and stays: else the rule
says nothing.
Settings are those of the step of the same operation on the left. What must hold stands behind
`if`, with numbers as floats, values as Vars, and `out` for the result.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tinygrad_ce.program.ir import Step, Var, common_dtype
from tinygrad_ce.program.ops import ELEMENTWISE
from tinygrad_ce.program.passes.rewriter import Rewriter, Rule, same_form

OPERATORS: dict[type, str] = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide",
    ast.Pow: "power", ast.USub: "negative", ast.Invert: "invert", ast.GtE: "greater_equal",
    ast.Gt: "greater", ast.LtE: "less_equal", ast.Lt: "less", ast.Eq: "equal",
    ast.NotEq: "not_equal",
}  # fmt: skip
COMMUTE = ("add", "multiply", "maximum", "minimum", "equal")
TRUTHS = ("greater_equal", "greater", "less_equal", "less", "equal", "not_equal", "invert")
FACTORS = ("c", "d")
NUMBERS = ("j", "k", *FACTORS, "round")
Found = dict[str, Any]  # name -> Var or float; "sum()" -> attributes of a sum


def rules(
    *lines: str, free: bool = False, when: Callable[[Step], bool] = lambda _: True
) -> tuple[Rule, ...]:
    """The rules of some lines, for steps for which `when` holds; `free` if what is between the
    result and the names on the left must have no name and no other reader.
    """
    return tuple(rule(line, free, when) for line in lines)


def rule(line: str, free: bool, when: Callable[[Step], bool]) -> Rule:
    """The rule of a line."""
    line, _, condition = line.partition(" if ")
    left, right = (ast.parse(side.strip(), mode="eval").body for side in line.split("->"))
    op, operands = parts(left)
    after = frozenset(head for tree in operands if (head := made_by(tree)))
    return Rule(Pattern(left, right, condition, free, when).apply, frozenset({op}), after)


@cache
def parts(tree: ast.expr) -> tuple[str, list[ast.expr]]:
    """The operation of an expression, and its operands."""
    if isinstance(tree, ast.BinOp):
        return OPERATORS[type(tree.op)], [tree.left, tree.right]
    if isinstance(tree, ast.UnaryOp):
        return OPERATORS[type(tree.op)], [tree.operand]
    if isinstance(tree, ast.Compare):
        return OPERATORS[type(tree.ops[0])], [tree.left, tree.comparators[0]]
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        return tree.func.id, tree.args
    raise ValueError(f"no operation: {ast.unparse(tree)}")


def made_by(tree: ast.expr) -> str:
    """The operation that must have made a part, "number" for a number, "" where any may have."""
    if isinstance(tree, ast.NamedExpr):
        return made_by(tree.value)
    if is_number(tree):
        return "number"
    if isinstance(tree, ast.Name) or is_scaled(tree) or parts(tree)[0] == "truth":
        return ""
    return parts(tree)[0]


@cache
def is_number(tree: ast.expr) -> bool:
    """Whether an expression is made of numbers alone."""
    return all(node.id in NUMBERS for node in ast.walk(tree) if isinstance(node, ast.Name))


@cache
def is_scaled(tree: ast.expr) -> bool:
    """Whether an expression is a factor times another."""
    left = tree.left if isinstance(tree, ast.BinOp) else None
    return isinstance(left, ast.Name) and left.id in FACTORS


@dataclass(frozen=True)
class Pattern:
    """What a rule does with a step."""

    left: ast.expr
    right: ast.expr
    condition: str
    free: bool
    when: Callable[[Step], bool]

    def apply(self, r: Rewriter, step: Step) -> Var | Step | None:
        """What stands on the right, if the step is what stands on the left."""
        if not self.when(step):
            return None
        for found in self.ways_of(r, step, self.left, {}):
            names = {**found, **CONDITIONS, "out": step.out, "number": r.number}
            if not self.condition or eval(self.condition, names):
                new = self.made(r, self.right, found, step.out, step.out)
                if isinstance(new, Step):
                    return None if new[1:3] == step[1:3] else new
                return new if new is not None and same_form(new, step.out) else None
        return None

    # --- the left side

    def ways(self, r: Rewriter, x: Var, tree: ast.expr, found: Found) -> Iterator[Found]:
        """Every way in which x is what the expression says."""
        if isinstance(tree, ast.Name):
            value = r.number(x) if tree.id in NUMBERS else x
            if value is not None and found.get(tree.id, value) == value:
                yield {**found, tree.id: value, f"{tree.id} as it is": x}
        elif isinstance(tree, ast.Constant):
            if r.number(x) == tree.value:
                yield found
        elif isinstance(tree, ast.NamedExpr):
            for way in self.ways(r, x, tree.value, found):
                yield from self.ways(r, x, tree.target, way)
        elif isinstance(tree, ast.BinOp) and is_scaled(tree):
            factor, y = factor_of(r, x)
            name = ast.unparse(tree.left)
            if factor != 1.0 and found.get(name, factor) == factor:
                yield from self.ways(r, y, tree.right, {**found, name: factor})
        elif parts(tree)[0] == "truth":
            cast = r.maker(x, "astype")
            yield from self.ways(r, cast.operands[0] if cast else x, parts(tree)[1][0], found)
        else:
            step = r.makers.get(x)
            if step is not None and (not self.free or r.is_free(x)):
                yield from self.ways_of(r, step, tree, found)

    def ways_of(self, r: Rewriter, step: Step, tree: ast.expr, found: Found) -> Iterator[Found]:
        """Every way in which a step is what the expression says."""
        op, trees = parts(tree)
        if step.op != op or len(step.operands) != len(trees):
            return
        orders = [step.operands, step.operands[::-1]] if op in COMMUTE else [step.operands]
        for operands in orders:
            ways = [{f"{op}()": step.attrs, **found}]
            for x, part in zip(operands, trees):
                ways = [more for way in ways for more in self.ways(r, x, part, way)]
            yield from ways

    # --- the right side

    def made(
        self, r: Rewriter, tree: ast.expr, found: Found, like: Var, out: Var | None = None,
        known: bool = False,
    ) -> Any:  # fmt: skip
        """The value of an expression, made if it is not there; with `out`, the step that makes it.

        None if there is none. Numbers get the dtype of what they meet, at first that of `like`.
        """
        if isinstance(tree, ast.Name) and f"{tree.id} as it is" in found:
            return found[f"{tree.id} as it is"]
        if is_number(tree):
            return r.typed(float(eval(ast.unparse(tree), dict(found))), like)
        op, trees = parts(tree)
        if op == "known":
            return self.made(r, trees[0], found, like, known=True)
        if op == "multiply" and is_number(trees[0]):
            factor = eval(ast.unparse(trees[0]), dict(found))
            if abs(factor) == 1.0:
                op, trees = "negative", trees[1:]
                if factor == 1.0:
                    return self.made(r, trees[0], found, like, out, known)
        values = {t: self.made(r, t, found, like, known=known) for t in trees if not is_number(t)}
        if None in values.values():
            return None
        floats = [x for x in values.values() if x.dtype is not None and x.dtype.kind == "f"]
        met = next(iter([out] if out is not None and is_float(out) else floats), like)
        operands = tuple(values[t] if t in values else self.made(r, t, found, met) for t in trees)
        step = self.step(r, op, operands, found, like, out)
        if step is None or out is not None:
            return step
        if not known:
            return r.put(step)
        there = r.there(step)
        return None if there is None or (self.free and r.is_free(there)) else there

    def step(
        self, r: Rewriter, op: str, operands: tuple[Var, ...], found: Found, like: Var,
        out: Var | None,
    ) -> Step | None:  # fmt: skip
        """The step that computes an operation; None if that is no float, or not `out`'s form."""
        attrs = found.get(f"{op}()", {})
        numbers = all(x.dtype is None for x in operands)
        dtype = np.dtype(bool) if op in TRUTHS else None if numbers else common_dtype(operands)
        shape = like.shape
        if op in ELEMENTWISE:
            shape = np.broadcast_shapes(*(x.shape for x in operands))
        new = Var(shape, dtype, not shape)
        if out is not None and not same_form(new, out):
            return None
        if op not in TRUTHS and is_float(like) and not is_float(new):
            return None
        return r.like_here(out or new, op, operands, attrs)


def is_float(x: Var) -> bool:
    """Whether a value is an array of floats or a Python number."""
    return x.dtype is None or x.dtype.kind == "f"


def is_whole(x: float) -> bool:
    """Whether a number is 2, 3, ..., but for rounding."""
    return math.isfinite(x) and round(x) > 1 and math.isclose(x, round(x), rel_tol=1e-6)


CONDITIONS = {"is_float": is_float, "is_whole": is_whole}


def factor_of(r: Rewriter, x: Var) -> tuple[float, Var]:
    """(c, y) with x = c·y; a value with a name or several readers stays whole."""
    step = r.makers.get(x)
    if step is None or not r.is_free(x) or not is_float(x):
        return 1.0, x
    if step.op == "negative":
        return -1.0, step.operands[0]
    if step.op in ("multiply", "divide"):
        a, b = step.operands
        if step.op == "multiply" and (c := r.number(a)) is not None and b.shape == x.shape:
            return c, b
        if (c := r.number(b)) and a.shape == x.shape:
            return c if step.op == "multiply" else 1 / c, a
    return 1.0, x
