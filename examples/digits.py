"""Handwritten digits: check the gradients of a network by hand, train it, look at its mistakes.

    python examples/digits.py

1,797 real images of 8×8 pixels, which scikit-learn ships. Before anything is trained, backward()
is compared with the formulas that one derives on paper, and both with central differences. Then
softmax regression and a two-layer network learn the digits, and the curves, the mistakes, the
computation graph and the weights are written into a folder.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import nn, optim, teach
from tinygrad_ce.nn import functional as F
from tinygrad_ce.utils.data import DataLoader, TensorDataset

SPLIT_SEED = 0  # the split is the same whatever --seed is, so that runs can be compared
TEST_SHARE = 0.2
BATCH = 32
CHECKED = 400  # at most so many elements of a parameter are checked by differences


class SoftmaxRegression(nn.Module):
    """logits = x Wᵀ + b: logistic regression with ten classes."""

    def __init__(self) -> None:
        self.fc = nn.Linear(64, 10)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        """(N, 64) -> (N, 10)."""
        return self.fc(x)


class TwoLayerNetwork(nn.Module):
    """logits = relu(x W₁ᵀ + b₁) W₂ᵀ + b₂."""

    def __init__(self, hidden: int) -> None:
        self.fc1 = nn.Linear(64, hidden)
        self.fc2 = nn.Linear(hidden, 10)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        """(N, 64) -> (N, 10)."""
        return self.fc2(F.relu(self.fc1(x)))


# --- data -----------------------------------------------------------------------------------


def load_digits() -> tuple[tg.Tensor, tg.Tensor, tg.Tensor, tg.Tensor]:
    """Training images (n, 64) and digits (n,), test images and digits; pixels from 0 to 1."""
    from sklearn.datasets import load_digits as load

    images, digits = load(return_X_y=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    images, digits = (images[order] / 16).astype(np.float32), digits[order].astype(np.int64)
    n = round(len(images) * TEST_SHARE)
    return tuple(map(tg.tensor, (images[n:], digits[n:], images[:n], digits[:n])))  # type: ignore[return-value]


# --- gradients, by hand ---------------------------------------------------------------------


def gradients_by_hand(
    W1: np.ndarray, b1: np.ndarray, W2: np.ndarray, b2: np.ndarray, X: np.ndarray, y: np.ndarray
) -> dict[str, np.ndarray]:
    """The backward pass of the two-layer network as one derives it on paper.

    With logits Z = A W₂ᵀ + b₂, A = relu(H), H = X W₁ᵀ + b₁ and L = -1/N Σ log softmax(Z)[y]:
    ∂L/∂Z = (P - Y)/N, and the chain rule does the rest.
    """
    H = X @ W1.T + b1
    A = np.where(H > 0, H, 0)
    Z = A @ W2.T + b2
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    P = E / E.sum(axis=1, keepdims=True)
    Y = np.eye(10)[y]
    dZ = (P - Y) / len(y)
    dH = (dZ @ W2) * (H > 0)
    return {
        "fc1.weight": dH.T @ X,
        "fc1.bias": dH.sum(axis=0),
        "fc2.weight": dZ.T @ A,
        "fc2.bias": dZ.sum(axis=0),
    }


FORMULAS = {
    "fc1.weight": "dHᵀ X",
    "fc1.bias": "Σ rows dH",
    "fc2.weight": "dZᵀ A",
    "fc2.bias": "Σ rows dZ",
}


def difference(ours: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Largest absolute difference, and that relative to the largest element."""
    worst = float(np.abs(ours - other).max())
    return worst, worst / max(float(np.abs(other).max()), 1e-300)


def check_gradients(model: TwoLayerNetwork, X: tg.Tensor, y: tg.Tensor) -> list[list[str]]:
    """Compare backward, formula and difference for every parameter, in float64: rows of a table.

    The last column is ✓ if both relative differences are small enough (1e-12 and 1e-6), else ✗.
    """
    model = copy.deepcopy(model).double()
    X = X.double()

    def loss() -> tg.Tensor:
        return F.cross_entropy(model(X), y)

    loss().backward()
    parameters = dict(model.named_parameters())
    arrays = [p.detach().numpy() for p in parameters.values()]
    by_hand = gradients_by_hand(*arrays, X.numpy(), y.numpy())
    rows = []
    stream = np.random.default_rng(SPLIT_SEED)
    for name, p in parameters.items():
        assert_has_gradient(name, p)
        backward = p.grad.numpy()  # type: ignore[union-attr]
        hand = difference(backward, by_hand[name])
        chosen = stream.permutation(p.numel())[:CHECKED]
        at = [tuple(map(int, np.unravel_index(i, p.shape))) for i in chosen]
        slopes = tg.autograd.numerical_grad(loss, p, indices=at)
        steps = difference(backward[tuple(np.transpose(at))], slopes)
        good = hand[1] <= 1e-12 and steps[1] <= 1e-6
        rows.append([name, FORMULAS[name], *(f"{d:.1e}" for d in (*hand, *steps)),
                     "✓" if good else "✗"])  # fmt: skip
    return rows


def what_is_wrong(model: TwoLayerNetwork, X: tg.Tensor, y: tg.Tensor, names: list[str]) -> str:
    """Which factor of the formulas is wrong, a line for each of these gradients."""
    model = copy.deepcopy(model).double()
    parameters = [p.detach().numpy() for p in model.parameters()]
    by_hand = gradients_by_hand(*parameters, X.double().numpy(), y.numpy())

    def step(X: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        return F.cross_entropy(model(X), y)

    report = teach.check(step, (X.double(), y), by_hand)
    return "\n".join(f"{name}: {report[name].text}" for name in names)


def assert_has_gradient(name: str, p: tg.Tensor) -> None:
    """Every parameter must have been reached."""
    if p.grad is None:
        raise SystemExit(f"digits: backward() left no gradient at {name}")


def show_check(rows: list[list[str]], screen: Any) -> None:
    """The table of the check."""
    from rich.table import Table

    table = Table(
        title="backward() against the formula, and against central differences",
        caption="dZ = (P − Y)/N,  dH = dZ W₂ ⊙ [H > 0],  A = relu(H);  in float64",
    )
    table.add_column("parameter")
    table.add_column("formula")
    for head in ("formula\nabs", "\nrel", "difference\nabs", "\nrel"):
        table.add_column(head, justify="right")
    table.add_column("")
    for row in rows:
        mark = "[green]✓[/]" if row[-1] == "✓" else "[red]✗[/]"
        table.add_row(*row[:-1], mark)
    screen.print(table)


# --- training -------------------------------------------------------------------------------


@tg.no_grad()
def evaluate(model: nn.Module, X: tg.Tensor, y: tg.Tensor) -> tuple[float, float]:
    """Cross-entropy (in nats) and accuracy."""
    logits = model(X)
    return F.cross_entropy(logits, y).item(), (logits.argmax(1) == y).float().mean().item()


def train(
    model: nn.Module,
    data: tuple[tg.Tensor, ...],
    epochs: int,
    lr: float,
    report: Callable[..., None],
) -> dict[str, list[float]]:
    """Adam on mini-batches, the learning rate falling along half a cosine: the curves."""
    X, y, X_test, y_test = data
    optimizer = optim.Adam(model.parameters(), lr=lr)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    loader = DataLoader(TensorDataset(X, y), batch_size=BATCH, shuffle=True)
    curves: dict[str, list[float]] = {
        name: [] for name in ("loss", "accuracy", "test_loss", "test_accuracy")
    }
    for epoch in range(1, epochs + 1):
        for images, digits in loader:
            loss = F.cross_entropy(model(images), digits)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        numbers = (*evaluate(model, X, y), *evaluate(model, X_test, y_test))
        if not all(map(math.isfinite, numbers)):
            raise SystemExit(f"digits: the loss is {numbers[0]} after epoch {epoch}; "
                             f"try a smaller --lr than {lr:g}")  # fmt: skip
        for curve, number in zip(curves.values(), numbers):
            curve.append(number)
        report(epoch, *numbers)
    return curves


@contextmanager
def progress(name: str, epochs: int, screen: Any) -> Iterator[Callable[..., None]]:
    """A bar with loss and accuracy on a terminal, a line now and then elsewhere."""
    text = "loss {:.4f}  accuracy {:6.2%}  │  test loss {:.4f}  accuracy {:6.2%}"
    if not screen.is_terminal:
        every = max(1, epochs // 5)

        def plain(epoch: int, *numbers: float) -> None:
            if epoch % every == 0 or epoch == epochs:
                print(f"{name}: epoch {epoch}/{epochs}  {text.format(*numbers)}", flush=True)

        yield plain
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
               TextColumn("{task.fields[numbers]}"), TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=screen) as bar:
        task = bar.add_task(f"{name:<18}", total=epochs, numbers="")

        def show(epoch: int, *numbers: float) -> None:
            bar.update(task, completed=epoch, numbers=text.format(*numbers))

        yield show


# --- pictures -------------------------------------------------------------------------------

INK, SOFT, FIRST, SECOND = "#1e293b", "#94a3b8", "#2563eb", "#dc2626"


def plot_curves(histories: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Loss and accuracy against the epoch, both models, training and test."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, curves), colour in zip(histories.items(), (FIRST, SECOND)):
        epochs = range(1, len(curves["loss"]) + 1)
        for axes, curve in ((left, "loss"), (right, "accuracy")):
            axes.plot(
                epochs,
                curves[curve],
                color=colour,
                lw=1.2,
                ls="--",
                alpha=0.7,
                label=f"{name}, training",
            )
            axes.plot(epochs, curves[f"test_{curve}"], color=colour, lw=2, label=f"{name}, test")
    left.set(title="Cross-entropy", xlabel="epoch", ylabel="nats", yscale="log")
    right.set(title="Accuracy", xlabel="epoch", ylim=(0.88, 1.002))
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=SOFT, alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def plot_mistakes(model: nn.Module, X: tg.Tensor, y: tg.Tensor, path: Path) -> int:
    """Misclassified test digits, the most confident first, with all ten probabilities."""
    from matplotlib.figure import Figure

    with tg.no_grad():
        p = F.softmax(model(X), 1).numpy()
    guess, truth = p.argmax(1), y.numpy()
    wrong = np.flatnonzero(guess != truth)
    wrong = wrong[np.argsort(-p[wrong, guess[wrong]])]
    shown = wrong[:8]
    rows = max(1, -(-len(shown) // 4))
    figure = Figure(figsize=(10, 0.8 + 1.9 * rows), layout="constrained")
    title = f"{len(wrong)} of {len(truth)} test digits are misread"
    if len(wrong) > len(shown):
        title += f"; here the {len(shown)} that the network is most sure of"
    figure.suptitle(
        title + "\nprobabilities: red what it reads, blue what it is", color=INK, fontsize=11
    )
    grid = figure.add_gridspec(rows, 8, width_ratios=[1, 1.15] * 4)
    for k, i in enumerate(shown):
        picture = figure.add_subplot(grid[k // 4, k % 4 * 2])
        picture.imshow(X[int(i)].numpy().reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        picture.set(xticks=[], yticks=[])
        picture.set_title(f"{truth[i]}, read as {guess[i]}", fontsize=9, color=INK)
        bars = figure.add_subplot(grid[k // 4, k % 4 * 2 + 1])
        plot_probabilities(bars, p[i], int(guess[i]), int(truth[i]))
    figure.savefig(path, dpi=130)
    return len(wrong)


def plot_probabilities(bars: Any, p: np.ndarray, guess: int, truth: int) -> None:
    """Ten bars, the guess and the truth coloured and numbered."""
    colours = [SECOND if c == guess else FIRST if c == truth else SOFT for c in range(10)]
    bars.barh(range(10), p, color=colours)
    bars.set(xlim=(0, 1), yticks=range(10), xticks=[], ylim=(9.6, -0.6))
    bars.tick_params(labelsize=7, length=0)
    bars.spines[["top", "right", "bottom"]].set_visible(False)
    for c in (guess, truth):
        inside = p[c] > 0.6
        bars.text(p[c] + (-0.03 if inside else 0.03), c, f"{p[c]:.2f}", va="center", fontsize=7,
                  ha="right" if inside else "left", color="white" if inside else INK)  # fmt: skip


# --- the run --------------------------------------------------------------------------------


def run(options: argparse.Namespace, written: list[Path], screen: Any) -> None:
    """Everything, in order; `written` grows with each file."""
    out: Path = options.out
    tg.manual_seed(options.seed)
    data = load_digits()
    X, y, X_test, y_test = data
    print(f"{len(X):,} training and {len(X_test)} test images of 8×8 pixels")

    regression, network = SoftmaxRegression(), TwoLayerNetwork(options.hidden)
    rows = check_gradients(network, X[:BATCH], y[:BATCH])
    show_check(rows, screen)
    wrong = [row[0] for row in rows if row[-1] != "✓"]
    if wrong:
        why = what_is_wrong(network, X[:BATCH], y[:BATCH], wrong)
        raise SystemExit(
            f"digits: the gradient of {', '.join(wrong)} is wrong; nothing was trained\n{why}"
        )

    histories = {}
    for name, model in (("softmax regression", regression), ("two-layer network", network)):
        with progress(name, options.epochs, screen) as report:
            histories[name] = train(model, data, options.epochs, options.lr, report)

    def wrote(path: Path, what: str) -> None:
        written.append(path)
        print(f"{what:<24} {path}")

    plot_curves(histories, out / "curves.png")
    wrote(out / "curves.png", "loss and accuracy")
    plot_mistakes(network, X_test, y_test, out / "mistakes.png")
    wrote(out / "mistakes.png", "misread digits")
    images, digits = X[:8], y[:8]
    with tg.source_lines():
        loss = F.cross_entropy(network(images), digits)
    drawing = tg.draw(loss, names={"images": images, "digits": digits, "network": network})
    for suffix, what in ((".dot", "computation graph, DOT"), (".svg", "computation graph")):
        wrote(drawing.save(out / f"graph{suffix}"), what)
    wrote(drawing.save(out / "graph.html"), "the graph, step by step")
    tg.save(network.state_dict(), out / "weights.safetensors")
    wrote(out / "weights.safetensors", "weights")
    accuracy = histories["two-layer network"]["test_accuracy"][-1]
    print(f"test accuracy of the network: {accuracy:.2%}")


class Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        """Stop, for main() to print."""
        raise SystemExit2(f"digits: {message}")


class SystemExit2(Exception):  # noqa: N818
    """A wrong value on the command line."""


def checked(kind: Callable[[str], Any], good: Callable[[Any], bool], wanted: str) -> Any:
    """A type for argparse that says what it wants."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not good(value):
            raise argparse.ArgumentTypeError(f"got {text!r}; wanted {wanted}")
        return value

    return read


COUNT = checked(int, lambda n: n >= 1, "a whole number of at least 1")
RATE = checked(float, lambda x: 0 < x < math.inf, "a number above 0")
SEED = checked(int, lambda n: 0 <= n < 2**63, "a whole number from 0 to 2⁶³ − 1")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options, and the output folder made."""
    parser = Parser(
        prog="digits", description="Train on handwritten digits, gradients checked first."
    )
    parser.add_argument("--epochs", type=COUNT, default=30, help="passes over the training images")
    parser.add_argument("--lr", type=RATE, default=0.005, help="learning rate of Adam")
    parser.add_argument("--hidden", type=COUNT, default=64, help="size of the hidden layer")
    parser.add_argument("--seed", type=SEED, default=0, help="seed of weights and batches")
    parser.add_argument(
        "--out", type=Path, default=Path("out/digits"), help="folder for what is written"
    )
    options = parser.parse_args(argv)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: {error.strerror}: {options.out}")
    return options


def main(argv: list[str] | None = None) -> int:
    """Run, and turn what can go wrong into one line."""
    try:
        options = parse(argv)
    except SystemExit2 as error:
        print(error, file=sys.stderr)
        return 2
    try:
        import matplotlib  # noqa: F401
        import sklearn  # noqa: F401
        from rich.console import Console
    except ImportError as error:
        print(
            f'digits: {error.name} is missing; pip install "tinygrad_ce[examples]"', file=sys.stderr
        )
        return 1
    written: list[Path] = []
    try:
        run(options, written, Console())
    except KeyboardInterrupt:
        files = ", ".join(map(str, written)) if written else "nothing"
        print(f"\ndigits: interrupted; written so far: {files}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"digits: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    except SystemExit as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
