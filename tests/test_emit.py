"""The text of a program: in what order, in which memory, and always the same."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_passes import NETS, traced

import tinygrad_ce as tg
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program.emit.emitter import emit
from tinygrad_ce.program.emit.kernels import KERNELS
from tinygrad_ce.program.emit.memory import Plan
from tinygrad_ce.program.emit.schedule import LONG, Loop, scheduled, steps_of
from tinygrad_ce.program.passes.order import optimised
from tinygrad_ce.program.tracing.trace import trace_call


def plan_of(function, *examples):
    """The steps of a function as compile() runs them, and where their values live."""
    program = optimised(trace_call(function, examples, {}).program)
    schedule = scheduled(program)
    return program, schedule, Plan(program, schedule, KERNELS)


def kinds(plan):
    """How many memories of each kind there are."""
    found = [m.kind for m in plan.memories]
    return {kind: found.count(kind) for kind in found}


# --- memory -------------------------------------------------------------------------------------

x = tg.ones(3, 4)
row = tg.ones(4)
PLANS = {  # a function, and the memory that it takes
    "in place": (lambda x: ((x * 2.0).exp() + 1.0).sin(), {"input": 1, "buffer": 1}),
    "two at a time": (lambda x: (y := x * 2.0) + y.exp(), {"input": 1, "buffer": 2}),
    "views": (lambda x: x.T[1:].reshape(9), {"input": 1, "call": 0, "buffer": 1}),
    "another size": (lambda x: (x * 2.0).sum(1).exp(), {"input": 1, "buffer": 2}),
    "numbers": (lambda x: (x * x).sum() * 2.0 + 1.0, {"input": 1, "buffer": 1}),
    "what NumPy makes": (lambda x: x.cumsum(0) * 2.0, {"input": 1, "call": 1, "buffer": 1}),
    "constants": (lambda x: x * row.detach().clone(), {"input": 1, "state": 1, "buffer": 1}),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_takes_no_more_memory_than_it_must(name):
    function, wanted = PLANS[name]
    _, _, plan = plan_of(function, x)
    assert kinds(plan) == {k: n for k, n in wanted.items() if n}


def test_a_state_is_written_in_place_if_nobody_reads_the_old_value_later():
    w = tg.ones(3, 4)

    def in_place(x):
        w.mul_(0.5)
        return x + w

    def read_later(x):
        old = w * 1.0
        before = w.exp()
        w.mul_(0.5)
        return x + old + before * w

    program, _, plan = plan_of(in_place, x)
    (state,) = program.states
    assert plan.places[state.after] is plan.places[state.before]
    program, _, plan = plan_of(lambda x: (w.add_(1.0), x * w)[1], x)
    assert plan.places[program.states[0].after] is plan.places[program.states[0].before]
    program, _, plan = plan_of(read_later, x)
    steps = [s.out for s in program.steps]
    old = [s for s in program.steps if program.states[0].before in s.operands]
    here = plan.places[program.states[0].after] is plan.places[program.states[0].before]
    assert here == (max(steps.index(s.out) for s in old) <= steps.index(program.states[0].after))


@pytest.mark.parametrize("choice", [
    lambda c, w, x: tg.where(c, w, x),
    lambda c, w, x: tg.where(c, x, w),
    lambda c, w, x: tg.where(c, w.T, w),
    lambda c, w, x: tg.where(c, w, w.T),
    lambda c, w, x: tg.where(w > 1.0, x, w),
    lambda c, w, x: tg.where(c[0], w * 2.0, w),
    lambda c, w, x: tg.where(c, (w * 2.0).T, w * 2.0),
])  # fmt: skip
def test_a_choice_is_made_before_what_is_chosen_from_is_overwritten(choice):
    start = np.arange(9.0).reshape(3, 3)
    c = tg.tensor(start % 2 == 0.0)
    w, v = tg.tensor(start.copy()), tg.tensor(start.copy())
    compiled = tg.compile(lambda x: w.copy_(choice(c, w, x)))
    for k in range(4):
        x = tg.tensor(start[::-1] + k)
        compiled(x)
        v.copy_(choice(c, v, x))
        assert w.tolist() == v.tolist()


def test_gradients_are_made_where_the_update_reads_them():
    """All of them are pieces of one array, in the order of the parameters."""
    program, made = traced(NETS[0], np.float32)
    program = optimised(program)
    plan = Plan(program, scheduled(program), KERNELS)
    (flat,) = (s for s in program.steps if s.op == "flatten")
    for g, piece in zip(flat.operands, flat.attrs["slices"]):
        assert plan.is_in_place(flat, g, piece)
        assert plan.places[g].memory is plan.places[flat.out].memory
    del made


def test_a_plan_is_shown_without_a_line_of_text():
    _, _, plan = plan_of(PLANS["in place"][0], x)
    lines = str(plan).split("\n")
    assert lines[0] == "x: float32 (3, 4): input 0"
    ops = ["multiply", "exp", "add", "sin"]
    assert lines[1:-2] == [f"{op} -> value: float32 (3, 4): buffer 1" for op in ops]
    assert lines[-2:] == ["input 0: 48 bytes", "buffer 1: 48 bytes"]


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_no_value_is_overwritten_while_it_is_needed(net):
    """Of two values in one buffer one is read for the last time before the other is made, or by
    the very step that makes it, elementwise.
    """
    program, made = traced(net, np.float32)
    program = optimised(program)
    schedule = scheduled(program)
    plan = Plan(program, schedule, KERNELS)
    born = {s.out: i for i, item in enumerate(schedule.items) for s in steps_of(item)}
    root = {x: x for x in plan.places}  # views live as long as what they show
    for s in program.steps:
        if plan.ways.get(s.out) == "view":
            root[s.out] = root[s.operands[0]]
    ends = {}
    for i, item in enumerate(schedule.items):
        ends.update((root[x], i) for x in item.operands if x in root)
    for x in program.roots():
        if x in root:
            ends[root[x]] = len(schedule.items)
    shared = 0
    for a in born:
        for b in born:
            if a is b or {a, b} - plan.places.keys() or root[a] is not a or root[b] is not b:
                continue
            one, two = plan.places[a], plan.places[b]
            if one.memory is two.memory and one.piece is None and born[a] <= born[b]:
                shared += 1
                assert ends.get(a, born[a]) <= born[b], (a, b)
    assert shared > 5
    del made


# --- order --------------------------------------------------------------------------------------


def test_assumptions_come_first_and_draws_keep_their_order():
    noise = tg.random.Generator().manual_seed(1)
    w = tg.ones(3)

    def f(x):
        w.add_(1.0)
        first = tg.rand(3, generator=noise)
        y = F.silu(x * tg.rand(3, generator=noise))
        return y + first + tg.rand(3, generator=noise) + w

    program, schedule, _ = plan_of(f, tg.ones(3))
    checks = {a.var for a in program.assumptions}
    if checks:
        places = [i for i, s in enumerate(schedule.items) if s.out in checks]
        assert schedule.guarded == max(places) + 1
    draws = [s for s in schedule.items if not isinstance(s, Loop) and s.op == "draw"]
    assert draws == [s for s in program.steps if s.op == "draw"]
    assert len(schedule.draws) in (0, 2)


def test_a_long_row_is_one_loop_with_few_blocks():
    _, schedule, plan = plan_of(lambda x: ((x * 2.0).exp() + x.sin() * 3.0).sum(), tg.ones(LONG))
    (loop,) = (item for item in schedule.items if isinstance(item, Loop))
    assert [s.op for s in loop.steps] == ["multiply", "exp", "sin", "multiply", "add", "sum"]
    assert len({*plan.blocks.values()}) == 2
    assert kinds(plan) == {"input": 1}


def test_a_loop_that_most_values_leave_is_none():
    w = tg.zeros(LONG, requires_grad=True)
    optimizer = tg.optim.Adam([w])

    def step(x):
        optimizer.zero_grad()
        loss = (w * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    _, schedule, _ = plan_of(step, tg.ones(LONG))
    assert not any(isinstance(item, Loop) for item in schedule.items)


# --- text ---------------------------------------------------------------------------------------


def text_of(net):
    program, _made = traced(net, np.float32)
    return emit(optimised(program)).source


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_the_text_is_the_same_each_time(net):
    held = [np.empty(n) for n in range(50)]  # so that things lie elsewhere in memory
    first = text_of(net)
    del held
    assert text_of(net) == first


def test_the_text_is_the_same_in_every_process():
    """Sets of texts have another order in each."""
    code = (
        "from test_emit import NETS, text_of\n"
        "import hashlib\n"
        "print(hashlib.md5(''.join(map(text_of, NETS)).encode()).hexdigest())"
    )
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    found = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed}
        run = [sys.executable, "-c", code]
        result = subprocess.run(run, capture_output=True, text=True, check=True, env=env)
        found.add(result.stdout)
    assert len(found) == 1
