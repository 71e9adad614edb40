"""export(): models as ONNX, run by onnxruntime at batches that were never traced."""

import collections
import doctest
import math
import os
import subprocess
import sys

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

import tinygrad_ce as tg
from tests.benchmarks.in_tinygrad_ce import attention, tensors_of
from tests.benchmarks.workloads import WORKLOADS
from tinygrad_ce import ExportError, nn
from tinygrad_ce.engine import table
from tinygrad_ce.engines import export as exporting
from tinygrad_ce.engines.batches import Size
from tinygrad_ce.nn import functional as F

BATCHES = (1, 3, 9, 64)  # traced are others: 4, 5, 7 and 1000 rows
numbers = np.random.default_rng(0)


def normal(*shape):
    return tg.tensor(numbers.standard_normal(shape, np.float32))


def ids(below, *shape):
    return tg.tensor(numbers.integers(0, below, shape))


def leaves(x):
    """The arrays in what a function is given or gives."""
    if x is None:
        return []
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, (tuple, list)):
        return [leaf for part in x for leaf in leaves(part)]
    return [x.detach().numpy() if isinstance(x, tg.Tensor) else np.asarray(x)]


def session_of(path):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def exported(model, x, tmp_path, batch="batch"):
    """The model of ONNX, and what onnxruntime computes with it."""
    path = str(tmp_path / "model.onnx")
    tg.export(model, x, path, batch=batch)
    session = session_of(path)
    given = [i.name for i in session.get_inputs()]
    return onnx.load(path), lambda *xs: session.run(None, dict(zip(given, leaves(xs))))


def check(model, make, tmp_path, near=1e-5, batches=BATCHES):
    """The file says what the model says, at batches that were not traced; gives its graph."""
    file, run = exported(model, make(4), tmp_path)
    onnx.checker.check_model(file, full_check=True)
    assert [(o.domain, o.version) for o in file.opset_import] == [("", 21)]
    for n in batches:
        x = make(n)
        with tg.no_grad():
            wanted = leaves(model(*x) if type(x) is tuple else model(x))
        for y, found in zip(wanted, run(x), strict=True):
            assert (found.dtype, found.shape) == (y.dtype, y.shape)
            size = np.abs(y.astype(float)).max(initial=1e-9)
            np.testing.assert_allclose(found.astype(float), y, rtol=0, atol=near * size)
    return file.graph


def kinds(graph):
    return collections.Counter(node.op_type for node in graph.node)


def sizes(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


# --- networks -----------------------------------------------------------------------------------


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.out = nn.Conv2d(4, 8, 3, padding=1), nn.Linear(72, 10)
        self.norm.running_mean[...] = tg.tensor([0.1, -0.2, 0.3, 0.0])
        self.norm.running_var[...] = tg.tensor([0.5, 1.5, 2.0, 1.0])

    def forward(self, images):
        h = F.max_pool2d(F.relu(self.norm(self.conv1(images))), 2)
        return self.out(F.max_pool2d(F.relu(self.conv2(h)), 2, padding=1).flatten(1))


class Strided(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 6, 3, padding=1, stride=2), nn.Linear(96, 5)

    def forward(self, x):
        h = F.avg_pool2d(F.gelu(self.conv(x)), 2)
        return self.out(F.dropout(h, 0.5, self.training).reshape(x.shape[0], -1))


class Block(nn.Module):
    def __init__(self, C=16, V=30, T=8, H=4):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(V, C), nn.Embedding(T, C)
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.projection = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.up, self.down, self.out = nn.Linear(C, 4 * C), nn.Linear(4 * C, C), nn.Linear(C, V)
        self.heads, self.hidden = H, np.triu(np.ones((T, T), bool), 1)

    def forward(self, ids):
        B, T = ids.shape
        x = self.tokens(ids) + self.positions(tg.arange(T))
        q, k, v = self.qkv(self.norm1(x)).reshape(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        s = (q @ k.mT / math.sqrt(q.shape[3])).masked_fill(tg.tensor(self.hidden), -math.inf)
        x = x + self.projection((F.softmax(s, -1) @ v).transpose(1, 2).reshape(B, T, -1))
        return self.out(x + self.down(F.gelu(self.up(self.norm2(x)))))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cells, self.out = kind(5, 6, num_layers=2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        y, state = self.cells(x)
        return self.out(y[:, -1]), state


def perceptron():
    return nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)
    )


def there_and_back():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1),
        nn.Conv2d(2, 4, 3, groups=2, padding="same"),
    )


NETWORKS = {
    "MLP": (perceptron, lambda n: normal(n, 6), {"Gemm": 3, "Relu": 1, "Tanh": 1, "Identity": 1}),
    "LeNet": (LeNet, lambda n: normal(n, 1, 10, 10), {"Conv": 2, "MaxPool": 2, "Gemm": 1}),
    "strided": (Strided, lambda n: normal(n, 3, 16, 16), {"Conv": 1, "AveragePool": 1, "Gemm": 1}),
    "GPT": (Block, lambda n: ids(30, n, 8), {"Gather": 2, "MatMul": 7}),
    "LSTM": (lambda: Recurrent(nn.LSTM), lambda n: normal(n, 4, 5), {"Gemm": 9}),
    "GRU": (lambda: Recurrent(nn.GRU), lambda n: normal(n, 4, 5), {}),
    "up": (there_and_back, lambda n: normal(n, 2, 8, 8), {"Conv": 2, "ConvTranspose": 1, "Pad": 1}),
    "encoder": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        lambda n: normal(n, 5, 8), {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_the_same_in_onnxruntime(name, tmp_path):
    build, make, nodes = NETWORKS[name]
    tg.manual_seed(0)
    model = build().eval()
    graph = check(model, make, tmp_path)
    found = kinds(graph)
    assert {kind: found[kind] for kind in nodes} == nodes
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    named.pop("norm.num_batches_tracked", None)
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    for key, p in named.items():
        np.testing.assert_array_equal(tensors[key], p.detach().numpy(), strict=True)
    assert sizes(graph.input[0])[0] == "batch" and sizes(graph.output[0])[0] == "batch"


def test_inputs_and_outputs_are_called_as_in_the_model(tmp_path):
    model = tg.compile(LeNet().eval())
    graph = check(model, lambda n: normal(n, 1, 10, 10), tmp_path, batches=(2,))
    assert "conv1.weight" in {t.name for t in graph.initializer}
    assert [(x.name, sizes(x)) for x in graph.input] == [("images", ["batch", 1, 10, 10])]
    assert [(x.name, sizes(x)) for x in graph.output] == [("output", ["batch", 10])]

    def several(x, both, extra):
        first = x + both["a"]
        return {"sum": first, "more": (first @ extra, None)}, x.repeat(2, 1)[1:], x

    def make(n):
        return normal(n, 3), {"a": normal(n, 3)}, normal(3, 2)

    graph = check(several, make, tmp_path, batches=BATCHES)
    assert [x.name for x in graph.input] == ["x", "both_a", "extra"]
    assert [(x.name, sizes(x)) for x in graph.output] == [
        ("sum", ["batch", 3]), ("more", ["batch", 2]), ("output2", ["2*batch-1", 3]),
        ("output3", ["batch", 3]),
    ]  # fmt: skip


def workloads():
    """What the networks of the benchmarks compute, losses included: name -> (function, inputs)."""
    data = {name: WORKLOADS[name].small() for name in WORKLOADS}

    def perceptron(name):
        w = [*tensors_of(data[name].parameters).values()]

        def forward(x):
            for i in range(0, len(w), 2):
                x = F.linear(F.relu(x) if i else x, w[i], w[i + 1])
            return x

        return forward

    lenet = tensors_of(data["W7"].parameters)
    K1, b1, K2, b2, W3, b3 = lenet.values()

    def convolutions(x):
        h = F.max_pool2d(F.relu(F.conv2d(x, K1, b1)), 2)
        h = F.max_pool2d(F.relu(F.conv2d(h, K2, b2)), 2)
        return F.linear(h.flatten(1), W3, b3)

    w = tensors_of(data["W8"].parameters)
    T, C = w["positions"].shape
    hidden = tg.tensor(np.triu(np.ones((T, T), bool), 1))

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def transformer(ids, targets):
        x = F.embedding(ids, w["tokens"]) + w["positions"]
        n = F.layer_norm(x, (C,), w["norm1.scale"], w["norm1.shift"])
        x = x + linear(attention(linear(n, "qkv"), hidden), "projection")
        n = F.layer_norm(x, (C,), w["norm2.scale"], w["norm2.shift"])
        z = linear(x + linear(F.relu(linear(n, "up")), "down"), "out")
        return F.cross_entropy(z.flatten(0, 1), targets.flatten()), z

    def regression(x, onehot):
        z = x @ tg.tensor(data["W4"].W)
        z = z - z.amax(1, keepdim=True)
        log_p = z - z.exp().sum(1, keepdim=True).log()
        return (onehot * log_p).sum() * (-1 / len(x)), log_p

    def chain(x):
        for _ in range(data["W6"].operations // 2):
            x = x * data["W6"].a + data["W6"].b
        return x

    def rows(array):
        return lambda n: tg.tensor(array[np.arange(n) % len(array)])

    first = {name: data[name].batches[0] for name in ("W1", "W2", "W3", "W7", "W8")}
    yield perceptron("W1"), rows(first["W1"][0])
    for name, forward in (("W2", perceptron("W2")), ("W3", perceptron("W3")), ("W7", convolutions)):
        x, y = map(rows, first[name])
        yield (lambda x, y, f=forward: F.cross_entropy(f(x), y)), lambda n, x=x, y=y: (x(n), y(n))
    x, onehot = rows(data["W4"].X), rows(data["W4"].onehot)
    yield regression, lambda n: (x(n), onehot(n))
    z, y = rows(data["W5"].z), rows(data["W5"].y)
    yield F.binary_cross_entropy_with_logits, lambda n: (z(n), y(n))
    yield chain, lambda n: normal(n, 1)
    before, after = map(rows, first["W8"])
    yield transformer, lambda n: (before(n), after(n))


def test_the_networks_of_the_benchmarks_are_the_same_in_onnxruntime(tmp_path):
    for forward, make in workloads():
        check(forward, make, tmp_path)


# --- a free batch -------------------------------------------------------------------------------


def written(x):
    y = x.clone()
    y[:, 1:3] = 0.0
    y[:, 0] += 1.0
    y[0] = 5.0
    y[:, 3] = x[:, 0]
    return y


KERNEL = tg.tensor([[[[1.0, -1.0], [0.5, 2.0]]]])
FREE = {
    "a number of rows": lambda x: x * float(len(x)) + x.sum() / len(x),
    "1 / n and √n": lambda x: x * (1 / len(x)) + x.std(0, correction=0) / math.sqrt(len(x)),
    "the batch twice": lambda x: x @ x.T,
    "rows": lambda x: (x[0], x[-1], x[len(x) - 1], x.flip(0), x.roll(1, 0)),
    "arange": lambda x: x * tg.arange(len(x)).unsqueeze(1) + tg.arange(2.0, len(x) + 2)[:, None],
    "constants": lambda x: tg.cat([x, tg.zeros(len(x), 2), tg.full((len(x), 1), 7.0)], 1),
    "along the batch": lambda x: (x.cumsum(0), x.sort(0)[1], x.argmax(0), F.softmax(x, 0)),
    "repeats": lambda x: (x.repeat(2, 3), x.repeat_interleave(2, 0)),
    "the diagonal": lambda x: (x @ x.T).diagonal(),
    "writes": written,
    "scatter": lambda x: tg.zeros(len(x), 6).scatter(
        1, tg.tensor([[0, 5]]).expand(len(x), 2), x[:, :2]
    ),
    "comparisons": lambda x: (x > 0, ~(x > 0) | (x < -1), (x > 0).any(1), x.topk(2)[0]),
    "norms": lambda x: (x.norm(dim=1), F.normalize(x, dim=1), (x * 1e-30).norm()),
    "activations": lambda x: (F.softplus(x), F.silu(x), F.elu(x), F.gelu(x), F.log_sigmoid(x)),
    "quantiles": lambda x: (x.quantile(0.3, dim=1), x.median(1)[0]),
    "the batch as height": lambda x: F.conv2d(x[None, None], KERNEL, padding=1),
    "a gradient": lambda x: tg.func.grad(lambda v: (v.tanh() ** 3).sum() * len(v))(x),
    "einsum": lambda x: tg.einsum("bi,bj->bij", x, x),
    "what it is given": lambda x: (x, x, x.view(-1, 2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", FREE)
def test_what_follows_the_batch_is_the_same_at_other_batches(name, tmp_path):
    check(FREE[name], lambda n: normal(n, 4), tmp_path, near=2e-6)


WHOLE = {
    "int64": lambda x: (
        x // 3,
        x % 3,
        -x,
        x * 2,
        x / 2,
        x**2,
        x.float().mean(1),
        F.one_hot(x + 5, 14),
    ),
    "int32": lambda x: (x // 3, x % 3, -x, x * 2, x / 2, x.clamp(-2, 3), x.amax(1), x.sum(1)),
    "int16": lambda x: (x * 3, tg.where(x > 2, x, -x), x.amax(1), x.argmin(1), x.clamp(0)),
    "uint8": lambda x: (x * 3, x + 200, x.float() / 255, x.amin(0)),
    "bool": lambda x: (x.float().sum(1), x & ~x, x.any(1), x.all(), x.sum(), tg.where(x, 1.0, 2.0)),
    "float16": lambda x: (x * 3, x.softmax(1), x.exp().sum(1)),
    "float64": lambda x: (x.sin(), x.exp().log(), x.softmax(1), x @ x.T, x.tanh(), x.sinh()),
}


@pytest.mark.parametrize("dtype", WHOLE)
def test_inputs_of_any_dtype(dtype, tmp_path):
    def make(n):
        x = numbers.integers(-5 * (dtype != "uint8"), 9, (n, 4))
        x[0] = (-4, 3, 8, 0) if dtype != "uint8" else 4
        return tg.tensor((x > 2 if dtype == "bool" else x).astype(dtype))

    near = {"float16": 2e-3, "float64": 1e-12}.get(dtype, 1e-6)
    check(WHOLE[dtype], make, tmp_path, near=near)


K = tg.arange(54.0).view(3, 2, 3, 3) / 50
IMAGES = {
    "pools": lambda x: (
        F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True), F.avg_pool2d(x, 3, 2, padding=1),
        F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), F.max_pool2d(x, (2, 3), (1, 2)),
        F.avg_pool2d(x, 2, divisor_override=3), F.adaptive_avg_pool2d(x, (3, 2)),
        F.avg_pool2d(F.pad(x, (2, 2, 2, 2)), 2),
    ),
    "two branches": lambda x: tg.cat(
        [F.conv2d(x, K.to(x.dtype), padding=1), F.conv2d(x, 2 * K.to(x.dtype), padding=1)], 1
    ),
    "windows": lambda x: (F.unfold(x, 2, padding=1, stride=2), x.unfold(2, 3, 2)),
    "convolutions": lambda x: F.conv2d(
        x, K.to(x.dtype), dilation=2, padding=(2, 1)
    ),
    "signals": lambda x: F.max_pool1d(
        F.conv1d(x[:, :, 0], tg.arange(12.0, dtype=x.dtype).view(2, 2, 3), padding=1, stride=2), 2
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", IMAGES)
def test_windows_of_images(name, dtype, tmp_path):
    def make(n):
        return tg.tensor(numbers.standard_normal((n, 2, 7, 8)).astype(dtype))

    graph = check(IMAGES[name], make, tmp_path, 1e-6 if dtype == "float32" else 1e-12, (1, 9))
    wanted = {
        "pools": {"MaxPool": 2, "AveragePool": 3},
        "convolutions": {"Conv": 1},
        "two branches": {"Conv": 2},
    }
    if dtype == "float32":
        found = kinds(graph)
        assert {k: found[k] for k in wanted.get(name, {})} == wanted.get(name, {})


def test_products_with_windows_that_are_no_convolution(tmp_path):
    matrix = tg.arange(24.0).view(3, 8) / 10
    windows = {"size": (2, 2), "stride": (1, 1), "dilation": (1, 1)}.values()

    def model(x):
        y = matrix @ table.im2col(x, *windows)
        return y.reshape(3, 4, 3, 5), table.col2im(matrix.mT @ y, (2, 5, 4, 5), *windows)

    x = normal(2, 5, 4, 5)
    file, run = exported(model, x, tmp_path, batch=None)
    for found, y in zip(run(x), model(x), strict=True):
        np.testing.assert_allclose(found, y.numpy(), rtol=1e-5, atol=1e-4)
    assert not {"Conv", "ConvTranspose"} & {*kinds(file.graph)}


def test_a_batch_of_its_own_size_is_kept(tmp_path):
    def model(x):
        return x[: len(x) // 2] * len(x) ** 2

    file, run = exported(model, normal(5, 2), tmp_path, batch=None)
    assert sizes(file.graph.input[0]) == [5, 2] and sizes(file.graph.output[0]) == [2, 2]
    x = normal(5, 2)
    np.testing.assert_array_equal(run(x)[0], model(x).numpy())
    file, run = exported(lambda x, scale: x * scale, (tg.tensor(3.0), 2.0), tmp_path, batch=None)
    assert [sizes(x) for x in file.graph.input] == [[], []]
    assert run(tg.tensor(5.0), 0.5)[0] == 2.5


def test_the_axis_has_the_name_that_is_asked_for(tmp_path):
    file, run = exported(lambda x: x.repeat(2, 1), normal(3, 2), tmp_path, batch="N")
    assert sizes(file.graph.input[0]) == ["N", 2] and sizes(file.graph.output[0]) == ["2*N", 2]
    assert run(normal(300, 2))[0].shape == (600, 2)


def test_arguments_say_by_name_which_axis_of_them_is_the_batch(tmp_path):
    cells, path = nn.LSTM(4, 3), tmp_path / "model.onnx"

    def model(x, table, state=None):
        return cells(x, state)[0] @ table, table.sum(0)

    def make(n):
        return normal(6, n, 4), normal(3, 3), [normal(1, n, 3), normal(1, n, 3)]

    batch = {"x": 1, "table": None, "state": -2}
    tg.export(model, make(3), path, batch=batch)
    session = session_of(path)
    assert [i.shape for i in session.get_inputs()] == [
        [6, "batch", 4], [3, 3], [1, "batch", 3], [1, "batch", 3],
    ]  # fmt: skip
    for n in BATCHES:
        x = make(n)
        found = session.run(None, dict(zip([i.name for i in session.get_inputs()], leaves(x))))
        for y, wanted in zip(found, leaves(model(*x)), strict=True):
            np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-6)
    for wrong, words in {
        "X": (ValueError, "batch names 'X', and the arguments are x, table, state"),
        "table": (ValueError, r"axis 1 of \(6, 4, 4\), axis 0 of \(3, 3\).*; wanted as many rows"),
        "x": (ValueError, r"axis 3 to an argument of shape \(6, 4, 4\)"),
        "state": (TypeError, "wanted an axis or None for each name of an argument"),
    }.items():
        axis = {"table": 0, "x": 3, "state": "N"}.get(wrong, 0)
        with pytest.raises(words[0], match=words[1]):
            tg.export(model, make(4), path, batch={**batch, wrong: axis})
    with pytest.raises(ValueError, match="gives no argument an axis; pass batch=None"):
        tg.export(model, make(4), path, batch={"x": None})
    with pytest.raises(ValueError, match=r"axis 1 of \(6, 0, 4\); wanted as many rows, one at"):
        tg.export(model, make(0)[:2], path, batch={"x": 1})
    with pytest.raises(ExportError, match=r"raises ValueError .*Leave out of batch what keeps"):
        tg.export(model, make(3), path, batch={"x": 1, "table": 0, "state": 1})
    with pytest.raises(ValueError, match="an axis to no array; wanted"):
        tg.export(lambda x, a: x * a, (normal(2), 2.0), path, batch={"a": 0})


# --- what is refused ----------------------------------------------------------------------------

HERE = r"\(.*test_export\.py:\d+ in"
TRAINED = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
NONE_PICKED = tg.tensor([0, 1])


def part_written(x):
    y = x.clone()
    y[: len(x) - 1, 0] = 0.0
    return y


REFUSALS = {
    "linspace": (lambda x: x[:, 0] + tg.linspace(0, 1, len(x)), f"a constant {HERE}"),
    "a constant of other axes": (
        lambda x: x + tg.tensor([1.0] if len(x) > 20 else 1.0), f"a constant {HERE}",
    ),
    "an operand": (lambda x: x + (x if len(x) > 20 else 1.0), f"other steps: add {HERE}"),
    "more steps": (lambda x: [x * 2.0 for _ in range(len(x))], f"other steps: multiply {HERE}"),
    "more results": (lambda x: [x] * len(x), "how many tensors the model returns goes by"),
    "a row or rows": (lambda x: x[0] if len(x) < 20 else x[:1], f"index of slice {HERE}"),
    "axes": (lambda x: x[(None, 0)[len(x) > 20 :]], f"index of slice {HERE}"),
    "keepdim": (lambda x: x.amax(1, keepdim=len(x) > 20), f"keepdims of max {HERE}.*True for"),
    "None": (lambda x: x[:, None, NONE_PICKED], f"take {HERE}.*an index of arrays and None"),
    "some rows written": (part_written, f"put {HERE}.*such places have no counterpart"),
    "unfolded": (lambda x: F.unfold(x[None, None], 2), f"im2col {HERE}.*windows along the batch"),
    "half of the rows": (lambda x: x[: len(x) // 2], f"index of slice {HERE}.* 2, 2, 3 and 500"),
    "rows squared": (lambda x: x * len(x) ** 2, f"number {HERE}.* 16.0, 25.0, 49.0 and 1000000.0"),
    "eye": (lambda x: x @ x.T + tg.eye(len(x)), f"a constant {HERE}"),
    "few rows": (lambda x: x[:100], f"shape of what slice makes {HERE}.* 4, 5, 7 and 100 for"),
    "three rows": (
        lambda x: x[:3], rf"length of a slice \[:3\] {HERE}.* 1, 2, 3, 3, 3 and 3 for 1, 2, 3",
    ),
    "very many rows": (lambda x: x[:2000], rf"a slice \[:2000\] {HERE}.* 5 and 2000 for 1, 2, 3"),
    "but two rows": (lambda x: x.diff(2, 0), rf"a slice \[1:\] {HERE}.* is 0, 0, 1, 2, 3 and "),
    "the last three rows": (lambda x: x[..., -3:, :], rf"length of a slice \[-3:\] {HERE}"),
    "columns of three rows": (lambda x: x[:3, NONE_PICKED], rf"a slice \[:3\] {HERE}"),
    "two rows": (lambda x: x * (2 if len(x) == 2 else 1), "for a batch of 2 rows"),
    "other three rows": (lambda x: x * (2 if len(x) == 3 else 1), "for a batch of 3 rows"),
    "seven rows": (lambda x: x * (2 if len(x) == 7 else 1), f"a number {HERE}.* 1.0, 2.0 and 1.0"),
    "some hundreds": (lambda x: x * (2 if len(x) > 300 else 1), f"a number {HERE}.* and 2.0 for"),
    "a branch": (lambda x: x * 2 if len(x) > 200 else x + 1, f"takes other steps: multiply {HERE}"),
    "one row": (lambda x: x * 2 if len(x) == 1 else x + 1, "for a batch of 1 row"),
    "one short row": (
        lambda x: x.amax(0) if len(x) == 1 else x[tg.tensor([0, 1])].amax(0),
        "for a batch of 1 row the file would fail: .*out of data bounds",
    ),
    "squeeze": (lambda x: x[:, None].squeeze(), r"float32 \(1, 3\) instead of .*\(3,\)"),
    "dropout": (lambda x: F.dropout(x * 2), rf"draw {HERE}.*random numbers.*model\.eval\(\)"),
    "dropout in a module": (TRAINED, r"draw \(in Sequential / Dropout 1 .*model\.eval\(\)"),
    "rand": (lambda x: x + tg.rand(len(x), 3), f"draw {HERE}"),
    "batch norm": (nn.BatchNorm1d(3), r"changes .* \(in BatchNorm1d\).*model\.eval\(\)"),
    "an argument": (lambda x: x.add_(1.0), f"writes into its argument .*{HERE}"),
    "a text": (lambda x: (x, "a"), "returns a str; wanted Tensors"),
    "nothing": (lambda x: None, "returns no Tensor"),
    "float64": (lambda x: x.double().erf(), f"erf {HERE}.*export model.float"),
    "a table": (lambda x: x + tg.ones(4, 3), r"with 5 rows, instead .* raises ValueError \("),
    "windows along the batch": (lambda x: x.unfold(0, 2, 1), f"windows {HERE}.*batch=None"),
    "products along the batch": (lambda x: (x * 9).cumprod(0), f"cumprod {HERE}.*batch=None"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_no_file_can_hold_is_refused_with_the_users_line(name, tmp_path):
    model, words = REFUSALS[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(b"as it was")
    with pytest.raises(ExportError, match=words):
        tg.export(model, normal(4, 3), path)
    assert path.read_bytes() == b"as it was" and os.listdir(tmp_path) == ["model.onnx"]


def test_gradients_are_refused_and_so_is_what_cannot_be_traced(tmp_path):
    w = tg.ones(3, requires_grad=True)

    def learns(x):
        with tg.enable_grad():
            loss = (x * w).sum()
            loss.backward()
        return loss

    with pytest.raises(ExportError, match=r"sets the \.grad of a tensor of shape \(3,\)"):
        tg.export(learns, normal(4, 3), tmp_path / "model.onnx")
    assert w.grad is None
    with pytest.raises(tg.TraceError, match="has not computed yet"):
        tg.export(lambda x: x if x.sum() > 0 else -x, normal(4, 3), tmp_path / "model.onnx")


def test_wrong_arguments_are_refused(tmp_path):
    model, x = nn.Linear(3, 2), normal(4, 3)
    with pytest.raises(ValueError, match=r"no known ending; wanted \.onnx or \.stablehlo"):
        tg.export(model, x, tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match="export: there is no folder"):
        tg.export(model, x, tmp_path / "no" / "model.onnx")
    with pytest.raises(TypeError, match="batch=3; wanted the name of an axis, None, or a dict"):
        tg.export(model, x, tmp_path / "model.onnx", batch=3)
    with pytest.raises(TypeError, match="wanted a function"):
        tg.export(3, x, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="no axis that could be the batch; pass batch=None"):
        tg.export(lambda x: x, tg.tensor(2.0), tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="linear: input has shape"):  # what the model itself says
        tg.export(model, normal(4, 5), tmp_path / "model.onnx")


def test_a_model_is_as_it_was_and_training_mode_is_no_obstacle_by_itself(tmp_path):
    tg.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4).eval()).train()
    model[2].eval()
    state = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    x, before = normal(4, 3), tg.get_rng_state()
    tg.export(model, x, tmp_path / "model.onnx")
    assert model.training and not model[2].training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    for k, v in model.state_dict().items():
        np.testing.assert_array_equal(v.numpy(), state[k])
    assert (tg.get_rng_state() == before).all() and tg.is_grad_enabled()


def test_a_model_that_takes_no_single_row_is_exported(tmp_path):
    def model(x):
        if len(x) == 1:
            raise ValueError("one is none")
        return x * 2

    check(model, lambda n: normal(n, 3), tmp_path, batches=(3, 7))


def test_sizes_that_follow_the_batch_are_equal_by_their_formula():
    three, other = Size(3, 1, 0), Size(3, 2, -3)
    assert three == Size(4, 1, 0) and len({three, Size(4, 1, 0), other}) == 2
    assert three != other and three != 3 and three + 0 == 3
    assert [repr(three), other.named("N"), Size(5, 1, 2).named("N")] == ["batch", "2*N-3", "N+2"]


def test_one_parameter_in_two_places_is_written_once(tmp_path):
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    graph = check(model, lambda n: ids(5, n, 2), tmp_path)
    assert [t.name for t in graph.initializer if t.name.endswith("weight")] == ["0.weight"]


def test_an_absent_package_is_one_line(tmp_path):
    code = (
        "import sys, tinygrad_ce as tg\n"
        "for module, suffix in dict(onnx='.onnx', onnxruntime='.onnx', jax='.stablehlo').items():\n"
        "    sys.modules[module] = None\n"
        "    try:\n"
        "        tg.export(tg.nn.Linear(1, 1), tg.ones(2, 1), 'model' + suffix)\n"
        "    except ImportError as error:\n"
        "        print(error)\n"
        "    del sys.modules[module]"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", code],
        check=True, capture_output=True, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert result.stdout.splitlines() == [
        "export: a .onnx file needs onnx: pip install 'tinygrad_ce[onnx]'",
        "export: a .onnx file needs onnxruntime: pip install 'tinygrad_ce[onnx]'",
        "export: a .stablehlo file needs jax: pip install 'tinygrad_ce[jax]'",
    ]
    assert not os.listdir(tmp_path)


def test_the_example_of_the_docstring_runs():
    failed, tried = doctest.testmod(exporting, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried and not failed


def test_a_large_model_is_traced_with_few_rows_and_tried_with_those_of_the_example(tmp_path):
    W, seen = normal(1000, 1000) / 40, []

    def model(x):
        seen.append(len(x))
        for _ in range(10):  # 10 million products for each row
            x = x @ W
        return x if len(x) < 30 else x.flip(1)

    with pytest.raises(
        ExportError, match=r"for a batch of 40 rows .*: \d+% of its elements differ"
    ):
        tg.export(model, normal(40, 1000), tmp_path / "model.onnx")
    assert seen[:3] == [4, 5, 7] and 15 <= seen[3] < 30 and seen[4:] == [1, 2, 3, 40]
