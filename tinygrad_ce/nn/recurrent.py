"""Recurrent layers: what a step makes of the input and of what the steps before it left.

They are composed of a linear map, sigmoid and tanh, step by step, so that a picture or a listing
shows each of them. Both biases are PyTorch's, where one of them would do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F, init
from tinygrad_ce.nn.functional.warn import warn
from tinygrad_ce.nn.layer import Layer, new_parameter, positive
from tinygrad_ce.nn.parameter import Parameter
from tinygrad_ce.nn.utils.rnn import PackedSequence, whole

State = tuple[Tensor, ...]  # of each sequence: h, and c of an LSTM
Step = Callable[[Tensor, Any, State], State]  # (input part of the gates, h part of them, state)


def zeros_beside(shape: tuple[int, ...], x: Tensor) -> Tensor:
    """The state that a sequence begins with, in the dtype of the input."""
    return leaf(np.zeros(shape, x.dtype))


# --- one step -------------------------------------------------------------------------------


def tanh_step(x: Tensor, recur: Any, state: State) -> State:
    """h' = tanh(W x + b + U h + d)."""
    return ((x + recur(state[0])).tanh(),)


def relu_step(x: Tensor, recur: Any, state: State) -> State:
    """h' = max(W x + b + U h + d, 0)."""
    return ((x + recur(state[0])).relu(),)


def lstm_step(x: Tensor, recur: Any, state: State) -> State:
    """c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c'); i, f, g, o are quarters of the gates."""
    h, c = state
    i, f, g, o = (x + recur(h)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_step(x: Tensor, recur: Any, state: State) -> State:
    """h' = (1 - σ(z))·n + σ(z)·h with n = tanh(xₙ + σ(r)·hₙ); r, z, n are thirds of the gates."""
    (h,) = state
    xr, xz, xn = x.chunk(3, -1)
    hr, hz, hn = recur(h).chunk(3, -1)
    n = (xn + (xr + hr).sigmoid() * hn).tanh()
    z = (xz + hz).sigmoid()
    return ((h - n) * z + n,)


STEPS: dict[str, tuple[Step, int]] = {
    "RNN_TANH": (tanh_step, 1), "RNN_RELU": (relu_step, 1), "LSTM": (lstm_step, 4),
    "GRU": (gru_step, 3),
}  # fmt: skip
"""What a step does, and how many gates it has."""


# --- layers ---------------------------------------------------------------------------------


class RNNBase(Layer):
    """What RNN, LSTM and GRU have: layers, directions, their parameters, and the way through."""

    data = "input, h_0"

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        name = type(self).__name__
        self.mode = mode
        self.input_size = positive(input_size, "input_size", name)
        self.hidden_size = positive(hidden_size, "hidden_size", name)
        self.num_layers = positive(num_layers, "num_layers", name)
        for option, value in (("bias", bias), ("batch_first", batch_first)):
            if not isinstance(value, bool):
                raise TypeError(f"{name}: {option}={value!r}; wanted True or False")
        if isinstance(dropout, bool) or not 0.0 <= dropout <= 1.0:
            raise ValueError(f"{name}: dropout={dropout!r}; wanted a probability, 0 to 1")
        if not 0 <= proj_size < hidden_size:
            raise ValueError(f"{name}: proj_size={proj_size}; wanted less than {hidden_size}, or 0")
        if dropout and num_layers == 1:
            warn(f"{name}: dropout={dropout} is for what goes from one layer to the next; "
                 "num_layers=1")  # fmt: skip
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        gates = STEPS[mode][1] * hidden_size
        out = proj_size or hidden_size
        for layer in range(num_layers):
            for suffix in self._suffixes(layer):
                inputs = out * (1 + bidirectional) if layer else input_size
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (gates, inputs),
                    "weight_hh": (gates, out),
                }
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for kind, shape in shapes.items():
                    setattr(self, kind + suffix, new_parameter(*shape, device=device, dtype=dtype))
        self.reset_parameters()

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + self.bidirectional]

    def reset_parameters(self) -> None:
        """Draw new initial values: uniform on ±1/√hidden_size."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: parameters lie in memory as they are."""

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for name, _ in self.named_parameters()]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        suffixes = [s for layer in range(self.num_layers) for s in self._suffixes(layer)]
        return [[p for n, p in self.named_parameters() if n.endswith(s)] for s in suffixes]

    def _sizes(self) -> tuple[int, ...]:
        """The size of each part of the state."""
        return (self.proj_size or self.hidden_size,)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """(L, N, in), (layers, N, hidden) -> (L, N, hidden), (layers, N, hidden).

        With batch_first the first and the last are (N, L, ·); without a batch there is no N; a
        PackedSequence gives one. Two directions are two layers of state, side by side in the
        output. Without a state it begins with zeros.
        """
        packed = isinstance(input, PackedSequence)
        x, single = (input.data, False) if packed else self._steps_first(input)
        counts = whole(input.batch_sizes, "RNN") if packed else [x.shape[1]] * x.shape[0]
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                f"{type(self).__name__}: input has shape {tuple(x.shape)}; wanted (..., "
                f"{self.input_size}), input_size"
            )
        order = input.sorted_indices if packed else None
        state = self._first_state(x, counts[0], hx, single, order)
        x, state = self._through(x, counts, state)
        last = tuple(part if order is None else part[:, input.unsorted_indices] for part in state)
        if single:
            x, last = x[:, 0], tuple(part[:, 0] for part in last)
        elif self.batch_first and not packed:
            x = x.transpose(0, 1)
        output = input._replace(data=x) if packed else x
        return output, last if len(last) > 1 else last[0]

    def _steps_first(self, input: Any) -> tuple[Tensor, bool]:
        """(L, N, in), and whether it was a single sequence."""
        if input.ndim not in (2, 3):
            raise ValueError(
                f"{type(self).__name__}: input has shape {tuple(input.shape)}; wanted (L, N, in), "
                "(N, L, in) with batch_first, or (L, in)"
            )
        if input.ndim == 2:
            return input.unsqueeze(1), True
        return input.transpose(0, 1) if self.batch_first else input, False

    def _first_state(self, x: Tensor, n: int, hx: Any, single: bool, order: Any) -> State:
        layers, kind = self.num_layers * (1 + self.bidirectional), type(self).__name__
        shapes = [(layers, n, size) for size in self._sizes()]
        if hx is None:
            return tuple(zeros_beside(shape, x) for shape in shapes)
        given = hx if isinstance(hx, (tuple, list)) else (hx,)
        if len(given) != len(shapes):
            raise RuntimeError(f"{kind}: got {len(given)} states; wanted {len(shapes)}: (h, c)")
        for part in given:
            if part.ndim != 3 - single:
                raise RuntimeError(
                    f"{kind}: the state has shape {tuple(part.shape)}; wanted "
                    f"{3 - single} dimensions, as the input has"
                )
        state = tuple(part.unsqueeze(1) if single else part for part in given)
        for part, shape in zip(state, shapes):
            if tuple(part.shape) != shape:
                raise RuntimeError(
                    f"{kind}: Expected hidden size {shape}, got {list(part.shape)}: "
                    "(layers · directions, N, hidden)"
                )
        return state if order is None else tuple(part[:, order] for part in state)

    def _through(self, x: Tensor, counts: list[int], first: State) -> tuple[Tensor, State]:
        """All layers in both directions: the output, and the last states."""
        last: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            sides = []
            for backwards, suffix in enumerate(self._suffixes(layer)):
                state = tuple(part[len(last)] for part in first)
                outputs, state = self._along(x, counts, state, suffix, bool(backwards))
                last.append(state)
                joined = table.stack if x.ndim == 3 else table.concatenate
                sides.append(joined(*outputs, axis=0))
            x = sides[0] if len(sides) == 1 else table.concatenate(*sides, axis=-1)
        return x, tuple(table.stack(*parts, axis=0) for parts in zip(*last))

    def _along(
        self, x: Tensor, counts: list[int], state: State, suffix: str, backwards: bool
    ) -> tuple[Sequence[Tensor], State]:
        """One layer in one direction: the output of each step, and the last state."""
        w: Any
        u: Any
        w, u, b, d, p = (vars(self).get(kind + suffix) for kind in (
            "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"))  # fmt: skip
        gates = F.linear(x, w, b)
        xs = gates.unbind(0) if x.ndim == 3 else gates.split(counts)
        step = STEPS[self.mode][0]

        def one(x: Tensor, state: State) -> State:
            h, *rest = step(x, lambda h: F.linear(h, u, d), state)
            return (h if p is None else F.linear(h, p), *rest)

        return (run_back if backwards else run)(xs, one, state)


def run(xs: Sequence[Tensor], step: Any, state: State) -> tuple[list[Tensor], State]:
    """All steps in order; sequences that have ended, the last ones, keep their state."""
    ended, outputs = [], []
    for x in xs:
        n = x.shape[0]
        if n < state[0].shape[0]:
            ended.append(tuple(part[n:] for part in state))
            state = tuple(part[:n] for part in state)
        state = step(x, state)
        outputs.append(state[0])
    if ended:
        all_states = zip(state, *reversed(ended))
        state = tuple(table.concatenate(*parts, axis=0) for parts in all_states)
    return outputs, state


def run_back(xs: Sequence[Tensor], step: Any, first: State) -> tuple[list[Tensor], State]:
    """All steps from the last one back; a sequence begins where it ends."""
    state, outputs = tuple(part[: xs[-1].shape[0]] for part in first), []
    for x in reversed(xs):
        n, have = x.shape[0], state[0].shape[0]
        if n > have:
            state = tuple(table.concatenate(s, f[have:n], axis=0) for s, f in zip(state, first))
        state = step(x, state)
        outputs.append(state[0])
    return outputs[::-1], state


class RNN(RNNBase):
    """h' = tanh(W x + b + U h + d): (L, N, in) -> (L, N, hidden), (layers, N, hidden).

    `nonlinearity` is "tanh" or "relu". Layers stand on each other, with dropout between them; with
    `bidirectional` each has a second one that goes back. All parameters are drawn uniformly on
    ±1/√hidden_size.

    >>> y, h = RNN(2, 3)(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> y.shape, h.shape
    (torch.Size([2, 3]), torch.Size([1, 3]))
    """

    formula = "h' = tanh(W x + b + U h + d)"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'RNN: nonlinearity={nonlinearity!r}; wanted "tanh" or "relu"')
        self.nonlinearity = nonlinearity
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias,
                         batch_first, dropout, bidirectional, 0, device, dtype)  # fmt: skip


class LSTM(RNNBase):
    """c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c'): (L, N, in) -> (L, N, hidden), (h, c).

    i, f, g, o are the quarters of W x + b + U h + d. With `proj_size` h' is multiplied by another
    matrix. See `RNN` for the rest.

    >>> y, (h, c) = LSTM(2, 3, batch_first=True)(Tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    >>> y.shape, h.shape, c.shape
    (torch.Size([1, 2, 3]), torch.Size([1, 1, 3]), torch.Size([1, 1, 3]))
    """

    formula = "c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c')"
    data = "input, (h_0, c_0)"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, proj_size, device, dtype)  # fmt: skip

    def _sizes(self) -> tuple[int, ...]:
        return self.proj_size or self.hidden_size, self.hidden_size


class GRU(RNNBase):
    """h' = (1 - z)·n + z·h with n = tanh(xₙ + r·hₙ): (L, N, in) -> (L, N, hidden), (layers, N, hidden).

    r and z are sigmoids of the first two thirds of W x + b + U h + d. See `RNN` for the rest.

    >>> y, h = GRU(2, 3, bidirectional=True)(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> y.shape, h.shape
    (torch.Size([2, 6]), torch.Size([2, 3]))
    """  # noqa: E501

    formula = "h' = (1 − z)·n + z·h, n = tanh(xₙ + r·hₙ)"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, 0, device, dtype)  # fmt: skip


# --- cells ----------------------------------------------------------------------------------


class RNNCellBase(Layer):
    """One step of one layer."""

    data = "input, h"
    mode = ""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.input_size = positive(input_size, "input_size", type(self).__name__)
        self.hidden_size = positive(hidden_size, "hidden_size", type(self).__name__)
        self.bias = bias
        gates, given = STEPS[self.mode][1] * hidden_size, {"device": device, "dtype": dtype}
        self.weight_ih = new_parameter(gates, input_size, **given)
        self.weight_hh = new_parameter(gates, hidden_size, **given)
        self.bias_ih = new_parameter(gates, **given) if bias else None
        self.bias_hh = new_parameter(gates, **given) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values: uniform on ±1/√hidden_size."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _step(self, input: Tensor, state: Any, parts: int) -> State:
        """The next state, of which there are so many parts."""
        name, shape = type(self).__name__, (*input.shape[:-1], self.hidden_size)
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"{name}: input has shape {tuple(input.shape)}; wanted (N, {self.input_size}) or "
                f"({self.input_size},)"
            )
        state = (zeros_beside(shape, input),) * parts if state is None else state
        for part in state:
            if tuple(part.shape) != shape:
                raise ValueError(f"{name}: state has shape {tuple(part.shape)}; wanted {shape}")
        gates = F.linear(input, self.weight_ih, self.bias_ih)
        step = STEPS[self.mode][0]
        return step(gates, lambda h: F.linear(h, self.weight_hh, self.bias_hh), state)


class RNNCell(RNNCellBase):
    """h' = tanh(W x + b + U h + d): (N, in), (N, hidden) -> (N, hidden).

    >>> RNNCell(2, 3)(Tensor([1.0, 2.0])).shape
    torch.Size([3])
    """

    formula = RNN.formula
    mode = "RNN_TANH"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'RNNCell: nonlinearity={nonlinearity!r}; wanted "tanh" or "relu"')
        self.nonlinearity = nonlinearity
        self.mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state; the first one is 0."""
        return self._step(input, None if hx is None else (hx,), 1)[0]


class LSTMCell(RNNCellBase):
    """c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c'): (N, in), (h, c) -> (h', c').

    >>> h, c = LSTMCell(2, 3)(Tensor([1.0, 2.0]))
    >>> h.shape
    torch.Size([3])
    """

    formula = LSTM.formula
    data = "input, (h, c)"
    mode = "LSTM"

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        """The next state; the first one is 0."""
        h, c = self._step(input, hx, 2)
        return h, c


class GRUCell(RNNCellBase):
    """h' = (1 - z)·n + z·h with n = tanh(xₙ + r·hₙ): (N, in), (N, hidden) -> (N, hidden).

    >>> GRUCell(2, 3)(Tensor([1.0, 2.0])).shape
    torch.Size([3])
    """

    formula = GRU.formula
    mode = "GRU"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state; the first one is 0."""
        return self._step(input, None if hx is None else (hx,), 1)[0]
