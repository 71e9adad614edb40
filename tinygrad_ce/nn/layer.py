"""What layers share: their constructors take settings, and refuse data in the place of them."""

from __future__ import annotations

import inspect
from typing import Any, Self

import numpy as np

from tinygrad_ce.engine import devices
from tinygrad_ce.engine.frame import a_type
from tinygrad_ce.engine.promotion import default_dtype
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.module import Module
from tinygrad_ce.nn.parameter import Parameter


def positive(value: Any, name: str, layer: str) -> int:
    """A size: an integer of at least 1."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{layer}: {name}={value!r}; wanted an integer of at least 1")
    return int(value)


def new_parameter(*shape: int, device: Any = None, dtype: Any = None) -> Parameter:
    """Room for numbers that are yet to be drawn, in the default dtype or another one."""
    devices.check(device)
    return Parameter(np.empty(shape, default_dtype() if dtype is None else dtype))


HERE = __name__.rpartition(".")[0] + "."  # the package of all layers


class Layer(Module):
    """A module whose constructor takes settings: data that is given to it is refused."""

    data: str = "x"  # what it is called with
    weights: tuple[str, ...] = ()  # settings that are tensors

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """An empty module, if no argument is a Tensor in the place of a setting."""
        init = cls.__init__
        if init is object.__init__ or init.__module__.startswith(HERE):  # and is no subclass's
            if any(isinstance(x, (Tensor, np.ndarray)) for x in (*args, *kwargs.values())):
                refuse_data(cls, args, kwargs)
            elif init is object.__init__ and (args or kwargs):
                raise TypeError(f"{cls.__name__}() takes no settings")
        return super().__new__(cls)


def refuse_data(kind: type[Layer], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """`MSELoss(x, y)` is a mistake that everybody makes once."""
    has_settings = kind.__init__ is not object.__init__
    settings = list(inspect.signature(kind.__init__).parameters.values())[1:] * has_settings
    names = [setting.name for setting in settings] + ["an argument"] * len(args)
    free = all(setting.default is not setting.empty for setting in settings)
    for name, value in [*zip(names, args), *kwargs.items()]:
        if isinstance(value, (Tensor, np.ndarray)) and name not in kind.weights:
            raise TypeError(
                f"{kind.__name__}: got {a_type(value)} of shape {tuple(value.shape)} for "
                f"{name}, a setting. First make the module, then call it: "
                f"{kind.__name__}({'' if free else '...'})({kind.data})"
            )
