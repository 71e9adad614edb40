"""Programs that people write: compiled, listed and after each pass they do what eager code does."""

import numpy as np
import pytest
from programs import PROGRAMS
from side_by_side import agree, numbers_of, side_by_side

import tinygrad_ce as tg
from tinygrad_ce.program.listing.formulas import FORMULAS
from tinygrad_ce.program.listing.listing import Listing, function_name, oracle, shown_program
from tinygrad_ce.program.passes.exact import EXACT
from tinygrad_ce.program.passes.order import FAST

by_name = pytest.mark.parametrize("build", PROGRAMS, ids=lambda build: build.__name__)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@by_name
def test_compiled_it_does_what_eager_code_does(build, dtype):
    calls = build(dtype)[2]
    noise = 1e-13 if dtype == np.float64 else 1e-5
    compiled = side_by_side(lambda: build(dtype)[:2], calls, noise=noise)
    assert len(compiled.runners) == 1


# --- the text ---------------------------------------------------------------------------------


def arguments_of(shown, program, arrays, state):
    """What the text is called with: inputs, state, settings, draws and large constants."""
    given = dict(zip(program.inputs, arrays))
    given.update((s.before, state[s.before]) for s in program.states)
    given.update((s.var, s.group[s.key]) for s in program.settings)
    given.update(shown.program.constants)
    for step in program.steps:
        if step.op == "draw":
            how = step.attrs
            given[step.out] = getattr(how["generator"], how["method"])(
                *how["args"], **how["kwargs"]
            )
    return [given[x] for x in shown.parameters()]


def flat(x):
    """All arrays of what a function gives, one after the other."""
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, (list, tuple)):
        return [a for part in x for a in flat(part)]
    return [] if x is None else [np.asarray(numbers_of(x))]


def text_does_what_eager_code_does(step, calls, level):
    program = tg.trace(step, *map(tg.tensor, calls[0]))
    shown = Listing(shown_program(program, level), level == "primitive")
    names = {}
    exec(program.source(level), names)
    run = names[function_name(program.name)]
    state = {s.before: np.array(s.node.array) for s in program.states}
    for call in calls[:3]:
        before = tg.get_rng_state()
        found = run(*arguments_of(shown, program, [a.copy() for a in call], state))
        tg.set_rng_state(before)
        wanted = flat(step(*map(tg.tensor, call)))
        found = flat(found)[: len(wanted)]
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted):
            agree(a, b, noise=1e-13)
        for s in program.states:
            agree(state[s.before], np.asarray(s.node.array), noise=1e-13)


@pytest.mark.parametrize("level", ["formula", "primitive"])
@by_name
def test_its_text_does_what_eager_code_does(build, level):
    step, _, calls = build(np.float64)
    text_does_what_eager_code_does(step, calls, level)


# --- each pass alone --------------------------------------------------------------------------


@by_name
def test_each_pass_alone_keeps_what_it_computes(build):
    step, _, calls = build(np.float64)
    keeps_what_it_computes(step, calls[0])


def keeps_what_it_computes(step, call):
    program = tg.trace(step, *map(tg.tensor, call))
    wanted = [np.asarray(x) for x in results(program, program)]
    before = tg.get_rng_state()
    eager = flat(step(*map(tg.tensor, call)))
    tg.set_rng_state(before)
    for a, b in zip(wanted, eager):
        np.testing.assert_array_equal(a, b)
    for change in dict.fromkeys((*EXACT, *FAST, *FORMULAS)):
        found = results(change(program), program)
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted):
            if change in EXACT:
                np.testing.assert_array_equal(a, b, err_msg=change.__name__)
            else:
                agree(np.asarray(a), b, noise=1e-13)


def results(program, traced):
    values = oracle(program, traced.example)
    return [values[x] for x in program.roots()]
