"""Views in compiled functions: what is written through one is seen by all that look there."""

import numpy as np
import pytest
from side_by_side import batches, side_by_side, with_gradients

import tinygrad_ce as tg

NUMBERS = {
    "row": lambda x, y: x[1].copy_(y[0]),
    "row, += ": lambda x, y: x[1].add_(y[0]),
    "x[1] += y": lambda x, y: x.__setitem__(1, x[1].__iadd__(y[0])),
    "element": lambda x, y: x[1, 2].fill_(5.0),
    "element of a row": lambda x, y: x[1][2].mul_(y[0, 0]),
    "number": lambda x, y: x[0, 0].add_(1.0).mul_(2.0),
    "slice": lambda x, y: x[:, ::2].mul_(y[:, ::2]),
    "backwards": lambda x, y: x[::-1].sub_(y),
    "transposed": lambda x, y: x.T[1:].copy_(y.T[1:]),
    "transposed twice": lambda x, y: x.T[1].T.add_(1.0),
    "flat": lambda x, y: x.reshape(-1)[3:].mul_(2.0),
    "viewed": lambda x, y: x.view(4, 3)[1:3].copy_(y.view(4, 3)[:2]),
    "new axis": lambda x, y: x[None, 1].unsqueeze(-1).add_(y[1].unsqueeze(-1)),
    "squeezed": lambda x, y: x[:1].squeeze().mul_(y[2]),
    "swapped": lambda x, y: x.unsqueeze(0).transpose(0, 2)[3].fill_(0.5),
    "a mask in a row": lambda x, y: x[1].__setitem__(y[1] > 0, 2.0),
    "an index in a row": lambda x, y: x[1].__setitem__(tg.tensor([2, 0]), y[1, :2]),
    "view of a copy": lambda x, y: x.T.clone().view(-1)[0].fill_(9.0),
    "copy of a view": lambda x, y: x.T.clone()[0].fill_(9.0),
    "reshape that copies": lambda x, y: x.T.reshape(-1)[:2].fill_(9.0),
    "one into another": lambda x, y: x[0].copy_(x[1]),
    "over itself": lambda x, y: x[1:].copy_(x[:-1].clone()),
}


def looked_at_before(write):
    def f(x, y):
        rows, turned, corner = x[1], x.T, x[0, 0]
        write(x, y)
        return rows * 2.0, turned + 1.0, corner * 1.0, x.sum()

    return f


@pytest.mark.parametrize("write", NUMBERS.values(), ids=NUMBERS)
def test_writes_through_views_of_arguments(write):
    side_by_side(lambda: (looked_at_before(write), []), batches((3, 4), (3, 4), count=4))


@pytest.mark.parametrize("write", NUMBERS.values(), ids=NUMBERS)
def test_writes_through_views_of_state(write):
    def build():
        store = tg.tensor(np.arange(12.0).reshape(3, 4))

        def f(y):
            found = looked_at_before(write)(store, y)
            store.mul_(0.5)
            return found

        return f, [store]

    side_by_side(build, batches((3, 4), count=4))


@pytest.mark.parametrize("write", NUMBERS.values(), ids=NUMBERS)
def test_writes_through_views_that_carry_a_gradient(write):
    def build():
        w = tg.tensor(np.linspace(-1.0, 2.0, 12).reshape(3, 4), requires_grad=True)

        def f(y):
            w.grad = None
            x = w * y
            found = looked_at_before(write)(x, w.sin())
            sum((t * t).sum() for t in found).backward()
            return [t.detach() for t in found]

        return f, with_gradients([w])

    side_by_side(build, batches((3, 4), count=4))


def test_a_parameter_is_written_through_its_view():
    def build():
        w = tg.tensor(np.ones((2, 3)), requires_grad=True)
        optimizer = tg.optim.SGD([w], lr=0.1, momentum=0.9)

        def f(x):
            optimizer.zero_grad()
            (w.view(-1) * x).square().sum().backward()
            optimizer.step()
            with tg.no_grad():
                w[0].clamp_(-0.5, 0.5)
                w.grad.view(-1)[0].zero_()

        return f, with_gradients([w])

    side_by_side(build, batches((6,)))


def test_a_view_that_repeats_elements_is_not_written():
    for take in (lambda t: t.expand(3, 4), lambda t: t[None, :].expand(5, 4)[1:]):
        step = tg.compile(lambda x, take=take: take(x).add_(1.0))
        with pytest.raises((RuntimeError, ValueError), match="repeats its elements"):
            step(tg.ones(4))
