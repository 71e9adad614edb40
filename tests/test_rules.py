"""Every rule of the calculus table against central differences, in first and second order.

The oracle is NumPy's own function, given beside ours: values, gradients of Σ w·f with w different
in every element, and gradients of Σ v·gradient likewise. Sizes are 2, 3 and 5, so that no axis can
hide behind another.
"""

import math
import operator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from differences import incoming, jacobian_product

import tinygrad_ce as tg
from tinygrad_ce.autograd import GradcheckError, grad, gradcheck, gradgradcheck, jvp, vjp
from tinygrad_ce.engine import functions, rule, table
from tinygrad_ce.engine.table import SLOT


class Case(NamedTuple):
    """One way to call an operation: ours, NumPy's, and where to look at it."""

    name: str
    ours: Any
    numpy: Any
    inputs: tuple[Any, ...]

    @property
    def id(self):
        return f"{self.name}-{'-'.join('x'.join(map(str, np.shape(x))) for x in self.inputs)}"


def at(*shape, low=-2.0, high=2.0, seed=1):
    return np.random.default_rng(seed + len(shape)).uniform(low, high, shape)


def apart(*shape, seed=3):
    """Numbers no two of which are close: for maxima and sorting."""
    n = math.prod(shape)
    return (np.random.default_rng(seed).permutation(n).reshape(shape) - n / 2 + 0.25) / 3


rows = np.array([0, 2, 0, 1, 2])
columns = np.array([4, 1, 4, 0, 1])
mask = np.arange(15).reshape(3, 5) % 3 == 0
positive = partial(at, low=0.3, high=2.0)


def scattered(x, index, shape):
    y = np.zeros(shape)
    np.add.at(y, index, x)
    return y


def written(x, values, index):
    y = x.copy()
    y[index] = values
    return y


def overlapped(x, full, window):
    y = np.zeros(full)
    for i in range(window[0]):
        for j in range(window[1]):
            y[:, i : i + x.shape[1], j : j + x.shape[2]] += x[..., i, j]
    return y


windows = np.lib.stride_tricks.sliding_window_view


def strided(x, size, stride, axes, dilation=(1, 1)):
    """Every window along two axes of an array with four, its elements the last two axes."""
    spans = tuple((k - 1) * d + 1 for k, d in zip(size, dilation))
    index = [slice(None)] * 4
    for axis, step in zip(axes, stride):
        index[axis] = slice(None, None, step)
    return windows(x, spans, axes)[(*index, *(slice(None, None, d) for d in dilation))]


def columns_of(x, size, stride, dilation):
    w = strided(x, size, stride, (1, 2), dilation)
    return w.transpose(0, 4, 5, 1, 2, 3).reshape(len(x) * math.prod(size), -1)


def transposed(f, shape):
    """The transpose of a linear function of arrays of this shape: of its matrix."""
    units = np.eye(math.prod(shape)).reshape(-1, *shape)
    matrix = np.stack([f(unit).ravel() for unit in units])
    return lambda g: (matrix @ g.ravel()).reshape(shape)


def at_places(x, best, size, stride, axes):
    w = strided(x, size, stride, axes)
    return np.take_along_axis(w.reshape(*w.shape[:4], -1), best[..., None], -1)[..., 0]


def places(shape, n):
    """A place in each window."""
    return np.random.default_rng(4).integers(0, n, shape)


# size, stride, dilation: tiles, overlaps, gaps, windows that are not square
WAYS = [
    ((2, 2), (2, 2), (1, 1)), ((3, 2), (1, 2), (1, 1)), ((2, 1), (3, 2), (1, 1)),
    ((2, 3), (1, 1), (2, 1)), ((1, 1), (1, 1), (1, 1)),
]  # fmt: skip

CASES = [
    Case("add", table.add, np.add, (at(3, 5), at(3, 5, seed=2))),
    Case("add", table.add, np.add, (at(2, 1, 5), at(3, 1))),
    Case("sub", table.sub, np.subtract, (at(3, 5), at(5))),
    Case("mul", table.mul, np.multiply, (at(3, 5), at(2, 1, 5))),
    Case("mul", table.mul, np.multiply, (at(), at(3))),
    Case("truediv", table.div, np.divide, (at(3, 5), positive(3, 1))),
    Case("neg", table.neg, np.negative, (at(3, 5),)),
    *(
        Case("power", lambda x, n=n: x**n, lambda x, n=n: x**n, (positive(3, 5),))
        for n in (2, 3, 0.5, -1, 1, 0, 2.5)
    ),
    Case("power", lambda x: x**3, lambda x: x**3, (at(3, 5),)),
    Case("pow", table.float_power, np.power, (positive(3, 5), at(5))),
    Case("pow", lambda b: 2.0**b, lambda b: 2.0**b, (at(3, 5),)),
    Case("exp", table.exp, np.exp, (at(3, 5),)),
    Case("log", table.log, np.log, (positive(3, 5),)),
    Case("log1p", table.log1p, np.log1p, (positive(3, 5),)),
    Case("expm1", table.expm1, np.expm1, (at(3, 5),)),
    Case("sqrt", table.sqrt, np.sqrt, (positive(3, 5),)),
    Case("sin", table.sin, np.sin, (at(3, 5),)),
    Case("cos", table.cos, np.cos, (at(3, 5),)),
    Case("tanh", table.tanh, np.tanh, (at(3, 5),)),
    Case("erfc", table.erfc, np.vectorize(math.erfc), (at(3, 5),)),
    Case("erf", table.erf, np.vectorize(math.erf), (at(3, 5),)),
    *(Case(name, getattr(table, name), getattr(np, name), (x,))
      for name, x in (("log2", positive(3, 5)), ("log10", positive(3, 5)), ("tan", at(3, 5) * 0.7),
                      ("arcsin", at(3, 5) * 0.45), ("arccos", at(3, 5) * 0.45),
                      ("arctan", at(3, 5)), ("sinh", at(3, 5)), ("cosh", at(3, 5)),
                      ("arcsinh", at(3, 5)), ("trunc", apart(3, 5)))),
    *(Case(name, getattr(table, name), getattr(np, name), (at(3, 5), positive(5) * side))
      for name in ("arctan2", "hypot") for side in (1, -1)),
    Case("fmod", table.fmod, np.fmod, (at(3, 5), positive(5) + 0.1)),
    Case("absolute", table.abs, np.abs, (apart(3, 5),)),
    Case("sign", table.sign, np.sign, (apart(3, 5),)),
    Case("floor", table.floor, np.floor, (apart(3, 5),)),
    Case("ceil", table.ceil, np.ceil, (apart(3, 5),)),
    Case("rint", table.round, np.rint, (apart(3, 5),)),
    Case("maximum", table.maximum, np.maximum, (apart(3, 5), apart(3, 5, seed=9)[::-1] + 0.1)),
    Case("minimum", table.minimum, np.minimum, (apart(3, 5), apart(5, seed=9) + 0.1)),
    Case("relu", table.relu, lambda x: np.maximum(x, 0), (apart(3, 5),)),
    Case("clip", lambda x: table.clip(x, -1.0, 1.1), lambda x: np.clip(x, -1, 1.1), (apart(3, 5),)),
    Case("clip", lambda x: table.clip(x, -1.0, None),
         lambda x: np.maximum(x, -1), (apart(3, 5),)),
    Case("clip", lambda x: table.clip(x, None, 1.1), lambda x: np.minimum(x, 1.1), (apart(3, 5),)),
    Case("mod", table.mod, np.mod, (at(3, 5), positive(5) + 2.5)),
    Case("floordiv", table.floordiv, np.floor_divide, (apart(3, 5), positive(5) + 2.5)),
    Case("masked", lambda x: table.masked(x, mask), lambda x: np.where(mask, x, 0.0), (at(3, 5),)),
    Case("masked", lambda x: table.masked(x, mask), lambda x: np.where(mask, x, 0.0), (at(5),)),
    Case("where", partial(table.where, mask), partial(np.where, mask), (at(3, 5), at(5))),
    Case("where", lambda b: table.where(mask, 0.0, b), lambda b: np.where(mask, 0.0, b),
         (at(3, 5),)),
    Case("where", lambda a: table.where(mask, a, 0.0), lambda a: np.where(mask, a, 0.0), (at(5),)),
    *(
        Case("sum", lambda x, o=o: table.sum(x, **o), lambda x, o=o: np.sum(x, **o), (at(2, 3, 5),))
        for o in ({}, {"axis": 1}, {"axis": (0, 2)}, {"axis": -1, "keepdims": True}, {"axis": 0})
    ),
    Case("sum", lambda x: table.sum(x, 1), lambda x: np.sum(x, 1), (at(3, 5),)),
    Case("sum", lambda x: table.sum(x, 0), lambda x: np.sum(x, 0), (at(3, 5),)),
    Case("sum", lambda x: table.sum(x, 1, True), lambda x: np.sum(x, 1, keepdims=True),
         (at(3, 5),)),
    *(
        Case(name, lambda x, f=f, o=o: f(x, **o), lambda x, g=g, o=o: g(x, **o), (apart(2, 3, 5),))
        for name, f, g in (("amax", table.amax, np.max), ("amin", table.amin, np.min))
        for o in ({}, {"axis": 1}, {"axis": (0, 2)}, {"axis": -1, "keepdims": True})
    ),
    Case("cumsum", lambda x: table.cumsum(x, 1), lambda x: np.cumsum(x, 1), (at(2, 3, 5),)),
    Case("cumprod", lambda x: table.cumprod(x, 1), lambda x: np.cumprod(x, 1), (at(2, 3, 5),)),
    Case("cumprod", lambda x: table.cumprod(x, 0), lambda x: np.cumprod(x, 0),
         (np.array([2.0, 0.0, 3.0, 0.0, 5.0]),)),
    Case("prod", table.prod, lambda x: np.prod(x, -1), (at(3, 5),)),
    Case("prod", table.prod, lambda x: np.prod(x, -1),
         (np.array([[2.0, 0.0, 5.0], [0.0, 0.0, 3.0]]),)),
    Case("norm", table.norm, np.linalg.norm, (at(3, 5),)),
    Case("norm", lambda x: table.norm(x, 1, True),
         lambda x: np.linalg.norm(x, axis=1, keepdims=True), (at(2, 3, 5),)),
    *(
        Case("matmul", table.matmul, np.matmul, (at(*a), at(*b, seed=7)))
        for a, b in (
            ((3,), (3,)), ((3,), (3, 5)), ((2, 3), (3,)), ((2, 3), (3, 5)),
            ((5, 2, 3), (3,)), ((3,), (5, 3, 2)), ((5, 2, 3), (3, 2)),
            ((2, 3), (5, 3, 2)), ((5, 2, 3), (5, 3, 2)), ((2, 1, 2, 3), (5, 3, 2)),
        )
    ),
    Case("inner", table.inner, np.inner, (at(2, 3), at(5, 3))),
    *(
        Case("einsum", partial(functions.einsum, spec), partial(np.einsum, spec),
             tuple(at(*s, seed=i) for i, s in enumerate(shapes)))
        for spec, shapes in (
            ("ij,jk->ik", ((2, 3), (3, 5))), ("bij,bjk->bik", ((2, 3, 5), (2, 5, 3))),
            ("ij->j", ((3, 5),)), ("ij->", ((3, 5),)), ("iji->j", ((3, 5, 3),)),
            ("i,j->ij", ((3,), (5,))), ("iiij->j", ((3, 3, 3, 2),)), ("ii", ((3, 3),)),
            ("ij,ij->i", ((3, 5), (3, 5))), ("ijk,k->j", ((2, 3, 5), (5,))),
            ("...i,i->...", ((2, 3, 5), (5,))), ("ij,jk,kl->il", ((2, 3), (3, 5), (5, 2))),
            ("...ij,...jk->...ik", ((2, 1, 3, 2), (5, 2, 3))),
            ("i,j->i", ((3,), (5,))), ("ij,kj", ((2, 3), (5, 3))),
            ("ij,jk->ik", ((2, 1), (3, 5))), ("ij,jk->ik", ((2, 3), (1, 5))),
            ("ij,jk->ik", ((1, 3), (3, 1))), ("ij,ij->i", ((2, 1), (2, 3))),
            ("bij,bjk,bk->bi", ((2, 3, 1), (1, 5, 2), (2, 2))), ("ii,i->i", ((3, 3), (1,))),
            ("...i,...i->...", ((1, 2, 1), (5, 1, 3))), ("ij,kj->k", ((0, 3), (2, 1))),
            ("ij,ij->", ((2, 1), (1, 3))), ("i,i->", ((1,), (3,))), ("ij,ij", ((0, 3), (1, 3))),
        )
    ),
    Case("reshape", lambda x: x.reshape(5, 6), lambda x: x.reshape(5, 6), (at(2, 3, 5),)),
    Case("transpose", lambda x: table.transpose(x, (1, 2, 0)), lambda x: np.transpose(x, (1, 2, 0)),
         (at(2, 3, 5),)),
    Case("mT", table.mT, np.matrix_transpose, (at(2, 3, 5),)),
    *(
        Case("transpose", partial(functions.einsum, spec), partial(np.einsum, spec), (at(3, 5, 2),))
        for spec in ("ijk->kij", "i...->...i", "ijk->ijk")
    ),
    *(
        Case("diagonal", partial(functions.einsum, spec), partial(np.einsum, spec), (at(*shape),))
        for spec, shape in (("ii->i", (3, 3)), ("iji->ji", (3, 5, 3)), ("iijj->ij", (3, 3, 2, 2)))
    ),
    *(
        Case("diagonal", lambda x, o=o: functions.diagonal(x, *o), lambda x, o=o: x.diagonal(*o),
             (at(2, 3, 5),))
        for o in ((), (1,), (-1, 1, 2), (2, -1, 0), (-4, 1, 0))
    ),
    *(
        Case("flip", lambda x, a=a: table.flip(x, a), lambda x, a=a: np.flip(x, a), (at(2, 3, 5),))
        for a in ((0,), (1, -1), ())
    ),
    Case("broadcast_to", lambda x: table.broadcast_to(x, (2, 3, 5)),
         lambda x: np.broadcast_to(x, (2, 3, 5)), (at(3, 1),)),
    Case("copy", table.copy, np.copy, (at(3, 5),)),
    Case("astype", lambda x: table.astype(x, np.float64), lambda x: x, (at(3, 5),)),
    *(
        Case("getitem", lambda x, i=i: x[i], lambda x, i=i: x[i], (at(3, 5),))
        for i in (
            1, -1, (0, 2), slice(1, None), (slice(None), slice(None, None, 2)), Ellipsis,
            (None, slice(1, 3)), (Ellipsis, 0), rows, (rows, columns), (slice(None), columns),
            (rows[:, None], columns), (rows, slice(1, 3)), mask, (mask[:, 0],), [0, 0, 1],
            slice(None, None, -1), (np.array(1), slice(None)),
        )
    ),
    Case("scatter", lambda x: table.scatter(x, rows, columns, index=(SLOT, SLOT), shape=(3, 5)),
         lambda x: scattered(x, (rows, columns), (3, 5)), (at(5),)),
    Case("scatter", lambda x: table.scatter(x, index=(slice(1, 3),), shape=(3, 5)),
         lambda x: scattered(x, (slice(1, 3),), (3, 5)), (at(2, 5),)),
    Case("put", lambda x, v: table.put(x, v, index=(slice(1, 3),)),
         lambda x, v: written(x, v, slice(1, 3)), (at(3, 5), at(5))),
    Case("put", lambda x, v: table.put(x, v, np.array([0, 2]), index=(SLOT,)),
         lambda x, v: written(x, v, [0, 2]), (at(3, 5), at(2, 5))),
    Case("concatenate", lambda *x: table.concatenate(*x, axis=1),
         lambda *x: np.concatenate(x, 1), (at(2, 3), at(2, 5), at(2, 2))),
    Case("concatenate", lambda *x: table.concatenate(*x, axis=-1),
         lambda *x: np.concatenate(x, -1), (at(2, 3), at(2, 5))),
    Case("stack", lambda *x: table.stack(*x, axis=1), lambda *x: np.stack(x, 1),
         (at(3, 5), at(3, 5, seed=4))),
    Case("stack", lambda *x: table.stack(*x, axis=-1), lambda *x: np.stack(x, -1),
         (at(3, 5), at(3, 5, seed=4))),
    Case("pad", lambda x: table.pad(x, ((1, 0), (2, 3)), 7.0),
         lambda x: np.pad(x, ((1, 0), (2, 3)), constant_values=7.0), (at(3, 5),)),
    Case("sliding_windows", lambda x: table.sliding_windows(x, (2, 3), (1, 2)),
         lambda x: windows(x, (2, 3), (1, 2)), (at(2, 3, 5),)),
    Case("overlap_add", lambda x: table.overlap_add(x, (2, 3, 5), (2, 3), (1, 2)),
         lambda x: overlapped(x, (2, 3, 5), (2, 3)), (at(2, 2, 3, 2, 3),)),
    *(
        Case("im2col", lambda x, w=way: table.im2col(x, *w), lambda x, w=way: columns_of(x, *w),
             (at(2, 5, 6, 3),))
        for way in WAYS
    ),
    *(
        Case("col2im", lambda x, w=way: table.col2im(x, (2, 5, 3, 2), *w),
             transposed(lambda x, w=way: columns_of(x, *w), (2, 5, 3, 2)),
             (at(*columns_of(np.zeros((2, 5, 3, 2)), *way).shape),))
        for way in WAYS
    ),
    *(
        Case(name, lambda x, f=f, o=(size, stride, axes): f(x, *o),
             lambda x, g=g, o=(size, stride, axes): g(strided(x, *o), (4, 5)), (apart(*shape),))
        for name, f, g in (
            ("max_pool", table.max_pool, np.max), ("sum_pool", table.sum_pool, np.sum)
        )
        for axes, shape in (((2, 3), (2, 3, 5, 3)), ((1, 2), (3, 5, 3, 2)))
        for size, stride, dilation in WAYS if dilation == (1, 1)
    ),
    *(
        Case("sum_unpool", lambda x, o=o: table.sum_unpool(x, (2, 3, 5, 3), *o),
             transposed(lambda x, o=o: strided(x, *o).sum((4, 5)), (2, 3, 5, 3)),
             (at(*strided(np.zeros((2, 3, 5, 3)), *o).shape[:4]),))
        for size, stride, dilation in WAYS if dilation == (1, 1)
        for o in [(size, stride, (2, 3))]
    ),
    *(
        case
        for size, stride, dilation in WAYS if dilation == (1, 1)
        for o in [(size, stride, (2, 3))]
        for shape in [strided(np.zeros((2, 3, 5, 3)), *o).shape[:4]]
        for best in [places(shape, math.prod(size))]
        for case in [
            Case("take_in_windows", lambda x, b=best, o=o: table.take_in_windows(x, b, *o),
                 lambda x, b=best, o=o: at_places(x, b, *o), (at(2, 3, 5, 3),)),
            Case("put_in_windows",
                 lambda x, b=best, o=o: table.put_in_windows(x, b, (2, 3, 5, 3), *o),
                 transposed(lambda x, b=best, o=o: at_places(x, b, *o), (2, 3, 5, 3)),
                 (at(*shape),)),
        ]
    ),
]  # fmt: skip

IDS = [f"{i}-{case.id}" for i, case in enumerate(CASES)]


def leaves(arrays):
    return [tg.tensor(a, requires_grad=True) for a in arrays]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_value_is_numpys(case):
    ours = case.ours(*leaves(case.inputs))
    wanted = case.numpy(*case.inputs)
    assert ours.shape == wanted.shape
    np.testing.assert_allclose(ours.detach().numpy(), wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_gradient_is_the_difference(case):
    xs = leaves(case.inputs)
    y = case.ours(*xs)
    w = incoming(y.shape)
    y.backward(w)
    for i, x in enumerate(xs):
        wanted = jacobian_product(case.numpy, case.inputs, i, w)
        assert x.grad.shape == x.shape and x.grad.dtype == x.dtype
        np.testing.assert_allclose(x.grad.numpy(), wanted, rtol=1e-6, atol=2e-8)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_second_gradient_is_the_difference_of_the_first(case):
    """d/dx and d/dw of Σ v·(∂ Σ w·f/∂x), with v, w different in every element."""
    xs = leaves(case.inputs)
    w = tg.tensor(incoming(case.numpy(*case.inputs).shape), requires_grad=True)
    first = grad(case.ours(*xs), xs, w, create_graph=True, allow_unused=True)
    weights = [incoming(x.shape, seed=i + 5) for i, x in enumerate(xs)]

    def weighed(*arrays):
        *inputs, seed = arrays
        ys = leaves(inputs)
        slopes = grad(case.ours(*ys), ys, tg.tensor(seed), allow_unused=True)
        return sum(np.sum(v * g.numpy()) for v, g in zip(weights, slopes) if g is not None)

    live = [(g, v) for g, v in zip(first, weights) if g is not None and g.requires_grad]
    second = grad(
        [g for g, _ in live], [*xs, w], [tg.tensor(v) for _, v in live], allow_unused=True
    ) if live else [None] * (len(xs) + 1)  # fmt: skip
    arrays = [*case.inputs, w.detach().numpy()]
    for i, g in enumerate(second):
        wanted = jacobian_product(weighed, arrays, i, 1.0)
        found = np.zeros_like(wanted) if g is None else g.numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_create_graph_gives_the_same_first_gradient(case):
    xs = leaves(case.inputs)
    y = case.ours(*xs)
    w = tg.tensor(incoming(y.shape))
    plain = grad(y, xs, w)
    recorded = grad(y, xs, w, create_graph=True)
    for a, b in zip(plain, recorded):
        np.testing.assert_array_equal(a.numpy(), b.detach().numpy())


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_jvp_is_the_difference_along_a_direction(case):
    xs = tuple(tg.tensor(a) for a in case.inputs)
    directions = tuple(tg.tensor(incoming(x.shape, seed=8)) for x in xs)
    _, pushed = jvp(case.ours, xs, directions)
    h = 1e-6
    ends = [
        case.numpy(*(x.numpy() + s * d.numpy() for x, d in zip(xs, directions))) for s in (h, -h)
    ]
    wanted = (ends[0] - ends[1]) / (2 * h)
    np.testing.assert_allclose(pushed.numpy(), wanted, rtol=1e-6, atol=1e-7)


def test_no_rule_lacks_a_case():
    rules = {f.op.name for f in vars(table).values() if hasattr(f, "op") and f.op.differentiable}
    assert rules == {case.name for case in CASES}


def test_every_case_runs_the_rule_that_it_is_named_after():
    for case in CASES:
        y = case.ours(*leaves(case.inputs))
        names, stack = set(), [y]
        while stack:
            node = stack.pop()
            if node.inputs:
                names.add(node.op.name)
                stack.extend(node.inputs)
        assert case.name in names, case.id


WRONG = {
    "exp": rule.rule(np.exp, lambda g, y: g * y * 1.01),
    "mul": rule.rule(operator.mul, lambda g, b: g * b, lambda g, b: g * b),
    "sin": rule.rule(np.sin, lambda g, y: g * y),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_caught_and_named(name):
    wrong = WRONG[name]
    xs = tuple(leaves(at(3, seed=i) for i in range(len(wrong.op.gradients))))
    with pytest.raises(
        GradcheckError, match=rf"rule of '{wrong.op.name}' is wrong for operand"
    ) as e:
        gradcheck(lambda *x: (wrong(*x) * 2.0).sum(), xs)
    assert "input" in str(e.value) and "backward gives" in str(e.value)
    assert not gradcheck(wrong, xs, raise_exception=False)


def test_a_rule_that_is_wrong_only_in_second_order_is_caught():
    """The slope of sin, given as a constant of the graph, has no slope of its own."""
    wrong = rule.rule(np.sin, lambda g, x: g * cut(table.cos(x)))

    def cut(x):
        return x.detach() if isinstance(x, tg.Tensor) else x

    x = tg.tensor(at(3), requires_grad=True)
    assert gradcheck(wrong, x)
    with pytest.raises(GradcheckError):
        gradgradcheck(wrong, x)


def test_gradcheck_says_that_a_point_sits_on_a_kink():
    x = tg.tensor([0.0, 1.0], requires_grad=True)
    with pytest.raises(GradcheckError, match="sits on a kink: the slope is 0 from the left and 1"):
        gradcheck(lambda x: x.relu() * 1.0, x)


def test_vjp_and_jvp_are_transposes():
    """⟨v, J·u⟩ = ⟨vᵀJ, u⟩."""
    f = lambda x: (x.softmax(1) @ x.T).exp()  # noqa: E731
    x, u, v = (tg.tensor(at(*s, seed=i)) for i, s in enumerate([(3, 5), (3, 5), (3, 3)]))
    left = (v * jvp(f, x, u)[1]).sum()
    right = (vjp(f, x, v)[1] * u).sum()
    np.testing.assert_allclose(left.item(), right.item(), rtol=1e-12)


def test_a_tensor_that_is_no_operand_of_a_rule_is_refused():
    weigh = tg.rule(lambda x, m: m * x, lambda g, m: m * g, name="weigh")
    x, m = tg.ones(2, requires_grad=True), tg.tensor([3.0, 5.0])
    assert tg.autograd.grad(weigh(x, m.numpy()).sum(), x)[0].tolist() == [3.0, 5.0]
    for call in (lambda: weigh(x, m), lambda: weigh(x, m=m), lambda: tg.trace(weigh, x, m),
                 lambda: tg.vmap(lambda x: weigh(x, m))(tg.ones(3, 2))):  # fmt: skip
        with pytest.raises(TypeError, match="weigh: got a Tensor for m, a setting"):
            call()
    scaled = tg.rule(lambda x: x * m, lambda g: g, name="scaled")
    with pytest.raises(TypeError, match="scaled: forward gave a Tensor"):
        scaled(x)


def matrix_product(a, b):
    return a @ b


TWO = ((3, 2), (2, 4))
FOUR = ((4,),)


@pytest.mark.parametrize(
    ("make", "shapes", "error", "said"),
    [
        # the rule
        (lambda: tg.rule(np.square), FOUR, TypeError, "square: the rule has no gradient; wanted"),
        (lambda: tg.rule(abs, *[lambda g: g] * 3), FOUR, TypeError,
         "abs: 3 gradients are more than forward has operands, 2"),
        (lambda: tg.rule(lambda x: x, *[lambda g: g] * 2, name="same"), FOUR, TypeError,
         "same: 2 gradients are more than forward has operands, 1"),
        (lambda: tg.rule(3, lambda g: g), FOUR, TypeError, "rule: forward is an int; wanted a"),
        (lambda: tg.rule(np.exp, 3), FOUR, TypeError, "exp: a gradient reads g, then any of"),
        # forward
        (lambda: tg.rule(lambda x: None, lambda g: g, name="none"), FOUR, TypeError,
         "none on shape (4,): forward gave None; wanted an array"),
        (lambda: tg.rule(lambda x, n=2: [x.sum()] * n, lambda g: g, name="some"), FOUR, TypeError,
         "some on shape (4,): forward gave [np.float32(10.0), np.float32(10.0)]; wanted an array"),
        (lambda: tg.rule(lambda *xs: {}, lambda g: g, name="some"), TWO, TypeError,
         "some on shapes (3, 2) and (2, 4): forward gave {}; wanted an array"),
        # what a gradient gives
        (lambda: tg.rule(np.square, lambda g: 3), FOUR, TypeError,
         "square: the gradient for operand 0, x of shape (4,), is 3; wanted an array of the oper"),
        (lambda: tg.rule(np.square, lambda g: None), FOUR, TypeError, "shape (4,), is None;"),
        (lambda: tg.rule(np.square, lambda g: g[:2]), FOUR, ValueError,
         "operand 0, x of shape (4,), has shape (2,); wanted the operand's"),
        (lambda: tg.rule(lambda x: x.sum(), lambda g: g, name="total"), FOUR, ValueError,
         "total: the gradient for operand 0, x of shape (4,), has shape (); wanted the operand's"),
        (lambda: tg.rule(lambda x, n=2: n * x.sum(), lambda g: g, name="total"), FOUR, ValueError,
         "total: the gradient for operand 0, x of shape (4,), has shape (); wanted the operand's"),
        (lambda: tg.rule(matrix_product, lambda g, a: a.T @ g, lambda g, b: g @ b.T), TWO,
         ValueError, "matrix_product: the gradient for operand 0, a of shape (3, 2), has shape "
         "(2, 4): that of operand 1; wanted the operand's"),
        (lambda: tg.rule(lambda *xs: xs[0] @ xs[1], lambda g: g, name="dots"), TWO, ValueError,
         "dots: the gradient for operand 0, *xs of shape (3, 2), has shape (3, 4); wanted"),
        # what it fails at
        (lambda: tg.rule(matrix_product, lambda g, b: g @ b, lambda g, a: a.T @ g), TWO, ValueError,
         "matrix_product: the gradient for operand 0, a of shape (3, 2), cannot be computed from g "
         "of shape (3, 4): matmul: "),
        (lambda: tg.rule(np.square, lambda g: g.sum(3)), FOUR, IndexError,
         "cannot be computed from g of shape (4,): axis 3 is out of bounds"),
        (lambda: tg.rule(np.square, lambda g: g + "1"), FOUR, TypeError, "from g of shape (4,): "),
        (lambda: tg.rule(np.square, lambda g: g.sin()), FOUR, AttributeError, "no attribute 'sin'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_rule_of_ones_own_is_told_with_its_name(make, shapes, error, said):
    xs = [tg.tensor(np.arange(1.0, 1 + math.prod(s), dtype=np.float32).reshape(s),
                    requires_grad=True) for s in shapes]  # fmt: skip
    with pytest.raises(error) as found:
        make()(*xs).sum().backward()
    assert said in str(found.value)


def test_gradients_of_ones_own_may_be_summed_and_read_shapes_and_numbers():
    """Those of broadcast operands, without the sizes of 1 in front, by `shapes` and `i`."""
    asked = []

    def part(g, shapes, i):
        asked.append((shapes, i))
        before = sum(shape[0] for shape in shapes[:i])
        return g[before : before + shapes[i][0]]

    join = tg.rule(lambda *xs: np.concatenate(xs), part, name="join")
    a, b = tg.ones(2, requires_grad=True), tg.ones(3, requires_grad=True)
    join(a, b).backward(tg.arange(5.0))
    assert [x.grad.tolist() for x in (a, b)] == [[0.0, 1.0], [2.0, 3.0, 4.0]]
    assert asked == [([(2,), (3,)], 0), ([(2,), (3,)], 1)]
    plus = tg.rule(lambda x, y: x + y, lambda g: g, lambda g: g.sum(0), name="plus")
    rows, row = tg.ones(4, 1, 3, requires_grad=True), tg.ones(1, 1, 3, requires_grad=True)
    plus(rows, row).sum().backward()
    assert row.grad.tolist() == [[[4.0, 4.0, 4.0]]] and rows.grad.shape == (4, 1, 3)
    weighed = tg.rule(lambda x, n: x * n, lambda g, n: g * n, None, name="weighed")
    assert tg.autograd.grad(weighed(a, tg.tensor(3.0)).sum(), a)[0].tolist() == [3.0, 3.0]
    assert tg.rule(lambda x: x * 2, lambda g: g * 2)(3) == 6  # of numbers alone
