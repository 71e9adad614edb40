"""Short scripts about data, run with PyTorch or with this library; each returns what it has seen.

PyTorch's answers are frozen in ``data/data_cases.json`` by ``python tests/data_cases.py``, which
needs torch; the tests do not.
"""

import json
import warnings
from collections import OrderedDict, defaultdict, namedtuple
from pathlib import Path

import numpy as np

FROZEN = Path(__file__).with_name("data") / "data_cases.json"
Point = namedtuple("Point", ["x", "y"])


def shown(x):
    """Tensors with dtype and shape, containers with their kind, as plain lists."""
    if hasattr(x, "detach"):
        dtype = str(x.dtype).removeprefix("torch.")
        return [dtype, list(x.shape), x.detach().tolist(), x.requires_grad]
    if isinstance(x, dict):
        return {type(x).__name__: {str(k): shown(v) for k, v in x.items()}}
    if isinstance(x, (list, tuple)):
        return [type(x).__name__, *map(shown, x)]
    return x.decode() if isinstance(x, bytes) else repr(x)


def drawn(lib):
    """What is drawn next: whether as much was drawn before."""
    return lib.randint(0, 1000, (2,)).tolist()


def listed(loader):
    return [shown(batch) for batch in loader]


def table(lib, n=7):
    x = lib.arange(2.0 * n).reshape(n, 2) / 4
    return lib.utils.data.TensorDataset(x, lib.arange(n) % 3)


def weighted(lib):
    d = lib.utils.data
    lib.manual_seed(1)
    some = d.WeightedRandomSampler([0.1, 0.0, 3.0, 1.0], 6)
    each = d.WeightedRandomSampler(lib.tensor([1.0, 2.0, 3.0, 4.0]), 3, replacement=False)
    loader = d.DataLoader(table(lib, 4), batch_size=4, sampler=some)
    return [list(some), list(some), len(some), list(each), listed(loader), drawn(lib)]


def subset_at_random(lib):
    d = lib.utils.data
    lib.manual_seed(2)
    sampler = d.SubsetRandomSampler([5, 1, 3, 0])
    loader = d.dataloader.DataLoader(table(lib), 3, sampler=sampler, drop_last=True)
    g = lib.Generator()
    g.manual_seed(3)
    given = d.sampler.SubsetRandomSampler(range(4), generator=g)
    return [list(sampler), len(sampler), listed(loader), len(loader), list(given), drawn(lib)]


def joined(lib):
    d = lib.utils.data
    lib.manual_seed(3)
    both = table(lib, 3) + table(lib, 2)
    three = d.ConcatDataset([both, table(lib, 1)])
    sizes = [len(both), both.cumulative_sizes, three.cumulative_sizes, shown(three[-1])]
    return [*sizes, listed(d.DataLoader(three, 4, True)), drawn(lib)]


def streamed(lib):
    d = lib.utils.data

    class Stream(d.IterableDataset):
        def __init__(self, n):
            self.n = n

        def __iter__(self):
            assert d.get_worker_info() is None
            return iter([*lib.rand(self.n).tolist(), 1.0])

        def __len__(self):
            return self.n + 1

    lib.manual_seed(4)
    found = []
    for options in ({}, {"batch_size": 3}, {"batch_size": 3, "drop_last": True}):
        loader = d.DataLoader(Stream(3), **options)
        found += [len(loader), [[round(v, 5) for v in b.tolist()] for b in loader]]
    loader = d.DataLoader(Stream(2), batch_size=None)
    return [*found, [len(loader), *(type(x).__name__ for x in loader)], drawn(lib)]


def one_by_one(lib):
    d = lib.utils.data
    lib.manual_seed(5)
    rows = [{"a": np.float32(i), "b": (i, np.ones(2) * i)} for i in range(3)]
    return [
        listed(d.DataLoader(rows, None, True)),
        listed(d.DataLoader(range(3), None)),
        drawn(lib),
    ]


def with_all_options(lib):
    d = lib.utils.data
    lib.manual_seed(6)
    g = lib.Generator().manual_seed(7)
    loader = d.DataLoader(
        table(lib), 3, True, None, None, 0, None, False, True, 0, None, None, g,
        prefetch_factor=None, persistent_workers=False, pin_memory_device="", in_order=True,
    )  # fmt: skip
    names = ("batch_size", "drop_last", "num_workers", "prefetch_factor", "pin_memory", "timeout")
    kinds = [type(loader.sampler).__name__, type(loader.batch_sampler).__name__]
    found = [kinds, [getattr(loader, name) for name in names], listed(loader), listed(loader)]
    batches = iter(loader)
    return [*found, len(batches), shown(next(batches)), drawn(lib)]


def a_batch_sampler_that_draws(lib):
    d = lib.utils.data

    class Pairs(d.Sampler):
        def __iter__(self):
            order = lib.randperm(6).tolist()
            return iter([order[:2], order[2:4], order[4:]])

        def __len__(self):
            return 3

    class Order(d.Sampler):
        def __iter__(self):
            return iter(lib.randperm(6).tolist())

        def __len__(self):
            return 6

    lib.manual_seed(7)
    found = [listed(d.DataLoader(range(6), batch_sampler=Pairs())) for _ in range(2)]
    found += [listed(d.DataLoader(table(lib, 6), batch_sampler=Pairs()))]
    found += [listed(d.DataLoader(table(lib, 6), 4, sampler=Order()))]
    found += [listed(d.DataLoader(range(6), None, sampler=Order()))]
    return [*found, drawn(lib)]


def batches_asked_for_at_once(lib):
    d = lib.utils.data

    class Squares(d.Dataset):
        def __getitems__(self, indices):
            return [i * i for i in indices] + [0.5]

        def __len__(self):
            return 5

    return listed(d.DataLoader(Squares(), 2))


def split_and_loaded(lib):
    d = lib.utils.data
    lib.manual_seed(8)
    train, test = d.random_split(table(lib, 10), [0.7, 0.3])
    parts = d.random_split(range(10), [3, 7], generator=lib.Generator().manual_seed(42))
    first = listed(d.DataLoader(train, batch_size=4, shuffle=True))
    sizes = [len(train), len(test), train.indices, [list(part) for part in parts]]
    return [*sizes, first, listed(d.DataLoader(test, 2)), drawn(lib)]


def graphs(lib):
    d = lib.utils.data
    x = lib.arange(6.0).requires_grad_()
    found = []
    for dataset in (d.TensorDataset(x), [x[i] for i in range(6)]):
        for batch in d.DataLoader(dataset, 4):
            batch = batch[0] if isinstance(batch, list) else batch
            (batch * batch).sum().backward(retain_graph=True)
            found.append(shown(batch))
        found.append(x.grad.tolist())
        with lib.no_grad():
            found += listed(d.DataLoader(dataset, 4))
    return found


def collated(lib):
    t = lib.tensor
    samples = [
        [1.5, 2.5], [2.5, 1], [1, 2.5], [1, 2], [True, False], [2**40], ["a", "b"], [b"a", b"b"],
        [np.float32(0.5)], [np.float64(0.5)], [np.int32(1)], [np.uint8(1), np.uint8(2)],
        [np.bool_(True)], [np.int8(3), np.int64(4)], [np.float32(1), np.float64(2)],
        [("a", 1), ("b", 2)], [[1, "x"], [2, "y"]], [(1.5, [2, (3, "z")])] * 2, [(), ()], [[], []],
        [{"a": 1.5, "b": "s"}, {"b": "t", "a": 2.5}], [OrderedDict(a=1)], [range(2), range(2)],
        [defaultdict(list, a=1)] * 2, [Point(1, 2.0), Point(3, 4.0)], [np.ones(2, np.float32)] * 2,
        [(np.zeros((2, 1)), 3)], [np.arange(2), np.arange(2)], [t(1), t(2)], [t([1.0]), t([2.0])],
        [t([1.0]), t([2.0]).double()], [t([True]), t([False])],
        [t([1.0]), t([2])], [t([1]), t([2.0])], [t([1]), t([True])],
    ]  # fmt: skip
    collate = lib.utils.data.dataloader.default_collate
    return [shown(collate(batch)) for batch in samples]


def converted(lib):
    convert = lib.utils.data.default_convert
    samples = [1.5, np.float64(2), np.ones(2, int), (1, np.ones(2)), [np.ones(1)], "a", b"a", None,
               {"a": np.ones(1)}, Point(1, np.ones(1)), lib.ones(1), OrderedDict(b=(1,)),
               range(2)]  # fmt: skip
    return [shown(convert(x)) for x in samples]


def an_epoch_and_a_half(lib):
    d = lib.utils.data
    lib.manual_seed(9)
    loader = d.DataLoader(table(lib, 10), batch_size=3, shuffle=True)
    seen = [shown(batch) for _, (batch, _) in zip(range(6), iter_forever(loader))]
    return [seen, drawn(lib)]


def iter_forever(loader):
    while True:
        yield from loader


def workers(lib):
    d = lib.utils.data
    lib.manual_seed(10)
    options = {"num_workers": 2, "worker_init_fn": print_nothing, "timeout": 30}
    first = d.DataLoader(table(lib), 3, True, **options, prefetch_factor=4, pin_memory=False)
    stays = d.DataLoader(table(lib), 3, True, **options, persistent_workers=True)
    found = [listed(first), listed(first), drawn(lib)]
    return [*found, listed(stays), listed(stays), drawn(lib), first.prefetch_factor]


def print_nothing(worker):
    """A worker_init_fn."""


CASES = [weighted, subset_at_random, joined, streamed, one_by_one, with_all_options,
         a_batch_sampler_that_draws, batches_asked_for_at_once, split_and_loaded, graphs, collated,
         converted, an_epoch_and_a_half, workers]  # fmt: skip


def main():
    import torch

    warnings.simplefilter("ignore")
    found = {case.__name__: case(torch) for case in CASES}
    lines = [f'"{name}": {json.dumps(answer)}' for name, answer in found.items()]
    FROZEN.write_text("{" + ",\n".join(lines) + "}\n")
    print(f"{len(found)} scripts, {FROZEN.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
