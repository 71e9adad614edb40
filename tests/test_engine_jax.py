"""Compiled steps on JAX: what they compute, and where their state is between the calls."""

import copy
import dataclasses
import pickle
import sys
import threading
from functools import partial

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from programs import (
    indexing,
    parameters_that_are_views,
    two_layers_of_gpt,
    u_net,
    whole_numbers,
)
from side_by_side import agree, numbers_of

import tinygrad_ce as tg
from tests.benchmarks.in_tinygrad_ce import RUNS
from tests.benchmarks.workloads import WORKLOADS
from tinygrad_ce import nn
from tinygrad_ce.engines.away import SLOT, is_away
from tinygrad_ce.engines.jax_engine import AssumptionError
from tinygrad_ce.nn import functional as F

on_jax = tg.compile(engine="jax")


def plainly(function):
    return function


def widened(x):
    """Data in float64."""
    if isinstance(x, np.ndarray):
        return x.astype(np.float64) if x.dtype == np.float32 else x
    if isinstance(x, (list, tuple)):
        return type(x)(map(widened, x))
    if isinstance(x, dict):
        return {k: widened(v) for k, v in x.items()}
    if dataclasses.is_dataclass(x):
        return dataclasses.replace(x, **{k: widened(v) for k, v in vars(x).items()})
    return x


NAMES = [name for name in WORKLOADS if name != "W6a"]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "float32") for name in NAMES), ("W3", "float64"), ("W5", "float64")],
)  # of the others eight devices give the losses in float64
def test_five_steps_of_a_workload_agree_with_eager_code(name, dtype):
    data = WORKLOADS[name].small()
    data = widened(data) if dtype == "float64" else data
    bound = 1e-12 if dtype == "float64" else 1e-5
    build = RUNS[name]["tinygrad_ce"]
    plain, compiled = build(data), build(data, compile=on_jax)
    for _ in range(5):
        np.testing.assert_allclose(compiled.step(), plain.step(), rtol=bound)
    adam = 5 if name == "W3" and dtype == "float32" else 1  # divides by what may be mere rounding
    for a, b in zip(compiled.results(), plain.results(), strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=adam * bound * np.abs(b).max())


PROGRAMS = [
    two_layers_of_gpt, u_net, indexing, whole_numbers, parameters_that_are_views,
]  # fmt: skip


@pytest.mark.parametrize("build", PROGRAMS, ids=lambda build: build.__name__)
def test_a_program_does_what_eager_code_does(build):
    found = []
    for compile in (plainly, on_jax):
        tg.manual_seed(3)
        step, held, calls = build(np.float64)
        step = compile(step)
        results = [numbers_of(step(*map(tg.tensor, call))) for call in calls]
        found.append([results, numbers_of(held() if callable(held) else held)])
    agree(found[1], found[0], noise=1e-13)


def test_what_is_the_largest_is_equal_to_an_element_however_xla_rounds():
    w = tg.tensor(np.random.default_rng(0).uniform(-1, 1, (40, 3)), requires_grad=True)

    def step(x):
        w.grad = None
        y = w * x + 0.5
        (y.amax(0).square().sum() + y.amax().square()).backward()
        return w.grad.clone()

    fast = on_jax(step)
    for x in np.linspace(0.3, 0.6, 8):
        agree(fast(tg.tensor([x])).numpy(), step(tg.tensor([x])).numpy())


# --- where the state is -------------------------------------------------------------------------


class Trained:
    """A small network with batch normalisation and dropout: to train and to evaluate."""

    def __init__(self, compile, optimizer=tg.optim.AdamW, **how):
        tg.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5),
            nn.Linear(8, 3),
        ).double()  # fmt: skip
        self.optimizer = optimizer(self.model.parameters(), lr=0.01)
        self.step, self.loss = compile(self.train, **how), compile(self.measure, **how)

    def train(self, x, y):
        loss = F.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def measure(self, x, y):
        with tg.no_grad():
            return F.cross_entropy(self.model(x), y)

    def held(self):
        state = self.optimizer.state_dict()["state"]
        return [self.model.state_dict(), [p.grad for p in self.model.parameters()], state]


stream = np.random.default_rng(1)
x, y = tg.tensor(stream.standard_normal((16, 6))), tg.tensor(stream.integers(0, 3, 16))


def both(act, compile=on_jax, bound=1e-12):
    """What `act` gives, with the state after it, is the same in eager code."""
    seen = []
    for how in (plainly, compile):
        tg.manual_seed(7)
        trained = Trained(how)
        seen.append([numbers_of(act(trained)), numbers_of(trained.held())])
    agree(seen[1], seen[0], bound)


def test_training_with_dropout_and_batch_norm_draws_what_eager_code_draws():
    both(lambda t: [t.step(x, y) for _ in range(6)])


def test_a_read_fetches_that_tensor_alone_and_shapes_fetch_nothing():
    t = Trained(on_jax)
    for _ in range(3):
        loss = t.step(x, y)
    weight, bias = t.model[0].weight, t.model[4].bias
    assert is_away(weight) and is_away(bias) and is_away(loss) and is_away(weight.grad)
    assert weight.shape == (8, 6) and weight.dtype == tg.float64 and weight.ndim == 2
    assert len(weight) == 8 and weight.numel() == 48 and isinstance(weight, nn.Parameter)
    assert type(weight.shape) is tg.Size and weight.requires_grad and is_away(weight)
    repr(weight)
    assert not is_away(weight) and type(weight) is nn.Parameter
    assert is_away(bias) and is_away(loss) and is_away(weight.grad)
    t.step.sync()
    assert not any(map(is_away, [bias, weight.grad, *t.model.buffers()]))


READS = {
    "numpy": lambda w: w.detach().numpy(),
    "tolist": lambda w: np.array(w.tolist()),
    "copy": lambda w: copy.deepcopy(w).detach().numpy(),
    "pickle": lambda w: pickle.loads(pickle.dumps(w)).detach().numpy(),
    "arithmetic": lambda w: (w * 1.0).detach().numpy(),
    "NumPy": lambda w: np.add(w.detach(), 0.0).numpy(),
    "an index": lambda w: tg.stack(list(w)).detach().numpy(),
    "view": lambda w: w.view(-1).detach().numpy().reshape(8, 6),
    "data": lambda w: w.data.numpy(),
}


def test_every_way_to_read_a_tensor_finds_its_numbers():
    def act(t):
        found = [t.step(x, y) for _ in range(8)]
        return [*found, *([t.step(x, y), read(t.model[0].weight)] for read in READS.values())]

    both(act)


def write_in_place(t):
    with tg.no_grad():
        t.model[0].weight *= 0.5


def load(t):
    t.model.load_state_dict({k: v.clone() for k, v in Trained(plainly).model.state_dict().items()})


def write_data(t):
    t.model[4].bias.data = tg.ones(3, dtype=tg.float64)


def write_by_numpy(t):
    t.model[4].weight.detach().numpy()[0] = 0.25


def set_rate(t):
    t.optimizer.param_groups[0]["lr"] = 0.5


def set_slot(t):
    t.optimizer.state[t.model[0].weight]["exp_avg"].zero_()


CHANGES = [write_in_place, load, write_data, write_by_numpy, set_rate, set_slot]


def test_what_the_host_changes_is_seen_by_the_next_call():
    def act(t):
        found = [t.step(x, y) for _ in range(4)]
        for change in CHANGES:
            change(t)
            found += [t.step(x, y), t.step(x, y)]
        return found

    both(act)


def test_numbers_may_be_exchanged_without_a_look():
    t = Trained(on_jax)
    for _ in range(3):
        t.step(x, y)
    bias, weight = t.model[4].bias, t.model[4].weight
    assert is_away(bias) and pickle.loads(pickle.dumps(weight)).tolist() == weight.tolist()
    bias.array = np.ones(3)
    assert bias.tolist() == [1.0, 1.0, 1.0] and type(bias) is nn.Parameter
    t.step(x, y)
    assert bias.tolist() != [1.0, 1.0, 1.0]


def test_training_and_evaluation_share_what_is_on_the_device():
    def act(t):
        found = []
        for _ in range(5):
            t.model.train()
            t.step(x, y)
            t.model.eval()
            found.append(t.loss(x, y))
        return found

    both(act)
    t = Trained(on_jax)
    for _ in range(2):
        act(t)
    weight = t.model[0].weight
    t.model.train()
    t.step(x, y)
    t.model.eval()
    assert is_away(weight)
    t.loss(x, y)
    assert is_away(weight)


ALIASES = {
    "detach": lambda w: w.detach(),
    "data": lambda w: w.data,
    "a view": lambda w: w.detach()[1:],
    "NumPy's": lambda w: w.detach().numpy(),
    "a view of NumPy's": lambda w: w.detach().numpy()[:, 2],
}


@pytest.mark.parametrize("before", [0, 4])
def test_an_alias_stays_true(before):
    def act(t):
        found = [t.step(x, y) for _ in range(before)]
        for make in ALIASES.values():
            alias = make(t.model[0].weight)
            found += [t.step(x, y), np.array(alias), t.step(x, y), np.array(alias)]
            alias[...] = 0.5
            del alias
            found.append(t.step(x, y))
        return found

    both(act)


def test_large_numbers_go_back_to_the_device_when_numpy_has_let_them_go():
    w = tg.zeros(100, 200)

    @on_jax
    def count(x):
        w.add_(x)

    for _ in range(3):
        count(tg.ones(()))
    assert is_away(w) and w.numpy().sum() == 60000.0 and not is_away(w)
    for _ in range(2):
        count(tg.ones(()))
    count(tg.ones(()))
    assert is_away(w) and w.sum().item() == 120000.0


def test_memory_from_numpy_is_copied_in_and_written_back():
    found = []
    for compile in (plainly, on_jax):
        array = np.arange(4.0)
        total = tg.from_numpy(array)

        def add(x, total=total):
            total.add_(x)
            return total * 2.0

        add = compile(add)
        given = np.ones(4)
        results = []
        for i in range(5):
            results.append(add(tg.from_numpy(given)))
            given += i  # the step may be on its way: it has a copy
            array[0] += 10.0
        found.append([numbers_of(results), array.copy()])
    agree(found[1], found[0])


def test_results_and_gradients_are_not_those_of_the_next_call():
    t = Trained(on_jax)
    for _ in range(3):
        t.step(x, y)
    first, gradient = t.step(x, y), t.model[0].weight.grad
    t.step(x, y)
    assert first.item() != t.step(x, y).item()
    assert gradient is not t.model[0].weight.grad


def test_gradients_are_added_to_those_that_are_there():
    def act(t):
        def gather(x, y):
            F.cross_entropy(t.model(x), y).backward()

        t.step(x, y)
        gather = on_jax(gather) if isinstance(t.step, type(on_jax(plainly))) else gather
        for _ in range(4):
            gather(x, y)
        return [p.grad for p in t.model.parameters()]

    both(act)


def test_arguments_are_written_and_get_gradients():
    found = []
    for compile in (plainly, on_jax):

        @compile
        def f(a, b, c):
            a.add_(1.0)
            (b * b * a).sum().backward()
            c *= 2.0
            return {"a": a, "sum": b.detach() + a, "array": c * 3.0}

        a, b, c = tg.zeros(3), tg.ones(3, requires_grad=True), np.ones(3)
        for _ in range(3):
            result = f(a, b, c)
        found.append(numbers_of([a, b.grad, c, result["a"], result["sum"], result["array"]]))
        assert result["a"] is a
    agree(found[1], found[0])


def test_a_module_is_compiled_for_eval_and_its_results_have_a_graph_in_training():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    fast = tg.compile(model, engine="jax")
    given = tg.randn(2, 3)
    fast(given).sum().backward()
    assert model[0].weight.grad is not None
    fast.eval()
    with tg.no_grad():
        np.testing.assert_allclose(fast(given).numpy(), model(given).numpy(), rtol=1e-6)
    assert len(fast.runners) == 1


def test_pickled_a_compiled_function_keeps_its_engine():
    again = pickle.loads(pickle.dumps(tg.compile(F.relu, engine="jax", donate=False)))
    assert again.engine_options.donate is False
    assert again(tg.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


def test_the_users_flags_are_untouched():
    import jax.numpy as jnp

    t = Trained(on_jax)
    t.step(x, y)
    assert jnp.ones(1).dtype == np.float32 and not jax.config.jax_enable_x64


def test_what_one_step_returns_goes_to_the_next_without_a_look():
    double, add = on_jax(lambda a: a * 2.0), on_jax(lambda a: a + 1.0)
    one = tg.ones(3)
    for _ in range(4):
        for given in (double(one), double(one), one):  # away, away, here
            assert add(given).tolist() == (given + 1.0).tolist()
    assert len(add.runners) == 1
    while (add.runners[0].calls + 1) & add.runners[0].calls == 0:  # a call that is compared reads
        add(one)
    given = double(one)
    assert add(given).tolist() == [3.0] * 3 and is_away(given)
    zero, table = tg.tensor(0), tg.arange(3.0)
    pick = on_jax(lambda i: table[i + zero])
    for i in (0, 1, 2, 0):
        assert add(pick(tg.tensor([i, i, i]))).tolist() == [i + 1.0] * 3
    with pytest.raises(AssumptionError, match=r"all indices are in -3 \.\.\. 2"):
        add(pick(tg.tensor([7, 0, 0])))


def test_a_large_input_that_comes_again_stays_on_the_device_until_somebody_reads_it():
    w = tg.zeros(())

    @on_jax
    def mean(x):
        w.add_(1.0)
        return x.mean() + w

    def write(a):
        a[0] = 200.0

    a, b = tg.ones(200, 100), tg.full((200, 100), 2.0)
    n = 0.0
    changes = [lambda a: a.sum().item(), lambda a: a.mul_(2.0), lambda a: write(a.numpy()), write,
               lambda a: write(a[100:]), lambda a: a.fill_(7.0), lambda a: mean(b)]  # fmt: skip
    for change in changes:
        while not is_away(a):
            n += 1.0
            wanted = n + a.mean().item()
            assert mean(a).item() == pytest.approx(wanted, abs=1e-5)
            seen = mean(a)
            n += 1.0
            assert seen.item() == pytest.approx(wanted + 1.0, abs=1e-5)
        change(a)
        n += change is changes[-1]
    assert not is_away(a) and a[0, 0].item() == 7.0
    alias, calls = a.detach(), w.item()
    for _ in range(3):
        mean(a)
        assert not is_away(a)
    alias[...] = 3.0
    assert mean(a).item() == calls + 4.0 + 3.0


class Lazy(dict):
    """A batch that does something whenever an entry is asked for."""

    act = staticmethod(lambda: None)

    def __getitem__(self, key):
        self.act()
        return super().__getitem__(key)


def by_another_thread(act):
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


@pytest.mark.parametrize("factor", [1.0, 2.0])
@pytest.mark.parametrize("runs", [lambda act: act(), by_another_thread])
def test_the_state_may_be_read_and_written_while_a_call_looks_at_its_arguments(runs, factor):
    w, total, asked = tg.zeros(2), 0.0, []

    @tg.compile(engine="jax")
    def add(batch):
        w.add_(batch["x"])
        return w * 2.0

    def touch():
        assert w.tolist() == [total] * 2
        if factor != 1.0:
            w.mul_(factor)

    def act():
        asked.append(None)
        if len(asked) == at + 1:
            runs(touch)

    for at in range(12):  # in every place in which a call asks: before it looks, and after
        for _ in range(2):
            total += 1.0
            assert add(Lazy(x=tg.ones(2))).tolist() == [2 * total] * 2
        asked.clear()
        batch = Lazy(x=tg.ones(2))
        batch.act = act
        result = add(batch)
        total = total * (factor if len(asked) > at else 1.0) + 1.0
        assert result.tolist() == [2 * total] * 2 and w.tolist() == [total] * 2
    assert len(add.runners) == 1
    assert add(Lazy(x=tg.ones(1))).tolist() == [2 * total + 2.0] * 2


def test_another_thread_may_read_while_a_step_runs():
    w = tg.zeros(100, 100, requires_grad=True)
    rate = tg.ones(())

    @tg.compile(engine="jax")
    def count():
        w.grad = None
        loss = w.sum()
        loss.backward()
        w.data += w.grad * rate
        return loss

    done, seen, wrong = threading.Event(), [], []

    def read():
        while not done.is_set():
            try:
                assert w.shape == (100, 100) and len(w) == 100
                seen.append((w.detach() * 1.0).min().item())
            except BaseException as error:
                wrong.append(error)

    for _ in range(3):
        count()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        losses = [count().item() for _ in range(150)]
    finally:
        done.set()
        reader.join()
        sys.setswitchinterval(interval)
    assert not wrong and seen == sorted(seen)
    assert losses == [10000.0 * i for i in range(3, 153)] and w[0, 0].item() == 153.0


# --- memory that others look at, and one Tensor under two names ----------------------------------


N = 40_000  # a large input, which stays on the device when it comes again


def buffers(path):
    """(the numbers that somebody may write, a Tensor that looks at them) for each kind of owner."""
    u = np.ones(N, np.float32)
    read_only = u.view()
    read_only.flags.writeable = False
    yield u, tg.from_numpy(read_only)
    m = np.memmap(path, np.float32, "w+", shape=(N + 1,))
    m[:] = 1.0
    yield m, tg.from_numpy(m[:N])
    b = np.frombuffer(bytearray(u.tobytes()), np.float32)
    yield b, tg.from_numpy(b)
    v = np.ones(N, np.float32)
    yield v, tg.from_numpy(np.lib.stride_tricks.sliding_window_view(v, 8))
    base = tg.ones(N)
    yield base.numpy(), base.unfold(0, 7, 1)


@pytest.mark.parametrize("which", range(5))
def test_a_large_input_whose_memory_somebody_writes_is_seen_anew(which, tmp_path):
    owner, t = [*buffers(tmp_path / "numbers")][which]
    total = tg.compile(lambda a: a.sum(), engine="jax")
    for n in range(1, 11):
        owner[...] = n
        assert total(t).item() == n * t.numel()


def test_a_state_in_the_memory_of_a_map_stays_there(tmp_path):
    m = np.memmap(tmp_path / "numbers", np.float32, "w+", shape=(8,))
    w = tg.from_numpy(m[:3])
    step = tg.compile(lambda: w.add_(1.0).sum(), engine="jax")
    for _ in range(6):
        step()
    m[0] = 100.0
    assert step().item() == 115.0 and m[:3].tolist() == w.tolist() == [101.0, 7.0, 7.0]


@pytest.mark.parametrize("engine", ["numpy", "jax"])
def test_a_state_is_no_argument_of_a_program_that_was_traced_with_another_tensor(engine):
    w, p = (tg.ones(3, requires_grad=True) for _ in range(2))
    counter, other = tg.ones(3), tg.ones(3)

    def loss_of(x):
        w.grad = x.grad = None
        loss = (w * w * x).sum()
        loss.backward()
        return loss

    def gradient(x):
        return tg.autograd.grad((w * w * x).sum(), w)[0]

    def counts(x):
        counter.add_(1.0)
        return (counter * x).sum()

    for function, usual, own in [(loss_of, p, w), (gradient, p, w), (counts, other, counter)]:
        step = tg.compile(function, engine=engine)
        for _ in range(6):
            step(usual)
        before = counter.tolist()
        for _ in range(2):
            with pytest.raises(tg.TraceError, match="look at the same memory"):
                step(own)
        step(usual)
        assert counter.tolist() == [c + (own is counter) for c in before]


@pytest.mark.parametrize("engine", ["numpy", "jax"])
def test_numbers_of_a_parameter_may_be_an_argument_where_no_gradient_goes_to_it(engine):
    w = tg.ones(3, requires_grad=True)
    step = tg.compile(lambda x: tg.autograd.grad((w * w * x).sum(), w)[0], engine=engine)
    for x in (tg.ones(3), w.detach(), w.data, tg.ones(3), w.detach()):
        assert step(x).tolist() == [2.0, 2.0, 2.0]
    assert len(step.runners) == 1


# --- what a program takes for granted -----------------------------------------------------------


def test_what_rests_on_inputs_is_checked_before_the_run():
    t = Trained(on_jax)
    for _ in range(4):
        t.step(x, y)
    before = numbers_of(t.held())
    with pytest.raises(ValueError, match="class id 3 is outside"):
        t.step(x, tg.full((16,), 3))
    agree(numbers_of(t.held()), before, 0.0)
    t.step(x, y)


def test_an_index_that_is_computed_is_checked_on_the_device():
    table = tg.arange(5.0, requires_grad=True)
    shift = tg.tensor(0)
    total = tg.zeros(())

    @tg.compile(engine="jax")
    def pick(i):
        total.add_(1.0)
        return table.detach()[i + shift]

    for k in (0, 1, 2, -5):
        last = pick(tg.tensor([k]))
        assert last.tolist() == [k % 5]
    result = pick(tg.tensor([5]))
    pick(tg.tensor([1]))
    message = r"in call 5 of pick .* all indices are in -5 \.\.\. 4 \(.*test_engine_jax"
    later = pick(tg.tensor([1]))
    for read in (result.tolist, result.tolist, later.item, lambda: result + 1.0):
        with pytest.raises(AssumptionError, match=message):
            read()
    assert total.item() == 4.0 and last.item() == 0.0
    assert pick(tg.tensor([1])).tolist() == [1] and total.item() == 5.0
    with pytest.raises(AssumptionError, match=message):
        later.item()


def test_the_gradient_of_a_call_that_failed_is_none_for_others():
    w, table, zero = tg.ones(2, requires_grad=True), tg.arange(3.0), tg.tensor(0)

    @tg.compile(engine="jax")
    def slope(i):
        w.grad = None
        loss = (w * table[i + zero]).sum()
        loss.backward()
        return loss

    @tg.compile(engine="jax")
    def descend():
        w.data -= 0.5 * w.grad

    for _ in range(2):
        slope(tg.tensor([1]))
        descend()
    assert w.tolist() == [0.0, 0.0]
    slope(tg.tensor([7]))
    descend()
    failed = w.grad
    with pytest.raises(
        AssumptionError, match=r"in call 3 of descend .*call 3 .*all indices are in"
    ):
        w.tolist()
    assert w.tolist() == [0.0, 0.0]
    for read in (failed.tolist, w.grad.tolist, failed.tolist, descend):
        with pytest.raises(AssumptionError, match=r"in call 3 of slope .*all indices are in"):
            read()
    assert slope(tg.tensor([1])).item() == 0.0 and w.grad.tolist() == [1.0, 1.0]
    descend()
    assert w.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_what_failed_is_told_through_every_step_that_the_numbers_went(first):
    table, zero = tg.arange(3.0), tg.tensor(0)
    w, v, u = tg.zeros(1), tg.zeros(1), tg.zeros(1)
    add = on_jax(lambda i: (w.add_(table[i + zero]), None)[1])
    second = on_jax(lambda: (v.copy_(w), None)[1])
    third = on_jax(lambda: (u.copy_(v), u * 2.0)[1])

    def step(i):
        add(tg.tensor([i]))
        second()
        return third()

    for _ in range(2):
        step(1)
    result = step(9)
    reads = [u.tolist, v.tolist, w.tolist, result.tolist]
    with pytest.raises(AssumptionError, match=r"all indices are in -3 \.\.\. 2"):
        reads[first]()
    for _ in range(2):
        with pytest.raises(AssumptionError, match=r"all indices are in -3 \.\.\. 2"):
            result.tolist()
    assert (u.tolist(), v.tolist(), w.tolist()) == ([2.0], [2.0], [2.0])
    assert step(1).tolist() == [6.0] and u.tolist() == [3.0]


def test_a_call_that_fails_raises_at_once_where_others_look_at_the_state():
    table, zero, w = tg.arange(3.0), tg.tensor(0), tg.zeros(1)
    add = on_jax(lambda i: (w.add_(table[i + zero]), None)[1])
    alias = w.detach()
    for _ in range(2):
        add(tg.tensor([1]))
    with pytest.raises(AssumptionError, match="in call 3 of"):
        add(tg.tensor([9]))
    assert alias.tolist() == [2.0]


def test_a_state_that_leaves_what_is_taken_for_granted_stays_as_it_was():
    w, count = tg.tensor([1e30], requires_grad=True), tg.zeros(())

    @tg.compile(engine="jax")
    def step(x):
        w.grad = None
        loss = F.binary_cross_entropy_with_logits(w * x, tg.ones(1))
        loss.backward()
        with tg.no_grad():
            w.mul_(10.0)
        count.add_(1.0)
        return loss

    losses = [step(tg.ones(1)) for _ in range(12)]
    message = r"in call 10 of step .*all numbers are finite.* The state is as it was before"
    with pytest.raises(AssumptionError, match=message):
        losses[-1].item()
    assert count.item() == 9.0
    step(tg.ones(1))
    assert count.item() == 10.0


def test_numbers_that_are_lost_on_the_device_are_told_with_what_keeps_them():
    t = Trained(on_jax)
    for _ in range(3):
        t.step(x, y)
    SLOT.__get__(t.model[0].weight).value.delete()  # as a step that fails leaves what was donated
    with pytest.raises(RuntimeError, match=r"train failed on the device.*compile\(donate=False\)"):
        t.model[0].weight.tolist()


LOST = tg.zeros(3)


def test_what_is_lost_may_be_written_anew_and_disturbs_nobody_else():
    layer = nn.Module()
    layer.register_buffer("w", LOST)
    double = on_jax(lambda: (LOST.mul_(2.0), None)[1])
    writes = {
        "load_state_dict": lambda: layer.load_state_dict({"w": tg.full((3,), 5.0)}),
        "data": lambda: setattr(LOST, "data", tg.full((3,), 5.0)),
        "copy_": lambda: LOST.copy_(tg.full((3,), 5.0, requires_grad=True).detach()),
        "fill_": lambda: LOST.fill_(5.0),
    }
    for name, write in writes.items():
        while not is_away(LOST):
            double()
        away = SLOT.__get__(LOST)
        away.value.delete()
        with pytest.raises((ValueError, RuntimeError), match=r"shape|fit"):
            LOST.copy_(tg.ones(7))
        with pytest.raises(ValueError, match="shape"):
            LOST.data = tg.ones(7)
        with pytest.raises(TypeError, match="LOST is wanted"):
            tg.compile(refuse)()
        assert SLOT.__get__(LOST) is away
        with pytest.raises(RuntimeError, match=r"results are lost.*Write the state anew"):
            LOST.tolist()
        write()
        assert LOST.tolist() == [5.0] * 3, name
        double()
        assert LOST.tolist() == [10.0] * 3, name


def test_state_that_is_away_is_overwritten_with_a_gradient_and_by_no_trace():
    w, five = tg.ones(3), tg.full((3,), 5.0, requires_grad=True)
    double = on_jax(lambda: (w.mul_(2.0), None)[1])
    while not is_away(w):
        double()
    program = tg.trace(partial(setattr, w, "data"), tg.full((3,), 5.0))
    assert program.states and w.tolist() != [5.0] * 3  # a trace writes nothing
    while not is_away(w):
        double()
    w.copy_(five)
    (w * w).sum().backward()
    assert five.grad.tolist() == [10.0] * 3


def refuse():
    if LOST is not None:
        raise TypeError("LOST is wanted")


def test_without_donation_the_state_before_the_call_is_put_back():
    w, count = tg.zeros(3), tg.zeros(())

    @tg.compile(engine="jax", donate=False)
    def step():
        w.add_(1.0)
        count.add_(1.0)
        return w * 2.0

    def fail():
        for tensor in (w, count):
            SLOT.__get__(tensor).value.delete()

    message = "step failed on the device: .*; the state is as it was before the last call"
    for act in (w.tolist, step):
        for _ in range(3):
            n = step()[0].item() / 2.0
        while not (is_away(w) and is_away(count)):  # a call that is compared reads them
            n = step()[0].item() / 2.0
        fail()
        with pytest.raises(RuntimeError, match=message):
            act()
        assert w.tolist() == [n - 1.0] * 3 and count.item() == n - 1.0
        assert step().tolist() == [2.0 * n] * 3 and count.item() == n


# --- options ------------------------------------------------------------------------------------


def test_options_are_looked_at():
    with pytest.raises(ValueError, match="engine='torch'; wanted one of numpy, jax, auto"):
        tg.compile(plainly, engine="torch")
    with pytest.raises(TypeError, match=r"'devices'; .* are for engine='jax'"):
        tg.compile(plainly, devices=8)
    with pytest.raises(TypeError, match=r"local=True divides a batch .* pass devices="):
        tg.compile(plainly, engine="jax", local=True)
    with pytest.raises(RuntimeError, match="nothing is traced yet"):
        tg.compile(plainly, engine="jax").emitted()
    with pytest.raises(ValueError, match="random='gpu'; wanted 'host' or 'device'"):
        tg.compile(plainly, engine="jax", random="gpu")


def test_random_numbers_of_the_device_are_others_and_come_from_our_seed():
    found = []
    for how in ({}, {"random": "device"}, {"random": "device"}):
        t = Trained(tg.compile(engine="jax", **how))
        tg.manual_seed(2)
        found.append([t.step(x, y).item() for _ in range(4)])
    assert found[1] == found[2] and found[0] != found[1]
    assert len(set(found[1])) == 4


def test_a_draw_with_computed_probabilities_is_for_the_device():
    w = tg.full((1000,), 0.25)

    def noisy():
        w.mul_(1.0)
        return tg.bernoulli(w * 2.0)

    with pytest.raises(NotImplementedError, match=r"bernoulli at .*in noisy.*random=\"device\""):
        tg.compile(noisy, engine="jax")()
    tg.manual_seed(0)
    assert abs(tg.compile(noisy, engine="jax", random="device")().mean().item() - 0.5) < 0.08


def test_without_donation_every_call_looks_at_the_one_before():
    shift, table = tg.tensor(0), tg.arange(3.0)

    @tg.compile(engine="jax", donate=False, random="device")
    def pick(i):
        return F.dropout(table[i + shift], 0.0) + tg.rand(1) * 0.0

    assert [pick(tg.tensor([k])).item() for k in (0, 1, 2)] == [0.0, 1.0, 2.0]
    with pytest.raises(IndexError):  # call 4 is traced as well
        pick(tg.tensor([3]))
    assert pick(tg.tensor([1])).item() == 1.0
    pick(tg.tensor([7]))
    with pytest.raises(AssumptionError, match=r"all indices are in -3 \.\.\. 2"):
        pick(tg.tensor([1]))
    assert pick(tg.tensor([1])).item() == 1.0


def test_class_ids_out_of_range_are_refused_where_jax_draws_too():
    t = Trained(on_jax, random="device")
    for _ in range(6):
        t.step(x, y)
    with pytest.raises(ValueError, match="class id 5 is outside"):
        t.step(x, tg.full((16,), 5))
    t.loss(x, y)
    with pytest.raises(ValueError, match="class id 5 is outside"):
        t.loss(x, tg.full((16,), 5))


class Mean(nn.Module):
    """A running mean, set as an attribute."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", tg.zeros(2))

    def forward(self, x):
        self.mean = 0.5 * self.mean + x.mean(0)
        return x - self.mean

    @tg.compile(engine="jax")
    def by_method(self, x):
        return self(x)


def test_an_attribute_that_is_set_is_state_and_methods_are_compiled():
    found = []
    for compiled in (False, True):
        layer = Mean()
        given = [tg.tensor([[1.0, 2.0], [3.0, float(i)]]) for i in range(6)]
        call = layer.by_method if compiled else layer
        found.append(numbers_of([[call(g) for g in given], layer.mean]))
    agree(found[1], found[0])
