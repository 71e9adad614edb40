"""The workloads by hand: a straightforward backward pass, as one writes it down.

Results are allocated freely, both cross-entropies have the closed gradient (p - y) / N, and
parameters and optimiser state are updated in place.
"""

from itertools import cycle

import numpy as np

from tests.benchmarks.workloads import (
    Array,
    Build,
    Chain,
    Logits,
    Perceptron,
    Run,
    SoftmaxRegression,
)


def binary_cross_entropy(z: Array, y: Array) -> tuple[float, Array]:
    """The mean loss of logits z, and its gradient."""
    loss = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
    p = 1 / (1 + np.exp(-z))
    return float(loss.mean()), (p - y) / z.size


def cross_entropy(z: Array, ids: Array) -> tuple[float, Array]:
    """The mean loss of logits z (N, C) for class ids (N,), and its gradient."""
    N = len(z)
    rows = np.arange(N)
    e = np.exp(z - z.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    loss = -np.log(p[rows, ids]).mean()
    p[rows, ids] -= 1
    return float(loss), p / N


def two_moons(data: Perceptron) -> Run:
    (W1, b1), (W2, b2), (W3, b3) = [(W.copy(), b.copy()) for W, b in data.layers]
    parameters = [W1, b1, W2, b2, W3, b3]
    ((X, y),) = data.batches
    lr = data.learning_rate

    def step() -> float:
        h1 = np.maximum(X @ W1 + b1, 0)
        h2 = np.maximum(h1 @ W2 + b2, 0)
        loss, dz = binary_cross_entropy(h2 @ W3 + b3, y)
        dh2 = (dz @ W3.T) * (h2 > 0)
        dh1 = (dh2 @ W2.T) * (h1 > 0)
        gradients = [X.T @ dh1, dh1.sum(0), h1.T @ dh2, dh2.sum(0), h2.T @ dz, dz.sum(0)]
        for p, g in zip(parameters, gradients):
            p -= lr * g
        return loss

    return Run(step, lambda: parameters)


def digits(data: Perceptron) -> Run:
    (W1, b1), (W2, b2) = [(W.copy(), b.copy()) for W, b in data.layers]
    parameters = [W1, b1, W2, b2]
    velocities = [np.zeros_like(p) for p in parameters]
    batches = cycle(data.batches)
    lr, momentum = data.learning_rate, data.momentum

    def step() -> float:
        X, ids = next(batches)
        h = np.maximum(X @ W1 + b1, 0)
        loss, dz = cross_entropy(h @ W2 + b2, ids)
        dh = (dz @ W2.T) * (h > 0)
        gradients = [X.T @ dh, dh.sum(0), h.T @ dz, dz.sum(0)]
        for p, v, g in zip(parameters, velocities, gradients):
            v *= momentum
            v += g
            p -= lr * v
        return loss

    return Run(step, lambda: parameters)


def images(data: Perceptron) -> Run:
    (W1, b1), (W2, b2), (W3, b3) = [(W.copy(), b.copy()) for W, b in data.layers]
    parameters = [W1, b1, W2, b2, W3, b3]
    means = [np.zeros_like(p) for p in parameters]
    squares = [np.zeros_like(p) for p in parameters]
    batches = cycle(data.batches)
    lr, beta1, beta2, eps = data.learning_rate, 0.9, 0.999, 1e-8
    steps = 0

    def step() -> float:
        nonlocal steps
        steps += 1
        X, ids = next(batches)
        h1 = np.maximum(X @ W1 + b1, 0)
        h2 = np.maximum(h1 @ W2 + b2, 0)
        loss, dz = cross_entropy(h2 @ W3 + b3, ids)
        dh2 = (dz @ W3.T) * (h2 > 0)
        dh1 = (dh2 @ W2.T) * (h1 > 0)
        gradients = [X.T @ dh1, dh1.sum(0), h1.T @ dh2, dh2.sum(0), h2.T @ dz, dz.sum(0)]
        for p, m, v, g in zip(parameters, means, squares, gradients):
            m *= beta1
            m += (1 - beta1) * g
            v *= beta2
            v += (1 - beta2) * g * g
            m_hat = m / (1 - beta1**steps)
            v_hat = v / (1 - beta2**steps)
            p -= lr * m_hat / (np.sqrt(v_hat) + eps)
        return loss

    return Run(step, lambda: parameters)


def softmax_regression(data: SoftmaxRegression) -> Run:
    W = data.W.copy()
    X, onehot = data.X, data.onehot
    N, lr = len(X), data.learning_rate

    def step() -> float:
        nonlocal W
        z = X @ W
        z = z - z.max(1, keepdims=True)
        e = np.exp(z)
        total = e.sum(1, keepdims=True)
        loss = -(onehot * (z - np.log(total))).sum() / N
        dz = (e / total - onehot) / N
        W -= lr * (X.T @ dz)
        return float(loss)

    return Run(step, lambda: [W])


def logits(data: Logits) -> Run:
    z, y = data.z, data.y
    gradient = np.zeros_like(z)

    def step() -> float:
        nonlocal gradient
        loss, gradient = binary_cross_entropy(z, y)
        return loss

    return Run(step, lambda: [gradient])


def chain(data: Chain) -> Run:
    a, b, rounds = data.a, data.b, data.operations // 2
    gradient = np.zeros_like(data.x)

    def step() -> float:
        nonlocal gradient
        x = data.x
        for _ in range(rounds):
            x = x * a
            x = x + b
        gradient = np.ones_like(x)
        for _ in range(rounds):
            gradient = gradient * a
        return x.item()

    return Run(step, lambda: [gradient])


RUNS: dict[str, dict[str, Build]] = {
    "W1": {"numpy": two_moons},
    "W2": {"numpy": digits},
    "W3": {"numpy": images},
    "W4": {"numpy": softmax_regression},
    "W5": {"numpy": logits},
    "W6": {"numpy": chain},
    "W6a": {"numpy": chain},
}
