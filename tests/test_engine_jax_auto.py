"""engine="auto": the first calls are timed on both engines, and the faster one runs the others."""

import pickle

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from side_by_side import agree, numbers_of
from test_engine_jax import Trained, plainly, x, y

import tinygrad_ce as tg
from tinygrad_ce.engines import auto
from tinygrad_ce.engines.away import is_away
from tinygrad_ce.nn import functional as F


class Clock:
    """Seconds that NumPy and JAX take, by turns: a call begins and ends."""

    def __init__(self, numpy, jax):
        self.now, self.left = 0.0, [numpy] * auto.CALLS + [jax] * auto.CALLS
        self.begun = False

    def __call__(self):
        self.now += self.left.pop(0) if self.begun else 1.0
        self.begun = not self.begun
        return self.now


@pytest.mark.parametrize(("numpy", "jax", "chosen"), [(1.0, 2.0, 0), (2.0, 1.0, 1)])
def test_the_faster_engine_stays_and_all_calls_are_those_of_eager_code(
    monkeypatch, numpy, jax, chosen
):
    monkeypatch.setattr(auto, "clock", Clock(numpy, jax))
    found = []
    for compile in (plainly, tg.compile(engine="auto")):
        tg.manual_seed(7)
        t = Trained(compile)
        t.step = compile(t.train)
        found.append([numbers_of([t.step(x, y) for _ in range(2 * auto.CALLS + 5)]), t])
    agree(found[1][0], found[0][0])
    agree(numbers_of(found[1][1].held()), numbers_of(found[0][1].held()))
    t = found[1][1]
    assert t.step.engine == chosen
    t.step(x, y)
    assert is_away(t.model[0].weight) is bool(chosen)
    assert ("HloModule" in t.step.emitted()) is bool(chosen)
    assert "def train" in t.step.source()
    t.step.sync()
    assert not is_away(t.model[0].weight)


def test_an_alias_stays_true_when_the_engine_is_another(monkeypatch):
    monkeypatch.setattr(auto, "clock", Clock(2.0, 1.0))
    w = tg.zeros(3)

    @tg.compile(engine="auto")
    def count(x):
        w.add_(x)
        return w * 1.0

    for _ in range(auto.CALLS):
        count(tg.ones(3))
    alias = w[1:]
    for _ in range(auto.CALLS):
        count(tg.ones(3))
    assert count.engine == 1
    assert alias.tolist() == [2.0 * auto.CALLS] * 2
    assert count(tg.ones(3)).tolist() == [2.0 * auto.CALLS + 1] * 3


def test_an_engine_that_refuses_is_the_slower_one(monkeypatch):
    monkeypatch.setattr(auto, "clock", Clock(2.0, 1.0))
    x = tg.zeros(40, 3)
    found = []
    for compile in (plainly, tg.compile(engine="auto")):
        tg.manual_seed(7)
        f = compile(lambda x: tg.bernoulli(tg.sigmoid(x)))  # drawn with what the step computes
        found.append(numbers_of([f(x) for _ in range(auto.CALLS + 3)]))
    agree(found[1], found[0])
    assert f.engine == 0

    @tg.compile(engine="auto")
    def wrong(x):
        raise NotImplementedError("of the user")

    with pytest.raises(NotImplementedError, match="of the user"):
        wrong(x)


def test_times_of_one_program_are_compared(monkeypatch):
    wide, narrow = tg.ones(200), tg.ones(3)
    seconds = {(0, 200): 9.0, (1, 200): 5.0, (0, 3): 1.0, (1, 3): 2.0}  # by engine and size
    now, given = [0.0], [None]

    def clock():
        if began[0]:
            now[0] += seconds[f.engine, len(given[0])]
        began[0] = not began[0]
        return now[0]

    monkeypatch.setattr(auto, "clock", clock)
    f, began = tg.compile(lambda x: (x * 2.0).sum(), engine="auto"), [False]
    engines = []
    for given[0] in [wide] * auto.CALLS + [narrow] * (2 * auto.CALLS + 2):
        assert f(given[0]).item() == 2.0 * len(given[0])
        engines.append(f.engine)
    assert engines[auto.CALLS] == 1 and engines[-1] == 0


def test_methods_modules_and_pickles_keep_the_engine():
    class Doubler:
        @tg.compile(engine="auto")
        def double(self, x):
            return x * 2.0

    thing = Doubler()
    assert thing.double(tg.ones(2)).tolist() == [2.0, 2.0]
    assert type(thing.double) is auto.AutoCompiled
    again = pickle.loads(pickle.dumps(tg.compile(F.relu, engine="auto")))
    assert type(again) is auto.AutoCompiled and again(tg.ones(1)).tolist() == [1.0]
    model = tg.compile(tg.nn.Linear(2, 1), engine="auto").eval()
    with tg.no_grad():
        assert model(tg.ones(1, 2)).shape == (1, 1)
    assert np.isfinite(model.weight.sum().item())
