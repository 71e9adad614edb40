"""What a grader is given: a step, its inputs and answers; and what is refused of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import wraps
from typing import Any

import numpy as np

from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.program.ir import Program
from tinygrad_ce.program.traced import trace
from tinygrad_ce.program.tracing.trace import GradOf
from tinygrad_ce.teach.book import Book


def refuse_inputs(step: Any, inputs: Any) -> None:
    """Refuse what is no tuple of inputs, or one that the step cannot be called with."""
    if not isinstance(inputs, (tuple, list)):
        raise TypeError(f"the inputs of a step are {a_type(inputs)}; wanted a tuple: (x, y), (x,)")
    with suppress(ValueError):  # a function of C may have no signature
        takes = inspect.signature(getattr(step, "forward", step))  # of a module
        try:
            takes.bind(*inputs)
        except TypeError as error:
            name = getattr(step, "__name__", type(step).__name__)
            called = f"{name}({', '.join(takes.parameters)})"
            raise TypeError(f"{called} is given {len(inputs)} inputs: {error}") from None


def traced(step: Callable[..., Any] | Program, inputs: Sequence[Any]) -> Program:
    """The program of a step with its backward pass."""
    if isinstance(step, Program):
        return step
    refuse_inputs(step, inputs)
    program = trace(step, *inputs)
    if not (program.gradient_of or program.grads):  # it calls no backward()
        program = trace(with_backward(step), *inputs)
    held = [x for x in inputs if getattr(x, "grad", None) is not None]
    held += [state.node.node for state in program.states if isinstance(state.node, GradOf)]
    if not held:
        return program
    left = [x.grad for x in held]  # by an earlier backward pass: no part of this one
    try:
        for x in held:
            x.grad = None
        return traced(step, inputs)
    finally:
        for x, grad in zip(held, left):
            x.grad = grad


def with_backward(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step and the backward pass of what it returns."""

    @wraps(step)
    def whole(*inputs: Any) -> Any:
        loss = step(*inputs)
        if not hasattr(loss, "backward"):
            name = getattr(step, "__name__", type(step).__name__)
            raise TypeError(f"{name} gave {loss!r:.60}; wanted a loss: does it end in return loss?")
        loss.backward()
        return loss

    return whole


def refuse_answers(answers: Any, made_by: str = "") -> None:
    """Refuse what is no dict of answers, or an empty one."""
    if not isinstance(answers, Mapping):
        got = "None" if answers is None else a_type(answers)
        what = f"{made_by} gave {got}; wanted" if made_by else f"the answers are {got}; wanted"
        more = "" if made_by else ", or a function that returns one"
        raise TypeError(f'check: {what} a dict of arrays by name, {{"dW": dW}}{more}')
    if not answers:
        who = f"{made_by} gave" if made_by else "there are"
        raise ValueError(f'check: {who} no answers; wanted arrays by name, {{"dW": dW}}')


def numbers(name: str, answer: Any) -> np.ndarray:
    """An answer as an array of numbers: NumPy's, this library's, PyTorch's, or nested lists."""
    given = plain(answer)
    if isinstance(given, (list, tuple)):
        given = [plain(x) for x in given]
        shapes = {x.shape for x in given if isinstance(x, np.ndarray)}
        if len(shapes) > 1:
            raise ValueError(
                f"check: {name} is a list of arrays of shapes {' and '.join(map(str, shapes))}; "
                "the shares of a gradient have one shape: that of what it is the gradient of"
            )
    try:
        array = np.asarray(given)
    except ValueError:
        raise ValueError(f"check: {name} is a list of rows of different lengths") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"check: {name} is {answer!r:.60}; wanted an array of numbers")
    return array


def plain(answer: Any) -> Any:
    """A Tensor as an array, and all else as it is."""
    return np.asarray(answer.detach()) if hasattr(answer, "detach") else answer


def unknown(name: str, book: Book) -> KeyError:
    """The error for a name that the step does not have, with the one that may be meant."""
    paths = [re.sub(r"_(weight|bias)$", r".\1", x) for x in book.paths if "_" in x]
    own = [x for x, same in book.gradients.items() if x == same or same not in book.gradients]
    known = [*dict.fromkeys([*own, *paths, *book.makers])]
    stem = re.sub(r"^(d|grad(ient)?)_?|[._]grad$", "", name)
    folded = {x.casefold(): x for x in reversed(known)}
    near = get_close_matches(name.casefold(), folded, 1, 0.75)
    near = [x for x in (f"d{stem}".casefold(),) if x in folded] or near
    if not book.slopes:
        said = "The step has no backward pass: no parameter needs a gradient, or a traced program "
        said += "calls no loss.backward()"
    elif stem in book.given:
        said = (
            f"No gradient flows to {stem}: it has no requires_grad=True, or the loss does not "
            "rest on it"
        )
    elif near:
        said = f"Did you mean {folded[near[0]]!r}?"
    elif stem in book.truth:
        said = f"No gradient of {stem} is computed in it"
    else:
        free = stem if stem.isidentifier() else "h"
        said = f"What is computed without a name is given one in the step: {free} = ..."
        said += f"; a parameter of a model is called by its path: {paths[0]}" if paths else ""
    return KeyError(f"check: {name!r} is no value of the step; it has {', '.join(known)}. {said}")
