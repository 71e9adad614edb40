"""Makes the README's pictures: `python docs/pictures.py`; `--check` asks whether they are current.

Graphs are SVG, which turns dark where its reader prefers that; the page is what Chromium shows of
it. Programs that lay out graphs and browsers differ in where they put things, so what is compared
is what they are given, of which each picture keeps a digest.
"""

import argparse
import hashlib
import re
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the programs stand with the tests

import tinygrad_ce as tg  # noqa: E402
from tests.browser import launch  # noqa: E402
from tests.drawn_programs import OPENED, PROGRAMS  # noqa: E402
from tinygrad_ce import viz  # noqa: E402

GRAPHS = {"network_expanded.svg": ("two_layer_network", "expanded")}
PLAYED = {"play.png": ("light", 29), "play_dark.png": ("dark", 29)}  # theme and step


# --- graphs ---------------------------------------------------------------------------------


def graph(file: str) -> viz.Drawing:
    """The drawing that a file holds."""
    program, opened = GRAPHS[file]
    loss, names = PROGRAMS[program]()
    return tg.draw(loss, names=names, **OPENED[opened])


def digest(source: str) -> str:
    """The SHA-256 of DOT text but for numbers, which processors round differently."""
    source = re.sub('tooltip="[^"]*"', "", source)
    source = re.sub("(?<!-)>[^<>]+</", lambda text: re.sub("[−0-9.e]", "", text[0]), source)
    return hashlib.sha256(source.encode()).hexdigest()


def write_graph(file: str, folder: Path) -> None:
    """Draw one graph, with the digest of its source in a comment at the end."""
    drawing = graph(file)
    path = drawing.save(folder / file)
    mark = f"<!-- digest {digest(drawing.source)} -->\n"
    path.write_text(path.read_text(encoding="utf-8").rstrip() + "\n" + mark, encoding="utf-8")


def is_current(file: str) -> bool:
    """Whether a picture is what the code draws now."""
    path = HERE / file
    kept = path.read_text(encoding="utf-8").splitlines()[-1] if path.exists() else ""
    return digest(graph(file).source) in kept


# --- the page -------------------------------------------------------------------------------


def played() -> tuple[str, str]:
    """The page of the two-layer network, and a digest of what makes it look as it does."""
    with tg.source_lines():
        loss, names = PROGRAMS["two_layer_network"]()
    page = tg.play(loss, names)
    looks = re.sub(r'<script type="application/json".*?</script>', "", page.html, flags=re.DOTALL)
    return page.html, digest(re.sub('<svg id="graph".*?</svg>', "", looks, flags=re.DOTALL))


def write_page(folder: Path) -> None:
    """Photograph the page in both themes."""
    from PIL import Image, PngImagePlugin
    from playwright.sync_api import sync_playwright

    html, mark = played()
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        page_file = Path(place) / "page.html"
        page_file.write_text(html, encoding="utf-8")
        chromium = launch(playwright)
        for file, (theme, step) in PLAYED.items():
            size = {"width": 1280, "height": 720}
            page = chromium.new_page(
                color_scheme=theme, viewport=size, reduced_motion="reduce", device_scale_factor=1.5
            )
            page.goto(f"{page_file.as_uri()}#step={step}")
            page.screenshot(path=folder / file)
            text = PngImagePlugin.PngInfo()
            text.add_text("digest", mark)
            with Image.open(folder / file) as picture:
                picture.convert("RGB").save(folder / file, optimize=True, pnginfo=text)
        chromium.close()


def is_photographed(file: str) -> bool:
    """Whether a picture of the page shows it as it is now."""
    from PIL import Image

    if not (HERE / file).exists():
        return False
    with Image.open(HERE / file) as picture:
        return picture.info.get("digest") == played()[1]


def main() -> None:
    """Make the pictures, or only check them."""
    parser = argparse.ArgumentParser(description="Make the README's pictures.")
    parser.add_argument("--check", action="store_true", help="only ask whether they are current")
    parser.add_argument("--out", type=Path, default=HERE, help="where to; docs/ if it is left out")
    asked = parser.parse_args()
    if asked.check:
        stale = [file for file in GRAPHS if not is_current(file)]
        stale += [file for file in PLAYED if not is_photographed(file)]
        if stale:
            sys.exit(f"{', '.join(stale)}: not what is drawn now; run python docs/pictures.py")
        return
    asked.out.mkdir(exist_ok=True)
    for file in GRAPHS:
        write_graph(file, asked.out)
    write_page(asked.out)


if __name__ == "__main__":
    main()
