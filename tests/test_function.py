"""Operations of the user's own, and hooks: against derivatives by hand and PyTorch's words."""

import gc
import math
import weakref

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.autograd import Function, grad, gradcheck, gradgradcheck
from tinygrad_ce.autograd.function import once_differentiable
from tinygrad_ce.engine.hooks import hooked


class Cube(Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return scale * x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * ctx.scale * x**2, None


class Exp(Function):
    """The one of PyTorch's own documentation: what is saved is the output."""

    @staticmethod
    def forward(ctx, i):
        result = i.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, grad_output):
        (result,) = ctx.saved_tensors
        return grad_output * result


class Polar(Function):
    """Two outputs, two inputs, and an integer that has no gradient."""

    @staticmethod
    def forward(x, y):
        return (x * x + y * y).sqrt(), (y / x).arctan(), (x > y).long()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g_r, g_phi, g_more):
        assert g_more.dtype == tg.int64 and not g_more.any()
        x, y = ctx.saved_tensors
        r2 = x * x + y * y
        r = r2.sqrt()
        return g_r * x / r - g_phi * y / r2, g_r * y / r + g_phi * x / r2


def numbers(*shape, seed=0):
    return tg.tensor(np.random.default_rng(seed).uniform(0.5, 2.0, shape), requires_grad=True)


@pytest.mark.parametrize("function", [
    lambda x: Cube.apply(x, 2.0),
    lambda x: Exp.apply(x),
    lambda x: Exp.apply(x) * Cube.apply(x.exp(), 0.5),
    lambda x: Polar.apply(x, x * x)[0],
    lambda x: (lambda r, phi, _: r * phi.sin() + phi)(*Polar.apply(x, x.exp())),
])  # fmt: skip
@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_gradients_of_both_orders_are_the_slopes(function, shape):
    x = numbers(*shape)
    assert gradcheck(function, (x,)) and gradgradcheck(function, (x,))


def test_the_outputs():
    x, y = numbers(3), numbers(3, seed=1)
    r, phi, more = Polar.apply(x, y)
    np.testing.assert_allclose(r.detach().numpy(), np.hypot(x.detach().numpy(), y.detach().numpy()))
    assert r.requires_grad and phi.requires_grad and not more.requires_grad
    assert [type(y) for y in Polar.apply(x.detach(), y.detach())] == [tg.Tensor] * 3
    with tg.no_grad():
        assert not Exp.apply(x).requires_grad
    assert Exp.apply(x).grad_fn.name() == "ExpBackward"


def test_an_output_that_nobody_used_has_a_gradient_of_zeros():
    x, y = numbers(3), numbers(3, seed=1)
    Polar.apply(x, y)[1].sum().backward()
    r2 = (x * x + y * y).detach()
    np.testing.assert_allclose(x.grad.numpy(), (-y.detach() / r2).numpy())


def test_what_the_context_knows():
    seen = []

    class Product(Function):
        @staticmethod
        def forward(ctx, a, b, power=1):
            ctx.save_for_backward(a, None, b)
            seen.append(ctx.needs_input_grad)
            assert not (a * b).requires_grad
            return (a * b) ** power

        @staticmethod
        def backward(ctx, g):
            a, nothing, b = ctx.saved_tensors
            assert nothing is None and not g.requires_grad
            return g * b, g * a if ctx.needs_input_grad[1] else None, None

    a, b = numbers(2), numbers(2).detach()
    Product.apply(a, b, 1).sum().backward()
    assert seen == [(True, False, False)] and a.grad.tolist() == b.tolist()


def test_a_straight_through_estimator():
    class Sign(Function):
        @staticmethod
        def forward(ctx, x):
            return x.sign()

        @staticmethod
        def backward(ctx, g):
            return g.clamp(-1, 1)

    x = tg.tensor([-2.0, 3.0], requires_grad=True)
    (Sign.apply(x) * tg.tensor([5.0, 0.5])).sum().backward()
    assert x.grad.tolist() == [1.0, 0.5]


def test_identity_shares_nothing():
    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return -g

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = Same.apply(x)
    y.sum().backward()
    assert x.grad.tolist() == [-1.0, -1.0]
    with tg.no_grad():
        y += 1
    assert x.tolist() == [1.0, 2.0]


def test_mistakes():
    def returning(forward, backward):
        body = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        return type("Mine", (Function,), body).apply

    x = numbers(2)
    double = lambda ctx, x: 2 * x  # noqa: E731
    cases = [
        (lambda ctx, x: [1.0], lambda ctx, g: g, TypeError, "Mine.forward gave float; wanted a T"),
        (double, lambda ctx, g: (g, g), RuntimeError, "gave 2 gradients; wanted 1, one each"),
        (double, lambda ctx, g: g.sum(), RuntimeError, r"gradient 0 has shape \(\); the input"),
        (double, lambda ctx, g: 3.0, TypeError, "gradient 0 is float; wanted a Tensor or None"),
        (lambda ctx, x: ctx.save_for_backward(3) or x, double, TypeError, "wanted Tensors. All"),
        (lambda ctx, x: ctx.mark_dirty(x) or x, double, NotImplementedError, "mark_dirty: write"),
    ]
    for forward, backward, error, message in cases:
        with pytest.raises(error, match=message):
            returning(forward, backward)(x).sum().backward()
    with pytest.raises(RuntimeError, match=r"Cube: a Function is not made; call Cube.apply"):
        Cube()


class Three(Function):
    """(x, 2x, 3x), which tells what it is given."""

    given = ()

    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        return x * 1.0, x * 2.0, x * 3.0

    @staticmethod
    def backward(ctx, *gradients):
        Three.given.append([g if g is None else g.tolist() for g in gradients])
        return sum(k * g for k, g in enumerate(gradients, 1) if g is not None)


@pytest.mark.parametrize(("used", "slope"), [((1,), 2.0), ((0, 2), 4.0), ((0, 1, 2), 6.0)])
def test_outputs_without_a_gradient_give_none_where_that_is_asked(used, slope):
    Three.given = []
    x = numbers(2)
    outputs = Three.apply(x)
    loss = sum(outputs[k].sum() for k in used)
    for _ in range(2):
        loss.backward()
    assert Three.given == [[[1.0, 1.0] if k in used else None for k in range(3)]] * 2
    assert x.grad.tolist() == [2 * slope] * 2
    (again,) = tg.autograd.grad(outputs[1].sum(), x, create_graph=True)
    assert Three.given[-1] == [None, [1.0, 1.0], None] and again.tolist() == [2.0, 2.0]


def test_a_graph_that_was_freed_keeps_nothing_that_was_saved():
    kept = []

    class Square(Function):
        @staticmethod
        def forward(ctx, x):
            kept.append(ctx)
            ctx.save_for_backward(x, y := x * x)
            return y

        @staticmethod
        def backward(ctx, g):
            return 2 * ctx.saved_tensors[0] * g

    x = numbers(2)
    h = x * 1.0
    alive = weakref.ref(h)
    y = Square.apply(h).sum()
    y.backward(retain_graph=True)
    first = x.grad.tolist()
    y.backward(retain_graph=False)
    assert x.grad.tolist() == [2 * g for g in first]
    with pytest.raises(RuntimeError, match="freed by backward"):
        y.backward()
    with pytest.raises(RuntimeError, match="saved_tensors: they were freed by backward"):
        _ = kept[0].saved_tensors
    del h
    assert alive() is None


def test_a_saved_tensor_that_was_written_raises():
    x = numbers(2)
    h = x * 1.0
    y = Cube.apply(h, 1.0)
    with tg.no_grad():
        h += 1
    with pytest.raises(RuntimeError, match=r"\+= has changed it in place since"):
        y.sum().backward()


def test_once_differentiable():
    class Square(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            return 2 * ctx.saved_tensors[0] * g

    x = tg.tensor([3.0], requires_grad=True)
    (first,) = grad(Square.apply(x).sum(), x, create_graph=True)
    assert first.tolist() == [6.0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_compiled_step_holds_what_both_do():
    def build():
        w = tg.tensor([0.5, -1.0], requires_grad=True)
        optimizer = tg.optim.SGD([w], lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = (Cube.apply(w * x, 2.0) + Exp.apply(w)).sum()
            loss.backward()
            optimizer.step()
            return loss

        return w, step

    (w, eager), (v, step) = build(), build()
    compiled = tg.compile(step)
    for k in range(4):
        x = tg.tensor([1.0, k - 1.5])
        np.testing.assert_allclose(compiled(x).item(), eager(x).item(), rtol=1e-5)
    np.testing.assert_allclose(v.tolist(), w.tolist(), rtol=1e-5)


def test_a_function_is_drawn(tmp_path):
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    loss = (Cube.apply(x, 2.0) * Exp.apply(x)).sum()
    text = tg.draw(loss, {"x": x}).save(tmp_path / "x.txt").read_text()
    assert "Cube" in text and "Exp" in text
    assert "Cube" in tg.play(loss, {"x": x}).html


# --- hooks of tensors -----------------------------------------------------------------------


def test_hooks_see_the_whole_gradient_and_may_replace_it():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    h = x * 3
    seen = []
    handles = [h.register_hook(lambda g: seen.append(g.tolist())),
               h.register_hook(lambda g: g * 10),
               x.register_hook(lambda g: seen.append(g.tolist()))]  # fmt: skip
    h.retain_grad()
    (h * h + h).sum().backward()  # 2h + 1 = 7 and 13
    assert seen == [[7.0, 13.0], [210.0, 390.0]]
    assert h.grad.tolist() == [70.0, 130.0] and x.grad.tolist() == [210.0, 390.0]
    for handle in handles:
        handle.remove()
    handles[0].remove()  # twice is no mistake
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0] and len(seen) == 2
    with x.register_hook(lambda g: -g):
        assert grad((x * 3).sum(), x)[0].tolist() == [-3.0, -3.0]
    assert grad((x * 3).sum(), x)[0].tolist() == [3.0, 3.0]


def test_a_hook_may_write_into_its_gradient_and_nowhere_else():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = tg.tensor([1.0, 2.0], requires_grad=True)
    x.register_hook(lambda g: g.mul_(0))
    (x + y).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0] and y.grad.tolist() == [1.0, 1.0]


def test_a_hook_under_create_graph_is_part_of_the_graph():
    x = tg.tensor([3.0], requires_grad=True)
    x.register_hook(lambda g: g * x)
    (first,) = grad((x * x).sum(), x, create_graph=True)  # 2x², then a hook makes its slope 4x·x
    assert first.tolist() == [18.0] and grad(first.sum(), x)[0].tolist() == [36.0]


def test_mistakes_with_hooks():
    x = tg.tensor([3.0, 1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        x.detach().register_hook(print)
    x.register_hook(lambda g: g.sum())
    with pytest.raises(TypeError, match=r"the hook gave \(\); wanted None, or a Tensor of shape"):
        x.sum().backward()


def test_a_compiled_step_follows_hooks():
    w = tg.tensor([2.0], requires_grad=True)

    @tg.compile
    def step(x):
        w.grad = None
        (w * x).sum().backward()
        return w.grad

    x = tg.tensor([3.0])
    assert [step(x).item() for _ in range(3)] == [3.0] * 3
    handle = w.register_hook(lambda g: g * 2)
    assert [step(x).item() for _ in range(3)] == [6.0] * 3
    handle.remove()
    assert [step(x).item() for _ in range(3)] == [3.0] * 3 and math.isfinite(w.item())


def test_a_compiled_step_follows_what_a_hook_reads():
    global SCALE
    SCALE = 2.0
    w = tg.tensor([1.0], requires_grad=True)
    w.register_hook(lambda g: g * SCALE)

    @tg.compile
    def step(x):
        w.grad = None
        (w * x).sum().backward()
        return w.grad

    x = tg.tensor([1.0])
    assert [step(x).item() for _ in range(4)] == [2.0] * 4
    SCALE = 100.0
    assert [step(x).item() for _ in range(3)] == [100.0] * 3
    runners = len(step.runners)
    for _ in range(3):  # hooks of others are none of its business
        (w.detach().requires_grad_() * 1).register_hook(print)
        assert step(x).item() == 100.0
    assert len(step.runners) == runners


def test_hooks_stay_with_what_a_tensor_was_before_a_write():
    w = tg.tensor([1.0, 1.0], requires_grad=True)
    seen = []
    x = w * 2
    handle = x.register_hook(lambda g: seen.append(g.tolist()) or g.clamp(max=2.0))
    y = x * 5
    x *= 3
    (x.sum() + y.sum()).backward()
    assert seen == [[8.0, 8.0]] and w.grad.tolist() == [4.0, 4.0]
    handle.remove()
    w.grad = None
    (x.sum() + y.sum()).backward()
    assert w.grad.tolist() == [16.0, 16.0]


def test_hooks_that_are_gone_are_forgotten():
    gc.collect()
    before = len(hooked)
    tensors = [tg.ones(1, requires_grad=True) for _ in range(20)]
    handles = [x.register_hook(lambda g: g) for x in tensors]
    assert len(hooked) == before + 20
    for handle in handles[:10]:
        handle.remove()
    assert len(hooked) == before + 10
    del tensors, handles, handle
    gc.collect()
    assert len(hooked) == before


def test_gradients_are_nobody_elses():
    class Dot(Function):
        @staticmethod
        def forward(ctx, w, x):
            ctx.save_for_backward(x)
            return (w * x).sum()

        @staticmethod
        def backward(ctx, g):
            return ctx.saved_tensors[0], None

    w, x = tg.tensor([1.0, 1.0], requires_grad=True), tg.tensor([30.0, 40.0])
    Dot.apply(w, x).backward()
    w.grad.zero_()
    assert x.tolist() == [30.0, 40.0]
    kept, given = [], tg.tensor([1.0, 0.0])
    w.register_hook(kept.append)
    w.register_hook(lambda g: given)
    w.grad = None
    (w * 5).sum().backward()
    w.grad.mul_(7)
    assert kept[0].tolist() == [5.0, 5.0] and given.tolist() == [1.0, 0.0]


def test_the_same_seed_with_other_numbers():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y, seed = Cube.apply(x, 1.0), tg.zeros(2)
    rows = []
    for i in range(2):
        seed.zero_()
        seed[i] = 1.0
        rows.append(grad(y, x, seed, retain_graph=True)[0].tolist())
    assert rows == [[3.0, 0.0], [0.0, 12.0]]


def test_saved_outputs_of_several():
    class Both(Function):
        @staticmethod
        def forward(ctx, x):
            y, z = x.exp(), x**2
            ctx.save_for_backward(x, y, z)
            return y, z, x.argmax()

        @staticmethod
        def backward(ctx, g, h, _):
            x, y, z = ctx.saved_tensors
            assert z.tolist() == (x**2).tolist()
            return g * y + h * 2 * x

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    p, q, _ = Both.apply(x)
    (first,) = grad((p * q).sum(), x, create_graph=True)
    (second,) = grad(first.sum(), x)
    wanted = [math.exp(v) * (v * v + 4 * v + 2) for v in (1.0, 2.0)]
    np.testing.assert_allclose(second.tolist(), wanted, rtol=1e-5)
    y, *_ = Both.apply(x)
    y.mul_(2)  # what backward reads is what it was
    y.sum().backward()
    np.testing.assert_allclose(x.grad.tolist(), 2 * np.exp([1.0, 2.0]), rtol=1e-6)


def test_outputs_of_several_dtypes_keep_theirs():
    class Mixed(Function):
        @staticmethod
        def forward(ctx, x, z):
            return x * 2, z * 3

        @staticmethod
        def backward(ctx, g, h):
            assert (g.dtype, h.dtype) == (tg.float32, tg.float64)
            return g * 2, h * 3

    x = tg.tensor([1.0], requires_grad=True)
    z = tg.tensor([1.0], dtype=tg.float64, requires_grad=True)
    p, q = Mixed.apply(x, z)
    assert (p.dtype, q.dtype) == (tg.float32, tg.float64)
    (p.sum() + q.sum()).backward()
    assert (x.grad.item(), z.grad.item(), x.grad.dtype) == (2.0, 3.0, tg.float32)


def test_no_gradient_for_an_operand_is_none_of_infinity():
    class Only(Function):
        @staticmethod
        def forward(ctx, x, mask):
            return x + mask

        @staticmethod
        def backward(ctx, g):
            return g, None

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    mask = tg.tensor([0.0, -math.inf], requires_grad=True)
    Only.apply(x, mask).sum().backward()
    assert mask.grad.tolist() == [0.0, 0.0] and x.grad.tolist() == [1.0, 1.0]


# --- older forms ----------------------------------------------------------------------------


def test_older_forms():
    x, w = (tg.tensor([v], requires_grad=True) for v in (2.0, 3.0))
    tg.autograd.backward([(x * w).sum(), w.sum()], inputs=[w])
    assert x.grad is None and w.grad.tolist() == [3.0]
    tg.autograd.backward(x * w, tg.tensor([10.0]), retain_graph=False)
    assert x.grad.tolist() == [30.0] and w.grad.tolist() == [23.0]
    (x * w).backward(inputs=x)
    assert x.grad.tolist() == [33.0] and w.grad.tolist() == [23.0]
    assert grad((x * w).sum(), x, only_inputs=True)[0].tolist() == [3.0]
    data = tg.zeros(1)
    v = tg.autograd.Variable(data, requires_grad=True)
    data += 1
    assert v.requires_grad and v.tolist() == [1.0]
