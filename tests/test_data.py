"""Datasets and loaders, against orders frozen from PyTorch by ``data/make_data.py``."""

import json
from collections import namedtuple
from pathlib import Path

import data_cases
import numpy as np
import pytest

import tinygrad_ce
from tinygrad_ce import random, tensor
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.random import Generator
from tinygrad_ce.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)

FROZEN = json.loads(Path(__file__).parent.joinpath("data", "data.json").read_text())
END = 2**31

Point = namedtuple("Point", ["x", "y"])


def probe(generator):
    """The number that the generator would draw next; it is not drawn."""
    twin = Generator().set_state(generator.get_state())
    return int(twin.randint(0, END, ()))


def seeded(case):
    random.manual_seed(case["seed"])
    return Generator().manual_seed(case["seed"] + 1) if case["given"] else None


def step(name, given, samples=None):
    return [name, samples, probe(random.default_generator), given and probe(given)]


def named(case):
    return " ".join(f"{key}={value}" for key, value in case.items() if key != "trace")


@pytest.fixture(autouse=True)
def default_generator_as_before():
    state = random.get_rng_state()
    yield
    random.set_rng_state(state)


class Rows(TensorDataset):
    """A TensorDataset that the loader cannot take apart: batches are made sample by sample."""

    def __getitem__(self, index):
        return super().__getitem__(index)


DATASETS = {
    "list": lambda n: list(range(n)),
    "tensor": lambda n: tensor(np.arange(n)),
    "tensors at once": lambda n: TensorDataset(tensor(np.arange(n))),
    "tensors one by one": lambda n: Rows(tensor(np.arange(n))),
    "subset at once": lambda n: Subset(
        Subset(TensorDataset(tensor(np.arange(n + 2))), list(range(n + 1, -1, -1))),
        list(range(n + 1, 1, -1)),
    ),
}


# --- PyTorch's order ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize("case", FROZEN["loaders"], ids=named)
def test_batches_and_draws_are_pytorchs(case, kind):
    given = seeded(case)
    loader = DataLoader(
        DATASETS[kind](case["n"]),
        case["batch_size"],
        case["shuffle"],
        drop_last=case["drop_last"],
        generator=given,
    )
    trace = []
    for limit in case["epochs"]:
        batches = iter(loader)
        trace.append(step("iter", given))
        for _ in range(10**6 if limit is None else limit):
            batch = next(batches, None)
            if batch is None:
                trace.append(step("end", given))
                break
            (batch,) = batch if isinstance(batch, list) else [batch]
            assert isinstance(batch, Tensor)
            trace.append(step("batch", given, batch.tolist()))
    assert trace == case["trace"]


@pytest.mark.parametrize("case", FROZEN["samplers"], ids=named)
def test_a_random_sampler_is_pytorchs(case):
    given = seeded(case)
    sampler = RandomSampler(range(case["n"]), case["replacement"], case["num_samples"], given)
    for expected in case["trace"]:
        indices = list(sampler)
        assert step("indices", given, indices) == expected
        assert len(sampler) == len(indices)
        assert all(type(index) is int for index in indices)


@pytest.mark.parametrize("case", FROZEN["splits"], ids=named)
@pytest.mark.filterwarnings("ignore:random_split")
def test_a_random_split_is_pytorchs(case):
    given = seeded(case)
    parts = random_split(range(case["n"]), case["lengths"], given)
    assert [step("split", given, [list(part) for part in parts])] == case["trace"]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_batches_of_indices_as_arrays_are_those_as_lists(count, drop_last):
    for sampler in (SequentialSampler(range(count)), list(range(count))):
        batches = BatchSampler(sampler, 3, drop_last)
        assert [batch.tolist() for batch in batches.arrays()] == list(batches)
        assert len(list(batches)) == len(batches)


def test_iterators_of_one_loader_go_on_side_by_side():
    loader = DataLoader(TensorDataset(tensor(np.arange(10))), 3, shuffle=True)
    first, second = iter(loader), iter(loader)
    firsts, seconds = [], []
    for (a,), (b,) in zip(first, second):
        firsts += a.tolist()
        seconds += b.tolist()
    assert sorted(firsts) == sorted(seconds) == list(range(10))
    assert firsts != seconds


ANSWERS = json.loads(data_cases.FROZEN.read_text())


@pytest.mark.parametrize("case", data_cases.CASES, ids=lambda case: case.__name__)
def test_a_script_sees_what_it_sees_with_pytorch(case):
    assert json.loads(json.dumps(case(tinygrad_ce))) == ANSWERS[case.__name__]


@pytest.mark.parametrize("case", data_cases.CASES[:-1], ids=lambda case: case.__name__)
def test_a_script_sees_what_it_sees_with_the_installed_pytorch(case):
    torch = pytest.importorskip("torch")
    assert json.dumps(case(tinygrad_ce)) == json.dumps(case(torch))


# --- what batches are ---------------------------------------------------------------------------


def pair(n=5):
    x = np.arange(2.0 * n, dtype=np.float32).reshape(n, 2)
    return x, np.arange(n) % 3


@pytest.mark.parametrize("kind", [TensorDataset, Rows])
@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: Subset(d, [4, 0, 2, 1, 3])])
def test_batches_are_the_rows_as_new_leaves(kind, wrap):
    x, y = pair()
    images = tensor(x)
    dataset = wrap(kind(images, tensor(y)))
    order = dataset.indices if isinstance(dataset, Subset) else range(5)
    rows = [list(order)[i : i + 2] for i in (0, 2, 4)]
    for batch, picked in zip(DataLoader(dataset, 2), rows, strict=True):
        assert type(batch) is list
        for got, source in zip(batch, (x, y), strict=True):
            np.testing.assert_array_equal(got.array, source[picked], strict=True)
            assert got.is_leaf and not got.requires_grad
            got.zero_()
    np.testing.assert_array_equal(images.array, x)


def test_a_batch_follows_the_tensor_when_it_is_written():
    x = tensor([1.0, 2.0])
    loader = DataLoader(TensorDataset(x), 2)
    x.data = tensor([3.0, 4.0])
    assert next(iter(loader))[0].tolist() == [3.0, 4.0]


class Counted(Tensor):
    """Counts how often it is indexed, one sample or many at a time."""

    __slots__ = ()
    indexed = 0

    def __getitem__(self, index):
        Counted.indexed += 1
        return super().__getitem__(index)


@pytest.mark.parametrize(
    "kind", [TensorDataset, lambda x, y: Subset(TensorDataset(x, y), range(6))]
)
def test_a_batch_of_a_tensor_dataset_is_not_taken_sample_by_sample(kind):
    x = Counted(np.arange(6.0))
    for dataset, each in ((kind(x, x), 0), (Rows(x, x), 2)):
        Counted.indexed = 0
        batches = [batch.tolist() for batch, _ in DataLoader(dataset, 4)]
        assert batches == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0]]
        assert Counted.indexed == 6 * each


@pytest.mark.parametrize(
    "samples, batch",
    [
        ([tensor([1.0, 2.0]), tensor([3.0, 4.0])], tensor([[1.0, 2.0], [3.0, 4.0]])),
        ([tensor(1.0), tensor(2.0)], tensor([1.0, 2.0])),
        ([np.float64([1, 2])] * 3, tensor(np.float64([[1, 2]] * 3))),
        ([np.zeros((0, 2))] * 2, tensor(np.zeros((2, 0, 2)))),
        ([np.uint8(3), np.uint8(4)], tensor(np.uint8([3, 4]))),
        ([np.float64(0.5)], tensor(np.float64([0.5]))),
        ([0.5, 1.5], tensor(np.float64([0.5, 1.5]))),
        ([1, 2], tensor(np.int64([1, 2]))),
        ([1, 2.5], tensor(np.float32([1, 2.5]))),
        ([True, False], tensor(np.array([True, False]))),
        ([b"a", b"b"], [b"a", b"b"]),
        ([("a", 1), ("b", 2)], [("a", "b"), tensor([1, 2])]),
        ([[1, (2, 3)], [4, (5, 6)]], [tensor([1, 4]), [tensor([2, 5]), tensor([3, 6])]]),
        ([{"p": 1, "q": 2}, {"q": 4, "p": 3}], {"p": tensor([1, 3]), "q": tensor([2, 4])}),
        ([{"p": 1, 2: 3}, {2: 4, "p": 5}], {"p": tensor([1, 5]), 2: tensor([3, 4])}),
        ([Point(1, 2), Point(3, 4)], Point(tensor([1, 3]), tensor([2, 4]))),
        ([(), ()], []),
    ],
)
def test_default_collate(samples, batch):
    assert_same(default_collate(samples), batch)


def assert_same(got, wanted):
    assert type(got) is type(wanted)
    if isinstance(got, Tensor):
        np.testing.assert_array_equal(got.array, wanted.array, strict=True)
    elif isinstance(got, dict):
        assert list(got) == list(wanted)
        assert_same(list(got.values()), list(wanted.values()))
    elif isinstance(got, (list, tuple)):
        for one, other in zip(got, wanted, strict=True):
            assert_same(one, other)
    else:
        assert got == wanted


def test_a_batch_of_what_needs_a_gradient_is_a_part_of_its_graph():
    w = tensor([1.0, 2.0], requires_grad=True)
    batch = default_collate([w * 2, w])
    batch.sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]
    with tinygrad_ce.no_grad():
        batch = default_collate([w * 2, w])
    assert batch.is_leaf and not batch.requires_grad
    batch.zero_()
    assert w.tolist() == [1.0, 2.0]


def test_collate_fn_gets_the_samples():
    loader = DataLoader(TensorDataset(tensor([1, 2, 3])), 2, collate_fn=lambda samples: samples)
    assert [[x.item() for (x,) in batch] for batch in loader] == [[1, 2], [3]]


# --- samplers of the user -----------------------------------------------------------------------


class EveryOther(Sampler[int]):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(0, self.n, 2))

    def __len__(self):
        return (self.n + 1) // 2


class Backwards(SequentialSampler):
    def __iter__(self):
        return iter(range(len(self) - 1, -1, -1))


@pytest.mark.parametrize("kind", [TensorDataset, Rows])
def test_samplers_give_the_order(kind):
    dataset = kind(tensor(np.arange(5)))

    def batches(**options):
        loader = DataLoader(dataset, **options)
        listed = [batch.tolist() for (batch,) in loader]
        assert len(listed) == len(loader)
        return listed

    assert batches(batch_size=2, sampler=EveryOther(5)) == [[0, 2], [4]]
    assert batches(batch_size=2, sampler=EveryOther(5), drop_last=True) == [[0, 2]]
    assert batches(batch_size=3, sampler=Backwards(dataset)) == [[4, 3, 2], [1, 0]]
    assert batches(batch_size=2, sampler=np.array([4, 4, -1])) == [[4, 4], [4]]
    assert batches(batch_sampler=[[1], [3, 2]]) == [[1], [3, 2]]
    assert batches(batch_sampler=BatchSampler(EveryOther(5), 2)) == [[0, 2], [4]]


def test_a_dataset_may_be_any_indexable():
    class Squares(Dataset[int]):
        def __getitem__(self, index):
            return index**2

        def __len__(self):
            return 3

    assert [batch.tolist() for batch in DataLoader(Squares(), 2)] == [[0, 1], [4]]
    assert list(DataLoader("abc", 2)) == [["a", "b"], ["c"]]
    assert list(DataLoader([], 2)) == []
    assert len(DataLoader(range(7), 3)) == 3
    assert len(DataLoader(range(7), 3, drop_last=True)) == 2


def test_arrays_are_copied_into_a_tensor_dataset_and_tensors_are_not():
    x, y = np.zeros((2, 3)), tensor([0, 1])
    dataset = TensorDataset(x, y)
    x += 1
    assert dataset.tensors[1] is y
    assert dataset.tensors[0].dtype == np.float64
    assert dataset[1][0].tolist() == [0, 0, 0]
    assert len(dataset) == 2


# --- errors -------------------------------------------------------------------------------------

TWO = TensorDataset(tensor([1, 2]))


class Stream(IterableDataset):
    pass


@pytest.mark.parametrize(
    "wrong, kind, words",
    [
        (lambda: TensorDataset(), ValueError, "no tensors"),
        (lambda: TensorDataset(tensor([1, 2]), tensor([[1]])), ValueError, "sizes 2, 1; wanted"),
        (lambda: TensorDataset(tensor(1)), ValueError, "0-d"),
        (lambda: TensorDataset((tensor([1]), tensor([2]))), TypeError, r"TensorDataset\(\*tensors"),
        (lambda: TensorDataset(tensor([1]), "ab"), TypeError, "argument 1 is a str"),
        (lambda: DataLoader(TWO, 0), ValueError, "batch_size=0"),
        (lambda: DataLoader(TWO, 2.0), TypeError, "batch_size of type float"),
        (lambda: DataLoader(TWO, True), TypeError, "batch_size of type bool"),
        (lambda: DataLoader(tensor([1]), tensor([1])), TypeError, r"TensorDataset\(x, y\)"),
        (lambda: DataLoader(TWO, shuffle=3), TypeError, "shuffle=3"),
        (lambda: DataLoader(TWO, shuffle=True, sampler=[]), ValueError, "one of them"),
        (lambda: DataLoader(TWO, 2, batch_sampler=[[1]]), ValueError, "alone"),
        (lambda: DataLoader(TWO, sampler=[], batch_sampler=[[1]]), ValueError, "alone"),
        (
            lambda: DataLoader(TWO, None, drop_last=True),
            ValueError,
            "batch_size=None and drop_last",
        ),
        (lambda: DataLoader(Stream(), shuffle=True), ValueError, "IterableDataset and shuffle"),
        (lambda: DataLoader(Stream(), sampler=[1]), ValueError, "shuffle in its __iter__"),
        (lambda: DataLoader(TWO, num_workers=-1), ValueError, "num_workers=-1"),
        (lambda: DataLoader(TWO, timeout=-1), ValueError, "timeout=-1"),
        (lambda: DataLoader(TWO, prefetch_factor=2), ValueError, "prefetch_factor and no workers"),
        (lambda: DataLoader(TWO, persistent_workers=True), ValueError, "persistent_workers and no"),
        (lambda: ConcatDataset([]), ValueError, "got no datasets"),
        (lambda: ConcatDataset([TWO, Stream()]), TypeError, "dataset 1 is an IterableDataset"),
        (lambda: (TWO + TWO)[4], IndexError, "index 4 of 4"),
        (lambda: (TWO + TWO)[-5], IndexError, "index -5 of 4"),
        (lambda: iter(Stream()), NotImplementedError, "Stream is an IterableDataset without"),
        (lambda: RandomSampler("ab", replacement=1), TypeError, "replacement=1; wanted True or Fa"),
        (lambda: WeightedRandomSampler([[1.0]], 1), ValueError, r"shape \(1, 1\); wanted one"),
        (lambda: WeightedRandomSampler([1.0], 0), ValueError, "num_samples=0"),
        (lambda: list(WeightedRandomSampler([-1.0, 2.0], 1)), ValueError, "negative"),
        (lambda: DataLoader(iter("ab")), TypeError, "no __getitem__ and no __len__"),
        (lambda: DataLoader([], shuffle=True), ValueError, "length 0"),
        (lambda: list(DataLoader(TWO, sampler=[2])), IndexError, "has 2 samples"),
        (lambda: list(DataLoader(TWO, sampler=[0.5])), TypeError, "float"),
        (lambda: list(DataLoader(Subset(TWO, [3]))), IndexError, "index 3"),
        (lambda: RandomSampler("ab", num_samples=0), ValueError, "num_samples=0"),
        (lambda: BatchSampler("ab", -1), ValueError, "batch_size=-1"),
        (lambda: Dataset()[0], NotImplementedError, "__getitem__"),
        (lambda: iter(Sampler()), NotImplementedError, "__iter__"),
        (lambda: random_split(range(5), [2, 2]), ValueError, "sum 4; the dataset has 5"),
        (lambda: random_split(range(5), [6, -1]), ValueError, ">= 0"),
        (lambda: random_split(range(5), [0.5, 0.6]), ValueError, "sum 1.1"),
        (lambda: random_split(range(5), [2.0, 3.0]), ValueError, r"\(int\)"),
        (lambda: random_split(range(5), [float("nan"), 1]), ValueError, ">= 0"),
        (lambda: default_collate([None]), TypeError, "NoneType"),
        (lambda: default_collate([1, "a"]), TypeError, "sample 1 a str"),
        (lambda: default_collate([(1,), 2]), TypeError, "sample 0 of the batch is a tuple"),
        (lambda: default_collate([{}, 2]), TypeError, "sample 1 an int"),
        (lambda: default_collate([tensor([1]), 2]), TypeError, "sample 1 an int"),
        (lambda: default_collate([(1,), (2, 3)]), ValueError, "length 1, sample 1 has 2"),
        (lambda: default_collate([{"a": 1}, {"b": 1}]), ValueError, "the keys"),
        (lambda: default_collate([tensor([1]), tensor([1, 2])]), ValueError, r"\(1,\), sample 1"),
        (lambda: default_collate([np.array(["a"])]), TypeError, "dtype <U1"),
    ],
)
def test_errors_say_what_arrived(wrong, kind, words):
    with pytest.raises(kind, match=words):
        wrong()


def test_a_wrong_split_draws_nothing():
    g = Generator().manual_seed(0)
    before = probe(g)
    with pytest.raises(ValueError):
        random_split(range(5), [2, 2], g)
    assert probe(g) == before


def test_a_fraction_that_comes_to_nothing_warns():
    with pytest.warns(UserWarning, match=r"0\.1 of 3 samples is no sample") as caught:
        parts = random_split(range(3), [0.9, 0.1])
    assert [len(part) for part in parts] == [3, 0]
    assert caught[0].filename == __file__


def test_a_dataset_needs_no_length_where_a_sampler_has_one():
    class Squares(Dataset):
        def __getitem__(self, index):
            return index**2

    assert [batch.tolist() for batch in DataLoader(Squares(), 2, sampler=[1, 3, 5])] == [
        [1, 9], [25]
    ]  # fmt: skip


def test_the_module_is_reached_from_the_top():
    assert tinygrad_ce.utils.data.DataLoader is DataLoader
