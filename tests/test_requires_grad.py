"""requires_grad, given, assigned or switched: what is refused, and which uses get a gradient."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn


def assign(t, flag):
    t.requires_grad = flag


WAYS = {"assigned": assign, "called": lambda t, flag: t.requires_grad_(flag)}
both_ways = pytest.mark.parametrize("switch", WAYS.values(), ids=list(WAYS))


@both_ways
def test_a_leaf_that_is_switched_on_gathers_gradients(switch):
    for p in (tg.ones(2), tg.tensor(3.0), nn.Parameter([1.0, 2.0], requires_grad=False)):
        switch(p, True)
        assert p.requires_grad and p.is_leaf
        (p * p).sum().backward()
        assert p.grad.tolist() == (2 * p.detach()).tolist()


@both_ways
def test_what_was_computed_without_a_past_becomes_a_leaf(switch):
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    with tg.no_grad():
        under_no_grad = w * 2
    results = {
        "no_grad": under_no_grad,
        "of constants": tg.tensor([1.0, 2.0]) * 2,
        "element": tg.tensor([2.0, 3.0])[0],
        "sum": tg.tensor([1.0, 1.0]).sum(),
        "detached": (w * 2).detach(),
        "view": tg.tensor([2.0, 4.0]).reshape(2, 1)[:, 0],
    }
    for name, x in results.items():
        numbers = x.numpy().copy()
        switch(x, True)
        assert x.is_leaf and x.requires_grad, name
        y = (x * x).sum()
        y.backward()
        np.testing.assert_array_equal(x.grad.numpy(), 2 * numbers, name)
        x.backward(np.ones_like(numbers))  # from the leaf itself
        np.testing.assert_array_equal(x.grad.numpy(), 2 * numbers + 1, name)
    assert w.grad is None


@both_ways
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.bool_, np.uint8])
def test_only_floats_can_be_switched_on(switch, dtype):
    x = tg.tensor(np.ones(2, dtype))
    with pytest.raises(TypeError, match=r"no derivative.*t\.float\(\)"):
        switch(x, True)
    assert not x.requires_grad
    switch(x, False)


@both_ways
def test_a_recorded_result_cannot_be_switched_off(switch):
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    y = w * w
    switch(y, True)  # as it is
    freed = (w * w).sum()
    freed.backward(retain_graph=False)
    w.grad = None
    for x in (y, freed):
        with pytest.raises(RuntimeError, match=r"made by \w+ and is no leaf.*t\.detach\(\)"):
            switch(x, False)
    y.sum().backward()
    assert w.grad.tolist() == [2.0, 4.0]


@both_ways
@pytest.mark.parametrize("flag", [1, 0, None, "yes", 1.0, np.True_, [True]])
def test_only_booleans_are_flags(switch, flag):
    x = tg.ones(2)
    with pytest.raises(TypeError, match=r"requires_grad: got .*; wanted True or False"):
        switch(x, flag)
    assert x.requires_grad is False
    for make in (lambda: tg.tensor([1.0], requires_grad=flag),
                 lambda: nn.Parameter([1.0], requires_grad=flag),
                 lambda: tg.zeros(2, requires_grad=flag),
                 lambda: nn.Linear(1, 1).requires_grad_(flag)):  # fmt: skip
        with pytest.raises(TypeError, match="wanted True or False"):
            make()


# U is a use of w, the k-th one times 10ᵏ; + and - switch w on and off. PyTorch's gradients.
HISTORIES = {
    "U": 1, "U-": None, "-U": None, "-U+": None, "U-+": 1, "U+U": 11, "-U+U": 10, "U-+U": 11,
    "U-U+": 1, "U-U+U": 101, "-U+U-U+U": 1010, "U-U+U-U+U": 10101, "U-U+U-U+U-": None,
}  # fmt: skip


@both_ways
@pytest.mark.parametrize("created_on", [True, False])
@pytest.mark.parametrize("story", HISTORIES)
def test_a_use_counts_if_the_leaf_was_on_then_and_is_on_now(switch, created_on, story):
    """A frozen network's loss, unfrozen before backward(): what was used frozen gets nothing."""
    w = tg.tensor([1.0], requires_grad=created_on)
    switch(w, True)
    total = other = tg.tensor([1.0], requires_grad=True)
    factor = 1
    for letter in story:
        if letter == "U":
            total = total + w * other * factor
            factor *= 10
        else:
            switch(w, letter == "+")
    total.sum().backward()
    assert (w.grad and w.grad.item()) == HISTORIES[story]


def test_switching_for_ever_keeps_little():
    w = tg.tensor([1.0], requires_grad=True)
    for _ in range(500):
        w.requires_grad = False
        frozen = w * tg.tensor([1.0], requires_grad=True)
        w.requires_grad = True
        y = frozen + w * 3.0
        w.grad = None
        y.sum().backward()
        assert w.grad.item() == 3.0
    assert len(w.switched) < 100


def test_frozen_and_unfrozen_in_a_traced_function():
    """What is compiled follows the flag, and sets it where the function does."""
    frozen = tg.tensor([2.0, 3.0])
    w = tg.tensor([1.0, 1.0], requires_grad=True)

    @tg.compile
    def step(x):
        ((frozen * w) * x).sum().backward()

    for flag in (False, True, False, True):
        frozen.requires_grad = flag
        w.grad = frozen.grad = None
        step(tg.tensor([1.0, 10.0]))
        assert w.grad.tolist() == [2.0, 30.0]
        found = None if frozen.grad is None else frozen.grad.tolist()
        assert found == ([1.0, 10.0] if flag else None)


@pytest.mark.parametrize("requires_grad", [True, False])
def test_copies_keep_the_flag(requires_grad):
    for x in (tg.tensor([1.0]), nn.Parameter([1.0])):
        x.requires_grad = requires_grad
        for twin in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
            assert twin.requires_grad is requires_grad and type(twin) is type(x)
            twin.requires_grad = True
            (twin * 2.0).sum().backward()
            assert twin.grad.tolist() == [2.0]
    model = copy.deepcopy(nn.Linear(2, 1).requires_grad_(requires_grad))
    assert [p.requires_grad for p in model.parameters()] == [requires_grad] * 2
