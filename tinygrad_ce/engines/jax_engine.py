"""`compile(step, engine="jax")`: the traced step on XLA, its state on the device between calls."""

from __future__ import annotations

import gc
from operator import is_
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.backward import COMPILED
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import mark_written, memory_of, tick
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engines.assumed import Checks, with_indices_checked
from tinygrad_ce.engines.away import (
    SLOT,
    Away,
    fetched,
    is_away,
    may_go,
    moving,
    result,
    send_away,
)
from tinygrad_ce.engines.found import jax, jnp
from tinygrad_ce.engines.lower import Lowering
from tinygrad_ce.engines.masks import ready
from tinygrad_ce.engines.parallel import Alone, Spread, as_whole, check_alike, processes
from tinygrad_ce.program.compiling import Compiled, CompiledModule
from tinygrad_ce.program.emit.text import GuardFailure
from tinygrad_ce.program.ir import Program, State, Var
from tinygrad_ce.program.running import MISS, Runner, filled, roots_of
from tinygrad_ce.program.tracing.attributes import AttributeOf
from tinygrad_ce.program.tracing.trace import GradOf, OutputSlot, Trace, mapped


class AssumptionError(RuntimeError):
    """What a program took for granted did not hold; the state is as it was before that call."""


class Failure(NamedTuple):
    """What a program took for granted in vain: in which call first, and the error for it."""

    call: int
    why: str
    text: str


class Left(NamedTuple):
    """What a call has left on the device: the Tensors of the state, where they are, and what."""

    nodes: list[Any]
    aways: list[Away]
    values: tuple[Any, ...]
    memories: list[Any]  # of those that the program writes
    ids: frozenset[int]  # of the Tensors: none of them may be an argument


class Options(NamedTuple):
    """How a step runs: see `compile`."""

    spread: Any = None  # the mesh of devices, or None for one device
    batched: tuple[str, ...] | None = None
    random: str = "host"
    donate: bool = True
    local: bool = False


class JaxCompiled(Compiled):
    """A function that was compiled for XLA: call it as the function itself."""

    engine_options: Options
    split: list[str] | None  # with local=True, of what each process has its rows

    def __init__(self, fn: Any, check: bool, options: Options) -> None:
        super().__init__(fn, check, engine_options=options, split=None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program; each process may give the rows of its own devices only."""
        if self.engine_options.local and current().tracer is None:
            args, kwargs = as_whole(self, args, kwargs)
        return super().__call__(*args, **kwargs)

    def runner_of(self, trace: Trace, without: frozenset[Any] = frozenset()) -> Runner:
        """A program for XLA."""
        return JaxRunner(self, trace, without)

    def compared(self, runner: Any, again: Trace, args: Any, kwargs: Any) -> Any:
        """Run a program and compare it with the trace, where both draw the same numbers."""
        options = self.engine_options
        runner.let_failed_go()
        if options.spread is not None and processes(options.spread) > 1:
            runner.check_processes(args, kwargs)
        if options.random == "host" or not runner.draws:
            result = super().compared(runner, again, args, kwargs)
            del again
            gc.collect(1)  # what was traced holds arrays that could go to the device
            return result
        runner.bound()
        return runner.call(args, kwargs)

    def emitted(self) -> str:
        """The text that really runs: what XLA made of the program that ran last."""
        runner: Any = self.last()
        text: str = runner.text()
        return text

    def wait(self) -> None:
        """Wait until the device has done what it was told last."""
        runner: Any
        for runner in self.runners[:1]:
            jax.block_until_ready((runner.results, runner.last and runner.last.values))

    def sync(self) -> None:
        """Wait for the device, raise what went wrong there, and fetch the whole state."""
        with self.lock:
            for runner in self.runners:
                for state in runner.program.states:
                    holder(state).array  # noqa: B018 - reading fetches
                for grad in runner.program.grads:
                    if isinstance(grad.node._grad, Node):
                        grad.node._grad.array  # noqa: B018


class JaxCompiledModule(CompiledModule, JaxCompiled):
    """A module that was compiled for XLA: see CompiledModule."""


class JaxRunner(Runner):
    """A program, its function for XLA, and its state, which is on the device between calls."""

    program: Program

    def __init__(self, owner: JaxCompiled, trace: Trace, without: frozenset[Any]) -> None:
        self.owner = owner
        self.engine_options = owner.engine_options
        super().__init__(trace, without)
        names = dict(trace.guards.names)
        texts = [t[: -len(".array")] if is_tensors(t) else t for t in trace.texts]
        self.given = eval(f"lambda args, kwargs: ({''.join(t + ', ' for t in texts)})", names)
        places = [place.path for place in (*trace.tensors, *trace.arrays)]
        ids = f"{{{', '.join(f'id({path})' for path in places)}}}"
        self.distinct = eval(f"lambda args, kwargs: len({ids}) == {len(places)}", names)

    def build(self, flatten: bool) -> None:
        """Lower the program; XLA compiles it in the first call."""
        self.program = program = with_indices_checked(ready(self.trace.program))
        self.checks = Checks(program)
        self.draws = [step for step in program.steps if step.op == "draw"]
        looked_at = {x for _, x, _ in self.checks.host}.union(*(s.operands for s in self.draws))
        self.looked_at = [(i, x) for i, x in enumerate(program.inputs) if x in looked_at]
        self.given_last: list[Any] = [NOBODY] * len(program.inputs)  # Tensors, held weakly
        self.on_host = {n for _, n in (*self.trace.written, *self.trace.gradients) if n is not None}
        mapped(self.note_array, self.trace.structure)
        self.changing = [s for s in program.states if s.after is not s.before]
        self.fixed = [s for s in program.states if s.after is s.before]
        self.place = (
            Spread(self.trace, program, self.draws, self.owner)
            if self.engine_options.spread
            else Alone(program, self.draws)
        )
        donate = (2, 5) if self.engine_options.donate else ()
        self.jitted = self.place.jit(self.function(), donate)
        self.numbers: Any = None, ()  # the learning rates, and the same on the device
        self.flag: Any = None  # calls, the first one that failed, and in which assumption
        self.shapes: Any = None  # and dtypes of what XLA is given, and where it lies
        self.looked: Any = None  # the flag that was looked at last
        self.failed: Failure | None = None  # once somebody was told
        self.others: dict[JaxRunner, None] = {}  # whose results the state of the last call was
        self.sources: dict[JaxRunner, None] = {}  # and that of all calls
        self.safe: Any = [], None  # without donation: the state before the last call, and the flag
        self.last: Any = None  # a Left: what the last call left: see `is_steady`

    def function(self) -> Any:
        """The step as a pure function of JAX."""
        program, changing, fixed = self.program, self.changing, self.fixed
        given = {*program.given()}
        grads = [grad.var for grad in program.grads if grad.var is not None]

        def step(
            inputs: Any, numbers: Any, state: Any, constant: Any, drawn: Any, flag: Any, others: Any
        ) -> Any:
            values: dict[Var, Any] = dict(zip(program.inputs, inputs))
            values.update(zip((s.var for s in program.settings), numbers))
            values.update(zip((s.before for s in changing), state))
            values.update(zip((s.before for s in fixed), constant))
            key = None
            if self.engine_options.random == "host":
                values.update(zip((s.out for s in self.draws), drawn))
            elif self.draws:
                key = jax.random.wrap_key_data(drawn)
            values = Lowering(program, values).run(key)
            after = [jnp.asarray(values[s.after]) for s in changing]
            if flag is not None:
                held = [other[1] == 0 for other in others]
                flag = sticky(flag, [*(values[a.var] for a in self.checks.device), *held])
                after = [jnp.where(flag[1] == 0, new, old) for new, old in zip(after, state)]
            outputs = [
                jnp.copy(values[x]) if x in given else jnp.asarray(values[x])
                for x in program.outputs
            ]  # a copy, where the memory of what is handed through would be given away later
            return outputs, after, [jnp.asarray(values[x]) for x in grads], flag

        step.__name__ = program.name
        return step

    # --- whether a program fits ------------------------------------------------------------------

    def bound(self) -> bool:
        """Whether the state has the shapes and dtypes of the program, each in memory of its own."""
        self.states = []  # those at home, in memory that others may share
        for state in self.program.states:
            node = holder(state)
            if is_away(node):
                continue
            if node.array.shape != state.before.shape or node.array.dtype != state.before.dtype:
                return False  # pragma: no cover - arrays exchanged behind a Tensor's back
            self.states.append(node)
        written = {id(holder(s)) for s in self.changing}
        self.roots = roots_of([node for node in self.states if id(node) in written])
        self.live_roots = roots_of([node for node in self.states if node.live])
        return True

    def unaliased(self, args: Any, kwargs: Any) -> bool:
        """See Runner; what is on the device is in memory of its own, but may be an argument."""
        places = [place.find(args, kwargs) for place in self.trace.tensors]
        states = {id(node): s for s in self.program.states if is_away(node := holder(s))}
        met = [(x, states[id(x)]) for x in places if id(x) in states]
        if any(x.live or s.after is not s.before for x, s in met):
            return False
        return super().unaliased(args, kwargs)

    def is_steady(self) -> bool:
        """Whether the whole state is on the device, as the last call has left it."""
        if self.last is None:
            return False
        nodes, aways, values = self.last[:3]
        where = map(SLOT.__get__, nodes)
        return all(map(is_, where, aways)) and all(map(is_, map(VALUE, aways), values))

    def usual_call(self) -> Any:
        """See Runner."""
        return self.steady_call

    # --- a call ----------------------------------------------------------------------------------

    def call(self, args: Any, kwargs: Any) -> Any:
        """Run the program on these arguments."""
        given = self.given(args, kwargs)
        with moving:
            return self.run_on(given, self.is_steady(), args, kwargs)

    def steady_call(self, args: Any, kwargs: Any) -> Any:
        """The same, if the program is the one to run and its state is as the last call has left it,
        on the device, where no argument can share its memory; else MISS.
        """
        if self.to_be_checked() or self.trace.written:
            return MISS
        if not (self.fits(args, kwargs) and self.distinct(args, kwargs)):
            return MISS
        given = self.given(args, kwargs)
        with moving:  # who has read or written the state, in this thread or another, is done
            if self.owner.runners[:1] != [self] or not self.is_steady():
                return MISS
            if not self.last.ids.isdisjoint(map(id, given)):
                return MISS
            try:
                return self.run_on(given, True, args, kwargs)
            except GuardFailure:
                return MISS

    def run_on(self, given: Any, steady: bool, args: Any, kwargs: Any) -> Any:
        """Run the program on inputs; nobody reads or writes the state meanwhile."""
        self.roots, self.live_roots = {}, {}  # who holds the array of a state keeps it here
        arrays = dict(self.program.constants)
        for i, x in self.looked_at:
            arrays[x] = given[i].array if isinstance(given[i], Node) else given[i]
        failing = self.checks.failing(arrays)
        if failing is not None:
            raise GuardFailure(failing)
        if not self.engine_options.donate:
            self.wait_for_state()
            self.check()
        with jax.enable_x64(True):
            drawn = self.drawn(arrays)
            del arrays  # who holds an array keeps it here
            inputs = tuple([self.input(x, i) for i, x in enumerate(given)])
            if steady:
                values, n = self.last.values, len(self.changing)
                state, constant = values[:n], values[n:]
            else:
                self.others = {}
                state = tuple(map(self.value_of, self.changing))
                constant = tuple(map(self.value_of, self.fixed))
            others = tuple(runner.flag for runner in self.others if runner.failed is None)
            if self.flag is None and (self.checks.device or others):
                self.flag = self.place.state(np.array([self.calls, 0, 0], np.int64))
            all_given = (inputs, self.rates(), state, constant, drawn, self.flag, others)
            if self.shapes is None:
                self.shapes = jax.tree.map(described, all_given)
            outputs, after, grads, self.flag = self.jitted(*all_given)
        self.calls += 1
        self.leave_all(after, constant, steady)
        if not self.engine_options.donate:
            self.keep(after, state, all_given[5])
        self.leave_gradients(grads)
        if not (self.last or all(is_away(holder(s)) for s in self.changing)):
            self.check()  # memory that others look at: nobody reads it through us
        return self.handed_out(outputs, args, kwargs)

    def check_processes(self, args: Any, kwargs: Any) -> None:
        """Stop, in all processes, if one has another program, state or batch than the others."""
        program = self.program
        check_alike(program.name, {
            "steps of the program": [(s.op, s.out.shape, str(s.out.dtype)) for s in program.steps],
            "arguments": [np.asarray(x) for x in self.arrays(args, kwargs)],
            "parameters and other state": [np.asarray(holder(s).array) for s in program.states],
            "learning rates": [float(s.group[s.key]) for s in program.settings],
            "random numbers": [np.asarray(s.attrs["generator"].get_state()) for s in self.draws],
        })  # fmt: skip

    def drawn(self, arrays: dict[Var, Any]) -> Any:
        """The random numbers of a call, or the key for them."""
        if not self.draws:
            return ()
        if self.engine_options.random == "device":
            words = self.draws[0].attrs["generator"].randint(0, 1 << 32, (2,))
            return self.place.state(words.astype(np.uint32))
        return tuple(
            self.place.put(drawn_on_host(step, arrays), at)
            for step, at in zip(self.draws, self.place.drawn_at)
        )

    def rates(self) -> tuple[Any, ...]:
        """The learning rates, on the device: sent again when one of them is another."""
        now = tuple(float(s.group[s.key]) for s in self.program.settings)
        if now != self.numbers[0]:
            self.numbers = now, tuple(self.place.state(np.float64(x)) for x in now)
        return self.numbers[1]

    def input(self, x: Any, i: int) -> Any:
        """Input number i as XLA takes it. A large Tensor that has come twice in a row stays on the
        device, too, until another one comes in its place or somebody reads it.
        """
        place, at = self.place, self.place.inputs_at[i]
        if not isinstance(x, Node):
            return place.put(x, at)
        last = self.given_last[i]()
        if last is not x:
            self.given_last[i] = ref(x)
            if last is not None and is_away(last) and SLOT.__get__(last).kept is not None:
                fetched(last)
        if is_away(x):
            away: Away = SLOT.__get__(x)
            sure = away.kept is not None or away.runner.flag is None
            if sure and away.runner.place.key == place.key and lies(away.value, at):
                return away.value
        if last is not x or x.array.nbytes < LARGE or not may_go(x):
            return place.put(x.array, at)
        value = place.state(x.array, at)
        send_away(x, value, self, x.array)
        return value

    def value_of(self, state: State) -> Any:
        """A state on the device; if it is there already, as it is."""
        node = holder(state)
        if is_away(node):
            away: Away = SLOT.__get__(node)
            away.runner.check_result(away)
            if away.runner is not self and away.runner.flag is not None:
                self.others[away.runner] = self.sources[away.runner] = None
            if away.kept is None and away.runner.place.key == self.place.key:
                return away.value
        value = self.place.state(node.array)
        if state.before is state.after and isinstance(state.node, Node) and may_go(node):
            send_away(node, value, self)
        return value

    def leave_all(self, after: Any, constant: Any, steady: bool) -> None:
        """Let the state be what it is after the run, and remember where it is."""
        if steady:
            last = self.last
            now, writer = tick(), self.program.name + "()"
            for away, value in zip(last.aways, after):
                away.value = value
            for memory in last.memories:
                memory.written, memory.writer = now, writer
            self.last = last._replace(values=(*after, *constant))
            return
        for s, value in zip(self.changing, after):
            self.leave_state(s, value)
        nodes = [s.node for s in (*self.changing, *self.fixed)]
        plain = all(isinstance(node, Node) and is_away(node) for node in nodes)
        self.last = None
        if plain:
            memories = [memory_of(s.node) for s in self.changing]
            aways = [SLOT.__get__(node) for node in nodes]
            ids = frozenset(map(id, nodes))
            self.last = Left(nodes, aways, (*after, *constant), memories, ids)

    def leave_state(self, state: State, value: Any) -> None:
        """Let a Tensor have its new numbers: on the device, or, if somebody else looks at its
        memory, there.
        """
        if isinstance(state.node, AttributeOf):
            tensor = leaf(np.array(value))
            tensor.detached_by = COMPILED if state.node.live else None
            state.node.tensor = tensor
            return
        node = holder(state)
        if is_away(node) or may_go(node):
            send_away(node, value, self)
        else:
            np.copyto(node.array, np.asarray(value))
        mark_written(node, self.program.name + "()")

    def keep(self, after: Any, before: Any, flag: Any) -> None:
        """Remember the state before this call, until it is known that the device has done it."""
        nodes = [holder(s) for s in self.changing]
        states = [
            (SLOT.__get__(node), new, old)
            for node, new, old in zip(nodes, after, before) if is_away(node)
        ]  # fmt: skip
        self.safe = states, flag

    def wait_for_state(self) -> None:
        """Wait until the device has done the last call; if it has failed, raise."""
        try:
            jax.block_until_ready(
                [away.value for away, new, _ in self.safe[0] if away.value is new]
            )
        except RuntimeError as error:
            raise self.lost(error) from error

    def lost(self, error: Exception) -> RuntimeError:
        """The error for numbers that the device does not have. Without donation the state before
        the call is put back.
        """
        name = self.program.name
        self.owner.forget(self)
        if self.engine_options.donate:
            return RuntimeError(
                f"compile: {name} failed on the device, and its results are lost: {error}. "
                "The memory of the state was given to the step; compile(donate=False) keeps the "
                "state before it. Write the state anew (load_state_dict, x.copy_(v), x.data = v); "
                "the next call traces the function again"
            )
        states, self.flag = self.safe
        self.safe = [], self.flag
        for away, new, old in states:
            if away.value is new:
                away.value = old
        return RuntimeError(
            f"compile: {name} failed on the device: {error}. Its results are lost; the state is as "
            "it was before the last call, and the next call traces the function again"
        )

    def let_failed_go(self) -> None:
        """Forget gradients of calls that have failed, where the program only puts others there."""
        added_to = {id(s.node.node) for s in self.program.states if isinstance(s.node, GradOf)}
        for node in (grad.node for grad in self.program.grads):
            if id(node) not in added_to and is_away(node._grad):
                away: Away = SLOT.__get__(node._grad)
                if away.runner.is_failed(away):
                    node._grad = None

    def leave_gradients(self, values: Any) -> None:
        """Let the `.grad` of each tensor be what it is after the run."""
        new = iter(values)
        for grad in self.program.grads:
            grad.node._grad = None if grad.var is None else self.tensor(next(new))

    def tensor(self, value: Any) -> Any:
        """A Tensor whose numbers are on the device."""
        return result(value, self, self.calls)

    def note_array(self, x: Any) -> None:
        """Remember an output that is handed out as an array of NumPy."""
        if isinstance(x, OutputSlot) and x.array:
            self.on_host.add(x.number)

    def handed_out(self, outputs: Any, args: Any, kwargs: Any) -> Any:
        """What the function returns, and what it does to its arguments."""
        trace = self.trace
        values = self.results = tuple(outputs)
        if self.on_host:
            self.check()
            values = tuple(np.array(x) if i in self.on_host else x for i, x in enumerate(outputs))
        if trace.written or trace.gradients or trace.live:
            self.write_arguments(values, args, kwargs)
        return filled(trace.structure, values, args, kwargs, self.tensor)

    def text(self) -> str:
        """What XLA has made of the program."""
        with jax.enable_x64(True):
            text: str = self.jitted.lower(*self.shapes).compile().as_text()
        return text

    # --- reading ---------------------------------------------------------------------------------

    def fetched(self, away: Away) -> Any:
        """The numbers of a Tensor that is away, in memory of their own."""
        self.check()
        self.check_result(away)
        try:
            return np.array(away.value)
        except RuntimeError as error:
            raise self.lost(error) from error

    def check(self) -> None:
        """Raise, once, if an assumption of the program, or of those that its state came from, did
        not hold in a call before.
        """
        if self.failed is None and (failure := self.failure()) is not None:
            raise AssumptionError(failure.text)

    def check_result(self, away: Away) -> None:
        """Raise if this is a result or a gradient of a call that is known to have failed."""
        if self.failed is not None and self.is_failed(away):
            raise AssumptionError(self.failed.text)

    def is_failed(self, away: Away) -> bool:
        """Whether this is a result or a gradient of such a call; the state is as it was."""
        failed = self.failed
        return failed is not None and away.call is not None and away.call >= failed.call

    def failure(self) -> Failure | None:
        """What the flag tells. The runner of a call that has failed does not run again."""
        if self.failed is not None or self.flag is None or self.looked is self.flag:
            return self.failed
        flag = self.flag
        try:
            _, call, which = np.asarray(flag).tolist()
        except RuntimeError as error:  # pragma: no cover - the device fails
            raise self.lost(error) from error
        self.looked = flag
        if call:
            if which < len(self.checks.device):
                told = self.checks.told(which)
                why = f"it did not hold that {told}, which the program takes for granted"
            else:
                name, first = next((r.program.name, f) for r in self.sources if (f := r.failure()))
                why = f"the state came from {name}, and there in call {first.call} {first.why}"
            self.failed = Failure(call, why, FAILED.format(call, self.program.name, why))
            self.owner.forget(self)
        return self.failed


LARGE = 1 << 16  # bytes of an input that is kept on the device
NOBODY: Any = lambda: None  # noqa: E731 - a reference to nothing
VALUE: Any = vars(Away)["value"].__get__

FAILED = (
    "compile: in call {} of {} on this program {}. The state is as it was before that call, and no "
    "later call has changed it, but what they have returned, and their gradients, are of no use; "
    "the next call traces the function again"
)


def described(x: Any) -> Any:
    """The shape and dtype of an array, and on which devices it is."""
    return jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=getattr(x, "sharding", None))


def lies(value: Any, at: Any) -> bool:
    """Whether an array of the devices is divided as it should be."""
    return at is None or value.sharding.is_equivalent_to(at, value.ndim)


def is_tensors(text: str) -> bool:
    """Whether an input of a program is the array of a Tensor among the arguments."""
    return text.endswith(".array") and not text.endswith("._grad.array")


def holder(state: State) -> Any:
    """The Tensor that holds a state now."""
    if isinstance(state.node, GradOf):
        return state.node.node._grad
    return state.node.tensor if isinstance(state.node, AttributeOf) else state.node


def sticky(flag: Any, held: list[Any]) -> Any:
    """The flag after a call: calls, the first one that failed, and which assumption."""
    ok = jnp.stack([jnp.asarray(x, bool) for x in (*held, True)])
    call, now = flag[0] + 1, (flag[1] == 0) & ~ok.all()
    return jnp.stack([call, jnp.where(now, call, flag[1]), jnp.where(now, jnp.argmin(ok), flag[2])])


def drawn_on_host(step: Any, arrays: dict[Var, Any]) -> Any:
    """Random numbers from our generator."""
    if not all(x in arrays for x in step.operands):
        raise NotImplementedError(
            f"compile: {step.attrs['method']} at {step.line} draws with numbers that the step "
            'computes on the device; random="host" draws before the step. Pass random="device"'
        )
    args = table.filled(step.attrs["args"], tuple(arrays[x] for x in step.operands))
    generator = step.attrs["generator"]
    return getattr(generator, step.attrs["method"])(*args, **step.attrs["kwargs"])
