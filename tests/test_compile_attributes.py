"""Compiled functions that set tensors as attributes of modules, as eager code does."""

import numpy as np
import pytest
from side_by_side import agree, batches, numbers_of, side_by_side, with_gradients

import tinygrad_ce as tg
from tinygrad_ce import TraceError, nn


class Statistics(nn.Module):
    """Running means that are set, not written: a normalisation as people write it."""

    def __init__(self):
        self.scale = nn.Parameter(np.array([1.0, 2.0, 0.5]))
        self.register_buffer("mean", tg.zeros(3).double())
        self.register_buffer("var", tg.ones(3).double())
        self.register_buffer("count", tg.tensor(0))

    def forward(self, x):
        if self.training:
            with tg.no_grad():
                self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
                self.var = 0.9 * self.var + 0.1 * x.var(0)
                self.count = self.count + 1
        return (x - self.mean) / (self.var + 1e-5).sqrt() * self.scale


class Recurrent(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(np.linspace(-1.0, 1.0, 9).reshape(3, 3))
        self.h = tg.zeros(3).double()

    def forward(self, x):
        h = (self.h @ self.w + x).tanh()
        self.h = h.detach()
        return h


class Swapped(nn.Module):
    def __init__(self):
        self.a, self.b = tg.tensor(np.arange(3.0)), tg.tensor(np.ones(3))

    def forward(self, x):
        self.a, self.b = self.b, self.a
        self.b = self.b + x
        self.b = self.b * 2.0
        return self.a - self.b


class Kept(nn.Module):
    """What is only written may carry a graph, of which nothing is left after a call."""

    def __init__(self):
        self.w, self.seen = nn.Parameter(np.ones(3)), tg.zeros(3).double()

    def forward(self, x):
        self.seen = self.w * x
        return self.seen * 2.0


class Constant(nn.Module):
    def __init__(self):
        self.h = tg.ones(3).double()

    def forward(self, x):
        y = self.h * x
        self.h = tg.zeros(3).double()
        return y


class Restored(nn.Module):
    """A value that is borrowed for a moment, and another attribute that is kept."""

    def __init__(self):
        self.h, self.n = tg.ones(3).double(), tg.zeros(3).double()

    def forward(self, x):
        h, self.h = self.h, x * 2.0
        y = self.h + 1.0
        self.h, self.n = h, self.n + y
        return y * self.h


MODULES = (Statistics, Recurrent, Swapped, Kept, Constant, Restored)


def step_of(model):
    optimizer = tg.optim.Adam(model.parameters(), lr=0.1) if [*model.parameters()] else None

    def f(x):
        y = model(x)
        if optimizer is not None:
            optimizer.zero_grad()
            (y * y).sum().backward()
            optimizer.step()
        return y.detach()

    held = with_gradients(model.parameters())
    return f, lambda: [held(), [t.detach() for t in vars(model).values() if hasattr(t, "detach")]]


@pytest.mark.parametrize("make", MODULES)
def test_attributes_that_are_set(make):
    shape = (4, 3) if make is Statistics else (3,)
    compiled = side_by_side(lambda: step_of(make()), batches(shape, count=8))
    assert len(compiled.runners) == 1
    compiled.source()


CHANGES = {
    "set": lambda m, i, held: setattr(m, "mean", tg.full((3,), 0.5 * i).double()),
    "written": lambda m, i, held: m.var.mul_(1.5),
    "loaded": lambda m, i, held: m.load_state_dict(
        {name: t * 0 + i for name, t in m.state_dict().items()}
    ),
    "evaluated": lambda m, i, held: m.train(i % 3 != 2),
    "a view is written": lambda m, i, held: m.mean[1:].add_(1.0),
    "the old tensor is kept": lambda m, i, held: held.append(m.mean),
    "an alias is kept": lambda m, i, held: held.append(m.mean.detach()),
    "an array is kept": lambda m, i, held: held.append(m.mean.numpy()),
    "a view is kept": lambda m, i, held: held.append(m.mean[1:]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_happens_to_an_attribute_between_calls(change):
    results = []
    for wrap in (lambda f: f, tg.compile):
        model, held, seen = Statistics(), [], []
        step = wrap(step_of(model)[0])
        for i, (x,) in enumerate(batches((4, 3), count=8)):
            seen.append(numbers_of([step(tg.tensor(x)), model.mean, model.var, model.count]))
            change(model, i, held)
            seen.append([np.array(kept) for kept in held])
        results.append(seen)
    agree(results[1], results[0])


def test_each_call_leaves_another_tensor():
    model = Recurrent().eval()
    step = tg.compile(model)
    seen = [model.h]
    for (x,) in batches((3,), count=5):
        step(tg.tensor(x))
        assert all(model.h is not t for t in seen)
        seen.append(model.h)
    assert len({t.numpy().tobytes() for t in seen}) == 6
    bound = id(model.h.array)
    step(tg.tensor(x))
    assert id(model.h.array) == bound  # to which the program is bound
    assert not model.h.requires_grad


def test_nothing_is_set_when_a_trace_fails():
    model = Recurrent()
    before, numbers = model.h, model.h.numpy().copy()
    with pytest.raises(TraceError, match="has not computed yet"):
        tg.compile(lambda x: float(model(x).sum()))(tg.ones(3).double())
    assert model.h is before
    np.testing.assert_array_equal(model.h.numpy(), numbers)


class Anything(nn.Module):
    def __init__(self, do):
        self.w, self.h, self.g = nn.Parameter(np.ones(3)), tg.ones(3).double(), tg.ones(3).double()
        self.do = [do]

    def forward(self, x):
        self.do[0](self, x)
        return x * 1.0


@pytest.mark.parametrize(("do", "message"), [
    (lambda m, x: setattr(m, "h", x[:2]), r"h of shape \(3,\) .* is set to .* shape \(2,\)"),
    (lambda m, x: setattr(m, "h", x > 0), "dtype bool.*Set it before the first call"),
    (lambda m, x: setattr(m, "h", x), r"another name too.*clone"),
    (lambda m, x: setattr(m, "h", x.detach()), r"another name too.*clone"),
    (lambda m, x: setattr(m, "h", m.g), r"another name too.*clone"),
    (lambda m, x: setattr(m, "h", m.w.detach()), r"another name too.*clone"),
    (lambda m, x: (setattr(m, "h", y := x * 2.0), setattr(m, "g", y)), r"another name.*clone"),
    (lambda m, x: setattr(m, "h", m.h * m.w), r"carries a gradient.*self\.h = x\.detach\(\)"),
    (lambda m, x: (m.h.add_(1.0), setattr(m, "h", x * 2.0)), "written in place.*clone"),
    (lambda m, x: setattr(m, "h", 3), "is set"),
], ids=range(10))  # fmt: skip
def test_what_cannot_be_set_is_refused_and_left(do, message):
    model = Anything(do).eval()
    before = dict(vars(model))
    with pytest.raises(TraceError, match=message):
        tg.compile(model)(tg.ones(3).double())
    assert all(vars(model)[name] is value for name, value in before.items())
    assert model.h.tolist() == [1.0, 1.0, 1.0]


class Remembers(tg.nn.Module):
    """Adds a part of what it gave in the last call, if there was one."""

    def __init__(self):
        self.fc = tg.nn.Linear(3, 3)
        self.last = None

    def forward(self, x):
        h = self.fc(x).tanh()
        if self.last is not None:
            h = h + 0.5 * self.last
        self.last = h.detach()
        return (h * h).sum()


@pytest.mark.parametrize("deep", [False, True])
def test_an_attribute_that_was_none_holds_a_tensor_from_the_first_call_on(deep):
    tg.manual_seed(0)
    inner = Remembers()
    W, b = (p.detach().numpy().astype(np.float64) for p in inner.parameters())
    model = inner
    for _ in range(5 if deep else 0):
        model = tg.nn.Sequential(model)
    step = tg.compile(lambda x: model(x))
    last = 0.0
    for i in range(9):
        if i == 6:
            inner.last, last = None, 0.0
        x = np.full((2, 3), 0.3 * i, np.float32)
        last = np.tanh(x @ W.T + b) + 0.5 * last
        np.testing.assert_allclose(step(tg.tensor(x)).item(), (last**2).sum(), rtol=1e-5)
        np.testing.assert_allclose(inner.last.numpy(), last, rtol=1e-5, atol=1e-6)
    assert step.runners


def test_a_trace_of_an_attribute_that_was_none_says_what_to_write_and_leaves_it():
    model = Remembers()
    outer = tg.nn.Sequential(tg.nn.Sequential(tg.nn.Sequential(model)))
    with pytest.raises(TraceError, match=r"Remembers\.last was None.*self\.last = zeros"):
        tg.trace(lambda x: outer(x), tg.ones(2, 3))
    assert model.last is None
    model.last = tg.zeros(2, 3)
    assert len(tg.trace(lambda x: outer(x), tg.ones(2, 3)).states) == 3


def test_a_module_that_lives_in_the_function_alone_may_fill_what_was_none():
    def step(x):
        model = Counts()
        return model(x) + model(x)

    class Counts(tg.nn.Module):
        def __init__(self):
            self.last = None

        def forward(self, x):
            self.last = x * 2.0
            return self.last

    fast = tg.compile(step)
    for value in (1.0, 2.0, 3.0):
        assert fast(tg.full((1,), value)).item() == 4.0 * value


def test_a_tensor_kept_with_its_graph_is_to_be_detached():
    class Carrying(tg.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = tg.nn.Linear(3, 3), None

        def forward(self, x):
            h = self.inner(x) if self.last is None else self.inner(x) + self.last
            self.last = h
            return h.sum()

    compiled = tg.compile(Carrying().eval())
    compiled(tg.ones(2, 3))
    with pytest.raises(TraceError, match=r"last is set.*graph: self\.last = x\.detach\(\)"):
        compiled(tg.ones(2, 3))
