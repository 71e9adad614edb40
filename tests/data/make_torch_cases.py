"""Freeze PyTorch's answers to ``tests/torch_cases.py``; needs torch, the tests do not.

Run ``python tests/data/make_torch_cases.py``.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch_cases as cases


def main():
    """Write ``torch_cases.json``, one case a line."""
    found = {name: cases.digest(ask()) for name, ask in cases.answers(torch)}
    lines = [f"{json.dumps(name)}: {json.dumps(answer)}" for name, answer in found.items()]
    cases.FROZEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{len(found)} cases, {cases.FROZEN.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
