"""The hook for tracing: an array that writes down what is done to it is let into the engine.

The Symbol here is as small as can be. It shows that one frame, one `lift` and NumPy's protocols
are enough to turn forward and backward of a network into a straight-line program, and that the
program, run on other numbers, gives what eager code gives, to the last bit.
"""

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.engine.frame import tracing
from tinygrad_ce.nn import functional as F


class Symbol(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands for an array of a known shape and dtype; what is done to it becomes a step."""

    def __init__(self, tracer, example):
        self.tracer = tracer
        self.example = example
        self.number = len(tracer.values)
        tracer.values.append(example)

    shape = property(lambda self: self.example.shape)
    dtype = property(lambda self: self.example.dtype)
    ndim = property(lambda self: self.example.ndim)
    size = property(lambda self: self.example.size)
    mT = property(lambda self: self.step(lambda x: x.mT, self))  # noqa: N815
    T = property(lambda self: self.step(lambda x: x.T, self))

    def step(self, function, *args, **kwargs):
        return self.tracer.record(function, args, kwargs)

    def __array_ufunc__(self, ufunc, method, *args, **kwargs):
        return self.step(getattr(ufunc, method), *args, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        return self.step(function, *args, **kwargs)

    def reshape(self, *shape):
        return self.step(lambda x: x.reshape(*shape), self)

    def astype(self, dtype):
        return self.step(lambda x: x.astype(dtype), self)

    def copy(self):
        return self.step(lambda x: x.copy(), self)

    def __getitem__(self, index):
        return self.step(lambda x, i: x[i], self, index)

    def __bool__(self):
        raise TypeError("a value was looked at while tracing")


class Writer:
    """Who traces: lifts Tensors to Symbols and keeps the steps."""

    def __init__(self):
        self.values, self.steps, self.symbols, self.nodes = [], [], {}, []

    def lift(self, node):
        if isinstance(node.array, Symbol):
            return node.array
        if id(node) not in self.symbols:
            self.symbols[id(node)] = Symbol(self, node.array)
            self.nodes.append(node)  # kept alive, so that its id stays its own
        return self.symbols[id(node)]

    def record(self, function, args, kwargs):
        result = Symbol(self, function(*map(self.example, args), **kwargs))
        self.steps.append((result.number, function, args, kwargs))
        return result

    def example(self, arg):
        if isinstance(arg, tuple):
            return tuple(map(self.example, arg))
        return arg.example if isinstance(arg, Symbol) else arg

    def run(self, feed, wanted):
        """The program on other numbers: feed maps Tensors to arrays."""
        values = dict(enumerate(self.values))
        values = {s.number: values[s.number] for s in self.symbols.values()}
        values.update({self.symbols[id(node)].number: array for node, array in feed.items()})

        def look(arg):
            if isinstance(arg, tuple):
                return tuple(map(look, arg))
            return values[arg.number] if isinstance(arg, Symbol) else arg

        for number, function, args, kwargs in self.steps:
            values[number] = function(*map(look, args), **kwargs)
        return [values[symbol.number] for symbol in wanted]


def network(parameters, x, targets):
    W1, b1, W2, b2 = parameters
    return F.cross_entropy(F.linear(F.relu(F.linear(x, W1, b1)), W2, b2), targets)


def fresh(seed, dtype=np.float32):
    stream = np.random.default_rng(seed)
    shapes = (5, 3), (5,), (2, 5), (2,)
    arrays = [stream.standard_normal(s).astype(dtype) for s in shapes]
    return arrays, stream.standard_normal((7, 3)).astype(dtype), stream.integers(0, 2, 7)


def eager(arrays, x, targets):
    parameters = [tg.tensor(a, requires_grad=True) for a in arrays]
    loss = network(parameters, tg.tensor(x), tg.tensor(targets))
    loss.backward()
    return [loss.detach().numpy(), *(p.grad.numpy() for p in parameters)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_symbol_writes_down_forward_and_backward_of_the_two_layer_network(dtype):
    arrays, x, targets = fresh(0, dtype)
    parameters = [tg.tensor(a, requires_grad=True) for a in arrays]
    inputs = tg.tensor(x), tg.tensor(targets)
    writer = Writer()
    with tracing(writer):
        loss = network(parameters, *inputs)
        loss.backward()
    wanted = [loss.array, *(p.grad.array for p in parameters)]
    assert all(isinstance(symbol, Symbol) for symbol in wanted)

    other_arrays, other_x, other_targets = fresh(1, dtype)
    feed = dict(zip([*parameters, *inputs], [*other_arrays, other_x, other_targets]))
    for found, expected in zip(
        writer.run(feed, wanted), eager(other_arrays, other_x, other_targets)
    ):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)


def test_nothing_is_lifted_outside_of_the_block():
    writer = Writer()
    with tracing(writer):
        pass
    y = tg.tensor([1.0], requires_grad=True) * 2.0
    assert isinstance(y.array, np.ndarray) and not writer.steps


def test_looking_at_a_value_while_tracing_is_found():
    x = tg.tensor([1.0])
    with tracing(Writer()), pytest.raises(TypeError, match="looked at while tracing"):
        if (x * 2.0).sum() > 1.0:
            pass
