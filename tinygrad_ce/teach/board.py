"""NumPy's lines as mathematics: a tree of pieces, written as LaTeX, as MathML or as plain text.

`pieces` reads the syntax tree of a line of a listing. A piece is a tuple: its kind, then its parts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from html import escape
from types import EllipsisType
from typing import Any

Piece = tuple[Any, ...]
EMPTY: Mapping[str, str] = {}
LETTERS = "ijklmn"  # the axes
SUMS = {"sum": "Σ", "max": "max", "min": "min", "mean": "mean", "prod": "Π"}
SHOWN = {
    ast.Gt: ">", ast.GtE: "≥", ast.Lt: "<", ast.LtE: "≤", ast.Eq: "=", ast.NotEq: "≠",
}  # fmt: skip
OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.GtE: ast.Lt, ast.Lt: ast.GtE, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}  # fmt: skip
GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "mu": "μ", "sigma": "σ", "eps": "ε", "xhat": "x̂"}
PLAIN = {"reshape", "astype", "copy", "squeeze", "broadcast_to", "ascontiguousarray", "float64"}
TEX = {
    "Σ": r"\sum", "Π": r"\prod", "max": r"\max", "min": r"\min", "mean": r"\mathrm{mean}",
    "log": r"\log", "exp": r"\exp", "tanh": r"\tanh", "⊙": r"\odot", "·": r"\cdot", ">": ">",
    "≥": r"\geq", "<": "<", "≤": r"\leq", "≠": r"\neq", "∂": r"\partial", "x̂": r"\hat{x}",
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "μ": r"\mu", "σ": r"\sigma", "ε": r"\epsilon",
    "⊤": r"\top", "−": "-", "sin": r"\sin", "cos": r"\cos", "¬": r"\neg", "×": r"\times",
}  # fmt: skip


# --- from a line to pieces ----------------------------------------------------------------------


def partial(up: str, down: str) -> Piece:
    """∂up/∂down."""
    above, below = (("row", ("op", "∂"), named(x)) for x in (up, down))
    return ("frac", above, below)


def named(name: str, gradients: Mapping[str, str] = EMPTY) -> Piece:
    """A name: ∂L/∂W₁ for a gradient, an index for the digits at its end."""
    if name in gradients:
        return partial("L", gradients[name])
    if found := re.fullmatch(r"([A-Za-z]+)_?(\d+)", name):
        return ("sub", named(found[1]), ("num", found[2]))
    return ("id", GREEK.get(name, name))


def pieces(tree: ast.AST, gradients: dict[str, str], above: int = 0) -> Piece:
    """An expression. `above` says how tightly what it stands in binds."""
    again = lambda node, tight=0: pieces(node, gradients, tight)  # noqa: E731
    match tree:
        case ast.Expression(body=body):
            return again(body, above)
        case ast.Name(id=name):
            return named(name, gradients)
        case ast.Constant(value=value):
            return number(value)
        case ast.UnaryOp(op=ast.USub(), operand=x):
            return fenced(("row", ("minus",), again(x, 2)), above > 1)
        case ast.UnaryOp(op=ast.Invert(), operand=x):
            return ("row", ("op", "¬"), again(x, 4))
        case ast.BinOp():
            return binary(tree, gradients, above)
        case ast.Compare(left=a, ops=[op], comparators=[b]) if type(op) in SHOWN:
            inside = ("row", again(a, 1), ("op", SHOWN[type(op)]), again(b, 1))
            return ("fence", "[]", indexed(a, b, op, gradients) or inside)
        case ast.Attribute(value=x, attr="T" | "mT"):
            return power(again(x, 4), ("op", "⊤"))
        case ast.Call():
            return called(tree, gradients, above)
        case ast.Subscript(value=x, slice=index):
            if is_column(tree) or (ends_in(index, 0) and is_product(x)):
                return again(x, above)  # a vector as a matrix of one column, and back
            return ("sub", again(x, 4), index_of(index, gradients))
    return ("id", ast.unparse(tree))


def number(value: Any) -> Piece:
    """A number; 1/32 for 0.03125, 2/15 for 0.13333334, ∞."""
    if isinstance(value, float) and abs(value) >= 1e16:
        return ("num", f"{value:.2g}".replace("-", "−"))
    if isinstance(value, float) and value == int(value):
        value = int(value)
    for top in (1, 2) if isinstance(value, float) and 0 < abs(value) < 1 else ():
        below = top / abs(value)
        if abs(below - round(below)) < 1e-5:
            part = ("frac", ("num", str(top)), ("num", str(round(below))))
            return ("row", ("minus",), part) if value < 0 else part
    return ("num", str(value).replace("-", "−"))


def fenced(piece: Piece, needed: bool) -> Piece:
    """In parentheses, if need be."""
    return ("fence", "()", piece) if needed else piece


def power(base: Piece, exponent: Piece) -> Piece:
    """base ^ exponent."""
    return ("sup", fenced(base, base[0] in ("frac", "sup", "over")), exponent)


def is_number(tree: ast.expr) -> bool:
    """Whether this is a number, perhaps with a sign."""
    return isinstance(tree.operand if isinstance(tree, ast.UnaryOp) else tree, ast.Constant)


def ends_in(index: ast.expr, value: Any) -> bool:
    """Whether an index is [..., value]."""
    match index:
        case ast.Tuple(elts=[ast.Name(id="Ellipsis") | ast.Constant(value=EllipsisType()), last]):
            return isinstance(last, ast.Constant) and last.value is value
    return False


def is_column(tree: ast.expr) -> bool:
    """Whether this is x[..., None]."""
    return isinstance(tree, ast.Subscript) and ends_in(tree.slice, None)


def is_product(tree: ast.expr) -> bool:
    """Whether this is a matrix times a vector that is written as a column."""
    match tree:
        case ast.BinOp(op=ast.MatMult(), right=right) | ast.Call(args=[_, right]):
            return is_column(right)
    return False


def binary(tree: ast.BinOp, gradients: dict[str, str], above: int) -> Piece:
    """a + b, a ⊙ b, a/b, a b of matrices, powers: each binds tighter than those before it."""
    a, b = tree.left, tree.right

    def side(x: ast.AST, tight: int) -> Piece:
        return pieces(x, gradients, tight)

    match tree.op:
        case ast.Add():
            return fenced(("row", side(a, 1), ("op", "+"), side(b, 1)), above > 1)
        case ast.Sub():
            return fenced(("row", side(a, 1), ("op", "−"), side(b, 2)), above > 1)
        case ast.Div():
            return ("frac", side(a, 0), side(b, 0))
        case ast.Pow():
            return power(side(a, 4), side(b, 0))
        case ast.MatMult():
            return fenced(("row", side(a, 3), ("space",), side(b, 4)), above > 3)
        case ast.Mult() if is_column(a) and not is_column(b):
            row = ("row", side(a, 3), ("space",), power(side(b, 4), ("op", "⊤")))
            return fenced(row, above > 3)
        case ast.Mult():
            if is_number(b):
                a, b = b, a
            left, right = side(a, 2), side(b, 3)
            left = fenced(left, left[0] == "over")  # or the factor would stand below the sum
            if left == ("num", "1") or right == ("num", "1"):
                return side(b if left == ("num", "1") else a, above)
            sign = ("space",) if is_number(a) else ("op", "⊙")
            return fenced(("row", left, sign, right), above > 2)
        case ast.BitAnd():
            return fenced(("row", side(a, 2), ("op", "·"), side(b, 2)), above > 2)
    return ("id", ast.unparse(tree))


def called(tree: ast.Call, gradients: dict[str, str], above: int) -> Piece:
    """A call: of NumPy, np.exp(x), or of a method, x.sum(axis=1)."""
    args = list(tree.args)
    if isinstance(tree.func, ast.Attribute):
        name, of = tree.func.attr, tree.func.value
        if not (isinstance(of, ast.Name) and of.id == "np"):
            args = [of, *args]
    else:
        name = ast.unparse(tree.func)  # erf(x), np.vectorize(math.erfc)(x)
        name = name.partition("math.")[2].partition(",")[0] or name
    first = args[0]

    def part(node: ast.AST, tight: int = 0) -> Piece:
        return pieces(node, gradients, tight)

    if name in SUMS:
        return fenced(("over", SUMS[name], axis_of(tree), part(first, 2)), above > 2)
    if name in PLAIN:
        return part(first, above)
    match name:
        case "exp":
            return ("row", ("fn", "exp"), ("fence", "()", part(first)))
        case "sqrt":
            return ("sqrt", part(first))
        case "square":
            return power(part(first, 4), ("num", "2"))
        case "abs" | "absolute":
            return ("fence", "||", part(first))
        case "dot" | "inner" | "matmul" if len(args) == 2:
            return product(name, args, gradients, above)
        case "where" if len(args) == 3:
            return chosen(args, gradients, above)
        case "full":
            return part(args[1], above)
        case "ones" | "zeros":
            return ("num", "1" if name == "ones" else "0")
    inside: list[Piece] = []
    for x in args:
        inside += [("op", ","), part(x)]
    return ("row", ("fn", name), ("fence", "()", ("row", *inside[1:])))


def product(name: str, args: list[ast.expr], gradients: dict[str, str], above: int) -> Piece:
    """A matrix product; with a vector of ones it is a sum."""
    a, b = args
    for x, other, axis in ((b, a, 1), (a, b, 0)):
        if isinstance(x, ast.Call) and ast.unparse(x.func) == "np.ones":
            return fenced(("over", "Σ", LETTERS[axis], pieces(other, gradients, 2)), above > 2)
    right = pieces(b, gradients, 4)
    if name == "inner":
        right = power(right, ("op", "⊤"))
    return fenced(("row", pieces(a, gradients, 3), ("space",), right), above > 3)


def chosen(args: list[ast.expr], gradients: dict[str, str], above: int) -> Piece:
    """np.where(c, a, b) as [c]·a + [not c]·b."""
    condition, a, b = args
    both: list[Piece] = []
    for part, c in ((a, condition), (b, opposite(condition))):
        inside = pieces(c, gradients, 4)
        bracket = inside[2] if inside[:2] == ("fence", "[]") else inside
        if not (isinstance(part, ast.Constant) and part.value == 0):
            one = isinstance(part, ast.Constant) and part.value == 1
            times = [] if one else [("space",), pieces(part, gradients, 3)]
            both += [("op", "+"), ("fence", "[]", bracket), *times]
    return fenced(("row", *both[1:]), above > (1 if len(both) > 4 else 2))


def scattered(body: list[ast.stmt], gradients: dict[str, str]) -> Piece | None:
    """`y = np.zeros(...); np.add.at(y, index, value)`: the value at an index, 0 elsewhere."""
    match body:
        case [ast.Assign(), ast.Expr(value=ast.Call(args=[_, index, value]))]:
            given = pieces(value, gradients, 3)
            if isinstance(index, ast.Tuple) and len(index.elts) == 2:
                rows, columns = index.elts
                if "np.arange(" in ast.unparse(rows) and isinstance(columns, ast.Name):
                    y = ("sub", named(columns.id), ("id", "i"))
                    return (
                        "row",
                        given,
                        ("space",),
                        ("fence", "[]", ("row", y, ("op", "="), ("id", "j"))),
                    )
            where = ("fence", "[]", index_of(index, gradients))
            return ("row", given, ("words", "at"), where, ("words", "else"), ("num", "0"))
    return None


def opposite(condition: ast.expr) -> ast.expr:
    """Not this: z < 0 for z ≥ 0."""
    match condition:
        case ast.Compare(left=a, ops=[op], comparators=[b]) if type(op) in OPPOSITE:
            return ast.Compare(a, [OPPOSITE[type(op)]()], [b])
        case ast.UnaryOp(op=ast.Invert(), operand=x):
            return x
    return ast.UnaryOp(ast.Invert(), condition)


def axis_of(tree: ast.Call) -> str:
    """The letter of the axis that is summed over; nothing for all of them."""
    given = {k.arg: k.value for k in tree.keywords}
    axis = given.get("axis")
    if isinstance(axis, ast.Constant) and isinstance(axis.value, int):
        return LETTERS[axis.value % len(LETTERS)] if axis.value >= 0 else "j"
    if isinstance(axis, ast.UnaryOp):
        return "j"
    if isinstance(axis, ast.Tuple):
        return "".join(LETTERS[int(ast.unparse(x))] for x in axis.elts)
    return ""


def indexed(a: ast.AST, b: ast.AST, op: ast.cmpop, gradients: dict[str, str]) -> Piece | None:
    """y[:, None] == np.arange(10) is the one-hot matrix [y_i = j]."""
    if isinstance(a, ast.Subscript) and "np.arange(" in ast.unparse(b):
        y = ("sub", pieces(a.value, gradients, 4), ("id", "i"))
        return ("row", y, ("op", SHOWN[type(op)]), ("id", "j"))
    return None


def index_of(index: ast.AST, gradients: dict[str, str]) -> Piece:
    """An index: np.arange(32), y is i, yᵢ."""
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    inside: list[Piece] = []
    for letter, x in zip(LETTERS, parts):
        inside.append(("op", ","))
        match x:
            case ast.Call() if "np.arange(" in ast.unparse(x):
                inside.append(("id", letter))
            case ast.Name(id=name) if len(parts) > 1:
                inside.append(("sub", named(name, gradients), ("id", LETTERS[0])))
            case _:
                inside.append(("id", ast.unparse(x)))
    return ("row", *inside[1:])


# --- as text ------------------------------------------------------------------------------------

DIGITS = str.maketrans("0123456789+-−ijklmn", "₀₁₂₃₄₅₆₇₈₉₊₋₋ᵢⱼₖₗₘₙ")
POWERS = {"2": "²", "3": "³", "ᵀ": "ᵀ", "−1": "⁻¹"}


def text(piece: Piece) -> str:
    """A piece as plain text."""
    match piece:
        case ("frac", a, b):
            up, down = text(a), text(b)
            if up.startswith("∂") and down.startswith("∂"):
                return f"{up}/{down}"
            return f"{up if simple(a) else f'({up})'} / {down if simple(b) else f'({down})'}"
        case ("sup", a, b):
            up = text(b)
            raised = POWERS.get(up) or f"^{up if simple(b) else f'({up})'}"
            return text(a) + raised
        case ("sub", a, b):
            low = text(b)
            short = all(c in "0123456789ijklmn" for c in low)
            return text(a) + (low.translate(DIGITS) if short else f"[{low}]")
        case ("sqrt", a):
            return f"√{text(a) if simple(a) else f'({text(a)})'}"
        case ("over", sign, axis, a):
            return f"{sign}{axis.translate(DIGITS)} {text(a)}"
        case ("fence", marks, a):
            return marks[0] + text(a) + marks[1]
        case ("row", *parts):
            times = any(p in (("op", "⊙"), ("op", "·"), ("space",)) for p in parts)
            return "".join(f"({text(p)})" if times and is_quotient(p) else text(p) for p in parts)
        case ("op", sign):
            return {",": ", ", "∂": "∂", "¬": "¬", "⊤": "ᵀ"}.get(sign, f" {sign} ")
        case ("minus",):
            return "−"
        case ("space",):
            return " "
        case ("words", said):
            return f" {said} "
    return str(piece[1])


def is_quotient(piece: Piece) -> bool:
    """Whether a piece is a fraction, but not ∂L/∂x."""
    return piece[0] == "frac" and not text(piece).startswith("∂")


def simple(piece: Piece) -> bool:
    """Whether a piece needs no parentheses in plain text."""
    return piece[0] in ("id", "num", "fence", "sub", "sup", "sqrt")


FORMS = {  # in LaTeX and in MathML
    "frac": (r"\frac{{{}}}{{{}}}", "<mfrac>{}{}</mfrac>"),
    "sup": ("{{{}}}^{{{}}}", "<msup>{}{}</msup>"),
    "sub": ("{{{}}}_{{{}}}", "<msub>{}{}</msub>"),
    "sqrt": (r"\sqrt{{{}}}", "<msqrt>{}</msqrt>"),
    "space": (r"\,", '<mspace width="0.2em"/>'),
    "minus": ("-", "<mo>−</mo>"),
}


def latex(piece: Piece) -> str:
    """A piece as LaTeX."""
    kind, *parts = piece
    if kind in FORMS:
        return FORMS[kind][0].format(*map(latex, parts))
    match piece:
        case ("over", sign, axis, a):
            return f"{TEX[sign]}" + (f"_{{{axis}}}" if axis else "") + f" {latex(a)}"
        case ("fence", marks, a):
            return rf"\left{marks[0]}{latex(a)}\right{marks[1]}"
        case ("row", *parts):
            return " ".join(map(latex, parts))
        case ("words", said):
            return rf"\ \mathrm{{{said.replace(' ', chr(92) + ' ')}}}\ "
        case ("op" | "num", sign) if sign not in TEX:
            return "".join(TEX.get(c, c) for c in sign)
    name = piece[1]
    if name in TEX:
        return TEX[name]
    return name if len(name) == 1 and kind != "fn" else rf"\mathrm{{{tex_text(name)}}}"


def tex_text(name: str) -> str:
    """A name whose signs mean nothing to LaTeX."""
    return re.sub(r"([_%&#$])", r"\\\1", name)


def mathml(piece: Piece) -> str:
    """A piece as MathML."""
    kind, *parts = piece
    if kind in FORMS:
        return FORMS[kind][1].format(*map(row if len(parts) > 1 else mathml, parts))
    match piece:
        case ("over", sign, axis, a):
            big = f"<mo>{sign}</mo>"
            under = f"<munder>{big}<mi>{escape(axis)}</mi></munder>" if axis else big
            return f"<mrow>{under}{mathml(a)}</mrow>"
        case ("fence", marks, a):
            return f"<mrow><mo>{marks[0]}</mo>{mathml(a)}<mo>{marks[1]}</mo></mrow>"
        case ("row", *parts):
            return "".join(map(mathml, parts))
        case ("words", said):
            return f"<mtext>&nbsp;{escape(said)}&nbsp;</mtext>"
        case ("op", sign):
            return f"<mo>{escape(sign)}</mo>"
        case ("num", digits):
            return f"<mn>{digits}</mn>"
    return f"<mi>{escape(piece[1])}</mi>"


def row(piece: Piece) -> str:
    """A piece as one element."""
    inside = mathml(piece)
    return f"<mrow>{inside}</mrow>" if piece[0] == "row" else inside
