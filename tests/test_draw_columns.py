"""Tall pictures in columns: what is cut, where all stands, and the lines that go around."""

import json
import re
from functools import cache
from itertools import combinations, pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.drawn_networks import NETWORKS
from tests.drawn_programs import AVAILABLE, PROGRAMS
from tinygrad_ce import nn
from tinygrad_ce.viz.graph import columns, engines

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = ["two_layer_network", "lstm_step", "attention_block", "unet"]
ROUNDING = 1e-9  # of sums in another order
pytestmark = pytest.mark.skipif(not AVAILABLE, reason="nothing here lays out graphs")


@cache
def drawing(name, **options):
    tg.manual_seed(0)
    if name in PROGRAMS:
        return tg.draw(*PROGRAMS[name](), **options)
    model, *examples = NETWORKS[name]()
    return tg.draw(model, *examples, **options)


@cache
def layout(name):
    return columns.layout_of(json.loads(AVAILABLE[0](drawing(name).source, "json0")))


@cache
def arranged(name, wanted):
    return columns.arranged(layout(name), wanted)


def size_of(drawing):
    svg = drawing._drawn("svg").decode()
    return [float(x) for x in re.findall(r'(?:width|height)="([\d.]+)pt"', svg)[:2]]


def points_of(curves):
    """Many points of curves, from Bernstein's polynomials."""
    t = np.linspace(0, 1, 9)[:, None]
    weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
    return np.concatenate([sum(w * np.array(p) for w, p in zip(weights, c)) for c in curves])


def moved(set_in, thing):
    (x, y), (w, h) = thing.middle, thing.size
    x, y = set_in.moved((x, y), set_in.column(thing.foot))
    return x - w / 2, x + w / 2, y - h / 2, y + h / 2


@pytest.mark.parametrize("name", ["lenet", "unet"])
def test_a_frame_of_one_card_is_hardly_wider_than_card_and_title(name):
    """So wide that the edge, which comes in at the card's middle, passes the title."""
    cards = {card.name: card for card in layout(name).cards}
    for box in layout(name).boxes:
        if len(box.inside & cards.keys()) == 1:
            (card,) = (cards[card] for card in box.inside & cards.keys())
            title, width = box.title.size[0], card.size[0]
            assert box.right - box.left < max(width, title + width / 2) + 66


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_comes_close_to_the_aspect(name):
    assert layout(name).width < 0.6 * layout(name).height
    for wanted in (16 / 9, 4 / 3, 1.0):
        width, height = arranged(name, wanted).size()
        assert 0.66 * wanted < width / height < 1.5 * wanted
    assert arranged(name, 0.1) is None  # it is as narrow already


@pytest.mark.parametrize("name", DRAWN)
def test_no_card_overlaps_another_and_no_line_runs_through_one(name):
    set_in = arranged(name, 16 / 9)
    places = {card.name: moved(set_in, card) for card in set_in.layout.cards}
    for (a, one), (b, two) in combinations(places.items(), 2):
        assert one[1] < two[0] or two[1] < one[0] or one[3] < two[2] or two[3] < one[2], (a, b)
    right, height = set_in.size()
    for left, end, foot, top in places.values():
        assert left >= 0 and end < right + ROUNDING and top < set_in.layout.height + ROUNDING
        assert foot >= set_in.layout.height - height
    ways = [way for line in set_in.layout.lines for way in ways_of(set_in, line)]
    assert ways
    for way in ways:
        for left, end, foot, top in places.values():
            x, y = way.T
            assert not ((left < x) & (x < end) & (foot < y) & (y < top)).any()


def ways_of(set_in, line):
    """The points of the ways of a line from column to column."""
    pieces = set_in.pieces[line.name]
    return [points_of(set_in.between(line.name, one, two)) for one, two in pairwise(pieces)]


@pytest.mark.parametrize("name", DRAWN)
def test_ways_between_columns_never_cross(name):
    set_in = arranged(name, 16 / 9)
    ways = [way for line in set_in.layout.lines for way in ways_of(set_in, line)]
    for one, two in combinations(ways, 2):
        a, b, c, d = one[:-1, None], one[1:, None], two[None, :-1], two[None, 1:]
        sides = turn(a, b, c) * turn(a, b, d), turn(c, d, a) * turn(c, d, b)
        assert not ((sides[0] < 0) & (sides[1] < 0)).any()


def turn(a, b, c):
    """On which side of the line from a to b the point c is."""
    return np.sign(
        (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1])
        - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
    )


@pytest.mark.parametrize("name", DRAWN)
def test_a_line_leads_from_its_card_to_the_other_without_a_gap(name):
    set_in = arranged(name, 16 / 9)
    places = {card.name: moved(set_in, card) for card in set_in.layout.cards}
    for line in set_in.layout.lines:
        curves = set_in.drawn(line)
        for one, two in pairwise(curves):
            np.testing.assert_allclose(one[3], two[0], atol=1e-6)
        for (x, y), name in zip((curves[0][0], curves[-1][3]), line.joins):
            left, right, foot, top = places[name]
            away = max(left - x, x - right, foot - y, y - top)
            assert -2 < away < 10  # as far as an arrow's head


@pytest.mark.parametrize("wanted", [4 / 3, 16 / 9])
@pytest.mark.parametrize("name", DRAWN)
def test_frames_are_around_what_is_in_them_and_nothing_else(name, wanted):
    set_in = arranged(name, wanted)
    for k, parts in enumerate(set_in.parts):
        came = [x for x, _ in set_in.crossings[k - 1]] if k else []
        for part in parts:
            here = [c for c in set_in.layout.cards if c.name in part.inside and set_in.holds(k, c)]
            assert here  # no frame is empty
            inner = [p for p in parts if p is not part and p.inside < part.inside]
            for thing in (*here, *inner, part.title):
                assert part.left < thing.left and thing.right < part.right
                assert part.foot < thing.foot and thing.top < part.top
            for other in parts:
                apart = (other.right < part.left or part.right < other.left
                         or other.top < part.foot or part.top < other.foot)  # fmt: skip
                assert apart or other.inside <= part.inside or part.inside <= other.inside
            for card in set_in.layout.cards:
                beside = (card.right < part.left or part.right < card.left
                          or card.top < part.foot or part.top < card.foot)  # fmt: skip
                assert beside or card.name in part.inside or not set_in.holds(k, card)
            if part.top > set_in.ends(k)[1]:  # no line comes in through its title
                assert not any(part.title.left < x < part.title.right for x in came)


@pytest.mark.parametrize("engine", AVAILABLE, ids=lambda engine: engine.__name__)
def test_every_engine_draws_columns_in_every_format(engine, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(engines, "ENGINES", (engine,))
    drawn = drawing("attention_block", aspect="16:9")
    root = ElementTree.parse(drawn.save(tmp_path / "graph.svg")).getroot()
    ids = [group.get("id") for group in root.iter(f"{SVG}g")]
    assert {card.id for card in drawn.picture.cards} <= set(ids)
    assert {f"e{i}" for i in range(len(drawn.picture.edges))} <= set(ids)
    again = {id for id in ids if re.fullmatch(r"cluster_\d+_2", id or "")}
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert again and sum(word.startswith("… ") for word in words) >= len(again)
    png = drawn.save(tmp_path / "graph.png").read_bytes()
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))
    wanted, there = arranged("attention_block", 16 / 9).size()
    assert width / height == pytest.approx(wanted / there, rel=0.1)
    assert drawn.save(tmp_path / "graph.pdf").read_bytes().startswith(b"%PDF-")
    assert capfd.readouterr() == ("", "")


def test_a_cut_curve_is_the_same_curve():
    curve = [(0.0, 9.0), (4.0, 7.0), (-3.0, 2.0), (1.0, 0.0)]
    one, two = columns.cut_at(curve, 5.0)
    assert one[3] == two[0] and one[3][1] == pytest.approx(5)
    t = next(t for t in np.linspace(0, 1, 100_001) if abs(bezier(curve, t)[1] - 5) < 1e-4)
    for u in (0.2, 0.7):
        np.testing.assert_allclose(bezier(one, u), bezier(curve, t * u), atol=1e-3)
        np.testing.assert_allclose(bezier(two, u), bezier(curve, t + (1 - t) * u), atol=1e-3)
    assert columns.cut_at(curve, 9.5) == [curve]


def bezier(curve, t):
    (weights, points) = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], curve
    return np.array(weights) @ np.array(points)


def test_corners_are_rounded_and_lines_straight():
    points = points_of(columns.rounded([(0.0, 0.0), (0.0, 50.0), (80.0, 50.0)]))
    off = np.hypot(*np.minimum(np.abs(points - [0, 50]), 1e9).T)
    assert off.min() > 2  # the corner itself is not passed
    assert all(abs(x) < 1e-9 or abs(y - 50) < 1e-9 or off < 7 for (x, y), off in zip(points, off))


def test_nobody_asked():
    for name, columns_there in (("two_layer_network", 2), ("softmax_regression", 2)):
        set_in = arranged(name, None)
        assert len(set_in.cuts) + 1 == columns_there
        width, height = size_of(drawing(name))
        assert height < 0.7 * size_of(drawing(name, direction="TB"))[1] and width < 1136
    assert arranged("fan_out", None) is None or len(arranged("fan_out", None).cuts) == 1
    wide = drawing("unet")
    assert size_of(wide) == size_of(drawing("unet", direction="TB"))  # two would not fit
    x = tg.ones(3, requires_grad=True)
    short = (x * 2).sum()
    assert size_of(tg.draw(short)) == size_of(tg.draw(short, direction="TB"))


def test_many_lines_are_cut_only_where_it_is_asked_for():
    x = tg.ones(2, requires_grad=True)
    tensors = [x]
    for _ in range(12):
        tensors.append(sum(tensors).tanh())
    drawn = tg.draw(sum(tensors).sum())
    assert size_of(drawn) == size_of(tg.draw(sum(tensors).sum(), direction="TB"))
    assert size_of(tg.draw(sum(tensors).sum(), aspect=1))[1] < 0.6 * size_of(drawn)[1]


@pytest.mark.filterwarnings("ignore:.*with nothing between")
def test_the_text_and_the_cards_are_those_of_one_column():
    x, model = tg.ones(4, 3), nn.Sequential(*(nn.Linear(3, 3) for _ in range(6)))
    y = model(x).tanh().exp().sum()
    one, two = tg.draw(y, {"x": x}, direction="TB"), tg.draw(y, {"x": x}, aspect=4 / 3)
    assert one.picture.cards == two.picture.cards and one.source == two.source
    few = tg.draw(y, {"x": x}, depth=0)
    tall = tg.draw(y, {"x": x}, depth=0, aspect="9:16")
    assert "rankdir=LR" in few.source and "rankdir=TB" in tall.source
    width, height = size_of(tall)
    assert 0.3 < width / height < 1
