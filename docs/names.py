"""Write docs/names.md, the names of PyTorch that are here, and the tables of docs/from_pytorch.md.

    python docs/names.py            write them
    python docs/names.py --check    say whether they are up to date

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
MOVING = Path(__file__).parent / "from_pytorch.md"

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

OURS = ["Compiled", "ExportError", "Generator", "GradcheckError", "ListingError", "LoadError",
        "Program", "TraceError", "draw", "export", "load_metadata", "numerical_grad", "play",
        "source_lines", "summary", "teach", "trace"]  # fmt: skip
"""What has no counterpart of that name in PyTorch, or another one."""

DIFFERS = {
    "`x @ y`, `linear`, ... of shapes or dtypes that do not fit": (
        "ValueError or TypeError, which say what arrived and what to write", "RuntimeError"),
    "`mse_loss`, `l1_loss`, ... of shapes that differ": (
        "ValueError", "a warning, and the mean over every pair"),
    "`backward()` twice": (
        "adds the same gradient again; the graph stays until it is let go, or "
        "`retain_graph=False` frees it", "RuntimeError without `retain_graph=True`"),
    "writes through NumPy, `.data` or `detach()` into what a gradient needs": (
        "`backward()` raises", "the gradient is silently wrong"),
    "`sigmoid`, `logsumexp` far out": (
        "the slope of sigmoid at 40 is 4.2e-18, that of logsumexp at four times 1e30 is ¼ each",
        "0, and 1 each"),
    "`binary_cross_entropy` of a probability of 1e-60": ("60 log 10, which is 138.2", "100"),
    "`compile(f)`": (
        "a traced NumPy program, compared with f and followed when something changes",
        "kernels that are made for the machine"),
    "`trace(f, x)`": ("the program of f", "the sum of a diagonal, here `x.diag().sum()`"),
    "`save`, `load`": (
        "safetensors: no code runs when a file is opened, and no objects but tensors, numbers, "
        "strings, lists and dicts are kept", "pickles; `weights_only` limits what they may hold"),
    "`x[::-1]`": ("a view", "ValueError"),
    "`device='cuda'`, `.cuda()`": ("RuntimeError: everything is on the CPU", "a GPU"),
    "float32 results": ("the last digits may differ: sums are added in another order", ""),
    "`bfloat16`": ("a name only; NumPy has no such numbers", "a dtype"),
}  # fmt: skip
"""What is not as in PyTorch: what it is here, and there."""


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
        "random numbers. How, and what differs: [Coming from PyTorch](from_pytorch.md). This page "
        "is written by `docs/names.py` from the code.", "",
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


def differences() -> str:
    """The table of what differs."""
    rows = (f"| {what} | {here} | {there} |" for what, (here, there) in DIFFERS.items())
    return "\n".join(["| | here | in PyTorch |", "|---|---|---|", *rows])


def counts() -> str:
    """The table of how many names are here, and of how many there are words what to use instead."""
    lines = ["| | names here | left out, with what to use instead |", "|---|---:|---:|"]
    for name, theirs in MODULES.items():
        here = [n for n in public(importlib.import_module(name)) if n not in OURS]
        lines.append(f"| `{theirs}` | {len(here)} | {len(INSTEAD.get(name, ())) or ''} |")
        if name == "tinygrad_ce":
            lines.append(f"| `torch.Tensor` | {len(methods())} | |")
    return "\n".join(lines)


def moving() -> str:
    """The page for those who come from PyTorch, with its tables as they are now."""
    page = MOVING.read_text(encoding="utf-8")
    for table in (differences, counts):
        head, mark, rest = page.partition(f"<!-- {table.__name__} -->\n")
        _, end, tail = rest.partition("<!-- end -->")
        page = f"{head}{mark}{table()}\n{end}{tail}"
    return page


if __name__ == "__main__":
    pages = {FILE: text(), MOVING: moving()}
    if "--check" in sys.argv:
        old = [f.name for f, new in pages.items() if f.read_text(encoding="utf-8") != new]
        sys.exit(f"{', '.join(old)}: run docs/names.py" if old else 0)
    for file, new in pages.items():
        file.write_text(new, encoding="utf-8")
