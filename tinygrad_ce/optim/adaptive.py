"""RMSprop, Adagrad and Adadelta: rates from the squares of the gradients so far.

Products are taken in PyTorch's order, so that float32 is rounded almost everywhere as there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.optim.optimizer import Optimizer, number, slope


class RMSprop(Optimizer):
    """w -= lr·g/(√v + ε), v = α·v + (1-α)·g² the running mean of g² (Hinton, lecture 6e, 2012).

    `centered` takes √(v - m²), m the running mean of g: the deviation of g. With momentum μ,
    b = μ·b + g/(√v + ε) and w -= lr·b. `weight_decay` λ adds λ·w to the gradient, `maximize` goes
    uphill. Other flags: see `Optimizer`.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = RMSprop([w], lr=0.1, alpha=0.75)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8000], requires_grad=True)
    """

    keeps = ("step", "square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable,
        })  # fmt: skip

    def needs(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """A count and the mean of squares; what momentum and centring keep."""
        more = ("momentum_buffer",) if group["momentum"] else ()
        return (*self.keeps[:2], *more, *(("grad_avg",) if group["centered"] else ()))

    def update(self, p: Tensor, w: Any, g: Any, group: dict[str, Any]) -> None:
        """One step for one parameter."""
        g, alpha = slope(w, g, group), group["alpha"]
        step, v = self.state_of(p, step=(), square_avg=w.shape)
        step += 1
        v *= number(alpha, w)
        v += number(1 - alpha, w) * g * g
        if group["momentum"]:
            (b,) = self.state_of(p, momentum_buffer=w.shape)
        spread = v
        if group["centered"]:
            (m,) = self.state_of(p, grad_avg=w.shape)
            m += number(1 - alpha, w) * (g - m)
            spread = v - m * m
        lr, size = number(group["lr"], w), np.sqrt(spread) + number(group["eps"], w)
        if group["momentum"]:
            b *= number(group["momentum"], w)
            b += g / size
            w -= lr * b
        else:
            w -= lr * g / size


class Adagrad(Optimizer):
    """w -= lrₜ·g/(√s + ε), s the sum of all g² (Duchi, Hazan and Singer, 2011).

    lrₜ = lr/(1 + (t-1)·lr_decay) in step t; s begins at `initial_accumulator_value`.
    `weight_decay` λ adds λ·w to the gradient, `maximize` goes uphill. Other flags: see `Optimizer`.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = Adagrad([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9000], requires_grad=True)
    """

    keeps = ("step", "sum")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; the sum of each begins here, before any step."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for p in group["params"]:
            total = np.full(p.shape, group["initial_accumulator_value"], p.dtype)
            self.state[p] = {"step": leaf(np.zeros((), np.float32)), "sum": leaf(total)}

    def update(self, p: Tensor, w: Any, g: Any, group: dict[str, Any]) -> None:
        """One step for one parameter."""
        g = slope(w, g, group)
        step, total = self.state_of(p, step=(), sum=w.shape)
        step += 1
        total += g * g
        lr = number(group["lr"], w)
        if group["lr_decay"]:
            t = step.astype(np.float64)
            lr = (group["lr"] / (1 + (t - 1) * group["lr_decay"])).astype(w.dtype)
        w -= lr * g / (np.sqrt(total) + number(group["eps"], w))


class Adadelta(Optimizer):
    """w -= lr·Δ, Δ = √(u + ε)/√(v + ε)·g: the step has the unit of w (Zeiler, 2012).

    v = ρ·v + (1-ρ)·g² and, after it, u = ρ·u + (1-ρ)·Δ². `weight_decay` λ adds λ·w to the
    gradient, `maximize` goes uphill. Other flags: see `Optimizer`.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = Adadelta([w], eps=0.25, rho=0.75)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.1056], requires_grad=True)
    """

    keeps = ("step", "square_avg", "acc_delta")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        })  # fmt: skip

    def check(self, group: dict[str, Any]) -> None:
        """Also ρ ≤ 1."""
        super().check(group)
        if group["rho"] > 1:
            raise ValueError(f"Adadelta: rho={group['rho']!r}; wanted 0 ≤ ρ ≤ 1")

    def update(self, p: Tensor, w: Any, g: Any, group: dict[str, Any]) -> None:
        """One step for one parameter."""
        g, rho, eps = slope(w, g, group), number(group["rho"], w), number(group["eps"], w)
        rest = number(1 - group["rho"], w)
        step, v, u = self.state_of(p, step=(), square_avg=w.shape, acc_delta=w.shape)
        step += 1
        v *= rho
        v += rest * g * g
        change = np.sqrt(u + eps) / np.sqrt(v + eps) * g
        u *= rho
        u += rest * change * change
        w -= number(group["lr"], w) * change
