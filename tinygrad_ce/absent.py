"""What PyTorch has and this library has not: named, and told what to use instead."""

from __future__ import annotations

from typing import Any, NoReturn

from tinygrad_ce.engine.devices import not_here

INSTEAD = {
    "tinygrad_ce": {
        "bits8": "uint8",
        "complex64": "two float tensors, the real and the imaginary part",
        "complex128": "two float tensors, the real and the imaginary part",
        "complex": "two float tensors, the real and the imaginary part",
        "fft": "numpy.fft on x.numpy(), without gradients",
        "hub": "load() for weights saved as safetensors",
        "jit": "compile() for speed, trace() for the program",
        "multiprocessing": "Python's multiprocessing, or threads",
        "onnx": "trace() and the text of source()",
        "profiler": "Python's cProfile, or trace(f, x).table() for the cost of each line",
        "quantization": "float16",
        "quantize_per_tensor": "float16",
        "set_default_tensor_type": "set_default_dtype(dtype)",
        "sparse": "dense tensors, or scipy.sparse outside the graph",
        "sparse_coo_tensor": "zeros() and x[i, j] = v",
        "special": "the functions of the same name at the top level",
        "stft": "unfold() and a matrix of cosines",
        "tensorboard": "viz.Recorder and viz.plot_history",
        "vmap": "func.vmap",
        "xpu": "device='cpu'",
    },
    "tinygrad_ce.nn": {
        "Conv3d": "Conv2d over slices",
        "quantized": "float16",
        "SyncBatchNorm": "BatchNorm2d",
    },
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


def refuse(where: str, name: str) -> NoReturn:
    """Raise AttributeError for a name that is not there, with what to use where that is known."""
    instead = INSTEAD.get(where, {}).get(name)
    known = f": it is left out here; use {instead}" if instead else ""
    raise AttributeError(f"module {where!r} has no attribute {name!r}{known}")


def not_called(where: str, name: str, known: str) -> Any:
    """A function of what is not here, one of the known: it can be looked up, not called."""
    if name not in known.split():
        refuse(where, name)

    def refused(*args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(not_here(f"{where.removeprefix('tinygrad_ce.')}.{name}"))

    refused.__name__ = name
    return refused
