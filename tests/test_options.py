"""Every option of layers, losses, initialisers, optimisers, samplers and makers of tensors.

An option that is dropped on its way, or whose default is another one, is seen here: it is given by
name and by position, and what it is given must matter. The oracles are the functional twins (whose
values are PyTorch's, in test_functional), NumPy, and draws and formulas written out by hand. Tests
at the end fail when an option is in no row.
"""

import inspect
import math
from itertools import chain
from typing import Any, NamedTuple

import nn_cases as cases
import numpy as np
import pytest
import torch_cases

import tinygrad_ce as tg
from tinygrad_ce import creation, nn
from tinygrad_ce.nn import functional as F, init
from tinygrad_ce.optim import lr_scheduler
from tinygrad_ce.utils import data

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of")  # schedules on their own


def numbers(*shape, seed=0):
    return tg.tensor(cases.numbers(*shape, seed=seed).astype(np.float32))


def seeded(seed=8):
    return tg.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def default_generator_as_before():
    state = tg.get_rng_state()
    yield
    tg.set_rng_state(state)


def parameters_of(function, skip=0):
    return list(inspect.signature(function).parameters.values())[skip:]


# --- modules and their functions --------------------------------------------------------------

ROW, IDS, IMAGE = numbers(3, 4), tg.tensor([3, 0, 2]), numbers(2, 4, 6, 6)
P = tg.tensor(cases.shares(3, 4, seed=1).astype(np.float32))
Q = tg.tensor(cases.shares(3, 4, seed=2).astype(np.float32))
W = tg.tensor([1.0, 2.0, 0.5, 3.0])
REDUCTIONS = ("mean", "sum", "none")


class Twin(NamedTuple):
    """A module, what it needs, its inputs, its function, and values for each of its options."""

    module: Any
    needs: tuple[Any, ...]
    inputs: tuple[Any, ...]
    function: Any  # (module, *inputs, **options)
    options: dict[str, tuple[Any, ...]]


def plain(function):
    return lambda module, *inputs, **options: function(*inputs, **options)


def convolved(m, x, bias=True, **options):
    assert (m.bias is not None) == bias
    return F.conv2d(x, m.weight, m.bias, **options)


def normalised(m, x, eps=1e-5, elementwise_affine=True, bias=True):
    assert (m.weight is not None, m.bias is not None) == (
        elementwise_affine,
        elementwise_affine and bias,
    )
    if elementwise_affine:  # as they begin, they do nothing
        assert m.weight.tolist() == [1.0] * 4
    return F.layer_norm(x, (4,), eps=eps)


def batch_normalised(m, x, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
    """One step of training, then the answer of eval."""
    v = x.numpy().astype(np.float64)
    mean, var = v.mean(0), v.var(0, ddof=1)
    if track_running_stats:
        mean, var = momentum * mean, (1 - momentum) + momentum * var
    else:
        var = v.var(0)
    assert (m.weight is not None) == affine == (m.bias is not None)
    return tg.tensor(((v - mean) / np.sqrt(var + eps)).astype(np.float32))


class Evaluated(nn.BatchNorm1d):
    """Trained on one batch, then asked."""

    def forward(self, x):
        super().forward(x)
        self.eval()
        return super().forward(x)


TWINS = [
    Twin(nn.CrossEntropyLoss, (), (ROW, IDS), plain(F.cross_entropy),
         {"weight": (W,), "ignore_index": (0, 2), "reduction": REDUCTIONS[1:],
          "label_smoothing": (0.2,)}),
    Twin(nn.NLLLoss, (), (ROW, IDS), plain(F.nll_loss),
         {"weight": (W,), "ignore_index": (0, 2), "reduction": REDUCTIONS[1:]}),
    Twin(nn.BCELoss, (), (P, Q), plain(F.binary_cross_entropy),
         {"weight": (W,), "reduction": REDUCTIONS[1:]}),
    Twin(nn.BCEWithLogitsLoss, (), (ROW, Q), plain(F.binary_cross_entropy_with_logits),
         {"weight": (W,), "reduction": REDUCTIONS[1:], "pos_weight": (W,)}),
    Twin(nn.MSELoss, (), (P, Q), plain(F.mse_loss), {"reduction": REDUCTIONS[1:]}),
    Twin(nn.L1Loss, (), (P, Q), plain(F.l1_loss), {"reduction": REDUCTIONS[1:]}),
    Twin(nn.HuberLoss, (), (3 * P, Q), plain(F.huber_loss),
         {"reduction": REDUCTIONS[1:], "delta": (0.125,)}),
    Twin(nn.KLDivLoss, (), (ROW, Q), plain(F.kl_div),
         {"reduction": (*REDUCTIONS[1:], "batchmean"), "log_target": (True,)}),
    Twin(nn.LeakyReLU, (), (ROW,), plain(F.leaky_relu), {"negative_slope": (0.25,)}),
    Twin(nn.GELU, (), (ROW,), plain(F.gelu), {"approximate": ("tanh",)}),
    Twin(nn.Flatten, (), (IMAGE,), lambda m, x, start_dim=1, end_dim=-1:
         x.flatten(start_dim, end_dim), {"start_dim": (0, 2), "end_dim": (1, 2)}),
    Twin(nn.MaxPool2d, (3,), (IMAGE,), lambda m, x, **o: F.max_pool2d(x, 3, **o),
         {"stride": (1, (2, 1)), "padding": (1, (0, 1))}),
    Twin(nn.AvgPool2d, (3,), (IMAGE,), lambda m, x, **o: F.avg_pool2d(x, 3, **o),
         {"stride": (1, (2, 1)), "padding": (1, (0, 1))}),
    Twin(nn.Conv2d, (4, 2, (3, 2)), (IMAGE,), convolved,
         {"stride": (2, (1, 2)), "padding": (1, (0, 1)), "dilation": (2, (1, 2)), "groups": (2,),
          "bias": (False,)}),
    Twin(nn.LayerNorm, (4,), (ROW,), normalised,
         {"eps": (0.5,), "elementwise_affine": (False,), "bias": (False,)}),
    Twin(Evaluated, (4,), (ROW,), batch_normalised,
         {"eps": (0.5,), "momentum": (0.0, 0.75, 1.0), "affine": (False,),
          "track_running_stats": (False,)}),
    Twin(nn.Linear, (4, 2), (ROW,), lambda m, x, bias=True:
         F.linear(x, m.weight, *((m.bias,) if bias else ())), {"bias": (False,)}),
    Twin(nn.Embedding, (4, 2), (IDS,), lambda m, i, padding_idx=None:
         F.embedding(i, m.weight, padding_idx), {"padding_idx": (0, -1)}),
]  # fmt: skip
OTHERWISE = {"bias", "affine", "elementwise_affine"}  # seen in the parameters, not in the value


def by_position(function, needs, options):
    """The options without their names, the ones before them at their defaults."""
    args, rest = list(needs), dict(options)
    for p in parameters_of(function)[len(needs) :]:
        if p.kind is not p.POSITIONAL_OR_KEYWORD or not rest:
            break
        args.append(rest.pop(p.name, p.default))
    return args, rest


def answers(twin, options):
    """What the module gives with its options by name, and by position; the function likewise."""
    args, rest = by_position(twin.module, twin.needs, options)
    for module in (lambda: twin.module(*twin.needs, **options), lambda: twin.module(*args, **rest)):
        tg.manual_seed(3)
        made = module()
        yield made(*twin.inputs).detach().numpy(), twin.function(made, *twin.inputs, **options)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.module.__name__)
def test_a_module_hands_every_option_on(twin):
    ((default, wanted), _) = answers(twin, {})
    np.testing.assert_allclose(default, wanted.detach().numpy(), rtol=2e-6, atol=1e-6)
    for name, values in twin.options.items():
        for value in values:
            for ours, wanted in answers(twin, {name: value}):
                np.testing.assert_allclose(ours, wanted.detach().numpy(), rtol=2e-6, atol=1e-6)
                if name not in OTHERWISE:
                    assert ours.shape != default.shape or not np.allclose(ours, default), name
    together = {name: values[-1] for name, values in twin.options.items()}
    for ours, wanted in answers(twin, together):
        np.testing.assert_allclose(ours, wanted.detach().numpy(), rtol=2e-6, atol=1e-6)


CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList,
              nn.ParameterDict, nn.DataParallel)  # fmt: skip


def test_no_option_of_a_module_is_missing():
    """Each is in a row here, or given in `torch_cases`, where the answers are PyTorch's."""
    tried = torch_cases.options_given()
    rows = {twin.module: twin for twin in TWINS}
    rows[nn.BatchNorm1d] = rows[nn.BatchNorm2d] = rows.pop(Evaluated)
    for module in vars(nn).values():
        if not isinstance(module, type) or not issubclass(module, nn.Module):
            continue
        if module in CONTAINERS or module is nn.Dropout:  # which is in test_nn
            continue
        if module.__name__.startswith("Lazy"):  # in torch_cases, among the talks
            continue
        options = {p.name for p in parameters_of(module) if p.default is not p.empty}
        options -= {"device", "dtype", "size_average", "reduce"}  # in test_nn
        if "MaxPool" in module.__name__:  # whose windows have no gaps: refused, in test_functional
            options -= {"dilation", "return_indices"}
        given = tried.get(module.__name__, set()) | {"_weight", "_freeze"}  # from_pretrained
        assert options - given <= (set(rows[module].options) if module in rows else set()), module


def test_a_loss_refuses_a_reduction_that_it_does_not_know():
    for twin in TWINS:
        if "reduction" in twin.options:
            with pytest.raises(ValueError, match="reduction='average'"):
                twin.module(reduction="average")


# --- functions of nn.functional: defaults -----------------------------------------------------

# Default values as PyTorch documents them (torch.nn.functional); eps and momentum change the
# number, so a default that moves is a wrong number.
DEFAULTS = {
    "cross_entropy": {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0},
    "nll_loss": {"ignore_index": -100, "reduction": "mean"},
    "binary_cross_entropy": {"weight": None, "reduction": "mean"},
    "binary_cross_entropy_with_logits": {"weight": None, "reduction": "mean", "pos_weight": None},
    "mse_loss": {"reduction": "mean"},
    "l1_loss": {"reduction": "mean"},
    "huber_loss": {"reduction": "mean", "delta": 1.0},
    "kl_div": {"reduction": "mean", "log_target": False},
    "layer_norm": {"eps": 1e-5},
    "batch_norm": {"training": False, "momentum": 0.1, "eps": 1e-5},
    "dropout": {"p": 0.5, "training": True},
    "leaky_relu": {"negative_slope": 0.01},
    "gelu": {"approximate": "none"},
    "conv2d": {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1},
    "max_pool2d": {"stride": None, "padding": 0},
    "avg_pool2d": {"stride": None, "padding": 0},
    "embedding": {"padding_idx": None},
    "one_hot": {"num_classes": -1},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_pytorchs(name):
    found = {p.name: p.default for p in parameters_of(getattr(F, name))}
    assert {k: found[k] for k in DEFAULTS[name]} == DEFAULTS[name]


def test_one_hot_counts_the_classes_itself():
    ids = [2, 0, 1]
    for y in (F.one_hot(ids), F.one_hot(ids, -1), F.one_hot(ids, 3)):
        assert y.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert F.one_hot(ids, 5).shape == (3, 5)


# --- initial values ----------------------------------------------------------------------------


def bounded(low, high):
    return lambda shape: seeded().rand(shape, np.float32) * (high - low) + low


def spread(std, mean=0.0):
    return lambda shape: seeded().randn(shape, np.float32) * std + mean


def xavier(gain):
    return math.sqrt(3) * gain * math.sqrt(2 / (3 * 6 + 5 * 6))


SHAPE = (5, 3, 2, 3)  # fan_in 18, fan_out 30
INITIALISERS = [
    (init.uniform_, {}, bounded(0, 1)),
    (init.uniform_, {"a": -3.0}, bounded(-3, 1)),
    (init.uniform_, {"a": -1.0, "b": 4.0}, bounded(-1, 4)),
    (init.normal_, {}, spread(1)),
    (init.normal_, {"mean": 2.0, "std": 0.5}, spread(0.5, 2)),
    (init.xavier_uniform_, {}, bounded(-xavier(1), xavier(1))),
    (init.xavier_uniform_, {"gain": 2.0}, bounded(-xavier(2), xavier(2))),
    (init.xavier_normal_, {}, spread(math.sqrt(2 / 48))),
    (init.xavier_normal_, {"gain": 2.0}, spread(2 * math.sqrt(2 / 48))),
    (init.kaiming_uniform_, {}, bounded(-math.sqrt(6 / 18), math.sqrt(6 / 18))),
    (init.kaiming_uniform_, {"a": 2.0}, bounded(-math.sqrt(6 / 90), math.sqrt(6 / 90))),
    (init.kaiming_uniform_, {"a": 1.0, "mode": "fan_out"}, bounded(-(0.1**0.5), 0.1**0.5)),
    (init.kaiming_uniform_, {"a": 1.0, "mode": "fan_in", "nonlinearity": "linear"},
     bounded(-math.sqrt(3 / 18), math.sqrt(3 / 18))),
    (init.kaiming_normal_, {}, spread(math.sqrt(2 / 18))),
    (init.kaiming_normal_, {"a": 2.0, "mode": "fan_out"}, spread(math.sqrt(2 / 5 / 30))),
    (init.kaiming_normal_, {"nonlinearity": "tanh"}, spread(5 / 3 / math.sqrt(18))),
    (init.constant_, {"val": 2.5}, lambda shape: np.full(shape, 2.5)),
    (init.ones_, {}, np.ones),
    (init.zeros_, {}, np.zeros),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "options", "wanted"), INITIALISERS, ids=lambda x: getattr(x, "__name__", None)
)
def test_an_initialiser_fills_as_its_formula_says(function, options, wanted):
    draws = "generator" in inspect.signature(function).parameters
    args, rest = by_position(function, (tg.zeros(SHAPE),), options)
    for call in (
        lambda t, **o: function(t, **options, **o),
        lambda t, **o: function(t, *args[1:], **rest, **o),
    ):
        p = nn.Parameter(np.full(SHAPE, 7, np.float32))
        assert call(p, **({"generator": seeded()} if draws else {})) is p
        assert p.is_leaf and p.requires_grad
        np.testing.assert_allclose(p.detach().numpy(), wanted(SHAPE), rtol=1e-5, atol=1e-5)
    if draws:  # the default generator is another one, and it is the one that is seeded
        tg.manual_seed(8)
        np.testing.assert_allclose(
            call(tg.zeros(SHAPE)).numpy(), wanted(SHAPE), rtol=1e-5, atol=1e-5
        )
        assert not np.allclose(call(tg.zeros(SHAPE)).numpy(), wanted(SHAPE))


def test_an_orthogonal_matrix_is_one_times_its_gain():
    for shape in ((3, 5), (5, 3), (4, 4), (3, 2, 2)):
        for gain in (1.0, 2.0):
            options = {} if gain == 1 else {"gain": gain}
            q = init.orthogonal_(tg.zeros(shape), **options, generator=seeded()).numpy()
            q = q.reshape(shape[0], -1)
            small = q @ q.T if len(q) <= q.shape[1] else q.T @ q
            np.testing.assert_allclose(small, gain**2 * np.eye(len(small)), atol=1e-5)


def test_a_truncated_normal_keeps_its_interval():
    mean, std = 1.0, 2.0
    for half in (0.3875, 0.3835, 0.01):  # the first holds more than 30 % of it
        a, b = mean - std * half, mean + std * half
        x = init.trunc_normal_(tg.zeros(200), mean, std, a, b, seeded()).numpy()
        assert a <= x.min() < x.max() <= b
    x = init.trunc_normal_(tg.zeros(400), generator=seeded()).numpy()
    z = seeded().randn(400, np.float32)
    inside = np.abs(z) <= 2
    np.testing.assert_allclose(x[inside], z[inside], rtol=1e-6)
    assert (np.abs(x) <= 2).all() and not inside.all()


# --- optimisers ---------------------------------------------------------------------------------


def first_steps(optimizer, gradients=((0.5, -2.0), (1.0, 3.0), (0.25, -1.0))):
    (p,) = optimizer.param_groups[0]["params"]
    path = []
    for g in gradients:
        p.grad = tg.tensor(np.array(g))
        optimizer.step()
        path.append(p.tolist())
    return np.array(path)


def sgd(lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    w, v, path = np.array([1.0, -2.0]), np.zeros(2), []
    for i, g in enumerate(np.array([[0.5, -2.0], [1.0, 3.0], [0.25, -1.0]])):
        g = (-g if maximize else g) + weight_decay * w
        v = momentum * v + (1 - dampening) * g if i else g
        w = w - lr * ((g + momentum * v if nesterov else v) if momentum else g)
        path.append(w)
    return np.array(path)


def adam(
    lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, maximize=False,
    decoupled_weight_decay=False,
):  # fmt: skip
    w, m, v, top, path = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2), np.zeros(2), []
    for i, g in enumerate(np.array([[0.5, -2.0], [1.0, 3.0], [0.25, -1.0]])):
        g = -g if maximize else g
        if decoupled_weight_decay:
            w = w - lr * weight_decay * w
        else:
            g = g + weight_decay * w
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        top = np.maximum(top, v)
        hats = m / (1 - betas[0] ** (i + 1)), (top if amsgrad else v) / (1 - betas[1] ** (i + 1))
        w = w - lr * hats[0] / (np.sqrt(hats[1]) + eps)
        path.append(w)
    return np.array(path)


def adamw(weight_decay=1e-2, **options):
    return adam(weight_decay=weight_decay, decoupled_weight_decay=True, **options)


ADAM = {"lr": 0.1, "betas": (0.5, 0.75), "eps": 0.1, "weight_decay": 0.1, "amsgrad": True,
        "maximize": True}  # fmt: skip
OPTIMISERS = {  # the others: tests/test_optim_curves.py
    tg.optim.SGD: (
        sgd,
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True, "maximize": True},
    ),
    tg.optim.Adam: (adam, {**ADAM, "decoupled_weight_decay": True}),
    tg.optim.AdamW: (adamw, ADAM),
}
IDLE = {"foreach": True, "fused": True, "capturable": True, "differentiable": False}


@pytest.mark.parametrize("kind", OPTIMISERS, ids=lambda kind: kind.__name__)
def test_an_optimiser_takes_the_steps_that_its_options_say(kind):
    formula, options = OPTIMISERS[kind]
    needs = {"nesterov": {"momentum": 0.9}}
    rows = [{}, options, *({**needs.get(k, {}), k: v} for k, v in options.items())]
    rows += [{"momentum": 0.9, "dampening": 0.5}] * (kind is tg.optim.SGD)
    for row in rows:
        p = tg.tensor(np.array([1.0, -2.0]), requires_grad=True)
        args, rest = by_position(kind, ([p],), row)
        np.testing.assert_allclose(first_steps(kind(*args, **rest)), formula(**row), rtol=1e-12)
        p = tg.tensor(np.array([1.0, -2.0]), requires_grad=True)
        np.testing.assert_allclose(first_steps(kind([p], **row)), formula(**row), rtol=1e-12)
    known = {p.name for p in parameters_of(kind, 1)}
    for name in IDLE.keys() & known:
        p = tg.tensor(np.array([1.0, -2.0]), requires_grad=True)
        optimizer = kind([p], **{name: IDLE[name]})
        np.testing.assert_allclose(first_steps(optimizer), formula(), rtol=1e-12)
    assert {*chain(*rows), *IDLE} >= known


SCHEDULES = [  # the learning rates of six epochs from 1 on, by formula
    (lr_scheduler.StepLR, {"step_size": 2}, [1, 0.1, 0.1, 0.01, 0.01, 0.001]),
    (lr_scheduler.StepLR, {"step_size": 3, "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.5, 0.25]),
    (lr_scheduler.CosineAnnealingLR, {"T_max": 4},
     [(1 + math.cos(math.pi * i / 4)) / 2 for i in range(1, 7)]),
    (lr_scheduler.CosineAnnealingLR, {"T_max": 2, "eta_min": 0.5},
     [0.5 + 0.25 * (1 + math.cos(math.pi * i / 2)) for i in range(1, 7)]),
    (lr_scheduler.MultiStepLR, {"milestones": [4, 2, 4]}, [1, 0.1, 0.1, 0.001, 0.001, 0.001]),
    (lr_scheduler.MultiStepLR, {"milestones": [1], "gamma": 0.5}, [0.5] * 6),
    (lr_scheduler.ConstantLR, {}, [1 / 3] * 4 + [1] * 2),
    (lr_scheduler.ConstantLR, {"factor": 0.5, "total_iters": 2}, [0.5, 1, 1, 1, 1, 1]),
    (lr_scheduler.ConstantLR, {"factor": 0, "total_iters": 2}, [0, 1, 1, 1, 1, 1]),
    (lr_scheduler.LinearLR, {}, [(1 + 2 * i / 5) / 3 for i in range(1, 6)] + [1]),
    (lr_scheduler.LinearLR, {"start_factor": 0.5, "end_factor": 0.1, "total_iters": 4},
     [0.4, 0.3, 0.2, 0.1, 0.1, 0.1]),
    (lr_scheduler.ExponentialLR, {"gamma": 0.5}, [0.5**i for i in range(1, 7)]),
    (lr_scheduler.PolynomialLR, {}, [0.8, 0.6, 0.4, 0.2, 0, 0]),
    (lr_scheduler.PolynomialLR, {"total_iters": 8, "power": 2.0},
     [(1 - i / 8) ** 2 for i in range(1, 7)]),
    (lr_scheduler.CosineAnnealingWarmRestarts, {"T_0": 2}, [0.5, 1, 0.5, 1, 0.5, 1]),
    (lr_scheduler.CosineAnnealingWarmRestarts, {"T_0": 2, "T_mult": 2, "eta_min": 0.5},
     [0.75, 1, *(0.75 + 0.25 * math.cos(math.pi * i / 4) for i in range(1, 4)), 1]),
    (lr_scheduler.LambdaLR, {"lr_lambda": lambda epoch: 1 / (1 + epoch)},
     [1 / i for i in range(2, 8)]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "wanted"), SCHEDULES)
def test_a_schedule_follows_its_formula(kind, options, wanted):
    for args, named in (((), options), (tuple(options.values()), {})):
        scheduler = kind(tg.optim.SGD([numbers(2).requires_grad_()], lr=1.0), *args, **named)
        rates = []
        for _ in wanted:
            scheduler.step()
            rates += scheduler.get_last_lr()
        np.testing.assert_allclose(rates, wanted, rtol=1e-12)


PLATEAU = [  # options, metrics, and the learning rates that they lead to, from 1 on
    ({}, [1.0] * 12 + [0.5], [1] * 11 + [0.1] * 2),
    ({"patience": 0}, [1, 1, 0.5, 0.5], [1, 0.1, 0.1, 0.01]),
    ({"patience": 1, "factor": 0.5}, [1, 1, 1, 1, 1], [1, 1, 0.5, 0.5, 0.25]),
    ({"patience": 0, "mode": "max"}, [1, 2, 1.5, 3], [1, 1, 0.1, 0.1]),
    ({"patience": 0}, [1, 0.9998, 0.99975], [1, 1, 0.1]),  # better by less than 1e-4 of it
    ({"patience": 0, "threshold": 0.5}, [1, 0.6, 0.4], [1, 0.1, 0.1]),
    ({"patience": 0, "cooldown": 2}, [1, 1, 1, 1, 1], [1, 0.1, 0.1, 0.1, 0.01]),
    ({"patience": 0, "min_lr": 0.05}, [1, 1, 1, 1], [1, 0.1, 0.05, 0.05]),
    ({"patience": 0, "min_lr": [0.05]}, [1, 1, 1, 1], [1, 0.1, 0.05, 0.05]),
    ({"patience": 0, "threshold": 0.5, "threshold_mode": "abs"}, [8, 7.6, 7], [1, 0.1, 0.1]),
    ({"patience": 0, "eps": 0.5}, [1, 1, 1], [1, 0.1, 0.1]),
    ({"patience": 0, "factor": 1e-8}, [1, 1, 1, 1], [1, 1e-8, 1e-8, 1e-8]),  # eps is 1e-8
]


@pytest.mark.parametrize(("options", "metrics", "wanted"), PLATEAU)
def test_a_plateau_lowers_the_rate_as_its_options_say(options, metrics, wanted):
    optimizer = tg.optim.SGD([numbers(2).requires_grad_()], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    rates = []
    for metric in metrics:
        scheduler.step(metric)
        rates += scheduler.get_last_lr()
    np.testing.assert_allclose(rates, wanted, rtol=1e-12)


def test_no_option_of_a_schedule_is_missing():
    kinds = [kind for kind, _, _ in SCHEDULES]
    rows = {
        kind: {o for k, options, _ in SCHEDULES if k is kind for o in options} for kind in kinds
    }
    rows[lr_scheduler.ReduceLROnPlateau] = {o for options, _, _ in PLATEAU for o in options}
    for kind, options in rows.items():  # last_epoch: test_optim.py
        assert options == {p.name for p in parameters_of(kind, 1)} - {"last_epoch"}
    elsewhere = {"LRScheduler", "OneCycleLR", "SequentialLR", "ChainedScheduler"}
    assert {kind.__name__ for kind in rows} == {*lr_scheduler.__all__} - elsewhere


# --- the tree of modules ------------------------------------------------------------------------


def test_names_of_a_tree_begin_with_the_prefix():
    inner = nn.BatchNorm1d(2)
    model = nn.Sequential(inner, nn.Sequential(inner))
    names = ["0.weight", "0.bias"]
    assert [n for n, _ in model.named_parameters()] == names
    assert [n for n, _ in model.named_parameters("m")] == [f"m.{n}" for n in names]
    assert [n for n, _ in model.named_parameters(prefix="m")] == [f"m.{n}" for n in names]
    kept = ["0.running_mean", "0.running_var", "0.num_batches_tracked"]
    assert [n for n, _ in model.named_buffers()] == kept
    assert [n for n, _ in model.named_buffers("m")] == [f"m.{n}" for n in kept]
    assert [n for n, _ in model.named_modules()] == ["", "0", "1"]
    assert [n for n, _ in model.named_modules("m")] == ["m", "m.0", "m.1"]
    every = [n for n, _ in model.named_modules("m", remove_duplicate=False)]
    assert every == ["m", "m.0", "m.1", "m.1.0"]
    assert len([*model.modules()]) == 3 and len([*model.children()]) == 2


def test_buffers_are_saved_unless_they_are_not_persistent():
    module = nn.Module()
    module.register_buffer("kept", tg.ones(1))
    module.register_buffer("passing", tg.ones(1), persistent=False)
    module.register_buffer("empty", None)
    assert list(module.state_dict()) == ["kept"]
    assert [n for n, _ in module.named_buffers()] == ["kept", "passing"]
    assert list(module.state_dict(prefix="p.")) == ["p.kept"]


def test_switches_of_a_model():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    for call, training in ((model.eval, False), (model.train, True)):
        assert call() is model and {m.training for m in model.modules()} == {training}
    model.train(False)
    assert {m.training for m in model.modules()} == {False}
    assert model.requires_grad_(False) is model
    assert not any(p.requires_grad for p in model.parameters())
    model.requires_grad_()
    assert all(p.requires_grad for p in model.parameters())
    model(tg.ones(1, 2)).sum().backward()
    model.zero_grad(set_to_none=False)
    assert [p.grad.tolist() for p in model.parameters()] == [[[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]]
    model.zero_grad()
    assert [p.grad for p in model.parameters()] == [None, None]


# --- the limits of the stream -------------------------------------------------------------------


def test_limits_of_the_stream_are_pytorchs():
    """Beyond them PyTorch draws in another way, or not at all (ATen, native/cpu)."""
    assert tg.random.MAX_PERMUTATION == (2**32 - 1) // 20 == 214748364
    assert tg.random.MAX_CATEGORIES == 2**24 and tg.random.WIDE_RANGE == 2**28
    assert tg.random.DEFAULT_SEED == 67280421310721
    with pytest.raises(ValueError, match="214748364"):
        seeded().randperm(214748364)


# --- tensors from nothing ------------------------------------------------------------------------

MAKERS = {  # what is made, NumPy's answer, and the options that are tried
    "zeros": (((2, 3),), np.zeros((2, 3), np.float32), ("dtype", "requires_grad")),
    "ones": (((2, 3),), np.ones((2, 3), np.float32), ("dtype", "requires_grad")),
    "full": (((2, 3), 1.5), np.full((2, 3), 1.5, np.float32), ("dtype", "requires_grad")),
    "eye": ((3,), np.eye(3, dtype=np.float32), ("dtype",)),
    "arange": ((4,), np.arange(4), ("dtype",)),
    "linspace": ((0.0, 1.0, 5), np.linspace(0, 1, 5, dtype=np.float32), ("dtype", "requires_grad")),
    "zeros_like": ((numbers(2, 3),), np.zeros((2, 3), np.float32), ("dtype", "requires_grad")),
    "ones_like": ((numbers(2, 3),), np.ones((2, 3), np.float32), ("dtype", "requires_grad")),
    "full_like": ((numbers(2, 3), 2.5), np.full((2, 3), 2.5, np.float32), ("dtype",)),
    "tensor": (([1.5, 2.0],), np.array([1.5, 2.0], np.float32), ("dtype", "requires_grad")),
    "as_tensor": (([1.5, 2.0],), np.array([1.5, 2.0], np.float32), ("dtype",)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_tensor_is_made_as_numpy_makes_it(name):
    args, wanted, options = MAKERS[name]
    make = getattr(tg, name)
    for dtype in (None, np.float64, np.float32, "float64", np.int32):
        y = make(*args) if dtype is None else make(*args, dtype=dtype)
        assert y.dtype == (wanted.dtype if dtype is None else np.dtype(dtype))
        np.testing.assert_array_equal(y.numpy(), wanted.astype(y.dtype))
        assert y.is_leaf and not y.requires_grad and y.array.flags.writeable
    if "requires_grad" in options:
        y = make(*args, requires_grad=True)
        assert y.requires_grad and y.is_leaf
        with pytest.raises(TypeError, match="no derivative"):
            make(*args, dtype=np.int64, requires_grad=True)


def test_sizes_are_given_one_by_one_or_together():
    for make in (tg.zeros, tg.ones, tg.empty, tg.rand, tg.randn):
        for args in ((2, 3), ((2, 3),), ([2, 3],), (np.int64(2), 3)):
            assert make(*args).shape == (2, 3)
        assert make(4).shape == (4,) and make().shape == () == make(()).shape
        assert make(2, dtype=np.float64).dtype == np.float64
        assert make(2, requires_grad=True).requires_grad and not make(2).requires_grad
    assert tg.empty(2).dtype == np.float32 and tg.full(3, 2).tolist() == [2, 2, 2]
    assert tg.full([2], True).dtype == bool and tg.full((), 1.0).shape == ()


def test_ranges_are_numpys():
    for args in ((5,), (2, 5), (2, 9, 3), (5, 0, -2), (0.0, 1.0, 0.25), (1, 2, 0.5), (1.5,),
                 (np.int64(2), 4)):  # fmt: skip
        y, wanted = tg.arange(*args), np.arange(*args)
        np.testing.assert_array_equal(y.numpy(), wanted)
        assert y.dtype == (np.int64 if wanted.dtype.kind == "i" else np.float32)
    assert tg.arange(0.0, 2.0, requires_grad=True).requires_grad
    assert tg.arange(end=5, start=2, step=2, dtype=np.float64).tolist() == [2.0, 4.0]
    np.testing.assert_array_equal(tg.eye(2, 3).numpy(), np.eye(2, 3))
    np.testing.assert_array_equal(tg.eye(3, m=2).numpy(), np.eye(3, 2))
    assert tg.numel(tg.zeros(2, 3, 5)) == 30


def test_tensors_are_passed_on_and_arrays_are_shared_or_copied():
    x, array = numbers(3), np.ones(3)
    assert tg.as_tensor(x) is x and tg.as_tensor(x, np.float64).dtype == np.float64
    assert tg.as_tensor(x, np.float32) is x
    for make in (tg.from_numpy, tg.as_tensor, tg.tensor):
        y = make(array)
        assert y.dtype == np.float64
        assert np.shares_memory(y.array, array) is (make is not tg.tensor)
    with pytest.raises(TypeError, match="from_numpy: got list"):
        tg.from_numpy([1.0])


SHARES = tg.tensor([[0.1, 0.6, 0.3, 0.0], [0.25, 0.25, 0.25, 0.25]])
MEANS = tg.tensor(np.array([[1.0], [2.0], [-30.0]]))
STDS = tg.tensor(np.array([0.5, 2.0, 1.0, 3.0]))
DRAWS = {  # a draw, and the same one from the generator itself
    "rand": (((3, 4),), lambda g: g.rand((3, 4), np.float32)),
    "randn": (((3, 4),), lambda g: g.randn((3, 4), np.float32)),
    "rand_like": ((numbers(3, 4),), lambda g: g.rand((3, 4), np.float32)),
    "randn_like": ((numbers(3, 4),), lambda g: g.randn((3, 4), np.float32)),
    "randint": ((2, 9, (3, 4)), lambda g: g.randint(2, 9, (3, 4))),
    "randperm": ((9,), lambda g: g.randperm(9)),
    "normal": ((MEANS, STDS), lambda g: g.randn((3, 4), np.float64) * STDS.array + MEANS.array),
    "bernoulli": ((SHARES,), lambda g: g.bernoulli(SHARES.array).astype(np.float32)),
    "multinomial": ((SHARES, 2), lambda g: g.multinomial(SHARES.array, 2, False)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_comes_from_the_generator_that_is_given(name):
    args, draw = DRAWS[name]
    make, wanted = getattr(tg, name), draw(seeded())
    y = make(*args, generator=seeded())
    assert y.dtype == wanted.dtype and not y.requires_grad
    np.testing.assert_array_equal(y.numpy(), wanted)
    tg.manual_seed(8)
    np.testing.assert_array_equal(make(*args).numpy(), wanted)  # the default generator, seeded
    assert make(*args).tolist() != wanted.tolist()
    before = tg.get_rng_state()
    make(*args, generator=seeded())
    np.testing.assert_array_equal(tg.get_rng_state(), before)  # and nobody drew from it


def test_other_ways_to_ask_for_draws():
    def same(call, wanted):
        np.testing.assert_array_equal(call(seeded()).numpy(), wanted(seeded()))

    same(lambda g: tg.randint(9, (3,), generator=g), lambda g: g.randint(0, 9, (3,)))
    same(lambda g: tg.randint(2, 9, 3, generator=g), lambda g: g.randint(2, 9, (3,)))
    same(
        lambda g: tg.normal(2.0, 3.0, (4,), generator=g),
        lambda g: g.normal(2.0, 3.0, (4,), np.float32),
    )
    same(
        lambda g: tg.normal(2.0, 3.0, 4, generator=g),
        lambda g: g.normal(2.0, 3.0, (4,), np.float32),
    )
    same(lambda g: tg.normal(1.0, STDS, generator=g),
         lambda g: g.randn((4,), np.float64) * STDS.array + 1)  # fmt: skip
    same(lambda g: tg.normal(MEANS, 0.5, None, generator=g),
         lambda g: g.randn((3, 1), np.float64) * 0.5 + MEANS.array)  # fmt: skip
    same(lambda g: tg.multinomial(SHARES, 9, True, generator=g),
         lambda g: g.multinomial(SHARES.array, 9, True))  # fmt: skip
    same(lambda g: tg.multinomial(SHARES, num_samples=9, replacement=True, generator=g),
         lambda g: g.multinomial(SHARES.array, 9, True))  # fmt: skip
    assert tg.normal(0.0, 1.0, (2,)).dtype == np.float32
    assert tg.randint(5, (2,), dtype=np.int32).dtype == np.int32
    assert tg.rand_like(tg.zeros(2, dtype=np.float64)).dtype == np.float64
    assert tg.randn_like(tg.zeros(2, dtype=np.float64)).dtype == np.float64
    with pytest.raises(TypeError, match="randint: no size"):
        tg.randint(5)


def test_no_maker_and_no_option_is_missing():
    others = {"empty", "from_numpy", "numel"}
    others |= {"empty_like", "logspace", "randint_like", "range"}  # in torch_names.py
    functions = {n for n, f in vars(creation).items() if inspect.isfunction(f) and n in tg.__all__}
    assert functions == {*MAKERS, *DRAWS} | others
    for name, (_, _, options) in MAKERS.items():
        known = {p.name for p in parameters_of(getattr(tg, name))}
        assert set(options) >= known & {"dtype"}
    for name in DRAWS:
        assert "generator" in inspect.signature(getattr(tg, name)).parameters


# --- samplers and loaders ----------------------------------------------------------------------


def order(loader):
    return [i for batch in loader for i in batch.tolist()]


def test_a_loader_draws_from_its_generator():
    rows = data.TensorDataset(tg.arange(12))
    first = order(b for (b,) in data.DataLoader(rows, 4, True, generator=seeded()))
    for items in (rows, data.Subset(rows, range(12))):
        loader = data.DataLoader(items, batch_size=4, shuffle=True, generator=seeded())
        assert order(b for (b,) in loader) == first != order(b for (b,) in loader)
    assert sorted(first) == list(range(12)) != first
    tg.manual_seed(8)
    default = order(b for (b,) in data.DataLoader(rows, 4, True))
    tg.manual_seed(8)
    assert order(b for (b,) in data.DataLoader(rows, 4, True)) == default != first


def test_samplers_draw_from_their_generator():
    for options in ({}, {"replacement": True}, {"num_samples": 5}):
        first = list(data.RandomSampler(range(9), **options, generator=seeded()))
        assert list(data.RandomSampler(range(9), **options, generator=seeded())) == first
        assert list(data.RandomSampler(range(9), **options, generator=seeded(9))) != first
        assert len(first) == options.get("num_samples", 9)
    assert len(set(data.RandomSampler(range(9), generator=seeded()))) == 9
    assert len(set(data.RandomSampler(range(9), True, 90, seeded()))) == 9
    parts = data.random_split(range(9), [4, 5], seeded())
    again = data.random_split(range(9), [4, 5], generator=seeded())
    assert [list(p) for p in parts] == [list(p) for p in again]
    assert sorted(i for p in parts for i in p) == list(range(9))


def test_the_options_of_a_loader():
    def taken(*args, **options):
        return [b.tolist() for b in data.DataLoader(list(range(7)), *args, **options)]

    assert taken() == [[i] for i in range(7)]
    assert taken(3) == taken(batch_size=3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert taken(3, drop_last=True) == [[0, 1, 2], [3, 4, 5]]
    assert taken(2, sampler=[5, 1, 3]) == [[5, 1], [3]]
    assert taken(batch_sampler=[[5, 1], [3], [0, 2, 4]]) == [[5, 1], [3], [0, 2, 4]]
    loader = data.DataLoader(list(range(7)), 3, collate_fn=sum)
    assert list(loader) == [3, 12, 6] and len(loader) == 3
    by_batches = data.DataLoader(list(range(7)), batch_sampler=[[1, 2]])
    assert by_batches.batch_size is None and len(by_batches) == 1
    assert data.DataLoader(list(range(7)), 3).batch_size == 3
    rows = data.TensorDataset(tg.arange(7))
    assert [b.tolist() for (b,) in data.DataLoader(rows, batch_sampler=[[5, 1], [3]])] == [
        [5, 1],
        [3],
    ]
