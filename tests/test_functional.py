"""nn.functional: values and gradients against PyTorch's, conventions, and what is refused."""

import math
import warnings

import nn_cases as cases
import numpy as np
import pytest
import torch_cases

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.autograd import grad, gradcheck, gradgradcheck
from tinygrad_ce.nn import functional as F

FROZEN, _ = cases.read()
BOTH = (*cases.CASES, *torch_cases.FUNCTIONS)


def leaf(*values):
    return tg.tensor(list(values), requires_grad=True)


# --- PyTorch's numbers --------------------------------------------------------------------------


def called(case, dtype):
    """The value, and the gradients of the inputs that are differentiated."""
    inputs = [
        tg.tensor(a.astype(dtype) if a.dtype.kind == "f" else a, requires_grad=i in case.wrt)
        for i, a in enumerate(case.inputs)
    ]
    y = case.call(F, *inputs)
    y.backward(cases.incoming(y.shape).astype(dtype))
    return [y.detach().numpy(), *(inputs[i].grad.numpy() for i in case.wrt)]


@pytest.mark.parametrize(("dtype", "ulps"), [(np.float64, 16), (np.float32, 4)])
@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_value_and_gradients_are_pytorchs(case, dtype, ulps):
    for ours, exact in zip(called(case, dtype), FROZEN[case.name], strict=True):
        cases.agree(ours, exact, ulps, dtype)


@pytest.mark.parametrize("case", [case for case in BOTH if case.smooth], ids=lambda case: case.name)
def test_both_derivatives_agree_with_differences(case):
    def function(*moved):
        inputs = dict(zip(case.wrt, moved))
        return case.call(F, *(inputs.get(i, tg.tensor(a)) for i, a in enumerate(case.inputs)))

    inputs = [tg.tensor(case.inputs[i], requires_grad=True) for i in case.wrt]
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


def test_every_function_has_a_case():
    tested = {case.name.split("-")[0] for case in BOTH} | {"one_hot"}
    tested |= {name.split("-")[0] for name in torch_cases.DRAWN}
    functions = {name: f for name, f in vars(F).items() if callable(f) and name.islower()}
    public = {name for name, f in functions.items() if ">>>" in (f.__doc__ or "")}
    assert len(public) > 20 and public - tested == set()
    assert F.log_sigmoid is F.logsigmoid


def test_a_wrong_gradient_would_be_seen():
    case = next(case for case in cases.CASES if case.name == "softmax-dim=1")
    wrong = case._replace(call=lambda F, x: F.softmax(x.detach(), dim=1) + 0.0 * x)
    with pytest.raises(AssertionError):
        for ours, exact in zip(called(wrong, np.float64), FROZEN[case.name]):
            cases.agree(ours, exact, 16)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_draws_pytorchs_mask(p, double):
    for ours, exact in zip(cases.dropped(tg, p, double), FROZEN[f"dropout-{p}-{double}"]):
        assert (ours == exact.astype(ours.dtype)).all()
    assert 0 < (exact == 0).sum() < exact.size


def test_dropout_that_does_nothing_and_dropout_of_everything():
    x = leaf(1.0, -2.0, 3.0)
    tg.manual_seed(0)
    state = tg.get_rng_state()
    assert F.dropout(x, 0.0).tolist() == F.dropout(x, 0.7, training=False).tolist() == x.tolist()
    y = F.dropout(x, 1.0)
    y.sum().backward()
    assert y.tolist() == x.grad.tolist() == [0.0, 0.0, 0.0]
    assert (np.asarray(tg.get_rng_state()) == np.asarray(state)).all()  # and nothing was drawn


def test_dropout_draws_from_a_given_generator():
    x = tg.ones(40)
    first = F.dropout(x, 0.5, generator=tg.Generator().manual_seed(9))
    tg.manual_seed(9)
    assert F.dropout(x, 0.5).tolist() == first.tolist() != F.dropout(x, 0.5).tolist()


@pytest.mark.parametrize("momentum", [0.1, 0.75])
@pytest.mark.parametrize("name", cases.NORMALISED)
def test_running_statistics_are_pytorchs(name, momentum):
    found = cases.normalised(tg, cases.NORMALISED[name], momentum)
    for ours, exact in zip(found, FROZEN[f"running-{name}-{momentum}"], strict=True):
        cases.agree(ours.astype(np.float64), exact, 16)


def test_batch_norm_in_eval_leaves_the_statistics():
    mean, var = tg.tensor([1.0, 2.0]), tg.tensor([4.0, 9.0])
    x = tg.tensor([[3.0, 5.0], [1.0, 2.0]])
    y = F.batch_norm(x, mean, var, eps=0.0)
    assert y.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert (mean.tolist(), var.tolist()) == ([1.0, 2.0], [4.0, 9.0])
    F.batch_norm(x, mean, var, training=True, momentum=0.5)
    assert (mean.tolist(), var.tolist()) == ([1.5, 2.75], [3.0, 6.75])


def test_one_hot():
    assert F.one_hot([[0, 2], [1, 0]]).tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [1, 0, 0]]]
    y = F.one_hot(tg.tensor(1), 4)
    assert y.tolist() == [0, 1, 0, 0] and y.dtype == np.int64
    assert F.one_hot(np.zeros((2, 0), np.int64), 3).shape == (2, 0, 3)


# --- conventions --------------------------------------------------------------------------------


def test_binary_cross_entropy_is_exact_where_the_probability_is_0_or_1():
    # PyTorch clamps the logarithm at -100 and the gradient at 1e12
    p = leaf(0.0, 1.0, 1e-45, 0.0, 1.0)
    losses = F.binary_cross_entropy(p, tg.tensor([0.0, 1.0, 1.0, 0.0, 1.0]), reduction="none")
    np.testing.assert_allclose(losses.tolist(), [0.0, 0.0, 103.27893, 0.0, 0.0], rtol=1e-6)
    with np.errstate(divide="ignore"):
        wrong = F.binary_cross_entropy(
            tg.tensor([0.0, 1.0]), tg.tensor([1.0, 0.0]), reduction="none"
        )
    assert wrong.tolist() == [math.inf, math.inf]


def test_binary_cross_entropy_gives_right_certain_answers_a_finite_gradient():
    p = leaf(0.0, 1.0)
    F.binary_cross_entropy(p, tg.tensor([0.0, 1.0]), reduction="sum").backward()
    assert p.grad.tolist() == [1.0, -1.0]


def test_the_slope_of_a_target_of_binary_cross_entropy_is_minus_the_logit():
    p, y = tg.tensor([0.25, 0.25, 0.25]), leaf(0.0, 1.0, 0.5)
    F.binary_cross_entropy(p, y, reduction="sum").backward()
    np.testing.assert_allclose(y.grad.tolist(), [math.log(3)] * 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (lambda x: F.binary_cross_entropy(x, 1), math.log(4)),
        (lambda x: F.binary_cross_entropy(x, 0.0), math.log(4 / 3)),
        (lambda x: F.binary_cross_entropy_with_logits(x, 1), math.log1p(math.exp(-0.25))),
        (lambda x: F.mse_loss(x, 1.25), 1.0),
        (lambda x: F.l1_loss(x, -1), 1.25),
        (lambda x: F.huber_loss(x, 4.25), 3.5),
    ],
)
def test_a_target_may_be_one_number(loss, value):
    assert loss(tg.tensor([0.25, 0.25])).item() == pytest.approx(value, rel=1e-6)


def test_activations_keep_nan():
    for name in ("relu", "leaky_relu", "sigmoid", "softplus", "logsigmoid", "tanh", "gelu", "silu"):
        x = leaf(math.nan, 1.0)
        y = getattr(F, name)(x)
        assert math.isnan(y[0].item()) and not math.isnan(y[1].item()), name


def test_the_slopes_at_the_kinks():
    def slope(f):
        x = leaf(0.0)
        f(x).sum().backward()
        return x.grad.item()

    assert slope(F.relu) == 0.0
    assert slope(lambda x: F.leaky_relu(x, 0.25)) == 0.25
    assert slope(lambda x: F.l1_loss(x, tg.zeros(1))) == 0.0
    assert slope(lambda x: F.huber_loss(x, tg.ones(1))) == -1.0


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_relu_and_its_slope_everywhere(dtype, compiled):
    """PyTorch's: nothing passes where the result is 0, not even what is infinite; nan does."""
    data = np.array([-np.inf, -2, -0.0, 0, 1e-7, 3, np.inf, np.nan] * 40, dtype)
    x = tg.tensor(data, requires_grad=True)
    g = tg.tensor(np.array([np.inf, np.nan, -np.inf, 5, 5, -7, 2, np.inf] * 40, dtype))

    def step(x, g):
        y = F.relu(x)
        (d,) = grad(y, x, g)
        return y, d

    y, d = (tg.compile(step) if compiled else step)(x, g)
    values = np.array([0, 0, 0, 0, 1e-7, 3, np.inf, np.nan] * 40, dtype)
    np.testing.assert_array_equal(y.detach().numpy(), values)
    slopes = np.array([0, 0, 0, 0, 5, -7, 2, np.inf] * 40, dtype)
    np.testing.assert_array_equal(d.numpy(), slopes)


def test_nothing_overflows_at_the_ends():
    x = leaf(-1e30, -1e4, 1e4, 1e30)
    for name in ("sigmoid", "softplus", "logsigmoid", "relu", "leaky_relu", "silu"):
        x.grad = None
        y = getattr(F, name)(x)
        y.sum().backward()
        assert np.isfinite(y.tolist()).all() and np.isfinite(x.grad.tolist()).all(), name
    z = leaf(-1e30, 1e30)
    F.binary_cross_entropy_with_logits(z, tg.tensor([0.0, 1.0])).backward()
    assert z.grad.tolist() == [0.0, 0.0]


def test_a_forbidden_class_costs_nothing_that_is_not_its_own():
    z = tg.tensor([[0.0, -math.inf, 0.0]], requires_grad=True)
    for target in (tg.tensor([0]), tg.tensor([[0.5, 0.0, 0.5]])):
        z.grad = None
        loss = F.cross_entropy(z, target)
        loss.backward()
        assert loss.item() == pytest.approx(math.log(2)) and z.grad[0, 1].item() == 0.0


def test_ignored_samples_get_no_gradient_and_may_be_anything():
    z = tg.tensor([[1.0, 2.0], [math.inf, -math.inf]], requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        loss = F.cross_entropy(z, tg.tensor([1, -100]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1)))
    x = tg.tensor([[1.0, 2.0], [5.0, -5.0]], requires_grad=True)
    F.cross_entropy(x, tg.tensor([1, -100])).backward()
    assert x.grad[1].tolist() == [0.0, 0.0] and x.grad[0, 0].item() != 0.0


def test_the_mean_over_no_samples_is_not_a_number():
    z = tg.zeros(2, 3)
    with np.errstate(invalid="ignore"):
        assert math.isnan(F.cross_entropy(z, tg.tensor([-100, -100])).item())
    assert F.cross_entropy(z, tg.tensor([-100, -100]), reduction="sum").item() == 0.0


def test_integer_targets_do_not_widen_a_loss():
    x = leaf(1.0, 2.0)
    for loss in (F.mse_loss, F.l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits):
        for y in (tg.tensor([0, 1]), [0, 1], tg.tensor(np.array([0.0, 1.0]))):
            assert loss(x, y).dtype == np.float32


def test_ids_of_any_integer_dtype():
    z = tg.tensor(cases.numbers(3, 5))
    y = np.array([4, 0, 2])
    wanted = F.cross_entropy(z, tg.tensor(y)).item()
    for dtype in (np.uint8, np.int8, np.int16, np.int32, np.uint64, ">i4"):
        assert F.cross_entropy(z, tg.tensor(y.astype(dtype))).item() == wanted
    assert F.cross_entropy(z, y).item() == F.cross_entropy(z, [4, 0, 2]).item() == wanted
    assert F.cross_entropy(z[0], 4).item() == F.cross_entropy(z[0], tg.tensor(4)).item()


def test_settings_may_be_lists():
    z, y = tg.tensor(cases.numbers(4, 3)), tg.tensor([0, 1, 2, 1])
    weight = [1.0, 2.0, 0.5]
    for f, target in ((F.cross_entropy, y), (F.nll_loss, y)):
        assert f(z, target, weight=weight).item() == f(z, target, weight=tg.tensor(weight)).item()
    p = tg.tensor(cases.shares(4, 3))
    f = F.binary_cross_entropy_with_logits
    assert f(z, p, pos_weight=weight).item() == f(z, p, pos_weight=tg.tensor(weight)).item()


def test_of_equal_elements_the_first_gets_the_gradient_of_max_pool():
    x = tg.tensor([[[[2.0, 2.0], [2.0, 2.0]]]], requires_grad=True)
    F.max_pool2d(x, 2).sum().backward()
    assert x.grad.tolist() == [[[[1.0, 0.0], [0.0, 0.0]]]]


def test_windows_with_gaps_and_indices_are_refused_by_pools():
    x = tg.ones(1, 1, 4)
    for options in ({"dilation": 2}, {"return_indices": True}):
        with pytest.raises(ValueError, match="here windows have no gaps and give no indices"):
            F.max_pool1d(x, 2, **options)
        with pytest.raises(ValueError, match="here windows have no gaps and give no indices"):
            nn.MaxPool2d(2, **options)(tg.ones(1, 4, 4))


def test_max_pool_never_picks_the_padding():
    x = -tg.ones(1, 1, 2, 2)
    assert F.max_pool2d(x, 2, stride=1, padding=1).tolist() == [[[[-1.0] * 3] * 3]]


# --- what is refused ----------------------------------------------------------------------------

Z = cases.numbers(2, 3)
IMAGE, KERNEL = cases.numbers(1, 2, 4, 4), cases.numbers(3, 2, 2, 2)
WRONG = [
    # targets
    ("cross_entropy", (Z, [[0], [1]]), {}, ValueError, r"logits have shape \(2, 3\) and targets "
     r"\(2, 1\)\. Class ids have shape \(2,\): targets\.squeeze\(1\)"),
    ("cross_entropy", (Z, [0, 1, 2]), {}, ValueError, r"targets \(3,\)\. Wanted class ids of shape "
     r"\(2,\), or probabilities of shape \(2, 3\)"),
    ("cross_entropy", (Z, [0.0, 1.0]), {}, ValueError, r"floats; class ids .*targets\.long\(\)"),
    ("cross_entropy", (Z, [[0, 1, 0], [1, 0, 0]]), {}, ValueError, r"targets\.argmax"),
    ("cross_entropy", (Z, [True, False]), {}, TypeError, r"booleans; .*targets\.long\(\)"),
    ("cross_entropy", (Z, [0, 3]), {}, ValueError, r"id 3 is outside 0 \.\.\. 2.*3 classes"),
    ("cross_entropy", (Z, [0, -1]), {}, ValueError, r"id -1 is outside.*ignore_index is -100"),
    ("cross_entropy", (Z, [0, -1]), {"ignore_index": 0}, ValueError, "id -1 .*ignore_index is 0"),
    ("cross_entropy", (Z, np.array([200, 0], np.uint8)), {}, ValueError, "class id 200"),
    ("cross_entropy", (Z, np.array([0, -7], np.int32)), {}, ValueError, "class id -7"),
    ("cross_entropy", (Z, "01"), {}, TypeError, "got str"),
    ("cross_entropy", (Z, None), {}, TypeError, "got NoneType"),
    ("cross_entropy", (Z[0], [1]), {}, ValueError, r"targets\.squeeze\(0\)"),
    ("cross_entropy", (np.array(1.0), 0), {}, ValueError, r"a single number; wanted .*\(N, C\)"),
    ("cross_entropy", (IMAGE, [0]), {}, ValueError, r"Wanted class ids of shape \(1, 4, 4\)"),
    ("cross_entropy", (Z, [0, 1]), {"weight": [1.0, 2.0]}, ValueError, r"weight .*\(3,\), one"),
    ("cross_entropy", (Z, Z), {"weight": [1.0, 2.0]}, ValueError, r"weight has shape \(2,\)"),
    ("cross_entropy", (Z, [0, 1]), {"weight": [1.0], "label_smoothing": 0.5}, ValueError, "weight"),
    ("cross_entropy", (Z, [0, 1]), {"label_smoothing": 1.5}, ValueError, "smoothing=1.5; .*0 to 1"),
    ("cross_entropy", (Z, [0, 1]), {"reduction": "avg"}, ValueError, "'avg'; wanted .mean., .sum."),
    ("nll_loss", (Z, Z), {}, TypeError, "the targets are floats; wanted class ids"),
    ("nll_loss", (Z, [[0], [1]]), {}, ValueError, r"targets\.squeeze\(1\)"),
    ("nll_loss", (Z, [0, 5]), {}, ValueError, "nll_loss: class id 5 is outside"),
    ("nll_loss", (Z, [0, 1]), {"weight": [1.0]}, ValueError, "nll_loss: weight has shape"),
    ("nll_loss", (Z, [0, 1]), {"reduction": "avg"}, ValueError, "nll_loss: reduction='avg'"),
    *(
        (name, (shares[:, :1], shares[:, 0]), {}, ValueError,
         rf"{name}: input has shape \(3, 1\) and target \(3,\).*every pair.*target\.reshape")
        for shares in (cases.shares(3, 5),)
        for name in ("mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy", "kl_div",
                     "binary_cross_entropy_with_logits")
    ),
    *(
        (name, (cases.shares(3), "abc"), {}, TypeError, f"{name}: the target is a str")
        for name in ("mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy", "kl_div",
                     "binary_cross_entropy_with_logits")
    ),
    *(
        (name, (cases.shares(3), cases.shares(3)), {"reduction": "avg"}, ValueError,
         f"{name}: reduction='avg'")
        for name in ("mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy", "kl_div",
                     "binary_cross_entropy_with_logits")
    ),
    ("mse_loss", (Z, Z[:, :2]), {}, ValueError, r"\(2, 3\) and target \(2, 2\)"),
    ("binary_cross_entropy", (Z, Z), {}, ValueError, "wanted probabilities, 0 to 1.*with_logits"),
    ("binary_cross_entropy", (Z * math.nan, Z), {}, ValueError, "from nan to nan; wanted"),
    ("huber_loss", (Z, Z), {"delta": 0.0}, ValueError, r"delta=0\.0; wanted a positive"),
    ("gelu", (Z, "exact"), {}, ValueError, "'exact'; wanted .none. or .tanh."),
    # layers
    ("linear", (Z, cases.numbers(4, 5)), {}, ValueError, r"linear: input has shape \(2, 3\) and "
     r"weight \(4, 5\); wanted an input of shape \(\.\.\., 5\)"),
    ("linear", (Z[0], cases.numbers(4, 5)), {}, ValueError, r"linear: input has shape \(3,\)"),
    ("linear", (Z[None], cases.numbers(4, 5)), {}, ValueError, r"linear: input has shape \(1, 2"),
    ("embedding", ([0.5], Z), {}, TypeError, r"ids have dtype float32; .*ids\.long\(\)"),
    ("embedding", ([True], Z), {}, TypeError, "ids have dtype bool"),
    ("embedding", ([0, 2], Z), {}, IndexError, r"id 2 is outside 0 \.\.\. 1, the rows"),
    ("embedding", ([0, -1], Z), {}, IndexError, r"id -1 is outside 0 \.\.\. 1"),
    ("embedding", ([0], Z), {"padding_idx": 2}, IndexError, "padding_idx=2 is no row .* 2 rows"),
    ("one_hot", ([-1], 3), {}, ValueError, r"id -1 is outside 0 \.\.\. 2"),
    ("one_hot", ([3], 3), {}, ValueError, r"id 3 is outside 0 \.\.\. 2"),
    ("one_hot", ([1.0], 3), {}, TypeError, r"ids have dtype float32; .*ids\.long\(\)"),
    ("dropout", (Z, 1.5), {}, ValueError, r"p=1\.5; wanted a probability, 0 to 1"),
    ("dropout", (Z, -0.1), {"training": False}, ValueError, r"p=-0\.1; wanted"),
    ("layer_norm", (Z, (4,)), {}, ValueError, r"\(2, 3\); wanted it to end with \(4,\)"),
    ("layer_norm", (Z, (5, 2, 3)), {}, ValueError, r"wanted it to end with \(5, 2, 3\)"),
    ("layer_norm", (Z, 3, Z), {}, ValueError, r"weight has shape \(2, 3\); wanted \(3,\)"),
    ("layer_norm", (Z, 3, None, Z[0, :1]), {}, ValueError, r"bias has shape \(1,\); wanted \(3,\)"),
    ("batch_norm", (Z[0],), {"training": True}, ValueError, r"\(3,\); wanted \(N, C, \.\.\.\)"),
    ("batch_norm", (Z[:1],), {"training": True}, ValueError, r"one value per channel.*eval\(\)"),
    ("batch_norm", (Z,), {}, ValueError, "wanted running_mean and running_var, or training=True"),
    ("batch_norm", (Z, Z[0]), {"training": True}, ValueError, "wanted running_mean and "),
    ("batch_norm", (Z, Z[0, :2], Z[0, :2]), {}, ValueError, r"running_mean has shape \(2,\)"),
    ("batch_norm", (Z, Z[0], Z[0], Z[0, :1]), {}, ValueError, r"weight has shape \(1,\)"),
    # images
    ("conv2d", (IMAGE[:, :1], KERNEL), {}, ValueError, r"input \(1, 1, 4, 4\), weight \(3, 2"),
    ("conv2d", (IMAGE[0, 0], KERNEL), {}, ValueError, r"input \(4, 4\).* wanted \(N, C, H, W\)"),
    ("conv2d", (IMAGE, Z), {}, ValueError, r"weight \(2, 3\).* \(O, C/groups, kh, kw\)"),
    ("conv2d", (IMAGE, KERNEL, Z[0, :2]), {}, ValueError, r"bias has shape \(2,\); wanted \(3,\)"),
    ("conv2d", (IMAGE, KERNEL, Z[0, :1]), {}, ValueError, r"bias has shape \(1,\); wanted \(3,\)"),
    ("conv2d", (IMAGE, KERNEL[:, :1]), {"groups": 2}, ValueError, "groups=2; wanted"),
    ("conv2d", (IMAGE, KERNEL), {"groups": 0}, ValueError, "groups=0; wanted"),
    ("conv2d", (IMAGE[..., :1], KERNEL), {}, ValueError, "2×2 does not fit into an image of 4×1"),
    ("conv2d", (IMAGE, KERNEL), {"dilation": 4}, ValueError, "5×5 does not fit into .* 4×4"),
    ("conv2d", (IMAGE, KERNEL), {"stride": 0}, ValueError, "stride=0; wanted an integer of at lea"),
    ("conv2d", (IMAGE, KERNEL), {"stride": 1.5}, ValueError, r"stride=1\.5; wanted an integer"),
    ("conv2d", (IMAGE, KERNEL), {"stride": (1, 2, 3)}, ValueError, r"stride=\(1, 2, 3\); .*or two"),
    ("conv2d", (IMAGE, KERNEL), {"dilation": 0}, ValueError, "conv2d: dilation=0; wanted"),
    ("conv2d", (IMAGE, KERNEL), {"padding": -1}, ValueError, "conv2d: padding=-1; wanted"),
    ("conv2d", (IMAGE, KERNEL), {"padding": "some"}, ValueError, "padding='some'; wanted .same."),
    *(
        case
        for name in ("max_pool2d", "avg_pool2d")
        for case in (
            (name, (IMAGE, 5), {}, ValueError, f"{name}: a window of 5×5 does not fit .* of 4×4"),
            (name, (IMAGE, 0), {}, ValueError, f"{name}: kernel_size=0; wanted an integer"),
            (name, (IMAGE, 2), {"stride": 0}, ValueError, f"{name}: stride=0; wanted"),
            (name, (IMAGE, 2), {"padding": 2}, ValueError, "padding=2; wanted at most half"),
            (name, (IMAGE, 2), {"padding": -1}, ValueError, f"{name}: padding=-1; wanted"),
            (name, (Z, 2), {}, ValueError, rf"{name}: input has shape \(2, 3\); wanted \(N, C,"),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "options", "error", "message"), WRONG)
def test_what_does_not_fit_is_refused(name, args, options, error, message):
    tensors = [tg.tensor(a) if isinstance(a, (np.ndarray, list)) else a for a in args]
    with pytest.raises(error, match=message) as caught:
        getattr(F, name)(*tensors, **options)
    assert "operands could not be broadcast" not in str(caught.value)


def test_lists_and_arrays_where_tensors_are_wanted():
    with pytest.raises(TypeError, match="linear: the input is a list; wanted a Tensor"):
        F.linear([1.0, 2.0], tg.ones(3, 2))
    alien = type("Tensor", (), {"__module__": "torch", "ndim": 2, "shape": (1, 2)})()
    for x, weight in ((alien, tg.ones(3, 2)), (tg.ones(1, 2), alien)):
        with pytest.raises(TypeError, match=r"^linear: got torch\.Tensor next to a Tensor; wanted"):
            F.linear(x, weight)
    with pytest.raises(TypeError, match="cross_entropy: the logits are a ndarray; wanted a Tensor"):
        F.cross_entropy(Z, [0, 1])


@pytest.mark.parametrize("data, correction", [([1.0, 3.0], 2), ([1.0, 3.0], 3), ([1.0], 5)])
def test_a_spread_with_no_degrees_of_freedom_is_never_negative(data, correction):
    """PyTorch divides by max(n − correction, 0): inf, or nan for 0/0; never by −1."""
    x = tg.tensor(data)
    limit = np.inf if len(data) > 1 else np.nan
    for spread in (x.var, x.std):
        with pytest.warns(RuntimeWarning):
            np.testing.assert_equal(spread(correction=correction).item(), limit)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "bool"])
def test_padding_of_a_pool_is_smaller_than_every_integer(dtype):
    x = (np.arange(16).reshape(1, 1, 4, 4) % 5 - 7 * (np.dtype(dtype).kind == "i")).astype(dtype)
    wanted = [[x[0, 0, max(i, 0) : i + 3, max(j, 0) : j + 3].max() for j in (-1, 1)]
              for i in (-1, 1)]  # fmt: skip
    assert F.max_pool2d(tg.tensor(x), 3, 2, 1).tolist() == [[np.array(wanted).tolist()]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint64])
def test_narrow_indices_reach_every_row_of_a_long_table(dtype):
    rows = 40_000 if dtype is np.int16 else 300
    weight = tg.zeros(rows, 64, dtype=tg.float64, requires_grad=True)
    ids = np.tile(np.arange(50), 2).astype(dtype)
    weight[tg.tensor(ids)].sum().backward()
    assert weight.grad[:50].tolist() == [[2.0] * 64] * 50 and weight.grad.sum().item() == 6400
