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
SPECIAL = re.compile(r"(?<!\\)([*_<\[\]$|])")


def pages(folder: Path) -> None:
    """Write all pages, and forget those that there were."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        old.unlink()
    toctree = "\n".join(MODULES)
    (folder / "index.md").write_text(
        "# Reference\n\nEvery public name, as its docstring tells it.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{toctree}\n```\n",
        encoding="utf-8",
    )
    for name, title in MODULES.items():
        module = importlib.import_module(name)
        head = [f"# {title}", "", f"Module `{name}`", "", *described(module)]
        text = "\n".join([*head, *entries(name, module)])
        (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")


def entries(name: str, module: ModuleType) -> Iterator[str]:
    """The public names of a module, each with what it says of itself."""
    for own in sorted(public(module), key=str.lower):
        value = getattr(module, own)
        if inspect.ismodule(value):
            continue
        yield from entry("class" if inspect.isclass(value) else "function", own, value, name)
        if inspect.isclass(value):
            for method, function in sorted(vars(value).items()):
                if not method.startswith("_") and callable(function) and function.__doc__:
                    yield from entry("method", f"{own}.{method}", function, name)


def entry(kind: str, name: str, value: Any, module: str) -> Iterator[str]:
    """One name: its signature, and its docstring."""
    if not callable(value):
        yield from ("", f"## `{name}`", "", f"`{value!r}`")
        return
    yield from ("", f"::::{{py:{kind}}} {name}{signature(value)}", f":module: {module}", "")
    yield from described(value)
    yield "::::"


def signature(value: Any) -> str:
    """How it is called; annotations stand in the text where they matter."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    plain = [p.replace(annotation=p.empty) for p in found.parameters.values()]
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
