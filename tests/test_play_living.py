"""What a page is told so that it can compute its numbers again: the program and its leaves."""

import json
import re
from base64 import b64decode
from contextlib import nullcontext

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.drawn_programs import PROGRAMS
from tinygrad_ce.autograd import Function
from tinygrad_ce.engine.table import SLOT
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program.ops import run
from tinygrad_ce.viz import play
from tinygrad_ce.viz.graph.programs import played
from tinygrad_ce.viz.graph.subjects import resolve
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


# --- conditions on record ----------------------------------------------------------------------


def sigma(x):
    return 1 / (1 + np.exp(-x))


def log_softmax(x):
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def huber(d, bound):
    return np.where(abs(d) <= bound, d * d / 2, bound * (abs(d) - bound / 2))


def xlogy(x, y):
    return np.where(x == 0, 0.0, x * np.log(np.where(x == 0, 1.0, y)))


def entropy(x, y, p=1.0):
    """Binary cross-entropy from logits; p weighs the term of y."""
    return p * y * np.log1p(np.exp(-x)) + (1 - y) * np.log1p(np.exp(x))


def picked(x, ids):
    return x[np.arange(len(ids)), ids]


def straight(x):
    """1 where x > 0, else 0, with the slope of x."""
    return x + ((x > 0).double() - x).detach()


def zeroed(x):
    y = x * 1.0
    y[y < 0] = 0.0
    return y


def averaged(x, y):
    with tg.no_grad():
        mean = (x * y).mean()
    return x - mean


RECORDED = {
    "huber": (lambda x, y, **_: F.huber_loss(x, y, delta=0.5),
              lambda x, y, **_: huber(x - y, 0.5).mean()),
    "huber, weighted": (lambda x, y, p, **_: F.huber_loss(x, y, "sum", weight=p),
                        lambda x, y, p, **_: (huber(x - y, 1.0) * p).sum()),
    "smooth l1": (lambda x, y, **_: F.smooth_l1_loss(x, y, beta=0.7),
                  lambda x, y, **_: (huber(x - y, 0.7) / 0.7).mean()),
    "where": (lambda x, y, **_: tg.where(x > 0.5, x * y, -x).sum(),
              lambda x, y, **_: np.where(x > 0.5, x * y, -x).sum()),
    "where of something else": (lambda x, y, **_: tg.where((x - 2 * y).abs() > 0.5, x, y * y).sum(),
                                lambda x, y, **_: np.where(abs(x - 2 * y) > 0.5, x, y * y).sum()),
    "np.where": (lambda x, **_: np.where(x > 0, x, -3 * x).sum(),
                 lambda x, **_: np.where(x > 0, x, -3 * x).sum()),
    "the larger one": (lambda x, y, **_: (x * (x >= y) + y * (x < y)).sum(),
                       lambda x, y, **_: np.maximum(x, y).sum()),
    "huber by hand": (
        lambda x, y, **_: (lambda d: tg.where(d.abs() < 1, d * d / 2, d.abs() - 0.5).mean())(x - y),
        lambda x, y, **_: huber(x - y, 1.0).mean(),
    ),
    "clamp": (lambda x, **_: (x.clamp(-0.5, 0.5) ** 2).sum(),
              lambda x, **_: (np.clip(x, -0.5, 0.5) ** 2).sum()),
    "clamp at a tensor": (lambda x, y, **_: (x.clamp(min=y) * x).sum(),
                          lambda x, y, **_: (np.maximum(x, y) * x).sum()),
    "hinge": (lambda x, b, **_: (1 - x * (2 * b - 1)).clamp(min=0).sum(),
              lambda x, b, **_: np.maximum(1 - x * (2 * b - 1), 0).sum()),
    "leaky relu": (lambda x, y, **_: (F.leaky_relu(x, 0.1) * y).sum(),
                   lambda x, y, **_: (np.where(x > 0, x, 0.1 * x) * y).sum()),
    "elu": (lambda x, y, **_: (F.elu(x, 0.7) * y).sum(),
            lambda x, y, **_: (np.where(x > 0, x, 0.7 * np.expm1(x)) * y).sum()),
    "gelu": (lambda x, y, **_: (F.gelu(x, approximate="tanh") * y).sum(),
             lambda x, y, **_: (x * sigma(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)) * y).sum()),
    "dropout with a mask": (lambda x, b, y, **_: (x * b / 0.5 * y).sum(),
                            lambda x, b, y, **_: (2 * x * b * y).sum()),
    "bce": (lambda x, b, **_: F.binary_cross_entropy(F.sigmoid(x), b),
            lambda x, b, **_: entropy(x, b).mean()),
    "bce from logits": (lambda x, b, **_: F.binary_cross_entropy_with_logits(x, b),
                        lambda x, b, **_: entropy(x, b).mean()),
    "bce, weights of the classes": (
        lambda x, b, p, **_: F.binary_cross_entropy_with_logits(x, b, pos_weight=p),
        lambda x, b, p, **_: entropy(x, b, p).mean(),
    ),
    "bce by hand": (
        lambda x, b, **_: -(b * F.logsigmoid(x) + (1 - b) * F.logsigmoid(-x)).sum(),
        lambda x, b, **_: entropy(x, b).sum(),
    ),
    "kl_div": (lambda x, p, **_: F.kl_div(F.log_softmax(x, 1), p, reduction="sum"),
               lambda x, p, **_: (xlogy(p, p) - p * log_softmax(x)).sum()),
    "class ids": (lambda x, ids, p, **_: F.cross_entropy(x, ids, weight=p[0]),
                  lambda x, ids, p, **_: -(picked(log_softmax(x), ids) * p[0][ids]).sum()
                  / p[0][ids].sum()),
    "gather": (lambda x, ids, **_: (x.gather(1, ids[:, None]) ** 2).sum(),
               lambda x, ids, **_: (picked(x, ids) ** 2).sum()),
    "one-hot of the largest": (lambda x, y, **_: (F.one_hot(x.argmax(1), 5) * x * y).sum(),
                               lambda x, y, **_: picked(x * y, x.argmax(1)).sum()),
    "masked": (lambda x, y, **_: (F.softmax(x.masked_fill(y < 0, -1e9), 1) * y).sum(),
               lambda x, y, **_: (np.exp(log_softmax(np.where(y < 0, -1e9, x))) * y).sum()),
    "set to 0": (lambda x, y, **_: (zeroed(x) * y).sum(),
                 lambda x, y, **_: (np.maximum(x, 0) * y).sum()),
    "a norm": (lambda x, **_: x.norm(3),
               lambda x, **_: (abs(x) ** 3).sum() ** (1 / 3)),
    "an angle": (lambda x, y, **_: F.cosine_similarity(x, y).sum(),
                 lambda x, y, **_: ((x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))).sum()),
    "prepared": (lambda x, y, **_: (x * (y - y.mean(0)) / (1 + y.abs().max())).sum(),
                 lambda x, y, **_: (x * (y - y.mean(0)) / (1 + abs(y).max())).sum()),
}  # fmt: skip
STRAIGHT = {
    "straight through": (lambda x, y, **_: (straight(x) * y).sum(),
                         lambda x, y, **_: ((x > 0) * y).sum(), lambda x, y, **_: y),
    "a mean without a gradient": (lambda x, y, **_: (averaged(x, y) ** 2 * y).sum(),
                                  lambda x, y, **_: ((x - (x * y).mean()) ** 2 * y).sum(),
                                  lambda x, y, **_: 2 * y * (x - (x * y).mean())),
    "detached": (lambda x, y, **_: ((x * y - (x * x).detach()) ** 2).sum(),
                 lambda x, y, **_: ((x * y - x * x) ** 2).sum(),
                 lambda x, y, **_: 2 * (x * y - x * x) * y),
}  # fmt: skip
"""What does not count for the slope, which is told."""
GIVEN = {"x": x0, "y": y0.numpy(), "b": b0.numpy(), "ids": np.array([0, 2, 4, 1]),
         "p": np.exp(x0[::-1]) / np.exp(x0).sum()}  # fmt: skip


def changed(given, random):
    """The same with one number changed; some become 0, and signs change."""
    name = random.choice(list(given))
    array = given[name].copy()
    index = tuple(int(random.integers(n)) for n in array.shape)
    any_number = random.choice([-array[index], random.normal(0, 2), random.normal(0, 9)])
    others = {"b": random.integers(2), "ids": random.integers(5), "p": random.choice([0.3, 1e-3])}
    array[index] = others.get(name, any_number)
    return {**given, name: array}


def of_program(f, given):
    """The leaves that can be edited, and a function that gives loss and ∂loss/∂x after an edit."""
    tensors = {name: tg.tensor(array) for name, array in given.items()}
    tensors["x"].requires_grad_()
    with tg.source_lines():
        loss = f(**tensors)
    live = Living(Graph([loss], {x: name for name, x in tensors.items()}))
    live.way_back(loss)
    named = live.leaves.keys() & live.graph.names.keys() - live.locked.keys()
    leaves = [(x, live.leaves[x]) for x in named]
    wanted = [live.symbols[live.graph.roots[0]].now, live.slopes[tensors["x"]].now]

    def again(given):
        values = {**live.tracer.constants, **dict(live.tracer.given)}
        values.update((var, given[live.graph.names[x]]) for x, var in leaves)
        with np.errstate(all="ignore"):
            run(live.tracer.steps, values)
        return [values[var] for var in wanted]

    return {live.graph.names[x] for x, _ in leaves}, again


def difference(f, given, index, h=1e-6):
    """∂f/∂x[index] as a central difference."""
    ends = [{**given, "x": given["x"].copy()} for _ in range(2)]
    for end, step in zip(ends, (h, -h)):
        end["x"][index] += step
    return (f(**ends[0]) - f(**ends[1])) / (2 * h)


@pytest.mark.parametrize("name", [*RECORDED, *STRAIGHT])
def test_what_is_on_record_is_decided_anew(name):
    ours, numpy, *slope = {**RECORDED, **STRAIGHT}[name]
    read = ours.__code__.co_varnames[: ours.__code__.co_argcount + ours.__code__.co_kwonlyargcount]
    given = {key: GIVEN[key] for key in read}
    editable, again = of_program(ours, given)
    assert editable == set(given)
    random = np.random.default_rng(len(name))
    for _ in range(60):
        given = changed(given, random)
        loss, gradient = again(given)
        np.testing.assert_allclose(loss, numpy(**given), rtol=1e-9, atol=1e-12)
        index = tuple(int(random.integers(n)) for n in x0.shape)
        wanted = slope[0](**given)[index] if slope else difference(numpy, given, index)
        np.testing.assert_allclose(gradient[index], wanted, rtol=1e-4, atol=1e-5)


q0 = tg.tensor([[1.0, 0.0, 0.0]]).double()
even = tg.tensor([[5.0, 1.0], [2.0, 9.0]])
w0 = tg.tensor(np.arange(1.0, 6.0))


def either(s):
    return s[[0, 1], s.argmax(1)].sum()


UNKNOWN = {
    "a condition of the user's": lambda x: tg.where(x > 0.5, x, -x).sum(),
    "one that has a name": lambda x: tg.where(named(x > 0.5), x, -x).sum(),
    "huber": lambda x: F.huber_loss(x, y0, delta=0.5),
    "smooth l1": lambda x: F.smooth_l1_loss(x, y0),
    "either axis": lambda x: either(x[:2, :2] * 0 + even),
    "weights of the classes": lambda x: F.binary_cross_entropy_with_logits(x, b0, pos_weight=w0),
    "a target with a gradient": lambda x: F.binary_cross_entropy_with_logits(x, x * 0.1),
    "the larger of two": lambda x: tg.logaddexp(x, y0).sum(),
    "an angle": lambda x: F.cosine_similarity(x, y0).sum(),
    "a norm": lambda x: x.norm(3),
    "padding": lambda x: F.embedding(tg.tensor([0, 1]), x, padding_idx=0).sum(),
    "a graph that was cut": lambda x: (x * x.detach()).sum(),
    "places": lambda x: x.reshape(-1)[(x.reshape(-1) > 0).nonzero()[:, 0]].sum(),
    "what is close": lambda x: tg.where(tg.isclose(x, y0), x, -x).sum(),
    "one-hot": lambda x: (F.one_hot(x.argmax(1), 5) * x).sum(),
    "NumPy": lambda x: (x * np.isin(x.detach(), [1.0, 2.0])).sum(),
}
kept = []


def named(mask):
    kept[:] = [mask]
    return mask


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_nobody_knows_how_to_decide_anew_is_not_edited(name):
    x = tg.tensor(x0, requires_grad=True)
    kept.clear()
    loss = UNKNOWN[name](x)
    names = {x: "x", q0: "q", y0: "y", **dict.fromkeys(kept, "mask")}
    with pytest.raises(
        NotLivingError, match=r"decided by the numbers, .*source_lines\(\), or play"
    ):
        Living(Graph([loss], names))


def editable(loss, **names):
    """The names of what can be edited."""
    live = Living(Graph([loss], {x: name for name, x in names.items()}))
    return [leaf["n"] for leaf in live.told({}, {})["leaves"] if leaf["n"]]


def test_what_something_was_computed_from_without_record_stays_as_it_is():
    x, p, w = tg.tensor(x0, requires_grad=True), F.sigmoid, y0.abs()
    for loss in (F.kl_div(F.log_softmax(x[:1, :3], 1), q0),
                 F.binary_cross_entropy(p(x[:1, :3]), q0),
                 (q0 * p(x[:1, :3]) + (1 - q0) * p(-x[:1, :3])).sum(),
                 (x[:1, :3] * q0).sum() + (x[1, :3] * (q0 > 0.5)).sum()):  # fmt: skip
        assert editable(loss, x=x, q=q0) == ["x"]
    ids = tg.tensor([0, 1, 2, 3])
    assert editable(F.cross_entropy(x, ids, weight=w[0]), x=x, ids=ids) == ["x"]
    assert editable(F.mse_loss(x[:1, :3], q0), x=x, q=q0) == ["x", "q"]
    half = q0 / 2  # by a name it is given, as it is
    assert editable((x[:1, :3] * half).sum(), x=x, half=half) == ["x", "half"]
    assert editable((x[:1, :3] * half * q0).sum(), x=x, half=half, q=q0) == ["x", "half", "q"]
    mask = tg.tril(tg.ones(4, 4)) > 0  # made of nothing that could be edited
    z = tg.where(mask, x[:, :4] @ x[:, :4].mT, -1e9)
    assert editable(F.softmax(z, 1).sum(), x=x, ids=ids) == ["x"]
    assert editable(F.softmax(z, 1).sum() + x[ids].sum(), x=x, ids=ids) == ["x", "ids"]


def test_a_constant_that_nothing_of_the_page_made_is_a_leaf_by_its_name():
    x, z = tg.tensor(x0, requires_grad=True), tg.tensor(x0, requires_grad=True)
    with tg.source_lines():
        fake = (z * 2).detach()
        loss = (x * fake).sum()
    assert editable(loss, x=x, fake=fake) == ["x", "fake"]
    with tg.source_lines():
        fake = (x * 2).detach()
        loss = (x * fake).sum()
    assert editable(loss, x=x, fake=fake) == ["x"]


def test_what_was_written_since_is_not_decided_anew():
    x, y = tg.tensor(x0, requires_grad=True), tg.tensor(x0)
    with tg.source_lines():
        mask = x > 0.5
        loss = tg.where(mask, x, y).sum()
        mask[0] = False
    with pytest.raises(NotLivingError, match=r"decided by the numbers|written in place"):
        Living(Graph([loss], {x: "x", y: "y"}))


def test_padding_of_a_traced_program_follows_its_table():
    w, ids = tg.tensor(x0, requires_grad=True), tg.tensor([0, 2, 0])
    program = tg.trace(lambda w, ids: (F.embedding(ids, w, padding_idx=0) ** 2).sum(), w, ids)
    player = played(program)
    root, names, given = resolve(player)
    live = Living(Graph([root], names, given=given), player)
    values = {**live.tracer.constants, **dict(live.tracer.given)}
    values.update((var, 2 * x0) for x, var in live.leaves.items() if x.array.ndim == 2)
    run(live.tracer.steps, values)
    assert values[live.symbols[root].now] == pytest.approx(4 * (x0[[0, 2, 0]] ** 2).sum())


def copied(w, x):
    m = tg.zeros(2)
    m.copy_(w.detach())
    return m


def written_where(w, x, of):
    m = tg.zeros(2)
    m[of(w, x) > 0] = 1.0
    return m


def part_written(w, x):
    m = tg.zeros(2, 2)
    m[0] += w.detach()
    return m[0]


WRITTEN = {
    "a copy": copied,
    "a mask of a parameter": lambda w, x: written_where(w, x, lambda w, x: w.detach()),
    "a part": part_written,
    "a mask of an input": lambda w, x: written_where(w, x, lambda w, x: x),
    "what is close": lambda w, x: tg.isclose(x, tg.tensor([1.0, 1.0])).float(),
    "counts": lambda w, x: tg.bincount(x.long() % 2, minlength=2).float(),
    "places": lambda w, x: tg.searchsorted(tg.tensor([0.0, 2.0]), x).float(),
    "indices": lambda w, x: x[(x > 0).nonzero()[:, 0]],
}
FROM_A_PARAMETER = ("a copy", "a mask of a parameter", "a part")


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("name", WRITTEN)
def test_what_data_were_written_into_is_not_given(name, recorded):
    """Nobody may edit the number that decided it: the page would go on with what it decided."""
    w, x = tg.tensor([1.0, 2.0], requires_grad=True), tg.tensor([1.0, 3.0])
    with tg.source_lines() if recorded else nullcontext():
        loss = (w * x * WRITTEN[name](w, x)).sum()
    if name in FROM_A_PARAMETER:
        with pytest.raises(NotLivingError, match="decided by the numbers"):
            editable(loss, w=w, x=x)
    else:
        assert "x" not in editable(loss, w=w, x=x)


def test_data_are_decided_anew_where_they_are_on_record():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(NotLivingError, match=r"^data, which × reads, was decided by the numbers"):
        editable((w * w.data).sum(), w=w)
    with tg.source_lines():
        loss = (w * w.data).sum()
    assert editable(loss, w=w) == ["w"]


def test_what_numbers_alone_were_written_into_is_given():
    w, x, y = (
        tg.tensor([1.0, 2.0], requires_grad=True),
        tg.tensor([1.0, 3.0]),
        tg.tensor([5.0, 6.0]),
    )
    x /= 2
    x[0] = 3.0
    assert editable((w * x * y).sum(), w=w, x=x, y=y) == ["w", "x", "y"]
