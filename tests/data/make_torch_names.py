"""Freeze PyTorch's answers to every public function in ``torch_names.npz``; needs torch.

Run ``python tests/data/make_torch_names.py``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from torch_names import FROZEN, answer, freeze, questions


def main():
    """Write ``torch_names.npz``."""
    answers = [answer(*question, 0, torch) for question in questions()]
    freeze(answers)
    print(f"{len(answers)} answers, {FROZEN.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
