"""Large arrays and images on the page: pictures, windows of numbers, histograms, slices.

One page is opened for most of it. Pixels are read back from the canvas and compared with colours
that are computed here; what the tables show, with the arrays.
"""

import json

import numpy as np
import pytest

import tinygrad_ce as tg
from tests import browser as helpers
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz import play

RNG = np.random.default_rng(0)
LARGE = RNG.standard_normal((64, 32))
HEADS = RNG.standard_normal((2, 3, 12, 12))
DIGITS = RNG.random((5, 64)).round(2)
COLOURS = RNG.random((2, 3, 6, 7)).round(2)


def program():
    """A weight of 64 × 32, heads of attention, digits as rows and coloured images, convolved."""
    weight, heads = (tg.tensor(a, requires_grad=True) for a in (LARGE, HEADS))
    digits, colours = tg.tensor(DIGITS), tg.tensor(COLOURS)
    kernel = tg.tensor(RNG.standard_normal((4, 3, 3, 3)), requires_grad=True)
    tall = tg.tensor(np.arange(8000.0).reshape(2000, 4) - 4000, requires_grad=True)
    hidden = digits @ weight
    shares = F.softmax(heads, dim=-1) * 2
    maps = F.relu(F.conv2d(colours * tg.ones(1, requires_grad=True), kernel))
    loss = hidden.sum() + shares.sum() + maps.sum() + (tall**2).sum()
    return loss, {"weight": weight, "heads": heads, "digits": digits, "colours": colours,
                  "kernel": kernel, "tall": tall, "hidden": hidden, "maps": maps}  # fmt: skip


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    opened = helpers.Opened(browser)
    page = opened(size=(1280, 900), motion="reduce")
    loss, names = program()
    path = play(loss, names=names).save(tmp_path_factory.mktemp("pages") / "images.html")
    page.goto(path.as_uri())
    yield page
    opened.close()


@pytest.fixture
def at(page):
    """`at(op or name)` goes to the first such step or reader, with nothing chosen before."""

    def at(op):
        page.evaluate("(looking.slices.clear(), looking.from.clear(), looking.numbers = false)")
        made = f"story.tensors[s.y].op === {json.dumps(op)}"
        reads = f"s.x.some((x) => x.id && story.tensors[x.id].name === {json.dumps(op)})"
        found = js(page, f"steps.findIndex((s) => s.k === 'f' && ({made} || {reads}))")
        assert found > 0, op
        page.evaluate(f"go({found})")
        return page

    return at


def js(page, expression):
    return json.loads(page.evaluate(f"JSON.stringify({expression})"))


def figure(page, name):
    """The figure of a tensor in this step."""
    named = page.locator("figcaption", has_text=name)
    return page.locator("#step figure").filter(has=named).first


READ = """all => all.map((tr) => [...tr.cells].map(
  (td) => td.textContent.replaceAll("−", "-")))"""


def cells(fig):
    """The numbers of its table."""
    return np.array(fig.locator("table tr").evaluate_all(READ), float)


def pixels(fig, columns, rows, k):
    """The colour in the middle of each element, in a picture of `k` pixels an element."""
    return np.array(fig.locator("canvas").evaluate(
        """(canvas, [columns, rows, k]) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return [...Array(rows).keys()].map((r) => [...Array(columns).keys()].map((c) => {
            const at = 4 * (Math.floor((r + 0.5) * k) * canvas.width + Math.floor((c + 0.5) * k));
            return [...data.slice(at, at + 3)]; })); }""",
        [columns, rows, k]))  # fmt: skip


def scale(fig, columns):
    return fig.locator("canvas").evaluate("c => c.grid.k") if columns else None


def near(shown, wanted):
    np.testing.assert_allclose(shown, wanted, rtol=6e-3, atol=1e-9)


def test_packed_numbers_are_read_as_they_were_written(page):
    assert "p" not in js(page, "Object.values(story.tensors).map((t) => Object.keys(t.v)).flat()")
    seen = js(page, "Object.values(story.tensors).find((t) => t.name === 'weight').v.d")
    near(seen, LARGE.ravel())
    odd = js(page, "[0, 1, 2, 3, 4, 306004, 305254, 306904].map(decimal)")
    assert odd == ["nan", "∞", "−∞", 0, 1e-170, 1, -0.25, -1]


def test_a_large_array_is_a_heat_map_with_a_window_that_the_mouse_moves(at):
    page = at("@")
    weight, hidden = figure(page, "weight"), figure(page, "hidden")
    near(cells(weight), LARGE[:6, :6])
    k = scale(weight, 32)
    seen = pixels(weight, 32, 64, k)[7:, 7:]  # below and right of the frame
    red, blue = seen[..., 0].astype(int), seen[..., 2].astype(int)
    assert ((red > blue) == (LARGE[7:, 7:] > 0)).all()
    box = weight.locator("canvas").bounding_box()
    page.mouse.click(box["x"] + 20.5 * k, box["y"] + 40.5 * k)
    near(cells(weight), LARGE[37:43, 17:23])
    assert "rows 37–42 of 64, columns 17–22 of 32" in weight.inner_text()
    near(cells(hidden), (DIGITS @ LARGE)[:, 17:23])  # axes of one size move together
    page.mouse.down()
    page.mouse.move(box["x"] + 31.9 * k, box["y"] + 63.9 * k)
    page.mouse.up()
    near(cells(weight), LARGE[58:, 26:])
    page.mouse.move(box["x"] + 3.5 * k, box["y"] + 5.5 * k)
    value = float(weight.locator(".reads").inner_text().split("= ")[1].replace("−", "-"))
    assert weight.locator(".reads").inner_text().startswith("[5, 3] = ")
    assert value == pytest.approx(LARGE[5, 3], rel=6e-3)
    near(cells(weight), LARGE[58:, 26:])  # nothing moves without the button


def test_the_keyboard_moves_the_window_too(at):
    page = at("@")
    weight = figure(page, "weight")
    step = js(page, "state.step")
    weight.locator("canvas").focus()
    for key, times in (("Shift+ArrowDown", 4), ("ArrowRight", 7), ("ArrowUp", 2)):
        for _ in range(times):
            page.keyboard.press(key)
    near(cells(weight), LARGE[15:21, 2:8])
    assert page.locator("#say").inner_text().startswith("[18, 7] = ")
    assert js(page, "state.step") == step and weight.locator("canvas").evaluate(
        "c => c === document.activeElement")  # fmt: skip
    for _ in range(20):
        page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("Shift+ArrowUp")
    near(cells(weight), LARGE[:6, :6])


def test_slices_are_chosen_once_and_kept_from_step_to_step(at):
    page = at("exp")
    exp = page.locator("#step figure").nth(1)
    exp.get_by_label("slice, axis 1").select_option("2")
    exp.get_by_label("slice, axis 0").select_option("1")
    for figure_ in page.locator("#step figure").all():
        chosen = [c.input_value() for c in figure_.get_by_label("slice").all()]
        assert chosen == ["1", "2"]
    shifted = np.exp(HEADS - HEADS.max(-1, keepdims=True))
    near(cells(exp), shifted[1, 2, :6, :6])
    page.evaluate("go(state.step + 1)")
    near(cells(page.locator("#step figure").nth(1)), shifted[1, 2, :6].sum(-1, keepdims=True))
    page.locator("#step canvas").first.click(position={"x": 3, "y": 3})  # the first head
    assert [c.input_value() for c in page.get_by_label("slice").all()[:2]] == ["1", "0"]


def test_digits_and_coloured_images_are_drawn_as_images(at):
    page = at("@")
    digits = figure(page, "digits")
    k = scale(digits, 8)
    shades = pixels(digits, 8, 8, k)
    assert (shades[..., 0] == shades[..., 2]).all()
    low, high = DIGITS.min(), DIGITS.max()
    grey = 255 * (DIGITS.reshape(5, 8, 8) - low) / (high - low)
    np.testing.assert_allclose(shades[..., 0], grey[0], atol=1.5)
    assert "5 × 64" in digits.inner_text() and digits.locator("table").count() == 0
    digits.get_by_label("image").select_option("3")
    np.testing.assert_allclose(pixels(digits, 8, 8, k)[..., 1], grey[3], atol=1.5)
    box = digits.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 2.5 * k, box["y"] + 1.5 * k)
    assert digits.locator(".reads").inner_text() == f"[3, 10] = {DIGITS[3, 10]:g}"
    digits.get_by_role("button", name="Numbers").click()
    near(cells(digits), DIGITS[3].reshape(8, 8))
    page = at("colours")
    colours = figure(page, "colours")
    k = scale(colours, 7)
    wanted = 255 * (COLOURS[0] - COLOURS.min()) / (COLOURS.max() - COLOURS.min())
    np.testing.assert_allclose(pixels(colours, 7, 6, k), wanted.transpose(1, 2, 0), atol=1.5)


def test_what_has_more_than_8_by_8_numbers_is_a_heat_map(open_page, tmp_path):
    """And what has an axis of more than ten: ten classes are seen at once."""
    shapes = {(8, 8): 0, (4, 10): 0, (6, 10): 0, (9, 9): 1, (7, 10): 1, (10, 7): 1, (3, 11): 1}
    page = open_page()
    for shape, pictures in shapes.items():
        w = tg.tensor(np.arange(1.0, 1 + np.prod(shape)).reshape(shape), requires_grad=True)
        page.goto(play((w * w).sum(), {"w": w}).save(tmp_path / "page.html").as_uri() + "#step=1")
        page.reload()
        shown = page.locator("#step figure").first
        assert shown.locator("canvas").count() == pictures, shape
        large = np.prod(shape) > 64
        assert shown.locator(".histogram").count() == large
        rows, columns = (min(n, 6) if n > (8 if large else 10) else n for n in shape)
        assert shown.locator("td").count() == rows * columns


def test_a_histogram_counts_what_is_there(at):
    page = at("@")
    bars = figure(page, "weight").locator(".histogram title").evaluate_all(
        "all => all.map(t => Number(t.textContent.split(' ')[0]))")  # fmt: skip
    assert sum(bars) == LARGE.size
    counts = np.histogram(LARGE, 24)[0]
    assert np.abs(np.array(bars) - counts).max() <= 4  # three digits move a few over an edge
    label = figure(page, "weight").locator(".histogram svg").get_attribute("aria-label")
    assert label == f"histogram from {LARGE.min():.3g} to {LARGE.max():.3g}".replace("-", "−")


def test_what_is_not_on_the_page_is_said_and_seen_in_a_thumbnail(at):
    page = at("tall")
    tall = figure(page, "tall")
    assert "on this page are the first ones; the picture shows the largest" in tall.inner_text()
    rows = js(page, "stored(Object.values(story.tensors).find((t) => t.name === 'tall').v)")[1]
    assert rows < 2000
    k = scale(tall, 4)
    box = tall.locator("canvas").bounding_box()
    page.mouse.click(box["x"] + 1, box["y"] + box["height"] - 1)
    assert "not on this page" in tall.locator(".reads").inner_text()
    assert cells(tall)[-1, 0] == pytest.approx((rows - 1) * 4 - 4000, rel=6e-3)
    seen = pixels(tall, 4, 32, k)
    assert seen[2, 2, 2] > seen[2, 2, 0] and seen[-2, 2, 2] < seen[-2, 2, 0]  # below and above 0


def test_elements_of_pictures_light_up_together(at):
    page = at("@")
    weight, hidden = figure(page, "weight"), figure(page, "hidden")
    k = scale(weight, 32)
    before = hidden.locator("canvas").evaluate("c => c.toDataURL()")
    box = weight.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 2.5 * k, box["y"] + 9.5 * k)
    assert hidden.locator("canvas").evaluate("c => c.toDataURL()") != before
    lit = hidden.locator("td.lit").evaluate_all("all => all.map(td => Number(td.dataset.i))")
    assert lit == [32 * i + 2 for i in range(5)]  # column 2 of every row
    page.mouse.move(5, 5)
    assert hidden.locator("canvas").evaluate("c => c.toDataURL()") == before


def test_the_quiz_shows_no_picture_of_what_it_asks_for(page):
    k = js(page, "steps.findIndex((s) => s.k === 'b' && story.tensors[s.x].name === 'weight')")
    page.evaluate(f"(state.quiz = true, state.shaped.add({k}), go({k}))")
    asked = page.locator("#step figure.hidden")
    assert asked.count() == 1 and asked.locator("canvas, .histogram").count() == 0
    assert asked.locator("td.ask").count() == 1  # the window has moved to what is asked
    page.evaluate("(state.quiz = false, show())")


def test_pictures_are_drawn_anew_in_another_theme(at):
    page = at("@")
    seen = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        seen.append(pixels(figure(page, "weight"), 32, 64, scale(figure(page, "weight"), 32)))
    page.emulate_media(color_scheme="light")
    least = np.unravel_index(np.abs(LARGE[8:, 8:]).argmin(), (56, 24))
    light, dark = (image[8:, 8:][least] for image in seen)
    assert light.min() > 200 and dark.max() < 90


def test_a_network_of_images_is_played_without_an_error(page, open_page, tmp_path):
    tg.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 2)
    )
    x = tg.tensor(RNG.random((2, 1, 8, 8)).astype(np.float32))
    loss = F.cross_entropy(model(x), tg.tensor([0, 1]))
    phone = open_page(size=(390, 844), motion="reduce", theme="dark")
    phone.goto(play(loss, names={"model": model, "x": x}).save(tmp_path / "conv.html").as_uri())
    assert phone.evaluate(helpers.CROWDED, 4) == []
    assert phone.evaluate("steps.length") > 40


# --- windows that slide -------------------------------------------------------------------------

IMAGE = RNG.integers(-9, 10, (2, 2, 6, 7)) / 10
KERNEL = RNG.integers(-9, 10, (3, 2, 2, 3)) / 10
BIAS = np.array([0.5, -0.25, 1.0])
STRIDE, BEFORE, DILATION = (1, 2), (1, 2), (2, 1)
WEIGHTS = RNG.integers(-9, 10, (2, 3, 6, 5)) / 10  # of the outputs: their gradients


def pooling(x):
    return F.max_pool2d(x, 3, 2, 1)


@pytest.fixture(scope="module")
def sliding(browser, tmp_path_factory):
    """A page with a convolution, a pool of maxima that overlap and tie, and one of means."""
    opened = helpers.Opened(browser)
    page = opened(size=(1280, 900), motion="reduce")
    x, k, b = (tg.tensor(a, requires_grad=True) for a in (IMAGE, KERNEL, BIAS))
    y = F.conv2d(x, k, b, STRIDE, BEFORE, DILATION)
    z = tg.tensor(IMAGE, requires_grad=True)
    most = pooling(F.relu(z * 1.0))
    loss = (y * tg.tensor(WEIGHTS)).sum() + (most * most).sum() + F.avg_pool2d(z, 2).sum()
    names = {"x": x, "z": z, "k": k, "b": b, "y": y, "most": most}
    page.goto(play(loss, names=names).save(tmp_path_factory.mktemp("p") / "s.html").as_uri())
    yield page
    opened.close()


SEEN = """(([from, set]) => { Object.assign(slide, { c: 0 }, set); go(from);
  const tables = [...document.querySelectorAll("#step .slide table")].map((t) => [
    t.getAttribute("aria-label"), [...t.querySelectorAll("td")].map((td) => td.textContent),
    [...t.querySelectorAll("td")].flatMap((td, k) => (td.matches(".outside") ? [k] : [])),
    [...t.querySelectorAll("td")].flatMap((td, k) => (td.matches(".won") ? [k] : []))]);
  return [tables, document.querySelector("#step .slide .sum").textContent]; })"""


def looked(page, kind, way, n, o, **spot):
    """What the panel shows of a slide: its tables as numbers, and its sentence."""
    to = {"f": "", "x": "&& !s.to", "k": "&& s.to === 'k'"}[way]
    step = js(page, f"""steps.findLastIndex((s) => s.k === '{"f" if way == "f" else "b"}'
      && story.slides[s.slide]?.kind === '{kind}' {to})""")  # fmt: skip
    assert step > 0
    page.evaluate(f"""(looking.slices.clear(), lookAt(partOf(story.slides[steps[{step}].slide],
      "y", "v"), {n} * slideOf(steps[{step}]).outs + {o}))""")
    tables, words = js(page, f"{SEEN}({json.dumps([step, spot])})")
    numbers = [[label, [float(c.replace("−", "-").replace("∞", "inf")) for c in cells], *marks]
               for label, cells, *marks in tables]  # fmt: skip
    return numbers, words


def last_number(words):
    return float(words.rstrip(".").split("= ")[-1].replace("−", "-"))


def padded(image, value=0.0):
    return np.pad(image, [(4, 4), (4, 4)], constant_values=value)


def test_a_convolution_shows_one_window_its_kernel_and_the_products(sliding):
    for n, o, i, j, c in ((0, 0, 0, 0, 0), (1, 2, 5, 4, 1), (0, 1, 3, 2, 1), (1, 0, 2, 4, 0)):
        (window, kernel, products), words = looked(sliding, "conv", "f", n, o, i=i, j=j, c=c)
        rows = [i + a * 2 - 1 for a in range(2)]
        columns = [j * 2 + b - 2 for b in range(3)]
        inside = np.ix_([r + 4 for r in rows], [q + 4 for q in columns])
        every = np.array([padded(IMAGE[n, d])[inside] for d in (0, 1)])
        near(window[1], every[c].ravel())
        near(kernel[1], KERNEL[o, c].ravel())
        near(products[1], (every[c] * KERNEL[o, c]).ravel())
        outside = [k for k, (r, q) in enumerate((r, q) for r in rows for q in columns)
                   if not (0 <= r < 6 and 0 <= q < 7)]  # fmt: skip
        assert window[2] == outside
        assert f"y[{n}, {o}, {i}, {j}]" in words
        assert last_number(words) == pytest.approx((every * KERNEL[o]).sum() + BIAS[o], rel=6e-3)


def test_a_pixel_shows_the_outputs_that_it_went_into(sliding):
    full = np.zeros((2, 2, 6 + 8, 7 + 8))  # the gradient by hand, with room around the image
    for n, o, i, j in np.ndindex(WEIGHTS.shape):
        for c, a, b in np.ndindex(2, 2, 3):
            full[n, c, i + 2 * a - 1 + 4, 2 * j + b - 2 + 4] += (
                WEIGHTS[n, o, i, j] * KERNEL[o, c, a, b]
            )
    for n, o, p, q, c in ((0, 0, 0, 0, 0), (1, 2, 5, 6, 1), (0, 1, 3, 4, 1)):
        (came, _, products), words = looked(sliding, "conv", "x", n, o, p=p, q=q, c=c)
        wanted = []
        for a, b in np.ndindex(2, 3):
            i, (j, odd) = p + 1 - 2 * a, divmod(q + 2 - b, 2)
            there = not odd and 0 <= i < 6 and 0 <= j < 5
            wanted.append(WEIGHTS[n, o, i, j] if there else 0)
        near(came[1], wanted)
        near(products[1], np.array(wanted) * KERNEL[o, c].ravel())
        near(sum(products[1]), float(words.split("≈ ")[1].split(";")[0].replace("−", "-")))
        assert f"∂loss/∂x[{n}, {c}, {p}, {q}]" in words
        assert last_number(words) == pytest.approx(full[n, c, p + 4, q + 4], rel=6e-3, abs=1e-9)


def test_a_number_of_the_kernel_shows_what_it_met(sliding):
    wide = np.pad(IMAGE, [(0, 0), (0, 0), (4, 4), (4, 4)])
    for n, o, c, a, b in ((0, 0, 0, 0, 0), (1, 2, 1, 1, 2)):
        _, words = looked(sliding, "conv", "k", n, o, c=c, a=a, b=b)
        met = wide[:, c, 4 + 2 * a - 1 :, 4 + b - 2 :][:, :6, : 2 * 5 : 2]
        share = (met * WEIGHTS[:, o]).sum((1, 2))
        assert float(words.split("≈ ")[1].split(" for")[0].replace("−", "-")) == pytest.approx(
            share[n], rel=6e-3)  # fmt: skip
        assert last_number(words) == pytest.approx(share.sum(), rel=6e-3)


def test_a_transposed_convolution_is_one_from_its_output_to_its_input(open_page, tmp_path):
    (s, t), (p, q), (d, e) = (2, 2), (1, 1), (2, 1)  # stride, padding, dilation
    image, kernel = IMAGE[:, :, :4, :5], KERNEL.transpose(1, 0, 2, 3)
    weights = np.random.default_rng(1).integers(-9, 10, (2, 3, 8, 9)) / 10
    x, k, b = (tg.tensor(a, requires_grad=True) for a in (image, kernel, BIAS))
    y = F.conv_transpose2d(x, k, b, (s, t), (p, q), (1, 0), 1, (d, e))
    page = open_page(size=(1280, 900), motion="reduce")
    made = play((y * tg.tensor(weights)).sum(), names={"x": x, "k": k, "b": b, "y": y})
    page.goto(made.save(tmp_path / "page.html").as_uri())
    assert y.shape == weights.shape
    taps = [(a, c, i, j) for a, c, i, j in np.ndindex(2, 3, 4, 5)]
    whole = np.zeros((2, 3, 20, 20)) + BIAS[:, None, None]
    for a, c, i, j in taps:
        whole[:, :, i * s + a * d, j * t + c * e] += image[:, :, i, j] @ kernel[:, :, a, c]
    np.testing.assert_allclose(whole[:, :, p : p + 8, q : q + 9], y.detach().numpy(), atol=1e-9)
    for n, c, o, row, column in ((0, 0, 0, 0, 0), (1, 1, 2, 5, 4), (0, 1, 1, 7, 8)):
        (laid, _, products), words = looked(page, "up", "f", n, c, p=row, q=column, c=o)
        wanted = np.zeros((2, 3))
        for a, b_, i, j in taps:
            if (i * s + a * d - p, j * t + b_ * e - q) == (row, column):
                wanted[a, b_] = image[n, c, i, j]
        near(laid[1], wanted.ravel())
        near(products[1], (wanted * kernel[c, o]).ravel())
        assert f"bias {BIAS[o]:g}".replace("-", "−") in words
        assert f"y[{n}, {o}, {row}, {column}]" in words
        assert last_number(words) == pytest.approx(whole[n, o, row + p, column + q], rel=6e-3)
    wide = np.pad(weights, [(0, 0), (0, 0), (p, 20), (q, 20)])
    for n, c, o, i, j in ((0, 0, 0, 0, 0), (1, 1, 2, 3, 4)):
        (window, _, products), words = looked(page, "up", "x", n, c, i=i, j=j, c=o)
        seen = wide[n, :, i * s : i * s + 2 * d : d, j * t : j * t + 3 * e : e]
        near(window[1], seen[o].ravel())
        near(products[1], (seen[o] * kernel[c, o]).ravel())
        assert f"∂loss/∂x[{n}, {c}, {i}, {j}]" in words
        assert last_number(words) == pytest.approx((seen * kernel[c]).sum(), rel=6e-3)
    for n, c, o, a, b_ in ((0, 0, 0, 0, 0), (1, 1, 2, 1, 2)):
        _, words = looked(page, "up", "k", n, c, c=o, a=a, b=b_)
        met = wide[:, o, a * d : a * d + 4 * s : s, b_ * e : b_ * e + 5 * t : t]
        share = (met * image[:, c]).sum((1, 2))
        assert float(words.split("≈ ")[1].split(" for")[0].replace("−", "-")) == pytest.approx(
            share[n], rel=6e-3)  # fmt: skip
        assert last_number(words) == pytest.approx(share.sum(), rel=6e-3)


def test_a_pool_shows_which_element_won_and_only_that_hears_back(sliding):
    image = np.maximum(IMAGE, 0)
    for n, c, i, j in ((0, 0, 0, 0), (1, 1, 2, 3), (0, 1, 1, 2)):
        (window,), words = looked(sliding, "max", "f", n, c, i=i, j=j)
        seen = padded(image[n, c], -np.inf)[2 * i + 3 : 2 * i + 6, 2 * j + 3 : 2 * j + 6]
        assert window[1] == seen.ravel().tolist()
        assert window[3] == [int(seen.argmax())]  # the first of equal ones
        assert last_number(words) == seen.max()
    for n, c, p, q in ((0, 0, 1, 1), (1, 1, 3, 3), (0, 1, 5, 6), (1, 0, 2, 5)):
        (came,), words = looked(sliding, "max", "x", n, c, p=p, q=q)
        total = 0.0
        for i, j in np.ndindex(3, 4):
            seen = padded(image[n, c], -np.inf)[2 * i + 3 : 2 * i + 6, 2 * j + 3 : 2 * j + 6]
            a, b = np.unravel_index(seen.argmax(), (3, 3))
            if (2 * i + a - 1, 2 * j + b - 1) == (p, q):
                total += 2 * seen.max()
                assert came[1][3 * a + b] == pytest.approx(2 * seen.max())
        assert sum(came[1]) == pytest.approx(total)
        assert last_number(words) == pytest.approx(total)


def test_the_window_moves_by_mouse_keys_and_by_itself(sliding):
    page = sliding
    looked(page, "conv", "f", 0, 0, i=0, j=0)
    step, (image, out) = js(page, "state.step"), page.locator("#step .slide canvas").all()
    box = out.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.55)
    assert js(page, "[slide.i, slide.j]") == [3, 3]
    box = image.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 2)
    assert js(page, "[slide.i, slide.j]") == [0, 4]
    page.mouse.move(2, 2)
    image.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    assert js(page, "[slide.i, slide.j]") == [2, 3] and js(page, "state.step") == step
    assert "y[0, 0, 2, 3]" in page.locator("#say").inner_text()
    page.get_by_label("output channel").select_option("2")
    assert "y[0, 2, 2, 3]" in page.locator("#step .sum").inner_text()
    chosen = page.locator("#step figure").get_by_label("slice, axis 1").last
    assert chosen.input_value() == "2"
    page.get_by_role("button", name="Slide").click()
    moved = """() => new Promise((done) => { const look = () => slide.j === 4 ? done(true)
      : requestAnimationFrame(look); look(); })"""
    assert page.evaluate(moved)
    page.get_by_role("button", name="Stop").click()
    assert js(page, "slide.timer") == 0


def test_after_an_edit_the_window_has_the_new_numbers(sliding):
    page, edited = sliding, np.maximum(IMAGE, 0)
    page.evaluate('player.set("x", [1, 0, 2, 3], 4)')
    near_x = IMAGE.copy()
    near_x[1, 0, 2, 3] = 4
    (window, _, _), words = looked(page, "conv", "f", 1, 1, i=1, j=2, c=0)
    seen = padded(near_x[1, 0])[np.ix_([4, 6], [6, 7, 8])]
    near(window[1], seen.ravel())
    every = np.array([padded(near_x[1, d])[np.ix_([4, 6], [6, 7, 8])] for d in (0, 1)])
    assert last_number(words) == pytest.approx((every * KERNEL[1]).sum() + BIAS[1], rel=6e-3)
    page.evaluate('player.set("z", [0, 0, 0, 1], 0)')
    edited[0, 0, 0, 1] = 0
    (window,), words = looked(page, "max", "f", 0, 0, i=0, j=0)
    part = padded(edited[0, 0], -np.inf)[3:6, 3:6]
    assert window[3] == [int(part.argmax())] and last_number(words) == part.max()
    page.evaluate("player.reset()")
