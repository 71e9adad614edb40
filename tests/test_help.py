"""What help() and dir() say of public names: our own formulas and slopes, and nothing else."""

import importlib
import inspect
import math
import pydoc
import re

import numpy as np
import pytest
from reference import MODULES as REFERENCE

import tinygrad_ce as tg
from tinygrad_ce.engine import table
from tinygrad_ce.nn import functional as F

SUBMODULES = """
    accelerator amp autograd.function autograd.functional backends backends.cuda backends.cudnn
    backends.mps cuda cuda.amp distributed functional nn.parameter nn.utils.rnn serialization utils
    utils.data.dataloader utils.data.dataset utils.data.sampler utils.tensorboard xpu
"""
MODULES = [*REFERENCE, *(f"tinygrad_ce.{name}" for name in SUBMODULES.split())]


@pytest.mark.parametrize("name", MODULES)
def test_dir_lists_public_names_alone(name):
    module = importlib.import_module(name)
    twins = {f"{n}_" for n in module.__all__} if name == "tinygrad_ce" else set()
    assert len(module.__all__) == len({*module.__all__})
    assert {*module.__all__} <= {*dir(module)} <= {*module.__all__, *twins}
    for own in dir(module):
        assert not own.startswith("_") or own == "__version__"
        value = getattr(module, own)
        home = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
        assert home is None or home.startswith("tinygrad_ce") or not callable(value), own


def everything():
    """(where, name, function) of all that can be called."""
    for name in MODULES:
        module = importlib.import_module(name)
        yield from ((name, own, getattr(module, own)) for own in dir(module))
    yield from (("Tensor", own, getattr(tg.Tensor, own)) for own in METHODS)


NODE = {*tg.Tensor.__mro__[1].__slots__}  # what a node of the graph keeps
METHODS = [name for name in dir(tg.Tensor) if name[0] != "_" and name not in NODE]
NUMPY = {f.__doc__ for f in map(np.__dict__.get, dir(np)) if callable(f) and f.__doc__}
PYTHON = {f.__doc__ for f in vars(__import__("operator")).values() if callable(f) and f.__doc__}


def test_help_says_something_of_every_public_name_and_nothing_of_numpys():
    said = {(where, name): inspect.getdoc(f) for where, name, f in everything() if callable(f)}
    assert [name for name, text in said.items() if not text] == []
    assert [name for name, text in said.items() if text in NUMPY | PYTHON] == []
    rules = [f for f in vars(table).values() if hasattr(f, "op")]
    assert [f for f in rules if not f.__doc__ or f.__doc__ in NUMPY | PYTHON] == []
    assert "eˣ." in pydoc.render_doc(tg.exp) and "∂y/∂x = y" in pydoc.render_doc(tg.exp)


OWN_WORDS = {"clamp", "clip", "dropout", "max", "min", "nan_to_num", "round"}
"""Elementwise, random or with other operands, with words of their own about the gradient."""
SPACE = {
    **{f.__name__: f for f in (np.cos, np.cosh, np.exp, np.floor, np.log, np.sign, np.sin, np.sinh,
                               np.sqrt, np.trunc, np.where)},
    "pi": math.pi, "alpha": 1, "beta": 1, "negative_slope": 0.01,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "φ": lambda x: np.exp(-(x**2) / 2) / math.tau**0.5,
    "Φ": np.vectorize(lambda x: math.erfc(-x / math.sqrt(2)) / 2),
}  # fmt: skip
POINTS = [np.array([0.3, 0.45, 0.8, -0.6, -0.25]), np.array([0.43, -1.5, 0.2, 0.7, -0.35])]
POSITIVE = {"log", "log2", "log10", "logaddexp", "pow", "rsqrt", "sqrt"}


def elementwise():
    """(name, function, operands) of each function that does the same to every element."""
    for where, name, f in everything():
        if (
            name.endswith("_")
            or name in OWN_WORDS
            or where not in ("tinygrad_ce", "Tensor", F_NAME)
        ):
            continue
        for count in (1, 2):
            points = [abs(x) if name in POSITIVE else x for x in POINTS[:count]]
            if callable(f) and not inspect.isclass(f) and slopes_of(f, points) is not None:
                yield f"{where}.{name}", f, points
                break


F_NAME = F.__name__


def slopes_of(f, points):
    """The diagonals of the Jacobians of f; None where it has others, or is a kind of identity."""
    operands = [tg.tensor(x, requires_grad=True) for x in points]
    try:
        with np.errstate(all="ignore"):
            y = f(*operands)
        assert y.shape == (5,) and y.requires_grad
    except (
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
        Warning,
    ):
        return None
    rows = [
        tg.autograd.grad(y[i], operands, retain_graph=True, allow_unused=True) for i in range(5)
    ]
    if any(g is None for row in rows for g in row):
        return None
    found = [np.array([g.numpy() for g in column]) for column in zip(*rows)]
    diagonal = [np.diag(x) for x in found]
    if any((x != np.diag(d)).any() for x, d in zip(found, diagonal)):
        return None
    moved = len(points) == 1 and (diagonal[0] == 1).all()
    return None if moved or (len(points) == 2 and not diagonal[1].any()) else diagonal


def test_the_slopes_that_help_tells_are_those_of_backward():
    tried = []
    for name, f, points in elementwise():
        text = inspect.getdoc(f)
        told = re.findall(r"∂y/∂(\w+) = ([^;\n]*)", text)
        assert len(told) == len(points), name
        space = SPACE | {of: x for (of, _), x in zip(told, points)}
        with tg.no_grad():
            space["y"] = f(*map(tg.tensor, points)).numpy()
        for (_, slope), right in zip(told, slopes_of(f, points)):
            found = eval(slope, space)
            np.testing.assert_allclose(found + 0 * right, right, 1e-12, 1e-15, err_msg=name)
        tried.append(name)
    assert len(tried) > 90
