"""Programs: what a function does to tensors, written down as straight-line NumPy.

Each room knows those above it, none below.

| to | room | read |
|---|---|---|
| hold it | | ir (what a program is), ops (what a step can do), memory (who holds an array) |
| write it down | tracing/ | trace (the whole), symbol, arguments, guards, attributes, variables |
| make it fast | passes/ | order (of all passes), exact, reassociate, layout, flatten |
| write lines that fill memory | emit/ | schedule, memory, text, kernels, windows, emitter |
| print it to be read | listing/ | listing, formulas (passes), statements, costs, picture |
| show it, run it, compare it | | traced; running, before, precision, check, compiling |
"""

from tinygrad_ce.program.compiling import Compiled as Compiled, compile as compile
from tinygrad_ce.program.ir import Program as Program
from tinygrad_ce.program.listing.listing import ListingError as ListingError
from tinygrad_ce.program.traced import TracedProgram as TracedProgram, trace as trace
from tinygrad_ce.program.tracing.symbol import TraceError as TraceError
