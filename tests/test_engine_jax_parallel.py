"""One step on eight devices, and on two processes: the losses of one, and what is sent around."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FLAGS = os.environ.get("XLA_FLAGS", "")
if "device_count" not in FLAGS:  # before JAX looks
    os.environ["XLA_FLAGS"] = f"{FLAGS} --xla_force_host_platform_device_count=8"
jax = pytest.importorskip("jax")

from side_by_side import agree, numbers_of
from test_engine_jax import Trained, widened

import tinygrad_ce as tg
from tests.benchmarks.in_tinygrad_ce import RUNS
from tests.benchmarks.workloads import WORKLOADS, two_moons
from tinygrad_ce import nn
from tinygrad_ce.engines.away import is_away
from tinygrad_ce.nn import functional as F

COLLECTIVES = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"

pytestmark = pytest.mark.skipif(len(jax.devices()) < 8, reason="JAX has begun with fewer devices")


def collectives(compiled):
    """What the devices send to each other in the program that ran last."""
    return set(re.findall(rf" ({COLLECTIVES})(?:-start)?\(", compiled.emitted()))


def small(name):
    """Data whose batch eight devices can share."""
    data = two_moons(96) if name == "W1" else WORKLOADS[name].small()
    if name in ("W7", "W8"):  # four pictures, two texts
        batches = [tuple(np.concatenate([p] * 4) for p in batch) for batch in data.batches]
        data = type(data)(**{**vars(data), "batches": batches})
    return data


@pytest.mark.parametrize("name", ["W1", "W2", "W3", "W4", "W7", "W8"])
def test_eight_devices_find_the_losses_of_eager_code_and_send_sums_alone(name):
    made = []

    def on_eight(step):
        made.append(tg.compile(step, engine="jax", devices=8))
        return made[-1]

    build, data = RUNS[name]["tinygrad_ce"], widened(small(name))
    plain, spread = build(data), build(data, compile=on_eight)
    for _ in range(3):
        np.testing.assert_allclose(spread.step(), plain.step(), rtol=1e-12)
    for a, b in zip(spread.results(), plain.results(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())
    assert collectives(made[0]) == {"all-reduce"}
    weight = made[0].runners[0]
    assert {len(s.device_set) for s in (weight.place.rows, weight.place.whole)} == {8}


stream = np.random.default_rng(1)
x, y = tg.tensor(stream.standard_normal((16, 6))), tg.tensor(stream.integers(0, 3, 16))


def losses(**how):
    trained = Trained(tg.compile(engine="jax", **how) if how else lambda f: f)
    tg.manual_seed(4)
    found = [trained.step(x, y) for _ in range(4)]
    trained.model.eval()
    return numbers_of([found, trained.loss(x, y), trained.held()]), trained


def test_batch_norm_has_the_statistics_of_the_whole_batch_and_dropout_the_masks_of_eager_code():
    spread, trained = losses(devices=8)
    agree(spread, losses()[0])
    assert collectives(trained.step) == {"all-reduce"}


def test_numbers_drawn_on_the_devices_do_not_depend_on_how_many_there_are():
    agree(losses(devices=8, random="device")[0], losses(random="device")[0])


def test_a_mesh_of_two_axes_divides_the_batch_by_both():
    mesh = jax.make_mesh((2, 4), ("host", "chip"))
    agree(losses(mesh=mesh)[0], losses()[0])


def test_results_and_large_inputs_stay_where_they_are_if_that_is_where_they_are_wanted():
    on_eight = tg.compile(engine="jax", devices=8)
    a = tg.tensor(stream.standard_normal((8000, 4)))
    centred, total = on_eight(lambda x: x - x.mean(0)), on_eight(lambda x: (x * x).sum(0))
    elsewhere = tg.compile(lambda x: (x * x).sum(0), engine="jax")
    wanted = (a - a.mean(0)).square().sum(0)
    for _ in range(8):
        between = centred(a)
        agree(total(between).numpy(), wanted.numpy(), 1e-12)
        agree(elsewhere(centred(a)).numpy(), wanted.numpy(), 1e-12)
    assert not collectives(total) - {"all-reduce"} and len(total.runners) == 1
    while is_away(a):
        centred(tg.zeros(8000, 4))
    between = centred(a)
    agree(total(between).numpy(), wanted.numpy(), 1e-12)
    centred(a)
    assert is_away(a) and is_away(between)


def test_training_on_eight_devices_and_evaluation_on_one_share_the_state():
    found = []
    for how in ({}, {"devices": 8}):
        trained = Trained(lambda f: f)
        if how:
            trained.step = tg.compile(trained.train, engine="jax", **how)
            trained.loss = tg.compile(trained.measure, engine="jax")
        tg.manual_seed(4)
        seen = []
        for _ in range(4):
            trained.model.train()
            trained.step(x, y)
            trained.model.eval()
            seen.append(trained.loss(x[:5], y[:5]))
        found.append(numbers_of(seen))
    agree(found[1], found[0])


def test_a_batch_that_does_not_divide_is_refused_with_what_would():
    tg.manual_seed(0)
    model = nn.Linear(3, 2)

    @tg.compile(engine="jax", devices=8)
    def f(x):
        return model(x).sum()

    message = r"x has 100 rows, which 8 devices cannot share evenly; pass 96 or 104, or drop_last"
    with pytest.raises(ValueError, match=message):
        f(tg.ones(100, 3))
    with pytest.raises(ValueError, match=r"x has 5 rows, .*; pass 8, or"):
        f(tg.ones(5, 3))
    assert f(tg.ones(16, 3)).shape == ()


def test_batched_says_which_inputs_are_divided():
    def f(table, ids, x):
        return table[ids] + x

    given = tg.arange(6.0).reshape(3, 2), tg.tensor([0, 2, 1, 1] * 4), tg.ones(16, 2)
    for how in ({}, {"batched": ("ids",)}, {"batched": "x"}):
        spread = tg.compile(f, engine="jax", devices=8, **how)
        np.testing.assert_array_equal(spread(*given), f(*given))
    assert [at is spread.runners[0].place.rows for at in spread.runners[0].place.inputs_at] == [
        False, False, True,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="batched names z; f has the inputs table, ids, x"):
        tg.compile(f, engine="jax", devices=8, batched=("z",))(*given)


def test_devices_are_looked_for():
    with pytest.raises(ValueError, match=r"devices=64; JAX has 8 here.*device_count=64"):
        tg.compile(F.relu, engine="jax", devices=64)
    with pytest.raises(TypeError, match="both devices and mesh"):
        tg.compile(F.relu, engine="jax", devices=1, mesh=jax.make_mesh((1,), ("x",)))
    one = tg.compile(F.relu, engine="jax", devices=jax.devices()[3:5])
    assert one(tg.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


@pytest.mark.parametrize(("how", "error", "message"), [
    ({"devices": True}, TypeError, "got devices=True; wanted how many, as devices=8, or some of"),
    ({"devices": "cpu"}, TypeError, "got devices='cpu'; wanted how many"),
    ({"devices": 2.0}, TypeError, "got devices=2.0; wanted how many"),
    ({"devices": []}, TypeError, r"got devices=\[\]; wanted how many"),
    ({"devices": [1, 2]}, TypeError, r"got devices=\[1, 2\]; wanted how many"),
    ({"devices": 0}, ValueError, "got devices=0; wanted 1 ... 8"),
    ({"mesh": 8}, TypeError, "got mesh=8; wanted a mesh of jax.make_mesh"),
    ({"devices": 2, "batched": 3}, TypeError, "got batched=3; wanted names of arguments"),
    ({"devices": 2, "batched": ()}, TypeError, r"got batched=\(\); wanted names of arguments"),
    ({"donate": "no"}, TypeError, "got donate='no'; wanted True or False"),
    ({"local": 1}, TypeError, "got local=1; wanted True or False"),
    ({"devcies": 3}, TypeError, "^compile: .* keyword argument 'devcies'; devices, mesh, batched"),
])  # fmt: skip
def test_settings_are_looked_at_when_they_are_given(how, error, message):
    with pytest.raises(error, match=message):
        tg.compile(F.relu, engine="jax", **how)


def test_batched_takes_the_name_of_an_argument_and_is_named_where_the_batch_is_guessed():
    def f(b, w):
        return b["x"] @ w + b["y"][:, None]

    given = {"x": tg.ones(16, 3), "y": tg.arange(16.0)}, tg.ones(3, 2)
    for batched in (("b",), ("b_x", "b_y"), ["b"]):
        spread = tg.compile(f, engine="jax", devices=8, batched=batched)
        np.testing.assert_array_equal(spread(*given), f(*given))
        place = spread.runners[0].place
        assert [at is place.rows for at in place.inputs_at] == [True, True, False]

    def g(w, x):
        return x @ w

    spread = tg.compile(g, engine="jax", devices=8)
    assert spread(tg.ones(3, 2), tg.ones(16, 3)).shape == (16, 2)  # what can be divided
    with pytest.raises(ValueError, match=r"w has 3 rows, .* name it: batched=\('x',\)"):
        spread(tg.ones(3, 2), tg.ones(15, 3))


# --- several processes --------------------------------------------------------------------------

HOST = """
import os, signal, sys
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
process, port, act = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process, heartbeat_timeout_seconds=10)
import numpy as np
import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F
from test_engine_jax import Trained
from test_engine_jax_parallel import x, y
half = slice(8 * process, 8 * process + 8)
given = (x[half], y[half]) if act == "local" else (x, y)
trained = Trained(tg.compile(engine="jax", devices=8, local=act == "local"))
tg.manual_seed(4)
def refused(step, *given, **how):
    compiled = tg.compile(step, engine="jax", devices=8, local=True, **how) if how else step
    try:
        print("loss", compiled(*given).item(), flush=True)
    except (TypeError, ValueError) as error:
        print("refused", error, flush=True)
if act == "refused":
    mine = (x[half], y[half].clone())
    weigh = lambda x, y, w: (x.sum(1) * w).sum() + (y * w).sum()
    w = tg.arange(8.0).double()
    refused(weigh, *mine, w, batched=None)
    refused(lambda b, w: weigh(b["x"], b["y"], tg.cat(w)), {"x": mine[0], "y": mine[1]}, [w, w],
            batched=("b",))
    refused(weigh, *mine, w, batched=("z",))
    refused(weigh, mine[0].clone().requires_grad_(), mine[1], w, batched=("x", "y"))
    n = nn.Linear(6, 3).double()
    step = tg.compile(lambda x, y: F.cross_entropy(n(x), y), engine="jax", devices=8, local=True)
    refused(step, *mine)
    mine[1][3] = 7 if process == 0 else 0
    refused(step, *mine)
    mine[1][3] = -100 if process == 0 else 0
    refused(step, *mine)
    rows = 8 - 4 * process
    refused(step, mine[0][:rows], mine[1][:rows])
    with tg.no_grad():
        n.weight[0, 0] += process
    refused(tg.compile(lambda x: n(x).sum(), engine="jax", devices=8), x)
    sys.exit()
for i in range(4):
    if act == "killed" and process == 1 and i == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    print("loss", trained.step(*given).item(), flush=True)
print("loss", trained.model[0].weight.sum().item(), flush=True)
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def two_processes(act):
    """What each of two processes with four devices prints, and how it ends."""
    port = free_port()
    root = Path(tg.__file__).parents[1]
    environment = {
        **os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")]),
    }  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, str(i), str(port), act], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for i in range(2)
    ]  # fmt: skip
    ended = []
    for process in started:
        out, errors = process.communicate(timeout=100)
        losses = list(map(float, re.findall(r"^loss (.*)$", out, re.M)))
        ended.append((process.returncode, losses, errors, re.findall("^refused (.*)$", out, re.M)))
    return ended


def alone():
    trained = Trained(lambda f: f)
    tg.manual_seed(4)
    found = [trained.step(x, y).item() for _ in range(4)]
    return [*found, trained.model[0].weight.sum().item()]


@pytest.mark.parametrize("act", ["whole", "local"])
def test_two_processes_with_four_devices_each_find_the_losses_of_one(act):
    one, two = two_processes(act)
    assert (one[0], two[0]) == (0, 0), one[2] + two[2]
    assert one[1] == two[1]
    np.testing.assert_allclose(one[1], alone(), rtol=1e-12)


def test_rows_of_each_process_are_those_that_are_named_and_what_differs_is_refused_in_all():
    one, two = two_processes("refused")
    assert (one[0], two[0]) == (0, 0), one[2] + two[2]
    assert one[1] == two[1] and one[3] == two[3]
    weights = np.tile(np.arange(8.0), 2)
    whole = (x.numpy().sum(1) + y.numpy()) @ weights
    tg.manual_seed(4)
    model = nn.Linear(6, 3).double()
    labels = y.clone()
    labels[11] = 0
    losses = [F.cross_entropy(model(x), y).item()]
    labels[3] = -100
    losses.append(F.cross_entropy(model(x), labels).item())
    np.testing.assert_allclose(one[1], [whole, *losses], rtol=1e-12)
    for found, wanted in zip(one[3], [
        r"and w is the same in all; name them, as batched=\('x', 'y'\)",
        "batched names z; .* has the inputs x, y, w",
        "with local=True an argument cannot require a gradient",
        "7",
        "do not agree: shapes of arguments differ",
        "do not agree: parameters and other state differ",
    ], strict=True):  # fmt: skip
        assert re.search(wanted, found), found


def test_where_one_process_is_killed_the_other_ends_with_an_error():
    one, two = two_processes("killed")
    assert two[0] == -9 and one[0] not in (0, None)
    np.testing.assert_allclose(one[1][:3], alone()[:3], rtol=1e-12)
    assert len(one[1]) == 3 and one[2]
