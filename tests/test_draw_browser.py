"""Pictures of graphs as a browser shows them: what stands in them, and that it fits and is legible.

Texts are measured by Chromium in a font as wide as Arial, and compared with the boxes that Graphviz
made for them, in the pictures of the `dot` program and of pygraphviz.
"""

import importlib.util
import shutil
from functools import cache

import pytest

import tinygrad_ce as tg
from tests import browser as helpers
from tests.browser import contrast, misplaced
from tests.drawn_programs import NAMES, OPENED, PROGRAMS
from tinygrad_ce.viz.graph import engines

ROOM = 3  # to the right of a text, in points
LEGIBLE = 4.5  # contrast, as is wanted of body text


@cache
def svg_of(program, opened, engine):
    """Its SVG, which every theme reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "ENGINES", (engine,))
        return drawn(program, opened)._drawn("svg").decode()


@cache
def drawn(program, opened):
    """The drawing of a program."""
    loss, names = PROGRAMS[program]()
    return tg.draw(loss, names=names, **OPENED[opened])


def need(engine):
    """End the test if this engine is not installed."""
    if engine is engines.with_dot and not shutil.which("dot"):
        helpers.unavailable("no dot program is installed: apt install graphviz")
    if engine is engines.with_pygraphviz and not importlib.util.find_spec("pygraphviz"):
        helpers.unavailable("pygraphviz is not installed: pip install pygraphviz")


@pytest.fixture(scope="module")
def look(browser):
    """`look(program, opened, engine, theme)` is what a browser measures in that picture."""
    pages = helpers.Opened(browser)
    page_of = cache(lambda theme: pages(theme))

    @cache
    def look(program, opened, engine, theme="light"):
        need(engine)
        return helpers.measured(page_of(theme), svg_of(program, opened, engine))

    yield look
    pages.close()


def words(text):
    """A text without the kinds of space that a layout may choose."""
    return " ".join(text.split())


def written(seen):
    """Group -> its texts, joined."""
    texts = {}
    for part in seen["parts"]:
        texts.setdefault(part["group"], []).append(part["text"])
    return {group: words(" ".join(line)) for group, line in texts.items()}


@pytest.fixture(params=engines.ENGINES, ids=lambda engine: engine.__name__)
def engine(request):
    return request.param


@pytest.fixture(params=list(OPENED))
def opened(request):
    return request.param


@pytest.mark.parametrize("program", PROGRAMS)
def test_texts_fit_and_do_not_overlap(look, arial, program, opened, engine):
    seen = look(program, opened, engine)
    frames, parts = seen["frames"], seen["parts"]
    cards = {group: box for group, box in frames.items() if group.startswith("n")}
    known = {part["group"]: frames.get(part["group"], frames["graph0"]) for part in parts}
    wrong = misplaced(parts, known, cards)
    assert not wrong, "\n".join(wrong)
    tight = [part for part in parts if part["group"] in frames and part["group"] != "graph0"
             and frames[part["group"]][2] - part["box"][2] < ROOM]  # fmt: skip
    assert not tight, tight


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_operation_name_and_shape_is_there(look, program, opened, engine):
    texts = written(look(program, opened, engine))
    for card in drawn(program, opened).picture.cards:
        assert words(card.op) in texts[card.id]
        assert card.shape in texts[card.id]
        assert words(card.value) in texts[card.id]


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "hostile"])
def test_every_tensor_that_the_program_names_is_there(look, program, engine):
    _, names = PROGRAMS[program]()
    texts = written(look(program, "expanded", engine)).values()
    for name, value in names.items():
        if isinstance(value, tg.Tensor):
            shape = " × ".join(map(str, value.shape))
            assert any(name in text.split() and shape in text for text in texts), name


def test_strange_names_are_shown_as_they_are(look, engine):
    texts = written(look("hostile", "expanded", engine))
    tag, lines, entities, emoji, right_to_left, long = NAMES
    by_name = {card.name: texts[card.id] for card in drawn("hostile", "expanded").picture.cards}
    for name in (tag, entities, emoji, right_to_left):
        assert name in by_name[name]
    assert by_name[lines].startswith("two lines and")
    assert "�" in by_name[lines] and "\x1b" not in by_name[lines]
    assert by_name[long].startswith("long long") and "…" in by_name[long]


def test_what_is_unusual_is_said(look, engine):
    texts = written(look("hostile", "expanded", engine))
    by_name = {card.name: texts[card.id] for card in drawn("hostile", "expanded").picture.cards}
    assert "scalar" in by_name["zero_d"] and "∇ 2" in by_name["zero_d"]
    assert "0 × 3" in by_name["empty"] and "∇ empty" in by_name["empty"]
    assert "nan" in by_name["strange"] and "∞" in by_name["strange"]
    (unnamed,) = (text for text in texts.values() if "[0.5, 0.5, 0.5]" in text)
    assert unnamed.startswith("parameter")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_texts_are_legible_in_both_themes(look, program, theme, opened):
    parts = look(program, opened, engines.with_pygraphviz, theme)["parts"]
    for part in parts:
        assert contrast(part["ink"], part["paper"]) >= LEGIBLE, part
    paper = {tuple(part["paper"]) for part in parts}
    bright = {colour for colour in paper if helpers.luminance(colour) > 0.5}
    assert bright == (paper if theme == "light" else set())


def test_a_page_is_as_it_was_asked_for(open_page):
    page = open_page(theme="dark", size=(640, 480), motion="reduce")
    asked = """() => [innerWidth, innerHeight, matchMedia("(prefers-color-scheme: dark)").matches,
                      matchMedia("(prefers-reduced-motion: reduce)").matches]"""
    assert page.evaluate(asked) == [640, 480, True, True]


def test_a_page_that_does_wrong_is_noticed(browser):
    opened = helpers.Opened(browser)
    page = opened()
    page.set_content(
        "<script>console.error('said'); console.log('fine')</script>"
        "<script>throw new Error('raised')</script><img src='http://example.com/x.png'>"
    )
    told = "\n".join(opened.complaints)
    assert "console: said" in told and "error: raised" in told and "fine" not in told
    assert "request: http://example.com/x.png" in told
    with pytest.raises(pytest.fail.Exception, match=r"example\.com"):
        opened.close()


def test_what_is_missing_is_left_out_at_home_and_fails_in_ci(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert helpers.chromium() is None and helpers.arial() is None
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Chromium"):
        helpers.launch(None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no Chromium"):
        helpers.launch(None)


# --- in a notebook --------------------------------------------------------------------------


def notebook(*shown):
    """The outputs of a notebook, in a page of JupyterLab's light theme."""
    cells = "".join(f"<section>{html}</section>" for html in shown)
    return f"<!doctype html><meta charset=utf-8><body data-jp-theme-light=true>{cells}"


PAPER = "(s) => getComputedStyle(s.querySelector('polygon')).fill"
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(17, 24, 39)"


def test_notebooks_that_run_scripts_show_the_svg_in_their_theme(open_page):
    loss, names = PROGRAMS["fan_out"]()
    auto, light = (tg.draw(loss, names, theme=theme)._repr_html_() for theme in ("auto", "light"))
    page = open_page()
    page.set_content(notebook(auto, light, auto))
    assert page.locator("img").count() == 0 and page.locator("svg.tinygrad_ce").count() == 3
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((part) => part.id)")
    assert len(ids) == len(set(ids)) > 60
    papers = [svg.evaluate(PAPER) for svg in page.locator("svg.tinygrad_ce").all()]
    assert papers == [LIGHT] * 3
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_function(f"({PAPER})(document.querySelector('svg')) === '{DARK}'")
    papers = [svg.evaluate(PAPER) for svg in page.locator("svg.tinygrad_ce").all()]
    assert papers == [DARK, LIGHT, DARK]  # the second one has its own


def test_notebooks_that_run_no_scripts_show_an_image_and_no_words(open_page):
    loss, names = PROGRAMS["fan_out"]()
    drawing, played = tg.draw(loss, names), tg.play(loss, names)
    page = open_page(java_script_enabled=False)
    page.set_content(notebook(drawing._repr_html_(), played._repr_html_()))
    image = page.locator("section img")
    assert image.bounding_box()["width"] > 400 and "Computation graph" in image.get_attribute("alt")
    assert page.locator("section").first.inner_text().strip() == ""
    assert page.locator("section").last.inner_text().startswith("This page runs scripts: trust")


def test_a_notebook_holds_a_picture_once():
    loss, names = PROGRAMS["fan_out"]()
    drawing = tg.draw(loss, names)
    hooks = [name for name in dir(drawing) if name.startswith("_repr_")]
    assert hooks == ["_repr_html_"]
    assert len(drawing._repr_html_()) < 1.4 * len(drawing._drawn("svg")) + 4000
