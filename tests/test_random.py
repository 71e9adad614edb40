"""The random stream, against draws frozen from PyTorch by ``data/make_random.py``."""

import base64
import copy
import hashlib
import json
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import random
from tinygrad_ce.random import Generator

FROZEN = json.loads(Path(__file__).parent.joinpath("data", "random.json").read_text())
ULPS = 16  # what logarithms, sines and cosines of two libraries may differ by


def argument(value):
    """An argument of a frozen call."""
    if isinstance(value, dict):
        return np.array(value["array"], value["dtype"])
    return tuple(value) if isinstance(value, list) else value


def make(g, call):
    """Make the call with our generator, and check the frame of what came."""
    options = {"dtype": call["dtype"]} if call["dtype"] else {}
    result = getattr(g, call["method"])(*map(argument, call["args"]), **options)
    assert result.shape == tuple(call["shape"])
    assert result.dtype == call["result_dtype"]
    return result


def compare(result, call):
    """Equal where PyTorch is met exactly, within a few ulp elsewhere."""
    values = np.array(call["values"], result.dtype)
    drawn = result.ravel()[:: call.get("step", 1)]
    eps = np.finfo(result.dtype).eps if result.dtype.kind == "f" else 0
    if call["method"] in ("randn", "exponential"):
        np.testing.assert_allclose(drawn, values, rtol=ULPS * eps, atol=0)
    elif call["method"] == "normal" or (call["method"], result.dtype) == ("uniform", np.float64):
        # A sum: its error is measured by the terms, not by what is left when they cancel.
        np.testing.assert_allclose(drawn, values, rtol=0, atol=ULPS * eps)
    else:
        np.testing.assert_array_equal(drawn, values)
        if "sha256" in call:
            assert hashlib.sha256(result.tobytes()).hexdigest() == call["sha256"]
    if "mean_square" in call:
        mean_square = np.mean(np.square(result, dtype=np.float64))
        np.testing.assert_allclose(mean_square, call["mean_square"], rtol=ULPS * eps)


@pytest.mark.parametrize("case", FROZEN["cases"], ids=lambda case: case["name"])
def test_the_stream_is_pytorchs(case):
    g = Generator().manual_seed(case["seed"])
    assert g.initial_seed() == case["initial_seed"]
    for call in case["calls"]:
        compare(make(g, call), call)


def test_a_known_draw():
    x = Generator().manual_seed(2147483647).rand(3)
    np.testing.assert_array_equal((x / x.sum()).round(4), np.float32([0.6064, 0.3033, 0.0903]))


def test_a_state_of_pytorch_is_taken_and_given_back():
    state = np.frombuffer(zlib.decompress(base64.b64decode(FROZEN["state"]["bytes"])), np.uint8)
    g = Generator().set_state(state)
    assert g.initial_seed() == FROZEN["state"]["seed"] % 2**64
    np.testing.assert_array_equal(g.get_state(), state)
    for call in FROZEN["state"]["calls"]:
        compare(make(g, call), call)
    own = Generator().manual_seed(FROZEN["state"]["seed"])
    own.randn(5)
    # The kept normal went through a sine; all else is equal.
    fields, wanted = own.get_state().view(random.STATE)[0], state.view(random.STATE)[0]
    np.testing.assert_allclose(fields["kept"], wanted["kept"], rtol=1e-15 * ULPS)
    fields["kept"] = wanted["kept"]
    assert fields == wanted


def some_draws(g):
    """A bit of everything, as one list."""
    p = np.array([0.2, 0.5, 0.3])
    results = [g.randn(3), g.rand(700), g.randn(20), g.randint(0, 2**40, 3), g.randperm(9)]
    results += [g.bernoulli(p), g.bernoulli(0.5, 4), g.multinomial(p, 2), g.exponential(1, 2)]
    return np.concatenate(results).tolist()


@pytest.mark.parametrize("before", range(0, 1300, 311))
@pytest.mark.parametrize("normals", [0, 1, 2])
def test_a_state_is_a_place_in_the_stream(before, normals):
    g = Generator().manual_seed(1)
    g.rand(before)
    g.randn(normals)
    state = g.get_state()
    kept = state.copy()
    first = some_draws(g)
    np.testing.assert_array_equal(state, kept)  # drawing does not reach into the state given out
    assert g.set_state(state) is g
    assert some_draws(g) == first
    assert some_draws(g) != first
    assert some_draws(Generator().set_state(state)) == first


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_a_copy_goes_on_by_itself(copied):
    g = Generator().manual_seed(4)
    g.randn(1)
    other = copied(g)
    assert some_draws(other) == some_draws(g)


def damaged(**changes):
    """A state with some of its fields changed."""
    state = Generator().manual_seed(0).get_state()
    for name, value in changes.items():
        state.view(random.STATE)[name] = value
    return state


@pytest.mark.parametrize(
    "state, error",
    [
        (None, TypeError),
        (b"state", TypeError),
        (np.zeros(random.STATE.itemsize, np.int8), TypeError),
        (np.zeros(10, np.uint8), ValueError),
        (np.zeros((1, random.STATE.itemsize), np.uint8), ValueError),
        (np.zeros(random.STATE.itemsize, np.uint8), ValueError),
        (np.full(random.STATE.itemsize, 255, np.uint8), ValueError),
        (damaged(words=0), ValueError),
        (damaged(words=2**32), ValueError),
        (damaged(left=0), ValueError),
        (damaged(left=625), ValueError),
        (damaged(left=3), ValueError),
        (damaged(seeded=0), ValueError),
        (damaged(kept=np.nan), ValueError),
    ],
)
def test_a_wrong_state_is_refused_and_changes_nothing(state, error):
    g = Generator().manual_seed(2)
    g.randn(1)
    before = g.get_state()
    with pytest.raises(error, match="get_state"):
        g.set_state(state)
    np.testing.assert_array_equal(g.get_state(), before)


def test_a_state_may_be_a_tensor_as_it_is_loaded(tmp_path):
    g = Generator().manual_seed(3)
    tg.save({"rng": g.get_state()}, tmp_path / "state")
    wanted = g.rand(4)
    np.testing.assert_array_equal(g.set_state(tg.load(tmp_path / "state")["rng"]).rand(4), wanted)


def test_a_wrong_state_is_told_what_was_wanted():
    wanted = r"; wanted an array or a Tensor of uint8 and shape \(5056,\), as get_state\(\) gives$"
    for state, error, got in (
        ([1, 2], TypeError, "list"),
        (None, TypeError, "NoneType"),
        (tg.ones(5056), TypeError, r"float32 of shape \(5056,\)"),
        (tg.tensor(np.zeros((2, 3), np.uint8)), ValueError, r"uint8 of shape \(2, 3\)"),
    ):
        with pytest.raises(error, match=f"^set_state: got {got}{wanted}"):
            Generator().set_state(state)


def test_a_state_need_not_be_contiguous():
    state = Generator().manual_seed(3).get_state()
    strided = np.repeat(state, 2)[::2]
    assert Generator().set_state(strided).rand(1) == Generator().manual_seed(3).rand(1)


def test_seeding_clears_the_kept_normal():
    g = Generator().manual_seed(0)
    first = g.randn(1)
    assert g.manual_seed(0).randn(1) == first


def test_the_default_seed():
    assert Generator().initial_seed() == 67280421310721
    given = Generator().manual_seed(67280421310721)
    np.testing.assert_array_equal(Generator().rand(5), given.rand(5))


def test_seed_is_another_one_each_time():
    g = Generator()
    seeds = {g.seed() for _ in range(4)}
    assert len(seeds) == 4
    assert g.initial_seed() in seeds
    np.testing.assert_array_equal(g.rand(3), Generator().manual_seed(g.initial_seed()).rand(3))


def test_numpy_integers_are_seeds_and_sizes():
    g = Generator().manual_seed(np.int64(-1))
    assert g.initial_seed() == 2**64 - 1
    assert g.rand(np.int32(2)).shape == (2,)
    assert g.rand([2, 3]).shape == (2, 3)
    assert g.rand(()).shape == ()
    assert g.randn(0).shape == (0,)


def test_bernoulli_broadcasts_and_takes_a_dtype():
    g = Generator().manual_seed(0)
    mask = g.bernoulli(0.5, (2, 3), bool)
    assert mask.dtype == bool
    assert g.bernoulli(np.array([[0.0], [1.0]]), (2, 3)).tolist() == [[0] * 3, [1] * 3]
    assert g.bernoulli(np.float32([1.0]), dtype=np.int64).dtype == np.int64
    assert g.bernoulli(np.array(1.0)).shape == ()


def test_uniform_never_gives_its_upper_bound():
    # Few float32 lie between the bounds: without care half the values are rounded up.
    low, high = 1.0, float(np.nextafter(np.float32(1.0), np.float32(2.0)))
    assert set(Generator().uniform(low, high, 100).tolist()) == {1.0}
    assert Generator().uniform(2, 2, 3).tolist() == [2, 2, 2]


def test_multinomial_of_no_rows():
    assert Generator().multinomial(np.ones((0, 3)), 2).shape == (0, 2)
    assert Generator().multinomial(np.ones((0, 3)), 2, replacement=True).shape == (0, 2)


def test_multinomial_draws_no_zero_weight():
    p = np.array([0.0, 0.3, 0.0, 0.7, 0.0])
    g = Generator()
    assert set(g.multinomial(p, 500, replacement=True)) == {1, 3}
    assert {tuple(sorted(g.multinomial(p, 2))) for _ in range(20)} == {(1, 3)}


ONES = np.ones(3)
WRONG = [
    (lambda g: g.manual_seed(1.5), TypeError, "seed=1.5"),
    (lambda g: g.manual_seed("1"), TypeError, "seed='1'"),
    (lambda g: g.manual_seed(None), TypeError, "seed=None"),
    (lambda g: g.manual_seed(True), TypeError, "seed=True"),
    (lambda g: g.manual_seed(2**64), ValueError, "seed=18446744073709551616"),
    (lambda g: g.manual_seed(-(2**63) - 1), ValueError, "2\\*\\*63"),
    (lambda g: g.rand(-1), ValueError, "shape -1"),
    (lambda g: g.rand((2, -3)), ValueError, "shape \\(2, -3\\)"),
    (lambda g: g.rand(2.0), TypeError, "size=2.0"),
    (lambda g: g.rand(True), TypeError, "size=True"),
    (lambda g: g.rand(2, np.int64), TypeError, "int64"),
    (lambda g: g.randn(2, np.float16), TypeError, "float16"),
    (lambda g: g.uniform(1, 0, 2), ValueError, "low=1, high=0"),
    (lambda g: g.uniform(np.nan, 0, 2), ValueError, "low=nan"),
    (lambda g: g.uniform(0, 1e39, 2), ValueError, "float32"),
    (lambda g: g.uniform(-3e38, 3e38, 2), ValueError, "float32"),
    (lambda g: g.normal(0, -1, 2), ValueError, "std=-1"),
    (lambda g: g.normal(0, np.nan, 2), ValueError, "std=nan"),
    (lambda g: g.exponential(0, 2), ValueError, "rate=0"),
    (lambda g: g.exponential(np.nan, 2), ValueError, "rate=nan"),
    (lambda g: g.randint(5, 5, 2), ValueError, "low=5, high=5"),
    (lambda g: g.randint(0, 2**63 + 1, 2), ValueError, "int64"),
    (lambda g: g.randint(-(2**63) - 1, 0, 2), ValueError, "int64"),
    (lambda g: g.randint(0, 2.5, 2), TypeError, "high=2.5"),
    (lambda g: g.randint(0, 2, -2), ValueError, "shape -2"),
    (lambda g: g.randperm(-1), ValueError, "n=-1"),
    (lambda g: g.randperm(214748364), ValueError, "n=214748364"),
    (lambda g: g.randperm(3.0), TypeError, "n=3.0"),
    (lambda g: g.bernoulli(1.5, 2), ValueError, "p=1.5"),
    (lambda g: g.bernoulli(np.array([0.5, np.nan])), ValueError, "nan"),
    (lambda g: g.bernoulli(np.array([-0.1])), ValueError, "-0.1"),
    (lambda g: g.bernoulli(0.5), ValueError, "shape"),
    (lambda g: g.bernoulli(np.array([1])), TypeError, "int64"),
    (lambda g: g.bernoulli(np.array([0.5, 0.5]), 3), ValueError, "broadcast"),
    (lambda g: g.multinomial(np.array([1, 2]), 1), TypeError, "int64"),
    (lambda g: g.multinomial(np.ones((2, 2, 2)), 1), ValueError, "\\(2, 2, 2\\)"),
    (lambda g: g.multinomial(np.array(1.0), 1), ValueError, "\\(\\)"),
    (lambda g: g.multinomial(np.ones((2, 0)), 1), ValueError, "\\(2, 0\\)"),
    (lambda g: g.multinomial(ONES, 0), ValueError, "num_samples=0"),
    (lambda g: g.multinomial(ONES, 1.0), TypeError, "num_samples=1.0"),
    (lambda g: g.multinomial(ONES, 4), ValueError, "num_samples=4"),
    (lambda g: g.multinomial(np.array([1.0, 0.0]), 2), ValueError, "nonzero"),
    (lambda g: g.multinomial(np.array([[1.0, 1.0], [1.0, 0.0]]), 2), ValueError, "nonzero"),
    (lambda g: g.multinomial(np.array([-1.0, 2.0]), 1, True), ValueError, "negative"),
    (lambda g: g.multinomial(np.array([np.inf, 2.0]), 1), ValueError, "infinite"),
    (lambda g: g.multinomial(np.array([np.nan, 2.0]), 1), ValueError, "no number"),
    (lambda g: g.multinomial(np.array([[1.0, 1.0], [0.0, 0.0]]), 1), ValueError, "sum"),
    (lambda g: g.multinomial(np.array([1e308, 1e308]), 5, True), ValueError, "sum"),
]


@pytest.mark.parametrize("wrong, error, words", WRONG, ids=[w[2] for w in WRONG])
def test_a_wrong_call_is_refused_and_draws_nothing(wrong, error, words):
    g = Generator().manual_seed(0)
    before = g.get_state()
    with pytest.raises(error, match=words):
        wrong(g)
    np.testing.assert_array_equal(g.get_state(), before)


@pytest.fixture
def untouched():
    """Leave the default generator as it was."""
    state = random.get_rng_state()
    yield
    random.set_rng_state(state)


def test_the_default_generator(untouched):
    assert random.manual_seed(12) is random.default_generator
    assert random.initial_seed() == 12
    state = random.get_rng_state()
    first = random.default_generator.rand(3)
    np.testing.assert_array_equal(first, Generator().manual_seed(12).rand(3))
    random.set_rng_state(state)
    np.testing.assert_array_equal(random.default_generator.rand(3), first)


def test_generators_are_independent(untouched):
    random.manual_seed(0)
    state = random.get_rng_state()
    a, b = Generator().manual_seed(1), Generator().manual_seed(1)
    first = some_draws(a)
    np.random.seed(3)
    assert some_draws(b) == first
    np.testing.assert_array_equal(random.get_rng_state(), state)


def test_the_first_number_of_a_process_may_be_drawn_in_a_compiled_function():
    code = (
        "import tinygrad_ce as tg\n"
        "draw = tg.compile(lambda x: tg.rand(4) * x)\n"
        "print([draw(tg.ones(4)).tolist() for _ in range(3)])"
    )
    root = Path(tg.__file__).parent.parent
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
        for _ in range(2)
    ]
    assert [run.stderr for run in runs] == ["", ""]
    drawn = {number for run in runs for row in json.loads(run.stdout) for number in row}
    assert len(drawn) > 20  # of 24: no draw, and no process, repeats another
