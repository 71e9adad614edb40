"""Functions that are called when a module is: before it, after it, and when gradients come back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import ref

from tinygrad_ce.engine.arranging import apart, joined
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.tensor import Tensor

_numbers = itertools.count()


class Hook(NamedTuple):
    """One function, where it is called, and whether it is given keyword arguments too."""

    id: int
    where: str
    function: Callable[..., Any]
    with_kwargs: bool = False


class RemovableHandle:
    """What a hook is taken away by: `handle.remove()`, or the end of a `with` block.

    The hooks of a module are a tuple in its `_hooks`, another one after each change: a compiled
    step sees by that whether it still does what the module does.
    """

    def __init__(self, module: Any, hook: Hook, first: bool = False) -> None:
        self.id = hook.id
        self._module = ref(module)
        before, after = ((), module._hooks) if first else (module._hooks, ())
        module._hooks = (*before, hook, *after)

    def remove(self) -> None:
        """Call the hook no more."""
        module = self._module()
        if module is not None:
            module._hooks = tuple(hook for hook in module._hooks if hook.id != self.id)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register(
    module: Any, where: str, function: Callable[..., Any], first: bool, with_kwargs: bool = False
) -> RemovableHandle:
    """Let a module call `function` there, before or after those that it has."""
    return RemovableHandle(module, Hook(next(_numbers), where, function, with_kwargs), first)


def call(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`module.forward`, with all hooks around it."""
    hooks = module._hooks
    for hook in hooks:
        if hook.where != "before":
            continue
        if hook.with_kwargs:
            found = hook.function(module, args, kwargs)
            if found is not None:
                args, kwargs = both_of(found)
        else:
            found = hook.function(module, args)
            if found is not None:
                args = found if isinstance(found, tuple) else (found,)
    backward = [hook for hook in hooks if hook.where == "backward"]
    if backward and current().record:
        y = with_backward_hooks(module, backward, args, kwargs)
    else:
        y = module.forward(*args, **kwargs)
    for hook in hooks:
        if hook.where == "after":
            given = (args, kwargs, y) if hook.with_kwargs else (args, y)
            found = hook.function(module, *given)
            y = y if found is None else found
    return y


def both_of(found: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a hook before the call gives, if it is asked for arguments of both kinds."""
    if not isinstance(found, tuple) or len(found) != 2:
        raise RuntimeError(
            "register_forward_pre_hook: a hook with_kwargs=True gives None or (args, kwargs); "
            f"got {found!r}"
        )
    return found


def with_backward_hooks(module: Any, hooks: list[Hook], args: Any, kwargs: Any) -> Any:
    """`module.forward`, whose hooks are called when its gradients have arrived.

    The inputs go through one step, so that the gradients of all of them come back together; where
    none needs a gradient, the outputs do.
    """
    given = [isinstance(x, Tensor) and x.requires_grad for x in args]
    live = [x for x, needs in zip(args, given) if needs]
    arrived: list[Any] = []

    def run(grad_input: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in hooks:
            found = hook.function(module, grad_input, tuple(arrived))
            if found is not None:
                grad_input = found if isinstance(found, tuple) else (found,)
        return grad_input

    def at_inputs(g: Tensor) -> Tensor:
        parts = iter(apart(g, live))
        found = run(tuple(next(parts) if needs else None for needs in given))
        return joined([g for g, needs in zip(found, given, strict=True) if needs])

    def at_output(place: int) -> Callable[[Tensor], None]:
        def note(g: Tensor) -> None:
            arrived[place] = g

        return note

    def at_outputs(g: Tensor) -> None:
        for place, part in zip(smooth, apart(g, [outputs[i] for i in smooth])):
            arrived[place] = part
        run((None,) * len(args))

    if live:
        whole = joined(live)
        whole.register_hook(at_inputs)
        pieces = iter(apart(whole, live))
        args = tuple(next(pieces) if needs else x for x, needs in zip(args, given))
    found = module.forward(*args, **kwargs)
    outputs = list(found) if isinstance(found, (tuple, list)) else [found]
    arrived = [None] * len(outputs)
    smooth = [i for i, y in enumerate(outputs) if isinstance(y, Tensor) and y.requires_grad]
    if live or len(smooth) < 2:
        for place in smooth:
            outputs[place].register_hook(at_output(place) if live else at_outputs)
        return found
    together = joined([outputs[i] for i in smooth])
    together.register_hook(at_outputs)
    for place, part in zip(smooth, apart(together, [outputs[i] for i in smooth])):
        outputs[place] = part
    return found._make(outputs) if hasattr(found, "_make") else type(found)(outputs)
