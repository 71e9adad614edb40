"""The lessons as notebooks to download, and all of them, with what they name, in one archive.

`write(folder)` makes them; docs/conf.py calls it before each build. What only the site's Markdown
has (directives, links to other pages) becomes what a notebook shows anywhere.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from nbformat import v4, validate, writes

LESSONS = Path(__file__).parent / "lessons"
EXAMPLES = LESSONS.parents[1] / "examples"
INSTALL = """\
# The library lies beside this notebook in lessons.zip, as a wheel.
from glob import glob
from importlib.util import find_spec

if wheels := glob("tinygrad_ce-*.whl"):
    %pip install -q "{wheels[0]}[examples,teach]"
elif not find_spec("tinygrad_ce"):
    raise ModuleNotFoundError("take lessons.zip, unpack it, and open the notebook that is in it")
"""
HEAD = re.compile(r"\A---\n.*?^---\n", re.M | re.S)
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n((?::[^\n]*\n)*)(.*?)^```$\n?", re.M | re.S)
SOLUTION = re.compile(r"^```\{admonition\} (.+)\n:class: dropdown\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\{[\w:]+\}`([^`<]+?)(?:\s*<[^`>]*>)?`")


def write(folder: Path) -> None:
    """Write a notebook of each lesson, and lessons.zip: all, their examples, the wheel."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    made = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(made, cwd=LESSONS.parents[1], check=True, capture_output=True)
    for lesson in sorted(LESSONS.glob("[01]*.md")):
        text = writes(notebook(lesson.read_text(encoding="utf-8")))
        (folder / f"{lesson.stem}.ipynb").write_text(text + "\n", encoding="utf-8")
    files = sorted(folder.iterdir())
    with zipfile.ZipFile(folder / "lessons.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"lessons/{file.name}")
        for file in examples():
            archive.write(file, f"lessons/examples/{file.name}")


def examples() -> list[Path]:
    """The examples that lessons name, and the texts that these read."""
    lessons = [lesson.read_text(encoding="utf-8") for lesson in LESSONS.glob("[01]*.md")]
    named = {EXAMPLES / name for name in re.findall(r"examples/(\w+\.py)", "".join(lessons))}
    read = "".join(script.read_text(encoding="utf-8") for script in named)
    return sorted(named | {text for text in EXAMPLES.glob("*.txt") if text.name in read})


def notebook(text: str) -> Any:
    """The lesson as a notebook, whose first cell installs the library."""
    cells = [v4.new_code_cell(INSTALL.strip())]
    parts = CELL.split(HEAD.sub("", text))
    for prose, code in zip(parts[::3], [*parts[2::3], ""]):
        if told := plain(prose).strip():
            cells.append(v4.new_markdown_cell(told))
        if code.strip():
            cells.append(v4.new_code_cell(code.strip()))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # the same at every build
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    validate(made)
    return made


def plain(prose: str) -> str:
    """Markdown without directives and links to pages that a notebook does not have."""
    folded = r"<details><summary>\1</summary>\n\n\2\n</details>"
    return LINK.sub(r"*\1*", SOLUTION.sub(folded, prose))


def download(name: str) -> str:
    """The line below a lesson's title that offers its notebook."""
    notebook, archive = f"/downloads/{name}.ipynb", "/downloads/lessons.zip"
    return (
        f"*{{download}}`This lesson as a notebook <{notebook}>`, or "
        f"{{download}}`all of them with the library <{archive}>`.*\n\n"
    )
