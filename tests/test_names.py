"""docs/names.md is what the code says, and what docs/from_pytorch.md says of differences is so."""

import importlib.util
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

import tinygrad_ce as tg

FILE = Path(__file__).parent.parent / "docs" / "names.py"
spec = importlib.util.spec_from_file_location("names", FILE)
names = importlib.util.module_from_spec(spec)
spec.loader.exec_module(names)


def test_the_pages_are_up_to_date():
    assert names.FILE.read_text(encoding="utf-8") == names.text(), "run python docs/names.py"
    assert names.MOVING.read_text(encoding="utf-8") == names.moving(), "run python docs/names.py"


@pytest.mark.parametrize("module", names.MODULES)
def test_every_name_is_there(module):
    found = importlib.import_module(module)
    assert all(getattr(found, name) is not None for name in names.public(found))


@pytest.mark.parametrize("module", names.INSTEAD)
def test_what_is_left_out_says_what_to_use(module):
    found = importlib.import_module(module)
    for name, instead in names.INSTEAD[module].items():
        with pytest.raises(AttributeError) as caught:
            getattr(found, name)
        assert instead in str(caught.value)


def shapes_and_dtypes():
    with pytest.raises(ValueError, match="differ"):
        tg.ones(2, 3) @ tg.ones(2, 3)
    with pytest.raises(TypeError, match="wanted one dtype"):
        tg.nn.Linear(2, 2)(tg.ones(1, 2).double())


def shapes_of_losses():
    for loss in (tg.nn.functional.mse_loss, tg.nn.functional.l1_loss):
        with pytest.raises(ValueError, match="wanted equal shapes"):
            loss(tg.zeros(4, 1), tg.zeros(4))


def twice():
    x = tg.tensor([3.0], requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [12.0]
    y = (x * x).sum()
    y.backward(retain_graph=False)
    with pytest.raises(RuntimeError, match="retain_graph=False"):
        y.backward()


def unseen_writes():
    for write in (lambda x: x.numpy(force=True), lambda x: x.data, lambda x: x.detach()):
        x = tg.tensor([3.0], requires_grad=True)
        y = (x * x).sum()
        write(x)[...] = 5.0
        with pytest.raises(RuntimeError, match="in place since"):
            y.backward()


def far_out():
    x = tg.tensor([40.0], requires_grad=True)
    x.sigmoid().sum().backward()
    np.testing.assert_allclose(x.grad.item(), math.exp(-40), rtol=1e-6)
    x = tg.tensor([1e30] * 4, requires_grad=True)
    x.logsumexp(0).backward()
    assert x.grad.tolist() == [0.25] * 4


def certain():
    p, y = tg.tensor([1e-60], dtype=tg.float64), tg.tensor([1.0], dtype=tg.float64)
    loss = tg.nn.functional.binary_cross_entropy(p, y).item()
    np.testing.assert_allclose(loss, 60 * math.log(10), rtol=1e-15)


def compiled():
    factor, x = 2.0, tg.tensor([1.0, 2.0])
    scaled = tg.compile(lambda x: x * factor + 1)
    assert scaled(x).tolist() == [3.0, 5.0] and "return 1 + 2 * x" in scaled.source()
    factor = 3.0
    assert scaled(x).tolist() == [4.0, 7.0] and "return 1 + 3 * x" in scaled.source()
    unseen = np.ones(2, np.float32)
    compared = tg.compile(lambda x: x * unseen, check=True)
    assert compared(x).tolist() == [1.0, 2.0]
    unseen[0] = 5
    with pytest.raises(RuntimeError, match="reads another number in its second call"):
        compared(x)


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def saved(path):
    with pytest.raises(TypeError, match="wanted"):
        tg.save({"model": tg.nn.Linear(1, 1)}, path / "x.pt")
    tg.save(state := {"step": 3, "lr": 0.5, "name": "a", "of": [1, {"b": 2}]}, path / "x.pt")
    assert tg.load(path / "x.pt") == state
    (path / "y.pt").write_bytes(pickle.dumps(Runs(path / "ran")))
    with pytest.raises(ValueError, match="safetensors"):
        tg.load(path / "y.pt")
    assert not (path / "ran").exists()


def backwards():
    x = tg.arange(3)
    x[::-1][0] = 7
    assert x.tolist() == [0, 1, 7]


def traced():
    assert "return 2 * x" in tg.trace(lambda x: x * 2, tg.ones(2)).source()
    assert tg.tensor([[1.0, 2.0], [3.0, 4.0]]).diag().sum().item() == 5.0


def no_gpu():
    for call in (lambda: tg.ones(1).cuda(), lambda: tg.ones(1, device="cuda")):
        with pytest.raises(RuntimeError, match="CPU"):
            call()


def rounded():
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    theirs = {"sum": -48.02827835083008, "var": 0.9550013542175293, "logsumexp": 7.329857349395752}
    ours = [tg.tensor(x).sum().item(), tg.tensor(x).var().item(), tg.tensor(x).logsumexp(0).item()]
    np.testing.assert_allclose(ours, list(theirs.values()), rtol=1e-6)


def no_bfloat16():
    with pytest.raises(TypeError, match="bfloat16"):
        tg.ones(1, dtype=tg.bfloat16)


def test_what_differs_is_so(tmp_path):
    tried = [shapes_and_dtypes, shapes_of_losses, twice, unseen_writes, far_out, certain, compiled,
             traced, lambda: saved(tmp_path), backwards, no_gpu, rounded,
             no_bfloat16]  # fmt: skip
    assert len(tried) == len(names.DIFFERS)
    for one in tried:
        one()
