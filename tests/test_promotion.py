"""Which dtype comes out where dtypes meet. The tables are PyTorch 2.13's answers."""

import operator

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn

DTYPES = {"b": np.bool_, "B": np.uint8, "h": np.int16, "i": np.int32, "l": np.int64,
          "e": np.float16, "f": np.float32, "d": np.float64}  # fmt: skip
LETTER = {np.dtype(dtype): letter for letter, dtype in DTYPES.items()}

# A row for each dtype on the left, a letter for each on the right, - where it is refused; the
# operands are (axes, axes), (axes, a number), (a number, a number).
PAIRS = {
    "add 2 2": "bBhilefd BBhilefd hhhilefd iiiilefd lllllefd eeeeeefd fffffffd dddddddd",
    "add 2 0": "bBhilefd BBBBBefd hhhhhefd iiiiiefd lllllefd eeeeeeee ffffffff dddddddd",
    "add 0 0": "bBhilefd BBhilefd hhhilefd iiiilefd lllllefd eeeeeefd fffffffd dddddddd",
    "sub 2 2": "-------- -Bhilefd -hhilefd -iiilefd -llllefd -eeeeefd -ffffffd -ddddddd",
    "sub 2 0": "-------- -BBBBefd -hhhhefd -iiiiefd -llllefd -eeeeeee -fffffff -ddddddd",
    "truediv 2 2": "fffffefd fffffefd fffffefd fffffefd fffffefd eeeeeefd fffffffd dddddddd",
    "truediv 2 0": "fffffefd fffffefd fffffefd fffffefd fffffefd eeeeeeee ffffffff dddddddd",
    "truediv 0 0": "fffffefd fffffefd fffffefd fffffefd fffffefd eeeeeefd fffffffd dddddddd",
    "iadd 2 2": "b------- BBBBB--- hhhhh--- iiiii--- lllll--- eeeeeeee ffffffff dddddddd",
    "iadd 0 0": "b------- BBBBB--- hhhhh--- iiiii--- lllll--- eeeeeeee ffffffff dddddddd",
    "matmul 2 2": "b------- -B------ --h----- ---i---- ----l--- -----e-- ------f- -------d",
    "cat 2 2": "bBhilefd BBhilefd hhhilefd iiiilefd lllllefd eeeeeefd fffffffd dddddddd",
    "where 2 0": "bBhilefd BBBBBefd hhhhhefd iiiiiefd lllllefd eeeeeeee ffffffff dddddddd",
}

ALONE = {
    "x * 2": (lambda x: x * 2, "lBhilefd"),
    "x * 2.0": (lambda x: x * 2.0, "fffffefd"),
    "x * float64(2)": (lambda x: x * np.float64(2.0), "fffffefd"),
    "2.0 ** x": (lambda x: 2.0**x, "fffffefd"),
    "1 / x": (lambda x: 1 / x, "fffffefd"),
    "exp": (tg.exp, "fffffefd"),
    "sqrt": (tg.sqrt, "fffffefd"),
    "sigmoid": (tg.sigmoid, "fffffefd"),
    "sum": (tg.sum, "lllllefd"),
    "prod": (tg.prod, "lllllefd"),
    "cumsum": (lambda x: tg.cumsum(x, 0), "lllllefd"),
    "mean": (tg.mean, "-----efd"),
    "std": (tg.std, "-----efd"),
    "mul_(0.5)": (lambda x: x.mul_(0.5), "-----efd"),
}


def ones(letter, dims=2):
    return tg.ones(*(2,) * dims, dtype=DTYPES[letter])


def answer(function, *operands):
    try:
        return LETTER[function(*operands).dtype]
    except (TypeError, ValueError):
        return "-"


FUNCTIONS = {"cat": lambda a, b: tg.cat([a, b]), "where": lambda a, b: tg.where(a > 0, a, b)}


@pytest.mark.parametrize("key", PAIRS)
def test_two_tensors_promote_as_in_pytorch(key):
    name, left, right = key.split()
    function = FUNCTIONS.get(name) or getattr(operator, name)
    rows = ["".join(answer(function, ones(a, int(left)), ones(b, int(right))) for b in DTYPES)
            for a in DTYPES]  # fmt: skip
    assert " ".join(rows) == PAIRS[key]


@pytest.mark.parametrize("name", ALONE)
def test_numbers_widen_nothing_and_integers_become_the_default_dtype(name):
    function, wanted = ALONE[name]
    assert "".join(answer(function, ones(letter)) for letter in DTYPES) == wanted


def test_values_and_gradients_of_mixed_operands():
    counts = tg.tensor([1, 2, 2**24 + 1])
    w = tg.tensor([0.5, 2.0, 1.0], requires_grad=True)
    y = w * counts
    assert y.dtype == np.float32 and y.tolist() == [0.5, 4.0, 2.0**24]
    y.sum().backward()
    assert w.grad.dtype == np.float32 and w.grad.tolist() == [1.0, 2.0, 2.0**24]
    wide = tg.tensor([2.0, 3.0, 4.0], dtype=np.float64)
    (w * wide).sum().backward()
    assert (w * wide).dtype == np.float64 and w.grad.tolist() == [3.0, 5.0, 2.0**24 + 4]
    scale = tg.tensor(3.0, dtype=np.float64, requires_grad=True)
    (w.detach() * scale).sum().backward()  # a 0-d tensor widens nothing, and keeps its own dtype
    assert scale.grad.dtype == np.float64 and scale.grad.item() == 3.5


def test_float16_computes():
    w = tg.tensor([0.5, 2.0]).half().requires_grad_()
    (w.exp() * w).sum().backward()
    assert w.grad.dtype == np.float16
    np.testing.assert_allclose(w.grad.numpy(), np.exp([0.5, 2.0]) * [1.5, 3.0], rtol=2e-3)


def test_an_array_counts_as_a_tensor_of_its_dtype():
    x = tg.tensor([1.0, 2.0])
    assert (x * np.ones(2)).dtype == np.float64 and (x + np.arange(2)).dtype == np.float32
    with pytest.raises(TypeError, match="matmul: got float32 and float64; wanted one dtype"):
        x @ np.ones(2)


@pytest.mark.parametrize("layer", [nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU())])
def test_a_model_of_float32_refuses_float64(layer):
    with pytest.raises(TypeError, match=r"float64 and float32; wanted one dtype: x.float\(\)"):
        layer(tg.ones(3, 3, dtype=np.float64))
    assert layer.double()(tg.ones(3, 3, dtype=np.float64)).dtype == np.float64


def test_the_same_in_a_compiled_function():
    def eager(x, n, scale):
        return x * n + n / 2 + x * scale, (n.exp() + x).sum()

    step = tg.compile(eager)
    for size in (2, 3, 3):
        x, n = tg.rand(size), tg.arange(size)
        scale = tg.tensor(0.5, dtype=np.float64)
        got, plain = step(x, n, scale), eager(x, n, scale)
        for a, b in zip(got, plain):
            assert a.dtype == b.dtype == np.float32
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_numbers_that_are_equal_are_told_apart_by_their_kind():
    n, mask = tg.tensor([1, 2]), tg.tensor([True, False])
    for _ in range(2):
        assert [(n * one).dtype for one in (1, True, 1.0)] == [np.int64, np.int64, np.float32]
        assert [(mask * one).dtype for one in (1, True, 1.0)] == [np.int64, np.bool_, np.float32]
        assert [(n.float() * one).dtype for one in (1, True, 1.0)] == [np.float32] * 3


@pytest.fixture
def wide():
    tg.set_default_dtype(tg.float64)
    yield
    tg.set_default_dtype(tg.float32)


def test_the_default_dtype(wide):
    assert tg.get_default_dtype() == np.float64
    made = [tg.tensor([1.0]), tg.zeros(2), tg.ones(1), tg.rand(2), tg.randn(2), tg.eye(2),
            tg.linspace(0, 1, 2), tg.arange(0.0, 1.0), tg.full((2,), 0.5), tg.Tensor([1]),
            tg.arange(3) / 2, tg.arange(3) * 0.5, tg.arange(3).exp(), tg.empty(1),
            tg.normal(0.0, 1.0, (2,)), tg.arange(3).float() * 1.0]  # fmt: skip
    assert [str(x.dtype) for x in made] == ["torch.float64"] * 15 + ["torch.float32"]
    with pytest.raises(TypeError, match="set_default_dtype: got int64; wanted float32"):
        tg.set_default_dtype(np.dtype(np.int64))


def test_a_compiled_function_follows_the_default_dtype():
    step = tg.compile(lambda n: tg.zeros(2) + n / 2)
    n = tg.arange(2)
    before = [step(n).dtype for _ in range(3)]
    tg.set_default_dtype(np.float64)
    try:
        after = [step(n).dtype for _ in range(3)]
    finally:
        tg.set_default_dtype(np.float32)
    assert before == [np.float32] * 3 and after == [np.float64] * 3


def test_the_constructor_is_pytorchs():
    assert tg.Tensor(2, 3).shape == (2, 3) and tg.Tensor().shape == (0,)
    for data in ([0, 1], np.arange(2), np.float64([0, 1]), tg.tensor([0, 1])):
        x = tg.Tensor(data)
        assert x.dtype == np.float32 and x.tolist() == [0.0, 1.0]
    with pytest.raises(TypeError, match=r"Tensor: got \(3.5,\); wanted a list"):
        tg.Tensor(3.5)
