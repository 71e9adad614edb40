"""Training steps that no pass was written for: what they gain by `tg.compile`, and by each pass.

Each is a function of "compile" that gives a step without arguments; with `eager` in its place the
same step runs as it is. `python -m tests.benchmarks --untuned` prints compiled / eager;
`--ablate` also what the compiled step takes without each pass, W1 to W8 included.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import tinygrad_ce as tg
from tests.benchmarks import in_tinygrad_ce
from tests.benchmarks.tables import Table
from tests.benchmarks.workloads import WORKLOADS
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F
from tinygrad_ce.program import running
from tinygrad_ce.program.passes import order

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]
Step = Callable[[], Any]
BATCH_SECONDS = 0.05


def eager(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step as it is."""
    return step


def training(
    compile: Compile,
    model: Any,
    loss_of: Callable[..., tg.Tensor],
    *batch: tg.Tensor,
    adam: bool = False,
) -> Step:
    """Forward, backward and update on one batch."""
    parameters = list(model.parameters())
    optimiser = tg.optim.Adam(parameters, 1e-3) if adam else tg.optim.SGD(parameters, 1e-3)

    @compile
    def step(*batch: tg.Tensor) -> tg.Tensor:
        optimiser.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        optimiser.step()
        return loss

    return lambda: step(*batch)


def tanh_network(compile: Compile) -> Step:
    model = nn.Sequential(
        nn.Linear(100, 300), nn.Tanh(), nn.Linear(300, 100), nn.Tanh(), nn.Linear(100, 5)
    )
    x, y = tg.randn(64, 100), tg.randint(0, 5, (64,))
    return training(compile, model, lambda x, y: F.cross_entropy(model(x), y), x, y)


class Recurrent(nn.Module):
    """h = tanh(W x + U h), unrolled."""

    def __init__(self, inputs: int = 16, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.inner, self.outer = nn.Linear(inputs, width), nn.Linear(width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        h = tg.zeros(x.shape[1], self.width)
        for t in range(x.shape[0]):
            h = (self.inner(x[t]) + self.outer(h)).tanh()
        y: tg.Tensor = self.out(h)
        return y


def recurrent_network(compile: Compile) -> Step:
    model = Recurrent()
    x, y = tg.randn(20, 16, 16), tg.randn(16, 1)
    return training(compile, model, lambda x, y: F.mse_loss(model(x), y), x, y)


def embedding(compile: Compile) -> Step:
    model = nn.Sequential(nn.Embedding(8000, 128), nn.Flatten(), nn.Linear(4 * 128, 20))
    ids, y = tg.randint(0, 8000, (256, 4)), tg.randint(0, 20, (256,))
    return training(compile, model, lambda x, y: F.cross_entropy(model(x), y), ids, y)


def colour_images(compile: Compile) -> Step:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 64, 10),
    )  # fmt: skip
    x, y = tg.randn(16, 3, 32, 32), tg.randint(0, 10, (16,))
    return training(compile, model, lambda x, y: F.cross_entropy(model(x), y), x, y)


class Block(nn.Module):
    """Causal attention and a network with GELU, each on what layer norm makes of the sum so far."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.network = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        scores = q @ k.mT / math.sqrt(width // self.heads)
        later = tg.ones(length, length).triu(1) > 0
        weights = scores.masked_fill(later, -math.inf).softmax(-1)
        x = x + self.projection((weights @ v).transpose(1, 2).reshape(batch, length, width))
        y: tg.Tensor = x + self.network(self.norm2(x))
        return y


def small_gpt(compile: Compile, layers: int = 2, width: int = 32, words: int = 65) -> Step:
    model = nn.Sequential(
        nn.Embedding(words, width),
        *(Block(width, 4) for _ in range(layers)),
        nn.LayerNorm(width),
        nn.Linear(width, words),
    )
    ids = tg.randint(0, words, (8, 33))
    x, y = ids[:, :-1], ids[:, 1:].reshape(-1)

    def loss_of(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        return F.cross_entropy(model(x).reshape(-1, words), y)

    return training(compile, model, loss_of, x, y, adam=True)


def autoencoder(compile: Compile) -> Step:
    model = nn.Sequential(
        nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 8), nn.Linear(8, 64), nn.ReLU(),
        nn.Linear(64, 784), nn.Sigmoid(),
    )  # fmt: skip
    x = tg.rand(64, 784)
    return training(compile, model, lambda x: F.mse_loss(model(x), x), x, adam=True)


def oscillator(compile: Compile) -> Step:
    """A network that is to solve u'' + u = 0: its loss has second derivatives."""
    model = nn.Sequential(
        nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)
    )

    def loss_of(t: tg.Tensor) -> tg.Tensor:
        t = t.clone().requires_grad_()
        u = model(t)
        (slope,) = tg.autograd.grad(u.sum(), t, create_graph=True)
        (bend,) = tg.autograd.grad(slope.sum(), t, create_graph=True)
        return (bend + u).square().mean() + (u[0] - 1.0).square().sum()

    return training(compile, model, loss_of, tg.linspace(0, 1, 50).reshape(-1, 1), adam=True)


UNTUNED: dict[str, tuple[str, Callable[[Compile], Step]]] = {
    "U1": ("MLP 100-300-100-5 with tanh, batch 64", tanh_network),
    "U2": ("recurrent network, 20 steps, width 32", recurrent_network),
    "U3": ("embedding 8,000 × 128, 1,024 words", embedding),
    "U4": ("two convolutions, 16 images 3 × 32 × 32", colour_images),
    "U5": ("GPT of two layers, 8 × 32 words, width 32", small_gpt),
    "U6": ("autoencoder 784-64-8-64-784, batch 64", autoencoder),
    "U7": ("u'' + u = 0 by a network, 50 points", oscillator),
}


def from_workload(name: str, compile: Compile) -> Step:
    """W1 to W8 as one of these."""
    build: Any = in_tinygrad_ce.RUNS[name]["tinygrad_ce"]
    run = build(WORKLOADS[name].data(), compile=compile)
    step: Step = run.step
    return step


def cpu_seconds(step: Step, times: int) -> float:
    """CPU time per call: a busy machine does not count."""
    start = time.process_time()
    for _ in range(times):
        step()
    return (time.process_time() - start) / times


def ready(build: Callable[[Compile], Step], compile: Compile, rounds: int) -> tuple[Step, int]:
    """A step, and how often to call it in each of `rounds` batches.

    A compiled one compares in calls 2, 4, 8, ... and prepares its usual call in the one after:
    so many were made before that all batches lie between two of these.
    """
    tg.manual_seed(0)
    step = build(compile)
    for _ in range(5):
        step()
    times = max(1, int(BATCH_SECONDS / max(cpu_seconds(step, 2), 1e-6)))
    for _ in range((1 << (rounds * times).bit_length()) - 5):
        step()
    return step, times


def ratios(
    build: Callable[[Compile], Step], kinds: dict[str, Compile], against: str, rounds: int
) -> dict[str, float]:
    """Time of each kind of the same step over that of `against`, medians of interleaved rounds."""
    steps = {name: ready(build, compile, rounds) for name, compile in kinds.items()}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, (step, times) in steps.items():
            taken[name].append(cpu_seconds(step, times))
    return {
        name: statistics.median(own / base for own, base in zip(taken[name], taken[against]))
        for name in steps
    }


def untuned_table(rounds: int) -> Table:
    """compiled / eager of each program."""
    rows = []
    for name, (title, build) in UNTUNED.items():
        found = ratios(build, {"eager": eager, "compiled": tg.compile}, "eager", rounds)
        rows.append([f"{name} {title}", f"{found['compiled']:.2f}"])
    return Table(["", "compiled / eager"], rows)


PASSES = {change.__name__.removeprefix("with_"): change for change in order.FAST}


@contextmanager
def without(name: str) -> Iterator[None]:
    """Compile without a pass, or with parameters that are updated one by one."""
    fast, optimised = order.FAST, running.optimised
    try:
        if name == "flat parameters":
            running.optimised = lambda program, failed, pack: optimised(program, failed, False)
        order.FAST = tuple(change for change in fast if change is not PASSES.get(name))
        yield
    finally:
        order.FAST, running.optimised = fast, optimised


def compiled_without(name: str) -> Compile:
    """`tg.compile` without a pass; the programs are made in the first calls."""

    def compile(step: Callable[..., Any]) -> Callable[..., Any]:
        compiled = tg.compile(step)

        def call(*args: Any) -> Any:
            if compiled.runners:
                return compiled(*args)
            with without(name):
                return compiled(*args)

        return call

    return compile


def ablation_table(names: list[str], rounds: int) -> Table:
    """Time without each pass over the time with all: above 1 is what the pass gains."""
    kinds: dict[str, Compile] = {
        name: compiled_without(name) for name in ("nothing", *PASSES, "flat parameters")
    }
    builds = {name: partial(from_workload, name) for name in names}
    builds |= {name: build for name, (_, build) in UNTUNED.items()}
    found = {name: ratios(build, kinds, "nothing", rounds) for name, build in builds.items()}
    rows = [
        [without_, *(f"{found[name][without_]:.2f}" for name in builds)]
        for without_ in kinds
        if without_ != "nothing"
    ]
    return Table(["time without", *builds], rows)
