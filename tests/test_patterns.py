"""Rules as lines of mathematics: what they match, what they make, and what they leave alone."""

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.program.listing.algebra import (
    with_common_divisors,
    with_factors_outside,
    with_numbers_in_place,
)
from tinygrad_ce.program.ops import run
from tinygrad_ce.program.passes.exact import without_dead_steps
from tinygrad_ce.program.passes.patterns import rules
from tinygrad_ce.program.passes.rewriter import Rewriter

X, Y = np.array([1.5, -2.0, 0.25]), np.array([3.0, 0.5, -4.0])


def told(program):
    """The program as one expression of operations, for each output."""
    makers = program.makers()
    names = dict(zip(program.inputs, "xyz"))

    def text(x):
        if x in names:
            return names[x]
        if x in program.constants:
            return f"{float(program.constants[x]):g}"
        step = makers[x]
        return f"{step.op}({', '.join(map(text, step.operands))})"

    return " ".join(map(text, program.outputs))


def after(line, fn, **how):
    """What a function computes after a rule, told and computed: the values must be the same."""
    return told_after(lambda program: Rewriter(program).run(*rules(line, **how)), fn)


def told_after(change, fn, scope=()):
    """What a function computes after a pass, if it stands in this scope."""
    program = without_dead_steps(tg.trace(fn, tg.tensor(X), tg.tensor(Y)))
    program = program.with_steps(s._replace(scope=scope) for s in program.steps)
    changed = change(program)
    found, wanted = (
        run(p.steps, {**p.constants, **dict(zip(p.inputs, (X, Y)))}) for p in (changed, program)
    )
    for a, b in zip(changed.outputs, program.outputs):
        np.testing.assert_allclose(found[a], wanted[b], rtol=1e-15)
    return told(changed)


@pytest.mark.parametrize(
    ("line", "fn", "wanted"),
    [
        ("x * 1 -> x", lambda x, y: (x * 1.0).exp(), "exp(x)"),
        ("x * 1 -> x", lambda x, y: (1.0 * x).exp(), "exp(x)"),
        ("x / 1 -> x", lambda x, y: 1.0 / x, "divide(1, x)"),
        ("a - -b -> a + b", lambda x, y: x - (-y), "add(x, y)"),
        ("a - -b -> a + b", lambda x, y: (-x) - y, "subtract(negative(x), y)"),
        ("a - a -> a * 0", lambda x, y: x - x, "multiply(x, 0)"),
        ("a - a -> a * 0", lambda x, y: x - y, "subtract(x, y)"),
        ("k * x -> (k + 1) * x - x if k == 2", lambda x, y: x * 2.0, "subtract(multiply(3, x), x)"),
        ("k * x -> -k * -x if k < 0", lambda x, y: x * 2.0, "multiply(x, 2)"),
        ("k * x -> -k * -x if k < 0", lambda x, y: x * -2.0, "multiply(2, negative(x))"),
        ("c * a + c * b -> c * (a + b)", lambda x, y: 2.0 * x + y / 0.5, "multiply(2, add(x, y))"),
        ("c * a + c * b -> c * (a + b)", lambda x, y: -x + -y, "negative(add(x, y))"),
        ("c * a + c * b -> c * (a + b)", lambda x, y: x + y, "add(x, y)"),
        ("(c * a) * (d * b) -> (c * d) * (a * b)", lambda x, y: -x * -y, "multiply(x, y)"),
        ("(q := exp(a)) / (q + b) -> 1 / (1 + b / q)", lambda x, y: x.exp() / (y + x.exp()),
         "divide(1, add(1, divide(y, exp(x))))"),
        ("a * truth(a > 0) -> maximum(a, 0)", lambda x, y: (x > 0).astype(np.float64) * x,
         "maximum(x, 0)"),
        ("exp(a) * exp(b) -> exp(a + b) if a.shape == out.shape", lambda x, y: x.exp() * y.exp(),
         "exp(add(x, y))"),
        ("sum(k * a) -> k * sum(a)", lambda x, y: (x * 3.0).sum(0), "multiply(3, sum(x))"),
        ("log(exp(x)) -> x", lambda x, y: (x.exp().log(), x.log().exp()), "x exp(log(x))"),
    ],
)  # fmt: skip
def test_a_rule_rewrites_what_it_says_and_nothing_else(line, fn, wanted):
    with np.errstate(invalid="ignore"):
        assert after(line, fn) == wanted


ALGEBRA = [  # a pass, what the backward pass computes, as it is written afterwards
    (with_factors_outside, [
        (lambda x, y: 3.0 * (2.0 * x), "multiply(6, x)"),
        (lambda x, y: (2.0 * x) / 4.0, "multiply(0.5, x)"),
        (lambda x, y: (2.0 * x) * (3.0 * y), "multiply(6, multiply(x, y))"),
        (lambda x, y: y * (2.0 * x), "multiply(2, multiply(x, y))"),
        (lambda x, y: (49.0 * x) / (49.0 * y), "divide(x, y)"),  # 49.0 * (1 / 49.0) is not 1.0
        (lambda x, y: (2.0 * x) / y, "multiply(2, divide(x, y))"),
        (lambda x, y: x / (4.0 * y), "multiply(0.25, divide(x, y))"),
        (lambda x, y: 3.0 / (4.0 * y), "divide(3, multiply(4, y))"),
        (lambda x, y: (2.0 * x).sum(), "multiply(2, sum(x))"),
        (lambda x, y: 2.0 * x + 2.0 * y, "multiply(2, add(x, y))"),
        (lambda x, y: 2.0 * x + 3.0 * y, "add(multiply(2, x), multiply(3, y))"),
        (lambda x, y: y * x + y * y, "add(multiply(y, x), multiply(y, y))"),
        (lambda x, y: 2.0 * x - 2.0 * y, "multiply(2, subtract(x, y))"),
        (lambda x, y: -2.0 * x - -2.0 * y, "multiply(2, subtract(y, x))"),
        (lambda x, y: 2.0 * x + -2.0 * y, "multiply(2, subtract(x, y))"),
        (lambda x, y: -2.0 * x + 2.0 * y, "multiply(2, subtract(y, x))"),
        (lambda x, y: 2.0 * x - -2.0 * y, "multiply(2, add(x, y))"),
        (lambda x, y: -x + y, "subtract(y, x)"),
        (lambda x, y: x + -3.0 * y, "subtract(x, multiply(3, y))"),
        (lambda x, y: x + x, "multiply(2, x)"),
        (lambda x, y: (x + y) + y, "add(x, multiply(2, y))"),
        (lambda x, y: -(2.0 * x), "multiply(-2, x)"),
        (lambda x, y: (2.0 / y) * x, "multiply(2, divide(x, y))"),
        (lambda x, y: (2.0 / y) * x.sum(), "multiply(divide(2, y), sum(x))"),
        (lambda x, y: (2.0 / y) * 3.0, "multiply(divide(2, y), 3)"),
    ]),
    (with_common_divisors, [
        (lambda x, y: [q := y.exp() / y, (x / y) * y.exp()][1] + q,
         "add(multiply(divide(exp(y), y), x), divide(exp(y), y))"),
        (lambda x, y: (x / y) * y.exp(), "divide(multiply(x, exp(y)), y)"),
        (lambda x, y: (x / 2.0) * y, "multiply(divide(x, 2), y)"),
        (lambda x, y: (1.0 / y) * x, "multiply(divide(1, y), x)"),
        (lambda x, y: x / y + 2.0 * (x.exp() / y), "divide(add(x, multiply(2, exp(x))), y)"),
        (lambda x, y: x / y - 2.0 * (x.exp() / y), "divide(subtract(x, multiply(2, exp(x))), y)"),
        (lambda x, y: x / y + x.exp() / y, "divide(add(x, exp(x)), y)"),
        (lambda x, y: x / y - x.exp() / y, "divide(subtract(x, exp(x)), y)"),
        (lambda x, y: x / 2.0 + y / 2.0, "add(divide(x, 2), divide(y, 2))"),
        (lambda x, y: (x / y).sum(), "sum(divide(x, y))"),
        (lambda x, y: (x[:, None] * y / y).sum(0), "divide(sum(multiply(slice(x), y)), y)"),
        (lambda x, y: (x[:, None] / y).sum(1), "sum(divide(slice(x), y))"),
    ]),
    (with_numbers_in_place, [
        (lambda x, y: x * -0.25, "negative(divide(x, 4))"),
        (lambda x, y: x * 0.25, "divide(x, 4)"),
        (lambda x, y: x * 0.3, "multiply(0.3, x)"),
        (lambda x, y: x + 1.0, "add(1, x)"),
        (lambda x, y: x + 2.0, "add(x, 2)"),
        (lambda x, y: (1 / 3) * (x.sum() * y), "multiply(divide(sum(x), 3), y)"),
        (lambda x, y: (1 / 3) * (x.sum() / y), "divide(divide(sum(x), 3), y)"),
        (lambda x, y: (1 / 4) * (x.sum() * y), "divide(multiply(sum(x), y), 4)"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fn", "wanted"), [(change, *case) for change, cases in ALGEBRA for case in cases]
)
def test_what_the_backward_pass_computes_is_told_as_in_a_book(change, fn, wanted):
    assert told_after(change, fn, ("backward",)) == wanted
    if change is not with_numbers_in_place:  # the forward pass stays as the user has written it
        assert told_after(change, fn) == told_after(without_dead_steps, fn)


def test_a_known_value_is_read_again_and_an_unknown_one_is_not_made():
    line = "a * b / s -> known(a / s) * b"
    assert after(line, lambda x, y: (x / y, x * 2.0 / y)).endswith(" multiply(divide(x, y), 2)")
    assert after(line, lambda x, y: x * 2.0 / y) == "divide(multiply(x, 2), y)"


def test_a_rule_for_free_values_leaves_what_has_a_name_or_another_reader():
    line = "-(a * b) -> -a * b"
    assert after(line, lambda x, y: -(x * y), free=True) == "multiply(negative(x), y)"

    def twice(x, y):
        products = [x * y]
        return -products[0], products[0].exp()

    def named(x, y):
        z = x * y
        return -z

    assert after(line, named, free=True) == "negative(multiply(x, y))"
    assert after(line, twice, free=True).startswith("negative(multiply(x, y))")
    assert after(line, twice).startswith("multiply(negative(x), y)")


def test_no_rule_gives_a_value_of_another_shape_or_dtype():
    program = tg.trace(lambda x: tg.ones(2, 3) * x, tg.tensor(X))
    same = Rewriter(program).run(*rules("k * x -> x", "a * b -> b"))
    assert same.steps[-1].op == "multiply"
    truths = without_dead_steps(tg.trace(lambda x: (x > 0) * 2.0 * (x < 1), tg.tensor(X)))
    line = "k * a * b -> k * (a * b)"  # of two truths no product of floats is made
    assert told(Rewriter(truths).run(*rules(line))) == told(truths)


def test_rules_that_undo_each_other_come_to_an_end():
    program = tg.trace(lambda x: x + 2.0, tg.tensor(X))
    lines = "a + k -> a - -k", "a - k -> a + -k"
    assert len(Rewriter(program).run(*rules(*lines)).steps) == 1


def test_a_rule_that_changes_nothing_leaves_the_step_to_the_next():
    program = tg.trace(lambda x, y: x + y, tg.tensor(X), tg.tensor(Y))
    changed = Rewriter(program).run(*rules("a + b -> a + b", "a + b -> a - -b"))
    assert told(changed) == "subtract(x, negative(y))"


def test_a_value_that_is_computed_twice_has_the_readers_of_both():
    """So it is no longer free to become a part of what reads it."""

    def twice(x, y):
        products = [x * y, x * y]
        return -products[0], products[1].exp()

    def found_on_the_way(x, y):
        first = [x * y, -(y * y), x * y]
        return first[1], -first[0], first[2].exp()

    wanted = "negative(multiply(x, y)) exp(multiply(x, y))"
    assert after("-(a * b) -> -a * b", twice, free=True) == wanted
    found = after("-(a * b) -> -a * b", found_on_the_way, free=True)
    assert found == f"multiply(negative(y), y) {wanted}"


def test_a_pass_that_finds_nothing_gives_the_program_it_was_given():
    program = without_dead_steps(tg.trace(lambda x, y: x * y + x, tg.tensor(X), tg.tensor(Y)))
    assert Rewriter(program).run(*rules("-(-x) -> x", "x * 1 -> x")) is program


def test_equal_steps_and_constants_are_made_once():
    program = tg.trace(lambda x: (x * 2.0).exp() + (x * 2.0).exp(), tg.tensor(X))
    changed = Rewriter(program).run()
    assert [s.op for s in changed.steps] == ["multiply", "exp", "add"]
    assert len(changed.constants) == 1
    zeros = tg.trace(lambda x: (x * 0.0, x * -0.0), tg.tensor(X))
    assert len(Rewriter(zeros).run().steps) == 2  # 0.0 and -0.0 are not the same bits


def test_a_line_without_an_operation_is_refused():
    with pytest.raises(ValueError, match="no operation"):
        rules("x -> x * 1")


def test_what_would_have_another_shape_is_not_made():
    program = tg.trace(lambda x, y: x[:1] * y, tg.tensor(X), tg.tensor(Y))
    changed = Rewriter(program).run(*rules("x * y -> x + x"))
    assert [s.op for s in changed.steps] == ["slice", "multiply"]
