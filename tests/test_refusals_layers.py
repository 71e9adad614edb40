"""The ends of the layers: which mistakes are refused in which words, and the rare branches."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import init
from tinygrad_ce.nn.lazy import LazyModuleMixin
from tinygrad_ce.nn.parameter import UninitializedParameter


def zeros(*shape):
    return tg.zeros(*shape)


def hooked():
    layer = nn.Linear(2, 2)
    layer.register_forward_pre_hook(lambda *given: given[1], with_kwargs=True)
    return layer(zeros(1, 2))


REFUSED = [
    *(
        (lambda f=f, model=model: f(model, 1.0), TypeError,
         f"clip_grad: got a {type(model).__name__}; wanted Tensors: model.parameters()")
        for f in (nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_)
        for model in (nn.Sequential(nn.ReLU()), nn.Linear(2, 2), [nn.Linear(2, 2)])
    ),
    (lambda: nn.MultiheadAttention(5, 2), AssertionError, "embed_dim=5 must be divisible by 2"),
    (lambda: nn.Sequential(nn.ReLU()) * 1.5, TypeError, r"Sequential \* float: wanted an integer"),
    (lambda: nn.ModuleDict([("a", nn.ReLU(), 3)]), ValueError, r"wanted \(name, module\)"),
    (lambda: nn.ModuleDict(["ab", 3]), ValueError, r"got 'ab'; wanted \(name, module\)"),
    (lambda: nn.Conv2d(1, 1, 3, padding_mode="mirror"), ValueError,
     "padding_mode='mirror'; wanted one of .*reflect"),
    (lambda: nn.ConvTranspose2d(1, 1, 3, padding="same"), ValueError,
     "ConvTranspose2d: padding='same', .* wanted integers"),
    (lambda: nn.ConvTranspose2d(1, 1, 3, padding_mode="reflect"), ValueError, 'and "zeros"'),
    (lambda: nn.ConvTranspose2d(1, 1, 3, 2)(zeros(1, 1, 4, 4), output_size=(9, 11)), ValueError,
     r"output_size=\(9, 11\); .* wanted from \(9, 9\) up to less than a stride more"),
    (hooked, RuntimeError, r"a hook with_kwargs=True gives None or \(args, kwargs\); got \(tensor"),
    (lambda: init.dirac_(zeros(3, 1, 3), 2), ValueError, "3 kernels do not divide into 2 groups"),
    (lambda: nn.LazyConv1d(4, 3, groups=2)(zeros(1, 3, 5)), ValueError,
     "LazyConv1d: 3 channels, 2 groups"),
    (lambda: nn.Embedding(3, 2, _weight=zeros(2, 3)), ValueError,
     r"_weight has shape \(2, 3\); wanted \(3, 2\)"),
    (lambda: nn.Embedding.from_pretrained(zeros(3)), ValueError, r"\(3,\); wanted \(num, dim\)"),
    (lambda: nn.TripletMarginLoss(margin=0.0), ValueError, "margin=0.0; wanted a positive number"),
    (lambda: nn.Module().register_buffer(3, zeros(1)), TypeError, "is an int; wanted a str"),
    (lambda: nn.GroupNorm(2, 3), ValueError, "3 channels do not divide into 2 groups"),
    (lambda: nn.GRU(2, 3)(zeros(4, 1, 2), zeros(1, 3)), RuntimeError,
     r"GRU: the state has shape \(1, 3\); wanted 3 dimensions, as the input has"),
    (lambda: nn.LSTM(2, 3)(zeros(4, 2), (zeros(1, 3), zeros(1, 1, 3))), RuntimeError,
     r"LSTM: the state has shape \(1, 1, 3\); wanted 2 dimensions"),
    (lambda: nn.GRUCell(2, 3)(zeros(1, 4)), ValueError,
     r"GRUCell: input has shape \(1, 4\); wanted \(N, 2\) or \(2,\)"),
    (lambda: nn.GRUCell(2, 3)(zeros(1, 2), zeros(3)), ValueError,
     r"GRUCell: state has shape \(3,\); wanted \(1, 3\)"),
    (lambda: nn.RNNCell(2, 3, nonlinearity="gelu"), ValueError, 'wanted "tanh" or "relu"'),
    (lambda: nn.TransformerEncoderLayer(4, 2, 8, activation="tanh"), RuntimeError,
     """activation='tanh'; wanted "relu", "gelu" or a function"""),
    (lambda: nn.Transformer(4, 2, 1, 1, 8)(zeros(3, 1, 4), zeros(3, 2, 4)), RuntimeError,
     r"src \(3, 1, 4\) and tgt \(3, 2, 4\) have batches of different sizes"),
    (lambda: nn.Transformer(4, 2, 1, 1, 8)(zeros(3, 1, 4), zeros(3, 1, 6)), RuntimeError,
     r"tgt \(3, 1, 6\); wanted \(..., 4\), d_model"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "words"), REFUSED, ids=[r[2] for r in REFUSED])
def test_what_makes_no_sense_is_refused(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_a_lazy_layer_says_what_shapes_it_has():
    with pytest.raises(NotImplementedError):
        LazyModuleMixin().shapes(3)


def test_a_sequential_times_a_number_holds_its_modules_again():
    first = model = nn.Sequential(nn.Linear(1, 1))
    nn.init.constant_(model[0].weight, 3.0)
    nn.init.zeros_(model[0].bias)
    model *= 3
    assert model is first and len(model) == 3 and model[2] is model[0]
    assert model(tg.tensor([2.0])).tolist() == [54.0]


def test_what_a_module_holds_can_be_written_by_name():
    model = nn.BatchNorm1d(2)
    assert list(model._parameters) == ["weight", "bias"]
    assert list(model._buffers) == ["running_mean", "running_var", "num_batches_tracked"]
    other = nn.Parameter(tg.tensor([5.0, 7.0]))
    model._parameters["weight"] = other
    assert model.weight is other
    model._parameters["extra"] = other
    assert model.extra is other
    model._buffers["running_mean"] = tg.tensor([1.0, 3.0])
    assert model.state_dict()["running_mean"].tolist() == [1.0, 3.0]
    model.eval()
    x, eps = np.array([[2.0, 4.0]]), model.eps
    np.testing.assert_allclose(
        model(tg.tensor(x)).detach().numpy(),
        (x - [1.0, 3.0]) / np.sqrt(1 + eps) * [5.0, 7.0],
        rtol=1e-6,
    )
    assert repr(nn.Sequential(nn.ReLU())._modules) == "{'0': ReLU()}"


def test_a_module_changes_its_dtype_and_stays_where_it_is():
    model = nn.BatchNorm1d(2)
    assert model.cpu() is model.share_memory() is model
    kinds = {"half": tg.float16, "double": tg.float64, "float": tg.float32}
    for name, dtype in kinds.items():
        assert getattr(model, name)() is model
        assert {t.dtype for t in (model.weight, model.bias, model.running_var)} == {dtype}
    assert model.type(tg.float64).weight.dtype == tg.float64
    assert model.num_batches_tracked.dtype == tg.int64


@pytest.mark.parametrize(
    "layer", [nn.LayerNorm(2), nn.RMSNorm(2), nn.GroupNorm(1, 2)], ids=lambda m: type(m).__name__
)
def test_a_norm_forgets_what_it_learned(layer):
    for parameter in layer.parameters():
        init.constant_(parameter, 5.0)
    layer.reset_parameters()
    assert layer.weight.tolist() == [1.0, 1.0]
    assert getattr(layer, "bias", None) is None or layer.bias.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_lazy_layer_is_copied_before_it_knows_its_shape(again):
    model = nn.LazyLinear(3, dtype=tg.float64)
    model.weight.requires_grad_(False)
    other = again(model)
    assert type(other.weight) is UninitializedParameter and other.weight is not model.weight
    assert other(tg.ones(1, 4, dtype=tg.float64)).shape == (1, 3)
    assert type(other) is nn.Linear and other.weight.shape == (3, 4)
    assert other.weight.dtype == tg.float64
    assert not other.weight.requires_grad and other.bias.requires_grad
    assert model.has_uninitialized_params()


def test_all_weights_are_those_of_each_layer_and_direction():
    model = nn.LSTM(2, 3, num_layers=2, bidirectional=True, proj_size=1)
    kinds = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
    ends = ["l0", "l0_reverse", "l1", "l1_reverse"]
    wanted = [[id(getattr(model, f"{kind}_{end}")) for kind in kinds] for end in ends]
    assert [[id(p) for p in each] for each in model.all_weights] == wanted


def test_dropout_between_the_layers_of_one_layer_is_warned_about():
    with pytest.warns(UserWarning, match="GRU: dropout=0.5 .* num_layers=1"):
        nn.GRU(2, 3, dropout=0.5)


@pytest.mark.parametrize(
    ("options", "left_out"),
    [({}, True), ({"norm_first": True}, False), ({"activation": tg.tanh}, False),
     ({"bias": False}, False), ({"nhead": 1}, False)],
    ids=["plain", "norm_first", "activation", "bias", "nhead"],
)  # fmt: skip
def test_padding_is_left_out_where_pytorch_leaves_it_out(options, left_out):
    settings = {"nhead": 2, "dim_feedforward": 8, "batch_first": True} | options
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, **settings), 1).eval()
    x = tg.tensor(np.sin(np.arange(12.0)).reshape(1, 3, 4).astype(np.float32))
    padding = tg.tensor([[False, False, True]])
    recorded = model(x, src_key_padding_mask=padding).detach().numpy()
    with tg.no_grad():
        y = model(x, src_key_padding_mask=padding).numpy()
    wanted = recorded.copy()
    assert recorded[:, 2].any()
    if left_out:
        wanted[:, 2] = 0.0
    np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-6)
