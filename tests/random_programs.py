"""Random programs as plain text that tinygrad_ce and PyTorch both run: made, run, compared, shrunk.

A program is a list of lines: a setup, functions, and what is done one after another (calls, other
learning rates, checkpoints). The same lines run with either library, and with the functions
compiled; everything that was looked at on the way is compared. What fails is printed as a script.

`python tests/random_programs.py all 10000 0` tries many, and says how many differ and where.
Instead of "all" it takes "eager", "steps", "compiled" or "source"; 0 is the first seed.
"""

from __future__ import annotations

import collections
import itertools
import json
import math
import random
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_ce.program.listing.listing import Listing, shown_program

Pick = Callable[[Sequence[Any]], Any]  # gives one element: hypothesis, or a random.Random, decides

FROZEN = Path(__file__).parent / "data" / "random_programs.npz"

PRELUDE = '''\
import numpy as np
import {library} as tg

nn, F = tg.nn, tg.nn.functional
seen = []


def data(seed, *shape, dtype="float64"):
    """Numbers of size 0.3 to 1.3, all different."""
    stream = np.random.default_rng(seed)
    x = stream.uniform(0.3, 1.3, shape) * stream.choice([-1, 1], shape)
    return np.asarray(x * (1 + SHAKE * stream.choice([-1, 1], shape)), dtype)


def ids(seed, *shape, below):
    """Class ids."""
    return np.random.default_rng(seed).integers(0, below, shape)


def mix(*values):
    """A number that every element of every value has its own part in."""
    parts = []
    for i, v in enumerate(values):
        weights = tg.tensor(data(100 + i, *v.shape)).to(v.dtype)
        parts.append((v.tanh() * weights).sum())
    return sum(parts)


def look(what, value, graph=True):
    """Note what a value is, and with `graph` whether it requires a gradient."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=str)]
    if isinstance(value, (tuple, list)):
        for i, v in enumerate(value):
            look(f"{{what}}[{{i}}]", v, graph)
    elif isinstance(value, tg.Tensor):
        seen.append((what, value.detach().numpy().copy(), value.requires_grad and graph))
    else:
        seen.append((what, value, None))


def look_at_state(what, **tensors):
    """Note tensors and their gradients."""
    for name, t in tensors.items():
        look(f"{{name}} {{what}}", t)
        look(f"{{name}}.grad {{what}}", t.grad)
'''


class Function(NamedTuple):
    """`def name(parameters): lines`."""

    name: str
    parameters: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """Lines that make the state, functions, and what is done then."""

    setup: tuple[str, ...]
    functions: tuple[Function, ...]
    events: tuple[str, ...]

    def script(self, library: str = "tinygrad_ce", before: str = "# as it is") -> str:
        """Python that runs by itself; every subject has the same lines at the same place."""
        lines = [PRELUDE.format(library=library), "SHAKE = 0.0", *self.setup]
        for f in self.functions:
            lines += ["", "", before]
            lines += [f"def {f.name}({f.parameters}):"]
            lines += ["    " + line for line in f.lines or ("pass",)]
        return "\n".join([*lines, "", "", *self.events]) + "\n"

    def shorter(self) -> Iterator[Program]:
        """The program without some of its lines: many at first, then one."""
        for events in without(self.events):
            yield replace(self, events=events)
        for k, f in enumerate(self.functions):
            before, after = self.functions[:k], self.functions[k + 1 :]
            yield replace(self, functions=before + after)
            edited = [*f.lines]
            variants = [*without(f.lines)]
            for i, line in enumerate(f.lines):
                variants += [(*edited[:i], text, *edited[i + 1 :]) for text in shorter_lines(line)]
            for lines in variants:
                yield replace(self, functions=(*before, f._replace(lines=lines), *after))
        for setup in without(self.setup):
            yield replace(self, setup=setup)


def without(lines: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The lines without a part of them."""
    size = len(lines)
    while size:
        for i in range(len(lines) - size, -1, -size):
            yield lines[:i] + lines[i + size :]
        size //= 2


def shorter_lines(line: str) -> Iterator[str]:
    """The line with one name less at its end, in a call or in what is returned."""
    found = re.fullmatch(r"(.*?)((?:, \w+)+)(\)?)", line)
    names = found[2].split(", ")[1:] if found is not None else []
    for i in range(len(names)):
        yield ", ".join([found[1], *names[:i], *names[i + 1 :]]) + found[3]


class Outcome(NamedTuple):
    """What was seen, and the error that ended it: where, and the exception."""

    seen: list[tuple[str, Any, Any]]
    where: str
    error: Exception | None
    names: dict[str, Any]


def run(
    program: Program, library: str = "tinygrad_ce", before: str = "# as it is", shake: float = 0.0
) -> Outcome:
    """Run the script; with `shake`, on data that is off by that much."""
    text = program.script(library, before).replace("SHAKE = 0.0", f"SHAKE = {shake}")
    names: dict[str, Any] = {}
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(text, "<program>", "exec"), names)
    except Exception as error:
        return Outcome(names["seen"], place_of(error, text), error, names)
    return Outcome(names["seen"], "", None, names)


def place_of(error: Exception, text: str) -> str:
    """The line of the script that raised: the innermost one, but none of the helpers."""
    trace, lines = error.__traceback__, text.split("\n")
    place = ""
    while trace is not None:
        number = trace.tb_lineno
        if trace.tb_frame.f_code.co_filename == "<program>" and number > PRELUDE.count("\n"):
            place = lines[number - 1].strip()
        trace = trace.tb_next
    return place


# --- comparisons --------------------------------------------------------------------------------

SHAKES = (2e-15, -2e-15, 1e-15)


def difference(program: Program, found: Outcome, wanted: Outcome, one_error: bool) -> str | None:
    """In what `found` is not `wanted`, or None. With `one_error` exceptions have the same type."""
    shaken: list[Outcome] = []
    coarse = is_coarse(program)
    for i, (a, b) in enumerate(zip(found.seen, wanted.seen)):
        if a[0] != b[0]:
            return f"{a[0]} where {b[0]} was looked at"
        complaint = apart(a[1], b[1], coarse)
        if complaint is not None and numeric(a[1], b[1]):
            shaken = shaken or [
                run(program, wanted.names["tg"].__name__, shake=shake * (1e8 if coarse else 1.0))
                for shake in SHAKES
            ]
            noise = max(moved(b[1], o.seen[i][1]) if len(o.seen) > i else np.inf for o in shaken)
            complaint = apart(a[1], b[1], coarse, 20 * noise)
        if complaint is None and a[2] != b[2]:
            complaint = f"requires_grad {a[2]} instead of {b[2]}"
        if complaint is not None:
            return f"{b[0]}: {complaint}"
    if (found.error is None) != (wanted.error is None) or (
        found.error is not None and one_error and type(found.error) is not type(wanted.error)
    ):
        return f"{told(found)}; wanted {told(wanted)}"
    return None


def is_coarse(program: Program) -> bool:
    """Whether float32 takes part."""
    return re.search("float(?!64)", str(program)) is not None


def numeric(a: Any, b: Any) -> bool:
    """Whether both are arrays of one shape and dtype."""
    arrays = isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
    return arrays and a.shape == b.shape and a.dtype == b.dtype


def apart(a: Any, b: Any, coarse: bool, noise: float = 0.0) -> str | None:
    """How a differs from b by more than rounding."""
    text = f"{a!r} instead of {b!r}"
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return None if type(a) is type(b) and a == b else text
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"shape {a.shape} and dtype {a.dtype} instead of {b.shape} and {b.dtype}"
    if a.dtype.kind != "f":
        return None if np.array_equal(a, b) or noise else text
    top = np.max(np.abs(b), initial=0.0, where=np.isfinite(b))
    bound = (2e-5 if coarse or a.dtype != np.float64 else 1e-11) * top + noise
    return None if np.allclose(a, b, rtol=0.0, atol=bound, equal_nan=True) else text


def moved(a: Any, b: Any) -> float:
    """How far a is from b, at most."""
    if not numeric(a, b) or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    return float(np.max(np.abs(a * 1.0 - b), initial=0.0, where=np.isfinite(a)))


def told(outcome: Outcome) -> str:
    """The error of an outcome, in a line."""
    if outcome.error is None:
        return "no error"
    message = str(outcome.error).split("\n")[0]
    return f"{type(outcome.error).__name__} at `{outcome.where}`: {message}"


def shrunk(program: Program, fails: Callable[[Program], Any]) -> Program:
    """Without every line that it fails without."""
    smaller = next((p for p in program.shorter() if fails(p)), None)
    while smaller is not None:
        program = smaller
        smaller = next((p for p in program.shorter() if fails(p)), None)
    return program


# --- what a line may be -------------------------------------------------------------------------

NUMBERS = ("0.5", "-1.5", "2.0", "3")
INDICES = (
    "0", "-1", "1:", "::2", "..., 0", "..., 1:", "None", "...", "0, ..., None", ":, 1", "-1:",
    "[1, 0]", "..., [1, 0]", "tg.tensor([1, 0, 2])", "..., tg.tensor([[1], [0]])",
    "tg.tensor([1, 0]), tg.tensor([0, 1])", "0, tg.tensor([2, 0])", "tg.tensor(1)",
)  # fmt: skip
REPEATED = (
    "[0, 0]", "tg.tensor([0, 1, 1, 0])", "..., [1, 1, 0]", "tg.tensor([[0], [1], [1]])",
    "tg.tensor([[0], [1], [1]]), tg.tensor([0, 1, 1])", ":, tg.tensor([1, 1])",
)  # fmt: skip


VIEW, PART = "view", "part"


class Rule(NamedTuple):
    """What may stand in a line, for operands of these kinds, and what NumPy makes of it.

    `{a}` and `{b}` are operands; `{d}`, `{k}`, `{c}`, `{i}`, `{s}` a dimension, True or False, a
    number, an index and a shape; `like(settings, a, b)` gives an array of shape and dtype of the
    result, or raises if the line does not fit.
    """

    kinds: str
    like: Callable[..., Any]
    texts: tuple[str, ...]
    view: str = ""  # "view": may look at the memory of a; "part": and PyTorch lets nobody write it


def same(_: Any, a: Any) -> Any:
    return a


def rules(kinds: str, like: Callable[..., Any], *texts: str, view: str = "") -> Rule:
    return Rule(kinds, like, texts, view)


def broadcast(_: Any, a: Any, b: Any) -> Any:
    return a + b


def reduced(s: Any, a: Any) -> Any:
    return a.sum(s["d"], keepdims=s.get("k", False)) if a.ndim else a


def indices_of(array: Any) -> Any:
    return np.asarray(array).astype(np.int64)


def several(s: Any, a: Any) -> Any:
    """A reduction that is not defined for one element."""
    if a.shape[s["d"]] < 2:
        raise ValueError
    return reduced(s, a)


def indexed(s: Any, a: Any) -> Any:
    return np.array(eval(f"a[{s['i']}]".replace("tg.tensor", "np.array"), {"np": np, "a": a}))


def swapped(s: Any, a: Any) -> Any:
    return np.swapaxes(a, s["d"], s["e"])


def reversed_axes(_: Any, a: Any) -> Any:
    return square(a).T


def square(a: Any) -> Any:
    """a, if it is a matrix."""
    if a.ndim != 2:
        raise ValueError
    return a


def few(a: Any) -> Any:
    """a, if it is short: beyond 16 elements PyTorch's order of equal ones is not defined."""
    if a.size > 16:
        raise ValueError
    return a


def vector(a: Any) -> Any:
    """a, if it is a vector of more than one element: PyTorch does not repeat it in a product."""
    if a.ndim != 1 or a.size == 1:
        raise ValueError
    return a


def same_dtype(a: Any, b: Any) -> None:
    if a.dtype != b.dtype:
        raise ValueError


def product(_: Any, a: Any, b: Any) -> Any:
    same_dtype(a, b)
    return a @ b


def summed_over(spec: str) -> Callable[..., Any]:
    def like(_: Any, a: Any, *rest: Any) -> Any:
        for b in rest:
            same_dtype(a, b)
        return np.einsum(spec, a, *rest)

    return like


def taken(_: Any, a: Any, index: Any) -> Any:
    """a.gather(-1, index): other axes of the index may be shorter."""
    if index.ndim != a.ndim or not a.ndim:
        raise ValueError
    np.empty(a.shape[:-1])[tuple(slice(n) for n in index.shape[:-1])].reshape(index.shape[:-1])
    return np.zeros(index.shape, a.dtype)


def windowed(size: tuple[int, int]) -> Callable[..., Any]:
    """A matrix as an image of one channel, of which each window becomes a number."""
    return lambda _, a: sliding_window_view(square(a), size).sum((2, 3))


def convolved(_: Any, a: Any, b: Any) -> Any:
    """A matrix as an image of one channel, the other as a kernel."""
    same_dtype(a, b)
    return sliding_window_view(square(a), square(b).shape).sum((2, 3))


def convolved_rows(_: Any, a: Any, b: Any) -> Any:
    """The rows of one matrix as images, those of the other as kernels: padded by 1, stride 2."""
    same_dtype(a, b)
    (n, w), (out, k) = square(a).shape, square(b).shape
    if not 0 < k <= w + 2 or not n * out:
        raise ValueError
    return np.zeros((n, out, (w + 2 - k) // 2 + 1), a.dtype)


def halved(_: Any, a: Any) -> Any:
    """Windows of 2 × 2 with one row and column around the image."""
    h, w = square(a).shape
    if not a.size:
        raise ValueError
    return np.zeros((h // 2 + 1, w // 2 + 1), a.dtype)


def joined(s: Any, a: Any, b: Any) -> Any:
    return np.concatenate([a, b], s["d"])


def stacked(s: Any, a: Any, b: Any) -> Any:
    return np.stack([a, b], s["d"])


def sized(s: Any, a: Any) -> Any:
    return np.reshape(a, s["s"])


RULES = (
    rules("f", windowed((2, 1)), "F.max_pool2d({a}[None, None], (2, 1), 1)[0, 0]",
          "F.avg_pool2d({a}[None], (2, 1), 1)[0]"),
    rules("f", lambda _, a: windowed((1, 2))(_, a)[:, ::2],
          "F.max_pool2d({a}[:, None, None], (1, 2))[:, 0, 0]",
          "F.avg_pool2d({a}[:, None, None], (1, 2)).flatten(1)"),
    rules("f", halved, "F.max_pool2d({a}[None], 2, padding=1)[0]",
          "F.avg_pool2d({a}[None, None], 2, padding=1)[0, 0]"),
    rules("ff", convolved, "F.conv2d({a}[None, None], {b}[None, None])[0, 0]"),
    rules("ff", convolved_rows, "F.conv2d({a}[:, None, None], {b}[:, None, None], "
          "padding=(0, 1), stride=(1, 2))[:, :, 0]"),
    rules("f", same, "-{a}", "{a}.tanh()", "{a}.sin()", "{a}.cos()", "{a}.abs()", "{a}.relu()",
          "{a}.sigmoid()", "({a} * {a} + 0.5).sqrt()", "({a} * {a} + 0.5).log()",
          "{a}.tanh().exp()", "{a} ** 3", "{a}.square()", "1.0 / ({a} * {a} + 1.0)",
          "{a}.clamp(-0.5, 0.9)", "{a}.clamp(min=-0.2)", "F.gelu({a})", "F.silu({a})",
          "F.softplus({a})", "F.logsigmoid({a})", "F.leaky_relu({a})", "{a}.sign()", "{a}.round()",
          "F.gelu({a}, approximate='tanh')", "{a}.tanh().expm1()", "{a}.abs().log1p()",
          "{a}.atan()", "{a}.asinh()", "{a}.erf()", "{a}.erfc()", "{a}.tanh().tan()",
          "{a}.tanh().sinh()", "{a}.tanh().cosh()", "({a}.tanh() * 0.9).asin()",
          "({a}.tanh() * 0.9).acos()", "({a} * {a} + 0.5).log2()", "({a} * {a} + 0.5).log10()",
          "{a}.trunc()",
          "({a} * {a} + 0.5).rsqrt()", "{a}.clone()", "tg.where({a} > 0.1, {a}, -{a})",
          "{a}.masked_fill({a} > 0.4, 0.5)", "tg.zeros_like({a}) + {a}"),
    rules("f", same, "{a} * {c}", "{a} + {c}", "{c} - {a}", "{a} / {c}", "{c} / ({a} * {a} + 1.0)",
          "tg.where({a} > 0.1, {a}, {c})"),
    rules("f", same, "{a}.detach()", "{a}.view({a}.shape)", view=VIEW),
    rules("f", lambda _, a: a.astype(np.float64), "{a}.double()", view=VIEW),
    rules("f", lambda _, a: a.astype(np.float32), "{a}.float()", view=VIEW),
    rules("f", lambda _, a: a > 0, "{a} > 0.2", "{a} <= -0.1", "{a} != {a}.round()"),
    rules("b", lambda _, a: a.astype(np.float64), "{a}.double()"),
    rules("b", lambda _, a: a, "~{a}", "{a} & ~{a}"),
    rules("ff", lambda _, a, b: (a + b) > 0, "{a} > {b}", "{a} <= {b}",
          "({a} > {b}) | ({b} > 0.2)"),
    rules("ff", broadcast, "{a} + {b}", "{a} - {b}", "{a} * {b}", "{a} / ({b} * {b} + 1.0)",
          "tg.maximum({a}, {b})", "tg.minimum({a}, {b})", "tg.where({a} > {b}, {a}, {b})",
          "tg.where({b} > 0.0, {a}, {b} * 2.0)", "{a} * {b}.detach()", "{a} + 2 * {b}",
          "tg.atan2({a}, {b} + 0.1)", "tg.hypot({a}, {b} + 0.1)", "tg.logaddexp({a}, {b})",
          "tg.fmod({a}, {b} * {b} + 0.5)"),
    rules("f", lambda _, a: a.sum(), "{a}.sum()", "{a}.mean()", "{a}.amax()", "{a}.max()",
          "{a}.min()", "{a}.prod()", "{a}.norm()", "({a} * {a}).sum()",
          "({a}.sum().square() + 0.5).sqrt()"),
    rules("f", reduced, "{a}.sum({d}, keepdim={k})", "{a}.mean({d}, keepdim={k})",
          "{a}.amax({d}, keepdim={k})", "{a}.amin({d})", "{a}.prod({d}, keepdim={k})",
          "{a}.norm(dim={d})", "{a}.logsumexp({d}, keepdim={k})", "{a}.max({d}).values",
          "{a}.min({d}, keepdim={k}).values"),
    rules("f", several, "{a}.var({d}, keepdim={k})", "{a}.std({d})",
          "{a}.var({d}, unbiased=False)"),
    rules("f", lambda s, a: a, "{a}.softmax({d})", "{a}.log_softmax({d})", "{a}.cumsum({d})",
          "{a}.cumprod({d})", "{a}.flip({d})", "{a}.sort({d}).values",
          "{a}.sort({d}, descending=True).values", "{a} - {a}.mean({d}, keepdim=True)",
          ),
    rules("f", lambda s, a: np.concatenate([a], s["d"]), "tg.cat({a}.split(1, {d})[::-1], {d})",
          "tg.stack({a}.unbind({d}), {d})"),
    rules("f", lambda s, a: indices_of(reduced(s, a)), "{a}.argmax({d}, keepdim={k})",
          "{a}.max({d}, keepdim={k}).indices"),
    rules("f", lambda s, a: indices_of(few(a)), "{a}.argsort({d})"),
    rules("f", lambda s, a: indices_of(a), "({a} * 3.0).round().long()"),
    rules("f", reversed_axes, "{a}.T", "{a}.t()", view=VIEW),
    rules("f", lambda _, a: a.mT, "{a}.mT", view=VIEW),
    rules("f", swapped, "{a}.transpose({d}, {e})", "{a}.swapaxes({d}, {e})", view=VIEW),
    rules("f", lambda s, a: np.moveaxis(a, s["d"], s["e"]), "{a}.moveaxis({d}, {e})", view=VIEW),
    rules("f", lambda _, a: np.moveaxis(a, -1, 0), "{a}.permute(-1, *range({a}.ndim - 1))",
          view=VIEW),
    rules("f", sized, "{a}.clone().reshape({s})"),
    rules("f", lambda _, a: a.reshape(-1), "{a}.clone().reshape(-1)", "{a}.clone().flatten()"),
    rules("f", lambda _, a: a.squeeze(), "{a}.squeeze()", view=VIEW),
    rules("f", lambda s, a: a[None], "{a}.unsqueeze(0)", "{a}[None]", view=VIEW),
    rules("f", lambda s, a: a[..., None], "{a}.unsqueeze(-1)", view=VIEW),
    rules("f", lambda s, a: np.broadcast_to(a, (2, *a.shape)), "{a}.expand(2, *{a}.shape)",
          view=PART),
    rules("f", indexed, "{a}[{i}]", view=VIEW),
    rules("f", lambda _, a: np.array(np.diagonal(square(a))), "{a}.diagonal()", view=VIEW),
    rules("f", lambda s, a: a[:1], "{a}.split(1)[0]", "{a}.chunk(4)[0]",
          view=PART),
    rules("f", lambda s, a: a[-1], "{a}.unbind()[-1]", "[*{a}][-1]", view=PART),
    rules("f", lambda _, a: np.tile(a, (2,) + (1,) * (a.ndim - 1)) if a.ndim else a[None][[0, 0]],
          "{a}.repeat(2, *(1,) * ({a}.ndim - 1))"),
    rules("f", lambda _, a: a.mT.mT, "{a}.tril()", "{a}.triu(1)"),
    rules("fi", lambda _, a, i: a[i % len(a)], "{a}[{b} % len({a})]"),
    rules("fi", taken,
          "{a}.gather(-1, {b} % {a}.shape[-1])"),
    rules("fi", lambda _, a, i: a[i.reshape(-1) % len(a)],
          "{a}.index_select(0, {b}.reshape(-1) % len({a}))"),
    rules("fb", lambda _, a, m: a + m, "tg.where({b}, {a}, 0.5)", "{a}.masked_fill({b}, -1.0)",
          "{a} * {b}"),
    rules("ff", product, "{a} @ {b}", "tg.matmul({a}, {b})"),
    rules("ff", lambda _, a, b: product(_, a, b.mT), "{a} @ {b}.mT", "{a} @ {b}.transpose(-1, -2)"),
    rules("ff", summed_over("ij,kj->ik"), "tg.einsum('ij,kj->ik', {a}, {b})"),
    rules("ff", summed_over("i,i->"), "tg.einsum('i,i->', {a}, {b})"),
    rules("ff", lambda _, a, b: product(_, vector(a), vector(b)), "{a}.dot({b})"),
    rules("ff", summed_over("...,...->"), "tg.einsum('...,...->', {a}, {b})"),
    rules("ff", summed_over("i,j->ij"), "tg.outer({a}, {b})", "tg.einsum('i,j->ij', {a}, {b})"),
    rules("f", summed_over("ij->ji"), "tg.einsum('ij->ji', {a})"),
    rules("f", summed_over("ij->i"), "tg.einsum('ij->i', {a})"),
    rules("ff", joined, "tg.cat([{a}, {b}], {d})"),
    rules("ff", stacked, "tg.stack([{a}, {b}], {d})"),
)  # fmt: skip


class Write(NamedTuple):
    """An in-place write into `{a}`: fits if `like` gives what broadcasts to its shape."""

    kinds: str
    like: Callable[..., Any]
    texts: tuple[str, ...]


def place(s: Any, a: Any, *b: Any) -> Any:
    """What x[i] = b writes into: b has to fit."""
    target = indexed(s, a)
    if b:
        same_dtype(a, b[0])
        np.broadcast_to(b[0], target.shape)
    return a


WRITES = (
    Write("f", same, ("{a} += {c}", "{a} *= {c}", "{a}.sub_({c})", "{a}.clamp_(-0.8, 0.8)",
                      "{a}.fill_({c})", "{a}.zero_()", "{a}.mul_({a})", "{a} += {a}",
                      "{a}[{a} > 0.3] = {c}", "{a}[{a} < 0.3] *= {c}")),
    Write("ff", lambda _, a, b: np.broadcast_to(b, a.shape), (
        "{a} += {b}", "{a}.mul_({b})", "{a} -= {b}", "{a}.copy_({b})", "{a}[...] = {b}",
        "{a}.add_({b}, alpha=0.5)", "{a} /= {b} * {b} + 1.0")),
    Write("fb", lambda _, a, m: a[m], ("{a}[{b}] = {c}",)),
    Write("f", place, ("{a}[{i}] = {c}", "{a}[{i}] *= {c}", "{a}[{i}].add_({c})")),
    Write("ff", place, ("{a}[{i}] = {b}", "{a}[{i}] += {b}")),
)  # fmt: skip
WRITTEN = tuple(i for i in INDICES if i != "tg.tensor(1)")


class Value(NamedTuple):
    """What is known of a name: an array of its shape and dtype, whose memory it may look at, and
    whether that may be written.
    """

    like: np.ndarray
    root: str
    writable: bool


class Writer:
    """Writes lines that make sense: it knows the shape and dtype of every name."""

    def __init__(self, pick: Pick, writes: int = 2) -> None:
        self.pick = pick
        self.writes = writes  # in ten lines
        self.outside: set[str] = set()  # tensors that outlive the function
        self.known: dict[str, Value] = {}
        self.lines: list[str] = []
        self.fresh = itertools.count()

    def given(self, name: str, shape: tuple[int, ...], dtype: str, written: bool = False) -> None:
        """A name that is there before the first line."""
        self.known[name] = Value(np.zeros(shape, dtype), name, written)
        self.outside.add(name)

    def line(self) -> None:
        """One more line; none if what was picked does not fit."""
        if self.pick(range(10)) < self.writes:
            self.write()
            return
        rule = self.pick(RULES)
        text, settings, operands = self.filled(rule)
        if text:
            try:
                like = np.asarray(rule.like(settings, *(self.known[n].like for n in operands)))
            except (ValueError, IndexError, TypeError):
                return
            if like.size <= 64:
                name = f"v{next(self.fresh)}"
                base = self.known[operands[0]]
                value = Value(like, base.root, base.writable and rule.view == VIEW)
                self.known[name] = value if rule.view else Value(like, name, True)
                self.lines.append(f"{name} = {text}")

    def write(self) -> None:
        """An in-place write: not into a leaf that requires a gradient, nor into a view of one."""
        rule = self.pick(WRITES)
        text, settings, operands = self.filled(rule, WRITTEN)
        if not text or not self.known[operands[0]].writable:
            return
        root = self.known[operands[0]].root
        a, *rest = (self.known[n].like for n in operands)
        try:
            rule.like(settings, a, *rest)
        except (ValueError, IndexError, TypeError):
            return
        if root in self.outside and len(operands) == 2:
            target, _, value = text.rpartition(operands[1])
            text = f"{target}{operands[1]}.detach(){value}"
        self.lines.append(text)

    def filled(self, rule: Any, indices: Sequence[str] = INDICES + REPEATED) -> Any:
        """A text of the rule with operands and settings in it, those, and the operands."""
        operands = []
        for kind in rule.kinds:
            fitting = [n for n, v in self.known.items() if v.like.dtype.kind == kind]
            if not fitting:
                return None, None, None
            operands.append(self.pick(fitting))
        likes = [self.known[n].like for n in operands]
        if len(likes) == 2 and not mixes(*likes):
            return None, None, None
        text = self.pick(rule.texts)
        a = likes[0]
        dims = range(-max(a.ndim, 1), max(a.ndim, 1))
        choices = {"d": dims, "e": dims, "k": (False, True), "c": NUMBERS, "i": indices,
                   "s": shapes_of(a.size)}  # fmt: skip
        settings = {key: self.pick(v) for key, v in choices.items() if f"{{{key}}}" in text}
        names = dict(zip("ab", operands))
        return text.format(**names, **settings), settings, operands

    def own(self) -> list[str]:
        """The names of what was made inside."""
        return [name for name in self.known if name not in self.outside]

    def floats(self) -> list[str]:
        """The names of floats."""
        return [n for n, v in self.known.items() if v.like.dtype.kind == "f"]


def shapes_of(n: int) -> list[tuple[int, ...]]:
    """Shapes of n elements."""
    found = [(n,), (1, n), (n, 1), (-1, 1)]
    found += [(k, n // k) for k in (2, 3) if n and n % k == 0]
    return [*found, ()] if n == 1 else found


def mixes(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether NumPy's promotion of dtypes is PyTorch's here."""
    if a.dtype.kind == b.dtype.kind == "f":
        return a.dtype == b.dtype or bool(a.ndim) == bool(b.ndim)
    return True


# --- functions and their derivatives: for PyTorch's answers -------------------------------------

SHAPES = ((), (1,), (3,), (2, 3), (3, 3), (3, 2), (1, 3), (2, 3, 3), (2, 1, 3), (4,), (3, 4))


def derivatives(pick: Pick) -> Program:
    """A function of two or three tensors, with its first and second derivatives."""
    writer = Writer(pick)
    setup = []
    names = [f"w{i}" for i in range(pick((2, 2, 3)))]
    for i, name in enumerate(names):
        setup.append(f"{name} = {tensor_text(pick, writer, name, i)}.requires_grad_()")
    setup.append(f"x = {tensor_text(pick, writer, 'x', 7)}")
    for _ in range(pick(range(3, 31))):
        writer.line()
    kept = [n for n in writer.floats() if n not in names and n != "x"][-4:] or ["w0"]
    inputs = ", ".join(names)
    ends = {
        "twice": (
            f"first = tg.autograd.grad(loss, [{inputs}], create_graph=True, allow_unused=True)",
            "slope = mix(*(g for g in first if g is not None))",
            f"second = tg.autograd.grad(slope, [{inputs}], allow_unused=True)",
            f"return loss, first, second, {', '.join(writer.known)}",
        ),
        "backward": (
            "loss.backward()",
            f"return loss, [w.grad for w in [{inputs}]], {', '.join(writer.known)}",
        ),
        "again": (
            "loss.backward(retain_graph=True)",
            "loss.backward()",
            f"return loss, [w.grad for w in [{inputs}]], {', '.join(writer.known)}",
        ),
    }
    lines = (*writer.lines, f"loss = mix({inputs}, {', '.join(kept)})", *ends[pick([*ends])])
    return Program(tuple(setup), (Function("f", "", tuple(lines)),), ("look('f', f())",))


def tensor_text(pick: Pick, writer: Writer, name: str, seed: int) -> str:
    """The text of a new tensor; `writer` hears of it."""
    shape, dtype = pick(SHAPES), pick(("float64", "float64", "float32"))
    writer.given(name, shape, dtype)
    return new_tensor(pick, shape, dtype, seed)


def new_tensor(pick: Pick, shape: tuple[int, ...], dtype: str, seed: int) -> str:
    """The text of a tensor, plain, turned, or a part of another."""
    layout = pick(("plain", "plain", "turned", "part")) if shape else "plain"
    longer = (*(n + 2 for n in shape[:1]), *shape[1:])
    own = {"plain": shape, "turned": shape[::-1], "part": longer}[layout]
    arguments = ", ".join(map(str, (seed, *own)))
    turned = f".permute(*range({len(shape)})[::-1])" * (layout == "turned")
    part = "[1:-1]" * (layout == "part")
    return f'tg.tensor(data({arguments}, dtype="{dtype}")){turned}{part}'


# --- steps of training: for compile() -----------------------------------------------------------

MODELS = (  # what makes it, the input, the shape of the output
    ("nn.Linear(3, 2)", "data({}, 4, 3, dtype={})", (4, 2)),
    ("nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.3), "
     "nn.Linear(4, 3))", "data({}, 4, 3, dtype={})", (4, 3)),
    ("nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.GELU(), nn.Linear(3, 2))",
     "data({}, 2, 3, dtype={})", (2, 2)),
    ("nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), "
     "nn.Linear(8, 2))", "data({}, 2, 1, 4, 4, dtype={})", (2, 2)),
    ("nn.Sequential(nn.Conv2d(2, 3, 2, stride=2, bias=False), nn.BatchNorm2d(3), nn.SiLU(), "
     "nn.AvgPool2d(2), nn.Flatten())", "data({}, 3, 2, 4, 4, dtype={})", (3, 3)),
    ("nn.Sequential(nn.Embedding(5, 3), nn.Dropout(0.2), nn.Tanh(), nn.Linear(3, 2))",
     "ids({}, 2, 4, below=5)", (2, 4, 2)),
    ("nn.Sequential(nn.Linear(3, 4), nn.Softplus(), nn.Linear(4, 2), nn.LogSoftmax(-1))",
     "data({}, 3, 3, dtype={})", (3, 2)),
)  # fmt: skip
LOSSES = (
    "F.mse_loss({y}, {y}.detach().round())", "F.huber_loss({y}, {y}.detach() * 0.5, delta=0.2)",
    "F.binary_cross_entropy_with_logits({y}, ({y}.detach() > 0.1).to({y}.dtype))",
    "F.cross_entropy({y}, {y}.detach().argmin(1))", "F.l1_loss({y}, {y}.detach() * 0.5)",
    "F.nll_loss({y}.log_softmax(1), {y}.detach().argmax(1))", "mix({y})", "mix({y})",
    "F.huber_loss({y}, {y}.detach() - 2.0)",
)  # fmt: skip
OPTIMISERS = (
    "SGD({}, lr=0.1)", "SGD({}, lr=0.1, momentum=0.9)", "SGD({}, lr=0.05, momentum=0.9, "
    "nesterov=True, weight_decay=0.1)", "Adam({}, lr=0.05)", "Adam({}, lr=0.05, weight_decay=0.1, "
    "betas=(0.5, 0.9))", "AdamW({}, lr=0.05)", "AdamW({}, lr=0.1, weight_decay=0.3)",
)  # fmt: skip
SCHEDULES = (
    "StepLR(optimizer, 2, gamma=0.5)", "CosineAnnealingLR(optimizer, T_max=5)",
    "ReduceLROnPlateau(optimizer, patience=0, factor=0.3)",
)  # fmt: skip
CHANGES = (
    'optimizer.param_groups[0]["lr"] = 0.02', 'optimizer.param_groups[0]["weight_decay"] = 0.2',
    "schedule.step({metric})", "model.eval()", "model.train()", "model.load_state_dict(model_then)",
    "model_then = copy.deepcopy(model.state_dict())",
    "optimizer_then = copy.deepcopy(optimizer.state_dict())",
    "optimizer.load_state_dict(optimizer_then)", "tg.save(model.state_dict(), PATH)",
    "model.load_state_dict(tg.load(PATH))", 'tg.save({{"w": {w}.detach()}}, PATH + "{w}")',
    '{w}.data.copy_(tg.load(PATH + "{w}")["w"])', "{w}.data = {w}.detach() * 0.5",
    "with tg.no_grad(): {w}.mul_(0.5)", "{w}.data += 0.1", "{w}.grad = None", "b.fill_(0.3)",
    "optimizer.zero_grad()", "optimizer.zero_grad(set_to_none=False)", "b = b * 1.5",
    "loss = mix(w0); loss.backward()", "optimizer.step()", "tg.manual_seed(3)",
    "{w}.requires_grad_(False)", "{w}.requires_grad_()",
)  # fmt: skip


class Training:
    """Makes a program of steps of training, and what happens between them."""

    def __init__(self, pick: Pick) -> None:
        self.pick = pick
        self.dtype = pick(("float64", "float64", "float32"))
        self.model, self.input, self.output = pick(MODELS) if pick((1, 0)) else (None, None, None)
        self.shapes = {f"w{i}": pick(SHAPES) for i in range(pick((1, 2, 3)))}
        self.shapes["b"] = pick(SHAPES)
        self.schedule = pick((None, *SCHEDULES))

    def setup(self) -> tuple[str, ...]:
        """The state."""
        pick, names = self.pick, self.parameters()
        lines = [
            "import copy, os, tempfile",
            'PATH = tempfile.mkdtemp() + "/state"',
            "tg.manual_seed(1)",
        ]
        for i, (name, shape) in enumerate(self.shapes.items()):
            text = new_tensor(pick, shape, self.dtype, i)
            lines.append(f"{name} = {text}" + ".requires_grad_()" * (name != "b"))
        trained = f"[{', '.join(names)}]"
        if self.model:
            lines.append(f"model = {self.model}" + ".double()" * (self.dtype == "float64"))
            groups = f"[{{'params': model.parameters(), 'lr': 0.02}}, {{'params': {trained}}}]"
            trained = pick((f"[*model.parameters(), *{trained}]", groups))
        optimiser = pick(OPTIMISERS).format(trained)
        lines.append(f"optimizer = tg.optim.{optimiser}")
        if self.schedule:
            lines.append(f"schedule = tg.optim.lr_scheduler.{self.schedule}")
        return tuple(lines)

    def parameters(self) -> list[str]:
        """Their names."""
        return [name for name in self.shapes if name != "b"]

    def writer(self, writes: int = 2) -> Writer:
        """One that knows the state."""
        writer = Writer(self.pick, writes)
        for name, shape in self.shapes.items():
            writer.given(name, shape, self.dtype, written=name == "b")
        return writer

    def train(self, inputs: list[tuple[int, ...]]) -> Function:
        """A step of training."""
        pick, writer = self.pick, self.writer()
        lines = [pick(("optimizer.zero_grad()", "optimizer.zero_grad()", "pass"))]
        for i, shape in enumerate(inputs):
            writer.given(f"x{i}", shape, self.dtype, written=pick(range(5)) == 0)
        terms = []
        if self.model:
            lines.append("y = model(z)")
            writer.given("y", self.output, self.dtype)
            loss = pick(LOSSES if len(self.output) == 2 else ("mix({y})",))
            terms.append(loss.format(y="y"))
        for _ in range(pick(range(1, 16))):
            writer.line()
        names = self.parameters()
        kept = [n for n in writer.floats() if n not in self.shapes][-3:]
        terms.append(f"mix({', '.join([*names, *kept])})")
        lines += [*writer.lines, f"loss = {' + '.join(terms)}", "loss.backward()"]
        if pick(range(6)) == 0:
            lines.append(f"with tg.no_grad(): {names[0]}.sub_({names[0]}.grad, alpha=0.1)")
        lines += ["optimizer.step()"] * pick((1, 1, 1, 2, 0))
        if pick(range(3)) == 0:
            lines.append("b.mul_(0.9)")
        if pick(range(4)) == 0:
            lines.append("b.add_(0.1)")
        lines.append(f"return {', '.join(['loss', *writer.own()[-6:]])}")
        if any(line.startswith("b ") for line in lines):
            lines.insert(0, "global b")
        parameters = [f"x{i}" for i in range(len(inputs))] + ["z"] * bool(self.model)
        return Function("train", ", ".join(parameters), tuple(lines))

    def penalty(self) -> Function:
        """A number that the parameters alone decide."""
        writer, names = self.writer(writes=0), self.parameters()
        for _ in range(self.pick(range(0, 6))):
            writer.line()
        kept = [n for n in writer.floats() if n != "b"][-3:]
        lines = [*writer.lines, f"loss = mix({', '.join(kept)})"]
        if self.pick((0, 1)):
            lines.append(f"live = [w for w in [{', '.join(names)}] if w.requires_grad]")
            lines.append("slopes = tg.autograd.grad(loss, live, allow_unused=True)")
        returned = ["loss"] + ["slopes"] * lines[-1].startswith("slopes")
        returned += [f"({n} * {n}).sum()" for n in names]
        returned += [n for n in writer.own() if n in kept]
        return Function("penalty", "", (*lines, f"return {', '.join(returned)}"))

    def events(self, inputs: list[tuple[int, ...]], functions: Sequence[Function]) -> Iterator[str]:
        """What is done, one after another."""
        pick, quoted = self.pick, f'"{self.dtype}"'
        state = ", ".join(f"{n}={n}" for n in self.shapes)
        for i in range(pick((6, 6, 7, 10))):
            call = pick([functions[0].name] * 3 + [f.name for f in functions])
            given = [f"tg.tensor(data({', '.join(map(str, (50 + 9 * i + k, *shape)))}, "
                     f"dtype={quoted}))" for k, shape in enumerate(inputs)]  # fmt: skip
            if len(given) == 2 and inputs[0] == inputs[1] and i > 1 and pick(range(3)) == 0:
                given = [f"x := {given[0]}", pick(("x", "x.T", "x[...]", "x.detach()"))]
                given[1] = "x" if len(inputs[0]) == 2 and len(set(inputs[0])) > 1 else given[1]
            if self.model:
                given.append(f"tg.tensor({self.input.format(50 + i, quoted)})")
            if call == "train":
                yield f"given = [{', '.join(given)}]"
                yield f"look('train {i}', train(*given), False)"
                yield f"look('given {i}', given)"
            else:
                yield f"look('{call} {i}', {call}(), False)"
            yield f"look_at_state('{i}', {state})"
            if self.model:
                yield f"look('model {i}', [*model.parameters(), *model.buffers()])"
            for _ in range(pick((0, 0, 1, 2))):
                yield from self.change(i)

    def change(self, i: int) -> Iterator[str]:
        """Something that happens between two calls, if it can."""
        text = self.pick(CHANGES)
        metric = str(1.0 + i % 3) if "Plateau" in str(self.schedule) else ""
        names = self.parameters()
        some = names[1:] if "requires_grad_(" in text else names
        if not some:
            return
        text = text.format(w=self.pick(some), metric=metric)
        if ("model" in text and not self.model) or ("schedule" in text and not self.schedule):
            return
        if '"lr"' in text and self.schedule:
            return  # PyTorch goes on from there, tinygrad_ce from the first one
        for name in ("model_then", "optimizer_then"):
            if text.endswith(f"({name})"):
                text = f'if "{name}" in globals(): {text}'
        if "tg.load" in text:
            saved = re.search(r"tg.load\((.*?)\)", text)
            text = f"if os.path.exists({saved[1]}): {text}" if saved else text
        yield text


def training(pick: Pick) -> Program:
    """Steps of training that share parameters with other functions, and checkpoints in between."""
    maker = Training(pick)
    setup = maker.setup()
    inputs = [pick(SHAPES) for _ in range(pick((1, 2)))]
    inputs = inputs[:1] * 2 if pick(range(3)) == 0 else inputs
    functions = (maker.train(inputs), maker.penalty())
    return Program(setup, functions, tuple(maker.events(inputs, functions)))


# --- the subjects -------------------------------------------------------------------------------

UNDEFINED = (  # what one library refuses and the other need not
    "changed it in place since",
    "modified by an inplace operation",
    "is a view and is being modified inplace",
    "is a view and its base or another view",
    "refer to a single memory location",
)
REFUSED = (  # what docs/compile.md says of compiled functions
    "how many elements",
    "is read after its tensor was written in place",
    "a view is written",
    "look at the same memory",
    "share memory",
    "lies in the memory of a tensor",
    "carries a gradient",
)


class Verdict(NamedTuple):
    """What was compared for nothing, and why; and what differed."""

    refused: str
    complaint: str | None


def refusal(error: Exception | None, reasons: Sequence[str]) -> str:
    """The reason, if the error is one that is allowed."""
    return next((reason for reason in reasons if reason in str(error)), "")


def against_torch(program: Program) -> Verdict:
    """How tinygrad_ce differs from PyTorch."""
    return judged(program, run(program), run(program, "torch"))


def judged(program: Program, found: Outcome, wanted: Outcome) -> Verdict:
    """How an outcome of tinygrad_ce differs from one of PyTorch."""
    for outcome in (found, wanted):
        if refused := refusal(outcome.error, UNDEFINED):
            return Verdict(refused, None)
    both = found.error is not None and wanted.error is not None
    return Verdict("raises" * both, difference(program, found, wanted, one_error=False))


def against_eager(program: Program, before: str = "@tg.compile") -> Verdict:
    """How compiled functions differ from the same ones not compiled."""
    found, wanted = run(program, before=before), run(program)
    refused = refusal(found.error, REFUSED)
    if refused:
        found, wanted = found._replace(error=None), wanted._replace(error=None)
    elif wanted.error is not None:
        refused = "raises"
    return Verdict(refused, difference(program, found, wanted, one_error=True))


def against_source(program: Program) -> Verdict:
    """How the listings of the functions, run on arrays, differ from the functions."""
    outcome = run(program)
    if outcome.error is not None:
        return Verdict("raises", None)
    verdict = Verdict("", None)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for f in program.functions:
            if f"look('{f.name} " in str(program.events) and verdict == Verdict("", None):
                verdict = listed(outcome.names, f.name, is_coarse(program))
    return verdict


def listed(names: dict[str, Any], name: str, coarse: bool) -> Verdict:
    """How the listings of a function, as it is after all events, differ from calling it."""
    given = names.get("given", []) if name == "train" else []
    found = {}
    try:
        traced = names["tg"].trace(names[name], *given)
        for level in ("primitive", "formula"):
            function = function_of(traced.source(level))
            shown = Listing(shown_program(traced, level), level == "primitive")
            if shown.writer.arguments:
                return Verdict("", None)  # it takes what is drawn
            arrays = {x: own(traced.example[x]) for x in shown.parameters()}
            found[level] = function(*arrays.values()), arrays
    except Exception as error:
        refused = refusal(error, REFUSED) or raised(names[name], given)
        return Verdict(refused, None if refused else f"{type(error).__name__}: {error}")
    known, result = {id(t) for t in given}, names[name](*given)
    fresh = {id(t): t for t in tensors_in(result) if id(t) not in known}
    wanted = [t.array for t in fresh.values()]
    for level, (values, arrays) in found.items():
        returned = values if isinstance(values, tuple) else (values,)
        pairs = [*zip(returned, wanted)]
        changed = [s for s in traced.states if s.after is not s.before and is_tensor(s.node)]
        pairs += [(arrays[s.before], s.node.array) for s in changed if s.before in arrays]
        for a, b in pairs:
            complaint = apart(np.asarray(a), np.asarray(b), level != "primitive" and coarse)
            if complaint is not None or len(returned) < len(wanted):
                return Verdict("", f"{level} {name}: {complaint or 'values are missing'}")
    return Verdict("", None)


def own(value: Any) -> Any:
    """A copy of an array; a learning rate stays a number of Python's."""
    return value if type(value) is float else np.array(value)


def raised(function: Callable[..., Any], given: Sequence[Any]) -> str:
    """What eager code raises too."""
    try:
        function(*given)
    except Exception:
        return "raises"
    return ""


def function_of(text: str) -> Callable[..., Any]:
    """The function that a text defines."""
    names: dict[str, Any] = {}
    exec(text, names)
    return next(v for v in names.values() if isinstance(v, types.FunctionType))


def is_tensor(value: Any) -> bool:
    """Whether it is a Tensor."""
    return hasattr(value, "requires_grad")


def tensors_in(value: Any) -> Iterator[Any]:
    """The tensors in nested tuples and lists."""
    if isinstance(value, (tuple, list)):
        for v in value:
            yield from tensors_in(v)
    elif is_tensor(value):
        yield value


# --- many programs ------------------------------------------------------------------------------


class Subject(NamedTuple):
    """What makes programs, and what tries one."""

    make: Callable[[Pick], Program]
    judge: Callable[[Program], Verdict]
    share: float  # of the programs


SUBJECTS = {
    "eager": Subject(derivatives, against_torch, 0.6),
    "steps": Subject(training, against_torch, 0.1),
    "compiled": Subject(training, against_eager, 0.25),
    "source": Subject(training, against_source, 0.05),
}


def failure(program: Program, judge: Callable[[Program], Verdict]) -> str:
    """A program that differs, as short as can be, as a script, and in what it differs."""
    small = shrunk(program, lambda p: judge(p).complaint)
    return f"{judge(small).complaint}\n\n{small.script()}"


def freeze(answers: Sequence[tuple[Program, Outcome]]) -> None:
    """Write programs and what they have to give: the numbers in one row, all else beside it."""
    texts, row = [], []
    for program, outcome in answers:
        seen = []
        for what, value, graph in outcome.seen:
            is_array = isinstance(value, np.ndarray)
            seen.append([what, value.shape, str(value.dtype), graph] if is_array else [what, value])
            row.extend([value.ravel().astype(np.float64)] if is_array else [])
        texts.append([program.setup, program.functions, program.events, seen, str(outcome.error)])
    np.savez_compressed(FROZEN, row=np.concatenate(row), texts=np.array(json.dumps(texts)))


def frozen() -> Iterator[tuple[Program, Outcome]]:
    """What `freeze` wrote."""
    with np.load(FROZEN) as file:
        row, texts = file["row"], json.loads(str(file["texts"]))
    for setup, functions, events, noted, message in texts:
        seen: list[Any] = []
        for what, *value in noted:
            if len(value) == 1:
                seen.append((what, *value, None))
                continue
            shape, dtype, graph = value
            numbers, row = np.split(row, [math.prod(shape)])
            seen.append((what, numbers.reshape(shape).astype(dtype), graph))
        made = tuple(Function(name, given, tuple(lines)) for name, given, lines in functions)
        error = None if message == "None" else RuntimeError(message)
        yield Program(tuple(setup), made, tuple(events)), Outcome(seen, "", error, {})


def main(names: list[str], count: int, first: int) -> None:
    """Try programs, and say how many were refused or differ, and why."""
    for name in names:
        make, judge, share = SUBJECTS[name]
        refused: collections.Counter[str] = collections.Counter()
        causes: dict[str, list[int]] = collections.defaultdict(list)
        tried = range(first, first + round(count * share))
        for seed in tried:
            if seed % 100 == 0:
                print(f"... {name} {seed}, refused {dict(refused)}", file=sys.stderr)
            program = make(random.Random(seed).choice)
            reason, complaint = judge(program)
            refused[reason] += 1
            if complaint is None:
                continue
            text = failure(program, judge)
            cause = re.sub(r"\d+", "n", text.partition("\n")[0])[:100]
            causes[cause].append(seed)
            if len(causes[cause]) <= 3:
                short = text.replace(PRELUDE.format(library="tinygrad_ce"), "")
                print(f"--- {name} {seed}\n{short}", flush=True)
        print(f"=== {name}: {len(tried)} programs, refused {dict(refused)}")
        print(f"=== {sum(map(len, causes.values()))} differ")
        for cause, seeds in causes.items():
            print(f"===    {len(seeds)} times {cause}: {seeds[:6]}", flush=True)


if __name__ == "__main__":
    main([sys.argv[1]] if sys.argv[1] in SUBJECTS else [*SUBJECTS], *map(int, sys.argv[2:4]))
