"""What optimisers do to a parameter, line by line: as mathematics, and as tables of numbers.

A line has a formula in the notation of `graph/told.py` and a row of parts: words between tables,
`(caption, value)` for a table and, for a setting that can be changed, its number among all. What a
rule says is compared with what the traced step made of the example; where they differ it is not
told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.program.tracing.symbol import Symbol
from tinygrad_ce.viz.graph.values import largest
from tinygrad_ce.viz.page.training import Update

GRADIENT = "D{w}"  # in a formula
BETAS = {"β₁": "betaone", "β₂": "betatwo"}  # likewise
CLOSE = 1e-4  # of the largest element: how far the example may be off the rule


class Line(NamedTuple):
    """One line: its formula, and what stands in its row."""

    math: str
    row: list[Any]


@dataclass
class Value:
    """A letter, its number, and what stands above its table: a letter may be old or new."""

    letter: str
    now: Any  # Symbol
    caption: str = ""

    @property
    def table(self) -> tuple[str, Any]:
        """What stands in a row."""
        return self.caption or ("∇" if self.letter == GRADIENT else self.letter), self.now

    @property
    def squared(self) -> tuple[str, Any]:
        """The same of its square."""
        return self.table[0] + "²", self.now * self.now

    @property
    def square(self) -> str:
        """The square in a formula."""
        return f"( {self.letter} )^{{2}}" if self.letter == GRADIENT else f"{self.letter}^{{2}}"


class Number(NamedTuple):
    """A setting: its text in a formula, what stands in a row, and its value."""

    text: str
    row: list[Any]
    now: Any

    @property
    def rest(self) -> Number:
        """1 − β."""
        if isinstance(self.now, Symbol):
            return Number(f"( 1 − {self.text} )", ["( 1 −", *self.row, ")"], 1 - self.now)
        return plain(1 - self.now)


def plain(x: float) -> Number:
    """A setting that stays what it is."""
    return Number(words(x), [words(x)], x)


class Rule:
    """Writes down how an update comes about: `lines`."""

    def __init__(self, update: Update) -> None:
        self.update, self.group, self.lines = update, update.group, list[Line]()
        self.w, self.new = Value("w", update.w), Value("w", update.new, "new w")
        assert update.g is not None
        self.g = Value(GRADIENT, update.g)
        self.slope()

    def say(self, letter: str, text: str, now: Any, *row: Any) -> Value:
        """A line that defines a letter, anew after ←; gives its value."""
        value = Value(letter, now, f"new {letter}" * text.startswith("←"))
        parts = [part.table if isinstance(part, Value) else part for part in row]
        self.lines.append(Line(f"{letter} {text}", [*parts, "=", value.table]))
        return value

    def setting(self, name: str) -> Any:
        """A setting of the optimiser."""
        return self.group.get(name)

    def number(self, letter: str, value: float = 0.0) -> Number:
        """A setting that can be changed, by its letter; else its value."""
        if letter not in self.update.changing:
            return plain(value)
        i, now = self.update.changing[letter]
        return Number(BETAS.get(letter, letter), [i], now)

    def kept(self, key: str, letter: str) -> tuple[Value, Any]:
        """What the optimiser keeps: before, and its number after."""
        before, after = self.update.kept[key]
        return Value(letter, before), after

    def slope(self) -> None:
        """g: the gradient, uphill where it maximises, with weight decay where it is no other."""
        decay, g = self.setting("weight_decay"), self.g
        sign = "− " if self.setting("maximize") else ""
        decay = 0 if self.setting("decoupled_weight_decay") else decay
        if not (sign or decay):
            return
        total = -g.now if sign else g.now
        row: list[Any] = [*["− 1 ·"] * bool(sign), g]
        text = f"= {sign}D{{w}}"
        if decay:
            total = total + fitting(decay, g.now) * self.w.now
            text, row = f"{text} + {words(decay)} · w", [*row, f"+ {words(decay)} ·", self.w]
        self.g = self.say("g", text, total, *row)

    def descend(self, direction: Value, w: Value | None = None) -> Any:
        """The last line, w − lr·direction; gives what that is."""
        w = w or self.w
        lr = self.number("lr")
        row = [w.table, "−", *lr.row, "·", direction.table, "=", self.new.table]
        self.lines.append(Line(f"w ← w − lr · {direction.letter}", row))
        return w.now - fitting(lr.now, direction.now) * direction.now

    def mean(self, key: str, letter: str, beta: Number, of: Value, square: bool = False) -> Value:
        """A running mean of gradients or of their squares."""
        before, after = self.kept(key, letter)
        text, rest = of.square if square else of.letter, beta.rest
        return self.say(letter, f"← {beta.text} · {letter} + {rest.text} · {text}", after,
                        *beta.row, "·", before,
                        "+", *rest.row, "·", of.squared if square else of)  # fmt: skip

    def unbiased(self, mean: Value, beta: Number, steps: Any) -> Value:
        """A running mean without its start at 0."""
        text = f"= frac{{{mean.letter}}}{{1 − {beta.text}^{{t}}}}"
        now = mean.now / fitting(1 - beta.now**steps, mean.now)
        return self.say(mean.letter + "hat", text, now, mean, "÷ ( 1 −", *beta.row, "ᵗ )")

    def ratio(self, above: Value, size: Value, eps: float) -> Value:
        """above / (√size + ε)."""
        change = above.now / (np.sqrt(size.now) + fitting(eps, size.now))
        text = f"= frac{{{above.letter}}}{{sqrt{{{size.letter}}} + {words(eps)}}}"
        return self.say("d", text, change, above, "÷ ( √", size, f"+ {words(eps)} )")


def sgd(rule: Rule) -> Any:
    """v ← μ v + g; w ← w − lr v, or with nesterov w − lr (g + μ v)."""
    momentum, dampening = rule.setting("momentum"), rule.setting("dampening")
    if not momentum:
        return rule.descend(rule.g)
    g, (before, after) = rule.g, rule.kept("momentum_buffer", "v")
    share = f"{words(1 - dampening)} · " if dampening else ""
    mu = rule.number("μ", momentum)
    v = rule.say("v", f"← {mu.text} · v + {share}{g.letter}", after,
                 *mu.row, "·", before, f"+ {share}".rstrip(), g)  # fmt: skip
    if not rule.setting("nesterov"):
        return rule.descend(v)
    ahead = g.now + fitting(mu.now, g.now) * v.now
    text = f"= {g.letter} + {mu.text} · v"
    return rule.descend(rule.say("d", text, ahead, g, "+", *mu.row, "·", v))


def adam(rule: Rule) -> Any:
    """m and v, without their start at 0, and w ← w − lr m̂/(√v̂ + ε)."""
    w, betas, eps = rule.w, rule.setting("betas"), rule.setting("eps")
    beta1, beta2 = (rule.number(letter, beta) for letter, beta in zip(("β₁", "β₂"), betas))
    decay = rule.setting("weight_decay")
    if decay and rule.setting("decoupled_weight_decay"):
        lr = rule.number("lr")
        factor = fitting(1 - lr.now * decay, w.now)
        less = w.now * factor
        rule.lines.append(Line(f"w ← ( 1 − lr · {words(decay)} ) · w",
                               ["( 1 −", *lr.row, f"· {words(decay)} ) ·", w.table,
                                "=", ("smaller w", less)]))  # fmt: skip
        w = Value("w", less, "smaller w")
    m = rule.mean("exp_avg", "m", beta1, rule.g)
    v = rule.mean("exp_avg_sq", "v", beta2, rule.g, square=True)
    if rule.setting("amsgrad"):
        old, most = rule.kept("max_exp_avg_sq", "s")
        v = rule.say("s", '← "max" ( s , v )', most, "max of", old, "and", v)
    before, t = rule.kept("step", "t")
    rule.say("t", "← t + 1", t, before, "+ 1")
    power = t.astype(np.float64)
    mean, size = rule.unbiased(m, beta1, power), rule.unbiased(v, beta2, power)
    return rule.descend(rule.ratio(mean, size, eps), w)


def rmsprop(rule: Rule) -> Any:
    """v the mean of g², w ← w − lr g/(√v + ε)."""
    alpha, momentum, eps = (rule.setting(key) for key in ("alpha", "momentum", "eps"))
    alpha, g = rule.number("α", alpha), rule.g
    size = rule.mean("square_avg", "v", alpha, g, square=True)
    if rule.setting("centered"):
        mean = rule.mean("grad_avg", "m", alpha, g)
        spread = size.now - mean.now * mean.now
        size = rule.say("s", "= v − m^{2}", spread, size, "−", mean.squared)
    d = rule.ratio(g, size, eps)
    if momentum:
        before, after = rule.kept("momentum_buffer", "b")
        mu = rule.number("μ", momentum)
        d = rule.say("b", f"← {mu.text} · b + d", after, *mu.row, "·", before, "+", d)
    return rule.descend(d)


def adagrad(rule: Rule) -> Any:
    """s the sum of all g², w ← w − lr g/(√s + ε)."""
    g, eps, (before, after) = rule.g, rule.setting("eps"), rule.kept("sum", "s")
    if rule.setting("lr_decay"):
        raise KeyError("lr_decay")
    s = rule.say("s", f"← s + {g.square}", after, before, "+", g.squared)
    return rule.descend(rule.ratio(g, s, eps))


RULES: dict[str, Callable[[Rule], Any]] = {
    "SGD": sgd, "Adam": adam, "AdamW": adam, "RMSprop": rmsprop, "Adagrad": adagrad,
}  # fmt: skip


def letters_for(name: str) -> dict[str, str]:
    """What the letters of the lines are called: w as the parameter, none else like it."""
    found = {"w": name, "mhat": "m̂", "vhat": "v̂", "shat": "ŝ"}
    found |= {word: letter for letter, word in BETAS.items()}
    return found | {letter: letter + "′" for letter in "bdgmstv" if letter == name}


def lines_of(update: Update) -> list[Line]:
    """How an update comes about, as far as it is known: at least what the parameter becomes."""
    rule = RULES.get(update.kind)
    if rule is not None and update.g is not None:
        with np.errstate(all="ignore"):
            try:
                writer = Rule(update)
                found = rule(writer)
            except (KeyError, TypeError):  # it keeps other things than ours: somebody else's
                return plain_lines(update)
            if same(found.value, update.new.value):
                return writer.lines
    return plain_lines(update)


def plain_lines(update: Update) -> list[Line]:
    """What was taken off, and the gradient beside it."""
    change = update.w - update.new
    row = [("w", update.w), "−", ("change", change), "=", ("new w", update.new)]
    lines = [Line('w ← w − "change"', row)]
    if update.g is not None:
        lines.insert(0, Line("", [("∇", update.g)]))
    return lines


def fitting(x: Any, like: Any) -> Any:
    """A number in the type of the array that it is multiplied with."""
    return x.astype(like.dtype) if isinstance(x, Symbol) else like.dtype.type(x)


def words(x: float) -> str:
    """A setting: 0.9999 with all its digits.

    >>> words(1 - 0.999), words(1e-08)
    ('0.001', '1e-8')
    """
    mantissa, e, exponent = f"{x:.6g}".replace("-", "−").partition("e")
    return mantissa + (f"e{int(exponent.replace('−', '-'))}" if e else "")


def same(a: Any, b: Any) -> bool:
    """Whether two arrays are the same but for rounding, or neither is finite."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a.shape == b.shape and bool(
        np.allclose(a, b, rtol=CLOSE, atol=CLOSE * largest(b), equal_nan=True)
    )
