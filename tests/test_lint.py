"""lint: each mistake is found and named, and programs without one are left in peace."""

import warnings

import numpy as np
import pytest
from drawn_programs import PROGRAMS

import tinygrad_ce as tg
import tinygrad_ce.nn.functional as F
from tinygrad_ce import nn
from tinygrad_ce.viz.drawing import draw

X = np.random.default_rng(0).standard_normal((32, 4)).astype(np.float32)
CLASSES = np.arange(32) % 3
BITS = (np.arange(32) % 2).astype(np.float32)


def kinds(loss, model=None):
    return [finding.kind for finding in tg.lint(loss, model)]


def x():
    return tg.tensor(X)


def logits(*more):
    tg.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), *more)(x())


def squared(prediction, target):
    return ((prediction - target) ** 2).mean()


def bootstrapped(q, r):
    return F.smooth_l1_loss(q[:, 0], r + 0.9 * (1 - r) * q.amax(1))


WRONG = {
    "softmax before cross_entropy": lambda: F.cross_entropy(
        logits(nn.Softmax(1)), tg.tensor(CLASSES)
    ),
    "sigmoid before cross_entropy": lambda: nn.CrossEntropyLoss()(
        tg.sigmoid(logits()).reshape(32, 3), tg.tensor(CLASSES)
    ),
    "softmax before nll_loss": lambda: F.nll_loss(F.softmax(logits(), 1), tg.tensor(CLASSES)),
    "linear before nll_loss": lambda: F.nll_loss(logits(), tg.tensor(CLASSES)),
    "sigmoid before binary_cross_entropy_with_logits": lambda: F.binary_cross_entropy_with_logits(
        logits(nn.Linear(3, 1), nn.Sigmoid()).squeeze(1), tg.tensor(BITS)
    ),
    "softmax before binary_cross_entropy_with_logits": lambda: nn.BCEWithLogitsLoss()(
        nn.Dropout(0.5)(logits(nn.Softmax(-1)))[:, 0], tg.tensor(BITS)
    ),
    "broadcast target": lambda: squared(logits()[:, 0], tg.tensor(BITS)[:, None]),
    "nothing between": lambda: logits(nn.Dropout(0.1), nn.Linear(3, 2)).sum(),
    "target needs a gradient": lambda: F.mse_loss(
        logits()[:, 0], tg.tensor(BITS, requires_grad=True)
    ),
    "target not detached": lambda: bootstrapped(logits(), tg.tensor(BITS)),
    "relu before cross_entropy": lambda: F.cross_entropy(logits(nn.ReLU()), tg.tensor(CLASSES)),
    "relu before binary_cross_entropy_with_logits": lambda: F.binary_cross_entropy_with_logits(
        F.relu(logits())[:, 0], tg.tensor(BITS)
    ),
    "softmax over the batch": lambda: F.nll_loss(F.log_softmax(logits(), 0), tg.tensor(CLASSES)),
    "dead relu": lambda: F.relu(logits() - 100).sum(),
    "saturated tanh": lambda: nn.Linear(3, 1)(tg.tanh(100 * logits())).sum(),
    "saturated sigmoid": lambda: (tg.sigmoid(-100 * logits()) @ tg.ones(3, 2)).sum(),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_mistake_is_found(kind):
    found = tg.lint(WRONG[kind]())
    assert kind in [finding.kind for finding in found]
    assert all(finding.line == "" and finding.costs and finding.write for finding in found)
    with tg.source_lines():
        loss = WRONG[kind]()
    (finding,) = (finding for finding in tg.lint(loss) if finding.kind == kind)
    assert finding.line.startswith("test_lint.py:") and str(finding).startswith(finding.line)


def images():
    return tg.tensor(np.resize(X, (2, 2, 8, 8)))


ALSO_WRONG = {
    "a square of the softmax": lambda: F.mse_loss(F.softmax(logits(), 0), tg.ones(32, 3)),
    "the log of it": lambda: F.nll_loss(F.softmax(logits(), 0).log(), tg.tensor(CLASSES)),
}


@pytest.mark.parametrize("case", ALSO_WRONG)
def test_a_softmax_over_the_batch_is_found(case):
    assert kinds(ALSO_WRONG[case]()) == ["softmax over the batch"]


def test_convolutions_with_nothing_between_are_found():
    loss = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, 3))(images()).sum()
    (finding,) = tg.lint(loss)
    assert finding.text == "two convolutions with nothing between"
    assert finding.costs == "together they are one convolution with a larger kernel"


def test_a_target_of_the_network_itself_is_found_where_it_shares_a_parameter():
    layer = nn.Linear(4, 1)
    now, then = layer(x())[:, 0], layer(x() + 1)[:, 0]
    r = tg.tensor(BITS)
    assert kinds(F.mse_loss(now, r + 0.9 * then)) == ["target not detached"]
    assert kinds(F.mse_loss(r + 0.9 * then, now)) == ["target not detached"]
    assert kinds(F.mse_loss(now, (r + 0.9 * then).detach())) == []
    assert kinds(F.mse_loss(now, then)) == []  # both are to be alike
    assert kinds(F.mse_loss(now, r + nn.Linear(4, 1)(x())[:, 0])) == []
    assert kinds(F.mse_loss(now, r + 2 * then)) == []
    assert kinds(F.mse_loss(now, r + 2 * (0.5 * then))) == ["target not detached"]
    assert kinds(F.mse_loss(now, now + then)) == []


RIGHT = {
    "a softmax over positions": lambda: (F.softmax(nn.Linear(4, 3)(x()), 0).T @ x()).sum(),
    "separable convolutions": lambda: nn.Sequential(
        nn.Conv2d(2, 2, 3, groups=2), nn.Conv2d(2, 4, 1)
    )(images()).sum(),
    "a kernel in two parts": lambda: nn.Sequential(
        nn.Conv2d(2, 4, (1, 3)), nn.Conv2d(4, 4, (3, 1))
    )(images()).sum(),
    "convolutions with a relu": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)
    )(images()).sum(),
    "log_softmax before nll_loss": lambda: F.nll_loss(
        F.log_softmax(logits(), 1), tg.tensor(CLASSES)
    ),
    "softmax in the middle": lambda: F.cross_entropy(
        F.softmax(logits(), 1) @ tg.ones(3, 3), tg.tensor(CLASSES)
    ),
    "a sigmoid before its loss": lambda: F.binary_cross_entropy(
        tg.sigmoid(logits()[:, 0]), tg.tensor(BITS)
    ),
    "targets in a column": lambda: squared(logits()[:, :1], tg.tensor(BITS).reshape(32, 1)),
    "all pairs": lambda: (logits()[:, :1] * tg.tensor(BITS) @ tg.ones(32)).sum(),
    "a softmax of the target": lambda: F.cross_entropy(logits(), F.softmax(logits(), 1)),
    "few units that rest": lambda: F.relu(logits() - tg.tensor([100.0, 100.0, 0.0])).sum(),
    "one sample": lambda: squared(logits()[:1, :1], tg.tensor(BITS[:1])),
    "layers along different axes": lambda: nn.Linear(3, 3)(nn.Linear(4, 3)(x()[:3]).T).sum(),
    "the same, put in rows": lambda: nn.Linear(3, 3)(nn.Linear(4, 3)(x()).mT.reshape(32, 3)).sum(),
    "a low rank": lambda: nn.Linear(1, 4)(nn.Linear(4, 1)(x())).sum(),
    "a residual": lambda: (lambda h: nn.Linear(4, 4)(h) + h)(nn.Linear(4, 4)(x())).sum(),
    "a maker and its critic": lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh())(
        nn.Sequential(nn.Linear(4, 3))(x())
    ).sum(),
    "an array": lambda: nn.Linear(4, 3)(X).sum(),
    "a learned input": lambda: F.mse_loss(tg.zeros(4, requires_grad=True), tg.ones(4)),
    "relus that rest now and then": lambda: F.relu(logits()).sum(),
    "a sure answer": lambda: F.binary_cross_entropy(
        tg.sigmoid(20 * logits()[:, 0]), tg.tensor(BITS)
    ),
    "no graph": lambda: tg.tensor(1.0),
    **{name: lambda program=program: program()[0] for name, program in PROGRAMS.items()},
}


@pytest.mark.parametrize("case", RIGHT)
def test_there_is_no_false_alarm(case):
    assert str(tg.lint(RIGHT[case]())) == "nothing found"


class Net(nn.Module):
    def __init__(self):
        self.first = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.hidden = [nn.Linear(4, 4), nn.Linear(4, 4)]
        self.heads = {"a": nn.Linear(4, 1)}
        self.scale = tg.ones(4, requires_grad=True)
        self.known = [self.first]
        self.fixed = tg.ones(4)

    def forward(self, x):
        h = self.hidden[0](tg.relu(self.norm(self.first(x)))) * self.scale
        return self.heads["a"](nn.Linear(4, 4)(h))[:, 0]


def test_a_model_that_holds_what_it_does_not_know():
    tg.manual_seed(0)
    net = Net()
    found = tg.lint(F.mse_loss(net(x()), tg.tensor(BITS)), net)
    said = {(finding.kind, finding.text) for finding in found}
    assert said >= {
        ("unreached parameter", "the loss does not reach unused.weight, unused.bias"),
        ("not registered", "self.hidden holds a Linear that the model does not know"),
        ("not registered", "self.heads holds a Linear that the model does not know"),
        ("not registered", "self.scale holds a Tensor that the model does not know"),
        ("made in forward", "a parameter of shape (4, 4) is made in forward"),
    }
    write = {finding.text.split()[0]: finding.write for finding in found}
    assert write["self.hidden"] == "Write nn.ModuleList(...)"
    assert write["self.heads"] == "Write nn.ModuleDict(...)"
    assert not any("known" in text or "fixed" in text for _, text in said)


def test_a_loss_that_reaches_nothing():
    model = nn.Linear(4, 1)
    loss = (model(x()).detach() * tg.ones(1, requires_grad=True)).sum()
    assert "none of the model's parameters" in str(tg.lint(loss, model))
    many = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    text = str(tg.lint(many[0](x()).sum(), many))
    assert "does not reach 1.weight, 1.bias, 2.weight and 1 more" in text


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_that_were_never_zeroed(to_none):
    model = nn.Linear(4, 1)
    optimizer = tg.optim.Adam(model.parameters())

    def backward():
        loss = F.mse_loss(model(x())[:, 0], tg.tensor(BITS))
        loss.backward()
        return kinds(loss, model)

    assert backward() == backward() == []  # two halves of a batch
    optimizer.step()
    F.mse_loss(model(x())[:, 0], tg.tensor(BITS)).backward()  # as of another model that it feeds
    assert kinds(model(x()).sum(), model) == []  # these may be zeroed before backward()
    assert backward() == ["gradients added up"]
    for _ in range(2):
        optimizer.zero_grad(to_none)
        assert backward() == []
        optimizer.step()
    for p in model.parameters():
        p.grad.zero_()
    assert backward() == []
    optimizer.step()
    for p in model.parameters():
        p.grad = tg.zeros(*p.shape)
    assert backward() == []


def test_the_mode_of_dropout_and_batch_norm():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))
    assert kinds(model(x()).sum(), model) == []
    with tg.no_grad():
        assert kinds(model(x()).sum(), model) == ["train mode"]
        model.eval()
        assert kinds(model(x()).sum(), model) == []
    assert kinds(model(x()).sum(), model) == ["eval mode"]
    frozen = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4).eval().requires_grad_(False))
    assert kinds(frozen(x()).sum(), frozen) == []
    model[2].train()  # on purpose
    assert kinds(model(x()).sum(), model) == []


def test_pictures_and_traces_warn_once_and_name_the_line():
    model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(1))

    def step(x, y):
        p = model(x)
        loss = F.cross_entropy(p, y)
        loss.backward()
        return loss

    def warned(make):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            make()
        assert [w.filename for w in caught] == [__file__] * len(caught)
        return [str(w.message) for w in caught]

    given = x(), tg.tensor(CLASSES)
    line = step.__code__.co_firstlineno + 2
    for make in (tg.trace, lambda step, *given: tg.compile(step)(*given)):
        (text,) = warned(lambda make=make: make(step, *given))
        assert text.startswith(f"test_lint.py:{line}: softmax before cross_entropy: ")
    (text,) = warned(lambda: tg.trace(lambda x, y: F.cross_entropy(model(x), y), *given))
    assert "softmax before cross_entropy" in text
    (text,) = warned(lambda: draw(F.cross_entropy(model(given[0]), given[1])))
    assert text.startswith("softmax before cross_entropy")
    assert warned(lambda: draw(lambda x, t: F.mse_loss(x[:, 0], t), x(), tg.tensor(BITS))) == []


def test_what_is_no_loss_or_no_model_is_refused():
    with pytest.raises(TypeError, match="the loss is a float; wanted a Tensor"):
        tg.lint(1.0)
    with pytest.raises(TypeError, match="the model is a list; wanted a Module"):
        tg.lint(tg.tensor(1.0), [])
