"""Random numbers: the draws of PyTorch's CPU generator, as NumPy arrays.

A `Generator` started from the same seed gives the same numbers as ``torch.Generator``, so that a
network initialised, shuffled and trained here can be compared with PyTorch's number by number.

Both stand on the Mersenne Twister MT19937, seeded in its classic way, which gives 32 random bits
at a time. All the rest is a rule for making a number of them:

- a *short* uniform is the low 24 bits of one draw, times 2⁻²⁴: exact in float32;
- a *long* uniform is the low 53 bits of two draws (the first is the high word), times 2⁻⁵³:
  exact in float64.

Integers, permutations, uniforms in [0, 1) and choices agree with PyTorch exactly; values that
went through a logarithm, a sine or a fused multiply-add agree to the last few bits.

A generator is not safe to share between threads, and takes no lock: give each thread its own.
"""

import math
import operator
import secrets
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tinygrad_ce.engine import devices
from tinygrad_ce.engine.frame import a_type, current, refuse_once
from tinygrad_ce.engine.graph import Node
from tinygrad_ce.engine.operands import type_name

__all__ = [
    "Generator",
    "default_generator",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "set_rng_state",
]


def __dir__() -> list[str]:
    return __all__


Array = npt.NDArray[Any]
Shape = int | tuple[int, ...]

DEFAULT_SEED = 67280421310721
SHORT_BITS = 0xFF_FFFF
LONG_BITS = 0x1F_FFFF_FFFF_FFFF
WORDS = 624  # the Twister's state, in 32-bit words
GROUP = 16  # Box-Muller is applied to groups of this many values; fewer are drawn one by one
WIDE_RANGE = 2**28  # from here on an integer is made of 64 bits: of 32, `%` would show its bias
MAX_PERMUTATION = (2**32 - 1) // 20  # from here on PyTorch has another algorithm
MAX_CATEGORIES = 2**24

# PyTorch's own layout, so that a state can be exchanged with it.
STATE = np.dtype(
    [
        ("seed", "<u8"),
        ("left", "<i4"),  # 1 + how many words are left before the next turn of the Twister
        ("seeded", "<i4"),
        ("next", "<u8"),  # the word that is drawn next
        ("words", "<u8", WORDS),
        ("unused_x", "<f8"),
        ("kept", "<f8"),
        ("unused_rho", "<f8"),
        ("has_kept", "<i4"),
        ("unused", "<i4", 3),
    ]
)


START_OUTSIDE = "Do so before the call: a program goes on where the generator is"

F = TypeVar("F", bound=Callable[..., Any])


def drawn(method: F) -> F:
    """Mark a method that draws: who traces a program writes down that it draws, not what."""

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        tracer = current().tracer
        if tracer is None:
            return method(self, *args, **kwargs)
        return tracer.draw(self, method, args, kwargs)

    return call  # type: ignore[return-value]


class Generator:
    """A stream of random numbers, the same for the same seed, and the same as PyTorch's.

    Every method draws from the one stream, so the order of the calls matters. Shapes are a tuple
    of ints or an int, ``dtype`` is float32 (the default) or float64, and what comes back is a
    new ndarray.

    >>> g = Generator().manual_seed(2147483647)
    >>> x = g.rand(3)
    >>> (x / x.sum()).round(4)
    array([0.6064, 0.3033, 0.0903], dtype=float32)
    """

    device = devices.CPU

    def __init__(self, device: Any = None) -> None:
        devices.check(device)
        self._bits = np.random.MT19937(0)
        self._start(DEFAULT_SEED)

    def manual_seed(self, seed: int) -> "Generator":
        """Start the stream again from ``seed`` and return the generator.

        The Twister is seeded by the low 32 bits; a negative seed stands for seed + 2⁶⁴.
        Raises TypeError when the seed is no int, ValueError outside [-2⁶³, 2⁶⁴).

        >>> Generator().manual_seed(-1).initial_seed() == 2**64 - 1
        True
        """
        refuse_once("manual_seed starts random numbers anew", START_OUTSIDE)
        seed = _integer("seed", seed)
        if not -(2**63) <= seed < 2**64:
            raise ValueError(
                f"got seed={seed}, expected an int in [-2**63, 2**64): "
                "write seed % 2**64 to bring any int into it"
            )
        self._start(seed % 2**64)
        return self

    def _start(self, seed: int) -> None:
        self._seed = seed
        seeded: Any = np.random.RandomState(seed % 2**32).get_state(legacy=False)
        self._bits.state = seeded
        self._kept: float | None = None  # the second normal of the last pair drawn one by one

    def initial_seed(self) -> int:
        """The seed that the stream was last started from, in [0, 2⁶⁴).

        >>> Generator().initial_seed()
        67280421310721
        """
        return self._seed

    def seed(self) -> int:
        """Start the stream from a seed of the operating system's randomness, and return the seed.

        >>> g = Generator()
        >>> g.seed() == g.initial_seed()
        True
        """
        return self.manual_seed(secrets.randbits(64)).initial_seed()

    def get_state(self) -> Array:
        """Everything the next draws depend on, as a uint8 array of shape ``(5056,)``.

        The layout is PyTorch's: ``torch.Generator.set_state`` takes it as a tensor.

        >>> g = Generator()
        >>> state = g.get_state()
        >>> first = g.randn(3)
        >>> g.set_state(state).randn(3) == first
        array([ True,  True,  True])
        """
        twister = self._bits.state["state"]
        state = np.zeros(1, STATE)
        state["seed"] = self._seed
        state["left"] = WORDS + 1 - twister["pos"]
        state["seeded"] = 1
        state["next"] = twister["pos"]
        state["words"] = twister["key"]
        state["kept"] = 0.0 if self._kept is None else self._kept
        state["has_kept"] = self._kept is not None
        return state.view(np.uint8)

    def set_state(self, state: Any) -> "Generator":
        """Continue from where `get_state` was called; return the generator.

        state: the array that `get_state` gave, or a Tensor of it, as `load` gives it back.

        Raises TypeError when the state is neither or not uint8, ValueError when it has another
        shape or its content is no state of a generator. The generator is then left as it was.
        """
        refuse_once("set_state starts random numbers anew", START_OUTSIDE)
        array = state.array if isinstance(state, Node) else state
        wanted = f"wanted an array or a Tensor of uint8 and shape ({STATE.itemsize},)"
        if not isinstance(array, np.ndarray):
            raise TypeError(f"set_state: got {type_name(state)}; {wanted}, as get_state() gives")
        got = f"set_state: got {array.dtype} of shape {array.shape}; {wanted}, as get_state() gives"
        if array.dtype != np.uint8:
            raise TypeError(got)
        if array.shape != (STATE.itemsize,):
            raise ValueError(got)
        fields = np.ascontiguousarray(array).view(STATE)[0]
        words, left, kept = fields["words"], int(fields["left"]), float(fields["kept"])
        # All words zero is the one state that the Twister never leaves.
        words_fit = 0 < words.max() < 2**32
        place_fits = 1 <= left <= WORDS and (left == 1 or fields["next"] == WORDS + 1 - left)
        if not (words_fit and place_fits and fields["seeded"] == 1 and math.isfinite(kept)):
            raise ValueError(
                "set_state got bytes that are no state of a generator: pass what get_state() gave"
            )
        self._seed = int(fields["seed"])
        twister: Any = {"key": words.astype(np.uint32), "pos": WORDS + 1 - left}
        self._bits.state = {"bit_generator": "MT19937", "state": twister}
        self._kept = kept if fields["has_kept"] else None
        return self

    @drawn
    def rand(self, shape: Shape, dtype: npt.DTypeLike = np.float32) -> Array:
        """Uniform on [0, 1): short uniforms for float32, long ones for float64.

        Raises ValueError for a negative size, TypeError for another dtype.

        >>> Generator().manual_seed(0).rand((2, 2)).round(4)
        array([[0.4963, 0.7682],
               [0.0885, 0.132 ]], dtype=float32)
        """
        sizes = _sizes(shape)
        return self._uniform(math.prod(sizes), _floating(dtype)).reshape(sizes)

    @drawn
    def uniform(
        self, low: float, high: float, shape: Shape, dtype: npt.DTypeLike = np.float32
    ) -> Array:
        """Uniform on [low, high): u (high - low) + low, with u of `rand`.

        Exact in float32; in float64 the last bit may differ from PyTorch's, which rounds once.
        Raises ValueError when low > high, or when high - low is too large for the dtype.

        >>> Generator().manual_seed(0).uniform(-1, 1, 2).round(4)
        array([-0.0075,  0.5364], dtype=float32)
        """
        sizes, kind = _sizes(shape), _floating(dtype)
        with np.errstate(over="ignore"):
            start, end = kind.type(low), kind.type(high)
            width = end - start
        if not (low <= high and np.isfinite(width)):
            raise ValueError(
                f"uniform got low={low}, high={high}, expected low <= high and a difference that "
                f"{kind} can hold: write the smaller bound first"
            )
        values = _scaled(self._uniform(math.prod(sizes), kind), width, start)
        values[values == end] = start  # the product may be rounded up to the bound left out
        return values.reshape(sizes)

    @drawn
    def randn(self, shape: Shape, dtype: npt.DTypeLike = np.float32) -> Array:
        """Normal with mean 0 and standard deviation 1, by the method of Box and Muller.

        r cos t and r sin t are two independent normals, where r = √(-2 ln(1 - u)) and t = 2π v
        for two uniforms u and v. Fewer than 16 values are made one by one, of long uniforms in
        any dtype, and the second of a pair is kept for the next such call; 16 and more are made
        in groups of 16. So ``randn(32)`` is not two times ``randn(16)`` drawn by halves.

        >>> Generator().manual_seed(0).randn(2).round(4)
        array([ 1.541 , -0.2934], dtype=float32)
        """
        return self.normal(0.0, 1.0, shape, dtype)

    @drawn
    def normal(
        self, mean: float, std: float, shape: Shape, dtype: npt.DTypeLike = np.float32
    ) -> Array:
        """Normal: n std + mean, with n of `randn`.

        Raises ValueError when std is negative or no number.

        >>> Generator().manual_seed(0).normal(10, 2, 2).round(4)
        array([13.082 ,  9.4131], dtype=float32)
        """
        sizes, kind = _sizes(shape), _floating(dtype)
        if not std >= 0:
            raise ValueError(f"normal got std={std}, expected std >= 0: write abs(std)")
        count = math.prod(sizes)
        if count < GROUP:
            pairwise = np.array([self._one_normal() for _ in range(count)], np.float64)
            return (pairwise * std + mean).astype(kind).reshape(sizes)
        values = self._uniform(count, kind)
        whole = count - count % GROUP
        _box_muller(values[:whole].reshape(-1, GROUP))
        if whole != count:
            # What is left over makes no group: the last 16 values are all drawn anew.
            last = self._uniform(GROUP, kind)
            _box_muller(last.reshape(1, GROUP))
            values[-GROUP:] = last
        return _scaled(values, kind.type(std), kind.type(mean)).reshape(sizes)

    @drawn
    def exponential(self, rate: float, shape: Shape, dtype: npt.DTypeLike = np.float32) -> Array:
        """Exponential with mean 1 / rate: -ln(1 - u) / rate, with long uniforms u in any dtype.

        Raises ValueError unless rate > 0.

        >>> Generator().manual_seed(0).exponential(1, 2).round(4)
        array([3.5083, 1.2304], dtype=float32)
        """
        sizes, kind = _sizes(shape), _floating(dtype)
        if not rate > 0:
            raise ValueError(f"exponential got rate={rate}, expected rate > 0: write 1 / mean")
        values = -1.0 / rate * np.log1p(-self._long(math.prod(sizes)))
        return values.astype(kind, copy=False).reshape(sizes)

    @drawn
    def randint(self, low: int, high: int, shape: Shape) -> npt.NDArray[np.int64]:
        """Integers of [low, high), as int64: low + draw mod (high - low).

        The draw has 32 bits, or 64 (two words, the first is the high one) when high - low is
        2²⁸ or more. Raises ValueError when low >= high or a bound does not fit int64.

        >>> Generator().manual_seed(0).randint(0, 10, 6)
        array([4, 9, 3, 0, 3, 9])
        """
        sizes = _sizes(shape)
        first, end = _integer("low", low), _integer("high", high)
        if not -(2**63) <= first < end <= 2**63:
            raise ValueError(
                f"randint got low={first}, high={end}, expected low < high, both within int64: "
                "high itself is never drawn, write high + 1 to include it"
            )
        width, count = end - first, math.prod(sizes)
        draws = self._bits.random_raw(count) if width < WIDE_RANGE else self._pairs(count)
        if width < 2**64:  # the whole of int64 needs no fitting: the bits are taken as they are
            draws %= np.uint64(width)
            # Two's complement wraps round: unsigned addition is the signed one, bit for bit.
            draws += np.uint64(first % 2**64)
        return draws.view(np.int64).reshape(sizes)

    @drawn
    def randperm(self, n: int) -> npt.NDArray[np.int64]:
        """A permutation of 0, 1, ..., n - 1, all equally likely: ``n -> (n,)``.

        Fisher and Yates's shuffle: place i = 0, 1, ..., n - 2 is exchanged with place
        i + draw mod (n - i). Raises ValueError when n is negative, or so large (2³² / 20) that
        PyTorch shuffles by another rule.

        >>> Generator().manual_seed(0).randperm(5)
        array([4, 0, 1, 3, 2])
        """
        n = _integer("n", n)
        if not 0 <= n < MAX_PERMUTATION:
            raise ValueError(
                f"randperm got n={n}, expected 0 <= n < {MAX_PERMUTATION}: "
                "write a smaller n, a larger array is shuffled in parts"
            )
        places = np.arange(max(n - 1, 0), dtype=np.uint64)
        partners = self._bits.random_raw(len(places)) % (np.uint64(n) - places) + places
        order = list(range(n))
        for place, partner in enumerate(partners.tolist()):
            order[place], order[partner] = order[partner], order[place]
        return np.array(order, dtype=np.int64)

    @drawn
    def bernoulli(
        self,
        p: float | Array,
        shape: Shape | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> Array:
        """1 with probability p, else 0: u < p.

        With a number p: long uniforms, of the given shape, float32 unless ``dtype`` says
        otherwise (``bool`` makes a mask). This is ``Tensor.bernoulli_(p)``, and what dropout
        draws. With an array p: uniforms of its dtype, and shape and dtype are those of p unless
        said otherwise; p is broadcast to the shape. This is ``torch.bernoulli(p)``.

        Raises ValueError for a probability outside [0, 1], a number without a shape, or an array
        that does not broadcast to the shape; TypeError for an array of another dtype.

        >>> Generator().manual_seed(0).bernoulli(0.5, 4)
        array([0., 0., 1., 0.], dtype=float32)
        >>> Generator().manual_seed(0).bernoulli(np.array([0.0, 1.0]))
        array([0., 1.])
        """
        if not np.all((np.asarray(p) >= 0) & (np.asarray(p) <= 1)):
            raise ValueError(
                f"bernoulli got p={p}, expected probabilities in [0, 1]: write np.clip(p, 0, 1)"
            )
        if isinstance(p, np.ndarray):
            sizes, kind = p.shape if shape is None else _sizes(shape), _floating(p.dtype)
            chances = np.broadcast_to(p, sizes)
            draws: Array = self._uniform(math.prod(sizes), kind)
        elif shape is None:
            raise ValueError(f"bernoulli got p={p} and no shape: write bernoulli({p}, shape)")
        else:
            sizes, kind = _sizes(shape), np.dtype(np.float32)
            chances = np.asarray(p)
            draws = self._long(math.prod(sizes))
        return (draws.reshape(sizes) < chances).astype(kind if dtype is None else dtype)

    @drawn
    def multinomial(
        self, p: Array, num_samples: int, replacement: bool = False
    ) -> npt.NDArray[np.int64]:
        """Indices drawn with probabilities p / Σp along the last axis: ``(C,) -> (n,)``.

        For a matrix each row is a distribution of its own: ``(N, C) -> (N, n)``. With replacement
        a long uniform is looked up in the cumulative sum of the row. Without, and always for one
        sample, each weight is divided by an exponential draw and the largest quotients win.

        Raises TypeError when p is neither float32 nor float64; ValueError when p has another
        number of axes, a negative or infinite weight, or a row whose sum is not positive, and
        when there are, without replacement, fewer nonzero weights than samples.

        >>> Generator().manual_seed(0).multinomial(np.array([0.5, 0.0, 0.5]), 4, replacement=True)
        array([2, 2, 0, 2])
        >>> Generator().manual_seed(0).multinomial(np.array([[0.5, 0.5], [0.0, 1.0]]), 1)
        array([[1],
               [1]])
        """
        weights, count = np.asarray(p), _integer("num_samples", num_samples)
        _check_weights(weights, count, replacement)
        rows = weights.reshape(-1, weights.shape[-1])
        if replacement and count > 1:
            chosen = self._look_up(rows, count)
        else:
            quotients = self._quotients(rows)
            if count == 1:
                chosen = quotients.argmax(axis=1, keepdims=True)
            else:
                chosen = np.argsort(-quotients, axis=1, kind="stable")[:, :count]
        return chosen.reshape(*weights.shape[:-1], count)

    def _pairs(self, count: int) -> npt.NDArray[np.uint64]:
        """Unsigned integers of 64 bits, each of two draws, the first of them the high word."""
        words = self._bits.random_raw(2 * count)
        pairs = words[::2] << np.uint64(32)
        pairs |= words[1::2]
        return pairs

    def _long(self, count: int) -> npt.NDArray[np.float64]:
        """Uniforms on [0, 1) of 53 bits: ``count -> (count,)``."""
        bits = self._pairs(count)
        bits &= np.uint64(LONG_BITS)
        values = bits.view(np.int64).astype(np.float64)
        values *= 2.0**-53
        return values

    def _uniform(self, count: int, kind: np.dtype[Any]) -> Array:
        """Uniforms on [0, 1), short ones for float32, long ones for float64."""
        if kind == np.float64:
            return self._long(count)
        bits = self._bits.random_raw(count)
        bits &= np.uint64(SHORT_BITS)
        # Signed integers are the ones that processors turn into floats quickly.
        values = bits.view(np.int64).astype(np.float32)
        values *= np.float32(2.0**-24)
        return values

    def _one_normal(self) -> float:
        """The next normal of the pairs: the one that was kept, or else the first of a new pair."""
        if self._kept is not None:
            value, self._kept = self._kept, None
            return value
        turn, spread = self._long(2).tolist()
        radius = math.sqrt(-2.0 * math.log1p(-spread))
        self._kept = radius * math.sin(2.0 * math.pi * turn)
        return radius * math.cos(2.0 * math.pi * turn)

    def _look_up(self, rows: Array, count: int) -> npt.NDArray[np.int64]:
        """Indices drawn with replacement: ``(N, C) -> (N, count)``."""
        sums = rows.cumsum(axis=1)
        sums /= sums[:, -1:]
        draws = self._long(len(rows) * count).reshape(-1, count)
        chosen = [np.searchsorted(edges, row) for edges, row in zip(sums, draws)]
        return np.array(chosen, dtype=np.int64).reshape(-1, count)

    def _quotients(self, rows: Array) -> Array:
        """Weight over exponential draw, the largest of which wins: ``(N, C) -> (N, C)``."""
        # In float32 a quotient may overflow: an infinite one wins, which is what it should do.
        with np.errstate(over="ignore", divide="ignore"):
            return rows / self.exponential(1.0, rows.shape, rows.dtype)


def _integer(name: str, value: Any) -> int:
    """The value as an int; floats and bools are refused, as they are seldom meant."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"got {name}={value!r}, {a_type(value)}, expected an int: write int({value!r})")


def _sizes(shape: Shape) -> tuple[int, ...]:
    """The shape as a tuple of sizes, none of which is negative."""
    listed = shape if isinstance(shape, (tuple, list)) else (shape,)
    sizes = tuple(_integer("a size", size) for size in listed)
    if sizes and min(sizes) < 0:
        raise ValueError(f"got the shape {shape}, expected sizes >= 0: write max(size, 0)")
    return sizes


def _floating(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """The dtype, which must be float32 or float64."""
    kind = np.dtype(dtype)
    if kind != np.float32 and kind != np.float64:
        raise TypeError(
            f"got dtype {kind}, expected float32 or float64: draw one of these, or use "
            ".astype(np.float32)"
        )
    return kind


def _scaled(values: Array, scale: Any, shift: Any) -> Array:
    """values · scale + shift; in float32 rounded once, as a fused multiply-add rounds."""
    if scale == 1 and shift == 0:
        return values
    # The product of two float32 is exact in float64.
    return (values.astype(np.float64) * scale + shift).astype(values.dtype, copy=False)


def _box_muller(groups: Array) -> None:
    """Turn uniforms into normals in place: ``(N, 16)``, of each row 8 radii and 8 angles."""
    half = GROUP // 2
    radii = np.sqrt(-2.0 * np.log(1.0 - groups[:, :half]))
    angles = groups[:, half:] * (2.0 * math.pi)
    np.multiply(radii, np.cos(angles), out=groups[:, :half])
    np.multiply(radii, np.sin(angles), out=groups[:, half:])


def _check_weights(weights: Array, count: int, replacement: bool) -> None:
    """Raise unless `count` indices can be drawn with these weights."""
    _floating(weights.dtype)
    if weights.ndim not in (1, 2) or not 0 < weights.shape[-1] <= MAX_CATEGORIES:
        raise ValueError(
            f"multinomial got weights of shape {weights.shape}, expected (C,) or (N, C) with "
            f"0 < C <= {MAX_CATEGORIES}: write p.reshape(-1, C)"
        )
    if count < 1:
        raise ValueError(f"multinomial got num_samples={count}, expected one sample or more")
    if not np.all((weights >= 0) & np.isfinite(weights)):
        raise ValueError(
            "multinomial got a weight that is negative, infinite or no number, expected finite "
            "weights >= 0: write softmax(logits) to make weights of logits"
        )
    with np.errstate(over="ignore"):
        sums = weights.sum(axis=-1)
    if not np.all((sums > 0) & np.isfinite(sums)):
        raise ValueError(
            "multinomial got weights whose sum is zero or infinite, expected a finite sum > 0 "
            "in each row: give at least one category a weight, or write p / p.max()"
        )
    if not replacement and np.any(np.count_nonzero(weights, axis=-1) < count):
        raise ValueError(
            f"multinomial got num_samples={count}, expected at most as many as there are nonzero "
            "weights: write replacement=True to draw a category more than once"
        )


# Not seeded by a constant: a program that asks for no seed has other numbers each time. The first
# who draws may be a function that is traced, which cannot call seed().
default_generator = Generator()
default_generator._start(secrets.randbits(64))


def manual_seed(seed: int) -> Generator:
    """Start the stream of `default_generator` again from ``seed``; return that generator.

    >>> manual_seed(0).rand(1).round(4)
    array([0.4963], dtype=float32)
    """
    return default_generator.manual_seed(seed)


def initial_seed() -> int:
    """The seed that the stream of `default_generator` was last started from.

    >>> _ = manual_seed(3)
    >>> initial_seed()
    3
    """
    return default_generator.initial_seed()


def get_rng_state() -> Array:
    """The state of `default_generator`, see `Generator.get_state`.

    >>> get_rng_state().shape
    (5056,)
    """
    return default_generator.get_state()


def set_rng_state(state: Any) -> None:
    """Give `default_generator` this state; raises what `Generator.set_state` raises.

    >>> set_rng_state(get_rng_state())
    """
    default_generator.set_state(state)
