"""What goes wrong in a backward pass, as changes of one place in one line.

`changes(line, ...)` gives every line that a person could have written by one slip instead of the
right one. Which of them a person did write is found by running them: hunt.py.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache, reduce
from itertools import combinations
from typing import Any

import numpy as np

from tinygrad_ce.autograd.slips import FAULTS as FAULTS
from tinygrad_ce.program.listing.expressions import filled
from tinygrad_ce.teach.book import Line, Values, names_in, text


class Change:
    """One line written otherwise: the kind of slip, what is said about it, and where it is."""

    def __init__(self, line: Line, tree: ast.Module, place: int, kind: str, *words: Any) -> None:
        self.line, self.place, self.kind = line, place, kind
        self.now = Line(line.name, tree, scope=line.scope, root=line.root)
        self.template, *self.parts = words

    @classmethod
    def to(cls, line: Line, code: str, kind: str, *words: Any) -> Change:
        """Another expression for all of a line."""
        return cls(line, ast.parse(f"{line.name} = {code}"), -1, kind, *words)

    @property
    def names(self) -> set[str]:
        """The names in what is said about it."""
        parts = (names_in(x) if isinstance(x, ast.AST) else {str(x)} for x in self.parts)
        return set().union(*parts)

    def said(self, spelled: Callable[[ast.AST], str]) -> str:
        """In words; `spelled` gives the text of what is computed."""

        def of(part: Any) -> Any:
            if isinstance(part, str) and part.isidentifier():
                part = ast.Name(part, ast.Load())
            return spelled(part) if isinstance(part, ast.AST) else part

        return self.template.format(*map(of, self.parts))

    def key(self, samples: int) -> tuple[Any, ...]:
        """What is the same slip in a step with another number of samples."""
        sizes = [divmod(x, samples) for x in self.parts if isinstance(x, int)]
        sized = [f"{times}N" if not rest else f"{times * samples + rest}" for times, rest in sizes]
        named = [x for x in self.parts if isinstance(x, str)]
        return self.line.name, self.place, self.kind, self.template, *sized, *named


def swapped(old: ast.AST, new: ast.AST, above: dict[ast.AST, ast.AST]) -> ast.AST:
    """The whole tree with one node replaced; what does not stand above the node is shared."""
    locate(new, old)
    while old in above:
        fields = {
            name: [new if y is old else y for y in x] if type(x) is list else new if x is old else x
            for name, x in vars(above[old]).items()
        }
        old, new = above[old], type(above[old])(**fields)
    return new


def locate(new: ast.AST, old: ast.AST) -> None:
    """Give what is new the place of the old; what stood in a tree before has its place."""
    if not hasattr(new, "lineno"):
        new.lineno, new.col_offset = old.lineno, old.col_offset  # type: ignore[attr-defined]
        for child in ast.iter_child_nodes(new):
            locate(child, old)


def binary(left: ast.expr, op: ast.operator, right: ast.expr) -> ast.expr:
    """left op right."""
    return ast.BinOp(left, op, right)


def minus(x: ast.expr) -> ast.expr:
    """-x; 0 - x where it may be a mask, which has no minus; x for -x."""
    if isinstance(x, ast.UnaryOp) and isinstance(x.op, ast.USub):
        return x.operand
    if isinstance(x, ast.Name | ast.Compare):
        return binary(ast.Constant(0), ast.Sub(), x)
    return ast.UnaryOp(ast.USub(), x)


Found = tuple[Any, ...]  # kind, what stands there instead, what is said: a template, its parts


def changes(
    line: Line, values: Values, backward: set[str], sizes: Iterable[int]
) -> Iterator[Change]:
    """Every single slip in a line. `values` are all values, `backward` those that are gradients."""
    if line.passes:
        upstream, scope = line.passes
        yield Change.to(line, upstream, "missing factor", "the slope of {} is missing", scope)
    above = {child: node for node in ast.walk(line.tree) for child in ast.iter_child_nodes(node)}
    others = {x: v for x, v in values.items() if x != line.name}  # no line reads what it makes
    for place, (node, parent) in enumerate(above.items()):
        found: Iterable[Found] = ()
        if isinstance(node, ast.stmt):
            found = statements(node, values, others, backward, sizes)
        elif isinstance(node, ast.expr) and not is_written(node, parent):
            found = places(node, parent, others, backward, sizes)
        for kind, new, *words in found:
            tree = swapped(node, new, above)
            yield Change(line, tree, place, kind, *words)  # type: ignore[arg-type]
    if len(line.tree.body) > 1:  # a loop fills what the line makes: it is changed at the end
        made = ast.copy_location(ast.Name(line.name, ast.Load()), line.tree.body[-1])
        for kind, new, *words in transposed(made, False):
            after = ast.Assign([ast.Name(line.name, ast.Store())], new)
            ast.fix_missing_locations(ast.copy_location(after, made))
            whole = ast.Module([*line.tree.body, after], [])
            yield Change(line, whole, -1, kind, *words)


def everywhere(node: ast.Assign, values: Values) -> Iterator[Found]:
    """Another tensor of the same shape, at all places where one is read: h2 for h in 1 - h * h."""
    counts = Counter(x.id for x in ast.walk(node.value) if isinstance(x, ast.Name))
    for old in [name for name, count in counts.items() if count > 1 and name in values]:
        for name in same_shape(old, values):
            tree = filled(node, {old: ast.Name(name, ast.Load())})
            yield "wrong operand", tree, "{} stands where {} belongs", name, old


def same_shape(name: str, values: Values) -> list[str]:
    """What has the shape of a value, which has axes; of two names of one array the first."""
    shape, first = np.shape(values.get(name, 0)), dict[int, str]()
    for x, v in values.items():
        if shape and np.shape(v) == shape and v is not values[name]:
            first.setdefault(id(v), x)
    return [*first.values()]


def is_written(node: ast.expr, parent: ast.AST) -> bool:
    """Whether a line writes there: what else stood there would be written over."""
    match parent:
        case ast.Call(args=[target, *_]):
            return target is node and method_of(parent) == "np.add.at"
        case ast.Subscript(value=target, ctx=ast.Store()):
            return target is node
    return isinstance(getattr(node, "ctx", None), ast.Store)


ADDED = "{} is added where it should be a factor"
SLOPES = ("{} * (1 - {})", "1 - {} ** 2", "{} > 0", "{}", "1 - {}")  # of σ, tanh, relu; the value


@cache
def slope_of(form: str, name: str) -> ast.expr:
    """A slope of a value."""
    return ast.parse(form.format(name, name), mode="eval").body


def too_many(node: ast.Assign, values: Values, backward: set[str]) -> Iterator[Found]:
    """What does not belong there: a value of that shape, or its slope."""
    target = node.targets[0]
    if not isinstance(target, ast.Name) or target.id not in backward:
        return
    for name in same_shape(target.id, values):
        if name not in backward and np.asarray(values[name]).dtype.kind == "f":
            for slope in SLOPES:
                factor = slope_of(slope, name)
                new = ast.Assign([target], binary(node.value, ast.Mult(), factor))
                yield "factor too many", new, "the factor {} does not belong there", factor
            share = ast.Name(name, ast.Load())
            new = ast.Assign([target], binary(node.value, ast.Add(), share))
            yield "share too many", new, "the share {} does not belong there", share


def statements(
    node: ast.stmt, values: Values, others: Values, backward: set[str], sizes: Iterable[int]
) -> Iterator[Found]:
    """Slips of whole statements: `=` for `+=` and for np.add.at, a mean for what is added up."""
    if isinstance(node, ast.Assign):
        yield from everywhere(node, others)
        yield from too_many(node, values, backward)
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        yield "overwritten", ast.Assign([node.target], node.value), "`=` where `+=` belongs"
    call = node.value if isinstance(node, ast.Expr) else None
    if isinstance(call, ast.Call) and method_of(call) == "np.add.at":
        target, index, value = call.args
        for kind, new, *words in scaled(value, sizes, False):
            there = ast.Call(call.func, [target, index, new], [])
            yield kind, ast.Expr(there), *words
        new = ast.Assign([ast.Subscript(target, index, ast.Store())], value)
        yield "overwritten", new, "rows that are picked more than once need np.add.at, not ="
        if isinstance(index, ast.Name) and np.ndim(values[index.id]) == 1:
            often = ast.parse(f"np.bincount({index.id})[{index.id}][:, None]", mode="eval").body
            share = ast.Call(call.func, [target, index, binary(value, ast.Div(), often)], [])
            yield (
                "scale",
                ast.Expr(share),
                ("rows that are picked more than once get the sum of their shares, not the mean"),
            )


def places(
    node: ast.expr, parent: ast.AST, values: Values, backward: set[str], sizes: Iterable[int]
) -> Iterator[Found]:
    """Every slip at one node."""
    inside = isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Add | ast.Sub)
    product = isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.MatMult)
    whole = isinstance(parent, ast.Assign | ast.AugAssign)
    if inside or whole:
        yield from scaled(node, sizes, inside)
    if product or whole or (isinstance(parent, ast.Call) and node in parent.args):
        yield from transposed(node, whole)
    if whole and isinstance(node, ast.BinOp | ast.Call):
        flat = ast.parse(f"({text(node)}).T.reshape(np.shape({text(node)}))", mode="eval").body
        yield "transpose", flat, "a reshape stands where the transpose belongs"
    match node:
        case ast.BinOp():
            yield from arithmetic(node, backward)
            yield from masked_shares(node, values)
            yield from other_divisors(node, sizes)
            if not (isinstance(parent, ast.BinOp) and node in numerator(parent)[1:]):
                yield from inner_slopes(node, backward)
        case ast.Call():
            yield from calls(node)
        case ast.Compare():
            yield from comparisons(node)
        case ast.Subscript(slice=ast.Tuple(elts=[first, second])):
            exchanged = ast.Tuple([second, first], ast.Load())
            new = ast.Subscript(node.value, exchanged, ast.Load())
            yield "rows for columns", new, "the axes of {} are exchanged", node
        case ast.Name():
            yield from names(node, values, backward)
        case ast.Constant(value=int(n)) if n > 2 and isinstance(parent, ast.BinOp):
            for other in (n - 1, n + 1):
                yield "scale", ast.Constant(other), INSTEAD, other, n
        case ast.UnaryOp(op=ast.USub()):
            yield "sign", node.operand, "the minus before {} is missing", node.operand


def scaled(node: ast.expr, sizes: Iterable[int], inside: bool) -> Iterator[Found]:
    """The sign, and factors that are sizes or 2: of a whole line, or of one term in it."""
    of, what = ("in {}, ", [node]) if inside else ("", [])
    yield "sign", minus(node), of + "the sign is the other way round", *what
    large = of + "{} times too large: a factor 1/{} is missing"
    small = of + "{} times too small: a factor {} is missing, or 1/{} is there twice"
    for n in dict.fromkeys([2, *sizes]):
        yield "scale", binary(node, ast.Mult(), ast.Constant(n)), large, *what, n, n
        yield "scale", binary(node, ast.Div(), ast.Constant(n)), small, *what, n, n, n


def transposed(node: ast.expr, whole: bool) -> Iterator[Found]:
    """A matrix for its transpose: `whole` where that is all of the line."""
    match node:
        case ast.Attribute(attr="T"):
            yield "transpose", node.value, "the transpose of {} is missing", node.value
        case ast.Call(func=ast.Attribute(value=inner, attr="transpose")):
            yield "transpose", inner, "the transpose of {} is missing", inner
        case ast.Name() | ast.Call() | ast.BinOp():
            axes: list[ast.expr] = [ast.Constant(-1), ast.Constant(-2)]
            new = ast.Call(ast.Attribute(node, "swapaxes", ast.Load()), axes, [])
            if whole:
                yield "transpose", new, "yours is the transpose of {}", node
            else:
                yield "transpose", new, "the transpose of {} stands where {} belongs", node, node


def arithmetic(node: ast.BinOp, backward: set[str]) -> Iterator[Found]:
    """Products, quotients, sums, differences, powers, matrix products."""
    a, b = node.left, node.right
    match node.op:
        case ast.Mult():
            yield from factors(node, a, b, backward)
            yield from factors(node, b, a, backward)
            yield "sum for product", binary(a, ast.Add(), b), ADDED, b
            yield from slopes_of_two(a, b, backward)
        case ast.Div():
            yield "missing factor", a, "the division by {} is missing", b
            if not isinstance(a, ast.Constant):
                new = binary(ast.Constant(1), ast.Div(), b)
                yield "missing factor", new, "the factor {} is missing", a
            yield "factor twice", binary(node, ast.Div(), b), "it is divided by {} twice", b
            new = binary(a, ast.Mult(), b)
            yield "inverted factor", new, "it is multiplied by {}", b
            log = ast.parse(f"np.log({text(b)})", mode="eval").body
            words = "{} stands where its slope 1 / {} belongs"
            yield "value for slope", binary(a, ast.Mult(), log), words, log, b
        case ast.Add() | ast.Sub():
            plus = isinstance(node.op, ast.Add)
            yield "lost share", a, "the share {} is lost", b
            yield "lost share", b if plus else minus(b), "the share {} is lost", a
            new = binary(a, ast.Sub() if plus else ast.Add(), b)
            yield "sign", new, "the sign of {} is the other way round", b
        case ast.Pow():
            for by, how in ((1, "one power too many"), (-1, "one power too few")):
                new = binary(a, ast.Pow(), binary(b, ast.Add(), ast.Constant(by)))
                yield "wrong power", new, "{} has " + how, a
            yield "wrong power", a, "the power {} of {} is missing", b, a
        case ast.MatMult():
            new = binary(b, ast.MatMult(), a)
            yield "transpose", new, "the factors of the product are exchanged"
            for kept, lost in ((a, b), (b, a)):  # of square matrices one may be left out
                kind = "no upstream" if names_in(lost) & backward else "missing factor"
                yield kind, kept, "the matrix product with {} is missing", lost
            for left, right in ((a, b), (untransposed(a), untransposed(b))):
                new = binary(left, ast.Mult(), right)
                yield "elementwise", new, "* stands where the matrix product @ belongs"


def masked_shares(node: ast.BinOp, values: Values) -> Iterator[Found]:
    """A share that is there only where the other one is: p * onehot - onehot."""
    a, b = node.left, node.right
    if not (isinstance(node.op, ast.Add | ast.Sub) and isinstance(b, ast.Name)):
        return
    if np.asarray(values.get(b.id)).dtype == bool:
        where = (
            "of the other classes is missing"
            if b.id == "onehot"
            else f"is missing where {b.id} is 0"
        )
        new = binary(binary(a, ast.Mult(), b), node.op, b)
        yield "lost share", new, "the share {} " + where, a


INSTEAD = "{} stands where {} belongs"


def other_divisors(node: ast.BinOp, sizes: Iterable[int]) -> Iterator[Found]:
    """The size of something else in a mean: the number of classes for that of samples."""
    match node:
        case ast.BinOp(a, ast.Div(), ast.Constant(value=int(n))) if n > 1:
            near = {n - 1, n + 1} if n > 2 else set()  # which are tried of every number
            for other in sorted({*sizes} - {n, *near}):
                yield "scale", binary(a, ast.Div(), ast.Constant(other)), INSTEAD, other, n


def untransposed(x: ast.expr) -> ast.expr:
    """The matrix that is transposed in it."""
    return x.value if isinstance(x, ast.Attribute) and x.attr == "T" else x


def factors(node: ast.BinOp, kept: ast.expr, lost: ast.expr, backward: set[str]) -> Iterator[Found]:
    """A factor that is left out, there twice, turned round, or the function for its slope."""
    kind = "no upstream" if names_in(lost) & backward else "missing factor"
    if text(kept) == text(lost):
        yield kind, kept, "{} stands where {} belongs: its square is missing", kept, node
    else:
        yield kind, kept, "the factor {} is missing", lost
    yield "factor twice", binary(node, ast.Mult(), lost), "{} is there twice", lost
    inverted = binary(kept, ast.Div(), lost)
    yield "inverted factor", inverted, "it is divided by {}", lost
    if not isinstance(lost, ast.Name) and kind == "missing factor":
        for name in sorted(names_in(lost) - {"np"}):
            new = binary(kept, ast.Mult(), ast.Name(name, ast.Load()))
            yield "value for slope", new, "{} stands where the slope {} belongs", name, lost


def slopes_of_two(a: ast.expr, b: ast.expr, backward: set[str]) -> Iterator[Found]:
    """A slope that is a product, added as a whole: g + h * (1 - h)."""
    if isinstance(a, ast.BinOp) and isinstance(a.op, ast.Mult):
        both = binary(a.right, ast.Mult(), b)
        if not names_in(both) & backward:
            yield "sum for product", binary(a.left, ast.Add(), both), ADDED, both


def numerator(x: ast.expr) -> list[ast.expr]:
    """A product, each product in it, and last its factors; also of what is divided."""
    match x:
        case ast.BinOp(left, ast.Mult(), right):
            return [x, *numerator(left), *numerator(right)]
        case ast.BinOp(left, ast.Div(), _):
            return [x, *numerator(left)]
    return [x]


def without(x: ast.expr, lost: Collection[ast.expr]) -> ast.expr:
    """A product without some of its factors."""
    match x:
        case ast.BinOp(left, ast.Mult(), right) if x not in lost:
            left, right = without(left, lost), without(right, lost)
            return right if is_one(left) else left if is_one(right) else binary(left, x.op, right)
        case ast.BinOp(left, ast.Div(), right) if x not in lost:
            return binary(without(left, lost), x.op, right)
    return ast.Constant(1) if x in lost else x


def is_one(x: ast.expr) -> bool:
    """Whether this is the number 1."""
    return isinstance(x, ast.Constant) and x.value == 1


def inner_slopes(node: ast.BinOp, backward: set[str]) -> Iterator[Found]:
    """What is inside is not derived: of log(x * x + 1) the factors 2 and x are left out.

    They may stand anywhere in the product, and the 2 may be part of another number.
    """
    factors = [x for x in numerator(node) if not is_product(x)]
    own = [x for x in factors if not names_in(x) & backward]
    two = any(isinstance(x, ast.Constant) and x.value == 2 for x in own)
    for count in range(1, min(len(own), 3) + 1):
        for lost in combinations(own, count):
            inner = reduce(lambda a, b: binary(a, ast.Mult(), b), lost)
            if count > 1 and len(factors) > count and names_in(inner):
                yield "missing factor", without(node, lost), "the factor {} is missing", inner
            if not two and any(isinstance(x, ast.Name) for x in lost):
                yield "missing factor", half_of(node, lost), "the factor 2 * {} is missing", inner


def half_of(node: ast.expr, lost: Collection[ast.expr]) -> ast.expr:
    """Half of a product without some of its factors: 2 * x where 4 * x stood."""
    match without(node, lost):
        case ast.BinOp(ast.Constant(int(n)), ast.Mult(), rest) if n % 2 == 0:
            return binary(ast.Constant(n // 2), ast.Mult(), rest)
        case left:
            return binary(left, ast.Div(), ast.Constant(2))


def is_product(x: ast.expr) -> bool:
    """Whether this has factors, or something that is divided."""
    return isinstance(x, ast.BinOp) and isinstance(x.op, ast.Mult | ast.Div)


def method_of(node: ast.Call) -> str:
    """The name of the method that is called, or of NumPy's function with its np."""
    called = text(node.func)
    return called if called.startswith("np.") else called.rpartition(".")[2]


def method(x: ast.expr, name: str, *keywords: ast.keyword) -> ast.expr:
    """x.name(...)."""
    return ast.Call(ast.Attribute(x, name, ast.Load()), [], list(keywords))


def calls(node: ast.Call) -> Iterator[Found]:
    """Sums, means, choices."""
    name = method_of(node)
    match node:
        case ast.Call(func=ast.Attribute(value=x)) if name in ("sum", "mean"):
            yield "missing sum", x, "the " + name + " in {} is missing", node
            other = "mean" if name == "sum" else "sum"
            new = method(x, other, *node.keywords)
            words = f"the {other} stands where the {name} belongs"
            yield f"{other} for {name}", new, words
            kept = [k for k in node.keywords if k.arg != "keepdims"]
            if len(kept) < len(node.keywords):
                words = "keepdims=True is missing in {}"
                yield "missing keepdims", method(x, name, *kept), words, node
            yield from other_axes(node, x, name)
            if isinstance(x, ast.BinOp) and isinstance(x.op, ast.Mult):
                sums = [method(part, name, *node.keywords) for part in (x.left, x.right)]
                words = "{} is no product of " + name + "s"
                yield "product of sums", binary(sums[0], ast.Mult(), sums[1]), words, node
        case ast.Call(args=[keep, a, b]) if name == "np.where":
            new = ast.Call(node.func, [keep, b, a], [])
            yield "other branch", new, "the branches of {} are exchanged", node
            for i, branch in enumerate((a, b)):
                if isinstance(branch, ast.Constant):
                    continue
                yield "missing factor", branch, "the choice by {} is missing", keep
                one, squared = ast.Constant(1), binary(branch, ast.Mult(), branch)
                for kind, instead, words in (
                    ("no upstream", one, "the factor {} is missing"),
                    ("factor twice", squared, "{} is there twice"),
                ):
                    args = [keep, instead, b] if i == 0 else [keep, a, instead]
                    yield kind, ast.Call(node.func, args, []), words, branch
        case ast.Call(args=[a, b]) if name == "np.dot":
            yield from dots(node, a, b)


def other_axes(node: ast.Call, x: ast.expr, name: str) -> Iterator[Found]:
    """The same sum over other axes."""
    rest = [k for k in node.keywords if k.arg != "axis"]
    for axis in (0, 1, 2, -1):
        new = method(x, name, ast.keyword("axis", ast.Constant(axis)), *rest)
        yield "wrong axis", new, "the " + name + " runs over axis {}", str(axis)


def dots(node: ast.Call, a: ast.expr, b: ast.expr) -> Iterator[Found]:
    """np.dot, which among single steps is also how sums are made: of ones with what is summed."""
    for ones, x, axis in ((a, b, 0), (b, a, 1)):
        if isinstance(ones, ast.Call) and method_of(ones) == "np.ones":
            yield "missing sum", x, "the sum of {} is missing", x
            mean = method(x, "mean", ast.keyword("axis", ast.Constant(axis)))
            yield "mean for sum", mean, "the sum of {} is a mean", x
            wrong = method(x, "sum", ast.keyword("axis", ast.Constant(1 - axis)))
            yield "wrong axis", wrong, "the sum of {} runs over the other axis", x
            return
    new = ast.Call(node.func, [b, a], [])
    yield "transpose", new, "the factors of the product are exchanged"


STRICT: dict[type, type] = {ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt}
OTHER: dict[type, type] = {ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Lt: ast.GtE, ast.LtE: ast.Gt}


def comparisons(node: ast.Compare) -> Iterator[Found]:
    """Masks: strict or not, the other side, and the value that they are taken of."""
    op = type(node.ops[0])
    if op not in STRICT:
        return
    other = OTHER[op]
    for kind, to in (
        ("strict comparison", STRICT[op]),
        ("other branch", other),
        ("other branch", STRICT[other]),
    ):
        new = ast.Compare(node.left, [to()], node.comparators)
        yield kind, new, "{} stands where {} belongs", new, node
    yield "value for slope", node.left, "{} stands where the slope {} belongs", node.left, node


def names(node: ast.Name, values: Values, backward: set[str]) -> Iterator[Found]:
    """Another tensor of the same shape."""
    for name in same_shape(node.id, values):
        kind = "wrong operand"
        if {name, node.id} <= {"p", "onehot", "y"}:
            kind = "probability for target"
        elif node.id in backward and name not in backward:
            kind = "value for gradient"
        yield kind, ast.Name(name, ast.Load()), "{} stands where {} belongs", name, node
