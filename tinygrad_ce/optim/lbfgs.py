"""L-BFGS: Newton's step, with the curvature seen on the way in the place of second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine.frame import current, recording
from tinygrad_ce.engine.memory import mark_written
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.optim.optimizer import Optimizer, is_number

Array = np.ndarray


class LBFGS(Optimizer):
    """w += t·d, d = -H·g, H the inverse Hessian as the last `history_size` steps have seen it.

    `step(closure)` makes up to `max_iter` such iterations; the closure clears the gradients,
    computes the loss and its gradients and returns the loss, and is called at most `max_eval` times
    (1.25 max_iter). t is lr, or what a line search finds: `line_search_fn="strong_wolfe"` looks for
    a step after which the loss is smaller and the slope along d much flatter. A step ends early
    where no gradient is larger than `tolerance_grad`, or where loss or weights change by less than
    `tolerance_change` (Nocedal and Wright, 2006, algorithms 7.4 and 3.5).

    There is one group of parameters. The step is not compiled, a closure may be.

    >>> w = Tensor([3.0, -2.0], requires_grad=True)
    >>> optimizer = LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w * w).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()
    13.0
    >>> closure().item() < 1e-12
    True
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn,
        })  # fmt: skip
        self.stepped = False

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """The one group."""
        if self.param_groups:
            raise ValueError("LBFGS: got a second group; wanted all parameters in one")
        super().add_param_group(param_group)

    def check(self, group: dict[str, Any]) -> None:
        """Also the limits, and a search that is known."""
        super().check(group)
        for name in ("max_iter", "max_eval", "tolerance_grad", "tolerance_change", "history_size"):
            if not is_number(group[name]):
                raise ValueError(f"LBFGS: {name}={group[name]!r}; wanted a number")
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(
                f'LBFGS: line_search_fn={group["line_search_fn"]!r}; wanted None or "strong_wolfe"'
            )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make up to max_iter iterations; returns the loss that the closure gave first."""
        tracer = current().tracer
        if tracer is not None:
            tracer.refuse(
                "LBFGS.step() decides by the numbers how often it calls the closure",
                "Call it outside of the compiled function, which may be its closure",
            )
        if closure is None:
            raise TypeError("LBFGS: step() got no closure; wanted step(closure), see its docstring")
        with np.errstate(all="ignore"):  # what becomes of inf and nan is decided by comparisons
            return Search(self, closure).run()


class Point(NamedTuple):
    """What was found after a step of length t along the direction."""

    t: Any
    loss: float
    g: Array
    slope: Any


class Search:
    """One call of `step`: the parameters as one long vector, and what is kept from call to call."""

    def __init__(self, optimizer: LBFGS, closure: Callable[[], Any]) -> None:
        self.optimizer = optimizer
        self.closure = closure
        self.group = optimizer.param_groups[0]
        self.params: list[Tensor] = self.group["params"]
        self.state = optimizer.state[self.params[0]]
        self.state.setdefault("func_evals", 0)
        self.state.setdefault("n_iter", 0)
        self.evaluations = 0
        self.d: Any = None  # of the last iteration: direction, length, gradient and loss before it
        self.t: Any = None
        self.g: Any = None
        self.loss = 0.0
        self.pairs: list[Any] = []  # y, s and 1/(y·s) of the last steps
        self.scale: Any = 1

    # --- the long vector --------------------------------------------------------------------

    def evaluate(self) -> tuple[Any, float, Array]:
        """The loss, its number and the gradients in a row."""
        with recording(True):
            loss = self.closure()
        self.optimizer.stepped = True
        self.evaluations += 1
        self.state["func_evals"] += 1
        parts = [np.zeros(p.array.size, p.array.dtype) if p._grad is None else p._grad.array.ravel()
                 for p in self.params]  # fmt: skip
        number_of_it = loss.item() if isinstance(loss, Tensor) else float(loss)
        return loss, number_of_it, np.concatenate(parts)

    def move(self, t: Any, d: Array) -> None:
        """w += t·d."""
        start = 0
        for p in self.params:
            piece = d[start : start + p.array.size].reshape(p.array.shape)
            p.array[...] = fused(p.array, t, piece)
            mark_written(p, "LBFGS.step()")
            start += p.array.size

    def at(self, t: Any, d: Array) -> Point:
        """What a step of this length would find; the parameters stay."""
        before = [p.array.copy() for p in self.params]
        self.move(t, d)
        _, loss, g = self.evaluate()
        for p, array in zip(self.params, before):
            p.array[...] = array
            mark_written(p, "LBFGS.step()")
        return Point(t, loss, g, g @ d)

    # --- iterations -------------------------------------------------------------------------

    def run(self) -> Any:
        """All iterations."""
        state, group = self.state, self.group
        first, loss, g = self.evaluate()
        if np.abs(g).max() <= group["tolerance_grad"]:
            return first
        self.remember()
        lr = group["lr"].item() if isinstance(group["lr"], Tensor) else group["lr"]
        for i in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] > 1:
                self.learn(g - self.g, self.d * self.t)
            self.d = d = self.direction(g)
            self.g, self.loss = g, loss
            self.t = lr if state["n_iter"] > 1 else min(1.0, 1.0 / np.abs(g).sum()) * lr
            slope = g @ d
            if slope > -group["tolerance_change"]:
                break
            if group["line_search_fn"] is not None:
                found = self.strong_wolfe(Point(0, loss, g, slope), self.t, d)
                self.t, loss, g, _ = found
                self.move(self.t, d)
            else:
                self.move(self.t, d)
                if i < group["max_iter"]:
                    _, loss, g = self.evaluate()
            if self.is_over(loss, g):
                break
        self.keep()
        return first

    def is_over(self, loss: float, g: Array) -> bool:
        """Whether one of the limits is reached."""
        group = self.group
        return bool(
            self.evaluations >= group["max_eval"]
            or np.abs(g).max() <= group["tolerance_grad"]
            or np.abs(self.d * self.t).max() <= group["tolerance_change"]
            or abs(loss - self.loss) < group["tolerance_change"]
        )

    def learn(self, y: Array, s: Array) -> None:
        """Remember how much the gradient has changed by a step, where that is curved upwards."""
        curvature = y @ s
        if curvature > 1e-10:
            self.pairs = [*self.pairs, (y, s, 1.0 / curvature)][-self.group["history_size"] :]
            self.scale = curvature / (y @ y)

    def direction(self, g: Array) -> Array:
        """-H·g, by two passes through what is remembered."""
        d, shares = -g, []
        for y, s, rho in reversed(self.pairs):
            shares.append((s @ d) * rho)
            d = fused(d, -shares[-1], y)
        d = d * self.scale
        for (y, s, rho), share in zip(self.pairs, reversed(shares)):
            d = fused(d, share - (y @ d) * rho, s)
        return d

    def strong_wolfe(self, start: Point, t: Any, d: Array) -> Point:
        """A step after which the loss is smaller by enough, and the slope is flatter by enough."""
        most = self.group["max_eval"] - self.evaluations
        largest = np.abs(d).max()

        def too_high(point: Point) -> bool:
            return bool(point.loss > start.loss + 1e-4 * point.t * start.slope)

        def is_flat(point: Point) -> bool:
            return bool(abs(point.slope) <= -0.9 * start.slope)

        # Go on until the minimum is between two points,
        tries, last, new = 0, start, self.at(t, d)
        while tries < most:
            if too_high(new) or (tries > 1 and new.loss >= last.loss):
                break
            if is_flat(new):
                return new
            if new.slope >= 0:
                break
            bounds = new.t + 0.01 * (new.t - last.t), new.t * 10
            t = lowest_of_cubic(last, new, *bounds)
            last, new, tries = new, self.at(t, d), tries + 1
        else:
            last = start
        # and narrow it down; pair[low] is where the loss is smaller.
        pair, slow = [last, new], False
        low = int(not last.loss <= new.loss)
        while tries < most:
            left, right = sorted(pair, key=lambda point: float(point.t))
            if (right.t - left.t) * largest < NARROW:
                break
            t, slow = kept_inside(lowest_of_cubic(left, right), left.t, right.t, slow)
            new, tries = self.at(t, d), tries + 1
            if too_high(new) or new.loss >= pair[low].loss:
                pair[1 - low] = new
                low = int(not pair[0].loss <= pair[1].loss)
                continue
            if is_flat(new):
                return new
            if new.slope * (pair[1 - low].t - pair[low].t) >= 0:
                pair[1 - low] = pair[low]
            pair[low] = new
        return pair[low]

    # --- from call to call ------------------------------------------------------------------

    def remember(self) -> None:
        """What the last call has left, in PyTorch's names."""
        state = self.state
        self.d, self.t, self.g = (array_of(state.get(n)) for n in ("d", "t", "prev_flat_grad"))
        kept = zip(*(state.get(name) or () for name in PAIRS))
        self.pairs = [tuple(map(array_of, pair)) for pair in kept]
        self.scale = array_of(state.get("H_diag", 1))
        self.loss = state.get("prev_loss", 0.0)

    def keep(self) -> None:
        """Leave it to the next call."""
        columns = [*zip(*self.pairs)] or [()] * len(PAIRS)
        kept = {"d": self.d, "t": self.t, **dict(zip(PAIRS, columns)), "H_diag": self.scale,
                "prev_flat_grad": self.g, "prev_loss": self.loss}  # fmt: skip
        for name, value in kept.items():
            self.state[name] = [*map(tensor_of, value)] if name in PAIRS else tensor_of(value)


NARROW = 1e-9  # weights that are closer than this are not told apart by a search
PAIRS = ("old_dirs", "old_stps", "ro")


def fused(x: Array, t: Any, y: Array) -> Array:
    """x + t·y; in float32 rounded once, as a fused multiply-add rounds."""
    exact: Array = x + x.dtype.type(t).astype(np.float64) * y
    return exact.astype(x.dtype, copy=False)


def array_of(value: Any) -> Any:
    """The array of a Tensor; a number as it is."""
    return value.array if isinstance(value, Tensor) else value


def tensor_of(value: Any) -> Any:
    """An array or a number of NumPy as a Tensor; a number of Python as it is."""
    return leaf(np.asarray(value)) if isinstance(value, (Array, np.generic)) else value


def lowest_of_cubic(a: Point, b: Point, low: Any = None, high: Any = None) -> Any:
    """Where the cubic through two points with their slopes is lowest, kept between low and high.

    low, high: else a.t and b.t; the middle of them where the cubic has no minimum.
    """
    if low is None:
        low, high = a.t, b.t
    if a.t == b.t:
        return low
    first = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = first**2 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    root = np.sqrt(square)
    t = b.t - (b.t - a.t) * ((b.slope + root - first) / (b.slope - a.slope + 2 * root))
    return min(max(t, low), high)


def kept_inside(t: Any, left: Any, right: Any, slow: bool) -> tuple[Any, bool]:
    """t, a tenth of the way off an end that it came close to twice; and whether it came close."""
    edge = 0.1 * (right - left)
    if not min(right - t, t - left) < edge:
        return t, False
    if not (slow or t >= right or t <= left):
        return t, True
    return (right - edge if abs(t - right) < abs(t - left) else left + edge), False
