"""Every operation that a program can hold: in onnxruntime as in NumPy, or refused by name."""

import re

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from test_play_engine import DIRECT, NUMBERS
from test_rules import CASES

import tinygrad_ce as tg
from tinygrad_ce import ExportError
from tinygrad_ce.engine.table import SLOT
from tinygrad_ce.engines.export import Exported
from tinygrad_ce.engines.onnx_file import model_of, run
from tinygrad_ce.engines.onnx_rules import REFUSED, RULES, SINGLE
from tinygrad_ce.program.ir import Line, Program, Step, Var
from tinygrad_ce.program.ops import OPS, evaluate

rows = np.arange(12.0).reshape(3, 4)
image = np.random.default_rng(3).standard_normal((2, 3, 5, 4))
cube = np.arange(60.0).reshape(3, 4, 5)
BACK = slice(None, None, -2)
whole = np.array([7, -7, 0, 3])
EXTREMES = np.array([0.0, -0.0, 1e-30, -3e-5, 2.5, -80.0, np.inf, -np.inf, np.nan])
MORE = [
    *((op, (EXTREMES,), {}) for op in ("log1p", "expm1", "sinh", "isfinite", "trunc", "rint")),
    *((op, (np.array([0.5, 1e-9, 80.0]),), {}) for op in ("log1p", "expm1", "sinh", "cosh")),
    *((op, (EXTREMES[:, None], EXTREMES[[0, 1, 3, 4, 6]]), {}) for op in ("hypot", "copysign")),
    *((op, (EXTREMES[:6, None], np.array([1.5, -1.5])), {}) for op in
      ("remainder", "fmod", "floor_divide", "arctan2")),
    *((op, (whole[:, None], np.array([2, -2, 5])), {}) for op in
      ("remainder", "fmod", "floor_divide", "bitwise_xor")),
    *((op, (whole,), {}) for op in
      ("floor", "trunc", "isnan", "isfinite", "invert", "negative", "sign", "relu")),
    *(("frexp", (EXTREMES,), {"part": part}) for part in (0, 1)),
    ("ldexp", (np.array([1e-20, 3.0, 1e20]), np.array([120, -7, -150], np.int32)), {}),
    ("clip", (EXTREMES,), {"low": None, "high": 1.0}),
    ("clip", (whole,), {"low": -2, "high": 3}),
    ("put", (rows, np.array([7.0, 8.0, 9.0]), np.array([1, 0, 2])), {"index": (2, SLOT)}),
    ("put", (rows, rows[0]), {"index": (-1, slice(None, None, -1))}),
    ("put", (rows, np.array([[5.0], [6.0]])), {"index": (slice(1, None), BACK)}),
    ("put", (rows, rows[:0], np.array([], int)), {"index": (SLOT,)}),
    ("put", (cube, cube[0, :2] * 2, np.array([1, 3])), {"index": (0, SLOT)}),
    ("put", (cube, cube[:, 0, :2], np.array([4, -1])), {"index": (slice(None), 2, SLOT)}),
    ("put", (cube, cube[:2, :, 0], np.array([2, 0]), np.array([3, 3])),
     {"index": (SLOT, slice(None), SLOT)}),
    ("scatter", (rows[:, 0], np.arange(3), np.array([-1, 3, 1])),
     {"index": (SLOT, SLOT), "shape": (3, 4)}),
    ("scatter", (rows, np.array([1, 1, 0])), {"index": (SLOT,), "shape": (2, 4)}),
    ("scatter", (rows[:2, :1],), {"index": (..., BACK, 1, None), "shape": (4, 2)}),
    ("take", (cube, np.array([0, 2]), np.array([3, 1])), {"index": (SLOT, slice(1, 3), SLOT)}),
    ("take", (cube, np.array([[0, 3]]), np.array([[1], [-1]])),
     {"index": (slice(None), SLOT, SLOT)}),
    ("take", (cube, np.array([3, 1])), {"index": (1, SLOT, BACK)}),
    ("slice", (cube,), {"index": (None, -1, ..., BACK, None)}),
    ("concatenate", (whole, whole[:1] > 0), {"axis": 0}),
    ("stack", (whole, whole > 0), {"axis": -1}),
    ("pad", (rows > 5,), {"widths": ((1, 0), (0, 2)), "value": True}),
    ("where", (rows > 5, rows > 2, rows > 7), {}),
    ("argsort", (np.array([3, 1, 3, 1, 2]),), {"axis": 0}),
    ("cumsum", (rows > 2,), {"axis": 1}),
    ("matmul", (rows > 5, (rows > 3).T), {}),
    ("inner", (whole, whole), {}),
    ("inner", (rows.astype(int), whole[None].repeat(2, 0)), {}),
    ("max_pool", (image, ), {"size": (2, 2), "stride": (1, 2), "axes": (1, 2)}),
    ("max_pool", ((image * 9).astype(int), ), {"size": (2, 2), "stride": (1, 2), "axes": (2, 3)}),
    ("col2im", (np.arange(96.0).reshape(8, 12),),
     {"full": (2, 4, 3, 2), "size": (2, 2), "stride": (1, 1), "dilation": (1, 1)}),
]  # fmt: skip
NEAR = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-2}


def in_onnxruntime(op, operands, attrs):
    """What onnxruntime makes of a program of one step; masks that pick are constants."""
    program, given = Program("one"), []
    xs = tuple(map(Var.like, operands))
    for i, (x, value) in enumerate(zip(xs, operands)):
        if x.dtype is None or (x.dtype == bool and i and op in ("take", "put")):
            program.constants[x] = value
        else:
            program.inputs.append(x)
            given.append(value)
    out = Var.like(evaluate(op, operands, attrs))
    program.steps.append(Step(out, op, xs, attrs))
    return run(model_of(program, {}, [("y", out)], None).SerializeToString(), given)[0]


def converted(x, dtype):
    """A float64 in another dtype."""
    return x.astype(dtype) if getattr(x, "dtype", None) == np.float64 else x


@pytest.mark.filterwarnings("ignore:.* encountered:RuntimeWarning")
@pytest.mark.parametrize("dtype", NEAR)
def test_every_operation_has_a_rule_that_gives_what_numpy_gives_or_a_reason(dtype):
    assert {*RULES} | {*REFUSED} == {*OPS} and not {*RULES} & {*REFUSED}
    tried = set()
    for op, operands, attrs in (*DIRECT, *NUMBERS, *MORE):
        if op in REFUSED or (op == "ldexp" and dtype == "float16"):
            continue
        operands = tuple(converted(x, dtype) for x in operands)
        told = f"{op} {attrs} of {operands}"
        wanted = np.asarray(evaluate(op, operands, attrs))
        try:
            found = in_onnxruntime(op, operands, attrs)
        except ExportError as error:
            assert wanted.dtype == np.float64 and op in SINGLE, told
            assert "in float32 only" in str(error)
            continue
        tried.add(op)
        assert found.shape == wanted.shape, told
        assert found.dtype == wanted.dtype or type(evaluate(op, operands, attrs)) is float, told
        if (op, dtype) != ("sign", "float16"):  # of nan onnxruntime says 0 there
            a, b = wanted.astype(np.float64), found.astype(np.float64)
            np.testing.assert_allclose(b, a, rtol=NEAR[dtype], atol=NEAR[dtype], err_msg=told)
    assert {*RULES} - tried - {*SINGLE} <= operations_of_the_table()


def operations_of_the_table():
    found = set()
    for case in CASES:
        xs = [tg.tensor(np.array(x, np.float32)) for x in case.inputs]
        found.update(step.op for step in tg.trace(case.ours, *xs).steps)
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_function_of_the_calculus_table_is_the_same_in_onnxruntime(dtype):
    for case in CASES:
        xs = [np.array(x, dtype) for x in case.inputs]
        wanted = case.ours(*map(tg.tensor, xs)).numpy()
        file = Exported(case.ours, tuple(map(tg.tensor, xs)), None)
        ops = {step.op for step in file.program.steps}
        if ops & {*REFUSED} or (dtype == "float64" and ops & {*SINGLE}):
            with pytest.raises(ExportError, match=f"export: {'|'.join(ops)}"):
                file.onnx()
            continue
        (found,) = run(file.onnx(), xs)
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), case.id
        near = NEAR[dtype] * max(1.0, np.abs(wanted).max(initial=0.0))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=near, err_msg=case.id)


@pytest.mark.parametrize("op", REFUSED)
def test_a_refused_operation_names_the_users_line_as_soon_as_it_is_read(op):
    x, y = (Var((2,), np.dtype(np.float32), False, name) for name in "xy")
    step = Step(y, op, (x,), {}, (), Line("train.py", 12, "forward"))
    program = Program("step", inputs=[x], steps=[step])
    with pytest.raises(ExportError, match=re.escape(f"{op} (train.py:12 in forward): ")):
        model_of(program, {}, [("y", y)], None)
    assert [node.op_type for node in model_of(program, {}, [("y", x)], None).graph.node] == [
        "Identity"
    ]


def test_more_than_a_file_can_hold_is_refused(monkeypatch):
    monkeypatch.setattr("tinygrad_ce.engines.onnx_file.LARGEST", (1 << 20) + 100)
    file = Exported(tg.nn.Linear(5, 6, bias=False), (tg.ones(2, 5),), None)
    with pytest.raises(ExportError, match="more than 2 GB of parameters"):
        file.onnx()


INF = np.inf
EXTREMES = [
    ("sinh", [-0.0, 8.9, 9.1, -12.0, 18.9, 19.1, 30.0, 88.5, -89.0, 100.0, -INF]),
    ("cosh", [-0.0, 9.0, -12.0, 18.9, 19.1, 88.5, -89.0, 100.0, -INF]),
    ("trunc", [-0.0, -0.5, 0.5, -1.5, 2.5, INF]),
    ("floor_divide", [1, -1, 0, INF, 1, -1, 0, -0.0, 7, INF, np.nan], [0, 0, 0, 0, INF, INF, -INF,
                     INF, -2, INF, INF]),
    ("arctan2", [INF, -INF, INF, -INF, 1, -0.0, 0.0], [INF, INF, -INF, -INF, -INF, -1, 1]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given"), [(name, given) for name, *given in EXTREMES])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_are_those_of_numpy(name, given, dtype, tmp_path):
    if name == "arctan2" and dtype is np.float64:
        pytest.skip("onnxruntime has no arctan in float64")
    given = [np.array(x, dtype) for x in given]
    example = tuple(tg.full(x.shape, 0.5, dtype=x.dtype) for x in given)
    tg.export(getattr(tg, name), example, tmp_path / "model.onnx", batch=None)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (y,) = session.run(None, {i.name: x for i, x in zip(session.get_inputs(), given)})
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(*given)
    np.testing.assert_allclose(y, wanted, 1e-5 if dtype is np.float32 else 1e-13)
