"""The workloads in JAX: each whole step, `jax.value_and_grad` and update, under one `jax.jit`.

Parameters and the optimiser's state are donated, so that they are updated in place. Weights keep
their shape (inputs, outputs).
"""

from collections.abc import Callable
from functools import cache
from itertools import cycle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.benchmarks.workloads import HEADS, Array, Build, Chain, Logits, Run

Parameters = dict[str, jax.Array]
Loss = Callable[..., jax.Array]
"""Parameters and a batch -> the mean loss."""
Update = Callable[..., tuple[Parameters, Any]]
"""Parameters, gradients, state, rate, momentum -> new parameters and state."""


def linear(x: jax.Array, w: Parameters, name: str) -> jax.Array:
    return x @ w[f"{name}.weight"] + w[f"{name}.bias"]


def cross_entropy(z: jax.Array, ids: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(z), ids[:, None], 1).mean()


def binary_cross_entropy(z: jax.Array, y: jax.Array) -> jax.Array:
    return (jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z)))).mean()


def two_moons_loss(w: Parameters, X: jax.Array, y: jax.Array) -> jax.Array:
    h = jax.nn.relu(linear(X, w, "1"))
    h = jax.nn.relu(linear(h, w, "2"))
    return binary_cross_entropy(linear(h, w, "3"), y)


def digits_loss(w: Parameters, X: jax.Array, ids: jax.Array) -> jax.Array:
    h = jax.nn.relu(linear(X, w, "1"))
    return cross_entropy(linear(h, w, "2"), ids)


def images_loss(w: Parameters, X: jax.Array, ids: jax.Array) -> jax.Array:
    h = jax.nn.relu(linear(X, w, "1"))
    h = jax.nn.relu(linear(h, w, "2"))
    return cross_entropy(linear(h, w, "3"), ids)


def softmax_regression_loss(
    w: Parameters, X: jax.Array, onehot: jax.Array, ids: jax.Array
) -> jax.Array:
    return -(onehot * jax.nn.log_softmax(X @ w["W"])).sum() / len(X)


def convolution(x: jax.Array, w: Parameters, name: str) -> jax.Array:
    y = jax.lax.conv(x, w[f"{name}.weight"], (1, 1), "VALID")
    return y + w[f"{name}.bias"][:, None, None]


def pool(x: jax.Array) -> jax.Array:
    tile = (1, 1, 2, 2)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, tile, tile, "VALID")


def lenet_loss(w: Parameters, X: jax.Array, ids: jax.Array) -> jax.Array:
    h = pool(jax.nn.relu(convolution(X, w, "conv1")))
    h = pool(jax.nn.relu(convolution(h, w, "conv2")))
    return cross_entropy(linear(h.reshape(len(X), -1), w, "out"), ids)


def layer_norm(x: jax.Array, w: Parameters, name: str) -> jax.Array:
    n = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return n * w[f"{name}.scale"] + w[f"{name}.shift"]


def attention(qkv: jax.Array) -> jax.Array:
    """Causal attention: (B, T, 3·C) -> (B, T, C)."""
    B, T, C3 = qkv.shape
    q, k, v = qkv.reshape(B, T, 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
    s = q @ k.swapaxes(2, 3) / np.sqrt(np.float32(q.shape[3]))
    p = jax.nn.softmax(jnp.where(np.triu(np.ones((T, T), bool), 1), -jnp.inf, s))
    return (p @ v).swapaxes(1, 2).reshape(B, T, C3 // 3)


def transformer_loss(w: Parameters, ids: jax.Array, targets: jax.Array) -> jax.Array:
    x = w["tokens"][ids] + w["positions"]
    x = x + linear(attention(linear(layer_norm(x, w, "norm1"), w, "qkv")), w, "projection")
    x = x + linear(jax.nn.relu(linear(layer_norm(x, w, "norm2"), w, "up")), w, "down")
    z = linear(x, w, "out")
    return cross_entropy(z.reshape(-1, z.shape[-1]), targets.ravel())


def sgd(
    w: Parameters, gradients: Parameters, velocities: Any, lr: float, momentum: float
) -> tuple[Parameters, Any]:
    if momentum:
        velocities = jax.tree.map(lambda v, g: momentum * v + g, velocities, gradients)
        gradients = velocities
    return jax.tree.map(lambda p, g: p - lr * g, w, gradients), velocities


def adam(
    w: Parameters, gradients: Parameters, state: Any, lr: float, momentum: float
) -> tuple[Parameters, Any]:
    m, v, t = state
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
    a, b = 1 - 0.9**t, 1 - 0.999**t
    w = jax.tree.map(lambda p, m, v: p - lr * (m / a) / (jnp.sqrt(v / b) + 1e-8), w, m, v)
    return w, (m, v, t)


def first_state(update: Update, w: Parameters, momentum: float) -> Any:
    zeros = [jax.tree.map(jnp.zeros_like, w) for _ in range(2)]
    if update is adam:
        return *zeros, jnp.float32(0)
    return zeros[0] if momentum else None


@cache
def compiled_step(loss_of: Loss, update: Update, lr: float, momentum: float) -> Any:
    """(parameters, state, batch) -> loss, parameters, state; made once.

    A run that starts again from fresh weights is the same program.
    """

    def step(w: Parameters, state: Any, *batch: jax.Array) -> tuple[jax.Array, Parameters, Any]:
        loss, gradients = jax.value_and_grad(loss_of)(w, *batch)
        return loss, *update(w, gradients, state, lr, momentum)

    return jax.jit(step, donate_argnums=(0, 1))


def training(loss_of: Loss, update: Update, data: Any) -> Run:
    w = {name: jnp.array(p) for name, p in data.parameters.items()}
    momentum = getattr(data, "momentum", 0.0)
    state = first_state(update, w, momentum)
    compiled = compiled_step(loss_of, update, data.learning_rate, momentum)
    batches = cycle([tuple(jnp.array(part) for part in batch) for batch in data.batches])

    def step() -> float:
        nonlocal w, state
        loss, w, state = compiled(w, state, *next(batches))
        return loss.item()

    return Run(step, lambda: [np.asarray(w[name]) for name in data.parameters])


def trained_by(update: Update, loss_of: Loss) -> Build:
    return lambda data: training(loss_of, update, data)


def differentiated(function: Any, *operands: jax.Array) -> Run:
    """The value of a compiled function and its gradient, where nothing is updated."""
    gradient: list[Array] = []

    def step() -> float:
        value, slope = function(*operands)
        gradient[:] = [slope]
        return value.item()

    return Run(step, lambda: [np.asarray(slope) for slope in gradient])


compiled_logits = jax.jit(jax.value_and_grad(binary_cross_entropy))


def logits(data: Logits) -> Run:
    return differentiated(compiled_logits, jnp.array(data.z), jnp.array(data.y))


@cache
def compiled_chain(a: float, b: float, rounds: int) -> Any:
    def chain(x: jax.Array) -> jax.Array:
        for _ in range(rounds):
            x = x * a
            x = x + b
        return x.sum()

    return jax.jit(jax.value_and_grad(chain))


def chain(data: Chain) -> Run:
    return differentiated(compiled_chain(data.a, data.b, data.operations // 2), jnp.array(data.x))


RUNS: dict[str, dict[str, Build]] = {
    "W1": {"jax": trained_by(sgd, two_moons_loss)},
    "W2": {"jax": trained_by(sgd, digits_loss)},
    "W3": {"jax": trained_by(adam, images_loss)},
    "W4": {"jax": trained_by(sgd, softmax_regression_loss)},
    "W5": {"jax": logits},
    "W6": {"jax": chain},
    "W6a": {"jax": chain},
    "W7": {"jax": trained_by(sgd, lenet_loss)},
    "W8": {"jax": trained_by(sgd, transformer_loss)},
}
