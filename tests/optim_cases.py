"""Fifty steps of training with every optimiser and every schedule, in PyTorch or in this library.

PyTorch's loss curves and learning rates are frozen in ``data/optim.npz`` by
``python tests/optim_cases.py``, which needs torch; the tests do not.
"""

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from nn_cases import METRICS, numbers

FROZEN = Path(__file__).with_name("data") / "optim.npz"
STEPS = 50


def two_groups(ps, **options):
    return [{"params": ps[:1], **options}, {"params": ps[1:]}]


OPTIMISERS = {
    "SGD": lambda o, ps: o.SGD(ps, 0.1),
    "SGD-momentum": lambda o, ps: o.SGD(ps, 0.05, 0.9),
    "SGD-dampening": lambda o, ps: o.SGD(ps, 0.1, 0.9, 0.5),
    "SGD-nesterov": lambda o, ps: o.SGD(ps, 0.05, 0.9, 0, 0.1, True),
    "SGD-maximize": lambda o, ps: o.SGD(ps, 0.001, 0.5, weight_decay=0.1, maximize=True),
    "SGD-fused": lambda o, ps: o.SGD(ps, 0.1, fused=True),
    "SGD-foreach": lambda o, ps: o.SGD(ps, 0.1, foreach=True),
    "Adam": lambda o, ps: o.Adam(ps, 0.05),
    "Adam-decay": lambda o, ps: o.Adam(ps, 0.05, (0.5, 0.9), 1e-3, 0.1),
    "Adam-amsgrad": lambda o, ps: o.Adam(ps, 0.1, (0.9, 0.8), 1e-8, 0, True),
    "Adam-maximize": lambda o, ps: o.Adam(ps, 0.01, maximize=True, weight_decay=0.1),
    "Adam-decoupled": lambda o, ps: o.Adam(ps, 0.1, weight_decay=0.1, decoupled_weight_decay=True),
    "AdamW": lambda o, ps: o.AdamW(ps, 0.05),
    "AdamW-all": lambda o, ps: o.AdamW(ps, 0.1, (0.8, 0.9), 1e-4, 0.3, True),
    "AdamW-maximize": lambda o, ps: o.AdamW(ps, 0.01, maximize=True),
    "AdamW-fused": lambda o, ps: o.AdamW(ps, 0.05, fused=True),
    "AdamW-groups": lambda o, ps: o.AdamW(
        two_groups(ps, lr=0.1, weight_decay=0.5, betas=(0.5, 0.6)), 0.01
    ),
    "RMSprop": lambda o, ps: o.RMSprop(ps),
    "RMSprop-momentum": lambda o, ps: o.RMSprop(ps, 0.01, 0.9, 1e-6, 0.1, 0.9),
    "RMSprop-centered": lambda o, ps: o.RMSprop(ps, 0.01, centered=True),
    "RMSprop-all": lambda o, ps: o.RMSprop(
        ps, 0.001, 0.8, momentum=0.5, centered=True, maximize=True
    ),
    "Adagrad": lambda o, ps: o.Adagrad(ps, 0.1),
    "Adagrad-all": lambda o, ps: o.Adagrad(ps, 0.2, 0.1, 0.1, 0.5, 1e-3),
    "Adagrad-maximize": lambda o, ps: o.Adagrad(ps, 0.01, maximize=True),
    "LBFGS": lambda o, ps: o.LBFGS(ps, 0.1, 2),
    "LBFGS-one": lambda o, ps: o.LBFGS(ps, 0.2, max_iter=1),
    "LBFGS-history": lambda o, ps: o.LBFGS(ps, 0.5, 1, history_size=3),
    "LBFGS-wolfe": lambda o, ps: o.LBFGS(ps, 1, 1, line_search_fn="strong_wolfe"),
    "LBFGS-wolfe-far": lambda o, ps: o.LBFGS(
        ps, 100, 1, max_eval=9, history_size=3, line_search_fn="strong_wolfe"
    ),
    "LBFGS-wolfe-near": lambda o, ps: o.LBFGS(
        ps, 1e-3, 1, max_eval=7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    ),
    "LBFGS-wolfe-few": lambda o, ps: o.LBFGS(ps, 30, 2, max_eval=3, line_search_fn="strong_wolfe"),
    "LBFGS-wolfe-plain": lambda o, ps: o.LBFGS(ps, line_search_fn="strong_wolfe"),
    "LBFGS-wolfe-long": lambda o, ps: o.LBFGS(
        ps, 1.0, 4, 6, 1e-5, 1e-7, 2, line_search_fn="strong_wolfe"
    ),
    "Adadelta": lambda o, ps: o.Adadelta(ps),
    "Adadelta-all": lambda o, ps: o.Adadelta(ps, 0.5, 0.8, 1e-2, 0.1),
    "Adadelta-maximize": lambda o, ps: o.Adadelta(ps, 0.1, maximize=True),
}
SCHEDULES = {
    "StepLR": lambda s, o: s.StepLR(o, 7, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [30, 5, 5, 17], 0.3),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.25, 11),
    "ConstantLR-plain": lambda s, o: s.ConstantLR(o),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.1, 0.7, 23),
    "LinearLR-plain": lambda s, o: s.LinearLR(o),
    "LinearLR-down": lambda s, o: s.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=40),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.93),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 37, 0.9),
    "PolynomialLR-plain": lambda s, o: s.PolynomialLR(o),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 50),
    "CosineAnnealingLR-again": lambda s, o: s.CosineAnnealingLR(o, 11, 0.01),
    "WarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 7, 2, 0.001),
    "WarmRestarts-plain": lambda s, o: s.CosineAnnealingWarmRestarts(o, 13),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda epoch: 0.95**epoch),
    "LambdaLR-list": lambda s, o: s.LambdaLR(o, [lambda epoch: 1 / (1 + epoch / 9)]),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.1, 50),
    "OneCycleLR-epochs": lambda s, o: s.OneCycleLR(
        o, [0.2, 0.1], epochs=5, steps_per_epoch=10, pct_start=0.25, anneal_strategy="linear"
    ),
    "OneCycleLR-three": lambda s, o: s.OneCycleLR(
        o,
        0.1,
        50,
        three_phase=True,
        base_momentum=0.5,
        max_momentum=[0.9, 0.8],
        div_factor=10,
        final_div_factor=5,
    ),
    "OneCycleLR-alone": lambda s, o: s.OneCycleLR(o, 0.1, 60, cycle_momentum=False),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(o, "min", 0.5, 2),
    "ReduceLROnPlateau-abs": lambda s, o: s.ReduceLROnPlateau(
        o, "max", 0.5, 1, 0.01, "abs", 2, [0.001], 1e-4
    ),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=10), s.CosineAnnealingLR(o, 40)], [10]
    ),
    "SequentialLR-three": lambda s, o: s.SequentialLR(
        o,
        schedulers=[s.ConstantLR(o, 0.1, 20), s.ExponentialLR(o, 0.9), s.StepLR(o, 3)],
        milestones=[20, 35],
    ),
    "SequentialLR-poly": lambda s, o: s.SequentialLR(
        o,
        [
            s.PolynomialLR(o, 9),
            s.LambdaLR(o, lambda e: 1 / (e + 1)),
            s.MultiStepLR(o, [3, 9]),
            s.CosineAnnealingWarmRestarts(o, 5),
        ],
        [10, 20, 34],
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.1, 5), s.ExponentialLR(o, 0.95)], o
    ),
    "ChainedScheduler-plain": lambda s, o: s.ChainedScheduler(
        [s.LinearLR(o), s.StepLR(o, 20), s.CosineAnnealingLR(o, 30)]
    ),
}
ADAM = {  # with β₁ going down and up
    "OneCycleLR-Adam": lambda s, o: s.OneCycleLR(o, max_lr=0.1, total_steps=51),
}


def loss_of(lib, parameters):
    """Mean squared error of a network with 5 hidden units, on 7 samples."""
    w, v = parameters
    x, y = (lib.tensor(numbers(*shape, seed=43)) for shape in ((7, 3), (7,)))
    d = (x @ w).tanh() @ v - y
    return (d * d).mean()


def start(lib):
    return [lib.tensor(numbers(*shape, seed=40), requires_grad=True) for shape in ((3, 5), (5,))]


def trained(lib, make, schedule=None, compile=lambda step: step, after=0):
    """Losses of 50 steps, and the learning rates of the first group before each of them.

    compile: what is done to the step, after so many steps.
    """
    parameters = start(lib)
    optimizer = make(lib.optim, parameters)
    scheduler = schedule(lib.optim.lr_scheduler, optimizer) if schedule else None
    losses, rates = [], []

    def closure():
        optimizer.zero_grad()
        loss = loss_of(lib, parameters)
        loss.backward()
        return loss

    def step():
        return optimizer.step(closure)

    for i in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        step = compile(step) if i == after else step
        losses.append(step().item())
        if isinstance(scheduler, lib.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step(METRICS["noisy"][i % 30])
        elif scheduler is not None:
            scheduler.step()
    return losses, rates


def cases():
    """(name, arguments of `trained`) of each run."""
    for name, make in OPTIMISERS.items():
        yield name, (make,)
    for name, schedule in SCHEDULES.items():
        yield name, (by_descent if "Cycle" in name else OPTIMISERS["SGD-momentum"], schedule)

    for name, schedule in ADAM.items():
        yield name, (OPTIMISERS["Adam"], schedule)


def by_descent(o, ps):
    return o.SGD(two_groups(ps, lr=0.05), 0.1, 0.9)


def read():
    """{name: (losses, learning rates)} of PyTorch."""
    with np.load(FROZEN) as file:
        return dict(zip(file["names"].tolist(), file["curves"]))


def main():
    import torch

    lib = SimpleNamespace(tensor=torch.tensor, optim=torch.optim)
    warnings.simplefilter("ignore")
    found = {name: trained(lib, *run) for name, run in cases()}
    np.savez_compressed(FROZEN, names=np.array([*found]), curves=np.array([*found.values()]))
    print(f"{len(found)} runs, {FROZEN.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
