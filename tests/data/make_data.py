"""Freeze the order of PyTorch's loaders in ``data.json``; needs torch, the tests do not.

Run ``python tests/data/make_data.py``. Of every step (making the iterator, a batch, the end) is
written down which samples came, and which number the default generator and the given one would
draw next: so a draw too many, too few or too early is seen where it happens.
"""

import json
import warnings
from pathlib import Path

import torch
from torch.utils.data import DataLoader, RandomSampler, random_split

END = 2**31


def probe(generator):
    """The number that the generator would draw next; it is not drawn."""
    if generator is None:
        generator = torch.default_generator
    twin = torch.Generator()
    twin.set_state(generator.get_state())
    return torch.randint(0, END, (), generator=twin).item()


def seeded(case):
    """The generators of a case: the default one is seeded, and the given one, if any."""
    torch.manual_seed(case["seed"])
    return torch.Generator().manual_seed(case["seed"] + 1) if case["given"] else None


def step(name, given, samples=None):
    """One line of a trace."""
    return [name, samples, probe(None), probe(given) if given else None]


def loader_trace(case):
    """What a loader gives in some iterations, each left after so many steps (None: at the end)."""
    given = seeded(case)
    loader = DataLoader(
        range(case["n"]), case["batch_size"], case["shuffle"], drop_last=case["drop_last"],
        generator=given,
    )  # fmt: skip
    trace = []
    for limit in case["epochs"]:
        batches = iter(loader)
        trace.append(step("iter", given))
        while limit is None or limit > 0:
            limit = None if limit is None else limit - 1
            batch = next(batches, None)
            if batch is None:
                trace.append(step("end", given))
                break
            trace.append(step("batch", given, batch.tolist()))
    return trace


def sampler_trace(case):
    """The indices of a sampler, twice."""
    given = seeded(case)
    sampler = RandomSampler(range(case["n"]), case["replacement"], case["num_samples"], given)
    return [step("indices", given, list(sampler)) for _ in range(2)]


def split_trace(case):
    """The parts of a random_split."""
    given = seeded(case)
    options = {"generator": given} if given else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = random_split(range(case["n"]), case["lengths"], **options)
    return [step("split", given, [list(part) for part in parts])]


def loader_cases():
    """All options of a loader, with sizes that divide and that do not, and early breaks."""
    for n, batch_size in ((6, 2), (6, 3), (7, 3), (5, 1), (4, 9), (9, 9)):
        for shuffle in (False, True):
            for drop_last in (False, True):
                for given in (False, True):
                    yield {
                        "n": n,
                        "batch_size": batch_size,
                        "shuffle": shuffle,
                        "drop_last": drop_last,
                        "given": given,
                        "seed": n + batch_size,
                        "epochs": [None, None, 1, 0, None],
                    }
    yield {
        "n": 100,
        "batch_size": 16,
        "shuffle": True,
        "drop_last": False,
        "given": False,
        "seed": 2147483647,
        "epochs": [None, 3, None],
    }


def sampler_cases():
    """Fewer and more samples than there are, with and without replacement."""
    for given in (False, True):
        for replacement in (False, True):
            for num_samples in (None, 3, 7, 14, 64, 70):
                yield {
                    "n": 7,
                    "replacement": replacement,
                    "num_samples": num_samples,
                    "given": given,
                    "seed": 3,
                }


def split_cases():
    """Sizes and fractions, with rests to be given away."""
    lengths = (
        [10, 0],
        [7, 3],
        [2, 3, 5],
        [0.8, 0.2],
        [0.7, 0.2, 0.1],
        [0.33, 0.33, 0.34],
        [0.05, 0.95],
        [1 / 3, 1 / 3, 1 / 3],
        [1, 0],
        [0.25, 0.25, 0.25, 0.25],
    )
    for given in (False, True):
        for some in lengths:
            yield {"n": 10, "lengths": some, "given": given, "seed": 5}
    yield {"n": 1797, "lengths": [0.8, 0.1, 0.1], "given": False, "seed": 0}
    yield {"n": 0, "lengths": [0.5, 0.5], "given": True, "seed": 0}


def frozen(cases, trace):
    """Each case with its trace."""
    return [{**case, "trace": trace(case)} for case in cases]


def main():
    """Write ``data.json``, one case a line."""
    kinds = {
        "loaders": frozen(loader_cases(), loader_trace),
        "samplers": frozen(sampler_cases(), sampler_trace),
        "splits": frozen(split_cases(), split_trace),
    }
    parts = [
        f"{json.dumps(kind)}: [\n" + ",\n".join(map(json.dumps, cases)) + "\n]"
        for kind, cases in kinds.items()
    ]
    text = f'{{"torch": "{torch.__version__}",\n' + ",\n".join(parts) + "}\n"
    Path(__file__).with_name("data.json").write_text(text)


if __name__ == "__main__":
    main()
