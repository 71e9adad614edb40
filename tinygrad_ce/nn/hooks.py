"""Functions that are called when a module is: before it, after it, and in its backward pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

Hook = Callable[..., Any]
_numbers = itertools.count()


class RemovableHandle:
    """What a hook is taken away by: `handle.remove()`, or the end of a `with` block.

    >>> hooks = {}
    >>> with RemovableHandle(hooks, print):
    ...     len(hooks)
    1
    >>> hooks
    {}
    """

    def __init__(self, hooks: dict[int, Any], hook: Any, first: bool = False) -> None:
        self.id = next(_numbers)
        self._hooks = hooks
        before = {} if first else dict(hooks)
        after = dict(hooks) if first else {}
        hooks.clear()
        hooks.update({**before, self.id: hook, **after})

    def remove(self) -> None:
        """Call the hook no more."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class Hooks:
    """The hooks of one module: (function, whether it is given keyword arguments too)."""

    def __init__(self) -> None:
        self.before: dict[int, tuple[Hook, bool]] = {}
        self.after: dict[int, tuple[Hook, bool]] = {}
        self.backward: dict[int, Hook] = {}

    def __bool__(self) -> bool:
        return bool(self.before or self.after or self.backward)

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`module.forward`, with all hooks around it."""
        for hook, with_kwargs in [*self.before.values()]:
            if with_kwargs:
                found = hook(module, args, kwargs)
                if found is not None:
                    args, kwargs = both_of(found)
            else:
                found = hook(module, args)
                if found is not None:
                    args = found if isinstance(found, tuple) else (found,)
        y = module.forward(*args, **kwargs)
        for hook, with_kwargs in [*self.after.values()]:
            found = hook(module, args, kwargs, y) if with_kwargs else hook(module, args, y)
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
