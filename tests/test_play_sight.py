"""What a reader meets first on the page: the legend, search, ways, nan, hints; hostile texts.

One browser page shows them all, one after the other.
"""

import json
import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import tinygrad_ce as tg
from tests import browser as helpers
from tests.drawn_programs import PROGRAMS
from tinygrad_ce import nn, teach
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz import play


@pytest.fixture(scope="module")
def page(browser):
    opened = helpers.Opened(browser)
    yield opened(size=(1280, 720), motion="reduce")
    opened.close()


@pytest.fixture(scope="module")
def visit(page, tmp_path_factory):
    """`visit(program or page)` is its page, begun anew, at a step."""
    folder = tmp_path_factory.mktemp("sight")

    def visit(what, step=0):
        made = made_of(what) if isinstance(what, str) else what
        page.goto("about:blank")
        page.goto(made.save(folder / "page.html").as_uri() + f"#step={step}")
        return page

    return visit


@cache
def made_of(program):
    with tg.source_lines():
        loss, names = PROGRAMS[program]()
    return play(loss, names=names)


def js(page, expression):
    return json.loads(page.evaluate(f"JSON.stringify({expression})"))


def card_of(page, name):
    """The id of the card with this name."""
    return js(page, f"Object.keys(story.tensors).find((id) => nameOf(id) === {json.dumps(name)})")


def parameter(data):
    return tg.tensor(np.array(data), requires_grad=True)


# --- the first screen -----------------------------------------------------------------------


def test_the_first_screen_says_what_is_there_and_how_to_begin(visit):
    page = visit("two_layer_network")
    step = page.locator("#step")
    assert "Press → to compute the first value." in step.inner_text()
    x = made_of("two_layer_network")
    _, names = PROGRAMS["two_layer_network"]()
    shown = page.locator('table[aria-label="value of x"] td').all_inner_texts()
    wanted = names["x"].numpy().ravel()
    np.testing.assert_allclose([float(t.replace("−", "-")) for t in shown], wanted, rtol=6e-3)
    assert page.locator('table[aria-label="value of y"] td').all_inner_texts() == list("0210")
    signs = page.locator(".legend dd").all_inner_texts()
    for words in (
        "an input, which is given", "a parameter, which is learned", "the loss",
        "a constant, without a gradient", "two gradients arrive and are added",
        "no gradient comes back", "a, b, u: what goes in · v: what comes out",
    ):  # fmt: skip
        assert words in signs, words
    fills = js(page, """["input", "parameter", "loss"].map((role, i) => {
      const of = (e) => getComputedStyle(e).stroke;
      const sample = [...document.querySelectorAll(".legend dd")].find((dd) =>
        dd.textContent.includes(role)).previousSibling.querySelector("rect");
      return of(sample) === of(document.querySelector(`#cards > .card.${role} rect`));
    })""")  # fmt: skip
    assert fills == [True] * 3
    below = page.locator(".signs").bounding_box()
    assert below["y"] + below["height"] < 720 and x.steps > 40
    page.keyboard.press("ArrowRight")
    assert page.locator("#step h2").inner_text().startswith("Forward x @ fc1.weightᵀ")


def test_the_legend_has_only_what_is_there(visit):
    a = parameter([2.0])
    page = visit(play(tg.tensor([1.0, 2.0]) * 2.0))
    assert "∇" not in page.locator(".legend").inner_text()
    page = visit(play(a * 3.0, names={"a": a}))
    words = page.locator(".legend").inner_text()
    assert "the slope of the loss" in words
    for missing in ("input", "constant", "are added", "comes back", "click its title"):
        assert missing not in words


# --- ways -----------------------------------------------------------------------------------


def way_in(story, start):
    """The cards between one and the loss, from what each step reads."""
    reads = {
        s["y"]: {x["id"] for x in s["x"] if "id" in x} for s in story["steps"] if s["k"] == "f"
    }
    last = [s["y"] for s in story["steps"] if s["k"] == "f"][-1]
    down = {start}
    for y, xs in reads.items():  # in the order of the computation
        if xs & down:
            down.add(y)
    up, waiting = {last}, [last]
    while waiting:
        for x in reads.get(waiting.pop(), ()):
            if x not in up:
                up.add(x)
                waiting.append(x)
    return down & up


@pytest.mark.parametrize("program", ["fan_out", "attention_block"])
def test_the_way_of_a_leaf_lights_up_and_goes(visit, program):
    page = visit(program)
    story = js(page, "story")
    leaves = [id for id, t in story["tensors"].items() if t["role"] in ("parameter", "input")]
    lit = "[...document.querySelectorAll('#cards > .card.way')].map((g) => g.id)"
    joined = "[...document.querySelectorAll('.edge.way')].map((g) => [g.dataset.a, g.dataset.b])"
    for id in leaves:
        page.evaluate(f"press(document.getElementById('{id}'))")
        wanted = way_in(story, id)
        assert set(js(page, lit)) == wanted and len(wanted) > 1
        edges = {(s_x["id"], s["y"]) for s in story["steps"] if s["k"] == "f"
                 for s_x in s["x"] if s_x.get("id") in wanted and s["y"] in wanted}  # fmt: skip
        assert {tuple(pair) for pair in js(page, joined)} == edges
        told = page.locator("#way").inner_text()
        assert f"through {len(wanted) - 1} operations" in told
        page.keyboard.press("Escape")
        assert js(page, lit) == [] and not page.locator("#way").is_visible()
    assert "loss" in told or "out" in told or "logits" in told


def test_a_way_is_lit_with_the_keyboard_and_put_out_by_its_button(visit):
    page = visit("softmax_regression")
    page.locator(f"#{card_of(page, 'W')}").focus()
    page.keyboard.press("Enter")
    assert page.locator("#way").inner_text().startswith("The way of W to the end through 11")
    assert "logits → p → loss" in page.locator("#way").inner_text()
    page.keyboard.press("ArrowRight")  # it stays while steps go on
    assert js(page, "svg.classList.contains('tracing')") is True
    page.get_by_role("button", name="Fold all", exact=True).click()
    assert page.locator("#cards .card.call.way").count() == 1
    page.get_by_role("button", name="Clear (Esc)").click()
    assert js(page, "[wayFrom, svg.classList.contains('tracing')]") == [None, False]


# --- search ---------------------------------------------------------------------------------


def test_what_is_searched_is_found_by_name_operation_line_and_module(visit):
    page = visit("attention_block")
    first = """((text) => lookFor(text).map((entry) => entry.name))"""
    asked = ["scores", "key.weight", "softmax exp", "drawn_programs.py:106", "norm √", "k.mt",
             "attention weights", "nowhere"]  # fmt: skip
    found = [js(page, f"{first}({json.dumps(text)})") for text in asked]
    assert found[0][0] == "scores (÷ 2)" and found[1][0] == "attention.key.weight"
    assert len(found[2]) >= 4 and all("exp" in name for name in found[2][:2])
    assert "weights @ v" in found[3] and all("√" in x for x in found[4]) and found[4]
    assert found[5][0] == "k.mT" and "weights (÷)" in found[6] and found[7] == []


def test_search_is_opened_with_a_key_and_leads_to_a_step(visit):
    page = visit("softmax_regression")
    page.keyboard.press("/")
    assert js(page, "document.activeElement.id") == "search"
    page.keyboard.type("softmax")
    options = page.get_by_role("option")
    assert options.count() >= 4 and options.first.get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowDown")
    chosen = options.nth(1)
    assert chosen.get_attribute("aria-selected") == "true"
    assert page.locator("#search").get_attribute("aria-activedescendant") == "found1"
    name = chosen.locator("b").inner_text()
    page.keyboard.press("Enter")
    assert name in page.locator("#step h2").inner_text()
    assert not page.locator("#found").is_visible()
    page.keyboard.press("/")
    page.keyboard.type("no such thing")
    assert page.locator("#found").inner_text() == "Nothing has these words."
    before = js(page, "state.step")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert js(page, "[state.step, at('search').value, at('found').hidden]") == [before, "", True]
    page.keyboard.press("/")
    page.keyboard.type("W")
    page.get_by_role("option").filter(has_text=re.compile("^W")).click()
    assert js(page, "wayFrom") == card_of(page, "W")


# --- what is not finite ---------------------------------------------------------------------


def log_of_nothing():
    x, w = parameter([0.0, 1.0, -2.0]), parameter([1.0, 2.0, 3.0])
    s = x.log()
    t = s * w
    return (t + 1).sum(), {"x": x, "w": w}


def division():
    a, b = parameter([0.0, 1.0]), parameter([0.0, 2.0])
    q = a / b
    return q.exp().sum(), {"a": a, "b": b}


def overflow():
    z = parameter([1.0, 1000.0])
    e = z.exp()
    return e.sum(), {"z": z}


def cancelled():
    z = parameter([1.0, 1000.0])
    e = z.exp()
    d = e - e * 1.0
    return d.sum(), {"z": z}


def root_at_zero():
    v = parameter([0.0, 4.0])
    r = v.sqrt()
    return (r * 3).sum(), {"v": v}


def given():
    g = parameter([1.0, np.nan])
    return (g * 2).sum(), {"g": g}


def masked():
    m, q = tg.tensor([[True, False], [True, True]]), parameter([[1.0, 2.0], [3.0, 4.0]])
    return F.softmax(tg.where(m, q, -np.inf), dim=1)[:, 0].sum(), {"q": q}


def all_masked():
    m, q = tg.tensor([[False, False]]), parameter([[1.0, 2.0]])
    return F.softmax(tg.where(m, q, -np.inf), dim=1).sum(), {"q": q}


def fine():
    a = parameter([1.0, 2.0])
    return (a * a).sum(), {"a": a}


def large():
    big = parameter(np.full((40, 30), 1.0))
    shift = np.ones((40, 30))
    shift[35, 25] = 0.0
    s = big / tg.tensor(shift)
    return (s - s).sum(), {"big": big}


# program: what is born, and the heading of the step where it is; "" where all is well
BORN = {
    log_of_nothing: ("nan", "Forward s"), division: ("nan", "Forward q"),
    overflow: ("∞", "Forward e"), cancelled: ("nan", "Forward d"),
    root_at_zero: ("∞", "Backward through r, to v"), given: ("nan", "What is given"),
    masked: ("", ""), all_masked: ("nan", "Forward "), fine: ("", ""),
    large: ("nan", "Forward s - s"),
}  # fmt: skip
NOTES = """steps.map((step, k) => { go(k);
  const note = at("step").querySelector(".born");
  return [at("step").querySelector("h2").textContent, note ? note.textContent : "",
          note?.querySelector("a")?.getAttribute("href") ?? ""]; })"""


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("program", BORN, ids=lambda program: program.__name__)
def test_what_is_not_finite_is_traced_to_where_it_was_born(visit, program):
    with tg.source_lines():
        loss, names = program()
    notes = js(visit(play(loss, names=names)), NOTES)
    kind, heading = BORN[program]
    told = [k for k, (_, note, _) in enumerate(notes) if note]
    if not kind:
        assert not told
        return
    births = [k for k in told if notes[k][1].startswith(kind)
              and ("is born here" in notes[k][1] or "already in" in notes[k][1])]  # fmt: skip
    born = births[0]
    assert notes[born][0].startswith(heading)
    infinite = [k for k in told if kind not in notes[k][1]]  # what nan is made of
    assert all(notes[k][1].startswith("∞ is born here") for k in infinite)
    made = {k: re.findall(r"Its ∞ was born at step (\d+): (.*)\.$", notes[k][1]) for k in births}
    if program in (division, cancelled, large) and infinite:
        ((step, name),) = made[born]
        assert int(step) == infinite[0] and "test_play_sight.py, line " in name
    else:
        assert not any(made.values())
    inherited = [k for k in told if k and k not in (*births, *infinite)]
    assert all(notes[k][2] in {f"#step={birth}" for birth in births} for k in inherited)
    assert len(births) == 1 or program in (cancelled, large)  # ∞ gives nan on the way back, too
    if born:
        assert notes[0][2] == f"#step={born}" and "test_play_sight.py, line " in notes[0][1]
    if program is log_of_nothing:  # the sums and all that comes back through s
        assert len(inherited) >= 4 and "logarithm of 0" in notes[born][1]
        assert ": x.log())" in notes[0][1]


def test_a_birth_is_found_anew_when_the_numbers_change(visit):
    x = parameter([4.0, 1.0])
    with tg.source_lines():
        s = x.log()
        loss = s.sum()
    page = visit(play(loss, names={"x": x}), 1)
    assert page.locator(".born").count() == 0
    page.evaluate("story.tensors[steps[1].y].v.d[0] = 'nan'; show()")
    assert "is born here" in page.locator(".born").inner_text()
    page.evaluate("story.tensors[steps[1].y].v.d[0] = 1; show()")
    assert page.locator(".born").count() == 0
    page.evaluate("(player.set('x', 0, -1), go(0))")  # an edit, computed again by the page
    assert "born at step 1: s" in page.locator(".born").inner_text()
    page.evaluate("(player.reset(), go(1))")
    assert page.locator(".born").count() == 0


# --- the scripts ----------------------------------------------------------------------------


def test_no_two_scripts_have_the_same_name_for_something():
    folder = Path(tg.__file__).parent / "viz" / "page"
    text = "\n".join(path.read_text("utf-8") for path in sorted(folder.glob("*.js")))
    names = re.findall(r"^(?:async )?(?:function|const|let) ([\w$]+)", text, re.MULTILINE)
    assert len(names) > 200
    assert [name for name, count in Counter(names).items() if count > 1] == []


# --- the quiz -------------------------------------------------------------------------------


def test_numbers_are_read_as_people_write_them(visit):
    page = visit("softmax_regression")
    cases = {
        "-1/5": -0.2, "1/3": 1 / 3, "−1 / 4": -0.25, "0,25": 0.25, "2e-3": 0.002, ".5": 0.5,
        "-.5": -0.5, "3.": 3.0, "+2": 2.0, "1⁄2": 0.5, "1÷8": 0.125, "-1/-4": 0.25, "0/3": 0.0,
        "2,5/5": 0.5, "1e3/4": 250.0,
        "": None, "1/0": None, "0/0": None, "1/2/3": None, "/2": None, "1/": None, "a": None,
        "1,2,3": None, "0x10": None, "Infinity": None, "nan": None, "--1": None, "1 2": None,
        "</script>": None,
    }  # fmt: skip
    found = js(page, f"{json.dumps(list(cases))}.map(numberIn)")
    for (text, wanted), number in zip(cases.items(), found, strict=True):
        assert number == (None if wanted is None else pytest.approx(wanted)), text


def answered(page, text):
    page.locator(".quiz input").fill(text)
    page.locator(".quiz input").press("Enter")
    return page.locator(".quiz .no").inner_text() if page.locator(".quiz .no").count() else ""


def test_hints_grow_and_the_score_counts_first_tries(visit):
    a = parameter([[1.0, 2.0, 4.0], [3.0, 5.0, 8.0]])
    b = parameter([0.5, 0.25, 2.0])
    page = visit(play((a / b).sum(), names={"a": a, "b": b}))
    steps = js(page, "steps.map((s) => s.k === 'b' ? story.tensors[s.x].name : '')")
    at = steps.index("b")
    page.evaluate(f"(at('quiz').click(), go({at}))")
    said = [answered(page, text) for text in ("2 × 3", "2 × 3", "2 × 3", "2 × 3")]
    assert said[0] == "Not 2 × 3. A gradient has the shape of its tensor."
    assert all(len(x) < len(y) for x, y in pairwise(said))
    assert said[1].endswith("b has 1 axis.") and said[3].endswith("b is 3.")
    assert "copied along rows" in said[2]
    assert answered(page, "3") == ""
    index = int(re.search(r"\[(\d)\]", page.locator(".quiz").inner_text())[1])
    wanted = (-a.detach().numpy() / b.detach().numpy() ** 2).sum(0)[index]
    said = [answered(page, f"{-wanted * 2:.6g}") for _ in range(4)]
    assert said[0].endswith("Look at the sign: it is negative.")
    assert said[1].endswith("It is 2 times too large.")
    assert said[2].endswith("It is a sum: the copies along rows each send their own back.")
    assert len(said[3]) > len(said[2])
    assert answered(page, f"{wanted / 4:.6g}").split(". ")[1:3] == [
        "The sign is right", "It is 4 times too small"]  # fmt: skip
    assert answered(page, f"{wanted * 3:.6g}/3") == ""
    assert "Quiz: 1 right of 1, 0 at the first try." in page.locator("#step").inner_text()
    page.evaluate(f"go({steps.index('a')})")
    answered(page, "2 3")
    index = tuple(
        map(int, re.search(r"\[(\d), (\d)\]", page.locator(".quiz").inner_text()).groups())
    )
    answered(page, f"1/{b.tolist()[index[1]]}")
    page.keyboard.press("End")
    assert "Quiz: 2 right of 2, 1 at the first try. 1 not asked yet. Go" in (
        page.locator("#step").inner_text()
    )


def test_the_last_hint_is_the_rule_in_numbers(visit):
    x = parameter([3.0])
    page = visit(play((x.exp() * 2.0).sum(), names={"x": x}))
    at = js(page, "steps.findIndex((s) => s.k === 'b' && story.tensors[s.x].name === 'x')")
    page.evaluate(f"(at('quiz').click(), go({at}))")
    answered(page, "1")
    said = [answered(page, "-10") for _ in range(3)]
    assert said[-1].endswith("It is the upstream gradient times the slope: 2 × 20.09.")


def test_a_wrong_number_is_told_by_the_slip_that_gives_it(visit):
    x = parameter([3.0])
    page = visit(play((x.exp() * 2.0).sum(), names={"x": x}))
    at = js(page, "steps.findIndex((s) => s.k === 'b' && story.tensors[s.x].name === 'x')")
    page.evaluate(f"(at('quiz').click(), go({at}))")
    answered(page, "1")
    for number, kind in (("-40.17", "sign"), ("2", "missing factor"), ("20.09", "no upstream"),
                         ("3", "value for gradient")):  # fmt: skip
        told = f"Not {number}. This is what comes out where {teach.FAULTS[kind]}."
        assert answered(page, number).startswith(told)
    assert "This is" not in answered(page, "7")


# --- where things are -----------------------------------------------------------------------


def in_view(page):
    return js(page, """(() => { const pane = svg.getBoundingClientRect();
      const r = document.querySelector(".card.now rect").getBoundingClientRect();
      return [r.left >= pane.left - 1, r.right <= pane.right + 1, r.top >= pane.top - 1,
              r.bottom <= pane.bottom + 1]; })()""")  # fmt: skip


def test_a_deep_link_and_every_new_size_keep_the_card_in_view(visit):
    page = visit("attention_block", 30)
    assert in_view(page) == [True] * 4
    for size in ((390, 844), (1000, 420), (2200, 900), (820, 500), (1280, 720)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        assert in_view(page) == [True] * 4, size
        assert js(page, "document.documentElement.scrollWidth <= innerWidth"), size
    page.evaluate("location.hash = 'step=60'")
    page.evaluate("() => new Promise((done) => setTimeout(done))")
    assert in_view(page) == [True] * 4


def test_a_card_says_its_value_gradient_and_role_when_they_are_known(visit):
    page = visit("softmax_regression")
    label = """((id, k) => (go(k), cards.get(id).g.getAttribute("aria-label")))"""
    loss, names = PROGRAMS["softmax_regression"]()
    loss.backward()
    norm = np.linalg.norm(names["W"].grad.numpy())
    W, product, last = (card_of(page, name) for name in ("W", "x @ W", "loss"))
    assert js(page, f"{label}('{W}', 0)").startswith("W, 2 × 3, parameter, value −0.1078 ± ")
    assert "gradient" not in js(page, f"{label}('{W}', 20)")
    assert js(page, f"{label}('{W}', 99)").endswith(f"gradient length {norm:.4g}")
    made = js(page, f"madeAt.get('{product}')")
    assert js(page, f"{label}('{product}', 0)") == "x @ W, 4 × 3, step"
    assert js(page, f"{label}('{product}', {made})").startswith("x @ W, 4 × 3, step, value 0.08942")
    assert js(page, f"{label}('{last}', 99)").endswith("loss, value 0.9675, gradient 1")
    at = js(page, f"steps.findIndex((s) => s.k === 'b' && s.x === '{W}')")
    assert "gradient" not in js(page, f"(at('quiz').click(), {label}('{W}', {at}))")


# --- what happens several times ---------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x):
        return x + F.tanh(self.fc(x)) * 0.5


def unrolled():
    tg.manual_seed(0)
    cell, h = Residual(3), tg.ones(2, 3)
    with tg.source_lines():
        for _ in range(5):
            h = cell(h)
        loss = h.sum()
    return play(loss, names={"cell": cell})


def stacked():
    tg.manual_seed(0)
    with tg.source_lines():
        loss = nn.Sequential(*(Residual(3) for _ in range(4)), nn.Linear(3, 1))(tg.ones(2, 3)).sum()
    return play(loss)


FRONT = "[...document.querySelectorAll('#cards > .card')].filter((g) => g.style.display !== 'none')"


@pytest.mark.parametrize("program, times", [(unrolled, 5), (stacked, 4)], ids=["cell", "blocks"])
def test_equal_calls_are_told_once_and_unrolled_on_demand(visit, program, times):
    made = program()
    page = visit(made)
    titles = page.locator(".title text:first-child").all_text_contents()
    assert f"⊟ Residual × {times}" in titles
    assert f"Residual × {times}: it is told once" in page.locator("#step").inner_text()
    calls = page.locator("#cards > .card.call:visible")
    assert calls.count() == times - 1
    assert f"(2 of {times})" in calls.first.text_content()
    few, every = js(page, f"[{FRONT}.length, cards.size]")
    assert few < every
    walked = []
    while walked[-1:] != [made.steps - 1]:
        page.keyboard.press("ArrowRight")
        walked.append(js(page, "state.step"))
    inside = js(page, """steps.map((step, k) => [k, (hiddenIn(step), hiddenIn(step) !== null)])
      .filter(([, hidden]) => hidden).map(([k]) => k)""")  # fmt: skip
    assert not set(walked) & set(inside)
    assert set(walked) | set(inside) | {0} == set(range(made.steps)) and len(inside) > times
    calls.first.press("Enter")  # that one opens
    assert calls.count() == times - 2
    page.get_by_role("button", name=f"Unroll × {times}").click()
    assert calls.count() == 0 and js(page, f"{FRONT}.length") == every
    page.get_by_role("button", name="Tell once").click()
    assert calls.count() == times - 1


def test_what_differs_is_not_told_once(visit):
    tg.manual_seed(0)
    x = tg.ones(2, 3)
    widths = nn.Sequential(Residual(3), nn.Linear(3, 4), Residual(4), nn.Linear(4, 5), Residual(5))
    for loss in (widths(x).sum(), nn.Sequential(Residual(3), Residual(3))(x).sum()):
        page = visit(play(loss))
        assert js(page, "repeats.length") == 0 and not page.locator("#unroll").is_visible()
    assert js(visit("attention_block"), "repeats.length") == 0
    assert js(visit("lstm_step"), "repeats.length") == 0  # three sigmoids are functions


# --- hostile texts --------------------------------------------------------------------------

HOSTILE = (
    "</script><script>window.pwned = 1</script>", "<img src=x onerror='window.pwned = 1'>",
    "\"'`${1}`", "\u202egnihtyna\u202c", "a\u0000b", "very long " * 40, "<!--STORY--><!--SCRIPT-->",
    "&lt;b&gt;", "\ud83d", "x\ny\tz", "%s{y}\\u003c",
)  # fmt: skip


def hostile(tmp_path):
    """A model and a program whose names, attributes and source lines mean something to HTML."""
    lines = [
        "import tinygrad_ce as tg",
        "tag = '</script><script>window.pwned = 1</script>' + \"\u202e<b>\"; y = x * len(tag)",
        "ｅｖｉｌ＿ℓ = y.exp()  # <!-- ]]> & <svg onload='window.pwned = 1'>",
        "loss = ｅｖｉｌ＿ℓ.sum()",
    ]
    path = tmp_path / "<b>&'.py"
    path.write_text("\n".join(lines), encoding="utf-8")
    space = {"x": parameter([1e-3, 2e-3])}
    with tg.source_lines():
        exec(compile(path.read_text("utf-8"), str(path), "exec"), space)
    return space


def test_hostile_names_and_sources_are_shown_as_text(visit, tmp_path):
    space = hostile(tmp_path)
    page = visit(play(space["loss"], names={HOSTILE[0]: space["x"]}), 1)
    assert page.locator(".source code").inner_text().startswith("tag = '</script><script>window")
    assert "<b>&'.py, line 2" in page.locator(".source").inner_text()
    assert js(page, "lookFor('pwned').length") >= 1
    assert HOSTILE[0] in js(page, "nameOf('n0')")
    model = nn.Sequential()
    for name in (name for name in HOSTILE if "." not in name):
        model.add_module(name, nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    loss = model(tg.ones(1, 2)).sum()
    for shown in (play(loss), play(loss, depth=0)):
        page = visit(shown)
        scripts = js(page, "document.querySelectorAll('script').length")
        page.evaluate("steps.forEach((step, k) => go(k))")
        page.evaluate("[...cards.keys()].forEach((id) => { lightWay(id); lookFor(nameOf(id)); })")
        assert js(page, "[typeof pwned, document.querySelectorAll('script').length]") == [
            "undefined", scripts]  # fmt: skip
    names = {name: parameter([1.0]) for name in HOSTILE}
    first, *others = names.values()
    total = sum(others, start=first)
    page = visit(play(total.sum(), names=names))
    shown = page.locator("#step .list td:first-child").all_inner_texts()
    assert len(shown) == len(HOSTILE) and shown[:3] == list(HOSTILE[:3])
    page.locator("#search").fill(HOSTILE[1])
    assert page.locator("#found img").count() == 0
    assert page.get_by_role("option").first.inner_text().startswith("<img src")
    page.keyboard.press("Escape")
    page.evaluate("(at('quiz').click(), go(steps.findIndex((s) => s.k === 'b')))")
    for text in HOSTILE[:4]:
        assert answered(page, text.replace("\n", " ")).startswith("Write a shape")
    assert js(page, "typeof pwned") == "undefined"


# --- without JavaScript ---------------------------------------------------------------------


def test_without_javascript_every_step_is_listed(browser, tmp_path):
    opened = helpers.Opened(browser)
    made = made_of("softmax_regression")
    page = opened(size=(1280, 720), java_script_enabled=False)
    page.goto(made.save(tmp_path / "page.html").as_uri())
    items = page.locator(".all li").all_inner_texts()
    assert len(items) == made.steps - 2  # all but the start and the end
    line = "Forward: x @ W: @ of x and W: 4 × 3, 0.08942 ± 0.5459 (line 35)"
    assert line in items
    assert "Backward starts at loss: 1" in items
    loss, names = PROGRAMS["softmax_regression"]()
    loss.backward()
    norm = np.linalg.norm(names["W"].grad.numpy())
    last = items[-1]
    assert last.startswith(f"Backward through x @ W, to W: xᵀ·G, ‖∇‖ {norm:.4g}")
    assert any(", a share of ‖∇‖" in item for item in items)
    for hidden in (".bar", ".tools", ".corner", ".keys"):
        assert not page.locator(hidden).is_visible()
    loss, names = PROGRAMS["two_layer_network"]()
    folded = play(loss, names=names, depth=0)
    page.goto(folded.save(tmp_path / "page.html").as_uri())
    assert page.locator(".all li").count() == folded.steps - 2
    opened.close()
