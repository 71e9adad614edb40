"""Saving and loading: round trips, files of other programs, damage, full disks, kills, races."""

import hashlib
import io
import json
import math
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import tinygrad_ce as tg
from tinygrad_ce import tensor
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.serialization import LoadError, load, load_metadata, save

ROOT = Path(__file__).parent.parent
PYTORCHS = Path(__file__).parent / "data" / "pytorch.safetensors"
DTYPE_NAMES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
               "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"}  # fmt: skip
DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def assert_same(got, wanted):
    """The same nesting, order and bits; arrays and Tensors come back as plain leaves."""
    if isinstance(wanted, (Tensor, np.ndarray)):
        array = wanted.array if isinstance(wanted, Tensor) else wanted
        assert isinstance(got, Tensor) and got.is_leaf and not got.requires_grad
        assert (got.dtype, got.shape) == (array.dtype.newbyteorder("="), array.shape)
        assert got.array.tobytes() == array.astype(got.dtype).tobytes()
    elif isinstance(wanted, dict):
        assert type(got) is dict
        assert [(type(key), key) for key in got] == [(type(key), key) for key in wanted]
        for key, value in wanted.items():
            assert_same(got[key], value)
    elif isinstance(wanted, (list, tuple)):
        assert type(got) is list and len(got) == len(wanted)
        for one, other in zip(got, wanted):
            assert_same(one, other)
    elif isinstance(wanted, float):
        assert type(got) is float and got.hex() == wanted.hex()
    else:
        assert type(got) is type(wanted) and got == wanted


def round_trip(state, path):
    save(state, path)
    assert_same(load(path), state)


def plain_file(header, data=b""):
    """A safetensors file put together by hand."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


# --- round trips --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 3), (2, 0, 5), (5, 3, 2)])
def test_every_dtype_and_shape_comes_back(path, dtype, shape):
    x = np.array(np.arange(math.prod(shape)).reshape(shape) % 7 / 3, dtype)
    round_trip({"x": x, "tensor": tensor(x)}, path)


def test_special_numbers_come_back_bit_by_bit(path):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1.7976931348623157e308, 0.1])
    round_trip({"f8": x, "negative nan": -x, "i8": np.array([-(2**63), 2**63 - 1])}, path)


def test_any_layout_of_memory_is_saved(path):
    x = np.arange(24.0).reshape(2, 3, 4)
    state = {
        "transposed": x.T,
        "every other": x[:, ::-2],
        "repeated": np.broadcast_to(x[0, 0], (5, 4)),
        "big endian": x.astype(">f8"),
        "read only": np.frombuffer(b"\0\1\2", np.uint8),
        "view of a tensor": tensor(x).T,
    }
    round_trip(state, path)


def test_tensors_on_one_memory_are_saved_each_and_come_back_apart(path):
    x = tensor([1.0, 2.0], requires_grad=True)
    save({"a": x, "b": x, "c": x.detach()[:1]}, path)
    back = load(path)
    back["a"].zero_()
    assert [back[key].tolist() for key in "abc"] == [[0.0, 0.0], [1.0, 2.0], [1.0]]


def test_what_is_loaded_can_be_written_and_trained(path):
    save(
        {"w": tensor([3.0], requires_grad=True), "made": tensor([1.0], requires_grad=True) * 2},
        path,
    )
    w = load(path)["w"].requires_grad_()
    (w * w).sum().backward()
    assert w.grad.tolist() == [6.0]


def test_the_state_of_an_optimiser_comes_back(path):
    state = {
        "state": {
            0: {"momentum": tensor([[0.5, -0.5]]), "step": tensor(3)},
            1: {"momentum": tensor([1.0]), "step": 3},
            10: {},
        },
        "param_groups": [
            {"lr": 0.1, "betas": (0.9, 0.999), "nesterov": False, "params": [0, 1]},
            {"lr": 1e-5, "maximize": None, "params": []},
        ],
    }
    round_trip(state, path)
    round_trip({"model": OrderedDict(w=tensor([1.0])), "optimizer": state, "epoch": 7}, path)


@pytest.mark.parametrize(
    ("obj", "wanted"),
    [
        (tg.tensor([1.0, 2.0]), [1.0, 2.0]),
        (np.arange(3), [0, 1, 2]),
        ([tg.tensor([1]), tg.tensor(2.5)], [[1], 2.5]),
        ((tg.tensor([1]), {"lr": 0.1, "": tg.tensor([3])}), [[1], {"lr": 0.1, "": [3]}]),
        ([], []),
    ],
)
def test_a_tensor_or_a_list_of_them_is_saved_alone(path, obj, wanted):
    def plain(x):
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        return [*map(plain, x)] if isinstance(x, list) else getattr(x, "tolist", lambda: x)()

    save(obj, path)
    assert plain(load(path)) == wanted


def test_an_open_file_is_written_and_read_where_it_stands(path):
    buffer = io.BytesIO()
    save(obj={"x": tg.tensor([1.0])}, f=buffer)
    buffer.seek(0)
    back = load(f=buffer, map_location=tg.device("cpu"), weights_only=True)
    assert back["x"].tolist() == [1.0]
    with open(path, "wb") as file:
        save([tg.tensor(7)], file)
    with open(path, "rb") as file:
        assert load(file, "cpu", weights_only=False)[0].item() == 7
    with pytest.raises(LoadError, match=r"an open file: the file is empty"):
        load(io.BytesIO(b""))
    with pytest.raises(LoadError, match=r"an open file: .* according to its header"):
        load(io.BytesIO(buffer.getvalue()[:-1]))
    with pytest.raises(RuntimeError, match="cuda: not here"):
        load(path, map_location="cuda")


def test_keys_that_look_alike_stay_apart(path):
    state = {
        "a.b": tensor([1]),
        "a": {"b": tensor([2]), 0: tensor([3]), "0": tensor([4])},
        "a.b_": tensor([5]),
        "": tensor([6]),
        "__metadata__": tensor([7]),
        "tinygrad_ce": tensor([8]),
        "tensor": {"tensor": {"dict": [tensor([9])]}},
        'Ünï\n"\\\0': tensor([10]),
        "z": tensor([11]),
        "c": tensor([12]),
    }
    round_trip(state, path)


def test_numpys_scalars_come_back_as_pythons_numbers(path):
    save({"a": np.float32(0.1), "b": np.int64(3), "c": np.bool_(True), "d": np.str_("x")}, path)
    assert_same(load(path), {"a": float(np.float32(0.1)), "b": 3, "c": True, "d": "x"})


numbers = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
tensors = st.lists(st.floats(width=32), max_size=3).map(lambda x: tensor(np.array(x, np.float32)))
values = st.recursive(
    numbers | tensors,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 20), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(state=st.dictionaries(st.text(max_size=3), values, max_size=4))
def test_any_nesting_comes_back(tmp_path_factory, state):
    round_trip(state, tmp_path_factory.getbasetemp() / "any.safetensors")


def test_metadata_are_texts_for_everyone(path):
    texts = {"note": 'quotes " and \\ and ü', "tinygrad_ce_sha256": '"tinygrad_ce":"{', "": ""}
    save({"x": tensor([1.0])}, path, metadata=texts)
    assert load_metadata(path) == texts
    assert load(path)["x"].tolist() == [1.0]
    save({}, path)
    assert load_metadata(path) == {}
    assert load(path) == {}


def test_the_same_state_gives_the_same_bytes(tmp_path):
    state = {"b": tensor([1.0, 2.0]), "a": tensor([1, 2]), "n": {"c": tensor([1.0])}}
    for name in ("one", "two"):
        save(state, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


# --- other programs -----------------------------------------------------------------------------


def test_a_file_of_pytorch_is_read():
    state = load(PYTORCHS)
    counted = np.abs(np.arange(6).reshape(2, 3) - 2)
    for kind in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8"):
        assert_same(state.pop(f"layer.{kind}"), counted.astype(kind))
    assert_same(state.pop("thirds"), np.float32([1 / 3, -0.0, 1e-45, np.inf]))
    assert_same(state.pop("bool"), np.array([True, False, True]))
    assert_same(state.pop("scalar"), np.array(7))
    assert_same(state.pop("empty"), np.zeros((0, 3), np.float32))
    # bfloat16 has 8 significant bits: 1/3 is 171 / 512.
    rounded = np.float32([171 / 512, -0.0, 226 * 2.0**120, -np.inf, 2.0**-133])
    assert_same(state.pop("bfloat16"), rounded)
    assert not state
    assert load_metadata(PYTORCHS) == {"format": "pt"}


def test_a_flat_state_dict_is_read_by_other_programs_under_its_names(path):
    from safetensors.numpy import load_file

    state = {
        "0.weight": np.arange(6.0).reshape(2, 3).T,
        "0.bias": np.array(3),
        "b": np.zeros((0, 2)),
    }
    save(state, path, {"format": "pt"})
    theirs = load_file(path)
    assert theirs.keys() == state.keys()
    for name, x in state.items():
        np.testing.assert_array_equal(theirs[name], x, strict=True)


def test_a_file_without_a_seal_is_read_in_its_order(path):
    path.write_bytes(
        plain_file(
            {
                "__metadata__": {"library": "tinygrad_ce", "modelspec.hash_sha256": "0x1"},
                "z": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                "a": {"dtype": "BOOL", "shape": [2], "data_offsets": [1, 3]},
            },
            b"\7\0\2",
        )
    )
    assert_same(load(path), {"z": np.uint8([7]), "a": np.array([False, True])})
    assert load_metadata(path)["library"] == "tinygrad_ce"


def test_a_dtype_that_numpy_has_not_is_named(path):
    part = {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}
    path.write_bytes(plain_file({"w": part}, b"\0"))
    with pytest.raises(LoadError, match=r"model.safetensors: tensor 'w' has dtype F8_E4M3"):
        load(path)


def test_a_program_that_rewrites_the_file_must_leave_the_seal_out(path):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    save({"x": np.zeros(2)}, path)
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    changed = {name: x + 1 for name, x in load_file(path).items()}
    save_file(changed, path, metadata)
    with pytest.raises(LoadError, match=r"another program has rewritten it.*'tinygrad_ce'"):
        load(path)
    save_file(changed, path)
    assert load(path)["x"].tolist() == [1.0, 1.0]


# --- a checkpoint in several files ---------------------------------------------------------------

PARTS = {
    "model-00001-of-00002.safetensors": {"b": np.arange(3.0), "a.weight": np.eye(2, dtype="f4")},
    "model-00002-of-00002.safetensors": {"a.bias": np.array([1, 2])},
}
PLACES = {name: part for part, tensors in PARTS.items() for name in tensors}


@pytest.fixture
def index(tmp_path):
    from safetensors.numpy import save_file

    for part, tensors in PARTS.items():
        save_file(tensors, tmp_path / part, {"format": "pt"})
    return tmp_path / "model.safetensors.index.json"


def write_index(index, places):
    index.write_text(json.dumps({"metadata": {"total_size": 56}, "weight_map": places}))


def test_a_checkpoint_in_several_files_is_one_dict_in_the_order_of_its_index(index):
    places = dict(sorted(PLACES.items()))
    write_index(index, places)
    assert_same(load(index), {name: PARTS[place][name] for name, place in places.items()})
    assert_same(load(str(index)), load(index))


def test_files_of_a_checkpoint_may_lie_in_a_folder_below_and_be_links(index, tmp_path):
    (tmp_path / "parts").mkdir()
    store = tmp_path / "store"
    for part in PARTS:
        (tmp_path / part).rename(store)
        (tmp_path / "parts" / part).symlink_to(store)
        store = tmp_path / "another"
    write_index(index, {name: f"parts/{place}" for name, place in PLACES.items()})
    assert_same(load(index)["a.bias"], np.array([1, 2]))


FIRST, SECOND = PARTS


def test_files_of_other_checkpoints_may_stand_next_to_those_of_an_index(index, tmp_path):
    for name in ("consolidated", "step-7-00001-of-00002", "model-00003-of-00003"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"")
    for folder in ("", "./", ".//"):
        write_index(index, {name: folder + place for name, place in PLACES.items()})
        assert load(index).keys() == PLACES.keys()
    for name in PARTS:
        (tmp_path / name).rename(tmp_path / name.replace("-of-00002", ""))
    write_index(index, {"a.bias": "model-00002.safetensors"})
    with pytest.raises(LoadError, match=r"does not list model-00001\.safetensors"):
        load(index)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({**PLACES, "b": "model-3.safetensors"}, "model-3.safetensors, which has 1 of its"),
        ({**PLACES, "c": SECOND}, f"'c' is not in {SECOND}, and the index places it in {SECOND}"),
        ({"a.weight": FIRST, "b": SECOND}, f"'b' stands in {FIRST}, .* places it in {SECOND}"),
        ({"b": FIRST}, "'a.weight' stands in .*, and the index places it nowhere"),
        *(
            ({**PLACES, "b": name}, "nothing outside of it is read")
            for name in (
                "../model.safetensors", "/etc/passwd", "a/../../b", "", "..", "C:\\model",
                "..\\model", "\\\\host\\model", "C:model",
            )
        ),
        ({**PLACES, "b": "model\0"}, "no file has the name"),
        ({**PLACES, "b": "."}, "is a folder"),
        ({**PLACES, "b": "model.safetensors.index.json"}, "'b' is said .*, which is an index"),
        ({"a.bias": SECOND}, f"does not list {FIRST}, which stands next to {SECOND}"),
        ({}, "its weight_map lists no tensor"),
        ({**PLACES, "b": 3}, "does not map names of tensors to names of files"),
        ([], "does not map names of tensors to names of files"),
    ],
    ids=range(20),
)  # fmt: skip
def test_an_index_that_its_files_contradict_is_refused(index, places, words):
    write_index(index, places)
    with pytest.raises(LoadError, match=words):
        load(index)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"weight_map": {"b": "x", "b": "y"}}', "'b' stands there twice"),
        ('{"weight_map": {}, "weight_map": {}}', "'weight_map' stands there twice"),
        ("{}", "KeyError: 'weight_map'"),
        ("[1]", "no index of a checkpoint"),
        ("", "no index of a checkpoint"),
        ("[" * 100_000, "no index of a checkpoint"),
        (b"\xff\xfe\xfd", "no index of a checkpoint"),
    ],
    ids=range(7),
)
def test_what_is_no_index_of_a_checkpoint_is_named(index, text, words):
    index.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LoadError, match=words):
        load(index)


def test_an_index_that_cannot_be_read_is_refused_as_other_files_are(index, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"index\.json"):
        load(index)
    os.mkfifo(index)
    with pytest.raises(LoadError, match="a device or a pipe"):
        load(index)
    index.unlink()
    index.symlink_to(index)
    with pytest.raises(LoadError, match="cannot be read"):
        load(index)
    index.unlink()
    write_index(index, PLACES)
    monkeypatch.setattr("tinygrad_ce.serialization.MAX_HEADER", 20)
    with pytest.raises(LoadError, match="more than 20 bytes"):
        load(index)


def test_a_damaged_file_of_a_checkpoint_is_named(index, tmp_path):
    write_index(index, PLACES)
    (tmp_path / SECOND).write_bytes((tmp_path / SECOND).read_bytes()[:-1])
    with pytest.raises(LoadError, match=f"{SECOND}: the file has"):
        load(index)


def test_weights_go_to_pytorch_and_back(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    def network(nn):
        return nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 4), nn.LayerNorm(4)
        ).eval()

    ours, theirs = network(tg.nn), network(torch.nn)
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 5)).astype("f4")
    save(ours.state_dict(), tmp_path / "ours.safetensors")
    theirs.load_state_dict(load_file(tmp_path / "ours.safetensors"))
    wanted = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(tensor(x)).detach().numpy(), wanted, rtol=0, atol=1e-6)

    theirs = network(torch.nn)
    state, places = theirs.state_dict(), {}
    for i, name in enumerate(state):
        places[name] = f"model-{i % 2}.safetensors"
    for place in {*places.values()}:
        save_file({k: v for k, v in state.items() if places[k] == place}, tmp_path / place)
    write_index(tmp_path / "model.safetensors.index.json", places)
    ours.load_state_dict(load(tmp_path / "model.safetensors.index.json"))
    wanted = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(tensor(x)).detach().numpy(), wanted, rtol=0, atol=1e-6)


# --- damage -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A small sealed file: as bytes, and a path to put variants of it."""
    path = tmp_path_factory.mktemp("damage") / "model.safetensors"
    state = {"w": tensor([1.0]), "ü": {0: tensor([True, False, True])}, "lr": 0.1}
    save(state, path, {"note": "a"})
    return path, path.read_bytes()


def test_every_flipped_bit_is_found(sealed):
    path, content = sealed
    loaded = []
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                load(path)
            except LoadError as error:
                assert str(path) in str(error)
            else:
                loaded.append((place, bit))
    assert loaded == []
    path.write_bytes(content)
    load(path)


def test_every_truncation_is_found(sealed):
    path, content = sealed
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(LoadError):
            load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(LoadError):
        load(path)


def test_every_truncation_of_a_file_without_a_seal_is_found(path):
    content = PYTORCHS.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(LoadError):
            load(path)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(content=st.binary(max_size=100), header=st.binary(max_size=60))
def test_any_bytes_are_refused(tmp_path_factory, content, header):
    path = tmp_path_factory.getbasetemp() / "bytes.safetensors"
    for some in (content, len(header).to_bytes(8, "little") + header + content):
        if some[8:].rstrip() == b"{}":
            continue  # the empty state dict
        path.write_bytes(some)
        with pytest.raises(LoadError):
            load(path)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return file.getvalue()


def npy():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda bomb: b"", "the file is empty"),
        (lambda bomb: b"abc", "starts with b'abc'"),
        (lambda bomb: b"This is a text.\n" * 9, "starts with b'This is '"),
        (lambda bomb: pickle.dumps(bomb), "a pickle, which is never executed"),
        (lambda bomb: pickle.dumps(bomb, 2), "a pickle, which is never executed"),
        (lambda bomb: zipped(pickle.dumps(bomb)), "a zip archive, as torch.save"),
        (lambda bomb: npy(), "numpy.save"),
        (lambda bomb: b"\0" * 1000, "no safetensors header"),
        (lambda bomb: PYTORCHS.read_bytes()[:100], "ends after 100 bytes, in the middle"),
        (lambda bomb: PYTORCHS.read_bytes()[:-1], r"has 1120 bytes, and 1121 according to"),
        (lambda bomb: PYTORCHS.read_bytes() + b"\0", "has 1122 bytes, and 1121 according to"),
        (lambda bomb: plain_file({"x": {"dtype": "F32"}}), "the header is damaged"),
        (lambda bomb: plain_file({"x": 1}), "the header is damaged"),
        (
            lambda bomb: plain_file(
                {"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}, b"\0" * 4
            ),
            "contradicts itself",
        ),
    ],
)
def test_a_foreign_file_is_named_and_nothing_is_executed(tmp_path, path, make, words):
    bomb = tmp_path / "bomb"
    content = make(Bomb(bomb))
    path.write_bytes(content)
    for read in (load, load_metadata):
        with pytest.raises(LoadError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "wanted a safetensors file" in str(caught.value)
    assert not bomb.exists()
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "structure",
    [
        None,
        {"dict": [["x", {"tensor": "y"}]]},
        {"dict": [["x"]]},
        {"dict": [[[], 1]]},
        {"dict": 3},
        {"else": 3},
        3,
        {"tensor": []},
    ],
)
def test_a_structure_that_save_never_writes_is_refused(path, structure):
    seal = "0" * 64
    note = {"tinygrad_ce_sha256": seal, "structure": structure}
    if structure is None:
        del note["structure"]
    header = {"__metadata__": {"tinygrad_ce": json.dumps(note, separators=(",", ":"))}}
    text = json.dumps(header, separators=(",", ":")).encode()
    content = len(text).to_bytes(8, "little") + text
    digits = hashlib.sha256(content).hexdigest().encode()
    path.write_bytes(content.replace(seal.encode(), digits))
    with pytest.raises(LoadError, match="structure"):
        load(path)


def test_a_file_that_was_written_long_ago_is_read_and_is_written_so_today(path):
    """The format, frozen: the words in the header, their order, the seal, and where numbers lie."""
    header = (
        r'{"__metadata__":{"tinygrad_ce":"{\"tinygrad_ce_sha256\":\"8cc30b039545e7b278037be1cd2c5359'
        r"24055cf9ebc4b2cfa9313428909ec53a\",\"structure\":{\"dict\":[[\"w\",{\"tensor\":\"w\"}],"
        r'[\"n\",[3,\"x\"]]]}}"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   '
    )
    content = len(header).to_bytes(8, "little") + header.encode() + b"\0\0\x80?\0\0\0\xc0"
    path.write_bytes(content)
    found = load(path)
    assert found["w"].tolist() == [1.0, -2.0] and found["n"] == [3, "x"]
    save({"w": tg.tensor([1.0, -2.0]), "n": [3, "x"]}, path)
    assert path.read_bytes() == content
    path.write_bytes(content.replace(b"\0\0\x80?", b"\0\0\x80>"))
    with pytest.raises(LoadError, match="SHA-256"):
        load(path)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        load(tmp_path / "nothing.safetensors")
    with pytest.raises(LoadError, match="is a folder; wanted"):
        load(tmp_path)
    with pytest.raises(TypeError, match="got an int as the path"):
        load(3)


def test_what_is_no_readable_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = {
        tmp_path / "pipe": "a device or a pipe",
        "/dev/zero": "a device or a pipe",
        tmp_path / "loop": "cannot be read: Too many levels",
        tmp_path / ("x" * 300): "cannot be read: File name too long",
        "a\0b": "no file has the name 'a.x00b'",
        "\ud800": "no file has the name",
    }
    for path, words in cases.items():
        for function in (load, load_metadata):
            with pytest.raises(LoadError, match=words):
                function(path)
    for path in ("a\0b", "\ud800"):
        with pytest.raises(ValueError, match="save: no file has the name"):
            save({}, path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(path):
    save({}, path)
    os.chmod(path, 0)
    with pytest.raises(LoadError, match="cannot be read: Permission denied"):
        load(path)


@pytest.mark.parametrize(
    "start, words",
    [
        (bytes(8), "starts with"),
        ((10**7).to_bytes(8, "little") + b"{", "the header is damaged"),
        (plain_file({}), "the file has 1099511627776 bytes, and 10 according to its header"),
        (
            plain_file({"x": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}}),
            "is larger than what memory can hold",
        ),
    ],
)
def test_a_file_of_a_terabyte_is_refused_and_not_read(path, start, words):
    with open(path, "wb") as file:
        file.write(start)  # and then zeros that take no place on the disk
        file.truncate(2**40 + (len(start) if b"U8" in start else 0))
    code, out, errors = run(
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "try: load(path)\nexcept Exception as error: print(type(error).__name__, error)",
        path,
    )
    assert (code, errors) == (0, "")
    assert re.match(f"LoadError load: .*({words})", out)


HUGE = [0, 1, -1, 2**31, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, 1.5, True, None, "3", []]
TEXTS = st.one_of(
    st.dictionaries(st.sampled_from(["a", "tinygrad_ce"]), st.sampled_from(["", "{}", 1, None])),
    st.sampled_from([None, [], "text"]),
)


@st.composite
def headers(draw):
    """Pairs of names, which may come twice, and parts that fit together but for a mistake or two.

    And how many bytes of data belong to them.
    """
    pairs, end = [], 0
    for _ in range(draw(st.integers(0, 3))):
        dtype = draw(st.sampled_from(sorted(DTYPE_NAMES)))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        start, end = end, end + math.prod(shape) * np.dtype(DTYPE_NAMES[dtype]).itemsize
        part = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        pairs.append((draw(st.sampled_from(["a", "b", "", "\0"])), part))
    for _ in range(draw(st.integers(0, 2)) if pairs else 0):
        part = pairs[draw(st.integers(0, len(pairs) - 1))][1]
        key = draw(st.sampled_from(["dtype", "shape", "data_offsets", "size"]))
        numbers = st.lists(st.sampled_from(HUGE), max_size=3)
        mistakes = {
            "dtype": st.sampled_from(["BF16", "F8_E4M3", "F4", "C64", "", None, 3]),
            "shape": numbers | numbers.map(lambda n: [0, *n]) | st.sampled_from([[1] * 65, 2]),
        }
        part[key] = draw(mistakes.get(key, numbers))
    for text in draw(st.lists(TEXTS, max_size=2)):
        pairs.insert(draw(st.integers(0, len(pairs))), ("__metadata__", text))
    return pairs, end


@settings(max_examples=300, deadline=None, derandomize=True)
@given(header=headers(), surplus=st.sampled_from([0, 0, 0, 1, -1]), fill=st.integers(0, 255))
def test_a_header_of_anything_gives_its_tensors_or_a_load_error(
    tmp_path_factory, header, surplus, fill
):
    path = tmp_path_factory.getbasetemp() / "header.safetensors"
    pairs, size = header
    data = bytes([fill]) * max(size + surplus, 0)
    text = ",".join(f"{json.dumps(name)}:{json.dumps(part)}" for name, part in pairs)
    content = f"{{{text}}}".encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + data)
    try:
        loaded = load(path)
    except LoadError:
        return
    wanted = {name: part for name, part in pairs if name != "__metadata__"}
    assert list(loaded) == list(wanted)
    for name, part in wanted.items():
        got, (first, end) = loaded[name], part["data_offsets"]
        assert list(got.shape) == part["shape"]
        if part["dtype"] == "BF16":  # the upper halves of float32
            halves = np.frombuffer(data[first:end], "<u2").astype("<u4") << 16
            assert got.array.tobytes() == halves.tobytes()
        else:
            code = np.dtype(DTYPE_NAMES[part["dtype"]])
            assert (got.dtype, got.array.tobytes()) == (code, data[first:end])


@pytest.mark.parametrize("shape", [[1] * 65, [0, 2**63 - 1], [0, 2**63]])
def test_a_shape_that_numpy_cannot_hold_is_named(path, shape):
    size = 0 if 0 in shape else 1
    part = {"dtype": "U8", "shape": shape, "data_offsets": [0, size]}
    path.write_bytes(plain_file({"x": part}, bytes(size)))
    if shape == [0, 2**63 - 1]:
        assert load(path)["x"].shape == tuple(shape)
        return
    with pytest.raises(LoadError, match=r"tensor 'x' has shape .*which NumPy cannot hold"):
        load(path)


# --- what cannot be saved -----------------------------------------------------------------------


def endless():
    state = {}
    state["self"] = state
    return state


ALIEN = type("Tensor", (), {"__module__": "torch"})()  # of the other library, by its name


@pytest.mark.parametrize(
    "state, kind, words",
    [
        (tg.nn.Linear(1, 1), TypeError, r"got a Linear; wanted .*save\(model.state_dict\(\)"),
        ("model.safetensors", TypeError, "got a str"),
        ({1: tensor([1.0])}, TypeError, "the state dict has the key 1, an int; wanted a str:"),
        ({"a": {1.5: 2}}, TypeError, r"state_dict\['a'\] has the key 1.5, a float"),
        ({"a": {True: 2}}, TypeError, "the key True, a bool"),
        ({"a": {(1,): 2}}, TypeError, "a tuple; wanted a str or an int"),
        ({"a": [1, object()]}, TypeError, r"state_dict\['a'\]\[1\] is an object"),
        ({"a": {1, 2}}, TypeError, "is a set"),
        ({"a": ALIEN}, TypeError, r"state_dict\['a'\] is a torch\.Tensor; wanted a Tensor, an"),
        ({"a": b"b"}, TypeError, "is a bytes"),
        ({"a": 1j}, TypeError, "is a complex"),
        ({"a": np.complex64(1)}, TypeError, "is a complex"),
        ({"a": np.array([1j])}, TypeError, "dtype complex128; wanted"),
        ({"a": np.array(["b"])}, TypeError, "dtype <U1"),
        ({"a": np.array([None])}, TypeError, "dtype object"),
        ({"a": np.zeros(2, np.longdouble)}, TypeError, "dtype float128|dtype longdouble"),
        ({"a\ud800": tensor([1.0])}, ValueError, "lone surrogate"),
        ({"a": np.ma.array([1.0, 2.0], mask=[True, False])}, TypeError, r"masked.*filled"),
        ({"a": "x" * 100_000_001}, ValueError, "no safetensors file can hold .*too large"),
        ({"a": np.broadcast_to(1.0, (2**29, 2**29))}, OSError, "not enough memory"),
        (endless(), ValueError, "contains itself"),
    ],
)
def test_wrong_states_are_refused_before_anything_is_written(tmp_path, state, kind, words):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(kind, match=words):
        save(state, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    "metadata, kind, words",
    [
        ("note", TypeError, "got a str as metadata"),
        ({"epoch": 3}, TypeError, "'epoch': 3; wanted a str for a str"),
        ({3: "epoch"}, TypeError, "3: 'epoch'"),
        ({"tinygrad_ce": "mine"}, ValueError, "save itself writes"),
        ({"a": "\ud800"}, ValueError, "lone surrogate"),
    ],
)
def test_wrong_metadata_are_refused(tmp_path, metadata, kind, words):
    with pytest.raises(kind, match=words):
        save({"x": tensor([1.0])}, tmp_path / "x.safetensors", metadata)
    assert os.listdir(tmp_path) == []


# --- where it is written ------------------------------------------------------------------------


def test_paths_that_cannot_be_written(tmp_path):
    state = {"x": tensor([1.0])}
    with pytest.raises(FileNotFoundError, match=r"no folder .*write os.makedirs\("):
        save(state, tmp_path / "missing" / "x.safetensors")
    with pytest.raises(IsADirectoryError, match="a folder; wanted a file"):
        save(state, tmp_path)
    with pytest.raises(IsADirectoryError):
        save(state, f"{tmp_path}/x/")
    with pytest.raises(TypeError, match="got a set as the path"):
        save(state, set())
    with pytest.raises(ValueError, match="a device or a pipe"):
        save(state, "/dev/null")
    assert os.listdir(tmp_path) == []


def test_what_is_being_traced_is_not_saved(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(TypeError, match=r"'x'. holds a Symbol, not numbers: .*traced.*save after"):
        tg.compile(lambda x: save({"x": x * 2.0}, path))(tg.ones(2))
    assert os.listdir(tmp_path) == []


def test_a_new_file_has_the_permissions_that_open_gives_and_an_old_one_keeps_its_own(tmp_path):
    state = {"x": tensor([1.0])}
    before = os.umask(0o027)
    try:
        save(state, tmp_path / "new")
        with open(tmp_path / "opened", "wb"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "opened").stat().st_mode
    os.chmod(tmp_path / "new", 0o604)
    save(state, tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o604


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_not_replaced(path):
    save({"x": tensor([1.0])}, path)
    os.chmod(path, 0o444)
    with pytest.raises(PermissionError, match="may not be written"):
        save({"x": tensor([2.0])}, path)
    assert load(path)["x"].tolist() == [1.0]


def test_a_symbolic_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "x", tmp_path / "link"
    link.symlink_to(real)
    for number in (1, 2):  # the first one through a link to nothing yet
        save({"x": tensor([number])}, link)
        assert link.is_symlink() and not real.is_symlink()
        assert load(link)["x"].tolist() == load(real)["x"].tolist() == [number]
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]
    assert os.listdir(tmp_path / "real") == ["x"]
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="leads to itself"):
        save({}, loop)
    assert loop.is_symlink()


def test_names_as_long_as_the_system_allows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "n" * 255
    save({"x": tensor([1.0])}, name)
    assert load(Path(name))["x"].tolist() == [1.0]


# --- what stops it in the middle ----------------------------------------------------------------

FIRST = """
import os, resource, signal, sys
import numpy as np
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where tests run
from tinygrad_ce.serialization import load, save

def state(number, size=100_000):
    return {"x": np.full(size, number), "y": np.full(size, number, np.int32)}

path = sys.argv[1]
"""


def start(code, *args, wrap=()):
    command = [*wrap, sys.executable, "-W", "error", "-c", FIRST + code, *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def run(code, *args, wrap=()):
    process = start(code, *args, wrap=wrap)
    out, errors = process.communicate(timeout=60)
    return process.returncode, out, errors


def number_in(path):
    """The number that fills a file of the processes, if all of the file is of one save."""
    state = load(path)
    numbers = np.unique(np.concatenate([x.array for x in state.values()]))
    assert len(numbers) == 1
    return numbers[0]


FULL = """
try:
    save(state(2, 1_000_000), path)
except OSError as error:
    print(os.strerror(error.errno), "|", error)
print(os.listdir(os.path.dirname(path)), load(path)["x"][0].item())
"""


def check_full(out, path, reason):
    first, second = out.splitlines()
    assert first.startswith(f"{reason} | ")
    assert f"save: {reason}; the file is as it was before: {str(path)!r}" in first
    assert second == f"{[path.name]} 1.0"


def test_a_limit_on_the_size_of_files_leaves_the_old_file(path):
    code, out, errors = run(
        "save(state(1.0), path)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))\n" + FULL,
        path,
    )
    assert (code, errors) == (0, "")
    check_full(out, path, "File too large")


def test_a_full_disk_leaves_the_old_file(path):
    mount = 'mount -t tmpfs -o size=4m none "$0" && exec "$@"'
    wrap = ["unshare", "--mount", "sh", "-c", mount, str(path.parent)]
    try:
        possible = subprocess.run([*wrap, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        pytest.skip("only root can mount a small disk")
    code, out, errors = run("save(state(1.0), path)\n" + FULL, path, wrap=wrap)
    assert (code, errors) == (0, "")
    check_full(out, path, "No space left on device")


@pytest.mark.parametrize("event, number", [("open", 1), ("os.rename", 1)])
def test_a_process_killed_at_the_worst_moment_leaves_the_old_file(path, event, number):
    # Killed when the temporary file is about to be made, and when it is about to be moved.
    code, _, _ = run(
        "save(state(1), path)\n"
        "def hook(event, args):\n"
        f"    if event == {event!r} and '.tinygrad_ce-' in str(args[0]):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(hook)\n"
        "save(state(2), path)\n",
        path,
    )
    assert code == -signal.SIGKILL
    assert number_in(path) == number


def test_a_process_killed_at_any_moment_leaves_a_whole_file(path):
    for _ in range(5):
        process = start(
            "save(state(0), path)\nprint(flush=True)\n"
            "for number in range(1, 10**6):\n    save(state(number), path)\n",
            path,
        )
        assert process.stdout.readline() == "\n"
        while number_in(path) < 3:
            assert process.poll() is None
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert number_in(path) >= 3


def test_an_interrupt_leaves_nothing_behind(path):
    code, out, errors = run(
        "save(state(1), path)\n"
        "def hook(event, args):\n"
        "    if event == 'os.rename' and str(args[1]) == str(path):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "sys.addaudithook(hook)\n"
        "try:\n    save(state(2), path)\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n",
        path,
    )
    assert (code, out, errors) == (0, "interrupted\n", "")
    assert number_in(path) == 1
    assert os.listdir(path.parent) == [path.name]


def test_two_processes_saving_to_one_path_leave_a_whole_file(path):
    save({"x": np.zeros(3)}, path)
    writers = [
        start("for _ in range(40):\n    save(state(int(sys.argv[2])), path)\n", path, number)
        for number in (1, 2)
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        seen.add(number_in(path))
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert (writer.returncode, errors) == (0, "")
    assert number_in(path) in (1, 2)
    assert seen <= {0, 1, 2}
    assert os.listdir(path.parent) == [path.name]


def test_threads_saving_to_one_path_leave_a_whole_file(path):
    def work(number):
        for _ in range(20):
            save({"x": np.full(1000, number), "y": np.full(10, number)}, path)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number_in(path) in range(4)
    assert os.listdir(path.parent) == [path.name]


def test_importing_the_library_does_not_import_safetensors():
    code, out, errors = run(
        "import tinygrad_ce, tinygrad_ce.utils.data\nprint('safetensors' in sys.modules)\n", "x"
    )
    assert (code, out, errors) == (0, "False\n", "")
