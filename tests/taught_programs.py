"""Networks that are taught, each as a program and in NumPy by hand.

`TAUGHT` has, by name, what makes its tensors and modules, its loss, which adds to them what it
names on the way, and the same loss in NumPy, of arrays by the names of tensors and parameters.
"""

import math

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cross_entropy(z, y):
    return -np.log(softmax(z)[np.arange(len(y)), y]).mean()


def linear(t, name, x):
    return x @ t[f"{name}.weight"].T + t.get(f"{name}.bias", 0)


def normed(t, name, x):
    x = x - x.mean(-1, keepdims=True)
    return (
        x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * t[f"{name}.weight"] + t[f"{name}.bias"]
    )


def relu(x):
    return np.maximum(x, 0)


# --- a first expression -----------------------------------------------------------------------


def scalars():
    return {name: tg.tensor(x, requires_grad=True) for name, x in (("a", -4.0), ("b", 2.0))}


def expression(t):
    """The expression that micrograd's README begins with."""
    a, b = t["a"], t["b"]
    c = a + b
    d = a * b + b**3
    c = c + c + 1
    c = c + 1 + c + (-a)
    d = d + d * 2 + (b + a).relu()
    d = d + 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g = g + 10.0 / f
    t.update({"e": e, "f": f, "g": g})
    return g


def expression_in_numpy(t):
    a, b = t["a"], t["b"]
    c = 4 * (a + b) + 2 + 1 - a
    d = 4 * (3 * (a * b + b**3) + relu(a + b)) + relu(b - a)
    return (c - d) ** 2 / 2 + 10 / (c - d) ** 2


# --- residual blocks --------------------------------------------------------------------------


class Residual(nn.Module):
    """x + W₂ relu(W₁ norm(x))."""

    def __init__(self, width):
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.fc2(F.relu(self.fc1(self.norm(x))))


def residual_tensors():
    model = nn.Sequential(nn.Linear(2, 3), Residual(3), Residual(3), nn.Linear(3, 2))
    return {"model": model, "x": tg.randn(4, 2), "y": tg.tensor([0, 1, 1, 0])}


def residual_network(t):
    """Two residual blocks between two layers."""
    logits = t["logits"] = t["model"](t["x"])
    return F.cross_entropy(logits, t["y"])


def residual_in_numpy(t):
    h = linear(t, "0", t["x"])
    for i in "12":
        h = h + linear(t, f"{i}.fc2", relu(linear(t, f"{i}.fc1", normed(t, f"{i}.norm", h))))
    return cross_entropy(linear(t, "3", h), t["y"])


# --- batch normalisation by hand --------------------------------------------------------------


def letters():
    X = tg.tensor([[0, 0, 1], [0, 1, 3], [1, 3, 3], [3, 3, 2], [0, 0, 2]])
    C, W1, W2 = tg.randn(4, 2), 0.5 * tg.randn(6, 3), 0.3 * tg.randn(3, 4)
    trained = {"C": C, "W1": W1, "W2": W2, "b2": tg.zeros(4), "gain": tg.ones(1, 3),
               "shift": tg.zeros(1, 3)}  # fmt: skip
    for tensor in trained.values():
        tensor.requires_grad_()
    return {"X": X, "Y": tg.tensor([1, 3, 2, 0, 2]), **trained}


def batch_norm_by_hand(t):
    """Which letter follows three others, with the batch normalised by hand."""
    emb = t["C"][t["X"]]
    hprebn = emb.view(emb.shape[0], -1) @ t["W1"]
    mean, var = hprebn.mean(0, keepdim=True), hprebn.var(0, keepdim=True)
    raw = (hprebn - mean) * (var + 1e-5) ** -0.5
    h = tg.tanh(t["gain"] * raw + t["shift"])
    logits = h @ t["W2"] + t["b2"]
    t.update({"emb": emb, "hprebn": hprebn, "h": h, "logits": logits})
    return F.cross_entropy(logits, t["Y"])


def batch_norm_in_numpy(t):
    z = t["C"][t["X"]].reshape(5, 6) @ t["W1"]
    z = (z - z.mean(0)) / np.sqrt(z.var(0, ddof=1) + 1e-5)
    h = np.tanh(t["gain"] * z + t["shift"])
    return cross_entropy(h @ t["W2"] + t["b2"], t["Y"])


# --- a language model -------------------------------------------------------------------------


class GPTBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), with two heads."""

    def __init__(self, width):
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def attend(self, x):
        t, width = x.shape
        q, k, v = (z.reshape(t, 2, -1).transpose(0, 1) for z in self.qkv(x).chunk(3, dim=-1))
        seen = tg.tril(tg.ones(t, t)) > 0
        att = F.softmax(tg.where(seen, q @ k.mT / math.sqrt(width // 2), -math.inf), dim=-1)
        return self.proj((att @ v).transpose(0, 1).reshape(t, width))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """Tokens and places, a block, and a logit for each token that may come next."""

    def __init__(self, vocabulary, length, width):
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.block = GPTBlock(width)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids):
        x = self.tokens(ids) + self.places(tg.arange(len(ids)))
        return self.head(self.norm(self.block(x)))


def words():
    return {"gpt": GPT(4, 3, 4), "ids": tg.tensor([0, 2, 1]), "following": tg.tensor([2, 1, 3])}


def gpt_block(t):
    """A language model of one block, which guesses the next of three tokens."""
    logits = t["logits"] = t["gpt"](t["ids"])
    return F.cross_entropy(logits, t["following"])


def gpt_in_numpy(t):
    x = t["tokens.weight"][t["ids"]] + t["places.weight"]
    q, k, v = np.split(linear(t, "block.qkv", normed(t, "block.norm1", x)), 3, axis=1)
    heads = []
    for i in (slice(0, 2), slice(2, 4)):
        scores = np.where(np.tril(np.ones((3, 3))) > 0, q[:, i] @ k[:, i].T / np.sqrt(2), -np.inf)
        heads.append(softmax(scores) @ v[:, i])
    x = x + linear(t, "block.proj", np.concatenate(heads, axis=1))
    up = linear(t, "block.up", normed(t, "block.norm2", x))
    half = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)))
    x = x + linear(t, "block.down", up * half(up))
    return cross_entropy(linear(t, "head", normed(t, "norm", x)), t["following"])


# --- a differential equation ------------------------------------------------------------------


def line():
    net = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1))
    x = tg.linspace(0, 1, 4).reshape(4, 1).requires_grad_()
    return {"net": net, "x": x, "start": tg.zeros(1, 1)}


def pinn(t):
    """u″ + u = 0 with u(0) = 1: a network whose loss has its own second derivative in it."""
    net, x, start = t["net"], t["x"], t["start"]
    u = net(x)
    (du,) = tg.autograd.grad(u.sum(), x, create_graph=True)
    (ddu,) = tg.autograd.grad(du.sum(), x, create_graph=True)
    residual = ddu + u
    t.update({"u": u, "ddu": ddu, "residual": residual})
    return (residual**2).mean() + (net(start) - 1).square().mean()


def pinn_in_numpy(t):
    w, v = t["0.weight"][:, 0], t["2.weight"][0]
    h = np.tanh(linear(t, "0", t["x"]))
    bend = (-2 * h * (1 - h**2) * w**2) @ v
    start = linear(t, "2", np.tanh(linear(t, "0", t["start"])))
    return ((bend + linear(t, "2", h)[:, 0]) ** 2).mean() + ((start - 1) ** 2).mean()


# --- an autoencoder ---------------------------------------------------------------------------


def coders():
    encoder = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    decoder = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 6))
    return {"encoder": encoder, "decoder": decoder, "x": tg.rand(3, 6)}


def autoencoder(t):
    """Six numbers through two, and back."""
    code = t["encoder"](t["x"])
    out = t["decoder"](code)
    t.update({"code": code, "out": out})
    return F.mse_loss(out, t["x"])


def autoencoder_in_numpy(t):
    code = linear(t, "encoder.2", relu(linear(t, "encoder.0", t["x"])))
    out = linear(t, "decoder.2", relu(linear(t, "decoder.0", code)))
    return ((out - t["x"]) ** 2).mean()


TAUGHT = {
    "expression": (scalars, expression, expression_in_numpy),
    "residual_network": (residual_tensors, residual_network, residual_in_numpy),
    "batch_norm_by_hand": (letters, batch_norm_by_hand, batch_norm_in_numpy),
    "gpt_block": (words, gpt_block, gpt_in_numpy),
    "pinn": (line, pinn, pinn_in_numpy),
    "autoencoder": (coders, autoencoder, autoencoder_in_numpy),
}


def taught(name):
    """The loss of a program and what has a name in it, and its loss anew."""
    tg.manual_seed(0)
    make, loss, _ = TAUGHT[name]
    names = make()
    return loss(names), names, lambda: loss(names)
