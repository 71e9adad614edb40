"""Programs whose pictures are looked at: small, seeded, written as a student would write them.

Each gives the loss and the names of its tensors, for `tg.draw(loss, names=names)`. `PROGRAMS` has
all of them by name. The last one, `hostile`, holds what a picture may stumble over.
"""

import importlib.util
import math
import shutil

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz.graph import engines

AVAILABLE = [
    engine
    for engine, there in (
        (engines.with_dot, shutil.which("dot")),
        (engines.with_pygraphviz, importlib.util.find_spec("pygraphviz")),
    )
    if there
]
"""The drawing engines of this machine."""


def softmax_regression():
    """The cross-entropy of logits that are linear in x, from plain tensors."""
    tg.manual_seed(0)
    x, y = tg.randn(4, 2), tg.tensor(np.eye(3, dtype=np.float32)[[0, 2, 1, 0]])
    W = (0.5 * tg.randn(2, 3)).requires_grad_()
    b = tg.zeros(3, requires_grad=True)
    logits = x @ W + b
    p = F.softmax(logits, dim=1)
    loss = -(y * p.log()).sum() / 4
    return loss, {"x": x, "y": y, "W": W, "b": b, "logits": logits, "p": p}


class TwoLayerNetwork(nn.Module):
    def __init__(self):
        self.fc1 = nn.Linear(2, 5)
        self.fc2 = nn.Linear(5, 3)

    def forward(self, x):
        return self.fc2(F.sigmoid(self.fc1(x)))


def two_layer_network():
    """A classifier with one hidden layer, as a module."""
    tg.manual_seed(0)
    model, x, y = TwoLayerNetwork(), tg.randn(4, 2), tg.tensor([0, 2, 1, 0])
    logits = model(x)
    loss = F.cross_entropy(logits, y)
    return loss, {"model": model, "x": x, "y": y, "logits": logits}


def fan_out():
    """One layer used twice, and its hidden values three times: gradients are added."""
    tg.manual_seed(0)
    shared, x, target = nn.Linear(3, 3), tg.randn(2, 3), tg.zeros(2, 3)
    h = F.tanh(shared(x))
    out = F.tanh(shared(h)) * h + h
    loss = F.mse_loss(out, target)
    return loss, {"shared": shared, "x": x, "target": target, "h": h, "out": out}


class LSTMCell(nn.Module):
    """i, f, o = σ(...), g = tanh(...), c' = f·c + i·g, h' = o·tanh(c')."""

    def __init__(self, inputs, hidden):
        self.from_x = nn.Linear(inputs, 4 * hidden)
        self.from_h = nn.Linear(hidden, 4 * hidden, bias=False)

    def forward(self, x, h, c):
        i, f, g, o = tg.chunk(self.from_x(x) + self.from_h(h), 4, dim=1)
        c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
        return F.sigmoid(o) * F.tanh(c), c


def lstm_step():
    """One step of an LSTM, and the mean square of what it gives."""
    tg.manual_seed(0)
    cell, x, h, c = LSTMCell(3, 2), tg.randn(4, 3), tg.randn(4, 2), tg.randn(4, 2)
    new_h, new_c = cell(x, h, c)
    loss = (new_h**2).mean()
    names = {"cell": cell, "x": x, "h": h, "c": c, "new_h": new_h, "new_c": new_c}
    return loss, names


class CausalAttention(nn.Module):
    """softmax(q kᵀ / √d + mask) v, where a token sees itself and those before it."""

    def __init__(self, width):
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = q @ k.mT / math.sqrt(x.shape[-1])
        seen = tg.tril(tg.ones(x.shape[0], x.shape[0])) > 0
        weights = F.softmax(tg.where(seen, scores, -math.inf), dim=-1)
        return self.out(weights @ v)


class Block(nn.Module):
    """x + attention(norm(x)) of the embedded tokens x."""

    def __init__(self, vocabulary, width):
        self.embed = nn.Embedding(vocabulary, width)
        self.norm = nn.LayerNorm(width)
        self.attention = CausalAttention(width)

    def forward(self, tokens):
        x = self.embed(tokens)
        return x + self.attention(self.norm(x))


def attention_block():
    """Causal self-attention that guesses each of five tokens' successor among four."""
    tg.manual_seed(0)
    block, tokens, successors = Block(4, 4), tg.tensor([0, 2, 1, 3, 2]), tg.tensor([2, 1, 3, 2, 0])
    logits = block(tokens)
    loss = F.cross_entropy(logits, successors)
    names = {"block": block, "tokens": tokens, "successors": successors, "logits": logits}
    return loss, names


NAMES = (
    '<b> & "q" {r|s} \\N \\l',
    "two\nlines\tand \r\x1b[0m",
    "&amp;&#65;]]>--><!--",
    "🧠 α×β 学习",
    "שלום عالم",
    "long " * 60,
)
"""Names that mean something to DOT, to HTML or to a terminal, and one that is too long."""


def hostile():
    """Strange names and none, sizes 0 and 1, and numbers that are not finite."""
    a, b, c, d, e, f = (tg.tensor(np.arange(3.0) + i, requires_grad=True) for i in range(6))
    unnamed = tg.tensor(np.full(3, 0.5), requires_grad=True)
    zero_d = tg.tensor(-0.0, requires_grad=True)
    empty = tg.tensor(np.zeros((0, 3)), requires_grad=True)
    strange = tg.tensor(np.array([1.0, math.nan, math.inf, -math.inf] * 2), requires_grad=True)
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        total = (a * b + c).sum() + (d * e * f * unnamed).sum() + zero_d * 2
        loss = total + (empty * 3).sum() + (strange * strange * math.inf).sum()
    names = dict(zip(NAMES, (a, b, c, d, e, f)))
    return loss, {**names, "zero_d": zero_d, "empty": empty, "strange": strange}


PROGRAMS = {
    "softmax_regression": softmax_regression,
    "two_layer_network": two_layer_network,
    "fan_out": fan_out,
    "lstm_step": lstm_step,
    "attention_block": attention_block,
    "hostile": hostile,
}

OPENED = {"expanded": {"depth": None}, "half": {"depth": 1}, "folded": {"depth": 0}}
"""How far a picture is opened, as options of `tg.draw`."""
