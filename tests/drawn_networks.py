"""Networks as people draw them: of many kinds, depths and shapes, on small examples.

Each is a function without arguments that gives a model and its examples. `NETWORKS` has all of them
by name.
"""

import math

import tinygrad_ce as tg
from tests.drawn_programs import CausalAttention, LSTMCell
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F


def convolutions(depth):
    """`depth` times convolution, batch norm and relu, pooled, and a linear layer."""
    layers = []
    for i in range(depth):
        layers += [nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(4), nn.Flatten(), nn.Linear(16, 10))


def lenet():
    """LeNet-5, with average pooling."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


def vgg():
    """Stages of two convolutions and a pooling each, and dropout before the last layer."""
    layers, width = [], 3
    for wider in (4, 8, 8):
        layers += [nn.Conv2d(width, wider, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(wider, wider, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        width = wider
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10)
    )


class Residual(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x))))))."""

    def __init__(self, channels):
        self.conv1, self.norm1 = (
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )
        self.conv2, self.norm2 = (
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class UNet(nn.Module):
    """Down and up again, with what was seen on the way down beside it."""

    def __init__(self):
        self.down, self.bottom = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.out = nn.Conv2d(12, 4, 3, padding=1), nn.Conv2d(4, 1, 1)

    def forward(self, x):
        seen = F.relu(self.down(x))
        low = F.relu(self.bottom(F.max_pool2d(seen, 2)))
        n, c, h, w = low.shape
        wide = low.reshape(n, c, h, 1, w, 1).expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)
        return self.out(F.relu(self.up(tg.cat([seen, wide], dim=1))))


class Signal(nn.Module):
    """A convolution over time, as one over images of height 1."""

    def __init__(self):
        self.conv, self.norm, self.out = nn.Conv2d(2, 5, (1, 3)), nn.BatchNorm1d(5), nn.Linear(5, 1)

    def forward(self, x):
        h = F.relu(self.conv(x.unsqueeze(2))).squeeze(2)
        return self.out(self.norm(h).mean(dim=2))


class LSTM(nn.Module):
    """A cell that goes through a sequence."""

    def __init__(self):
        self.cell, self.out = LSTMCell(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = c = tg.zeros(x.shape[0], 4)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], h, c)
        return self.out(h)


class Heads(nn.Module):
    """x + attention(norm(x)) with several heads: arrays of four axes and five."""

    def __init__(self, width, heads):
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.all, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        n, t, width = x.shape
        split = self.all(self.norm(x)).reshape(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = split[0], split[1], split[2]
        weights = F.softmax(q @ k.mT / math.sqrt(width // self.heads), dim=-1)
        return x + self.out((weights @ v).permute(0, 2, 1, 3).reshape(n, t, width))


class Chain(nn.Module):
    """Thousands of operations of one kind."""

    def forward(self, x):
        for _ in range(3000):
            x = x * 0.999
        return x


def named(name):
    """A network whose layers have this name."""
    model = nn.Sequential()
    setattr(model, name, nn.Conv2d(1, 2, 3))
    model.forward = lambda x: getattr(model, name)(x)
    return model


class Axes(nn.Module):
    """Arrays of as many axes as NumPy has."""

    def forward(self, x):
        return x.reshape((3, *[1] * 60, 4, 5, 6)) * 2


def stacked(block, times, *first):
    """A network of equal blocks."""
    return nn.Sequential(*first, *(block() for _ in range(times)))


NETWORKS = {
    "one_convolution": lambda: (nn.Conv2d(3, 8, 3), tg.randn(2, 3, 9, 9)),
    "two_blocks": lambda: (convolutions(2), tg.randn(2, 3, 8, 8)),
    "nine_blocks": lambda: (convolutions(9), tg.randn(2, 3, 8, 8)),
    "lenet": lambda: (lenet(), tg.randn(2, 1, 28, 28)),
    "vgg": lambda: (vgg(), tg.randn(2, 3, 16, 16)),
    "resnet": lambda: (stacked(lambda: Residual(4), 4, nn.Conv2d(3, 4, 3)), tg.randn(2, 3, 8, 8)),
    "unet": lambda: (UNet(), tg.randn(1, 1, 8, 8)),
    "signal": lambda: (Signal(), tg.randn(3, 2, 20)),
    "lstm": lambda: (LSTM(), tg.randn(2, 3, 3)),
    "attention": lambda: (CausalAttention(8), tg.randn(6, 8)),
    "heads": lambda: (stacked(lambda: Heads(8, 2), 3), tg.randn(2, 6, 8)),
    "embedding": lambda: (stacked(lambda: nn.Linear(64, 1000), 1, nn.Embedding(1000, 64)),
                          tg.randint(0, 1000, (4, 100))),
    "huge": lambda: (nn.Linear(1, 300_000), tg.randn(1, 1)),
    "thousands": lambda: (Chain(), tg.randn(2, 3, requires_grad=True)),
    "axes": lambda: (Axes(), tg.randn(3, 4, 5, 6)),
    "long_name": lambda: (named("a" * 20_000), tg.randn(1, 1, 5, 5)),
    "hostile_name": lambda: (named('<b> & "q" \\N\n' * 2000), tg.randn(1, 1, 5, 5)),
}  # fmt: skip
