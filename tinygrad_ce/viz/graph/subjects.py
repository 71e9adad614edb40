"""What is to be drawn: a Tensor as it is, a model run on an example, or a traced program.

A model runs with its buffers and random streams put back afterwards (restoring.py), and no `.grad`
is touched. It is given twins of the examples, which require a gradient, so the graph begins at
them. `again` gives the same once more later, and keeps neither the graph nor the model alive.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from tinygrad_ce.autograd.linting import warn_of
from tinygrad_ce.engine.chain import history
from tinygrad_ce.engine.frame import begins, current, recording, source_lines
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.viz.graph.names import names_of
from tinygrad_ce.viz.graph.restoring import undone, variables_of

Subject = tuple[Node, dict[Node, str], frozenset[Node]]


def resolve(
    what: Any, examples: tuple[Any, ...] = (), names: Any = None, caller: str = "draw"
) -> Subject:
    """The tensor to draw, the names of tensors, and those that stand for the examples.

    `what` is a Tensor (a single example is then its names), a traced Program, or a module or other
    callable, which is called with the examples and has to give one Tensor.

    Raises TypeError where it is something else or does not take the examples, RuntimeError while
    a program is traced.

    >>> from tinygrad_ce import tensor
    >>> root, names, given = resolve(lambda x: x * 2, (tensor(3.0),))
    >>> root, names[root.inputs[0]], root.inputs[0] in given
    (tensor(6., grad_fn=<MulBackward0>), 'x', True)
    """
    if current().tracer is not None:
        raise RuntimeError(
            f"{caller}: while a program is traced there are no values; {caller} outside of it"
        )
    if isinstance(what, Node):
        if len(examples) > 1 or (examples and names is not None):
            raise TypeError(
                f"{caller}: got a Tensor and {len(examples)} more arguments; wanted {caller}(loss) "
                f"or {caller}(loss, names), names being a dict such as locals()"
            )
        warn_of(what)
        return what, names_of(examples[0] if examples else names, caller), frozenset()
    if is_program(what) or is_played(what):
        programs = import_module("tinygrad_ce.viz.graph.programs")
        player = what if is_played(what) else programs.played(what)
        root, found = player.values[programs.result_of(player.program)], player.names()
        return root, {**names_of(found), **names_of(names, caller)}, frozenset()
    if not callable(what):
        raise TypeError(
            f"{caller}: got {type(what).__name__}; wanted a Tensor, such as the loss: "
            f"{caller}(loss), or a model and an example: {caller}(model, x)"
        )
    return called(what, examples, names, caller)


def is_program(what: Any) -> bool:
    """Whether it is a traced program."""
    from tinygrad_ce.program.ir import Program

    return isinstance(what, Program)


def is_played(what: Any) -> bool:
    """Whether it is a traced program that was played already."""
    return type(what).__name__ == "Player" and is_program(getattr(what, "program", None))


def called(what: Any, examples: tuple[Any, ...], names: Any, caller: str) -> Subject:
    """What a callable gives for the examples, and the names of all that is known."""
    title = getattr(what, "__name__", type(what).__name__)
    arguments = arguments_of(what, examples, title, caller)
    found = names_of(names, caller)
    for more in (arguments, known_to(what)):
        for node, name in names_of(more).items():
            found.setdefault(node, name)
    root, stands = run(what, examples)
    if not isinstance(root, Node):
        raise TypeError(
            f"{caller}: {title} gave a {type(root).__name__}; wanted one Tensor: "
            f"{caller}(lambda x: {title}(x)[0], x) picks one of several"
        )
    for node, other in stands.items():
        if node in found:
            found.setdefault(other, found[node])
    warn_of(root, stands.values())
    arrays = {name: x for name, x in arguments.items() if isinstance(x, np.ndarray)}
    for node, name in nodes_of(arrays, root, found).items():
        found.setdefault(node, name)
    return root, found, frozenset(stands[x] for x in examples if wants_twin(x) and x in stands)


def run(what: Any, examples: tuple[Any, ...]) -> tuple[Any, dict[Node, Node]]:
    """What a callable gives for twins of the examples, and which tensor another stands for.

    What needs no gradient is not recorded, so the way from an example to the parameters would be
    missing. A model that cannot do with a twin, as one that writes into its argument, gets the
    examples themselves.
    """

    def computed(given: tuple[Any, ...]) -> tuple[Any, dict[Node, Node]]:
        return undone(lambda: compute(what, given), [what, *examples])

    twins = {x: leaf(np.array(x.array), requires_grad=True) for x in examples if wants_twin(x)}
    if twins:
        try:
            root, copies = computed(
                tuple(twins.get(x, x) if isinstance(x, Node) else x for x in examples)
            )
            return root, {**copies, **twins}
        except Exception:  # with the examples themselves it works, or says what is wrong
            pass
    return computed(examples)


def compute(what: Any, given: tuple[Any, ...]) -> Any:
    """What a callable gives, recorded with its lines."""
    with source_lines(), recording(True):
        return what(*given)


begins.add(compute.__code__)


def wants_twin(x: Any) -> bool:
    """Whether it is a tensor of floats that needs no gradient."""
    return isinstance(x, Node) and not x.requires_grad and x.array.dtype.kind == "f"


def known_to(what: Any) -> dict[str, Any]:
    """What a callable works with, by name: the model itself, or the variables of a function."""
    if hasattr(type(what), "named_parameters"):
        return {"": what}
    if isinstance(what, partial):
        return known_to(what.func)
    if inspect.ismethod(what):
        return {"self": what.__self__, **known_to(what.__func__)}
    return variables_of(what) if inspect.isfunction(what) else getattr(what, "__dict__", {})


def arguments_of(what: Any, examples: tuple[Any, ...], title: str, caller: str) -> dict[str, Any]:
    """The examples by the names of the arguments that they are given for."""
    try:
        takes = inspect.signature(getattr(what, "forward", what))
    except (TypeError, ValueError):  # a function of C may have no signature
        return {f"x{i}": example for i, example in enumerate(examples)}
    try:
        bound = takes.bind(*examples).arguments
    except TypeError as error:
        name = getattr(what, "__name__", "model")
        advice = "" if examples else f"; to {caller} it, run it on an example: {caller}({name}, x)"
        raise TypeError(
            f"{caller}: {title}{takes} is called with {len(examples)} examples: {error}{advice}"
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


# --- once more ------------------------------------------------------------------------------


def again(
    what: Any, examples: tuple[Any, ...], found: dict[Node, str]
) -> Callable[[], tuple[Any, tuple[Any, ...], dict[str, Node]]]:
    """A function that gives (what, examples, names) once more, as long as they are there.

    It keeps a function and the numbers of the examples, often written in the very call, and
    nothing else alive. It raises RuntimeError when the tensor or the model is gone.
    """
    subject = (lambda: what) if inspect.isfunction(what) else weakly(what)
    others = () if isinstance(what, Node) else tuple(map(kept, examples))
    named = [(weakly(node), name) for node, name in found.items()]

    def all_again() -> tuple[Any, tuple[Any, ...], dict[str, Node]]:
        alive = [subject(), *(example() for example in others)]
        if any(thing is GONE for thing in alive):
            raise RuntimeError(
                "draw: what was drawn is gone, since a drawing keeps nothing alive. Keep the loss "
                "(or the model) in a variable, or make the page first: "
                'play(loss).save("x.html")'
            )
        names = {name: node for ref, name in reversed(named) if (node := ref()) is not GONE}
        return alive[0], tuple(alive[1:]), names

    return all_again


GONE = object()  # stands for what is no longer there
FREE = (type(None), bool, int, float, complex, str, bytes, slice, np.generic, np.dtype)
"""What keeps nothing else alive."""


def kept(example: Any) -> Callable[[], Any]:
    """A function that gives an array or a tensor without a past; anything else weakly."""
    numbers = not example.inputs if isinstance(example, Node) else isinstance(example, np.ndarray)
    return (lambda: example) if numbers else weakly(example)


def weakly(thing: Any) -> Callable[[], Any]:
    """A function that gives the thing as long as it is there, then GONE; of containers likewise."""
    if isinstance(thing, FREE):
        return lambda: thing
    kind = type(thing)
    if kind in (list, tuple):
        parts = [weakly(part) for part in thing]
        return lambda: together([part() for part in parts], kind)
    if kind is dict:
        keys, held = list(thing), weakly(list(thing.values()))
        return lambda: GONE if (values := held()) is GONE else dict(zip(keys, values))
    try:
        ref = weakref.WeakMethod(thing) if inspect.ismethod(thing) else weakref.ref(thing)
    except TypeError:  # there is no weak reference to it
        return lambda: GONE
    return lambda: GONE if (there := ref()) is None else there


def together(parts: list[Any], kind: type) -> Any:
    """The parts as a list or tuple again, unless one is gone."""
    return GONE if any(part is GONE for part in parts) else kind(parts)
