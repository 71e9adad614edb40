"""The page's JavaScript, function by function: compared with NumPy and with geometry written here.

Few pages are opened, and much is asked of each: a question is an expression that is evaluated on
the page.
"""

import itertools
import json
import math
from functools import cache

import numpy as np
import pytest

from tests import browser as helpers
from tests.drawn_programs import PROGRAMS
from tinygrad_ce.engine.frame import source_lines
from tinygrad_ce.viz import play


@cache
def made(program):
    with source_lines():
        loss, names = PROGRAMS[program]()
    return play(loss, names=names)


@pytest.fixture(scope="module")
def visit(browser, tmp_path_factory):
    """`visit(program)` is its page, opened once and begun anew."""
    opened = helpers.Opened(browser)
    folder = tmp_path_factory.mktemp("pages")

    @cache
    def page_of(program):
        page = opened(size=(1280, 720), motion="reduce")
        page.goto(made(program).save(folder / f"{program}.html").as_uri())
        return page

    def visit(program="two_layer_network"):
        page = page_of(program)
        page.reload()
        return page

    yield visit
    opened.close()


def js(page, expression):
    """The value of an expression on the page."""
    return json.loads(page.evaluate(f"JSON.stringify({expression})"))


def every(page, function, calls):
    """What a function of the page gives for each list of arguments."""
    return js(page, f"{json.dumps(calls)}.map((args) => {function}(...args))")


# --- numbers and texts ------------------------------------------------------------------------

NUMBERS = [
    (0, False, "0"), (0.5, False, "0.5"), (-0.5, False, "−0.5"), (1 / 3, False, "0.333"),
    (9999, False, "10000"), (10_000, False, "1e4"), (123_456, False, "1.23e5"),
    (-20_480, False, "−2.05e4"), (0.001, False, "0.001"), (0.00099, False, "9.9e−4"),
    (-1e-12, False, "−1e−12"), (123_456, True, "123456"), (-7, True, "−7"), (0, True, "0"),
    ("∞", False, "∞"), ("-12345678901234567890", True, "−12345678901234567890"), (999.6, 0, "1000"),
]  # fmt: skip


def test_numbers_have_as_many_digits_as_the_story(visit):
    page = visit()
    assert js(page, "story.digits") == 4
    page.evaluate("story.digits = 3")
    calls = [number[:2] for number in NUMBERS]
    assert every(page, "shown", calls) == [text for *_, text in NUMBERS]


def test_shapes_and_names_are_texts(visit):
    page = visit()
    assert every(page, "shapeText", [[[]], [[3]], [[2, 1, 4]]]) == ["scalar", "3", "2 × 1 × 4"]
    assert every(page, "short", [["a" * 24], ["a" * 25]]) == ["a" * 24, "a" * 23 + "…"]
    classes = every(page, "((t) => named(t).className)", [["a" * 17], ["a" * 18]])
    assert classes == ["line", ""]
    assert js(page, "slope('w')") == f"∂{js(page, 'story.loss')}/∂w"
    story = js(page, "story.tensors")
    for id, tensor in story.items():
        phrase = tensor.get("as")  # of what has no name
        assert bool(phrase) == bool(tensor["op"] and not tensor["name"])
        assert js(page, f"nameOf('{id}')") == (phrase or tensor["name"])
    parts = "((...a) => caption(...a).map((x) => x.textContent ?? x))"
    fc1 = next(id for id, tensor in story.items() if tensor["name"] == "fc1.weight")
    assert every(page, parts, [["W", fc1], ["fc1.weight", fc1], [None, fc1]]) == [
        ["W", "\u2002fc1.weight"], ["fc1.weight"], ["fc1.weight"]]  # fmt: skip


def test_a_window_says_what_it_shows(visit):
    page = visit()
    win = {"s": [9, 20, 30], "w": [4, 20, 30], "d": [0] * 2400, "of": "0 ± 1"}
    part = "rows 0–5 of 20, columns 0–5 of 30"
    first = "the first 4 of 9 slices are on this page"
    assert every(page, "windowText", [
        [win, False], [win, True], [{**win, "s": [4, 20, 30]}, False], [{**win, "of": ""}, False],
    ]) == [f"{part}, {first}; all: 0 ± 1", f"{part}, {first}",
           f"{part}; all: 0 ± 1", f"{part}, {first}"]  # fmt: skip
    large = {"s": [2000, 8], "w": [1, 600, 8], "d": [0] * 4800, "t": {"s": [32, 8], "d": []}}
    seen = js(page, f"(looking.from.set(2000, 7), windowText({json.dumps(large)}))")
    assert seen.startswith("rows 7–12 of 2000, on this page are the first ones")


def test_cells_are_tinted_by_sign_and_size(visit):
    page = visit()
    cell = "((...a) => { const c = cell(...a); return [c.textContent, c.className, " + (
        "c.style.getPropertyValue('--a'), c.dataset.i, c.tabIndex]; })"
    )
    win = {"s": [2]}
    assert every(page, cell, [
        [win, 1.5, 3, 3, {}], [win, -3, 4, 3, {}], [win, 0, 0, 3, {}], [win, "nan", 0, 3, {}],
        [win, 2, 0, 2, {"whole": True}], [{**win, "b": 1}, 1, 0, 1, {}],
        [{**win, "b": 1}, 0, 0, 1, {}], [win, 7, 5, 7, {"hidden": True}],
    ]) == [
        ["1.5", "pos", "0.50", "3", -1], ["−3", "neg", "1.00", "4", -1], ["0", "", "", "0", -1],
        ["nan", "", "", "0", -1], ["2", "", "", "0", -1], ["true", "", "", "0", -1],
        ["false", "", "", "0", -1], ["?", "", "", "5", -1],
    ]  # fmt: skip


def test_tables_have_their_rows_captions_and_slices(visit):
    page = visit()
    win = {"s": [3, 2, 2], "d": list(range(12))}
    told = js(
        page,
        f"""(() => {{
      const f = heat({json.dumps(win)}, "x0", {{ label: "it", caption: ["c"], copy: true }});
      const read = () => [...f.querySelectorAll("td")].map((td) => [td.textContent, td.dataset.i]);
      const select = f.querySelector("select"), table = f.querySelector("table"), first = read();
      document.body.append(f); // what belongs to a step is drawn anew
      select.value = "2";
      select.dispatchEvent(new Event("change"));
      return [f.className, f.querySelector("figcaption").textContent, table.dataset.space,
              table.getAttribute("aria-label"), table.tabIndex, table.rows.length,
              [...select.options].map((o) => o.textContent), first, read(),
              getComputedStyle(f.querySelectorAll("td")[1]).getPropertyValue("--a")];
    }})()""",
    )
    assert told[:6] == ["copy", "c 3 × 2 × 2", "x0", "it", 0, 2]
    assert told[6] == ["0", "1", "2"]
    assert told[7] == [[str(i), str(i)] for i in range(4)]
    assert told[8] == [[str(i), str(i)] for i in range(8, 12)]
    shades = js(
        page,
        """[...heat({ s: [2], d: [-4, 1] }, "y").querySelectorAll("td")]
                         .map((td) => td.style.getPropertyValue("--a"))""",
    )
    assert shades == ["1.00", "0.25"]
    found = "[...heat(w, 'y', o).querySelectorAll('.more, select')]"
    more = f"((w, o) => {found}.map((x) => x.tagName))"
    assert every(page, more, [
        [{"s": [2], "d": [1, 2]}, {}], [{"s": [0], "d": []}, {}], [win, {"note": "n"}],
    ]) == [["DIV"], ["SPAN"], ["SELECT", "DIV", "DIV"]]  # fmt: skip


# --- which element is which, as NumPy has it ----------------------------------------------------

SHAPES = [(), (3,), (2, 3), (1, 3), (2, 1), (4, 2, 3), (1, 2, 3), (2, 1, 2, 3)]


def test_places_are_those_of_numpy(visit):
    page = visit()
    for shape in SHAPES:
        size = math.prod(shape)
        stack = np.arange(size).reshape(math.prod(shape[:-2]), *(1, 1, *shape)[-2:])
        assert js(page, f"planes({list(shape)})") == list(stack.shape)
        assert every(page, "unravel", [[i, shape] for i in range(size)]) == [
            list(map(int, np.unravel_index(i, shape))) for i in range(size)]  # fmt: skip
        for window in (stack.shape, tuple(min(n, 2) for n in stack.shape)):
            seen = stack[tuple(slice(n) for n in window)].ravel().tolist()
            assert js(page, f"places({json.dumps({'s': shape, 'w': window})})") == seen


def test_broadcast_elements_are_those_of_numpy(visit):
    page = visit()
    for inner, outer in itertools.product(SHAPES, SHAPES):
        if len(inner) <= len(outer) and np.broadcast_shapes(inner, outer) == outer:
            own = np.broadcast_to(np.arange(math.prod(inner)).reshape(inner), outer)
            calls = [[list(map(int, at)), inner] for at in np.ndindex(outer)]
            assert every(page, "project", calls) == own.ravel().tolist()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3)])
def test_sums_light_up_along_their_axes(visit, shape):
    page = visit()
    size = math.prod(shape)
    for n in range(1, len(shape) + 1):
        for axes, keep in itertools.product(itertools.combinations(range(len(shape)), n), (0, 1)):
            parts = np.eye(size).reshape(size, *shape)
            sums = parts.sum(tuple(a + 1 for a in axes), keepdims=bool(keep))
            wanted = sums.reshape(size, -1) != 0
            calls = [[["sum", axes], shape, sums.shape[1:], i, j]
                     for i, j in np.ndindex(wanted.shape)]  # fmt: skip
            assert every(page, "feeds", calls) == wanted.ravel().tolist()
    moved = [["ix", [2, 0, -1]], [3], [3]]
    lit = every(page, "feeds", [[*moved, i, j] for i in range(3) for j in range(3)])
    assert lit == [j == {2: 0, 0: 1}.get(i) for i in range(3) for j in range(3)]


PRODUCTS = [((2,), (2,)), ((2,), (2, 3)), ((3, 2), (2,)), ((3, 2), (2, 4)), ((2, 3, 2), (2, 4)),
            ((3, 2), (2, 2, 4)), ((2, 1, 3, 2), (3, 2, 1)), ((1, 3, 2), (2, 2, 2)),
            ((2, 3, 2), (2, 2, 3))]  # fmt: skip


@pytest.mark.parametrize("left, right", PRODUCTS)
def test_factors_and_products_light_up_as_they_are_mixed(visit, left, right):
    page = visit()
    m, n = math.prod(left), math.prod(right)
    lefts, rights = np.eye(m).reshape(m, *left), np.eye(n).reshape(n, *right)
    product = (np.ones(left) @ np.ones(right)).shape
    for position, alone in enumerate((
        [np.ravel(x @ np.ones(right)) for x in lefts], [np.ravel(np.ones(left) @ x) for x in rights]
    )):  # fmt: skip
        wanted = np.array(alone) != 0
        own = (left, right)[position]
        calls = [[["mm", position], own, product, i, j] for i, j in np.ndindex(wanted.shape)]
        assert every(page, "feeds", calls) == wanted.ravel().tolist()
    wanted = [bool(np.any(a @ b)) for a in lefts for b in rights]
    calls = [["mm", left, right, i, j] for i in range(m) for j in range(n)]
    assert every(page, "meet", calls) == wanted
    if len(left) == len(right) == 2:  # a bᵀ: the right one is written the other way round
        turned = right[::-1]
        calls = [["in", left, turned, i, j] for i in range(m) for j in range(n)]
        rows = [np.any(a @ b.T) for a in lefts for b in np.eye(n).reshape(n, *turned)]
        assert every(page, "meet", calls) == list(map(bool, rows))
        for position, own in enumerate((left, turned)):
            size = math.prod(own)
            ones = np.eye(size).reshape(size, *own)
            mixed = [np.ravel(x @ np.ones(turned).T if position == 0 else np.ones(left) @ x.T)
                     for x in ones]  # fmt: skip
            calls = [[["in", position], own, product, i, j] for i in range(size)
                     for j in range(math.prod(product))]  # fmt: skip
            assert every(page, "feeds", calls) == (np.array(mixed) != 0).ravel().tolist()


def test_nothing_lights_up_where_nothing_is_known(visit):
    page = visit()
    k = js(page, "steps.findIndex((s) => s.k === 'b' && s.map && !s.o)")
    ask = "[0, 1, 2, 3].flatMap((i) => [related('x', i, 'y', 0), related('y', 0, 'x', i)])"
    assert any(js(page, f"(go({k}), {ask})"))
    assert not any(js(page, f"(steps[{k}].map = null, {ask})"))
    assert js(page, "[related('y', 1, 'y', 1), related('y', 1, 'y', 2)]") == [True, False]


# --- what a step marks --------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["two_layer_network", "fan_out", "attention_block"])
def test_cards_and_edges_are_marked_as_the_story_says(visit, program):
    page = visit(program)
    tensors, steps = js(page, "[story.tensors, steps]")
    seen = js(
        page,
        """steps.map((_, k) => { go(k); return [
      [...cards].map(([id, { g }]) => [id, [...g.classList]]),
      edges.map(({ g, from, to }) => [from, to, [...g.classList]]), at("step").className]; })""",
    )
    made, arrivals, sent = {}, {}, {}
    for k, step in enumerate(steps):
        if step["k"] == "f":
            made[step["y"]] = k
            for x in step["x"]:
                if "id" in x and tensors[x["id"]]["role"] == "constant":
                    made.setdefault(x["id"], k)
        elif step["k"] == "seed":
            arrivals[step["y"]] = [k]
        elif step["k"] == "b":
            arrivals.setdefault(step["x"], []).append(k)
            sent.setdefault((step["x"], step["y"]), k)
    quiet_and_not = set()
    for k, (step, (cards, edges, look)) in enumerate(zip(steps, seen)):
        kind = step["k"]
        assert look == {"b": "g", "seed": "g"}.get(kind, kind)
        now = {"f": "y", "b": "x", "seed": "y"}.get(kind)
        now = step[now] if now else None
        read = [x.get("id") for x in step["x"]] if kind == "f" else [step.get("y")] * (kind == "b")
        for id, classes in cards:
            assert ("now" in classes) == (id == now)
            assert ("from" in classes) == (id in read and id != now)
            assert ("todo" in classes) == (made.get(id, 0) > k and id != now)
            assert ("blank" in classes) == (id in arrivals and arrivals[id][-1] > k)
        for a, b, classes in edges:
            assert ("todo" in classes) == (made.get(b, 0) > k)
            assert ("quiet" in classes) == (sent.get((a, b), math.inf) > k)
            back = kind == "b" and (step["x"], step["y"]) == (a, b)
            assert ("now" in classes) == ((kind == "f" and step["y"] == b) or back)
            quiet_and_not.add("quiet" in classes)
    assert quiet_and_not == {True, False}


def test_a_card_leads_to_its_making_and_then_to_its_first_gradient(visit):
    page = visit("fan_out")
    steps = js(page, "steps")
    came = {}
    for k, step in enumerate(steps):
        if step["k"] == "b":
            came.setdefault(step["x"], []).append(k)
    h = next(id for id, found in came.items() if len(found) > 2)
    made = next(k for k, step in enumerate(steps) if step["k"] == "f" and step["y"] == h)
    assert js(page, f"[1, 2, 3].map(() => (visit('{h}'), state.step))") == [made, came[h][0], made]
    computed = {step["y"] for step in steps if step["k"] == "f"}
    leaf = next(id for id, found in came.items() if len(found) > 1 and id not in computed)
    assert js(page, f"(go(3), visit('{leaf}'), state.step)") == came[leaf][0]
    x = next(id for id, t in js(page, "story.tensors").items() if t["role"] == "input")
    assert js(page, f"(go(3), visit('{x}'), state.step)") == 0


def test_checks_have_their_marks(visit):
    page = visit()
    told = "((ok) => proofs({ ok }, 'x').map((p) => [p.className, p.textContent]))"
    assert every(page, told, [[{"ok": ok, "text": "t"}] for ok in (1, 0, -1)]) == [
        [["check ", "✓ t"]], [["check off", "✗ t"]], [["check open", "· t"]]]  # fmt: skip
    assert every(page, told, [[{"ok": -1, "kink": 1, "text": "t"}], [None]]) == [
        [["check kink", "∠ t"]], []]  # fmt: skip
    said = "((is) => proofs({ is }, 'z').map((p) => p.textContent).slice(0, 1))"
    p = {"N": 4, "d": 1e-9, "y": "0, 2"}
    assert every(page, said, [[{**p, "of": "softmax"}], [{**p, "of": "sigmoid"}]]) == [
        [f"∂loss/∂z = (p − y)/4 with p = {p_and_y}: checked, the largest difference is 1e−9."]
        for p_and_y in ("softmax(z) and y 1 at the classes 0, 2", "σ(z) and y = 0, 2")
    ]


# --- keys and the quiz --------------------------------------------------------------------------


def test_keys_with_a_modifier_belong_to_the_browser(visit):
    page = visit()
    press = """((key, more) => { go(3);
      const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
      document.body.dispatchEvent(event); return [state.step, event.defaultPrevented]; })"""
    end = js(page, "steps.length - 1")
    for key, step in {"ArrowRight": 4, "ArrowLeft": 2, "Home": 0, "End": end}.items():
        assert every(page, press, [[key, {}]]) == [[step, True]]
        for modifier in ("ctrlKey", "metaKey", "altKey"):
            assert every(page, press, [[key, {modifier: True}]]) == [[3, False]]
    sizes = js(
        page,
        f"""['+', '=', '-'].map((key) => {{
      fit(); const k = camera.k; {press}(key, {{}}); return camera.k / k; }})""",
    )
    assert sizes == pytest.approx([1.25, 1.25, 0.8])


def test_a_shape_is_read_as_people_write_it(visit):
    page = visit()
    shapes = {"4 × 5": [4, 5], "(4, 5)": [4, 5], "4x5": [4, 5], "4*5": [4, 5], "[3]": [3],
              " 7 ": [7], "scalar": [], "()": [], " [ ] ": [], "SCALAR": []}  # fmt: skip
    cases = {**shapes, "four": None, "": None, "4 by 5": None, "-3": None}
    assert every(page, "readShape", [[text] for text in cases]) == list(cases.values())


def test_two_digits_are_enough(visit):
    page = visit()
    sizes = {0: 0, 1.0: 0.05, -1.0: 0.05, 0.99: 0.0198, 0.25: 0.005, 0.1: 0.005, 99.0: 1.98,
             3e-5: 6e-7, 2.6e-5: 5.2e-7, 1234.0: 50}  # fmt: skip
    got = every(page, "allowed", [[value] for value in sizes])
    assert got == pytest.approx([size * 1.001 for size in sizes.values()])


ANSWERED = """((text) => {
  const input = at("step").querySelector(".quiz input");
  input.value = text;
  input.form.requestSubmit();
  const next = at("step").querySelector(".quiz");
  return [next ? next.querySelector(".no").textContent : "", state.right, state.asked];
})"""


def test_the_quiz_asks_for_an_element_that_is_not_zero(visit):
    page = visit()
    win = {"s": [2, 3], "d": [0, 0, 0, 0, "∞", 0.5]}
    words = js(
        page,
        f"""[0, 1, 2, 3].map((k) => {{
      const box = make("div"), step = steps.find((s) => s.k === "b");
      askElement(box, step, k, {json.dumps(win)});
      return [box.querySelector("p").textContent.includes("[1, 2]"), state.asks];
    }})""",
    )
    assert words == [[True, 5]] * 4
    zeros = js(
        page,
        """(() => { const box = make("div");
      askElement(box, steps.find((s) => s.k === "b"), 1, { s: [3], d: [0, "nan", 0] });
      return state.asks; })()""",
    )
    assert zeros in (0, 2)
    none = js(
        page,
        """(() => { const box = make("div");
      askElement(box, steps.find((s) => s.k === "b"), 1, { s: [1], d: ["nan"] });
      return box.textContent; })()""",
    )
    assert "It has no finite element to ask for." in none


def test_an_answer_may_have_a_comma_and_a_minus(visit):
    page = visit()
    at = js(
        page,
        """(at("quiz").click(),
        steps.findIndex((s, k) => s.k === "b" && !s.new && story.tensors[s.x].v.s.length === 2))""",
    )
    x = js(page, f"(go({at}), story.tensors[steps[{at}].x])")
    assert js(page, f"{ANSWERED}('3 × 999')")[0].startswith("Not 3 × 999.")
    assert js(page, f"{ANSWERED}('what')")[0].startswith("Write a shape")
    assert js(page, f"{ANSWERED}('{' × '.join(map(str, x['g']['s']))}')") == ["", 0, 0]
    seen = [i for i, value in enumerate(x["g"]["d"]) if value]
    value = x["g"]["d"][seen[(at * 7) % len(seen)]]
    assert js(page, f"{ANSWERED}('1,2,3')")[0].startswith("Write a number")
    assert js(page, f"{ANSWERED}('{value * 1.07 + (value == 0)}')")[0].startswith("Not ")
    assert js(page, f"{ANSWERED}('{str(value).replace('.', ',').replace('-', '−')}')")[1:] == [1, 1]
    assert js(page, "[hides(state.step), state.solved.has(state.step)]") == [False, True]


# --- geometry -----------------------------------------------------------------------------------

A = {"left": 0, "top": 0, "right": 100, "bottom": 50}


def drawn(page, b, flows):
    """Paths and arrow heads of a straight edge from A to b: their points, colours and classes."""
    return js(
        page,
        f"""(() => {{
      const g = straight({json.dumps(A)}, {json.dumps(b)}, {json.dumps(flows)});
      return [g.getAttribute("class"), [...g.children].map((e) => [e.tagName,
        (e.getAttribute("d") || e.getAttribute("points")).match(/-?[\\d.]+/g).map(Number),
        e.getAttribute("stroke") || e.getAttribute("fill"), e.getAttribute("class").trim(),
        e.getAttribute("stroke-dasharray")])];
    }})()""",
    )


def test_an_edge_goes_down_from_the_foot_to_the_head(visit):
    page = visit()
    for top in (90, 50):  # touching is below, too
        below = {"left": 100, "top": top, "right": 140, "bottom": top + 20}
        look, (grey, grey_head, red, red_head) = drawn(page, below, True)
        half = (top - 50) / 2
        curve = np.array([50, 50, 50, 50 + half, 120, top - half, 120, top])
        assert look == "edge flow"
        assert grey == ["path", (curve - [1, 0] * 4).tolist(), "#475569", "path", None]
        assert red == ["path", (curve + [1, 0] * 4).tolist(), "#f87171", "path red", None]
        if half:
            assert grey_head[1:4] == [[120, 90, 117.4, 83, 122.6, 83], "#475569", ""]
            assert red_head[1:4] == [[50, 50, 52.6, 57, 47.4, 57], "#f87171", "red"]
    look, (dashed, end) = drawn(page, {"left": 0, "top": 90, "right": 100, "bottom": 99}, False)
    assert (look, dashed[1][0], dashed[4], end[0]) == ("edge", 50, "5,2", "polygon")


@pytest.mark.parametrize("left, x1, x2, way", [(200, 100, 200, 1), (-200, 0, -100, -1)])
def test_an_edge_between_neighbours_goes_from_side_to_side(visit, left, x1, x2, way):
    beside = {"left": left, "top": 20, "right": left + 100, "bottom": 40}
    _, (grey, end, *_) = drawn(visit(), beside, True)
    half = (x2 - x1) / 2
    curve = np.array([x1, 25, x1 + half, 25, x2 - half, 30, x2, 30])
    assert grey[1] == (curve - [1, 0] * 4).tolist()
    tip, one, two = np.reshape(end[1], (3, 2))
    assert tip.tolist() == [x2, 30] and {one[0], two[0]} == {x2 - 7 * way}
    assert sorted([one[1], two[1]]) == [27.4, 32.6]


def test_gaps_are_squeezed_where_something_is_folded(visit):
    page = visit()
    spans = [[40, 60], [10, 20], [15, 25], [160, 170]]
    at = [0, 5, 10, 20, 25, 32.5, 40, 50, 60, 110, 160, 170, 180]
    free = f"{json.dumps(at)}.map(squeeze({json.dumps(spans)}, 6))"
    assert js(page, f"(folded.clear(), {free})") == at
    squeezed = js(page, f"(folded.add('c0'), {free})")
    assert squeezed == [0, 3, 6, 16, 21, 24, 27, 37, 47, 50, 53, 63, 73]
    around = "[0, 12, 30, 40, 90].map(squeeze([[30, 40], [12, 90], [50, 60]], 6))"
    assert js(page, around) == [0, 6, 24, 34, 84]  # what lies around others may come after them
    assert js(page, "bent('M1.5,-2C3,4', (x) => 2 * x, (y) => y + 10)") == "M3.0,8.0C6.0,14.0"


def test_a_folded_card_stands_below_what_it_is_computed_from(visit):
    page = visit()
    cards, outer, edges = js(
        page,
        """[
      Object.fromEntries([...cards].map(([id, c]) => [id, [c.box, c.outer]])),
      Object.fromEntries([...clusters].map(([id, c]) => [id, [c.box, c.outer]])),
      edges.map((e) => [e.from, e.to])]""",
    )

    def inside(card, cluster):
        around = cards[card][1]
        while around and around != cluster:
            around = outer[around][1]
        return around == cluster

    for id, (box, _) in outer.items():
        for h in (20, 60, 150):
            feet = [cards[a][0]["bottom"] + 30 for a, b in edges
                    if inside(b, id) and not inside(a, id)]  # fmt: skip
            wanted = max([box["top"], *(foot for foot in feet if foot + h <= box["bottom"])])
            assert js(page, f"below('{id}', clusters.get('{id}').box, {h})") == wanted


def test_between_two_folded_cards_there_is_one_edge(visit):
    page = visit("attention_block")
    pairs = js(
        page,
        """(foldAll(true), edges.filter((e) => e.straight).map(
        (e) => [standIn(e.from), standIn(e.to), e.straight.getAttribute("class").trim()]))""",
    )
    between = [tuple(pair[:2]) for pair in pairs]
    assert len(between) == len(set(between)) > 1
    own = js(page, "edges.map((e) => [standIn(e.from), standIn(e.to), e.from, e.to])")
    wanted = {(a, b) for a, b, c, d in own if a != b and (a, b) != (c, d)}
    assert set(between) == wanted
    shown = js(page, "edges.map((e) => e.g.style.display === 'none')")
    assert shown == [(a, b) != (c, d) for a, b, c, d in own]
    there = "svg.querySelectorAll('#edges > g:not([id])').length"
    assert js(page, there) == len(between)
    assert js(page, f"(foldAll(true), foldAll(false), {there})") == 0


# --- the camera ---------------------------------------------------------------------------------


def test_zooming_has_ends_and_keeps_what_is_under_the_pointer(visit):
    page = visit()
    assert js(page, "(zoom(1000), camera.k)") == 4
    assert js(page, "(zoom(1e-6), camera.k)") == 0.05
    before, after = js(
        page,
        """(() => { fit(); move(13, -17);
      const see = () => [(300 - camera.x) / camera.k, (200 - camera.y) / camera.k];
      const a = see(); zoom(1.5, 300, 200); return [a, see()]; })()""",
    )
    assert after == pytest.approx(before)
    assert js(page, "(move(3, -4), framing)") is None


def test_the_graph_is_as_large_as_its_width_allows_within_limits(visit):
    page = visit()
    for size, factor in ((0.1, 0.62), (0.8, 0.8), (5, 1.15)):
        k = js(
            page,
            f"""(() => {{ const box = extent(), wide = svg.getBoundingClientRect().width;
          const width = wide / {size}; // every card and cluster is made as wide as that
          for (const c of cards.values()) c.at = {{ ...c.at, left: 0, right: width - 32 }};
          for (const c of clusters.values()) c.at = {{ ...c.at, left: 0, right: width - 32 }};
          fitWidth(); return camera.k; }})()""",
        )
        assert k == pytest.approx(factor)
    page = visit()
    box, k, room, x, y = js(
        page,
        """(fit(), [extent(), camera.k, svg.getBoundingClientRect(),
        camera.x, camera.y])""",
    )
    width, height = room["width"], room["height"]
    wide, high = box["right"] - box["left"], box["bottom"] - box["top"]
    assert k == pytest.approx(min(1.3, width / wide, (height - 40) / high))
    assert x == pytest.approx(max(0, (width - wide * k) / 2) - box["left"] * k, abs=1e-6)
    assert y == pytest.approx(max(0, (height - 40 - high * k) / 2) - box["top"] * k, abs=1e-6)
    around = js(page, "[...cards.values(), ...clusters.values()].map((c) => c.at)")
    assert box["left"] == pytest.approx(min(b["left"] for b in around) - 16)
    assert box["top"] == pytest.approx(min(b["top"] for b in around) - 16)
    assert box["right"] == pytest.approx(max(b["right"] for b in around) + 16)
    assert box["bottom"] == pytest.approx(max(b["bottom"] for b in around) + 16)


def test_the_whole_graph_is_shown_by_its_longer_side_and_not_too_large(visit):
    page = visit()
    look = """((wide, high) => { const { width, height } = svg.getBoundingClientRect();
      const right = width * wide - 32, bottom = (height - 40) * high - 32; // and 16 on each side
      for (const c of [...cards.values(), ...clusters.values()])
        c.at = { left: 0, top: 0, right, bottom };
      fit(); return camera.k; })"""
    cases = [((0.1, 0.1), 1.3), ((2, 0.5), 0.5), ((0.5, 4), 0.25), ((0.8, 1), 1.0)]
    assert every(page, look, [case for case, _ in cases]) == [
        pytest.approx(k) for _, k in cases]  # fmt: skip
    assert js(page, "framing === fit")
    page = visit()
    fitted = "[framing === fitWidth, camera.k * (extent().right - extent().left)]"
    framed, shown = js(page, fitted)
    k, wide = js(page, "[camera.k, svg.getBoundingClientRect().width]")
    assert framed and (shown == pytest.approx(wide) or k in (0.62, 1.15))
    middle = """(() => { const { width, height } = svg.getBoundingClientRect(), see = () =>
      [(width / 2 - camera.x) / camera.k, (height / 2 - camera.y) / camera.k];
      const before = see(); zoom(1.5); return [before, see(), [camera.x, camera.y, camera.k],
        view.style.transform.match(/-?[\\d.]+/g).map(Number)]; })()"""
    before, after, camera, aimed = js(page, middle)
    assert after == pytest.approx(before) and aimed == pytest.approx(camera, rel=1e-4)


def test_so_much_is_moved_as_is_hidden(visit):
    page = visit()
    cases = {(10, -50, 30): 10, (40, -50, 30): 30, (10, -50, -5): 0, (-10, -50, 30): -10,
             (-80, -50, 30): -50, (-10, 5, 3): 0, (0, -5, 5): 0}  # fmt: skip
    assert every(page, "within", [list(case) for case in cases]) == list(cases.values())


def test_the_wheel_moves_along_its_axis_and_with_shift_sideways(visit):
    page = visit()
    roll = """((dx, dy, more) => { camera.k = 3; camera.x = camera.y = -300; aim();
      const event = new WheelEvent("wheel", { deltaX: dx, deltaY: dy, cancelable: true, ...more });
      svg.dispatchEvent(event);
      return [camera.x + 300, camera.y + 300, camera.k, event.defaultPrevented]; })"""
    assert every(page, roll, [
        [7, 0, {}], [0, 9, {}], [0, 9, {"shiftKey": True}], [4, -6, {"shiftKey": True}]
    ]) == [[-7, 0, 3, True], [0, -9, 3, True], [-9, 0, 3, True], [2, 0, 3, True]]  # fmt: skip
    for key in ("ctrlKey", "metaKey"):
        ((_, _, k, prevented),) = every(page, roll, [[0, 100, {key: True}]])
        assert k == pytest.approx(3 * math.exp(-0.5)) and prevented


def test_one_of_two_fingers_moves_the_graph_by_half(visit):
    page = visit()
    drag = """((fingers) => { svg.setPointerCapture = () => {}; fit();
      const touch = (type, id, x, y) => svg.dispatchEvent(new PointerEvent(type, { pointerId: id,
        clientX: x, clientY: y, buttons: 1, bubbles: true }));
      for (let id = 0; id < fingers; id++) touch("pointerdown", id + 1, 100 + 200 * id, 100);
      const before = { ...camera };
      touch("pointermove", 1, 100, 110);
      const moved = [camera.x - before.x, camera.y - before.y];
      for (let id = 0; id < fingers; id++) touch("pointerup", id + 1, 100, 110);
      return moved; })"""
    assert every(page, drag, [[1], [2]]) == [[0, 10], [0, 5]]
    tremble = """(() => { fit(); const before = camera.x, at = (type, x) => svg.dispatchEvent(
      new PointerEvent(type, { pointerId: 1, clientX: x, clientY: 9, buttons: 1 }));
      at("pointerdown", 50); at("pointermove", 53); const held = camera.x - before;
      at("pointermove", 54); const moved = camera.x - before; at("pointerup", 54);
      return [held, moved]; })()"""
    assert js(page, tremble) == [0, 1]


# --- what is left -------------------------------------------------------------------------------


def test_folding_keeps_the_keyboard_where_it_was(visit):
    page = visit()
    seen = js(
        page,
        """[[true, 'c0'], [false, 'c0']].map(([on, id]) => { fold(id, on);
      const f = document.activeElement; return [f.id, f.parentNode.id, f.getAttribute("class"),
        [...svg.querySelectorAll(".call")].filter((g) => g.style.display !== "none").length]; })""",
    )
    assert [seen[0][0], *seen[1][1:]] == ["fc0", "c0", "title", 0] and seen[0][3] == 1
    page = visit("attention_block")
    outer, inner = js(
        page,
        """(() => { const [id, c] = [...clusters].find(([, c]) => c.outer);
      folded.add(id); folded.add(c.outer); layout(); return [c.outer, id]; })()""",
    )
    shown = js(
        page,
        """[...svg.querySelectorAll('.call')].filter(
        (g) => g.style.display !== 'none').map((g) => g.id)""",
    )
    assert shown == [f"f{outer}"] and inner != outer


def test_what_is_out_of_view_is_brought_into_the_middle(visit):
    page = visit()
    far = {"left": 4000, "right": 4100, "top": 5000, "bottom": 5060}
    room, camera = js(
        page,
        f"""(() => {{ camera.k = 1; camera.x = camera.y = 0;
      bring([{json.dumps(far)}]); return [svg.getBoundingClientRect(), camera]; }})()""",
    )
    assert 4050 + camera["x"] == pytest.approx(room["width"] / 2)
    assert 5030 + camera["y"] == pytest.approx(room["height"] / 2)
    near = {"left": 10, "right": 90, "top": 20, "bottom": 60}
    still = f"(camera.x = camera.y = 0, bring([{json.dumps(near)}]), [camera.x, camera.y])"
    assert js(page, still) == [0, 0]


BRING = """((boxes, k, x, y) => { Object.assign(camera, { k, x, y }); view.style.transform = "";
  bring(boxes); const { style } = view; const said = style.transform; aim();
  return [camera.x, camera.y, camera.k, said === style.transform]; })"""


def test_cards_are_brought_into_view_and_the_last_are_left_out_where_all_do_not_fit(visit):
    """In view is 12 below the top, 48 above the foot and 4 from the sides; else the middle."""
    page = visit()
    wide, high = js(page, "[svg.getBoundingClientRect()].map((r) => [r.width, r.height])[0]")

    def box(left, top, right, bottom):
        return {"left": left, "top": top, "right": right, "bottom": bottom}

    def moved(*boxes, k=1, x=0, y=0):
        """How far the camera moves right and down."""
        ((x1, y1, k1, aimed),) = every(page, BRING, [[boxes, k, x, y]])
        assert k1 == k and aimed
        return pytest.approx([x1 - x, y1 - y])

    right, foot = wide - 4, high - 48
    assert moved(box(4, 12, right, foot)) == [0, 0]
    assert moved(box(4, 11, 24, 31)) == [0, high / 2 - 21]
    assert moved(box(4, foot - 19, 24, foot + 1)) == [0, high / 2 - (foot - 9)]
    assert moved(box(3, 12, 23, 32)) == [wide / 2 - 13, 0]
    assert moved(box(right - 19, 12, right + 1, 32)) == [wide / 2 - (right - 9), 0]
    assert moved(box(-50, -70, -30, -40)) == [wide / 2 + 40, high / 2 + 55]
    # at another size, and moved before: 2 · 20 − 30 = 10 and 2 · 30 − 40 = 20 are in view
    assert moved(box(20, 30, 40, 50), k=2, x=-30, y=-40) == [0, 0]
    assert moved(box(20, 30, 40, 50), k=2, x=-40, y=-50) == [wide / 2 - 20, high / 2 - 30]
    # of two that both fit the middle of all is shown, of others that of the first
    first, span = box(100, -100, 120, -80), high - 60
    assert moved(first, box(90, -60, 130, -100 + span)) == [0, high / 2 - (span - 200) / 2]
    assert moved(first, box(90, -60, 130, -99 + span)) == [0, high / 2 + 90]
    assert moved(box(90, -60, 130, -99 + span), first) == [0, high / 2 - (span - 159) / 2]
    first, span = box(-100, 100, -80, 120), wide - 8
    assert moved(first, box(-60, 90, -100 + span, 130)) == [wide / 2 - (span - 200) / 2, 0]
    assert moved(first, box(-60, 90, -99 + span, 130)) == [wide / 2 + 90, 0]
    assert moved(first, box(-300, 90, -290, 100), box(5000, 0, 5010, 9)) == [wide / 2 + 190, 0]
    page.evaluate("framing = fit")
    assert every(page, BRING, [[[], 1, 5, 7]]) == [[5, 7, 1, False]]
    assert js(page, "framing === fit")


def test_what_gets_the_keyboard_is_brought_into_view(visit):
    page = visit()
    wide, high = js(page, "[svg.getBoundingClientRect()].map((r) => [r.width, r.height])[0]")
    seen = js(
        page,
        """(() => { const found = [], look = (g, box) => {
      Object.assign(camera, { k: 1, x: 9000, y: 9000 }); bringFocus(g.querySelector("text"));
      found.push([box, camera.x, camera.y]); };
      for (const { g, at } of cards.values()) look(g, [at.left, at.top, at.right, at.bottom]);
      for (const { g, at } of clusters.values())
        look(g.querySelector(".title"), [at.left, at.top, at.left + 120, at.top + 34]);
      foldAll(true);
      for (const { g, outer, card } of clusters.values()) if (!outer)
        look(card.g, [card.at.left, card.at.top, card.at.right, card.at.bottom]);
      return found; })()""",
    )
    assert len(seen) == 29 + 6 + 2
    for (left, top, right, bottom), x, y in seen:
        assert near(x + (left + right) / 2, wide / 2) and near(y + (top + bottom) / 2, high / 2)


def test_the_wheel_stops_where_nothing_is_hidden(visit):
    page = visit()
    roll = """((hidden, dx, dy) => { // so much is hidden at the left, the top, the right, the foot
      const { width, height } = svg.getBoundingClientRect(), box = extent();
      const [left, top, right, foot] = hidden;
      camera.k = 2;
      camera.x = left === null ? width - 2 * box.right + right : -left - 2 * box.left;
      camera.y = top === null ? height - 40 - 2 * box.bottom + foot : -top - 2 * box.top;
      const { x, y } = camera, event = new WheelEvent("wheel",
        { deltaX: dx, deltaY: dy, cancelable: true });
      framing = fit;
      svg.dispatchEvent(event);
      return [camera.x - x, camera.y - y, event.defaultPrevented, framing === fit,
              svg.classList.contains("still")]; })"""
    none = None
    cases = {
        ((5, 7, none, none), -20, -30): [5, 7, True, False, True],
        ((5, 7, none, none), -3, -4): [3, 4, True, False, True],
        ((none, none, 5, 7), 20, 30): [-5, -7, True, False, True],
        ((none, none, 5, 7), 3, 4): [-3, -4, True, False, True],
        ((5, 0, none, none), -20, -30): [0, 0, False, True, False],
        ((0, 7, none, none), -30, -20): [0, 0, False, True, False],
        ((5, 0, none, none), -20, -20): [0, 0, False, True, False],  # as far: it is the foot's
        ((5, 0, none, none), -21, -20): [5, 0, True, False, True],
        ((-9, 7, none, none), -20, -30): [0, 7, True, False, True],
    }
    for (hidden, *by), wanted in cases.items():
        page.evaluate("svg.classList.remove('still')")
        ((*moved, prevented, framed, still),) = every(page, roll, [[hidden, *by]])
        assert moved == pytest.approx(wanted[:2], abs=1e-6), (hidden, by)
        assert [prevented, framed, still] == wanted[2:], (hidden, by)


def test_a_press_does_not_move_the_page_as_well(visit):
    """Of keys that do something here the browser does nothing more; of others it does its own."""
    page = visit()
    press = """((query, key) => { go(3); const target = document.querySelector(query);
      const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
      target.dispatchEvent(event); if (state.timer) play(false);
      return [event.defaultPrevented, state.step !== 3, folded.size]; })"""
    card, title = "#cards .card:not(.now)", "#clusters .title"
    did, went, not_ours = [True, False, 0], [True, True, 0], [False, False, 0]
    cases = {
        ("body", "ArrowRight"): went, ("body", " "): did, ("body", "+"): did,
        ("body", "x"): not_ours, ("body", "Enter"): not_ours, ("body", "ArrowDown"): not_ours,
        (card, "ArrowDown"): did, (card, "ArrowRight"): went, (card, "Enter"): went,
        (card, " "): went, ("#slider", "ArrowRight"): not_ours, ("#slider", " "): did,
        ("#next", " "): not_ours, ("#next", "ArrowRight"): went, ("#link", " "): not_ours,
        ("#step td", "ArrowRight"): did, ("#step td", "Home"): went,
        ("#step td", "Enter"): not_ours, (title, "Enter"): [True, False, 1],
        (title, "ArrowDown"): [False, False, 1], (".call", " "): did,
    }  # fmt: skip
    for (query, key), wanted in cases.items():
        assert every(page, press, [[query, key]]) == [wanted], (query, key)
    page.evaluate("document.body.append(make('input'), make('select'), make('textarea'))")
    for query in ("body > input", "select", "textarea"):
        assert every(page, press, [[query, key] for key in ("ArrowRight", " ", "+")]) == [
            not_ours] * 3  # fmt: skip


def test_the_start_lists_what_is_given_and_the_end_what_arrived(visit):
    page = visit("softmax_regression")
    rows = """(k) => { go(k); const all = [...at("step").querySelectorAll(".list tr")];
      return [at("step").querySelector("h2").textContent, at("step").className,
              all.map((row) => [...row.cells].map((cell) => cell.textContent)),
              at("step").querySelector(".why").textContent,
              at("step").querySelectorAll(".note:not(#inside)").length > 0]; }"""
    head, look, given, why, note = js(page, f"({rows})(0)")
    assert (head, look, note) == ("What is given", "start", False)
    shapes = {"x": "4 × 2", "W": "2 × 3", "b": "3", "y": "4 × 3"}
    assert {name: shape for name, _, shape in given} == shapes
    roles = {id["name"]: id["role"] for id in js(page, "Object.values(story.tensors)")}
    assert all(role == roles[name] for name, role, _ in given)
    assert why.startswith("4 tensors are there") and why.endswith("up the red ones.")
    head, look, arrived, why, _ = js(page, f"({rows})(steps.length - 1)")
    assert (head, look) == ("Every gradient has arrived", "end")
    assert sorted(row[:2] for row in arrived) == [["∂loss/∂W", "2 × 3"], ["∂loss/∂b", "3"]]
    assert all(norm for *_, norm in arrived) and why.startswith("These are the slopes")
    page.evaluate("""() => { story.note = "a note"; delete story.leaves;
      for (const t of Object.values(story.tensors)) if (t.name !== "W") t.op ||= "op"; }""")
    *_, given, why, note = js(page, f"({rows})(0)")
    assert (len(given), note) == (1, True) and why.startswith("1 tensor is there")
    (cells,) = js(page, f"({rows})(steps.length - 1)[2]")
    assert cells[:2] == ["∂loss/∂W", "2 × 3"]


WRITTEN = """steps.map((step, k) => { go(k);
  const word = (part) => part.matches(".sign") ? part.textContent
    : part.querySelector("table").getAttribute("aria-label").replace("∂loss/", "");
  const flat = (part) => (part.matches(".pair") ? [...part.children] : [part]).map(word).join(" ");
  return [at("step").querySelector("h2").textContent,
    [...at("step").querySelectorAll(".flow")].map((flow) => [...flow.children].map(flat)),
    at("say").textContent]; })"""

TERMS = "(y * p.log()).sum()"
DIFFERENCE, POWERS = "logits − max z", "exp(logits − max z)"
SUM = f"Σ({POWERS})"
EQUATIONS = {
    "Forward x @ W": ["value of x", "@ value of W", "= value of x @ W"],
    "Forward logits": ["value of x @ W", "+ value of b", "→ the copies", "= value of logits"],
    f"Forward {DIFFERENCE} in softmax": [
        "value of logits", "− value of max z", "→ the copies", f"= value of {DIFFERENCE}"],
    f"Forward {POWERS} in softmax": [f"value of {DIFFERENCE}", f"exp → value of {POWERS}"],
    f"Forward {SUM} in softmax": [f"value of {POWERS}", f"Σ axis 1 → value of {SUM}"],
    "Forward p in softmax": [
        f"value of {POWERS}", f"÷ value of {SUM}", "→ the copies", "= value of p"],
    "Forward p.log()": ["value of p", "log → value of p.log()"],
    "Forward y * p.log()": ["value of y", "× value of p.log()", "= value of y * p.log()"],
    f"Forward {TERMS}": ["value of y * p.log()", f"Σ → value of {TERMS}"],
    f"Forward -{TERMS}": [f"value of {TERMS}", f"− u → value of -{TERMS}"],
    "Forward loss": [f"value of -{TERMS}", "÷ 4 → value of loss"],
    "Backward starts at loss": ["gradient ∂loss"],
    f"Backward through loss, to -{TERMS}": [
        "gradient ∂loss", "· slope ∂u", "= gradient ∂u"],
    f"Backward through -{TERMS}, to {TERMS}": [
        "gradient ∂v", "· slope ∂v/∂u", "= gradient ∂u"],
    f"Backward through {TERMS}, to y * p.log()": ["gradient ∂v", "×1 (copied) = gradient ∂u"],
    "Backward through y * p.log(), to p.log()": [
        "gradient ∂v", "⊙ slope ∂v/∂g", "= gradient ∂g"],
    "Backward through p.log(), to p": ["gradient ∂v", "⊙ slope ∂v/∂p", "= gradient ∂p"],
    f"Backward through p, to {POWERS} in softmax": [
        "gradient ∂p", "⊙ slope ∂p/∂a", "= gradient share of ∂a"],
    f"Backward through p, to {SUM} in softmax": [
        "gradient ∂p", "⊙ slope ∂p/∂g", "= product", "Σ cols = gradient ∂g"],
    f"Backward through {SUM}, to {POWERS} in softmax": [
        "gradient ∂v", "×1 (copied) = gradient share of ∂u"],
    f"Backward through {POWERS}, to {DIFFERENCE} in softmax": [
        "gradient ∂v", "⊙ slope ∂v/∂u", "= gradient ∂u"],
    f"Backward through {DIFFERENCE}, to logits in softmax": [
        "gradient ∂v", "×1 = gradient ∂logits"],
    "Backward through logits, to x @ W": ["gradient ∂logits", "×1 = gradient ∂a"],
    "Backward through logits, to b": ["gradient ∂logits", "Σ rows = gradient ∂b"],
    "Backward through x @ W, to W": ["gradient ∂v", "with value of x", "= gradient ∂W"],
}  # fmt: skip
"""Every step of a softmax regression as an equation; a sign stands with the table after it."""


def test_every_step_reads_as_an_equation(visit):
    page = visit("softmax_regression")
    start, *told, end = js(page, WRITTEN)
    assert [start[0], end[0]] == ["What is given", "Every gradient has arrived"]
    assert [heading for heading, *_ in told] == list(EQUATIONS)
    sums = {f"Backward through {SUM}, to {POWERS} in softmax": [
        ["already there", "+ new", "= accumulated"]]}  # fmt: skip
    for heading, equations, _ in told:
        assert equations == [EQUATIONS[heading], *sums.get(heading, [])]
    said = {k: words for k, (*_, words) in enumerate((start, *told, end))}
    assert {k: said[k] for k in (0, 1, 6, 11, 12, 21, 26)} == {
        0: "Step 0 of 26: what is given",
        1: "Step 1 of 26: forward, x @ W from x and W",
        6: f"Step 6 of 26: forward, p from {POWERS} and {SUM}",
        11: f"Step 11 of 26: forward, loss from -{TERMS} and a number",
        12: "Step 12 of 26: backward starts",
        21: f"Step 21 of 26: backward through {POWERS} to {DIFFERENCE}",
        26: "Step 26 of 26: the end",
    }
    bar = """[0, 3, 99, -5].map((k) => { go(k); const link = at("link"), slider = at("slider");
      return [link.textContent, link.getAttribute("href"), link.getAttribute("aria-label"),
              slider.value, slider.max, location.hash, slider.getAttribute("aria-valuetext"),
              ["first", "back", "next", "last"].map((id) => at(id).ariaDisabled === "true")]; })"""
    assert js(page, bar) == [
        [f"{k} / 26", f"#step={k}", f"Link to step {k}", str(k), "26", f"#step={k}",
         said[k].replace("Step ", "", 1), [k == 0, k == 0, k == 26, k == 26]]
        for k in (0, 3, 26, 0)
    ]  # fmt: skip


def test_the_arrow_keys_walk_over_cells_and_cards(visit):
    page = visit("softmax_regression")
    walked = """((start, keys) => { go(1); // y has 4 rows of 3
      const table = at("step").querySelector("table[data-space=y]");
      (start === null ? table : table.querySelectorAll("td")[start]).focus();
      return keys.map((key) => { document.activeElement.dispatchEvent(
        new KeyboardEvent("keydown", { key: `Arrow${key}`, bubbles: true, cancelable: true }));
        return +document.activeElement.dataset.i; }); })"""
    walks = {
        (None, ("Up", "Right", "Right", "Right", "Left", "Down", "Up")): [0, 1, 2, 3, 2, 5, 2],
        (0, ("Left", "Up", "Down", "Down", "Down", "Down")): [0, 0, 3, 6, 9, 9],
        (11, ("Right", "Down", "Left", "Up")): [11, 11, 10, 7],
    }
    for walk, places in walks.items():
        assert every(page, walked, [walk]) == [places]
    cards = """((keys, hidden) => { const all = [...svg.querySelectorAll("#cards .card")];
      all.forEach((g, k) => { g.tabIndex = k ? -1 : 0;
        g.style.display = hidden.includes(k) ? "none" : ""; });
      all[0].focus();
      return keys.map((key) => { document.activeElement.dispatchEvent(
        new KeyboardEvent("keydown", { key: `Arrow${key}`, bubbles: true, cancelable: true }));
        return [all.indexOf(document.activeElement), document.activeElement.tabIndex,
                all.filter((g) => g.tabIndex === 0).length]; }); })"""
    assert every(page, cards, [[("Up", "Down", "Down", "Up"), []], [("Down", "Up"), [1, 2]]]) == [
        [[0, 0, 1], [1, 0, 1], [2, 0, 1], [1, 0, 1]], [[3, 0, 1], [0, 0, 1]]]  # fmt: skip


def test_every_button_does_what_it_says(visit):
    page = visit("softmax_regression")
    clicked = """((id, from) => { go(from); at(id).click();
      const seen = [state.step, Boolean(state.timer), at("run").className,
        at("run").getAttribute("aria-label")]; play(false); return seen; })"""
    still, going = [False, "", "Play"], [True, "on", "Pause"]
    cases = {("first", 7): [0, *still], ("back", 7): [6, *still], ("next", 7): [8, *still],
             ("last", 7): [26, *still], ("back", 0): [0, *still], ("next", 26): [26, *still],
             ("run", 7): [7, *going], ("run", 26): [0, *going],
             ("link", 7): [7, *still]}  # fmt: skip
    assert every(page, clicked, list(cases)) == list(cases.values())
    twice = "(at('run').click(), at('run').click(), [state.timer, at('run').ariaLabel, state.step])"
    assert js(page, f"(go(4), {twice})") == [0, "Play", 4]
    zooms = "((id) => { fit(); const { k } = camera; at(id).click(); return camera.k / k; })"
    factors = [1.25, 0.8, 1]
    assert every(page, zooms, [["closer"], ["farther"], ["fit"]]) == pytest.approx(factors)
    folds = "((id) => { at(id).click(); return [folded.size, clusters.size]; })"
    assert every(page, folds, [["fold"], ["unfold"]]) == [[1, 1], [0, 1]]
    assert js(page, "[at('fold').hidden, at('unfold').hidden]") == [False, False]
    slid = """((k) => { at("slider").value = k; at("slider").dispatchEvent(new Event("input"));
      return state.step; })"""
    assert every(page, slid, [["5"], ["0"], ["26"]]) == [5, 0, 26]
    quiz = "(at('quiz').click(), [state.quiz, at('quiz').ariaPressed, at('step').textContent])"
    on, pressed, text = js(page, f"(go(25), {quiz})")
    assert (on, pressed) == (True, "true")
    assert (
        "Playing goes on after the answer." in text
        and "Quiz: 0 right of 0, 0 at the first try." in text
    )
    shown = """(at("step").querySelector(".quiz button[type=button]").click(),
      [state.asked, state.right, state.solved.has(25)])"""
    assert js(page, shown) == [1, 0, True]
    off, pressed, text = js(page, quiz)
    assert (off, pressed) == (False, "false") and "Quiz" not in text


def test_cells_light_up_while_the_pointer_or_the_keyboard_is_on_them(visit):
    page = visit("softmax_regression")
    lit = """((event, query) => { go(1); light(at("step"), null, related);
      const cell = at("step").querySelector("[data-space=x0] td");
      if (event.endsWith("leave") || event.endsWith("out")) light(at("step"), cell, related);
      at("step").querySelector(query).dispatchEvent(new Event(event, { bubbles: true }));
      return [...at("step").querySelectorAll(".lit")].map((td) =>
        td.closest("table").dataset.space + td.dataset.i); })"""
    cell, own = "[data-space=y] td", ["x00", "x01", "x10", "x13", "y0"]
    assert every(page, lit, [
        ["pointerover", cell], ["focusin", cell], ["pointerover", "h2"], ["focusin", "h2"],
        ["focusout", cell],
    ]) == [own, own, [], [], []]  # fmt: skip
    left = """(go(1), light(at("step"), at("step").querySelector("td"), related),
      at("step").dispatchEvent(new Event("pointerleave")),
      at("step").querySelectorAll(".lit").length)"""
    assert js(page, left) == 0


def test_a_drag_goes_on_outside_of_the_graph(visit):
    page = visit()
    box = page.locator("#graph").bounding_box()
    right, y = box["x"] + box["width"], box["y"] + 300
    before = js(page, "camera")
    page.mouse.move(right - 20, y)
    page.mouse.down()
    for x in (right - 30, right + 90):
        page.mouse.move(x, y + 5)
    assert js(page, "svg.classList.contains('held')")
    page.mouse.up()
    after = js(page, "camera")
    assert [after["x"] - before["x"], after["y"] - before["y"]] == [110, 5]
    page.mouse.move(right - 50, y)
    assert js(page, "[camera, svg.classList.contains('held')]") == [after, False]


def test_two_fingers_zoom_as_far_as_they_part(visit):
    page = visit()
    pinch = """((ways) => { svg.setPointerCapture = () => {}; fit();
      const { left, top } = svg.getBoundingClientRect();
      const touch = (type, id, x, y) => svg.dispatchEvent(new PointerEvent(type, { pointerId: id,
        clientX: left + x, clientY: top + y, buttons: 1, bubbles: true }));
      const sizes = [camera.k], seen = [];
      touch("pointerdown", 1, 100, 100);
      touch("pointerdown", 2, 200, 100);
      for (const [id, x, y] of ways) { touch("pointermove", id, x, y); sizes.push(camera.k); }
      touch("pointerup", 2, 0, 0);
      touch("pointerdown", 2, 300, 100); // another finger is another distance
      touch("pointermove", 2, 310, 100);
      sizes.push(camera.k);
      touch("pointerup", 1, 0, 0);
      touch("pointerup", 2, 0, 0);
      return sizes.slice(1).map((k, i) => k / sizes[i]); })"""
    ways = [[1, 100, 100], [2, 220, 100], [1, 70, 100], [1, 220, 50], [2, 220, 25]]
    fingers, wanted, gap = {1: (100, 100), 2: (200, 100)}, [], 0
    for id, x, y in ways:  # the first move tells how far apart they are
        fingers[id] = (x, y)
        now = math.dist(*fingers.values())
        wanted.append(now / gap if gap else 1)
        gap = now
    assert every(page, pinch, [[ways]]) == [pytest.approx([*wanted, 1])]


@pytest.mark.parametrize("program, turned", [("softmax_regression", 0), ("two_layer_network", 1)])
def test_the_factors_of_a_product_light_each_other(visit, program, turned):
    """A[i, k] meets B[k, j], of which a transposed one is written as [j, k]."""
    page = visit(program)
    (rows, inner), shape = js(page, "(go(1), steps[1].x.map((x) => arrayOf(x).s))")
    columns = shape[1 - turned]
    a = np.arange(rows * inner) % inner
    b = np.arange(inner * columns) % inner if turned else np.arange(inner * columns) // columns
    pairs = list(np.ndindex(a.size, b.size))
    for calls in ([["x0", i, "x1", j] for i, j in pairs], [["x1", j, "x0", i] for i, j in pairs]):
        assert every(page, "related", calls) == [bool(a[i] == b[j]) for i, j in pairs]
    i_of_a, y = np.arange(rows * inner) // inner, np.arange(rows * columns)
    calls = [["x0", i, "y", j] for i in range(a.size) for j in range(y.size)]
    wanted = [bool(i_of_a[i] == j // columns) for _, i, _, j in calls]
    assert every(page, "related", calls) == wanted
    assert every(page, "related", [[c, j, a, i] for a, i, c, j in calls]) == wanted


def test_operands_that_are_no_matrix_factors_do_not_light_each_other(visit):
    page = visit("softmax_regression")
    lit = """steps.map((step, k) => { if (step.k !== "f" || step.x.length < 2) return null; go(k);
      const sizes = step.x.map((x) => sizeOf(arrayOf(x).s)), found = new Set();
      for (let i = 0; i < sizes[0]; i++) for (let j = 0; j < sizes[1]; j++)
        found.add(related("x0", i, "x1", j)).add(related("x1", j, "x0", i));
      return [story.tensors[step.y].op, [...found].sort()]; }).filter(Boolean)"""
    met = dict(js(page, lit))
    assert met.pop("@") == [False, True] and {"+", "−", "×", "÷"} <= met.keys()
    assert all(found == [False] for found in met.values())


def test_a_gradient_stays_hidden_on_its_card_until_it_is_found_out(visit):
    page = visit("fan_out")
    blank = """steps.map((step, k) => { go(k); const id = step.k === "b" ? step.x : null;
      return [id, hides(k), id && cards.get(id).g.classList.contains("blank")]; })"""
    (plain, asked) = js(page, f"[{blank}, (at('quiz').click(), {blank})]")
    last = {id: k for k, (id, *_) in enumerate(plain) if id}
    for k, (id, hidden, covered) in enumerate(plain):
        assert not hidden and (id is None or covered == (last[id] != k))
    for id, hidden, covered in asked:
        assert hidden == bool(id) and (id is None or covered)
    k = max(last.values())
    shown = f"(go({k}), [at('step').querySelectorAll('.quiz').length, state.asked, state.right])"
    assert js(page, shown) == [1, 0, 0]
    solved = f"""(solve({k}, false), [at('step').querySelectorAll('.quiz').length, state.asked,
      state.right, at("say").textContent, document.activeElement.id])"""
    assert js(page, solved) == [0, 1, 0, "Shown. 0 of 1.", "next"]
    assert js(page, blank)[k] == [plain[k][0], False, False]
    assert js(page, "(solve(state.step, true), at('say').textContent)") == "Right. 1 of 2."
    score = "[0, steps.length - 2].map((k) => (go(k), quizScore()))"
    assert js(page, score) == [
        "Quiz: 1 right of 2, 1 at the first try. Go to a backward step to be asked.",
        "Quiz: 1 right of 2, 1 at the first try.",
    ]


def test_the_line_of_a_step_has_its_part_marked(visit):
    page = visit()
    files = js(page, "story.files")
    for k, step in enumerate(js(page, "steps")):
        if "src" in step:
            file, line, text, start, end = files[step["src"]]
            told = js(
                page,
                f"""(() => {{ const p = sourceOf(steps[{k}]); return [
                p.textContent, p.querySelector("mark").textContent]; }})()""",
            )
            assert told == [f"{file}, line {line}{text}", text[start:end]]


def test_signs_are_not_read_out_and_questions_name_what_they_ask_for(visit):
    page = visit("fan_out")
    assert js(page, "[sign('+').getAttribute('aria-hidden'), sign('+').textContent]") == [
        "true", "+"]  # fmt: skip
    k, step = next((k, s) for k, s in enumerate(js(page, "steps")) if s.get("share"))
    loss = js(page, "story.loss")
    assert js(page, f"asked(steps[{k}])") == f"this share of ∂{loss}/∂{step['as'][0]}"
    marked = js(
        page,
        """(() => { const box = make("div");
      state.asks = 2; box.append(heat({ s: [4], d: [1, 2, 3, 4] }, "x", { hidden: true }));
      markAsked(box); return [...box.querySelectorAll("td")].map((td) => td.className); })()""",
    )
    assert marked == ["", "", "ask", ""]


def test_the_way_back_of_a_product_lights_what_is_multiplied(visit):
    """A[i, k] gets G[i, j]·B[k, j] for all j, and B[k, j] gets A[i, k]·G[i, j] for all i."""
    page = visit("softmax_regression")
    steps, tensors = js(page, "[steps, story.tensors]")
    k, step = next((k, s) for k, s in enumerate(steps) if s.get("o") and s["map"][1] == 1)
    (rows, inner), (_, columns) = (tensors[id]["v"]["s"] for id in (step["o"][0], step["x"]))
    page.evaluate(f"go({k})")
    pairs = [(b, a) for b in range(inner * columns) for a in range(rows * inner)]
    lit = every(page, "related", [["x", b, "o", a] for b, a in pairs])
    assert lit == [b // columns == a % inner for b, a in pairs]


@pytest.mark.parametrize("program", ["softmax_regression", "two_layer_network", "attention_block"])
def test_the_way_back_of_each_product_lights_as_its_elements_are_mixed(visit, program):
    """Elements of two arrays of l @ r belong together if the product needs both, as NumPy says."""
    page = visit(program)
    steps, tensors = js(page, "[steps, story.tensors]")
    found = set()
    for k, step in enumerate(steps):
        if not step.get("o"):
            continue
        kind, position = step["map"]
        shapes = [tensors[id]["v"]["s"] for id in (step["x"], step["o"][0])]
        left, right = shapes[::-1] if position else shapes
        if len(left) != 2 or len(right) != 2:
            continue
        rule = {"mm": "ik,kj->ikj", "in": "ik,jk->ikj"}[kind]
        names = dict(zip("xo", rule[:5].split(",")[:: 1 - 2 * position])) | {"y": "ij"}
        sizes = {"i": left[0], "k": left[1], "j": right[kind == "mm"]}
        page.evaluate(f"go({k})")
        for one, two in itertools.permutations("xoy", 2):
            places = [np.arange(math.prod(sizes[c] for c in names[n])).reshape(
                [sizes[c] for c in names[n]]) for n in (one, two)]  # fmt: skip
            wanted = {
                (int(places[0][tuple(at[c] for c in names[one])]),
                 int(places[1][tuple(at[c] for c in names[two])]))
                for at in (dict(zip("ikj", n)) for n in np.ndindex(*(sizes[c] for c in "ikj")))
            }  # fmt: skip
            pairs = list(itertools.product(range(places[0].size), range(places[1].size)))
            lit = every(page, "related", [[one, i, two, j] for i, j in pairs])
            assert {pair for pair, on in zip(pairs, lit) if on} == wanted, (k, one, two)
        found.add((kind, position))
    assert found


def test_headings_name_the_calls_around_a_step(visit):
    page = visit("attention_block")
    told = js(
        page,
        """[...cards.keys()].map((id) => [id, heading(id, "Forward", "it").textContent,
        heading(id, "Forward", "it").querySelector("b").textContent])""",
    )
    outer, names, cards = js(
        page,
        """["c", "name"].map((key) => Object.fromEntries([...svg.querySelectorAll(".cluster")].map(
        (g) => [g.id, g.dataset[key] ?? null]))).concat(Object.fromEntries(
        [...svg.querySelectorAll("#cards > .card")].map((g) => [g.id, g.dataset.c ?? null])))""",
    )
    depths = set()
    for id, text, way in told:
        calls, around = [], cards[id]
        while around is not None:
            calls.insert(0, names[f"c{around}"])
            around = outer[f"c{around}"]
        depths.add(len(calls))
        assert text == "Forward it" + (f" in {' › '.join(calls)}" if calls else "")
        assert way == "Forward"
    assert {0, 1, 2} <= depths


def test_copies_are_shown_of_what_has_several_elements_and_is_all_there(visit):
    page = visit()
    told = """((own, c) => {
      story.tensors[steps[1].y].v = { s: [2, 3], d: [1, 1, 1, 1, 1, 1] };
      const figure = copies({ v: own, c }, steps[1]);
      return figure && [[...figure.querySelectorAll("td")].map((td) => td.textContent),
        figure.querySelector("figcaption").textContent, figure.className,
        figure.querySelector("table").dataset.space]; })"""
    row = {"s": [3], "d": [1, 2, 3]}
    assert every(page, told, [
        [row, "rows"], [{"s": [2, 1], "d": [4, 5]}, "columns"], [row, None],
        [{**row, "w": [1, 1, 3]}, "rows"], [{"s": [], "d": [1]}, "all"],
        [{"s": [1], "d": [1]}, "all"],
    ]) == [
        [list("123123"), "copied along rows 2 × 3", "copy", "y"],
        [list("444555"), "copied along columns 2 × 3", "copy", "y"], None, None, None, None,
    ]  # fmt: skip
    infix = """((op) => {
      const step = steps.find((s) => s.k === "f" && s.x.length === 2 && s.x[1].id);
      story.tensors[step.y].op = op; const all = forwardStep(step).filter(Boolean);
      return all.flatMap((e) => [...e.querySelectorAll?.(".sign") ?? []].map(
        (s) => s.textContent)).filter((text) => text !== "→"); })"""
    assert every(page, infix, [["+"], ["//"], ["max"]]) == [
        ["+", "="], ["//", "="], [",", "max →"]]  # fmt: skip


def test_the_quiz_says_how_an_answer_was_and_waits_for_one(visit):
    page = visit("softmax_regression")
    page.evaluate("(at('quiz').click(), go(25))")
    assert js(page, f"(at('say').textContent = 'still', {ANSWERED}('  '))") == ["", 0, 0]
    assert js(page, "at('say').textContent") == "still"
    assert js(page, f"{ANSWERED}('3 × 3')")[0].startswith("Not 3 × 3. A gradient has the shape")
    assert js(page, "at('say').textContent").startswith("Not 3 × 3.")
    assert js(page, f"{ANSWERED}('2 × 3')") == ["", 0, 0]
    assert js(page, "[at('say').textContent, document.activeElement.ariaLabel]") == [
        "Yes, 2 × 3.", "element"]  # fmt: skip
    assert js(page, "at('step').querySelectorAll('td.ask').length") == 1
    assert js(page, f"{ANSWERED}('1e999')")[0].startswith("Write a number")


def test_the_first_of_several_gradients_says_how_many_there_are(visit):
    page = visit("fan_out")
    notes = js(
        page,
        """steps.map((step, k) => { go(k); return [...at("step").querySelectorAll(
        ".note:not(#inside)")].map((note) => note.textContent); })""",
    )
    steps = js(page, "steps")
    came = {}
    for k, step in enumerate(steps):
        if step["k"] == "b":
            came.setdefault(step["x"], []).append(k)
    for id, found in came.items():
        name = js(page, f"nameOf('{id}')")
        n = len(found)
        first = f"The first of {n} gradients that are added up at {name} (⊕{n})."
        more = f"{name} was used more than once: gradients are added."
        wanted = [[]] if n == 1 else [[first]] + [[more]] * (n - 1)
        assert [notes[k] for k in found] == wanted
    assert max(map(len, came.values())) >= 3


def test_a_step_begins_at_its_top_and_what_is_focused_is_in_view(visit):
    page = visit()
    assert js(
        page,
        """(() => { const pane = at("pane"); pane.style.height = "90px"; go(3);
      pane.scrollTop = 40; const before = pane.scrollTop; go(4);
      return [before, pane.scrollTop]; })()""",
    ) == [40, 0]
    card = """(() => { Object.assign(camera, { k: 1, x: 9000, y: 9000 });
      svg.querySelector(".card").focus(); return camera.x < 9000 && camera.y < 9000; })()"""
    assert js(page, card)
    hidden = """(() => { Object.assign(camera, { k: 1, x: 5, y: 7 }); svg.style.display = "none";
      bring([{ left: 900, top: 900, right: 950, bottom: 950 }]);
      return [camera.x, camera.y]; })()"""
    assert js(page, hidden) == [5, 7]


def test_a_touch_that_is_called_off_drags_no_more(visit):
    page = visit()
    drag = """((end) => { svg.setPointerCapture = () => {}; fit();
      const touch = (type, x) => svg.dispatchEvent(new PointerEvent(type, { pointerId: 1,
        clientX: x, clientY: 9, buttons: 1, bubbles: true }));
      touch("pointerdown", 50); touch("pointermove", 60);
      const moved = camera.x; touch(end, 60); touch("pointermove", 90);
      return camera.x - moved; })"""
    assert every(page, drag, [["pointerup"], ["pointercancel"]]) == [0, 0]
    still = """new Promise((done) => { svg.dispatchEvent(new WheelEvent("wheel",
        { deltaY: 9, ctrlKey: true, cancelable: true }));
      const first = svg.classList.contains("still"), look = () => svg.classList.contains("still")
        ? requestAnimationFrame(look) : done(first);
      look(); })"""
    assert page.evaluate(still)  # and it ends


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_theme_is_what_is_chosen_or_the_systems(visit, system):
    page = visit()
    page.emulate_media(color_scheme=system)
    seen = js(
        page,
        """[0, 1, 2].map(() => { const word = at("theme").textContent; paint();
      const look = document.documentElement.dataset.theme; at("theme").click();
      return [word, look]; })""",
    )
    page.emulate_media(color_scheme="light")
    assert seen == [["Auto", system], ["Light", "light"], ["Dark", "dark"]]


# --- the layout, as it is drawn -----------------------------------------------------------------

LAID_OUT = r"""(states) => states.map((ids) => {
  folded.clear();
  for (const id of ids) folded.add(id);
  layout();
  const back = view.getCTM().inverse();
  const drawn = (element) => {
    if (!element.getClientRects().length) return null;
    const { x, y, width, height } = element.getBBox(), to = back.multiply(element.getCTM());
    return [x + to.e, y + to.f, x + to.e + width, y + to.f + height];
  };
  const sides = ({ left, top, right, bottom }) => [left, top, right, bottom];
  const rect = (g) => drawn(g.querySelector("rect"));
  const moved = (element, { left, top, right, bottom }) => {
    const { e, f } = back.multiply(element.getCTM());
    return [left + e, top + f, right + e, bottom + f];
  };
  const numbers = (text) => text.match(/-?[\d.]+/g).map(Number);
  return {
    cards: [...cards].map(([id, { g, box }]) => ({ id, outer: g.dataset.c ?? null, box: sides(box),
      at: rect(g) })),
    clusters: [...clusters].map(([id, { g, box, last, count, card, title: room }]) => ({ id, last,
      count, room, outer: g.dataset.c ?? null, box: sides(box), at: rect(g),
      title: drawn(g.querySelector(".title")),
      card: card ? rect(card.g) : null, cardBox: card ? sides(card.box) : null,
      words: card && card.words.map((row) => row.map((text) => [text.textContent,
        text.getComputedTextLength(), ...["x", "y"].map((a) => +text.getAttribute(a)),
        text.getAttribute("text-anchor") ?? "start"])) })),
    edges: edges.map(({ g, from, to, texts, lines, straight }) => ({ from, to,
      shown: g.style.display !== "none", straight: straight ? { class: straight.className.baseVal,
        data: [straight.dataset.a, straight.dataset.b], there: straight.isConnected,
        points: numbers(straight.querySelector("path").getAttribute("d")) } : null,
      flow: g.matches(".flow"), texts: texts.map(({ t, box }) => [sides(box), moved(t, box)]),
      lines: lines.map(({ line, name, text }) => [numbers(text),
        numbers(line.getAttribute(name))]) })),
  };
})"""
"""Where everything stands in the units of the drawing for each set of folded clusters."""

FOLDED = "two_layer_network", "attention_block", "lstm_step"


@pytest.fixture(scope="module")
def laid_out(visit):
    """`laid_out(program)`: the sets of clusters that are folded, and how each of them is drawn."""

    @cache
    def laid_out(program):
        page = visit(program)
        page.evaluate("view.style.transform = 'none'")  # a font's metrics depend on its size
        ids = js(page, "[...clusters.keys()]")
        states = [[], *([id] for id in ids), ids, []]
        return states, js(page, f"({LAID_OUT})({json.dumps(states)})")

    return laid_out


def around(drawn):
    """`around(id)`: the clusters around a card or a cluster, the inner ones first."""
    outer = {thing["id"]: thing["outer"] and f"c{thing['outer']}"
             for thing in (*drawn["cards"], *drawn["clusters"])}  # fmt: skip

    def around(id):
        found = []
        while id := outer.get(id):
            found.append(id)
        return found

    return around


def near(a, b, off=0.11):
    """Whether coordinates are equal but for what is written with one digit."""
    return np.allclose(a, b, rtol=0, atol=off)


@pytest.mark.parametrize("program", FOLDED)
def test_the_graph_is_read_as_it_was_laid_out(visit, laid_out, program):
    """The last operation of a call is what it gives, and its operations are counted."""
    page = visit(program)
    (unfolded, *_) = laid_out(program)[1]
    inside = around(unfolded)
    made = [step["y"] for step in js(page, "steps") if step["k"] == "f"]
    for cluster in unfolded["clusters"]:
        own = [id for id in made if cluster["id"] in inside(id)]
        assert (cluster["last"], cluster["count"]) == (own[-1], len(own))
        assert cluster["at"] == pytest.approx(cluster["box"])
    for edge in unfolded["edges"]:
        assert edge["shown"] and not edge["straight"]
        for before, after in (*edge["texts"], *edge["lines"]):
            assert near(before, after)
    assert not js(page, "svg.hasAttribute('viewBox')")
    assert js(page, "clusters.size === svg.querySelectorAll('.cluster').length")
    titles = "[...clusters.values()].map(({ g, title }) => [g.querySelector('.title'), title])"
    rooms = js(page, f"{titles}.map(([words, room]) => room - words.getBBox().width)")
    assert all(14 < room < 36 for room in rooms)  # 20, and a font's metrics depend on its size
    red = "['stroke', 'fill'].some((a) => e.getAttribute(a) === '#f87171')"
    wrong = f"""[...svg.querySelectorAll("#edges > .edge *")].filter((e) =>
      e.matches(".red") !== (e.tagName === "text" || {red})
      || e.matches(".path") !== (e.tagName === "path")).length"""
    assert js(page, wrong) == 0


@pytest.mark.parametrize("program", FOLDED)
def test_what_is_folded_is_hidden_and_all_else_keeps_its_size(laid_out, program):
    for folded, drawn in zip(*laid_out(program)):
        inside = around(drawn)
        for card in drawn["cards"]:
            assert (card["at"] is None) == any(id in folded for id in inside(card["id"]))
            if card["at"]:
                assert near(np.subtract(card["at"][2:], card["at"][:2]),
                            np.subtract(card["box"][2:], card["box"][:2]))  # fmt: skip
        for cluster in drawn["clusters"]:
            covered = any(id in folded for id in inside(cluster["id"]))
            assert (cluster["at"] is None) == (covered or cluster["id"] in folded)
            if cluster["card"] or cluster["id"] in folded:
                assert (cluster["card"] is None) == (covered or cluster["id"] not in folded)
            held = [card["at"] for card in drawn["cards"]
                    if cluster["id"] in inside(card["id"]) and card["at"]]  # fmt: skip
            if cluster["at"]:
                assert all(helpers.inside(box, cluster["at"]) for box in (*held, cluster["title"]))
                before = next(c for c in laid_out(program)[1][0]["clusters"]
                              if c["id"] == cluster["id"])  # fmt: skip
                moved = np.subtract(cluster["title"][:2], cluster["at"][:2])
                assert near(moved, np.subtract(before["title"][:2], before["at"][:2]))


@pytest.mark.parametrize("program", FOLDED)
def test_a_folded_card_is_as_large_as_its_words_and_stands_on_its_spine(laid_out, program):
    for drawn in laid_out(program)[1]:
        boxes = {card["id"]: card["box"] for card in drawn["cards"]}
        for cluster in drawn["clusters"]:
            if not cluster["card"]:
                continue
            left, top, right, bottom = cluster["card"]
            rows = cluster["words"]
            widths = [10 + sum(length + 14 for _, length, *_ in row) for row in rows]
            assert near(right - left, max(widths)) and near(bottom - top, 14 + 18 * len(rows))
            spine = boxes[cluster["last"]]
            assert near(sum(cluster["cardBox"][::2]), spine[0] + spine[2])
            plural = "" if cluster["count"] == 1 else "s"
            assert rows[0][1][0] == f"{cluster['count']} operation{plural}"
            for k, row in enumerate(rows):
                assert near(row[0][2:4], [left + 10, top + 20 + 18 * k]) and row[0][4] == "start"
                for word in row[1:]:
                    assert near(word[2:4], [right - 10, top + 20 + 18 * k]) and word[4] == "end"
    assert {len(rows) for rows in (c["words"] for c in drawn["clusters"])} - {1}


@pytest.mark.parametrize("program", FOLDED)
def test_only_what_is_empty_is_squeezed_and_no_more_than_it_may_be(laid_out, program):
    """Cards with the room of an arrow's head, titles, corners and words keep their lengths."""
    squeezed = set()
    for folded, drawn in zip(*laid_out(program)):
        kept = [(card["box"], card["at"], 9) for card in drawn["cards"] if card["at"]]
        for cluster in drawn["clusters"]:
            if cluster["card"]:
                kept.append((cluster["cardBox"], cluster["card"], 0))
            if cluster["at"]:
                (a, b, c, d), (x0, y0, x1, y1) = cluster["box"], cluster["at"]
                kept.append(([c - 12, d - 12, c, d], [x1 - 12, y1 - 12, x1, y1], 0))
                wide = cluster["room"]
                kept.append(([a, b, a + wide, b + 34], [x0, y0, x0 + wide, y0 + 34], 0))
        kept += [(*text, 2) for edge in drawn["edges"] if edge["shown"] for text in edge["texts"]]
        for axis, room in ((0, 30), (1, 24)):
            spans = sorted((before[axis] - more, before[axis + 2] + more,
                            after[axis] - more, after[axis + 2] + more)
                           for before, after, more in kept)  # fmt: skip
            end, moved_end = 0.0, 0.0
            for start, stop, moved_start, moved_stop in spans:
                gap = start - end
                if gap > 0:
                    wanted = min(gap, room) if folded else gap
                    assert near(moved_start - moved_end, wanted, 0.3), (folded, axis, start)
                    squeezed.add((axis, wanted == room))
                else:
                    assert near(moved_start - moved_end, gap, 0.3), (folded, axis, start)
                if stop > end:
                    end, moved_end = stop, moved_stop
    assert squeezed == set(itertools.product((0, 1), (False, True)))


@pytest.mark.parametrize("program", FOLDED)
def test_a_folded_card_says_what_it_stands_for(visit, program):
    page = visit(program)
    told = js(
        page,
        """(foldAll(false), [...clusters.keys()].map((id) => { fold(id, true);
      const { g, card, last } = clusters.get(id), rect = card.g.querySelector("rect"), look =
        (e) => ["fill", "stroke", "rx"].map((name) => e.getAttribute(name));
      const { left, top, right, bottom } = extent(), boxes = [...svg.querySelectorAll(
        ".card rect, .cluster > rect")].filter((e) => e.getClientRects().length).map((e) => {
          const { x, y, width, height } = e.getBBox();
          const { e: dx, f: dy } = view.getCTM().inverse().multiply(e.getCTM());
          return [x + dx, y + dy, x + dx + width, y + dy + height]; });
      const found = [card.g.id === `f${id}`, card.g.getAttribute("class").split(" ").slice(0, 3),
        g.classList[1], ["role", "tabindex", "aria-expanded", "aria-label"].map(
          (name) => card.g.getAttribute(name)), [g.dataset.name, g.dataset.formula, clusters.get(
          id).count], look(rect).join() === look(g.querySelector("rect")).join(),
        rect.getAttribute("stroke-width"), card.words.map((row) => row[0].textContent),
        [...cards.get(last).g.querySelectorAll("text.t11")].map((text) => text.textContent),
        [...folded], document.activeElement === card.g, [left, top, right, bottom], boxes];
      fold(id, false); return found; }))""",
    )
    ids = js(page, "[...clusters.keys()]")
    for id, found in zip(ids, told, strict=True):
        own, classes, kind, said, (name, formula, count), same, border, words, last, *_ = found
        assert own and classes == ["card", "call", kind] and kind in ("module", "function")
        operations = "1 operation" if count == 1 else f"{count} operations"
        assert said == ["button", "0", "false", f"{name}, folded: {operations}"]
        assert same and border == "2"
        assert words == [f"⊞ {name}", *([formula] if formula else []), *last]
        only, focused, extent, boxes = found[-4:]
        assert only == [id] and focused
        sides = [min(b[0] for b in boxes) - 16, min(b[1] for b in boxes) - 16,
                 max(b[2] for b in boxes) + 16, max(b[3] for b in boxes) + 16]  # fmt: skip
        assert near(extent, sides)
    assert {bool(found[4][1]) for found in told} == {True, False}
    assert js(page, "(zoom(2), foldAll(true), [folded.size, framing === fit])") == [len(ids), True]
    assert js(page, "(zoom(2), foldAll(false), [folded.size, framing === fit])") == [0, True]


def test_a_press_folds_unfolds_or_visits(visit):
    page = visit()
    pressed = """((query, held) => { go(5); const target = document.querySelector(query);
      svg.classList.toggle("held", held); press(target); svg.classList.remove("held");
      return [state.step, [...folded]]; })"""
    card = "#" + js(page, "steps[2].y")
    assert every(page, pressed, [
        [f"{card} text", True], ["#c3 .title text", True], [f"{card} text", False],
        [f"{card}", False], ["#graph", False], ["#c3 > rect", False], ["#c3 .title text", False],
        ["#fc3 text", True], ["#fc3 text", False], ["#graph", False],
    ]) == [[5, []], [5, []], [2, []], [2, []], [5, []], [5, []], [5, ["c3"]], [5, ["c3"]],
           [5, []], [5, []]]  # fmt: skip


def test_a_step_inside_of_a_folded_call_says_so(visit):
    """A call's last operation and what leaves it can be seen on its card; the rest cannot."""
    page = visit()
    cluster_of = js(page, "Object.fromEntries([...cards].map(([id, c]) => [id, c.outer]))")
    outer = js(page, "Object.fromEntries([...clusters].map(([id, c]) => [id, c.outer]))")
    steps = js(page, "steps")
    for call in outer:

        def inside(id, call=call):
            around = cluster_of[id]
            while around and around != call:
                around = outer[around]
            return around == call

        made = [step["y"] for step in steps if step["k"] == "f" and inside(step["y"])]
        wanted = []
        for step in steps:
            if step["k"] == "f":
                hidden = inside(step["y"]) and step["y"] != made[-1]
            else:
                hidden = step["k"] == "b" and inside(step["x"]) and inside(step["y"])
            wanted.append(hidden)
        seen = js(
            page,
            f"""(folded.clear(), fold('{call}', true), steps.map((step, k) => {{
          state.step = k; redraw();
          return [at("inside").hidden, at("inside").textContent, beside(1), beside(-1)]; }}))""",
        )
        name = js(page, f"clusters.get('{call}').g.dataset.name")
        text = f"This step lies inside of {name}, which is folded."
        assert [[row[0], row[1]] for row in seen] == [
            [False, text] if hidden else [True, ""] for hidden in wanted]  # fmt: skip
        open_steps = [-1, *(k for k, hidden in enumerate(wanted) if not hidden), len(steps)]
        for k, (*_, after, before) in enumerate(seen):
            assert after == min(n for n in open_steps if n > k)
            assert before == max(n for n in open_steps if n < k)


def test_folding_shows_at_once_what_the_step_is_about(visit):
    page = visit()
    k, call = js(page, "(() => { const k = 6; return [k, cards.get(steps[k].y).outer]; })()")
    seen = """((act) => { act(); const { card } = clusters.get(CALL); return [at("inside").hidden,
      card ? ["now", "todo"].map((name) => card.g.classList.contains(name)) : null]; })"""
    for on, off in (("fold(CALL, true)", "fold(CALL, false)"), ("foldAll(true)", "foldAll(false)")):
        page = visit()
        page.evaluate(f"(globalThis.CALL = '{call}', go({k}))")
        assert js(page, f"{seen}(() => {{}})") == [True, None]
        (hidden, classes), (open_again, _) = js(
            page, f"[{seen}(() => {{ {on}; }}), {seen}(() => {{ {off}; }})]"
        )
        assert (hidden, open_again) == (False, True)
        assert classes == ([True, False] if on.startswith("fold(") else None)


def middle(box, height):
    return [(box[0] + box[2]) / 2, height]


@pytest.mark.parametrize("program", FOLDED)
def test_edges_stay_at_their_cards(laid_out, program):
    """An edge between cards moves with both; one to a folded card goes from foot to head."""
    joined = 0
    for folded, drawn in zip(*laid_out(program)):
        inside = around(drawn)
        cards = {card["id"]: (card["box"], card["at"]) for card in drawn["cards"]}
        cards |= {c["id"]: (c["cardBox"], c["card"]) for c in drawn["clusters"]}
        for edge in drawn["edges"]:
            ends = [next((id for id in reversed(inside(end)) if id in folded), end)
                    for end in (edge["from"], edge["to"])]  # fmt: skip
            own = ends == [edge["from"], edge["to"]]
            assert edge["shown"] == own
            if own:
                assert not edge["straight"]
                for before, after in edge["lines"]:
                    for axis in (0, 1):
                        tips = zip(before[axis::2], after[axis::2], strict=True)
                        for was, now in (next(tips), *list(tips)[-1:]):
                            moved = [cards[end][1][axis] - cards[end][0][axis] for end in ends]
                            low, high = sorted(moved)
                            assert low - 0.11 <= now - was <= high + 0.11
            elif line := edge["straight"]:
                joined += 1
                a, b = (cards[end][1] for end in ends)
                assert line["there"] and line["data"] == [edge["from"], edge["to"]]
                assert ("flow" in line["class"]) == edge["flow"]
                if b[1] >= a[3]:
                    side = -1 if edge["flow"] else 0
                    start, end = middle(a, a[3]), middle(b, b[1])
                    assert near(line["points"][:2], [start[0] + side, start[1]])
                    assert near(line["points"][-2:], [end[0] + side, end[1]])
    assert joined > 3
