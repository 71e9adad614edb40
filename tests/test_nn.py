"""Modules: names, trees and first values as PyTorch's, training, copies, and what is refused."""

import copy
import inspect
import pickle
import re
import sys

import nn_cases as cases
import numpy as np
import pytest
import torch_cases

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F, init

FROZEN, TEXTS = cases.read()


def mixed():
    return cases.mixed(nn, tg.tensor)


def shapes(named):
    return [[name, list(tensor.shape)] for name, tensor in named]


# --- names and the tree -------------------------------------------------------------------------


def test_names_and_shapes_are_pytorchs():
    model = mixed()
    assert shapes(model.named_parameters()) == TEXTS["parameters"]
    assert shapes(model.named_buffers()) == TEXTS["buffers"]
    assert shapes(model.state_dict().items()) == TEXTS["state"]
    assert [name for name, _ in model.named_modules()] == TEXTS["modules"]
    assert [name for name, _ in model.named_children()] == TEXTS["children"]


def test_iterators_without_names_give_the_same_things():
    model = mixed()
    for names, plain in (
        (model.named_parameters(), model.parameters()),
        (model.named_buffers(), model.buffers()),
        (model.named_modules(), model.modules()),
        (model.named_children(), model.children()),
    ):
        pairs, things = [*names], [*plain]
        assert len(pairs) == len(things) > 0
        assert all(thing is other for (_, thing), other in zip(pairs, things))
    assert [n for n, _ in nn.Linear(1, 1).named_parameters("a.b")] == ["a.b.weight", "a.b.bias"]


def test_a_shared_parameter_counts_once_and_is_saved_under_all_its_names():
    model = mixed()
    names = [name for name, _ in model.named_parameters()]
    assert "head.weight" in names
    assert "tied.weight" not in names and "other.weight" not in names
    saved = model.state_dict()
    assert {"head.weight", "tied.weight", "other.weight"} <= saved.keys()
    assert sum(p.numel() for p in model.parameters()) == 7 * 4 + 4 * 9 + 8 + 15 + 16 + 8 + 1 + 2
    model.load_state_dict(saved)
    assert model.other.weight is model.head.weight is model.tied.weight


def test_apply_goes_through_children_in_order_before_their_parent():
    model, order = mixed(), []
    assert model.apply(lambda module: order.append(type(module).__name__)) is model
    assert order == TEXTS["applied"]


def test_draws_in_apply_are_pytorchs():
    def redraw(module):
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            init.uniform_(module.weight)

    tg.manual_seed(6)
    for ours, exact in zip(mixed().apply(redraw).parameters(), FROZEN["applied"], strict=True):
        cases.agree(ours.detach().numpy(), exact, 8, np.float32)


def test_train_and_eval_reach_every_module():
    model = mixed()
    assert all(module.training for module in model.modules())
    assert model.eval() is model and not any(module.training for module in model.modules())
    assert model.train() is model and all(module.training for module in model.modules())
    model.blocks[0].eval()
    assert model.training and not model.blocks[0][1].training


def test_zero_grad_and_requires_grad_():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model(tg.ones(4, 2)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    assert model[0].requires_grad_(False) is model[0]
    model(tg.ones(4, 2)).sum().backward()
    assert [p.grad is None for p in model.parameters()] == [True, True, False, False]


def test_a_parameter_may_be_replaced_switched_off_and_deleted():
    layer = nn.Linear(2, 3)
    layer.weight = nn.Parameter(np.ones((3, 2), np.float32))
    layer.bias = None
    assert [n for n, _ in layer.named_parameters()] == ["weight"]
    assert layer(tg.ones(1, 2)).tolist() == [[2.0, 2.0, 2.0]]
    del layer.weight
    assert [*layer.parameters()] == []
    layer.register_parameter("scale", nn.Parameter([1.0]))
    layer.register_parameter("nothing", None)
    assert [n for n, _ in layer.named_parameters()] == ["scale"] and layer.nothing is None


def test_a_buffer_may_be_replaced():
    layer = nn.BatchNorm1d(2)
    layer.running_mean = tg.tensor([1.0, 2.0])
    assert layer.state_dict()["running_mean"].tolist() == [1.0, 2.0]
    assert [n for n, _ in layer.named_buffers()] == [
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]


def test_sequential_and_module_list_are_sequences():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    for both in (nn.Sequential(a, b), nn.ModuleList([a, b])):
        both.append(c)
        assert len(both) == 3 and both[0] is a and both[-1] is c and [*both] == [a, b, c]
        assert type(both[1:]) is type(both) and [*both[1:]] == [b, c]
        assert [n for n, _ in both.named_children()] == ["0", "1", "2"]
    assert [*nn.ModuleList([a]).extend(nn.ModuleList([b, c]))] == [a, b, c]
    named = nn.Sequential({"first": a, "second": b})
    assert [n for n, _ in named.named_children()] == ["first", "second"]
    assert named(tg.tensor([-1.0, 0.5])).tolist() == [0.0, pytest.approx(np.tanh(0.5))]


def test_a_module_held_twice_is_one_child_and_two_steps():
    twice = nn.Linear(2, 2, bias=False)
    model = nn.Sequential(twice, nn.ReLU(), twice)
    assert [n for n, _ in model.named_children()] == ["0", "1"] and len(model) == 3
    assert [n for n, _ in model.named_modules()] == ["", "0", "1"]
    assert [*model.state_dict()] == ["0.weight", "2.weight"]
    x = tg.tensor([[1.0, 2.0]])
    assert model(x).tolist() == twice(F.relu(twice(x))).tolist()


def test_a_summary_has_shapes_and_numbers_of_parameters():
    linear = "Linear(in_features=2, out_features=3, bias=True)"
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(), nn.ModuleList([nn.Linear(2, 3)]))
    assert str(tg.summary(model)) == (
        "Sequential(  # 18 parameters\n"
        f"  (0): {linear}  # weight (3, 2), bias (3,), 9 parameters\n"
        "  (1): Dropout(p=0.5, inplace=False)\n"
        "  (2): ModuleList(  # 9 parameters\n"
        f"    (0): {linear}  # weight (3, 2), bias (3,), 9 parameters\n"
        "  )\n"
        ")"
    )
    before, model[1].training = tg.get_rng_state(), False
    seen = repr(tg.summary(model[:2], tg.ones(5, 2))).split("\n")
    assert seen[0] == "Sequential(  # (5, 3), 9 parameters"
    assert seen[1].endswith("# (5, 3), weight (3, 2), bias (3,), 9 parameters")
    assert [m.training for m in model[:2].modules()] == [True, True, False]  # as before
    assert not np.any(np.asarray(before) != np.asarray(tg.get_rng_state()))
    lstm = nn.Sequential(Pair())
    assert "(0): Pair()  # [(2,), (1,)]" in tg.summary(lstm, tg.ones(2))
    with pytest.raises(TypeError, match="summary: got a Tensor; wanted a Module"):
        tg.summary(tg.ones(2), model)
    assert tg.summary(Told(), 1) == "Told()  # str"


class Pair(nn.Module):
    def forward(self, x):
        return x, x[:1]


class Told(nn.Module):
    def forward(self, x):
        return "text"


def test_a_call_opens_a_scope_with_the_name_of_the_attribute():
    model = nn.Sequential(nn.Linear(2, 3))
    model.head = nn.Linear(3, 1)
    for module, name in ((model, "Sequential"), (model[0], "Linear 0"), (model.head, "head")):
        y = module(tg.ones(1, 2 if module is not model.head else 3))
        assert name in y.scope.path()


def test_a_full_backward_hook_is_called_once_for_all_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(tg.tensor([2.0, 3.0]))

        def forward(self, x):
            return x * self.w, self.w.sum(), 7

    layer, seen = Two(), []
    layer.register_full_backward_hook(lambda m, g, out: seen.append((g, out)))
    a, b, seven = layer(tg.tensor([5.0, 7.0]))
    (a.sum() * 2 + b).backward()
    ((grads_in, (first, second, third)),) = seen
    assert (grads_in, first.tolist(), second.item(), third) == ((None,), [2.0, 2.0], 1.0, None)
    assert seven == 7 and layer.w.grad.tolist() == [11.0, 15.0]


def test_full_backward_hooks_see_and_replace_gradients():
    """The numbers are PyTorch's."""
    seen = []

    class Two(nn.Module):
        def forward(self, a, b, k=1):
            return a * b * k, a + b

    def note(module, grad_input, grad_output):
        seen.append([[None if g is None else g.tolist() for g in gs]
                     for gs in (grad_input, grad_output)])  # fmt: skip

    two = Two()
    handle = two.register_full_backward_hook(note)
    a, b = (tg.tensor(v, requires_grad=True) for v in ([1.0, 2.0], [3.0, 4.0]))
    p, q = two(a, b, 2.0)
    (p.sum() + (q * q).sum()).backward()
    assert seen == [[[[14.0, 20.0], [10.0, 16.0], None], [[1.0, 1.0], [8.0, 12.0]]]]
    assert a.grad.tolist() == [14.0, 20.0] and b.grad.tolist() == [10.0, 16.0]
    two(a.detach(), b.detach())[0].requires_grad_().sum().backward()  # nothing to see
    two.register_full_backward_hook(lambda m, g, _: (g[0] * 10, g[1]))
    two(a, b)[0].sum().backward()
    assert a.grad.tolist() == [44.0, 60.0] and b.grad.tolist() == [11.0, 18.0]
    handle.remove()
    layer = nn.Linear(2, 1)
    layer.register_full_backward_hook(note)
    layer(tg.ones(1, 2)).sum().backward()  # no input needs a gradient
    assert seen[2:] == [[[None], [[[1.0]]]]]
    with tg.no_grad():
        assert not layer(tg.ones(1, 2)).requires_grad


def test_a_compiled_step_sees_hooks_and_changed_containers():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    step, x = tg.compile(lambda x: model(x).sum()), tg.ones(1, 2)
    handles = []
    changes = [
        lambda: None,
        lambda: handles.append(model[1].register_forward_hook(lambda m, args, y: y * 10.0)),
        lambda: handles.append(model.register_forward_pre_hook(lambda m, args: args[0] + 1.0)),
        lambda: handles[0].remove(),
        lambda: handles[1].remove(),
        lambda: model.append(nn.ReLU()),
        lambda: model.__setitem__(2, nn.Sigmoid()),
        lambda: model.__delitem__(1),
        lambda: model.insert(0, nn.Tanh()),
    ]
    found = []
    for change in changes:
        change()
        found.append(model(x).sum().item())
        for _ in range(3):
            assert step(x).item() == pytest.approx(found[-1], rel=1e-6)
    assert len(set(found)) == len(found) - 1  # without its hooks it is as it was


# --- first values -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cases.DRAWS)
def test_first_parameters_are_pytorchs(name):
    tg.manual_seed(2)
    model = cases.DRAWS[name](nn)
    for ours, exact in zip(model.parameters(), FROZEN[f"draw-{name}"], strict=True):
        cases.agree(ours.detach().numpy(), exact, 2, np.float32)


@pytest.mark.parametrize("name", cases.FILLS)
def test_init_draws_pytorchs_numbers(name):
    for shape, exact in zip(cases.FILLED, FROZEN[f"fill-{name}"], strict=True):
        tg.manual_seed(4)
        p = nn.Parameter(np.zeros(shape, np.float32))
        assert cases.FILLS[name](init, p) is p
        assert p.is_leaf and p.requires_grad
        cases.agree(p.detach().numpy(), exact, 8, np.float32)


def test_init_takes_a_generator():
    p, q = tg.zeros(3, 4), tg.zeros(3, 4)
    for fill in (init.uniform_, init.normal_, init.xavier_uniform_, init.xavier_normal_,
                 init.kaiming_uniform_, init.kaiming_normal_, init.orthogonal_,
                 init.trunc_normal_):  # fmt: skip
        fill(p, generator=tg.Generator().manual_seed(8))
        tg.manual_seed(8)
        fill(q)
        assert p.tolist() == q.tolist() and len({*p.numpy().ravel().tolist()}) > 5, fill


def test_gains_are_pytorchs():
    ours = [init.calculate_gain(name) for name in cases.GAINS]
    np.testing.assert_allclose(ours, FROZEN["gains"][0], rtol=1e-15)
    assert init.calculate_gain("leaky_relu", 1.0) == 1.0


def test_eye():
    assert init.eye_(tg.ones(2, 3)).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def test_the_padding_row_of_an_embedding_is_zero_and_stays():
    layer = nn.Embedding(4, 3, padding_idx=-1)
    assert layer.padding_idx == 3 and layer.weight[3].tolist() == [0.0, 0.0, 0.0]
    optimizer = tg.optim.SGD(layer.parameters(), lr=1.0)
    before = layer.weight.detach().numpy().copy()
    layer(tg.tensor([3, 1, 3])).sum().backward()
    optimizer.step()
    assert layer.weight[3].tolist() == [0.0, 0.0, 0.0]
    assert layer.weight[1].tolist() == (before[1] - 1).tolist()


def test_drawing_again():
    for layer in (nn.Linear(3, 4), nn.Conv2d(1, 2, 3)):
        tg.manual_seed(5)
        layer.reset_parameters()
        first = [p.tolist() for p in layer.parameters()]
        tg.manual_seed(5)
        layer.reset_parameters()
        assert [p.tolist() for p in layer.parameters()] == first
        layer.reset_parameters()
        assert [p.tolist() for p in layer.parameters()] != first


# --- every module against its function ----------------------------------------------------------

X = tg.tensor(cases.numbers(2, 4, 6, 6).astype(np.float32))
ROW = tg.tensor(cases.numbers(3, 4).astype(np.float32))
P, Q = (tg.tensor(cases.shares(3, 4, seed=s).astype(np.float32)) for s in (1, 2))
IDS = tg.tensor([3, 0, 2])
W = tg.tensor([1.0, 2.0, 0.5, 3.0])

MODULES = [
    (nn.Linear(4, 2), (ROW,), lambda m, x: F.linear(x, m.weight, m.bias)),
    (nn.Linear(4, 2, bias=False), (ROW,), lambda m, x: F.linear(x, m.weight)),
    (nn.Embedding(4, 2), (IDS,), lambda m, i: F.embedding(i, m.weight)),
    (
        nn.Conv2d(4, 2, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2), groups=2),
        (X,),
        lambda m, x: F.conv2d(x, m.weight, m.bias, 2, (1, 0), (1, 2), 2),
    ),
    (nn.MaxPool2d(3, 2, 1), (X,), lambda m, x: F.max_pool2d(x, 3, 2, 1)),
    (nn.MaxPool2d((2, 3)), (X,), lambda m, x: F.max_pool2d(x, (2, 3))),
    (nn.AvgPool2d(3, 2, 1), (X,), lambda m, x: F.avg_pool2d(x, 3, 2, 1)),
    (nn.AvgPool2d(2), (X,), lambda m, x: F.avg_pool2d(x, 2)),
    (
        nn.LayerNorm((6, 6), eps=0.1),
        (X,),
        lambda m, x: F.layer_norm(x, (6, 6), m.weight, m.bias, 0.1),
    ),
    (nn.LayerNorm(4, bias=False), (ROW,), lambda m, x: F.layer_norm(x, 4, m.weight)),
    (nn.LayerNorm(4, elementwise_affine=False), (ROW,), lambda m, x: F.layer_norm(x, 4)),
    (
        nn.BatchNorm2d(4, eps=0.1),
        (X,),
        lambda m, x: F.batch_norm(x, None, None, m.weight, m.bias, True, eps=0.1),
    ),
    (nn.BatchNorm1d(4, affine=False), (ROW,), lambda m, x: F.batch_norm(x, training=True)),
    (
        nn.BatchNorm1d(4, track_running_stats=False).eval(),
        (ROW,),
        lambda m, x: F.batch_norm(x, None, None, m.weight, m.bias, True),
    ),
    (nn.Dropout(0.4).eval(), (ROW,), lambda m, x: x),
    (nn.Flatten(), (X,), lambda m, x: x.reshape(2, -1)),
    (nn.Flatten(0, 1), (X,), lambda m, x: x.reshape(8, 6, 6)),
    (nn.Identity(), (X,), lambda m, x: x),
    (nn.ReLU(), (X,), lambda m, x: F.relu(x)),
    (nn.LeakyReLU(), (X,), lambda m, x: F.leaky_relu(x)),
    (nn.LeakyReLU(0.3), (X,), lambda m, x: F.leaky_relu(x, 0.3)),
    (nn.Sigmoid(), (X,), lambda m, x: F.sigmoid(x)),
    (nn.LogSigmoid(), (X,), lambda m, x: F.logsigmoid(x)),
    (nn.Softplus(), (X,), lambda m, x: F.softplus(x)),
    (nn.Tanh(), (X,), lambda m, x: F.tanh(x)),
    (nn.GELU(), (X,), lambda m, x: F.gelu(x)),
    (nn.GELU("tanh"), (X,), lambda m, x: F.gelu(x, "tanh")),
    (nn.SiLU(), (X,), lambda m, x: F.silu(x)),
    (nn.Softmax(1), (X,), lambda m, x: F.softmax(x, 1)),
    (nn.LogSoftmax(dim=2), (X,), lambda m, x: F.log_softmax(x, 2)),
    (nn.CrossEntropyLoss(), (ROW, IDS), lambda m, z, y: F.cross_entropy(z, y)),
    (
        nn.CrossEntropyLoss(W, ignore_index=0, reduction="sum", label_smoothing=0.1),
        (ROW, IDS),
        lambda m, z, y: F.cross_entropy(
            z, y, W, ignore_index=0, reduction="sum", label_smoothing=0.1
        ),
    ),
    (
        nn.CrossEntropyLoss(reduction="none"),
        (ROW, P),
        lambda m, z, y: F.cross_entropy(z, y, reduction="none"),
    ),
    (nn.NLLLoss(), (ROW, IDS), lambda m, z, y: F.nll_loss(z, y)),
    (
        nn.NLLLoss(W, None, 3, None, "none"),
        (ROW, IDS),
        lambda m, z, y: F.nll_loss(z, y, W, None, 3, None, "none"),
    ),
    (
        nn.BCELoss(W, reduction="sum"),
        (P, Q),
        lambda m, p, q: F.binary_cross_entropy(p, q, W, reduction="sum"),
    ),
    (
        nn.BCEWithLogitsLoss(W, reduction="none", pos_weight=W + 1.0),
        (ROW, Q),
        lambda m, z, q: F.binary_cross_entropy_with_logits(z, q, W, None, None, "none", W + 1.0),
    ),
    (nn.MSELoss(reduction="sum"), (P, Q), lambda m, p, q: F.mse_loss(p, q, None, None, "sum")),
    (nn.L1Loss(None, None, "none"), (P, Q), lambda m, p, q: F.l1_loss(p, q, reduction="none")),
    (nn.HuberLoss("sum", 0.25), (P, Q), lambda m, p, q: F.huber_loss(p, q, "sum", 0.25)),
    (
        nn.KLDivLoss(reduction="batchmean", log_target=True),
        (ROW, ROW - 1.0),
        lambda m, p, q: F.kl_div(p, q, None, None, "batchmean", True),
    ),
    (nn.KLDivLoss(), (ROW, Q), lambda m, p, q: F.kl_div(p, q)),
]


@pytest.mark.parametrize(("module", "inputs", "function"), MODULES, ids=lambda m: type(m).__name__)
def test_a_module_is_its_function(module, inputs, function):
    ours, wanted = module(*inputs), function(module, *inputs)
    assert ours.tolist() == wanted.tolist() and ours.shape == wanted.shape
    assert np.isfinite(ours.tolist()).all()


def test_every_module_is_compared_with_its_function():
    classes = {c for c in vars(nn).values() if isinstance(c, type) and issubclass(c, nn.Module)}
    containers = {
        nn.Module,
        nn.Sequential,
        nn.ModuleList,
        nn.ModuleDict,
        nn.ParameterList,
        nn.ParameterDict,
    }
    containers.add(nn.DataParallel)
    here = {type(module) for module, _, _ in MODULES}
    there = torch_cases.options_given()  # where the answers are PyTorch's
    classes -= {c for c in classes if c.__name__.startswith("Lazy")}  # there, among the talks
    assert {c.__name__ for c in classes - containers - here} <= set(there)


def test_dropout_modules():
    x = tg.ones(50)
    layer = nn.Dropout(0.4)
    tg.manual_seed(1)
    y = layer(x)
    tg.manual_seed(1)
    assert y.tolist() == F.dropout(x, 0.4).tolist() and 0.0 in y.tolist()
    assert layer.eval()(x).tolist() == x.tolist()
    one, two = (nn.Dropout(0.4, generator=tg.Generator().manual_seed(2)) for _ in range(2))
    assert one(x).tolist() == two(x).tolist() != one(x).tolist()


def test_size_average_and_reduce_are_deprecated_and_mean_what_they_did():
    for name in nn.__all__:
        kind = getattr(nn, name)
        if isinstance(kind, type) and "reduce" in inspect.signature(kind).parameters:
            for options, wanted in (
                ({"size_average": False}, "sum"),
                ({"size_average": True}, "mean"),
                ({"reduce": False}, "none"),
                ({"reduce": True}, "mean"),
                ({"size_average": False, "reduce": False}, "none"),
            ):
                with pytest.warns(UserWarning, match=f"please use reduction='{wanted}'") as seen:
                    assert kind(**options, reduction="none").reduction == wanted
                assert seen[0].filename == __file__
            with pytest.raises(TypeError, match="size_average='sum'; write reduction="):
                kind(size_average="sum")


def test_a_softmax_without_dim_chooses_one_and_warns():
    for shape, dim in (((3,), 0), ((2, 3), 1), ((2, 3, 2), 0), ((1, 2, 2, 3), 1)):
        x = tg.tensor(cases.numbers(*shape))
        for layer, function in ((nn.Softmax(), F.softmax), (nn.LogSoftmax(), F.log_softmax)):
            for call in (layer, function):
                with pytest.warns(UserWarning, match="Implicit dimension choice for") as seen:
                    y = call(x)
                assert y.tolist() == function(x, dim).tolist() and seen[0].filename == __file__


def test_layers_are_made_in_the_dtype_and_on_the_device_that_are_asked_for():
    for name, args in (
        ("Linear", (2, 3)), ("Embedding", (3, 2)), ("Conv1d", (2, 4, 1)), ("Conv2d", (2, 4, 1)),
        ("ConvTranspose2d", (2, 4, 1)), ("BatchNorm1d", (4,)), ("BatchNorm2d", (4,)),
        ("LayerNorm", (4,)), ("RMSNorm", (4,)), ("GroupNorm", (2, 4)),
    ):  # fmt: skip
        kind = getattr(nn, name)
        layer = kind(*args, device="cpu", dtype=tg.float64)
        kinds = {t.dtype for t in (*layer.parameters(), *layer.buffers()) if t.numel() > 1}
        assert kinds == {np.dtype(np.float64)}, name
        assert next(kind(*args).parameters()).dtype == np.float32
        with pytest.raises(RuntimeError, match="not here, tensors live in NumPy arrays"):
            kind(*args, device="cuda")


def test_losses_keep_their_weights_as_buffers():
    loss = nn.BCEWithLogitsLoss(W, pos_weight=W + 1.0)
    assert [n for n, _ in loss.named_buffers()] == ["weight", "pos_weight"]
    assert [*loss.parameters()] == []
    assert loss.double().weight.dtype == np.float64


# --- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("name", cases.MODELS)
def test_five_steps_of_training_are_pytorchs(name, double):
    found = cases.trained(tg, name, double)
    assert [*found] == TEXTS[name]
    for part, exact in zip(found, FROZEN[f"trained-{name}-{double}"], strict=True):
        close = 1e-12 if double else 2e-6
        np.testing.assert_allclose(found[part], exact, rtol=close, atol=close, err_msg=part)
    assert len({round(loss, 3) for loss in found["losses"]}) == 5


# --- saving, copies, dtypes ---------------------------------------------------------------------


def test_a_state_dict_shares_memory_and_has_no_past():
    layer = nn.Linear(2, 2)
    saved = layer.state_dict()
    assert all(type(t) is tg.Tensor and not t.requires_grad for t in saved.values())
    with tg.no_grad():
        layer.weight.fill_(7.0)
    assert saved["weight"].tolist() == [[7.0, 7.0], [7.0, 7.0]]
    assert [*layer.state_dict(prefix="a.")] == ["a.weight", "a.bias"]


def test_a_state_goes_into_another_model():
    tg.manual_seed(0)
    one = mixed()
    two = mixed()
    before = two.scale
    assert two.load_state_dict(one.state_dict()) == ([], [])
    assert two.scale is before and two.scale.requires_grad
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert a.tolist() == b.tolist(), name
    with tg.no_grad():
        one.scale.fill_(9.0)
    assert two.scale.item() == 1.0  # copied


def test_loading_takes_arrays_and_keeps_the_dtype():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": np.array([[1.0, 2.0]]), "bias": [3.0]})
    assert layer.weight.tolist() == [[1.0, 2.0]] and layer.weight.dtype == np.float32


def test_loading_is_all_or_nothing():
    layer = nn.Linear(2, 3)
    before = [p.tolist() for p in layer.parameters()]
    weight, bias = np.ones((3, 2)), np.ones(3)
    for state, message in (
        ({"weight": weight}, "nothing was loaded: bias is missing"),
        ({"weight": weight, "bias": bias, "x": bias}, "x is not in the model"),
        ({"weight": weight, "bias": weight}, r"bias has shape \(3, 2\), the model \(3,\)"),
        ({"weight": weight, "bias": np.ones(3, int)}, "bias has dtype int64, the model float32"),
        ({"weight": weight.T, "x": bias}, r"bias is missing; x is not .*weight has shape \(2, 3\)"),
    ):
        with pytest.raises(RuntimeError, match=message):
            layer.load_state_dict(state)
        assert [p.tolist() for p in layer.parameters()] == before
    with pytest.raises(RuntimeError, match="bias has shape"):
        layer.load_state_dict({"weight": weight, "bias": weight}, strict=False)
    assert [p.tolist() for p in layer.parameters()] == before
    result = layer.load_state_dict({"weight": weight, "x": bias}, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["bias"], ["x"])
    assert layer.weight.tolist() == weight.tolist() and layer.bias.tolist() == before[1]


class Held(nn.Module):
    """Buffers of every kind, the last of which is spoiled."""

    def __init__(self, last):
        for name, buffer in (("first", tg.zeros(2)), ("sum", tg.ones(3).sum()), ("last", last)):
            self.register_buffer(name, buffer)


@pytest.mark.parametrize(
    ("last", "value", "message"),
    [
        (tg.zeros(1).expand(3), [1.0, 2.0, 3.0], "last .* repeats its elements"),
        (tg.zeros(2), np.array([1.0, 1e300]), "last of dtype float64 does not fit into float32"),
        (tg.zeros(2, dtype=np.int8), [1, 300], "last of dtype int64 does not fit into int8"),
        (tg.zeros(2), "text", "last tensor: 'text' has dtype"),
        (tg.zeros(2), [[1.0], [2.0, 3.0]], "last tensor: the rows"),
        (tg.zeros(2), None, "last tensor: None"),
        (tg.zeros(2), np.ones(2, complex), "last tensor: .* complex"),
    ],
)
def test_what_does_not_go_in_keeps_the_rest_out(last, value, message):
    module = Held(last)
    before = {name: t.tolist() for name, t in module.state_dict().items()}
    for strict in (True, False):
        with pytest.raises(RuntimeError, match=message):
            module.load_state_dict({"first": [7.0, 7.0], "sum": 7.0, "last": value}, strict)
        assert {name: t.tolist() for name, t in module.state_dict().items()} == before


def test_infinities_and_scalar_results_are_loaded():
    module = Held(tg.zeros(2))
    state = {"first": [7.0, -np.inf], "sum": np.float64(7.0), "last": np.array([np.nan, np.inf])}
    module.load_state_dict(state)
    assert module.first.tolist() == [7.0, -np.inf] and module.sum.item() == 7.0
    np.testing.assert_array_equal(module.last.numpy(), np.array([np.nan, np.inf], np.float32))


def test_loading_after_a_forward_is_seen_by_backward():
    layer = nn.Linear(2, 1)
    x = tg.tensor([[1.0, 2.0]], requires_grad=True)
    loss = layer(x).sum()
    layer.load_state_dict({"weight": np.ones((1, 2)), "bias": np.ones(1)})
    with pytest.raises(RuntimeError, match="load_state_dict"):
        loss.backward()


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_whole_and_apart(twin):
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    model.tied = model[0]
    model.eval()
    other = twin(model)
    x = tg.tensor(cases.numbers(5, 3).astype(np.float32))
    assert other.tied is other[0] is not model[0]
    assert [n for n, _ in other.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert all(type(p) is nn.Parameter and p.requires_grad for p in other.parameters())
    assert other[:4](x).tolist() == model[:4](x).tolist() and not other.training
    with tg.no_grad():
        other[0].weight.fill_(0.0)
        other[1].running_mean.fill_(5.0)
    assert 0.0 not in model[0].weight.detach().numpy() and 5.0 not in model[1].running_mean.numpy()


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_shared_parameter_is_shared_in_a_copy(twin):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    other = twin(model)
    assert other[1].weight is other[0].weight is not model[0].weight


def test_dtypes_of_a_model():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    weight = model[0].weight
    assert model.double() is model and model[0].weight is weight
    kinds = {n: t.dtype for n, t in model.state_dict().items()}
    assert kinds.pop("1.num_batches_tracked") == np.int64 and {*kinds.values()} == {
        np.dtype(np.float64)
    }
    y = model(tg.tensor(cases.numbers(4, 2)))
    y.sum().backward()
    assert y.dtype == weight.grad.dtype == np.float64
    assert model.float()[0].weight.dtype == model.to("cpu")[0].weight.dtype == np.float32
    assert model.to(np.float64)[1].running_var.dtype == np.float64


# --- what is refused ----------------------------------------------------------------------------


class Empty(nn.Module):
    pass


def give(name, value):
    layer = nn.BatchNorm1d(2)
    setattr(layer, name, value)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Linear(0, 2), ValueError, "Linear: in_features=0; wanted an integer of at lea"),
        (lambda: nn.Linear(2, 2.0), ValueError, r"Linear: out_features=2\.0; wanted"),
        (lambda: nn.Linear(3, 2)(ROW), ValueError, r"\(3, 4\) and weight \(2, 3\); .*, 3\)"),
        (lambda: nn.Linear(3, 2)([1.0, 2.0, 3.0]), TypeError, "input is a list; wanted a Tensor"),
        (lambda: nn.Embedding(4, 0), ValueError, "embedding_dim=0"),
        (lambda: nn.Embedding(4, 2, padding_idx=4), ValueError, "padding_idx=4 of 4 rows"),
        (lambda: nn.Embedding(4, 2)(tg.tensor([4])), IndexError, r"id 4 is outside 0 \.\.\. 3"),
        (lambda: nn.Embedding(4, 2)(ROW), TypeError, r"ids have dtype float32; .*ids\.long\(\)"),
        (lambda: nn.Conv2d(3, 4, 2, groups=2), ValueError, "3 and 4 channels do not .* 2 groups"),
        (lambda: nn.Conv2d(3, 4, 2, groups=0), ValueError, "groups=0; wanted"),
        (lambda: nn.Conv2d(3, 4, 0), ValueError, "Conv2d: kernel_size=0; wanted"),
        (lambda: nn.Conv2d(3, 4, (1, 2, 3)), ValueError, r"kernel_size=\(1, 2, 3\); wanted"),
        (lambda: nn.Conv2d(3, 4, 2, stride=0), ValueError, "Conv2d: stride=0; wanted"),
        (lambda: nn.Conv2d(3, 4, 2, padding=-1), ValueError, "Conv2d: padding=-1; wanted"),
        (lambda: nn.Conv2d(3, 4, 2)(X), ValueError, r"input \(2, 4, 6, 6\), weight \(4, 3, 2, 2\)"),
        (lambda: nn.Conv2d(4, 4, 7)(X), ValueError, "7×7 does not fit into an image of 6×6"),
        (lambda: nn.MaxPool2d(0), ValueError, "MaxPool2d: kernel_size=0; wanted"),
        (lambda: nn.AvgPool2d(2, stride=0), ValueError, "AvgPool2d: stride=0; wanted"),
        (lambda: nn.MaxPool2d(2, padding=2), ValueError, "padding=2; wanted at most half"),
        (lambda: nn.MaxPool2d(7)(X), ValueError, "7×7 does not fit into an image of 6×6"),
        (lambda: nn.BatchNorm1d(3)(ROW), ValueError, r"shape \(3, 4\); wanted \(N, 3\) or \(N, 3"),
        (lambda: nn.BatchNorm1d(4)(X), ValueError, r"BatchNorm1d: input has shape \(2, 4, 6, 6\)"),
        (lambda: nn.BatchNorm2d(4)(ROW), ValueError, r"BatchNorm2d: .* wanted \(N, 4, ·, ·\)"),
        (lambda: nn.BatchNorm1d(4)(ROW[:1]), ValueError, r"one value per channel.*model\.eval\(\)"),
        (lambda: nn.BatchNorm1d(4, momentum="a"), ValueError, "momentum=a; wanted a number"),
        (lambda: nn.BatchNorm2d(4, momentum=1.5), ValueError, r"BatchNorm2d: momentum=1\.5"),
        (lambda: nn.LayerNorm(0), ValueError, "normalized_shape=0; wanted"),
        (lambda: nn.LayerNorm(2.5), ValueError, r"normalized_shape=2\.5; wanted"),
        (lambda: nn.LayerNorm(3)(ROW), ValueError, r"wanted it to end with \(3,\)"),
        (lambda: nn.Dropout(1.5), ValueError, r"Dropout: p=1\.5; wanted a probability"),
        (lambda: nn.Dropout(float("nan")), ValueError, "Dropout: p=nan"),
        (lambda: nn.MSELoss(reduction="avg"), ValueError, "MSELoss: reduction='avg'; wanted"),
        (lambda: nn.KLDivLoss(reduction="avg"), ValueError, "KLDivLoss: reduction='avg'"),
        (lambda: nn.CrossEntropyLoss()(ROW, IDS.unsqueeze(1)), ValueError, r"squeeze\(1\)"),
        (lambda: nn.MSELoss()(ROW[:, :1], ROW[:, 0]), ValueError, "compare every pair"),
        # modules
        (lambda: nn.Sequential([nn.ReLU()]), TypeError, "item 0 is a list; wanted a Module"),
        (lambda: nn.Sequential(nn.ReLU(), F.relu), TypeError, r"item 1 is a function.*nn\.ReLU"),
        (lambda: nn.Sequential(nn.ReLU), TypeError, "item 0 is a type; wanted a Module"),
        (lambda: nn.Sequential().append(None), TypeError, "item 0 is a NoneType"),
        (lambda: nn.ModuleList(nn.ReLU()), TypeError, r"got a ReLU; wanted a list: \[module\]"),
        (lambda: nn.ModuleList([1]), TypeError, "ModuleList: item 0 is an int; wanted a Module"),
        (lambda: nn.ModuleList([nn.ReLU()])(1), NotImplementedError, "ModuleList has no forward"),
        (lambda: Empty()(1), NotImplementedError, "Empty has no forward"),
        (lambda: give("weight", tg.ones(2)), TypeError, r"stop being trained.*Parameter\(value\)"),
        (lambda: give("weight", np.ones(2)), TypeError, r"weight\.copy_\(value\)"),
        (lambda: give("weight", 1.0), TypeError, "weight: is a Parameter"),
        (lambda: give("running_mean", 1.0), TypeError, "is a buffer; got a float, wanted a Tensor"),
        (lambda: Empty().register_buffer("a", [1.0]), TypeError, "a is a list; wanted a Tensor"),
        (lambda: nn.BatchNorm1d(2).register_buffer("weight", W), KeyError, "weight already"),
        (lambda: Empty().register_parameter("a", W), TypeError, "a is a Tensor; wanted a Param"),
        (lambda: nn.Parameter([1, 2]), TypeError, r"dtype int64 has no derivative.*t\.float\(\)"),
        (lambda: Empty().load_state_dict([W]), TypeError, "got a list; wanted a dict"),
        (lambda: Empty().to(np.int64), TypeError, "dtype int64; parameters are floats"),
        (lambda: Empty().to("cuda"), RuntimeError, "cuda: not here, tensors live in"),
        # first values
        (lambda: init.xavier_uniform_(tg.ones(3)), ValueError, r"\(3,\) has no fans; wanted \(out"),
        (lambda: init.kaiming_normal_(ROW, mode="in"), ValueError, "mode='in'; wanted .fan_in."),
        (lambda: init.calculate_gain("swish"), ValueError, "'swish' is not known; .*leaky_relu"),
        (lambda: init.eye_(tg.ones(3)), ValueError, r"eye_: shape \(3,\); wanted a matrix"),
        (lambda: init.orthogonal_(tg.ones(3)), ValueError, "wanted at least two dimensions"),
        (lambda: init.trunc_normal_(tg.ones(3), a=6, b=5), ValueError, "wanted std > 0 and a < b"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_refused_parameter_leaves_the_module_as_it_was():
    layer = nn.Linear(2, 2)
    weight = layer.weight
    with pytest.raises(TypeError, match="stop being trained"):
        layer.weight = tg.ones(2, 2)
    assert layer.weight is weight


# --- data in the place of settings -------------------------------------------------------------

NO_LAYERS = (
    "DataParallel", "Module", "ModuleDict", "ModuleList", "Parameter", "ParameterList",
    "ParameterDict", "UninitializedBuffer", "UninitializedParameter",
)  # fmt: skip
LAYERS = [
    getattr(nn, name) for name in nn.__all__
    if isinstance(getattr(nn, name), type) and name not in NO_LAYERS
]  # fmt: skip
PREDICTED, WANTED = tg.ones(2, 3), tg.tensor([0, 1])


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_data_given_to_a_constructor_is_refused(layer):
    """For every layer and loss: one tensor, two, an array, a tensor of one number, by name."""
    names = [*inspect.signature(layer).parameters] if layer.__init__ is not object.__init__ else []
    settings = [{n: WANTED} for n in names if n not in ("weight", "pos_weight", "modules")]
    for args in ((PREDICTED, WANTED), (np.ones((2, 3)), WANTED), (tg.tensor(1), PREDICTED)):
        with pytest.raises(TypeError, match=rf"{layer.__name__}: .*(call it: |wanted a Module)"):
            layer(*args)
    for setting in settings:
        with pytest.raises(TypeError):
            layer(**setting)
    with pytest.raises((TypeError, ValueError)):
        layer(PREDICTED, PREDICTED, PREDICTED, PREDICTED)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss, nn.NLLLoss])
def test_logits_are_no_class_weights(loss):
    with pytest.raises(
        ValueError, match=r"weight has shape \(2, 3\); wanted \(C,\).*\(\)\(logits, tar"
    ):
        loss(PREDICTED)
    assert loss(tg.ones(3)).weight.tolist() == [1.0, 1.0, 1.0]
    assert loss([1.0, 1.0, 1.0])(PREDICTED, WANTED).shape == ()


def test_a_subclass_may_take_tensors():
    class Scaled(nn.Linear):
        def __init__(self, scale):
            super().__init__(3, 3)
            self.scale = scale

    assert Scaled(PREDICTED).scale is PREDICTED
    with pytest.raises(TypeError, match=r"Tanh\(\) takes no settings"):
        nn.Tanh(3)


# --- many modules, one inside of the other --------------------------------------------------------


def nested(depth):
    """Sequential(Sequential(... Linear ...)), and the Linear."""
    innermost = module = nn.Linear(2, 2)
    for _ in range(depth):
        module = nn.Sequential(module)
    return module, innermost


@pytest.fixture
def depth():
    """More modules than Python, told to stop earlier, would go into."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    yield 270
    sys.setrecursionlimit(limit)


def test_what_walks_the_tree_does_not_recurse(depth):
    model, layer = nested(depth)
    calls = []
    assert model.apply(calls.append) is model
    assert calls[0] is layer and calls[-1] is model and len(calls) == depth + 1
    assert sum(1 for _ in model.modules()) == depth + 1
    assert [n.count(".") for n, _ in model.named_parameters()] == [depth, depth]
    assert not model.eval().train(False).requires_grad_(False).double().training
    assert layer.weight.dtype == np.float64 and not layer.weight.requires_grad
    saved = model.state_dict()
    model.load_state_dict({name: np.ones(t.shape) for name, t in saved.items()})
    assert layer.bias.tolist() == [1.0, 1.0]
    lines = repr(model).split("\n")
    assert len(lines) == 2 * depth + 1 and lines[depth].strip().startswith("(0): Linear(in_")
    twin = copy.deepcopy(model)
    assert [t.tolist() for t in twin.state_dict().values()] == [t.tolist() for t in saved.values()]
    assert not {id(m) for m in twin.modules()} & {id(m) for m in model.modules()}


def test_a_call_that_python_stops_says_how_deep_the_modules_are(depth):
    model, _ = nested(depth)
    x = tg.ones(1, 2)
    with pytest.raises(
        RecursionError, match=rf"{depth + 1} deep.*sys\.setrecursionlimit\("
    ) as error:
        model(x)
    sys.setrecursionlimit(int(re.findall(r"limit\((\d+)\)", str(error.value))[0]))
    assert model(x).shape == (1, 2)


def test_a_forward_that_calls_itself_for_ever_is_pythons_error():
    class Endless(nn.Module):
        def forward(self, x):
            return self(x)

    with pytest.raises(RecursionError, match="maximum recursion depth"):
        Endless()(tg.ones(1))


def test_copies_keep_what_is_shared_circles_and_what_a_class_says():
    class Own(nn.Module):
        def __init__(self):
            self.layer, self.seen = nn.Linear(1, 1), []

        def __deepcopy__(self, memo):
            twin = copy.copy(self)
            twin.copied = True
            return twin

    class Circle(nn.Module):
        def __init__(self):
            self.one = nn.Linear(2, 2)
            self.two, self.own = self.one, Own()
            self.inner = nn.Sequential(self.one)
            self.inner[0].back = self

    model = Circle()
    twin = copy.deepcopy(model)
    assert twin.one is twin.two is twin.inner[0] and twin.one is not model.one
    assert twin.one.back is twin and twin.own.copied
    assert "(back): Circle(...)" in repr(model)
    calls = []
    model.apply(calls.append)
    assert calls[-1] is model and len(calls) == 6  # one, own.layer, own, inner's one, inner, model


def test_a_view_of_a_buffer_stays_behind_when_the_buffer_gets_another_dtype():
    """As in PyTorch, where it keeps the old numbers; a later write is no matter of its own."""
    norm = nn.BatchNorm1d(2)
    view, alias = norm.running_mean[:1], norm.running_var.detach()
    w = tg.tensor([3.0], requires_grad=True)
    y = (w * alias[:1]).sum()
    norm.double()
    norm.running_mean.add_(tg.tensor([2.0, 3.0], requires_grad=True))
    assert view.tolist() == [0.0] and not view.requires_grad
    assert norm.running_mean.requires_grad and norm.running_mean.tolist() == [2.0, 3.0]
    y.backward()  # it has read the alias, which nobody has written
    assert w.grad.tolist() == [1.0]


def test_a_converted_weight_is_not_what_was_read_before():
    linear = nn.Linear(2, 1)
    loss = (linear.weight * linear.weight).sum()
    linear.double()
    with pytest.raises(RuntimeError, match=r"to\(float64\) has changed it in place"):
        loss.backward()


def test_parameters_under_names():
    scales = nn.ParameterDict({"a": tg.tensor([1.0, 2.0])})
    scales["b"] = own = nn.Parameter(tg.tensor([[3.0]]))
    assert [name for name, _ in scales.named_parameters()] == ["a", "b"] == [*scales]
    assert scales["b"] is own and scales.get("c") is None and "a" in scales and len(scales) == 2
    assert repr(scales) == (
        "ParameterDict(\n"
        "    (a): Parameter containing: [torch.float32 of size 2]\n"
        "    (b): Parameter containing: [torch.float32 of size 1x1]\n"
        ")"
    )
    scales.update(nn.ParameterDict({"c": tg.tensor([0.0])}))
    assert scales.pop("b") is own and [*scales.state_dict()] == ["a", "c"]
    for wrong, message in [
        ({"a": 3}, "item a is an int; wanted a Tensor"),
        (3, "got an int; wanted a dict or"),
    ]:
        with pytest.raises(TypeError, match=message):
            nn.ParameterDict(wrong)


def test_a_hint_survives_the_import():
    with pytest.raises(ImportError, match="it is left out here; use LeakyReLU"):
        from tinygrad_ce.nn import PReLU  # noqa: F401
    with pytest.raises(AttributeError, match="it is left out here; use LeakyReLU"):
        nn.PReLU  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nonsense'"):
        from tinygrad_ce.nn import nonsense  # noqa: F401
    assert not hasattr(nn, "PReLU")
