"""What `draw` can be asked: models and functions, depth, looks, the graph of the gradient."""

import gc
import re
import weakref

import numpy as np
import pytest
from taught_programs import expression
from test_draw import Net, card, cards, edges, many, network, parameter

import tinygrad_ce as tg
from tinygrad_ce import draw, nn, tensor
from tinygrad_ce.engine.frame import call_in_scope, composed
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz.graph import engines
from tinygrad_ce.viz.graph.values import number, value_text

# --- a model and an example -----------------------------------------------------------------


def test_a_model_is_run_on_the_example():
    tg.manual_seed(0)
    model, x = Net(), tg.randn(4, 2)
    drawing = draw(model, x)
    assert cards(drawing)[-1].value == cards(draw(model(x)))[-1].value
    assert card(drawing, "x").role == "input"
    assert card(drawing, "fc2.weight").role == "parameter"
    assert "not a scalar" in drawing.picture.notes[-1]
    assert draw(model, x, names={"other": x}).source.count("other") > 0


def test_functions_are_run_too_and_their_arguments_are_names():
    x, w = parameter([1.0, 2.0]), parameter([3.0, 4.0])
    drawing = draw(lambda left, *rest: (left * rest[0]).sum(), x, w)
    assert card(drawing, "left").gradient == "‖∇‖ 5"
    assert card(drawing, "rest[0]").gradient == "‖∇‖ 2.236"
    with tg.no_grad():
        assert card(draw(lambda a: (a * 2).sum(), x), "a").gradient == "‖∇‖ 2.828"


def test_an_array_is_accepted_as_the_model_accepts_it():
    tg.manual_seed(0)
    layer, x = nn.Linear(3, 2), np.ones((4, 3), np.float32)
    drawing = draw(layer, x)
    assert card(drawing, "input").role == "input"
    assert card(drawing, "input").shape == "4 × 3"


class Noisy(nn.Module):
    def __init__(self):
        self.norm = nn.BatchNorm1d(3)
        self.own = nn.Dropout(0.5, generator=tg.Generator().manual_seed(5))
        self.common = nn.Dropout(0.5)
        self.register_buffer("calls", tg.zeros(1))

    def forward(self, x):
        self.calls = self.calls + 1
        return self.common(self.own(self.norm(x))).sum()


def test_buffers_random_streams_and_gradients_are_as_before():
    tg.manual_seed(0)
    model, x = Noisy(), tg.randn(6, 3)
    model(x).backward()
    state = {name: np.array(t) for name, t in model.state_dict().items()}
    streams = tg.get_rng_state(), model.own.generator.get_state()
    kept = [(p, p.grad, p.grad.numpy().copy()) for p in model.parameters()]
    calls = model.calls
    drawing = draw(model, x)
    assert card(drawing, "norm.weight").gradient != "∇ —"
    for name, t in model.state_dict().items():
        assert np.array_equal(t, state[name]), name
    assert np.array_equal(streams[0], tg.get_rng_state())
    assert np.array_equal(streams[1], model.own.generator.get_state())
    assert all(p.grad is g and np.array_equal(g, before) for p, g, before in kept)
    assert model.calls is calls
    assert draw(model, x).source == drawing.source


def test_what_went_wrong_in_the_model_also_leaves_it_as_it_was():
    model = Noisy()
    before = np.array(model.norm.running_mean)
    with pytest.raises(ValueError, match="input has shape"):
        draw(model, tg.ones(2, 4))
    with pytest.raises(TypeError, match="gave a NoneType; wanted one Tensor"):
        draw(lambda x: model(x) and None, tg.randn(4, 3))
    assert np.array_equal(model.norm.running_mean, before)
    drawing = draw(lambda x: model(x) * 2, tg.randn(4, 3))
    assert np.array_equal(model.norm.running_mean, before)
    assert card(drawing, "norm.weight").role == "parameter"


def test_wrong_subjects_are_explained():
    x = parameter([1.0])
    with pytest.raises(TypeError, match=r"gave a tuple; wanted one Tensor: draw\(lambda x"):
        draw(lambda x: (x, x), x)
    with pytest.raises(TypeError, match=r"to draw it, run it on an example: draw\(model, x\)"):
        draw(Net())
    with pytest.raises(TypeError, match="called with 2 examples: too many"):
        draw(Net(), x, x)
    with pytest.raises(TypeError, match=r"got a Tensor and 2 more arguments; wanted draw\(loss\)"):
        draw(x, {}, {})
    with pytest.raises(TypeError, match=r"1 more arguments"):
        draw(x, {"x": x}, names={"x": x})


def test_the_lines_of_the_program_are_in_the_text():
    def function(x):
        return (
            x.exp()
            * 2
        ).sum()  # fmt: skip

    first = function.__code__.co_firstlineno
    lines = draw(function, parameter([1.0, 2.0])).text.splitlines()
    assert [int(re.search(r"test_draw_options\.py:(\d+)$", line)[1]) for line in lines[2:]] == [
        first + 2, first + 2, first + 4,
    ]  # fmt: skip
    assert "test_draw_options" not in draw(function(parameter([1.0, 2.0]))).text


# --- depth ----------------------------------------------------------------------------------


@composed("f(f(x)) + 1")
def outer(x):
    return inner(x) + 1.0


@composed("tanh x · x")
def inner(x):
    return x.tanh() * x


class Layer(nn.Module):
    formula = "outer(x · w)"

    def __init__(self):
        self.w = nn.Parameter([0.5])

    def forward(self, x):
        return outer(x * self.w)


class Stack(nn.Module):
    def __init__(self, count=3):
        self.first = nn.Linear(1, 1)
        self.blocks = nn.Sequential(*[Layer() for _ in range(count)])
        self.last = Layer()

    def forward(self, x):
        return self.last(self.blocks(self.first(x)) * 2.0)


def shown(drawing):
    return [c.op for c in cards(drawing) if c.op]


def test_depth_counts_the_calls_within_each_layer():
    model, x = Stack(1), tg.ones(2, 1)
    assert shown(draw(model, x, depth=0)) == ["first", "Layer 0", "× 2", "last"]
    assert shown(draw(model, x, depth=1)) == [
        "a @ bᵀ", "+", "a × blocks.0.w", "outer", "× 2", "a × last.w", "outer",
    ]  # fmt: skip
    assert shown(draw(model, x, depth=2)) == [
        "a @ bᵀ", "+", "a × blocks.0.w", "inner", "+ 1", "× 2", "a × last.w", "inner", "+ 1",
    ]  # fmt: skip
    opened = shown(draw(model, x))
    assert shown(draw(model, x, depth=3)) == shown(draw(model, x, depth=99)) == opened
    assert len(opened) == 11


def test_repeated_blocks_are_one_card():
    model, x = Stack(6), tg.ones(2, 1)
    drawing = draw(model, x, depth=0)
    assert shown(drawing) == ["first", "Layer × 6", "× 2", "last"]
    block = card(drawing, "Layer × 6")
    assert (block.formula, block.operations, block.role) == ("outer(u · w)", 24, "module")
    y = model.blocks(model.first(x))
    assert block.value == cards(draw(y))[-1].value
    loss = (y * y).sum()
    y.retain_grad()
    loss.backward()
    norm = np.linalg.norm(y.grad.numpy())
    assert card(draw(loss, depth=0), "Layer × 6").gradient == f"‖∇‖ {number(norm)}"
    assert edges(drawing)[("first", "Layer × 6")] == "∂Layer"
    assert "Layer × 6" in draw(model, x, depth=1).source
    assert "Layer × 6" not in draw(model, x).source


@pytest.mark.filterwarnings("ignore:.*with nothing between")
def test_blocks_of_another_kind_shape_or_source_do_not_join():
    x, w = parameter([1.0, 2.0]), parameter([3.0])

    def joined(y):
        return [op for op in shown(draw(y, depth=0)) if "×" in op and op[-1].isdigit()]

    assert joined(tg.sigmoid(tg.sigmoid(x)).sum()) == ["sigmoid × 2"]
    assert joined(tg.sigmoid(F.softplus(x)).sum()) == []
    assert joined(tg.sigmoid(x).sum() + tg.sigmoid(w).sum()) == []
    assert joined((tg.sigmoid(x) + tg.sigmoid(x)).sum()) == []
    assert joined(tg.sigmoid(tg.sigmoid(x) + 1).sum()) == []
    square, narrow = parameter(np.ones((2, 2))), parameter(np.ones((1, 2)))
    assert joined(F.linear(F.linear(x, square), square).sum()) == ["linear × 2"]
    assert joined(F.linear(F.linear(x, square), narrow).sum()) == []


def test_depth_by_name_folds_those_calls():
    model, x = Stack(2), tg.ones(2, 1)
    assert shown(draw(model, x, depth="outer")) == [
        "a @ bᵀ", "+", "a × blocks.0.w", "outer", "a × blocks.1.w", "outer", "× 2",
        "a × last.w", "outer",
    ]  # fmt: skip
    assert shown(draw(model, x, depth="Layer")) == [
        "a @ bᵀ", "+", "Layer 0", "Layer 1", "× 2", "last",
    ]  # fmt: skip
    assert shown(draw(model, x, depth=("first", "blocks")))[:3] == ["first", "blocks", "× 2"]
    assert len(shown(draw(model, x, depth=[]))) == len(shown(draw(model, x)))


def test_wrong_options_are_explained():
    x = parameter([1.0])
    y = tg.sigmoid(x)
    with pytest.raises(ValueError, match="no call is named 'sigmoit'; there are sigmoid"):
        draw(y, depth="sigmoit")
    with pytest.raises(ValueError, match="there are no calls at all"):
        draw(x * 2, depth=("a", "b"))
    for depth in (True, 1.5, [1]):
        with pytest.raises(TypeError, match=r"depth=.*; wanted a number"):
            draw(y, depth=depth)
    with pytest.raises(ValueError, match="depth=-1"):
        draw(y, depth=-1)
    with pytest.raises(ValueError, match="direction='up'; wanted \"TB\""):
        draw(y, direction="up")
    with pytest.raises(ValueError, match="theme='black'; wanted"):
        draw(y, theme="black")


# --- folding by itself ----------------------------------------------------------------------


def note(drawing):
    return next(n for n in drawing.picture.notes if n.startswith("folded by itself"))


def test_the_largest_depth_that_fits_is_taken():
    @composed("")
    def around(x):
        return many(x, 120) * 2.0

    y = x = parameter(1.0)
    for _ in range(3):
        y = around(y)
    drawing = draw(y, {"x": x})
    assert shown(drawing) == ["many", "× 2"] * 3
    assert note(drawing) == "folded by itself: 363 operations, depth=1"


def test_the_mask_of_dropout_is_called_one():
    tg.manual_seed(0)
    x = tensor(np.ones(8), requires_grad=True)
    names = [card.name for card in draw(F.dropout(x, 0.5), names={"x": x}).picture.cards]
    assert "mask / (1 − p)" in names


def test_where_no_depth_is_small_enough_it_is_0():
    x = tensor([1.0, 2.0], requires_grad=True)
    y = sum((F.sigmoid(x * i) for i in range(400)), start=x)
    assert "depth=0" in draw(y.sum()).picture.notes[1]


def test_then_repeated_blocks_then_whole_calls():
    x = parameter(1.0)
    y = x
    for _ in range(400):
        y = tg.sigmoid(y)
    assert shown(draw(y, {"x": x})) == ["sigmoid × 400"]
    assert note(draw(y)) == "folded by itself: 2,400 operations, depth=0 and repeated blocks"

    class Deep(nn.Module):
        def __init__(self):
            self.a, self.b = nn.Sigmoid(), nn.Tanh()

        def forward(self, x):
            for _ in range(200):
                x = self.b(self.a(x))
            return x

    drawing = draw(Deep(), x)
    assert shown(drawing) == ["Deep"]
    assert note(drawing).endswith("depth=0 and whole calls")


def test_a_named_call_between_two_runs_stays_a_card():
    x = y = parameter(1.0)
    for _ in range(300):
        y = (y * 1.5).tanh()
    gate = y = tg.sigmoid(y)
    for _ in range(300):
        y = (y * 1.5).tanh()
    drawing = draw(y * 2.0, {"x": x, "gate": gate})
    assert note(drawing).endswith("runs of operations")
    before, middle, after, *_ = (c for c in cards(drawing) if c.op)
    assert (before.operations, after.operations) == (600, 600)
    assert middle.name == "gate" and middle.operations > 1


def test_runs_keep_named_tensors_and_what_is_used_elsewhere():
    x = y = parameter(1.0)
    kept = []
    for i in range(900):
        y = (y * 1.5).tanh()
        if i in (300, 600):
            kept.append(y)
    loss = y * kept[0]
    drawing = draw(loss, {"x": x, "middle": kept[1]})
    assert shown(drawing) == [
        "602 operations",
        "599 operations",
        "tanh",
        "597 operations",
        "×",
    ] or (shown(drawing)[0] == "602 operations")
    operations = sum(c.operations for c in cards(drawing) if c.op)
    assert operations == 1801
    assert card(drawing, "middle").op == "tanh"
    loss.backward()
    assert card(drawing, "x").gradient == draw(loss, {"x": x}).picture.cards[0].gradient


def test_an_unnamed_leaf_joins_a_run_only_if_it_is_used_once():
    y = shared = parameter(1.0)
    for _ in range(400):
        y = y * shared + parameter(0.5)
    assert [c.role for c in cards(draw(y))] == ["parameter", "operations", "parameter", "loss"]


def test_no_folded_picture_has_a_loop():
    tg.manual_seed(0)
    x = parameter(1.0)
    values = [x]
    rng = np.random.default_rng(0)
    for _ in range(500):
        a, b = rng.integers(max(len(values) - 9, 0), len(values), 2)
        values.append(tg.sigmoid(values[a]) * values[b] if a % 7 == 0 else values[a] + values[b])
    for depth in (None, 0):
        drawing = draw(values[-1], depth=depth)
        place = {c.id: i for i, c in enumerate(cards(drawing))}
        assert all(place[e.source] < place[e.target] for e in drawing.picture.edges)


# --- the gradient's own graph ---------------------------------------------------------------


def test_the_graph_of_the_gradient_ends_in_the_gradients():
    loss, names = network()
    drawing = draw(loss, names, backward=True)
    ends = {c.name: c for c in cards(drawing) if c.role == "gradient"}
    assert set(ends) == {f"∂loss/∂{n}" for n, _ in names["model"].named_parameters()}
    assert all(p.grad is None for p in names["model"].parameters())
    loss.backward()
    for name, p in names["model"].named_parameters():
        assert ends[f"∂loss/∂{name}"].value == value_text(p.grad.numpy())
    assert card(drawing, "∂loss/∂loss").value == "1"
    assert not any(c.gradient for c in cards(drawing))
    assert {c.role for c in cards(drawing)} >= {"backward", "step", "input", "parameter"}
    assert drawing.source == draw(*network(), backward=True).source


def test_the_gradient_of_a_linear_loss_has_a_graph_too():
    w, x = parameter([1.0, 2.0]), tensor(np.array([3.0, 4.0]))
    drawing = draw((w * x).sum(), {"w": w, "x": x}, backward=True)
    assert [c.name for c in cards(drawing) if c.role == "gradient"] == ["∂loss/∂w"]
    assert card(drawing, "∂loss/∂w").value == "[3, 4]"
    assert "w" not in [c.name for c in cards(drawing)]
    a, b = parameter(1.0), parameter(2.0)
    both = draw(a + b, {"a": a}, backward=True)
    assert [c.name for c in cards(both)] == ["∂loss/∂loss = ∂loss/∂a = ∂loss/∂parameter 1"]


def test_gradients_are_drawn_in_the_precision_of_their_loss():
    for dtype in (np.float32, np.float64):
        x = tensor(np.array([1.0, 2.0], dtype), requires_grad=True)
        drawing = draw((x.exp() * x).sum(), {"x": x}, backward=True)
        shown = [c.tooltip.splitlines()[0].split()[-1] for c in cards(drawing)]
        assert shown == [np.dtype(dtype).name] * len(shown) and len(shown) > 6


def test_a_graph_without_gradients_has_no_gradient_graph():
    with pytest.raises(RuntimeError, match="not a scalar"):
        draw(parameter([1.0, 2.0]) * 2, backward=True)
    with pytest.raises(RuntimeError, match="needs no gradient"):
        draw(tensor(1.0), backward=True)


# --- looks ----------------------------------------------------------------------------------


def test_directions():
    loss, names = network()
    assert "rankdir=TB" in draw(loss, names).source
    assert "rankdir=LR" in draw(loss, names, depth=0).source
    assert "rankdir=LR" in draw(loss, names, direction="LR").source
    assert "rankdir=TB" in draw(loss, names, depth=0, direction="TB").source


@pytest.mark.filterwarnings("ignore:.*with nothing between")
def test_folded_to_eight_cards_a_picture_runs_from_left_to_right():
    for count, direction in [(6, "LR"), (7, "TB")]:
        y = tg.ones(2, 3)
        for layer in [nn.Linear(3 + i, 4 + i) for i in range(count)]:
            y = layer(y)
        drawing = draw(y.sum(), depth=0)
        assert len(cards(drawing)) == count + 2
        assert f"rankdir={direction}" in drawing.source


def test_what_is_handed_to_a_layer_is_not_folded_into_it_as_its_weights_are():
    x, layer = tg.ones(4, 2, requires_grad=True), nn.Linear(2, 3)
    titles = [card.name for card in cards(draw(layer(x).sum(), {"x": x, "layer": layer}, depth=0))]
    assert titles[0] == "x" and "weight" not in titles


def test_without_gradients_no_gradient_is_claimed():
    loss, names = network()
    drawing = draw(loss, names, gradients=False)
    rows = {c.gradient for c in cards(drawing) if c.role in ("step", "loss", "parameter")}
    assert rows == {"∇ —"}
    assert "⊕" not in drawing.source
    assert "dir=both" not in drawing.source
    assert "dashed: no gradient can flow" in drawing.source
    assert not any(e.label for e in drawing.picture.edges)


def test_without_values_no_value_is_shown():
    loss, names = network()
    drawing = draw(loss, names, values=False)
    assert {c.value for c in cards(drawing)} == {""}
    number = cards(draw(loss, names))[-1].value
    assert number not in drawing.picture.title
    assert card(drawing, "x").tooltip == "x: 4 × 2 float32"
    assert card(drawing, "fc1.weight").gradient.startswith("‖∇‖ 0")


def test_a_long_graph_shows_its_first_forty_lines():
    x = parameter(1.0)
    for left in (0, 1, 9):
        drawing = draw(many(x, 37 + left), {"x": x}, depth=99)
        lines, shown = str(drawing).splitlines(), repr(drawing).splitlines()
        assert len(lines) == 40 + left and shown[:40] == lines[:40]
        more = [f"... and {left} more; print(drawing) shows them all"]
        assert shown[40:] == (more if left else [])


def test_themes(tmp_path):
    loss, names = network()
    svgs = {
        theme: draw(loss, names, theme=theme).save(tmp_path / f"{theme}.svg").read_text()
        for theme in ("light", "dark", "auto")
    }
    assert "#111827" in svgs["dark"]
    assert "prefers-color-scheme" not in svgs["dark"] + svgs["light"]
    assert "prefers-color-scheme" in svgs["auto"]
    assert "#111827" not in svgs["light"]
    pngs = [draw(loss, names, theme=t).save(tmp_path / f"{t}.png").read_bytes() for t in svgs]
    assert pngs[0] == pngs[2] != pngs[1]


# --- constants ------------------------------------------------------------------------------


def test_constants_are_what_they_are_called():
    data = np.array([[-1.5, 0.0, 2.0], [0.5, -0.25, 3.0]])
    z = parameter(data)
    meant = {
        "x ≥ 0 ? −1 : 1": np.where(data >= 0, -1, 1), "z ≥ 0 ? −1 : 1": np.where(data >= 0, -1, 1),
        "x ≥ 0": data >= 0, "x < 0": data < 0,
        "[z ≥ 0] − y": (data >= 0) - 0.25, "|d| ≤ δ": np.abs(data - 0.25) <= 1,
        "sign d": np.sign(data - 0.25), "rows": np.arange(2), "Σ = 0": np.array([False, False]),
        "max z": data.max(1),
    }  # fmt: skip
    targets = tensor(np.full((2, 3), 0.25))
    losses = [
        F.sigmoid(z), F.softplus(z), F.log_sigmoid(z), F.softmax(z, -1), F.log_softmax(z, -1),
        F.logsumexp(z, 1), F.cross_entropy(z, tensor([0, 2])), F.huber_loss(z, targets),
        F.nll_loss(F.log_softmax(z, -1), tensor([0, 2])),
        F.binary_cross_entropy_with_logits(z, targets),
    ]  # fmt: skip
    seen = set()
    for loss in losses:
        for c in cards(draw(loss.sum(), {"z": z, "targets": targets})):
            if c.role == "constant":
                wanted = np.asarray(meant[c.name])
                assert c.value in (value_text(wanted), value_text(wanted.astype(float))), c.name
                seen.add(c.name)
    assert seen == set(meant)


# --- nothing is kept alive ------------------------------------------------------------------


def test_a_drawing_keeps_nothing_alive(tmp_path):
    loss, names = network()
    inside = [weakref.ref(t) for t in (loss, names["logits"], names["model"], names["x"])]
    drawing = draw(loss, names)
    del loss, names
    gc.collect()
    assert [ref() for ref in inside] == [None] * 4
    assert drawing.save(tmp_path / "graph.svg").exists()
    with pytest.raises(RuntimeError, match=r"keeps nothing alive\. Keep the loss"):
        drawing.save(tmp_path / "graph.html")


def test_drawing_changes_nothing_that_a_backward_pass_needs():
    results = []
    for drawn in (False, True):
        loss, names = network()
        for how in ({}, {"depth": 0}, {"backward": True}, {"gradients": False}) if drawn else ():
            draw(loss, names, **how)
        loss.backward()
        results.append([p.grad.numpy() for p in names["model"].parameters()])
    assert all(np.array_equal(a, b) for a, b in zip(*results))


def test_models_are_kept_weakly():
    model, x = Net(), tg.ones(1, 2)
    drawing = draw(model, x)
    what, examples, names = drawing._again()
    assert what is model and examples[0] is x and names["x"] is x
    del model, what, examples, names
    gc.collect()
    with pytest.raises(RuntimeError, match="is gone"):
        drawing._again()


# --- odd ones -------------------------------------------------------------------------------


def test_a_leaf_alone_has_a_picture_and_a_text():
    drawing = draw(parameter([1.0]))
    assert drawing.text.splitlines()[1].split() == ["n0", "parameter", "parameter", "1", "[1]",
                                                    "∇", "1"]  # fmt: skip
    assert drawing._repr_html_().startswith("<div")


def test_no_leaf_stands_between_the_parts_of_a_call():
    model = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2))
    lines = draw(model, tensor([0, 2])).text.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["n1", "Sequential", "Embedding", "n0", "n2"]


def test_the_text_has_calls_operands_and_formulas():
    lines = draw(*network()).text.splitlines()
    assert "Net" in lines
    assert lines.count("  fc1: x @ Wᵀ + b") == lines.count("Net") == 1
    assert not [line for line in lines if "continued" in line]
    first = lines.index("cross_entropy: −1/N Σ log softmax(z)[y]")
    assert lines[first - 1].split()[:3] == ["n24", "input", "y"]  # though it is read in the middle
    (line,) = (line for line in lines if " logits " in line)
    assert line.startswith("    n16  step       + logits")
    assert "← n14 n15" in line
    hostile = call_in_scope("a\nb\x1b[31m", "module", "x\n", lambda: parameter(1.0) * 2, (), {})
    assert "\x1b" not in draw(hostile).text
    assert "a b [31m: x" in draw(hostile).text


# --- digits ---------------------------------------------------------------------------------


def micrograd():
    """The example of micrograd's README: it prints 24.7041, and 138.8338 and 645.5773."""
    t = {"a": parameter(-4.0), "b": parameter(2.0)}
    g = expression(t)
    return g, {name: t[name] for name in "abg"}


@pytest.mark.parametrize(
    ("digits", "texts"),
    [
        (4, ("24.7041", "∇ 138.8338", "∇ 645.5773")),
        (2, ("24.7", "∇ 138.83", "∇ 645.58")),
        (6, ("24.704082", "∇ 138.833819", "∇ 645.577259")),
    ],
)
def test_numbers_have_as_many_digits_as_asked_for(digits, texts):
    g, names = micrograd()
    drawing = draw(g, names, digits=digits)
    found = card(drawing, "g").value, card(drawing, "a").gradient, card(drawing, "b").gradient
    assert found == texts
    assert drawing.picture.title == f"g = {texts[0]}"
    page = tg.play(g, names, digits=digits)
    assert page.title == f"g = {texts[0]}" and f'"digits":{digits}' in page.html
    assert number(1 / 3) == "0.3333"  # only while something is drawn


def test_digits_are_a_small_number():
    for wrong in (0, 18, 2.0, True):
        with pytest.raises(ValueError, match="wanted how many digits numbers have, 1 to 17"):
            draw(parameter(1.0), digits=wrong)


# --- axes -----------------------------------------------------------------------------------


def test_axes_are_counted_from_the_first_on_cards_and_arrows():
    x = parameter(np.arange(24.0).reshape(1, 2, 3, 4))
    total = x.sum(-1, keepdim=True) * x.amax((-1, -2), keepdim=True)
    drawing = draw((total + x).sum(), {"x": x})
    assert [c.op for c in cards(drawing)][1:3] == ["Σ axis 3", "max axes 3, 2"]
    assert "Σ axis 3" in {e.label for e in drawing.picture.edges}
    assert [c.op for c in cards(draw(tg.stack([x, x], -1).cumsum(-2)))][1:] == [
        "stack axis 4", "running Σ axis 3",
    ]  # fmt: skip


def test_a_folded_card_counts_its_arrows():
    x = parameter(np.arange(6.0).reshape(2, 3))
    h = x * 2
    drawing = draw(nn.functional.softmax(h, 1).log().sum(), {"h": h}, depth=0)
    arrows = [e for e in drawing.picture.edges if e.source == card(drawing, "h").id]
    assert card(drawing, "h").added == len(arrows) == 1


# --- aspect ---------------------------------------------------------------------------------


def test_an_aspect_is_width_by_height():
    for wrong in ("16x9", "wide", 0, -1, "16:0", "1:2:3", 100, [16, 9]):
        with pytest.raises(ValueError, match='wanted width by height, such as "16:9"'):
            draw(parameter(1.0), aspect=wrong)
    assert draw(parameter(1.0), aspect="16:9").picture.options.ratio() == pytest.approx(16 / 9)


def test_without_an_engine_there_is_one_column(monkeypatch):
    monkeypatch.setattr(engines, "ENGINES", ())
    x = parameter(1.0)
    assert draw(x * 2, aspect="16:9").source == draw(x * 2).source
