"""From the SVG that an engine drew to the smaller one that a page moves about.

An engine writes each rounded box as a long path and each card three times over. Here every box is
a `<rect>`, coordinates start at 0 and have one decimal, and a card, an edge and a cluster carry
what a page has to know: which cards an edge joins, and in which cluster a card stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import NamedTuple
from xml.etree import ElementTree

from tinygrad_ce.viz.graph.cards import Card, Picture
from tinygrad_ce.viz.graph.dot import FAINT, INK, PAPER, RED, ROLES, text

SVG = "{http://www.w3.org/2000/svg}"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
NOTHING = {"none", "transparent", None}
MARGIN = 16.0
COLUMN = 300.0  # the right edge of cards that are stacked
NARROW = 34  # so many letters fit on one


class Box(NamedTuple):
    """Left, top, right and bottom."""

    left: float
    top: float
    right: float
    bottom: float


def slim(svg: str, picture: Picture) -> str:
    """The picture as the inside of an `<svg>`: clusters below, then edges, then cards."""
    root = ElementTree.fromstring(svg)
    groups = {group.get("id"): group for group in root.iter(f"{SVG}g")}
    clusters = {
        i: groups[f"cluster_{i}"] for i in range(len(picture.clusters)) if f"cluster_{i}" in groups
    }
    cards = {card.id: groups[card.id] for card in picture.cards}
    around = union(box_of(shape) for group in (*clusters.values(), *cards.values())
                   for shape in shapes(group))  # fmt: skip
    move = Move(MARGIN - around.left, MARGIN - around.top)
    parts = ['<g id="clusters">']
    parts += [cluster_markup(picture, i, group, move) for i, group in clusters.items()]
    parts.append('</g><g id="edges">')
    parts += [
        edge_markup(picture, i, groups[f"e{i}"], move)
        for i in range(len(picture.edges))
        if f"e{i}" in groups
    ]
    parts.append('</g><g id="cards">')
    parts += [card_markup(card, cards[card.id], move) for card in picture.cards]
    parts.append("</g>")
    width = around.right - around.left + 2 * MARGIN
    height = around.bottom - around.top + 2 * MARGIN
    return framed(width, height, parts)


def column(picture: Picture) -> str:
    """The picture without an engine: its cards one below the other, its edges as arcs beside them.

    Calls are indented instead of framed.
    """
    depth = [0] * len(picture.clusters)
    for i, cluster in enumerate(picture.clusters):
        depth[i] = 1 + (0 if cluster.outer is None else depth[cluster.outer])
    spots, cards = {}, []
    for k, card in enumerate(picture.cards):
        left = MARGIN + 18 * (0 if card.cluster is None else depth[card.cluster])
        top = MARGIN + 76 * k
        spots[card.id] = top + 29
        cards.append(plain_card(card, left, top))
    edges = []
    for i, edge in enumerate(picture.edges):
        a, b = spots[edge.source], spots[edge.target]
        reach = COLUMN + 20 + min(160, (b - a) / 4)
        color = "#f87171" if edge.flows else "#475569"
        edges.append(
            f'<g class="edge{" flow" * edge.flows}" id="e{i}" data-a="{edge.source}" '
            f'data-b="{edge.target}"><path d="M{COLUMN},{a:.0f}C{reach:.0f},{a:.0f} '
            f'{reach:.0f},{b:.0f} {COLUMN},{b:.0f}" fill="none" stroke="{color}"/></g>'
        )
    height = 2 * MARGIN + 76 * len(cards)
    return framed(COLUMN + 200, height, ['<g id="clusters"></g><g id="edges">', *edges,
                  '</g><g id="cards">', *cards, "</g>"])  # fmt: skip


def plain_card(card: Card, left: float, top: float) -> str:
    """A card that nobody has measured."""
    border, width, tint = ROLES[card.role]
    box = Box(left, top, COLUMN, top + 58)
    head = Box(left + 3, top + 3, COLUMN - 3, top + 22)
    here = Move(0, 0)
    lines = [(f"{card.head} {card.name}".strip(), 17, "t12 b", INK), (card.value, 36, "t11 ", INK),
             (card.gradient, 51, "t11 ", RED)]  # fmt: skip
    words = "".join(
        f'<text x="{left + 8:.0f}" y="{top + y:.0f}" class="{look}" fill="{color}">'
        f"{text(words, NARROW)}</text>"
        for words, y, look, color in lines
        if words
    )
    words += (
        f'<text x="{COLUMN - 8:.0f}" y="{top + 16:.0f}" class="t9 " text-anchor="end" '
        f'fill="{FAINT}">{text(card.shape)}</text>'
    )
    boxes = rect(box, here, PAPER, border, str(width), 12) + rect(head, here, tint, "none", "0", 7)
    return grouped(card, boxes + words)


def framed(width: float, height: float, parts: Iterable[str]) -> str:
    """The whole as an `<svg>`."""
    return (
        f'<svg id="graph" viewBox="0 0 {width:.0f} {height:.0f}" role="group" '
        f'aria-label="The graph"><g id="view">{"".join(parts)}</g></svg>'
    )


class Move:
    """Moves coordinates to where the page wants them, and writes them short."""

    def __init__(self, dx: float, dy: float) -> None:
        self.dx, self.dy = dx, dy

    def x(self, value: float) -> str:
        """An x coordinate."""
        return f"{value + self.dx:.1f}".removesuffix(".0")

    def y(self, value: float) -> str:
        """A y coordinate."""
        return f"{value + self.dy:.1f}".removesuffix(".0")

    def path(self, d: str) -> str:
        """Coordinates that alternate, x and y, with what stands between them."""
        turn = iter(range(len(d)))
        return NUMBER.sub(lambda m: (self.y if next(turn) % 2 else self.x)(float(m[0])), d)


def shapes(group: ElementTree.Element) -> list[ElementTree.Element]:
    """The boxes of a card or a cluster, in the order in which they are painted."""
    return [x for x in group.iter() if x.tag in (f"{SVG}path", f"{SVG}polygon")]


def box_of(shape: ElementTree.Element) -> Box:
    """What a path or a polygon of straight sides with round corners fills."""
    numbers = [float(x) for x in NUMBER.findall(shape.get("d") or shape.get("points") or "0,0")]
    xs, ys = numbers[::2], numbers[1::2]
    return Box(min(xs), min(ys), max(xs), max(ys))


def union(boxes: Iterable[Box]) -> Box:
    """The box around all."""
    lefts, tops, rights, bottoms = zip(*boxes)
    return Box(min(lefts), min(tops), max(rights), max(bottoms))


# --- markup ---------------------------------------------------------------------------------


def rect(box: Box, move: Move, fill: str, stroke: str, width: str, radius: int) -> str:
    """One box."""
    line = "" if stroke in NOTHING else f' stroke="{stroke}" stroke-width="{width}"'
    return (
        f'<rect x="{move.x(box.left)}" y="{move.y(box.top)}" '
        f'width="{box.right - box.left:.1f}" height="{box.bottom - box.top:.1f}" '
        f'rx="{radius}" fill="{fill}"{line}/>'
    )


def texts(group: ElementTree.Element, move: Move) -> str:
    """The words in a card, an edge or a cluster."""
    written = []
    for line in group.iter(f"{SVG}text"):
        words = (line.text or "").replace("\xa0", " ").strip()
        if not words:
            continue
        look = "b" if line.get("font-weight") == "bold" else ""
        look += "i" if line.get("font-style") == "italic" else ""
        size = f"{float(line.get('font-size') or 10):.0f}"
        middle = "m" if line.get("text-anchor") == "middle" else ""
        x, y = float(line.get("x") or 0), float(line.get("y") or 0)
        written.append(
            f'<text x="{move.x(x)}" y="{move.y(y)}" class="t{size} {look}{middle}" '
            f'fill="{line.get("fill") or INK}">{escape(words)}</text>'
        )
    return "".join(written)


def card_markup(card: Card, group: ElementTree.Element, move: Move) -> str:
    """One card: its border and paper as one box, the tint of its header, its words."""
    drawn = shapes(group)
    outer = union(box_of(shape) for shape in drawn)
    border = next((x for x in reversed(drawn) if x.get("stroke") not in NOTHING), drawn[-1])
    filled = [x for x in drawn if x.get("fill") not in NOTHING]
    paper = filled[0].get("fill") or "#ffffff"
    boxes = rect(outer, move, paper, border.get("stroke") or "none",
                 border.get("stroke-width") or "1", 12)  # fmt: skip
    for tint in filled[1:]:
        boxes += rect(box_of(tint), move, tint.get("fill") or "", "none", "0", 7)
    return grouped(card, boxes + texts(group, move))


def grouped(card: Card, inside: str) -> str:
    """What is drawn of a card; a script makes it something that can be pressed."""
    around = "" if card.cluster is None else f' data-c="{card.cluster}"'
    return f'<g class="card {card.role}" id="{card.id}"{around}>{inside}</g>'


def cluster_markup(picture: Picture, i: int, group: ElementTree.Element, move: Move) -> str:
    """One cluster: its box and its title, which folds it."""
    cluster = picture.clusters[i]
    shape = shapes(group)[0]
    box = rect(box_of(shape), move, shape.get("fill") or "none", shape.get("stroke") or "none",
               shape.get("stroke-width") or "1", 12)  # fmt: skip
    outer = "" if cluster.outer is None else f' data-c="{cluster.outer}"'
    name, formula = text(cluster.name), text(cluster.formula)
    return (
        f'<g class="cluster {escape(cluster.kind)}" id="c{i}"{outer} data-name="{name}" '
        f'data-formula="{formula}">{box}<g class="title">{texts(group, move)}</g></g>'
    )


def edge_markup(picture: Picture, i: int, group: ElementTree.Element, move: Move) -> str:
    """One edge: its lines, its arrow heads and its label."""
    edge = picture.edges[i]
    drawn = ""
    for shape in group.iter():
        if shape.tag == f"{SVG}path":
            dash = ' stroke-dasharray="5,2"' if shape.get("stroke-dasharray") else ""
            drawn += (
                f'<path d="{move.path(shape.get("d") or "")}" fill="none" '
                f'stroke="{shape.get("stroke")}"{dash}/>'
            )
        elif shape.tag == f"{SVG}polygon":
            drawn += (
                f'<polygon points="{move.path(shape.get("points") or "")}" '
                f'fill="{shape.get("fill")}"/>'
            )
    return (
        f'<g class="edge{" flow" * edge.flows}" id="e{i}" data-a="{edge.source}" '
        f'data-b="{edge.target}">{drawn}{texts(group, move)}</g>'
    )
