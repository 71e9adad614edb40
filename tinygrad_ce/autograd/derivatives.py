"""grad, vjp, jvp, jacobian, hessian: the chain rule as functions that touch no `.grad`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_ce.engine import backward, chain
from tinygrad_ce.engine.frame import current, recording
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor


def as_tuple(x: Any, name: str) -> tuple[Any, ...]:
    """One Tensor or several, as a tuple."""
    many = (x,) if isinstance(x, Tensor) else tuple(x) if isinstance(x, (tuple, list)) else ()
    for one in many:
        if not isinstance(one, Tensor):
            raise TypeError(f"{name}: got a {type(one).__name__}; wanted a Tensor")
    if not many:
        raise TypeError(f"{name}: got {type(x).__name__}; wanted a Tensor or several")
    return many


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """∂(Σ outputs)/∂input for each input, in a tuple; no `.grad` is touched.

    `grad_outputs` weighs the outputs (1 for scalars). With `create_graph` the gradients can be
    differentiated again. An input that the outputs do not depend on raises, or gives None with
    `allow_unused`.

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
            g.cut = "grad()"
        found.append(g)
    if retain_graph is False:
        for out in outs:
            backward.free(out)
    return tuple(found)


def _run(func: Callable[..., Any], inputs: Any, name: str) -> tuple[Any, tuple[Any, ...], bool]:
    """func on fresh leaves with the values of the inputs: (outputs, leaves, was one input)."""
    single = isinstance(inputs, Tensor)
    values = as_tuple(inputs, f"{name}: inputs")
    leaves = tuple(x.detach().clone().requires_grad_() for x in values)
    with recording(True):
        outputs = func(*leaves)
    as_tuple(outputs, f"{name}: what func gave")
    return outputs, leaves, single


def _or_zeros(gradients: tuple[Any, ...], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        leaf(np.zeros_like(x.array)) if g is None else g for g, x in zip(gradients, inputs)
    )


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None) -> tuple[Any, Any]:
    """(func(x), vᵀJ): the product of a vector with the Jacobian of func at x.

    >>> from tinygrad_ce import tensor
    >>> vjp(lambda x: x * x, tensor([1.0, 2.0]), tensor([1.0, 10.0]))[1]
    tensor([ 2., 40.])
    """
    outputs, leaves, single = _run(func, inputs, "vjp")
    outs = as_tuple(outputs, "vjp: what func gave")
    if not any(out.requires_grad for out in outs):
        gradients: tuple[Any, ...] = (None,) * len(leaves)
    else:
        gradients = grad(outputs, leaves, v, allow_unused=True)
    products = _or_zeros(gradients, leaves)
    detached = tuple(out.detach() for out in outs)
    return detached[0] if isinstance(outputs, Tensor) else detached, (
        products[0] if single else products
    )


def jvp(func: Callable[..., Any], inputs: Any, v: Any) -> tuple[Any, Any]:
    """(func(x), J·v): the change of func when x moves along v.

    vᵀJ is linear in v, so its own gradient with respect to v gives the other product: a double
    vjp.

    >>> from tinygrad_ce import tensor
    >>> jvp(lambda x: x * x, tensor([1.0, 2.0]), tensor([1.0, 10.0]))[1]
    tensor([ 2., 40.])
    """
    outputs, leaves, _ = _run(func, inputs, "jvp")
    outs = as_tuple(outputs, "jvp: what func gave")
    directions = as_tuple(v, "jvp: v")
    if [tuple(d.shape) for d in directions] != [tuple(x.shape) for x in leaves]:
        raise ValueError(
            f"jvp: v has shapes {[tuple(d.shape) for d in directions]}; wanted those of the "
            f"inputs, {[tuple(x.shape) for x in leaves]}"
        )
    live = tuple(out for out in outs if out.requires_grad)
    dummies = tuple(leaf(np.ones_like(out.array), True) for out in live)
    pulled = grad(live, leaves, dummies, create_graph=True, allow_unused=True) if live else ()
    pairs = [(g, d) for g, d in zip(pulled, directions) if g is not None and g.requires_grad]
    products: dict[Any, Any] = {}
    if pairs:
        pushed = grad([g for g, _ in pairs], dummies, [d for _, d in pairs], allow_unused=True)
        products = dict(zip(live, pushed))
    results = _or_zeros(tuple(products.get(out) for out in outs), outs)
    detached = tuple(out.detach() for out in outs)
    if isinstance(outputs, Tensor):
        return detached[0], results[0]
    return detached, results


def jacobian(func: Callable[..., Any], inputs: Any, create_graph: bool = False) -> Any:
    """J[i, j] = ∂func(x)[i]/∂x[j], of shape func(x).shape + x.shape.

    Several inputs give a tuple; several outputs a tuple of those.

    >>> from tinygrad_ce import tensor
    >>> jacobian(lambda x: x * x, tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    single = isinstance(inputs, Tensor)
    if create_graph:
        leaves = as_tuple(inputs, "jacobian: inputs")
        outputs = func(*leaves)
    else:
        outputs, leaves, _ = _run(func, inputs, "jacobian")
    rows = [
        _jacobian_of(out, leaves, create_graph)
        for out in as_tuple(outputs, "jacobian: what func gave")
    ]
    picked = [row[0] if single else row for row in rows]
    return picked[0] if isinstance(outputs, Tensor) else tuple(picked)


def _jacobian_of(out: Tensor, inputs: tuple[Any, ...], create_graph: bool) -> tuple[Any, ...]:
    """∂out/∂x for each input: one backward pass for each element of `out`."""
    from tinygrad_ce.functions import stack

    n = out.numel()
    rows: list[tuple[Any, ...]] = []
    for i in range(n):
        unit = np.zeros(n, out.dtype)
        unit[i] = 1
        if out.requires_grad:
            g = grad(out, inputs, leaf(unit.reshape(out.shape)), None, create_graph, True)
        else:
            g = (None,) * len(inputs)
        rows.append(_or_zeros(g, inputs))
    if not rows:
        return tuple(leaf(np.zeros(out.shape + x.shape, x.dtype)) for x in inputs)
    return tuple(
        stack(column).reshape(out.shape + x.shape) for column, x in zip(zip(*rows), inputs)
    )


def hessian(func: Callable[..., Any], inputs: Any) -> Any:
    """H[i, j] = ∂²func(x)/∂x[i]∂x[j] of a scalar func, of shape x.shape + x.shape.

    Several inputs give a tuple of tuples.

    >>> from tinygrad_ce import tensor
    >>> hessian(lambda x: (x ** 3).sum(), tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    single = isinstance(inputs, Tensor)

    def slopes(*xs: Any) -> Any:
        y = func(*xs)
        if not isinstance(y, Tensor) or y.numel() != 1:
            raise ValueError(
                f"hessian: func gave {getattr(getattr(y, 'array', y), 'shape', y)}; wanted a scalar"
            )
        if not y.requires_grad:
            return _or_zeros((None,) * len(xs), xs)
        return _or_zeros(grad(y, xs, create_graph=True, allow_unused=True), xs)

    blocks = jacobian(slopes, as_tuple(inputs, "hessian: inputs"))
    return blocks[0][0] if single else blocks
