"""Compiled functions on tensors of no axes, whose results NumPy hands out as numbers.

An array of no axes is a place that is written, a number of NumPy is not: `x += 1` writes into the
one and binds x anew for the other. A program has to know which of both is meant.
"""

import nn_cases as cases
import numpy as np
import pytest
from side_by_side import batches, side_by_side, with_gradients

import tinygrad_ce as tg


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


def test_a_number_that_is_added_to_is_another_one():
    def f(x, number):
        before = number
        number += 1.0
        number *= 2.0
        return x * before, x * number, number

    numbers = [np.float32(0.5), np.float32(1.5), np.float32(-2.0)]
    side_by_side(lambda: (f, []), [[x, n] for (x,), n in zip(batches((3,)), numbers)])
