"""What lectures and tutorials write, and what PyTorch 2.13 gives for it."""

import importlib
import zlib

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn, optim

ARANGE = [  # arguments, and crc32 of PyTorch's bytes in float32 and float64
    ((-8.0, 8.0, 0.1), 3792206714, 2438006553),
    ((0.0, 5.0, 0.01), 91742533, 2466792187),
    ((1, 2, 0.001), 2642954355, 1322035626),
    ((5, -3, -0.3), 2951086012, 3906978402),
    ((-3.1, 3, 0.25), 735606622, 2381810097),
    ((2.5,), 818461808, 886638634),
]


@pytest.mark.parametrize(("args", "single", "double"), ARANGE, ids=lambda x: str(x))
def test_arange_is_pytorchs_to_the_last_digit(args, single, double):
    for dtype, wanted in ((tg.float32, single), (tg.float64, double)):
        assert zlib.crc32(tg.arange(*args, dtype=dtype).numpy().tobytes()) == wanted


def test_arange_near_zero_does_not_drift():
    x = tg.arange(-8.0, 8.0, 0.1)
    assert x.shape == (160,) and x[80].item() == 4.440892098500626e-16
    assert tg.arange(0.0, 1.0, 0.5, dtype=tg.float16).tolist() == [0.0, 0.5]
    assert tg.arange(0, dtype=tg.float32).tolist() == [] and tg.arange(2.5).tolist() == [0, 1, 2]


A = np.arange(12.0, dtype=np.float32).reshape(3, 4)
BY_AXIS = [  # (called with NumPy's name, the same of NumPy)
    (lambda x: tg.stack((x, x), axis=-1), np.stack((A, A), axis=-1)),
    (lambda x: tg.cat((x, x), axis=1), np.concatenate((A, A), axis=1)),
    (lambda x: tg.concat((x, x), axis=0), np.concatenate((A, A), axis=0)),
    (lambda x: x.softmax(axis=0), np.exp(A) / np.exp(A).sum(0)),
    (lambda x: tg.log_softmax(x, axis=1), A - np.log(np.exp(A).sum(1, keepdims=True))),
    (lambda x: tg.sort(x, axis=0, descending=True)[0], A[::-1]),
    (lambda x: x.argsort(axis=1), np.argsort(A, axis=1)),
    (lambda x: tg.topk(x, 2, axis=0).values, A[:0:-1]),
    (lambda x: tg.unsqueeze(x, axis=1), A[:, None]),
    (lambda x: x[:1].squeeze(axis=0), A[0]),
    (lambda x: x.clone().unsqueeze_(axis=-1), A[..., None]),
    (lambda x: tg.chunk(x, 2, axis=1)[1], A[:, 2:]),
    (lambda x: x.tensor_split(2, axis=1)[0], A[:, :2]),
    (lambda x: tg.unbind(x, axis=1)[3], A[:, 3]),
    (lambda x: x.repeat_interleave(2, axis=0), np.repeat(A, 2, axis=0)),
    (lambda x: tg.cross(x, x.flip(1), axis=0), np.cross(A, A[:, ::-1], axis=0)),
]


@pytest.mark.parametrize("i", range(len(BY_AXIS)))
def test_a_dimension_may_be_called_axis(i):
    call, wanted = BY_AXIS[i]
    np.testing.assert_allclose(call(tg.tensor(A)).numpy(), wanted, rtol=1e-5)


def test_a_dimension_has_one_name_at_a_time():
    for call in (lambda: tg.ones(2).softmax(dim=0, axis=0), lambda: tg.ones(2).softmax(0, axis=0)):
        with pytest.raises(TypeError, match=r"both dim and axis|multiple values"):
            call()


def test_functions_write_in_place():
    x = tg.tensor([0.5, 1.5])
    assert tg.sin_(x) is x and tg.relu_(tg.neg_(x)) is x and x.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(tg.sin_(tg.tensor([0.5])).numpy(), np.sin([0.5]), rtol=1e-6)
    assert tg.clamp_(tg.tensor([-2.0, 3.0]), 0, 1).tolist() == [0.0, 1.0]
    assert not hasattr(tg, "add_")  # a method only, in PyTorch too


def test_classes_print_under_the_name_that_everybody_knows():
    x = tg.ones(2)
    for value, name in ((x, "Tensor"), (nn.Parameter(x), "nn.parameter.Parameter"),
                        (x.size(), "Size"), (x.dtype, "dtype"), (x.device, "device"),
                        (x.view(2, 1), "Tensor")):  # fmt: skip
        assert repr(type(value)) == f"<class 'torch.{name}'>"
    view = x[:1]
    x.requires_grad = True
    assert repr(type(view)) == "<class 'torch.Tensor'>"

    class Own(tg.Tensor):
        pass

    assert repr(Own).endswith("Own'>") and "torch" not in repr(Own).removeprefix("<class 'tests.")
    assert type(x).__module__.startswith("tinygrad_ce")  # where pickle finds it


def test_modules_that_scripts_import():
    functional = importlib.import_module("tinygrad_ce.functional")
    assert functional.einsum is tg.einsum and functional.meshgrid is tg.meshgrid
    assert not tg.xpu.is_available() and tg.xpu.device_count() == 0
    with pytest.raises(RuntimeError, match="not here"):
        tg.xpu.synchronize()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        tg.xpu.nonsense  # noqa: B018


def test_recurrent_layers_name_their_weights_as_they_lie():
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    assert layer._flat_weights_names == [
        f"{kind}_l{n}{back}" for n in range(2) for back in ("", "_reverse")
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]  # fmt: skip
    assert all(name in layer._parameters for name in layer._flat_weights_names)


FROZEN = [  # optimiser, and PyTorch's loss and Σ weight after 6 steps, thawed after 3
    (lambda p: optim.SGD(p, lr=0.1, momentum=0.9), 0.0006998706376180053, -0.38351142406463623),
    (lambda p: optim.Adam(p, lr=0.1), 0.0024743166114604804, -0.12528300285339355),
    (lambda p: optim.AdamW(p, lr=0.1), 0.00245681032538414, -0.12408167123794556),
    (lambda p: optim.RMSprop(p), 0.0003105359501205385, 0.1468169093132019),
    (lambda p: optim.Adagrad(p, lr=0.1), 0.00030588856316171587, 0.14644956588745117),
    (lambda p: optim.Adadelta(p), 0.006152555346488953, -0.3521222472190857),
]


@pytest.mark.parametrize("i", range(len(FROZEN)))
def test_optimisers_hold_frozen_parameters(i):
    make, loss, total = FROZEN[i]
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    bias = model[0].bias.tolist()
    optimiser = make(model.parameters())
    x = tg.randn(5, 3)
    for step in range(6):
        if step == 3:
            model[0].weight.requires_grad_(True)
        y = model(x).pow(2).mean()
        optimiser.zero_grad()
        y.backward()
        optimiser.step()
    np.testing.assert_allclose([y.item(), model[0].weight.sum().item()], [loss, total], rtol=1e-4)
    assert model[0].bias.tolist() == bias and len(optimiser.param_groups[0]["params"]) == 4


def test_small_integers_have_methods_too():
    x = tg.tensor([1.9, 100.0])
    for found, dtype in ((x.byte(), tg.uint8), (x.char(), tg.int8), (x.short(), tg.int16)):
        assert found.dtype == dtype and found.tolist() == [1, 100]
