"""Pictures: what stands in the DOT text, exactly, and that every engine draws it."""

import base64
import gc
import os
import re
import shutil
import subprocess
import sys
import warnings
import weakref
from pathlib import Path
from xml.etree import ElementTree

import graphviz
import numpy as np
import pytest

import tinygrad_ce as tg
from tests.drawn_programs import AVAILABLE
from tinygrad_ce import draw, nn, no_grad, tensor
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.viz.graph import dot, engines, values
from tinygrad_ce.viz.graph.labels import derivative_label
from tinygrad_ce.viz.graph.told import TOLD


def parameter(data):
    return tensor(np.array(data, dtype=np.float64), requires_grad=True)


def example():
    a, b = parameter(-4.0), parameter(2.0)
    c = a * b + b**3
    loss = (c - a) ** 2 / 2 + 1
    return loss, {"a": a, "b": b, "c": c}


class Net(nn.Module):
    def __init__(self):
        self.fc1 = nn.Linear(2, 5)
        self.act = nn.Sigmoid()
        self.fc2 = nn.Linear(5, 3)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


def network():
    tg.manual_seed(0)
    model, x, y = Net(), tg.randn(4, 2), tensor([0, 2, 1, 0])
    logits = model(x)
    loss = nn.functional.cross_entropy(logits, y)
    return loss, {"model": model, "x": x, "y": y, "logits": logits, "loss": loss}


def cards(drawing):
    return drawing.picture.cards


def card(drawing, name):
    return next(card for card in cards(drawing) if name in (card.name, card.op))


def edges(drawing):
    title = {card.id: card.name or card.op for card in cards(drawing)}
    return {
        (title[edge.source], title[edge.target]): edge.label if edge.flows else None
        for edge in drawing.picture.edges
    }


# --- cards ----------------------------------------------------------------------------------


def test_cards_are_numbered_by_their_place_in_the_graph():
    loss, names = example()
    drawing = draw(loss, names)
    assert [c.id for c in cards(drawing)] == [f"n{i}" for i in range(9)]
    assert [c.name or c.op for c in cards(drawing)] == [
        "a", "b", "×", "b³", "c", "−", "x²", "÷ 2", "+ 1",
    ]  # fmt: skip


def test_the_same_program_gives_the_same_text_byte_for_byte():
    first = draw(*example()).source
    _ = [tensor([1.0]) + 2.0 for _ in range(10)]
    assert draw(*example()).source == first
    assert draw(*network()).source == draw(*network()).source


@composed('y < 1 & "x"')
def composed_oddly(x, y):
    return x * y + 1.0


def odd():
    """Exact numbers, names of all sorts, no name, no dimension, no element, nan and inf."""
    x, w, none = parameter([1.0, np.nan, -2.0]), parameter(np.inf), parameter(np.zeros((0, 3)))
    loss = composed_oddly(x, w).sum() - none.sum()
    return loss, {'<b>"R&D"</b>|{}': x, "back\\slash\nline": none}


GOLDEN = {
    "odd": lambda: draw(*odd()),
    "example_dark": lambda: draw(*example(), theme="dark", direction="LR"),
    "example_backward": lambda: draw(*example(), backward=True),
    "many_folded": lambda: draw(many(many(parameter(1.0), 3), 3) * 2.0, depth=0),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_text_is_the_golden_one(name):
    golden = Path(__file__).parent / "data" / f"draw_{name}.dot"
    assert GOLDEN[name]().source == golden.read_text(encoding="utf-8")


def test_the_text_does_not_depend_on_hash_seeds_or_print_options():
    program = (
        "import tests.test_draw as t, numpy as np; np.set_printoptions(precision=1, sign='+');"
        "import sys; sys.stdout.buffer.write(t.draw(*t.network()).source.encode())"
    )
    texts = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[1],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1] == draw(*network()).source.encode()


def test_roles():
    drawing = draw(*network())
    assert card(drawing, "x").role == card(drawing, "y").role == "input"
    assert card(drawing, "fc1.weight").role == card(drawing, "fc2.bias").role == "parameter"
    assert card(drawing, "loss").role == "loss"
    assert card(drawing, "logits").role == "step"
    assert [c.name for c in cards(drawing) if c.role == "constant"] == [
        "u ≥ 0 ? −1 : 1", "u ≥ 0", "max z", "rows",
    ]  # fmt: skip
    assert draw(parameter([1.0]) * 2).picture.cards[0].role == "parameter"


def test_gradients_are_those_of_backward_and_grad_is_not_touched():
    loss, names = network()
    model, logits = names["model"], names["logits"]
    drawing = draw(loss, names)
    assert all(p.grad is None for p in model.parameters())
    logits.retain_grad()
    loss.backward()
    for name, p in [*model.named_parameters(), ("logits", logits)]:
        norm = np.linalg.norm(p.grad.numpy().astype(np.float64))
        assert card(drawing, name).gradient == f"‖∇‖ {values.number(norm)}"
    kept = model.fc1.weight.grad
    before = kept.numpy().copy()
    draw(loss, names)
    assert model.fc1.weight.grad is kept
    assert np.array_equal(kept.numpy(), before)


def test_scalar_gradients_are_shown_as_numbers():
    loss, names = example()
    drawing = draw(loss, names)
    loss.backward()
    assert card(drawing, "a").gradient == f"∇ {values.number(names['a'].grad.item())}"
    assert card(drawing, "b").gradient == f"∇ {values.number(names['b'].grad.item())}"
    assert card(drawing, "+ 1").gradient == "∇ 1"


def test_no_gradient_is_a_dash_and_never_zero():
    w = parameter([1.0, 2.0])
    assert [c.gradient for c in cards(draw(w * 2))] == ["∇ —", "∇ —"]
    assert "not a scalar" in draw(w * 2).source
    alone = draw(tensor([1.0, 2.0]))
    assert [c.gradient for c in cards(alone)] == ["∇ —"]
    with no_grad():
        cut = (w * 2).sum()
    assert "mul under no_grad() cut the graph" in draw(cut).source
    zero = card(draw((w * 0).sum(), {"w": w}), "w")
    assert zero.gradient == "‖∇‖ 0"


def test_an_overwritten_value_is_said_and_not_drawn_wrong():
    w = parameter([1.0, 2.0])
    y = w.exp()
    loss = (y * y).sum()
    with no_grad():
        y += 1.0
    drawing = draw(loss, {"w": w})
    assert card(drawing, "w").gradient == "∇ —"
    assert "has changed it in place" in drawing.source


def test_a_freed_graph_says_so():
    w = parameter(3.0)
    loss = w * w
    loss.backward(retain_graph=False)
    assert "was freed by backward(retain_graph=False)" in draw(loss).source


def test_a_loss_without_a_name_is_called_loss():
    x = parameter([1.0, 2.0])
    loss = (x * x).sum()
    for drawing, name in ((draw(loss), "loss"), (draw(loss, {"J": loss}), "J")):
        assert f"<B>{name}</B>" in drawing.source
        assert drawing.text.splitlines()[-1].split()[:4] == ["n2", "loss", "Σ", name]
    assert "<B>loss</B>" not in draw(loss, {"J": loss}).source


def test_what_has_no_gradient_says_why():
    x = parameter([1.0, 2.0])

    def why(y):
        return draw(y).picture.notes[-1]

    assert why(tensor([1.0, 2.0])) == "no gradient: nothing here requires one"
    assert why(tensor([1, 2])) == why(tensor(True)) == "no gradient: only floats have one"
    assert why(x > 1.5) == "no gradient: gt cut the graph"
    assert why(x) == "no gradients: the last tensor is not a scalar"
    empty = draw(tensor(np.zeros((0, 3))))
    assert (cards(empty)[0].shape, cards(empty)[0].value) == ("0 × 3", "empty")


def test_a_freed_graph_is_one_card_of_the_loss_and_no_parameter():
    x = parameter([1.0, 2.0])
    loss = (x * x).sum()
    loss.backward(retain_graph=False)
    drawing = draw(loss)
    assert [(c.role, c.name) for c in cards(drawing)] == [("loss", "Σ")]
    assert drawing.picture.notes[-1].startswith("no gradients: the graph behind sum was freed by")
    with pytest.raises(RuntimeError, match=r"freed by backward\(retain_graph=False\); leave that"):
        draw(loss * 2)


def test_tooltips_name_the_dtype_once():
    tips = [cards(draw(tensor(data)))[0].tooltip for data in ([1, 2], [True], 1.5)]
    assert [tip.splitlines()[0] for tip in tips] == [
        "input: 2 int64", "input: 1 bool", "input: scalar float32",
    ]  # fmt: skip


def test_number_constants_fold_into_their_operation():
    x = parameter([1.0, 2.0])
    ops = {
        "+ 1": x + 1, "+ 2": 2 + x, "− 1": x - 1, "1 − x": 1 - x, "× −1": x * -1, "÷ 2": x / 2,
        "2 ÷ x": 2 / x, "x²": x**2, "√x": x**0.5, "x⁻¹": x**-1, "2^x": 2.0**x,
        "max(·, 0)": x.maximum(0.0), "where(·, 1, ·)": tg.where(x > 0, 1.0, x),
    }  # fmt: skip
    for header, y in ops.items():
        drawing = draw(y, {"x": x})
        assert cards(drawing)[-1].op == header
        assert len(cards(drawing)) == (3 if "where" in header else 2)


def test_a_named_number_keeps_its_card():
    x, rate = parameter([1.0, 2.0]), tensor(0.5)
    assert [c.op or c.name for c in cards(draw(x * rate, {"rate": rate, "x": x}))] == [
        "x", "rate", "×",
    ]  # fmt: skip


def test_fan_out_is_marked_with_the_number_of_gradients_that_are_added():
    x = parameter([1.0, 2.0])
    drawing = draw((x * x + x).sum(), {"x": x})
    assert card(drawing, "x").added == 3
    assert "⊕3" in drawing.source
    assert "⊕" not in re.sub("⊕: gradients added", "", draw((x * 2).sum()).source)


def test_a_detached_use_adds_nothing_and_is_dashed():
    x = parameter([1.0, 2.0])
    drawing = draw((x * x.detach()).sum(), {"x": x})
    assert card(drawing, "x").added == 1
    assert edges(drawing)[("detach()", "×")] is None
    assert 'class="data" style=dashed' in drawing.source


def test_a_use_before_requires_grad_adds_nothing():
    x, w = tensor([1.0, 2.0], dtype=np.float64), parameter([3.0, 4.0])
    early = x * w
    x.requires_grad_()
    drawing = draw((early + x).sum(), {"x": x, "w": w})
    assert card(drawing, "x").added == 1
    assert card(drawing, "x").gradient == "‖∇‖ 1.414"
    assert edges(drawing)[("x", "×")] is None
    assert edges(drawing)[("x", "+")] == "×1"


def test_a_tensor_written_in_place_is_drawn_before_and_after():
    x = parameter([1.0, 2.0])
    y = x * 2
    z = y.exp()
    y += 1
    drawing = draw((z + y).sum(), {"x": x, "y": y})
    assert [c.op for c in cards(drawing)] == ["", "× 2", "exp", "+ 1", "+", "Σ"]
    assert edges(drawing)[("× 2", "exp")] == "×eᵘ"
    buffer = tg.zeros(2, dtype=np.float64)
    early = buffer * x
    buffer[0] = x[0]
    drawing = draw((early + buffer).sum(), {"x": x})
    assert [c.role for c in cards(drawing)].count("input") == 1
    assert {target for (source, target) in edges(drawing) if source == "input"} == {"a × x", "put"}


def test_values():
    shown = {
        "2": np.array(2.0), "[1, 2]": np.array([1.0, 2.0]), "[−1, 2]": np.array([[-1], [2]]),
        "[[1, 2], [3, 4]]": np.array([[1, 2], [3, 4]]), "empty": np.zeros((0, 3)),
        "2.5 ± 1.708": np.arange(6.0), "0 … 9": np.arange(10), "true": np.array(True),
        "3 of 6 true": np.arange(6) > 2, "nan": np.array(np.nan), "−∞": np.array(-np.inf),
        "2 ± 1.414, 1 × nan, 1 × ∞": np.array([0, 1, 3, 4, np.nan, np.inf, 2]),
        "1 ± 0, 2 × ∞, 3 × −∞": np.array([np.inf, np.inf, 1, *[-np.inf] * 3]),
        "6 × −∞": np.full(6, -np.inf),
        "6 × nan": np.full(6, np.nan), "0 ± 1e300": np.array([1e300, -1e300] * 3),
        "[1.235e6, 1e-9]": np.array([1234567.0, 1e-9]), "1234567": np.array(1234567),
    }  # fmt: skip
    for text, array in shown.items():
        assert values.value_text(array) == text
    masked = {
        "0.5 ± 0.5, 2 × −1e9": [0.0, 1.0, -1e9, 1.0, 0.0, -1e9 + 1],
        "0 ± 0, 3 × −1e9": [0, 0, 0, -1e9, -1e9, -1e9],
        "−0.2 ± 0.4, 1 × 1e20, 1 × nan": [0, 0, 0, 0, -1, 1e20, np.nan], "1e5 ± 0": [1e5] * 6,
        "0.5 ± 0.5": [0, 1, 0, 1, 0, 1], "2e4 ± 1e4": [1e4, 3e4] * 3,
    }  # fmt: skip
    for text, array in masked.items():
        assert values.value_text(np.array(array, float)) == text
    gradients = {
        "∇ —": None, "‖∇‖ 5e200": np.array([3e200, 4e200]), "‖∇‖ nan": np.array([np.nan, 1]),
        "‖∇‖ ∞": np.array([np.inf, 1]), "∇ −2": np.array([-2.0]), "∇ empty": np.zeros(0),
    }  # fmt: skip
    for text, gradient in gradients.items():
        assert values.gradient_text(gradient) == text


def test_a_mean_that_is_rounding_is_zero():
    tg.manual_seed(0)
    x = tg.randn(5, 4)
    y = nn.functional.layer_norm(x, (4,))
    mean = float(y.numpy().astype(np.float64).mean())
    assert 0 < abs(mean) < 1e-7
    assert cards(draw(y * 1.0, {"y": y}))[0].value == "0 ± 1"
    tiny = np.array([1, -1] * 3 + [1e-5], np.float32)
    assert values.value_text(tiny) == "1.429e-6 ± 0.9258"
    assert values.value_text(np.full(6, 1e-30, np.float32)) == "1e-30 ± 0"


@pytest.mark.parametrize("data", [np.zeros((0, 3)), np.array([np.nan, 1.0]), np.array(np.inf)])
def test_odd_values_are_drawn_without_a_warning(data):
    x = parameter(data)
    assert draw((x.log() * x).sum(), {"x": x})._repr_html_()


def test_integers_and_booleans_show_their_dtype():
    assert cards(draw(tensor([1, 2])))[0].shape == "2 int64"
    assert cards(draw(tensor([True])))[0].shape == "1 bool"


# --- edges ----------------------------------------------------------------------------------


def test_local_derivatives():
    x, w, b = parameter(np.ones((4, 2))), parameter(np.ones((2, 3))), parameter(np.ones(3))
    y = (x @ w + b).exp().log()
    found = edges(draw((y.sum(1) * 0.5).sum(), {"x": x, "w": w, "b": b}))
    assert found[("x", "@")] == "G·wᵀ"
    assert found[("w", "@")] == "xᵀ·G"
    assert found[("@", "+")] == "×1"
    assert found[("b", "+")] == "Σ rows"
    assert found[("exp", "log")] == "÷u"  # x is another tensor
    assert found[("Σ axis 1", "× 0.5")] == "×0.5"


SCALAR_LABELS = {
    "×1": 1.0, "×(−1)": -1.0, "×b": 0.7, "×a": 0.3, "÷b": 1 / 0.7,
    "×(−y/b)": -(0.3 / 0.7) / 0.7, "×eˣ": np.exp(0.3), "÷x": 1 / 0.3, "÷(1+x)": 1 / 1.3,
    "÷2y": 0.5 / np.sqrt(0.3), "×cos x": np.cos(0.3), "×(−sin x)": -np.sin(0.3),
    "×(1−y²)": 1 - np.tanh(0.3) ** 2, "×sign x": 1.0, "×3x²": 3 * 0.3**2, "×2x": 0.6,
    "×(−1)x⁻²": -(0.3**-2), "×1.5x^0.5": 1.5 * 0.3**0.5, "×0": 0.0,
    "×b·a^(b−1)": 0.7 * 0.3 ** (0.7 - 1), "×y·log a": 0.3**0.7 * np.log(0.3),
    "×[a > b]": 0.0, "×[b > a]": 1.0, "×[a < b]": 1.0, "×[b < a]": 0.0,
    "×(−2/√π·e^(−x²))": -2 / np.sqrt(np.pi) * np.exp(-(0.3**2)), "×x/y": 1.0,
    "×(−⌊a/b⌋)": 0.0,
}  # fmt: skip


def test_each_label_is_the_derivative_that_the_engine_computes():
    from tinygrad_ce.engine import table

    x, y = parameter([0.3]), parameter([0.7])
    binary = (table.add, table.sub, table.mul, table.div, table.float_power, table.maximum,
              table.minimum, table.mod, table.floordiv)  # fmt: skip
    unary = (table.neg, table.exp, table.log, table.log1p, table.expm1, table.sqrt, table.sin,
             table.cos, table.tanh, table.erfc, table.abs, table.sign, table.floor, table.ceil,
             table.round, table.norm, lambda x: table.power(x, 3), lambda x: table.power(x, 2),
             lambda x: table.power(x, -1), lambda x: table.power(x, 1.5),
             lambda x: table.power(x, 0), lambda x: table.power(x, 1),
             lambda x: table.power(x, 0.5))  # fmt: skip
    seen = set()
    for op, operands in [*((op, (x, y)) for op in binary), *((op, (x,)) for op in unary)]:
        result = op(*operands)
        for i, operand in enumerate(operands):
            label = derivative_label(
                result.op.name, i, result.attrs, [None] * len(operands), (), ()
            )
            (gradient,) = tg.autograd.grad(result.sum(), operand)
            assert SCALAR_LABELS[label] == pytest.approx(gradient.item(), rel=1e-12), label
            seen.add(label)
    assert seen == set(SCALAR_LABELS)


def test_every_operation_with_a_label_is_in_the_table():
    from tinygrad_ce.engine import table

    ops = {f.op.name for f in vars(table).values() if hasattr(f, "op")}
    assert set(TOLD) <= ops
    missing = {f.op.name for f in vars(table).values() if hasattr(f, "op") and f.op.differentiable}
    assert missing - {name for name, rule in TOLD.items() if rule.slopes} == {
        "power",
        "einsum",
        "cumprod",
    }


def test_headers_say_which_operand_a_label_means():
    a, w, layer = parameter([2.0, 3.0]), parameter([4.0, 5.0]), nn.Linear(2, 3).double()
    e = w.exp()
    for y, header, labels in (
        (e / w.tanh(), "a ÷ b", ["÷b", "×(−y/b)"]),
        (e * w, "a × w", ["×w", "×a"]),
        (e * e, "x × x", ["×x", "×x"]),
        (a * w, "×", ["×w", "×a"]),  # both have names
    ):
        drawing = draw(y, {"w": w, "a": a} if header == "×" else {"w": w})
        assert cards(drawing)[-1].op == header
        last = cards(drawing)[-1].id
        assert [e.label for e in drawing.picture.edges if e.target == last] == labels
    assert cards(draw(e * a, {"a": a}))[-1].op == "f × a"  # the user's a is not the letter
    held = draw(layer(w.reshape(1, 2).exp()), {"w": w, "fc2": layer, "other": nn.Linear(1, 1)})
    assert "G·fc2.weight" in [edge.label for edge in held.picture.edges]


def test_repeated_axes_are_summed():
    def label(shape, output):
        return derivative_label("add", 1, (), [None, None], shape, output)

    assert label((4, 3), (4, 3)) == "×1"
    assert label((4, 1), (4, 3)) == "Σ cols"
    assert label((), (4, 3)) == "Σ all"
    assert label((3, 1), (2, 3, 4)) == "Σ axes 0, 2"
    assert label((3, 4), (2, 3, 4)) == "Σ axis 0"


def test_no_edge_of_the_where_condition_flows():
    x = parameter([1.0, -2.0])
    found = edges(draw(tg.where(x > 0, x * 3, 0.0).sum(), {"x": x}))
    assert found[("condition", "where(·, ·, 0)")] is None
    assert found[("× 3", "where(·, ·, 0)")] == "×[condition]"


# --- clusters and folding -------------------------------------------------------------------


def test_calls_are_nested_clusters():
    drawing = draw(*network())
    clusters = drawing.picture.clusters
    assert [(c.name, c.kind, c.outer) for c in clusters] == [
        ("Net", "module", None), ("fc1", "module", 0), ("act", "module", 0),
        ("fc2", "module", 0), ("cross_entropy", "function", None),
        ("log_softmax", "function", 4),
    ]  # fmt: skip
    assert clusters[1].formula == "x @ Wᵀ + b"
    assert drawing.source.count("subgraph") == 6
    assert clusters[card(drawing, "fc1.bias").cluster].name == "fc1"
    assert card(drawing, "x").cluster is None
    assert clusters[card(drawing, "loss").cluster].name == "cross_entropy"


@pytest.mark.parametrize(
    "layer, shape, formula",
    [
        (nn.Linear(3, 2), (4, 3), "x @ Wᵀ + b"),
        (nn.Linear(3, 2, bias=False), (4, 3), "x @ Wᵀ"),
        (nn.Linear(3, 2, bias=False), (5, 4, 3), "x @ Wᵀ"),
        (nn.Conv2d(1, 2, 3), (1, 1, 5, 5), "W @ windows(x) + b"),
        (nn.Conv2d(1, 2, 3, bias=False), (1, 1, 5, 5), "W @ windows(x)"),
        (nn.LayerNorm(3), (4, 3), "(x − μ) / √(σ² + ε) · γ + β"),
        (nn.LayerNorm(3, bias=False), (4, 3), "(x − μ) / √(σ² + ε) · γ"),
        (nn.LayerNorm(3, elementwise_affine=False), (4, 3), "(x − μ) / √(σ² + ε)"),
        (nn.BatchNorm1d(3, affine=False), (4, 3), "(x − μ) / √(σ² + ε)"),
    ],
)
def test_a_formula_has_no_parameter_that_the_layer_does_not_have(layer, shape, formula):
    x = tg.randn(*shape).requires_grad_()
    assert draw(layer(x), {"x": x}).picture.clusters[0].formula == formula
    assert card(draw(layer(x), {"x": x}, depth=0), type(layer).__name__).formula == formula


def test_two_calls_are_two_clusters():
    x = parameter([1.0, 2.0])
    drawing = draw(tg.sigmoid(tg.sigmoid(x)).sum())
    assert [c.name for c in drawing.picture.clusters] == ["sigmoid", "sigmoid"]


def test_a_leaf_stands_beside_its_only_consumer():
    drawing = draw(*network())
    bias = card(drawing, "fc1.bias")
    plus = next(e.target for e in drawing.picture.edges if e.source == bias.id)
    assert f"{{rank=same; {bias.id}; {plus}}}" in drawing.source
    assert f"{{rank=same; {card(drawing, 'x').id};" not in drawing.source


def test_folded_calls_are_one_card_each():
    loss, names = network()
    drawing = draw(loss, names, depth=0)
    assert [(c.role, c.op, c.name) for c in cards(drawing)] == [
        ("input", "", "x"), ("module", "fc1", ""), ("module", "act", ""),
        ("module", "fc2", "logits"), ("input", "", "y"), ("loss", "cross_entropy", "loss"),
    ]  # fmt: skip
    assert edges(drawing)[("fc1", "act")] == "∂act"
    assert edges(drawing)[("x", "fc1")] is None
    assert card(drawing, "logits").gradient == card(draw(loss, names), "logits").gradient
    assert card(drawing, "fc1").operations == 2
    assert "⊞ fc1" in drawing.source
    assert "rankdir=LR" in drawing.source


@composed("x + 1 + 1 ...")
def many(x, n):
    for _ in range(n):
        x = x + 1
    return x


def test_ten_thousand_operations_fold_and_do_not_recurse():
    x = parameter(1.0)
    drawing = draw(many(x, 10_000) * 2, {"x": x})
    assert [c.op or c.name for c in cards(drawing)] == ["x", "many", "× 2"]
    assert card(drawing, "many").operations == 10_000
    assert card(drawing, "x").gradient == "∇ 2"


def test_ten_thousand_operations_without_calls_fold_too():
    x = y = parameter(1.0)
    for _ in range(5_000):
        y = y * x + x
    drawing = draw(y, {"x": x})
    assert [c.op or c.name for c in cards(drawing)] == ["x", "9,999 operations", "+"]
    assert card(drawing, "9,999 operations").formula == "× 5,000, + 4,999"
    assert card(drawing, "9,999 operations").gradient == "∇ 1"
    note = "folded by itself: 10,000 operations, depth=0 and runs of operations"
    assert note in drawing.picture.notes
    assert note in drawing.source
    assert note in drawing.text


def test_too_many_cards_are_refused_with_advice():
    steps, total = {}, parameter(1.0)
    for i in range(1600):
        steps[f"x{i}"] = total = total * 0.5
    with pytest.raises(ValueError, match=r"1,60\d cards.*readable\. Draw the loss of .*which fold"):
        draw(total, steps)
    with pytest.raises(ValueError, match=r"1,60\d cards.*Leave depth out, so that it folds"):
        draw(total, depth=1)
    assert len(cards(draw(total))) == 3


def scattered(count):
    """Leaves that are each read by one operation of their own, and leaves in one operation."""
    xs = [parameter(float(i)) for i in range(count)]
    total = tg.tensor(0.0, dtype=tg.float64)
    for x in xs:
        total = total + x * x
    return xs, total


def test_many_leaves_share_a_card():
    xs, total = scattered(2000)
    drawn = draw(total, {f"x{i}": x for i, x in enumerate(xs)})
    first, run, *_, loss = cards(drawn)
    assert first.name == "1,999 parameters x0 … x1998"
    assert (first.role, first.shape, first.added) == ("parameter", "1999", 0)
    numbers = np.arange(1999.0)
    assert first.value == values.value_text(numbers)
    assert first.gradient == values.gradient_text(2 * numbers)
    assert run.op == "3,998 operations" and loss.gradient == "∇ 1"
    assert (first.id, run.id) in {(e.source, e.target) for e in drawn.picture.edges}
    xs = [parameter(np.full(2, float(i))) for i in range(500)]
    first, stack, _ = cards(draw((tg.stack(xs) * 2).sum()))[:3]
    assert first.name == "500 parameters" and stack.op == "stack axis 0"
    assert (first.shape, first.gradient) == ("500 × 2", values.gradient_text(np.full(1000, 2.0)))


def test_leaves_of_several_kinds_and_shapes_share_cards_of_their_own():
    big, small = ([parameter(np.ones(n)) for _ in range(200)] for n in (3, 2))
    given = [tg.tensor(np.full(3, 2.0)) for _ in range(200)]
    parts = tg.cat([x for row in zip(big, small, given) for x in row])
    first, second, *_ = cards(draw((parts * 3).sum()))
    assert (first.name, first.shape, first.value) == ("400 parameters", "1000", "1 ± 0")
    assert (second.name, second.shape, second.gradient) == ("200 inputs", "200 × 3", "")


def test_leaves_of_a_folded_run_do_not_vanish():
    xs = [parameter(1.0) for _ in range(2000)]
    drawn = cards(draw((tg.stack(xs).exp() * 2).sum()))
    assert drawn[0].name == "2,000 parameters"


def test_three_hundred_cards_are_not_folded():
    x = parameter(1.0)
    assert len(cards(draw(many(x, 400)))) == 2
    assert len(cards(draw(many(x, 299)))) == 300
    assert len(cards(draw(many(x, 300)))) == 2


def test_deep_calls():
    @composed("")
    def inner(x, depth):
        return inner(x + 1, depth - 1) if depth else x.exp()

    drawing = draw(inner(parameter(0.0), 60))
    assert len(drawing.picture.clusters) == 61
    assert drawing.source.count("{") == drawing.source.count("}")


# --- names ----------------------------------------------------------------------------------

HOSTILE = ['<b>"R&D"</b>', "a\\nb\\", "]]>", "x\x00\x1b[31m", "\ud800", "{}", "{a}", "-->", " ",
           "}", "é∇" * 100, "&lt;", 'x" onload="alert(1)', "line\nbreak"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_only_text(name):
    x, w = parameter([[1.0, 2.0]]), parameter([[1.0], [2.0]])
    drawing = draw((x @ w).sum(), {name: w, "x": x})
    drawing.source.encode()
    assert name == " " or "<b>" not in drawing.source
    for engine in AVAILABLE:
        svg = engine(drawing.source, "svg")
        engines.check(svg, "svg", drawing.source)
        root = ElementTree.fromstring(svg)
        assert not [e for e in root.iter() if e.tag.endswith("}b") or "onload" in e.attrib]
        shown = "".join(root.itertext())
        if name in HOSTILE[:1] + HOSTILE[2:3] + HOSTILE[5:8] + HOSTILE[9:10] + HOSTILE[11:13]:
            assert name in shown


def test_hostile_scope_names_and_formulas():
    from tinygrad_ce.engine.frame import call_in_scope

    x = parameter([1.0, 2.0])
    y = call_in_scope("<&>\"'", 'mod"ule', "a < b && c\n\x07", lambda: x.exp() * 2, (), {})
    for depth in (0, None):
        drawing = draw(y.sum(), depth=depth)
        for engine in AVAILABLE:
            engines.check(engine(drawing.source, "svg"), "svg", drawing.source)


@pytest.mark.parametrize("engine", AVAILABLE, ids=lambda engine: engine.__name__)
def test_backslashes_are_shown_as_they_are_and_not_replaced(engine):
    from tinygrad_ce.engine.frame import call_in_scope

    x, name = parameter([1.0, 2.0]), "\\N \\G \\E \\L \\T \\\\ \\n"
    y = call_in_scope(name, "module", name, lambda: x * x.exp(), (), {}).sum()
    for depth in (None, 0):
        drawing = draw(y, {name: x}, depth=depth)
        drawing.picture.title = drawing.picture.edges[0].label = name
        shown = "\n".join(
            ElementTree.fromstring(engine(dot.to_dot(drawing.picture), "svg")).itertext()
        )
        assert shown.count(name) == (5 if depth is None else 4)  # folded, x has no card


@pytest.mark.parametrize("engine", AVAILABLE, ids=lambda engine: engine.__name__)
def test_tooltips_mean_just_their_characters(engine):
    name = 'C:\\new\\N \\" "&amp; <'
    drawing = draw(parameter([1.0, 2.0]).sum())
    drawing.picture.cards[0].tooltip = name + "\\"
    svg = engine(dot.to_dot(drawing.picture), "svg")
    titles = {
        element.get("{http://www.w3.org/1999/xlink}title")
        for element in ElementTree.fromstring(svg).iter()
    }
    assert (name + "\\").replace("\\", "∖") in titles


def test_names_come_from_modules_too():
    loss, names = network()
    assert card(draw(loss, names["model"]), "fc1.weight").role == "parameter"
    assert card(draw(loss, {"m": names["model"], "_": 1, 2: "z"}), "fc1.weight")
    pair = {"first": nn.Linear(2, 2), "second": nn.Linear(2, 2)}
    y = pair["second"](pair["first"](tg.randn(1, 2)).tanh()).sum()
    assert card(draw(y, pair), "second.bias")


def test_wrong_arguments_are_explained():
    with pytest.raises(TypeError, match="got float; wanted a Tensor"):
        draw(1.0)
    with pytest.raises(TypeError, match=r"names is a list; wanted a dict .* locals\(\)"):
        draw(parameter(1.0), ["x"])


# --- text and files -------------------------------------------------------------------------


def test_the_listing():
    loss, names = example()
    lines = str(draw(loss, names)).splitlines()
    assert lines[0] == "loss = 9 · 7 operations"
    assert lines[1].split() == ["n0", "parameter", "a", "scalar", "−4", "∇", "4", "⊕2"]
    assert len(repr(draw(many(parameter(1.0), 200))).splitlines()) == 41


def test_colors_have_six_digits_and_a_dark_twin():
    source = draw(*network()).source
    colors = set(re.findall(r"#[0-9a-zA-Z]+\b", re.sub("&#[^;]*;", "", source)))
    assert colors
    assert colors <= set(dot.DARK)
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in colors)
    assert set(re.findall('fontname="([^"]*)"', source)) == {"Arial"}


@pytest.mark.parametrize("engine", AVAILABLE, ids=lambda engine: engine.__name__)
@pytest.mark.parametrize("depth", [None, 0])
def test_each_engine_draws_everything(engine, depth, monkeypatch, tmp_path):
    monkeypatch.setattr(engines, "ENGINES", (engine,))
    drawing = draw(*network(), depth=depth)
    svg = drawing.save(tmp_path / "graph.svg").read_bytes()
    root = ElementTree.fromstring(svg)
    ids = {element.get("id") for element in root.iter()}
    assert {c.id for c in cards(drawing)} <= ids
    assert {f"e{i}" for i in range(len(drawing.picture.edges))} <= ids
    assert b"prefers-color-scheme: dark" in svg
    assert "fc1" in "".join(root.itertext())
    png = drawing.save(str(tmp_path / "graph.PNG")).read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    dark = draw(*network(), depth=depth, theme="dark")
    assert dark.save(tmp_path / "dark.png").read_bytes() != png
    assert drawing.save(tmp_path / "graph.pdf").read_bytes().startswith(b"%PDF-")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dark.png", "graph.PNG", "graph.pdf", "graph.svg",
    ]  # fmt: skip
    html = drawing._repr_html_()  # the SVG once, as an image
    (data,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', html)
    assert base64.b64decode(data) == svg and "<svg" not in html


@pytest.mark.parametrize("engine", AVAILABLE, ids=lambda engine: engine.__name__)
def test_every_operation_name_shape_and_number_is_in_the_svg(engine, monkeypatch):
    monkeypatch.setattr(engines, "ENGINES", (engine,))
    for how in ({}, {"depth": 0}, {"backward": True}, {"direction": "LR"}):
        drawing = draw(*network(), **how)
        root = ElementTree.fromstring(drawing._drawn("svg"))
        groups = {g.get("id"): "".join(g.itertext()) for g in root.iter() if g.get("id")}
        for c in cards(drawing):
            said = groups[c.id].replace("\xa0", " ")
            assert all(part in said for part in (c.op, c.name, c.shape, c.value, c.gradient)), c
        for i, cluster in enumerate(drawing.picture.clusters):
            assert cluster.name in groups[f"cluster_{i}"]
        for i, edge in enumerate(drawing.picture.edges):
            assert edge.label in groups[f"e{i}"].replace("\xa0", " ")


def places(drawing):
    """x and y of each card, in inches from the bottom left, as laid out."""
    plain = graphviz.pipe("dot", "plain", drawing.source.encode()).decode()
    rows = [line.split()[1:4] for line in plain.splitlines() if line.startswith("node n")]
    return {id: (float(x), float(y)) for id, x, y in rows}


class Gated(nn.Module):
    """Parallel branches with calls inside, then a residual sum, as in LSTMs and attention."""

    def __init__(self):
        self.left, self.right, self.out = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        gate = tg.sigmoid(self.left(x))
        return x + self.out(gate * tg.tanh(self.right(x)) + gate)


@pytest.mark.skipif(shutil.which("dot") is None, reason="the places come from dot")
def test_no_edge_goes_up_and_the_way_of_the_data_is_straight():
    tg.manual_seed(0)
    drawing = draw(*network())
    at = places(drawing)
    spine = ["n2", "n4", "n6"]  # from fc1 into act: a constant that is read twice stands beside
    assert max(at[id][0] for id in spine) - min(at[id][0] for id in spine) < 0.1
    model = nn.Sequential(nn.Linear(4, 4), *(Gated() for _ in range(3)))
    for picture in (drawing, draw(model, tg.randn(2, 4)), draw(*example())):
        at = places(picture)
        up = [e for e in picture.picture.edges if at[e.source][1] < at[e.target][1] - 0.01]
        assert not up


@pytest.mark.skipif(shutil.which("dot") is None, reason="dot has to draw")
def test_a_weight_of_many_steps_is_drawn_in_haste():
    tg.manual_seed(0)
    layer, h = nn.Linear(3, 3), tg.zeros(2, 3)
    for _ in range(60):
        h = h + tg.tanh(layer(h) + tg.randn(2, 3))
    drawing = draw((h * h).sum(), depth=0)
    assert len(cards(drawing)) > 300  # without haste it takes minutes
    engines.check(engines.with_dot(drawing.source, "svg"), "svg", drawing.source)
    assert "mclimit" in drawing.source and "mclimit" not in draw(*network()).source


@pytest.mark.parametrize(
    "steps, gradients, wanted",
    [(8, True, ""), (20, True, "nslimit=30"), (20, False, ""), (28, True, "mclimit")],
)
def test_the_layout_hurries_more_the_more_ranks_edges_pass_and_labels_double_them(
    steps, gradients, wanted
):
    W, U = parameter(np.eye(2)), parameter(np.eye(2))
    b, h = parameter([1.0, 2.0]), tensor(np.ones((2, 2)))
    for _ in range(steps):
        h = (tensor(np.ones((2, 2))) @ W + h @ U + b).tanh()
    source = draw(h.sum(), gradients=gradients).source
    assert re.findall("nslimit=30|mclimit", source) == ([wanted] if wanted else [])


def test_the_svg_says_what_it_is():
    x = parameter(1.0)
    root = ElementTree.fromstring(draw(x * 2, {"x": x})._drawn("svg"))
    assert root.get("role") == "img"
    assert root.get("aria-label") == "Computation graph: loss = 2, 1 operation"
    assert root[0].tag.endswith("title") and root[0].text == root.get("aria-label")
    named = x * 2
    root = ElementTree.fromstring(draw(named, {'<"&\x00>\ud800': named})._drawn("svg"))
    assert root.get("aria-label") == 'Computation graph: <"&\ufffd>\ufffd = 2, 1 operation'


@pytest.fixture
def no_engine(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pygraphviz", None)


@pytest.mark.usefixtures("no_engine")
def test_without_an_engine_dot_is_written_and_one_line_says_what_to_install(tmp_path):
    drawing = draw(*example())
    with pytest.warns(UserWarning, match=r"graph\.dot was written.*install") as caught:
        path = drawing.save(tmp_path / "graph.svg")
    assert path == tmp_path / "graph.dot"
    assert path.read_text(encoding="utf-8") == drawing.source
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert caught[0].filename == __file__
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graph.dot"]


@pytest.mark.parametrize("engine", AVAILABLE)
def test_an_engine_that_cannot_read_a_graph_is_named(engine):
    name = engine.__name__.removeprefix("with_")
    with pytest.raises(engines.EngineFailedError, match=f"^{name}: "):
        engine("digraph {", "svg")


def test_only_warnings_of_fontconfig_are_kept_from_standard_error(capfd):
    with engines.without_font_warnings():
        os.write(2, b'Fontconfig warning: "a.conf", line 6: unknown element "reset-dirs"\n')
        os.write(2, b"Error: syntax error\nFontconfig error: no fonts\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "Error: syntax error\nFontconfig error: no fonts\nafter\n"
    with pytest.raises(ValueError), engines.without_font_warnings():
        os.write(2, b"said before it failed")
        raise ValueError
    assert capfd.readouterr().err == "said before it failed"


def test_a_process_without_standard_error_draws_too():
    code = (
        "import os; os.close(2)\n"
        "from tinygrad_ce.viz.graph.engines import without_font_warnings\n"
        "with without_font_warnings(): print('drawn')"
    )
    run = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert (run.returncode, run.stdout) == (0, "drawn\n")


@pytest.mark.usefixtures("no_engine")
def test_without_an_engine_or_its_package_a_notebook_shows_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    html = draw(*example())._repr_html_()
    assert html.startswith("<pre>")
    assert "install" in html
    assert "parameter  a" in html


def test_dot_needs_no_engine(no_engine, tmp_path):
    drawing = draw(*example())
    assert drawing.save(tmp_path / "graph.dot").read_text(encoding="utf-8") == drawing.source
    text = drawing.save(tmp_path / "graph.txt").read_text(encoding="utf-8")
    assert text == f"{drawing.text}\n" and drawing.text == str(drawing)


def test_an_engine_that_gives_half_a_picture_is_found_out(monkeypatch, tmp_path):
    drawing = draw(*example())
    halves = {"svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>', "png": b"\x89PNG\r\n\x1a\n",
              "pdf": b"%PDF-1.4", "json0": b'{"bb": "0,0,9,9"}'}  # fmt: skip
    monkeypatch.setattr(engines, "ENGINES", (lambda source, format: halves[format],))
    for format in ("svg", "png", "pdf"):
        path = tmp_path / f"graph.{format}"
        path.write_text("old")
        with pytest.raises(RuntimeError, match=r"not complete.*graph\.dot"):
            drawing.save(path)
        assert path.read_text() == "old"
    assert "not complete" in drawing._repr_html_()
    one = draw(*example(), direction="TB")
    with pytest.raises(RuntimeError, match=r"the svg is not complete"):
        one.save(tmp_path / "graph.svg")
    monkeypatch.setattr(engines, "ENGINES", (lambda source, format: b"<svg",))
    with pytest.raises(RuntimeError, match="not XML"):
        one.save(tmp_path / "graph.svg")


def test_a_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "graph.dot").mkdir()
    with pytest.raises(OSError):
        draw(*example()).save(tmp_path / "graph.dot")
    assert [p.name for p in tmp_path.iterdir()] == ["graph.dot"]
    with pytest.raises(FileNotFoundError, match=r"no folder .*write os.makedirs\("):
        draw(*example()).save(tmp_path / "nowhere" / "graph.dot")


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "dot", "txt", "html"])
def test_a_symbolic_link_stays_a_link(suffix, tmp_path):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "it", tmp_path / f"link.{suffix}"
    link.symlink_to(real)
    root, names = example()
    for old in (None, b"old"):  # the first one through a link to nothing yet
        if old:
            real.write_bytes(old)
        assert draw(root, names).save(link) == link
        assert link.is_symlink() and not real.is_symlink()
        assert real.read_bytes() not in (b"old", b"")
    tg.play(root, names).save(link) if suffix == "html" else None
    assert link.is_symlink() and os.listdir(tmp_path / "real") == ["it"]
    loop = tmp_path / f"loop.{suffix}"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="leads to itself"):
        draw(root, names).save(loop)
    assert loop.is_symlink()


@pytest.mark.parametrize("name", ["graph.jpeg", "graph", "graph.svg.gz"])
def test_an_unknown_suffix_is_explained(name, tmp_path):
    with pytest.raises(ValueError, match=r"wanted \.svg, \.png, \.pdf, \.dot, \.html or \.txt"):
        draw(*example()).save(tmp_path / name)


def test_importing_imports_no_engine():
    program = (
        "import sys, tinygrad_ce as tg; x = tg.tensor(1.0, requires_grad=True); tg.draw(x * x);"
        "print([m for m in ('graphviz', 'pygraphviz') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "[]"


def test_drawing_gives_no_warning_where_the_gradient_is_not_finite():
    x = parameter([0.0, 1.0])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        loss = x.log().sum()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert card(draw(loss, {"x": x}), "x").gradient == "‖∇‖ ∞"


def test_parameters_have_the_names_of_the_module_tree_though_nobody_gives_them():
    loss = network()[0]
    gc.collect()
    names = [c.name for c in cards(draw(loss)) if c.role == "parameter"]
    assert names == ["parameter"] * 4  # the module is gone

    model, other, x = Net(), nn.Linear(3, 2), tg.randn(4, 2)
    loss = other(model(x)).sum()
    names = [c.name for c in cards(draw(loss)) if c.role == "parameter"]
    assert names == ["Net.fc1.weight", "Net.fc1.bias", "Net.fc2.weight", "Net.fc2.bias",
                     "Linear.weight", "Linear.bias"]  # fmt: skip
    mine = [c.name for c in cards(draw(loss, {"w": other.weight})) if c.role == "parameter"]
    assert mine == [*names[:4], "w", "Linear.bias"]
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None  # calls keep no module alive
