"""Where values live: a plan of all memory of a program, made before a line is written.

A value is a number, or has a `Place`: memory of the caller, of the state, a constant, a buffer that
later values may overwrite, memory of its own, or what a call has made. `print(Plan(...))` shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.program.emit.numbers import by_python
from tinygrad_ce.program.emit.schedule import Item, Loop, Schedule, steps_of
from tinygrad_ce.program.ir import Program, State, Step, Var
from tinygrad_ce.program.memory import FlatSlice
from tinygrad_ce.program.tracing.attributes import AttributeOf

VIEWS = frozenset(["reshape", "transpose", "slice", "windows", "flat_slice"])


@dataclass(eq=False, slots=True)
class Memory:
    """Memory that one or several values live in, one after another or as views."""

    kind: str  # "input", "state", "constant", "buffer", "own", "call"
    number: int
    of: Var  # what it was made for
    last: int = -1  # the last item that reads it

    @property
    def nbytes(self) -> int:
        """How large it is."""
        return self.of.nbytes

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


@dataclass(eq=False, slots=True)
class Place:
    """Where a value is found: the whole of some memory, a piece of it, or a view of another."""

    memory: Memory
    contiguous: bool
    piece: FlatSlice | None = None
    view: Step | None = None

    @property
    def static(self) -> bool:
        """Whether it is there before the run, and the same in every run."""
        return self.memory.kind not in ("input", "call")

    def __str__(self) -> str:
        how = self.view.op if self.view is not None else "slice" if self.piece is not None else ""
        return f"{how} of {self.memory}" if how else str(self.memory)


class Kernel(NamedTuple):
    """How the lines of an operation are written, and the memory that they want."""

    write: Callable[..., None]  # (printer, step)
    fits: Callable[[Plan, Step], bool] = lambda plan, step: bool(step.out.shape)  # else: a call
    over: slice = slice(0)  # the operands whose memory the result may take
    scratch: Callable[[Plan, Step], list[Var]] = lambda plan, step: []
    makes: Callable[[Step], bool] | None = None  # an array of its own; whether it is contiguous


class Plan:
    """The memory of each value, and how each step is done: "number", "view", "kernel", "call"."""

    def __init__(self, program: Program, schedule: Schedule, kernels: dict[str, Kernel]) -> None:
        self.program, self.schedule, self.kernels = program, schedule, kernels
        self.makers = program.makers()
        self.places: dict[Var, Place] = {}
        self.ways: dict[Var, str] = {}
        self.scratch: dict[Var, list[Var]] = {}  # what a step needs while it runs
        self.blocks: dict[Var, tuple[Any, int]] = {}  # in a loop: (dtype, number) of a short row
        self.memories: list[Memory] = []
        self.free: list[Memory] = []
        self.reserved: dict[Var, Place] = {}
        self.dedicated = {k.var for k in program.grads}  # looked at after the run
        self.befores: dict[Var, Var] = {}  # the new value of a state that has no place yet: the old
        self.now = 0
        self.given()
        for step in program.steps:
            if step.op == "flatten":
                self.reserve(step)
        for self.now, item in enumerate(schedule.items):
            if isinstance(item, Loop):
                self.loop(item)
            else:
                self.step(item)
            self.release(item)

    def __str__(self) -> str:
        made = {x: f"{step.op} -> " for x, step in self.makers.items()}
        lines = [f"{made.get(x, '')}{x!r}: {place}" for x, place in self.places.items()]
        return "\n".join([*lines, *(f"{m}: {m.nbytes} bytes" for m in self.memories)])

    # --- what is there ----------------------------------------------------------------------

    def memory(self, kind: str, of: Var) -> Memory:
        """New memory."""
        self.memories.append(Memory(kind, len(self.memories), of))
        return self.memories[-1]

    def given(self) -> None:
        """Inputs, states and constants."""
        for x in self.program.inputs:
            if not x.scalar:
                self.places[x] = Place(self.memory("input", x), True)
        for state in self.program.states:
            x = state.before
            self.places[x] = Place(self.memory("state", x), in_one_piece(state))
            if state.after in self.makers:
                self.befores.setdefault(state.after, x)
        for x in self.program.constants:
            if x.shape:
                self.places[x] = Place(self.memory("constant", x), True)

    def reserve(self, flat: Step) -> None:
        """Give the slices of a flat array their place: what makes them writes there at once."""
        memory = self.memory("own", flat.out)
        self.reserved[flat.out] = Place(memory, True)
        for x, piece in zip(flat.operands, flat.attrs["slices"]):
            x = self.unshaped(x)
            maker = self.makers.get(x)
            kernel = self.kernels.get(maker.op) if maker is not None else None
            if kernel and kernel.makes is None and x not in self.befores:
                piece = FlatSlice(piece.offset, x.shape)
                self.reserved.setdefault(x, Place(memory, True, piece))

    def unshaped(self, x: Var) -> Var:
        """What x is a reshape of."""
        while (maker := self.makers.get(x)) is not None and maker.op == "reshape":
            x = maker.operands[0]
        return x

    def is_in_place(self, flat: Step, x: Var, piece: FlatSlice) -> bool:
        """Whether what makes x has written it into its slice of a flat array."""
        x = self.unshaped(x)
        place = self.places.get(x)
        if place is None or place is not self.reserved.get(x) or place.piece is None:
            return False
        here = self.reserved[flat.out].memory
        return place.memory is here and place.piece.offset == piece.offset

    # --- steps ------------------------------------------------------------------------------

    def step(self, step: Step) -> None:
        """How a step is done, and where its result is."""
        out, kernel = step.out, self.kernels.get(step.op)
        if by_python(step):
            self.ways[out] = "number"
        elif step.op in VIEWS and self.can_view(step):
            self.ways[out] = "view"
            memory = self.places[step.operands[0]].memory
            self.put(out, Place(memory, step.op in ("reshape", "flat_slice"), view=step))
        elif kernel is not None and kernel.fits(self, step):
            self.ways[out] = "kernel"
            if out.shape and kernel.makes is not None:
                self.put(out, Place(self.memory("call", out), kernel.makes(step)))
            elif out.shape:
                wanted = kernel.scratch(self, step)
                self.put(out, self.destination(step, step.operands[kernel.over]))
                self.scratch[out] = wanted
                for x in wanted:
                    self.put(x, Place(self.buffer(x), True))
        else:
            self.ways[out] = "call"
            if out.shape:
                self.put(out, Place(self.memory("call", out), False))

    def can_view(self, step: Step) -> bool:
        """Whether the result can be a view of the operand."""
        (x,) = step.operands
        place = self.places.get(x)
        if place is None or (not x.shape and step.op != "reshape"):
            return False
        return step.op != "reshape" or place.contiguous

    def loop(self, loop: Loop) -> None:
        """Blocks for what only the loop reads, memory for the rest."""
        last = {x: i for i, s in enumerate(loop.steps) for x in s.operands}
        free: list[tuple[Any, int]] = []
        count = 0
        for i, s in enumerate(loop.steps):
            if s.out.shape and self.schedule.last.get(s.out, -1) > self.now:
                self.put(s.out, self.destination(s))
            dying = (self.blocks[x] for x in s.operands if x in self.blocks and last[x] == i)
            free += dict.fromkeys(dying)
            if not s.out.shape or s.out in self.places:
                continue
            fitting = [b for b in free if b[0] == s.out.dtype]
            block = fitting[-1] if fitting else (s.out.dtype, count)
            if fitting:
                free.remove(block)
            count += not fitting
            self.blocks[s.out] = block

    # --- memory -----------------------------------------------------------------------------

    def put(self, x: Var, place: Place) -> None:
        """Note where a value is, and until when its memory is needed."""
        self.places[x] = place
        place.memory.last = max(place.memory.last, self.schedule.last.get(x, self.now))

    def release(self, item: Item) -> None:
        """Buffers that were read for the last time are free."""
        outs = [s.out for s in steps_of(item)]
        scratch = [x for out in outs for x in self.scratch.get(out, ())]
        for x in (*item.operands, *outs, *scratch):
            memory = self.places[x].memory if x in self.places else None
            if memory is None or memory.kind != "buffer" or memory in self.free:
                continue
            if memory.last <= self.now:
                self.free.append(memory)

    def destination(self, step: Step, over: tuple[Var, ...] = ()) -> Place:
        """Where the result of a step goes: into the state that it replaces, if nobody reads the
        old value later; else in the place of an operand that is read here for the last time; else
        into a buffer.
        """
        out = step.out
        if out in self.reserved:
            return self.reserved[out]
        before = self.befores.get(out)
        if before is not None and over and self.now >= self.schedule.guarded:
            place = self.places[before]
            memory = place.memory
            others = (x for x in step.operands if x is not before or x not in over)
            shared = any(self.places[x].memory is memory for x in others if x in self.places)
            read = max(memory.last, self.schedule.last.get(before, -1))
            if read <= self.now and not shared:
                del self.befores[out]
                return place
        if out in self.dedicated:
            return Place(self.memory("own", out), True)
        for x in over:
            operand = self.places.get(x)
            if operand is not None and self.can_overwrite(x, operand, out):
                return operand if x.dtype == out.dtype else Place(operand.memory, True)
        return Place(self.buffer(out), True)

    def can_overwrite(self, x: Var, place: Place, out: Var) -> bool:
        """Whether `out` may take the memory of an operand."""
        memory = place.memory
        return (
            memory.kind == "buffer" and memory.last <= self.now and place.contiguous
            and (x.shape, x.nbytes) == (out.shape, out.nbytes)
            and memory.nbytes <= 2 * out.nbytes
        )  # fmt: skip

    def buffer(self, x: Var) -> Memory:
        """Memory that nobody needs any more, or new memory."""
        fitting = [m for m in self.free if x.nbytes <= m.nbytes <= 2 * x.nbytes + 64]
        if not fitting:
            return self.memory("buffer", x)
        memory = min(fitting, key=lambda m: m.nbytes)
        self.free.remove(memory)
        return memory


def in_one_piece(state: State) -> bool:
    """Whether the elements of a state follow each other in memory, as the text may count on."""
    if not isinstance(state.node, (Node, AttributeOf)):
        return True  # a gradient, or parameters in one array: in memory of our own
    return bool(state.node.array.flags.c_contiguous)
