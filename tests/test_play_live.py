"""The page as a program that is run again: what it shows after numbers were edited.

Values are compared with the same programs in plain NumPy, in float64, and gradients with central
differences of those.
"""

import re
import zlib
from base64 import b64decode, b64encode

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.drawn_programs import PROGRAMS
from tests.test_play_browser import DRAWN, ORACLES, leaves
from tests.test_play_living import GIVEN, RECORDED, changed
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz import play

EDITS = 200
SINGLE = 2e-5  # what float32 may be off


@pytest.fixture
def visit(open_page, tmp_path):
    """`visit(page)` opens a page."""

    def visit(made):
        page = open_page(motion="reduce")
        page.goto(made.save(tmp_path / "page.html").as_uri())
        return page

    return visit


def random_edits(program, given, random):
    """(name, index, value) of one number after the other, and the numbers as they are after each.

    Class ids and tokens stay ids, since others are no index.
    """
    for _ in range(EDITS):
        name = random.choice(list(given))
        array = given[name] = given[name].copy()
        index = tuple(int(random.integers(n)) for n in array.shape)
        array[index] = random.integers(3) if array.dtype.kind == "i" else random.normal(0, 1.5)
        yield [name, list(index), array[index].item()], dict(given)


def slope(f, given, name, index, h=1e-5):
    """∂loss/∂name[index] as a central difference."""
    ends = [given[name].copy(), given[name].copy()]
    ends[0][index] += h
    ends[1][index] -= h
    up, down = (f({**given, name: end})["loss"] for end in ends)
    return (up - down) / (2 * h)


EDIT = """([edits, wanted, trained]) => edits.map((edit) => {
  player.set(...edit);
  const all = (names, f) => Object.fromEntries(names.map((name) => [name, f(name)]));
  return {loss: player.loss(), values: all(wanted, player.value),
          slopes: all(trained, player.gradient)};
})"""


def array_of(told):
    """An array that the page gave."""
    return np.array(told["data"]).reshape(told["shape"])


@pytest.mark.parametrize("program", DRAWN)
def test_numbers_after_200_edits_are_those_of_numpy(visit, program):
    oracle, random = ORACLES[program], np.random.default_rng(7)
    loss, names = PROGRAMS[program]()
    page = visit(play(loss, names=names))
    given, trained = leaves(program)
    wanted = [name for name in oracle(given) if name != "loss"]
    given = {name: array for name, array in given.items() if name not in wanted}
    edits = list(random_edits(program, given, random))
    found = page.evaluate(EDIT, [[edit for edit, _ in edits], wanted, trained])
    for after, (_, given) in zip(found, edits):
        values = oracle(given)
        np.testing.assert_allclose(after["loss"], values["loss"], rtol=SINGLE)
        for name in wanted:
            shown = array_of(after["values"][name])
            np.testing.assert_allclose(shown, values[name], rtol=SINGLE, atol=SINGLE)
        for name in trained:
            index = tuple(int(random.integers(n)) for n in given[name].shape)
            gradient = array_of(after["slopes"][name])
            assert gradient.shape == given[name].shape
            off = SINGLE * max(1.0, np.abs(gradient).max())
            np.testing.assert_allclose(
                gradient[index], slope(oracle, given, name, index), rtol=SINGLE, atol=off
            )


TEXTS = """steps.map((step, k) => {
  go(k);
  const box = at("step").cloneNode(true);
  for (const check of box.querySelectorAll(".check")) check.remove();
  return box.textContent;
})"""


def test_every_text_after_an_edit_is_that_of_a_page_of_these_numbers(visit):
    """But for the central differences, which are not made again."""
    random = np.random.default_rng(5)
    given = {"x": random.normal(size=(4, 3)), "W": random.normal(size=(3, 5)),
             "b": random.normal(size=5), "V": random.normal(size=(5, 3))}  # fmt: skip

    def page_of(given):
        t = {name: tg.tensor(array, requires_grad=name != "x") for name, array in given.items()}
        with tg.source_lines():
            h = F.relu(t["x"] @ t["W"] + t["b"])
            logits = F.layer_norm(h, (5,)) @ t["V"]
            loss = F.cross_entropy(logits, tg.tensor([0, 2, 1, 2])) + F.huber_loss(h, h * 0)
        return visit(play(loss, {**t, "logits": logits, "h": h}))

    page = page_of(given)
    before = page.evaluate(TEXTS)
    for name, index in (("x", (1, 2)), ("b", (3,)), ("V", (4, 0)), ("W", (0, 0))):
        given[name][index] = random.normal()
        page.evaluate("(edit) => player.set(...edit)", [name, list(index), given[name][index]])
    after = page.evaluate(TEXTS)
    page = page_of(given)
    wanted = page.evaluate(TEXTS)
    off = re.compile(r"largest difference is [\d.e−]+")  # the last digits of exp are the machine's
    for one, other in zip(after, wanted, strict=True):
        assert off.sub("", one) == off.sub("", other)
    assert sum(text != old for text, old in zip(after, before)) > len(after) / 2
    assert any(off.search(text) for text in after)


def test_parameters_inside_of_a_folded_call_have_tables_and_are_edited(visit):
    loss, names = PROGRAMS["two_layer_network"]()
    page = visit(play(loss, names=names, depth=0))
    page.evaluate("go(steps.findIndex((step) => step.x?.some((x) => x.card)))")
    tables = page.locator("#step table").evaluate_all("(all) => all.map((t) => t.ariaLabel)")
    assert tables == ["value of x", "value of fc1.weight", "value of fc1.bias", "value of fc1"]
    page.locator('#step table[aria-label="value of fc1.weight"] td').nth(3).click()
    page.keyboard.type("0.25")
    page.keyboard.press("Enter")
    given, _ = leaves("two_layer_network")
    given["fc1.weight"][1, 1] = 0.25
    wanted = ORACLES["two_layer_network"](given)["loss"]
    np.testing.assert_allclose(page.evaluate("player.loss()"), wanted, rtol=SINGLE)
    page.evaluate("player.reset()")
    said = page.evaluate("(go(0), go(1), at('say').textContent)")
    assert said == "Step 1 of 9: forward, fc1 from x"


def test_names_that_mean_something_elsewhere_are_edited_as_others(visit):
    loss, names = PROGRAMS["hostile"]()
    page = visit(play(loss, names=names))
    for a, b in (list(names)[:2], list(names)[1::-1]):
        page.evaluate("(name) => player.set(name, [1], -2.5)", a)
        assert page.evaluate("(name) => player.gradient(name).data[1]", b) == -2.5


def test_what_is_asked_wrongly_says_what_was_wanted(visit):
    loss, names = PROGRAMS["two_layer_network"]()
    page = visit(play(loss, names=names))
    before = page.evaluate("player.value('x')")
    for call, message in {
        "set('z', [0, 0], 1)": 'got "z"; wanted one of x, fc1.weight',
        "set('logits', [0, 0], 1)": "logits is computed; wanted one of x, fc1.weight",
        "set('x', [4, 0], 1)": "got index [4,0]; wanted 2 integers for a shape of [4, 2]",
        "set('x', [0], 1)": "wanted 2 integers",
        "set('x', 0, 1)": "wanted 2 integers",
        "set('x', [0, 0.5], 1)": "wanted 2 integers",
        "set('x', [0, 0], NaN)": "got NaN; wanted a finite number",
        "set('x', [0, 0], 1/0)": "got Infinity; wanted a finite number",
        "set('x', [0, 0], 1e39)": "wanted a number that float32 can hold",
        "set('x', [0, 0], '1')": 'got "1"; wanted a number',
        "set('x', [0, 0])": "got undefined; wanted a number",
        "set('y', [0], 0.5)": "got 0.5; wanted an integer",
        "set('y', [0], 3)": "got 3; wanted an index from 0 to 2",
        "set('y', [0], -1)": "got -1; wanted an index from 0 to 2",
        "value('nothing')": 'got "nothing"; wanted one of x',
        "gradient('y')": "no gradient arrives at y",
        "goto(1000)": "got 1000; wanted an integer from 0 to",
    }.items():
        said = page.evaluate(
            f"() => {{ try {{ player.{call}; }} catch (e) {{ return e.message; }} }}"
        )
        assert said and message in said, (call, said)
    assert page.evaluate("player.value('x')") == before
    page.evaluate("player.goto(player.steps)")
    last = page.evaluate("player.step")
    assert page.locator("#link").inner_text() == f"{last} / {page.evaluate('player.steps')}"
    page.keyboard.press("End")
    assert page.evaluate("player.step") == last > 0


def test_conditions_on_record_are_decided_anew_in_the_page(visit):
    """All programs of one table as one page: after each edit each of them, against NumPy."""
    tensors = {name: tg.tensor(array) for name, array in GIVEN.items()}
    tensors["x"].requires_grad_()
    with tg.source_lines():
        losses = {name: ours(**tensors) for name, (ours, _) in RECORDED.items()}
        total = sum(losses.values())
    page = visit(play(total, names={**tensors, **losses}))
    random, given, edits = np.random.default_rng(3), GIVEN, []
    for _ in range(EDITS // 4):
        after = changed(given, random)
        (name,) = (name for name in after if after[name] is not given[name])
        places = np.argwhere(after[name] != given[name])
        edits += [([name, i.tolist(), after[name][tuple(i)].item()], after) for i in places]
        given = after
    found = page.evaluate(EDIT, [[edit for edit, _ in edits], list(losses), ["x"]])
    for after, (_, given) in zip(found, edits, strict=True):
        for name, (_, numpy) in RECORDED.items():
            value = after["values"][name]["data"]
            np.testing.assert_allclose(value, numpy(**given), rtol=1e-9, atol=1e-9, err_msg=name)


def test_an_index_that_was_computed_is_refused_where_it_is_none(visit):
    w = tg.tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    ids = tg.tensor([1, 0])
    with tg.source_lines():
        loss = w[ids + 1].sum()
    page = visit(play(loss, names={"w": w, "ids": ids}))
    page.evaluate("player.goto(1)")
    said = page.evaluate(
        "() => { try { player.set('ids', [0], 2); } catch (e) { return e.message; } }"
    )
    assert "index 3 is outside of an axis of 3" in said
    cell(page, "x0", 0).click()
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    assert "ids[0]: got 7; index 8 is outside" in page.locator(".wrong").inner_text()
    assert page.evaluate("[player.value('ids').data, player.loss(), isEdited()]") == [
        [1, 0],
        14,
        False,
    ]
    page.keyboard.press("Control+a")
    page.keyboard.type("0")
    page.keyboard.press("Enter")
    assert page.evaluate("player.loss()") == 10 and not page.locator(".wrong").count()


def test_numbers_that_stay_as_they_are_are_named_on_the_first_screen(visit):
    x, y = tg.tensor([0.5, 2.0], requires_grad=True), tg.tensor([1.0, 0.0])
    loss = (y * x + (1 - y) * x * x).sum()
    page = visit(play(loss, names={"x": x, "y": y}))
    assert "What is computed from y before" in page.locator("#step .note:not(#inside)").inner_text()
    said = page.evaluate(
        "() => { try { player.set('y', [0], 2); } catch (e) { return e.message; } }"
    )
    assert said == "player.set: y stays as it is; wanted one of x"
    with tg.source_lines():
        loss = (y * x + (1 - y) * x * x).sum()
    page = visit(play(loss, names={"x": x, "y": y}))
    assert not page.locator("#step .note:not(#inside)").count()
    page.evaluate("player.set('y', [1], 1)")
    assert page.evaluate("player.loss()") == 2.5


def test_gradients_that_never_change_are_there(visit):
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    h = x * 1.0
    loss = h.sum()
    page = visit(play(loss, names={"x": x, "h": h, "loss": loss}))
    for _ in range(2):
        for name in ("x", "h"):
            found = page.evaluate("(name) => player.gradient(name)", name)
            assert found == {"shape": [2, 2], "data": [1] * 4}
        assert page.evaluate("player.gradient('loss').data") == [1]
        page.evaluate("player.set('x', [0, 1], 7)")
    with tg.no_grad():
        constant = tg.tensor(3.0) * 1
    page = visit(play(constant))
    assert page.evaluate("player.loss()") == 3


def test_back_to_the_start(visit):
    loss, names = PROGRAMS["two_layer_network"]()
    page = visit(play(loss, names=names))
    page.evaluate("player.goto(8)")
    text = page.locator("main").inner_text()
    page.evaluate("player.set('x', [0, 0], 3.25); player.set('fc2.bias', [1], -1)")
    assert page.locator("td.changed").count() and page.title() != loss.item()
    assert page.locator("main").inner_text() != text
    page.evaluate("player.reset()")
    assert page.locator("main").inner_text() == text
    assert not page.locator(".changed").count()
    assert page.evaluate("player.step") == 8
    np.testing.assert_allclose(page.evaluate("player.loss()"), loss.item(), rtol=1e-6)


def cell(page, space, place):
    return page.locator(f'#step table[data-space="{space}"] td[data-i="{place}"]').first


def number(page, name, place):
    return page.evaluate("([name, k]) => player.value(name).data[k]", [name, place])


def test_a_number_is_clicked_and_typed_and_everything_follows(visit):
    loss, names = PROGRAMS["two_layer_network"]()
    page = visit(play(loss, names=names))
    page.evaluate("player.goto(1)")
    cell(page, "x0", 3).click()
    page.keyboard.type("−1,5")
    page.keyboard.press("Enter")
    assert number(page, "x", 3) == -1.5 and cell(page, "x0", 3).inner_text() == "−1.5"
    assert cell(page, "x0", 3).evaluate("td => document.activeElement === td")
    given, _ = leaves("two_layer_network")
    given["x"][1, 1] = -1.5
    wanted = ORACLES["two_layer_network"](given)["loss"]
    assert page.title() == f"loss = {wanted:.5g}" == page.locator("h1").inner_text()
    assert f"x[1, 1] = −1.5; loss = {wanted:.5g}" == page.locator("#say").inner_text()
    changed = page.locator("td.changed").evaluate_all(
        "all => all.map(td => [td.closest('table').dataset.space, Number(td.dataset.i)])"
    )
    assert changed == [["x0", 3], *(["y", 5 + k] for k in range(5))]  # of x, and its row of x Wᵀ
    page.keyboard.press("Control+z")
    assert not page.locator(".changed").count() and page.title() == "loss = 1.3052"


def test_a_number_is_changed_with_the_arrow_keys_and_dragged(visit):
    loss, names = PROGRAMS["two_layer_network"]()
    page = visit(play(loss, names=names))
    page.evaluate("player.set('x', [0, 0], 0.5); player.goto(1)")
    cell(page, "x0", 0).focus()
    page.keyboard.press("Enter")
    for key, wanted in (("ArrowUp", 0.51), ("ArrowUp", 0.52), ("ArrowDown", 0.51),
                        ("Shift+ArrowDown", 0.41)):  # fmt: skip
        page.keyboard.press(key)
        assert number(page, "x", 0) == pytest.approx(wanted)
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "x[0, 0]"
    page.keyboard.press("Escape")
    page.evaluate("player.reset()")
    box = cell(page, "x0", 1).bounding_box()
    start = number(page, "x", 1)
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 50, box["y"] + 12, steps=5)
    page.mouse.up()
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert number(page, "x", 1) == pytest.approx(round(start, 2) + 0.1)  # ten hundredths
    assert not page.locator(".field").count()  # no click
    page.keyboard.press("Control+z")  # one drag, one edit
    assert number(page, "x", 1) == start
    assert page.locator("#edits").is_hidden()


def test_p_minus_y_is_checked_again_after_an_edit(visit):
    x = tg.tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True)
    y = tg.tensor(np.eye(3)[[0, 2, 1, 0]])
    loss = -(y * F.log_softmax(x, 1)).sum() / 4
    page = visit(play(loss, names={"x": x, "y": y}))
    k = page.evaluate("steps.findIndex((s) => s.is)")
    page.evaluate(f"player.goto({k})")
    said = page.locator("#step .said")
    assert "1 at the classes 0, 2, 1, 0" in said.inner_text()
    assert page.locator("#step .check").count() == 1
    page.evaluate("player.set('x', [1, 2], -1.5)")
    assert "1 at the classes 0, 2, 1, 0" in said.inner_text()
    page.evaluate("player.set('y', [1, 2], 0.5)")  # no class, and no distribution
    assert not said.count() and not page.locator("#step .check").count()
    page.evaluate("player.set('y', [1, 2], 0); player.set('y', [1, 1], 1)")
    assert "1 at the classes 0, 1, 1, 0" in said.inner_text()
    page.evaluate("player.reset()")
    assert page.locator("#step .check").count() == 1


def test_what_lights_up_follows_the_ids_that_were_edited(visit):
    w = tg.tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    ids = tg.tensor([2, 0])
    page = visit(play((w[ids] * 2).sum(), names={"w": w, "ids": ids}))
    page.evaluate("player.goto(1)")
    whence = "[0, 1, 2, 3, 4, 5].find((i) => into(steps[1], 'x0', i, j, [2, 2]))"
    into = f"[0, 1, 2, 3].map((j) => {whence})"
    assert page.evaluate(into) == [4, 5, 0, 1]
    page.evaluate("player.set('ids', [1], 1)")
    assert page.evaluate(into) == [4, 5, 2, 3]
    page.evaluate("player.reset()")
    assert page.evaluate(into) == [4, 5, 0, 1]


HOSTILE = ("", " ", "abc", "nan", "NaN", "inf", "-Infinity", "1e999", "1/0", "0/0", "1/2/3", "0x10",
           "--1", "1 2", "</script><b>", '"', "1e39", "\u202e5", "٣")  # fmt: skip


def test_what_is_typed_and_is_no_number_is_said_and_changes_nothing(visit):
    loss, names = PROGRAMS["two_layer_network"]()
    page = visit(play(loss, names=names))
    page.evaluate("player.goto(1)")
    before = page.evaluate("player.value('x')")
    cell(page, "x0", 0).click()
    for text in HOSTILE:
        page.keyboard.press("Control+a")
        page.keyboard.press("Delete")
        page.keyboard.insert_text(text)
        page.keyboard.press("Enter")
        assert "wanted" in page.locator(".wrong").inner_text(), text
        assert page.locator(".field").input_value() == text  # nothing is lost
    page.keyboard.press("Escape")
    assert page.evaluate("player.value('x')") == before
    assert not page.locator(".wrong, #step b script").count()
    assert page.evaluate("isEdited()") is False


def test_integers_stay_integers_and_ids_in_their_range(visit):
    loss, names = PROGRAMS["two_layer_network"]()
    page = visit(play(loss, names=names))
    k = page.evaluate(
        "steps.findIndex((s) => s.k === 'f' && s.x.some((x) => x.id && nameOf(x.id) === 'y'))"
    )
    page.evaluate(f"player.goto({k})")
    ids = page.locator("#step table[data-card] td")
    ids.first.click()
    for text, said in (("0.5", "wanted an integer"), ("3", "from 0 to 2"), ("-1", "from 0 to 2")):
        page.keyboard.press("Control+a")
        page.keyboard.type(text)
        page.keyboard.press("Enter")
        assert said in page.locator(".wrong").inner_text()
    for key, wanted in (("ArrowUp", 1), ("ArrowUp", 2), ("ArrowUp", 2), ("ArrowDown", 1)):
        page.keyboard.press(key)
        assert number(page, "y", 0) == wanted


def test_truth_values_switch(visit):
    mask = tg.tensor([True, False, True])
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    page = visit(play(tg.where(mask, x, -x).sum(), names={"x": x, "mask": mask}))
    page.evaluate("player.goto(2)")
    page.locator("#step table[data-card] td").first.click()
    assert page.evaluate("[player.value('mask').data, player.loss()]") == [[False, False, True], 0]
    page.keyboard.press("Enter")
    assert page.evaluate("[player.value('mask').data, player.loss()]") == [[True, False, True], 2]


def squeezed(data, level, strategy):
    squeezer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
    return squeezer.compress(data) + squeezer.flush()


def test_what_is_packed_is_unpacked(visit):
    loss, names = PROGRAMS["softmax_regression"]()
    page = visit(play(loss, names=names))
    random = np.random.default_rng(1)
    texts = [b"", b"a", b"ab" * 300, "∇ × 学习 ".encode() * 99, random.bytes(70_000),
             bytes(random.integers(0, 4, 9000, np.uint8)), page.content().encode()]  # fmt: skip
    for level, strategy in ((0, 0), (1, 0), (9, 0), (9, zlib.Z_FIXED), (6, zlib.Z_HUFFMAN_ONLY)):
        packed = [b64encode(squeezed(text, level, strategy)).decode() for text in texts]
        back = page.evaluate(
            """(all) => all.map((text) => {
              const bytes = inflate(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
              let made = "";
              for (const byte of bytes) made += String.fromCharCode(byte);
              return btoa(made);
            })""",
            packed,
        )
        assert [b64decode(text) for text in back] == texts


def test_a_page_of_too_many_numbers_says_that_they_cannot_be_edited(visit):
    x = tg.ones(150, 150, requires_grad=True)
    page = visit(play((x * x).sum(), names={"x": x}))
    said = "cannot be edited: it has 22,500 numbers, and at most 20,000 can be edited"
    assert said in page.locator("#step").inner_text()
    assert said in page.evaluate(
        "() => { try { player.set('x', [0, 0], 1); } catch (e) { return e.message; } }"
    )
