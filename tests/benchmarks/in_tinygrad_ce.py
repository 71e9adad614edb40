"""The workloads in tinygrad_ce, eager, through the public names a user would write."""

from itertools import cycle

import numpy as np

import tinygrad_ce as tg
from tests.benchmarks.workloads import (
    Array,
    Build,
    Chain,
    Logits,
    Perceptron,
    Run,
    SoftmaxRegression,
)
from tinygrad_ce.nn import functional as F


def parameters_of(data: Perceptron) -> list[tg.Tensor]:
    """W1, b1, W2, b2, ... as leaves, weights as (outputs, inputs)."""
    return [
        tg.tensor(np.ascontiguousarray(p.T), requires_grad=True)
        for layer in data.layers
        for p in layer
    ]


def results_of(parameters: list[tg.Tensor]) -> list[Array]:
    return [p.detach().numpy().T for p in parameters]


def gradient_of(x: tg.Tensor) -> Array:
    if x.grad is None:
        raise ValueError("no gradient yet: call step() first")
    return x.grad.numpy()


def batches_of(data: Perceptron) -> list[tuple[tg.Tensor, tg.Tensor]]:
    return [(tg.tensor(X), tg.tensor(targets)) for X, targets in data.batches]


def two_moons(data: Perceptron) -> Run:
    parameters = W1, b1, W2, b2, W3, b3 = parameters_of(data)
    ((X, y),) = batches_of(data)
    optimiser = tg.optim.SGD(parameters, lr=data.learning_rate)

    def step() -> float:
        h = F.relu(F.linear(X, W1, b1))
        h = F.relu(F.linear(h, W2, b2))
        loss = F.binary_cross_entropy_with_logits(F.linear(h, W3, b3), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return Run(step, lambda: results_of(parameters))


def digits(data: Perceptron) -> Run:
    parameters = W1, b1, W2, b2 = parameters_of(data)
    batches = cycle(batches_of(data))
    optimiser = tg.optim.SGD(parameters, lr=data.learning_rate, momentum=data.momentum)

    def step() -> float:
        X, ids = next(batches)
        h = F.relu(F.linear(X, W1, b1))
        loss = F.cross_entropy(F.linear(h, W2, b2), ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return Run(step, lambda: results_of(parameters))


def images(data: Perceptron) -> Run:
    parameters = W1, b1, W2, b2, W3, b3 = parameters_of(data)
    batches = cycle(batches_of(data))
    optimiser = tg.optim.Adam(parameters, lr=data.learning_rate)

    def step() -> float:
        X, ids = next(batches)
        h = F.relu(F.linear(X, W1, b1))
        h = F.relu(F.linear(h, W2, b2))
        loss = F.cross_entropy(F.linear(h, W3, b3), ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return Run(step, lambda: results_of(parameters))


def softmax_regression(data: SoftmaxRegression) -> Run:
    W = tg.tensor(data.W, requires_grad=True)
    X, onehot = tg.tensor(data.X), tg.tensor(data.onehot)
    optimiser = tg.optim.SGD([W], lr=data.learning_rate)
    scale = -1 / len(data.X)

    def step() -> float:
        z = X @ W
        z = z - z.detach().amax(1, keepdim=True)
        log_p = z - z.exp().sum(1, keepdim=True).log()
        loss = (onehot * log_p).sum() * scale
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return Run(step, lambda: [W.detach().numpy()])


def logits(data: Logits) -> Run:
    z, y = tg.tensor(data.z, requires_grad=True), tg.tensor(data.y)

    def step() -> float:
        loss = F.binary_cross_entropy_with_logits(z, y)
        z.grad = None
        loss.backward()
        return loss.item()

    return Run(step, lambda: [gradient_of(z)])


def chain(data: Chain) -> Run:
    a, b, rounds = data.a, data.b, data.operations // 2
    x = tg.tensor(data.x, requires_grad=True)

    def step() -> float:
        y = x
        for _ in range(rounds):
            y = y * a
            y = y + b
        x.grad = None
        y.backward()
        return y.item()

    return Run(step, lambda: [gradient_of(x)])


RUNS: dict[str, dict[str, Build]] = {
    "W1": {"tinygrad_ce": two_moons},
    "W2": {"tinygrad_ce": digits},
    "W3": {"tinygrad_ce": images},
    "W4": {"tinygrad_ce": softmax_regression},
    "W5": {"tinygrad_ce": logits},
    "W6": {"tinygrad_ce": chain},
    "W6a": {"tinygrad_ce": chain},
}
