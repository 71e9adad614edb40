"""func, vmap and autograd.functional against PyTorch's answers, differences and loops."""

import gc
import warnings
from collections import namedtuple

import func_cases as cases
import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import func, nn, vmap
from tinygrad_ce.autograd import functional
from tinygrad_ce.engine import operands
from tinygrad_ce.engine.slices import mapped
from tinygrad_ce.nn import functional as F

FROZEN = np.load(cases.FROZEN)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("name", [*cases.SLICES, *cases.TRANSFORMS])
def test_values_are_pytorchs(name, live):
    if live:
        torch = pytest.importorskip("torch")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own
            wanted = cases.answers(torch, name)
    else:
        wanted = [FROZEN[key] for key in FROZEN if key.rpartition("/")[0] == name]
    ours = cases.answers(tg, name)
    assert len(ours) == len(wanted)
    for a, b in zip(ours, wanted):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


# --- against differences ------------------------------------------------------------------------


def test_a_hessian_of_a_network_is_that_of_differences():
    stream = np.random.default_rng(3)
    x, t = stream.standard_normal((6, 3)), stream.standard_normal((6, 2))
    flat = stream.standard_normal(4 * 3 + 2 * 4)

    def loss(w):
        hidden = (tg.tensor(x) @ w[:12].reshape(4, 3).t()).tanh()
        return F.mse_loss(hidden @ w[12:].reshape(2, 4).t(), tg.tensor(t))

    H = func.hessian(loss)(tg.tensor(flat)).numpy()
    g = func.grad(loss)
    h = 1e-5
    for j in range(len(flat)):
        e = h * np.eye(len(flat))[j]
        column = (g(tg.tensor(flat + e)) - g(tg.tensor(flat - e))).numpy() / (2 * h)
        np.testing.assert_allclose(H[:, j], column, rtol=1e-6, atol=1e-8)
    v = stream.standard_normal(len(flat))
    for product in (functional.vhp, functional.hvp):
        np.testing.assert_allclose(product(loss, tg.tensor(flat), tg.tensor(v))[1], H @ v)


def test_gradients_through_a_vmap_are_those_of_differences():
    def f(w, x):
        per_row = vmap(func.grad(lambda row: (w * row).tanh().prod() + (w @ row) ** 3))(x)
        return (per_row**2).sum(0) * w.exp()

    numbers = cases.Numbers(tg)
    inputs = numbers(3, requires_grad=True), numbers(4, 3, requires_grad=True)
    assert tg.autograd.gradcheck(f, inputs)
    assert tg.autograd.gradgradcheck(f, inputs)


# --- at once, not one after another --------------------------------------------------------------


def graph_size(y):
    """How many operations led to a tensor."""
    seen, stack = set(), [y]
    while stack:
        node = stack.pop()
        if node.inputs and id(node) not in seen:
            seen.add(id(node))
            stack += node.inputs
    return len(seen)


@pytest.mark.parametrize("name", cases.SLICES)
def test_an_operation_is_done_to_all_slices_at_once(name):
    """A trace writes each NumPy operation down; what is done slice by slice is stacked."""
    function, *shapes = cases.SLICES[name]

    def both(*args):
        y = vmap(lambda *xs: function(tg, F, *xs))(*args)
        return y.sum(), vmap(func.grad(lambda *xs: function(tg, F, *xs).sum()))(*args)

    stream = np.random.RandomState(1)
    program = tg.trace(both, *(tg.tensor(stream.rand(17, *s) + 0.5) for s in shapes))
    assert len(program.steps) > 1
    assert max(len(step.operands) for step in program.steps) < 17


def test_rows_of_a_jacobian_are_one_pass():
    W = tg.randn(30, 20)
    program = tg.trace(lambda x: func.jacrev(lambda x: (W @ x).tanh())(x), tg.randn(20))
    assert len(program.steps) < 20


def test_per_sample_gradients_keep_a_graph_of_the_same_size():
    numbers = cases.Numbers(tg)
    w, loss = cases.classifier(tg, numbers)
    w = {name: p.requires_grad_() for name, p in w.items()}
    g = [
        vmap(func.grad(loss), in_dims=(None, 0, 0))(w, numbers(n, 3), numbers.ids(3, n))["0.weight"]
        for n in (2, 50)
    ]
    assert g[1].shape == (50, 4, 3) and graph_size(g[0]) == graph_size(g[1])


def test_what_has_no_batch_rule_is_done_slice_by_slice():
    x = cases.Numbers(tg)(4, 3, 3)
    y = vmap(tg.linalg.inv)(x)
    np.testing.assert_allclose(y, np.linalg.inv(x.numpy()))
    g = vmap(func.grad(tg.linalg.det))(x)
    wanted = np.linalg.det(x.numpy())[:, None, None] * np.linalg.inv(x.numpy()).swapaxes(1, 2)
    np.testing.assert_allclose(g, wanted)


# --- what a vmap takes, and what it refuses ------------------------------------------------------

ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def rows(**kwargs):
    return tg.tensor(ROWS, **kwargs)


def to_outside():
    outside = tg.zeros(2)
    return vmap(lambda a: outside.add_(a))(rows())


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: vmap(lambda a: a if a.sum() > 0 else -a)(rows()), RuntimeError, "where"),
        (lambda: vmap(lambda a: a.sum().item())(rows()), RuntimeError, "each slice has its own"),
        (lambda: vmap(lambda a: a + tg.rand(2))(rows()), RuntimeError, "randomness='different'"),
        (lambda: vmap(lambda a: a[a > 2])(rows()), RuntimeError, r"where\(mask"),
        (to_outside, RuntimeError, "the same for all slices is written"),
        (lambda: vmap(lambda a: (tg.ones(2, requires_grad=True) * a).sum().backward())(rows()),
         RuntimeError, "func.grad"),
        (lambda: vmap(lambda a: 3)(rows()), ValueError, "got an int as a result"),
        (lambda: vmap(lambda a: (a, a), out_dims=(0, None))(rows()), ValueError, "differs between"),
        (lambda: vmap(lambda a: a, out_dims=(0, 0, 0))(rows()), ValueError, "another form"),
        (lambda: vmap(lambda a: a, out_dims=2)(rows()), IndexError, "slices of 1 dim"),
        (lambda: vmap(lambda a, b: a)(rows(), tg.ones(2)), ValueError, r"have \[3, 2\] slices"),
        (lambda: vmap(lambda a: a, in_dims=2)(rows()), ValueError, "tensor of 2 dimensions"),
        (lambda: vmap(lambda a: a, in_dims=[0])(rows()), ValueError, "in_dims is a list"),
        (lambda: vmap(lambda a: a, in_dims=(0, 0))(rows()), ValueError, "another form"),
        (lambda: vmap(lambda a: a, in_dims=({"x": 0},))({"y": rows()}), ValueError, "another form"),
        (lambda: vmap(lambda a, b: a)(rows(), 3), ValueError, "None in in_dims"),
        (lambda: vmap(lambda: 1)(), ValueError, "no argument is sliced"),
        (lambda: vmap(lambda a: a, randomness="some"), RuntimeError, "'same'"),
        (lambda: vmap(lambda a: a, chunk_size=0), ValueError, "chunk_size=0"),
        (lambda: vmap(lambda a: np.asarray(a))(rows()), RuntimeError, "NumPy"),
        (lambda: func.grad(lambda a: a)(rows()), RuntimeError, r"shape \(3, 2\); wanted one num"),
        (lambda: func.grad(lambda a: 1.0)(rows()), RuntimeError, "gave float"),
        (lambda: func.grad(lambda a: a.sum(), 1)(rows()), RuntimeError, "argnums=1 of 1"),
        (lambda: func.grad(lambda a: a.sum(), (0, 0))(rows()), RuntimeError, "each argument once"),
        (lambda: func.grad(lambda a: a.sum())(3.0), ValueError, "wanted a Tensor"),
        (lambda: func.grad(lambda a: a.sum())(tg.tensor([1, 2])), TypeError, "no derivative"),
        (lambda: func.grad(lambda a: a.sum(), has_aux=True)(rows()), RuntimeError, "aux"),
        (lambda: func.vjp(lambda a: a, rows())[1](tg.ones(2)), RuntimeError, r"\(3, 2\)"),
        (lambda: func.jvp(lambda a: a, rows(), rows()), RuntimeError, r"\(x,\)"),
        (lambda: func.jvp(lambda a: a, (rows(),), (3.0,)), RuntimeError, "float"),
        (lambda: func.jvp(lambda a: tg.ones(1), (rows(),), (rows(),), strict=True), RuntimeError,
         "strict"),
        (lambda: functional.jacobian(lambda a: a, rows(), strategy="sideways"), ValueError,
         "forward-mode"),
        (lambda: functional.jacobian(lambda a: a, rows(), strategy="forward-mode"),
         NotImplementedError, "vectorize=True"),
        (lambda: functional.vjp(lambda a: a, rows()), RuntimeError, "v may be left out"),
        *(
            (lambda f=f: f(lambda a, b: a.sum(), (rows(), rows()), strict=True), RuntimeError,
             "strict=True")
            for f in (functional.jacobian, functional.hessian, functional.vjp)
        ),
        (lambda: functional.jacobian(lambda a: tg.ones(2), rows(), strict=True), RuntimeError,
         "output 0 depends on no input"),
        (lambda: functional.jvp(lambda a, b: a * 2, (rows(), rows()), (rows(), rows()),
                                strict=True), RuntimeError, "an input changes no output"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_random_numbers_are_the_same_or_others_for_each_slice():
    """As one draw of all of them, in PyTorch's order."""
    g = tg.Generator()

    def draw(make, randomness):
        tg.manual_seed(5)
        return vmap(lambda a: make(a), randomness=randomness)(rows()).tolist()

    makes = [
        (lambda a: tg.rand(2), lambda: g.rand((3, 2)), lambda: g.rand(2)),
        (lambda a: tg.randn_like(a), lambda: g.randn((3, 2)), lambda: g.randn(2)),
        (lambda a: tg.randint(0, 9, (4,)), lambda: g.randint(0, 9, (3, 4)),
         lambda: g.randint(0, 9, 4)),
        (lambda a: tg.randperm(5), lambda: np.stack([g.randperm(5) for _ in range(3)]),
         lambda: g.randperm(5)),
    ]  # fmt: skip
    for make, all_of_them, one in makes:
        g.manual_seed(5)
        assert draw(make, "different") == all_of_them().tolist()
        g.manual_seed(5)
        assert draw(make, "same") == [one().tolist()] * 3
    g.manual_seed(5)
    p = np.array(ROWS, np.float32) / 7
    assert draw(lambda a: tg.bernoulli(a / 7), "different") == g.bernoulli(p).tolist()


def test_what_was_written_since_gives_no_wrong_gradient():
    for write in ("a tensor", "NumPy"):
        x = tg.from_numpy(np.array(ROWS)).requires_grad_()
        shared = x.detach().numpy()
        y = vmap(lambda a: (a * a).sum())(x).sum()
        if write == "NumPy":
            shared[0, 0] = 9.0
        else:
            with tg.no_grad():
                x += 1.0
        with pytest.raises(RuntimeError, match="as it was"):
            y.backward()
    x = rows(requires_grad=True)
    y = vmap(lambda a: a.exp())(x)
    total = y.sum()
    y += 1.0  # the result has an array of its own
    total.backward()
    np.testing.assert_allclose(x.grad, np.exp(ROWS), rtol=1e-6)


def test_an_input_is_written_through_as_in_a_loop():
    x = rows()
    vmap(lambda a: a.mul_(2.0))(x)
    assert x.tolist() == [[2.0, 4.0], [6.0, 8.0], [10.0, 12.0]]


def test_index_assignments_are_those_of_a_loop():
    numbers = cases.Numbers(tg)
    x, i, v = numbers(4, 3, 2, 5), numbers.ids(5, 4, 2), numbers(4, 3, 2)

    def put(a, i, v):
        a = a * 1.0
        a[:, 1, i] = v
        a[1:, None, :, i[0]] += v[1:, None]
        return a

    def total(a, i, v):
        return (put(a, i, v) ** 2).sum()

    loop = [put(*one) for one in zip(x, i, v)]
    np.testing.assert_allclose(vmap(put)(x, i, v), np.stack([y.numpy() for y in loop]))
    slope = func.grad(total, argnums=(0, 2))
    loops = zip(*(slope(*one) for one in zip(x, i, v)))
    for found, wanted in zip(vmap(slope)(x, i, v), loops):
        np.testing.assert_allclose(found, np.stack([g.numpy() for g in wanted]))


def test_new_tensors_like_slices_can_be_written():
    def shifted(make):
        def f(a):
            y = make(a)
            y[0] += a[1]
            return y

        return vmap(f)(rows()).tolist()

    moved = [[n, 0.0] for n in (2.0, 4.0, 6.0)]
    assert shifted(tg.zeros_like) == shifted(lambda a: a.new_zeros(2)) == moved
    assert shifted(lambda a: a.new_full((2,), 0.0)) == shifted(lambda a: a * 0.0) == moved
    assert shifted(lambda a: tg.ones_like(a) - 1.0) == moved
    assert shifted(lambda a: tg.empty_like(a).zero_()) == moved
    assert shifted(lambda a: tg.full_like(a, a[0])) == [[3.0, 1.0], [7.0, 3.0], [11.0, 5.0]]
    nested = vmap(vmap(lambda a, b: tg.zeros_like(a).add_(b), in_dims=(None, 0)), in_dims=(0, None))
    assert nested(tg.zeros(2), tg.ones(3)).tolist() == [[1.0] * 3] * 2
    close = vmap(tg.isclose)(rows(), tg.tensor([[1.0, 0.0], [0.0, 4.0], [0.0, 0.0]]))
    assert close.tolist() == [[True, False], [False, True], [False, False]]


def test_slices_say_what_they_are():
    seen = []
    vmap(lambda a: (seen.append((repr(a), a.shape, a.ndim, a.numel(), len(a), a.dtype)), a)[1])(
        rows()
    )
    text = "tensor(<3 slices of shape (2,) and dtype float32>)"
    assert seen == [(text, (2,), 1, 2, 2, tg.float32)]


def test_nothing_is_mapped_to_nothing():
    assert vmap(lambda a: (a * 2).sum())(tg.zeros(0, 3)).shape == (0,)


def test_a_result_needs_a_gradient_only_if_something_outside_does():
    x, w = tg.ones(2), tg.ones(2, requires_grad=True)
    assert not func.grad(lambda a: (a * a).sum())(x).requires_grad
    assert func.grad(lambda a: (a * a * w).sum())(x).requires_grad
    assert func.grad(lambda a: (a * a).sum())(w).requires_grad
    with tg.no_grad():
        assert not func.grad(lambda a: (a * a * w).sum())(w).requires_grad
    aux = func.grad(lambda a: (a.sum(), a * 2), has_aux=True)(x)[1]
    assert not aux.requires_grad and aux.tolist() == [2.0, 2.0]
    assert w.grad is None


# --- compiled ------------------------------------------------------------------------------------


def test_compiled_they_are_the_same():
    numbers = cases.Numbers(tg)
    w, loss = cases.classifier(tg, numbers)
    xs, labels = numbers(5, 3), numbers.ids(3, 5)
    W = numbers(4, 3, requires_grad=True)

    def per_sample(xs, labels):
        return vmap(func.grad(loss), in_dims=(None, 0, 0))(w, xs, labels)

    def step(xs, labels):
        W.grad = None
        y = vmap(lambda x, i: ((W @ x).tanh() * W[i].sum()).sum())(xs, labels)
        (y**2).sum().backward()
        return y.detach()

    def hessian(xs, labels):
        return func.hessian(lambda x: cases.network(tg, {"W": W.detach(), "b": W[:2, :1]}, x))(
            xs[0]
        ).detach()

    for function in (per_sample, step, hessian):
        compiled = tg.compile(function)
        for k in range(3):
            xs = xs * 0.9 + k
            wanted, grad = function(xs, labels), W.grad
            found = compiled(xs, labels)
            for a, b in zip(cases.leaves(found), cases.leaves(wanted)):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
            if grad is not None:
                np.testing.assert_allclose(W.grad, grad, rtol=1e-12)


# --- modules -------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(tg.ones(1))
        self.b = self.a
        self.register_buffer("calls", tg.zeros(()))

    def forward(self, x, times=1.0):
        self.calls = self.calls + 1
        return (x + self.a + self.b) * times


def test_a_module_is_called_with_other_tensors():
    call, module, zero = func.functional_call, Tied(), {"a": tg.zeros(1)}
    assert call(module, zero, tg.zeros(1)).tolist() == [0.0]
    assert call(module, zero, tg.zeros(1), tie_weights=False).tolist() == [1.0]
    assert call(module, {**zero, "b": tg.ones(1)}, (tg.zeros(1),), {"times": 3.0},
                tie_weights=False).tolist() == [3.0]  # fmt: skip
    count = {"calls": tg.tensor(5.0)}
    assert call(module, (zero, count), tg.ones(1)).tolist() == [1.0]
    assert count["calls"].item() == 6.0 and module.calls.item() == 3.0
    assert module.a is module.b and module(tg.zeros(1)).tolist() == [2.0]
    with pytest.raises(ValueError, match="are one tensor in the module"):
        call(module, {**zero, "b": tg.ones(1)}, tg.zeros(1))
    with pytest.raises(ValueError, match=r"\['a'\] are in several dicts"):
        call(module, (zero, zero), tg.zeros(1))
    with pytest.raises(ValueError, match="wanted a dict"):
        call(module, [3], tg.zeros(1))
    with pytest.raises(RuntimeError, match="has no"):
        call(module, {"c": tg.zeros(1)}, tg.zeros(1))
    with pytest.raises(RuntimeError, match=r"lacks .*calls"):
        call(module, zero, tg.zeros(1), strict=True)
    with pytest.raises(TypeError):
        call(module, zero, "no tensor", {"times": None})
    assert module.a.tolist() == [1.0]  # as before, after an error too


def test_states_of_models_are_stacked():
    with pytest.raises(RuntimeError, match="no models"):
        func.stack_module_state([])
    with pytest.raises(RuntimeError, match="one class"):
        func.stack_module_state([nn.Linear(1, 1), nn.ReLU()])
    frozen = nn.Linear(1, 1).requires_grad_(False)
    with pytest.raises(RuntimeError, match="weight require"):
        func.stack_module_state([nn.Linear(1, 1), frozen])
    parameters, buffers = func.stack_module_state([nn.BatchNorm1d(2), nn.BatchNorm1d(2)])
    assert parameters["weight"].is_leaf and parameters["weight"].requires_grad
    assert buffers["running_mean"].shape == (2, 2) and not buffers["running_mean"].requires_grad


# --- slices among other things -------------------------------------------------------------------


def test_slices_do_what_arrays_do():
    """What functions do with the array of a tensor, for all slices, against NumPy on each."""
    numbers = np.random.default_rng(2).standard_normal((4, 3, 3))

    def changed(v):
        v = v.copy()
        v += 1.0
        v[0] *= v[1]
        return v

    for f in (
        lambda v: v.sum(0),
        lambda v: v.max(1, keepdims=True),
        lambda v: v.mean((0, 1)),
        lambda v: v.var(0, ddof=1),
        lambda v: np.stack([row * 2 for row in v]),
        lambda v: np.add.outer(v[0], v[1]),
        lambda v: np.dot(v[0, 0, ...], v),
        lambda v: np.dot(v[0], v[:, 1]),
        lambda v: v.view(np.int64) * 2,
        lambda v: np.modf(v)[0],
        lambda v: np.kron(v, np.eye(2)),
        lambda v: np.ones_like(v) - v,
        changed,
    ):
        found = vmap(lambda a, f=f: operands.leaf(f(a.array)))(tg.tensor(numbers)).numpy()
        np.testing.assert_allclose(found, np.stack([f(v.copy()) for v in numbers]), rtol=1e-14)
    y = vmap(lambda a: np.where(a.array > 0, a, 0.0))(tg.tensor(numbers))
    np.testing.assert_array_equal(y, np.where(numbers > 0, numbers, 0.0))
    layout = vmap(lambda a: a.mT.contiguous().view(-1))(tg.tensor(numbers))
    np.testing.assert_array_equal(layout, numbers.swapaxes(1, 2).reshape(4, 9))


def test_what_is_made_inside_has_gradients_of_its_own():
    def f(a):
        w = a.detach().requires_grad_()
        (w**3).sum().backward()
        return w.grad

    np.testing.assert_allclose(vmap(f)(rows()), 3 * np.array(ROWS) ** 2)
    w = tg.ones(2, requires_grad=True)
    w.grad = tg.ones(2)
    with pytest.raises(RuntimeError, match="an optimiser takes a step"):
        vmap(lambda a: (tg.optim.SGD([w], lr=0.1).step(), a)[1])(rows())


def test_random_numbers_in_a_compiled_vmap():
    def step(x):
        return vmap(lambda a: F.dropout(a, 0.5), randomness="different")(x)

    x, compiled = tg.ones(5, 8), tg.compile(step)
    tg.manual_seed(1)
    wanted = [step(x).tolist() for _ in range(3)]
    tg.manual_seed(1)
    assert [compiled(x).tolist() for _ in range(3)] == wanted and wanted[0] != wanted[1]


def test_named_tuples_stay_what_they_are():
    point = namedtuple("Point", "x y")
    g = func.grad(lambda p: (p.x * p.y).sum())(point(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])))
    assert isinstance(g, point) and g.x.tolist() == [3.0, 4.0] and g.y.tolist() == [1.0, 2.0]


def test_a_vmap_is_drawn_as_operations_on_one_slice():
    W = tg.ones(4, 2, requires_grad=True)
    text = str(tg.draw(vmap(lambda a: (W @ a).tanh().sum())(rows()).sum()))
    assert "5 operations" in text and "out_of" in text


def test_nothing_is_left_of_a_vmap_when_its_graph_is_gone():
    W = tg.ones(2, requires_grad=True)
    y = vmap(lambda a: (W * a).sum())(rows())
    assert mapped
    del y
    gc.collect()
    assert not mapped


def test_batched_weights_leave_out_what_is_not_used():
    x, other = tg.ones(2, requires_grad=True), tg.ones(3, requires_grad=True)
    y, weights = x * 3.0, tg.eye(2)
    found = tg.autograd.grad(y, (other, x), weights, allow_unused=True, is_grads_batched=True)
    assert found[0] is None and found[1].tolist() == [[3.0, 0.0], [0.0, 3.0]]
    with pytest.raises(RuntimeError, match="is not used"):
        tg.autograd.grad(y, (other, x), weights, is_grads_batched=True)
    with pytest.raises(ValueError, match="materialize_grads"):
        tg.autograd.grad(y.sum(), x, allow_unused=False, materialize_grads=True)


def test_the_arguments_of_grad_come_in_pytorchs_order():
    x, other = rows(requires_grad=True), rows(requires_grad=True)
    y = (x * x).sum()
    found = tg.autograd.grad(y, (x, other), None, None, False, True, True)
    assert found[0].tolist() == (2 * x).tolist() and found[1] is None
    with pytest.raises(RuntimeError):
        tg.autograd.grad(y, (x, other), None, None, False, True, False)


def test_a_setting_that_differs_from_slice_to_slice_meets_a_gradient_with_a_history():
    weigh = tg.rule(lambda x, m: m * x * x, lambda g, x, m: m * (2 * g * x), name="weigh")
    x, m = tg.tensor([[1.0, -2.0], [3.0, 0.5]]), tg.tensor([[2.0, 1.0], [-1.0, 4.0]])

    def of_slope(x, m):
        return (func.grad(lambda x: weigh(x, m.array).sum())(x) ** 2).sum()

    assert vmap(func.grad(of_slope))(x, m).tolist() == (8 * m * m * x).tolist()
