"""`compile(step, engine="auto")`: NumPy and JAX are timed in the first calls, the faster stays."""

from __future__ import annotations

import gc
import sys
from time import perf_counter
from typing import Any

from tinygrad_ce.engines.jax_engine import JaxCompiled, JaxCompiledModule, Options
from tinygrad_ce.engines.parallel import UndividedError
from tinygrad_ce.program.compiling import Compiled, CompiledModule, is_module
from tinygrad_ce.program.ir import Program
from tinygrad_ce.program.memory import FLATS, ONE, references

CALLS = 6  # of one program on each engine; the third, fifth and sixth do nothing but the step
REFUSALS = NotImplementedError, UndividedError
clock = perf_counter


class AutoCompiled(Compiled):
    """A function that finds out on which engine it is faster; one that refuses is the slower."""

    engine_options: Options
    on_jax: JaxCompiled
    engines: list[Compiled]
    seconds: list[dict[Any, list[float]]]  # of each engine's calls, by program
    engine: int  # the one that runs now: 0 is NumPy, 1 is JAX
    decided: bool

    def __init__(self, fn: Any, check: bool, options: Options) -> None:
        on_jax = (JaxCompiledModule if is_module(fn) else JaxCompiled)(fn, check, options)
        engines = [(CompiledModule if is_module(fn) else Compiled)(fn, check), on_jax]
        super().__init__(fn, check, engine_options=options, on_jax=on_jax, engines=engines,
                         seconds=[{}, {}], engine=0, decided=False)  # fmt: skip

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function on one of the engines."""
        try:
            return self.timed(args, kwargs)
        except REFUSALS:
            if not self.engine:
                raise
        self.take(0)
        self.decided = True
        return self.timed(args, kwargs)

    def timed(self, args: Any, kwargs: Any) -> Any:
        """Run it on the engine at hand; until one is chosen, look how long it takes."""
        now = self.engines[self.engine]
        if self.decided:
            result = now(*args, **kwargs)
        else:
            began = clock()
            result = now(*args, **kwargs)
            self.on_jax.wait()
            if now.runners:  # else it was called as it is: traced, watched, or trained
                self.go_on(now.runners[0].trace.program, clock() - began)
        self.runners = self.engines[self.engine].runners
        return result

    def go_on(self, program: Program, took: float) -> None:
        """After CALLS of a program try them on the other engine, then keep the faster one."""
        key = len(program.steps), *((x.shape, x.dtype) for x in program.inputs)
        here, there = self.seconds[self.engine], self.seconds[1 - self.engine]
        here.setdefault(key, []).append(took)
        if len(here[key]) < CALLS:
            return
        self.decided = len(there.get(key, ())) >= CALLS
        if not self.decided or min(there[key]) < min(here[key]):
            self.take(1 - self.engine)

    def take(self, engine: int) -> None:
        """Go over to an engine."""
        self.leave(self.engines[self.engine])
        self.engine = engine

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

    def sync(self) -> None:
        """See JaxCompiled.sync."""
        self.engines[self.engine].sync()

    def emitted(self) -> str:
        """The text that really runs on the engine that runs now."""
        return self.engines[self.engine].emitted()
