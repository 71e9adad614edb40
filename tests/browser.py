"""A real browser for tests: where Chromium is, what a page may not do, and how text is measured.

The fixtures that hand these out stand in conftest.py. Without Playwright or Chromium the tests that
ask for them are skipped; where the environment variable CI is set they fail instead.
"""

import itertools
import json
import os
import shutil
import subprocess

import pytest

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
ARIAL = {"Arial", "Liberation Sans", "Arimo"}
"""Fonts in which a text is as wide as in Arial."""
HERE = ("file:", "data:", "about:")


def unavailable(reason):
    """End the test: skipped on somebody's machine, failed where nothing may be left out."""
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(reason)
    pytest.fail(f"{reason}, and CI is set: install it", pytrace=False)


def chromium():
    """The path of the Chromium that is installed, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def arial():
    """The font that this machine takes for Arial, or None if nothing tells."""
    if not shutil.which("fc-match"):
        return None
    asked = ["fc-match", "--format=%{family[0]}", "Arial"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


def launch(playwright):
    """Start Chromium without a window."""
    path = chromium()
    if path is None:
        unavailable("no Chromium is installed: apt install chromium-headless-shell")
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=path, args=sandbox)


class Opened:
    """Opens pages, and writes down in `complaints` what they did wrong.

    A page may not log an error, raise one, or ask for anything that is not on this machine.
    """

    def __init__(self, browser):
        self.browser = browser
        self.complaints = []
        self.contexts = []

    def __call__(self, theme="light", size=(1280, 800), motion="no-preference", **more):
        """A new page. theme: light or dark; motion: no-preference or reduce; more: of a context."""
        context = self.browser.new_context(
            color_scheme=theme,
            viewport={"width": size[0], "height": size[1]},
            reduced_motion=motion,
            offline=True,
            **more,
        )
        context.set_default_timeout(10_000)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", self.heard)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self.requested)
        return page

    def heard(self, message):
        """The page wrote to its console."""
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")

    def requested(self, request):
        """The page asked for something."""
        if not request.url.startswith(HERE):
            self.complaints.append(f"request: {request.url}")

    def close(self):
        """Close all pages, and fail if there were complaints."""
        for context in self.contexts:
            context.close()
        if self.complaints:
            pytest.fail("the page did wrong:\n" + "\n".join(self.complaints), pytrace=False)


# --- an SVG of a graph, measured ------------------------------------------------------------

MEASURE = r"""
() => {
  const box = element => {
    const {x, y, width, height} = element.getBBox();
    return [x, y, x + width, y + height];
  };
  const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
  const channels = colour => colour.match(/[\d.]+/g).map(Number);
  const painted = [], parts = [];
  for (const element of document.querySelectorAll("svg :is(path, polygon, text)")) {
    const group = element.closest("g.node, g.cluster, g.edge, g.graph");
    const fill = getComputedStyle(element).fill;
    if (element.tagName === "text" && element.textContent.trim()) {
      const [x0, y0, x1, y1] = box(element);
      const x = (x0 + x1) / 2, y = (y0 + y1) / 2;
      const under = painted.filter(([, [a, b, c, d]]) => a <= x && x <= c && b <= y && y <= d);
      parts.push({group: group.id, kind: group.classList[0], text: element.textContent,
                  box: box(element), ink: channels(fill), paper: channels(under.at(-1)[0])});
    } else if (element.tagName !== "text" && fill !== "none" && !group.matches("g.edge")) {
      painted.push([fill, box(element)]);
    }
  }
  const frames = {};
  for (const group of document.querySelectorAll("svg g:is(.node, .cluster, .graph)")) {
    const direct = group.matches(".graph") ? "#a_graph0 polygon" : "path, polygon";
    const shapes = [...group.querySelectorAll(direct)].map(box);
    if (shapes.length) frames[group.id] = shapes.sort((a, b) => area(b) - area(a))[0];
  }
  return {parts, frames};
}
"""
"""Every text with its box, its group, its colour and that of what it stands on; every group's box.

Boxes are (left, top, right, bottom) in the units of the drawing, as the browser lays it out.
"""


def measured(page, svg):
    """What MEASURE tells of an SVG that stands in the page."""
    page.set_content(f"<!doctype html><meta charset=utf-8><body>{svg[svg.index('<svg') :]}")
    return page.evaluate(MEASURE)


def inside(inner, outer):
    """Whether a box is all inside another one."""
    left, top, right, bottom = outer
    return left <= inner[0] and top <= inner[1] and inner[2] <= right and inner[3] <= bottom


def overlap(a, b):
    """How far two boxes reach into each other: the smaller of width and height, or 0."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, min(width, height))


LEADING = 2.0  # a line's box has so much room above its capitals, at 10 points


def misplaced(parts, frames, cards):
    """What is wrong with the texts and cards of a graph: sticking out, overlapping, covering.

    A text whose group has no frame may stand anywhere outside of the cards that are not its own.
    """
    wrong = [
        f"{part['text']!r} sticks out of {part['group']}"
        for part in parts
        if part["group"] in frames and not inside(part["box"], frames[part["group"]])
    ]
    wrong += [
        f"{a['text']!r} of {a['group']} overlaps {b['text']!r} of {b['group']}"
        for a, b in itertools.combinations(parts, 2)
        if overlap(a["box"], b["box"]) > LEADING
    ]
    wrong += [
        f"{part['text']!r} of {part['group']} lies on {card}"
        for part, (card, box) in itertools.product(parts, cards.items())
        if part["group"] != card and overlap(part["box"], box) > 0
    ]
    wrong += [f"{a} lies on {b}" for a, b in itertools.combinations(cards, 2)
              if overlap(cards[a], cards[b])]  # fmt: skip
    return wrong


def luminance(colour):
    """How bright an sRGB colour of 0 ... 255 is, from 0 to 1 (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in
              (channel / 255 for channel in colour[:3])]  # fmt: skip
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(ink, paper):
    """(L₁ + 0.05) / (L₂ + 0.05) of the brighter and the darker colour, from 1 to 21."""
    dark, bright = sorted(map(luminance, (ink, paper)))
    return (bright + 0.05) / (dark + 0.05)


# --- the page that plays a graph, read and measured --------------------------------------------

READ = r"""
() => steps.map((step, k) => {
  go(k);
  const text = (query) => document.querySelector(`#step ${query}`)?.textContent ?? "";
  const tables = [...document.querySelectorAll("#step table[data-space]")].map((table) => ({
    space: table.dataset.space, label: table.getAttribute("aria-label"),
    cells: [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent)),
    caption: table.closest("figure").querySelector("figcaption").textContent}));
  const signs = [...document.querySelectorAll("#step .sign")].map((sign) => sign.textContent);
  return {kind: step.k, heading: text("h2"), math: text(".math"), why: text(".why"), tables, signs,
          check: text(".check"), said: text(".said"), source: text(".source"),
          code: text(".source code"), mark: text(".source mark"),
          live: document.getElementById("say").textContent};
})
"""
"""What each step of the page shows."""

BLENDED = r"""
const channels = (colour) => {
  const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
  return [r, g, b, a];
};
const over = ([r, g, b, a], paper) => [r, g, b].map((c, i) => c * a + paper[i] * (1 - a));
const paperUnder = (element) => {
  if (!element) return [255, 255, 255];
  const style = getComputedStyle(element);
  const [r, g, b, a] = channels(style.backgroundColor);
  return over([r, g, b, a * Number(style.opacity)], paperUnder(element.parentElement));
};
const inkOf = (element) => {
  let [r, g, b, a] = channels(getComputedStyle(element).color);
  for (let e = element; e; e = e.parentElement) a *= Number(getComputedStyle(e).opacity);
  return over([r, g, b, a], paperUnder(element));
};
"""
"""The colours of a text and of what is under it, with what is half transparent blended."""

TEXTS = r"""
const written = () => {
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    let element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility()
        || element.closest("script, .unseen, svg, option")) continue;
    const math = element.closest("math");
    if (math && found.at(-1)?.element === math) continue;
    const range = document.createRange();
    range.selectNodeContents(math || node);
    for (const r of math ? [math.getBoundingClientRect()] : range.getClientRects()) {
      const box = [r.left, r.top, r.right, r.bottom];
      for (let e = math || element; e.id !== "pane" && e !== document.body; e = e.parentElement)
        if (getComputedStyle(e).overflowX !== "visible") {
          const c = e.getBoundingClientRect();
          box[0] = Math.max(box[0], c.left), box[1] = Math.max(box[1], c.top);
          box[2] = Math.min(box[2], c.right), box[3] = Math.min(box[3], c.bottom);
        }
      if (box[2] - box[0] > 0.5 && box[3] - box[1] > 0.5)
        found.push({element: math || element, text: node.data.trim().slice(0, 30), box});
    }
  }
  return found;
};
"""
"""Every text of the page outside of the graph with its box, without what is scrolled away."""

CROWDED = rf"""
(most) => {{
  {TEXTS}
  const wrong = [];
  for (let k = 0; k < steps.length; k++) {{
    go(k);
    const all = written(), pane = document.getElementById("pane");
    all.forEach((a, i) => {{
      if (a.box[0] < 0 || a.box[2] > innerWidth) wrong.push(`${{k}}: ${{a.text}} sticks out`);
      for (const b of all.slice(i + 1)) {{
        const wide = Math.min(a.box[2], b.box[2]) - Math.max(a.box[0], b.box[0]);
        const high = Math.min(a.box[3], b.box[3]) - Math.max(a.box[1], b.box[1]);
        if (Math.min(wide, high) > most) wrong.push(`${{k}}: ${{a.text}} overlaps ${{b.text}}`);
      }}
    }});
    if (pane.scrollWidth > pane.clientWidth) wrong.push(`${{k}}: the pane scrolls sideways`);
  }}
  return wrong;
}}
"""
"""What overlaps by more than so many pixels, or sticks out, at any step."""

COLOURS = rf"""
() => {{
  {BLENDED}
  {TEXTS}
  const seen = new Map();
  for (let k = 0; k < steps.length; k++) {{
    go(k);
    for (const {{element, text}} of written()) {{
      if (element.closest("button[aria-disabled=true]")) continue;
      const colours = {{ink: inkOf(element), paper: paperUnder(element)}};
      seen.set(JSON.stringify(colours), {{...colours, text, step: k}});
    }}
  }}
  return [...seen.values()];
}}
"""
"""The colours of all texts of all steps."""

GRAPH = r"""
() => {
  const view = document.getElementById("view"), {transform} = view.style;
  view.style.transform = "none"; // a font's metrics are rounded at other sizes
  const back = view.getCTM().inverse();
  const box = (element) => {
    const {x, y, width, height} = element.getBBox();
    const to = back.multiply(element.getCTM());
    return [x + to.e, y + to.f, x + width + to.e, y + height + to.f];
  };
  const shown = (element) => {
    for (let e = element; e !== view; e = e.parentElement)
      if (getComputedStyle(e).display === "none") return false;
    return getComputedStyle(element).visibility === "visible";
  };
  const cards = {}, clusters = {}, parts = [];
  for (const g of view.querySelectorAll(".card"))
    if (shown(g)) cards[g.id] = box(g.querySelector("rect"));
  for (const g of view.querySelectorAll(".cluster"))
    if (shown(g)) clusters[g.id] = box(g.querySelector("rect"));
  for (const text of view.querySelectorAll("text")) {
    const group = text.closest(".card, .cluster, .edge");
    if (!shown(text) || !text.textContent.trim()) continue;
    const own = box(text), x = (own[0] + own[2]) / 2, y = (own[1] + own[3]) / 2;
    const holds = ([a, b, c, d]) => a <= x && x <= c && b <= y && y <= d;
    const rects = [...view.querySelectorAll("rect:not([fill=none])")];
    const under = rects.filter((rect) => shown(rect) && holds(box(rect)));
    const colour = (c) => c.match(/[\d.]+/g).map(Number);
    const paper = under.length ? getComputedStyle(under.at(-1)).fill
                               : getComputedStyle(document.body).backgroundColor;
    parts.push({group: group.id, kind: group.classList[0], text: text.textContent, box: own,
                ink: colour(getComputedStyle(text).fill), paper: colour(paper)});
  }
  view.style.transform = transform;
  return {cards, clusters, parts};
}
"""
"""Every card, cluster and text of the graph that is shown, in the units of the drawing."""


def ask(page, script):
    """What a script of the page gives; as text on the way, which is much quicker."""
    return json.loads(page.evaluate(f"JSON.stringify(({script})())"))
