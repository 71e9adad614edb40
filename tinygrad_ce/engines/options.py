"""What `compile(engine=...)` takes, looked at once."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.engines.auto import AutoCompiled
from tinygrad_ce.engines.jax_engine import JaxCompiled, JaxCompiledModule, Options
from tinygrad_ce.engines.parallel import mesh_of, processes
from tinygrad_ce.program.compiling import Compiled


def compiled(
    fn: Any, check: bool, engine: str, *, devices: Any = None, mesh: Any = None,
    batched: Any = None, random: str = "host", donate: bool = True, local: bool = False,
) -> Compiled:  # fmt: skip
    """The function, compiled for XLA: see `compile`."""
    if random not in ("host", "device"):
        raise ValueError(f"compile: got random={random!r}; wanted 'host' or 'device'")
    batched = (batched,) if isinstance(batched, str) else batched
    spread = mesh_of(devices, mesh)
    if local and spread is None:
        raise TypeError("compile: local=True divides a batch among processes; pass devices= too")
    local = local and processes(spread) > 1
    options = Options(spread, batched, random, donate, local)
    if engine == "auto":
        return AutoCompiled(fn, check, options)
    is_module = hasattr(fn, "training") and hasattr(fn, "parameters")
    return (JaxCompiledModule if is_module else JaxCompiled)(fn, check, options)
