"""Freeze what PyTorch prints for the programs of examples/ in ``lectures.json``; needs torch.

Run ``python -m tests.data.make_lectures`` where a program was changed; the tests need no torch.
"""

import json
from pathlib import Path

import torch

from tests.lectures import STEPS, printed

if __name__ == "__main__":
    frozen = {}
    for name in STEPS:
        torch.set_default_dtype(torch.float32)
        frozen[name] = printed(name, "torch")
    path = Path(__file__).with_name("lectures.json")
    path.write_text(json.dumps(frozen, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
