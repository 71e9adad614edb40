"""Formulas with case distinctions: sums of exact formulas, each in the region where it holds.

A `Value` is Σ [conditions]·formula, where a condition is [f > 0] or [f = 0] of a polynomial f.
Where f = 0 is demanded, it is solved for a variable, which is replaced. So two ways to write the
same function, each stable in its own half, become the same Value as soon as they agree in every
region. What it needs to have a value, x > 0 for log x, goes with it into all that is made of it,
but for a branch of `where` that is not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import lru_cache, wraps
from typing import Any, TypeVar

from tinygrad_ce.teach import algebra
from tinygrad_ce.teach.algebra import (
    ONE,
    REGION,
    Monomial,
    Number,
    Polynomial,
    Ratio,
    SignNeededError,
    Symbol,
    UndefinedError,
    constant,
    known_sign,
    of,
)

Region = frozenset[tuple[Polynomial, str]]  # (f, "0"): f = 0; (f, "+"): f > 0; (f, "-"): f < 0
EVERYWHERE: Region = frozenset()
Needs = tuple[tuple[Polynomial, str, Region], ...]  # f > 0, f ≥ 0, f ≠ 0, or 1 = 0; and where
NOTHING: Needs = ()


class Value:
    """Σ [region]·formula. Python's operators compute with it, and so do NumPy's object arrays."""

    __slots__ = ("needs", "parts")
    __array_ufunc__ = None

    def __init__(self, parts: dict[Region, Ratio], needs: Needs = NOTHING) -> None:
        self.parts = parts
        self.needs = needs

    def needing(self, needs: Needs) -> Value:
        """The same, which needs more."""
        return Value(self.parts, both(self.needs, needs)) if needs else self

    def __hash__(self) -> int:
        return hash(frozenset(self.parts))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and self.parts == other.parts

    def variables(self) -> set[Symbol]:
        """The variables of formulas and conditions."""
        formulas = [x.variables() for x in self.parts.values()]
        return set().union(*formulas, *(f.variables() for f in self.polynomials()))

    def substituted(self, values: dict[Symbol, Ratio]) -> Value:
        """The value with variables replaced."""
        result = Value({})
        for region, formula in self.parts.items():
            part = as_value(algebra.substituted(formula, values)).needing(self.needs)
            for f, s in sorted_region(region):
                new = as_value(algebra.substituted(Ratio(f), values))
                part = part * (positive(new) if s == "+" else zero(new))
            result = result + part
        return result

    @property
    def formula(self) -> Ratio | None:
        """The one formula that holds everywhere, or None."""
        if not self.parts:
            return Ratio(constant(0))
        return self.parts.get(EVERYWHERE) if len(self.parts) == 1 else None

    @property
    def number(self) -> Number | None:
        """The number that this is, or None."""
        return None if self.formula is None else self.formula.constant

    def polynomials(self) -> list[Polynomial]:
        """What the regions are told apart by, in a fixed order."""
        return list(dict.fromkeys(f for region in self.parts for f, _ in sorted_region(region)))

    def __add__(self, other: Any) -> Value:
        other = as_value(other)
        parts = dict(self.parts)
        for region, formula in other.parts.items():
            put(parts, region, formula)
        return Value(parts, both(self.needs, other.needs))

    __radd__ = __add__

    def __neg__(self) -> Value:
        return Value({region: -x for region, x in self.parts.items()}, self.needs)

    def __sub__(self, other: Any) -> Value:
        return self + -as_value(other)

    def __rsub__(self, other: Any) -> Value:
        return as_value(other) + -self

    def __mul__(self, other: Any) -> Value:
        other = as_value(other)
        parts: dict[Region, Ratio] = {}
        for a, x in self.parts.items():
            for b, y in other.parts.items():
                if (region := joined(a, b)) is not None:
                    put(parts, region, x * y)
        return Value(parts, both(self.needs, other.needs))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Value:
        return self * inverted(as_value(other))

    def __rtruediv__(self, other: Any) -> Value:
        return as_value(other) * inverted(self)

    def __repr__(self) -> str:
        parts = (f"[{shown(r)}]·({x})" if r else f"{x}" for r, x in self.parts.items())
        return " + ".join(parts) or "0"


def both(a: Needs, b: Needs) -> Needs:
    """What two values need, in an order that is always the same."""
    return tuple(dict.fromkeys(a + b)) if a and b and a != b else a or b


def sorted_region(region: Region) -> list[tuple[Polynomial, str]]:
    """The conditions in an order that is always the same."""
    return sorted(
        region, key=lambda c: (min((s.number for s in c[0].symbols()), default=0), str(c[0]), c[1])
    )


def shown(region: Iterable[tuple[Polynomial, str]]) -> str:
    """A region in words: `x[0, 1] > 0 and y[2] = 0`."""
    signs = {"+": "> 0", "-": "< 0", "0": "= 0", ">=": "≥ 0", "<=": "≤ 0", "≠": "≠ 0"}
    return " and ".join(f"{f} {signs[sign]}" for f, sign in region)


def as_value(x: Any) -> Value:
    """A number as a Value."""
    if isinstance(x, Value):
        return x
    if isinstance(x, Ratio):
        return Value({EVERYWHERE: x} if x else {})
    return as_value(Ratio(constant(Fraction(x))))


# --- regions ------------------------------------------------------------------------------------

MEMORY: dict[Any, Any] = {}
"""What was found out of regions in this proof."""

Finding = TypeVar("Finding")


def remembered(function: Callable[[Region], Finding]) -> Callable[[Region], Finding]:
    """The function, which looks at a region once for each region around it and what is taken."""

    @wraps(function)
    def found(region: Region) -> Finding:
        key = (function, region, here(), frozenset(algebra.TAKEN.items()))
        if key not in MEMORY:
            MEMORY[key] = function(region)
        return MEMORY[key]

    return found


def joined(a: Region, b: Region) -> Region | None:
    """Where both hold, or None if that is nowhere."""
    if not a or not b:
        return a or b
    joint = a | b
    if len({f for f, _ in joint}) < len(joint):
        return None
    return joint if joint in (a, b) or possible(joint | here()) else None


def here() -> Region:
    """The region that is looked at."""
    return frozenset(REGION.items())


def put(parts: dict[Region, Ratio], region: Region, formula: Ratio) -> None:
    """Add [region]·formula. Conditions that hold here go; where one does not, nothing is added."""
    algebra.work(20)
    holds = all(REGION.get(f, sign) == sign for f, sign in region)
    formula = formula if holds else Ratio(constant(0))
    region = frozenset(c for c in region if c[0] not in REGION) if REGION else region
    if any(sign == "0" for _, sign in region):
        try:
            with suppress(SignNeededError):  # different_regions will ask for it
                formula = at_zeros(formula, region)
        except UndefinedError:  # the assumptions leave this region out
            return
    if region and (other := rewritten(region)) is not None:
        for part, factor in other:
            put(parts, part, formula * Ratio(constant(factor)))
        return
    total = parts[region] + formula if region in parts else formula
    if total:
        parts[region] = total
    else:
        parts.pop(region, None)


@remembered
def rewritten(region: Region) -> list[tuple[Region, int]] | None:
    """A region with f = 0 put into its other conditions: a sum of regions; None if that changes
    nothing.
    """
    for f, sign in sorted_region(region):
        if sign == "0":
            continue
        others = region - {(f, sign)}
        try:
            put_in = at_zeros(Ratio(f), region)
        except (UndefinedError, SignNeededError):
            continue
        now = put_in.top
        if now == f or put_in.below:
            continue
        known = algebra.sign_of(now)
        if known in ("0", "-", "<="):
            return []
        if known == "+":
            return [(others, 1)]
        scale, monomial, rest = now.split()
        if monomial:
            continue
        if scale > 0:
            return [(others | {(rest, "+")}, 1)]
        return [(others, 1), (others | {(rest, "0")}, -1), (others | {(rest, "+")}, -1)]
    for f, sign in sorted_region(region) if len(region) > 1 else ():
        others = region - {(f, sign)}
        if sign == "+" and not any(point(others | {(f, s)}) is not None for s in "-0"):
            return [(others, 1)]  # it follows from the others
    return None


def at_zeros(formula: Ratio, region: Region) -> Ratio:
    """The formula where some polynomials are 0."""
    for values in substitutions(region):
        formula = algebra.substituted(formula, values)
    return formula


@remembered
def substitutions(region: Region) -> tuple[dict[Symbol, Ratio], ...]:
    """What variables are where some polynomials are 0, one after the other."""
    found: list[dict[Symbol, Ratio]] = []
    for f in (f for f, sign in sorted_region(region) if sign == "0"):
        left = Ratio(f)
        with suppress(UndefinedError, SignNeededError):  # others are solved all the same
            for values in found:
                left = algebra.substituted(left, values)
            if values := solved(left.top):
                found.append(values)
    return tuple(found)


def solved(f: Polynomial) -> dict[Symbol, Ratio]:
    """The variables that f = 0 determines, as formulas of the others."""
    for s in sorted(f.symbols(), reverse=True):
        if s.kind != "variable":
            continue
        terms = [m for m in f.terms if any(s in algebra.variables_in(t) for t, _ in m)]
        if terms == [((s, 1),)]:
            rest = Polynomial({m: c for m, c in f.terms.items() if m != ((s, 1),)})
            return {s: Ratio(rest.times(Fraction(-1) / f.terms[((s, 1),)]))}
    single = all(len(m) == 1 and m[0][0].kind == "variable" and m[0][1] % 2 == 0 for m in f.terms)
    if single and algebra.sign_of(f) in (">=", "<="):  # a sum of squares is 0 if all of them are
        return {m[0][0]: Ratio(constant(0)) for m in f.terms}
    return {}


@contextmanager
def inside(f: Polynomial, sign: str) -> Iterator[None]:
    """Look at the region where f has this sign."""
    assert f not in REGION
    REGION[f] = sign
    try:
        yield
    finally:
        del REGION[f]


def restricted(x: Value, f: Polynomial, sign: str) -> Value:
    """The value in the region where f has this sign, and that of the context."""
    parts: dict[Region, Ratio] = {}
    for region, formula in x.parts.items():
        own = next((s for g, s in region if g == f), None)
        if own in (None, sign):
            left = frozenset(c for c in region if c[0] != f)
            with suppress(SignNeededError):  # what is not put in is right all the same
                formula = at_zeros(formula, here()) if sign == "0" else formula
            put(parts, left, formula)
    return Value(parts)


def signs_of(f: Polynomial) -> str:
    """The signs that a polynomial may have."""
    return {">=": "0+", "<=": "-0", "+": "+", "-": "-", "0": "0"}.get(algebra.sign_of(f), "-0+")


def branched(f: Polynomial, outcome: Callable[[str], Value]) -> Value:
    """What comes out where f < 0, f = 0 and f > 0, as one value."""
    found: dict[str, Value] = {}
    for sign in signs_of(f):
        if not possible(here() | {(f, sign)}):
            continue
        with inside(f, sign):
            try:
                found[sign] = outcome(sign)
            except UndefinedError:
                ASSUMED.setdefault(NOWHERE, []).append(here())
    if not found:
        raise UndefinedError("nowhere")
    base = found.get("-") or found.get("+") or next(iter(found.values()))
    result = base
    for sign in "0+":
        if sign in found and found[sign] is not base:
            result = result + Value({frozenset([(f, sign)]): Ratio(ONE)}) * (found[sign] - base)
    return result


def applied(function: Callable[..., Value | Ratio], *xs: Value) -> Value:
    """function(*formulas), in every region; it needs what they need, and what the function does."""
    with assuming(needs_of(xs)):
        try:
            result = in_regions(function, *xs)
        except UndefinedError as error:
            SAID[:] = [str(error)]
            ASSUMED.setdefault(NOWHERE, []).append(EVERYWHERE)
            result = Value({})
        return result.needing(needs_now())


def in_regions(function: Callable[..., Value | Ratio], *xs: Value) -> Value:
    """function(*formulas), in every region."""

    def by_sign(f: Polynomial) -> Value:
        return branched(f, lambda s: in_regions(function, *(restricted(x, f, s) for x in xs)))

    for x in xs:
        for f in x.polynomials():
            return by_sign(f)
    formulas = [x.parts.get(EVERYWHERE, Ratio(constant(0))) for x in xs]
    try:
        return as_value(function(*formulas))
    except SignNeededError as needed:
        f = needed.polynomial
        if f in REGION:
            raise NotImplementedError(f"the sign of {f}") from None
        SEEN[f] = None
        return by_sign(f)


# --- what is assumed ----------------------------------------------------------------------------

ASSUMED: dict[tuple[Polynomial, str], list[Region]] = {}
"""(f, sign): what the formulas that are looked at need to have a value, and in which regions."""
NOWHERE = (ONE, "0")  # 1 = 0: a formula has no value
SAID = [""]
"""Why one has none."""


@contextmanager
def assuming(needs: Needs) -> Iterator[None]:
    """Look at formulas that need this, and at nothing else."""
    assumed, taken = dict(ASSUMED), dict(algebra.TAKEN)
    ASSUMED.clear()
    algebra.TAKEN.clear()
    for f, s, where in needs:
        known = ASSUMED.setdefault((f, s), [])
        if not any(w <= where for w in known):
            known[:] = [w for w in known if not where <= w] + [where]
        if not where and s in ("+", ">=") and algebra.TAKEN.get(f) != "+":
            algebra.TAKEN[f] = s
    try:
        yield
    finally:
        ASSUMED.clear()
        ASSUMED.update(assumed)
        algebra.TAKEN.clear()
        algebra.TAKEN.update(taken)


def needs_of(xs: Iterable[Any]) -> Needs:
    """What some values need."""
    return tuple(dict.fromkeys(n for x in xs if isinstance(x, Value) for n in x.needs))


def needs_now() -> Needs:
    """What the formulas that are looked at need."""
    return tuple((f, s, where) for (f, s), regions in ASSUMED.items() for where in regions)


def chosen(condition: Value, a: Value, b: Value) -> Value:
    """a where the condition is 1, b where it is 0: each needs what it needs only there."""
    here, there = (Value(x.parts) for x in (a, b))
    needs = both(only_where(condition, a.needs), only_where(1 - condition, b.needs))
    return (condition * (here - there) + there).needing(merged(needs))


def merged(needs: Needs) -> Needs:
    """What is needed for each sign of a polynomial is needed whatever its sign is."""
    for f, s, where in needs:
        for g, t in where:
            left = where - {(g, t)}
            ways = [(f, s, left | {(g, u)}) for u in signs_of(g)]
            if all(way in needs or not possible(way[2]) for way in ways):
                return merged((*(n for n in needs if n not in ways), (f, s, left)))
    return needs


def only_where(condition: Value, needs: Needs) -> Needs:
    """What is needed where a condition is 1."""
    if not needs or not condition.parts:
        return NOTHING
    if f := next(iter(condition.polynomials()), None):
        found = NOTHING
        for s in signs_of(f):
            if possible(here() | {(f, s)}):
                with inside(f, s):
                    found = both(found, only_where(restricted(condition, f, s), needs))
        return found
    if condition.number is None:
        raise NotImplementedError("a condition that is no truth value")
    joint = ((f, s, where | here()) for f, s, where in needs)
    return tuple(need for need in joint if not is_given(*need))


def is_given(f: Polynomial, sign: str, region: Region) -> bool:
    """Whether what is needed in a region is fulfilled there."""
    return not any(possible(way) for way in against(f, sign, region))


def against(f: Polynomial, sign: str, region: Region) -> list[Region]:
    """Where what is needed in a region is not fulfilled."""
    others = {"+": "0-", ">=": "-", "≠": "0"}.get(sign)
    return [region | {(f, s)} for s in others] if others else [region]


def assume(f: Polynomial, sign: str) -> None:
    """Note that f > 0, f ≥ 0 or f ≠ 0 is needed, if it is not known."""
    (((symbol, _),),) = list(f.terms) if [len(m) for m in f.terms] == [1] else [((None, 0),)]
    if symbol is not None and symbol.kind == "root" and isinstance(symbol.power, Polynomial):
        return assume(symbol.power, {"≠": "+"}.get(sign, sign))  # √f ≠ 0: f > 0
    known = known_sign(f)
    if known == "+" or known == sign or (sign == "≠" and known == "-"):
        return
    if known in ("0", "-") or (known == "<=" and sign == "+"):
        raise UndefinedError(f"not {shown([(f, sign)])}")
    if not possible(here() | {(f, sign)}):
        raise UndefinedError("no numbers fulfil what is taken for granted")
    known_in = ASSUMED.setdefault((f, sign), [])
    if not any(where <= here() for where in known_in):
        known_in[:] = [where for where in known_in if not here() <= where] + [here()]
    if not REGION and sign != "≠" and algebra.TAKEN.get(f) != "+":
        algebra.TAKEN[f] = sign


SEEN: dict[Polynomial, None] = {}
"""The polynomials whose sign tells regions apart."""


def forget(work: int) -> None:
    """Begin a proof: nothing is assumed yet; `work` says how many products of terms it may take."""
    algebra.WORK[:] = [0, work]
    SAID[:] = [""]
    for known in (ASSUMED, SEEN, REGION, MEMORY, algebra.TAKEN):
        known.clear()
    point.cache_clear()
    algebra.forget()


def inverted(x: Value) -> Value:
    """1 / x, for x ≠ 0."""

    def one_over(formula: Ratio) -> Ratio:
        for f, _ in algebra.log_parts(formula) if formula else ():
            if isinstance(f, Polynomial | Symbol):
                assume(f if isinstance(f, Polynomial) else of(f), "≠")
        return formula.inverted()

    return applied(one_over, x)


def log(x: Value) -> Value:
    """log x, for x > 0."""
    return where_sign(x, "+", algebra.log)


def root(x: Value, n: int) -> Value:
    """The n-th root of x, for x ≥ 0."""
    return where_sign(x, ">=", lambda formula: algebra.root(formula, n))


def where_sign(x: Value, sign: str, function: Callable[[Ratio], Ratio]) -> Value:
    """A function of x, which has to be > 0 or ≥ 0."""

    def of(formula: Ratio) -> Ratio:
        assume_sign(formula, sign)
        return function(formula)

    return applied(of, x)


def assume_sign(formula: Ratio, sign: str) -> None:
    """Note that a formula has to be > 0 or ≥ 0: what is left without factors of known sign."""
    if not formula:
        if sign == "+":
            raise UndefinedError("the logarithm of 0")
        return
    left = ONE
    for f, k in algebra.log_parts(formula):
        if isinstance(f, int | Fraction):
            left = left.times(1 if f > 0 else -1)
            continue
        base = f if isinstance(f, Polynomial) else of(f)
        known = known_sign(base)
        if known == "-" and k % 2:
            left = left.times(-1)
        elif known not in ("+", "-") and not (known == ">=" and sign == ">="):
            if k % 2:
                left = left * base
            elif sign == "+":
                assume(base, "≠")
    if left.constant is not None:
        if left.constant < 0:
            raise UndefinedError("a negative number under a root or logarithm")
        return
    assume(left, sign)


# --- comparisons --------------------------------------------------------------------------------


def sign(x: Value) -> Value:
    """−1, 0 or 1."""
    return applied(sign_of_formula, x)


def sign_of_formula(x: Ratio) -> Value:
    """The product of the signs of the factors."""
    result = as_value(1 if x else 0)
    for f, k in algebra.log_parts(x) if x else ():
        if isinstance(f, int | Fraction):
            result = result * (1 if f > 0 else -1)
            continue
        base = f if isinstance(f, Polynomial) else of(f)
        if isinstance(f, Symbol) and f.kind == "root" and isinstance(f.arguments[0], Polynomial):
            base, k = f.arguments[0], 2  # ≥ 0
        own = sign_of_polynomial(base)
        result = result * (own if k % 2 else own * own)
    return result


def sign_of_polynomial(f: Polynomial) -> Value:
    """The sign of a polynomial: known, or by cases."""
    scale, monomial, rest = f.split()
    if rest == ONE and len(monomial) == 1 and monomial[0][1] == 1 and scale == 1:
        rest = f
    elif monomial or scale != 1:
        return sign_of_formula(Ratio(f))
    known = known_sign(rest)
    if known in ("+", "-", "0"):
        return as_value({"+": 1, "-": -1, "0": 0}[known])
    if (simpler := of_exponentials(rest)) is not None:
        return sign_of_formula(simpler)
    SEEN[rest] = None
    zero = Value({frozenset([(rest, "0")]): Ratio(ONE)})
    if known == ">=":
        return 1 - zero
    return Value({frozenset([(rest, "+")]): Ratio(constant(2))}) + zero - 1


def of_exponentials(f: Polynomial) -> Ratio | None:
    """What has the sign of a·exp(u) − b·exp(v): u − v + log(a/b)."""
    if len(f.terms) != 2 or any(s.kind not in ("exp", "π") for s in f.symbols()):
        return None
    (m, a), (n, b) = f.terms.items()
    if a * b > 0:
        return None  # pragma: no cover - its sign is known
    if a < 0:
        (m, a), (n, b) = (n, b), (m, a)
    return algebra.log(Ratio(Polynomial({m: a}))) - algebra.log(Ratio(Polynomial({n: -b})))


def positive(x: Value) -> Value:
    """[x > 0]."""
    s = sign(x)
    return (s * s + s) * Fraction(1, 2)


def zero(x: Value) -> Value:
    """[x = 0]."""
    s = sign(x)
    return 1 - s * s


def different_regions(x: Value) -> Iterator[Region]:
    """The regions in which a value is not seen to be 0. None: it is 0 wherever it is one.

    Raises UndefinedError if it is one nowhere.
    """
    with assuming(x.needs):
        if not possible(EVERYWHERE):
            raise UndefinedError(SAID[0] or "no numbers fulfil what is taken for granted")
        yield from differing(x)


def differing(x: Value) -> Iterator[Region]:
    """The same, in the region that is looked at."""
    if not x.parts or not possible(here()):
        return
    f = next(iter(x.polynomials()), None)
    if f is None:
        try:
            left = at_zeros(x.parts[EVERYWHERE], here())
            again = {v: Ratio(of(v)) for v in left.variables()}  # now all that is needed is known
            if left and algebra.substituted(left, again) and possible(here() | with_zeros()):
                yield here()
            return
        except SignNeededError as needed:
            f = needed.polynomial
            if f in REGION:
                yield here()
                return
    for s in signs_of(f):
        if possible(here() | {(f, s)}):
            with inside(f, s):
                yield from differing(restricted(x, f, s))


def with_zeros() -> Region:
    """The conditions of the region that is looked at, with f = 0 put into the others."""
    found = {(at_zeros(Ratio(f), here()), s) for f, s in REGION.items() if s != "0"}
    return frozenset((x.top, s) for x, s in found if not x.below)


# --- whether a region is empty ------------------------------------------------------------------

Row = tuple[dict[Monomial, Fraction], str]  # Σ coefficient·monomial  =, >, >=  0


def possible(region: Region) -> bool:
    """Whether there may be numbers in a region: monomials are taken for independent numbers."""
    return point(region | taken(region)) is not None


def taken(region: Region) -> Region:
    """What is assumed in a region."""
    return frozenset(c for c, where in ASSUMED.items() if any(w <= region for w in where))


def in_words() -> tuple[list[str], list[str]]:
    """What is assumed, and what is left out; without what follows from the rest."""
    everywhere = taken(EVERYWHERE)
    assumed: list[str] = []
    nowhere: dict[str, None] = {}
    for (f, s), where in ASSUMED.items():
        strict = {(f, "+"), (f.times(-1), "+")} & everywhere
        for region in where if s == "+" or not strict else ():
            said = shown(sorted_region(region))
            if not region:
                assumed.append(shown([(f, s)]))
            elif possible(region):
                assumed.append(f"{shown([(f, s)])} (for {said})")
            elif point(region | everywhere) is not None:
                nowhere[said] = None
    return assumed, list(nowhere)


def rows(region: Region) -> list[Row]:
    """The conditions as rows; what is known of symbols as further ones."""
    found: list[Row] = []
    for f, s in region:
        if s == "≠":
            if (f, "0") in region:
                found.append(({(): Fraction(1)}, "="))  # 1 = 0
            continue
        flip = -1 if s == "-" else 1
        relation = {"0": "=", "+": ">", "-": ">", ">=": ">="}[s]
        found.append(({m: Fraction(c) * flip for m, c in f.terms.items()}, relation))
    monomials = {m for row, _ in found for m in row if m}
    found += [({m: Fraction(1)}, ">") for m in sorted(monomials) if all(s.positive for s, _ in m)]
    return found


@lru_cache(50_000)
def point(region: Region) -> dict[Monomial, Fraction] | None:
    """Numbers for the monomials that fulfil the conditions; None if there are none."""
    system = rows(region)
    unknown = sorted({m for row, _ in system for m in row if m})
    found = None
    for apart in filter(None, map(from_those, unknown)):
        above = [(row, ">=") for row in apart]  # the largest is none below another,
        ways = (eliminated([*system, *above, (row, "=")]) for row in apart)  # and one of them
        found = next((way for way in ways if way is not None), None)
        if found is None:
            return None
    return found or eliminated(system)


def from_those(m: Monomial) -> list[dict[Monomial, Fraction]]:
    """How far the largest is from each of those of which it is that."""
    ((symbol, _), *others) = m
    known = all(isinstance(x, Ratio) and not x.below for x in symbol.arguments)
    if others or symbol.kind != "max" or not known:
        return []
    tops = (x.top.terms.items() for x in symbol.arguments)
    return [{**{n: Fraction(-c) for n, c in top}, m: Fraction(1)} for top in tops]


def eliminated(system: list[Row]) -> dict[Monomial, Fraction] | None:
    """Fourier and Motzkin: the largest monomial is eliminated, and found again on the way back."""
    unknown = {m for row, _ in system for m in row if m}
    algebra.work(10 * len(system))
    if not unknown:
        for row, relation in system:
            c = row.get((), Fraction(0))
            if not (c == 0 if relation == "=" else c > 0 if relation == ">" else c >= 0):
                return None
        return {}
    m = max(unknown, key=algebra.order_of)
    equal = next((row for row, relation in system if relation == "=" and m in row), None)
    below = [(row, relation) for row, relation in system if row.get(m, 0) > 0]
    above = [(row, relation) for row, relation in system if row.get(m, 0) < 0]
    if equal is not None:
        left = [
            (combined(row, equal, -row[m] / equal[m]) if m in row else row, relation)
            for row, relation in system
            if row is not equal
        ]
    else:
        left = [(row, relation) for row, relation in system if m not in row]
        algebra.work(10 * len(below) * len(above))
        for low, r in below:
            for high, q in above:
                strict = ">" if ">" in (r, q) else ">="
                left.append((combined(low, high, low[m] / -high[m]), strict))
    found = eliminated(left)
    if found is None:
        return None

    def bound(row: dict[Monomial, Fraction]) -> Fraction:
        rest = sum(
            (c * found.get(n, Fraction(1)) for n, c in row.items() if n and n != m),
            row.get((), Fraction(0)),
        )
        return -rest / row[m]

    if equal is not None:
        return {**found, m: bound(equal)}
    lows = [(bound(row), r) for row, r in below]
    highs = [(bound(row), r) for row, r in above]
    return {**found, m: between(max(lows, default=None), min(highs, default=None))}


def between(low: tuple[Fraction, str] | None, high: tuple[Fraction, str] | None) -> Fraction:
    """A simple number within bounds."""
    if low is None or high is None:
        edge, way = (low[0], 1) if low is not None else (high[0], -1)  # type: ignore[index]
        return Fraction(int(edge) + 2 * way)
    return (low[0] + high[0]) / 2


def combined(
    a: dict[Monomial, Fraction], b: dict[Monomial, Fraction], factor: Fraction
) -> dict[Monomial, Fraction]:
    """a + factor·b."""
    result = dict(a)
    for m, c in b.items():
        result[m] = result.get(m, Fraction(0)) + factor * c
    return {m: c for m, c in result.items() if c or not m}
