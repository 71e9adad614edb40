"""lint: what goes wrong in a training step, read off the graph of its loss.

Each check is a function below that gives Findings. Those that need the loss alone are `STRUCTURE`:
pictures and traces make them, too, and warn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from math import e, log1p
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine.chain import history
from tinygrad_ce.engine.frame import Scope, a_type, chain_of
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.lines import place_of
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.functional.warn import warn
from tinygrad_ce.nn.module import Module
from tinygrad_ce.nn.parameter import Parameter

SAMPLES = 16  # of so many a unit that is never active is no accident
FEW = 3  # so many units may be dead in any network
SHARE = 1 / 3  # of the units, or of the values, that are dead or saturated
FLAT = 0.01  # of the steepest slope: what has less is saturated


class Finding(NamedTuple):
    """What is there, what it costs, what to write instead, and in which line."""

    kind: str
    text: str
    costs: str
    write: str
    line: str = ""

    def __str__(self) -> str:
        where = f"{self.line}: " if self.line else ""
        return f"{where}{self.text}: {self.costs}. {self.write}."


class Findings(tuple[Finding, ...]):
    """What was found, as text a line each."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "nothing found"

    __repr__ = __str__


def lint(loss: Tensor, model: Module | None = None) -> Findings:
    """What goes wrong in a step, seen in the graph of its loss: what it costs, and what to write.

    Looked for are: softmax or a sigmoid before a loss that has its own; a relu before it; a softmax
    over the batch; (N, 1) against (N,); linear layers or convolutions with nothing between them;
    targets that need a gradient, and r + γ·q that is not detached; relus that are 0 for the whole
    batch, sigmoids and tanhs where they are flat. With the model also: parameters that the loss
    does not reach; modules and tensors that it holds without knowing; gradients to which an earlier
    step's are added (call lint after `backward()` for it); train or eval mode forgotten where there
    is dropout or batch norm. Lines are known under `source_lines()`.

    Raises TypeError if `loss` is no Tensor or `model` no Module.

    >>> import tinygrad_ce as tg
    >>> from tinygrad_ce.nn import functional as F
    >>> z = tg.zeros(2, 3, requires_grad=True)
    >>> for finding in lint(F.cross_entropy(F.softmax(z, 1), tg.tensor([0, 1]))):
    ...     print(finding.text)
    softmax before cross_entropy
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"lint: the loss is {a_type(loss)}; wanted a Tensor")
    if model is not None and not isinstance(model, Module):
        raise TypeError(f"lint: the model is {a_type(model)}; wanted a Module")
    seen = Seen(loss)
    seen.own.update(model.parameters() if model is not None else ())
    found = [finding for check in (*STRUCTURE, *VALUES) for finding in check(seen)]
    if model is not None:
        found += [finding for look in OF_MODEL for finding in look(seen, model)]
    return Findings(dict.fromkeys(found))


def warn_of(loss: Any, stands: Iterable[Node] = ()) -> None:
    """Warn of what is wrong by the graph alone: whoever makes a picture or a trace calls this.

    Inputs of a picture need gradients for its sake: `stands` are those.
    """
    if isinstance(loss, Node) and loss.live and loss.inputs:
        seen = Seen(loss)
        seen.own.update(stands)
        for finding in dict.fromkeys(f for check in STRUCTURE for f in check(seen)):
            warn(str(finding))


class Seen:
    """The graph of a loss: its operations, who reads what, and what each call was given."""

    def __init__(self, loss: Node) -> None:
        self.loss = loss
        self.own: set[Node] = set()  # leaves that may need a gradient
        self.nodes = history([loss])[::-1]
        self.calls: dict[Scope | None, Scope | None] = {}
        self.members: dict[Scope, list[Node]] = {}  # the operations of each call
        for node in self.nodes:
            call = self.call(node)
            if call is not None:
                self.members.setdefault(call, []).append(node)

    def call(self, node: Node) -> Scope | None:
        """The composed function that a node was made in, as the user called it; None if in none."""
        if node.scope not in self.calls:
            functions = (scope for scope in chain_of(node.scope) if scope.kind == "function")
            self.calls[node.scope] = next(functions, None)
        return self.calls[node.scope]

    def name(self, node: Node) -> str:
        """The composed function or the operation that made a node."""
        call = self.call(node)
        return call.name if call is not None else node.op.name if node.op is not None else ""

    def given(self, call: Scope) -> list[Node]:
        """What a call read that it had not made itself."""
        found = [x for node in self.members[call] for x in node.inputs]
        return [x for x in dict.fromkeys(found) if not x.inputs or self.call(x) is not call]

    def called(self, *names: str) -> Iterator[tuple[Scope, Node]]:
        """Every input of every call of these functions."""
        for call in self.members:
            if call.name in names:
                yield from ((call, x) for x in self.given(call))

    def line(self, call: Scope) -> str:
        """The line of a call."""
        return line_of(self.members[call][0])

    @cached_property
    def readers(self) -> dict[Node, list[Node]]:
        """Which operations read a value."""
        found: dict[Node, list[Node]] = {}
        for node in self.nodes:
            for x in dict.fromkeys(node.inputs):
                found.setdefault(x, []).append(node)
        return found

    @cached_property
    def leaves(self) -> set[Node]:
        """The leaves that get a gradient."""
        return {x for x in (*self.readers, self.loss) if x.live and not x.inputs}

    def leaves_of(self, x: Node) -> set[Node]:
        """The leaves with a gradient that a value is made of."""
        nodes = [x, *(y for node in history([x]) for y in node.inputs)]
        return {y for y in nodes if y.live and not y.inputs}

    def way(self, x: Node) -> list[Node]:
        """x and what it was made of by reshaping and dropout, back to what made the numbers."""
        found = [x]
        while x.inputs:
            call = self.call(x)
            if call is not None and call.name.startswith("dropout"):
                x = next((y for y in self.given(call) if y.live), x.inputs[0])
            elif call is None and (x.op.view or x.op.name in ("astype", "copy")):
                x = x.inputs[0]
            else:
                break
            found.append(x)
        return found


def line_of(node: Node) -> str:
    """`train.py:12`, if it is known."""
    place = place_of(node)
    return f"{place.file}:{place.number}" if place is not None else ""


# --- by the graph alone -------------------------------------------------------------------------


def doubled(seen: Seen) -> Iterator[Finding]:
    """softmax or a sigmoid before a loss that has one, and nll_loss without log_softmax."""
    for call, x in seen.called("cross_entropy", "nll_loss", BCE):
        first = x is next((y for y in seen.given(call) if y.live), None)  # and no target
        before = seen.name(seen.way(x)[-1]) if x.live and first else ""
        if (call.name, before) in DOUBLED:
            what = f"{before} before {call.name}"
            costs, write = DOUBLED[call.name, before]
            classes = x.array.shape[-1] if x.array.shape else 1
            costs = costs.format(least=log1p((classes - 1) / e))
            yield Finding(what, what, costs, write, seen.line(call))


BCE = "binary_cross_entropy_with_logits"
AGAIN = (
    "cross_entropy applies softmax itself; of numbers from 0 to 1 it cannot get below {least:.2f}, "
    "and learning is slow",
    "Give cross_entropy the logits",
)
TWICE = (
    "the loss applies a sigmoid itself; of numbers from 0 to 1 it cannot get below 0.69 where the "
    "target is 0, and learning is slow",
    "Give it the logits, or write binary_cross_entropy",
)
CUT = (
    "a logit below 0 becomes 0: no class can be less likely than that, and where it is 0 nothing "
    "is learned",
    "Leave the last relu out",
)
NO_LOG = "Write log_softmax before it, or give cross_entropy the logits"
OF_LOGITS = ("nll_loss takes log-probabilities; of logits it is −z[y], which has no end", NO_LOG)
DOUBLED = {
    ("cross_entropy", "softmax"): AGAIN,
    ("cross_entropy", "sigmoid"): AGAIN,
    (BCE, "softmax"): TWICE,
    (BCE, "sigmoid"): TWICE,
    ("cross_entropy", "relu"): CUT,
    (BCE, "relu"): CUT,
    ("nll_loss", "linear"): OF_LOGITS,
    ("nll_loss", "matmul"): OF_LOGITS,
    ("nll_loss", "softmax"): (
        "nll_loss takes log-probabilities; of probabilities it is −p[y], whose slope vanishes "
        "where the answer is most wrong",
        NO_LOG,
    ),
}


def over_the_batch(seen: Seen) -> Iterator[Finding]:
    """A softmax before a loss that is taken over the samples instead of the classes."""
    for call, x in seen.called("nll_loss", *TWO_SIDED):
        x = x if seen.name(x) != "log" or seen.call(x) else x.inputs[0]
        made = seen.call(x) if x.inputs else None
        if made is None or made.name not in ("softmax", "log_softmax") or not x.live:
            continue
        sums = [n for n in seen.members[made] if n.op.name == "sum"]
        shape = x.array.shape
        if len(shape) == 2 and min(shape) > 1 and all(n.attrs[0] == 0 for n in sums):
            yield Finding(
                "softmax over the batch",
                f"{made.name} over dim=0 of shape {tuple(shape)} before {call.name}",
                "each column adds up to 1 over the samples, not each sample over its classes",
                f"Write {made.name}(..., dim=1)",
                seen.line(made),
            )


def pairwise(seen: Seen) -> Iterator[Finding]:
    """(N, 1) against (N,): every prediction is compared with every target."""
    for node in seen.nodes:
        if len(node.inputs) != 2 or seen.call(node) is not None:
            continue
        shapes = sorted((x.array.shape for x in node.inputs), key=len)
        n = shapes[0][0] if len(shapes[0]) == 1 else 0
        target = any(not x.live for x in node.inputs)
        if n > 1 and shapes[1] == (n, 1) and target and is_averaged(seen, node):
            yield Finding(
                "broadcast target",
                f"{node.op.name} of shapes ({n}, 1) and ({n},)",
                f"broadcasting gives ({n}, {n}): every prediction is compared with every target, "
                "and the best answer to that is the mean of the targets",
                f"Reshape one of them: target.reshape({n}, 1)",
                line_of(node),
            )


def is_averaged(seen: Seen, node: Node) -> bool:
    """Whether all elements are added up: nothing but functions of single elements come before."""
    shape = node.array.shape
    while (readers := seen.readers.get(node)) and node.array.shape == shape:
        node = readers[-1]
    return node.array.size == 1 and node.op.name in ("sum", "mean", "truediv", "neg", "mul")


def nothing_between(seen: Seen) -> Iterator[Finding]:
    """Two layers that are one: the second gets what the first gives, and no one else does.

    Where the middle is narrower than both ends the product has a lower rank: that may be meant.
    So may be convolutions of one pixel, or along one axis.
    """
    for call, x in seen.called("linear", *CONVOLUTIONS):
        *between, before = seen.way(x) if x.live else [x]
        first = seen.call(before) if before.inputs else None
        if first is None or first.name != call.name or owner(first) is not owner(call):
            continue
        if any(y.op is not None and y.op.name in ("transpose", "mT") for y in between):
            continue  # they mix different axes
        shapes = [w.array.shape for c in (first, call) for w in weights(seen.given(c))]
        alone = len(seen.readers.get(before, ())) == 1
        if len(shapes) != 2 or not alone or shapes[1][1] != shapes[0][0]:
            continue
        (middle, wide, *kernel), (out, _, *second) = shapes
        if middle >= min(wide, out) and all(n > 1 for n in (*kernel, *second)):
            linear = f"W₂(W₁x + b₁) + b₂ is one linear layer, {wide} → {out}: the {middle} hidden "
            linear += "units add nothing that it could not do"
            yield Finding(
                "nothing between",
                f"two {'convolutions' if kernel else 'linear layers'} with nothing between",
                "together they are one convolution with a larger kernel" if kernel else linear,
                "Put a relu or a tanh between them",
                seen.line(call),
            )


CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
LAYERS = ("Linear", "Conv1d", "Conv2d", "Conv3d")


def owner(call: Scope) -> Scope | None:
    """The call of the module that has the layer: a maker's last and a critic's first are apart."""
    modules = [scope for scope in reversed(chain_of(call)) if scope.kind == "module"]
    return next((scope for scope in modules if scope.owner not in LAYERS), None)


def weights(inputs: Iterable[Node]) -> list[Node]:
    """The weights among what a layer was given."""
    return [x for x in inputs if not x.inputs and x.live and len(x.array.shape) >= 2]


def learning_targets(seen: Seen) -> Iterator[Finding]:
    """A target that needs a gradient: it is pulled towards the prediction."""
    for call, x in seen.called(*TWO_SIDED):
        alone = x.live and not x.inputs and x not in seen.own and len(seen.readers[x]) == 1
        if alone and any(y.live and y.inputs for y in seen.given(call)):
            yield Finding(
                "target needs a gradient",
                f"the target of {call.name} requires a gradient",
                "time and memory go into a gradient that nobody wants; an optimiser that gets it "
                "moves the target towards the prediction",
                "Write target.detach(), or make it without requires_grad",
                seen.line(call),
            )


def bootstrapped(seen: Seen) -> Iterator[Finding]:
    """A target r + γ·q of the network's own answers that is not detached."""
    for call in seen.members:
        given = seen.given(call) if call.name in TWO_SIDED else []
        if len(given) < 2 or not all(x.live and x.inputs for x in given[:2]):
            continue
        for x, target in (given[:2], given[1::-1]):
            own = (leaf for leaf in seen.leaves_of(target) if leaf in seen.leaves_of(x))
            if is_reward_and_more(seen, target) and next(own, None) is not None:
                yield Finding(
                    "target not detached",
                    f"the target of {call.name} is made by the network that is trained",
                    "the step moves the answers of the next state towards those of this one, too: "
                    "it learns something else, and often diverges",
                    "Write target.detach(), or compute it under no_grad()",
                    seen.line(call),
                )


def is_reward_and_more(seen: Seen, x: Node) -> bool:
    """Whether this is r + γ·v, for data r and a number γ from 0 to 1."""
    if x.op.name != "add" or seen.call(x) is not None:
        return False
    data = [not y.live and np.size(y.array) > 1 for y in x.inputs]
    rest = x.inputs[data.index(False)] if any(data) else x
    while rest.inputs and rest.op.name == "mul":
        factor = next((np.asarray(y.array) for y in rest.inputs if not y.live), np.array(2))
        if ((factor >= 0) & (factor <= 1)).all():
            return any(data)
        rest = next(y for y in rest.inputs if y.live)
    return False


TWO_SIDED = {"mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "binary_cross_entropy", BCE,
             "kl_div", "cross_entropy"}  # fmt: skip


# --- by its values ------------------------------------------------------------------------------


def dead(seen: Seen) -> Iterator[Finding]:
    """Units of a relu that are 0 for every sample."""
    for node in seen.nodes:
        if seen.name(node) != "relu" or not is_seen(node.array):
            continue
        units = np.moveaxis(node.array, 1, 0).reshape(node.array.shape[1], -1)
        count = int((units == 0).all(1).sum())
        if units.shape[1] >= SAMPLES and count >= max(SHARE * len(units), FEW):
            yield Finding(
                "dead relu",
                f"{count} of {len(units)} units of a relu are 0 for all {node.array.shape[0]} "
                "samples",
                "their slope is 0, too: nothing before them learns from this batch",
                "Start with smaller biases and weights, or a smaller learning rate, or write "
                "leaky_relu",
                line_of(node),
            )


def saturated(seen: Seen) -> Iterator[Finding]:
    """Hidden sigmoids and tanhs that are flat: their slope is below 1 % of the steepest."""
    for node in seen.nodes:
        name = seen.name(node)
        if name not in ("sigmoid", "tanh") or not is_seen(node.array):
            continue
        onward = [seen.name(y) for y in seen.readers.get(node, ())]
        y = node.array
        slope = 4 * y * (1 - y) if name == "sigmoid" else 1 - y * y
        share = float((slope < FLAT).mean())
        if share >= SHARE and {"linear", "matmul"} & set(onward):
            yield Finding(
                f"saturated {name}",
                f"{share:.0%} of the values of a {name} are where it is flat",
                f"the slope there is below {FLAT:.0%} of the steepest: what comes before hardly "
                "learns",
                "Start with smaller weights (Xavier: gain/√n), or normalise what goes in",
                line_of(node),
            )


def is_seen(array: Any) -> bool:
    """Whether there are numbers, for several samples and units."""
    return isinstance(array, np.ndarray) and array.ndim >= 2 and array.shape[0] > 1


# --- with the model -----------------------------------------------------------------------------


def unreached(seen: Seen, model: Module) -> Iterator[Finding]:
    """Parameters that get no gradient from this loss."""
    wanted = {name: p for name, p in model.named_parameters() if p.requires_grad}
    names = [name for name, p in wanted.items() if p not in seen.leaves]
    if names and seen.loss.live:
        many = "none of the model's parameters" if len(names) == len(wanted) else ""
        yield Finding(
            "unreached parameter",
            (many and f"the loss reaches {many}") or f"the loss does not reach {listed(names)}",
            "they get no gradient and stay as they are",
            "Use them in forward, take them out of the model, or look for a detach(), a no_grad() "
            "or a .numpy() on the way",
        )


def unregistered(seen: Seen, model: Module) -> Iterator[Finding]:
    """Modules and tensors that a module holds, but does not know as its own."""
    own = {*map(id, model.modules()), *map(id, model.parameters()), *map(id, model.buffers())}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            for x, holder in held(value):
                if id(x) in own:
                    continue
                where = f"{path}.{name}" if path else name
                instead = {
                    "list": "nn.ModuleList" if isinstance(x, Module) else "nn.ParameterList",
                    "dict": "nn.ModuleDict",
                }.get(holder, "nn.Parameter")
                yield Finding(
                    "not registered",
                    f"self.{where} holds {a_type(x)} that the model does not know",
                    "model.parameters() lacks it: no optimiser trains it, state_dict() does not "
                    "save it, and train() and eval() pass it by",
                    f"Write {instead}(...)",
                )
                break
    for leaf in seen.leaves - seen.own:
        if isinstance(leaf, Parameter) and any(s.kind == "module" for s in chain_of(leaf.scope)):
            yield Finding(
                "made in forward",
                f"a parameter of shape {tuple(leaf.array.shape)} is made in forward",
                "it is another one in each call: nothing ever trains it",
                "Make layers and parameters in __init__",
            )


def held(value: Any) -> Iterator[tuple[Any, str]]:
    """What is trained in a value, and what holds it: a list, a dict, or nothing."""
    if isinstance(value, (list, tuple, set)):
        inside, holder = list(value), "list"
    elif isinstance(value, dict):
        inside, holder = list(value.values()), "dict"
    else:
        inside, holder = [value] if isinstance(value, Tensor) else [], ""
    for x in inside:
        trained = isinstance(x, Module) and any(p.requires_grad for p in x.parameters())
        if trained or (isinstance(x, Tensor) and x.requires_grad and not x.inputs):
            yield x, holder


def added_up(seen: Seen, model: Module) -> Iterator[Finding]:
    """Gradients that hold shares from before and from after a step of the optimiser."""
    names = []
    for name, p in model.named_parameters():
        first = getattr(p._grad, "since", None)
        if first is None or p.memory is None or p._grad.tick < seen.loss.tick:
            continue  # one pass alone, or what is to be zeroed before the next one
        if first < p.memory.written:
            names.append(name)
    if names:
        yield Finding(
            "gradients added up",
            f"the gradients of {listed(names)} were not zeroed since the step before",
            "backward() adds to .grad: the optimiser goes on in the directions of earlier steps",
            "Call optimizer.zero_grad() before each backward()",
        )


def mode(seen: Seen, model: Module) -> Iterator[Finding]:
    """Dropout or batch norm in eval mode in training, or in train mode in an evaluation."""
    names: dict[bool, list[str]] = {True: [], False: []}
    for name, module in model.named_modules():
        kind = type(module).__name__
        own = [p for p in module.parameters() if p.requires_grad]
        if not module.training and not own and any(True for _ in module.parameters()):
            continue  # frozen
        if kind.startswith(("Dropout", "BatchNorm")):
            names[module.training].append(f"{name or 'the model'} ({kind})")
    if seen.loss.live and names[False] and not names[True]:
        yield Finding(
            "eval mode",
            f"{listed(names[False])} in eval mode, and the loss needs a gradient",
            "dropout drops nothing, and batch norm neither uses nor learns the batch's statistics",
            "Call model.train() before training",
        )
    if not seen.loss.live and names[True]:
        yield Finding(
            "train mode",
            f"{listed(names[True])} in train mode, and the loss needs no gradient",
            "dropout changes the answers at random, and batch norm lets them depend on the batch "
            "and learns from what it is tested on",
            "Call model.eval() before evaluating",
        )


def listed(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


STRUCTURE = (
    doubled, over_the_batch, pairwise, nothing_between, learning_targets, bootstrapped,
)  # fmt: skip
VALUES = (dead, saturated)
OF_MODEL = (unreached, unregistered, added_up, mode)
