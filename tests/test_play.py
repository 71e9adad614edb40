"""The page that plays a graph back: what it tells, against derivations that are not its own."""

import functools
import gc
import json
import re
import shutil
import subprocess
import sys
import weakref
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.drawn_programs import PROGRAMS
from tests.test_play_arrays import decoded
from tinygrad_ce import nn, viz
from tinygrad_ce.engine import table
from tinygrad_ce.engine.chain import history
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz.graph import engines
from tinygrad_ce.viz.graph.told import LEFT, RIGHT, TERMS, TOLD
from tinygrad_ce.viz.graph.walking import Graph, uses_of
from tinygrad_ce.viz.page import playing
from tinygrad_ce.viz.page.arrays import window
from tinygrad_ce.viz.page.flow import arrivals, relation, run
from tinygrad_ce.viz.page.mathematics import backward_math, mathml
from tinygrad_ce.viz.page.playing import Page
from tinygrad_ce.viz.page.story import residual, said_of


def parameter(data):
    return tg.tensor(np.array(data, dtype=np.float64), requires_grad=True)


@functools.cache
def told(page):
    """What the page tells, read from its text."""
    return json.loads(re.search(r'id="story">(.*?)</script>', page.html, re.DOTALL)[1])


def steps(page, kind):
    return [step for step in told(page)["steps"] if step["k"] == kind]


def numbers(win):
    return np.array(win["d"], dtype=float).reshape(win.get("w", win["s"]))


# --- the way back ---------------------------------------------------------------------------


def came(root):
    graph = Graph([root], {})
    return graph, list(arrivals(root, graph.operations, graph.uses))


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "hostile"])
def test_what_arrives_adds_up_to_the_gradients_of_backward(name):
    loss, _ = PROGRAMS[name]()
    graph, arrived = came(loss)
    last = {graph.uses[arrival.use].source: arrival.after for arrival in arrived}
    leaves = [node for node in last if not node.inputs]
    loss.backward()
    assert len(leaves) >= 2
    for leaf in leaves:
        np.testing.assert_allclose(last[leaf], leaf.grad.numpy(), rtol=1e-6, atol=1e-9)


def test_each_arrival_is_added_to_what_was_there():
    x = parameter([1.0, -2.0, 3.0])
    graph, arrived = came((x * x + x * 4.0).sum())
    mine = [arrival for arrival in arrived if graph.uses[arrival.use].source is x]
    assert mine[0].before is None
    for first, second in pairwise(mine):
        np.testing.assert_array_equal(second.before, first.after)
        np.testing.assert_array_equal(second.after, second.before + second.new)
    assert sorted(a.new.tolist() for a in mine) == sorted(
        [[1.0, -2.0, 3.0], [1.0, -2.0, 3.0], [4.0, 4.0, 4.0]]
    )
    np.testing.assert_array_equal(mine[-1].after, 2 * x.detach().numpy() + 4)


def test_a_broadcast_operand_gets_the_sum_over_its_copies():
    a, b = parameter(np.arange(6.0).reshape(2, 3)), parameter([2.0, 3.0, 5.0])
    graph, arrived = came((a * b).sum())
    (arrival,) = [x for x in arrived if graph.uses[x.use].source is b]
    np.testing.assert_array_equal(arrival.local, a.detach().numpy())
    np.testing.assert_array_equal(arrival.product, a.detach().numpy())
    np.testing.assert_array_equal(arrival.new, a.detach().numpy().sum(0))


def test_slope_times_upstream_is_the_product():
    x = parameter([[0.3, -1.2], [2.0, 0.7]])
    graph, arrived = came((tg.tanh(x) * tg.exp(x)).sum())
    slopes = {graph.uses[a.use].target.op.name: a for a in arrived}
    t = np.tanh(x.detach().numpy())
    np.testing.assert_allclose(slopes["tanh"].local, 1 - t * t, rtol=1e-15)
    np.testing.assert_allclose(slopes["tanh"].upstream, np.exp(x.detach().numpy()), rtol=1e-15)
    np.testing.assert_allclose(
        slopes["tanh"].product, np.exp(x.detach().numpy()) * (1 - t * t), rtol=1e-14
    )


def test_no_grad_is_touched():
    x = parameter([1.0, 2.0])
    loss = (x * x).sum()
    tg.play(loss)
    assert x.grad is None
    loss.backward()
    before = x.grad.numpy().copy()
    tg.play((x * x).sum())
    np.testing.assert_array_equal(x.grad.numpy(), before)


# --- which element belongs to which ---------------------------------------------------------


def feeds(node, position):
    """Which elements of an operand move which of the output: by moving each of them."""
    x = node.inputs[position].array
    found = set()
    arrays = [np.array(other.array, copy=True) for other in node.inputs]
    for i in range(x.size):
        moved = [array.copy() for array in arrays]
        moved[position].reshape(-1)[i] += 1000.0
        new = np.asarray(run(node, moved))
        found |= {(i, j) for j in np.flatnonzero(np.ravel(new != node.array)).tolist()}
    return found


MOVED = {
    "transposed": lambda x: x.mT,
    "reshaped": lambda x: x.reshape(3, 2),
    "picked": lambda x: x[1],
    "picked twice": lambda x: x[[0, 0, 1]],
    "reversed": lambda x: tg.flip(x, (1,)),
    "axes": lambda x: x.reshape(1, 2, 3).permute(2, 0, 1),
}


@pytest.mark.parametrize("name", MOVED)
def test_moved_elements_are_followed(name):
    x = parameter(np.arange(6.0).reshape(2, 3) + 1)
    y = MOVED[name](x)
    while y.inputs[0] is not x:
        y = y.inputs[0]
    kind, *rest = relation(y, 0)
    assert kind == ("flat" if y.op.name == "reshape" else "ix")
    places = rest[0] if rest else range(6)
    assert {(i, j) for j, i in enumerate(places)} == feeds(y, 0)


def test_the_largest_of_each_window_is_followed():
    x = parameter([[[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 9.0, 9.0]]]])
    y = nn.functional.max_pool2d(x, 2)
    while y.op.name != "max_pool":
        (y,) = y.inputs
    assert relation(y, 0) == ["ix", [1, 6]]  # the first of equal ones
    assert {(i, j) for j, i in enumerate(relation(y, 0)[1])} <= feeds(y, 0)


def test_written_elements_come_from_nowhere():
    x, v = parameter(np.zeros((2, 3))), parameter([7.0, 8.0, 9.0])
    y = x * 1.0
    y[0] = v
    assert relation(y, 0) == ["ix", [-1, -1, -1, 3, 4, 5]]
    assert relation(y, 1) == ["ix", [0, 1, 2, -1, -1, -1]]


def test_elements_written_by_ids_come_from_nowhere():
    x, v = parameter(np.zeros(4)), parameter([7.0, 8.0])
    y = x * 1.0
    y[tg.tensor([3, 0])] = v
    assert relation(y, 0) == ["ix", [-1, 1, 2, -1]]
    assert relation(y, 1) == ["ix", [1, -1, -1, 0]]
    assert relation(y, 2) is None


def test_the_ids_of_a_pick_belong_to_no_element():
    x = parameter(np.arange(6.0).reshape(2, 3))
    picked = x[tg.tensor([1, 0]), tg.tensor([2, 2])]
    assert relation(picked, 1) is None
    assert relation(picked, 0) == ["ix", [5, 2]]


# --- the steps ------------------------------------------------------------------------------


def test_windows_light_what_they_saw():
    x = tg.tensor([[[[1.0, 3.0, 3.0], [2.0, 0.0, 4.0]]]], requires_grad=True)
    assert relation(F.max_pool2d(x, 2, 1), 0) == ["ix", [1, 5]]
    assert relation(F.max_pool2d(x, (1, 3)), 0) == ["ix", [1, 5]]
    columns = table.im2col(x.permute(1, 2, 3, 0), (2, 2), (1, 1), (1, 1))
    assert relation(columns, 0) == ["ix", [0, 1, 1, 2, 3, 4, 4, 5]]
    assert relation(table.sum_pool(x, (2, 2), (1, 1), (2, 3)), 0) is None


def test_the_steps_are_the_operations_the_seed_and_every_arrival():
    a, b = parameter(2.0), parameter(-3.0)
    page = tg.play(a * b + a, names={"a": a, "b": b})
    assert [step["k"] for step in told(page)["steps"]] == [
        "start", "f", "f", "seed", "b", "b", "b", "b", "end",
    ]  # fmt: skip
    assert page.steps == 9
    tensors = told(page)["tensors"]
    assert [(t["name"], t["v"]["d"], t["g"]["d"]) for t in tensors.values()] == [
        ("a", [2], [-2]), ("b", [-3], [2]), ("", [-6], [1]), ("", [-4], [1]),
    ]  # fmt: skip


def test_the_numbers_of_a_step():
    x, W, b = parameter([[1.0, 2.0]]), parameter([[1.0], [3.0]]), parameter([0.5])
    page = tg.play(((x @ W + b) ** 2).sum(), names={"x": x, "W": W, "b": b})
    tensors = told(page)["tensors"]
    of = {t["name"] or t["op"]: id for id, t in tensors.items()}
    by = {(step["y"], step["x"]): step for step in steps(page, "b")}
    square = by[of["u²"], of["+"]]
    assert numbers(square["loc"]) == [[15]]  # 2·7.5
    to_w = by[of["@"], of["W"]]
    assert to_w["o"] == [of["x"], "x"] and "loc" not in to_w
    np.testing.assert_array_equal(numbers(tensors[of["W"]]["g"]), [[15.0], [30.0]])
    assert tensors[of["W"]]["norm"] == "‖∇‖ 33.54"


def test_a_fan_out_is_already_there_plus_new():
    x = parameter([1.0, 2.0, 3.0])
    page = tg.play((x.exp() * x * 2.0).sum(), names={"x": x})
    mine = [s for s in steps(page, "b") if told(page)["tensors"][s["x"]]["name"] == "x"]
    assert "old" not in mine[0] and "new" in mine[0]
    np.testing.assert_allclose(
        numbers(mine[1]["old"]) + numbers(mine[1]["new"]),
        2 * np.exp(x.detach().numpy()) * (1 + x.detach().numpy()),
        rtol=5e-3,
    )


def test_every_step_of_the_programs_agrees_with_central_differences():
    for name in ("softmax_regression", "two_layer_network", "fan_out", "lstm_step"):
        loss, names = PROGRAMS[name]()
        page = tg.play(loss, names)
        back = steps(page, "b")
        assert len(back) == sum(use.flows for use in uses_of(history([loss])[::-1])) > 10
        for step in back:
            assert step["ok"]["ok"] == 1, (name, step["ok"])
            assert re.search(
                r"Agrees with central differences at \d+ elements?", step["ok"]["text"]
            )


def test_a_kink_is_called_a_kink():
    x = parameter([0.0, 1.0, -2.0])
    (step,) = [s for s in steps(tg.play(F.relu(x).sum(), {"x": x}), "b") if "map" in s][-1:]
    assert step["ok"]["kink"] and "relu switched 1 element" in step["ok"]["text"]
    assert step["ok"]["ok"] == -1


def test_a_wrong_rule_is_seen(monkeypatch):
    from tinygrad_ce.engine.table import exp

    (right,) = exp.op.gradients
    monkeypatch.setattr(exp.op, "gradients", [lambda *given: right(*given) * 1.01])
    x = parameter([0.5, 1.0])
    (step,) = [s for s in steps(tg.play(x.exp().sum()), "b") if "eˣ" in s["lab"]]
    assert step["ok"]["ok"] == 0
    assert step["ok"]["text"].startswith("Differs from the central difference 2.718")


def test_a_wrong_rule_is_seen_behind_a_kink(monkeypatch):
    from tinygrad_ce.engine.table import relu

    (right,) = relu.op.gradients
    monkeypatch.setattr(relu.op, "gradients", [lambda *given: right(*given) * 1.5])
    x = parameter([0.0, 1.0, -2.0])
    step = steps(tg.play(F.relu(x).sum(), {"x": x}), "b")[-1]
    assert step["ok"]["ok"] == 0 and step["ok"]["text"].startswith("Differs from the central")


def test_source_lines_are_those_of_the_program():
    x = parameter([1.0, 2.0])
    with tg.source_lines():
        y = x.exp()
        loss = (y * 2.0).sum()
    page = tg.play(loss)
    files = told(page)["files"]
    assert [line[2] for line in files] == ["y = x.exp()", "loss = (y * 2.0).sum()"] + [
        "loss = (y * 2.0).sum()"
    ] * (len(files) - 2)
    marked = {text[start:stop] for _, _, text, start, stop in files}
    assert marked == {"x.exp()", "y * 2.0", "(y * 2.0).sum()"}
    assert told(page)["why"] == ""
    assert "source_lines()" in told(tg.play(x.exp().sum()))["why"]


# --- (p − y)/N ------------------------------------------------------------------------------


def test_p_minus_y_over_n_is_recognised_where_it_is_so():
    tg.manual_seed(3)
    z = parameter(np.random.default_rng(0).normal(size=(5, 3)))
    y = tg.tensor([0, 2, 1, 1, 0])
    page = tg.play(F.cross_entropy(z, y), {"z": z, "y": y})
    said = [s["is"] for s in steps(page, "b") if told(page)["tensors"][s["x"]]["name"] == "z"]
    assert [x["of"] for x in said] == ["softmax"] and said[0]["N"] == 5
    assert said[0]["d"] < 1e-15 and said[0]["y"] == "0, 2, 1, 1, 0"


def test_p_minus_y_over_n_of_a_sigmoid():
    z = parameter([0.3, -2.0, 1.5])
    y = tg.tensor([1.0, 0.0, 1.0])
    page = tg.play(F.binary_cross_entropy_with_logits(z, y), {"z": z, "y": y})
    said = [s.get("is") for s in steps(page, "b") if told(page)["tensors"][s["x"]]["name"] == "z"]
    assert said[-1]["of"] == "sigmoid" and said[-1]["y"] == "1, 0, 1"


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: F.cross_entropy(z, y, reduction="sum"),
        lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1),
        lambda z, y: F.mse_loss(F.softmax(z, 1), F.one_hot(y, 3).double()),
        lambda z, y: z.exp().sum(),
    ],
)
def test_p_minus_y_over_n_is_not_claimed_where_it_is_not_so(loss):
    z = parameter(np.random.default_rng(0).normal(size=(4, 3)))
    page = tg.play(loss(z, tg.tensor([0, 2, 1, 1])), {"z": z})
    assert not any("is" in s for s in steps(page, "b"))


def test_a_gradient_that_is_off_by_a_little_is_not_p_minus_y():
    z = np.random.default_rng(0).normal(size=(4, 3))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    y = np.eye(3)[[0, 1, 2, 0]]
    assert residual(z, (p - y) / 4)["N"] == 4
    assert residual(z, (p - y) / 4 + 1e-8) is None
    assert residual(z, (p - np.eye(3)[[0, 1, 2, 0]] * 2) / 4) is None
    two_classes = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert residual(z, (p - two_classes) / 4) is None
    assert residual(z, np.zeros((4, 3))) is None
    certain = np.where(y == 1, 0.0, -1e3)
    assert residual(certain, 1e-12 * y) is None


# --- windows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.float64(np.nan), ["nan"]),
        (np.array([np.inf, -np.inf]), ["∞", "−∞"]),
        (np.zeros((0, 3)), []),
        (np.array([True, False]), [1, 0]),
        (np.array([1e-30, 123456.7]), [1e-30, 123500]),
        (np.array(2**40), [2**40]),
    ],
)
def test_windows_of_odd_arrays(array, shown):
    win = window(array)
    assert win["d"] == shown and win["s"] == list(array.shape)
    json.dumps(win, allow_nan=False)


# --- the page -------------------------------------------------------------------------------


class Reading(HTMLParser):
    """Collects tags, ids and everything that would be fetched."""

    def __init__(self):
        super().__init__()
        self.ids, self.fetched = [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        for name in ("src", "href", "action", "data"):
            if name in given and not given[name].startswith(("#", "data:")):
                self.fetched.append(given[name])


def test_a_page_is_one_file_that_fetches_nothing():
    page = tg.play(*PROGRAMS["two_layer_network"]())
    reading = Reading()
    reading.feed(page.html)
    assert reading.fetched == []
    assert len(reading.ids) == len(set(reading.ids))
    assert {f"n{i}" for i in range(20)} <= set(reading.ids)
    assert "url(" not in page.html and "@import" not in page.html
    assert "default-src 'none'" in page.html


def test_the_page_of_a_two_layer_network_is_small():
    assert len(tg.play(*PROGRAMS["two_layer_network"]()).html.encode()) < 180_000


def test_the_same_program_gives_the_same_page():
    program = (
        "import tests.drawn_programs as t, sys, tinygrad_ce as tg;"
        "print(tg.play(*t.attention_block()).html)"
    )
    texts = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ".", "PATH": "/usr/bin:/bin"},
            capture_output=True, check=True, encoding="utf-8",
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert texts[0] == texts[1]


def test_hostile_names_stay_text():
    x = parameter([1.0, 2.0])
    name = "</script><img src=x onerror=alert(1)> <!--SCRIPT--> {}\\N"
    page = tg.play((x * 2.0).sum(), names={name: x})
    assert page.html.count("</script>") == 3
    assert "<img" not in page.html
    assert told(page)["tensors"]["n0"]["name"] == name


def test_nothing_is_kept_alive():
    x = parameter([1.0, 2.0])
    loss = (x.exp() * 3.0).sum()
    page = tg.play(loss, {"x": x})
    gone = [weakref.ref(loss), weakref.ref(x)]
    del loss, x
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert page.steps


def test_a_page_of_what_was_written_in_the_call():
    model = nn.Linear(2, 1)
    ones = np.ones((1, 2), np.float32)
    calls = [
        lambda how: how(model, tg.ones(1, 2)),
        lambda how: how(model, ones.copy()),
        lambda how: how(model.forward, tg.ones(1, 2, requires_grad=True), names={"model": model}),
        lambda how: how(lambda x, y: model(x) * y, tg.ones(1, 2), 3.0),
    ]
    for call in calls:
        drawing = call(tg.draw)
        gc.collect()
        assert told(viz.drawing.page_of(drawing))["tensors"] == told(call(tg.play))["tensors"]


def test_save_and_notebooks(tmp_path):
    loss, names = PROGRAMS["fan_out"]()
    page = tg.play(loss, names)
    path = page.save(tmp_path / "x.html")
    assert path.read_text("utf-8") == page.html
    with pytest.raises(ValueError, match=r"'x.bmp' ends in '.bmp'; wanted .html for the page"):
        page.save(tmp_path / "x.bmp")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        page.save(tmp_path / "no" / "x.html")
    assert repr(page).startswith("<Page loss = 0.1105: ")
    found = {}

    class Frame(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found[tag] = dict(attributes)

    Frame().feed(page._repr_html_())
    assert found["iframe"]["srcdoc"] == page.html


def test_a_drawing_saves_the_page_of_play(tmp_path):
    loss, names = PROGRAMS["softmax_regression"]()
    drawing = tg.draw(loss, names, theme="dark", depth=0)
    path = drawing.save(tmp_path / "x.html")
    assert path.read_text("utf-8") == tg.play(loss, names, theme="dark", depth=0).html
    with pytest.raises(ValueError, match="leave backward=True out"):
        tg.draw(loss, names, backward=True).save(tmp_path / "y.html")
    del loss, names
    gc.collect()
    with pytest.raises(RuntimeError, match="gone"):
        drawing.save(tmp_path / "z.html")
    assert not (tmp_path / "z.html").exists()


def test_a_model_is_run_and_played(tmp_path):
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    page = tg.play(model, tg.ones(4, 2))
    assert not steps(page, "b")
    assert told(page)["none"] == "There are no gradients: the last tensor is not a scalar."
    assert told(page)["files"] == [] or told(page)["why"] == ""
    assert isinstance(page, Page) and viz.play is tg.play
    assert tg.draw(model, tg.ones(4, 2)).save(tmp_path / "m.html").exists()


def test_a_program_is_drawn_and_played_as_eager_code_is():
    x = parameter([[1.0, -2.0], [0.5, 3.0]])
    y = tg.tensor([0, 1])

    def step(x):
        return F.cross_entropy(x * 2.0, y)

    program = tg.trace(step, x)
    with tg.source_lines():
        loss = step(x)
    eager, traced = tg.draw(loss, {"x": x}), tg.draw(program)
    shown = [
        [(c.role, c.op, c.shape, c.value, c.gradient, c.line) for c in drawing.picture.cards]
        for drawing in (eager, traced)
    ]
    assert shown[0] == shown[1]
    pages = [tg.play(loss, {"x": x}), tg.play(program)]
    for kind in "fb":
        lines = [[told(page)["files"][s["src"]][:3] for s in steps(page, kind)] for page in pages]
        assert lines[0] == lines[1]
        assert [s.get("ok") for s in steps(pages[0], kind)] == [
            s.get("ok") for s in steps(pages[1], kind)
        ]
    gone = weakref.ref(program)
    del program
    gc.collect()
    assert gone() is None


def test_what_is_folded_is_one_step():
    loss, names = PROGRAMS["two_layer_network"]()
    page = tg.play(loss, names, depth=0)
    tensors = told(page)["tensors"]
    calls = [step for step in steps(page, "f") if tensors[step["y"]]["role"] != "step"]
    assert [tensors[step["y"]]["op"] for step in calls] == [
        "fc1",
        "sigmoid",
        "fc2",
        "cross_entropy",
    ]
    back = [(tensors[s["y"]]["op"], tensors[s["x"]]["op"]) for s in steps(page, "b")]
    assert back == [("cross_entropy", "fc2"), ("fc2", "sigmoid"), ("sigmoid", "fc1")] or (
        back[0] == ("cross_entropy", "fc2") and set(back[1:]) >= {("fc2", "sigmoid")}
    )


def test_a_chain_of_ten_thousand_operations_is_played():
    x = parameter(1.0)
    y = x
    for _ in range(5_000):
        y = y * 1.0001 + 1e-5
    page = tg.play(y, {"x": x})
    assert page.steps < 20
    assert told(page)["tensors"]["n0"]["g"]["d"] == [pytest.approx(1.0001**5_000, rel=1e-3)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_an_engine_the_cards_are_stacked(name, monkeypatch):
    monkeypatch.setattr(engines, "ENGINES", ())
    page = tg.play(*PROGRAMS[name]())
    assert "pip install" in told(page)["note"]
    svg = re.search(r'<svg id="graph".*?</svg>', page.html, re.DOTALL)[0]
    graph = ElementTree.fromstring(svg)
    shown = [g.get("id") for g in graph.iter("g") if (g.get("class") or "").startswith("card")]
    assert shown == list(told(page)["tensors"])


def test_stacked_cards_are_joined_at_their_middles(monkeypatch):
    monkeypatch.setattr(engines, "ENGINES", ())
    page = tg.play(*PROGRAMS["two_layer_network"]()).html
    middles = {}
    for id, y, height in re.findall(
        r'id="(n\d+)"[^>]*><rect [^>]*?y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', page
    ):
        middles[id] = float(y) + float(height) / 2
    path = r'<path d="M300\.0,(\d+)C(\d+),(\d+) (\d+),(\d+) 300\.0,(\d+)"'
    edges = re.findall(rf'data-a="(n\d+)" data-b="(n\d+)">{path}', page)
    assert len(edges) > 20
    bends = {}
    for a, b, *places in edges:
        start, right, above, same, below, end = map(float, places)
        assert (start, end) == (above, below) == (middles[a], middles[b])
        assert same == right > 320  # beside the cards
        bends[min(end - start, 640)] = right
    assert len(bends) > 3 and sorted(bends.values()) == [bends[reach] for reach in sorted(bends)]


def test_a_folded_call_adds_its_share():
    tg.manual_seed(0)
    layer, x = nn.Linear(3, 3).double(), parameter(np.ones((2, 3)))
    y = layer(x)
    page = tg.play((y * x).sum(), names={"x": x}, depth=0)
    assert [("+=" in words(step), step.get("share")) for step in named(page, "x")] == [
        (True, 1), (True, 1)]  # fmt: skip


def test_the_words_of_a_laid_out_graph_stand_in_their_boxes():
    loss, names = PROGRAMS["two_layer_network"]()
    picture, page = tg.draw(loss, names).picture, tg.play(loss, names).html
    graph = ElementTree.fromstring(re.search(r'<svg id="graph".*?</svg>', page, re.DOTALL)[0])
    groups = {g.get("id"): g for g in graph.iter("g")}
    for card in picture.cards:
        texts, box = list(groups[card.id].iter("text")), next(groups[card.id].iter("rect"))
        said = " ".join(t.text for t in texts)
        for words in (card.op, card.name, card.shape, card.value, card.gradient):
            assert words in said
        for axis, side in (("x", "width"), ("y", "height")):
            start = float(box.get(axis))
            assert all(start < float(t.get(axis)) < start + float(box.get(side)) for t in texts)
    for i, cluster in enumerate(picture.clusters):
        assert cluster.name in " ".join(t.text for t in groups[f"c{i}"].iter("text"))
    for i, edge in enumerate(picture.edges):
        assert edge.label == "".join(t.text for t in groups[f"e{i}"].iter("text"))
    assert sum(bool(edge.label) for edge in picture.edges) > 10


def test_each_line_ends_in_a_head_of_its_colour():
    page = tg.play(*PROGRAMS["two_layer_network"]()).html
    edges = re.findall(r'<g class="edge[^>]*>(.*?)</g>', page, re.DOTALL)
    both = 0
    for edge in edges:
        lines = re.findall(r'<path d="M([^"]*)" fill="none" stroke="([^"]*)"', edge)
        heads = re.findall(r'<polygon points="([^"]*)" fill="([^"]*)"', edge)
        assert sorted(color for _, color in lines) == sorted(color for _, color in heads)
        both += len(heads) == 2
        for head, color in heads:
            (line,) = (line for line, stroke in lines if stroke == color)
            places = np.array([p.split(",") for p in re.split("[C ]", line)], float)[[0, -1]]
            corners = np.array([p.split(",") for p in head.split()], float)
            assert np.linalg.norm(corners.mean(0) - places, axis=1).min() < 5
    assert len(edges) == 31 and both > 10


@pytest.mark.skipif(not shutil.which("dot"), reason="the dot program is not installed")
def test_both_engines_give_the_same_story(monkeypatch):
    loss, names = PROGRAMS["two_layer_network"]()
    pages = []
    for engine in (engines.with_dot, engines.with_pygraphviz):
        monkeypatch.setattr(engines, "ENGINES", (engine,))
        page = tg.play(loss, names)
        ids = re.findall(r'<g class="(?:card|edge|cluster)[^"]*" id="(\w+)"', page.html)
        pages.append((told(page), ids))
    assert pages[0] == pages[1]


# --- mathematics ----------------------------------------------------------------------------


def test_every_operation_with_a_derivative_has_a_rule_as_mathematics():
    missing = {name for name, rule in TOLD.items() if rule.slopes and not rule.backward}
    assert missing == {"sliding_windows", "overlap_add"}
    for name, rule in TOLD.items():
        if rule.slopes and rule.backward:
            assert len(rule.backward) in (1, len(rule.slopes)), name
            assert len(rule.why) in (0, 1, len(rule.slopes)), name


WITHOUT_A_SENTENCE = {
    "arccos", "arcsin", "arcsinh", "arctan", "arctan2", "astype", "ceil", "col2im", "copy", "cos",
    "cosh", "cumsum", "einsum", "erf", "erfc", "expm1", "floor", "floordiv", "fmod", "hypot",
    "log10", "log1p", "log2", "mod", "norm", "pad", "pow", "prod", "put", "put_in_windows", "rint",
    "scatter", "sign", "sin", "sinh", "sum_unpool", "take_in_windows", "tan", "transpose", "trunc",
}  # fmt: skip


def test_what_most_graphs_are_made_of_is_told_in_a_sentence():
    assert {n for n, rule in TOLD.items() if rule.backward and not rule.why} == WITHOUT_A_SENTENCE
    x, w = parameter(np.ones((2, 3))), parameter(np.ones((3, 2)))
    page = tg.play((-(x @ w).exp()).sum(), names={"x": x, "w": w})
    found = {tuple(s.get("why") for s in named(page, name)) for name in ("x", "w")}
    assert found == {(LEFT,), (RIGHT,)}
    assert {s.get("why") for s in steps(page, "b")} == {
        LEFT, RIGHT, TERMS, *TOLD["neg"].why, *TOLD["exp"].why
    }  # fmt: skip


A, B = 0.3, 0.7
MATHEMATICS = {
    "y = a + b": A + B, "y = a − b": A - B, "y = a ⊙ b": A * B, "y = frac{a}{b}": A / B,
    "y = a mod b": A, "y = ⌊ frac{a}{b} ⌋": 0.0, "y = a^{b}": A**B, "y = max ( a , b )": B,
    "y = min ( a , b )": A, 'y = b "where" a "holds, else" c': A, "y = max ( x , 0 )": A,
    'y = x "where" b "holds, else" 0': A, "y = − x": -A, "y = e^{x}": np.exp(A),
    "y = log x": np.log(A), "y = log ( 1 + x )": np.log(1 + A), "y = e^{x} − 1": np.exp(A) - 1,
    "y = sqrt{x}": A**0.5, "y = sin x": np.sin(A), "y = cos x": np.cos(A),
    "y = log_{2} x": np.log2(A), "y = log_{10} x": np.log10(A), "y = tan x": np.tan(A),
    "y = arcsin x": np.arcsin(A), "y = arccos x": np.arccos(A), "y = arctan x": np.arctan(A),
    'y = "the angle of" ( b , a )': np.arctan2(A, B), "y = sqrt{a^{2} + b^{2}}": np.hypot(A, B),
    "y = sinh x": np.sinh(A), "y = cosh x": np.cosh(A), "y = arcsinh x": np.arcsinh(A),
    "y = erf x": 0.3286267594591274, 'y = x "cut off"': 0.0,
    'y = a − b · "cut off" ( frac{a}{b} )': A,
    **{f"y = [ a {sign} b ]": A < B for sign in "<≤≠"},
    **{f"y = [ a {sign} b ]": A > B for sign in ">≥="},
    **{f'y = a "{word}" b': word != "xor" for word in ("and", "or", "xor")}, 'y = "not" x': False,
    "y = tanh x": np.tanh(A), "y = erfc x": 0.6713732405408726, "y = | x |": A,
    "y = sign x": 1.0, "y = ⌊ x ⌋": 0.0, "y = ⌈ x ⌉": 1.0, 'y = x "rounded"': 0.0,
    'y = x "clipped to" [ low , high ]': A, "y = Σ_{axes} x": A, "y = max_{axes} x": A,
    "y = min_{axes} x": A, "y = Π x": A, "y_{i} = Σ_{j ≤ i} x_{j}": A, "y = ‖ x ‖_{axes}": A,
    "y_{i} = Π_{j ≤ i} x_{j}": A, "y = x": A, 'y = x "in another precision"': A, "y = x^{⊤}": A,
    "y = a b , y_{ij} = Σ_{k} a_{ik} b_{kj}": A * B,
    "y = a b^{⊤} , y_{ij} = Σ_{k} a_{ik} b_{jk}": A * B,
    "0": 0.0, "D{y}": 1.0, "− D{y}": -1.0, "D{y} ⊙ b": B, "D{y} ⊙ a": A, "D{y} ⊙ frac{1}{b}": 1 / B,
    "D{y} ⊙ ( − frac{a}{b^{2}} )": -A / B**2, "D{y} ⊙ ( − ⌊ frac{a}{b} ⌋ )": 0.0,
    "D{y} ⊙ b a^{b − 1}": B * A ** (B - 1), "D{y} ⊙ a^{b} log a": A**B * np.log(A),
    "D{y} b^{⊤}": B, "a^{⊤} D{y}": A, "D{y} b": B, "{( D{y} )}^{⊤} a": A,
    "D{y} ⊙ [ a > b ]": 0.0, "D{y} ⊙ [ b > a ]": 1.0, "D{y} ⊙ [ a < b ]": 1.0,
    "D{y} ⊙ [ b < a ]": 0.0, "D{y} ⊙ [ a ]": 1.0, 'D{y} ⊙ [ "not" a ]': 0.0, "D{y} ⊙ [ b ]": 1.0,
    "D{y} ⊙ [ y > 0 ]": 1.0, "D{y} ⊙ e^{x}": np.exp(A), "D{y} ⊙ frac{1}{x}": 1 / A,
    "D{y} ⊙ frac{1}{1 + x}": 1 / (1 + A), "D{y} ⊙ frac{1}{2 sqrt{x}}": 0.5 * A**-0.5,
    "D{y} ⊙ cos x": np.cos(A), "D{y} ⊙ ( − sin x )": -np.sin(A),
    "D{y} ⊙ ( 1 − y^{2} )": 1 - np.tanh(A) ** 2, "D{y} ⊙ ( 1 + y^{2} )": 1 + np.tan(A) ** 2,
    "D{y} ⊙ frac{1}{x log 2}": 1 / A / np.log(2), "D{y} ⊙ frac{1}{x log 10}": 1 / A / np.log(10),
    "D{y} ⊙ frac{1}{sqrt{1 − x^{2}}}": (1 - A**2) ** -0.5,
    "D{y} ⊙ ( − frac{1}{sqrt{1 − x^{2}}} )": -((1 - A**2) ** -0.5),
    "D{y} ⊙ frac{1}{1 + x^{2}}": 1 / (1 + A**2),
    "D{y} ⊙ frac{b}{a^{2} + b^{2}}": B / (A**2 + B**2),
    "D{y} ⊙ ( − frac{a}{a^{2} + b^{2}} )": -A / (A**2 + B**2),
    "D{y} ⊙ frac{a}{y}": A / np.hypot(A, B), "D{y} ⊙ frac{b}{y}": B / np.hypot(A, B),
    "D{y} ⊙ cosh x": np.cosh(A), "D{y} ⊙ sinh x": np.sinh(A),
    "D{y} ⊙ frac{1}{sqrt{1 + x^{2}}}": (1 + A**2) ** -0.5,
    "D{y} ⊙ frac{2}{sqrt{π}} e^{− x^{2}}": 2 / np.pi**0.5 * np.exp(-(A**2)),
    'D{y} ⊙ ( − "cut off" ( frac{a}{b} ) )': 0.0,
    "D{y} ⊙ ( − frac{2}{sqrt{π}} e^{− x^{2}} )": -2 / np.pi**0.5 * np.exp(-(A**2)),
    "D{y} ⊙ sign x": 1.0, "D{y} ⊙ [ low ≤ x ≤ high ]": 1.0, 'D{y} "copied to each element"': 1.0,
    'D{y} "where" x "is the maximum"': 1.0, 'D{y} "where" x "is the minimum"': 1.0,
    'D{y} ⊙ "the product of the others"': 1.0, "Σ_{j ≥ i} D{y_{j}}": 1.0,
    "D{y} ⊙ frac{x}{y}": 1.0, "{( D{y} )}^{⊤}": 1.0,
}  # fmt: skip


def test_each_line_of_mathematics_is_what_the_engine_computes():
    x, y, true = parameter([[A]]), parameter([[B]]), tg.tensor([[True]])
    binary = (table.add, table.sub, table.mul, table.div, table.mod, table.floordiv, table.fmod,
              table.arctan2, table.hypot,
              table.float_power, table.maximum, table.minimum, table.matmul,
              table.inner)  # fmt: skip
    unary = (table.relu, table.neg, table.exp, table.log, table.log1p, table.expm1, table.sqrt,
             table.log2, table.log10, table.tan, table.arcsin, table.arccos, table.arctan,
             table.sinh, table.cosh, table.arcsinh, table.erf, table.trunc,
             table.sin, table.cos, table.tanh, table.erfc, table.abs, table.sign, table.floor,
             table.ceil, table.round, table.sum, table.amax, table.amin, table.norm, table.copy,
             lambda x: x.mT, lambda x: table.clip(x, 0.0, 1.0), lambda x: table.masked(x, true),
             lambda x: table.prod(x.reshape(1)), lambda x: table.cumsum(x, 0),
             lambda x: table.cumprod(x, 0), lambda x: x.float())  # fmt: skip
    seen = set()
    for result, operands in [
        *((op(x, y), (x, y)) for op in binary), *((op(x), (x,)) for op in unary),
        (table.choose(true, x, y), (None, x, y)), (~true, (None,)),
        *((op(x, y), (None, None)) for op in (table.less, table.less_equal, table.not_equal,
                                              table.greater, table.greater_equal, table.equal)),
        *((op(true, true), (None, None)) for op in (table.logical_and, table.logical_or,
                                                    table.logical_xor)),
    ]:  # fmt: skip
        rule = TOLD[result.op.name]
        assert MATHEMATICS[rule.forward] == pytest.approx(result.item(), rel=1e-6), rule.forward
        seen.add(rule.forward)
        for i, operand in enumerate(operands if rule.backward else ()):
            text = rule.backward[min(i, len(rule.backward) - 1)]
            seen.add(text)
            if operand is not None:
                (gradient,) = tg.autograd.grad(result.sum(), operand, retain_graph=True)
                assert MATHEMATICS[text] == pytest.approx(gradient.item(), rel=1e-12), text
    assert seen == set(MATHEMATICS)
    assert {n for n, rule in TOLD.items() if rule.kind == "elementwise" and rule.forward} <= {
        n for n, rule in TOLD.items() if {rule.forward, *rule.backward} <= seen
    }


@pytest.mark.parametrize("name", TOLD)
def test_the_notation_is_well_formed(name):
    for text in (TOLD[name].forward or "y", *TOLD[name].backward):
        math = ElementTree.fromstring(mathml(text, {"x": "<&>", "b": "W"}).replace("&#160;", " "))
        assert "".join(math.itertext()).strip()
        assert "{" not in "".join(math.itertext())
    assert all(sentence.endswith(".") for sentence in TOLD[name].why)


def test_a_rule_in_full():
    math = backward_math("mul", 1, (), {"a": "x", "b": "w", "y": "z", "L": "loss"}, "b", "rows")
    text = "".join(ElementTree.fromstring(math.replace("&#160;", " ")).itertext())
    assert text == "∂loss∂w=Σ rows (∂loss∂z⊙x)"


# --- what a review found ----------------------------------------------------------------------


def words(step):
    """The formula of a step without its markup."""
    return re.sub("<.*?>", "", step["m"].replace("<d>", "∂L∂")).replace("&#160;", " ")


def named(page, name, kind="b"):
    """The steps that bring something to the tensor of that name."""
    tensors = told(page)["tensors"]
    return [step for step in steps(page, kind) if tensors[step.get("x", "")]["name"] == name]


def test_the_largest_float64_is_json():
    x, mask = parameter([1.0, 2.0]), tg.tensor(np.array([np.finfo(np.float64).min, 0.0]))
    page = told(tg.play((x + mask).max(), names={"x": x, "mask": mask}))
    (shown,) = (t["v"]["d"] for t in page["tensors"].values() if t["name"] == "mask")
    assert shown == ["−1.798e308", 0]


def test_a_sum_over_an_axis_of_a_scalar_is_played():
    x = parameter(3.0)
    page = tg.play(x.sum(-1) * 2, names={"x": x})
    assert [numbers(step["new"]).tolist() if "new" in step else None for step in named(page, "x")]
    assert told(page)["leaves"] == [["x", [], "∇ 2"]]


def test_an_einsum_names_the_operand_that_its_slope_is_of():
    a, b = parameter(np.ones((2, 3))), parameter(np.ones((3, 2)))
    page = tg.play(tg.einsum("ij,jk->ik", a, b).sum(), names={"A": a, "B": b})
    for name, other in ("AB", "BA"):
        (step,) = named(page, name)
        assert f"∂{name}" in words(step) and f"∂{other}" not in words(step)


def test_the_fourth_part_of_a_concatenation_has_its_own_name():
    parts = {name: parameter([1.0]) for name in "pqrs"}
    page = tg.play(tg.cat(list(parts.values())).exp().sum(), names=parts)
    for name in parts:
        (step,) = named(page, name)
        assert step["as"][0] == name


@pytest.mark.parametrize(
    "loss, start",
    [
        (lambda z, w: -z.sum() / 6 + w.exp().sum(), [0.0, 0.0, 0.0]),
        (lambda z, w: z.clip(-1, 1).sum() + w.exp().sum(), [40.0, -40.0, 40.0]),
    ],
)
def test_a_loss_without_a_sigmoid_is_not_called_one(loss, start):
    z, w = parameter(start), parameter([1.0])
    page = tg.play(loss(z, w), names={"z": z, "w": w})
    assert not any("is" in step for step in told(page)["steps"])


def test_what_was_written_without_a_graph_is_not_compared_with_another_program():
    x = parameter(3.0)
    h = x * 2
    with tg.no_grad():
        h += 1e-3
    page = tg.play(h * h, names={"x": x, "h": h})
    for step in steps(page, "b")[:2]:
        assert step["ok"]["ok"] != 1 or "0.001" not in step["ok"]["text"]


def test_a_freed_graph_has_a_page_that_says_so():
    x = parameter([1.0, 2.0])
    y = (x * x).sum()
    y.backward(retain_graph=False)
    assert "freed" in told(tg.play(y))["none"]


def test_a_page_without_gradients_says_why():
    x = parameter([1.0, 2.0])
    with tg.no_grad():
        cut = x * 2
    assert told(tg.play(cut.sum()))["none"] == (
        "There are no gradients: mul under no_grad() cut the graph."
    )
    plain = tg.tensor([1.0, 2.0]).exp()
    assert told(tg.play(plain))["none"] == "There are no gradients: nothing here requires one."
    assert told(tg.play(x * 2))["none"] == (
        "There are no gradients: the last tensor is not a scalar."
    )
    assert said_of(None, 1) == {
        "ok": -1, "text": "Not checked against a central difference: the graph is large."
    }  # fmt: skip


def test_what_does_not_reach_the_loss_gets_nothing():
    x = parameter([1.0, 2.0])
    beside, loss = x.exp(), (x * 3.0).sum()
    graph = Graph([beside, loss], {})
    arrived = list(arrivals(loss, graph.operations, graph.uses))
    (at_x,) = [a for a in arrived if graph.uses[a.use].source is x]
    np.testing.assert_array_equal(at_x.after, [3.0, 3.0])
    assert beside not in {graph.uses[a.use].target for a in arrived}


def test_each_element_of_a_product_answers_for_all():
    x = parameter([2.0, 3.0])
    graph, arrived = came(x.prod())
    product = next(a for a in arrived if graph.uses[a.use].target.op.name == "prod")
    assert relation(graph.uses[product.use].target, 0) == ["sum", [0]]
    np.testing.assert_array_equal(product.after, [3.0, 2.0])


def test_the_sum_of_a_broadcast_stack_names_its_axes():
    a, b = parameter(np.ones((2, 3, 1))), parameter(np.ones((1, 1, 5)))
    page = tg.play((a @ b).sum(), names={"a": a, "b": b})
    (step,) = [s for s in steps(page, "b") if told(page)["tensors"][s["x"]]["name"] == "b"]
    assert "axes 0, 1" not in words(step)  # along axis 1 nothing is summed


def test_whole_numbers_in_a_concatenation_are_no_places():
    y = tg.cat([parameter([5.0, 6.0, 7.0]), tg.tensor([1, 2, 3])])
    assert relation(y, 0) == ["ix", [0, 1, 2, -1, -1, -1]]


def test_half_a_surrogate_in_a_name_is_a_name(tmp_path):
    x = parameter(2.0)
    page = tg.play(x * x, names={"\ud800": x})
    text = page.save(tmp_path / "page.html").read_text("utf-8")
    assert text == page.html and "\ufffd" in [t["name"] for t in told(page)["tensors"].values()]


def test_a_share_is_added_and_not_called_the_gradient():
    x, y = parameter([1.0, 2.0]), parameter([3.0, 4.0])
    page = tg.play((x * x * y).sum(), names={"x": x, "y": y})
    assert [("+=" in words(s), s.get("share")) for s in named(page, "x")] == [(True, 1)] * 2
    assert [("+=" in words(s), s.get("share")) for s in named(page, "y")] == [(False, None)]


def test_the_gradient_of_a_shared_matrix_is_summed_over_the_stacks():
    a, b = parameter(np.ones((2, 3, 4))), parameter(np.ones((4, 5)))
    page = tg.play((a @ b).sum(), names={"a": a, "b": b})
    assert "stacks" in words(named(page, "b")[0])
    assert "Σ" not in words(named(page, "a")[0])
    plain = tg.play((a[0] @ b).sum(), names={"a": a, "b": b})
    assert "Σ" not in words(named(plain, "b")[0])


def test_a_product_with_a_vector_has_no_indices_of_matrices():
    a, b = parameter(np.ones((3, 4))), parameter(np.ones(4))
    page = tg.play((a @ b).sum(), names={"a": a, "b": b})
    assert words(steps(page, "f")[0]) == "y=ab"


def test_the_sign_of_an_operation_is_no_name():
    x = parameter([1.0, -2.0])
    page = tg.play(tg.where(x > 0, x, x * 2.0).sum(), names={"x": x})
    assert not any("not >" in words(step) or "where >" in words(step) for step in steps(page, "b"))


def test_numbers_that_are_gone_are_called_so():
    w = parameter([1.0, 2.0])
    loss = w.exp().sum()
    with tg.no_grad():
        w += 1
    first = steps(tg.play(loss, names={"w": w}), "f")
    assert first[0]["late"].startswith("W was written in place after this operation read it")
    assert "late" not in first[1]


def test_parameters_of_folded_layers_are_listed_at_the_end():
    loss, names = PROGRAMS["two_layer_network"]()
    page = tg.play(loss, names, depth=0)
    assert not any(t["role"] == "parameter" for t in told(page)["tensors"].values())
    loss.backward()
    listed = {name: (shape, norm) for name, shape, norm in told(page)["leaves"]}
    assert set(listed) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    norm = np.linalg.norm(names["model"].fc1.weight.grad.numpy())
    assert listed["fc1.weight"] == ([5, 2], f"‖∇‖ {norm:.4g}")


class Keeps(nn.Module):
    def forward(self, x):
        self.h = x @ x
        return self.h.relu()


def test_gradients_of_values_inside_of_a_folded_call_are_told():
    model, x = Keeps(), parameter([[1.0, 2.0], [3.0, 4.0]])
    page = tg.play((model(x) @ model.h).sum(), names={"x": x}, depth="Keeps")
    inside = [step for step in steps(page, "b") if step.get("in")]
    assert len(inside) == 1 and "new" in inside[0]
    assert inside[0]["why"].startswith("It arrives at a value inside of the folded call")
    assert inside[0]["map"] is None
    h = x.detach().numpy() @ x.detach().numpy()
    np.testing.assert_allclose(numbers(inside[0]["new"]), h.T @ np.ones((2, 2)), rtol=5e-3)


def test_what_comes_out_of_one_folded_card_arrives_at_once():
    w, h = parameter(0.999), parameter(1.0)
    for _ in range(2_000):
        h = h * w
    page = tg.play(h, names={"w": w})
    (step,) = [s for s in named(page, "w") if s["ok"]["text"].startswith("Not checked")]
    assert step["ok"]["text"] == "Not checked: 1,999 gradients arrive here together."
    assert page.steps < 20 and len(page.html.encode()) < 250_000  # the program takes 80 kB
    assert told(page)["leaves"][0][2] == f"∇ {2000 * 0.999**1999:.4f}"


def test_a_tensor_called_l_is_not_the_loss():
    L = parameter([1.0, 2.0])
    page = tg.play((L * 2.0).sum(), names={"L": L})
    assert told(page)["loss"] == "loss"


def test_large_integers_are_not_rounded():
    win = window(np.array([2**53 + 1, -(2**60)]))
    assert win["d"] == ["9007199254740993", "−1152921504606846976"]


# --- many leaves ------------------------------------------------------------------------------


def test_leaves_that_share_a_card_share_its_steps():
    xs = [parameter(float(i)) for i in range(400)]
    w = parameter(np.linspace(0.0, 1.0, 400))
    page = tg.play((tg.stack(xs) * w).sum(), {"w": w, "x0": xs[0], "x399": xs[-1]})
    (shared,) = (t for t in told(page)["tensors"].values() if t["name"].startswith("400 param"))
    assert shared["name"] == "400 parameters x0 … x399" and shared["v"]["s"] == [400]
    seen = decoded(shared["g"], told(page)["pool"])
    assert seen == [float(f"{x:.3g}") for x in w.array] and shared["n"] == 1
    stack = next(s for s in steps(page, "f") if len(s["x"]) == 1)
    assert stack["as"] == [""]
    (step,) = (s for s in steps(page, "b") if s.get("why", "").startswith("400 tensors share"))
    assert step["ok"]["text"] == "Not checked: 400 gradients arrive here together."
    assert ["400 parameters x0 … x399", [400], "‖∇‖ 11.55"] in told(page)["leaves"]


def test_leaves_that_are_read_twice_gather_both_gradients():
    xs = [parameter(float(i)) for i in range(400)]
    total = parameter(0.0)
    for x in xs:
        total = total + x * x
    both = total * 2 + tg.stack(xs).sum()
    page = tg.play(both, {"both": both, "total": total})
    (shared,) = (t for t in told(page)["tensors"].values() if "parameters" in t["name"])
    seen = decoded(shared["g"], told(page)["pool"])
    assert shared["n"] == 2 and seen[:8] == [4 * i + 1 for i in range(8)]
    parts = [s for s in steps(page, "b") if "share this card" in s.get("why", "")]
    pool = told(page)["pool"]
    assert [decoded(s["new"], pool)[:3] for s in parts] in (
        [[1, 1, 1], [0, 4, 8]],
        [[0, 4, 8], [1, 1, 1]],
    )
    assert parts[1]["old"] == parts[0]["new"] and "now" not in parts[1]


def test_an_engine_that_fails_is_found_before_the_checks(monkeypatch):
    done = []
    monkeypatch.setattr(playing, "story", lambda *_: done.append("checks"))
    monkeypatch.setattr(playing, "render", lambda *_: (_ for _ in ()).throw(RuntimeError("no")))
    with pytest.raises(RuntimeError, match="no"):
        tg.play(parameter(2.0) * 3)
    assert not done


# --- (p − y)/N --------------------------------------------------------------------------------

LABELS = np.array([0.0, 1, 1, 0, 1, 0])
LOSSES = {
    "by hand": (lambda z, y: likelihood(1 / (1 + (-z).exp()), y), "z"),
    "the other form": (lambda z, y: likelihood(z.exp() / (1 + z.exp()), y), "z"),
    "from logits": (F.binary_cross_entropy_with_logits, "z"),
    "of a sigmoid": (lambda z, y: F.binary_cross_entropy(F.sigmoid(z), y), "z"),
    "of minus z": (lambda z, y: F.binary_cross_entropy(F.sigmoid(-z), y), ""),
    "margins": (lambda z, y: (1 + (-(z * (2 * y - 1))).exp()).log().mean(), None),
    "softplus of margins": (lambda z, y: F.softplus(z * (1 - 2 * y)).mean(), None),
}


def likelihood(p, y):
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


@pytest.mark.parametrize(("loss_of", "where"), LOSSES.values(), ids=LOSSES)
def test_a_sigmoid_is_told_of_the_logits_with_their_own_labels(loss_of, where):
    z = parameter(np.linspace(-2.0, 1.5, 6)) * 1.5
    y = tg.tensor(LABELS)
    page = tg.play(loss_of(z, y), {"z": z, "y": y})
    tensors = told(page)["tensors"]
    found = [(tensors[s["x"]]["name"], s["is"]["y"]) for s in steps(page, "b") if "is" in s]
    assert found == ([] if where is None else [(where, "0, 1, 1, 0, 1, 0")])


@pytest.mark.parametrize("form", ["by hand", "of minus z", "from logits"])
def test_of_a_single_number_no_residual_is_told(form):
    z, y = parameter(0.5), tg.tensor(1.0)
    back = steps(tg.play(LOSSES[form][0](z, y), {"z": z, "y": y}), "b")
    assert back and not [step for step in back if "is" in step]
