"""What a traced program rests on besides its arguments, as conditions that each call looks at.

Conditions are collected as Python text, joined by `and` and compiled once: a call of a compiled
function pays a few attribute reads, not a loop over objects. What a function reads by name, and
what that holds, must be the same objects, or equal numbers and texts of the same type.
"""

from __future__ import annotations

import functools
import itertools
import sys
import threading
import types
import weakref
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from copy import copy
from importlib.util import resolve_name
from operator import is_
from typing import Any

import numpy as np

from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.hooks import changes, hooks_of
from tinygrad_ce.engine.promotion import default_dtype
from tinygrad_ce.program.tracing.reads import Path, reads_of

PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, slice, range, type(None))
MOST = 4096  # objects and entries that are looked at, besides modules and optimisers
LONG = 64  # entries of a list or dict that have a condition each
MISSING = object()
_numbers = itertools.count()
_PACKAGE = __name__.partition(".")[0]


class Guards:
    """Conditions over `args` and `kwargs`, and the names that they use."""

    def __init__(self) -> None:
        self.conditions: dict[str, None] = {}
        self.names: dict[str, Any] = {
            "current": current,
            "default_dtype": default_dtype,
            "hook_changes": changes,
            "hooks_of": hooks_of,
            "same": same,
            "is_": is_,
            "alike": alike,
            "equivalent": equivalent,
        }
        self.known: dict[int, str] = {}  # id of a value -> its name
        self.replaced: dict[int, Any] = {}  # tensors that each call replaces by others

    def define(self, value: Any) -> str:
        """A name for a value that a condition looks at."""
        name = self.known.get(id(value))
        if name is None:
            name = self.known[id(value)] = f"v{next(_numbers)}"  # another one in every trace
            self.names[name] = value
        return name

    def require(self, condition: str) -> None:
        """One more condition."""
        self.conditions[condition] = None

    def holds(self) -> Callable[[Any, Any], bool]:
        """`holds(args, kwargs)`: whether all conditions hold."""
        names = dict(self.names)
        lines = [
            "def holds(args, kwargs):",
            f"    try: return {' and '.join(self.conditions) or 'True'}",
            "    except Exception: return False",  # an attribute or an entry is gone
        ]
        exec("\n".join(lines), names)
        result: Callable[[Any, Any], bool] = names["holds"]
        return result

    # --- what is looked at ------------------------------------------------------------------

    def mode(self) -> None:
        """Whether the graph is recorded, and the dtype of new floats."""
        self.require(f"current().record is {current().record}")
        self.require(f"default_dtype() is {self.define(default_dtype())}")

    def hooks(self, nodes: list[Node]) -> None:
        """The hooks of tensors, which are looked at once any hooks were changed anywhere."""
        pairs = self.define(tuple((node, hooks_of(node)) for node in nodes))
        same = f"all(hooks_of(node) is hooks for node, hooks in {pairs})"
        self.require(f"(hook_changes[0] == {changes[0]} or {same})")

    def same(self, text: str, value: Any) -> None:
        """That an expression still gives this object, or an equal number or text."""
        if id(value) in self.replaced:
            self.require(f"type({text}) is {self.define(type(value))}")
            return
        name = self.define(value)
        if isinstance(value, (*PLAIN, np.generic)):
            self.require(f"({text} is {name} or same({text}, {name}))")
        else:
            self.require(f"{text} is {name}")

    def entries(self, held: Any) -> None:
        """That a list, dict or set holds the same."""
        if isinstance(held, (tuple, frozenset)):
            return
        name = self.define(held)
        if isinstance(held, (set, bytearray, array)):
            self.require(f"{name} == {self.define(copy(held))}")
            return
        has_keys = isinstance(held, (dict, types.MappingProxyType))
        if len(held) <= LONG and type(held) in (dict, list, defaultdict):
            entry = "{}.get({})" if type(held) is defaultdict else "{}[{}]"  # it would make one
            self.require(f"len({name}) == {len(held)}")
            for key, value in held.items() if has_keys else enumerate(held):
                text = repr(key) if type(key) in (int, str) else self.define(key)
                self.same(entry.format(name, text), value)
            return
        if has_keys:
            self.require(f"tuple({name}) == {self.define(tuple(held))}")
        now = f"{name}.values()" if has_keys else name
        then = self.define(tuple(held.values() if has_keys else held))
        self.require(
            f"len({name}) == {len(held)} and (all(map(is_, {now}, {then})) or alike({now}, {then}))"
        )


def same(a: Any, b: Any) -> bool:
    """The same object, or an equal number or text of the same type; nan equals itself."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return alike(a, b)
    if isinstance(a, (float, complex, np.generic)):
        return repr(a) == repr(b)  # tells 0.0 from -0.0
    return isinstance(a, PLAIN) and a == b


def alike(a: Iterable[Any], b: Iterable[Any]) -> bool:
    """Whether two rows hold the same."""
    a, b = [*a], [*b]
    return len(a) == len(b) and all(map(same, a, b))


def equivalent(a: Any, b: Any) -> bool:
    """Whether an object that is equal to another also has the same attributes."""
    if isinstance(a, PLAIN):
        return same(a, b)
    one, two = vars_of(a) or {}, vars_of(b) or {}
    equal = type(a) is type(b) and bool(a == b) and one.keys() == two.keys()
    return equal and alike(one.values(), two.values())


class Watch:
    """Finds what functions can reach by the names in their code, and writes conditions on it."""

    def __init__(self, guards: Guards, fn: Any) -> None:
        self.guards = guards
        self.home = str(getattr(fn, "__module__", "")).partition(".")[0]  # its own package
        self.left = MOST
        self.todo: list[Any] = []
        self.reached: dict[int, Any] = {}
        self.read: set[tuple[int, int]] = set()  # (function, what it is bound to)
        self.objects: list[Any] = []
        self.names: dict[str, bool] = {}  # attributes without a path -> whether only called
        self.texts: set[str] = set()  # those of them that stand in the code as a text
        self.asked: set[tuple[int, str, bool]] = set()

    def look(self, values: Iterable[Any]) -> None:
        """Watch these and all that can be reached from them."""
        self.todo.extend(values)
        while self.todo:
            while self.todo:
                self.reach(self.todo.pop())
            for owner in tuple(self.objects):
                for name, called in tuple(self.names.items()):
                    if (id(owner), name, called) not in self.asked:
                        self.asked.add((id(owner), name, called))
                        value = self.attribute(owner, name, called)
                        self.todo += [value] * (value is not MISSING)

    def foreign(self, module: Any) -> bool:
        """Whether a module belongs to Python or to an installed package."""
        top = str(module).partition(".")[0]
        return installed(top) and (top != self.home or top == _PACKAGE)

    # --- values -----------------------------------------------------------------------------

    def reach(self, value: Any) -> None:
        """A value that the function has in its hands."""
        if isinstance(value, LEAVES) or id(value) in self.reached:
            return
        self.reached[id(value)] = value
        is_optimizer = {"param_groups", "state"} <= (vars_of(value) or {}).keys()
        is_module = hasattr(type(value), "named_parameters")
        if not (is_optimizer or is_module):
            entries = len(value) if isinstance(value, HOLDERS) else 0
            self.left -= 1 + entries * (entries <= LONG)
            if self.left < 0:
                return  # a change there is seen by the next comparison
        if isinstance(value, types.FunctionType):
            self.function(value, None)
        elif isinstance(value, types.MethodType):
            self.todo.append(value.__func__)
            if isinstance(value.__func__, types.FunctionType):
                self.function(value.__func__, value.__self__)
            self.todo.append(value.__self__)
        elif isinstance(value, weakref.ref):
            self.todo.append(value())
        elif isinstance(value, functools.partial):
            self.todo += [value.func, value.args, value.keywords]
        elif isinstance(value, HOLDERS):
            self.guards.entries(value)
            held: Any = value
            has_keys = isinstance(value, (dict, types.MappingProxyType))
            self.todo.extend(held.values() if has_keys else held)
            if type(value) not in HOLDERS:
                self.object(value)
        elif isinstance(value, type):
            if not self.foreign(value.__module__):
                self.object(value)
        elif is_optimizer:
            self.optimizer(value)
        elif is_module:
            self.module(value)
        elif not isinstance(value, types.ModuleType) or not self.foreign(value.__name__):
            self.object(value)

    def object(self, value: Any) -> None:
        """An object or a class of the user's: its special methods, and attributes by their name."""
        own = vars_of(value) or {}
        self.todo += [own.get(name) for name in ("fn", "__wrapped__", "func", "dispatcher")]
        cls = value if isinstance(value, type) else type(value)
        bases = [c for c in cls.__mro__ if c.__module__.partition(".")[0] != _PACKAGE]
        if bases[0] is cls:
            self.objects.append(value)
            if cls is not value and not self.foreign(cls.__module__):
                self.guards.require(
                    f"type({self.guards.define(value)}) is {self.guards.define(cls)}"
                )
        for method in (m for c in bases for m in tuple(vars(c).items())):
            if isinstance(method[1], types.FunctionType) and method[0].startswith("__"):
                self.function(method[1], None if cls is value else value)

    def module(self, value: Any) -> None:
        """A module: its parts; of a layer of the library all attributes."""
        name, held = self.guards.define(value), self.guards.define(vars(value))
        self.guards.same(f"{name}.training", value.training)
        if hasattr(value, "_hooks"):
            self.guards.same(f"{name}._hooks", value._hooks)
            self.todo += [hook.function for hook in value._hooks]
        read = own_reads(type(value))  # type: ignore[arg-type]
        for key, part in vars(value).items():
            if key in read or isinstance(part, Node) or hasattr(type(part), "named_parameters"):
                self.guards.same(
                    f"{name}.{key}" if key.isidentifier() else f"{held}[{key!r}]", part
                )
                self.todo.append(part)
        self.object(value)
        self.attribute(value, "forward")

    def optimizer(self, value: Any) -> None:
        """An optimiser: its groups, their parameters and the state of each."""
        for name in ("param_groups", "state"):
            self.guards.same(f"{self.guards.define(value)}.{name}", getattr(value, name))
        self.guards.entries(value.param_groups)
        for group in value.param_groups:
            self.guards.same(f"{self.guards.define(group)}['params']", group["params"])
            self.guards.entries(group["params"])
        self.guards.entries(value.state)
        for state in value.state.values():
            self.guards.entries(state)
        self.object(value)
        self.attribute(value, "update")

    # --- functions --------------------------------------------------------------------------

    def function(self, fn: types.FunctionType, bound: Any) -> None:
        """What a function reads; of one that is installed, what it reads of its own object."""
        if (id(fn), id(bound)) in self.read:
            return
        self.read.add((id(fn), id(bound)))
        module = str(fn.__globals__.get("__name__"))
        foreign = self.foreign(module)
        if module.partition(".")[0] == _PACKAGE:
            return
        reads = reads_of(fn.__code__)
        first = fn.__code__.co_varnames[: fn.__code__.co_argcount]
        values = {first[0]: bound} if bound is not None and first else {}
        if not foreign:
            name = self.guards.define(fn)
            for part in ("__code__", "__defaults__", "__kwdefaults__"):
                if part != "__kwdefaults__" or fn.__code__.co_kwonlyargcount:
                    self.guards.require(f"{name}.{part} is {self.guards.define(getattr(fn, part))}")
            defaults = fn.__defaults__ or ()
            values.update(zip(first[len(first) - len(defaults) :], defaults))
            values.update(fn.__kwdefaults__ or {})
            self.todo += [*defaults, fn.__kwdefaults__, getattr(fn, "__wrapped__", None)]
            self.texts |= reads.texts
            for attribute in reads.values | reads.texts:
                self.names[attribute] = False
            for attribute in reads.methods:
                self.names.setdefault(attribute, True)
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or ()))
        for path in reads.paths:
            if not (foreign and path[0][0] in ("global", "import")):
                self.follow(path, self.base(path[0], fn, cells, values))

    def base(self, start: tuple[str, Any], fn: Any, cells: dict[str, Any], values: Any) -> Any:
        """What a path begins at."""
        kind, name = start
        if kind == "import":
            try:
                full = resolve_name(name, fn.__globals__.get("__package__"))
            except ImportError:  # more dots than there are packages
                return MISSING
            return sys.modules.get(full, MISSING)
        if kind == "global":
            value = fn.__globals__.get(name, MISSING)
            if value is not MISSING:
                self.guards.same(f"{self.guards.define(fn.__globals__)}[{name!r}]", value)
            return value
        if kind == "cell" and name in cells:
            try:
                value = cells[name].cell_contents
            except ValueError:  # not bound yet
                return MISSING
            self.guards.same(f"{self.guards.define(cells[name])}.cell_contents", value)
            return value
        return values.get(name, MISSING)

    def follow(self, path: Path, value: Any) -> None:
        """Watch what a path leads through, and what is at its end."""
        for kind, name in path[1:]:
            if kind != "[]" and value is MISSING:
                self.names[name] = self.names.get(name, True) and kind == "()"
            elif kind != "[]":
                value = self.attribute(value, name)
            elif value is not MISSING:
                value = self.item(value, name)
        if value is not MISSING:
            self.todo.append(value)

    def item(self, value: Any, key: Any) -> Any:
        """value[key], if that is an entry of a plain list, tuple or dict."""
        if type(value) in (list, dict, tuple):
            try:
                part = value[key]
            except (LookupError, TypeError):
                part = MISSING
            if part is not MISSING and not isinstance(key, slice):
                text = repr(key) if type(key) in (int, str) else self.guards.define(key)
                self.guards.same(f"{self.guards.define(value)}[{text}]", part)
                return part
        self.todo.append(value)
        return MISSING

    def attribute(self, owner: Any, name: str, called: bool = False) -> Any:
        """Watch one attribute; its value, or MISSING if it is computed or not there."""
        if isinstance(owner, LEAVES):
            return MISSING
        if isinstance(owner, types.ModuleType) and self.foreign(owner.__name__):
            return MISSING
        cls = owner if isinstance(owner, type) else type(owner)
        line = [*cls.__mro__, *(type(cls).__mro__ if owner is cls else ())]
        shared = next((vars(c)[name] for c in line if name in vars(c)), MISSING)
        own = None if owner is cls else vars_of(owner)
        text = f"{self.guards.define(owner)}.{name}"
        if own is not None and name in own and not hasattr(type(shared), "__set__"):
            if isinstance(getattr(cls, "__getattribute__", None), types.FunctionType):
                text = f"{self.guards.define(own)}[{name!r}]"  # no code of the user's runs
            return self.value(text, own[name], called)
        if isinstance(shared, types.MemberDescriptorType) and owner is not cls:  # of __slots__
            return self.value(text, getattr(owner, name, MISSING), called)
        if isinstance(shared, staticmethod) or not hasattr(type(shared), "__get__"):
            if shared is MISSING:
                self.todo.append(owner)  # it may have a __getattr__
                if own is not None and hasattr(cls, "__getattr__"):
                    self.guards.require(f"{name!r} not in {self.guards.define(own)}")
                elif name in self.texts:
                    self.guards.require(f"not hasattr({self.guards.define(owner)}, {name!r})")
            for base in line if owner is not cls else ():  # super() may find them
                held = vars(base).get(name, MISSING)
                if base is not cls and isinstance(held, (*PLAIN, *HOLDERS)):
                    self.guards.same(f"{self.guards.define(base)}.{name}", held)
            held = shared.__func__ if isinstance(shared, staticmethod) else shared
            return self.value(text, held, called)
        if owner is cls and not isinstance(shared, classmethod):
            return self.value(text, shared, called)
        self.computed(owner, cls, own, name, shared, called)
        return MISSING

    def value(self, text: str, value: Any, called: bool) -> Any:
        """Watch a value that is held somewhere; a method that is called may be no number."""
        if value is MISSING or (called and not callable(value)):
            return MISSING
        self.guards.same(text, value)
        return value

    def computed(
        self, owner: Any, cls: type, own: Any, name: str, shared: Any, called: bool
    ) -> None:
        """Watch an attribute that is a method, a property or another descriptor."""
        inner = shared
        for kind, place in ((property, "fget"), (classmethod, "__func__"), (CACHED, "func")):
            if isinstance(shared, kind):
                inner = getattr(shared, place)
        if isinstance(inner, types.FunctionType):
            foreign = self.foreign(inner.__globals__.get("__name__"))
            if isinstance(shared, property):
                self.guards.same(f"{self.guards.define(cls)}.{name}", shared)
            elif isinstance(shared, classmethod):
                self.guards.same(f"{self.guards.define(owner)}.{name}.__func__", inner)
            elif inner is shared and not (foreign and called):
                self.guards.same(f"{self.guards.define(cls)}.{name}", inner)
                if own is not None:  # an attribute of its own would hide the method
                    self.guards.require(f"len({self.guards.define(own)}) == {len(own)}")
                for base in cls.__mro__:  # super() may find them
                    if isinstance(vars(base).get(name), types.FunctionType):
                        self.guards.same(f"{self.guards.define(base)}.{name}", vars(base)[name])
                        self.function(vars(base)[name], None if owner is cls else owner)
            self.function(inner, cls if isinstance(shared, classmethod) else owner)
        else:
            self.todo.append(shared)
        self.todo.append(owner)


CACHED = functools.cached_property
HOLDERS = (list, tuple, dict, set, frozenset, deque, bytearray, array, types.MappingProxyType)
LEAVES = (Node, np.ndarray, np.generic, np.ufunc, bool, int, float, complex, str, bytes, range,
          slice, type(None), types.BuiltinFunctionType, types.CodeType)  # fmt: skip


@functools.lru_cache(maxsize=1024)
def own_reads(cls: Any) -> set[str]:
    """The attributes that the functions of a layer of the library read."""
    read: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == _PACKAGE:
            for fn in vars(base).values():
                if isinstance(fn, types.FunctionType) and fn.__name__ not in NOT_CALLED:
                    reads = reads_of(fn.__code__)
                    read |= {
                        path[1][1] for path in reads.paths if path[0][1] == "self" != path[-1][1]
                    }
    return read


NOT_CALLED = ("__init__", "__repr__", "extra_repr")  # while a module computes


def vars_of(value: Any) -> dict[str, Any] | None:
    """The attributes that an object holds itself, found without any code of the user's."""
    of_thread = isinstance(value, threading.local)
    try:
        held = vars(value) if of_thread else object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return held if isinstance(held, dict) else None


@functools.lru_cache(maxsize=1024)
def installed(module: str) -> bool:
    """Whether a module belongs to Python, to this package or to another that is installed."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in (_PACKAGE, "numpy"):
        return top != "builtins"  # where classes without a module say that they are from
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file
