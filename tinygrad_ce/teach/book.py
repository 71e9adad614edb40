"""A traced step as a book of lines: NumPy that is run line by line, or with one line changed.

A book is the listing of a program (program/listing). `Book.lines` are its statements, in order;
`Book.run` computes what follows from given values. The grader reads two books of the same step: the
formulas of a textbook, and every single step of the chain rule.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

from tinygrad_ce.program.ir import Program, Var
from tinygrad_ce.program.listing.listing import Listing, oracle, shown_program, with_gradients
from tinygrad_ce.program.listing.statements import Statement, label

Values = dict[str, Any]
ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "elu", "silu", "leaky_relu", "softplus")
COARSE = re.compile(r"np\.float(16|32)\b")


class Line:
    """One statement: what it makes, its tree and its text, and whether it goes backward.

    `own` are the lines in which somebody may go wrong who goes backward: those of the gradients,
    and what the forward pass has no name for, so that it has to be worked out again. `others` are
    other ways of writing it, `root` is the line of the book that this is a way of writing. Where a
    line goes back through a function, `passes` is what comes from above and the function's name.
    """

    others: tuple[Line, ...] = ()
    passes: tuple[str, str] | None = None

    def __init__(
        self,
        name: str,
        tree: ast.Module,
        backward: bool = True,
        own: bool = True,
        scope: str = "",
        root: Line | None = None,
    ) -> None:
        self.name, self.tree, self.scope = name, tree, scope
        self.backward, self.own, self.root = backward, own or backward, root or self

    @cached_property
    def text(self) -> str:
        """As it stands in a program."""
        return text(self.tree)

    @property
    def value(self) -> ast.expr | None:
        """What it computes, if it is one expression."""
        match self.tree.body:
            case [ast.Assign(value=value)]:
                return value
        return None

    @cached_property
    def code(self) -> Any:
        """Ready to run."""
        return compile(self.tree, "<line>", "exec")

    @cached_property
    def cost(self) -> int:
        """About how long it takes, as a multiple of what a line takes."""
        return 1 + 8 * sum(isinstance(node, ast.For) for node in self.tree.body)

    @cached_property
    def reads(self) -> frozenset[str]:
        """The names that stand in it, without its own."""
        return frozenset(names_in(self.tree) - {self.name})


def text(tree: ast.AST) -> str:
    """A tree as it stands in a program."""
    return ast.unparse(tree).replace("Ellipsis", "...")


def names_in(tree: ast.AST) -> set[str]:
    """All names in a tree."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def leading(lines: list[Line], names: set[str], cut: set[str]) -> list[Line]:
    """Those of the lines that some values rest on, but not what those in `cut` rest on."""
    needed, found = set(names), []
    for line in reversed(lines):
        if line.name in needed and line.name not in cut:
            needed |= line.reads
            found.append(line)
    return found[::-1]


def resting(lines: Iterable[Line], names: Iterable[str]) -> Iterator[Line]:
    """Those of the lines that rest on some values."""
    reached = set(names)
    for line in lines:
        if line.reads & reached:
            reached.add(line.name)
            yield line


def parsed(lines: list[str]) -> ast.Module:
    """The tree of a statement; it computes in float64 throughout."""
    return ast.parse(COARSE.sub("np.float64", "\n".join(lines)))


class Book:
    """The lines of one step, and the values with which they are run."""

    def __init__(self, program: Program, level: str, wanted: Iterable[Var] = ()) -> None:
        asked = with_gradients(program)
        roots = [x for x in wanted if x not in asked.outputs]
        asked = replace(asked, outputs=[*asked.outputs, *roots])
        shown = replace(
            shown_program(asked, level),
            states=[replace(s, after=s.before) for s in asked.states],  # no update of a parameter
        )
        self.listing = listing = Listing(shown, level == "primitive")
        self.writer = listing.writer
        names = self.writer.names.of
        values = {**oracle(shown, program.example), **program.example}
        self.given = {names[x]: wide(values[x]) for x in listing.parameters()}
        self.lines = [
            Line(names[s.out], parsed(s.lines), goes_back(s), not s.out.name, scope_of(s))
            for s in self.writer.statements
            if s.out is not None and s.out in names
        ]
        self.gradients = self.called(shown)
        self.add_gradients(shown)
        self.paths = {  # how modules call their parameters: 0_weight, which is W0 here
            re.sub(r"\W", "_", s.before.name): "d" + names[s.before]
            for s in shown.states
            if s.before.name and s.before in names
        }
        of = [*shown.gradient_of, *(k.var for k in shown.grads)]
        self.slopes = {names[x] for x in of if x in names}  # what holds a gradient
        trees = self.writer.trees
        self.makers = {line.name: line for line in self.lines}
        self.tensors = {  # what each is the gradient of: names, or how it is computed
            names[g]: [ast.unparse(trees[x]) for x in sources if x in trees]
            for g, sources in shown.gradient_of.items()
            if g in names and any(x in trees for x in sources)
        }
        self.sources = {g: max(sources, key=tell) for g, sources in self.tensors.items()}
        self.add_passes(shown, program)

    def add_gradients(self, shown: Program) -> None:
        """Lines for the gradients that stand in the return statement alone: (x + w).sum() has ones.

        So has the h of h.sum(), if somebody asks for it: such a line stands before those that are
        computed with it. The x of (x * w).sum() has one, too. Another gradient is called so.
        """
        backward = {line.name for line in self.lines if line.backward}
        names, owner = self.writer.names.of, {s.node: s.before for s in shown.states}
        trees = dict(zip(shown.outputs, self.writer.returned)) | self.writer.gradients
        start = next((i for i, x in enumerate(self.lines) if x.backward), len(self.lines))
        handed = [x for x in shown.gradient_of if x in trees]
        found = [(x, of) for x in handed for of in shown.gradient_of[x] if of in names]
        found += [(k.var, owner[k.node]) for k in shown.grads if k.var and k.node in owner]
        for x, of in found:
            name, tree = "d" + names[of], trees[x]
            if isinstance(tree, ast.Name) and (tree.id == name or tree.id in backward):
                self.gradients.setdefault(name, tree.id)
            else:
                self.gradients.pop(name, None)
                line = Line(name, parsed([f"{name} = {ast.unparse(tree)}"]))
                reads = line.reads.intersection(x.name for x in self.lines)
                first = len(self.lines) if reads else start
                self.lines.insert(first, line)
                start += not reads

    def add_passes(self, shown: Program, program: Program) -> None:
        """Which lines make the gradient of what an activation function takes, that of its value."""
        names, trees = self.writer.names.of, self.writer.trees
        above = {x: g for g, sources in shown.gradient_of.items() for x in sources}
        forward = [s for s in program.steps if s.scope[:1] != ("backward",)]
        scopes = [next((x for x in s.scope if x in ACTIVATIONS), "") for s in forward]
        for scope, group in groupby(zip(scopes, forward), key=lambda pair: pair[0]):
            steps = [step for _, step in group]
            outs, h = {step.out for step in steps}, steps[-1].out
            taken = {x for step in steps for x in step.operands} - outs
            elsewhere = {x for step in forward if step not in steps for x in step.operands}
            for z in taken - elsewhere if scope and h in above else ():
                line = self.makers.get(names.get(above[z], "")) if z in above else None
                if line and above[h] in trees and z.shape == h.shape:
                    line.passes = ast.unparse(trees[above[h]]), scope

    def called(self, shown: Program) -> dict[str, str]:
        """What somebody would call a gradient, and the name of that value in the book."""
        names, trees = self.writer.names.of, self.writer.trees
        found: dict[str, str] = {}
        for of in (lambda x: names.get(x, ""), lambda x: x.name):  # a second h is h2 in the book
            for gradient, sources in shown.gradient_of.items():
                tree = trees.get(gradient)
                for name in filter(None, map(of, sources)):
                    if isinstance(tree, ast.Name):
                        found.setdefault("d" + name, tree.id)
        return found

    def named(self, name: str) -> str | None:
        """The value that somebody calls so: `dW1`, `d_layers_0_weight`, `model.fc1.weight`."""
        if name in self.gradients or name in self.truth:
            return self.gradients.get(name, name)
        plain = re.sub(r"\W+", "_", name.removesuffix(".grad").removesuffix("_grad"))
        for path in (plain, re.sub(r"^(d|grad|gradient)_?", "", plain)):
            fits = [
                own
                for known, own in self.paths.items()
                if known == path or known.endswith(f"_{path}") or path.endswith(f"_{known}")
            ]
            exact = [self.paths[path]] if path in self.paths else fits
            if len(exact) == 1 and (own := self.gradients.get(exact[0], exact[0])) in self.truth:
                return own
        return None

    @cached_property
    def truth(self) -> Values:
        """Every value of the book."""
        return self.run(self.given, self.lines)

    def run(self, values: Mapping[str, Any], lines: Iterable[Line]) -> Values:
        """What the lines make of the values. NumPy's errors are handed on; its warnings are not."""
        space = dict(values)
        with np.errstate(all="ignore"):
            for line in lines:
                exec(line.code, {"np": np, "math": math}, space)
        return space

    def attempt(self, values: Mapping[str, Any], lines: Iterable[Line]) -> Values | None:
        """The same; None where the lines do not fit together."""
        try:
            return self.run(values, lines)
        except Exception:  # a line that is written otherwise may fail in any way
            return None

    def slice(self, name: str, cut: Iterable[str] = ()) -> list[Line]:
        """The lines of one's own that a value rests on, but not what those in `cut` rest on."""
        return leading([line for line in self.lines if line.own], {name}, {*cut} - {name})


class Books:
    """A step in two books: the formulas of a textbook, and every single step of the chain rule."""

    def __init__(self, program: Program, wanted: Iterable[Var] = ()) -> None:
        self.program = program
        self.formula = Book(program, "formula", wanted)
        self.samples = max([1, *(x.shape[0] for x in program.inputs[:1] if x.shape)])
        self.coarse = any(np.asarray(v).dtype == np.float32 for v in program.example.values())

    @cached_property
    def single(self) -> Book:
        """Every single step."""
        return Book(self.program, "primitive")

    def __iter__(self) -> Iterator[Book]:
        yield self.formula
        yield self.single

    @cached_property
    def named(self) -> Values:
        """The values of the forward pass that the step's own code has a name for."""
        program = self.program
        values = oracle(program, {x: wide(v) for x, v in program.example.items()})
        made = [s.out for s in program.steps if s.scope[:1] != ("backward",)]
        return {x.name: wide(values[x]) for x in made if x.name}


def tell(source: str) -> tuple[bool, int]:
    """What tells more of a value: its name, else the most of how it is computed."""
    return source.isidentifier(), len(source)


def wide(value: Any) -> Any:
    """A float array in float64: what is compared is the mathematics, not the rounding."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f":
        return np.asarray(value, np.float64)
    return value


def scope_of(statement: Statement) -> str:
    """The function or layer that a line belongs to: `relu`, `cross_entropy`, or nothing."""
    labels = [x.removeprefix("backward of ") for x in statement.labels if x != "backward"]
    return next((x for x in reversed(labels) if x), "")


def goes_back(statement: Statement) -> bool:
    """Whether a line belongs to the backward pass."""
    step = statement.step
    return step is not None and label(step.scope).startswith("backward")
