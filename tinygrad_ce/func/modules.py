"""Modules as functions of their parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tinygrad_ce.functions import stack
from tinygrad_ce.nn.module import Module


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: dict[str, Any] | Sequence[dict[str, Any]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """module(*args, **kwargs) with these tensors in the place of its parameters and buffers.

    They are named as in `named_parameters`; what is not named stays. A single argument needs no
    tuple. With `tie_weights` a tensor that the module has under several names is replaced under
    all of them; `strict` refuses names that are missing. The module is as before afterwards; a
    buffer that it sets anew is set in the dict.

    >>> import tinygrad_ce as tg
    >>> layer = tg.nn.Linear(2, 1)
    >>> w = {"weight": tg.tensor([[1.0, 2.0]]), "bias": tg.tensor([3.0])}
    >>> functional_call(layer, w, tg.tensor([10.0, 100.0]))
    tensor([213.])
    >>> tg.func.grad(lambda w, x: functional_call(layer, w, x).sum())(w, tg.tensor([4.0, 5.0]))
    {'weight': tensor([[4., 5.]]), 'bias': tensor([1.])}

    Raises RuntimeError for names that the module has not, ValueError for a name in two dicts and
    for different values of one tied tensor.
    """
    many = parameter_and_buffer_dicts
    dicts = [many] if isinstance(many, dict) else [*many]
    if not all(isinstance(d, dict) for d in dicts):
        raise ValueError("functional_call: wanted a dict {name: tensor}, or a tuple of them")
    names = [name for d in dicts for name in d]
    if len({*names}) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"functional_call: {twice} are in several dicts")
    given = {name: x for d in dicts for name, x in d.items()}
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with replaced(module, given, tie_weights, strict) as now:
        y = module(*args, **(kwargs or {}))
        for d in dicts:
            d.update((name, now(name)) for name in d)
    return y


@contextmanager
def replaced(module: Module, given: dict[str, Any], tie: bool, strict: bool) -> Iterator[Any]:
    """Other tensors in a module, for the length of a block; gives what looks one up."""
    own: dict[str, Any] = {}
    own.update(module.named_parameters(remove_duplicate=False))
    own.update(module.named_buffers(remove_duplicate=False))
    values = dict(given)
    for name in given if tie else ():
        for other in (n for n, x in own.items() if n != name and x is own.get(name)):
            if values.setdefault(other, given[name]) is not given[name]:
                raise ValueError(
                    f"functional_call: {name} and {other} are one tensor in the module, and two "
                    "are given; tie_weights=False parts them"
                )
    unknown, missing = [*(values.keys() - own)], [*(own.keys() - values)]
    if unknown or (strict and missing):
        raise RuntimeError(
            f"functional_call: {type(module).__name__} has no {sorted(unknown)}, and lacks "
            f"{sorted(missing) if strict else []}; wanted names of {[*own]}"
        )

    def place(name: str) -> tuple[dict[str, Any], str]:
        path, _, last = name.rpartition(".")
        return vars(module.get_submodule(path)), last

    for name, x in values.items():
        held, last = place(name)
        held[last] = x
    try:
        yield lambda name: place(name)[0][place(name)[1]]
    finally:
        for name in values:
            held, last = place(name)
            held[last] = own[name]


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters, buffers) of models of one class, stacked along a new first dimension, by name.

    They are new leaves: `vmap(lambda p, b, x: functional_call(models[0], (p, b), x), (0, 0, None))`
    runs all models at once.

    >>> import tinygrad_ce as tg
    >>> parameters, buffers = stack_module_state([tg.nn.Linear(3, 2) for _ in range(5)])
    >>> {name: tuple(p.shape) for name, p in parameters.items()}, buffers
    ({'weight': (5, 2, 3), 'bias': (5, 2)}, {})
    """
    models = [*models]
    if not models:
        raise RuntimeError("stack_module_state: got no models; wanted one or more")
    if len({(type(m), m.training) for m in models}) > 1:
        raise RuntimeError("stack_module_state: wanted models of one class, all in the same mode")

    def stacked(states: list[dict[str, Any]]) -> dict[str, Any]:
        for name in states[0]:
            if len({state[name].requires_grad for state in states}) > 1:
                raise RuntimeError(
                    f"stack_module_state: some {name} require a gradient, others not"
                )
        return {
            name: stack([s[name].detach() for s in states]).requires_grad_(x.requires_grad)
            for name, x in states[0].items()
        }

    return (
        stacked([dict(m.named_parameters()) for m in models]),
        stacked([dict(m.named_buffers()) for m in models]),
    )
