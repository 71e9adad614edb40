"""Freeze draws of PyTorch's CPU generator in ``random.json``; needs torch, the tests do not.

Run ``python tests/data/make_random.py``. Each case is a seed and a list of calls, made one after
the other; a call is written down with the arguments of `tinygrad_ce.random.Generator`'s method
and with what PyTorch drew.
"""

import base64
import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
import torch

INT64_END = 2**63
BIG = 200  # longer results are kept as a checksum and a few values


def array(values, dtype):
    """An argument that is an array, as JSON."""
    return {"array": [float(v) for v in np.asarray(values, dtype)], "dtype": dtype}


def matrix(rows, dtype):
    """An argument that is a matrix, as JSON."""
    return {"array": np.asarray(rows, dtype).tolist(), "dtype": dtype}


def tensor(value):
    """The tensor of such an argument, anything else as it is."""
    if isinstance(value, dict):
        return torch.tensor(value["array"], dtype=getattr(torch, value["dtype"]))
    return value


def draw(g, method, args, dtype):
    """What PyTorch draws for one call."""
    kind = getattr(torch, dtype) if dtype else None
    args = [tensor(a) for a in args]
    if method in ("rand", "randn"):
        return getattr(torch, method)(args[0], dtype=kind, generator=g)
    if method in ("uniform", "normal", "exponential"):
        *numbers, shape = args
        empty = torch.empty(shape, dtype=kind)
        return getattr(empty, method + "_")(*numbers, generator=g)
    if method == "randint":
        low, high, shape = args
        if high < INT64_END:
            return torch.randint(low, high, tuple(shape), generator=g)
        assert low in (0, -INT64_END)
        empty = torch.empty(shape, dtype=torch.int64)
        return empty.random_(generator=g) if low == 0 else empty.random_(low, None, generator=g)
    if method == "randperm":
        return torch.randperm(args[0], generator=g)
    if method == "bernoulli" and isinstance(args[0], torch.Tensor):
        return torch.bernoulli(args[0], generator=g)
    if method == "bernoulli":
        p, shape = args
        return torch.empty(shape, dtype=kind).bernoulli_(p, generator=g)
    return torch.multinomial(*args, generator=g)


def record(g, method, args, dtype=None):
    """One call and its result."""
    result = draw(g, method, args, dtype).numpy()
    call = {"method": method, "args": args, "dtype": dtype, "shape": list(result.shape)}
    call["result_dtype"] = str(result.dtype)
    if result.size <= BIG:
        call["values"] = result.ravel().tolist()
    else:
        call["sha256"] = hashlib.sha256(result.tobytes()).hexdigest()
        call["step"] = result.size // 20 + 1
        call["values"] = result.ravel()[:: call["step"]].tolist()
        call["mean_square"] = float(np.mean(np.square(result, dtype=np.float64)))
    return call


def cases():
    """Name, seed and calls of every case."""
    both = ("float32", "float64")
    sizes = (0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 100)
    for dtype in both:
        for method, numbers in (
            ("rand", []),
            ("randn", []),
            ("uniform", [-0.1234567, 0.7654321]),
            ("normal", [1.5, 0.3]),
            ("exponential", [2.5]),
        ):
            yield f"{method} {dtype}", 1, [(method, [*numbers, [n]], dtype) for n in sizes]
            large = [(method, [*numbers, [100_003]], dtype), ("rand", [[2]], dtype)]
            yield f"{method} {dtype} large", 7, large
    yield "book", 2147483647, [("rand", [[3]], "float32")]
    for seed in (0, -1, -5, -(2**63), 2**31, 2**32 - 1, 2**32, 2**32 + 7, 2**63, 2**64 - 1):
        yield f"seed {seed}", seed, [("rand", [[4]], "float32"), ("randn", [[3]], "float64")]
    yield (
        "kept normal",
        3,
        [
            ("randn", [[3]], "float32"),  # one is kept,
            ("randn", [[20]], "float64"),  # not used by a large draw
            ("rand", [[5]], "float32"),
            ("randn", [[1]], "float64"),  # but by the next small one
            ("normal", [2.0, 3.0, [1]], "float32"),
            ("randn", [[17]], "float32"),
            ("randn", [[]], "float32"),
            ("randn", [[2, 2]], "float64"),
            ("randn", [[1]], "float32"),
        ],
    )
    ranges = [(0, 1), (0, 10), (-7, 5), (0, 2**28 - 1), (0, 2**28), (5, 5 + 2**28 + 1)]
    ranges += [(0, 2**31), (0, 2**32), (-3, 2**33), (0, 2**62 + 12345), (0, 2**63 - 1)]
    ranges += [(-(2**63), 2**63 - 1), (0, 2**63), (-(2**63), 2**63), (-(2**63), -(2**63) + 3)]
    yield "randint", 5, [("randint", [low, high, [7]], None) for low, high in ranges]
    yield "randint large", 5, [("randint", [-5, end, [100_000]], None) for end in (1000, 2**40)]
    yield "randperm", 6, [("randperm", [n], None) for n in (0, 1, 2, 3, 10, 64, 0, 5)]
    yield "randperm large", 6, [("randperm", [100_000], None), ("randperm", [4], None)]
    for dtype in both:
        p = np.random.RandomState(0).rand(50).astype(dtype)
        calls = [("bernoulli", [array(p, dtype)], None), ("bernoulli", [0.3, [40]], dtype)]
        calls += [("bernoulli", [matrix(p.reshape(5, 10), dtype)], None)]
        calls += [("bernoulli", [end, [3]], dtype) for end in (0.0, 1.0)]
        calls += [("bernoulli", [0.9, [100_000]], dtype), ("rand", [[2]], dtype)]
        yield f"bernoulli {dtype}", 8, calls
        weights = array([0.1, 0.0, 0.6, 2.0, 0.3, 1e-3], dtype)
        table = matrix(np.random.RandomState(1).rand(4, 9), dtype)
        calls = []
        for p, most in ((weights, 5), (table, 9), (array([1.0], dtype), 1)):
            calls += [("multinomial", [p, n, False], None) for n in sorted({1, min(2, most), most})]
            calls += [("multinomial", [p, n, True], None) for n in (1, 2, 30)]
        calls += [("multinomial", [weights, 20_000, True], None), ("rand", [[2]], dtype)]
        yield f"multinomial {dtype}", 9, calls


def main():
    """Write the file."""
    g = torch.Generator()
    frozen = []
    for name, seed, calls in cases():
        g.manual_seed(seed)
        drawn = [record(g, *call) for call in calls]
        case = {"name": name, "seed": seed, "initial_seed": g.initial_seed(), "calls": drawn}
        frozen.append(case)
    g.manual_seed(-11)
    torch.randn(5, generator=g)
    packed = base64.b64encode(zlib.compress(g.get_state().numpy().tobytes(), 9)).decode()
    state = {"seed": -11, "bytes": packed, "calls": [record(g, "randn", [[3]], "float64")]}
    content = {"torch": torch.__version__.split("+")[0], "cases": frozen, "state": state}
    path = Path(__file__).with_name("random.json")
    lines = json.dumps(content).replace('{"name"', '\n{"name"').replace('{"method"', '\n {"method"')
    path.write_text(lines + "\n")


if __name__ == "__main__":
    main()
