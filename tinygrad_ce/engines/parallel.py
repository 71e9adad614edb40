"""Where the numbers of a step lie: on one device, or its batch in parts on the devices of a mesh.

The program is that of the whole batch. XLA cuts it along the batch, so that means and the
statistics of batch normalisation are right by construction, and adds up what the devices found.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engines.found import jax, jnp
from tinygrad_ce.program.ir import Program, Var
from tinygrad_ce.program.tracing.trace import mapped

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

    def put(self, array: Any, at: Any = None) -> Any:
        """An array as jit takes it: a copy, since its owner may write it while the step runs."""
        return np.array(array)

    def state(self, array: Any) -> Any:
        """An array of the state, on the device."""
        return jnp.asarray(np.array(array))

    def input(self, x: Any, i: int) -> Any:
        """Input number i: an array, or a Tensor."""
        return self.put_input(x.array if isinstance(x, Node) else x, i)

    def put_input(self, array: Any, i: int) -> Any:
        """Input number i, as jit takes it."""
        return self.put(array)

    def put_drawn(self, array: Any, i: int) -> Any:
        """Random numbers of the host, those of step number i that draws."""
        return self.put(array)

    def jit(self, function: Any, donate: tuple[int, ...]) -> Any:
        """The function, compiled when it is called."""
        return jax.jit(function, donate_argnums=donate, compiler_options=xla_options())


class Spread(Alone):
    """The devices of a mesh: the state on each of them, of the batch a part on each."""

    def __init__(self, program: Program, draws: Any, options: Any) -> None:
        self.key = mesh = options.spread
        self.local = options.local
        self.whole = NamedSharding(mesh, PartitionSpec())
        self.rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        sizes = [x.shape[0] for x in program.inputs if x.shape]
        self.batch = max(sizes, key=sizes.count, default=0)
        self.batched = options.batched
        if self.batched is not None:
            names = [x.name for x in program.inputs]
            unknown = [name for name in self.batched if name not in names]
            if unknown:
                raise ValueError(
                    f"compile: batched names {', '.join(unknown)}; {program.name} has the inputs "
                    f"{', '.join(names)}"
                )
            self.batch = next((x.shape[0] for x in program.inputs if self.is_split(x)), 0)
        for x in program.inputs:
            if self.is_split(x):
                check_divides(x, mesh.devices.size)
        self.inputs_at = [self.rows if self.is_split(x) else self.whole for x in program.inputs]
        self.drawn_at = [self.at(step.out) for step in draws]
        outputs = [self.whole if processes(mesh) > 1 else self.at(x) for x in program.outputs]
        self.shardings = outputs, self.whole, self.whole, self.whole

    def is_split(self, x: Var) -> bool:
        """Whether the rows of an input are divided among the devices."""
        if self.batched is not None:
            return x.name in self.batched
        return bool(x.shape) and x.shape[0] == self.batch

    def at(self, x: Var) -> Any:
        """Where a value lies: in rows, if its first axis is the batch."""
        return self.rows if x.shape and x.shape[0] == self.batch else self.whole

    def put(self, array: Any, at: Any = None) -> Any:
        """An array on the devices; each process sends the parts of its own devices."""
        array, at = np.array(array), self.whole if at is None else at
        if at.is_fully_addressable:
            return jax.device_put(array, at)
        return jax.make_array_from_callback(array.shape, at, lambda index: array[index])

    def state(self, array: Any) -> Any:
        """An array of the state, on every device."""
        return self.put(array)

    def put_input(self, array: Any, i: int) -> Any:
        """Input number i, divided or whole."""
        if self.local and self.inputs_at[i] is self.rows:
            return jax.make_array_from_process_local_data(self.rows, np.array(array))
        return self.put(array, self.inputs_at[i])

    def put_drawn(self, array: Any, i: int) -> Any:
        """Random numbers of the host, divided as what they meet."""
        return self.put(array, self.drawn_at[i])

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


class Local(NamedTuple):
    """A part of a batch, the one of this process, and what stands for the whole in a trace."""

    stands: Any  # a Tensor or array of the shape of the whole batch, its first row repeated
    array: Any  # the rows of this process


def as_whole(args: Any, kwargs: Any, options: Any) -> tuple[Any, Any, dict[int, Local]]:
    """The arguments of a call with the whole batch, where each process has its own rows."""
    found: list[Any] = []
    mapped(found.append, (args, kwargs))
    arrays = {id(x): x.array if isinstance(x, Node) else x for x in found}
    sizes = [a.shape[0] for a in arrays.values() if isinstance(a, np.ndarray) and a.ndim]
    rows, n = max(sizes, key=sizes.count, default=0), processes(options.spread)
    known: dict[int, Local] = {}

    def whole(x: Any) -> Any:
        array = arrays[id(x)]
        if (
            not isinstance(array, np.ndarray)
            or not array.ndim
            or array.shape[0] != rows
            or not rows
        ):
            return x
        if isinstance(x, Node) and x.requires_grad:
            raise TypeError(
                "compile: with local=True an argument cannot require a gradient: each process "
                "would have that of other rows. Pass the whole batch, or x.detach()"
            )
        repeated = np.broadcast_to(array[:1], (n * rows, *array.shape[1:]))
        stands = leaf(repeated) if isinstance(x, Node) else repeated
        known[id(stands)] = Local(stands, array)
        return stands

    args, kwargs = mapped(whole, (args, kwargs))
    return args, kwargs, known


def check_divides(x: Var, n: int) -> None:
    """Stop if a batch has no equal part for each device."""
    if not x.shape or x.shape[0] % n:
        rows = x.shape[0] if x.shape else 0
        wanted = [f"{k}" for k in (rows - rows % n, rows - rows % n + n) if k]
        raise UndividedError(
            f"compile: {x.name} has {rows} rows, which {n} devices cannot share evenly; pass "
            f"{' or '.join(wanted)}, or drop_last=True in the loader"
        )


def mesh_of(devices: Any, mesh: Any) -> Any:
    """The mesh that a user has named, or None for one device. Its axes are Auto: XLA divides."""
    if mesh is not None:
        if devices is not None:
            raise TypeError("compile: got both devices and mesh, which say the same; pass one")
        return Mesh(mesh.devices, mesh.axis_names)
    if devices is None:
        return None
    if isinstance(devices, int):
        known = jax.devices()
        if not 1 <= devices <= len(known):
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
