"""Modules to build networks from, with PyTorch's names."""

from typing import Any

from tinygrad_ce.nn import functional, init, utils
from tinygrad_ce.nn.activations import (
    GELU,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tinygrad_ce.nn.containers import ModuleDict, ModuleList, ParameterList, Sequential
from tinygrad_ce.nn.convolution import Conv2d
from tinygrad_ce.nn.dropout import Dropout
from tinygrad_ce.nn.linear import Embedding, Flatten, Identity, Linear
from tinygrad_ce.nn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
)
from tinygrad_ce.nn.module import Module
from tinygrad_ce.nn.normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from tinygrad_ce.nn.parallel import DataParallel as DataParallel
from tinygrad_ce.nn.parameter import Parameter
from tinygrad_ce.nn.pooling import AvgPool2d, MaxPool2d

__all__ = [
    "GELU",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ParameterList",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "functional",
    "init",
    "utils",
]


def __getattr__(name: str) -> Any:
    from tinygrad_ce.absent import refuse

    refuse(__name__, name)
