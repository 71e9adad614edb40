"""Function: an operation with a backward of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import wraps
from threading import get_ident
from typing import Any

from tinygrad_ce.creation import zeros_like
from tinygrad_ce.engine import rule
from tinygrad_ce.engine.arranging import apart, joined
from tinygrad_ce.engine.backward import Keeping
from tinygrad_ce.engine.frame import call_in_scope, current, recording
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.hooks import own
from tinygrad_ce.engine.lending import keep_lent
from tinygrad_ce.engine.memory import memory_of
from tinygrad_ce.engine.operands import leaf, type_name, value_of
from tinygrad_ce.engine.tensor import Tensor

__all__ = ["Function", "once_differentiable"]


def __dir__() -> list[str]:
    return __all__


class Context:
    """What forward leaves for backward: tensors by `save_for_backward`, all else as attributes."""

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self._saved: tuple[Any, ...] = ()
        self._outputs: tuple[Any, ...] = ()
        self._constant: tuple[Any, ...] = ()
        self._zeros = self._single = True
        self._node: Any = None  # in backward, the node whose gradients are asked for
        self._last: dict[int, tuple[Any, ...]] = {}  # the gradients of a walk, by its thread
        self._met: dict[int, set[int]] = {}  # the outputs that got one in it, if that is asked
        self._freed = False

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs or outputs, and other tensors, for backward."""
        for x in tensors:
            if x is not None and not isinstance(x, Tensor):
                raise TypeError(
                    f"save_for_backward: got {type_name(x)}; wanted Tensors. All else is an "
                    "attribute: ctx.size = 3"
                )
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was saved; RuntimeError if it has been written in place since, or was freed."""
        if self._freed:
            raise RuntimeError(
                "saved_tensors: they were freed by backward(retain_graph=False); leave that out of "
                "the first backward() to go through the graph again"
            )
        node = self._node
        smooth = [y for y in self._outputs if self.is_smooth(y)]
        found: list[Any] = []
        for x in self._saved:
            place = next((i for i, y in enumerate(smooth) if y is x), None)
            if x is None:
                found.append(x)
            elif place is None:
                found.append(rule.unwritten(node, x))
            else:  # an output is part of the graph
                found.append(pieces_of(rule.unwritten(node, node), smooth)[place])
        return tuple(found)

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """These outputs have no gradient; integers and booleans never have one."""
        self._constant = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward is given zeros, rather than None, for outputs without a gradient."""
        self._zeros = value

    def note(self, place: int) -> Callable[[Any], None]:
        """A hook that notes that an output got a gradient."""
        return lambda g: self._met.setdefault(get_ident(), set()).add(place)

    def is_smooth(self, y: Tensor) -> bool:
        """Whether an output has a gradient."""
        return y.is_floating_point() and not any(y is c for c in self._constant)

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Functions write into none of their inputs here. Raises NotImplementedError."""
        raise NotImplementedError("mark_dirty: write the result into a new tensor and return that")


class Function:
    """An operation that is computed by `forward` and differentiated by `backward`.

    Both are static methods: `forward(ctx, *args)` gives one Tensor or several, and
    `backward(ctx, *gradients)` a gradient for each argument, None for what is no Tensor. With
    `setup_context(ctx, inputs, output)` forward goes without ctx. What forward does is not
    recorded; backward is, under `create_graph`. A traced step holds what both do.

    >>> from tinygrad_ce import tensor
    >>> class Square(Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return 2 * x * g
    >>> x = tensor([3.0], requires_grad=True)
    >>> Square.apply(x).backward()
    >>> x.grad
    tensor([6.])
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    setup_context: Callable[..., None] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        name = type(self).__name__
        raise RuntimeError(f"{name}: a Function is not made; call {name}.apply(...)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """`forward` of these arguments, with `backward` for its gradients."""
        ctx = Context(tuple(isinstance(x, Tensor) and x.requires_grad for x in args))
        found = outputs_of(cls, ctx, args)
        made = call_in_scope(cls.__name__, "function", "", recorded, (cls, ctx, args, found), {})
        return made[0] if ctx._single else made


def outputs_of(cls: type[Function], ctx: Context, args: Any) -> tuple[Any, ...]:
    """What forward gives, in a tuple."""
    with recording(False):
        if cls.setup_context is None:
            found = cls.forward(ctx, *args)
        else:
            found = cls.forward(*args)
            cls.setup_context(ctx, tuple(args), found)
    ctx._single = isinstance(found, Tensor)
    ctx._outputs = (found,) if ctx._single else tuple(found)
    for y in ctx._outputs:
        if not isinstance(y, Tensor):
            raise TypeError(
                f"{cls.__name__}.forward gave {type_name(y)}; wanted a Tensor or several"
            )
    return ctx._outputs


def recorded(
    cls: type[Function], ctx: Context, args: tuple[Any, ...], outputs: tuple[Any, ...]
) -> tuple[Any, ...]:
    """The outputs as what the inputs have become: one node, or pieces of one."""
    inputs = tuple(x for x in args if isinstance(x, Tensor))
    smooth = [y for y in outputs if ctx.is_smooth(y)]
    if not smooth or not current().record or not any(ctx.needs_input_grad):
        return tuple(y.detach() if y.inputs or y.requires_grad else y for y in outputs)
    one = as_one(smooth)
    alone = one.memory is None and not any(one is x for x in inputs)
    array = value_of(one) if alone else value_of(one).copy()
    op = Backward(cls, ctx, args)
    node: Any = rule.result(op, inputs, (), array, True, current())
    if alone:
        node.memory = memory_of(one)  # forward may have left it to others
    keep_lent(node, (x for x in ctx._saved if x is not None))
    parts = pieces_of(node, smooth)
    if not ctx._zeros and len(parts) > 1:
        for k, part in enumerate(parts):
            part.register_hook(ctx.note(k))
    pieces = iter(parts)
    return tuple(next(pieces) if ctx.is_smooth(y) else y for y in outputs)


def as_one(tensors: list[Any]) -> Any:
    """One tensor as it is, or the elements of several in one row."""
    with recording(False):
        return tensors[0] if len(tensors) == 1 else joined(tensors)


def pieces_of(whole: Any, like: list[Any]) -> list[Any]:
    """What was put into one, apart again."""
    return [whole] if len(like) == 1 else apart(whole, like)


class Backward(Keeping):
    """The operation of one call: its gradients are what the user's backward gives."""

    __slots__ = ("args", "cls", "ctx", "places")

    def __init__(self, cls: type[Function], ctx: Context, args: Any) -> None:
        self.name, self.cls, self.ctx = cls.__name__, cls, ctx
        self.places = [i for i, x in enumerate(args) if isinstance(x, Tensor)]
        self.args = [None if isinstance(x, Tensor) else x for x in args]
        self.view = self.star = self.broadcasts = False
        self.differentiable = True
        self.names, self.defaults, self.dtypes, self.fixed = [], (), "", len(self.places)
        self.gradients = [self.pull(k) for k in range(len(self.places))]

    def forward(self, *arrays: Any) -> Any:
        """What is computed of other arrays."""
        args = list(self.args)
        for i, array in zip(self.places, arrays):
            args[i] = leaf(array)
        ctx = Context((False,) * len(args))
        return value_of(as_one([y for y in outputs_of(self.cls, ctx, args) if ctx.is_smooth(y)]))

    def pull(self, k: int) -> Any:
        """What gives the gradient for Tensor k; backward is called once for all of them."""

        def pull(node: Node, g: Any, value: Any) -> Any:
            live = [i for i, x in enumerate(node.inputs) if x.live]
            last, here = self.ctx._last, get_ident()
            if k == live[0] or here not in last:
                last[here] = self.gradients_of(node, g)
            return (last.pop(here) if k == live[-1] else last[here])[k]

        return pull

    def gradients_of(self, node: Node, g: Any) -> tuple[Any, ...]:
        """The gradients for all Tensors among the arguments, checked."""
        graph = isinstance(g, Node)
        with recording(graph):
            whole = g if graph else leaf(g)
            smooth = [y for y in self.ctx._outputs if self.ctx.is_smooth(y)]
            ctx = copy(self.ctx)  # for this walk: it knows the node, which holds the other one
            ctx._node = node
            found = self.cls.backward(ctx, *self.given(pieces_of(whole, smooth)))
        found = found if isinstance(found, tuple) else (found,)
        count = len(self.ctx.needs_input_grad)
        name = f"{self.name}.backward"
        if len(found) != count:
            raise RuntimeError(f"{name} gave {len(found)} gradients; wanted {count}, one each")
        return tuple(
            self.checked(node.inputs[k], found[i], f"{name}: gradient {i}", graph)
            for k, i in enumerate(self.places)
        )

    def given(self, parts: list[Any]) -> list[Any]:
        """A gradient for each output, of zeros for those that have none."""
        met = self.ctx._met.pop(get_ident(), None)
        if met is not None:
            parts = [part if k in met else None for k, part in enumerate(parts)]
        smooth = iter(parts)
        full = []
        for y in self.ctx._outputs:
            rest = zeros_like(y) if self.ctx._zeros else None
            full.append(next(smooth) if self.ctx.is_smooth(y) else rest)
        return full

    def free(self) -> None:
        """Let go of what was saved."""
        self.ctx._saved, self.ctx._outputs, self.ctx._freed = (), (), True

    def checked(self, x: Any, found: Any, name: str, graph: bool) -> Any:
        """One gradient, as the chain rule wants it."""
        if found is None:
            found = zeros_like(x)
        if not isinstance(found, Tensor):
            raise TypeError(f"{name} is {type_name(found)}; wanted a Tensor or None")
        if found.shape != x.shape:
            sizes = zip(x.shape[::-1], found.shape[::-1])
            there = found.ndim >= x.ndim and all(n in (1, to) for n, to in sizes)
            raise RuntimeError(
                f"{name} has shape {tuple(found.shape)}; the input has {tuple(x.shape)}"
                + "; add up over the axes along which the input was broadcast" * there
            )
        return found if graph else own(value_of(found))  # it may become a `.grad`


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a backward that cannot be differentiated again: its gradients are constants."""

    @wraps(backward)
    def call(ctx: Context, *gradients: Any) -> Any:
        with recording(False):
            found = backward(ctx, *gradients)
        many = found if isinstance(found, tuple) else (found,)
        found = tuple(g.detach() if isinstance(g, Tensor) else g for g in many)
        for g in found:
            if isinstance(g, Tensor):
                g.detached_by = "once_differentiable"
        return found

    return call
