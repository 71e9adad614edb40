"""What a tensor was made by, under the names that PyTorch prints: `grad_fn` and what is behind it.

The graph keeps what was computed, from what. Here it is read: a function that is composed of
others (a sigmoid, a loss) is one step, named after itself, with the tensors that went into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any
from weakref import WeakValueDictionary

from tinygrad_ce.engine.frame import Scope
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import holds_number


def name_of(node: Node) -> str:
    """What PyTorch calls the operation that made this tensor: `MulBackward0`."""
    if hasattr(node.op, "cls"):  # a Function of the user's
        return f"{node.op.name}Backward"
    scope = outermost(node)
    own = getattr(node, "called", None)
    if scope is None and own is not None and own[0] is node.op:
        return own[1] if "Backward" in own[1] else f"{own[1]}Backward0"
    name = node.op.name if scope is None else scope.name
    known = NAMES.get(name, camel(name))
    text: str = known if isinstance(known, str) else known(node)
    return text if "Backward" in text or text == "CopySlices" else f"{text}Backward0"


def called(node: Any, name: str) -> Any:
    """The node, remembering what PyTorch calls it, where the operation does not tell."""
    if node.live:
        node.called = (node.op, name)
    return node


def named(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function whose results are to remember what PyTorch calls it."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **settings: Any) -> Any:
            return called(function(*args, **settings), name)

        return call

    return mark


def outermost(node: Node) -> Scope | None:
    """The composed function that the user called, or a layer of his, in which the node was made."""
    scope, top = node.scope, None
    while scope is not None and scope.kind == "function":
        scope, top = scope.outer, scope
    return top


def camel(name: str) -> str:
    """log_softmax as LogSoftmax, log1p as Log1P."""
    return re.sub(r"(?:^|_|(?<=\d))([a-zA-Z])", lambda found: found[1].upper(), name)


def product(node: Node) -> str:
    """Which product of matrices and vectors this is."""
    return PRODUCTS.get(tuple(x.array.ndim for x in node.inputs[:2]), "UnsafeView")


def picked(node: Node) -> str:
    """What x[index] does last."""
    index = node.attrs[-1]
    if len(node.inputs) > 1:
        return "Index"
    parts = [part for part in index if part not in (slice(None), ...)]
    if not parts:
        return "Slice" if index == (slice(None),) else "Alias"
    return {slice: "Slice", type(None): "Unsqueeze"}.get(type(parts[-1]), "Select")


def affine(node: Node) -> str:
    """How F.linear multiplies."""
    bias, ndim = node.op.name == "add", node.array.ndim
    if ndim == 2:
        return "Addmm" if bias else "Mm"
    return "View" if bias else "SqueezeBackward4" if ndim == 1 else "UnsafeView"


def reshaped(node: Node) -> str:
    """Whether it looks at the same memory."""
    x = node.inputs[0]
    return "View" if node.memory is x.memory and node.memory is not None else "UnsafeView"


def swapped(node: Node) -> str:
    """Whether two dimensions are exchanged, or more."""
    axes = node.attrs[0]
    return "Transpose" if sum(i != a for i, a in enumerate(axes)) == 2 else "Permute"


def reduced(name: str, of_all: int, of_some: int) -> Callable[[Node], str]:
    """A name that says whether all elements were taken together."""

    def named(node: Node) -> str:
        while node.attrs == () and node.inputs:  # mean is a sum, and a quotient
            node = node.inputs[0]
        return f"{name}Backward{of_all if node.attrs[:1] == (None,) else of_some}"

    return named


def number_first(name: str, other: str) -> Callable[[Node], str]:
    """A name that says whether a number stands before the operator."""
    return lambda node: other if holds_number(node.inputs[0]) else name


PRODUCTS = {(1, 1): "Dot", (2, 1): "Mv", (1, 2): "SqueezeBackward4", (2, 2): "Mm"}
NAMES: dict[str, str | Callable[[Node], str]] = {
    **{f"arc{name}": f"A{name}" for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")},
    "absolute": "Abs",
    "adaptive_avg_pool1d": "SqueezeBackward1",
    "adaptive_avg_pool2d": lambda node: (
        "MeanBackward1" if node.array.shape[-2:] == (1, 1) else "AdaptiveAvgPool2D"
    ),
    "amax": lambda node: "MaxBackward1" if node.attrs == (None, False) else "Amax",
    "amin": lambda node: "MinBackward1" if node.attrs == (None, False) else "Amin",
    "astype": "ToCopy",
    "avg_pool1d": "SqueezeBackward1",
    "batch_norm": "NativeBatchNorm",
    "broadcast_to": "Expand",
    "clip": "ClampBackward1",
    "concatenate": "Cat",
    "conv1d": "Convolution",
    "conv2d": "Convolution",
    "conv_transpose2d": "Convolution",
    "copy": "Clone",
    "cosine_embedding_loss": "Mean",
    "cosine_similarity": "SumBackward1",
    "cross_entropy": "NllLoss",
    "determinant": "LinalgDet",
    "dropout": "Mul",
    "einsum": "View",
    "gelu_tanh": "Gelu",
    "getitem": picked,
    "group_norm": "NativeGroupNorm",
    "gumbel_softmax": "Softmax",
    "inner": product,
    "inv": "LinalgInvEx",
    "kl_div": "Mean",
    "l1_loss": "Mean",
    "layer_norm": "NativeLayerNorm",
    "linear": affine,
    "mT": "Transpose",
    "matmul": product,
    "max_pool1d": "SqueezeBackward1",
    "max_pool2d": "MaxPool2DWithIndices",
    "mean": reduced("Mean", 0, 1),
    "mod": "Remainder",
    "moveaxis": "Permute",
    "norm": "LinalgVectorNorm",
    "normalize": "Div",
    "pad": "ConstantPadNd",
    "pairwise_distance": "NormBackward1",
    "pow": number_first("PowBackward1", "PowBackward2"),
    "power": "Pow",
    "prod": lambda node: f"ProdBackward{int(node.inputs[0].op.name != 'reshape')}",
    "put": "CopySlices",
    "reshape": reshaped,
    "rint": "Round",
    "rms_norm": "Mul",
    "scaled_dot_product_attention": "UnsafeView",
    "sliding_windows": "Unfold",
    "smooth_l1_loss": "SmoothL1Loss",
    "sub": number_first("Sub", "RsubBackward1"),
    "sum": reduced("Sum", 0, 1),
    "transpose": swapped,
    "triplet_margin_loss": "Mean",
    "truediv": number_first("Div", "Mul"),
}
"""What PyTorch calls an operation, or a composed function, if it is not its name in camel case."""


Next = tuple[tuple["GradFn | None", int], ...]


class GradFn:
    """A step of the backward pass: `name()`, and `next_functions`, the steps that come after it.

    >>> import tinygrad_ce as tg
    >>> x = tg.ones(2, requires_grad=True)
    >>> step = (x * 2.0).sum().grad_fn
    >>> step.name(), step.next_functions[0][0].next_functions[0][0].variable is x
    ('SumBackward0', True)
    """

    __slots__ = ("__weakref__", "_next", "_node")

    def __init__(self, node: Node, after: Next | None = None) -> None:
        self._node = node
        self._next = after

    def name(self) -> str:
        """What PyTorch calls it."""
        name = type(self).__name__
        return f"torch::autograd::{name}" if name in ("AccumulateGrad", "CopySlices") else name

    @property
    def next_functions(self) -> Next:
        """(step, 0) for each tensor that went in, (None, 0) where no gradient flows to it."""
        if self._next is None:
            scope = outermost(self._node)
            name = self._node.op.name if scope is None else scope.name
            inputs = outside(self._node, scope) if scope else operands(self._node)
            steps = tuple((grad_fn(x), 0) for x in inputs)
            self._next = SPLIT[name](self._node, steps) if name in SPLIT else steps
        return self._next

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"


def operands(node: Node) -> list[Node]:
    """What went into an operation, but for conditions and indices; numbers come last."""
    inputs = [x for x in node.inputs if x.live or x.array.dtype.kind == "f"]
    return sorted(inputs, key=holds_number)


def outside(node: Node, scope: Scope) -> list[Node]:
    """The tensors with a gradient that went into a composed function, in the order of their use."""
    found: dict[int, Node] = {}
    stack = [*reversed(node.inputs)]
    while stack:
        node = stack.pop()
        if node.inputs and outermost(node) is scope:
            stack.extend(reversed(node.inputs))
        elif node.live:
            found.setdefault(id(node), node)
    return [*found.values()]


def product_steps(node: Node, _: Next) -> Next:
    """An affine map as PyTorch has it: the bias, the input, and the weight, transposed."""
    bias = [(grad_fn(node.inputs[1]), 0)] if node.op.name == "add" else []
    product = node.inputs[0] if bias else node
    if not product.inputs:  # only the bias learns
        return (*bias, (None, 0), (None, 0))
    x, weight = product.inputs
    if weight.inputs and weight.scope is node.scope:  # transposed here
        weight = weight.inputs[0]
    turned = step_kind("TBackward0")(weight, ((grad_fn(weight), 0),)) if weight.live else None
    return (*bias, (grad_fn(x), 0), (turned, 0))


def loss_steps(node: Node, after: Next) -> Next:
    """Cross-entropy takes the logarithm of a softmax first."""
    return ((step_kind("LogSoftmaxBackward0")(node, after), 0),)


SPLIT: dict[str, Callable[[Node, Next], Next]] = {
    "cross_entropy": loss_steps,
    "linear": product_steps,
}
"""Functions that are one step here and two in PyTorch."""


class AccumulateGrad(GradFn):
    """Where the backward pass ends: the gradient is added to `variable.grad`."""

    __slots__ = ()

    @property
    def variable(self) -> Node:
        """The leaf."""
        return self._node


_kinds: dict[str, type[GradFn]] = {"AccumulateGrad": AccumulateGrad}
_steps: WeakValueDictionary[int, GradFn] = WeakValueDictionary()  # a step keeps its node alive


def grad_fn(node: Node) -> GradFn | None:
    """The step of the backward pass that begins at a tensor, the same one as long as it is kept."""
    if not node.live:
        return None
    name = name_of(node) if node.inputs else "AccumulateGrad"
    step = _steps.get(id(node))
    if step is None or type(step).__name__ != name:
        step = _steps[id(node)] = step_kind(name)(node, None if node.inputs else ())
    return step


def step_kind(name: str) -> type[GradFn]:
    """The class of the steps of this name."""
    if name not in _kinds:
        _kinds[name] = type(name, (GradFn,), {"__slots__": ()})
    return _kinds[name]
