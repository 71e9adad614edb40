"""The fast path: a Program as the text of a Python function whose lines fill buffers.

What does not change from run to run is made once, before the first run: buffers, constants, the
views of both, the arrays of the state. A run is then one NumPy call after another, each writing
into memory that is there already (`out=`), in place where nobody looks at the old value any more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.program.emit.blocks import Loop, LoopWriter, in_blocks
from tinygrad_ce.program.emit.places import Place, Storage
from tinygrad_ce.program.emit.scalars import by_python, scalar_text
from tinygrad_ce.program.emit.writers import INTO, SCALAR, VIEWS, WRITERS
from tinygrad_ce.program.ir import Program, State, Step, Var
from tinygrad_ce.program.ops import ELEMENTWISE, OPS, REDUCTIONS, UFUNCS
from tinygrad_ce.program.tracing.attributes import AttributeOf

FOREVER = 1 << 60


class Doubt(Exception):  # noqa: N818
    """An assumption of the program does not hold for these arguments. Nothing was written."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class Emitted:
    """The text of the function, and what its names stand for."""

    source: str
    names: dict[str, Any]
    state_names: list[tuple[str, Any]] = field(default_factory=list)


class Emitter:
    """Writes the function, line by line."""

    def __init__(self, program: Program) -> None:
        self.program = program
        steps = assumptions_first(program)
        asked = {a.var for a in program.assumptions}
        sure = max((i + 1 for i, s in enumerate(steps) if s.out in asked), default=0)
        self.items = items = in_blocks(steps, program, sure)
        # The first item after all assumptions were looked at.
        self.sure = max((i + 1 for i, x in enumerate(items) if asked & made_by(x)), default=0)
        self.steps = [s for x in items for s in (x.steps if isinstance(x, Loop) else [x])]
        self.makers = program.makers()
        self.setup: list[str] = []
        self.lines: list[str] = []
        self.names: dict[str, Any] = dict(LIBRARY)
        self.places: dict[Var, Place] = {}
        self.scalars: dict[Var, str] = {}
        self.boxes: dict[tuple[Var, Any], str] = {}
        self.known: dict[Any, str] = {}
        self.packs: dict[Var, Place] = {}
        self.preplaced: dict[Var, Place] = {}
        self.filled: set[tuple[Var, Var]] = set()
        self.own = {s.out: s.op for s in self.steps if s.op in INTO and s.out.shape}
        self.free: list[Storage] = []
        self.count = 0
        self.now = 0
        self.last = last_reads(program, items)
        self.state_of: dict[Var, Var] = {}
        self.in_states: set[Storage] = set()
        self.handed_out: set[Storage] = set()  # memory that belongs to the caller
        # Values that have memory of their own, because they are looked at after the run.
        self.dedicated = {k.var for k in program.kept if k.var is not None}
        self.late: list[tuple[str, str]] = []
        self.state_names: list[tuple[str, Any]] = []

    # --- names ------------------------------------------------------------------------------

    def fresh(self, var: Var | None = None, prefix: str = "t") -> str:
        """A new name, like the user's where there is one."""
        self.count += 1
        name = var.name if var is not None else ""
        clean = "".join(c if c.isalnum() else "_" for c in name)
        return f"{clean if clean[:1].isalpha() else prefix + clean}_{self.count}"

    def define(self, value: Any, prefix: str = "c") -> str:
        """A name for something that is there before the run."""
        name = self.fresh(prefix=prefix)
        self.names[name] = value
        return name

    def shared(self, value: Any) -> str:
        """A name for a constant array, the same name for the same array."""
        key = (value.dtype.str, value.shape, value.tobytes() if value.size else b"")
        if key not in self.known:
            self.known[key] = self.define(value)
        return self.known[key]

    def once(self, text: str, prefix: str = "v") -> str:
        """A name for what is computed once, before the first run."""
        name = self.fresh(prefix=prefix)
        self.setup.append(f"{name} = {text}")
        return name

    def say(self, line: str) -> None:
        """A line of the function."""
        self.lines.append(line)

    # --- the whole --------------------------------------------------------------------------

    def emit(self) -> Emitted:
        """The function for this program."""
        program = self.program
        arguments = [self.fresh(var, "x") for var in program.inputs]
        self.take_given(arguments)
        self.lay_out_packs()
        doubts = {a.var: i for i, a in enumerate(program.assumptions)}
        for number, item in enumerate(self.items):
            self.now = number
            if isinstance(item, Loop):
                LoopWriter(self, item, doubts).write()
            else:
                self.emit_step(item)
                if item.out in doubts:
                    self.say(f"if not ({self.scalars[item.out]}): raise Doubt({doubts[item.out]})")
            self.release(item)
        results = f"({''.join(self.output(x) + ', ' for x in program.outputs)})"
        kept = self.keep()
        self.write_other_states()
        if self.late:  # what is returned may be the value that a state had before
            self.say(f"results = {results}")
            results = "results"
        for target, source in self.late:
            self.say(f"copyto({target}, {source})")
        self.say(f"return {results}")
        body = "\n    ".join(self.lines)
        source = f"def run({', '.join(arguments)}):\n    {body}\n"
        self.names["KEPT"] = kept
        return Emitted("\n".join(self.setup) + "\n\n" + source, self.names, self.state_names)

    def take_given(self, arguments: list[str]) -> None:
        """Inputs, state, settings and constants."""
        program = self.program
        for var, name in zip(program.inputs, arguments):
            if var.scalar:
                self.scalars[var] = name
            else:
                storage = Storage(name, var.nbytes, False, False)
                self.handed_out.add(storage)
                self.places[var] = Place(name, storage, True)
                if not var.shape:
                    self.scalars[var] = f"{name}.item()"
        for state in program.states:
            name = self.fresh(state.before, "s")
            self.state_names.append((name, state.node))
            storage = Storage(name, state.before.nbytes, True, False)
            self.in_states.add(storage)
            self.places[state.before] = Place(name, storage, in_one_piece(state))
            if not state.before.shape:
                self.scalars[state.before] = f"{name}.item()"
            if state.after in self.makers and state.after not in self.state_of:
                self.state_of[state.after] = state.before
        for i, setting in enumerate(program.settings):
            group = self.define(setting.group, "group")
            self.scalars[setting.var] = self.fresh(setting.var, f"lr{i}")
            self.say(f"{self.scalars[setting.var]} = {group}[{setting.key!r}]")
        for var, value in program.constants.items():
            if not var.shape:
                self.scalars[var] = number_text(value)
            else:
                array = np.ascontiguousarray(value)
                name = self.define(array)
                self.places[var] = Place(name, Storage(name, 0, True, False), True)

    def lay_out_packs(self) -> None:
        """Give the pieces of a pack their place in it: what makes them writes there at once."""
        for step in self.steps:
            if step.op != "pack":
                continue
            out = step.out
            name = self.fresh(out, "p")
            dtype = self.names_of_dtype(out.dtype)
            self.setup.append(f"{name} = zeros({out.shape}, {dtype})")
            storage = Storage(name, out.nbytes, True, False)
            self.packs[out] = Place(name, storage, True)
            for x, placement in zip(step.operands, step.settings["placements"]):
                view = self.piece_of(name, placement)
                if x in self.program.constants:
                    self.setup.append(f"copyto({view}, {self.places[x].text})")
                    self.filled.add((out, x))
                elif x in self.own and x not in self.state_of and x not in self.preplaced:
                    self.preplaced[x] = Place(view, storage, True)

    def piece_of(self, name: str, placement: Any) -> str:
        """A piece of a flat array, made once."""
        return self.once(f"{self.define(placement, 'at')}.of({name}.reshape(-1))")

    # --- operands ---------------------------------------------------------------------------

    def text(self, x: Var, dtype: Any = None) -> str:
        """The expression for an operand of an array operation."""
        if x.shape or (x in self.places and x not in self.scalars):
            return self.places[x].text
        return self.boxed(x, dtype if x.dtype is None else x.dtype)

    def boxed(self, x: Var, dtype: Any) -> str:
        """A number as a 0-d array, with which NumPy calculates faster than with a number."""
        key = (x, np.dtype(dtype))
        if key not in self.boxes:
            if x in self.program.constants:
                value = np.asarray(self.program.constants[x], dtype)
                self.boxes[key] = self.define(value, "c")
            else:
                self.boxes[key] = self.define(np.empty((), dtype), "c")
                self.say(f"{self.boxes[key]}.fill({self.scalars[x]})")
        return self.boxes[key]

    def common(self, dtypes: list[Any]) -> Any:
        """The dtype in which NumPy computes with these."""
        return np.result_type(*dtypes or [float])

    def flat(self, x: Var) -> str:
        """An array as one row."""
        place = self.places[x]
        text = f"{place.text}.reshape(-1)"
        static = place.storage is not None and place.storage.static and place.contiguous
        return self.once(text) if static else text

    # --- memory -----------------------------------------------------------------------------

    def buffer(self, var: Var, beside: tuple[Var, ...] = ()) -> Place:
        """A place for a new value: memory that nobody needs any more, or new memory."""
        for x in beside:  # in the place of an operand that is read here for the last time
            place = self.places.get(x)
            if (
                place is not None and place.storage is not None and place.storage.mine
                and place.contiguous and x.shape == var.shape and x.nbytes == var.nbytes
                and self.dies(place.storage) and place.storage.nbytes <= 2 * var.nbytes
            ):  # fmt: skip
                if x.dtype == var.dtype:
                    return Place(place.text, place.storage, True)
                return Place(self.view_as(place.storage, var), place.storage, True)
        fitting = [s for s in self.free if var.nbytes <= s.nbytes <= 2 * var.nbytes + 64]
        if fitting:
            storage = min(fitting, key=lambda s: s.nbytes)
            self.free.remove(storage)
        else:
            storage = Storage(self.fresh(prefix="b"), var.nbytes, True, True)
            self.setup.append(f"{storage.name} = empty({var.nbytes}, uint8)")
        return Place(self.view_as(storage, var), storage, True)

    def view_as(self, storage: Storage, var: Var) -> str:
        """The memory as an array of the shape and dtype of `var`."""
        dtype = self.names_of_dtype(var.dtype)
        name = self.fresh(var)
        self.setup.append(
            f"{name} = {storage.name}[:{var.nbytes}].view({dtype}).reshape({var.shape})"
        )
        return name

    def names_of_dtype(self, dtype: Any) -> str:
        """The name of a dtype in the text."""
        name = np.dtype(dtype).name
        self.names[name] = np.dtype(dtype)
        return name

    def dies(self, storage: Storage) -> bool:
        """Whether this step is the last to read the storage."""
        return storage.last <= self.now

    def put(self, var: Var, place: Place) -> None:
        """Note where a value is, and until when its memory is needed."""
        self.places[var] = place
        if place.storage is not None:
            place.storage.last = max(place.storage.last, self.last.get(var, self.now))

    def release(self, item: Step | Loop) -> None:
        """Memory that was read for the last time is free."""
        outs = [s.out for s in item.steps] if isinstance(item, Loop) else [item.out]
        for x in {*item.operands, *outs}:
            place = self.places.get(x)
            storage = place.storage if place is not None else None
            if storage is None or not storage.mine or storage in self.free:
                continue
            if self.dies(storage):
                self.free.append(storage)

    def destination(self, step: Step, beside: tuple[Var, ...] = ()) -> Place:
        """Where the result of a step goes: into the state that it replaces, if nobody reads the
        old value later; else into a buffer.
        """
        if step.out in self.preplaced:
            return self.preplaced[step.out]
        before = self.state_of.get(step.out)
        if before is not None:
            place = self.places[before]
            storage = place.storage
            assert storage is not None
            safe = all(x is before or not self.shares(x, storage) for x in step.operands)
            safe = safe and bool(beside) and self.now >= self.sure
            if safe and self.last_of(before) <= self.now:
                del self.state_of[step.out]
                return Place(place.text, storage, place.contiguous)
        if step.out in self.dedicated:
            name = self.fresh(step.out)
            self.setup.append(
                f"{name} = empty({step.out.shape}, {self.names_of_dtype(step.out.dtype)})"
            )
            return Place(name, Storage(name, step.out.nbytes, True, False), True)
        return self.buffer(step.out, beside)

    def shares(self, x: Var, storage: Storage) -> bool:
        """Whether a value lives in this storage."""
        place = self.places.get(x)
        return place is not None and place.storage is storage

    def last_of(self, before: Var) -> int:
        """The last step that reads the value that a state had before the run, or a view of it."""
        storage = self.places[before].storage
        assert storage is not None
        return max(storage.last, self.last.get(before, -1))

    # --- steps ------------------------------------------------------------------------------

    def emit_step(self, step: Step) -> None:
        """The lines of one step."""
        out = step.out
        numbers = not out.shape and all(not x.shape for x in step.operands)
        if numbers and step.op in SCALAR and by_python(step):
            self.emit_scalar(step)
        elif step.op in VIEWS and self.emit_view(step):
            pass
        elif step.op in WRITERS:
            WRITERS[step.op](self, step)
        elif step.op in UFUNCS:
            self.emit_ufunc(step)
        else:
            self.emit_call(step)
        before = self.state_of.get(out)
        if before is not None and out in self.state_of:
            self.write_state_late(out, before)

    def write_state_late(self, out: Var, before: Var) -> None:
        """The new value of a state is elsewhere: copy it when all has been computed."""
        place = self.places.get(out)
        if not out.shape:
            text = self.scalars[out] if out in self.scalars else f"{self.places[out].text}.item()"
        elif place is not None and place.storage in self.in_states:  # it may be replaced too
            text = f"{place.text}.copy()"
        else:
            self.late.append((self.places[before].text, self.places[out].text))
            return
        name = self.fresh(out, "n")
        self.say(f"{name} = {text}")
        self.late.append((self.places[before].text, name))

    def write_other_states(self) -> None:
        """The states whose new value no step has made for them alone: an input, a constant, what
        another state was before or has become.
        """
        taken: set[Var] = set()
        for state in self.program.states:
            made = state.after in self.makers and state.after not in taken
            taken.add(state.after)
            if state.after is not state.before and not made:
                self.write_state_late(state.after, state.before)

    def emit_scalar(self, step: Step) -> None:
        """A number from numbers, as Python computes it."""
        name = self.fresh(step.out, "n")
        texts = [self.scalar(x) for x in step.operands]
        self.say(f"{name} = {scalar_text(step, texts, self.program.constants)}")
        self.scalars[step.out] = name

    def scalar(self, x: Var) -> str:
        """The expression for a number."""
        if x in self.scalars:
            return self.scalars[x]
        return f"{self.places[x].text}.item()"

    def emit_view(self, step: Step) -> bool:
        """A view costs nothing, if it can be one; made once if its base is always the same."""
        (x,) = step.operands
        if not x.shape and step.op != "reshape":
            return False
        place = self.places.get(x)
        if place is None or (step.op == "reshape" and not place.contiguous):
            return False
        text = VIEWS[step.op](place.text, step)
        static = place.storage is not None and place.storage.static
        name = self.once(text) if static else self.fresh(step.out)
        if not static:
            self.say(f"{name} = {text}")
        contiguous = step.op == "reshape"
        if not step.out.shape:
            self.scalars[step.out] = f"{name}.item()"
        self.put(step.out, Place(name, place.storage, contiguous))
        return True

    def emit_ufunc(self, step: Step) -> None:
        """An elementwise operation, into a buffer."""
        known: list[Any] = [x.dtype for x in step.operands if x.dtype is not None]
        numbers = [x for x in step.operands if x.dtype is None]
        if any(type(self.program.constants.get(x, 0.0)) is float for x in numbers):
            known.append(0.0)  # a Python float makes floats of integers
        dtype = self.common(known)
        texts = [self.text(x, dtype) for x in step.operands]
        if not step.out.shape:
            self.scalars[step.out] = self.fresh(step.out, "n")
            self.say(f"{self.scalars[step.out]} = {step.op}({', '.join(texts)})")
            return
        place = self.destination(step, step.operands)
        keyword = "out=" if step.op in ("maximum", "minimum") else ""
        self.say(f"{step.op}({', '.join(texts)}, {keyword}{place.text})")
        self.put(step.out, place)

    def emit_call(self, step: Step) -> None:
        """Anything else: the function that eager code calls, with a result of its own."""
        name = self.fresh(step.out)
        function = self.define(OPS[step.op].run, step.op)
        texts = [self.value(x) for x in step.operands]
        settings = [f"{k}={self.define(v, k)}" for k, v in step.settings.items()]
        call = f"{function}({', '.join(texts + settings)})"
        arrays = [self.places[x].text for x in step.operands if x.shape]
        may_be_view = step.out.shape or step.op in VIEWS  # an array of no axes can be one too
        if step.op not in ELEMENTWISE and step.op not in REDUCTIONS and may_be_view and arrays:
            call = f"apart({', '.join([call, *arrays])})"
        self.say(f"{name} = {call}")
        self.hold(step.out, name)

    def hold(self, out: Var, name: str) -> None:
        """A result that a call has made, not in a buffer of ours."""
        if out.shape:
            self.put(out, Place(name, Storage(name, out.nbytes, False, False), False))
        else:
            self.scalars[out] = name

    def value(self, x: Var) -> str:
        """An operand of a call: an array, or a NumPy scalar of the right dtype."""
        if x.shape:
            return self.places[x].text
        if x in self.program.constants:
            return self.define(self.program.constants[x], "c")
        if x.dtype is None:
            return self.scalar(x)
        return f"{self.names_of_dtype(x.dtype)}.type({self.scalar(x)})"

    # --- the end ----------------------------------------------------------------------------

    def output(self, x: Var) -> str:
        """A value that is handed out: memory that no later run writes into."""
        if not x.shape and x in self.scalars:
            constant = isinstance(self.program.constants.get(x), np.ndarray)
            return f"{self.value(x)}.copy()" if constant else self.value(x)
        place = self.places[x]
        storage = place.storage
        if storage is None or storage.static or storage.mine or storage in self.handed_out:
            return f"{place.text}.copy()"
        self.handed_out.add(storage)
        return place.text

    def keep(self) -> list[tuple[Any, str]]:
        """(node, name of the array that is its gradient): always the same array."""
        kept: list[tuple[Any, str]] = []
        taken: set[str] = set()
        for k in self.program.kept:
            if k.var is None:
                kept.append((k.node, ""))
                continue
            place = self.places.get(k.var)
            storage = place.storage if place is not None else None
            own = storage is not None and storage.static and k.var in self.makers
            own = own and not (storage.mine or storage in self.in_states)  # type: ignore[union-attr]
            if own and place is not None and place.text not in taken:
                kept.append((k.node, place.text))
                taken.add(place.text)
                continue
            dtype = self.names_of_dtype(k.var.dtype)
            name = self.once(f"empty({k.var.shape}, {dtype})", "g")
            source = place.text if place is not None else self.scalars[k.var]
            self.say(f"copyto({name}, {source})")
            kept.append((k.node, name))
            taken.add(name)
        return kept


def in_one_piece(state: State) -> bool:
    """Whether the elements of a state follow each other in memory, as the text may count on."""
    if not isinstance(state.node, (Node, AttributeOf)):
        return True  # a gradient, or parameters in one array: in memory of our own
    return bool(state.node.array.flags.c_contiguous)


def apart(y: Any, *operands: Any) -> Any:
    """y, or a copy if it is a view of an operand: that memory is soon written again."""
    return y.copy() if any(np.may_share_memory(y, x) for x in operands) else y


# --- order and liveness -----------------------------------------------------------------------


def assumptions_first(program: Program) -> list[Step]:
    """The steps, those that the assumptions rest on in front: they are checked before any write."""
    needed = {a.var for a in program.assumptions}
    if not needed:
        return list(program.steps)
    while True:
        for step in reversed(program.steps):
            if step.out in needed:
                needed.update(step.operands)
        draws = [i for i, s in enumerate(program.steps) if s.op == "draw" and s.out in needed]
        before = program.steps[: draws[-1]] if draws else []
        others = {s.out for s in before if s.op == "draw"} - needed
        if not others:
            break
        needed |= others  # draws keep their order among themselves
    first = [s for s in program.steps if s.out in needed]
    return first + [s for s in program.steps if s.out not in needed]


def made_by(item: Step | Loop) -> set[Var]:
    """The values that a step or the steps of a loop make."""
    return {s.out for s in item.steps} if isinstance(item, Loop) else {item.out}


def last_reads(program: Program, steps: list[Step | Loop]) -> dict[Var, int]:
    """The number of the last step that reads each value; FOREVER if somebody reads it after."""
    last: dict[Var, int] = {}
    for i, step in enumerate(steps):
        for x in step.operands:
            last[x] = i
    after = [s.after for s in program.states if s.after is not s.before]
    for x in [*program.outputs, *after, *(k.var for k in program.kept if k.var is not None)]:
        last[x] = FOREVER
    return last


def number_text(value: Any) -> str:
    """A constant number as Python writes it."""
    number = value.item() if isinstance(value, (np.generic, np.ndarray)) else value
    if isinstance(number, float) and not math.isfinite(number):
        return {math.inf: "inf", -math.inf: "(-inf)"}.get(number, "nan")
    text = repr(number)
    return f"({text})" if text[0] == "-" else text


LIBRARY: dict[str, Any] = {
    **UFUNCS, "add_at": table.add_at, "dot": np.dot, "vdot": np.vdot, "matmul": np.matmul,
    "copyto": np.copyto, "empty": np.empty, "zeros": np.zeros, "apart": apart, "single": np.float32,
    "uint8": np.uint8, "inf": math.inf, "nan": math.nan, "Doubt": Doubt, "einsum": np.einsum,
    "concatenate": np.concatenate, "stack": np.stack, "broadcast_to": np.broadcast_to,
    "msqrt": math.sqrt,
    "sliding_window_view": np.lib.stride_tricks.sliding_window_view,
}  # fmt: skip
