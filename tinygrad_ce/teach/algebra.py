"""Exact arithmetic of formulas: polynomials in symbols and in exp, log, roots, ... of formulas.

A `Ratio` is a polynomial over a product of polynomials, with rational coefficients; its symbols are
variables and atoms such as exp(x), log(1 + exp(x)), √(x² + ε). Only identities that hold for all
real numbers (where both sides are defined) are applied, so a difference that comes out as the empty
polynomial is zero: that is the proof. One that does not may still be zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm, prod
from typing import Any, ClassVar

WORK = [0, 0]
"""How many terms were multiplied and added in this proof, and how many may be; 0: any number."""

Number = int | Fraction
Monomial = tuple[tuple["Symbol", Number], ...]
TERMS = 24  # a polynomial with more terms is not factored
DENSE = 2**12  # nor one that could have more monomials, of its degrees: that takes minutes


class UndefinedError(ArithmeticError):
    """A formula has no value there: a division by zero, the logarithm of a negative number."""


class SignNeededError(ArithmeticError):
    """What comes out depends on the sign of a polynomial: the regions have to be told apart."""

    def __init__(self, polynomial: Polynomial) -> None:
        super().__init__(str(polynomial))
        self.polynomial = polynomial


class TooLargeError(ArithmeticError):
    """A formula has more terms than are multiplied out here."""


def work(terms: int) -> None:
    """Count, and stop where a proof takes too long."""
    WORK[0] += terms
    if WORK[1] and WORK[0] > WORK[1]:
        raise TooLargeError(f"it takes more than {WORK[1]} products of terms")


def exact(number: Number) -> Number:
    """A whole number as an int, which is faster."""
    return number.numerator if number.denominator == 1 else number


class Symbol:
    """A variable, or an atom: exp, log, erf, ... of formulas, or a root.

    Where `order` is given, symbol ** order is `power`: √f ** 2 = f, sin² = 1 − cos².
    """

    __slots__ = ("arguments", "kind", "number", "order", "positive", "power")
    known: ClassVar[dict[Any, Symbol]] = {}  # one object for one symbol, in all proofs
    kind: str
    arguments: tuple[Any, ...]
    positive: bool
    number: int
    order: int
    power: Polynomial | None

    def __new__(cls, kind: str, *arguments: Any, positive: bool = False) -> Symbol:
        """The one symbol of this kind and these arguments."""
        key = (kind, *arguments)
        if key not in cls.known:
            new = cls.known[key] = super().__new__(cls)
            new.kind, new.arguments, new.positive = kind, arguments, positive
            new.number, new.order, new.power = len(cls.known), 0, None
        return cls.known[key]

    def __lt__(self, other: Symbol) -> bool:
        return self.number < other.number

    def __repr__(self) -> str:
        first = self.arguments[0]
        if self.kind == "variable":
            return str(first)
        if self.kind == "root":
            name = {2: "√", 3: "∛", 4: "∜"}.get(self.order, f"root{self.order} ")
            return f"{name}{first}" if isinstance(first, int) else f"{name}({first})"
        inside = ", ".join(map(str, self.arguments))
        return self.kind if self.kind == "π" else f"{self.kind}({inside})"


class Polynomial:
    """Coefficients by monomials. Exponents may be negative, or fractions where the base is > 0."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: dict[Monomial, Number]) -> None:
        self.terms = terms
        self._hash: int | None = None

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self.terms.items()))
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Polynomial) and self.terms == other.terms

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __repr__(self) -> str:
        terms = sorted(self.terms.items(), key=lambda t: (t[1] < 0, order_of(t[0])[::-1]))
        text = " + ".join(map(written, terms))
        return text.replace("+ -", "- ") or "0"

    def __add__(self, other: Polynomial) -> Polynomial:
        work(len(self.terms) + len(other.terms))
        terms = dict(self.terms)
        for m, c in other.terms.items():
            if total := exact(terms.get(m, 0) + c):
                terms[m] = total
            else:
                terms.pop(m, None)
        return Polynomial(terms)

    def times(self, factor: Number, monomial: Monomial = ()) -> Polynomial:
        """The product with one term; exponents of roots are left as they are."""
        return Polynomial({product(m, monomial): exact(c * factor) for m, c in self.terms.items()})

    def __mul__(self, other: Polynomial) -> Polynomial:
        products = len(self.terms) * len(other.terms)
        work(products)
        terms: dict[Monomial, Number] = {}
        for m, c in self.terms.items():
            for n, d in other.terms.items():
                key = product(m, n)
                terms[key] = terms.get(key, 0) + c * d
        return reduced(Polynomial({m: exact(c) for m, c in terms.items() if c}))

    def __pow__(self, n: int) -> Polynomial:
        return prod([self] * n, start=ONE)

    @property
    def constant(self) -> Number | None:
        """The number that this is, or None."""
        if not self.terms:
            return 0
        return self.terms.get(()) if len(self.terms) == 1 else None

    def symbols(self) -> set[Symbol]:
        """The symbols that stand in it, outermost."""
        return {s for m in self.terms for s, _ in m}

    def variables(self) -> set[Symbol]:
        """The variables, in atoms too."""
        return set().union(*(variables_in(s) for s in self.symbols()))

    def lead(self) -> Monomial:
        """The leading monomial."""
        return max(self.terms, key=order_of)

    def split(self) -> tuple[Number, Monomial, Polynomial]:
        """Number, monomial and rest; the rest is primitive and its lowest exponents are 0."""
        lowest: dict[Symbol, Number] = {}
        for s in self.symbols():
            if low := min(dict(m).get(s, 0) for m in self.terms):
                lowest[s] = low
        common: Monomial = tuple(sorted(lowest.items()))
        rest = self.times(1, inverse(common)) if common else self
        coefficients = rest.terms.values()
        above = gcd(*(c.numerator for c in coefficients))
        scale = Fraction(above, lcm(*(c.denominator for c in coefficients)))
        if rest.terms[rest.lead()] < 0:
            scale = -scale
        return exact(scale), common, rest.times(1 / scale)


def order_of(m: Monomial) -> tuple[Any, ...]:
    """By which monomials are ordered: lexicographic in the symbols' numbers."""
    return tuple((-s.number, e) for s, e in m)


def product(a: Monomial, b: Monomial) -> Monomial:
    """The product of two monomials."""
    if not a or not b:
        return a or b
    exponents = dict(a)
    for s, e in b:
        if total := exponents.get(s, 0) + e:
            exponents[s] = exact(total)
        else:
            del exponents[s]
    return tuple(sorted(exponents.items()))


def inverse(m: Monomial) -> Monomial:
    """1 / m."""
    return tuple((s, -e) for s, e in m)


def written(term: tuple[Monomial, Number]) -> str:
    """A term as text."""
    m, c = term
    factors = [f"{s}" if e == 1 else f"{s}^{e}" for s, e in m]
    if c == -1 and factors:
        return "-" + "·".join(factors)
    return "·".join([str(c)] * (c != 1 or not factors) + factors)


def reduced(p: Polynomial) -> Polynomial:
    """The polynomial with √f ** 2 written as f, and sin² as 1 − cos²."""
    high = [m for m in p.terms if any(s.order and not 0 <= e < s.order for s, e in m)]
    if not high:
        return p
    rest = Polynomial({m: c for m, c in p.terms.items() if m not in set(high)})
    for m in high:
        part = Polynomial({tuple((s, e) for s, e in m if not s.order): p.terms[m]})
        for s, e in m:
            if s.order:
                assert s.power is not None and e >= 0
                left: Monomial = ((s, e % s.order),) if e % s.order else ()
                part = (part * s.power ** int(e // s.order)).times(1, left)
        rest = rest + reduced(part)
    return rest


def of(symbol: Symbol, exponent: Number = 1) -> Polynomial:
    """The polynomial that is a power of a symbol."""
    return Polynomial({((symbol, exponent),): 1})


def constant(number: Number) -> Polynomial:
    """The polynomial that is a number."""
    return Polynomial({(): exact(number)} if number else {})


ONE = constant(1)
Denominator = tuple[tuple[Polynomial, int], ...]


class Ratio:
    """numerator / Π f ** k, with primitive f."""

    __slots__ = ("below", "top")

    def __init__(self, top: Polynomial, below: Denominator = ()) -> None:
        self.top = top
        self.below = below if top else ()

    def __hash__(self) -> int:
        return hash((self.top, frozenset(self.below)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ratio) and not (self - other).top

    def __bool__(self) -> bool:
        return bool(self.top)

    def __repr__(self) -> str:
        below = "·".join(f"({f})" if k == 1 else f"({f})^{k}" for f, k in self.below)
        return f"({self.top})/({below})" if below else repr(self.top)

    @property
    def constant(self) -> Number | None:
        """The number that this is, or None."""
        return None if self.below else self.top.constant

    def variables(self) -> set[Symbol]:
        """The variables that stand in it."""
        return self.top.variables().union(*(f.variables() for f, _ in self.below))

    def __neg__(self) -> Ratio:
        return Ratio(self.top.times(-1), self.below)

    def __add__(self, other: Ratio) -> Ratio:
        if self.below == other.below:
            return cancelled(Ratio(self.top + other.top, self.below))
        mine, theirs = dict(self.below), dict(other.below)
        common = {f: max(mine.get(f, 0), theirs.get(f, 0)) for f in [*mine, *theirs]}
        a, b = self.top, other.top
        for f, k in common.items():
            a = a * f ** (k - mine.get(f, 0))
            b = b * f ** (k - theirs.get(f, 0))
        return cancelled(Ratio(a + b, tuple(common.items())))

    def __sub__(self, other: Ratio) -> Ratio:
        return self + -other

    def __mul__(self, other: Ratio) -> Ratio:
        below = dict(self.below)
        for f, k in other.below:
            below[f] = below.get(f, 0) + k
        result = Ratio(self.top * other.top, tuple(below.items()))
        return cancelled(result) if (self.below and other.below) or below else result

    def __pow__(self, n: int) -> Ratio:
        return prod([self] * n, start=Ratio(ONE))

    def inverted(self) -> Ratio:
        """1 / self."""
        if not self.top:
            raise UndefinedError("a division by zero")
        top, below = divided(ONE, {}, self.top)
        result = Ratio(top, tuple(below.items()))
        for f, k in self.below:
            result = Ratio(result.top * f**k, result.below)
        return cancelled(result)


def divided(
    top: Polynomial, below: dict[Polynomial, int], f: Polynomial
) -> tuple[Polynomial, dict[Polynomial, int]]:
    """top / below / f, with the numbers and monomials of f in `top`."""
    scale, monomial, rest = f.split()
    top = top.times(1 / Fraction(scale))
    for s, e in monomial:
        if s.power is not None:  # 1/√f = √f^(n−1) / f
            top, below = divided(top * of(s, s.order - e), below, s.power)
        else:
            top = top.times(1, ((s, -e),))
    for g, k in factors(rest):
        below[g] = below.get(g, 0) + k
    return top, below


def cancelled(x: Ratio) -> Ratio:
    """The ratio without the factors that numerator and denominator share."""
    if not x.below or not x.top:
        return x
    top, below = x.top, {}
    for f, k in x.below:
        left = k
        while left and (quotient := quotient_of(top, f)) is not None:
            top, left = quotient, left - 1
        if left:
            below[f] = left
    return Ratio(top, tuple(sorted(below.items(), key=lambda item: hash(item[0]))))


@lru_cache(20_000)
def quotient_of(p: Polynomial, f: Polynomial) -> Polynomial | None:
    """p / f if that is a polynomial."""
    if len(p.terms) == 1:
        return None
    scale, monomial, rest = p.split()
    lead = f.lead()
    inverse_lead, by = inverse(lead), f.terms[lead]
    found: dict[Monomial, Number] = {}
    while rest.terms:
        work(len(rest.terms) + len(f.terms))
        m = rest.lead()
        q = product(m, inverse_lead)
        if any(e < 0 for _, e in q) or len(found) > 200:
            return None
        c = exact(Fraction(rest.terms[m]) / by)
        found[q] = c
        rest = rest + f.times(-c, q)
    return Polynomial(found).times(scale, monomial)


@lru_cache(20_000)
def factors(p: Polynomial) -> tuple[tuple[Polynomial, int], ...]:
    """The factors of a primitive polynomial; those that are not found stay together."""
    if p == ONE:
        return ()
    if len(p.terms) > TERMS or is_prime(p):
        return ((p, 1),)
    import sympy

    symbols = sorted(p.symbols())
    steps = [lcm(*(Fraction(dict(m).get(s, 0)).denominator for m in p.terms)) for s in symbols]
    plain = sympy.symbols(f"a:{len(symbols)}")
    at = {s: i for i, s in enumerate(symbols)}

    def exponents(m: Monomial) -> tuple[int, ...]:
        found = [0] * len(symbols)
        for s, e in m:
            found[at[s]] = int(e * steps[at[s]])
        return tuple(found)

    sizes = [max(column) + 1 for column in zip(*map(exponents, p.terms))]
    if prod(sizes) > DENSE:
        return ((p, 1),)
    terms = {exponents(m): sympy.Rational(c.numerator, c.denominator) for m, c in p.terms.items()}
    _, parts = sympy.Poly.from_dict(terms, *plain).factor_list()
    result = []
    for part, k in parts:
        back: dict[Monomial, Number] = {}
        for m, c in part.terms():
            key = tuple((s, exact(Fraction(e, n))) for s, e, n in zip(symbols, m, steps) if e)
            back[key] = exact(Fraction(int(c.p), int(c.q)))
        result.append((Polynomial(back).split()[2], k))
    whole = prod((f**k for f, k in result), start=ONE)
    return tuple(result) if whole in (p, p.times(-1)) else ((p, 1),)


def is_prime(p: Polynomial) -> bool:
    """Whether a polynomial is seen to have no factors: a number times a symbol, plus others."""
    for m in p.terms:
        if len(m) == 1 and m[0][1] == 1 and not m[0][0].order:
            s = m[0][0]
            if sum(any(t is s for t, _ in n) for n in p.terms) == 1:
                return True
    return False


@lru_cache(None)
def variables_in(symbol: Symbol) -> frozenset[Symbol]:
    """The variables that a symbol is made of."""
    if symbol.kind == "variable":
        return frozenset([symbol])
    inner = [x.variables() for x in symbol.arguments if hasattr(x, "variables")]
    return frozenset().union(*inner)


# --- signs --------------------------------------------------------------------------------------


@lru_cache(20_000)
def sign_of(p: Polynomial) -> str:
    """The sign of a polynomial for all real numbers: "+", "-", "0", ">=", "<=" or "", unknown."""
    if not p.terms:
        return "0"
    for sign, name, weak in ((1, "+", ">="), (-1, "-", "<=")):
        strict = False
        for m, c in p.terms.items():
            if c * sign < 0 or any(not s.positive and e % 2 for s, e in m):
                break
            strict = strict or all(s.positive or e < 0 for s, e in m)
        else:
            return name if strict else weak
        if squares(p.times(sign)):
            at_0 = Fraction(p.terms.get((), 0)) * sign
            return name if at_0 > 0 and squares(p.times(sign) + constant(-at_0 / 1024)) else weak
    return ""


def squares(p: Polynomial) -> bool:
    """Whether a quadratic polynomial is a sum of squares: its matrix is positive semidefinite."""
    if not any(sum(e for _, e in m) == 2 for m in p.terms):
        return False
    symbols = [*sorted(p.symbols()), None]
    at = {s: i for i, s in enumerate(symbols)}
    matrix = [[Fraction(0)] * len(symbols) for _ in symbols]
    for m, c in p.terms.items():
        if any(e not in (1, 2) for _, e in m) or sum(e for _, e in m) > 2:
            return False
        flat = [s for s, e in m for _ in range(int(e))]
        i, j = (at[s] for s in [*flat, None, None][:2])
        matrix[i][j] += Fraction(c) / 2
        matrix[j][i] += Fraction(c) / 2
    for k in range(len(symbols)):  # Gauss
        pivot = matrix[k][k]
        if pivot < 0 or (pivot == 0 and any(matrix[k][k + 1 :])):
            return False
        for i in range(k + 1, len(symbols) if pivot else 0):
            factor = matrix[i][k] / pivot
            matrix[i] = [a - factor * b for a, b in zip(matrix[i], matrix[k])]
    return True


REGION: dict[Polynomial, str] = {}
"""The signs of polynomials in the region that is looked at."""


TAKEN: dict[Polynomial, str] = {}
"""The signs that are taken for granted everywhere: what stands under a logarithm is > 0."""


def told(p: Polynomial) -> str:
    """The sign of a factor."""
    known = REGION.get(p, "") or sign_of(p)
    return TAKEN.get(p, known) if known in ("", ">=") else known


def known_sign(p: Polynomial) -> str:
    """What is known of a sign in this region."""
    if (sign := sign_of(p)) not in ("", ">=", "<="):
        return sign
    scale, monomial, rest = p.split()
    signs = [told(of(s)) for s, e in monomial if not s.positive and e % 2]
    signs += [told(rest)] * (rest != ONE)
    if any(not s.positive and e % 2 == 0 for s, e in monomial) or not all(signs):
        return sign
    flips = (scale < 0) + sum(sign[0] in "-<" for sign in signs)
    size = "0" if "0" in signs else "=" if any("=" in sign for sign in signs) else ""
    return size if size == "0" else (("-", "<=") if flips % 2 else ("+", ">="))[bool(size)]


# --- functions ----------------------------------------------------------------------------------

E_1 = Symbol("exp", 1, positive=True)
PI = Symbol("π", "π", positive=True)


CONSTANTS = dict(Symbol.known)


def forget() -> None:
    """Drop the symbols of former proofs, and what is remembered of them."""
    Symbol.known = dict(CONSTANTS)
    for function in (quotient_of, factors, variables_in, sign_of):
        function.cache_clear()


def exp(x: Ratio) -> Ratio:
    """exp(Σ c·m) = Π exp(m) ** c, and exp(c·log|f|) = |f| ** c where f > 0 is known."""
    result: Ratio = Ratio(ONE)
    powers: dict[Monomial, Number] = {}
    for m, c in x.top.terms.items():
        if not x.below and not m:
            powers[()] = c
        elif not x.below and len(m) == 1 and m[0][0].kind == "log" and m[0][1] == 1:
            result = result * power_of_log(m[0][0], c)
        else:
            powers[m] = c
    monomial: list[tuple[Symbol, Number]] = []
    for m, c in powers.items():
        inner = Ratio(Polynomial({m: 1}), x.below)
        symbol = E_1 if not m and not x.below else Symbol("exp", inner, positive=True)
        monomial.append((symbol, c))
    return result * Ratio(Polynomial({tuple(sorted(monomial)): 1}))


def power_of_log(symbol: Symbol, c: Number) -> Ratio:
    """exp(c·log|f|)."""
    f = symbol.arguments[0]
    if isinstance(f, int):
        return number_power(f, Fraction(c))
    whole, part = divmod(Fraction(c), 1)
    sign = known_sign(f)
    base = Ratio(f.times(1 if sign == "+" else -1)) if sign in ("+", "-") else None
    if base is None or part:
        return Ratio(of(Symbol("exp", Ratio(of(symbol)), positive=True), c))
    return base ** int(whole) if whole >= 0 else base.inverted() ** int(-whole)


def prime_factors(n: int) -> dict[int, int]:
    """The prime factors of n; beyond 10⁴ they stay together."""
    found: dict[int, int] = {}
    p = 2
    while p * p <= n and p < 10_000:
        while n % p == 0:
            found[p] = found.get(p, 0) + 1
            n //= p
        p += 1
    if n > 1:
        found[n] = found.get(n, 0) + 1
    return found


def number_power(number: Number, exponent: Fraction) -> Ratio:
    """A positive number to the power of a fraction, by roots of primes."""
    number = Fraction(number)
    result = Ratio(ONE)
    for n, way in ((number.numerator, 1), (number.denominator, -1)):
        for p, k in prime_factors(n).items():
            whole, part = divmod(exponent * k * way, 1)
            result = result * Ratio(constant(Fraction(p) ** int(whole)))
            if part:
                root = root_symbol(p, part.denominator)
                result = result * Ratio(of(root, part.numerator))
    return result


def root_symbol(f: int | Polynomial, n: int) -> Symbol:
    """The n-th root of a positive number, or of a polynomial that is ≥ 0."""
    positive = isinstance(f, int) or sign_of(f) == "+"
    symbol = Symbol("root", f, n, positive=positive)
    symbol.order, symbol.power = n, constant(f) if isinstance(f, int) else f
    return symbol


def log_parts(x: Ratio) -> Iterator[tuple[Any, Any]]:
    """The factors of x, numbers, symbols and polynomials, and their exponents."""
    scale, monomial, rest = x.top.split()
    yield scale, 1
    yield from monomial
    yield from factors(rest)
    for f, k in x.below:
        yield f, -k


def log(x: Ratio) -> Ratio:
    """log(Π f ** k) = Σ k·log|f|, for x > 0."""
    if not x:
        raise UndefinedError("the logarithm of 0")
    total = Ratio(Polynomial({}))
    for f, k in log_parts(x):
        if isinstance(f, int | Fraction):
            for n, way in ((abs(f.numerator), 1), (f.denominator, -1)):
                for p, e in prime_factors(n).items():
                    total = total + Ratio(of(Symbol("log", p, positive=True)).times(e * way))
        elif isinstance(f, Symbol) and f.kind == "exp":
            inner = Ratio(ONE) if f is E_1 else f.arguments[0]
            total = total + inner * Ratio(constant(k))
        elif isinstance(f, Symbol) and f.kind == "root":
            base = f.arguments[0]
            inner = log(Ratio(base if isinstance(base, Polynomial) else constant(base)))
            total = total + inner * Ratio(constant(Fraction(k) / f.order))
        else:
            inner_p = f if isinstance(f, Polynomial) else of(f)
            total = total + Ratio(of(Symbol("log", inner_p)).times(k))
    return total


ODD = ("erf", "sin", "arctan", "arcsin", "arcsinh")


def function(name: str, *xs: Any) -> Ratio:
    """An atom: of it nothing is known here but that equal arguments give equal values."""
    return Ratio(of(Symbol(name, *xs)))


def odd(name: str, x: Ratio) -> Ratio:
    """An atom of an odd function."""
    if not x:
        return x
    return -function(name, -x) if x.top.split()[0] < 0 else function(name, x)


def circular(name: str, x: Ratio) -> Ratio:
    """sin or cos; sin² is written as 1 − cos², sums of two and small multiples by their parts."""
    if not x:
        return Ratio(constant(0 if name == "sin" else 1))
    if parts := summands(x):
        (sin_u, cos_u), (sin_v, cos_v) = ([circular(f, u) for f in ("sin", "cos")] for u in parts)
        return sin_u * cos_v + cos_u * sin_v if name == "sin" else cos_u * cos_v - sin_u * sin_v
    result = odd(name, x) if name == "sin" else even(name, x)
    for symbol in result.top.symbols():
        if symbol.kind == "sin":
            (inside,) = symbol.arguments
            cosine = of(Symbol("cos", -inside if inside.top.split()[0] < 0 else inside), 2)
            symbol.order, symbol.power = 2, ONE + cosine.times(-1)
    return result


def summands(x: Ratio) -> list[Ratio]:
    """u + v in two parts, n·u as (n − 1)·u + u for n up to 4; else none."""
    terms = list(x.top.terms.items())
    if len(terms) == 2 and not x.below:
        return [Ratio(Polynomial(dict([term]))) for term in terms]
    c = abs(Fraction(terms[0][1]))
    if len(terms) > 1 or c not in (2, 3, 4):
        return []
    one = x * Ratio(constant(1 / c))
    return [x - one, one]


def even(name: str, x: Ratio) -> Ratio:
    """An atom of an even function."""
    return function(name, -x if x and x.top.split()[0] < 0 else x)


def applied(name: str, *xs: Any) -> Ratio:
    """A function by its name."""
    if name in ("exp", "log"):
        return (exp if name == "exp" else log)(*xs)
    if name in ("sin", "cos"):
        return circular(name, *xs)
    return (odd if name in ODD else function)(name, *xs)


def substituted(x: Ratio, values: dict[Symbol, Ratio]) -> Ratio:
    """The formula with variables replaced. Raises UndefinedError where it has no value then."""
    if not (x.variables() & values.keys()):
        return x
    result = Ratio(Polynomial({}))
    for m, c in x.top.terms.items():
        term = Ratio(constant(c))
        for s, e in m:
            term = term * power(replaced(s, values), e)
        result = result + term
    for f, k in x.below:
        result = result * power(substituted(Ratio(f), values), -k)
    return result


def power(x: Ratio, e: Number) -> Ratio:
    """x ** e; x is positive where e is a fraction."""
    if (n := e.denominator) != 1:
        x = root(x, n)
    return x**e.numerator if e >= 0 else x.inverted() ** -e.numerator


def replaced(symbol: Symbol, values: dict[Symbol, Ratio]) -> Ratio:
    """A symbol with variables replaced in its arguments."""
    if symbol in values:
        return values[symbol]
    if not (variables_in(symbol) & values.keys()):
        return Ratio(of(symbol))

    def put_in(a: Any) -> Any:
        if isinstance(a, Ratio | Polynomial):
            return substituted(Ratio(a) if isinstance(a, Polynomial) else a, values)
        return a.substituted(values) if hasattr(a, "substituted") else a

    new = map(put_in, symbol.arguments)
    if symbol.kind == "root":
        return root(next(new), symbol.order)
    return applied(symbol.kind, *new)


def root(x: Ratio, n: int) -> Ratio:
    """The n-th root of what is ≥ 0: √(Π f ** k), what is odd in it as one symbol.

    Raises SignNeededError for a factor that comes out as |f|.
    """
    if not x:
        return x
    result, under, out = Ratio(ONE), ONE, []
    for f, k in log_parts(x):
        if isinstance(f, int | Fraction):
            under = under.times(1 if f > 0 else -1)
            result = result * number_power(f if f > 0 else -f, Fraction(1, n))
        elif isinstance(f, Symbol) and f.positive and not f.order:
            result = result * Ratio(of(f, exact(Fraction(k) / n)))
        else:
            base = f if isinstance(f, Polynomial) else of(f)
            whole, part = divmod(int(k), n)
            under = under * base**part
            out.append((base, whole, part))
    alone = sum(part > 0 for _, _, part in out) == 1 and n == 2
    for base, whole, part in out:
        if part and alone:  # what is under the root is |f|
            result = result * power(Ratio(under), whole)
        elif whole:
            sign = known_sign(base) if whole % 2 or part else "+"
            if sign not in ("+", "-"):
                raise SignNeededError(base)
            result = result * power(Ratio(base.times(1 if sign == "+" else -1)), whole)
    if under.constant is not None:
        if under.constant < 0:
            raise UndefinedError("the root of a negative number")
        return result
    return result * Ratio(of(root_symbol(under, n)))
