"""export() to StableHLO: run by JAX, also where this library is not."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax")
pytest.importorskip("flatbuffers")

import tinygrad_ce as tg
from tinygrad_ce import ExportError, nn
from tinygrad_ce.nn import functional as F

numbers = np.random.default_rng(0)


def normal(*shape):
    return tg.tensor(numbers.standard_normal(shape, np.float32))


class Network(nn.Module):
    """Some of everything: a convolution, batch norm, pools, a recurrent cell, attention."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.cells = nn.GRU(8, 6, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm.running_var[...] = 0.5

    def forward(self, images, scale):
        h = F.avg_pool2d(F.max_pool2d(F.gelu(self.norm(self.conv(images))), 2), 1)
        y, state = self.cells(h.reshape(len(images), -1, 8))
        z, _ = self.attention(y, y, y)
        return {"scores": F.softmax(z.mean(1) * scale, -1), "state": state}, y.argmax(2)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    tg.manual_seed(0)
    model = Network().eval()
    path = tmp_path_factory.mktemp("files") / "model.stablehlo"
    tg.export(model, (normal(3, 2, 8, 8), normal(3, 1)), path, batch="N")
    return model, path


def test_a_network_is_the_same_in_jax_at_batches_that_were_not_traced(network):
    model, path = network
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert [str(a) for a in exported.in_avals] == ["float32[N,2,8,8]", "float32[N,1]"]
    for n in (1, 7, 64):
        x, scale = normal(n, 2, 8, 8), normal(n, 1)
        with tg.no_grad():
            first, ids = model(x, scale)
        with jax.enable_x64(True):
            found = exported.call(x.numpy(), scale.numpy())
        for y, wanted in zip(found, (first["scores"], first["state"], ids), strict=True):
            assert (y.shape, y.dtype) == (wanted.shape, wanted.dtype)
            np.testing.assert_allclose(y, wanted.numpy(), rtol=0, atol=2e-6)


def test_a_file_runs_in_a_process_without_this_library(network, tmp_path):
    model, path = network
    x, scale = normal(5, 2, 8, 8), normal(5, 1)
    np.savez(tmp_path / "x.npz", x=x.numpy(), scale=scale.numpy())
    code = (
        "import sys, numpy as np\nfrom jax import export\n"
        f"given = np.load({str(tmp_path / 'x.npz')!r})\n"
        f"f = export.deserialize(bytearray(open({str(path)!r}, 'rb').read()))\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, f.call(given['x'], given['scale'])[0])\n"
        "assert not any(name.startswith('tinygrad') for name in sys.modules)"
    )
    others = [p for p in sys.path if not (Path(p) / "tinygrad_ce").exists()]
    environment = {"PYTHONPATH": os.pathsep.join(others)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    with tg.no_grad():
        wanted = model(x, scale)[0]["scores"].numpy()
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), wanted, rtol=0, atol=2e-6)


def follows(x):
    return x * len(x) + x.sum() / math.sqrt(len(x)), x[: len(x) - 1], tg.arange(len(x)) - x[:, 0]


def test_what_follows_the_batch_is_the_same_at_other_batches(tmp_path):
    path = tmp_path / "model.stablehlo"
    tg.export(follows, normal(4, 3), path)
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    x = normal(9, 3)
    with jax.enable_x64(True):
        for y, wanted in zip(exported.call(x.numpy()), follows(x), strict=True):
            np.testing.assert_allclose(y, wanted.numpy(), rtol=1e-6, atol=1e-6)


def test_a_batch_of_its_own_size_is_kept(tmp_path):
    path = tmp_path / "model.stablehlo"
    tg.export(lambda x, a: x[: len(x) // 2] * a, (normal(5, 2), 3.0), path, batch=None)
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    x = normal(5, 2)
    with jax.enable_x64(True):
        np.testing.assert_allclose(exported.call(x.numpy(), 0.5), x[:2].numpy() / 2, rtol=1e-7)


def test_what_no_file_can_hold_is_refused(tmp_path):
    path = tmp_path / "model.stablehlo"
    with pytest.raises(ExportError, match=r"draw \(.*test_export_stablehlo\.py:\d+ in .*eval"):
        tg.export(lambda x: F.dropout(x), normal(4, 3), path)
    with pytest.raises(ExportError, match=r"index of slice \(.*test_export_stablehlo"):
        tg.export(lambda x: x[: len(x) // 2], normal(4, 3), path)
    with pytest.raises(ExportError, match=r"slice \(.*test_export_stablehlo.*JAX cannot .*None"):
        tg.export(lambda x: x[len(x) - 1], normal(4, 3), path)
    for model, words in REFUSED:
        with pytest.raises(ExportError, match=words):
            tg.export(model, normal(4, 3), path)
    assert not path.exists()


REFUSED = (
    (lambda x: x[:3], r"length of a slice \[:3\] \(.*test_export_stablehlo.*wanted the same, or a"),
    (lambda x: x[2:], r"length of a slice \[2:\] \(.*test_export_stablehlo.* 0, 0, 1, 2, 3 and "),
    (lambda x: x[:300], r"what slice makes \(.*test_export_stablehlo.*wanted the same, or a"),
    (lambda x: x * (2 if len(x) == 2 else 1), "for a batch of 2 rows"),
    (lambda x: x * (2 if len(x) > 300 else 1), r"a number \(.*test_export_stablehlo.* and 2.0 for"),
)
