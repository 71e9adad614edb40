"""From cards to DOT, the language of Graphviz. Everything a user named is escaped.

Colours are six hex digits, the font has one name, and ids are places in the graph, so the same
program gives the same text, byte for byte, for every version of Graphviz.
"""

from __future__ import annotations

import re
from html import escape
from xml.etree import ElementTree

from tinygrad_ce.viz.graph.cards import Card, Cluster, Edge, Picture
from tinygrad_ce.viz.graph.names import renamed, short

INK, FAINT, PAPER, RED = "#0f172a", "#4b5a70", "#ffffff", "#dc2626"
LINE, BACK, SLOPE = "#475569", "#f87171", "#b91c1c"

# role: (border, its width, the header's tint)
ROLES = {
    "input": ("#2563eb", 2, "#dbeafe"),
    "parameter": ("#16a34a", 2, "#dcfce7"),
    "loss": ("#dc2626", 2, "#fecaca"),
    "step": ("#94a3b8", 1, "#f1f5f9"),
    "constant": ("#cbd5e1", 1, "#f8fafc"),
    "module": ("#4ade80", 2, "#e0f7e9"),
    "function": ("#a78bfa", 2, "#efe7fd"),
    "operations": ("#94a3b8", 2, "#f8fafc"),
    "backward": ("#fca5a5", 1, "#fee2e2"),
    "gradient": ("#dc2626", 2, "#fecaca"),
}
# kind: (text, then fill and border for each depth)
KINDS = {
    "module": ("#166534", [("#f0fdf4", "#86efac"), ("#e2f9ea", "#4ade80")]),
    "function": ("#6d28d9", [("#faf5ff", "#c4b5fd"), ("#f3e8ff", "#a78bfa")]),
}
DARK = {
    "#0f172a": "#e2e8f0", "#4b5a70": "#b4c0d0", "#ffffff": "#111827", "#dc2626": "#f87171",
    "#475569": "#94a3b8", "#f87171": "#ef4444", "#2563eb": "#60a5fa", "#dbeafe": "#1e3a5f",
    "#16a34a": "#22c55e", "#dcfce7": "#17492f", "#fecaca": "#7f1d1d", "#94a3b8": "#475569",
    "#f1f5f9": "#1f2937", "#cbd5e1": "#374151", "#f8fafc": "#1a2230", "#86efac": "#15803d",
    "#f0fdf4": "#0f2a1c", "#4ade80": "#16a34a", "#c4b5fd": "#6d28d9", "#faf5ff": "#1d1633",
    "#166534": "#86efac", "#6d28d9": "#c4b5fd", "#f3e8ff": "#2a1f4a", "#a78bfa": "#7c3aed",
    "#fca5a5": "#991b1b", "#fee2e2": "#3f1518", "#b91c1c": "#fb8a8a", "#64748b": "#94a3b8",
    "#e2f9ea": "#16352a", "#e0f7e9": "#1d4a38", "#efe7fd": "#3b2c6e",
}  # fmt: skip
LONG = 5000  # ranks passed by all edges together, above which layout has to hurry
CALLED = 40  # letters of a name that fit on a card; its tooltip has all of them
TITLE = 400  # points of a call's title that no edge may cross
BEFORE = 20  # points that something invisible keeps the next card away, be it ever so small
WIDE = 8  # folded to so many cards, a picture runs from left to right
CHIPS = {"input": "input", "parameter": "parameter", "constant": "constant", "loss": "loss"}
CHIPS_BACKWARD = {**CHIPS, "step": "forward pass", "backward": "backward pass",
                  "gradient": "gradient of a parameter"}  # fmt: skip
LEGEND = (
    "grey arrow: the value · red arrow: the gradient, as its label says",
    "G: gradient that arrives · x, a, b: operands · y: result · ⊕: gradients added",
)
LEGEND_OF_VALUES = ("arrow: the value · dashed: no gradient can flow",)
LONGEST = 2700  # characters of a quoted string, of six bytes at most: Graphviz ends at 16,384 bytes
NOT_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


# --- text -----------------------------------------------------------------------------------


def text(string: str, limit: int = 80) -> str:
    """A string of any origin on one line of XML or HTML, cut where it is too long.

    >>> text('<b>"R&D"</b>')
    '&lt;b&gt;&quot;R&amp;D&quot;&lt;/b&gt;'
    """
    line = " ".join(NOT_XML.sub("�", string).split())
    return escape(line if len(line) <= limit else line[: limit - 1] + "…")


def dot_text(string: str, limit: int = 80) -> str:
    r"""A string of any origin as the text of an HTML label.

    Backslashes are doubled, for Graphviz puts the card's id in the place of `\N`.

    >>> print(dot_text(r"\N < \G"))
    \\N &lt; \\G
    """
    return text(string, limit).replace("\\", "\\\\")


def quoted(string: str) -> str:
    """A string of any origin as a quoted DOT string that means just its characters.

    But for a backslash: Graphviz reads it twice and differently, so its twin U+2216 is written.
    What is too long is cut.
    """
    string = string if len(string) <= LONGEST else string[: LONGEST - 1] + "…"
    plain = escape(NOT_XML.sub("�", string).replace("\\", "∖"), quote=False)
    return '"' + plain.replace('"', "&quot;").replace("\n", "&#10;") + '"'


def font(string: str, size: int, color: str = INK, tag: str = "", limit: int = 80) -> str:
    """Escaped text in a size, a colour and perhaps bold or italic; nothing for no text."""
    inner = dot_text(string, limit)
    if not inner:
        return ""
    inner = f"<{tag}>{inner}</{tag}>" if tag else inner
    return f'<FONT POINT-SIZE="{size}" COLOR="{color}">{inner}</FONT>'


def label(markup: str) -> str:
    """An HTML label, checked: engines may draw a malformed one as nonsense without an error."""
    ElementTree.fromstring(f"<label>{markup}</label>")
    return f"label=<{markup}>"


# --- cards, edges, clusters -----------------------------------------------------------------


def card_line(card: Card) -> str:
    """One card as a DOT node: header, formula of a folded call, value, gradient."""
    border, width, tint = ROLES[card.role]
    folded = card.formula is not None
    ink = KINDS[card.role][0] if card.role in KINDS else INK
    head = "&#160; ".join(
        part
        for part in (
            font(("⊞ " if folded else "") + card.head, 14, ink, "B") if card.op else "",
            font(short(card.called, CALLED), 12, FAINT if card.op else INK, "B"),
        )
        if part
    )
    side = spaces("‖" * card.head.count("‖")) + font(card.shape, 9, FAINT)
    rows = [
        '<TR><TD CELLPADDING="2"><TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" '
        f'CELLPADDING="3" STYLE="ROUNDED" BGCOLOR="{tint}"><TR><TD ALIGN="LEFT">{head}</TD>'
        f'<TD ALIGN="RIGHT">{side}</TD></TR></TABLE></TD></TR>'
    ]
    if folded:
        total = f"{card.operations:,} operation{'s' * (card.operations != 1)}"
        count = font(total, 9, FAINT) if total != card.op else ""
        rows.append(row(" ".join(filter(None, (font(card.formula or "", 10, ink, "I"), count)))))
    if card.value:
        rows.append(row(font(card.value, 11) + spaces(card.value)))
    if card.gradient:
        added = f" {font(f'⊕{card.added}', 11, RED, 'B')}" if card.added > 1 else ""
        rows.append(row(font(card.gradient, 11, RED) + (added or spaces(card.gradient))))
    table = (
        f'<TABLE BORDER="{width}" COLOR="{border}" BGCOLOR="{PAPER}" CELLBORDER="0" '
        f'CELLSPACING="0" CELLPADDING="4" STYLE="ROUNDED">{"".join(rows)}</TABLE>'
    )
    return (
        f'{card.id} [id="{card.id}" class="{card.role}" '
        f"tooltip={quoted(card.tooltip)} {label(table)}]"
    )


def spaces(string: str) -> str:
    """Room after a text, whose letters are wider in browsers than Graphviz takes them for."""
    count = 1 + min(len(string), 80) // 10
    return f'<FONT POINT-SIZE="9">{"&#160;" * count}</FONT>' if string else ""


def row(content: str) -> str:
    """A row over the whole width of a card."""
    return f'<TR><TD ALIGN="LEFT">{content}</TD></TR>'


def edge_line(edge: Edge, number: int, wide: bool) -> str:
    """One edge for both directions: grey forward, red backward; dashed where none comes back."""
    weight = 8 if edge.spine and not edge.beside else 1
    start = f'{edge.source} -> {edge.target} [id="e{number}" weight={weight} '
    if edge.kind != "flow":
        look = {"data": "style=dashed", "backward": f'color="{BACK}"', "forward": f'color="{LINE}"'}
        return f'{start}class="{edge.kind}" {look[edge.kind]}]'
    # A line runs along the left of its label; in a wide picture along its foot, and, to a card
    # below or above, through its middle.
    left = "&#160;" * (2 * len(edge.label) + 5 if wide and edge.beside else 2)
    foot = '<BR/><FONT POINT-SIZE="5">&#160;</FONT>' if wide and not edge.beside else ""
    derivative = label(f"{left}{font(edge.label, 10, SLOPE)}&#160;{foot}")
    return f'{start}class="flow" dir=both color="{LINE}:{BACK}" {derivative}]'


def cluster_head(cluster: Cluster, number: int) -> str:
    """The opening of a cluster: its colours, its name and its formula."""
    color, depths = KINDS.get(cluster.kind, KINDS["function"])
    fill, border = depths[cluster.depth % len(depths)]
    lines = (
        font("⊟ " + cluster.name, 14, color, "B") + spaces(cluster.name),
        font(cluster.formula, 10, color, "I"),
    )
    markup = "".join(line + '<BR ALIGN="LEFT"/>' for line in lines if line)
    return (
        f'subgraph cluster_{number} {{ id="cluster_{number}" class={quoted(cluster.kind)} '
        f'style="rounded,filled" fillcolor="{fill}" color="{border}" penwidth=1.2 margin=14 '
        f"labeljust=l {label(markup)}"
    )


def spacer(picture: Picture, number: int, first: Card) -> list[str]:
    """Something invisible at the left of a cluster's first card, so no edge crosses its name.

    The edge comes in at the middle of the card.
    """
    taken = any(edge.beside and edge.target == first.id for edge in picture.edges)
    wide = direction_of(picture) == "LR"
    if first.cluster != number or not first.spine or wide or taken:
        return []
    cluster = picture.clusters[number]
    title = max(8 * len(cluster.name) + 20, 5 * len(cluster.formula))
    beyond = min(title, TITLE) - width_of(first) / 2  # of the name, to the right of the edge
    if beyond < 0:
        return []
    width = max(0, beyond - BEFORE) / 72
    node = f'sp{number} [style=invis shape=box label="" width={width:.2f} height=0.1]'
    return [f"  {node}", f"  {{rank=same; sp{number}; {first.id}}}",
            f"  sp{number} -> {first.id} [style=invis]"]  # fmt: skip


def width_of(card: Card) -> float:
    """About how wide a card is, in points."""
    head = 8 * len(card.head) + 7 * len(short(card.called, CALLED)) + 5 * len(card.shape) + 14
    rows = (5.5 * len(text) for text in (card.value, card.gradient))
    return max(head, *rows) + 12


# --- the whole ------------------------------------------------------------------------------


def to_dot(picture: Picture) -> str:
    """The DOT text of a picture."""
    # newrank: ranks are of the whole picture. Ranked one by one, clusters with parallel branches in
    # them were set beside what they are computed from, with edges that go up.
    direction = direction_of(picture)
    lines = [
        "digraph tinygrad_ce {",
        f'graph [rankdir={direction} bgcolor="{PAPER}" fontname="Arial" '
        f'fontcolor="{INK}" newrank=true nodesep=0.28 ranksep=0.4 pad=0.25 labelloc=t labeljust=l '
        f'fontsize=13 tooltip=" " {haste(picture)}{label(caption(picture))}];',
        f'node [shape=plain fontname="Arial" fontcolor="{INK}"];',
        f'edge [fontname="Arial" fontsize=10 arrowsize=0.65 color="{LINE}"];',
        *body(picture, None),
        *(edge_line(edge, i, direction == "LR") for i, edge in enumerate(picture.edges)),
        "}",
    ]
    source = "\n".join(lines) + "\n"
    return darkened(source) if picture.options.theme == "dark" else source


def direction_of(picture: Picture) -> str:
    """What was asked for, or from left to right if it is folded to a few cards."""
    few = picture.folded and len(picture.cards) <= WIDE and (picture.options.ratio() or 1) >= 1
    return picture.options.direction or ("LR" if few else "TB")


def haste(picture: Picture) -> str:
    """What lets `dot` end in seconds where edges are long, as from a weight to 100 time steps.

    It puts a point on every rank that an edge passes, and has twice the ranks where edges have
    labels; the time grows with the cube of these points. `nslimit` ends the search for straight
    lines early; if that has to be so early that curves would wriggle, lines are drawn.
    """
    at = {card.id: i for i, card in enumerate(picture.cards)}
    passed = sum(abs(at[edge.target] - at[edge.source]) for edge in picture.edges)
    if any(edge.kind == "flow" and edge.label for edge in picture.edges):
        passed *= 2
    if passed <= LONG:
        return ""
    return "nslimit=30 " if passed <= 1.5 * LONG else "splines=line nslimit=0.2 mclimit=0.01 "


def caption(picture: Picture) -> str:
    """The title, what is to be said about the graph, and the legend."""
    first, *others = picture.notes
    title = f"{font(picture.title, 13, INK, 'B')} &#160; {font(first, 10, FAINT)}"
    notes = [font(note, 10, FAINT, limit=160) for note in others]
    lines = [title, *notes, *(font(line, 10, FAINT) for line in legend(picture))]
    rows = [f'<TR><TD COLSPAN="9" ALIGN="LEFT">{line}</TD></TR>' for line in lines]
    if colors := chips(picture):  # room that is left goes to all columns alike, so there are many
        rows.insert(1, f"<TR><TD>{colors}</TD>{'<TD></TD>' * 8}</TR>")
    rows.append('<TR><TD COLSPAN="9" HEIGHT="10"></TD></TR>')  # keeps the first card away
    return (
        f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2">{"".join(rows)}</TABLE>'
    )


def chips(picture: Picture) -> str:
    """What the colours of cards mean, for those that are there."""
    there = {card.role for card in picture.cards}
    words = CHIPS_BACKWARD if picture.options.backward else CHIPS
    cells = ""
    for role, word in words.items():
        if role in there:
            border, width, tint = ROLES[role]
            cells += (
                '<TD><TABLE CELLBORDER="0" CELLSPACING="0" CELLPADDING="2" STYLE="ROUNDED" '
                f'BORDER="{width}" COLOR="{border}" BGCOLOR="{tint}"><TR><TD>'
                f"&#160;{font(word, 10)}&#160;</TD></TR></TABLE></TD>"
            )
    table = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="4" CELLPADDING="0">'
    return f"{table}<TR>{cells}</TR></TABLE>" if cells else ""


def legend(picture: Picture) -> tuple[str, ...]:
    """What arrows and letters mean in this picture."""
    if picture.options.backward:
        return ()
    if not picture.options.gradients:
        return LEGEND_OF_VALUES
    arrows, letters = LEGEND
    return arrows, renamed(letters, picture.letters)


def body(picture: Picture, inside: int | None) -> list[str]:
    """The cards and clusters that stand directly in a cluster, in the order of the computation."""
    lines = []
    opened = set()
    outer = [cluster.outer for cluster in picture.clusters]
    for card in picture.cards:
        at = card.cluster
        while at != inside and at is not None and outer[at] != inside:
            at = outer[at]
        if at == inside:
            lines.append(card_line(card))
        elif at is not None and at not in opened:
            opened.add(at)
            lines.append(cluster_head(picture.clusters[at], at))
            lines += ["  " + line for line in body(picture, at)]
            lines += spacer(picture, at, card)
            lines.append("}")
    where = {card.id: card.cluster for card in picture.cards}
    for edge in picture.edges:
        if edge.beside and where[edge.source] == inside:
            lines.append(f"{{rank=same; {edge.source}; {edge.target}}}")
    return lines


# --- dark -----------------------------------------------------------------------------------


def darkened(source: str) -> str:
    """DOT or SVG text in dark colours."""
    return re.sub("#[0-9a-f]{6}", lambda match: DARK.get(match[0], match[0]), source)


def dark_style() -> str:
    """CSS rules that darken an SVG of class `tinygrad_ce` where the reader prefers dark."""
    rules = "".join(
        f'.tinygrad_ce [{what}="{light}"]{{{what}:{dark}}}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
    )
    return f"<style>@media (prefers-color-scheme: dark) {{{rules}}}</style>"
