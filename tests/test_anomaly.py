"""detect_anomaly: where a nan or an inf was born, and what is no anomaly."""

import math
from weakref import ref

import numpy as np
import pytest

import tinygrad_ce as tg
import tinygrad_ce.nn.functional as F
from tinygrad_ce import nn
from tinygrad_ce.autograd import AnomalyError, Function, grad, set_detect_anomaly
from tinygrad_ce.engine.frame import composed

INF = math.inf
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")  # NumPy's


class Wrong(Function):
    """A square whose backward divides by zero, in NumPy."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        with np.errstate(divide="ignore"):
            return tg.tensor(g.numpy() / np.zeros(g.shape, g.numpy().dtype))


def leaf(*values):
    return tg.tensor(values, requires_grad=True)


def written(x):
    x = x.detach().clone()
    x -= 2
    x.sqrt_()


def vanished(v):
    v /= v.sum()


def twice(x):
    (x * 1 + x * 1).sum().backward(tg.tensor(2e38))


def second(x):
    (g,) = grad((x**1.5).sum(), x, create_graph=True)
    g.sum().backward()


def masked(scores, below):
    return F.softmax(scores.masked_fill(scores < below, -INF), -1)


BORN = {
    "log of 0": (lambda: leaf(1.0, 0.0).log() * 3, "log gave -inf at [1], where x = 0,"),
    "without a gradient": (lambda: tg.zeros(2).log(), "log gave -inf at [0] (2 of 2), where x = 0"),
    "overflow": (lambda: leaf(2e38) * 2, "mul gave inf at [0], where a = 2e+38, b = 2"),
    "0 / 0": (lambda: tg.tensor(0.0) / 0, "truediv gave nan, where a = 0, b = 0"),
    "broadcast": (
        lambda: tg.tensor([[1.0], [0.0]]) / tg.tensor([2.0, 0.0, 1.0]),
        "gave nan at [1, 1], where a = 0, b = 0",
    ),
    "a matrix product": (
        lambda: tg.full((2, 2), 1e30) @ tg.full((2, 2), 1e30),
        "matmul gave inf at [0, 0] (4 of 4), where a = 1e+30 … 1e+30",
    ),
    "a sum": (lambda: tg.full((4,), 2e38).sum(), "sum gave inf, where x = 2e+38 … 2e+38"),
    "inf - inf": (lambda: leaf(INF) - INF, "sub gave nan at [0], where a = inf, b = inf"),
    "in place": (lambda: written(leaf(1.0)), "sqrt gave nan at [0], where x = -1"),
    "a quotient in place": (
        lambda: vanished(tg.zeros(3)), "/= gave nan at [0] (3 of 3), where it was = 0, operand",
    ),
    "under no_grad": (
        lambda: tg.no_grad()(vanished)(leaf(0.0)), "/= gave nan at [0], where it was = 0, operand",
    ),
    "in an operation of ours": (
        lambda: F.mse_loss(leaf(1e25), tg.tensor([0.0])),
        "mul gave inf at [0], where a = 1e+25, b = 1e+25, in mse_loss, in line",
    ),
    "a row that is all masked": (
        lambda: masked(leaf(1.0, 2.0), 5), "where a = -inf, b = -inf, in softmax",
    ),
    "a loss that knows 0 but not this": (
        lambda: F.binary_cross_entropy(leaf(0.0), tg.tensor([1.0])), "in binary_cross_entropy",
    ),
    "hidden by where": (
        lambda: tg.where(leaf(-1.0) > 0, leaf(-1.0).log(), 0.0), "log gave nan at [0], where",
    ),
    "slope of sqrt": (
        lambda: (leaf(0.0) ** 2).sum().sqrt().backward(),
        "backward through sqrt gave inf as a gradient, where the gradient from above = 1, x = 0, "
        "its result = 0, in line",
    ),
    "slope 0 · inf": (
        lambda: (leaf(0.0).sqrt() * 0).sum().backward(), "backward through sqrt gave nan",
    ),
    "shares that add up": (
        lambda: twice(leaf(1.0)),
        "gradients add up to inf at [0], ",
    ),
    "the seed": (
        lambda: (leaf(1.0) * 2).backward(tg.tensor([math.nan])),
        "backward() started from a gradient of nan at [0]",
    ),
    "a Function": (
        lambda: Wrong.apply(leaf(1.0)).sum().backward(), "backward through Wrong gave inf",
    ),
    "of a second derivative": (lambda: second(leaf(0.0)), "backward through power gave inf"),
}  # fmt: skip


@pytest.mark.parametrize("case", BORN)
def test_the_operation_the_values_and_the_line_are_named(case):
    program, message = BORN[case]
    with pytest.raises(AnomalyError) as caught, tg.detect_anomaly():
        program()
    text = str(caught.value)
    assert text.startswith("detect_anomaly: ") and message in text
    assert "of test_anomaly.py: " in text
    assert isinstance(caught.value, RuntimeError) and isinstance(caught.value, FloatingPointError)


@pytest.mark.parametrize("case", BORN)
def test_without_it_nothing_is_raised(case):
    BORN[case][0]()


FINE = {
    "a mask": lambda: masked(leaf(1.0, 2.0), 1.5).sum().backward(),
    "a padded maximum": lambda: F.max_pool2d(leaf(1.0, -2.0).reshape(1, 1, 1, 2), 2, padding=1),
    "a loss at its end": lambda: F.binary_cross_entropy(
        leaf(0.0, 1.0), tg.tensor([0.0, 1.0])
    ).backward(),
    "large logits": lambda: F.cross_entropy(
        tg.tensor([[1e38, -1e38]], requires_grad=True), tg.tensor([1])
    ).backward(),
    "what was infinite before": lambda: (leaf(INF) * 2 + 1).exp(),
    "nan that is handed on": lambda: (leaf(math.nan) * 2).sum(),
    "integers": lambda: tg.tensor([1, 2]) * 3,
    "no tensor": lambda: F.relu(np.array([-1.0, 1.0])),
    "a small network": lambda: nn.LSTM(2, 3)(tg.ones(4, 1, 2))[0].sum().backward(),
    "a trace": lambda: tg.trace(lambda x: x.log(), tg.zeros(2)),
}


@pytest.mark.parametrize("case", FINE)
def test_what_is_no_anomaly_goes_through(case):
    with tg.detect_anomaly():
        FINE[case]()


def test_what_was_computed_before_has_no_line():
    y = leaf(0.0).sqrt()
    with tg.detect_anomaly(), pytest.raises(AnomalyError, match=r"its line$"):
        y.sum().backward()


def test_an_overflow_beside_an_infinity_that_was_handed_in_is_found():
    given = tg.tensor([np.inf, 2.0, 1e30])
    with (
        tg.detect_anomaly(),
        pytest.raises(AnomalyError, match=r"mul gave inf at \[2\], where a = 1e"),
    ):
        given * given
    with (
        tg.detect_anomaly(),
        pytest.raises(AnomalyError, match=r"log gave nan at \[1\], where x = -1"),
    ):
        tg.tensor([np.nan, -1.0, 0.0]).log()
    with tg.detect_anomaly():
        assert np.isinf((given[:2] + tg.tensor([1.0, 2.0])).flip(0).numpy()[1])


def test_a_backward_pass_leaves_nothing_behind():
    w = tg.ones(2, requires_grad=True)
    with tg.detect_anomaly():
        h = w * w
        kept = ref(h)
        h.exp().sum().backward()
        del h
        assert kept() is None


def test_a_nan_tells_of_the_inf_that_it_came_from():
    @composed("log x − log x")
    def nothing(x):
        return x.log() - x.log()

    both = r"sub gave nan.* Before: detect_anomaly: log gave -inf"
    with tg.detect_anomaly(), pytest.raises(AnomalyError, match=both):
        nothing(leaf(0.0))


def test_a_compiled_step_is_run_as_it_is_written():
    @tg.compile
    def step(x):
        return x.log().sum()

    x = tg.zeros(3)
    assert step(x).item() == -INF
    with tg.detect_anomaly(), pytest.raises(AnomalyError, match=r"return x\.log"):
        step(x)
    assert step(x).item() == -INF


def test_it_is_a_decorator_and_can_keep_the_lines_alone():
    @tg.detect_anomaly()
    def checked():
        return leaf(0.0).log()

    with pytest.raises(AnomalyError):
        checked()
    with tg.detect_anomaly(check_nan=False):
        assert leaf(0.0).log().line


def test_it_is_switched_on_and_off():
    set_detect_anomaly(True)
    try:
        with pytest.raises(AnomalyError):
            leaf(0.0).log()
        with set_detect_anomaly(False):
            leaf(0.0).log()
        with set_detect_anomaly(True, check_nan=False):
            assert leaf(0.0).log().line
        with pytest.raises(AnomalyError):
            leaf(0.0).log()
    finally:
        set_detect_anomaly(False)
    assert not hasattr(leaf(0.0).log(), "line")
    with tg.source_lines(), set_detect_anomaly(False):
        assert leaf(0.0).log().line


def test_hooks_are_called_as_before():
    x = leaf(1.0)
    x.register_hook(lambda g: g / 0)
    with tg.detect_anomaly(), pytest.raises(AnomalyError, match="truediv gave inf"):
        (x * 2).sum().backward()
