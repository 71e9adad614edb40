"""compile(): writes, random draws, assumptions: what a call replaces and takes for granted."""

import itertools

import numpy as np
import pytest
from side_by_side import agree, batches, numbers_of, side_by_side, with_gradients

import tinygrad_ce as tg
from tinygrad_ce import TraceError, nn
from tinygrad_ce.nn import functional as F

# --- writes -------------------------------------------------------------------------------------


def test_writes_to_captured_and_computed_tensors():
    def build():
        total, count, table = tg.zeros(3).double(), tg.tensor(0), tg.zeros(4, 3).double()

        def f(x):
            total.add_(x)
            count.add_(1)
            table[1:3] = x
            table[0] = table[1] + total
            alias = total.detach()
            alias *= 0.5
            seen = total * 2.0
            total.data = total + count
            y = x * 2.0
            y[0] = total.sum()
            return seen, y, count.float()

        return f, [total, count, table]

    side_by_side(build, batches((3,), count=6))


def swapped():
    a, b = tg.ones(2, 3).double(), tg.zeros(2, 3).double()

    def f(x):
        old = a.clone()
        a.copy_(b)
        b.copy_(old + x)
        return old

    return f, [a, b]


def swapped_numbers():
    a, b = tg.tensor(1.0), tg.tensor(2.0)

    def f(x):
        old = a.clone()
        a.copy_(b)
        b.copy_(old)
        return x * old, a + 1.0

    return f, [a, b]


def shifted():
    cells = [tg.zeros(2, 3).double() for _ in range(3)]

    def f(x):
        for a, b in itertools.pairwise(cells):
            a.copy_(b)
        cells[-1].copy_(x)
        return cells[0] * 1.0

    return f, cells


def turned_before_it_is_written():
    a, b = tg.ones(2, 3).double(), tg.zeros(3, 2).double()

    def f(x):
        old = a.T.clone()
        a.add_(x)
        b.copy_(old)
        return old

    return f, [a, b]


def fixed_numbers():
    a, b = tg.ones(2, 3).double(), tg.ones(2, 3).double()

    def f(x):
        a.zero_()
        b.zero_()
        return a + x

    return f, [a, b]


@pytest.mark.parametrize(
    "build", [swapped, swapped_numbers, shifted, turned_before_it_is_written, fixed_numbers]
)
def test_a_tensor_becomes_what_another_was(build):
    side_by_side(build, batches((2, 3)))


@pytest.mark.parametrize("first", [True, False])
def test_parameters_are_copied_before_or_after_their_update(first):
    def build():
        model = nn.Linear(3, 2).double()
        copies = [tg.zeros(2, 3).double(), tg.zeros(2).double(), tg.zeros(2, 3).double()]
        optimizer = tg.optim.Adam(model.parameters(), lr=0.1)

        def keep():
            for c, p in zip(copies, model.parameters()):
                c.copy_(p.detach())

        def f(x):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            if first:
                keep()
            optimizer.step()
            if not first:
                keep()
            copies[2].copy_(model.weight.grad)

        return f, lambda: [copies, with_gradients(model.parameters())()]

    side_by_side(build, batches((4, 3)))


def test_a_gradient_and_its_copy_do_not_share_memory():
    w, seen = tg.ones(3).requires_grad_(), tg.zeros(3)

    @tg.compile
    def f(x):
        w.grad = None
        (w * x).sum().backward()
        seen.copy_(w.grad)

    for _ in range(3):
        f(tg.ones(3))
    w.grad.zero_()
    assert seen.tolist() == [1.0, 1.0, 1.0]


def test_the_detached_number_of_a_sum_stays_when_the_sum_is_written():
    def f(x):
        total = x.sum()
        before = total.detach()
        total += 1.0
        return total, before

    side_by_side(lambda: (f, []), batches((3,), count=4))


def test_a_tensor_made_inside_is_new_in_every_call():
    def build():
        w = tg.ones(3).double().requires_grad_()

        def f(x):
            out = tg.zeros(3).double()
            out[1:] = (w * x)[1:]
            out[0] = x.sum()
            v = tg.zeros(3).double().requires_grad_()
            for _ in range(3):
                v.grad = None
                ((v - x) ** 2).sum().backward()
                with tg.no_grad():
                    v -= 0.25 * v.grad
            (out * out).sum().backward()
            return out, v.detach()

        return f, with_gradients([w])

    side_by_side(build, batches((3,), count=5))


def test_a_gradient_written_into_a_tensor_from_outside_is_refused():
    w, store = tg.ones(2, requires_grad=True), tg.zeros(2)

    def f(x):
        store.copy_(w * x)

    with pytest.raises(TraceError, match=r"carries a gradient.*test_compile_state\.py.*detach"):
        tg.compile(f)(tg.ones(2))
    assert store.tolist() == [0.0, 0.0] and store.is_leaf and not store.requires_grad


def test_integer_counters_that_differ():
    def build():
        weights = [tg.ones(3).double().requires_grad_(), tg.ones(2, 3).double().requires_grad_()]
        counters = [tg.tensor(5), tg.tensor(0)]

        def f(x):
            for w in weights:
                w.grad = None
            sum((w * x).square().sum() for w in weights).backward()
            with tg.no_grad():
                for w, t in zip(weights, counters):
                    t.add_(1)
                    w.sub_(w.grad * 0.1 / (1.0 - 0.5**t))

        return f, lambda: [counters, with_gradients(weights)()]

    side_by_side(build, batches((3,)))


# --- random draws -------------------------------------------------------------------------------


def test_draws_go_on_as_eager_ones_do():
    def build():
        own = tg.random.Generator().manual_seed(5)

        def f(x):
            y = F.dropout(x, 0.5) + tg.randn(3) + tg.rand(3, generator=own)
            return y, tg.randperm(5), tg.bernoulli(tg.full((3,), 0.3)), tg.empty(3).normal_()

        return f, []

    side_by_side(build, batches((3,), count=20, dtype=np.float32))


def test_a_doubt_does_not_draw_twice():
    def build():
        own = tg.random.Generator().manual_seed(5)

        def f(x):
            z = F.dropout(x, 0.5, generator=own)
            return F.silu(z * tg.rand(3, generator=own))

        return f, []

    calls = batches((3,), count=6, dtype=np.float32)
    calls[3][0][1] = np.inf
    with np.errstate(invalid="ignore"):
        side_by_side(build, calls)


def test_draws_of_numpy_are_found():
    compiled = tg.compile(lambda x: x * np.random.random())
    compiled(tg.ones(2))
    with pytest.raises(TraceError, match=r"another number.*multiply at .*test_compile_state\.py"):
        compiled(tg.ones(2))


# --- assumptions --------------------------------------------------------------------------------


def classifier():
    model = nn.Linear(3, 4).double()
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x, targets):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), targets)
        loss.backward()
        optimizer.step()
        return loss

    held = with_gradients(model.parameters())
    return step, lambda: [held(), optimizer.state_dict()["state"]]


def test_class_ids_that_are_ignored_later():
    calls = [[x, np.arange(7) % 4] for (x,) in batches((7, 3), count=10)]
    calls[4][1][2:4] = -100
    calls[7][1][0] = -100
    side_by_side(classifier, calls)


@pytest.mark.parametrize("after", [1, 2, 4])
def test_class_ids_out_of_range_raise_as_in_eager_code(after):
    tg.manual_seed(0)
    step, held = classifier()
    compiled = tg.compile(step)
    calls = [[tg.tensor(x), tg.tensor(np.arange(7) % 4)] for (x,) in batches((7, 3), count=6)]
    for call in calls[:after]:
        compiled(*call)
    before = numbers_of(held())
    wrong = tg.tensor(np.array([0, 1, 2, 4, 0, 0, 0]))
    with pytest.raises(ValueError, match="class id 4 is outside"):
        compiled(calls[0][0], wrong)
    agree(numbers_of(held()), before)
    programs = len(compiled.runners)
    for call in calls[after:]:
        compiled(*call)
    assert len(compiled.runners) == programs


@pytest.mark.parametrize("function", [F.gelu, F.silu, F.logsigmoid, F.softplus])
def test_infinite_logits_later(function):
    def build():
        w = tg.ones(3).double().requires_grad_()

        def f(x):
            w.grad = None
            y = function(x * w)
            y.backward(tg.ones(3).double())
            return y

        return f, with_gradients([w])

    calls = batches((3,), count=6)
    calls[3][0][1], calls[5][0][2] = np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        side_by_side(build, calls)


def evaluated_after_its_update():
    model = nn.Linear(3, 4).double()
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    total = tg.ones(6).double()

    def f(x, y):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        total.mul_(1.5)
        after = F.cross_entropy(model(x * x), y, label_smoothing=0.1)
        return after, F.dropout(total, 0.5)

    return f, lambda: [total, with_gradients(model.parameters())()]


def in_one_long_row():
    w, total = tg.ones(4).double().requires_grad_(), tg.ones(6).double()

    def f(x, y):
        w.grad = None
        z = (x.repeat(1 << 16, 1) * w).flatten()
        z = F.tanh(z * 2.0 + 1.0) * z
        loss = F.binary_cross_entropy_with_logits(z, tg.ones(z.shape[0]).double())
        loss.backward()
        total.mul_(1.5)
        return loss, F.dropout(total, 0.5)

    return f, lambda: [total, with_gradients([w])()]


@pytest.mark.parametrize(
    ("build", "width"), [(evaluated_after_its_update, 3), (in_one_long_row, 4)]
)
def test_nothing_is_written_or_drawn_before_a_doubt(build, width):
    calls = [[tg.tensor(x), tg.tensor([0, 3])] for (x,) in batches((2, width), count=6)]
    with np.errstate(all="ignore"), tg.no_grad():
        calls[3][0][0, 1] = 1e200 if width == 3 else np.inf
    with np.errstate(all="ignore"):
        side_by_side(build, calls, bound=1e-9)


def test_draws_with_probabilities_that_change():
    def build():
        kept = tg.tensor(np.array([0.1, 0.9, 0.5]))
        own = tg.random.Generator().manual_seed(5)

        def f(x, y):
            p = x.sigmoid()
            found = [
                tg.bernoulli(p),
                tg.bernoulli(kept, generator=own),
                tg.bernoulli(y.abs().clamp(0, 1)),
            ]
            found += [tg.multinomial(p, 2, generator=own), tg.normal(kept, p), F.dropout(x, 0.4)]
            kept.mul_(0.9)
            return [*found, F.softplus(found[4])]

        return f, [kept]

    compiled = side_by_side(build, batches((3,), (2,), count=6))
    for level in ("formula", "primitive"):
        assert "drawn anew for each run: bernoulli, (3,)" in compiled.source(level)


# --- arguments and views that become what others are ----------------------------------------------


def exchanged(x, y):
    old = x.clone()
    x.copy_(y)
    y.copy_(old)


def taken_over_and_changed(x, y):
    x.copy_(y)
    y.mul_(2.0)


def assigned_data(x, y):
    x.data = y


@pytest.mark.parametrize(
    "function", [lambda x, y: x.copy_(y.detach()), exchanged, taken_over_and_changed, assigned_data]
)
@pytest.mark.parametrize("shape", [(), (2,)])
def test_an_argument_becomes_what_another_is(function, shape):
    def step(x, y):
        function(x, y)

    side_by_side(lambda: (step, []), batches(shape, shape, count=5))


@pytest.mark.parametrize("part", [lambda x: x[1:3], lambda x: x.reshape(2, 2).T])
@pytest.mark.parametrize("read", [lambda x: x.detach() * 1.0, lambda x: x.data[1:] * 2.0])
def test_a_view_that_is_read_without_its_past_is_no_constant(part, read):
    view = part(tg.tensor(np.arange(4.0)))  # nobody holds the tensor that it is a part of
    compiled = tg.compile(lambda: read(view))
    for _ in range(6):
        agree(numbers_of(compiled()), numbers_of(read(view)))
        view.mul_(1.5)


# --- what would be done only once ---------------------------------------------------------------


def trained(do_first, do_last=lambda optimizer, model, lr: None, compiled=True):
    """A step of training that does something else, too; the optimiser and the module."""
    tg.manual_seed(0)
    model = nn.Linear(2, 1).double()
    optimizer = tg.optim.SGD(model.parameters(), lr=1, momentum=0.5)

    def step(x, lr):
        do_first(optimizer, model, lr)
        optimizer.zero_grad()
        loss = model(x).sum() * tg.rand(1).double()
        loss.backward()
        optimizer.step()
        do_last(optimizer, model, lr)
        return loss

    return tg.compile(step) if compiled else step, optimizer, model


def rate(change):
    def do(optimizer, model, lr):
        optimizer.param_groups[0]["lr"] = change(optimizer.param_groups[0]["lr"], lr)

    return do


def nothing(optimizer, model, lr):
    pass


WEIGHTS = {"weight": np.zeros((1, 2)), "bias": np.zeros(1)}
STATE = tg.get_rng_state()
PLATEAU = tg.optim.lr_scheduler.ReduceLROnPlateau


@pytest.mark.parametrize(("first", "last", "message"), [
    (rate(lambda old, lr: lr), nothing, r"learning rate is set to a value .*test_.* group\['lr'\]"),
    (nothing, rate(lambda old, lr: lr), r"learning rate is set, from 1, .* group\['lr'\]"),
    (nothing, rate(lambda old, lr: old / 2), r"learning rate is set, from 1, .* group\['lr'\]"),
    (nothing, rate(lambda old, lr: 0.25), r"learning rate is set, from 1, .* group\['lr'\]"),
    (lambda *_: tg.manual_seed(3), nothing, "manual_seed starts .*test_.*before the call"),
    (lambda *_: tg.set_rng_state(STATE), nothing, "set_state starts .*before the call"),
    (lambda *_: tg.Generator().manual_seed(3), nothing, "manual_seed starts .*before the call"),
    (lambda o, m, _: m.load_state_dict(WEIGHTS), nothing, "load_state_dict writes.*before"),
    (nothing, lambda o, m, _: m.load_state_dict(m.state_dict()), "load_state_dict writes"),
    (lambda o, *_: tg.optim.lr_scheduler.StepLR(o, 1).step(), nothing, r"StepLR.step\(\) .*after"),
    (lambda o, *_: PLATEAU(o).step(1.0), nothing, r"ReduceLROnPlateau.step\(\) is called.*after"),
    (nothing, lambda o, m, _: o.load_state_dict(o.state_dict()), "load_state_dict writes"),
])  # fmt: skip
def test_what_would_be_done_only_once_is_refused_and_leaves_all_as_it_was(first, last, message):
    step, optimizer, model = trained(first, last)
    before = [p.tolist() for p in model.parameters()]
    for _ in range(2):
        drawn = tg.get_rng_state()
        with pytest.raises(TraceError, match=message.replace("'", '"')):
            step(tg.ones(3, 2).double(), 0.125)
        assert (tg.get_rng_state() == drawn).all()
        assert optimizer.param_groups[0]["lr"] == 1
        assert not any(t.numpy().any() for kept in optimizer.state.values() for t in kept.values())
        assert [p.tolist() for p in model.parameters()] == before


def test_a_learning_rate_that_each_call_changes_is_refused_in_the_second_call():
    halve = rate(lambda old, lr: old / 2)
    step, optimizer, model = trained(halve)
    eager, _, same = trained(halve, compiled=False)
    for f in (step, eager):
        tg.manual_seed(5)
        f(tg.ones(3, 2).double(), 0.125)
    assert optimizer.param_groups[0]["lr"] == 0.5
    np.testing.assert_allclose(model.weight.tolist(), same.weight.tolist(), rtol=1e-12)
    with pytest.raises(TraceError, match=r"step sets a learning rate, here from 0.5 to 0.25"):
        step(tg.ones(3, 2).double(), 0.125)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_a_learning_rate_that_is_set_to_the_same_in_each_call_is_none():
    same = rate(lambda old, lr: 0.25)
    found = []
    for compiled in (True, False):
        step, optimizer, model = trained(same, compiled=compiled)
        tg.manual_seed(5)
        found.append([step(tg.ones(3, 2).double(), 0.125).tolist() for _ in range(5)])
        found[-1] += [*model.weight.tolist(), optimizer.param_groups[0]["lr"]]
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-12)


GRADIENT_WRITES = {
    "zero_": lambda w: w.grad.zero_(),
    "halved": lambda w: w.grad.mul_(0.5),
    "all at once": lambda w: w.grad.__setitem__(slice(None), 0.0),
    "one element": lambda w: w.grad.__setitem__(1, 7.0),
    "filled": lambda w: w.grad.fill_(1.0),
    "its data": lambda w: w.grad.data.zero_(),
    "new data": lambda w: setattr(w.grad, "data", w.grad * 0.25),
    "moved": lambda w: w.grad.copy_(w * 2.0),
    "scaled and zero_": lambda w: w.grad.mul_(3.0).zero_(),
}


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("write", GRADIENT_WRITES)
def test_a_gradient_is_written_before_the_next_one_is_added(write, early):
    """As `p.grad.zero_()` in older programs: before the forward pass, or before backward()."""

    def build():
        w = tg.tensor([1.0, 2.0, 3.0]).double().requires_grad_()
        w.grad = tg.tensor([5.0, 6.0, 7.0]).double()

        def step(x):
            if early:
                with tg.no_grad():
                    GRADIENT_WRITES[write](w)
            loss = (x * w * w).sum()
            if not early:
                with tg.no_grad():
                    GRADIENT_WRITES[write](w)
            loss.backward()
            w.data += -0.01 * w.grad
            return loss

        return step, with_gradients([w])

    side_by_side(build, batches((3,), count=9))


def test_a_number_that_was_kept_is_put_back():
    """What stands for an argument while a function is traced is no number afterwards."""

    class Settings:
        scale = 1.0

    held, row, table, settings = 1.0, [1.0], {"a": 1.0}, Settings()
    settings.scale = 1.0
    optimizer = tg.optim.SGD([tg.ones(1, requires_grad=True)], lr=0.5)
    group = optimizer.param_groups[0]

    def f(x, a):
        nonlocal held
        held = row[0] = table["a"] = settings.scale = group["lr"] = a
        table["b"] = optimizer.param_groups[0]["momentum"] = a
        return x * a

    for _ in range(2):
        with pytest.raises(TraceError, match="a is kept by something that outlives the function"):
            tg.compile(f)(tg.ones(2), 3.0)
        assert (held, row, table, settings.scale) == (1.0, [1.0], {"a": 1.0}, 1.0)
        assert (group["lr"], group["momentum"]) == (0.5, 0.0)


ALIASES = {
    "an alias of what is gone": lambda w: (w.detach() * 1.0).detach(),
    "a row of what is gone": lambda w: (w.detach() * 1.0)[1],
    "rows of a leaf": lambda w: w[1:],
    "a transposed leaf": lambda w: w.T,
    "a row of an alias": lambda w: w.detach().detach()[1],
    "the data of a row": lambda w: w.data[1].data,
}


@pytest.mark.parametrize("read", [lambda b: b.detach(), lambda b: b.data])
@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_that_is_made_inside_follows_what_is_written_outside(alias, read):
    def build():
        w = tg.tensor(np.arange(6.0).reshape(2, 3)).requires_grad_()
        b = ALIASES[alias](w)
        return lambda x: (read(b) * x).sum(), [b, w]

    def write(own, i):
        with tg.no_grad():
            own[1].mul_(2.0)
            own[0].detach().add_(1.0)

    side_by_side(build, batches((1,), count=7), write)


@pytest.mark.parametrize("ends", ["written", "refused"])
@pytest.mark.parametrize("which", [lambda h: h, lambda h: h[:1]], ids=["itself", "a view"])
def test_a_recorded_tensor_from_outside_has_its_past_again(which, ends):
    x = tg.tensor([1.5, 2.5], requires_grad=True)
    h = x * 2.0
    view, seen = h[1:], h.reshape(2, 1)

    def f():
        which(h).mul_(3.0)
        return seen.sum() if ends == "written" else np.linalg.svd(h)

    wanted = {"written": (TraceError, "from outside"), "refused": (TypeError, "svd")}
    for _ in range(2):
        error, message = wanted[ends]
        with pytest.raises(error, match=message):
            tg.compile(f)()
    (h.sum() + view.sum() * 10.0 + seen.sum() * 100.0).backward()
    assert (h.tolist(), view.tolist(), seen.tolist()) == ([3.0, 5.0], [5.0], [[3.0], [5.0]])
    assert x.grad.tolist() == [202.0, 222.0]
