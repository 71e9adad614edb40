"""Write docs/theorems.md: gradients of the books, each derived and proved by the library itself.

    python docs/theorems.py            write it
    python docs/theorems.py --check    say whether it is up to date

Statement, derivation (`teach.derive`), proof (`teach.prove`). What is written here by hand is the
statement and its formula; tests/test_theorem_pages.py runs each proof again.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import teach
from tinygrad_ce.nn import functional as F

FILE = Path(__file__).parent / "theorems.md"
sigmoid, softmax, sqrt, where = F.sigmoid, F.softmax, tg.sqrt, tg.where


class Theorem(NamedTuple):
    """What is claimed of a function, its formulas, the sizes, and the value that is derived."""

    title: str
    statement: str
    function: Callable[..., Any]
    formula: dict[str, Callable[..., Any]]
    sizes: dict[str, Any]
    wrt: str = ""


def jacobian_of_softmax(z: Any) -> Any:
    """diag(p) − p pᵀ."""
    p = softmax(z, -1)
    return tg.diag(p) - tg.outer(p, p)


def normalised(x: Any, g: Any, axis: int) -> Any:
    """(g − mean g − x̂ mean(g x̂)) / σ."""
    s = sqrt(x.var(axis, unbiased=False, keepdim=True) + 1e-5)
    xhat = (x - x.mean(axis, keepdim=True)) / s
    return (g - g.mean(axis, keepdim=True) - xhat * (g * xhat).mean(axis, keepdim=True)) / s


def slope_of(loss: Callable[..., Any]) -> Callable[..., Any]:
    """∂loss/∂z as a function, to be differentiated again."""
    return lambda z, *rest: tg.autograd.grad(loss(z, *rest), z, create_graph=True)[0]


def attention(q: Any, k: Any, v: Any) -> Any:
    """softmax(q kᵀ / √d) v."""
    return F.scaled_dot_product_attention(q, k, v)


def attention_slope(q: Any, k: Any, v: Any, g: Any) -> Any:
    """∂L/∂s = p ⊙ (g vᵀ − Σⱼ p ⊙ g vᵀ), and ∂L/∂q = ∂L/∂s k / √d."""
    p = softmax(q @ k.mT / math.sqrt(2), -1)
    dp = g @ v.mT
    return p * (dp - (p * dp).sum(-1, keepdim=True)) @ k / math.sqrt(2)


THEOREMS = [
    Theorem(
        "The logistic function", "σ′(z) = σ(z) (1 − σ(z))", sigmoid,
        {"z": lambda z, g: g * sigmoid(z) * (1 - sigmoid(z))}, {"z": (3,)}, "z",
    ),
    Theorem(
        "The hyperbolic tangent", "tanh′(x) = 1 − tanh² x", tg.tanh,
        {"x": lambda x, g: g * (1 - tg.tanh(x) ** 2)}, {"x": (3,)}, "x",
    ),
    Theorem(
        "Softmax", "∂pᵢ/∂zⱼ = δᵢⱼ pᵢ − pᵢ pⱼ", lambda z: softmax(z, 0),
        {"z": jacobian_of_softmax}, {"z": (3,)}, "z",
    ),
    Theorem(
        "Cross-entropy", "∂L/∂z = (p − onehot(y)) / N", F.cross_entropy,
        {"z": lambda z, y: (softmax(z, 1) - F.one_hot(y, 3)) / 2}, {"z": (2, 3), "y": [0, 2]}, "z",
    ),
    Theorem(
        "The Hessian of cross-entropy", "∂²L/∂z∂zᵀ = diag(p) − p pᵀ, for one sample",
        slope_of(F.cross_entropy), {"z": lambda z: jacobian_of_softmax(z[0])[None, :, None, :]},
        {"z": (1, 3), "y": [2]},
    ),
    Theorem(
        "Binary cross-entropy", "∂L/∂z = (σ(z) − y) / N", F.binary_cross_entropy_with_logits,
        {"z": lambda z, y: (sigmoid(z) - y) / 3}, {"z": (3,), "y": (3,)}, "z",
    ),
    Theorem(
        "The Hessian of binary cross-entropy", "∂²L/∂z∂zᵀ = diag(p ⊙ (1 − p)) / N, p = σ(z)",
        slope_of(F.binary_cross_entropy_with_logits),
        {"z": lambda z: tg.diag(sigmoid(z) * (1 - sigmoid(z))) / 2}, {"z": (2,), "y": (2,)},
    ),
    Theorem(
        "A linear layer", "y = x Wᵀ + b: ∂L/∂x = g W, ∂L/∂W = gᵀ x, ∂L/∂b = Σᵢ g", F.linear,
        {"x": lambda W, g: g @ W, "W": lambda x, g: g.T @ x, "b": lambda g: g.sum(0)},
        {"x": (2, 3), "W": (2, 3), "b": (2,)}, "W",
    ),
    Theorem(
        "Mean squared error", "∂L/∂ŷ = 2 (ŷ − y) / n", F.mse_loss,
        {"yhat": lambda yhat, y: 2 * (yhat - y) / 6}, {"yhat": (2, 3), "y": (2, 3)}, "yhat",
    ),
    Theorem(
        "Layer normalisation", "∂L/∂x = (g − mean g − x̂ mean(g ⊙ x̂)) / σ, along each row",
        lambda x: F.layer_norm(x, (3,)),
        {"x": lambda x, g: normalised(x, g, 1)}, {"x": (2, 3)}, "x",
    ),
    Theorem(
        "Batch normalisation", "∂L/∂x = (g − mean g − x̂ mean(g ⊙ x̂)) / σ, along each column",
        lambda x: F.batch_norm(x, None, None, training=True),
        {"x": lambda x, g: normalised(x, g, 0)}, {"x": (3, 2)}, "x",
    ),
    Theorem(
        "Attention", "∂L/∂q = (p ⊙ (g vᵀ − Σⱼ p ⊙ g vᵀ)) k / √d, ∂L/∂v = pᵀ g", attention,
        {
            "q": attention_slope,
            "v": lambda q, k, g: softmax(q @ k.mT / math.sqrt(2), -1).mT @ g,
        },
        {"q": (2, 2), "k": (2, 2), "v": (2, 2)}, "v",
    ),
    Theorem(
        "Logsumexp", "∂ logsumexp(z) / ∂z = softmax(z)", lambda z: tg.logsumexp(z, 1),
        {"z": lambda z, g: g[:, None] * softmax(z, 1)}, {"z": (2, 3)}, "z",
    ),
    Theorem(
        "Huber's loss", "∂L/∂x = (x − y) / n where |x − y| ≤ 1, else sign(x − y) / n",
        F.huber_loss,
        {"x": lambda x, y: where((x - y).abs() <= 1, x - y, tg.sign(x - y)) / 2},
        {"x": (2,), "y": (2,)}, "x",
    ),
]  # fmt: skip


def derivation(theorem: Theorem) -> str:
    """The lines of a function, or of the sum of its outputs times g."""
    stream = np.random.default_rng(0)
    given = {
        n: tg.tensor(stream.normal(size=s) if type(s) is tuple else s)
        for n, s in theorem.sizes.items()
    }
    for name, size in theorem.sizes.items():
        if type(size) is tuple:
            given[name].requires_grad_()
    shape = theorem.function(*given.values()).shape
    g = tg.tensor(stream.normal(size=shape))
    space: dict[str, Any] = {"f": theorem.function, **given, "g": g}
    called = f"f({', '.join(given)})"
    total = f"({called} * g).sum()" if shape else called
    exec(f"def step():\n    loss = {total}\n    return loss", space)
    return teach.derive(space["step"], wrt=theorem.wrt).text


def proof(theorem: Theorem) -> teach.Proof:
    """That the formulas are the gradients."""
    return teach.prove(theorem.function, gradient=theorem.formula, **theorem.sizes)


def page() -> str:
    """The text of the page."""
    lines = [
        "# Theorems",
        "",
        "Gradients as they stand in the books. Each derivation was written by `teach.derive`, each",
        "proof by `teach.prove`, which runs the programs of the library on formulas: equal for",
        "all real numbers, kinks included, at the sizes that are given. `g` is the gradient that",
        "comes from above. `python docs/theorems.py` writes this page and",
        "tests/test_theorem_pages.py proves it again.",
    ]
    for theorem in THEOREMS:
        lines += ["", f"## {theorem.title}", "", f"**{theorem.statement}**", ""]
        if theorem.wrt:
            lines += ["```text", derivation(theorem), "```", ""]
        found = proof(theorem)
        lines += ["```text", found.text.partition(": ")[0] + ":" + said(found), "```"]
    return "\n".join(lines) + "\n"


def said(found: teach.Proof) -> str:
    """The proof without the names that functions have in this file."""
    sizes = ", ".join(f"{name} {shape}" for name, shape in found.sizes.items())
    first = f" {', '.join(found.compared)}, for all real numbers; sizes {sizes}"
    return "\n".join([first, *found.text.split("\n")[2:]])


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(FILE.read_text(encoding="utf-8") != page() and "run python docs/theorems.py")
    FILE.write_text(page(), encoding="utf-8")
