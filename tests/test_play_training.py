"""Training in the page: steps, losses, updates, the learning rate, points and their boundary.

Losses are compared with eager code, updates with the optimisers' formulas in plain NumPy.
"""

import re
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest

import tinygrad_ce as tg
from tests import browser as helpers
from tests.drawn_programs import PROGRAMS
from tinygrad_ce import nn, optim
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz import play

STEPS = 20
SINGLE = 1e-5  # what the losses of float32 may be off


@pytest.fixture
def visit(open_page, tmp_path):
    """`visit(page)` opens a page."""
    page = open_page(motion="reduce")

    def visit(made):
        page.goto(made.save(tmp_path / "page.html").as_uri())
        return page

    return visit


# --- losses ---------------------------------------------------------------------------------

AGAIN = {
    "softmax_regression": lambda t: (
        -(t["y"] * F.softmax(t["x"] @ t["W"] + t["b"], dim=1).log()).sum() / 4
    ),
    "two_layer_network": lambda t: F.cross_entropy(t["model"](t["x"]), t["y"]),
    "fan_out": lambda t: F.mse_loss(fan_out(t), t["target"]),
    "lstm_step": lambda t: (t["cell"](t["x"], t["h"], t["c"])[0] ** 2).mean(),
    "attention_block": lambda t: F.cross_entropy(t["block"](t["tokens"]), t["successors"]),
}
"""The losses of the drawn programs, computed anew."""


def fan_out(t):
    h = F.tanh(t["shared"](t["x"]))
    return F.tanh(t["shared"](h)) * h + h


def trained(names):
    """The parameters among named things."""
    modules = [x for x in names.values() if isinstance(x, nn.Module)]
    tensors = [x for x in names.values() if isinstance(x, tg.Tensor)]
    return [p for m in modules for p in m.parameters()] + [
        x for x in tensors if x.requires_grad and x.is_leaf
    ]


OPTIMIZERS = {
    "softmax_regression": lambda params: optim.SGD(params, 0.1, momentum=0.9, nesterov=True),
    "two_layer_network": lambda params: optim.AdamW(params, 0.05),
    "fan_out": lambda params: optim.RMSprop(params, 0.003, momentum=0.5),
    "lstm_step": lambda params: optim.Adagrad(params, 0.1),
    "attention_block": lambda params: optim.Adam(params, 0.02, weight_decay=0.01),
}

TRAIN = f"() => (player.train({STEPS}), training.losses.slice(-{STEPS}))"


def step_of(program, optimizer, names):
    """A step of training."""

    def step():
        optimizer.zero_grad()
        loss = AGAIN[program](names)
        loss.backward()
        optimizer.step()
        return loss

    return step


@pytest.mark.parametrize("traced", [False, True], ids=["optimizer", "program"])
@pytest.mark.parametrize("program", AGAIN)
def test_losses_are_those_of_eager_code(visit, program, traced):
    loss, names = PROGRAMS[program]()
    optimizer = OPTIMIZERS[program](trained(names))
    step = step_of(program, optimizer, names)
    made = play(tg.trace(step)) if traced else play(loss, names=names, optimizer=optimizer)
    losses = [step().item() for _ in range(STEPS)] + [AGAIN[program](names).item()]
    page = visit(made)
    found = [page.evaluate("player.loss()"), *page.evaluate(TRAIN)]
    np.testing.assert_allclose(found, losses, rtol=SINGLE)
    page.evaluate("player.reset()")
    np.testing.assert_allclose(page.evaluate("player.train(7)"), losses[7], rtol=SINGLE)
    assert page.evaluate("live.past.length") == 1  # one run is undone as one


class Plain(optim.Optimizer):
    """An optimiser of the user's, with a step of its own."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @tg.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p -= group["lr"] * p.grad


KINDS = {
    "clipped": lambda params: optim.SGD(params, 0.05, momentum=0.5),
    "normalised": lambda params: optim.SGD(params, 0.05, momentum=0.5),
    "own step": lambda params: Plain(params, 0.05),
    "groups": lambda params: optim.Adam(
        [{"params": params[:2]}, {"params": params[2:], "lr": 0.01}], 0.05
    ),
}


def test_clipping_batch_statistics_own_steps_and_groups(visit):
    for kind, make in KINDS.items():
        tg.manual_seed(1)
        x, y = tg.randn(6, 2), tg.randn(6, 1)
        between = [nn.BatchNorm1d(3)] if kind == "normalised" else []
        model = nn.Sequential(nn.Linear(2, 3), *between, nn.ReLU(), nn.Linear(3, 1))
        optimizer = make(list(model.parameters()))

        def step(kind=kind, model=model, optimizer=optimizer, x=x, y=y):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            if kind == "clipped":
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            return loss

        if kind != "own step":  # an optimiser that has taken steps goes on from there
            step()
        made = play(tg.trace(step)) if kind == "clipped" else play(
            F.mse_loss(model(x), y), {"model": model, "x": x}, optimizer=optimizer
        )  # fmt: skip
        losses = [step().item() for _ in range(STEPS + 1)]
        page = visit(made)
        found = [page.evaluate("player.loss()"), *page.evaluate(TRAIN)]
        np.testing.assert_allclose(found, losses, rtol=SINGLE, err_msg=kind)


def test_a_loss_that_is_no_number_is_not_trained(visit):
    loss, names = PROGRAMS["hostile"]()
    page = visit(play(loss, names=names, optimizer=optim.SGD([names["zero_d"]], 0.1)))
    assert (
        "is nan: from here it cannot be trained." in page.locator("#training .state").inner_text()
    )
    before = page.evaluate("player.value('zero_d')")
    page.evaluate("player.train(3)")
    for key in "st":
        page.keyboard.press(key)
    assert page.evaluate("player.value('zero_d')") == before
    assert page.evaluate("training.going") == 0


# --- the update, by hand --------------------------------------------------------------------


def sgd(w, g, s, lr, momentum=0.0, weight_decay=0.0, nesterov=False):
    g = g + weight_decay * w
    v = s["v"] = momentum * s.get("v", 0) + g
    d = g + momentum * v if nesterov else v
    return {"v": v, "new": w - lr * d}


def adam(w, g, s, lr, betas=(0.9, 0.999), weight_decay=0.0, decoupled=False):
    if decoupled:
        w = w - lr * weight_decay * w
    else:
        g = g + weight_decay * w
    t = s["t"] = s.get("t", 0) + 1
    m = s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    v = s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    a, b = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    d = a / (np.sqrt(b) + 1e-8)
    return {"m": m, "v": v, "m̂": a, "v̂": b, "t": np.array(t), "d": d, "new": w - lr * d}


def rmsprop(w, g, s, lr, alpha=0.99, momentum=0.0, centered=False):
    v = s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
    m = s["m"] = alpha * s.get("m", 0) + (1 - alpha) * g
    d = g / (np.sqrt(v - m * m if centered else v) + 1e-8)
    b = s["b"] = momentum * s.get("b", 0) + d
    found = {"v": v, "d": d, "new": w - lr * b}
    return {**found, **({"b": b} if momentum else {}), **({"m": m} if centered else {})}


def adagrad(w, g, s, lr):
    total = s["s"] = s.get("s", 0) + g * g
    d = g / (np.sqrt(total) + 1e-10)
    return {"s": total, "d": d, "new": w - lr * d}


UPDATES = {
    "SGD": (optim.SGD, sgd, {"lr": 0.1}),
    "momentum": (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    "Nesterov": (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "decay": (optim.SGD, sgd, {"lr": 0.1, "weight_decay": 0.5}),
    "Adam": (optim.Adam, adam, {"lr": 0.1}),
    "Adam, decay": (optim.Adam, adam, {"lr": 0.1, "weight_decay": 0.5, "betas": (0.5, 0.9)}),
    "AdamW": (optim.AdamW, adam, {"lr": 0.1, "weight_decay": 0.5}),
    "RMSprop": (optim.RMSprop, rmsprop, {"lr": 0.1}),
    "RMSprop, all": (optim.RMSprop, rmsprop,
                     {"lr": 0.1, "alpha": 0.9, "momentum": 0.5, "centered": True}),
    "RMSprop, no memory": (optim.RMSprop, rmsprop, {"lr": 0.1, "alpha": 0.0}),
    "Adagrad": (optim.Adagrad, adagrad, {"lr": 0.1}),
}  # fmt: skip

UPDATE = """() => {
  go(steps.findIndex((step) => step.k === "u"));
  const figures = [...document.querySelectorAll("#step figure")];
  return {heading: document.querySelector("#step h2").textContent,
          tables: figures.map((one) => [one.querySelector("i").textContent,
            [...one.querySelectorAll("td")].map((td) => td.textContent)]),
          signs: [...document.querySelectorAll("#step .sign")].map((one) => one.textContent),
          math: [...document.querySelectorAll("#step .math")].map((one) => one.textContent)};
}"""


def quadratic(w):
    """Σ (w − target)², and its gradient."""
    target = np.arange(6.0).reshape(2, 3)
    return ((w - target) ** 2).sum(), 2 * (w - target)


@pytest.mark.parametrize("case", UPDATES)
def test_the_card_of_an_update_has_the_numbers_of_its_formula(visit, case):
    kind, rule, settings = UPDATES[case]
    w = tg.tensor(np.full((2, 3), 0.5), requires_grad=True)
    target = tg.tensor(np.arange(6.0).reshape(2, 3))
    loss = ((w - target) ** 2).sum()
    page = visit(play(loss, {"w": w, "target": target}, optimizer=kind([w], **settings)))
    page.evaluate("player.train(2)")
    told = page.evaluate(UPDATE)
    if "AdamW" in case:
        settings = {**settings, "decoupled": True}
    now, state = np.full((2, 3), 0.5), {}
    for _ in range(3):
        before = now
        terms = rule(now, quadratic(now)[1], state, **settings)
        now = terms["new"]
    numbers = {}
    for name, cells in told["tables"]:
        numbers[name] = [float(cell.replace("−", "-")) for cell in cells]
    assert told["heading"].startswith("Update w")
    wanted = {"w": before, "new w": terms.pop("new")}
    if case not in ("SGD", "decay"):
        made = ("d", "m̂", "v̂")  # others are kept from step to step
        wanted |= {name if name in made else f"new {name}": x for name, x in terms.items()}
    if case == "AdamW":
        wanted["smaller w"] = before * (1 - 0.1 * 0.5)
    for name, value in wanted.items():
        np.testing.assert_allclose(numbers[name], np.ravel(value), rtol=6e-3, err_msg=name)
    assert "0.1" in told["signs"]  # the learning rate
    assert told["math"][-1].startswith("w←w−lr·")


# --- what a student does --------------------------------------------------------------------

WAIT = """(steps) => new Promise((done) => {
  const look = () => {
    if (training.losses.length > steps || !training.going) done();
    else requestAnimationFrame(look);
  };
  look();
})"""
"""Wait until it has trained so many steps, or has stopped."""


def small():
    """A page that trains, its loss and its parameter."""
    w = tg.tensor(np.array([3.0, -2.0]), requires_grad=True)
    return play((w * w).sum(), {"w": w}, optimizer=optim.SGD([w], lr=0.1))


def test_buttons_and_keys(visit):
    page = visit(small())
    state = page.locator("#training .state")
    assert state.inner_text() == "after 0 steps: loss = 13"
    page.click("#take")
    assert state.inner_text() == "after 1 step: loss = 8.32"
    page.keyboard.press("s")
    assert state.inner_text() == "after 2 steps: loss = 5.3248"
    assert page.title() == "loss = 5.3248"
    page.keyboard.press("Control+z")
    assert state.inner_text() == "after 1 step: loss = 8.32"
    page.keyboard.press("r")
    assert state.inner_text() == "after 0 steps: loss = 13"
    assert page.locator("#again").get_attribute("aria-disabled") == "true"
    for start, stop in (("#train", "#train"), ("t", "t")):
        for what in (start, stop):
            page.click(what) if what[0] == "#" else page.keyboard.press(what)
            if what is start:
                page.evaluate(WAIT, 5)
        steps = page.evaluate("training.losses.length - 1")
        assert page.evaluate("player.loss()") == pytest.approx(13 * 0.64**steps, rel=1e-9)
        assert page.evaluate("training.going") == 0
        page.keyboard.press("Control+z")  # a run is undone as one
        assert page.evaluate("player.value('w').data") == [3, -2]
        assert page.locator("#train").inner_text() == "Train"


def test_numbers_that_are_edited_while_it_trains_count(visit):
    page = visit(small())
    page.evaluate("player.train(3); player.set('w', [0], 1); player.set('w', [1], 0)")
    assert page.evaluate("training.losses.at(-1)") == 1
    assert page.evaluate("player.train(1)") == pytest.approx(0.64)
    assert page.locator("#training .state").inner_text() == "after 4 steps: loss = 0.64"
    rate = page.locator('input[type="text"][aria-label="lr"]')
    first = rate.input_value()
    rate.fill("0.07")
    rate.press("Enter")
    assert rate.input_value() == "0.07" != first
    page.evaluate("player.reset()")
    assert page.evaluate("player.loss()") == 13 and rate.input_value() == first
    said = page.evaluate("(() => { try { player.train(-1) } catch (e) { return e.message } })()")
    assert said == "player.train: got -1; wanted how many steps, an integer"


def test_a_learning_rate_that_is_too_large_diverges_and_says_so(visit):
    page = visit(small())
    slider = page.locator("#training [type=range]")
    slider.evaluate("(e) => { e.value = 1; e.dispatchEvent(new Event('input'));"
                    " e.value = 2; e.dispatchEvent(new Event('input'));"
                    " e.dispatchEvent(new Event('change')); }")  # fmt: skip
    assert page.locator("#training [type=text]").input_value() == "100"
    page.click("#train")
    page.evaluate(WAIT, 1000)
    said = page.locator("#training .state").inner_text()
    assert re.match(r"loss is (∞|nan) after \d+ steps: training has diverged", said)
    assert page.evaluate("training.losses.slice(0, -1).every(Number.isFinite)")
    page.keyboard.press("r")
    assert page.locator("#training [type=text]").input_value() == "0.1"
    field = page.locator("#training [type=text]")
    field.fill("0,25")
    field.press("Enter")
    page.click("#take")
    assert page.evaluate("player.loss()") == pytest.approx(13 * 0.25)
    field.fill("much")
    field.press("Enter")
    wrong = page.locator("#training .wrong")
    assert field.input_value() == "much" and wrong.inner_text().startswith("lr: wanted a number")
    for text in ("-1", "nan", "1e999", ""):
        field.fill(text)
        field.press("Enter")
        assert wrong.is_visible() and page.evaluate("player.loss()") == pytest.approx(13 * 0.25)
    page.keyboard.press("Escape")
    field.fill("1/2")
    field.press("Enter")
    assert wrong.is_hidden()
    page.click("#take")
    assert page.evaluate("player.loss()") == 0


def steps_of(case, settings):
    """SGD with momentum or Adam on w², in NumPy: w after a step for each of the settings."""
    w, m, v = np.array([3.0, -2.0]), np.zeros(2), np.zeros(2)
    for t, (first, second) in enumerate(settings, 1):
        g = 2 * w
        if case == "SGD":
            m = first * m + g
            w = w - 0.1 * m
        else:
            m, v = first * m + (1 - first) * g, second * v + (1 - second) * g * g
            w = w - 0.1 * (m / (1 - first**t)) / (np.sqrt(v / (1 - second**t)) + 1e-8)
    return w


SETTINGS = {
    "SGD": (lambda w: optim.SGD([w], lr=0.1, momentum=0.9), "μ", ["0.5"], [(0.9, 0), (0.5, 0)]),
    "Adam": (lambda w: optim.Adam([w], lr=0.1), "β₁, β₂", ["1/2", "0,9"],
             [(0.9, 0.999), (0.5, 0.9)]),
}  # fmt: skip


@pytest.mark.parametrize("case", SETTINGS)
def test_momentum_and_betas_can_be_changed(visit, case):
    make, names, texts, settings = SETTINGS[case]
    w = tg.tensor(np.array([3.0, -2.0]), requires_grad=True)
    page = visit(play((w * w).sum(), {"w": w}, optimizer=make(w)))
    page.click("#take")
    assert page.locator(".settings summary").inner_text() == f"More settings: {names}"
    page.click(".settings summary")
    for field, text in zip(page.locator(".settings [type=text]").all(), texts, strict=True):
        for wrong in ("1", "-0.1", "x"):
            field.fill(wrong)
            field.press("Enter")
            assert "wanted a number from 0 to below 1" in page.locator(".settings").inner_text()
        field.fill(text)
        field.press("Enter")
    page.click("#take")
    wanted = steps_of(case, settings)
    np.testing.assert_allclose(page.evaluate("player.value('w').data"), wanted, rtol=1e-9)
    page.evaluate("player.goto(player.steps - 1)")
    assert "0.5" in page.locator("#step .flow .sign").all_inner_texts()
    begins = {"SGD": "v←μ·v", "Adam": "m←β₁·m+(1−β₁)·"}[case]
    assert page.locator("#step math").first.text_content().startswith(begins)
    slider = page.locator(".settings [type=range]").first
    slider.evaluate("(e) => { e.value = 2; e.dispatchEvent(new Event('input')); }")
    assert page.locator(".settings [type=text]").first.input_value() == "0.99"


def test_what_is_interrupted_leaves_nothing_behind(visit):
    page = visit(small())
    twice = "document.getElementById('train').click(); ".join(["", "", "live.past.length"])
    assert page.evaluate(twice) == 0
    slide = """(e) => { for (let k = 0; k < 2; k++) {
      e.dispatchEvent(new Event("pointerdown"));
      for (const x of [-1, -2]) { e.value = x; e.dispatchEvent(new Event("input")); }
    } return live.past.length; }"""
    assert page.locator("#training [type=range]").evaluate(slide) == 2  # without a `change`
    page.evaluate(
        "player.reset(); player.goto(steps.findIndex((step) => step.k === 'b' && step.ok))"
    )
    assert page.locator("#step .check").count() == 1
    field = page.locator("#training [type=text]")
    field.fill("0.2")
    field.press("Enter")
    assert page.locator("#step .check").count() == 1  # another learning rate changes no slope
    page.click("#quiz")
    answer = page.locator(".quiz input")
    answer.fill("tw")
    page.click("#take")
    page.evaluate("player.train(2)")
    assert answer.input_value() == "tw"
    assert not page.locator("#cards .changed").count()  # a step changes them all


def test_a_long_run_keeps_nothing_of_what_is_over(visit):
    page = visit(small())
    counts = "[document.querySelectorAll('*').length, live.past.length, live.values.length]"
    page.click("#train")
    page.evaluate(WAIT, 20)
    before = page.evaluate(counts)
    page.evaluate(WAIT, 80)
    assert page.evaluate(counts) == before


# --- points in the plane --------------------------------------------------------------------


def moons(n=40):
    """Two half circles, and on which of them a point lies."""
    random = np.random.default_rng(0)
    y = np.arange(n) % 2
    t = random.uniform(0, np.pi, n)
    x = np.where(y[:, None], np.c_[1 - np.cos(t), 0.4 - np.sin(t)], np.c_[np.cos(t), np.sin(t)])
    return tg.tensor(x.astype(np.float32)), tg.tensor(y)


class Network(nn.Module):
    def __init__(self, outputs=2, between=None):
        self.fc1, self.fc2 = nn.Linear(2, 8), nn.Linear(8, outputs)
        self.between = between or nn.Identity()

    def forward(self, x):
        return self.fc2(self.between(F.tanh(self.fc1(x))))


LOSSES = {
    "classes": (2, lambda z, y: F.cross_entropy(z, y)),
    "0 and 1": (1, lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], y.float())),
    "squares of 0 and 1": (1, lambda z, y: F.mse_loss(z, y.float().reshape(-1, 1))),
    "hinge of ±1": (1, lambda z, y: F.relu(1 - (2 * y.float() - 1) * z.squeeze(1)).mean()),
}

CLASSES = """() => {
  const points = story.live.train.points, extent = points.extent;
  const {data} = points.image.getContext("2d").getImageData(0, 0, GRID, GRID);
  return {extent, blue: Array.from({length: GRID * GRID}, (_, k) => data[4 * k + 2] > data[4 * k])};
}"""


@pytest.mark.parametrize("case", LOSSES)
def test_the_plane_has_the_classes_that_the_model_gives_it(visit, case):
    tg.manual_seed(0)
    outputs, measure = LOSSES[case]
    (x, y), model = moons(), Network(outputs)
    with tg.source_lines():
        loss = measure(model(x), y)
    page = visit(play(loss, {"x": x, "y": y, "model": model},
                      optimizer=optim.Adam(model.parameters(), 0.05)))  # fmt: skip
    right = page.locator(".plane canvas").get_attribute("aria-label")
    page.evaluate("player.train(150)")
    after = page.locator(".plane canvas").get_attribute("aria-label")
    count = [int(re.search(r"(\d+) of 40 points", text)[1]) for text in (right, after)]
    assert count[0] < count[1] and count[1] >= 36
    told = page.evaluate(CLASSES)
    for name, p in model.named_parameters():
        p.data = tg.tensor(page.evaluate(f"player.value('{name}').data"), dtype=p.dtype).reshape(
            p.shape
        )
    (left, wide), (low, high) = told["extent"]
    n = int(len(told["blue"]) ** 0.5)
    at = (np.arange(n) + 0.5) / n
    across, down = np.meshgrid(left + at * (wide - left), high - at * (high - low))
    scores = model(tg.tensor(np.c_[across.ravel(), down.ravel()].astype(np.float32))).detach()
    scores = scores.numpy()
    level = 0.5 if "squares" in case else 0.0
    far = scores[:, 1] - scores[:, 0] if outputs == 2 else scores[:, 0] - level
    sure = np.abs(far) > 1e-3
    assert (np.array(told["blue"])[sure] == (far < 0)[sure]).all()


def test_no_boundary_where_points_are_not_alone(visit):
    for between, said in ((nn.BatchNorm1d(8), "batch normalisation"), (nn.Dropout(0.5), "dropout")):
        tg.manual_seed(0)
        (x, y), model = moons(), Network(2, between)
        optimizer = optim.SGD(model.parameters(), 0.1)

        def step(x, y, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        page = visit(play(tg.trace(step, x, y)))
        assert said in page.locator(".plane .note").inner_text()
        drawn = page.locator("#training > .note").count()
        assert drawn == isinstance(between, nn.Dropout)
        before = page.evaluate("player.loss()")
        assert page.evaluate("player.train(20)") < before


# --- the page -------------------------------------------------------------------------------


def test_the_page_of_a_two_layer_network_that_trains_is_small():
    loss, names = PROGRAMS["two_layer_network"]()
    optimizer = optim.AdamW(names["model"].parameters())
    assert len(play(loss, names=names, optimizer=optimizer).html.encode()) < 180_000


def test_no_name_is_declared_by_two_scripts():
    found = Counter()
    for script in (files("tinygrad_ce.viz") / "page").iterdir():
        if script.name.endswith(".js"):
            found.update(re.findall(r"^(?:function|const|let) +(\w+)", script.read_text("utf-8"),
                                    re.MULTILINE))  # fmt: skip
    assert [name for name, count in found.items() if count > 1] == []


def test_the_page_is_legible_and_nothing_overlaps(open_page, tmp_path):
    tg.manual_seed(0)
    (x, y), model = moons(), Network()
    loss = F.cross_entropy(model(x), y)
    optimizer = optim.AdamW(model.parameters(), 0.05)
    made = play(loss, {"x": x, "y": y, "model": model}, optimizer=optimizer)
    for theme, size in (("light", (1280, 720)), ("dark", (390, 844))):
        page = open_page(theme=theme, size=size, motion="reduce")
        page.goto(made.save(tmp_path / "page.html").as_uri())
        page.evaluate("player.train(5)")
        assert page.evaluate(helpers.CROWDED, 2) == []
        for told in page.evaluate(helpers.COLOURS):
            assert helpers.contrast(told["ink"], told["paper"]) >= 4.5, told
