"""What PyTorch has and this library has not: named, and told what to use instead."""

from __future__ import annotations

import dis
import sys
from typing import Any, NoReturn

from tinygrad_ce.engine.devices import not_here

TOP = {
    "cdist": "(a[:, None] - b).norm(dim=2)",
    "complex": "two float tensors, the real and the imaginary part",
    "complex64": "two float tensors, the real and the imaginary part",
    "complex128": "two float tensors, the real and the imaginary part",
    "count_nonzero": "(x != 0).sum()",
    "dstack": "cat(tensors, 2)",
    "fft": "numpy.fft on x.numpy(), without gradients",
    "fliplr": "flip(x, (1,))",
    "flipud": "flip(x, (0,))",
    "fx": "trace()",
    "ger": "outer",
    "hub": "load() of weights saved as safetensors",
    "inner": "einsum, or matmul",
    "istft": "einsum with a matrix of cosines",
    "jit": "compile() for speed, trace() for the program",
    "kron": "einsum, and reshape",
    "mps": "backends.mps, device='cpu'",
    "multiprocessing": "Python's multiprocessing, or threads",
    "nested": "nn.utils.rnn.pad_sequence",
    "onnx": "export(model, x, 'model.onnx')",
    "profiler": "Python's cProfile, or trace(f, x).table() for the cost of each line",
    "quantization": "float16",
    "quantize_per_tensor": "float16",
    "row_stack": "vstack",
    "set_default_tensor_type": "set_default_dtype(dtype)",
    "sparse": "dense tensors, or scipy.sparse outside the graph",
    "sparse_coo_tensor": "zeros() and x[i, j] = v",
    "sparse_csr_tensor": "dense tensors, or scipy.sparse outside the graph",
    "special": "the functions of the same names at the top level",
    "std_mean": "x.std() and x.mean()",
    "stft": "x.unfold() and a matrix of cosines",
    "swapdims": "transpose",
    "tensordot": "einsum",
    "trapezoid": "((y[1:] + y[:-1]) / 2 * (x[1:] - x[:-1])).sum()",
    "tril_indices": "tril(ones(n, n)).nonzero().T",
    "triu_indices": "triu(ones(n, n)).nonzero().T",
    "var_mean": "x.var() and x.mean()",
    "version": "__version__",
}
LAYERS = {
    "AdaptiveMaxPool2d": "MaxPool2d with a kernel_size",
    "BatchNorm3d": "BatchNorm1d of x.flatten(2)",
    "Bilinear": "einsum with a Parameter",
    "CELU": "ELU",
    "Conv3d": "Conv2d over slices",
    "EmbeddingBag": "Embedding, and mean(dim)",
    "GLU": "a * sigmoid(b) of the halves, x.chunk(2, -1)",
    "Hardtanh": "x.clamp(-1, 1)",
    "InstanceNorm1d": "GroupNorm(C, C)",
    "InstanceNorm2d": "GroupNorm(C, C)",
    "LocalResponseNorm": "BatchNorm2d",
    "MarginRankingLoss": "relu(margin - y * (a - b)).mean()",
    "MaxPool3d": "MaxPool2d over slices",
    "Mish": "x * tanh(softplus(x))",
    "PReLU": "LeakyReLU",
    "PixelShuffle": "reshape and permute",
    "PoissonNLLLoss": "(x.exp() - y * x).mean()",
    "ReLU6": "x.clamp(0, 6)",
    "SELU": "ELU",
    "Softmin": "Softmax of -x",
    "Softsign": "x / (1 + x.abs())",
    "SyncBatchNorm": "BatchNorm2d",
    "Upsample": "x.repeat_interleave(n, 2).repeat_interleave(n, 3)",
    "ZeroPad2d": "functional.pad",
    "quantized": "float16",
}
FUNCTIONS = {
    "conv3d": "conv2d over slices",
    "embedding_bag": "embedding, and mean(dim)",
    "glu": "a * sigmoid(b) of the halves, x.chunk(2, -1)",
    "grid_sample": "x[..., i, j]",
    "hardtanh": "x.clamp(-1, 1)",
    "instance_norm": "group_norm(x, C)",
    "interpolate": "x.repeat_interleave(n, 2).repeat_interleave(n, 3)",
    "mish": "x * tanh(softplus(x))",
    "pixel_shuffle": "reshape and permute",
    "poisson_nll_loss": "(x.exp() - y * x).mean()",
    "prelu": "where(x > 0, x, a * x)",
    "relu6": "x.clamp(0, 6)",
    "selu": "elu",
    "softmin": "softmax of -x",
    "softsign": "x / (1 + x.abs())",
    "upsample": "x.repeat_interleave(n, 2).repeat_interleave(n, 3)",
}
INSTEAD = {
    "tinygrad_ce": TOP,
    "tinygrad_ce.nn": LAYERS,
    "tinygrad_ce.nn.functional": FUNCTIONS,
    "tinygrad_ce.optim": {
        "ASGD": "SGD, and a mean of its weights",
        "Adafactor": "Adam",
        "Adamax": "Adam",
        "Muon": "SGD with momentum",
        "NAdam": "Adam",
        "RAdam": "Adam, with lr_scheduler.LinearLR to warm up",
        "Rprop": "RMSprop",
        "SparseAdam": "Adam: gradients are dense",
        "swa_utils": "a second model, whose weights are the mean",
    },
    "tinygrad_ce.optim.lr_scheduler": {
        "CyclicLR": "OneCycleLR, or LambdaLR with a formula of the epoch",
        "MultiplicativeLR": "LambdaLR, whose function gives the product of all factors",
    },
    "tinygrad_ce.utils.data": {
        "ChainDataset": "an IterableDataset whose __iter__ goes through both",
        "DistributedSampler": "RandomSampler: there is one process",
        "StackDataset": "a Dataset whose __getitem__ gives a tuple or a dict",
        "datapipes": "an IterableDataset",
    },
    "tinygrad_ce.distributions": {
        "Independent": "log_prob(x).sum(-1), the sum over the last dimension",
        "MultivariateNormal": "Normal, for each dimension alone",
        "OneHotCategorical": "nn.functional.one_hot of draws of Categorical",
        "RelaxedOneHotCategorical": "nn.functional.gumbel_softmax",
    },
    "tinygrad_ce.utils": {
        "checkpoint": "smaller batches: every value of the graph is kept",
        "bottleneck": "Python's cProfile",
        "cpp_extension": "engine.rule.rule, which makes an operation of a NumPy function",
        "mobile_optimizer": "save() and load()",
    },
}
"""Names of PyTorch that are left out on purpose, by where they are looked for."""


def refuse(where: str, name: str, instead: str = "") -> NoReturn:
    """Raise AttributeError for a name that is not there, with what to use where that is known."""
    instead = INSTEAD.get(where, {}).get(name, instead)
    if not instead:
        raise AttributeError(f"module {where!r} has no attribute {name!r}")
    text = f"module {where!r} has no attribute {name!r}: it is left out here; use {instead}"
    raise ImportError(text) if imports_it() else AttributeError(text)


def imports_it() -> bool:
    """Whether the user's line is `from x import y`: of an AttributeError it would drop the text."""
    frame: Any = sys._getframe(3)  # behind refuse and the module's __getattr__
    return bool(frame.f_code.co_code[frame.f_lasti] == IMPORT_FROM)


IMPORT_FROM = dis.opmap["IMPORT_FROM"]


def not_called(where: str, name: str, known: str) -> Any:
    """A function of what is not here, one of the known: it can be looked up, not called."""
    if name not in known.split():
        refuse(where, name)

    def refused(*args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(not_here(f"{where.removeprefix('tinygrad_ce.')}.{name}"))

    refused.__name__ = name
    return refused
