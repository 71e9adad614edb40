"""Modules that hold modules, or parameters: in a row, in a list, under names."""

from __future__ import annotations

import operator
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, TypeVar

from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.module import Module, own_modules, own_parameters
from tinygrad_ce.nn.parameter import Parameter
from tinygrad_ce.nn.shown import values_text

N = TypeVar("N", bound="Numbered")


def add_module(parent: Module, name: str, module: Any) -> None:
    """Hold `module` under `name`; anything else is refused."""
    if not isinstance(module, Module):
        raise TypeError(
            f"{type(parent).__name__}: item {name} is {a_type(module)}; wanted a Module "
            "(nn.ReLU() for the function relu)"
        )
    parent.add_module(name, module)


def held(module: Module) -> list[Module]:
    """The modules of a container, in their order, one that is held twice twice."""
    return [m for m in vars(module).values() if isinstance(m, Module)]


def listed(things: Any, name: str, wanted: str) -> list[Any]:
    """What is given as a list, or any other collection."""
    if isinstance(things, Tensor) or not isinstance(things, Iterable):
        raise TypeError(f"{name}: got {a_type(things)}; wanted a list: [{wanted}]")
    return list(things)


class Numbered(Module):
    """What is held under numbers: 0, 1, 2, ..., each an attribute of that name."""

    def _put(self, index: int, thing: Any) -> None:
        add_module(self, str(index), thing)

    def _held(self) -> list[tuple[str, Any]]:
        return own_modules(self)

    def _place(self, index: Any) -> int:
        """An index as one of 0 ... n-1."""
        n, i = len(self), operator.index(index)
        if not -n <= i < n:
            raise IndexError(f"{type(self).__name__}: index {i} is out of range: it holds {n}")
        return i % n

    def _renumber(self: N, things: Iterable[Any]) -> N:
        """Hold these, under new numbers, and nothing else."""
        things = list(things)
        for name, _ in self._held():
            delattr(self, name)
        for i, thing in enumerate(things):
            self._put(i, thing)
        return self

    def append(self: N, module: Any) -> N:
        """Add one at the end."""
        self._put(len(self), module)
        return self

    def extend(self: N, modules: Iterable[Any]) -> N:
        """Add several at the end."""
        for module in listed(modules, type(self).__name__, "module"):
            self.append(module)
        return self

    def insert(self, index: int, module: Any) -> Any:
        """Put one before place `index`; those behind move on by one."""
        n = len(self)
        if not -n <= index <= n:
            raise IndexError(f"{type(self).__name__}: index {index} is out of range: it holds {n}")
        things = list(self)
        things.insert(index, module)
        return self._renumber(things)

    def pop(self, index: Any = -1) -> Any:
        """Take one (or a slice) out."""
        thing = self[index]
        del self[index]
        return thing

    def __setitem__(self, index: int, module: Any) -> None:
        name, _ = self._held()[self._place(index)]
        if isinstance(module, Module):
            add_module(self, name, module)
        else:
            self._put(int(name), module)

    def __delitem__(self, index: int | slice) -> None:
        things = list(self)
        del things[index if isinstance(index, slice) else self._place(index)]
        self._renumber(things)

    def __len__(self) -> int:
        return len(self._held())

    def __iter__(self) -> Iterator[Any]:
        return iter([thing for _, thing in self._held()])

    def __getitem__(self, index: int | slice) -> Any:
        things = list(self)
        if isinstance(index, slice):
            return type(self)(things[index])  # type: ignore[call-arg]
        return things[self._place(index)]

    def __iadd__(self: N, others: Iterable[Any]) -> N:
        return self.extend(others)


class Sequential(Numbered):
    """Modules one after another: f₃(f₂(f₁(x))).

    An OrderedDict (or a dict) gives them names. `model[1]` is one of them, `model[:2]` a
    Sequential of the first two, under the names that they have.

    >>> model = Sequential(Module(), Module())
    >>> len(model)
    2
    """

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                add_module(self, name, module)
        else:
            self.extend(modules)

    def forward(self, input: Any) -> Any:
        """Each module's output is the next one's input."""
        for module in held(self):
            input = module(input)
        return input

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(dict(self._held()[index]))
        return held(self)[self._place(index)]

    def __setitem__(self, index: int, module: Any) -> None:
        add_module(self, self._held()[self._place(index)][0], module)

    def __add__(self, other: Any) -> Sequential:
        return Sequential(*self, *sequential(other))

    def __iadd__(self: N, other: Any) -> N:
        return self.extend(sequential(other))

    def __mul__(self, times: int) -> Sequential:
        return Sequential(*list(self) * repetitions(times))

    __rmul__ = __mul__

    def __imul__(self: N, times: int) -> N:
        return self.extend(list(self) * (repetitions(times) - 1))


def sequential(other: Any) -> Sequential:
    """What can be joined to a Sequential: another one."""
    if not isinstance(other, Sequential):
        raise ValueError(
            f"Sequential + {type(other).__name__}: wanted a Sequential, or model.extend([...])"
        )
    return other


def repetitions(times: Any) -> int:
    """How many times: an integer of at least 1."""
    if not isinstance(times, int):
        raise TypeError(f"Sequential * {type(times).__name__}: wanted an integer")
    if times < 1:
        raise ValueError(f"Sequential * {times}: wanted at least 1")
    return times


class ModuleList(Numbered):
    """Modules in a list, found by `parameters()`; the user calls them.

    >>> len(ModuleList([Module(), Module()]))
    2
    """

    folds_repeats = True

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        self.extend([] if modules is None else modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])


class Named(Module):
    """What is held under names, modules or something else, with the methods of a dict."""

    kind = "module"

    def __init__(self, values: Any = None) -> None:
        if values is not None:
            self.update(values)

    def _dict(self) -> dict[str, Any]:
        return dict(own_modules(self))

    def __setitem__(self, key: str, value: Any) -> None:
        add_module(self, key, value)

    def __getitem__(self, key: str) -> Any:
        return self._dict()[key]

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def __len__(self) -> int:
        return len(self._dict())

    def __iter__(self) -> Iterator[str]:
        return iter(self._dict())

    def __contains__(self, key: str) -> bool:
        return key in self._dict()

    def clear(self) -> None:
        """Hold nothing."""
        for key in self._dict():
            delattr(self, key)

    def get(self, key: str, default: Any = None) -> Any:
        """What is under `key`, or the default."""
        return self._dict().get(key, default)

    def pop(self, key: str) -> Any:
        """Take what is under `key` out."""
        value = self._dict()[key]
        delattr(self, key)
        return value

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._dict().keys()

    def values(self) -> ValuesView[Any]:
        """What is held."""
        return self._dict().values()

    def items(self) -> ItemsView[str, Any]:
        """Pairs of both."""
        return self._dict().items()

    def update(self, values: Any) -> None:
        """Hold these too: a dict, a container of this kind, or a list of pairs."""
        name, pair_of = type(self).__name__, f"(name, {self.kind})"
        if not isinstance(values, Iterable):
            raise TypeError(f"{name}: got {a_type(values)}; wanted a dict or {pair_of} pairs")
        pairs = values.items() if isinstance(values, (Mapping, Named)) else values
        for pair in pairs:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ValueError(f"{name}: got {pair!r}; wanted {pair_of}")
            self[pair[0]] = pair[1]


class ModuleDict(Named):
    """Modules under names, found by `parameters()`, with the methods of a dict.

    >>> heads = ModuleDict({"a": Module(), "b": Module()})
    >>> [*heads], "a" in heads
    (['a', 'b'], True)
    """


class ParameterDict(Named):
    """Parameters under names, with the methods of a dict; a tensor that is put in becomes one.

    >>> from tinygrad_ce import ones
    >>> scales = ParameterDict({"a": ones(2)})
    >>> scales["b"] = ones(3)
    >>> [name for name, _ in scales.named_parameters()]
    ['a', 'b']
    """

    kind = "tensor"

    def _dict(self) -> dict[str, Any]:
        return dict(own_parameters(self))

    def __setitem__(self, key: str, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"ParameterDict: item {key} is {a_type(value)}; wanted a Tensor")
        self.register_parameter(key, value if isinstance(value, Parameter) else Parameter(value))

    def extra_repr(self) -> str:
        """The kinds and sizes of the parameters."""
        return values_text([*self.items()])


class ParameterList(Numbered):
    """Parameters in a list, found by `parameters()`; a tensor that is put in becomes one.

    >>> from tinygrad_ce import ones
    >>> [name for name, _ in ParameterList([ones(2), ones(3)]).named_parameters()]
    ['0', '1']
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        self.extend([] if values is None else values)

    def _put(self, index: int, thing: Any) -> None:
        if isinstance(thing, Tensor) and not isinstance(thing, Parameter):
            thing = Parameter(thing)
        setattr(self, str(index), thing)

    def extra_repr(self) -> str:
        """The kinds and sizes of the parameters."""
        return values_text(self._held())

    def _held(self) -> list[tuple[str, Any]]:
        return [(n, x) for n, x in vars(self).items() if n.isdigit()]
