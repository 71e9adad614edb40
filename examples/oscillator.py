"""A network that knows the law of a damped oscillator and is told only how it starts.

    python examples/oscillator.py [steps]

u'' + 2 δ u' + ω² u = 0 with u(0) = 1, u'(0) = 0. The loss is how far the network u(t) is from
the law at 60 times and from the two conditions at t = 0; no point of the solution is given. Then
the same with a few noisy measurements in place of the conditions, and the friction is found, too.
"""

import sys
from collections.abc import Callable

import tinygrad_ce as torch
from tinygrad_ce import nn

DELTA, OMEGA = 0.5, 4.0
torch.set_default_dtype(torch.float64)  # LBFGS stops where the loss stops falling in its digits


def exact(t: torch.Tensor) -> torch.Tensor:
    """The solution, for δ < ω: an oscillation inside a decay."""
    w = (OMEGA**2 - DELTA**2) ** 0.5
    return torch.exp(-DELTA * t) * (torch.cos(w * t) + DELTA / w * torch.sin(w * t))


def network() -> nn.Sequential:
    """t -> u(t); tanh, since the law has second derivatives."""
    return nn.Sequential(
        nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1)
    )


def derivative(u: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """du/dt at each t, itself differentiable."""
    return torch.autograd.grad(u, t, torch.ones_like(u), create_graph=True)[0]


def residual(model: nn.Module, t: torch.Tensor, friction: float | torch.Tensor) -> torch.Tensor:
    """The mean square of what is left of the law; 0 where the network keeps it."""
    u = model(t)
    du = derivative(u, t)
    return torch.mean((derivative(du, t) + friction * du + OMEGA**2 * u) ** 2)


def fit(parameters: list, loss_fn: Callable[[], torch.Tensor], steps: int) -> None:
    """Adam finds the valley, LBFGS its floor: a step of it looks at the loss up to 25 times."""
    adam = torch.optim.Adam(parameters, lr=0.01)
    lbfgs = torch.optim.LBFGS(
        parameters, lr=1, max_iter=20, history_size=50, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        lbfgs.zero_grad()
        loss = loss_fn()
        loss.backward()
        return loss

    for optimizer, count in ((adam, 300), (lbfgs, steps)):
        for step in range(1, count + 1):
            loss = optimizer.step(closure)
            if step % max(1, count // 5) == 0:
                print(f"{type(optimizer).__name__:<5} step {step:3d}: loss {loss.item():.3e}")


def main(steps: int = 5) -> None:
    """From the start alone, then from measurements."""
    torch.manual_seed(123)
    physics = torch.linspace(0, 1, 60).view(-1, 1).requires_grad_(True)
    start = torch.tensor([[0.0]], requires_grad=True)
    test = torch.linspace(0, 1, 201).view(-1, 1)

    model = network()

    def from_the_start() -> torch.Tensor:
        u = model(start)
        conditions = (u - 1).square().sum() + 0.1 * derivative(u, start).square().sum()
        return conditions + 1e-2 * residual(model, physics, 2 * DELTA)

    fit(list(model.parameters()), from_the_start, steps)
    print(f"farthest from the solution: {(model(test) - exact(test)).abs().max().item():.2e}")

    times = torch.rand(30, 1)
    measured = exact(times) + 0.02 * torch.randn_like(times)
    model, friction = network(), nn.Parameter(torch.zeros(1))

    def from_measurements() -> torch.Tensor:
        data = torch.mean((model(times) - measured) ** 2)
        return data + 1e-3 * residual(model, physics, friction)

    fit([*model.parameters(), friction], from_measurements, steps)
    print(f"friction 2δ: {friction.item():.3f}, in truth {2 * DELTA}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
