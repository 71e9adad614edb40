"""A program as a plain function of JAX."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engines.found import jax, jnp
from tinygrad_ce.engines.lower import Lowering
from tinygrad_ce.engines.masks import ready
from tinygrad_ce.program.ir import Program, Var


def named(vars_: list[Var], default: str) -> dict[str, Var]:
    """The values by their names; a name that stands twice gets a number."""
    names: dict[str, Var] = {}
    for x in vars_:
        name, n = x.name or default, 2
        while name in names:
            name, n = f"{x.name or default}_{n}", n + 1
        names[name] = x
    return names


class Function:
    """`f(state, *inputs) -> (results, new state)`: the program, a pure function of JAX.

    `f.state` is the state as it was when this was made, by name: parameters, buffers, the slots of
    an optimiser, gradients that are added to, learning rates. `f.inputs` names the inputs. What
    the traced function returned comes alone if it is one value, else as a tuple; inputs that it
    writes follow. A program that draws is called with `key=jax.random.key(0)`. What the program
    takes for granted (`program.assumptions`) is not looked at.
    """

    def __init__(self, program: Program) -> None:
        self.program = program = ready(program)
        self.__name__ = program.name
        self.draws = any(step.op == "draw" for step in program.steps)
        self.inputs = list(named(program.inputs, "x"))
        self.names = named(
            [*(s.before for s in program.states), *(s.var for s in program.settings)], "state"
        )
        after = {s.before: s.after for s in program.states}
        self.after = {name: after.get(x, x) for name, x in self.names.items()}
        now = {s.before: np.array(s.node.array) for s in program.states}
        now.update((s.var, np.asarray(float(s.group[s.key]))) for s in program.settings)
        self.state = {name: now[x] for name, x in self.names.items()}

    def __call__(self, state: dict[str, Any], *inputs: Any, key: Any = None) -> tuple[Any, Any]:
        """The results, and the state after them."""
        name = self.__name__
        if len(inputs) != len(self.inputs):
            raise TypeError(
                f"{name}: got {len(inputs)} inputs; wanted {len(self.inputs)} after the state: "
                f"{name}(state, {', '.join(self.inputs)})"
            )
        if state.keys() != self.names.keys():
            raise TypeError(f"{name}: got a state of {[*state]}; wanted {[*self.names]}")
        if self.draws and key is None:
            raise TypeError(f"{name}: draws random numbers; pass key=jax.random.key(0)")
        with jax.enable_x64(True):
            given = [(x, state[name]) for name, x in self.names.items()]
            given += zip(self.program.inputs, inputs)
            values = {x: self.taken(x, value) for x, value in given}
            values = Lowering(self.program, values).run(key)
            results = tuple(jnp.asarray(values[x]) for x in self.program.outputs)
            left = {  # what does not change is handed on as it came
                name: state[name] if x is self.names[name] else jnp.asarray(values[x])
                for name, x in self.after.items()
            }
        return results[0] if len(results) == 1 else results, left

    def taken(self, x: Var, value: Any) -> Any:
        """An input, in the dtype that the program was traced for."""
        value = jnp.asarray(value, x.dtype)
        if value.shape != x.shape:
            raise ValueError(
                f"{self.__name__}: {x.name} has shape {value.shape}; the program was traced for "
                f"{x.shape}. Trace it again for another shape"
            )
        return value
