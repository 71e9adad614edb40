"""What is to be drawn: a Tensor as it is, a model run on an example, or a traced program.

A model runs with its buffers and random streams put back afterwards, and no `.grad` is touched.
`again` gives the same once more later, and keeps neither the graph nor the model alive.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from tinygrad_ce.engine.chain import history
from tinygrad_ce.engine.frame import current, recording, source_lines
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import mark_written
from tinygrad_ce.viz.names import names_of

Subject = tuple[Node, dict[Node, str]]


def resolve(what: Any, examples: tuple[Any, ...] = (), names: Any = None) -> Subject:
    """The tensor to draw, and the names of tensors.

    `what` is a Tensor (a single example is then its names), a traced Program, or a module or other
    callable, which is called with the examples and has to give one Tensor.

    Raises TypeError where it is something else or does not take the examples, RuntimeError while
    a program is traced.

    >>> from tinygrad_ce.engine.tensor import Tensor
    >>> root, names = resolve(lambda x: x * 2, (Tensor(3.0, requires_grad=True),))
    >>> root, list(names.values())
    (tensor(6., op=mul), ['x'])
    """
    if current().tracer is not None:
        raise RuntimeError(
            "draw: while a program is traced there are no values; draw outside of it"
        )
    if isinstance(what, Node):
        if len(examples) > 1 or (examples and names is not None):
            raise TypeError(
                f"draw: got a Tensor and {len(examples)} more arguments; wanted draw(loss) or "
                "draw(loss, names), names being a dict such as locals()"
            )
        return what, names_of(examples[0] if examples else names)
    if is_program(what):
        root, found = import_module("tinygrad_ce.viz.programs").graph_of(what)
        return root, {**names_of(found), **names_of(names)}
    if not callable(what):
        raise TypeError(
            f"draw: got {type(what).__name__}; wanted a Tensor, such as the loss: draw(loss), or a "
            "model and an example: draw(model, x)"
        )
    return called(what, examples, names)


def is_program(what: Any) -> bool:
    """Whether it is a traced program."""
    from tinygrad_ce.program.ir import Program

    return isinstance(what, Program)


def called(what: Any, examples: tuple[Any, ...], names: Any) -> Subject:
    """What a callable gives for the examples, and the names of all that is known."""
    title = getattr(what, "__name__", type(what).__name__)
    arguments = arguments_of(what, examples, title)
    around = known_to(what)
    with left_as_it_was(around.values()), source_lines(), recording(True):
        root = what(*examples)
    if not isinstance(root, Node):
        raise TypeError(
            f"draw: {title} gave a {type(root).__name__}; wanted one Tensor: "
            f"draw(lambda x: {title}(x)[0], x) picks one of several"
        )
    found = names_of(names)
    for more in (arguments, around):
        for node, name in names_of(more).items():
            found.setdefault(node, name)
    arrays = {name: x for name, x in arguments.items() if isinstance(x, np.ndarray)}
    for node, name in nodes_of(arrays, root, found).items():
        found.setdefault(node, name)
    return root, found


def known_to(what: Any) -> dict[str, Any]:
    """What a callable works with, by name: the model itself, or the variables of a function."""
    if hasattr(type(what), "named_parameters"):
        return {"": what}
    if inspect.ismethod(what):
        return {"self": what.__self__, **known_to(what.__func__)}
    if not inspect.isfunction(what):
        return {}
    variables = inspect.getclosurevars(what)
    return {**variables.globals, **variables.nonlocals}


def arguments_of(what: Any, examples: tuple[Any, ...], title: str) -> dict[str, Any]:
    """The examples by the names of the arguments that they are given for."""
    try:
        takes = inspect.signature(getattr(what, "forward", what))
    except (TypeError, ValueError):  # a function of C may have no signature
        return {f"x{i}": example for i, example in enumerate(examples)}
    try:
        bound = takes.bind(*examples).arguments
    except TypeError as error:
        advice = "" if examples else f"; to draw it, run it on an example: draw({title}, x)"
        raise TypeError(
            f"draw: {title}{takes} is called with {len(examples)} examples: {error}{advice}"
        ) from None
    named: dict[str, Any] = {}
    for name, value in bound.items():
        if takes.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            named.update({f"{name}[{i}]": x for i, x in enumerate(value)})
        else:
            named[name] = value
    return named


def nodes_of(arrays: dict[str, np.ndarray], root: Node, known: dict[Node, str]) -> dict[Node, str]:
    """The leaves that were made of arrays, by what is in them: operands copy an array."""
    found: dict[Node, str] = {}
    leaves = {x: None for node in history([root]) for x in node.inputs if not x.inputs}
    for name, array in arrays.items():
        for x in leaves if array.ndim else ():
            same = x.array.shape == array.shape and x.array.dtype == array.dtype
            if same and x not in known and np.array_equal(x.array, array):
                found.setdefault(x, name)
                break
    return found


@contextmanager
def left_as_it_was(things: Iterable[Any]) -> Iterator[None]:
    """Put random streams, and the buffers of modules among the things, back after the block."""
    from tinygrad_ce.random import Generator, default_generator  # not before something is drawn

    models = [thing for thing in things if hasattr(type(thing), "named_parameters")]
    modules = [module for model in models for module in model.modules()]
    buffers = [(b, np.array(b.array)) for module in modules for b in module.buffers()]
    held = [(m, n, v) for m in modules for n in m._buffer_names for v in [getattr(m, n)]]
    streams = {default_generator: None}
    streams.update({g: None for m in modules for g in vars(m).values() if type(g) is Generator})
    states = [(stream, stream.get_state()) for stream in streams]
    try:
        yield
    finally:
        for stream, state in states:
            stream.set_state(state)
        for module, name, value in held:
            if getattr(module, name) is not value:
                setattr(module, name, value)
        for buffer, before in buffers:
            if not np.array_equal(buffer.array, before, equal_nan=before.dtype.kind == "f"):
                buffer.array[...] = before
                mark_written(buffer, "draw (which put the buffer back)")


# --- once more ------------------------------------------------------------------------------


def again(
    what: Any, examples: tuple[Any, ...], found: dict[Node, str]
) -> Callable[[], tuple[Any, tuple[Any, ...], dict[str, Node]]]:
    """A function that gives (what, examples, names) once more, as long as they are there.

    Nothing is kept alive by it. It raises RuntimeError when the tensor or the model is gone.
    """
    subject = weakly(what)
    others = () if isinstance(what, Node) else tuple(map(weakly, examples))
    named = [(weakly(node), name) for node, name in found.items()]

    def all_again() -> tuple[Any, tuple[Any, ...], dict[str, Node]]:
        alive = [subject(), *(example() for example in others)]
        if any(thing is None for thing in alive):
            raise RuntimeError(
                "draw: what was drawn is gone, since a drawing keeps nothing alive. Keep the loss "
                "(or the model and its example) in a variable, or make the page first: "
                'play(loss).save("x.html")'
            )
        names = {name: node for ref, name in reversed(named) if (node := ref()) is not None}
        return alive[0], tuple(alive[1:]), names

    return all_again


def weakly(thing: Any) -> Callable[[], Any]:
    """A weak reference, or the thing itself where there is none to a number, a list or None."""
    try:
        return weakref.ref(thing)
    except TypeError:
        return lambda: thing
