"""What the repr of a layer shows of its settings: one line for each kind, as PyTorch has it.

`eps=` shows the name and the value, `num_features` the value alone, `bias=?True` nothing where the
value is True, and `inplace=!False` False where a layer has no such setting. `stride=*` is a number
for each dimension of the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any

from tinygrad_ce.engine.tensor import Tensor

RECURRENT = "input_size hidden_size num_layers=?1 bias=?True batch_first=?False dropout=?0 bidirectional=?False"  # noqa: E501 - a line for each
CONVOLUTION = "in_channels out_channels kernel_size=* stride=* padding=*?0 dilation=*?1 output_padding=*?0 groups=?1 bias=?True padding_mode=?zeros"  # noqa: E501
NORM = "eps= momentum= affine= bias= track_running_stats=!True"
SHOWN = {
    "AdaptiveAvgPool1d": "output_size=",
    "AdaptiveAvgPool2d": "output_size=",
    "AvgPool1d": "kernel_size=* stride=* padding=*",
    "AvgPool2d": "kernel_size= stride= padding=",
    "BatchNorm1d": f"num_features {NORM}",
    "BatchNorm2d": f"num_features {NORM}",
    "Conv1d": CONVOLUTION,
    "Conv2d": CONVOLUTION,
    "ConvTranspose2d": CONVOLUTION,
    "Dropout": "p= inplace=!False",
    "Dropout2d": "p= inplace=!False",
    "ELU": "alpha= inplace=?False",
    "Embedding": "num_embeddings embedding_dim padding_idx=?None",
    "Flatten": "start_dim= end_dim=",
    "GELU": "approximate=",
    "GRU": RECURRENT,
    "GRUCell": "input_size hidden_size bias=?True",
    "GroupNorm": "num_groups num_channels eps= affine= bias=",
    "LSTM": RECURRENT,
    "LSTMCell": "input_size hidden_size bias=?True",
    "LayerNorm": "normalized_shape eps= elementwise_affine= bias=",
    "LeakyReLU": "negative_slope= inplace=?False",
    "Linear": "in_features= out_features= bias=",
    "LogSoftmax": "dim=",
    "MaxPool1d": "kernel_size= stride= padding= dilation=!1 ceil_mode=!False",
    "MaxPool2d": "kernel_size= stride= padding= dilation=!1 ceil_mode=!False",
    "RMSNorm": "normalized_shape eps= elementwise_affine=",
    "RNN": RECURRENT,
    "RNNCell": "input_size hidden_size bias=?True nonlinearity=?tanh",
    "ReLU": "inplace=?False",
    "SiLU": "inplace=?False",
    "Softmax": "dim=",
    "Softplus": "beta=!1.0 threshold=!20.0",
}
HERE = __name__.rpartition(".")[0] + "."  # the package of our own layers
SEEN_FROM = {"bias": "bias", "affine": "weight", "elementwise_affine": "weight",
             "track_running_stats": "running_mean"}  # fmt: skip


def settings(layer: Any) -> str:
    """The settings of a layer, or of the layer that its class extends, as its repr shows them."""
    ours = (k.__name__ for k in type(layer).__mro__ if k.__module__.startswith(HERE))
    kind = next((SHOWN[name] for name in ours if name in SHOWN), "")
    parts = []
    for name, equals, each, mark, default in re.findall(r"(\w+)(=?)(\*?)([?!]?)(\S*)", kind):
        value = value_of(layer, name, default)
        pair = each and not isinstance(value, (str, tuple))
        value = (value,) * len(layer.kernel_size) if pair else value
        first = str(value[0] if isinstance(value, tuple) else value)
        if not (mark == "?" and first in (default, f"{default}.0")):
            shown = repr(value) if name == "approximate" else str(value)
            parts.append(f"{name}={shown}" if equals else shown)
    return ", ".join(parts)


def value_of(layer: Any, name: str, default: str) -> Any:
    """A setting, which may be seen from what the layer has."""
    value = getattr(layer, SEEN_FROM.get(name, name), default)
    return value is not None if name in SEEN_FROM and not isinstance(value, bool) else value


Held = Callable[[Any], list[tuple[str, Any]]]


def tree(module: Any, below: Iterable[Any], held: Held, note: Callable[[Any], str]) -> str:
    """A module with those that it holds, each on a line of its own, and what is noted of it.

    `below` has all of them, each after those that it holds: nothing recurses.
    """
    texts: dict[int, str] = {}
    for part in below:
        own = part is not module and type(part).__repr__ is not type(part).plain_repr
        texts[id(part)] = repr(part) if own else lines_of(part, texts, held(part), note(part))
    return texts[id(module)]


def lines_of(module: Any, texts: dict[int, str], held: list[tuple[str, Any]], note: str) -> str:
    """The lines of a module, given those of the modules that it holds."""
    name, shown = type(module).__name__, module.extra_repr()
    parts = [(n, texts.get(id(m), f"{type(m).__name__}(...)")) for n, m in held]
    if module.folds_repeats:
        parts = folded(parts)
    if not parts and "\n" not in shown:
        return f"{name}({shown}){note}"
    lines = [*filter(None, [shown]), *(f"({n}): {part}" for n, part in parts)]
    return "\n  ".join([f"{name}({note}", *"\n".join(lines).split("\n")]) + "\n)"


def values_text(values: list[tuple[str, Any]]) -> str:
    """What the repr of a list of parameters shows."""
    return "\n".join(f"  ({name}): {value_text(x)}" for name, x in values)


def value_text(x: Any) -> str:
    """The kind and the size of a parameter, or of what is held in its place."""
    if not isinstance(x, Tensor):
        return f"Object of type: {type(x).__name__}"
    return f"{type(x).__name__} containing: [{x.dtype} of size {'x'.join(map(str, x.shape))}]"


def folded(parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Modules in a row that print alike, as one: (0-2): 3 x ReLU()."""
    runs = [(text, [n for n, _ in run]) for text, run in groupby(parts, key=itemgetter(1))]
    return [(n[0], part) if len(n) == 1 else (f"{n[0]}-{n[-1]}", f"{len(n)} x {part}")
            for part, n in runs]  # fmt: skip
