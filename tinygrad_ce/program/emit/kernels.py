"""How each operation is written: the lines that fill its memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.program.emit import windows
from tinygrad_ce.program.emit.memory import Kernel, Plan
from tinygrad_ce.program.emit.text import Printer
from tinygrad_ce.program.ir import Step, Var
from tinygrad_ce.program.ops import BITS, UFUNCS
from tinygrad_ce.program.passes.rewriter import counts_up

ALL, FIRST = slice(None), slice(1)
FULL = 1 << 18  # bytes up to which a constant is spelt out: NumPy is twice as fast on equal shapes


def form(text: str, fits: Any = None, over: slice = slice(0)) -> Kernel:
    """A kernel of one line: `all` operands, the first `a`, the attributes, `out`."""

    def write(p: Printer, step: Step) -> None:
        xs = p.operands(step)
        p.line(text.format(op=step.op, all=", ".join(xs), a=xs[0], out=p.at(step.out),
                           **step.attrs))  # fmt: skip

    return Kernel(write, fits, over) if fits is not None else Kernel(write, over=over)


def ufunc(p: Printer, step: Step) -> None:
    """An elementwise function of NumPy's; of numbers, one that Python does not compute as NumPy."""
    xs = ", ".join(p.operands(step))
    if step.out.shape:
        keyword = "out=" if step.op in ("maximum", "minimum") else ""
        p.line(f"{step.op}({xs}, {keyword}{p.at(step.out)})")
    else:
        name = p.numbers[step.out] = p.fresh(step.out, "n")
        p.line(f"{name} = {step.op}({xs})")


def matrices(plan: Plan, step: Step) -> bool:
    """Whether both operands are matrices."""
    return bool(step.out.shape) and all(len(x.shape) == 2 for x in step.operands)


def inner(p: Printer, step: Step) -> None:
    """a bᵀ."""
    a, b = step.operands
    p.line(f"dot({p.at(a)}, {p.view(b, 'T')}, {p.at(step.out)})")


def matmul(p: Printer, step: Step) -> None:
    """Many matrices times one are one product."""
    (a, b), out = step.operands, step.out
    if len(a.shape) > 2 == len(b.shape) and a.size and p.plan.places[a].contiguous:
        k, m = b.shape
        rows = a.size // k
        p.line(f"dot({in_shape(p, a, (rows, k))}, {p.at(b)}, {in_shape(p, out, (rows, m))})")
    else:
        p.line(f"matmul({p.at(a)}, {p.at(b)}, {p.at(out)})")


# --- sums and extrema ---------------------------------------------------------------------------


def of_floats(plan: Plan, step: Step) -> bool:
    """Whether there are floats to be summed."""
    (x,) = step.operands
    return x in plan.places and x.dtype is not None and x.dtype.kind == "f" and x.size > 0


def total(p: Printer, step: Step) -> None:
    """A sum: as a product with ones where that is faster."""
    (x,), out = step.operands, step.out
    place, axis = p.plan.places[x], step.attrs["axis"]
    if not out.shape:
        name = p.numbers[out] = p.fresh(out, "n")
        if place.contiguous and x.size <= table.SHORT * 64:
            p.line(f"{name} = float(dot({p.row(x)}, {ones(p, x.size, x)}))")
        else:
            p.line(f"{name} = float(add.reduce({p.at(x)}, None))")
        return
    found = table.as_matrix(x.shape, axis[0] if np.size(axis) == 1 == np.ndim(axis) else axis)
    if found and (len(x.shape) == 2 or place.contiguous):
        shape, along = found
        rows, row = in_shape(p, x, shape), ones(p, shape[along], x)
        product = f"{rows}, {row}" if along else f"{row}, {rows}"
        p.line(f"dot({product}, {in_shape(p, out, (shape[1 - along],))})")
    else:
        keepdims = step.attrs["keepdims"]
        p.line(f"add.reduce({p.at(x)}, {axis}, None, {p.at(out)}, {keepdims})")


def in_shape(p: Printer, x: Var, shape: tuple[int, ...]) -> str:
    """The array of a value in another shape."""
    return p.at(x) if x.shape == shape else p.view(x, f"reshape({shape})")


def ones(p: Printer, n: int, like: Var) -> str:
    """A row of ones."""
    return p.shared(np.ones(n, like.dtype), "ones")


def transposed_rows(plan: Plan, step: Step) -> list[Var]:
    """The matrix the other way, if the maximum of its rows is found faster there."""
    (x,) = step.operands
    n, last = x.shape[-1], step.attrs["axis"] in (len(x.shape) - 1, -1)
    rows = last and n > 1 and x.size > n * n
    flat = len(x.shape) == 2 or plan.places[x].contiguous
    return [Var((n, x.size // n), x.dtype, False)] if rows and flat else []


def extremum(p: Printer, step: Step) -> None:
    """The largest or the smallest."""
    (x,), out, s = step.operands, step.out, step.attrs
    reduce = {"max": "maximum.reduce", "min": "minimum.reduce"}[step.op]
    if p.plan.scratch[out]:
        (other,) = p.plan.scratch[out]
        p.line(f"copyto({p.at(other)}, {in_shape(p, x, other.shape[::-1])}.T)")
        p.line(f"{reduce}({p.at(other)}, 0, None, {p.row(out)})")
    else:
        p.line(f"{reduce}({p.at(x)}, {s['axis']}, None, {p.at(out)}, {s['keepdims']})")


# --- masks as bits: 0 times inf is no nan then --------------------------------------------------


def has_bits(plan: Plan, step: Step) -> bool:
    """Whether the first operand can be looked at as integers."""
    x = step.operands[0]
    place = plan.places.get(x)
    seen = place is not None and (place.static or place.contiguous)
    return bool(step.out.shape and x.shape) and x.dtype in BITS and seen


def masked(p: Printer, step: Step) -> None:
    """x where there is a 1, 0 elsewhere."""
    x, mask = step.operands
    how = f"view({p.dtype(BITS[x.dtype])})"
    p.line(f"multiply({p.view(x, how)}, {p.operand(mask)}, {p.view(step.out, how)})")


def relu(p: Printer, step: Step) -> None:
    """max(x, 0)."""
    (x,) = step.operands
    zero = p.shared(np.zeros(x.shape if x.nbytes <= FULL else (), x.dtype))
    p.line(f"maximum({p.at(x)}, {zero}, out={p.at(step.out)})")


def has_positive_zeros(plan: Plan, step: Step) -> bool:
    """Whether max(-0.0, 0.0) is 0.0 here: the bits of a relu's result then tell what it passed."""
    (y,) = step.operands
    place, shape = plan.places[y], y.shape if y.nbytes <= FULL else ()
    negative = np.full(shape or 1000, -0.0, y.dtype)
    positive = not np.signbit(np.maximum(negative, np.zeros(shape, y.dtype))).any()
    return bool(positive and place.static and place.contiguous)


def relu_mask(p: Printer, step: Step) -> None:
    """1 where a relu's result is above 0."""
    (y,), dtype = step.operands, step.out.dtype
    one = p.shared(np.ones(y.shape if y.nbytes <= FULL else (), dtype))
    p.line(f"minimum({p.view(y, f'view({p.dtype(dtype)})')}, {one}, out={p.at(step.out)})")


def where(p: Printer, step: Step) -> None:
    """a where there is a 1, b elsewhere: b first, and a over it."""
    mask, a, b = (p.operand(x, step.out.dtype) for x in step.operands)
    out = p.at(step.out)
    if b != out:
        p.line(f"copyto({out}, {b})")
    p.line(f"copyto({out}, {a}, where={mask})")


def is_mask(plan: Plan, step: Step) -> bool:
    """Whether the first operand is truths."""
    return bool(step.out.shape) and step.operands[0].dtype == bool


# --- views that have to be copies, packs, indices -----------------------------------------------


def copy(p: Printer, step: Step) -> None:
    """A view of a number, or of memory that is not in one piece."""
    (x,), out = step.operands, step.out
    shaped = step.op == "reshape" and x.shape
    p.line(f"copyto({p.view(out, f'reshape({x.shape})') if shaped else p.at(out)}, {p.operand(x)})")


def flatten(p: Printer, step: Step) -> None:
    """Pieces laid side by side: most of them were made there."""
    for x, place in zip(step.operands, step.attrs["slices"]):
        if not p.plan.is_in_place(step, x, place):
            row = f"{p.at(step.out)}[{place.offset}:{place.end}].reshape({place.shape})"
            line = f"copyto({p.hoist(row)}, {p.operand(x)})"
            (p.setup if x in p.program.constants else p.lines).append(line)


def index_of(p: Printer, step: Step) -> list[str]:
    """The parts of an index, with arrays among them."""
    given = tuple(map(p.operand, step.operands[1:]))
    index = table.filled(step.attrs["index"], given)
    return [part if isinstance(part, str) else p.define(part, "i") for part in index]


def take(p: Printer, step: Step) -> None:
    """x[index], an array that NumPy makes."""
    name = p.fresh(step.out)
    p.line(f"{name} = {p.operand(step.operands[0])}[{', '.join(index_of(p, step)) or '()'}]")
    p.hold(step.out, name)


def scatter(p: Printer, step: Step) -> None:
    """The transpose of take: values put where they were taken, or added if that may be twice."""
    x, *arrays = step.operands
    out, value = p.at(step.out), p.operand(x, step.out.dtype)
    index = index_of(p, step)
    p.line(f"{out}.fill(0)")
    if all(a.dtype == bool for a in arrays) or picks_once(p.program.constants, arrays, step.out):
        p.line(f"{out}[{', '.join(index) or '()'}] = {value}")
    else:
        p.line(f"add_at({out}, ({', '.join(index)},), {value})")


def picks_once(constants: dict[Var, Any], arrays: list[Var], of: Var) -> bool:
    """Whether x[arrays] surely names no element twice: rows of ids, of which one counts up."""
    rows = len(arrays) == len(of.shape) and all(len(a.shape) <= 1 for a in arrays)
    longest = max((a.size for a in arrays), default=0)
    return rows and any(counts_up(constants, a, longest) for a in arrays)


# --- assumptions --------------------------------------------------------------------------------


def counts_agree(p: Printer, step: Step) -> None:
    """Whether all elements are equal."""
    (x,) = step.operands
    every = p.fresh(prefix="counts")
    p.line(f"{every} = {p.at(x)}.tolist()")
    p.numbers[step.out] = f"{every}.count({every}[0]) == {x.size}"


def all_finite(p: Printer, step: Step) -> None:
    """A sum of squares is finite only if all numbers are: one pass, and no array of truths."""
    (x,) = step.operands
    if not x.shape:
        p.numbers[step.out] = f"-inf < {p.number(x)} < inf"
        return
    name = p.numbers[step.out] = p.fresh(step.out, "fine")
    p.line(f"{name} = vdot({p.row(x)}, {p.row(x)}) < inf")


def all_within(p: Printer, step: Step) -> None:
    """0 ≤ x ≤ high: of few numbers that is found faster by Python, a negative one is a large bit
    pattern.
    """
    (x,), high = step.operands, step.attrs["high"]
    name = p.fresh(step.out, "fine")
    if x.size <= 64 and len(x.shape) == 1:
        p.line(f"{name} = {p.at(x)}.tolist()")
        p.numbers[step.out] = f"0 <= min({name}) and max({name}) <= {high}"
    else:
        p.line(f"{name} = maximum.reduce({p.at(x)}.view({p.dtype(np.uint64)}), None) <= {high}")
        p.numbers[step.out] = name


def are_ids(plan: Plan, step: Step) -> bool:
    """Whether these are 64-bit integers that have to be in 0 ... high."""
    (x,), s = step.operands, step.attrs
    return x.dtype == np.int64 and s["low"] == 0 and s["also"] is None and x.size > 0


def number_or_row(plan: Plan, step: Step) -> bool:
    """Whether the operand is a number, or in one piece."""
    (x,) = step.operands
    return not x.shape or (x in plan.places and plan.places[x].contiguous)


def always(plan: Plan, step: Step) -> bool:
    """Wherever the operands are."""
    return True


KERNELS: dict[str, Kernel] = {
    **{name: Kernel(ufunc, always, ALL) for name in UFUNCS},
    "dot": form("dot({all}, {out})", matrices),
    "inner": Kernel(inner, matrices),
    "matmul": Kernel(matmul),
    "einsum": form("einsum({spec!r}, {all}, out={out}, optimize=True)"),
    "concatenate": form("{op}(({all},), {axis}, {out})"),
    "stack": form("{op}(({all},), {axis}, {out})"),
    "astype": form("copyto({out}, {a}, 'unsafe')"),
    "sum": Kernel(total, of_floats),
    "max": Kernel(extremum, scratch=transposed_rows),
    "min": Kernel(extremum, scratch=transposed_rows),
    "masked": Kernel(masked, has_bits, FIRST),
    "relu_grad": Kernel(masked, has_bits, FIRST),
    "relu": Kernel(relu, over=FIRST),
    "where": Kernel(where, is_mask, slice(2, 3)),
    "relu_mask": Kernel(relu_mask, has_positive_zeros),
    **{name: Kernel(copy) for name in ("reshape", "broadcast_to", "copy", "contiguous")},
    "flatten": Kernel(flatten),
    "scatter": Kernel(scatter),
    "take": Kernel(take, always, makes=lambda s: len(s.operands) - 1 == len(s.attrs["index"])),
    "counts_agree": Kernel(counts_agree, always),
    "all_finite": Kernel(all_finite, number_or_row),
    "all_within": Kernel(all_within, are_ids),
    **windows.KERNELS,
}  # fmt: skip
