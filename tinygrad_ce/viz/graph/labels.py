"""What an operation is called in a picture, and what its backward edge multiplies by.

What is said of each stands in told.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_ce.viz.graph.names import renamed
from tinygrad_ce.viz.graph.told import entry, symbol_of
from tinygrad_ce.viz.graph.values import number

COMMUTATIVE = {"add", "mul"}
INFIX = {"add", "sub", "mul", "truediv", "floordiv", "mod", "matmul",
         "gt", "ge", "lt", "le", "eq", "ne"}  # fmt: skip

# (composed function or "" for any, operation, operand): what the constant there is
CONSTANTS: dict[tuple[str, str, int], str] = {
    ("sigmoid", "mul", 0): "x ≥ 0 ? −1 : 1",
    ("sigmoid", "add", 1): "x ≥ 0",
    ("softplus", "mul", 0): "x ≥ 0 ? −1 : 1",
    ("softplus", "masked", 1): "x ≥ 0",
    ("log_sigmoid", "mul", 0): "x ≥ 0 ? −1 : 1",
    ("log_sigmoid", "masked", 1): "x < 0",
    ("softmax", "sub", 1): "max z",
    ("log_softmax", "sub", 1): "max z",
    ("logsumexp", "sub", 1): "max z",
    ("logsumexp", "add", 1): "max z",
    ("logsumexp", "where", 0): "Σ = 0",
    ("cross_entropy", "getitem", 1): "rows",
    ("nll_loss", "getitem", 1): "rows",
    ("binary_cross_entropy_with_logits", "mul", 0): "z ≥ 0 ? −1 : 1",
    ("binary_cross_entropy_with_logits", "mul", 1): "[z ≥ 0] − y",
    ("binary_cross_entropy_with_logits", "sub", 0): "[z ≥ 0]",
    ("huber_loss", "where", 0): "|d| ≤ δ",
    ("huber_loss", "mul", 1): "sign d",
    ("dropout", "mul", 1): "mask / (1 − p)",
    ("", "where", 0): "condition",
    ("", "getitem", 1): "index",
    ("", "scatter", 1): "index",
    ("", "masked", 1): "kept",
    ("", "put_in_windows", 1): "place",
    ("", "take_in_windows", 1): "place",
}
SUPERSCRIPTS = str.maketrans("0123456789−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def op_label(
    name: str,
    attrs: tuple[Any, ...],
    folded: Sequence[str | None],
    words: Sequence[str] | None = None,
    about: Mapping[str, str] = {},
) -> str:
    """The header of a card: the operation with its attributes and the constants folded into it.

    `folded` has the text of each operand that is a number, None for the others. `words` are what
    labels call the operands, if the header has to say which is which; `about` has what other
    letters are called here.

    >>> op_label("add", (), [None, "1"]), op_label("sub", (), ["1", None])
    ('+ 1', '1 − x')
    >>> op_label("truediv", (), [None, None], ["a", "W"])
    'a ÷ W'
    >>> op_label("sum", (1, True), [None]), op_label("power", (3,), [None])
    ('Σ axis 1', 'x³')
    >>> op_label("clip", (1, None), [None]), op_label("clip", (-1, 1), [None])
    ('clip ≥ 1', 'clip −1 … 1')
    """
    x = about.get("x", "x")
    symbol = renamed(symbol_of(name), about)
    if name == "masked":
        return f"where({folded[1] or '·'}, {x}, 0)"
    if words and entry(name).header:
        return renamed(entry(name).header, about).format(**letters(words))
    if any(text is not None for text in folded):
        return with_constants(name, symbol, folded, x)
    if name == "power":
        return f"√{x}" if attrs[0] == 0.5 else x + raised(attrs[0])
    if name == "getitem":
        return f"{x}[{', '.join(index_text(part) for part in attrs[0])}]"
    if name == "clip":
        low, high = ("" if bound is None else number(bound) for bound in attrs)
        one = f"≥ {low}" if low else f"≤ {high}"
        return f"clip {f'{low} … {high}' if low and high else one}"
    if name == "einsum":
        return f"einsum {attrs[0]}"
    if name in ("sum", "amax", "amin", "norm", "cumsum", "cumprod", "concatenate", "stack"):
        return symbol if not attrs or attrs[0] is None else f"{symbol} {axes(attrs[0])}"
    return symbol


def with_constants(name: str, symbol: str, folded: Sequence[str | None], x: str) -> str:
    """`+ 1`, `1 − x`, `max(·, 0)`."""
    if name in INFIX and len(folded) == 2:
        first, second = folded
        if second is not None:
            return f"{symbol} {second}"
        return f"{symbol} {first}" if name in COMMUTATIVE else f"{first} {symbol} {x}"
    if name == "pow":
        return f"{folded[0] or x}^{folded[1] or x}"
    return f"{symbol}({', '.join('·' if text is None else text for text in folded)})"


def in_words(
    name: str, attrs: tuple[Any, ...], operands: Sequence[str], letters: Mapping[str, str]
) -> str:
    """An operation as it would be written of its operands.

    >>> in_words("sub", (), ["z", "max z"], {}), in_words("sum", (1,), ["exp(z)"], {})
    ('z − max z', 'Σ(exp(z))')
    >>> in_words("power", (2,), ["(b − a)"], {}), in_words("getitem", ((0,),), ["x"], {})
    ('(b − a)²', 'x[0]')
    """
    first = operands[0]
    if len(operands) == 2 and (name in INFIX or entry(name).header):
        pattern = entry(name).header or f"{{a}} {symbol_of(name)} {{b}}"
        return pattern.format(a=first, b=operands[1])
    inside = first[1:-1] if WRAPPED.fullmatch(first) else first
    if name in REDUCED:
        return f"{symbol_of(name)}({inside})"
    own = op_label(name, attrs, [None] * len(operands), None, {**letters, "x": MARK})
    if MARK in own:
        return own.replace(MARK, first)
    dots = set(operands) == {"…"}
    return f"{own}({'…' if dots else ', '.join([inside, *operands[1:]])})"


WRAPPED = re.compile(r"\([^()]*(\([^()]*\)[^()]*)*\)")
REDUCED = {"sum", "amax", "amin", "cumsum", "cumprod", "norm"}
MARK = "\0"  # where an operand belongs


def axes(axis: Any) -> str:
    """`axis 1` or `axes 0, 2`."""
    if isinstance(axis, tuple):
        return f"{'axis' if len(axis) == 1 else 'axes'} {', '.join(map(number, axis))}"
    return f"axis {number(axis)}"


def raised(exponent: float) -> str:
    """An exponent, in superscript where it is whole."""
    text = number(exponent)
    return text.translate(SUPERSCRIPTS) if float(exponent).is_integer() else f"^{text}"


def index_text(part: Any) -> str:
    """One part of an index as it is written between the brackets."""
    if isinstance(part, slice):
        ends = [("" if end is None else number(end)) for end in (part.start, part.stop)]
        return ":".join(ends + ([] if part.step is None else [number(part.step)]))
    if isinstance(part, int):
        return number(part)
    return "…" if part is Ellipsis else str(part)


def derivative_label(
    name: str,
    position: int,
    attrs: tuple[Any, ...],
    operands: Sequence[str | None],
    shape: tuple[int, ...],
    output: tuple[int, ...],
    about: Mapping[str, str] = {},
) -> str:
    """What turns the gradient of an operation into that of the operand at `position`.

    `operands` are the operands' names, None where they have none; `shape` is the operand's and
    `output` the operation's, and where they differ the gradient is also summed. `about` has what
    other letters are called here.

    >>> derivative_label("matmul", 0, (), [None, "W"], (4, 2), (4, 3))
    'G·Wᵀ'
    >>> derivative_label("add", 1, (), [None, "b"], (3,), (4, 3))
    'Σ rows'
    >>> derivative_label("power", 0, (3,), ["x"], (), ())
    '×3x²'
    """
    if name == "power":
        label = renamed(power_label(attrs[0]), about)
    else:
        labels = entry(name).slopes
        label = labels[min(position, len(labels) - 1)] if labels else ""
        label = renamed(label or f"∂{symbol_of(name)}", about).format(**letters(operands))
    if not entry(name).broadcasts or shape == output:
        return label
    summed = sum_label(shape, output)
    return summed if label == "×1" else f"{label}, {summed}"


def letters(operands: Sequence[str | None]) -> dict[str, str]:
    """What the two operands of a rule are called: {"a": ..., "b": ...}."""
    first, second = [*operands, None, None][:2]
    if len(operands) < 2:
        return {"a": first or "x", "b": second or "x"}
    return {"a": bracketed(first or "a"), "b": bracketed(second or "b")}


def bracketed(text: str) -> str:
    """A text that is more than one name or number, in brackets."""
    return f"({text})" if text[0] == "−" or " " in text else text


def power_label(exponent: float) -> str:
    """n·xⁿ⁻¹ for a number n."""
    if exponent == 0.5:
        return "÷2y"
    factor = number(exponent)
    factor = f"({factor})" if factor[0] == "−" else factor
    if exponent in (0, 1):
        return f"×{factor}"
    return f"×{factor}x{'' if exponent == 2 else raised(exponent - 1)}"


def sum_label(shape: tuple[int, ...], output: tuple[int, ...]) -> str:
    """The axes along which an operand of `shape` was repeated to give `output`."""
    extra = len(output) - len(shape)
    summed = [i for i, n in enumerate(output) if i < extra or (n != 1 and shape[i - extra] == 1)]
    if len(summed) == len(output):
        return "Σ all"
    if len(output) == 2:
        return "Σ rows" if summed == [0] else "Σ cols"
    return f"Σ {axes(tuple(summed))}"
