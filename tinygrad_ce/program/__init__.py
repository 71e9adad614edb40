"""Programs: what a function does to tensors, written down as straight-line NumPy."""

from tinygrad_ce.program.compiling import Compiled as Compiled, compile as compile
from tinygrad_ce.program.ir import Program as Program
from tinygrad_ce.program.symbol import TraceError as TraceError
from tinygrad_ce.program.tracing import trace as trace
