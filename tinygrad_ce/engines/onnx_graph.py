"""A program as a graph of ONNX, opset 21: values have names, steps are nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from tinygrad_ce.engines.batches import ExportError, Size, where
from tinygrad_ce.program.ir import Program, Step, Var

OPSET = 21
FLOATS = (np.dtype(np.float32), np.dtype(np.float16))  # what kernels of convolutions are there for
ALL = 2**62  # an end beyond every axis
Rule = Callable[["Graph", Step], str]


class Graph:
    """Writes the nodes of a program, one step after the other.

    `rules[op]` gives the name of what a step makes.
    """

    def __init__(
        self, program: Program, weights: dict[Var, tuple[str, Any]], rules: dict[str, Rule]
    ) -> None:
        self.program, self.rules = program, rules
        self.makers = program.makers()
        self.nodes: list[Any] = []
        self.initial: dict[str, np.ndarray] = {}
        self.names: dict[Var, str] = {}
        self.seen: dict[Any, str] = {}
        self.taken: set[str] = set()
        self.refused: dict[Var, ExportError] = {}
        self.turned: dict[str, tuple[str, Sequence[int]]] = {}
        self.laid: dict[str, str] = {}
        for x in program.inputs:
            self.names[x] = self.free(x.name or "input")
        for x, (name, value) in weights.items():
            self.names[x] = self.free(name)
            self.initial[self.names[x]] = value

    def free(self, name: str) -> str:
        """The name, or with a number behind it where it is taken."""
        free, k = name, 1
        while free in self.taken:
            free, k = f"{name}_{k}", k + 1
        self.taken.add(free)
        return free

    def write(self, step: Step, refused: dict[str, str]) -> None:
        """The nodes of a step, or the reason why there are none."""
        try:
            if step.op in refused:
                self.refuse(step, refused[step.op])
            self.names[step.out] = self.rules[step.op](self, step)
        except ExportError as error:
            self.refused[step.out] = error  # of a convolution nobody reads the columns

    def refuse(self, step: Step, why: str) -> NoReturn:
        """Stop at a step that no rule can write, as soon as somebody reads it."""
        raise ExportError(f"export: {step.op}{where(step)}: {why}")

    # --- nodes ----------------------------------------------------------------------------------

    def node(self, kind: str, *given: str, **settings: Any) -> str:
        """The name of what a node makes; a node that is there already is not made again."""
        from onnx import helper

        key = kind, given, repr(sorted(settings.items()))
        if key not in self.seen:
            name = self.seen[key] = self.free(f"{kind}_{len(self.nodes)}")
            self.nodes.append(helper.make_node(kind, [*given], [name], name=name, **settings))
        return self.seen[key]

    def array(self, value: Any, dtype: Any = None) -> str:
        """The name of a constant."""
        value = np.asarray(value, dtype)
        key = value.dtype.str, value.shape, value.tobytes()
        if key not in self.seen:
            name = self.seen[key] = self.free(f"constant_{len(self.seen)}")
            self.initial[name] = value
        return self.seen[key]

    def integers(self, values: Any) -> str:
        """A list of integers, of which some may follow the batch."""
        if not any(isinstance(v, Size) for v in values):
            return self.array([int(v) for v in values], np.int64)
        return self.node("Concat", *(self.size(v) for v in values), axis=0)

    def size(self, s: int) -> str:
        """A size, as a tensor of one integer."""
        if not isinstance(s, Size):
            return self.array([int(s)], np.int64)
        x, axis = self.batch()
        y = self.node("Shape", self.names[x], start=axis, end=axis + 1)
        if s.a != 1:
            y = self.node("Mul", y, self.array([s.a], np.int64))
        return y if not s.c else self.node("Add", y, self.array([s.c], np.int64))

    def batch(self) -> tuple[Var, int]:
        """An input and the axis of it that is the batch."""
        return next((x, x.shape.index(n)) for x in self.program.inputs for n in x.shape
                    if isinstance(n, Size) and (n.a, n.c) == (1, 0))  # fmt: skip

    def shape(self, sizes: Sequence[int]) -> str:
        """A shape to reshape to: one size that follows the batch is what is left."""
        free = [n for n in sizes if isinstance(n, Size)]
        if len(free) == 1 and 0 not in map(int, sizes):
            return self.array([-1 if isinstance(n, Size) else n for n in sizes], np.int64)
        return self.integers(sizes)

    # --- values ---------------------------------------------------------------------------------

    def of(self, x: Var, dtype: Any = None) -> str:
        """The name of a value, in a dtype if one is given."""
        if x in self.refused:
            raise self.refused[x]
        if x in self.program.constants:
            return self.array(self.program.constants[x], x.dtype if dtype is None else dtype)
        return self.cast(self.names[x], self.dtype(x), dtype)

    def dtype(self, x: Var) -> Any:
        """The dtype of a value; of a number of Python's, what it has in an array."""
        if x.dtype is not None:
            return x.dtype
        return np.asarray(self.program.constants.get(x, 0.0)).dtype

    def cast(self, name: str, old: Any, new: Any) -> str:
        """A value in another dtype."""
        from onnx import helper

        if new is None or np.dtype(old) == np.dtype(new):
            return name
        return self.node("Cast", name, to=int(helper.np_dtype_to_tensor_dtype(np.dtype(new))))

    def maker(self, x: Var, op: str) -> Step | None:
        """The step that makes a value, if it is of this kind."""
        step = self.makers.get(x)
        return step if step is not None and step.op == op else None

    # --- what rules use -------------------------------------------------------------------------

    def transpose(self, name: str, axes: Sequence[int]) -> str:
        """A value with its axes in another order."""
        if name in self.turned:  # a transpose of a transpose is one
            name, before = self.turned[name]
            axes = [before[a] for a in axes]
        if [*axes] == sorted(axes):
            return name
        y = self.node("Transpose", name, perm=[*axes])
        self.turned[y] = name, axes
        return y

    def reshape(self, name: str, sizes: Sequence[int]) -> str:
        """A value in another shape."""
        name = self.laid.get(name, name)  # of a reshape only the last counts
        zeros = {"allowzero": 1} if 0 in sizes else {}
        y = self.node("Reshape", name, self.shape(sizes), **zeros)
        self.laid[y] = name
        return y

    def unsqueeze(self, name: str, *axes: int) -> str:
        """A value with new axes of size 1."""
        return self.node("Unsqueeze", name, self.integers(axes)) if axes else name

    def squeeze(self, name: str, *axes: int) -> str:
        """A value without some axes of size 1."""
        return self.node("Squeeze", name, self.integers(axes)) if axes else name

    def slices(self, name: str, parts: dict[int, slice]) -> str:
        """A value cut along axes."""
        parts = {axis: part for axis, part in parts.items() if part != slice(None)}
        if not parts:
            return name
        starts, ends, steps = [], [], []
        for part in parts.values():
            step = 1 if part.step is None else part.step
            starts.append((0 if step > 0 else ALL) if part.start is None else part.start)
            ends.append((ALL if step > 0 else -ALL) if part.stop is None else part.stop)
            steps.append(step)
        return self.node("Slice", name, *map(self.integers, (starts, ends, [*parts], steps)))


WIDE = {np.dtype(t): np.dtype(np.int32) for t in (np.bool_, np.int8, np.int16, np.uint8)}


def wide(dtype: Any) -> Any:
    """The dtype to compute in, for there are few kernels of small integers and truth values."""
    return WIDE.get(np.dtype(dtype), np.dtype(dtype))
