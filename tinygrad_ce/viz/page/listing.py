"""The steps of a page as plain HTML, for readers without JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from tinygrad_ce.viz.graph.cards import Card, Picture


def listed_steps(told: Mapping[str, Any], picture: Picture) -> str:
    """Every step in a sentence: what is given, each operation, each gradient that arrives."""
    cards = {card.id: card for card in picture.cards}
    return "".join(
        f"<li>{line_of(step, told, cards)}</li>"
        for step in told["steps"]
        if step["k"] not in ("start", "end")
    )


def line_of(step: Mapping[str, Any], told: Mapping[str, Any], cards: Mapping[str, Card]) -> str:
    """One step."""
    if step["k"] == "u":
        by = f" by {escape(step['kind'])}" if step["kind"] else ""
        return f"Update of <b>{escape(step['name'])}</b>{by}"
    y = cards[step["y"]]
    if step["k"] == "seed":
        return f"Backward starts at <b>{called(y, told)}</b>: 1"
    if step["k"] == "f":
        given = [called(cards[x["id"]], told) if "id" in x else "a number"
                 for x in step["x"] if "card" not in x]  # fmt: skip
        of = f" of {' and '.join(given)}" if given else ""
        shown = escape(", ".join(filter(None, [y.shape, y.value])))
        return f"Forward: <b>{called(y, told)}</b>: {escape(y.op)}{of}: {shown}{source(step, told)}"
    x = cards[step["x"]]
    share = "a share of " if "share" in step else ""
    return (
        f"Backward through <b>{called(y, told)}</b>, to <b>{called(x, told)}</b>: "
        f"{escape(step['lab'])}, {share}{escape(x.gradient)}"
    )


def called(card: Card, told: Mapping[str, Any]) -> str:
    """The name of a card, or its expression."""
    tensor = told["tensors"][card.id]
    return escape(tensor["name"] or tensor.get("as") or tensor["op"] or card.role)


def source(step: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """The line of the program that a step comes from, if it is known."""
    if "src" not in step:
        return ""
    place = told["files"][step["src"]]
    file = f"{escape(place.file)}, " if len({other.file for other in told["files"]}) > 1 else ""
    return f" <small>({file}line {place.number})</small>"
