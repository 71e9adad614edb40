"""Rules as mathematics: what an operation computes, and what it sends back, as MathML.

Two tables to be read, in a notation of one line: `y`, `x`, `a`, `b` stand for the tensors (or for
their names), `D{x}` for ∂L/∂x, `^{…}` and `_{…}` raise and lower, `frac{…}{…}` divides,
`sqrt{…}` is a root and quotation marks hold words. ⊙ multiplies element by element.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tinygrad_ce.viz.graph.labels import axes, index_text, op_label
from tinygrad_ce.viz.graph.values import number

FORWARD = {
    "add": "y = a + b", "sub": "y = a − b", "mul": "y = a ⊙ b", "truediv": "y = frac{a}{b}",
    "floordiv": "y = ⌊ frac{a}{b} ⌋", "mod": "y = a mod b", "neg": "y = − x",
    "pow": "y = a^{b}", "matmul": "y = a b , y_{ij} = Σ_{k} a_{ik} b_{kj}",
    "inner": "y = a b^{⊤} , y_{ij} = Σ_{k} a_{ik} b_{jk}",
    "exp": "y = e^{x}", "log": "y = log x", "log1p": "y = log ( 1 + x )", "expm1": "y = e^{x} − 1",
    "sqrt": "y = sqrt{x}", "sin": "y = sin x", "cos": "y = cos x", "tanh": "y = tanh x",
    "erfc": "y = erfc x", "absolute": "y = | x |", "sign": "y = sign x",
    "maximum": "y = max ( a , b )", "minimum": "y = min ( a , b )",
    "clip": 'y = x "clipped to" [ low , high ]', "masked": 'y = x "where" b "holds, else" 0',
    "relu": "y = max ( x , 0 )",
    "where": 'y = b "where" a "holds, else" c', "sum": "y = Σ_{axes} x",
    "amax": "y = max_{axes} x", "amin": "y = min_{axes} x", "prod": "y = Π x",
    "norm": "y = ‖ x ‖_{axes}", "cumsum": "y_{i} = Σ_{j ≤ i} x_{j}",
    "cumprod": "y_{i} = Π_{j ≤ i} x_{j}", "mT": "y = x^{⊤}", "copy": "y = x",
    "reshape": 'y = x "in another shape"', "transpose": 'y = x "with its axes in another order"',
    "broadcast_to": 'y = "copies of" x', "astype": 'y = x "in another precision"',
    "floor": "y = ⌊ x ⌋", "ceil": "y = ⌈ x ⌉", "rint": 'y = x "rounded"',
    "concatenate": 'y = "the parts, one after the other"', "stack": 'y = "the parts, stacked"',
    "pad": 'y = x "with a border"',
    "im2col": 'y = "each window of" x "as a column"',
    "col2im": 'y = "the columns" x "added up where they were taken"',
    "max_pool": 'y = "the largest of each window of" x',
    "sum_pool": 'y = "the sum of each window of" x',
    "sum_unpool": 'y = x "copied to each element of its window"',
    "put_in_windows": 'y = a "at the place" b "of each window, 0 elsewhere"',
    "take_in_windows": 'y = a "at the place" b "of each window"',
    "put": 'y = a "with" b "written into it"',
    "diagonal": 'y = "the diagonal of" x', "flip": 'y = x "backwards"',
}  # fmt: skip

BACKWARD: dict[str, tuple[str, ...]] = {
    "add": ("D{y}", "D{y}"),
    "sub": ("D{y}", "− D{y}"),
    "mul": ("D{y} ⊙ b", "D{y} ⊙ a"),
    "truediv": ("D{y} ⊙ frac{1}{b}", "D{y} ⊙ ( − frac{a}{b^{2}} )"),
    "floordiv": ("0", "0"),
    "mod": ("D{y}", "D{y} ⊙ ( − ⌊ frac{a}{b} ⌋ )"),
    "neg": ("− D{y}",),
    "pow": ("D{y} ⊙ b a^{b − 1}", "D{y} ⊙ a^{b} log a"),
    "matmul": ("D{y} b^{⊤}", "a^{⊤} D{y}"),
    "inner": ("D{y} b", "{( D{y} )}^{⊤} a"),
    "exp": ("D{y} ⊙ e^{x}",),
    "log": ("D{y} ⊙ frac{1}{x}",),
    "log1p": ("D{y} ⊙ frac{1}{1 + x}",),
    "expm1": ("D{y} ⊙ e^{x}",),
    "sqrt": ("D{y} ⊙ frac{1}{2 sqrt{x}}",),
    "sin": ("D{y} ⊙ cos x",),
    "cos": ("D{y} ⊙ ( − sin x )",),
    "tanh": ("D{y} ⊙ ( 1 − y^{2} )",),
    "erfc": ("D{y} ⊙ ( − frac{2}{sqrt{π}} e^{− x^{2}} )",),
    "absolute": ("D{y} ⊙ sign x",),
    "sign": ("0",),
    "floor": ("0",),
    "ceil": ("0",),
    "rint": ("0",),
    "maximum": ("D{y} ⊙ [ a > b ]", "D{y} ⊙ [ b > a ]"),
    "minimum": ("D{y} ⊙ [ a < b ]", "D{y} ⊙ [ b < a ]"),
    "clip": ("D{y} ⊙ [ low ≤ x ≤ high ]",),
    "masked": ("D{y} ⊙ [ b ]",),
    "relu": ("D{y} ⊙ [ y > 0 ]",),
    "where": ("0", "D{y} ⊙ [ a ]", 'D{y} ⊙ [ "not" a ]'),
    "sum": ('D{y} "copied to each element"',),
    "amax": ('D{y} "where" x "is the maximum"',),
    "amin": ('D{y} "where" x "is the minimum"',),
    "prod": ('D{y} ⊙ "the product of the others"',),
    "norm": ("D{y} ⊙ frac{x}{y}",),
    "cumsum": ("Σ_{j ≥ i} D{y_{j}}",),
    "mT": ("{( D{y} )}^{⊤}",),
    "copy": ("D{y}",),
    "astype": ("D{y}",),
    "broadcast_to": ("D{y}",),
    "einsum": ('D{y} "with the other operands, summed over all letters that are not in" x',),
    "reshape": ('D{y} "in the shape of" x',),
    "transpose": ('D{y} "with its axes back in order"',),
    "getitem": ('D{y} "put back where it was picked, 0 elsewhere"',),
    "diagonal": ('D{y} "put back on the diagonal, 0 elsewhere"',),
    "flip": ('D{y} "backwards again"',),
    "put": ('D{y} "outside of what was written"', 'D{y} "where it was written"'),
    "scatter": ('D{y} "picked"',),
    "concatenate": ('"the part of" D{y} "that came from here"',),
    "stack": ('"the part of" D{y} "that came from here"',),
    "pad": ('D{y} "without the border"',),
    "im2col": ('"the columns of" D{y} "added up where they were taken"',),
    "col2im": ('"each window of" D{y} "as a column"',),
    "max_pool": ('D{y} "at the largest of each window, 0 elsewhere"',),
    "sum_pool": ('D{y} "copied to each element of its window"',),
    "sum_unpool": ('"the sum of each window of" D{y}',),
    "put_in_windows": ('D{y} "at the place" b "of each window"',),
    "take_in_windows": ('D{y} "at the place" b "of each window, 0 elsewhere"',),
}

LEFT = "Each element of the left factor met a row of the right one, which sends its share back."
RIGHT = "Each element of the right factor met every row of the left one: the shares add up."
LARGEST = "Only the largest element moved the maximum: the others get 0, and equal ones share."
SMALLEST = "Only the smallest element moved the minimum: the others get 0, and equal ones share."
SAME = "A sum grows as each of its terms does: the gradient passes unchanged."
FIRST = "A difference grows as its first term does: the gradient passes unchanged."
SUMMED = "It was copied on the way forward, and each copy sends its own back: they add up."
PIECE = "Each part gets its own piece of the gradient."
WHY: dict[str, tuple[str, ...]] = {
    "add": (SAME,),
    "sub": (FIRST, "The second term is taken away: its gradient changes sign."),
    "mul": ("In a product, the slope in one factor is the other factor.",),
    "truediv": (
        "The larger the divisor, the less the quotient moves.",
        "A larger divisor makes the quotient smaller: the sign changes.",
    ),
    "neg": ("Only the sign changes.",),
    "matmul": (LEFT, RIGHT),
    "inner": (LEFT, RIGHT),
    "exp": ("The slope of exp is exp itself: the output is used again.",),
    "log": ("The slope of log is one over its input: small input, steep slope.",),
    "power": ("The exponent comes down as a factor.",),
    "sqrt": ("The square root is steep near 0 and flat far from it.",),
    "tanh": ("Where tanh is flat, near −1 and +1, almost nothing passes.",),
    "sum": ("Each term counts once in a sum: each gets a copy of the gradient.",),
    "amax": (LARGEST,),
    "amin": (SMALLEST,),
    "im2col": ("An element in several windows hears from all of them: they add up.",),
    "max_pool": ("Only the largest of a window is seen, the first of equal ones: it gets all.",),
    "sum_pool": ("Each term counts once in a sum: each gets a copy of the gradient.",),
    "maximum": ("Only the larger of the two is seen; at a tie each gets half.",),
    "minimum": ("Only the smaller of the two is seen; at a tie each gets half.",),
    "relu": ("Where x is below 0, or 0, the result is flat: nothing passes.",),
    "masked": ("What was kept lets the gradient through; what was set to 0 blocks it.",),
    "where": ("Only the chosen side is seen.",),
    "clip": ("Beyond the bounds the output does not move: the gradient stops there.",),
    "getitem": ("What was not picked did not matter: it gets 0. Picked twice, it gets both.",),
    "diagonal": ("What is not on the diagonal did not matter: it gets 0.",),
    "flip": ("The same elements in the other order: so is the gradient.",),
    "mT": ("A transposed matrix sends its gradient back transposed.",),
    "reshape": ("The same elements in another shape: so is the gradient.",),
    "broadcast_to": ("A copied element hears from all of its copies.",),
    "absolute": ("The slope is +1 or −1, and 0 at 0 by convention.",),
    "concatenate": (PIECE,),
    "stack": (PIECE,),
}
SHIFTED = "max z is taken off before exp, so that nothing overflows; it cancels out."
HALVES = "It is computed from e to the −|x|, which cannot overflow; constants choose the half."
STABLE = {
    "softmax": SHIFTED, "log_softmax": SHIFTED, "logsumexp": SHIFTED,
    "sigmoid": HALVES, "softplus": HALVES, "log_sigmoid": HALVES,
}  # fmt: skip
"""Why a composed function does not look as in its formula."""
TOKEN = re.compile(r'\s*("[^"]*"|[A-Za-z]+|[0-9.]+|\+=|\S)')


def forward_math(
    name: str, settings: tuple[Any, ...], symbols: Mapping[str, str], operands: int = 1
) -> str:
    """What an operation computes, as MathML; `operands` says how many it has.

    >>> forward_math("exp", (), {"x": "z"})
    '<math displaystyle="true"><mi>y</mi><mo>=</mo><msup><mi>e</mi><mi>z</mi></msup></math>'
    """
    if name == "power":
        text = "y = sqrt{x}" if settings[0] == 0.5 else f"y = x^{{{number(settings[0])}}}"
    elif name == "getitem":
        index = ", ".join(index_text(part) for part in settings[0]).replace('"', "'")
        text = f'y = x "[{index}]"'
    else:
        given = " , ".join("abc"[:operands]) + ' , "…"' * (operands > 3) if operands > 1 else "x"
        called = op_label(name, settings, [None] * operands).replace('"', "'")
        text = FORWARD.get(name, f'y = "{called}" ( {given} )')
    if symbols.get("vector"):  # without the indices of matrices
        text = text.partition(" , ")[0]
    return mathml(text, {**symbols, **bounds(name, settings)})


def backward_math(
    name: str,
    position: int,
    settings: tuple[Any, ...],
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
        n = settings[0]
        less = number(n - 1)
        rule = "D{y} ⊙ frac{1}{2 sqrt{x}}" if n == 0.5 else f"D{{y}} ⊙ {number(n)} x^{{{less}}}"
        rule = f"D{{y}} ⊙ {number(n)} x" if n == 2 else rule
    else:
        rules = BACKWARD.get(name, (f"D{{y}} · frac{{∂ y}}{{∂ {target}}}",))
        rule = rules[min(position, len(rules) - 1)]
    if summed:
        plain = " " not in rule and "⊙" not in rule
        rule = f'Σ_{{"{summed}"}} {rule}' if plain else f'Σ_{{"{summed}"}} ( {rule} )'
    return mathml(
        f"D{{{target}}} {'+=' if share else '='} {rule}", {**symbols, **bounds(name, settings)}
    )


def bounds(name: str, settings: tuple[Any, ...]) -> dict[str, str]:
    """The words of a rule that its settings fill in: low and high of clip, axes of a sum."""
    if name == "clip":
        low, high = (
            sign + "∞" if bound is None else number(bound) for sign, bound in zip("−+", settings)
        )
        return {"low": low, "high": high}
    if name in ("sum", "amax", "amin", "norm"):
        return {"axes": "" if not settings or settings[0] is None else axes(settings[0])}
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
    return f'<math displaystyle="true">{"".join(parts)}</math>'


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
        return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"
    if token == "frac":
        return f"<mfrac>{atom(tokens, symbols)}{atom(tokens, symbols)}</mfrac>"
    if token == "sqrt":
        return f"<msqrt>{atom(tokens, symbols)}</msqrt>"
    if token == "D":
        loss, of = leaf(symbols.get("L", "L")), atom(tokens, symbols)
        d = "<mo>∂</mo>"
        return f"<mfrac><mrow>{d}{loss}</mrow><mrow>{d}{of}</mrow></mfrac>"
    if token.startswith('"'):
        return f"<mtext>&#160;{escape(token[1:-1])}&#160;</mtext>"
    if token[0].isalpha() or token in symbols:
        return leaf(symbols.get(token, token))
    tag = "mn" if token[0].isdigit() else "mo"
    return f"<{tag}>{escape(token)}</{tag}>"


def leaf(name: str) -> str:
    """A name or a number, escaped; nothing for no name."""
    shown = name if len(name) <= 24 else name[:23] + "…"
    tag = "mn" if shown[:1].isdigit() or shown[:1] == "−" else "mi"
    return f"<{tag}>{escape(shown)}</{tag}>" if shown else "<mrow></mrow>"
