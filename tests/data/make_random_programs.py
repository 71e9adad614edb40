"""Freeze PyTorch's answers to random programs in ``random_programs.npz``; needs torch.

Run ``python tests/data/make_random_programs.py``.
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from random_programs import FROZEN, UNDEFINED, derivatives, freeze, refusal, run, training


def main():
    """Write ``random_programs.npz``."""
    answers = []
    for make, count in ((derivatives, 80), (training, 12)):
        stream = random.Random(0)
        while count:
            program = make(stream.choice)
            wanted = run(program, "torch")
            if not refusal(wanted.error, UNDEFINED):
                answers.append((program, wanted))
                count -= 1
    freeze(answers)
    print(f"{len(answers)} programs, {FROZEN.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
