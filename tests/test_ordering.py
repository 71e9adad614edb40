"""Medians, quantiles, differences, sums without nan: values are NumPy's, conventions PyTorch's."""

import numpy as np
import pytest

import tinygrad_ce as tg

NAN, INF = float("nan"), float("inf")
X = np.random.default_rng(3).permutation(24).reshape(4, 6) / 7.0
HOLES = np.where(X < 1, NAN, X)


def test_the_median_is_the_lower_of_two_and_has_an_index():
    x = tg.tensor(X)
    assert x.median().item() == np.sort(X.ravel())[11]
    for dim, keepdim in ((0, False), (1, True), (-1, False)):
        found = tg.median(x, dim, keepdim)
        places = np.take(np.argsort(X, dim), (X.shape[dim] - 1) // 2, dim)
        places = np.expand_dims(places, dim) if keepdim else places
        full = places if keepdim else np.expand_dims(places, dim)
        wanted = np.take_along_axis(X, full, dim).reshape(places.shape)
        assert found.indices.tolist() == places.tolist()
        assert found.values.tolist() == wanted.tolist()
        assert repr(found).startswith("torch.return_types.median(")
    holes = tg.tensor([[1.0, NAN, 0.0], [3.0, 2.0, 1.0]])
    assert np.isnan(holes.median().item())
    assert str(holes.median(1).values.tolist()) == "[nan, 2.0]"
    assert holes.median(1).indices.tolist() == [1, 1]
    assert np.isnan(tg.tensor([]).median().item())
    assert tg.tensor(5.0).median(0).values.shape == ()


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantiles_are_numpys(interpolation):
    for q in (0.0, 0.3, 1.0, [0.25, 0.5]):
        for dim, keepdim in ((None, False), (None, True), (0, False), (1, True)):
            found = tg.quantile(tg.tensor(X), q, dim, keepdim, interpolation=interpolation)
            wanted = np.quantile(X, q, axis=dim, keepdims=keepdim, method=interpolation)
            np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-13)
    share = tg.tensor([0.5], dtype=tg.float64)
    assert tg.tensor(X).quantile(share, interpolation=interpolation).shape == (1,)
    assert np.isnan(tg.tensor([1.0, NAN]).quantile(0.0).item())
    assert tg.tensor([2.0]).quantile(0.5, 0, True).shape == (1,)


def test_what_is_no_number_is_left_out_or_replaced():
    x = tg.tensor(HOLES)
    for dim in (None, 0, 1):
        np.testing.assert_allclose(x.nansum(dim).numpy(), np.nansum(HOLES, dim), rtol=1e-13)
        np.testing.assert_allclose(tg.nanmean(x, dim).numpy(), np.nanmean(HOLES, dim), rtol=1e-13)
    edges = np.array([NAN, INF, -INF, 2.0], np.float32)
    for more in ({}, {"nan": 1.0, "posinf": 5.0, "neginf": -5.0}):
        wanted = np.nan_to_num(edges, **more).tolist()
        assert tg.nan_to_num(tg.tensor(edges), **more).tolist() == wanted
    assert tg.tensor([1, 2]).nan_to_num().tolist() == [1, 2]


def test_differences_and_joins_are_numpys():
    x, first = tg.tensor(X), X[:, :1]
    for n, dim in ((0, -1), (1, -1), (2, 0), (5, 1)):
        np.testing.assert_array_equal(tg.diff(x, n, dim).numpy(), np.diff(X, n, dim))
    found = x.diff(prepend=tg.tensor(first), append=tg.tensor(first))
    np.testing.assert_array_equal(found.numpy(), np.diff(X, prepend=first, append=first))
    assert tg.diff(tg.tensor([True, False, False])).tolist() == [True, False]
    columns = tg.column_stack((tg.tensor(X[0]), tg.tensor(X[1]), tg.tensor(X.T)))
    assert columns.tolist() == np.column_stack((X[0], X[1], X.T)).tolist()
    a, b = tg.broadcast_tensors(tg.tensor(X[:, :1]), tg.tensor(X[0]))
    assert [a.tolist(), b.tolist()] == [y.tolist() for y in np.broadcast_arrays(X[:, :1], X[0])]


def test_gradients_go_to_the_elements_that_were_chosen():
    x = tg.tensor([4.0, 1.0, 3.0, 8.0], requires_grad=True)
    for function, wanted in [
        (lambda x: x.median(), [0, 0, 1, 0]),
        (lambda x: x.median(0).values, [0, 0, 1, 0]),
        (lambda x: x.quantile(0.25), [0, 0.25, 0.75, 0]),
        (lambda x: (x.diff() * tg.tensor([1.0, 10.0, 100.0])).sum(), [-1, -9, -90, 100]),
        (lambda x: tg.where(x > 3, NAN, x).nanmean(), [0, 0.5, 0.5, 0]),
    ]:
        (g,) = tg.autograd.grad(function(x), x)
        assert g.tolist() == wanted


@pytest.mark.parametrize(("call", "words"), [
    (lambda: tg.tensor([]).median(0), r"median: shape \(0,\) has no elements"),
    (lambda: tg.ones(2).quantile(2.0), "quantile: q=2.0; wanted a number from 0 to 1"),
    (lambda: tg.ones(2).quantile(0.3, interpolation="up"), "interpolation='up'; wanted one of"),
    (lambda: tg.tensor(1.0).diff(), r"diff: n=1, shape \(\); wanted"),
    (lambda: tg.broadcast_tensors(tg.ones(2), tg.ones(3)), r"\(2,\), \(3,\)\] do not broadcast"),
])  # fmt: skip
def test_what_has_no_answer_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
