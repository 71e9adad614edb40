"""A Program as the text of a NumPy function, which is run and compared before it is handed out."""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_ce.program.ir import Program, State, Var, coarsest
from tinygrad_ce.program.listing.formulas import FORMULAS
from tinygrad_ce.program.listing.loops import NAME, in_rows, looped
from tinygrad_ce.program.listing.names import OPTIMIZER_SCOPES, OPTIMIZERS
from tinygrad_ce.program.listing.spelling import with_windows_spelt_out
from tinygrad_ce.program.listing.statements import Statement, Writer, label
from tinygrad_ce.program.ops import run
from tinygrad_ce.program.passes.exact import simplified, without_dead_steps

WIDTH = 88
COLUMN = 62  # shapes stand behind the longest line that is not longer
TOLERANCE = {"f2": 1e-2, "f4": 1e-5, "f8": 1e-12}


class ListingError(RuntimeError):
    """The text does not compute what the program computes."""


def source(program: Program, level: str = "formula") -> str:
    """The program as a NumPy function: see Program.source."""
    if level not in ("formula", "primitive"):
        raise ValueError(f"source: level is {level!r}; wanted 'formula' or 'primitive'")
    listing = Listing(shown_program(program, level), level == "primitive")
    listing.check(with_gradients(program), values_of(listing.program, program))
    return listing.text()


def backward_source(program: Program, level: str = "formula") -> str:
    """The backward pass alone, as a NumPy function: see Program.backward_source."""
    whole = Listing(shown_program(program, level), level == "primitive")
    part = backward_part(whole.program)
    listing = Listing(part, whole.exact, whole.writer.names.of)
    traced = replace(program, outputs=all_gradients_of(program))
    listing.check(traced, values_of(whole.program, program))
    return listing.text()


def gradients_of(program: Program) -> list[Var]:
    """What is kept as `.grad`, in the order of the parameters."""
    order = {id(state.node): i for i, state in enumerate(program.states)}
    grads = sorted(program.grads, key=lambda k: order.get(id(k.node), len(order)))
    return [k.var for k in grads if k.var is not None]


def gradients_of_arguments(program: Program) -> list[Var]:
    """What becomes the `.grad` of an argument."""
    given, further = {*program.inputs}, program.outputs[program.returned :]
    handed = (x for x in further if given.intersection(program.gradient_of.get(x, ())))
    return [*dict.fromkeys(handed)]


def all_gradients_of(program: Program) -> list[Var]:
    """Both, those of the arguments first."""
    return [*gradients_of_arguments(program), *gradients_of(program)]


def with_gradients(program: Program) -> Program:
    """The program that returns the gradients, too, that nothing reads but the backward pass.

    Who reads a gradient is asked of the traced steps: simplified, a gradient may be an input.
    """
    begun = False
    read: set[Var] = set()
    for step in program.steps:
        back = step.scope[:1] == ("backward",)
        begun = begun or back
        if not back and (begun or step.scope[:1] in OPTIMIZER_SCOPES):
            read.update(step.operands)
    returned, outputs = program.outputs[: program.returned], list(program.outputs)
    for x in gradients_of(program):
        if x in returned:
            returned.remove(x)  # the user's own `return loss, W.grad`
        elif x not in read:
            outputs.append(x)
    return replace(program, outputs=outputs)


def values_of(shown: Program, program: Program) -> dict[Var, Any]:
    """What a listing of `shown` may be called with: all values in the example."""
    return {**oracle(shown, program.example), **oracle(program, program.example)}


def backward_part(program: Program) -> Program:
    """The steps of the backward pass, on what the forward pass has computed.

    What one scope hands to another, and what the user has named, is an argument; what a function
    computes for itself on the way (the exp in a softmax) is computed again.
    """
    gradients = all_gradients_of(program)
    if not gradients:
        why = (
            "keeps no .grad of its own: set the .grad that an argument has from an earlier "
            "backward() to None"
            if len(program.outputs) > program.returned  # it changes an argument
            else "calls no backward(): write loss.backward() in it"
        )
        raise ValueError(f"backward_source: the function {why}")
    makers = program.makers()
    handed = {
        x
        for step in program.steps
        for x in (step.operands if step.scope[:1] not in OPTIMIZER_SCOPES else ())
        if x in makers and label(makers[x].scope) != label(step.scope).removeprefix("backward of ")
    }
    needed, arguments = set(gradients), set()
    for step in reversed(program.steps):
        if step.out not in needed:
            continue
        if step.scope[:1] != ("backward",) and (step.out.name or step.out in handed):
            arguments.add(step.out)
        else:
            needed.update(step.operands)
    steps = [s for s in program.steps if s.out in needed and s.out not in arguments]
    read = {x for step in steps for x in step.operands} | set(gradients)
    inputs = [x for x in program.inputs if x in read]
    return replace(
        program,
        name="backward",
        inputs=[*inputs, *(s.out for s in program.steps if s.out in arguments)],
        states=[State(s.node, s.before, s.before) for s in program.states],
        steps=steps,
        outputs=gradients,
    )


def shown_program(program: Program, level: str) -> Program:
    """What is shown at a level: exact passes alone, or the formulas as well."""
    shown = simplified(with_gradients(program))
    shown = simplified(with_windows_spelt_out(shown, level == "primitive"))
    if level == "formula":
        shown = simplified(shown, FORMULAS)
    return without_dead_steps(replace(shown, assumptions=[]))


class Listing:
    """The text of a program."""

    def __init__(self, program: Program, exact: bool, known: dict[Var, str] | None = None) -> None:
        self.program = program
        self.exact = exact
        self.writer = Writer(program, exact, known)
        lengths = [len(s.lines[0]) for s in self.writer.statements if s.shape is not None]
        self.column = max([n for n in lengths if n <= COLUMN], default=0)

    def parameters(self) -> list[Var]:
        """What the function is called with."""
        program = self.program
        states = [s.before for s in program.states]
        used = {x for step in program.steps for x in step.operands}
        used.update(program.outputs, gradients_of(program))
        changed = {s.before for s in program.states if s.after is not s.before}
        given = [*program.inputs, *(x for x in states if x in used or x in changed)]
        given += [s.var for s in program.settings if s.var in used]
        return [*given, *self.writer.arguments]

    def text(self, everything: bool = False) -> str:
        """The function; with `everything`, one that returns all that can be compared."""
        names = self.writer.names.of
        body = [*self.documentation(), *self.lines(), self.last_line(everything)]
        head = signature(function_name(self.program.name), [names[x] for x in self.parameters()])
        imports = ["import math"] * any("math." in line for line in body) + ["import numpy as np"]
        return (
            "\n".join([*imports, "", "", *head, *("    " + line if line else "" for line in body)])
            + "\n"
        )

    def documentation(self) -> list[str]:
        """A docstring for what the names do not say."""
        notes = [f"{self.writer.names.of[x]}: {what}." for x, what in self.writer.arguments.items()]
        if not notes:
            return []
        return [f'"""{notes[0]}"""'] if len(notes) == 1 else ['"""' + notes[0], *notes[1:], '"""']

    def lines(self) -> list[str]:
        """The statements under the comments of their scopes."""
        lines: list[str] = []
        last = ""
        for comment, group in self.groups():
            if comment and comment != last:
                lines.append(f"# {comment}")
            last = comment or last
            loop = None if self.exact else self.loop(group)
            lines.extend(loop or (line for s in group for line in self.annotated(s)))
        return lines

    def groups(self) -> list[tuple[str, list[Statement]]]:
        """The statements that stand under one comment."""
        groups: list[tuple[str, list[Statement]]] = []
        for statement in self.writer.statements:
            comment = joined(statement.labels)
            if groups and groups[-1][0] == comment:
                groups[-1][1].append(statement)
            else:
                groups.append((comment, [statement]))
        return groups

    def loop(self, group: list[Statement]) -> list[str] | None:
        """The statements as a loop over parameters, if they are the same for each."""
        if not any(s.shape is None for s in group):
            return None
        names = self.writer.names
        roles = {}
        for state in self.program.states:
            name = names.of[state.before]
            short = name.partition("_")[0]
            roles[name] = short if short in OPTIMIZERS.values() else "w"
        roles.update((names.of[x], "g") for x in self.writer.grads if x in names.of)
        here = set(map(id, group))
        others = [x for s in self.writer.statements if id(s) not in here for x in s.lines]
        elsewhere = set(NAME.findall("\n".join([*others, self.last_line(True)])))
        for first in range(min(len(group), 3)):
            lines = looped(group[first:], roles, names.taken, elsewhere)
            if lines:
                return [line for s in group[:first] for line in self.annotated(s)] + lines
        return None

    def annotated(self, statement: Statement) -> list[str]:
        """The lines of a statement, with the shape at the end of the first."""
        first, *rest = statement.lines
        if statement.shape is not None:
            first = f"{first.ljust(self.column)}  # {statement.shape}"
        return [first, *rest]

    def last_line(self, everything: bool) -> str:
        """The return statement."""
        returned = ", ".join(ast.unparse(tree) for tree in self.writer.returned)
        if everything:
            gradients = ", ".join(ast.unparse(self.writer.gradients[x]) for x in self.lasting())
            return f"return [{returned}], [{gradients}]"
        return f"return {returned or None}"

    def lasting(self) -> list[Var]:
        """The gradients that their names still mean after the updates: `b` is another by then."""
        changed = {s.before for s in self.program.states if s.after is not s.before}
        reads = self.writer.reads
        return [x for x in gradients_of(self.program) if not reads.get(x, set()) & changed]

    # --- the check --------------------------------------------------------------------------

    def check(self, program: Program, values: dict[Var, Any]) -> None:
        """Run the text on `values` and compare with the program's steps, as they were traced."""
        names: dict[str, Any] = {}
        exec(compile(self.text(everything=True), "<listing>", "exec"), names)
        arguments = {x: own(values[x]) for x in self.parameters()}
        outputs, gradients = names[function_name(self.program.name)](*arguments.values())
        traced = dict(zip(gradients_of(self.program), gradients_of(program)))
        wanted = [*program.outputs, *(traced[x] for x in self.lasting())]
        found = [*outputs, *gradients]
        what = [ast.unparse(t) for t in self.writer.returned] + ["a gradient"] * len(gradients)
        for shown, state in zip(self.program.states, program.states):
            if shown.after is not shown.before:
                wanted.append(state.after)
                found.append(arguments[shown.before])
                what.append(self.writer.names.of[shown.before])
        exactly, coarse = oracle(program, program.example), coarsest(program)
        for name, x, b in zip(what, wanted, found):
            if agrees(exactly[x], b, self.exact, coarse):
                continue
            if self.exact or not within_noise(program, x, b):
                raise ListingError(
                    f"source: {name} of the text differs from the program by "
                    f"{difference(exactly[x], b):.1e} of its largest element; the text is not "
                    "handed out. level='primitive' shows the steps without formulas"
                )


def own(value: Any) -> Any:
    """A copy of the same layout in memory, if it is an array."""
    return value.copy(order="K") if isinstance(value, np.ndarray) else value


def oracle(
    program: Program, example: dict[Var, Any], stream: np.random.Generator | None = None
) -> dict[Var, Any]:
    """Every value of the program, as eager code computes it. Generators stay where they are.

    With a stream each result is rounded otherwise.
    """
    drawn = {s.attrs["generator"] for s in program.steps if s.op == "draw"}
    states = {generator: generator.get_state() for generator in drawn}
    values = {**program.constants, **example}
    try:
        for step in program.steps:
            run([step], values)
            if stream is not None:
                values[step.out] = shaken(values[step.out], 1, stream)
        return values
    finally:
        for generator, state in states.items():
            generator.set_state(state)


def within_noise(program: Program, x: Var, found: Any) -> bool:
    """Whether a value is as near as the program gets when its numbers are rounded otherwise.

    The gradient of a bias in front of a normalisation is 0 but for rounding: no two orders of
    addition agree on it, and Adam divides it by its own size. Nor do they on the loss of a network
    that is sure of its classes: of log(1 + 1e-6) a float32 has one digit.
    """
    stream = np.random.default_rng(0)
    exact = oracle(program, program.example)[x]
    given = {var: shaken(v, 4, stream) for var, v in program.example.items()}
    others = oracle(program, given)[x], oracle(program, program.example, stream)[x]
    return difference(exact, found) <= 10 * max(difference(exact, other) for other in others)


def shaken(value: Any, units: int, stream: np.random.Generator) -> Any:
    """The value, its elements off by so many units in the last place, up or down."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    signs = stream.choice([-1, 1], value.shape).astype(value.dtype)
    return value * (1 + units * np.finfo(value.dtype).eps * signs)


def agrees(a: Any, b: Any, exact: bool, coarse: Any) -> bool:
    """Whether b is a: to the last bit, or to the tolerance of the `coarse` floats beside it."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
        return False
    if exact or a.dtype.kind != "f":
        return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    return difference(a, b) <= TOLERANCE[f"f{coarse.itemsize}"]


def difference(a: Any, b: Any) -> float:
    """The largest |a − b| as a part of the largest |a|."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return math.inf
    finite = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return math.inf
    if not finite.any():
        return 0.0
    gap = np.abs(a[finite] - b[finite]).max()
    return float(gap / np.abs(a[finite]).max()) if gap else 0.0


def joined(labels: list[str]) -> str:
    """The comment for statements that several scopes have a part in."""
    back = [x for x in labels if x.startswith("backward")]
    if labels and labels[-1].startswith("backward"):
        inner = [x.removeprefix("backward of ") for x in back if x != "backward"]
        return f"backward of {', '.join(inner)}" if inner else "backward"
    return ", ".join(x for x in labels if x and x not in back)


def function_name(name: str) -> str:
    """The name of the function; `<lambda>` has none."""
    return name if name.isidentifier() else "function"


def signature(name: str, parameters: list[str]) -> list[str]:
    """The def line, broken where it is too long."""
    one = f"def {name}({', '.join(parameters)}):"
    if len(one) <= WIDTH:
        return [one]
    return [f"def {name}(", *in_rows(parameters, " " * 4, WIDTH), "):"]
