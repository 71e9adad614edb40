"""What values are called in a listing: the user's names first, then what they are."""

from __future__ import annotations

import keyword
import re

from tinygrad_ce.program.ir import Program, Step, Var
from tinygrad_ce.program.tracing.trace import GradOf

RESERVED = {"np", "math", "float", "bool", "range", "zip"}
CALLED = {
    "exp": "e", "log": "log", "sum": "total", "max": "top", "min": "bottom", "sqrt": "root",
    "dot": "z", "inner": "z", "matmul": "z", "einsum": "z", "maximum": "h", "masked": "h",
    "tanh": "h", "windows": "windows", "take": "picked", "draw": "noise", "argmax": "best",
    "greater": "keep", "greater_equal": "keep", "less": "keep", "less_equal": "keep",
    "invert": "keep", "concatenate": "joined", "stack": "joined", "pad": "padded", "copy": "copy",
    "square": "squares", "absolute": "size", "where": "chosen",
}  # fmt: skip
OPTIMIZERS = {
    "exp_avg": "m", "exp_avg_sq": "v", "step": "t", "momentum_buffer": "velocity",
    "square_avg": "v", "grad_avg": "g_avg", "max_exp_avg_sq": "v_max", "sum": "total",
}  # fmt: skip
OPTIMIZER_SCOPES = [(name,) for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad")]


class Names:
    """Gives each value a name that no other has; `known` are names from another listing."""

    def __init__(self, program: Program, known: dict[Var, str] | None = None) -> None:
        self.of: dict[Var, str] = dict(known or {})
        self.taken = {*RESERVED, *self.of.values()}
        self.last: dict[str, int] = {}  # the number that a name was given last
        self.program = program
        self.makers = program.makers()
        for var in program.inputs:
            self.give(var, var.name or "x")
        shapes = {s.before.name: len(s.before.shape) for s in program.states}
        known_as: dict[int, str] = {}
        for state in program.states:
            if isinstance(state.node, GradOf):
                continue
            wanted = state_name(state.before.name, shapes) if state.before.name else ""
            name = self.give(state.before, wanted or self.weight_or_bias(state.before))
            known_as[id(state.node)] = name
        for state in program.states:
            if isinstance(state.node, GradOf):
                owner = known_as.get(id(state.node.node), "")
                self.give(state.before, f"old_d{owner}" if owner else "old_grad")
        for setting in program.settings:
            self.give(setting.var, setting.var.name)
        self.users = {identifier(s.out.name) for s in program.steps if s.out.name}
        self.grads = {
            k.var: "d" + known_as[id(k.node)]
            for k in program.grads
            if k.var is not None and id(k.node) in known_as
        }

    def give(self, var: Var, wanted: str) -> str:
        """Call a value so; with a number if something else is called so."""
        if var in self.of:
            return self.of[var]
        name = wanted = identifier(wanted)
        n = self.last.get(wanted, 1)
        while name in self.taken:
            n += 1
            name = f"{wanted}_{n}" if wanted[-1].isdigit() else f"{wanted}{n}"
        self.last[wanted] = n
        self.taken.add(name)
        self.of[var] = name
        return name

    def counter(self) -> str:
        """A letter with which loops count, k1 and k2, where nothing else is called so."""
        letters = ("k", "i", "j", "m", "n", "place")
        return next(
            (x for x in letters if self.taken.isdisjoint(f"{x}{i}" for i in (1, 2, 3))), "at_"
        )

    def weight_or_bias(self, var: Var) -> str:
        """W1, b1, W2, b2 for state that has no name that anybody could find."""
        weights = sum(name[0] == "W" for name in self.of.values())
        return f"W{weights + 1}" if len(var.shape) > 1 else f"b{max(weights, 1)}"

    def name(self, step: Step) -> str:
        """The name of what a step makes."""
        var = step.out
        if var in self.of:
            return self.of[var]
        if var in self.grads and not (var.name and step.scope[:1] != ("backward",)):
            return self.give(var, self.grads[var])
        for x in self.program.gradient_of.get(var, ()):
            if x in self.of and var.name == "d" + x.name:
                return self.give(var, "d" + self.of[x])  # dh3 is the gradient of h3
        if var.name:
            return self.give(var, var.name)
        if step.op == "draw" and step.attrs["method"] == "bernoulli":
            return self.give(var, "keep")
        return self.give(var, self.derived(step))

    def derived(self, step: Step, as_gradient: bool = True) -> str:
        """A name for a value that the user has not named.

        In a·b each factor is the gradient of the other: what a gradient is called after is not
        itself called after what it is the gradient of.
        """
        own = self.recognised(step)
        if own:
            return own
        of = self.program.gradient_of.get(step.out, ()) if as_gradient else ()
        if of:
            seen = [x for x in of if x in self.of]
            if not seen:
                maker = self.makers.get(of[0])
                self.give(of[0], of[0].name or (self.derived(maker, False) if maker else "z"))
            return "d" + self.of[seen[-1] if seen else of[0]]
        if step.scope[:1] == ("backward",):
            return "du"
        called = CALLED.get(step.op, "update" if step.scope[:1] in OPTIMIZER_SCOPES else "u")
        if called == "u" and step.op in ("add", "multiply") and step.out.shape:
            called = "z"
        return called if called not in self.users else called + "_"

    def recognised(self, step: Step) -> str:
        """The name that books give to a value, or nothing: p, onehot, xhat."""
        made = [self.makers.get(x) for x in step.operands]
        ops = [m.op if m else "" for m in made]
        divisor = made[-1] if made else None
        if step.op == "divide" and divisor is not None:
            if ops == ["exp", "sum"] and divisor.operands[0] is step.operands[0]:
                return "p"
            if (
                ops == ["where", "add"]
                and made[0]
                and set(made[0].operands) & set(divisor.operands)
            ):
                return "p"
            if ops[1] == "sqrt" and len(step.out.shape) > 1 and step.scope[:1] != ("backward",):
                return "xhat"
        if step.op == "argmax" and step.scope[:1] == ("backward",):
            return "best"
        if step.op == "reshape" and ops == ["transpose"] and made[0]:
            return "columns" if ops_of(made[0], self) in ("windows", "slice") else ""
        if step.op == "equal" and len(step.out.shape) == 2 and ops[0] == "reshape":
            return "onehot"
        if step.op == "subtract" and len(step.out.shape) > 1 and step.scope[:1] != ("backward",):
            last = made[1] and (made[1].op if made[1].op != "reshape" else ops_of(made[1], self))
            if last == "divide" and made[1] and ops_of(made[1], self) != "sum":
                return ""
            return {"max": "shifted", "divide": "centered", "log": "logp"}.get(last or "", "")
        if step.op == "divide" and ops[0] == "sum" and step.scope[:1] != ("backward",):
            return "mean" if step.out.shape else ""
        if step.op == "divide" and ops[0] == "draw":
            return "mask"
        if step.op == "power" and step.out.dtype is None:
            return "correction"
        return "n" if step.op == "float" else ""


def ops_of(step: Step, names: Names) -> str:
    """The operation under a view."""
    maker = names.makers.get(step.operands[0])
    return maker.op if maker else ""


def identifier(name: str) -> str:
    """A name of any origin as one that Python takes."""
    name = re.sub(r"\W", "_", name) or "value"
    if name[0].isdigit():
        name = "x" + name
    return name + "_" if keyword.iskeyword(name) or name in RESERVED else name


def state_name(path: str, known: dict[str, int]) -> str:
    """`0_weight` is W0, `1_weight` of a normalisation gamma1, `0_weight_exp_avg` m_W0."""
    for suffix, short in sorted(OPTIMIZERS.items(), key=lambda item: -len(item[0])):
        owner = path.removesuffix("_" + suffix)
        if owner != path and owner in known:
            return f"{short}_{state_name(owner, known)}"
    found = re.fullmatch(r"(?:(.*)_)?(\d+)_(\w+)", path)
    if found is None:
        return path
    before, number, what = found.groups()
    flat = known.get(f"{path[: -len(what)]}weight") == 1
    short = {"weight": "gamma" if flat else "W", "bias": "beta" if flat else "b"}.get(what, what)
    return "_".join(filter(None, (before, short))) + number
