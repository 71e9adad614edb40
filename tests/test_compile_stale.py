"""compile(): whatever a function reads may change between two calls; a table of ways to do it.

A row is three texts: what is there, what the function returns, and the change. All are run twice
in namespaces of their own, once with the function as it is and once with it compiled; eager code
after the same change is the oracle.
"""

import argparse
import array
import collections
import contextlib
import contextvars
import dataclasses
import enum
import functools
import os
import sys
import threading
import types
import weakref

import numpy as np
import pytest
from side_by_side import agree, numbers_of

import tinygrad_ce as tg
from tinygrad_ce import TraceError, nn
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program import running
from tinygrad_ce.program.ops import OPS, run
from tinygrad_ce.program.precision import may_turn

# --- variables ----------------------------------------------------------------------------------

VARIABLES = {
    "global float": ("a = 2.0", "x * a", "a = 3.0"),
    "global int": ("a = 2", "x * a", "a = 3"),
    "global bool": ("a = True", "x * 2.0 if a else x", "a = False"),
    "global text": ("a = 'mean'", "getattr(x, a)()", "a = 'sum'"),
    "global None to number": ("a = None", "x if a is None else x * a", "a = 3.0"),
    "global number to None": ("a = 3.0", "x if a is None else x * a", "a = None"),
    "global complex": ("a = 2j", "x * a.imag", "a = 3j"),
    "global bytes": ("a = b'ab'", "x * len(a)", "a = b'abc'"),
    "global range": ("a = range(2)", "x * float(sum(a))", "a = range(3)"),
    "global slice": ("a = slice(0, 1)", "x[a]", "a = slice(1, 3)"),
    "global NumPy float": ("a = np.float32(2)", "x * a", "a = np.float32(3)"),
    "global NumPy int": ("a = np.int64(2)", "x * a", "a = np.int64(3)"),
    "global NumPy bool": ("a = np.bool_(True)", "x * 2.0 if a else x", "a = np.bool_(False)"),
    "global dtype": ("a = np.float32", "x.to(a)", "a = np.float64"),
    "global tuple": ("a = (1.0, 2.0)", "x * a[1]", "a = (1.0, 3.0)"),
    "global nested tuple": ("a = (1.0, (2.0,))", "x * a[1][0]", "a = (1.0, (3.0,))"),
    "global frozenset": ("a = frozenset({1, 2})", "x * len(a)", "a = frozenset({1})"),
    "int to float": ("n = tg.tensor([2, 3])\na = 2", "n * a", "a = 2.0"),
    "bool to int": ("a = True", "x * 2.0 if a is True else x", "a = 1"),
    "zero to minus zero": ("a = 0.0", "x * float(np.copysign(2.0, a))", "a = -0.0"),
    "number to nan": ("a = 2.0", "x * a", "a = float('nan')"),
    "global tensor": ("a = tg.tensor([2.0])", "x * a", "a = tg.tensor([3.0])"),
    "global array": ("a = np.float32([2.0])", "x * tg.tensor(a)", "a = np.float32([3.0])"),
    "global function": ("def h(x): return 2 * x", "h(x)", "def h(x): return 3 * x"),
    "global lambda": ("h = lambda x: 2 * x", "h(x)", "h = lambda x: 3 * x"),
    "global library function": ("h = F.relu", "h(x - 2.0)", "h = F.tanh"),
    "global ufunc": ("h = np.exp", "h(x)", "h = np.sin"),
    "global class": ("class A: s = 2.0", "x * A.s", "class A: s = 3.0"),
    "global module": ("a = nn.Linear(3, 2)", "a(x)", "a = nn.Linear(3, 2)"),
    "read in a helper": ("a = 2.0\ndef h(x): return x * a", "h(x)", "a = 3.0"),
    "read in a helper of a helper": (
        "a = 2.0\ndef g(x): return x * a\ndef h(x): return g(x)",
        "h(x)",
        "a = 3.0",
    ),
    "read in a comprehension": ("a = 2.0", "sum([x * a for _ in range(2)])", "a = 3.0"),
    "read in an inner function": ("a = 2.0", "(lambda: x * a)()", "a = 3.0"),
    "read in a default of an inner one": ("a = 2.0", "(lambda y=a: x * y)()", "a = 3.0"),
    "shadowed by an attribute": (
        "step = 1.0\nclass O: step = 2.0\no = O()",
        "x * o.step",
        "step = 5.0; o.step = 3.0",
    ),
    "closure": (
        "def make():\n  a = 2.0\n  def f(x): return x * a\n  def change():\n    nonlocal a\n"
        "    a = 3.0\n  return f, change\nf, c = make()",
        "",
        "c()",
    ),
    "closure of a helper": (
        "def make():\n  a = 2.0\n  def h(x): return x * a\n  def change():\n    nonlocal a\n"
        "    a = 3.0\n  return h, change\nh, c = make()",
        "h(x)",
        "c()",
    ),
    "cell contents": (
        "def make(a): return lambda x: x * a\nf = make(2.0)",
        "",
        "f.__closure__[0].cell_contents = 3.0",
    ),
    "default argument": ("def h(x, a=2.0): return x * a", "h(x)", "h.__defaults__ = (3.0,)"),
    "keyword default": (
        "def h(x, *, a=2.0): return x * a",
        "h(x)",
        "h.__kwdefaults__ = {'a': 3.0}",
    ),
    "keyword default in place": (
        "def h(x, *, a=2.0): return x * a",
        "h(x)",
        "h.__kwdefaults__['a'] = 3.0",
    ),
    "own default argument": ("def f(x, a=2.0): return x * a", "", "f.__defaults__ = (3.0,)"),
    "attribute of a default": (
        "class A: s = 2.0\na = A()\ndef f(x, c=a): return x * c.s",
        "",
        "a.s = 3.0",
    ),
    "default that is a list": (
        "def f(x, a=[2.0]): return x * a[0]",
        "",
        "f.__defaults__[0][0] = 3.0",
    ),
    "partial argument": ("a = [2.0]\nf = partial(lambda a, x: x * a[0], a)", "", "a[0] = 3.0"),
    "partial keyword": ("f = partial(lambda x, a: x * a, a=2.0)", "", "f.keywords['a'] = 3.0"),
    "global partial": (
        "h = partial(lambda a, x: x * a, 2.0)",
        "h(x)",
        "h = partial(lambda a, x: x * a, 3.0)",
    ),
    "partial of a helper": ("a = 2.0\nh = partial(lambda b, x: x * a * b, 2.0)", "h(x)", "a = 3.0"),
    "code": ("def h(x): return 2 * x\ndef g(x): return 3 * x", "h(x)", "h.__code__ = g.__code__"),
    "own code": ("def f(x): return 2 * x\ndef g(x): return 3 * x", "", "f.__code__ = g.__code__"),
    "attribute of a function": ("def h(x): return x * h.a\nh.a = 2.0", "h(x)", "h.a = 3.0"),
    "wrapped helper": (
        "def twice(g):\n  @wraps(g)\n  def inner(x): return 2 * g(x)\n  return inner\na = 2.0\n"
        "@twice\ndef h(x): return x * a",
        "h(x)",
        "a = 3.0",
    ),
    "cached helper": (
        "a = 2.0\n@lru_cache\ndef h(): return a",
        "x * h()",
        "a = 3.0; h.cache_clear()",
    ),
    "singledispatch": (
        "@singledispatch\ndef h(x): return 2 * x",
        "h(x)",
        "@h.register(tg.Tensor)\ndef _(x): return 3 * x",
    ),
    "compiled helper": ("a = 2.0\n@tg.compile\ndef h(x): return x * a", "h(x)", "a = 3.0"),
    "deleted global": (
        "a = 2.0\ndef f(x):\n  try: return x * a\n  except NameError: return x",
        "",
        "del a",
    ),
}

# --- objects ------------------------------------------------------------------------------------

PLAIN = "class A: pass\na = A(); a.s = 2.0"
OBJECTS = {
    "attribute": (PLAIN, "x * a.s", "a.s = 3.0"),
    "attribute by getattr": (PLAIN, "x * getattr(a, 's')", "a.s = 3.0"),
    "attribute by vars": (PLAIN, "x * vars(a)['s']", "a.s = 3.0"),
    "attribute in __dict__": (PLAIN, "x * a.s", "a.__dict__['s'] = 3.0"),
    "attribute that is deleted": ("class A: s = 3.0\na = A(); a.s = 2.0", "x * a.s", "del a.s"),
    "attribute of another name": (PLAIN, "(lambda b: x * b.s)(a)", "a.s = 3.0"),
    "attribute in a helper": (PLAIN + "\ndef h(c, x): return x * c.s", "h(a, x)", "a.s = 3.0"),
    "attribute with a local name": (
        PLAIN + "\ndef f(x):\n  c = a\n  return x * c.s",
        "",
        "a.s = 3.0",
    ),
    "four deep": (
        "class A: pass\na = A(); a.b = A(); a.b.c = A(); a.b.c.d = A(); a.b.c.d.s = 2.0",
        "x * a.b.c.d.s",
        "a.b.c.d.s = 3.0",
    ),
    "in the middle": (
        "class A: pass\na = A(); a.b = A(); a.b.s = 2.0\nb = A(); b.s = 3.0",
        "x * a.b.s",
        "a.b = b",
    ),
    "equal object in the middle": (
        "@dataclass\nclass B: s: float = 2.0\nclass A: pass\na = A(); a.b = B()",
        "x * a.b.s",
        "a.b = B(); a.b.s = 3.0",
    ),
    "attribute None to number": (
        "class A: s = None\na = A()",
        "x if a.s is None else x * a.s",
        "a.s = 3.0",
    ),
    "attribute that appears": ("class A: pass\na = A()", "x * getattr(a, 's', 2.0)", "a.s = 3.0"),
    "attribute that appears, hasattr": (
        "class A: pass\na = A()",
        "x * a.s if hasattr(a, 's') else x",
        "a.s = 3.0",
    ),
    "class attribute": ("class A: s = 2.0", "x * A.s", "A.s = 3.0"),
    "class attribute by an instance": ("class A: s = 2.0\na = A()", "x * a.s", "A.s = 3.0"),
    "class attribute hidden": ("class A: s = 2.0\na = A()", "x * a.s", "a.s = 3.0"),
    "class attribute of a base": (
        "class B: s = 2.0\nclass A(B): pass\na = A()",
        "x * a.s",
        "B.s = 3.0",
    ),
    "class attribute overridden": (
        "class B: s = 2.0\nclass A(B): pass\na = A()",
        "x * a.s",
        "A.s = 3.0",
    ),
    "class attribute by type()": ("class A: s = 2.0\na = A()", "x * type(a).s", "A.s = 3.0"),
    "another class": ("class A: s = 2.0\nclass B: s = 3.0\na = A()", "x * a.s", "a.__class__ = B"),
    "class attribute by __class__": (
        "class A:\n  s = 2.0\n  def h(self, x): return x * self.__class__.s\na = A()",
        "a.h(x)",
        "A.s = 3.0",
    ),
    "attribute of a metaclass": (
        "class T(type): s = 2.0\nclass A(metaclass=T): pass",
        "x * A.s",
        "T.s = 3.0",
    ),
    "attribute by super()": (
        "class B: s = 2.0\nclass A(B):\n  s = 1.0\n  def h(self, x): return x * super().s\na = A()",
        "a.h(x)",
        "B.s = 3.0",
    ),
    "list of a class": ("class A: s = [2.0]\na = A()", "x * a.s[0]", "A.s[0] = 3.0"),
    "hides __getattr__": (
        "class A:\n  def __getattr__(self, n): return 2.0\na = A()",
        "x * a.s",
        "a.s = 3.0",
    ),
    "weak reference": ("class A: s = 2.0\na = A()\nr = ref(a)", "x * r().s", "a.s = 3.0"),
    "context manager": (
        "s = 2.0\n@contextmanager\ndef held(): yield s\n"
        "def f(x):\n  with held() as t: return x * t",
        "",
        "s = 3.0",
    ),
    "cached method": (
        "class A:\n  s = 2.0\n  @lru_cache\n  def h(self): return self.s\na = A()",
        "x * a.h()",
        "a.s = 3.0; A.h.cache_clear()",
    ),
    "partial method": (
        "class A:\n  def g(self, x, b): return x * b * self.s\n  h = partialmethod(g, b=1.0)\n"
        "a = A(); a.s = 2.0",
        "a.h(x)",
        "a.s = 3.0",
    ),
    "equal argument with other attributes": (
        "class A:\n  def __eq__(self, other): return True\n  def __hash__(self): return 0\n"
        "a = A(); a.s = 2.0\nargs = [a]\ndef f(x, b): return x * b.s",
        "",
        "args[0] = A(); args[0].s = 3.0",
    ),
    "enum": ("class E(Enum):\n  one = 2.0\n  two = 3.0\na = E.one", "x * a.value", "a = E.two"),
    "class of an object": (
        "class A:\n  def h(self, x): return x * 2.0\nclass B:\n  def h(self, x): return x * 3.0\n"
        "a = A()",
        "a.h(x)",
        "a.__class__ = B",
    ),
    "class of a module": (
        "class A(nn.Module):\n  def forward(self, x): return x * 2.0\n"
        "class B(nn.Module):\n  def forward(self, x): return x * 3.0\na = A()",
        "a(x)",
        "a.__class__ = B",
    ),
    "slots": ("class A: __slots__ = ('s',)\na = A(); a.s = 2.0", "x * a.s", "a.s = 3.0"),
    "property": (
        "class A:\n  _s = 2.0\n  @property\n  def s(self): return self._s\na = A()",
        "x * a.s",
        "a._s = 3.0",
    ),
    "property that reads a global": (
        "g = 2.0\nclass A:\n  @property\n  def s(self): return g\na = A()",
        "x * a.s",
        "g = 3.0",
    ),
    "property of a property": (
        "class A:\n  @property\n  def s(self): return self.t * 2\n"
        "  @property\n  def t(self): return self._t\na = A(); a._t = 1.0",
        "x * a.s",
        "a._t = 3.0",
    ),
    "another property": (
        "class A:\n  @property\n  def s(self): return 2.0\na = A()",
        "x * a.s",
        "A.s = property(lambda self: 3.0)",
    ),
    "cached property": (
        "class A:\n  @cached_property\n  def s(self): return 2.0\na = A()",
        "x * a.s",
        "a.s = 3.0",
    ),
    "descriptor": (
        "class D:\n  v = 2.0\n  def __get__(self, a, t): return self.v\nd = D()\n"
        "class A: s = d\na = A()",
        "x * a.s",
        "d.v = 3.0",
    ),
    "__getattr__": (
        "class A:\n  def __init__(self): self.held = {'s': 2.0}\n"
        "  def __getattr__(self, n): return self.held[n]\na = A()",
        "x * a.s",
        "a.held['s'] = 3.0",
    ),
    "__getitem__": (
        "class A:\n  def __init__(self): self.held = {'s': 2.0}\n"
        "  def __getitem__(self, n): return self.held[n]\na = A()",
        "x * a['s']",
        "a.held['s'] = 3.0",
    ),
    "own method": (
        "class A:\n  s = 2.0\n  def h(self, x): return x * self.s\na = A()",
        "a.h(x)",
        "a.s = 3.0",
    ),
    "own method of a method": (
        "class A:\n  s = 2.0\n  def g(self): return self.s\n  def h(self, x): return x * self.g()\n"
        "a = A()",
        "a.h(x)",
        "a.s = 3.0",
    ),
    "inherited method": (
        "class B:\n  def h(self, x): return x * self.s\n"
        "class A(B):\n  def h(self, x): return super().h(x)\na = A(); a.s = 2.0",
        "a.h(x)",
        "a.s = 3.0",
    ),
    "method of an attribute": (
        "class A:\n  s = 2.0\n  def h(self, x): return x * self.s\n"
        "class B: pass\nb = B(); b.a = A()",
        "b.a.h(x)",
        "b.a.s = 3.0",
    ),
    "compiled method": (
        "class A:\n  s = 2.0\n  def h(self, x): return x * self.s\na = A()\nf = a.h",
        "",
        "a.s = 3.0",
    ),
    "called object": (
        "class A:\n  s = 2.0\n  def __call__(self, x): return x * self.s\na = A()",
        "a(x)",
        "a.s = 3.0",
    ),
    "compiled object": (
        "class A:\n  s = 2.0\n  def __call__(self, x): return x * self.s\nf = A()",
        "",
        "f.s = 3.0",
    ),
    "operator": (
        "class A:\n  s = 2.0\n  def __rmatmul__(self, x): return x * self.s\na = A()",
        "a.__rmatmul__(x)",
        "a.s = 3.0",
    ),
    "object made inside": (
        "s = 2.0\nclass A:\n  def __init__(self): self.s = s\n  def h(self, x): return x * self.s",
        "A().h(x)",
        "s = 3.0",
    ),
    "class attribute of one made inside": (
        "class A:\n  s = 2.0\n  def h(self, x): return x * self.s",
        "A().h(x)",
        "A.s = 3.0",
    ),
    "static method": (
        "s = 2.0\nclass A:\n  @staticmethod\n  def h(x): return x * s",
        "A.h(x)",
        "s = 3.0",
    ),
    "class method": (
        "class A:\n  s = 2.0\n  @classmethod\n  def h(cls, x): return x * cls.s",
        "A.h(x)",
        "A.s = 3.0",
    ),
    "another static method": (
        "class A:\n  @staticmethod\n  def h(x): return x * 2.0",
        "A.h(x)",
        "A.h = staticmethod(lambda x: x * 3.0)",
    ),
    "another class method": (
        "class A:\n  @classmethod\n  def h(cls, x): return x * 2.0",
        "A.h(x)",
        "A.h = classmethod(lambda cls, x: x * 3.0)",
    ),
    "another method": (
        "class A:\n  def h(self, x): return x * 2.0\na = A()",
        "a.h(x)",
        "A.h = lambda self, x: x * 3.0",
    ),
    "another method of one object": (
        "class A:\n  def h(self, x): return x * 2.0\na = A()",
        "a.h(x)",
        "a.h = lambda x: x * 3.0",
    ),
    "bound method": (
        "class A:\n  s = 2.0\n  def h(self, x): return x * self.s\na = A()\nh = a.h",
        "h(x)",
        "a.s = 3.0",
    ),
    "dataclass": ("@dataclass\nclass A: s: float = 2.0\na = A()", "x * a.s", "a.s = 3.0"),
    "frozen dataclass": (
        "@dataclass(frozen=True)\nclass A: s: float = 2.0\na = A()",
        "x * a.s",
        "a = A(3.0)",
    ),
    "namedtuple": (
        "A = namedtuple('A', 's t')\na = A(2.0, 1.0)",
        "x * a.s",
        "a = a._replace(s=3.0)",
    ),
    "namedtuple that holds a list": (
        "A = namedtuple('A', 's t')\na = A([2.0], 1.0)",
        "x * a.s[0]",
        "a.s[0] = 3.0",
    ),
    "SimpleNamespace": ("a = SimpleNamespace(s=2.0)", "x * a.s", "a.s = 3.0"),
    "nested SimpleNamespace": (
        "a = SimpleNamespace(b=SimpleNamespace(s=2.0))",
        "x * a.b.s",
        "a.b.s = 3.0",
    ),
    "argparse": ("a = Namespace(s=2.0)", "x * a.s", "a.s = 3.0"),
    "thread-local": ("a = local(); a.s = 2.0", "x * a.s", "a.s = 3.0"),
    "imported module": ("import settings_of_mine as m\nm.s = 2.0", "x * m.s", "m.s = 3.0"),
    "module imported inside": (
        "import settings_of_mine as m\nm.s = 2.0\n"
        "def f(x):\n  import settings_of_mine as k\n  return x * k.s",
        "",
        "m.s = 3.0",
    ),
    "name imported inside": (
        "import settings_of_mine as m\nm.s = 2.0\n"
        "def f(x):\n  from settings_of_mine import s\n  return x * s",
        "",
        "m.s = 3.0",
    ),
    "name imported from the own package": (
        "import settings_of_mine as m\nm.s, __package__ = 2.0, m.__name__\n"
        "def f(x):\n  from . import s\n  return x * s",
        "",
        "m.s = 3.0",
    ),
    "beside an import that fails": (
        "import settings_of_mine as m\nm.s, __package__ = 2.0, m.__name__\ndef f(x):\n"
        "  try:\n    from .. import t\n  except ImportError:\n    return x * m.s",
        "",
        "m.s = 3.0",
    ),
    "function of a module": (
        "import settings_of_mine as m\nm.h = lambda x: 2 * x",
        "m.h(x)",
        "m.h = lambda x: 3 * x",
    ),
    "global of a function of a module": (
        "import settings_of_mine as m\nexec('s = 2.0\\ndef h(x): return x * s', m.__dict__)",
        "m.h(x)",
        "m.s = 3.0",
    ),
    "object in a module": (
        "import settings_of_mine as m\nm.a = SimpleNamespace(s=2.0)",
        "x * m.a.s",
        "m.a.s = 3.0",
    ),
    "object among the arguments": (
        "class A: s = 2.0\na = A()\nargs = (a,)\ndef f(x, b): return x * b.s",
        "",
        "a.s = 3.0",
    ),
}

# --- lists, dicts and sets ----------------------------------------------------------------------

CONTAINERS = {
    "an entry that is not there yet": (
        "a = {'k': 2.0}",
        "x * (a['m'] if 'm' in a else a['k'])",
        "a['m'] = 3.0",
    ),
    "an element that is not there yet": (
        "a = [2.0]",
        "x * (a[1] if len(a) > 1 else a[0])",
        "a.append(3.0)",
    ),
    "item": ("a = [1.0, 2.0]", "x * a[1]", "a[1] = 3.0"),
    "last item": ("a = [1.0, 2.0]", "x * a[-1]", "a[-1] = 3.0"),
    "appended": ("a = [1.0]", "x * sum(a)", "a.append(3.0)"),
    "popped": ("a = [1.0, 2.0]", "x * sum(a)", "a.pop()"),
    "length alone": ("a = [1.0]", "x * len(a)", "a.append(3.0)"),
    "swapped": ("a = [1.0, 2.0]", "x * a[0]", "a.reverse()"),
    "int to float in a list": ("n = tg.tensor([2, 3])\na = [2]", "n * a[0]", "a[0] = 2.0"),
    "item by a computed index": ("a = [1.0, 2.0]", "x * a[len(a) - 1]", "a[1] = 3.0"),
    "item 99 of 100": ("a = [float(i) for i in range(100)]", "x * a[99]", "a[99] = 3.0"),
    "sum of 1000": ("a = [1.0] * 1000", "x * sum(a)", "a[700] = 3.0"),
    "equal numbers of 1000 are made anew, one differs": (
        "a = [float(i) for i in range(1000)]",
        "x * sum(a)",
        "a[:] = [float(i) for i in range(1000)]; a[5] = 1e6",
    ),
    "five deep": ("a = [[[[[2.0]]]]]", "x * a[0][0][0][0][0]", "a[0][0][0][0][0] = 3.0"),
    "a thousand deep": (
        "a = b = [2.0]\nfor _ in range(1000): a = [a]\n"
        "def f(x):\n  c = a\n  while type(c) is list: c = c[0]\n  return x * c",
        "",
        "b[0] = 3.0",
    ),
    "tuple of lists": ("a = ([1.0], [2.0])", "x * a[1][0]", "a[1][0] = 3.0"),
    "list of tensors": ("a = [tg.tensor([2.0])]", "x * a[0]", "a[0] = tg.tensor([3.0])"),
    "list of objects": (
        "class A: pass\na = [A(), A()]\na[0].s = 2.0; a[1].s = 2.0",
        "sum(x * b.s for b in a)",
        "a[1].s = 3.0",
    ),
    "list of functions": ("a = [lambda x: 2 * x]", "a[0](x)", "a[0] = lambda x: 3 * x"),
    "what a function in a list reads": ("s = 2.0\na = [lambda x: s * x]", "a[0](x)", "s = 3.0"),
    "list that holds itself": ("a = [2.0]; a.append(a)", "x * a[1][0]", "a[0] = 3.0"),
    "dict": ("a = {'s': 2.0}", "x * a['s']", "a['s'] = 3.0"),
    "dict by get": ("a = {'s': 2.0}", "x * a.get('s')", "a['s'] = 3.0"),
    "dict by get, new key": ("a = {}", "x * a.get('s', 2.0)", "a['s'] = 3.0"),
    "dict, key deleted": ("a = {'s': 2.0}", "x * a.get('s', 1.0)", "del a['s']"),
    "dict, None to number": ("a = {'s': None}", "x * (a['s'] or 1.0)", "a['s'] = 3.0"),
    "dict, new key": ("a = {'s': 2.0}", "x * sum(a.values())", "a['t'] = 3.0"),
    "dict, another key": ("a = {'s': 2.0}", "x * len(max(a))", "a['st'] = a.pop('s')"),
    "dict with int keys": ("a = {1: 2.0}", "x * a[1]", "a[1] = 3.0"),
    "dict with tuple keys": ("a = {(1, 2): 2.0}", "x * a[1, 2]", "a[1, 2] = 3.0"),
    "dict with other keys": ("k = object()\na = {k: 2.0}", "x * a[k]", "a[k] = 3.0"),
    "dict with tensors": ("a = {'w': tg.tensor([2.0])}", "x * a['w']", "a['w'] = tg.tensor([3.0])"),
    "dict of 100": ("a = {i: 1.0 for i in range(100)}", "x * a[70]", "a[70] = 3.0"),
    "dict of 1000, all": (
        "a = {i: 1.0 for i in range(1000)}",
        "x * sum(a.values())",
        "a[700] = 3.0",
    ),
    "dict five deep": (
        "a = {'a': {'b': {'c': {'d': {'s': 2.0}}}}}",
        "x * a['a']['b']['c']['d']['s']",
        "a['a']['b']['c']['d']['s'] = 3.0",
    ),
    "dict in a list in an object": (
        "class A: pass\na = A(); a.b = [{'s': 2.0}]",
        "x * a.b[0]['s']",
        "a.b[0]['s'] = 3.0",
    ),
    "dict of functions": ("a = {'h': lambda x: 2 * x}", "a['h'](x)", "a['h'] = lambda x: 3 * x"),
    "dict of functions, by a text": (
        "k = 'h'\na = {'h': lambda x: 2 * x, 'g': lambda x: 3 * x}",
        "a[k](x)",
        "k = 'g'",
    ),
    "dict that is unpacked": (
        "a = {'s': 2.0}\ndef h(x, s): return x * s",
        "h(x, **a)",
        "a['s'] = 3.0",
    ),
    "OrderedDict": ("a = OrderedDict(s=2.0)", "x * a['s']", "a['s'] = 3.0"),
    "OrderedDict, another order": (
        "a = OrderedDict(s=2.0, t=3.0)",
        "x * next(iter(a.values()))",
        "a.move_to_end('s')",
    ),
    "defaultdict": ("a = defaultdict(float, s=2.0)", "x * a['s']", "a['s'] = 3.0"),
    "defaultdict, missing": ("a = defaultdict(lambda: 2.0)", "x * a['s']", "a['s'] = 3.0"),
    "Counter": ("a = Counter('aab')", "x * a['a']", "a['a'] += 1"),
    "ChainMap": ("a = ChainMap({'s': 2.0})", "x * a['s']", "a['s'] = 3.0"),
    "UserDict": ("a = UserDict(s=2.0)", "x * a['s']", "a['s'] = 3.0"),
    "UserList": ("a = UserList([2.0])", "x * a[0]", "a[0] = 3.0"),
    "dict with attributes": (
        "class A(dict):\n  __getattr__ = dict.__getitem__\na = A(s=2.0)",
        "x * a.s",
        "a['s'] = 3.0",
    ),
    "list whose method reads it": (
        "class A(list):\n  def total(self): return sum(self)\na = A([2.0])",
        "x * a.total()",
        "a[0] = 3.0",
    ),
    "dict whose property reads it": (
        "class A(dict):\n  s = property(lambda self: self['s'])\na = A(s=2.0)",
        "x * a.s",
        "a['s'] = 3.0",
    ),
    "list with attributes": ("class A(list): s = 2.0\na = A()", "x * a.s", "a.s = 3.0"),
    "mapping proxy": ("b = {'s': 2.0}\na = MappingProxyType(b)", "x * a['s']", "b['s'] = 3.0"),
    "deque": ("a = deque([2.0])", "x * a[0]", "a[0] = 3.0"),
    "deque that turns": ("a = deque([2.0, 3.0])", "x * a[0]", "a.rotate()"),
    "set": ("a = {1, 2}", "x * sum(a)", "a.add(3)"),
    "membership": ("a = {'mean'}", "x.mean() if 'mean' in a else x.sum()", "a.clear()"),
    "environment": ("environ['S'] = '2'", "x * float(environ['S'])", "environ['S'] = '3'"),
    "array.array": ("a = array('d', [2.0])", "x * a[0]", "a[0] = 3.0"),
    "bytearray": ("a = bytearray(b'ab')", "x * a[0]", "a[0] = 3"),
}

# --- modules ------------------------------------------------------------------------------------

MINE = (
    "class M(nn.Module):\n"
    "  scale = 2.0\n"
    "  def __init__(self):\n"
    "    self.one = nn.Linear(3, 3)\n"
    "    self.parts = [nn.Linear(3, 3), nn.Tanh()]\n"
    "    self.table = {'a': nn.Linear(3, 3)}\n"
    "    self.p = 0.5\n"
    "    self.extra = None\n"
    "    self.act = F.relu\n"
    "    self.cfg = SimpleNamespace(s=2.0)\n"
    "  def forward(self, x):\n"
    "    for part in self.parts: x = part(x)\n"
    "    x = self.table['a'](x) + self.act(self.one(x)) * self.p * self.scale * self.cfg.s\n"
    "    return x if self.extra is None else self.extra(x)\n"
    "m = M()"
)
NET = "m = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(3, 2)).eval()"
MODULES = {
    "forward": (NET, "m(x)", "m.forward = lambda x: x * 3.0"),
    "forward of a compiled module": (NET + "\nf = m", "", "m.forward = lambda x: x * 3.0"),
    "forward of a part": (NET, "m(x)", "m[0].forward = lambda x: x * 3.0"),
    "forward in __dict__": (NET, "m(x)", "m[0].__dict__['forward'] = lambda x: x * 3.0"),
    "forward of a class": (MINE, "m(x)", "M.forward = lambda self, x: x * 3.0"),
    "forward of a library class": (
        "class ReLU(nn.ReLU): pass\nm = ReLU()",
        "m(x - 2.0)",
        "ReLU.forward = lambda self, x: x * 3.0",
    ),
    "weight": (NET, "m(x)", "m[0].weight = nn.Parameter(np.ones((3, 3), np.float32))"),
    "weight in __dict__": (
        NET,
        "m(x)",
        "m[0].__dict__['weight'] = nn.Parameter(np.ones((3, 3), np.float32))",
    ),
    "equal weight in __dict__, then written": (
        "m = nn.Linear(3, 1, bias=False)",
        "m(x)",
        "m.__dict__['weight'] = nn.Parameter(m.weight.detach())\n"
        "with tg.no_grad(): m.weight.mul_(2.0)",
    ),
    "bias to None": (NET, "m(x)", "m[0].bias = None"),
    "another __dict__": (
        MINE,
        "m(x)",
        "m.__dict__ = {**m.__dict__, 'one': nn.Linear(3, 3), 'act': nn.ReLU()}",
    ),
    "another __dict__ of a layer": (
        NET,
        "m(x)",
        "m[0].__dict__ = {**vars(m[0]), 'weight': nn.Parameter(np.ones((3, 3), 'f'))}",
    ),
    "another __dict__ of an object": (PLAIN, "x * a.s", "a.__dict__ = {'s': 3.0}"),
    "part in __dict__": (NET, "m(x)", "m.__dict__['1'] = nn.Tanh()"),
    "part set": (NET, "m(x)", "setattr(m, '1', nn.Tanh())"),
    "part appended": (NET, "m(x)", "m.append(nn.Tanh())"),
    "part deleted": (NET, "m(x)", "delattr(m, '1')"),
    "mode": (NET, "m(x)", "tg.manual_seed(3); m.train()"),
    "mode of a part": (NET, "m(x)", "tg.manual_seed(3); m[2].training = True"),
    "mode in __dict__": (NET, "m(x)", "tg.manual_seed(3); m[2].__dict__['training'] = True"),
    "setting of a layer": ("m = nn.LeakyReLU(0.1)", "m(x - 2.0)", "m.negative_slope = 0.5"),
    "setting of a layer in __dict__": (
        "m = nn.LeakyReLU(0.1)",
        "m(x - 2.0)",
        "m.__dict__['negative_slope'] = 0.5",
    ),
    "frozen": (
        NET + "\ndef f(x):\n  m.zero_grad()\n  m(x).sum().backward()\n"
        "  return m[0].weight.grad, m[3].bias.grad",
        "",
        "m[0].weight.requires_grad_(False)",
    ),
    "number of my module": (MINE, "m(x)", "m.p = 0.25"),
    "number of my module in __dict__": (MINE, "m(x)", "m.__dict__['p'] = 0.25"),
    "class attribute of my module": (MINE, "m(x)", "M.scale = 3.0"),
    "function of my module": (MINE, "m(x)", "m.act = F.tanh"),
    "object in my module": (MINE, "m(x)", "m.cfg.s = 3.0"),
    "None to a module": (MINE, "m(x)", "m.extra = nn.Tanh()"),
    "list of modules": (MINE, "m(x)", "m.parts[1] = nn.ReLU()"),
    "list of modules grows": (MINE, "m(x)", "m.parts.append(nn.ReLU())"),
    "weight in a list of modules": (
        MINE,
        "m(x)",
        "m.parts[0].weight = nn.Parameter(np.ones((3, 3), np.float32))",
    ),
    "dict of modules": (MINE, "m(x)", "m.table['a'] = nn.Linear(3, 3)"),
    "weight in a dict of modules": (MINE, "m(x)", "m.table['a'].bias = None"),
    "global list of modules": (
        "a = [nn.Linear(3, 3), nn.Tanh()]\ndef f(x):\n  for m in a: x = m(x)\n  return x",
        "",
        "a[1] = nn.ReLU()",
    ),
    "ModuleList": (
        "a = nn.ModuleList([nn.Linear(3, 3), nn.Tanh()])\n"
        "def f(x):\n  for m in a: x = m(x)\n  return x",
        "",
        "a.append(nn.ReLU())",
    ),
    "parameters added up": (
        NET,
        "sum((p * p).sum() for p in m.parameters())",
        "m.append(nn.Linear(2, 2))",
    ),
    "parameters added up, one replaced": (
        NET,
        "sum((p * p).sum() for p in m.parameters())",
        "m[3].weight = nn.Parameter(np.ones((2, 3), np.float32))",
    ),
    "buffer": (
        "m = nn.Module(); m.register_buffer('b', tg.tensor([2.0]))",
        "x * m.b",
        "m.b = tg.tensor([3.0])",
    ),
    "method of my module": (MINE + "\nM.h = lambda self, x: x * self.p", "m.h(x)", "m.p = 0.25"),
    "data of a weight": (NET, "m(x)", "m[0].weight.data = tg.ones(3, 3)"),
    "dtype": ("m = nn.Linear(3, 2)", "m(x.to(m.weight.dtype))", "m.double()"),
}

# --- optimisers ---------------------------------------------------------------------------------

STEP = (
    "m = nn.Linear(3, 2)\nlate = nn.Parameter(np.ones(2, np.float32))\n"
    "o = tg.optim.{}\n"
    "def f(x):\n"
    "  m.zero_grad(); late.grad = None\n"
    "  loss = ((m(x) + late) ** 2).sum()\n"
    "  loss.backward(); o.step()\n"
    "  return loss, m.weight * 1.0, late * 1.0"
)
SGD = STEP.format("SGD(m.parameters(), lr=0.01, momentum=0.9)")
ADAM = STEP.format("Adam(m.parameters(), lr=0.01)")
FRESH = "{k: tg.ones(*v.shape) for k, v in o.state[m.weight].items()}"
OPTIMISERS = {
    "lr": (SGD, "", "o.param_groups[0]['lr'] = 0.1"),
    "momentum": (SGD, "", "o.param_groups[0]['momentum'] = 0.1"),
    "betas": (ADAM, "", "o.param_groups[0]['betas'] = (0.5, 0.9)"),
    "nesterov": (SGD, "", "o.param_groups[0]['nesterov'] = True"),
    "state cleared": (ADAM, "", "o.state.clear()"),
    "state of one deleted": (ADAM, "", "del o.state[m.weight]"),
    "state replaced": (SGD, "", "o.state = {}"),
    "state of one replaced": (ADAM, "", f"o.state[m.weight] = {FRESH}"),
    "tensor of the state replaced": (ADAM, "", "o.state[m.weight]['exp_avg'] = tg.ones(2, 3)"),
    "number of the state replaced": (ADAM, "", "o.state[m.weight]['step'] = tg.tensor(7.0)"),
    "tensor of the state written": (ADAM, "", "o.state[m.weight]['exp_avg'].fill_(1.0)"),
    "state loaded": (ADAM, "", "d = o.state_dict(); d['state'].clear(); o.load_state_dict(d)"),
    "group added": (ADAM, "", "o.add_param_group({'params': [late], 'lr': 0.1})"),
    "group replaced": (
        SGD,
        "",
        "o.param_groups[0] = {**o.param_groups[0], 'lr': 0.1, 'momentum': 0.1}",
    ),
    "group that is equal, then another rate": (
        SGD,
        "",
        "o.param_groups[0] = dict(o.param_groups[0]); o.param_groups[0]['lr'] = 0.1",
    ),
    "groups replaced": (SGD, "", "o.param_groups = [{**o.param_groups[0], 'momentum': 0.1}]"),
    "groups cleared": (SGD, "", "o.param_groups.clear()"),
    "parameter taken out": (SGD, "", "o.param_groups[0]['params'].pop()"),
    "parameter put in": (SGD, "", "o.param_groups[0]['params'].append(late)"),
    "parameters replaced": (SGD, "", "o.param_groups[0]['params'] = [m.bias, late]"),
    "another parameter": (
        SGD,
        "",
        "m.weight = nn.Parameter(np.ones((2, 3), np.float32))\n"
        "o.param_groups[0]['params'][0] = m.weight",
    ),
    "another optimiser": (SGD, "", "o = tg.optim.SGD(m.parameters(), lr=0.1)"),
    "step replaced": (SGD, "", "o.step = lambda: None"),
    "class of its own": (
        SGD.replace(
            "o = tg.optim.SGD",
            "class O(tg.optim.SGD):\n  sign = 1.0\n"
            "  def update(self, p, w, g, group): w -= self.sign * 0.01 * g\no = O",
        ),
        "",
        "o.sign = -1.0",
    ),
    "a setting that the function reads": (
        SGD,
        "x * o.param_groups[0]['lr']",
        "o.param_groups[0]['lr'] = 0.1",
    ),
}

# --- what no call looks at ----------------------------------------------------------------------

UNSEEN = {
    "inside of an array": ("a = np.float32([2.0])", "x * a", "a[0] = 3.0"),
    "inside of an array of an object": (
        "a = SimpleNamespace(b=np.float32([2.0]))", "x * a.b", "a.b[0] = 3.0"),
    "context variable": ("a = ContextVar('a'); a.set(2.0)", "x * a.get()", "a.set(3.0)"),
    "by the name in globals()": ("a = 2.0", "x * globals()['a']", "a = 3.0"),
    "attribute of an installed package": ("np.s_of_mine = 2.0", "x * np.s_of_mine",
                                          "np.s_of_mine = 3.0"),
    "entry of more than four thousand lists": (
        "a = [[i / 5000] for i in range(5000)]", "x * sum(b[0] for b in a)", "a[0][0] = 7.0"),
}  # fmt: skip

# --- what is no change --------------------------------------------------------------------------

UNCHANGED = {
    "equal float": ("a = 2.5", "x * a", "a = float('2.5')"),
    "equal text": ("a = 'mean'", "getattr(x, a)()", "a = ''.join(['me', 'an'])"),
    "equal NumPy number": ("a = np.float32(2)", "x * a", "a = np.float32(2)"),
    "nan again": ("a = float('nan')", "x * a", "a = float('nan')"),
    "equal tuple": ("a = (1, 2.5)", "x * a[1]", "a = (1, float('2.5'))"),
    "equal nested tuple": ("a = (1, (2.5,))", "x * a[1][0]", "a = (1, (float('2.5'),))"),
    "equal attribute": ("a = SimpleNamespace(s=(1, 2.5))", "x * a.s[1]", "a.s = (1, float('2.5'))"),
    "equal entry of a list": ("a = [1, 2.5]", "x * a[1]", "a[1] = float('2.5')"),
    "equal entry of a long list": ("a = [2.5] * 100", "x * sum(a)", "a[7] = float('2.5')"),
    "equal entry of a deque": ("a = deque([2.5])", "x * sum(a)", "a[0] = float('2.5')"),
    "equal entry of a dict": ("a = OrderedDict(s=2.5)", "x * a['s']", "a['s'] = float('2.5')"),
    "entry that is not read": ("a = {'s': 2.0, 't': 1.0}", "x * a['s']", "a['t'] = 3.0"),
    "entry of a list that is not read": ("a = [2.0, 1.0]", "x * a[0]", "a[1] = 3.0"),
    "entry inside that is not read": (
        "a = {'s': {'t': 2.0, 'u': 1.0}}", "x * a['s']['t']", "a['s']['u'] = 3.0"),
    "attribute that is not read": ("a = SimpleNamespace(s=2.0, t=1.0)", "x * a.s", "a.t = 3.0"),
    "global that is not read": ("a, b = 2.0, 1.0", "x * a", "b = 3.0"),
}  # fmt: skip

FOLLOWED = {**VARIABLES, **OBJECTS, **CONTAINERS, **MODULES, **OPTIMISERS}

NAMES = {
    "tg": tg, "nn": nn, "F": F, "np": np, "partial": functools.partial, "wraps": functools.wraps,
    "partialmethod": functools.partialmethod, "ref": weakref.ref, "array": array.array,
    "contextmanager": contextlib.contextmanager, "lru_cache": functools.lru_cache,
    "singledispatch": functools.singledispatch,
    "cached_property": functools.cached_property, "dataclass": dataclasses.dataclass,
    "Enum": enum.Enum, "SimpleNamespace": types.SimpleNamespace,
    "MappingProxyType": types.MappingProxyType, "Namespace": argparse.Namespace,
    "local": threading.local, "ContextVar": contextvars.ContextVar, "environ": os.environ,
    **{name: getattr(collections, name) for name in (
        "namedtuple", "OrderedDict", "defaultdict", "Counter", "ChainMap", "UserDict", "UserList",
        "deque")},
}  # fmt: skip


class Side:
    """One of the two that a row is tried on: calls its function, and makes its change."""

    def __init__(self, row, compile=lambda fn: fn):
        before, returned, self.change = row
        sys.modules["settings_of_mine"] = types.ModuleType("settings_of_mine")
        self.module = sys.modules["settings_of_mine"]
        tg.manual_seed(0)
        self.names = {"__name__": "a_cell", **NAMES}
        exec(before, self.names)
        if returned:
            exec(f"def f(x): return {returned}", self.names)
        self.function = compile(self.names["f"])
        self.args = self.names.get("args", ())

    def call(self):
        sys.modules["settings_of_mine"] = self.module
        tg.manual_seed(1)
        x = tg.tensor([1.0, 2.0, 3.0])
        return numbers_of(self.function(x, *self.args))

    def changed(self):
        tg.manual_seed(2)
        exec(self.change, self.names)


def flat(x):
    return [y for part in x for y in flat(part)] if isinstance(x, list) else [x]


def equal(a, b):
    a, b = flat(a), flat(b)
    return len(a) == len(b) and all(
        v is w or (np.shape(v) == np.shape(w) and getattr(v, "dtype", 0) == getattr(w, "dtype", 0)
                   and np.allclose(np.float64(v), np.float64(w), 1e-5, 1e-6, equal_nan=True))
        for v, w in zip(a, b)
    )  # fmt: skip


@pytest.fixture(autouse=True)
def own_modules(monkeypatch):
    monkeypatch.setitem(sys.modules, "settings_of_mine", None)
    monkeypatch.setitem(os.environ, "S", "0")
    yield
    vars(np).pop("s_of_mine", None)


@pytest.mark.filterwarnings("ignore:.*with nothing between")
@pytest.mark.parametrize(
    ("row", "calls"), [*((row, 6) for row in FOLLOWED), *((row, 1) for row in [*FOLLOWED][::5])]
)
def test_a_change_is_followed(row, calls):
    with np.errstate(all="ignore"):
        unchanged = Side(FOLLOWED[row])
        without = [unchanged.call() for _ in range(calls + 4)]
        plain, compiled = Side(FOLLOWED[row]), Side(FOLLOWED[row], tg.compile)
        for _ in range(calls):
            assert equal(compiled.call(), plain.call())
        plain.changed()
        compiled.changed()
        wanted = [plain.call() for _ in range(4)]
        assert all(equal(compiled.call(), y) for y in wanted)
    assert not all(map(equal, wanted, without[calls:]))


@pytest.mark.parametrize("row", UNCHANGED)
def test_what_is_no_change_makes_no_other_program(row):
    plain, compiled = Side(UNCHANGED[row]), Side(UNCHANGED[row], tg.compile)
    for _ in range(3):
        for _ in range(2):
            assert equal(compiled.call(), plain.call())
        compiled.changed()
    assert len(compiled.function.runners) == 1


@pytest.mark.parametrize("row", UNSEEN)
def test_a_change_is_unseen_until_the_next_check(row):
    plain, compiled = Side(UNSEEN[row]), Side(UNSEEN[row], tg.compile)
    for _ in range(5):
        assert equal(compiled.call(), plain.call())
    stale = plain.call()
    plain.changed()
    compiled.changed()
    assert not equal(plain.call(), stale)
    for _ in range(2):
        assert equal(compiled.call(), stale)
    with pytest.raises(TraceError, match=r"in call 8 than in the first.* multiply at "):
        compiled.call()
    for _ in range(9):  # the program that was refused never runs again
        assert equal(compiled.call(), plain.call())


# --- the comparisons ----------------------------------------------------------------------------


def test_the_function_runs_in_calls_1_2_4_8_and_16():
    runs, seen = [], []

    def f(x):
        runs.append(1)  # a list that the function fills is no reason for another trace
        return x * 2.0

    compiled = tg.compile(f)
    for k in range(20):
        assert compiled(tg.tensor([float(k)])).tolist() == [2.0 * k]
        seen.append(len(runs))
    assert seen == [1, 2, 2, *[3] * 4, *[4] * 8, *[5] * 5] and len(compiled.runners) == 1


def changing_everything():
    """A step that writes state, gradients and arguments and draws; and a counter that it reads."""
    w, total = nn.Parameter(np.ones(3)), tg.zeros(3).double()
    numbers = iter(range(1000))
    optimizer = tg.optim.Adam([w], lr=0.1)

    def f(x, t):
        optimizer.zero_grad()
        ((w * x * tg.rand(3, dtype=np.float64)) ** 2).sum().backward()
        optimizer.step()
        total.add_(x)
        t.mul_(2.0)
        return x * float(next(numbers))

    def held(t):
        state = [*optimizer.state.get(w, {}).values()]
        return numbers_of([w, w.grad, total, t, state, tg.random.get_rng_state()])

    return f, held


def test_a_function_that_differs_from_itself_is_refused_in_every_later_call():
    f, held = changing_everything()
    compiled = tg.compile(f)
    t = tg.ones(3).double()
    compiled(tg.ones(3).double(), t)
    before = held(t)
    for k in range(5):
        with pytest.raises(TraceError, match=r"another number in (its|a) second .*multiply at"):
            compiled(tg.ones(3).double() * (k + 2.0), t)
        agree(held(t), before)
        assert not compiled.runners


def test_a_wrong_program_leaves_attributes_and_generators_as_they_were(monkeypatch):
    right = running.optimised

    def wrong(program, *args):
        program = right(program, *args)
        steps = [s._replace(op="sin") if s.op == "tanh" else s for s in program.steps]
        return program.with_steps(steps)

    class Noisy(nn.Module):
        def __init__(self):
            self.last, self.total = tg.zeros(3).double(), tg.zeros(3).double()

        def forward(self, x):
            y = (x + tg.rand(3)).tanh()
            self.last = y * 2.0
            self.total += y
            return y

    model, x = Noisy(), tg.ones(3).double()
    compiled = tg.compile(model)
    tg.manual_seed(7)
    held = [model.last, model.total, *numbers_of([model.last, model.total])]
    before = tg.random.get_rng_state()
    monkeypatch.setattr(running, "optimised", wrong)
    for _ in range(3):
        with pytest.raises(TraceError, match="does not compute what the function does"):
            compiled(x)
        assert model.last is held[0] and model.total is held[1]
        agree(numbers_of([model.last, model.total, tg.random.get_rng_state()]),
              [*held[2:], numbers_of(before)])  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_wrong_program_never_runs_again(dtype, monkeypatch):
    right = running.optimised

    def wrong(program, *args):
        program = right(program, *args)
        steps = [s._replace(op="sin") if s.op == "tanh" else s for s in program.steps]
        return program.with_steps(steps)

    def build():
        tg.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh())
        model.to(dtype)
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = model(x).max(dim=1).values.sum()
            loss.backward()
            optimizer.step()
            return loss

        return step, model

    (plain, other), (step, model) = build(), build()
    compiled = tg.compile(step)
    x = tg.tensor(np.random.default_rng(0).standard_normal((16, 3)).astype(dtype))
    monkeypatch.setattr(running, "optimised", wrong)
    before = numbers_of(list(model.parameters()))
    for _ in range(3):
        with pytest.raises(TraceError, match="does not compute what the function does"):
            compiled(x)
        agree(numbers_of(list(model.parameters())), before)
    monkeypatch.undo()
    other.load_state_dict(model.state_dict())
    for _ in range(4):
        agree(numbers_of(compiled(x)), numbers_of(plain(x)))


def decided(x, w, c):
    """Results that turn over where the sum of x·w comes from one side of c to the other."""
    s = (x * w).sum()
    w.grad = None
    (F.relu(s - c) * x.sum()).backward()
    both = tg.stack([s, c])
    pooled = F.max_pool2d(both.reshape(1, 1, 1, 2) * 1e3, (1, 2))
    return (
        w.grad, tg.where(s > c, x, -x), both.argmax(), both.argsort(dim=0), (s - c).sign() * x,
        (s / c).floor() * x, (s <= c) * x, tg.maximum(s, c) - s, pooled,
    )  # fmt: skip


def test_what_turns_over_in_the_last_bit_is_no_mistake():
    turned = 0
    for seed in range(40):
        stream = np.random.default_rng(seed)
        x, w = (stream.standard_normal(1000).astype(np.float32) for _ in range(2))
        c, x = tg.tensor((tg.tensor(x) * tg.tensor(w)).sum().item()), tg.tensor(x)
        weight = nn.Parameter(w)
        wanted = numbers_of(decided(x, weight, c))
        compiled = tg.compile(lambda x, weight=weight, c=c: decided(x, weight, c))
        compiled(x)
        turned += not equal(numbers_of(compiled(x)), wanted)
    assert turned > 5


# what jumps, numbers where the last bits decide, numbers where they do not
JUMPS = {
    "abs": (lambda x: x.abs(), [1.0, 0.0], [1.0, -0.5]),
    "greater": (lambda x: x > 0.5, [0.2, 0.5], [0.2, 0.7]),
    "greater or equal": (lambda x: x >= 0.5, [0.2, 0.5], [0.2, 0.7]),
    "less": (lambda x: x < 0.5, [0.2, 0.5], [0.2, 0.7]),
    "less or equal": (lambda x: x <= 0.5, [0.2, 0.5], [0.2, 0.7]),
    "equal": (lambda x: x == 0.5, [0.2, 0.5], [0.2, 0.7]),
    "not equal": (lambda x: x != 0.5, [0.2, 0.5], [0.2, 0.7]),
    "maximum": (lambda x: tg.maximum(x, x.flip(0)), [0.2, 0.2], [0.2, 0.7]),
    "minimum": (lambda x: tg.minimum(x, x.flip(0)), [0.2, 0.2], [0.2, 0.7]),
    "sign": (lambda x: x.sign(), [1.0, 0.0], [1.0, -0.5]),
    "relu": (F.relu, [1.0, 0.0], [1.0, -0.5]),
    "clamp": (lambda x: x.clamp(0.2, 0.7), [0.1, 0.7], [0.1, 0.9]),
    "clamp from below": (lambda x: x.clamp(0.2), [0.1, 0.2], [0.1, 0.7]),
    "floor": (lambda x: x.floor(), [0.2, 3.0], [0.2, 3.2]),
    "ceil": (lambda x: x.ceil(), [0.2, 3.0], [0.2, 3.2]),
    "trunc": (lambda x: x.trunc(), [0.2, 3.0], [0.2, 3.2]),
    "round": (lambda x: x.round(), [0.2, 2.5], [0.2, 2.2]),
    "remainder": (lambda x: x % 0.3, [0.2, 0.9], [0.2, 1.0]),
    "remainder as in C": (lambda x: tg.fmod(x, 0.3), [0.2, 0.9], [0.2, 1.0]),
    "whole quotient": (lambda x: x // 0.3, [0.2, 0.9], [0.2, 1.0]),
    "whole numbers": (lambda x: x.long(), [0.2, 3.0], [0.2, 3.2]),
    "largest": (lambda x: x.amax(), [0.2, 0.7, 0.7], [0.2, 0.2, 0.7]),
    "largest of rows": (lambda x: x.amax(1), [[0.2, 0.7], [0.3, 0.3]], [[0.2, 0.7], [0.7, 0.2]]),
    "least": (lambda x: x.amin(), [0.2, 0.2, 0.7], [0.2, 0.7, 0.7]),
    "where the largest is": (lambda x: x.argmax(), [0.2, 0.7, 0.7], [0.2, 0.2, 0.7]),
    "where the least is": (lambda x: x.argmin(), [0.2, 0.2, 0.7], [0.2, 0.7, 0.7]),
    "order": (lambda x: x.argsort(), [0.7, 0.7, 0.2, 0.1], [0.4, 0.7, 0.2, 0.1]),
    "order of the least": (lambda x: x.argsort(), [0.7, 0.4, 0.2, 0.2], [0.4, 0.7, 0.2, 0.1]),
    "pool": (lambda x: tg.autograd.grad(
        F.max_pool2d(x.requires_grad_()[None, None], 2).sum(), x)[0],
        [[0.2, 0.7], [0.1, 0.7]], [[0.2, 0.7], [0.1, 0.1]]),
}  # fmt: skip


def may_turn_over(f, x, noise=1.0):
    program = tg.trace(f, tg.tensor(np.float64(x)))
    values = run(program.steps, {**program.constants, program.inputs[0]: np.float64(x)})
    return may_turn(program, values, noise), {step.op for step in program.steps}


def test_where_the_last_bits_decide_is_known_of_every_operation_that_jumps():
    told = set()
    for name, (f, near, far) in JUMPS.items():
        turns, ops = may_turn_over(f, near)
        assert turns and not may_turn_over(f, far)[0], name
        told |= ops
    assert {op for op in OPS if OPS[op].jumps} <= told
    assert not may_turn_over(lambda x: x.float() * 2.0, [0.0, 3.0])[0]
    for noise, turns in ((1.0, True), (1e-3, False)):  # 64 units in the last place of that
        assert may_turn_over(F.relu, [1e-6], noise)[0] is turns


@pytest.mark.parametrize("alone", ["floor", "max_pool2d"])
def test_one_decision_that_turns_over_in_the_last_bit_is_no_mistake(alone):
    turned = 0
    for seed in range(25):
        stream = np.random.default_rng(seed)
        x, w = (stream.standard_normal(1000).astype(np.float32) for _ in range(2))
        c, x = tg.tensor((tg.tensor(x) * tg.tensor(w)).sum().item()), tg.tensor(x)

        weight = nn.Parameter(w)

        def f(x, w=weight, c=c):
            s = (x * w).sum()
            if alone == "floor":
                return (s / c).detach().floor() * x
            w.grad = None
            F.max_pool2d(tg.stack([s, c]).reshape(1, 1, 1, 2), (1, 2)).sum().backward()
            return w.grad

        wanted = numbers_of(f(x))
        compiled = tg.compile(f)
        compiled(x)
        turned += not equal(numbers_of(compiled(x)), wanted)
    assert turned > 3


def test_reading_an_attribute_in_every_call_runs_no_code_of_the_users():
    read = []

    class Watching:
        def __init__(self):
            self.scale = 2.0

        def __getattribute__(self, name):
            read.append(name)
            return object.__getattribute__(self, name)

    it, x = Watching(), tg.ones(3)
    compiled = tg.compile(lambda x: x * it.scale)
    assert compiled(x).tolist() == [2.0] * 3
    assert compiled(x).tolist() == [2.0] * 3
    read.clear()
    assert compiled(x).tolist() == [2.0] * 3  # the third call is not compared
    assert read == []
    it.scale = 3.0
    assert compiled(x).tolist() == [3.0] * 3 and "scale" in read


def test_what_is_set_on_a_compiled_module_is_set_on_the_module():
    model = nn.Linear(3, 2)
    compiled = tg.compile(model)
    x = tg.tensor([1.0, 2.0, 3.0])
    for _ in range(3):
        agree(numbers_of(compiled(x)), numbers_of(model(x)))
    compiled.forward = lambda x: x * 3.0
    assert compiled(x).tolist() == model(x).tolist() == [3.0, 6.0, 9.0]
    other = nn.Linear(3, 2)
    other.forward = tg.compile(other.forward)
    for _ in range(5):
        agree(numbers_of(other(x)), numbers_of(nn.Linear.forward(other, x)))


class Trainer:
    """What people write: names of counters that are names of methods too."""

    def __init__(self):
        self.model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
        self.optimizer = tg.optim.SGD(self.model.parameters(), lr=0.1)
        self.step, self.losses, self.backward = 0, [], 0

    def train(self, x):
        optimizer = self.optimizer
        optimizer.zero_grad()
        loss = self.model(x).sum()
        loss.backward()
        optimizer.step()
        return loss


def test_counters_beside_what_is_read_are_no_reason_for_another_trace():
    trainer = Trainer()
    compiled = tg.compile(trainer.train)
    for step in range(6):
        trainer.losses.append(compiled(tg.ones(1, 3)).item())
        trainer.step, trainer.backward, trainer.model.count = step, step, step
    assert len(compiled.runners) <= 2  # one more for the first attribute of a module
