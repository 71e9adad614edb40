"""Networks that are taught: drawn, played, trained and edited in the page."""

from functools import cache

import numpy as np
import pytest

import tinygrad_ce as tg
from tests import browser as helpers
from tests.taught_programs import TAUGHT, taught
from tinygrad_ce import nn, optim
from tinygrad_ce.viz import play

STEPS, EDITS = 20, 25
LOSS, EDITED = 2e-5, 1e-4  # of float32: edits are less kind to it, (c − d)² of large numbers


def tensors_of(names):
    """The leaves among named things, with the names that the page has for them."""
    found = {}
    modules = [name for name, thing in names.items() if isinstance(thing, nn.Module)]
    for name, thing in names.items():
        if isinstance(thing, nn.Module):
            before = f"{name}." if len(modules) > 1 else ""
            found.update({before + key: p for key, p in thing.named_parameters()})
        elif thing.is_leaf:
            found[name] = thing
    return found


@cache
def program(name):
    """A program's page, which trains, its leaves as they were, and eager's losses."""
    with tg.source_lines():
        loss, names, again = taught(name)
    leaves = tensors_of(names)
    rate = 1e-6 if name == "expression" else 0.05
    optimizer = optim.SGD([x for x in leaves.values() if x.requires_grad], lr=rate)
    page = play(loss, names, optimizer=optimizer)
    given = {key: x.detach().numpy().copy() for key, x in leaves.items()}
    losses = []
    for _ in range(STEPS):
        losses.append(again())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    trained = [key for key, x in leaves.items() if x.requires_grad]
    return page, given, trained, [x.item() for x in losses]


def test_the_losses_are_numpy_s():
    for name, (*_, oracle) in TAUGHT.items():
        _, given, _, losses = program(name)
        exact = {key: x.astype(np.float64) if x.dtype == np.float32 else x
                 for key, x in given.items()}  # fmt: skip
        np.testing.assert_allclose(losses[0], oracle(exact), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", TAUGHT)
def test_a_page_shows_trains_and_is_edited(open_page, tmp_path, arial, name):
    made, given, trained, losses = program(name)
    page = open_page(motion="reduce")
    page.goto(made.save(tmp_path / "page.html").as_uri())
    some = helpers.CROWDED.replace("k++", f"k += {1 + made.steps // 25}")
    assert not page.evaluate(some, 1)
    found = page.evaluate("(steps) => (player.train(steps), training.losses)", STEPS - 1)
    np.testing.assert_allclose(found, losses, rtol=LOSS)
    page.evaluate("player.reset()")
    random, oracle = np.random.default_rng(3), TAUGHT[name][2]
    now = {key: x.astype(np.float64) if x.dtype == np.float32 else x for key, x in given.items()}
    wanted, edits = [], []
    for _ in range(EDITS):
        key = random.choice(list(now))
        index = tuple(int(random.integers(n)) for n in now[key].shape)
        whole = now[key].dtype.kind == "i"
        value = int(random.integers(3)) if whole else float(np.float32(random.normal(0, 1)))
        now = {**now, key: now[key].copy()}
        now[key][index] = value
        of = random.choice(trained)
        at = tuple(int(random.integers(n)) for n in now[of].shape)
        wanted.append((oracle(now), *slope(oracle, now, of, at)))
        edits.append([key, list(index), value, of, int(np.ravel_multi_index(at, now[of].shape))])
    found = page.evaluate("""(edits) => edits.map(([key, index, value, of, at]) => {
      player.set(key, index, value);
      const slopes = player.gradient(of).data;
      return [player.loss(), slopes[at], Math.max(...slopes.map(Math.abs))];
    })""", edits)  # fmt: skip
    for (loss, slope_there, largest), (exact, central, doubt) in zip(found, wanted):
        np.testing.assert_allclose(loss, exact, rtol=EDITED, atol=LOSS)
        assert abs(slope_there - central) <= EDITED * max(largest, 1) + doubt


def slope(f, given, name, at, h=1e-5):
    """∂loss/∂name[at] as a central difference, and how far from it one with 2h is."""

    def difference(h):
        ends = [given[name].copy(), given[name].copy()]
        ends[0][at] += h
        ends[1][at] -= h
        up, down = (f({**given, name: end}) for end in ends)
        return (up - down) / (2 * h)

    one, wide = difference(h), difference(2 * h)
    return one, abs(one - wide)


def test_pictures_are_whole(open_page, arial):
    page = open_page()
    for name in TAUGHT:
        loss, names, _ = taught(name)
        drawing = tg.draw(loss, names)
        seen = helpers.measured(page, drawing._drawn("svg").decode())
        frames, parts = seen["frames"], seen["parts"]
        cards = {group: box for group, box in frames.items() if group.startswith("n")}
        known = {part["group"]: frames.get(part["group"], frames["graph0"]) for part in parts}
        assert not helpers.misplaced(parts, known, cards), name
        words = " ".join(part["text"] for part in parts).split()
        assert not [
            key for key, x in names.items() if isinstance(x, tg.Tensor) and key not in words
        ]
