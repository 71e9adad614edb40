"""Parameters that one optimiser treats alike are updated together, and are left as they were."""

import numpy as np
import pytest
from side_by_side import side_by_side

import tinygrad_ce as tg
from tinygrad_ce.optim import SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop
from tinygrad_ce.program.memory import FlatParameter

SHAPES = [(3, 2), (2,), (2, 4), (4,)]
CALLS = [[np.linspace(-1.0, 1.0, 3) + k] for k in range(6)]


class Signs(Optimizer):
    """w -= lr·sign(g), written by a user."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    def update(self, p, w, g, group):
        w -= group["lr"] * np.sign(g)


class Norms(Signs):
    """w -= lr·g/‖g‖: each parameter has a rate of its own."""

    def update(self, p, w, g, group):
        w -= group["lr"] * g / np.sqrt((g * g).sum() + 1.0)


class Matrices(Signs):
    """Other rates for matrices than for rows."""

    def update(self, p, w, g, group):
        w -= (0.1 if w.ndim > 1 else 0.3) * g


class Pulled(Signs):
    """Keeps a mean, and counts in numbers of its own."""

    def update(self, p, w, g, group):
        count, mean = self.state_of(p, step=(), mean=w.shape)
        count += 1
        mean += (g - mean) / count
        w -= group["lr"] * mean


def trained(make, after=lambda parameters: None, steps=1, dtypes=(np.float64,) * 4):
    """A step that trains four parameters and returns the loss, and what it changes."""

    def build():
        stream = np.random.default_rng(2)
        parameters = [
            tg.tensor(stream.standard_normal(s).astype(d), requires_grad=True)
            for s, d in zip(SHAPES, dtypes)
        ]
        W1, b1, W2, b2 = parameters
        optimizer = make(parameters)

        def f(x):
            for _ in range(steps):
                optimizer.zero_grad()
                loss = (((x @ W1 + b1).tanh() @ W2 + b2) ** 2).sum()
                loss.backward()
                optimizer.step()
                with tg.no_grad():
                    after(parameters)
            return loss

        return f, lambda: [parameters, [p.grad for p in parameters], optimizer.state_dict()]

    return build


def groups(optimizer):
    return lambda ps: optimizer([{"params": ps[:2], "lr": 0.1}, {"params": ps[2:], "lr": 0.01}])


def clamps_one(ps):
    ps[1].clamp_(-0.1, 0.1)


def clamps_all(ps):
    for p in ps:
        p.clamp_(-0.5, 0.5)


def half(ps):
    return Adam(ps[::2], lr=0.1)


MIXED = (np.float64, np.float32, np.float64, np.float32)
TABLE = {  # what is trained -> how many flat states there are
    "SGD": (trained(lambda ps: SGD(ps, lr=0.1)), 1),
    "momentum": (trained(lambda ps: SGD(ps, lr=0.1, momentum=0.9, nesterov=True)), 2),
    "Adam": (trained(lambda ps: Adam(ps, lr=0.1, weight_decay=0.1)), 4),
    "AdamW": (trained(lambda ps: AdamW(ps, lr=0.1)), 4),
    "amsgrad": (trained(lambda ps: Adam(ps, lr=0.1, amsgrad=True)), 5),
    "RMSprop": (trained(lambda ps: RMSprop(ps, momentum=0.5, centered=True)), 5),
    "Adagrad": (trained(lambda ps: Adagrad(ps, lr=0.1, lr_decay=0.1)), 3),
    "Adadelta": (trained(lambda ps: Adadelta(ps, maximize=True, eps=0.1)), 4),
    "two groups": (trained(groups(Adam)), 8),
    "mixed dtypes": (trained(lambda ps: SGD(ps, lr=0.1, momentum=0.5), dtypes=MIXED), 4),
    "half of them": (trained(half), 4),
    "in any order": (trained(lambda ps: SGD(ps[::-1], lr=0.1)), 1),
    "one alone": (trained(lambda ps: SGD(ps[:1], lr=0.1)), 0),
    "a user's": (trained(Signs), 1),
    "a user's with state": (trained(Pulled), 3),
    "norms": (trained(Norms), 0),
    "matrices and rows": (trained(Matrices), 2),
    "one is clamped": (trained(lambda ps: SGD(ps, lr=0.1), clamps_one), 1),
    "all are clamped": (trained(lambda ps: SGD(ps, lr=0.1), clamps_all), 0),
    "two steps": (trained(lambda ps: Adam(ps, lr=0.1), steps=2), None),
}


def in_turns():
    """The second matrix learns from what the first has just become."""
    stream = np.random.default_rng(3)
    W1, W2 = (tg.tensor(stream.standard_normal(s), requires_grad=True) for s in ((3, 2), (2, 4)))
    optimizer = SGD([W1, W2], lr=0.1)

    def f(x):
        losses = []
        for first, second in ((W1, W2.detach()), (W1.detach(), W2)):
            optimizer.zero_grad()
            losses.append((((x @ first).tanh() @ second) ** 2).sum())
            losses[-1].backward()
            optimizer.step()
        return losses

    return f, lambda: [W1, W2, W1.grad, W2.grad]


TABLE["in turns"] = in_turns, 0


@pytest.mark.parametrize("name", TABLE)
def test_what_is_treated_alike_is_updated_together(name):
    build, count = TABLE[name]
    side_by_side(build, CALLS, noise=1e-5 if name == "mixed dtypes" else 1e-14)
    if count is not None:
        compiled = tg.compile(build()[0])
        for call in CALLS[:2]:
            compiled(*map(tg.tensor, call))
        states = compiled.runners[0].program.states
        assert sum(isinstance(s.node, FlatParameter) for s in states) == count


def test_parameters_are_left_as_they_were():
    """Shapes, strides, views, numbers that somebody holds; and the names of the gradients."""
    build, _ = TABLE["Adam"]
    step, left = build()
    parameters = left()[0]
    strides = [p.detach().numpy().strides for p in parameters]
    compiled = tg.compile(step)
    for call in CALLS[:4]:
        compiled(*map(tg.tensor, call))
    for p, shape, stride in zip(parameters, SHAPES, strides):
        assert p.shape == shape and p.detach().numpy().strides == stride
        assert p.detach().numpy().flags.c_contiguous
        row = p.detach().view(-1)
        row[0] = 7.0
        assert p.detach().numpy().flat[0] == 7.0
        assert p.grad.numpy().strides == stride


def test_parameters_without_elements_have_gradients_of_their_own():
    shapes = [(2, 3), (0,), (0,), (0, 2)]

    def build():
        parameters = [tg.ones(*s).double().requires_grad_() for s in shapes]
        optimizer = Adam(parameters, lr=0.1)

        def f(x):  # gathers gradients: the next call reads those of the last
            sum((p * x.sum()).tanh().sum() for p in parameters).backward()
            optimizer.step()

        return f, lambda: [parameters, [p.grad for p in parameters]]

    side_by_side(build, CALLS)
    step, left = build()
    tg.compile(step)(tg.ones(3).double())
    assert len({id(g.array) for g in left()[1]}) == len(shapes)


def test_an_alias_keeps_parameters_where_they_are():
    build, _ = TABLE["SGD"]
    step, left = build()
    parameters = left()[0]
    alias = parameters[0].detach().numpy()
    owners = [p.detach().numpy() for p in parameters]
    compiled = tg.compile(step)
    for call in CALLS[:4]:
        compiled(*map(tg.tensor, call))
    assert all(np.shares_memory(p.detach().numpy(), a) for p, a in zip(parameters, owners))
    assert alias.tolist() == parameters[0].tolist()
    assert not any(isinstance(s.node, FlatParameter) for s in compiled.runners[0].program.states)


def test_step_counts_that_differ_are_updated_one_by_one():
    """The correction of Adam's means is another one for each; so it is from the next call on."""

    def build():
        parameters = [tg.ones(2).double().requires_grad_(), tg.ones(3).double().requires_grad_()]
        optimizer = Adam(parameters, lr=0.1)
        (parameters[0] * 2.0).sum().backward()
        optimizer.step()  # the second parameter has no gradient yet

        def f(x):
            optimizer.zero_grad()
            ((parameters[0] * x[:2]).sum() + (parameters[1] * x).square().sum()).backward()
            optimizer.step()

        return f, lambda: [parameters, optimizer.state_dict()["state"]]

    side_by_side(build, CALLS)


@pytest.mark.parametrize("make", [
    lambda ps: SGD(ps, lr=0.1), lambda ps: SGD(ps, lr=0.1, weight_decay=0.01),
    lambda ps: SGD(ps, lr=0.1, momentum=0.9, nesterov=True), lambda ps: Adam(ps, lr=0.1),
    lambda ps: Adam(ps, lr=0.1, weight_decay=0.01), lambda ps: AdamW(ps, lr=0.1), Signs, Pulled,
])  # fmt: skip
def test_settings_take_the_dtype_of_the_parameters(make):
    """In float32 every bit is that of eager code: no number is a float64 on the way."""
    found = []
    for compile in (tg.compile, lambda f: f):
        stream = np.random.default_rng(0)
        w, b = (tg.tensor(np.float32(stream.standard_normal(n)), requires_grad=True)
                for n in (200, 5))  # fmt: skip
        optimizer = make([w, b])

        def f(x, w=w, b=b, optimizer=optimizer):
            optimizer.zero_grad()
            (w * x).sum().backward()
            (b * x[:5]).sum().backward()
            optimizer.step()

        f = compile(f)
        for _ in range(4):
            f(tg.tensor(np.float32(stream.standard_normal(200))))
        found.append([w.detach().numpy(), b.detach().numpy()])
    for a, c in zip(*found):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, c)
