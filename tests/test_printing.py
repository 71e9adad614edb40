"""How tensors, dtypes, sizes, steps and modules print, against texts frozen from PyTorch.

``data/make_printing.py`` has the expressions. Where PyTorch is installed, thousands of random
tensors are printed by both.
"""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from printing_cases import frozen

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F

FROZEN = json.loads(Path(__file__).parent.joinpath("data", "printing.json").read_text())


@pytest.fixture(autouse=True)
def usual_options():
    yield
    tg.set_printoptions(profile="default")


@pytest.fixture(scope="module")
def ours():
    return frozen(tg, nn, F)


@pytest.mark.parametrize("kind", ["values", "steps", "modules"])
def test_it_prints_as_in_pytorch(kind, ours):
    wanted = FROZEN[kind]
    assert wanted.keys() == ours[kind].keys()
    assert {e: ours[kind][e] for e in wanted if ours[kind][e] != wanted[e]} == {}


def test_options_of_printing_are_pytorchs(ours):
    assert [pair for pair in zip(ours["options"], FROZEN["options"]) if pair[0] != pair[1]] == []
    with pytest.raises(ValueError, match="profile: got 'wide'; wanted one of default, short, full"):
        tg.set_printoptions(profile="wide")
    with tg.printoptions(precision=1):
        assert repr(tg.tensor(0.25)) == "tensor(0.2)"
    assert repr(tg.tensor(0.25)) == "tensor(0.2500)"


def steps(step, depth=5):
    """The names of a step and of those after it, of leaves their shapes."""
    if step is None or not depth:
        return step and step.name()
    if step.name() == "torch::autograd::AccumulateGrad":
        return tuple(step.variable.shape)
    return [step.name(), *(steps(after, depth - 1) for after, _ in step.next_functions)]


def test_steps_of_a_network_are_pytorchs():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x, y = tg.randn(5, 4), tg.randn(5, 2)
    first = ["AddmmBackward0", (3,), None, ["TBackward0", (3, 4)]]
    logits = ["AddmmBackward0", (2,), ["ReluBackward0", first], ["TBackward0", (2, 3)]]
    assert steps(F.mse_loss(model(x), y).grad_fn, 9) == ["MseLossBackward0", logits]
    loss = F.cross_entropy(model(x), y.argmax(1))
    assert steps(loss.grad_fn, 9) == ["NllLossBackward0", ["LogSoftmaxBackward0", logits]]
    w, c = tg.ones(2, 3, requires_grad=True), tg.ones(2, 3)
    assert steps((w * 2 + c).grad_fn) == ["AddBackward0", ["MulBackward0", (2, 3), None], None]
    assert steps((c * w).grad_fn) == ["MulBackward0", None, (2, 3)]
    assert steps((1 - w.sigmoid()).grad_fn) == ["RsubBackward1", ["SigmoidBackward0", (2, 3)], None]
    assert steps(tg.cat([w, w * w]).grad_fn) == ["CatBackward0", (2, 3),
                                                 ["MulBackward0", (2, 3), (2, 3)]]  # fmt: skip
    assert steps(tg.where(w > 0, w, 0.0).grad_fn) == ["WhereBackward0", (2, 3), None]
    assert steps(F.linear(c, c, w[:, 0]).grad_fn)[0] == "AddmmBackward0"
    assert steps(F.linear(c, c, w[:, 0]).grad_fn)[2:] == [None, None]
    wide = ["UnsafeViewBackward0", ["UnsqueezeBackward0", (2, 3)], ["TBackward0", (2, 3)]]
    assert steps(F.linear(w[None], w).grad_fn) == wide
    assert steps(F.linear(w, w).grad_fn) == ["MmBackward0", (2, 3), ["TBackward0", (2, 3)]]


def test_a_function_of_ones_own_has_its_name():
    class Twice(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    y = Twice.apply(tg.ones(2, requires_grad=True))
    assert repr(y) == "tensor([2., 2.], grad_fn=<TwiceBackward>)"
    assert y.grad_fn.name() == "TwiceBackward"


def test_a_step_is_the_same_as_long_as_it_is_kept():
    w = tg.ones(2, requires_grad=True)
    y = w * 2
    step = y.grad_fn
    assert y.grad_fn is step and step.next_functions[0][0] is step.next_functions[0][0]
    assert step.next_functions[0][0].next_functions == ()
    assert step.next_functions[0][0].variable is w and w.grad_fn is None and w.is_leaf
    assert (y + w).grad_fn.next_functions[0][0] is step and not y.is_leaf
    assert repr(step).startswith("<MulBackward0 object at 0x") and type(step).__name__ in repr(y)
    y += 1
    assert y.grad_fn.name() == "AddBackward0" and y.detach().grad_fn is None
    y[0] = 5.0
    assert y.grad_fn.name() == "torch::autograd::CopySlices" and "grad_fn=<CopySlices>" in repr(y)
    with tg.no_grad():
        assert (w * 2).grad_fn is None


def test_the_default_dtype_is_not_printed():
    tg.set_default_dtype(tg.float64)
    try:
        assert repr(tg.ones(2)) == "tensor([1., 1.])"
        assert repr(tg.ones(1, dtype=tg.float32)) == "tensor([1.], dtype=torch.float32)"
        assert repr(tg.zeros(0, dtype=tg.float32)) == "tensor([], dtype=torch.float32)"
    finally:
        tg.set_default_dtype(tg.float32)
    assert repr(tg.ones(1, dtype=tg.float64)) == "tensor([1.], dtype=torch.float64)"


def random_values(rng, shape, kind):
    """Numbers as they come, and as they seldom come."""
    x = rng.standard_normal(shape)
    odd = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1e-5, 123456.0], shape)
    x = [x, x * 10.0 ** rng.integers(-9, 9), np.round(x * 10.0 ** rng.integers(0, 10)), x.round(2),
         x * 10.0 ** rng.integers(-6, 6, shape), np.where(rng.random(shape) < 0.3, odd, x), odd,
         np.where(rng.random(shape) < 0.5, x, 0.0)][rng.integers(8)]  # fmt: skip
    if kind == np.bool_:
        return np.asarray(x > 0)
    if np.dtype(kind).kind in "iu":
        low, high = np.iinfo(kind).min / 2, np.iinfo(kind).max / 2
        return np.asarray(np.clip(np.nan_to_num(x, nan=0.0), low, high).astype(kind))
    with np.errstate(over="ignore"):
        return np.asarray(x, kind)


def test_random_tensors_print_as_in_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    kinds = [np.float32] * 4 + [np.float64, np.float16, np.int64, np.int32, np.uint8, np.bool_]
    choices = {"precision": (None, 2, 6, 0), "threshold": (None, 10, 50), "edgeitems": (None, 1, 0),
               "linewidth": (None, 40, 120), "profile": (None, "short", "full"),
               "sci_mode": (None, True, False)}  # fmt: skip
    for i in range(2000):
        sizes = [0, 1, 1, 2, 3, 5, 7, 8, 11, 60]
        shape = tuple(map(int, rng.choice(sizes, rng.integers(0, 4)))) if i % 9 else (1000 + i % 2,)
        array = random_values(rng, shape, kinds[rng.integers(len(kinds))])
        options = {k: v[rng.integers(len(v))] for k, v in choices.items()} if i % 3 == 0 else {}
        grad = array.dtype.kind == "f" and i % 4 == 1
        texts = []
        for library in (torch, tg):
            library.set_printoptions(profile="default")
            library.set_printoptions(**options)
            x = library.tensor(array, requires_grad=grad)
            texts.append(repr(x * 1 if grad and i % 8 == 1 else x))
        torch.set_printoptions(profile="default")
        assert texts[0] == texts[1], (options, array.dtype, shape)


# --- dtypes and sizes ------------------------------------------------------------------------


def test_a_dtype_is_numpys_under_another_name():
    for name in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"):
        ours, numpys = getattr(tg, name), np.dtype(name)
        assert ours == numpys == ours and ours == numpys.type and numpys.type == ours
        assert ours == name and hash(ours) == hash(numpys) and {ours: 1}[numpys] == 1
        assert np.zeros(2, dtype=ours).dtype == numpys and np.dtype(ours) is numpys
        assert tg.ones(2).astype(ours).dtype is ours and tg.zeros(1, dtype=numpys).dtype is ours
        assert copy.deepcopy(ours) is ours and pickle.loads(pickle.dumps(ours)) is ours
        assert isinstance(ours, tg.dtype) and str(ours) == f"torch.{name}"
    assert tg.zeros(1, dtype=float).dtype is tg.double and tg.zeros(1, dtype=bool).dtype is tg.bool
    assert tg.float32 != tg.float64 and tg.float32 != np.float64 and tg.float32 != "nonsense"
    assert np.result_type(tg.float32, np.float64) == np.float64 and tg.float32 != 3
    assert repr(tg.tensor(np.longdouble(1))) == f"tensor(1., dtype=torch.{np.longdouble(1).dtype})"


def test_bfloat16_is_refused_by_name():
    assert repr(tg.bfloat16) == "torch.bfloat16" and tg.bfloat16.itemsize == 2
    assert tg.bfloat16 != tg.float32 and tg.bfloat16 == copy.copy(tg.bfloat16) and {tg.bfloat16}
    for use in (lambda: tg.zeros(2, dtype=tg.bfloat16), lambda: tg.ones(2).to(tg.bfloat16)):
        with pytest.raises(TypeError, match="bfloat16: NumPy has no such numbers; write float16"):
            use()


def test_a_size_is_a_tuple():
    size = tg.zeros(2, 3).shape
    assert isinstance(size, tuple) and size == (2, 3) and hash(size) == hash((2, 3))
    assert type(size[1:]) is type(size + size) is type(size * 2) is tg.Size
    assert type(size[0]) is int and size + size == (2, 3, 2, 3) and 2 * size == (2, 3, 2, 3)
    assert tg.Size(np.array([2, 3])) == size and tg.Size() == () and size.numel() == 6
    assert pickle.loads(pickle.dumps(size)) == size and type(copy.copy(size)) is tg.Size
    assert tg.zeros(size).shape == np.zeros(size).shape == tg.ones(6).reshape(size).shape
    with pytest.raises(TypeError, match="wanted integers: Size"):
        tg.Size([1.5])


def test_a_traced_step_takes_a_size_as_a_tuple():
    def step(x, y):
        z = np.reshape(x, y.shape) + np.broadcast_to(y[:1], y.size()) + tg.zeros(y.shape)
        return z.expand(y.shape).reshape(y.shape[::-1]) * y.shape.numel()

    x, y = tg.ones(6), tg.ones(2, 3)
    assert "Size" not in tg.trace(step, x, y).source()
    assert tg.compile(step)(x, y).tolist() == step(x, y).tolist()
