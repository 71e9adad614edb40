"""`tg.rule`: an operation of one's own, whose mistakes are told with its name.

The rules of the table are trusted; what a user's forward and gradients give is looked at.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.rule import Op, Pull, Value, called

KINDS = (IndexError, TypeError, AttributeError, ValueError)  # of mistakes in a gradient


def rule(
    forward: Callable[..., Any],
    *gradients: Any,
    view: bool = False,
    name: str = "",
    dtypes: str = "",
) -> Callable[..., Any]:
    """The operation y = forward(x, ...) with ∂L/∂x = gradient(g, ...) for each operand, g = ∂L/∂y.

    There is one gradient for each operand, None for one without. A gradient reads g first, then
    any of these, by their names: the arguments of forward; `y`; `shape` and `own_dtype` of the
    operand that it is for; `shapes`, a list of those of all operands; `i`, the number of the
    operand that it is for, from 0: of use where one gradient is for all of `*operands`. Arguments
    of forward behind those that have a gradient are attributes; a starred one stands for all the
    rest.

    Operators and NumPy's functions are what both are made of: they are given arrays, Tensors or
    Symbols. Of a broadcast operand the gradient is summed back. `view` says that y looks at the
    memory of x.

    `dtypes` says what it takes: "float" turns integers into floats, "mixed" promotes (two operands
    always do), "branches" all but the first, "numbers" no booleans beside others, "one" refuses to
    mix; else each operand may have its own.

    Raises TypeError for a gradient that reads anything else, or that is missing, and where forward
    or a gradient gives no array; ValueError for a gradient of another shape than its operand.

    >>> import tinygrad_ce as tg
    >>> cube = tg.rule(lambda x: x**3, lambda g, x: g * 3 * x**2, name="cube")
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> cube(x).sum().backward()
    >>> x.grad
    tensor([ 3., 12.])

    The gradient of np.concatenate for operand i is the part of g that came from it:

    >>> import numpy as np
    >>> def part(g, shapes, i):
    ...     before = sum(shape[0] for shape in shapes[:i])
    ...     return g[before : before + shapes[i][0]]
    >>> join = tg.rule(lambda *xs: np.concatenate(xs), part, name="join")
    >>> join(x, x, tg.ones(1)).shape
    torch.Size([5])
    """
    if not callable(forward):
        raise TypeError(f"rule: forward is {a_type(forward)}; wanted a function of arrays")
    name = name or getattr(forward, "__name__", type(forward).__name__)
    check_count(name, forward, len(gradients))
    return called(OwnOp(name, giving_an_array(forward), gradients, view, dtypes))


def check_count(name: str, forward: Callable[..., Any], count: int) -> None:
    """Refuse a rule without gradients, or with more of them than there are operands."""
    if not count:
        raise TypeError(
            f"{name}: the rule has no gradient; wanted one for each operand, such as "
            "rule(np.exp, lambda g, y: g * y), or None where no gradient flows"
        )
    code = getattr(getattr(forward, "__wrapped__", forward), "__code__", None)
    starred = code is not None and bool(code.co_flags & inspect.CO_VARARGS)
    most = code.co_argcount + starred if code else 2  # NumPy's own functions have no names
    if count > most and not starred:
        raise TypeError(f"{name}: {count} gradients are more than forward has operands, {most}")


class OwnOp(Op):
    """An operation whose forward and gradients have to give arrays, of the right shapes."""

    __slots__ = ()

    def compile(self, i: int, function: Callable[..., Any] | None) -> Pull | None:
        """The gradient for operand i, which is looked at when it has run."""
        pull = super().compile(i, function)
        if pull is None:
            return None

        def looked_at(node: Node, g: Any, value: Value) -> Any:
            try:
                d = pull(node, g, value)
            except KINDS as error:
                kind = next(k for k in KINDS if isinstance(error, k))
                why = f"cannot be computed from g of shape {tuple(g.shape)}: {error}"
                raise kind(f"{self.gradient_for(node, i)} {why}") from error
            self.check(node, i, d)
            return d

        return looked_at

    def check(self, node: Node, i: int, d: Any) -> None:
        """Refuse a gradient that is no array, or one in which the operand's elements are not."""
        wanted = node.inputs[i].array.shape
        if not hasattr(d, "shape"):
            raise TypeError(
                f"{self.gradient_for(node, i)} is {d!r:.60}; wanted an array of the operand's shape"
            )
        if d.shape == wanted or (self.broadcasts and sums_to(d.shape, wanted)):
            return
        shapes = [x.array.shape for x in node.inputs]
        other = f": that of operand {shapes.index(d.shape)}" if d.shape in shapes else ""
        raise ValueError(
            f"{self.gradient_for(node, i)} has shape {tuple(d.shape)}{other}; wanted the operand's"
        )

    def gradient_for(self, node: Node, i: int) -> str:
        """What a message is about: operation, operand, shape."""
        name = self.names[i] if i < self.fixed else "*" + self.names[self.fixed]
        shape = tuple(node.inputs[i].array.shape)
        return f"{self.name}: the gradient for operand {i}, {name} of shape {shape},"


def giving_an_array(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward function that is refused where it makes something else of arrays."""

    @wraps(forward)
    def call(*args: Any, **keywords: Any) -> Any:
        y = forward(*args, **keywords)
        if not hasattr(y, "dtype") and any(hasattr(x, "dtype") for x in args):
            raise TypeError(f"forward gave {y!r:.60}; wanted an array")
        return y

    return call


def sums_to(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether summing over what was repeated makes the one shape of the other."""
    extra = len(shape) - len(wanted)
    if extra < 0:  # sizes of 1 in front may be missing
        return max(wanted[:-extra]) == 1 and sums_to(shape, wanted[-extra:])
    return all(n == m or m == 1 for n, m in zip(shape[extra:], wanted))
