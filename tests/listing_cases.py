"""Functions whose listings are tested: each makes its tensors and gives a step with arguments."""

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F


def numbers(*shape, dtype=np.float32):
    return tg.tensor(np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype))


def parameter(*shape, dtype=np.float32):
    t = numbers(*shape, dtype=dtype)
    return t.requires_grad_()


def classes(n, count):
    return tg.tensor(np.random.default_rng(n).integers(0, count, n))


def softmax_regression(dtype=np.float32):
    W, b = parameter(10, 64, dtype=dtype), parameter(10, dtype=dtype)
    optimizer = tg.optim.SGD([W, b], lr=0.1)

    def step(x, y):
        logits = x @ W.T + b
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, numbers(32, 64, dtype=dtype), classes(32, 10)


def two_layer_network(dtype=np.float32):
    W1, b1 = parameter(32, 64, dtype=dtype), parameter(32, dtype=dtype)
    W2, b2 = parameter(10, 32, dtype=dtype), parameter(10, dtype=dtype)
    optimizer = tg.optim.SGD([W1, b1, W2, b2], lr=0.1)

    def step(x, y):
        h = F.relu(F.linear(x, W1, b1))
        logits = F.linear(h, W2, b2)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, numbers(32, 64, dtype=dtype), classes(32, 10)


def trained(model, loss_of, optimizer=None):
    def step(x, y):
        loss = loss_of(model(x), y)
        if optimizer is not None:
            optimizer.zero_grad()
        loss.backward()
        if optimizer is not None:
            optimizer.step()
        return loss

    return step


def dropout_batch_norm_adam():
    tg.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 32, bias=False),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(32, 10),
    )
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)

    def step(x, y):
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, numbers(32, 64), classes(32, 10)


def bias_before_batch_norm():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3))
    optimizer = tg.optim.Adam(model.parameters())
    return trained(model, F.cross_entropy, optimizer), numbers(8, 5), classes(8, 3)


def two_moons():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x, y):
        logits = model(x).squeeze(1)
        loss = F.binary_cross_entropy_with_logits(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, numbers(20, 2), classes(20, 2).float()


class Net(nn.Module):
    """Two layers with a sigmoid between them."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 5)
        self.act = nn.Sigmoid()
        self.fc2 = nn.Linear(5, 3)

    def forward(self, x):
        h = self.act(self.fc1(x))
        return self.fc2(h)


def sigmoid_network():
    tg.manual_seed(0)
    model = Net()
    return trained(model, F.cross_entropy), numbers(8, 4), classes(8, 3)


def convolution():
    tg.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.GELU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    optimizer = tg.optim.AdamW(model.parameters())
    return trained(model, F.cross_entropy, optimizer), numbers(8, 1, 4, 4), classes(8, 3)


def layer_norm():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.SiLU(), nn.Linear(5, 3))
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01)
    return trained(model, F.cross_entropy, optimizer), numbers(8, 4), classes(8, 3)


def embedding():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3))
    return trained(model, F.cross_entropy), classes(8, 10), classes(8, 3)


def weighted_classes():
    W, weight = parameter(4, 3), tg.tensor([1.0, 2.0, 3.0])

    def step(x, y):
        loss = F.cross_entropy(x @ W, y, weight=weight, label_smoothing=0.1)
        loss.backward()
        return loss

    return step, numbers(8, 4), classes(8, 3)


def mean_squares():
    tg.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = tg.optim.Adam(model.parameters())
    return trained(model, F.mse_loss, optimizer), numbers(8, 4), numbers(8, 1)


def written_by_hand():
    W, b = parameter(3, 4, dtype=np.float64), parameter(3, dtype=np.float64)

    def step(x, y):
        W.grad = b.grad = None
        p = F.softmax(x @ W.T + b, 1)
        loss = -p[tg.arange(8), y].log().mean()
        loss.backward()
        with tg.no_grad():
            for w in (W, b):
                w -= 0.1 * w.grad
        return loss

    return step, numbers(8, 4, dtype=np.float64), classes(8, 3)


def predict():
    tg.manual_seed(0)
    model = Net()
    return lambda x: model(x).argmax(1), numbers(8, 4)


def scalars():
    return lambda a, b: (a * b + a.sin() ** 2, a), tg.tensor(2.0), 3.0


def exchange():
    A, B = numbers(3), numbers(4)[:3].clone()

    def swap(x):
        a, b = A * 1.0, B * 1.0
        A.copy_(b)
        B.copy_(a)
        return x + A, a

    return swap, numbers(3)


def recurrent():
    U, V, b = parameter(4, 4), parameter(4, 3), parameter(4)

    def step(x):
        h = tg.zeros(2, 4)
        for t in range(3):
            h = tg.tanh(h @ U.T + x[t] @ V.T + b)
        loss = (h * h).sum()
        loss.backward()
        return loss

    return step, numbers(3, 2, 3)


def gradient_that_grows():
    W = parameter(3)
    W.grad = tg.ones(3)

    def step(x):
        loss = (W * x).sum()
        loss.backward()
        return loss

    return step, numbers(3)


def transformer():
    tg.manual_seed(0)
    q, k, v, o = (nn.Linear(4, 4) for _ in range(4))
    norm = nn.LayerNorm(4)
    optimizer = tg.optim.Adam([p for m in (q, k, v, o, norm) for p in m.parameters()])

    def step(x, y):
        a = F.softmax(q(x) @ k(x).mT / 2.0, -1) @ v(x)
        out = norm(x + o(a))
        loss = F.mse_loss(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, numbers(2, 3, 4), numbers(3, 3, 4)[:2].clone()


def noise():
    return lambda x: x + tg.randn(3) * 0.1 + tg.rand(3), numbers(3)


def ignored_class():
    W = parameter(3, 4)

    def step(x, y):
        loss = F.cross_entropy(x @ W.T, y, ignore_index=-100)
        loss.backward()
        return loss

    return step, numbers(4, 4), tg.tensor([0, -100, 2, 1])


def attention():
    def attend(q, k, v):
        a = F.softmax(q @ k.mT / 2.0, -1)
        return a @ v

    return attend, numbers(2, 3, 4), numbers(2, 3, 4), numbers(2, 3, 4)


def shapes():
    def views(x):
        pair = tg.cat([x, x.flip(0) * 2.0], 0)
        turned = x.reshape(2, 3, 2).permute(2, 0, 1) * 2.0
        return pair, tg.stack([x, x], 0).mean((0, 1)), turned, x[1:, ::2] + 1.0

    return views, numbers(3, 4)


GOLDEN = [softmax_regression, two_layer_network, dropout_batch_norm_adam]
CASES = [
    *GOLDEN, bias_before_batch_norm, two_moons, sigmoid_network, convolution, layer_norm,
    embedding, weighted_classes, mean_squares, written_by_hand, predict, scalars, exchange,
    attention, shapes, recurrent, gradient_that_grows, transformer, noise, ignored_class,
]  # fmt: skip
