"""Semantics of Tensor and of the chain rule: what a user of NumPy and PyTorch relies on."""

import copy
import gc
import io
import linecache
import pickle
import sys
import threading
import weakref

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.engine import chain
from tinygrad_ce.engine.frame import current, source_lines
from tinygrad_ce.nn import functional as F


def leaf(*values):
    return tg.tensor(list(values), requires_grad=True)


# --- dtypes and creation ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.0, np.float32),
        ([1.0, 2.0], np.float32),
        ([1, 2], np.int64),
        ([True], np.bool_),
        (np.ones(2), np.float64),
        (np.ones(2, np.float32), np.float32),
        (np.float64(1.0), np.float64),
        ([np.float64(1.0)], np.float64),
        (np.arange(3, dtype=np.int8), np.int8),
        ([], np.float32),
    ],
)
def test_dtypes_of_data(data, dtype):
    assert tg.tensor(data).dtype == dtype


def test_python_numbers_never_widen():
    x = tg.tensor([1.0])
    for y in (x * 2, 2 * x, x / 3, x**2, x**0.5, x + 1.5, 1.5 - x, tg.where(x > 0, x, 0.0),
              tg.where(x > 0, 0, x), x.clip(0, 1), np.maximum(x, 0.5), 2.0**x):  # fmt: skip
        assert y.dtype == np.float32, y


def test_lists_of_floats_next_to_float64_keep_their_digits():
    x = tg.tensor(np.array([0.5, 2.0]), requires_grad=True)
    weights, third = [0.1, 0.7], [1 / 3, 2 / 3]
    z = tg.tensor(np.array([[1.5, -0.5]]))
    logp = np.log(np.exp(z.numpy()) / np.exp(z.numpy()).sum())
    linear = tg.nn.Linear(2, 1, bias=False).double()
    linear.load_state_dict({"weight": [third]})
    written = tg.tensor(np.zeros(2))
    written.data = third
    for ours, wanted in (
        (x + third, [0.5 + 1 / 3, 2 + 2 / 3]),
        (third - x, [1 / 3 - 0.5, 2 / 3 - 2]),
        (tg.cat([x, third]), [0.5, 2, *third]),
        (tg.stack([third, x]), [third, [0.5, 2]]),
        (tg.cat([[1 / 3], x]), [1 / 3, 0.5, 2]),
        (F.cross_entropy(z, [1], weight=weights, reduction="none"), [-0.7 * logp[0, 1]]),
        (F.cross_entropy(z, [third]), -(logp[0] * third).sum()),
        (linear.weight, [third]),
        (written, third),
    ):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours.detach().numpy(), wanted, rtol=1e-14)


def test_data_is_copied():
    array = np.ones(2)
    for make in (tg.tensor, tg.Tensor):
        t = make(array)
        array[0] += 1
        assert t.tolist() == [array[0] - 1, 1.0]


def test_an_array_operand_is_copied_so_a_later_change_cannot_reach_the_gradient():
    x, array = leaf(1.0, 2.0), np.array([3.0, 4.0], np.float32)
    y = (x * array).sum()
    array[:] = 0
    y.backward()
    assert x.grad.tolist() == [3.0, 4.0]


def test_operators_on_either_side():
    t, a = tg.tensor([1.0, 2.0]), np.array([3.0, 4.0], np.float32)
    for left, right in ((t + a, a + t), (t * a, a * t), (t - a, -(a - t)), (t / a, 1 / (a / t))):
        assert isinstance(left, tg.Tensor) and isinstance(right, tg.Tensor)
        np.testing.assert_allclose(left.numpy(), right.numpy(), rtol=1e-6)
    assert (a @ t).item() == (t @ a).item() == 11.0
    assert (np.float32(2) * t).tolist() == [2.0, 4.0]
    assert (a > t).tolist() == [True, True] and (t < a).tolist() == [True, True]
    assert (2**t).tolist() == [2.0, 4.0] and (7 % t).tolist() == [0.0, 1.0]


# --- NumPy's protocols --------------------------------------------------------------------------


def test_numpy_functions_take_tensors_and_keep_the_graph():
    x = tg.tensor(np.arange(1.0, 7.0).reshape(2, 3), requires_grad=True)
    a = x.detach().numpy()
    for f in (
        np.exp, np.sum, np.mean, np.std, np.var, np.max, np.prod, np.cumsum, np.ravel, np.transpose,
        np.square, np.reciprocal, lambda v: np.sum(v, axis=1), lambda v: np.where(v > 2, v, 0),
        lambda v: np.concatenate([v, v]), lambda v: np.stack([v, v], axis=1), np.linalg.norm,
        lambda v: np.clip(v, 2, 4), lambda v: np.pad(v, 1), lambda v: np.dot(v, v.T),
        lambda v: np.einsum("ij,ij->i", v, v), lambda v: np.take_along_axis(v, np.argsort(v), 1),
        lambda v: np.split(v, 3, axis=1)[1], lambda v: np.add.reduce(v, axis=0), np.sort,
        lambda v: np.expand_dims(v, 1), lambda v: np.flip(v, 0), np.tril, lambda v: np.tile(v, 2),
        lambda v: np.moveaxis(v, 0, 1), lambda v: np.outer(v, v), lambda v: np.round(v, 1),
        lambda v: np.vstack([v, v]), lambda v: np.hstack([v, v]), lambda v: np.swapaxes(v, 0, 1),
    ):  # fmt: skip
        y = f(x)
        assert isinstance(y, tg.Tensor) and y.requires_grad
        np.testing.assert_allclose(y.detach().numpy(), f(a), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda t: np.fft.fft(t), "fft"),
        (lambda t: np.arccosh(t), "arccosh"),
        (lambda t: np.median(t), "median"),
        (lambda t: np.add.at(t, [0], 1.0), "add.at"),
        (lambda t: np.add.outer(t, t), "add.outer"),
        (lambda t: np.linalg.inv(t), "linalg.inv"),
        (lambda t: np.exp(t, where=np.array([True, False])), "exp with where"),
    ],
)
def test_a_numpy_function_without_a_rule_says_so_by_name(call, name):
    with pytest.raises(TypeError, match=rf"np\.{name}.* has no gradient rule"):
        call(leaf(1.0, 2.0))


def saved(x):
    file = io.BytesIO()
    np.savez(file, x=x)
    file.seek(0)
    return np.load(file)["x"]


def added(x):
    total = np.ones(3)
    total += x
    np.add.at(total, [0, 0], x[0])
    return total


@pytest.mark.parametrize("call", [
    np.median, saved, np.atleast_2d, np.argwhere, np.ptp, np.nanmax, added,
    lambda x: np.percentile(x, [10, 50]), lambda x: np.histogram(x, bins=4)[0],
    lambda x: np.column_stack([x, x]), lambda x: np.block([[x, x], [x, x]]),
    lambda x: np.interp(x, [0, 3], x[:2]), lambda x: np.digitize(x, [0, 2]),
    lambda x: np.broadcast_arrays(x, np.ones((2, 3)))[0], lambda x: np.linalg.inv(np.eye(3) + x),
    # where the rule does not take these arguments
    lambda x: np.sum(x, dtype=np.float32), lambda x: np.pad(x, 1, mode="edge"), np.diag,
    lambda x: np.linalg.norm(x, ord=3), lambda x: np.dot(x, np.ones((2, 3, 4))),
])  # fmt: skip
def test_a_numpy_function_without_a_rule_gives_numbers_where_no_gradient_is_needed(call):
    array = np.array([1.0, 3.0, 2.5])
    found, wanted = call(tg.tensor(array)), call(array)
    assert type(found) is type(wanted)
    assert found.dtype == wanted.dtype and found.tolist() == wanted.tolist()


@pytest.mark.parametrize("call", [
    np.cbrt, lambda x: np.subtract.reduce(x), lambda x: np.maximum.accumulate(x),
    lambda x: np.add.reduce(x, initial=1.0), lambda x: np.add.outer(x, x),
    lambda x: np.add(x, 1, dtype=np.float32), lambda x: np.modf(x)[0],
    lambda x: np.heaviside(x - 2, 1.0),
])  # fmt: skip
def test_a_ufunc_without_a_rule_gives_tensors_where_no_gradient_is_needed(call):
    array = np.array([1.0, 3.0, 2.5])
    found, wanted = call(tg.tensor(array)), call(array)
    assert isinstance(found, tg.Tensor) and not found.requires_grad
    assert found.dtype == wanted.dtype and found.tolist() == wanted.tolist()


def test_a_gradient_in_a_list_is_not_lost():
    with pytest.raises(TypeError, match=r"np\.column_stack has no gradient rule"):
        np.column_stack([tg.ones(2), leaf(1.0, 2.0)])
    with pytest.raises(TypeError, match=r"np\.savez has no gradient rule"):
        np.savez(io.BytesIO(), x=leaf(1.0))
    with tg.no_grad(), pytest.raises(TypeError, match="no gradient rule"):
        np.median(leaf(1.0))


def test_what_is_traced_gives_no_numbers_to_numpy():
    with pytest.raises(tg.TraceError, match="depend on a value"):
        tg.compile(lambda x: np.median(x))(tg.ones(3))


def test_out_is_refused():
    with pytest.raises(TypeError, match="out= would cut the result from the graph"):
        np.exp(leaf(1.0), out=np.zeros(1, np.float32))
    array = np.zeros(1, np.float32)
    with pytest.raises(TypeError, match="out="):
        array += leaf(1.0)


def test_asarray_of_a_tensor_that_requires_grad_raises():
    for leave in (np.asarray, np.array, lambda t: t.numpy()):
        with pytest.raises(RuntimeError, match=r"t\.detach\(\)\.numpy\(\)"):
            leave(leaf(1.0))
    array = np.zeros(1)
    with pytest.raises(RuntimeError, match=r"t\.detach\(\)\.numpy\(\)"):
        array[...] = leaf(1.0)


def test_what_numpy_asks_for_itself_is_read_only():
    t = tg.tensor([1.0, 2.0])
    view = np.asarray(t)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 5
    t[0] = 7.0
    assert view[0] == 7.0


# --- backward -----------------------------------------------------------------------------------


def test_a_second_backward_adds_the_same_gradient():
    x = leaf(3.0)
    y = (x * 3.0).sum()
    y.backward()
    assert x.grad.tolist() == [3.0]
    y.backward()
    assert x.grad.tolist() == [6.0]


def test_gradients_are_none_at_first_and_after_zero_grad():
    x = leaf(1.0)
    assert x.grad is None
    (x * 2.0).sum().backward()
    optimizer = tg.optim.SGD([x], lr=0.1)
    optimizer.zero_grad()
    assert x.grad is None


def test_twenty_four_doublings_take_twenty_four_steps():
    x = leaf(1.0)
    y = x
    for _ in range(24):
        y = y + y
    assert len(chain.history([y])) == 24
    y.sum().backward()
    assert x.grad.tolist() == [2.0**24]


def test_an_index_taken_twice_gathers_both_gradients():
    x = leaf(1.0, 2.0)
    (x[[0, 0, 1]] * tg.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [11.0, 100.0]


def test_no_two_gradients_share_an_array():
    a, b, c = leaf(1.0, 2.0), leaf(3.0, 4.0), leaf(5.0, 6.0)
    seed = np.ones(2, np.float32)
    (a + b + c).backward(seed)
    arrays = [t.grad.array for t in (a, b, c)] + [seed]
    for i, first in enumerate(arrays):
        for second in arrays[i + 1 :]:
            assert not np.shares_memory(first, second)
    x = leaf(1.0, 2.0)
    y = x.reshape(2, 1)
    y.retain_grad()
    (y * 1.0).sum().backward()
    assert not np.shares_memory(x.grad.array, y.grad.array)


def test_gradients_have_their_tensors_dtype():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    w = tg.tensor(np.array([3.0, 4.0]), requires_grad=True)
    (x * w).sum().backward()
    assert x.grad.dtype == np.float32 and w.grad.dtype == np.float64
    y = tg.tensor(2.0, requires_grad=True)
    (y.double() * 3).backward()
    assert y.grad.dtype == np.float32 and y.grad.shape == ()


def test_retain_grad_keeps_the_gradient_of_what_is_not_a_leaf():
    x = leaf(2.0)
    y = x * x
    y.retain_grad()
    assert y.grad is None
    (y * 3.0).sum().backward()
    assert y.grad.tolist() == [3.0] and x.grad.tolist() == [12.0]


def test_detach_and_no_grad_cut():
    x = leaf(2.0)
    y = x * x.detach()
    y.sum().backward()
    assert x.grad.tolist() == [2.0]
    with tg.no_grad():
        z = x * x
    assert not z.requires_grad and z.is_leaf

    @tg.no_grad()
    def f():
        return x * 2

    @tg.no_grad
    def g():
        return x * 2

    assert not f().requires_grad and not g().requires_grad and (x * 2).requires_grad


def test_freeing_the_graph():
    x = leaf(1.0)
    y = (x * 2.0).sum()
    y.backward(retain_graph=False)
    with pytest.raises(RuntimeError, match=r"retain_graph=False"):
        y.backward()


def test_create_graph_goes_to_the_fourth_derivative():
    x = tg.tensor(np.array(0.7), requires_grad=True)
    y = x.sin() * x
    for _ in range(4):
        (y,) = tg.autograd.grad(y, x, create_graph=True)
    np.testing.assert_allclose(y.item(), 0.7 * np.sin(0.7) - 4 * np.cos(0.7), rtol=1e-12)


@pytest.mark.parametrize("rows", [1, 3, 3000])
def test_the_second_derivative_goes_through_a_bias_of_one_number(rows):
    x = np.linspace(-1, 1, rows)[:, None]
    b = tg.tensor([0.5], dtype=tg.float64, requires_grad=True)
    (slope,) = tg.autograd.grad(((tg.tensor(x) + b) ** 3).sum(), b, create_graph=True)
    (second,) = tg.autograd.grad(slope.sum(), b)
    np.testing.assert_allclose(second.numpy(), [6 * (x + 0.5).sum()], rtol=1e-12)


def test_a_gradient_made_with_create_graph_can_be_part_of_a_loss():
    """A penalty on the slope: d/dx (2x)² = 8x."""
    x = leaf(3.0)
    (slope,) = tg.autograd.grad((x * x).sum(), x, create_graph=True)
    (slope * slope).sum().backward()
    assert x.grad.tolist() == [24.0]


# --- in-place writes ----------------------------------------------------------------------------


def test_a_parameter_update_written_as_in_pytorch():
    for update in ("no_grad", "data", "sub_"):
        w = leaf(1.0, 2.0)
        (w * w).sum().backward()
        if update == "no_grad":
            with tg.no_grad():
                w -= 0.1 * w.grad
        elif update == "data":
            w.data -= 0.1 * w.grad
        else:
            with tg.no_grad():
                w.sub_(w.grad, alpha=0.1)
        np.testing.assert_allclose(w.detach().numpy(), [0.8, 1.6], rtol=1e-6)
        assert w.requires_grad and w.is_leaf


def test_writing_into_a_leaf_is_refused_before_anything_changes():
    for write in (
        lambda w: w.__isub__(1.0),
        lambda w: w.__setitem__(0, 5.0),
        lambda w: w.zero_(),
        lambda w: w.reshape(2, 1).add_(1.0),
        lambda w: w[0:1].mul_(2.0),
    ):
        w = leaf(1.0, 2.0)
        with pytest.raises(RuntimeError, match=r"no_grad\(\): w -= lr \* w\.grad"):
            write(w)
        assert w.tolist() == [1.0, 2.0]


def write_plain(x):
    with tg.no_grad():
        x += 1.0


def write_data(x):
    x.data[0] = 9.0


def write_view(x):
    with tg.no_grad():
        x.reshape(-1)[0] = 9.0


def write_detached(x):
    x.detach().mul_(3.0)


def write_recorded(x):
    x += leaf(1.0, 1.0)


def write_item(x):
    x[0] = 9.0


@pytest.mark.parametrize("write", [write_plain, write_data, write_view, write_detached,
                                   write_recorded, write_item])  # fmt: skip
@pytest.mark.parametrize("use", [lambda x: x * x, lambda x: x.sin(), lambda x: x @ leaf(1.0, 2.0)])
def test_a_write_after_use_is_found(write, use):
    x = leaf(1.0, 2.0) * 1.0
    y = use(x)
    write(x)
    with pytest.raises(RuntimeError, match="changed it in place since") as e:
        y.sum().backward()
    assert y.op.name in str(e.value)


@pytest.mark.parametrize("write", [write_plain, write_data, write_recorded, write_item])
def test_a_write_that_no_gradient_reads_is_no_error(write):
    w = leaf(1.0, 2.0)
    x = w * 1.0
    y = x + 5.0
    write(x)
    y.sum().backward()
    assert w.grad.tolist() == [1.0, 1.0]


def test_a_write_to_an_output_that_its_gradient_reads_is_found():
    y = leaf(1.0, 2.0).exp()
    with tg.no_grad():
        y *= 2.0
    with pytest.raises(RuntimeError, match="exp needs its output as it was"):
        y.sum().backward()


def test_item_assignment_moves_the_graph_along():
    x, v = leaf(1.0, 2.0, 3.0), leaf(10.0)
    y = x * 2.0
    early = y + 0.0
    y[1] = v[0] * 5.0
    (y * tg.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert y.tolist() == [2.0, 50.0, 6.0]
    assert x.grad.tolist() == [2.0, 0.0, 200.0] and v.grad.tolist() == [50.0]
    x.grad = None
    early.sum().backward()  # what y was before is still there
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_in_place_arithmetic_moves_the_graph_along():
    x, w = leaf(2.0, 3.0), leaf(5.0, 7.0)
    y = x * 1.0
    y *= w
    y += x
    y.sum().backward()
    assert y.tolist() == [12.0, 24.0]
    assert x.grad.tolist() == [6.0, 8.0] and w.grad.tolist() == [2.0, 3.0]


def test_a_write_into_a_view_reaches_its_base_and_the_other_views():
    x, v = leaf(1.0, 2.0, 3.0, 4.0), leaf(10.0)
    base = x * 1.0
    matrix = base.reshape(2, 2)
    column = matrix.T[0]  # elements 0 and 2
    row = matrix[1]  # elements 2 and 3
    column[1] = v[0] * 2.0  # element 2
    assert base.tolist() == [1.0, 2.0, 20.0, 4.0] and row.tolist() == [20.0, 4.0]
    for seen, gx, gv in (
        (base, [1.0, 1.0, 0.0, 1.0], 2.0),
        (matrix, [1.0, 1.0, 0.0, 1.0], 2.0),
        (row, [0.0, 0.0, 0.0, 1.0], 2.0),
        (column, [1.0, 0.0, 0.0, 0.0], 2.0),
    ):
        g, h = tg.autograd.grad((seen * 1.0).sum(), [x, v])
        assert g.tolist() == gx and h.tolist() == [gv]


def test_a_tensor_that_needed_no_gradient_can_be_filled_row_by_row():
    w = leaf(1.0, 2.0)
    table = tg.zeros(3, 2)
    for i in range(3):
        table[i] = w * float(i)
    table.sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]


def test_a_leaf_made_later_gets_no_gradient_from_before():
    x = tg.tensor([2.0])
    w = leaf(3.0)
    y = x * w
    x.requires_grad_()
    y.sum().backward()
    assert x.grad is None and w.grad.tolist() == [2.0]


def test_writing_into_repeated_elements_is_refused():
    x = tg.zeros(1).expand(3)
    with pytest.raises(RuntimeError, match=r"repeats its elements"):
        x[:2] = 1.0


def test_a_write_that_does_not_fit_changes_nothing():
    x = tg.zeros(3)
    with pytest.raises(ValueError, match=r"\+=: a result of shape \(2, 3\)"):
        x += tg.ones(2, 3)
    y = tg.tensor([1, 2, 3])
    with pytest.raises(ValueError, match="dtype float64 does not fit"):
        y += 0.5
    with pytest.raises(ValueError, match="shape"):
        x[0:2] = tg.ones(3)
    assert x.tolist() == [0.0, 0.0, 0.0] and y.tolist() == [1, 2, 3]


# --- errors -------------------------------------------------------------------------------------

BAD = [
    (lambda: tg.ones(2, 3) + tg.ones(4), ValueError, r"add: shapes \(2, 3\) and \(4,\)"),
    (lambda: tg.ones(2, 3) @ tg.ones(2, 3), ValueError, r"matmul: \(2, 3\) @ \(2, 3\).*3 and 2"),
    (lambda: tg.tensor([[1.0, 2.0], [3.0]]), ValueError, "different lengths"),
    (lambda: tg.tensor("abc"), TypeError, "numbers"),
    (lambda: tg.tensor(["a", "b"]), TypeError, "numbers"),
    (lambda: tg.tensor(np.array([None, 1], object)), TypeError, "dtype object"),
    (lambda: tg.tensor([1 + 2j]), TypeError, "complex"),
    (lambda: tg.tensor([1.0], dtype=object), TypeError, "dtype object"),
    (lambda: tg.tensor([tg.ones(2), tg.ones(2)]), TypeError, "stack"),
    (lambda: tg.tensor([1, 2], requires_grad=True), TypeError, "int64 has no derivative"),
    (lambda: tg.tensor([True]).requires_grad_(), TypeError, "bool has no derivative"),
    (lambda: leaf(1.0, 2.0).backward(), RuntimeError, r"shape \(2,\) is not a scalar"),
    (lambda: leaf(1.0, 2.0).backward(np.ones(3)), ValueError, r"gradient has shape \(3,\)"),
    (lambda: tg.ones(1).sum().backward(), RuntimeError, "tensors without requires_grad"),
    (lambda: leaf(1.0).argmax().backward(), RuntimeError, "argmax"),
    (lambda: (leaf(1.0).detach() * 2.0).sum().backward(), RuntimeError, r"detach\(\) cut off"),
    (lambda: (leaf(1.0) > 0.5).float().sum().backward(), RuntimeError, "gt cut off"),
    (lambda: leaf(1.0) + "a", TypeError, "add: got str"),
    (lambda: leaf(1.0) + None, TypeError, "add: got NoneType"),
    (lambda: leaf(1.0) * np.array(["a"]), TypeError, "mul: got an array of dtype"),
    (lambda: bool(tg.ones(2)), ValueError, "truth values"),
    (lambda: tg.ones(2).item(), ValueError, r"2 elements; wanted 1"),
    (lambda: tg.ones(2, 3).reshape(4), ValueError, r"reshape on shape \(2, 3\)"),
    (lambda: tg.ones(2, 3).sum(2), (ValueError, IndexError), "axis 2"),
    (lambda: tg.ones(2, 3)[5], IndexError, r"getitem on shape"),
    (lambda: tg.ones(3)[tg.ones(3)], IndexError, "wanted integers"),
    (lambda: len(tg.tensor(1.0)), TypeError, "0-d"),
    (lambda: tg.cat([]), ValueError, "empty list"),
    (lambda: tg.cat(tg.ones(2)), TypeError, "wanted a list"),
    (lambda: tg.cat([tg.ones(2, 3), tg.ones(2, 2)]), ValueError, "^cat on shapes"),
    (lambda: tg.ones(2).split([1, 2]), ValueError, "do not add up"),
    (lambda: tg.einsum("ij,jk", tg.ones(2, 3)), ValueError, "2 terms for 1"),
    (lambda: tg.einsum("ij", tg.ones(2)), ValueError, "does not fit shape"),
    (lambda: tg.ones(2).to("cuda"), RuntimeError, "cuda: not here"),
    (lambda: tg.ones(2).foo, AttributeError, "foo"),
    (lambda: copy.copy(leaf(1.0) * 2.0), RuntimeError, "clone"),
    (lambda: tg.autograd.grad(leaf(1.0).sum(), leaf(1.0)), RuntimeError, "is not used"),
    (lambda: setattr(leaf(1.0), "grad", tg.ones(2)), ValueError, "grad: got shape"),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD, ids=[b[2] for b in BAD])
def test_bad_input_says_what_arrived(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_backward_under_no_grad_names_the_operation():
    x = leaf(1.0)
    with tg.no_grad():
        y = (x * 2.0).sum()
    with pytest.raises(RuntimeError, match=r"mul under no_grad\(\) cut off"):
        y.backward()


# --- deep and wide ------------------------------------------------------------------------------


def test_a_chain_of_three_hundred_thousand_operations():
    limit = sys.getrecursionlimit()
    x = tg.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(150_000):
        y = y * 1.0 + 0.0
    y.backward()
    assert x.grad.item() == 1.0
    node = weakref.ref(y)
    del y
    assert node() is None
    assert sys.getrecursionlimit() == limit


def test_memory_stays_flat_without_the_garbage_collector():
    """No reference cycles: after each step, all of its nodes are gone."""
    tg.manual_seed(0)
    model = tg.nn.Sequential(tg.nn.Linear(4, 8), tg.nn.ReLU(), tg.nn.Linear(8, 3))
    optimizer = tg.optim.Adam(model.parameters(), lr=1e-2)
    x, target = tg.randn(5, 4), tg.tensor([0, 1, 2, 0, 1])

    def step():
        loss = F.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    gc.collect()
    gc.disable()
    try:
        before = len([o for o in gc.get_objects() if type(o) is tg.Tensor])
        for _ in range(1000):
            step()
        after = len([o for o in gc.get_objects() if type(o) is tg.Tensor])
        assert after == before
        assert all(len(p.memory.views) == 0 for p in model.parameters())
    finally:
        gc.enable()
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        step()
        gc.collect()
        assert not [o for o in gc.garbage if type(o) is tg.Tensor]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def test_threads_do_not_disturb_each_other():
    wrong = []
    barrier = threading.Barrier(4)

    def work(seed):
        x = tg.tensor([float(seed)], requires_grad=True)
        barrier.wait()
        for _ in range(200):
            if seed % 2:
                with tg.no_grad():
                    if (x * 2.0).requires_grad or tg.autograd.is_grad_enabled():
                        wrong.append("recorded under no_grad")
            x.grad = None
            (x * x * x).sum().backward()
            if x.grad.tolist() != [3.0 * seed * seed]:
                wrong.append(x.grad.tolist())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_one_no_grad_object_serves_several_threads():
    guard = tg.no_grad()
    barrier, wrong = threading.Barrier(2), []

    def work():
        with guard:
            barrier.wait()
            if tg.is_grad_enabled():
                wrong.append("recording inside")
            barrier.wait()
        if not tg.is_grad_enabled():
            wrong.append("not recording after")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


# --- scopes, lines, copies ----------------------------------------------------------------------


def test_composed_functions_and_modules_open_scopes():
    model = tg.nn.Sequential(tg.nn.Linear(2, 3))
    z = model(tg.ones(1, 2))
    assert z.scope.path() == ("Sequential", "Linear 0", "linear")
    loss = F.cross_entropy(z, [1])
    assert loss.scope.path() == ("cross_entropy",)
    names = {node.scope.path() for node in chain.history([loss])}
    assert ("cross_entropy", "log_softmax") in names
    assert current().scope is None


def test_nodes_remember_their_source_line_when_asked():
    x = leaf(1.0)
    with source_lines():
        y = x.softmax(0)
    code, instruction, opened, _ = y.line[0]
    assert opened == 1  # softmax
    assert code is sys._getframe().f_code
    lines = {i: line for start, end, line in code.co_lines() for i in range(start, end)}
    source = linecache.getline(__file__, lines[instruction])
    assert source.strip() == "y = x.softmax(0)"


def test_leaves_can_be_copied_and_pickled():
    w = tg.nn.Parameter([1.0, 2.0])
    for other in (copy.deepcopy(w), pickle.loads(pickle.dumps(w)), copy.copy(w)):
        assert type(other) is tg.nn.Parameter and other.requires_grad
        assert other.tolist() == [1.0, 2.0] and not np.shares_memory(other.array, w.array)
    t = pickle.loads(pickle.dumps(tg.arange(3)))
    assert t.tolist() == [0, 1, 2] and not t.requires_grad


def test_repr():
    assert repr(tg.tensor([1.0, 2.5])) == "tensor([1.0000, 2.5000])"
    assert repr(leaf(1.0)) == "tensor([1.], requires_grad=True)"
    assert repr(leaf(1.0) * 2) == "tensor([2.], grad_fn=<MulBackward0>)"
    assert repr(tg.tensor(np.float64(3))) == "tensor(3., dtype=torch.float64)"
    assert f"{tg.tensor(3.14159):.2f}" == "3.14"


def test_what_tutorials_write():
    x = tg.tensor([[3.0, -4.0], [0.0, 2.0]], requires_grad=True)
    assert x.norm(2, dim=1).tolist() == x.norm(p=2, dim=1).tolist() == [5.0, 2.0]
    assert x.norm(1).item() == 9.0 and x.norm(np.inf, 1).tolist() == [4.0, 2.0]
    np.testing.assert_allclose(x.norm(3).item(), (27 + 64 + 8) ** (1 / 3))
    with pytest.raises(ValueError, match="norm: p='max'"):
        x.norm("max")
    assert x.std(dim=0, unbiased=False).tolist() == [1.5, 3.0]
    assert x.clamp(min=0).tolist() == [[3.0, 0.0], [0.0, 2.0]]
    assert tg.max(x, -x).tolist() == [[3.0, 4.0], [0.0, 2.0]]
    assert x.nelement() == 4 and x.device == "cpu"
    assert tg.tensor([tg.tensor(1.0), 2.0]).tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="topk: k=3 of 2"):
        x.topk(3)
    with pytest.raises(ValueError, match="does not fit into uint8"):
        tg.tensor([300], dtype=tg.uint8)
    assert (
        tg.add(tg.ones(2), [1, 2]).dtype == tg.where(tg.ones(2) > 0, 1.0, 0.0).dtype == np.float32
    )
    assert repr(tg.ones(2, 0)) == "tensor([], size=(2, 0))"


def test_set_grad_enabled_holds_from_the_call_on():
    x = leaf(1.0)
    tg.set_grad_enabled(False)
    try:
        assert not tg.is_grad_enabled() and not (x * 2.0).requires_grad
    finally:
        tg.set_grad_enabled(True)
    with tg.set_grad_enabled(False):
        assert not tg.is_grad_enabled()
    assert tg.is_grad_enabled()


def test_the_gradient_of_what_is_no_leaf_is_none_and_says_why():
    w = leaf(1.0) * 2.0
    with pytest.warns(UserWarning, match=r"made by mul and is no leaf.*no_grad\(\): w -= d"):
        assert w.grad is None


def test_gradcheck_refuses_a_function_that_draws():
    x = tg.tensor(np.ones(8), requires_grad=True)
    with pytest.raises(ValueError, match="different numbers for the same inputs"):
        tg.autograd.gradcheck(F.dropout, x)


def test_max_over_a_dimension_gives_the_gradient_to_its_index():
    x = tg.tensor([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]], requires_grad=True)
    values, indices = x.max(1)
    assert values.tolist() == [3.0, 2.0] and indices.tolist() == [1, 0]
    values.sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    x.grad = None
    x.max().backward()
    assert x.grad.tolist() == [[0.0, 0.5, 0.5], [0.0, 0.0, 0.0]]


def test_sort_and_topk_carry_gradients():
    x = leaf(3.0, 1.0, 2.0)
    values, indices = x.sort(descending=True)
    assert values.tolist() == [3.0, 2.0, 1.0] and indices.tolist() == [0, 2, 1]
    (values * tg.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [1.0, 100.0, 10.0]
    assert x.topk(2).values.tolist() == [3.0, 2.0]


@pytest.mark.parametrize("whole", [lambda x: x.long(), lambda x: x.int(), lambda x: x.bool()])
def test_no_gradient_flows_through_integers(whole):
    x = tg.tensor([1.5, 2.5], requires_grad=True)
    y = whole(x)
    assert not y.requires_grad
    (y.double() * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())  # not y + x


# --- printing one number ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "spec", "text"),
    [
        (3.14159, ".3f", "3.142"), ([3.5], ".1f", "3.5"), (3, "d", "3"), ([[2.0]], ">6", "   2.0"),
        (0.25, ".0%", "25%"), (3.5, "", "3.5"), (7, "", "7"), (True, "", "True"),
        ([3.5], "", "tensor([3.5000])"), ([1.0, 2.0], "", "tensor([1., 2.])"),
        ([1.0, 2.0], ">17", " tensor([1., 2.])"),
    ],
)  # fmt: skip
def test_a_tensor_of_one_number_is_formatted_as_the_number(data, spec, text):
    assert format(tg.tensor(data), spec) == text
    if np.asarray(data).dtype.kind == "f" and np.size(data) == 1 and spec:
        assert format(tg.tensor(data, requires_grad=True) * 1.0, spec) == text


@pytest.mark.parametrize("spec", [".3f", "d", "e", ",", ".2%", "x"])
def test_a_format_for_one_number_is_refused_for_more(spec):
    for t in (tg.ones(3), tg.arange(4).reshape(2, 2), tg.zeros(0)):
        with pytest.raises(TypeError, match=rf"shape \({t.shape[0]},.*has {t.numel()}.*tolist"):
            format(t, spec)


@pytest.mark.parametrize("ids", [
    [3, 0, -1, 0, 2, 4, 3, 3], [[1, 1], [-5, 4], [0, -2]], [2], np.arange(-5, 5)
], ids=["repeated", "matrix", "one", "negative"])  # fmt: skip
@pytest.mark.parametrize("compiled", [False, True])
def test_rows_that_are_taken_often_gather_all_their_gradients(ids, compiled):
    ids = np.asarray(ids)
    weight = tg.zeros(5, 1024, dtype=tg.float64, requires_grad=True)
    gradient = np.arange(ids.size * 1024.0).reshape(*ids.shape, 1024)  # integers: sums are exact

    def step(ids, g):
        return tg.autograd.grad(weight[ids], weight, g)[0]

    step = tg.compile(step) if compiled else step
    wanted = np.zeros((5, 1024))
    for row, g in zip(ids.ravel(), gradient.reshape(-1, 1024)):
        wanted[row] += g
    for _ in range(2):
        found = step(tg.tensor(ids), tg.tensor(gradient))
        np.testing.assert_array_equal(found.numpy(), wanted)
