"""What is computed: the data, the first weights, and the ratios to reach.

Everything is float32 and drawn from a fixed seed. Weights are `normal * sqrt(2 / fan_in)`, those of
a linear layer with shape (inputs, outputs); biases are 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Run:
    """A workload in one framework, at its first step."""

    step: Callable[[], float]
    """Forward, backward and update, once; returns the loss."""
    results: Callable[[], list[Array]]
    """The parameters now, weights as (inputs, outputs); where nothing is updated, the gradient."""


Build = Callable[[Any], Run]
"""Turns the data of a workload (`Perceptron`, ...) into a `Run` that owns copies of it."""


@dataclass(frozen=True)
class Perceptron:
    """Linear layers with ReLU between them, trained on batches in turn."""

    layers: list[tuple[Array, Array]]
    batches: list[tuple[Array, Array]]
    learning_rate: float
    momentum: float = 0.0

    @property
    def parameters(self) -> dict[str, Array]:
        """Weights and biases in their order, by name."""
        return {
            f"{i}.{name}": p
            for i, layer in enumerate(self.layers, 1)
            for name, p in zip(("weight", "bias"), layer)
        }


@dataclass(frozen=True)
class SoftmaxRegression:
    """One matrix W without bias; the targets one-hot, and the same as class ids."""

    W: Array
    X: Array
    onehot: Array
    ids: Array
    learning_rate: float

    @property
    def parameters(self) -> dict[str, Array]:
        return {"W": self.W}

    @property
    def batches(self) -> list[tuple[Array, Array, Array]]:
        """Rows, one-hot targets, class ids: one full batch."""
        return [(self.X, self.onehot, self.ids)]


@dataclass(frozen=True)
class Logits:
    """Logits z and their targets y, 0 or 1."""

    z: Array
    y: Array


@dataclass(frozen=True)
class Chain:
    """Operations `x * a` and `x + b` in turn, from one element x."""

    x: Array
    a: float
    b: float
    operations: int


@dataclass(frozen=True)
class ConvNet:
    """Two convolutions, each with ReLU and max pooling by 2 behind it, then one linear layer."""

    parameters: dict[str, Array]
    """By the names that `lenet` gives them; kernels are (outputs, inputs, height, width)."""
    batches: list[tuple[Array, Array]]
    """Images (N, C, H, W) and class ids (N,)."""
    learning_rate: float


@dataclass(frozen=True)
class Transformer:
    """One causal block between an embedding and a linear layer to the vocabulary."""

    parameters: dict[str, Array]
    """By the names that `transformer` gives them."""
    batches: list[tuple[Array, Array]]
    """Ids (B, T), and the ids that follow them (B, T)."""
    learning_rate: float


HEADS = 4
"""Of the transformer's attention; its width divides by them."""


def flipped(name: str, p: Array) -> Array:
    """The weight of a linear layer as (outputs, inputs), or back; any other parameter as it is."""
    return p.T if p.ndim == 2 and name.endswith(".weight") else p


def _layers(rng: np.random.Generator, *widths: int) -> list[tuple[Array, Array]]:
    return [
        (_weights(rng, inputs, outputs), np.zeros(outputs, np.float32))
        for inputs, outputs in pairwise(widths)
    ]


def _weights(rng: np.random.Generator, inputs: int, outputs: int) -> Array:
    return (rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)).astype(np.float32)


def two_moons(points: int = 100) -> Perceptron:
    """Two interleaved half circles with a little noise, told apart by an MLP 2-16-16-1.

    ReLU, binary cross-entropy from logits (mean), full batch, SGD with rate 0.1.
    """
    rng = np.random.default_rng(1)
    y = np.arange(points) % 2
    angle = rng.uniform(0, np.pi, points)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], 1)
    X = np.where(y[:, None] == 0, upper, lower) + rng.normal(0, 0.1, (points, 2))
    batch = X.astype(np.float32), y[:, None].astype(np.float32)
    return Perceptron(_layers(rng, 2, 16, 16, 1), [batch], learning_rate=0.1)


def digits(batches: int = 56, size: int = 32) -> Perceptron:
    """Ten noisy 8x8 patterns of pixels 0 to 16, divided by 16, told apart by an MLP 64-32-10.

    ReLU, softmax cross-entropy from class ids (mean), batches of 32 in turn, SGD with rate 0.05
    and momentum 0.9.
    """
    rng = np.random.default_rng(2)
    patterns = rng.integers(0, 17, (10, 64))
    ids = rng.integers(0, 10, (batches, size))
    noisy = np.rint(patterns[ids] + rng.normal(0, 2, (batches, size, 64)))
    images = (np.clip(noisy, 0, 16) / 16).astype(np.float32)
    return Perceptron(
        _layers(rng, 64, 32, 10), list(zip(images, ids)), learning_rate=0.05, momentum=0.9
    )


def images(batches: int = 8, size: int = 128) -> Perceptron:
    """Random images of 784 pixels in [0, 1) with random classes, for an MLP 784-256-128-10.

    ReLU, softmax cross-entropy from class ids (mean), batches of 128 in turn, Adam with rate 0.001.
    """
    rng = np.random.default_rng(3)
    pixels = rng.random((batches, size, 784), np.float32)
    ids = rng.integers(0, 10, (batches, size))
    return Perceptron(_layers(rng, 784, 256, 128, 10), list(zip(pixels, ids)), learning_rate=1e-3)


def softmax_regression(rows: int = 4096, columns: int = 784) -> SoftmaxRegression:
    """Normal random rows with random classes out of 10, and one matrix without bias.

    Logits `X @ W`, cross-entropy composed from one-hot targets (mean), full batch, SGD with rate
    0.1.
    """
    rng = np.random.default_rng(4)
    ids = rng.integers(0, 10, rows)
    return SoftmaxRegression(
        W=_weights(rng, columns, 10),
        X=rng.standard_normal((rows, columns), np.float32),
        onehot=np.eye(10, dtype=np.float32)[ids],
        ids=ids,
        learning_rate=0.1,
    )


def logits(size: int = 4_000_000) -> Logits:
    """Normal random logits, targets by the toss of a coin.

    The mean of max(z, 0) - z·y + log1p(exp(-|z|)) and its gradient to z; nothing is updated.
    """
    rng = np.random.default_rng(5)
    return Logits(
        z=rng.standard_normal(size, np.float32), y=rng.integers(0, 2, size).astype(np.float32)
    )


def chain(operations: int = 2000, shape: tuple[int, ...] = ()) -> Chain:
    """One element x, on which `x * a` and `x + b` follow each other, and the gradient to it.

    It is a scalar, or an array of one element.

    Factor and summand are Python floats that keep x near 1 and its gradient away from 0; nothing
    is updated.
    """
    return Chain(x=np.full(shape, 0.5, np.float32), a=0.999, b=0.001, operations=operations)


def lenet(batches: int = 8, size: int = 64) -> ConvNet:
    """Random images of one channel, 28 × 28 in [0, 1), with random classes, for a small LeNet.

    Convolution to 8 channels by 3 × 3, ReLU, max pooling by 2, the same to 16 channels, a linear
    layer from 16 × 5 × 5 to 10, softmax cross-entropy (mean), batches of 64 in turn, SGD with rate
    0.05. Nothing is padded, so that pooling drops the last row and column of 11 × 11.
    """
    rng = np.random.default_rng(7)
    parameters = {}
    for i, (inputs, outputs) in enumerate(pairwise((1, 8, 16)), 1):
        kernel = _weights(rng, inputs * 9, outputs).T.reshape(outputs, inputs, 3, 3)
        parameters[f"conv{i}.weight"] = np.ascontiguousarray(kernel)
        parameters[f"conv{i}.bias"] = np.zeros(outputs, np.float32)
    parameters["out.weight"] = _weights(rng, 16 * 5 * 5, 10)
    parameters["out.bias"] = np.zeros(10, np.float32)
    pixels = rng.random((batches, size, 1, 28, 28), np.float32)
    ids = rng.integers(0, 10, (batches, size))
    return ConvNet(parameters, list(zip(pixels, ids)), learning_rate=0.05)


def transformer(
    batches: int = 8, size: int = 8, length: int = 32, width: int = 64, vocabulary: int = 65
) -> Transformer:
    """Random ids, each to be followed by the next, for one block of a causal transformer.

    The rows of two tables, for ids and for positions, are added; then come layer norm, attention
    of 4 heads to what came before, its projection and the residual, layer norm, a feed-forward
    network 4 times as wide with ReLU and the residual, a linear layer to the vocabulary, softmax
    cross-entropy (mean over all positions), 8 sequences of 32 in turn, SGD with rate 0.1.
    """
    rng = np.random.default_rng(8)
    layers = {
        "qkv": (width, 3 * width),
        "projection": (width, width),
        "up": (width, 4 * width),
        "down": (4 * width, width),
        "out": (width, vocabulary),
    }
    parameters = {
        "tokens": _weights(rng, vocabulary, width),
        "positions": _weights(rng, length, width),
    }
    for norm in "norm1", "norm2":
        parameters[f"{norm}.scale"] = np.ones(width, np.float32)
        parameters[f"{norm}.shift"] = np.zeros(width, np.float32)
    for name, (inputs, outputs) in layers.items():
        parameters[f"{name}.weight"] = _weights(rng, inputs, outputs)
        parameters[f"{name}.bias"] = np.zeros(outputs, np.float32)
    ids = rng.integers(0, vocabulary, (batches, size, length + 1))
    return Transformer(
        parameters,
        batches=[(text[:, :-1].copy(), text[:, 1:].copy()) for text in ids],
        learning_rate=0.1,
    )


@dataclass(frozen=True)
class Goal:
    """`candidate` may take `at_most` times as long as `against`, and had better take `wish`."""

    candidate: str
    against: str
    at_most: float
    wish: float | None = None


def eager(against: str, at_most: float) -> Goal:
    return Goal("tinygrad_ce", against, at_most)


def compiled(against: str, at_most: float, wish: float) -> Goal:
    return Goal("compiled", against, at_most, wish)


@dataclass(frozen=True)
class Workload:
    """A name, what is done in words, the data, and how fast we want to be."""

    name: str
    title: str
    data: Callable[[], Any]
    small: Callable[[], Any]
    """The same with little data, for tests of agreement."""
    goals: tuple[Goal, ...]
    fused: str = ""
    """What is different in the candidate "torch fused", if there is one."""


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "W1",
            "two moons, MLP 2-16-16-1, 100 points, SGD",
            two_moons,
            two_moons,
            (eager("torch", 0.40), compiled("numpy", 0.50, 0.28)),
        ),
        Workload(
            "W2",
            "digits, MLP 64-32-10, batch 32, momentum",
            digits,
            digits,
            (eager("torch", 0.50), compiled("numpy", 0.65, 0.40)),
        ),
        Workload(
            "W3",
            "images, MLP 784-256-128-10, batch 128, Adam",
            images,
            images,
            (eager("torch", 0.80), compiled("numpy", 0.70, 0.50)),
        ),
        Workload(
            "W4",
            "softmax regression, 4096 × 784",
            softmax_regression,
            lambda: softmax_regression(64, 20),
            (eager("numpy", 1.05), compiled("numpy", 0.95, 0.90)),
            fused="torch's linear and fused loss",
        ),
        Workload(
            "W5",
            "binary cross-entropy, 4,000,000 logits",
            logits,
            lambda: logits(1000),
            (eager("torch", 1.0), compiled("numpy", 0.70, 0.55)),
            fused="torch's fused loss",
        ),
        # No goals: nobody trains such a chain. It shows what one operation costs.
        Workload(
            "W6",
            "chain on a scalar, 2,000 operations",
            chain,
            lambda: chain(200),
            (),
        ),
        Workload(
            "W6a",
            "chain on an array, the same on one element",
            lambda: chain(shape=(1,)),
            lambda: chain(200, (1,)),
            (),
        ),
        Workload(
            "W7",
            "LeNet, 28 × 28 images, batch 64, SGD",
            lenet,
            lambda: lenet(2, 4),
            (eager("torch", 1.3), compiled("torch", 1.2, 1.0)),
        ),
        Workload(
            "W8",
            "transformer block, 8 × 32 tokens, width 64",
            transformer,
            lambda: transformer(2, 2, 8, 16, 11),
            (eager("torch", 1.0), compiled("torch", 0.85, 0.75)),
        ),
    )
}
