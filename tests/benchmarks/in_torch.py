"""The workloads in PyTorch, eager, on the CPU: linear layers, fused losses, stock optimisers.

W4 and W5 come twice: as "torch" the loss is composed of the same primitives as in the other
frameworks, as "torch fused" it is PyTorch's own kernel, in W4 after its linear layer.
"""

from itertools import cycle

import numpy as np
import torch
from torch.nn import functional as F

from tests.benchmarks.workloads import (
    Array,
    Build,
    Chain,
    Logits,
    Perceptron,
    Run,
    SoftmaxRegression,
)


def parameters_of(data: Perceptron) -> list[torch.Tensor]:
    """W1, b1, W2, b2, ... as leaves, weights as (outputs, inputs)."""
    return [
        torch.tensor(np.ascontiguousarray(p.T), requires_grad=True)
        for layer in data.layers
        for p in layer
    ]


def results_of(parameters: list[torch.Tensor]) -> list[Array]:
    return [p.detach().numpy().T for p in parameters]


def gradient_of(x: torch.Tensor) -> Array:
    if x.grad is None:
        raise ValueError("no gradient yet: call step() first")
    return x.grad.numpy()


def batches_of(data: Perceptron) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.tensor(X), torch.tensor(targets)) for X, targets in data.batches]


def two_moons(data: Perceptron) -> Run:
    parameters = W1, b1, W2, b2, W3, b3 = parameters_of(data)
    ((X, y),) = batches_of(data)
    optimiser = torch.optim.SGD(parameters, lr=data.learning_rate)

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
    optimiser = torch.optim.SGD(parameters, lr=data.learning_rate, momentum=data.momentum)

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
    optimiser = torch.optim.Adam(parameters, lr=data.learning_rate)

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
    W = torch.tensor(data.W, requires_grad=True)
    X, onehot = torch.tensor(data.X), torch.tensor(data.onehot)
    optimiser = torch.optim.SGD([W], lr=data.learning_rate)
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


def softmax_regression_fused(data: SoftmaxRegression) -> Run:
    W = torch.tensor(np.ascontiguousarray(data.W.T), requires_grad=True)
    X, ids = torch.tensor(data.X), torch.tensor(data.ids)
    optimiser = torch.optim.SGD([W], lr=data.learning_rate)

    def step() -> float:
        loss = F.cross_entropy(F.linear(X, W), ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return Run(step, lambda: [W.detach().numpy().T])


def logits(data: Logits) -> Run:
    z, y = torch.tensor(data.z, requires_grad=True), torch.tensor(data.y)

    def step() -> float:
        loss = (torch.clamp(z, min=0) - z * y + torch.log1p(torch.exp(-z.abs()))).mean()
        z.grad = None
        loss.backward()
        return loss.item()

    return Run(step, lambda: [gradient_of(z)])


def logits_fused(data: Logits) -> Run:
    z, y = torch.tensor(data.z, requires_grad=True), torch.tensor(data.y)

    def step() -> float:
        loss = F.binary_cross_entropy_with_logits(z, y)
        z.grad = None
        loss.backward()
        return loss.item()

    return Run(step, lambda: [gradient_of(z)])


def chain(data: Chain) -> Run:
    a, b, rounds = data.a, data.b, data.operations // 2
    x = torch.tensor(data.x, requires_grad=True)

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
    "W1": {"torch": two_moons},
    "W2": {"torch": digits},
    "W3": {"torch": images},
    "W4": {"torch": softmax_regression, "torch fused": softmax_regression_fused},
    "W5": {"torch": logits, "torch fused": logits_fused},
    "W6": {"torch": chain},
    "W6a": {"torch": chain},
}
