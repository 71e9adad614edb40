"""The workloads in tinygrad_ce, through the public names a user would write.

Each is a step function of one batch, forward, backward and update. As "tinygrad_ce" it runs eager;
`in_compiled.py` hands every one of them to `tg.compile`, as its only difference.
"""

import math
from collections.abc import Callable, Iterable
from itertools import cycle
from typing import TypeVar

import numpy as np

import tinygrad_ce as tg
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
from tinygrad_ce.nn import functional as F

Step = Callable[..., tg.Tensor]
"""A batch -> its loss."""
S = TypeVar("S", bound=Step)


def eager(step: S) -> S:
    """The step as it is, where `tg.compile` would stand."""
    return step


def tensors_of(parameters: dict[str, Array]) -> dict[str, tg.Tensor]:
    """Leaves of their own, weights of linear layers as (outputs, inputs)."""
    return {
        name: tg.tensor(np.ascontiguousarray(flipped(name, p)), requires_grad=True)
        for name, p in parameters.items()
    }


def results_of(w: dict[str, tg.Tensor]) -> list[Array]:
    return [flipped(name, p.detach().numpy()) for name, p in w.items()]


def gradient_of(x: tg.Tensor) -> Array:
    if x.grad is None:
        raise ValueError("no gradient yet: call step() first")
    return x.grad.numpy()


def in_turn(step: Step, batches: Iterable[tuple[Array, ...]]) -> Callable[[], float]:
    """The step on one batch after the other."""
    remaining = cycle([tuple(tg.tensor(part) for part in batch) for batch in batches])
    return lambda: step(*next(remaining)).item()


def two_moons(data: Perceptron, compile: Callable[[Step], Step] = eager) -> Run:
    w = tensors_of(data.parameters)
    W1, b1, W2, b2, W3, b3 = w.values()
    optimiser = tg.optim.SGD(w.values(), lr=data.learning_rate)

    @compile
    def step(X: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        h = F.relu(F.linear(X, W1, b1))
        h = F.relu(F.linear(h, W2, b2))
        loss = F.binary_cross_entropy_with_logits(F.linear(h, W3, b3), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    return Run(in_turn(step, data.batches), lambda: results_of(w))


def digits(data: Perceptron, compile: Callable[[Step], Step] = eager) -> Run:
    w = tensors_of(data.parameters)
    W1, b1, W2, b2 = w.values()
    optimiser = tg.optim.SGD(w.values(), lr=data.learning_rate, momentum=data.momentum)

    @compile
    def step(X: tg.Tensor, ids: tg.Tensor) -> tg.Tensor:
        h = F.relu(F.linear(X, W1, b1))
        loss = F.cross_entropy(F.linear(h, W2, b2), ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    return Run(in_turn(step, data.batches), lambda: results_of(w))


def images(data: Perceptron, compile: Callable[[Step], Step] = eager) -> Run:
    w = tensors_of(data.parameters)
    W1, b1, W2, b2, W3, b3 = w.values()
    optimiser = tg.optim.Adam(w.values(), lr=data.learning_rate)

    @compile
    def step(X: tg.Tensor, ids: tg.Tensor) -> tg.Tensor:
        h = F.relu(F.linear(X, W1, b1))
        h = F.relu(F.linear(h, W2, b2))
        loss = F.cross_entropy(F.linear(h, W3, b3), ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    return Run(in_turn(step, data.batches), lambda: results_of(w))


def softmax_regression(data: SoftmaxRegression, compile: Callable[[Step], Step] = eager) -> Run:
    w = tensors_of(data.parameters)
    (W,) = w.values()
    optimiser = tg.optim.SGD([W], lr=data.learning_rate)
    scale = -1 / len(data.X)

    @compile
    def step(X: tg.Tensor, onehot: tg.Tensor) -> tg.Tensor:
        z = X @ W
        z = z - z.detach().amax(1, keepdim=True)
        log_p = z - z.exp().sum(1, keepdim=True).log()
        loss = (onehot * log_p).sum() * scale
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    return Run(in_turn(step, [(data.X, data.onehot)]), lambda: results_of(w))


def logits(data: Logits, compile: Callable[[Step], Step] = eager) -> Run:
    z = tg.tensor(data.z, requires_grad=True)

    @compile
    def step(y: tg.Tensor) -> tg.Tensor:
        loss = F.binary_cross_entropy_with_logits(z, y)
        z.grad = None
        loss.backward()
        return loss

    return Run(in_turn(step, [(data.y,)]), lambda: [gradient_of(z)])


def chain(data: Chain, compile: Callable[[Step], Step] = eager) -> Run:
    a, b, rounds = data.a, data.b, data.operations // 2
    x = tg.tensor(data.x, requires_grad=True)

    @compile
    def step() -> tg.Tensor:
        y = x
        for _ in range(rounds):
            y = y * a
            y = y + b
        x.grad = None
        y.backward()
        return y

    return Run(in_turn(step, [()]), lambda: [gradient_of(x)])


def lenet(data: ConvNet, compile: Callable[[Step], Step] = eager) -> Run:
    w = tensors_of(data.parameters)
    K1, b1, K2, b2, W3, b3 = w.values()
    optimiser = tg.optim.SGD(w.values(), lr=data.learning_rate)

    @compile
    def step(X: tg.Tensor, ids: tg.Tensor) -> tg.Tensor:
        h = F.max_pool2d(F.relu(F.conv2d(X, K1, b1)), 2)
        h = F.max_pool2d(F.relu(F.conv2d(h, K2, b2)), 2)
        loss = F.cross_entropy(F.linear(h.flatten(1), W3, b3), ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    return Run(in_turn(step, data.batches), lambda: results_of(w))


def attention(qkv: tg.Tensor, hidden: tg.Tensor) -> tg.Tensor:
    """Causal attention: (B, T, 3·C) -> (B, T, C)."""
    B, T, C3 = qkv.shape
    q, k, v = qkv.reshape(B, T, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind()
    s = q @ k.transpose(2, 3) * (1 / math.sqrt(q.shape[3]))
    p = F.softmax(s.masked_fill(hidden, -math.inf), -1)
    return (p @ v).transpose(1, 2).reshape(B, T, C3 // 3)


def transformer(data: Transformer, compile: Callable[[Step], Step] = eager) -> Run:
    w = tensors_of(data.parameters)
    T, C = w["positions"].shape
    hidden = tg.tensor(np.triu(np.ones((T, T), bool), 1))
    optimiser = tg.optim.SGD(w.values(), lr=data.learning_rate)

    @compile
    def step(ids: tg.Tensor, targets: tg.Tensor) -> tg.Tensor:
        x = F.embedding(ids, w["tokens"]) + w["positions"]
        n = F.layer_norm(x, (C,), w["norm1.scale"], w["norm1.shift"])
        a = attention(F.linear(n, w["qkv.weight"], w["qkv.bias"]), hidden)
        x = x + F.linear(a, w["projection.weight"], w["projection.bias"])
        n = F.layer_norm(x, (C,), w["norm2.scale"], w["norm2.shift"])
        h = F.relu(F.linear(n, w["up.weight"], w["up.bias"]))
        x = x + F.linear(h, w["down.weight"], w["down.bias"])
        z = F.linear(x, w["out.weight"], w["out.bias"])
        loss = F.cross_entropy(z.flatten(0, 1), targets.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    return Run(in_turn(step, data.batches), lambda: results_of(w))


RUNS: dict[str, dict[str, Build]] = {
    "W1": {"tinygrad_ce": two_moons},
    "W2": {"tinygrad_ce": digits},
    "W3": {"tinygrad_ce": images},
    "W4": {"tinygrad_ce": softmax_regression},
    "W5": {"tinygrad_ce": logits},
    "W6": {"tinygrad_ce": chain},
    "W6a": {"tinygrad_ce": chain},
    "W7": {"tinygrad_ce": lenet},
    "W8": {"tinygrad_ce": transformer},
}
