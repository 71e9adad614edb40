"""Every method, operator and NumPy name of Tensor against NumPy, with every one of its options.

A row names what is called, the options it is called with, and what NumPy says of the same array.
It is tried on sizes 1, 2, 3 and 5, so that no axis can hide behind another, in three dtypes, with
its options by name and by position, and its gradient is compared with central differences. Tests
at the end fail when a public method, a NumPy name or one of their options is in no row.
"""

import ast
import copy
import inspect
import itertools
import math
import operator
import pickle
import re
import runpy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch_names
from differences import incoming, jacobian_product

import tinygrad_ce as tg
from tinygrad_ce import functions as top_level
from tinygrad_ce.engine import protocol
from tinygrad_ce.engine.tensor import Tensor

SHAPES = ((), (1,), (5,), (3, 5), (2, 3, 5))
DTYPES = (np.float64, np.float32, np.int64)


def shown(value):
    """An argument in the name of a test."""
    if isinstance(value, np.ndarray):
        return f"{'x'.join(map(str, value.shape)) or '0d'} {value.dtype}"
    return getattr(value, "__name__", "[...]" if isinstance(value, list) else str(value))


class Row(NamedTuple):
    """A call and NumPy's answer: `numpy(x, *args, **options)`."""

    name: str
    options: dict[str, Any]
    numpy: Callable[..., Any]
    args: tuple[Any, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    inputs: Callable[..., np.ndarray] | None = None
    dtypes: tuple[Any, ...] = DTYPES

    @property
    def id(self) -> str:
        options = [f"{k}={shown(v)}" for k, v in self.options.items()]
        return f"{self.name}({', '.join([*map(shown, self.args), *options])})"


def apart(shape, dtype=np.float64, seed=3):
    """Numbers of both signs, no two of which are close, none at a kink; whole ones for integers."""
    n = math.prod(shape)
    order = np.random.default_rng(seed).permutation(n).reshape(shape)
    if np.dtype(dtype).kind == "i":
        return np.asarray(order - n // 2, dtype)
    return np.asarray((order - n / 2 + 0.3) / 3, dtype)


def positive(shape, dtype=np.float64):
    return np.asarray(np.abs(apart(shape, dtype)) + 1, dtype)


def between(shape, dtype=np.float64):
    """Numbers between -1 and 1."""
    x = apart(shape)
    return np.asarray(x / (1 + np.abs(x)), dtype)


def one_by_one(function):
    """A function of numbers as one of arrays."""
    return lambda x: np.vectorize(function, [float])(x).astype(x.dtype)


def some_zeros(shape, dtype=np.float64):
    return np.asarray(np.where(np.arange(math.prod(shape)).reshape(shape) % 2, 0, 1.5), dtype)


def far(shape, dtype=np.float64):
    """Both signs, infinities and a nan."""
    x = apart(shape, dtype)
    if np.dtype(dtype).kind == "f" and x.size > 2:
        x.flat[:3] = [np.inf, np.nan, -np.inf]
    return x


def numbers_of(x):
    return x.detach().numpy() if isinstance(x, Tensor) else x


def same(ours, wanted):
    """`ours` has the structure, shapes, dtypes and values of `wanted`."""
    if isinstance(wanted, (tuple, list)):
        assert isinstance(ours, (tuple, list)) and len(ours) == len(wanted)
        for a, b in zip(ours, wanted):
            same(a, b)
    elif isinstance(ours, Tensor):
        wanted = np.asarray(wanted)
        assert (ours.shape, ours.dtype) == (wanted.shape, wanted.dtype)
        eps = np.finfo(wanted.dtype).eps if wanted.dtype.kind == "f" else 0
        np.testing.assert_allclose(numbers_of(ours), wanted, rtol=40 * eps, atol=40 * eps)
    else:
        assert type(ours) is type(wanted) and ours == wanted


def outputs(y):
    """The Tensors among what a call gave."""
    return [z for z in (y if isinstance(y, (tuple, list)) else [y]) if isinstance(z, Tensor)]


def answer(call):
    """NumPy's answer, or None where NumPy takes no such array."""
    try:
        return call()
    except (ValueError, IndexError, TypeError):
        return None


# --- methods --------------------------------------------------------------------------------


def over(*dims):
    """Options of a reduction: none, each dim, kept or not, and NumPy's names for the same."""
    options = [{}, {"dim": None, "keepdim": True}, {"keepdim": True}]
    options += [{"dim": d} for d in dims] + [{"dim": d, "keepdim": True} for d in dims]
    return [*options, {"axis": 0}, {"axis": -1, "keepdims": True}, {"keepdims": True}]


def as_numpys(options):
    names = {"dim": "axis", "keepdim": "keepdims", "correction": "ddof"}
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return {names.get(k, k): v for k, v in plain.items()}


def reduction(name, function, *dims, **more):
    return [Row(name, o, lambda x, **o: function(x, **as_numpys(o)), **more) for o in over(*dims)]


def spread_of(function):
    """np.var or np.std with PyTorch's default, and with PyTorch's word for it."""

    def of(x, unbiased=None, **options):
        ddof = {"ddof": 1} if unbiased is None else {"ddof": int(unbiased)}
        return function(x, **{**ddof, **as_numpys(options)})

    return of


def extremum(function, arg):
    def of(x, dim=None, keepdim=False, axis=None, keepdims=False):
        dim, keepdim = (axis if dim is None else dim), keepdim or keepdims
        if dim is None:
            return function(x)
        return function(x, dim, keepdims=keepdim), arg(x, dim, keepdims=keepdim)

    return of


def norm_of(x, p=2, dim=None, keepdim=False, axis=None, keepdims=False):
    dim = axis if dim is None else dim
    p = 2 if p == "fro" else p
    size = np.abs(x)
    if p == np.inf:
        return np.max(size, dim, keepdims=keepdim or keepdims)
    return np.sum(size**p, dim, keepdims=keepdim or keepdims) ** (1 / p)


def logsumexp_of(x, **options):
    return np.log(np.sum(np.exp(x), **as_numpys(options)))


def softmax_of(x, dim):
    return np.exp(x) / np.sum(np.exp(x), dim, keepdims=True)


def sigmoid_of(x):
    return 1 / (1 + np.exp(-x))


def sorted_by(x, dim=-1, descending=False):
    order = np.argsort(-x if descending else x, dim, kind="stable")
    return np.take_along_axis(x, order, dim), order


def topk_of(x, k, dim=-1):
    return tuple(np.take(y, range(k), dim) for y in sorted_by(x, dim, True))


def squeezed(x, dim=None):
    dims = range(x.ndim) if dim is None else dim if isinstance(dim, tuple) else (dim,)
    return np.squeeze(x, tuple(d for d in dims if x.shape[d] == 1))


def flattened(x, start_dim=0, end_dim=-1):
    start, end = (range(x.ndim)[d] for d in (start_dim, end_dim))
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])


def split_of(x, split_size, dim=0):
    size = split_size
    if not isinstance(size, list):
        return np.split(x, range(size, x.shape[dim], size), dim)
    cuts = np.cumsum(size)
    if cuts[-1] != x.shape[dim]:
        raise ValueError("sizes that do not add up")
    return np.split(x, cuts[:-1], dim)


def chunks_of(x, chunks, dim=0):
    return split_of(x, -(-x.shape[dim] // chunks), dim)


def unbound(x, dim=0):
    return [np.take(x, i, dim) for i in range(x.shape[dim])]


def expanded(x, *sizes):
    own = (1,) * (len(sizes) - x.ndim) + x.shape
    return np.broadcast_to(x, [n if n != -1 else m for n, m in zip(sizes, own)])


ONE, CUBE, MATRIX = ((5,),), ((2, 3, 5),), ((3, 5),)
FLOATS = (np.float64, np.float32)
MASK = np.arange(15).reshape(3, 5) % 4 == 1
PICKS = np.array([[4, 0, 0, 2, 1], [1, 1, 3, 0, 4], [0, 2, 2, 4, 3]])
ROWS = np.array([1, 0, 1, 1])


def other(*shape, low=1):
    return positive(shape) + low


def elementwise(name, function, inputs=None, dtypes=FLOATS):
    return Row(name, {}, function, inputs=inputs, dtypes=dtypes)


METHODS = [
    # what it is
    Row("size", {}, lambda x: x.shape),
    *(Row("size", {"dim": d}, lambda x, dim: x.shape[dim]) for d in (0, 1, -1)),
    Row("dim", {}, lambda x: x.ndim),
    Row("numel", {}, lambda x: x.size),
    Row("nelement", {}, lambda x: x.size),
    Row("is_floating_point", {}, lambda x: x.dtype.kind == "f"),
    Row("item", {}, lambda x: x.item(), shapes=((), (1,), (1, 1))),
    Row("tolist", {}, lambda x: x.tolist()),
    Row("nonzero", {}, lambda x: np.argwhere(x), inputs=some_zeros),
    *(Row(name, {}, lambda x: x) for name in ("detach", "contiguous", "cpu", "clone")),
    # elementwise
    elementwise("neg", np.negative, dtypes=DTYPES),
    elementwise("abs", np.abs, dtypes=DTYPES),
    elementwise("sign", np.sign, dtypes=DTYPES),
    *(elementwise(name, getattr(np, name))
      for name in ("exp", "expm1", "sin", "cos", "tanh", "floor", "ceil", "round")),
    *(elementwise(name, getattr(np, name), positive) for name in ("log", "log1p", "sqrt")),
    elementwise("rsqrt", lambda x: 1 / np.sqrt(x), positive),
    elementwise("reciprocal", lambda x: 1 / x),
    elementwise("square", np.square, dtypes=DTYPES),
    *(elementwise(name, f) for name, f in (("tan", np.tan), ("atan", np.arctan), ("sinh", np.sinh),
      ("arctan", np.arctan), ("cosh", np.cosh), ("asinh", np.arcsinh), ("arcsinh", np.arcsinh),
      ("erf", one_by_one(math.erf)), ("trunc", np.trunc), ("fix", np.trunc),
      ("negative", np.negative), ("absolute", np.abs),
      ("erfc", one_by_one(math.erfc)))),
    *(elementwise(name, f, between) for name, f in (("asin", np.arcsin), ("arcsin", np.arcsin),
      ("acos", np.arccos), ("arccos", np.arccos))),
    *(elementwise(name, getattr(np, name), positive) for name in ("log2", "log10")),
    Row("round", {"decimals": 2}, np.round, dtypes=(np.float64,)),
    *(Row("div", {"other": 1.5, "rounding_mode": mode}, f, dtypes=FLOATS)
      for mode, f in ((None, lambda x, other, rounding_mode: x / other),
                      ("floor", lambda x, other, rounding_mode: x // other),
                      ("trunc", lambda x, other, rounding_mode: np.trunc(x / other)))),
    *(Row(name, {"other": 3, "alpha": alpha}, f, dtypes=FLOATS)
      for name, f in (("add", lambda x, other, alpha: x + other * alpha),
                      ("sub", lambda x, other, alpha: x - other * alpha),
                      ("subtract", lambda x, other, alpha: x - other * alpha))
      for alpha in (1, 2, -0.5)),
    *(Row(name, {"other": 2, "rounding_mode": "floor"}, lambda x, other, rounding_mode: x // other,
          dtypes=FLOATS) for name in ("divide", "true_divide")),
    elementwise("sigmoid", sigmoid_of),
    elementwise("relu", lambda x: np.maximum(x, 0)),
    elementwise("softplus", lambda x: np.log1p(np.exp(x))),
    *(elementwise(name, getattr(np, name), far) for name in ("isnan", "isinf", "isfinite")),
    *(Row(name, {}, function, (value,), inputs=inputs, dtypes=dtypes)
      for name, function, inputs, dtypes in (
          ("add", np.add, apart, DTYPES), ("sub", np.subtract, apart, DTYPES),
          ("mul", np.multiply, apart, DTYPES), ("div", np.divide, apart, FLOATS),
          ("pow", np.power, positive, FLOATS),
          ("maximum", np.maximum, apart, FLOATS), ("minimum", np.minimum, apart, FLOATS),
          ("multiply", np.multiply, apart, DTYPES), ("subtract", np.subtract, apart, DTYPES),
          ("divide", np.divide, apart, FLOATS), ("true_divide", np.divide, apart, FLOATS),
          ("remainder", np.remainder, apart, FLOATS), ("fmod", np.fmod, apart, FLOATS),
          ("floor_divide", np.floor_divide, apart, FLOATS), ("hypot", np.hypot, apart, FLOATS),
          ("atan2", np.arctan2, apart, FLOATS), ("arctan2", np.arctan2, apart, FLOATS),
          ("logaddexp", np.logaddexp, apart, FLOATS),
          ("not_equal", np.not_equal, some_zeros, DTYPES),
          ("greater", np.greater, some_zeros, DTYPES), ("less", np.less, some_zeros, DTYPES),
          ("greater_equal", np.greater_equal, some_zeros, DTYPES),
          ("less_equal", np.less_equal, some_zeros, DTYPES),
          ("eq", np.equal, some_zeros, DTYPES), ("ne", np.not_equal, some_zeros, DTYPES),
          ("gt", np.greater, some_zeros, DTYPES), ("ge", np.greater_equal, some_zeros, DTYPES),
          ("lt", np.less, some_zeros, DTYPES), ("le", np.less_equal, some_zeros, DTYPES),
          ("add_", operator.iadd, apart, FLOATS), ("sub_", operator.isub, apart, FLOATS),
          ("mul_", operator.imul, apart, FLOATS), ("div_", operator.itruediv, apart, FLOATS),
          ("pow_", operator.ipow, positive, FLOATS),
      ) for value in (2, 3, other(5))
      if dtypes is FLOATS or np.ndim(value) == 0),
    *(Row(name, {"other": value, "alpha": alpha}, f, dtypes=FLOATS)
      for name, f in (("add_", lambda x, other, alpha: operator.iadd(x, other * alpha)),
                      ("sub_", lambda x, other, alpha: operator.isub(x, other * alpha)))
      for value in (3, other(5)) for alpha in (1, 2, -0.5)),
    *(Row(name, {"other": value}, lambda x, other, f=f: f(x, other), inputs=some_zeros)
      for name, f in (("logical_and", np.logical_and), ("logical_or", np.logical_or),
                      ("logical_xor", np.logical_xor))
      for value in (some_zeros((5,))[::-1].copy(), some_zeros((3, 1)))),
    Row("logical_not", {}, np.logical_not, inputs=some_zeros),
    *(Row(name, {}, getattr(np, name), (np.array([6, 1, 5, 0, 3]),), dtypes=(np.int64,))
      for name in ("bitwise_and", "bitwise_or", "bitwise_xor")),
    Row("bitwise_not", {}, np.invert, dtypes=(np.int64,)),
    *(Row(name, options, lambda x, names=names, **o: np.clip(x, *map(o.get, names)))
      for name, names in (*((n, ("min", "max")) for n in ("clip", "clip_", "clamp")),
                          ("clamp_", ("min", "max")))
      for options in ({names[0]: -1}, {names[1]: 1}, {names[0]: -1, names[1]: 1},
                      {names[1]: 1, names[0]: -1})),
    *(Row("where", {"condition": MASK, "other": value},
          lambda x, condition, other: np.where(condition, x, other), dtypes=FLOATS)
      for value in (7.0, other(5), other(3, 1))),
    *(Row("masked_fill", {"mask": mask, "value": -3.0},
          lambda x, mask, value: np.where(mask, value, x), dtypes=FLOATS)
      for mask in (MASK, MASK[1], MASK[:, :1])),
    Row("copy_", {"other": other(5)}, lambda x, other: np.broadcast_to(other, x.shape).copy(),
        dtypes=FLOATS),
    Row("copy_", {"other": 4}, lambda x, other: np.full_like(x, other)),
    Row("fill_", {"value": 4}, lambda x, value: np.full_like(x, value)),
    Row("zero_", {}, np.zeros_like),
    # reductions
    *reduction("sum", np.sum, 0, 1, -1, (0, 2), [0, 1], (1,)),
    *reduction("mean", np.mean, 0, 1, -1, (0, 2), [0, 1], dtypes=FLOATS),
    *reduction("amax", np.max, 0, 1, -1, (0, 2)),
    *reduction("amin", np.min, 0, 1, -1, (0, 2)),
    *reduction("prod", np.prod, 0, 1, -1),
    *reduction("all", np.all, 0, 1, -1, (0, 2), inputs=some_zeros),
    *reduction("any", np.any, 0, 1, -1, (0, 2), inputs=some_zeros),
    *reduction("argmax", np.argmax, 0, 1, -1),
    *reduction("argmin", np.argmin, 0, 1, -1),
    *(Row(name, o, spread_of(f), dtypes=FLOATS, shapes=((5,), (3, 5), (2, 3, 5)))
      for name, f in (("var", np.var), ("std", np.std))
      for o in (*over(0, 1, -1, (0, 2)), {"correction": 0}, {"dim": 1, "correction": 0},
                {"unbiased": False}, {"unbiased": True, "dim": 0}, {"ddof": 0, "axis": 1},
                {"dim": -1, "correction": 0.5, "keepdim": True})),
    *(Row(name, o, extremum(f, arg))
      for name, f, arg in (("max", np.max, np.argmax), ("min", np.min, np.argmin))
      for o in ({}, {"dim": 0}, {"dim": 1}, {"dim": -1}, {"dim": 1, "keepdim": True},
                {"axis": 0, "keepdims": True})),
    *(Row(name, {"dim": value}, lambda x, dim, f=f: f(x, dim), dtypes=(np.float64,))
      for name, f in (("max", np.maximum), ("min", np.minimum)) for value in (other(5, low=-2.2),)),
    *(Row("norm", o, norm_of, dtypes=FLOATS)
      for o in (*over(0, 1, -1, (0, 2)), {"p": 1}, {"p": "fro", "dim": 1}, {"p": np.inf},
                {"p": 1, "dim": -1, "keepdim": True}, {"p": np.inf, "dim": 0, "keepdim": True},
                {"p": 2, "dim": (0, 1)})),
    *(Row("logsumexp", o, logsumexp_of, dtypes=FLOATS) for o in over(0, 1, -1, (0, 2))),
    *(Row(name, {"dim": d}, lambda x, dim, f=f: f(x, axis=dim))
      for name, f in (("cumsum", np.add.accumulate), ("cumprod", np.multiply.accumulate))
      for d in (0, 1, -1)),
    *(Row(name, {"dim": d}, f, dtypes=FLOATS)
      for name, f in (("softmax", softmax_of), ("log_softmax", lambda x, dim:
                                                np.log(softmax_of(x, dim))))
      for d in (0, 1, -1)),
    # products
    *(Row(name, {}, np.matmul, (apart(shape, seed=8),), dtypes=(np.float64,))
      for name, shapes in (("matmul", ((5,), (5, 2), (2, 5, 3))),) for shape in shapes),
    Row("mm", {"mat2": apart((5, 2), seed=8)}, lambda x, mat2: x @ mat2, shapes=MATRIX,
        dtypes=(np.float64,)),
    Row("bmm", {"mat2": apart((2, 5, 2), seed=8)}, lambda x, mat2: x @ mat2, shapes=CUBE,
        dtypes=(np.float64,)),
    Row("dot", {"tensor": apart((5,), seed=8)}, lambda x, tensor: x @ tensor, shapes=ONE,
        dtypes=(np.float64,)),
    Row("outer", {"vec2": apart((3,), seed=8)}, lambda x, vec2: np.multiply.outer(x, vec2),
        shapes=ONE, dtypes=(np.float64,)),
    # shape
    *(Row(name, {}, lambda x, *s: x.reshape(*s), args, shapes=shapes)
      for name in ("reshape", "view")
      for args, shapes in (((5, 3), MATRIX), (((3, -1),), CUBE), ((-1,), SHAPES),
                           (([15, 2],), CUBE), ((1, 1), ((), (1,))))),
    *(Row("flatten", o, flattened, shapes=SHAPES[1:])
      for o in ({}, {"start_dim": 1}, {"end_dim": 1}, {"start_dim": 0, "end_dim": -2},
                {"start_dim": -2, "end_dim": -1})),
    *(Row("squeeze", o, squeezed, shapes=((), (1,), (3, 1), (1, 3, 1), (2, 3)))
      for o in ({}, {"dim": 0}, {"dim": -1}, {"dim": (0, 2)}, {"dim": 1})),
    *(Row("unsqueeze", {"dim": d}, lambda x, dim: np.expand_dims(x, dim)) for d in (0, 1, -1, -2)),
    *(Row(name, dict(zip(("dim0", "dim1"), dims)), lambda x, dim0, dim1: np.swapaxes(x, dim0, dim1))
      for name in ("transpose", "swapaxes") for dims in ((0, 1), (1, 2), (-1, 0))),
    Row("t", {}, np.transpose, shapes=((5,), (3, 5))),
    *(Row("permute", {}, lambda x, *a: np.transpose(x, *a if len(a) == 1 else (a,)), args,
          shapes=CUBE) for args in ((2, 0, 1), ((1, 2, 0),), ([0, -1, 1],))),
    *(Row("moveaxis", dict(zip(("source", "destination"), ends)),
          lambda x, source, destination: np.moveaxis(x, source, destination))
      for ends in ((0, 2), (-1, 0), (1, -1), (0, 0))),
    *(Row("expand", {}, lambda x, *s: expanded(x, *s if len(s) > 1 else s[0]), args, shapes=shapes)
      for args, shapes in (((4, -1, 5), ((3, 1), (3, 5))), (((2, 3),), ((), (1,), (3,), (2, 1))))),
    *(Row("broadcast_to", {"shape": s}, lambda x, shape: np.broadcast_to(x, shape))
      for s in ((3, 5), (4, 2, 3, 5), [2, 3, 5])),
    *(Row("repeat", {}, lambda x, *r: np.tile(x, r if len(r) > 1 else r[0]), args, shapes=shapes)
      for args, shapes in (((2, 3), MATRIX), (((2, 1, 3),), ((), (5,), (3, 5), (2, 3, 5))))),
    *(Row("flip", {}, lambda x, *d: np.flip(x, d if len(d) > 1 else d[0]), args)
      for args in ((0,), (1,), (-1,), (0, 2), ((0, 1),), ([1],))),
    *(Row("split", dict(zip(("split_size", "dim"), o)), split_of) for o in
      ((2,), (2, 1), (4, -1), ([1, 2],), ([2, 2, 1], -1), (1, 1))),
    *(Row("chunk", dict(zip(("chunks", "dim"), o)), chunks_of) for o in ((2,), (3, 1), (2, -1))),
    *(Row("unbind", o, unbound) for o in ({}, {"dim": 1}, {"dim": -1})),
    Row("gather", {"dim": 1, "index": PICKS},
        lambda x, dim, index: np.take_along_axis(x, index, dim), shapes=MATRIX),
    Row("gather", {"dim": -2, "index": PICKS % 3},
        lambda x, dim, index: np.take_along_axis(x, index, dim), shapes=MATRIX),
    *(Row("index_select", {"dim": d, "index": ROWS},
          lambda x, dim, index: np.take(x, index, dim)) for d in (0, 1, -1)),
    Row("masked_select", {"mask": MASK}, lambda x, mask: x[mask], shapes=MATRIX),
    *(Row("sort", o, sorted_by) for o in
      ({}, {"dim": 0}, {"dim": 1, "descending": True}, {"descending": True})),
    *(Row("argsort", o, lambda x, **o: sorted_by(x, **o)[1], inputs=inputs) for o in
      ({}, {"dim": 0}, {"dim": 1, "descending": True}, {"descending": True})
      for inputs in (apart, some_zeros)),
    *(Row("topk", dict(zip(("k", "dim"), o)), topk_of, shapes=SHAPES[1:])
      for o in ((1,), (2, 0), (2, 1), (3, -1))),
    *(Row("topk", {"k": k, "dim": 1}, topk_of, shapes=SHAPES[3:4]) for k in (0, 5)),
    *(Row(name, o, lambda x, diagonal=0, f=f: f(x, diagonal), dtypes=FLOATS, shapes=SHAPES[3:])
      for name, f in (("tril", np.tril), ("triu", np.triu))
      for o in ({}, {"diagonal": 1}, {"diagonal": -1}, {"diagonal": 2})),
    *(Row("diagonal", o, lambda x, offset=0, dim1=0, dim2=1: np.diagonal(x, offset, dim1, dim2),
          shapes=((3, 3), (1, 1), (2, 4), (2, 3, 5)))
      for o in ({}, {"offset": 1}, {"offset": -1, "dim1": -1, "dim2": 0})),
    # dtypes
    *(Row("astype", {"dtype": d}, lambda x, dtype: x.astype(dtype))
      for d in (np.float32, np.float64, "int64", np.int32, bool)),
    *(Row("to", {}, lambda x, target: x if target == "cpu" else x.astype(target), args=(d,))
      for d in (np.float32, np.float64, np.int64, "float32", "int64", "cpu")),
    *(Row(name, {}, lambda x, d=d: x.astype(d), inputs=inputs)
      for name, d in (("float", np.float32), ("double", np.float64), ("long", np.int64),
                      ("int", np.int32), ("bool", bool)) for inputs in (apart, some_zeros)),
]  # fmt: skip

SEEN_ELSEWHERE = {
    "backward": "test_rules", "requires_grad_": "test_engine", "retain_grad": "test_engine",
    "cuda": "test_devices", "get_device": "test_devices", "numpy": "below",
    "normal_": "below", "uniform_": "below", "bernoulli_": "below",
    "half": "test_promotion", "register_hook": "test_function",
}  # fmt: skip

# Values without a slope, though they are floats.
CUT = {"detach"}


def operand(value, dtype):
    """What a row gives besides x; arrays of floats in the dtype of x."""
    floats = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return value.astype(dtype) if floats else value


def as_tensor(value):
    return tg.tensor(value) if isinstance(value, np.ndarray) else value


def receiver(row, x):
    """What the method is called on; what is written in place is a copy that has a past."""
    return x.clone() if row.name.endswith("_") else x


def calls_of(row, x, args, options, function):
    """The call with its options by name, and by position where the signature takes them so."""
    args, options = [as_tensor(a) for a in args], {k: as_tensor(v) for k, v in options.items()}
    yield function(receiver(row, x), *args, **options)
    by_position = []
    for p in list(inspect.signature(function).parameters.values())[1:] if options else []:
        if p.kind is not p.POSITIONAL_OR_KEYWORD or not options:
            break
        by_position.append(options.pop(p.name, p.default))
    if by_position:
        yield function(receiver(row, x), *args, *by_position, **options)


def check_gradient(row, x, args, options):
    """Σ w·y, over the outputs that are floats, against central differences."""
    leaf = tg.tensor(x, requires_grad=True)
    y = next(calls_of(row, leaf, args, options, getattr(Tensor, row.name)))
    floats = [z for z in outputs(y) if z.dtype.kind == "f"]
    if not floats or row.name in CUT:
        assert not any(z.requires_grad for z in outputs(y))
        return
    assert all(z.requires_grad for z in floats)
    if any(z.dtype == np.float32 for z in floats):  # rounded: no differences to be taken
        return
    weights = [incoming(z.shape, seed=i) for i, z in enumerate(floats)]
    sum((z * tg.tensor(w)).sum() for z, w in zip(floats, weights)).backward()

    def oracle(x):
        wanted = row.numpy(x.copy(), *args, **options)
        wanted = wanted if isinstance(wanted, (tuple, list)) else [wanted]
        wanted = [z for z in wanted if np.asarray(z).dtype.kind == "f"]
        return sum(np.sum(w * z) for w, z in zip(weights, wanted))

    wanted = jacobian_product(oracle, [x], 0, 1.0)
    np.testing.assert_allclose(leaf.grad.numpy(), wanted, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("row", METHODS, ids=[row.id for row in METHODS])
def test_a_method_is_numpys(row):
    functions = [getattr(Tensor, row.name)]
    if callable(getattr(tg, row.name, None)) and row.name != "where":  # where(condition, ...)
        functions.append(getattr(tg, row.name))
    compared = 0
    for shape, dtype in itertools.product(row.shapes, row.dtypes):
        x = (row.inputs or apart)(shape, dtype)
        args = [operand(a, dtype) for a in row.args]
        options = {k: operand(v, dtype) for k, v in row.options.items()}
        wanted = answer(lambda x=x, a=args, o=options: row.numpy(x.copy(), *a, **o))
        if wanted is None:
            continue
        compared += 1
        for function in functions:
            for y in calls_of(row, tg.tensor(x), args, options, function):
                same(y, wanted)
        if dtype is np.float64 and outputs(y):
            check_gradient(row, x, args, options)
    assert compared


WRITTEN_BY = {
    call[2]: (
        max(several, key=lambda shapes: math.prod(shapes[0])),
        call[1],
        f"x.{text[call.start(2) :]}",
    )
    for several, texts in torch_names.ROWS
    for text in texts
    if (call := re.match(r"([ac])(?:\.detach\(\))?\.clone\(\)\.(\w+_)\(", text))
}  # name -> shapes, which of them is written, and a call of it
TURNS = {"swapaxes_", "t_", "transpose_"}
UNCHANGED = {"abs_", "absolute_", "relu_", "logical_or_", "squeeze_"}


@pytest.mark.parametrize("name", [n for n in dir(Tensor) if n.endswith("_") and n[0] != "_"])
def test_what_is_written_in_place_is_the_same_tensor(name):
    """So x.add_(1).mul_(2) works on x, and who looks at its numbers sees it."""
    if name in ("requires_grad_", "share_memory_", "detach_", "random_"):
        return
    row = next((row for row in METHODS if row.name == name), None)
    if row is not None or name not in WRITTEN_BY:
        x = tg.tensor(positive((5,)) - 3)
        options = row.options if row else {}
        args = [as_tensor(a) for a in (row.args if row else ())]
        call = partial(getattr(x, name), *args, **options)
    else:
        shapes, written, text = WRITTEN_BY[name]
        dtype = "int64" if "bitwise" in name else "float64"
        given = [np.abs(torch_names.data(s, dtype, i)) for i, s in enumerate(shapes)]
        names: dict[str, Any] = {"T": tg, **dict(zip("abc", map(tg.tensor, given)))}
        x = names["x"] = names[written].clone() if name != "t_" else tg.tensor(A)
        call = partial(eval, text, names)
    before, alias = x.tolist(), x.detach()
    y = call()
    assert y is x
    seen = alias.T if name in TURNS else alias
    np.testing.assert_array_equal(seen.numpy().ravel(), x.numpy().ravel())
    assert x.tolist() != before or name in UNCHANGED


# --- operators ------------------------------------------------------------------------------

ARITHMETIC = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv,
    "matmul": operator.matmul, "mod": operator.mod, "floordiv": operator.floordiv,
    "pow": operator.pow,
}  # fmt: skip
LOGIC = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}
COMPARISONS = {n: getattr(operator, n) for n in ("eq", "ne", "lt", "le", "gt", "ge")}
UNARY = {"neg": operator.neg, "pos": operator.pos, "abs": operator.abs}
IN_PLACE = {"iadd": operator.iadd, "isub": operator.isub, "imul": operator.imul,
            "itruediv": operator.itruediv, "ipow": operator.ipow}  # fmt: skip
A, B = positive((3, 5)), positive((5, 3)).T[::-1] / 2 + 0.01
SQUARE_A, SQUARE_B = apart((3, 3)), apart((3, 3), seed=5)
TRUE, FALSE = MASK, MASK[::-1].T.reshape(3, 5)


def forms(a, b):
    """Every pair of kinds of operands one of which is a Tensor, with the arrays they stand for."""
    yield tg.tensor(a), tg.tensor(b)
    yield tg.tensor(a), b
    yield a, tg.tensor(b)
    yield tg.tensor(a), b.tolist()
    yield a.tolist(), tg.tensor(b)


@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARISONS, *LOGIC])
def test_an_operator_is_numpys_on_either_side(name):
    f = {**ARITHMETIC, **COMPARISONS, **LOGIC}[name]
    a, b = (TRUE, FALSE) if name in LOGIC else (SQUARE_A, SQUARE_B) if name == "matmul" else (A, B)
    if name in ("eq", "ne", "le", "ge"):
        b = np.where(MASK, a, b)
    for x, y in forms(a, b):
        same(f(x, y), f(a, b))
    if name == "matmul":
        same(f(SQUARE_A.tolist(), tg.tensor(SQUARE_B)), SQUARE_A @ SQUARE_B)
        return
    number = True if name in LOGIC else 2.5
    same(f(tg.tensor(a), number), f(a, number))
    same(f(number, tg.tensor(a)), f(number, a))
    row = a[1]
    same(f(tg.tensor(row), tg.tensor(b)), f(row, b))
    same(f(tg.tensor(a), tg.tensor(b[:, :1])), f(a, b[:, :1]))


@pytest.mark.parametrize("name", [*ARITHMETIC])
def test_the_slope_of_an_operator_on_either_side(name):
    f = ARITHMETIC[name]
    a, b = (SQUARE_A, SQUARE_B) if name == "matmul" else (A, B)
    for left, right in ((True, True), (True, False), (False, True)):
        x = tg.tensor(a, requires_grad=True) if left else a
        y = tg.tensor(b, requires_grad=True) if right else b
        z = f(x, y)
        w = incoming(z.shape)
        z.backward(tg.tensor(w))
        for i, leaf in enumerate((x, y)):
            if isinstance(leaf, Tensor):
                wanted = jacobian_product(f, [a, b], i, w)
                np.testing.assert_allclose(leaf.grad.numpy(), wanted, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("name", UNARY)
def test_an_operator_of_one_operand_is_numpys(name):
    for shape in SHAPES:
        x = apart(shape)
        same(UNARY[name](tg.tensor(x)), UNARY[name](x))
    same(~tg.tensor(MASK), ~MASK)


def swapped(f, b, a):
    return f(a, b)


@pytest.mark.parametrize("name", IN_PLACE)
def test_an_operator_in_place_is_numpys_and_keeps_the_tensor(name):
    f = IN_PLACE[name]
    for value in (A[0], B, 2.5, 3):
        for operand in (value, tg.tensor(value)) if np.ndim(value) else (value,):
            x, wanted = tg.tensor(A), A.copy()
            alias = x.detach()
            assert f(x, operand) is x
            wanted = f(wanted, value)
            same(x, wanted)
            same(alias, wanted)
            leaf = tg.tensor(A, requires_grad=True)
            y = leaf.clone()
            f(y, operand)
            y.backward(tg.tensor(incoming(A.shape)))
            plain = partial(swapped, ARITHMETIC[name[1:]], value)
            slope = jacobian_product(plain, [A], 0, incoming(A.shape))
            np.testing.assert_allclose(leaf.grad.numpy(), slope, rtol=2e-6, atol=2e-7)


def test_python_asks_a_tensor_as_it_asks_an_array():
    for x in (np.float64(2.75), np.array([[-3.25]]), np.array(7), np.array([True])):
        t = tg.tensor(x)
        assert float(t) == x.item() and int(t) == int(x.item()) and bool(t) is bool(x)
        assert math.floor(t.item()) == math.floor(x.item())
    assert [10, 20, 30][tg.tensor(1)] == 20 and range(5)[tg.tensor([3])] == 3
    assert bool(tg.tensor(0.0)) is False and bool(tg.tensor([0])) is False
    rows = tg.tensor(A)
    assert len(rows) == 3
    for ours, wanted in zip(rows, A, strict=True):
        same(ours, wanted)
    assert A[1, 2] in rows and tg.tensor(A[1, 2]) in rows and -1.0 not in rows
    assert A[0] in rows  # some element is equal, as NumPy has it
    for error, call in (
        (TypeError, lambda: len(tg.tensor(1.0))), (TypeError, lambda: iter(tg.tensor(1.0))),
        (TypeError, lambda: [1][tg.tensor(0.0)]), (ValueError, lambda: bool(rows)),
        (ValueError, lambda: float(rows)), (ValueError, lambda: int(rows)),
    ):  # fmt: skip
        with pytest.raises(error):
            call()


def test_what_is_no_operand_is_not_equal():
    assert (tg.tensor([1.0]) == "a") is False and (tg.tensor([1.0]) != "a") is True
    assert tg.tensor([1.0]) != None  # noqa: E711
    assert len({tg.tensor([1.0]), tg.tensor([1.0])}) == 2  # a key is the tensor, not its numbers


INDICES = (
    1, -1, slice(None, None, 2), slice(2, 0, -1), (0, 2), (slice(None), 1), (Ellipsis, -1),
    (None, 1), (slice(1, None), None, slice(0, 2)), ROWS, (ROWS, 1), (slice(None), ROWS),
    (ROWS[:, None], np.array([0, 2])), MASK, (MASK[:, 1],), [0, 2], (np.int64(1), slice(None)),
    (slice(None), MASK[0]), True, [], (np.array(2),), slice(np.int64(1), None),
)  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=map(repr, range(len(INDICES))))
def test_an_index_reads_and_writes_what_numpys_does(index):
    x = apart((3, 5))
    same(tg.tensor(x)[index], x[index])
    parts = index if isinstance(index, tuple) else (index,)
    as_tensors = tuple(tg.tensor(p) if isinstance(p, np.ndarray) else p for p in parts)
    same(tg.tensor(x)[as_tensors], x[index])
    leaf = tg.tensor(x, requires_grad=True)
    leaf[as_tensors].backward(tg.tensor(incoming(x[index].shape)))
    w = incoming(x[index].shape)
    slope = np.zeros_like(x)
    np.add.at(slope, index, w)
    np.testing.assert_array_equal(leaf.grad.numpy(), slope)
    for values in (7.5, -apart(x[index].shape, seed=11)):
        ours, wanted = tg.tensor(x), x.copy()
        ours[as_tensors] = values
        wanted[index] = values
        same(ours, wanted)


# --- leaving and entering -------------------------------------------------------------------


def test_a_tensor_becomes_the_array_that_numpy_asks_for():
    x = apart((3, 5))
    t = tg.tensor(x)
    np.testing.assert_array_equal(np.asarray(t), x)
    assert np.asarray(t, np.float32).dtype == np.float32
    assert np.array(t).flags.writeable and not np.asarray(t).flags.writeable
    assert not np.shares_memory(np.array(t, copy=True), t.array)
    assert np.shares_memory(np.asarray(t), t.array) and np.shares_memory(t.numpy(), t.array)
    assert np.asarray(t, np.float64).dtype == np.float64


def test_a_copy_of_a_structure_keeps_what_was_one_tensor_one():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    a, b = copy.deepcopy([x, x])
    assert a is b and a is not x and a.requires_grad
    np.testing.assert_array_equal(a.grad.numpy(), [2.0, 4.0])
    assert a.grad is not x.grad and copy.copy(x) is not x
    restored = pickle.loads(pickle.dumps(x))
    assert restored.requires_grad and restored.tolist() == [1.0, 2.0]


PROPERTIES = {
    "shape": lambda x: x.shape,
    "dtype": lambda x: getattr(tg, x.dtype.name),
    "ndim": lambda x: x.ndim,
    "device": lambda x: tg.device("cpu"),
    "data": lambda x: x,
    "T": lambda x: np.transpose(x),
    "mT": lambda x: x.mT,
    "is_leaf": lambda x: True,
    "grad": lambda x: None,
    "grad_fn": lambda x: None,
    "is_cuda": lambda x: False,
    "requires_grad": lambda x: False,
}


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_property_is_numpys(name):
    for shape in SHAPES:
        x = apart(shape)
        wanted = answer(lambda x=x: (PROPERTIES[name](x),))
        if wanted:
            same((getattr(tg.tensor(x), name),), wanted)


# Drawn by PyTorch 2.13: torch.manual_seed(7), then torch.empty(5) filled.
DRAWS = {
    "normal_": ((1.0, 2.0), [0.7064098, 2.5722826, 2.8936431, -1.228688, 4.3815804]),
    "uniform_": ((-1.0, 3.0), [1.1396902, -0.2047873, 1.6368468, 1.6275611, -0.0689538]),
    "bernoulli_": ((0.3,), [1.0, 1.0, 0.0, 0.0, 0.0]),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_tensor_filled_with_draws_is_pytorchs(name):
    settings, wanted = DRAWS[name]
    names = {"normal_": ("mean", "std"), "uniform_": ("low", "high"), "bernoulli_": ("p",)}[name]
    generator = tg.Generator()
    for call in (
        lambda x: getattr(x, name)(*settings, generator=generator.manual_seed(7)),
        lambda x: getattr(x, name)(
            **dict(zip(names, settings)), generator=generator.manual_seed(7)
        ),
    ):
        x = tg.zeros(5)
        assert call(x) is x
        np.testing.assert_allclose(x.numpy(), wanted, rtol=1e-6)
    kept = tg.random.get_rng_state()
    try:
        tg.manual_seed(7)
        np.testing.assert_allclose(getattr(tg.zeros(5), name)(*settings).numpy(), wanted, rtol=1e-6)
        tg.manual_seed(7)
        defaults = getattr(tg.zeros(5), name)()
        tg.manual_seed(7)
        given = {"normal_": (0.0, 1.0), "uniform_": (0.0, 1.0), "bernoulli_": (0.5,)}[name]
        same(defaults, getattr(tg.zeros(5), name)(*given).numpy())
    finally:
        tg.random.set_rng_state(kept)


# --- NumPy's functions ----------------------------------------------------------------------


class Call(NamedTuple):
    """A function of NumPy that is given Tensors: the oracle is the function itself, on arrays."""

    function: Any
    arrays: tuple[Any, ...]
    options: Mapping[str, Any] = MappingProxyType({})

    @property
    def id(self) -> str:
        options = [f"{k}={shown(v)}" for k, v in self.options.items()]
        return f"{self.function.__name__}({', '.join([*map(shown, self.arrays), *options])})"


D1, D2, D3, D0 = apart((5,)), apart((3, 5)), apart((2, 3, 5)), apart(())
Z3 = some_zeros((2, 3, 5))


def each(function, options, *arrays):
    return [Call(function, (a,), o) for o in options for a in arrays]


def axes(*values):
    return [{}, *({"axis": a} for a in values), {"axis": values[-1], "keepdims": True},
            {"keepdims": True}]  # fmt: skip


AXES = axes(None, 0, -1, 1)[:4]
CALLS = [
    *(c for f in (np.sum, np.mean, np.max, np.amax, np.min, np.amin)
      for c in each(f, axes(None, 0, -1, (0, 1), 1), D2, D3)),
    *(c for f in (np.var, np.std)
      for c in each(f, [*axes(None, 0, (0, 1), 1), {"ddof": 1}, {"axis": -1, "ddof": 0.5}], D2)),
    *(c for f in (np.prod, np.argmax, np.argmin) for c in each(f, axes(None, 0, -1, 1), D2, D3)),
    *(c for f in (np.all, np.any) for c in each(f, axes(None, 0, -1, (0, 1), 1), Z3, Z3 > 0)),
    *(c for f in (np.cumsum, np.cumprod) for c in each(f, AXES, D2, D3)),
    *each(np.sort, [{}, {"axis": 0}, {"axis": -1}], D1, D2, D3),
    *each(np.argsort, [{}, {"axis": 0}, {"axis": -1}], D1, D2, D3),
    *each(np.flip, [*AXES, {"axis": (0, 1)}], D2, D3),
    *each(np.squeeze, [{}, {"axis": 0}, {"axis": (0, 2)}], D2[None, :, None]),
    *each(np.expand_dims, [{"axis": a} for a in (0, 1, -1, -2)], D2),
    *each(np.expand_dims, [{"axis": a} for a in (0, -1)], D0),
    *each(np.reshape, [{"shape": s} for s in ((5, 3), (-1,), -1, [3, -1])], D2),
    *each(np.ravel, [{}], D0, D2, D3), *each(np.copy, [{}], D0, D2),
    *each(np.transpose, [{}, {"axes": None}], D1, D3),
    *each(np.transpose, [{"axes": (1, 2, 0)}, {"axes": [2, 0, -2]}], D3),
    *each(np.permute_dims, [{}, {"axes": (1, 2, 0)}], D3),
    *each(np.matrix_transpose, [{}], D2, D3),
    *each(np.swapaxes, [{"axis1": 0, "axis2": -1}, {"axis1": 1, "axis2": 2}], D3),
    *each(np.moveaxis, [{"source": 0, "destination": -1}, {"source": 2, "destination": 1}], D3),
    *each(np.broadcast_to, [{"shape": (2, 3, 5)}], D1, D2),
    Call(np.broadcast_to, (D0,), {"shape": 4}),
    *each(np.take, [{"indices": ROWS, **o} for o in AXES], D2, D3),
    *each(np.take, [{"indices": 2 * ROWS, **o} for o in AXES[1:]], D2[:, :3]),
    *each(np.take, [{"indices": 2, "axis": a} for a in (None, 0, -1)], D2),
    *each(np.take_along_axis, [{"indices": PICKS, "axis": -1}, {"indices": PICKS, "axis": 1},
                               {"indices": PICKS % 3, "axis": 0}, {"indices": PICKS}], D2),
    *(c for f in (np.tril, np.triu)
      for c in each(f, [{}, {"k": 1}, {"k": -1}, {"k": 3}], D2, D3)),
    *(Call(f, (SQUARE_A,)) for f in (np.diagonal, np.diag, np.trace)),
    Call(np.diagonal, (SQUARE_A,), {"offset": 1, "axis1": 1, "axis2": 0}),
    Call(np.diag, (SQUARE_A,), {"k": -1}),
    *each(np.round, [{}, {"decimals": 1}, {"decimals": 2}, {"decimals": -1}], 10 * D2),
    *each(np.around, [{}, {"decimals": 1}], D2),
    *each(np.clip, [{"a_min": -1, "a_max": 1}, {"a_min": -1, "a_max": None},
                    {"a_min": None, "a_max": 0.5}], D2),
    *each(np.pad, [{"pad_width": 2}, {"pad_width": (1, 2)}, {"pad_width": ((1, 2), (3, 0))},
                   {"pad_width": 1, "mode": "constant", "constant_values": 7.0}], D2),
    *each(np.tile, [{"reps": 2}, {"reps": (2, 3)}, {"reps": (2, 1, 3)}, {"reps": [3]}], D2),
    *each(np.split, [{"indices_or_sections": n, "axis": a} for n, a in
                     ((3, 0), ([1, 3], 1), ([2], -1), (5, 1))] +
          [{"indices_or_sections": 3}, {"indices_or_sections": [1]}], D2),
    *each(np.lib.stride_tricks.sliding_window_view,
          [{"window_shape": (2, 3)}, {"window_shape": (2, 3), "axis": (1, 0)},
           {"window_shape": 2, "axis": 1}, {"window_shape": 3, "axis": -1},
           {"window_shape": [2], "axis": [0]}], D2),
    Call(np.lib.stride_tricks.sliding_window_view, (D1,), {"window_shape": 3}),
    *each(np.linalg.norm, [*axes(None, 0, (0, 1), -1), {"axis": 1, "ord": 2},
                           {"axis": (0, 1), "ord": "fro"}], D2),
    Call(np.linalg.norm, (D1,), {"ord": 2}),
    # several arrays
    *(Call(np.where, (MASK, a, b)) for a, b in ((D2, 2 * D2), (D2, D1), (D1[:1], D2))),
    *(Call(f, (a, b)) for f in (np.dot, np.inner) for a, b in
      ((D1, D1[::-1]), (D0, D2), (D2, D0))),
    Call(np.dot, (D2, D2.T)), Call(np.dot, (D2, D1)), Call(np.dot, (D1, D2.T)),
    Call(np.dot, (D3, D2.T)), Call(np.inner, (D2, 2 * D2[:2])), Call(np.inner, (D3, D1)),
    Call(np.inner, (D1, D2)), Call(np.inner, (D3, D2)),
    Call(np.outer, (D1, D2[0, :3])), Call(np.outer, (D2, D1)),
    *(Call(f, ([D2, 2 * D2, -D2],), {"axis": a}) for f in (np.concatenate, np.stack)
      for a in (0, 1, -1)),
    Call(np.concatenate, ([D2, D1, D0[None]],), {"axis": None}), Call(np.concatenate, ([D2, D2],)),
    Call(np.stack, ([D0, 2 * D0],)),
    *(Call(f, (parts,)) for f in (np.vstack, np.hstack)
      for parts in ([D1, 2 * D1], [D2, D2], [D0, D0], [D3, D3])),
    Call(np.vstack, ([D2, D1],)),
    # questions about the numbers
    *(Call(f, (a,)) for f in (np.shape, np.ndim, np.size, np.count_nonzero, np.iscomplexobj,
                              np.array_repr, np.array_str, np.array2string, np.result_type)
      for a in (D2, Z3)),
    Call(np.min_scalar_type, (np.array(3),)), Call(np.can_cast, (np.float32, np.float64)),
    *(Call(f, (a, b)) for f in (np.array_equal, np.allclose, np.isclose)
      for a, b in ((D2, D2), (D2, D2 + 1), (D2, D2 * (1 + 1e-7)))),
    Call(np.isclose, (D2, D2 + 0.1), {"atol": 0.2, "rtol": 0.0}),
    Call(np.unique, (PICKS,)), Call(np.unique, (PICKS,), {"return_counts": True}),
    Call(np.bincount, (ROWS,)), Call(np.bincount, (ROWS,), {"minlength": 7}),
    Call(np.searchsorted, (np.sort(D1), D2)), Call(np.isin, (PICKS, ROWS)),
    *(Call(f, (a,)) for f in (np.zeros_like, np.ones_like) for a in (D2, PICKS)),
    Call(np.full_like, (D2, 7.5)), Call(np.full_like, (PICKS, 7)),
]  # fmt: skip

# np.einsum takes its subscripts first, np.empty_like gives any numbers: below, by themselves.
BY_THEMSELVES = {np.einsum, np.empty_like}


def tensors_of(arrays, **options):
    """Arrays of floats as Tensors, in lists too."""
    if isinstance(arrays, (list, tuple)):
        return type(arrays)(tensors_of(a, **options) for a in arrays)
    if not isinstance(arrays, (np.ndarray, np.floating)):
        return arrays
    return tg.tensor(arrays, requires_grad=bool(options) and arrays.dtype.kind == "f")


def options_by_position(function, given, options):
    """The options in the order of NumPy's own signature, as far as they can be given so."""
    options = dict(options)
    parameters = list(inspect.signature(function).parameters.values())[given:]
    args = []
    for p in parameters:
        if p.kind not in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY) or p.name not in options:
            break
        args.append(options.pop(p.name))
    return args, options


@pytest.mark.parametrize("call", CALLS, ids=[f"{i}-{c.id}" for i, c in enumerate(CALLS)])
def test_a_function_of_numpy_takes_tensors(call):
    wanted = call.function(*call.arrays, **call.options)
    ours = call.function(*tensors_of(call.arrays), **call.options)
    same(ours, wanted)
    args, rest = options_by_position(call.function, len(call.arrays), call.options)
    same(call.function(*tensors_of(call.arrays), *args, **rest), wanted)


EINSUMS = ("ij,kj->ik", "ij,kj", "ij->j", "ij,kj->", "...j,kj->...k", " i j -> j i ")


@pytest.mark.parametrize("spec", EINSUMS)
def test_einsum_is_numpys(spec):
    arrays = [D2, 2 * D2[:2]][: spec.count(",") + 1]
    same(np.einsum(spec, *map(tg.tensor, arrays)), np.einsum(spec, *arrays))
    same(tg.einsum(spec, *map(tg.tensor, arrays)), np.einsum(spec, *arrays))


def test_empty_like_has_shape_and_dtype_and_no_past():
    for x in (D2.astype(np.float32), PICKS):
        y = np.empty_like(tg.tensor(x))
        assert isinstance(y, Tensor) and y.shape == x.shape and y.dtype == x.dtype
        assert y.is_leaf and not y.requires_grad


UFUNC_INPUTS = {
    np.arcsin: (np.tanh(D2),), np.arccos: (np.tanh(D2),), np.log2: (positive((3, 5)),),
    np.log10: (positive((3, 5)),), np.tan: (np.tanh(D2),), np.fmod: (D2, A), np.hypot: (D2, A),
    np.log: (positive((3, 5)),), np.log1p: (positive((3, 5)),), np.sqrt: (positive((3, 5)),),
    np.power: (A, D1), np.float_power: (A, D1), np.matmul: (D2, D2.T), np.remainder: (D2, A),
    np.floor_divide: (D2, A), np.isnan: (far((3, 5)),), np.isinf: (far((3, 5)),),
    np.isfinite: (far((3, 5)),), np.bitwise_and: (TRUE, FALSE), np.bitwise_or: (TRUE, FALSE),
    np.bitwise_xor: (TRUE, FALSE), np.invert: (TRUE,), np.logical_and: (Z3, Z3[::-1]),
    np.logical_or: (Z3, Z3[:, ::-1]), np.logical_xor: (Z3, Z3 > 7), np.logical_not: (Z3,),
    np.equal: (D2, np.where(MASK, D2, A)), np.not_equal: (D2, np.where(MASK, D2, A)),
    np.less_equal: (D2, np.where(MASK, D2, A)), np.greater_equal: (D2, np.where(MASK, D2, A)),
}  # fmt: skip


@pytest.mark.parametrize("ufunc", protocol.UFUNCS, ids=lambda f: f.__name__)
def test_an_elementwise_function_of_numpy_takes_tensors(ufunc):
    arrays = UFUNC_INPUTS.get(ufunc, (D2, D1[::-1].copy())[: ufunc.nin])
    wanted = ufunc(*arrays)
    same(ufunc(*map(tg.tensor, arrays)), wanted)
    if ufunc.nin == 2:
        same(ufunc(tg.tensor(arrays[0]), arrays[1]), wanted)
        same(ufunc(arrays[0], tg.tensor(arrays[1])), wanted)
    if wanted.dtype.kind != "f":
        return
    leaves = [tg.tensor(a, requires_grad=True) for a in arrays]
    w = incoming(wanted.shape)
    ufunc(*leaves).backward(tg.tensor(w))
    for i, leaf in enumerate(leaves):
        slope = jacobian_product(ufunc, arrays, i, w)
        np.testing.assert_allclose(leaf.grad.numpy(), slope, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("ufunc", protocol.REDUCTIONS, ids=lambda f: f.__name__)
def test_a_ufunc_reduces_tensors(ufunc):
    x = Z3 > 0 if ufunc.__name__.startswith("logical") else D3
    for options in axes(0, 1, -1, None):
        same(ufunc.reduce(tg.tensor(x), **options), ufunc.reduce(x, **options))
    same(ufunc.reduce(tg.tensor(x), 1), ufunc.reduce(x, 1))


@pytest.mark.parametrize("ufunc", [np.add, np.multiply], ids=lambda f: f.__name__)
def test_a_ufunc_accumulates_tensors(ufunc):
    for options in ({}, {"axis": 0}, {"axis": 1}, {"axis": -1}):
        same(ufunc.accumulate(tg.tensor(D3), **options), ufunc.accumulate(D3, **options))


# --- functions of the top level -------------------------------------------------------------


def test_joins_are_numpys():
    parts = [D2, 2 * D2, -D2]
    for dim in (0, 1, -1):
        for name, numpys in (("cat", np.concatenate), ("concatenate", np.concatenate),
                             ("stack", np.stack)):  # fmt: skip
            same(getattr(tg, name)(list(map(tg.tensor, parts)), dim), numpys(parts, dim))
            same(getattr(tg, name)(tuple(map(tg.tensor, parts)), dim=dim), numpys(parts, dim))
            same(getattr(tg, name)([*map(tg.tensor, parts)]), numpys(parts))


def test_where_is_numpys():
    for condition in (MASK, MASK[0], MASK.astype(np.int64), MASK[:, :1]):
        for given in (condition, tg.tensor(condition), condition.tolist()):
            same(tg.where(given, tg.tensor(D2), tg.tensor(A)), np.where(condition, D2, A))
            same(tg.where(given, tg.tensor(D2), 0.0), np.where(condition, D2, 0))
            same(tg.where(given, 7.0, tg.tensor(D2)), np.where(condition, 7.0, D2))


@pytest.mark.parametrize("rtol, atol", [(None, None), (1e-3, 0.0), (0.0, 1e-3), (1e-2, 1e-4)])
def test_allclose_bounds_are_numpys(rtol, atol):
    options = {k: v for k, v in (("rtol", rtol), ("atol", atol)) if v is not None}
    bound = {"rtol": 1e-5, "atol": 1e-8, **options}
    for b in (0.0, 3.0, -200.0):
        allowed = bound["atol"] + bound["rtol"] * abs(b)
        for part in (0.97, 1.03) if allowed else (0,):
            a, b = np.array([b + part * allowed]), np.array([b])
            assert tg.allclose(tg.tensor(a), tg.tensor(b), **options) is (part < 1)
            assert tg.allclose(a, b, bound["rtol"], bound["atol"]) is (part < 1)
    assert tg.is_tensor(tg.tensor(1.0)) and not tg.is_tensor(np.ones(1))


# --- nothing is missing ---------------------------------------------------------------------

OPERATORS = {f"__{n}__" for n in (*ARITHMETIC, *LOGIC, *COMPARISONS, *UNARY, *IN_PLACE, "invert")}
REFLECTED = {f"__r{n}__" for n in (*ARITHMETIC, *LOGIC)}
ASKED = {f"__{n}__" for n in (
    "len", "iter", "contains", "float", "int", "index", "bool", "array", "getitem", "setitem",
    "copy", "deepcopy", "reduce", "hash", "repr", "dir", "format", "array_ufunc", "array_function",
)}  # fmt: skip
NO_CALLS = {f"__{n}__" for n in (
    "new", "module", "doc", "slots", "array_priority", "annotations", "static_attributes",
    "firstlineno",
)}  # fmt: skip


TEXTS = "\n".join(text for _, texts in torch_names.ROWS for text in texts)
CALLED = set(re.findall(r"\.(\w+)\b", TEXTS))


def test_no_method_of_tensor_is_missing():
    own = {n for n in vars(Tensor) if not (n.startswith("_") and not n.startswith("__"))} - NO_CALLS
    tried = {row.name for row in METHODS} | {*PROPERTIES, *SEEN_ELSEWHERE} | CALLED
    assert own <= tried | OPERATORS | REFLECTED | ASKED


def test_no_option_of_a_method_is_missing():
    missing = []
    for name in {row.name for row in METHODS}:
        function = getattr(Tensor, name)
        if hasattr(function, "op"):  # a rule: its signature is the forward's
            continue
        rows = [row for row in METHODS if row.name == name]
        given = {o for row in rows for o in row.options}
        given |= {
            o for call in re.findall(rf"\.{name}\(.*", TEXTS) for o in re.findall(r"(\w+)=", call)
        }
        parameters = list(inspect.signature(function).parameters.values())[1:]
        positional = max(len(row.args) for row in rows)
        for i, p in enumerate(parameters):
            starred = p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
            if not starred and i >= positional and p.name not in given:
                missing.append(f"{name}({p.name}=)")
    assert not missing


def test_no_function_of_numpy_is_missing():
    assert set(protocol.FUNCTIONS) == {call.function for call in CALLS} | BY_THEMSELVES


def test_no_option_of_a_function_of_numpy_is_missing():
    missing = []
    for function, ours in protocol.FUNCTIONS.items():
        rows = [call for call in CALLS if call.function is function]
        if not rows:
            continue
        given = {o for row in rows for o in row.options}
        fewest = max(len(row.arrays) for row in rows)
        named = list(inspect.signature(ours).parameters.values())[fewest:]
        named = [p.name for p in named if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        missing += [f"np.{function.__name__}({n}=)" for n in named if n not in given | {"_ask"}]
    assert not missing


def test_no_function_of_the_top_level_is_missing():
    functions = {n for n, f in vars(top_level).items() if callable(f) and n in tg.__all__}
    others = {"cat", "concatenate", "stack", "where", "allclose", "is_tensor", "einsum", "Tensor"}
    assert functions - others <= {row.name for row in METHODS} | CALLED
    for name in functions - others:
        assert getattr(tg, name) is getattr(top_level, name)


def test_type_checkers_know_every_function_of_the_top_level():
    tree = ast.parse(inspect.getsource(top_level))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {name.id for line in block.body for name in line.targets[0].elts}
    assert told == {*top_level.METHODS.split(), *(f"{x}_" for x in top_level.IN_PLACE.split())}


def test_the_script_whose_types_are_checked_runs():
    found = runpy.run_path(str(Path(__file__).parent / "user_types.py"))
    assert found["x"].shape == (2, 3)
