"""Parameters side by side: one update for all of them, and biases inside of matrix products.

An optimiser does the same to every parameter. When the arrays of all parameters are pieces of one
long array, it is done once; so are their gradients, moments and step counts. A weight W (C, k) and
its bias b lie in one block (C, k + 1), so that [W b] [x; 1] is the layer, and one product gives
both gradients.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.program.ir import Assumption, Program, State, Step, Var
from tinygrad_ce.program.operations import ELEMENTWISE
from tinygrad_ce.program.passes import without_dead_steps

INPUT = 1 << 15  # bytes up to which an input is copied to stand above a row of ones


class Placement(NamedTuple):
    """Where a piece lies in a flat array, counted in elements."""

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, flat: np.ndarray) -> np.ndarray:
        """The piece of an array."""
        size = flat.itemsize
        return np.ndarray(
            self.shape, flat.dtype, flat, self.offset * size, tuple(s * size for s in self.strides)
        )


def in_order(offset: int, shape: tuple[int, ...]) -> Placement:
    """A piece whose elements follow each other."""
    strides: list[int] = []
    step = 1
    for n in reversed(shape):
        strides.insert(0, step)
        step *= n
    return Placement(offset, shape, tuple(strides))


class Unpackable(Exception):  # noqa: N818
    """Somebody else looks at the memory of a parameter, so it must stay where it is."""


class Packed:
    """Tensors whose arrays are pieces of one array."""

    def __init__(
        self, nodes: list[Any], placements: list[Placement], size: int, dtype: Any
    ) -> None:
        self.nodes = nodes
        self.placements = placements
        self.size = size
        self.dtype = dtype

    def fits(self) -> bool:
        """Whether the tensors still have the shapes and the dtype that they were packed with."""
        return all(
            n.array.shape == p.shape and n.array.dtype == self.dtype
            for n, p in zip(self.nodes, self.placements)
        )

    @property
    def array(self) -> np.ndarray:
        """The one array; the tensors move into it if they are not there yet."""
        flat = self.nodes[0].array.base
        if isinstance(flat, np.ndarray) and flat.shape == (self.size,):
            expected = [p.of(flat) for p in self.placements]
            if all(same_memory(n.array, e) for n, e in zip(self.nodes, expected)):
                return flat
        if not all(map(alone, self.nodes)):
            raise Unpackable
        flat = np.zeros(self.size, self.dtype)
        FLATS[id(flat)] = flat
        for node, placement in zip(self.nodes, self.placements):
            piece = placement.of(flat)
            piece[...] = node.array
            node.array = piece
        return flat


FLATS: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()
"""The arrays that tensors have moved into."""


def same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are the same elements in the same places."""
    return bool(
        a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype
        and a.__array_interface__["data"] == b.__array_interface__["data"]
    )  # fmt: skip


def references(node: Any) -> int:
    """How many hold the array of a Tensor, with those that come from asking."""
    array = node.array
    return sys.getrefcount(array)


ONE = references(SimpleNamespace(array=np.empty(0)))  # 3, and 2 from Python 3.14 on


def alone(node: Any) -> bool:
    """Whether nobody but the Tensor itself holds its array."""
    if not isinstance(node.array, np.ndarray) or references(node) > ONE:
        return False
    array = node.array
    return array.base is None or sys.getrefcount(array.base) <= 2


# --- which updates are alike --------------------------------------------------------------------


@dataclass(eq=False)
class Update:
    """The steps that replace a parameter and what its optimiser keeps for it."""

    steps: list[Step] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    leaves: list[Var] = field(default_factory=list)  # gradients
    signature: Any = None


def updates_of(program: Program) -> list[Update]:
    """The update of each parameter, if it is elementwise from gradient, state and numbers."""
    makers = program.makers()
    stop: set[Var | None] = {k.var for k in program.kept}
    owner: dict[Var, Update] = {}
    updates: list[Update] = []
    for state in program.states:
        if state.after is state.before or state.before.dtype.kind != "f":
            continue
        chain = chain_of(state, makers, stop, program)
        if chain is None:
            continue
        found = {id(u): u for x in [*chain, state.before] if (u := owner.get(x)) is not None}
        update = next(iter(found.values()), None)
        if update is None:
            update = Update()
            updates.append(update)
        update.states.append(state)
        for x in [*chain, state.before]:
            owner[x] = update
        for other in list(found.values())[1:]:
            update.states += other.states
            updates.remove(other)
            for x, u in owner.items():
                if u is other:
                    owner[x] = update
    for update in updates:
        update.steps = [s for s in program.steps if owner.get(s.out) is update]
    return [u for u in updates if sign(u, program, makers)]


def chain_of(
    state: State, makers: dict[Var, Step], stop: set[Var | None], program: Program
) -> list[Var] | None:
    """The values between the state before and after, if all are elementwise and of its shape."""
    shape = state.before.shape
    found: list[Var] = []
    stack = [state.after]
    seen = set()
    befores = {s.before for s in program.states}
    while stack:
        x = stack.pop()
        if x in seen or x in stop or (not x.shape and shape):
            continue
        seen.add(x)
        maker = makers.get(x)
        if x in befores or maker is None:
            if x in befores and x.shape == shape:
                found.append(x)
            continue
        if x.shape != shape or maker.op not in ELEMENTWISE or x.dtype != state.before.dtype:
            if x is state.after:
                return None
            continue
        found.append(x)
        stack.extend(maker.operands)
    return found


def sign(update: Update, program: Program, makers: dict[Var, Step]) -> bool:
    """Note what the update does, in words that are equal for parameters that are treated alike."""
    shape = update.states[0].before.shape
    befores = {s.before: i for i, s in enumerate(update.states)}
    afters = {s.after for s in update.states}
    number = {s.out: i for i, s in enumerate(update.steps)}
    words: list[Any] = []
    if any(s.before.shape != shape for s in update.states):
        return False
    for step in update.steps:
        refs: list[Any] = []
        for x in step.operands:
            if x in number:
                refs.append(("step", number[x]))
            elif x in befores:
                refs.append(("state", befores[x]))
            elif x.shape == shape and shape:
                if x not in update.leaves:
                    update.leaves.append(x)
                refs.append(("leaf", update.leaves.index(x)))
            elif not x.shape:
                refs.append(scalar_key(x, program, makers))
            else:
                return False
        words.append(
            (step.op, repr(sorted(step.settings.items())), tuple(refs), step.out in afters)
        )
    finals = tuple(number.get(s.after, -1) for s in update.states)
    dtypes = tuple(s.before.dtype for s in update.states)
    update.signature = (
        bool(shape),
        dtypes,
        tuple(x.dtype for x in update.leaves),
        tuple(words),
        finals,
    )
    return -1 not in finals and len({*finals}) == len(finals)


def scalar_key(x: Var, program: Program, makers: dict[Var, Step]) -> Any:
    """A number in words: equal for the step counters of several parameters."""
    if x in program.constants:
        return ("number", str(x.dtype), repr(np.asarray(program.constants[x]).item()))
    if any(s.before is x for s in program.states):
        return counter_key(x, program) or ("state", id(x))
    maker = makers.get(x)
    if maker is None or any(o.shape for o in maker.operands) or maker.op == "draw":
        return ("value", id(x))
    operands = tuple(scalar_key(o, program, makers) for o in maker.operands)
    return (maker.op, repr(sorted(maker.settings.items())), operands)


def counter_key(x: Var, program: Program) -> Any:
    """Words for a 0-d state that counts: so much more after each run. None if it does not, or is
    no float: the pass then has no way to see that it stands where the others stand.
    """
    state = next(s for s in program.states if s.before is x)
    step = program.makers().get(state.after)
    if step is None or step.op != "add" or step.operands[0] is not x or x.dtype.kind != "f":
        return None
    value = program.constants.get(step.operands[1])
    return None if value is None else ("counter", str(x.dtype), repr(np.asarray(value).item()))


# --- the pass -----------------------------------------------------------------------------------


def packed(program: Program, doubted: frozenset[Any] = frozenset()) -> Program:
    """Update all parameters that are treated alike at once."""
    tried: set[Any] = set()
    while True:
        groups: dict[Any, list[Update]] = {}
        for update in updates_of(program):
            groups.setdefault(update.signature, []).append(update)
        counters = [u for group in groups.values() for u in group if not u.states[0].before.shape]
        if counters and (
            EQUAL_COUNTS in doubted or not all(packable(u.states[0].node) for u in counters)
        ):
            return program
        order = sorted(groups.items(), key=lambda item: not item[0][0])  # counters come last
        group = next((g for key, g in order if key not in tried and worth(g)), None)
        if group is None:
            return program
        tried.add(group[0].signature)
        program = without_dead_steps(Packer(program, group).run())


EQUAL_COUNTS = "counts_agree"


def worth(group: list[Update]) -> bool:
    """Whether there are several updates alike, of tensors that may move."""
    return len(group) > 1 and all(packable(s.node) for u in group for s in u.states)


def packable(node: Any) -> bool:
    """Whether the array of a Tensor may move, or has moved already."""
    if not isinstance(node, Node) or not isinstance(node.array, np.ndarray):
        return False
    return alone(node) or id(node.array.base) in FLATS


class Packer:
    """Writes a program again with a group of updates made one."""

    def __init__(self, program: Program, group: list[Update]) -> None:
        self.program = program
        self.group = group
        self.makers = program.makers()
        self.pairs = dict(self.biased_layers())  # number of a weight -> number of its bias
        self.places: list[Placement] = [in_order(0, ())] * len(group)
        self.size = self.place()
        self.steps: list[Step] = []

    def place(self) -> int:
        """Give every parameter its place; returns how many elements there are."""
        offset = 0
        biases = set(self.pairs.values())
        for i, update in enumerate(self.group):
            shape = update.states[0].before.shape
            if i in biases:
                continue
            if i in self.pairs:
                rows, k = shape
                self.places[i] = Placement(offset, shape, (k + 1, 1))
                self.places[self.pairs[i]] = Placement(offset + k, (rows,), (k + 1,))
                offset += rows * (k + 1)
            else:
                self.places[i] = in_order(offset, shape)
                offset += int(np.prod(shape, dtype=np.int64))
        return offset

    def biased_layers(self) -> Iterator[tuple[int, int]]:
        """(weight, bias) of the layers W x + b whose gradients come from the same g."""
        self.layers: dict[int, Layer] = {}
        number = {u.states[0].before: i for i, u in enumerate(self.group)}
        for step in self.program.steps:
            layer = Layer.at(step, self.makers, self.program)
            if layer is None or layer.weight not in number or layer.bias not in number:
                continue
            w, b = number[layer.weight], number[layer.bias]
            if w in self.layers or any(b == v.bias_number for v in self.layers.values()):
                continue
            gradients = self.group[w].leaves, self.group[b].leaves
            if len(gradients[0]) == len(gradients[1]) == 1 and not self.read_before(gradients):
                layer.bias_number = b
                if layer.gradients_fit(self.makers, gradients[0][0], gradients[1][0]):
                    self.layers[w] = layer
                    yield w, b

    def read_before(self, gradients: tuple[list[Var], ...]) -> bool:
        """Whether anybody but the updates reads these gradients."""
        moved = {step.out for update in self.group for step in update.steps}
        wanted = {x for row in gradients for x in row}
        return any(s.out not in moved and wanted & {*s.operands} for s in self.program.steps)

    def run(self) -> Program:
        """The program after packing."""
        group, program = self.group, self.program
        first = group[0]
        states = [replace_state(self, j) for j in range(len(first.states))]
        self.flat_before = {s.before: s for s in states}
        moved = {step.out for update in group for step in update.steps}
        last = max(i for i, s in enumerate(program.steps) if s.out in moved)
        late = {x for s in program.steps[:last] if s.out not in moved for x in s.operands} & moved
        leaves = [u.leaves for u in group]
        made = {s.out: i for i, s in enumerate(program.steps)}
        if late - self.readable(late) or any(made.get(x, -1) > last for row in leaves for x in row):
            return program
        for j, state in enumerate(states):
            for i, update in enumerate(group):
                self.piece(state.before, i, update.states[j].before)
        self.write_steps(moved, last, states)
        gone = {id(s) for u in group for s in u.states}
        kept_states = [s for s in program.states if id(s) not in gone]
        program = replace(program, states=[*kept_states, *states])
        program = program.with_steps(self.steps)
        if not first.states[0].before.shape:
            self.assume_equal(program, states[0].before)
        return program

    def readable(self, late: set[Var]) -> set[Var]:
        """Values of the updates that steps in between may read: none but counters."""
        return late if not self.group[0].states[0].before.shape else set()

    def assume_equal(self, program: Program, flat: Var) -> None:
        """All counters stand at the same number, so that one correction fits all."""
        var = Var((), None, True)
        program.steps.insert(0, Step(var, "counts_agree", (flat,), {}))
        program.assumptions.append(Assumption(var, "all step counts are equal", EQUAL_COUNTS))

    def piece(self, flat: Var, i: int, out: Var) -> None:
        """A step that names a piece of a flat value."""
        self.steps.append(Step(out, "piece", (flat,), {"placement": self.places[i]}))

    def write_steps(self, moved: set[Var], last: int, states: list[State]) -> None:
        """All steps in order, the updates as one in the place of the last of them."""
        counters = not self.group[0].states[0].before.shape
        replaced = {}
        for w, layer in self.layers.items():
            replaced.update(layer.rewritten(self, w, next(iter(self.flat_before))))
        for i, step in enumerate(self.program.steps):
            if counters and step.out in moved:
                if step.out is next(iter(s for s in self.group[0].steps)).out:
                    self.update(states)
            elif step.out in replaced:
                self.steps.extend(replaced[step.out])
            elif step.out not in moved:
                self.steps.append(step)
            if i == last and not counters:
                self.update(states)

    def update(self, states: list[State]) -> None:
        """The update of all parameters at once."""
        first = self.group[0]
        dtype = first.states[0].before.dtype
        known: dict[Var, Var] = {s.before: flat.before for s, flat in zip(first.states, states)}
        for j, leaf in enumerate(first.leaves):
            known[leaf] = self.gradients(j, dtype)
        finals = {s.after: flat for s, flat in zip(first.states, states)}
        for n, step in enumerate(first.steps):
            state = finals.get(step.out)
            out = state.after if state else Var((self.size,), step.out.dtype, False)
            known[step.out] = out
            operands = tuple(known.get(x, x) for x in step.operands)
            self.steps.append(step._replace(out=out, operands=operands))
            for i, update in enumerate(self.group):
                self.piece(out, i, update.steps[n].out)

    def gradients(self, j: int, dtype: Any) -> Var:
        """The gradients of all parameters as one value."""
        flat = Var((self.size,), dtype, False, "gradients")
        pieces, placements = [], []
        biases = set(self.pairs.values())
        for i, update in enumerate(self.group):
            if i in biases:
                continue
            if i in self.layers:
                pieces.append(self.layers[i].block_gradient)
                rows, k = update.states[0].before.shape
                placements.append(in_order(self.places[i].offset, (rows, k + 1)))
            else:
                pieces.append(update.leaves[j])
                placements.append(self.places[i])
        settings = {"placements": tuple(placements), "shape": (self.size,)}
        self.steps.append(Step(flat, "pack", tuple(pieces), settings, self.group[0].steps[0].scope))
        for w, b in self.pairs.items():
            for i in (w, b):
                self.piece(flat, i, self.group[i].leaves[j])
        return flat


def replace_state(packer: Packer, j: int) -> State:
    """The j-th states of all updates as one."""
    olds = [u.states[j] for u in packer.group]
    dtype = olds[0].before.dtype
    name = olds[0].before.name.partition("_")[2] or "parameters"
    nodes = [s.node for s in olds]
    shape = (packer.size,)
    before, after = Var(shape, dtype, False, name), Var(shape, dtype, False, name)
    return State(Packed(nodes, packer.places, packer.size, dtype), before, after)


class Layer:
    """y = W x + b, x feature by feature, or W Xᵀ + b: with the products that give its gradients."""

    def __init__(self, weight: Var, bias: Var, x: Var, product: Step, add: Step) -> None:
        self.weight, self.bias, self.x = weight, bias, x
        self.product, self.add = product, add
        self.bias_number = -1
        self.dW: Step
        self.db: Step
        k = weight.shape[1]
        self.block_gradient = Var((weight.shape[0], k + 1), weight.dtype, False)

    @staticmethod
    def at(step: Step, makers: dict[Var, Step], program: Program) -> Layer | None:
        """The layer that ends with this addition, if there is one."""
        if step.op != "add" or len(step.out.shape) != 2:
            return None
        for a, b in (step.operands, step.operands[::-1]):
            product, turned = makers.get(a), makers.get(b)
            if product is None or product.op not in ("dot", "inner"):
                continue
            if turned is None or turned.op != "reshape" or b.shape != (step.out.shape[0], 1):
                continue
            weight, x = product.operands
            if x.dtype != weight.dtype or (product.op == "inner" and x.nbytes > INPUT):
                continue
            readers = sum(a in s.operands for s in program.steps)
            if readers == 1 and len(weight.shape) == 2 and x.size:
                return Layer(weight, turned.operands[0], x, product, step)
        return None

    def gradients_fit(self, makers: dict[Var, Step], dW: Var, db: Var) -> bool:
        """Whether dW = g xᵀ and db = Σ g, for one and the same g."""
        product, total = makers.get(dW), makers.get(db)
        if product is None or total is None or product.op != "dot" or total.op != "sum":
            return False
        if total.settings["axis"] != 1 or total.settings["keepdims"]:
            return False
        g, right = product.operands
        turned = makers.get(right)
        same = right is self.x if self.product.op == "inner" else (
            turned is not None and turned.op == "transpose" and turned.operands[0] is self.x
        )  # fmt: skip
        self.dW, self.db = product, total
        return same and total.operands[0] is g

    def rewritten(self, packer: Packer, w: int, flat: Var) -> dict[Var, list[Step]]:
        """The steps that stand in the place of those of the layer."""
        rows, k = self.weight.shape
        n = self.add.out.shape[1]
        dtype = self.weight.dtype
        block = Var((rows, k + 1), dtype, False, self.weight.name)
        where = {"placement": in_order(packer.places[w].offset, (rows, k + 1))}
        sample_major = self.product.op == "inner"
        shape, ones = ((n, k + 1), (n, 1)) if sample_major else ((k + 1, n), (1, n))
        with_ones = Var(shape, dtype, False, self.x.name)
        one = Var(ones, dtype, False)
        packer.program.constants[one] = np.ones(ones, dtype)
        if sample_major:
            placements = (Placement(0, (n, k), (k + 1, 1)), Placement(k, ones, (k + 1, 1)))
        else:
            placements = (in_order(0, (k, n)), in_order(k * n, ones))
        pack = {"placements": placements, "shape": shape}
        steps = [
            Step(block, "piece", (flat,), where, self.product.scope, self.product.line),
            self.product._replace(out=with_ones, op="pack", operands=(self.x, one), settings=pack),
            self.add._replace(op=self.product.op, operands=(block, with_ones), settings={}),
        ]
        g, right, gradient = self.dW.operands[0], with_ones, []
        if not sample_major:
            right = Var((n, k + 1), dtype, False)
            turn = {"axes": (1, 0)}
            gradient = [
                self.dW._replace(out=right, op="transpose", operands=(with_ones,), settings=turn)
            ]
        gradient.append(self.dW._replace(out=self.block_gradient, operands=(g, right)))
        return {
            self.product.out: [], self.add.out: steps, self.dW.out: gradient, self.db.out: [],
        }  # fmt: skip
