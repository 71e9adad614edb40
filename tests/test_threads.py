"""Threads that share parameters: no gradient is lost, none comes back after it was forgotten."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn

THREADS, ROUNDS, SIZE = 8, 20, 3


def give_way(frame, event, argument):
    """Let another thread run before each line of the code that changes what is shared."""
    if frame.f_code.co_filename.endswith(("backward.py", "memory.py", "write.py")):
        time.sleep(0)
        return give_way
    return None


@pytest.fixture(autouse=True)
def switching_all_the_time():
    interval, trace = sys.getswitchinterval(), threading.gettrace()
    sys.setswitchinterval(1e-6)
    threading.settrace(give_way)
    yield
    threading.settrace(trace)
    sys.setswitchinterval(interval)


def together(work):
    """work(i) in several threads that begin at once; what they raise is raised here."""
    barrier = threading.Barrier(THREADS)

    def run(i):
        barrier.wait()
        return work(i)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def own_graph(w, create_graph):
    return lambda i: [
        (w * float(i + 1)).sum().backward(create_graph=create_graph) for _ in range(ROUNDS)
    ]


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_many_threads_add_up(create_graph):
    w = tg.ones(SIZE, requires_grad=True)
    together(own_graph(w, create_graph))
    assert (w.grad.detach().numpy() == ROUNDS * sum(range(1, THREADS + 1))).all()


def test_one_graph_goes_back_from_many_threads():
    """A leaf and a result that retains its gradient."""
    w = tg.full((SIZE,), 3.0, requires_grad=True)
    y = w * w
    y.retain_grad()
    loss = (y * 2.0).sum()
    together(lambda i: [loss.backward() for _ in range(ROUNDS)])
    assert (y.grad.numpy() == 2.0 * THREADS * ROUNDS).all()
    assert (w.grad.numpy() == 12.0 * THREADS * ROUNDS).all()


def test_a_model_trained_by_many_threads_sums_their_batches():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    batches = np.random.default_rng(0).standard_normal((THREADS, 5, 3))
    for batch in batches:
        (model(tg.tensor(batch)) ** 2).sum().backward()
    wanted = [p.grad.numpy() * ROUNDS for p in model.parameters()]
    model.zero_grad()

    def work(i):
        for _ in range(ROUNDS):
            (model(tg.tensor(batches[i])) ** 2).sum().backward()

    together(work)
    for p, g in zip(model.parameters(), wanted):
        np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-10)


def test_views_taken_by_many_threads_all_see_a_later_write():
    """All look at one memory, so that no gradient is computed from overwritten numbers."""
    for _ in range(ROUNDS):
        w, x = tg.ones(SIZE, SIZE, requires_grad=True), tg.ones(SIZE, SIZE)
        products = together(lambda i, w=w, x=x: (w * x.T).sum())
        assert {id(y.inputs[0].inputs[1].memory) for y in products} == {id(x.memory)}
        x += 1.0
        for y in products:
            with pytest.raises(RuntimeError, match="changed it in place"):
                y.backward()


def test_views_of_many_threads_all_follow_a_recorded_write():
    """None is forgotten while the list of views is tidied."""
    w, x = tg.ones(SIZE, requires_grad=True), tg.ones(SIZE, SIZE)
    kept = [v for views in together(lambda i: [x[0] for _ in range(ROUNDS)]) for v in views]
    x *= w
    assert all(v.requires_grad for v in kept)


def test_a_view_that_several_threads_ask_at_once_has_followed_the_write_for_all():
    w = tg.ones(SIZE, requires_grad=True)
    for _ in range(3 * ROUNDS):
        y = w * 1.0
        view = y[:2][::1]
        y *= 3.0
        gradients = together(lambda i, v=view: tg.autograd.grad((v * 2.0).sum(), w)[0].tolist())
        assert gradients == [[6.0, 6.0, 0.0]] * THREADS


@pytest.mark.parametrize("forget", ["grad = None", "zero_grad", "zero_grad to zeros"])
def test_a_forgotten_gradient_does_not_come_back(forget):
    w = tg.ones(SIZE, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1)
    begun, ended, over = [0], [0], threading.Event()

    def work(i):
        if i:
            while not over.is_set():
                begun.append(1)
                w.sum().backward()
                ended.append(1)
            return
        for _ in range(100):
            before = len(ended)
            if forget == "grad = None":
                w.grad = None
            else:
                optimizer.zero_grad(set_to_none=forget == "zero_grad")
            grad = w.grad
            found.append((grad[0].item() if grad is not None else 0, len(begun) - before))
        over.set()

    found: list[tuple[float, int]] = []
    together(work)
    assert all(grad <= since for grad, since in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_of_a_fork_can_add_gradients():
    """Whatever the other threads were doing."""
    w = tg.tensor([1.0], requires_grad=True)
    over = threading.Event()

    def work(i):
        if i:
            while not over.is_set():
                w.sum().backward()
            return []
        codes = []
        for _ in range(10):
            child = os.fork()
            if not child:
                v = tg.tensor([1.0], requires_grad=True)
                (v * 2.0).sum().backward()
                os._exit(7 if v.grad.tolist() == [2.0] else 1)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        over.set()
        return codes

    assert together(work)[0] == [7] * 10


def test_gradients_of_more_operands_are_compiled_beside_those_in_use():
    """Another thread may be going through them, or be making more of them itself."""
    op = tg.cat([tg.ones(1, requires_grad=True)]).op
    known = op.gradients
    before = list(known)
    more = op.gradients_for(len(known) + 3)
    assert list(known) == before and len(more) == len(known) + 3
    assert op.gradients_for(2) == more and more[: len(before)] == before
