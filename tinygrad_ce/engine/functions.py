"""Functions composed from the table that are also methods of Tensor.

They are stable by construction. A case distinction is a constant without a gradient, so that no
smooth function is composed through a kink: with `side = -1 where x ≥ 0, else +1`,
`e = exp(side·x)` never overflows and each branch is smooth to every order.
"""

from __future__ import annotations

import builtins
import itertools
import math
import string
from typing import Any

import numpy as np

from tinygrad_ce.engine import table
from tinygrad_ce.engine.frame import composed, current
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.memory import tick
from tinygrad_ce.engine.operands import Made, all_finite, box, leaf, shaped, value_of
from tinygrad_ce.engine.promotion import as_float, default_dtype
from tinygrad_ce.engine.rule import Op
from tinygrad_ce.engine.table import (
    amax,
    amin,
    argsort,
    axis_of,
    clip as clip_to_numbers,
    diagonal as last_diagonal,
    einsum as explicit_einsum,
    erfc,
    exp,
    flip,
    float_power,
    kept_shape,
    log,
    log1p,
    masked,
    norm,
    power,
    prod as prod_of_last,
    reduced_shape,
    relu as max_with_0,
    reshape,
    sum,
    transpose,
    where,
)

# --- constants of the computation -----------------------------------------------------------


def fixed(value: Any, like: Any) -> Any:
    """`value` as an operand next to `like`, without a copy: nobody else may write to it."""
    if not isinstance(like, Node):
        return value
    y = leaf(value)
    y.detached_by = None
    return y


LOOK = Op("a condition", lambda x: x, (None,), False, "")
UNKNOWN = Made(None, (), (), 0, 0)  # what was decided by numbers, and is not on record


def decided(value: Any, like: Any, by: Any = None) -> Any:
    """The same for what was decided by the numbers of `like`, or of `by`."""
    if not isinstance(like, Node):
        return value
    live = like.live if by is None else isinstance(by, Node) and by.live
    if not isinstance(value, Node):
        value = leaf(value)
    elif value.live or hasattr(value, "made"):
        return value
    if live:
        value.made = UNKNOWN
    return value


def looked_at(x: Any) -> Any:
    """The numbers that a function decides by.

    Under source_lines() they are a tensor without a gradient, so that what is computed from them
    knows what made it, and a page can decide anew.
    """
    if current().lines is not True or not isinstance(x, Node) or current().tracer is not None:
        return value_of(x)
    y = leaf(x.array)
    y.made = Made(LOOK, (x,), (), tick(), 1)
    return y


def safe_mul(x: Any, factor: Any) -> Any:
    """x·factor, where a factor of 0 wins over an infinite x."""
    if not all_finite(value_of(x)):
        x = masked(x, decided(np.isfinite(looked_at(x)) | (looked_at(factor) != 0), x))
    return x * factor


def gated(x: Any, gate: Any) -> Any:
    """x·gate, where the gate goes from 0 at x = −∞ to 1 at ∞ faster than x grows."""
    if all_finite(value_of(x)):
        return x * gate
    v = looked_at(x)
    finite, nothing = np.isfinite(v), v == -math.inf
    ends = masked(x, decided(~(finite | nothing), x)) * decided(looked_at(gate), x)
    return masked(x, decided(finite, x)) * gate + ends


def branch(x: Any) -> tuple[Any, Any, Any, Any]:
    """x ≥ 0, the same as step 1 and 0 and as side −1 and +1, and e = exp(side·x) = exp(−|x|).

    The first two are constants, no operands; the third is a constant operand next to x.
    """
    v = looked_at(x)
    dtype = v.dtype
    positive = v >= box(0.0, dtype)
    step = positive.astype(dtype)
    side = decided(box(1.0, dtype) - box(2.0, dtype) * step, x)
    return positive, step, side, exp(side * x)


# --- arithmetic with settings ---------------------------------------------------------------


def times(alpha: Any, other: Any) -> Any:
    """alpha·other; of a number in a trace it is not known whether it is 1."""
    return other if type(alpha) in (int, float) and alpha == 1 else other * alpha


def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input + alpha·other.

    ∂y/∂input = 1; ∂y/∂other = alpha
    """
    return table.add(input, times(alpha, other))


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input - alpha·other.

    ∂y/∂input = 1; ∂y/∂other = -alpha
    """
    return table.sub(input, times(alpha, other))


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """input / other, rounded down ("floor") or towards 0 ("trunc") if that is said, flat then.

    ∂y/∂input = 1 / other; ∂y/∂other = -y / other
    """
    if rounding_mode is None:
        return table.div(input, other)
    if rounding_mode == "floor":
        return table.floordiv(input, other)
    if rounding_mode != "trunc":
        raise ValueError(f"div: rounding_mode={rounding_mode!r}; wanted None, 'floor' or 'trunc'")
    floats = (getattr(x, "dtype", np.dtype(type(x))).kind == "f" for x in (input, other))
    if any(floats):
        return table.trunc(table.div(input, other))
    return table.floordiv(input + -table.fmod(input, other), other)


def round(input: Any, *, decimals: int = 0) -> Any:
    """The nearest number with so many decimals, of two the even one; flat everywhere."""
    if not decimals:
        return table.copy(input) if input.dtype.kind in "iu" else table.round(input)
    return table.round(input * 10.0**decimals) / 10.0**decimals


def logical_and(input: Any, other: Any) -> Any:
    """Whether both are not 0."""
    return np.logical_and(input, other)


def logical_or(input: Any, other: Any) -> Any:
    """Whether one of both is not 0."""
    return np.logical_or(input, other)


def logical_xor(input: Any, other: Any) -> Any:
    """Whether just one of both is not 0."""
    return np.logical_xor(input, other)


def logical_not(input: Any) -> Any:
    """Whether it is 0."""
    return np.logical_not(input)


# --- the logistic family --------------------------------------------------------------------


@composed("1 / (1 + e⁻ˣ)")
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), to 4 ulp everywhere, with all its derivatives.

    ∂y/∂x = y * (1 - y)

    e / (1 + e) where x < 0; elsewhere 1 - e / (1 + e), since s(x) = 1 - s(-x).
    """
    _, step, side, e = branch(as_float(x))
    return side * (e / (e + 1.0)) + decided(step, x)


@composed("log(1 + eˣ)")
def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow.

    ∂y/∂x = sigmoid(x)
    """
    positive, _, _, e = branch(x)
    return masked(x, decided(positive, x)) + log1p(e)


@composed("−log(1 + e⁻ˣ)")
def log_sigmoid(x: Any) -> Any:
    """log(1 / (1 + exp(-x))) = -softplus(-x).

    ∂y/∂x = sigmoid(-x)
    """
    positive, _, _, e = branch(x)
    return masked(x, decided(~positive, x)) - log1p(e)


@composed("max(x, 0)")
def relu(x: Any) -> Any:
    """x where x > 0, else 0; its slope at 0 is 0. A nan stays a nan.

    ∂y/∂x = where(x > 0, 1, 0)
    """
    return max_with_0(x)


@composed("x · Φ(x)")
def gelu(x: Any) -> Any:
    """x·Φ(x) with Φ(x) = erfc(-x/√2)/2, exact in the left tail too."""
    return gated(x, erfc(x * -math.sqrt(0.5)) * 0.5)


@composed("x · σ(2√(2/π)(x + 0.044715 x³))")
def gelu_tanh(x: Any) -> Any:
    """x/2·(1 + tanh(√(2/π)(x + 0.044715 x³))), the approximation of gelu.

    (1 + tanh u)/2 is σ(2u), which keeps its digits in the left tail. From ±30 on σ is 0 or 1 in
    any precision, and x³ need not grow further.
    """
    z = clip_to_numbers(x, -30.0, 30.0)
    return gated(x, sigmoid((z + z * z * z * 0.044715) * math.sqrt(8 / math.pi)))


# --- softmax --------------------------------------------------------------------------------


def _shifted(z: Any, axis: Any) -> tuple[Any, Any]:
    """z − max z and max z, the maximum detached and finite, so that exp cannot overflow."""
    axis_of(axis, z.ndim or 1)
    wants_floats(z, "softmax")
    top = decided(largest(looked_at(z), axis), z)
    return z - top, top


def largest(v: Any, axis: Any) -> Any:
    """The maximum over `axis`, which stays; 0 where there is nothing."""
    return (
        amax(v, axis, True) if math.prod(v.shape) else np.zeros(kept_shape(v.shape, axis), v.dtype)
    )


@composed("eᶻ / Σ eᶻ")
def softmax(z: Any, axis: int = -1) -> Any:
    """exp(z) / Σ exp(z) along `axis`."""
    e = exp(_shifted(z, axis)[0])
    return e / sum(e, axis, True)


@composed("z − log Σ eᶻ")
def log_softmax(z: Any, axis: int = -1) -> Any:
    """z - log Σ exp(z) along `axis`."""
    shifted, _ = _shifted(z, axis)
    if not math.prod(z.shape):
        return shifted
    return shifted - log(sum(exp(shifted), axis, True))


@composed("log Σ eᶻ")
def logsumexp(z: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """log Σ exp(z) over `axis`, with all of it -inf where all z are -inf."""
    z = as_float(z)
    v = looked_at(z)
    bound = np.finfo(v.dtype).max
    finite = np.clip(largest(v, axis), -bound, bound)
    total = sum(exp(z - decided(finite, z)), axis, True)
    empty = looked_at(total) == 0
    shift = np.where(empty, -math.inf, finite).astype(v.dtype)
    y = log(where(decided(empty, z), 1.0, total)) + decided(shift, z)
    return y if keepdims else reshape(y, reduced_shape(z.shape, axis))


@composed("log(eᵃ + eᵇ)")
def logaddexp(input: Any, other: Any) -> Any:
    """log(exp(input) + exp(other)), without overflow.

    The larger one, and log1p(exp(-d)) where d is how far the smaller one is below it. Of two equal
    infinities the first one gets the gradient.

    ∂y/∂input = exp(input - y); ∂y/∂other = exp(other - y)
    """
    a, b = looked_at(input), looked_at(other)
    larger = decided(a >= b, input)
    high, low = where(larger, input, other), where(larger, other, input)
    same = decided(np.isinf(a) & (a == b), input)
    return high + log1p(exp(where(same, 0.0, low) - where(same, 0.0, high)))


# --- means and spreads ----------------------------------------------------------------------


def count(shape: tuple[int, ...], axis: Any) -> int:
    """How many elements a reduction over `axis` takes together."""
    if axis is None:
        return math.prod(shape)
    return math.prod(shape) // max(math.prod(reduced_shape(shape, axis)), 1)


def wants_floats(x: Any, name: str) -> None:
    """Refuse integers and booleans: what comes out is none of them."""
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: got {x.dtype}; wanted floats: x.float().{name}()")


@composed("1/n Σ x")
def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Σ x / n over `axis`; TypeError for integers and booleans."""
    wants_floats(x, "mean")
    return sum(x, axis, keepdims) / float(count(x.shape, axis))


@composed("Σ (x − x̄)² / (n − c)")
def var(x: Any, axis: Any = None, keepdims: bool = False, correction: float = 0) -> Any:
    """Σ (x - mean)² / max(n - correction, 0) over `axis`."""
    wants_floats(x, "var")
    n = count(x.shape, axis)
    d = x - sum(x, axis, True) / float(n)
    return sum(d * d, axis, keepdims) / float(max(n - correction, 0))


@composed("√(Σ (x − x̄)² / (n − c))")
def std(x: Any, axis: Any = None, keepdims: bool = False, correction: float = 0) -> Any:
    """‖x - mean‖ / √(n - correction) over `axis`; its gradient is 0 where all x are equal."""
    wants_floats(x, "std")
    n = count(x.shape, axis)
    d = x - sum(x, axis, True) / float(n)
    return norm_of(d, 2, axis, keepdims) / math.sqrt(max(n - correction, 0))


def norm_of(x: Any, p: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """(Σ |x|ᵖ)^(1/p) over `axis`; for p = ±inf the largest or smallest |x|, for 0 their number.

    Its gradient is 0 where all x are 0.
    """
    if p in (2, "fro"):
        return norm(x, axis, keepdims) if math.prod(x.shape) else sum(x * x, axis, keepdims)
    if not isinstance(p, (int, float)):
        raise ValueError(f"norm: p={p!r}; wanted a number, inf or 'fro' (a dimension is dim=...)")
    if math.isinf(p):
        return (amax if p > 0 else amin)(table.abs(x), axis, keepdims)
    if p == 0:
        return sum((x != 0).to(x.dtype), axis, keepdims)
    if p == 1:
        return sum(table.abs(x), axis, keepdims)
    total = sum(power(table.abs(x), p), axis, keepdims)
    nothing = decided(looked_at(total) == 0, total)
    return where(nothing, total * 0.0, power(where(nothing, 1.0, total), 1 / p))


def prod(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Π x over one axis, or over all elements."""
    if axis is None:
        y = prod_of_last(reshape(x, (-1,)))
        return reshape(y, (1,) * len(x.shape)) if keepdims else y
    axes = list(range(x.ndim))
    axes.append(axes.pop(axis_of(axis, x.ndim)))
    y = prod_of_last(transpose(x, tuple(axes)))
    return reshape(y, kept_shape(x.shape, axis)) if keepdims else y


# --- picking --------------------------------------------------------------------------------


def along_axis(index: Any, axis: int) -> tuple[Any, ...]:
    """The index (a tuple of arrays) that picks x[..., index, ...] along `axis`, elsewhere own."""
    grids = []
    for i, n in enumerate(index.shape):
        shape = [1] * index.ndim
        shape[i] = n
        grids.append(np.arange(n).reshape(shape))
    grids[axis % index.ndim] = index
    return tuple(grids)


def gather(x: Any, axis: int, index: Any) -> Any:
    """y[i, j] = x[index[i, j], j] for axis 0; index has as many axes as x."""
    if shaped(index, "gather").ndim != x.ndim:
        raise ValueError(f"gather: index has {index.ndim} dimensions; wanted {x.ndim}, as x has")
    return x[along_axis(index, axis_of(axis, x.ndim))]


def sort(x: Any, axis: int = -1, descending: bool = False) -> tuple[Any, Any]:
    """Sorted values and the indices they come from; equal elements stay in their order."""
    order = sorting(x, axis, descending)
    return gather(x, axis, order), order


def sorting(x: Any, axis: int = -1, descending: bool = False) -> Any:
    """The indices that sort; equal elements stay in their order."""
    if not descending:
        return argsort(x, axis)
    return x.shape[axis_of(axis, x.ndim)] - 1 - flip(argsort(flip(x, (axis,)), axis), (axis,))


# --- einsum ---------------------------------------------------------------------------------


def einsum(spec: str, *operands: Any) -> Any:
    """Σ of products over the labels that the output lacks: `einsum("ij,jk->ik", a, b)`.

    An implicit output, `...` and a label twice in one term (a diagonal) are allowed.

    >>> import numpy as np
    >>> print(einsum("ii->i", np.arange(9.0).reshape(3, 3)))
    [0. 4. 8.]
    """
    spec = spec.replace(" ", "")
    left, arrow, out = spec.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"einsum: {spec!r} has {len(terms)} terms for {len(operands)} operands")
    free = [c for c in string.ascii_letters if c not in spec]
    named = []
    widest = ""
    for term, x in zip(terms, operands):
        plain = term.replace("...", "")
        n = len(shaped(x, "einsum").shape) - len(plain)
        if n < 0 or (n and "..." not in term) or not (plain.isalpha() or not plain):
            raise ValueError(
                f"einsum: term {term!r} of {spec!r} does not fit shape {tuple(x.shape)}"
            )
        dots = "".join(free[:n][::-1]) if n else ""
        widest = max(widest, dots, key=len)
        named.append(term.replace("...", dots))
    if not arrow:
        labels = "".join(named)
        once = sorted(c for c in set(labels) if labels.count(c) == 1 and c not in widest)
        out = widest + "".join(once)
    out = out.replace("...", widest)
    picked = [_diagonal(term, x) for term, x in zip(named, operands)]
    (term, x), *others = picked
    if not others and sorted(term) == sorted(out):  # nothing is summed: a view
        return transpose(x, tuple(map(term.index, out)))
    spec = ",".join(term for term, _ in picked) + "->" + out
    return explicit_einsum(*(x for _, x in picked), spec=spec)


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """x[i, i + offset] of two axes, which become the last one; a view."""
    i, j = axis_of(axis1, x.ndim), axis_of(axis2, x.ndim)
    if i == j:
        raise ValueError(
            f"diagonal: axes {axis1} and {axis2} of shape {tuple(x.shape)} are the same"
        )
    rest = [a for a in range(x.ndim) if a not in (i, j)]
    return last_diagonal(transpose(x, (*rest, i, j)), offset)


def _diagonal(term: str, x: Any) -> tuple[str, Any]:
    """Take diagonals until no label stands twice in the term."""
    for label in term:
        if term.count(label) > 1:
            i, j = term.index(label), term.rindex(label)
            if x.shape[i] != x.shape[j]:
                raise ValueError(f"einsum: label {label!r} has sizes {x.shape[i]} and {x.shape[j]}")
            rest = "".join(c for a, c in enumerate(term) if a not in (i, j))
            return _diagonal(rest + label, diagonal(x, 0, i, j))
    return term, x


# --- bounds, triangles, pieces --------------------------------------------------------------


def clip(x: Any, low: Any = None, high: Any = None) -> Any:
    """min(max(x, low), high); the gradient passes at the bounds. Bounds may be Tensors."""
    if low is None and high is None:
        raise ValueError("clip: give a lower bound, an upper bound or both")
    if isinstance(low, (int, float, type(None))) and isinstance(high, (int, float, type(None))):
        if x.dtype.kind != "f" and float in (type(low), type(high)):
            x = x.astype(default_dtype())
        return clip_to_numbers(x, low, high)
    if low is not None:
        x = where(x < low, low, x)
    return x if high is None else where(x > high, high, x)


def tril(x: Any, diagonal: int = 0) -> Any:
    """The lower triangle of the last two axes, 0 elsewhere."""
    return where(fixed(triangle(x, diagonal, "tril"), x), x, zero_of(x))


def triu(x: Any, diagonal: int = 0) -> Any:
    """The upper triangle of the last two axes, 0 elsewhere."""
    return where(fixed(triangle(x, diagonal - 1, "triu"), x), zero_of(x), x)


def zero_of(x: Any) -> Any:
    """0 or False, whichever stays what x is."""
    return False if x.dtype == np.bool_ else 0


def triangle(x: Any, diagonal: int, name: str) -> np.ndarray:
    """Where a matrix of the last two axes of x is on or below a diagonal."""
    if x.ndim < 2:
        raise ValueError(
            f"{name}: shape {tuple(x.shape)}; wanted a matrix, or several: (..., n, m)"
        )
    return np.tri(x.shape[-2], x.shape[-1], diagonal, dtype=bool)


def split(x: Any, sizes: int | list[int], axis: int = 0) -> tuple[Any, ...]:
    """Pieces of the given sizes along `axis`; a number gives pieces of that size, the last less.

    Nothing is one piece of size 0.
    """
    n = x.shape[axis_of(axis, x.ndim)]
    if isinstance(sizes, int):
        if sizes < 1:
            raise ValueError(f"split: pieces of size {sizes}; wanted at least 1")
        sizes = [sizes] * (n // sizes) + ([n % sizes] if n % sizes or not n else [])
    if builtins.sum(sizes) != n:
        raise ValueError(f"split: sizes {sizes} do not add up to {n}, the size of axis {axis}")
    ends = list(itertools.accumulate(sizes))
    return pieces(x, [0, *ends], axis)


def split_like_numpy(x: Any, sections: Any, axis: int = 0) -> list[Any]:
    """np.split: a number of equal pieces, or the places to cut at."""
    n = x.shape[axis_of(axis, x.ndim)]
    if isinstance(sections, int):
        if n % sections:
            raise ValueError(f"split: {n} elements do not divide into {sections} equal pieces")
        return list(split(x, n // sections, axis))
    return list(pieces(x, [0, *sections, n], axis))


def pieces(x: Any, cuts: list[int], axis: int) -> tuple[Any, ...]:
    """x[cuts[0]:cuts[1]], x[cuts[1]:cuts[2]], ... along `axis`."""
    before = (slice(None),) * axis_of(axis, x.ndim)
    return tuple(x[(*before, slice(a, b))] for a, b in itertools.pairwise(cuts))


def pow(input: Any, exponent: Any) -> Any:
    """input ** exponent, where the exponent is a number or a Tensor; 0 ** 0 = 1.

    ∂y/∂input = exponent * input ** (exponent - 1); ∂y/∂exponent = y * log(input)
    """
    if isinstance(exponent, (int, float)) and input.dtype.kind == "f":
        return power(input, exponent)
    return float_power(input, exponent)
