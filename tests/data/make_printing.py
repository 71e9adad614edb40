"""Freeze how PyTorch prints, in ``printing.json``; needs torch, the tests do not.

Run ``python tests/data/make_printing.py``. The expressions are in ``tests/printing_cases.py``.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))
from printing_cases import frozen

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    text = json.dumps(frozen(torch, nn, F), indent=0, ensure_ascii=False)
    Path(__file__).with_name("printing.json").write_text(text + "\n")
