"""The API reference of the site: a page for each public module, made of its docstrings.

`pages(folder)` writes them; docs/conf.py calls it before each build. Our docstrings are Markdown
with doctests, so that a page is the signature and the text as it stands.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from names import public

import tinygrad_ce
from tinygrad_ce import Tensor

MODULES = {
    "tinygrad_ce": "Tensors and functions",
    "tinygrad_ce.nn": "Layers and losses",
    "tinygrad_ce.nn.functional": "Functions of networks",
    "tinygrad_ce.nn.init": "Initialisation",
    "tinygrad_ce.nn.utils": "Tools for networks",
    "tinygrad_ce.optim": "Optimisers",
    "tinygrad_ce.optim.lr_scheduler": "Schedules of the learning rate",
    "tinygrad_ce.utils.data": "Data",
    "tinygrad_ce.autograd": "Derivatives",
    "tinygrad_ce.func": "Functions that transform functions",
    "tinygrad_ce.linalg": "Linear algebra",
    "tinygrad_ce.distributions": "Distributions",
    "tinygrad_ce.random": "Random numbers",
    "tinygrad_ce.viz": "Pictures, pages and plots",
    "tinygrad_ce.teach": "Teaching",
}
SECTIONS = {
    "Making tensors": "creation",
    "Functions of tensors": "functions engine.functions engine.counting",
    "Random numbers, files": "random serialization engines",
    "Programs, pictures, checks": "program viz autograd nn engine.rule engine.frame",
    "Scopes and settings": "engine.modes engine.promotion engine.printing settings amp",
    "Types, dtypes and constants": "",
}
"""What the long page of `tinygrad_ce` is divided into, by the rooms that its names come from."""
INSIDE = {
    "tinygrad_ce.nn": "cls_to_become extra_repr function kernel_shape missing shapes",
    "tinygrad_ce.optim": "check check_groups check_parameters fitting fitting_one needs share "
    "state_of taken_over traced_step update",
    "tinygrad_ce.optim.lr_scheduler": "between check get_lr is_better onward place rate rate_of "
    "reduced",
    "tinygrad_ce.teach": "cells given groups marked open picture",
    "tinygrad_ce.utils.data": "arrays blocks",
}
"""Methods that the library calls, not its user."""
SPECIAL = re.compile(r"(?<!\\)([*_<\[\]$|])")


def pages(folder: Path) -> None:
    """Write all pages, and forget those that there were."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        old.unlink()
    page(folder / "index.md", "# Reference", "Every public name, as its docstring tells it.")
    first, *others = MODULES
    toctree = "\n".join([first, "tinygrad_ce.Tensor", *others])
    with (folder / "index.md").open("a", encoding="utf-8") as index:
        index.write(f"\n```{{toctree}}\n:maxdepth: 1\n\n{toctree}\n```\n")
    for name, title in MODULES.items():
        module = importlib.import_module(name)
        head = [f"# {title}", "", f"Module `{name}`", "", *described(module)]
        page(folder / f"{name}.md", *head, *entries(name, module))
    page(folder / "tinygrad_ce.Tensor.md", "# Methods of a Tensor", "", *methods_of_tensors())


def page(file: Path, *lines: str) -> None:
    """One page."""
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def entries(name: str, module: ModuleType) -> Iterator[str]:
    """The public names of a module, each with what it says of itself."""
    found = grouped(module)
    for title in SECTIONS:
        inside = [names for names in found if section(name, getattr(module, names[0])) == title]
        if inside and name == "tinygrad_ce":
            yield from ("", f"## {title}")
        for names in inside:
            yield from entry(names, getattr(module, names[0]), name)


def grouped(module: ModuleType) -> list[list[str]]:
    """The public names of a module, twins of one signature and docstring together."""
    found: dict[Any, list[str]] = {}
    for own in sorted(public(module), key=str.lower):
        value = getattr(module, own)
        if not inspect.ismodule(value):
            key = (inspect.getdoc(value), signature(value)) if callable(value) else own
            found.setdefault(key, []).append(own)
    return [*found.values()]


def section(name: str, value: Any) -> str:
    """Where on a page a name stands."""
    if name != "tinygrad_ce":
        return next(iter(SECTIONS))
    home = getattr(value, "__module__", "").removeprefix("tinygrad_ce.")
    rooms = {room: title for title, rooms in SECTIONS.items() for room in rooms.split()}
    return rooms.get(home, rooms.get(home.partition(".")[0], [*SECTIONS][-1]))


def entry(names: list[str], value: Any, module: str) -> Iterator[str]:
    """One value under its names: the signature, the docstring, and the methods of a class."""
    if not callable(value):
        yield from ("", f"`{names[0]}`: `{value!r}`")
        return
    kind = "class" if inspect.isclass(value) else "function"
    yield from ("", f":::::{{py:{kind}}} {names[0]}{signature(value)}")
    yield from (f":module: {module}", "", *described(value))
    if names[1:]:
        yield from ("", "Also called " + ", ".join(f"`{name}`" for name in names[1:]) + ".")
    if inspect.isclass(value) and value is not Tensor:
        inside = INSIDE.get(module, "").split()
        for method, function in sorted(vars(value).items()):
            told = callable(function) and function.__doc__ and not method.startswith("_")
            if told and method not in inside:
                yield from method_entry(method, function)
    yield ":::::"


def method_entry(name: str, function: Any) -> Iterator[str]:
    """A method; it has no place in the list at the side of the page."""
    yield from ("", f"::::{{py:method}} {name}{signature(function, True)}")
    yield from (":no-contents-entry:", "", *described(function), "::::")


def methods_of_tensors() -> Iterator[str]:
    """The methods that are functions of tensors too, as links; the others with what they say."""
    own = {
        name: function
        for name, function in sorted(vars(Tensor).items())
        if not name.startswith("_") and callable(function) and function.__doc__
    }
    writes = [name for name in own if name[-1] == "_" and name[:-1] in own]
    told = {
        name: twins[0]
        for twins in grouped(tinygrad_ce)
        for name in twins
        if section("tinygrad_ce", getattr(tinygrad_ce, name)) == "Functions of tensors"
    }
    functions = [name for name in own if name in told and name not in writes]
    links = (f"{{py:func}}`{name} <tinygrad_ce.{told[name]}>`" for name in functions)
    yield "`x.exp()` is `tg.exp(x)`, and so are the other functions that are methods:"
    yield from ("", ", ".join(links) + ".")
    yield from ("", "Methods with an underscore write the result into the tensor itself:")
    yield from ("", ", ".join(f"`{name}`" for name in writes) + ".", "")
    yield from ("Besides NumPy's operators, a Tensor has these:", "")
    yield from (":::::{py:class} Tensor", ":module: tinygrad_ce", ":no-index:", "")
    for name, function in own.items():
        if name not in functions and name not in writes:
            yield from method_entry(name, function)
    properties = [name for name, value in vars(Tensor).items() if isinstance(value, property)]
    for name in sorted(name for name in properties if not name.startswith("_")):
        yield from ("", f"::::{{py:property}} {name}", ":no-contents-entry:", "")
        yield from (*described(vars(Tensor)[name]), "::::")
    yield ":::::"


def signature(value: Any, method: bool = False) -> str:
    """How it is called; annotations stand in the text where they matter."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    plain = [p.replace(annotation=p.empty) for p in found.parameters.values()][method:]
    text = str(found.replace(parameters=plain, return_annotation=found.empty))
    return re.sub(r"<[^>]*>", "...", text)


def described(value: Any) -> Iterator[str]:
    """A docstring as Markdown: doctests in fences, and nothing that looks like a mark by chance."""
    inside = False
    for line in (inspect.getdoc(value) or "").splitlines():
        if line.lstrip().startswith(">>>") and not inside:
            inside = True
            yield "```pycon"
        if inside and not line.strip():
            inside = False
            yield "```"
        yield line if inside else escaped(line)
    if inside:
        yield "```"


def escaped(line: str) -> str:
    """The line with marks escaped outside of `code`."""
    parts = line.split("`")
    return "`".join(part if i % 2 else SPECIAL.sub(r"\\\1", part) for i, part in enumerate(parts))
