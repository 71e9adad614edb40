"""Where the numbers of a step lie: on one device, or its batch in parts on the devices of a mesh.

The program is that of the whole batch. XLA cuts it along the batch, so that means and the
statistics of batch normalisation are right by construction, and adds up what the devices found.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engines.found import jax, jnp
from tinygrad_ce.program.ir import Program, Var
from tinygrad_ce.program.memory import alone

LARGE = 1 << 16  # bytes of an argument that is not sent again while nobody has written it
MOST = 64  # such arguments


class Alone:
    """One device."""

    key: Any = None
    whole: Any = None
    split: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.sent: dict[int, tuple[Any, Any, int, Any]] = {}  # arguments on the device already

    def fit(self, arrays: dict[Var, Any]) -> None:
        """Any arguments fit."""

    def put(self, array: Any, at: Any = None) -> Any:
        """An array as jit takes it: a copy, since its owner may write it while the step runs."""
        return np.array(array)

    def state(self, array: Any) -> Any:
        """An array of the state, on the device."""
        return jnp.asarray(np.array(array))

    def input(self, x: Any, i: int) -> Any:
        """Input number i: an array, or a Tensor. A large Tensor that nobody can have written
        since is there already.
        """
        if not isinstance(x, Node):
            return self.put_input(x, i)
        if x.array.nbytes < LARGE or not alone(x):
            return self.put_input(x.array, i)
        now = x.memory.written if x.memory is not None else 0
        known = self.sent.get(id(x))
        if known is not None and known[0]() is x and known[1]() is x.array and known[2] == now:
            return known[3]
        value = jnp.asarray(self.put_input(x.array, i))
        if len(self.sent) >= MOST:
            self.sent.pop(next(iter(self.sent)))
        self.sent[id(x)] = weakref.ref(x), weakref.ref(x.array), now, value
        return value

    def put_input(self, array: Any, i: int) -> Any:
        """Input number i, as jit takes it."""
        return self.put(array)

    def put_drawn(self, array: Any, i: int) -> Any:
        """Random numbers of the host, those of step number i that draws."""
        return self.put(array)

    def jit(self, function: Any, donate: tuple[int, ...]) -> Any:
        """The function, compiled when it is called."""
        return jax.jit(function, donate_argnums=donate)


class Spread(Alone):
    """Several devices."""

    def __init__(self, program: Program, draws: Any, options: Any) -> None:
        raise NotImplementedError("compile: engine='jax' has one device so far")


def mesh_of(devices: Any, mesh: Any) -> Any:
    """The mesh that a user has named, or None for one device."""
    if devices is not None or mesh is not None:
        raise NotImplementedError("compile: engine='jax' has one device so far")
    return None
