"""Listings: the text computes what the program computes, and reads as a person would write it."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.listing_cases import (
    CASES,
    GOLDEN,
    bias_before_batch_norm,
    convolution,
    dropout_batch_norm_adam,
    exchange,
    gradient_that_grows,
    numbers,
    parameter,
    predict,
    recurrent,
    scalars,
    sigmoid_network,
    softmax_regression,
    transformer,
    two_layer_network,
    two_moons,
    written_by_hand,
)
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program.listing import formulas, listing
from tinygrad_ce.program.listing.formulas import FORMULAS
from tinygrad_ce.program.listing.listing import (
    ListingError,
    difference,
    gradients_of,
    oracle,
    shown_program,
)
from tinygrad_ce.program.listing.names import identifier, state_name
from tinygrad_ce.program.passes.exact import simplified

DATA = Path(__file__).parent / "data"
LEVELS = ["formula", "primitive"]
UPDATED = [softmax_regression, two_layer_network, two_moons, written_by_hand]
NOISY = [bias_before_batch_norm, transformer]  # with gradients that are 0 but for rounding
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)


def function_of(text):
    names = {}
    exec(text, names)
    return next(v for k, v in names.items() if callable(v) and k != "np")


def parameters_of(text):
    return re.search(r"def \w+\((.*?)\):", text, re.DOTALL).group(1).replace(",", " ").split()


# --- the text computes what the program computes ----------------------------------------------


@by_name
@pytest.mark.parametrize("level", LEVELS)
def test_the_text_is_checked_and_needs_numpy_only(case, level):
    text = tg.trace(*case()).source(level)
    assert set(re.findall(r"^import (.*)$", text, re.MULTILINE)) <= {"numpy as np", "math"}
    assert "tinygrad" not in text and max(map(len, text.split("\n"))) <= 110
    compile(text, "text", "exec")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", UPDATED, ids=lambda case: case.__name__)
def test_the_text_on_arrays_is_the_step_of_eager_code(case, level):
    step, x, y = case()
    program = tg.trace(step, x, y)
    text = program.source(level)
    arrays = [np.array(state.node.array) for state in program.states]
    names = parameters_of(text)
    lr = [setting.group["lr"] for setting in program.settings]
    run = function_of(text)
    for _ in range(3):
        loss = step(x, y)
        found = run(*[np.array(x.numpy()), np.array(y.numpy()), *arrays, *lr][: len(names)])
        tolerance = 1e-12 if loss.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(found, loss.item(), rtol=tolerance * 10)
        for state, array in zip(program.states, arrays):
            assert difference(state.node.array, array) <= tolerance * 10


def test_dropout_takes_its_draw_as_an_argument_and_leaves_the_generator_alone():
    step, x, y = dropout_batch_norm_adam()
    program = tg.trace(step, x, y)
    before = tg.get_rng_state().copy()
    text = program.source()
    np.testing.assert_array_equal(tg.get_rng_state(), before)
    assert parameters_of(text)[-1] == "keep" and "1 with probability 0.5" in text


def test_the_text_runs_in_an_interpreter_that_knows_numpy_only(tmp_path):
    path = tmp_path / "text.py"
    text = tg.trace(*two_layer_network()).source()
    path.write_text(text + "\nimport sys\nassert not any('grad' in m for m in sys.modules)\n")
    subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path[:0] = {sys.path!r}\n" + path.read_text(),
        ],
        check=True,
    )


@by_name
def test_the_backward_pass_alone_gives_the_gradients(case):
    program = tg.trace(*case())
    if not gradients_of(program):
        with pytest.raises(ValueError, match="backward"):
            program.backward_source()
        return
    for level in LEVELS:
        text = program.backward_source(level)
        assert text.split("\n")[3 if "import math" not in text else 4].startswith("def backward(")


# --- what is wrong is not handed out ----------------------------------------------------------


def wrong_by(change):
    def wrong(program):
        return program.with_steps(change(step) for step in program.steps)

    return wrong


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s._replace(op="subtract") if s.op == "add" else s,
        lambda s: s._replace(op="log1p") if s.op == "log" else s,
        lambda s: s._replace(op="exp") if s.op == "negative" else s,
    ],
    ids=["sign", "function", "loss"],
)
def test_a_wrong_pass_is_found(change, monkeypatch):
    program = tg.trace(*softmax_regression())
    monkeypatch.setattr(listing, "FORMULAS", (*FORMULAS, wrong_by(change)))
    with pytest.raises(ListingError, match="differs from the program"):
        program.source()


def test_an_error_of_one_part_in_ten_thousand_is_found(monkeypatch):
    program = tg.trace(*two_layer_network())

    def slightly(shown):
        for x, value in shown.constants.items():
            if np.ndim(value) == 0 and float(value) == 32.0:
                shown.constants[x] = np.asarray(32.003, np.asarray(value).dtype)
        return shown

    monkeypatch.setattr(listing, "FORMULAS", (*FORMULAS, slightly))
    with pytest.raises(ListingError, match="differs"):
        program.source()


def test_a_level_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'formula' or 'primitive'"):
        tg.trace(*scalars()).source("exact")


def test_noise_that_an_optimiser_amplifies_is_told_from_an_error(monkeypatch):
    step, x, y = bias_before_batch_norm()
    program = tg.trace(step, x, y)
    assert "b0" in program.source()
    change = wrong_by(lambda s: s._replace(op="log1p") if s.op == "log" else s)
    monkeypatch.setattr(listing, "FORMULAS", (*FORMULAS, change))
    with pytest.raises(ListingError):
        program.source()


def test_a_network_that_is_sure_of_its_classes_has_a_text(monkeypatch):
    """Of log(1 + 1e-6) a float32 has one digit, and which one the order of addition decides."""
    x, y = np.eye(4, dtype=np.float32) + 0.01, np.arange(4)
    for size in (8, 10, 12, 15):
        w = parameter(4, 4)
        w.data += size * tg.eye(4)

        def step(x, y):
            loss = F.cross_entropy(x @ w, y)  # noqa: B023
            loss.backward()
            return loss

        program = tg.trace(step, tg.tensor(x), tg.tensor(y))
        assert "dz = (p - onehot) / 4" in program.source()
        assert "dz = (p - onehot) / 4" in program.backward_source()
    change = wrong_by(lambda s: s._replace(op="log1p") if s.op == "log" else s)
    monkeypatch.setattr(listing, "FORMULAS", (*FORMULAS, change))
    with pytest.raises(ListingError):
        program.source()


def subtracted_and_written():
    b = numbers(2, 3, dtype=np.float64).T

    def step(x):
        b.sub_(3)
        b[..., tg.tensor([[1], [0]])] = 3

    return step, numbers(1)


def float32_on_the_way_to_float64():
    w = parameter(3, 4, dtype=np.float64)

    def step(x):
        w.grad = None
        (w.tanh().sum() + w.float().max(0).values.std(-1).tanh()).backward()

    return step, numbers(1)


@pytest.mark.parametrize("case", [subtracted_and_written, float32_on_the_way_to_float64])
@pytest.mark.parametrize("level", LEVELS)
def test_a_right_program_is_listed(case, level):
    step, x = case()
    program = tg.trace(step, x)
    text = program.source(level)
    held = dict(zip((n for n in parameters_of(text) if n != "x"), program.states))
    arrays = {name: state.node.detach().numpy().copy() for name, state in held.items()}
    found = function_of(text)(**{n: arrays.get(n, x.numpy()) for n in parameters_of(text)})
    step(x)
    for name, state in held.items():
        np.testing.assert_array_equal(arrays[name], state.node.detach().numpy())
        if state.node.grad is not None:
            np.testing.assert_allclose(found, state.node.grad.numpy(), rtol=1e-5)


# --- each pass alone --------------------------------------------------------------------------


@by_name
@pytest.mark.parametrize("change", list(dict.fromkeys(FORMULAS)), ids=lambda f: f.__name__)
def test_a_formula_keeps_every_value_but_for_rounding(change, case):
    program = tg.trace(*case())
    start = simplified(program)
    for earlier in FORMULAS[: FORMULAS.index(change)]:
        start = earlier(start)
    exact, found = oracle(program, program.example), oracle(change(start), program.example)
    for a, b in zip(program.roots(), change(start).roots()):
        x = np.asarray(exact[a])
        tolerance = 1e-12 if x.dtype == np.float64 else 1e-5
        if case in NOISY and difference(x, found[b]) > tolerance:
            assert listing.within_noise(program, a, found[b])
            continue
        assert difference(x, found[b]) <= tolerance


def ops(program):
    return [step.op for step in program.steps]


def gradient_of(f, *shape):
    """The program for the gradient of f at a parameter."""
    x = tg.ones(*shape, requires_grad=True)

    def step():
        f(x).backward()
        return x.grad

    return tg.trace(step)


def test_softmax_minus_onehot_is_recognised():
    program = shown_program(tg.trace(*softmax_regression()), "formula")
    dlogits = next(s for s in program.steps if s.out.name == "dlogits")
    makers = program.makers()
    assert dlogits.op == "divide"
    minus = makers[dlogits.operands[0]]
    assert minus.op == "subtract"
    assert [makers[x].op for x in minus.operands] == ["divide", "equal"]
    assert not {"scatter", "broadcast_to"} & set(ops(program))


def test_onehot_is_only_for_classes_that_are_checked():
    classes = tg.tensor([0, -1, 2, 0])
    program = gradient_of(lambda x: (x * 2.0)[tg.arange(4), classes].sum(), 4, 3)
    assert "onehot" not in program.source()
    before = formulas.with_numbers_for_uniform_arrays(simplified(program))
    assert "scatter" in ops(before) and ops(formulas.with_onehot(before)) == ops(before)


def test_scalar_factors_meet():
    program = gradient_of(lambda x: ((x.exp() * 3.0) * 2.0).mean(), 4, 5)
    before = formulas.with_numbers_for_uniform_arrays(simplified(program))
    after = formulas.with_factors_outside(before)
    assert ops(after).count("multiply") <= ops(before).count("multiply")
    assert "0.3 * np.exp(x)" in program.source()


def test_the_gradient_of_a_square_is_two_x_over_n():
    text = gradient_of(lambda x: (x * x).mean(), 8).source()
    assert re.search(r"/ 4", text) and "+ " not in text


@pytest.mark.parametrize("factor", [1e-310, -1e-310, 1e307, 0.0, -0.0])
def test_factors_at_the_ends_of_the_range_are_listed(factor):
    w = tg.ones(3, dtype=np.float64, requires_grad=True)

    def step():
        w.grad = None
        (w * w * factor).sum().backward()
        return w.grad

    found = function_of(tg.trace(step).source())(np.ones(3))
    np.testing.assert_allclose(found, np.full(3, 2 * factor), rtol=1e-12)


def test_relu_and_its_slope_are_recognised():
    text = gradient_of(lambda x: F.relu(x * x).sum(), 2).source()
    assert "np.where" not in text and "> 0" in text


def test_sigmoid_and_its_slope_are_recognised():
    text = tg.trace(*sigmoid_network()).source()
    assert "h = np.where(z >= 0, 1, e) / (1 + e)" in text
    assert "dz = dh * h * (1 - h)" in text


def test_binary_cross_entropy_reads_p_minus_y():
    text = tg.trace(*two_moons()).source()
    assert "p = np.where(logits >= 0, 1, e) / (1 + e)" in text
    assert "dlogits = (p - y) / 20" in text


# --- it reads as a person would write it ------------------------------------------------------


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.__name__)
def test_golden_listing(case):
    assert golden(case) == (DATA / f"listing_{case.__name__}.txt").read_text(encoding="utf-8")


def golden(case):
    program = tg.trace(*case())
    return program.source() + "\n\n" + program.backward_source().partition("\n\n\n")[2]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.__name__)
def test_the_documentation_shows_what_is_printed(case):
    page = (DATA.parent.parent / "docs" / "programs.md").read_text(encoding="utf-8")
    assert tg.trace(*case()).source().partition("\n\n\n")[2].rstrip() in page
    if case is two_layer_network:
        assert tg.trace(*case()).table().rstrip() in page


def test_state_that_changes_places_is_copied_in_time():
    text = tg.trace(*exchange()).source()
    assert "old_A = A.copy()" in text or ".copy()" in text


@pytest.mark.parametrize("level", LEVELS)
def test_state_is_read_before_it_is_written(level):
    A = tg.tensor([1.0, 2.0])

    def f(x):
        old = A.clone()
        A.copy_(x * 3.0)
        return (old * x).sum()

    text = tg.trace(f, tg.tensor([5.0, 7.0])).source(level)
    array = np.array([1.0, 2.0], np.float32)
    assert function_of(text)(np.array([5.0, 7.0], np.float32), array) == 19.0
    np.testing.assert_array_equal(array, [15.0, 21.0])


@pytest.mark.parametrize("level", LEVELS)
def test_a_new_state_called_as_something_of_numpy_hides_nothing(level):
    A, B, C = (tg.ones(2, 2) for _ in range(3))
    w = tg.zeros(3, requires_grad=True)

    def f(x, i):
        add = A * 2.0
        A.copy_(add)
        T = B * 3.0
        B.copy_(T)
        axis = C * 5.0
        C.copy_(axis)
        w.grad = None
        (w[i] * add[0] * x).sum().backward()
        return T.T + axis.sum(axis=0)

    program = tg.trace(f, tg.tensor(7.0), tg.tensor([1, 1]))
    arrays = [np.ones((2, 2), np.float32) for _ in range(3)]
    text = program.source(level)
    given = {"x": np.float32(7.0), "i": np.array([1, 1]), "w": np.zeros(3, np.float32)}
    given.update(zip("ABC", arrays))
    found, gradient = function_of(text)(*map(given.get, parameters_of(text)))
    np.testing.assert_array_equal(found, np.full((2, 2), 13.0))
    np.testing.assert_array_equal(gradient, [0.0, 28.0, 0.0])
    np.testing.assert_array_equal([a[0, 0] for a in arrays], [2.0, 3.0, 5.0])


@pytest.mark.parametrize("level", LEVELS)
def test_a_constant_keeps_its_precision_where_it_meets_another_dtype(level):
    tenth = np.float32(0.1)
    text = tg.trace(lambda x: x * tg.tensor(tenth), tg.tensor(np.arange(4.0))).source(level)
    found = function_of(text)(np.arange(4.0))
    np.testing.assert_array_equal(found, np.arange(4.0) * np.array(tenth))


def test_values_without_a_backward_pass():
    text = tg.trace(*predict()).source()
    assert text.rstrip().endswith(".argmax(axis=1)") and "backward" not in text


def test_constants_are_short():
    text = tg.trace(lambda x: x * 0.1 + 1.0, tg.ones(2)).source()
    assert "0.1 * x" in text and "0.10" not in text


def test_the_same_program_gives_the_same_text():
    assert tg.trace(*convolution()).source() == tg.trace(*convolution()).source()
    program = tg.trace(*convolution())
    assert program.source() == program.source()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("0_weight", "W0"),
        ("0_bias", "b0"),
        ("fc1_weight", "fc1_weight"),
        ("0_weight_exp_avg", "m_W0"),
        ("1_weight", "gamma1"),
        ("1_running_mean", "running_mean1"),
        ("body_2_weight", "body_W2"),
    ],
)
def test_names_of_state(path, name):
    known = {"0_weight": 2, "0_bias": 1, "1_weight": 1, "1_bias": 1, "body_2_weight": 2}
    assert state_name(path, known) == name


@pytest.mark.parametrize("name", ["lambda", "0_x", "a.b", "np", "float", ""])
def test_every_name_is_an_identifier_that_hides_nothing(name):
    found = identifier(name)
    assert found.isidentifier() and found not in ("lambda", "np", "float")


def test_a_gradient_has_the_name_of_its_value():
    text = tg.trace(*recurrent()).source()
    assert "dh3 = 2 * h3" in text and "dh2 =" in text


def test_a_gradient_that_was_there_before_is_the_old_one():
    assert "dW = old_dW + x" in tg.trace(*gradient_that_grows()).source()


def test_the_modules_of_a_function_have_names_of_their_own():
    assert {"q_weight", "k_weight", "m_norm_bias"} <= set(
        parameters_of(tg.trace(*transformer()).source())
    )


@pytest.mark.parametrize("name", ["w", "the_weight_of_a_layer_whose_name_is_rather_long_"])
def test_parameters_are_updated_in_a_loop_however_long_their_names_are(name):
    class Model(nn.Module):
        def __init__(self):
            for i in range(3):
                setattr(self, f"{name}{i}", nn.Parameter(np.arange(2.0) + i))

        def forward(self, x):
            for w in self.parameters():
                x = x * w
            return x.sum()

    model = Model()
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x):
        optimizer.zero_grad()
        model(x).backward()
        optimizer.step()

    x = tg.ones(2).double()
    text = tg.trace(step, x).source()
    assert text.count("for w, g, velocity in (") == 1 and text.count("w -= lr * velocity") == 1
    weights, velocities = np.arange(2.0) + np.arange(3.0)[:, None], np.zeros((3, 2))
    given = [*weights.copy(), *velocities]
    assert parameters_of(text)[1:] == [
        *(f"{name}{i}" for i in range(3)), *(f"velocity_{name}{i}" for i in range(3)), "lr"
    ]  # fmt: skip
    function_of(text)(x.numpy(), *given, 0.1)
    gradients = np.stack([weights[[j for j in range(3) if j != i]].prod(0) for i in range(3)])
    np.testing.assert_allclose(given[:3], weights - 0.1 * gradients)
    np.testing.assert_allclose(given[3:], gradients)


def test_a_loop_over_one_list_alone_is_not_written():
    weights = [nn.Parameter(np.arange(3.0) + i) for i in range(4)]

    def f(x):
        with tg.no_grad():
            for w in weights:
                e = w.exp()
                w.copy_(e * (1.0 - e))
        return x * 2.0

    text = tg.trace(f, tg.ones(3)).source()
    assert "for " not in text and text.count("np.exp(") == 4
    given = [np.arange(3.0) + i for i in range(4)]
    function_of(text)(np.ones(3, np.float32), *given)
    e = np.exp(np.arange(3.0) + np.arange(4.0)[:, None])
    np.testing.assert_allclose(given, e * (1.0 - e))


def test_a_difference_to_a_ratio_is_not_called_centered():
    def f(x, a, b):
        y = (x - a / b).exp()
        return y * y

    assert "centered" not in tg.trace(f, *[tg.ones(2, 3)] * 3).source()


def test_two_values_of_one_name_get_two():
    def f(x):
        h = x * 2.0
        h = h.exp() * h
        h = h.sin() + h
        return h

    text = tg.trace(f, tg.ones(3)).source()
    assert {"h = 2 * x", "h2 ="} <= {line for line in ("h = 2 * x", "h2 =") if line in text}


# --- tables and pictures ----------------------------------------------------------------------


def test_the_table_counts_operations_and_bytes():
    program = tg.trace(lambda a, b: (a @ b).exp(), tg.ones(3, 4), tg.ones(4, 5))
    text = program.table()
    assert "µs" not in text
    assert re.search(
        r"total +2 steps +135 +308", text
    )  # 2·3·4·5 + 15; 4·(12 + 20 + 15) + 4·(15 + 15)


def test_the_table_has_microseconds_after_a_profile():
    program = tg.trace(*two_layer_network())
    program.profile(repeats=3)
    lines = program.table().split("\n")
    assert lines[0].split()[-1] == "µs"
    assert float(lines[-2].split()[-1].replace(",", "")) > 0
    assert len({line.find("(") for line in lines if " (" in line}) >= 1
    with pytest.raises(ValueError, match="at least 1"):
        program.profile(0)


@by_name
def test_every_program_has_a_table_and_a_picture(case):
    program = tg.trace(*case())
    assert "total" in program.table()
    for level in LEVELS:
        dot = program.to_dot(level)
        assert dot.startswith("digraph program {") and dot.count("{") == dot.count("}")


def test_the_picture_frames_scopes_and_shows_the_lines():
    dot = tg.trace(*two_layer_network()).to_dot()
    for part in ('label="backward of cross_entropy"', "dlogits = (p - onehot) / 32", "(10, 32)"):
        assert part in dot


def test_the_picture_folds_the_same_update_of_every_parameter():
    dot = tg.trace(*dropout_batch_norm_adam()).to_dot()
    assert dot.count("for w, g, m, v, t in (") == 1 and "m_W0 " not in dot


def test_a_program_says_how_long_it_is():
    program = tg.trace(lambda x: x * 2.0, tg.ones(2))
    assert repr(program) == "<Program <lambda>: 1 steps on 1 given values>"


if __name__ == "__main__":
    for case in GOLDEN:
        (DATA / f"listing_{case.__name__}.txt").write_text(golden(case), encoding="utf-8")


def test_new_values_that_are_written_after_the_updates_are_not_made_in_a_loop():
    """What is returned reads the old parameters, so each new one needs a name of its own."""
    w0, w1 = (tg.tensor(x, requires_grad=True) for x in ([0.5, 1.0, 2.0], 0.7))
    optimizer = tg.optim.SGD([w0, w1], lr=0.1, momentum=0.9)

    def train():
        seen, other = w0.repeat(2).unsqueeze(-1), w1.cumsum(0)
        loss = w0.tanh().sum() + other.tanh()
        loss.backward()
        optimizer.step()
        return loss, seen, other

    text = tg.trace(train).source()
    assert "w0_2 = w0 - lr * velocity_w0" in text and "w1[...] = w1_2" in text
    names = {}
    exec(text, names)
    a, b = np.float32([0.5, 1.0, 2.0]), np.array(0.7, np.float32)
    results = names["train"](a, b, np.zeros_like(a), np.zeros_like(b), 0.1)
    np.testing.assert_allclose(results[1][:, 0], [0.5, 1, 2] * 2)
    assert results[2] == np.float32(0.7)
    np.testing.assert_allclose(a, [0.5, 1, 2] - 0.1 / np.cosh([0.5, 1, 2]) ** 2, rtol=1e-6)
    np.testing.assert_allclose(b, 0.7 - 0.1 / np.cosh(0.7) ** 2, rtol=1e-6)


def test_names_of_any_length_leave_one_loop_for_all_parameters():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv2, self.head_of_it = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.head_of_it(self.conv2(x).relu())

    model = Model()
    optimizer = tg.optim.Adam(model.parameters())

    def step(x):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    text = tg.trace(step, tg.ones(2, 4)).source()
    assert text.count("np.sqrt") == 1 and "for w, g, m, v, t in (" in text
    assert max(map(len, text.splitlines())) < 110


IDS = tg.tensor([0, 2, 1, 1])
PICKS = {
    "negated": lambda x, b: (-(x + b))[tg.arange(4), IDS] * 2.0,
    "rows": lambda x, b: (x + b)[IDS] ** 2,
    "ignored": lambda x, b: F.cross_entropy(x + b, IDS, ignore_index=1),
    "weighed": lambda x, b: F.cross_entropy(x + b, IDS, weight=b.detach().abs()),
    "repeats": lambda x, b: F.log_softmax(x + b, 1)[tg.arange(4), IDS],
    "losses": lambda x, b: F.nll_loss(F.log_softmax(x + b, 1), IDS, reduction="none"),
    "numbers": lambda x, b: (x + x.exp().sum(1, keepdim=True) * b)[tg.arange(4), IDS],
}


@pytest.mark.parametrize("function", PICKS.values(), ids=PICKS)
def test_gradients_of_what_is_picked_are_those_of_eager_code(function):
    x = tg.tensor(np.linspace(-1, 2, 12).reshape(4, 3), requires_grad=True)
    b = tg.tensor([0.5, -1.0, 2.0], requires_grad=True).double().detach().requires_grad_()

    def step(x, b):
        return tg.autograd.grad(function(x, b).sum(), (x, b))

    program = tg.trace(step, x, b)
    for level in ("formula", "primitive"):
        names = {}
        exec(program.source(level), names)
        constants = [program.example[state.before] for state in program.states]
        found = names["step"](x.detach().numpy(), b.detach().numpy(), *constants)
        for y, wanted in zip(found, step(x, b)):
            np.testing.assert_allclose(y, wanted.numpy(), rtol=1e-12, atol=1e-15)


def test_loops_count_in_letters_that_nothing_else_is_called_by():
    k1, i1 = (tg.randn(2, 1, 2, 2, requires_grad=True), tg.randn(1, requires_grad=True))

    def step(x):
        F.max_pool2d(F.conv2d(F.max_pool2d(x, 2), k1 * i1), 2).sum().backward()
        return k1.grad

    program = tg.trace(step, tg.randn(2, 1, 8, 8, requires_grad=True))
    for level in ("formula", "primitive"):
        text = program.source(level)
        assert "for j1, j2 in np.ndindex(2, 2):" in text
        assert "for k1" not in text
