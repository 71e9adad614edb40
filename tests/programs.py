"""Programs that people write, for tests of compile(), source() and passes: made for no pass.

Each function of `PROGRAMS` builds one from a dtype: (step, what it holds, arrays for a call). The
step takes tensors and gives tensors; what it holds is anything with tensors in it that a step may
change.
"""

from typing import NamedTuple

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F


class Ids(NamedTuple):
    """Whole numbers below `count`, in an array of this shape."""

    count: int
    shape: tuple[int, ...]


class Stream:
    """Arrays of one dtype, the same ones for ever."""

    def __init__(self, dtype, seed=0):
        self.dtype = dtype
        self.generator = np.random.default_rng(seed)

    def array(self, *shape):
        return self.generator.uniform(-1.0, 1.0, shape).astype(self.dtype)

    def ids(self, count, *shape):
        return self.generator.integers(0, count, shape)

    def tensor(self, *shape):
        return tg.tensor(self.array(*shape))

    def parameter(self, *shape):
        return self.tensor(*shape).requires_grad_()


def calls_of(*kinds, count=5):
    """`count` calls, each with fresh arrays of a shape, or with whole numbers below a count."""

    def make(dtype):
        stream = Stream(dtype, 11)
        return [
            [
                stream.ids(k.count, *k.shape) if isinstance(k, Ids) else stream.array(*k)
                for k in kinds
            ]
            for _ in range(count)
        ]

    return make


def learner(optimizer, loss_of):
    """zero_grad, loss, backward, step, as everybody writes it."""

    def step(*batch):
        optimizer.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        optimizer.step()
        return loss

    return step


def held_by(parameters, *optimizers):
    parameters = list(parameters)
    return lambda: [
        [[p, p.grad] for p in parameters],
        [o.state_dict()["state"] for o in optimizers],
    ]


def layers(dtype, *modules):
    tg.manual_seed(5)
    return nn.Sequential(*[m() for m in modules]).to(dtype)


# --- networks -----------------------------------------------------------------------------------


def mlp_with_tanh(dtype):
    model = layers(
        dtype, lambda: nn.Linear(3, 7), nn.Tanh, lambda: nn.Linear(7, 5), nn.Tanh,
        lambda: nn.Linear(5, 2),
    )  # fmt: skip
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    step = learner(optimizer, lambda x, y: F.mse_loss(model(x), y))
    return step, held_by(model.parameters(), optimizer), calls_of((6, 3), (6, 2))(dtype)


def recurrent(dtype):
    s = Stream(dtype)
    U, V, b, out = (s.parameter(*n) for n in ((4, 4), (3, 4), (4,), (4, 2)))
    optimizer = tg.optim.AdamW([U, V, b, out], lr=0.01, weight_decay=0.1)

    def loss_of(x, y):
        h = tg.zeros(2, 4, dtype=dtype)
        for t in range(5):
            h = (x[:, t] @ V + h @ U + b).tanh()
        return ((h @ out - y) ** 2).sum()

    return (
        learner(optimizer, loss_of),
        held_by([U, V, b, out], optimizer),
        calls_of((2, 5, 3), (2, 2))(dtype),
    )


def lstm(dtype):
    s = Stream(dtype)
    W, U, b = s.parameter(12, 2), s.parameter(12, 3), s.parameter(12)
    optimizer = tg.optim.SGD([W, U, b], lr=0.1, momentum=0.9, nesterov=True)

    def loss_of(x):
        h = c = tg.zeros(4, 3, dtype=dtype)
        for t in range(3):
            i, f, g, o = (x[t] @ W.T + h @ U.T + b).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h.square().mean() + c.abs().mean()

    return learner(optimizer, loss_of), held_by([W, U, b], optimizer), calls_of((3, 4, 2))(dtype)


def embedding_of_many_rows(dtype):
    tg.manual_seed(5)
    rows, out = nn.Embedding(50_000, 2).to(dtype), nn.Linear(2, 4).to(dtype)
    parameters = [*rows.parameters(), *out.parameters()]
    optimizer = tg.optim.SGD(parameters, lr=0.5)
    step = learner(optimizer, lambda ids, y: F.cross_entropy(out(rows(ids).mean(1)), y))
    return (
        step,
        held_by(parameters, optimizer),
        calls_of(
            Ids(
                3000,
                (
                    5,
                    7,
                ),
            ),
            Ids(4, (5,)),
        )(dtype),
    )


def embedding_of_few_rows(dtype):
    tg.manual_seed(5)
    rows, out = nn.Embedding(4, 3).to(dtype), nn.Linear(3, 4).to(dtype)
    parameters = [*rows.parameters(), *out.parameters()]
    optimizer = tg.optim.Adam(parameters, lr=0.01)
    step = learner(
        optimizer, lambda ids: F.cross_entropy(out(rows(ids[:-1])), ids[1:], ignore_index=-1)
    )
    return step, held_by(parameters, optimizer), calls_of(Ids(4, (9,)))(dtype)


def small_images(dtype):
    model = layers(
        dtype, lambda: nn.Conv2d(3, 4, 5, stride=3), nn.SiLU, lambda: nn.Conv2d(4, 3, 3, padding=1),
        lambda: nn.MaxPool2d(2), nn.Flatten, lambda: nn.Linear(75, 3),
    )  # fmt: skip
    optimizer = tg.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    step = learner(optimizer, lambda x, y: F.cross_entropy(model(x), y))
    return (
        step,
        held_by(model.parameters(), optimizer),
        calls_of((2, 3, 32, 32), Ids(3, (2,)))(dtype),
    )


class Head(nn.Module):
    """One block of a transformer: attention with a mask, then two layers."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        n, width = x.shape[1], x.shape[2]
        h = self.norm(x)
        seen = tg.ones(n, n).tril() > 0.0
        scores = self.q(h) @ self.k(h).transpose(1, 2) / width**0.5
        x = x + F.softmax(scores.masked_fill(~seen, -float("inf")), 2) @ self.v(h)
        return x + self.down(F.gelu(self.up(self.after(x))))


class SmallGPT(nn.Module):
    """Tokens and places, two blocks, and the logits of the next token."""

    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(9, 4), nn.Embedding(5, 4)
        self.blocks = nn.Sequential(Head(4), Head(4))
        self.out = nn.Linear(4, 9)

    def forward(self, ids):
        x = self.tokens(ids) + self.places(tg.arange(ids.shape[1]))
        return self.out(self.blocks(x))


def two_layers_of_gpt(dtype):
    model = layers(dtype, SmallGPT)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

    def loss_of(ids):
        return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())

    return (
        learner(optimizer, loss_of),
        held_by(model.parameters()),
        calls_of(
            Ids(
                9,
                (
                    3,
                    6,
                ),
            )
        )(dtype),
    )


def tied_autoencoder(dtype):
    s = Stream(dtype)
    W, b, c = s.parameter(6, 3), s.parameter(3), s.parameter(6)
    optimizer = tg.optim.SGD([{"params": [W]}, {"params": [b, c], "lr": 0.2}], lr=0.1)

    def loss_of(x):
        code = F.softplus(x @ W + b)
        return F.huber_loss(code @ W.T + c, x) + 0.1 * code.abs().sum() / 5.0

    return learner(optimizer, loss_of), held_by([W, b, c]), calls_of((5, 6))(dtype)


def attention_over_its_inputs(dtype):
    def step(q, k, v):
        for x in (q, k, v):
            x.requires_grad_()
        weights = (tg.einsum("bqc,bkc->bqk", q, k) / 2.0).softmax(-1)
        y = tg.einsum("bqk,bkc->bqc", weights, v)
        (y * y).sum().backward()
        return y, weights

    return step, [], calls_of((2, 3, 4), (2, 5, 4), (2, 5, 4))(dtype)


def u_net(dtype):
    tg.manual_seed(5)
    down, inner, up = (
        nn.Conv2d(1, 3, 3, padding=1),
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(7, 1, 1),
    )
    model = nn.ModuleList([down, inner, up]).to(dtype)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

    def loss_of(x, y):
        a = F.relu(down(x))
        b = inner(F.avg_pool2d(a, 2)).sigmoid()
        n, c, h, w = b.shape
        wide = b[:, :, :, None, :, None].expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)
        return F.binary_cross_entropy_with_logits(up(tg.cat([a, wide], 1)), (y > 0.0).to(dtype))

    return (
        learner(optimizer, loss_of),
        held_by(model.parameters()),
        calls_of((2, 1, 6, 8), (2, 1, 6, 8))(dtype),
    )


def graph_convolution(dtype):
    """Messages along edges: rows are gathered several times, and added up where they arrive."""
    s = Stream(dtype)
    W, V = s.parameter(3, 4), s.parameter(4, 2)
    source, target = tg.tensor([0, 1, 1, 2, 4, 4, 4, 3]), tg.tensor([1, 0, 2, 1, 3, 0, 4, 4])
    arriving = F.one_hot(target, 5).to(dtype)
    optimizer = tg.optim.Adam([W, V], lr=0.02)

    def loss_of(x, y):
        h = F.leaky_relu(arriving.T @ (x @ W)[source], 0.2)
        return F.cross_entropy(arriving.T @ (h @ V)[source], y)

    return learner(optimizer, loss_of), held_by([W, V]), calls_of((5, 3), Ids(2, (5,)))(dtype)


def variational_autoencoder(dtype):
    tg.manual_seed(5)
    code, decode = nn.Linear(5, 4).to(dtype), nn.Linear(2, 5).to(dtype)
    parameters = [*code.parameters(), *decode.parameters()]
    optimizer = tg.optim.Adam(parameters, lr=0.01)

    def loss_of(x):
        mean, logvar = code(x).chunk(2, -1)
        z = mean + (0.5 * logvar).exp() * tg.randn(4, 2, dtype=dtype)
        divergence = -0.5 * (1.0 + logvar - mean**2 - logvar.exp()).sum(1).mean()
        return F.mse_loss(decode(z), x, reduction="sum") / 4.0 + divergence

    return learner(optimizer, loss_of), held_by(parameters, optimizer), calls_of((4, 5))(dtype)


def dropout_and_batch_norm(dtype):
    model = layers(
        dtype, lambda: nn.Linear(4, 6, bias=False), lambda: nn.BatchNorm1d(6), nn.LeakyReLU,
        lambda: nn.Dropout(0.3), lambda: nn.Linear(6, 3), lambda: nn.LogSoftmax(1),
    )  # fmt: skip
    optimizer = tg.optim.AdamW(model.parameters(), lr=0.01)
    step = learner(optimizer, lambda x, y: F.nll_loss(model(x), y))
    held = held_by(model.parameters(), optimizer)
    return step, lambda: [held(), list(model.buffers())], calls_of((7, 4), Ids(3, (7,)))(dtype)


def one_layer_twice(dtype):
    """Weights that are used twice, of a long batch, and a layer that is much wider than it is."""
    tg.manual_seed(5)
    same, wide = nn.Linear(8, 8).to(dtype), nn.Linear(8, 9000, bias=False).to(dtype)
    optimizer = tg.optim.Adam([*same.parameters(), *wide.parameters()], lr=0.01)

    def loss_of(x):
        h = same(same(x).tanh())
        return h.square().mean() + wide(h[:2]).square().mean() + wide(h[:3]).amax()

    parameters = [*same.parameters(), wide.weight]
    held = held_by(same.parameters())
    return (
        learner(optimizer, loss_of),
        lambda: [held(), wide.weight[::999], parameters[0]],
        calls_of((600, 8), count=3)(dtype),
    )


# --- derivatives, and steps of other forms --------------------------------------------------------


def physics_informed(dtype):
    """u'' + u = 0 at given points: gradients of second derivatives."""
    s = Stream(dtype)
    W, b, v = s.parameter(1, 6), s.parameter(6), s.parameter(6, 1)
    optimizer = tg.optim.Adam([W, b, v], lr=0.01)

    def loss_of(t):
        t.requires_grad_()
        u = (t @ W + b).tanh() @ v
        (first,) = tg.autograd.grad(u.sum(), t, create_graph=True)
        (second,) = tg.autograd.grad(first.sum(), t, create_graph=True)
        return ((second + u) ** 2).mean() + (u[0] - 1.0).square().sum()

    return learner(optimizer, loss_of), held_by([W, b, v]), calls_of((6, 1))(dtype)


def oscillator(dtype):
    """A spring's stiffness and damping, fitted through the steps of an integrator."""
    stiffness, damping = (tg.tensor(np.array([v], dtype), requires_grad=True) for v in (2.0, 0.1))

    def step(x, v, wanted):
        for p in (stiffness, damping):
            p.grad = None
        for _ in range(8):
            v = v - 0.1 * (stiffness * x + damping * v)
            x = x + 0.1 * v
        loss = ((x - wanted) ** 2).mean()
        loss.backward()
        with tg.no_grad():
            for p in (stiffness, damping):
                p -= 0.05 * p.grad
                p.clamp_(0.0, 3.0)
        return loss, x.detach(), v.norm()

    return step, held_by([stiffness, damping]), calls_of((3,), (3,), (3,))(dtype)


def gradient_penalty(dtype):
    """A critic whose slope is pulled to 1, and what it judges, each with its optimiser."""
    tg.manual_seed(5)
    critic = layers(dtype, lambda: nn.Linear(3, 5), nn.Softplus, lambda: nn.Linear(5, 1))
    maker = layers(dtype, lambda: nn.Linear(2, 3))
    judge = tg.optim.Adam(critic.parameters(), lr=0.01, betas=(0.5, 0.9))
    make = tg.optim.SGD(maker.parameters(), lr=0.05)

    def step(z, real):
        fake = maker(z)
        mixed = (0.3 * real + 0.7 * fake.detach()).requires_grad_()
        (slope,) = tg.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
        penalty = ((slope.norm(dim=1) - 1.0) ** 2).mean()
        judge.zero_grad()
        loss = critic(fake.detach()).mean() - critic(real).mean() + 10.0 * penalty
        loss.backward()
        judge.step()
        make.zero_grad()
        (-critic(fake).mean()).backward()
        make.step()
        return loss

    parameters = [*critic.parameters(), *maker.parameters()]
    return step, held_by(parameters, judge), calls_of((4, 2), (4, 3))(dtype)


def gathered_gradients(dtype):
    """Two halves of a batch, gradients added and clipped, and a mean of the weights over time."""
    s = Stream(dtype)
    W, b = s.parameter(3, 2), s.parameter(2)
    slow = [W.detach().clone(), b.detach().clone()]
    optimizer = tg.optim.SGD([W, b], lr=0.1, momentum=0.5)

    def step(x, y):
        optimizer.zero_grad()
        losses = []
        for half in (slice(None, 3), slice(3, None)):
            loss = F.l1_loss(x[half] @ W + b, y[half])
            loss.backward()
            losses.append(loss.detach())
        norm = nn.utils.clip_grad_norm_([W, b], 0.5)
        optimizer.step()
        with tg.no_grad():
            for mean, p in zip(slow, (W, b)):
                mean.mul_(0.9).add_(p, alpha=0.1)
        return {"losses": losses, "norm": norm}

    held = held_by([W, b], optimizer)
    return step, lambda: [held(), slow], calls_of((6, 3), (6, 2))(dtype)


def mixture(dtype):
    """A mixture of normals: logsumexp, sorted means, cumulative weights."""
    s = Stream(dtype)
    mean, scale, weight = s.parameter(4), s.parameter(4), s.parameter(4)
    optimizer = tg.optim.Adam([mean, scale, weight], lr=0.05)

    def step(x):
        optimizer.zero_grad()
        z = (x[:, None] - mean) / F.softplus(scale)
        logs = -0.5 * z * z - F.softplus(scale).log() + weight.log_softmax(0)
        loss = -logs.logsumexp(1).mean()
        loss.backward()
        optimizer.step()
        return loss, mean.sort().values, weight.softmax(0).cumsum(0), logs.argmax(1)

    return step, held_by([mean, scale, weight], optimizer), calls_of((7,))(dtype)


def whitening(dtype):
    """Statistics kept in tensors of the user's own, written at the end of each step."""
    mean, spread = tg.zeros(4, dtype=dtype), tg.ones(4, dtype=dtype)
    count = tg.zeros(1, dtype=np.int64)
    seen = tg.zeros(3, 4, dtype=dtype)

    def step(x):
        y = (x - mean) / (spread + 0.1).sqrt()
        mean.mul_(0.9).add_(0.1 * x.mean(0))
        spread.copy_(0.9 * spread + 0.1 * x.var(0))
        count.add_(1)
        seen[0] = seen[1]
        seen[1] = seen[2]
        seen[2] = y.amax(0)
        return y, seen.sum(), count * 2

    return step, [mean, spread, count, seen], calls_of((5, 4))(dtype)


# --- shapes -------------------------------------------------------------------------------------


def broadcasting(dtype):
    """Every way in which shapes meet: scalars, rows, columns, stacks, on either side."""
    s = Stream(dtype)
    shapes = ((), (1,), (5,), (4, 1), (4, 5), (3, 1, 5), (1, 1, 1), (3, 4, 1))
    parts = [s.parameter(*shape) for shape in shapes if shape]

    def step(x, number):
        for p in parts:
            p.grad = None
        total = (x * number).sum()
        for p in (*parts, number):
            for a, b in ((x, p), (p, x)):
                y = a * b - b / (a * a + 1.0) + tg.maximum(a, b) - tg.where(a > b, a, b * b)
                total = total + (y * x).mean()
        total.backward()
        return total, x + parts[0] - number

    return step, held_by(parts), calls_of((3, 4, 5), ())(dtype)


AXES = [None, 0, 1, -1, (0, 1), (1, 2), (-1, 0)]


def reductions(dtype):
    """Every reduction over every axis, kept or not, and what flows back through it."""
    w = Stream(dtype).parameter(3, 4, 5)

    def step(x):
        w.grad = None
        y = w * x + x
        found = []
        for axis in AXES:
            for keep in (False, True):
                found += [y.sum(axis, keepdim=keep), y.mean(axis, keepdim=keep)]
                found += [y.amax(axis, keepdim=keep), y.amin(axis, keepdim=keep)]
                found.append((y * 0.5 + 1.0).var(axis, keepdim=keep))
                found.append(y.logsumexp(axis, keepdim=keep) if axis is not None else y.norm())
        for axis in (0, 2, -2):
            for keep in (False, True):
                found += [y.prod(axis, keepdim=keep), y.max(axis, keepdim=keep).values]
                found += [y.std(axis, keepdim=keep), y.min(axis, keepdim=keep).values]
        sum((f * f).sum() * 0.01 for f in found).backward()
        truths = [(x > 0.0).all(1), (x > 0.9).any(2), x.argmax(0), x.argmin(-1), x.argmax()]
        return found, truths

    return step, held_by([w]), calls_of((3, 4, 5), count=4)(dtype)


def reductions_of_matrices(dtype):
    """The same for matrices, tall and wide, whose sums are computed in other ways."""
    s = Stream(dtype)
    parts = [s.parameter(40, 3), s.parameter(3, 40), s.parameter(1, 6), s.parameter(6, 1)]

    def step(x):
        found = []
        for w in parts:
            w.grad = None
            y = w * x + 0.5
            for axis in (None, 0, -1, -2):
                for keep in (False, True):
                    found += [y.sum(axis, keepdim=keep), (y * y).mean(axis, keepdim=keep)]
                    found += [y.amax(axis, keepdim=keep), y.T.amin(axis, keepdim=keep)]
            found += [y.cumsum(0), y.cumprod(1) * 0.1, y.T.sum(0), y[::2].sum(1), y[:, 1:].sum(0)]
        sum((f * f).sum() for f in found).backward()
        return found

    return step, held_by(parts), calls_of((1,), count=4)(dtype)


def parameters_that_are_views(dtype):
    """Weights that are not in one piece: transposed, reversed, every second column."""
    s = Stream(dtype)
    parts = [
        tg.from_numpy(s.array(3, 4).T), tg.from_numpy(s.array(4, 6)[:, ::2]),
        tg.from_numpy(s.array(3)[::-1]), tg.from_numpy(s.array(2, 3, 4).transpose(2, 0, 1)),
    ]  # fmt: skip
    for p in parts:
        p.requires_grad_()
    optimizer = tg.optim.Adam(parts, lr=0.01)

    def loss_of(x):
        a, b, c, d = parts
        y = (x @ a + c) * (x @ b) - x.sum(1, keepdim=True)
        return (y @ d.sum(1).T).tanh().mean() + (d * d)[1:, :, ::2].mean()

    return learner(optimizer, loss_of), held_by(parts), calls_of((5, 4))(dtype)


def indexing(dtype):
    """Rows, columns, masks, diagonals and repeated indices, read and written."""
    s = Stream(dtype)
    w, table = s.parameter(4, 5), s.parameter(3, 2, 5)
    rows, columns = tg.tensor([0, 2, 2, 3]), tg.tensor([1, 1, 4, 0])

    def step(x, ids):
        w.grad = table.grad = None
        y = x * w
        y[1] = y[0] * 2.0
        y[:, 2] = y[:, 2] + 1.0
        y[2:, ::2] = 0.5
        y[rows[:2], columns[:2]] = x[0, :2]
        picked = [y[rows, columns], y[rows], y[:, columns], table[ids], table[:, 1, ids]]
        picked += [
            y.gather(1, ids[:, None] + 1),
            y.flip(0)[1:, None],
            y.tril(1),
            y[:, :4].diagonal(),
        ]
        picked += [tg.stack([y, -y], 1)[:, :, 0], tg.cat([y[:1], y[2:]], 0), y.reshape(2, 10).mT]
        sum((p * p).sum() for p in picked).backward()
        return picked, tg.where(x > 0.0, x, y).detach()

    return step, held_by([w, table]), calls_of((4, 5), Ids(3, (4,)))(dtype)


def whole_numbers(dtype):
    """Integers and truths among floats: no gradients, every kind of arithmetic."""
    counts = tg.tensor([3, -4, 5, 0])

    def step(x, ids):
        counts.add_(ids % 3)
        small, even = ids // 2, ids % 2 == 0
        both = (x > 0.0) & even | ~(x < 0.5) ^ (ids > 1)
        numbers = [ids * 2 + small - ids, -ids * ids, ids / 3, abs(ids - 2), ids**2, counts * ids]
        floats = [x // 0.3, x % 0.7, x.floor(), x.ceil(), x.round(), x.sign(), x.clamp(-0.2, 0.4)]
        mixed = [x * ids, even * x, both * 1.5, x + small, tg.where(both, x, ids), ids.to(dtype)]
        sums = [ids.sum(), even.sum(), ids.amax(), x.astype(np.float32).sum(), ids.to(dtype).mean()]
        shown = [both, F.one_hot(ids, 4), x.isfinite(), ids.argsort(), ids.cumsum(0), ids.prod()]
        return numbers, floats, mixed, sums, shown

    return step, [counts], calls_of((4,), Ids(4, (4,)))(dtype)


def long_rows(dtype):
    """Rows that do not fit into a cache, not a multiple of any block, with sums between them."""
    n = (1 << 18) + 4321
    w = Stream(dtype).parameter(n)
    moment = tg.zeros(n, dtype=dtype)

    def step(x):
        w.grad = None
        loss = F.softplus(w * x).mean() + (w * w).sum() * 1e-6
        loss.backward()
        with tg.no_grad():
            moment.mul_(0.9).add_(w.grad)
            w.sub_(moment * 0.5)
        return loss, (x * w).sum(), (x.astype(np.float32) * 2.0 + 1.0).tanh()[::10_000]

    return step, lambda: [w[::1000], moment[::1000]], calls_of((n,), count=3)(dtype)


PROGRAMS = [
    mlp_with_tanh, recurrent, lstm, embedding_of_many_rows, embedding_of_few_rows, small_images,
    two_layers_of_gpt, tied_autoencoder, attention_over_its_inputs, u_net, graph_convolution,
    variational_autoencoder, dropout_and_batch_norm, one_layer_twice, physics_informed, oscillator,
    gradient_penalty, gathered_gradients, mixture, whitening, broadcasting, reductions,
    reductions_of_matrices, parameters_that_are_views, indexing, whole_numbers, long_rows,
]  # fmt: skip
