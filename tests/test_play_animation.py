"""The steps of a page as pictures for slides: their number, what they show, what is missing."""

import re
import sys
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

import tinygrad_ce as tg
from tests.drawn_programs import PROGRAMS
from tinygrad_ce.engine.frame import source_lines
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz import play
from tinygrad_ce.viz.page import animation
from tinygrad_ce.viz.page.animation import Film


def page():
    """The gradient of (w·x + b)², in seven steps and some."""
    x, w, b = (tg.tensor(v, requires_grad=True) for v in ([1.0, -2.0], [0.5, 0.25], 3.0))
    return play((((w * x).sum() + b) ** 2), names={"x": x, "w": w, "b": b})


def film(made):
    return Film(made.title, made._graph, made._told)


def words_of(shown):
    return [text.get_text() for text in shown.right.texts]


def test_each_step_is_a_frame_of_the_gif_and_a_page_of_the_pdf(tmp_path):
    w = tg.tensor([1.0, -2.0], requires_grad=True)
    made = play(w.exp().sum(), names={"w": w})
    path = made.save(tmp_path / "steps.gif")
    with Image.open(path) as gif:
        assert gif.n_frames == made.steps and gif.size == (1120, 630)
        assert gif.info["duration"] == 1400 and gif.info["loop"] == 0
        seen = []
        for k in range(gif.n_frames):
            gif.seek(k)
            seen.append(np.asarray(gif.convert("RGB")).astype(int))
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        data = made.save(tmp_path / f"steps{suffix}").read_bytes()
        assert data.startswith(start)
    assert len(re.findall(rb"/Type /Page\b", data)) == made.steps
    for before, after in pairwise(seen):
        assert np.abs(after - before).sum() > 10_000  # another card is lit, other numbers told


def test_the_frames_have_the_numbers_of_the_steps():
    made = page()
    shown = film(made)
    told = made._told
    for k in shown.each():
        step, words = told["steps"][k], words_of(shown)
        assert f"{k} / {made.steps - 1}" in words and made.title in words
        if step["k"] == "b":
            x = told["tensors"][step["x"]]
            assert any(word.startswith("Backward through") for word in words)
            cells = [animation.printed(v, False) for v in (step.get("new") or x["g"])["d"]]
            assert words[-len(cells) :] == cells
        elif step["k"] == "f":
            cells = [animation.printed(v, False) for v in told["tensors"][step["y"]]["v"]["d"]]
            assert words[-len(cells) :] == cells
    x, w = np.array([1.0, -2.0]), np.array([0.5, 0.25])
    slope = 2 * ((w * x).sum() + 3) * x
    assert set(words_of(shown)) >= {f"{v:.4g}".replace("-", "−") for v in slope}  # ∂L/∂w


def test_the_graph_is_faint_until_it_is_computed_and_lit_where_the_step_is():
    made = page()
    shown = film(made)
    steps = made._told["steps"]
    for k in shown.each():
        step = steps[k]
        done = {s["y"] for s in steps[: k + 1] if s["k"] == "f"}
        coming = {s["y"] for s in steps if s["k"] == "f"} - done
        now = step.get("x") if step["k"] == "b" else step.get("y")
        for id in made._told["tensors"]:
            border, *_ = shown.parts[id]
            assert (border.get_alpha() == 0.2) == (id in coming)
            assert (border.get_linewidth() == 3) == (id == now)
            gone = [s["x"] for s in steps[k + 1 :] if s["k"] == "b"]
            for red in shown.reds.get(id, ()):
                if border.get_visible():
                    assert red.get_visible() == (id not in gone and "seed" in [
                        s["k"] for s in steps[: k + 1]])  # fmt: skip


def test_large_arrays_and_images_are_pictures():
    rng = np.random.default_rng(0)
    x, k = (tg.tensor(rng.random((2, 1, n, n))) for n in (9, 3))
    with source_lines():
        loss = F.conv2d(x, k.requires_grad_()).mean()
    made = play(loss, names={"x": x, "k": k})
    shown = film(made)
    shown.show(0)
    (image,) = shown.right.images
    grey = image.get_array()
    np.testing.assert_allclose(grey[..., 0], grey[..., 2])
    pixels = x.numpy()[0, 0]
    wanted = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    np.testing.assert_allclose(grey[..., 0], wanted, atol=6e-3)


def test_what_does_not_fit_is_left_out_and_factors_are_shown():
    ws = [tg.tensor(np.full((6, 6), k + 0.5), requires_grad=True) for k in range(9)]
    total = ws[0] @ ws[1]
    for w in ws[2:]:
        total = total + w
    shown = film(play(total.sum(), names={f"w{k}": w for k, w in enumerate(ws)}))
    shown.show(0)
    told = " ".join(words_of(shown))
    assert "w0  6 × 6" in told and "w8  6 × 6" not in told
    k = next(k for k, s in enumerate(shown.steps) if s["k"] == "b" and "o" in s)
    shown.show(k)
    other = shown.called(shown.steps[k]["o"][0])
    assert f"{other}  6 × 6" in " ".join(words_of(shown)).replace("w1ᵀ", "w1")
    hidden = [name for name in shown.ends if not any(p.get_visible() for p in shown.parts[name])]
    assert hidden  # what is out of sight is not drawn


def test_strange_names_are_drawn_and_numbers_that_are_none():
    loss, names = PROGRAMS["hostile"]()
    shown = film(play(loss, names=names))
    words = []
    for k in range(0, len(shown.steps), 8):
        shown.show(k)
        words += words_of(shown)
    assert "loss = nan" in words
    assert any('<b> & "q"' in word for word in words)


def test_a_film_has_every_step(tmp_path):
    """What stands for ffmpeg writes down the pixels that it is given."""
    from matplotlib import rc_context

    program = tmp_path / "ffmpeg"
    program.write_text('#!/bin/sh\nfor last; do :; done\ncat > "$last"\n')
    program.chmod(0o755)
    w = tg.tensor([1.0, -2.0], requires_grad=True)
    made = play(w.exp().sum(), names={"w": w})
    with rc_context({"animation.ffmpeg_path": str(program)}):
        film_of_it = made.save(tmp_path / "steps.mp4").read_bytes()
    frames = np.frombuffer(film_of_it, np.uint8).reshape(-1, 630, 1120, 4)[..., :3]
    assert len(frames) == made.steps
    wanted = film(made)
    np.testing.assert_array_equal(frames[1], next(k for i, k in enumerate(wanted.pictures()) if i))


def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch):
    made = page()
    with pytest.raises(ValueError, match=r"'steps.bmp' ends in '.bmp'; wanted .html for the page"):
        made.save(tmp_path / "steps.bmp")
    from matplotlib.animation import FFMpegWriter

    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(RuntimeError, match=r"steps.mp4 needs the program ffmpeg, .*steps.gif"):
        made.save(tmp_path / "steps.mp4")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ImportError, match=r'drawn by matplotlib; pip install "tinygrad_ce\[plots\]"'
    ):
        made.save(tmp_path / "steps.gif")
    assert not list(tmp_path.iterdir())
