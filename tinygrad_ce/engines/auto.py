"""`compile(step, engine="auto")`: NumPy and JAX are timed in the first calls, the faster stays."""

from __future__ import annotations

import gc
import sys
from time import perf_counter
from typing import Any

from tinygrad_ce.engines.jax_engine import JaxCompiled, JaxCompiledModule, Options
from tinygrad_ce.program.compiling import Compiled, CompiledModule
from tinygrad_ce.program.memory import FLATS, ONE, references

CALLS = 6  # on each engine; the third, fifth and sixth of them do nothing but the step
clock = perf_counter


class AutoCompiled(Compiled):
    """A function that finds out on which engine it is faster."""

    def __init__(self, fn: Any, check: bool, options: Options) -> None:
        super().__init__(fn, check)
        self.engine_options = options
        is_module = hasattr(fn, "training") and hasattr(fn, "parameters")
        on_jax = (JaxCompiledModule if is_module else JaxCompiled)(fn, check, options)
        self.engines = [(CompiledModule if is_module else Compiled)(fn, check), on_jax]
        self.seconds: list[list[float]] = [[], []]
        self.engine = 0  # the one that runs now: 0 is NumPy, 1 is JAX

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function on one of the engines."""
        now, seconds = self.engines[self.engine], self.seconds[self.engine]
        if len(self.seconds[1]) >= CALLS:
            return now(*args, **kwargs)
        began = clock()
        result = now(*args, **kwargs)
        now.wait()
        if now.runners:  # else it was called as it is: traced, watched, or trained
            seconds.append(clock() - began)
        if len(seconds) >= CALLS:
            self.go_on()
        self.runners = self.engines[self.engine].runners
        return result

    def go_on(self) -> None:
        """Try the other engine, or keep the faster one."""
        fastest = [min(seconds, default=0.0) for seconds in self.seconds]
        if not self.seconds[1]:
            chosen = 1
        else:
            chosen = int(fastest[1] < fastest[0])
        if chosen != self.engine:
            self.leave(self.engines[self.engine])
        self.engine = chosen

    def leave(self, compiled: Compiled) -> None:
        """Let an engine go: tensors that NumPy's programs have moved side by side are alone again,
        so that they can go to a device.
        """
        nodes = {id(n): n for r in compiled.runners for n in getattr(r, "states", ())}
        while compiled.runners:
            compiled.forget(compiled.runners[0])
        self.runners = []
        gc.collect()  # the text of a program and its names hold each other
        for node in nodes.values():
            memory = node.memory
            seen = memory is not None and (memory.nodes() or sys.getrefcount(memory) > 3)
            if not seen and id(node.array.base) in FLATS and references(node) <= ONE:
                node.array = node.array.copy()

    def another(self, fn: Any) -> Compiled:
        """The same for another function."""
        return type(self)(fn, self.check, self.engine_options)

    def sync(self) -> None:
        """See JaxCompiled.sync."""
        self.engines[self.engine].sync()

    def emitted(self) -> str:
        """The text that really runs on the engine that runs now."""
        return self.engines[self.engine].emitted()

    def __reduce__(self) -> Any:
        known = super().__reduce__()
        return (
            known if known[0] is not type(self) else (type(self), (*known[1], self.engine_options))
        )
