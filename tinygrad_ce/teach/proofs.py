"""teach.prove: that two functions, or a gradient and a formula, are equal for all real numbers.

Both sides are traced, and their programs are run on formulas (elements.py, regions.py, algebra.py).
Differences that come out as nothing are a proof; numbers at which the sides differ are a
refutation; else it stays undecided.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinygrad_ce.autograd import grad
from tinygrad_ce.creation import tensor, zeros
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.program.ir import Program, Var
from tinygrad_ce.program.tracing.symbol import TraceError
from tinygrad_ce.program.tracing.trace import trace_call
from tinygrad_ce.teach import algebra, regions
from tinygrad_ce.teach.algebra import Ratio, Symbol, TooLargeError, UndefinedError
from tinygrad_ce.teach.elements import Digits, Formulas, Run, UnsupportedError
from tinygrad_ce.teach.reach import within_reach
from tinygrad_ce.teach.regions import as_value

POINTS, FIRST = 100, 24  # at which numbers are compared: before the proof, and where there is none
WORK = 1_000_000
LOCK = threading.RLock()  # what a proof assumes is known to its whole module: one at a time
UNKNOWN = (TooLargeError, UndefinedError, UnsupportedError, NotImplementedError, RecursionError)

WORDS: dict[Any, str] = {
    TooLargeError: "It is too large",
    UndefinedError: "It has no value",
    RecursionError: "It has too many cases",
}

Point = dict[str, np.ndarray]
Function = Callable[..., Any]


DRAWS: tuple[Callable[[np.random.Generator, tuple[int, ...]], Any], ...] = (
    lambda stream, s: stream.uniform(0.1, 0.9, s),
    lambda stream, s: stream.normal(size=s),
    lambda stream, s: np.zeros(s),
    lambda stream, s: np.full(s, stream.integers(-2, 3)),
    lambda stream, s: stream.integers(-2, 3, s),
    lambda stream, s: 10 * stream.normal(size=s),
    lambda stream, s: stream.integers(0, 2, s),
    lambda stream, s: stream.normal(size=s) * 10 ** stream.uniform(-3, 4),
)


@dataclass(frozen=True, repr=False)
class Proof:
    """What is known of an equation: `status`, and what that rests on."""

    status: str
    """ "proved", "refuted" or "undecided"."""
    claim: str
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    compared: tuple[str, ...] = ()
    """What was shown to be equal, or what differs: "value", "gradient of x"."""
    regions: tuple[str, ...] = ()
    """The polynomials whose signs tell the regions apart; each is looked at <, = and > 0."""
    assumptions: tuple[str, ...] = ()
    """What is taken for granted, so that each step has a value: nothing is said of others."""
    left_out: tuple[str, ...] = ()
    """Regions in which a step has no value: of them nothing is said."""
    counterexample: Point | None = None
    """Numbers for the inputs (and weights g of the output) at which the sides differ."""
    values: tuple[Any, Any] | None = None
    """What both sides give there."""
    reason: str = ""

    @property
    def text(self) -> str:
        """The report in words."""
        sizes = ", ".join(f"{name} {shape}" for name, shape in self.sizes.items())
        if self.status == "refuted":
            numbers = written(self.counterexample or {})
            left, right = self.values or ("", "")
            where = f"{self.compared[0]} differs: {left} and {right}, at {numbers}"
            return f"refuted: {self.claim}. {where}"
        if self.status == "undecided":
            return f"undecided: {self.claim}. {self.reason}"
        those = f" with {listed(self.assumptions)}" if self.assumptions else ""
        lines = [f"proved: {self.claim}, for all real numbers{those}; sizes {sizes}"]
        lines.append(f"equal: {', '.join(self.compared)}")
        if self.regions:
            lines.append(f"by cases, < 0, = 0 and > 0 of: {listed(self.regions)}")
        if self.left_out:
            lines.append(f"left out, where a step has no value: {listed(self.left_out)}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


def written(point: Point) -> str:
    """Numbers for the inputs."""
    numbers = {k: np.array2string(v, separator=", ", floatmode="unique") for k, v in point.items()}
    return "; ".join(f"{k} = {v}" for k, v in numbers.items())


def listed(texts: tuple[str, ...], most: int = 6) -> str:
    """Some texts, and how many more there are."""
    more = f", and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def prove(
    function: Function,
    *,
    same: Function | None = None,
    gradient: Mapping[str, Function] | None = None,
    work: int = WORK,
    **inputs: Any,
) -> Proof:
    """Show that function = same, in value and every gradient, or ∂function/∂z = gradient["z"].

    inputs: by name, in the order of the function's arguments: a tuple is the shape of a tensor of
    real numbers, a list or array is a constant (targets, indices). same: a function of the same
    arguments. gradient: for some inputs, a formula of inputs by their names, in Tensors or NumPy
    functions. Where the function gives more than one number, its formulas take the gradient that
    comes from above as `g` (`g_` if an input is called so), of the shape of the output, or return
    the Jacobian, of shape (*output, *input). Tensors that require a gradient and that the function
    knows (parameters) are real numbers, too.

    The programs of both sides are run on formulas, so what is compared is what the engine does,
    kinks and ties included. `.status` is "proved": equal at these sizes for all real numbers for
    which `.assumptions` hold, but those in `.left_out`, `.regions` told apart; "refuted":
    `.counterexample` has numbers for which `.values` differ; or "undecided": neither was found,
    `.reason` says why. A constant is read as the simplest fraction, root or multiple of √π that
    rounds to it: 0.1 is 1/10. A search that takes more than `work` products of terms is given up:
    undecided. Needs SymPy.

    Raises ImportError without SymPy, ValueError if shapes do not fit, TypeError for what is no
    function or returns no tensor.

    >>> from tinygrad_ce.nn import functional as F
    >>> slope = {"z": lambda z, g: g * F.sigmoid(z) * F.sigmoid(-z)}
    >>> print(prove(F.sigmoid, gradient=slope, z=(2,)).status)
    proved
    >>> print(prove(F.relu, same=lambda x: x * (x >= 0), x=()).text)
    refuted: relu = the other. gradient of x differs: 0.0 and 1.0, at x = 0.
    """
    needed()
    if (same is None) == (gradient is None):
        raise TypeError("prove: wanted same=a function, or gradient={name: a formula}")
    for f in [function, *([same] if same else []), *(gradient or {}).values()]:
        if not callable(f):
            raise TypeError(f"prove: got a {type(f).__name__}; wanted a function")
    for name in gradient or {}:
        if name not in inputs or type(inputs[name]) is not tuple:
            raise ValueError(
                f"prove: gradient of {name!r}: no input of real numbers has that name; "
                f"give its shape, {name}=(2, 3)"
            )
    with LOCK, np.errstate(all="ignore"):
        return Equation(function, same, gradient, inputs, work).decided()


def needed() -> None:
    """SymPy, which brings mpmath."""
    try:
        import sympy  # noqa: F401
    except ImportError:
        raise ImportError('teach.prove needs SymPy: pip install "tinygrad_ce[teach]"') from None


def name_of(function: Function, otherwise: str = "the function") -> str:
    """What a function is called."""
    name = getattr(function, "__name__", type(function).__name__)
    return name if name.isidentifier() else otherwise


def array_of(x: Any) -> np.ndarray:
    """A Tensor, or what NumPy makes an array of."""
    return np.asarray(x.detach() if isinstance(x, Tensor) else x)


class Side:
    """One side of an equation: a function, what it gives, and its program."""

    def __init__(self, function: Function, equation: Equation, formula: str = "") -> None:
        self.function, self.equation, self.formula = function, equation, formula
        self.printed = False

    # --- eager ----------------------------------------------------------------------------------

    def outputs(self, *xs: Any) -> list[Any]:
        """The value and its gradients, or what the formula gives. The weights come last."""
        *inputs, weights = xs
        named = dict(zip(self.equation.inputs, inputs))
        if self.formula:
            takes = inspect.signature(self.function).parameters.values()
            own = [p.name for p in takes if p.default is p.empty]
            known = {**named, self.equation.above: weights}
            if all(name in known for name in own):
                return [self.function(**{n: known[n] for n in own})]
            return [self.function(*inputs)]
        leaves = self.equation.leaves(inputs)
        value = self.value(leaves)
        wrt = [*(leaves[n] for n in self.equation.shapes), *self.equation.parameters]
        slopes: Any = [None] * len(wrt)
        if value.requires_grad:
            total = (value * weights).sum() if value.shape else value
            slopes = grad(total, wrt, allow_unused=True)
        pairs = zip(slopes, wrt)
        return [value, *(zeros(*x.shape, dtype=x.dtype) if s is None else s for s, x in pairs)]

    def value(self, leaves: Mapping[str, Any]) -> Tensor:
        """What the function gives."""
        found = self.function(*leaves.values())
        if not isinstance(found, Tensor):
            raise TypeError(
                f"prove: {name_of(self.function)} returns a {type(found).__name__}; wanted a Tensor"
            )
        return found

    def at(self, point: Point) -> list[np.ndarray]:
        """The same in doubles."""
        given = [tensor(x) for x in self.equation.arguments(point)]
        kept = [p.detach().numpy().copy() for p in self.equation.parameters]
        try:
            for p, name in zip(self.equation.parameters, self.equation.parameter_names):
                if name in point:
                    p.data.copy_(tensor(point[name]))
            with np.errstate(all="ignore"):
                return [np.asarray(array_of(x), float) for x in self.outputs(*given)]
        finally:
            for p, value in zip(self.equation.parameters, kept):
                p.data.copy_(tensor(value))

    # --- traced ---------------------------------------------------------------------------------

    def traced(self, point: Point) -> Program:
        """The program: a general one where it would rest on conditions that the values fulfil."""
        given = tuple(tensor(x) for x in self.equation.arguments(point))
        found = trace_call(self.outputs, given, {})
        finite = {s.out for s in found.program.steps if s.op == "all_finite"}
        loose = self.symbolic(found.program) - finite
        if keys := frozenset(a.key for a in found.program.assumptions if a.var in loose):
            with suppress(ValueError, TypeError):  # outside of them the function raises
                found = trace_call(self.outputs, given, {}, keys)
        self.printed = self.printed or found.printed
        return needed_steps(found.program)

    def symbolic(self, program: Program) -> set[Var]:
        """The values that depend on real numbers."""
        return depending(program, set(self.variables(program)))

    def variables(self, program: Program) -> dict[Var, str]:
        """Which given values are real numbers, by name."""
        equation = self.equation
        names = dict(zip(program.inputs, [*equation.inputs, equation.above]))
        real = {*equation.shapes, equation.above}
        found = {x: name for x, name in names.items() if name in real}
        for state in program.states:
            for p, name in zip(equation.parameters, equation.parameter_names):
                if state.node is p:
                    found[state.before] = name
        return found

    def run(self, m: Any, program: Program, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """What the program gives on a kind of numbers."""
        given = {x: values[name] for x, name in self.variables(program).items()}
        run = Run(m, program, given)
        return [run[x] for x in program.outputs[: program.returned]]


class Equation:
    """Two sides, the inputs, and what is compared."""

    def __init__(
        self,
        function: Function,
        same: Function | None,
        gradient: Mapping[str, Function] | None,
        inputs: dict[str, Any],
        work: int,
    ) -> None:
        self.work = work
        self.most = POINTS if work >= WORK else FIRST
        self.inputs = inputs
        self.shapes = {n: x for n, x in inputs.items() if type(x) is tuple}
        self.constants = {n: array_of(x) for n, x in inputs.items() if n not in self.shapes}
        self.parameters: list[Tensor] = []
        self.parameter_names: list[str] = []
        self.above = ""
        self.above = self.fresh("g")
        self.weights: tuple[int, ...] = ()
        self.dtype: Any = np.float64
        self.left = Side(function, self)
        self.formulas = list(gradient or {})
        if same:
            self.right = [Side(same, self)]
            self.claim = f"{name_of(function)} = {name_of(same, 'the other')}"
        else:
            self.right = [Side(f, self, name) for name, f in (gradient or {}).items()]
            of = ", ".join(f"∂/∂{n}" for n in self.formulas)
            formula = "formulas" if len(self.formulas) > 1 else "formula"
            self.claim = f"{of} of {name_of(function)} = the {formula}"

    # --- numbers --------------------------------------------------------------------------------

    def all_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all that is real numbers."""
        own = {n: tuple(p.shape) for n, p in zip(self.parameter_names, self.parameters)}
        return self.shapes | own | ({self.above: self.weights} if self.weights else {})

    def arguments(self, point: Point) -> list[np.ndarray]:
        """The arrays that a side is called with."""
        given = {**self.constants, **point}
        return [*(given[n] for n in self.inputs), point.get(self.above, np.ones((), self.dtype))]

    def points(self, count: int) -> Iterator[Point]:
        """Numbers to try: all 0, all equal, small whole ones with ties, between 0 and 1, large."""
        for i in range(count):
            stream = np.random.default_rng([i, 20])
            draw, shapes = DRAWS[i % 8], self.all_shapes()
            point = {n: np.asarray(draw(stream, s), self.dtype) for n, s in shapes.items()}
            if self.above in point:
                point[self.above] = np.asarray(stream.integers(1, 9, self.weights), self.dtype)
            yield point

    def prepared(self) -> None:
        """Learn the shape of the output, and which parameters there are."""
        sides = [self.left, *self.right] if not self.formulas else [self.left]
        shapes = self.results(sides)
        inputs = [tensor(x) for x in self.arguments(next(self.points(1)))[:-1]]
        self.weights = tuple(shapes[0].shape)
        same = len({tuple(x.shape) for x in shapes}) < 2
        self.shape_misfit = "" if same else " and ".join(str(x.shape) for x in shapes)
        for side in sides:

            def called(*xs: Any, side: Side = side) -> Any:
                return side.value(self.leaves(list(xs))).detach()

            own = getattr(side.function, "named_parameters", lambda: ())
            names = {id(p): n.replace(".", "_") for n, p in own()}
            for state in trace_call(called, tuple(inputs), {}).program.states:
                node = state.node
                known = any(node is p for p in self.parameters)
                if isinstance(node, Tensor) and node.requires_grad and not known:
                    name = names.get(id(node)) or state.before.name or "w"
                    self.parameters.append(node)
                    self.parameter_names.append(self.fresh(name))
        if any(p.array.dtype == np.float32 for p in self.parameters):
            self.dtype = np.float32  # their gradients are, whatever the inputs are

    def leaves(self, given: list[Any]) -> dict[str, Any]:
        """The arguments by name; those that are real numbers need a gradient."""
        named = zip(self.inputs, given)
        return {n: x.detach().requires_grad_() if n in self.shapes else x for n, x in named}

    def results(self, sides: list[Side]) -> list[Any]:
        """What the functions give: in float64, or float32 where parameters are."""
        try:
            given = list(map(tensor, self.arguments(next(self.points(1)))[:-1]))
            return [side.value(self.leaves(given)) for side in sides]
        except TypeError:
            if self.dtype == np.float32:
                raise
            self.dtype = np.float32
            return self.results(sides)

    def fresh(self, name: str) -> str:
        """A name that no input has."""
        while name in {*self.inputs, *self.parameter_names, self.above}:
            name += "_"
        return name

    # --- deciding -------------------------------------------------------------------------------

    def pairs(
        self, left: list[np.ndarray], right: list[list[np.ndarray]], weights: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """What is compared: its name and both sides."""
        names = ["value", *(f"gradient of {n}" for n in [*self.shapes, *self.parameter_names])]
        if not self.formulas:
            yield from zip(names, left, right[0])
            return
        for name, (found,) in zip(self.formulas, right):
            expected = left[names.index(f"gradient of {name}")]
            found = np.asarray(found)
            if found.shape == (*self.weights, *expected.shape) and self.weights:
                found = np.asarray(np.tensordot(weights, found, len(self.weights)))
            elif found.shape != expected.shape or (
                self.weights and self.above not in self.asked(name)
            ):
                above = f"with the gradient {self.above} from above as an argument"
                jacobian = f", {above}, or {(*self.weights, *expected.shape)}"
                wanted = f"{expected.shape}{jacobian if self.weights else ''}"
                raise ValueError(
                    f"prove: the formula for {name} gives shape {found.shape}; wanted {wanted}"
                )
            yield f"gradient of {name}", expected, found

    def asked(self, name: str) -> list[str]:
        """What a formula asks for."""
        side = self.right[self.formulas.index(name)]
        return list(inspect.signature(side.function).parameters)

    def decided(self) -> Proof:
        """Look for numbers that refute it, then for a proof."""
        sides = [self.left, *self.right]
        try:
            self.prepared()
            if self.shape_misfit:
                differs = f"shape, {self.shape_misfit},"
                point = next(self.points(1))
                return self.proof("refuted", compared=(differs,), counterexample=point)
            self.programs = [side.traced(next(self.points(1))) for side in sides]
            for side, program in zip(sides, self.programs):
                for point in list(self.points(8))[1:5:3]:
                    with suppress(ValueError):  # out of its domain
                        if spelt(program) != spelt(side.traced(point)):
                            return self.by_doubles("It is another program for other numbers")
        except TraceError as error:
            return self.by_doubles(f"It cannot be traced: {error}")
        if any(side.printed for side in sides):
            return self.by_doubles("It makes a value a text, by which it may go")
        if self.remembers():
            return self.by_doubles(
                "It remembers something from one call to the next, or reads a clock or a hash"
            )
        if any(step.op == "draw" for program in self.programs for step in program.steps):
            return self.proof("undecided", reason="It draws random numbers")
        try:
            for point in list(self.points(2)):
                if not self.is_program(point):
                    return self.by_doubles("The program that was traced gives other numbers")
            found = self.refuted(self.points(FIRST)) or self.shown()
        except UNKNOWN as error:
            return self.by_digits(f"{WORDS.get(type(error), 'It is not supported')}: {error}")
        return found

    def remembers(self) -> bool:
        """Whether a side reads a tensor that one of them changes, or changes what it can read."""
        states = [state for program in self.programs for state in program.states]
        changed = {id(state.node) for state in states if state.after is not state.before}
        for program in self.programs:
            read = {s.before for s in program.states if id(s.node) in changed}
            if depending(program, read).intersection(program.outputs[: program.returned]):
                return True
        sides = [self.left, *self.right]
        functions = [side.function for side in sides]
        before = within_reach(*functions)
        self.in_doubles(next(self.points(1)))
        return before != within_reach(*functions)

    def proof(self, status: str, **more: Any) -> Proof:
        """The report."""
        return Proof(status, self.claim, self.all_shapes(), **more)

    def is_program(self, point: Point) -> bool:
        """Whether the programs give what the functions give, where doubles say so."""
        wanted = [x for both in flat(self.in_doubles(point)) for x in both]
        got = [float(x) for both in flat(self.in_digits(point, Digits())) for x in both]
        near = 1e-3 if self.dtype == np.float32 else 1e-6
        fine = [(a, b) for a, b in zip(wanted, got) if np.isfinite(a) and np.isfinite(b)]
        return not wanted or (
            len(wanted) == len(got) and all(abs(a - b) <= near * max(1, abs(b)) for a, b in fine)
        )

    def in_doubles(self, point: Point) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """What is compared, as both functions give it. Nothing where one refuses the point."""
        try:
            ran = [side.at(point) for side in (self.left, *self.right)]
        except (ValueError, RuntimeError):
            return []
        return list(self.pairs(ran[0], ran[1:], self.arguments(point)[-1]))

    def by_doubles(self, reason: str) -> Proof:
        """What can be said by running both sides in doubles alone."""
        tried = 0
        for point in self.points(self.most):
            pairs = self.in_doubles(point)
            again = [x.tobytes() for pair in self.in_doubles(point) for x in pair[1:]]
            if again != [x.tobytes() for pair in pairs for x in pair[1:]]:
                return self.proof("undecided", reason=f"{reason}. It gives other numbers each time")
            for name, a, b in pairs:
                fine = np.isfinite(a) & np.isfinite(b)
                if (np.abs(a - b)[fine] > 1e-5 * np.maximum(1, np.abs(a[fine]))).any():
                    return self.proof(
                        "refuted", compared=(name,), counterexample=point, values=(a[()], b[()])
                    )
            tried += bool(pairs)
        return self.proof("undecided", reason=f"{reason}. In doubles it holds at {tried} points")

    # --- numbers of 60 digits -------------------------------------------------------------------

    def differences(
        self, point: Point, digits: int = 60
    ) -> Iterator[tuple[str, tuple[int, ...], Any, Any]]:
        """Where the sides differ at a point: what, the index, both numbers."""
        m = Digits(digits)
        self.defined = 0
        for name, a, b in self.in_digits(point, m):
            for i in np.ndindex(a.shape):
                x, y = m.mp.mpf(a[i]), m.mp.mpf(b[i])
                if m.mp.isfinite(x) and m.mp.isfinite(y):
                    self.defined += 1
                    if abs(x - y) > m.mp.mpf(10) ** -50 * max(1, abs(x), abs(y)):
                        yield name, i, x, y

    def in_digits(self, point: Point, m: Digits) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """What is compared, as both programs give it; the numbers are read as constants are."""
        read = np.frompyfunc(m.number, 1, 1)
        values = {n: np.asarray(read(x.astype(object)), object) for n, x in point.items()}
        m.plain = True  # these are no constants
        values.setdefault(self.above, np.asarray(m.mp.mpf(1), object))
        found = list(self.pairs(*self.ran(m, values), values[self.above]))
        self.plain = m.plain
        return found

    def ran(
        self, m: Any, values: Mapping[str, np.ndarray]
    ) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
        """What both programs give on a kind of numbers."""
        m.single = self.dtype == np.float32
        sides = zip([self.left, *self.right], self.programs)
        first, *others = [side.run(m, program, values) for side, program in sides]
        return first, others

    def refuted(self, points: Iterator[Point]) -> Proof | None:
        """The first point at which the sides differ, with 60 and with 240 digits."""
        self.tried = 0
        for point in points:
            for name, i, x, y in self.differences(point):
                if not self.plain and abs(x - y) < 1e-13 * max(abs(x), abs(y)):
                    raise UnsupportedError("they differ by what the constants are rounded by")
                for again, j, u, v in self.differences(point, 240):
                    if (again, j) == (name, i) and abs((u - v) - (x - y)) < abs(u - v) / 1000:
                        return self.counterexample(name, i, point, (x, y))
            self.tried += self.defined > 0
        return None

    def counterexample(
        self, name: str, i: tuple[int, ...], point: Point, both: tuple[Any, Any]
    ) -> Proof:
        """The report on numbers at which the sides differ."""
        left, right = (float(x) for x in both)
        values = (left, right) if left != right else tuple(str(x) for x in both)
        where = f"{name}{list(i)}" if i else name
        return self.proof("refuted", compared=(where,), counterexample=point, values=values)

    def by_digits(self, reason: str) -> Proof:
        """What is known without a proof."""
        try:
            if found := self.refuted(self.points(self.most)):
                return found
        except UNKNOWN:
            return self.by_doubles(reason)
        known = f"{reason}. Equal to 50 digits at {self.tried} points"
        return self.proof("undecided", reason=known)

    # --- formulas -------------------------------------------------------------------------------

    def shown(self) -> Proof:
        """A proof, or what speaks against there being one."""
        if not self.tried:
            return self.by_digits("Nowhere have both sides a value")
        if any(step.op in ("max", "min") for p in self.programs for step in p.steps):
            with suppress(*UNKNOWN):
                if proof := self.without_difference(Formulas(opaque=True))[0]:
                    return proof
        proof, apart = self.without_difference(Formulas())
        if proof:
            return proof
        for region in apart:
            if found := self.refuted(self.points_in(region)):
                return found
        return self.by_digits(
            f"No proof was found where {regions.shown(apart[0]) or 'all numbers are free'}"
        )

    def without_difference(self, m: Formulas) -> tuple[Proof | None, list[Any]]:
        """A proof if all differences come out as nothing; else the regions where they do not."""
        regions.forget(self.work)
        values = {n: variables(n, s) for n, s in self.all_shapes().items()}
        values.setdefault(self.above, np.asarray(as_value(1), object))
        apart: list[Any] = []
        names = []
        needs = regions.NOTHING
        for name, a, b in self.pairs(*self.ran(m, values), values[self.above]):
            names.append(name)
            for i in np.ndindex(a.shape):
                difference = (as_value(a[i]) - as_value(b[i])).needing(m.needs)
                apart += regions.different_regions(difference)
                needs = regions.both(needs, difference.needs)
        if apart:
            return None, apart
        with regions.assuming(needs):
            if not regions.possible(regions.EVERYWHERE):
                raise UndefinedError("no numbers fulfil what is taken for granted")
            assumed, left_out = regions.in_words()
        if found := self.beyond(needs):
            given = listed((*assumed, *(f"not {region}" for region in left_out)))
            return self.proof("undecided", reason=f"Equal with {given}, but {found}"), []
        proof = self.proof("proved", compared=tuple(names), regions=tuple(map(str, regions.SEEN)),
                           assumptions=tuple(assumed), left_out=tuple(left_out))  # fmt: skip
        return proof, []

    def beyond(self, needs: regions.Needs) -> str:
        """How doubles differ where by the mathematics of real numbers a side has no value."""
        ways = [way for need in needs for way in regions.against(*need)]
        for point in [*self.points(8), *(next(self.points_in(way)) for way in ways)]:
            m = Digits()
            exact = [(m.mp.mpf(x), m.mp.mpf(y)) for x, y in flat(self.in_digits(point, m))]
            for (x, y), (u, v) in zip(flat(self.in_doubles(point)), exact):
                no_value = not (m.mp.isfinite(u) and m.mp.isfinite(v))
                if no_value and x == x and y == y and not np.isclose(x, y, 1e-5, 1e-5):
                    return f"at {written(point)} the functions give {x} and {y}"
        return ""

    def points_in(self, region: Any) -> Iterator[Point]:
        """Numbers in a region, the others at random."""
        found = regions.point(region) or {}
        fixed = {
            m[0][0].arguments[1:]: float(v)
            for m, v in found.items()
            if len(m) == 1 and m[0][1] == 1 and m[0][0].kind == "variable"
        }
        for point in self.points(16):
            for name, x in point.items():
                for i in np.ndindex(x.shape):
                    x[i] = fixed.get((name, i), x[i])
            yield point


def depending(program: Program, values: set[Var]) -> set[Var]:
    """Some values, and all that is computed from them."""
    found = set(values)
    for step in program.steps:
        if found.intersection(step.operands):
            found.add(step.out)
    return found


def needed_steps(program: Program) -> Program:
    """The program without the steps that what it returns does not rest on."""
    needed = set(program.outputs[: program.returned])
    steps = []
    for step in reversed(program.steps):
        if step.out in needed or step.op in ("all_within", "all_finite"):
            needed.update(step.operands)
            steps.append(step)
    return replace(program, steps=steps[::-1])


def flat(pairs: list[tuple[str, np.ndarray, np.ndarray]]) -> Iterator[tuple[Any, Any]]:
    """The numbers that are compared."""
    for _, a, b in pairs:
        yield from zip(a.flat, b.flat)


def spelt(program: Program) -> list[Any]:
    """What two traces of the same function have in common."""
    number = {x: i for i, x in enumerate([*program.inputs, *(s.before for s in program.states)])}
    for step in program.steps:
        number[step.out] = len(number)
    constants = {x: np.asarray(v).tobytes() for x, v in program.constants.items()}
    known = {**constants, **number}
    return [
        (s.op, [known.get(x) for x in s.operands], sorted((k, repr(v)) for k, v in s.attrs.items()))
        for s in program.steps
    ]


def element(name: str, i: tuple[int, ...]) -> str:
    """The name of an element."""
    return f"{name}[{', '.join(map(str, i))}]" if i else name


def variables(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of variables."""
    made = np.empty(shape, object)
    for i in np.ndindex(shape):
        made[i] = as_value(Ratio(algebra.of(Symbol("variable", element(name, i), name, i))))
    return made
