"""x[mask] = v on other engines, and random programs on XLA."""

import numpy as np
import pytest

pytest.importorskip("jax")

import tinygrad_ce as tg
from tests.random_programs import against_eager, training
from tests.test_random_programs import MOST, tried

ROW = [1.0, 2.0, 3.0]


WRITES = {  # what is written in place, and the same by np.where
    "all": (lambda x: ((x > 0,), 2.0), lambda x: np.where(x > 0, 2.0, x)),
    "rows": (lambda x: ((x[:, 0] > 0,), tg.tensor(ROW)),
             lambda x: np.where(x[:, :1] > 0, ROW, x)),
    "a row for all": (lambda x: ((x[:, 0] > 0,), tg.tensor([ROW])),
                      lambda x: np.where(x[:, :1] > 0, ROW, x)),
    "more axes than there are": (lambda x: ((x[:, 0] > 0,), tg.tensor([[ROW]])),
                                 lambda x: np.where(x[:, :1] > 0, ROW, x)),
    "columns": (lambda x: ((slice(None), x[0] > 0), tg.tensor([[1], [2], [3], [4]])),
                lambda x: np.where(x[:1] > 0, np.arange(1.0, 5.0)[:, None], x)),
    "the last axis": (lambda x: ((..., x[0] > 0), -1.0), lambda x: np.where(x[:1] > 0, -1.0, x)),
    "one column": (lambda x: ((x[:, 0] > 0, 1), 7.0),
                   lambda x: np.where((x[:, :1] > 0) & (np.arange(3) == 1), 7.0, x)),
    "some columns": (lambda x: ((x[:, 0] > 0, slice(None, 2)), x[0, :2]),
                     lambda x: np.where((x[:, :1] > 0) & (np.arange(3) < 2), x[:1], x)),
    "an axis of 1": (lambda x: ((x > 0, None), 5.0), lambda x: np.where(x > 0, 5.0, x)),
    "an axis of 1 before it": (lambda x: ((None, x[:, 0] > 0, slice(1, None)), 5.0),
                     lambda x: np.where((x[:, :1] > 0) & (np.arange(3) >= 1), 5.0, x)),
}  # fmt: skip


def written(name):
    """The function of a Tensor, and the one of an array."""
    places, by_hand = WRITES[name]

    def function(x):
        y, (index, values) = x * 1, places(x)
        y[index] = values
        return y

    return function, by_hand


x = np.random.default_rng(0).standard_normal((4, 3))


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_a_computed_mask_picks_is_written_on_xla(name, dtype):
    function, by_hand = written(name)
    step = tg.compile(function, engine="jax")
    for given in (x, -x, np.abs(x), -np.abs(x), x[::-1].copy()):
        y = step(tg.tensor(given.astype(dtype)))
        np.testing.assert_array_equal(y.numpy(), by_hand(given.astype(dtype)).astype(dtype))


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("batch", ["batch", None])
def test_and_in_a_file_of_onnx(name, batch, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    batch = None if name == "columns" else batch  # it has a number for each of the four rows
    function, by_hand = written(name)
    tg.export(function, tg.tensor(x), tmp_path / "model.onnx", batch=batch)
    session = ort.InferenceSession(tmp_path / "model.onnx")
    for given in (x, -x) if batch is None else (x, -x[:1], np.tile(x, (3, 1))):
        (y,) = session.run(None, {session.get_inputs()[0].name: given})
        np.testing.assert_array_equal(y, by_hand(given))


def test_gradients_pass_by_what_was_overwritten():
    w = tg.tensor(x, requires_grad=True)

    def loss(factor):
        y = w * factor
        y[y > 0.5] = 3.0
        y[y[:, 0] > 0] = y.detach()[0] * 2
        return (y**3).sum()

    def gradient(function):
        w.grad = None
        function(2.0).backward()
        return w.grad.numpy()

    @tg.compile(engine="jax")
    def step(factor):
        w.grad = None
        value = loss(factor)
        value.backward()
        return value

    wanted = gradient(loss)
    for _ in range(2):
        step(2.0)
        np.testing.assert_allclose(w.grad.numpy(), wanted, 1e-14)


@pytest.mark.parametrize(("index", "values"), [
    (lambda m, n: (m, n), 1.0),
    (lambda m, n: (m, tg.tensor([0])), 1.0),
    (lambda m, n: (m,), tg.ones(2, 2)),
])  # fmt: skip
def test_other_masks_are_refused_with_the_line(index, values, tmp_path):
    pytest.importorskip("onnxruntime")

    def function(x):
        y = x * 1
        y[index(x[:, 0] > 0, x[0] > 0)] = values
        return y

    given = tg.tensor([[1.0, 1.0], [1.0, -1.0]])
    told = r"put.*test_engine_masks.py:\d+ in function.*write where\(mask, values, x\)"
    with pytest.raises(NotImplementedError, match=told):
        tg.compile(function, engine="jax")(given)
    with pytest.raises(tg.ExportError, match=told):
        tg.export(function, given, tmp_path / "model.onnx", batch=None)


def test_one_number_has_an_axis_to_reduce_too():
    def function(x):
        y = x.sum()
        found = [y.sum(0), y.mean(-1), y.max(0)[0], y.amin(0), y.prod(0), y.cumsum(0), y.sort(0)[0]]
        found += [y.argmax(0), y.argmin(-1), y.any(0), y.all(0), y.softmax(0), y.logsumexp(0)]
        return tg.stack([f.double() for f in found])

    y = tg.compile(function, engine="jax")(tg.tensor(x))
    np.testing.assert_allclose(y.numpy(), function(tg.tensor(x)).numpy(), 1e-14)


def test_random_programs_on_xla():
    refused = tried(training, lambda p: against_eager(p, "@tg.compile(engine='jax')"), 12)
    assert sum(refused.values()) - refused[""] <= MOST * sum(refused.values()), refused
