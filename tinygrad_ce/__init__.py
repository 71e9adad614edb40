"""A tiny reverse-mode autograd Tensor on NumPy."""
from tinygrad_ce.engine.tensor import Tensor
