"""func, vmap and autograd.functional against PyTorch's answers, differences and loops."""

import warnings

import func_cases as cases
import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import func, vmap
from tinygrad_ce.autograd import functional
from tinygrad_ce.nn import functional as F

FROZEN = np.load(cases.FROZEN)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("name", [*cases.SLICES, *cases.TRANSFORMS])
def test_values_are_pytorchs(name, live):
    if live:
        torch = pytest.importorskip("torch")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own
            wanted = cases.answers(torch, name)
    else:
        wanted = [FROZEN[key] for key in FROZEN if key.rpartition("/")[0] == name]
    ours = cases.answers(tg, name)
    assert len(ours) == len(wanted)
    for a, b in zip(ours, wanted):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


# --- against differences ------------------------------------------------------------------------


def test_a_hessian_of_a_network_is_that_of_differences():
    stream = np.random.default_rng(3)
    x, t = stream.standard_normal((6, 3)), stream.standard_normal((6, 2))
    flat = stream.standard_normal(4 * 3 + 2 * 4)

    def loss(w):
        hidden = (tg.tensor(x) @ w[:12].reshape(4, 3).t()).tanh()
        return F.mse_loss(hidden @ w[12:].reshape(2, 4).t(), tg.tensor(t))

    H = func.hessian(loss)(tg.tensor(flat)).numpy()
    g = func.grad(loss)
    h = 1e-5
    for j in range(len(flat)):
        e = h * np.eye(len(flat))[j]
        column = (g(tg.tensor(flat + e)) - g(tg.tensor(flat - e))).numpy() / (2 * h)
        np.testing.assert_allclose(H[:, j], column, rtol=1e-6, atol=1e-8)
    v = stream.standard_normal(len(flat))
    for product in (functional.vhp, functional.hvp):
        np.testing.assert_allclose(product(loss, tg.tensor(flat), tg.tensor(v))[1], H @ v)


def test_gradients_through_a_vmap_are_those_of_differences():
    def f(w, x):
        per_row = vmap(func.grad(lambda row: (w * row).tanh().prod() + (w @ row) ** 3))(x)
        return (per_row**2).sum(0) * w.exp()

    numbers = cases.Numbers(tg)
    inputs = numbers(3, requires_grad=True), numbers(4, 3, requires_grad=True)
    assert tg.autograd.gradcheck(f, inputs)
    assert tg.autograd.gradgradcheck(f, inputs)


# --- at once, not one after another --------------------------------------------------------------


def graph_size(y):
    """How many operations led to a tensor."""
    seen, stack = set(), [y]
    while stack:
        node = stack.pop()
        if node.inputs and id(node) not in seen:
            seen.add(id(node))
            stack += node.inputs
    return len(seen)


@pytest.mark.parametrize("name", cases.SLICES)
def test_an_operation_is_done_to_all_slices_at_once(name):
    """A trace writes each NumPy operation down; what is done slice by slice is stacked."""
    function, *shapes = cases.SLICES[name]

    def both(*args):
        y = vmap(lambda *xs: function(tg, F, *xs))(*args)
        return y.sum(), vmap(func.grad(lambda *xs: function(tg, F, *xs).sum()))(*args)

    stream = np.random.RandomState(1)
    program = tg.trace(both, *(tg.tensor(stream.rand(17, *s) + 0.5) for s in shapes))
    assert len(program.steps) > 1
    assert max(len(step.operands) for step in program.steps) < 17


def test_rows_of_a_jacobian_are_one_pass():
    W = tg.randn(30, 20)
    program = tg.trace(lambda x: func.jacrev(lambda x: (W @ x).tanh())(x), tg.randn(20))
    assert len(program.steps) < 20


def test_per_sample_gradients_keep_a_graph_of_the_same_size():
    numbers = cases.Numbers(tg)
    w, loss = cases.classifier(tg, numbers)
    w = {name: p.requires_grad_() for name, p in w.items()}
    g = [
        vmap(func.grad(loss), in_dims=(None, 0, 0))(w, numbers(n, 3), numbers.ids(3, n))["0.weight"]
        for n in (2, 50)
    ]
    assert g[1].shape == (50, 4, 3) and graph_size(g[0]) == graph_size(g[1])


def test_what_has_no_batch_rule_is_done_slice_by_slice():
    x = cases.Numbers(tg)(4, 3, 3)
    y = vmap(tg.linalg.inv)(x)
    np.testing.assert_allclose(y, np.linalg.inv(x.numpy()))
    g = vmap(func.grad(tg.linalg.det))(x)
    wanted = np.linalg.det(x.numpy())[:, None, None] * np.linalg.inv(x.numpy()).swapaxes(1, 2)
    np.testing.assert_allclose(g, wanted)
