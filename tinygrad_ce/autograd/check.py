"""Checks of gradients against central differences, in float64 whatever they are given.

    ∂f/∂x ≈ (f(x + h) − f(x − h)) / 2h,   error O(h²)

When a check fails, it looks for the operation whose rule is wrong, one node at a time, and for a
kink under the point, where a derivative does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from tinygrad_ce.autograd.derivatives import as_tuple, grad
from tinygrad_ce.autograd.slips import slip_in
from tinygrad_ce.engine import chain, table
from tinygrad_ce.engine.frame import recording
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import mark_written
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.random import default_generator

ELEMENTS = 1000  # of all operands of an operation whose rule is looked at more closely


class GradcheckError(AssertionError):
    """A gradient differs from the central difference; the message says where and by how much."""


def numerical_grad(
    function: Callable[[], Any],
    tensor: Tensor,
    eps: float = 1e-6,
    indices: Iterable[tuple[int, ...]] | None = None,
) -> np.ndarray:
    """(f(x + h) - f(x - h))/2h for each element of `tensor`, written into it one at a time.

    `function` takes nothing and gives a number that depends on `tensor`, for example the loss of a
    model with that parameter. The tensor is left as it was. With `indices` only those elements
    are looked at, and their slopes come in one row. In float32 the differences are mostly
    rounding: use float64 (`model.double()`).

    >>> from tinygrad_ce import tensor
    >>> x = tensor(np.array([1.0, 2.0]))
    >>> numerical_grad(lambda: (x * x).sum(), x).round(6)
    array([2., 4.])
    """
    array = tensor.array
    slopes = []
    with recording(False):
        for i in np.ndindex(*tensor.shape) if indices is None else indices:
            old = array[i]
            ends = []
            try:
                for value in (old + eps, old - eps):
                    array[i] = value
                    ends.append((float(function()), float(array[i])))
            finally:
                array[i] = old
            slopes.append((ends[0][0] - ends[1][0]) / (ends[0][1] - ends[1][1]))
    mark_written(tensor, "numerical_grad")
    row = np.array(slopes, np.float64)
    return row.reshape(tensor.shape) if indices is None else row


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Whether the gradients of func at the inputs agree with central differences.

    Every element of the Jacobian is compared: |backward - difference| ≤ atol + rtol·|difference|.
    Inputs that require no gradient are constants. Raises GradcheckError with the input, the
    index, both numbers, the operation whose rule is wrong, and how, where a slip that is known
    gives its numbers: the sign, a factor, f for f', a transpose, ... With `raise_exception=False`
    the answer is False instead.

    >>> from tinygrad_ce import tensor
    >>> gradcheck(lambda x: x.exp(), tensor([0.0, 1.0], requires_grad=True))
    True
    """
    xs = as_tuple(inputs, "gradcheck: inputs")
    copies = tuple(in_float64(x) for x in xs)
    checked = [i for i, x in enumerate(copies) if x.requires_grad]
    if not checked:
        raise ValueError(
            "gradcheck: no input requires a gradient; create one with requires_grad=True"
        )
    with recording(True):
        outputs = as_tuple(func(*copies), "gradcheck: what func gave")
    again = as_tuple(func(*copies), "gradcheck: what func gave")
    if any(not np.array_equal(a.array, b.array, equal_nan=True) for a, b in zip(outputs, again)):
        raise ValueError(
            "gradcheck: func gives different numbers for the same inputs (dropout, or another "
            "random draw); differences of them mean nothing. Fix the seed inside of func"
        )
    try:
        for k, out in enumerate(outputs):
            _check_output(func, copies, checked, k, out, (eps, atol, rtol))
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def in_float64(x: Tensor) -> Tensor:
    """A leaf with the values of x, in float64 if they are floats."""
    array = np.array(x.array, np.float64 if x.is_floating_point() else None)
    return leaf(array, x.requires_grad)


def _check_output(
    func: Callable[..., Any],
    xs: tuple[Any, ...],
    checked: list[int],
    k: int,
    out: Tensor,
    tolerances: tuple[float, float, float],
) -> None:
    """Compare ∂out/∂x with differences, for one output and every checked input."""
    eps, atol, rtol = tolerances

    def value(i: int, j: tuple[int, ...], h: float) -> np.ndarray:
        """Output k with element j of input i moved by h."""
        moved = [leaf(x.array.copy()) if n == i else x.detach() for n, x in enumerate(xs)]
        moved[i].array[j] += h
        with recording(False):
            return np.array(as_tuple(func(*moved), "gradcheck")[k].array)

    def at_element(i: int, j: tuple[int, ...], at: tuple[int, ...], h: float) -> float:
        return float(value(i, j, h)[at])

    analytic = _rows(out, [xs[i] for i in checked])
    for n, i in enumerate(checked):
        for j in np.ndindex(*xs[i].shape):
            numeric = (value(i, j, eps) - value(i, j, -eps)) / (2 * eps)
            ours = analytic[n][(..., *j)].reshape(numeric.shape)
            wrong = ~(np.abs(ours - numeric) <= atol + rtol * np.abs(numeric))
            if wrong.any():
                at = tuple(map(int, np.argwhere(wrong)[0]))
                why = _kink(partial(at_element, i, j, at), eps) or _culprit(out)
                raise GradcheckError(
                    f"gradcheck: output {k}{list(at) or ''} with respect to "
                    f"input {i}{list(j) or ''}: backward gives {ours[at]:.10g}, "
                    f"the central difference {numeric[at]:.10g} "
                    f"(tolerance {atol:g} + {rtol:g}·|difference|). {why}"
                )


def _rows(out: Tensor, xs: list[Any]) -> list[np.ndarray]:
    """∂out/∂x for each x, with the elements of `out` as the first axis."""
    n = out.numel()
    jacobians = [np.zeros((n, *x.shape)) for x in xs]
    if not out.requires_grad:
        return jacobians
    for row in range(n):
        unit = np.zeros(n)
        unit[row] = 1.0
        weight = leaf(unit.reshape(out.shape))
        for jacobian, g in zip(jacobians, grad(out, xs, weight, allow_unused=True)):
            if g is not None:
                jacobian[row] = g.array
    return jacobians


def _kink(f: Callable[[float], float], eps: float) -> str:
    """A sentence if the slopes from the left and from the right differ, else nothing.

    Near a smooth point the two differ by h·f″, which shrinks with h; at a kink they do not.
    """
    middle = f(0.0)
    gaps = []
    for h in (eps, eps / 8):
        right, left = (f(h) - middle) / h, (middle - f(-h)) / h
        gaps.append((abs(right - left), left, right))
    gap, left, right = gaps[0]
    if gap > 1e-3 * max(1.0, abs(left), abs(right)) and gaps[1][0] > gap / 2:
        return (
            f"The point sits on a kink: the slope is {left:.6g} from the left and {right:.6g} from "
            "the right. Move the input away from it"
        )
    return ""


def _culprit(out: Tensor) -> str:
    """Which operation's rule disagrees with its own forward function, looked at one by one."""
    for node in reversed(chain.history([out])):
        for i, x in enumerate(node.inputs):
            if x.requires_grad and not _rule_agrees(node, i):
                slip = _slip(node, i)
                why = f" ({slip})" * bool(slip)
                return f"The rule of {node.op.name!r} is wrong for operand {i}{why}"
    name = out.op.name if out.op is not None else "a leaf"
    return f"The output was made by {name!r}; each single rule agrees with its forward function"


def _rule_agrees(node: Node, i: int) -> bool:
    """Compare the gradient for operand i of one node with a difference, along one direction."""
    op = node.op
    stream = np.random.default_rng(0)
    arrays = [leaf(np.array(x.array), j == i) for j, x in enumerate(node.inputs)]
    direction = stream.standard_normal(arrays[i].array.shape)
    weight = stream.standard_normal(node.array.shape)

    def run(h: float) -> Any:
        operands = [x if j != i else leaf(x.array + h * direction) for j, x in enumerate(arrays)]
        return _apply(op, operands, node.attrs).array

    y = _apply(op, arrays, node.attrs)
    (g,) = grad(y, arrays[i], leaf(weight), allow_unused=True)
    ours = 0.0 if g is None else float((g.array * direction).sum())
    h = 1e-6
    difference = float((weight * (run(h) - run(-h))).sum()) / (2 * h)
    return abs(ours - difference) <= 1e-4 + 1e-4 * abs(difference)


def _slip(node: Node, i: int) -> str:
    """In words what is wrong with the gradient for operand i of one node, where that is known."""
    arrays = [np.array(x.array) for x in node.inputs]
    if sum(x.size for x in arrays) > ELEMENTS or any(x.dtype.kind != "f" for x in arrays):
        return ""
    weight = np.random.default_rng(0).standard_normal(node.array.shape)

    def value(j: int, at: tuple[int, ...], h: float) -> float:
        moved = [x.copy() for x in arrays]
        moved[j][at] += h
        return float((weight * _apply(node.op, [leaf(x) for x in moved], node.attrs).array).sum())

    h = 1e-6
    right = {j: np.zeros(x.shape) for j, x in enumerate(arrays)}
    for j, slopes in right.items():
        for at in np.ndindex(slopes.shape):
            slopes[at] = (value(j, at, h) - value(j, at, -h)) / (2 * h)
    leaves = [leaf(x, j == i) for j, x in enumerate(arrays)]
    y = _apply(node.op, leaves, node.attrs)
    (g,) = grad(y, leaves[i], leaf(weight), allow_unused=True)
    if g is None or not g.array.any():
        return "it gives no gradient"
    others = {j: x for j, x in right.items() if j != i}
    return slip_in(g.array, right[i], weight, y.array, arrays, others)


def _apply(op: Any, operands: list[Any], attrs: tuple[Any, ...]) -> Any:
    from tinygrad_ce.engine.rule import apply

    with recording(True):
        names = op.names[op.fixed + 1 :]
        return apply(op, tuple(operands), dict(zip(names, attrs)) if op.star else {},
                     () if op.star else attrs)  # fmt: skip


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Whether the gradients of the gradients of func agree with central differences.

    The gradient of func, for outputs weighed by `grad_outputs`, is itself checked as a function of
    the inputs and of the weights; where there are none they are drawn from -1 to 1, as in PyTorch.

    >>> from tinygrad_ce import tensor
    >>> gradgradcheck(lambda x: x.exp(), tensor([0.0, 1.0], requires_grad=True))
    True
    """
    xs = as_tuple(inputs, "gradgradcheck: inputs")
    outputs = as_tuple(func(*xs), "gradgradcheck: what func gave")
    live = [k for k, out in enumerate(outputs) if out.requires_grad]
    if not live:
        raise ValueError("gradgradcheck: no output of func needs a gradient")
    if grad_outputs is None:
        draw = default_generator.uniform
        weights = tuple(leaf(draw(-1, 1, outputs[k].shape, outputs[k].dtype), True) for k in live)
    else:
        weights = as_tuple(grad_outputs, "gradgradcheck: grad_outputs")

    def slopes(*args: Any) -> Any:
        ins, seeds = args[: len(xs)], args[len(xs) :]
        with recording(True):
            # while differences are taken, the inputs are constants and have to be leaves again
            ins = tuple(
                leaf(a.array, x.requires_grad) if a.requires_grad != x.requires_grad else a
                for a, x in zip(ins, xs)
            )
            outs = as_tuple(func(*ins), "gradgradcheck")
            live_ins = tuple(a for a in ins if a.requires_grad)
            found = grad(
                [outs[k] for k in live], live_ins, seeds, create_graph=True, allow_unused=True
            )
            return tuple(table.mul(a, 0.0) if g is None else g for g, a in zip(found, live_ins))

    return gradcheck(
        slopes, (*xs, *weights), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception
    )
