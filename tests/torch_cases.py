# ruff: noqa: E501, RUF005, PERF401, B023, C416
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
from nn_cases import Case, apart, ids, incoming, named, numbers, shares, targets

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
    """Of each array its shape, two weighted sums and its dtype; anything else as it is."""
    if isinstance(x, dict):
        return {k: digest(v) for k, v in x.items()}
    if isinstance(x, list):
        return [digest(y) for y in x]
    if not isinstance(x, np.ndarray):
        return x
    flat = x.astype(np.float64).ravel()
    weights = numbers(flat.size, seed=99)
    parts = [flat @ weights, flat @ (weights * weights[::-1])] if flat.size else []
    kind = [] if x.dtype == np.float64 else [str(x.dtype)]
    return {
        "shape": list(x.shape),
        "is": [float(f"{v:.13g}") for v in parts],
        **dict.fromkeys(kind),
    }


def same(ours, wanted, rtol=1e-9, where=""):
    """Compare two digests."""
    if isinstance(wanted, dict):
        assert isinstance(ours, dict) and list(ours) == list(wanted), (where, ours, wanted)
        if "float32" in wanted:
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
    """First values from a seed; of fixed ones output, gradients, and the losses of 50 steps."""
    call = call or (lambda lib, model, *xs: model(*xs))
    lib.manual_seed(seed)
    model = build(lib.nn)
    first = {n: plain(t) for n, t in model.state_dict().items()}
    model = model.double()
    with lib.no_grad():  # the same weights to the last digit, which first values need not have
        for i, p in enumerate(model.parameters()):
            p.copy_(lib.tensor(numbers(*p.shape, seed=200 + i) / 4))
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
        found["losses"] = [float(f"{losses[i]:.13g}") for i in (0, 5, 49)]
        assert len({round(x, 9) for x in losses}) > 10, losses
    model.eval()
    with lib.no_grad():
        found["eval"] = plain(flat(call(lib, model, *tensors(lib, inputs))))
    return found


LAYERS = {}


def layer(name, build, *inputs, **more):
    assert name not in LAYERS, name
    LAYERS[name] = (build, inputs, more)


X3, X2, X1 = numbers(3, 4, 6, 7, seed=1), numbers(5, 3, seed=2), numbers(2, 4, 9, seed=3)

Y1, Y2 = numbers(2, 4, 9, seed=4) / 3, numbers(5, 3, seed=5)
SIGNS = np.where(ids(5, classes=2, seed=6) == 1, 1, -1)


def beside(kind, *args, **options):
    """A linear layer, and one without parameters after it."""
    return lambda nn: nn.Sequential(nn.Linear(9, 9), getattr(nn, kind)(*args, **options))


for kind, options in (
    ("ReLU", [{}, {"inplace": True}]), ("LeakyReLU", [{}, {"negative_slope": 0.2, "inplace": True}]),
    ("ELU", [{}, {"alpha": 0.5, "inplace": True}]), ("SiLU", [{}, {"inplace": True}]), ("Sigmoid", [{}]),
    ("LogSigmoid", [{}]), ("Tanh", [{}]), ("GELU", [{}, {"approximate": "tanh"}]),
    ("Softplus", [{}, {"beta": 2.0}, {"beta": 0.5, "threshold": 1.0}]),
    ("Softmax", [{}, {"dim": 1}]), ("LogSoftmax", [{}, {"dim": -1}]), ("Flatten", [{}, {"start_dim": 0, "end_dim": 1}]),
    ("Dropout", [{}, {"p": 0.2, "inplace": True}]), ("Dropout1d", [{}, {"p": 0.3, "inplace": True}]),
    ("MaxPool1d", [{"kernel_size": 3}, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}]),
    ("AvgPool1d", [{"kernel_size": 3}, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
                   {"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False}]),
    ("AdaptiveAvgPool1d", [{"output_size": 4}]),
):  # fmt: skip
    for o in options:
        layer("-".join([kind, *(f"{k}={v}" for k, v in o.items())]), beside(kind, **o), X1)

for kind, options in (
    ("MaxPool2d", [{"kernel_size": 2}, {"kernel_size": (3, 2), "stride": 2, "padding": 1, "ceil_mode": True}]),
    ("AvgPool2d", [{"kernel_size": 2}, {"kernel_size": (3, 2), "stride": 2, "padding": 1, "ceil_mode": True},
                   {"kernel_size": 3, "padding": 1, "stride": 2, "count_include_pad": False, "ceil_mode": True},
                   {"kernel_size": 2, "divisor_override": 3}]),
    ("AdaptiveAvgPool2d", [{"output_size": 1}, {"output_size": (4, 3)}, {"output_size": (None, 2)}]),
    ("Dropout2d", [{}, {"p": 0.25, "inplace": True}]),
):  # fmt: skip
    for o in options:
        name = "-".join([kind, *(f"{k}={v}" for k, v in o.items())])
        layer(
            name,
            lambda nn, kind=kind, o=o: nn.Sequential(nn.Conv2d(4, 2, 1), getattr(nn, kind)(**o)),
            X3,
        )

for name, options in {
    "plain": {}, "same": {"padding": "same", "dilation": 2}, "valid": {"padding": "valid"},
    "all": {"stride": 2, "padding": 2, "dilation": 2, "groups": 2, "bias": False},
    "reflect": {"padding": 1, "padding_mode": "reflect"}, "circular": {"padding": "same", "padding_mode": "circular"},
    "replicate": {"padding": 2, "padding_mode": "replicate", "stride": 2},
}.items():  # fmt: skip
    layer(f"Conv1d-{name}", lambda nn, o=options: nn.Conv1d(4, 6, 4, **o), X1)
    layer(f"Conv2d-{name}", lambda nn, o=options: nn.Conv2d(4, 2, (3, 2), **o), X3)
for name, options in {
    "plain": {}, "stride": {"stride": 2, "output_padding": 1}, "padding": {"padding": (1, 0), "bias": False},
    "all": {"stride": (3, 2), "padding": 1, "dilation": (1, 3), "groups": 2, "output_padding": (2, 1), "padding_mode": "zeros"},
    "wide": {"dilation": 3, "output_padding": 2},
}.items():  # fmt: skip
    layer(
        f"ConvTranspose2d-{name}", lambda nn, o=options: nn.ConvTranspose2d(4, 2, (3, 2), **o), X3
    )
layer("ConvTranspose2d-size", lambda nn: nn.ConvTranspose2d(4, 2, 3, stride=2), X3,
      call=lambda lib, m, x: m(x, output_size=(14, 15)))  # fmt: skip
layer("Conv1d-one", lambda nn: nn.Conv1d(4, 3, 2), X1[0])
layer("ConvTranspose2d-one", lambda nn: nn.ConvTranspose2d(4, 3, 2), X3[0])

layer("Embedding", lambda nn: nn.Embedding(7, 3, padding_idx=2), ids(4, 5, classes=7))
layer(
    "Embedding-max_norm",
    lambda nn: nn.Embedding(
        7, 3, max_norm=1.0, norm_type=1.0, scale_grad_by_freq=False, sparse=False
    ),
    ids(4, 5, classes=7),
    call=lambda lib, m, i: m(i) * m.weight[0],
)
layer("BatchNorm1d", lambda nn: nn.BatchNorm1d(4, eps=1e-3, momentum=None, bias=True), X1)
layer(
    "BatchNorm1d-plain",
    lambda nn: nn.Sequential(nn.Linear(9, 9), nn.BatchNorm1d(4, affine=False)),
    X1,
)
layer("BatchNorm2d", lambda nn: nn.BatchNorm2d(4, bias=False, momentum=0.3), X3)
layer("BatchNorm2d-batch", lambda nn: nn.BatchNorm2d(4, track_running_stats=False), X3)
layer("LayerNorm", lambda nn: nn.LayerNorm((6, 7), bias=False, eps=1e-2), X3)
layer(
    "LayerNorm-plain",
    lambda nn: nn.Sequential(nn.Linear(9, 9), nn.LayerNorm(9, elementwise_affine=False)),
    X1,
)
layer("RMSNorm", lambda nn: nn.RMSNorm((6, 7)), X3)
layer(
    "RMSNorm-eps",
    lambda nn: nn.Sequential(nn.Linear(9, 9), nn.RMSNorm([9], eps=0.1, elementwise_affine=False)),
    X1,
)
layer("GroupNorm", lambda nn: nn.GroupNorm(2, 4), X3)
layer(
    "GroupNorm-row",
    lambda nn: nn.Sequential(nn.Linear(3, 6), nn.GroupNorm(3, 6, eps=0.1, bias=False)),
    X2,
)
layer(
    "GroupNorm-plain",
    lambda nn: nn.Sequential(nn.Linear(9, 9), nn.GroupNorm(1, 4, affine=False)),
    X1,
)


class Compared:
    """A loss of a linear layer's output and given targets, as a module's call."""

    def __init__(self, *targets):
        self.targets = targets

    def __call__(self, lib, model, x):
        return model[1](model[0](x), *tensors(lib, self.targets))


P5, Q5 = shares(5, 3, seed=7), shares(5, 3, seed=8)
for name, loss, given in (
    ("CosineSimilarity", lambda nn: nn.CosineSimilarity(dim=-1, eps=1e-3), [Y2]),
    ("PairwiseDistance", lambda nn: nn.PairwiseDistance(p=1.0, eps=1e-3, keepdim=True), [Y2]),
    ("SmoothL1Loss", lambda nn: nn.SmoothL1Loss(), [Y2]),
    ("SmoothL1Loss-beta", lambda nn: nn.SmoothL1Loss(beta=0.3, reduction="none"), [Y2]),
    ("SmoothL1Loss-0", lambda nn: nn.SmoothL1Loss(size_average=False, beta=0.0), [Y2]),
    ("CosineEmbeddingLoss", lambda nn: nn.CosineEmbeddingLoss(), [Y2, SIGNS]),
    ("CosineEmbeddingLoss-margin", lambda nn: nn.CosineEmbeddingLoss(margin=0.2, reduction="sum"), [Y2, SIGNS]),
    ("CosineEmbeddingLoss-none", lambda nn: nn.CosineEmbeddingLoss(0.1, reduce=False, size_average=True), [Y2, SIGNS]),
    ("TripletMarginLoss", lambda nn: nn.TripletMarginLoss(margin=3.0), [Y2, Y2[::-1].copy()]),
    ("TripletMarginLoss-swap", lambda nn: nn.TripletMarginLoss(4.0, p=1.0, eps=1e-3, swap=True, reduction="none"), [Y2, Y2[::-1].copy()]),
    ("TripletMarginLoss-sum", lambda nn: nn.TripletMarginLoss(5.0, size_average=False, reduce=True), [Y2, Y2[::-1].copy()]),
    ("MSELoss-sum", lambda nn: nn.MSELoss(size_average=False), [Y2]),
    ("MSELoss-none", lambda nn: nn.MSELoss(reduce=False), [Y2]),
    ("MSELoss-mean", lambda nn: nn.MSELoss(True, reduce=True, reduction="sum"), [Y2]),
    ("L1Loss-sum", lambda nn: nn.L1Loss(size_average=False, reduce=True), [Y2]),
    ("HuberLoss", lambda nn: nn.HuberLoss(reduction="sum", delta=0.5), [Y2]),
    ("KLDivLoss", lambda nn: nn.KLDivLoss(size_average=False, reduce=None), [P5]),
    ("KLDivLoss-batchmean", lambda nn: nn.KLDivLoss(reduction="batchmean", log_target=True), [Y2]),
    ("BCEWithLogitsLoss", lambda nn: nn.BCEWithLogitsLoss(size_average=True, reduce=False), [Q5]),
    ("CrossEntropyLoss", lambda nn: nn.CrossEntropyLoss(size_average=False, reduce=True, ignore_index=1), [ids(5, classes=3)]),
    ("NLLLoss", lambda nn: nn.NLLLoss(size_average=False, reduce=False), [ids(5, classes=3)]),
):  # fmt: skip
    layer(
        name,
        lambda nn, loss=loss: nn.Sequential(nn.Linear(3, 3), loss(nn)),
        X2,
        call=Compared(*given),
        lr=0.002,
    )
layer(
    "BCELoss",
    lambda nn: nn.Sequential(
        nn.Sequential(nn.Linear(3, 3), nn.Sigmoid()), nn.BCELoss(size_average=False, reduce=True)
    ),
    X2,
    call=Compared(P5),
    lr=0.001,
)

layer("Unflatten", beside("Unflatten", -1, (3, -1)), X1)
layer("Linear", lambda nn: nn.Linear(3, 4), X2)
layer("Identity", lambda nn: nn.Sequential(nn.Identity(5, unused=1), nn.Linear(3, 2)), X2)

T3, T2, H3, C3 = (
    numbers(5, 3, 4, seed=31),
    numbers(5, 4, seed=32),
    numbers(2, 3, 3, seed=33),
    numbers(2, 3, 3, seed=34),
)


def packed(lengths, batch_first=False, enforce_sorted=True, hx=False):
    """A recurrent layer on a packed sequence, and its output padded again."""

    def call(lib, model, x):
        rnn = lib.nn.utils.rnn
        p = rnn.pack_padded_sequence(
            x, lib.tensor(lengths) if lengths[0] > 3 else lengths, batch_first, enforce_sorted
        )
        out, h = model(p, lib.tensor(H3)) if hx else model(p)
        y, n = rnn.pad_packed_sequence(
            out, batch_first, padding_value=0.5, total_length=6 if hx else None
        )
        return y, h, n.double(), out.batch_sizes.double()

    return call


def with_state(*state):
    return lambda lib, model, x: model(
        x, *(tuple(tensors(lib, s)) if isinstance(s, tuple) else lib.tensor(s) for s in state)
    )


for kind in ("RNN", "LSTM", "GRU"):
    two = (H3, C3) if kind == "LSTM" else H3
    for name, options, x, call in (
        ("", {}, T3, None),
        ("-one", {"bias": False}, T2, None),
        ("-two", {"num_layers": 2, "bias": True}, T3, with_state(two)),
        ("-both", {"bidirectional": True, "batch_first": True}, T3.transpose(1, 0, 2).copy(), with_state(two)),
        ("-deep", {"num_layers": 3, "bidirectional": True, "dropout": 0.3, "batch_first": True}, T3, None),
        ("-packed", {"num_layers": 2, "bidirectional": True, "dropout": 0.2}, T3, packed([5, 3, 1])),
        ("-unsorted", {"batch_first": True}, T3.transpose(1, 0, 2).copy(), packed([2, 4, 3], True, False)),
    ):  # fmt: skip
        build = lambda nn, kind=kind, o=options: getattr(nn, kind)(4, 3, **o)  # noqa: E731
        layer(f"{kind}{name}", build, x, call=call, lr=0.3)
    cell = (H3[0], C3[0]) if kind == "LSTM" else H3[0]
    build = lambda nn, kind=kind: getattr(nn, f"{kind}Cell")(4, 3)  # noqa: E731
    layer(f"{kind}Cell", build, T3[0], call=with_state(cell))
    build = lambda nn, kind=kind: getattr(nn, f"{kind}Cell")(4, 3, bias=False)  # noqa: E731
    layer(f"{kind}Cell-one", build, T3[0, 0])
layer(
    "RNN-relu",
    lambda nn: nn.RNN(4, 3, 2, nonlinearity="relu", bidirectional=True),
    T3,
    call=packed([5, 5, 2], hx=False),
)
layer(
    "GRU-packed-state",
    lambda nn: nn.GRU(4, 3, 2),
    T3,
    call=packed([2, 5, 3], enforce_sorted=False, hx=True),
)
layer(
    "RNNCell-relu", lambda nn: nn.RNNCell(4, 3, nonlinearity="relu"), T3[0], call=with_state(H3[1])
)
layer(
    "LSTM-then-dropout",
    lambda nn: nn.Sequential(nn.LSTM(4, 3, batch_first=True), nn.Dropout(0.4)),
    T3,
    call=lambda lib, m, x: m[1](m[0](x)[0]),
)
layer("LSTM-proj", lambda nn: nn.LSTM(4, 3, 2, proj_size=2, bidirectional=True), T3)
layer("LSTM-one-state", lambda nn: nn.LSTM(4, 3, 2), T2, call=with_state((H3[:, 0], C3[:, 0])))

S3, M3 = numbers(4, 2, 4, seed=41), numbers(3, 2, 4, seed=42)
PADDED = np.array([[False, False, False, True], [False, True, True, True]])


def attended(*others, **options):
    """An attention, or a transformer, on x and fixed arrays; masks are given by name."""

    def call(lib, model, x, *more):
        given = {k: lib.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        xs = [x if o is None else lib.tensor(o) for o in others]
        return model(x, *more, *xs, **given)

    return call


CAUSAL = np.triu(np.full((4, 4), -np.inf), 1)
layer("MultiheadAttention", lambda nn: nn.MultiheadAttention(4, 2), S3, call=attended(None, None))
layer(
    "MultiheadAttention-cross",
    lambda nn: nn.MultiheadAttention(4, 2, bias=False),
    M3,
    call=attended(S3, S3, need_weights=False),
)
layer(
    "MultiheadAttention-sizes",
    lambda nn: nn.MultiheadAttention(4, 2, kdim=3, vdim=5, dropout=0.2),
    M3,
    numbers(4, 2, 3, seed=43),
    numbers(4, 2, 5, seed=44),
    call=lambda lib, m, *xs: m(*xs),
)
layer(
    "MultiheadAttention-more",
    lambda nn: nn.MultiheadAttention(4, 4, add_bias_kv=True, add_zero_attn=True, batch_first=True),
    S3,
    call=attended(
        None,
        None,
        key_padding_mask=np.array([[False, True]] * 4),
        attn_mask=np.eye(2) == 2,
        average_attn_weights=False,
    ),
)
layer(
    "MultiheadAttention-causal",
    lambda nn: nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True),
    S3.transpose(1, 0, 2).copy(),
    call=attended(None, None, attn_mask=CAUSAL, is_causal=True, need_weights=False),
)
layer(
    "MultiheadAttention-padded",
    lambda nn: nn.MultiheadAttention(4, 2),
    S3,
    call=attended(None, None, key_padding_mask=PADDED, need_weights=False),
)
layer(
    "MultiheadAttention-heads",
    lambda nn: nn.MultiheadAttention(4, 2),
    S3,
    call=attended(
        None,
        None,
        attn_mask=numbers(4, 4, 4, seed=45),
        key_padding_mask=np.where(PADDED, -1.5, 0.0),
    ),
)
layer(
    "MultiheadAttention-one",
    lambda nn: nn.MultiheadAttention(4, 2),
    S3[:, 0],
    call=attended(None, None, attn_mask=np.triu(np.ones((4, 4)), 1) == 1),
)
for name, options, given in (
    ("", {}, {}), ("-gelu", {"activation": "gelu", "batch_first": True, "layer_norm_eps": 1e-3}, {}),
    ("-first", {"norm_first": True, "bias": False, "dropout": 0.0}, {"src_mask": CAUSAL, "is_causal": True}),
    ("-padded", {"dropout": 0.4}, {"src_key_padding_mask": PADDED}),
):  # fmt: skip
    layer(
        f"TransformerEncoderLayer{name}",
        lambda nn, o=options: nn.TransformerEncoderLayer(4, 2, 6, **o),
        S3,
        call=attended(**given),
    )
layer(
    "TransformerEncoderLayer-one",
    lambda nn: nn.TransformerEncoderLayer(4, 2, 6, activation=nn.Tanh()),
    S3[0],
)
layer(
    "TransformerEncoder",
    lambda nn: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), 2, norm=nn.LayerNorm(4)
    ),
    S3.transpose(1, 0, 2).copy(),
    call=attended(src_key_padding_mask=PADDED),
)
layer(
    "TransformerEncoder-mask",
    lambda nn: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(4, 2, 6), 3, enable_nested_tensor=False, mask_check=False
    ),
    S3,
    call=attended(mask=CAUSAL),
)
for name, options, given in (
    ("", {}, {}), ("-first", {"norm_first": True, "batch_first": False, "activation": "gelu", "bias": False}, {"tgt_is_causal": True, "tgt_mask": CAUSAL[:3, :3]}),
    ("-padded", {"dropout": 0.0, "layer_norm_eps": 1e-4}, {"memory_key_padding_mask": PADDED, "memory_mask": np.zeros((3, 4)) == 1.0}),
):  # fmt: skip
    layer(
        f"TransformerDecoderLayer{name}",
        lambda nn, o=options: nn.TransformerDecoderLayer(4, 2, 6, **o),
        M3,
        S3,
        call=attended(**given),
    )
layer(
    "TransformerDecoder",
    lambda nn: nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 6), 2, nn.LayerNorm(4)),
    M3,
    S3,
    call=attended(tgt_mask=CAUSAL[:3, :3]),
)
TWO = {
    "d_model": 4,
    "nhead": 2,
    "num_encoder_layers": 2,
    "num_decoder_layers": 1,
    "dim_feedforward": 6,
}
layer(
    "Transformer",
    lambda nn: nn.Transformer(
        **TWO, dropout=0.0, activation="gelu", layer_norm_eps=1e-4, norm_first=True, bias=False
    ),
    S3,
    M3,
    call=attended(tgt_mask=CAUSAL[:3, :3], memory_key_padding_mask=PADDED),
)
layer(
    "Transformer-batch",
    lambda nn: nn.Transformer(**TWO, batch_first=True, custom_encoder=None, custom_decoder=None),
    S3.transpose(1, 0, 2).copy(),
    M3.transpose(1, 0, 2).copy(),
)

# --- functions: value and gradients -------------------------------------------------------------

FUNCTIONS = []


def function(name, *inputs, wrt=None, smooth=True, case="", **options):
    """A call by name; a case of its own for each set of options."""
    floats = tuple(i for i, a in enumerate(inputs) if a.dtype.kind == "f")
    label = "-".join([name, *([case] if case else []), *(f"{k}={v}" for k, v in options.items())])
    FUNCTIONS.append(
        Case(
            label.replace(" ", ""),
            named(name, **options),
            inputs,
            floats if wrt is None else wrt,
            smooth,
        )
    )


def seeded(lib):
    lib.manual_seed(3)


X, B = numbers(2, 3, 5), numbers(4, seed=21)
for alpha in ({}, {"alpha": 0.5}, {"inplace": False}):
    function("elu", X, **alpha)
function("silu", X, inplace=False)
function("relu", X, inplace=False)
function("leaky_relu", X, negative_slope=0.3, inplace=False)
for o in ({"beta": 2.0}, {"beta": 3.0, "threshold": 2.0}):
    function("softplus", X, **o)
for name in ("softmax", "log_softmax"):
    for a in (X, X[0], X[0, 0], numbers(2, 2, 3, 2)):
        function(name, a, case=f"{a.ndim}d", smooth=False)
    function(name, X.astype(np.float32), dim=1, smooth=False, case="float32")
for o in (
    {},
    {"p": 1.0},
    {"p": 3.0, "dim": 0},
    {"p": 2.0, "dim": (0, 2)},
    {"p": math.inf, "dim": 2},
    {"eps": 3.0},
):
    function("normalize", X, smooth=o.get("p") != math.inf, **o)
function("cosine_similarity", X, numbers(2, 3, 5, seed=22))
function("cosine_similarity", X, numbers(5, seed=22), dim=-1)
function("cosine_similarity", X, numbers(2, 3, 1, seed=22), dim=2, eps=6.0, smooth=False)
for o in ({}, {"p": 1.0}, {"p": 3.0, "keepdim": True}, {"eps": 0.25}):
    function("pairwise_distance", X, numbers(2, 3, 5, seed=22), **o)
function("smooth_l1_loss", X2, Y2)
function("smooth_l1_loss", X2, Y2, reduction="none", beta=0.25)
function("mse_loss", X2, Y2, shares(5, 3), case="weight", wrt=(0, 1), smooth=False)
FUNCTIONS[-1] = FUNCTIONS[-1]._replace(call=lambda F, x, y, w: F.mse_loss(x, y, weight=w))
for name in ("l1_loss", "huber_loss", "mse_loss"):
    for r in ("mean", "sum", "none"):
        FUNCTIONS.append(
            Case(
                f"{name}-weight-{r}",
                lambda F, x, y, w, name=name, r=r: getattr(F, name)(x, y, weight=w, reduction=r),
                (X2, Y2, shares(5, 3)),
                (0, 1),
            )
        )
for o in ({}, {"margin": 0.25, "reduction": "sum"}, {"reduction": "none"}):
    function("cosine_embedding_loss", X2, Y2, SIGNS, **o)
function("cosine_embedding_loss", X2[0], Y2[0], np.array(1), case="one")
for o in (
    {},
    {"margin": 3.0, "p": 1.0, "reduction": "sum"},
    {"swap": True, "eps": 0.25, "reduction": "none"},
):
    function("triplet_margin_loss", X2, Y2, numbers(5, 3, seed=23), **o)
function("group_norm", numbers(2, 4, 3), 0.5 * B, B, case="all")
FUNCTIONS[-1] = FUNCTIONS[-1]._replace(call=lambda F, x, w, b: F.group_norm(x, 2, w, b, 0.1))
function("group_norm", numbers(2, 4, 3), num_groups=4)
function("rms_norm", numbers(2, 3, 4), B, case="weight")
FUNCTIONS[-1] = FUNCTIONS[-1]._replace(call=lambda F, x, w: F.rms_norm(x, (4,), w, 0.1))
function("rms_norm", numbers(2, 3, 4), normalized_shape=(3, 4))

for o in (
    {},
    {"stride": 2, "padding": 1},
    {"padding": "same", "dilation": 2},
    {"groups": 2, "padding": 2},
):
    k = numbers(4, 4 // o.get("groups", 1), 4, seed=24)
    function("conv1d", numbers(2, 4, 9), k, B, smooth=False, **o)
    k = numbers(4, 4 // o.get("groups", 1), 3, 2, seed=24)
    function("conv2d", numbers(2, 4, 5, 6), k, B, smooth=False, **o)
function("conv1d", numbers(4, 9), numbers(2, 4, 3, seed=24), case="one")
function("conv2d", numbers(1, 2, 4, 4), numbers(1, 2, 2, 2), padding="same")
for o in (
    {},
    {"stride": 2, "padding": 1, "output_padding": 1},
    {"stride": (1, 3), "dilation": (2, 1), "output_padding": (1, 2)},
    {"groups": 2, "padding": (0, 1)},
):
    k = numbers(4, 4 // o.get("groups", 1), 3, 2, seed=24)
    function("conv_transpose2d", numbers(2, 4, 3, 3), k, numbers(4, seed=1), smooth=False, **o)
function("conv_transpose2d", numbers(2, 2, 2), numbers(2, 1, 2, 2), case="one", stride=2)
for o in (
    {"kernel_size": 2},
    {"kernel_size": (2, 3), "stride": (1, 2), "padding": (1, 0), "dilation": (2, 1)},
):
    function("unfold", numbers(2, 2, 4, 5), **o)
function("unfold", numbers(2, 4, 5), kernel_size=2, case="one")
for o in (
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
):
    function("max_pool1d", apart(2, 2, 8), **o)
    function("avg_pool1d", apart(2, 2, 8), **o)
    function("max_pool2d", apart(1, 2, 6, 8), smooth=False, **o)
    function("avg_pool2d", apart(1, 2, 6, 8), smooth=False, **o)
function("max_pool1d", apart(2, 8), kernel_size=2, case="one")
function("avg_pool1d", apart(2, 8), kernel_size=2, case="one", count_include_pad=False, padding=1)
function(
    "avg_pool2d",
    apart(1, 2, 6, 8),
    kernel_size=3,
    padding=1,
    stride=2,
    count_include_pad=False,
    smooth=False,
)
function(
    "avg_pool2d",
    apart(1, 2, 6, 8),
    kernel_size=3,
    stride=2,
    ceil_mode=True,
    padding=1,
    smooth=False,
)
function("avg_pool2d", apart(1, 2, 6, 8), kernel_size=3, divisor_override=2, smooth=False)
for size in (1, (2, 3), (None, 5), (6, 7)):
    function("adaptive_avg_pool2d", numbers(1, 2, 5, 7), output_size=size, smooth=False)
function("adaptive_avg_pool2d", numbers(2, 3, 4), output_size=2, case="one")
for size in (1, 3, 5, 8):
    function("adaptive_avg_pool1d", numbers(2, 2, 5), output_size=size)
for o in (
    {"pad": (1, 2)},
    {"pad": (1, 0, 2, 1), "value": 1.5},
    {"pad": (-1, 2)},
    {"pad": (0, -1, -1, 0)},
    {"pad": (1, 1, 0, 0, 2, 0)},
):
    function("pad", X, **o)
for mode in ("reflect", "replicate", "circular"):
    function("pad", X, pad=(2, 1), mode=mode)
    function("pad", numbers(2, 2, 3, 4), pad=(1, 2, 1, 0), mode=mode, smooth=False)
    function("pad", numbers(2, 4), pad=(1, 3), mode=mode, case="one")
Q4, K4, V4 = (
    numbers(2, 2, 3, 4, seed=51),
    numbers(2, 2, 5, 4, seed=52),
    numbers(2, 2, 5, 2, seed=53),
)
for o in ({}, {"scale": 0.7}, {"is_causal": True}):
    function("scaled_dot_product_attention", Q4, K4, V4, smooth=False, **o)
function(
    "scaled_dot_product_attention", Q4[0, :, :2], K4[0, :1, :2], V4[0, :1, :2], enable_gqa=True
)
for name, mask in (
    ("bool", np.arange(15).reshape(3, 5) % 4 > 1),
    ("float", numbers(3, 5)),
    ("nothing", np.zeros((3, 5)) == np.arange(3)[:, None]),
):
    function(
        "scaled_dot_product_attention", Q4, K4, V4, mask, case=name, wrt=(0, 1, 2), smooth=False
    )
FUNCTIONS.append(
    Case(
        "multi_head_attention_forward",
        lambda F, x, w, u: F.multi_head_attention_forward(
            x, x, x, 4, 2, w, None, None, None, False, 0.0, u, None
        )[0],
        (S3, numbers(12, 4), numbers(4, 4)),
        (0, 1, 2),
        False,
    )
)
function("dropout", X, p=0.4, training=False)
function("dropout1d", X, training=False)
function("dropout2d", numbers(2, 2, 2, 2), training=False)
function("embedding", ids(2, 3, classes=4), numbers(4, 3), padding_idx=-1, smooth=False)


def drawn(name, *inputs, **options):
    """A function that draws, from a seed."""

    def call(lib):
        lib.manual_seed(3)
        xs = tensors(lib, inputs, True)
        y = getattr(lib.nn.functional, name)(*xs, **options)
        y.backward(lib.tensor(incoming(tuple(y.shape)).astype(plain(y).dtype)))
        return [plain(y), *(plain(x.grad) for x in xs)]

    label = "-".join([name, *(f"{k}={v}" for k, v in options.items()), str(inputs[0].dtype)])
    DRAWN[label] = call


DRAWN = {}
for d in (np.float64, np.float32):
    drawn("scaled_dot_product_attention", *(a.astype(d) for a in (Q4, K4, V4)), dropout_p=0.4)
    for o in ({}, {"tau": 0.5, "hard": True}, {"hard": True, "dim": 0}):
        drawn("gumbel_softmax", X.astype(d), **o)
    for p in (0.5, 0.2):
        drawn("dropout", X.astype(d), p=p)
        drawn("dropout1d", X.astype(d), p=p)
        drawn("dropout2d", numbers(2, 8, 2, 2).astype(d), p=p)


def evaluated(lib, F, case):
    """The value, and the gradients of the inputs that are differentiated."""
    inputs = [lib.tensor(a, requires_grad=i in case.wrt) for i, a in enumerate(case.inputs)]
    y = case.call(F, *inputs)
    y.backward(lib.tensor(incoming(tuple(y.shape)).astype(plain(y).dtype)))
    return [plain(y), *(plain(inputs[i].grad) for i in case.wrt)]


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
def masks_of_turned_tensors(lib):
    x, found = lib.tensor(numbers(3, 4, 5)), []
    for turn in (lambda x: x.transpose(0, 1), lambda x: x.permute(2, 0, 1), lambda x: x.mT, lambda x: x.transpose(0, 2).transpose(0, 1),
                 lambda x: x[0].T, lambda x: x.transpose(0, 1).contiguous(), lambda x: x.transpose(0, 0), lambda x: x[:1].transpose(0, 1),
                 lambda x: x.transpose(0, 1)[1:], lambda x: x.movedim(0, 2), lambda x: x.swapaxes(0, 2)):  # fmt: skip
        lib.manual_seed(9)
        found.append(lib.nn.functional.dropout(turn(x), 0.5))
    return found


@talk
def lazy_layers(lib):
    nn, found = lib.nn, []
    for build, x in (
        (lambda: nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2, bias=False)), X2),
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3, padding=1, groups=2), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(3)), X3),
        (lambda: nn.Sequential(nn.LazyConv1d(4, 2, stride=2, bias=False), nn.LazyBatchNorm1d(affine=False)), X1),
        (lambda: nn.LazyConv2d(2, (2, 3), 2, "valid", 2, padding_mode="reflect", dtype=lib.float64), X3[0]),
        (lambda: nn.LazyBatchNorm2d(1e-3, momentum=0.2, track_running_stats=False), X3),
        (lambda: nn.LazyBatchNorm1d(bias=False), X2),
    ):  # fmt: skip
        lib.manual_seed(4)
        model = build()
        found += [
            repr(model),
            [[n, repr(p)] for n, p in model.named_parameters()],
            list(model.state_dict()),
        ]
        first = next(iter(model.parameters()), None)
        found += [
            None
            if first is None
            else [first.requires_grad, error(lambda: first.shape), error(lambda: first.numel())]
        ]
        optimizer = (
            lib.optim.SGD(model.parameters(), lr=0.1, momentum=0.5) if first is not None else None
        )
        model.double()
        y = model(lib.tensor(x))
        found += [
            y,
            {n: t for n, t in model.state_dict().items()},
            repr(model),
            [m.__class__.__name__ for m in model.modules()],
        ]
        if optimizer is not None:
            y.sum().backward()
            optimizer.step()
            found += [list(model.parameters()), next(iter(model.parameters())) is first]
    two, whole = nn.LazyLinear(2), nn.Linear(3, 2)
    found += [
        two.has_uninitialized_params(),
        repr(two.weight),
        type(two.weight) is nn.UninitializedParameter,
    ]
    two.load_state_dict(whole.state_dict())
    return [
        *found,
        two(lib.ones(1, 3)),
        type(two).__name__,
        error(lambda: nn.LazyLinear(2)(lib.tensor(1.0))),
    ]


@talk
def first_values(lib):
    init, found = lib.nn.init, []
    for name, shape, args, options in (
        ("dirac_", (4, 2, 3), (), {}), ("dirac_", (4, 3, 3, 2), (), {"groups": 2}), ("sparse_", (7, 5), (0.4,), {}),
        ("sparse_", (20, 6), (0.1,), {"std": 2.0}), ("trunc_normal_", (50,), (), {"mean": 0.0, "std": 1.0, "a": 1.5, "b": 4.0}),
        ("trunc_normal_", (9, 5), (1.0, 0.5, -3.0, 0.2), {}), ("trunc_normal_", (60,), (), {"std": 0.02}),
        ("orthogonal_", (5, 3), (), {"gain": 2.0}), ("eye_", (3, 4), (), {}), ("constant_", (2,), (3.5,), {}),
        ("xavier_normal_", (5, 4), (), {"gain": 0.5}), ("kaiming_normal_", (5, 4), (), {"mode": "fan_out", "nonlinearity": "selu"}),
        ("kaiming_uniform", (3, 4), (0.2,), {}), ("xavier_uniform", (3, 4), (), {}), ("normal", (9,), (1.0, 2.0), {}),
    ):  # fmt: skip
        lib.manual_seed(12)
        t = lib.zeros(*shape)
        assert getattr(init, name)(t, *args, **options) is t
        found += [t, lib.rand(1)]
    found += [init.calculate_gain(n) for n in ("conv1d", "conv_transpose2d", "selu", "tanh")]
    t = lib.zeros(3)
    return [*found, *(error(lambda n=n: getattr(init, n)(t)) for n in ("eye_", "dirac_", "xavier_normal_", "orthogonal_")),
            error(lambda: init.sparse_(t, 0.5)), error(lambda: init.calculate_gain("swish"))]  # fmt: skip


@talk
def gradients_of_a_model(lib):
    utils, found = lib.nn.utils, []
    for norm_type, most in (
        (2, 1.0),
        (2.0, 100.0),
        (1, 0.5),
        (3.0, 0.25),
        (math.inf, 0.1),
        ("inf", 0.0),
    ):
        ps = [lib.tensor(numbers(*s), requires_grad=True) for s in ((3, 2), (4,), (1,))]
        (ps[0].sin().sum() + (ps[1] * ps[1]).sum()).backward()
        found += [
            utils.clip_grad_norm_(ps, most, norm_type=float(norm_type)),
            ps[0].grad,
            ps[1].grad,
        ]
    found += [utils.clip_grad_norm_(ps[0], 0.1, error_if_nonfinite=True, foreach=False), ps[0].grad]
    found += [utils.clip_grad_norm_([], 1.0), utils.clip_grad_value_(ps, 0.05), ps[1].grad]
    row = utils.parameters_to_vector(ps)
    utils.vector_to_parameters(row.detach() * 2.0, ps)
    ps[0].grad.fill_(math.nan)
    found += [error(lambda: utils.clip_grad_norm_(ps, 1.0, error_if_nonfinite=True))]
    return [*found, row, *ps]


@talk
def sequences_of_different_lengths(lib):
    rnn = lib.nn.utils.rnn
    rows = [lib.tensor(numbers(n, 2, seed=n)) for n in (3, 1, 4)]
    whole = [lib.tensor(ids(n, classes=9, seed=n)) for n in (2, 3)]
    found = [rnn.pad_sequence(rows), rnn.pad_sequence(rows, batch_first=True, padding_value=7.0)]
    found += [rnn.pad_sequence(whole, True, -1), rnn.pad_sequence(whole, padding_side="left")]
    found += [rnn.unpad_sequence(rnn.pad_sequence(rows), lib.tensor([3, 1, 4]))]
    p = rnn.pack_sequence(rows, enforce_sorted=False)
    found += [
        p.data,
        p.batch_sizes,
        p.sorted_indices,
        p.unsorted_indices,
        list(rnn.pad_packed_sequence(p)),
    ]
    q = rnn.pack_padded_sequence(
        rnn.pad_sequence(whole, True), [2, 3], batch_first=True, enforce_sorted=False
    )
    found += [list(q), list(rnn.pad_packed_sequence(q, True, -1, total_length=5))]
    found += [error(lambda: rnn.pack_sequence(rows)), error(lambda: rnn.pad_packed_sequence(p, total_length=2)),
              error(lambda: rnn.pack_padded_sequence(rows[0], [1, 0, 0], True)), error(lambda: rnn.pack_padded_sequence(rows[0], [1], True))]  # fmt: skip
    lstm, gru = lib.nn.LSTM(2, 3).double(), lib.nn.GRU(2, 3).double()
    for bad in (lambda: lstm(rows[0][0]), lambda: lstm(rows[0][:, :1]), lambda: lstm(rows[0], rows[0]),
                lambda: gru(rows[0], rows[0]), lambda: lib.nn.RNN(2, 3, nonlinearity="sin"),
                lambda: lib.nn.GRU(2, 3, dropout=2.0), lambda: lib.nn.GRU(2, 3, 0), lambda: lib.nn.LSTM(2, 3, proj_size=3),
                lambda: lib.nn.GRU(2, 3, bias=1)):  # fmt: skip
        found.append(error(bad))
    return found


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
    for name, (build, inputs, more) in LAYERS.items():
        yield name, quiet(lambda b=build, i=inputs, m=more: trained(lib, b, i, **m))
    for case in FUNCTIONS:
        yield case.name, quiet(lambda c=case: evaluated(lib, lib.nn.functional, c))
    for name, call in {**DRAWN, **TALKS}.items():
        yield name, quiet(lambda c=call: plain(c(lib)))


def quiet(call):
    """The same without warnings, of dims that are chosen and options that are deprecated."""

    def ask():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()

    return ask


def read():
    """What is frozen."""
    return json.loads(FROZEN.read_text(encoding="utf-8"))
