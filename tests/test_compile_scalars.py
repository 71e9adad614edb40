"""Compiled functions on tensors of no axes, whose results NumPy hands out as numbers.

An array of no axes is a place that is written, a number of NumPy is not: `x += 1` writes into the
one and binds x anew for the other. A program has to know which of both is meant.
"""

import math

import nn_cases as cases
import numpy as np
import pytest
from side_by_side import batches, side_by_side, with_gradients

import tinygrad_ce as tg
from tinygrad_ce.program.tracing.symbol import TraceError


def adam_by_hand(w, steps, updates, lr=0.1, betas=(0.9, 0.999), eps=1e-8):
    """The parameter after each of some steps on w², of several updates each, in plain Python."""
    m = v = t = 0.0
    found = []
    for _ in range(steps):
        g = 2.0 * w
        for _ in range(updates):
            t += 1.0
            m = betas[0] * m + (1.0 - betas[0]) * g
            v = betas[1] * v + (1.0 - betas[1]) * g * g
            w -= lr * (m / (1.0 - betas[0] ** t)) / ((v / (1.0 - betas[1] ** t)) ** 0.5 + eps)
        found.append(w)
    return found


@pytest.mark.parametrize("updates", [1, 2, 3])
@pytest.mark.parametrize("beside", [False, True])
def test_adam_on_a_parameter_of_no_axes(updates, beside):
    t = tg.tensor(np.array(1.0), requires_grad=True)
    others = [tg.ones(2, 3).double().requires_grad_(), tg.ones(4).double().requires_grad_()]
    optimizer = tg.optim.Adam([others[0], t, others[1]] if beside else [t], lr=0.1)

    @tg.compile
    def step():
        optimizer.zero_grad()
        loss = t * t
        for w in others * beside:
            loss = loss + (w * w).sum()
        loss.backward()
        for _ in range(updates):
            optimizer.step()

    for wanted in adam_by_hand(1.0, 5, updates):
        step()
        assert t.item() == pytest.approx(wanted, rel=1e-9)
    assert optimizer.state[t]["step"].item() == 5 * updates


@pytest.mark.parametrize("updates", [1, 2])
@pytest.mark.parametrize("shapes", [[()], [(), ()], [(), (3,)], [(2, 2), (), (3,), ()]])
@pytest.mark.parametrize("name", cases.OPTIMISERS)
def test_every_optimiser_on_parameters_of_no_axes(name, shapes, updates):
    def build():
        stream = np.random.default_rng(5)
        parameters = [tg.tensor(stream.standard_normal(s), requires_grad=True) for s in shapes]
        optimizer = cases.OPTIMISERS[name](tg.optim, parameters)

        def f(x):
            optimizer.zero_grad()
            loss = x
            for p in parameters:
                loss = loss + ((p - x) ** 2).sum()
            loss.backward()
            for _ in range(updates):
                optimizer.step()
                with tg.no_grad():
                    parameters[0].mul_(0.99)
            return loss.detach()

        held = with_gradients(parameters)
        return f, lambda: [held(), optimizer.state_dict()["state"]]

    side_by_side(build, batches((), count=5), noise=1e-14)  # of differences of numbers near 1


CLIPS = {
    "norm": lambda p: tg.nn.utils.clip_grad_norm_([p], 0.1),
    "value": lambda p: tg.nn.utils.clip_grad_value_([p], 0.1),
    "norm of what is set": lambda p: (
        setattr(p, "grad", p.grad.abs() * 2.0), tg.nn.utils.clip_grad_norm_([p], 0.1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CLIPS)
def test_gradients_of_no_axes_are_clipped(name):
    p = tg.tensor(np.array(2.0), requires_grad=True)

    @tg.compile
    def step(x):
        p.grad = None
        (p * x.sum()).backward()
        held = p.grad
        CLIPS[name](p)
        return held * 1.0

    for k in (3.0, -4.0, 5.0, 6.0):
        held = step(tg.tensor([1.0, k - 1.0])).item()
        assert p.grad.item() == pytest.approx(0.1 if "set" in name else math.copysign(0.1, k))
        assert held == pytest.approx(k if "set" in name else p.grad.item())


def test_a_number_that_is_added_to_is_another_one():
    def f(x, number):
        before = number
        number += 1.0
        number *= 2.0
        return x * before, x * number, number

    numbers = [np.float32(0.5), np.float32(1.5), np.float32(-2.0)]
    side_by_side(lambda: (f, []), [[x, n] for (x,), n in zip(batches((3,)), numbers)])


SEVERAL = {
    "add": lambda a, b: a + b,
    "divide": lambda a, b: a / (b * b + 1.0),
    "maximum": lambda a, b: np.maximum(a, b),
    "where": lambda a, b: tg.where(a > b, a, b * 2.0),
    "stack": lambda a, b: tg.stack([a, b, a]),
    "np.stack": lambda a, b: np.stack([b, a])[1],
    "cat": lambda a, b: tg.cat([a.reshape(1), b.view(-1)]).sum(),
    "einsum": lambda a, b: tg.einsum(",->", a, b),
    "np.einsum": lambda a, b: np.einsum(",,->", a, b, b),
    "inner": lambda a, b: tg.einsum("i,i->", tg.stack([a, b]), tg.stack([b, b])),
    "outer": lambda a, b: tg.outer(a.reshape(1), b[None]),
    "expand": lambda a, b: a.expand(2, 3).sum(0) * b,
    "masked": lambda a, b: (a > 0) * a + (b < a),
    "tensor": lambda a, b: tg.tensor(b.detach()) * a,
    "cast": lambda a, b: (a.tanh() * 8.0).astype(np.int64).astype(np.float64) * b,
    "reduced": lambda a, b: a.mean() + b.max() + a.prod() + b.norm(),
    "into a row": lambda a, b: into(tg.zeros(3).double(), a, b),
    "reshaped": lambda a, b: np.reshape(a, ()) + b.flatten()[0] + a.T,
}
WRITES = {
    "+=": lambda a, b: a.__iadd__(1.0),
    "*=": lambda a, b: a.__imul__(b),
    "fill_": lambda a, b: a.fill_(0.5),
    "copy_": lambda a, b: a.copy_(b),
    "add_": lambda a, b: a.add_(b, alpha=0.5),
    "clamp_": lambda a, b: a.clamp_(-0.3, 0.3),
    "[...]": lambda a, b: a.__setitem__(..., b),
    "[()]": lambda a, b: a.__setitem__((), 0.25),
    "[a > b]": lambda a, b: a.__setitem__(a > b, 0.1),
    "[True]": lambda a, b: a.__setitem__(tg.tensor(True), b),
    "[None] +=": lambda a, b: a[None].add_(b),
    "view": lambda a, b: a.view(1).mul_(0.5),
}


def into(row, a, b):
    row[0] = a
    row[2] = b
    return row


PAIRS = [(a, b) for i, a in enumerate(SEVERAL) for j, b in enumerate(WRITES) if (i + j) % 4 == 0]


@pytest.mark.parametrize(("several", "write"), PAIRS)
def test_operations_on_numbers_between_writes(several, write):
    """Each number is a parameter, a buffer, an argument, a result or a float, each is written."""
    several, write = SEVERAL[several], WRITES[write]

    def build():
        w = tg.tensor(np.array(0.7), requires_grad=True)
        buffer, made = tg.tensor(np.array(-0.4)), np.array(1.5)

        def f(x, argument, number):
            w.grad = None
            given, result = tg.tensor(number, dtype=np.float64), (x * x).sum()
            with tg.no_grad():
                for a in (w, buffer, argument, given):
                    write(a, result)
            others = [buffer, argument * number, given, result * w, tg.tensor(made)]
            for a in others[3:]:
                write(a, buffer)
            found = [y for a in others for y in (several(a, w), several(w, a))]
            write(found[0].sum(), others[1])
            sum((y * y).sum() for y in found).backward()
            with tg.no_grad():
                write(w, w.grad.tanh())
            return [y.detach() for y in found]

        held = with_gradients([w])
        return f, lambda: [held(), buffer]

    calls = [[x, y, float(n[0])] for x, y, n in batches((3,), (), (1,), count=3)]
    compiled = side_by_side(build, calls, noise=1e-13)
    for level in ("formula", "primitive"):
        compiled.source(level)


# --- floats among the arguments -------------------------------------------------------------------

X = np.array([0.5, -1.0, 2.0], np.float32)
NUMBERS = {
    "tg.full((3,), lr) * x": lambda lr: lr * X,
    "tg.full((2, 2), lr)": lambda lr: [[lr, lr], [lr, lr]],
    "tg.full((2,), lr, dtype=tg.float64)": lambda lr: np.array([lr, lr]),
    "tg.full_like(x, lr)": lambda lr: [lr, lr, lr],
    "tg.tensor([lr, 1.0, 2.0])": lambda lr: [lr, 1, 2],
    "tg.tensor([1, lr])": lambda lr: [1, lr],
    "tg.tensor((lr, True))": lambda lr: [lr, 1],
    "tg.tensor([[lr, 1.0], [0.0, 2 * lr]])": lambda lr: [[lr, 1], [0, 2 * lr]],
    "tg.tensor([[1.0, 2.0], [3.0, lr]])": lambda lr: [[1, 2], [3, lr]],
    "tg.tensor([lr, 1.0], dtype=tg.float64)": lambda lr: np.array([lr, 1.0]),
    "tg.tensor([np.float64(2.0), lr])": lambda lr: np.array([2.0, lr]),
    "tg.tensor([x[0], lr])": lambda lr: [X[0], lr],
    "x + [lr, 1.0, 2.0]": lambda lr: X + np.float32([lr, 1, 2]),
    "tg.zeros(3).add_(x, alpha=lr)": lambda lr: np.float32(lr) * X,
    "tg.zeros(3).sub_(x, alpha=lr)": lambda lr: -np.float32(lr) * X,
    "tg.zeros(3).add_(2.0, alpha=lr)": lambda lr: [2 * lr, 2 * lr, 2 * lr],
}


@pytest.mark.parametrize("text", NUMBERS)
def test_tensors_are_made_of_floats_among_the_arguments(text):
    step = tg.compile(eval(f"lambda x, lr: {text}", {"tg": tg, "np": np}))
    for lr in (0.25, 0.5, 1.0, 0.3, 0.25):
        wanted = NUMBERS[text](lr)
        wanted = wanted if isinstance(wanted, np.ndarray) else np.array(wanted, np.float32)
        y = step(tg.tensor(X), lr).numpy()
        assert y.dtype == wanted.dtype
        np.testing.assert_allclose(y, wanted, rtol=1e-7)


def test_a_list_with_a_tensor_from_outside_reads_it_in_every_call():
    level = tg.tensor(1.0)
    step = tg.compile(lambda x: tg.tensor([level, 2.0]) + x)
    for value in (1.0, 3.0, 5.0):
        with tg.no_grad():
            level.fill_(value)
        np.testing.assert_array_equal(step(tg.zeros(2)).numpy(), [value, 2.0])


ASKED = [
    "x * math.sqrt(lr)", "x * math.floor(lr)", "x * math.ceil(lr)", "x * math.trunc(lr)",
    "x * float(lr)", "x * int(10 * lr)", "x * round(lr, 2)", "x * max(lr, 0.1)",
    "x if lr > 0.3 else -x", "x * np.float32(lr)", "x * len(f'{lr}')", "x * len(f'{lr:.3f}')",
    "x * len('{}'.format(lr))", "x * {0.25: 1.0, 0.5: 2.0}[lr]", "x * lr.is_integer()",
    "F.dropout(x, p=lr)", "nn.Dropout(lr)(x)", "tg.nn.utils.clip_grad_norm_([x], max_norm=lr)",
    "F.cross_entropy(x.view(1, 3), tg.tensor([1]), label_smoothing=lr)", "tg.arange(0.0, lr, 0.1)",
    "F.huber_loss(x, x + 1.0, delta=lr)", "tg.optim.SGD([x], lr=lr)", "np.full(3, lr)",
]  # fmt: skip


@pytest.mark.parametrize("text", ASKED)
def test_where_the_value_of_a_float_argument_is_asked_for_an_error_says_what_to_write(text):
    known = {"tg": tg, "np": np, "math": math, "nn": tg.nn, "F": tg.nn.functional}
    step = tg.compile(eval(f"lambda x, lr: {text}", known))
    x = tg.tensor(X, requires_grad=True)
    x.grad = tg.ones(3)
    wanted = r"(?s)trace: .* \(<string>:1 in <lambda>\)\. lr is a float among the arguments"
    with pytest.raises(TraceError, match=wanted):
        step(x, 0.25)


def test_what_is_asked_of_a_tensor_or_in_an_unrelated_error_is_told_as_before():
    x = tg.tensor(X)
    with pytest.raises(TraceError, match="a value that it has not computed yet"):
        tg.compile(lambda x, lr: float(x.sum() * lr))(x, 0.25)
    with pytest.raises(KeyError, match="nothing"):
        tg.compile(lambda x, lr: {}["nothing"])(x, 0.25)
    with pytest.raises(TraceError, match="scale and lr are floats among the arguments"):
        tg.compile(lambda x, lr, scale: x * math.sqrt(lr * scale))(x, 0.25, 2.0)
