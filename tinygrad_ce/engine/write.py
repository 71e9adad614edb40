"""In-place writes that the graph can trust.

Every write goes through a Tensor. While recording, a tensor that is written becomes a new node:
what it was is set aside (`node.was`), so that earlier consumers still find it. What is written
through a view is written into the tensor that it was taken from, the root. All other views fall
behind, and follow when somebody asks for their past (`Behind` of engine/tensor.py): a write costs
what the written tensor costs, however many views it has. A backward pass that would need an
overwritten value raises instead of using the new one (`chain.refuse`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import numpy as np

from tinygrad_ce.engine import rule, table
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.graph import DETACHED, Node, kinds, new
from tinygrad_ce.engine.hooks import hand_over
from tinygrad_ce.engine.lending import keep_lent, lent, writer_since
from tinygrad_ce.engine.memory import (
    PAST,
    Memory,
    base_of,
    leave,
    mark_written,
    memory_of,
    repeats,
    root_of,
    shared,
    tick,
    writable,
)
from tinygrad_ce.engine.operands import (
    constant,
    explained,
    leaf,
    numbers,
    settle,
    type_name,
    value_of,
)
from tinygrad_ce.engine.promotion import category


def assign(x: Node, arrays: tuple[Any, ...], index: tuple[Any, ...], values: Any) -> None:
    """x[index] = values."""
    if not arrays and isinstance(values, Node) and is_part(values, x, index):
        return  # x[index] += d has been written already, into the view
    if not arrays and index != (...,) and is_locked(x):  # a row of what repeats rows may be written
        assign(table.getitem(x, index=index), (), (...,), values)
        return
    values = copy_if_aliased(values, x) if isinstance(values, Node) else constant(values, x)
    if values.array.ndim and len(index) == x.array.ndim and all(type(i) is int for i in index):
        values = only_number(values)
    if values.live and current().record:
        refuse_repeated(x, arrays, index)

    def carry_out(old: Node | None) -> Node:
        try:
            at = table.filled(index, tuple(value_of(a) for a in arrays))
            value_of(x)[at] = value_of(values)
        except (ValueError, TypeError, IndexError) as error:
            raise misfit(x, arrays, index, values, error) from None
        if old is None:
            return x
        if not hasattr(x, "window"):
            return outcome(table.put, (old, values, *arrays), (index,), x.array)
        y: Node = table.put(old, values, *arrays, index=index)  # a step of several: own numbers
        return y

    change(x, values.live, carry_out, "x[...] = v", (values, *arrays))


def is_part(y: Node, x: Node, index: tuple[Any, ...]) -> bool:
    """Whether y is x[index], the view."""
    if y.memory is None or y.memory is not x.memory or not hasattr(y, "window"):
        return False
    base, op, attrs, _ = y.window
    getitem: Any = table.getitem
    here = base is x and y.array.base is x.array  # x may have been seen as something else since
    return here and op is getitem.op and attrs == (index,)


def update(x: Node, operation: Callable[..., Any], other: Any, name: str) -> Node:
    """x = operation(x, other), written into the memory of x; gives x."""
    other = copy_if_aliased(other, x) if isinstance(other, Node) else constant(other, x)

    def carry_out(old: Node | None) -> Node:
        target = value_of(x)
        try:
            changed = operation(target, value_of(other)) if old is None else operation(old, other)
        except (ValueError, TypeError) as error:
            raise (explained(name, (x, other), error) if old is None else error) from None
        found = value_of(changed)
        check_fit(found, target, name)
        target[...] = found
        return x if old is None else changed

    change(x, other.live, carry_out, name, (other,))
    return x


def in_place(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The method of that name that writes function(x, ...) into the memory of x, and gives x."""

    @wraps(function)
    def call(self: Any, *args: Any, **settings: Any) -> Any:
        return rewrite(self, function, args, settings, name)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"In place: {function.__doc__}"
    return call


def rewrite(
    x: Node, function: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any],
    name: str,
) -> Node:  # fmt: skip
    """x = function(x, *args, **settings), written into the memory of x; gives x."""
    given = [copy_if_aliased(a, x) if isinstance(a, Node) else a for a in args]
    named = {k: copy_if_aliased(a, x) if isinstance(a, Node) else a for k, a in settings.items()}
    live = False
    for other in (*given, *named.values()):
        live |= isinstance(other, Node) and other.live

    def carry_out(old: Node | None) -> Node:
        changed = function(x if old is None else old, *given, **named)
        found = value_of(changed)
        check_fit(found, x.array, name)
        value_of(x)[...] = found
        if old is None:
            return x
        flat = old.live and not changed.live  # x is still made from what it was, with slope 0
        return table.put(old, changed, index=(...,)) if flat else changed

    change(x, live, carry_out, name, (*given, *named.values()))
    return x


def check_fit(changed: Any, target: Any, name: str) -> None:
    """A result must have the shape of what it is written into, and numbers of its kind."""
    kind, wanted = changed.dtype, target.dtype
    if changed.shape != target.shape or (kind is not wanted and category(kind) > category(wanted)):
        raise ValueError(
            f"{name}: a result of shape {changed.shape} and dtype {changed.dtype} does not fit "
            f"into a tensor of shape {target.shape} and dtype {target.dtype}; "
            "write x = x + d for a new tensor"
        )


def reshaped(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The method of that name that lets x be seen as function(x, ...), a view, and gives x."""

    @wraps(function)
    def call(self: Any, *args: Any, **settings: Any) -> Any:
        return see_as(self, lambda x: function(x, *args, **settings), name)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"In place: {function.__doc__}"
    return call


def see_as(x: Node, function: Callable[[Any], Any], name: str) -> Node:
    """Let x be what `function`, which gives a view, makes of it; what it was stays its base."""
    frame = current()
    if frame.tracer is not None:
        frame.tracer.refuse(f"{name} gives a tensor another shape", f"Write x = x.{name[:-1]}()")
    settle(x)
    if frame.record and x.live:
        refuse_leaf(x, root_of(x), (x,), name)
    memory, way = memory_of(x), [x]
    while hasattr(way[-1], "window"):
        way.append(base_of(way[-1]))
    if memory.followed or not {*memory.nodes()} <= {*way}:
        raise RuntimeError(
            f"{name}: other tensors look at this one; write x = x.{name[:-1]}(), a new view"
        )
    base = aside(x, x.array)
    base.memory = memory
    if hasattr(x, "window"):
        base.window = x.window
        memory.watch(base)
    y = function(base)
    x.array, x.window, x.memory = y.array, y.window, y.memory
    if not x.live or x.inputs:
        for slot in PAST:
            setattr(x, slot, getattr(y, slot))
        x.detached_by = None if y.live else y.detached_by
        memory.watch(x)
    return x


def is_locked(x: Node) -> bool:
    """Whether the array of x cannot be written: its elements repeat, or the user has locked it."""
    return isinstance(x.array, np.ndarray) and not writable(x.array)


def copy_if_aliased(operand: Node, x: Node) -> Any:
    """`operand`, or a copy of it if it looks at the memory that is about to be written."""
    same = operand is x or (operand.memory is not None and operand.memory is x.memory)
    return table.copy(operand) if same else operand


def only_number(values: Node) -> Any:
    """What is written into one element, as a number: a tensor of one element is one, too."""
    if values.array.size != 1:
        raise ValueError(
            f"x[index] = v: the index names one element, and v has shape {values.array.shape}; "
            "wanted one number"
        )
    return table.reshape(values, ())


def misfit(
    x: Node, arrays: tuple[Any, ...], index: tuple[Any, ...], values: Node, error: Exception
) -> Exception:
    """What is said when `values` cannot be written to x[index]."""
    shape = x.array.shape
    if isinstance(error, IndexError) or "broadcast" not in str(error):
        kind = IndexError if isinstance(error, IndexError) else type(error)
        return kind(f"x[index] = v into shape {shape} and dtype {x.array.dtype}: {error}")
    at = table.filled(index, tuple(numbers(a.array) for a in arrays))
    wanted = np.broadcast_to(np.empty(()), shape)[at].shape
    return ValueError(
        f"x[index] = v: v has shape {values.array.shape}, which does not broadcast to {wanted}, "
        f"the shape of x[index]; x has shape {shape}"
    )


def refuse_repeated(x: Node, arrays: tuple[Any, ...], index: tuple[Any, ...]) -> None:
    """Which of several values written to one element stays is not defined: no gradient then."""
    if not arrays or not isinstance(x.array, np.ndarray):
        return
    places = np.arange(x.array.size).reshape(x.array.shape)
    try:
        written = places[table.filled(index, tuple(a.array for a in arrays))]
    except IndexError:
        return  # which the write itself will tell
    if np.unique(written).size != written.size:
        raise ValueError(
            "x[index] = v: the index names an element twice, so which value it gets, and so the "
            "gradient of v, is not defined; write each element once"
        )


def change(
    x: Node, live: bool, carry_out: Callable[[Node | None], Node], name: str, sources: Iterable[Any]
) -> None:
    """Write into the memory of x; while recording, also move the graph along.

    `live` says whether what is written requires a gradient, `sources` what it is. `carry_out`
    writes. Given what x was, it returns the node that x becomes.
    """
    settle(x)
    if is_locked(x):
        why = "repeats its elements (expand, windows)" if repeats(x.array) else "is read-only"
        raise RuntimeError(
            f"{name}: this tensor of shape {x.array.shape} {why} and cannot be written; "
            "write into x.clone()"
        )
    root = root_of(x)
    frame = current()
    if not frame.record or not (x.live or live or root.live):
        watched = frame.tracer is None and not isinstance(frame.lines, bool)
        watcher: Any = frame.lines if watched else None
        before = x.array.copy() if watcher is not None else None
        carry_out(None)
        mark_written(x, name)
        stain(x, root, name, sources)
        if watcher is not None:
            watcher.written(x, name, before, sources)
        return
    memory = memory_of(x)
    group = dict.fromkeys((root, x, *memory.nodes()))
    refuse_leaf(x, root, group, name)
    before = {node: aside(node, value_of(node).copy()) for node in group}
    now = tick()  # newer than all that has read the numbers, older than what x becomes
    changed = carry_out(before[x])
    memory.written, memory.writer = now, name
    if x is not root:
        changed = around(changed, x, root, before)
    rebind(root, changed, before.pop(root))
    memory.views.clear()
    memory.followed = memory.followed or bool(before)
    for view, old in before.items():
        fall_behind(view, old)


def stain(x: Node, root: Node, name: str, sources: Iterable[Any]) -> None:
    """Let what needs no gradient know that it was written from data, or from what needed one."""
    detached_by = [name if y.live else y.detached_by for y in sources if isinstance(y, Node)]
    if any(by is not None for by in detached_by):
        memory_of(x).stained = True
        for node in (x, root):
            if not node.live:
                node.detached_by = node.detached_by or next(filter(None, detached_by), "")


def refuse_leaf(x: Node, root: Node, group: Iterable[Node], name: str) -> None:
    """A leaf that requires a gradient must not be written while recording, nor a view of one."""
    if x.array.dtype.kind != "f":
        raise TypeError(
            f"{name}: this tensor of dtype {x.array.dtype} cannot carry the gradient of what is "
            "written into it; write v.detach(), or use x.float()"
        )
    what = {root: "a view of a leaf", x: "a leaf"}
    for node in group:
        if node.live and not node.inputs:
            raise RuntimeError(
                f"{name}: this tensor is {what.get(node, 'seen by a leaf')} that requires a "
                "gradient, so its value must stay. To update a parameter write "
                "`with no_grad(): w -= lr * w.grad`; for a new value write w = w - d"
            )


def outcome(function: Any, inputs: tuple[Node, ...], attrs: tuple[Any, ...], array: Any) -> Any:
    """The node that `function` makes of `inputs`, where its numbers are already known."""
    live = False
    for node in inputs:
        live |= node.live  # of every input, see Behind
    return rule.result(function.op, inputs, attrs, array, live, current())


def cut_off(x: Node) -> Node:
    """Let x be a leaf from here on; what was computed of it before finds its past."""
    frame = current()
    if frame.tracer is not None:
        frame.tracer.refuse("detach_() cuts the graph in place", "Write x = x.detach()")
    if hasattr(x, "window"):
        raise RuntimeError("detach_: this tensor is a view; write x = x.detach()")
    if x.live:
        remember(x, aside(x, x.array))
        x.op, x.inputs, x.attrs, x.live = None, (), (), False
        x.tick, x.detached_by = tick(), DETACHED
    return x


def exchange(x: Node, array: Any, name: str) -> None:
    """Let x hold another array; views and aliases keep the numbers that x had."""
    leave(x, aside(x, x.array))
    x.array = array
    mark_written(x, name)


def into(out: Any, y: Any, name: str) -> Any:
    """`out`, into which the result y was written. A Tensor without elements takes its shape, too.

    Raises RuntimeError where that would cut y from its gradient, TypeError for another category of
    numbers, ValueError for another shape.
    """
    if isinstance(y, tuple):
        for target, part in zip(out, y, strict=True):
            into(target, part, name)
        return out
    if not isinstance(out, Node):
        raise TypeError(f"{name}: out is {type_name(out)}; wanted a Tensor")
    if current().record and (y.live or out.live):
        raise RuntimeError(
            f"{name}: out= has no gradient, and one is required here; leave out= away, or write "
            "with no_grad():"
        )
    result, place = y.array, out.array
    if category(result.dtype) > category(place.dtype):
        raise TypeError(
            f"{name}: a result of dtype {result.dtype} does not fit into out, {place.dtype}"
        )
    if place.shape != result.shape:
        if place.size:
            raise ValueError(f"{name}: out has shape {place.shape}; the result has {result.shape}")
        exchange(out, np.empty(result.shape, place.dtype), "out=")
    assign(out, (), (...,), y)
    return out


def aside(x: Node, array: Any) -> Node:
    """A node with the past of x and these numbers."""
    old = new(kinds["result"])
    for slot in PAST:
        setattr(old, slot, getattr(x, slot))
    old.detached_by = None if x.live else x.detached_by
    old.array = array
    old._grad = None
    old.memory = memory_of(x) if array is x.array else spoilt(x, old)
    if hasattr(x, "held"):
        old.held = x.held
    if hasattr(x, "line"):
        old.line = x.line
    if hasattr(x, "made"):
        old.made = x.made
    hand_over(x, old)
    return old


def spoilt(x: Node, old: Node) -> Memory | None:
    """The memory of `old`, with the numbers of x, if they are not those that made x any more."""
    writer = writer_since(x, x) if x.inputs and x.memory is not None else ""
    if not writer:
        return None
    memory = Memory(old)
    memory.written, memory.writer = tick(), writer
    return memory


def around(changed: Node, x: Node, root: Node, before: dict[Node, Node]) -> Node:
    """What `root` becomes when its view x becomes `changed`.

    Each tensor on the way from x to the root takes the view of it in, as a step of the graph:
    `z.view(2, 2)[0] += 1` puts a row into a matrix, which is reshaped. `before` has what they were.
    """
    path = [x]
    while path[-1] is not root:
        path.append(base_of(path[-1]))
    traced = current().tracer is not None
    _, op, attrs, others = x.window
    if len(path) == 2 and op.name == "getitem" and not traced:
        return outcome(table.put, (before[root], changed, *others), attrs, root.array)  # no copy
    pasts = [before.get(base) for base in path[1:]]  # of a view that was cut off: none, or no slope
    taken_in = all(past is not None and past.live == before[root].live for past in pasts)
    if taken_in and all(v.window[1].name in TAKEN_IN and not is_locked(v) for v in path[:-1]):
        for view, past in zip(path, pasts):
            _, op, attrs, others = view.window
            changed = TAKEN_IN[op.name](changed, past, *attrs, *others)
    else:
        flat = table.reshape(before[root], (-1,))
        flat = table.put(flat, changed, places(path), index=(table.SLOT,))
        changed = table.reshape(flat, root.array.shape)
    if traced:  # the program goes the way that the gradient goes
        value_of(root)[...] = value_of(changed)
    return changed


ON_DIAGONAL = (..., table.SLOT, table.SLOT)
TAKEN_IN: dict[str, Callable[..., Node]] = {
    "getitem": lambda y, x, index, *arrays: table.put(x, y, *arrays, index=index),
    "diagonal": lambda y, x, offset: table.put(
        x, y, *map(leaf, table.places_on_diagonal(x.array.shape, offset)), index=ON_DIAGONAL
    ),
    "reshape": lambda y, x, _: table.reshape(y, x.array.shape),
    "broadcast_to": lambda y, x, _: table.reshape(y, x.array.shape),  # if it repeats nothing
    "transpose": lambda y, x, axes: table.transpose(y, table.inverse(axes)),
    "mT": lambda y, x: table.mT(y),
}
"""What x becomes when a view of it becomes y, by the operation of the view and its attributes."""


def places(path: list[Node]) -> Node:
    """For each element of the first, a view, its number among those of the last, the root."""
    size, shape = path[-1].array.size, path[-1].array.shape
    where = value_of(leaf(np.arange(size).reshape(shape)))
    for view in path[-2::-1]:
        _, op, attrs, others = view.window
        keywords = dict(zip(op.names[-len(attrs) :], attrs)) if attrs else {}
        where = op.forward(where, *map(value_of, others), **keywords)
    return leaf(where)


def rebind(x: Node, node: Node, old: Node) -> None:
    """Give x the origin of `node`; its array, already written, stays where it is."""
    remember(x, old)
    for slot in PAST:
        setattr(x, slot, getattr(node, slot))
    if not node.live:
        x.detached_by = node.detached_by
    elif hasattr(node, "called"):
        x.called = node.called
    x.held = getattr(node, "held", {})
    if lent and x.live:
        keep_lent(x, (x,))
    if hasattr(node, "line"):
        x.line = node.line


def remember(x: Node, old: Node) -> None:
    """Keep what x was."""
    tracer = current().tracer
    if tracer is not None:
        tracer.rebinds(x)
    if hasattr(x, "was"):
        x.was.append(old)
    else:
        x.was = [old]


def fall_behind(view: Node, old: Node) -> None:
    """Let a view follow what happens to its base when it is next asked for its past."""
    remember(view, old)
    view.__class__ = kinds["behind"]


def catch_up(view: Node) -> None:
    """Let a view that has fallen behind look at what its base has become, after its own base.

    It is a Tensor again only when its past is whole: until then other threads that ask wait.
    """
    with shared:
        behind = []
        while type(view) is kinds["behind"]:
            behind.append(view)
            view = base_of(view)
        for view in reversed(behind):
            base, (_, op, attrs, others) = base_of(view), view.window
            if base.live:
                past = {"op": op, "inputs": (base, *others), "attrs": attrs, "live": True}
                for slot, value in {**past, "tick": tick()}.items():
                    getattr(Node, slot).__set__(view, value)  # not by way of Behind
            memory_of(view).watch(view)
            view.__class__ = kinds["result"]
