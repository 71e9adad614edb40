"""FORMULAS: the passes that make a listing read as a book, in their order.

Plainer shapes first; then c·x and x/c move outward until like terms meet, and what is left of a
composed function and its gradient is recognised. Values change by rounding only: a listing is run
and compared before anybody sees it.
"""

from tinygrad_ce.program.listing.algebra import (
    with_common_divisors,
    with_divisions,
    with_factors_outside,
    with_means,
    with_numbers_first,
    with_numbers_for_uniform_arrays,
    with_plain_rows,
    with_reductions_along_rows,
    with_turned_products,
)
from tinygrad_ce.program.listing.recognise import (
    with_onehot,
    with_onehot_sums_read_off,
    with_relu,
    with_scalars_as_python_floats,
    with_sides_as_absolutes,
    with_sigmoid,
    with_sigmoid_minus_y,
    with_truth_as_numbers,
)
from tinygrad_ce.program.passes.exact import Pass, tidied

FORMULAS: tuple[Pass, ...] = (
    with_onehot_sums_read_off,
    with_reductions_along_rows,
    with_numbers_for_uniform_arrays,
    with_plain_rows,
    with_turned_products,
    with_onehot,
    with_factors_outside,
    with_sigmoid_minus_y,
    with_sides_as_absolutes,
    with_relu,
    with_scalars_as_python_floats,
    with_common_divisors,
    with_factors_outside,
    with_common_divisors,
    with_sigmoid,
    with_truth_as_numbers,
    with_means,
    with_divisions,
    with_numbers_first,
    tidied,
)
