"""trace(): what a function does to its arguments, as a program that prints itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from tinygrad_ce.program.ir import Program
from tinygrad_ce.program.listing import costs, listing, picture
from tinygrad_ce.program.tracing.trace import check_function, trace_call


class TracedProgram(Program):
    """A program to read: as NumPy, as a table of what each line costs, as a picture."""

    __slots__ = ()

    @classmethod
    def of(cls, program: Program) -> TracedProgram:
        """The same program, to read."""
        if isinstance(program, cls):
            return program
        return cls(**{f.name: getattr(program, f.name) for f in fields(program)})

    def source(self, level: str = "formula") -> str:
        """The program as a NumPy function that a person could have written.

        level="formula" reads as in a book: `dlogits = (p - onehot) / 32`; level="primitive" has
        one line for each step. The text needs `import numpy as np` only. It is run on the example
        and compared before it is handed out: to the last bit for "primitive", to 1e-12 (float64) or
        1e-5 (float32) of each tensor's largest element for "formula". Raises ListingError.

        >>> import tinygrad_ce as tg
        >>> print(tg.trace(lambda x: (x * 2.0).sum(), tg.ones(3)).source())
        import numpy as np
        <BLANKLINE>
        <BLANKLINE>
        def function(x):
            return (2 * x).sum()
        <BLANKLINE>
        """
        return listing.source(self, level)

    def backward_source(self, level: str = "formula") -> str:
        """The backward pass alone: the gradients from what the forward pass has computed.

        Checked as `source` is. Raises ValueError if the function calls no backward().
        """
        return listing.backward_source(self, level)

    def table(self) -> str:
        """What each line of the listing costs: scope, line, shape, operations, bytes moved.

        FLOPs counts each addition, product and function as one; bytes are what a step reads and
        writes, none for a view. After `profile()` there are microseconds too.
        """
        return costs.table(self)

    def profile(self, repeats: int = 100) -> None:
        """Run each step `repeats` times on the example and keep its median time for `table`."""
        costs.profile(self, repeats)

    def to_dot(self, level: str = "formula") -> str:
        """The program as a picture in the language of Graphviz: `dot -Tsvg`."""
        return picture.to_dot(self, level)

    def to_jax(self) -> Any:
        """`f(state, *inputs) -> (results, new state)`, a pure function of JAX.

        For `jax.jit`, `jax.grad`, `jax.vmap` and `jax.export`. `f.state` holds by name what the
        program reads besides its inputs: parameters, buffers, optimiser slots, learning rates. A
        program that draws random numbers takes `key=`. Raises ImportError where jax is missing.

            f = tg.trace(model, x).to_jax()
            y, state = jax.jit(f)(f.state, x.numpy())
        """
        from tinygrad_ce.engines.function import Function

        return Function(self)


def trace(fn: Callable[..., Any], *examples: Any, **keywords: Any) -> TracedProgram:
    """What `fn` does to its arguments, as a Program: `fn` runs once, nothing is changed.

    Tensors, arrays and floats among the arguments are inputs of the program; parameters and other
    tensors that `fn` knows are state. Raises TraceError where a program cannot hold what `fn`
    does: a branch on a value, `.item()`, a NumPy function that has no record. TypeError where it is
    no function, or one whose body runs in pieces.

    >>> from tinygrad_ce import tensor
    >>> program = trace(lambda x: (x * x).sum(), tensor([1.0, 2.0]))
    >>> [step.op for step in program.steps]
    ['multiply', 'sum']
    """
    check_function(fn, "trace")
    return TracedProgram.of(trace_call(fn, examples, keywords).program)
