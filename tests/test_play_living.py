"""What a page is told so that it can compute its numbers again: the program and its leaves."""

import json
import re
from base64 import b64decode

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.drawn_programs import PROGRAMS
from tinygrad_ce.autograd import Function
from tinygrad_ce.engine.table import SLOT
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz import play
from tinygrad_ce.viz.graph.walking import Graph
from tinygrad_ce.viz.page.encoding import encoded_array, plain_setting
from tinygrad_ce.viz.page.living import Living, NotLivingError


def told(page):
    """The story of a page."""
    return json.loads(re.search(r'id="story">(.*?)</script>', page.html, re.DOTALL)[1])


def leaves(page):
    """The leaves of a page by name."""
    return {leaf["n"]: leaf for leaf in told(page)["live"]["leaves"]}


def decoded(array):
    """An array as the page reads it."""
    if "f" in array:
        return np.full(array["s"], float(array["f"]), array["t"].replace("number", "float64"))
    return np.frombuffer(b64decode(array["b"]), array["t"]).reshape(array["s"])


@pytest.mark.parametrize(
    "array",
    [np.random.default_rng(1).normal(size=(2, 3)).astype(t) for t in ("float32", "float64")]
    + [np.arange(6), np.array([True, False]), np.ones((3, 2), np.float32), np.array(-0.0)]
    + [np.zeros((0, 2)), np.array([np.nan, np.inf]), np.full(3, -np.inf), np.int8([1, -2])],
    ids=str,
)
def test_arrays_are_told_to_the_last_bit(array):
    back = decoded(json.loads(json.dumps(encoded_array(array), allow_nan=False)))
    assert back.dtype == array.dtype and back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_settings_are_told_in_json():
    index = (SLOT, ..., None, slice(1, None, -2), np.int64(3))
    assert plain_setting(index) == ["·", "…", None, {"s": [1, None, -2]}, 3]
    assert plain_setting([1.5, np.inf, -np.inf]) == [1.5, "Infinity", "-Infinity"]
    assert plain_setting(np.dtype(bool)) == "bool" and plain_setting(float("nan")) == "nan"


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_leaves_are_told_as_they_are(name):
    loss, names = PROGRAMS[name]()
    live = told(play(loss, names=names))["live"]
    arrays = {leaf["n"]: decoded(live["given"][leaf["i"]]) for leaf in live["leaves"]}
    for key, thing in names.items():
        if isinstance(thing, tg.Tensor) and not thing.op:
            np.testing.assert_array_equal(arrays[key], thing.detach().numpy())


def test_ids_know_how_many_there_are():
    w = tg.ones(4, 7, requires_grad=True)
    i, j, k, ids = (tg.tensor([0, 1]) for _ in range(4))
    with tg.source_lines():
        h = F.one_hot(ids, 3).float() @ w[:3]
    y = w[i] + w[:2, j].sum() + w[..., k].sum() + h
    found = leaves(play(y.sum(), names={"w": w, "i": i, "j": j, "k": k, "ids": ids}))
    assert [found[name].get("most") for name in ("i", "j", "k", "ids", "w")] == [3, 6, 6, 2, None]


def test_leaves_that_share_a_card_have_a_place_on_it():
    ws = [tg.tensor(float(i), requires_grad=True) for i in range(40)]
    total = ws[0] * 1.0
    for w in ws[1:]:
        total = total + w * w
    story = told(play(total, names={f"w{i}": w for i, w in enumerate(ws)}))
    on = {(leaf["c"], leaf["o"]) for leaf in story["live"]["leaves"] if "c" in leaf}
    assert len(on) == len(story["live"]["leaves"]) == 40


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x * x * g


def written():
    x, w = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0], requires_grad=True)
    loss = (x + w).sum()
    with tg.no_grad():
        w += 1.0
    return loss


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tg.ones(20_001, requires_grad=True).sum(), "20,001 numbers, and at most 20,000"),
        (
            lambda: tg.linalg.inv(tg.tensor([[2.0, 1], [0, 3]], requires_grad=True)).sum(),
            "inv cannot be written down as steps",
        ),
        (written, "what add read was written in place since"),
    ],
)
def test_a_page_that_cannot_be_edited_says_why(make, said):
    story = told(play(make()))
    assert said in story["fixed"] and "live" not in story


def test_a_function_of_the_users_is_no_step():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    story = told(play(Cube.apply(x).sum(), names={"x": x}))
    assert story["fixed"] == "Cube is a Function, of which no steps are known"


# --- what was decided by values ---------------------------------------------------------------

x0 = 2 * np.random.default_rng(5).normal(size=(4, 5))
y0 = tg.tensor(np.random.default_rng(6).normal(size=(4, 5)))
b0 = tg.tensor(np.random.default_rng(7).integers(0, 2, (4, 5)).astype(float))
DECIDED = {
    "sigmoid": lambda x: (F.sigmoid(x) * y0).sum(),
    "softplus": lambda x: (F.softplus(x) * y0).sum(),
    "logsigmoid": lambda x: (F.logsigmoid(x) * y0).sum(),
    "softmax": lambda x: (F.softmax(x, 1) * y0).sum(),
    "softmax along columns": lambda x: (F.softmax(x, 0) * y0).sum(),
    "cross_entropy": lambda x: F.cross_entropy(x, tg.tensor([0, 1, 2, 3])),
    "logsumexp": lambda x: (x.logsumexp(1) * y0[:, 0]).sum(),
    "binary_cross_entropy": lambda x: F.binary_cross_entropy_with_logits(x, b0),
    "leaky_relu": lambda x: (F.leaky_relu(x) * y0).sum(),
    "elu": lambda x: (F.elu(x) * y0).sum(),
    "gelu": lambda x: (F.gelu(x, approximate="tanh") * y0).sum(),
    "relu": lambda x: (F.relu(x) * y0).sum(),
    "max": lambda x: (x.max(1).values * y0[:, 0]).sum(),
    "sort": lambda x: (x.sort(0).values * y0).sum(),
    "topk": lambda x: (x.topk(2).values * y0[:, :2]).sum(),
    "amax": lambda x: (x.amax(0) * y0[0]).sum(),
    "logsumexp of a vector": lambda x: x[0].logsumexp(0) * 2,
    "sigmoid of a number": lambda x: F.sigmoid(x[0, 0]) * 2,
    "leaky_relu of a number": lambda x: F.leaky_relu(x[1, 1]) * 2,
    "max of all": lambda x: x.max() * 2,
    "layer_norm": lambda x: (F.layer_norm(x, (5,)) * y0).sum(),
}


@pytest.mark.parametrize("start", [x0, abs(x0), -abs(x0)], ids=["mixed", "above", "below"])
@pytest.mark.parametrize("name", DECIDED)
def test_what_was_decided_by_values_is_known(name, start):
    x = tg.tensor(start, requires_grad=True)
    Living(Graph([DECIDED[name](x)], {x: "x"}))


q0 = tg.tensor([[1.0, 0.0, 0.0]]).double()
even = tg.tensor([[5.0, 1.0], [2.0, 9.0]])


def either(s):
    return s[[0, 1], s.argmax(1)].sum()


UNKNOWN = {
    "a condition of the user's": lambda x: tg.where(x > 0.5, x, -x).sum(),
    "huber": lambda x: F.huber_loss(x, y0, delta=0.5),
    "smooth l1": lambda x: F.smooth_l1_loss(x, y0),
    "either axis": lambda x: either(x[:2, :2] * 0 + even),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_nobody_knows_how_to_decide_anew_is_not_edited(name):
    x = tg.tensor(x0, requires_grad=True)
    loss = UNKNOWN[name](x)
    with pytest.raises(NotLivingError, match="decided by the numbers, and how is not on record"):
        Living(Graph([loss], {x: "x", q0: "q"}))


def test_targets_of_which_a_call_has_made_a_constant_stay_as_they_are():
    x = tg.tensor(x0, requires_grad=True)
    for loss in (F.kl_div(F.log_softmax(x[:1, :3], 1), q0),
                 F.binary_cross_entropy(F.sigmoid(x[:1, :3]), q0)):  # fmt: skip
        live = Living(Graph([loss], {x: "x", q0: "q"}))
        assert [leaf["n"] for leaf in live.told({}, {})["leaves"]] == ["x"]
    live = Living(Graph([F.mse_loss(x[:1, :3], q0)], {x: "x", q0: "q"}))
    assert [leaf["n"] for leaf in live.told({}, {})["leaves"]] == ["x", "q"]
