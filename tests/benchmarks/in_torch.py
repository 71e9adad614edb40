"""The workloads in PyTorch, eager, on the CPU: linear layers, fused losses, stock optimisers.

Each loss is a function of the parameters and a batch, so that `in_torch_compile.py` can take it as
it stands. W4 and W5 come twice: as "torch" the loss is composed of the same primitives as in the
other frameworks, as "torch fused" it is PyTorch's own kernel, in W4 after its linear layer.
Attention is matrix products and a softmax, as a tutorial writes it, not the fused kernel.
"""

import math
from collections.abc import Callable, Iterable
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from tests.benchmarks.workloads import (
    HEADS,
    Array,
    Build,
    Chain,
    ConvNet,
    Logits,
    Perceptron,
    Run,
    SoftmaxRegression,
    Transformer,
    flipped,
)

Parameters = dict[str, torch.Tensor]
Loss = Callable[..., torch.Tensor]
"""Parameters and a batch -> the mean loss."""


def tensors_of(parameters: dict[str, Array]) -> Parameters:
    """Leaves of their own, weights of linear layers as (outputs, inputs)."""
    return {
        name: torch.tensor(np.ascontiguousarray(flipped(name, p)), requires_grad=True)
        for name, p in parameters.items()
    }


def results_of(w: Parameters) -> list[Array]:
    return [flipped(name, p.detach().numpy()) for name, p in w.items()]


def batches_of(batches: Iterable[tuple[Array, ...]]) -> list[tuple[torch.Tensor, ...]]:
    return [tuple(torch.tensor(part) for part in batch) for batch in batches]


def gradient_of(x: torch.Tensor) -> Array:
    if x.grad is None:
        raise ValueError("no gradient yet: call step() first")
    return x.grad.numpy()


def training(loss_of: Loss, w: Parameters, data: Any, optimiser: torch.optim.Optimizer) -> Run:
    """Forward, backward and update, on the batches in turn."""
    batches = cycle(batches_of(data.batches))

    def step() -> float:
        loss = loss_of(w, *next(batches))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return Run(step, lambda: results_of(w))


def two_moons_loss(w: Parameters, X: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    W1, b1, W2, b2, W3, b3 = w.values()
    h = F.relu(F.linear(X, W1, b1))
    h = F.relu(F.linear(h, W2, b2))
    return F.binary_cross_entropy_with_logits(F.linear(h, W3, b3), y)


def two_moons(data: Perceptron) -> Run:
    w = tensors_of(data.parameters)
    return training(two_moons_loss, w, data, torch.optim.SGD(w.values(), lr=data.learning_rate))


def digits_loss(w: Parameters, X: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    W1, b1, W2, b2 = w.values()
    h = F.relu(F.linear(X, W1, b1))
    return F.cross_entropy(F.linear(h, W2, b2), ids)


def digits(data: Perceptron) -> Run:
    w = tensors_of(data.parameters)
    optimiser = torch.optim.SGD(w.values(), lr=data.learning_rate, momentum=data.momentum)
    return training(digits_loss, w, data, optimiser)


def images_loss(w: Parameters, X: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    W1, b1, W2, b2, W3, b3 = w.values()
    h = F.relu(F.linear(X, W1, b1))
    h = F.relu(F.linear(h, W2, b2))
    return F.cross_entropy(F.linear(h, W3, b3), ids)


def images(data: Perceptron) -> Run:
    w = tensors_of(data.parameters)
    return training(images_loss, w, data, torch.optim.Adam(w.values(), lr=data.learning_rate))


def softmax_regression_loss(
    w: Parameters, X: torch.Tensor, onehot: torch.Tensor, ids: torch.Tensor
) -> torch.Tensor:
    z = X @ w["W"]
    z = z - z.detach().amax(1, keepdim=True)
    log_p = z - z.exp().sum(1, keepdim=True).log()
    return (onehot * log_p).sum() * (-1 / len(X))


def softmax_regression(data: SoftmaxRegression) -> Run:
    w = tensors_of(data.parameters)
    optimiser = torch.optim.SGD(w.values(), lr=data.learning_rate)
    return training(softmax_regression_loss, w, data, optimiser)


def softmax_regression_fused_loss(
    w: Parameters, X: torch.Tensor, onehot: torch.Tensor, ids: torch.Tensor
) -> torch.Tensor:
    return F.cross_entropy(F.linear(X, w["W.weight"]), ids)


def softmax_regression_fused(data: SoftmaxRegression) -> Run:
    w = tensors_of({"W.weight": data.W})
    optimiser = torch.optim.SGD(w.values(), lr=data.learning_rate)
    return training(softmax_regression_fused_loss, w, data, optimiser)


def logits_loss(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (torch.clamp(z, min=0) - z * y + torch.log1p(torch.exp(-z.abs()))).mean()


def logits(data: Logits, loss_of: Loss = logits_loss) -> Run:
    z, y = torch.tensor(data.z, requires_grad=True), torch.tensor(data.y)

    def step() -> float:
        loss = loss_of(z, y)
        z.grad = None
        loss.backward()
        return loss.item()

    return Run(step, lambda: [gradient_of(z)])


def logits_fused(data: Logits) -> Run:
    return logits(data, F.binary_cross_entropy_with_logits)


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


def lenet_loss(w: Parameters, X: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    K1, b1, K2, b2, W3, b3 = w.values()
    h = F.max_pool2d(F.relu(F.conv2d(X, K1, b1)), 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, K2, b2)), 2)
    return F.cross_entropy(F.linear(h.flatten(1), W3, b3), ids)


def lenet(data: ConvNet) -> Run:
    w = tensors_of(data.parameters)
    return training(lenet_loss, w, data, torch.optim.SGD(w.values(), lr=data.learning_rate))


def attention(qkv: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Causal attention: (B, T, 3·C) -> (B, T, C)."""
    B, T, C3 = qkv.shape
    q, k, v = qkv.reshape(B, T, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind()
    s = q @ k.transpose(2, 3) * (1 / math.sqrt(q.shape[3]))
    p = F.softmax(s.masked_fill(hidden, -math.inf), -1)
    return (p @ v).transpose(1, 2).reshape(B, T, C3 // 3)


def transformer_loss(w: Parameters, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    T, C = w["positions"].shape
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    x = F.embedding(ids, w["tokens"]) + w["positions"]
    n = F.layer_norm(x, (C,), w["norm1.scale"], w["norm1.shift"])
    a = attention(F.linear(n, w["qkv.weight"], w["qkv.bias"]), hidden)
    x = x + F.linear(a, w["projection.weight"], w["projection.bias"])
    n = F.layer_norm(x, (C,), w["norm2.scale"], w["norm2.shift"])
    h = F.relu(F.linear(n, w["up.weight"], w["up.bias"]))
    x = x + F.linear(h, w["down.weight"], w["down.bias"])
    z = F.linear(x, w["out.weight"], w["out.bias"])
    return F.cross_entropy(z.flatten(0, 1), targets.flatten())


def transformer(data: Transformer) -> Run:
    w = tensors_of(data.parameters)
    return training(transformer_loss, w, data, torch.optim.SGD(w.values(), lr=data.learning_rate))


RUNS: dict[str, dict[str, Build]] = {
    "W1": {"torch": two_moons},
    "W2": {"torch": digits},
    "W3": {"torch": images},
    "W4": {"torch": softmax_regression, "torch fused": softmax_regression_fused},
    "W5": {"torch": logits, "torch fused": logits_fused},
    "W6": {"torch": chain},
    "W6a": {"torch": chain},
    "W7": {"torch": lenet},
    "W8": {"torch": transformer},
}
