"""The workloads by hand: a straightforward backward pass, as one writes it down.

Results are allocated freely, both cross-entropies have the closed gradient (p - y) / N, and
parameters and optimiser state are updated in place.
"""

from itertools import cycle

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

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


def convolution(x: Array, K: Array, b: Array) -> tuple[Array, Array]:
    """(N, C, H, W) -> (N, O, H', W'), and every window as a row, which the gradient wants."""
    windows = sliding_window_view(x, K.shape[2:], axis=(2, 3))
    N, _, H, W = windows.shape[:4]
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(N * H * W, -1)
    y = rows @ K.reshape(len(K), -1).T + b
    return y.reshape(N, H, W, -1).transpose(0, 3, 1, 2), rows


def convolution_gradient(dy: Array, rows: Array, K: Array) -> tuple[Array, Array, Array]:
    """The gradients to kernel and bias, and dy as (positions, O)."""
    flat = dy.transpose(0, 2, 3, 1).reshape(-1, len(K))
    return (flat.T @ rows).reshape(K.shape), flat.sum(0), flat


def from_windows(drows: Array, shape: tuple[int, ...], size: int) -> Array:
    """Adds up the gradients of the windows, size × size, where these overlap in (N, C, H, W)."""
    N, C, H, W = shape
    h, w = H - size + 1, W - size + 1
    windows = drows.reshape(N, h, w, C, size, size).transpose(0, 3, 1, 2, 4, 5)
    dx = np.zeros(shape, drows.dtype)
    for i in range(size):
        for j in range(size):
            dx[:, :, i : i + h, j : j + w] += windows[..., i, j]
    return dx


def tiles(x: Array) -> Array:
    """(N, C, H, W) -> (N, C, H // 2, 2, W // 2, 2), a view; an odd last row or column is left."""
    N, C, H, W = x.shape
    return x[:, :, : H // 2 * 2, : W // 2 * 2].reshape(N, C, H // 2, 2, W // 2, 2)


def relu_pool(x: Array) -> tuple[Array, Array]:
    """max(x, 0), its largest of every 2 × 2, and where x gets their gradient.

    Several of a tile have its largest value only where ReLU made them 0 and lets nothing through.
    """
    h = np.maximum(x, 0)
    pooled = tiles(h).max((3, 5), keepdims=True)
    mask = np.zeros(x.shape, bool)
    H, W = (n // 2 * 2 for n in x.shape[2:])
    mask[:, :, :H, :W] = ((tiles(h) == pooled) & (pooled > 0)).reshape(*x.shape[:2], H, W)
    return pooled[:, :, :, 0, :, 0], mask


def relu_pool_gradient(dy: Array, mask: Array) -> Array:
    dx = np.zeros(mask.shape, dy.dtype)
    H, W = (n // 2 * 2 for n in mask.shape[2:])
    dx[:, :, :H, :W] = dy.repeat(2, 2).repeat(2, 3)
    return dx * mask


def lenet(data: ConvNet) -> Run:
    parameters = K1, b1, K2, b2, W3, b3 = [p.copy() for p in data.parameters.values()]
    batches = cycle(data.batches)
    lr = data.learning_rate

    def step() -> float:
        X, ids = next(batches)
        y1, rows1 = convolution(X, K1, b1)
        h1, mask1 = relu_pool(y1)
        y2, rows2 = convolution(h1, K2, b2)
        h2, mask2 = relu_pool(y2)
        flat = h2.reshape(len(X), -1)
        loss, dz = cross_entropy(flat @ W3 + b3, ids)
        dy2 = relu_pool_gradient((dz @ W3.T).reshape(h2.shape), mask2)
        dK2, db2, dflat2 = convolution_gradient(dy2, rows2, K2)
        dh1 = from_windows(dflat2 @ K2.reshape(len(K2), -1), h1.shape, 3)
        dK1, db1, _ = convolution_gradient(relu_pool_gradient(dh1, mask1), rows1, K1)
        gradients = [dK1, db1, dK2, db2, flat.T @ dz, dz.sum(0)]
        for p, g in zip(parameters, gradients):
            p -= lr * g
        return loss

    return Run(step, lambda: parameters)


def layer_norm(x: Array, weight: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    """Rows (N, C) made to mean 0 and variance 1, scaled and shifted; and what the gradient wants.

    These are the rows before scaling, and one over their standard deviation.
    """
    d = x - x.mean(1, keepdims=True)
    r = 1 / np.sqrt((d * d).mean(1, keepdims=True) + 1e-5)
    n = d * r
    return n * weight + bias, (n, r)


def layer_norm_gradient(
    dy: Array, kept: tuple[Array, Array], weight: Array
) -> tuple[Array, Array, Array]:
    """The gradients to x, weight and bias."""
    n, r = kept
    dn = dy * weight
    dx = r * (dn - dn.mean(1, keepdims=True) - n * (dn * n).mean(1, keepdims=True))
    return dx, (dy * n).sum(0), dy.sum(0)


def attention(qkv: Array, shape: tuple[int, int, int], hidden: Array) -> tuple[Array, list[Array]]:
    """Causal attention on rows (B·T, 3·C), to (B·T, C); and q, k, v, p for the gradient.

    `shape` is (B, T, heads) and `hidden` (T, T) is True where a position must not look.
    """
    B, T, heads = shape
    q, k, v = qkv.reshape(B, T, 3, heads, -1).transpose(2, 0, 3, 1, 4)
    s = q @ k.swapaxes(2, 3) / np.sqrt(np.float32(q.shape[3]))
    s = np.where(hidden, np.float32(-np.inf), s)
    e = np.exp(s - s.max(3, keepdims=True))
    p = e / e.sum(3, keepdims=True)
    return (p @ v).transpose(0, 2, 1, 3).reshape(B * T, -1), [q, k, v, p]


def attention_gradient(
    dy: Array, shape: tuple[int, int, int], q: Array, k: Array, v: Array, p: Array
) -> Array:
    """The gradient to the rows of q, k and v: (B·T, C) -> (B·T, 3·C)."""
    B, T, heads = shape
    dy = dy.reshape(B, T, heads, -1).transpose(0, 2, 1, 3)
    dp = dy @ v.swapaxes(2, 3)
    ds = p * (dp - (dp * p).sum(3, keepdims=True)) / np.sqrt(np.float32(q.shape[3]))
    dqkv = np.stack([ds @ k, ds.swapaxes(2, 3) @ q, p.swapaxes(2, 3) @ dy])
    return dqkv.transpose(1, 3, 0, 2, 4).reshape(B * T, -1)


def transformer(data: Transformer) -> Run:
    w = {name: p.copy() for name, p in data.parameters.items()}
    batches = cycle(data.batches)
    lr = data.learning_rate
    T = len(w["positions"])
    hidden = np.triu(np.ones((T, T), bool), 1)

    def step() -> float:
        ids, targets = next(batches)
        shape = len(ids), T, HEADS
        x = (w["tokens"][ids] + w["positions"]).reshape(ids.size, -1)
        n1, kept1 = layer_norm(x, w["norm1.scale"], w["norm1.shift"])
        a, qkvp = attention(n1 @ w["qkv.weight"] + w["qkv.bias"], shape, hidden)
        x = x + (a @ w["projection.weight"] + w["projection.bias"])
        n2, kept2 = layer_norm(x, w["norm2.scale"], w["norm2.shift"])
        h = np.maximum(n2 @ w["up.weight"] + w["up.bias"], 0)
        x = x + (h @ w["down.weight"] + w["down.bias"])
        loss, dz = cross_entropy(x @ w["out.weight"] + w["out.bias"], targets.ravel())

        g = {"out.weight": x.T @ dz, "out.bias": dz.sum(0)}
        dx = dz @ w["out.weight"].T
        g["down.weight"], g["down.bias"] = h.T @ dx, dx.sum(0)
        dh = (dx @ w["down.weight"].T) * (h > 0)
        g["up.weight"], g["up.bias"] = n2.T @ dh, dh.sum(0)
        dn2, g["norm2.scale"], g["norm2.shift"] = layer_norm_gradient(
            dh @ w["up.weight"].T, kept2, w["norm2.scale"]
        )
        dx = dx + dn2
        g["projection.weight"], g["projection.bias"] = a.T @ dx, dx.sum(0)
        dqkv = attention_gradient(dx @ w["projection.weight"].T, shape, *qkvp)
        g["qkv.weight"], g["qkv.bias"] = n1.T @ dqkv, dqkv.sum(0)
        dn1, g["norm1.scale"], g["norm1.shift"] = layer_norm_gradient(
            dqkv @ w["qkv.weight"].T, kept1, w["norm1.scale"]
        )
        dx = dx + dn1
        g["positions"] = dx.reshape(len(ids), T, -1).sum(0)
        g["tokens"] = np.zeros_like(w["tokens"])
        np.add.at(g["tokens"], ids.ravel(), dx)
        for name, p in w.items():
            p -= lr * g[name]
        return loss

    return Run(step, lambda: list(w.values()))


RUNS: dict[str, dict[str, Build]] = {
    "W1": {"numpy": two_moons},
    "W2": {"numpy": digits},
    "W3": {"numpy": images},
    "W4": {"numpy": softmax_regression},
    "W5": {"numpy": logits},
    "W6": {"numpy": chain},
    "W6a": {"numpy": chain},
    "W7": {"numpy": lenet},
    "W8": {"numpy": transformer},
}
