"""How many slips the grader names: `python -m tests.grading` measures it and prints a table.

    python -m tests.grading            measure, and print
    python -m tests.grading --write    put the table into docs/teaching.md

Eight networks stand here with backward passes that people wrote, in their own spelling. Each slip
is put into such a text, at every place where it makes sense, by `slips` below, which shares nothing
with the grader; what then comes out on two examples is handed to `teach.check`. A slip counts as
named where the grader marks the answer of the very line, and gives a cause that holds on both
examples; as named wrongly, where it marks another answer or what it says holds on one example only.
"""

from __future__ import annotations

import ast
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce.nn import functional as F
from tinygrad_ce.teach import grader
from tinygrad_ce.teach.answers import numbers, traced as program_of
from tinygrad_ce.teach.near import agree

PAGE = Path(__file__).parent.parent / "docs" / "teaching.md"


def made(*shape: int) -> tg.Tensor:
    return tg.randn(*shape, requires_grad=True)


# --- networks, each with a backward pass by hand ------------------------------------------------


def logistic() -> Any:
    w, b = made(3), made(1)

    def step(x: Any, y: Any) -> Any:
        z = x @ w + b
        return F.binary_cross_entropy_with_logits(z, y)

    return step, (tg.randn(8, 3), tg.bernoulli(tg.full((8,), 0.5)))


LOGISTIC = """
p = 1 / (1 + np.exp(-z))
dz = (p - y) / len(y)
dw = x.T @ dz
db = dz.sum(keepdims=True)
"""


def softmax() -> Any:
    W, b = made(5, 4), made(4)

    def step(x: Any, y: Any) -> Any:
        logits = x @ W + b
        return F.cross_entropy(logits, y)

    return step, (tg.randn(7, 5), tg.randint(0, 4, (7,)))


CROSS_ENTROPY = """
e = np.exp(logits - logits.max(1, keepdims=True))
p = e / e.sum(1, keepdims=True)
onehot = np.eye(logits.shape[1])[y]
dlogits = (p - onehot) / len(y)
"""
SOFTMAX = f"""{CROSS_ENTROPY}
dW = x.T @ dlogits
db = dlogits.sum(0)
"""


def two_layers() -> Any:
    W1, b1, W2, b2 = made(5, 4), made(4), made(4, 3), made(3)

    def step(x: Any, y: Any) -> Any:
        h = (x @ W1 + b1).relu()
        logits = h @ W2 + b2
        loss = F.cross_entropy(logits, y)
        loss.backward()
        return loss

    return step, (tg.randn(32, 5), tg.randint(0, 3, (32,)))


TWO_LAYERS = f"""{CROSS_ENTROPY}
dW2 = h.T @ dlogits
db2 = dlogits.sum(0)
dh = dlogits @ W2.T
dz = dh * (h > 0)
dW1 = x.T @ dz
db1 = dz.sum(0)
"""


def batch_norm() -> Any:
    W1, gain, bias, W2 = made(5, 4), made(4), made(4), made(4, 3)

    def step(x: Any, y: Any) -> Any:
        hpre = x @ W1
        mean = hpre.mean(0, keepdim=True)
        diff = hpre - mean
        var = (diff**2).sum(0, keepdim=True) / (len(x) - 1)
        inv = (var + 1e-5) ** -0.5
        xhat = diff * inv
        hbn = gain * xhat + bias
        h = hbn.tanh()
        logits = h @ W2
        return F.cross_entropy(logits, y)

    return step, (tg.randn(8, 5), tg.randint(0, 3, (8,)))


BATCH_NORM = f"""{CROSS_ENTROPY}
N = len(y)
dW2 = h.T @ dlogits
dh = dlogits @ W2.T
dhbn = dh * (1 - h**2)
dgain = (dhbn * xhat).sum(0)
dbias = dhbn.sum(0)
dxhat = dhbn * gain
dinv = (dxhat * diff).sum(0, keepdims=True)
dvar = dinv * -0.5 * (var + 1e-5) ** -1.5
ddiff = dxhat * inv + dvar * 2 * diff / (N - 1)
dmean = -ddiff.sum(0, keepdims=True)
dhpre = ddiff + dmean / N
dW1 = x.T @ dhpre
"""


def embedding() -> Any:
    C, W, b = made(7, 2), made(6, 7), made(7)

    def step(x: Any, y: Any) -> Any:
        emb = C[x]
        h = emb.view(len(x), -1).tanh()
        logits = h @ W + b
        return F.cross_entropy(logits, y)

    return step, (tg.randint(0, 7, (9, 3)), tg.randint(0, 7, (9,)))


EMBEDDING = f"""{CROSS_ENTROPY}
dW = h.T @ dlogits
db = dlogits.sum(0)
dh = dlogits @ W.T
demb = (dh * (1 - h**2)).reshape(emb.shape)
dC = np.zeros_like(C)
np.add.at(dC, x, demb)
"""


def attention() -> Any:
    Wq, Wk, Wv = made(6, 4), made(6, 4), made(6, 4)

    def step(x: Any, y: Any) -> Any:
        q = x @ Wq
        k = x @ Wk
        v = x @ Wv
        scores = q @ k.mT / 2
        att = F.softmax(scores, -1)
        out = att @ v
        return ((out - y) ** 2).mean()

    return step, (tg.randn(2, 5, 6), tg.randn(2, 5, 4))


ATTENTION = """
dout = 2 * (out - y) / out.size
datt = dout @ v.swapaxes(1, 2)
dv = att.swapaxes(1, 2) @ dout
dscores = att * (datt - (datt * att).sum(-1, keepdims=True))
dq = dscores @ k / 2
dk = dscores.swapaxes(1, 2) @ q / 2
dWq = np.einsum("nti,ntj->ij", x, dq)
dWk = np.einsum("nti,ntj->ij", x, dk)
dWv = np.einsum("nti,ntj->ij", x, dv)
"""


def cell() -> Any:
    Wx, Wh, b = made(3, 4), made(4, 4), made(4)

    def step(x: Any, y: Any, h0: Any) -> Any:
        z1 = x[:, 0] @ Wx + h0 @ Wh + b
        h1 = z1.tanh()
        z2 = x[:, 1] @ Wx + h1 @ Wh + b
        h2 = z2.tanh()
        return ((h2 - y) ** 2).mean()

    return step, (tg.randn(6, 2, 3), tg.randn(6, 4), tg.randn(6, 4))


CELL = """
dh2 = 2 * (h2 - y) / h2.size
dz2 = dh2 * (1 - h2**2)
dh1 = dz2 @ Wh.T
dz1 = dh1 * (1 - h1**2)
dWh = h1.T @ dz2 + h0.T @ dz1
dWx = x[:, 1].T @ dz2 + x[:, 0].T @ dz1
db = dz2.sum(0) + dz1.sum(0)
"""


def lenet() -> Any:
    K1, k1, K2, k2 = made(3, 1, 3, 3), made(3), made(4, 3, 2, 2), made(4)
    W1, b1, W2, b2 = made(16, 7), made(7), made(7, 5), made(5)

    def step(x: Any, y: Any) -> Any:
        c1 = F.conv2d(x, K1, k1)
        s1 = F.max_pool2d(c1, 2)
        a1 = s1.relu()
        c2 = F.conv2d(a1, K2, k2)
        s2 = F.max_pool2d(c2, 2)
        a2 = s2.relu()
        f = a2.flatten(1)
        h = (f @ W1 + b1).relu()
        logits = h @ W2 + b2
        return F.cross_entropy(logits, y)

    return step, (tg.randn(6, 1, 12, 12), tg.randint(0, 5, (6,)))


LENET = f"""
windows = np.lib.stride_tricks.sliding_window_view
{CROSS_ENTROPY}
dW2 = h.T @ dlogits
db2 = dlogits.sum(0)
dh = dlogits @ W2.T
dz = dh * (h > 0)
dW1 = f.T @ dz
db1 = dz.sum(0)
df = dz @ W1.T
da2 = df.reshape(a2.shape)
ds2 = da2 * (a2 > 0)
top2 = c2 == s2.repeat(2, 2).repeat(2, 3)
dc2 = top2 * ds2.repeat(2, 2).repeat(2, 3)
dk2 = dc2.sum((0, 2, 3))
dK2 = np.einsum("ncijuv,noij->ocuv", windows(a1, (2, 2), (2, 3)), dc2)
da1 = np.zeros_like(a1)
for i in range(4):
    for j in range(4):
        da1[:, :, i : i + 2, j : j + 2] += np.einsum("no,ocuv->ncuv", dc2[:, :, i, j], K2)
ds1 = da1 * (a1 > 0)
top1 = c1 == s1.repeat(2, 2).repeat(2, 3)
dc1 = top1 * ds1.repeat(2, 2).repeat(2, 3)
dk1 = dc1.sum((0, 2, 3))
dK1 = np.einsum("ncijuv,noij->ocuv", windows(x, (3, 3), (2, 3)), dc1)
"""

NETWORKS = {
    "logistic regression": (logistic, LOGISTIC),
    "softmax regression": (softmax, SOFTMAX),
    "two layers": (two_layers, TWO_LAYERS),
    "batch normalisation": (batch_norm, BATCH_NORM),
    "embedding": (embedding, EMBEDDING),
    "attention": (attention, ATTENTION),
    "RNN cell": (cell, CELL),
    "LeNet": (lenet, LENET),
}
INNER = {"e", "p", "onehot", "N", "windows", "top1", "top2"}  # no names of the step


def backward_of(text: str) -> Callable[..., dict[str, np.ndarray]]:
    """A student's lines as a function of the forward values."""
    code = compile(text, "<backward>", "exec")
    names = {line.partition(" = ")[0] for line in text.splitlines() if " = " in line}

    def backward(**given: Any) -> dict[str, np.ndarray]:
        space = {**given, "np": np}
        exec(code, space)
        return {name: space[name] for name in sorted(names - INNER) if name in space}

    return backward


# --- slips ---------------------------------------------------------------------------------------


def names_in(node: ast.AST) -> set[str]:
    return {x.id for x in ast.walk(node) if isinstance(x, ast.Name)} - {"np", "windows"}


def call(x: ast.expr, name: str, *more: ast.expr) -> ast.expr:
    return ast.Call(ast.Attribute(x, name, ast.Load()), list(more), [])


def slips(text: str, values: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(kind, what is wrong, the text with it) for each slip, at each place, in lines of gradients.

    `values` are all values of the right text: what another tensor could be mixed up with.
    """
    tree = ast.parse(text)
    for stmt in [x for x in ast.walk(tree) if isinstance(x, (ast.Assign, ast.AugAssign, ast.Expr))]:
        written = names_in(stmt.target if isinstance(stmt, ast.AugAssign) else stmt) - {"i", "j"}
        if isinstance(stmt, ast.Assign):
            written = names_in(stmt.targets[0])
        if not any(name[0] == "d" for name in written) or "zeros" in ast.unparse(stmt):
            continue
        right = ast.unparse(stmt)
        for owner, slot, index, node in places(stmt):
            if not any(np.ndim(values.get(name, 0)) for name in names_in(node)):
                continue  # a number: it is changed where it is read
            for kind, new in at_place(node, owner, values):
                put(owner, slot, index, new)
                wrong = ast.unparse(ast.fix_missing_locations(stmt))
                if wrong != right:
                    yield kind, f"{right}  ->  {wrong}", ast.unparse(tree)
                put(owner, slot, index, node)
        yield from whole(stmt, tree, right)


def whole(stmt: ast.stmt, tree: ast.Module, right: str) -> Iterator[tuple[str, str, str]]:
    """`=` for `+=` and for np.add.at."""
    text = ast.unparse(tree)
    if isinstance(stmt, ast.AugAssign):
        yield "overwritten", right, text.replace(right, right.replace("+=", "="))
    if right.startswith("np.add.at("):
        target, at, value = stmt.value.args  # type: ignore[attr-defined]
        new = f"{ast.unparse(target)}[{ast.unparse(at)}] = {ast.unparse(value)}"
        yield "overwritten", right, text.replace(right, new)


def places(stmt: ast.stmt) -> list[tuple[Any, str, int | None, ast.expr]]:
    """Where an expression stands that is read."""
    found = []
    written = stmt.targets if isinstance(stmt, ast.Assign) else [getattr(stmt, "target", None)]
    inside = {node for target in written if target for node in ast.walk(target)}
    for owner in ast.walk(stmt):
        if owner in inside:
            continue
        for slot, value in ast.iter_fields(owner):
            if slot in ("targets", "target", "func", "ctx", "op"):
                continue
            nodes = value if isinstance(value, list) else [value]
            if isinstance(owner, ast.Call) and ast.unparse(owner.func) == "np.add.at":
                nodes = [None, *nodes[1:]] if slot == "args" else nodes
            for i, node in enumerate(nodes):
                if isinstance(node, ast.expr) and not isinstance(
                    getattr(node, "ctx", 0), ast.Store
                ):
                    found.append((owner, slot, i if isinstance(value, list) else None, node))
    return found


def put(owner: Any, slot: str, index: int | None, node: ast.expr) -> None:
    if index is None:
        setattr(owner, slot, node)
    else:
        getattr(owner, slot)[index] = node


def at_place(node: ast.expr, owner: ast.AST, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The slips that can be made at one expression."""
    term = isinstance(owner, ast.BinOp) and isinstance(owner.op, ast.Add | ast.Sub)
    all_of_it = isinstance(owner, ast.Assign | ast.AugAssign)
    matrix = isinstance(owner, ast.BinOp) and isinstance(owner.op, ast.MatMult)
    if (term or all_of_it) and not isinstance(node, ast.Constant):
        yield "sign", ast.UnaryOp(ast.USub(), node)
    if all_of_it:
        for op in (ast.Mult(), ast.Div()):
            for n in (ast.Constant(2), ast.parse("len(x)", mode="eval").body):
                yield "scale", ast.BinOp(node, op, n)
    if (matrix or all_of_it) and not isinstance(node, ast.Constant):
        new = call(node, "swapaxes", ast.Constant(-1), ast.Constant(-2))
        yield "transpose", node.value if getattr(node, "attr", "") == "T" else new
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "swapaxes":
            yield "transpose", node.func.value  # type: ignore[attr-defined]
    match node:
        case ast.BinOp(left=a, op=op, right=b):
            yield from of_two(a, op, b)
        case ast.UnaryOp(op=ast.USub(), operand=x) if not isinstance(x, ast.Constant):
            yield "sign", x
        case ast.UnaryOp(op=ast.USub(), operand=x):
            yield "sign", x
        case ast.Compare(left=a, ops=[ast.Gt()], comparators=b):
            yield "strict comparison", ast.Compare(a, [ast.GtE()], b)
            yield "other branch", ast.Compare(a, [ast.LtE()], b)
            yield "other branch", ast.Compare(a, [ast.Lt()], b)
        case ast.Call(func=ast.Attribute(value=x, attr="sum")):
            yield "missing sum", x
            yield (
                "mean for sum",
                ast.Call(ast.Attribute(x, "mean", ast.Load()), node.args, node.keywords),
            )
            for axis in (0, 1, 2):
                if node.args and ast.unparse(node.args[0]) != str(axis):
                    new = ast.Call(node.func, [ast.Constant(axis)], node.keywords)
                    yield "wrong axis", new
        case ast.Subscript(slice=ast.Tuple(elts=[a, b])):
            yield "rows for columns", ast.Subscript(node.value, ast.Tuple([b, a]), ast.Load())
        case ast.Name(id=name) if np.ndim(values.get(name, 0)):
            yield from mixed_up(name, values)


def of_two(a: ast.expr, op: ast.operator, b: ast.expr) -> Iterator[tuple[str, Any]]:
    """The slips of products, quotients, sums and powers."""
    match op:
        case ast.Mult():
            for kept, lost in ((a, b), (b, a)):
                if isinstance(lost, ast.BinOp) and isinstance(lost.op, ast.Mult):
                    continue  # each of its factors is lost for itself
                if not names_in(lost):
                    yield "scale", kept
                    continue
                upstream = any(name[0] == "d" and name != "diff" for name in names_in(lost))
                yield "no upstream" if upstream else "missing factor", kept
                yield "factor twice", ast.BinOp(kept, ast.Mult(), ast.BinOp(lost, ast.Mult(), lost))
                yield "inverted factor", ast.BinOp(kept, ast.Div(), lost)
                if not upstream and not isinstance(lost, ast.Name):
                    for name in sorted(names_in(lost)):
                        slope = ast.Name(name, ast.Load())
                        yield "value for slope", ast.BinOp(kept, ast.Mult(), slope)
        case ast.Div():
            yield "scale", a
            yield "scale", ast.BinOp(a, ast.Div(), ast.BinOp(b, ast.Mult(), b))
            yield "scale", ast.BinOp(a, ast.Mult(), b)
            if isinstance(b, ast.BinOp):
                yield "scale", ast.BinOp(a, ast.Div(), b.left)  # N for N - 1
        case ast.Add() | ast.Sub():
            if not isinstance(b, ast.Constant):
                yield "lost share", a
            if not isinstance(a, ast.Constant):
                yield "lost share", b if isinstance(op, ast.Add) else ast.UnaryOp(ast.USub(), b)
            yield "sign", ast.BinOp(a, ast.Sub() if isinstance(op, ast.Add) else ast.Add(), b)
        case ast.Pow():
            yield "wrong power", a
            for by in (1, -1):
                yield "wrong power", ast.BinOp(a, op, ast.Constant(ast.literal_eval(b) + by))
        case ast.MatMult():
            yield "transpose", ast.BinOp(b, op, a)


def mixed_up(name: str, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Another tensor of that shape in the place of one."""
    for other, value in sorted(values.items()):
        if other == name or np.shape(value) != np.shape(values[name]) or other in ("e", "windows"):
            continue
        kind = "wrong operand"
        if {name, other} <= {"p", "onehot", "y"}:
            kind = "probability for target"
        elif name[0] == "d" and other == name[1:]:
            kind = "value for gradient"
        yield kind, ast.Name(other, ast.Load())


# --- what the grader says of them -----------------------------------------------------------------


@cache
def examples(network: str) -> list[tuple[Any, dict[str, Any]]]:
    """Two programs of a network, with other numbers: what each has computed forward."""
    found = []
    for seed in (1, 2):
        tg.manual_seed(seed)
        program = program_of(*NETWORKS[network][0]())
        found.append((program, grader.Judge(program, []).forward()))
    return found


def answers(network: str, text: str) -> list[dict[str, np.ndarray]] | None:
    """What a text gives on both examples.

    None where it cannot be run, or gives inf, nan, or zeros throughout, of which no cause is told.
    """
    with np.errstate(all="ignore"):
        try:
            found = [
                backward_of(text)(**{name: np.copy(x) for name, x in values.items()})
                for _, values in examples(network)
            ]
        except Exception:
            return None
    every = [x for given in found for x in given.values()]
    return found if all(np.isfinite(x).all() and np.any(x) for x in every) else None


@cache
def parameters(network: str) -> set[str]:
    """The names of the parameters' gradients."""
    program = examples(network)[0][0]
    return {"d" + state.before.name for state in program.states}


def differ(a: list[dict[str, np.ndarray]], b: list[dict[str, np.ndarray]]) -> list[str]:
    """The names of what two texts do not give alike."""
    return [name for name in a[0] if any(not agree(x[name], y[name], 1e-4) for x, y in zip(a, b))]


@cache
def judge_of(network: str, example: int, names: tuple[str, ...]) -> grader.Judge:
    """What teach.check makes of an example before it looks at the answers."""
    return grader.Judge(examples(network)[example][0], list(names))


def outcome(
    network: str, given: list[dict[str, np.ndarray]], lines: set[str]
) -> tuple[str, set[str]]:
    """(named, not named or named wrongly, the kinds that are named) for a wrong text.

    `lines` are the answers in whose lines something was changed; empty where any may be marked.
    """
    reports = []
    for i, answer in enumerate(given):
        judge = judge_of(network, i, tuple(answer))
        arrays = {name: numbers(name, x) for name, x in answer.items()}
        reports.append(grader.report(judge, *judge.judge(arrays)))
    marked = [[x for x in report.values() if x.verdict == "wrong"] for report in reports]
    names = [{v.name for v in found} for found in marked]
    said = [{(v.name, f) for v in found for f in v.faults} for found in marked]
    both = said[0] & said[1]
    if any(lines and not found <= lines for found in names):
        return "wrong answer marked", set()
    if any(said) and not both:
        return "named wrongly", {f.kind for _, f in said[0] | said[1]}
    if names[0] and {name for name, _ in both} == names[0] == names[1]:
        return "named", {f.kind for _, f in both}
    return ("not named" if names[0] | names[1] else "accepted"), set()


# --- the table ----------------------------------------------------------------------------------


@dataclass
class Tally:
    """How it went in one network: how many were named, and how long the slowest took."""

    outcomes: Counter[str] = field(default_factory=Counter)
    told: int = 0  # named by the very kind that was put in
    slowest: float = 0.0
    missed: list[str] = field(default_factory=list)

    def add(self, kinds: set[str], what: str, network: str, given: Any, lines: set[str]) -> None:
        start = time.process_time()
        came, said = outcome(network, given, lines)
        self.slowest = max(self.slowest, (time.process_time() - start) / 2)
        self.outcomes[came] += 1
        self.told += came == "named" and bool({k for s in said for k in s.split(" and ")} & kinds)
        if came != "named":
            self.missed.append(f"{network}: {came}: {'; '.join(sorted(kinds))}: {what}")

    @property
    def all(self) -> int:
        return self.outcomes.total()

    def row(self) -> list[str]:
        named = self.outcomes["named"]
        wrongly = self.outcomes["named wrongly"] + self.outcomes["wrong answer marked"]
        return [f"{named} of {self.all}", f"{named / max(self.all, 1):.1%}", str(wrongly)]


def written_in(what: str) -> str:
    """The name of the answer in whose line a slip is."""
    line = what.removeprefix("np.add.at(")
    return line.split(" ")[0].split("[")[0].rstrip(",")


@cache
def right(network: str) -> tuple[list[dict[str, np.ndarray]], dict[str, Any]]:
    """What the right text gives on both examples, and all its values on the first."""
    text = NETWORKS[network][1]
    space = {**examples(network)[0][1], "np": np}
    exec(text, space)
    found = answers(network, text)
    assert found
    return found, {k: v for k, v in space.items() if isinstance(v, np.ndarray)}


def singles(network: str) -> Iterator[tuple[str, str, list[dict[str, np.ndarray]]]]:
    """Every slip that makes a difference: its kind, what it is, and the answers with it."""
    truth, values = right(network)
    for kind, what, text in slips(NETWORKS[network][1], values):
        given = answers(network, text)
        if given and differ(given, truth):
            yield kind, what, given


def couples(network: str, count: int) -> Iterator[tuple[str, str, list[dict[str, np.ndarray]]]]:
    """Pairs of slips, drawn at random."""
    stream = random.Random(0)
    truth, values = right(network)
    first = [x for x in slips(NETWORKS[network][1], values) if answers(network, x[2])]
    found = 0
    while found < count:
        kind, what, text = stream.choice(first)
        other, more, both = stream.choice(list(slips(text, values)))
        alone, given = answers(network, text), answers(network, both)
        if (
            alone
            and given
            and differ(alone, truth)
            and differ(given, alone)
            and differ(given, truth)
        ):
            found += 1
            yield f"{kind} and {other}", f"{what} and {more}", given


def lines_of(network: str, what: str) -> set[str]:
    """The answers in whose lines something is wrong; none where such a line is not handed in."""
    names = {written_in(x) for x in what.split(" and ")}
    return names if names <= set(right(network)[0][0]) else set()


def measured(network: str, count: int = 60) -> tuple[Tally, Tally, Tally]:
    """All slips with all intermediates, all from the parameters' gradients, and pairs."""
    every, few, two = Tally(), Tally(), Tally()
    wanted, truth = parameters(network), right(network)[0]
    for kind, what, given in singles(network):
        every.add({kind}, what, network, given, lines_of(network, what))
        only = [{name: x[name] for name in x if name in wanted} for x in given]
        if differ(only, [{name: x[name] for name in wanted} for x in truth]):
            few.add({kind}, what, network, only, set())
    for kind, what, given in couples(network, count):
        two.add(set(kind.split(" and ")), what, network, given, lines_of(network, what))
    return every, few, two


def main(words: list[str]) -> None:
    rows, missed = [], []
    sums = (Tally(), Tally(), Tally())
    for network in NETWORKS:
        found = measured(network)
        for total, tally in zip(sums, found):
            total.outcomes.update(tally.outcomes)
            total.told += tally.told
            total.slowest = max(total.slowest, tally.slowest)
            missed += tally.missed
        rows.append([network, *(cell for tally in found for cell in tally.row()),
                     f"{max(tally.slowest for tally in found):.1f} s"])  # fmt: skip
        print(rows[-1], flush=True)
    last = [cell for tally in sums for cell in tally.row()]
    rows.append(["all", *last, f"{max(tally.slowest for tally in sums):.1f} s"])
    print("\n".join(missed))
    print(text := table(rows))
    print(f"named by the very word: {sums[0].told} of {sums[0].outcomes['named']}")
    if "--write" in words:
        page = PAGE.read_text(encoding="utf-8")
        start, end = "<!-- measured -->\n", "<!-- end -->"
        before, rest = page.split(start)
        PAGE.write_text(f"{before}{start}{text}{end}{rest.split(end)[1]}", encoding="utf-8")


HEAD = ["network", *(x for what in ("all handed in", "parameters' only", "two slips")
                     for x in (what, "", "wrongly")), "slowest"]  # fmt: skip


def table(rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main(sys.argv[1:])
