"""teach.derive: the lines on the board are right, end in the textbook's formula, and are typeset.

What a derivation comes to is written here by hand, from the books.
"""

import ast
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.mathtext import MathTextParser

import tinygrad_ce as tg
from tinygrad_ce import nn, teach
from tinygrad_ce.nn import functional as F
from tinygrad_ce.teach import board, derivation


def numbers(*shape):
    return tg.tensor(np.random.default_rng(shape).normal(size=shape))


def leaf(*shape):
    return numbers(*shape).requires_grad_()


W, b, V, w, M = leaf(4, 3), leaf(4), leaf(3, 4), leaf(3), leaf(2, 3)
S, S2 = leaf(2, 2), leaf(1, 2)
x, y = numbers(6, 3), tg.tensor([0, 2, 1, 0, 1, 2])


def network(x, y):
    h = F.relu(F.linear(x, W, b))
    logits = F.linear(h, V)
    loss = F.cross_entropy(logits, y)
    return loss


def regression(x, t):
    z = x @ w
    loss = F.binary_cross_entropy_with_logits(z, t)
    return loss


def squared(x, t):
    yhat = F.linear(x, W, b)
    loss = F.mse_loss(yhat, t)
    return loss


def normalised(x):
    z = x * w
    n = F.layer_norm(z, (3,))
    loss = (n**3).sum()
    return loss


def attention(q, k, v):
    s = (q * w[0]) @ k.mT / 2
    p = F.softmax(s, -1)
    o = p @ v
    loss = (o * o).sum()
    return loss


def recurrent(x, h0):
    h = tg.tanh(x @ W.T @ W[:, :3].mT[:, :3].mT + h0)
    loss = (h * h).sum()
    return loss


def by_vectors(v):
    u = M @ v
    h = F.relu(u)
    loss = (h * h).sum()
    return loss


def temporal(x, t):
    q = x @ w
    d = q - t
    loss = (d * d).mean()
    return loss


def deep(x):
    h1 = tg.tanh(F.linear(x, S))
    h2 = tg.tanh(F.linear(h1, S2))
    loss = (h2 * h2).sum()
    return loss


T = numbers(6)
CASES = {
    "logits": (network, (x, y), "logits", "∂L/∂logits = (p − onehot) / N"),
    "second weights": (network, (x, y), "V", "∂L/∂V = (∂L/∂logits)ᵀ h"),
    "first weights": (network, (x, y), "W", "∂L/∂W = (∂L/∂z)ᵀ x"),
    "logistic": (regression, (x, T), "z", "∂L/∂z = (p − t) / N"),
    "a matrix times a vector": (temporal, (x, T), "w", "∂L/∂w = xᵀ ∂L/∂d"),
    "vectors": (by_vectors, (numbers(3),), "M", "∂L/∂M = du vᵀ"),
    "deep": (deep, (numbers(1, 2),), "S", "∂L/∂S = (∂L/∂h₁ ⊙ (1 − h₁ ⊙ h₁))ᵀ x"),
    "mean squared error": (squared, (x, numbers(6, 4)), "W", "∂L/∂W = (∂L/∂yhat)ᵀ x"),
    "layer norm": (normalised, (numbers(2, 3),), "z", "∂L/∂z = ∂L/∂centered − meanⱼ ∂L/∂centered"),
    "attention": (
        attention,
        (numbers(2, 2), numbers(2, 2), numbers(2, 2)),
        "s",
        "∂L/∂s = p ⊙ (∂L/∂p − Σⱼ ∂L/∂p ⊙ p)",
    ),
}


ON_NUMBERS = (  # some of the lines are computed, not proved
    "first weights", "layer norm", "a matrix times a vector", "mean squared error",
)  # fmt: skip


LINES = {
    "logits": [
        "shifted = logits − maxⱼ logits",
        "e = exp(shifted)",
        "total = Σⱼ e",
        "logp = shifted − log(total)",
        "loss = −mean logp[i, yᵢ]",
        "∂L/∂logp = (−1 / 6) [yᵢ = j]",
        "∂L/∂total = ∂L/∂logp · ∂logp/∂total = (Σⱼ (−∂L/∂logp)) / total",
        "∂L/∂shifted = ∂L/∂total · ∂total/∂e · ∂e/∂shifted + ∂L/∂logp · ∂logp/∂shifted"
        " = ∂L/∂logp + ∂L/∂total ⊙ e",
        "∂L/∂logits = ∂L/∂shifted",
        "∂L/∂logits = ∂L/∂logp + ((Σⱼ (−∂L/∂logp)) / total) ⊙ e",
        "onehot = [yᵢ = j]",
        "p = e / total",
        "∂L/∂logits = (p − onehot) / 6",
        "∂L/∂logits = (p − onehot) / N",
    ],
    "vectors": [
        "u = M v",
        "h = maximum(u, 0)",
        "loss = Σ h ⊙ h",
        "∂L/∂h = h + h",
        "∂L/∂u = ∂L/∂h · ∂h/∂u = [h ≠ 0] ∂L/∂h",
        "∂L/∂M = ∂L/∂u · ∂u/∂M = ∂L/∂u vᵀ",
        "∂L/∂M = ([h ≠ 0] (h + h)) vᵀ",
        "∂L/∂h = 2 h",
        "du = ∂L/∂h ⊙ [h > 0]",
        "∂L/∂M = du vᵀ",
    ],
}
ALSO = {"first weights": "∂L/∂z = ∂L/∂h ⊙ [h > 0]", "deep": "∂L/∂h₁ = ∂L/∂h₂ · ∂h₂/∂h₁ = (∂L/∂h₂"}


@pytest.mark.parametrize("name", CASES)
def test_a_derivation_ends_in_the_formula_of_the_books_and_is_typeset(name):
    step, inputs, wrt, last = CASES[name]
    found = teach.derive(step, inputs, of="loss", wrt=wrt)
    assert found.steps[-1].text == last, found
    assert found.text.startswith(f"∂loss/∂{wrt}, of shape {found.shape}, with L = loss\n")
    backward = [s for s in found.steps if s.text.startswith("∂")]
    kinds = {"proved", "numbers"} if name in ON_NUMBERS else {"proved"}
    assert {s.checked for s in backward} == kinds, [s.checked for s in found.steps]
    lines = [s.text for s in found.steps]
    assert lines == LINES.get(name, lines)
    assert any(line.startswith(ALSO.get(name, "")) for line in lines), found

    parser = MathTextParser("path")
    for step in found.steps:
        for side in step.sides:
            parser.parse(f"${board.latex(side)}$")
    table = ET.fromstring(found.html().replace("&nbsp;", " "))
    assert len(table.findall("tr")) == len(found.steps)
    assert found._repr_html_() == found.html() and str(found)
    assert found.latex().count(r"\\" + "\n") == len(found.steps) - 1
    assert found._repr_latex_().startswith("$\\displaystyle \\begin{aligned}")


@pytest.mark.parametrize(
    ("line", "text", "tex"),
    [
        ("np.where(c > 0, a, 0)", "[c > 0] a", r"\left[c > 0\right] \, a"),
        ("np.where(c > 0, 1, b)", "[c > 0] + [c ≤ 0] b", None),
        ("np.where(~c, a, b)", "[¬c] a + [c] b", None),
        ("np.where(c, a, b)", "[c] a + [¬c] b", None),
        ("a * (b + c) / d", "(a ⊙ (b + c)) / d", None),
        ("(a - (b - c)) ** 2", "(a − (b − c))²", None),
        ("a / b * c", "(a / b) ⊙ c", None),
        ("x.reshape(2, 3).T @ W1", "xᵀ W₁", r"{x}^{\top} \, {W}_{1}"),
        ("np.sqrt(x + 1e-05)", "√(x + 1 / 100000)", r"\sqrt{x + \frac{1}{100000}}"),
        ("np.abs(x).max(axis=-1)", "maxⱼ |x|", None),
        ("np.dot(np.ones(3), x)", "Σᵢ x", r"\sum_{i} x"),
        ("np.inner(x, W)", "x Wᵀ", None),
        ("np.square(x) * 2.0", "2 x²", None),
        ("-0.25 * x", "(−1 / 4) x", None),
        ("x[0, 1:]", "x[0, 1:]", None),
        ("x + 1e30", "x + 1e+30", None),
        ("np.foo(x, y)", "foo(x, y)", r"\mathrm{foo} \left(x , y\right)"),
        ("a & b", "a · b", None),
        ("a if b else c", "a if b else c", None),
        ("a % b", "a % b", None),
        ("(x.T @ g[Ellipsis, None])[Ellipsis, 0]", "xᵀ g", None),
        ("np.dot(x.T, g[..., None])[..., 0]", "xᵀ g", None),
        ("np.matmul(x.T, g)", "xᵀ g", None),
        ("g[Ellipsis, None] * (v + w)", "g (v + w)ᵀ", r"g \, {\left(v + w\right)}^{\top}"),
        ("x[..., 0] + x[0]", "x[..., 0] + x₀", None),
        ("erf(x) + np.vectorize(math.erfc, otypes=[float])(y)", "erf(x) + erfc(y)", None),
        ("np.full((2,), 0.5) + np.ones(2)", "1 / 2 + 1", None),
        ("x.sum(axis=(0, 1))", "Σᵢⱼ x", None),
        ("gamma * xhat", "γ ⊙ x̂", r"\gamma \odot \hat{x}"),
        ("(x == 3) * 7", "7 [x = 3]", None),
    ],
)
def test_lines_of_numpy_as_mathematics(line, text, tex):
    piece = board.pieces(ast.parse(line, mode="eval"), {})
    assert board.text(piece) == text
    assert tex is None or board.latex(piece) == tex
    ET.fromstring(f"<math>{board.mathml(piece)}</math>")


def test_scattered_values_are_told_where_they_stand():
    tree = ast.parse("y = np.zeros((2, 3))\nnp.add.at(y, (rows,), g)")
    piece = board.scattered(tree.body, {"g": "h"})
    assert board.text(piece) == "∂L/∂h at [rows] else 0"
    assert r"\mathrm{at}" in board.latex(piece) and "<mtext>" in board.mathml(piece)
    assert board.scattered(tree.body[:1], {}) is None


def test_a_step_that_no_line_simplifies_still_has_its_lines():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    )

    def step(x, y):
        logits = model(x)
        return F.cross_entropy(logits, y)

    images = tg.tensor(np.random.default_rng(0).normal(size=(2, 1, 6, 6)).astype(np.float32))
    found = teach.derive(step, (images, tg.tensor([0, 2])), wrt="logits")
    assert found.steps[-1].text == "∂L/∂logits = (p − onehot) / N"
    found = teach.derive(step, (images, tg.tensor([0, 2])), wrt="W0")
    assert found.shape == (2, 1, 3, 3) and found.steps[-1].text.startswith("∂L/∂W₀ = ")


def test_a_traced_program_is_derived_too():
    def step(x):
        z = x * w
        loss = (z * z).sum()
        loss.backward()
        return loss

    found = teach.derive(tg.trace(step, numbers(2, 3)), wrt="z")
    assert found.steps[-1].text == "∂L/∂z = 2 z"


def test_a_formula_that_is_not_the_gradient_is_not_shown():
    program = derivation.traced(network, (x, y))
    made = derivation.Board(program, "loss", "logits")
    made.formula.truth["dlogits"] = made.formula.truth["dlogits"] * 1.001
    with pytest.raises(ArithmeticError, match="the formula for dlogits is not the gradient"):
        made.derivation()


def test_truth_values_have_no_slope():
    def step(x):
        z = x * w
        keep = z > 0
        y = z * z
        h = keep * y
        loss = h.sum()
        return loss

    found = teach.derive(step, (numbers(2, 3),), wrt="z")
    assert "∂L/∂z = ∂L/∂y · ∂y/∂z = ∂L/∂y ⊙ z + ∂L/∂y ⊙ z" in found.text, found
    assert {s.checked for s in found.steps if s.text.startswith("∂")} == {"proved"}


def test_a_parameter_may_be_called_as_its_module_calls_it():
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2)).double()

    def step(x):
        loss = model(x).sum()
        return loss

    shown = teach.derive(step, (x,), wrt="W0")
    assert shown.wrt == "W0" and shown.shape == (2, 3)
    for name in ("0.weight", "model.0.weight"):
        assert shown == teach.derive(step, (x,), wrt=name)


def test_what_is_not_there_raises():
    with pytest.raises(KeyError, match=r"'nope' has no gradient in the step; .*logits"):
        teach.derive(network, (x, y), wrt="nope")
    with pytest.raises(KeyError, match="'logits' is not what the step returns: that is loss"):
        teach.derive(network, (x, y), of="logits", wrt="h")
    assert math.isfinite(float(network(x, y)))


@pytest.mark.parametrize("wrt", ["z", "w"])
def test_a_gradient_without_a_line_is_said_to_have_none(wrt):
    def step(x):
        z = x * w
        h = z * z.detach()
        loss = (h * x).sum()
        return loss

    found = teach.derive(step, (numbers(3),), wrt=wrt)
    last = found.text.splitlines()[-1]
    assert last.startswith(f"∂L/∂{wrt} = ?  ")
    assert last.endswith(
        "the derivation does not reach it; to the backward pass something in these lines is a "
        "constant (detach, no_grad)"
    )
    assert "the derivation does not reach it" in found.html()
    assert "the derivation does not reach it" in found.latex()
    assert not any(s.text.startswith(f"∂L/∂{wrt}") for s in found.steps[:-1])


def test_a_gradient_that_the_end_reads_is_simplified_before_it():
    X, W, y = numbers(7, 3), leaf(3, 2), tg.tensor([0, 1, 1, 0, 1, 0, 0])
    found = teach.derive(lambda X, y: F.cross_entropy(X @ W, y), (X, y), wrt="W")
    assert [step.text for step in found.steps][-5:] == [
        "onehot = [yᵢ = j]", "p = e / total",
        "∂L/∂z = (p − onehot) / 7", "∂L/∂z = (p − onehot) / N", "∂L/∂W = Xᵀ ∂L/∂z",
    ]  # fmt: skip


def test_what_the_forward_lines_read_and_nobody_has_named_has_a_line() -> None:
    def step(z: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        return (F.log_softmax(z, 1) * F.softmax(y, 1)).sum()

    z, y = tg.randn(2, 3, requires_grad=True), tg.randn(2, 3)
    text = teach.derive(step, (z, y), wrt="z").text
    lines = [line.split("  ")[0] for line in text.splitlines()]
    assert "e₂ = exp(y − maxⱼ y)" in lines and "p = e₂ / (Σⱼ e₂)" in lines
    assert lines.index("p = e₂ / (Σⱼ e₂)") < lines.index("loss = Σ logp ⊙ p")


@pytest.mark.parametrize(("size", "wanted"), [(15, "(2 / 15) u"), (16, "u / 8"), (7, "(2 / 7) u")])
def test_a_multiple_is_written_as_a_fraction(size: int, wanted: str) -> None:
    z, t = tg.randn(size, requires_grad=True), tg.randn(size)
    last = teach.derive(F.mse_loss, (z, t), wrt="input").text.splitlines()[-1]
    assert last.removesuffix("simplified").strip() == f"∂L/∂input = {wanted}"


def named_twice(z):
    loss = z.exp()
    loss = loss.mean()
    return loss


def test_a_name_that_was_given_twice_stands_for_both():
    z = tg.tensor([0.4, -1.0, 2.0], requires_grad=True)
    found = teach.derive(named_twice, (z,), wrt="z")
    assert (found.of, found.steps[-1].text) == ("loss2", "∂L/∂z = loss / N")
