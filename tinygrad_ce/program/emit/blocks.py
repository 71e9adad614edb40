"""Long rows in blocks: a run of elementwise steps is done piece by piece, while it is in the cache.

A row of some million numbers does not fit into the cache, so each step would wait for memory. All
steps on one piece of it, then all on the next, touch memory once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.ops import UFUNCS

if TYPE_CHECKING:
    from tinygrad_ce.program.emit.emitter import Emitter

LONG = 1 << 18  # elements from which a row is done in blocks
BLOCK = 1 << 15  # elements of a block
LEAST = 4  # steps that are worth a loop


class Loop(NamedTuple):
    """Steps on values of one shape, done block by block."""

    steps: list[Step]

    @property
    def operands(self) -> tuple[Var, ...]:
        """What the loop reads from outside."""
        made = {s.out for s in self.steps}
        return tuple(dict.fromkeys(x for s in self.steps for x in s.operands if x not in made))


def in_blocks(steps: list[Step], program: Program, sure: int) -> list[Step | Loop]:
    """The steps in an order in which runs of elementwise steps on long rows stand together.

    From number `sure` on steps may write state or draw: none of them comes earlier, except those
    of a loop, which only fill buffers.
    """
    afters = {s.after for s in program.states if s.after is not s.before}
    shapes = {s.out.shape for s in steps if s.out.size >= LONG}
    stay = {id(step) for step in steps[sure:]}
    items: list[Step | Loop] = list(steps)
    for shape in shapes:
        items = gathered(items, shape, afters, stay)
    return items


def gathered(
    items: list[Step | Loop], shape: tuple[int, ...], afters: set[Var], stay: set[int]
) -> list[Step | Loop]:
    """The same with one loop for the first run of steps on values of this shape; steps that
    `stay` do not come before it.
    """
    loop: list[Step] = []
    before: list[Step | Loop] = []
    after: list[Step | Loop] = []
    in_loop: set[Var] = set()
    late: set[Var] = set()
    for item in items:
        outs = {s.out for s in item.steps} if isinstance(item, Loop) else {item.out}
        reads = set(item.operands)
        if not reads & late and isinstance(item, Step) and fits(item, shape, afters):
            loop.append(item)
            in_loop |= outs
        elif reads & (in_loop | late) or id(item) in stay:
            after.append(item)
            late |= outs
        else:
            before.append(item)
    if len(loop) < LEAST:
        return items
    return [*before, Loop(loop), *after]


def fits(step: Step, shape: tuple[int, ...], afters: set[Var]) -> bool:
    """Whether a step can be done block by block."""
    if step.op in ("sum", "all_finite"):
        whole = step.op != "sum" or not step.out.shape
        return whole and all(x.shape == shape and x.dtype.kind == "f" for x in step.operands)
    if step.op not in UFUNCS and step.op != "astype":
        return False
    if step.out.shape != shape or step.out in afters:
        return False
    return all(x.shape in (shape, ()) for x in step.operands)


class LoopWriter:
    """Writes one loop into the function."""

    def __init__(self, e: Emitter, loop: Loop, doubts: dict[Var, int]) -> None:
        self.e = e
        self.steps = loop.steps
        self.doubts = doubts
        made = {s.out for s in loop.steps}
        self.last = {x: i for i, s in enumerate(loop.steps) for x in s.operands if x in made}
        self.n = next(s.out.size for s in loop.steps if s.out.shape)
        self.chunked: dict[str, str] = {}  # a flat array -> the name of its block in the loop
        self.dynamic: dict[str, str] = {}
        self.blocks: dict[Var, str] = {}
        self.free: dict[int, list[str]] = {}
        self.temporary: dict[str, object] = {}  # blocks that no array stands behind: dtypes
        self.lines: list[str] = []

    def write(self) -> None:
        """The lines before the loop, the loop itself, and where its results are."""
        e = self.e
        sums = [s for s in self.steps if s.op == "sum"]
        for step in sums:
            e.scalars[step.out] = e.fresh(step.out, "n")
            e.say(f"{e.scalars[step.out]} = 0.0")
        outside = {x for x, last in e.last.items() if last > e.now}
        for i, step in enumerate(self.steps):
            self.step(i, step, step.out in outside)
        names = [*self.chunked.values()]
        blocks = e.fresh(prefix="blocks")
        arrays = ", ".join(self.chunked)
        e.names["in_pieces"] = in_pieces
        e.setup.append(f"{blocks} = in_pieces({self.n}, {BLOCK}, [{arrays}])")
        e.say(f"for i, j, {', '.join(names)} in {blocks}:")
        for flat, name in self.dynamic.items():
            e.say(f"    {name} = {flat}[i:j]")
        for line in self.lines:
            e.say(f"    {line}")

    def operand(self, x: Var, dtype: object) -> str:
        """The block of an operand, or a number."""
        if not x.shape:
            return self.e.text(x, dtype)
        if x in self.blocks:
            return self.blocks[x]
        place = self.e.places[x]
        flat = self.e.flat(x)
        static = place.storage is not None and place.storage.static and place.contiguous
        if static:
            self.blocks[x] = self.chunk(flat)
        else:
            name = self.e.fresh(prefix="row")
            self.e.say(f"{name} = {flat}")
            self.blocks[x] = self.dynamic[name] = self.e.fresh(prefix="part")
        return self.blocks[x]

    def chunk(self, flat: str) -> str:
        """The name of the block of a flat array that is there before the run."""
        if flat not in self.chunked:
            self.chunked[flat] = self.e.fresh(prefix="part")
        return self.chunked[flat]

    def step(self, i: int, step: Step, outside: bool) -> None:
        """The line of one step."""
        e = self.e
        if step.op in ("sum", "all_finite"):
            self.reduction(step)
        else:
            known = [x.dtype for x in step.operands if x.dtype is not None]
            dtype = e.common(known)
            texts = [self.operand(x, dtype) for x in step.operands]
            target = self.target(i, step, outside)
            if step.op == "astype":
                self.lines.append(f"copyto({target}, {texts[0]}, 'unsafe')")
            else:
                out = "out=" if step.op in ("maximum", "minimum") else ""
                self.lines.append(f"{step.op}({', '.join(texts)}, {out}{target})")
        for x in set(step.operands):
            if self.last.get(x) == i and self.blocks.get(x, "") in self.temporary:
                self.free.setdefault(x.dtype.itemsize, []).append(self.blocks[x])

    def target(self, i: int, step: Step, outside: bool) -> str:
        """Where the block of a result goes."""
        e, out = self.e, step.out
        if outside:
            place = e.destination(step)
            e.put(out, place)
            self.blocks[out] = self.chunk(e.flat(out))
            return self.blocks[out]
        for x in step.operands:  # in the place of an operand that is read for the last time
            name = self.blocks.get(x, "")
            if self.last.get(x) == i and name in self.temporary and x.dtype == out.dtype:
                self.blocks[out] = name
                self.last.setdefault(out, i)
                self.last[x] = -1
                return name
        same = [n for n in self.free.get(out.dtype.itemsize, []) if self.temporary[n] == out.dtype]
        if same:
            self.free[out.dtype.itemsize].remove(same[0])
            self.blocks[out] = same[0]
            return same[0]
        name = e.fresh(prefix="block")
        e.setup.append(f"{name} = empty({min(BLOCK, self.n)}, {e.names_of_dtype(out.dtype)})")
        self.blocks[out] = self.chunk(name)
        self.temporary[self.blocks[out]] = out.dtype
        return self.blocks[out]

    def reduction(self, step: Step) -> None:
        """A sum over all blocks, or a check of each."""
        e = self.e
        a = self.operand(step.operands[0], None)
        if step.op == "all_finite":
            self.lines.append(f"if not vdot({a}, {a}) < inf: raise Doubt({self.doubts[step.out]})")
            e.scalars[step.out] = "True"
            return
        if step.op == "sum":
            dtype = step.operands[0].dtype
            row = e.shared(np.ones(min(BLOCK, self.n), dtype))
            b = self.chunk(row)
        else:
            b = self.operand(step.operands[1], None)
        self.lines.append(f"{e.scalars[step.out]} += float(dot({a}, {b}))")


def in_pieces(n: int, block: int, arrays: list[np.ndarray]) -> list[tuple[Any, ...]]:
    """(start, end, piece of each array): of long arrays the piece itself, of short ones as much
    of their beginning as the piece is long.
    """
    pieces = []
    for i in range(0, n, block):
        j = min(i + block, n)
        parts = [a[i:j] if len(a) == n and n > block else a[: j - i] for a in arrays]
        pieces.append((i, j, *parts))
    return pieces
