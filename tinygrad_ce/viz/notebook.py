"""A picture in a notebook: an image that stands wherever it is shown, and more where scripts run.

Until a notebook is trusted its viewer throws away scripts, styles and the elements of an SVG, of
which the words would be left. So the picture is an `<img>` with the SVG in its address, once;
where scripts are allowed, one puts the SVG itself in its place: then words can be selected, cards
have tooltips, and `theme="auto"` follows the notebook instead of the system.
"""

from __future__ import annotations

from base64 import b64encode
from html import escape

UNTRUSTED = (
    '<p class="tinygrad_ce_untrusted">This page runs scripts: trust the notebook, or save it with '
    '.save("page.html").</p>'
)


def image_of(svg: bytes, title: str) -> str:
    """HTML that shows an SVG, which is in it once."""
    data = b64encode(svg).decode()
    return (
        f'<div style="overflow:auto"><img class="tinygrad_ce_picture" style="max-width:none" '
        f'alt="{escape(title)}" src="data:image/svg+xml;base64,{data}"></div>'
        f"<script>{UNFOLD}</script>"
    )


def frame_of(html: str, title: str, height: int) -> str:
    """HTML that shows a page in a frame, or where there are no scripts a line."""
    return (
        f"{UNTRUSTED}<script>{FORGET}</script>"
        f'<iframe title="{escape(title)}" srcdoc="{escape(html)}" '
        f'style="width:100%;height:{height}px;border:0"></iframe>'
    )


FORGET = "document.querySelectorAll('.tinygrad_ce_untrusted').forEach((line) => line.remove())"
UNFOLD = """(() => {
  const dark = () => {
    const { dataset, classList } = document.body;
    if (dataset.jpThemeLight) return dataset.jpThemeLight === "false";
    if (dataset.vscodeThemeKind) return !dataset.vscodeThemeKind.endsWith("light");
    return matchMedia("(prefers-color-scheme: dark)").matches || classList.contains("theme-dark");
  };
  for (const image of document.querySelectorAll("img.tinygrad_ce_picture")) {
    const bytes = Uint8Array.from(atob(image.src.split(",")[1]), (letter) => letter.charCodeAt(0));
    const text = new TextDecoder().decode(bytes);
    const svg = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    const own = `tinygrad_ce_${(window.tinygrad_ce_count = (window.tinygrad_ce_count || 0) + 1)}`;
    for (const part of svg.querySelectorAll("[id]")) part.id = `${own}_${part.id}`;
    svg.id = own;
    const style = svg.querySelector("style");
    const rules = style && style.textContent.replace(/^[^{]*\\{|\\}$/g, "");
    if (style) style.textContent = rules.replaceAll(".tinygrad_ce", `#${own}`);
    image.replaceWith(document.importNode(svg, true));
    if (style) {
      const placed = document.getElementById(own).querySelector("style");
      const follow = () => (placed.media = dark() ? "all" : "not all");
      new MutationObserver(follow).observe(document.body, { attributes: true });
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", follow);
      follow();
    }
  }
})()"""
