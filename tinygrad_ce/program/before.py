"""What a call may change, as it was before: to bring it back, or to compute from it again."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.engine.graph import Node
from tinygrad_ce.program.ir import Program, Var
from tinygrad_ce.program.memory import FlatParameter
from tinygrad_ce.program.ops import flatten
from tinygrad_ce.program.running import Runner, parts_of
from tinygrad_ce.program.tracing.attributes import AttributeOf
from tinygrad_ce.program.tracing.trace import GradOf

CHANGED = ("array", "_grad", "live", "switched", "was")
"""What a call may put into a Tensor among the arguments."""


class Before:
    """What a call may change, as it was before, and how to bring it back."""

    def __init__(self, runner: Runner, args: Any, kwargs: Any) -> None:
        program = runner.program
        self.inputs = [(x, np.array(x)) for x in runner.arrays(args, kwargs)]
        self.tensors = [
            (node, {slot: getattr(node, slot) for slot in CHANGED if hasattr(node, slot)})
            for node in (place.find(args, kwargs) for place in runner.trace.tensors)
        ]
        self.states = [
            (s, node, node.array, np.array(node.array))
            for s in program.states for node in parts_of(s)
        ]  # fmt: skip
        places = [s.node for s in program.states if isinstance(s.node, AttributeOf)]
        self.attributes = [(place, place.tensor) for place in places]
        self.grads = [(k.node, k.node._grad) for k in program.grads]
        self.gradients = [
            (grad, np.array(grad.array)) for _, grad in self.grads if isinstance(grad, Node)
        ]
        draws = {s.attrs["generator"] for s in program.steps if s.op == "draw"}
        self.generators = [(g, g.get_state()) for g in draws]

    def put_back(self) -> None:
        """Let everything be as it was."""
        for x, values in self.inputs:
            if isinstance(x, np.ndarray) and x.flags.writeable:
                x[...] = values
        for node, slots in self.tensors:
            for slot, value in slots.items():
                setattr(node, slot, value)
        for state, _, array, values in self.states:
            if state.after is not state.before:
                array[...] = values
        for place, tensor in self.attributes:
            place.tensor = tensor
        for node, grad in self.grads:
            node._grad = grad
        for grad, values in self.gradients:
            grad.array[...] = values
        self.set_generators()

    def set_generators(self) -> None:
        """Let the generators draw once more what they drew."""
        for generator, state in self.generators:
            generator.set_state(state)

    def given(self, program: Program) -> dict[Var, Any]:
        """The values that a program begins with."""
        values = dict(program.constants)
        values.update(zip(program.inputs, (copy for _, copy in self.inputs)))
        states = {key_of(node): copy for _, node, _, copy in self.states}
        for s in program.states:
            if isinstance(s.node, FlatParameter):
                parts = [states[node] for node in s.node.nodes]
                values[s.before] = flatten(parts, s.node.slices, (s.node.size,))
            else:
                values[s.before] = states.get(key_of(s.node), s.node.array)
        values.update((s.var, s.group[s.key]) for s in program.settings)
        return values


def key_of(node: Any) -> Any:
    """What a state is known by in another trace."""
    if isinstance(node, AttributeOf):
        return node.key
    return ("grad", node.node) if isinstance(node, GradOf) else node
