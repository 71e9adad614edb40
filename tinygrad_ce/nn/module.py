"""Module: parameters, buffers and modules in a tree, found by looking at the attributes.

A module is an ordinary object: what it holds is in its `__dict__`, in the order of assignment.
A `Parameter` there is a parameter, a `Module` a child, and a Tensor that was announced by
`register_buffer` a buffer. Calling a module opens a named scope, so pictures can fold it.
"""

from __future__ import annotations

import copy
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tinygrad_ce.engine import operands, write
from tinygrad_ce.engine.backward import forget_grads
from tinygrad_ce.engine.devices import dtype_wanted, not_here
from tinygrad_ce.engine.frame import a_type, call_in_scope, current, refuse_once
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import mark_written
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import hooks
from tinygrad_ce.nn.parameter import Parameter, Uninitialized
from tinygrad_ce.nn.shown import settings, tree

HELD: Any = vars(Node)["array"]  # the slot itself: a kind of Tensor may fetch what is read

M = TypeVar("M", bound="Module")


class _IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` did not find, and what it did not expect."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not (self.missing_keys or self.unexpected_keys):
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self[0]!r}, unexpected_keys={self[1]!r})"


class Module:
    """Base class of layers and models: override `forward`.

    >>> class Double(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> model = Double()
    >>> model(Tensor([3.0]))
    tensor([6.], grad_fn=<MulBackward0>)
    >>> [name for name, _ in model.named_parameters()]
    ['factor']
    """

    training: bool = True
    formula: str = ""
    folds_repeats: bool = False  # layers that print alike become one line of the repr
    _name: str = ""
    _buffer_names: tuple[str, ...] = ()
    _unsaved: tuple[str, ...] = ()
    _hooks: tuple[hooks.Hook, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass has its own."""
        raise NotImplementedError(
            f"{type(self).__name__} has no forward(self, ...) method; write one"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What `forward` gives, recorded under this module's name."""
        name = self._name or type(self).__name__
        forward = self._hooked if self._hooks else self.forward
        try:
            return call_in_scope(name, "module", self.formula, forward, args, kwargs, self)
        except RecursionError:
            limit = sys.getrecursionlimit()
            depth = 0 if current().scope else max(n.count(".") for n, _ in self.named_modules()) + 2
            if 4 * depth < limit:
                raise  # an inner call, or a function that calls itself for ever
            raise RecursionError(
                f"{name}: modules are nested {depth} deep, and Python stops at {limit} calls "
                f"within calls; write sys.setrecursionlimit({1000 + 10 * depth}) before"
            ) from None

    def _hooked(self, *args: Any, **kwargs: Any) -> Any:
        return hooks.call(self, args, kwargs)

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
            raise TypeError(f"{name}: is a buffer; got {a_type(value)}, wanted a Tensor")
        object.__setattr__(self, name, value)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Hold a Tensor that is saved with the module (if it is persistent) but not trained."""
        if not (tensor is None or isinstance(tensor, Tensor)):
            raise TypeError(f"register_buffer: {name} is {a_type(tensor)}; wanted a Tensor")
        check_free(self, "register_buffer", name, self._buffer_names)
        setattr(self, name, tensor)
        self._buffer_names = (*(n for n in self._buffer_names if n != name), name)
        unsaved = tuple(n for n in self._unsaved if n != name)
        self._unsaved = unsaved if persistent else (*unsaved, name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Hold a Parameter under `name`, or None for one that is switched off."""
        if not (param is None or isinstance(param, Parameter)):
            kind = type(param).__name__
            raise TypeError(f"register_parameter: {name} is a {kind}; wanted a Parameter")
        check_free(self, "register_parameter", name, [n for n, _ in own_parameters(self)])
        setattr(self, name, param)

    def add_module(self, name: str, module: Module | None) -> None:
        """Hold a module under `name`, as `self.name = module` does for a name that is one."""
        if not (module is None or isinstance(module, Module)):
            raise TypeError(f"add_module: {name} is {a_type(module)}; wanted a Module")
        check_free(self, "add_module", name, [n for n, _ in own_modules(self)])
        setattr(self, name, module)

    register_module = add_module

    # --- hooks ------------------------------------------------------------------------------

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> hooks.RemovableHandle:
        """Call `hook(module, args)` before each forward; what it gives takes the place of args.

        With `with_kwargs` it is `hook(module, args, kwargs)`, which gives None or both.
        """
        return hooks.register(self, "before", hook, prepend, with_kwargs)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> hooks.RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of a call have arrived.

        Both are tuples, None where there is no gradient; what it gives takes the place of
        grad_input. Without an input that requires a gradient, it is called with the output's.
        """
        return hooks.register(self, "backward", hook, prepend)

    register_backward_hook = register_full_backward_hook

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> hooks.RemovableHandle:
        """Call `hook(module, args, output)` after each forward; what it gives is the output.

        >>> seen = []
        >>> layer = Module()
        >>> layer.forward = lambda x: x * 2.0
        >>> handle = layer.register_forward_hook(lambda module, args, y: seen.append(y.shape))
        >>> _ = layer(Tensor([1.0, 2.0]))
        >>> handle.remove()
        >>> len(seen)
        1
        """
        return hooks.register(self, "after", hook, prepend, with_kwargs)

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

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted name: "" is this one. Raises AttributeError where none is."""
        module = self
        for name in target.split(".") if target else []:
            below = vars(module).get(name)
            if not isinstance(below, Module):
                raise AttributeError(f"get_submodule: {type(module).__name__} has no module {name}")
            module = below
        return module

    def _get(self, target: str, kind: str, own: Callable[[Module], Any]) -> Tensor:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        found: dict[str, Tensor] = dict(own(module))
        if name not in found:
            raise AttributeError(f"get_{kind}: {type(module).__name__} has no {kind} {name}")
        return found[name]

    def get_parameter(self, target: str) -> Tensor:
        """The parameter at a dotted name. Raises AttributeError where none is."""
        return self._get(target, "parameter", own_parameters)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted name. Raises AttributeError where none is."""
        return self._get(target, "buffer", own_buffers)

    def _named(
        self,
        pick: Callable[[Module], list[tuple[str, Tensor]]],
        prefix: str,
        recurse: bool,
        remove_duplicate: bool,
    ) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        walk = self.named_modules(prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in walk:
            for name, tensor in pick(module):
                if not (remove_duplicate and id(tensor) in seen):
                    seen.add(id(tensor))
                    yield join(path, name), tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, Parameter) for all parameters, a shared one once.

        With recurse=False only for those that this module holds itself.
        """
        return self._named(own_parameters, prefix, recurse, remove_duplicate)  # type: ignore[return-value]

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, Tensor) for all buffers, a shared one once."""
        return self._named(own_buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    @property
    def _modules(self) -> Own:
        return Own(self, own_modules, self.add_module)

    @property
    def _parameters(self) -> Own:
        return Own(self, own_parameters, self.register_parameter)

    @property
    def _buffers(self) -> Own:
        return Own(self, own_buffers, self.register_buffer)

    def apply(self: M, function: Callable[[Module], Any]) -> M:
        """Call `function` with every module, children first."""
        for module in below_first(self):
            function(module)
        return self

    # --- modes ------------------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Switch to training: dropout drops, batch normalisation looks at the batch."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: got {mode!r}; wanted True or False")
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
        forget_grads(self.parameters(), set_to_none)

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Change the dtype of all floating parameters and buffers, in place.

        `to(dtype)`, `to(device)`, `to(device, dtype)`, `to(tensor)`: the device is the CPU.
        """
        wanted = dtype_wanted(args, kwargs)
        if wanted is None:
            return self
        if wanted.kind != "f":
            raise TypeError(f"to: dtype {wanted}; parameters are floats: float32 or float64")
        return self._converted(wanted)

    def _converted(self: M, wanted: np.dtype[Any]) -> M:
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.is_floating_point() and tensor.dtype != wanted:
                write.exchange(tensor, tensor.array.astype(wanted), f"to({wanted})")
                tensor._grad = None
        return self

    def type(self: M, dst_type: Any) -> M:
        """All floating parameters and buffers in this dtype."""
        return self.to(dtype=dst_type)

    def half(self: M) -> M:
        """All floating parameters and buffers as float16."""
        return self.to(np.float16)

    def float(self: M) -> M:
        """All floating parameters and buffers as float32."""
        return self.to(np.float32)

    def double(self: M) -> M:
        """All floating parameters and buffers as float64."""
        return self.to(np.float64)

    def cpu(self: M) -> M:
        """This module: it lives on the CPU."""
        return self

    def cuda(self, device: Any = None) -> Any:
        """Not here. Raises RuntimeError."""
        raise RuntimeError(not_here("cuda"))

    def share_memory(self: M) -> M:
        """This module: threads share its memory anyway."""
        return self

    # --- saving -----------------------------------------------------------------------------

    def _saved(self) -> Iterator[tuple[str, Tensor]]:
        for path, module in self.named_modules(remove_duplicate=False):
            for name, tensor in own_parameters(module):
                yield join(path, name), tensor
            for name, tensor in own_buffers(module):
                if name not in module._unsaved:
                    yield join(path, name), tensor

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Tensor]:
        """Names and values of all parameters and buffers, on the same memory.

        Names begin with `prefix`, which brings its own dot. What is shared comes under all its
        names. With `keep_vars` they are the parameters themselves. A `destination` is filled.
        """
        state: OrderedDict[str, Tensor] = OrderedDict() if destination is None else destination
        for name, tensor in self._saved():
            state[prefix + name] = tensor if keep_vars else tensor.detach()
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> _IncompatibleKeys:
        """Copy values in by name: all of them, or none and an error.

        Shapes must agree. Names must too, unless `strict` is False. Raises RuntimeError with
        every difference found.
        """
        refuse_once("load_state_dict writes", "Load before the call, which finds what was loaded")
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: got {a_type(state_dict)}; wanted a dict")
        own = dict(self._saved())
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        wrong, arrays = [], {}
        for name in own.keys() & state_dict.keys():
            tensor = own[name]
            if isinstance(tensor, Uninitialized):
                tensor.materialize(np.shape(operands.exact(state_dict[name])))
            try:
                arrays[name] = fitting(HELD.__get__(own[name]), state_dict[name])
            except (TypeError, ValueError) as error:
                wrong.append(f"{name} {error}")
        if strict:
            wrong = [
                *(f"{name} is missing" for name in missing),
                *(f"{name} is not in the model" for name in unexpected),
                *sorted(wrong),
            ]
        if wrong:
            raise RuntimeError(
                f"load_state_dict of {type(self).__name__}: nothing was loaded: {'; '.join(wrong)}"
            )
        for name, array in arrays.items():
            tensor = own[name]
            if isinstance(HELD.__get__(tensor), np.ndarray):
                tensor.array[...] = array
            else:  # a scalar result, or numbers on a device, gets a place of its own
                tensor.array = np.array(array)
            mark_written(tensor, "load_state_dict")
        return _IncompatibleKeys(missing, unexpected)

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
        return settings(self)

    def __repr__(self) -> str:
        return tree(self, below_first(self), own_modules, lambda module: "")

    plain_repr = __repr__


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


def own_parameters(module: Module) -> list[tuple[str, Tensor]]:
    """The parameters that a module holds itself."""
    return [(n, p) for n, p in vars(module).items() if isinstance(p, Parameter)]


def own_buffers(module: Module) -> list[tuple[str, Tensor]]:
    """The buffers that a module holds itself."""
    pairs = ((name, getattr(module, name)) for name in module._buffer_names)
    return [(name, tensor) for name, tensor in pairs if tensor is not None]


class Own(MutableMapping[str, Any]):
    """What a module holds itself, of one kind, by name: `module._modules["0"]`."""

    def __init__(
        self, module: Module, own: Callable[[Module], Any], put: Callable[[str, Any], None]
    ) -> None:
        self._module, self._own, self._put = module, own, put

    def __getitem__(self, name: str) -> Any:
        return dict(self._own(self._module))[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self:
            setattr(self._module, name, value)
        else:
            self._put(name, value)

    def __delitem__(self, name: str) -> None:
        delattr(self._module, name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._own(self._module))

    def __len__(self) -> int:
        return len(self._own(self._module))

    def __repr__(self) -> str:
        return repr(dict(self))


def check_free(module: Module, method: str, name: Any, same: Iterable[str]) -> None:
    """A name under which something can be held: no other attribute's, without a dot."""
    if not isinstance(name, str):
        raise TypeError(f"{method}: the name is {a_type(name)}; wanted a str")
    if not name or "." in name:
        raise KeyError(f'{method}: the name {name!r} has a dot in it, or nothing; wanted "layer1"')
    taken = vars(module).get(name) is not None or hasattr(type(module), name)
    if taken and name not in same:
        raise KeyError(f"{method}: this {type(module).__name__} has a {name} already")
