"""What a picture of a run model leaves as it was, what it is run on, and what is kept of it."""

import functools
import gc
import weakref

import numpy as np
import pytest
from test_draw import card, cards

import tinygrad_ce as tg
from tinygrad_ce import draw, nn, play, viz
from tinygrad_ce.random import Generator
from tinygrad_ce.viz.graph.restoring import reached, undone


def leaf(values, requires_grad=True):
    return tg.tensor(np.asarray(values, np.float64), requires_grad=requires_grad)


# --- as it was ------------------------------------------------------------------------------


class Calls:
    def __init__(self, model):
        self.model = model

    def __call__(self, x):
        return self.model(x).sum()

    def method(self, x):
        return self(x)


WAYS = {
    "argument": lambda model, x: draw(lambda m, x: m(x).sum(), model, x),
    "list": lambda model, x: draw(lambda m, x: m[0](x).sum(), [model], x),
    "dict": lambda model, x: draw(lambda m, x: m["a"][0](x).sum(), {"a": (model,)}, x),
    "callable": lambda model, x: draw(Calls(model), x),
    "method": lambda model, x: draw(Calls(model).method, x),
    "partial": lambda model, x: draw(functools.partial(lambda m, x: m(x).sum(), model), x),
    "helper": lambda model, x: draw(lambda x, helper=lambda x: model(x).sum(): helper(x), x),
    "nested": lambda model, x: draw(lambda x: sum(m(x).sum() for m in (model,)), x),
}


@pytest.mark.parametrize("how", WAYS)
def test_buffers_are_put_back_wherever_the_model_is(how):
    model = nn.BatchNorm1d(2)
    x = tg.tensor(np.arange(10, dtype=np.float32).reshape(5, 2))
    before = [np.array(b.array) for b in model.buffers()]
    WAYS[how](model, x)
    for was, buffer in zip(before, model.buffers(), strict=True):
        np.testing.assert_array_equal(was, buffer.array)


def test_a_generator_in_a_closure_is_put_back():
    stream = Generator()
    before = np.array(stream.get_state())
    draw(lambda x: (x * tg.rand(2, generator=stream)).sum(), leaf([1.0, 2.0]))
    np.testing.assert_array_equal(before, stream.get_state())


def test_the_picture_shows_the_numbers_that_were_computed_with():
    count, x = leaf([1.0], False), leaf([3.0])

    def f(x):
        nonlocal count
        count += 1.0
        return (x * count).sum()

    drawing = draw(f, x)
    assert card(drawing, "count").value == "[2]"
    assert card(drawing, "x").gradient == "∇ 2"
    assert count.tolist() == [1.0]


def test_what_a_recorded_write_did_is_undone_too():
    kept, x = leaf([0.0, 5.0], False), leaf([3.0])

    def f(x):
        kept[0] = (x * 2).sum()
        return (kept * kept).sum()

    drawing = draw(f, x)
    assert cards(drawing)[-1].value == "61"
    assert card(drawing, "x").gradient == "∇ 24"
    assert (kept.tolist(), kept.requires_grad, kept.op) == ([0.0, 5.0], False, None)


def test_the_search_ends_at_code_of_others_and_in_loops():
    ring = [1.0]
    ring.append(ring)
    x = leaf([1.0])
    assert [thing is x for thing in reached([ring, x]) if isinstance(thing, type(x))] == [True]
    assert len(reached([np.linalg.norm, nn.Linear, gc])) == 3
    assert undone(lambda: 3, [ring])[0] == 3


def test_a_function_with_an_empty_cell_is_drawn():
    def f(x):
        return x.sum() if x.size else later(x)

    assert card(draw(f, leaf([1.0])), "x").gradient == "∇ 1"
    later = f
    assert later


# --- the examples ---------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 2, 3), nn.LayerNorm(3), nn.Tanh()])
def test_the_picture_begins_at_the_example(layer):
    x = tg.randn(1, 1, 3, 3)
    drawing = draw(lambda x: layer(x).square().sum(), x)
    twin = tg.tensor(x.numpy(), requires_grad=True)
    layer(twin).square().sum().backward()
    norm = float(np.linalg.norm(twin.grad.numpy()))
    shown = card(drawing, "x")
    assert shown.role == "input"
    assert float(shown.gradient.removeprefix("‖∇‖ ")) == pytest.approx(norm, rel=5e-3, abs=1e-6)
    assert not x.requires_grad and x.grad is None
    assert '"input"' in draw(layer, x).source


def test_a_model_that_writes_into_its_example_gets_the_example():
    x = leaf([1.0, 2.0], False)

    def f(x):
        x += 1.0
        return (x * leaf([3.0, 3.0])).sum()

    assert cards(draw(f, x))[-1].value == "15"
    assert x.tolist() == [1.0, 2.0]


def test_gradients_of_examples_are_results_only_where_there_are_no_others():
    w, x = leaf([2.0]), leaf([3.0], False)

    def ends(function):
        return [c.name for c in cards(draw(function, x, backward=True)) if c.role == "gradient"]

    assert ends(lambda x: (x * w * x).sum()) == ["∂loss/∂w"]
    assert ends(lambda x: (x * x).sum()) == ["∂loss/∂x"]


def test_a_folded_call_whose_gradient_is_drawn_shows_no_inner_value():
    w, x = leaf([[2.0, 1.0]]), leaf([[3.0, 4.0]])
    drawing = draw(tg.softmax(x * w, -1).square().sum(), {"w": w, "x": x}, depth=0, backward=True)
    call = card(drawing, "softmax")
    assert (call.value, call.shape) == ("values inside are read", "")
    assert "[" not in call.tooltip


# --- kept -----------------------------------------------------------------------------------


def test_a_method_of_a_living_model_has_a_page(tmp_path):
    model, x = nn.Linear(2, 1), tg.tensor(np.ones((3, 2), np.float32))
    drawing = draw(model.forward, x)
    assert "Linear" in drawing.save(tmp_path / "page.html").read_text("utf-8")
    del model
    gc.collect()
    with pytest.raises(RuntimeError, match="is gone"):
        drawing.save(tmp_path / "page.html")


def test_a_drawing_keeps_no_graph_of_an_example():
    w, model = leaf([[1.0, 2.0]]), nn.Linear(2, 1).double()
    x = w * 2.0
    there = weakref.ref(x)
    drawing = draw(model, x)
    assert drawing._again()[1] == (x,)
    del x
    gc.collect()
    assert there() is None


def test_a_drawing_keeps_no_list_of_tensors(tmp_path):
    x, y = leaf(2.0), leaf(3.0)
    there = weakref.ref(x)

    def f(xs, more, nothing):
        return xs[0] * xs[1] * more["k"][0]

    drawing = draw(f, [x, y], {"k": (y,)}, None)
    assert drawing.save(tmp_path / "page.html").exists()
    del x
    gc.collect()
    assert there() is None
    with pytest.raises(RuntimeError, match="is gone"):
        drawing.save(tmp_path / "page.html")


# --- names and misuse -----------------------------------------------------------------------


def test_half_a_surrogate_in_a_name_is_a_name(tmp_path):
    x = leaf([[2.0]])
    model = nn.Sequential()
    setattr(model, "\ud801", nn.Linear(1, 1).double())
    parts = [getattr(model, "\ud801")(x).sum(), (x * x).sum()]
    for loss in parts:
        for depth in (None, 0):
            drawing = draw(loss, {"\ud800": x}, depth=depth)
            for suffix in ("svg", "dot", "txt", "html"):
                path = drawing.save(tmp_path / f"x.{suffix}")
                assert "\ufffd" in path.read_text("utf-8")
            play(loss, {"\ud800": x}, depth=depth).html.encode()


def test_a_page_without_values_is_refused(tmp_path):
    loss = leaf(2.0) * 3.0
    for option in ("values", "gradients"):
        with pytest.raises(ValueError, match="leave values=False and gradients=False out"):
            draw(loss, **{option: False}).save(tmp_path / "x.html")
    assert not list(tmp_path.iterdir())


def test_play_speaks_of_itself():
    x = leaf([1.0])
    for wrong in [
        lambda: play(3), lambda: play(x, {}, {}), lambda: play(x, 3), lambda: play(nn.Tanh()),
        lambda: play(x, depth=True), lambda: play(x, theme="black"), lambda: play(x, depth="z"),
        lambda: play(lambda x: 3, x),
    ]:  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=r"^play: ") as caught:
            wrong()
        assert "draw" not in str(caught.value)


def test_a_decorated_coroutine_or_generator_is_refused():
    def squares(x):
        yield x * x

    async def square(x):
        return x * x

    for switch in (tg.source_lines(), tg.no_grad()):
        with pytest.raises(TypeError, match=r"squares is a generator: .*Write the `with` block"):
            switch(squares)
        with pytest.raises(TypeError, match="square is a coroutine"):
            switch(square)

    @tg.source_lines()
    def cube(x):
        return x * x * x

    assert cube(leaf(2.0)).line[0][0] is cube.__wrapped__.__code__


def test_a_long_loop_is_laid_out(tmp_path):
    tg.manual_seed(0)
    layer, h = nn.Linear(4, 4), tg.randn(2, 4)
    for _ in range(55):
        h = layer(h).tanh()
    drawing = draw(h.sum())
    assert "nslimit" in drawing.source
    svg = drawing.save(tmp_path / "x.svg").read_text("utf-8")
    assert all(f'id="{c.id}"' in svg for c in cards(drawing))


def test_while_a_program_is_traced_there_is_nothing_to_draw():
    for look in (draw, play):
        with pytest.raises(RuntimeError, match=f"^{look.__name__}: while a program is traced"):
            tg.trace(lambda x: look((x * 2).sum()), leaf([1.0]))  # noqa: B023


def test_a_function_of_c_has_examples_by_number():
    assert card(draw(max, leaf(1.0), leaf(2.0)), "x1").value == "2"


def test_a_tensor_that_was_written_twice_keeps_its_past():
    x = leaf([1.0, 2.0])
    y = x * 3.0
    y += 1.0

    def function():
        y.mul_(2.0)
        return y.sum()

    assert cards(draw(function))[-1].value == "22"
    np.testing.assert_array_equal(y.detach().numpy(), [4.0, 7.0])
    (y * y).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [24.0, 42.0])


class Slotted:
    __slots__ = ("weight",)

    def __init__(self):
        self.weight = leaf([3.0, 4.0])

    def __call__(self, x):
        return (x * self.weight).sum()


def test_of_what_no_weak_reference_is_kept_nothing_is(tmp_path):
    model = Slotted()
    drawing = draw(model, leaf([1.0, 2.0]))
    assert cards(drawing)[-1].value == "11"
    with pytest.raises(RuntimeError, match="is gone"):
        drawing.save(tmp_path / "page.html")
    known_by_picture = viz.Drawing(drawing.picture)
    with pytest.raises(RuntimeError, match=r"knows no graph; write play\(loss\)\.save"):
        known_by_picture.save(tmp_path / "page.html")
    assert not list(tmp_path.iterdir())
