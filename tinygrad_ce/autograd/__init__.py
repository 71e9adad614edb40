"""Derivatives as functions: gradients, products with the Jacobian, and checks of both."""

from tinygrad_ce.autograd import functional
from tinygrad_ce.autograd.anomaly import AnomalyError, detect_anomaly, set_detect_anomaly
from tinygrad_ce.autograd.check import GradcheckError, gradcheck, gradgradcheck, numerical_grad
from tinygrad_ce.autograd.derivatives import grad
from tinygrad_ce.autograd.function import Function
from tinygrad_ce.autograd.functional import hessian, jacobian, jvp, vjp
from tinygrad_ce.autograd.older import Variable, backward
from tinygrad_ce.engine.modes import enable_grad, is_grad_enabled, no_grad, set_grad_enabled

__all__ = [
    "AnomalyError",
    "Function",
    "GradcheckError",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "hessian",
    "is_grad_enabled",
    "jacobian",
    "jvp",
    "no_grad",
    "numerical_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
    "vjp",
]


def __dir__() -> list[str]:
    return __all__
