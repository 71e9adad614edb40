"""A tall picture cut across and set in columns, as the text of a book is.

Graphviz lays out one column. Here it is cut where few edges and calls are in the way, its parts are
set side by side, and a line that was cut goes on around them: down below its column, up in the gap,
and in again at the top of the next. All lines of one gap run beside each other and none crosses
another. What comes out is DOT with a place for everything, which an engine only has to draw.

Lengths are points and y grows upwards, as in Graphviz.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from math import inf, log
from typing import Any

Point = tuple[float, float]
Curve = list[Point]  # four points of a Bézier curve

MOST = 12  # columns
FEW = 3  # lines from column to column that are still easy to follow, if nobody asked for columns
SCREEN = 1100.0, 700.0  # what a laptop shows without shrinking it
WORTH = 0.7  # the height that columns have to come to, if nobody asked for them
LANE = 9.0  # between lines that run beside each other
ROOM = 14.0  # around a column
HEAD = 9.0  # of an arrow: a cut keeps away from cards so far
LINE = 22.0  # the height of the title of a call that goes on
INSET = 8.0  # by which a call that is cut ends within the one around it
ROUND = 7.0  # the radius of a corner
LETTER = 5.2  # how wide a letter of an edge's label is
BEND = 0.45  # how far the ends of a quarter of a circle are from their control points
UNEVEN = 24.0, 240.0  # crossed lines that columns of one length are worth: both are tried


@dataclass
class Thing:
    """What may not be cut: a card, a title or a label, from left to right and from foot to top."""

    name: str
    left: float
    right: float
    foot: float
    top: float

    @property
    def middle(self) -> Point:
        """The point in the middle."""
        return (self.left + self.right) / 2, (self.foot + self.top) / 2

    @property
    def size(self) -> Point:
        """Width and height."""
        return self.right - self.left, self.top - self.foot


@dataclass
class Line:
    """An edge: its curves, the tips of its arrows, and where its label stands."""

    name: str
    curves: list[Curve]
    start: Point | None
    end: Point | None
    label: Thing | None
    joins: tuple[str, str]

    @cached_property
    def reach(self) -> tuple[float, float]:
        """The lowest and the highest point."""
        ys = [y for curve in self.curves for _, y in curve]
        return min(ys), max(ys)


@dataclass
class Box:
    """A call's frame, the frame around it, and its title."""

    name: str
    left: float
    right: float
    foot: float
    top: float
    title: Thing
    outer: str | None = None
    inside: frozenset[str] = frozenset()
    """The cards in it, and in the calls in it."""


@dataclass
class Layout:
    """What an engine has said about one column."""

    width: float
    height: float
    caption: Thing
    cards: list[Thing] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)


# --- what an engine says --------------------------------------------------------------------


def numbers(text: str) -> list[float]:
    """The numbers of a text such as "8,27.5 140,60"."""
    return [float(number) for number in re.findall(r"-?[\d.]+(?:e[-+]?\d+)?", text)]


def centred(name: str, at: str, width: float, height: float) -> Thing:
    """A thing of this size around a point."""
    x, y = numbers(at)
    return Thing(name, x - width / 2, x + width / 2, y - height / 2, y + height / 2)


def layout_of(said: dict[str, Any]) -> Layout:
    """The places in the JSON of Graphviz."""
    _, _, width, height = numbers(said["bb"])
    caption = titled("caption", said)
    found = Layout(width, height, caption)
    outer: dict[str, str] = {}
    objects = {thing["_gvid"]: thing for thing in said["objects"]}
    for thing in objects.values():
        if thing["name"].startswith("cluster"):
            left, foot, right, top = numbers(thing["bb"])
            title = titled(thing["name"], thing)
            inside = frozenset(objects[i]["name"] for i in thing.get("nodes", ()))
            found.boxes.append(Box(thing["name"], left, right, foot, top, title, inside=inside))
            outer.update((objects[i]["name"], thing["name"]) for i in thing.get("subgraphs", ()))
        elif re.fullmatch(r"n\d+", thing["name"]):
            size = (72 * float(thing[length]) for length in ("width", "height"))
            found.cards.append(centred(thing["name"], thing["pos"], *size))
    for box in found.boxes:
        box.outer = outer.get(box.name)
    for edge in said.get("edges", ()):
        if edge.get("id"):
            joins = objects[edge["tail"]]["name"], objects[edge["head"]]["name"]
            found.lines.append(line_of(edge, joins))
    return found


def titled(name: str, said: dict[str, Any]) -> Thing:
    """The title of the whole, or of a call."""
    return centred(name, said["lp"], 72 * float(said["lwidth"]), 72 * float(said["lheight"]))


def line_of(edge: dict[str, Any], joins: tuple[str, str]) -> Line:
    """An edge, from `s,x,y e,x,y` and the points of its curves."""
    points: list[Point] = []
    tips: dict[str, Point] = {}
    for word in edge["pos"].split():
        x, y = numbers(word)
        if word[0] in "se":
            tips[word[0]] = x, y
        else:
            points.append((x, y))
    curves = [points[i : i + 4] for i in range(0, len(points) - 1, 3)]
    label = None
    if "lp" in edge:
        words = re.sub(r"&#160;", " ", re.sub("<[^<>]*>", "", edge["label"]))
        label = centred(edge["id"], edge["lp"], LETTER * len(words), 13)
    return Line(edge["id"], curves, tips.get("s"), tips.get("e"), label, joins)


# --- where to cut ---------------------------------------------------------------------------


def free_places(layout: Layout) -> list[tuple[float, float]]:
    """Where a cut may go, from the top, and what it costs: through no card, title or label.

    Of the places between the same cards the one that goes through the fewest lines and frames.
    """
    cards = [(card.foot - HEAD, card.top + HEAD) for card in layout.cards]
    full = [(line.label.foot, line.label.top) for line in layout.lines if line.label]
    for box in layout.boxes:  # no part of a frame is without cards
        within = [card for card in layout.cards if card.name in box.inside]
        full.append((max(card.top for card in within), box.top + 2))
        full.append((box.foot - 2, min(card.foot for card in within)))
    found: list[tuple[float, float]] = []
    for low, high in gaps(cards):
        middle = (low + high) / 2
        ys = [low + 2 * i for i in range(int((high - low) / 2) + 1)]
        free = [y for y in ys if not any(a < y < b for a, b in full)]
        if free:
            best = min(free, key=lambda y: (cost(layout, y), abs(y - middle)))
            found.append((best, cost(layout, best)))
    return found


def gaps(taken: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is free between stretches that are taken, from the highest."""
    found = []
    first, *others = sorted(taken, key=lambda stretch: stretch[1], reverse=True)
    low = first[0]
    for a, b in others:
        if b < low:
            found.append((b, low))
        low = min(low, a)
    return found


def cost(layout: Layout, y: float) -> float:
    """How much a cut would be in the way: a line counts 1, a frame 4."""
    return crossed(layout, y) + 4 * sum(box.foot < y < box.top for box in layout.boxes)


def crossed(layout: Layout, y: float) -> int:
    """How many lines go through a height."""
    return sum(line.reach[0] < y < line.reach[1] for line in layout.lines)


def cuts_for(
    layout: Layout, places: Sequence[tuple[float, float]], columns: int, worth: float
) -> list[float]:
    """The places that give so many columns, few lines cut and columns of about one length."""
    top, foot = layout.caption.foot, 0.0
    goal = (top - foot) / columns

    def uneven(high: float, low: float) -> float:
        return float(worth * ((high - low) / goal - 1) ** 2)

    best: list[tuple[float, list[float]]] = [(uneven(top, y) + c, [y]) for y, c in places]
    for _ in range(columns - 2):
        longer = []
        for i, (y, c) in enumerate(places):
            before = [(total + uneven(cuts[-1], y) + c, cuts) for total, cuts in best[:i] if cuts]
            total, cuts = min(before, default=(inf, []))
            longer.append((total, [*cuts, y] if cuts else []))
        best = longer
    ends = [(total + uneven(cuts[-1], foot), cuts) for total, cuts in best if cuts]
    return min(ends, default=(inf, []))[1]


# --- side by side ---------------------------------------------------------------------------


class Columns:
    """A layout cut at some heights, from the highest, and set side by side."""

    def __init__(self, layout: Layout, cuts: Sequence[float]) -> None:
        self.layout, self.cuts = layout, cuts
        self.pieces = {line.name: pieces_of(line, cuts) for line in layout.lines}
        self.crossings: list[list[tuple[float, str]]] = [[] for _ in cuts]
        for name, pieces in self.pieces.items():
            for one, two in pairwise(pieces):
                crossing = one.curves[-1][3][0], name
                self.crossings[min(one.column, two.column)].append(crossing)
        for crossings in self.crossings:
            crossings.sort()
        self.parts = [self.parts_in(k) for k in range(len(cuts) + 1)]
        self.moves = self.places()

    def column(self, y: float) -> int:
        """The column that a height falls into."""
        return sum(cut > y for cut in self.cuts)

    def ends(self, k: int) -> tuple[float, float]:
        """The foot and the top of a column, before it is moved."""
        cuts = [self.layout.caption.foot, *self.cuts, 0.0]
        return cuts[k + 1], cuts[k]

    # --- frames -------------------------------------------------------------------------------

    def parts_in(self, k: int) -> list[Box]:
        """The frames of a column, outer ones first."""
        foot, top = self.ends(k)
        here = [box for box in self.layout.boxes if box.foot < top and box.top > foot]
        inner: dict[str | None, list[Box]] = {}
        for box in reversed(here):
            whole = box.foot >= foot and box.top <= top
            part = box if whole else self.fitted(box, inner.get(box.name, []), k)
            inner.setdefault(box.outer, []).append(part)
        made = {part.name: part for parts in inner.values() for part in parts}
        return [made[box.name] for box in here]

    def fitted(self, box: Box, inner: Sequence[Box], k: int) -> Box:
        """The frame of a call that was cut, around what is left of it in this column."""
        foot, top = self.ends(k)
        lines = [line for line in self.layout.lines if box.inside.issuperset(line.joins)]
        labels = [line.label for line in lines if line.label and self.holds(k, line.label)]
        cards = [card for card in self.layout.cards
                 if card.name in box.inside and self.holds(k, card)]  # fmt: skip
        xs = [x for line in lines for x in self.xs(line, k)]
        things: list[Thing | Box] = [*cards, *inner, *labels]
        left = min(xs + [thing.left for thing in things]) - ROOM
        right = max(xs + [thing.right for thing in things]) + ROOM
        height = box.title.size[1]
        comes, goes = box.top > top, box.foot < foot  # from a column, and on to another
        foot = min([foot, *(part.foot - INSET for part in inner)]) if goes else box.foot
        top = max([top, *(part.top for part in inner)]) + height + INSET if comes else box.top
        part = replace(box, left=left, right=right, foot=foot, top=top)
        return self.with_title(part, [x for x, _ in self.crossings[k - 1]] if comes else [], k)

    def with_title(self, part: Box, came: Sequence[float], k: int) -> Box:
        """A frame with its title where no line comes in, if it can be without lying on a card."""
        width, height = part.title.size
        near = [card for card in self.layout.cards if self.holds(k, card)
                and part.foot < card.top and card.foot < part.top]  # fmt: skip
        others = [card for card in near if card.name not in part.inside]

        def framed(at: float) -> Box:
            title = Thing(part.name, at, at + width, part.top - 4 - height, part.top - 4)
            left, right = min(part.left, at - INSET), max(part.right, title.right + INSET)
            return replace(part, left=left, right=right, title=title)

        def in_the_way(at: float) -> tuple[bool, bool]:
            frame = framed(at)
            on_card = any(frame.left < card.right and card.left < frame.right for card in others)
            return any(at - 4 < x < at + width + 4 for x in came), on_card

        first = [x - INSET - width for x in came[:1]]
        places = [part.left + INSET, *first, *(x + INSET for x in came)]
        return framed(min(places, key=in_the_way))

    def holds(self, k: int, thing: Thing) -> bool:
        """Whether something stands in this column."""
        return self.column(thing.foot) == k

    def xs(self, line: Line, k: int) -> list[float]:
        """How far to the left and to the right a line goes in a column."""
        pieces = [piece for piece in self.pieces[line.name] if piece.column == k]
        return [x for piece in pieces for curve in piece.curves for x, _ in curve]

    # --- places -------------------------------------------------------------------------------

    def span(self, k: int) -> tuple[float, float, float, float]:
        """The left, right, foot and top of what stands in a column."""
        layout, parts = self.layout, self.parts[k]
        labels = [line.label for line in layout.lines if line.label]
        things: list[Thing | Box] = [*parts]
        things += [thing for thing in (*layout.cards, *labels) if self.holds(k, thing)]
        xs = [x for line in layout.lines for x in self.xs(line, k)]
        lefts, rights = [thing.left for thing in things], [thing.right for thing in things]
        foot, top = self.ends(k)
        foot = min([foot, *(part.foot for part in parts)])
        return min(lefts + xs), max(rights + xs), foot, max([top, *(part.top for part in parts)])

    def places(self) -> list[Point]:
        """How far each column is moved; `around` has what the lines between two go around."""
        layout, moves = self.layout, [(0.0, 0.0)]
        self.around: list[tuple[float, float, float]] = []  # the nearest foot, gap and top
        _, right, low, _ = self.span(0)
        right, self.foot = max(right, layout.caption.right), low
        for k, crossings in enumerate(self.crossings, 1):
            left, end, low_here, high = self.span(k)
            lanes = LANE * len(crossings)
            self.around.append((low - LANE, right + ROOM, layout.height - LANE))
            dx = right + 2 * ROOM + lanes - left
            dy = layout.height - LANE - lanes - high
            self.foot = min(self.foot, low - lanes - LANE)
            moves.append((dx, dy))
            right, low = end + dx, low_here + dy
            self.foot = min(self.foot, low)
        self.right = right
        return moves

    def size(self) -> tuple[float, float]:
        """Width and height of the whole."""
        return self.right, self.layout.height - self.foot

    def off(self, wanted: float | None) -> float:
        """How far from what was wanted, or from a picture that a screen shows without shrinking."""
        width, height = self.size()
        if wanted is None:
            return inf if width > SCREEN[0] and self.cuts else max(height, SCREEN[1])
        return abs(log(width / height / wanted))

    def moved(self, point: Point, k: int) -> Point:
        """Where a point of a column is in the whole."""
        dx, dy = self.moves[k]
        return point[0] + dx, point[1] + dy

    def drawn(self, line: Line) -> list[Curve]:
        """The curves of a line with what leads it from column to column."""
        pieces = self.pieces[line.name]
        curves: list[Curve] = []
        for i, piece in enumerate(pieces):
            if i:
                curves += self.between(line.name, pieces[i - 1], piece)
            curves += [[self.moved(point, piece.column) for point in c] for c in piece.curves]
        return curves

    def between(self, name: str, one: Piece, two: Piece) -> list[Curve]:
        """The way from the end of a piece to the start of the next, in the column beside."""
        k, x = min(one.column, two.column), one.curves[-1][3][0]
        lane = LANE * (len(self.crossings[k]) - 1 - self.crossings[k].index((x, name)))
        foot, gap, top = self.around[k]
        start, end = self.moved((x, self.cuts[k]), k), self.moved((x, self.cuts[k]), k + 1)
        corners = [start, (start[0], foot - lane), (gap + lane, foot - lane),
                   (gap + lane, top - lane), (end[0], top - lane), end]  # fmt: skip
        return rounded(corners if one.column == k else corners[::-1])


@dataclass
class Piece:
    """The curves of a line within one column."""

    column: int
    curves: list[Curve]


def pieces_of(line: Line, cuts: Sequence[float]) -> list[Piece]:
    """A line, cut."""
    low, high = line.reach
    inside = [cut for cut in cuts if low < cut < high]
    curves = line.curves
    for cut in inside:
        curves = [part for curve in curves for part in cut_at(curve, cut)]
    pieces: list[Piece] = []
    for curve in curves:
        column = sum(cut > (curve[0][1] + curve[3][1]) / 2 for cut in cuts)
        if not pieces or pieces[-1].column != column:
            pieces.append(Piece(column, []))
        pieces[-1].curves.append(curve)
    return pieces


def cut_at(curve: Curve, y: float) -> list[Curve]:
    """A curve in two where it goes through a height, or whole: edges do so once."""
    (_, first), (_, last) = curve[0], curve[3]
    if (first - y) * (last - y) >= 0:
        return [curve]
    low, high = 0.0, 1.0
    for _ in range(40):
        t = (low + high) / 2
        one, two = halves(curve, t)
        low, high = (t, high) if (two[0][1] > y) == (first > y) else (low, t)
    return [one, two]


def halves(curve: Curve, t: float) -> tuple[Curve, Curve]:
    """The curve up to t and from there, after de Casteljau."""
    rows = [curve]
    while len(rows[-1]) > 1:
        rows.append([((1 - t) * a + t * c, (1 - t) * b + t * d)
                     for (a, b), (c, d) in pairwise(rows[-1])])  # fmt: skip
    return [row[0] for row in rows], [row[-1] for row in rows[::-1]]


def rounded(corners: Sequence[Point]) -> list[Curve]:
    """Straight lines through these points, as curves, with their corners rounded."""
    curves, at = [], corners[0]
    for corner, after in zip(corners[1:], [*corners[2:], None]):
        if after is None:
            curves.append(straight(at, corner))
            break
        before, behind = towards(corner, at, ROUND), towards(corner, after, ROUND)
        curves.append(straight(at, before))
        curves.append([before, between(before, corner), between(behind, corner), behind])
        at = behind
    return curves


def straight(a: Point, b: Point) -> Curve:
    """A line as a curve."""
    return [a, between(a, b, 1 / 3), between(a, b, 2 / 3), b]


def between(a: Point, b: Point, part: float = 1 - BEND) -> Point:
    """The point that is so far on the way from a to b."""
    return a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])


def towards(a: Point, b: Point, length: float) -> Point:
    """The point at this distance from a towards b, at most half of the way."""
    whole = abs(b[0] - a[0]) + abs(b[1] - a[1])
    return between(a, b, min(0.5, length / whole) if whole else 0.0)


# --- the text -------------------------------------------------------------------------------


def in_columns(source: str, said: bytes, wanted: float | None) -> str:
    """DOT text, with what an engine said about it as JSON, set in columns of this aspect."""
    layout = layout_of(json.loads(said))
    best = arranged(layout, wanted)
    if best is None:
        return source
    return Written(best).text(source)


def arranged(layout: Layout, wanted: float | None) -> Columns | None:
    """The columns that come closest to what is wanted; None if that is one."""
    places = free_places(layout)
    if wanted is None:
        places = [(y, c) for y, c in places if crossed(layout, y) <= FEW]
    best = Columns(layout, [])
    for n in range(2, min(MOST, len(places) + 1) + 1):
        for worth in UNEVEN[: 2 if wanted else 1]:
            columns = Columns(layout, cuts_for(layout, places, n, worth))
            if columns.off(wanted) < (1 if wanted else WORTH) * best.off(wanted):
                best = columns
        width, height = columns.size()
        if width > (wanted or 0) * height and width > SCREEN[0]:
            break
    return best if best.cuts else None


class Written:
    """The DOT text of columns: the text of one, with the place of everything."""

    def __init__(self, columns: Columns) -> None:
        self.columns, layout = columns, columns.layout
        self.cards = {card.name: card for card in layout.cards}
        self.lines = {line.name: line for line in layout.lines}
        self.parts: dict[str, list[tuple[int, Box]]] = {}
        for k, parts in enumerate(columns.parts):
            for part in parts:
                self.parts.setdefault(part.name, []).append((k, part))

    def text(self, source: str) -> str:
        """The whole."""
        lines, again = [], []
        for line in source.splitlines():
            words = line.split()
            if words[:1] == ["graph"]:
                lines.append(line.replace("[", f"[{self.whole()}", 1))
                at = len(lines)
            elif words[:1] == ["subgraph"]:
                (first, *others) = self.parts[words[1]]
                lines.append(line.replace("{", f"{{ {self.frame(*first)}", 1))
                for i, part in enumerate(others, 2):
                    more = line.strip().replace(words[1], f"{words[1]}_{i}").replace("⊟ ", "… ", 1)
                    more = more.replace("{", f"{{ {self.frame(*part)}", 1)
                    again.append((self.depth(part[1]), f"{more}}}"))
            elif words and words[0] in self.cards:
                place = self.card(words[0]) if words[1] != "->" else self.line(line)
                lines.append(line.replace("[", f"[{place}", 1))
            elif not re.match(r" *(sp\d+|\{rank)", line):
                lines.append(line)
        lines[at:at] = [more for _, more in sorted(again, key=lambda pair: pair[0])]
        return "\n".join(lines) + "\n"

    def depth(self, box: Box) -> int:
        """How many frames are around a frame."""
        return sum(box.inside <= other.inside for other in self.columns.layout.boxes)

    def whole(self) -> str:
        """How large all is, and where the caption stands."""
        layout, (width, height) = self.columns.layout, self.columns.size()
        box = f"0,{layout.height - height:.1f},{width:.1f},{layout.height:.1f}"
        return f'layout=nop2 bb="{box}" {standing(layout.caption, layout.caption.middle)}'

    def frame(self, k: int, part: Box) -> str:
        """Where a frame and its title are."""
        moved = self.columns.moved
        corners = moved((part.left, part.foot), k), moved((part.right, part.top), k)
        box = ",".join(map(point, corners))
        return f'bb="{box}" {standing(part.title, moved(part.title.middle, k))}'

    def card(self, name: str) -> str:
        """Where a card is."""
        return f'pos="{self.middle(self.cards[name])}" '

    def middle(self, thing: Thing) -> str:
        """The place of a card or a label."""
        columns = self.columns
        return point(columns.moved(thing.middle, columns.column(thing.foot)))

    def line(self, text: str) -> str:
        """The way of an edge, and where its label is."""
        columns, line = self.columns, self.lines[re.findall(r'id="(e\d+)"', text)[0]]
        pieces, curves = columns.pieces[line.name], columns.drawn(line)
        tips = ""
        for letter, tip, piece in (("s", line.start, pieces[0]), ("e", line.end, pieces[-1])):
            if tip:
                tips += f"{letter},{point(columns.moved(tip, piece.column))} "
        points = [curves[0][0], *(p for curve in curves for p in curve[1:])]
        label = f'lp="{self.middle(line.label)}" ' if line.label else ""
        return f'pos="{tips}{" ".join(map(point, points))}" {label}'


def point(at: Point) -> str:
    """A point as DOT has it."""
    return f"{at[0]:.1f},{at[1]:.1f}"


def standing(title: Thing, at: Point) -> str:
    """The size of a title, and its place."""
    width, height = title.size
    return f'lp="{point(at)}" lwidth={width / 72:.2f} lheight={height / 72:.2f} '
