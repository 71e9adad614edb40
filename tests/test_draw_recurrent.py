"""Recurrent cells in folded pictures: all steps of one are one card, unless that made a loop."""

import pytest

import tinygrad_ce as tg
from tests.drawn_programs import AVAILABLE
from tinygrad_ce import draw, nn
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz.graph.folding import Fold, Group, comes_back
from tinygrad_ce.viz.graph.walking import Graph


class Cell(nn.Module):
    """A step that does less where there is nothing before it."""

    def __init__(self):
        self.into, self.on = nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, x, h=None):
        return F.tanh(self.into(x) if h is None else self.into(x) + self.on(h))


def unrolled(cell, x, between=lambda h: h):
    h = None
    for t in range(4):
        h = between(cell(x[:, t], h))
    return h.sum()


def titles(drawing):
    return [card.op for card in drawing.picture.cards if card.formula is not None]


def test_all_steps_of_a_recurrent_cell_are_one_card():
    cell, x = Cell(), tg.randn(2, 4, 3, requires_grad=True)  # x[:, t] stands between the steps
    assert titles(draw(unrolled(cell, x), depth=0)) == ["Cell × 4"]


def test_cells_above_each_other_are_a_card_each():
    first, second = Cell(), nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    outputs, h = [], None
    x = tg.randn(2, 4, 3)
    for t in range(4):
        h = first(x[:, t], h)
        outputs.append(second(h))
    assert titles(draw(tg.stack(outputs).sum(), depth=0))[0] == "Cell × 4"


def test_steps_with_a_way_out_and_back_stay_open():
    cell, x = Cell(), tg.randn(2, 4, 3)
    drawing = draw(unrolled(cell, x, lambda h: h * 2), depth=0)
    assert not any("×" in title for title in titles(drawing))


def test_two_rows_of_cells_that_feed_each_other_make_no_loop():
    a, b = (nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for _ in range(2))
    x, y = tg.randn(2, 3), tg.randn(2, 3)
    one, two = a(x), b(y)  # b's first step feeds a's second, and a's first b's second
    one, two = a(one + two), b(two + one)
    drawing = draw((one * two).sum(), depth=0)
    before = {}
    for edge in drawing.picture.edges:
        before.setdefault(edge.target, set()).add(edge.source)
    done = set()
    for _ in drawing.picture.cards:
        done |= {card.id for card in drawing.picture.cards if before.get(card.id, set()) <= done}
    assert len(done) == len(drawing.picture.cards)


def test_what_leaves_a_card_and_comes_back_would_be_a_loop():
    x = tg.tensor([0.5, 1.0], requires_grad=True)
    a = x.exp()
    b = a * 2
    c = b.sin()
    d = c + a
    graph = Graph([d.sum()], {})
    made = Fold()
    made.add([b, c], Group("between", "operations", "", 2))
    assert comes_back(graph, made, [a, d])
    assert comes_back(graph, Fold(), [a, c])
    assert not comes_back(graph, made, [x, a])


@pytest.mark.parametrize("engine", AVAILABLE, ids=lambda engine: engine.__name__)
def test_a_cell_that_goes_through_a_sequence_is_laid_out_without_a_complaint(engine, capfd):
    tg.manual_seed(0)
    cell, x = nn.LSTMCell(3, 4), tg.randn(5, 2, 3)
    with tg.source_lines():
        h, c = tg.zeros(2, 4), tg.zeros(2, 4)
        for t in range(5):
            h, c = cell(x[t], (h, c))
        loss = h.sum()
    assert b'"bb"' in engine(draw(loss, {"x": x}).source, "json0")
    assert capfd.readouterr() == ("", "")
