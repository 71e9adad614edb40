"""A script as a user writes it, whose types mypy and Pyright have to know: `.ci/run` asks both."""

from typing import assert_type

import numpy as np

import tinygrad_ce as tg
import tinygrad_ce.nn.functional as F
from tinygrad_ce import Tensor, nn

x, w = tg.randn(2, 3), tg.ones(3, 2, requires_grad=True)

# operators, with a number on either side
assert_type(x, Tensor)
assert_type(x + 1, Tensor)
assert_type(1 - x, Tensor)
assert_type(2 * x / 3 - x**2, Tensor)
assert_type(x @ w, Tensor)
assert_type(-x, Tensor)
assert_type(abs(x), Tensor)
assert_type(x > 0, Tensor)
assert_type(~(x > 0) & (x <= 1), Tensor)
assert_type(x[0, 1:], Tensor)
assert_type(x.T, Tensor)

# methods, and the same as functions
assert_type(x.exp(), Tensor)
assert_type(tg.exp(x), Tensor)
assert_type(x.sum(1, keepdim=True), Tensor)
assert_type(tg.sum(x), Tensor)
assert_type(x.reshape(3, 2).view(-1), Tensor)
assert_type(x.masked_fill(x > 0, 0.0), Tensor)
assert_type(tg.matmul(x, w), Tensor)
assert_type(tg.where(x > 0, x, 0.0), Tensor)
assert_type(tg.cat([x, x]), Tensor)
assert_type(tg.softmax(x, 1), Tensor)
assert_type(x.detach().cumsum(0).clamp(0, 1), Tensor)
for part in x.split(1):
    assert_type(part, Tensor)

# layers and losses
assert_type(F.relu(x), Tensor)
assert_type(F.cross_entropy(x, tg.tensor([0, 1])), Tensor)
assert_type(F.linear(x, w.T), Tensor)
model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
assert_type(nn.Linear(3, 4).weight, nn.Parameter)
assert_type(list(model.parameters()), list[nn.Parameter])

# what a training loop does
optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
with tg.no_grad():
    x -= 0.1 * x
assert_type(x, Tensor)
assert_type(w.grad, Tensor | None)
assert_type(x.requires_grad, bool)
assert_type(x.ndim, int)
assert isinstance(x.numpy(), np.ndarray)
