"""FORMULAS: the passes that make a listing read as a book, in their order.

Plainer shapes first; then c·x and x/c move outward until like terms meet, and what is left of a
composed function and its gradient is recognised. Values change by rounding only: a listing is run
and compared before anybody sees it.
"""

from tinygrad_ce.program.listing.algebra import (
    with_common_divisors,
    with_factors_outside,
    with_numbers_for_uniform_arrays,
    with_numbers_in_place,
    with_plain_shapes,
)
from tinygrad_ce.program.listing.recognise import (
    with_activations,
    with_onehot,
    with_onehot_sums_read_off,
    with_scalars_as_python_floats,
    with_sigmoid,
    with_truth_as_numbers,
)
from tinygrad_ce.program.passes.exact import Pass, tidied

FORMULAS: tuple[Pass, ...] = (
    with_onehot_sums_read_off,
    with_numbers_for_uniform_arrays,
    with_plain_shapes,
    with_onehot,
    with_factors_outside,
    with_activations,
    with_scalars_as_python_floats,
    with_common_divisors,
    with_factors_outside,
    with_common_divisors,
    with_sigmoid,
    with_truth_as_numbers,
    with_numbers_in_place,
    tidied,
)
