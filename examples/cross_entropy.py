"""The lesson on cross-entropy, where every claim is computed before it is made.

    python examples/cross_entropy.py
    python examples/cross_entropy.py --seed 3 --out figures   # another split, another folder

From the sigmoid and its two log-curves, over maximum likelihood, to logistic regression, softmax
regression and a neural network; why not the squared error; what overflows, and what does not; and
what overfitting looks like. Each line of the output is a claim, the number that was computed for
it, and ✓ if the number fulfils the claim, ✗ if it does not (then the exit code is 1).

Read from top to bottom: one function for each section, with its mathematics on top.
Cross-entropies are in nats: 1 nat = 1/log 2 ≈ 1.44 bits.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import Tensor, nn, optim
from tinygrad_ce.nn import functional as F

Array = np.ndarray
Loss = Callable[[Tensor, Tensor], Tensor]

# Okabe and Ito's colours, told apart by colour-blind readers too; one meaning each.
ONE, ZERO = "#0072B2", "#D55E00"  # the loss where y = 1, where y = 0
TRAINING, VALIDATION = "#009E73", "#AA4499"
QUIET = "#6B7280"


# --- what a lesson is made of -----------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A sentence, the number that was computed for it, and whether the number fulfils it."""

    text: str
    number: float
    holds: bool


@dataclass
class Lesson:
    """What has been claimed, and the figures that have been written."""

    out: Path
    seed: int = 0
    claims: dict[str, Claim] = field(default_factory=dict)
    figures: list[Path] = field(default_factory=list)

    def section(self, title: str) -> None:
        """Print a heading."""
        print(f"\n{title}\n{'─' * len(title)}")

    def claim(self, key: str, text: str, number: float, holds: bool, shown: str = "") -> None:
        """Keep a claim and print it: the sentence, the number, ✓ or ✗."""
        self.claims[key] = Claim(text, float(number), bool(holds))
        shown = shown or (f"{number:.1e}" if 0 < abs(number) < 1e-3 else f"{number:.6g}")
        print(f"{text:<68} {shown.replace('-', '−'):>26}  {'✓' if holds else '✗'}")

    def save(self, figure: Any, name: str) -> None:
        """Write a figure: in full, or not at all."""
        path = self.out / name
        unfinished = path.with_name(f".{name}.unfinished")
        try:
            figure.savefig(unfinished, format="png", dpi=160)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        self.figures.append(path)
        print(f"figure: {path}")


def near(number: float, wanted: float, within: float = 1e-12) -> bool:
    """Whether two numbers agree; nan agrees with nothing."""
    return bool(abs(number - wanted) <= within)


def furthest(a: Any, b: Any) -> float:
    """The largest distance between the numbers of two arrays of one shape."""
    a, b = numbers(a), numbers(b)
    if a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape} are not to be compared")
    return float(abs(a - b).max())


def numbers(x: Any) -> Array:
    """The values of a Tensor or an array, without the graph."""
    return x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x)


def variable(values: Any, dtype: Any = np.float64) -> Tensor:
    """A leaf that requires a gradient, in float64 unless said otherwise."""
    return tg.tensor(np.array(values, dtype), requires_grad=True)


def curve_and_slope(f: Callable[[Tensor], Tensor], at: Array) -> tuple[Array, Array]:
    """f and f', at every point: each term of Σ f(xᵢ) depends on its own xᵢ only."""
    x = variable(at)
    y = f(x)
    y.sum().backward()
    return numbers(y), numbers(x.grad)


# --- 1. the sigmoid, and what an answer costs -------------------------------------------------


def price_if_one(h: Tensor) -> Tensor:
    """-log h."""
    return -tg.log(h)


def price_if_zero(h: Tensor) -> Tensor:
    """-log(1 - h)."""
    return -tg.log(1 - h)


def sigmoid_and_its_price(lesson: Lesson) -> None:
    """A score z becomes a probability h, and an answer costs the more the surer it is wrong.

    h = σ(z) = 1/(1 + e⁻ᶻ),     σ'(z) = h(1 - h)

    loss = -log h        where y = 1,    d/dh = -1/h,         d/dz = h - 1
    loss = -log(1 - h)   where y = 0,    d/dh = 1/(1 - h),    d/dz = h

    In z the slope is h - y, always: the factor h(1 - h) of the sigmoid cancels against the 1/h of
    the logarithm.
    """
    lesson.section("1. The sigmoid, and what an answer costs")
    half, _ = curve_and_slope(F.sigmoid, np.array([0.0]))
    lesson.claim("half", "σ(0) is ½", half[0], near(half[0], 0.5))
    z = np.linspace(-8, 8, 161)
    h, slope = curve_and_slope(F.sigmoid, z)
    error = furthest(slope, h * (1 - h))
    lesson.claim("sigmoid slope", "its slope is h(1 − h), within", error, error < 1e-15)
    ignorance = curve_and_slope(price_if_one, np.array([0.5]))[0].item()
    holds = near(ignorance, math.log(2))
    text = "not to know, h = ½, costs log 2"
    lesson.claim("log 2", text, ignorance, holds, f"{ignorance:.6f} nats")
    p = np.linspace(0.01, 0.99, 99)
    _, down = curve_and_slope(price_if_one, p)
    _, up = curve_and_slope(price_if_zero, p)
    error = max(furthest(-down * p, np.ones(99)), furthest(up * (1 - p), np.ones(99)))
    text = "slopes in h: −1/h and 1/(1 − h), relatively within"
    lesson.claim("slopes in h", text, error, error < 1e-14)
    _, if_one = curve_and_slope(lambda z: F.softplus(-z), z)
    _, if_zero = curve_and_slope(F.softplus, z)
    error = max(furthest(if_one, h - 1), furthest(if_zero, h))
    lesson.claim("slopes in z", "slopes in z: h − 1 and h, within", error, error < 1e-15)
    lesson.save(figure_of_the_price(), "1_the_price_of_an_answer.png")


def figure_of_the_price() -> Any:
    """Both curves against h and against z, with the tangents that autograd computes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    h, z = np.linspace(0.004, 0.996, 497), np.linspace(-6, 6, 241)
    # Where tangents touch, and where their labels stand from there, in points.
    ones = [(0.15, (9, 3)), (0.5, (-6, -40)), (0.85, (0, 10))]
    zeros = [(0.15, (0, 10)), (0.5, (6, -40)), (0.85, (-9, 3))]
    draw_price(left, price_if_one, h, ONE, ones, 0.09)
    draw_price(left, price_if_zero, h, ZERO, zeros, 0.09)
    ones = [(-3.5, (9, 3)), (0.0, (-6, -40)), (3.5, (0, 10))]
    zeros = [(-3.5, (0, 10)), (0.0, (6, -40)), (3.5, (-9, 3))]
    draw_price(right, lambda z: F.softplus(-z), z, ONE, ones, 1.1)
    draw_price(right, F.softplus, z, ZERO, zeros, 1.1)
    figure.suptitle("What an answer costs", fontsize=15)
    left.set(xlim=(0, 1), xlabel="h, the probability given to y = 1", ylabel="cross-entropy (nats)")
    left.set(ylim=(-0.2, 5.2), title="against the probability h")
    right.set(xlim=(-6, 6), xlabel="z, the logit: h = 1/(1 + e⁻ᶻ)", title="against the logit z")
    for axes in (left, right):
        axes.plot([], [], color="black", lw=1.2, label="tangents, by autograd")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
        axes.legend(frameon=False, loc="upper center", handlelength=1.4)
    return figure


def draw_price(
    axes: Any,
    loss: Callable[[Tensor], Tensor],
    grid: Array,
    colour: str,
    touching: list[tuple[float, tuple[int, int]]],
    reach: float,
) -> None:
    """One curve, and short tangents to it with their slopes, as autograd computes them."""
    name = "−log h   (y = 1)" if colour == ONE else "−log(1 − h)   (y = 0)"
    axes.plot(grid, curve_and_slope(loss, grid)[0], color=colour, lw=2.2, label=name)
    at = np.array([x for x, _ in touching])
    for x, y, slope, (_, (right, up)) in zip(at, *curve_and_slope(loss, at), touching):
        run = reach / math.hypot(1, slope * reach * 1.6)  # of one length on the paper, roughly
        ends = np.array([-run, run])
        axes.plot(x + ends, y + slope * ends, color="black", lw=1.2, zorder=3)
        axes.plot(x, y, "o", color="black", ms=4.5, zorder=4)
        side = "center" if right == 0 else "left" if right > 0 else "right"
        text = f"slope {slope:.3g}".replace("-", "−")
        axes.annotate(text, (x, y), (right, up), textcoords="offset points", color=colour, ha=side)


# --- 2. likelihood ----------------------------------------------------------------------------


def likelihood_to_loss(lesson: Lesson) -> None:
    """The loss is no invention: it is the likelihood, made fit for a computer.

    likelihood            L(θ) = Π pθ(yᵢ)             a product: underflows
    log-likelihood        log L(θ) = Σ log pθ(yᵢ)     a sum: does not; log rises, same maximum
    negative, mean        -1/N Σ log pθ(yᵢ)           a loss to minimise: the cross-entropy

    A coin that fell k times of n on heads: L(θ) = θᵏ(1 - θ)ⁿ⁻ᵏ, largest at θ = k/n.
    """
    lesson.section("2. From the likelihood to the loss")
    p = variable(0.6)
    likelihood = p**2000
    likelihood.backward()
    stored = likelihood.item()
    text, holds = "the likelihood of 2,000 samples at 0.6 each underflows to", stored == 0.0
    lesson.claim("underflow", text, stored, holds, f"{stored}")
    exponent = 2000 * math.log10(0.6)
    holds = exponent < math.log10(math.ulp(0.0))
    lesson.claim("exponent", "    in truth it is", exponent, holds, f"10^{exponent:.2f}")
    slope = p.grad.item()
    text, holds = "    and so does its slope: nothing to climb by", slope == 0.0
    lesson.claim("lost slope", text, slope, holds, f"{slope}")
    product = math.prod([0.6] * 2000)  # 0.6 of the smallest double rounds to the smallest double
    smallest = math.ulp(0.0)
    text = "    multiplied one by one, it sticks at the smallest double"
    lesson.claim("stuck", text, product, product == smallest, f"{product}")
    p = variable(np.full(2000, 0.6))
    logs = tg.log(p).sum()
    logs.backward()
    total, slope = logs.item(), p.grad.sum().item()
    holds = near(total, 2000 * math.log(0.6), 1e-9)
    lesson.claim(
        "log-likelihood", "the sum of the logarithms does not", total, holds, f"{total:.2f} nats"
    )
    lesson.claim(
        "kept slope", "    nor does its slope, 2000/0.6", slope, near(slope, 2000 / 0.6, 1e-9)
    )
    the_coin(lesson, heads=7, tosses=10)


def the_coin(lesson: Lesson, heads: int, tosses: int) -> None:
    """The maximum of L is the minimum of -log L: on a grid, and by gradient descent on σ(z)."""
    best = heads / tosses
    grid = tg.linspace(0.001, 0.999, 999, dtype=np.float64)
    likelihood = grid**heads * (1 - grid) ** (tosses - heads)
    loss = -(heads * tg.log(grid) + (tosses - heads) * tg.log(1 - grid)) / tosses
    top, bottom = grid[likelihood.argmax()].item(), grid[loss.argmin()].item()
    coin = f"{heads} heads of {tosses}"
    lesson.claim("maximum", f"{coin}: L is largest at θ =", top, near(top, best))
    lesson.claim("minimum", f"{coin}: −log L is smallest at θ =", bottom, near(bottom, top, 0.0))
    answers = tg.tensor([1.0] * heads + [0.0] * (tosses - heads), dtype=np.float64)
    z = variable(0.0)
    optimizer = optim.SGD([z], lr=2.0)
    for _ in range(200):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(z.expand(tosses), answers).backward()
        optimizer.step()
    found = F.sigmoid(z).item()
    text = "gradient descent on the loss, from θ = ½, finds θ ="
    lesson.claim("descent", text, found, near(found, best, 1e-9))


# --- 3. two classes ---------------------------------------------------------------------------


def binary_is_softmax_with_two(lesson: Lesson) -> None:
    """Binary cross-entropy is softmax cross-entropy with the logits (0, z).

    softmax(0, z)[1] = eᶻ/(e⁰ + eᶻ) = 1/(1 + e⁻ᶻ) = σ(z)

    Only differences of logits count: softmax(a, b) is σ(b - a), and one of the two is free.
    """
    lesson.section("3. Binary cross-entropy is softmax cross-entropy with two classes")
    grid = np.linspace(-30, 30, 121)
    values, slopes, other = 0.0, 0.0, 0.0
    for y in (0, 1):
        z, w = variable(grid), variable(grid)
        pair = tg.stack([tg.zeros_like(w), w], dim=1)
        pair.retain_grad()
        binary = F.binary_cross_entropy_with_logits(z, tg.full_like(z, float(y)), reduction="none")
        softmax = F.cross_entropy(pair, tg.full(grid.shape, y), reduction="none")
        binary.sum().backward()
        softmax.sum().backward()
        values = max(values, furthest(binary, softmax))
        slopes = max(slopes, furthest(z.grad, w.grad))
        other = max(other, furthest(pair.grad[:, 0], -pair.grad[:, 1]))
    text = "z from −30 to 30, y = 0 and 1: values differ by"
    lesson.claim("two values", text, values, values < 1e-14)
    lesson.claim("two slopes", "slopes with respect to z differ by", slopes, slopes < 1e-15)
    text = "the slopes of the two logits add up to 0, within"
    lesson.claim("two logits", text, other, other < 1e-15)


# --- 4. one graph, more layers ----------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """Standardised features and answers, one part to learn from and one to be judged by."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


def load(name: str, seed: int) -> Data:
    """A data set of scikit-learn in float64, 70 % of it to learn from."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    order = numbers(tg.randperm(len(x), generator=tg.Generator().manual_seed(seed)))
    train, test = np.split(order, [int(0.7 * len(x))])
    mean, spread = x[train].mean(axis=0), x[train].std(axis=0)
    x = (x - mean) / np.where(spread > 0, spread, 1)  # some pixels are always 0
    return Data(*(tg.tensor(part) for part in (x[train], y[train], x[test], y[test])))


def binary(z: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy of the logits (N, 1) and the answers (N,)."""
    return F.binary_cross_entropy_with_logits(z.squeeze(1), y)


def errors(z: Tensor, y: Tensor) -> Array:
    """p - y, as an array: σ(z) - y for one logit, softmax(z) - onehot(y) for several."""
    if z.shape[1] == 1:
        return numbers(F.sigmoid(z)) - numbers(y)[:, None]
    return numbers(F.softmax(z, -1)) - numbers(F.one_hot(y, z.shape[1]))


def accuracy(z: Tensor, y: Tensor) -> float:
    """The share of right answers."""
    answers = numbers(z)[:, 0] > 0 if z.shape[1] == 1 else numbers(z).argmax(axis=1)
    return float((answers == numbers(y)).mean())


def descend(model: nn.Module, loss: Loss, data: Data, lr: float, steps: int) -> Array:
    """Plain gradient descent on all samples at once; the loss before each step, and at the end."""
    optimizer = optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(model(data.x), data.y)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    with tg.no_grad():
        losses.append(loss(model(data.x), data.y).item())
    return np.array(losses)


def difference_from_the_formula(model: nn.Sequential, loss: Loss, data: Data) -> float:
    """How far autograd is from (p - y)ᵀH/N at the last layer; H is what goes into that layer."""
    hidden = data.x
    for layer in model[:-1]:
        hidden = layer(hidden)
    z = model(data.x)
    loss(z, data.y).backward()
    by_hand = errors(z, data.y).T @ numbers(hidden) / len(data.x)
    difference = furthest(model[-1].weight.grad, by_hand)
    for p in model.parameters():
        p.grad = None
    return difference


def one_graph_more_layers(lesson: Lesson) -> None:
    """Logistic regression, softmax regression and a network: a linear layer, and what goes in.

    z = H Wᵀ + b,    p = σ(z) or softmax(z),    loss = -1/N Σ log p[y]

    ∂loss/∂z = (p - y)/N,    ∂loss/∂W = (p - y)ᵀ H/N

    H = X is regression: logistic for one logit, softmax for several. Put layers before it and H is
    what they made of X: a neural network, with the same gradient in its last layer.
    """
    lesson.section("4. Logistic regression, softmax regression, a network: more layers, one graph")
    tg.manual_seed(lesson.seed)
    logistic = nn.Sequential(nn.Linear(30, 1))
    softmax = nn.Sequential(nn.Linear(13, 3))
    network = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    stories: list[tuple[str, str, str, nn.Sequential, Loss, float]] = [
        ("logistic", "breast_cancer", "Xᵀ(h − y)/N", logistic, binary, 0.3),
        ("softmax", "wine", "Xᵀ(p − y)/N", softmax, F.cross_entropy, 0.3),
        ("network", "digits", "Hᵀ(p − y)/N", network, F.cross_entropy, 0.3),
    ]
    for name, data_set, formula, model, loss, lr in stories:
        data = load(data_set, lesson.seed)
        title = f"{name} {'' if name == 'network' else 'regression '}({data_set.replace('_', ' ')})"
        difference = difference_from_the_formula(model.double(), loss, data)
        text, key = f"{title}: gradient is {formula}, within", f"{name} gradient"
        lesson.claim(key, text, difference, difference < 1e-14)
        losses = descend(model, loss, data, lr, steps=300)
        start, end = losses[0], losses[-1]
        text, holds = "    300 steps of gradient descent: the loss falls", end < start / 4
        lesson.claim(f"{name} loss", text, end, holds, f"{start:.3f} → {end:.3f} nats")
        if name != "network":  # the loss of a regression is convex: a small step always descends
            rise = np.diff(losses).max()
            text = "    at every step: its largest change"
            lesson.claim(f"{name} descent", text, rise, rise < 0, f"{rise:.1e} nats")
        with tg.no_grad():
            right = accuracy(model(data.x_test), data.y_test)
        text = f"    right on {len(data.x_test)} samples it never saw"
        lesson.claim(f"{name} accuracy", text, right, right > 0.85, f"{right:.1%}")
    multinomial_is_softmax(lesson)


def multinomial_is_softmax(lesson: Lesson) -> None:
    """Multinomial regression is softmax regression whose answers are counts.

    -log likelihood of counts nₖ = -Σ nₖ log pₖ + a constant, so the mean is the cross-entropy with
    the target n/N; smallest at p = n/N, where it is the entropy -Σ pₖ log pₖ of the target.
    """
    counts = np.array([7, 2, 1])
    target = tg.tensor(counts[None] / counts.sum())
    ids = tg.tensor(np.repeat([0, 1, 2], counts))
    z = variable([[0.5, -1.0, 2.0]])
    by_counts, by_ids = F.cross_entropy(z, target), F.cross_entropy(z.expand(10, 3), ids)
    difference = abs(by_counts.item() - by_ids.item())
    text = "multinomial: counts (7, 2, 1) cost as much as ten answers, within"
    lesson.claim("counts", text, difference, difference < 1e-15)
    optimizer = optim.SGD([z], lr=2.0)
    for _ in range(400):
        optimizer.zero_grad()
        F.cross_entropy(z, target).backward()
        optimizer.step()
    entropy = -float((numbers(target) * np.log(numbers(target))).sum())
    loss, p = F.cross_entropy(z, target).item(), numbers(F.softmax(z, -1))[0]
    shares = "(" + ", ".join(f"{share:.2f}" for share in p) + ")"
    text, holds = "    gradient descent finds the shares", furthest(p[None], target) < 1e-9
    lesson.claim("shares", text, p[0], holds, shares)
    text = "    and what is left of the loss is their entropy"
    lesson.claim("entropy", text, loss, near(loss, entropy), f"{loss:.6f} nats")


# --- 5. why not the squared error -------------------------------------------------------------


def half_squared_error(z: Tensor, y: Tensor) -> Tensor:
    """½(σ(z) - y)², the mean over the samples: logits (N, 1), answers (N,)."""
    return 0.5 * F.mse_loss(F.sigmoid(z.squeeze(1)), y)


def cross_entropy_or_squared_error(lesson: Lesson) -> None:
    """On a confident wrong answer the cross-entropy is steep, and the squared error is flat.

    d/dz -log σ(z)       = h - 1              → -1 as z → -∞
    d/dz ½(σ(z) - 1)²    = (h - 1)·h(1 - h)   →  0 as z → -∞

    In small steps of size η, z moves as dz/dt = -slope. From -10 to 0 that takes 1/η times
    ∫ dz/(1 - h) = 10 + (1 - e⁻¹⁰)                                   for cross-entropy,
    ∫ dz/(h(1 - h)²) = (e¹⁰ - 1) + 30 + 3(1 - e⁻¹⁰) + (1 - e⁻²⁰)/2   for the squared error.
    """
    lesson.section("5. Cross-entropy against the squared error")
    at = np.array([-10.0])
    steep = curve_and_slope(lambda z: F.softplus(-z), at)[1].item()
    flat = curve_and_slope(lambda z: 0.5 * (F.sigmoid(z) - 1) ** 2, at)[1].item()
    text, holds = "y = 1, z = −10: slope of the cross-entropy", near(steep, -0.99995, 5e-6)
    lesson.claim("steep", text, steep, holds, f"{steep:.5f}")
    text, holds = "y = 1, z = −10: slope of ½(h − y)²", near(flat, -4.5e-5, 1e-6)
    lesson.claim("flat", text, flat, holds, f"{flat:.3g}")
    quick = steps_back(lambda z: F.softplus(-z), start=-10.0)
    slow = steps_back(lambda z: 0.5 * (F.sigmoid(z) - 1) ** 2, start=-10.0)
    foreseen = math.exp(10) - 1 + 30 + 3 + 0.5
    text = "from z = −10 back to 0, steps of size 1: cross-entropy"
    lesson.claim("steps back", text, quick, near(quick, 11, 1), f"{quick} steps")
    text = f"    squared error (the integral says {foreseen:,.0f})"
    holds = near(slow, foreseen, 0.01 * foreseen)
    lesson.claim("steps lost", text, slow, holds, f"{slow:,} steps")
    from_the_wrong_side(lesson)


def steps_back(loss: Callable[[Tensor], Tensor], start: float, limit: int = 50_000) -> int:
    """Steps of size 1 until z ≥ 0."""
    z = variable(start)
    for step in range(limit):
        if z.item() >= 0:
            return step
        loss(z).backward()
        with tg.no_grad():
            z -= z.grad
        z.grad = None
    return limit


def from_the_wrong_side(lesson: Lesson) -> None:
    """The same with real data: a model that has learnt everything the wrong way round."""
    data = load("breast_cancer", lesson.seed)
    good = nn.Sequential(nn.Linear(30, 1)).double()
    descend(good, binary, data, lr=0.3, steps=300)
    with tg.no_grad():
        confidence = abs(numbers(good(data.x))).mean()

    def turned_round() -> nn.Module:
        model = nn.Sequential(nn.Linear(30, 1)).double()
        with tg.no_grad():
            for p, learnt in zip(model.parameters(), good.parameters()):
                p.copy_(learnt * (-10 / confidence))
        return model

    first = steps_until_right(turned_round(), binary, data)
    second = steps_until_right(turned_round(), half_squared_error, data)
    text = "breast cancer, all weights turned round, to 90 %: cross-entropy"
    lesson.claim("recovery", text, first, first < 50, f"{first} steps")
    text = "    squared error, at least 10 times as long"
    lesson.claim("slow recovery", text, second, second >= 10 * first, f"{second} steps")


def steps_until_right(model: nn.Module, loss: Loss, data: Data, limit: int = 5000) -> int:
    """Steps of gradient descent until 90 % of the training samples are right."""
    optimizer = optim.SGD(model.parameters(), lr=0.3)
    for step in range(limit):
        z = model(data.x)
        if accuracy(z, data.y) >= 0.9:
            return step
        optimizer.zero_grad()
        loss(z, data.y).backward()
        optimizer.step()
    return limit


# --- 6. numbers that a computer has -----------------------------------------------------------


def naive(z: Tensor, y: int) -> Tensor:
    """The formula as it stands in the book: -log h or -log(1 - h) with h = 1/(1 + e⁻ᶻ)."""
    h = 1 / (1 + tg.exp(-z))
    return -tg.log(h) if y == 1 else -tg.log(1 - h)


def stable(z: Tensor, y: int) -> Tensor:
    """log(1 + e^-|z|) + (|z| if the answer is wrong): nothing larger than |z| appears."""
    return F.binary_cross_entropy_with_logits(z, tg.full_like(z, float(y)))


def run(loss: Callable[[Tensor, int], Tensor], z: float, y: int, dtype: Any) -> tuple[Any, ...]:
    """The loss, its slope, and the complaints of NumPy on the way."""
    at = variable(z, dtype)
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        value = loss(at, y)
        value.backward()
    return value.item(), at.grad.item(), [str(complaint.message) for complaint in complaints]


def what_overflows(lesson: Lesson) -> None:
    """The book's formulas meet the largest double, about e⁷⁰⁹, and the largest single, e⁸⁸.

    z = -800: e⁸⁰⁰ = inf, h = 0, -log 0 = inf, and the slope is 0·inf = nan.
    z = +800: h = 1 exactly, and with y = 0, -log(1 - 1) = inf.

    The loss is log(1 + e^-|z|), plus |z| where the answer is wrong. It is the same formula with e
    to no power above 0, so that nothing overflows: 800 nats, slope -1 or 1.
    """
    lesson.section("6. What overflows, and what does not")
    for dtype, size in ((np.float64, 800.0), (np.float32, 100.0)):
        for z, y in ((-size, 1), (size, 0)):
            name = dtype.__name__
            text = f"{name}, z = {z:+.0f}, y = {y}: naive loss and slope; NumPy warns"
            loss, slope, complaints = run(naive, z, y, dtype)
            holds = math.isinf(loss) and not math.isfinite(slope) and len(complaints) > 0
            shown = f"{loss} nats, slope {slope}"
            lesson.claim(f"naive {name} {z:+.0f}", text.replace("-", "−"), loss, holds, shown)
            text = "    composed loss and slope; no warning"
            loss, slope, complaints = run(stable, z, y, dtype)
            holds = loss == size and slope == math.copysign(1, z) and not complaints
            shown = f"{loss:g} nats, slope {slope:g}"
            lesson.claim(f"stable {name} {z:+.0f}", text, loss, holds, shown)


# --- 7. overfitting ---------------------------------------------------------------------------

STEPS, PATIENCE = 200, 20


@dataclass(frozen=True)
class Curves:
    """Cross-entropies after each step, without smoothing, and where training was stopped."""

    training: Array
    validation: Array
    test: Array
    stop: int

    def at_the_end(self) -> tuple[float, float, float]:
        """Training, validation and test, with the weights that are kept."""
        return self.training[self.stop], self.validation[self.stop], self.test[self.stop]


def few_digits(seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """50 digits to learn from, 500 to decide by, 1,247 to be judged by and for nothing else."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = numbers(tg.randperm(len(x), generator=tg.Generator().manual_seed(seed)))
    parts = np.split(order, [50, 550])
    mean, spread = x[parts[0]].mean(), x[parts[0]].std()
    x = ((x - mean) / spread).astype(np.float32)
    names = ("training", "validation", "test")
    return {name: (tg.tensor(x[i]), tg.tensor(y[i])) for name, i in zip(names, parts)}


def train(
    data: dict[str, tuple[Tensor, Tensor]],
    seed: int,
    smoothing: float = 0.0,
    decay: float = 0.0,
    patience: int = STEPS,
) -> Curves:
    """Train a network of 64·64 + 64 + 64·10 + 10 = 4,810 parameters, and watch all three parts."""
    tg.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = optim.AdamW(model.parameters(), lr=0.03, weight_decay=decay)
    x, y = data["training"]
    curves: dict[str, list[float]] = {name: [] for name in data}
    best = 0
    for step in range(STEPS + 1):
        with tg.no_grad():
            for name, (inputs, answers) in data.items():
                curves[name].append(F.cross_entropy(model(inputs), answers).item())
        if curves["validation"][step] < curves["validation"][best]:
            best = step
        if step - best >= patience:
            break
        optimizer.zero_grad()
        F.cross_entropy(model(x), y, label_smoothing=smoothing).backward()
        optimizer.step()
    stop = best if patience < STEPS else STEPS
    return Curves(**{name: np.array(values) for name, values in curves.items()}, stop=stop)


def overfitting(lesson: Lesson) -> None:
    """A network that knows its 50 samples by heart is sure of itself, also where it is wrong.

    gap = validation cross-entropy - training cross-entropy

    label smoothing   targets (1 - ε)·onehot + ε/C: being surer than 1 - ε + ε/C costs
    weight decay      w -= lr·λ·w at each step: large logits want large weights
    early stopping    keep the weights from where the validation cross-entropy was smallest

    All cross-entropies here are without smoothing, so that like is compared with like. The
    validation samples have decided when to stop; test samples, which decided nothing, have the
    last word.
    """
    lesson.section("7. Overfitting: 50 digits to learn from, 4,810 parameters")
    data = few_digits(lesson.seed)
    plain = train(data, lesson.seed)
    remedies = {
        "label smoothing ε = 0.1": train(data, lesson.seed, smoothing=0.1),
        "weight decay λ = 1": train(data, lesson.seed, decay=1.0),
        "early stopping": train(data, lesson.seed, patience=PATIENCE),
    }
    known, unknown, tested = plain.at_the_end()
    gap = unknown - known
    text = f"training and validation after {STEPS} steps: a gap of {gap:.2f}"
    shown = f"{known:.3f} and {unknown:.3f} nats"
    lesson.claim("plain gap", text, gap, unknown > 10 * known, shown)
    best = plain.validation.argmin()
    lowest = plain.validation[best]
    text = f"    validation was better at step {best}"
    lesson.claim("rises", text, lowest, lowest < unknown, f"{lowest:.2f} nats")
    for name, curves in remedies.items():
        a, b, c = curves.at_the_end()
        key = name.partition(" ε")[0].partition(" λ")[0]
        where = f", at step {curves.stop}" if curves.stop < STEPS else ""
        text = f"{name}{where}: the gap narrows"
        lesson.claim(f"{key} gap", text, b - a, b - a < gap, f"{gap:.2f} → {b - a:.2f} nats")
        text, fall = "    test samples: cross-entropy falls", f"{tested:.2f} → {c:.2f} nats"
        lesson.claim(f"{key} test", text, c, c < tested, fall)
    lesson.save(figure_of_the_gap({"no remedy": plain, **remedies}), "2_overfitting.png")


def figure_of_the_gap(runs: dict[str, Curves]) -> Any:
    """Training and validation cross-entropy for each run, the gap between them shaded."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.8), layout="constrained")
    figure.suptitle("Overfitting: 50 digits to learn from, and three remedies", fontsize=15)
    top = 1.1 * max(curves.validation.max() for curves in runs.values())
    for axes, (name, curves) in zip(figure.subplots(1, len(runs), sharey=True), runs.items()):
        draw_gap(axes, curves)
        axes.set(title=name, xlabel="steps of AdamW", ylim=(0, top))
    figure.axes[0].set_ylabel("cross-entropy (nats)")
    lines, _ = figure.axes[0].get_legend_handles_labels()
    lines += figure.axes[-1].plot([], ":", color=QUIET, label="not kept")
    figure.legend(handles=lines, loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_gap(axes: Any, curves: Curves) -> None:
    """Both curves up to where the weights are kept from, fainter after that, and the gap."""
    a, b, _ = curves.at_the_end()
    steps, kept = np.arange(len(curves.training)), slice(1, curves.stop + 1)
    ours, theirs = curves.training, curves.validation
    axes.fill_between(steps[kept], ours[kept], theirs[kept], color=VALIDATION, alpha=0.1, lw=0)
    for values, colour, name in ((ours, TRAINING, "training"), (theirs, VALIDATION, "validation")):
        axes.plot(steps[kept], values[kept], color=colour, lw=2.2, label=name, clip_on=False)
        axes.plot(steps[curves.stop :], values[curves.stop :], ":", color=colour, lw=1.5)
    axes.plot([curves.stop] * 2, [a, b], "k_-", lw=1.2, ms=8, clip_on=False, zorder=4)
    early = curves.stop < STEPS
    axes.annotate(
        f"gap {b - a:.2f}" + (f"\nat step {curves.stop}" if early else ""),
        (curves.stop, (a + b) / 2), (6 if early else -8, 0), textcoords="offset points",
        ha="left" if early else "right", va="center",
    )  # fmt: skip
    axes.set(xscale="log", xlim=(1, STEPS), xticks=[1, 10, 100], xticklabels=["1", "10", "100"])
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)


# --- all of it --------------------------------------------------------------------------------


def teach(lesson: Lesson) -> dict[str, Claim]:
    """The whole lesson; the claims, by their keys."""
    sigmoid_and_its_price(lesson)
    likelihood_to_loss(lesson)
    binary_is_softmax_with_two(lesson)
    one_graph_more_layers(lesson)
    cross_entropy_or_squared_error(lesson)
    what_overflows(lesson)
    overfitting(lesson)
    return lesson.claims


class OneLineParser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Without the usage; --help shows it."""
        self.exit(2, f"{self.prog}: {message}\n")


def a_seed(text: str) -> int:
    """An integer from 0 to 2³² - 1."""
    if not (text.isascii() and text.isdigit() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"{text!r} is no integer from 0 to 4294967295")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """Read the options, teach; 0 if every claim holds, 1 if not."""
    parser = OneLineParser(
        prog="cross_entropy.py", description=str(__doc__).partition("\n")[0], allow_abbrev=False
    )
    folder, whose = "where the figures go", "of the weights, and of who learns from what"
    default = " (default: %(default)s)"
    parser.add_argument("--out", type=Path, default="out/cross_entropy", help=folder + default)
    parser.add_argument("--seed", type=a_seed, default=0, help=whose + default)
    options = parser.parse_args(argv)
    needed = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}
    missing = " and ".join(name for module, name in needed.items() if find_spec(module) is None)
    if missing:
        parser.error(f'this lesson needs {missing}: pip install "tinygrad_ce[examples]"')
    lesson = Lesson(options.out, options.seed)
    try:
        lesson.out.mkdir(parents=True, exist_ok=True)
        teach(lesson)
        kept = sum(claim.holds for claim in lesson.claims.values())
        count = f"{kept} of {len(lesson.claims)} claims hold"
        print(f"\n{count}; {len(lesson.figures)} figures: {lesson.out}", flush=True)
    except KeyboardInterrupt:
        written = ", ".join(str(path) for path in lesson.figures) or "nothing"
        print(f"\nstopped; written: {written}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever was reading has read enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        parser.error(f"cannot write to {error.filename or lesson.out}: {error.strerror}")
    return 0 if kept == len(lesson.claims) else 1


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.exit(main())
