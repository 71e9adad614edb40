"""The table of operations of the page's engine, each in Chromium against NumPy.

Every case of the calculus table runs forward and backward, in float64 to 1e-12 and in float32 to
what its rounding is; operations without a gradient run by themselves.
"""

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.test_play_living import DECIDED, x0
from tests.test_rules import CASES
from tinygrad_ce.engine.table import SLOT
from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.ops import OPS, evaluate
from tinygrad_ce.viz import play
from tinygrad_ce.viz.graph.walking import Graph
from tinygrad_ce.viz.page.encoding import encoded, encoded_array
from tinygrad_ce.viz.page.living import Living

BOUNDS = {np.float64: 1e-12, np.float32: 3e-6}
ABSENT = {"draw", "all_equal", "flat_slice", "flatten", "relu_mask", "relu_grad"}
"""Random numbers, an array as a setting, and what only passes for speed make."""

RUN = """(programs) => programs.map((told) => {
  if (engine.missing(told)) return engine.missing(told);
  const values = engine.run(told, told.given.map(engine.decode));
  return told.out.map((i) => ({...values[i], data: Array.from(values[i].data)}));
})"""


@pytest.fixture
def run(open_page, tmp_path):
    """`run(programs)` gives for each program what the page makes of it."""
    x = tg.tensor(1.0, requires_grad=True)
    page = open_page()
    page.goto(play(x * x).save(tmp_path / "page.html").as_uri())
    return lambda programs, ask=RUN: page.evaluate(ask, programs)


def forward_and_backward(case, dtype):
    """Every number of a case, forward and backward: the program, and NumPy's values."""
    xs = [tg.tensor(np.array(x, dtype), requires_grad=True) for x in case.inputs]
    y = case.ours(*xs)
    weights = np.linspace(-1, 2, y.array.size).reshape(y.shape).astype(dtype)
    root = (y * tg.tensor(weights)).sum()
    live = Living(Graph([root], {x: f"x{i}" for i, x in enumerate(xs)}))
    slopes = {}
    shown = [*live.symbols.values()]
    for arrival in live.way_back(root):
        slopes[arrival.use] = arrival.new
        shown += [arrival.product, arrival.new, arrival.after]
        shown += [] if arrival.local is None else [arrival.local]
    for value in shown:
        live.want(value)
    wanted = {live.want(value): value.value for value in shown if live.want(value) is not None}
    told = live.told({}, {})
    np.testing.assert_allclose(
        np.asarray(live.symbols[y].value, float),
        case.numpy(*(np.array(x, dtype).astype(float) for x in case.inputs)),
        rtol=1e-4 if dtype is np.float32 else 1e-10, atol=1e-4 if dtype is np.float32 else 1e-10,
    )  # fmt: skip
    return told, [wanted[i] for i in range(len(wanted))]


def largest(x):
    """The largest finite element."""
    x = np.abs(np.asarray(x, float))
    return float(x[np.isfinite(x)].max(initial=0.0))


def compare(name, shown, wanted, bound, size=1e-300):
    """A value of the page and NumPy's; `size` is that of the terms that were added up for it."""
    wanted = np.asarray(wanted)
    assert shown["shape"] == list(wanted.shape), name
    found = np.array(shown["data"], float).reshape(wanted.shape)
    size = max(largest(wanted), size)
    np.testing.assert_allclose(
        found, wanted.astype(float), rtol=bound, atol=bound * size, err_msg=name
    )
    if wanted.dtype == np.float32:
        np.testing.assert_array_equal(found, found.astype(np.float32), err_msg=name)


def test_every_rule_runs_forward_and_backward_as_in_numpy(run):
    made = [(case, dtype, *forward_and_backward(case, dtype)) for dtype in BOUNDS for case in CASES]
    results = run([told for _, _, told, _ in made])
    for (case, dtype, told, wanted), found in zip(made, results):
        assert not isinstance(found, str), (case.id, found)
        terms = max(map(largest, wanted)) if dtype is np.float32 else 0.0
        for shown, value in zip(found, wanted, strict=True):
            compare(f"{case.id} {dtype.__name__} {told['ops']}", shown, value, BOUNDS[dtype], terms)


odd = np.array([[np.nan, 1.0, -0.0], [np.inf, -np.inf, 2.5], [0.0, -1.5, 1.0], [0.5, 1.5, -2.5]])
other = np.array([1.0, -2.0, np.nan])
ids = np.array([[3, -1, 0], [2, 2, 7]])
flags = np.array([[True, False, True], [False, False, True]])
image = np.random.default_rng(2).permutation(2 * 4 * 5 * 3).reshape(2, 4, 5, 3) / 7.0
POOL = {"size": (2, 2), "stride": (1, 2), "axes": (1, 2)}

DIRECT = [
    *((op, (odd, other), {}) for op in (
        "greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "maximum",
        "minimum", "remainder", "floor_divide", "fmod", "power", "float_power", "arctan2", "hypot",
        "copysign", "logical_and", "logical_or", "logical_xor", "add", "divide",
    )),
    *((op, (odd,), {}) for op in (
        "isnan", "isinf", "isfinite", "sign", "rint", "floor", "ceil", "trunc", "square",
        "reciprocal", "absolute", "negative", "logical_not", "erf", "erfc", "relu", "exp", "tanh",
    )),
    *((op, (np.array([7.0, -7.0, 6.0, 1.0, -1.0]), np.array([2.0, 2.0, -4.0, 0.1, 3.0])), {})
      for op in ("remainder", "floor_divide", "fmod")),
    *((op, (ids, np.array([2, 3, -4])), {}) for op in
      ("remainder", "floor_divide", "add", "multiply", "bitwise_and", "bitwise_or", "less")),
    *((op, (flags, ~flags[:1]), {}) for op in ("bitwise_and", "bitwise_or", "bitwise_xor")),
    ("invert", (flags,), {}), ("invert", (ids,), {}),
    ("erf", (np.linspace(-6, 6, 97),), {}), ("erfc", (np.linspace(-6, 12, 97),), {}),
    ("power", (np.array([1.0, -1.0, -1.0, 2.0, -2.0]), np.array([np.nan, np.inf, -np.inf, -1, 3])),
     {}),
    ("where", (flags, 1.5, ids.astype(float)), {}), ("masked", (ids.astype(float), flags), {}),
    ("clip", (odd, ), {"low": -1.0, "high": None}), ("clip", (odd, ), {"low": None, "high": 1}),
    *((op, (x,), {"axis": axis, "keepdims": keepdims})
      for op, x in (("sum", ids), ("prod", ids), ("max", odd), ("min", odd), ("all", flags),
                    ("any", flags), ("argmax", ids), ("argmin", ids), ("argmax", odd),
                    ("argmin", odd[1:]), ("max", ids), ("sum", np.zeros((0, 3))))
      for axis, keepdims in ((None, False), (0, True), (-1, False)) if x.size or op == "sum"),
    ("sum", (image,), {"axis": (1, -1), "keepdims": False}),
    ("argsort", (odd,), {"axis": 0}), ("argsort", (ids,), {"axis": -1}),
    ("cumsum", (image,), {"axis": 1}), ("cumprod", (ids,), {"axis": 0}),
    *(("astype", (x,), {"dtype": np.dtype(t)})
      for x, t in ((odd[2:], "int64"), (odd[2:], "bool"), (ids, "float32"), (ids, "int8"),
                   (flags, "float64"), (odd, "float32"))),
    *(("frexp", (x,), {"part": part}) for part in (0, 1)
      for x in (np.array([0.0, 1.0, -3.5, 1e-310, 1.7e308, 0.5, np.inf]),)),
    ("ldexp", (np.array([0.75, -1.5, 1.0, 0.0]), np.array([3, -1080, 1023, 5])), {}),
    ("full", (2.5,), {"shape": (2, 3)}), ("copy", (odd,), {}), ("contiguous", (odd,), {}),
    ("like", (odd, odd), {}), ("float", (np.float64(1.5),), {}),
    ("pad", (ids,), {"widths": ((1, 0), (0, 2)), "value": -7}),
    ("slice", (image,), {"index": (-1, slice(None, None, -2), None, ..., slice(5, 0, -1))}),
    ("slice", (image,), {"index": (slice(3, 9), slice(-3, -1))}),
    ("take", (image, ids[:, :1] % 2, np.array([0, -1])), {"index": (SLOT, slice(1, 3), SLOT)}),
    ("take", (image, np.array([2, 0])), {"index": (0, slice(None), SLOT)}),
    ("take", (image, np.array(1)), {"index": (..., SLOT)}),
    ("take", (ids, flags), {"index": (SLOT,)}),
    ("put", (image, 5.0, np.array([0, 2])), {"index": (slice(None), SLOT, 1)}),
    ("put", (ids, 9, flags), {"index": (SLOT,)}),
    ("scatter", (np.ones((3, 3)), np.array([1, 1, 0])), {"index": (SLOT,), "shape": (4, 3)}),
    ("dot", (ids, ids.T), {}), ("dot", (ids, np.array([1, 2, 3])), {}), ("dot", (2.0, odd), {}),
    ("matmul", (image, image.transpose(0, 1, 3, 2)[:, :1]), {}),
    ("matmul", (np.arange(5.0), image), {}), ("inner", (ids, ids), {}),
    ("inner", (np.arange(3), ids), {}),
    ("einsum", (image, np.arange(6.0).reshape(2, 3)), {"spec": "abcd,ad->bd"}),
    ("stack", (ids, ids + 1), {"axis": -1}), ("concatenate", (ids, flags, odd), {"axis": 0}),
    ("max_pool", (image,), POOL), ("sum_pool", (image,), POOL),
    ("all_finite", (odd,), {}), ("all_finite", (ids,), {}), ("counts_agree", (ids,), {}),
    ("all_within", (ids,), {"low": -1, "high": 3, "also": 7}), ("is_equal", (3,), {"value": 3}),
]  # fmt: skip
NUMBERS = [
    ("multiply", (np.float32([0.1, 0.3]), 0.1), {}),
    ("greater", (np.float32([0.1]), 0.1), {}),
]
"""A Python number takes the precision of the array beside it."""


def alone(op, operands, settings):
    """One operation as a program, and what NumPy makes of it."""
    with np.errstate(all="ignore"):
        wanted = evaluate(op, operands, settings)
    given = [Var.like(x) for x in operands]
    out = Var.like(wanted)
    program = Program(op, inputs=given, steps=[Step(out, op, tuple(given), settings)])
    told = encoded(program, given, dict(zip(given, operands)))
    return {**told, "out": [told.pop("ids")[out]]}, wanted


def test_operations_without_a_gradient_are_those_of_numpy(run):
    made = [alone(*case) for case in (*DIRECT, *NUMBERS)]
    for case, (_, wanted), found in zip((*DIRECT, *NUMBERS), made, run([told for told, _ in made])):
        assert not isinstance(found, str), found
        compare(
            f"{case}", found[0], wanted, 1e-12 if np.asarray(wanted).dtype != np.float32 else 1e-7
        )


def test_the_table_has_every_operation_and_every_one_is_tried(run):
    names = run([], "() => engine.names")
    tried = {op for op, *_ in DIRECT}
    for case in CASES:
        tried.update(forward_and_backward(case, np.float64)[0]["ops"])
    assert set(OPS) - ABSENT == set(names) == tried


@pytest.mark.parametrize("scale", [1, 900])
def test_what_was_decided_by_values_is_decided_anew(run, scale):
    """Signs, orders and sizes that are others after the edit: 900 overflows with an old maximum."""
    other = -x0[::-1, ::-1] * scale
    programs, wanted = [], []
    for f in DECIDED.values():
        x = tg.tensor(x0, requires_grad=True)
        loss = f(x)
        live = Living(Graph([loss], {x: "x"}))
        slope = [a.after for a in live.way_back(loss) if live.graph.uses[a.use].source is x][-1]
        live.want(live.symbols[loss])
        live.want(slope)
        told = live.told({}, {})
        (at,) = (leaf["i"] for leaf in told["leaves"] if leaf["n"] == "x")
        told["given"][at] = encoded_array(np.ascontiguousarray(other))
        programs.append(told)
        edited = tg.tensor(other.copy(), requires_grad=True)
        again = f(edited)
        again.backward()
        wanted.append((again.item(), edited.grad.numpy()))
    for name, (loss, slope), found in zip(DECIDED, wanted, run(programs), strict=True):
        assert not isinstance(found, str), (name, found)
        compare(name, found[0], np.array(loss), 1e-12, size=scale)
        compare(name, found[1], slope, 1e-12, size=1)


def test_a_program_with_another_operation_says_which(run):
    told, _ = alone("add", (1.0, 2.0), {})
    assert run([{**told, "ops": ["nothing"]}]) == ["nothing"]
