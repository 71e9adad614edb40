"""The workloads in PyTorch, each whole step compiled: `torch.compile` of loss, gradient and update.

The gradient comes from `torch.func.grad_and_value` and the update is written out in place, because
that compiles to one graph, without the overhead of `loss.backward()` and an optimiser, compiled or
not: W1 is four times as fast so, and no other workload is slower. W4 has PyTorch's linear layer and
fused loss, which is faster here too. The chain of W6 is left out: compilers are not made for it.
"""

from collections.abc import Callable
from functools import cache
from itertools import cycle
from typing import Any

import torch

from tests.benchmarks import in_torch
from tests.benchmarks.in_torch import Loss, Parameters, batches_of, results_of, tensors_of
from tests.benchmarks.workloads import Array, Build, Logits, Run, SoftmaxRegression

State = list[dict[str, torch.Tensor]]
"""What an optimiser keeps: two dicts of the parameters' names and shapes, and the step count."""
Update = Callable[[Parameters, Parameters, State, float, float], None]
"""Changes parameters and state in place, given gradients, rate and momentum."""


def sgd(w: Parameters, gradients: Parameters, state: State, lr: float, momentum: float) -> None:
    for name, p in w.items():
        if momentum:
            velocity = state[0][name]
            velocity.mul_(momentum).add_(gradients[name])
            p.sub_(lr * velocity)
        else:
            p.sub_(lr * gradients[name])


def adam(w: Parameters, gradients: Parameters, state: State, lr: float, momentum: float) -> None:
    means, squares, steps = state
    steps["t"].add_(1)
    for name, p in w.items():
        g, m, v = gradients[name], means[name], squares[name]
        m.mul_(0.9).add_(0.1 * g)
        v.mul_(0.999).add_(0.001 * g * g)
        m_hat, v_hat = m / (1 - 0.9 ** steps["t"]), v / (1 - 0.999 ** steps["t"])
        p.sub_(lr * m_hat / (v_hat.sqrt() + 1e-8))


@cache
def compiled_step(loss_of: Loss, update: Update, lr: float, momentum: float) -> Any:
    """(parameters, state, batch) -> loss, changing the first two in place; made once.

    A run that starts again from fresh weights is the same program.
    """

    def step(w: Parameters, state: State, *batch: torch.Tensor) -> torch.Tensor:
        gradients, loss = torch.func.grad_and_value(loss_of)(w, *batch)
        update(w, gradients, state, lr, momentum)
        return loss

    # All workloads share this function's code, and PyTorch compiles one code only a few times.
    torch.compiler.reset()
    return torch.compile(step, dynamic=False)


def training(loss_of: Loss, update: Update, data: Any, parameters: dict[str, Array]) -> Run:
    w = {name: p.detach() for name, p in tensors_of(parameters).items()}
    momentum = getattr(data, "momentum", 0.0)
    zeros = [{name: torch.zeros_like(p) for name, p in w.items()} for _ in range(2)]
    state = [*zeros, {"t": torch.zeros(())}]
    step = compiled_step(loss_of, update, data.learning_rate, momentum)
    batches = cycle(batches_of(data.batches))
    return Run(lambda: step(w, state, *next(batches)).item(), lambda: results_of(w))


def trained_by(update: Update, loss_of: Loss) -> Build:
    return lambda data: training(loss_of, update, data, data.parameters)


def softmax_regression(data: SoftmaxRegression) -> Run:
    return training(in_torch.softmax_regression_fused_loss, sgd, data, {"W.weight": data.W})


@cache
def compiled_gradient() -> Any:
    torch.compiler.reset()
    return torch.compile(torch.func.grad_and_value(in_torch.logits_loss), dynamic=False)


def logits(data: Logits) -> Run:
    z, y = torch.tensor(data.z), torch.tensor(data.y)
    gradient: list[Array] = []

    def step() -> float:
        dz, loss = compiled_gradient()(z, y)
        gradient[:] = [dz.numpy()]
        return loss.item()

    return Run(step, lambda: gradient)


RUNS: dict[str, dict[str, Build]] = {
    "W1": {"torch.compile": trained_by(sgd, in_torch.two_moons_loss)},
    "W2": {"torch.compile": trained_by(sgd, in_torch.digits_loss)},
    "W3": {"torch.compile": trained_by(adam, in_torch.images_loss)},
    "W4": {"torch.compile": softmax_regression},
    "W5": {"torch.compile": logits},
    "W7": {"torch.compile": trained_by(sgd, in_torch.lenet_loss)},
    "W8": {"torch.compile": trained_by(sgd, in_torch.transformer_loss)},
}
