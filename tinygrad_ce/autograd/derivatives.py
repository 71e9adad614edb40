"""grad, and both products with the Jacobian: the chain rule as functions that touch no `.grad`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ce.autograd.vmapping import vmap
from tinygrad_ce.engine import backward, chain
from tinygrad_ce.engine.frame import a_type, current, recording
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor


def as_tuple(x: Any, name: str) -> tuple[Any, ...]:
    """One Tensor or several, as a tuple."""
    many = (x,) if isinstance(x, Tensor) else tuple(x) if isinstance(x, (tuple, list)) else ()
    for one in many:
        if not isinstance(one, Tensor):
            raise TypeError(f"{name}: got {a_type(one)}; wanted a Tensor")
    if not many:
        raise TypeError(f"{name}: got {type(x).__name__}; wanted a Tensor or several")
    return many


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """∂(Σ outputs)/∂input for each input, in a tuple; no `.grad` is touched.

    `grad_outputs` weighs the outputs (1 for scalars). With `create_graph` the gradients can be
    differentiated again. An input that the outputs do not depend on raises, or gives None with
    `allow_unused`, zeros with `materialize_grads`. With `is_grads_batched` the weights have one
    more dimension in front, and so have the gradients: all are computed at once, by vmap.

    >>> from tinygrad_ce import tensor
    >>> x = tensor([3.0], requires_grad=True)
    >>> (slope,) = grad((x ** 3).sum(), x, create_graph=True)
    >>> slope, grad(slope.sum(), x)[0]
    (tensor([27.], grad_fn=<MulBackward0>), tensor([18.]))
    """
    outs, ins = as_tuple(outputs, "grad: outputs"), as_tuple(inputs, "grad: inputs")
    if grad_outputs is None or isinstance(grad_outputs, Tensor):
        weights = [grad_outputs] * len(outs)
    else:
        weights = list(grad_outputs)
    if len(weights) != len(outs):
        raise ValueError(f"grad: {len(outs)} outputs and {len(weights)} grad_outputs")
    if materialize_grads:
        if allow_unused is False:
            raise ValueError("grad: materialize_grads gives zeros; leave allow_unused=False out")
        some = grad(outs, ins, weights, retain_graph, create_graph, True, True, is_grads_batched)
        return tuple(zeros_of(x) if g is None else g for g, x in zip(some, ins))
    if is_grads_batched:
        return batched_grad(outs, ins, weights, retain_graph, create_graph, True, allow_unused)
    seeds: dict[Any, Any] = {}
    for out, weight in zip(outs, weights):
        seed = backward.seed_for(out, weight, create_graph)
        seeds[out] = seeds[out] + seed if out in seeds else seed
    with recording(current().record or create_graph):
        arrived = chain.propagate(seeds, set(ins), create_graph)
    found = []
    for i, x in enumerate(ins):
        g = arrived.get(x)
        if g is None and not allow_unused:
            why = "does not require a gradient" if not x.requires_grad else "is not used"
            raise RuntimeError(
                f"grad: input {i} of shape {tuple(x.shape)} {why} in the graph of the outputs; "
                "allow_unused=True gives None for it"
            )
        if g is not None and not create_graph:
            g = leaf(np.array(g)) if isinstance(g, (np.ndarray, np.generic)) else leaf(g)
            g.detached_by = "grad()"
        found.append(g)
    if retain_graph is False:
        for out in outs:
            backward.free(out)
    return tuple(found)


def batched_grad(outs: Any, ins: Any, weights: Any, *settings: Any) -> tuple[Any, ...]:
    """The gradients for several weights at once."""
    unused: list[bool] = []

    def one(*ws: Any) -> list[Any]:
        found = grad(outs, ins, ws, *settings)
        unused[:] = [g is None for g in found]
        return [g for g in found if g is not None]

    rest = iter(vmap(one)(*weights))
    return tuple(None if none else next(rest) for none in unused)


def pull(
    outs: Sequence[Any], xs: Sequence[Any], weights: Sequence[Any], graph: bool, allow: bool = True
) -> list[Any]:
    """vᵀJ: ∂(Σ weight·out)/∂x for each x; None, or zeros if `allow`, where it is 0 everywhere."""
    live = [(out, w) for out, w in zip(outs, weights) if out.requires_grad]
    if live:
        ys, ws = zip(*live)
        found: tuple[Any, ...] = grad(ys, xs, ws, create_graph=graph, allow_unused=True)
    else:
        found = (None,) * len(xs)
    return [zeros_of(x) if g is None and allow else g for g, x in zip(found, xs)]


class Push:
    """J·v, of what was computed from xs.

    vᵀJ is linear in v, so its own gradient with respect to v gives the other product.
    """

    def __init__(self, outs: Sequence[Any], xs: Sequence[Any]) -> None:
        self.outs = outs
        self.dummies = [leaf(np.zeros(y.shape, y.array.dtype), y.is_floating_point()) for y in outs]
        self.pulled = pull(outs, xs, self.dummies, True, allow=False)

    def __call__(self, tangents: Sequence[Any], graph: bool) -> list[Any]:
        """The change of each of the outs when each x moves along its tangent, if it has one."""
        pairs = [(g, t) for g, t in zip(self.pulled, tangents) if g is not None and t is not None]
        return pull([g for g, _ in pairs], self.dummies, [t for _, t in pairs], graph)


def zeros_of(x: Any) -> Any:
    """Zeros of the shape and dtype of x."""
    return leaf(np.zeros(tuple(x.shape), x.array.dtype))
