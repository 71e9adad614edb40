"""export(): a model as a file that runs without this library."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import numpy as np

from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.modes import no_grad
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.engines.batches import RANDOM, ExportError, far_from, where, with_free_batch
from tinygrad_ce.engines.masks import choice
from tinygrad_ce.nn.module import Module
from tinygrad_ce.program.ir import Line, Program, State, Var
from tinygrad_ce.program.passes.exact import PLAIN, sweep, without_dead_steps
from tinygrad_ce.program.tracing.arguments import argument_names
from tinygrad_ce.program.tracing.symbol import is_users
from tinygrad_ce.program.tracing.trace import (
    OutputSlot,
    Trace,
    check_function,
    mapped,
    trace_call,
)
from tinygrad_ce.serialization import checked_target, write_whole

VIEWED = {"reshape", "transpose"}  # conv2d is known by them: they are merged as they are written
tidied_to_export = sweep("tidied_to_export", choice, *(r for r in PLAIN if not r.ops & VIEWED))
NEEDED = {".onnx": ("onnx", "onnxruntime"), ".stablehlo": ("jax", "flatbuffers")}
NEAR = 1e-3  # of the largest element: what another order of additions may do to float32


def export(
    model: Callable[..., Any],
    x: Any,
    path: Any,
    batch: str | Mapping[str, int | None] | None = "batch",
) -> None:
    """Write a model to a file that other programs run: `.onnx` (opset 21) or `.stablehlo`.

    `x` is an example of the model's argument, a tuple of them if it takes several; what the model
    computes from it is traced. In the file parameters have their names in the model, inputs those
    of its arguments. Inputs whose first axis is as long as that of the first input follow the
    batch, whose axis is called `batch`; `batch=None` keeps the example's size, and
    `batch={"x": 1, "p": None}` says for arguments by name which axis is the batch: those with None
    or without a word keep their size. The model is traced with 4, 5, 7 and 1000 rows (fewer of a
    large model; 2 or 3 and one more for an example of so few), and what follows them otherwise
    than a·batch + c is refused. A branch on `len(x)` that none of these numbers takes, nor those
    below, is not seen: the file does without it.

    An ONNX file is checked with onnx.checker, and run with onnxruntime on 1, 2, 3 and the
    example's number of rows (6 if that was traced); the result has to be the model's. A
    StableHLO file is what jax.export serialises, for cpu, cuda and tpu, and is run as well:
    `jax.export.deserialize(content).call(x)`. Either is written whole or not at all. That numbers
    are finite, and ids in their range, is taken for granted.

    The model is exported in the mode that it is in: one that draws random numbers or changes its
    buffers in training mode is refused with the line and `model.eval()`. Raises ExportError, a
    ValueError, for what a file cannot hold, TraceError for what cannot be traced, ImportError
    where onnx, onnxruntime or jax is not installed.

    >>> import os, tempfile
    >>> import onnxruntime
    >>> import tinygrad_ce as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> export(tg.nn.Sequential(tg.nn.Flatten(), tg.nn.Linear(4, 2)), tg.ones(3, 2, 2), path)
    >>> session = onnxruntime.InferenceSession(path)
    >>> session.run(None, {"input": tg.ones(7, 2, 2).numpy()})[0].shape
    (7, 2)
    """
    check_function(model, "export")
    target = checked_target(path, "export")
    suffix = next((s for s in NEEDED if target.endswith(s)), None)
    if suffix is None:
        raise ValueError(f"export: {path} has no known ending; wanted .onnx or .stablehlo")
    if isinstance(batch, Mapping):
        if not all(v is None or type(v) is int for v in batch.values()):
            raise TypeError(
                f"export: got batch={batch!r}; wanted an axis or None for each name of an argument"
            )
    elif batch is not None and (not isinstance(batch, str) or not batch.isidentifier()):
        raise TypeError(
            f"export: got batch={batch!r}; wanted the name of an axis, None, or a dict of the axis "
            "of each argument by its name"
        )
    for name in NEEDED[suffix]:
        try:
            import_module(name)
        except ImportError as error:
            extra = suffix[1:].replace("stablehlo", "jax")
            raise ImportError(
                f"export: a {suffix} file needs {name}: pip install 'tinygrad_ce[{extra}]'"
            ) from error
    exported = Exported(model, x if type(x) is tuple else (x,), batch)
    write_whole(target, exported.onnx() if suffix == ".onnx" else exported.stablehlo(), "export")


class Exported:
    """A model, its example, and its program for any number of rows."""

    def __init__(
        self, model: Any, examples: tuple[Any, ...], batch: str | Mapping[str, int | None] | None
    ) -> None:
        self.model, self.examples = model, examples
        self.batch = batch if isinstance(batch, str) or batch is None else "batch"
        self.axes: list[int | None] | None = None  # of each argument, if these are told
        self.rows: int | None
        if isinstance(batch, Mapping):
            self.axes = axes_of(batch, argument_names(called(model), len(examples)))
            self.rows = rows_along(examples, self.axes)
        else:
            self.rows = first_axis(examples) if batch is not None else None
        if self.rows is None:
            if batch is not None:
                raise ExportError(
                    "export: the first input has no axis that could be the batch; pass batch=None, "
                    'or the axis of another by its name, batch={"x": 0}'
                )
            self.tried: tuple[int | None, ...] = (None,)
            traces = [self.trace(None)]
            self.program = inference(traces[0])
        else:
            m = max(2, min(self.rows, 4))  # no axis of size 1
            first = self.trace(m)
            counts = (m, m + 1, 7, far_from(m, first.program))
            traces = [first, *map(self.trace, counts[1:])]
            self.program = with_free_batch([inference(trace) for trace in traces], counts)
            few = sorted({1, 2, 3}.difference(counts))
            self.tried = (*few, self.rows if self.rows not in (*few, *counts) else m + 2)
        self.outputs = list(outputs_of(traces[0]))
        if any(list(outputs_of(trace)) != self.outputs for trace in traces):
            raise ExportError(
                "export: how many tensors the model returns goes by the number of rows; wanted the "
                "same for each batch, or batch=None"
            )
        self.program = tidied_to_export(self.program)

    def trace(self, rows: int | None) -> Trace:
        """What the model does with so many rows; with those of the example if it is None."""
        call = called(self.model)
        examples = [
            mapped(lambda v: self.with_rows(v, axis, rows), x)  # noqa: B023 - is called at once
            for x, axis in zip(self.examples, self.axes or [0] * len(self.examples))
        ]
        try:
            # nobody wants to hear that numbers overflow which were made up
            made_up = {} if rows in (None, self.rows) else {"all": "ignore"}
            with no_grad(), np.errstate(**made_up):  # type: ignore[arg-type]
                return trace_call(call, tuple(examples), {})
        except (TypeError, ValueError, LookupError, ArithmeticError) as error:
            if rows is None or rows == self.rows:
                raise
            self.trace(None)  # an error of the model's own speaks for itself
            raise ExportError(
                f"export: with {rows} rows, instead of the example's {self.rows}, the model raises "
                f"{type(error).__name__}{line_of(error)}: {error}. {self.following()}"
            ) from error

    def with_rows(self, x: Any, axis: int | None, rows: int | None) -> Any:
        """A part of an argument with so many rows, those of the example in turn, if it follows
        the batch along this axis.
        """
        array = x.array if isinstance(x, Node) else x
        if not isinstance(array, np.ndarray):
            return x
        follows = self.axes is not None or array.shape[:1] == (self.rows,)
        if rows is not None and self.rows and axis is not None and follows:
            array = array.take(np.arange(rows) % self.rows, axis)
        return leaf(array.copy()) if isinstance(x, Node) else array.copy()

    def following(self) -> str:
        """Which inputs follow the batch, and what to write where that is wrong."""
        if self.axes is not None:
            return "Leave out of batch what keeps its size, or pass batch=None"
        return (
            f"All inputs whose first axis has {self.rows} rows follow the batch: take an example "
            "whose number of rows is no other size, or pass batch=None, or the axes by name: "
            'batch={"x": 0, "table": None}'
        )

    def onnx(self) -> bytes:
        """The bytes of the ONNX file, checked."""
        from tinygrad_ce.engines import onnx_file

        names = {}
        if isinstance(model := inspect.unwrap(self.model), Module):
            named = [*model.named_parameters(), *model.named_buffers()]
            names = {id(tensor): name for name, tensor in reversed(named)}
        outputs = [(name, self.program.outputs[i]) for name, i in self.outputs]
        content: bytes = onnx_file.model_of(
            self.program, names, outputs, self.batch
        ).SerializeToString()
        self.check(lambda arrays: onnx_file.run(content, arrays))
        return content

    def stablehlo(self) -> bytes:
        """The bytes of the StableHLO file."""
        from tinygrad_ce.engines import stablehlo

        outputs = [self.program.outputs[i] for _, i in self.outputs]
        content = stablehlo.serialized(self.program, outputs, self.batch)
        self.check(lambda arrays: stablehlo.run(content, arrays))
        return content

    def check(self, run: Callable[[list[Any]], Sequence[Any]]) -> None:
        """Compare what a file computes with the model: for a row, and for the example's rows or
        other ones, if it was traced with these.
        """
        for rows in self.tried:
            self.compare(run, rows)

    def compare(self, run: Callable[[list[Any]], Sequence[Any]], rows: int | None) -> None:
        """Compare both on so many rows of the example."""
        try:
            trace = self.trace(rows)
        except ExportError:
            return  # a model that takes no single row
        program = trace.program
        try:
            got = run([program.example[x] for x in program.inputs])
        except Exception as error:  # each engine has its own
            self.fails(rows, "fail", str(error).partition("\n")[0], error)
        for (name, i), y in zip(outputs_of(trace), got):
            if problem := difference(np.asarray(trace.found[program.outputs[i]]), y):
                self.fails(rows, f"give another {name} than the model", problem)

    def fails(self, rows: int | None, what: str, why: str, cause: Any = None) -> NoReturn:
        """Refuse a file that does not do what the model does."""
        of = "" if rows is None else f" of {rows} row{'s' * (rows > 1)}"
        raise ExportError(
            f"export: for a batch{of} the file would {what}: {why}. Leave out what goes by the "
            "number of rows (squeeze() without a dim, a branch on len(x)), or pass batch=None"
        ) from cause


def called(model: Any) -> Callable[..., Any]:
    """The model, its results as values of their own, with the names of its arguments."""

    def call(*args: Any) -> Any:
        return mapped(lambda v: v.clone() if isinstance(v, Tensor) else v, model(*args))

    inner: Any = inspect.unwrap(model)  # what tg.compile was given
    call.__wrapped__ = inner.forward if isinstance(inner, Module) else inner  # type: ignore[attr-defined]
    call.__name__ = getattr(model, "__name__", type(model).__name__)
    return call


def arrays_in(x: Any) -> Iterator[Any]:
    """The Tensors and arrays in an argument."""
    found: list[Any] = []
    mapped(found.append, x)
    return (v for v in found if isinstance(v, (Node, np.ndarray)))


def first_axis(examples: tuple[Any, ...]) -> int | None:
    """How many rows the first input has."""
    first = next(arrays_in(list(examples)), None)
    return int(first.shape[0]) if first is not None and first.ndim and first.shape[0] else None


def axes_of(batch: Mapping[str, int | None], names: list[str]) -> list[int | None]:
    """The axis of each argument that is the batch, or None."""
    for name in batch.keys() - set(names):
        raise ValueError(
            f"export: batch names {name!r}, and the arguments are {', '.join(names)}; wanted the "
            "axis of some of them"
        )
    axes = [batch.get(name) for name in names]
    if axes.count(None) == len(axes):
        raise ValueError("export: batch gives no argument an axis; pass batch=None for that")
    return axes


def rows_along(examples: tuple[Any, ...], axes: list[int | None]) -> int:
    """How many rows the arguments have along their axes: all the same, and one at least."""
    pairs = [(v, a) for x, a in zip(examples, axes) if a is not None for v in arrays_in(x)]
    for array, axis in pairs:
        if not -array.ndim <= axis < array.ndim:
            raise ValueError(
                f"export: batch gives axis {axis} to an argument of shape {tuple(array.shape)}"
            )
    counts = {int(v.shape[a]) for v, a in pairs}
    if len(counts) != 1 or counts == {0}:
        shapes = ", ".join(f"axis {axis} of {tuple(array.shape)}" for array, axis in pairs)
        raise ValueError(
            f"export: batch gives {shapes or 'an axis to no array'}; wanted as many rows, one at "
            "least, along each"
        )
    return counts.pop()


def line_of(error: BaseException) -> str:
    """The user's line that raised."""
    lines = [
        f" ({Line(frame.f_code.co_filename, number, frame.f_code.co_name)})"
        for frame, number in traceback.walk_tb(error.__traceback__)
        if is_users(frame)
    ]
    return lines[-1] if lines else ""


def inference(trace: Trace) -> Program:
    """The program without what only a run in this library can do, or ExportError."""
    program = trace.program
    makers = program.makers()

    def at(x: Var | None) -> str:
        return where(makers[x]) if x is not None and x in makers else ""

    for state in program.states:
        if state.after is not state.before:
            raise ExportError(
                f"export: the model changes {said(state)}{at(state.after)}, which a file cannot; "
                "call model.eval() first"
            )
    for grad in program.grads:
        raise ExportError(
            f"export: the model sets the .grad of a tensor of shape {tuple(grad.node.shape)}"
            f"{at(grad.var)}, which a file cannot; return the gradient"
        )
    for place, number in trace.written:
        raise ExportError(
            f"export: the model writes into its argument {place.path}"
            f"{at(program.outputs[number])}, which a file cannot; return x.clone() with the values"
        )
    for step in program.steps:
        if step.op == "draw":
            raise ExportError(f"export: draw{where(step)}: {RANDOM}")
    program.assumptions = []
    program.gradient_of = {}
    return without_dead_steps(program)


def said(state: State) -> str:
    """A state, by its name if it has one."""
    return state.before.name or f"a tensor of shape {tuple(state.before.shape)}"


def outputs_of(trace: Trace) -> Iterator[tuple[str, int]]:
    """What each output is called, and where it is among those of the program."""
    single = isinstance(trace.structure, OutputSlot)
    taken: list[str] = []
    for path, part in parts_of(trace.structure, ()):
        if part is None:
            continue
        if not isinstance(part, OutputSlot):
            raise ExportError(
                f"export: the model returns {a_type(part)}; wanted Tensors, or tuples, lists and "
                "dicts of them"
            )
        keys = [k for k in path if isinstance(k, str)]
        name = "output" if single else ".".join(keys) or f"output{len(taken)}"
        taken.append(name)
        yield name, part.number
    if not taken:
        raise ExportError("export: the model returns no Tensor; return what a file should compute")


def parts_of(structure: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """What stands at each place of what a function returned."""
    if isinstance(structure, dict):
        pairs = list(structure.items())
    elif isinstance(structure, (tuple, list)):
        pairs = list(enumerate(structure))
    else:
        yield path, structure
        return
    for key, part in pairs:
        yield from parts_of(part, (*path, key))


def difference(want: np.ndarray, got: Any) -> str:
    """In what two results differ; "" if only in how they are rounded."""
    if want.shape != got.shape or want.dtype != got.dtype:
        return f"{got.dtype} {got.shape} instead of {want.dtype} {want.shape}"
    if not want.size:
        return ""
    a, b = (v.astype(np.float64) for v in (want, got))
    size = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    near = NEAR * (10 if want.dtype == np.float16 else 1) * max(size, 1e-6)
    alike = np.isclose(b, a, rtol=0, atol=near, equal_nan=True).mean()
    return "" if alike >= ALIKE else f"{1 - alike:.0%} of its elements differ"


ALIKE = 0.98  # of all elements: a value on the edge of rounding may fall to the other side
