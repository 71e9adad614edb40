"""What `compile(engine=...)` takes, looked at once."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.engines.auto import AutoCompiled
from tinygrad_ce.engines.jax_engine import JaxCompiled, JaxCompiledModule, Options
from tinygrad_ce.engines.parallel import mesh_of, processes
from tinygrad_ce.program.compiling import Compiled, is_module


def compiled(
    fn: Any, check: bool, engine: str, *, devices: Any = None, mesh: Any = None,
    batched: Any = None, random: str = "host", donate: bool = True, local: bool = False,
) -> Compiled:  # fmt: skip
    """The function, compiled for XLA: see `compile`."""
    if random not in ("host", "device"):
        raise ValueError(f"compile: got random={random!r}; wanted 'host' or 'device'")
    for name, value in (("donate", donate), ("local", local)):
        if not isinstance(value, bool):
            raise TypeError(f"compile: got {name}={value!r}; wanted True or False")
    batched = (batched,) if isinstance(batched, str) else batched
    names = isinstance(batched, (list, tuple)) and all(isinstance(x, str) for x in batched)
    if batched is not None and not (names and batched):
        raise TypeError(
            f"compile: got batched={batched!r}; wanted names of arguments, as batched=('x', 'y')"
        )
    spread = mesh_of(devices, mesh)
    if local and spread is None:
        raise TypeError("compile: local=True divides a batch among processes; pass devices= too")
    if engine == "auto" and spread is not None and processes(spread) > 1:  # pragma: no cover
        raise TypeError("compile: engine='auto' is for one process; pass engine='jax'")
    local = local and processes(spread) > 1
    options = Options(spread, batched and tuple(batched), random, donate, local)
    if engine == "auto":
        return AutoCompiled(fn, check, options)
    return (JaxCompiledModule if is_module(fn) else JaxCompiled)(fn, check, options)
