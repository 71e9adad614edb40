"""The page that plays a graph back, driven in a real browser: what it shows, and that it works.

The numbers on the page are compared with the same programs in plain NumPy and with central
differences of those; what lights up with index arithmetic written down here.
"""

import html
import itertools
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import tinygrad_ce as tg
from tests import browser as helpers, drawn_programs
from tests.browser import contrast, misplaced, overlap
from tests.drawn_programs import PROGRAMS
from tinygrad_ce import nn, teach
from tinygrad_ce.engine.frame import source_lines
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz import play
from tinygrad_ce.viz.graph import engines

DRAWN = [name for name in PROGRAMS if name != "hostile"]
SIZES = {"desk": (1280, 720), "phone": (390, 844)}
DIGITS = 6e-3  # what three digits may be off, of the number
SINGLE = 3e-6  # what float32 and a central difference may be off
LEGIBLE = 4.5  # contrast of a text with what is under it


# --- the same programs in NumPy -------------------------------------------------------------


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cross_entropy(z, y):
    return -np.log(softmax(z)[np.arange(len(y)), y]).mean()


def softmax_regression(t):
    z = t["x"] @ t["W"] + t["b"]
    return {"logits": z, "p": softmax(z), "loss": -(t["y"] * np.log(softmax(z))).sum() / 4}


def two_layer_network(t):
    h = sigmoid(t["x"] @ t["fc1.weight"].T + t["fc1.bias"])
    z = h @ t["fc2.weight"].T + t["fc2.bias"]
    return {"logits": z, "loss": cross_entropy(z, t["y"])}


def fan_out(t):
    h = np.tanh(t["x"] @ t["weight"].T + t["bias"])
    out = np.tanh(h @ t["weight"].T + t["bias"]) * h + h
    return {"h": h, "out": out, "loss": ((out - t["target"]) ** 2).mean()}


def lstm_step(t):
    gates = t["x"] @ t["from_x.weight"].T + t["from_x.bias"] + t["h"] @ t["from_h.weight"].T
    i, f, g, o = np.split(gates, 4, axis=1)
    c = sigmoid(f) * t["c"] + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return {"new_c": c, "new_h": h, "loss": (h**2).mean()}


def attention_block(t):
    x = t["embed.weight"][t["tokens"]]
    centred = x - x.mean(-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    normed = centred / spread * t["norm.weight"] + t["norm.bias"]
    q, k, v = (normed @ t[f"attention.{name}.weight"].T for name in ("query", "key", "value"))
    scores = np.where(np.tril(np.ones((5, 5))) > 0, q @ k.T / 2, -np.inf)
    mixed = softmax(scores) @ v
    z = x + mixed @ t["attention.out.weight"].T + t["attention.out.bias"]
    return {"logits": z, "loss": cross_entropy(z, t["successors"])}


PLAIN = softmax_regression, two_layer_network, fan_out, lstm_step, attention_block
ORACLES = {program.__name__: program for program in PLAIN}


def leaves(program):
    """The given tensors of a program as float64, and the names of those that are trained."""
    _, names = PROGRAMS[program]()
    given, trained = {}, []
    for name, thing in names.items():
        found = {name: thing} if isinstance(thing, tg.Tensor) else dict(thing.named_parameters())
        for key, tensor in found.items():
            array = tensor.detach().numpy()
            given[key] = array.astype(np.float64) if array.dtype.kind == "f" else array
            if tensor.requires_grad and tensor.is_leaf:
                trained.append(key)
    return given, trained


def slopes(f, given, name, h=1e-5):
    """∂loss/∂name by central differences."""
    found = np.zeros_like(given[name])
    for at in np.ndindex(found.shape):
        up, down = given[name].copy(), given[name].copy()
        up[at] += h
        down[at] -= h
        found[at] = (f({**given, name: up})["loss"] - f({**given, name: down})["loss"]) / (2 * h)
    return found


# --- pages ----------------------------------------------------------------------------------


@cache
def page_of(program, depth=None):
    """The page of a program, which knows its lines."""
    with source_lines():
        loss, names = PROGRAMS[program]()
    return play(loss, names=names, depth=depth)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture
def visit(open_page, folder):
    """`visit(program or page)` opens a page, at a step if one is given."""

    def visit(what, step=None, depth=None, motion="reduce", clock=False, **look):
        made = page_of(what, depth) if isinstance(what, str) else what
        name = f"{what}-{depth}" if isinstance(what, str) else "own"
        path = folder / f"{name}.html"
        if not (path.exists() and isinstance(what, str)):
            made.save(path)
        page = open_page(motion=motion, **{"size": SIZES["desk"], **look})
        if clock:
            page.clock.install(time=0)
        page.goto(path.as_uri() + ("" if step is None else f"#step={step}"))
        if clock:
            page.clock.pause_at(3600)
        return page

    return visit


@pytest.fixture(scope="module")
def told(browser, folder):
    """`told(program)` is what each step of its page shows."""
    opened = helpers.Opened(browser)
    page = opened()

    @cache
    def told(program):
        page.goto(page_of(program).save(folder / f"{program}-read.html").as_uri())
        return helpers.ask(page, helpers.READ)

    yield told
    opened.close()


def resize(page, size):
    """Give the page another size."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    until(page, f"innerWidth === {size[0]}")


def until(page, condition):
    """Wait until something holds on the page, for five seconds at most.

    Playwright's own way evaluates text again and again, which the page forbids.
    """
    page.evaluate(f"""() => new Promise((done, fail) => {{
      const end = performance.now() + 5000;
      const look = () => {condition} ? done() : performance.now() > end
        ? fail(new Error("the page did not come so far")) : requestAnimationFrame(look);
      look();
    }})""")


def step_of(steps, heading):
    """The number of the one step whose heading is this, or begins so."""
    headings = [step["heading"].partition(" in ")[0] for step in steps]
    whole = [k for k, text in enumerate(headings) if text == heading]
    (found,) = whole or (k for k, text in enumerate(headings) if text.startswith(heading))
    return found


def parsed(table):
    """The numbers in the cells of a table."""
    words = {"true": 1.0, "false": 0.0, "∞": np.inf, "−∞": -np.inf}
    return np.array([[words[cell] if cell in words else float(cell.replace("−", "-"))
                      for cell in row] for row in table["cells"]])  # fmt: skip


def table(step, start, space=None):
    """The first table of a step with such a label, as numbers; None if there is none."""
    found = (t for t in step["tables"]
             if t["label"].startswith(start) and space in (None, t["space"]))  # fmt: skip
    first = next(found, None)
    return None if first is None else parsed(first)


def here(page):
    """The number of the step that is shown."""
    return int(page.locator("#link").inner_text().split(" / ")[0])


def close(shown, wanted, digits=DIGITS, more=SINGLE):
    """Whether numbers of three digits are those wanted, whatever rows they are shown in."""
    wanted = np.asarray(wanted, float)
    np.testing.assert_allclose(shown.ravel(), wanted.ravel(), rtol=digits, atol=more)


# --- the numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("program", DRAWN)
def test_values_are_those_of_the_same_program_in_numpy(told, program):
    given, _ = leaves(program)
    values = {**given, **ORACLES[program](given)}
    loss = values.pop("loss")
    seen = set()
    for shown in (t for step in told(program) for t in step["tables"]):
        words = shown["label"].split()
        name = words[-1]  # of an operation that has a name, after it: "value of logits"
        if words[:2] == ["value", "of"] and name in values and len(words) < 5:
            close(parsed(shown), values[name])
            seen.add(name)
    assert seen == set(values)
    last = [step for step in told(program) if step["kind"] == "f"][-1]
    close(parsed(last["tables"][-1]), loss)


@pytest.mark.parametrize("program", DRAWN)
def test_gradients_are_central_differences_of_the_numpy_program(told, program):
    given, trained = leaves(program)
    for name in trained:
        shown = [t for step in told(program) for t in step["tables"]
                 if t["space"] == "x" and f"∂loss/∂{name} " in t["caption"]]  # fmt: skip
        close(parsed(shown[-1]), slopes(ORACLES[program], given, name))


def shrunk(full, shape):
    """The sum of a two-dimensional array along the axes on which a copied one has one element."""
    for axis in range(2):
        if shape[axis] == 1 and full.shape[axis] > 1:
            full = full.sum(axis, keepdims=True)
    return full


@pytest.mark.parametrize("program", DRAWN)
def test_upstream_times_slope_is_what_is_passed_on(told, program):
    counted = 0
    for step in told(program):
        upstream, slope = table(step, "gradient", "y"), table(step, "slope")
        if step["kind"] != "b" or slope is None:
            continue
        product, final = table(step, "product"), table(step, "gradient", "x")
        counted += 1
        if product is None:
            close(final, upstream * slope, 3 * DIGITS)
        else:
            close(product, upstream * slope, 3 * DIGITS)
            lost = DIGITS * shrunk(abs(product), final.shape).max()
            close(final, shrunk(product, final.shape), DIGITS, lost)
            assert any(sign.startswith("Σ") for sign in step["signs"])
    assert counted >= 4


@pytest.mark.parametrize("program", DRAWN)
def test_copies_go_forward_and_sums_come_back(told, program):
    copied = summed = 0
    for step in told(program):
        for k, shown in enumerate(step["tables"]):
            if shown["label"] == "the copies":
                own, copies = parsed(step["tables"][k - 1]), parsed(shown)
                assert (copies == np.broadcast_to(own, copies.shape)).all()
                assert "copied along" in shown["caption"]
                copied += 1
        plain = step["kind"] == "b" and any(sign.startswith("Σ ") for sign in step["signs"])
        if plain and table(step, "slope") is None:
            upstream, final = table(step, "gradient", "y"), table(step, "gradient", "x")
            lost = DIGITS * shrunk(abs(upstream), final.shape).max()
            close(final, shrunk(upstream, final.shape), DIGITS, lost)
            summed += 1
    assert copied >= 1 and summed >= 1


@pytest.mark.parametrize("program", DRAWN)
def test_already_there_and_new_are_what_is_accumulated(told, program):
    counted = 0
    for step in told(program):
        old, new, after = (table(step, word) for word in ("already there", "new", "accumulated"))
        if old is None:
            continue
        lost = DIGITS * (abs(old) + abs(new)).max()
        close(after, old + new, DIGITS, lost)
        assert (new == table(step, "gradient", "x")).all()
        counted += 1
    assert counted >= {"fan_out": 5, "two_layer_network": 2}.get(program, 1)


@pytest.mark.parametrize("program", DRAWN)
def test_matrix_products_come_back_as_the_rule_says(told, program):
    counted = 0
    for step in told(program):
        other = table(step, "value", "o")
        if other is None:
            continue
        g, rule = table(step, "gradient", "y"), step["math"].split("=")[1]
        if rule.endswith("⊤"):
            wanted, size = g @ other.T, abs(g) @ abs(other.T)
        elif ")⊤" in rule:
            wanted, size = g.T @ other, abs(g.T) @ abs(other)
        elif "⊤" in rule:
            wanted, size = other.T @ g, abs(other.T) @ abs(g)
        else:
            wanted, size = g @ other, abs(g) @ abs(other)
        close(table(step, "gradient", "x"), wanted, DIGITS, 2 * DIGITS * size.max())
        counted += 1
    assert counted >= 1


@pytest.mark.parametrize("program", DRAWN)
def test_the_page_says_where_the_gradient_is_p_minus_y(told, program):
    given, _ = leaves(program)
    said = [step for step in told(program) if "∂logits = (p − y)/" in step["said"]]
    if program in ("fan_out", "lstm_step"):
        assert not any(step["said"] for step in told(program))
        return
    (step,) = said
    y = given["successors" if program == "attention_block" else "y"]
    onehot = y if y.ndim == 2 else np.eye(int(y.max()) + 1)[y]
    p = softmax(ORACLES[program](given)["logits"])
    close(table(step, "gradient", "x"), (p - onehot) / len(p))
    classes = ", ".join(map(str, onehot.argmax(1)))
    assert (
        f"(p − y)/{len(p)} with p = softmax(logits) and y 1 at the classes {classes}: checked"
        in step["said"]
    )


@pytest.mark.parametrize("program", DRAWN)
def test_each_gradient_agrees_with_a_central_difference(told, program):
    for step in told(program):
        if step["kind"] == "b":
            assert step["check"].startswith("✓ Agrees with central differences at"), step
            to = step["check"].split()[-1].rstrip(".").replace("−", "-")
            assert to == "exactly" or float(to) < 1e-6
        else:
            assert not step["check"]


def test_a_difference_over_a_kink_is_not_called_right_or_wrong(visit):
    x = tg.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    steps = helpers.ask(visit(play(F.relu(x).sum(), names={"x": x})), helpers.READ)
    told = [step["check"] for step in steps if "to x" in step["heading"] and step["check"]]
    assert told and all("✗" not in text for text in told)
    assert any("straddles a kink" in text and text.startswith("∠") for text in told)


@pytest.mark.parametrize("program", DRAWN)
def test_each_step_shows_the_line_that_made_it(told, program):
    lines = Path(drawn_programs.__file__).read_text(encoding="utf-8").split("\n")
    for step in told(program):
        if step["kind"] in "fb":
            number = int(re.search(r"^drawn_programs\.py, line (\d+)", step["source"])[1])
            assert step["code"] == lines[number - 1].strip()
            assert step["mark"] and step["mark"] in step["code"]
    marks = {step["heading"]: step["mark"] for step in told(program)}
    if program == "softmax_regression":
        assert marks["Forward x @ W"] == "x @ W" and marks["Forward p.log()"] == "p.log()"


def test_a_page_without_lines_says_how_to_have_them(visit):
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    page = visit(play((x * x).sum(), names={"x": x}), step=1)
    assert "source_lines()" in page.locator(".source").inner_text()


# --- large, strange and empty ---------------------------------------------------------------


def test_a_large_array_is_summarised_with_a_window_onto_it(visit):
    array = np.arange(1200.0).reshape(40, 30) - 600
    x = tg.tensor(array, requires_grad=True)
    page = visit(play((x * 2).sum(), names={"x": x}))
    first = next(t for t in helpers.ask(page, helpers.READ)[1]["tables"] if t["space"] == "x0")
    page.evaluate("go(1)")
    close(parsed(first), array[:6, :6])
    figure = page.locator("#step figure").first.inner_text()
    assert "40 × 30" in figure and "rows 0–5 of 40, columns 0–5 of 30" in figure
    assert "−600" in figure and "599" in figure  # the ends of the histogram, of all of it


def test_copies_claim_nothing_about_the_output(visit):
    x = tg.tensor(np.full((20, 3), 100_000.0), requires_grad=True)
    b = tg.tensor(np.array([12345, 2, -3]))
    page = visit(play((x + b).sum(), names={"x": x, "b": b}), step=1)
    copied = page.locator("figure.copy").inner_text()
    assert "rows 0–5 of 20" in copied and "all:" not in copied
    cells = page.locator("figure.copy td").all_inner_texts()
    assert cells == ["12345", "2", "−3"] * 6
    mask = tg.tensor(np.array([True, False, True]))
    page = visit(play(tg.where(mask, x, x * 2).sum(), names={"mask": mask}), step=2)
    assert page.locator("figure.copy td").all_inner_texts() == ["true", "false", "true"] * 6


def test_integers_too_large_for_a_number_are_shown_as_they_are(visit):
    page = visit("softmax_regression")
    page.evaluate("""() => at("step").append(heat(
      {s: [3], d: ["9007199254740993", "-9007199254740995", 5]}, "y", {whole: true}))""")
    cells = page.locator("#step > figure td").all_inner_texts()
    assert cells == ["9007199254740993", "−9007199254740995", "5"]
    assert page.locator("#step > figure td.pos, #step > figure td.neg").count() == 0


def test_slices_of_three_dimensions_are_chosen(visit):
    array = np.arange(24.0).reshape(2, 3, 4)
    x = tg.tensor(array, requires_grad=True)
    page = visit(play((x * 1.5).sum(), names={"x": x}), step=1)
    chooser = page.locator("#step figure").first.get_by_label("slice")
    for k in range(2):
        chooser.select_option(str(k))
        cells = page.locator('#step table[data-space="x0"] td').all_inner_texts()
        assert np.array(cells, float).tolist() == array[k].ravel().tolist()
    page.locator('#step table[data-space="x0"] td').nth(5).hover()
    lit = page.locator('#step table[data-space="x0"] td.lit')
    assert lit.evaluate_all("all => all.map(td => Number(td.dataset.i))") == [12 + 5]


def test_strange_names_are_text_and_break_nothing(visit):
    page = visit("hostile")
    steps = helpers.ask(page, helpers.READ)
    assert page.locator("#step b script, #step kbd b").count() == 0
    shown = " ".join(step["heading"] for step in steps)
    assert '<b> & "q"' in shown and "&amp;&#65;" in shown and "🧠" in shown
    assert any("∞" in cell for step in steps for t in step["tables"] for row in t["cells"]
               for cell in row)  # fmt: skip
    assert page.locator("#step").inner_text().count("∂loss/∂") >= 5


def test_a_graph_without_gradients_says_so(visit):
    x = tg.tensor([1.0, 2.0])
    steps = helpers.ask(visit(play((x * x).sum(), names={"x": x})), helpers.READ)
    assert [step["kind"] for step in steps] == ["start", "end"]
    assert steps[-1]["why"] == "There are no gradients: nothing here requires one."


def test_a_page_without_an_engine_stacks_its_cards(visit, monkeypatch):
    monkeypatch.setattr(engines, "ENGINES", ())
    loss, names = PROGRAMS["softmax_regression"]()
    page = visit(play(loss, names=names))
    drawn = helpers.ask(page, helpers.GRAPH)
    tops = [box[1] for box in drawn["cards"].values()]
    assert len(tops) == 16 and tops == sorted(tops)
    assert not any(overlap(a, b) for a, b in itertools.combinations(drawn["cards"].values(), 2))
    assert "To see the graph laid out" in page.locator("#step").inner_text()
    page.keyboard.press("ArrowRight")
    assert "now" in page.get_by_role("button", name="x @ W, 4 × 3").get_attribute("class")


def test_two_pages_of_a_program_are_byte_for_byte_equal():
    page_of.cache_clear()
    one = page_of("attention_block").html
    page_of.cache_clear()
    assert page_of("attention_block").html == one
    assert not re.search(r'(?:src|href)="(?!#|data:)', one) and "@import" not in one


# --- what lights up -------------------------------------------------------------------------


def lit(page):
    """Space -> the places that are lit, over all tables of a step."""
    found = page.locator("#step td.lit").evaluate_all(
        "all => all.map(td => [td.closest('table').dataset.space, Number(td.dataset.i)])"
    )
    spaces = {}
    for space, place in found:
        spaces.setdefault(space, set()).add(place)
    return spaces


def hover(page, space, place):
    """What lights up under the pointer, which comes from elsewhere."""
    page.mouse.move(1, 1)
    page.locator(f'#step table[data-space="{space}"] td[data-i="{place}"]').first.hover()
    return lit(page)


def test_a_matrix_product_lights_rows_and_columns(visit, told):
    steps = told("softmax_regression")
    page = visit("softmax_regression", step_of(steps, "Forward x @ W"))
    x, W, y = (np.arange(n).reshape(shape) for n, shape in ((8, (4, 2)), (6, (2, 3)), (12, (4, 3))))
    i, k, j = 2, 1, 2
    assert hover(page, "y", y[i, j]) == {"y": {y[i, j]}, "x0": {*x[i]}, "x1": {*W[:, j]}}
    assert hover(page, "x0", x[i, k]) == {"x0": {x[i, k]}, "y": {*y[i]}, "x1": {*W[k]}}
    assert hover(page, "x1", W[k, j]) == {"x1": {W[k, j]}, "y": {*y[:, j]}, "x0": {*x[:, k]}}
    page.locator("h1").hover()
    assert lit(page) == {}


def test_a_product_with_a_transposed_factor_lights_rows_of_both(visit, told):
    page = visit("two_layer_network", 1)
    assert "⊤" in told("two_layer_network")[1]["math"]
    x, W, y = (np.arange(a * b).reshape(a, b) for a, b in ((4, 2), (5, 2), (4, 5)))
    assert hover(page, "y", y[3, 4]) == {"y": {y[3, 4]}, "x0": {*x[3]}, "x1": {*W[4]}}
    assert hover(page, "x1", W[4, 1]) == {"x1": {W[4, 1]}, "y": {*y[:, 4]}, "x0": {*x[:, 1]}}


def test_the_way_back_of_a_product_lights_what_is_multiplied(visit, told):
    steps = told("softmax_regression")
    page = visit("softmax_regression", step_of(steps, "Backward through x @ W, to W"))
    x, W, g = (np.arange(a * b).reshape(a, b) for a, b in ((4, 2), (2, 3), (4, 3)))
    assert hover(page, "x", W[1, 2]) == {"x": {W[1, 2]}, "y": {*g[:, 2]}, "o": {*x[:, 1]}}
    assert hover(page, "y", g[3, 0]) == {"y": {g[3, 0]}, "x": {*W[:, 0]}, "o": {*x[3]}}
    assert hover(page, "o", x[3, 1]) == {"o": {x[3, 1]}, "x": {*W[1]}, "y": {*g[3]}}


def test_copies_and_sums_light_along_their_axis(visit, told):
    steps = told("softmax_regression")
    page = visit("softmax_regression", step_of(steps, "Forward logits"))
    y = np.arange(12).reshape(4, 3)
    assert hover(page, "x1", 1) == {"x1": {1}, "y": {*y[:, 1]}}
    page.goto(page.url.split("#")[0] + f"#step={step_of(steps, 'Forward Σ(exp')}")
    assert hover(page, "y", 2) == {"y": {2}, "x0": {*y[2]}}
    page.goto(page.url.split("#")[0] + f"#step={step_of(steps, 'Backward through logits, to b')}")
    assert hover(page, "x", 0) == {"x": {0}, "y": {*y[:, 0]}}


def test_what_is_picked_or_transposed_lights_where_it_came_from(visit, told):
    steps = told("lstm_step")
    page = visit("lstm_step", step_of(steps, "Forward g"))
    gates, g = np.arange(32).reshape(4, 8), np.arange(8).reshape(4, 2)
    assert hover(page, "y", g[3, 1]) == {"y": {g[3, 1]}, "x0": {gates[3, 5]}}
    assert hover(page, "x0", gates[1, 0]) == {"x0": {gates[1, 0]}}
    page = visit("attention_block", step_of(told("attention_block"), "Forward k.mT"))
    k, kt = np.arange(20).reshape(5, 4), np.arange(20).reshape(4, 5)
    assert hover(page, "y", kt[3, 2]) == {"y": {kt[3, 2]}, "x0": {k[2, 3]}}
    page = visit("attention_block", step_of(told("attention_block"), "Forward x"))
    weight, x = np.arange(16).reshape(4, 4), np.arange(20).reshape(5, 4)
    twice = {x[1, 3], x[4, 3]}  # the token 2 stands at 1 and at 4
    assert hover(page, "x0", weight[2, 3]) == {"x0": {weight[2, 3]}, "y": twice}


@pytest.mark.parametrize("left, right", [((2, 2, 3), (2, 3, 2)), ((2, 3), (2, 3, 2))])
def test_products_of_stacked_matrices_light_up_within_their_own_pair(visit, left, right):
    a, b = (tg.tensor(np.arange(1.0, 1 + np.prod(s)).reshape(s), requires_grad=True)
            for s in (left, right))  # fmt: skip
    page = visit(play((a @ b).sum(), names={"a": a, "b": b}), step=1)
    x1, y = np.arange(12).reshape(2, 3, 2), np.arange(8).reshape(2, 2, 2)
    x0 = np.broadcast_to(np.arange(np.prod(left)).reshape(left), (2, 2, 3))

    for k in (1, 0):  # one choice is for all three
        page.get_by_label("slice").last.select_option(str(k))
        assert [c.input_value() for c in page.get_by_label("slice").all()] == [str(k)] * (
            2 + (len(left) == 3))  # fmt: skip
        assert hover(page, "y", y[k, 0, 1]) == {
            "y": {y[k, 0, 1]}, "x0": {*x0[k, 0]}, "x1": {*x1[k, :, 1]}
        }  # fmt: skip
        assert hover(page, "x1", x1[k, 2, 0])["x0"] == {*x0[k, :, 2]}


SHAPES = [
    ((4,), (4,)), ((4,), (4, 2)), ((3, 4), (4,)), ((3, 4), (4, 2)), ((4,), (3, 4, 2)),
    ((4,), (2, 3, 4, 2)), ((2, 3, 4), (4,)), ((2, 2, 3, 4), (4,)), ((2, 3, 4), (4, 2)),
    ((3, 4), (2, 4, 2)), ((2, 3, 4), (2, 4, 2)), ((1, 3, 4), (2, 4, 2)), ((2, 3, 4), (1, 4, 2)),
    ((2, 1, 3, 4), (3, 4, 2)), ((4,), (1, 4, 1)), ((1, 4), (4, 1)), ((1, 4), (3, 4, 1)),
]  # fmt: skip


def mixes(op, left, right):
    """Whether i of the left enters j of the product, i of the right does, and the two meet.

    Found by looking which products change when one element is no longer 1, and where two do.
    """

    def unit(shape, i):
        return np.eye(int(np.prod(shape)))[i].reshape(shape)

    a, b = np.ones(left), np.ones(right)
    from_a = np.array([op(unit(left, i), b).ravel() > 0 for i in range(a.size)])
    from_b = np.array([op(a, unit(right, i)).ravel() > 0 for i in range(b.size)])
    meet = [[(op(unit(left, i), unit(right, j)) > 0).any() for j in range(b.size)]
            for i in range(a.size)]  # fmt: skip
    return from_a, from_b, np.array(meet)


def test_products_light_up_as_the_elements_are_mixed_for_all_shapes(visit):
    page = visit("softmax_regression")
    cases = [("mm", np.matmul, left, right) for left, right in SHAPES]
    cases += [("in", np.inner, (3, 4), (2, 4)), ("in", np.inner, (1, 4), (3, 4))]
    for kind, op, left, right in cases:
        shape = op(np.ones(left), np.ones(right)).shape
        found = page.evaluate(
            """([kind, left, right, out]) => {
              const grid = (a, b, f) => [...Array(sizeOf(a)).keys()].map((i) =>
                [...Array(sizeOf(b)).keys()].map((j) => f(i, j)));
              return [grid(left, out, (i, j) => feeds([kind, 0], left, out, i, j)),
                      grid(right, out, (i, j) => feeds([kind, 1], right, out, i, j)),
                      grid(left, right, (i, j) => meet(kind, left, right, i, j))];
            }""",
            [kind, left, right, shape],
        )
        for lit, wanted in zip(found, mixes(op, left, right), strict=True):
            assert (np.array(lit) == wanted).all(), (kind, left, right)


def test_what_is_folded_lights_up_without_an_error(visit):
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            self.h = x @ x
            return self.fc(self.h).relu()

    model, x = Keeps(), tg.tensor(np.ones((2, 2), np.float32), requires_grad=True)
    page = visit(play((model(x) @ model.h).sum(), depth="Keeps"), step=2)
    x0 = x1 = np.arange(4).reshape(2, 2)
    assert hover(page, "x0", x0[1, 0]) == {"x0": {x0[1, 0]}, "x1": {*x1[0]}, "y": {*x0[1]}}


SYMMETRIC = r"""
() => {
  const wrong = [];
  let pairs = 0;
  for (let k = 0; k < steps.length; k++) {
    go(k);
    const cells = [...document.querySelectorAll("#step table[data-space] td")];
    const key = (td) => `${td.closest("table").dataset.space} ${td.dataset.i}`;
    const lights = new Map();
    for (const td of cells) {
      td.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
      lights.set(key(td), new Set(cells.filter((c) => c.matches(".lit")).map(key)));
    }
    for (const [a, all] of lights) {
      if (!all.has(a)) wrong.push(`${k}: ${a} does not light itself`);
      for (const b of all) if (++pairs && !lights.get(b).has(a)) wrong.push(`${k}: ${a} ${b}`);
    }
  }
  return {wrong, pairs};
}
"""


@pytest.mark.parametrize("program", DRAWN)
def test_what_lights_up_an_element_is_lit_up_by_it(visit, program):
    found = visit(program).evaluate(SYMMETRIC)
    assert not found["wrong"]
    assert found["pairs"] > 1000


def test_cells_are_reached_with_the_arrow_keys(visit, told):
    page = visit("softmax_regression", step_of(told("softmax_regression"), "Forward x @ W"))
    page.locator('#step table[data-space="y"]').focus()
    places = []
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        places.append(page.evaluate("Number(document.activeElement.dataset.i)"))
    assert places == [0, 3, 4, 3, 0]
    assert lit(page) == {"y": {0}, "x0": {0, 1}, "x1": {0, 3}}
    assert here(page) == 1


# --- controls -------------------------------------------------------------------------------


def test_buttons_slider_and_keys_go_where_they_say(visit, told):
    page, last = visit("fan_out"), len(told("fan_out")) - 1
    pressed = [("Next step", 1), ("Next step", 2), ("Previous step", 1), ("Last step", last),
               ("Previous step", last - 1), ("First step", 0)]  # fmt: skip
    for name, step in pressed:
        page.get_by_role("button", name=name).click()
        assert here(page) == step
        assert page.locator("#slider").input_value() == str(step)
    keys = [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", last),
            ("ArrowRight", last), ("Home", 0), ("ArrowLeft", 0)]  # fmt: skip
    page.locator("h1").click()
    for key, step in keys:
        page.keyboard.press(key)
        assert here(page) == step
    page.locator("#slider").fill("7")
    assert here(page) == 7
    page.locator("#slider").press("ArrowRight")
    assert page.locator("#step h2").inner_text() == told("fan_out")[8]["heading"]
    page.locator("h1").click()
    page.keyboard.press("Control+ArrowRight")
    assert here(page) == 8


def test_ends_cannot_be_passed(visit, told):
    page = visit("fan_out")
    assert page.locator("button[aria-disabled=true]").evaluate_all("all => all.map(b => b.id)") == [
        "first",
        "back",
    ]
    page.keyboard.press("End")
    assert page.locator("button[aria-disabled=true]").evaluate_all("all => all.map(b => b.id)") == [
        "next",
        "last",
    ]


def test_the_keyboard_stays_in_the_bar_at_the_ends(visit):
    page = visit("softmax_regression")
    for id, end in (("next", 26), ("back", 0)):
        page.locator(f"#{id}").focus()
        for _ in range(28):
            page.keyboard.press("Enter")
        assert here(page) == end
        assert page.evaluate("document.activeElement.id") == id


@pytest.mark.parametrize("start", ["h1", "#slider"])
def test_space_plays_and_pauses(visit, told, start):
    page, last = visit("softmax_regression", clock=True), len(told("softmax_regression")) - 1
    if start == "#slider":
        page.locator(start).focus()
    page.keyboard.press(" ")
    assert page.locator("#run").get_attribute("aria-label") == "Pause"
    page.clock.run_for(1199)
    assert here(page) == 0
    page.clock.run_for(1)
    assert here(page) == 1
    page.clock.run_for(2400)
    assert here(page) == 3
    page.keyboard.press(" ")
    page.clock.run_for(5000)
    assert here(page) == 3 and page.locator("#run").get_attribute("aria-label") == "Play"
    page.locator("#run").click()
    page.clock.run_for(1200 * (last + 2))
    assert here(page) == last and page.locator("#run").get_attribute("aria-label") == "Play"
    page.locator("#run").click()
    assert here(page) == 0
    page.clock.run_for(1200)
    assert here(page) == 1


def test_a_link_leads_to_its_step(visit, told):
    page = visit("lstm_step", 24)
    assert here(page) == 24
    assert page.locator("#step h2").inner_text() == told("lstm_step")[24]["heading"]
    assert page.locator("#link").get_attribute("href") == "#step=24"
    page.keyboard.press("ArrowRight")
    until(page, "location.hash === '#step=25'")
    page.evaluate("location.hash = 'step=3'")
    until(page, "state.step === 3")
    assert here(page) == 3
    assert here(visit("lstm_step", 9999)) == len(told("lstm_step")) - 1
    assert here(visit("lstm_step", "nonsense")) == 0


def test_a_card_leads_to_where_it_is_computed_and_then_to_its_gradient(visit, told):
    page = visit("softmax_regression")
    page.get_by_role("button", name="Show the whole graph").click()
    card = page.get_by_role("button", name="p, ÷, 4 × 3")
    steps = told("softmax_regression")
    made = step_of(steps, "Forward p")
    arrived = step_of(steps, "Backward through p.log(), to p")
    for step in (made, arrived, made):
        card.click()
        assert here(page) == step
    page.get_by_role("button", name="W, 2 × 3").click()
    assert here(page) == step_of(steps, "Backward through x @ W, to W")


def test_the_theme_follows_the_system_until_it_is_chosen(visit):
    page = visit("softmax_regression", theme="dark")
    theme = "document.documentElement.dataset.theme"
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(theme) == "dark"
    page.emulate_media(color_scheme="light")
    until(page, f"{theme} === 'light'")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    button, seen = page.locator("#theme"), []
    for _ in range(3):
        button.click()
        seen.append((button.inner_text().split()[-1].lower(), page.evaluate(theme)))
    assert seen == [("light", "light"), ("dark", "dark"), ("auto", "light")]
    x = tg.tensor(2.0, requires_grad=True)
    chosen = visit(play(x * x, names={"x": x}, theme="dark"), theme="light")
    assert chosen.evaluate(theme) == "dark"


# --- the graph ------------------------------------------------------------------------------


def test_what_is_not_computed_yet_is_faint_and_gradients_are_hidden(visit, told):
    page, steps = visit("softmax_regression"), told("softmax_regression")
    made = step_of(steps, "Forward p.log()")
    looks = """(k) => {go(k); const look = {};
      for (const g of document.querySelectorAll("#cards .card")) {
        const red = [...g.querySelectorAll("text")].filter((t) => /∇/.test(t.textContent));
        const name = g.getAttribute("aria-label").split(", ").slice(0, 2).join(", ");
        look[name] = [g.classList.contains("todo"), red.length > 0 &&
          getComputedStyle(red[0]).visibility === "visible"]; }
      return look;}"""
    for step, todo in ((made - 1, True), (made, False)):
        assert page.evaluate(looks, step)["p.log(), 4 × 3"] == [todo, False]
    twice = [k for k, step in enumerate(steps)
             if re.search(r", to exp\(logits − max z\)(?: in|$)", step["heading"])]  # fmt: skip
    assert len(twice) == 2  # a gradient is shown when all of it has arrived
    assert [page.evaluate(looks, k)["exp(logits − max z), 4 × 3"][1] for k in twice] == [
        False,
        True,
    ]
    assert all(red or "max z" in name or name[0] in "xy" for name, (_, red) in
               page.evaluate(looks, len(steps) - 1).items())  # fmt: skip


@pytest.mark.parametrize("program", DRAWN)
def test_the_card_of_each_step_is_marked_and_in_view(visit, told, program):
    page = visit(program)
    found = []
    for size in SIZES.values():
        resize(page, size)
        found += page.evaluate("""() => steps.map((step, k) => {
      go(k);
      const pane = svg.getBoundingClientRect();
      const now = document.querySelector(".card.now");
      if (!now) return [k, "", true];
      const r = now.querySelector("rect").getBoundingClientRect();
      const [x, y] = [(r.left + r.right) / 2, (r.top + r.bottom) / 2];
      return [k, now.getAttribute("aria-label"),
              pane.left <= x && x <= pane.right && pane.top <= y && y <= pane.bottom - 40];
    })""")
    for (k, label, seen), step in zip(found, 2 * told(program), strict=True):
        assert seen, (k, label)
        if step["kind"] == "f":
            assert " ".join(label.split(",")[0].split()) in " ".join(step["heading"].split())
        if step["kind"] == "b":
            heading = step["heading"].split(", to ")[1].split(" in ")[0]
            assert label.startswith(heading)


def test_a_title_folds_its_cluster_and_its_card_unfolds_it(visit):
    page = visit("two_layer_network")
    before = helpers.ask(page, helpers.GRAPH)
    for way in ("click", "keyboard"):
        title = page.locator(".title[aria-label=sigmoid]")
        assert title.get_attribute("aria-expanded") == "true"
        title.click() if way == "click" else title.press("Enter")
        card = page.get_by_role("button", name="sigmoid, folded: 6 operations")
        assert page.evaluate("document.activeElement.id") == card.get_attribute("id")
        drawn = helpers.ask(page, helpers.GRAPH)
        assert len(before["cards"]) - len(drawn["cards"]) == 8 - 1
        words = " ".join(part["text"] for part in drawn["parts"]
                         if part["group"] == card.get_attribute("id"))  # fmt: skip
        assert "⊞ sigmoid" in words and "6 operations" in words
        card.click() if way == "click" else card.press(" ")
        assert helpers.ask(page, helpers.GRAPH)["cards"] == before["cards"]
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "sigmoid"


def test_all_is_folded_and_unfolded(visit):
    page = visit("attention_block")
    before = set(helpers.ask(page, helpers.GRAPH)["cards"])
    page.get_by_role("button", name="Fold all", exact=True).click()
    drawn = helpers.ask(page, helpers.GRAPH)
    outermost = page.locator(".cluster:not([data-c])").count()
    assert not drawn["clusters"]
    assert len([id for id in drawn["cards"] if id.startswith("f")]) == outermost == 2
    page.keyboard.press("End")
    shown = page.locator(".card.call:visible").evaluate_all(
        "all => all.map(g => getComputedStyle(g).opacity)"
    )
    assert shown == ["1", "1"]
    page.get_by_role("button", name="Unfold all").click()
    assert set(helpers.ask(page, helpers.GRAPH)["cards"]) == before


def test_the_wheel_moves_and_zooms_at_the_pointer(visit):
    page = visit("softmax_regression", 1)
    card = page.locator("#cards .card").nth(3).locator("rect").first
    start = card.bounding_box()
    page.mouse.move(start["x"], start["y"])
    k = page.evaluate("camera.k")
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    until(page, f"camera.k !== {k}")
    large = card.bounding_box()
    assert large["width"] / start["width"] == pytest.approx(np.exp(100 / 200), rel=1e-3)
    assert (large["x"], large["y"]) == pytest.approx((start["x"], start["y"]), abs=2.5)
    at = page.evaluate("camera.y")
    page.mouse.wheel(30, 50)
    until(page, f"camera.y !== {at}")
    moved = card.bounding_box()
    assert (moved["x"] - large["x"], moved["y"] - large["y"]) == pytest.approx((-30, -50), abs=1)


def test_buttons_and_keys_zoom(visit):
    page = visit("softmax_regression", 1)
    rect = page.locator("#cards .card rect").first
    width = lambda: rect.bounding_box()["width"]  # noqa: E731
    start = width()
    for do, factor in (
        (lambda: page.get_by_role("button", name="Zoom in").click(), 1.25),
        (lambda: page.keyboard.press("+"), 1.25**2),
        (lambda: page.get_by_role("button", name="Zoom out").click(), 1.25 * 1.25 * 0.8),
        (lambda: page.keyboard.press("-"), 1.25 * 1.25 * 0.8 * 0.8),
        (lambda: page.keyboard.press("0"), 1.0),
    ):
        do()
        assert width() == pytest.approx(start * factor, rel=1e-3)
    page.get_by_role("button", name="Show the whole graph").click()
    pane = page.locator("#graph").bounding_box()
    for box in (card.bounding_box() for card in page.locator(".card").all()):
        assert pane["y"] <= box["y"] and box["y"] + box["height"] <= pane["y"] + pane["height"]


def test_the_graph_is_dragged_and_a_drag_is_no_click(visit):
    page = visit("softmax_regression", 1)
    card = page.locator(".card.now rect").first
    start = card.bounding_box()
    x, y = start["x"] + 20, start["y"] + 20
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 10, y + 10)
    page.mouse.move(x - 40, y + 60)
    page.mouse.up()
    moved = card.bounding_box()
    assert (moved["x"] - start["x"], moved["y"] - start["y"]) == pytest.approx((-40, 60), abs=0.5)
    assert here(page) == 1
    page.mouse.click(x - 40, y + 60)
    assert here(page) != 1


def camera(page):
    return page.evaluate("[camera.x, camera.y, camera.k]")


def test_a_button_that_is_let_go_outside_drags_nothing(visit):
    page = visit("softmax_regression")
    box = page.locator("#graph").bounding_box()
    right, y = box["x"] + box["width"], box["y"] + 200
    before = camera(page)
    page.mouse.move(right - 2, y)
    page.mouse.down()
    page.mouse.move(right + 1, y)
    page.mouse.up()
    page.mouse.move(right - 100, y)
    page.mouse.move(right - 200, y + 30)
    assert camera(page) == before
    page.mouse.down()
    page.mouse.move(right - 150, y + 40)
    assert camera(page) == [before[0] + 50, before[1] + 10, before[2]]


def test_only_the_main_button_drags(visit):
    page = visit("softmax_regression")
    box = page.locator("#graph").bounding_box()
    before = camera(page)
    for button in ("right", "middle"):
        page.mouse.move(box["x"] + 30, box["y"] + 100)
        page.mouse.down(button=button)
        page.mouse.move(box["x"] + 90, box["y"] + 150)
        page.mouse.up(button=button)
    assert camera(page) == before


def test_a_new_size_keeps_what_the_reader_has_chosen(visit):
    page = visit("softmax_regression")
    fitted = camera(page)
    resize(page, (2400, 900))
    until(page, f"camera.x !== {fitted[0]}")
    box = page.locator("#graph").bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 300)

    def drag():
        page.mouse.down()
        page.mouse.move(box["x"] + 90, box["y"] + 200)
        page.mouse.up()

    for choose in (drag, lambda: page.keyboard.press("+"), lambda: page.mouse.wheel(0, 40)):
        page.keyboard.press("0")
        start = camera(page)
        choose()
        until(page, f"[camera.x, camera.y, camera.k].join() !== '{','.join(map(str, start))}'")
        chosen = camera(page)
        resize(page, (2200, 850))
        page.evaluate("() => new Promise((done) => requestAnimationFrame(done))")
        assert camera(page) == chosen
        resize(page, (2400, 900))
    page.get_by_role("button", name="Show the whole graph").click()
    resize(page, (1000, 500))
    until(page, "camera.k < 0.5")
    pane = page.locator("#graph").bounding_box()
    for box in (card.bounding_box() for card in page.locator(".card").all()):
        assert pane["y"] <= box["y"] and box["y"] + box["height"] <= pane["y"] + pane["height"]


def test_the_wheel_moves_the_page_around_when_the_graph_is_at_its_end(open_page, folder):
    path = folder / "tall.html"
    shown = page_of("fan_out")._repr_html_()
    below = "<p style='height:3000px'></p>"
    path.write_text(f"<!doctype html><meta charset=utf-8>{shown}{below}", "utf-8")
    page = open_page(size=SIZES["desk"], motion="reduce")
    page.goto(path.as_uri())
    frame = next(f for f in page.frames if f != page.main_frame)
    frame.wait_for_selector("#graph")
    page.mouse.move(200, 300)
    start = frame.evaluate("camera.y")
    page.mouse.wheel(0, 60)
    until(frame, f"camera.y === {start} - 60")
    assert page.evaluate("scrollY") == 0
    page.mouse.wheel(0, 100_000)
    lowest = (
        "Math.round(svg.getBoundingClientRect().height - camera.y - extent().bottom * camera.k)"
    )
    until(frame, f"{lowest} === CORNER")
    assert page.evaluate("scrollY") == 0
    page.mouse.wheel(0, 60)
    until(page, "scrollY === 60")
    assert frame.evaluate(lowest) == frame.evaluate("CORNER")
    page.mouse.wheel(0, -60)
    until(frame, f"{lowest} === CORNER - 60")


def test_a_hand_that_trembles_clicks(visit, told):
    page = visit("softmax_regression", 1)
    box = page.get_by_role("button", name="W, 2 × 3").locator("rect").first.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 22, box["y"] + 21)
    page.mouse.up()
    assert here(page) == step_of(told("softmax_regression"), "Backward through x @ W, to W")


def test_two_fingers_zoom_where_they_are(visit):
    page = visit("softmax_regression", 1, size=SIZES["phone"], has_touch=True)
    client = page.context.new_cdp_session(page)
    card = page.locator(".card.now rect").first
    start = card.bounding_box()
    x, y = start["x"], start["y"]  # between the fingers

    def touch(kind, *fingers):
        points = [{"x": x + dx, "y": y, "id": k} for k, dx in enumerate(fingers)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -30, 30)
    for reach in range(31, 61):
        touch("touchMove", -reach, reach)
    touch("touchEnd")
    until(page, "!svg.classList.contains('held')")
    large = card.bounding_box()
    assert large["width"] / start["width"] == pytest.approx(2, rel=0.05)
    assert (large["x"], large["y"]) == pytest.approx((start["x"], start["y"]), abs=12)
    assert here(page) == 1


def test_motion_is_left_out_where_it_is_not_wanted(visit):
    lasting = "getComputedStyle(view).transitionDuration"
    still = visit("softmax_regression", motion="reduce").evaluate(lasting)
    moving = visit("softmax_regression", motion="no-preference").evaluate(lasting)
    assert (still, moving) == ("0s", "0.3s")


# --- layout ---------------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_texts_overlap_at_any_step(visit, arial, program):
    page = visit(program)
    for size in SIZES.values():
        resize(page, size)
        assert not page.evaluate(helpers.CROWDED, 1)


def test_a_graph_that_is_larger_than_its_window_fills_it(visit):
    page = visit("attention_block")
    for step in (40, 1, 89, 0):
        page.evaluate(f"player.goto({step})")
        above, below = page.evaluate("""() => {
          const [box, { height }] = [extent(), svg.getBoundingClientRect()];
          const at = (y) => y * camera.k + camera.y;
          return [at(box.top), at(box.bottom) - height + CORNER];
        }""")
        assert above < 1 and below > -1


def crowded(drawn):
    """What is wrong with a graph: texts that overlap or stick out, cards that cover others."""
    return misplaced(drawn["parts"], {**drawn["cards"], **drawn["clusters"]}, drawn["cards"])


def fold_half(page):
    """Fold the clusters that hold no other one, by their titles."""
    inner = page.evaluate("""() => [...document.querySelectorAll(".cluster")]
      .filter((g) => !document.querySelector(`[data-c="${g.id.slice(1)}"].cluster`))
      .map((g) => g.id)""")
    for id in inner:
        page.locator(f"#{id} .title").press("Enter")


def test_a_long_name_breaks_and_a_role_does_not(visit):
    lines = """all => all.map((cell) => {
      const range = document.createRange();
      range.selectNodeContents(cell);
      return new Set([...range.getClientRects()].map((r) => Math.round(r.top))).size; })"""
    page = visit("hostile")
    names = page.locator("#step .list td:first-child").evaluate_all(lines)
    roles = page.locator("#step .list td:nth-child(2)").evaluate_all(lines)
    assert max(names) > 1 and set(roles) == {1}


@pytest.mark.parametrize("program", DRAWN)
def test_nothing_overlaps_in_the_graph_however_it_is_folded(visit, arial, program):
    page = visit(program)
    for size in SIZES.values():
        resize(page, size)
        page.locator("#unfold").click()
        seen = {"expanded": helpers.ask(page, helpers.GRAPH)}
        fold_half(page)
        seen["half"] = helpers.ask(page, helpers.GRAPH)
        page.locator("#fold").click()
        seen["folded"] = helpers.ask(page, helpers.GRAPH)
        counts = [len(drawn["cards"]) for drawn in seen.values()]
        assert counts[0] > counts[1] >= counts[2]
        wrong = {state: crowded(drawn) for state, drawn in seen.items()}
        assert not any(wrong.values()), wrong


NESTED = [("two_layer_network", 1), ("attention_block", 1)]


@pytest.mark.parametrize("program, depth", [*NESTED, *((program, 0) for program in DRAWN)])
def test_pages_that_are_folded_from_the_start_are_in_order(visit, arial, program, depth):
    page = visit(program, depth=depth)
    assert not crowded(helpers.ask(page, helpers.GRAPH))
    assert not page.evaluate(helpers.CROWDED, 1)
    steps = helpers.ask(page, helpers.READ)
    assert len(steps) < page_of(program).steps
    checks = [s["check"] for s in steps if s["kind"] == "b"]
    together = re.compile(r"· Not checked: \d+ gradients arrive here together\.")
    assert all(text.startswith("✓") or together.fullmatch(text) for text in checks)
    assert any(text.startswith("✓") for text in checks)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("program", ["softmax_regression", "attention_block"])
def test_texts_are_legible(visit, program, theme):
    page = visit(program, theme=theme)
    seen = helpers.ask(page, helpers.COLOURS)
    assert len(seen) > 20
    page.keyboard.press("End")
    seen += helpers.ask(page, helpers.GRAPH)["parts"]
    page.locator("#fold").click()
    seen += helpers.ask(page, helpers.GRAPH)["parts"]
    wrong = {(round(contrast(c["ink"], c["paper"]), 2), c["text"]) for c in seen
             if contrast(c["ink"], c["paper"]) < LEGIBLE}  # fmt: skip
    assert not wrong
    bright = [helpers.luminance(c["paper"]) > 0.3 for c in seen]
    assert all(bright) if theme == "light" else not any(bright)


# --- quiz -----------------------------------------------------------------------------------


def test_the_quiz_hides_a_gradient_and_checks_what_is_answered(visit, told):
    steps = told("softmax_regression")
    k = step_of(steps, "Backward through x @ W, to W")
    page = visit("softmax_regression", k)
    given, _ = leaves("softmax_regression")
    wanted = slopes(softmax_regression, given, "W")
    page.get_by_role("button", name="Quiz").click()
    assert page.locator("#quiz").get_attribute("aria-pressed") == "true"
    assert page.locator('#step table[data-space="x"]').count() == 0
    assert page.locator("#step .check").count() == 0
    field = page.locator(".quiz input")
    for answer, words in (("3 × 2", "Not 3 × 2."), ("two", "Write a shape such as")):
        field.fill(answer)
        field.press("Enter")
        assert words in page.locator(".quiz .no").inner_text()
    field.fill("(2, 3)")
    page.get_by_role("button", name="Check").click()
    hidden = page.locator('#step table[data-space="x"] td')
    assert hidden.all_inner_texts() == ["?"] * 6
    asked = re.search(r"∂loss/∂W\[(\d), (\d)\]", page.locator(".quiz").inner_text())
    at = tuple(map(int, asked.groups()))
    marked = page.locator("#step td.ask").evaluate_all("all => all.map(td => +td.dataset.i)")
    assert marked == [np.ravel_multi_index(at, (2, 3))]
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "element"
    for answer in (-wanted[at], wanted[at] * 1.1, wanted[at] + 1):
        page.locator(".quiz input").fill(f"{answer:.4g}")
        page.keyboard.press("Enter")
        assert "Not " in page.locator(".quiz .no").inner_text()
    page.locator(".quiz input").fill(f"{wanted[at]:.2g}".replace("-", "−"))
    page.keyboard.press("Enter")
    assert page.locator(".quiz").count() == 0
    assert "Right. 1 of 1." in page.locator("#say").inner_text()
    cells = page.locator('#step table[data-space="x"] td').all_inner_texts()
    close(np.array([float(c.replace("−", "-")) for c in cells]), wanted)


def test_the_quiz_gives_nothing_away(visit, told):
    steps = told("fan_out")
    page = visit("fan_out")
    page.locator("#quiz").click()
    asked = 0
    for k, step in enumerate(steps):
        page.evaluate(f"go({k})")
        if step["kind"] != "b":
            assert page.locator(".quiz").count() == 0
            assert "Go to a backward step to be asked" in page.locator("#step").inner_text()
            continue
        assert "Go to a backward step" not in page.locator("#step").inner_text()
        asked += 1
        labels = page.locator("#step table[data-space]").evaluate_all(
            "all => all.map(t => t.getAttribute('aria-label'))"
        )
        assert not {"new", "accumulated", "product"} & set(labels)
        assert not page.locator('#step table[aria-label^="gradient"][data-space="x"]').count()
        assert (
            "∇" not in page.locator(".card.now").text_content()
            or page.locator(".card.now.blank").count()
        )
    assert asked == sum(step["kind"] == "b" for step in steps)


def test_the_quiz_can_be_asked_to_show(visit, told):
    k = step_of(told("two_layer_network"), "Backward through logits − max z, to logits")
    page = visit("two_layer_network", k)
    page.locator("#quiz").click()
    page.get_by_role("button", name="Show it").click()
    assert "0 right of 1" in page.locator("#step").inner_text()
    assert page.locator("#step .check").count() == 1
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    assert page.locator(".quiz").count() == 0
    page.locator("#quiz").click()
    page.keyboard.press("ArrowRight")
    assert page.locator(".quiz").count() == 0 and "Quiz:" not in page.locator("#step").inner_text()


def answer(page, text):
    page.locator(".quiz input").fill(text)
    page.locator(".quiz input").press("Enter")


def test_a_small_gradient_is_asked_for_relative_to_itself(visit):
    x = tg.tensor(3.0, requires_grad=True)
    page = visit(play(x * -2e-10, names={"x": x}), step=3)
    page.locator("#quiz").click()
    answer(page, "scalar")
    for wrong in ("0", "2e-10", "−2.2e−10"):
        answer(page, wrong)
        said = page.locator(".quiz .no").inner_text()
        assert said.startswith("Not ") and page.locator("#say").inner_text() == said
    answer(page, "−2e−10")
    assert page.locator(".quiz").count() == 0
    assert page.evaluate("allowed(0)") == 0


def test_the_quiz_names_the_slip_that_gives_a_number(visit):
    numbers = np.array([0.3, -0.7, 1.1], np.float32)
    c = np.array([2.6, -1.3, 5.3], np.float32)
    x = tg.tensor(numbers, requires_grad=True)
    b = tg.tensor(0.2, requires_grad=True)
    page = visit(play(((x + b).tanh() * tg.tensor(c)).mean(), names={"x": x, "b": b}))
    z, h = numbers + 0.2, np.tanh(numbers + 0.2)
    up, slope = c / 3, 1 - h * h
    value = up * slope
    asked = {  # where, which element: each number that may be written, and what gives it
        "tanh": (2, value[2], [
            (-value[2], "sign"), (up[2], "missing factor"), (slope[2], "no upstream"),
            (z[2], "value for gradient"), (up[2] * z[2], "value for slope"),
            (up[2] * h[2], "value for slope"), (value[2] * slope[2], "factor twice"),
            (up[2] / slope[2], "inverted factor"), (2 * value[2], "scale"),
            (value[2] / 2, "scale"), (3 * value[2], "scale"), (value[2] / 3, "scale"),
            (12.3 * value[2], None), (1.31 * value[2], None),
        ]),
        "+": (0, value.sum(), [(value.mean(), "mean for sum"), (-value.sum(), "sign")]),
        "×": (0, up[0], [(1 / 3, "missing factor"), (c[0], "no upstream"),
                         (h[0] / 3, "value for slope"), (h[0], "value for gradient")]),
    }  # fmt: skip
    for op, (place, right, slips) in asked.items():
        of = {"tanh": 0, "+": -1, "×": 0}[op]
        said = page.evaluate(
            f"""(() => {{
                const back = steps.filter((s) => s.k === "b" && story.tensors[s.y].op === {op!r});
                const step = back.at({of});
                return {[float(number) for number, _ in slips]}.map(
                    (given) => slipIn(step, given, {float(right)}, {place}));
            }})()"""
        )
        assert said == [teach.FAULTS[kind] if kind else "" for _, kind in slips], op


def test_playing_waits_for_an_answer(visit, told):
    k = step_of(told("softmax_regression"), "Backward through x @ W, to W")
    page = visit("softmax_regression", k - 1, clock=True)
    page.evaluate("state.solved.add(state.step)")
    page.locator("#quiz").click()
    page.locator("#run").click()
    page.clock.run_for(1200)
    assert here(page) == k
    page.locator(".quiz input").fill("2 ×")
    page.clock.run_for(20_000)
    assert here(page) == k and page.locator(".quiz input").input_value() == "2 ×"
    assert "Playing goes on after the answer." in page.locator(".quiz").inner_text()
    page.get_by_role("button", name="Show it").click()
    page.clock.run_for(1199)
    assert here(page) == k
    page.clock.run_for(1)
    assert here(page) == k + 1


def test_a_share_of_a_gradient_is_called_one(visit, told):
    steps = told("fan_out")
    shares = [k for k, step in enumerate(steps) if any(t["label"] == "new" for t in step["tables"])]
    page = visit("fan_out", shares[0])
    (shown,) = [t for t in steps[shares[0]]["tables"] if t["label"].startswith("gradient share")]
    assert shown["caption"].startswith("share of ∂loss/∂")
    page.locator("#quiz").click()
    assert "Which shape has this share of ∂loss/∂" in page.locator(".quiz").inner_text()
    answer(page, page.evaluate("shapeText(steps[state.step].new.s)"))
    assert "What is this share of ∂loss/∂" in page.locator(".quiz").inner_text()


# --- what a story may say ---------------------------------------------------------------------


def test_the_mark_counts_characters(visit):
    page = visit("softmax_regression", 1)
    line = 's = "🧠🧠"; y = x @ W'
    start = line.index("x @ W")
    page.evaluate(
        "(source) => { story.files[steps[1].src] = source; show(); }",
        ["a.py", 7, line, start, start + 5],
    )
    assert page.locator(".source mark").inner_text() == "x @ W"


def test_what_comes_late_is_said_after_the_tables(visit, told):
    page = visit("softmax_regression")
    for k in (1, step_of(told("softmax_regression"), "Backward through x @ W, to W")):
        page.evaluate(f"steps[{k}].late = 'written over <b>'; go({k})")
        assert page.locator("#step .flow + .check.kink").inner_text() == "written over <b>"


def test_the_end_lists_what_the_story_lists(visit):
    page = visit("softmax_regression")
    page.evaluate("story.leaves = [['fc.weight', [2, 3], '‖∇‖ 5'], ['b', [], '∇ 1']]; go(999)")
    rows = page.locator("#step .list tr").all()
    cells = [row.locator("td").all_inner_texts() for row in rows]
    assert cells == [["∂loss/∂fc.weight", "2 × 3", "‖∇‖ 5"], ["∂loss/∂b", "scalar", "∇ 1"]]


def test_the_start_promises_gradients_only_where_there_are_some(visit):
    x = tg.tensor([1.0, 2.0])
    page = visit(play((x * x).sum(), names={"x": x}), step=0)
    assert "red" not in page.locator("#step .why").inner_text()
    assert "red" in visit("fan_out").locator("#step .why").inner_text()


# --- folded calls -----------------------------------------------------------------------------


def test_steps_inside_of_folded_calls_are_passed_over(visit, told):
    steps = told("two_layer_network")
    page = visit("two_layer_network")
    page.get_by_role("button", name="Fold all", exact=True).click()
    ways, last = [], len(steps) - 1
    for key, end in (("ArrowRight", last), ("ArrowLeft", 0)):
        way = []
        while here(page) != end:
            page.keyboard.press(key)
            way.append(here(page))
            assert not page.locator("#inside").is_visible()
        ways.append(way)
    assert ways[0][:-1] == ways[1][:-1][::-1]
    folded = page.evaluate("[...cards.keys()].map((id) => [id, standIn(id)])")
    call = dict(folded)
    final = {call[id]: id for id, _ in folded if page.evaluate(f"story.tensors.{id}.op")}
    told_steps = page.evaluate("steps.map(({k, x, y}) => ({k, x, y}))")
    wanted = [k for k, s in enumerate(told_steps) if k and (
        s["k"] in ("seed", "end") or (s["k"] == "f" and final[call[s["y"]]] == s["y"])
        or (s["k"] == "b" and call[s["x"]] != call[s["y"]]))]  # fmt: skip
    assert ways[0] == wanted and len(wanted) < last / 2
    hidden = min(set(range(1, last)) - set(wanted))
    page.locator("#slider").fill(str(hidden - 1))
    page.locator("#slider").press("ArrowRight")
    assert here(page) == hidden
    assert "which is folded" in page.locator("#inside").inner_text()
    page.locator("#unfold").click()
    assert not page.locator("#inside").is_visible()


# --- without a mouse, without sight, without JavaScript, within a notebook --------------------

FOCUSED = """() => {const e = document.activeElement;
  return e === document.body ? "" : e.getAttribute("aria-label") || e.textContent.trim()}"""


def test_tab_goes_through_everything_in_order(visit, told):
    k = step_of(told("softmax_regression"), "Backward through x @ W, to W")
    page = visit("softmax_regression", k)
    stops = []
    while (page.keyboard.press("Tab"), stop := page.evaluate(FOCUSED))[1] and len(stops) < 40:
        stops.append(stop)
    *rest, search, quiz, theme, save = stops
    assert "Auto" in theme and (search, quiz, save) == (
        "Search names, operations, lines and modules", "Quiz", "Save"
    )  # fmt: skip
    assert [re.sub(", input.*", "", stop) for stop in rest] == [
        "First step", "Previous step", "Play", "Next step", "Last step",
        "Step", f"Link to step {k}", "gradient ∂loss/∂v", "value of x", "gradient ∂loss/∂W",
        "softmax", "x, 4 × 2",
        "Fold all", "Unfold all", "Zoom in", "Zoom out", "Show the whole graph",
    ]  # fmt: skip


def test_cards_are_reached_with_the_arrow_keys(visit):
    page = visit("softmax_regression")
    page.locator(".card").first.focus()
    names = []
    for key in ("ArrowDown", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
        names.append(", ".join(page.evaluate(FOCUSED).split(", ")[:2]))
    assert names == ["W, 2 × 3", "x @ W, 4 × 3", "W, 2 × 3"]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert here(page) == 1


@pytest.mark.parametrize("program", DRAWN)
def test_everything_that_is_focused_has_a_name_and_a_role(visit, program):
    page = visit(program, 1)
    client = page.context.new_cdp_session(page)
    nodes = client.send("Accessibility.getFullAXTree")["nodes"]
    wrong, right = [], 0
    for node in nodes:
        properties = {p["name"]: p["value"].get("value") for p in node.get("properties", [])}
        role = node.get("role", {}).get("value")
        if node["ignored"] or not properties.get("focusable") or role in ("RootWebArea", "cell"):
            continue
        if node.get("name", {}).get("value", "").strip() and role != "generic":
            right += 1
        else:
            wrong.append((role, node.get("name"), node.get("nodeId")))
    assert not wrong and right > 20


def test_a_screen_reader_hears_the_step(visit, told):
    k = step_of(told("softmax_regression"), "Backward through logits, to b")
    page = visit("softmax_regression", k)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    said = f"Step {k} of 26: backward through logits to b"
    assert page.locator("#say").inner_text() == said
    assert page.locator("#say").get_attribute("aria-live") == "polite"
    assert (
        page.locator("#slider").get_attribute("aria-valuetext")
        == f"{k} of 26" + said[len(f"Step {k} of 26") :]
    )
    tree = page.locator("#pane").aria_snapshot()
    wanted = ['heading "Backward through logits, to b" [level=2]', 'slider "Step"',
              'table "gradient ∂loss/∂logits"', 'table "gradient ∂loss/∂b"',
              'button "Play"']  # fmt: skip
    assert [words for words in wanted if words not in tree] == []
    shown = [c for t in told("softmax_regression")[k]["tables"] for row in t["cells"] for c in row]
    assert re.findall(r'- cell "?([^"\n]*)', tree) == shown
    assert page.locator("#step math").count() == 1


def test_in_a_notebook_the_page_is_a_frame_that_works(open_page, folder, told):
    path = folder / "notebook.html"
    shown = page_of("fan_out")._repr_html_()
    path.write_text(f"<!doctype html><meta charset=utf-8><h1>Notebook</h1>{shown}", "utf-8")
    page = open_page(size=SIZES["desk"], motion="reduce")
    page.goto(path.as_uri())
    frame = page.frame_locator("iframe")
    assert page.locator("iframe").get_attribute("title") == "loss = 0.1105"
    frame.get_by_role("button", name="Next step").click()
    frame.locator("body").press("ArrowRight")
    assert frame.locator("#step h2").inner_text() == told("fan_out")[2]["heading"]
    frame.locator("#link").click()
    assert frame.locator("#step h2").inner_text() == told("fan_out")[2]["heading"]
    assert page.locator("h1").inner_text() == "Notebook"
    frame.get_by_role("button", name="Fold all", exact=True).click()
    assert frame.locator(".card.call:visible").count() == 3
    assert html.unescape(shown).count("<!doctype html>") == 1


def test_without_javascript_the_graph_is_there(visit):
    page = visit("two_layer_network", java_script_enabled=False)
    pane = page.locator("#picture").bounding_box()
    boxes = [card.bounding_box() for card in page.locator(".card").all()]
    assert len(boxes) > 20
    for box in boxes:
        assert pane["x"] <= box["x"] and box["x"] + box["width"] <= pane["x"] + pane["width"]
        assert pane["y"] <= box["y"] and box["y"] + box["height"] <= pane["y"] + pane["height"] + 1
    assert "JavaScript" in page.locator("#pane").inner_text()
