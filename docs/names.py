"""Write docs/names.md: which of PyTorch's names are here, what differs, what is left out.

    python docs/names.py            write it
    python docs/names.py --check    say whether it is up to date

The names are read off the code; what differs is told in `DIFFERS` below, and each of its lines is
tried by a test (tests/test_names.py).
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType

import tinygrad_ce as tg
from tinygrad_ce.absent import INSTEAD

FILE = Path(__file__).parent / "names.md"

MODULES = {
    "tinygrad_ce": "torch",
    "tinygrad_ce.nn": "torch.nn",
    "tinygrad_ce.nn.functional": "torch.nn.functional",
    "tinygrad_ce.nn.init": "torch.nn.init",
    "tinygrad_ce.nn.utils": "torch.nn.utils",
    "tinygrad_ce.nn.utils.rnn": "torch.nn.utils.rnn",
    "tinygrad_ce.optim": "torch.optim",
    "tinygrad_ce.optim.lr_scheduler": "torch.optim.lr_scheduler",
    "tinygrad_ce.utils.data": "torch.utils.data",
    "tinygrad_ce.distributions": "torch.distributions",
    "tinygrad_ce.autograd": "torch.autograd",
    "tinygrad_ce.autograd.functional": "torch.autograd.functional",
    "tinygrad_ce.func": "torch.func",
    "tinygrad_ce.linalg": "torch.linalg",
    "tinygrad_ce.cuda": "torch.cuda",
    "tinygrad_ce.amp": "torch.amp",
}

OURS = ["Compiled", "Generator", "GradcheckError", "ListingError", "LoadError", "Program",
        "TraceError", "draw", "load_metadata", "numerical_grad", "play", "source_lines",
        "summary", "trace"]  # fmt: skip
"""What has no counterpart of that name in PyTorch, or another one."""

DIFFERS = {
    "`x @ y`, `linear`, ... of shapes or dtypes that do not fit": "TypeError or ValueError, which "
    "say what arrived and what to write; RuntimeError in PyTorch",
    "`backward()` twice": "works: the graph stays until it is let go; PyTorch wants "
    "retain_graph=True",
    "writes through NumPy, `.data` or `detach()` into what a gradient needs": "backward() raises; "
    "the gradient is silently wrong in PyTorch",
    "`compile(f)`": "a traced NumPy program, compared with f and followed when something changes",
    "`save`, `load`": "safetensors: no code runs when a file is opened, and no objects but "
    "tensors, numbers, texts, lists and dicts are kept",
    "`x[::-1]`": "a view; refused in PyTorch",
    "`trace(f, x)`": "the program of f; in PyTorch the sum of a diagonal, here `x.diag().sum()`",
    "`device='cuda'`, `.cuda()`": "RuntimeError: everything is on the CPU",
    "float32 results": "the last digits may differ: sums are added in another order",
    "`bfloat16`": "a name only; NumPy has no such numbers",
}


def public(module: ModuleType) -> list[str]:
    """The public names of a module that are no modules of other packages."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    names = []
    for name, value in vars(module).items():
        home = getattr(value, "__module__", "") or ""
        if not name.startswith("_") and callable(value) and home.startswith("tinygrad_ce"):
            names.append(name)
    return sorted(names)


def methods() -> list[str]:
    """The public methods and properties of Tensor."""
    return sorted(name for name, _ in inspect.getmembers(tg.Tensor) if not name.startswith("_")
                  and name not in vars(object) and name not in NODE)  # fmt: skip


NODE = {*tg.Tensor.__mro__[1].__slots__}  # what a node of the graph keeps


def text() -> str:
    """The whole page."""
    lines = [
        "# PyTorch's names", "",
        "Change `import torch` to `import tinygrad_ce as torch`, and `from torch...` to "
        "`from tinygrad_ce...`: a script for small networks then runs as it is, and draws the same "
        "random numbers. This page is written by `docs/names.py` from the code.", "",
        "## What differs", "", "| | here |", "|---|---|",
        *(f"| {what} | {how} |" for what, how in DIFFERS.items()), "",
        "Views and copies have [a page of their own](views.md).", "",
        "## What is here", "",
    ]  # fmt: skip
    for name, theirs in MODULES.items():
        names = [n for n in public(importlib.import_module(name)) if n not in OURS]
        lines += [f"**{theirs}** ({len(names)}): " + ", ".join(f"`{n}`" for n in names), ""]
        if name == "tinygrad_ce":
            found = methods()
            lines += [f"**torch.Tensor** ({len(found)}): " + ", ".join(f"`{n}`" for n in found), ""]
    lines += ["Of our own: " + ", ".join(f"`{n}`" for n in sorted(OURS)), ""]
    lines += ["## What is left out", "", "Asking for one of these says what to use instead.", ""]
    for name, names in INSTEAD.items():
        theirs = MODULES.get(name, name.replace("tinygrad_ce", "torch"))
        lines += [f"| {theirs} | instead |", "|---|---|"]
        lines += [f"| `{n}` | {names[n].replace('|', chr(92) + '|')} |" for n in sorted(names)]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(FILE.read_text(encoding="utf-8") != text() and "docs/names.md: run docs/names.py")
    FILE.write_text(text(), encoding="utf-8")
