"""What a page gives away: this step as SVG and PNG, and all steps for the printer."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_ce as tg
from tests import browser as helpers
from tests.drawn_programs import PROGRAMS
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz import play

SVG = "{http://www.w3.org/2000/svg}"


def program():
    """A convolution of an image, next to plain numbers."""
    rng = np.random.default_rng(0)
    x, k = (tg.tensor(rng.random(s), requires_grad=True) for s in ((1, 1, 5, 5), (1, 1, 2, 2)))
    y = F.conv2d(x, k)
    return (y * y).mean() + tg.exp(k).sum(), {"x<b>": x, "k&": k, "y": y}


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    opened = helpers.Opened(browser)
    page = opened(size=(1200, 700), motion="reduce", accept_downloads=True)
    loss, names = program()
    page.goto(play(loss, names=names).save(tmp_path_factory.mktemp("p") / "page.html").as_uri())
    yield page
    opened.close()


def saved(page, what):
    """The bytes and the name of what a button of the menu saves."""
    page.locator(".save summary").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name=what, exact=True).click()
    return waiting.value.path().read_bytes(), waiting.value.suggested_filename


def words_of(root):
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def test_a_step_is_saved_as_a_drawing_of_text_and_shapes(page):
    k = page.evaluate("steps.findIndex((s) => s.k === 'f' && s.slide !== undefined)")
    page.evaluate(f"go({k})")
    text, name = saved(page, "SVG")
    assert name.endswith(f"-step-{k}.svg") and not re.search(r"[<>:\"/\\|?* ]", name)
    root = ElementTree.fromstring(text)
    assert b"foreignObject" not in text and b"<script" not in text and b"class=" not in text
    assert [root.get(name) for name in ("width", "height")] == ["1200", page.evaluate(
        "String(document.querySelector('main').getBoundingClientRect().height)")]  # fmt: skip
    shown = " ".join(words_of(root))
    heading = page.locator("#step h2 b").inner_text()
    assert heading in shown and "x<b>" in shown
    cells = page.locator("#step .slide td").all_inner_texts()
    assert set(cells) <= set(words_of(root))
    hrefs = [image.get("href") for image in root.iter(f"{SVG}image")]
    assert hrefs and all(href.startswith("data:image/png") for href in hrefs)


def test_the_drawing_looks_as_the_page_does(page, open_page, tmp_path):
    """Its words stand where the page has them, and its colours are the page's."""
    page.evaluate("go(steps.findIndex((s) => s.k === 'b'))")
    for theme, dark in (("light", False), ("dark", True)):
        page.emulate_media(color_scheme=theme)
        text, _ = saved(page, "SVG")
        root = ElementTree.fromstring(text)
        top = page.evaluate("document.querySelector('main').getBoundingClientRect().top")
        box = page.locator("#step h2 b").bounding_box()
        (word,) = [t for t in root.iter(f"{SVG}text") if "".join(t.itertext()) == "Backward"]
        assert float(word.get("x")) == pytest.approx(box["x"], abs=1)
        assert box["y"] - top < float(word.get("y")) < box["y"] - top + box["height"]
        paper = next(root.iter(f"{SVG}rect")).get("fill")
        brightness = sum(map(int, re.findall(r"\d+", paper)[:3]))
        assert (brightness < 200) == dark
    page.emulate_media(color_scheme="light")


def test_a_step_is_saved_as_pixels(page):
    from PIL import Image

    page.evaluate("go(1)")
    data, name = saved(page, "PNG")
    assert name.endswith("-step-1.png") and data.startswith(b"\x89PNG")
    path = page.evaluate("document.querySelector('main').getBoundingClientRect().height")
    import io

    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert picture.shape == (round(path) * 2, 2400, 3)
    assert (picture.reshape(-1, 3) == 255).all(1).mean() > 0.4  # paper
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100  # and what stands on it


def test_all_steps_are_printed_with_their_part_of_the_graph(page):
    page.evaluate("(go(3), dispatchEvent(new Event('beforeprint')))")
    count = page.evaluate("steps.length")
    seen = json.loads(page.evaluate("""JSON.stringify([...document.querySelectorAll(
      '#handout > section')].map((s) => [s.querySelector('.number').textContent,
      s.querySelector('h2').textContent, s.querySelectorAll('svg g[opacity], svg rect').length,
      s.querySelectorAll('button, canvas, select, form').length]))"""))  # fmt: skip
    assert [number for number, *_ in seen] == [f"{k} / {count - 1}" for k in range(count)]
    assert all(shapes > 0 and pressed == 0 for *_, shapes, pressed in seen)
    headings = page.evaluate(
        "steps.map((_, k) => (go(k), at('step').querySelector('h2').textContent))"
    )
    assert [heading for _, heading, *_ in seen] == headings
    page.evaluate("(go(3), dispatchEvent(new Event('afterprint')))")
    assert page.locator("#handout").count() == 0 and page.evaluate("state.step") == 3
    pdf = page.pdf()
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert pdf.startswith(b"%PDF-") and count / 4 < pages <= count + 2
    assert page.evaluate("state.step") == 3 and page.locator("#handout").count() == 0


def test_the_page_of_the_two_layer_network_has_room_left():
    loss, names = PROGRAMS["two_layer_network"]()
    assert len(play(loss, names=names).html.encode()) < 180_000
