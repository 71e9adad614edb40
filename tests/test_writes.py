"""In-place writes in every entanglement: random programs against differences of plain NumPy.

The same program, a list of steps, is run by NumPy arrays and by Tensors: views of views are taken,
written, multiplied into each other, forgotten. Whatever the engine does not refuse must have the
gradient of what NumPy computed.
"""

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.engine import table


def program(seed):
    """Steps of a random program on two inputs, as functions of a list of values."""
    stream = np.random.default_rng(seed)
    views = [
        lambda a: a[1:], lambda a: a[:, 0], lambda a: a.T, lambda a: a.reshape(-1)[1:5],
        lambda a: a[::-1], lambda a: a[0], lambda a: a[:, ::2],
    ]  # fmt: skip
    steps = []
    for _ in range(stream.integers(4, 9)):
        kind = stream.integers(0, 6)
        view = views[stream.integers(0, len(views))]
        pick, other = stream.integers(0, 100, 2)
        steps.append((int(kind), view, int(pick), int(other)))
    return steps


def run(steps, x, y):
    """The value Σ of everything that is alive in the end, weighed unevenly."""
    alive = [x * 1.0, y * 2.0]
    for kind, view, pick, other in steps:
        target, operand = alive[pick % len(alive)], alive[other % len(alive)]
        if kind <= 1 and target.ndim == 2:
            alive.append(view(target))
        elif kind == 2:
            target *= 1.5
        elif kind == 3 and operand.shape == target.shape:
            target += operand
        elif kind == 4 and operand.shape == target.shape:
            target *= operand
        elif kind == 5 and target.ndim == 2:
            target[0] = target[1] * 2.0
        elif kind == 5 and len(alive) > 2:
            alive.pop(pick % len(alive))
    total = 0.0
    for i, a in enumerate(alive):
        total = total + (a * a * (i + 1.0)).sum()
    return total


@pytest.mark.parametrize("block", range(10))
def test_random_programs_of_writes(block):
    refused = 0
    for seed in range(block * 30, block * 30 + 30):
        steps = program(seed)
        stream = np.random.default_rng(seed + 1000)
        arrays = [stream.uniform(0.5, 1.5, (3, 3)) for _ in range(2)]
        xs = [tg.tensor(a, requires_grad=True) for a in arrays]
        try:
            loss = run(steps, *xs)
            loss.backward()
        except RuntimeError as error:
            assert "changed it in place since" in str(error)
            refused += 1
            continue
        np.testing.assert_allclose(loss.item(), run(steps, *arrays), rtol=1e-12)
        for i, x in enumerate(xs):
            direction = stream.standard_normal((3, 3))
            ends = []
            for h in (1e-6, -1e-6):
                moved = [a + h * direction if j == i else a for j, a in enumerate(arrays)]
                ends.append(run(steps, *moved))
            slope = (ends[0] - ends[1]) / 2e-6
            found = 0.0 if x.grad is None else (x.grad.numpy() * direction).sum()
            np.testing.assert_allclose(found, slope, rtol=1e-5, atol=1e-6, err_msg=f"seed {seed}")
    assert refused < 20


def leaf(*values):
    return tg.tensor(np.array(values), requires_grad=True)


def test_an_operand_that_is_the_target_itself():
    for write, wanted in (
        (lambda x: x.__imul__(x), [4.0, 6.0]),
        (lambda x: x.__iadd__(x), [2.0, 2.0]),
        (lambda x: x.copy_(x), [1.0, 1.0]),
    ):
        w = leaf(2.0, 3.0)
        x = w * 1.0
        write(x)
        x.sum().backward()
        assert w.grad.tolist() == wanted


def test_views_whose_owner_nobody_holds():
    w = leaf(2.0, 5.0)

    def halves():
        b = tg.zeros(4, dtype=np.float64)
        return b[2:], b[:2]

    a, c = halves()
    a[...] = w * 2.0
    (a.sum() + (c * w).sum()).backward()
    assert a.tolist() == [4.0, 10.0] and w.grad.tolist() == [2.0, 2.0]


def test_the_gradient_given_to_backward_is_not_shared():
    for create_graph in (False, True):
        x, seed = leaf(1.0, 2.0), tg.tensor(np.array([1.0, 10.0]))
        (x + 0.0).backward(seed, create_graph=create_graph)
        seed *= 5.0
        assert x.grad.tolist() == [1.0, 10.0]


def test_two_gradients_with_create_graph_do_not_share():
    a, b = leaf(1.0), leaf(2.0)
    (a + b).sum().backward(create_graph=True)
    assert not np.shares_memory(a.grad.array, b.grad.array)


def test_einsum_of_one_operand_is_a_view_whose_write_is_seen():
    w = leaf(1.0, 2.0)
    h = (w * 1.0).reshape(1, 2)
    z = (h * h).sum()
    y = tg.einsum("ij->ji", h)
    y *= 0.0
    assert h.tolist() == [[0.0, 0.0]]
    with pytest.raises(RuntimeError, match="changed it in place"):
        z.backward()


def test_clamp_in_place_keeps_the_gradient():
    w = leaf(-1.0, 2.0)
    x = w * 2.0
    x.clamp_(min=0.0)
    x.sum().backward()
    assert x.tolist() == [0.0, 4.0] and w.grad.tolist() == [0.0, 2.0]


def test_a_freed_graph_that_is_shared_raises():
    w = leaf(1.0, 2.0)
    h = w * w
    first, second = h.sum(), (h * 3.0).sum()
    first.backward(retain_graph=False)
    with pytest.raises(RuntimeError, match=r"behind mul was freed by backward\(retain_graph"):
        second.backward()
    with pytest.raises(RuntimeError, match="was freed"):
        first.backward()


def test_a_slice_bound_that_is_a_tensor_is_read_once():
    w = leaf(1.0, 2.0, 3.0)
    i, j = tg.tensor(1), tg.tensor(2)
    y = w[i:j]
    i -= 1
    y.sum().backward()
    assert w.grad.tolist() == [0.0, 1.0, 0.0]


def test_views_of_what_is_detached_stay_out_of_the_graph():
    w = leaf(1.0, 2.0)
    x = w * 1.0
    v = x.detach()[:]
    x *= 2.0
    assert not v.requires_grad and v.tolist() == [2.0, 4.0]


def test_a_view_made_under_no_grad_cannot_be_written_behind_the_graph():
    w = leaf(1.0, 2.0)
    y = w * 2.0
    with tg.no_grad():
        v = y[:1]
    v[...] = 0.0
    y.sum().backward()
    assert y.tolist() == [0.0, 4.0] and w.grad.tolist() == [0.0, 2.0]


def test_a_leaf_is_protected_from_writes_through_older_views():
    b = tg.zeros(4, dtype=np.float64)
    a = b[:2]
    b.requires_grad_()
    with pytest.raises(RuntimeError, match="a view of a leaf"):
        a[...] = leaf(1.0, 2.0)
    assert b.is_leaf and b.tolist() == [0.0] * 4


def test_new_data_leaves_old_views_behind():
    w = leaf(1.0, 2.0)
    y = w * 1.0
    v = y[:1]
    read = y * y
    y.data = np.zeros(2)
    y[1] = w[0] * 3.0
    (v * 7.0).sum().backward()
    assert v.tolist() == [1.0] and w.grad.tolist() == [7.0, 0.0]
    with pytest.raises(RuntimeError, match="changed it in place"):
        read.sum().backward()


def test_which_of_two_values_stays_is_not_defined():
    x, w = tg.zeros(3, dtype=np.float64), leaf(1.0, 2.0)
    with pytest.raises(ValueError, match="names an element twice"):
        x[[0, 0]] = w
    x[[0, 2]] = w
    x.sum().backward()
    assert w.grad.tolist() == [1.0, 1.0]


def test_integers_cannot_carry_a_gradient():
    x = tg.zeros(2, dtype=np.int64)
    with pytest.raises(TypeError, match="dtype int64 cannot carry the gradient"):
        x[0] = leaf(2.5)[0]
    assert not x.requires_grad


def test_loading_marks_the_parameters_as_written():
    model = tg.nn.Linear(2, 1)
    loss = model(tg.ones(3, 2, requires_grad=True)).sum()
    model.load_state_dict(tg.nn.Linear(2, 1).state_dict())
    with pytest.raises(RuntimeError, match="load_state_dict has changed it"):
        loss.backward()


def test_elements_of_a_row_can_be_written():
    x = tg.zeros(3)
    x[0].fill_(9.0)
    for v in x:
        v += 1.0
    assert x.tolist() == [10.0, 1.0, 1.0]


def test_a_scalar_result_can_become_a_parameter():
    p = tg.ones(3).sum().detach().requires_grad_()
    (p * 2.0).backward()
    tg.optim.SGD([p], lr=0.5).step()
    assert p.item() == 2.0


# --- conditions, dimensions, NumPy's arguments ---------------------------------------------------


def test_a_condition_need_not_be_boolean():
    a, b = leaf(1.0, 2.0, 3.0), leaf(4.0, 5.0, 6.0)
    for condition in (tg.tensor([2, 0, 1]), np.array([1.0, 0.0, 2.0]), [True, False, True]):
        for where in (tg.where, np.where):
            a.grad = b.grad = None
            where(condition, a, b).sum().backward()
            assert a.grad.tolist() == [1.0, 0.0, 1.0] and b.grad.tolist() == [0.0, 1.0, 0.0]
    assert tg.where(True, a, b).tolist() == [1.0, 2.0, 3.0]
    a.grad = None
    a.masked_fill(tg.tensor([1, 0, 1]), 0.0).sum().backward()
    assert a.grad.tolist() == [0.0, 1.0, 0.0]
    with pytest.raises(TypeError, match="wanted booleans"):
        table.masked(a, tg.tensor([2, 0, 1]))


@pytest.mark.parametrize("name", ["prod", "flip", "squeeze", "flatten", "unbind", "cumsum", "sum"])
def test_a_dimension_out_of_range_is_refused(name):
    with pytest.raises((IndexError, ValueError), match="5"):
        getattr(tg.ones(2, 3), name)(5)


def test_numpys_arguments_are_obeyed_or_refused():
    x = tg.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    assert np.add.reduce(x, axis=None).item() == 15.0
    for call in (
        lambda: np.dot(x, np.ones((2, 3, 4))),
        lambda: np.inner(x, np.ones((2, 4, 3))),
        lambda: np.linalg.norm(x, 2, axis=(0, 1)),
        lambda: np.unique(x),
        lambda: np.bincount(np.array([0, 1, 1]), x[0]),
        lambda: np.add.accumulate(x, dtype=np.float32),
    ):
        with pytest.raises(TypeError, match="no gradient rule"):
            call()
    windows = np.lib.stride_tricks.sliding_window_view(x[0], 2, axis=-1)
    (windows * tg.tensor(np.array([[1.0, 10.0], [100.0, 1000.0]]))).sum().backward()
    assert x.grad.tolist() == [[1.0, 110.0, 1000.0], [0.0, 0.0, 0.0]]


def test_sorting_down_works_for_every_dtype():
    for dtype in (np.uint8, np.int64, np.float32):
        assert tg.tensor(np.array([0, 2, 1], dtype)).sort(descending=True).values.tolist() == [
            2,
            1,
            0,
        ]
    assert tg.tensor([True, False]).argsort(descending=True).tolist() == [0, 1]
    down = tg.tensor([1.0, 2.0, 2.0]).sort(descending=True)
    assert down.indices.tolist() == [1, 2, 0]  # equal elements stay in their order


def test_create_graph_records_even_under_no_grad():
    x = leaf(3.0)
    y = (x**3).sum()
    with tg.no_grad():
        (slope,) = tg.autograd.grad(y, x, create_graph=True)
    assert tg.autograd.grad(slope.sum(), x)[0].tolist() == [18.0]


def test_negative_zero_is_not_zero():
    x = tg.tensor([1.0])
    with np.errstate(divide="ignore"):
        assert (x / 0.0).item() == np.inf and (x / -0.0).item() == -np.inf


def test_numpys_scalars_do_not_widen():
    x = tg.ones(2)
    assert (x / np.sqrt(2)).dtype == ((x > 0) * 1.0).dtype == np.float32


@pytest.mark.parametrize("index", [(1, 2), 1, slice(1, None), (..., 0), (None, 1), (1, -1)])
def test_a_part_that_is_changed_is_written_once(index):
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    x, w = tg.tensor(numbers), tg.tensor(2.0, requires_grad=True)
    x[index] += 1
    y = x * 1
    y[index] *= w
    y[index] = y[index]
    wanted = numbers.copy()
    wanted[index] += 1
    assert x.tolist() == wanted.tolist()
    slope = np.zeros_like(wanted)
    slope[index] = wanted[index]
    wanted[index] *= 2
    assert y.tolist() == wanted.tolist()
    y.sum().backward()
    assert w.grad.item() == slope.sum()
    z = x[index]
    x.data = tg.zeros(2, 3)  # z looks at what x was
    x[index] = z
    assert x.tolist() == slope.tolist()


def test_what_used_a_tensor_before_it_was_detached_in_place_keeps_its_gradient():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    h = w * 2.0
    before = (h * h).sum() + (h * 3.0).sum()
    assert h.detach_() is h and h.is_leaf and not h.requires_grad
    after = (h * 5.0).sum()
    assert not after.requires_grad
    before.backward()
    assert w.grad.tolist() == [8.0 * 1 + 6, 8.0 * 2 + 6]  # d/dw (4 w² + 6 w)
    assert h.grad is None
    with pytest.raises(RuntimeError, match="detach_: this tensor is a view"):
        (w * 1.0)[:1].detach_()


def test_a_comparison_in_place_has_slope_0_and_what_read_the_numbers_before_keeps_its_own():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    h = w * 2.0
    before = (h * 4.0).sum()
    h.gt_(3.0)
    assert h.tolist() == [0.0, 1.0] and h.requires_grad
    (h.sum() + before).backward()
    assert w.grad.tolist() == [8.0, 8.0]


def test_a_tensor_takes_another_shape_in_place_and_stays_in_the_graph():
    w = tg.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    h = w * 2.0
    assert h.unsqueeze_(0) is h and h.shape == (1, 1, 3)
    h.squeeze_().mul_(tg.tensor([1.0, 10.0, 100.0]))
    (h * h).sum().backward()
    assert w.grad.tolist() == [[8.0, 1600.0, 240000.0]]  # d/dw (2 w c)²
    x = tg.zeros(2, 3)
    row = x[1]
    row.unsqueeze_(0).add_(1.0)
    assert x.tolist() == [[0.0] * 3, [1.0] * 3]
    with pytest.raises(RuntimeError, match="t_: other tensors look at this one"):
        x.t_()
    with pytest.raises(RuntimeError, match="unsqueeze_: this tensor is a leaf"):
        w.unsqueeze_(0)


INDICES = {  # an index, and the shape that PyTorch gives
    "number, slice, array": ((0, slice(None), [1, 2]), (4, 2)),
    "array, slice, number": (([1, 0, 1], slice(None), 2), (3, 4)),
    "number, slice, mask": ((1, slice(1, 3), [True, False, True, False, True]), (2, 3)),
    "slice, number, array": ((slice(None), 0, [1, 2]), (2, 2)),
    "number, None, array": ((1, None, [1, 2]), (1, 2, 5)),
    "number, ..., array": ((0, ..., [3, 3, 1]), (4, 3)),
    "array, slice, array": (([0, 1], slice(None), [1, 2]), (2, 4)),
}


@pytest.mark.parametrize("name", INDICES)
def test_numbers_beside_arrays_are_taken_first(name):
    index, shape = INDICES[name]
    numbers = np.arange(40.0).reshape(2, 4, 5)
    first = tuple(p if type(p) is int else slice(None) for p in index if p not in (None, ...))
    rest = tuple(p for p in index if type(p) is not int)
    wanted = numbers[(0, ...) if name == "number, ..., array" else first][rest]
    x = tg.tensor(numbers, requires_grad=True)
    y = x[index]
    assert y.shape == shape and y.tolist() == wanted.tolist()
    weights = np.arange(1.0, wanted.size + 1).reshape(shape)
    (y * tg.tensor(weights)).sum().backward()
    slope = np.zeros_like(numbers)
    np.add.at(slope[(0, ...) if name == "number, ..., array" else first], rest, weights)
    assert x.grad.tolist() == slope.tolist()
    z = tg.tensor(numbers)
    z[index] = -1.0
    assert (z == -1).numpy().tolist() == (slope != 0).tolist()


def test_a_part_of_what_is_seen_otherwise_now_is_written():
    w = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    with tg.no_grad():
        row = w[0]
        w.t_()
        w[0] = row
    assert w.tolist() == [[1.0, 2.0], [2.0, 4.0]]


def test_products_of_what_is_scattered():
    two = tg.tensor([0, 0])
    x = tg.ones(2).scatter(0, two, tg.tensor([2.0, 3.0]), reduce="multiply")
    assert x.tolist() == [6.0, 1.0]
    x = tg.tensor([np.inf, 2.0]).scatter(0, tg.tensor([1]), tg.tensor([2.0]), reduce="multiply")
    assert x.tolist() == [np.inf, 4.0]
    y = tg.tensor([7, 8]).div(2.5, rounding_mode="trunc")
    assert y.dtype == tg.float32 and y.tolist() == [2.0, 3.0]


def test_what_is_put_in_places_fits_what_is_there():
    y = tg.zeros(2).scatter(0, tg.tensor([1]), tg.tensor([3.0], dtype=tg.float64))
    assert y.dtype == tg.float32 and y.tolist() == [0.0, 3.0]
    v = tg.tensor([5.0], requires_grad=True)
    with pytest.raises(ValueError, match="names an element twice"):
        tg.zeros(2).scatter(0, tg.tensor([0, 0]), v.expand(2))
    with pytest.raises(ValueError, match=r"fill_diagonal_: shape \(3,\); wanted a matrix"):
        tg.zeros(3).fill_diagonal_(1.0)
    assert tg.zeros(2, 2).fill_diagonal_(1.0).tolist() == [[1.0, 0.0], [0.0, 1.0]]
