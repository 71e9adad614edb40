"""Recorder: what a training loop tells about itself, to be plotted by training.py.

Numbers are kept as they come. Parameters, gradients and activations are kept as histograms, and at
most `LOOKS` of each: when there are more, every other one is dropped and looks become rarer, so a
long training needs no more memory than a short one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.module import Module
from tinygrad_ce.optim.optimizer import Optimizer
from tinygrad_ce.viz.plots.looking import evaluating, watched

BINS = 64
LOOKS = 256  # histograms of one array that are kept
RATE = "learning rate"


class Series(NamedTuple):
    """Numbers, and the step at which each was recorded."""

    steps: list[int]
    values: list[float]

    def add(self, step: int, value: float) -> None:
        """One more number."""
        self.steps.append(step)
        self.values.append(value)


class Histogram(NamedTuple):
    """How the elements of an array were spread at a step.

    Zeros, and what is not finite, are told apart: half of what a ReLU gives is exactly 0, and
    would hide the rest. `counts` and `edges` are NumPy's, of the other elements.
    """

    step: int
    counts: np.ndarray
    edges: np.ndarray
    zeros: float
    """Share of the elements that are exactly 0."""
    broken: float
    """Share of the elements that are nan or infinite."""
    std: float
    """Standard deviation of all finite elements, zeros too."""
    norm: float
    """√Σx² of all elements; nan or inf if one of them is."""

    @classmethod
    def of(cls, step: int, array: Any) -> Histogram:
        """The histogram of the elements of an array, `np.histogram(elements, 64)`.

        >>> h = Histogram.of(1, [0.0, 0.0, 1.0, 2.0])
        >>> int(h.counts.sum()), float(h.edges[0]), float(h.edges[-1]), h.zeros
        (2, 1.0, 2.0, 0.5)
        """
        values = np.asarray(array, np.float64).ravel()
        size = max(values.size, 1)
        finite = values[np.isfinite(values)]
        rest = finite[finite != 0]
        counts, edges = np.histogram(rest, BINS, bounds(rest))
        return cls(
            step,
            counts,
            edges,
            zeros=float((finite.size - rest.size) / size),
            broken=float((values.size - finite.size) / size),
            std=float(finite.std()) if finite.size else 0.0,
            norm=float(np.linalg.norm(values)),
        )

    def quantile(self, q: float) -> float:
        """The value below which a share q of the counted elements lies, read off the bins."""
        below = np.concatenate([[0], np.cumsum(self.counts)])
        return float(np.interp(q * below[-1], below, self.edges))


def bounds(values: np.ndarray) -> tuple[float, float] | None:
    """A range that has room for the bins, where NumPy's own, least to greatest, has none."""
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    room = 1e-9 * max(abs(low), abs(high))
    return (low - room, high + room) if high - low < room else None


class Recorder:
    """Remembers a training: call `step` after each step of the optimiser.

    model: its parameters, their gradients and the ratio ‖Δw‖/‖w‖ of update to weight are looked
        at in step 1 and every `every` steps; without a model there is nothing to look at.
    optimizer: its learning rates are recorded at each step.

    What is recorded can be read: `series["loss"]` has `steps` and `values`; `values`, `gradients`
    and `activations` have a list of Histograms, and `updates` a Series, for each name.

    >>> recorder = Recorder()
    >>> for loss in (1.0, 0.5, 0.25):
    ...     recorder.step(loss=loss)
    >>> recorder.note(test_loss=0.3)
    >>> recorder
    Recorder(3 steps: loss 0.25, test_loss 0.3)
    >>> recorder.series["test_loss"]
    Series(steps=[3], values=[0.3])
    """

    def __init__(
        self, model: Module | None = None, optimizer: Optimizer | None = None, *, every: int = 10
    ) -> None:
        if not (model is None or isinstance(model, Module)):
            raise TypeError(f"Recorder: model is a {type(model).__name__}; wanted an nn.Module")
        if not (optimizer is None or isinstance(optimizer, Optimizer)):
            kind = type(optimizer).__name__
            raise TypeError(f"Recorder: optimizer is a {kind}; wanted one of tinygrad_ce.optim")
        if isinstance(every, bool) or not isinstance(every, (int, np.integer)) or every < 1:
            raise ValueError(f"Recorder: every={every!r}; wanted a whole number of at least 1")
        self.model = model
        self.optimizer = optimizer
        self.every = int(every)
        self.steps = 0
        self.series: dict[str, Series] = {}
        self.values: dict[str, list[Histogram]] = {}
        self.gradients: dict[str, list[Histogram]] = {}
        self.activations: dict[str, list[Histogram]] = {}
        self.updates: dict[str, Series] = {}
        self._before: dict[str, np.ndarray] = {}
        self._remember_weights()

    def step(self, **numbers: Any) -> None:
        """Record numbers at the next step: `recorder.step(loss=loss, accuracy=0.9)`.

        Call it after `optimizer.step()`, before gradients are cleared and before a schedule
        changes the learning rate. A number is a float or a Tensor of one element. Raises TypeError
        and ValueError for anything else, and records nothing then.
        """
        checked = {name: one_number("step", name, value) for name, value in numbers.items()}
        self.steps += 1
        self._write(checked)
        if self.optimizer is not None:
            for i, group in enumerate(self.optimizer.param_groups):
                self._write({f"{RATE} {i}" if i else RATE: float(group["lr"])})
        if self.model is not None:
            if (self.steps - 1) % self.every == 0:
                self._look_at_parameters(self.model)
            self._remember_weights()

    def note(self, **numbers: Any) -> None:
        """Record numbers at the step that was reached: `recorder.note(test_loss=...)`."""
        self._write({name: one_number("note", name, value) for name, value in numbers.items()})

    def look(self, *inputs: Any) -> None:
        """Run the model on an example batch, and record what each of its layers gives.

        A layer is a module that holds no other; a function such as F.relu is none, use nn.ReLU().
        The model runs in evaluation mode, without a graph: nothing of the training is changed.
        """
        if self.model is None:
            raise ValueError("look: this recorder has no model; make it with Recorder(model)")
        seen: dict[str, list[np.ndarray]] = {}

        def see(name: str, output: Tensor) -> None:
            seen.setdefault(name, []).append(output.numpy().ravel())

        with evaluating(self.model), watched(self.model, see):
            self.model(*inputs)
        for name, parts in seen.items():
            histograms = self.activations.setdefault(name, [])
            histograms.append(Histogram.of(self.steps, np.concatenate(parts)))
            if len(histograms) > LOOKS:
                del histograms[1::2]

    def _write(self, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.series.setdefault(name, Series([], [])).add(self.steps, value)

    def _remember_weights(self) -> None:
        """Keep the weights as they are before the next step, if that will be looked at."""
        self._before = {}
        if self.model is not None and self.steps % self.every == 0:
            self._before = {n: p.array.copy() for n, p in self.model.named_parameters()}

    def _look_at_parameters(self, model: Module) -> None:
        for name, p in model.named_parameters():
            self.values.setdefault(name, []).append(Histogram.of(self.steps, p.array))
            if p._grad is not None:
                gradient = Histogram.of(self.steps, p._grad.array)
                self.gradients.setdefault(name, []).append(gradient)
            before = self._before.get(name)
            if before is not None and before.shape == p.shape:
                ratio = update_ratio(before, p.array)
                self.updates.setdefault(name, Series([], [])).add(self.steps, ratio)
        if any(len(histograms) > LOOKS for histograms in self.values.values()):
            self._thin_out()

    def _thin_out(self) -> None:
        """Drop every other look at the parameters, and look half as often from here on."""
        self.every *= 2
        for histograms in (*self.values.values(), *self.gradients.values()):
            del histograms[1::2]
        for series in self.updates.values():
            del series.steps[1::2], series.values[1::2]

    def __repr__(self) -> str:
        last = [f"{n} {s.values[-1]:.4g}" for n, s in self.series.items() if not n.startswith(RATE)]
        steps = f"{self.steps} step" if self.steps == 1 else f"{self.steps} steps"
        return f"Recorder({': '.join([steps, ', '.join(last)] if last else [steps])})"


def update_ratio(before: np.ndarray, after: np.ndarray) -> float:
    """‖w_after − w_before‖ / ‖w_before‖, and nan where the weights were all 0.

    >>> update_ratio(np.array([3.0, 4.0]), np.array([3.0, 4.5]))
    0.1
    """
    w = before.astype(np.float64)
    size = float(np.linalg.norm(w))
    return float(np.linalg.norm(after - w)) / size if size else float("nan")


def one_number(caller: str, name: str, value: Any) -> float:
    """A number, or a Tensor or array of one element, as a float."""
    if current().tracer is not None:
        raise TypeError(
            f"{caller}: called inside of a traced function, where there are no numbers yet; "
            "call it with what the function returns"
        )
    array = value.array if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{caller}: {name} is a {type(value).__name__}; wanted a number")
    if array.size != 1:
        raise ValueError(
            f"{caller}: {name} has shape {array.shape}; wanted one number: {name}.mean()"
        )
    return float(array.reshape(()))
