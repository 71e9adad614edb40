"""Gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.optim.optimizer import Optimizer, number, slope


class SGD(Optimizer):
    """w -= lr·g; with momentum μ, v = μ·v + (1 - d)·g and w -= lr·v; nesterov uses g + μ·v.

    The first v is g, whatever the dampening d. `weight_decay` λ adds λ·w to the gradient,
    `maximize` goes uphill. Other flags: see `Optimizer`.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8000], requires_grad=True)
    """

    keeps = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
            "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def check(self, group: dict[str, Any]) -> None:
        """Also what nesterov wants."""
        super().check(group)
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise ValueError("SGD: nesterov=True wants a momentum above 0, and no dampening")

    def needs(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """One velocity; a step without momentum keeps nothing, and the first one finds none."""
        return ()

    def update(self, p: Tensor, w: Any, g: Any, group: dict[str, Any]) -> None:
        """v = μ·v + (1 - d)·g; w -= lr·v."""
        g = slope(w, g, group)
        momentum = group["momentum"]
        if momentum:
            share = self.share(p, group["dampening"])
            (v,) = self.state_of(p, momentum_buffer=w.shape)
            v *= number(momentum, w)
            v += g if share == 1 else share * g
            g = g + momentum * v if group["nesterov"] else v
        w -= number(group["lr"], w) * g

    def share(self, p: Tensor, dampening: float) -> float:
        """How much of a gradient goes into the velocity: all of the first one."""
        if not dampening or "momentum_buffer" in self.state.get(p, ()):
            return 1 - dampening
        tracer = current().tracer
        if tracer is not None:
            tracer.refuse(
                "the first step of SGD with dampening is another one than those after it",
                "Take the first step outside of the function",
            )
        return 1
