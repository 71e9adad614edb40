# ruff: noqa: E501, RUF005
"""Layers, functions and containers that are run here and in PyTorch, line by line the same.

Every case takes the library as an argument. What PyTorch answers is kept in
``data/torch_cases.json`` as a few numbers for each array, its *digest*; where PyTorch is installed,
`test_torch_nn` asks it again.
"""

import inspect
import json
import math
import warnings
from pathlib import Path

import numpy as np
from nn_cases import numbers, targets

FROZEN = Path(__file__).with_name("data") / "torch_cases.json"


def plain(x):
    """Tensors as arrays, in lists and tuples too."""
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)) and type(x).__name__ not in ("Size",):
        return [plain(y) for y in x]
    if hasattr(x, "detach"):
        return np.array(x.detach().numpy())
    return list(x) if type(x).__name__ == "Size" else x


def digest(x):
    """Shapes, and of each array its sum, two weighted sums and the ends; anything else as it is."""
    if isinstance(x, dict):
        return {k: digest(v) for k, v in x.items()}
    if isinstance(x, list):
        return [digest(y) for y in x]
    if not isinstance(x, np.ndarray):
        return x
    flat = x.astype(np.float64).ravel()
    weights = numbers(flat.size, seed=99)
    parts = [flat.sum(), flat @ weights, flat @ (weights * weights[::-1])] if flat.size else []
    return {
        "shape": list(x.shape),
        "dtype": str(x.dtype),
        "is": [float(v) for v in (*parts, *flat[:1], *flat[-1:])],
    }


def same(ours, wanted, rtol=1e-9, where=""):
    """Compare two digests."""
    if isinstance(wanted, dict):
        assert isinstance(ours, dict) and list(ours) == list(wanted), (where, ours, wanted)
        if wanted.get("dtype") == "float32":
            rtol = max(rtol, 4e-6)
        for k, v in wanted.items():
            same(ours[k], v, rtol, f"{where}.{k}")
    elif isinstance(wanted, list):
        assert isinstance(ours, list) and len(ours) == len(wanted), (where, ours, wanted)
        for i, (a, b) in enumerate(zip(ours, wanted)):
            same(a, b, rtol, f"{where}[{i}]")
    elif isinstance(wanted, float):
        assert (math.isnan(ours) and math.isnan(wanted)) or math.isclose(
            ours, wanted, rel_tol=rtol, abs_tol=rtol
        ), (where, ours, wanted)
    else:
        assert ours == wanted, (where, ours, wanted)


# --- layers: first values, output, gradients, 50 steps ------------------------------------------


def tensors(lib, arrays, requires_grad=False):
    return [lib.tensor(a, requires_grad=requires_grad and a.dtype.kind == "f") for a in arrays]


def flat(output):
    """All tensors of an output: of LSTM (y, (h, c)), for instance."""
    if isinstance(output, (tuple, list)):
        return [t for part in output for t in flat(part)]
    if hasattr(output, "batch_sizes"):  # a PackedSequence is a tuple in PyTorch
        return [output.data]
    return [] if output is None else [output]


def loss_of(lib, output):
    """Σ over outputs of the mean of (y − target)², for targets of their shapes."""
    total = 0.0
    for i, y in enumerate(flat(output)):
        d = y - lib.tensor(targets(*y.shape, seed=50 + i))
        total = total + (d * d).mean()
    return total


def trained(lib, build, inputs, call=None, steps=50, lr=0.05, seed=0):
    """First values from a seed, the first output and gradients, and the losses of 50 steps."""
    call = call or (lambda lib, model, *xs: model(*xs))
    lib.manual_seed(seed)
    model = build(lib.nn)
    first = {n: plain(t) for n, t in model.state_dict().items()}
    model = model.double()
    xs = tensors(lib, inputs, requires_grad=True)
    output = call(lib, model, *xs)
    loss_of(lib, output).backward()
    grads = [plain(t.grad) for t in (*model.parameters(), *xs) if t.grad is not None]
    found = {"first": first, "output": plain(flat(output)), "grads": grads}
    ps = [p for p in model.parameters() if p.requires_grad]
    if ps:
        optimizer = lib.optim.SGD(ps, lr=lr)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = loss_of(lib, call(lib, model, *tensors(lib, inputs)))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        found["losses"] = [losses[i] for i in (0, 1, 5, 20, 49)]
        assert len({round(x, 9) for x in losses}) > 25
    model.eval()
    with lib.no_grad():
        found["eval"] = plain(flat(call(lib, model, *tensors(lib, inputs))))
    return found


LAYERS = {}


def layer(name, build, *inputs, **more):
    assert name not in LAYERS, name
    LAYERS[name] = (build, inputs, more)


X3, X2, X1 = numbers(3, 4, 6, 7, seed=1), numbers(5, 3, seed=2), numbers(2, 4, 9, seed=3)

layer("Linear", lambda nn: nn.Linear(3, 4), X2)
layer("Identity", lambda nn: nn.Sequential(nn.Identity(5, unused=1), nn.Linear(3, 2)), X2)

# --- names, containers, hooks: plain data -------------------------------------------------------

TALKS = {}


def talk(function):
    TALKS[function.__name__] = function
    return function


def keys(model):
    return [[n, list(t.shape)] for n, t in model.state_dict().items()]


def error(call):
    """The class of the error that a call raises, or None."""
    try:
        call()
    except Exception as e:
        return type(e).__name__
    return None


@talk
def sequences(lib):
    nn = lib.nn
    lib.manual_seed(1)
    a, b, c, d = (nn.Linear(2, n, bias=False) for n in (1, 2, 3, 4))
    found = []
    s = nn.Sequential(a, b)
    s.append(c).extend([d])
    found += [keys(s), keys(s[1:3]), keys(s[-1]), len(s), len(s[::2])]
    s[0] = d
    s[-1] = a
    found.append(keys(s))
    del s[1]
    found.append(keys(s))
    s.insert(1, b)
    found.append(keys(s))
    found.append([keys(s.pop(0)), keys(s)])
    s += nn.Sequential(a, b)
    found += [keys(s), keys(nn.Sequential(a) + nn.Sequential(b)), keys(nn.Sequential(a, b) * 2)]
    m = nn.ModuleList([a, b])
    m += [c]
    m.append(d)
    found += [keys(m), keys(m[1:]), len(m + [a])]
    m.insert(0, d)
    m[1] = c
    del m[-2:]
    found += [keys(m), keys(m.pop(-1)), keys(m), b in m, keys(nn.ModuleList())]
    found += [error(lambda: s[9]), error(lambda: m[-9]), error(lambda: s + [a]),
              error(lambda: nn.Sequential(a) * 0), error(lambda: s.insert(99, a))]  # fmt: skip
    return found


@talk
def dicts(lib):
    nn = lib.nn
    a, b, c = (nn.Linear(2, n, bias=False) for n in (1, 2, 3))
    d = nn.ModuleDict({"one": a, "two": b})
    d["three"] = c
    d.update({"one": c, "zero": a})
    found = [keys(d), list(d), list(d.keys()), len(d), "one" in d, "no" in d]
    found += [[k for k, _ in d.items()], len(list(d.values())), keys(d["two"])]
    del d["two"]
    found += [keys(d.pop("three")), keys(d), error(lambda: d["no"]), error(lambda: d.pop("no"))]
    d.clear()
    found += [keys(d), keys(nn.ModuleDict([["x", a], ("y", b)]))]
    found += [error(lambda: nn.ModuleDict({"a.b": a})), error(lambda: nn.ModuleDict({"": a})),
              error(lambda: nn.ModuleDict({"forward": a})), error(lambda: nn.ModuleDict(3)),
              error(lambda: nn.ModuleDict({"a": 3}))]  # fmt: skip
    return found


@talk
def parameter_lists(lib):
    nn = lib.nn
    p = nn.ParameterList([nn.Parameter(lib.tensor(numbers(2))), lib.tensor(numbers(3))])
    p.append(lib.tensor(numbers(4)))
    p.extend([nn.Parameter(lib.tensor(numbers(5)))])
    p[0] = lib.tensor(numbers(7))
    found = [keys(p), [type(x).__name__ for x in p], len(p), list(p[-1].shape), len(p[1:])]
    p += [lib.tensor(numbers(1))]
    return [*found, keys(p), [x.requires_grad for x in p], error(lambda: p[9])]


def tree(nn, lib):
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.register_buffer("seen", lib.tensor(numbers(3)), persistent=False)
            self.register_buffer("kept", lib.tensor(numbers(1)))
            self.register_parameter("scale", nn.Parameter(lib.tensor(numbers(1))))
            self.register_parameter("nothing", None)

        def forward(self, x):
            return self.layer(x) * self.scale

    model = nn.Sequential()
    model.add_module("inner", Inner())
    model.register_module("last", nn.Linear(2, 1))
    model.own = nn.Parameter(lib.tensor(numbers(2)))
    return model


@talk
def trees(lib):
    nn = lib.nn
    model = tree(nn, lib)
    found = [
        keys(model),
        [n for n, _ in model.named_modules()],
        [n for n, _ in model.named_children()],
    ]
    found += [[n for n, _ in model.named_parameters(recurse=r)] for r in (True, False)]
    found += [[n for n, _ in model.named_parameters("pre")], [n for n, _ in model.named_buffers()]]
    found += [len(list(model.parameters(recurse=False))), len(list(model.buffers(recurse=False)))]
    found += [
        type(model.get_submodule("inner.layer")).__name__,
        type(model.get_submodule("")) is nn.Sequential,
    ]
    found += [
        list(model.get_parameter("inner.layer.weight").shape),
        list(model.get_buffer("inner.kept").shape),
    ]
    found += [error(lambda: model.get_submodule("inner.no")), error(lambda: model.get_parameter("no")),
              error(lambda: model.get_buffer("inner.scale")), error(lambda: model.get_parameter("inner.kept")),
              error(lambda: model.inner.register_buffer("kept", None)), error(lambda: model.add_module("own", None)),
              error(lambda: model.add_module("a.b", None)), error(lambda: model.add_module("x", 3)),
              error(lambda: model.register_parameter("y", lib.tensor(numbers(1)))), error(lambda: model.no),
              error(lambda: model.train("yes")), error(lambda: nn.Module()(1)),
              error(lambda: model.load_state_dict({}))]  # fmt: skip
    found += [list(model._modules)]
    model._modules["third"] = nn.Linear(1, 1)
    del model._modules["last"]
    found += [keys(model), repr(model.load_state_dict(model.state_dict()))]
    found += [
        repr(
            model.load_state_dict(
                {"third.bias": model.third.bias, "no": model.third.bias}, strict=False
            )
        )
    ]
    found += [type(model.state_dict()).__name__, list(model.state_dict(prefix="p."))]
    model.requires_grad_(False)
    found += [any(p.requires_grad for p in model.parameters())]
    order = []
    model.apply(lambda m: order.append(type(m).__name__))
    return [*found, order, [str(p.dtype)[-7:] for p in model.double().parameters()]]


@talk
def forward_hooks(lib):
    nn = lib.nn
    model, calls = nn.Sequential(nn.Identity(), nn.Identity()), []
    x = lib.tensor(numbers(2))
    handles = [
        model.register_forward_pre_hook(lambda m, args: calls.append(["pre", len(args)])),
        model.register_forward_pre_hook(lambda m, args: args[0] * 2),
        model.register_forward_pre_hook(lambda m, args: (args[0] + 1,), prepend=True),
        model.register_forward_hook(lambda m, args, y: calls.append(["after", plain(args[0] - y)])),
        model.register_forward_hook(lambda m, args, y: y * 3),
        model[1].register_forward_hook(lambda m, args, y: y - 1, prepend=True),
        model.register_forward_hook(lambda m, args, kw, y: calls.append(sorted(kw)), with_kwargs=True),
        model.register_forward_pre_hook(lambda m, args, kw: (args, {"input": kw.get("input", x)}) if not args else None, with_kwargs=True),
    ]  # fmt: skip
    found = [plain(model(x))]
    for handle in handles[:6]:
        handle.remove()
        found.append(plain(model(x)))
    handles[0].remove()
    with model.register_forward_hook(lambda m, args, y: y * 0):
        found.append(plain(model(x)))
    return [*found, plain(model(x)), plain(model(input=x)), calls]


class Watched:
    """`nn`, which remembers the options that its modules are made with."""

    def __init__(self, nn):
        self.nn, self.given = nn, {}

    def __getattr__(self, name):
        found = getattr(self.nn, name)
        if not isinstance(found, type) or name in ("Module", "Parameter"):
            return found

        def make(*args, **options):
            given = inspect.signature(found).bind(*args, **options).arguments
            self.given.setdefault(name, set()).update(given)
            return found(*args, **options)

        return make


def options_given():
    """{name of a layer: its options that some case gives}."""
    import tinygrad_ce

    nn = Watched(tinygrad_ce.nn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for build, _, _ in LAYERS.values():
            build(nn)
    return nn.given


def answers(lib):
    """(name, answer) of everything here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (build, inputs, more) in LAYERS.items():
            yield name, lambda b=build, i=inputs, m=more: trained(lib, b, i, **m)
    for name, function in TALKS.items():
        yield name, lambda f=function: plain(f(lib))


def read():
    """What is frozen."""
    return json.loads(FROZEN.read_text(encoding="utf-8"))
