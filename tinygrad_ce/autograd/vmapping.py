"""vmap: a function of one example, made one of many."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from tinygrad_ce.autograd.batched import Batched, Level, into, out_of
from tinygrad_ce.autograd.trees import leaves, like, spread
from tinygrad_ce.engine.frame import a_type, current, tracing
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.functions import concatenate


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that does to every slice, along `in_dims` of its arguments, what func does to one.

    y[i] = func(x[i]) for all i, computed at once: each operation is done to all slices together.
    `in_dims` and `out_dims` are a dimension for all arguments (results), or a tuple with one for
    each; an argument with None is the same for all slices, and so are keyword arguments. Arguments
    and results are tensors, or dicts, lists and tuples of them.

    A `randomness` of "different" draws other random numbers for each slice, "same" the same; the
    default refuses. With `chunk_size` so many slices at a time are computed.

    >>> import tinygrad_ce as tg
    >>> rows = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> tg.vmap(lambda row: row.dot(row))(rows)
    tensor([ 5., 25.])
    >>> from tinygrad_ce.func import grad
    >>> slope = grad(lambda w, x: (w * x).sum() ** 2)
    >>> tg.vmap(slope, in_dims=(None, 0))(tg.tensor([1.0, 1.0]), rows)
    tensor([[ 6., 12.],
            [42., 56.]])

    Raises ValueError for arguments that have no such dimensions, RuntimeError where func asks for a
    value (`if x > 0`) or draws without `randomness`.
    """
    name = getattr(func, "__name__", repr(func))
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"vmap: randomness={randomness!r}; wanted 'error', 'different', 'same'")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"vmap: chunk_size={chunk_size}; wanted at least 1")

    @wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        given, dims = leaves(args), in_dims_of(name, in_dims, args)
        size = slice_count(name, given, dims)
        n = chunk_size or max(size, 1)
        parts = [range(i, min(i + n, size)) for i in range(0, max(size, 1), n)]
        results = []
        for part in parts:
            some = [
                x if d is None or len(parts) == 1 else x.index_select(d, list(part))
                for x, d in zip(given, dims)
            ]
            level = Level(len(part), randomness, current().tracer)
            results.append(run(name, partial(func, **kwargs), args, some, dims, out_dims, level))
        if len(results) == 1:
            return results[0]
        where = spread(out_dims, results[0]) or []
        columns = zip(*map(leaves, results))
        return like(
            results[0],
            [x[0] if d is None else concatenate(x, d) for x, d in zip(columns, where)],
        )

    return mapped


def run(
    name: str,
    func: Callable[..., Any],
    tree: Any,
    given: list[Any],
    dims: list[Any],
    out_dims: Any,
    level: Level,
) -> Any:
    """func on all slices at once."""
    entered = [x if d is None else into(x, d % x.ndim, level) for x, d in zip(given, dims)]
    args = like(tree, entered)
    try:
        with tracing(level):
            y = func(*args)
    finally:
        level.open = False
    one = isinstance(y, Tensor) and isinstance(out_dims, tuple) and len(out_dims) == 1
    where = spread(out_dims[0] if one else out_dims, y)
    if where is None:
        raise ValueError(f"vmap({name}): out_dims={out_dims} has another form than the results")
    return like(y, [left(name, x, d, level) for x, d in zip(leaves(y), where)])


def left(name: str, x: Any, dim: Any, level: Level) -> Any:
    """A result, outside of the vmap."""
    differs = isinstance(x, Tensor) and isinstance(x.array, Batched) and level in x.array.levels()
    if dim is None and differs:
        raise ValueError(f"vmap({name}): a result differs between the slices; its out_dims is None")
    if dim is None:
        return x
    if not isinstance(x, Tensor):
        raise ValueError(
            f"vmap({name}): got {a_type(x)} as a result; wanted Tensors, or out_dims=None"
        )
    n = x.ndim + 1
    if not isinstance(dim, int) or not -n <= dim < n:
        raise IndexError(f"vmap({name}): out_dims={dim} for slices of {n - 1} dimensions")
    return out_of(x, dim % n, level)


def in_dims_of(name: str, in_dims: Any, args: tuple[Any, ...]) -> list[Any]:
    """The dimension of each tensor in the arguments."""
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(
            f"vmap({name}): in_dims is {a_type(in_dims)}; wanted a dimension, or a tuple "
            "with one for each argument"
        )
    dims = spread(in_dims, args)
    if dims is None:
        raise ValueError(f"vmap({name}): in_dims={in_dims} has another form than the arguments")
    return dims


def slice_count(name: str, given: list[Any], dims: list[Any]) -> int:
    """How many slices there are."""
    sizes = []
    for x, d in zip(given, dims):
        if d is None:
            continue
        if not isinstance(x, Tensor):
            raise ValueError(
                f"vmap({name}): got {a_type(x)} to slice along {d}; wanted a Tensor, or "
                "None in in_dims for what is the same for all"
            )
        if not isinstance(d, int) or not -x.ndim <= d < x.ndim:
            raise ValueError(
                f"vmap({name}): in_dims={d} for a tensor of {x.ndim} dimensions; wanted "
                f"{-x.ndim} to {x.ndim - 1}, or None"
            )
        sizes.append(x.size(d))
    if not sizes:
        raise ValueError(f"vmap({name}): no argument is sliced; give one that is, in in_dims, too")
    if len({*sizes}) > 1:
        raise ValueError(f"vmap({name}): the arguments have {sizes} slices; wanted as many of each")
    return int(sizes[0])
