"""Gradients in listings: each is returned, also where it is an input, a state or a constant."""

import re

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.nn import functional as F

LR = 0.5
x, X = np.array([3.0, -1.0, 4.0]), np.array([[1.0, -2.0, 0.5], [3.0, 5.0, -4.0]])
w, b, c = np.array([2.0, 7.0, 1.5]), np.array([0.5, -6.0, 3.0]), np.array([1.25, 9.0, -8.0])
W, B = X * 0.5 + 1.0, X.T * 0.25 - 3.0
ONE, LONG = np.ones(3), np.linspace(-1.0, 1.0, 20)
two, three, five = np.array(2.0), np.array(3.0), np.array(5.0)
COLUMN, IDS = np.array([[0.5], [-1.0]]), np.array([2, 0])
E = np.exp(W[0, 2] + W[1, 0] - 0.5)  # of what IDS pick from W + COLUMN
G = np.exp(W[1, 2] + W[1, 0] - 2.0)  # of what they pick from its last row

# what is summed, of parameters (in the order in which they are read) and x; gradients by hand
TABLE = {
    "an input": (lambda p, x: p["w"] * x, {"w": two}, three, [three]),
    "minus an input": (lambda p, x: -(p["w"] * x), {"w": two}, three, [-three]),
    "an input and 1": (lambda p, x: p["w"] * x + p["b"], {"w": two, "b": five}, three, [three, 1]),
    "1 and an input": (lambda p, x: p["b"] + p["w"] * x, {"w": two, "b": five}, three, [three, 1]),
    "a matrix": (lambda p, x: p["w"] * x, {"w": W}, X, [X]),
    "of a product of vectors": (lambda p, x: p["w"] @ x, {"w": w}, x, [x]),
    "a transposed input": (lambda p, x: p["w"] * x.T, {"w": B}, X, [X.T]),
    "each other": (lambda p: p["w"] * p["b"], {"w": two, "b": five}, None, [five, two]),
    "each other, vectors": (lambda p: p["w"] * p["b"], {"w": w, "b": b}, None, [b, w]),
    "each other, transposed": (lambda p: p["w"] * p["b"].T, {"b": B, "w": W}, None, [W.T, B.T]),
    "in a ring": (
        lambda p: p["w"] * p["b"] + p["b"] * p["c"] + p["c"] * p["w"],
        {"w": w, "b": b, "c": c},
        None,
        [b + c, w + c, b + w],
    ),
    "state and input": (
        lambda p, x: p["w"] * p["b"] + p["c"] * x,
        {"w": w, "b": b, "c": c},
        x,
        [b, w, x],
    ),
    "twice 1": (lambda p: p["w"] + p["b"], {"w": two, "b": five}, None, [1, 1]),
    "twice ones": (lambda p: p["w"] + p["b"], {"w": w, "b": b}, None, [ONE, ONE]),
    "twice an input": (lambda p, x: (p["w"] + p["b"]) * x, {"w": w, "b": b}, x, [x, x]),
    "twice of a square": (
        lambda p: (p["w"] + p["b"]) * (p["w"] + p["b"]),
        {"w": w, "b": b},
        None,
        [2 * (w + b)] * 2,
    ),
    "a difference": (lambda p, x: (p["w"] - p["b"]) * x, {"w": w, "b": b}, x, [x, -x]),
    "ones": (lambda p: p["w"], {"w": w}, None, [ONE]),
    "a number everywhere": (lambda p: p["w"].mean(), {"w": w}, None, [ONE / 3]),
    "a constant": (lambda p: p["w"] * tg.tensor(c), {"w": w}, None, [c]),
    "a long constant": (lambda p: p["w"] * tg.tensor(LONG), {"w": LONG * 2}, None, [LONG]),
    "the result": (lambda p: p["w"].exp(), {"w": w}, None, [np.exp(w)]),
    "read by another gradient": (
        lambda p, x: (p["w"] * x + p["b"]).exp(),
        {"w": w / 9, "b": b / 9},
        x,
        [np.exp(w / 9 * x + b / 9) * x, np.exp(w / 9 * x + b / 9)],
    ),
    "picked from each row": (
        lambda p, x: (p["w"] + p["b"])[tg.arange(2), x].sum().exp(),
        {"w": W, "b": COLUMN},
        IDS,
        [np.array([[0, 0, E], [E, 0, 0]]), np.full((2, 1), E)],
    ),
    "picked from one row": (
        lambda p, x: (p["w"] + p["b"])[tg.tensor([1, 1]), x].sum().exp(),
        {"w": W, "b": COLUMN},
        IDS,
        [np.array([[0, 0, 0], [G, 0, G]]), np.array([[0], [2 * G]])],
    ),
    "rows": (
        lambda p, x: p["w"][x].sum(1).exp(),
        {"w": W},
        IDS // 2,
        [np.repeat(np.exp(W.sum(1))[:, None], 3, 1)],
    ),
    "one class for all rows": (
        lambda p, x: p["w"][tg.arange(2), x] + F.one_hot(x, 3).sum(),
        {"w": W},
        IDS[:1],
        [np.array([[0, 0, 1], [0, 0, 1]])],
    ),
}
every_case = pytest.mark.parametrize("name", TABLE)
every_level = pytest.mark.parametrize("level", ["formula", "primitive"])


def traced(name, lr=None):
    """The program of a step, and what its text may be called with."""
    of, given, example, _ = TABLE[name]
    parameters = {k: tg.tensor(v, requires_grad=True) for k, v in given.items()}
    optimizer = tg.optim.SGD(list(parameters.values()), lr=lr or 1.0)

    def step(*x):
        optimizer.zero_grad()
        loss = of(parameters, *x).sum()
        loss.backward()
        if lr is not None:
            optimizer.step()
        return loss

    examples = [] if example is None else [tg.tensor(example)]
    return tg.trace(step, *examples), {**given, "x1": example}


def call(text, given):
    """What the text returns as a list, and the arrays that it was called with."""
    names = {}
    exec(text, names)
    head = re.search(r"def (\w+)\((.*?)\):", text, re.DOTALL)
    arrays = {k: np.array(given[k]) for k in head.group(2).replace(",", " ").split()}
    found = names[head.group(1)](*arrays.values())
    return list(found) if isinstance(found, tuple) else [found], arrays


def same(found, wanted):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_allclose(a, b, rtol=1e-12)


def loss_of(name):
    of, given, example, _ = TABLE[name]
    tensors = {k: tg.tensor(v) for k, v in given.items()}
    return of(tensors, *([] if example is None else [tg.tensor(example)])).sum().item()


def values(name, given):
    """What a text may ask for: what is given, and by hand what the forward pass hands on."""
    named = dict(zip((f"d{k}" for k in TABLE[name][1]), TABLE[name][3]))
    handed = {"twice of a square": w + b, "the result": np.exp(w)}
    handed["rows"] = np.exp(W[IDS // 2].sum(1))
    handed |= {"picked from each row": E, "picked from one row": G}
    inner = handed.get(name, TABLE[name][3][-1])
    inner = dict.fromkeys(["u", "z", "e", "dtotal"], inner)
    return {"lr": LR, "table": LONG, **inner, **named, **given}


@every_case
@every_level
def test_a_gradient_that_nothing_reads_is_returned(name, level):
    program, given = traced(name)
    found, arrays = call(program.source(level), values(name, given))
    same(found, [loss_of(name), *TABLE[name][3]])
    for k, array in arrays.items():
        np.testing.assert_array_equal(array, values(name, given)[k])


def test_a_number_is_put_in_many_places_without_copies_of_it():
    for name in ("picked from each row", "picked from one row"):
        text = traced(name)[0].source()
        assert re.search(r"np.add.at\(dw, .*, dtotal\)", text) and "broadcast_to" not in text


@every_case
@every_level
def test_a_gradient_that_the_optimizer_reads_is_in_its_lines_alone(name, level):
    program, given = traced(name, LR)
    found, arrays = call(program.source(level), values(name, given))
    same(found, [loss_of(name)])
    wanted = [v - LR * g for v, g in zip(TABLE[name][1].values(), TABLE[name][3])]
    same([arrays[k] for k in TABLE[name][1]], wanted)


@every_case
@every_level
@pytest.mark.parametrize("lr", [None, LR])
def test_the_backward_pass_returns_every_gradient(name, level, lr):
    program, given = traced(name, lr)
    found, _ = call(program.backward_source(level), values(name, given))
    same(found, TABLE[name][3])


# --- state that changes -----------------------------------------------------------------------


def make(*arrays, requires_grad=True):
    return [tg.tensor(v, requires_grad=requires_grad) for v in arrays]


def changed_after():
    """dw is the b that was there before."""
    w_, b_ = make(w, b)

    def step():
        (w_ * b_).sum().backward()
        with tg.no_grad():
            b_.sub_(1.0)

    return step, [], [b, w], {"b_": b - 1}


def both_changed_after():
    w_, b_ = make(w, b)

    def step():
        (w_ * b_).sum().backward()
        with tg.no_grad():
            b_.sub_(1.0)
            w_.mul_(3.0)
        return b_

    return step, [], [b - 1, b, w], {"b_": b - 1, "w_": w * 3}


def changed_before():
    """dw is the b that is there afterwards."""
    w_, b_ = make(w, b)

    def step():
        with tg.no_grad():
            b_.sub_(1.0)
        (w_ * b_).sum().backward()

    return step, [], [w, b - 1], {"b_": b - 1}


def changed_twice():
    w_, b_ = make(w, b)

    def step():
        with tg.no_grad():
            b_.sub_(1.0)
        (w_ * b_).sum().backward()
        with tg.no_grad():
            b_.mul_(2.0)

    return step, [], [w, b - 1], {"b_": (b - 1) * 2}


def changed_under_a_view():
    (w_,) = make(W)
    (b_,) = make(B, requires_grad=False)

    def step():
        (w_ * b_.T).sum().backward()
        b_.sub_(1.0)

    return step, [], [B.T], {"b_": B - 1}


def changed_to_the_input():
    (w_,) = make(w)
    (b_,) = make(b, requires_grad=False)

    def step(x):
        b_.copy_(x)
        (w_ * b_).sum().backward()

    return step, [x], [x], {"b_": x}


def changed_by_one_gradient():
    """The update reads db; nothing reads dw."""
    w_, b_ = make(w, b)

    def step():
        (w_ * b_).sum().backward()
        with tg.no_grad():
            b_.sub_(b_.grad * 0.5)

    return step, [], [b], {"b_": b - w * 0.5}


def exchanged():
    w_, b_ = make(w, b)

    def step():
        (w_ * b_).sum().backward()
        with tg.no_grad():
            old = w_.clone()
            w_.copy_(b_)
            b_.copy_(old)

    return step, [], [b, w], {"w_": b, "b_": w}


def changed_input():
    (w_,) = make(w)

    def step(x):
        (w_ * x).sum().backward()
        x.sub_(1.0)

    return step, [x], [x - 1, x], {}


def returned_by_the_user():
    (w_,) = make(w)

    def step(x):
        w_.grad = None
        loss = (w_ * x).sum()
        loss.backward()
        return loss, w_.grad

    return step, [x], [np.float64(w @ x), x], {}


def one_returned_by_the_user():
    w_, b_ = make(w, b)

    def step(x):
        w_.grad = b_.grad = None
        (w_ * x + b_ * x).sum().backward()
        return w_.grad

    return step, [x], [x, x], {}


def named_by_the_user():
    """The result is its own gradient and keeps its name."""
    (w_,) = make(w)

    def step():
        h = w_.exp()
        h.sum().backward()
        return h

    return step, [], [np.exp(w), np.exp(w)], {}


def begun_with_the_input():
    w_, b_ = make(w, b)

    def step(x):
        w_.grad = b_.grad = None
        (w_ + b_ * x).backward(x)

    return step, [x], [x * x, x], {}  # b_ is read first


def shared_with_the_argument():
    """The gradient of an argument is an output; that of the parameter comes after it."""
    (w_,) = make(w)
    (c_,) = make(c, requires_grad=False)

    def step(x):
        x.requires_grad_()
        ((w_ + x) * c_).sum().backward()

    return step, [x], [c, c], {}


STEPS = [
    changed_after, both_changed_after, changed_before, changed_twice, changed_under_a_view,
    changed_to_the_input, changed_by_one_gradient, exchanged, changed_input,
    returned_by_the_user, one_returned_by_the_user, named_by_the_user, begun_with_the_input,
    shared_with_the_argument,
]  # fmt: skip


@every_level
@pytest.mark.parametrize("case", STEPS, ids=lambda case: case.__name__)
def test_a_gradient_is_what_it_was_when_state_changes(case, level):
    step, inputs, wanted, after = case()
    text = tg.trace(step, *map(tg.tensor, inputs)).source(level)
    given = {"x": x, "w_": w, "b_": b, "c_": c}
    if case is changed_under_a_view:
        given = {"w_": W, "b_": B}
    found, arrays = call(text, given)
    same(found, wanted)
    for name, array in arrays.items():
        np.testing.assert_allclose(array, after.get(name, given[name]), rtol=1e-12)


def test_a_value_that_the_user_has_named_keeps_its_name_as_a_gradient():
    step, *_ = named_by_the_user()
    text = tg.trace(step).source()
    assert "h = np.exp(w_)" in text and text.endswith("return h, h\n")


@every_level
def test_the_gradient_of_an_argument_has_its_own_line(level):
    w = tg.tensor(np.array([[1.0, -2.0], [3.0, 0.5]]), requires_grad=True)

    def step(x, c):
        loss = ((x @ w) ** 2).sum() + c.sum()
        loss.backward()
        return loss

    x, c = np.array([[1.0, 2.0]]), np.array([[1.0, 2.0, 3.0]])
    program = tg.trace(step, *(tg.tensor(v, requires_grad=True) for v in (x, c)))
    dz = 2 * x @ w.numpy(force=True)
    wanted = [dz @ w.numpy(force=True).T, np.ones((1, 3)), x.T @ dz]
    given = {"x": x, "c": c, "w": w.numpy(force=True), "z": dz / 2}
    for text, loss in ((program.source(level), [(dz * dz).sum() / 4 + 6]),
                       (program.backward_source(level), [])):  # fmt: skip
        found, _ = call(text, given)
        same(found, [*loss, *wanted])
        assert "dx = " in text and " dx, " in text.partition("return")[2]


def test_a_gradient_that_is_added_to_what_an_argument_had_is_not_called_its_gradient():
    def step(x):
        loss = (x**3).sum()
        loss.backward()
        return loss

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    step(x)
    text = tg.trace(step, x).source()
    found, _ = call(text, {"x": np.array([1.0, 2.0]), "old_dx": np.array([3.0, 12.0])})
    same(found, [9.0, [6.0, 24.0]])
    with pytest.raises(ValueError, match="that an argument has from an earlier"):
        tg.trace(step, x).backward_source()
    x.grad = None
    same(call(tg.trace(step, x).backward_source(), {"x": np.array([1.0, 2.0])})[0], [[3.0, 12.0]])


def test_a_matrix_times_a_vector_goes_back_as_on_paper():
    v, u = tg.tensor(w, requires_grad=True), tg.tensor(COLUMN[:, 0], requires_grad=True)

    def step(x):
        left, right = u @ x, x @ v
        loss = left.tanh().sum() + right.tanh().sum()
        loss.backward()
        return loss

    text = tg.trace(step, tg.tensor(X)).backward_source()
    assert re.search(r"du = x @ dleft +#", text) and re.search(r"dv = x\.T @ dright +#", text)
