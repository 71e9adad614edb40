"""Where the numbers of a step lie: on one device, or its batch in parts on the devices of a mesh.

The program is that of the whole batch. XLA cuts it along the batch, so that means and the
statistics of batch normalisation are right by construction, and adds up what the devices found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from jax.experimental import multihost_utils

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engines.found import jax, jnp
from tinygrad_ce.program.ir import Program, Var
from tinygrad_ce.program.tracing.arguments import argument_names

Mesh, NamedSharding = jax.sharding.Mesh, jax.sharding.NamedSharding
PartitionSpec = jax.sharding.PartitionSpec


class UndividedError(ValueError):
    """The rows of a batch have no equal part for each device."""


def xla_options() -> dict[str, str] | None:
    """On a CPU XLA would let barriers go before it fuses: see CHOSEN in lower.py."""
    cpu = jax.default_backend() == "cpu"
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if cpu else None


class Alone:
    """One device."""

    key: Any = None

    def __init__(self, program: Program, draws: Any) -> None:
        self.inputs_at: list[Any] = [None] * len(program.inputs)
        self.drawn_at: list[Any] = [None] * len(draws)

    def put(self, array: Any, at: Any) -> Any:
        """An array as jit takes it: a copy, since its owner may write it while the step runs."""
        return np.array(array)

    def state(self, array: Any, at: Any = None) -> Any:
        """An array on the device: of the state, or what is kept there."""
        return jnp.asarray(np.array(array))

    def jit(self, function: Any, donate: tuple[int, ...]) -> Any:
        """The function, compiled when it is called."""
        return jax.jit(function, donate_argnums=donate, compiler_options=xla_options())


class Spread(Alone):
    """The devices of a mesh: the state on each of them, of the batch a part on each."""

    def __init__(self, trace: Any, program: Program, draws: Any, owner: Any) -> None:
        options = owner.engine_options
        self.key = mesh = options.spread
        self.whole = NamedSharding(mesh, PartitionSpec())
        self.rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        n = mesh.devices.size
        inputs = dict(zip(program.inputs, arguments_of(trace.texts, owner.fn)))
        self.split = {x for x, name in inputs.items() if is_named({x.name, name}, options.batched)}
        if options.batched is not None:
            known = dict.fromkeys([*inputs.values(), *(x.name for x in inputs)])
            check_known(options.batched, list(known), program.name)
            self.batch = next((x.shape[0] for x in inputs if x in self.split and x.shape), 0)
        else:
            sizes = [x.shape[0] for x in inputs if x.shape]
            self.batch = max(sizes, key=lambda k: (sizes.count(k), not k % n), default=0)
            self.split = {x for x in inputs if x.shape and x.shape[0] == self.batch}
        for x in inputs:
            if x in self.split:
                check_divides(x, n, options.batched is None and len({*sizes}) > 1)
        self.inputs_at = [self.rows if x in self.split else self.whole for x in program.inputs]
        self.drawn_at = [self.at(step.out) for step in draws]
        outputs = [self.whole if processes(mesh) > 1 else self.at(x) for x in program.outputs]
        self.shardings = outputs, self.whole, self.whole, self.whole

    def at(self, x: Var) -> Any:
        """Where a value lies: in rows, if its first axis is the batch."""
        return self.rows if x.shape and x.shape[0] == self.batch else self.whole

    def state(self, array: Any, at: Any = None) -> Any:
        """An array on the devices, whole on each unless it is said where; each process sends the
        parts of its own devices.
        """
        at = self.whole if at is None else at
        if at.is_fully_addressable:
            return jax.device_put(np.array(array), at)
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, at, lambda i: np.array(array[i]))

    put = state

    def jit(self, function: Any, donate: tuple[int, ...]) -> Any:
        """The function, for all devices together."""
        return jax.jit(
            function,
            donate_argnums=donate,
            out_shardings=self.shardings,
            compiler_options=xla_options(),
        )


def processes(mesh: Any) -> int:
    """How many processes have devices of a mesh."""
    return len({device.process_index for device in mesh.devices.flat})


def arguments_of(texts: list[str], fn: Any) -> list[str]:
    """For each input of a program the name of the argument that it is, or is in."""
    keys = [re.match(r"(?:kwargs\['(.+?)'\]|args\[(\d+)\])", text).groups() for text in texts]  # type: ignore[union-attr]
    names = argument_names(fn, 1 + max((int(i) for _, i in keys if i), default=-1))
    return [name or names[int(i)] for name, i in keys]


def is_named(names: set[str], batched: tuple[str, ...] | None) -> bool:
    """Whether `batched` names an input: itself, or the argument that it is a part of."""
    return not names.isdisjoint(batched or ())


def check_known(batched: tuple[str, ...], known: list[str], name: str) -> None:
    """Stop if `batched` names what is no input."""
    unknown = [x for x in batched if x not in known]
    if unknown:
        raise ValueError(
            f"compile: batched names {', '.join(unknown)}; {name} has the inputs {', '.join(known)}"
        )


# --- several processes --------------------------------------------------------------------------


def gathered(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, of one shape, one after the other; every bit of them."""
    parts = multihost_utils.process_allgather(np.frombuffer(array.tobytes(), np.uint8))
    return np.ascontiguousarray(parts).view(array.dtype).reshape(-1, *array.shape[1:])


def differing(values: list[Any]) -> list[bool]:
    """For each value, arrays and what has an exact repr in lists, whether processes differ."""

    def digest(x: Any) -> bytes:
        if isinstance(x, (list, tuple)):
            return b"".join(map(digest, x))
        known = (
            f"{x.shape}{x.dtype}".encode() + x.tobytes() if isinstance(x, np.ndarray) else repr(x)
        )
        return hashlib.sha256(known if isinstance(known, bytes) else known.encode()).digest()

    own = b"".join(hashlib.sha256(digest(x)).digest()[:8] for x in values)
    rows = gathered(np.frombuffer(own, np.int64)[None])
    found: list[bool] = (rows != rows[0]).any(0).tolist()
    return found


def check_alike(name: str, values: dict[str, Any]) -> None:
    """Stop, in all processes, if one of them has something else than the others."""
    wrong = [key for key, differs in zip(values, differing([*values.values()])) if differs]
    if wrong:
        raise ValueError(
            f"compile: the processes that run {name} do not agree: {', '.join(wrong)} differ. All "
            "of them call it with the same seeds, parameters, learning rates and shapes; with "
            "local=True each passes as many rows of its own. Nothing was computed"
        )


def as_whole(owner: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments of a call with the whole batch, where each process has its own rows."""
    batched = owner.engine_options.batched
    places = [*zip(argument_names(owner.fn, len(args)), args), *kwargs.items()]
    found: dict[str, tuple[str, Any]] = {}

    def look(x: Any, name: str, argument: str) -> Any:
        array = x.array if isinstance(x, Node) else x
        if isinstance(array, np.ndarray):
            found[name] = argument, array
        return x

    for name, x in places:
        with_names(look, x, name, name)
    called = getattr(owner.fn, "__name__", "the function")
    rates = [s.group[s.key] for r in owner.runners[:1] for s in r.program.settings]
    shapes = [(name, a.shape, str(a.dtype)) for name, (_, a) in found.items()]
    check_alike(called, {"shapes of arguments": shapes, "learning rates": rates})
    if batched is not None:
        check_known(batched, [*dict(places), *found], called)
        owner.split = [k for k, (name, _) in found.items() if is_named({k, name}, batched)]
    elif owner.split is None:
        owner.split = rows_by_content({name: array for name, (_, array) in found.items()})

    def whole(x: Any, name: str, argument: str) -> Any:
        if name not in owner.split or name not in found or not found[name][1].ndim:
            return x
        if isinstance(x, Node) and x.requires_grad:
            raise TypeError(
                "compile: with local=True an argument cannot require a gradient: each process "
                "would have that of other rows. Pass the whole batch, or x.detach()"
            )
        rows = gathered(found[name][1])
        return leaf(rows) if isinstance(x, Node) else rows

    given = [with_names(whole, x, name, name) for name, x in places]
    return tuple(given[: len(args)]), dict(zip(kwargs, given[len(args) :]))


def rows_by_content(arrays: dict[str, np.ndarray]) -> list[str]:
    """The arguments that differ between processes: each has rows of its own."""
    split = [k for k, differs in zip(arrays, differing([*arrays.values()])) if differs]
    sizes = {arrays[k].shape[:1] for k in split}
    alike = [k for k in arrays if k not in split and arrays[k].shape[:1] in sizes]
    if len(sizes) != 1 or alike:
        what = f"{alike[0]} is the same in all" if alike else "the arguments do not tell"
        raise ValueError(
            "compile: local=True has to know of which arguments each process gives its own rows, "
            f"and {what}; name them, as batched={(*(split or arrays),)}"
        )
    return split


def with_names(function: Callable[[Any, str, str], Any], x: Any, name: str, argument: str) -> Any:
    """x with `function(v, name, argument)` for each v in it, named as the inputs of a program."""
    if isinstance(x, dict):
        return {k: with_names(function, v, f"{name}_{k}", argument) for k, v in x.items()}
    if isinstance(x, (tuple, list)):
        parts = [with_names(function, v, f"{name}{i + 1}", argument) for i, v in enumerate(x)]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return function(x, name, argument)


def check_divides(x: Var, n: int, guessed: bool) -> None:
    """Stop if a batch has no equal part for each device."""
    if not x.shape or x.shape[0] % n:
        rows = x.shape[0] if x.shape else 0
        wanted = [f"{k}" for k in (rows - rows % n, rows - rows % n + n) if k]
        other = ". If the batch is in another argument, name it: batched=('x',)" if guessed else ""
        raise UndividedError(
            f"compile: {x.name} has {rows} rows, which {n} devices cannot share evenly; pass "
            f"{' or '.join(wanted)}, or drop_last=True in the loader{other}"
        )


def mesh_of(devices: Any, mesh: Any) -> Any:
    """The mesh that a user has named, or None for one device. Its axes are Auto: XLA divides."""
    if mesh is not None:
        if devices is not None:
            raise TypeError("compile: got both devices and mesh, which say the same; pass one")
        if not hasattr(mesh, "devices") or not hasattr(mesh, "axis_names"):
            raise TypeError(f"compile: got mesh={mesh!r}; wanted a mesh of jax.make_mesh(...)")
        return Mesh(mesh.devices, mesh.axis_names)
    if devices is None:
        return None
    if type(devices) is not int:
        among = isinstance(devices, (list, tuple)) and devices
        if not among or not all(isinstance(d, jax.Device) for d in devices):
            raise TypeError(
                f"compile: got devices={devices!r}; wanted how many, as devices=8, or some of "
                "jax.devices() in a list"
            )
    else:
        known = jax.devices()
        if devices < 1:
            raise ValueError(f"compile: got devices={devices}; wanted 1 ... {len(known)}")
        if devices > len(known):
            raise ValueError(
                f"compile: got devices={devices}; JAX has {len(known)} here. On a CPU, XLA_FLAGS="
                f"--xla_force_host_platform_device_count={devices}, set before Python starts, "
                "makes as many"
            )
        devices = known[:devices]
    here = jax.process_index()
    if all(d.process_index != here for d in devices):  # pragma: no cover - of two processes, one
        raise ValueError(
            f"compile: none of the {len(devices)} devices is one of this process; every process "
            f"takes part in a step: pass devices={len(jax.devices())}"
        )
    return Mesh(np.array(devices), ("batch",))
