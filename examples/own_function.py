"""Functions with a backward pass of one's own, and what they are for.

    python examples/own_function.py [steps]

Three reasons: the formula that autograd would differentiate loses digits; the function has no
useful slope, and one wants to learn through it; the gradient is to be changed on its way back.
"""

import sys
from typing import Any

import tinygrad_ce as torch
import tinygrad_ce.nn as nn
from tinygrad_ce.autograd import Function, gradcheck, gradgradcheck
from tinygrad_ce.autograd.function import once_differentiable

torch.set_default_dtype(torch.float64)


class Softplus(Function):
    """log(1 + eˣ) without overflow; its slope is the sigmoid, kept from the forward pass."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """Elementwise; what backward needs is kept by save_for_backward."""
        ctx.save_for_backward(x)
        return torch.maximum(x, torch.zeros_like(x)) + torch.log1p(torch.exp(-x.abs()))

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> torch.Tensor:
        """Made of differentiable operations, so that it has a second derivative."""
        (x,) = ctx.saved_tensors
        return grad_output * torch.sigmoid(x)


class Sign(Function):
    """sign(x) in {-1, 1}; backward goes straight through where |x| ≤ 1, as if nothing were here."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """The slope is 0 wherever there is one: descent would never move."""
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> torch.Tensor:
        """A convention and no derivative, so there is none of second order either."""
        (x,) = ctx.saved_tensors
        return grad_output * (x.abs() <= 1)


class ReverseGradient(Function):
    """y = x, and -scale times the gradient: what is below learns the opposite."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float) -> torch.Tensor:
        """A number needs no save_for_backward; view_as, since an input is not to be returned."""
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor, None]:
        """One gradient for each input, None for what has none."""
        return -ctx.scale * grad_output, None


class BinaryLinear(nn.Module):
    """A layer whose weights are -1 or 1; behind each is a number that learns."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in).uniform_(-0.5, 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, n_in) -> (N, n_out)."""
        return x @ Sign.apply(self.weight).t() / x.shape[1] ** 0.5


def main(steps: int = 300) -> None:
    """Check the first, learn with the second, look at the third."""
    torch.manual_seed(0)
    x = torch.randn(5, requires_grad=True)
    print("softplus, first and second derivative:",
          gradcheck(Softplus.apply, (x,)), gradgradcheck(Softplus.apply, (x,)))  # fmt: skip
    print(Softplus.apply(x))
    far = torch.tensor([-20.0, 0.0, 20.0]).float()  # 1 + e⁻²⁰ is 1 in float32
    print("naive:", torch.log(1 + torch.exp(far)), "\nours: ", Softplus.apply(far))

    teacher = torch.randn(16).sign()
    X = torch.randn(256, 16)
    y = (X @ teacher > 0).long()
    model = nn.Sequential(BinaryLinear(16, 32), nn.ReLU(), BinaryLinear(32, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(1, steps + 1):
        loss = nn.functional.cross_entropy(model(X), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % max(1, steps // 5) == 0:
            right = (model(X).argmax(1) == y).float().mean()
            print(f"step {step:3d}: loss {loss.item():.4f}, {right.item():.1%} right")

    w = torch.ones(3, requires_grad=True)
    ReverseGradient.apply(w * 2, 0.5).sum().backward()
    print("reversed:", w.grad)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
