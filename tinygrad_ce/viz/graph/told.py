"""How each rule of the calculus table is told: on cards, on arrows, as mathematics, in words.

One entry each. On an arrow, G is the gradient that arrives, x the input and y the output; of two
operands each is called by its name, else a and b, and then the header says which is which: `a ÷ b`.

Mathematics is in a notation of one line: `y`, `x`, `a`, `b` stand for the tensors (or for their
names), `D{x}` for ∂L/∂x, `^{…}` and `_{…}` raise and lower, `frac{…}{…}` divides, `sqrt{…}` is a
root and quotation marks hold words. ⊙ multiplies element by element.
"""

from __future__ import annotations

from typing import NamedTuple


class Told(NamedTuple):
    """What is said of one rule; where each operand has an entry, the last serves the rest."""

    symbol: str = ""  # the header of its card, if that is not its name
    header: str = ""  # the header where derivatives name the operands
    slopes: tuple[str, ...] = ()  # what a backward arrow multiplies by
    forward: str = ""  # what it computes, as mathematics
    backward: tuple[str, ...] = ()  # what it sends back, as mathematics
    why: tuple[str, ...] = ()  # the same in a sentence
    kind: str = ""  # "elementwise", "reduction", or "move": what becomes of an element
    broadcasts: bool = False  # an operand may be repeated: its gradient is summed back
    rounds: str = ""  # its results are rounded "once", or for each of the "sums" that it adds up


LEFT = "Each element of the left factor met a row of the right one, which sends its share back."
RIGHT = "Each element of the right factor met every row of the left one: the shares add up."
LARGEST = "Only the largest element moved the maximum: the others get 0, and equal ones share."
SMALLEST = "Only the smallest element moved the minimum: the others get 0, and equal ones share."
SAME = "A sum grows as each of its terms does: the gradient passes unchanged."
FIRST = "A difference grows as its first term does: the gradient passes unchanged."
SUMMED = "It was copied on the way forward, and each copy sends its own back: they add up."
TERMS = "Each term counts once in a sum: each gets a copy of the gradient."
PIECE = "Each part gets its own piece of the gradient."

TOLD: dict[str, Told] = {
    "add": Told(
        symbol="+", slopes=("×1", "×1"), forward="y = a + b", backward=("D{y}", "D{y}"),
        why=(SAME,), kind="elementwise", broadcasts=True, rounds="once",
    ),
    "sub": Told(
        symbol="−", slopes=("×1", "×(−1)"), forward="y = a − b", backward=("D{y}", "− D{y}"),
        why=(FIRST, "The second term is taken away: its gradient changes sign."),
        kind="elementwise", broadcasts=True, rounds="once",
    ),
    "mul": Told(
        symbol="×", header="{a} × {b}", slopes=("×{b}", "×{a}"), forward="y = a ⊙ b",
        backward=("D{y} ⊙ b", "D{y} ⊙ a"),
        why=("In a product, the slope in one factor is the other factor.",), kind="elementwise",
        broadcasts=True, rounds="once",
    ),
    "truediv": Told(
        symbol="÷", header="{a} ÷ {b}", slopes=("÷{b}", "×(−y/{b})"), forward="y = frac{a}{b}",
        backward=("D{y} ⊙ frac{1}{b}", "D{y} ⊙ ( − frac{a}{b^{2}} )"),
        why=(
            "The larger the divisor, the less the quotient moves.",
            "A larger divisor makes the quotient smaller: the sign changes.",
        ),
        kind="elementwise", broadcasts=True, rounds="once",
    ),
    "mod": Told(
        symbol="mod", header="{a} mod {b}", slopes=("×1", "×(−⌊{a}/{b}⌋)"), forward="y = a mod b",
        backward=("D{y}", "D{y} ⊙ ( − ⌊ frac{a}{b} ⌋ )"), kind="elementwise", broadcasts=True,
    ),
    "floordiv": Told(
        symbol="⌊÷⌋", slopes=("×0", "×0"), forward="y = ⌊ frac{a}{b} ⌋", backward=("0", "0"),
        kind="elementwise", broadcasts=True,
    ),
    "pow": Told(
        symbol="aᵇ", header="{a}^{b}", slopes=("×{b}·{a}^({b}−1)", "×y·log {a}"),
        forward="y = a^{b}", backward=("D{y} ⊙ b a^{b − 1}", "D{y} ⊙ a^{b} log a"),
        kind="elementwise", broadcasts=True, rounds="once",
    ),
    "matmul": Told(
        symbol="@", header="{a} @ {b}", slopes=("G·{b}ᵀ", "{a}ᵀ·G"),
        forward="y = a b , y_{ij} = Σ_{k} a_{ik} b_{kj}", backward=("D{y} b^{⊤}", "a^{⊤} D{y}"),
        why=(LEFT, RIGHT), rounds="sums",
    ),
    "inner": Told(
        symbol="a @ bᵀ", header="{a} @ {b}ᵀ", slopes=("G·{b}", "Gᵀ·{a}"),
        forward="y = a b^{⊤} , y_{ij} = Σ_{k} a_{ik} b_{jk}",
        backward=("D{y} b", "{( D{y} )}^{⊤} a"), why=(LEFT, RIGHT), rounds="sums",
    ),
    "maximum": Told(
        symbol="max", header="max({a}, {b})", slopes=("×[{a} > {b}]", "×[{b} > {a}]"),
        forward="y = max ( a , b )", backward=("D{y} ⊙ [ a > b ]", "D{y} ⊙ [ b > a ]"),
        why=("Only the larger of the two is seen; at a tie each gets half.",), kind="elementwise",
        broadcasts=True,
    ),
    "minimum": Told(
        symbol="min", header="min({a}, {b})", slopes=("×[{a} < {b}]", "×[{b} < {a}]"),
        forward="y = min ( a , b )", backward=("D{y} ⊙ [ a < b ]", "D{y} ⊙ [ b < a ]"),
        why=("Only the smaller of the two is seen; at a tie each gets half.",),
        kind="elementwise", broadcasts=True,
    ),
    "where": Told(
        slopes=("", "×[condition]", "×[not condition]"),
        forward='y = b "where" a "holds, else" c',
        backward=("0", "D{y} ⊙ [ a ]", 'D{y} ⊙ [ "not" a ]'),
        why=("Only the chosen side is seen.",), kind="elementwise", broadcasts=True,
    ),
    "masked": Told(
        slopes=("×[kept]", ""), forward='y = x "where" b "holds, else" 0',
        backward=("D{y} ⊙ [ b ]",),
        why=("What was kept lets the gradient through; what was set to 0 blocks it.",),
        kind="elementwise",
    ),
    "relu": Told(
        slopes=("×[y > 0]",), forward="y = max ( x , 0 )", backward=("D{y} ⊙ [ y > 0 ]",),
        why=("Where x is below 0, or 0, the result is flat: nothing passes.",),
        kind="elementwise",
    ),
    "neg": Told(
        symbol="− x", slopes=("×(−1)",), forward="y = − x", backward=("− D{y}",),
        why=("Only the sign changes.",), kind="elementwise",
    ),
    "exp": Told(
        symbol="exp", slopes=("×eˣ",), forward="y = e^{x}", backward=("D{y} ⊙ e^{x}",),
        why=("The slope of exp is exp itself: the output is used again.",), kind="elementwise",
        rounds="once",
    ),
    "log": Told(
        symbol="log", slopes=("÷x",), forward="y = log x", backward=("D{y} ⊙ frac{1}{x}",),
        why=("The slope of log is one over its input: small input, steep slope.",),
        kind="elementwise", rounds="once",
    ),
    "log1p": Told(
        slopes=("÷(1+x)",), forward="y = log ( 1 + x )", backward=("D{y} ⊙ frac{1}{1 + x}",),
        kind="elementwise", rounds="once",
    ),
    "expm1": Told(
        slopes=("×eˣ",), forward="y = e^{x} − 1", backward=("D{y} ⊙ e^{x}",), kind="elementwise",
        rounds="once",
    ),
    "sqrt": Told(
        symbol="√x", slopes=("÷2y",), forward="y = sqrt{x}",
        backward=("D{y} ⊙ frac{1}{2 sqrt{x}}",),
        why=("The square root is steep near 0 and flat far from it.",), kind="elementwise",
        rounds="once",
    ),
    "sin": Told(
        slopes=("×cos x",), forward="y = sin x", backward=("D{y} ⊙ cos x",), kind="elementwise",
        rounds="once",
    ),
    "cos": Told(
        slopes=("×(−sin x)",), forward="y = cos x", backward=("D{y} ⊙ ( − sin x )",),
        kind="elementwise", rounds="once",
    ),
    "tanh": Told(
        slopes=("×(1−y²)",), forward="y = tanh x", backward=("D{y} ⊙ ( 1 − y^{2} )",),
        why=("Where tanh is flat, near −1 and +1, almost nothing passes.",), kind="elementwise",
        rounds="once",
    ),
    "erfc": Told(
        slopes=("×(−2/√π·e^(−x²))",), forward="y = erfc x",
        backward=("D{y} ⊙ ( − frac{2}{sqrt{π}} e^{− x^{2}} )",), kind="elementwise",
        rounds="once",
    ),
    "log2": Told(
        symbol="log₂", slopes=("÷(x·log 2)",), forward="y = log_{2} x",
        backward=("D{y} ⊙ frac{1}{x log 2}",), kind="elementwise", rounds="once",
    ),
    "log10": Told(
        symbol="log₁₀", slopes=("÷(x·log 10)",), forward="y = log_{10} x",
        backward=("D{y} ⊙ frac{1}{x log 10}",), kind="elementwise", rounds="once",
    ),
    "tan": Told(
        slopes=("×(1+y²)",), forward="y = tan x", backward=("D{y} ⊙ ( 1 + y^{2} )",),
        kind="elementwise", rounds="once",
    ),
    "arcsin": Told(
        symbol="asin", slopes=("÷√(1−x²)",), forward="y = arcsin x",
        backward=("D{y} ⊙ frac{1}{sqrt{1 − x^{2}}}",), kind="elementwise", rounds="once",
    ),
    "arccos": Told(
        symbol="acos", slopes=("÷(−√(1−x²))",), forward="y = arccos x",
        backward=("D{y} ⊙ ( − frac{1}{sqrt{1 − x^{2}}} )",), kind="elementwise", rounds="once",
    ),
    "arctan": Told(
        symbol="atan", slopes=("÷(1+x²)",), forward="y = arctan x",
        backward=("D{y} ⊙ frac{1}{1 + x^{2}}",), kind="elementwise", rounds="once",
    ),
    "arctan2": Told(
        symbol="atan2", header="atan2({a}, {b})",
        slopes=("×{b}/({a}²+{b}²)", "×(−{a}/({a}²+{b}²))"),
        forward='y = "the angle of" ( b , a )',
        backward=("D{y} ⊙ frac{b}{a^{2} + b^{2}}", "D{y} ⊙ ( − frac{a}{a^{2} + b^{2}} )"),
        kind="elementwise", broadcasts=True, rounds="once",
    ),
    "hypot": Told(
        header="√({a}² + {b}²)", slopes=("×{a}/y", "×{b}/y"), forward="y = sqrt{a^{2} + b^{2}}",
        backward=("D{y} ⊙ frac{a}{y}", "D{y} ⊙ frac{b}{y}"), kind="elementwise",
        broadcasts=True, rounds="once",
    ),
    "sinh": Told(
        slopes=("×cosh x",), forward="y = sinh x", backward=("D{y} ⊙ cosh x",),
        kind="elementwise", rounds="once",
    ),
    "cosh": Told(
        slopes=("×sinh x",), forward="y = cosh x", backward=("D{y} ⊙ sinh x",),
        kind="elementwise", rounds="once",
    ),
    "arcsinh": Told(
        symbol="asinh", slopes=("÷√(1+x²)",), forward="y = arcsinh x",
        backward=("D{y} ⊙ frac{1}{sqrt{1 + x^{2}}}",), kind="elementwise", rounds="once",
    ),
    "erf": Told(
        slopes=("×(2/√π·e^(−x²))",), forward="y = erf x",
        backward=("D{y} ⊙ frac{2}{sqrt{π}} e^{− x^{2}}",), kind="elementwise", rounds="once",
    ),
    "trunc": Told(slopes=("×0",), forward='y = x "cut off"', backward=("0",), kind="elementwise"),
    "fmod": Told(
        header="fmod({a}, {b})", slopes=("×1", "×(−trunc({a}/{b}))"),
        forward='y = a − b · "cut off" ( frac{a}{b} )',
        backward=("D{y}", 'D{y} ⊙ ( − "cut off" ( frac{a}{b} ) )'), kind="elementwise",
        broadcasts=True,
    ),
    "absolute": Told(
        symbol="|x|", slopes=("×sign x",), forward="y = | x |", backward=("D{y} ⊙ sign x",),
        why=("The slope is +1 or −1, and 0 at 0 by convention.",), kind="elementwise",
    ),
    "sign": Told(slopes=("×0",), forward="y = sign x", backward=("0",), kind="elementwise"),
    "floor": Told(
        symbol="⌊x⌋", slopes=("×0",), forward="y = ⌊ x ⌋", backward=("0",), kind="elementwise",
    ),
    "ceil": Told(
        symbol="⌈x⌉", slopes=("×0",), forward="y = ⌈ x ⌉", backward=("0",), kind="elementwise",
    ),
    "rint": Told(
        symbol="round", slopes=("×0",), forward='y = x "rounded"', backward=("0",),
        kind="elementwise",
    ),
    "clip": Told(
        slopes=("×[x inside]",), forward='y = x "clipped to" [ low , high ]',
        backward=("D{y} ⊙ [ low ≤ x ≤ high ]",),
        why=("Beyond the bounds the output does not move: the gradient stops there.",),
        kind="elementwise",
    ),
    "sum": Told(
        symbol="Σ", slopes=("×1 (copied)",), forward="y = Σ_{axes} x",
        backward=('D{y} "copied to each element"',), why=(TERMS,), kind="reduction",
        rounds="sums",
    ),
    "amax": Told(
        symbol="max", slopes=("×[x = max]",), forward="y = max_{axes} x",
        backward=('D{y} "where" x "is the maximum"',), why=(LARGEST,), kind="reduction",
    ),
    "amin": Told(
        symbol="min", slopes=("×[x = min]",), forward="y = min_{axes} x",
        backward=('D{y} "where" x "is the minimum"',), why=(SMALLEST,), kind="reduction",
    ),
    "prod": Told(
        symbol="Π", slopes=("×Π others",), forward="y = Π x",
        backward=('D{y} ⊙ "the product of the others"',), rounds="once",
    ),
    "cumsum": Told(
        symbol="running Σ", slopes=("Σ from here on",), forward="y_{i} = Σ_{j ≤ i} x_{j}",
        backward=("Σ_{j ≥ i} D{y_{j}}",), rounds="sums",
    ),
    "norm": Told(
        symbol="‖x‖", slopes=("×x/y",), forward="y = ‖ x ‖_{axes}",
        backward=("D{y} ⊙ frac{x}{y}",), kind="reduction", rounds="once",
    ),
    "copy": Told(slopes=("×1",), forward="y = x", backward=("D{y}",), kind="elementwise"),
    "astype": Told(
        slopes=("×1",), forward='y = x "in another precision"', backward=("D{y}",),
        kind="elementwise",
    ),
    "mT": Told(
        symbol="transpose", slopes=("Gᵀ",), forward="y = x^{⊤}", backward=("{( D{y} )}^{⊤}",),
        why=("A transposed matrix sends its gradient back transposed.",), kind="move",
    ),
    "transpose": Told(
        slopes=("G, axes back",), forward='y = x "with its axes in another order"',
        backward=('D{y} "with its axes back in order"',), kind="move",
    ),
    "reshape": Told(
        slopes=("G, reshaped",), forward='y = x "in another shape"',
        backward=('D{y} "in the shape of" x',),
        why=("The same elements in another shape: so is the gradient.",), kind="move",
    ),
    "broadcast_to": Told(
        symbol="expand", slopes=("×1",), forward='y = "copies of" x', backward=("D{y}",),
        why=("A copied element hears from all of its copies.",), kind="move", broadcasts=True,
    ),
    "getitem": Told(
        slopes=("G, put back",), backward=('D{y} "put back where it was picked, 0 elsewhere"',),
        why=("What was not picked did not matter: it gets 0. Picked twice, it gets both.",),
        kind="move",
    ),
    "diagonal": Told(
        slopes=("G, put back",), forward='y = "the diagonal of" x',
        backward=('D{y} "put back on the diagonal, 0 elsewhere"',),
        why=("What is not on the diagonal did not matter: it gets 0.",), kind="move",
    ),
    "flip": Told(
        slopes=("G, backwards",), forward='y = x "backwards"',
        backward=('D{y} "backwards again"',),
        why=("The same elements in the other order: so is the gradient.",), kind="move",
    ),
    "put": Told(
        slopes=("G outside", "G inside"), forward='y = a "with" b "written into it"',
        backward=('D{y} "outside of what was written"', 'D{y} "where it was written"'),
        kind="move",
    ),
    "scatter": Told(slopes=("G, picked",), backward=('D{y} "picked"',)),
    "concatenate": Told(
        slopes=("its part of G",), forward='y = "the parts, one after the other"',
        backward=('"the part of" D{y} "that came from here"',), why=(PIECE,), kind="move",
    ),
    "stack": Told(
        slopes=("its part of G",), forward='y = "the parts, stacked"',
        backward=('"the part of" D{y} "that came from here"',), why=(PIECE,), kind="move",
    ),
    "pad": Told(
        slopes=("G, cut out",), forward='y = x "with a border"',
        backward=('D{y} "without the border"',),
    ),
    "sliding_windows": Told(symbol="windows", slopes=("Σ overlaps",), kind="move"),
    "overlap_add": Told(symbol="add windows", slopes=("windows of G",), rounds="sums"),
    "im2col": Told(
        symbol="windows as columns", slopes=("Σ overlaps",),
        forward='y = "each window of" x "as a column"',
        backward=('"the columns of" D{y} "added up where they were taken"',),
        why=("An element in several windows hears from all of them: they add up.",), kind="move",
    ),
    "col2im": Told(
        symbol="add columns", slopes=("windows of G",),
        forward='y = "the columns" x "added up where they were taken"',
        backward=('"each window of" D{y} "as a column"',), rounds="sums",
    ),
    "max_pool": Told(
        symbol="max of windows", slopes=("×[x = max]",),
        forward='y = "the largest of each window of" x',
        backward=('D{y} "at the largest of each window, 0 elsewhere"',),
        why=("Only the largest of a window is seen, the first of equal ones: it gets all.",),
        kind="move",
    ),
    "sum_pool": Told(
        symbol="Σ of windows", slopes=("×1 (copied)",),
        forward='y = "the sum of each window of" x',
        backward=('D{y} "copied to each element of its window"',), why=(TERMS,), rounds="sums",
    ),
    "sum_unpool": Told(
        symbol="copied to windows", slopes=("Σ of windows",),
        forward='y = x "copied to each element of its window"',
        backward=('"the sum of each window of" D{y}',), rounds="sums",
    ),
    "put_in_windows": Told(
        symbol="put in windows", slopes=("G, picked", ""),
        forward='y = a "at the place" b "of each window, 0 elsewhere"',
        backward=('D{y} "at the place" b "of each window"',),
    ),
    "take_in_windows": Told(
        symbol="taken in windows", slopes=("G, put back", ""),
        forward='y = a "at the place" b "of each window"',
        backward=('D{y} "at the place" b "of each window, 0 elsewhere"',),
    ),
    "cumprod": Told(symbol="running Π", forward="y_{i} = Π_{j ≤ i} x_{j}", rounds="once"),
    "einsum": Told(
        backward=('D{y} "with the other operands, summed over all letters that are not in" x',),
        rounds="sums",
    ),
    "invert": Told(symbol="not", forward='y = "not" x', kind="elementwise"),
    "power": Told(why=("The exponent comes down as a factor.",), kind="elementwise", rounds="once"),
}  # fmt: skip
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "eq": "=", "ne": "≠"}
for name, sign in SIGNS.items():
    TOLD[name] = Told(
        sign, f"{{a}} {sign} {{b}}", forward=f"y = [ a {sign} b ]", kind="elementwise"
    )
for name, word in {"and_": "and", "or_": "or", "xor": "xor"}.items():
    TOLD[name] = Told(word, f"{{a}} {word} {{b}}", forward=f'y = a "{word}" b', kind="elementwise")


def entry(name: str) -> Told:
    """What is said of a rule."""
    return TOLD.get(name, NOTHING)


def symbol_of(name: str) -> str:
    """What a rule is called on its card."""
    return entry(name).symbol or name


NOTHING = Told()
