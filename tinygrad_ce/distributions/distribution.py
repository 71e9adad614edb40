"""What all distributions share: shapes, draws without a gradient, and the check of parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from tinygrad_ce.creation import tensor
from tinygrad_ce.engine.dtypes import Size
from tinygrad_ce.engine.frame import a_type, current, recording
from tinygrad_ce.engine.tensor import Tensor

Test = Callable[[Any], Any]


def is_real(x: Any) -> Any:
    """No nan."""
    return ~np.isnan(x)


class Distribution:
    """A distribution for each element of `batch_shape`, over events of `event_shape`.

    A subclass sets its parameters as attributes, says in `wanted` what they have to be, and then
    calls `super().__init__(batch_shape)`. Parameters and values that make no sense raise ValueError
    unless `validate_args=False`; while a function is traced they are not looked at.
    """

    wanted: ClassVar[dict[str, tuple[str, Test]]] = {}
    """What each parameter has to be, in words and as a test of each of its numbers."""
    has_rsample = False

    def __init__(
        self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None
    ) -> None:
        self._batch_shape = Size(batch_shape)
        self._event_shape = Size(event_shape)
        self._validate_args = validate_args is not False
        if self._validate_args and current().tracer is None:
            for name, (words, holds) in self.wanted.items():
                if name in vars(self):
                    check(holds(vars(self)[name].array), self, name, vars(self)[name], words)

    @property
    def batch_shape(self) -> Size:
        """How many distributions there are, along each dimension."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one draw from one of them."""
        return self._event_shape

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        """The shape of draws."""
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    @property
    def mean(self) -> Tensor:
        """The expectation."""
        raise self._lacks("mean")

    @property
    def mode(self) -> Tensor:
        """The most probable value."""
        raise self._lacks("mode")

    @property
    def variance(self) -> Tensor:
        """The expected square of the distance to the mean."""
        raise self._lacks("variance")

    @property
    def stddev(self) -> Tensor:
        """The root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, without a gradient: shape (*sample_shape, *batch_shape, *event_shape)."""
        with recording(False):
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws as a function of the parameters, which get their gradients."""
        raise self._lacks("rsample")

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability, or of its density, at `value`, in nats."""
        raise self._lacks("log_prob")

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a draw of `value` or less."""
        raise self._lacks("cdf")

    def entropy(self) -> Tensor:
        """The expected -log_prob, in nats."""
        raise self._lacks("entropy")

    def perplexity(self) -> Tensor:
        """exp(entropy)."""
        return self.entropy().exp()

    def expand(self, batch_shape: Any) -> Any:
        """The same distribution, repeated to another batch_shape."""
        new = object.__new__(type(self))
        own = len(self._batch_shape)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                value = value.expand((*batch_shape, *value.shape[own:]))
            vars(new)[name] = value
        new._batch_shape = Size(batch_shape)
        return new

    def _check_value(self, value: Any, words: str, holds: Test) -> None:
        """Raise unless a value could be a draw."""
        if not self._validate_args:
            return
        name = type(self).__name__
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: the value is {a_type(value)}; wanted a Tensor")
        try:
            np.broadcast_shapes(value.shape, self._extended_shape())
        except ValueError:
            raise ValueError(
                f"{name}: values of shape {tuple(value.shape)} for distributions of shape "
                f"{tuple(self._extended_shape())}; wanted one that can be broadcast"
            ) from None
        if current().tracer is None:
            check(holds(value.array), self, "value", value, words)

    def _lacks(self, what: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} has no {what}")

    def __repr__(self) -> str:
        given = {name: vars(self)[name] for name in self.wanted if name in vars(self)}
        shown = (f"{k}: {f'{v}' if v.numel() == 1 else v.size()}" for k, v in given.items())
        return f"{type(self).__name__}({', '.join(shown)})"


def check(holds: Any, owner: Any, name: str, value: Tensor, words: str) -> None:
    """Raise unless the test holds everywhere."""
    if not np.all(holds):
        raise ValueError(
            f"{type(owner).__name__}: {name} of shape {tuple(value.shape)}; wanted {words}, found\n"
            f"{value}"
        )


def broadcast_all(*values: Any) -> list[Tensor]:
    """Tensors of one shape; numbers become Tensors like the first Tensor, or of default dtype."""
    known = next((x for x in values if isinstance(x, Tensor)), None)
    dtype = None if known is None else known.dtype
    made = [x if isinstance(x, Tensor) else tensor(as_float(x), dtype) for x in values]
    shape = np.broadcast_shapes(*(x.shape for x in made))
    return [x if x.shape == shape else x.expand(shape) for x in made]


def as_float(x: Any) -> float:
    """A number as a float."""
    if not isinstance(x, (bool, int, float, np.number)):
        raise ValueError(f"distribution: got {a_type(x)}; wanted a Tensor or a number")
    return float(x)


class lazy(cached_property[Any]):  # noqa: N801
    """A parameter that is computed from another one when it is first asked for, with its graph."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with recording(True):
            return super().__get__(instance, owner)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """log p, or log p - log(1 - p), with p away from 0 and 1 by one eps."""
    eps = float(np.finfo(probs.array.dtype).eps)
    inside = probs.clamp(eps, 1 - eps)
    return inside.log() - (-inside).log1p() if is_binary else inside.log()
