"""A tiny reverse-mode autograd Tensor on NumPy."""
