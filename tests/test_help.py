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
from tinygrad_ce import functions, nn
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


def test_dir_of_a_tensor_lists_what_it_offers_and_not_what_its_node_keeps():
    x = nn.Parameter(tg.ones(2))
    assert {*METHODS, "__add__"} <= {*dir(x)} and not NODE & {*dir(x)}
    assert all(inspect.getdoc(getattr(tg.Tensor, name)) for name in dir(x) if name[0] != "_")


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
        if where == "tinygrad_ce" and f not in vars(functions).values():
            continue  # what sets something is not to be called
        if name.endswith("_") or name in OWN_WORDS or where not in WHERE:
            continue
        for count in (1, 2):
            points = [abs(x) if name in POSITIVE else x for x in POINTS[:count]]
            if callable(f) and not inspect.isclass(f) and slopes_of(f, points) is not None:
                yield f"{where}.{name}", f, points
                break


F_NAME = F.__name__
WHERE = ("tinygrad_ce", "Tensor", F_NAME)


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
    telling = {
        f"{where}.{name}"
        for where, name, f in everything()
        if where in WHERE and "∂y/∂" in (inspect.getdoc(f) or "") and name[-1] != "_"
    }
    assert telling - {*tried} == {"tinygrad_ce.floor_divide", "Tensor.floor_divide"}  # 0 and 0


def drawn(*shape):
    """Numbers in (0.1, 0.9), the same each time."""
    return np.random.default_rng(sum(shape)).uniform(0.1, 0.9, shape)


V, M, N, K, Y = drawn(4), drawn(3, 4), drawn(4, 2), drawn(2, 4), drawn(3, 4)[::-1]
IDS = np.array([2, 0, 3])
ROWS = {"sum": lambda x, axis=1: np.sum(x, axis, keepdims=axis == 1), "n": 4, "correction": 1}
ROWS |= {"mean": lambda x: np.mean(x, 1, keepdims=True)}
OVER = {"n": 12, "y": Y, "δ": 0.2, "β": 0.3, "N": 3, "onehot": np.eye(4)[IDS]}
OVER |= {"softmax": lambda z: np.exp(z) / np.exp(z).sum(1, keepdims=True)}
LOSSES = {"mse_loss": (), "l1_loss": (), "huber_loss": ("mean", 0.2), "binary_cross_entropy": ()}
SQUARE, IMAGES, KERNELS = N @ N.T + np.eye(4), drawn(2, 3, 4, 5), drawn(2, 3, 2, 3)
P, Q = drawn(6, 2).reshape(3, 4), drawn(4, 3).T
NEAR, FAR = (np.linalg.norm(M - x, axis=1, keepdims=True) for x in (P, Q))
MASK = F.dropout(tg.ones(3, 4, dtype=tg.float64), 0.25, generator=tg.Generator()).numpy() > 0


def convolved(x, w):
    """Σ over window and channels of x·w."""
    (n, _, *size), (out, _, *window) = x.shape, w.shape
    y = np.zeros((n, out, *(s - k + 1 for s, k in zip(size, window))))
    for i, j in np.ndindex(y.shape[2:]):
        seen = x[:, :, i : i + window[0], j : j + window[1]]
        y[:, :, i, j] = np.einsum("nchw,ochw->no", seen, w)
    return y


def laid_down(x, w):
    """The kernel of each element, where the element stands; overlaps are added."""
    (n, _, *size), (_, out, *window) = x.shape, w.shape
    y = np.zeros((n, out, *(s + k - 1 for s, k in zip(size, window))))
    for i, j in np.ndindex(*size):
        y[:, :, i : i + window[0], j : j + window[1]] += np.einsum("nc,cohw->nohw", x[..., i, j], w)
    return y


def standardized(x, axis):
    """The letters of a normalization over an axis."""
    mean, s = x.mean(axis, keepdims=True), np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    letters = {"x̂": (x - mean) / s, "s": s, "h": drawn(3, 4) * V}
    return letters | {"sum": lambda x: x.sum(0), "mean": lambda x: x.mean(axis, keepdims=True)}


def attention(Q, K, V, g):
    """The letters of attention with a scale of 0.3."""
    A = np.exp(0.3 * Q @ K.T)
    A /= A.sum(1, keepdims=True)
    G = g @ V.T
    return {"A": A, "S": A * (G - (A * G).sum(1, keepdims=True))}


WINDOWS = {"conv2d": convolved, "conv_transpose2d": laid_down, "sum": np.sum,
           "T": lambda x: x.swapaxes(0, 1)}  # fmt: skip
LENGTHS = ROWS | {"norm": lambda x: np.linalg.norm(x, axis=1, keepdims=True)}
TOLD = [  # (function, operands that get a gradient, the others, what its letters are)
    *(("Tensor", name, [M], [1, *more], ROWS | {"p": 3}) for name, more in [
        ("sum", [True]), ("mean", [True]), ("prod", [True]), ("logsumexp", [True]),
        ("softmax", []), ("log_softmax", [])]),
    *(("Tensor", name, [M], [1, True, True], ROWS) for name in ("var", "std")),
    ("Tensor", "norm", [M], [3, 1, True], ROWS | {"p": 3}),
    *((F_NAME, name, [M], [1], ROWS) for name in ("softmax", "log_softmax")),
    (F_NAME, "logsumexp", [M], [1, True], ROWS),
    *((where, name, [M, N], [], {}) for where in ("Tensor", "tinygrad_ce") for name in
      ("matmul", "mm")),
    ("Tensor", "dot", [V, M[0]], [], {}), ("Tensor", "outer", [V, M[:, 0]], [], {}),
    (F_NAME, "linear", [M, K, drawn(2)], [], ROWS),
    *((F_NAME, name, [M], [tg.tensor(Y)], OVER) for name in (
        "mse_loss", "l1_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")),
    (F_NAME, "huber_loss", [M], [tg.tensor(Y), "mean", 0.2], OVER),
    (F_NAME, "smooth_l1_loss", [M], [tg.tensor(Y), None, None, "mean", 0.3], OVER),
    *((F_NAME, name, [M], [tg.tensor(IDS)], OVER) for name in ("cross_entropy", "nll_loss")),
    (F_NAME, "kl_div", [np.log(M)], [tg.tensor(Y)], {"n": 12, "p": Y}),
    ("Tensor", "mv", [M, V], [], {"outer": np.outer}),
    ("Tensor", "bmm", [M[None], N[None]], [], {}),
    ("Tensor", "addmm", [drawn(3, 2), M, N], lambda f, *x: f(*x, beta=0.5, alpha=3),
     {"beta": 0.5, "alpha": 3}),
    ("Tensor", "addcmul", [M, Y, 2 - M], lambda f, *x: f(*x, value=3), {"value": 3}),
    ("Tensor", "addcdiv", [M, Y, 2 - M], lambda f, *x: f(*x, value=3), {"value": 3}),
    ("Tensor", "lerp", [M, Y, 1 - M], [], {}),
    *((where, "cross", [M.T, Y.T], [], {"cross": np.cross})
      for where in ("Tensor", "tinygrad_ce.linalg")),
    *((where, name, [SQUARE], [], {}) for where, name in (
        ("Tensor", "inverse"), ("tinygrad_ce.linalg", "inv"))),
    ("tinygrad_ce.linalg", "solve", [SQUARE, N], [],
     {"solve": np.linalg.solve, "X": np.linalg.inv(SQUARE) @ N}),
    (F_NAME, "embedding", [N], lambda f, W: f(tg.tensor(IDS), W), {"onehot": np.eye(4)[IDS]}),
    (F_NAME, "conv2d", [IMAGES, KERNELS, drawn(2)], [], WINDOWS),
    (F_NAME, "conv_transpose2d", [IMAGES, KERNELS.swapaxes(0, 1), drawn(2)], [], WINDOWS),
    (F_NAME, "layer_norm", [M, V, V], lambda f, x, γ, β: f(x, (4,), γ, β), standardized(M, 1)),
    (F_NAME, "group_norm", [M, V, V], lambda f, x, γ, β: f(x, 1, γ, β), standardized(M, 1)),
    (F_NAME, "batch_norm", [M, V, V], lambda f, x, γ, β: f(x, None, None, γ, β, True),
     standardized(M, 0)),
    (F_NAME, "rms_norm", [M, V], lambda f, x, γ: f(x, (4,), γ, 1e-5),
     ROWS | {"h": drawn(3, 4) * V, "r": np.sqrt((M**2).mean(1, keepdims=True) + 1e-5),
             "sum": lambda x: x.sum(0)}),
    (F_NAME, "dropout", [M], lambda f, x: f(x, 0.25, generator=tg.Generator()),
     {"mask": MASK, "p": 0.25}),
    (F_NAME, "normalize", [M], [], LENGTHS),
    (F_NAME, "cosine_similarity", [M, Y], [], LENGTHS),
    (F_NAME, "pairwise_distance", [M, Y], [], {"eps": 1e-6}),
    (F_NAME, "triplet_margin_loss", [M, P, Q], lambda f, *x: f(*x, 0.05, 2.0, 0.0),
     {"N": 3, "near": NEAR, "far": FAR, "on": NEAR - FAR + 0.05 > 0}),
    (F_NAME, "scaled_dot_product_attention", [M, Q, Y[:, :2]], lambda f, *x: f(*x, scale=0.3),
     attention(M, Q, Y[:, :2], drawn(3, 2)) | {"scale": 0.3}),
]  # fmt: skip


COLUMNS = {"cosine_similarity", "pairwise_distance"}  # a number for each row


@pytest.mark.parametrize(
    ("where", "name", "points", "more", "letters"), TOLD, ids=lambda x: x if type(x) is str else ""
)
def test_the_gradients_that_help_tells_are_those_of_backward(where, name, points, more, letters):
    f = getattr(tg.Tensor if where == "Tensor" else importlib.import_module(where), name)
    told = re.findall(r"∂L/∂(\w+) = ([^;\n]*)", inspect.getdoc(f))
    assert len(told) == len(points)
    operands = [tg.tensor(x, requires_grad=True) for x in points]
    y = more(f, *operands) if callable(more) else f(*operands, *more)
    g = drawn(*y.shape) if y.ndim else np.array(1.0)
    y.backward(tg.tensor(g))
    rows = (lambda x: x[:, None]) if name in COLUMNS else lambda x: x
    space = (
        SPACE
        | {"y": rows(y.detach().numpy()), "g": rows(g), "clip": np.clip, "abs": np.abs}
        | letters
    )
    space |= {of: x for (of, _), x in zip(told, points)}
    for (_, formula), operand in zip(told, operands):
        right = operand.grad.numpy()
        found = np.broadcast_to(eval(formula, space), right.shape)
        np.testing.assert_allclose(found, right, 1e-10, 1e-14)
