"""How each operation is written: the line that fills a buffer, and what it needs beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.program.emit import windows
from tinygrad_ce.program.emit.places import Place
from tinygrad_ce.program.ir import Step, Var
from tinygrad_ce.program.ops import UFUNCS
from tinygrad_ce.program.passes.exact import counts_up

if TYPE_CHECKING:
    from tinygrad_ce.program.emit.emitter import Emitter


def _dot(e: Emitter, step: Step) -> None:
    a, b = step.operands
    if not step.out.shape or len(a.shape) != 2 or len(b.shape) != 2:
        e.emit_call(step)
        return
    left, right = e.places[a].text, e.places[b].text
    place = e.destination(step)
    word = "dot" if place.contiguous else "matmul"  # dot writes into arrays in one piece only
    e.say(f"{word}({left}, {right}, {place.text})")
    e.put(step.out, place)


def _inner(e: Emitter, step: Step) -> None:
    a, b = step.operands
    if len(a.shape) != 2 or len(b.shape) != 2:
        e.emit_call(step)
        return
    base = e.places[b]
    static = base.storage is not None and base.storage.static
    turned = e.once(f"{base.text}.T") if static else f"{base.text}.T"
    place = e.destination(step)
    e.say(f"dot({e.places[a].text}, {turned}, {place.text})")
    e.put(step.out, place)


def _into(e: Emitter, step: Step, form: str) -> None:
    """A call of `form`, with the operands in the place of {0} and the result in that of {1}."""
    if not step.out.shape:
        e.emit_call(step)
        return
    operands = ", ".join(e.text(x) for x in step.operands)
    place = e.destination(step)
    e.say(form.format(operands, place.text))
    e.put(step.out, place)


def _matmul(e: Emitter, step: Step) -> None:
    _into(e, step, "matmul({0}, {1})")


def _sum(e: Emitter, step: Step) -> None:
    (x,), out = step.operands, step.out
    place = e.places.get(x)
    axis, keepdims = step.settings["axis"], step.settings["keepdims"]
    if place is None or x.dtype is None or x.dtype.kind != "f" or not x.size:
        e.emit_call(step)
        return
    if not out.shape:
        name = e.fresh(out, "n")
        if place.contiguous and x.size <= table.SHORT * 64:
            flat = e.flat(x)
            ones = e.define(np.ones(x.size, x.dtype), "ones")
            e.say(f"{name} = float(dot({flat}, {ones}))")
        else:
            e.say(f"{name} = float(add.reduce({place.text}, None))")
        e.scalars[out] = name
        return
    target = e.destination(step)
    axes = range(len(x.shape)) if axis is None else {axis} if isinstance(axis, int) else axis
    axes = {a % len(x.shape) for a in axes}
    if len(x.shape) == 2 and len(axes) == 1 and (0 in axes or x.shape[1] <= table.SHORT):
        n = x.shape[0 if 0 in axes else 1]
        ones = e.define(np.ones(n, x.dtype), "ones")
        flat = target.text if len(out.shape) == 1 else e.once(f"{target.text}.reshape(-1)")
        e.say(f"dot({f'{ones}, {place.text}' if 0 in axes else f'{place.text}, {ones}'}, {flat})")
    else:
        axis = tuple(sorted(axes))
        e.say(f"add.reduce({place.text}, {axis}, None, {target.text}, {keepdims})")
    e.put(out, target)


def _extremum(e: Emitter, step: Step) -> None:
    (x,) = step.operands
    axis = step.settings["axis"]
    if not step.out.shape or not isinstance(axis, int):
        e.emit_call(step)
        return
    ufunc = "maximum" if step.op == "max" else "minimum"
    place = e.destination(step)
    source = e.places[x].text
    if len(x.shape) == 2 and axis in (1, -1) and x.shape[0] > x.shape[1] > 1:
        turned = e.buffer(Var(x.shape[::-1], x.dtype, False))
        e.say(f"copyto({turned.text}, {source}.T)")
        flat = e.once(f"{place.text}.reshape(-1)")
        e.say(f"{ufunc}.reduce({turned.text}, 0, None, {flat})")
        if turned.storage is not None:
            e.free.append(turned.storage)
    else:
        e.say(f"{ufunc}.reduce({source}, {axis}, None, {place.text}, {step.settings['keepdims']})")
    e.put(step.out, place)


_BITS = {np.dtype(np.float32): "int32", np.dtype(np.float64): "int64"}


def _masked(e: Emitter, step: Step) -> None:
    x, keep = step.operands
    bits = _BITS.get(x.dtype)
    if bits is None or not step.out.shape or not x.shape:
        e.emit_call(step)
        return
    base = e.places[x]
    static = base.storage is not None and base.storage.static
    if not static and not base.contiguous:
        e.emit_call(step)
        return
    e.names[bits] = np.dtype(bits)
    source = f"{base.text}.view({bits})"
    source = e.once(source) if static else source
    mask = e.text(keep)
    place = e.destination(step, (x,) if x.shape == step.out.shape else ())
    e.say(f"multiply({source}, {mask}, {e.once(f'{place.text}.view({bits})')})")
    e.put(step.out, place)


FULL = 1 << 18  # bytes up to which a constant is spelt out: NumPy is twice as fast on equal shapes


def _relu(e: Emitter, step: Step) -> None:
    (x,) = step.operands
    if not step.out.shape:
        e.emit_call(step)
        return
    zero = np.zeros(x.shape if x.nbytes <= FULL else (), x.dtype)
    source = e.text(x)
    place = e.destination(step, (x,))
    e.say(f"maximum({source}, {e.shared(zero)}, out={place.text})")
    e.put(step.out, place)


def zeros_are_positive(shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether max(-0.0, 0.0) is 0.0 here: the bits of a relu's result then tell what it passed."""
    negative = np.full(shape or 1000, -0.0, dtype)
    return not np.signbit(np.maximum(negative, np.zeros(shape, dtype))).any()


def _passes(e: Emitter, step: Step) -> None:
    (y,) = step.operands
    bits = step.out.dtype
    shape = y.shape if y.nbytes <= FULL else ()
    base = e.places[y]
    static = base.storage is not None and base.storage.static
    if not (static and base.contiguous and zeros_are_positive(shape, y.dtype)):
        e.emit_call(step)
        return
    view = e.once(f"{base.text}.view({e.names_of_dtype(bits)})")
    place = e.destination(step)
    e.say(f"minimum({view}, {e.shared(np.ones(shape, bits))}, out={place.text})")
    e.put(step.out, place)


def _let_pass(e: Emitter, step: Step) -> None:
    g, bits = step.operands
    base = e.places.get(g)  # none for one number, the gradient of a sum
    static = base is not None and base.storage is not None and base.storage.static
    if base is None or not g.shape or not (static or base.contiguous):
        e.emit_call(step)
        return
    name = e.names_of_dtype(bits.dtype)
    view = e.once(f"{base.text}.view({name})") if static else f"{base.text}.view({name})"
    mask = e.places[bits].text
    place = e.destination(step, (g,))
    e.say(f"multiply({view}, {mask}, {e.once(f'{place.text}.view({name})')})")
    e.put(step.out, place)


def _piece(e: Emitter, step: Step) -> None:
    (x,) = step.operands
    base = e.places[x]
    placement = step.settings["placement"]
    name = e.piece_of(base.text, placement)
    e.put(step.out, Place(name, base.storage, True))
    if not step.out.shape:
        e.scalars[step.out] = f"{name}.item()"


def _pack(e: Emitter, step: Step) -> None:
    place = e.packs[step.out]
    for x, placement in zip(step.operands, step.settings["placements"]):
        if (step.out, x) in e.filled:
            continue
        own = e.preplaced.get(x)
        if own is None or e.places.get(x) is not own:
            e.say(f"copyto({e.piece_of(place.text, placement)}, {e.text(x)})")
    e.put(step.out, place)


def _counts_agree(e: Emitter, step: Step) -> None:
    (x,) = step.operands
    every = e.fresh(prefix="counts")
    e.say(f"{every} = {e.places[x].text}.tolist()")
    e.scalars[step.out] = f"{every}.count({every}[0]) == {x.size}"


def _astype(e: Emitter, step: Step) -> None:
    (x,) = step.operands
    if not step.out.shape:
        e.emit_call(step)
        return
    place = e.destination(step)
    e.say(f"copyto({place.text}, {e.text(x)}, 'unsafe')")
    e.put(step.out, place)


def _copying_view(e: Emitter, step: Step) -> None:
    """A view that has to be a copy: of a number, or of memory that is not in one piece."""
    (x,) = step.operands
    if not step.out.shape:
        e.emit_call(step)
        return
    place = e.destination(step)
    if step.op == "reshape" and x.shape:
        e.say(f"copyto({e.once(f'{place.text}.reshape({x.shape})')}, {e.text(x)})")
    else:
        e.say(f"copyto({place.text}, {e.text(x)})")
    e.put(step.out, place)


def picks_once(e: Emitter, arrays: list[Var], of: Var) -> bool:
    """Whether x[arrays] surely names no element twice: rows of ids, of which one counts up."""
    rows = len(arrays) == len(of.shape) and all(len(a.shape) <= 1 for a in arrays)
    longest = max((a.size for a in arrays), default=0)
    return rows and any(counts_up(e.program.constants, a, longest) for a in arrays)


def _scatter(e: Emitter, step: Step) -> None:
    x, *arrays = step.operands
    place = e.destination(step)
    index = table.filled(step.settings["index"], tuple(e.text(a) for a in arrays))
    parts = [p if isinstance(p, str) else e.define(p, "i") for p in index]
    value = e.text(x, step.out.dtype)
    e.say(f"{place.text}.fill(0)")
    if all(a.dtype == bool for a in arrays) or picks_once(e, arrays, step.out):
        e.say(f"{place.text}[{', '.join(parts) or '()'}] = {value}")
    else:
        e.say(f"add_at({place.text}, ({', '.join(parts)},), {value})")
    e.put(step.out, place)


def _take(e: Emitter, step: Step) -> None:
    x, *arrays = step.operands
    index = table.filled(step.settings["index"], tuple(e.text(a) for a in arrays))
    parts = [p if isinstance(p, str) else e.define(p, "i") for p in index]
    name = e.fresh(step.out)
    e.say(f"{name} = {e.text(x)}[{', '.join(parts) or '()'}]")
    e.hold(step.out, name)
    if step.out.shape and len(arrays) == len(parts):
        e.places[step.out].contiguous = True


def _all_finite(e: Emitter, step: Step) -> None:
    """A sum of squares is finite only if all numbers are: one pass, and no array of truths."""
    (x,) = step.operands
    name = e.fresh(step.out, "fine")
    if not x.shape:
        e.scalars[step.out] = f"-inf < {e.scalar(x)} < inf"
        return
    place = e.places.get(x)
    if place is None or not place.contiguous or not x.shape:
        e.emit_call(step)
        return
    static = place.storage is not None and place.storage.static
    flat = f"{place.text}.reshape(-1)"
    flat = e.once(flat) if static else flat
    e.say(f"{name} = vdot({flat}, {flat}) < inf")
    e.scalars[step.out] = name


def _all_within(e: Emitter, step: Step) -> None:
    (x,) = step.operands
    s = step.settings
    if x.dtype != np.int64 or s["low"] != 0 or s["also"] is not None or not x.size:
        e.emit_call(step)
        return
    name = e.fresh(step.out, "fine")
    if x.size <= 64 and len(x.shape) == 1:  # so few are looked at faster by Python
        e.say(f"{name} = {e.places[x].text}.tolist()")
        e.scalars[step.out] = f"0 <= min({name}) and max({name}) <= {s['high']}"
        return
    e.names["uint64"] = np.dtype(np.uint64)
    e.say(f"{name} = maximum.reduce({e.places[x].text}.view(uint64), None) <= {s['high']}")
    e.scalars[step.out] = name


def _joined(e: Emitter, step: Step) -> None:
    _into(e, step, f"{step.op}(({{0}},), {step.settings['axis']}, {{1}})")


def _einsum(e: Emitter, step: Step) -> None:
    _into(e, step, f"einsum({step.settings['spec']!r}, {{0}}, out={{1}}, optimize=True)")


def _draw(e: Emitter, step: Step) -> None:
    s = step.settings
    generator = e.define(getattr(s["generator"], s["method"]), "draw")
    name = e.fresh(step.out)
    args = table.filled(s["args"], tuple(e.text(x) for x in step.operands))
    given = ", ".join(x if isinstance(x, str) else e.define(x) for x in args)
    e.say(f"{name} = {generator}({given + ', ' * bool(given)}**{e.define(s['kwargs'])})")
    e.hold(step.out, name)
    if step.out.shape:
        storage = e.places[step.out].storage
        e.put(step.out, Place(name, storage, True))


WRITERS: dict[str, Callable[[Emitter, Step], None]] = {
    "dot": _dot, "inner": _inner, "matmul": _matmul, "sum": _sum, "max": _extremum,
    "min": _extremum, "masked": _masked, "astype": _astype, "reshape": _copying_view,
    "broadcast_to": _copying_view, "scatter": _scatter, "take": _take,
    "relu": _relu, "passes": _passes, "let_pass": _let_pass,
    "copy": _copying_view, "contiguous": _copying_view,
    "piece": _piece, "pack": _pack, "counts_agree": _counts_agree,
    "all_finite": _all_finite, "all_within": _all_within, "concatenate": _joined,
    "stack": _joined, "einsum": _einsum, "draw": _draw, **windows.WRITERS,
}  # fmt: skip

# Operations that write their result into memory they are given.
INTO = frozenset(UFUNCS) | (
    WRITERS.keys() - {"take", "draw", "piece", "pack", "counts_agree", "all_finite", "all_within"}
)

VIEWS: dict[str, Callable[[str, Step], str]] = {
    "reshape": lambda x, s: f"{x}.reshape({s.settings['shape']})",
    "transpose": lambda x, s: f"{x}.transpose({s.settings['axes']})",
    "slice": lambda x, s: f"{x}[{index_text((*s.settings['index'], *rest(s)))}]",
    "windows": lambda x, s: (
        f"sliding_window_view({x}, {s.settings['window']}, {s.settings['axes']})"
    ),
}


def rest(step: Step) -> tuple[Any, ...]:
    """x[0] of a row is a copy, x[0, ...] a view that sees what is written later."""
    full = step.out.shape or any(part is Ellipsis for part in step.settings["index"])
    return () if full else (Ellipsis,)


SCALAR = frozenset(
    [
        "add",
        "subtract",
        "multiply",
        "divide",
        "negative",
        "sqrt",
        "power",
        "exp",
        "log",
        "log1p",
        "absolute",
        "astype",
        "greater",
        "greater_equal",
        "less",
        "less_equal",
        "equal",
        "not_equal",
        "square",
        "maximum",
        "minimum",
    ]
)


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
