"""Optimisers: what to subtract from the parameters, given their gradients.

The numbers that a step reads and replaces (momentum, moments, step counts) live in Tensors, so
that a traced step knows them; learning rates are read from the parameter group at each step.
Formulas are written on arrays, in place: `w -= lr * g`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_ce.engine.backward import forget_grad
from tinygrad_ce.engine.frame import call_in_scope, current, refuse_once
from tinygrad_ce.engine.memory import mark_written
from tinygrad_ce.engine.operands import box, exact, fitted, leaf, value_of
from tinygrad_ce.engine.tensor import Tensor


class Optimizer:
    """What all optimisers share: groups of parameters with settings, and a state for each."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self.param_groups: list[dict[str, Any]] = []
        if isinstance(params, Tensor):
            raise TypeError("optimiser: got one Tensor; wanted a list: [w] or model.parameters()")
        if not isinstance(params, Iterable):
            raise TypeError(
                f"optimiser: got a {type(params).__name__}; wanted a list: model.parameters()"
            )
        groups = list(params)
        if not groups:
            raise ValueError("optimiser: got no parameters; model.parameters() is empty")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add parameters with settings of their own: {"params": [...], "lr": 0.1}."""
        if "params" not in group:
            raise ValueError(f"optimiser: a group has no 'params', only {sorted(group)}")
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        known = {p for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimiser: a parameter is a {type(p).__name__}; wanted a Tensor")
            if p.inputs or not p.requires_grad:
                raise ValueError(
                    f"optimiser: a parameter of shape {p.shape} is not a leaf that requires a "
                    "gradient; create it with requires_grad=True, or as nn.Parameter"
                )
            if p in known:
                raise ValueError(f"optimiser: a parameter of shape {p.shape} is given twice")
            known.add(p)
        unknown = group.keys() - self.defaults.keys() - {"params"}
        if unknown:
            raise TypeError(f"optimiser: unknown setting {sorted(unknown)[0]!r}")
        settings = {**self.defaults, **group, "params": params}
        self.check(settings)
        self.param_groups.append(settings)

    def check(self, group: dict[str, Any]) -> None:
        """Refuse settings that make no sense."""
        for name in ("lr", "momentum", "weight_decay", "eps"):
            value = group.get(name, 0.0)
            if not is_number(value) or not 0.0 <= value < math.inf:
                raise ValueError(f"{type(self).__name__}: {name}={value!r}; wanted a number ≥ 0")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters; with set_to_none=False make them 0."""
        for group in self.param_groups:
            for p in group["params"]:
                forget_grad(p, set_to_none)

    def step(self) -> None:
        """Take one step with every parameter that has a gradient."""
        kind = type(self).__name__
        if current().tracer is not None:
            call_in_scope(kind, "optimizer", "", self.traced_step, (), {}, self)
            return
        name = kind + ".step()"
        for group in self.param_groups:
            for p in group["params"]:
                if p.kept is not None:
                    self.update(p, p.array, p.kept.array, group)
                    mark_written(p, name)

    def traced_step(self) -> None:
        """The same step, written down: learning rates are read anew in each run, and which steps
        update one parameter is noted, so that a program can update several at once.
        """
        tracer: Any = current().tracer
        for group in self.param_groups:
            settings = tracer.settings(group)
            for p in group["params"]:
                kept = tracer.get_grad(p)
                if kept is not None:
                    w, g, first = value_of(p), value_of(kept), len(tracer.steps)
                    self.update(p, w, g, settings)
                    tracer.updates.append(range(first, len(tracer.steps)))
                    mark_written(p, type(self).__name__ + ".step()")

    def update(self, p: Tensor, w: Any, g: Any, group: dict[str, Any]) -> None:
        """Change the array `w` of the parameter `p` in place, given its gradient `g`."""
        raise TypeError(f"{type(self).__name__} has no update method")

    def state_of(self, p: Tensor, **shapes: Any) -> list[Any]:
        """The arrays that this optimiser keeps for `p`, zeros of the given shapes at first."""
        state = self.state.get(p)
        if state is None:
            state = {n: leaf(np.zeros(shape, p.array.dtype)) for n, shape in shapes.items()}
            self.state[p] = state
        return [value_of(state[name]) for name in shapes]

    # --- saving -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """State and settings, with parameters numbered in their order."""
        params = [p for group in self.param_groups for p in group["params"]]
        number = {p: i for i, p in enumerate(params)}
        return {
            "state": {
                number[p]: {name: tensor.detach().clone() for name, tensor in state.items()}
                for p, state in self.state.items()
                if p in number
            },
            "param_groups": [
                {**group, "params": [number[p] for p in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take state and settings over from `state_dict`: all of it, or none and an error.

        Raises ValueError or TypeError for what the constructor refuses, for groups of other
        sizes, and for state of other names, shapes and kinds than this optimiser keeps.
        """
        refuse_once("load_state_dict writes", "Load before the call, which finds what was loaded")
        if not (isinstance(state_dict, Mapping) and isinstance(state_dict.get("state"), Mapping)
                and isinstance(state_dict.get("param_groups"), (list, tuple))):  # fmt: skip
            raise ValueError("load_state_dict: wanted a dict with 'state' and 'param_groups'")
        groups = state_dict["param_groups"]
        self.check_groups(groups)
        numbers = [i for group in groups for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        numbered = {str(i): p for i, p in zip(numbers, params)}
        if len(numbered) < len(params):
            raise ValueError(f"load_state_dict: a parameter is numbered twice: {numbers}")
        state: dict[Tensor, dict[str, Tensor]] = {}
        for i, saved in state_dict["state"].items():
            p = numbered.get(str(i))
            if p is None:
                raise ValueError(
                    f"load_state_dict: state of parameter {i}; this optimiser has {len(params)}"
                )
            state[p] = self.fitting(p, i, saved)
        for group, saved in zip(self.param_groups, groups):
            group.update({k: v for k, v in saved.items() if k != "params"})
        self.state = {p: self.taken_over(p, new) for p, new in state.items() if new}

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
        for saved, group in zip(groups, self.param_groups):
            if unknown := sorted(map(str, saved.keys() - group.keys())):
                raise ValueError(f"load_state_dict: {unknown[0]} is no setting of {kind}")
            if missing := sorted(self.defaults.keys() - saved.keys()):
                raise ValueError(
                    f"load_state_dict: a group lacks {missing[0]}, a setting of {kind}"
                )
            self.check({**group, **saved})

    def fitting(self, p: Tensor, i: Any, saved: Any) -> dict[str, Tensor]:
        """Saved state as the new state of the parameter `p`, which has the number `i`."""
        kind, wanted = type(self).__name__, self.state_shapes(p.shape)
        if not isinstance(saved, Mapping):
            raise ValueError(f"load_state_dict: the state of parameter {i} is no dict")
        given = {name: value for name, value in saved.items() if value is not None}
        if given and wanted is not None and given.keys() != wanted.keys():
            raise ValueError(
                f"load_state_dict: parameter {i} has {sorted(given)}; {kind} keeps {sorted(wanted)}"
            )
        new = {}
        for name, value in given.items():
            array = exact(value)
            if array.shape not in (((), p.shape) if wanted is None else (wanted[name],)):
                raise ValueError(
                    f"load_state_dict: {name} of parameter {i} has shape {array.shape}, "
                    f"the parameter {p.shape}"
                )
            if array.dtype.kind not in "f" + "iu" * (array.shape == ()):
                raise ValueError(
                    f"load_state_dict: {name} of parameter {i} has dtype {array.dtype}; "
                    "wanted floats"
                )
            if not self.possible(name, array):
                raise ValueError(f"load_state_dict: {name} of parameter {i} cannot be {array}")
            new[name] = leaf(fitted(array, p.dtype, f"load_state_dict: {name} of parameter {i}"))
        return new

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]] | None:
        """Names and shapes of the state of a parameter of this shape; None if a class says none."""
        return None

    def possible(self, name: str, array: np.ndarray) -> bool:
        """Whether a state can have this value: steps are counted, squares have no sign."""
        if name == "step":
            return bool(np.isfinite(array) and array >= 0 and array == np.floor(array))
        return not (name == "exp_avg_sq" and (array < 0).any())

    def taken_over(self, p: Tensor, new: dict[str, Tensor]) -> dict[str, Tensor]:
        """New state in the tensors that hold the old one, so that who knows them sees it too."""
        old = self.state.get(p, {})
        for name, tensor in new.items():
            own = old.get(name)
            if own is not None and own.shape == tensor.shape and own.dtype == tensor.dtype:
                own.array[...] = tensor.array
                mark_written(own, "load_state_dict")
                new[name] = own
        return new

    def __repr__(self) -> str:
        lines = []
        for group in self.param_groups:
            settings = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"{type(self).__name__}({len(group['params'])} parameters, {settings})")
        return "\n".join(lines)


def is_number(value: Any) -> bool:
    """Whether a setting is a number, Python's or NumPy's, and no flag."""
    return isinstance(value, (int, float, np.integer, np.floating)) and type(value) is not bool


def number(value: Any, like: Any) -> Any:
    """A setting as an operand next to the array `like`."""
    return box(value, like.dtype) if type(value) is float else value


class SGD(Optimizer):
    """w -= lr·g; with momentum μ, v = μ·v + g and w -= lr·v; nesterov uses g + μ·v.

    `weight_decay` λ adds λ·w to the gradient.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        *,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay,
                    "nesterov": nesterov}  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: dict[str, Any]) -> None:
        """Also what nesterov wants."""
        super().check(group)
        if not isinstance(group["nesterov"], (bool, np.bool_)):
            raise ValueError(f"SGD: nesterov={group['nesterov']!r}; wanted True or False")
        if group["nesterov"] and not group["momentum"]:
            raise ValueError("SGD: nesterov=True wants a momentum above 0")

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """One velocity."""
        return {"momentum_buffer": shape}

    def update(self, p: Tensor, w: Any, g: Any, group: dict[str, Any]) -> None:
        """v = μ·v + g; w -= lr·v."""
        if group["weight_decay"]:
            g = g + group["weight_decay"] * w
        momentum = group["momentum"]
        if momentum:
            (v,) = self.state_of(p, **self.state_shapes(w.shape))
            v *= number(momentum, w)
            v += g
            g = g + momentum * v if group["nesterov"] else v
        w -= number(group["lr"], w) * g


class Adam(Optimizer):
    """w -= lr·m̂/(√v̂ + ε), m and v the running means of g and g², hats undoing their start at 0.

    m = β₁m + (1-β₁)g, v = β₂v + (1-β₂)g², m̂ = m/(1-β₁ᵗ), v̂ = v/(1-β₂ᵗ) (Kingma and Ba, 2015).
    `weight_decay` λ adds λ·w to the gradient.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def check(self, group: dict[str, Any]) -> None:
        """Also 0 ≤ β < 1."""
        super().check(group)
        betas = group["betas"]
        two = isinstance(betas, (tuple, list)) and len(betas) == 2
        if not (two and all(is_number(beta) and 0.0 <= beta < 1.0 for beta in betas)):
            name = type(self).__name__
            raise ValueError(f"{name}: betas={betas}; wanted two numbers, 0 ≤ β < 1")

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """How many steps were taken, and both means."""
        return {"step": (), "exp_avg": shape, "exp_avg_sq": shape}

    def update(self, p: Tensor, w: Any, g: Any, group: dict[str, Any]) -> None:
        """One step for one parameter."""
        if group["weight_decay"]:
            g = self.decayed(w, g, group)
        beta1, beta2 = group["betas"]
        step, m, v = self.state_of(p, **self.state_shapes(w.shape))
        step += 1
        m *= number(beta1, w)
        m += number(1 - beta1, w) * g
        v *= number(beta2, w)
        change = g * g
        change *= number(1 - beta2, w)
        v += change
        # lr·m̂/(√v̂ + ε), with the corrections of both means taken out of the array; in float64,
        # because 1 - 0.999 has only four good digits in float32
        t = step.astype(np.float64)
        root = np.sqrt(1 - beta2**t)
        rate = group["lr"] * root / (1 - beta1**t)
        change = np.sqrt(v)
        change += (root * group["eps"]).astype(w.dtype)
        change = m / change
        change *= rate.astype(w.dtype)
        w -= change

    def decayed(self, w: Any, g: Any, group: dict[str, Any]) -> Any:
        """The gradient with λ·w."""
        return g + group["weight_decay"] * w


class AdamW(Adam):
    """Adam with decoupled weight decay: first w -= lr·λ·w, then Adam (Loshchilov and Hutter, 2019).

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = AdamW([w], lr=0.1, weight_decay=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.85], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def decayed(self, w: Any, g: Any, group: dict[str, Any]) -> Any:
        """The gradient as it is; the weight a little smaller."""
        w *= 1 - group["lr"] * group["weight_decay"]
        return g
