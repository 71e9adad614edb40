"""What is asked of PyTorch and of this library alike; PyTorch's answers are in ``data/nn.npz``.

Every function here takes the library (or its `nn.functional`, `nn`, `optim`) as an argument and
runs the same lines with either. Inputs are odd multiples of 1/128 from a stream that NumPy promises
never to change: they are exact in float32, so one answer in float64 is right for both precisions,
and no input nor difference of an input and a target lies on a kink.
"""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FROZEN = Path(__file__).with_name("data") / "nn.npz"

# --- inputs -------------------------------------------------------------------------------------


def raw(shape, seed):
    """Integers of 64 bits, the same ones for ever."""
    return np.random.PCG64(seed).random_raw(math.prod(shape)).reshape(shape)


def numbers(*shape, seed=0):
    """Odd multiples of 1/128 between -2 and 2."""
    return (raw(shape, seed) % 256).astype(float) / 64 - 2 + 1 / 128


def targets(*shape, seed=50):
    """Multiples of 1/64 between -2 and 2."""
    return (raw(shape, seed) % 256).astype(float) / 64 - 2


def shares(*shape, seed=60):
    """Multiples of 1/64 between 0 and 1, both excluded."""
    return ((raw(shape, seed) % 63).astype(float) + 1) / 64


def apart(*shape, seed=70):
    """Numbers no two of which are close, for maxima."""
    return (np.argsort(raw((math.prod(shape),), seed)).reshape(shape) + 0.25) / 8 - 3


def ids(*shape, classes, seed=80):
    """Class ids."""
    return (raw(shape, seed) % classes).astype(np.int64)


def incoming(shape):
    """A gradient to send in, different in every element."""
    return numbers(*shape, seed=90)


# --- functions ----------------------------------------------------------------------------------


class Case(NamedTuple):
    """One call of a function: `call(F, *inputs)`, differentiated by the inputs at `wrt`.

    `smooth`: no kink at these inputs and few elements, so that differences can be taken.
    """

    name: str
    call: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]
    wrt: tuple[int, ...] = (0,)
    smooth: bool = True


REDUCTIONS = ("none", "mean", "sum")


def named(function, **options):
    """`F.function(*inputs, **options)`."""
    return lambda F, *inputs: getattr(F, function)(*inputs, **options)


def label(*parts, **options):
    """A name for a case."""
    return "-".join([*map(str, parts), *(f"{k}={v}" for k, v in options.items())]).replace(" ", "")


def activations():
    x = numbers(2, 3, 5)
    wide = np.array([-8.0, -4.0, -(2.0**-10), 2.0**-10, 3.0, 8.0])
    for name in ("sigmoid", "tanh", "softplus", "logsigmoid", "relu", "silu", "leaky_relu", "gelu"):
        yield Case(name, named(name), (x,))
        yield Case(f"{name}-wide", named(name), (wide,))
        yield Case(f"{name}-number", named(name), (numbers(seed=3),))
    yield Case("leaky_relu-0.2", named("leaky_relu", negative_slope=0.2), (x,))
    yield Case("gelu-tanh", named("gelu", approximate="tanh"), (x,))
    for name in ("softmax", "log_softmax", "logsumexp"):
        for dim in (0, 1, 2, -1, -2):
            yield Case(label(name, dim=dim), named(name, dim=dim), (x,))
        yield Case(f"{name}-vector", named(name, dim=0), (numbers(5),))
        yield Case(f"{name}-far", named(name, dim=1), (numbers(3, 5) * 512,), smooth=False)
    yield Case("logsumexp-two", named("logsumexp", dim=(0, 2)), (x,))
    yield Case("logsumexp-keepdim", named("logsumexp", dim=1, keepdim=True), (x,))


def two_of_one_shape():
    x, y, p, q = numbers(3, 5), targets(3, 5), shares(3, 5), shares(3, 5, seed=61)
    weight, pos = shares(3, 5, seed=62) * 4, shares(5, seed=63) * 4
    logp, logq = np.round(np.log(p) * 64) / 64, np.round(np.log(q) * 64) / 64
    for r in REDUCTIONS:
        for name in ("mse_loss", "l1_loss", "huber_loss"):
            yield Case(label(name, r), named(name, reduction=r), (x, y), (0, 1))
        for delta in (0.5, 1.5):
            call = named("huber_loss", reduction=r, delta=delta)
            yield Case(label("huber_loss", r, delta), call, (x, y), (0, 1))
        name = "binary_cross_entropy"
        yield Case(label(name, r), named(name, reduction=r), (p, q), (0, 1))
        call = partial(weighed, name, reduction=r)
        yield Case(label(name, r, "weight"), call, (p, q, weight), (0, 1))
        name = "binary_cross_entropy_with_logits"
        yield Case(label(name, r), named(name, reduction=r), (x, q), (0, 1))
        yield Case(label(name, r, "far"), named(name, reduction=r), (x * 16, q), (0, 1), False)
        call = partial(weighed, name, reduction=r)
        yield Case(label(name, r, "weight"), call, (x, q, weight), (0, 1))
        yield Case(label(name, r, "row-weight"), call, (x, q, pos), (0, 1))
        call = partial(pos_weighed, reduction=r)
        yield Case(label(name, r, "pos_weight"), call, (x, q, pos), (0, 1))
        call = partial(both_weighed, reduction=r)
        yield Case(label(name, r, "weight-pos_weight"), call, (x, q, weight, pos), (0, 1))
    for r in (*REDUCTIONS, "batchmean"):
        call = named("kl_div", reduction=r)
        yield Case(label("kl_div", r), call, (logq, p), (0, 1))
        call = named("kl_div", reduction=r, log_target=True)
        yield Case(label("kl_div", r, "log_target"), call, (logq, logp), (0, 1))
    certain = np.array([[0.0, 1.0, 0.0, 1.0, 0.5]] * 3)
    name = "binary_cross_entropy"
    yield Case(f"{name}-certain", named(name), (p, certain), (0, 1))
    name = "binary_cross_entropy_with_logits"
    yield Case(f"{name}-certain", named(name), (x, certain), (0, 1))
    yield Case("kl_div-zeros", named("kl_div", reduction="sum"), (logq, certain), (0,))


def weighed(name, F, x, y, weight, **options):
    return getattr(F, name)(x, y, weight=weight, **options)


def pos_weighed(F, x, y, pos_weight, **options):
    return F.binary_cross_entropy_with_logits(x, y, pos_weight=pos_weight, **options)


def both_weighed(F, x, y, weight, pos_weight, **options):
    return F.binary_cross_entropy_with_logits(x, y, weight, pos_weight=pos_weight, **options)


SAMPLES = ((5,), (4, 5), (2, 5, 3), (2, 5, 2, 3))  # shapes of logits for 5 classes


def classifications():
    weight = shares(5, seed=64) * 4
    for shape in SAMPLES:
        z = numbers(*shape, seed=len(shape))
        y = ids(*(shape[:1] + shape[2:] if len(shape) > 1 else ()), classes=5, seed=81)
        p = shares(*shape)
        small = shape == (4, 5)
        for r in REDUCTIONS:
            for ignore in (-100, int(y.flat[0])) if len(shape) > 1 else (-100,):
                options = {"reduction": r, "ignore_index": ignore}
                given = label("x".join(map(str, shape)), **options)
                call, name = named("nll_loss", **options), f"nll_loss-{given}"
                yield Case(name, call, (z, y), smooth=small)
                call = partial(weighed, "nll_loss", **options)
                yield Case(f"{name}-weight", call, (z, y, weight), smooth=small)
                for smoothing in (0.0, 0.25):
                    options["label_smoothing"] = smoothing
                    name = f"cross_entropy-{given}-{smoothing}"
                    yield Case(name, named("cross_entropy", **options), (z, y), smooth=small)
                    call = partial(weighed, "cross_entropy", **options)
                    yield Case(f"{name}-weight", call, (z, y, weight), smooth=small)
            for smoothing in (0.0, 0.25):
                options = {"reduction": r, "label_smoothing": smoothing}
                name = label("cross_entropy-shares", "x".join(map(str, shape)), **options)
                yield Case(name, named("cross_entropy", **options), (z, p), (0, 1), small)
                call = partial(weighed, "cross_entropy", **options)
                yield Case(f"{name}-weight", call, (z, p, weight), (0, 1), small)
    z = numbers(4, 5)
    z[:, 2] = -math.inf
    y = np.array([0, 1, 4, 3])
    yield Case("cross_entropy-masked", named("cross_entropy"), (z, y), smooth=False)
    yield Case("cross_entropy-far", named("cross_entropy"), (numbers(4, 5) * 512, y), smooth=False)


def layers():
    w, b = numbers(3, 5, seed=1), numbers(3, seed=2)
    for shape in ((5,), (2, 5), (2, 3, 5), (2, 2, 3, 5)):
        x = numbers(*shape, seed=3)
        name = label("linear", "x".join(map(str, shape)))
        yield Case(name, named("linear"), (x, w, b), (0, 1, 2))
        yield Case(f"{name}-no-bias", named("linear"), (x, w), (0, 1))
    table, some = numbers(5, 3, seed=4), np.array([[4, 0, 4], [1, 4, 0]])
    yield Case("embedding", named("embedding"), (some, table), (1,))
    yield Case("embedding-number", named("embedding"), (np.array(2), table), (1,))
    for padding in (0, 4, -1, 2):
        call = named("embedding", padding_idx=padding)
        yield Case(label("embedding", padding_idx=padding), call, (some, table), (1,), False)
    x = numbers(2, 3, 5, seed=5)
    for shape in ((5,), (3, 5), (2, 3, 5)):
        g, b = numbers(*shape, seed=6), numbers(*shape, seed=7)
        call = partial(layer_normed, shape)
        name = label("layer_norm", "x".join(map(str, shape)))
        yield Case(name, call, (x, g, b), (0, 1, 2))
        yield Case(f"{name}-plain", call, (x,))
        yield Case(f"{name}-no-bias", call, (x, g), (0, 1))
        yield Case(f"{name}-eps", partial(layer_normed, shape, eps=0.5), (x, g, b), (0, 1, 2))
    g, b = numbers(3, seed=6), numbers(3, seed=7)
    mean, var = numbers(3, seed=8), shares(3, seed=9)
    for shape in ((4, 3), (2, 3, 5), (2, 3, 2, 2)):
        x = numbers(*shape, seed=10)
        name = label("batch_norm", "x".join(map(str, shape)))
        yield Case(f"{name}-train", train_normed, (x, g, b), (0, 1, 2))
        yield Case(f"{name}-train-plain", train_normed, (x,))
        yield Case(f"{name}-train-eps", partial(train_normed, eps=0.5), (x, g, b), (0, 1, 2))
        yield Case(f"{name}-eval", named("batch_norm"), (x, mean, var, g, b), (0, 3, 4))
        yield Case(f"{name}-eval-plain", named("batch_norm"), (x, mean, var))


def layer_normed(shape, F, x, weight=None, bias=None, eps=1e-5):
    return F.layer_norm(x, shape, weight, bias, eps)


def train_normed(F, x, weight=None, bias=None, eps=1e-5):
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)


def images():
    x, b = numbers(2, 4, 5, 6, seed=11), numbers(6, seed=12)
    for kernel, options in (
        ((3, 2), {}),
        ((1, 1), {}),
        ((5, 6), {}),
        ((3, 3), {"padding": 1}),
        ((2, 3), {"stride": 2}),
        ((3, 2), {"stride": (2, 3), "padding": (1, 2)}),
        ((2, 2), {"dilation": 2}),
        ((2, 3), {"dilation": (3, 2), "padding": (2, 0), "stride": (1, 2)}),
        ((3, 2), {"groups": 2}),
        ((2, 2), {"groups": 2, "stride": 2, "padding": 1, "dilation": (1, 2)}),
        ((1, 3), {"padding": (0, 4)}),
    ):
        w = numbers(6, 4 // options.get("groups", 1), *kernel, seed=13)
        name = label("conv2d", "x".join(map(str, kernel)), **options)
        yield Case(name, named("conv2d", **options), (x, w, b), (0, 1, 2), False)
    few = numbers(1, 2, 4, 3, seed=14)
    w, b = numbers(2, 2, 2, 2, seed=15), numbers(2, seed=16)
    call = named("conv2d", stride=2, padding=1)
    yield Case("conv2d-few", call, (few, w, b), (0, 1, 2))
    yield Case("conv2d-no-bias", call, (few, w), (0, 1))
    yield Case("conv2d-one-image", call, (few[0], w, b), (0, 1, 2))
    w = numbers(2, 1, 2, 2, seed=15)
    yield Case("conv2d-depthwise", named("conv2d", groups=2), (few, w, b), (0, 1, 2))
    for name in ("max_pool2d", "avg_pool2d"):
        for size, options in (
            (2, {}),
            ((2, 3), {}),
            (3, {"stride": 1}),
            (3, {"stride": 2, "padding": 1}),
            ((3, 2), {"stride": (1, 2), "padding": (1, 0)}),
            ((4, 2), {"stride": (3, 1), "padding": (2, 1)}),
        ):
            call = named(name, kernel_size=size, **options)
            given = label(name, size, **options)
            yield Case(given, call, (apart(1, 2, 5, 6),))
            yield Case(f"{given}-one-image", call, (apart(2, 5, 6),), smooth=False)
        ties = np.array([[[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])
        call = named(name, kernel_size=2, stride=1)
        yield Case(f"{name}-ties", call, (ties,), smooth=False)


CASES = [
    *activations(),
    *two_of_one_shape(),
    *classifications(),
    *layers(),
    *images(),
]

# --- models -------------------------------------------------------------------------------------


def mixed(nn, tensor):
    """A model with everything that has a name."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(7, 4, padding_idx=0)
            self.blocks = nn.ModuleList(
                [
                    nn.Sequential(nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.BatchNorm2d(4)),
                    nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3, affine=False)),
                ]
            )
            self.register_buffer("mean", tensor([1.0, 2.0]))
            self.register_buffer("cache", tensor([3.0]), persistent=False)
            self.norm = nn.LayerNorm((2, 4))
            self.head = nn.Linear(4, 2, bias=False)
            self.tied = self.head
            self.scale = nn.Parameter(tensor([1.0]))
            self.other = nn.Linear(4, 2)
            self.other.weight = self.head.weight

    return Mixed()


def cnn(nn):
    """Two convolutions, both kinds of pooling."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 2, bias=False),
        nn.BatchNorm2d(4),
        nn.GELU(),
        nn.AvgPool2d(2, stride=1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def mlp(nn):
    """With batch normalisation and dropout."""
    return nn.Sequential(
        nn.Linear(6, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(8, 5),
        nn.LayerNorm(5),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.Linear(5, 3),
    )


MODELS = {"cnn": (cnn, (5, 1, 6, 6)), "mlp": (mlp, (7, 6))}


def trained(lib, name, double):
    """The state of a model after five steps from seed 3, and the losses on the way."""
    build, shape = MODELS[name]
    x = numbers(*shape, seed=20)
    x = lib.tensor(x if double else x.astype(np.float32))
    y = lib.tensor(ids(shape[0], classes=3, seed=82))
    lib.manual_seed(3)
    model = build(lib.nn)
    if double:
        model = model.double()
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = lib.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    with lib.no_grad():
        scores = model.eval()(x).numpy()
    return {"losses": np.array(losses), "scores": scores, **state}


DRAWS = {  # modules whose first parameters are drawn
    "Linear": lambda nn: nn.Linear(5, 4),
    "Linear-no-bias": lambda nn: nn.Linear(7, 3, bias=False),
    "Conv2d": lambda nn: nn.Conv2d(4, 6, (3, 2), groups=2),
    "Conv2d-no-bias": lambda nn: nn.Conv2d(2, 3, 2, bias=False),
    "Embedding": lambda nn: nn.Embedding(6, 3),
    "Embedding-small": lambda nn: nn.Embedding(3, 4, padding_idx=1),
    "Sequential": lambda nn: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)),
}

FILLS = {  # nn.init, on tensors of these shapes
    "uniform": lambda init, t: init.uniform_(t, -2.0, 3.0),
    "uniform-plain": lambda init, t: init.uniform_(t),
    "normal": lambda init, t: init.normal_(t, 1.0, 2.0),
    "constant": lambda init, t: init.constant_(t, 0.5),
    "ones": lambda init, t: init.ones_(t),
    "zeros": lambda init, t: init.zeros_(t),
    "xavier_uniform": lambda init, t: init.xavier_uniform_(t),
    "xavier_uniform-gain": lambda init, t: init.xavier_uniform_(t, gain=5 / 3),
    "xavier_normal": lambda init, t: init.xavier_normal_(t, gain=0.5),
    "kaiming_uniform": lambda init, t: init.kaiming_uniform_(t),
    "kaiming_uniform-fan_out": lambda init, t: init.kaiming_uniform_(
        t, a=0.2, mode="fan_out", nonlinearity="leaky_relu"
    ),
    "kaiming_normal": lambda init, t: init.kaiming_normal_(t, nonlinearity="relu"),
    "kaiming_normal-tanh": lambda init, t: init.kaiming_normal_(
        t, mode="fan_out", nonlinearity="tanh"
    ),
    "orthogonal": lambda init, t: init.orthogonal_(t, gain=2.0),
    "trunc_normal": lambda init, t: init.trunc_normal_(t, 0.0, 1.0, -1.0, 1.5),
    "trunc_normal-far": lambda init, t: init.trunc_normal_(t, mean=1.0, std=2.0, a=0.0, b=4.0),
}
FILLED = ((4, 3), (3, 5), (4, 2, 3, 3))

GAINS = ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu")


def dropped(lib, p, double):
    """What dropout leaves of ones, from seed 5, and the gradient that passes."""
    lib.manual_seed(5)
    x = lib.tensor(np.ones((4, 9), np.float64 if double else np.float32), requires_grad=True)
    y = lib.nn.functional.dropout(x, p)
    y.sum().backward()
    return y.detach().numpy(), x.grad.numpy()


def normalised(lib, shape, momentum):
    """The running statistics of a BatchNorm after each of three batches; then eval."""
    kind = lib.nn.BatchNorm2d if len(shape) == 4 else lib.nn.BatchNorm1d
    model = kind(shape[1], momentum=momentum).double()
    found = []
    for seed in (30, 31, 32):
        model(lib.tensor(numbers(*shape, seed=seed)))
        found += [model.running_mean.numpy().copy(), model.running_var.numpy().copy()]
    found.append(np.array(model.num_batches_tracked.item()))
    found.append(model.eval()(lib.tensor(numbers(*shape, seed=33))).detach().numpy())
    return found


NORMALISED = {"2d": (4, 3), "3d": (2, 3, 5), "4d": (2, 3, 2, 2)}

# --- optimisers ---------------------------------------------------------------------------------

OPTIMISERS = {
    "SGD": lambda o, ps: o.SGD(ps, lr=0.1),
    "SGD-plain": lambda o, ps: o.SGD(ps),
    "SGD-momentum": lambda o, ps: o.SGD(ps, lr=0.1, momentum=0.9),
    "SGD-nesterov": lambda o, ps: o.SGD(ps, lr=0.1, momentum=0.9, nesterov=True),
    "SGD-decay": lambda o, ps: o.SGD(ps, lr=0.1, weight_decay=0.1),
    "SGD-all": lambda o, ps: o.SGD(ps, lr=0.1, momentum=0.5, weight_decay=0.1, nesterov=True),
    "SGD-groups": lambda o, ps: o.SGD(
        [{"params": ps[:1], "lr": 0.2, "momentum": 0.9}, {"params": ps[1:]}], lr=0.05
    ),
    "Adam": lambda o, ps: o.Adam(ps, lr=0.1),
    "Adam-plain": lambda o, ps: o.Adam(ps),
    "Adam-all": lambda o, ps: o.Adam(ps, lr=0.1, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.1),
    "Adam-zeros": lambda o, ps: o.Adam(ps, lr=0.1, betas=(0.0, 0.0)),
    "Adam-groups": lambda o, ps: o.Adam(
        [{"params": ps[0], "lr": 0.2, "betas": (0.5, 0.6)}, {"params": ps[1:], "eps": 0.1}]
    ),
    "AdamW": lambda o, ps: o.AdamW(ps, lr=0.1),
    "AdamW-decay": lambda o, ps: o.AdamW(ps, lr=0.1, weight_decay=0.5),
    "AdamW-groups": lambda o, ps: o.AdamW(
        [{"params": ps[:1], "weight_decay": 0.0}, {"params": ps[1:], "lr": 0.1}], weight_decay=0.3
    ),
}


def start(lib, double):
    """Two parameters that a loss depends on, and one that it does not."""
    dtype = np.float64 if double else np.float32
    arrays = (numbers(3, 5, seed=40), numbers(5, seed=41), numbers(2, seed=42))
    return [lib.tensor(a.astype(dtype), requires_grad=True) for a in arrays]


def descend(lib, optimizer, parameters, steps):
    """The parameters after each step, in one row a step."""
    w, v, _ = parameters
    dtype = w.detach().numpy().dtype
    x, y = (lib.tensor(numbers(*s, seed=43).astype(dtype)) for s in ((7, 3), (7,)))
    rows = []
    for _ in range(steps):
        optimizer.zero_grad()
        d = (x @ w).tanh() @ v - y
        (d * d).mean().backward()
        optimizer.step()
        rows.append(np.concatenate([p.detach().numpy().ravel() for p in parameters]))
    return np.array(rows)


def fed(lib, optimizer, parameters, steps):
    """The parameters after steps with given gradients: the optimiser alone, in one row a step."""
    rows = []
    for step in range(steps):
        for i, p in enumerate(parameters):
            array = p.detach().numpy()
            p.grad = lib.tensor(numbers(*array.shape, seed=100 + 3 * step + i).astype(array.dtype))
        optimizer.step()
        rows.append(np.concatenate([p.detach().numpy().ravel() for p in parameters]))
    return np.array(rows)


SCHEDULES = {
    "StepLR": lambda s, o: s.StepLR(o, 7, gamma=0.5),
    "StepLR-plain": lambda s, o: s.StepLR(o, step_size=10),
    "StepLR-one": lambda s, o: s.StepLR(o, 1, 0.9),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, T_max=30),
    "CosineAnnealingLR-again": lambda s, o: s.CosineAnnealingLR(o, 8, eta_min=0.01),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(o, patience=2),
    "ReduceLROnPlateau-max": lambda s, o: s.ReduceLROnPlateau(o, "max", factor=0.5, patience=1),
    "ReduceLROnPlateau-rest": lambda s, o: s.ReduceLROnPlateau(
        o, factor=0.5, patience=0, threshold=0.1, cooldown=3, min_lr=0.02
    ),
    "ReduceLROnPlateau-eager": lambda s, o: s.ReduceLROnPlateau(o, patience=0, factor=0.3),
}
METRICS = {
    "falling": [1.0 / (1 + e) for e in range(30)],
    "flat": [2.0, 1.0, *[1.0] * 28],
    "noisy": [1.0 + float(v) / 4 for v in numbers(30, seed=44)],
    "barely": [1.0 - 5e-5 * e for e in range(30)],
    "rising": [1.0 + 0.1 * e for e in range(12)] + [2.1 - 0.01 * e for e in range(18)],
}


def scheduled(lib, name, metric):
    """The learning rates of two groups before each of 30 epochs and after the last."""
    ps = start(lib, True)
    optimizer = lib.optim.SGD([{"params": ps[:1]}, {"params": ps[1:], "lr": 0.3}], lr=0.1)
    scheduler = SCHEDULES[name](lib.optim.lr_scheduler, optimizer)
    rates = [[group["lr"] for group in optimizer.param_groups]]
    for epoch in range(30):
        optimizer.step()
        scheduler.step(METRICS[metric][epoch]) if metric else scheduler.step()
        rates.append([group["lr"] for group in optimizer.param_groups])
    return np.array(rates)


def schedules():
    """(name, metric) for each run of a schedule."""
    for name in SCHEDULES:
        for metric in METRICS if name.startswith("Reduce") else (None,):
            yield name, metric


# --- the file -----------------------------------------------------------------------------------


def write(answers, texts):
    """All arrays in one row, with their shapes by name beside it."""
    shapes = {name: [list(a.shape) for a in arrays] for name, arrays in answers.items()}
    row = np.concatenate([a.ravel() for arrays in answers.values() for a in arrays])
    index = json.dumps({"shapes": shapes, "texts": texts})
    np.savez_compressed(FROZEN, row=row.astype(np.float64), index=np.array(index))


def read():
    """(arrays by name, texts by name)."""
    with np.load(FROZEN) as file:
        row, index = file["row"], json.loads(str(file["index"]))
    answers, place = {}, 0
    for name, shapes in index["shapes"].items():
        answers[name] = []
        for shape in shapes:
            end = place + math.prod(shape)
            answers[name].append(row[place:end].reshape(shape))
            place = end
    return answers, index["texts"]


def agree(ours, exact, ulps, dtype=None):
    """Every element within so many eps of the largest one (of 1, where all are smaller)."""
    if dtype is not None:
        assert ours.dtype == dtype
    assert ours.shape == exact.shape
    scale = max(1.0, float(np.abs(exact[np.isfinite(exact)]).max(initial=0.0)))
    eps = np.finfo(ours.dtype).eps
    np.testing.assert_allclose(ours, exact, rtol=ulps * eps, atol=ulps * eps * scale)
