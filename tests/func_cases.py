"""Functions of functions, in PyTorch or in this library: derivatives, and vmap of operations.

PyTorch's answers are frozen in ``data/func.npz`` by ``python tests/func_cases.py``, which needs
torch; the tests do not.
"""

from importlib import import_module
from pathlib import Path

import numpy as np

FROZEN = Path(__file__).with_name("data") / "func.npz"


class Numbers:
    """Tensors with the same numbers in both libraries."""

    def __init__(self, lib):
        self.lib = lib
        self.stream = np.random.RandomState(7)

    def __call__(self, *shape, **kwargs):
        return self.lib.tensor(self.stream.randn(*shape), **kwargs)

    def ids(self, n, *shape):
        return self.lib.tensor(self.stream.randint(0, n, shape))


# --- what one slice is put through: (function of the library, F and tensors), shapes of one slice

SLICES = {
    "arithmetic": (lambda t, F, a, b: (a * b - a / (b * b + 1)) ** 2, (3,), (3,)),
    "numbers": (lambda t, F, a: 2.0 / (1.0 + a.exp()) - a * 3, (2, 3)),
    "scalars": (lambda t, F, a, b: a.sin() * b + a.abs(), (), ()),
    "broadcasting": (lambda t, F, a, b: a * b, (2, 3), (3,)),
    "rows and number": (lambda t, F, a, b: a + b, (2, 3), ()),
    "where": (lambda t, F, a, b: t.where(a > b, a, b * 2), (2, 3), (3,)),
    "maximum": (lambda t, F, a, b: t.maximum(a, b) + t.minimum(a, b) * 2, (3,), (3,)),
    "relu": (lambda t, F, a: F.relu(a) + a.clamp(-0.5, 0.5), (4,)),
    "smooth": (lambda t, F, a: t.sigmoid(a) + t.tanh(a) + F.softplus(a) + F.gelu(a), (4,)),
    "erf": (lambda t, F, a: t.erf(a) + t.erfc(a), (4,)),
    "masked": (lambda t, F, a: a.masked_fill(a > 0, 2.0) * a, (2, 3)),
    "sum": (lambda t, F, a: a.sum(0) * a.sum(-1, keepdim=True).sum(), (2, 3)),
    "sum of all": (lambda t, F, a: a.sum(), (2, 3)),
    "mean and std": (lambda t, F, a: a.mean() + a.std(0) + a.var(1).sum(), (3, 4)),
    "extrema": (lambda t, F, a: a.amax(0) + a.amin() + a.max(1)[0].sum(), (3, 4)),
    "argmax": (lambda t, F, a: a * a.argmax(0) + a.argmin(), (3, 4)),
    "norm": (lambda t, F, a: a.norm() + a.norm(dim=1), (3, 4)),
    "prod": (lambda t, F, a: a.prod(0) + a.prod(), (2, 3)),
    "cumsum": (lambda t, F, a: a.cumsum(0) + a.cumprod(1), (2, 3)),
    "softmax": (lambda t, F, a: a.softmax(0) + F.log_softmax(a, dim=1), (2, 3)),
    "logsumexp": (lambda t, F, a: t.logsumexp(a, 0), (2, 3)),
    "matrix and vector": (lambda t, F, a, b: a @ b, (2, 3), (3,)),
    "vector and matrix": (lambda t, F, a, b: a @ b, (3,), (3, 2)),
    "vectors": (lambda t, F, a, b: t.dot(a, b), (3,), (3,)),
    "matrices": (lambda t, F, a, b: a @ b, (2, 3), (3, 4)),
    "stacks": (lambda t, F, a, b: a @ b, (2, 3, 4), (4, 5)),
    "stack and stack": (lambda t, F, a, b: a @ b, (2, 3, 4), (5, 1, 4, 2)),
    "outer": (lambda t, F, a, b: t.outer(a, b), (3,), (2,)),
    "einsum": (lambda t, F, a, b: t.einsum("ijk,ik->j", a, b), (2, 3, 4), (2, 4)),
    "linear": (lambda t, F, a, b: F.linear(a, b), (5, 3), (2, 3)),
    "reshape": (lambda t, F, a: (a * 2).reshape(-1, 2).t() @ a.view(3, 2), (2, 3)),
    "transpose": (lambda t, F, a: a.permute(2, 0, 1) * a.transpose(0, 2).mT, (3, 3, 3)),
    "expand": (lambda t, F, a: a.unsqueeze(0).expand(4, -1) * a, (3,)),
    "repeat": (lambda t, F, a: a.repeat(2, 3).flatten() ** 2, (2, 2)),
    "cat": (lambda t, F, a, b: t.cat([a, b * 2, a], dim=-1), (2, 3), (2, 1)),
    "stack": (lambda t, F, a, b: t.stack([a, b], dim=1) * t.stack([b, a], -1), (3,), (3,)),
    "slices": (lambda t, F, a: a[1:, ::2] * a[0, 0] + a[-1, None, 1], (3, 4)),
    "split": (lambda t, F, a: a.chunk(2)[0] * a.split(2)[1] + a.unbind(0)[0], (4, 3)),
    "flip": (lambda t, F, a: a.flip(0) * a, (3, 2)),
    "diagonal": (lambda t, F, a: a.diagonal(1) * 2 + a.tril().sum(), (3, 4)),
    "sort": (lambda t, F, a: a.sort(descending=True)[0] * a, (5,)),
    "topk": (lambda t, F, a: a.topk(2)[0] ** 2, (5,)),
    "rows": (lambda t, F, a: a[[0, 2, 0]] * 2, (3, 4)),
    "columns": (lambda t, F, a: a[:, [1, 1, 3]] ** 2, (3, 4)),
    "rows and columns": (lambda t, F, a: a[:, [0, 1], :, [2, 0]] ** 2, (2, 3, 2, 4)),
    "written": (lambda t, F, a: written(a * 1.0), (3, 2)),
    "filled": (lambda t, F, a: filled(t, a), (3,)),
    "pad": (lambda t, F, a: F.pad(a, (1, 2)) ** 2, (2, 3)),
    "layer norm": (lambda t, F, a: F.layer_norm(a, (3,)) ** 3, (2, 3)),
    "losses": (
        lambda t, F, a, b: (
            F.mse_loss(a, b)
            + F.smooth_l1_loss(a, b)
            + F.binary_cross_entropy_with_logits(a, t.sigmoid(b))
        ),
        (2, 3),
        (2, 3),
    ),
    "attention": (lambda t, F, a: (a @ a.mT / 2).softmax(-1) @ a, (3, 4)),
    "conv2d": (lambda t, F, a, b: F.conv2d(a, b, padding=1, stride=2), (2, 2, 5, 5), (3, 2, 3, 3)),
    "pools": (lambda t, F, a: F.max_pool2d(a, 2) + F.avg_pool2d(a, 2), (2, 2, 4, 4)),
}


def written(y):
    y[0] = y[1] * 3
    y[:, 1] += y[:, 0]
    y *= 2
    return y


def filled(t, a):
    y = t.zeros_like(a)
    y[1:] = a[:-1]
    y[0] = a.sum()
    return y * a


def slices(lib, name):
    """Values of a case for five slices, and the gradients of each slice; sliced along others."""
    function, *shapes = SLICES[name]
    numbers, F = Numbers(lib), import_module(lib.__name__ + ".nn.functional")
    xs = [numbers(5, *shape) for shape in shapes]
    last = [x.movedim(0, -1) for x in xs]

    def f(*args):
        return function(lib, F, *args)

    def total(*args):
        y = f(*args)
        return (y * lib.arange(1.0, 1.0 + y.numel(), dtype=y.dtype).reshape(y.shape)).sum()

    grad, vmap = lib.func.grad, lib.vmap
    every = tuple(range(len(xs)))
    found = [
        vmap(f)(*xs),
        vmap(f, in_dims=-1, out_dims=-1)(*last),
        vmap(grad(total, argnums=every))(*xs),
    ]
    if len(xs) == 2:
        found.append(vmap(f, in_dims=(None, 0))(xs[0][0], xs[1]))
        found.append(vmap(f, in_dims=(0, None))(xs[0], xs[1][0]))
        fixed = xs[0][0].detach().clone().requires_grad_()  # the same for all slices
        vmap(lambda other: total(fixed, other))(xs[1]).sum().backward()
        found.append(fixed.grad)
    return leaves(found)


# --- derivatives ------------------------------------------------------------------------------


def network(t, w, x):
    return (t.tanh(w["W"] @ x + w["b"][0]) * w["b"][1]).sum()


def weights(numbers):
    return {"W": numbers(4, 3), "b": [numbers(4), numbers(4)]}


def classifier(t, numbers):
    nn = t.nn
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    w = {name: numbers(*p.shape) for name, p in net.named_parameters()}

    def loss(w, x, label):
        logits = t.func.functional_call(net, w, (x[None],))
        return nn.functional.cross_entropy(logits, label[None])

    return w, loss


def per_sample(t, n):
    w, loss = classifier(t, n)
    return t.vmap(t.func.grad(loss), in_dims=(None, 0, 0))(w, n(5, 3), n.ids(3, 5))


def ensemble(t, n):
    nn = t.nn
    nets = [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double() for _ in range(3)]
    for net in nets:
        net.load_state_dict({k: n(*v.shape) for k, v in net.state_dict().items()})
    w, b = t.func.stack_module_state(nets)
    y = t.vmap(lambda w, b, x: t.func.functional_call(nets[0], (w, b), (x,)), (0, 0, None))(
        w, b, n(5, 3)
    )
    (y**2).sum().backward()
    return y, {k: v.grad for k, v in w.items()}


def through_outside(t, n):
    """Gradients with respect to what the function knows, through the derivatives of it."""
    W, x = n(4, 3, requires_grad=True), n(5, 3)
    z = (W * 2).exp()  # it has consumers in the vmap and outside
    g = t.vmap(t.func.grad(lambda a: (t.tanh(z @ a) ** 2).sum()))(x)
    ((g**2).sum() + z.sum() + t.vmap(lambda a: (z.sin() @ a).sum())(x).prod()).backward()
    return g, W.grad


def of_tangents(t, n):
    v = n(3, requires_grad=True)
    _, change = t.func.jvp(lambda a: a**3, (n(3),), (v * 2,))
    (change**2).sum().backward()
    return change, v.grad


def written_input(t, n):
    x = n(4, 3, requires_grad=True)
    y = x * 2

    def f(a):
        a[0] = a[1] * 3
        return (a**2).sum()

    z = t.vmap(f)(y)
    (z.sum() + y.sum()).backward()
    return z, y, x.grad


def embedding(t, n):
    table, ids = n(7, 4), n.ids(7, 5, 6)
    f = t.nn.functional.embedding
    one = t.func.grad(lambda table, i: (f(i, table) ** 3).sum())
    return t.vmap(lambda i: f(i, table))(ids), t.vmap(one, in_dims=(None, 0))(table, ids)


def indices(t, n):
    x, i, j = n(5, 3, 4, 6), n.ids(3, 5, 2), n.ids(6, 5, 2)
    vmap, grad = t.vmap, t.func.grad

    def put(a, i):
        a = a * 1.0
        a[i[:1]] = a[i[1:]] * 2
        return a

    return (
        vmap(lambda a, i, j: a[i, :, j])(x, i, j),
        vmap(lambda a, j: a[:, 1:, j])(x, j),
        vmap(lambda a, j: a[..., j, None])(x, j),
        vmap(lambda a, j: a[:, None, :, j])(x, j),
        vmap(lambda a, i: a[i])(x, i),
        vmap(lambda a, i: a[i, i - 1])(x, i),
        vmap(lambda a, i, j: a[i[:, None], 1, j])(x, i, j),
        vmap(lambda i: x[i].sum(0))(i),
        vmap(lambda a: a[t.tensor([True, False, True])])(x),
        vmap(grad(lambda a, i, j: (a[i, :, j] ** 2).sum()))(x, i, j),
        vmap(grad(lambda a, j: (a[:, 1:, j] ** 3).sum()))(x, j),
        vmap(put)(x, i),
        vmap(grad(lambda a, i: (put(a, i) ** 2).sum()))(x, i),
        vmap(lambda a, i: t.gather(a[:, 0], 1, i[:, None]))(x[:, :2], i),
    )


TRANSFORMS = {
    "grad": lambda t, n: t.func.grad(lambda w, x: network(t, w, x))(weights(n), n(3)),
    "grad of both": lambda t, n: t.func.grad(lambda a, b: (a * b**2).sum(), argnums=(1, 0))(
        n(3), n(3)
    ),
    "grad with aux": lambda t, n: t.func.grad_and_value(
        lambda a: ((a**2).sum(), {"twice": a * 2}), has_aux=True
    )(n(3)),
    "grad of grad of grad": lambda t, n: t.func.grad(t.func.grad(t.func.grad(lambda a: a**4)))(n()),
    "no confusion": lambda t, n: t.func.grad(lambda a: a * t.func.grad(lambda b: a * b**2)(a))(n()),
    "vjp": lambda t, n: (lambda y, back: (y, back((n(4, 2), {"s": n()}))))(
        *t.func.vjp(lambda a, b: (a @ b, {"s": a.sum()}), n(4, 3), n(3, 2))
    ),
    "jvp": lambda t, n: t.func.jvp(
        lambda a, b: {"y": a @ b, "n": b.sum() * 2}, (n(4, 3), n(3, 2)), (n(4, 3), n(3, 2))
    ),
    "jvp of grad": lambda t, n: t.func.jvp(
        t.func.grad(lambda a: (a**3).sum() * a[0]), (n(3),), (n(3),)
    ),
    "vjp of vjp": lambda t, n: t.func.vjp(
        lambda v: t.func.vjp(lambda a: a**3, n(3))[1](v)[0], n(3)
    )[1](n(3)),
    "jacrev": lambda t, n: t.func.jacrev(
        lambda a, b: {"y": a @ b, "n": (a.sum() * b,)}, argnums=(0, 1)
    )(n(2, 3), n(3)),
    "jacfwd": lambda t, n: t.func.jacfwd(
        lambda a, b: {"y": a @ b, "n": (a.sum() * b,)}, argnums=(0, 1)
    )(n(2, 3), n(3)),
    "jacrev of a tree": lambda t, n: t.func.jacrev(lambda w, x: network(t, w, x) * x)(
        weights(n), n(3)
    ),
    "jacrev in chunks": lambda t, n: t.func.jacrev(lambda a: a**2, chunk_size=2)(n(3)),
    "jacobian with aux": lambda t, n: (
        t.func.jacrev(lambda a: (a**2, a.sum()), has_aux=True)(n(3)),
        t.func.jacfwd(lambda a: (a**2, a.sum()), has_aux=True)(n(3)),
    ),
    "hessian": lambda t, n: t.func.hessian(lambda w: network(t, w, n(3)))(weights(n)),
    "hessian of both": lambda t, n: t.func.hessian(lambda a, b: (a * b**2).sum(), argnums=(0, 1))(
        n(3), n(3)
    ),
    "jacobians of jacobians": lambda t, n: [
        outer(inner(lambda a: (a**3) * a[0]))(n(3))
        for outer in (t.func.jacrev, t.func.jacfwd)
        for inner in (t.func.jacrev, t.func.jacfwd)
    ],
    "vmap of hessian": lambda t, n: (
        lambda w: t.vmap(t.func.hessian(lambda x: network(t, w, x)))(n(5, 3))
    )(weights(n)),
    "vmap of jacobians": lambda t, n: (
        lambda W: [
            t.vmap(jacobian(lambda x: t.tanh(W @ x)))(n(5, 3))
            for jacobian in (t.func.jacrev, t.func.jacfwd)
        ]
    )(n(4, 3)),
    "vmap of vjp and jvp": lambda t, n: (
        t.vmap(lambda a, v: t.func.vjp(lambda x: x**3 * a, a)[1](v))(n(5, 3), n(5, 3)),
        t.vmap(lambda a, v: t.func.jvp(lambda x: x**3 * a, (a,), (v,)))(n(5, 3), n(5, 3)),
    ),
    "jacrev of vmap": lambda t, n: t.func.jacrev(
        lambda w: t.vmap(lambda a: (w * a).sum() ** 2 * w)(n(5, 3))
    )(n(3)),
    "vmap of jacrev of vmap": lambda t, n: (
        lambda x: t.vmap(t.func.jacrev(lambda w: t.vmap(lambda a: t.tanh(w * a).sum())(x)))(n(2, 3))
    )(n(5, 3)),
    "vmap of vmap": lambda t, n: t.vmap(
        t.vmap(lambda u, v: (u * v).sum() * u, in_dims=(None, 0)), in_dims=(0, None)
    )(n(5, 3), n(4, 3)),
    "vmap of vmap of grad": lambda t, n: t.vmap(
        t.vmap(t.func.grad(lambda u, v: t.dot(u, v) ** 2 + u[0]), in_dims=(None, 0)),
        in_dims=(1, None), out_dims=1,
    )(n(3, 5), n(4, 3)),
    "per-sample gradients": per_sample,
    "ensemble": ensemble,
    "through what is outside": through_outside,
    "of tangents": of_tangents,
    "an input that is written": written_input,
    "embedding": embedding,
    "indices": indices,
    "trees in vmap": lambda t, n: t.vmap(
        lambda d, y: {"s": d["a"] * y, "t": [d["b"].sum()]},
        in_dims=({"a": 0, "b": None}, None), out_dims={"s": 1, "t": [0]},
    )({"a": n(5, 3), "b": n(2)}, 2.0),
    "vmap in chunks": lambda t, n: t.vmap(
        lambda a: (a.sum(), a * 2), out_dims=(0, 1), chunk_size=2
    )(n(5, 3)),
    "functional jacobian": lambda t, n: [
        t.autograd.functional.jacobian(
            lambda a, b: (a @ b, a.sum() * b), (n(2, 3), n(3)), vectorize=vectorize
        )
        for vectorize in (False, True)
    ],
    "functional jacobian of columns": lambda t, n: t.autograd.functional.jacobian(
        lambda a, b: (a @ b, a.sum() * b), (n(2, 3), n(3)), vectorize=True, strategy="forward-mode"
    ),
    "functional hessian": lambda t, n: [
        t.autograd.functional.hessian(
            lambda a, b: (a**2 @ b).prod() + b.sum(), (n(2, 3), n(3)), vectorize=vectorize
        )
        for vectorize in (False, True)
    ],
    "functional products": lambda t, n: (
        t.autograd.functional.vjp(lambda a, b: a @ b, (n(2, 3), n(3)), n(2)),
        t.autograd.functional.jvp(lambda a, b: (a @ b, b * 2), (n(2, 3), n(3)), (n(2, 3), n(3))),
        *(
            product(lambda a, b: (a**2 @ b).prod(), (n(2, 3), n(3)), (n(2, 3), n(3)))
            for product in (t.autograd.functional.vhp, t.autograd.functional.hvp)
        ),
        t.autograd.functional.vjp(lambda a: (a**2).sum(), n(3)),
    ),
    "functional graphs": lambda t, n: [functional_graph(t, n, name) for name in PRODUCTS],
}  # fmt: skip
TRANSFORMS["rows of a Jacobian"] = lambda t, n: rows_of_jacobian(t, n(4, 3), n(3), n(2))
PRODUCTS = ("vjp", "jvp", "vhp", "hvp", "jacobian", "hessian")


def rows_of_jacobian(t, W, x, other):
    x.requires_grad_()
    other.requires_grad_()
    y = t.tanh(W @ x)
    g = t.autograd.grad(y, x, t.eye(4).double(), is_grads_batched=True, create_graph=True)
    (g[0] ** 2).sum().backward()
    zeros = t.autograd.grad((x**2).sum(), (x, other), materialize_grads=True)
    return g, x.grad, zeros


def functional_graph(t, n, name):
    """What is computed with create_graph is differentiated again, closures too."""
    a, w = n(3, requires_grad=True), n(3, requires_grad=True)
    of = getattr(t.autograd.functional, name)
    v = () if name in ("jacobian", "hessian") else ((n(3),) if name != "vjp" else (n(),))
    found = of(lambda x: (x**4 * w).sum(), a, *v, create_graph=True)
    sum((x**2).sum() for x in leaves(found, False)).backward()
    return found, a.grad, w.grad


def leaves(tree, plain=True):
    """The tensors in dicts, lists and tuples, as arrays."""
    if isinstance(tree, dict):
        tree = [tree[key] for key in sorted(tree)]
    if isinstance(tree, (list, tuple)):
        return [x for part in tree for x in leaves(part, plain)]
    return [np.array(tree.detach().numpy()) if plain else tree]


def answers(lib, name):
    """The numbers of a case."""
    if name in SLICES:
        return slices(lib, name)
    return leaves(TRANSFORMS[name](lib, Numbers(lib)))


def main():
    import torch

    found = {}
    for name in [*SLICES, *TRANSFORMS]:
        for i, array in enumerate(answers(torch, name)):
            found[f"{name}/{i}"] = array
    np.savez_compressed(FROZEN, **found)
    print(f"{len(found)} arrays, {FROZEN.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
