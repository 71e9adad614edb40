"""What the tests of compiled functions share: two equal things, one of them compiled."""

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F


def batches(*shapes, count=6, seed=0, dtype=np.float64):
    """`count` tuples of fresh arrays."""
    stream = np.random.default_rng(seed)
    return [[stream.standard_normal(s).astype(dtype) for s in shapes] for _ in range(count)]


def numbers_of(x):
    """What something holds, as nested arrays and numbers, for comparisons."""
    if isinstance(x, tg.Tensor):
        return x.detach().numpy().copy()
    if isinstance(x, dict):
        return {k: numbers_of(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [numbers_of(v) for v in x]
    return x


def agree(found, wanted, bound=1e-12, noise=0.0):
    """Equal up to `bound` of the largest element, or up to `noise`."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(wanted, list):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted):
            agree(a, b, bound, noise)
    elif isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        bound = bound if wanted.dtype == np.float64 else 1e-5
        top = np.max(np.abs(wanted), initial=0.0, where=np.isfinite(wanted))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=bound * top + noise)
    else:
        assert found == wanted


def side_by_side(build, calls, between=lambda thing, i: None, bound=1e-12, noise=0.0):
    """Two equal things, one compiled: results, arguments and state agree in every call.

    `build()` gives (function, state): the state is anything that holds tensors, or a function
    that gives it.
    """
    tg.manual_seed(3)
    plain, state = build()
    streams = [tg.random.get_rng_state()]
    tg.manual_seed(3)
    inner, other = build()
    compiled = tg.compile(inner)
    streams.append(tg.random.get_rng_state())
    for i, call in enumerate(calls):
        seen = []
        for k, (fn, own) in enumerate(((plain, state), (compiled, other))):
            tg.random.set_rng_state(streams[k])
            args = [tg.tensor(a) if isinstance(a, np.ndarray) else a for a in call]
            result = fn(*args)
            between(own, i)
            streams[k] = tg.random.get_rng_state()
            held = own() if callable(own) else own
            given = [[a, a.grad] if isinstance(a, tg.Tensor) else a for a in args]
            seen.append(numbers_of([result, given, held]))
        agree(seen[1], seen[0], bound, noise)
    return compiled


def with_gradients(parameters):
    """A function that gives parameters and their gradients."""
    parameters = list(parameters)
    return lambda: [[p, p.grad] for p in parameters]


def network(seed=0, dropout=False):
    tg.manual_seed(seed)
    layers = [nn.Linear(3, 5, bias=False), nn.BatchNorm1d(5), nn.ReLU()]  # a bias has no slope
    layers += [nn.Dropout(0.4)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(5, 2)).double()


def training(model, optimizer, zero="begin"):
    """A step of training, as people write it."""

    def step(x, y):
        if zero == "begin":
            optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if zero == "end":
            optimizer.zero_grad()
        return loss

    return step


PAIRS = batches((7, 3), (7, 2), count=20)
