"""Rules as mathematics: what an operation computes, and what it sends back, as MathML.

The notation is that of `graph/told.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from tinygrad_ce.viz.graph.labels import axes, index_text, op_label
from tinygrad_ce.viz.graph.names import short
from tinygrad_ce.viz.graph.told import entry
from tinygrad_ce.viz.graph.values import number

SHIFTED = "max z is taken off before exp, so that nothing overflows; it cancels out."
HALVES = "It is computed from e to the −|x|, which cannot overflow; constants choose the half."
STABLE = {
    "softmax": SHIFTED, "log_softmax": SHIFTED, "logsumexp": SHIFTED,
    "sigmoid": HALVES, "softplus": HALVES, "log_sigmoid": HALVES,
}  # fmt: skip
"""Why a composed function does not look as in its formula."""
WORD = re.compile("<m[in]>[^<]*[A-Za-z_][^<]+<")  # a name of several letters
TOKEN = re.compile(r'\s*("[^"]*"|[A-Za-z]+|[0-9.]+|\+=|\S)')


def forward_math(
    name: str, attrs: tuple[Any, ...], symbols: Mapping[str, str], operands: int = 1
) -> str:
    """What an operation computes, as MathML; `operands` says how many it has.

    >>> forward_math("exp", (), {"x": "z"})
    '<math displaystyle="true"><mi>y</mi><mo>=</mo><msup><mi>e</mi><mi>z</mi></msup></math>'
    """
    if name == "power":
        text = "y = sqrt{x}" if attrs[0] == 0.5 else f"y = x^{{{number(attrs[0])}}}"
    elif name == "getitem":
        index = ", ".join(index_text(part) for part in attrs[0]).replace('"', "'")
        text = f'y = x "[{index}]"'
    else:
        given = " , ".join("abc"[:operands]) + ' , "…"' * (operands > 3) if operands > 1 else "x"
        called = op_label(name, attrs, [None] * operands).replace('"', "'")
        text = entry(name).forward or f'y = "{called}" ( {given} )'
    if symbols.get("vector"):  # without the indices of matrices
        text = text.partition(" , ")[0]
    return mathml(text, {**symbols, **bounds(name, attrs)})


def backward_math(
    name: str,
    position: int,
    attrs: tuple[Any, ...],
    symbols: Mapping[str, str],
    target: str,
    summed: str = "",
    share: bool = False,
) -> str:
    """∂L/∂operand of an operation as MathML; `summed` says over what a broadcast one is summed.

    A `share` is one of several that are added up: += instead of =.

    >>> "<mo>⊙</mo>" in backward_math("mul", 0, (), {}, "a")
    True
    """
    if name == "power":
        n = attrs[0]
        less = number(n - 1)
        rule = "D{y} ⊙ frac{1}{2 sqrt{x}}" if n == 0.5 else f"D{{y}} ⊙ {number(n)} x^{{{less}}}"
        rule = f"D{{y}} ⊙ {number(n)} x" if n == 2 else rule
    else:
        rules = entry(name).backward or (f"D{{y}} · frac{{∂ y}}{{∂ {target}}}",)
        rule = rules[min(position, len(rules) - 1)]
    if summed:
        plain = " " not in rule and "⊙" not in rule
        rule = f'Σ_{{"{summed}"}} {rule}' if plain else f'Σ_{{"{summed}"}} ( {rule} )'
    return mathml(
        f"D{{{target}}} {'+=' if share else '='} {rule}", {**symbols, **bounds(name, attrs)}
    )


def bounds(name: str, attrs: tuple[Any, ...]) -> dict[str, str]:
    """The words of a rule that its attributes fill in: low and high of clip, axes of a sum."""
    if name == "clip":
        low, high = (
            sign + "∞" if bound is None else number(bound) for sign, bound in zip("−+", attrs)
        )
        return {"low": low, "high": high}
    if name in ("sum", "amax", "amin", "norm"):
        return {"axes": "" if not attrs or attrs[0] is None else axes(attrs[0])}
    return {}


def symbols_of(
    names: Sequence[str | None], numbers: Sequence[str | None], letters: Mapping[str, str]
) -> dict[str, str]:
    """What the letters of a rule are called: the operands by name, by number or by letter.

    >>> from tinygrad_ce.viz.graph.names import free_letters
    >>> symbols_of([None, "W"], [None, None], free_letters([]))
    {'a': 'a', 'b': 'W', 'c': 'c', 'x': 'a'}
    >>> symbols_of([None, None], [None, "1"], free_letters(["x"]))
    {'a': 'u', 'b': '1', 'c': 'c', 'x': 'u'}
    """
    alone = sum(text is None for text in numbers) == 1
    found = {letter: letters[letter] for letter in "abc"}
    for letter, name, text in zip("abc", names, numbers):
        own = letters["x"] if alone else letters[letter]
        found[letter] = text if text is not None else name or own
    found["x"] = found["a"] if names else letters["x"]
    return found


# --- notation to MathML ---------------------------------------------------------------------


def mathml(text: str, symbols: Mapping[str, str] | None = None) -> str:
    """One line of the notation above as MathML, with the letters of `symbols` replaced."""
    tokens = TOKEN.findall(text)
    parts = []
    while tokens:
        parts.append(term(tokens, symbols or {}))
    return f'<math displaystyle="true">{beside_each_other(parts)}</math>'


def beside_each_other(parts: Sequence[str]) -> str:
    """Terms in a row: names of several letters with room between them, for they are no product.

    >>> mathml("x W", {"x": "h"}).count("<mtext>"), mathml("x W", {"W": "fc"}).count("<mtext>")
    (0, 1)
    """
    row = ""
    for before, part in pairwise(["<mo>", *parts]):
        signs = before.startswith(("<mo>", "<mtext>")) or part.startswith(("<mo>", "<mtext>"))
        long = WORD.search(before) or WORD.search(part)
        row += ("<mtext>&#160;</mtext>" if long and not signs else "") + part
    return row


def slope_begins(loss: str) -> str:
    """How ∂L/∂ begins."""
    return f"<mfrac><mrow><mo>∂</mo>{leaf(loss)}</mrow><mrow><mo>∂</mo>"


def shortened(math: str, begins: str) -> str:
    """MathML with `<d>` for the beginning of a ∂L/∂ and `</d>` for its end, and no frame.

    >>> shortened(mathml("D{x}"), slope_begins("L"))
    '<d><mi>x</mi></d>'
    """
    inner = math.removeprefix('<math displaystyle="true">').removesuffix("</math>")
    return inner.replace(begins, "<d>").replace("</mrow></mfrac>", "</d>")


def term(tokens: list[str], symbols: Mapping[str, str]) -> str:
    """One atom with what is raised or lowered at it."""
    made = atom(tokens, symbols)
    if tokens and tokens[0] in "^_":
        tag = "msup" if tokens.pop(0) == "^" else "msub"
        made = f"<{tag}>{made}{atom(tokens, symbols)}</{tag}>"
    return made


def atom(tokens: list[str], symbols: Mapping[str, str]) -> str:
    """A group, a fraction, a root, a derivative, words, a number, a name or a sign."""
    token = tokens.pop(0)
    if token == "{":
        parts = []
        while tokens[0] != "}":
            parts.append(term(tokens, symbols))
        tokens.pop(0)
        return parts[0] if len(parts) == 1 else f"<mrow>{beside_each_other(parts)}</mrow>"
    if token == "frac":
        return f"<mfrac>{atom(tokens, symbols)}{atom(tokens, symbols)}</mfrac>"
    if token == "sqrt":
        return f"<msqrt>{atom(tokens, symbols)}</msqrt>"
    if token == "D":
        loss, of = symbols.get("L", "L"), atom(tokens, symbols)
        return f"{slope_begins(loss)}{of}</mrow></mfrac>"
    if token.startswith('"'):
        return f"<mtext>&#160;{escape(token[1:-1])}&#160;</mtext>"
    if token[0].isalpha():
        return leaf(symbols.get(token, token))
    tag = "mn" if token[0].isdigit() else "mo"
    return f"<{tag}>{escape(symbols.get(token, token))}</{tag}>"


def leaf(name: str) -> str:
    """A name or a number, escaped; nothing for no name."""
    shown = short(name, 20)
    tag = "mn" if shown[:1].isdigit() or shown[:1] == "−" else "mi"
    return f"<{tag}>{escape(shown)}</{tag}>" if shown else "<mrow></mrow>"
