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
    "Adadelta": lambda o, ps: o.Adadelta(ps),
    "Adadelta-all": lambda o, ps: o.Adadelta(ps, 0.5, 0.8, 1e-2, 0.1),
    "Adadelta-maximize": lambda o, ps: o.Adadelta(ps, 0.1, maximize=True),
}
SCHEDULES = {}


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
