"""Adam and AdamW: a rate for each number, from running means of gradients and their squares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.optim.optimizer import Optimizer, is_number, number, slope


class Adam(Optimizer):
    """w -= lr·m̂/(√v̂ + ε), m and v the running means of g and g², hats undoing their start at 0.

    m = β₁m + (1-β₁)g, v = β₂v + (1-β₂)g², m̂ = m/(1-β₁ᵗ), v̂ = v/(1-β₂ᵗ) (Kingma and Ba, 2015).
    `amsgrad` takes the largest v so far in the place of v (Reddi, Kale and Kumar, 2018).
    `weight_decay` λ adds λ·w to the gradient, or, where `decoupled_weight_decay`, takes lr·λ·w off
    first. `maximize` goes uphill. Other flags: see `Optimizer`.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9000], requires_grad=True)
    """

    keeps = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip

    def check(self, group: dict[str, Any]) -> None:
        """Also 0 ≤ β < 1."""
        super().check(group)
        betas = group["betas"]
        two = isinstance(betas, (tuple, list)) and len(betas) == 2
        if not (two and all(is_number(beta) and 0.0 <= beta < 1.0 for beta in betas)):
            name = type(self).__name__
            raise ValueError(f"{name}: betas={betas}; wanted two numbers, 0 ≤ β < 1")

    def needs(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """How many steps were taken, and both means."""
        return self.keeps if group["amsgrad"] else self.keeps[:3]

    def update(self, p: Tensor, w: Any, g: Any, group: dict[str, Any]) -> None:
        """One step for one parameter."""
        if group["decoupled_weight_decay"]:
            if group["weight_decay"]:
                w *= 1 - group["lr"] * group["weight_decay"]
            g = -g if group["maximize"] else g
        else:
            g = slope(w, g, group)
        beta1, beta2 = group["betas"]
        step, m, v = self.state_of(p, step=(), exp_avg=w.shape, exp_avg_sq=w.shape)
        step += 1
        m *= number(beta1, w)
        m += number(1 - beta1, w) * g
        v *= number(beta2, w)
        change = g * g
        change *= number(1 - beta2, w)
        v += change
        if group["amsgrad"]:
            (largest,) = self.state_of(p, max_exp_avg_sq=w.shape)
            largest[...] = np.maximum(largest, v)
            v = largest
        # lr·m̂/(√v̂ + ε), with the corrections of both means taken out of the array; in float64,
        # because 1 - 0.999 has only four good digits in float32
        t = step.astype(np.float64)
        root = np.sqrt(1 - beta2**t)
        rate = group["lr"] * root / (1 - beta1**t)
        change = np.sqrt(v)
        change += (root * group["eps"]).astype(w.dtype)
        change = m / change
        change *= rate.astype(w.dtype)
        w -= change


class AdamW(Adam):
    """Adam with decoupled weight decay: first w -= lr·λ·w, then Adam (Loshchilov and Hutter, 2019).

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = AdamW([w], lr=0.1, weight_decay=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8500], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
            capturable=capturable, differentiable=differentiable, fused=fused,
            decoupled_weight_decay=True,
        )  # fmt: skip
