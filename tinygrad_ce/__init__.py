"""A tiny reverse-mode autograd Tensor on NumPy: build networks, see their graphs, learn backprop.

>>> import tinygrad_ce as tg
>>> x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> y = (x * x).sum()
>>> y.backward()
>>> x.grad
tensor([2., 4., 6.])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from numpy import (
    bool_,
    float32,
    float64,
    int32,
    int64,
    uint8,
)

from tinygrad_ce.autograd.modes import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from tinygrad_ce.creation import (
    arange,
    as_tensor,
    bernoulli,
    empty,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    multinomial,
    normal,
    numel,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.functions import (
    abs,
    add,
    all,
    allclose,
    amax,
    amin,
    any,
    argmax,
    argmin,
    argsort,
    bmm,
    cat,
    ceil,
    chunk,
    clamp,
    clip,
    concatenate,
    cos,
    cumprod,
    cumsum,
    div,
    dot,
    einsum,
    eq,
    exp,
    expm1,
    flatten,
    flip,
    floor,
    gather,
    ge,
    gt,
    index_select,
    is_tensor,
    isfinite,
    isinf,
    isnan,
    le,
    log,
    log1p,
    log_softmax,
    logsumexp,
    lt,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    mm,
    mul,
    ne,
    neg,
    norm,
    outer,
    permute,
    pow,
    prod,
    relu,
    reshape,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    softmax,
    sort,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sub,
    sum,
    tanh,
    topk,
    transpose,
    tril,
    triu,
    unbind,
    unsqueeze,
    var,
    where,
)

if TYPE_CHECKING:
    from tinygrad_ce import autograd, nn, optim, random, utils
    from tinygrad_ce.random import Generator, get_rng_state, initial_seed, manual_seed, set_rng_state
    from tinygrad_ce.serialization import load, save
    from tinygrad_ce.viz import draw

__version__ = "0.1.0"

LATER = {
    "Generator": "random",
    "autograd": "",
    "draw": "viz",
    "get_rng_state": "random",
    "initial_seed": "random",
    "load": "serialization",
    "manual_seed": "random",
    "nn": "",
    "optim": "",
    "random": "",
    "save": "serialization",
    "set_rng_state": "random",
    "utils": "",
}  # names that are imported when they are first used, and the rooms they are in


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module 'tinygrad_ce' has no attribute {name!r}")
    room = LATER[name]
    module = import_module(f"tinygrad_ce.{room or name}")
    value = getattr(module, name) if room else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *LATER})
