"""grad, vjp, jvp, jacrev, jacfwd, hessian: from a function to its derivatives.

Arguments and results are tensors, or dicts, lists and tuples of them. The derivatives are functions
again, so they nest: `grad(grad(f))`, `vmap(grad(f))`. Tensors that the function knows from outside
count as constants; where they require a gradient, it flows to them from the derivatives, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from tinygrad_ce.autograd.derivatives import Push, pull
from tinygrad_ce.autograd.trees import changed, leaves, like
from tinygrad_ce.autograd.vmapping import vmap
from tinygrad_ce.engine import table
from tinygrad_ce.engine.chain import history
from tinygrad_ce.engine.frame import a_type, current, recording
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor

Argnums = int | tuple[int, ...]


class Call:
    """One call of a function, on tensors of its own in the place of those in `argnums`."""

    def __init__(
        self, name: str, func: Callable[..., Any], argnums: Argnums, args: Any, kwargs: Any,
        has_aux: bool,
    ) -> None:  # fmt: skip
        record = current().record
        chosen = argnums if isinstance(argnums, tuple) else (argnums,)
        for i in chosen:
            if type(i) is not int or not -len(args) <= i < len(args):
                raise RuntimeError(f"{name}: argnums={argnums} of {len(args)} positional arguments")
        at = [i % len(args) for i in chosen]
        if len({*at}) < len(at) or not at:
            raise RuntimeError(f"{name}: argnums={argnums}; wanted each argument once")
        inner = {i: changed(lambda x: own(name, x, record), args[i]) for i in at}
        self.tree: Any = tuple(inner[i] for i in at)
        self.tree = self.tree if isinstance(argnums, tuple) else self.tree[0]
        self.xs = leaves(self.tree)
        with recording(True):
            y = func(*(inner.get(i, x) for i, x in enumerate(args)), **kwargs)
        if has_aux and not (isinstance(y, tuple) and len(y) == 2):
            raise RuntimeError(f"{name}: has_aux=True wants (output, aux) from the function")
        self.y: Any
        self.aux: Any
        self.y, self.aux = y if has_aux else (y, None)
        self.outs = leaves(self.y)
        for out in self.outs:
            if not isinstance(out, Tensor):
                raise RuntimeError(f"{name}: the function gave {type(out).__name__}; wanted Tensor")
        self.graph = record and self.depends_on_others()

    def depends_on_others(self) -> bool:
        """Whether a gradient flows from the outputs to more than this call's own tensors."""
        live = [out for out in self.outs if out.requires_grad]
        ends = [x for node in history(live) for x in node.inputs if x.live and not x.inputs]
        own = {*self.xs}
        return any(x not in own for x in [*ends, *(out for out in live if not out.inputs)])

    def result(self, tree: Any) -> Any:
        """Tensors of the call as they are seen from outside."""
        return changed(
            lambda x: x.detach() if isinstance(x, Tensor) and not self.graph else x, tree
        )


def own(name: str, x: Any, record: bool) -> Any:
    """x, as a tensor of a call's own, through which a gradient flows on to x."""
    if not isinstance(x, Tensor):
        raise ValueError(f"{name}: got {a_type(x)} to differentiate; wanted a Tensor")
    if x.requires_grad and record:
        return table.reshape(x, x.array.shape)
    return x.detach().requires_grad_()


def wants_graph(call: Call, weights: Any) -> bool:
    """Whether the products with these vectors are part of a graph."""
    live = any(w is not None and w.requires_grad for w in weights)
    return call.graph or (live and current().record)


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Any:
    """The function that computes ∂func/∂(argument `argnums`), of a func that gives a 0-d tensor.

    The gradient has the form of the argument: a tensor, or a dict, list or tuple of them; a tuple
    of these if `argnums` is one. With `has_aux` func gives (loss, aux), and its gradient (g, aux).

    >>> import tinygrad_ce as tg
    >>> slope = grad(lambda x: x ** 3)
    >>> slope(tg.tensor(2.0)), grad(slope)(tg.tensor(2.0))
    (tensor(12.), tensor(12.))
    >>> loss = lambda p, x: ((p["w"] * x).sum() + p["b"]) ** 2
    >>> grad(loss)({"w": tg.tensor([1.0, 2.0]), "b": tg.tensor(1.0)}, tg.tensor([1.0, 1.0]))
    {'w': tensor([8., 8.]), 'b': tensor(8.)}

    Raises RuntimeError where func gives no 0-d tensor.
    """
    both = grad_and_value(func, argnums, has_aux)

    @wraps(func)
    def slope(*args: Any, **kwargs: Any) -> Any:
        g, y = both(*args, **kwargs)
        return (g, y[1]) if has_aux else g

    return slope


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Any:
    """As `grad`, but the function gives (gradient, value), or (gradient, (value, aux)).

    >>> import tinygrad_ce as tg
    >>> grad_and_value(lambda x: x ** 2)(tg.tensor(3.0))
    (tensor(6.), tensor(9.))
    """

    @wraps(func)
    def both(*args: Any, **kwargs: Any) -> Any:
        call = Call("grad", func, argnums, args, kwargs, has_aux)
        y = call.y
        if not isinstance(y, Tensor) or y.ndim:
            got = f"shape {y.array.shape}" if isinstance(y, Tensor) else f"{a_type(y)}"
            raise RuntimeError(
                f"grad: the function gave {got}; wanted one number: y.sum(), or func.vjp, "
                "func.jacrev for more"
            )
        g = like(call.tree, pull([y], call.xs, [None], call.graph))
        value = call.result(y)
        return g, (value, call.result(call.aux)) if has_aux else value

    return both


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(func(*primals), pullback), where pullback(v) is vᵀJ; with `has_aux` aux as the third.

    v has the form of func's output; what comes back that of the argument, or a tuple of several.

    >>> import tinygrad_ce as tg
    >>> y, pullback = vjp(lambda x: x * x, tg.tensor([1.0, 2.0]))
    >>> y, pullback(tg.tensor([1.0, 10.0]))
    (tensor([1., 4.]), (tensor([ 2., 40.]),))
    """
    call = Call("vjp", func, (*range(len(primals)),), primals, {}, has_aux)

    def pullback(*cotangents: Any) -> Any:
        weights = leaves(cotangents)
        check_alike("vjp", weights, call.outs)
        return like(call.tree, pull(call.outs, call.xs, weights, wants_graph(call, weights)))

    y = call.result(call.y)
    return (y, pullback, call.result(call.aux)) if has_aux else (y, pullback)


def jvp(
    func: Callable[..., Any],
    primals: Any,
    tangents: Any,
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> tuple[Any, ...]:
    """(func(*primals), J·v): the value, and its change when the primals move along the tangents.

    Both are tuples with one for each argument. With `has_aux` aux comes as the third.

    >>> import tinygrad_ce as tg
    >>> jvp(lambda x: x * x, (tg.tensor([1.0, 2.0]),), (tg.tensor([1.0, 10.0]),))
    (tensor([1., 4.]), tensor([ 2., 40.]))

    `strict` refuses outputs that do not depend on the primals; else their change is 0.
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise RuntimeError("jvp: wanted a tuple of primals, and of tangents: (x,), (v,)")
    call = Call("jvp", func, (*range(len(primals)),), primals, {}, has_aux)
    weights = leaves(tangents)
    check_alike("jvp", weights, call.xs)
    if strict and not all(out.requires_grad for out in call.outs):
        raise RuntimeError("jvp: with strict=True each output has to depend on the primals")
    change = like(call.y, Push(call.outs, call.xs)(weights, wants_graph(call, weights)))
    y = call.result(call.y)
    return (y, change, call.result(call.aux)) if has_aux else (y, change)


def check_alike(name: str, vectors: list[Any], wanted: list[Any]) -> None:
    """Refuse vectors of other shapes than what they go with."""
    given = [tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__ for v in vectors]
    if given != [tuple(x.shape) for x in wanted]:
        raise RuntimeError(f"{name}: got {given} for tensors of {[tuple(x.shape) for x in wanted]}")


def unit_vectors(x: Any) -> Any:
    """All the directions in which x can move, one after another."""
    n = x.numel()
    return leaf(np.eye(n, dtype=x.array.dtype).reshape(n, *x.array.shape))


def jacrev(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
) -> Any:
    """The function that computes the Jacobian J[i, j] = ∂func[i]/∂x[j], backwards.

    For each output (in func's form) and argument (in its own) a tensor of shape
    output.shape + argument.shape. One pullback takes all elements of an output at once; with
    `chunk_size` so many.

    >>> import tinygrad_ce as tg
    >>> jacrev(lambda x: x ** 2)(tg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    @wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        call = Call("jacrev", func, argnums, args, kwargs, has_aux)

        def row(out: Any) -> Any:
            rows = vmap(lambda v: pull([out], call.xs, [v], call.graph), chunk_size=chunk_size)
            found = (
                rows(unit_vectors(out))
                if out.numel() != 1
                else pull([out], call.xs, [None], call.graph)
            )
            shapes = [(*out.shape, *x.shape) for x in call.xs]
            return like(call.tree, [g.reshape(s) for g, s in zip(found, shapes)])

        blocks = changed(row, call.y)
        return (blocks, call.result(call.aux)) if has_aux else blocks

    return jacobian


def jacfwd(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
) -> Any:
    """As `jacrev`, along the directions of the arguments: better where they are fewer.

    >>> import tinygrad_ce as tg
    >>> jacfwd(lambda x: x ** 2)(tg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    @wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        call = Call("jacfwd", func, argnums, args, kwargs, has_aux)
        push = Push(call.outs, call.xs)
        columns = []
        for i, x in enumerate(call.xs):

            def column(v: Any, i: int = i) -> Any:
                return push([v if j == i else None for j in range(len(call.xs))], call.graph)

            found = vmap(column, 0, -1, randomness)(unit_vectors(x))
            columns.append([g.reshape(*y.shape, *x.shape) for g, y in zip(found, call.outs)])
        blocks = like(call.y, [like(call.tree, block) for block in zip(*columns)])
        return (blocks, call.result(call.aux)) if has_aux else blocks

    return jacobian


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Any:
    """The function that computes H[i, j] = ∂²func/∂x[i]∂x[j]: jacrev(jacrev(func)).

    J·v is two passes backwards here, so the Jacobian of the gradient is taken by rows, too.

    >>> import tinygrad_ce as tg
    >>> hessian(lambda x: (x ** 3).sum())(tg.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacrev(jacrev(func, argnums), argnums)
