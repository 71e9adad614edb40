"""Programs: what a function does to tensors, written down as straight-line NumPy.

| to | read |
|---|---|
| write it down | ir (what a program is), symbol, tracing, arguments, guards, operations |
| change it, keeping every bit | passes |
| change it for speed | fast (in which order), reassociate, layout, images, packing, blocks |
| change it for reading | formulas (in which order), algebra, recognise |
| print it | listing, writing, expressions, naming, loops, costs, picture |
| run it | emit, writers, scalars, windows, products, places, compiling, calling, checking |
"""

from tinygrad_ce.program.compiling import Compiled as Compiled, compile as compile
from tinygrad_ce.program.ir import Program as Program
from tinygrad_ce.program.listing import ListingError as ListingError
from tinygrad_ce.program.symbol import TraceError as TraceError
from tinygrad_ce.program.tracing import trace as trace
