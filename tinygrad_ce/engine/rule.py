"""A NumPy function with its gradients: `rule`, and what a call of one does.

    exp = rule(np.exp, lambda g, y: g * y)
    mul = rule(operator.mul, lambda g, b: g * b, lambda g, a: g * a)

There is one gradient per operand, `None` where none flows. A gradient names what it reads, and
the engine hands it just that: `g` (the gradient of the output, always first), `y` (the output),
an operand or a setting by its name in the forward function, `shape` and `own_dtype` (of the
operand that the gradient is for), `shapes` (of all operands), `i` (which operand it is for). So
the signature of a gradient tells which values must still be what they were when backward comes.

What a call does depends on what it is fed: arrays give numbers, Tensors give a node of the
graph, and while somebody traces, Tensors are first lifted to Symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from tinygrad_ce.engine.arguments import completed, signature
from tinygrad_ce.engine.frame import Frame, current
from tinygrad_ce.engine.graph import Node, new
from tinygrad_ce.engine.lending import keep_lent, lent, writer_since
from tinygrad_ce.engine.memory import share_memory, tick
from tinygrad_ce.engine.operands import as_nodes, constant, explained, noted, refuse_tensor, settle
from tinygrad_ce.engine.promotion import SINGLE, alike, as_float

Result: type[Node] = Node  # class Tensor, as soon as it is there
# What gradients read of a node: its array, its Symbol, or the node itself.
Value = Callable[[Node], Any]
# (node, g, value) -> the gradient for one operand of `node`, before broadcasting is undone.
Pull = Callable[[Node, Any, Value], Any]


class Op:
    """One operation: its name, how it is computed, and its gradients."""

    __slots__ = ("broadcasts", "defaults", "differentiable", "dtypes", "fixed", "forward",
                 "gradients", "last", "name", "names", "star", "view")  # fmt: skip

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        gradients: tuple[Any, ...],
        view: bool,
        dtypes: str,
    ) -> None:
        self.name = name
        self.forward = forward
        self.view = view
        self.dtypes = dtypes  # what is done where they differ, see `rule`
        self.names, self.defaults, self.star = signature(forward, len(gradients))
        self.fixed = len(gradients) - self.star  # operands before the starred one
        self.differentiable = any(gradients)
        self.last = gradients[-1]
        self.gradients = [self.compile(i, function) for i, function in enumerate(gradients)]
        self.broadcasts = True  # operands may be broadcast: the chain rule sums them back

    def compile(self, i: int, function: Callable[..., Any] | None) -> Pull | None:
        """The gradient for operand i as a function that finds what it reads at a node."""
        if function is None:
            return None
        code = getattr(function, "__code__", None)  # of lambdas and of def
        names: tuple[str, ...] = code.co_varnames[: code.co_argcount] if code else ()
        known = ("y", "shape", "shapes", "own_dtype", "i", *self.names)
        if names[:1] != ("g",) or not {*known} >= {*names[1:]}:
            raise TypeError(f"{self.name}: a gradient reads g, then any of {[*known]}; got {names}")
        reads = [self.read(i, name) for name in names[1:]]
        return pull_reading(", ".join(["g", *reads]))(function)

    def read(self, i: int, name: str) -> str:
        """Where the gradient for operand i finds at a node what it reads under this name."""
        own = {
            "y": "value(node if node.memory is None else unwritten(node, node))",
            "i": f"{i}",
            "shape": f"node.inputs[{i}].array.shape",
            "own_dtype": f"node.inputs[{i}].array.dtype",
            "shapes": "[x.array.shape for x in node.inputs]",
        }
        if name in own:
            return own[name]
        at = self.names.index(name)
        if at < self.fixed:
            operand = f"(x := node.inputs[{at}])"
            return f"value(x if {operand}.memory is None else unwritten(node, x))"
        if self.star and at == self.fixed:
            return f"[value(unwritten(node, x)) for x in node.inputs[{at}:]]"
        return f"node.attrs[{at - self.fixed - self.star}]"

    def gradients_for(self, count: int) -> list[Pull | None]:
        """The gradients for `count` operands or more; the starred ones share the last."""
        own = self.gradients  # other threads may be here too: each makes a list of its own
        self.gradients = own = own + [self.compile(i, self.last) for i in range(len(own), count)]
        return own

    def __repr__(self) -> str:
        return self.name


@cache
def pull_reading(reads: str) -> Callable[[Callable[..., Any]], Pull]:
    """What makes pulls of gradients that read the same: Python runs one expression fastest."""
    text = f"lambda function: lambda node, g, value: function({reads})"
    made: Callable[[Callable[..., Any]], Pull] = eval(compile(text, __file__, "eval"), globals())
    return made  # with file and names of this package: its frames are not the user's


def unwritten(node: Node, source: Node) -> Node:
    """`source`, if it has not been written since `node` was made from it."""
    writer = "" if source.memory is None else writer_since(node, source)
    if not writer:
        return source
    name = "its output" if source is node else f"its input of shape {source.array.shape}"
    raise RuntimeError(
        f"backward: {node.op.name} needs {name} as it was, but {writer} has "
        "changed it in place since. Compute a new tensor (x = x + d) instead of writing into "
        "this one, or write after backward()"
    )


def rule(
    forward: Callable[..., Any],
    *gradients: Any,
    view: bool = False,
    name: str = "",
    dtypes: str = "",
) -> Callable[..., Any]:
    """The operation y = forward(x, ...) with ∂L/∂x = gradient(g, ...) for each operand, g = ∂L/∂y.

    Users have it as `tg.rule` (engine/own_rule.py), which explains the arguments, and looks at what
    their functions give.
    """
    return called(Op(name or forward.__name__, forward, gradients, view, dtypes))


def called(op: Op) -> Callable[..., Any]:
    """The function that an operation is called by."""
    count, plain = op.fixed + op.star, not op.star and not op.defaults
    one = unary if plain else single
    more = binary if count == 2 and plain else general
    call = one(op) if count == 1 and not op.star else more(op)
    call.__name__ = call.__qualname__ = op.name
    call.__doc__ = op.forward.__doc__
    call.op = op  # type: ignore[attr-defined]
    return call


def differentiable(
    *gradients: Any, view: bool = False, dtypes: str = ""
) -> Callable[..., Callable[..., Any]]:
    """`rule` as a decorator, for a forward that needs a body."""
    return lambda forward: rule(forward, *gradients, view=view, dtypes=dtypes)


def unary(op: Op) -> Callable[..., Any]:
    """A call with one operand and no attributes."""
    forward, view, floats = op.forward, op.view, op.dtypes == "float"
    op.broadcasts = False

    def call(x: Any) -> Any:
        if type(x) is not Result and not isinstance(x, Node):
            return forward(x)
        if floats and (dtype := x.array.dtype) is not SINGLE and dtype.kind != "f":
            x = as_float(x)
        frame = current()
        try:
            array = forward(x.array if frame.tracer is None else frame.tracer.lift(x))
        except (ValueError, TypeError) as error:
            raise explained(op.name, (x,), error) from None
        y = result(op, (x,), (), array, x.live, frame)
        if view:
            share_memory(y, x, ())
        return y

    return call


def binary(op: Op) -> Callable[..., Any]:
    """A call with two operands and no attributes."""
    forward, dtypes, floats = op.forward, op.dtypes, op.dtypes == "float"

    def call(a: Any, b: Any) -> Any:
        if type(b) is not Result and not isinstance(b, Node):
            if not isinstance(a, Node):
                return forward(a, b)
            b = constant(b, a, op.name)
        elif type(a) is not Result and not isinstance(a, Node):
            a = constant(a, b, op.name)
        x, y = a.array, b.array
        if x.dtype is not y.dtype or (floats and x.dtype.kind != "f"):
            a, b = alike((a, b), dtypes, op.name)
            x, y = a.array, b.array
        frame = current()
        tracer = frame.tracer
        try:
            if tracer is None:
                array = forward(x, y)
            else:
                array = forward(tracer.lift(a), tracer.lift(b))
        except (ValueError, TypeError) as error:
            raise explained(op.name, (a, b), error) from None
        return result(op, (a, b), (), array, a.live | b.live, frame)  # both, see Behind

    return call


def single(op: Op) -> Callable[..., Any]:
    """A call with one operand, and attributes."""
    forward, view, count = op.forward, op.view, len(op.defaults)

    def call(x: Any, *attrs: Any, **keywords: Any) -> Any:
        if keywords or len(attrs) != count:
            attrs = completed(op, (x, *attrs), keywords)[1:]
        if type(x) is not Result and not isinstance(x, Node):
            return forward(x, *attrs)
        if view:
            settle(x)
        frame = current()
        try:
            array = forward(x.array if frame.tracer is None else frame.tracer.lift(x), *attrs)
        except (ValueError, TypeError, IndexError) as error:
            raise explained(op.name, (x,), error) from None
        y = result(op, (x,), attrs, array, x.live, frame)
        if view:
            share_memory(y, x, attrs)
        return y

    return call


def general(op: Op) -> Callable[..., Any]:
    """A call with several operands, starred ones among them, and attributes."""
    forward, count, names = op.forward, op.fixed, op.names
    attrs = names[count + 1 :]

    def starred(*operands: Any, **keywords: Any) -> Any:
        for x in operands:
            if isinstance(x, Node):
                break
        else:
            return forward(*operands, **keywords)
        if list(keywords) != attrs:
            full = completed(op, names[: count + 1], keywords)
            keywords = dict(zip(attrs, full[count + 1 :]))
        return apply(op, operands, keywords, ())

    def call(*args: Any, **keywords: Any) -> Any:
        if keywords or len(args) != len(names):
            args = completed(op, args, keywords)
        return apply(op, args[:count], {}, args[count:])

    return starred if op.star else call  # a starred forward has its attributes keyword-only


def apply(
    op: Op, operands: tuple[Any, ...], keywords: dict[str, Any], attrs: tuple[Any, ...]
) -> Any:
    """Run `op` on operands of any kind and number, its attributes given by name or not."""
    for x in operands:
        if not isinstance(x, Node):
            operands = as_nodes(op.name, operands)
            break
    if not operands or not isinstance(operands[0], Node):
        return op.forward(*operands, *attrs, **keywords)
    if op.dtypes == "branches":
        operands = operands[:1] + alike(operands[1:], "", op.name)
    elif op.dtypes:
        operands = alike(operands, op.dtypes, op.name)
    if op.view:
        settle(operands[0])
    frame = current()
    tracer = frame.tracer
    arrays = [x.array for x in operands] if tracer is None else [tracer.lift(x) for x in operands]
    try:
        array = op.forward(*arrays, *attrs, **keywords)
    except (ValueError, TypeError, IndexError) as error:
        raise explained(op.name, operands, error) from None
    live = False
    for x in operands:
        live |= x.live  # of every operand, see Behind
    attrs = attrs or tuple(keywords.values())
    y = result(op, operands, attrs, array, live, frame)
    if op.view:
        share_memory(y, operands[0], attrs, operands[1:])
    return y


def result(
    op: Op,
    inputs: tuple[Node, ...],
    attrs: tuple[Any, ...],
    array: Any,
    live: bool,
    frame: Frame,
) -> Node:
    """The node that holds `array`. It remembers where it came from only if a gradient can flow."""
    if type(array) is Result:
        refuse_tensor(op, len(inputs), attrs)
    y = new(Result)
    y.array = array
    y.op = op
    y.memory = y._grad = None
    y.scope = frame.scope
    if live and frame.record and op.differentiable:
        y.live = True
        y.inputs = inputs
        y.attrs = attrs
        y.tick = tick()
        if frame.lines:
            noted(y, op, inputs, attrs)
        if lent and (frame.tracer is None or frame.tracer.numbers):
            keep_lent(y, inputs)
        return y
    y.live, y.tick, y.detached_by = False, 0, None
    y.inputs = y.attrs = ()
    for x in inputs:
        if x.live:
            y.detached_by = op.name if frame.record else f"{op.name} under no_grad()"
        elif not y.detached_by and x.detached_by is not None:
            y.detached_by = x.detached_by
    if frame.lines:
        noted(y, op, inputs, attrs)
    return y
