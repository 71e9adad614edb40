"""Every operation that a program can hold, in JAX as in NumPy; programs as plain functions."""

import re
import subprocess
import sys

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp
from test_play_engine import DIRECT, NUMBERS
from test_rules import CASES

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.engine.table import SLOT
from tinygrad_ce.engines.lower import DRAWS, RULES, Lowering
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program.ir import Line, Program, Step, Var
from tinygrad_ce.program.memory import FlatSlice
from tinygrad_ce.program.ops import BITS, OPS, UFUNCS, evaluate
from tinygrad_ce.random import Generator

pieces = np.arange(12.0).reshape(3, 4)
places = (FlatSlice(0, (2, 3)), FlatSlice(6, (2, 3)))
image = np.random.default_rng(3).standard_normal((2, 3, 5, 4))
LAST = slice(None, None, -2)
POOL = {"size": (2, 2), "stride": (1, 2), "axes": (1, 2)}
best = evaluate("argmax_pool", (image, evaluate("max_pool", (image,), POOL)), POOL)
MORE = [
    ("flat_slice", (pieces.ravel(),), {"piece": places[1]}),
    ("flatten", (pieces[:2, :3], pieces[1:, 1:]), {"slices": places, "shape": (12,)}),
    ("relu_mask", (pieces - 5,), {}),
    ("relu_grad", (pieces, (pieces > 5).astype(BITS[pieces.dtype])), {}),
    ("all_equal", (pieces,), {"value": pieces.copy()}),
    ("put", (pieces, np.array([7.0, 8.0, 9.0]), np.array([1, 0, 1])), {"index": (2, SLOT)}),
    ("put", (pieces, pieces[0], ), {"index": (-1, slice(None, None, -1))}),
    ("put", (pieces, pieces[:0], np.array([], int)), {"index": (SLOT,)}),
    ("scatter", (pieces[:, 0], np.arange(3), np.array([-1, 3, 1])),
     {"index": (SLOT, SLOT), "shape": (3, 4)}),
    ("scatter", (pieces[:2, :1],), {"index": (..., LAST, 1, None), "shape": (4, 2)}),
    ("scatter", (pieces[:0],), {"index": (slice(3, 3),), "shape": (3, 4)}),
    ("argmax_pool", (image, evaluate("max_pool", (image,), POOL)), POOL),
    ("put_in_windows", (best + 0.5, best), {"full": image.shape, **POOL}),
    ("take_in_windows", (image, best), POOL),
    ("sum_unpool", (best + 0.5,), {"full": image.shape, **POOL}),
    ("add", (2.0, 3), {}),
    ("clip", (np.arange(5),), {"low": 0.5, "high": 2.5}),
]  # fmt: skip


def in_jax(program, values):
    """Every value of a program, compiled by XLA."""

    def run(xs):
        found = Lowering(program, dict(zip(program.inputs, xs))).run()
        return [jnp.asarray(found[step.out]) for step in program.steps]

    with jax.enable_x64(True):
        return list(map(np.asarray, jax.jit(run)(values)))


def test_every_operation_has_a_rule_and_gives_what_numpy_gives():
    """Index arrays that say which elements exist are constants, as in a program."""
    program, values, wanted = Program("all"), [], []
    with np.errstate(all="ignore"):
        for op, operands, settings in (*DIRECT, *NUMBERS, *MORE):
            if op == "frexp":  # XLA takes what is below the smallest normal number for 0
                operands = (np.where(np.abs(operands[0]) < 1e-300, 0.0, operands[0]),)
            y = evaluate(op, operands, settings)
            xs = tuple(Var.like(x) for x in operands)
            for i, (x, value) in enumerate(zip(xs, operands)):
                if x.dtype is None or (x.dtype == bool and i and op in ("take", "put")):
                    program.constants[x] = value
                else:
                    program.inputs.append(x)
                    values.append(value)
            program.steps.append(Step(Var.like(y), op, xs, settings))
            wanted.append(y)
    for step, found, y in zip(program.steps, in_jax(program, values), wanted, strict=True):
        assert step.out.dtype is None or found.dtype == step.out.dtype, step
        bound = 1e-7 if found.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(
            found, y, rtol=bound, atol=bound, err_msg=f"{step.op} {step.attrs}"
        )
    assert set(OPS) == {*RULES, *UFUNCS, "draw"}
    tried = {step.op for step in program.steps}
    assert set(OPS) - tried <= {"draw", *operations_of_cases()}


def case_of(case, xs):
    y = case.ours(*xs)
    weights = np.linspace(-1, 2, y.numel()).reshape(y.shape).astype(y.dtype)
    return (y, *tg.autograd.grad((y * tg.tensor(weights)).sum(), list(xs)))


def operations_of_cases():
    found = set()
    for case in CASES:
        xs = [tg.tensor(np.array(x, float), requires_grad=True) for x in case.inputs]
        found.update(s.op for s in tg.trace(lambda *xs, c=case: case_of(c, xs), *xs).steps)
    return found


def test_every_rule_of_the_calculus_table_forward_and_backward():
    inputs = [[tg.tensor(np.array(x, float), requires_grad=True) for x in c.inputs] for c in CASES]
    wanted = [[y.detach().numpy() for y in case_of(c, xs)] for c, xs in zip(CASES, inputs)]

    def everything(inputs):
        return [case_of(case, xs) for case, xs in zip(CASES, inputs)]

    f = tg.trace(everything, inputs).to_jax()
    with jax.enable_x64(True):
        found = iter(jax.jit(f)(f.state, *(x.detach().numpy() for xs in inputs for x in xs))[0])
    for case, ys in zip(CASES, wanted):
        size = max(float(np.abs(y[np.isfinite(y)]).max(initial=0.0)) for y in ys)
        for y in ys:
            shown = np.asarray(next(found))
            assert shown.dtype == y.dtype
            np.testing.assert_allclose(shown, y, rtol=1e-12, atol=1e-12 * size, err_msg=case.id)


def test_a_mask_times_nan_or_infinity_is_nan_and_not_a_choice():
    def step(x, y):
        keep = x > 0
        w.grad = None
        (y * w).amax().backward()
        return keep.double() * y, keep * y, keep.long() * y, y / keep.double().sum(), w.grad.clone()

    w = tg.ones(3, dtype=tg.float64, requires_grad=True)
    given = tg.tensor([-1.0, 2.0, 0.0]).double(), tg.tensor([np.nan, 1.0, np.inf]).double()
    fast = tg.compile(step, engine="jax")
    with np.errstate(all="ignore"):
        wanted = [y.numpy() for y in step(*given)]
        for found in fast(*given), fast(*given):
            for a, b in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(a.numpy(), b)


def test_an_operation_without_a_rule_names_the_users_line():
    x, y = Var((2,), np.dtype(np.float32), False), Var((2,), np.dtype(np.float32), False)
    line = Line("train.py", 12, "step")
    program = Program("step", inputs=[x], steps=[Step(y, "unheard_of", (x,), {}, (), line)])
    OPS["unheard_of"] = OPS["copy"]
    try:
        with pytest.raises(NotImplementedError, match=re.escape("train.py:12 in step")):
            Lowering(program, {x: np.ones(2, np.float32)}).run()
    finally:
        del OPS["unheard_of"]


# --- random numbers -----------------------------------------------------------------------------

WEIGHTS = np.array([0.1, 0.2, 0.7])
THIRDS = np.full((4000, 3), 1 / 3)
MOMENTS = [  # what is drawn, its mean and standard deviation by the textbook
    ("rand", (4000,), {}, 0.5, 12**-0.5),
    ("uniform", (-1.0, 3.0, 4000), {}, 1.0, 4 * 12**-0.5),
    ("randn", (4000,), {"dtype": np.float64}, 0.0, 1.0),
    ("normal", (2.0, 3.0, 4000), {}, 2.0, 3.0),
    ("exponential", (4.0, 4000), {}, 0.25, 0.25),
    ("randint", (-2, 5, 4000), {}, 1.0, 2.0),
    ("randperm", (4001,), {}, 2000.0, ((4001**2 - 1) / 12) ** 0.5),
    ("bernoulli", (0.3, 4000), {"dtype": np.bool_}, 0.3, 0.21**0.5),
    ("multinomial", (WEIGHTS, 4000, True), {}, 1.6, (0.2 + 0.7 * 4 - 1.6**2) ** 0.5),
    ("multinomial", (THIRDS, 1), {}, 1.0, (2 / 3) ** 0.5),
]


def test_numbers_drawn_by_jax_have_the_distributions_and_dtypes_of_ours():
    program = Program("draws")
    for method, args, kwargs, *_ in MOMENTS:
        settings = {"generator": Generator(), "method": method, "args": args, "kwargs": kwargs}
        out = Var.like(getattr(Generator().manual_seed(0), method)(*args, **kwargs))
        program.steps.append(Step(out, "draw", (), settings))
    assert {method for method, *_ in MOMENTS} == set(DRAWS)
    with jax.enable_x64(True):
        values = Lowering(program, {}).run(jax.random.key(3))
    for step, (method, *_, mean, std) in zip(program.steps, MOMENTS):
        y = np.asarray(values[step.out])
        assert y.dtype == step.out.dtype and y.shape == step.out.shape
        assert abs(y.mean() - mean) < 4 * std / y.size**0.5, method
        assert abs(y.std() - std) < 12 * std / y.size**0.5, method
        if method == "randperm":
            np.testing.assert_array_equal(np.sort(y), np.arange(4001))


# --- a program as a plain function --------------------------------------------------------------


def test_a_model_as_a_plain_function_is_compiled_differentiated_and_mapped():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    x = tg.randn(5, 3, requires_grad=True)
    y = model(x)
    (y * y).sum().backward()
    with tg.no_grad():
        f = tg.trace(model, x.detach()).to_jax()
    assert f.inputs == ["x1"] and {*f.state} == {"0_weight", "0_bias", "2_weight", "2_bias"}
    given = x.detach().numpy()
    found, state = jax.jit(f)(f.state, given)
    np.testing.assert_allclose(found, y.detach().numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(state["0_weight"], f.state["0_weight"])

    def loss(state, x):
        return (f(state, x)[0] ** 2).sum()

    slopes, slope = jax.grad(loss, (0, 1))(f.state, given)
    np.testing.assert_allclose(slope, x.grad.numpy(), rtol=1e-5, atol=1e-6)
    wanted = model[0].weight.grad.numpy()
    np.testing.assert_allclose(slopes["0_weight"], wanted, rtol=1e-5, atol=1e-6)
    many = jax.vmap(lambda x: f(f.state, x)[0])(np.stack([given, 2 * given]))
    np.testing.assert_allclose(many[0], found, rtol=1e-6, atol=1e-6)
    assert jnp.ones(1).dtype == np.float32  # what the user has set is as it was


def test_a_training_step_as_a_plain_function_gives_the_state_after_it():
    tg.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.25, momentum=0.5)

    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss, x.sum()

    x = tg.randn(4, 3)
    step(x)
    f = tg.trace(step, x).to_jax()
    (loss, total), state = f({**f.state, "lr": 0.125}, x.numpy())
    optimizer.param_groups[0]["lr"] = 0.125
    wanted = step(x)
    np.testing.assert_allclose(loss, wanted[0].item(), rtol=1e-6)
    np.testing.assert_allclose(total, wanted[1].item(), rtol=1e-5)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(state[name], p.detach().numpy(), rtol=1e-5, atol=1e-7)
    assert state["lr"] == 0.125


def test_a_function_says_what_it_wants():
    def noisy(x):
        return F.dropout(x, 0.5) * 2.0

    f = tg.trace(noisy, tg.ones(3)).to_jax()
    with pytest.raises(TypeError, match=r"pass key=jax\.random\.key"):
        f({}, np.ones(3, np.float32))
    with pytest.raises(TypeError, match=r"wanted 1 after the state: noisy\(state, x\)"):
        f({})
    with pytest.raises(TypeError, match="got a state of"):
        f({"w": 1.0}, np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"x has shape \(4,\).*traced for \(3,\)"):
        f({}, np.ones(4, np.float32), key=jax.random.key(0))
    y, _ = f({}, np.ones(3, np.float32), key=jax.random.key(0))
    assert set(np.asarray(y).tolist()) <= {0.0, 4.0}


def test_names_that_stand_twice_get_a_number():
    held = {"k": [[tg.ones(2)], [tg.zeros(2)]]}
    f = tg.trace(lambda: [w[0] * 2.0 for w in held["k"]]).to_jax()
    assert {*f.state} == {"state", "state_2"}


def test_a_convolution_goes_on_as_a_picture_as_far_as_it_can():
    stream = np.random.default_rng(0)
    x, k = stream.standard_normal((2, 5, 4, 3)), stream.standard_normal((3, 18))
    row = stream.standard_normal((1, 18))
    way = {"size": (3, 3), "stride": (1, 1), "dilation": (1, 1)}
    program = Program("convolved", inputs=[Var.like(x), Var.like(k), Var.like(row)])
    two = Var((), None, True)
    program.constants[two] = 2.0
    made = dict(zip(program.inputs, (x, k, row)))
    made[two] = 2.0
    picture, kernel, added = program.inputs
    for op, operands, attrs in (
        ("im2col", (picture,), way), ("dot", (kernel, None), {}), ("multiply", (None, two), {}),
        ("add", (None, added), {}), ("sum", (None,), {"axis": 1, "keepdims": True}),
    ):  # fmt: skip
        xs = tuple(program.steps[-1].out if v is None else v for v in operands)
        y = evaluate(op, [made[v] for v in xs], attrs)
        program.steps.append(Step(Var.like(y), op, xs, attrs))
        made[program.steps[-1].out] = y
    for step, found in zip(program.steps, in_jax(program, [x, k, row]), strict=True):
        np.testing.assert_allclose(found, made[step.out], rtol=1e-12, atol=1e-12)


def test_where_jax_is_missing_one_line_says_how_to_get_it():
    code = (
        "import sys; sys.modules['jax'] = None\n"
        "import tinygrad_ce as tg\n"
        "tg.trace(lambda x: x + 1.0, tg.ones(2)).to_jax()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr.splitlines()[-1] == (
        'ImportError: engine="jax" and to_jax() need jax: pip install "tinygrad_ce[jax]"'
    )
