"""Saving and loading: parameters, optimiser state and a few facts, in a safetensors file.

Such a file is a header (JSON: name, dtype, shape and place of every tensor, and some texts) and
the bytes of the tensors. Nothing in it can be executed, and PyTorch reads and writes the same
format, so that weights go both ways.

`save` adds one text to the header, under the key ``tinygrad_ce``:

- the *seal*: the SHA-256 of the whole file, taken while the seal's own digits are zeros. It
  covers the header as well as the data, so no flipped bit is loaded as if it were a number;
- the *structure*: JSON that says how nested dicts and lists are put together again. A tensor in
  it is ``{"tensor": name}`` and a dict is ``{"dict": [[key, value], ...]}``, which keeps the
  order of the keys, and integers apart from strings; lists and plain values stand for themselves.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from tinygrad_ce.engine import devices, operands
from tinygrad_ce.engine.tensor import Tensor

__all__ = ["LoadError", "load", "load_metadata", "save"]


def __dir__() -> list[str]:
    return __all__


Path = str | os.PathLike[str]

KEY = "tinygrad_ce"
SEAL = "tinygrad_ce_sha256"
ZEROS = "0" * 64
# One flipped bit cannot damage both of these words, so a sealed file is always known as one.
SIGNS = (f'"{KEY}":"'.encode(), SEAL.encode())
SEALED = re.compile(rf'"{KEY}":"{{\\"{SEAL}\\":\\"([0-9a-f]{{64}})\\"'.encode())

NUMBERED = re.compile(r"(.*?)(\d+)((?:-of-\d+)?\.safetensors)")  # a file of several
INDEX = ".index.json"  # at the end of the name of what tells where the tensors of many files are
RESERVED = "__metadata__"  # the header's key for texts: no tensor can have this name
OPEN = "an open file"
MAX_DEPTH = 100
MAX_HEADER = 100_000_000  # bytes; the format's own limit
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
SAVED = {np.dtype(code).newbyteorder("=") for code in DTYPES.values()}
FOREIGN = {
    b"PK\x03\x04": "a zip archive, as torch.save and numpy.savez write it",
    b"\x80": "a pickle, which is never executed here",
    b"\x93NUMPY": "an array of numpy.save",
    b"\x89HDF": "an HDF5 file",
}
WANTED = "wanted a safetensors file, as tinygrad_ce.save and safetensors.torch.save_file write it"


class LoadError(ValueError):
    """The file cannot be read, is no safetensors file, is damaged, or holds no Tensors."""


def save(obj: Any, f: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write a state dict to a safetensors file; afterwards the file is whole and on the disk.

    Values are Tensors or arrays (floats, integers, booleans), or numbers, strings, None, and
    lists and dicts of all these, as in an optimiser's state. `load` gives the same nesting back:
    keys (strings; below the first level also integers), their order and numbers are kept exactly,
    arrays become Tensors, tuples lists, NumPy's scalars Python's numbers. A gradient, and
    whether one is required, is not saved; a tensor that stands in two places is written twice.
    A Tensor alone, or a list of them, is saved, too; `f` may be a file that is open for writing.

    In the file a tensor is called by its keys joined by dots: for a flat dict these are the very
    names of the state dict, and ``safetensors.torch.load_file`` reads it. ``metadata`` are texts
    of yours, for `load_metadata`.

    The file is written next to ``f`` and then moved there. So whoever reads it meanwhile,
    and whatever stops it (an exception, a full disk, a kill), finds the old file or the new one;
    only a kill can leave a ``.tinygrad_ce-*.tmp`` behind. A symbolic link stays one: the file that
    it points to is replaced.

    Raises TypeError or ValueError for what cannot be saved, and OSError where nothing can be
    written; the file that was there is then as it was.

    >>> import os, tempfile
    >>> from tinygrad_ce import tensor
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> save({"weight": tensor([[1.0, 2.0]]), "epoch": 3}, path, {"note": "first try"})
    >>> load(path)
    {'weight': tensor([[1., 2.]]), 'epoch': 3}
    """
    if not isinstance(obj, (Mapping, Tensor, np.ndarray, list, tuple)):
        raise TypeError(
            f"save: got {_kind(obj)}; wanted a dict of Tensors, a list of them or a Tensor: write "
            "save(model.state_dict(), path), or save({'x': x}, path)"
        )
    texts = _checked_metadata(metadata)
    target = None if hasattr(f, "write") else checked_target(f)
    try:
        content = _content_for(obj, texts)
    except MemoryError as error:
        raise OSError(errno.ENOMEM, f"save: not enough memory: {error}", target) from None
    if target is None:
        f.write(bytes(content))
    else:
        write_whole(target, content)


def load(f: Any, map_location: Any = None, *, weights_only: bool | None = None) -> Any:
    """Read what `save`, or another program that writes safetensors, has written.

    Tensors are new leaves that require no gradient. bfloat16, which NumPy has not, becomes
    float32, exactly. Files of other programs give a flat dict of Tensors in the order of the file;
    they have no seal, so only damage to their header can be found. `f` may be a file that is open
    for reading. There are weights and numbers only, whatever `weights_only` says, and they are on
    the CPU: RuntimeError for another `map_location`.

    A checkpoint in several files is read by its index, `model.safetensors.index.json`, as one flat
    dict: every tensor must be in the file that the index names, and in no other.

    Raises FileNotFoundError when there is no such file, TypeError for what is no path, and
    LoadError, which says what was found, for every other file: one that may not be read or is too
    large, is no safetensors file, was cut off or damaged, or has what NumPy has not.

    >>> import os, tempfile
    >>> from tinygrad_ce import tensor
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> save({"step": {0: tensor([1, 2])}}, path)
    >>> load(path)
    {'step': {0: tensor([1, 2])}}
    """
    if isinstance(map_location, (str, devices.device)):
        devices.check(map_location)
    if not hasattr(f, "read") and (index := _checked_path(f, "load")).endswith(INDEX):
        return _shards(index)
    header, tensors, note = _read(f)
    if note is None:
        return {name: tensors[name] for name in header if name != RESERVED}
    try:
        state = _put_together(json.loads(note)["structure"], tensors)
        if isinstance(state, (dict, list, Tensor)):
            return state
        problem = f"it is {_kind(state)}"
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise LoadError(
        f"load: {_path_of(f)}: the structure in its header is of no state dict that this "
        f"version of tinygrad_ce writes ({problem})"
    )


def load_metadata(path: Path) -> dict[str, str]:
    """The texts that `save` was given as ``metadata``; raises what `load` raises.

    >>> import os, tempfile
    >>> from tinygrad_ce import tensor
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> save({}, path, {"accuracy": "0.97"})
    >>> load_metadata(path)
    {'accuracy': '0.97'}
    """
    header, _, _ = _read(path)
    texts = header.get(RESERVED) or {}
    return {key: texts[key] for key in sorted(texts) if key != KEY}


# --- from a state dict to arrays and back -----------------------------------------------------


def _content_for(state_dict: Any, texts: dict[str, str]) -> bytearray:
    """The bytes of the sealed file."""
    from safetensors import SafetensorError
    from safetensors.numpy import save as to_bytes

    arrays: dict[str, np.ndarray] = {}
    structure = _take_apart(state_dict, (), arrays)
    note = json.dumps({SEAL: ZEROS, "structure": structure}, separators=(",", ":"))
    try:
        content = bytearray(to_bytes(arrays, {**texts, KEY: note}))
    except SafetensorError as error:  # names and texts of more than MAX_HEADER bytes
        raise ValueError(f"save: no safetensors file can hold this state dict: {error}") from None
    first, end = _place_of_seal(content)
    content[first:end] = hashlib.sha256(content).hexdigest().encode()
    return content


def _take_apart(value: Any, where: tuple[Any, ...], arrays: dict[str, np.ndarray]) -> Any:
    """The structure of `value`, as JSON; its arrays are put into `arrays`."""
    if len(where) > MAX_DEPTH:
        raise ValueError(
            f"save: {_shown(where[:4])}... is nested deeper than {MAX_DEPTH} levels, or contains "
            "itself: write a flatter dict"
        )
    if isinstance(value, (Tensor, np.ndarray)):
        name = _free_name(where, arrays)
        arrays[name] = _plain_array(value, where)
        return {"tensor": name}
    if isinstance(value, Mapping):
        pairs = [(_checked_key(key, where), item) for key, item in value.items()]
        return {"dict": [[key, _take_apart(item, (*where, key), arrays)] for key, item in pairs]}
    if isinstance(value, (list, tuple)):
        return [_take_apart(item, (*where, i), arrays) for i, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f"save: {_shown(where)} is {_with_article(operands.type_name(value))}; wanted a Tensor, "
        "an array, a number, a string, None, or dicts and lists of these"
    )


def _put_together(part: Any, tensors: dict[str, Tensor]) -> Any:
    """The value whose structure `part` is."""
    if isinstance(part, list):
        return [_put_together(item, tensors) for item in part]
    if isinstance(part, dict) and "tensor" in part:
        return tensors[part["tensor"]]
    if isinstance(part, dict):
        return {key: _put_together(item, tensors) for key, item in part["dict"]}
    return part


def _checked_key(key: Any, where: tuple[Any, ...]) -> Any:
    """The key of a dict, if it is one that is given back as it was."""
    if type(key) is str or (type(key) is int and where):
        return key
    place = f"the dict {_shown(where)}" if where else "the state dict"
    wanted = "a str or an int" if where else "a str"
    raise TypeError(
        f"save: {place} has the key {key!r}, {_kind(key)}; wanted {wanted}: write str(key)"
    )


def _free_name(where: tuple[Any, ...], arrays: dict[str, np.ndarray]) -> str:
    """The keys joined by dots, and underscores behind if another tensor has that name."""
    name = ".".join(map(str, where))
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"save: the name {name!r} has half a character (a lone surrogate), which no file can "
            "hold: write whole characters"
        ) from None
    while name in arrays or name == RESERVED:
        name += "_"
    return name


def _plain_array(value: Any, where: tuple[Any, ...]) -> np.ndarray:
    """The array of a Tensor, or the array itself, in one piece and in the machine's byte order."""
    array = value.array if isinstance(value, Tensor) else value
    if not isinstance(array, (np.ndarray, np.generic)):
        raise TypeError(
            f"save: {_shown(where)} holds {_kind(array)}, not numbers: a step that is being traced "
            "cannot be saved, save after it"
        )
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"save: {_shown(where)} is a masked array, whose mask no file would keep: write "
            "x.filled(value)"
        )
    native = array.dtype.newbyteorder("=")
    if native not in SAVED:
        raise TypeError(
            f"save: {_shown(where)} has dtype {array.dtype}; wanted float16, 32 or 64, an integer "
            "or bool: write x.astype(np.float64) to convert it"
        )
    return np.asarray(array, native, order="C")


def _checked_metadata(metadata: Any) -> dict[str, str]:
    """The texts as a dict, if they are texts."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(
            f'save: got {_kind(metadata)} as metadata; wanted a dict of texts: {{"note": "..."}}'
        )
    for key, text in metadata.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(
                f"save: metadata has {key!r}: {text!r}; wanted a str for a str: write str(...), or "
                "put the value into the state dict"
            )
        if key == KEY:
            raise ValueError(f"save: metadata has the key {KEY!r}, which save itself writes")
        try:
            (key + text).encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"save: the text of metadata {key!r} has half a character (a lone surrogate): "
                "write whole characters"
            ) from None
    return dict(metadata)


# --- writing ----------------------------------------------------------------------------------


def _checked_path(path: Any, who: str) -> str:
    """The path as a string."""
    try:
        text = os.fsdecode(os.fspath(path))
    except TypeError:
        raise TypeError(
            f"{who}: got {_kind(path)} as the path; wanted a str or a pathlib.Path"
        ) from None
    try:
        os.stat(text)
    except OSError:
        return text
    except ValueError as error:  # a NUL, half a character
        wrong = LoadError if who == "load" else ValueError
        raise wrong(f"{who}: no file has the name {text!r}: {error}") from None
    return text


def checked_target(path: Any, who: str = "save") -> str:
    """The file to be replaced, links followed, if it can be replaced."""
    text = _checked_path(path, who)
    target = os.path.realpath(text)
    folder = os.path.dirname(target)
    if os.path.isdir(target) or text.endswith(os.sep):
        raise IsADirectoryError(
            errno.EISDIR, f"{who}: a folder; wanted a file: write os.path.join(path, name)", text
        )
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            errno.ENOENT, f"{who}: there is no folder {folder}: write os.makedirs({folder!r})", text
        )
    if os.path.islink(target):
        raise OSError(errno.ELOOP, f"{who}: the symbolic link leads to itself", text)
    if os.path.exists(target):
        if not os.path.isfile(target):
            raise ValueError(f"{who}: {text} is a device or a pipe; wanted a file")
        if not os.access(target, os.W_OK):  # pragma: no cover (root may write everything)
            raise PermissionError(errno.EACCES, f"{who}: the file may not be written", text)
    return target


def write_whole(target: str, content: bytes | bytearray, who: str = "save") -> None:
    """Replace the file by one with this content, at once or not at all."""
    folder = os.path.dirname(target)
    # Not made of the file's name, which may already be as long as a name can be.
    temporary = os.path.join(folder, f".tinygrad_ce-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(
                error.errno, f"{who}: {error.strerror}; the file is as it was before", target
            ) from error
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Bring the file's new name to the disk, on systems where a folder can be synchronised."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --- a checkpoint in several files ----------------------------------------------------------------


def _shards(index: str) -> dict[str, Tensor]:
    """The tensors of all files that an index names, in its order."""
    places = _places(index)
    folder, found = os.path.dirname(index), {}
    for shard in dict.fromkeys(places.values()):
        wanted = {name for name, place in places.items() if place == shard}
        try:
            _header, tensors, _ = _read(os.path.join(folder, shard))
        except FileNotFoundError:
            raise LoadError(
                f"load: {index}: the file {shard}, which has {len(wanted)} of its tensors, is "
                "missing; wanted it in the same folder: download it, too"
            ) from None
        for name in sorted(wanted ^ tensors.keys()):
            where = f"stands in {shard}" if name in tensors else f"is not in {shard}"
            raise LoadError(
                f"load: {index}: tensor {name!r} {where}, and the index places it "
                f"{f'in {places[name]}' if name in places else 'nowhere'}; wanted each tensor "
                "once, where the index says: take files and index of one version"
            )
        found.update(tensors)
    _check_complete(index, set(places.values()))
    return {name: found[name] for name in places}


def _check_complete(index: str, listed: set[str]) -> None:
    """Refuse a file next to those of an index, numbered as they are, that it does not list."""
    folder, groups = os.path.dirname(index), dict[tuple[str | Any, ...], str]()
    listed = set(map(os.path.normpath, listed))
    for shard in listed:
        if numbered := NUMBERED.fullmatch(shard):
            groups.setdefault(numbered.group(1, 3), shard)
    for (before, after), shard in sorted(groups.items()):
        below = os.path.dirname(shard)
        for name in sorted(os.listdir(os.path.join(folder, below) or os.curdir)):
            other = NUMBERED.fullmatch(path := os.path.join(below, name))
            if other and other.group(1, 3) == (before, after) and path not in listed:
                raise LoadError(
                    f"load: {index}: it does not list {path}, which stands next to {shard}; wanted "
                    "all files of the checkpoint in it: take files and index of one version, or "
                    "move away what belongs to another checkpoint"
                )


def _places(index: str) -> dict[str, str]:
    """The file of each tensor, as an index says it."""
    _check_kind(index)
    try:
        with open(index, "rb") as file:
            text = file.read(MAX_HEADER + 1)
        if len(text) > MAX_HEADER:
            raise ValueError(f"it has more than {MAX_HEADER:,} bytes")
        content = json.loads(text, object_pairs_hook=_without_twins)
        places = content["weight_map"]
        if not isinstance(places, dict) or not all(isinstance(p, str) for p in places.values()):
            raise TypeError("its weight_map does not map names of tensors to names of files")
        if not places:
            raise ValueError("its weight_map lists no tensor")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LoadError(f"load: {index} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise LoadError(
            f"load: {index} is no index of a checkpoint ({type(error).__name__}: {error}); wanted "
            'JSON: {"weight_map": {"name of a tensor": "file.safetensors", ...}}'
        ) from None
    for name, shard in places.items():
        if _leaves(shard):
            raise LoadError(
                f"load: {index}: tensor {name!r} is said to be in {shard!r}; wanted the name of a "
                "file in the folder of the index, and nothing outside of it is read"
            )
        if shard.endswith(INDEX):
            raise LoadError(
                f"load: {index}: tensor {name!r} is said to be in {shard!r}, which is an index; "
                "wanted the name of a safetensors file"
            )
    return places


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of JSON, in which no key stands twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return content


def _leaves(name: str) -> bool:
    """Whether the name of a file leads out of its folder, or may on some system."""
    paths = PurePosixPath(name), PureWindowsPath(name)
    return not name or any(p.anchor or ".." in p.parts for p in paths)


# --- reading ----------------------------------------------------------------------------------


def _read(path: Any) -> tuple[dict[str, Any], dict[str, Tensor], str | None]:
    """The header, the tensors by their names in the file, and the text of `save`, if any."""
    text = _path_of(path)
    try:
        content = _content_of(text) if text != OPEN else _all_of(path)
        parts = _parts(content, text)
        _check_seal(content, text)
        header = json.loads(_header_of(content))
        note = (header.get(RESERVED) or {}).get(KEY)
        tensors = {name: operands.leaf(_array(name, part, text)) for name, part in parts}
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LoadError(f"load: {text} cannot be read: {error.strerror}") from error
    except MemoryError:
        raise LoadError(f"load: {text} is larger than what memory can hold") from None
    return header, tensors, note


def _path_of(f: Any) -> str:
    """The path as a string, or what an open file is called."""
    return OPEN if hasattr(f, "read") else _checked_path(f, "load")


def _all_of(file: Any) -> bytes:
    """What is left to read in an open file."""
    content: bytes = file.read()
    length = min(int.from_bytes(content[:8], "little"), MAX_HEADER)
    if problem := _what_is_wrong(content[: 8 + length], len(content)):
        raise LoadError(f"load: {OPEN}: {problem}; {WANTED}")
    return content


def _check_kind(path: str) -> None:
    """Refuse what is there and no file."""
    if os.path.isdir(path):
        raise LoadError(f"load: {path} is a folder; wanted a safetensors file in it")
    if not os.path.isfile(path) and os.path.exists(path):
        raise LoadError(f"load: {path} is a device or a pipe; wanted a safetensors file")


def _content_of(path: str) -> bytes:
    """The bytes of the file, read only if it is as long as its header says."""
    _check_kind(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        start += file.read(min(int.from_bytes(start, "little"), MAX_HEADER))
        if problem := _what_is_wrong(start, size):
            raise LoadError(f"load: {path}: {problem}; {WANTED}")
        file.seek(0)
        return file.read()


def _parts(content: bytes, path: str) -> list[tuple[str, dict[str, Any]]]:
    """Name, dtype, shape and bytes of every tensor."""
    from safetensors import SafetensorError, deserialize

    try:
        return deserialize(content)
    except SafetensorError as error:
        raise LoadError(
            f"load: {path}: the header contradicts itself; {WANTED} ({error})"
        ) from error


def _header_of(content: bytes | bytearray) -> bytes:
    """The header: its length stands in the first 8 bytes."""
    return bytes(content[8 : 8 + int.from_bytes(content[:8], "little")])


def _place_of_seal(content: bytes | bytearray) -> tuple[int, int]:
    """First and end of the seal's digits; (0, 0) if there are none."""
    found = SEALED.search(_header_of(content))
    return (8 + found.start(1), 8 + found.end(1)) if found else (0, 0)


def _check_seal(content: bytes, path: str) -> None:
    """Raise unless the file is as it was sealed, or never was sealed."""
    header = _header_of(content)
    if not any(sign in header for sign in SIGNS):
        return
    first, end = _place_of_seal(content)
    checksum = hashlib.sha256(content[:first])
    checksum.update(ZEROS.encode())
    checksum.update(memoryview(content)[end:])
    if checksum.hexdigest().encode() != content[first:end]:
        raise LoadError(
            f"load: {path}: the SHA-256 of the file is not the one in its header; wanted the file "
            "as tinygrad_ce.save wrote it. It was damaged: take another copy. Or another program "
            f"has rewritten it: let that leave out the metadata {KEY!r}"
        )


def _array(name: str, part: dict[str, Any], path: str) -> np.ndarray:
    """The array of a tensor in the file."""
    kind, data = part["dtype"], part["data"]
    if kind == "BF16":  # the upper half of a float32
        array = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif kind == "BOOL":
        array = np.frombuffer(data, np.uint8) != 0
    elif kind in DTYPES:
        stored = np.frombuffer(data, DTYPES[kind])
        array = stored.astype(stored.dtype.newbyteorder("="), copy=True)
    else:
        raise LoadError(
            f"load: {path}: tensor {name!r} has dtype {kind}, which NumPy has not; wanted one of "
            f"{', '.join(DTYPES)}, BF16: convert it before it is written"
        )
    try:
        return array.reshape(part["shape"])
    except ValueError as error:
        raise LoadError(
            f"load: {path}: tensor {name!r} has shape {tuple(part['shape'])}, which NumPy cannot "
            f"hold: {error}"
        ) from None


def _what_is_wrong(start: bytes, size: int) -> str:
    """What a file of this size that starts so is, if it is no safetensors file; "" if it is one."""
    length = int.from_bytes(start[:8], "little")
    if not start:
        return "the file is empty"
    if start[8:9] != b"{" or length > MAX_HEADER:
        kinds = (kind for sign, kind in FOREIGN.items() if start.startswith(sign))
        other = f"starts with {start[:8]!r}, which is no safetensors header"
        return f"the file {next((f'is {kind}' for kind in kinds), other)}"
    if 8 + length > size:
        return f"the file ends after {size} bytes, in the middle of its header"
    try:
        header = json.loads(start[8:])
        ends = [part["data_offsets"][1] for name, part in header.items() if name != RESERVED]
        wanted = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return "the header is damaged"
    return f"the file has {size} bytes, and {wanted} according to its header" * (size != wanted)


# --- words for errors -------------------------------------------------------------------------


def _kind(value: Any) -> str:
    return _with_article(type(value).__name__)


def _with_article(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _shown(where: tuple[Any, ...]) -> str:
    """The place in the state dict, as it is written in Python."""
    return "state_dict" + "".join(f"[{key!r}]" for key in where)
