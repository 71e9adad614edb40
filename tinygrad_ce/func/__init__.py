"""Functions of functions: derivatives and vmap, of functions of tensors and of trees of them."""

from tinygrad_ce.autograd.vmapping import vmap
from tinygrad_ce.func.modules import functional_call, stack_module_state
from tinygrad_ce.func.transforms import (
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    vjp,
)

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "stack_module_state",
    "vjp",
    "vmap",
]


def __dir__() -> list[str]:
    return __all__
