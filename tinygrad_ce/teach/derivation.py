"""teach.derive: how a gradient is found, line by line, as a person writes it on the board.

The lines are those of the step's listing: its forward pass from the tensor to the loss, one line
of the chain rule for each of its values, from the loss back, what comes out when they are put into
each other, and the formula that the listing has. Each is checked before it is shown.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from html import escape
from itertools import chain, count, pairwise
from typing import Any

import numpy as np

from tinygrad_ce.autograd import grad
from tinygrad_ce.creation import tensor
from tinygrad_ce.engine.functions import relu
from tinygrad_ce.engine.modes import no_grad
from tinygrad_ce.program.ir import Program
from tinygrad_ce.program.listing.expressions import filled
from tinygrad_ce.teach.answers import traced
from tinygrad_ce.teach.board import Piece, latex, mathml, named, partial, pieces, scattered, text
from tinygrad_ce.teach.book import Book, Books, Line, names_in, resting
from tinygrad_ce.teach.near import COARSE, FINE, agree
from tinygrad_ce.teach.proofs import needed, prove

CONSTANT = re.compile(r"du\d*")  # what a listing calls a value of the backward pass without a name
MARGIN = "text-align:left;border:0;opacity:.7;padding:0 1em 0 2em"
MARKS = {
    "proved": ("✓", "proved for all real numbers at small sizes"),
    "numbers": ("≈", "checked on the example"),
    "": ("", "given"),
}
LONG = 150  # characters of a line in which everything is put in
WORK = 60_000  # terms that may be multiplied for the proof of a line
SMALL = (2, 3, 4, 5)  # the sizes of the axes for which lines are proved


@dataclass(frozen=True)
class Step:
    """One line on the board: sides that are equal, why, and how it was checked."""

    sides: tuple[Piece, ...]
    reason: str
    checked: str
    """ "proved" at small sizes, "numbers": on the example; "" for what is given."""

    @property
    def text(self) -> str:
        """The equation as plain text."""
        return " = ".join(map(text, self.sides))


@dataclass(frozen=True, repr=False)
class Derivation:
    """∂of/∂wrt, line by line. It shows itself in a notebook; `.text`, `.latex()`, `.html()`."""

    of: str
    wrt: str
    shape: tuple[int, ...]
    steps: tuple[Step, ...]

    @property
    def text(self) -> str:
        """The lines as plain text, each with its reason."""
        width = max(len(s.text) for s in self.steps)
        lines = [f"{s.text:{width}}   {s.reason}".rstrip() for s in self.steps]
        return "\n".join(
            [f"∂{self.of}/∂{self.wrt}, of shape {self.shape}, with L = {self.of}", *lines]
        )

    def latex(self) -> str:
        """The lines as LaTeX, to stand in a document."""
        lines = [
            f"{latex(s.sides[0])} &= {' = '.join(map(latex, s.sides[1:]))} && \\text{{{s.reason}}}"
            for s in self.steps
        ]
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def html(self) -> str:
        """The lines as a table with MathML, which needs no script."""
        rows = []
        for s in self.steps:
            equal = "<math><mo>=</mo></math>"
            left, *rest = (f'<math displaystyle="true">{mathml(side)}</math>' for side in s.sides)
            mark, title = MARKS[s.checked]
            rows.append(
                f'<tr><td style="text-align:right;border:0;padding:0 .3em">{left}</td>'
                f'<td style="text-align:left;border:0">{"".join(equal + x for x in rest)}</td>'
                f'<td style="{MARGIN}">{escape(s.reason)}</td>'
                f'<td style="border:0" title="{title}">{mark}</td></tr>'
            )
        caption = f"∂{escape(self.of)}/∂{escape(self.wrt)} with L = {escape(self.of)}"
        return (
            '<table class="tinygrad_ce_derivation" style="border-collapse:collapse;'
            f'line-height:2.4"><caption style="text-align:left">{caption}</caption>'
            f"{''.join(rows)}</table>"
        )

    def _repr_html_(self) -> str:
        return self.html()

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


def derive(
    step: Callable[..., Any] | Program, inputs: Sequence[Any] = (), *, of: str = "", wrt: str
) -> Derivation:
    """∂of/∂wrt of a step, line by line: the chain rule, each factor, and what it comes to.

    step, inputs: as for `check`: a function that returns a loss and the tensors to call it with, or
    what `trace` made of one. of: the loss by its name in the listing, wrt: the value whose gradient
    is wanted, by the name that the step's own code, its listing or a module gives it. The names and
    shapes are the step's. A line that nothing simplifies stands as it is. Where no line can be
    given for the gradient, as behind a `detach()`, which a listing does not show, the last line
    says so.

    Each line was checked: proved for all real numbers at small sizes (✓ in HTML), or where that
    cannot be done computed on the example, to 1e-9 (≈). Needs SymPy.

    Raises KeyError for a name that the step does not have, ImportError without SymPy.

    >>> import tinygrad_ce as tg
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> def step(x):
    ...     z = x * w
    ...     loss = (z * z).sum()
    ...     return loss
    >>> print(derive(step, (tg.tensor([3.0, 1.0]),), wrt="z"))
    ∂loss/∂z, of shape (2,), with L = loss
    loss = Σ z ⊙ z
    ∂L/∂z = z + z    chain rule
    """
    needed()
    return Board(traced(step, inputs), of, wrt).derivation()


class Board:
    """The two books of a step, and the lines that are made of them."""

    def __init__(self, program: Program, of: str, wrt: str) -> None:
        books = Books(program)
        self.formula, self.single = books
        self.vars = {name: x for x, name in self.formula.writer.names.of.items()}
        lines = {line.name for line in self.formula.lines}
        named_so = "loss" if of in lines else of or program.outputs[0].name or "loss"
        self.root = self.name_root(named_so)
        self.near, self.samples = COARSE if books.coarse else FINE, books.samples
        self.same = self.matched()
        self.proofs: dict[str, str] = {}
        forward = [line.name for line in self.formula.lines if not line.backward]
        if of in forward and of != self.root:
            raise KeyError(f"derive: {of!r} is not what the step returns: that is {forward[-1]}")
        if self.gradient(wrt) is None:  # a parameter, as its module calls it
            own, known = self.formula.named(wrt), self.formula.gradients
            wrt = next((n for n in self.formula.given if known.get(f"d{n}", f"d{n}") == own), wrt)
        if self.gradient(wrt) is None:
            have = [n for n in [*self.formula.given, *forward] if self.gradient(n)]
            raise KeyError(
                f"derive: {wrt!r} has no gradient in the step; {', '.join(have)} have one"
            )
        self.of, self.wrt = self.root, wrt
        self.path = [line.name for line in downstream(self.formula, wrt)]
        self.partials = {
            own: n for n in [*reversed(self.path), wrt] if (own := self.gradient(n)) is not None
        }
        self.partials = {  # what is refuted only has the name of the gradient
            own: n for own, n in self.partials.items() if self.checked(n, own) != "refuted"
        }
        for own in [own for own in self.partials if self.right(own) is None]:
            del self.partials[own]  # it has no line: what stands for it is put in

    def name_root(self, name: str) -> str:
        """A line for what the step returns, where that stands in the return statement."""
        book, tree = self.formula, self.formula.writer.returned[0]
        if isinstance(tree, ast.Name):
            return tree.id
        known = book.makers.keys() | book.given.keys()  # loss = loss.mean() has called two so
        names = chain([name], (f"{name}{i}" for i in count(2)))
        name = next(x for x in names if x not in known)
        at = ast.Module([ast.Assign([ast.Name(name, ast.Store())], tree)], [])
        line = Line(name, ast.fix_missing_locations(at), backward=False)
        last = max((i for i, x in enumerate(book.lines) if not x.backward), default=-1)
        book.lines.insert(last + 1, line)
        book.makers[name] = line
        return name

    def matched(self) -> dict[str, str]:
        """What the single steps call a value of the formulas: the same, or the only equal one."""
        found = {name: name for name in self.formula.given}
        forward = [line.name for line in self.single.lines if not line.backward]
        for line in self.formula.lines:
            if line.backward or line.name == self.root or CONSTANT.fullmatch(line.name):
                continue
            value = np.asarray(self.formula.truth[line.name], float)
            known = self.single.writer.names.of.get(self.vars[line.name])
            if known in forward:
                found[line.name] = known
                continue
            truth = {n: self.single.truth[n] for n in forward}
            same = [n for n, x in truth.items() if np.shape(x) == value.shape]
            same = [n for n in same if agree(value, truth[n], self.near)]
            if line.name in same or len(same) == 1:
                found[line.name] = line.name if line.name in same else same[0]
        return found

    def gradient(self, name: str) -> str | None:
        """The line of the single steps that holds ∂of/∂name."""
        if (single := self.same.get(name)) is None:
            return None
        own = self.single.gradients.get("d" + single)
        if name not in self.single.makers:  # what only the user calls so
            own = self.single.gradients.get("d" + name, own)
        if own is None and not CONSTANT.fullmatch("d" + single):
            own = "d" + single
        line = self.single.makers.get(own or "")
        return own if line and line.backward else None

    # --- expressions ----------------------------------------------------------------------------

    def expression(self, book: Book, name: str) -> ast.expr | None:
        """What a line computes, if it is one expression."""
        line = book.makers.get(name)
        return line.value if line else None

    def put_in(self, tree: ast.expr, book: Book, stop: set[str], depth: int = 40) -> ast.expr:
        """An expression with names replaced by what they are, but for those in `stop`."""
        found = {n: e for n in names_in(tree) - stop if (e := self.expression(book, n)) is not None}
        if not found or not depth:
            return tree
        return self.put_in(filled(tree, found), book, stop, depth - 1)

    def derivation(self) -> Derivation:
        """All lines."""
        steps: list[Step] = []
        for s in [*self.given(), *self.chain(), *self.result()]:
            last = s.reason == "simplified" and steps[-1].sides[0] != s.sides[0]
            if s.checked != "refuted" and (last or all(s.text != t.text for t in steps)):
                steps.append(s)
        own = self.gradient(self.wrt) or ""
        wanted = named(own, {own: self.wrt})
        if not any(s.checked and s.sides[0] == wanted for s in steps):
            steps.append(Step((wanted, ("id", "?")), self.missing(own), ""))
        shape = np.shape(self.single.truth[own])
        return Derivation(self.of, self.wrt, shape, tuple(steps))

    def missing(self, own: str) -> str:
        """Why there is no line for the gradient."""
        constant = "; to the backward pass something in these lines is a constant (detach, no_grad)"
        refuted = self.checked(self.wrt, own) == "refuted"
        return f"the derivation does not reach it{constant if refuted else ''}"

    def pieces(self, tree: ast.expr) -> Piece:
        """An expression of the formulas, with the gradients as ∂L/∂x."""
        return pieces(tree, self.partials)

    def single_pieces(self, own: str, stop: Iterable[str] = ()) -> Piece | None:
        """What a single step computes, in the formulas' names; None if it is no one expression."""
        tree = self.expression(self.single, own)
        if tree is None:
            return None
        whole = self.put_in(tree, self.single, {*self.same.values(), *stop})
        names = {v: ast.Name(k, ast.Load()) for k, v in self.same.items() if k != v}
        unknown = names_in(whole) - {*self.same.values(), *self.partials, "np", "Ellipsis"}
        if unknown or len(ast.unparse(whole)) > LONG:
            return None
        return self.pieces(filled(whole, names))

    def given(self) -> Iterator[Step]:
        """The forward pass from `wrt` to `of`, and what that reads and nobody has named."""
        needed, shown = set[str](), list[Line]()
        for line in reversed(self.formula.lines):
            unnamed = line.own and not line.backward and line.name != self.wrt
            if line.name in self.path or (line.name in needed and unnamed):
                needed |= line.reads
                shown.append(line)
        for line in reversed(shown):
            if line.value is not None:
                sides = named(line.name), self.pieces(line.value)
                yield Step(sides, line.scope.replace("_", " "), "")

    def chain(self) -> Iterator[Step]:
        """One line for each value, from the loss back."""
        shown: dict[str, str] = {}
        for name in [*reversed(self.path), self.wrt]:
            own = self.gradient(name)
            if own is None:
                continue
            left = named(own, {own: name})
            if own in shown:
                same = named(own, {own: shown[own]})
                yield Step((left, same), "handed on unchanged", self.checked(name, own))
            elif right := self.right(own):
                chain = self.factors(name) if self.expression(self.single, own) else None
                sides = (left, chain, right) if chain else (left, right)
                yield Step(sides, "chain rule", self.checked(name, own))
            shown.setdefault(own, name)

    def right(self, own: str) -> Piece | None:
        """What stands on the right of ∂L/∂name = ..., if that can be said in the board's names."""
        found = self.single_pieces(own, self.partials)
        return found or scattered(self.single.makers[own].tree.body, self.partials)

    def ways(self, name: str) -> list[list[str]] | None:
        """[c, ..., name]: from each value whose gradient has a line down to what it reads.

        None where one of them has none. Truth values have no slope.
        """
        found: list[list[str]] = []
        for c in [c for c in self.path if name in self.formula.makers[c].reads]:
            if c != self.of and self.gradient(c) in self.partials:
                found.append([c, name])
                continue
            if c != self.of and np.asarray(self.formula.truth[c]).dtype == bool:
                continue
            up = self.ways(c)
            if not up:
                return None
            found += [[*way, name] for way in up]
        return found

    def factors(self, name: str) -> Piece | None:
        """Σ ∂L/∂c · ∂c/∂name over the values that read it, if all of these have lines."""
        terms: list[Piece] = []
        for way in self.ways(name) or ():
            terms += [("op", "+"), partial("L", way[0])]
            for up, down in pairwise(way):
                terms += [("op", "·"), partial(up, down)]
        return ("row", *terms[1:]) if terms else None

    def result(self) -> Iterator[Step]:
        """Everything put in, and the formula of the listing with its own names."""
        own = self.gradient(self.wrt) or ""
        left = named(own, {own: self.wrt})
        if (whole := self.single_pieces(own)) is not None:
            yield Step((left, whole), "put in", self.checked(self.wrt, own))
        name = self.formula.gradients.get("d" + self.wrt, "d" + self.wrt)
        line = self.formula.makers.get(name)
        if line and line.backward and line.value is not None:
            yield from self.simplified(left, line, own)

    def simplified(self, left: Piece, last: Line, own: str) -> Iterator[Step]:
        """The formula of the listing, after the lines that it rests on."""
        makers = self.formula.makers
        gradients = {
            n: n[1:]
            for n in self.formula.slopes
            if n in makers
            and makers[n].backward
            and not CONSTANT.fullmatch(n)
            and (n[1:] in self.same or n[1:] not in makers)
        }
        board = set(self.partials.values())
        unknown = {n for n, x in gradients.items() if x not in board}
        lines, read = [], {last.name}
        for line in reversed(self.back(self.formula, last.name)):
            told = line is not last and gradients.get(line.name) in board
            if line.name in read and not (told and line.reads & unknown):
                lines.append(line)
                read |= line.reads
        for line in reversed(lines):
            tree, of = line.value, gradients.get(line.name)
            if line is last and tree is not None:
                yield from self.in_short(left, tree, gradients, self.wrt, line.name, own)
            elif of not in board:
                body = line.tree.body
                found = pieces(tree, gradients) if tree is not None else scattered(body, gradients)
                right = found or ("id", "; ".join(map(ast.unparse, body)).partition(" = ")[2])
                checked = "numbers" if of else ""
                yield Step((named(line.name, gradients), right), "", checked)
            elif tree is not None and (single := self.gradient(of)) is not None:
                said = named(line.name, gradients)
                yield from self.in_short(said, tree, gradients, of, line.name, single)

    def in_short(
        self, left: Piece, tree: ast.expr, gradients: dict[str, str], of: str, name: str, own: str
    ) -> Iterator[Step]:
        """A line of the listing, where it says more, and with N for the number of samples."""
        if of != self.wrt and pieces(tree, gradients) == self.right(own):
            return
        checked = self.agrees(of, name, own)
        yield Step((left, pieces(tree, gradients)), "simplified", checked)
        now = Counted(self.samples).visit(deepcopy(tree))
        if self.samples > 1 and ast.unparse(now) != ast.unparse(tree):
            yield Step((left, pieces(now, gradients)), f"N = {self.samples}", checked)

    # --- checks ---------------------------------------------------------------------------------

    def back(self, book: Book, name: str) -> list[Line]:
        """The backward lines that a gradient rests on."""
        return [line for line in book.slice(name) if line.backward]

    def agrees(self, of: str, name: str, own: str) -> str:
        """Whether the formula of the listing is the chain rule's gradient."""
        if not agree(self.formula.truth[name], self.single.truth[own], self.near):
            raise ArithmeticError(f"derive: the formula for {name} is not the gradient")
        return self.proved(of, self.back(self.formula, name), name, self.formula)

    def checked(self, name: str, own: str) -> str:
        """How ∂of/∂name of the single steps was checked."""
        if own not in self.proofs:
            self.proofs[own] = self.proved(name, self.back(self.single, own), own, self.single)
        return self.proofs[own]

    def proved(self, name: str, lines: list[Line], result: str, book: Book) -> str:
        """ "proved" if the lines that lead to a gradient give that of the single steps, "refuted"
        if they do not, else "numbers".
        """
        small = Small(self, name, lines, result, book)
        try:
            proof = prove(small.loss, gradient={name: small.slope}, work=WORK, **small.inputs)
        except (ValueError, TypeError, NameError, IndexError, RuntimeError, AttributeError):
            return "numbers"
        if proof.status == "refuted" and Small(self, name, lines, result, book, True).agrees():
            return "numbers"  # a number that only looks like a size was made smaller
        return "numbers" if proof.status == "undecided" else proof.status


class Counted(ast.NodeTransformer):
    """N for the number of samples, where something is divided by it."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        """x / 32 as x / N."""
        self.generic_visit(node)
        match node:
            case ast.BinOp(x, ast.Div(), ast.Constant(n)) if n == self.samples:
                return ast.BinOp(x, node.op, ast.Name("N", ast.Load()))
        return node


def downstream(book: Book, name: str) -> list[Line]:
    """The forward lines that a value has a part in."""
    return list(resting((line for line in book.lines if not line.backward), [name]))


class Small:
    """The lines of a step with small axes, as functions that can be proved; or as they are."""

    def __init__(
        self,
        board: Board,
        name: str,
        lines: list[Line],
        result: str,
        book: Book,
        full: bool = False,
    ) -> None:
        single = board.single
        self.near = board.near
        self.names = {name, board.same[name]}
        first = downstream(single, board.same[name])
        second = downstream(book, board.same[name] if book is single else name)
        root = next(x.name for x in reversed(first) if np.shape(single.truth[x.name]) == ())
        values: dict[str, Any] = {}
        for source, part in ((single, first), (book, [*second, *lines])):
            read = set().union(*(x.reads for x in part)) - {x.name for x in part} - {"np"}
            known = read & source.truth.keys()  # not Ellipsis
            values |= {n: source.truth[n] for n in sorted(known - self.names)}
        values = {name: single.truth[board.same[name]], **values}
        shapes = {n: np.shape(v) for n, v in values.items()}
        sizes = sorted({n for s in shapes.values() for n in s if n > 1})
        few = full or sum(int(np.prod(s)) for s in shapes.values()) <= 16
        self.small: dict[int, int] = {n: n for n in sizes} if few else dict(zip(sizes, SMALL))
        for shape in shapes.values():  # what a mean divides by
            self.small.setdefault(int(np.prod(shape)), int(np.prod([*map(self.size, shape)])))
        self.inputs: dict[str, Any] = {}
        self.fixed: dict[str, Any] = {"np": np, "relu": relu}
        for n, shape in shapes.items():
            value, now = np.asarray(values[n]), tuple(map(self.size, shape))
            if value.dtype.kind == "f":
                self.inputs[n] = now
            else:  # classes stay below what is the least of them now
                low = min((self.size(n) for n in sizes), default=2)
                self.fixed[n] = value if now == shape else np.resize(value, now) % low
        self.forward = [self.code(line) for line in first]
        self.backward = [self.code(line) for line in [*second, *lines]]
        self.root, self.result = root, result
        self.example = [np.asarray(values[n], float) for n in self.inputs]

    def agrees(self) -> bool:
        """Whether the lines give the gradient of the loss, on the example."""
        xs = [tensor(x) for x in self.example]
        slope = grad(self.loss(xs[0].requires_grad_(), *xs[1:]), xs[0])[0]
        with no_grad():
            found = self.slope(*xs)
        return agree(np.asarray(slope.detach()), np.asarray(found), self.near)

    def size(self, n: int) -> int:
        """The size of an axis now."""
        return self.small.get(n, n)

    def code(self, line: Line) -> Any:
        """A line with the small sizes, ready to run."""
        tree = Resized(self.small).visit(deepcopy(line.tree))
        return compile(ast.fix_missing_locations(tree), "<line>", "exec")

    def run(self, codes: list[Any], xs: Sequence[Any]) -> dict[str, Any]:
        """What lines make of values."""
        space = {**self.fixed, **dict(zip(self.inputs, xs)), **dict.fromkeys(self.names, xs[0])}
        for code in codes:
            exec(code, space)
        return space

    def loss(self, *xs: Any) -> Any:
        """The loss."""
        return self.run(self.forward, xs)[self.root]

    def slope(self, *xs: Any) -> Any:
        """The gradient, by the lines."""
        return self.run(self.backward, xs)[self.result]


class Resized(ast.NodeTransformer):
    """Other sizes of axes in the text of a line."""

    def __init__(self, sizes: dict[int, int]) -> None:
        self.sizes = sizes

    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        """a - b, where b may be truth values."""
        self.generic_visit(node)
        if isinstance(node.op, ast.Sub):
            one = ast.Constant(1.0)
            node.right = ast.BinOp(node.right, ast.Mult(), one)
            if isinstance(node.left, ast.Compare):
                node.left = ast.BinOp(node.left, ast.Mult(), one)
        return node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        """np.max(x, ...) for `x.max(...)`, which of a Tensor gives the indices, too; relu for
        np.maximum(x, 0), whose slope at 0 is another.
        """
        self.generic_visit(node)
        if ast.unparse(node.func) == "np.maximum" and ast.unparse(node.args[1]) == "0":
            return ast.Call(ast.Name("relu", ast.Load()), node.args[:1], [])
        match node.func:
            case ast.Attribute(value=x, attr="max" | "min" as name) if ast.unparse(x) != "np":
                function = ast.Attribute(ast.Name("np", ast.Load()), name, ast.Load())
                return ast.Call(function, [x, *node.args], node.keywords)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        """A size, or one over it."""
        value = node.value
        if type(value) is int:
            return ast.Constant(self.sizes.get(value, value))
        if type(value) is float and value:
            below = round(1 / value)
            if below in self.sizes and abs(1 / value - below) < 1e-5:
                return ast.Constant(1 / self.sizes[below])
            if value.is_integer():
                return ast.Constant(float(self.sizes.get(int(value), value)))
        return node
