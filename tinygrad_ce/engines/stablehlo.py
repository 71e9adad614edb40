"""A program as StableHLO, serialised by jax.export: for cpu, cuda and tpu."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_ce.engines.batches import ExportError, at, where
from tinygrad_ce.engines.found import jax, jnp
from tinygrad_ce.engines.lower import Lowering
from tinygrad_ce.program.ir import Program, Step, Var


class Exporting(Lowering):
    """A program in JAX, whose errors name the user's line."""

    def value(self, step: Step) -> Any:
        """What a step computes."""
        try:
            return super().value(step)
        except Exception as error:
            what = str(error).partition("\n")[0]
            raise ExportError(
                f"export: {step.op}{where(step)}: JAX cannot do it, for a free batch perhaps "
                f"({type(error).__name__}: {what}); pass batch=None"
            ) from error


PLATFORMS = ("cpu", "cuda", "tpu")


def serialized(program: Program, outputs: Sequence[Var], batch: str | None) -> bytes:
    """The bytes for jax.export.deserialize: a function of the inputs, its weights inside."""
    from jax import export

    weights = {state.before: np.array(state.node.array) for state in program.states}

    def function(*inputs: Any) -> Any:
        values = {**weights, **dict(zip(program.inputs, inputs))}
        values = Exporting(program, values).run()
        results = tuple(jnp.asarray(values[x]) for x in outputs)
        return results[0] if len(results) == 1 else results

    function.__name__ = program.name
    with jax.enable_x64(True):
        if batch is not None:
            (size,) = export.symbolic_shape(batch)
            program = with_symbols(program, size)
        given = [
            jax.ShapeDtypeStruct(x.shape, np.dtype(float) if x.dtype is None else x.dtype)
            for x in program.inputs
        ]
        exported = export.export(jax.jit(function), platforms=PLATFORMS)(*given)
        return bytes(exported.serialize())


def run(content: bytes, arrays: Sequence[Any]) -> list[Any]:
    """What XLA computes with such a file."""
    from jax import export

    with jax.enable_x64(True):
        results = export.deserialize(bytearray(content)).call(*map(jnp.asarray, arrays))
    return list(map(np.asarray, results if isinstance(results, (tuple, list)) else [results]))


def with_symbols(program: Program, batch: Any) -> Program:
    """The program with a·batch + c of JAX in the place of each size that follows the batch."""
    for x in [*program.inputs, *(step.out for step in program.steps)]:
        x.shape = at(x.shape, batch)
    steps = [
        step._replace(attrs={key: at(value, batch) for key, value in step.attrs.items()})
        for step in program.steps
    ]
    return replace(program, steps=steps)
