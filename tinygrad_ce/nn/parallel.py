"""A model on several devices: there is one, so DataParallel is the model itself, under a name."""

from typing import Any

from tinygrad_ce.engine.devices import not_here
from tinygrad_ce.nn.module import Module


class DataParallel(Module):
    """Each device computes a part of the batch; the one device here all of it.

    The model is `module`, and its parameters have that name in front.

    >>> from tinygrad_ce import nn
    >>> [name for name, _ in DataParallel(nn.Linear(2, 1)).named_parameters()]
    ['module.weight', 'module.bias']
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0
    ) -> None:
        if device_ids:
            raise RuntimeError(not_here(f"DataParallel(device_ids={device_ids!r})"))
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model computes."""
        return self.module(*args, **kwargs)


class DistributedDataParallel(Module):
    """Each process computes a part of the batch: not here. Raises RuntimeError when it is made."""

    def __init__(self, module: Module, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(not_here("DistributedDataParallel"))
