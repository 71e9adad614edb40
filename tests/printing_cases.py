"""What is printed by PyTorch and by this library, as expressions of `torch`, `nn` and `F`."""

import builtins

NUMBERS = (
    """
tensor(3.14159)|tensor(3.)|tensor(-2)|tensor(True)|tensor(1e-5)|tensor(float("nan"))
tensor(float("-inf"))|tensor(1e9)|tensor(0.)|tensor(-0.)|tensor([])|tensor([[]])
zeros(0, 3)|zeros(2, 0, 3)|zeros(0, dtype=torch.int64)|zeros(2, 0, dtype=torch.float64)
tensor([1., 2., 3.])|tensor([1., 2.5, -3.])|tensor([0.1, 22.75])|tensor([1, 20, -300])
tensor([True, False])|tensor([1e-3, 1., 1e3])|tensor([1e-4, 1.])|tensor([1e-5, 1.])
tensor([1., 1001.])|tensor([1., 1000.])|tensor([0.5, 501.])|tensor([1e8, 2e8])|tensor([2e8, 3e8])
tensor([float("nan"), 1.])|tensor([float("inf"), float("-inf"), 0.])|tensor([float("nan"), 0.25])
tensor([float("nan"), 1e-6])|tensor([0., -0.])|tensor([0., 1e-8])|tensor([123456., 0.5])
tensor([16777217., -1.])|tensor([1., 2.], dtype=torch.float64)|tensor([1, 2], dtype=torch.int32)
tensor([1, 2], dtype=torch.uint8)|tensor([0.1, 7e4], dtype=torch.float16)
tensor([[1., 2.], [3., 4.]])
tensor([[0.5], [100.]])|tensor([[True], [False]])|arange(24).reshape(2, 3, 4)|arange(30.) / 7
arange(16.).reshape(2, 2, 2, 2) / 3|arange(1000)|arange(1001)|arange(2000.).reshape(40, 50) / 7
arange(12000).reshape(10, 20, 60)|(arange(3000.) - 1500).reshape(3, 1000)|zeros(50)|ones(7, 7, 30)
arange(1200.).reshape(1200, 1) * 1e-6|arange(100.) * 12345.678|eye(3)|linspace(0, 1, 11)
ones(25, requires_grad=True)|(ones(24, requires_grad=True) * 2)|ones(2, 3, requires_grad=True) * 2
zeros(0, 3, requires_grad=True) * 2|arange(2, dtype=torch.float64).requires_grad_()
[ones(2), tensor(3)]|{"a": tensor([0.5])}|(tensor(1.5), tensor([2]))
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
OPTIONS = [
    (expression, options)
    for expression in ("arange(12.).reshape(3, 4) / 7", "arange(1001)", "ones(2, 3, 5) * 1e-6")
    for options in (
        {"precision": 2}, {"sci_mode": True}, {"sci_mode": False}, {"threshold": 5},
        {"threshold": 5, "edgeitems": 1}, {"linewidth": 30}, {"profile": "short"},
        {"profile": "full", "linewidth": 200}, {"threshold": 5, "edgeitems": 0},
    )
]  # fmt: skip
DTYPES = (
    """
float32|float|double|half|float16|float64|int8|int16|short|int32|int|int64|long|uint8|bool|bfloat16
ones(1).dtype|(ones(1) > 0).dtype|arange(3).dtype|ones(2, 3).shape|ones(()).shape|ones(2, 3).size()
ones(2, 3).shape[:1]|ones(2, 3).shape + (4,)|(4,) + ones(2, 3).shape|ones(2, 3).shape * 2|Size([2])
ones(2, 3).shape.numel()|ones(2, 3).shape[0]|float32.itemsize|int64.is_floating_point
float16.is_signed|uint8.is_signed|finfo(torch.float32).eps|finfo(torch.float64).max|finfo().tiny
iinfo(torch.int64).max|iinfo(torch.uint8).min|ones(3).dtype == torch.float|f"{ones(2, 3).shape}"
f"{tensor(2.5)}"|f"{tensor(2.5):.3f}"|f"{tensor(7):>4}"|str(ones(2))|f"{ones(2)}"|iinfo(torch.int32)
finfo(torch.float32)
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
STEPS = (
    """
x + 1|1 + x|x - 1|1 - x|x * 2|x / 2|x / x|-x|x ** 2|x ** x|2 ** x|x.exp()|x.log1p()|x.abs()
x.sqrt()|x.sigmoid()|x.relu()|F.gelu(x)|F.silu(x)|F.leaky_relu(x)|F.softplus(x)|x.tanh()|x.round()
x.softmax(1)|x.log_softmax(1)|x.logsumexp(1)|x.sum()|x.sum(0)|x.mean()|x.mean(0)|x.var()|x.std(0)
x.max()|x.max(0).values|x.amax(0)|x.prod()|x.cumsum(0)|x.norm()|x @ x|x @ v|v @ v|v @ x|b @ x|b @ b
x.t()|x.T|x.mT|x.transpose(0, 1)|b.permute(2, 0, 1)|x.permute(1, 0)|x.view(9)|x.t().reshape(9)
x.flatten()|x.unsqueeze(0)|x[None].squeeze(0)|x[None].squeeze()|x.expand(2, 3, 3)|x.repeat(2, 1)
x.flip(0)|x.split(1)[0]|x.chunk(3)[0]|x.unbind()[0]|torch.stack([v, v])|torch.cat([v, v])
x.gather(0, t[None])|x.index_select(0, t)|x.masked_fill(x > 0, 0.0)|torch.where(x > 0, x, 0.0)
x.sort().values|x.topk(2).values|x.tril()|x.clone()|x.double()|x.clamp(0, 1)|torch.maximum(x, x)
x[0]|x[:2]|x[:, 0]|x[:, 1:]|x[None]|x[..., 0]|x[t]|x[t, t]|x[x > 0]|x[0, :]|x[:]
x[...]|F.linear(x, x)
F.linear(x, x, v)|F.linear(b, x, v)|F.embedding(t, x)|F.layer_norm(x, (3,))|F.conv2d(img, img)
F.max_pool2d(img, 2)|F.avg_pool2d(img, 2)|F.cross_entropy(x, t)|F.mse_loss(x, x.detach())
F.l1_loss(x, x.detach())|F.binary_cross_entropy_with_logits(x, x.detach())|nn.Linear(3, 2)(x)
nn.Sequential(nn.Linear(3, 2), nn.ReLU())(x)|nn.Flatten()(b)|(x * 1).add_(1)|x.square()
x.detach() - x|x.detach() / x|1 / x|x.detach() ** x|v.sum() - x|3 - x.sum()
x.rsqrt()|x.reciprocal()|v.outer(v)|torch.bmm(b, b)|x.masked_select(x > 0)|x.detach()|x
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
MODULES = (
    """
Linear(2, 3)|Linear(2, 3, bias=False)|Conv2d(3, 4, 3)|Conv2d(3, 4, (3, 5), stride=(2, 1), padding=1)
MaxPool2d(2)|AvgPool2d(3, 2, 1)|BatchNorm1d(4)|BatchNorm2d(4, eps=1e-3, momentum=0.2, affine=False)
LayerNorm(4)|LayerNorm((3, 4), elementwise_affine=False)|Dropout(0.2)|ReLU()|LeakyReLU(0.2)|GELU()
Sigmoid()|Tanh()|SiLU()|Softplus()|Softmax(dim=1)|LogSoftmax(dim=-1)|Flatten()|Embedding(5, 3)
Embedding(5, 3, padding_idx=0)|MSELoss()|CrossEntropyLoss()|Sequential()|ModuleList()|Identity()
Sequential(Linear(2, 3), ReLU(), Linear(3, 1))|Sequential(Linear(2, 2), Linear(2, 2))
ModuleList([Linear(2, 3), Linear(2, 3), ReLU()])|ModuleDict({"a": Linear(2, 3), "b": ReLU()})
ModuleList([Sequential(Linear(2, 3), ReLU()) for _ in range(3)])|Parameter(torch.ones(2, 3))
ParameterList([torch.ones(2, 3), torch.ones(2)])|Parameter(torch.ones(2), requires_grad=False)
Sequential(Sequential(Linear(2, 3), ReLU()), Sequential(Linear(2, 3)))
ParameterList([torch.ones(2)])|ParameterList([torch.ones(2), 3])
Linear(2, 3).load_state_dict(Linear(2, 3).state_dict())
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


def evaluated(expression, torch, nn, F):
    """The value of an expression with one of the libraries."""
    names = {name: getattr(torch, name) for name in dir(torch) if not name.startswith("__")}
    if "(" in expression:
        names = {name: value for name, value in names.items() if not hasattr(builtins, name)}
    return eval(expression, {
        **names, "nn": nn, "F": F, "torch": torch, "x": torch.full((3, 3), 0.5, requires_grad=True),
        "v": torch.ones(3, requires_grad=True), "b": torch.ones(2, 3, 3, requires_grad=True),
        "t": torch.tensor([0, 1, 2]), "img": torch.ones(2, 2, 4, 4, requires_grad=True),
    })  # fmt: skip


def frozen(torch, nn, F):
    """What one of the libraries prints."""
    texts = {"values": {}, "options": [], "steps": {}, "modules": {}}
    for expression in NUMBERS + DTYPES:
        texts["values"][expression] = str(evaluated(expression, torch, nn, F))
    for expression, options in OPTIONS:
        torch.set_printoptions(**options)
        texts["options"].append([expression, options, str(evaluated(expression, torch, nn, F))])
        torch.set_printoptions(profile="default")
    for expression in STEPS:
        step = evaluated(expression, torch, nn, F).grad_fn
        texts["steps"][expression] = None if step is None else step.name()
    names = {name: getattr(nn, name) for name in dir(nn)}
    for expression in MODULES:
        texts["modules"][expression] = str(eval(expression, {**names, "torch": torch}))
    return texts
