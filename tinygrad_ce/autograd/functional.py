"""jacobian, hessian and the products with them, of a function at a point.

`inputs` is a tensor or a tuple of several, and so is what the function gives and what is returned.
With `create_graph` the results can be differentiated again. `strict` raises RuntimeError where an
output does not depend on an input, instead of giving zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinygrad_ce.autograd.derivatives import Push, as_tuple, pull, zeros_of
from tinygrad_ce.autograd.vmapping import vmap
from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.functions import stack

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def __dir__() -> list[str]:
    return __all__


class At:
    """A function at a point: leaves with the values of the inputs, and what it gives there."""

    def __init__(
        self, name: str, func: Callable[..., Any], inputs: Any, graph: bool, strict: bool
    ) -> None:
        self.name, self.graph, self.strict = name, graph, strict
        self.single = isinstance(inputs, Tensor)
        self.xs = [
            x.view_as(x) if graph and x.requires_grad else x.detach().requires_grad_()
            for x in as_tuple(inputs, f"{name}: inputs")
        ]
        with recording(True):
            y = func(*self.xs)
        self.one = isinstance(y, Tensor)
        self.outs = as_tuple(y, f"{name}: what func gave")
        for k, out in enumerate(self.outs):
            if strict and not out.requires_grad:
                raise RuntimeError(f"{name}: output {k} depends on no input (strict=True)")

    def vector(self, v: Any, like: Any) -> tuple[Any, ...]:
        """v, which goes with these; 1 if it is not given."""
        if v is None:
            if len(like) != 1 or like[0].numel() != 1:
                raise RuntimeError(f"{self.name}: v may be left out for a single number only")
            return (leaf(np.ones(like[0].array.shape, like[0].array.dtype)),)
        vs = as_tuple(v, f"{self.name}: v")
        shapes = [tuple(x.shape) for x in vs], [tuple(x.shape) for x in like]
        if shapes[0] != shapes[1]:
            raise RuntimeError(f"{self.name}: v has shapes {shapes[0]}; wanted {shapes[1]}")
        return vs

    def backwards(self, outs: Any, weights: Any, graph: bool | None = None) -> list[Any]:
        """vᵀJ."""
        with recording(True):
            found = pull(outs, self.xs, weights, self.graph if graph is None else graph, False)
        for i, g in enumerate(found if self.strict else ()):
            if g is None or (self.graph and not g.requires_grad):
                raise RuntimeError(f"{self.name}: nothing depends on input {i} (strict=True)")
        return [zeros_of(x) if g is None else g for g, x in zip(found, self.xs)]

    def value(self) -> Any:
        """What func gave, as it is returned."""
        outs = self.outs if self.graph else [out.detach() for out in self.outs]
        return outs[0] if self.one else tuple(outs)

    def like_inputs(self, found: Any) -> Any:
        """One for each input, as they were given."""
        return found[0] if self.single else tuple(found)


def vjp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """(func(x), vᵀJ): the product of a vector with the Jacobian of func at x.

    >>> from tinygrad_ce import tensor
    >>> vjp(lambda x: x * x, tensor([1.0, 2.0]), tensor([1.0, 10.0]))[1]
    tensor([ 2., 40.])
    """
    at = At("vjp", func, inputs, create_graph, strict)
    found = at.backwards(at.outs, at.vector(v, at.outs))
    return at.value(), at.like_inputs(found)


def jvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """(func(x), J·v): the change of func when x moves along v.

    >>> from tinygrad_ce import tensor
    >>> jvp(lambda x: x * x, tensor([1.0, 2.0]), tensor([1.0, 10.0]))[1]
    tensor([ 2., 40.])
    """
    at = At("jvp", func, inputs, create_graph, strict)
    vs = at.vector(v, at.xs)
    with recording(True):
        push = Push(at.outs, at.xs)
        found = push(vs, create_graph)
    if strict and None in push.pulled:
        raise RuntimeError("jvp: an input changes no output (strict=True)")
    return at.value(), found[0] if at.one else tuple(found)


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """J[i, j] = ∂func(x)[i]/∂x[j], of shape func(x).shape + x.shape.

    Several inputs give a tuple; several outputs a tuple of those. `vectorize` computes all rows at
    once, and not one after another; with the strategy "forward-mode" it computes columns.

    >>> from tinygrad_ce import tensor
    >>> jacobian(lambda x: x * x, tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError(f"jacobian: strategy={strategy!r}; wanted 'reverse-mode', 'forward-mode'")
    if strategy == "forward-mode" and (create_graph or strict or not vectorize):
        raise NotImplementedError(
            "jacobian: forward-mode goes with vectorize=True, create_graph=False and strict=False"
        )
    at = At("jacobian", func, inputs, create_graph, strict)
    table = columns(at) if strategy == "forward-mode" else rows(at, vectorize)
    blocks = [at.like_inputs(row) for row in table]
    return blocks[0] if at.one else tuple(blocks)


def rows(at: At, vectorize: bool) -> list[list[Any]]:
    """∂out/∂x for each output and each input, from a pass backwards for each element of out."""
    table = []
    for out in at.outs:
        if not out.numel():
            table.append([leaf(np.zeros((*out.shape, *x.shape), x.array.dtype)) for x in at.xs])
            continue
        found = all_of(partial(pulled, at, out), out, vectorize)
        table.append([g.reshape(*out.shape, *x.shape) for g, x in zip(found, at.xs)])
    return table


def columns(at: At) -> list[list[Any]]:
    """The same, from a product J·v for each direction of each input."""
    push = Push(at.outs, at.xs)
    found = [all_of(partial(pushed, push, i), x, True) for i, x in enumerate(at.xs)]
    return [
        [f[k].moveaxis(0, -1).reshape(*out.shape, *x.shape) for f, x in zip(found, at.xs)]
        for k, out in enumerate(at.outs)
    ]


def pulled(at: At, out: Any, v: Any) -> list[Any]:
    """vᵀ∂out/∂x for each x."""
    return at.backwards([out], [v])


def pushed(push: Push, i: int, v: Any) -> list[Any]:
    """The change of each output when input i moves along v."""
    return push([v if j == i else None for j in range(len(push.pulled))], False)


def all_of(product: Callable[[Any], list[Any]], like: Any, vectorize: bool) -> list[Any]:
    """The product with each direction in which `like` can move, stacked."""
    n = like.numel()
    units = leaf(np.eye(n, dtype=like.array.dtype).reshape(n, *like.array.shape))
    if vectorize:
        found: list[Any] = vmap(product)(units)
        return found
    return [stack(column) for column in zip(*map(product, units))]


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """H[i, j] = ∂²func(x)/∂x[i]∂x[j] of a scalar func, of shape x.shape + x.shape.

    Several inputs give a tuple of tuples.

    >>> from tinygrad_ce import tensor
    >>> hessian(lambda x: (x ** 3).sum(), tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    single = isinstance(inputs, Tensor)
    given = as_tuple(inputs, "hessian: inputs")
    blocks = jacobian(
        lambda *xs: slopes("hessian", func, xs, strict),
        given,
        create_graph,
        strict,
        vectorize,
        outer_jacobian_strategy,
    )
    return blocks[0][0] if single else blocks


def slopes(name: str, func: Callable[..., Any], xs: Any, strict: bool) -> tuple[Any, ...]:
    """∂func/∂x for each x, as part of the graph."""
    (y,) = as_tuple(func(*xs), f"{name}: what func gave")
    if y.numel() != 1:
        raise RuntimeError(
            f"{name}: func gave shape {tuple(y.shape)}; wanted a tensor with a single number"
        )
    found = pull([y], xs, [None], True, False)
    if strict and None in found:
        raise RuntimeError(f"{name}: func does not depend on each input (strict=True)")
    return tuple(zeros_of(x) if g is None else g for g, x in zip(found, xs))


def vhp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """(func(x), vᵀH): the product of a vector with the Hessian of a scalar func at x.

    >>> from tinygrad_ce import tensor
    >>> vhp(lambda x: (x ** 3).sum(), tensor([1.0, 2.0]), tensor([1.0, 1.0]))
    (tensor(9.), tensor([ 6., 12.]))
    """
    return second_product("vhp", func, inputs, v, create_graph, strict)


def hvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """(func(x), H·v); as H is symmetric, it is `vhp`.

    >>> from tinygrad_ce import tensor
    >>> hvp(lambda x: (x ** 3).sum(), tensor([1.0, 2.0]), tensor([1.0, 1.0]))
    (tensor(9.), tensor([ 6., 12.]))
    """
    return second_product("hvp", func, inputs, v, create_graph, strict)


def second_product(
    name: str, func: Callable[..., Any], inputs: Any, v: Any, graph: bool, strict: bool
) -> tuple[Any, Any]:
    """(func(x), vᵀH): the gradient of v·∂func/∂x."""
    values: list[Any] = []

    def first(*xs: Any) -> Any:
        y = func(*xs)
        values.append(y)
        return slopes(name, lambda *_: y, xs, strict)

    at = At(name, first, inputs, graph, strict)
    found = at.backwards(at.outs, at.vector(v, at.xs))
    return values[0] if graph else values[0].detach(), at.like_inputs(found)
