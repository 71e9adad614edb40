"""Training, seen: what the artists show is what was recorded, and looking changes nothing."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import tinygrad_ce as tg
from tinygrad_ce import nn, optim, tensor
from tinygrad_ce.nn import functional as F
from tinygrad_ce.viz import (
    Recorder,
    plot_activations,
    plot_decision_boundary,
    plot_gradients,
    plot_history,
)
from tinygrad_ce.viz.plots import recorder as recorder_module
from tinygrad_ce.viz.plots.recorder import LOOKS, Histogram
from tinygrad_ce.viz.plots.training import ROWS, remarks, smoothed


def points(n=40):
    """Two classes: below and above a parabola."""
    draw = np.random.default_rng(0)
    X = draw.uniform(-1, 1, (n, 2)).astype(np.float32)
    return X, (X[:, 1] > X[:, 0] ** 2).astype(np.int64)


def network(outputs=2):
    tg.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, outputs))


def trained(steps=12, every=5, schedule=False):
    """A recorder, what it should have seen, and the model."""
    X, y = map(tensor, points())
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    recorder = Recorder(model, optimizer, every=every)

    def weights():
        return {n: p.detach().numpy().copy() for n, p in model.named_parameters()}

    seen = {"loss": [], "weights": [weights()], "gradients": [], "lr": []}
    for step in range(steps):
        loss = F.cross_entropy(model(X), y)
        optimizer.zero_grad()
        loss.backward()
        if schedule:
            optimizer.param_groups[0]["lr"] = 0.5 / (step + 1)
        optimizer.step()
        recorder.step(loss=loss)
        seen["loss"].append(loss.item())
        seen["lr"].append(optimizer.param_groups[0]["lr"])
        seen["weights"].append(weights())
        seen["gradients"].append({n: p.grad.numpy().copy() for n, p in model.named_parameters()})
    return recorder, seen, model


def line(ax, label):
    (found,) = (x for x in ax.get_lines() if x.get_label() == label)
    return found


def rows(ax):
    """The filled histograms, from the first to the last."""
    return [patch for patch in ax.patches if patch.get_fill()]


# --- the recorder ---------------------------------------------------------------------------


def test_histograms_are_those_of_numpy_without_zeros_and_what_is_not_finite():
    array = np.array([[0.0, 1.0, -2.0, 0.5], [0.0, np.nan, np.inf, 0.25]], np.float32)
    h = Histogram.of(7, array)
    counts, edges = np.histogram([1.0, -2.0, 0.5, 0.25], 64)
    assert h.step == 7
    np.testing.assert_array_equal(h.counts, counts)
    np.testing.assert_array_equal(h.edges, edges)
    assert (h.zeros, h.broken) == (0.25, 0.25)
    assert h.std == pytest.approx(np.std([0.0, 1.0, -2.0, 0.5, 0.0, 0.25]))


@pytest.mark.parametrize("array", [[], [0.0, 0.0], [3.0, 3.0], [1.0, np.nextafter(1.0, 2.0)]])
def test_histograms_of_hardly_anything(array):
    h = Histogram.of(1, array)
    assert h.counts.sum() == np.count_nonzero(array)
    assert (np.diff(h.edges) > 0).all()


def test_quantiles_of_a_histogram_are_those_of_its_elements_up_to_a_bin():
    array = np.random.default_rng(0).normal(size=5000)
    h = Histogram.of(1, array)
    for q in (0.01, 0.5, 0.99):
        assert h.quantile(q) == pytest.approx(np.quantile(array, q), abs=h.edges[1] - h.edges[0])


def test_parameters_gradients_and_updates_are_looked_at_in_step_1_and_every_few_steps():
    recorder, seen, _ = trained(steps=12, every=5)
    for name, gradients in recorder.gradients.items():
        assert [h.step for h in gradients] == [1, 6, 11]
        assert recorder.updates[name].steps == [1, 6, 11]
        for h, values, ratio in zip(
            gradients, recorder.values[name], recorder.updates[name].values
        ):
            before, after = (seen["weights"][i][name].astype(float) for i in (h.step - 1, h.step))
            gradient = seen["gradients"][h.step - 1][name].astype(float)
            for histogram, array in ((h, gradient), (values, after)):
                counts, edges = np.histogram(array[array != 0], 64)
                np.testing.assert_array_equal(histogram.counts, counts)
                np.testing.assert_array_equal(histogram.edges, edges)
            assert ratio == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before))


def test_a_long_training_needs_no_more_memory(monkeypatch):
    monkeypatch.setattr(recorder_module, "LOOKS", 4)
    recorder, seen, _ = trained(steps=40, every=1)
    for name, histograms in recorder.gradients.items():
        steps = [h.step for h in histograms]
        assert steps == recorder.updates[name].steps == [1, 17, 33]
        before, after = (seen["weights"][i][name].astype(float) for i in (32, 33))
        assert recorder.updates[name].values[-1] == pytest.approx(
            np.linalg.norm(after - before) / np.linalg.norm(before)
        )
    assert len(recorder.series["loss"].values) == 40
    assert LOOKS == 256


def test_many_looks_at_activations_are_thinned_out(monkeypatch):
    monkeypatch.setattr(recorder_module, "LOOKS", 4)
    recorder = Recorder(nn.Tanh())
    for _ in range(8):
        recorder.look(tensor([0.5, 1.0]))
        recorder.step(loss=1.0)
    # The fifth look, at step 4, leaves 0, 2, 4; that of step 6 leaves 0, 4, 6.
    assert [h.step for h in recorder.activations["Tanh"]] == [0, 4, 6, 7]


def test_a_parameter_of_another_shape_has_no_update():
    model = nn.Linear(2, 2)
    recorder = Recorder(model, every=1)
    recorder.step(loss=1.0)
    model.weight = nn.Parameter(tg.ones(3, 2))
    recorder.step(loss=1.0)
    assert recorder.updates["weight"].steps == [1]
    assert recorder.updates["bias"].steps == [1, 2]


def test_layers_that_give_no_tensor_of_floats_are_passed_over():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x * 2

    class Likeliest(nn.Module):
        def forward(self, x):
            return x.argmax(1)

    class Model(nn.Module):
        def __init__(self):
            self.pair, self.act, self.likeliest = Pair(), nn.Tanh(), Likeliest()

        def forward(self, x):
            return self.likeliest(self.act(self.pair(x)[1]))

    recorder = Recorder(Model())
    recorder.look(tensor([[1.0, 2.0]]))
    assert list(recorder.activations) == ["act"]


def test_activations_are_what_each_layer_gives():
    recorder, _, model = trained()
    X = tensor(points()[0])
    recorder.look(X)
    W, b = (p.detach().numpy().astype(float) for p in list(model.parameters())[:2])
    hidden = X.numpy() @ W.T.astype(np.float32) + b.astype(np.float32)
    expected = {"Linear 0": hidden, "ReLU 1": np.maximum(hidden, 0)}
    assert list(recorder.activations) == ["Linear 0", "ReLU 1", "Dropout 2", "Linear 3"]
    for name, array in expected.items():
        (h,) = recorder.activations[name]
        counts, edges = np.histogram(array[array != 0].astype(float), 64)
        np.testing.assert_allclose(h.edges, edges, rtol=1e-6)
        assert h.step == 12
        assert h.counts.sum() == counts.sum()
        assert h.zeros == (array == 0).mean()


def test_a_layer_used_twice_is_one_layer_with_both_outputs():
    class Twice(nn.Module):
        def __init__(self):
            self.act = nn.Tanh()

        def forward(self, x):
            return self.act(self.act(x))

    recorder = Recorder(Twice())
    x = np.array([0.5, -1.0, 2.0])
    recorder.look(tensor(x))
    (h,) = recorder.activations["act"]
    once = np.tanh(x)
    counts, _ = np.histogram(np.concatenate([once, np.tanh(once)]), 64)
    np.testing.assert_array_equal(h.counts, counts)


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("no")


@pytest.mark.parametrize("fails", [False, True])
def test_looking_leaves_nothing_behind(fails):
    recorder, _, model = trained()
    if fails:
        model.append(Failing())
    model[1].eval()  # a mode of its own
    before = [dict(vars(m)) for m in model.modules()]
    grads = [p.grad.numpy().copy() for p in model.parameters()]
    stream = tg.get_rng_state().copy()
    if fails:
        with pytest.raises(RuntimeError, match=r"^no$"):
            recorder.look(tensor(points()[0]))
        assert recorder.activations == {}
    else:
        recorder.look(tensor(points()[0]))
    modes = [m.training for m in model.modules()]
    assert modes == [True, True, False, *[True] * (len(modes) - 3)]
    for m, own in zip(model.modules(), before):
        assert {k: v for k, v in vars(m).items() if k != "training"} == {
            k: v for k, v in own.items() if k != "training"
        }
    for p, g in zip(model.parameters(), grads):
        np.testing.assert_array_equal(p.grad.numpy(), g)
    np.testing.assert_array_equal(tg.get_rng_state(), stream)


def test_a_forward_of_the_users_own_is_put_back():
    model = nn.Sequential(nn.Tanh())
    own = model[0].__dict__["forward"] = lambda x: x * 2
    recorder = Recorder(model)
    recorder.look(tensor([1.0, 3.0]))
    assert vars(model[0])["forward"] is own
    np.testing.assert_allclose(recorder.activations["Tanh 0"][0].edges[[0, -1]], [2, 6])


def test_a_compiled_step_is_recorded_like_an_eager_one():
    def run(compiled):
        model = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2))
        model.load_state_dict(start)
        optimizer = optim.SGD(model.parameters(), lr=0.5)
        recorder = Recorder(model, optimizer, every=2)

        def step(X, y):
            loss = F.cross_entropy(model(X), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        step = tg.compile(step) if compiled else step
        for _ in range(5):
            recorder.step(loss=step(X, y))
            recorder.look(X)
        return recorder

    X, y = map(tensor, points())
    start = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2)).state_dict()
    eager, compiled = run(False), run(True)
    np.testing.assert_allclose(compiled.series["loss"].values, eager.series["loss"].values, 1e-5)
    for name, series in eager.updates.items():
        assert compiled.updates[name].steps == series.steps == [1, 3, 5]
        np.testing.assert_allclose(compiled.updates[name].values, series.values, rtol=1e-4)
        for a, b in zip(compiled.gradients[name], eager.gradients[name]):
            np.testing.assert_allclose(a.edges, b.edges, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("number", [0.5, np.float32(0.5), tensor(0.5), tensor([[0.5]]), [0.5]])
def test_numbers_are_taken_in_any_form(number):
    recorder = Recorder()
    recorder.step(loss=number)
    assert recorder.series["loss"] == ([1], [0.5])
    assert type(recorder.series["loss"].values[0]) is float


@pytest.mark.parametrize(
    "number, kind, message",
    [
        ("0.5", TypeError, "step: loss is a str; wanted a number"),
        (None, TypeError, "step: loss is a NoneType; wanted a number"),
        (tensor([1.0, 2.0]), ValueError, r"shape \(2,\); wanted one number: loss.mean\(\)"),
    ],
)
def test_a_wrong_number_records_nothing(number, kind, message):
    recorder = Recorder()
    with pytest.raises(kind, match=message):
        recorder.step(accuracy=1.0, loss=number)
    assert (recorder.steps, recorder.series) == (0, {})


def test_a_recorder_refuses_what_it_cannot_use():
    with pytest.raises(TypeError, match=r"model is a list; wanted an nn\.Module"):
        Recorder([])
    with pytest.raises(TypeError, match="optimizer is a Sequential"):
        Recorder(network(), network())
    with pytest.raises(ValueError, match="every=0; wanted a whole number"):
        Recorder(every=0)
    with pytest.raises(ValueError, match="this recorder has no model"):
        Recorder().look(tensor([1.0]))
    recorder, w = Recorder(), tensor([1.0], requires_grad=True)

    def step(x):
        loss = (w * x).sum()
        recorder.step(loss=loss)
        return loss

    with pytest.raises(TypeError, match="inside of a traced function"):
        tg.trace(step, tensor([1.0]))


# --- plot_history ---------------------------------------------------------------------------


def test_lines_show_what_was_recorded_at_its_own_steps():
    recorder = Recorder()
    recorder.note(test_loss=9.0)
    for step in range(1, 7):
        recorder.step(loss=1 / step, accuracy=1 - 1 / step)
        if step % 3 == 0:
            recorder.note(test_loss=2 / step)
    loss, accuracy = plot_history(recorder, units={"loss": "nats"})
    np.testing.assert_allclose(line(loss, "loss").get_xdata(), [1, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(line(loss, "loss").get_ydata(), 1 / np.arange(1, 7))
    np.testing.assert_array_equal(line(loss, "test loss").get_xdata(), [0, 3, 6])
    np.testing.assert_array_equal(line(loss, "test loss").get_ydata(), [9, 2 / 3, 1 / 3])
    np.testing.assert_allclose(line(accuracy, "accuracy").get_ydata(), 1 - 1 / np.arange(1, 7))
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss (nats)", "accuracy")
    assert loss.get_xlabel() == "step (updates made)"
    assert accuracy.yaxis.get_major_formatter()(0.5, 0) in ("50%", "50.0%")
    assert line(loss, "loss").get_color() == line(accuracy, "accuracy").get_color()
    assert [t.get_text() for t in loss.get_legend().get_texts()] == ["test loss", "loss"]
    assert accuracy.get_legend() is None


def fitted_line(values, i, width):
    """The smoothed value at i by NumPy's least squares."""
    j = np.flatnonzero(np.isfinite(values))
    j = j[np.abs(i - j) <= np.ceil(3 * width)]
    weights = np.exp(-0.25 * ((i - j) / width) ** 2)  # polyfit squares them
    return np.polyval(np.polyfit(j, values[j], 1, w=weights), i)


def test_long_series_are_drawn_thin_as_recorded_and_bold_smoothed():
    recorder = Recorder()
    numbers = np.random.default_rng(0).normal(size=200) + np.linspace(3, 0, 200)
    numbers[17] = np.nan
    for number in numbers:
        recorder.step(loss=number)
    thin, bold = plot_history(recorder).get_lines()
    np.testing.assert_array_equal(thin.get_ydata(), numbers)
    assert thin.get_linewidth() < bold.get_linewidth()
    for i in (0, 1, 16, 100, 199):
        assert bold.get_ydata()[i] == pytest.approx(fitted_line(numbers, i, 4.0), abs=1e-9)
    assert np.isnan(bold.get_ydata()[17])
    (only,) = plot_history(recorder, smooth=0).get_lines()
    np.testing.assert_array_equal(only.get_ydata(), numbers)


def test_a_smoothed_line_is_the_line():
    np.testing.assert_allclose(smoothed(np.linspace(2, -1, 50), 3.0), np.linspace(2, -1, 50))
    np.testing.assert_array_equal(
        smoothed(np.array([np.nan, 5.0, np.nan]), 1.0), [np.nan, 5, np.nan]
    )


def test_the_learning_rate_has_an_axis_of_its_own_only_if_it_changes():
    recorder, _, _ = trained()
    ax = plot_history(recorder)
    assert ax.figure.axes == [ax]
    recorder, seen, _ = trained(schedule=True)
    ax = plot_history(recorder)
    _, right = ax.figure.axes
    (rate,) = right.get_lines()
    np.testing.assert_array_equal(rate.get_xdata(), range(1, 13))
    np.testing.assert_array_equal(rate.get_ydata(), seen["lr"])
    assert right.get_ylabel() == "learning rate (dashed)" and rate.get_linestyle() == "--"
    assert {label.get_fontsize() for label in right.get_yticklabels()} == {9}
    np.testing.assert_array_equal(line(ax, "loss").get_ydata(), seen["loss"])


def test_each_group_of_an_optimiser_has_a_learning_rate_of_its_own():
    model = network()
    groups = [{"params": [p], "lr": 0.1 * (i + 1)} for i, p in enumerate(model.parameters())]
    recorder = Recorder(None, optim.SGD(groups[:3]))
    recorder.step(loss=1.0)
    assert {name: s.values for name, s in recorder.series.items()} == {
        "loss": [1.0], "learning rate": [0.1], "learning rate 1": [0.2],
        "learning rate 2": [pytest.approx(0.3)],
    }  # fmt: skip


# --- histograms -----------------------------------------------------------------------------


def test_rows_are_the_recorded_histograms_scaled_to_their_highest_bins():
    recorder, _, _ = trained(steps=1)
    for step in range(20):
        recorder.look(tensor(points()[0]))
        recorder.step(loss=step)
    ax = plot_activations(recorder, names=["Linear 0"])
    histograms = recorder.activations["Linear 0"]
    shown = rows(ax)
    assert len(histograms) == 20
    assert len(shown) == ROWS
    steps = [int(label.get_text()) for label in ax.get_yticklabels()]
    assert (steps[0], steps[-1]) == (1, 20)
    for row, (patch, step) in enumerate(zip(shown, steps)):
        (h,) = (h for h in histograms if h.step == step)
        heights, edges, base = patch.get_data()
        np.testing.assert_array_equal(edges, h.edges)
        assert base == -row
        np.testing.assert_allclose((heights - base) / 1.8 * h.counts.max(), h.counts, atol=1e-9)
    low, high = ax.get_xlim()
    drawn = [h for h in histograms if h.step in steps]
    least, most = min(h.quantile(0.01) for h in drawn), max(h.quantile(0.99) for h in drawn)
    assert low < least < 0 < most < high
    np.testing.assert_allclose([least - low, high - most], 0.03 * (most - least))


def test_gradients_and_updates_stand_against_depth_in_powers_of_ten():
    recorder, seen, _ = trained(steps=21, every=5)  # looks at 1, 6, 11, 16, 21
    names = ["3.weight", "0.weight", "0.bias"]
    above, below = plot_gradients(recorder, names=names)
    for step in (1, 11, 21):
        before, after = seen["weights"][step - 1], seen["weights"][step]
        norms = [np.sqrt((seen["gradients"][step - 1][n].astype(float) ** 2).sum()) for n in names]
        moved = [np.linalg.norm(after[n].astype(float) - before[n]) for n in names]
        ratios = [m / np.linalg.norm(before[n].astype(float)) for m, n in zip(moved, names)]
        for ax, values in ((above, norms), (below, ratios)):
            np.testing.assert_array_equal(line(ax, f"step {step}").get_xdata(), [0, 1, 2])
            np.testing.assert_allclose(line(ax, f"step {step}").get_ydata(), values, rtol=1e-6)
    labels = below.get_xticklabels()
    assert [label.get_text() for label in labels] == names
    for ax in (above, below):
        assert ax.get_yscale() == "log"
        assert ax.get_xlim() == (-0.5, 2.5)
        for dots in ax.collections:  # of the colour of the name below them
            for dot, label in zip(dots.get_facecolor(), labels):
                np.testing.assert_allclose(dot[:3], to_rgb(label.get_color()))
    assert [t.get_text() for t in above.get_legend().get_texts()] == [
        "step 1",
        "step 11",
        "step 21",
    ]
    strengths = [line(above, f"step {s}").get_alpha() for s in (1, 11, 21)]
    assert strengths == sorted(set(strengths))
    (band,) = below.patches
    low, high = band.get_y(), band.get_y() + band.get_height()
    np.testing.assert_allclose(np.log10([low, high]), [-3.5, -2.5])
    for axes, named in (((above, below), [False, True]), (Figure().subplots(1, 2), [True, True])):
        ticks = [ax.xaxis.get_major_ticks() for ax in plot_gradients(recorder, axes)]
        assert [all(t.label1.get_visible() for t in row) for row in ticks] == named
    shown = [label.get_text() for label in plot_gradients(recorder)[1].get_xticklabels()]
    assert shown == ["0.weight", "3.weight"]


def test_weights_that_never_moved_have_one_plot_that_says_so():
    model = nn.Linear(2, 2)
    recorder = Recorder(model)
    model(tensor([[3.0, 4.0]])).sum().backward()
    recorder.step(loss=1.0)
    ax = plot_gradients(recorder)
    np.testing.assert_allclose(line(ax, "step 1").get_ydata(), [np.sqrt(50)], rtol=1e-6)
    assert ax.get_title().strip() == "No update was seen: the weights did not move."
    assert plot_gradients(recorder, Figure().subplots()).get_title() == ax.get_title()


def test_gradients_of_0_or_nan_have_no_point():
    model = nn.Sequential(*[nn.Linear(1, 1, bias=False) for _ in range(9)])
    recorder = Recorder(model)
    for i, p in enumerate(model.parameters()):
        p.grad = tensor([[{0: 0.0, 1: np.nan, 2: np.inf}.get(i, float(i))]])
    recorder.step(loss=1.0)
    ax = plot_gradients(recorder)
    gap = np.nan
    np.testing.assert_array_equal(line(ax, "step 1").get_ydata(), [gap] * 3 + [3, 4, 5, 6, 7, 8])
    assert len({tuple(label.get_color()) for label in ax.get_xticklabels()}) == 9
    with pytest.raises(ValueError, match=r"gradients of \['0.weight', '1.weight'\] are 0 or not"):
        plot_gradients(recorder, names=["0.weight", "1.weight"])


def test_activations_have_an_axes_for_each_layer_and_tell_zeros_and_spread():
    recorder, _, _ = trained()
    recorder.look(tensor(points()[0]))
    axes = plot_activations(recorder)
    assert [ax.get_title(loc="left").strip() for ax in axes] == list(recorder.activations)
    (h,) = recorder.activations["ReLU 1"]
    heights, edges, base = rows(axes[1])[0].get_data()
    np.testing.assert_allclose((heights - base) / 1.8 * h.counts.max(), h.counts, atol=1e-9)
    np.testing.assert_array_equal(edges, h.edges)
    assert h.zeros > 0
    assert axes[1].texts[0].get_text() == f"σ {h.std:.2g}   zeros {h.zeros:.0%}"
    assert "zeros" not in axes[0].texts[0].get_text()


def test_layers_that_give_only_zeros_are_drawn():
    recorder = Recorder(nn.ReLU())
    recorder.look(tensor([-1.0, -2.0]))
    ax = plot_activations(recorder)
    heights, _, base = rows(ax)[0].get_data()
    assert (heights == base).all()
    assert ax.texts[0].get_text() == "σ 0   zeros 100%"


# --- plot_decision_boundary -----------------------------------------------------------------


def plane(logits):
    """A model whose logits are a known function of the coordinates."""
    return lambda x: logits(x[:, 0], x[:, 1])


def fills(ax):
    """The filled contours, and the line if there is one."""
    from matplotlib.contour import QuadContourSet

    sets = [c for c in ax.collections if isinstance(c, QuadContourSet)]
    return [c for c in sets if c.filled], [c for c in sets if not c.filled]


@pytest.mark.parametrize("shape", ["(N,)", "(N, 1)", "(N, 2)"])
def test_two_classes_are_contours_of_the_second_ones_probability(shape):
    def logits(a, b):
        z = 2 * a - b
        stacked = tg.stack([0 * z, z], 1)
        return {"(N,)": z, "(N, 1)": stacked[:, 1:], "(N, 2)": stacked}[shape]

    X, y = points()
    ax = plot_decision_boundary(plane(logits), X, y, resolution=21)
    ((filled,), (edge,)) = fills(ax)
    np.testing.assert_allclose(filled.levels, np.linspace(0, 1, 11))
    np.testing.assert_array_equal(edge.levels, [0.5])
    path = np.concatenate([p.vertices for p in edge.get_paths()])
    np.testing.assert_allclose(path[:, 1], 2 * path[:, 0], atol=0.02)
    (low, high), (low2, high2) = ax.get_xlim(), ax.get_ylim()
    a, b = np.meshgrid(np.linspace(low, high, 21), np.linspace(low2, high2, 21))
    p = 1 / (1 + np.exp(b - 2 * a))
    np.testing.assert_allclose([filled.zmin, filled.zmax], [p.min(), p.max()], rtol=1e-5)
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "p(class 1)"


def test_points_are_shown_by_class():
    X, y = points()
    ax = plot_decision_boundary(network(), X, y, classes=["below", "above"], labels=("a", "b"))
    found = {c.get_label(): c for c in ax.collections if c.get_label() in ("below", "above")}
    for c, name in enumerate(["below", "above"]):
        np.testing.assert_allclose(found[name].get_offsets(), X[y == c], rtol=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["below", "above"]


def test_more_classes_are_coloured_by_the_likeliest():
    def logits(a, b):
        return tg.stack([a, b, -a - b], 1) * 9

    X, y = points()
    ax = plot_decision_boundary(plane(logits), X, y, resolution=40)
    (image,) = ax.images
    colours = {
        c.get_label(): c.get_facecolor()[0, :3] for c in ax.collections if len(c.get_offsets()) > 1
    }
    for (a, b), name in (((0.9, 0.0), "class 0"), ((0.0, 0.9), "class 1")):
        left, right, bottom, top = image.get_extent()
        column = int((a - left) / (right - left) * 40)
        row = int((b - bottom) / (top - bottom) * 40)
        tint = 1 - image.get_array()[row, column]
        full = 1 - colours[name]
        np.testing.assert_allclose(tint / tint.max(), full / full.max(), atol=1e-6)
    assert len(fills(ax)[1]) == 3


def test_a_model_that_is_sure_everywhere_has_no_line():
    X, y = points()
    ax = plot_decision_boundary(plane(lambda a, b: a * 0 + 5), X, y)
    assert fills(ax)[1] == []


def test_the_boundary_leaves_modes_gradients_and_random_numbers_alone():
    _, _, model = trained()
    model[1].eval()
    grads = [p.grad.numpy().copy() for p in model.parameters()]
    state = copy.deepcopy(model.state_dict())
    stream = tg.get_rng_state().copy()
    recorded = []

    def forward(x):
        recorded.append((model.training, tg.is_grad_enabled()))
        return nn.Sequential.forward(model, x)

    model.__dict__["forward"] = forward
    plot_decision_boundary(model, *points(), resolution=5)
    assert recorded == [(False, False)]
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert tg.is_grad_enabled()
    for p, g in zip(model.parameters(), grads):
        np.testing.assert_array_equal(p.grad.numpy(), g)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[name].numpy())
    np.testing.assert_array_equal(tg.get_rng_state(), stream)
    model.__dict__["forward"] = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        plot_decision_boundary(model, *points())
    assert [m.training for m in model.modules()] == [True, True, False, True, True]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"X": np.zeros((4, 3))}, r"X has shape \(4, 3\); wanted \(N, 2\)"),
        ({"X": np.zeros(4)}, r"X has shape \(4,\); wanted \(N, 2\)"),
        ({"X": np.zeros((0, 2)), "y": np.zeros(0)}, r"X has shape \(0, 2\)"),
        ({"X": np.array([[np.nan, 1.0]] * 4)}, "not finite"),
        ({"y": np.zeros((4, 1))}, r"y has shape \(4, 1\); wanted \(4,\): y.squeeze\(1\)"),
        ({"y": np.zeros(5)}, r"y has shape \(5,\); wanted \(4,\)$"),
        ({"y": np.array([0, 1, 2, 0])}, "labels go from 0 to 2; the model knows 2 classes, 0 to 1"),
        ({"y": np.array([0, -1, 1, 0])}, "labels go from -1 to 1"),
        ({"y": np.array([0, 0.5, 1, 0])}, "no class ids"),
        ({"classes": ["a"]}, "1 names in classes; the model knows 2"),
        ({"resolution": 1}, "resolution=1"),
        ({"model": nn.Flatten(0)}, r"the model gave \(80000,\); wanted logits"),
    ],
)
def test_what_does_not_fit_is_said(change, message):
    plot_decision_boundary(network(), np.eye(2), np.array([0, 1]), resolution=2)  # the least
    given = {"model": network(), "X": np.zeros((4, 2)), "y": np.array([0, 1, 0, 1]), **change}
    with pytest.raises(ValueError, match=message):
        plot_decision_boundary(**given)


def test_whole_numbers_are_points_too():
    seen = []

    class Watched(nn.Module):
        def forward(self, x):
            seen.append((x.dtype, x.numpy().min(0)))
            return x

    X, y = np.array([[0, 0], [10, 20]]), np.array([0, 1])
    ax = plot_decision_boundary(Watched(), X, y, resolution=2)
    assert seen[0][0] == np.float32
    np.testing.assert_allclose(seen[0][1], [-1.0, -2.0], rtol=1e-6)
    shown = [p.get_offsets()[0] for p in ax.collections if isinstance(p, PathCollection)]
    np.testing.assert_array_equal(shown, X)


def test_a_model_that_gives_no_tensor_is_refused():
    with pytest.raises(TypeError, match="the model gave a tuple; wanted a Tensor"):
        plot_decision_boundary(lambda x: (x, x), np.eye(2), np.array([0, 1]))


def test_numbers_that_are_not_finite_are_told():
    histogram = Histogram.of(0, np.array([1.0, 1.0, 1.0, 1.0]))
    broken = Histogram.of(1, np.array([0.0, np.nan, -np.inf, 1.0]))
    assert remarks([histogram, histogram]) == "σ 0"
    assert "nan or inf 0% → 50%" in remarks([histogram, broken])
    assert "nan or inf 50% → 0%" in remarks([broken, histogram])


# --- how they look ---------------------------------------------------------------------------


def test_shares_are_percent_from_0_to_1():
    for values, text in (([0.0, 1.0], "100%"), ([0.5, 1.5], "1.5")):
        recorder = Recorder()
        for accuracy in values:
            recorder.step(accuracy=accuracy)
        (ax,) = np.atleast_1d(plot_history(recorder)).ravel()
        axis = ax.yaxis
        assert axis.get_major_formatter().format_ticks([values[1]])[0].rstrip("0") in (text, "1.5")


def test_lines_of_the_grid_and_room_are_where_rows_are():
    recorder = full_recorder()
    ax = plot_activations(recorder)[0]
    assert [any(line.get_visible() for line in axis.get_gridlines())
            for axis in (ax.xaxis, ax.yaxis)] == [True, False]  # fmt: skip
    rows = len(ax.get_yticks())
    assert ax.get_ylim()[0] == pytest.approx(0.8 - rows)
    history = plot_history(recorder)[0]
    assert [any(line.get_visible() for line in axis.get_gridlines())
            for axis in (history.xaxis, history.yaxis)] == [False, True]  # fmt: skip


# --- all of them ----------------------------------------------------------------------------


def full_recorder():
    recorder, _, _ = trained()
    recorder.look(tensor(points()[0]))
    recorder.note(accuracy=0.5)
    return recorder


PLOTS = {
    "plot_history": (plot_history, 2),
    "plot_activations": (plot_activations, 4),
    "plot_gradients": (plot_gradients, 2),
}


@pytest.mark.parametrize("name", PLOTS)
def test_plots_are_made_on_the_axes_that_are_given(name):
    plot, count = PLOTS[name]
    recorder, figure = full_recorder(), Figure()
    given = figure.subplots(1, count)
    drawn = plot(recorder, ax=given)
    assert list(drawn) == list(given)
    assert all(ax.has_data() for ax in drawn)
    with pytest.raises(ValueError, match=rf"{name}: ax has 1 Axes for {count} plots"):
        plot(recorder, ax=given[0])
    with pytest.raises(TypeError, match=rf"{name}: ax is a str"):
        plot(recorder, ax=["here"] * count)


def test_one_plot_gives_the_axes_itself():
    recorder, ax = full_recorder(), Figure().subplots()
    assert plot_history(recorder, ax=ax, names="loss") is ax
    assert isinstance(plot_activations(recorder, names=["ReLU 1"]), Axes)
    ax = Figure().subplots()
    assert plot_decision_boundary(network(), *points(), ax=ax, resolution=5) is ax


@pytest.mark.parametrize("name", PLOTS)
def test_names_that_are_not_there_and_what_is_no_recorder_are_refused(name):
    plot, _ = PLOTS[name]
    recorder = full_recorder()
    with pytest.raises(ValueError, match=rf"{name}: no \w+ is called 'fc9'; there are \["):
        plot(recorder, names=["fc9"])
    with pytest.raises(ValueError, match=f"{name}: names is empty"):
        plot(recorder, names=[])
    with pytest.raises(TypeError, match=f"{name}: got a dict; wanted a Recorder"):
        plot({})


@pytest.mark.parametrize(
    "plot, message",
    [
        (plot_history, r"nothing was recorded; call recorder.step\(loss=loss\)"),
        (plot_activations, r"call recorder.look\(x\)"),
        (plot_gradients, r"after loss.backward\(\) and before zero_grad\(\)"),
    ],
)
def test_an_empty_recorder_says_what_to_call(plot, message):
    with pytest.raises(ValueError, match=message):
        plot(Recorder(network()))


def test_matplotlib_keeps_its_settings_and_no_figure_is_opened():
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    backend = mpl.get_backend()  # settles it, where nobody has
    recorder, settings = full_recorder(), mpl.rcParams.copy()
    for plot, _ in PLOTS.values():
        plot(recorder)[0].figure.canvas.draw()
    plot_decision_boundary(network(), *points(), resolution=5).figure.canvas.draw()
    assert mpl.rcParams == settings
    assert mpl.get_backend() == backend
    assert plt.get_fignums() == []


def test_a_notebook_shows_a_plot_once_below_its_cell(monkeypatch):
    from jupyter_client.manager import start_new_kernel

    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    manager, client = start_new_kernel(kernel_name="python3")
    shown = []
    try:
        code = (
            "import tinygrad_ce as tg; from tinygrad_ce.viz import Recorder, plot_history\n"
            "recorder = Recorder(tg.nn.Linear(2, 1)); recorder.step(loss=1.0)\n"
            "axes = plot_history(recorder)"
        )
        reply = client.execute_interactive(code, timeout=60, output_hook=shown.append)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    assert reply["content"]["status"] == "ok", reply
    pictures = [message["content"]["data"] for message in shown if "data" in message["content"]]
    assert [sorted(data) for data in pictures] == [["image/png", "text/plain"]]


@pytest.mark.parametrize("name", [*PLOTS, "plot_decision_boundary"])
def test_without_matplotlib_one_line_says_what_to_install(name, monkeypatch):
    recorder = full_recorder()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = rf'^{name}: matplotlib is missing; pip install "tinygrad_ce\[plots\]"$'
    with pytest.raises(ImportError, match=message):
        if name in PLOTS:
            PLOTS[name][0](recorder)
        else:
            plot_decision_boundary(network(), *points())


def test_matplotlib_is_imported_only_to_plot():
    code = (
        "import sys\n"
        "from tinygrad_ce import viz\n"
        "print([m for m in sys.modules if m.endswith('viz.recorder')])\n"
        "viz.Recorder().step(loss=1.0), viz.plot_history, viz.plot_decision_boundary\n"
        "print('matplotlib' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(tg.__file__).parent.parent,
    )  # fmt: skip
    assert result.stdout.split() == ["[]", "False"]
