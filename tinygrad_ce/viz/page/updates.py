"""What optimisers do to a parameter, line by line: as mathematics, and as tables of numbers.

A line has a formula in the notation of `graph/told.py` and a row of parts: words between tables,
`(caption, value)` for a table and `RATE` for the learning rate as it is now. What a rule says is
compared with what the traced step made of the example; where they differ it is not told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.program.tracing.symbol import Symbol
from tinygrad_ce.viz.graph.values import largest
from tinygrad_ce.viz.page.training import Update

RATE = ("lr", None)  # stands for the learning rate
GRADIENT = "D{w}"
CLOSE = 1e-4  # of the largest element: how far the example may be off the rule


class Line(NamedTuple):
    """One line: its formula, and what stands in its row."""

    math: str
    row: list[Any]


@dataclass
class Value:
    """A letter and its number."""

    letter: str
    now: Any  # Symbol


class Rule:
    """Writes down how an update comes about: `lines`. `name` is what the parameter is called."""

    def __init__(self, update: Update, name: str) -> None:
        self.update, self.group, self.lines = update, update.group, list[Line]()
        self.name = name
        self.w, self.new = Value("w", update.w), Value("w", update.new)
        assert update.g is not None
        self.g = Value(GRADIENT, update.g)
        self.slope()

    def letter(self, letter: str) -> str:
        """A letter that the parameter does not have."""
        return letter + "′" if letter == self.name else letter

    def say(self, letter: str, text: str, now: Any, *row: Any) -> Value:
        """A line that defines a letter; gives its value."""
        letter = self.letter(letter)
        self.lines.append(Line(f"{letter} {text}", [*row, "=", (letter, now)]))
        return Value(letter, now)

    def setting(self, name: str) -> Any:
        """A setting of the optimiser."""
        return self.group.get(name)

    def kept(self, key: str, letter: str) -> tuple[Value, Value]:
        """What the optimiser keeps, before and after."""
        before, after = self.update.kept[key]
        return Value(self.letter(letter), before), Value(self.letter(letter), after)

    def slope(self) -> None:
        """g: the gradient, uphill where it maximises, with weight decay where it is no other."""
        decay, g = self.setting("weight_decay"), self.g
        sign = "− " if self.setting("maximize") else ""
        decay = 0 if self.setting("decoupled_weight_decay") else decay
        if not (sign or decay):
            return
        total = -g.now if sign else g.now
        row: list[Any] = [sign + "1 ·" if sign else "", ("∇", g.now)]
        text = f"= {sign}D{{w}}"
        if decay:
            total = total + fitting(decay, g.now) * self.w.now
            text, row = (
                f"{text} + {words(decay)} w",
                [*row, f"+ {words(decay)} ·", ("w", self.w.now)],
            )
        self.g = self.say("g", text, total, *(part for part in row if part))

    def step(self, direction: Value, w: Value | None = None) -> Any:
        """The last line, w − lr·direction; gives what that is."""
        w = w or self.w
        d = direction.letter
        row = [("w", w.now), "−", RATE, "·", (shown(direction), direction.now), "=",
               ("new w", self.new.now)]  # fmt: skip
        self.lines.append(Line(f"w ← w − lr · {d}", row))
        return w.now - fitting(self.update.lr, direction.now) * direction.now

    def mean(self, key: str, letter: str, beta: float, of: Value, square: bool = False) -> Value:
        """A running mean of gradients or of their squares."""
        before, after = self.kept(key, letter)
        part = of.now * of.now if square else of.now
        text, rest = squared(of) if square else of.letter, words(1 - beta)
        return self.say(letter, f"← {words(beta)} {before.letter} + {rest} {text}", after.now,
                        f"{words(beta)} ·", (before.letter, before.now),
                        f"+ {rest} ·", (shown(of) + "²" * square, part))  # fmt: skip

    def unbiased(self, mean: Value, beta: float, steps: Any) -> Value:
        """A running mean without its start at 0."""
        text = f"= frac{{{mean.letter}}}{{1 − {words(beta)}^{{{self.letter('t')}}}}}"
        now = mean.now / fitting(1 - beta**steps, mean.now)
        part = f"÷ (1 − {words(beta)}ᵗ)"
        return self.say(mean.letter + "̂", text, now, (mean.letter, mean.now), part)

    def ratio(self, above: Value, size: Value, eps: float) -> Value:
        """above / (√size + ε)."""
        change = above.now / (np.sqrt(size.now) + fitting(eps, size.now))
        text = f"= frac{{{above.letter}}}{{sqrt{{{size.letter}}} + {words(eps)}}}"
        return self.say("d", text, change, (shown(above), above.now), "÷ ( √",
                        (size.letter, size.now), f"+ {words(eps)} )")  # fmt: skip


def sgd(rule: Rule) -> Any:
    """v ← μ v + g; w ← w − lr v, or with nesterov w − lr (g + μ v)."""
    momentum, dampening = rule.setting("momentum"), rule.setting("dampening")
    if not momentum:
        return rule.step(rule.g)
    g, (before, after) = rule.g, rule.kept("momentum_buffer", "v")
    share = f"{words(1 - dampening)} " if dampening else ""
    mu = words(momentum)
    v = rule.say("v", f"← {mu} {before.letter} + {share}{g.letter}", after.now,
                 f"{mu} ·", (before.letter, before.now), f"+ {share}·" if share else "+",
                 (shown(g), g.now))  # fmt: skip
    if not rule.setting("nesterov"):
        return rule.step(v)
    ahead = g.now + fitting(momentum, g.now) * v.now
    return rule.step(rule.say("d", f"= {g.letter} + {mu} {v.letter}", ahead,
                              (shown(g), g.now), f"+ {mu} ·", (v.letter, v.now)))  # fmt: skip


def adam(rule: Rule) -> Any:
    """m and v, without their start at 0, and w ← w − lr m̂/(√v̂ + ε)."""
    w, (beta1, beta2), eps = rule.w, rule.setting("betas"), rule.setting("eps")
    decay = rule.setting("weight_decay")
    if decay and rule.setting("decoupled_weight_decay"):
        factor = fitting(1 - rule.update.lr * decay, w.now)
        less = w.now * factor
        rule.lines.append(Line(f"w ← ( 1 − lr · {words(decay)} ) w",
                               ["( 1 −", RATE, f"· {words(decay)} ) ·", ("w", w.now),
                                "=", ("w", less)]))  # fmt: skip
        w = Value("w", less)
    m = rule.mean("exp_avg", "m", beta1, rule.g)
    v = rule.mean("exp_avg_sq", "v", beta2, rule.g, square=True)
    if rule.setting("amsgrad"):
        old, most = rule.kept("max_exp_avg_sq", "s")
        v = rule.say("s", f'← "max" ( {old.letter} , {v.letter} )', most.now,
                     "max of", (old.letter, old.now), "and", (v.letter, v.now))  # fmt: skip
    before, t = rule.update.kept["step"]
    rule.say("t", f"← {rule.letter('t')} + 1", t, (rule.letter("t"), before), "+ 1")
    power = t.astype(np.float64)
    mean, size = rule.unbiased(m, beta1, power), rule.unbiased(v, beta2, power)
    return rule.step(rule.ratio(mean, size, eps), w)


def rmsprop(rule: Rule) -> Any:
    """v the mean of g², w ← w − lr g/(√v + ε)."""
    alpha, momentum, eps = (rule.setting(key) for key in ("alpha", "momentum", "eps"))
    g = rule.g
    size = rule.mean("square_avg", "v", alpha, g, square=True)
    if rule.setting("centered"):
        mean = rule.mean("grad_avg", "m", alpha, g)
        size = rule.say("s", f"= {size.letter} − {mean.letter}^{{2}}",
                        size.now - mean.now * mean.now, (size.letter, size.now), "−",
                        (mean.letter + "²", mean.now * mean.now))  # fmt: skip
    d = rule.ratio(g, size, eps)
    if momentum:
        before, after = rule.kept("momentum_buffer", "b")
        mu = words(momentum)
        d = rule.say("b", f"← {mu} {before.letter} + {d.letter}", after.now,
                     f"{mu} ·", (before.letter, before.now), "+", (d.letter, d.now))  # fmt: skip
    return rule.step(d)


def adagrad(rule: Rule) -> Any:
    """s the sum of all g², w ← w − lr g/(√s + ε)."""
    g, eps, (before, after) = rule.g, rule.setting("eps"), rule.kept("sum", "s")
    if rule.setting("lr_decay"):
        raise KeyError("lr_decay")
    s = rule.say("s", f"← {before.letter} + {squared(g)}", after.now,
                 (before.letter, before.now), "+", (shown(g) + "²", g.now * g.now))  # fmt: skip
    return rule.step(rule.ratio(g, s, eps))


RULES: dict[str, Callable[[Rule], Any]] = {
    "SGD": sgd, "Adam": adam, "AdamW": adam, "RMSprop": rmsprop, "Adagrad": adagrad,
}  # fmt: skip


def lines_of(update: Update, name: str) -> list[Line]:
    """How an update comes about, as far as it is known: at least what the parameter becomes."""
    rule = RULES.get(update.kind)
    if rule is not None and update.g is not None:
        with np.errstate(all="ignore"):
            try:
                writer = Rule(update, name)
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


def shown(x: Value) -> str:
    """A letter above a table."""
    return "∇" if x.letter == GRADIENT else x.letter


def squared(x: Value) -> str:
    """The square of a letter."""
    return f"( {x.letter} )^{{2}}" if x.letter == GRADIENT else f"{x.letter}^{{2}}"


def same(a: Any, b: Any) -> bool:
    """Whether two arrays are the same but for rounding, or neither is finite."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a.shape == b.shape and bool(
        np.allclose(a, b, rtol=CLOSE, atol=CLOSE * largest(b), equal_nan=True)
    )
