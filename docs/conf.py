"""The site: `sphinx-build -W docs site` builds it.

Lessons are executed at every build, formulas become MathML, and nothing is fetched when it is read.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils.nodes import SkipNode, admonition
from latex2mathml.converter import convert

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
os.environ["PYTHONPATH"] = str(HERE.parent)  # of the kernels that lessons run in
os.environ.pop("MPLBACKEND", None)  # else plots would not come out of them

project = "tinygrad_ce"
author = "The authors of tinygrad_ce"
extensions = ["myst_nb"]
html_theme = "sphinx_book_theme"
html_title = "tinygrad_ce"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"use_download_button": False, "show_toc_level": 2}
html_context = {"default_mode": "auto"}
exclude_patterns = ["site", "downloads", "**.ipynb_checkpoints"]
smartquotes = False
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True  # what a page saves is gone
nb_execution_timeout = 60
nb_merge_streams = True
python_maximum_signature_line_length = 88


def formula(self: Any, node: Any, display: str) -> None:
    """A formula as MathML, which browsers set without a script."""
    formula = convert(node.astext(), display=display)
    self.body.append(f'<div class="formula">{formula}</div>' if display == "block" else formula)
    raise SkipNode


def offer_download(app: Any, page: str, source: list[str]) -> None:
    """Put the line with the notebook between a lesson's title and its text."""
    from notebooks import download

    folder, _, name = page.rpartition("/")
    if folder == "lessons" and name[:1].isdigit():
        title = re.compile(r"^# .*\n\n", re.M)
        source[0] = title.sub(lambda found: found[0] + download(name), source[0], count=1)


def fold(app: Any, page: Any) -> None:
    """A solution is closed until it is asked for."""
    for box in page.findall(admonition):
        box["collapsible"] = "closed" if "dropdown" in box["classes"] else None


def setup(app: Any) -> None:
    """Write the reference and the notebooks, and let the builder of pages know formulas."""
    from notebooks import write
    from reference import pages

    pages(HERE / "reference")
    write(HERE / "downloads")
    app.connect("source-read", offer_download)
    app.connect("doctree-read", fold)
    app.add_html_math_renderer(
        "mathml",
        (lambda self, node: formula(self, node, "inline"), None),
        (lambda self, node: formula(self, node, "block"), None),
    )
    app.config.html_math_renderer_name = "mathml"
