"""Module: parameters, buffers and modules in a tree, found by looking at the attributes.

A module is an ordinary object: what it holds is in its `__dict__`, in the order of assignment.
A `Parameter` there is a parameter, a `Module` a child, and a Tensor that was announced by
`register_buffer` a buffer. Calling a module opens a named scope, so pictures can fold it.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tinygrad_ce.engine import operands, write
from tinygrad_ce.engine.backward import forget_grad
from tinygrad_ce.engine.frame import call_in_scope, current, refuse_once
from tinygrad_ce.engine.memory import mark_written
from tinygrad_ce.engine.tensor import Tensor, as_subclass, check_can_require_grad

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A Tensor that a Module trains: a leaf that requires a gradient, found by `parameters()`.

    >>> Parameter([1.0, 2.0])
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __new__(cls, data: Any = (), requires_grad: bool = True) -> Parameter:
        """A leaf with a copy of the data."""
        array = operands.array_from(data)
        check_can_require_grad(array, requires_grad)
        return as_subclass(operands.leaf(array, requires_grad), cls)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __reduce__(self) -> Any:
        return type(self), (np.array(self.array), self.requires_grad)


class LoadResult(NamedTuple):
    """What `load_state_dict(strict=False)` did not find, and what it did not expect."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base class of layers and models: override `forward`.

    >>> class Double(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> model = Double()
    >>> model(Tensor([3.0]))
    tensor([6.], op=mul)
    >>> [name for name, _ in model.named_parameters()]
    ['factor']
    """

    training: bool = True
    formula: str = ""
    _name: str = ""
    _buffer_names: tuple[str, ...] = ()
    _unsaved: tuple[str, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass has its own."""
        raise TypeError(f"{type(self).__name__} has no forward(self, ...) method; write one")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What `forward` gives, recorded under this module's name."""
        name = self._name or type(self).__name__
        try:
            return call_in_scope(name, "module", self.formula, self.forward, args, kwargs, self)
        except RecursionError:
            limit = sys.getrecursionlimit()
            depth = 0 if current().scope else max(n.count(".") for n, _ in self.named_modules()) + 2
            if 4 * depth < limit:
                raise  # an inner call, or a function that calls itself for ever
            raise RecursionError(
                f"{name}: modules are nested {depth} deep, and Python stops at {limit} calls "
                f"within calls; write sys.setrecursionlimit({1000 + 10 * depth}) before"
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        tracer = current().tracer
        if tracer is not None:
            tracer.sets(self, name, value)
        if isinstance(value, Module):
            value.__dict__["_name"] = f"{type(value).__name__} {name}" if name.isdigit() else name
        elif isinstance(self.__dict__.get(name), Parameter):
            if not (value is None or isinstance(value, Parameter)):
                raise TypeError(
                    f"{name}: is a Parameter and would stop being trained; assign "
                    f"Parameter(value), or write with no_grad(): module.{name}.copy_(value)"
                )
        elif name in self._buffer_names and not (value is None or isinstance(value, Tensor)):
            raise TypeError(f"{name}: is a buffer; got a {type(value).__name__}, wanted a Tensor")
        object.__setattr__(self, name, value)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Hold a Tensor that is saved with the module but not trained."""
        if not (tensor is None or isinstance(tensor, Tensor)):
            raise TypeError(
                f"register_buffer: {name} is a {type(tensor).__name__}; wanted a Tensor"
            )
        if name in self._buffer_names or name in vars(self):
            raise ValueError(f"register_buffer: this module has a {name} already")
        setattr(self, name, tensor)
        self._buffer_names = (*self._buffer_names, name)
        if not persistent:
            self._unsaved = (*self._unsaved, name)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Hold a Parameter under `name`, or None for one that is switched off."""
        if not (parameter is None or isinstance(parameter, Parameter)):
            kind = type(parameter).__name__
            raise TypeError(f"register_parameter: {name} is a {kind}; wanted a Parameter")
        setattr(self, name, parameter)

    # --- the tree ---------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) for the modules held directly, each module once."""
        first = {id(module): name for name, module in reversed(own_modules(self))}
        for name, module in own_modules(self):
            if first[id(module)] == name:
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules held directly."""
        return (module for _, module in self.named_children())

    def named_modules(
        self, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(dotted name, module) for this module and all below, each module once."""
        stack = [(prefix, self)]
        seen: set[int] = set()
        while stack:
            name, module = stack.pop()
            if remove_duplicate and id(module) in seen:
                continue
            seen.add(id(module))
            yield name, module
            below = [(join(name, n), child) for n, child in own_modules(module)]
            stack.extend(reversed(below))

    def modules(self) -> Iterator[Module]:
        """This module and all below."""
        return (module for _, module in self.named_modules())

    def _named(
        self, pick: Callable[[Module], list[tuple[str, Tensor]]], prefix: str
    ) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix):
            for name, tensor in pick(module):
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield join(path, name), tensor

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """(dotted name, Parameter) for all parameters, a shared one once."""
        return self._named(own_parameters, prefix)

    def parameters(self) -> Iterator[Tensor]:
        """All parameters."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """(dotted name, Tensor) for all buffers."""
        return self._named(own_buffers, prefix)

    def buffers(self) -> Iterator[Tensor]:
        """All buffers."""
        return (buffer for _, buffer in self.named_buffers())

    def apply(self: M, function: Callable[[Module], Any]) -> M:
        """Call `function` with every module, children first."""
        for module in below_first(self):
            function(module)
        return self

    # --- modes ------------------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Switch to training: dropout drops, batch normalisation looks at the batch."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Switch to evaluation."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Let all parameters gather gradients, or none."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters; with set_to_none=False make them 0."""
        for parameter in self.parameters():
            forget_grad(parameter, set_to_none)

    def to(self: M, dtype: Any) -> M:
        """Change the dtype of all floating parameters and buffers, in place."""
        if isinstance(dtype, str) and dtype == "cpu":
            return self
        try:
            wanted = np.dtype(dtype)
        except TypeError:
            raise ValueError(
                f'to: got {dtype!r}; wanted a dtype, or "cpu", where all tensors live'
            ) from None
        if wanted.kind != "f":
            raise TypeError(f"to: dtype {wanted}; parameters are floats: float32 or float64")
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.is_floating_point() and tensor.dtype != wanted:
                write.exchange(tensor, tensor.array.astype(wanted), f"to({wanted})")
                tensor.kept = None
        return self

    def float(self: M) -> M:
        """All floating parameters and buffers as float32."""
        return self.to(np.float32)

    def double(self: M) -> M:
        """All floating parameters and buffers as float64."""
        return self.to(np.float64)

    # --- saving -----------------------------------------------------------------------------

    def _saved(self) -> Iterator[tuple[str, Tensor]]:
        for path, module in self.named_modules(remove_duplicate=False):
            for name, tensor in own_parameters(module):
                yield join(path, name), tensor
            for name, tensor in own_buffers(module):
                if name not in module._unsaved:
                    yield join(path, name), tensor

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Names and values of all parameters and buffers, on the same memory.

        Names begin with `prefix`, which brings its own dot. What is shared comes under all its
        names.
        """
        return {prefix + name: tensor.detach() for name, tensor in self._saved()}

    def load_state_dict(self, state_dict: dict[str, Any], strict: bool = True) -> LoadResult:
        """Copy values in by name: all of them, or none and an error.

        Shapes must agree. Names must too, unless `strict` is False. Raises ValueError with every
        difference found.
        """
        refuse_once("load_state_dict writes", "Load before the call, which finds what was loaded")
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: got a {type(state_dict).__name__}; wanted a dict")
        own = dict(self._saved())
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        wrong, arrays = [], {}
        for name in own.keys() & state_dict.keys():
            try:
                arrays[name] = fitting(own[name].array, state_dict[name])
            except (TypeError, ValueError) as error:
                wrong.append(f"{name} {error}")
        if strict:
            wrong = [
                *(f"{name} is missing" for name in missing),
                *(f"{name} is not in the model" for name in unexpected),
                *sorted(wrong),
            ]
        if wrong:
            raise ValueError("load_state_dict: nothing was loaded: " + "; ".join(wrong))
        for name, array in arrays.items():
            tensor = own[name]
            if isinstance(tensor.array, np.generic):
                tensor.array = np.array(tensor.array)  # a scalar result gets a place of its own
            tensor.array[...] = array
            mark_written(tensor, "load_state_dict")
        return LoadResult(missing, unexpected)

    def __deepcopy__(self: M, memo: dict[int, Any]) -> M:
        """A copy of this and all below, parameters and buffers too.

        All are made before one is filled, so that nothing recurses; a module below that says
        itself how it is copied or pickled does so.
        """
        usual = [m for m in self.modules() if m is self or copied_as_usual(type(m))]
        new = [m for m in usual if id(m) not in memo]
        for module in new:
            memo[id(module)] = object.__new__(type(module))
        for module in new:
            vars(memo[id(module)]).update(copy.deepcopy(vars(module), memo))
        return memo[id(self)]

    # --- printing ---------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The settings of a layer, shown in its repr."""
        return ""

    def __repr__(self) -> str:
        texts: dict[int, str] = {}
        for module in below_first(self):
            ours = module is self or type(module).__repr__ is Module.__repr__
            texts[id(module)] = module._text(texts) if ours else repr(module)
        return texts[id(self)]

    def _text(self, texts: dict[int, str]) -> str:
        """The repr, given those of the modules that it holds."""
        lines = [f"{type(self).__name__}({self.extra_repr()}"]
        for name, child in own_modules(self):
            below = texts.get(id(child), f"{type(child).__name__}(...)").split("\n")
            lines.append(f"  ({name}): " + "\n  ".join(below))
        tail = ")" if len(lines) == 1 else "\n)"
        own = [f"{name} {tuple(p.shape)}" for name, p in own_parameters(self)]
        total = sum(p.numel() for p in self.parameters())
        note = f"  # {', '.join([*own, f'{total:,} parameters'])}" if total else ""
        if len(lines) == 1:
            return lines[0] + tail + note
        return lines[0] + note + "\n" + "\n".join(lines[1:]) + tail


def fitting(own: Any, value: Any) -> np.ndarray:
    """`value` as an array that can be copied into the array `own`."""
    array = operands.exact(value)
    if array.shape != own.shape:
        raise ValueError(f"has shape {array.shape}, the model {own.shape}")
    if array.dtype.kind != own.dtype.kind:
        raise ValueError(f"has dtype {array.dtype}, the model {own.dtype}")
    if isinstance(own, np.ndarray) and not own.flags.writeable:
        raise ValueError(f"has shape {own.shape}, but repeats its elements (expand); use .clone()")
    return operands.fitted(array, own.dtype, f"of dtype {array.dtype}")


def below_first(module: Module) -> Iterator[Module]:
    """The modules below and this one, each after those that it holds, as often as it is held."""
    stack, inside = [(module, False)], set[int]()
    while stack:
        module, done = stack.pop()
        if done:
            inside.remove(id(module))
            yield module
        elif id(module) not in inside:
            inside.add(id(module))
            stack.append((module, True))
            stack.extend((child, False) for child in reversed([*module.children()]))


def copied_as_usual(kind: type[Module]) -> bool:
    """Whether a class says nothing of how it is copied."""
    hooks = ("__reduce__", "__reduce_ex__", "__getstate__")
    own = any(getattr(kind, hook) is not getattr(object, hook) for hook in hooks)
    return not (own or hasattr(kind, "__setstate__")) and kind.__deepcopy__ is Module.__deepcopy__


def join(path: str, name: str) -> str:
    """A dotted name."""
    return f"{path}.{name}" if path else name


def own_modules(module: Module) -> list[tuple[str, Module]]:
    """The modules that a module holds itself, under all their names."""
    return [(n, m) for n, m in vars(module).items() if isinstance(m, Module)]


def held(module: Module) -> list[Module]:
    """The modules of a container, in their order, one that is held twice twice."""
    return [m for m in vars(module).values() if isinstance(m, Module)]


def own_parameters(module: Module) -> list[tuple[str, Tensor]]:
    """The parameters that a module holds itself."""
    return [(n, p) for n, p in vars(module).items() if isinstance(p, Parameter)]


def own_buffers(module: Module) -> list[tuple[str, Tensor]]:
    """The buffers that a module holds itself."""
    pairs = ((name, getattr(module, name)) for name in module._buffer_names)
    return [(name, tensor) for name, tensor in pairs if tensor is not None]
