"""Freeze ``pytorch.safetensors``, written by PyTorch; needs torch, the tests do not.

Run ``python tests/data/make_safetensors.py``. It also checks the other way: PyTorch must read what
tinygrad_ce writes.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import tinygrad_ce.serialization as ours

FILE = Path(__file__).with_name("pytorch.safetensors")


def tensors():
    """Tensors of every kind that both sides know, and of bfloat16."""
    counted = torch.arange(6).reshape(2, 3)
    kinds = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8")
    some = {f"layer.{kind}": (counted - 2).abs().to(getattr(torch, kind)) / 1 for kind in kinds}
    some = {name: x.to(getattr(torch, name.split(".")[1])) for name, x in some.items()}
    some["thirds"] = torch.tensor([1 / 3, -0.0, 1e-45, float("inf")])
    some["bfloat16"] = torch.tensor([1 / 3, -0.0, 3.0e38, float("-inf"), 1e-40]).bfloat16()
    some["bool"] = torch.tensor([True, False, True])
    some["scalar"] = torch.tensor(7)
    some["empty"] = torch.zeros(0, 3)
    return some


def main():
    """Write the file, and read one of ours."""
    save_file(tensors(), FILE, {"format": "pt"})
    ours_in = {name: x.numpy() for name, x in tensors().items() if name != "bfloat16"}
    ours_in["transposed"] = np.arange(6.0).reshape(2, 3).T
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ours.safetensors"
        ours.save(ours_in, path, {"format": "pt"})
        theirs = load_file(path)
    assert theirs.keys() == ours_in.keys()
    for name, x in theirs.items():
        np.testing.assert_array_equal(x.numpy(), ours_in[name], strict=True)


if __name__ == "__main__":
    main()
