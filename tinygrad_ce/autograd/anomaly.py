"""detect_anomaly: the line and the values from which a nan or an inf came, forward or backward.

While it is on, each value is looked at when it is made, and each gradient when it is complete. What
is not finite was *born* where what it was computed from still was: a nan where no operand has one,
an inf where all operands are finite.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np

from tinygrad_ce.engine.chain import array_of
from tinygrad_ce.engine.frame import Frame, Scope, Switch, calling_lines, chain_of, current, enter
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.hooks import watch_all
from tinygrad_ce.engine.lines import place_of
from tinygrad_ce.engine.operands import value_of

MIXING = {"matmul", "einsum", "cumsum", "cumprod"}  # an element is made of many
DIGITS = 4  # so many significant digits of a value


class AnomalyError(RuntimeError, FloatingPointError):
    """A nan or an inf was born: PyTorch's kind of error, and NumPy's."""


class Anomalies:
    """What has been found so far: where values that are not finite were born."""

    def __init__(self) -> None:
        self.births: dict[int, tuple[ref[Node], str]] = {}
        self.waiting: dict[int, list[tuple[Node, Any, int]]] = {}
        """By what they send a gradient to: nodes, theirs, and which of their inputs it is."""
        watch_all(self)

    def made(self, node: Node, op: Any, inputs: tuple[Node, ...], attrs: Any) -> None:
        """A value: if it is not finite, its birth is told, at the latest by its composed function.

        Such a function may know what to do with an inf of its own, as 0 · log 0 in a cross-entropy.
        """
        self.waiting.clear()  # of a pass that did not come to an end
        if not (bad := flaw_of(node.array)):
            return
        handed = [flaw_of(x) for x in (*(x.array for x in inputs), *attrs)]
        births = [*filter(None, map(self.birth_of, inputs))]
        own = born(op, node.array, [*(x.array for x in inputs), *attrs])
        if own is not None or (bad not in handed and "nan" not in handed):
            told = report(f"{op.name} gave {{}}", node.array, operands(op, inputs), node, own)
            births = [". Before: ".join([told, *births[:1]])]
        if births:
            self.births[id(node)] = ref(node), births[0]
            if inside(node.scope) is None:
                raise AnomalyError(births[0])

    def written(self, node: Node, name: str, before: Any, sources: Any) -> None:
        """A value that was written in place: an anomaly if nothing that went in was one."""
        arrays = [x.array for x in sources if isinstance(x, Node)]
        bad, handed = flaw_of(node.array), [flaw_of(x) for x in (before, *arrays)]
        if bad and bad not in handed and "nan" not in handed:
            node.line = calling_lines()
            what = {"it was": before, **{f"operand {i}": x for i, x in enumerate(arrays)}}
            raise AnomalyError(report(f"{name} gave {{}}", node.array, what, node))

    def birth_of(self, node: Node) -> str:
        """What is told of the birth of a value."""
        whose, told = self.births.get(id(node), (ref(node), ""))
        return told if whose() is node else ""

    def returned(self, result: Any, scope: Scope) -> None:
        """The result of a composed function: what was born in it is told now."""
        if inside(scope.outer) is None:
            for y in result if isinstance(result, tuple) else (result,):
                if isinstance(y, Node) and (told := self.birth_of(y)):
                    raise AnomalyError(told)
            self.births.clear()

    def reached(self, node: Node, g: Any) -> None:
        """A gradient: if it is not finite, the step behind it is told that made it so."""
        g = value_of(g) if isinstance(g, Node) else g
        senders = self.waiting.pop(id(node), [])[::-1]
        if flaw_of(g):
            raise AnomalyError(self.born_backward(node, g, senders))
        for i, x in enumerate(node.inputs):
            for y in (x, *getattr(x, "was", ())):
                if y.live:
                    self.waiting.setdefault(id(y), []).append((node, g, i))

    def born_backward(self, node: Node, g: Any, senders: list[tuple[Node, Any, int]]) -> str:
        """Which of the steps that sent gradients to a node sent one that is not finite."""
        for y, above, i in senders:
            pull = y.op.gradients_for(len(y.inputs))[i]
            sent = pull(y, above, array_of) if pull is not None else above
            if flaw_of(sent):
                values = {"the gradient from above": above, **operands(y.op, y.inputs)}
                values["its result"] = y.array
                what = f"backward through {y.op.name} gave {{}} as a gradient"
                return report(what, sent, values, y)
        if senders:
            return report("gradients add up to {}", g, {}, senders[0][0])
        return report("backward() started from a gradient of {}", g, {}, node)


def flaw_of(value: Any) -> str:
    """ "nan" or "inf" if it is in there; nothing else, and nothing for what is traced."""
    if not isinstance(value, (np.ndarray, np.generic, float)):
        return ""
    value = np.asarray(value)
    if value.dtype.kind != "f" or np.isfinite(value).all():
        return ""
    return "nan" if np.isnan(value).any() else "inf"


def born(op: Any, array: Any, inputs: list[Any]) -> Any:
    """Which elements are not finite though all that they are computed from is; None: no one.

    Only where each element is computed from those in its place.
    """
    forward = op.forward
    alone = getattr(forward, "signature", "") is None or forward.__module__ == "_operator"
    if not alone or op.name in MIXING:
        return None
    wrong = ~np.isfinite(array)
    for x in inputs:
        wrong = wrong & np.isfinite(x)
    nans = wrong & np.isnan(array)
    return nans if nans.any() else wrong if wrong.any() else None


def inside(scope: Scope | None) -> Scope | None:
    """The composed function around, None for an operation that the user has written."""
    return next((x for x in reversed(chain_of(scope)) if x.kind == "function"), None)


# --- what is said -------------------------------------------------------------------------------


def operands(op: Any, inputs: tuple[Node, ...]) -> dict[str, Any]:
    """The values of operands, by what the operation calls them."""
    several = [f"{op.names[-1]}[{i}]" for i in range(len(inputs) - op.fixed)]
    return {name: x.array for name, x in zip((*op.names[: op.fixed], *several), inputs)}


def report(
    what: str, bad: Any, values: dict[str, Any], node: Node, wrong: np.ndarray | None = None
) -> str:
    """What was born, at which element, from which values, and in which line."""
    bad = np.asarray(bad)
    if wrong is None:
        wrong = np.isnan(bad) if np.isnan(bad).any() else ~np.isfinite(bad)
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    text = f"detect_anomaly: {what.format(number(bad[at]))}"
    if bad.ndim:
        text += f" at {list(at)}"
        text += f" ({wrong.sum()} of {bad.size})" if wrong.sum() > 1 else ""
    alone = node.op is None or node.op.name not in MIXING
    known = [
        f"{name} = {element(x, bad.shape, at) if alone else span(x)}"
        for name, x in values.items()
        if np.size(x)
    ]
    return text + f", where {', '.join(known)}" * bool(known) + where(node)


def element(x: Any, shape: tuple[int, ...], at: tuple[int, ...]) -> str:
    """The element of x that met the one at a place; all that they may be where none did."""
    try:
        return number(np.broadcast_to(x, shape)[at])
    except ValueError:
        return span(x)


def span(x: Any) -> str:
    """The smallest and the largest of several numbers."""
    return f"{number(np.min(x))} … {number(np.max(x))}"


def number(value: Any) -> str:
    """A number as it is read."""
    return f"{value:.{DIGITS}g}"


def where(node: Node) -> str:
    """The function of ours and the line that a node was made in."""
    scope, place = inside(node.scope), place_of(node)
    text = f", in {scope.name}" if scope is not None else ""
    if place is None:
        return f"{text}. Compute it under detect_anomaly(), too, to see its line"
    return f"{text}, in line {place.number} of {place.file}: {place.text}"


def switch(lines: Any) -> None:
    """Go on with lines kept, or watched, or not."""
    now = current()
    enter(Frame(now.scope, now.record, now.tracer, lines))


class set_detect_anomaly:  # noqa: N801
    """Switch `detect_anomaly` on or off from here on; in a `with` line, for its block only.

    >>> from tinygrad_ce import tensor
    >>> with set_detect_anomaly(True), set_detect_anomaly(False), np.errstate(divide="ignore"):
    ...     tensor(0.0).log()
    tensor(-inf)
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = current().lines
        switch((Anomalies() if check_nan else True) if mode else self.before is True)

    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None:
        switch(self.before)


class detect_anomaly(Switch):  # noqa: N801
    """A `with` block, or a decorator, in which a nan or an inf raises an error where it is born.

    The error names the operation, the line of the program and the values: forward, where an
    operation gives nan though none went in, or inf though all that went in is finite; and backward,
    where a gradient does. An inf that is written down (a mask of −inf) is no anomaly. What
    `backward()` goes through has lines if it was computed in such a block, too. Compiled functions
    run as they are written. It costs some ten microseconds for each operation.

    With `check_nan=False` lines are kept, and nothing is looked at.

    Raises AnomalyError, a RuntimeError and a FloatingPointError.

    >>> import tinygrad_ce as tg
    >>> with np.errstate(divide="ignore"), tg.detect_anomaly():  # doctest: +ELLIPSIS
    ...     tg.tensor([1.0, 0.0]).log()
    Traceback (most recent call last):
    tinygrad_ce.autograd.anomaly.AnomalyError: detect_anomaly: log gave -inf at [1], where x = 0...
    """

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__()
        self._check = check_nan

    def frame(self, outer: Frame) -> Frame:
        """The frame around it, watched."""
        watcher = Anomalies() if self._check else outer.lines or True
        return Frame(outer.scope, outer.record, outer.tracer, watcher)
