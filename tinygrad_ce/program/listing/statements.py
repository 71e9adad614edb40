"""From a Program to lines of NumPy: what gets a line, in which order, in place or not.

A value that is read once and has no name of its own moves into the expression that reads it, as
long as that stays short. State is written in place as soon as nobody reads its old value any more.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.program.ir import Program, State, Step, Var
from tinygrad_ce.program.listing.expressions import (
    BLOCKS,
    WINDOWS,
    block,
    expression,
    fill,
    literal,
    mean,
    parsed,
    whole,
)
from tinygrad_ce.program.listing.names import OPTIMIZER_SCOPES, Names
from tinygrad_ce.program.ops import ELEMENTWISE, VIEWS

SHORT, LONG = 52, 76  # characters: what may move into another expression, what makes a line
OWN_LINE = ("p", "onehot", "xhat", "logp", "columns")
SMALL = 12  # elements of a constant that is written out


@dataclass(eq=False)
class Statement:
    """Some lines that make one value."""

    out: Var | None
    lines: list[str]
    reads: set[Var]
    labels: list[str]
    step: Step | None = None
    tree: ast.expr | None = None
    shape: tuple[int, ...] | None = None
    steps: list[Step] = field(default_factory=list)


class Writer:
    """Writes the statements of a program."""

    def __init__(self, program: Program, exact: bool, known: dict[Var, str] | None = None) -> None:
        self.program = program
        self.exact = exact
        self.names = Names(program, known)
        self.uses = program.uses()
        self.makers = program.makers()
        self.trees: dict[Var, ast.expr] = {
            x: parsed(self.names.of[x])
            for x in program.given()
            if x in self.names.of and x not in program.constants
        }
        self.reads: dict[Var, set[Var]] = {x: {x} for x in self.trees}
        self.labels: dict[Var, list[str]] = {}
        self.inside: dict[Var, list[Step]] = {}
        self.pending: dict[Var, Step] = {}
        self.arguments: dict[Var, str] = {}  # draws and large constants: what they are
        self.statements: list[Statement] = []
        self.grads = {k.var for k in program.grads if k.var is not None}
        self.asked = self.grads | {s.after for s in program.states if s.after is not s.before}
        for step in program.steps:
            self.take(step)
        self.returned = [self.result(x) for x in program.outputs]
        self.gradients = {x: self.result(x) for x in self.grads}
        self.write_states()

    # --- expressions ------------------------------------------------------------------------

    def take(self, step: Step) -> None:
        """Write a step down, as a line or for the expression that will read it."""
        if step.op == "draw":
            self.argument(step.out, drawn(step), self.names.name(step))
            return
        waiting = [x for x in step.operands if x in self.pending]
        if step.op in WINDOWS:  # a loop reads names
            for x in waiting:
                self.emit(self.pending.pop(x))
            waiting = []
        tree = self.tree(step)
        while waiting and width(step, tree) > LONG:
            longest = max(waiting, key=lambda x: width(step, self.trees[x]))
            self.emit(self.pending.pop(longest))
            tree = self.tree(step)
            waiting.remove(longest)
        self.trees[step.out] = tree
        self.reads[step.out] = set().union(*(self.reads.get(x, {x}) for x in step.operands))
        self.labels[step.out] = self.labels_of(step)
        inside = [s for x in step.operands if x in self.pending for s in self.inside[x]]
        self.inside[step.out] = [*{s.out: s for s in inside}.values(), step]
        self.pending[step.out] = step
        if not self.moves(step, tree):
            self.emit(self.pending.pop(step.out))

    def labels_of(self, step: Step) -> list[str]:
        """The scopes of a step and of what moved into it."""
        inside = [lab for x in step.operands if x in self.pending for lab in self.labels[x]]
        return list(dict.fromkeys([*inside, label(step.scope)]))

    def moves(self, step: Step, tree: ast.expr) -> bool:
        """Whether a value has no line of its own."""
        var = step.out
        if self.exact or step.op in BLOCKS or var in self.asked or var.name:
            return False
        if self.names.recognised(step) in OWN_LINE:
            return False
        if any(x in self.names.of for x in self.program.gradient_of.get(var, ())):
            return False  # dh, where h has a line
        named = step.op in VIEWS and isinstance(self.trees.get(step.operands[0]), ast.Name)
        length = width(step, tree)
        return (named and length <= 24) or (self.uses.get(var) == 1 and length <= SHORT)

    def tree(self, step: Step) -> ast.expr:
        """The expression of a step."""
        if not self.exact and (average := self.mean(step)) is not None:
            return average
        if step.op in BLOCKS:
            return ast.Constant(None)
        return expression(step, [self.operand(x, step) for x in step.operands], self.exact)

    def mean(self, step: Step) -> ast.expr | None:
        """Σ x / n with n the number of what is added: x.mean()."""
        total = self.makers.get(step.operands[0]) if step.op == "divide" else None
        n = self.program.constants.get(step.operands[-1]) if total else None
        if (
            total is None
            or total.op != "sum"
            or total.out not in self.pending
            or n is None
            or np.ndim(n)
        ):
            return None
        x = total.operands[0]
        if float(n) != x.size / max(total.out.size, 1) or x.dtype.kind != "f":
            return None
        return mean(total, self.operand(x, total))

    def operand(self, x: Var, step: Step | None) -> ast.expr:
        """The expression for what a step reads."""
        if x in self.trees:
            return self.trees[x]
        value = self.program.constants[x]
        if np.ndim(value) == 0:
            return self.number(x, value, step)
        tree = written_out(np.asarray(value))
        if tree is None:
            self.argument(x, f"a constant, {x.shape}", x.name or "table")
            return self.trees[x]
        return tree

    def number(self, x: Var, value: Any, step: Step | None) -> ast.expr:
        """A constant number: a bare one takes the dtype of what it meets."""
        others = [o for o in step.operands if o not in self.program.constants] if step else []
        met = {o.dtype for o in others if o.dtype is not None and o.dtype != bool}
        item: Any = value if type(value) in (bool, int, float) else np.asarray(value)[()]
        bare = x.dtype is None or (step is not None and step.op in ELEMENTWISE and met == {x.dtype})
        floats = {np.dtype(d).kind for d in met} == {"f"}
        if bare and not self.exact and floats and np.isfinite(item) and whole(item):
            item = int(item)
        tree = literal(item)
        return tree if bare else fill("a(b)", a=literal(np.dtype(x.dtype)), b=tree)

    def argument(self, var: Var, what: str, name: str) -> None:
        """A value that the caller gives."""
        if var not in self.names.of:
            self.names.give(var, name)
        self.trees[var] = parsed(self.names.of[var])
        self.reads[var] = {var}
        self.arguments[var] = what

    def result(self, x: Var) -> ast.expr:
        """The expression for what is looked at after the run."""
        if x in self.pending and (self.uses.get(x) != 1 or self.aliases_state(x)):
            self.emit(self.pending.pop(x))
        return self.operand(x, None)

    def aliases_state(self, x: Var) -> bool:
        """Whether a pending result reads state that will have been written when it is returned."""
        return any(
            s.after is not s.before and s.before in self.reads[x] for s in self.program.states
        )

    # --- lines ------------------------------------------------------------------------------

    def emit(self, step: Step) -> None:
        """A line for a step."""
        out = step.out
        name = self.names.name(step)
        tree = None if step.op in BLOCKS else self.trees[out]
        if tree is None:
            operands = [self.operand(x, step) for x in step.operands]
            lines = block(step, name, operands, self.exact, self.names.counter())
        else:
            lines = [f"{name} = {ast.unparse(tree)}"]
        reads, labels, inside = self.reads[out], self.labels[out], self.inside[out]
        self.statements.append(Statement(out, lines, reads, labels, step, tree, out.shape, inside))
        self.trees[out] = parsed(name)
        self.reads[out] = {out, *(self.reads[out] if step.op in VIEWS else ())}

    # --- state ------------------------------------------------------------------------------

    def write_states(self) -> None:
        """Put new values into the arrays of the state."""
        written = [s for s in self.program.states if s.after is not s.before]
        in_place = self.states_in_place(written)
        self.rename({self.names.of[x]: self.names.of[s.before] for x, s in in_place.items()})
        for here in self.statements:
            if here.out in in_place and here.tree is not None:
                before = in_place[here.out].before
                here.lines = [update(self.names.of[before], here.tree, not before.shape)]
                here.shape = None
        late = [s for s in written if s.after not in in_place]
        late_befores = {s.before for s in written}
        copies, writes = [], []
        shared: dict[Var, str] = {}
        for x in dict.fromkeys([*(s.after for s in late), *self.program.outputs]):
            if self.reads.get(x, set()) & late_befores:
                shared[x] = self.names.give(
                    Var((), None, True), f"old_{ast.unparse(self.trees[x])}"
                )
                copied = fill("a.copy()", a=self.trees[x])
                copies.append(f"{shared[x]} = {ast.unparse(copied)}")
        for state in late:
            source = shared.get(state.after) or ast.unparse(self.operand(state.after, None))
            writes.append(f"{self.names.of[state.before]}[...] = {source}")
        if copies:
            self.statements.append(Statement(None, copies, set(), []))
            self.returned = [
                parsed(shared[x]) if x in shared else tree
                for x, tree in zip(self.program.outputs, self.returned)
            ]
        self.statements.extend(Statement(None, [line], set(), []) for line in writes)

    def states_in_place(self, written: list[State]) -> dict[Var, State]:
        """New value -> state, where it is written as it is made: nobody reads the old one then."""
        made = {s.out: i for i, s in enumerate(self.statements) if s.tree is not None}
        last_read = {x: i for i, s in enumerate(self.statements) for x in s.reads}
        asked = [*self.program.outputs, *(s.after for s in self.program.states)]
        asked_for = Counter(x for after in asked for x in self.reads.get(after, ()))
        afters = Counter(s.after for s in self.program.states)

        def fits(state: State) -> bool:
            before, after = state.before, state.after
            if after not in made or after in self.grads or afters[after] != 1:
                return False
            own = before in self.reads.get(after, ())
            return last_read.get(before, -1) <= made[after] and asked_for[before] == own

        return {state.after: state for state in written if fits(state)}

    def rename(self, names: dict[str, str]) -> None:
        """Call values by other names in every line."""
        other = {old: new for old, new in names.items() if old != new}
        if not other:
            return
        filling: dict[str, ast.expr] = {old: parsed(new) for old, new in other.items()}
        word = re.compile(rf"(?<![\w.'])({'|'.join(other)})(?![\w'=])")  # no x.T, axis=1, 'ij'
        for s in self.statements:
            if s.tree is None:
                s.lines = [word.sub(lambda found: other[found[0]], line) for line in s.lines]
            elif s.tree is not (tree := renamed(s.tree, filling)):
                s.lines = [f"{s.lines[0].partition(' ')[0]} = {ast.unparse(tree)}"]
                s.tree = tree
        self.returned = [renamed(t, filling) for t in self.returned]
        self.gradients = {x: renamed(t, filling) for x, t in self.gradients.items()}
        self.trees = {x: renamed(t, filling) for x, t in self.trees.items()}


def width(step: Step, tree: ast.expr) -> int:
    """How long an expression is. Updates count with short names: in a loop, where they are the same
    for every parameter, they get some.
    """
    text = ast.unparse(tree)
    if step.scope[:1] in OPTIMIZER_SCOPES:
        text = re.sub(r"\w{12,}", "name_of_it", text)
    return len(text)


def renamed(tree: ast.expr, filling: dict[str, ast.expr]) -> ast.expr:
    """A tree with names replaced."""
    if not any(isinstance(node, ast.Name) and node.id in filling for node in ast.walk(tree)):
        return tree
    return fill(ast.unparse(tree), **filling)


def update(name: str, tree: ast.expr, number: bool) -> str:
    """`name -= ...` if the new value is made from the old one so, else `name[...] = ...`.

    A number is an array of no axes: `t[...] += 1` fails on a Python number, `t += 1` would count
    for itself.
    """
    signs = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
    if isinstance(tree, ast.BinOp) and type(tree.op) in signs:
        left, right = tree.left, tree.right
        if isinstance(tree.op, (ast.Add, ast.Mult)) and ast.unparse(right) == name:
            left, right = right, left
        if ast.unparse(left) == name:
            place = f"{name}[...]" if number else name
            return f"{place} {signs[type(tree.op)]}= {ast.unparse(right)}"
    return f"{name}[...] = {ast.unparse(tree)}"


def drawn(step: Step) -> str:
    """What a random draw is, in words."""
    method, args = step.attrs["method"], step.attrs["args"]
    if method == "bernoulli" and args[0] is not table.SLOT:
        return f"drawn anew for each run: 1 with probability {args[0]:g}, else 0; {step.out.shape}"
    return f"drawn anew for each run: {method}, {step.out.shape}"


def written_out(value: np.ndarray) -> ast.expr | None:
    """An array as an expression, if that is short."""
    dtype, shape = literal(value.dtype), literal(value.shape)
    if value.ndim == 1 and value.dtype == np.int64 and np.array_equal(value, np.arange(len(value))):
        return fill("np.arange(n)", n=literal(len(value)))
    if value.size and (value == value.flat[0]).all():
        first = value.flat[0]
        if first == 0 or first == 1:
            return fill(
                f"np.{'ones' if first else 'zeros'}(shape, dtype)", shape=shape, dtype=dtype
            )
        number = literal(first)
        return fill("np.full(shape, a, dtype)", shape=shape, a=number, dtype=dtype)
    if value.ndim == 2 and np.array_equal(value, np.eye(*value.shape)):
        return fill(
            "np.eye(a, b, dtype=c)", a=literal(value.shape[0]), b=literal(value.shape[1]), c=dtype
        )
    if value.size > SMALL:
        return None
    nested: list[Any] = value.tolist()
    if value.dtype == np.float32:
        nested = np.vectorize(lambda x: float(str(np.float32(x))), otypes=[float])(value).tolist()
    text = repr(nested).replace("inf", "np.inf").replace("nan", "np.nan")
    return fill("np.array(a, dtype)", a=parsed(text), dtype=dtype)


def label(scope: tuple[str, ...]) -> str:
    """The comment for a scope: `fc1`, `Linear 0`, `backward of cross_entropy`."""
    back = scope[:1] == ("backward",)
    path = list(scope[1:] if back else scope)
    modules = [name.partition(" ") for name in path if " " in name]
    if modules:
        where = ".".join(name for _, _, name in modules)
        what = f"{modules[-1][0]} {where}"  # those in a list have a number and the class's name
    else:
        while len(path) > 1 and path[0][:1].isupper():
            path.pop(0)
        what = path[0] if path else ""
    if not back:
        return what
    return f"backward of {what}" if what else "backward"
