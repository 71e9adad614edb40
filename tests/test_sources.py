"""Names that come from the user's own source, and letters that mean one thing in a picture."""

import math
import re
from itertools import chain

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.drawn_programs import PROGRAMS
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz import draw
from tinygrad_ce.viz.graph.cards import Options
from tinygrad_ce.viz.graph.names import free_letters, names_of
from tinygrad_ce.viz.graph.reading import Reader
from tinygrad_ce.viz.graph.walking import Graph

# fmt: off
x = tg.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
W = tg.tensor([[0.5, -1.0], [2.0, 1.5]], requires_grad=True)


def plain():
    s = x @ W
    return s.exp()

def tuples():
    q, (k, v) = x @ W, (x * 2, W + 1)
    return q + k + v

def parts():
    i, f = tg.chunk(x @ W, 2, dim=1)
    return i * f

def unpacked():
    first, second = x @ W
    return first * second

def star():
    head, *rest = x @ W, x * 2
    return head + rest[0]

def several():
    a = b = x @ W
    return a + b

def augmented():
    y = x @ W
    y += 1
    return y.exp()

def written():
    y = x @ W
    y[0] = W[1]
    return y.exp()

def annotated():
    score: tg.Tensor = x @ W
    return score.exp()

def walrus():
    return (s := x @ W) * s

def either():
    out = x @ W if x.shape else x * 2
    return out.exp()

class Holder:
    pass

def attribute():
    self = Holder()
    self.h = x @ W
    cache = {}
    cache["k"] = x * 3
    return self.h + cache["k"]

def loop():
    h = x
    for _ in range(3):
        h = F.tanh(h @ W)
    return h.sum()

def rows():
    total = 0
    for row in x:
        total = total + row * row
    return total

def listed():
    parts = [x * k for k in range(2, 4)]
    return parts[0] + parts[1]

def helper_of(a, b):
    return F.softmax(a @ b, dim=1)

def helped():
    att = helper_of(x, W)
    return att @ x

def pair_of(a):
    return a.exp(), a.sin()

def helped_twice():
    up, down = pair_of(x)
    return up * down

def in_a_lambda():
    squash = lambda z: z.tanh()  # noqa: E731
    y = squash(x)
    return y * y

class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x, h):
        gate = F.sigmoid(self.fc(x))
        return gate * h

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = Cell()

    def forward(self, x):
        h = self.cell(x, x)
        h = self.cell(x, h)
        logits = nn.ReLU()(h)
        return logits

def modules():
    out = Model()(x)
    return out.sum()

def sequential():
    out = nn.Sequential(nn.Linear(2, 3), nn.Tanh())(x)
    return out.sum()

def composed():
    loss = F.mse_loss(x @ W, x)
    return loss * 2

def multiline():
    energy = (
        x
        @ W
    )
    return energy.exp()

def letters_of_others():
    μ = x.mean()
    q̂ = x - μ
    return q̂ * q̂
# fmt: on


EXPECTED = {
    plain: {"s"}, tuples: {"q", "k", "v"}, parts: {"i", "f"}, unpacked: {"first", "second"},
    star: {"head", "rest[0]"}, several: {"a"}, augmented: {"y₁", "y₂"},
    written: {"y₁", "y₂", "y[0]"},
    annotated: {"score"}, walrus: {"s"}, either: {"out"}, attribute: {"self.h", "cache['k']"},
    loop: {"h₁", "h₂", "h₃"}, rows: {"row₁", "row₂", "total₁", "total₂"},
    listed: {"parts₁", "parts₂"}, helped: {"att"}, helped_twice: {"up", "down"},
    in_a_lambda: {"y"}, modules: {"gate₁", "gate₂", "h₁", "h₂", "logits"}, sequential: {"out"},
    composed: {"loss"}, multiline: {"energy"}, letters_of_others: {"μ", "q̂"},
}  # fmt: skip


def graph_of(program, **names):
    with tg.source_lines():
        root = program()
    return Graph([root], {tensor: name for name, tensor in names.items()})


@pytest.mark.parametrize("program", EXPECTED, ids=lambda program: program.__name__)
def test_a_tensor_is_called_what_it_is_assigned_to(program):
    graph = graph_of(program, x=x, W=W)
    names = {name for node, name in graph.written.items() if node.inputs} - {"root"}
    assert names == EXPECTED[program]


def values(program):
    """The names of a program and what stands under them."""
    graph = graph_of(program, x=x, W=W)
    return {name: np.asarray(node.array) for node, name in graph.written.items()}


def test_the_names_are_those_of_the_values():
    X, V = x.detach().numpy(), W.detach().numpy()
    wanted = {
        tuples: {"q": X @ V, "k": 2 * X, "v": V + 1},
        parts: {"i": (X @ V)[:, :1], "f": (X @ V)[:, 1:]},
        unpacked: {"first": (X @ V)[0], "second": (X @ V)[1]},
        augmented: {"y₁": X @ V, "y₂": X @ V + 1},
        helped_twice: {"up": np.exp(X), "down": np.sin(X)},
        rows: {"row₁": X[0], "row₂": X[1], "total₂": X[0] ** 2 + X[1] ** 2},
        listed: {"parts₁": 2 * X, "parts₂": 3 * X},
        composed: {"loss": ((X @ V - X) ** 2).mean()},
        loop: {"h₁": np.tanh(X @ V), "h₂": np.tanh(np.tanh(X @ V) @ V)},
    }
    for program, arrays in wanted.items():
        found = values(program)
        for name, array in arrays.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5, err_msg=name)


def test_names_that_are_given_win_and_are_no_other_tensors():
    with tg.source_lines():
        h = x @ W
        h = h * 2
        loss = h.sum()
    graph = Graph([loss], {x: "x", W: "W", h: "h"})
    assert graph.name(h) == "h"
    assert sorted(graph.written.values()) == ["h₁", "loss"]


def test_leaves_are_called_as_they_are_written():
    with tg.source_lines():
        weight, bias = tg.ones(2, requires_grad=True), tg.ones(2, requires_grad=True)
        y = weight * 3.0 - bias
        y = -bias / y[1]
    graph = Graph([y], {})
    assert graph.name(weight) == "weight" and graph.name(bias) == "bias"


def test_a_call_that_gives_several_tensors_names_those_that_it_gave():
    tg.manual_seed(0)
    cell, rnn = nn.LSTMCell(2, 3), nn.LSTM(2, 3)
    with tg.source_lines():
        h, c = tg.zeros(2, 3), tg.zeros(2, 3)
        start = h
        for _ in range(2):
            h, c = cell(x, (h, c))
        output, (last, state) = rnn(x[None])
        loss = (h * c).sum() + output.sum() + (last * state).sum()
    graph = Graph([loss], {})
    found = [graph.name(tensor) for tensor in (start, h, c, last, state)]
    assert found == ["h₁", "h₃", "c₃", "last", "state"] and graph.name(output) == "output"
    values = {name: node.array for node, name in graph.written.items()}
    np.testing.assert_array_equal(values["c₁"], np.zeros((2, 3)))
    assert len(values) == len(graph.written)  # no name twice


def test_the_steps_of_a_backward_pass_are_not_called_what_it_gives():
    with tg.source_lines():
        u = (x * W).tanh()
        gx, gW = tg.autograd.grad(u.sum(), (x, W), create_graph=True)
        (again,) = tg.autograd.grad((gx * gW).sum(), x, create_graph=True)
        loss = again.sum()
    names = {node: name for node, name in Graph([loss], {}).written.items() if node.inputs}
    known = {"u": u, "gx": gx, "gW": gW, "again": again, "loss": loss}
    assert all(node is known[name] for node, name in names.items()) and names[loss] == "loss"


def test_partial_sums_are_not_called_as_the_sum():
    with tg.source_lines():
        total = sum(row * row for row in x)
        product = math.prod([total[0], total[1], W[0, 0]])
        loss = product * total.sum()
    names = {name: node for node, name in Graph([loss], {x: "x", W: "W"}).written.items()}
    assert names["total"] is total and names["product"] is product
    assert {"x", "W"} | set(names) == {"x", "W", "total", "product", "loss"}


def test_long_names_are_shortened_on_cards_and_in_sentences():
    names = {
        "encoder.layers.11.self_attention.query_projection.weight": W,
        "very_" * 20 + "long": x,
    }
    y = (x @ W).tanh().sum()
    drawn, page = tg.draw(y, names), tg.play(y, names)
    assert "…self_attention.query_projection.weight" in drawn.source
    assert max(map(len, re.findall("<B>([^<>]*)</B>", drawn.source))) == 40
    titles = re.findall(r"<li>(?:<b>)?([^<]*)", page.html)
    assert max(map(len, titles)) < 110 and names.keys() <= {
        card.name for card in drawn.picture.cards
    }


def test_tensors_are_called_what_they_were_made_as():
    with tg.source_lines():
        data, side = tg.tensor([1.0, 2.0]), tg.arange(2.0, requires_grad=True)
        noise = 0.1 * tg.randn(2)
        y = (side * data.float() + tg.full((2,), 3.0)).tanh() * noise.requires_grad_()
    graph = Graph([y], {})
    assert [graph.name(tensor) for tensor in (data, side, noise)] == ["data", "side", "noise"]
    cards = tg.draw(y).picture.cards
    assert {card.name for card in cards if not card.op} == {
        "data", "side", "noise", "tg.full((2,), 3.0)"
    }  # fmt: skip
    y = tg.zeros(2, requires_grad=True) * 2  # without lines
    assert not hasattr(y.inputs[0], "line")


def test_what_is_assigned_to_nothing_is_called_by_its_text():
    a, b = x, W
    with tg.source_lines():
        y = ((b - a) ** 2).mean() + F.softmax(b, dim=0).sum()
    graph = Graph([y], {a: "a", b: "b"})
    assert set(graph.texts.values()) == {
        "b - a", "(b - a) ** 2", "((b - a) ** 2).mean()", "F.softmax(b, dim=0)",
        "F.softmax(b, dim=0).sum()",
    }  # fmt: skip
    heads = [card.head for card in draw(y, {"a": a, "b": b}).picture.cards]
    assert "b - a" in heads and "−" not in heads[:3]


def test_a_text_that_would_name_another_tensor_is_not_used():
    with tg.source_lines():
        h = x * 2
        for _ in range(2):
            h = (h @ W).tanh()
        y = h.exp().sum()
    reader = Reader(Graph([y], {x: "x", W: "W"}), Options())
    phrases = [reader.phrase(node) for node in reader.graph.operations]
    assert phrases == ["h₁", "h₁ @ W", "h₂", "h₂ @ W", "h₃", "exp(h₃)", "y"]


def test_a_model_is_named_from_its_own_lines_and_not_from_the_picture_s():
    drawing = draw(Model(), x.detach())
    names = [card.name for card in drawing.picture.cards]
    assert {"gate₁", "gate₂", "h₁", "h₂", "logits"} <= set(names) and "drawing" not in names
    drawing = draw(nn.Linear(2, 2), x.detach())
    assert not any("draw" in card.head + card.name for card in drawing.picture.cards)


def test_without_lines_values_are_told_as_they_are_computed():
    z = x @ W
    reader = Reader(Graph([F.log_softmax(z, dim=1)], {z: "z"}), Options())
    told = [reader.phrase(node) for node in reader.graph.operations]
    assert told[1:] == [
        "z − max z", "exp(z − max z)", "Σ(exp(z − max z))", "log(Σ(exp(z − max z)))",
        "(z − max z) − log(Σ(exp(…)))",
    ]  # fmt: skip


def test_source_that_is_gone_gives_no_names():
    code = compile("y = x * 2\nz = y.exp()", "<nowhere>", "exec")
    space = {"x": x}
    with tg.source_lines():
        exec(code, space)
    graph = Graph([space["z"]], {})
    assert not graph.written and not graph.texts


def test_source_that_is_no_python_any_more_gives_no_names(tmp_path):
    path = tmp_path / "changed.py"
    path.write_text("y = (x *", encoding="utf-8")
    space = {"x": x}
    with tg.source_lines():
        exec(compile("y = x * 2\nz = y.exp()", str(path), "exec"), space)
    graph = Graph([space["z"]], {})
    assert not graph.written and not graph.texts


HOSTILE = "y = x * len('</script><b>\u202e\"&')\nz = y.exp()\n"


def test_hostile_source_stays_text(tmp_path):
    path = tmp_path / "hostile.py"
    path.write_text(HOSTILE, encoding="utf-8")
    space = {"x": x}
    with tg.source_lines():
        exec(compile(HOSTILE, str(path), "exec"), space)
    page = tg.play(space["z"].sum(), names={"x": x})
    harmless = tg.play((x * 2).sum(), names={"x": x})
    assert page.html.count("</script>") == harmless.html.count("</script>")
    assert "<b>\u202e" not in page.html and "\\u003c/script>" in page.html


# --- one letter, one meaning ----------------------------------------------------------------

LETTERS = re.compile(r"(?<![A-Za-z_.])[A-Za-z](?![A-Za-z_.₀-₉])")


def letters_in(text, names):
    """The letters of a text that stand alone, where no longer name stands."""
    for name in sorted(names, key=len, reverse=True):
        if len(name) > 1:
            text = text.replace(name, "")
    return set(LETTERS.findall(text))


def read_around(graph, node):
    """The names of what an operation reads and gives."""
    return {graph.name(x) for x in [node, *(use.source for use in graph.operands.get(node, ()))]}


def inside_of(graph, scope):
    """The names of what is read or made in a call."""
    return set(chain.from_iterable(
        read_around(graph, node) for node in graph.operations if scope in graph.chains[node.scope]
    ))  # fmt: skip


def clashes(loss, names):
    """Where a letter of ours is the name of a tensor that is not meant."""
    graph = Graph([loss], names_of(names))
    reader = Reader(graph, Options())
    picture = reader.read()
    taken = {*graph.names.values(), *graph.written.values()}
    ids = dict(zip((card.id for card in picture.cards), reader.shown))
    said = [(card.op, read_around(graph, ids[card.id])) for card in picture.cards if card.op]
    said += [(edge.label, read_around(graph, ids[edge.target])) for edge in picture.edges]
    for scope, number in reader.clusters(picture).items():
        said.append((picture.clusters[number].formula, inside_of(graph, scope)))
    return [
        (text, letter)
        for text, meant in said
        for letter in letters_in(text, taken) & taken
        if letter not in meant
    ]


@pytest.mark.parametrize("program", PROGRAMS)
def test_one_letter_means_one_thing_in_a_picture(program):
    with tg.source_lines():
        loss, names = PROGRAMS[program]()
    assert not clashes(loss, names)


def test_letters_of_every_rule_give_way_to_the_user_s():
    found = []
    for taken in ("abcxyz", "xyGWe", "uvwt", "pqrsfgh", "zknij", "LNT"):
        tensors = {name: tg.tensor([0.5, 0.25], requires_grad=True) for name in taken}
        for first in tensors.values():
            u = first.exp().tanh().sqrt() * first.log().sigmoid() / (first * first + 2.0) ** 3
            loss = F.softmax(F.relu(u[0:2]), dim=0).norm() + F.mse_loss(u, first)
            for other in tensors.values():
                loss = loss + (other * 2.0).abs().sum()
            found += clashes(loss, tensors)
    assert not found


def test_no_two_letters_are_replaced_by_the_same():
    rng = np.random.default_rng(0)
    every = [*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    for size in range(0, 45, 3):
        taken = set(rng.choice(every, size, replace=False))
        letters = free_letters(taken)
        shown = [new for letter, new in letters.items() if new not in taken or letter == new]
        assert len(set(letters.values())) == len(letters) or size > 30
        assert not taken & set(shown) or size > 30


def cells(cell, xs, state):
    """The last h and c of an LSTM cell, h first."""
    h, c = state
    for x in xs:
        h, c = cell(x, (h, c))
    return h, c


def test_what_goes_into_calls_and_what_they_return_together_is_named():
    tg.manual_seed(0)
    cell, images, labels = nn.LSTMCell(3, 2), tg.randn(2, 4, 3), tg.tensor([0, 1, 1, 0])
    hidden, memory = tg.randn(4, 2), tg.randn(4, 2)
    with tg.source_lines():
        new_h, new_c = cell(images[0], (hidden, memory))
        loss = F.cross_entropy(new_h, labels) + new_c.sum()
    graph = Graph([loss], {})
    called = {graph.name(x): x for x in [*graph.operations, *graph.used]}
    wanted = {"images": images, "hidden": hidden, "memory": memory, "labels": labels}
    wanted |= {"new_h": new_h, "new_c": new_c}
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(called[name].array, tensor.array, err_msg=name)
    with tg.source_lines():
        h, c = cells(cell, [*images], (hidden, memory))
    graph = Graph([(h * c).sum()], {})
    called = {graph.name(x): x for x in [*graph.operations, *graph.used]}
    assert {"h₁", "h₂", "h₃", "c₁", "c₂", "c₃"} <= set(called)
    for name, tensor in {"h₁": hidden, "c₁": memory, "h₃": h, "c₃": c}.items():
        np.testing.assert_array_equal(called[name].array, tensor.array, err_msg=name)
    with tg.source_lines():
        out, (last, kept) = nn.LSTM(3, 2)(images)
    graph = Graph([(out.sum() * last * kept).sum()], {})
    called = {graph.name(x): x for x in graph.operations}
    assert called["out"] is out and called["last"] is last and called["kept"] is kept
