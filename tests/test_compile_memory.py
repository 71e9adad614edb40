"""compile(): where numbers lie. States in any layout, arguments that share memory, index arrays
that name an element twice, a process that is forked.
"""

import itertools
import os
import signal
import threading

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import TraceError, optim
from tinygrad_ce.program import compiling

numbers = np.random.default_rng(0).standard_normal


def both(make, calls, changes=()):
    """What a function and its compiled twin return in each call; `changes` go between the calls."""
    (plain, change), (fast, change_too) = make(), make()
    fast = tg.compile(fast)
    for i in range(calls):
        wanted, found = plain(), fast()
        assert np.allclose(found.numpy(), wanted.numpy(), rtol=1e-12, atol=1e-13), i
        change(i)
        change_too(i)


# --- states in any layout -----------------------------------------------------------------------

LAYOUTS = {
    "as it is": lambda a: tg.tensor(a),
    "transposed": lambda a: tg.tensor(a.T.copy()).T,
    "every second": lambda a: tg.tensor(np.repeat(a, 2, axis=1))[:, ::2],
    "backwards": lambda a: tg.tensor(a[:, ::-1].copy())[:, np.s_[:]].flip(1),
    "columns first": lambda a: tg.from_numpy(np.asfortranarray(a)),
    "a column": lambda a: tg.tensor(np.stack([a, -a], axis=2))[:, :, 0],
    "permuted": lambda a: tg.tensor(a.T.copy()[None]).permute(2, 1, 0)[:, :, 0],
}
READS = {
    "sum": lambda w: w.sum(),
    "sum of one axis": lambda w: w.sum(0) + w.sum(1, keepdim=True),
    "inner product": lambda w: (w * w).sum(),
    "mean square": lambda w: ((w - 1.0) ** 2).mean(),
    "reshape": lambda w: w.reshape(-1)[:3] * 2.0,
    "flatten": lambda w: w.flatten() @ w.flatten(),
    "product": lambda w: (w @ w.T).sum(0),
    "largest": lambda w: w.amax(1) + w.amax(),
    "relu": lambda w: w.relu().sum() - w.sigmoid().sum(),
    "softmax": lambda w: w.softmax(1).log().sum(),
    "norm": lambda w: w.norm() + w.var(),
    "dot": lambda w: w[0].dot(w[1]) + w[:, 0].dot(w[:, 1]),
    "cumsum": lambda w: w.cumsum(1) + w.exp(),
    "itself": lambda w: w * 1.0,
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_state_is_read_where_it_lies(layout, read):
    """Written outside of the function, in it, or by another compiled function."""
    start = numbers((5, 5))

    def outside():
        w = LAYOUTS[layout](start)
        return lambda: READS[read](w), lambda i: w.add_(0.25 * i)

    def inside():
        w = LAYOUTS[layout](start)

        def f():
            before = READS[read](w)
            w.mul_(0.5)
            w.add_(w.T)
            return before + READS[read](w)

        return f, lambda i: None

    def elsewhere():
        w = LAYOUTS[layout](start)
        scale = tg.compile(lambda: w.mul_(1.5))
        return lambda: READS[read](w), lambda i: scale()

    for make in (outside, inside, elsewhere):
        both(make, 5)


def test_a_long_state_with_gaps_is_read_in_pieces():
    start = np.repeat(numbers(200_000), 2)

    def make():
        w = tg.tensor(start)[::2]
        return lambda: (w.exp() * w + 1.0).sum(), lambda i: w.mul_(0.5)

    both(make, 4)


def test_a_state_may_get_another_layout():
    start = numbers((4, 4))

    def make():
        w = tg.tensor(start)

        def change(i):
            w.data = [w.T, w.contiguous(), w.flip(0).T, w][i % 4] * 1.0

        return lambda: w.reshape(-1)[:5] + (w * w).sum() + w.add_(1.0).sum(), change

    both(make, 9)


def test_a_parameter_in_any_layout_is_trained():
    for layout in LAYOUTS:
        found = []
        for compiled in (False, True):
            w = LAYOUTS[layout](np.arange(12.0).reshape(3, 4) / 10).detach().requires_grad_()
            b = tg.zeros(4).double().requires_grad_()
            optimizer = optim.Adam([w, b], lr=0.1)

            def step(x, w=w, b=b, optimizer=optimizer):
                loss = ((x @ w + b).tanh() ** 2).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                return loss

            step = tg.compile(step) if compiled else step
            losses = [float(step(tg.tensor(np.eye(2, 3) * (i + 1)))) for i in range(6)]
            found.append([*losses, *w.detach().numpy().ravel(), *b.detach().numpy()])
        assert np.allclose(*found, rtol=1e-11, atol=1e-12), layout


def test_what_is_repeated_follows_the_tensor_that_it_repeats():
    def make():
        w = tg.tensor([1.0, 2.0, 3.0])
        table, windows = w.expand(2, 3), w.expand(4, 3).T
        return lambda: (table * 2.0).sum(0) + windows.sum(1), lambda i: w.add_(float(i))

    both(make, 5)


# --- arguments that share memory ----------------------------------------------------------------


def pair(kind):
    """Two arguments that share memory in some way."""
    x = tg.tensor(np.arange(1.0, 7.0).reshape(2, 3))
    other = tg.tensor(np.full((2, 3), 2.0))
    array = np.arange(1.0, 7.0).reshape(2, 3)
    return {
        "apart": (x, other),
        "the same": (x, x),
        "a view": (x, x[:]),
        "the tensor of a view": (x[:], x),
        "two views": (x[:1].expand(1, 3), x[1:]),
        "detached": (x, x.detach()),
        "data": (x.data, x),
        "backwards": (x, x[:, np.s_[0:3]]),
        "its numbers": (x, x.numpy()),
        "arrays apart": (array, np.full((2, 3), 2.0)),
        "the same array": (array, array),
        "a view of an array": (array, array[:]),
    }[kind]


KINDS = (
    "apart", "the same", "a view", "the tensor of a view", "two views", "detached", "data",
    "backwards", "its numbers", "arrays apart", "the same array", "a view of an array",
)  # fmt: skip


def adds(a, b):
    a += 1.0
    return (a * b).sum()


def takes_the_other(a, b):
    b *= 2.0
    a -= b
    return a.sum() + b.sum()


def reads(a, b):
    return (a * b).sum()


@pytest.mark.parametrize("function", [adds, takes_the_other, reads])
@pytest.mark.parametrize("first", KINDS)
def test_arguments_that_share_memory_are_not_taken_for_others(function, first):
    """A program is right for its arguments, or refuses them; whatever it was traced with."""
    fast = tg.compile(function)
    for kind in (first, *KINDS, *KINDS):
        given, wanted = pair(kind), pair(kind)
        before = [np.array(x) for x in given]
        try:
            found = fast(*given)
        except TraceError as error:
            assert "the same memory" in str(error) or "is written and cannot be" in str(error)
            assert all(map(np.array_equal, given, before)), kind
            continue
        except (ValueError, RuntimeError):  # what is read-only, in eager code too
            assert kind == "its numbers"
            continue
        expected = function(*wanted)
        assert np.allclose(float(found), float(expected)), (first, kind)
        assert all(map(np.array_equal, given, wanted)), (first, kind)


def test_equal_arguments_are_one_argument():
    fast = tg.compile(adds)
    fast(*pair("apart"))
    x = tg.tensor([1.0, 2.0])
    assert float(fast(x, x)) == 13.0
    assert float(fast(x, x)) == 25.0
    assert x.tolist() == [3.0, 4.0]


def test_an_argument_that_is_a_state_is_seen():
    """One of them is written: as an argument, or as a state."""

    def writes_argument(a, w):
        a.add_(1.0)
        return (a * w).sum()

    def writes_state(a, w):
        w.add_(1.0)
        return (a * w).sum()

    for write in (writes_argument, writes_state):
        w = tg.tensor([1.0, 2.0, 3.0])
        fast = tg.compile(lambda a, w=w, write=write: write(a, w))
        for _ in range(4):
            other = tg.ones(3)
            expected = float(write(other.clone(), w.clone()))
            assert float(fast(other)) == expected
        for alias in (w, w[:], w.detach(), w.data, w.reshape(3, 1)[:, 0]):
            before = w.tolist()
            with pytest.raises(TraceError, match="the same memory"):
                fast(alias)
            assert w.tolist() == before


def test_pieces_of_one_tensor_that_do_not_overlap_are_apart():
    table = tg.zeros(3, 4)
    row, other = table[0], table[1]
    fast = tg.compile(lambda x: (row.add_(1.0) * x).sum())
    for i in range(5):
        assert float(fast(other)) == 0.0
        other.add_(0.0)
        assert table[0].tolist() == [i + 1.0] * 4
    assert len(fast.runners) == 1


def test_states_that_come_to_share_memory():
    """Two buffers become one; a program that writes one of them knew two."""
    holder = {"a": tg.zeros(3), "b": tg.ones(3)}

    @tg.compile
    def f():
        holder["a"].add_(1.0)
        return (holder["a"] * holder["b"]).sum()

    assert [float(f()) for _ in range(4)] == [3.0, 6.0, 9.0, 12.0]
    holder["b"] = holder["a"]
    assert [float(f()) for _ in range(4)] == [75.0, 108.0, 147.0, 192.0]


def test_a_gradient_of_the_last_call_as_an_argument():
    """The call overwrites the gradient while it reads it."""

    def make():
        w = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)

        def f(x):
            w.grad = None
            (w * w * x).sum().backward()
            return (w.grad * x).sum() + x.sum()

        return w, f

    for take in (lambda g: g, lambda g: g.detach(), lambda g: g[:], lambda g: g.numpy()):
        (w, plain), (v, fast) = make(), make()
        fast = tg.compile(fast)
        plain(tg.ones(3)), fast(tg.ones(3))
        for _ in range(5):
            given = np.array(w.grad.numpy())
            wanted = plain(tg.tensor(given))
            found = fast(take(v.grad))
            assert np.allclose(float(found), float(wanted), rtol=1e-5)
            w.grad.mul_(0.1), v.grad.mul_(0.1)


# --- index arrays -------------------------------------------------------------------------------

IDS = [
    np.array([0, 1, 2]), np.array([2, 1, 0]), np.array([0, 0, 1]), np.array([-1, 0, 1]),
    np.array([[0], [1], [1]]), np.array([[0], [1], [2]]), np.array([[0, 1, 2], [0, 1, 2]]),
    np.array([0]), np.array(1), np.array([False, True, True]), np.array([True, True, True]),
    np.array([0, 1]), np.array([False, True]), slice(None), slice(0, 2), None, 1, ...,
]  # fmt: skip
LOSSES = {
    "scaled": lambda w, at, c: (w[at] * c).sum(),
    "shifted": lambda w, at, c: (w[at] - w.sum()).exp().sum(),
    "likelihood": lambda w, at, c: -(w - w.logsumexp(dim=1, keepdim=True))[at].mean(),
    "spread": lambda w, at, c: ((w - w.mean(1, keepdim=True))[at] ** 2).mean(),
    "row sums": lambda w, at, c: (w[at].sum() * w.sum(1)).sum(),
}


def indices(shape):
    """The indices that fit a shape, and the shape of what they pick."""
    for at in itertools.product(IDS, repeat=2):
        try:
            yield at, np.zeros(shape)[at].shape
        except (IndexError, ValueError):
            continue


@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 2), (2, 3)])
def test_gradients_of_index_arrays_made_in_the_step(shape):
    """np.add.at knows the gradient: an element that is named twice gathers both."""
    start = numbers(shape)
    for at, picked in itertools.islice(indices(shape), 0, None, 3):
        c = numbers(picked)
        wanted = np.zeros(shape)
        np.add.at(wanted, at, c)
        w = tg.tensor(start, requires_grad=True)

        @tg.compile
        def scaled(c, w=w, at=at):
            inside = tuple(tg.tensor(i) if isinstance(i, np.ndarray) else i for i in at)
            w.grad = None
            LOSSES["scaled"](w, inside, c).backward()

        for _ in range(2):
            scaled(tg.tensor(c))
            assert np.allclose(w.grad.numpy(), wanted, rtol=1e-12, atol=1e-14), at


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_picked_elements(loss):
    for n, (at, picked) in enumerate(indices((3, 3))):
        if n % 4:
            continue
        c, found = tg.tensor(numbers(picked)), []
        for compiled in (False, True):
            w = tg.tensor(np.arange(9.0).reshape(3, 3) / 7, requires_grad=True)

            def step(c, w=w, at=at):
                w.grad = None
                value = LOSSES[loss](w, tuple(map(as_index, at)), c)
                value.backward()
                return value

            step = tg.compile(step) if compiled else step
            values = [float(step(c).detach()) for _ in range(2)]
            found.append([*values, *w.grad.numpy().ravel()])
        assert np.allclose(*found, rtol=1e-10, atol=1e-12), at


def as_index(part):
    return tg.tensor(part) if isinstance(part, np.ndarray) else part


def test_writes_at_index_arrays_made_in_the_step():
    for at, picked in itertools.islice(indices((3, 3)), 0, None, 2):

        def make(at=at, picked=picked):
            v = tg.tensor(np.arange(9.0).reshape(3, 3))

            def f():
                v[tuple(map(as_index, at))] = tg.ones(picked).double() * 7.0
                return v * 2.0

            return f, lambda i: v.add_(1.0)

        both(make, 3)


# --- processes ----------------------------------------------------------------------------------


def answer_of_a_child(ask):
    """What `ask` gives in a child process that is forked now; nothing if it hangs."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(20)
        os.write(writer, str(ask()).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as answer:
        return answer.read()


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
threads_and_forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@forks
@threads_and_forks
def test_a_child_calls_what_another_thread_is_inside_of(monkeypatch):
    monkeypatch.setattr(compiling, "PATIENCE", 0.01)
    inside, done = threading.Event(), threading.Event()

    @tg.compile
    def fast(x):
        inside.set()
        done.wait(30)
        return (x * 2.0).sum()

    thread = threading.Thread(target=fast, args=(tg.ones(3),))
    thread.start()
    inside.wait(30)
    try:
        assert answer_of_a_child(lambda: (done.set(), float(fast(tg.ones(3))))) == "(None, 6.0)"
    finally:
        done.set()
        thread.join()
    assert float(fast(tg.ones(3))) == 6.0  # and the parent goes on


def test_a_fork_waits_for_all_busy_functions_together_no_longer_than_for_one(monkeypatch):
    """By a clock that goes on by a second whenever it is read."""
    asked = []

    class Busy:
        def acquire(self, timeout):
            asked.append(timeout)
            return False

    busy = [tg.compile(lambda x: x) for _ in range(8)]
    for compiled in busy:
        compiled.lock = Busy()
    monkeypatch.setattr(compiling, "monotonic", itertools.count().__next__)
    compiling.before_fork()
    compiling.after_fork()
    assert asked[0] < compiling.PATIENCE and len(asked) == len(busy)
    assert all(a > b or a == b == 0 for a, b in itertools.pairwise(asked))


@forks
@threads_and_forks
def test_a_fork_waits_for_the_call_under_way():
    """Every child finds the two numbers as one call leaves them."""
    a, b, x = tg.zeros(300, 300), tg.zeros(300, 300), tg.ones(300, 300)
    fast = tg.compile(lambda x: (a.add_(x), b.add_(x @ x / 300.0))[0].sum())
    stop = threading.Event()

    def work():
        while not stop.is_set():
            fast(x)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(5):
            assert answer_of_a_child(lambda: bool((a == b).all())) == "True"
    finally:
        stop.set()
        thread.join()


def test_parameters_that_one_update_serves_can_still_be_viewed():
    """A weight and its bias keep their elements in one piece: `view` finds them."""
    found = []
    for compiled in (False, True):
        tg.manual_seed(0)
        layer = tg.nn.Linear(4, 3).double()
        optimizer = optim.Adam(layer.parameters(), lr=0.1)

        def train(x, layer=layer, optimizer=optimizer):
            loss = (layer(x) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        def penalty(layer=layer):
            return (layer.weight.view(-1) ** 2).sum() + layer.weight.view(2, 6)[0].sum()

        steps = [tg.compile(f) if compiled else f for f in (train, penalty)]
        x = tg.tensor(np.arange(20.0).reshape(5, 4) / 10)
        values = [[float(steps[0](x)), float(steps[1]())] for _ in range(6)]
        rows = [p.view(-1).tolist() for p in layer.parameters()]
        found.append([*np.ravel(values), *rows[0], *rows[1]])
    assert np.allclose(*found, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("view", [
    lambda b: b.flip(-1), lambda b: b.reshape(1).flip(0).reshape(()),
    lambda b: b.expand(3)[1], lambda b: tg.stack([b, b * 2.0]).flip(0)[1],
], ids=range(4))  # fmt: skip
def test_one_number_that_is_a_view_of_a_buffer_outlives_it(view):
    b = tg.tensor(0.5)

    @tg.compile
    def step(x):
        b.mul_(0.5)
        seen = view(b)
        return (x * 3.0).tanh().sum(), seen, ((x + 1.0).exp() * x).sum()

    for i in range(1, 4):
        _, seen, _ = step(tg.ones(1))
        assert seen.item() == b.item() == 0.5 ** (i + 1)
