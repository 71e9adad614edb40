"""Distributions in PyTorch or in this library: draws, densities, divergences and their gradients.

PyTorch's answers are frozen in ``data/distribution_cases.json`` by
``python tests/distribution_cases.py``, which needs torch; the tests do not.
"""

import json
from pathlib import Path

FROZEN = Path(__file__).with_name("data") / "distribution_cases.json"

LOC = [[-1.0, 0.5, 2.0], [0.25, -3.0, 1.5]]
SCALE = [[0.5, 1.0, 2.0], [3.0, 0.25, 1.0]]
LOGITS = [[-1.0, 0.0, 2.0], [0.5, -4.0, 30.0]]
PROBS = [[0.25, 0.5, 0.75], [0.0, 1.0, 0.1]]
WEIGHTS = [[1.0, 2.0, 5.0], [0.0, 3.0, 1.0]]

MAKE = {  # name -> distribution of parameters that are leaves
    "Normal": lambda d, t: d.Normal(t(LOC), t(SCALE)),
    "Normal-broadcast": lambda d, t: d.normal.Normal(t([0.5, 1.0, -1.0]), t([[2.0], [1.0]])),
    "Normal-number": lambda d, t: d.Normal(t(LOC), 2),
    "Normal-numbers": lambda d, t: d.Normal(0.5, 2.0),
    "Uniform": lambda d, t: d.Uniform(t(LOC), t([[3.0], [4.0]])),
    "Uniform-numbers": lambda d, t: d.uniform.Uniform(-1, 2),
    "Bernoulli": lambda d, t: d.Bernoulli(t(PROBS)),
    "Bernoulli-logits": lambda d, t: d.bernoulli.Bernoulli(logits=t(LOGITS)),
    "Bernoulli-number": lambda d, t: d.Bernoulli(0.25),
    "Categorical": lambda d, t: d.Categorical(t(WEIGHTS)),
    "Categorical-logits": lambda d, t: d.categorical.Categorical(logits=t(LOGITS)),
    "Categorical-one": lambda d, t: d.Categorical(probs=t([0.5, 0.25, 0.25])),
}
SHAPES = ((), (2, 2))  # with parameters of shape (2, 3): fewer than 16 draws, and more


def plain(x):
    """Numbers, shape and dtype."""
    return [str(x.dtype).removeprefix("torch."), list(x.shape), x.detach().tolist()]


def answer(call):
    """What it gives, or that there is none."""
    try:
        return call()
    except NotImplementedError:
        return "none"


def summed(lib, x):
    """A number with another weight for each finite element."""
    finite = x[lib.isfinite(x)]
    return (finite * (lib.arange(1.0, finite.numel() + 1.0) / 8)).sum()


def gradients(lib, make, function):
    """The value of a function of the distribution, and gradients of its parameters."""
    leaves = []

    def leaf(values):
        leaves.append(lib.tensor(values, dtype=lib.float64, requires_grad=True))
        return leaves[-1]

    y = function(make(lib.distributions, leaf))
    if not y.requires_grad:
        return [plain(y)]
    summed(lib, y).backward()
    return [plain(y), *("none" if x.grad is None else x.grad.tolist() for x in leaves)]


def everything(lib, name):
    """All that one distribution can say."""
    make = MAKE[name]
    q = make(lib.distributions, lib.tensor)
    found = {
        "repr": repr(q), "shapes": [list(q.batch_shape), list(q.event_shape)],
        "has_rsample": q.has_rsample,
    }  # fmt: skip
    for what in ("mean", "variance", "stddev", "mode", "probs", "logits"):
        if hasattr(type(q), what) and not ("Uniform" in name and what == "mode"):
            found[what] = plain(getattr(q, what))
    for shape in SHAPES if q.batch_shape else [*SHAPES, (17,)]:
        lib.manual_seed(3)
        found[f"sample {shape}"] = plain(q.sample(shape))
        found[f"rsample {shape}"] = answer(lambda s=shape: plain(q.rsample(s)))
    lib.manual_seed(4)
    wide = q.expand((2, *q.batch_shape))
    found["expanded"] = [list(wide.batch_shape), plain(wide.sample((2,)))]
    found["values"] = plain(wide.log_prob(wide.sample((2,))))
    lib.manual_seed(5)
    value = q.sample((3,))
    value = value if name == "Bernoulli-number" or value.dtype == lib.int64 else value.double()
    found["log_prob"] = gradients(lib, make, lambda q: q.log_prob(value))
    found["entropy"] = gradients(lib, make, lambda q: q.entropy())
    found["perplexity"] = plain(q.perplexity())
    if "Normal" in name or "Uniform" in name:
        found["cdf"] = gradients(lib, make, lambda q: q.cdf(value))
        lib.manual_seed(6)
        found["through draws"] = gradients(lib, make, lambda q: q.rsample((2,)) ** 2)
    return found


PAIRS = {
    "Normal": (MAKE["Normal"], MAKE["Normal-broadcast"]),
    "Normal-numbers": (MAKE["Normal"], lambda d, t: d.Normal(0.0, 1.0)),
    "Bernoulli": (MAKE["Bernoulli-logits"], lambda d, t: d.Bernoulli(t([[0.5, 0.25, 0.75]] * 2))),
    "Bernoulli-certain": (MAKE["Bernoulli"], lambda d, t: d.Bernoulli(t([[0.5] * 3, [1.0] * 3]))),
    "Bernoulli-impossible": (
        MAKE["Bernoulli-logits"],
        lambda d, t: d.Bernoulli(t([[0.0, 1.0, 0.5]] * 2)),
    ),
    "Categorical": (MAKE["Categorical-logits"], MAKE["Categorical-one"]),
    "Categorical-certain": (MAKE["Categorical"], MAKE["Categorical-one"]),
    "Categorical-impossible": (MAKE["Categorical-logits"], MAKE["Categorical"]),
    "Uniform": (MAKE["Uniform"], lambda d, t: d.Uniform(t([-5.0, 0.0, 0.0]), t([[9.0], [3.5]]))),
    "Uniform-Normal": (MAKE["Uniform"], MAKE["Normal"]),
    "Normal-Uniform": (MAKE["Normal"], MAKE["Uniform"]),
}


def divergence(lib, name):
    """KL(p‖q), with gradients of the parameters of both."""
    first, second = PAIRS[name]
    return gradients(
        lib,
        lambda d, t: (first(d, t), second(d, t)),
        lambda pq: lib.distributions.kl_divergence(*pq),
    )


def main():
    import torch

    found = {
        **{name: everything(torch, name) for name in MAKE},
        **{f"KL {name}": divergence(torch, name) for name in PAIRS},
    }
    lines = [f'"{name}": {json.dumps(rounded(answer))}' for name, answer in found.items()]
    FROZEN.write_text("{" + ",\n".join(lines) + "}\n")
    print(f"{len(found)} answers, {FROZEN.stat().st_size:,} bytes")


def rounded(x):
    """Eight digits."""
    if isinstance(x, float):
        return float(f"{x:.8g}")
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return [rounded(v) for v in x] if isinstance(x, list) else x


if __name__ == "__main__":
    main()
