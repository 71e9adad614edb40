"""Operations along a dimension of a tensor that has none: PyTorch takes it for a row of one."""

import math

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.nn import functional as F

X = 3.0
ZERO = tg.tensor(0)

# f(x, dim) of x = 3: the value and the slope that PyTorch gives for dim 0 and -1.
ALONG = {
    "sum": (lambda x, d: x.sum(d), X, 1),
    "sum of a tuple": (lambda x, d: x.sum((d,)), X, 1),
    "sum, keepdim": (lambda x, d: x.sum([d], keepdim=True), X, 1),
    "mean": (lambda x, d: x.mean(d), X, 1),
    "mean of a tuple": (lambda x, d: x.mean((d,), keepdim=True), X, 1),
    "var": (lambda x, d: x.var(d, correction=0), 0, 0),
    "std": (lambda x, d: x.std((d,), correction=0), 0, 0),
    "amax": (lambda x, d: x.amax((d,)), X, 1),
    "amin": (lambda x, d: x.amin(d, keepdim=True), X, 1),
    "max": (lambda x, d: x.max(d).values, X, 1),
    "max, keepdim": (lambda x, d: x.max(d, keepdim=True)[0], X, 1),
    "max's index": (lambda x, d: x.max(d).indices, 0, None),
    "min": (lambda x, d: x.min(dim=d)[0], X, 1),
    "min's index": (lambda x, d: x.min(d)[1], 0, None),
    "argmax": (lambda x, d: x.argmax(d), 0, None),
    "argmin": (lambda x, d: x.argmin(d, keepdim=True), 0, None),
    "all": (lambda x, d: x.all(d), True, None),
    "any": (lambda x, d: x.any(d), True, None),
    "prod": (lambda x, d: x.prod(d), X, 1),
    "prod, keepdim": (lambda x, d: x.prod(d, keepdim=True), X, 1),
    "cumsum": (lambda x, d: x.cumsum(d), X, 1),
    "cumprod": (lambda x, d: x.cumprod(dim=d), X, 1),
    "norm": (lambda x, d: x.norm(dim=d), X, 1),
    "norm of a tuple": (lambda x, d: x.norm(1, dim=(d,)), X, 1),
    "logsumexp": (lambda x, d: x.logsumexp(d), X, 1),
    "logsumexp of a tuple": (lambda x, d: x.logsumexp((d,)), X, 1),
    "softmax": (lambda x, d: x.softmax(d), 1, 0),
    "F.softmax": (lambda x, d: F.softmax(x, dim=d), 1, 0),
    "log_softmax": (lambda x, d: x.log_softmax(d), 0, 0),
    "sort": (lambda x, d: x.sort(d)[0], X, 1),
    "sort, descending": (lambda x, d: x.sort(d, descending=True).values, X, 1),
    "sort's indices": (lambda x, d: x.sort(d, True)[1], 0, None),
    "argsort": (lambda x, d: x.argsort(d), 0, None),
    "argsort, descending": (lambda x, d: tg.argsort(x, d, descending=True), 0, None),
    "topk": (lambda x, d: x.topk(1, d).values, X, 1),
    "topk's indices": (lambda x, d: x.topk(1, dim=d).indices, 0, None),
    "flip": (lambda x, d: x.flip(d), X, 1),
    "transpose": (lambda x, d: x.transpose(d, 0), X, 1),
    "swapaxes": (lambda x, d: x.swapaxes(-1, d), X, 1),
    "moveaxis": (lambda x, d: x.moveaxis(d, 0), X, 1),
    "squeeze": (lambda x, d: x.squeeze(d), X, 1),
    "gather": (lambda x, d: x.gather(d, ZERO), X, 1),
    "index_select": (lambda x, d: x.index_select(d, ZERO), X, 1),
}
# Without a dimension, or with one that is always there.
ALSO = {
    "mT": (lambda x: x.mT, X, 1),
    "T": (lambda x: x.T, X, 1),
    "t": (lambda x: x.t(), X, 1),
    "sort": (lambda x: x.sort()[0], X, 1),
    "argsort": (lambda x: x.argsort(), 0, None),
    "topk": (lambda x: x.topk(1)[0], X, 1),
    "flip of none": (lambda x: x.flip(()), X, 1),
    "flip of a tuple": (lambda x: x.flip((0,)), X, 1),
    "sum of none": (lambda x: x.sum(()), X, 1),
    "permute of none": (lambda x: x.permute(()), X, 1),
}
CASES = {
    **{f"{name}, {d}": (lambda x, f=f, d=d: f(x, d), *rest)
       for name, (f, *rest) in ALONG.items() for d in (0, -1)},
    **ALSO,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_tensor_without_dimensions_is_a_row_of_one(name):
    f, value, slope = CASES[name]
    x = tg.tensor(X, requires_grad=True)
    for call in (f, tg.compile(f)):
        y = call(x)
        assert y.shape == ()
        np.testing.assert_allclose(y.item(), value, rtol=1e-6)
    if slope is None:
        assert not y.requires_grad
        return
    y = f(x * 1.0)  # a result, not a leaf
    y.backward()
    assert x.grad.shape == ()
    np.testing.assert_allclose(x.grad.item(), slope, atol=1e-6)


@pytest.mark.parametrize("name", ALONG)
@pytest.mark.parametrize("dim", [1, -2])
def test_it_has_no_other_dimension(name, dim):
    with pytest.raises(IndexError, match=rf"(dimension|axis) {dim}\b"):
        ALONG[name][0](tg.tensor(X), dim)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.size(0), lambda x: x.split(1), lambda x: x.chunk(1), lambda x: x.unbind(),
        lambda x: x.tril(), lambda x: x.triu(), lambda x: x @ x, lambda x: x.dot(x),
        lambda x: tg.cat([x, x]), lambda x: x.topk(2), lambda x: x[0], lambda x: x[:],
        lambda x: x.flatten(1), lambda x: x.squeeze(1),
    ],
)  # fmt: skip
def test_what_wants_a_dimension_says_so(call):
    with pytest.raises((IndexError, ValueError)) as refused:
        call(tg.tensor(X))
    assert any(word in str(refused.value) for word in ("dimension", "shape ()", "a number", "topk"))


def test_gather_with_one_index_and_from_one_number():
    """PyTorch's shapes: those of the index."""
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x.gather(0, tg.tensor(1))
    assert y.shape == () and y.item() == 2.0
    assert tg.tensor(5.0).gather(0, tg.tensor([0])).tolist() == [5.0]
    y.backward()
    assert x.grad.tolist() == [0.0, 1.0]


def test_no_dimensions_are_all_of_them():
    """PyTorch's dim=(); NumPy's axis=() is no reduction at all."""
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    for dim in ((), []):
        assert x.sum(dim).item() == 10 and x.mean(dim).item() == 2.5 and x.amax(dim).item() == 4
        assert x.sum(dim, keepdim=True).tolist() == [[10]]
        assert math.isclose(x.var(dim, correction=0).item(), 1.25)
    assert x.sum(axis=()).tolist() == x.tolist()


@pytest.mark.parametrize(
    "name", [n for n in CASES if "index_select" not in n and "gather" not in n]
)
def test_its_listing_gives_the_same(name):
    f, value, _ = CASES[name]
    program = tg.trace(lambda x: f(x * 1.0), tg.tensor(X))
    for level in ("primitive", "formula"):
        names = {}
        exec(program.source(level), names)
        np.testing.assert_allclose(names["function"](np.float32(X)), value, rtol=1e-6)


@pytest.mark.parametrize("new", [tg.ones(2).sum(), np.float32(2.0), 2.0], ids=lambda new: type(new))
def test_new_data_of_a_parameter_without_dimensions_is_updated(new):
    w = tg.tensor(X, requires_grad=True)
    w.data = new
    (w * w).backward()
    tg.optim.SGD([w], lr=0.25).step()
    assert w.item() == 1.0
