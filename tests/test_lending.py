"""Memory that NumPy holds, too: writes are seen both ways, and no gradient is silently wrong."""

import gc
import weakref

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.engine.lending import end, lent
from tinygrad_ce.engine.memory import memory_of

NEEDS = "has changed it in place since"


def test_writes_are_seen_both_ways():
    array = np.array([1.0, 2.0, 3.0], np.float32)
    for x in (tg.from_numpy(array), tg.as_tensor(array)):
        array[0] += 10
        x[1] = 7.0
        assert x.tolist() == array.tolist()
    y = tg.zeros(2, 3)
    y.numpy()[0, 1] = 5.0
    view = y.T.numpy()
    y += 1
    assert y.tolist() == [[1, 6, 1], [1, 1, 1]] and view.tolist() == [[1, 1], [6, 1], [1, 1]]
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    w.detach().numpy()[:] = 4.0
    assert w.tolist() == [4.0, 4.0]
    s = (tg.ones(2) * 3).sum()
    s.numpy()[...] = 1.0
    assert s.item() == 1.0


def locked(array):
    array.flags.writeable = False
    return array


LOCKED = {
    "an array": lambda: locked(np.arange(3.0)),
    "a view": lambda: locked(np.arange(3.0)[::-1]),
    "a diagonal": lambda: np.arange(9.0).reshape(3, 3).diagonal(),
    "what a Tensor shows": lambda: np.asarray(tg.tensor([1.0, 2.0, 3.0])),
    "bytes": lambda: np.frombuffer(bytes(24)),
}


@pytest.mark.parametrize("name", LOCKED)
def test_an_array_that_is_read_only_is_not_written(name):
    array = LOCKED[name]()
    before = array.tolist()
    x = tg.from_numpy(array)

    def add(x):
        x += 1.0
        return x

    for write in (lambda: x.mul_(2.0), lambda: x.__setitem__(0, 7.0), lambda: x[1:].zero_(),
                  lambda: x.data.zero_(), lambda: tg.compile(add)(x)):  # fmt: skip
        with pytest.raises(RuntimeError, match="read-only"):
            write()
    with pytest.raises(tg.TraceError, match="read-only"):
        tg.compile(add)(array)
    assert array.tolist() == before and not array.flags.writeable and (x + 1).tolist()


def test_what_is_copied():
    array = np.array([1.0, 2.0])
    for x in (tg.tensor(array), tg.Tensor(array), tg.as_tensor(array, dtype=tg.float32)):
        x[0] = 9.0
    assert array.tolist() == [1.0, 2.0]
    with pytest.raises(RuntimeError, match=r"Write t.detach\(\).numpy"):
        tg.ones(1, requires_grad=True).numpy()
    assert tg.ones(1, requires_grad=True).numpy(force=True).tolist() == [1.0]


def borrowed(w):
    array = np.array([1.0, 2.0], np.float32)
    x = tg.from_numpy(array)
    return (w * x).sum(), array


def a_view_of_what_is_borrowed(w):
    array = np.arange(4, dtype=np.float32).reshape(2, 2)
    return (w * tg.from_numpy(array)[1]).sum(), array[1]


def lent_before(w):
    x = tg.tensor([1.0, 2.0])
    array = x.numpy()
    return (w * x).sum(), array


def lent_after(w):
    x = tg.tensor([1.0, 2.0])
    return (w * x).sum(), x.numpy()


def a_view_of_what_is_lent(w):
    x = tg.tensor([[1.0, 2.0], [0.0, 0.0]])
    return (w * x[0]).sum(), x.numpy().T[:, 0]


def a_result(w):
    y = (w + 1).exp()  # the gradient of exp reads it
    return y.sum(), y.detach().numpy()


def the_parameter(w):
    return (w * w).sum(), w.detach().numpy()


def a_read_only_view_of_what_is_borrowed(w):
    array = np.array([1.0, 2.0], np.float32)
    x = tg.from_numpy(np.broadcast_to(array, (3, 2)))
    return (w * x[0]).sum(), array


def borrowed_from_an_array_of_a_tensor(w):
    x = tg.ones(2)
    return (w * tg.from_numpy(np.asarray(x))).sum(), x.numpy()


def an_output_lent_before_it_was_written(w):
    y = tg.zeros(2)
    array = y.numpy()
    y += w
    return y.exp_().sum(), array


def an_output_seen_through_a_view(w):
    y = tg.zeros(2)
    array, view = y.numpy(), y.view(2, 1)
    y += w
    y.exp_()
    return view.sum(), array


def saved_but_no_argument(w):
    array = np.array([1.0, 2.0], np.float32)
    t = tg.from_numpy(array)

    class Scale(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(t)
            return x * t

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    return Scale.apply(w).sum(), array


CASES = [borrowed, a_read_only_view_of_what_is_borrowed, borrowed_from_an_array_of_a_tensor,
         an_output_lent_before_it_was_written, an_output_seen_through_a_view, saved_but_no_argument,
         a_view_of_what_is_borrowed, lent_before, lent_after, a_view_of_what_is_lent,
         a_result, the_parameter]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("gone", [False, True])
def test_a_gradient_that_needs_what_numpy_has_overwritten_raises(case, gone):
    w = tg.tensor([3.0, 4.0], requires_grad=True)
    loss, array = case(w)
    array[0] = 50.0
    if gone:
        del array
    with pytest.raises(RuntimeError, match="a write through NumPy " + NEEDS):
        loss.backward()


@pytest.mark.parametrize("case", CASES)
def test_what_numpy_only_reads_changes_no_gradient(case):
    w = tg.tensor([3.0, 4.0], requires_grad=True)
    loss, array = case(w)
    array[0] = array[0]
    loss.backward()
    twin = tg.tensor([3.0, 4.0], requires_grad=True)
    case(twin)[0].backward()
    assert w.grad.tolist() == twin.grad.tolist()


def test_what_is_computed_after_a_write_has_its_gradient():
    w = tg.tensor([3.0, 4.0], requires_grad=True)
    w.detach().numpy()[0] = 1.0  # between two steps, as old scripts clip their weights
    (w * w).sum().backward()
    assert w.grad.tolist() == [2.0, 8.0]
    array = w.detach().numpy()
    array[0] = 5.0
    (w * w).sum().backward()
    assert w.grad.tolist() == [12.0, 16.0]


def test_what_no_gradient_reads_may_be_written():
    w = tg.tensor([3.0, 4.0], requires_grad=True)
    x = tg.from_numpy(np.ones(2, np.float32))
    loss = (w + x).sum()
    x.numpy()[0] = 7.0
    loss.backward()
    assert w.grad.tolist() == [1.0, 1.0]


def test_a_loan_ends_with_the_array():
    gc.collect()  # loans that other tests left in cycles end now
    before = len(lent)
    x = tg.ones(3)
    part = x.numpy()[1:][:1]
    assert len(lent) == before + 1
    del part
    assert len(lent) == before
    keep = tg.from_numpy(np.ones(3))
    assert len(lent) == before + 1
    del keep
    assert len(lent) == before


def test_nothing_is_noted_when_python_ends():
    x = tg.ones(3)
    array, before = x.numpy(), dict(lent)
    memory = memory_of(x)
    del array
    assert lent != before
    array, before = x.numpy(), dict(lent)
    loan = memory.loans[-1]
    loan.holder = lambda: None
    end(weakref.ref(memory), None, lambda: True)
    assert lent == before and memory.loans[-1] is loan
    end(weakref.ref(memory), None, lambda: False)
    assert lent != before and array is not None


def test_a_compiled_step_reads_and_writes_what_numpy_holds():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    other = tg.tensor([1.0], requires_grad=True)
    array = w.detach().numpy()
    optimizer = tg.optim.SGD([w, other], lr=0.5)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        loss = (w * w * x).sum() + (other * other).sum()
        loss.backward()
        optimizer.step()
        return loss

    for k in range(5):
        array[0] = k
        wanted = [k * 0.5, float(array[1]) * 0.5]
        step(tg.tensor([0.5, 0.5]))
        assert array.tolist() == wanted == w.tolist()


def test_a_compiled_function_sees_which_arrays_look_at_one_memory():
    x = tg.tensor([1.0, 2.0])

    @tg.compile
    def f(a, b):
        a.add_(1.0)
        return (a * b).sum()

    assert f(x, np.ones(2, np.float32)).item() == 5.0
    for other in (x.numpy(), x.numpy()[:]):
        with pytest.raises(tg.TraceError, match="look at the same memory, and one of them is"):
            f(x, other)
    assert x.tolist() == [2.0, 3.0]


@pytest.mark.parametrize("change", [
    lambda y, x: y.add_(1), lambda y, x: y.unsqueeze_(0), lambda y, x: y.clone().mul_(x),
])  # fmt: skip
def test_what_is_written_in_place_keeps_what_numpy_may_write(change):
    array = np.ones(2, np.float32)
    w = tg.tensor([3.0, 4.0], requires_grad=True)
    x = tg.from_numpy(array)
    y = w * x
    y = change(y, x)
    array[:] = 5.0
    with pytest.raises(RuntimeError, match="a write through NumPy " + NEEDS):
        y.sum().backward()


def between_two_writes(y):
    y.detach().numpy()[:] = 7.0
    y.mul_(2)
    return y


def without_recording_between_two_writes(y):
    with tg.no_grad():
        y.add_(1)
    return y.mul_(2)


def after_detach_(y):
    z = y * 2
    y.detach_().add_(1)
    return z


def after_detach_through_numpy(y):
    z = y * 2
    y.detach_().numpy()[:] = 7.0
    return z


@pytest.mark.parametrize("change", [
    between_two_writes, without_recording_between_two_writes, after_detach_,
    after_detach_through_numpy,
])  # fmt: skip
def test_an_output_that_was_overwritten_before_it_became_another_is_missed(change):
    w = tg.tensor([3.0, 4.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="exp needs its output as it was.*" + NEEDS):
        change(w.exp()).sum().backward()


def test_what_a_function_gave_may_be_held_by_others():
    held = []

    class Exp(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            held.append(y)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    w = tg.tensor([3.0, 4.0], requires_grad=True)
    y = Exp.apply(w)
    held[0].add_(1)
    with pytest.raises(RuntimeError, match=NEEDS):
        y.sum().backward()


@pytest.mark.parametrize("size", [2, 20_000])
def test_a_loan_that_has_ended_is_asked_until_something_is_written(size):
    w = tg.tensor([3.0, 4.0] * (size // 2), requires_grad=True)
    x = tg.tensor([1.0, 2.0] * (size // 2))
    first = (w * x).sum()
    x.numpy()[0] = 5.0
    second = (w * x).sum()
    for _ in range(3):
        x.numpy()
    assert len(x.memory.loans) == (size > 2)  # a small array is compared at once
    with pytest.raises(RuntimeError, match=NEEDS):
        first.backward()
    second.backward()
    assert w.grad[:2].tolist() == [5.0, 2.0]


def test_what_was_held_is_compared_when_the_loan_is_over():
    w = tg.tensor([3.0, 4.0], requires_grad=True)
    array = w.detach().numpy()
    with tg.no_grad():
        w.mul_(2)
    loss = (w * w).sum()
    array[0] = 1.0
    del array
    with pytest.raises(RuntimeError, match=NEEDS):
        loss.backward()


def test_loans_leave_nothing_behind():
    w = tg.ones(2, requires_grad=True)
    for _ in range(50):
        before = w.detach().numpy()
        with tg.no_grad():
            w -= 0.001
        before[0] += 0.001
        del before
    assert not w.memory.loans


def test_a_graph_that_is_freed_keeps_no_copies_of_what_was_lent():
    w = tg.tensor([3.0, 4.0], requires_grad=True)
    product = w * tg.from_numpy(np.array([1.0, 2.0], np.float32))
    assert product.held
    product.sum().backward(retain_graph=False)
    assert not product.held
