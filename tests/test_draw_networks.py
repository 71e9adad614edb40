"""Every network has a picture, with every engine, in every format, folded and open, and a page.

Graphviz reads no string of 16,384 bytes or more, and it is the tooltips of arrays of many axes, and
names, that were as long.
"""

import re
from functools import cache
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.drawn_networks import NETWORKS
from tests.drawn_programs import AVAILABLE
from tinygrad_ce.viz.graph import engines

LONGEST = 16_383  # bytes
SVG = "{http://www.w3.org/2000/svg}"


@cache
def network(name):
    tg.manual_seed(0)
    model, *examples = NETWORKS[name]()
    return model, examples


@cache
def drawn(name, depth):
    model, examples = network(name)
    return tg.draw(model, *examples, depth=depth, direction="TB" if depth is None else None)


def strings(source):
    """The quoted strings of DOT, and the texts between the tags of its labels."""
    labels = re.findall(r"label=<(.*)>[];]", source)
    return re.findall(r'"[^"]*"', source) + [text for it in labels for text in it.split("<")]


@pytest.mark.parametrize("name", NETWORKS)
def test_no_string_is_longer_than_graphviz_reads(name):
    model, examples = network(name)
    sources = [drawn(name, depth).source for depth in (None, 0)]
    sources.append(tg.draw(lambda *xs: (model(*xs) ** 2).mean(), *examples, backward=True).source)
    for source in sources:
        assert max(len(string.encode()) for string in strings(source)) <= LONGEST


@pytest.mark.parametrize("engine", AVAILABLE, ids=lambda engine: engine.__name__)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_drawn_by_every_engine_in_every_format(
    name, engine, monkeypatch, tmp_path, capfd
):
    monkeypatch.setattr(engines, "ENGINES", (engine,))
    for depth in (None, 0):
        drawing = drawn(name, depth)
        root = ElementTree.parse(drawing.save(tmp_path / "graph.svg")).getroot()
        ids = {group.get("id") for group in root.iter(f"{SVG}g")}
        assert {card.id for card in drawing.picture.cards} <= ids
        assert {f"e{i}" for i in range(len(drawing.picture.edges))} <= ids
    png = drawing.save(tmp_path / "graph.png").read_bytes()
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and width > 100 and height > 100
    assert drawing.save(tmp_path / "graph.pdf").read_bytes().startswith(b"%PDF-")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_text_and_without_an_engine_a_page(name, monkeypatch, tmp_path):
    monkeypatch.setattr(engines, "ENGINES", ())
    drawing = drawn(name, 0)
    with pytest.warns(UserWarning, match=r"so graph\.dot was written"):
        assert drawing.save(tmp_path / "graph.svg").read_text("utf-8") == drawing.source
    assert len(drawing.text.splitlines()) > len(drawing.picture.cards)
    model, examples = network(name)
    page = tg.play(model, *examples, depth=0)
    assert len(re.findall('<g class="card ', page.html)) == len(drawing.picture.cards)


def test_a_tooltip_of_many_axes_shows_the_first_matrix():
    x = np.arange(2.0 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    card = tg.draw(tg.tensor(x, requires_grad=True) * 1, gradients=False).picture.cards[-1]
    head, where, *rows = card.tooltip.split("\n")
    assert (head, where) == ("× 1: 2 × 3 × 4 × 5 float64", "at [0, 0]:")
    assert "\n".join(rows) == np.array2string(
        x[0, 0], separator=", ", formatter={"all": "{:.0f}".format}
    )


@pytest.mark.parametrize("axes", range(1, 9))
def test_arrays_of_one_to_eight_axes_are_drawn_and_played(axes, tmp_path):
    shape = (3,) * axes
    x = tg.tensor(np.linspace(-1e-5, 1e5, 3**axes).reshape(shape), requires_grad=True)
    loss = (x * tg.tensor(np.random.default_rng(0).standard_normal(shape))).tanh().sum()
    drawing = tg.draw(loss, {"x": x})
    assert max(len(string.encode()) for string in strings(drawing.source)) < 2000
    assert all(card.tooltip for card in drawing.picture.cards)
    assert drawing.save(tmp_path / "graph.svg").stat().st_size > 1000
    assert tg.play(loss, {"x": x}).steps == 2 * len(drawing.picture.cards) - 1


def test_calls_in_calls_in_calls_are_drawn(tmp_path):
    model = tg.nn.Tanh()
    for _ in range(150):
        model = tg.nn.Sequential(model)
    drawing = tg.draw(model, tg.randn(2, requires_grad=True))
    assert [card.op for card in drawing.picture.cards] == ["", "tanh"]
    assert drawing.save(tmp_path / "graph.svg").stat().st_size > 1000
