"""Checks of a backward pass, use by use: each contribution against a central difference.

    ∂L/∂(this use) ≈ (L(x + h) − L(x − h)) / 2h,   error O(h²)

A *use* is one operand of one operation. The operand is nudged at that use alone, so of x·x each
use contributes x and not 2x, and everything that was computed from it is computed again, in
float64, from the recorded graph.

What the recorded graph holds as a constant stays one: masks, class ids, random numbers. That is so
too for conditions that were computed from the operand. sigmoid, softplus and their like choose
between two formulas of one smooth function by such a constant: each formula is right on both sides
of 0, so the difference is good though the constant is not what a new run would choose. relu and
its like do have a kink there, and DECISIONS says where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_ce.engine.chain import array_of, history, unbroadcast
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.table import window_parts, with_axes_back
from tinygrad_ce.viz.graph.labels import op_label
from tinygrad_ce.viz.graph.told import entry
from tinygrad_ce.viz.graph.values import largest, number, without_mask
from tinygrad_ce.viz.graph.walking import Use, is_number, settings_of, uses_of
from tinygrad_ce.viz.page.flow import rule_of, run

EPS = float(np.finfo(np.float64).eps)
STEP = EPS ** (1 / 3)  # h of an element of size 1: rounding and the error O(h²) balance
LARGER = (1e2, 1e4, 1e6, 1e8)  # times h, up to a hundredth: where rounding hides the difference
FINER = 40  # times h is divided by ten at most: where a function is too curved for h
FEW = 24  # so many elements are all nudged
LARGEST, SPREAD = 8, 16  # of more: those with the largest contributions, and evenly spread ones
BUDGET = 7 * 10**8  # elements that are computed for a page: a few seconds
CALL = 3000  # what calling an operation costs, in elements
LOST = 30  # so many times the digits that are lost to rounding may be missing
WORST = 2.4e-4  # of the scale: what is known less well than this is not compared
TOLD = 4.9e-4  # of a contribution: what has to show, or one that is 0.1 % off might be right


@dataclass(frozen=True)
class Check:
    """|contribution − central difference| of one use, at the elements that were nudged.

    `agrees` if the difference is at most `tolerance`·`scale`, plus what float64 rounds in the
    central difference. The tolerance is 1e-6, in float32 1e-4, and more where float32 has lost
    digits, which shows in the recorded values. `differs` if it is more. Neither, if there is
    nothing to compare: then `kink` or `note` says why.
    """

    checked: int
    """How many elements were nudged."""
    size: int
    """Of how many."""
    difference: float = np.nan
    """The largest |contribution − central difference| of those that straddle no kink."""
    scale: float = 0.0
    """The largest |contribution| or |central difference| among them."""
    index: tuple[int, ...] = ()
    """Where the difference is largest."""
    slope: float = np.nan
    """The central difference there."""
    kink: str = ""
    """What switched between the two sides: `max(·, 0) switched 3 elements`; else empty."""
    agrees: bool = False
    differs: bool = False
    straddled: int = 0
    """How many of the nudged elements straddle a kink."""
    tolerance: float = 0.0
    note: str = ""
    """What else is to be said: nan, infinity, too much rounding; else empty."""


def check_uses(
    root: Node,
    uses: Sequence[Use],
    contributions: Mapping[int, np.ndarray],
    budget: int = BUDGET,
) -> dict[int, Check]:
    """∂root/∂(use i) as it was contributed, against its central difference, for each use i.

    `contributions` has, by its place in `uses`, what the chain rule passed to the operand of a use,
    in the shape of the operand. A use without one has no Check. In a large graph fewer elements
    are nudged, so that about `budget` elements are computed; a use for which that does not suffice
    has no Check.

    Raises ValueError if the root is not a scalar or a contribution has another shape than its
    operand.

    >>> from tinygrad_ce import tensor
    >>> x = tensor(3.0, requires_grad=True)
    >>> uses = uses_of([x * x])
    >>> good, bad = check_uses(uses[0].target, uses, {0: np.array(3.0), 1: np.array(6.0)}).values()
    >>> good.agrees, bad.agrees, round(bad.slope, 6)
    (True, False, 3.0)
    """
    if root.array.size != 1:
        raise ValueError(f"check_uses: the root has shape {root.array.shape}; wanted a scalar")
    for i, g in contributions.items():
        if np.shape(g) != uses[i].source.array.shape:
            raise ValueError(
                f"check_uses: contribution {i} has shape {np.shape(g)}, its operand "
                f"{uses[i].source.array.shape}"
            )
    with np.errstate(all="ignore"):
        replay = Replay(root)
        given = {i: np.asarray(g, np.float64) for i, g in contributions.items()}
        rounding = Rounding(replay, uses, given)
        counts = elements_for(replay, uses, given, budget)
        return {i: check(replay, rounding, i, uses[i], given[i], n) for i, n in counts.items()}


# --- the recorded program once more -----------------------------------------------------------


class Replay:
    """The graph behind `root` in float64: its values, and what it gives if an operand is moved."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.operations = history([root])[::-1]
        self.place = {node: i for i, node in enumerate(self.operations)}
        self.operands: dict[Node, list[Node]] = {}
        for use in uses_of(self.operations):
            self.operands.setdefault(use.target, []).append(use.source)
        self.values: dict[Node, Any] = {}
        self.cost: dict[Node, float] = {}
        self.outdated: set[Node] = set()
        for node, sources in self.operands.items():
            for x in sources:
                if x not in self.values:
                    self.values[x] = in_float64(x.array)
            arrays = [self.values[x] for x in sources]
            if any(not x.inputs and is_written(x, node.tick) for x in sources):
                self.outdated.add(node)  # only its output is still what it was
                self.values[node] = in_float64(node.array)
            else:
                self.values[node] = compute(node, arrays)
            if is_written(node, node.tick):  # without a record of it
                self.outdated.add(node)
                self.values[node] = in_float64(node.array)
            self.cost[node] = work(node, [*arrays, self.values[node]])
        self.deciding = {n: d for n in self.operations if (d := decision_of(n)) is not None}
        self.sides: dict[Node, Any] = {}
        for node, decision in self.deciding.items():
            arrays = [self.values[x] for x in self.operands[node]]
            self.sides[node] = decision(node, arrays, self.values[node])
        self.plans: dict[Node, list[Node]] = {}

    def exact(self, node: Node) -> Any:
        """The value of a node in float64."""
        found = self.values.get(node)
        return in_float64(node.array) if found is None else found

    def downstream(self, target: Node) -> list[Node]:
        """The target and everything that was computed from it, in order."""
        plan = self.plans.get(target)
        if plan is None:
            reached = {target}
            for node in self.operations[self.place[target] + 1 :]:
                if not reached.isdisjoint(self.operands[node]):
                    reached.add(node)
            plan = [node for node in self.operations[self.place[target] :] if node in reached]
            self.plans[target] = plan
        return plan

    def loss(self, target: Node, position: int, operand: Any) -> tuple[float, dict[Node, Any]]:
        """The root with another operand at this one use, and the decisions on the way there."""
        values, decisions = self.values, {}
        moved: dict[Node, Any] = {}
        for node in self.downstream(target):
            arrays = [moved[x] if x in moved else values[x] for x in self.operands[node]]
            if node is target:
                arrays[position] = operand
            y = moved[node] = compute(node, arrays)
            if node in self.deciding:
                decisions[node] = self.deciding[node](node, arrays, y)
        return float(np.asarray(moved[self.root]).reshape(())), decisions


def is_written(node: Node, at: int) -> bool:
    """Whether the numbers of `node` were changed after `at`."""
    return node.memory is not None and node.memory.written > at


def in_float64(array: Any) -> Any:
    """Floats in float64; integers and booleans as they are."""
    array = np.asarray(array)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def compute(node: Node, arrays: list[Any]) -> Any:
    """What the operation of `node` makes of other operands."""
    return np.asarray(arrays[0], np.float64) if node.op.name == "astype" else run(node, arrays)


def work(node: Node, arrays: list[Any]) -> float:
    """What computing `node` costs, in elements: (n, k) @ (k, m) makes n·k·m products."""
    sizes = [float(np.size(array)) for array in arrays]
    products = node.op.name in ("matmul", "inner", "einsum")
    return CALL + sum(sizes) + (np.sqrt(np.prod(sizes)) / 16 if products else 0.0)


# --- kinks ------------------------------------------------------------------------------------


def order(a: Any, b: Any) -> Any:
    """1 where a > b, −1 where a < b, 0 where they are equal: a tie is a decision of its own."""
    return np.subtract(a > b, a < b, dtype=np.int8)


def where_it_is(node: Node, x: Any, y: Any) -> Any:
    """The elements of x that are the extremum over their axis."""
    return x == with_axes_back(y, x.shape, *node.attrs)


def alone(node: Node, x: Any, y: Any) -> Any:
    """The sign of an element that is all there is of the norm: there ‖x‖ is |x|."""
    return np.where(np.abs(x) == with_axes_back(y, x.shape, *node.attrs), np.sign(x), 0)


def neighbours(y: Any) -> Any:
    """How each sorted element compares with the next; there is at least one axis."""
    parts = [order(y.take(range(1, n), i), y.take(range(n - 1), i)) for i, n in enumerate(y.shape)]
    return np.concatenate([part.ravel() for part in parts])


Decision = Callable[[Node, list[Any], Any], Any]

DECISIONS: dict[str, Decision] = {
    "absolute": lambda node, xs, y: order(xs[0], 0),
    "relu": lambda node, xs, y: order(xs[0], 0),
    "sign": lambda node, xs, y: y,
    "floor": lambda node, xs, y: y,
    "ceil": lambda node, xs, y: y,
    "rint": lambda node, xs, y: y,
    "floordiv": lambda node, xs, y: y,
    "mod": lambda node, xs, y: np.floor_divide(*xs),
    "maximum": lambda node, xs, y: order(*xs),
    "minimum": lambda node, xs, y: order(*xs),
    "clip": lambda node, xs, y: sum(order(xs[0], b) for b in node.attrs if b is not None),
    "amax": lambda node, xs, y: where_it_is(node, xs[0], y),
    "amin": lambda node, xs, y: where_it_is(node, xs[0], y),
    "norm": lambda node, xs, y: alone(node, xs[0], y),
    "max_pool": lambda node, xs, y: np.stack(
        [part == y for part in window_parts(xs[0], node.attrs[2], *node.attrs[:2])], -1
    ),
}
"""What an operation decides by its operands; where a decision switches, it may have a kink."""


def cut_of(node: Node) -> str | None:
    """What cut the graph in a node, if it was computed from tensors that require a gradient."""
    return node.op.name if node.requires_grad and node.op is not None else node.detached_by


def decision_of(node: Node) -> Decision | None:
    """What `node` decides, or None.

    Where the condition of a `where` was computed from the operands it is a constant of the graph;
    continuous branches meet where it switches, and there is a kink only if one of them overtakes
    the other.
    """
    name = node.op.name
    if name == "where":
        return (lambda node, xs, y: order(xs[1], xs[2])) if cut_of(node.inputs[0]) else None
    if name == "masked" and cut_of(node.inputs[1]):
        return lambda node, xs, y: order(xs[0], 0)
    if name == "getitem" and any(cut_of(x) == "argsort" for x in node.inputs[1:]):
        return lambda node, xs, y: neighbours(y)
    return DECISIONS.get(name)


def switched(a: Any, b: Any) -> Any:
    """Where two decisions are different; nan is the same as nan."""
    return (a != b) & ~((a != a) & (b != b))


def kink_text(replay: Replay, kinks: Mapping[Node, Any]) -> str:
    """Which operations switched, and how many of their elements."""
    texts = []
    for node, where in kinks.items():
        if node.scope is not None and node.scope.kind == "function":
            name = node.scope.name
        else:
            numbers = [number(x.array[()]) if is_number(x) else None for x in replay.operands[node]]
            name = op_label(node.op.name, settings_of(node), numbers)
        count = int(np.sum(where))
        texts.append(f"{name} switched {count} element{'s' * (count != 1)}")
    return ", ".join(texts)


# --- one use ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """One element: its contribution, its central difference, and how far rounding may move that."""

    index: tuple[int, ...]
    given: float
    slope: float
    doubt: float
    h: float
    leaps: bool = False  # whether the contribution times h is far more than the loss itself

    @property
    def difference(self) -> float:
        """|contribution − slope|; 0 of two that are the same infinity, or both nan."""
        if self.given == self.slope or (self.given != self.given and self.slope != self.slope):
            return 0.0
        away = abs(self.given - self.slope)
        return away if away == away else np.inf


def chosen(g: np.ndarray, most: int) -> list[int]:
    """Places in g: all of a few; else the largest first, then evenly spread ones; `most` at most.

    >>> chosen(np.array([1.0, -3.0, 2.0]), 2)
    [1, 2]
    """
    size = np.abs(g.ravel())
    largest = np.argsort(-np.where(np.isnan(size), np.inf, size), kind="stable")
    if g.size <= FEW:
        return [int(i) for i in largest[:most]]
    spread = np.linspace(0, g.size - 1, SPREAD).round().astype(int)
    return list(dict.fromkeys(map(int, [*largest[:LARGEST], *spread])))[:most]


def check(replay: Replay, rounding: Rounding, i: int, use: Use, g: np.ndarray, most: int) -> Check:
    """Nudge the chosen elements of use i, and compare."""
    if g.size == 0:
        return Check(0, 0, 0.0, agrees=True, note="empty")
    late = [node for node in replay.downstream(use.target) if node in replay.outdated]
    if late:
        note = f"an operand of {late[0].op.name} was written after it was read"
        return Check(0, g.size, note=note)
    lost = LOST * rounding.lost[i]
    lost += max(1e-6, 800 * eps_of(replay.root))
    tolerance = min(lost, WORST)
    places = [tuple(map(int, np.unravel_index(k, g.shape))) for k in chosen(g, most)]
    kinks: dict[Node, Any] = {}
    prober = Prober(replay, use, largest(g), tolerance, rounding.of_loss(use.target))
    probes = [prober.probe(place, float(g[place]), kinks) for place in places]
    smooth = [p for p in probes if p is not None]
    found = Check(len(probes), g.size, kink=kink_text(replay, kinks), tolerance=tolerance,
                  straddled=len(probes) - len(smooth))  # fmt: skip
    if not smooth:
        return found
    scale = max(largest([p.given for p in smooth]), largest([p.slope for p in smooth]))
    clear = [p for p in smooth if p.doubt <= WORST * scale]
    worst = max(clear or smooth, key=lambda p: p.difference)
    far = [p for p in smooth if p.difference > tolerance * scale + p.doubt]
    unequal = [p for p in smooth if p.difference]
    note = not_finite(smooth)
    wrong = [p for p in far if rounding.leaves(i, p, scale)]
    if not note and unequal and scale <= rounding.floor[i]:
        far, note = wrong, "" if wrong else ZERO
    elif not note and not any(p.difference > lost * scale + p.doubt for p in far) and far:
        far, note = wrong or far, "" if wrong else ROUNDED
    elif not note and unequal and not far and not telling(smooth, tolerance * scale):
        note = HIDDEN
    differs = note not in (ROUNDED, HIDDEN) and any(np.isfinite(p.slope) for p in far)
    agrees = note not in (ROUNDED, HIDDEN) and not far
    return replace(found, difference=worst.difference, scale=scale, index=worst.index,
                   slope=worst.slope, agrees=agrees, differs=differs, note=note)  # fmt: skip


ZERO = "0 but for rounding"
ROUNDED = "rounding has cost the contribution too many digits to compare it"
HIDDEN = "too small to be seen in a difference of the loss"


def telling(smooth: list[Probe], tolerated: float) -> bool:
    """Whether one of them would show a contribution that is a thousandth off."""
    sizes = ((max(abs(p.given), abs(p.slope)), p.doubt) for p in smooth)
    return any(tolerated + doubt <= TOLD * size for size, doubt in sizes)


def not_finite(smooth: list[Probe]) -> str:
    """Which number is not finite, if one is."""
    for what, values in (("central difference", [p.slope for p in smooth]),
                         ("contribution", [p.given for p in smooth])):  # fmt: skip
        for value in values:
            if not np.isfinite(value):
                return f"the {what} is {number(value)}"
    return ""


class Prober:
    """Takes central differences at the elements of one operand."""

    def __init__(
        self, replay: Replay, use: Use, scale: float, tolerance: float, noise: float
    ) -> None:
        self.replay, self.use = replay, use
        self.scale, self.tolerance, self.noise = scale, tolerance, noise
        self.operand = np.array(replay.values[use.source])
        sizes, _ = without_mask(self.operand[np.isfinite(self.operand) & (self.operand != 0)])
        self.typical = float(np.median(np.abs(sizes))) if sizes.size else 0.0

    def probe(self, index: tuple[int, ...], given: float, kinks: dict[Node, Any]) -> Probe | None:
        """The central difference for one element; None at a kink, and what switched in `kinks`.

        h is the cube root of eps times the size of the element, or of its neighbours if they are
        larger. Where the difference does not fit, h is made smaller until rounding, which grows
        with 1/h, hides it, and the best of those counts that the smallest h confirms. Larger steps
        are for what would be lost in rounding otherwise.
        """
        x = float(self.operand[index])
        size = abs(x) if np.isfinite(x) else 0.0
        first = STEP * (max(size, self.typical) or 1.0)
        tried, crossed = self.finer(index, given, first, size)
        if tried and (self.is_right(tried[-1]) or not np.isfinite(tried[-1].slope)):
            return tried[-1]
        near = 0.1 * (size or min(self.typical, 1.0) or 1.0)
        clear = [p for p in tried if p.h <= near and not p.leaps and self.is_clear(p)]
        if clear and clear[-1] in tried[-2:]:
            finest = clear[-1]
            same = [p for p in clear if abs(p.slope - finest.slope) <= p.doubt + finest.doubt]
            return min(same, key=lambda p: p.doubt)
        for h in (first * k for k in LARGER if first * k <= 0.01 * max(self.typical, 1.0)):
            slope, moved, _ = self.difference(index, h)
            wider, widely, _ = self.difference(index, 2 * h)  # how much of it is curvature
            new = Probe(index, given, slope, self.noise / h + abs(wider - slope), h)
            fits = new.difference <= self.tolerance * self.size(new) + new.doubt
            if not (moved or widely) and self.is_clear(new) and (fits or len(tried) == 1):
                return new
        if crossed:
            kinks.update({n: kinks.get(n, False) | where for n, where in crossed.items()})
            return None
        return replace(tried[-1], doubt=np.inf)

    def finer(
        self, index: tuple[int, ...], given: float, first: float, size: float
    ) -> tuple[list[Probe], dict[Node, Any]]:
        """Differences for smaller and smaller h, up to one that fits, and what switched in others.

        How far a slope has moved since the last h says how curved the function is; with h² it
        moves ever less.
        """
        tried: list[Probe] = []
        moves: list[float] = []
        crossed: dict[Node, Any] = {}
        for h in (first / 10**k for k in range(FINER)):
            hidden = bool(tried) and self.noise / h > WORST * self.size(tried[-1])
            if hidden or h < 8 * EPS * size or (crossed and h < 1e-6 * first):
                break
            slope, moved, level = self.difference(index, h)
            if moved:
                crossed = moved  # a smaller step may not straddle it
                continue
            moves.append(abs(slope - tried[-1].slope) if tried else 0.0)
            shrunk = ratio(*moves[:-3:-1]) if len(moves) > 2 else 1.0
            curved = moves[-1] * min(1.0, max(shrunk, 0.01))
            leaps = abs(given) * h > 10 * level
            tried.append(Probe(index, given, slope, self.noise / h + curved, h, leaps))
            if self.is_right(tried[-1]) or not np.isfinite(given):
                break
        finite = [p for p in tried if np.isfinite(p.slope)]
        return finite or tried[:1], crossed

    def is_right(self, p: Probe) -> bool:
        """Whether the contribution is the slope, which is clear."""
        fits = p.difference <= self.tolerance * self.size(p)
        return p.difference == 0 or (fits and self.is_clear(p))

    def size(self, p: Probe) -> float:
        """What a difference is to be compared with."""
        return max(self.scale, abs(p.slope) if np.isfinite(p.slope) else 0.0)

    def is_clear(self, p: Probe) -> bool:
        """Whether rounding leaves enough of a difference to see."""
        return bool(np.isfinite(p.slope)) and p.doubt <= WORST * self.size(p)

    def difference(self, index: tuple[int, ...], h: float) -> tuple[float, dict[Node, Any], float]:
        """(L(x + h) − L(x − h)) / 2h, and the decisions in which the two and L(x) are not one.

        And |L(x + h)| + |L(x − h)|.
        """
        x, at, ends = self.operand[index], (self.use.target, self.use.position), []
        for side in (h, -h):
            self.operand[index] = x + side
            moved = float(self.operand[index])
            ends.append((moved, *self.replay.loss(*at, self.operand)))
        self.operand[index] = x
        (right, above, theirs), (left, below, ours) = ends
        crossed = {}
        for node, ds in ours.items():
            centre = self.replay.sides[node]
            where = switched(theirs[node], centre) | switched(ds, centre)
            if np.any(where):
                crossed[node] = where
        slope = (above - below) / (right - left if np.isfinite(x) else 2 * h)
        return slope, crossed, abs(above) + abs(below)


# --- how well, and how many -------------------------------------------------------------------


def eps_of(node: Node) -> float:
    """The rounding of the dtype that was recorded."""
    dtype = node.array.dtype
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else EPS


class Rounding:
    """How far rounding has moved the contributions, and how far it moves the loss of a replay.

    Digits are lost where large terms cancel, those of a sum inside of a contribution and the
    contributions to a node: terms of size 1 that add up to 1e-5 have lost five digits. And they are
    lost in the values that the rules read. So the chain rule runs three times, with the values in
    float64, with the recorded ones, and with those of a replay that rounds a little differently.
    None of this depends on the contributions that are checked.
    """

    def __init__(
        self, replay: Replay, uses: Sequence[Use], given: Mapping[int, np.ndarray]
    ) -> None:
        self.replay = replay
        self.lost: dict[int, float] = {}  # of use i, relative to its largest element
        self.floor: dict[int, float] = {}  # of use i: what is smaller is 0 but for rounding
        self.moved: dict[int, Any] = {}  # by how much rounding has moved the elements of use i
        self.arithmetic: dict[int, float] = {}  # by how much on the way back, and in float64
        self.terms: dict[Node, float] = {}  # Σ |x·∂L/∂x| of what is summed, which may cancel
        moved = perturbed(replay)
        ways: list[Callable[[Node], Any]] = [
            replay.exact, recorded, lambda node: moved.get(node, replay.exact(node)), array_of
        ]  # fmt: skip
        gradients: list[dict[Node, Any]] = [
            {replay.root: np.ones_like(value(replay.root))} for value in ways
        ]
        self.gradients = gradients[0]
        least: dict[Node, Any] = {}  # how far rounding has moved these, if the values are right
        reached = {uses[i].target for i in given}  # from them the loss is computed
        for node in replay.operations:
            if not reached.isdisjoint(replay.operands[node]):
                reached.add(node)
        back = [i for i, use in enumerate(uses) if use.flows and use.target in reached]
        for i in sorted(back, key=lambda i: replay.place[uses[i].target], reverse=True):
            use, node, source = uses[i], uses[i].target, uses[i].source
            nothing = np.zeros(node.array.shape)
            sent = [passed(use, at.get(node, nothing), way) for at, way in zip(gradients, ways)]
            rounded = eps_of(node) * np.abs(self.gradients.get(node, nothing))
            floor = passed_at_most(use, least.get(node, 0.0) + rounded)
            for at, d in zip(gradients, sent):
                at[source] = at.get(source, 0.0) + d
            least[source] = least.get(source, 0.0) + floor
            if i in given:
                exact, *others, native = sent
                self.moved[i] = native - exact
                self.arithmetic[i] = largest(native - others[0]) + largest(others[1] - exact)
                drift = sum(np.abs(d - exact) for d in others)
                scale = max(largest(given[i]), largest(exact))
                self.lost[i] = ratio(largest(floor + drift), scale)
                self.floor[i] = 8 * largest(floor)
            if entry(node.op.name).rounds == "sums":
                term = float(np.nansum(np.abs(self.replay.exact(source) * sent[0])))
                self.terms[node] = self.terms.get(node, 0.0) + term

    def leaves(self, i: int, p: Probe, scale: float) -> bool:
        """Whether a difference is left when what rounding has done is taken off."""
        known = LOST * self.arithmetic[i] + WORST * scale + p.doubt
        return bool(abs(p.given - self.moved[i][p.index] - p.slope) > known)

    def of_loss(self, target: Node) -> float:
        """4 eps Σ |v·∂L/∂v| over all steps from `target` to the loss, and over what they sum."""
        sums = [
            max(
                self.terms.get(node, 0.0),
                float(np.nansum(np.abs(self.gradients.get(node, 0.0) * self.replay.values[node]))),
            )
            for node in self.replay.downstream(target)
        ]
        return 4 * EPS * sum(x for x in sums if np.isfinite(x))


def passed(use: Use, g: Any, value: Callable[[Node], Any]) -> Any:
    """What the rule of a use makes of `g`, with these values."""
    node = use.target
    d = rule_of(node, use.position, value)(g)
    return unbroadcast(d, use.source.array.shape) if node.op.broadcasts else d


def passed_at_most(use: Use, error: Any) -> Any:
    """How far errors of a gradient, all of them positive, may move a contribution.

    Of |x| in the place of x a rule makes the sum of the terms' sizes, so that nothing cancels.
    """
    together = np.abs(passed(use, error, magnitude))
    return np.fmax(together, np.abs(passed(use, error, recorded)))


def recorded(node: Node) -> Any:
    """x as it was recorded."""
    return in_float64(node.array)


def magnitude(node: Node) -> Any:
    """|x|."""
    array = in_float64(node.array)
    return array if array.dtype.kind == "b" else np.abs(array)


def ratio(a: float, b: float) -> float:
    """a/b of numbers that are not negative; 0/0 is 0."""
    return a / b if b else (np.inf if a else 0.0)


def perturbed(replay: Replay) -> dict[Node, Any]:
    """The values of the operations, if each had rounded up or down once more, by chance."""
    random = np.random.default_rng(0)
    values: dict[Node, Any] = {}
    for node, sources in replay.operands.items():
        if node in replay.outdated:
            continue
        y = compute(node, [values.get(x, replay.values[x]) for x in sources])
        if entry(node.op.name).rounds and y.dtype.kind == "f":
            y = y * (1 + EPS * random.choice((-1.0, 1.0), y.shape))
        values[node] = y
    return values


def elements_for(
    replay: Replay, uses: Sequence[Use], given: Mapping[int, np.ndarray], budget: float
) -> dict[int, int]:
    """How many elements of each use may be nudged: as many for each, and one for the cheapest."""
    price = {}
    for i in given:
        price[i] = 2 * sum(map(replay.cost.__getitem__, replay.downstream(uses[i].target)))
    wanted = {i: min(g.size, FEW) for i, g in given.items()}
    for most in range(FEW, 0, -1):
        counts = {i: min(n, most) for i, n in wanted.items()}
        if sum(price[i] * n for i, n in counts.items()) <= budget:
            return counts
    affordable, left = {}, float(budget)
    for i in sorted(given, key=lambda i: (price[i], i)):  # nearest to the loss first
        left -= price[i]
        if left < 0:
            break
        affordable[i] = 1
    return dict(sorted(affordable.items()))
