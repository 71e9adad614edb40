"""Devices: there is the CPU; others have names, answer "not here", and raise when they are used."""

import copy
import importlib
import pickle

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F

NOT_HERE = "not here, tensors live in NumPy arrays, on the CPU; write device='cpu'"


def test_a_device_is_named_as_in_pytorch():
    cpu = tg.device("cpu")
    assert repr(cpu) == "device(type='cpu')" and str(cpu) == f"{cpu}" == "cpu"
    assert (cpu.type, cpu.index) == ("cpu", None) and cpu == tg.device(cpu) == tg.device(type="cpu")
    assert repr(tg.device("cuda:1")) == repr(tg.device("cuda", 1)) == repr(tg.device(1))
    assert repr(tg.device(1)) == "device(type='cuda', index=1)" and str(tg.device(1)) == "cuda:1"
    assert cpu != tg.device("cpu:0") and cpu != tg.device("cuda") and {cpu: 1}[tg.device("cpu")]
    assert pickle.loads(pickle.dumps(cpu)) == copy.copy(cpu) == cpu != 0
    x = tg.ones(2)
    assert x.device == cpu and x.device.type == "cpu" and not x.is_cuda and x.get_device() == -1
    assert f"Using {cpu} device" == "Using cpu device"
    assert tg.Generator(device=cpu).device == cpu
    with tg.device("cpu"):
        assert tg.ones(1).device == cpu
    for name in ("nonsense", "cuda:x", ""):
        with pytest.raises(RuntimeError, match="device: got"):
            tg.device(name)
    with pytest.raises(TypeError, match="device: got None; wanted a name"):
        tg.device(None)


TO = [
    (("cpu",), {}, np.float32), ((tg.device("cpu"),), {}, np.float32),
    ((np.float64,), {}, np.float64),
    ((tg.float64, True), {}, np.float64), (("cpu", tg.float64), {}, np.float64),
    (("cpu", tg.float64, True, True), {}, np.float64), ((), {"dtype": tg.double}, np.float64),
    ((), {"device": "cpu"}, np.float32), ((tg.zeros(1, dtype=tg.float64),), {}, np.float64),
    ((), {"device": tg.device("cpu"), "dtype": tg.float64, "non_blocking": True}, np.float64),
    (("cpu:0",), {"non_blocking": True}, np.float32), ((None, tg.float64), {}, np.float64),
]  # fmt: skip


@pytest.mark.parametrize(("args", "kwargs", "dtype"), TO)
def test_to_takes_a_device_and_a_dtype(args, kwargs, dtype):
    x = tg.ones(2)
    assert x.to(*args, **kwargs).dtype == dtype
    layer = nn.Linear(2, 1)
    assert layer.to(*args, **kwargs) is layer and layer.weight.dtype == dtype


def test_to_gives_the_tensor_itself_or_a_copy():
    x = tg.ones(2)
    assert x.to("cpu") is x is x.to(tg.float32) is x.cpu() and x.to(x, copy=False) is x
    copies = x.to("cpu", copy=True), x.to(tg.float32, False, True), x.to("cpu", None, False, True)
    for y in copies:
        y.add_(1.0)
        assert x.tolist() == [1.0, 1.0]
    for wrong in ("float99", [1]):
        with pytest.raises(TypeError, match="to: got"):
            x.to(wrong)
    for call in (x.to, lambda: x.to(dtyp=tg.float)):
        with pytest.raises(TypeError, match="wanted to\\(device, dtype\\)"):
            call()


MADE = {
    "tensor": ([1.5, 2.0],), "as_tensor": (np.float32([1.5]),), "zeros": (2, 3), "ones": ((2,),),
    "empty": (2,), "full": ((2,), 7.0), "eye": (2,), "arange": (3.0,), "linspace": (0.0, 1.0, 3),
    "zeros_like": (tg.ones(2),), "ones_like": (tg.ones(2),), "full_like": (tg.ones(2), 3.0),
    "empty_like": (tg.ones(2),), "rand": (2,), "randn": (2, 3), "rand_like": (tg.ones(2),),
    "randn_like": (tg.ones(2),), "randint": (0, 5, (3,)), "randperm": (3,),
    "normal": (0.0, 1.0, (2,)),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_tensors_are_made_on_a_device_in_a_dtype(name):
    make = getattr(tg, name)
    plain = make(*MADE[name])
    for device in ("cpu", tg.device("cpu"), "cpu:0", None):
        x = make(*MADE[name], device=device, dtype=tg.float64)
        assert x.dtype == tg.float64 and x.shape == plain.shape and x.device.type == "cpu"
    if name != "as_tensor":
        leaf = make(*MADE[name], dtype=tg.float32, requires_grad=True)
        assert leaf.requires_grad and leaf.is_leaf
    with pytest.raises(RuntimeError, match=NOT_HERE):
        make(*MADE[name], device="cuda")


def test_new_tensors_take_a_device():
    x = tg.ones(2, dtype=tg.float64)
    for name, args in (("new_zeros", (2, 3)), ("new_ones", ((2, 3),)), ("new_empty", (2, 3)),
                       ("new_full", ((2, 3), 7.0)), ("new_tensor", ([1.0],))):  # fmt: skip
        y = getattr(x, name)(*args, device="cpu", requires_grad=True)
        assert y.dtype == tg.float64 and y.requires_grad
        assert getattr(x, name)(*args, dtype=tg.int32).dtype == tg.int32
        with pytest.raises(RuntimeError, match=f"cuda:0: {NOT_HERE}"):
            getattr(x, name)(*args, device=0)


def test_sizes_and_bounds_may_be_named():
    for name in ("zeros", "ones", "empty", "rand", "randn"):
        make = getattr(tg, name)
        assert make(size=(2, 3)).shape == make((2, 3)).shape == make(2, 3).shape == (2, 3)
    draws = []
    for args, names in (
        ((5, (4,)), {}),
        ((0, 5, (4,)), {}),
        ((5,), {"size": (4,)}),
        ((), {"low": 0, "high": 5, "size": (4,)}),
        ((), {"high": 5, "size": (4,)}),
    ):
        tg.manual_seed(3)  # fmt: skip
        draws.append(tg.randint(*args, **names).tolist())
    assert draws == [draws[0]] * 5 and tg.randint(3, 4, (2,)).tolist() == [3, 3]


# PyTorch 2.13: torch.linspace(...).tolist()
SPACED = {
    (0.0, 1.0, 4): [0.0, 0.3333333432674408, 0.6666666269302368, 1.0],
    (-3.3, 2.1, 4): [
        -3.299999952316284, -1.5000001192092896, 0.30000007152557373, 2.0999999046325684],
    (0.0, 6.283185307179586, 6): [
        0.0, 1.2566370964050293, 2.5132741928100586, 3.769911289215088, 5.026548385620117,
        6.2831854820251465],
    (2.0, 5.0, 1): [2.0], (1.0, 2.0, 0): [],
}  # fmt: skip


@pytest.mark.parametrize("given", SPACED, ids=str)
def test_linspace_has_pytorchs_bits(given):
    assert tg.linspace(*given).tolist() == SPACED[given]


ELSEWHERE = [
    lambda: tg.ones(2).cuda(), lambda: tg.ones(2).to("cuda"), lambda: tg.ones(2).to(0),
    lambda: tg.ones(2).to(tg.device("mps")), lambda: tg.ones(2).to(device="cuda:0"),
    lambda: nn.Linear(1, 1).cuda(), lambda: nn.Linear(1, 1).to("cuda"),
    lambda: tg.Generator(device="cuda"), lambda: nn.Linear(1, 1, device="cuda"),
    lambda: tg.set_default_device("cuda"), lambda: tg.device("cuda").__enter__(),
    lambda: tg.cuda.get_device_name(0), lambda: tg.cuda.current_device(), lambda: tg.cuda.Stream(),
    lambda: tg.accelerator.synchronize(), lambda: tg.distributed.init_process_group("gloo"),
    lambda: nn.DataParallel(nn.Linear(1, 1), device_ids=[0, 1]),
    lambda: nn.parallel.DistributedDataParallel(nn.Linear(1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("use", ELSEWHERE)
def test_another_device_is_refused_when_it_is_used(use):
    with pytest.raises(RuntimeError, match=NOT_HERE):
        use()


def test_scripts_that_ask_for_a_device_get_the_cpu():
    device = tg.device("cuda" if tg.cuda.is_available() else "cpu")
    assert device == (
        tg.accelerator.current_accelerator().type if tg.accelerator.is_available() else "cpu"
    )
    assert not tg.backends.mps.is_available() and tg.cuda.device_count() == 0
    assert not tg.distributed.is_available() and not tg.distributed.is_initialized()
    tg.cuda.manual_seed(1)
    tg.cuda.manual_seed_all(1)
    tg.cuda.empty_cache()
    assert tg.cuda.memory_allocated() == tg.cuda.max_memory_allocated(0) == 0
    assert not tg.is_autocast_enabled() and not tg.amp.is_autocast_available("cuda")
    tg.backends.cudnn.deterministic, tg.backends.cudnn.benchmark = True, False
    tg.backends.cuda.matmul.allow_tf32 = True
    assert tg.backends.cudnn.deterministic and tg.backends.cuda.matmul.allow_tf32
    tg.use_deterministic_algorithms(True, warn_only=True)
    tg.set_float32_matmul_precision("high")
    assert tg.are_deterministic_algorithms_enabled()
    assert tg.get_float32_matmul_precision() == "high"
    with pytest.raises(ValueError, match="wanted 'highest', 'high' or 'medium'"):
        tg.set_float32_matmul_precision("low")
    with pytest.raises(ValueError, match="wanted an integer of at least 1"):
        tg.set_num_threads(0)
    tg.set_default_device(device)
    assert tg.get_default_device() == device and tg.get_num_threads() >= 1
    assert [int(part) for part in tg.__version__.split(".")[:2]]


def test_mixed_precision_changes_nothing():
    w = tg.tensor([3.0], requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.5)
    scaler = tg.amp.GradScaler("cuda", enabled=tg.cuda.is_available())
    with tg.autocast(device_type="cpu", dtype=tg.bfloat16), tg.cuda.amp.autocast(enabled=False):
        loss = (w * w).sum()
    assert loss.dtype == tg.float32 and not scaler.is_enabled()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    scaler.load_state_dict(scaler.state_dict())
    assert w.tolist() == [0.0] and scaler.get_scale() == 1.0 and tg.cuda.amp.GradScaler()

    @tg.amp.autocast("cpu")
    def double(x):
        return x * 2

    assert double(tg.ones(1)).tolist() == [2.0]


def test_a_model_on_one_device_is_the_model():
    layer, x = nn.Linear(2, 1), tg.ones(3, 2)
    model = nn.DataParallel(layer)
    assert model(x).tolist() == layer(x).tolist() and model.module is layer
    assert [*model.state_dict()] == ["module.weight", "module.bias"]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("utils.tensorboard", "SummaryWriter"), ("nn.parallel", "DistributedDataParallel"),
        ("cuda.amp", "autocast"), ("backends.cudnn", "benchmark"), ("distributed", "all_reduce"),
        ("amp", "GradScaler"), ("accelerator", "current_accelerator"), ("cuda", "is_available"),
    ],
)  # fmt: skip
def test_modules_of_what_is_not_here_import(module, name):
    assert hasattr(importlib.import_module(f"tinygrad_ce.{module}"), name)


def test_a_writer_for_tensorboard_is_refused_when_it_is_made():
    from tinygrad_ce.utils.tensorboard import SummaryWriter

    with pytest.raises(RuntimeError, match="record with viz"):
        SummaryWriter("runs/first")


@pytest.mark.parametrize(
    ("where", "name", "said"),
    [
        (tg, "sparse_coo_tensor", r"left out here; use zeros\(\) and x\[i, j\] = v"),
        (tg, "jit", r"left out here; use compile\(\)"),
        (nn, "Conv3d", "left out here; use Conv2d"),
        (tg.utils, "checkpoint", "left out here; use smaller batches"),
        (tg.optim, "RAdam", "left out here; use Adam, with lr_scheduler.LinearLR"),
        (tg.optim.lr_scheduler, "CyclicLR", "left out here; use OneCycleLR"),
        (tg.utils.data, "StackDataset", "left out here; use a Dataset whose"),
        (tg.distributions, "Independent", r"left out here; use log_prob\(x\)"),
        (tg, "conv2d", "left out here; use nn.functional.conv2d"),
        (tg, "clone", r"left out here; use x\.clone\(\)"),
        (F, "mish", r"left out here; use x \* tanh\(softplus\(x\)\)"),
        (tg.optim, "Adamax", "left out here; use Adam"),
        (F, "nonsense", "no attribute 'nonsense'$"), (tg.optim, "SDG", "no attribute 'SDG'$"),
        (tg, "nonsense", "no attribute 'nonsense'$"), (nn, "Lineal", "no attribute 'Lineal'$"),
        (tg.utils, "dada", "no attribute 'dada'$"),
    ],
)  # fmt: skip
def test_a_name_that_is_left_out_says_so(where, name, said):
    assert not hasattr(where, name)
    with pytest.raises(AttributeError, match=said):
        getattr(where, name)
