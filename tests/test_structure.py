"""The rooms of the house: which may know which, how big the heart is, what stands at the door."""

import ast
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import tinygrad_ce as tg

ROOT = Path(tg.__file__).parent
ENGINE = ["frame", "modes", "memory", "graph", "lines", "dtypes", "devices", "printing", "lending",
          "promotion", "operands", "past", "arguments", "rule", "own_rule", "hooks", "slices",
          "erfc", "table", "chain", "backward", "linear", "functions", "arranging", "returned",
          "counting", "ordering", "protocol", "write", "filling", "tensor"]  # fmt: skip
PROGRAM = ["ir", "memory", "ops", "tracing", "passes", "emit", "listing", "traced",
           "running", "before", "precision", "check", "compiling"]  # fmt: skip
ROOMS = [*(f"engine.{name}" for name in ENGINE), "absent", "settings", "amp",
         "accelerator", "backends", "distributed", "cuda", "xpu", "random", "creation", "functions",
         "functional", "linalg", "nn", "optim", "distributions", "autograd", "func",
         "serialization", "utils",
         *(f"program.{name}" for name in PROGRAM), "program", "engines", "viz.writing",
         "viz.notebook", "viz.graph", "viz.page", "viz.plots", "viz.drawing", "viz",
         "teach"]  # fmt: skip
LATE = {
    ("engine.tensor", "random"),
    ("program.traced", "engines"),
    ("program.compiling", "engines"),
}
"""Imports that point down and happen inside a function, when it is called."""


def room_of(module):
    names = module.split(".")[1:]
    return ".".join(names[: 2 if names[:1] in (["engine"], ["program"], ["viz"]) else 1])


@cache
def imports(path):
    """(imported module, whether inside a function) for every import of our own."""
    return list(found_imports(ast.parse(path.read_text(encoding="utf-8"))))


def found_imports(tree):
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinygrad_ce"):
            names = [node.module]
            if (ROOT.parent / node.module.replace(".", "/")).is_dir():
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                yield name, node in inside
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("tinygrad_ce"):
                    yield alias.name, node in inside


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_upward(path):
    module = "tinygrad_ce." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    here = room_of(module.removesuffix(".__init__"))
    if here in ("", "__init__", "__main__", "engine.__init__"):
        return
    for name, late in imports(path):
        there = room_of(name)
        if there != here and not (late and (here, there) in LATE):
            assert ROOMS.index(there) < ROOMS.index(here), f"{here} imports {there}"


def code_lines(path):
    """Lines that are neither blank, comment nor docstring."""
    source = path.read_text(encoding="utf-8")
    documented = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            text = node.body[0]
            documented |= set(range(text.lineno, text.end_lineno + 1))
    lines = enumerate(source.split("\n"), 1)
    return sum(
        1 for i, line in lines if i not in documented and line.strip() and line.strip()[0] != "#"
    )


def test_the_heart_is_read_in_one_sitting():
    assert (
        sum(code_lines(ROOT / "engine" / f"{name}.py") for name in ("graph", "rule", "chain"))
        <= 400
    )


def test_public_names_are_sorted_and_there():
    assert tg.__all__ == sorted(tg.__all__)
    for name in tg.__all__:
        assert getattr(tg, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        tg.nonsense  # noqa: B018


def test_import_brings_in_numpy_and_nothing_else_that_is_big():
    code = (
        "import sys, tinygrad_ce\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules}))\n"
        "print(*sorted(m for m in sys.modules if m.startswith('tinygrad_ce.')))\n"
        "print(*dir(tinygrad_ce))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    loaded, own, named = result.stdout.split("\n")[:3]
    assert not {"graphviz", "pygraphviz", "safetensors", "matplotlib"} & set(loaded.split())
    for later in (
        "nn",
        "optim",
        "distributions",
        "random",
        "viz",
        "serialization",
        "utils",
        "teach",
        "engines",
    ):
        assert f"tinygrad_ce.{later}" not in own.split()
    assert named.split() == sorted(named.split()) and set(tg.__all__) <= set(named.split())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep memory anyway")
def test_arrays_that_come_and_go_take_no_memory_anew_in_each_step():
    code = (
        "import resource\n"
        "import numpy as np\n"
        "import tinygrad_ce\n"
        "def taken(steps):\n"
        "    for _ in range(steps):\n"
        "        kept = [np.ones(300_000, np.float32) for _ in range(12)]\n"
        "        del kept\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "print(-taken(3) + taken(10))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    assert int(result.stdout) < 1000  # pages of 4 KB; 30,000 if all were given back


def test_no_file_imports_itself_by_way_of_others():
    """Not even for the type checker: rooms are read from the first file to the last."""
    known = {}
    for path in ROOT.rglob("*.py"):
        module = "tinygrad_ce." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
        module = module.removesuffix(".__init__").removeprefix("tinygrad_ce.__init__")
        known[module or "tinygrad_ce"] = {
            name
            for name, late in imports(path)
            if not (late and (room_of(module), room_of(name)) in LATE)
        }
    left = dict(known)
    while left:
        free = {module for module, needs in left.items() if not needs & left.keys() - {module}}
        assert free, sorted(left)
        left = {module: needs for module, needs in left.items() if module not in free}
