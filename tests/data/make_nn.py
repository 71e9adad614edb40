"""Freeze PyTorch's answers to ``tests/nn_cases.py`` in ``nn.npz``; needs torch, the tests do not.

Run ``python tests/data/make_nn.py``.
"""

import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import nn_cases as cases

F = SimpleNamespace(**vars(torch.nn.functional), logsumexp=torch.logsumexp)
lib = SimpleNamespace(
    tensor=lambda data, requires_grad=False: torch.tensor(data, requires_grad=requires_grad),
    manual_seed=torch.manual_seed,
    no_grad=torch.no_grad,
    nn=torch.nn,
    optim=torch.optim,
)


def array(tensor):
    """Its numbers."""
    return tensor.detach().numpy()


def called(case):
    """The value, and the gradients of the inputs that are differentiated."""
    inputs = [torch.tensor(a, requires_grad=i in case.wrt) for i, a in enumerate(case.inputs)]
    y = case.call(F, *inputs)
    y.backward(torch.tensor(cases.incoming(tuple(y.shape))))
    return [array(y), *(array(inputs[i].grad) for i in case.wrt)]


def filled(name, shape):
    """A tensor after one of nn.init, from seed 4."""
    torch.manual_seed(4)
    return array(cases.FILLS[name](torch.nn.init, torch.empty(shape)))


def functions_and_models():
    """(name, arrays) of everything that is numbers."""
    for case in cases.CASES:
        yield case.name, called(case)
    for p in (0.1, 0.5, 0.9):
        for double in (False, True):
            yield f"dropout-{p}-{double}", list(cases.dropped(lib, p, double))
    for name, shape in cases.NORMALISED.items():
        for momentum in (0.1, 0.75):
            yield f"running-{name}-{momentum}", cases.normalised(lib, shape, momentum)
    for name, build in cases.DRAWS.items():
        torch.manual_seed(2)
        yield f"draw-{name}", [array(p) for p in build(torch.nn).parameters()]
    for name in cases.FILLS:
        yield f"fill-{name}", [filled(name, shape) for shape in cases.FILLED]
    gains = [torch.nn.init.calculate_gain(name) for name in cases.GAINS]
    yield "gains", [np.array(gains)]
    torch.manual_seed(6)
    model = cases.mixed(torch.nn, torch.tensor)
    model.apply(redraw)
    yield "applied", [array(p) for p in model.parameters()]


def redraw(module):
    """New weights, for what has them: the order of the draws is the order of `apply`."""
    if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
        torch.nn.init.uniform_(module.weight)


def runs():
    """(name, arrays) of what takes several steps."""
    for name in cases.MODELS:
        for double in (False, True):
            found = cases.trained(lib, name, double)
            yield f"trained-{name}-{double}", list(found.values())
    for name, make in cases.OPTIMISERS.items():
        for double in (False, True):
            ps = cases.start(lib, double)
            yield f"descent-{name}-{double}", [cases.descend(lib, make(lib.optim, ps), ps, 10)]
            ps = cases.start(lib, double)
            yield f"fed-{name}-{double}", [cases.fed(lib, make(lib.optim, ps), ps, 10)]
    for name, metric in cases.schedules():
        yield f"schedule-{name}-{metric}", [cases.scheduled(lib, name, metric)]


def texts():
    """Names and shapes."""
    model = cases.mixed(torch.nn, torch.tensor)
    found = {
        "parameters": [[n, list(p.shape)] for n, p in model.named_parameters()],
        "buffers": [[n, list(b.shape)] for n, b in model.named_buffers()],
        "modules": [n for n, _ in model.named_modules()],
        "children": [n for n, _ in model.named_children()],
        "state": [[n, list(t.shape)] for n, t in model.state_dict().items()],
        "torch": torch.__version__,
    }
    order = []
    model.apply(lambda module: order.append(type(module).__name__))
    found["applied"] = order
    for name in cases.MODELS:
        found[name] = ["losses", "scores", *cases.MODELS[name][0](torch.nn).state_dict()]
    return found


def main():
    """Write ``nn.npz``."""
    warnings.simplefilter("ignore")
    answers = {**dict(functions_and_models()), **dict(runs())}
    count = len(cases.CASES)
    if len({case.name for case in cases.CASES}) != count:
        raise SystemExit("two cases have one name")
    cases.write(answers, texts())
    print(f"{count} calls, {len(answers)} answers, {cases.FROZEN.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
