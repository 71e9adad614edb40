"""The graph of a traced program: to the last bit, and to the last card, what eager code records."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_ce as tg
from tests import listing_cases
from tinygrad_ce import draw, nn, tensor
from tinygrad_ce.engine.chain import history
from tinygrad_ce.engine.frame import chain_of, source_lines
from tinygrad_ce.engine.lines import place_of
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program.ops import run
from tinygrad_ce.viz.graph.programs import graph_of, result_of
from tinygrad_ce.viz.graph.walking import uses_of
from tinygrad_ce.viz.page.checks import check_uses

from .test_checks import backward_pass
from .test_rules import CASES as OPERATIONS


def normal(*shape, seed=0):
    stream = np.random.default_rng(seed + sum(shape))
    return tensor(stream.standard_normal(shape).astype(np.float32))


class Net(nn.Module):
    def __init__(self):
        self.fc1 = nn.Linear(4, 5)
        self.relu = nn.ReLU()
        self.head = nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 3))

    def forward(self, x):
        return self.head(self.relu(self.fc1(x)))


def network():
    tg.manual_seed(0)
    model = Net()
    return (
        model,
        lambda x, y: F.cross_entropy(model(x), y),
        normal(7, 4),
        tensor([0, 1, 2, 2, 1, 0, 1]),
    )


def attention():
    W = [normal(4, 4, seed=s).requires_grad_() for s in range(3)]

    def loss_of(x, y):
        q, k, v = (x @ w for w in W)
        hidden = tensor(np.triu(np.ones((5, 5), dtype=bool), 1))
        p = F.softmax((q @ k.mT / 2.0).masked_fill(hidden, -np.inf), -1)
        return ((p @ v - y) ** 2).mean()

    return W, loss_of, normal(2, 5, 4), normal(2, 5, 4, seed=3)


def pieces():
    w = normal(6, 4).requires_grad_()

    def loss_of(x, y):
        h = F.softplus(x * w) + F.leaky_relu(x - w) + tg.where(w > 0.0, w, x)
        sizes = h.norm(dim=1, keepdim=True) + w.norm() + (h / 2.0).std(1, keepdim=True)
        top = h.amax(1) + tg.maximum(w, y)[:, 0] + h.sort(1)[0].sum(1)
        return (
            (h / sizes).sum()
            + (top**3).mean()
            + h.logsumexp(1).sum() * (1.0 - h.sum(1)).abs().sum()
        )

    return w, loss_of, normal(6, 4, seed=1), normal(6, 4, seed=2)


def images():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Flatten(), nn.Linear(18, 3), nn.Dropout(0.5))  # fmt: skip
    return model, lambda x, y: F.cross_entropy(model(x), y), normal(2, 1, 8, 8), tensor([0, 2])


CASES = [network, attention, pieces, images]
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)


def seen(drawing):
    """All that a picture shows but names."""
    picture = drawing.picture
    cards = [
        (c.role, c.op or c.name, c.shape, c.value, c.gradient, c.added, c.cluster)
        for c in picture.cards
    ]
    edges = [(e.source, e.target, e.flows, e.spine) for e in picture.edges]
    clusters = [(c.name, c.kind, c.outer, c.depth) for c in picture.clusters]
    return cards, edges, clusters


def nameless(loss):
    """A recorded loss that has forgotten its modules and its source, as a program has."""
    waiting = [*history([loss])]
    while waiting:
        x = waiting.pop()
        waiting += [*x.inputs, *(x.made.inputs if hasattr(x, "made") else ())]
        x.line = ()
    for node in history([loss]):
        for scope in chain_of(node.scope):
            scope.module = None
    return loss


@by_name
@pytest.mark.parametrize("back", [False, True], ids=["forward", "backward"])
def test_the_picture_is_that_of_eager_code(case, back):
    _, loss_of, x, y = case()

    def step(x, y):
        loss = loss_of(x, y)
        if back:
            loss.backward()
        return loss

    tg.manual_seed(1)
    root, _ = graph_of(tg.trace(step, x, y))
    tg.manual_seed(1)  # for dropout
    with tg.source_lines():  # so that it is known how inputs were prepared
        loss = loss_of(x, y)
    np.testing.assert_array_equal(root.array, loss.array)
    assert root.array.dtype == loss.array.dtype
    ours, eager = seen(draw(root)), seen(draw(nameless(loss)))
    assert ours[0] == eager[0]
    assert ours[1] == eager[1]
    assert ours[2] == eager[2]


def test_rows_of_padding_get_no_gradient():
    W, x = normal(6, 4).requires_grad_(), tensor([[0, 3], [3, 5]])

    def loss_of(x):
        return (F.embedding(x, W, padding_idx=0) ** 2).sum()

    drawn = draw(graph_of(tg.trace(loss_of, x))[0]).picture
    eager = draw(loss_of(x)).picture  # the program also shows how the rows of padding were found
    for cards in (drawn.cards, eager.cards):
        cards[:] = [c for c in cards if c.gradient]
    assert [c.gradient for c in drawn.cards] == [c.gradient for c in eager.cards]
    assert sum(e.flows for e in drawn.edges) == sum(e.flows for e in eager.edges)


def test_scopes_have_their_kinds_and_formulas():
    _, loss_of, x, y = network()
    root, _ = graph_of(tg.trace(loss_of, x, y))
    found = [(c.name, c.kind, c.formula, c.depth) for c in draw(root).picture.clusters]
    norm = "(x − μ) / √(σ² + ε) · γ + β"
    assert found == [
        ("Net", "module", "", 0),
        ("fc1", "module", "x @ Wᵀ + b", 1),
        ("relu", "module", "max(x, 0)", 1),
        ("head", "module", "", 1),
        ("LayerNorm 0", "module", norm, 2),
        ("Linear 1", "module", "x @ Wᵀ + b", 2),
        ("cross_entropy", "function", "−1/N Σ log softmax(z)[y]", 0),
        ("log_softmax", "function", "z − log Σ eᶻ", 1),
    ]


def test_names_are_those_of_the_program():
    W1, b1 = normal(5, 3).requires_grad_(), normal(5).requires_grad_()

    def step(x, y):
        h = F.linear(x, W1, b1)
        loss = F.mse_loss(h, y)
        return loss

    root, names = graph_of(tg.trace(step, normal(4, 3), normal(4, 5)))
    assert set(names) == {"x", "y", "W1", "b1", "h"}
    assert names["h"].shape == (4, 5)
    assert names["W1"].requires_grad and not names["x"].requires_grad
    np.testing.assert_array_equal(names["W1"].array, W1.array)
    drawn = {c.name: c.role for c in draw(root, names).picture.cards if c.name}
    assert drawn == {"x": "input", "y": "input", "W1": "parameter", "b1": "parameter",
                     "h": "step"}  # fmt: skip


def test_a_training_step_shows_its_forward_part_and_changes_nothing():
    model, loss_of, x, y = network()
    optimizer = tg.optim.Adam(model.parameters(), lr=0.1)

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    program = tg.trace(step, x, y)
    before = [p.array.copy() for p in model.parameters()]
    root, names = graph_of(program)
    assert seen(draw(root)) == seen(draw(nameless(loss_of(x, y))))
    for p, array in zip(model.parameters(), before):
        np.testing.assert_array_equal(p.array, array)
        assert p.grad is None
    assert {"fc1_weight", "head_1_bias", "loss"} <= set(names)
    assert names["fc1_weight"].array is not model.fc1.weight.array
    loss = loss_of(x, y)
    loss.backward()
    drawn = {c.name: c.gradient for c in draw(root, names).picture.cards}
    eager = {c.name: c.gradient for c in draw(loss, names=model).picture.cards}
    assert drawn["fc1_weight"] == eager["fc1.weight"] != "∇ —"


@pytest.mark.parametrize(
    "case", [c for c in listing_cases.CASES if c is not listing_cases.predict],
    ids=lambda case: case.__name__,
)  # fmt: skip
def test_the_root_is_what_the_program_gives_to_the_last_bit(case):
    program = tg.trace(*case())
    root, _ = graph_of(program)
    values = run(program.steps, {**program.constants, **program.example})
    if not any(step.op == "draw" for step in program.steps):
        np.testing.assert_array_equal(root.array, values[result_of(program)])


def test_random_numbers_are_drawn_and_the_generator_is_left():
    generator = tg.Generator()
    generator.manual_seed(3)
    program = tg.trace(lambda x: F.dropout(x, 0.5, generator=generator).sum(), tg.ones(20))
    first, again = graph_of(program)[0], graph_of(program)[0]
    eager = F.dropout(tg.ones(20), 0.5, generator=generator).sum()
    assert first.item() == again.item() == eager.item() != 20.0


def test_every_node_knows_its_line():
    def step(x):
        h = x * 2.0
        return h.sum()

    root, names = graph_of(tg.trace(step, tg.ones(3)))
    first = step.__code__.co_firstlineno
    line = place_of(names["h"])
    assert (line.file, line.number, line.text) == (Path(__file__).name, first + 1, "h = x * 2.0")
    assert place_of(root).number == first + 2
    with source_lines():
        recorded = step(tg.ones(3, requires_grad=True))
    assert place_of(recorded)[:3] == place_of(root)[:3]
    assert place_of(step(tg.ones(3, requires_grad=True))) is None


def test_a_value_whose_code_has_no_lines_has_no_place():
    code = place_of.__code__.replace(co_linetable=b"")
    assert place_of(SimpleNamespace(line=((code, 0, 0, 0),))) is None


@pytest.mark.parametrize("kept", [(1, 3), (3, 1)])
@pytest.mark.parametrize("reduce", ["sum", "amax", "amin"])
def test_a_reduction_that_is_reshaped_is_what_eager_code_records(reduce, kept):
    def function(x):
        return (getattr(x * 2.0, reduce)(1).reshape(kept) * 3.0).sum()

    x = normal(3, 4).requires_grad_()
    root, names = graph_of(tg.trace(function, x))
    loss = function(x)
    assert root.item() == loss.item()
    found, wanted = ([y.array.shape for y in history([y])] for y in (root, loss))
    assert set(found) <= set(wanted)
    loss.backward()
    (gradient,) = tg.autograd.grad(root, names["x"])
    np.testing.assert_array_equal(gradient.numpy(), x.grad.numpy())


def test_every_operation_of_a_program_has_the_gradients_of_eager_code():
    for case in OPERATIONS:

        def function(*xs, of=case.ours):
            y = of(*[x.requires_grad_() for x in xs])
            return (y * y).sum()

        xs = [tensor(x) for x in case.inputs]
        loss = function(*xs)
        loss.backward()
        root, names = graph_of(tg.trace(function, *map(tensor, case.inputs)))
        assert root.item() == loss.item(), case.id
        found = tg.autograd.grad(root, [names[f"x{i + 1}"] for i in range(len(xs))])
        for x, gradient in zip(xs, found):
            np.testing.assert_allclose(gradient.numpy(), x.grad.numpy(), 1e-14, err_msg=case.id)


DECIDED = [  # without a gradient, of what has one
    lambda x: x.any(), lambda x: x.all(), lambda x: (x > 0.5).any(), lambda x: x > 0.5,
    lambda x: (x < 0.5) & (x != 0.2), lambda x: (x >= 0.5) | (x == 0.2), lambda x: ~(x <= 0.5),
    lambda x: (x > 0.5) ^ (x > 0.2), lambda x: np.isnan(x), lambda x: np.isinf(x),
    lambda x: np.isfinite(x), lambda x: x.argmax(), lambda x: x.argmin(), lambda x: x.argsort(),
    lambda x: x.long(), lambda x: x.sign(), lambda x: x.floor() + x.ceil() + x.round() + x.trunc(),
]  # fmt: skip


def test_decisions_about_a_value_are_constants_of_the_picture():
    values = [0.7, 0.2, -1.6]
    for decide in DECIDED:

        def function(x, of=decide):
            return (x * of(x.requires_grad_()).to(x.dtype)).sum()

        x = tensor(values)
        loss = function(x)
        loss.backward()
        root, names = graph_of(tg.trace(function, tensor(values)))
        assert root.item() == loss.item()
        (gradient,) = tg.autograd.grad(root, [names["x"]])
        assert gradient.tolist() == x.grad.tolist()


def test_every_use_of_a_program_agrees_with_its_central_difference():
    for case in CASES:
        _, loss_of, x, y = case()
        root, _ = graph_of(tg.trace(loss_of, x, y))
        uses, found = backward_pass(root)
        results = check_uses(root, uses, found)
        assert results and all(c.agrees for c in results.values())


def test_softplus_of_a_program_is_smooth_at_zero_and_relu_is_not():
    def kinks(f):
        root, _ = graph_of(tg.trace(lambda x: f(x * 1.0).sum(), tensor([0.0, 1.0])))
        uses, found = backward_pass(root)
        return [c.kink for c in check_uses(root, uses, found).values() if c.kink]

    assert not kinks(F.softplus) and not kinks(F.silu)
    assert kinks(F.relu)[0] == "relu switched 1 element"
    assert kinks(F.leaky_relu)[0] == "leaky_relu switched 1 element"


def test_a_detached_value_stays_a_constant_where_there_is_a_backward_pass():
    w = tensor([2.0, 3.0], requires_grad=True)

    def step(x):
        h = w * x
        scale = (h * 2.0).detach()
        loss = (h * scale).sum()
        loss.backward()
        return loss

    root, names = graph_of(tg.trace(step, tensor([1.0, -1.0])))
    (product,) = (u for u in uses_of([root.inputs[0]]) if u.position == 1)
    assert not product.flows and names["h"].requires_grad


WRITES = [
    "z.view(2, 2)[0].add_(1.0)",
    "z.view(2, 2)[0][1].mul_(p)",
    "z.view(2, 2)[0][1] = p",
    "z.view(2, 2)[0].fill_(3.0)",
    "z.view(2, 2).T[1].mul_(p)",
    "z.view(2, 2).T[1][:1] = z.view(2, 2)[1:, 0] + p",
    "z.view(2, 1, 2).squeeze(1).unsqueeze(0)[0, 1].add_(p)",
    "z.expand(1, 4)[0, 1:].mul_(p)",
    "z[::2][:1].mul_(p)",
    "z[1:].view(3, 1).mT[0, 1:].clamp_(min=5.0)",
    "v = z.view(2, 2)[0]; z.mul_(p); v.add_(1.0); z = z + v.sum()",
    "v = z.view(2, 2)[0]; v.mul_(p); z.view(2, 2)[:, 1].mul_(p); z = z + v.sum()",
    "v = z[1:]; w = v[1:]; w.mul_(p); v.add_(w.sum()); z = z * w.sum()",
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("back", [False, True], ids=["forward", "backward"])
def test_what_is_written_through_a_view_of_a_view_is_drawn_as_in_eager_code(write, back):
    def loss_of(x, p):
        known = {"z": x * 2.0, "p": p}
        exec(write, known)
        return (known["z"] ** 2).sum()

    def step(x, p):
        loss = loss_of(x, p)
        if back:
            loss.backward()
        return loss

    x = tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    p = tensor(3.0, requires_grad=True)
    root, _ = graph_of(tg.trace(step, x, p))
    assert seen(draw(root)) == seen(draw(loss_of(x, p)))


def test_what_is_written_on_a_diagonal_is_drawn():
    def step(x):
        z = x * 2.0
        z.view(2, 2).diagonal()[1:].add_(x[:1])
        loss = (z**2).sum()
        loss.backward()
        return loss

    x = tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    root, names = graph_of(tg.trace(step, x))
    root.backward()
    z4 = 2.0 * 4.0 + 1.0  # the others are 2 x, and the loss is Σ z²
    by_hand = [8.0 * 1.0 + 2.0 * z4, 8.0 * 2.0, 8.0 * 3.0, 4.0 * z4]
    np.testing.assert_allclose(names["x"].grad.numpy(), by_hand)


def test_a_value_that_is_overwritten_by_a_number_needs_no_gradient():
    def step(x, p):
        z = x * 2.0
        z.zero_()
        loss = (z * p + x).sum()
        loss.backward()
        return loss

    x, p = tensor([1.0, 2.0], requires_grad=True), tensor(3.0, requires_grad=True)
    root, names = graph_of(tg.trace(step, x, p))
    root.backward()
    np.testing.assert_array_equal(names["x"].grad.numpy(), [1.0, 1.0])
    assert root.item() == 3.0 and (names["p"].grad is None or names["p"].grad.item() == 0.0)


def test_a_gradient_that_cannot_be_told_is_refused():
    w = tensor([2.0, 3.0], requires_grad=True)

    def step():
        h = w * 3.0
        loss = (h * h.detach()).sum()
        loss.backward()
        return loss

    with pytest.raises(ValueError, match="the gradient of h is not the one that step computes"):
        graph_of(tg.trace(step))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="returns nothing, so there is no computation to draw"):
        graph_of(tg.trace(lambda x: None, tg.ones(3)))
    with pytest.raises(ValueError, match="only what it was given, or no floats"):
        graph_of(tg.trace(lambda x: x.argmax(), tg.ones(3)))
    program = tg.trace(lambda x: x * 2.0, tg.ones(3))
    with pytest.raises(RuntimeError, match="outside of the function that is traced"):
        tg.trace(lambda x: graph_of(program), tg.ones(3))


def test_a_sum_along_an_axis_of_three_that_keeps_it_is_drawn_as_it_is():
    x = np.arange(24.0).reshape(2, 4, 3)
    program = tg.trace(lambda x: (x.sum(1).reshape(2, 1, 3) ** 2).sum(), tg.tensor(x))
    assert f"loss = {(x.sum(1) ** 2).sum():g}" in tg.draw(program).text
