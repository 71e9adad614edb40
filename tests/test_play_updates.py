"""Steps of training as a page has them: what is replaced, how that is told, what is refused."""

import json
import re

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn, optim
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz import play


def story_of(page):
    """What a page tells."""
    text = re.search(r'<script type="application/json" id="story">(.*?)</script>', page.html, re.S)
    return json.loads(text[1])


def updates(page):
    """The steps that replace parameters."""
    return [step for step in story_of(page)["steps"] if step["k"] == "u"]


def captions(step):
    """The tables of an update, line by line."""
    return [[part["c"] for part in line["row"] if isinstance(part, dict)] for line in step["lines"]]


def problem():
    """Σ (w − 1)², and w."""
    w = tg.tensor([3.0, -2.0], requires_grad=True)
    return ((w - 1) ** 2).sum(), w


class Halves(optim.Optimizer):
    """An optimiser of the user's: half of the way to 0, whatever the gradient."""

    def __init__(self, params):
        super().__init__(params, {"lr": 1.0})

    def update(self, p, w, g, group):
        w *= 0.5


class Adam(optim.Adam):
    """Not what its name says."""

    def update(self, p, w, g, group):
        super().update(p, w, 2 * g, group)
        w -= 0.1


SGD = optim.SGD
CASES = {
    "maximize": (lambda p: SGD(p, 0.1, maximize=True), [["∇", "g"], ["w", "g", "new w"]]),
    "dampened": (lambda p: SGD(p, 0.1, momentum=0.9, dampening=0.5),
                 [["v", "∇", "new v"], ["w", "new v", "new w"]]),
    "amsgrad": (lambda p: optim.Adam(p, 0.1, amsgrad=True),
                [["m", "∇", "new m"], ["v", "∇²", "new v"], ["s", "new v", "new s"],
                 ["t", "new t"], ["new m", "m̂"], ["new s", "ŝ"], ["m̂", "ŝ", "d"],
                 ["w", "d", "new w"]]),
    "lr_decay": (lambda p: optim.Adagrad(p, 0.1, lr_decay=0.5), [["∇"], ["w", "change", "new w"]]),
    "Adadelta": (optim.Adadelta, [["∇"], ["w", "change", "new w"]]),
    "of the user's": (Halves, [["∇"], ["w", "change", "new w"]]),
    "all of SGD": (lambda p: SGD(p, 0.1, 0.9, 0, 0.5, nesterov=True),
                   [["∇", "w", "g"], ["v", "g", "new v"], ["g", "new v", "d"],
                    ["w", "d", "new w"]]),
    "AdamW": (optim.AdamW, [["w", "smaller w"], ["m", "∇", "new m"], ["v", "∇²", "new v"],
                            ["t", "new t"], ["new m", "m̂"], ["new v", "v̂"], ["m̂", "v̂", "d"],
                            ["smaller w", "d", "new w"]]),
    "all of RMSprop": (lambda p: optim.RMSprop(p, 0.1, centered=True, momentum=0.5),
                       [["v", "∇²", "new v"], ["m", "∇", "new m"], ["new v", "new m²", "s"],
                        ["∇", "s", "d"], ["b", "d", "new b"], ["w", "new b", "new w"]]),
    "Adagrad": (optim.Adagrad, [["s", "∇²", "new s"], ["∇", "new s", "d"], ["w", "d", "new w"]]),
    "of a known name": (Adam, [["∇"], ["w", "change", "new w"]]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_update_is_told_as_far_as_it_is_known(case):
    make, wanted = CASES[case]
    loss, w = problem()
    optimizer = make([w])
    if case == "dampened":  # its first step is another one
        loss.backward()
        optimizer.step()
        loss = ((w - 1) ** 2).sum()
    (step,) = updates(play(loss, {"w": w}, optimizer=optimizer))
    assert captions(step) == wanted


def test_a_parameter_called_like_a_letter_keeps_it():
    loss, m = problem()
    (step,) = updates(play(loss, {"m": m}, optimizer=optim.Adam([m])))
    assert captions(step)[0] == ["m′", "∇", "new m′"] and captions(step)[-1][-1] == "new m"


def test_nothing_of_the_users_is_changed():
    for taken in (0, 2):
        model, x = nn.Linear(2, 3), tg.randn(4, 2)
        optimizer = optim.AdamW([{"params": [model.weight]}, {"params": [model.bias], "lr": 0.5}])
        for _ in range(taken):
            (model(x) ** 2).sum().backward()
            optimizer.step()
        loss = (model(x) ** 2).sum()
        state = json.dumps(optimizer.state_dict(), default=lambda t: t.tolist())
        grads = [p.grad for p in model.parameters()]
        values = [p.detach().clone() for p in model.parameters()]
        page = play(loss, {"model": model}, optimizer=optimizer)
        assert json.dumps(optimizer.state_dict(), default=lambda t: t.tolist()) == state
        assert all(p.grad is g for p, g in zip(model.parameters(), grads))
        assert all((p == v).all() for p, v in zip(model.parameters(), values))
        loss.backward()  # the graph is as it was
        rates = story_of(page)["live"]["train"]["rates"]
        assert [rate["n"] for rate in rates] == ["lr", "lr", "β₁", "β₂", "β₁", "β₂"]


def test_updates_that_are_written_by_hand():
    w = tg.tensor([3.0, -2.0], requires_grad=True)

    def step(lr):
        loss = ((w - 1) ** 2).sum()
        loss.backward()
        with tg.no_grad():
            w.sub_(lr * w.grad)
        w.grad = None
        return loss

    page = play(tg.trace(step, 0.25))
    (told,) = updates(page)
    assert captions(told) == [["∇"], ["w", "change", "new w"]]
    assert told["lines"][-1]["row"][2]["v"]["d"] == [1, -1.5]
    assert [rate["n"] for rate in story_of(page)["live"]["train"]["rates"]] == ["lr"]


def test_a_program_that_replaces_nothing_does_not_train():
    w = tg.tensor([3.0, -2.0], requires_grad=True)
    assert "train" not in story_of(play(tg.trace(lambda: (w * w).sum())))["live"]


def test_what_is_drawn_stays_as_it_was_recorded():
    model, x = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5)), tg.randn(4, 2)
    optimizer = SGD(model.parameters(), 0.1)

    def step():
        optimizer.zero_grad()
        loss = (model(x) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    program = tg.trace(step)
    state = tg.get_rng_state()
    told = story_of(play(program))["live"]
    assert told["train"]["draws"] == 1 and "draw" not in told["ops"]
    assert (tg.get_rng_state() == state).all()


def test_what_is_too_large_to_be_edited_does_not_train():
    w = tg.ones(150, 150, requires_grad=True)
    told = story_of(play((w * w).sum(), optimizer=SGD([w], 0.1)))
    assert told["fixed"].endswith("can be edited, so it does not train") and "live" not in told


def test_leaves_that_share_a_card_have_one_update():
    leaves = [tg.tensor(float(i), requires_grad=True) for i in range(400)]
    loss = leaves[0] * 0
    for leaf in leaves:
        loss = loss + leaf * leaf
    page = play(loss, optimizer=SGD(leaves, 0.1))
    assert len(updates(page)) < 10
    assert len(story_of(page)["live"]["train"]["states"]) == 400


def test_what_cannot_train_says_why():
    loss, w = problem()
    other = tg.ones(2, requires_grad=True)
    program = tg.trace(lambda: (w * w).sum())
    for what, optimizer, error, message in (
        (loss, 0.1, TypeError, "got optimizer=0.1; wanted one of tinygrad_ce.optim"),
        (program, SGD([w], 0.1), TypeError, "a program takes its own steps"),
        (loss, SGD([other], 0.1), ValueError, "no parameter of the optimizer is one of the loss"),
        (loss, optim.LBFGS([w]), ValueError, "the step of LBFGS cannot be played"),
        (loss, SGD([w], 0.1, momentum=0.9, dampening=0.5), ValueError, "the first step of SGD"),
        (tg.tensor([1.0]), SGD([w], 0.1), ValueError, "no gradient"),
    ):
        with pytest.raises(error, match=message):
            play(what, optimizer=optimizer)


def test_points_are_found_where_there_are_some():
    tg.manual_seed(0)
    x, y = tg.randn(5, 2), tg.tensor([0, 1, 1, 0, 2])

    def points(x, y, outputs=3, measure=F.cross_entropy):
        model = nn.Linear(x.shape[-1], outputs)
        loss = measure(model(x), y)
        page = play(loss, {"x": x, "y": y, "model": model}, optimizer=SGD(model.parameters(), 0.1))
        return story_of(page)["live"]["train"].get("points")

    assert points(x, y)["level"] == 0
    assert points(x, F.one_hot(y, 3).float(), measure=lambda z, y: F.mse_loss(z, y))
    two = (y.float() > 0).float().reshape(-1, 1)
    assert points(x, two, 1, F.mse_loss)["level"] == 0.5
    assert points(x, 2 * two - 1, 1, F.mse_loss)["level"] == 0
    assert points(x, two, 1, lambda z, y: F.binary_cross_entropy(F.sigmoid(z), y))["level"] == 0
    assert points(x, two, 1, F.binary_cross_entropy_with_logits)["t"]["s"] == [5, 1]
    assert points(x, two[:, 0], 1, lambda z, y: F.mse_loss(z, y.reshape(-1, 1)))["level"] == 0.5
    with tg.source_lines():  # the targets are computed in the graph
        model, signs = nn.Linear(2, 1), 2 * two - 1
        loss = F.relu(1 - model(x) * (2 * two - 1)).mean()
    names = {"x": x, "two": two, "model": model, "signs": signs}
    page = play(loss, names, optimizer=SGD(model.parameters(), 0.1))
    assert story_of(page)["live"]["train"]["points"]["level"] == 0
    shift = tg.tanh(x) @ tg.ones(2, 3)
    for found in (
        points(x, y, measure=lambda z, y: F.cross_entropy(z + shift, y)),  # made nobody knows how
        points(tg.randn(5, 3), y),  # no plane
        points(tg.randn(2, 2), y[:2]),  # two points are no picture
        points(tg.full((5, 2), np.nan), y),
        points(x, tg.randn(5, 1), 1, F.mse_loss),  # no classes
        points(x, tg.randn(5, 3), 3, F.mse_loss),
        points(x, tg.tensor([0, 1, 1, 0, 200]), 201),
    ):
        assert found is None
