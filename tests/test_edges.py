"""The ends of each function: what is refused and in which words, and the paths that few take."""

import copy
import itertools
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.autograd import (
    GradcheckError,
    grad,
    gradcheck,
    gradgradcheck,
    hessian,
    jacobian,
    jvp,
    vjp,
)
from tinygrad_ce.engine import functions, rule, table
from tinygrad_ce.engine.frame import Switch
from tinygrad_ce.nn import functional as F, init, utils


def leaf(*values):
    return tg.tensor(np.array(values), requires_grad=True)


def row(n=3):
    return tg.tensor(np.arange(1.0, n + 1))


def steep(*shape):
    return tg.ones(*(shape or (3,)), requires_grad=True)


# --- refused --------------------------------------------------------------------------------


async def coroutine():
    """A function whose body runs after the call."""


def first_gradient():
    x = leaf(2.0)
    return grad((x**2).sum(), x)[0]


def kept_gradient():
    x = leaf(2.0)
    (x**2).sum().backward()
    return x.grad


REFUSED = [
    # autograd
    (lambda: grad(3.0, leaf(1.0)), TypeError, "grad: outputs: got float; wanted a Tensor or sev"),
    (lambda: grad([leaf(1.0), 2.0], leaf(1.0)), TypeError, "grad: outputs: got a float; wanted"),
    (lambda: grad([], leaf(1.0)), TypeError, "grad: outputs: got list"),
    (lambda: grad(leaf(1.0).sum(), leaf(1.0), [row(), row()]), ValueError,
     "grad: 1 outputs and 2 grad_outputs"),
    (lambda: jvp(lambda x: x, row(), row(2)), RuntimeError,
     r"jvp: v has shapes \[\(2,\)\]; wanted \[\(3,\)\]"),
    (lambda: hessian(lambda x: x * x, row()), RuntimeError,
     r"hessian: func gave shape \(3,\); wanted a tensor with a single number"),
    (lambda: hessian(lambda x: 1.0, row()), TypeError, "hessian: what func gave: got float"),
    *((lambda f=f: f(lambda x: x, 3.0), TypeError, f"{f.__name__}: inputs: got float; wanted a Ten")
      for f in (jacobian, hessian, gradcheck, gradgradcheck)),
    (lambda: vjp(lambda x: x, 3.0), TypeError, "vjp: inputs: got float"),
    (lambda: jvp(lambda x: x, 3.0, row()), TypeError, "jvp: inputs: got float"),
    (lambda: jvp(lambda x: x, row(), 3.0), TypeError, "jvp: v: got float"),
    (lambda: vjp(lambda x: 1.0, row()), TypeError, "vjp: what func gave: got float"),
    (lambda: jvp(lambda x: 1.0, row(), row()), TypeError, "jvp: what func gave: got float"),
    (lambda: jacobian(lambda x: 1.0, row()), TypeError, "jacobian: what func gave: got float"),
    (lambda: gradcheck(lambda x: 1.0, leaf(1.0)), TypeError, "gradcheck: what func gave: got fl"),
    (lambda: gradcheck(lambda x: x, row()), ValueError, "no input requires a gradient"),
    (lambda: gradgradcheck(lambda x: x.detach(), leaf(1.0)), ValueError,
     "no output of func needs a gradient"),
    (lambda: first_gradient().backward(), RuntimeError,
     r"it came through grad\(\)\. Write grad\(\.\.\., create_graph=True\) to differentiate a"),
    (lambda: (first_gradient() * 2).sum().backward(), RuntimeError,
     r"sum made it from what grad\(\) cut off the graph\. Write grad\(\.\.\., create_graph=True\)"),
    (lambda: grad(first_gradient().sum(), leaf(1.0)), RuntimeError, "create_graph=True"),
    (lambda: kept_gradient().square().sum().backward(), RuntimeError,
     r"sum made it from what backward\(\) cut off the graph\. Write backward\(create_graph=True\)"),
    (lambda: row().retain_grad(), RuntimeError, "retain_grad: this tensor does not require"),
    (lambda: (leaf(1.0) * 2).requires_grad_(False), RuntimeError, "mul"),
    (lambda: leaf(1.0).requires_grad_("no"), TypeError, "requires_grad: got 'no'; wanted True or"),
    (lambda: setattr(leaf(1.0), "grad", np.ones(1)), TypeError, "grad: got ndarray; wanted a Ten"),
    (lambda: setattr(leaf(1.0), "data", np.ones(2)), ValueError, r"data: got shape \(2,\); this"),
    (lambda: copy.copy(leaf(1.0) * 2), RuntimeError,
     r"copy: this tensor was made by mul .*; write t\.detach\(\)\.numpy\(\) for NumPy and for pl"),
    (lambda: pickle.dumps(leaf(1.0) * 2), RuntimeError, "pickle: only leaves; .*made by mul"),
    # shapes
    (lambda: row().mT, ValueError, r"mT: shape \(3,\) has no two dimensions to exchange"),
    (lambda: row().unsqueeze(2), IndexError, r"unsqueeze: dim 2 of shape \(3,\)"),
    (lambda: row().unsqueeze(-3), IndexError, r"unsqueeze: dim -3 of shape \(3,\)"),
    (lambda: tg.ones(2, 3).diagonal(0, 1, -1), ValueError, r"axes 1 and -1 of shape \(2, 3\) are"),
    (lambda: tg.ones(2, 3).T.view(6), ValueError, "without a copy; write reshape"),
    (lambda: tg.ones(2, 3).repeat(2), ValueError, r"repeat: \(2,\) for shape \(2, 3\)"),
    (lambda: row().chunk(0), ValueError, "chunk: 0 pieces; wanted at least 1"),
    (lambda: row().split(0), ValueError, "split: pieces of size 0; wanted at least 1"),
    (lambda: row().split([1, 1]), ValueError, r"sizes \[1, 1\] do not add up to 3"),
    (lambda: np.split(row(), 2), ValueError, "split: 3 elements do not divide into 2 equal"),
    (lambda: row().sum(axes=0), TypeError, "unknown argument 'axes'; wanted dim and keepdim"),
    (lambda: row().gather(0, tg.tensor([[0]])), ValueError, "index has 2 dimensions; wanted 1"),
    (lambda: row().clip(), ValueError, "clip: give a lower bound, an upper bound or both"),
    (lambda: row().topk(4), ValueError, "topk: k=4 of 3"),
    (lambda: row().topk(-1), ValueError, "topk: k=-1 of 3"),
    (lambda: tg.einsum("ii", tg.ones(2, 3)), ValueError, "label 'i' has sizes 2 and 3"),
    (lambda: tg.einsum("i,ij", row(), row()), ValueError, "does not fit shape"),
    (lambda: tg.stack([]), ValueError, "stack: got an empty list"),
    (lambda: tg.stack(row()), TypeError, "stack: got one Tensor; wanted a list"),
    (lambda: tg.ones(2, 3)[..., row()], IndexError, "got Tensor of dtype float64; wanted integers"),
    (lambda: row().to("mps"), RuntimeError, "mps: not here"),
    # NumPy's names
    (lambda: np.pad(steep(), 1, mode="edge"), TypeError, "pad with mode='edge' has no gradient"),
    (lambda: np.diag(steep()), TypeError, r"np\.diag of a Tensor of shape \(3,\) has no gradient"),
    (lambda: np.dot(steep(2), tg.ones(2, 2, 2)), TypeError, "dot of more than two dimensions"),
    (lambda: np.inner(steep(2), tg.ones(2, 2, 2)), TypeError, "inner of more than two dimensions"),
    (lambda: np.sum(steep(), dtype=np.float32), TypeError, r"np\.sum on a Tensor: .*'dtype'"),
    (lambda: np.linalg.norm(steep(2, 2), ord=2), TypeError, "linalg.norm with ord=2 has no"),
    (lambda: np.linalg.norm(steep(2, 2), ord=2, axis=(0, 1)), TypeError, "ord=2"),
    (lambda: np.linalg.norm(steep(), ord=3), TypeError, "linalg.norm with ord=3"),
    (lambda: np.linalg.det(steep(2, 2)), TypeError, r"np\.linalg\.det has no gradient rule"),
    (lambda: np.put(row(), 0, 1.0), TypeError, r"np\.put cannot write into a Tensor; write t\["),
    (lambda: np.add.at(row(), 0, 1.0), TypeError, r"np\.add\.at cannot write into a Tensor"),
    (lambda: np.add.at(np.ones(3), 0, steep()), TypeError, r"np\.add\.at has no gradient rule"),
    (lambda: np.add(row(), 1.0, out=row()), TypeError, "out= would cut the result from the graph"),
    (lambda: np.subtract.reduce(steep()), TypeError, r"np\.subtract\.reduce has no gradient rule"),
    (lambda: np.maximum.accumulate(steep()), TypeError, r"np\.maximum\.accumulate has no"),
    (lambda: np.add.reduce(steep(), initial=1.0), TypeError, "add.reduce with .*initial"),
    (lambda: np.add(steep(), 1.0, where=[True]), TypeError, r"np\.add with where has no"),
    (lambda: np.cbrt(steep()), TypeError, r"np\.cbrt has no gradient rule.*np\.cbrt\(t\.detach"),
    (lambda: np.unique(leaf(1.0)), TypeError, r"np\.unique has no gradient rule"),
    # rules
    (lambda: table.reshape(row(), (1, 3), (2,)), TypeError, r"reshape\(x, new_shape\) does not ta"),
    (lambda: table.concatenate(row(), row(), dim=0), TypeError, r"concatenate\(.*axis\) does not"),
    (lambda: table.put(row(), 1.0), TypeError, "put.* does not take"),
    (lambda: ~row(), TypeError, r"invert on shape \(3,\)|invert"),
    (lambda: rule.rule(np.exp, lambda y: y), TypeError, r"exp: a gradient reads g, then any of"),
    (lambda: rule.rule(np.exp, lambda g, z: g), TypeError, r"exp: a gradient reads g, .*'z'"),
    (lambda: table.masked(row(), row()), TypeError, "masked: keep has dtype float64; wanted bool"),
    (lambda: tg.no_grad()(coroutine), TypeError, "coroutine is a coroutine: its body runs while"),
    (lambda: tg.no_grad()(iter([]).__iter__ and (lambda: (yield))), TypeError, "is a generator"),
    # layers and helpers
    *((lambda layer=layer, args=args: layer(*args), ValueError, rf"^{layer.__name__}: {words}")
      for layer, args, words in (
          (nn.Linear, (0, 2), "in_features=0; wanted an integer of at least 1"),
          (nn.Linear, (2, 1.5), "out_features=1.5"), (nn.Linear, (True, 2), "in_features=True"),
          (nn.Embedding, (-1, 2), "num_embeddings=-1"), (nn.Embedding, (2, 0), "embedding_dim=0"),
          (nn.Embedding, (2, 2, 2), "padding_idx=2 of 2 rows"),
          (nn.Embedding, (2, 2, -3), "padding_idx=-3"),
          (nn.Conv2d, (0, 2, 3), "in_channels=0"), (nn.Conv2d, (2, 0, 3), "out_channels=0"),
          (nn.Conv2d, (2, 2, 0), "kernel_size"), (nn.Conv2d, (2, 2, 3, 0), "stride"),
          (nn.Conv2d, (2, 2, 3, 1, -1), "padding"), (nn.Conv2d, (2, 2, 3, 1, 0, 0), "dilation"),
          (nn.Conv2d, (2, 2, 3, 1, 0, 1, 0), "groups=0"),
          (nn.Conv2d, (4, 3, 3, 1, 0, 1, 2), "4 and 3 channels do not divide into 2 groups"),
          (nn.Conv2d, (3, 4, 3, 1, 0, 1, 2), "3 and 4 channels do not divide into 2 groups"),
          (nn.BatchNorm1d, (0,), "num_features=0"), (nn.BatchNorm2d, (2, 1e-5, 1.5), "momentum"),
          (nn.BatchNorm1d, (2, 1e-5, -0.5), "momentum=-0.5; wanted a number, 0 to 1"),
          (nn.LayerNorm, (0,), "normalized_shape=0"), (nn.LayerNorm, ((2, -1),), "normalized_sha"),
          (nn.MaxPool2d, (0,), "kernel_size"), (nn.AvgPool2d, (2, 0), "stride"),
          (nn.AvgPool2d, (2, 1, 2), "padding"), (nn.Dropout, (1.5,), "p=1.5; wanted a probabil"),
          (nn.Dropout, (-0.5,), "p=-0.5"),
      )),
    (lambda: utils.clip_grad_norm_([leaf(1.0)], -1.0), ValueError, "max_norm=-1.0; wanted a num"),
    (lambda: utils.clip_grad_norm_([leaf(1.0)], math.nan), ValueError, "max_norm=nan"),
    (lambda: init.orthogonal_(row()), ValueError, r"orthogonal_: shape \(3,\); wanted at least"),
    (lambda: init.eye_(row()), ValueError, r"eye_: shape \(3,\); wanted a matrix"),
    (lambda: init.xavier_normal_(row()), ValueError, "has no fans"),
    (lambda: init.kaiming_normal_(tg.ones(2, 2), mode="fan"), ValueError, "kaiming: mode='fan'"),
    (lambda: init.calculate_gain("swish"), ValueError, "'swish' is not known"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "words"), REFUSED, ids=[r[2] for r in REFUSED])
def test_what_makes_no_sense_is_refused(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_a_switch_says_what_frame_its_block_has():
    with pytest.raises(NotImplementedError), Switch():
        pass


# --- operations -----------------------------------------------------------------------------


def test_bounds_that_are_tensors_get_the_gradient_where_they_hold():
    for call in (tg.clip, np.clip, lambda x, a, b: x.clamp(a, b)):
        x, low, high = leaf(-2.0, 0.5, 3.0, 1.0), leaf(-1.0, -1.0, -1.0, 1.0), leaf(2.0)
        y = call(x, low, high)
        assert y.tolist() == [-1.0, 0.5, 2.0, 1.0]
        y.backward([1.0, 10.0, 100.0, 1000.0])
        assert x.grad.tolist() == [0.0, 10.0, 0.0, 1000.0]  # at a bound, x has it
        assert low.grad.tolist() == [1.0, 0.0, 0.0, 0.0] and high.grad.tolist() == [100.0]
    assert row().clip(leaf(2.0)).tolist() == [2.0, 2.0, 3.0]
    assert row().clip(max=leaf(2.0)).tolist() == [1.0, 2.0, 2.0]


def test_the_slope_of_zero_to_a_power():
    """∂aᵇ/∂b = aᵇ log a: 0 where a = 0 and b ≥ 0, whose limit it is for b > 0."""
    a = tg.tensor(np.array([0.0, 0.0, 0.0, 0.0, 2.0]))
    b = tg.tensor(np.array([0.0, 0.5, 0.999, 2.0, 0.5]), requires_grad=True)
    y = a**b
    np.testing.assert_array_equal(y.detach().numpy(), a.detach().numpy() ** b.detach().numpy())
    y.sum().backward()
    np.testing.assert_allclose(b.grad.numpy(), [0, 0, 0, 0, math.sqrt(2) * math.log(2)], rtol=1e-15)
    a, b = leaf(0.0, 0.0, 0.0, 2.0), row(4) - 1.0
    (a**b).sum().backward()
    assert a.grad.tolist() == [0.0, 1.0, 0.0, 12.0]  # 0⁰ is 1 whatever b does


def test_sums_of_long_and_short_rows_are_exact_in_every_direction():
    """Both sides of the length from which rows are added in pairs."""
    for shape in ((3, 255), (3, 256), (3, 257), (2, 700), (300, 2), (257, 257)):
        x = np.random.default_rng(1).integers(-9, 9, shape).astype(np.float32)
        for axis in (0, 1, -1, -2, None):
            for keepdims in (False, True):
                t = tg.tensor(x, requires_grad=True)
                y = t.sum(axis, keepdims)
                wanted = x.sum(axis, keepdims=keepdims)
                assert y.shape == wanted.shape
                np.testing.assert_array_equal(y.detach().numpy(), wanted)
                y.backward(np.full(wanted.shape, 2.0, np.float32))
                assert (t.grad.numpy() == 2).all() and t.grad.shape == shape


def test_a_long_row_of_float32_is_added_in_pairs():
    x = np.full((2, 20_000), 0.1, np.float32)
    exact = 20_000 * float(np.float32(0.1))
    assert abs(tg.tensor(x).sum(1)[0].item() - exact) < 2e-6 * exact


def test_rows_columns_and_numbers_are_repeated_as_numpy_does():
    for shape, full in (
        ((), ()), ((), (4,)), ((), (20, 20)), ((1,), (3,)), ((3, 1), (3, 5)), ((3, 1), (3, 3, 1)),
        ((3, 1), (3, 3, 5)), ((1, 5), (3, 5)), ((3, 5), (3, 5)), ((1, 1), (3, 5)), ((5,), (3, 5)),
    ):  # fmt: skip
        for x in (np.arange(math.prod(shape), dtype=np.float32).reshape(shape) + 1.0,
                  (np.arange(math.prod(shape)) + 1).reshape(shape[::-1]).T):  # fmt: skip
            for ours in (table.broadcast_to(x, full), tg.tensor(x).expand(full).numpy()):
                np.testing.assert_array_equal(ours, np.broadcast_to(x, full))
                assert ours.shape == full and ours.dtype == x.dtype


def test_extrema_of_tall_and_wide_matrices():
    for shape in ((7, 3), (3, 7), (7, 1), (1, 7), (300, 2)):
        x = np.random.default_rng(2).permutation(math.prod(shape)).reshape(shape) * 1.0
        for axis in (0, 1, -1):
            for keepdims in (False, True):
                for ours, numpys in ((tg.amax, np.max), (tg.amin, np.min)):
                    t = tg.tensor(x, requires_grad=True)
                    y, wanted = ours(t, axis, keepdims), numpys(x, axis, keepdims=keepdims)
                    np.testing.assert_array_equal(y.detach().numpy(), wanted)
                    assert y.shape == wanted.shape
                    y.sum().backward()
                    at = x == numpys(x, axis, keepdims=True)
                    np.testing.assert_array_equal(t.grad.numpy(), at * 1.0)


def test_operations_are_called_by_name_and_by_position_alike():
    x, y = row(), 2 * row()
    for a, b in (
        (table.cumsum(x, axis=0), table.cumsum(x, 0)),
        (table.amax(x, keepdims=True), table.amax(x, None, True)),
        (table.concatenate(x, y), table.concatenate(x, y, axis=0)),
        (table.pad(x, widths=((1, 2),)), table.pad(x, ((1, 2),), 0.0)),
        (table.pad(x, ((1, 2),), value=5.0), table.pad(x, ((1, 2),), 5.0)),
        (table.clip(x, high=2.0, low=1.5), table.clip(x, 1.5, 2.0)),
    ):  # fmt: skip
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert repr(table.cumsum.op) == "cumsum" and str(table.exp.op) == "exp"


def test_where_takes_a_condition_of_any_kind():
    a, b = row(), -row()
    for condition in ([True, False, True], [1, 0, 2], np.array([0.5, 0.0, -1.0]), (1, 0, 1)):
        assert tg.where(condition, a, b).tolist() == [1.0, -2.0, 3.0]
    assert tg.where(0, a, b).tolist() == [-1.0, -2.0, -3.0]
    assert tg.where(True, a, b).tolist() == [1.0, 2.0, 3.0]


def test_a_condition_of_numbers_chooses_where_gradients_go_too():
    for condition in ([1, 0, 2], [True, False, True], np.array([0.5, 0.0, -1.0])):
        a, b = leaf(1.0, 2.0, 3.0), leaf(4.0, 5.0, 6.0)
        tg.where(condition, a, b).backward([1.0, 10.0, 100.0])
        assert a.grad.tolist() == [1.0, 0.0, 100.0] and b.grad.tolist() == [0.0, 10.0, 0.0]


def test_a_rule_of_two_operands_may_have_a_setting():
    scaled = rule.differentiable(
        lambda g, b, scale: g * b * scale, lambda g, a, scale: g * a * scale
    )
    product = scaled(lambda a, b, scale=2.0: a * b * scale)
    for call, factor in (
        (product, 2.0),
        (lambda a, b: product(a, b, 5.0), 5.0),
        (lambda a, b: product(a, b, scale=5.0), 5.0),
        (lambda a, b: product(a=a, b=b, scale=5.0), 5.0),
        (lambda a, b: product(a, scale=5.0, b=b), 5.0),
    ):
        a, b = leaf(3.0), leaf(7.0)
        y = call(a, b)
        y.backward([1.0])
        assert y.tolist() == [21 * factor]
        assert (a.grad.tolist(), b.grad.tolist()) == ([7 * factor], [3 * factor])
    assert product(np.array(3.0), 7.0) == 42.0
    with pytest.raises(TypeError, match=r"\(a, b, scale\) does not take"):
        product(leaf(1.0), leaf(1.0), size=2)


def test_no_gradient_goes_where_a_rule_has_none():
    product = rule.rule(lambda a, b: a * b, lambda g, b: g * b, None)
    a, b = leaf(3.0), leaf(7.0)
    product(a, b * 2).backward([1.0])
    assert a.grad.tolist() == [14.0] and b.grad is None


# --- the chain rule -------------------------------------------------------------------------


def test_a_gradient_that_is_given_takes_the_dtype_of_its_tensor():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (x * 3).backward(tg.tensor(np.array([1.0, 10.0])))
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [3.0, 30.0]
    y = tg.tensor(np.array([1.0, 2.0]), requires_grad=True)
    (y * 3).backward([1, 10])
    assert y.grad.dtype == np.float64 and y.grad.tolist() == [3.0, 30.0]


def test_sizes_of_one_that_an_assignment_drops_come_back_in_its_gradient():
    v = tg.tensor([[[2.0], [3.0]]], requires_grad=True)
    y = tg.zeros(2, 1)
    y[...] = v
    (y * tg.tensor([[5.0], [7.0]])).sum().backward()
    assert v.grad.tolist() == [[[5.0], [7.0]]]


def test_what_was_added_later_in_place_gets_no_gradient_from_before():
    x, w, later = tg.zeros(2, dtype=np.float64), leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = x + w
    x += later
    y.backward([1.0, 10.0])
    assert w.grad.tolist() == [1.0, 10.0] and later.grad is None
    x.backward([5.0, 7.0])
    assert later.grad.tolist() == [5.0, 7.0]


def test_a_loss_of_one_element_needs_no_gradient():
    for shape in ((), (1,), (1, 1)):
        x = tg.tensor(np.full(shape, 3.0), requires_grad=True)
        (x * x).backward()
        assert x.grad.shape == shape and x.grad.item() == 6.0 and x.grad.dtype == np.float64


def test_a_certain_right_answer_costs_nothing_next_to_a_live_target():
    p, y = leaf(1.0, 0.0), leaf(1.0, 0.0)
    loss = F.binary_cross_entropy(p, y, reduction="sum")
    assert loss.item() == 0.0


def test_a_loaded_state_goes_into_the_tensors_that_hold_the_old_one():
    w = leaf(1.0, 2.0)
    optimizer = tg.optim.SGD([w], lr=0.1, momentum=0.9)
    (w * w).sum().backward()
    optimizer.step()
    held, state = optimizer.state[w]["momentum_buffer"], copy.deepcopy(optimizer.state_dict())
    before = held.tolist()
    optimizer.step()
    assert held.tolist() != before
    optimizer.load_state_dict(state)
    assert optimizer.state[w]["momentum_buffer"] is held and held.tolist() == before


def test_zero_grad_can_leave_zeros():
    w = leaf(1.0, 2.0)
    optimizer = tg.optim.SGD([w], lr=0.1)
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is None
    (w * w).sum().backward()
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0.0, 0.0] and w.grad.dtype == w.dtype
    (w * w).sum().backward()
    optimizer.zero_grad()
    assert w.grad is None


def test_a_leaf_that_is_not_asked_for_gets_none():
    a, b = leaf(1.0), leaf(2.0)
    assert grad((a * 2.0).sum(), [a, b], allow_unused=True)[1] is None
    y = a * b
    (g,) = grad(y.sum(), a, retain_graph=False)
    assert g.tolist() == [2.0] and a.grad is None
    with pytest.raises(RuntimeError, match="freed"):
        y.backward(np.ones(1))


def test_several_outputs_weigh_as_they_are_told():
    x = leaf(1.0, 2.0)
    y, z = x * 3, (x * x).sum()
    (g,) = grad([y, z, z], x, [np.array([1.0, 10.0]), tg.tensor(2.0), None])
    assert g.tolist() == [3 + 2 * 3, 30 + 4 * 3]


def test_products_with_a_jacobian_of_what_is_constant_are_zero():
    x = row(2)
    constant = tg.ones(3)
    assert vjp(lambda x: constant, x, tg.ones(3))[1].tolist() == [0.0, 0.0]
    (y, z), (p, q) = jvp(lambda x: (x * x, constant), x, tg.tensor(np.array([1.0, 10.0])))
    assert y.tolist() == [1.0, 4.0] and z.tolist() == [1.0] * 3
    assert p.tolist() == [2.0, 40.0] and q.tolist() == [0.0] * 3
    y, p = jvp(lambda x: constant, x, x)
    assert y.tolist() == [1.0] * 3 and p.tolist() == [0.0] * 3
    (y, z), g = vjp(lambda x: (x * x, x.sum()), x, [tg.ones(2), tg.tensor(5.0)])
    assert (y.tolist(), z.item(), g.tolist()) == ([1.0, 4.0], 3.0, [7.0, 9.0])
    (y,), (p, q) = vjp(lambda a, b: (a * b,), (row(2), 3 * row(2)), [tg.ones(2)])
    assert (y.tolist(), p.tolist(), q.tolist()) == ([3.0, 12.0], [3.0, 6.0], [1.0, 2.0])


def test_jacobians_of_several_inputs_and_outputs():
    a, b = row(2), 3 * row(2)
    rows = jacobian(lambda a, b: (a * b, a.sum()), (a, b))
    assert [[j.tolist() for j in pair] for pair in rows] == [
        [[[3.0, 0.0], [0.0, 6.0]], [[1.0, 0.0], [0.0, 2.0]]],
        [[1.0, 1.0], [0.0, 0.0]],
    ]
    assert jacobian(lambda x: x[:0], a).shape == (0, 2)
    assert jacobian(lambda x: tg.ones(3), a).tolist() == [[0.0, 0.0]] * 3
    x = leaf(1.0, 2.0)
    j = jacobian(lambda x: x**3, x, create_graph=True)
    (j * j).sum().backward()  # Σ (3x²)² has the slope 36 x³
    assert x.grad.tolist() == [36.0, 288.0]
    ((aa, ab), (ba, bb)) = hessian(lambda a, b: (a * a * b).sum(), (a, b))
    assert aa.tolist() == [[6.0, 0.0], [0.0, 12.0]] and bb.tolist() == [[0.0, 0.0]] * 2
    assert ab.tolist() == ba.tolist() == [[2.0, 0.0], [0.0, 4.0]]
    assert hessian(lambda x: tg.tensor(1.0), a).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_checks_of_functions_with_constants():
    """An output without a gradient is constant, and an input that needs none is left alone."""
    x, w = leaf(0.5, 1.5), row(2)
    assert gradcheck(lambda x, w: (x * w, w * 2.0), (x, w))
    assert gradgradcheck(lambda x, w: (x * x * w, w * 2.0), (x, w))
    with pytest.raises(GradcheckError, match="output 1"):
        gradcheck(lambda x: (x * 2.0, (x.detach() + 0 * x) * 3.0), x)


def test_weights_of_a_second_check_are_given_or_drawn_as_in_pytorch():
    """The numbers that PyTorch draws next: after none, after weights in each precision, none."""
    seen = []
    for dtype, *weights in ((tg.float32,), (tg.float64,), (tg.float64, tg.ones(5))):
        tg.manual_seed(0)
        x = tg.zeros(5, dtype=dtype, requires_grad=True)
        assert gradcheck(tg.exp, x) and gradgradcheck(tg.exp, x, *weights)
        seen.append(tg.rand(1).item())
    assert seen == [0.6340786814689636, 0.3488934636116028, 0.49625658988952637]
    wrong = rule.rule(np.exp, lambda g, y: g * g * y)  # linear in g only where g is 1
    with pytest.raises(GradcheckError):
        gradgradcheck(wrong, x, leaf(0.5, 1.0, 1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="2 grad_outputs"):
        gradgradcheck(tg.exp, x, (x, x))


@pytest.mark.parametrize("check, slope", [(gradcheck, 2.0), (gradgradcheck, 4.0)])
def test_a_check_has_the_bounds_and_the_step_that_it_says(check, slope):
    """|analytic - numeric| <= 1e-5 + 1e-3 |numeric|, with a step of 1e-6, as PyTorch has them."""

    def agrees(off, **options):
        twice = rule.rule(lambda x: x * 2.0, lambda g: g * (2.0 + off))
        function = twice if check is gradcheck else lambda x: twice(x) * x
        return check(function, *given, **options, raise_exception=False)

    given = [leaf(3.0)] if check is gradcheck else [leaf(3.0), leaf(1.25)]
    assert agrees(1e-3 * slope) and not agrees(1.03e-3 * slope)
    assert agrees(0.4e-5, rtol=0.0) and not agrees(3e-5, rtol=0.0)
    assert agrees(2.4e-2 * slope, rtol=2.5e-2) and not agrees(2.4e-2 * slope)
    assert agrees(0.1, atol=0.3) and not agrees(0.1)
    bent = {gradcheck: lambda x: x**3, gradgradcheck: lambda x: x**4}[check]
    assert check(bent, leaf(0.0))
    assert not check(bent, leaf(0.0), eps=0.1, raise_exception=False)
    with pytest.raises(GradcheckError, match="the central difference"):
        check(bent, leaf(0.0), eps=0.1)


def test_the_step_of_a_difference_is_the_one_that_it_says():
    x = leaf(0.5, -2.0)
    exact = 3 * np.array([0.25, 4.0])

    def cubes():
        return (x**3).sum()

    np.testing.assert_allclose(tg.autograd.numerical_grad(cubes, x), exact, rtol=1e-8)
    found = tg.autograd.numerical_grad(cubes, x, 0.1)
    np.testing.assert_allclose(found, exact + 0.01, rtol=1e-12)  # ((x + h)^3 - (x - h)^3)/2h


def test_a_strong_curve_is_no_kink():
    """Its two slopes differ too, but by less where the step is smaller."""
    wrong = rule.rule(lambda x: x * x * 1e4, lambda g, x: g * x * 0.0 + g)
    with pytest.raises(GradcheckError) as error:
        gradcheck(lambda x: wrong(x), leaf(0.0))
    assert "kink" not in str(error.value) and "is wrong for operand 0" in str(error.value)
    with pytest.raises(GradcheckError, match="sits on a kink"):
        gradcheck(lambda x: x.relu() * 1e4, leaf(0.0))


def test_a_wrong_function_of_right_rules_accuses_no_rule():
    """What was cut from the graph has no rule to be blamed; steps are flat rules among them."""
    x = leaf(0.7, 1.6)
    with pytest.raises(GradcheckError) as error:
        gradcheck(lambda x: x * x.detach() + x.floor() + (x > 1).double(), x)
    assert "rule of" not in str(error.value)


# --- Tensor ---------------------------------------------------------------------------------


class Own(tg.Tensor):
    """A subclass of a user."""


def test_a_subclass_stays_one():
    x = Own([1.0, 2.0], requires_grad=True)
    assert type(x) is Own and x.requires_grad and x.tolist() == [1.0, 2.0]
    assert type(copy.deepcopy(x)) is Own and type(pickle.loads(pickle.dumps(x))) is Own
    y = (x * x).sum()
    y.backward()
    assert type(y) is tg.Tensor and x.grad.tolist() == [2.0, 4.0]


def test_a_leaf_is_switched_on_and_off():
    x = row(2)
    assert x.requires_grad_() is x and x.requires_grad
    assert x.requires_grad_(True) is x and x.requires_grad_(False) is x and not x.requires_grad
    y = leaf(2.0) * 3.0
    assert y.requires_grad_() is y and y.requires_grad and not y.is_leaf
    z = (row(2) * 2).requires_grad_()
    (z * z).sum().backward()
    assert z.is_leaf and z.grad.tolist() == [4.0, 8.0]


def test_numbers_of_numpy_and_lists_take_the_dtype_of_the_floats_beside_them():
    x = tg.tensor([1.5, 2.5])
    for value, wanted in ((np.float64(2), 3.0), (np.int64(2), 3.0), (2, 3.0), ([2, 2], 3.0),
                          ((2.0, 2.0), 3.0), ([np.float64(2)] * 2, 3.0)):  # fmt: skip
        assert (x * value).dtype == np.float32 and (x * value).tolist()[0] == wanted
    assert (x * np.full(2, 2.0)).dtype == np.float64  # an array keeps its own
    whole = tg.tensor([1, 2])
    assert (whole * 2).dtype == np.int64 and (whole * 2.0).dtype == np.float32
    assert (whole * [True, False]).dtype == np.int64
    assert (tg.tensor([True]) * 0.5).dtype == np.float32


def test_numbers_that_do_not_fit_into_a_dtype():
    assert tg.tensor([1e300, -1e39, 3e38]).isinf().tolist() == [True, True, False]  # as PyTorch
    assert tg.tensor([1e300], dtype=np.float64).item() == 1e300
    for data, dtype in (([300], np.uint8), ([-1], np.uint8), ([2**40], np.int32)):
        with pytest.raises(ValueError, match=r"does not fit into u?int"):
            tg.tensor(data, dtype)
    layer = nn.Linear(1, 2, bias=False)
    with pytest.raises(RuntimeError, match=r"float64.* does not fit into float32"):
        layer.load_state_dict({"weight": np.array([[1e300], [1.0]])})
    layer.load_state_dict({"weight": np.array([[math.inf], [1.0]])})
    assert layer.weight.tolist() == [[math.inf], [1.0]]


def test_shared_constants_keep_their_sign_and_their_kind():
    one = tg.tensor([1.0])
    for _ in range(2):
        assert math.copysign(1.0, (one * 0.0).item()) == 1.0
        assert math.copysign(1.0, (one * -0.0).item()) == -1.0
        assert math.copysign(1.0, (one * 0).item()) == 1.0
        assert (tg.tensor([2]) * True).dtype == np.int64 and (tg.tensor([2]) * 1).item() == 2
        assert (tg.tensor([True]) & True).dtype == bool
    zero = tg.tensor(np.array(0.0))
    assert math.copysign(1.0, (zero + -0.0).item()) == 1.0 and (zero - 0.0).item() == 0.0


def test_aliases_are_told_of_a_write():
    """Two nodes that look at the same numbers: a gradient that read them says so."""
    x = tg.tensor(np.array([1.0, 2.0]))
    w = leaf(3.0, 4.0)
    y = w * x
    x.detach().fill_(7.0)
    assert x.tolist() == [7.0, 7.0]
    with pytest.raises(RuntimeError, match="changed it in place since"):
        y.sum().backward()


# --- gradients of a whole model -----------------------------------------------------------------


def test_clipping_a_norm_of_several_gradients():
    a, b, c = leaf(0.0), leaf(0.0, 0.0), leaf(0.0)
    a.grad, b.grad = tg.tensor(np.array([2.0])), tg.tensor(np.array([3.0, 6.0]))
    for parameters in ([a, b, c], (p for p in (a, b, c))):
        total = utils.clip_grad_norm_(parameters, 3.5)
    assert total.item() == pytest.approx(3.5, rel=1e-6) and c.grad is None
    assert total.dtype == np.float64
    d = tg.tensor([3.0, 4.0], requires_grad=True)
    d.sum().backward()
    assert utils.clip_grad_norm_(d, 9.0).dtype == np.float32
    np.testing.assert_allclose(b.grad.numpy(), [1.5, 3.0], rtol=1e-6)
    before = b.grad.tolist()
    utils.clip_grad_norm_([b], 100.0)
    assert b.grad.tolist() == before
    utils.clip_grad_value_(b, 2.0)
    np.testing.assert_allclose(b.grad.numpy(), [1.5, 2.0], rtol=1e-6)
    assert utils.clip_grad_norm_([], 1.0).item() == 0.0 == utils.clip_grad_norm_(c, 1.0).item()


def test_repr_of_layers_and_optimisers():
    assert repr(tg.nn.Dropout(0.25)) == "Dropout(p=0.25, inplace=False)"
    w = leaf(1.0)
    optimizer = tg.optim.SGD([{"params": [w], "lr": 0.5}, {"params": leaf(2.0)}], momentum=0.9)
    group = (  # as PyTorch 2.13 prints it
        "Parameter Group {}\n    dampening: 0\n    differentiable: False\n    foreach: None\n"
        "    fused: None\n    lr: {}\n    maximize: False\n    momentum: 0.9\n"
        "    nesterov: False\n    weight_decay: 0\n"
    )
    assert repr(optimizer) == f"SGD (\n{group.format(0, 0.5)}\n{group.format(1, 0.001)})"


def test_functions_of_the_engine_have_numpys_defaults():
    x = np.random.default_rng(3).permutation(30).reshape(2, 3, 5) / 7 - 2
    e = np.exp(x)
    for ours, wanted in (
        (functions.mean(x), np.mean(x)),
        (functions.var(x), np.var(x)),
        (functions.std(x), np.std(x)),
        (functions.var(x, 0), np.var(x, 0)),
        (functions.std(x, 0, True), np.std(x, 0, keepdims=True)),
        (functions.prod(x), np.prod(x)),
        (functions.prod(x, 1), np.prod(x, 1)),
        (functions.logsumexp(x), np.log(e.sum())),
        (functions.logsumexp(x, 1), np.log(e.sum(1))),
        (functions.softmax(x), e / e.sum(-1, keepdims=True)),
        (functions.log_softmax(x), np.log(e / e.sum(-1, keepdims=True))),
        (functions.sort(x)[0], np.sort(x)),
        (functions.sort(x, 1)[1], np.argsort(x, 1)),
        (functions.sorting(x), np.argsort(x)),
        (functions.tril(x), np.tril(x)),
        (functions.triu(x), np.triu(x)),
        (functions.split(x, 1)[1], x[1:]),
        (functions.split_like_numpy(x, 2)[0], x[:1]),
        (table.sum(x), np.sum(x)),
        (table.sum(x, 1), np.sum(x, 1)),
        (table.amax(x), np.max(x)),
        (table.amin(x, 1), np.min(x, 1)),
        (table.norm(x), np.linalg.norm(x)),
        (table.norm(x, 1), np.linalg.norm(x, axis=1)),
        (table.argmax(x), np.argmax(x)),
        (table.argmin(x, 1), np.argmin(x, 1)),
        (table.argsort(x), np.argsort(x)),
        (table.all(x > -1), np.all(x > -1)),
        (table.any(x > 1, 1), np.any(x > 1, 1)),
        (table.concatenate(x, x), np.concatenate([x, x])),
        (tg.stack([1.0, 2.0]).numpy(), [1.0, 2.0]),
        (table.stack(x, x), np.stack([x, x])),
        (table.pad(x, ((1, 0), (0, 0), (0, 2))), np.pad(x, ((1, 0), (0, 0), (0, 2)))),
        (table.scatter(x, index=(slice(1, 3),), shape=(3, 3, 5))[1:], x),
    ):
        assert np.shape(ours) == np.shape(wanted)
        np.testing.assert_allclose(ours, wanted, rtol=1e-13)


def test_float32_stays_float32_on_every_way_back():
    """Rules make zeros and ones of their own; a wide one would make all that follows wide."""
    x, ids = np.ones((3, 4), np.float32), np.array([0, 2])
    for y in (
        table.scatter(x[:2], ids, index=(table.SLOT,), shape=(3, 4)),
        table.scatter(x[:2], index=(slice(0, 2),), shape=(3, 4)),
        table.put(x, np.float32(2), index=(0,)),
        table.overlap_add(np.ones((2, 2, 2, 3), np.float32), (3, 4), (2, 3), (0, 1)),
        table.erfc(x), table.masked(x, x > 0), table.norm(x, 1), table.sum(x, 0), table.prod(x),
        table.broadcast_to(x[0, 0:1], (3, 4)), table.cumprod(x, 1), table.clip(x, 0.0, 2.0),
    ):  # fmt: skip
        assert y.dtype == np.float32


def test_pieces_of_plain_arrays():
    """Functions of the engine run on arrays as they do on Tensors."""
    x = np.arange(6.0).reshape(2, 3)
    assert [p.tolist() for p in functions.split(x, 2, 1)] == [[[0, 1], [3, 4]], [[2], [5]]]
    np.testing.assert_allclose(functions.softmax(x, 1)[0], np.exp(x[0]) / np.exp(x[0]).sum())
    assert table.concatenate(x, x, axis=0).shape == (4, 3) and table.add(1.0, 2.0) == 3.0
    assert table.kept_shape((2, 3), None) == (1, 1) and table.kept_shape((), None) == ()
    assert table.norm(x, None, True).shape == (1, 1)
    assert F.one_hot(np.array([1])).tolist() == [[0, 1]]


@pytest.mark.parametrize(("function", "wanted"), [
    (lambda x: x.softmax(0), np.zeros(0)),
    (lambda x: x.log_softmax(-1), np.zeros(0)),
    (lambda x: x.logsumexp(0), np.array(-np.inf)),
    (lambda x: x.reshape(2, 0).logsumexp(1, keepdim=True), np.full((2, 1), -np.inf)),
    (lambda x: x.reshape(2, 0).log_softmax(1), np.zeros((2, 0))),
    (lambda x: x.reshape(0, 2).softmax(0), np.zeros((0, 2))),
    (lambda x: tg.cat(x.split(2)), np.zeros(0)),
    (lambda x: tg.stack(x.reshape(2, 0).chunk(3, 1)), np.zeros((1, 2, 0))),
])  # fmt: skip
def test_nothing_is_one_piece_and_has_a_softmax(function, wanted):
    x = tg.tensor(np.zeros(0), requires_grad=True)
    for call in (function, tg.compile(lambda x: function(x))):
        y = call(x)
        np.testing.assert_array_equal(y.detach().numpy(), wanted)
    function(x).sum().backward()
    assert x.grad.shape == (0,)


# --- as in PyTorch: shapes of products, integers divided by 0, inf and nan without a word -------

SHAPES = [(), (2,), (3,), (2, 2), (3, 2), (1, 2, 2), (3, 2, 2)]
TAKEN = {
    "dot": [((2,), (2,)), ((3,), (3,))],
    "mv": [((2, 2), (2,)), ((3, 2), (2,))],
    "mm": [((2, 2), (2, 2)), ((3, 2), (2, 2))],
    "bmm": [((1, 2, 2), (1, 2, 2)), ((3, 2, 2), (3, 2, 2))],
    "outer": [((2,), (2,)), ((2,), (3,)), ((3,), (2,)), ((3,), (3,))],
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_product_takes_the_shapes_that_pytorch_takes(name):
    taken = []
    for shapes in itertools.product(SHAPES, SHAPES):
        a, b = (tg.ones(*shape) for shape in shapes)
        for call in (getattr(tg, name), getattr(tg.Tensor, name)):
            try:
                call(a, b)
            except ValueError as error:
                assert str(error).startswith(f"{name}: shapes {shapes[0]} and {shapes[1]}; wanted")
            else:
                taken.append(shapes)
    assert taken == [shapes for shapes in TAKEN[name] for _ in range(2)]


def test_what_is_added_to_a_product_repeats_to_its_shape():
    a, b = tg.ones(2, 2), tg.ones(3, 2, 2)
    assert tg.addmm(tg.ones(2), a, a).tolist() == [[3.0, 3.0]] * 2
    assert tg.baddbmm(a, b, b).tolist() == [[[3.0, 3.0]] * 2] * 3
    for call, words in [
        (lambda: tg.addmm(b, a, a), r"addmm: the input of shape \(3, 2, 2\) does not repeat"),
        (lambda: tg.baddbmm(b, b[:1], b[:1]), r"baddbmm: the input .* to \(1, 2, 2\)"),
        (lambda: tg.addmm(a, b, a), r"addmm: shapes \(3, 2, 2\) and \(2, 2\); wanted \(n, k\) and"),
        (lambda: tg.baddbmm(a, b, a), r"baddbmm: shapes .* wanted \(b, n, k\) and \(b, k, m\)"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()


def test_integers_are_not_divided_by_0():
    a, b = tg.tensor([7, -7, 3]), tg.tensor([2, 0, -2])
    calls = [
        lambda a, b: a // b, lambda a, b: a % b, tg.fmod, tg.remainder, tg.floor_divide,
        lambda a, b: tg.div(a, b, rounding_mode="trunc"),
        lambda a, b: tg.div(a, b, rounding_mode="floor"), lambda a, b: 7 // b,
        lambda a, b: a.clone().floor_divide_(b), lambda a, b: a // 0, lambda a, b: a % False,
        lambda a, b: np.floor_divide(a, b), lambda a, b: a.to(tg.uint8) // b.bool(),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(RuntimeError, match="ZeroDivisionError: integers are divided by 0"):
            call(a, b)
    step = tg.compile(lambda a, b: a // b)
    assert step(a, tg.tensor([2, 2, -2])).tolist() == [3, -4, -2]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            step(a, b)
    assert step(a, tg.tensor([2, 2, 2])).tolist() == [3, -4, 1]
    big = 2**62 + 1
    whole = tg.div(tg.tensor([big, -7, 7]), tg.tensor([1, 2, -2]), rounding_mode="trunc")
    assert whole.tolist() == [big, -3, -3]
    assert tg.div(tg.tensor([-7.0]), 2, rounding_mode="trunc").tolist() == [-3.0]


SILENT = """
import tinygrad_ce as tg
x = tg.tensor([0.0, -1.0, 1.0, 1e30], requires_grad=True)
inf, big = x.detach() / 0, x.detach() * 1e8
step = tg.compile(lambda x: (tg.log(x) + x / 0 - tg.exp(x * 1000)).sum())
for y in (
    tg.log(x), tg.sqrt(x), 1 / x, x / x, tg.exp(x * 1000), tg.asin(x * 3), x**0.5, x**-1,
    big * big, big + big * 1e8, inf - inf, x // 0, x % 0, inf.long(), (x * 1e30).half(),
    tg.tensor([]).mean(), tg.ones(1).std(), tg.softmax(inf, 0), (tg.ones(3) * 3e38).prod(),
    (tg.ones(3) * 3e38).sum(), tg.tensor(-1.0).log(), tg.tensor(0.0) / 0, tg.cos(inf), step(inf),
    step(x), tg.nn.functional.cross_entropy(inf[None], tg.tensor([0])), inf @ tg.zeros(4),
):
    if y.requires_grad:
        y.sum().backward()
"""


def test_inf_and_nan_come_without_a_word():
    told = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")


def test_what_counts_looks_at_results_that_need_a_gradient_as_at_any_others():
    x = tg.tensor([1.0, 0.0, 2.0], requires_grad=True)
    rows, wanted = x * 2, np.array([2.0, 0.0, 4.0])
    asked = [
        (tg.isclose(rows, rows), np.ones(3, bool)),
        (tg.nonzero(rows), np.argwhere(wanted)),
        (tg.argwhere(rows), np.argwhere(wanted)),
        (rows.nonzero(as_tuple=True)[0], np.nonzero(wanted)[0]),
        (tg.unique(rows), np.unique(wanted)),
        (tg.bincount(tg.tensor([0, 1, 1]), rows), [2.0, 4.0]),
        (tg.histc(rows, 2), np.histogram(wanted, 2)[0]),
        (tg.searchsorted(tg.sort(rows)[0], rows), [1, 0, 2]),
        (np.isfinite(rows), np.isfinite(wanted)),
        (np.count_nonzero(rows), 2),
    ]
    for found, expected in asked:
        assert not found.requires_grad
        np.testing.assert_array_equal(found.numpy(), expected)
