"""Arrays and images of a page: what of them is stored, how, and which windows slide over them.

What is stored is read by a decoder that is written here; convolutions are sums over loops.
"""

import json
import math
import re

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.engine import table
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz.graph.walking import Graph
from tinygrad_ce.viz.page.arrays import Windows, window
from tinygrad_ce.viz.page.windows import images_of, slides_of

LETTERS = [c for c in map(chr, range(35, 127)) if c not in "&'<>\\`$"]


def decoded(win, pool=None):
    """The numbers of a window, of which three letters are one: see `packed`."""
    if "d" in win:
        return win["d"]
    text = win["i"] if "i" in win else win["p"] if pool is None else list(pool)[win["p"]]
    codes = [sum(LETTERS.index(c) * 85**k for c, k in zip(text[i : i + 3], (2, 1, 0)))
             for i in range(0, len(text), 3)]  # fmt: skip
    if "i" in win:
        return [code - 300_000 for code in codes]
    words = [math.nan, math.inf, -math.inf, 0.0]
    found = []
    for code in codes:
        if code < 4:
            found.append(words[code])
            continue
        digits, rest = (code - 4) % 900 + 100, (code - 4) // 900
        found.append((-1) ** (rest % 2) * float(f"{digits}e{rest // 2 - 172}"))
    return found


def numbers(win):
    return np.array(decoded(win), float).reshape(win.get("w") or win.get("as") or win["s"])


# --- what is stored ---------------------------------------------------------------------------


def test_packed_numbers_are_the_numbers_to_three_digits():
    rng = np.random.default_rng(0)
    array = rng.standard_normal(3000) * 10.0 ** rng.integers(-160, 160, 3000)
    array[:6] = 0, np.nan, np.inf, -np.inf, 9.995, -1e-170
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    for given in (array, single):
        win = window(given)
        assert len(win["p"]) == 9000 and set(win["p"]) <= set(LETTERS)
        wanted = [float(f"{float(x):.3g}") for x in given]
        np.testing.assert_allclose(numbers(win), wanted, rtol=1e-12)


def test_what_does_not_fit_three_letters_is_a_list():
    tiny = np.full(200, 1e-300)
    tiny[3] = -1.25e250
    assert window(tiny)["d"][:4] == [1e-300, 1e-300, 1e-300, -1.25e250]
    whole = np.arange(-100, 100) * 2999
    assert decoded(window(whole)) == whole.tolist() and "i" in window(whole)
    for large in (10**9, -(2**63), 2**62):
        assert decoded(window(np.full(200, large, np.int64)))[0] in (
            large, str(large).replace("-", "−"))  # fmt: skip
    assert window(np.ones(200, bool)) == {"s": [200], "d": [1] * 200, "b": 1}


@pytest.mark.parametrize("shape", [(20, 30), (7, 3, 20), (5000,), (0, 200), (2, 3, 4, 5)])
def test_all_of_a_small_array_is_there(shape):
    array = np.arange(math.prod(shape)).reshape(shape) / 4
    win = window(array)
    assert win["s"] == list(shape) and not {"w", "t", "h"} & win.keys()
    np.testing.assert_allclose(numbers(win), array, rtol=5.1e-3)


def test_of_a_large_stack_the_first_slices_are_there():
    array = np.random.default_rng(0).standard_normal((40, 6, 28, 28))
    win = window(array)
    assert win["s"] == [40, 6, 28, 28] and win["w"] == [6, 28, 28]
    np.testing.assert_allclose(numbers(win), array[0], rtol=5.1e-3)
    low, high, *counts = win["h"]
    wanted, edges = np.histogram(array, 24)
    assert counts == wanted.tolist() and [low, high] == pytest.approx(edges[[0, -1]], rel=5e-3)
    assert "t" not in win and win["of"].startswith(f"{array.mean():.4g}".replace("-", "−"))


@pytest.mark.parametrize(
    "shape, kept",
    [((1000, 64), (78, 64)), ((784, 128), (39, 128)), ((3, 2000), (3, 1666)), ((9000,), (1, 5000))],
)
def test_of_a_large_matrix_the_first_rows_and_a_thumbnail_are_there(shape, kept):
    array = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    array[..., -1] = np.nan
    win = window(array)
    assert win["w"] == [1, *kept]
    matrix = array.reshape(-1, shape[-1])
    np.testing.assert_allclose(numbers(win)[0], matrix[: kept[0], : kept[1]], rtol=5.1e-3)
    thumb, known = numbers(win["t"]), np.nan_to_num(matrix)
    high, wide = (math.ceil(n / 32) for n in matrix.shape)
    for i, j in np.ndindex(thumb.shape):
        block = known[i * high : (i + 1) * high, j * wide : (j + 1) * wide]
        assert abs(thumb[i, j]) == pytest.approx(abs(block).max(), rel=5.1e-3)
        assert np.isclose(block, thumb[i, j], rtol=5.1e-3).any()


def test_a_page_is_bounded_however_many_arrays_there_are():
    windows, rng = Windows(), np.random.default_rng(0)
    arrays = [rng.standard_normal((n, 50)) for n in (4, 30, 100, 100, 100)]
    told = [windows.add(array) for array in [*arrays, arrays[-1]]]
    windows.fill(10_000)
    shares = [len(decoded(win, windows.pool)) for win in told]
    assert shares[:2] == [200, 1500]  # what needs less than its share is there in full
    assert sum(shares[:5]) <= 10_000 and min(shares[2:]) > 2500
    assert told[4]["p"] == told[5]["p"]  # equal arrays are there once
    many = Windows()
    told = [many.add(rng.standard_normal((50, 50))) for _ in range(300)]
    many.fill(10_000)
    assert {len(decoded(win, many.pool)) for win in told} == {100}
    x = tg.tensor(rng.standard_normal((300, 300)), requires_grad=True)
    for _ in range(20):
        x = (x * 0.9).tanh()
    assert len(tg.play(x.sum()).html) < 500_000


# --- images -----------------------------------------------------------------------------------


def told(page):
    return json.loads(re.search(r'id="story">(.*?)</script>', page.html, re.DOTALL)[1])


def kinds(loss, **names):
    """Which kind of image the named tensors are, and as which shape."""
    tensors = told(tg.play(loss, names=names))["tensors"].values()
    return {t["name"]: (t["v"].get("k"), tuple(t["v"].get("as", t["v"]["s"])))
            for t in tensors if t["name"] in names}  # fmt: skip


def test_inputs_that_are_images_are_known():
    rng = np.random.default_rng(0)

    def given(*shape):
        return tg.tensor(rng.random(shape), requires_grad=True)

    colour, grey, flat, digits, points, both = (
        given(2, 3, 8, 8), given(2, 1, 5, 6), given(2, 784), given(3, 64), given(3, 49),
        given(4, 36))  # fmt: skip
    for x in (colour, grey, flat, digits, points, both):
        x.requires_grad_(False)
    w = given(5, 1, 3, 3)
    signed = digits - 0.5
    maps = F.conv2d(both.reshape(4, 1, 6, 6) * tg.ones(1, requires_grad=True), w)
    wide = given(784, 2)
    loss = sum(
        ((x * tg.ones(1, requires_grad=True)).sum() for x in (colour, grey, points)), w.sum()
    )
    loss = loss + maps.sum() + (flat @ wide).sum() + (digits @ given(64, 1)).sum()
    loss = loss + (signed @ given(64, 1)).sum()
    assert kinds(loss, colour=colour, grey=grey, flat=flat, digits=digits, points=points, w=w,
                 maps=maps, signed=signed, wide=wide) == {
        "colour": ("grey", (2, 3, 8, 8)), "grey": ("grey", (2, 1, 5, 6)),
        "flat": ("grey", (2, 1, 28, 28)), "digits": ("grey", (3, 1, 8, 8)),
        "points": (None, (3, 49)), "w": ("map", (5, 1, 3, 3)), "maps": ("map", (4, 5, 4, 4)),
        "signed": (None, (3, 64)), "wide": (None, (784, 2)),
    }  # fmt: skip


# --- what slides ------------------------------------------------------------------------------

CONVOLUTIONS = [
    {}, {"padding": 1}, {"stride": 2}, {"dilation": 2}, {"padding": "same"}, {"bias": False},
    {"padding": (2, 0), "stride": (1, 2), "dilation": (2, 1)}, {"kernel_size": 1},
]  # fmt: skip


def numbered(slide, node):
    return node if isinstance(node, np.ndarray) else node.array


def by_hand(slide):
    """y of a convolution, one window at a time."""
    x, k, y = (numbered(slide, node) for node in (slide.x, slide.k, slide.y))
    b = np.zeros(len(k)) if slide.b is None else slide.b.array
    found = np.zeros(y.shape)
    for n, o, i, j in np.ndindex(y.shape):
        found[n, o, i, j] = b[o]
        for c, p, q in np.ndindex(k.shape[1:]):
            row = i * slide.stride[0] + p * slide.dilation[0] - slide.before[0]
            column = j * slide.stride[1] + q * slide.dilation[1] - slide.before[1]
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                found[n, o, i, j] += x[n, c, row, column] * k[o, c, p, q]
    return found


@pytest.mark.parametrize("needs", [True, False], ids=["gradient", "no gradient"])
@pytest.mark.parametrize("ways", CONVOLUTIONS, ids=lambda ways: "-".join(ways) or "plain")
def test_a_convolution_is_found_with_its_window(ways, needs):
    tg.manual_seed(0)
    layer = nn.Conv2d(2, 3, **{"kernel_size": (2, 3), **ways}).double()
    x = tg.randn(2, 2, 6, 7, dtype=tg.float64).requires_grad_(needs)
    y = layer(x)
    (slide,) = slides_of(Graph([y.sum()], {}))
    np.testing.assert_allclose(by_hand(slide), y.detach().numpy(), rtol=1e-12)
    assert slide.k is layer.weight and slide.b is layer.bias and slide.y is y
    if needs:
        assert slide.x is x
    else:  # only its windows were recorded: the image is laid together from them, with its padding
        assert slide.before == (0, 0) and isinstance(slide.x, np.ndarray)


def test_an_image_with_pixels_that_no_window_sees_is_not_laid_together():
    layers = nn.Conv2d(1, 1, 1, stride=3), nn.Conv1d(1, 2, 3, dilation=2)
    given = tg.randn(1, 1, 7, 7), tg.randn(1, 1, 9)
    found = [list(slides_of(Graph([layer(x).sum()], {}))) for layer, x in zip(layers, given)]
    assert not found[0]
    np.testing.assert_array_equal(found[1][0].x[0, 0, 0], given[1].numpy()[0, 0])


def test_nothing_is_told_of_an_array_without_a_finite_number():
    assert window(np.full(6000, np.nan))["h"] == []


def test_groups_signals_and_pools_are_found():
    tg.manual_seed(0)
    x, signal = tg.randn(2, 4, 6, 6, requires_grad=True), tg.randn(2, 2, 9, requires_grad=True)
    grouped = nn.Conv2d(4, 6, 3, groups=2)(x)
    kinds = [s.kind for s in slides_of(Graph([grouped.sum()], {}))]
    assert kinds == ["conv", "conv"]
    (one,) = slides_of(Graph([nn.Conv1d(2, 3, 4, stride=2)(signal).sum()], {}))
    assert (one.size, one.stride) == ((1, 4), (1, 2))
    np.testing.assert_allclose(by_hand(one), one.y.array, rtol=1e-4, atol=1e-6)
    for pool, kind in ((nn.MaxPool2d(3, 2, 1), "max"), (nn.AvgPool2d((2, 1)), "sum")):
        (found,) = slides_of(Graph([pool(x).sum()], {}))
        assert found.kind == kind and found.x is x
        before = 1 if kind == "max" else 0
        assert found.before == (before, before)
        assert found.stride == ((2, 2) if kind == "max" else (2, 1))


def test_a_transposed_convolution_is_found_if_all_of_it_is_on_record():
    x, w = tg.randn(2, 3, 4, 5, requires_grad=True), tg.randn(3, 2, 3, 2, requires_grad=True)
    b = tg.randn(2, requires_grad=True)
    for bias, more in ((b, (1, 0)), (None, 0)):
        y = F.conv_transpose2d(x, w, bias, (2, 3), (1, 0), more, 1, (1, 2))
        (found,) = slides_of(Graph([y.sum()], {}))
        assert (found.kind, found.x, found.y, found.k, found.b) == ("up", y, x, w, bias)
        assert (found.size, found.stride) == ((3, 2), (2, 3))
        assert (found.dilation, found.before) == ((1, 2), (1, 0))
    columns = w.reshape(3, -1).mT @ x.permute(1, 2, 3, 0).reshape(3, -1)
    others = [
        table.col2im(tg.randn(4, 9, requires_grad=True), (1, 4, 4, 1), (2, 2), (1, 1), (1, 1)),
        F.conv_transpose2d(tg.randn(1, 3, 4, 5), w),  # how the image was laid flat is not known
        table.col2im(columns, (2, 6, 6, 2), (3, 2), (1, 1), (1, 1))[:, 1:6, 1:6],
    ]
    assert [len(list(slides_of(Graph([y.sum()], {})))) for y in others] == [0, 0, 0]


def test_what_only_looks_like_a_convolution_is_none():
    a, b = tg.randn(3, 4, requires_grad=True), tg.randn(4, 5, requires_grad=True)
    w = tg.randn(2, 2, 2, 1, requires_grad=True)
    programs = [
        a @ b,
        w.reshape(2, 4) @ b,
        (w.reshape(2, 4) @ b).reshape(2, 5),
        (w.reshape(2, 4) @ b).reshape(2, 5, 1, 1) * 2,
        (w.reshape(2, 4) @ b).reshape(2, 5, 1, 1).permute(3, 0, 1, 2),
        F.conv2d(tg.randn(1, 1, 4, 4), tg.randn(1, 1, 2, 2, requires_grad=True)),  # which stride?
        F.conv2d(a.reshape(1, 1, 3, 4), w[:, :1]).reshape(-1),
        (w[:1, :1].reshape(1, 2) @ table.im2col(b.reshape(2, 5, 2, 1), (1, 1), (1, 1), (1, 1)))
        .reshape(1, 5, 2, 1).permute(3, 0, 1, 2),
        (w[:1, :1].reshape(1, 2) @ table.im2col(b.reshape(1, 10, 2, 1), (2, 1), (1, 1), (1, 1)))
        .reshape(1, 9, 2, 1).permute(3, 0, 1, 2),
    ]  # fmt: skip
    found = [len(list(slides_of(Graph([y.sum()], {})))) for y in programs]
    assert found == [0, 0, 0, 0, 0, 0, 1, 0, 0]


def test_steps_of_a_convolution_say_so():
    tg.manual_seed(0)
    x, y = tg.randn(2, 1, 6, 6), tg.tensor([0, 1])
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2))
    for depth in (None, 0):
        page = told(tg.play(F.cross_entropy(model(x), y), names={"x": x}, depth=depth))
        assert [s["kind"] for s in page["slides"]] == ["conv", "max"]
        found = {kind: {s.get("slide") for s in page["steps"] if s["k"] == kind} for kind in "fb"}
        seen = {None, 0, 1} if depth is None else {None, 1}  # a card has its weights inside
        assert found == {"f": {None, 0, 1}, "b": seen}
        conv = page["slides"][0]
        assert decoded(conv["x"]["v"])[:6] == [float(f"{v:.4g}") for v in x.numpy()[0, 0, 0]]
        if depth is None:
            assert page["tensors"][conv["k"]["id"]]["name"] == "0.weight"


def test_images_are_those_of_the_tensors():
    x = tg.tensor(np.random.default_rng(0).random((2, 1, 5, 5)), requires_grad=True)
    y = F.max_pool2d(x, 2)
    graph = Graph([y.sum()], {x: "x"})
    assert images_of(graph, list(slides_of(graph))) == {
        x: ("map", (2, 1, 5, 5)), y: ("map", (2, 1, 2, 2))}  # fmt: skip
