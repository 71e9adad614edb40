"""What tensors are called in the user's own source: `q` of `q, k = self.query(x), self.key(x)`.

A node that was recorded under `source_lines()` knows the expressions that were being evaluated when
it was made, that of the nearest caller first. The value of an expression is named after what it is
assigned to, if it is returned after what the call is assigned to. Else its text has to do.
"""

from __future__ import annotations

import ast
import linecache
import opcode
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple, TypeGuard

from tinygrad_ce.engine.frame import PICTURE, Call
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.viz.graph.names import writable

MODULE = 3  # so many frames of ours are between a call of a module and its forward
READ = 200  # so many operations are looked at for the names in a text
TEXT = 34  # letters of an expression that can stand for a name
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

Span = tuple[int | None, int | None, int | None, int | None]
Part = tuple[tuple[int, int], ...]
"""Of tuples within each other: the place of an element, and how many elements there are."""


class Source(NamedTuple):
    """A file as a tree: what stands at a span of it, and what is around that."""

    lines: list[str]
    at: dict[Span, ast.AST]
    around: dict[ast.AST, ast.AST]


class Names(NamedTuple):
    """Names by assignment and, of what has none, texts of expressions."""

    names: dict[Node, str]
    texts: dict[Node, str]


def written(
    operations: Sequence[Node], operands: Mapping[Node, Sequence[Node]], given: Mapping[Node, str]
) -> Names:
    """The names and texts of operations, oldest first, and of the leaves that they read.

    What is in `given` keeps that name, and no other tensor gets it: of several that are assigned to
    one name, or share it with a given one, each has a number: h₁, h₂.
    """
    names: dict[Node, str] = {}
    texts: dict[Node, Text] = {}
    files = Files()
    partial = {x for node in operations for x in partial_sums(files, node, operands)}
    leaves = {x for xs in operands.values() for x in xs if not x.inputs}
    for node, part, run in results(files, operations):
        if node in partial:
            continue
        name, text = name_and_text(files, node, part)
        for x, word in operands_in(files, node, operands.get(node, ())):
            if x in leaves:
                names.setdefault(x, word)
        if name:
            names[node] = name
        elif text is not None:
            texts[node] = Text(*text, run)
    for x in given:
        names.pop(x, None)
        texts.pop(x, None)
    bases = {*names.values(), *given.values()}
    names = numbered(names, set(given.values()))
    called = {**names, **given}
    fitting = {
        x: text.text
        for x, text in texts.items()
        if text.words & bases <= read_by(text.run, operands, called)
    }  # `h @ W` means nothing where there are h₁ and h₂
    return Names(names, numbered(fitting, set(), " "))


FOLDS = {"sum", "prod", "reduce"}  # functions of Python that apply an operator again and again


def partial_sums(
    files: Files, node: Node, operands: Mapping[Node, Sequence[Node]]
) -> Iterator[Node]:
    """What one evaluation of `sum(...)` has added up before: no value of the expression."""
    e = files.expression(node.line[0])[1] if knows(node) else NOWHERE
    if isinstance(e, ast.Call) and getattr(e.func, "id", getattr(e.func, "attr", "")) in FOLDS:
        for x in operands.get(node, ()):
            if knows(x) and evaluation(x) == evaluation(node):
                yield x


class Text(NamedTuple):
    """An expression: its text, the names in it, and the operations that evaluated it."""

    text: str
    words: set[str]
    run: list[Node]


def read_by(
    run: Sequence[Node], operands: Mapping[Node, Sequence[Node]], names: Mapping[Node, str]
) -> set[str]:
    """The names of what operations read, or of what those without a name were computed from."""
    waiting, seen = list(run), set(run)
    found = set()
    while waiting and len(seen) < READ:
        for x in operands.get(waiting.pop(), ()):
            if x in names and x not in seen:
                found.add(names[x])
            elif x not in seen:
                seen.add(x)
                waiting.append(x)
    return found


def numbered(names: Mapping[Node, str], taken: Collection[str], gap: str = "") -> dict[Node, str]:
    """The same with a number behind each name that stands for several tensors."""
    total = Counter(names.values())
    so_far: Counter[str] = Counter()
    found = {}
    for node, name in names.items():
        so_far[name] += 1
        several = total[name] > 1 or name in taken
        number = str(so_far[name]).translate(SUBSCRIPTS) if not gap else f"({so_far[name]})"
        found[node] = f"{name}{gap}{number}" if several else name
    return found


# --- which operation gives the value of an expression ---------------------------------------


def results(files: Files, operations: Sequence[Node]) -> Iterator[tuple[Node, Part, list[Node]]]:
    """The operations that end the evaluation of an expression, in order.

    A call of one of our functions is several operations in a scope of its own, of which the last
    one counts. What has no scope ends with each operation; of different ones, as in a backward
    pass, it does not show which give the value. Of a call that gives several tensors each is a
    part.
    """
    known = [node for node in operations if knows(node)]
    runs: dict[Any, list[Node]] = {}
    for (key, scope), together in groupby(known, key=evaluation):
        runs.setdefault(scope if scope is not None else (key, len(runs)), []).extend(together)
    found: dict[Node, tuple[Part, list[Node]]] = {}
    for run in runs.values():
        ends = [node for node in run if node.op is run[-1].op]
        several, scope = parts_of(files, run[-1]), evaluation(run[-1])[1]
        mixed = len(ends) < len(run)
        if several and scope is not None and scope.gave is not None:
            ticks = {tick: part for tick, part in elements(scope.gave) if tick}
            found.update((node, (ticks[node.tick], run)) for node in run if node.tick in ticks)
        elif several and not mixed and len(ends) % several == 0:
            found.update((node, (((i % several, several),), run)) for i, node in enumerate(ends))
        elif scope is not None and not several:
            found[run[-1]] = (), run
        elif not mixed:
            found.update((node, ((), run)) for node in ends)
    order = {node: i for i, node in enumerate(known)}
    for node in sorted(found, key=order.__getitem__):
        yield node, *found[node]


def elements(ticks: Any, part: Part = ()) -> Iterator[tuple[int, Part]]:
    """The ticks of results, each with its place in the tuples that hold it."""
    if not isinstance(ticks, tuple):
        yield ticks, part
        return
    for i, inner in enumerate(ticks):
        yield from elements(inner, (*part, (i, len(ticks))))


def evaluation(node: Node) -> tuple[Any, Any]:
    """What operations of one expression have in common: its place, and the scope that it opened."""
    return tuple(call[:2] for call in node.line), opened(node, 0)


def opened(node: Node, level: int) -> Any:
    """The outermost scope that a line on the stack opened, None if it opened none."""
    count = node.line[level][2] - (node.line[level - 1][2] if level else 0)
    scope = node.scope
    for _ in range(node.line[level][2] - 1):
        scope = scope.outer if scope is not None else None
    return scope if count else None


def parts_of(files: Files, node: Node) -> int:
    """Into how many names the value of an expression is unpacked, 0 for none."""
    source, e = files.expression(node.line[0])
    if source is None:
        return 0
    outer = source.around.get(e)
    target = e if isinstance(getattr(e, "ctx", None), ast.Store) else None
    if isinstance(outer, ast.Assign) and outer.value is e:
        target = outer.targets[0]
    return len(target.elts) if isinstance(target, (ast.Tuple, ast.List)) else 0


# --- what it is called ----------------------------------------------------------------------


def name_and_text(files: Files, node: Node, part: Part) -> tuple[str, tuple[str, set[str]] | None]:
    """The name of a value, "" for none, and the text of its expression with the names in it."""
    text = None
    for level, line in enumerate(node.line):
        source, e = files.expression(line)
        if source is None or hidden_behind(node, level):
            break
        if text is None and not part and isinstance(e, ast.expr):
            text = text_of(source, e)
        name, part, goes_on = target_of(source, e, part)
        if name or not goes_on:
            return name, text
    return "", text


def hidden_behind(node: Node, level: int) -> bool:
    """Whether the value may have been worked on between the return and the line that called.

    A module's own call hands on what its forward gives; anything else of ours may do more.
    """
    if not level:
        return node.line[0][3] >= PICTURE  # nothing but the line that makes the picture
    scopes, frames = (node.line[level][i] - node.line[level - 1][i] for i in (2, 3))
    return bool(frames) and (scopes != 1 or frames > MODULE)


def target_of(source: Source, e: ast.AST, part: Part) -> tuple[str, Part, bool]:
    """What a value is assigned to, which part of a returned tuple it is, and if it is returned."""
    if isinstance(e, ast.AugAssign):
        return bound(e.target, ()), (), False
    if isinstance(e, ast.For):
        return bound(e.target, ()), (), False
    if isinstance(e, (ast.Subscript, ast.Attribute)) and isinstance(e.ctx, ast.Store):
        return bound(e.value, ()), (), False  # x[0] = v makes x anew
    if isinstance(e, (ast.Tuple, ast.List)) and isinstance(e.ctx, ast.Store):
        return bound(e, part), (), False
    while True:
        outer = source.around.get(e)
        if isinstance(outer, ast.NamedExpr):
            return bound(outer.target, part), (), False
        if isinstance(outer, (ast.Assign, ast.AnnAssign)) and outer.value is e:
            first = outer.targets[0] if isinstance(outer, ast.Assign) else outer.target
            return bound(first, part), (), False
        if isinstance(outer, ast.Return) or (isinstance(outer, ast.Lambda) and outer.body is e):
            return "", part, True
        if isinstance(outer, (ast.Tuple, ast.List)) and not isinstance(e, ast.Starred):
            at = next(i for i, x in enumerate(outer.elts) if x is e)
            part = ((at, len(outer.elts)), *part)
        elif not passes_on(outer, e):
            return "", part, False
        e = outer


def passes_on(outer: ast.AST | None, e: ast.AST) -> TypeGuard[ast.AST]:
    """Whether the value of e is that of what is around it, or an element of it."""
    if isinstance(outer, ast.IfExp):
        return e is not outer.test
    return isinstance(outer, (ast.ListComp, ast.GeneratorExp)) and e is outer.elt


def bound(target: ast.AST, part: Part) -> str:
    """The name that an assignment gives to a value, or to a part of it."""
    if isinstance(target, (ast.Tuple, ast.List)):
        if not part:
            return ""
        (at, count), *rest = part
        targets = spread(target.elts, count)
        return bound(targets[at], tuple(rest)) if targets else ""
    return writable(ast.unparse(target)) + "".join(f"[{at}]" for at, _ in part)


def spread(targets: list[ast.expr], count: int) -> list[ast.expr]:
    """What each of so many values is assigned to: `a, *b` of three is a, b[0], b[1]."""
    star = next((i for i, x in enumerate(targets) if isinstance(x, ast.Starred)), None)
    if star is None:
        return targets if len(targets) == count else []
    rest = targets[star]
    taken = [
        ast.Subscript(rest.value, ast.Constant(i), ast.Store())
        for i in range(count - len(targets) + 1)
        if isinstance(rest, ast.Starred)
    ]
    return [*targets[:star], *taken, *targets[star + 1 :]]


def text_of(source: Source, e: ast.expr) -> tuple[str, set[str]] | None:
    """An expression as it is written, and the names in it; None if it is too long for a name."""
    if isinstance(e, (ast.Name, ast.Constant)) or e.lineno != e.end_lineno:
        return None
    raw = source.lines[e.lineno - 1].encode()[e.col_offset : e.end_col_offset]
    text = writable(raw.decode(errors="replace"))
    parts = (x for x in ast.walk(e) if isinstance(x, (ast.Name, ast.Attribute)))
    return (text, {ast.unparse(part) for part in parts}) if len(text) <= TEXT else None


def operands_in(files: Files, node: Node, operands: Sequence[Node]) -> Iterable[tuple[Node, str]]:
    """The leaves that stand by name in an expression of two operands or of one."""
    _, e = files.expression(node.line[0])
    if isinstance(e, ast.Call):
        given = getattr(evaluation(node)[1], "given", ())
        own = len(given) - len(e.args) if isinstance(e.func, ast.Attribute) else 0  # x.softmax(1)
        yield from arguments_in(given[max(own, 0) :], e.args)
    if isinstance(e, ast.AugAssign):
        sides: list[ast.AST] = [e.target, e.value]
    elif isinstance(e, ast.BinOp):
        sides = [e.left, e.right]
    elif isinstance(e, (ast.UnaryOp, ast.Subscript)):
        sides = [e.operand if isinstance(e, ast.UnaryOp) else e.value]
    else:
        return
    if len(sides) > len(operands) or (len(operands) > len(sides) == 2):
        return
    for x, side in zip(operands, sides):
        number = x.array.ndim == 0 and not x.requires_grad
        if not x.inputs and not number and isinstance(side, (ast.Name, ast.Attribute)):
            yield x, writable(ast.unparse(side))


def arguments_in(given: Any, written: Sequence[ast.expr]) -> Iterable[tuple[Node, str]]:
    """The leaves that stand by name among the arguments of a call, in tuples, too."""
    if len(given) != len(written):
        return
    for x, e in zip(given, written):
        if isinstance(x, tuple) and isinstance(e, (ast.Tuple, ast.List)):
            yield from arguments_in(x, e.elts)
        elif x is not None and isinstance(e, (ast.Name, ast.Attribute)):
            node = None if isinstance(x, tuple) else x()
            if node is not None and not node.inputs and node.array.ndim:
                yield node, writable(ast.unparse(e))


# --- files ----------------------------------------------------------------------------------


class Files:
    """The files of a program, each read once."""

    def __init__(self) -> None:
        self.sources: dict[str, Source | None] = {}
        self.found: dict[tuple[Any, int], ast.AST | None] = {}

    def expression(self, line: Call) -> tuple[Source | None, ast.AST]:
        """What was being evaluated at a place of the program, and the file that it stands in."""
        code, instruction, *_ = line
        file = code.co_filename
        if file not in self.sources:
            self.sources[file] = parsed(linecache.getlines(file))
        source = self.sources[file]
        if source is None:
            return None, NOWHERE
        if (code, instruction) not in self.found:
            span = next(islice(code.co_positions(), instruction // 2, None), (None,) * 4)
            at = span[0], span[2], span[1], span[3]
            e = source.at.get(at)
            loop = source.around.get(e) if e is not None else None
            if isinstance(loop, ast.For) and code.co_code[instruction] == FOR_ITER:
                e = loop  # pragma: no cover - from Python 3.12 on, which is at what it goes through
            self.found[code, instruction] = e
        e = self.found[code, instruction]
        return (source, e) if e is not None else (None, NOWHERE)


def parsed(lines: list[str]) -> Source | None:
    """A file as a tree, None where it is none of Python's."""
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        return None
    at: dict[Span, ast.AST] = {}
    around: dict[ast.AST, ast.AST] = {}
    for outer in ast.walk(tree):
        for inner in ast.iter_child_nodes(outer):
            around[inner] = outer
            if isinstance(inner, (ast.expr, ast.stmt)):
                span = inner.lineno, inner.col_offset, inner.end_lineno, inner.end_col_offset
                if not isinstance(at.get(span), ast.expr):
                    at[span] = inner
    return Source(lines, at, around)


def knows(node: Node) -> bool:
    """Whether a node knows the expressions that made it, and not just a line."""
    line = getattr(node, "line", None)
    return bool(line) and not hasattr(line, "number")


NOWHERE = ast.Pass()
FOR_ITER = opcode.opmap["FOR_ITER"]
