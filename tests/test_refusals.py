"""What is refused, in words that say what to write instead, and rare ways through the engine."""

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import func, settings
from tinygrad_ce.autograd import Function, batched
from tinygrad_ce.program.tracing.symbol import TraceError

ROW = tg.tensor([1.0, 2.0, 3.0])
MATRIX = tg.ones((2, 3))
FIRST = tg.tensor([0])


def parameter():
    """A row that requires a gradient."""
    return tg.tensor([1.0, 2.0, 3.0], requires_grad=True)


def differentiated(function):
    """The backward pass of a function of a parameter that has a gradient already."""
    x = parameter()
    x.sum().backward()
    return tg.trace(function, x).backward_source()


def compiled(function):
    """The first call of the compiled function."""
    return tg.compile(function)(tg.tensor([[1.0, 2.0]]))


REFUSED = {
    "backward_source": (
        lambda: differentiated(lambda x: x.sum()), ValueError,
        r"the function calls no backward\(\): write loss.backward\(\) in it$",
    ),
    "backward_source again": (
        lambda: differentiated(lambda x: x.sum().backward()), ValueError,
        "the function keeps no .grad of its own: set the .grad",
    ),
    "arange": (lambda: tg.arange(3, 0), ValueError, "step of 1 does not lead from 3 to 0"),
    "range": (lambda: tg.range(3, 0), ValueError, "step of 1 does not lead from 3 to 0"),
    "linspace": (
        lambda: tg.compile(lambda end: tg.linspace(0.0, end, 3))(1.0), TraceError,
        "linspace: got a Symbol; wanted numbers",
    ),
    "normal": (lambda: tg.normal(0.0, 1.0), TypeError, r"size=\(2, 3\)"),
    "narrow": (lambda: ROW.narrow(0, 2, 2), IndexError, "2 from 2 on along dim 0 of size 3"),
    "unfold": (lambda: ROW.unfold(0, 4, 1), ValueError, "windows that fit"),
    "tensor_split": (lambda: ROW.tensor_split(0), ValueError, "wanted at least 1"),
    "unflatten": (lambda: ROW.unflatten(0, (2, 2)), ValueError, "do not multiply to"),
    "movedim": (lambda: MATRIX.movedim((0, 1), (0,)), ValueError, "each one once"),
    "repeat_interleave": (lambda: ROW.repeat_interleave(-1), ValueError, "none below 0"),
    "roll": (lambda: MATRIX.roll((1, 1), (0,)), ValueError, "2 shifts for 1 dims"),
    "rot90": (lambda: MATRIX.rot90(1, (0, 0)), ValueError, "are the same"),
    "diag": (lambda: tg.ones((1, 1, 1)).diag(), ValueError, "wanted a vector or a matrix"),
    "trace": (lambda: ROW.trace(), ValueError, "wanted a matrix"),
    "take_along_dim": (lambda: MATRIX.take_along_dim(FIRST, 1), ValueError, r"indices have shape"),
    "mv": (lambda: ROW.mv(ROW), ValueError, r"wanted \(n, m\) and \(m,\)"),
    "cross": (lambda: tg.ones(2).cross(tg.ones(2)), ValueError, "wanted size 3"),
    "bincount": (lambda: tg.bincount(ROW), ValueError, "wanted a row of integers"),
    "bincount weights": (lambda: tg.bincount(FIRST, ROW), ValueError, "weights have shape"),
    "histogram": (lambda: tg.histc(ROW, 3, 2, 1), ValueError, "the lower one first"),
    "histc": (lambda: tg.histc(ROW, 0), ValueError, "wanted at least 1"),
    "searchsorted": (
        lambda: tg.searchsorted(ROW, ROW, side="left", right=True), ValueError, "wanted one of",
    ),
    "searchsorted rows": (lambda: tg.searchsorted(MATRIX, ROW), ValueError, "wanted equal rows"),
    "masked_scatter": (
        lambda: ROW.masked_scatter(ROW > 0, tg.ones(2)), ValueError, "3 places, source 2",
    ),
    "scatter index": (lambda: MATRIX.scatter(0, FIRST, 1.0), ValueError, "wanted 2 dimensions"),
    "scatter src": (
        lambda: MATRIX.scatter(0, tg.tensor([[0, 1]]), tg.ones((1, 1))), ValueError,
        "src has shape",
    ),
    "scatter nothing": (lambda: ROW.scatter(0, FIRST), TypeError, r"write x\.scatter\(dim"),
    "scatter reduce": (
        lambda: ROW.scatter(0, FIRST, 1.0, reduce="mean"), ValueError, "'add' or 'multiply'",
    ),
    "scatter twice": (
        lambda: ROW.scatter(0, tg.tensor([0, 0]), parameter()), ValueError,
        "write each element once",
    ),
    "multiply twice": (
        lambda: ROW.scatter(0, tg.tensor([0, 0]), parameter(), reduce="multiply"), ValueError,
        "write each element once",
    ),
    "index_copy": (lambda: ROW.index_copy(0, FIRST, ROW), ValueError, r"source has shape \(3,\)"),
    "div": (lambda: tg.div(ROW, 2, rounding_mode="up"), ValueError, "'floor' or 'trunc'"),
    "default dtype": (lambda: tg.set_default_dtype("real"), TypeError, "wanted float32, float64"),
    "apply_": (lambda: parameter().apply_(abs), RuntimeError, "write a function of it"),
    "no dim": (lambda: ROW.cumsum(None), TypeError, r"write cumsum\(0\)"),
    "out list": (lambda: tg.add(ROW, 1, out=[]), TypeError, "out is list; wanted a Tensor"),
    "out live": (lambda: tg.add(parameter(), 1, out=tg.ones(3)), RuntimeError, "no_grad"),
    "out dtype": (lambda: tg.add(ROW, 1, out=FIRST), TypeError, "does not fit into out"),
    "out shape": (lambda: tg.add(ROW, 1, out=tg.ones(2)), ValueError, r"out has shape \(2,\)"),
    "compiled view": (lambda: compiled(lambda x: x.t_()), TraceError, r"Write x = x\.t\(\)"),
    "compiled cut": (
        lambda: compiled(lambda x: (x * parameter()[0]).detach_()), TraceError,
        r"Write x = x\.detach\(\)",
    ),
    "meshgrid": (lambda: tg.meshgrid(ROW, indexing="yx"), ValueError, "'ij' or 'xy'"),
    "meshgrid vectors": (lambda: tg.meshgrid(MATRIX), ValueError, "wanted vectors"),
    "threads": (lambda: tg.set_num_threads(0), ValueError, "at least 1"),
    "vmap result": (
        lambda: func.vmap(lambda x: 3)(ROW), ValueError, "wanted Tensors, or out_dims=None",
    ),
    "vmap out_dims": (lambda: func.vmap(lambda x: x, out_dims=2)(ROW), IndexError, "out_dims=2"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_refused_in_words(case):
    call, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        call()


def equal(x, wanted):
    """Whether these are the numbers, near enough for float32."""
    np.testing.assert_allclose(x.detach().numpy(), wanted, rtol=1e-6, atol=1e-7)


def test_what_is_not_here_says_no():
    assert tg.accelerator.current_accelerator() is None
    assert tg.accelerator.device_count() == 0
    assert not tg.backends.cuda.is_built()
    assert not tg.backends.cudnn.is_available()
    assert tg.backends.cudnn.version() is None


def test_the_number_of_threads_is_kept(monkeypatch):
    monkeypatch.setitem(settings._set, "threads", None)
    tg.set_num_threads(3)
    assert tg.get_num_threads() == 3


def test_results_are_printed_by_their_names():
    rows = tg.eye(2)
    for printed, names in [
        (tg.max(rows, 0), ("max", "values", "indices")),
        (tg.histogram(ROW, 2), ("histogram", "hist", "bin_edges")),
        (tg.svd(rows), ("svd", "U", "S", "V")),
        (tg.linalg.svd(rows), ("linalg_svd", "U", "S", "Vh")),
        (tg.linalg.qr(rows), ("linalg_qr", "Q", "R")),
        (tg.linalg.eigh(rows), ("linalg_eigh", "eigenvalues", "eigenvectors")),
    ]:
        title, *fields = names
        assert repr(printed).startswith(f"torch.return_types.{title}(\n{fields[0]}=tensor(")
        assert all(f"\n{field}=tensor(" in repr(printed) for field in fields)
    assert repr(tg.FloatTensor) == "<class 'torch.FloatTensor'>"


def test_a_level_of_vmap_has_a_name_and_only_what_a_tracer_has():
    level = batched.Level(3, "error", None)
    assert repr(level) == "vmap of 3"
    with pytest.raises(AttributeError, match="absent"):
        _ = level.absent


class Halves(Function):
    """x/2, saved with a None; its backward gives float64 whatever x is."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(None, x)
        return x / 2

    @staticmethod
    def backward(ctx, g):
        nothing, _ = ctx.saved_tensors
        assert nothing is None
        return (g * 0.5).double()


def test_a_function_may_save_none_and_give_another_dtype():
    x = parameter()
    Halves.apply(x).sum().backward()
    assert x.grad.dtype == tg.float32
    equal(x.grad, [0.5, 0.5, 0.5])


class Powers(Function):
    """x², eˣ and the sign of x: one output is saved, and the last has no gradient."""

    arrived = 0

    @staticmethod
    def forward(ctx, x):
        square, power, sign = x * x, x.exp(), x.sign()
        ctx.save_for_backward(x, power)
        ctx.mark_non_differentiable(sign)
        ctx.set_materialize_grads(False)
        return square, power, sign

    @staticmethod
    def backward(ctx, g, h, last):
        x, power = ctx.saved_tensors
        Powers.arrived = last
        return h * power + g * 2 * x


def test_a_function_of_several_outputs_may_save_one_and_be_given_none():
    x = parameter()
    square, power, sign = Powers.apply(x)
    assert not sign.requires_grad
    (square + power).sum().backward()
    assert Powers.arrived is None
    equal(x.grad, np.exp(ROW.numpy()) + 2 * ROW.numpy())


def test_vmap_gives_what_no_slice_changes_once():
    double, same = func.vmap(lambda x: (2 * x, MATRIX), out_dims=(0, None))(ROW)
    assert double.tolist() == [2, 4, 6]
    assert same is MATRIX


def test_pieces_of_nothing_and_of_tensors():
    number = tg.tensor(5.0)
    assert number.unfold(0, 0, 1).shape == (0,)
    assert number.movedim(0, 0).shape == ()
    found = ROW.tensor_split(tg.tensor([1]))
    assert [part.tolist() for part in found] == [[1.0], [2.0, 3.0]]
    assert ROW.unflatten(0, (3, -1)).shape == (3, 1)
    assert tg.zeros(2, 1).masked_scatter(tg.zeros(2, 1).bool(), tg.zeros(0)).tolist() == [[0], [0]]


def test_cross_finds_the_first_dimension_of_three():
    a, b = np.arange(6.0).reshape(3, 2), np.arange(6.0)[::-1].reshape(3, 2) ** 2
    found = tg.tensor(a).cross(tg.tensor(b.copy()))
    np.testing.assert_allclose(found.numpy(), np.cross(a, b, axis=0))


def test_bins_of_one_number_and_sorted_rows():
    assert tg.histc(tg.tensor([2.0, 2.0]), 2).tolist() == [0, 2]  # from 1 to 3
    order = tg.tensor([2, 0, 1])
    found = tg.searchsorted(tg.tensor([2.0, 3.0, 1.0]), ROW, sorter=order)
    assert found.tolist() == [0, 1, 2]
    rows = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert tg.searchsorted(rows, tg.tensor([[1.5], [5.0]])).tolist() == [[1], [2]]


def test_histogram_between_edges():
    x, edges = np.array([0.5, 1.5, 1.7, 9.0], np.float32), np.array([0.0, 1.0, 2.0], np.float32)
    found = tg.histogram(tg.tensor(x), tg.tensor(edges))
    np.testing.assert_array_equal(found.hist.numpy(), np.histogram(x, edges)[0])


def test_meshgrid_of_a_list_and_singular_values_alone():
    rows, columns = tg.meshgrid([ROW, FIRST])
    assert (rows.shape, columns.tolist()) == ((3, 1), [[0], [0], [0]])
    u, s, v = tg.svd(tg.tensor([[0.0, 2.0], [3.0, 0.0]]), compute_uv=False)
    equal(s, [3.0, 2.0])
    assert not u.any()
    assert not v.any()


def test_scatter_multiplies_and_its_factors_have_gradients():
    index = tg.tensor([0, 0])
    found = tg.tensor([2.0, 3.0]).scatter(0, index, tg.tensor([5.0, 7.0]), reduce="multiply")
    assert found.tolist() == [70, 3]
    factors = tg.tensor([5.0, 7.0], requires_grad=True)
    found = tg.tensor([2.0, 3.0]).scatter(0, tg.tensor([1, 0]), factors, reduce="multiply")
    found.sum().backward()
    assert (found.tolist(), factors.grad.tolist()) == ([14, 15], [3, 2])
    assert ROW.scatter(0, FIRST, 1.0, reduce="add").tolist() == [2, 2, 3]


def test_put_adds_up():
    found = ROW.clone().put_(tg.tensor([0, 0]), tg.tensor([1.0, 1.0]), accumulate=True)
    assert found.tolist() == [3, 2, 3]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_erf_of_many_is_that_of_each(dtype):
    x = np.linspace(-4.0, 4.0, 5001).astype(dtype)
    few = [tg.tensor(v[None]).erf().item() for v in x[::100]]
    np.testing.assert_allclose(tg.tensor(x).erf().numpy()[::100], few, rtol=1e-6)


def test_singular_values_have_the_slopes_of_differences():
    x = tg.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=tg.float64, requires_grad=True)
    assert tg.autograd.gradcheck(tg.linalg.svdvals, (x,))


def test_results_go_into_out():
    values, indices = tg.zeros(2), tg.zeros(2, dtype=tg.int64)
    out = tg.max(tg.tensor([[1.0, 5.0], [7.0, 2.0]]), 1, out=(values, indices))
    assert (values.tolist(), indices.tolist()) == ([5, 7], [1, 0])
    assert out[0] is values
    empty = tg.zeros(0)
    assert tg.add(ROW, 1, out=empty) is empty
    assert empty.tolist() == [2, 3, 4]


def test_a_written_result_without_slope_is_a_constant():
    x = tg.tensor([7.0, 8.0, 9.0])
    x.lt_(parameter())
    assert not x.requires_grad
    assert x.tolist() == [0, 0, 0]
