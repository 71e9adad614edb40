"""The text form of a picture: every step, for terminals, screen readers and where no engine is."""

from __future__ import annotations

from collections.abc import Collection

from tinygrad_ce.viz.graph.cards import Card, Picture

INDENT = "  "


def listing(picture: Picture) -> str:
    """Every card on a line, in the order of the computation, under the calls that it stands in.

    A leaf that is first read in the middle of a call that it does not stand in comes before it.

    Role, operation and name, the operands' ids, shape, value, gradient with `⊕n` where n are
    added, and the line of the program if it is known.
    """
    operands: dict[str, list[str]] = {}
    for edge in picture.edges:
        operands.setdefault(edge.target, []).append(edge.source)
    cards = uninterrupted(picture, operands)
    paths = [path_of(picture, card) for card in cards]
    rows = [
        [
            INDENT * len(path) + card.id,
            card.role,
            title(card),
            " ".join(["←", *dict.fromkeys(operands[card.id])]) if card.id in operands else "",
            card.shape,
            card.value,
            gradient(card),
            card.line,
        ]
        for card, path in zip(cards, paths)
    ]
    used = [i for i in range(len(rows[0])) if any(row[i] for row in rows)]
    widths = {i: max(len(row[i]) for row in rows) for i in used}
    lines = [" · ".join([picture.title, *picture.notes])]
    before: list[int] = []
    opened: set[int] = set()
    for row, path in zip(rows, paths):
        lines += headings(picture, path, before, opened)
        lines.append("  ".join(row[i].ljust(widths[i]) for i in used).rstrip())
        before = path
    return "\n".join(lines)


def uninterrupted(picture: Picture, operands: Collection[str]) -> list[Card]:
    """The cards in the order in which they are listed: no leaf stands between parts of a call."""
    paths = {card.id: path_of(picture, card) for card in picture.cards}
    order: list[Card] = []
    waiting: list[Card] = []  # leaves since the last operation
    for card in picture.cards:
        waiting.append(card)
        if card.id not in operands:
            continue
        for leaf in waiting:
            around = len(paths[leaf.id])
            call, at = paths[card.id][: around + 1], len(order)
            while at and len(call) > around and paths[order[at - 1].id][: around + 1] == call:
                at -= 1
            order.insert(at, leaf)
        waiting = []
    return order + waiting


def path_of(picture: Picture, card: Card) -> list[int]:
    """The clusters around a card, outermost first."""
    path = []
    at = card.cluster
    while at is not None:
        path.append(at)
        at = picture.clusters[at].outer
    return path[::-1]


def headings(picture: Picture, path: list[int], before: list[int], opened: set[int]) -> list[str]:
    """A line for each cluster that the last card did not stand in."""
    lines = []
    for depth, number in enumerate(path):
        if path[: depth + 1] != before[: depth + 1]:
            cluster = picture.clusters[number]
            again = " (continued)" if number in opened else ""
            formula = f": {one_line(cluster.formula)}" if cluster.formula and not again else ""
            lines.append(f"{INDENT * depth}{one_line(cluster.name)}{formula}{again}")
            opened.add(number)
    return lines


def title(card: Card) -> str:
    """Operation and name on one line, and of what is folded the formula and the number."""
    head = one_line(f"{card.head} {card.called}")
    if card.formula is None:
        return head
    count = f"{card.operations:,} operation{'s' * (card.operations != 1)}"
    parts = [part for part in (card.formula, count) if part and part not in head]
    return one_line(f"{head} ({', '.join(parts)})" if parts else head)


def gradient(card: Card) -> str:
    """The gradient, and how many were added for it."""
    return f"{card.gradient} ⊕{card.added}" if card.gradient and card.added > 1 else card.gradient


def one_line(text: str) -> str:
    """Text without line breaks, and without what would steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
