"""The lines of a function, by a plan of its memory: names, expressions for values, the end.

What does not change from run to run is made once, before the first run: buffers, constants, the
views of both. A line of the function is then one NumPy call that writes into memory (`out=`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.program.emit.memory import Memory, Place, Plan
from tinygrad_ce.program.emit.numbers import constant_text
from tinygrad_ce.program.ir import Step, Var
from tinygrad_ce.program.ops import UFUNCS


class GuardFailure(Exception):  # noqa: N818
    """An assumption of the program does not hold for these arguments. Nothing was written."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Emitted(NamedTuple):
    """The text of the function, and what its names stand for."""

    source: str
    names: dict[str, Any]
    state_names: list[tuple[str, Any]]


class Printer:
    """Writes the function, line by line."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.program = program = plan.program
        self.setup: list[str] = []
        self.lines: list[str] = []
        self.names: dict[str, Any] = dict(LIBRARY)
        self.numbers: dict[Var, str] = {}
        self.texts: dict[Any, str] = {}  # of places, and of what is the same in them
        self.count = 0
        self.arguments = [self.fresh(x, "x") for x in program.inputs]
        self.state_names = [(self.fresh(s.before, "s"), s.node) for s in program.states]
        for x, name in zip(program.inputs, self.arguments):
            if x.scalar:
                self.numbers[x] = name
            else:
                self.texts[plan.places[x]] = name
        for state, (name, _) in zip(program.states, self.state_names):
            self.texts[plan.places[state.before]] = name
        for setting in program.settings:
            self.numbers[setting.var] = self.fresh(setting.var)
            group = self.define(setting.group, "group")
            self.line(f"{self.numbers[setting.var]} = {group}[{setting.key!r}]")
        constants = program.constants.items()
        self.numbers.update((x, constant_text(v)) for x, v in constants if not x.shape)

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

    def shared(self, value: Any, prefix: str = "c") -> str:
        """A name for a constant array, the same name for the same array."""
        key = (value.dtype.str, value.shape, value.tobytes() if value.size else b"")
        if key not in self.texts:
            self.texts[key] = self.define(value, prefix)
        return self.texts[key]

    def hoist(self, text: str, prefix: str = "v", var: Var | None = None) -> str:
        """A name for what is computed once, before the first run."""
        key = text, var and var.name
        if key not in self.texts:
            self.texts[key] = self.fresh(var, prefix)
            self.setup.append(f"{self.texts[key]} = {text}")
        return self.texts[key]

    def line(self, line: str) -> None:
        """A line of the function."""
        self.lines.append(line)

    def dtype(self, dtype: Any) -> str:
        """The name of a dtype."""
        name = np.dtype(dtype).name
        self.names[name] = np.dtype(dtype)
        return name

    # --- values -----------------------------------------------------------------------------

    def at(self, x: Var) -> str:
        """The expression for the array of a value."""
        place = self.plan.places[x]
        if place not in self.texts:
            self.texts[place] = self.text(x, place)
        return self.texts[place]

    def text(self, x: Var, place: Place) -> str:
        """The same, for the first time."""
        memory = place.memory
        if place.view is not None:
            base = self.at(place.view.operands[0])
            text = view_text(base, place.view)
            if place.static:
                return self.hoist(text, stem(base), x)
            name = self.fresh(x, stem(base))
            self.line(f"{name} = {text}")
            return name
        if memory.kind == "constant":
            return self.shared(np.ascontiguousarray(self.program.constants[x]))
        whole = self.memory(memory)
        if place.piece is not None:
            end = place.piece.end
            row = f"{whole}[{place.piece.offset}:{end}]"
            return self.hoist(f"{row}.reshape({x.shape})", stem(whole), x)
        if memory.kind == "own":
            return whole
        some = "" if memory.nbytes == x.nbytes else f"[:{x.nbytes}]"
        return self.hoist(f"{whole}{some}.view({self.dtype(x.dtype)}).reshape({x.shape})", "t", x)

    def memory(self, memory: Memory) -> str:
        """The name of memory that is made before the first run."""
        if memory not in self.texts:
            of, text = memory.of, f"empty({memory.nbytes}, uint8)"
            if memory.kind == "own":
                text = f"zeros({of.shape}, {self.dtype(of.dtype)})"
            name = self.texts[memory] = self.fresh(of if memory.kind == "own" else None, "b")
            self.setup.append(f"{name} = {text}")
        return self.texts[memory]

    def hold(self, x: Var, name: str) -> None:
        """Note the name of an array that a line has made, or of a number."""
        if x.shape:
            self.texts[self.plan.places[x]] = name
        else:
            self.numbers[x] = name

    def number(self, x: Var) -> str:
        """The expression for a number."""
        return self.numbers[x] if x in self.numbers else f"{self.at(x)}.item()"

    def operand(self, x: Var, dtype: Any = None) -> str:
        """A value in an operation on arrays. A number is a 0-d array, with which NumPy calculates
        faster.
        """
        if x.shape:
            return self.at(x)
        dtype = np.dtype(dtype if x.dtype is None else x.dtype)
        if x in self.program.constants:
            return self.shared(np.asarray(self.program.constants[x], dtype))
        if (x, dtype) not in self.texts:
            self.texts[x, dtype] = self.define(np.empty((), dtype))
            self.line(f"{self.texts[x, dtype]}.fill({self.number(x)})")
        return self.texts[x, dtype]

    def operands(self, step: Step, at: Callable[[Var], str] | None = None) -> list[str]:
        """All operands of an operation on arrays, numbers in the dtype that NumPy computes in;
        `at` says where arrays are.
        """
        known: list[Any] = [x.dtype for x in step.operands if x.dtype is not None]
        numbers = [x for x in step.operands if x.dtype is None]
        if any(type(self.program.constants.get(x, 0.0)) is float for x in numbers):
            known.append(0.0)  # a Python float makes floats of integers
        dtype = np.result_type(*known or [float])
        at = at or self.at
        return [at(x) if x.shape else self.operand(x, dtype) for x in step.operands]

    def value(self, x: Var) -> str:
        """A value as eager code has it: an array, or a NumPy scalar of the right dtype."""
        if x.shape:
            return self.at(x)
        if x in self.program.constants:
            return self.define(self.program.constants[x])
        if x.dtype is None:
            return self.number(x)
        return f"{self.dtype(x.dtype)}.type({self.number(x)})"

    def view(self, x: Var, how: str) -> str:
        """`x.how`: made once, if x is always there, and this no copy."""
        place, base = self.plan.places[x], self.at(x)
        is_view = place.contiguous or not how.startswith("reshape")
        text = f"{base}.{how}"
        return self.hoist(text, stem(base)) if place.static and is_view else text

    def row(self, x: Var) -> str:
        """An array as one row."""
        return self.view(x, "reshape(-1)")

    # --- the end ----------------------------------------------------------------------------

    def finish(self) -> Emitted:
        """The function: gradients, what is returned, and the states that are written last."""
        outputs: list[Memory] = []
        results = "".join(self.output(x, outputs) + ", " for x in self.program.outputs)
        self.names["GRADS"] = self.grads()
        copies = self.states()
        if copies:  # what is returned may be the value that a state had before
            self.line(f"results = ({results})")
        self.lines += copies
        self.line("return results" if copies else f"return ({results})")
        body = "\n    ".join(self.lines)
        function = f"def run({', '.join(self.arguments)}):\n    {body}\n"
        setup = "\n".join(self.setup)
        return Emitted(f"{setup}\n\n{function}", self.names, self.state_names)

    def output(self, x: Var, handed_out: list[Memory]) -> str:
        """A value that is handed out: memory that no later run writes into."""
        if not x.shape and (x in self.numbers or x not in self.plan.places):
            constant = isinstance(self.program.constants.get(x), np.ndarray)
            return f"{self.value(x)}.copy()" if constant else self.value(x)
        memory = self.plan.places[x].memory
        if memory.kind != "call" or memory in handed_out:
            return f"{self.at(x)}.copy()"
        handed_out.append(memory)
        return self.at(x)

    def grads(self) -> list[tuple[Any, str]]:
        """(node, name of the array that is its gradient): always the same array."""
        grads: list[tuple[Any, str]] = []
        taken: set[str] = set()
        for k in self.program.grads:
            if k.var is None:
                grads.append((k.node, ""))
                continue
            place = self.plan.places.get(k.var)
            if place is not None and place.memory.kind == "own":
                root = self.at(self.plan.unshaped(k.var))  # pieces of no elements may be one array
                if root not in taken:
                    taken.add(root)
                    grads.append((k.node, self.at(k.var)))
                    continue
            name = self.fresh(k.var, "g")
            self.setup.append(f"{name} = empty({k.var.shape}, {self.dtype(k.var.dtype)})")
            source = self.number(k.var) if place is None else self.at(k.var)
            self.line(f"copyto({name}, {source})")
            grads.append((k.node, name))
        return grads

    def states(self) -> list[str]:
        """The lines that copy new values into the states that are not written in their place."""
        copies = []
        for state in self.program.states:
            here, place = self.plan.places[state.before], self.plan.places.get(state.after)
            if place is here:
                continue
            source = self.number(state.after) if not state.after.shape else self.at(state.after)
            if place is not None and place.memory.kind == "state":  # it may be replaced too
                name = self.fresh(state.after, "n")
                self.line(f"{name} = {source}{'.copy()' if state.after.shape else ''}")
                source = name
            copies.append(f"copyto({self.texts[here]}, {source})")
        return copies


def stem(name: str) -> str:
    """A name without its number: what is seen through a view is called the same."""
    return name.rpartition("_")[0]


def view_text(x: str, step: Step) -> str:
    """A view as one writes it."""
    s = step.attrs
    if step.op == "flat_slice":
        return f"{x}[{s['piece'].offset}:{s['piece'].end}].reshape({s['piece'].shape})"
    if step.op == "slice":  # x[0] of a row is a copy, x[0, ...] a view that sees what is written
        full = step.out.shape or any(part is Ellipsis for part in s["index"])
        return f"{x}[{index_text((*s['index'], *(() if full else (Ellipsis,))))}]"
    if step.op == "windows":
        return f"sliding_window_view({x}, {s['window']}, {s['axes']})"
    return f"{x}.{step.op}({s['shape' if step.op == 'reshape' else 'axes']})"


def index_text(index: tuple[Any, ...]) -> str:
    """An index as one writes it: 1:3, None, ..."""
    parts = []
    for part in index:
        if isinstance(part, slice):
            ends = ["" if b is None else str(b) for b in (part.start, part.stop)]
            parts.append(":".join(ends) + (f":{part.step}" if part.step is not None else ""))
        else:
            parts.append("..." if part is Ellipsis else repr(part))
    return (", ".join(parts) + ("," if len(parts) == 1 else "")) or "()"


def copy_if_aliased(y: Any, *operands: Any) -> Any:
    """y, or a copy if it is a view of an operand: that memory is soon written again."""
    return y.copy() if any(np.may_share_memory(y, x) for x in operands) else y


LIBRARY: dict[str, Any] = {
    **UFUNCS, "add_at": table.add_at, "dot": np.dot, "vdot": np.vdot, "matmul": np.matmul,
    "copyto": np.copyto, "empty": np.empty, "zeros": np.zeros,
    "copy_if_aliased": copy_if_aliased, "single": np.float32, "uint8": np.uint8, "inf": math.inf,
    "nan": math.nan, "einsum": np.einsum, "GuardFailure": GuardFailure,
    "concatenate": np.concatenate, "stack": np.stack, "msqrt": math.sqrt,
    "sliding_window_view": np.lib.stride_tricks.sliding_window_view,
}  # fmt: skip
