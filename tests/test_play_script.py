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


def test_numbers_have_three_digits(visit):
    page = visit()
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
        assert js(page, f"nameOf('{id}')") == (tensor["name"] or tensor["op"])
        full = " ".join(filter(None, [tensor["op"], tensor["name"]]))
        assert js(page, f"fullName('{id}')") == full
    parts = "((...a) => caption(...a).map((x) => x.textContent ?? x))"
    fc1 = next(id for id, tensor in story.items() if tensor["name"] == "fc1.weight")
    assert every(page, parts, [["W", fc1], ["fc1.weight", fc1], [None, fc1]]) == [
        ["W", "\u2002fc1.weight"], ["fc1.weight"], ["fc1.weight"]]  # fmt: skip


def test_a_window_says_what_it_shows(visit):
    page = visit()
    win = {"s": [9, 20, 30], "w": [4, 6, 8], "of": "0 ± 1"}
    part = "rows 1–6 of 20, columns 1–8 of 30"
    assert every(page, "windowText", [
        [win, False], [win, True], [{**win, "s": [4, 20, 30]}, False], [{**win, "of": ""}, False],
    ]) == [f"{part}, first 4 slices; all: 0 ± 1", f"{part}, first 4 slices",
           f"{part}; all: 0 ± 1", f"{part}, first 4 slices"]  # fmt: skip


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
      select.value = "2";
      select.dispatchEvent(new Event("change"));
      return [f.className, f.querySelector("figcaption").textContent, table.dataset.space,
              table.getAttribute("aria-label"), table.tabIndex, table.rows.length,
              [...select.options].map((o) => o.textContent), first, read(),
              getComputedStyle(f.querySelectorAll("td")[1]).getPropertyValue("--a")];
    }})()""",
    )
    assert told[:6] == ["copy", "c 3 × 2 × 2", "x0", "it", 0, 2]
    assert told[6] == ["[0, :, :]", "[1, :, :]", "[2, :, :]"]
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
        [{"s": [9, 9], "d": [0] * 4, "w": [1, 2, 2]}, {}],
    ]) == [[], ["SPAN"], ["SELECT", "DIV"], ["DIV"]]  # fmt: skip


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
            ((3, 2), (2, 2, 4)), ((2, 1, 3, 2), (3, 2, 1)), ((1, 3, 2), (2, 2, 2))]  # fmt: skip


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
        [f"∂L/∂z = (p − y)/4 with p = {p_and_y}: checked, the largest difference is 1e−9."]
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
        """(() => { fit();
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
