"""Inputs that need no gradient, and how they were prepared, stand in pictures and pages."""

import gc
import subprocess
import sys
import weakref
from itertools import pairwise

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz.graph.walking import Graph

IMAGES = np.arange(24.0).reshape(2, 3, 4)


def weights(*shape):
    return tg.tensor(np.linspace(-1.0, 1.0, int(np.prod(shape))).reshape(shape), requires_grad=True)


def way(drawing, name):
    """The cards from the one of that name on, as long as one thing is made of each."""
    cards = {card.id: card for card in drawing.picture.cards}
    (at,) = [card.id for card in cards.values() if card.name == name]
    found = [cards[at]]
    while (nexts := [e.target for e in drawing.picture.edges if e.source == at]) and len(
        nexts
    ) == 1:
        (at,) = nexts
        found.append(cards[at])
    return found


def in_place(x):
    x /= 2
    return x


def put_aside(x):
    rows = x.clone()
    rows[0] = rows[0] * weights(12)
    return rows


W = weights(12, 2)
PREPARED = {
    "a reshape": (lambda x: x.reshape(2, 12), ["reshape"]),
    "several steps": (lambda x: x.reshape(2, 12) / 2 - 0.5, ["reshape", "÷ 2", "− 0.5"]),
    "a name for it": (lambda x: x.mT.reshape(2, 12), ["transpose", "reshape"]),
    "another dtype": (lambda x: x.long().reshape(2, 12).double(), ["astype", "reshape", "astype"]),
    "a comparison": (lambda x: (x > 3).reshape(2, 12).double(), ["> 3", "reshape", "astype"]),
    "without a gradient": (tg.no_grad()(lambda x: x.flatten(1) * 2), ["reshape", "× 2"]),
    "detached": (lambda x: x.detach().reshape(2, 12), ["detach", "reshape"]),
    "normalised": (lambda x: x.reshape(2, 12) - x.mean(), None),
    "written in place": (lambda x: in_place(x.reshape(2, 12)), ["reshape, written in place"]),
    "written with a gradient": (lambda x: put_aside(x.reshape(2, 12)), None),
    "classes": (
        lambda x: F.one_hot(x[:, 0, 0].long(), 24)[:, :12].double(),
        ["images[:, 0, 0]", "astype", "one_hot", "x[:, :12]", "astype"],
    ),
}


@pytest.mark.parametrize(("prepare", "steps"), PREPARED.values(), ids=PREPARED)
def test_an_input_without_a_gradient_and_its_preparation_are_drawn(prepare, steps):
    images = tg.tensor(IMAGES)
    with tg.source_lines():
        loss = (prepare(images) @ W).sum()
    drawing = tg.draw(loss, {"images": images, "W": W})
    found = way(drawing, "images")
    assert found[0].role == "input" and found[0].shape == "2 × 3 × 4"
    if steps:
        assert [card.op for card in found[1 : len(steps) + 1]] == steps
        assert not any(card.gradient for card in found[: len(steps) + 1])
        assert found[-1].gradient == "∇ 1"
        dashed = {(e.source, e.target) for e in drawing.picture.edges if e.kind == "data"}
        assert {(a.id, b.id) for a, b in pairwise(found[: len(steps) + 1])} <= dashed
    page = tg.play(loss, {"images": images, "W": W})
    made = [card for card in drawing.picture.cards if card.op]
    assert page.steps >= 2 + len(made)


def test_the_numbers_of_the_preparation_are_shown():
    images = tg.tensor(IMAGES[:, :1, :2])
    with tg.source_lines():
        x = images.reshape(4) / 2
        loss = (x * weights(4)).sum()
    values = [card.value for card in way(tg.draw(loss, {"images": images, "x": x}), "images")]
    assert values[:3] == ["[[[0, 1]], [[12, 13]]]", "[0, 1, 12, 13]", "[0, 0.5, 6, 6.5]"]


class Classifier(nn.Module):
    def __init__(self):
        self.embed, self.out = nn.Embedding(5, 3), nn.Linear(3, 2)

    def forward(self, tokens):
        seen = tg.tril(tg.ones(4, 4)) > 0  # made of nothing: a constant
        mixed = tg.where(seen, 0.25, 0.0) @ self.embed(tokens.reshape(-1))
        return self.out(mixed).sum()


def test_integers_that_a_model_is_drawn_on_are_its_input():
    drawing = tg.draw(Classifier(), tg.tensor([[0, 1], [2, 3]]))
    first, second, third, *_ = way(drawing, "tokens")
    assert (first.role, second.op, third.op) == ("input", "reshape", "embed.weight[·]")
    constants = [card for card in drawing.picture.cards if card.role == "constant"]
    assert [card.shape for card in constants] == ["4 × 4"]


def test_a_model_without_any_gradient_is_drawn():
    drawing = tg.draw(lambda t: F.one_hot(t, 3).argmax(1) == t, tg.tensor([0, 2]))
    names = [card.called or card.op for card in drawing.picture.cards]
    assert "t" in names and drawing.picture.cards[-1].value == "[true, true]"


def test_a_traced_program_shows_its_preparation():
    images, w = tg.tensor(IMAGES), weights(12)
    program = tg.trace(lambda images: (images.reshape(2, 12) @ w).sum(), images)
    found = way(tg.draw(program), "images")
    assert (found[0].role, found[1].op) == ("input", "reshape")


def test_nothing_is_remembered_outside_of_pictures():
    x = tg.tensor(IMAGES)
    assert not hasattr(x.reshape(24) / 2, "made")
    with tg.source_lines():
        y = x.reshape(24) / 2
    assert y.is_leaf and y.grad_fn is None and not y.requires_grad
    assert not hasattr(y * 2, "made")
    assert y.requires_grad_().is_leaf


def test_what_is_remembered_has_an_end():
    alive = []
    with tg.source_lines():
        mean = tg.zeros(3)
        for _ in range(200):
            batch = tg.ones(3)
            alive.append(weakref.ref(batch))
            mean = mean * 0.9 + batch
    gc.collect()
    assert 0 < sum(ref() is not None for ref in alive) < 40
    loss = (mean * weights(3)).sum()
    assert len(tg.draw(loss).picture.cards) < 120


def test_a_graph_that_was_cut_is_kept_as_long_as_what_was_cut_off():
    with tg.source_lines():
        h = weights(3) * 2
        ref = weakref.ref(h)
        constant = h.detach() + 1
    del h
    cards = tg.draw((constant * weights(3)).sum()).picture.cards
    assert [card.op for card in cards] == ["", "", "constant × b", "Σ"]  # nothing before it
    assert ref() is not None
    del constant, cards
    gc.collect()
    assert ref() is None


@pytest.mark.parametrize("cut", [lambda h: h.detach(), lambda h: (h > 0).double()], ids=["", ">"])
def test_what_is_remembered_of_graphs_that_were_cut_has_an_end(cut):
    alive, h, w = [], tg.zeros(3).double(), weights(3)
    with tg.source_lines():
        for _ in range(200):
            h = cut(h * w + 1)
            alive.append(weakref.ref(h))
    gc.collect()
    assert 0 < sum(ref() is not None for ref in alive) < 40


def test_the_command_line_shows_the_preparation(tmp_path):
    script = tmp_path / "net.py"
    script.write_text(
        "import tinygrad_ce as tg\n"
        "images = tg.ones(2, 3, 4)\n"
        "w = tg.ones(12, requires_grad=True)\n"
        "loss = (images.reshape(2, 12) / 255 @ w).sum()\n"
    )
    command = [sys.executable, "-m", "tinygrad_ce", "draw", f"{script}:loss"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in said.splitlines()[1:]]
    assert [row[:3] for row in rows[:3]] == [
        ["n0", "input", "images"], ["n1", "step", "reshape"], ["n2", "step", "÷"],
    ]  # fmt: skip
    assert rows[1][-1] == "net.py:4"


def test_a_constant_in_another_dtype_keeps_its_name():
    w = tg.tensor([1.0, 2.0], dtype=tg.float64, requires_grad=True)
    c = tg.tensor([3.0, 4.0])
    graph = Graph([(w * c).sum()], {c: "c"})
    assert "c" in {graph.names.get(use.source) for use in graph.uses}
