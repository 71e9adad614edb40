"""Optimisers: what to subtract from the parameters, given their gradients.

The numbers that a step reads and replaces (momentum, moments, step counts) live in Tensors, so
that a traced step knows them; learning rates are read from the parameter group at each step.
Formulas are written on arrays, in place: `w -= lr * g`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from tinygrad_ce.engine.backward import forget_grads
from tinygrad_ce.engine.frame import a_type, call_in_scope, current, recording, refuse_once
from tinygrad_ce.engine.memory import mark_written
from tinygrad_ce.engine.operands import box, exact, fitted, leaf, value_of
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.parameter import Parameter

Closure = Callable[[], Any]
SQUARES = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "acc_delta", "sum")  # have no sign


class Required:
    """The default of a setting that has none: `required`."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = Required()


class Optimizer:
    """What all optimisers share: groups of parameters with settings, and a state for each.

    params: Tensors, pairs (name, Tensor) as of `model.named_parameters()`, or groups with settings
        of their own: `[{"params": model.body.parameters()}, {"params": [w], "lr": 0.1}]`.
    defaults: the settings of groups that do not say otherwise.

    One of your own has `update(p, w, g, group)`, which changes the array `w` in place, given the
    gradient `g`, or a whole `step` under no_grad(), as PyTorch's have.

    The flags `foreach`, `fused` and `capturable` of PyTorch's optimisers choose among its kernels;
    here they change nothing. A step is no part of the graph: `differentiable=True` is refused.
    """

    keeps: tuple[str, ...] | None = None
    """Names of all that is kept for a parameter: "step" is a count, all else has its shape."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        # A schedule that goes on before the first step warns; a step of ones own is not counted.
        self.stepped = False if type(self).step is Optimizer.step else None
        if isinstance(params, Tensor):
            raise TypeError("optimiser: got one Tensor; wanted a list: [w] or model.parameters()")
        groups = listed(params)
        if not groups:
            raise ValueError("optimiser: got no parameters; model.parameters() is empty")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own: {"params": [...], "lr": 0.1}."""
        if not isinstance(param_group, dict):
            raise TypeError(f"optimiser: a group is {a_type(param_group)}; wanted a dict")
        if "params" not in param_group:
            raise ValueError(f"optimiser: a group has no 'params', only {sorted(param_group)}")
        given = param_group["params"]
        if isinstance(given, set):
            raise TypeError("optimiser: parameters in a set have no order; wanted a list")
        given = [given] if isinstance(given, Tensor) else listed(given)
        params = [p[1] if isinstance(p, tuple) and len(p) == 2 else p for p in given]
        self.check_parameters(params)
        settings = {**param_group, "params": params}
        names = [p[0] for p, own in zip(given, params) if p is not own]
        if len(names) not in (0, len(params)):
            raise ValueError("optimiser: some parameters have names and some have none")
        if any(bool(names) != ("param_names" in group) for group in self.param_groups):
            raise ValueError("optimiser: some groups have names of parameters and some have none")
        if names:
            settings["param_names"] = names
        settings.update((k, v) for k, v in self.defaults.items() if k not in settings)
        if lacks := [k for k, v in settings.items() if v is required]:
            raise ValueError(f"optimiser: a group lacks {lacks[0]!r}, which has no default")
        settings.update((k, v.item()) for k, v in settings.items()
                        if isinstance(v, Tensor) and v.numel() == 1)  # fmt: skip
        self.check(settings)
        self.param_groups.append(settings)

    def check_parameters(self, params: list[Any]) -> None:
        """Refuse what cannot be optimised, and what is optimised already."""
        known = {p for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                instead = "; write *layer.parameters() for a layer" * hasattr(p, "parameters")
                raise TypeError(f"optimiser: a parameter is {a_type(p)}; wanted a Tensor{instead}")
            if p.inputs or not (p.requires_grad or isinstance(p, Parameter)):  # it may be frozen
                raise ValueError(
                    f"optimiser: a parameter of shape {tuple(p.shape)} is not a leaf that requires "
                    "a gradient; create it with requires_grad=True, or as nn.Parameter"
                )
            if p in known:
                raise ValueError(f"optimiser: a parameter of shape {tuple(p.shape)} is given twice")
            known.add(p)

    def check(self, group: dict[str, Any]) -> None:
        """Refuse settings that make no sense."""
        name = type(self).__name__
        for key in NOT_NEGATIVE & self.defaults.keys():
            value = group[key]
            if not is_number(value) or not 0.0 <= value < math.inf:
                raise ValueError(f"{name}: {key}={value!r}; wanted a number ≥ 0")
        for key in SWITCHES & self.defaults.keys():
            if not isinstance(group[key], (bool, np.bool_)):
                raise ValueError(f"{name}: {key}={group[key]!r}; wanted True or False")
        if group.get("differentiable"):
            raise ValueError(
                f"{name}: differentiable=True; a step here is no part of the graph. For a gradient "
                "through it write w = w - lr * grad(loss, w, create_graph=True)[0]"
            )
        if group.get("fused") and group.get("foreach"):
            raise ValueError(f"{name}: fused and foreach exclude each other; give one of them")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters; with set_to_none=False make them 0."""
        for group in self.param_groups:
            forget_grads(group["params"], set_to_none)

    def step(self, closure: Closure | None = None) -> Any:
        """Take one step with every parameter that has a gradient.

        closure: computes the loss and its gradients anew; it is called first, and what it gives is
            returned.
        """
        loss, kind = None, type(self).__name__
        if closure is not None:
            with recording(True):
                loss = closure()
        self.stepped = True
        if current().tracer is not None:
            call_in_scope(kind, "optimizer", "", self.traced_step, (), {}, self)
            return loss
        name = kind + ".step()"
        for group in self.param_groups:
            if isinstance(group.get("lr"), Tensor):
                group = {**group, "lr": group["lr"].item()}
            for p in group["params"]:
                if p._grad is not None:
                    self.update(p, p.array, p._grad.array, group)
                    mark_written(p, name)
        return loss

    def traced_step(self) -> None:
        """The same step, written down: learning rates are read anew in each run, and which steps
        update one parameter is noted, so that a program can update several at once.
        """
        tracer: Any = current().tracer
        for group in self.param_groups:
            if isinstance(group.get("lr"), Tensor):
                tracer.refuse(
                    "a learning rate is a Tensor, and a program reads a number anew in each run",
                    'Set it outside of the function: group["lr"] = lr.item()',
                )
            settings = tracer.settings(group)
            for p in group["params"]:
                grad = tracer.get_grad(p)
                if grad is not None:
                    w, g, first = value_of(p), value_of(grad), len(tracer.steps)
                    self.update(p, w, g, settings)
                    tracer.updates.append(range(first, len(tracer.steps)))
                    mark_written(p, type(self).__name__ + ".step()")

    def update(self, p: Tensor, w: Any, g: Any, group: dict[str, Any]) -> None:
        """Change the array `w` of the parameter `p` in place, given its gradient `g`."""
        raise TypeError(f"{type(self).__name__} has no update method")

    def state_of(self, p: Tensor, **shapes: Any) -> list[Any]:
        """The arrays that this optimiser keeps for `p`, zeros of the given shapes at first."""
        state = self.state.setdefault(p, {})  # a plain dict, if somebody has set one
        for name, shape in shapes.items():
            if name not in state:
                dtype = np.float32 if name == "step" else p.array.dtype
                state[name] = leaf(np.zeros(shape, dtype))
        return [value_of(state[name]) for name in shapes]

    # --- saving -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """State and settings, with parameters numbered in their order; a copy."""
        params = [p for group in self.param_groups for p in group["params"]]
        number = {p: i for i, p in enumerate(params)}
        return {
            "state": {
                number[p]: {name: copied(value) for name, value in state.items()}
                for p, state in self.state.items()
                if p in number
            },
            "param_groups": [
                {
                    **{k: v for k, v in group.items() if k != "params"},
                    "params": [number[p] for p in group["params"]],
                }
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take state and settings over from `state_dict`: all of it, or none and an error.

        Settings that it lacks, and that are switched off by default, stay as they are. Raises
        ValueError or TypeError for what the constructor refuses, for groups of other sizes, and
        for state of other names, shapes and kinds than this optimiser keeps.
        """
        refuse_once("load_state_dict writes", "Load before the call, which finds what was loaded")
        if not (isinstance(state_dict, Mapping) and isinstance(state_dict.get("state"), Mapping)
                and isinstance(state_dict.get("param_groups"), (list, tuple))):  # fmt: skip
            raise ValueError("load_state_dict: wanted a dict with 'state' and 'param_groups'")
        groups = state_dict["param_groups"]
        self.check_groups(groups)
        numbers = [i for group in groups for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        group_of = {p: saved for group, saved in zip(self.param_groups, groups)
                    for p in group["params"]}  # fmt: skip
        numbered = {str(i): p for i, p in zip(numbers, params)}
        if len(numbered) < len(params):
            raise ValueError(f"load_state_dict: a parameter is numbered twice: {numbers}")
        state: dict[Tensor, dict[str, Any]] = {}
        for i, saved in state_dict["state"].items():
            p = numbered.get(str(i))
            if p is None:
                raise ValueError(
                    f"load_state_dict: state of parameter {i}; this optimiser has {len(params)}"
                )
            state[p] = self.fitting(p, i, saved, group_of[p])
        for group, saved in zip(self.param_groups, groups):
            group.update({k: copied(v) for k, v in saved.items() if k != "params"})
        taken = {p: self.taken_over(p, new) for p, new in state.items() if new}
        self.state = defaultdict(dict, taken)

    def check_groups(self, groups: Sequence[Any]) -> None:
        """Refuse saved groups that are not like those of this optimiser."""
        kind = type(self).__name__
        lists = (list, tuple)
        if not all(isinstance(g, Mapping) and isinstance(g.get("params"), lists) for g in groups):
            raise ValueError("load_state_dict: wanted groups that are dicts with a list of params")
        sizes = [len(group["params"]) for group in groups]
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise ValueError(
                f"load_state_dict: groups of {sizes} parameters; this optimiser has {own}"
            )
        needed = {name for name, default in self.defaults.items() if default}
        for saved, group in zip(groups, self.param_groups):
            if missing := sorted(needed - saved.keys()):
                raise ValueError(
                    f"load_state_dict: a group lacks {missing[0]}, a setting of {kind}"
                )
            self.check({**group, **saved})

    def fitting(self, p: Tensor, i: Any, saved: Any, group: Mapping[str, Any]) -> dict[str, Any]:
        """Saved state as the new state of the parameter `p`, which has the number `i`."""
        if not isinstance(saved, Mapping):
            raise ValueError(f"load_state_dict: the state of parameter {i} is no dict")
        given = {name: value for name, value in saved.items() if value is not None}
        if self.keeps is None:
            return {name: cast(value, name, p.dtype) for name, value in given.items()}
        needed = {*self.needs({**self.defaults, **group})}
        if given and not needed <= given.keys() <= {*self.keeps}:
            raise ValueError(
                f"load_state_dict: parameter {i} has {sorted(given)}; {type(self).__name__} keeps "
                f"{sorted(needed)}"
            )
        return {name: self.fitting_one(name, exact(value), p, i) for name, value in given.items()}

    def fitting_one(self, name: str, array: Any, p: Tensor, i: Any) -> Tensor:
        """One saved array as state."""
        what = f"load_state_dict: {name} of parameter {i}"
        if array.shape != (() if name == "step" else p.shape):
            raise ValueError(f"{what} has shape {array.shape}, the parameter {p.array.shape}")
        if array.dtype.kind not in "f" + "iu" * (array.shape == ()):
            raise ValueError(f"{what} has dtype {array.dtype}; wanted floats")
        if not possible(name, array):
            raise ValueError(f"{what} cannot be {array}")
        result: Tensor = leaf(fitted(array, np.float32 if name == "step" else p.dtype, what))
        return result

    def needs(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Those names of `keeps` that a step with these settings uses."""
        return self.keeps or ()

    def taken_over(self, p: Tensor, new: dict[str, Any]) -> dict[str, Any]:
        """New state in the tensors that hold the old one, so that who knows them sees it too."""
        old = self.state.get(p, {})
        for name, tensor in new.items():
            own = old.get(name)
            if not (isinstance(tensor, Tensor) and isinstance(own, Tensor)):
                continue
            if own.shape == tensor.shape and own.dtype == tensor.dtype:
                own.array[...] = tensor.array
                mark_written(own, "load_state_dict")
                new[name] = own
        return new

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            lines += [*[""] * (i > 0), f"Parameter Group {i}"]
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([f"{type(self).__name__} (", *lines, ")"])


NOT_NEGATIVE = {"lr", "momentum", "weight_decay", "eps", "alpha", "rho", "lr_decay",
                "initial_accumulator_value"}  # fmt: skip
SWITCHES = {"nesterov", "maximize", "amsgrad", "centered"}


def listed(params: Any) -> list[Any]:
    """Parameters in a list; layers that are a list of layers are no list of parameters."""
    given = list(params) if isinstance(params, Iterable) else None
    layer = hasattr(params, "parameters") and not all(isinstance(p, Tensor) for p in given or ())
    if given is None or layer:
        raise TypeError(f"optimiser: got {a_type(params)}; wanted a list: model.parameters()")
    return given


def possible(name: str, array: np.ndarray) -> bool:
    """Whether a state can have this value: steps are counted, squares have no sign."""
    if name == "step":
        return bool(np.isfinite(array) and array >= 0 and array == np.floor(array))
    return not (name in SQUARES and (array < 0).any())


def copied(value: Any) -> Any:
    """A copy of what an optimiser keeps, also in lists and dicts."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}
    return type(value)(map(copied, value)) if type(value) in (list, tuple) else deepcopy(value)


def cast(value: Any, name: str, dtype: Any) -> Any:
    """A copy of saved state of any kind, floats in the dtype of the parameter."""
    if isinstance(value, (Tensor, np.ndarray)):
        array = exact(value)
        return leaf(array.astype(dtype) if array.dtype.kind == "f" and name != "step" else array)
    if type(value) in (list, tuple):
        return type(value)(cast(v, name, dtype) for v in value)
    return deepcopy(value)


def is_number(value: Any) -> bool:
    """Whether a setting is a number, Python's or NumPy's, and no flag."""
    return isinstance(value, (int, float, np.integer, np.floating)) and type(value) is not bool


def number(value: Any, like: Any) -> Any:
    """A setting as an operand next to the array `like`."""
    return box(value, like.dtype) if type(value) is float else value


def slope(w: Any, g: Any, group: Mapping[str, Any]) -> Any:
    """The slope of what is to become smaller: g, -g to maximise; with λ·w for weight decay."""
    if group["maximize"]:
        g = -g
    return g + group["weight_decay"] * w if group["weight_decay"] else g
