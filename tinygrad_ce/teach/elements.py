"""A traced program run on other things than floats: on exact formulas, or on 60 digits.

The program's own steps are run. What moves elements, adds them up or multiplies matrices is the
very NumPy function of `OPS`, on arrays of objects; what is done to single elements is written
below, once, for both kinds of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache, lru_cache, partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.ops import OPS
from tinygrad_ce.teach import algebra, regions
from tinygrad_ce.teach.algebra import Ratio, constant
from tinygrad_ce.teach.regions import Value, applied, as_value

DIGITS = 60
FLOAT = np.dtype(np.float64)


class UnsupportedError(NotImplementedError):
    """An operation that is not known here."""


# --- constants ----------------------------------------------------------------------------------


def simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction with the smallest denominator between two positive ones."""
    (a, b), (c, d) = low.as_integer_ratio(), high.as_integer_ratio()
    before, now = (0, 1), (1, 0)  # of the continued fraction that both begin with
    while True:
        term = -(-a // b)
        last = term * d <= c
        term -= not last
        before, now = now, (before[0] + term * now[0], before[1] + term * now[1])
        if last:
            return Fraction(*now)
        a, b, c, d = d, c - term * d, b, a - term * b


class Constant(NamedTuple):
    """r ** e · √π ** k, or log r where e is 0; `plain`: so simple that it is no accident."""

    r: Fraction
    e: Fraction = Fraction(1)
    k: int = 0
    plain: bool = True


PI = Fraction(31415926535897932384626433832795028841971693993751, 10**49)
FORMS = [(Fraction(1, 2), 0), *((Fraction(1, n), k) for k in (1, -1, 2, -2) for n in (2, 1))]


@lru_cache(10_000)
def read(value: float, dtype: str = "float64", strict: bool = True) -> Constant:
    """What a positive float was written for: the simplest fraction that rounds to it, a root of
    one, that times a power of √π, or a logarithm. Else the float itself. Where it is not `strict`,
    the float may be the result of a few roundings, as 1/3 − 1 is.

    >>> read(1 / 3).r, read((2 / np.pi) ** 0.5)[:3]
    (Fraction(1, 3), (Fraction(2, 1), Fraction(1, 2), -1))
    """
    v = Fraction(value)
    bits = 12 if dtype == "float32" else 26
    exact = np.dtype(dtype).type(value)
    wide = v / (1 << (24 if dtype == "float32" else 53))
    step = float(np.spacing(exact))  # inf for the largest float
    half = Fraction(step) / 2 if strict and step < np.inf else wide

    def rounds(found: Constant) -> bool:
        return not strict or np.dtype(dtype).type(float(Digits(30).exactly(found))) == exact

    if v.denominator == 1 or short(near := simplest(v - half, v + half), 8 * bits // 5):
        found = Constant(v if v.denominator == 1 else near)
        if rounds(found):
            return found
    decimal = str(exact)
    if len(decimal.partition("e")[0]) < 10:
        return Constant(Fraction(decimal))
    for e, k in FORMS:
        scale = PI ** (-k * e.denominator // 2)
        if k % 2 and e == 1:
            continue  # r·√π is √(r²·π)
        off = wide if k else half  # π is rounded, too
        near = simplest(*(x**e.denominator * scale for x in (v - off, v + off)))
        if short(near, bits) and (k or rounds(Constant(near, e))):
            return Constant(near, e, k)
    import mpmath

    if v < 10:
        with mpmath.workdps(40):
            low, high = (mpmath.mpf(x.numerator) / x.denominator for x in (v - half, v + half))
            near = simplest(Fraction(str(mpmath.exp(low))), Fraction(str(mpmath.exp(high))))
        if short(near, bits // 2) and rounds(found := Constant(near, Fraction(0))):
            return found
    return Constant(v, plain=False)


def short(x: Fraction, bits: int) -> bool:
    """Whether a fraction has few digits."""
    return x.numerator.bit_length() + x.denominator.bit_length() <= bits


# --- two kinds of numbers -----------------------------------------------------------------------


class Formulas:
    """Exact formulas with case distinctions. `maximum` as a symbol of its own, if `opaque`."""

    def __init__(self, opaque: bool = False) -> None:
        self.opaque = opaque
        self.plain = True  # all constants are written in a simple form
        self.single = False  # numbers are rounded to float32
        self.meant: dict[Any, float] = {}  # for which float each constant stands
        self.needs = regions.NOTHING  # what the functions refuse otherwise

    positive = staticmethod(regions.positive)
    zero = staticmethod(regions.zero)
    root = staticmethod(regions.root)

    def number(self, value: Any, dtype: str = "float64", strict: bool = True) -> Value:
        """A constant of the program, as `read` reads it."""
        if not value:
            return as_value(0)
        r, e, k, plain = read(abs(float(value)), dtype, strict)
        self.plain = self.plain and plain
        size = algebra.number_power(r, e) if e else algebra.log(Ratio(constant(r)))
        if k:
            size = size * Ratio(algebra.of(algebra.PI, algebra.exact(Fraction(k, 2))))
        return as_value(-size if value < 0 else size)

    def apply(self, name: str, *xs: Value) -> Value:
        """A function of real numbers."""
        return regions.log(*xs) if name == "log" else applied(partial(algebra.applied, name), *xs)

    def whole(self, x: Value) -> int:
        """No formula is an index."""
        raise UnsupportedError("an index that depends on values")

    def extremum(self, xs: list[Value], largest: bool) -> Value:
        """The largest of some numbers, as a symbol that only says of which."""
        if not self.opaque or len(xs) < 2:
            return folded(self, xs, largest)
        if not largest:
            return -self.extremum([-x for x in xs], True)
        needs = regions.needs_of(xs)
        bare = dict.fromkeys(Value(x.parts) for x in xs)
        ordered = sorted(bare, key=repr)  # the same order for the same numbers
        return as_value(algebra.function("max", *(x.formula or x for x in ordered))).needing(needs)

    def holds(self, x: Value) -> bool:
        """Take x ≥ 0 for granted."""
        self.needs = regions.both(self.needs, regions.where_sign(x, ">=", lambda f: f).needs)
        return True

    def divide(self, a: Any, b: Any) -> Any:
        """a / b, for b ≠ 0."""
        return a / b

    def whole_power(self, x: Value, n: int) -> Value:
        """x ** n, by squares."""
        if n > 10_000:
            raise UnsupportedError(f"the power of {n}")
        result = as_value(1)
        for bit in f"{n:b}":
            result = result * result
            result = result * x if bit == "1" else result
        return result

    def within(self, x: Value, bound: int) -> Value:
        """x, for |x| ≤ bound: beyond, doubles have no digits for what is made of it."""

        def of(formula: Ratio) -> Ratio:
            for side in (formula, -formula):
                regions.assume_sign(side + Ratio(constant(bound)), ">=")
            return formula

        return applied(of, x)


@cache
def arithmetic(digits: int) -> Any:
    """mpmath with so many digits."""
    import mpmath

    made = mpmath.MPContext()
    made.dps = digits
    return made


class Digits:
    """Numbers of 60 digits, by mpmath. What is not real is nan."""

    def __init__(self, digits: int = DIGITS) -> None:
        self.mp = arithmetic(digits)
        self.plain = True
        self.single = False
        self.meant: dict[Any, float] = {}

    def number(self, value: Any, dtype: str = "float64", strict: bool = True) -> Any:
        """A constant of the program, as `read` reads it."""
        if not value:
            return self.mp.mpf(0)
        found = read(abs(float(value)), dtype, strict)
        self.plain = self.plain and found.plain
        return -self.exactly(found) if value < 0 else self.exactly(found)

    def exactly(self, x: Constant) -> Any:
        """What a constant was written for."""
        r = self.exact(x.r)
        if x.e != 1:
            r = r ** self.exact(x.e) if x.e else self.mp.log(r)
        return r * self.mp.sqrt(self.mp.pi) ** x.k if x.k else r

    def exact(self, x: Fraction) -> Any:
        """A fraction."""
        return self.mp.mpf(x.numerator) / x.denominator

    def positive(self, x: Any) -> Any:
        """[x > 0]."""
        return self.mp.nan if self.mp.isnan(x) else self.mp.mpf(x > 0)

    def zero(self, x: Any) -> Any:
        """[x = 0]."""
        return self.mp.nan if self.mp.isnan(x) else self.mp.mpf(x == 0)

    def root(self, x: Any, n: int) -> Any:
        """The n-th root."""
        return self.mp.root(x, n) if x >= 0 else self.mp.nan

    def apply(self, name: str, *xs: Any) -> Any:
        """A function of real numbers."""
        name = name.replace("arc", "a")
        if name == "exponent":
            return self.mp.mpf(self.mp.frexp(xs[0])[1])
        if any(self.mp.isnan(x) for x in xs) or (name == "log" and xs[0] <= 0):
            return self.mp.nan
        found = getattr(self.mp, name)(*xs)
        return found if isinstance(found, self.mp.mpf) else self.mp.nan

    def holds(self, x: Any) -> bool:
        """Whether x ≥ 0."""
        return bool(x >= 0)

    def divide(self, a: Any, b: Any) -> Any:
        """a / b; nan for b = 0."""
        return a / b if b != 0 else self.mp.nan

    def whole_power(self, x: Any, n: int) -> Any:
        """x ** n."""
        return x**n

    def within(self, x: Any, bound: int) -> Any:
        """x: 60 digits have no bounds."""
        return x

    def whole(self, x: Any) -> int:
        """A number without its fraction."""
        return int(x)

    def extremum(self, xs: list[Any], largest: bool) -> Any:
        """The largest or smallest."""
        return folded(self, xs, largest)


def folded(m: Any, xs: list[Any], largest: bool) -> Any:
    """The largest or smallest of some numbers, by cases."""
    result = xs[0]
    for x in xs[1:]:
        result = ELEMENTS["maximum" if largest else "minimum"](m, result, x)
    return result


# --- what is done to single elements ------------------------------------------------------------


def choose(m: Any, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""
    if isinstance(condition, Value):
        return regions.chosen(condition, as_value(a), as_value(b))
    if condition != condition:
        return condition  # nan: it is not known which
    return a if condition else b


def powered(m: Any, a: Any, b: Any) -> Any:
    """a ** b: exact for whole and half exponents, else exp(b·log a)."""
    if isinstance(a, Value):
        e = b.number
        n = None if e is None else Fraction(e)
    else:
        n = Fraction(int(2 * b), 2) if m.mp.isint(2 * b) else None
    if n is not None and n.denominator <= 2:
        base = a if n.denominator == 1 else m.root(a, 2)
        result = m.whole_power(base, abs(n.numerator))
        return result if n >= 0 else m.divide(1, result)
    return m.apply("exp", b * m.apply("log", a))


def at_least(m: Any, a: Any, b: Any) -> Any:
    """[a ≥ b]."""
    return 1 - m.positive(b - a)


def clipped(m: Any, x: Any, low: Any = None, high: Any = None) -> Any:
    """min(max(x, low), high)."""
    for bound, largest in ((low, True), (high, False)):
        if bound is not None and abs(bound) < 1e300:
            x = folded(m, [x, m.number(bound)], largest)
    return x


def within(m: Any, x: Any, low: Any, high: Any) -> Any:
    """x, where a slope is less than any double beyond the bounds."""
    return m.within(x, int(high))


def slopes_of_erf(program: Program) -> set[Var]:
    """What is clipped in the slopes of erf, exp(−clip(x, −28, 28)²)."""
    of_erf = {s.operands[0] for s in program.steps if s.op in ("erf", "erfc")}
    return {
        s.out
        for s in program.steps
        if s.op == "clip" and s.scope[:1] == ("backward",) and s.operands[0] in of_erf
    }


def is_real(m: Any, a: Any, no: int) -> Any:
    """1 − no: what has a value is no nan and no infinity."""
    if isinstance(a, Value) and a.needs:
        raise UnsupportedError("a choice by whether there is a value")
    return 0 * a + (1 - no)


def converted(m: Any, a: Any, dtype: np.dtype[Any]) -> Any:
    """The same number; a whole one as an index."""
    return a if dtype.kind == "f" else m.whole(a)


def two_to(m: Any, n: Any) -> Any:
    """2 ** n for a whole number: what scales without rounding."""
    return m.apply("exp", n * m.apply("log", m.number(2.0)))


def tanh(m: Any, x: Any) -> Any:
    """1 − 2/(1 + exp(2x))."""
    return 1 - 2 / (1 + m.apply("exp", 2 * x))


def apply(name: str, m: Any, *xs: Any) -> Any:
    """A function that both kinds of numbers have."""
    return m.apply(name, *xs)


FUNCTIONS = ("exp", "log", "sin", "cos", "erf", "arctan", "arcsin", "arccos", "arcsinh", "arctan2",
             "floor", "ceil")  # fmt: skip
ELEMENTS: dict[str, Callable[..., Any]] = {
    "add": lambda m, a, b: a + b,
    "subtract": lambda m, a, b: a - b,
    "multiply": lambda m, a, b: a * b,
    "divide": lambda m, a, b: m.divide(a, b),
    "negative": lambda m, a: -a,
    "reciprocal": lambda m, a: m.divide(1, a),
    "square": lambda m, a: a * a,
    "power": powered,
    "float_power": powered,
    "sqrt": lambda m, a: m.root(a, 2),
    "absolute": lambda m, a: a * (m.positive(a) - m.positive(-a)),
    "sign": lambda m, a: m.positive(a) - m.positive(-a),
    "greater": lambda m, a, b: m.positive(a - b),
    "less": lambda m, a, b: m.positive(b - a),
    "greater_equal": at_least,
    "less_equal": lambda m, a, b: at_least(m, b, a),
    "equal": lambda m, a, b: m.zero(a - b),
    "not_equal": lambda m, a, b: 1 - m.zero(a - b),
    "bitwise_and": lambda m, a, b: a * b,
    "bitwise_or": lambda m, a, b: a + b - a * b,
    "bitwise_xor": lambda m, a, b: a + b - 2 * a * b,
    "invert": lambda m, a: 1 - a,
    "isnan": partial(is_real, no=1),
    "isinf": partial(is_real, no=1),
    "isfinite": partial(is_real, no=0),
    "maximum": lambda m, a, b: b + m.positive(a - b) * (a - b),
    "minimum": lambda m, a, b: b + m.positive(b - a) * (a - b),
    "relu": lambda m, a: m.positive(a) * a,
    "clip": clipped,
    "where": choose,
    "frexp": lambda m, a, part: m.apply("exponent", a),  # only part 1 is read
    "ldexp": lambda m, a, n: a * two_to(m, n),
    "masked": lambda m, a, keep: choose(m, keep, a, m.number(0.0)),
    "log1p": lambda m, a: m.apply("log", 1 + a),
    "expm1": lambda m, a: m.apply("exp", a) - 1,
    "log2": lambda m, a: m.apply("log", a) / m.apply("log", m.number(2.0)),
    "log10": lambda m, a: m.apply("log", a) / m.apply("log", m.number(10.0)),
    "tanh": tanh,
    "sinh": lambda m, a: (m.apply("exp", a) - m.apply("exp", -a)) / 2,
    "cosh": lambda m, a: (m.apply("exp", a) + m.apply("exp", -a)) / 2,
    "tan": lambda m, a: m.divide(m.apply("sin", a), m.apply("cos", a)),
    "hypot": lambda m, a, b: m.root(a * a + b * b, 2),
    "erfc": lambda m, a: 1 - m.apply("erf", a),
    "astype": converted,
    **{name: partial(apply, name) for name in FUNCTIONS},
}
"""What each elementwise operation of `OPS` is, in terms of a few functions of a kind of numbers."""

SAME = ("sum", "prod", "cumsum", "cumprod", "dot", "inner", "matmul", "einsum", "full", "copy",
        "like", "reshape", "transpose", "broadcast_to", "slice", "take", "put", "concatenate",
        "stack", "pad", "scatter", "overlap_add", "windows", "im2col", "col2im", "sum_pool",
        "sum_unpool")  # fmt: skip
"""What NumPy does to arrays of objects as it does to floats."""


# --- running ------------------------------------------------------------------------------------


class Run:
    """The steps of a program on a kind of numbers. What holds whole numbers only stays NumPy's."""

    def __init__(self, m: Any, program: Program, given: Mapping[Var, Any]) -> None:
        self.m = m
        self.values: dict[Var, Any] = {}
        for x, value in {**program.constants, **program.example, **given}.items():
            self.values[x] = value
        self.slopes = slopes_of_erf(program)
        self.written: set[float] = set()  # by the functions themselves
        self.forward: set[float] = set()  # all but what the backward pass makes of constants
        for step in program.steps:
            read = (np.ravel(program.constants[x]) for x in step.operands if x in program.constants)
            own = {abs(v) for value in read for v in value.tolist()}
            self.written |= own if not step.scope else set()
            self.forward |= own if step.scope[:1] != ("backward",) else set()
        for step in program.steps:
            self.values[step.out] = self.step(step)

    def __getitem__(self, x: Var) -> np.ndarray:
        return self.objects(x)

    def objects(self, x: Var) -> np.ndarray:
        """An array of this kind of numbers."""
        value = np.asarray(self.values[x])
        if value.dtype == object:
            return value
        dtype = value.dtype.name if value.dtype.kind == "f" else "float64"
        made = (self.constant(v, dtype) for v in value.ravel().tolist())
        return np.fromiter(made, object, value.size).reshape(value.shape)

    def constant(self, v: float, dtype: str) -> Any:
        """A number of the program; an infinite one as it is."""
        if not np.isfinite(v):
            return v
        strict = abs(v) in self.written
        if v and abs(v) in self.forward:
            meant = read(abs(v), dtype, strict), dtype if self.m.single else ""
            if self.m.meant.setdefault(meant, abs(v)) != abs(v):
                raise UnsupportedError(f"{v!r} and what is next to it, as two constants")
        return self.m.number(v, dtype, strict)

    def step(self, step: Step) -> Any:
        """What a step gives."""
        values = [self.values[x] for x in step.operands]
        floats = getattr(step.out.dtype, "kind", "f") == "f"
        if not floats and not any(np.asarray(v).dtype == object for v in values):
            return OPS[step.op].run(*values, **step.attrs)
        if step.op in ELEMENTS:
            return self.elementwise(step)
        if step.op in ("max", "min"):
            return self.extremum(step)
        if step.op == "all_finite":
            if isinstance(self.m, Formulas):
                given = regions.needs_of(self.objects(step.operands[0]).flat)
                self.m.needs = regions.both(self.m.needs, given)
            return True
        if step.op == "all_within":
            return self.all_within(step)
        if step.op not in SAME and isinstance(self.m, Formulas):
            raise UnsupportedError(step.op)
        _, *others = map(np.asarray, values)
        if step.op in ("take", "scatter") and any(v.dtype == object for v in others):
            raise UnsupportedError("an index that depends on values")
        moved = [
            self.objects(x) if np.asarray(v).dtype == object or self.is_float(x) else v
            for x, v in zip(step.operands, values)
        ]
        return self.same(step, moved)

    def all_within(self, step: Step) -> bool:
        """What the function refuses otherwise: for formulas it is assumed."""
        s, within = step.attrs, True
        for x in self.objects(step.operands[0]).flat:
            for side in (x - self.m.number(float(s["low"])), self.m.number(float(s["high"])) - x):
                within = within and self.m.holds(side)
        return within

    def same(self, step: Step, moved: list[Any]) -> Any:
        """An operation that NumPy does to objects."""
        attrs = step.attrs
        if step.op == "sum":
            total = np.sum(moved[0], axis=attrs["axis"], keepdims=attrs["keepdims"])
            return np.asarray(total, object)
        if step.op == "broadcast_to":
            return np.broadcast_to(moved[0], attrs["shape"])
        if step.op == "einsum":
            return np.asarray(np.einsum(attrs["spec"], *moved), object)
        try:
            found = np.asarray(OPS[step.op].run(*moved, **attrs), object)
        except (TypeError, AttributeError) as error:
            raise UnsupportedError(step.op) from error
        for i in np.ndindex(found.shape):
            if isinstance(found[i], np.ndarray):  # of no axes
                found[i] = found[i].item()
        return found

    def is_float(self, x: Var) -> bool:
        """Whether a value is of floats, or a Python number."""
        return x.dtype is None or x.dtype.kind == "f"

    def elementwise(self, step: Step) -> Any:
        """One element after the other."""
        function: Any = within if step.out in self.slopes else ELEMENTS[step.op]
        arrays = np.broadcast_arrays(*map(self.objects, step.operands))
        narrow = step.op == "astype" and step.attrs["dtype"].kind == "f"
        if narrow and step.attrs["dtype"].itemsize < (step.operands[0].dtype or FLOAT).itemsize:
            raise UnsupportedError(f"rounding to {step.attrs['dtype']}")

        def one(*xs: Any) -> Any:
            if float in map(type, xs):
                found = self.with_infinity(step.op, xs)
            else:
                found = function(self.m, *xs, **step.attrs)
            if isinstance(found, Value) and step.op not in ("where", "masked"):
                found = found.needing(regions.needs_of(xs))
            return found

        flat = map(one, *(x.flat for x in arrays))
        made = np.fromiter(flat, object, arrays[0].size).reshape(arrays[0].shape)
        if step.op == "astype" and step.attrs["dtype"].kind != "f":
            return made.astype(step.attrs["dtype"])
        return made

    def with_infinity(self, op: str, xs: Sequence[Any]) -> Any:
        """Real numbers are less than infinity; nothing else is known of it here."""
        if op in ("where", "masked"):
            condition, *ab = xs if op == "where" else [xs[1], xs[0], self.m.number(0.0)]
            known = condition.number if isinstance(condition, Value) else condition
            if known is not None:
                picked = ab[0] if known else ab[1]
                needs = regions.needs_of([condition])
                return picked.needing(needs) if isinstance(picked, Value) else picked
        if op in COMPARED and sum(type(x) is float for x in xs) == 1:
            a, b = (x if type(x) is float else 0.0 for x in xs)
            return self.m.number(float(COMPARED[op](a, b)))
        raise UnsupportedError("an infinite number")

    def extremum(self, step: Step) -> Any:
        """The largest or smallest along axes."""
        x, largest = self.objects(step.operands[0]), step.op == "max"
        made = np.empty(step.out.shape, object)
        axis = step.attrs["axis"]
        axes = range(x.ndim) if axis is None else [a % x.ndim for a in np.atleast_1d(axis)]
        kept = [n for a, n in enumerate(x.shape) if a not in axes]
        flat = made.reshape(kept)
        for i in product(*map(range, kept)):
            at: list[Any] = [slice(None)] * x.ndim
            for a, n in zip([a for a in range(x.ndim) if a not in axes], i):
                at[a] = n
            flat[i] = self.m.extremum(list(np.ravel(x[tuple(at)])), largest)
        return flat.reshape(step.out.shape)


COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    name: OPS[name].run for name in OPS if name.startswith(("greater", "less", "equal", "not_eq"))
}
