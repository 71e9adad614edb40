"""What is a view and what is a copy: PyTorch's answer for every operation, tried both ways.

The table is frozen from PyTorch and compared with it where it is installed. All elements of x are
different, so y tells which of them it looks at; oracles are written by hand from that.
"""

import itertools
import math

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.engine import table
from tinygrad_ce.engine.memory import tick

VIEW, COPY, SAME = "view", "copy", "same"
MATRIX, SQUARE, NUMBER, COLUMN, STACK = (2, 3), (3, 3), (), (2, 1), (2, 3, 2)

TABLE = {
    (MATRIX, VIEW): """
        x.reshape(-1)  x.reshape(3, 2)  x.view(3, 2)  x.view(-1)  x.view(2, 3)  x.flatten()
        x.squeeze()  x.unsqueeze(0)  x.unsqueeze(-1)  x.transpose(0, 1)  x.swapaxes(0, 1)
        x.permute(1, 0)  x.moveaxis(0, 1)  x.T  x.mT  x.t()  x.expand(2, 3)  x.expand(1, 2, 3)
        x.broadcast_to((2, 3))  x.diagonal()  x.diagonal(1)  x.diagonal(-1, 1, 0)
        x[0]  x[-1]  x[1:]  x[:, 1]  x[..., 0]  x[...]  x[None]  x[:, ::2]  x[0, 1]  x[0][1]
        x[T.tensor(1)]  x[T.tensor(1), T.tensor(0)]  x[0:0]
        x.unbind()[0]  x.unbind(1)[2]  x.split(1)[1]  x.split([1, 2], 1)[1]  x.chunk(2, 1)[0]
        next(iter(x))  x.detach()  x.data  x.T.T  x[1:].T[0]  x.T.flatten(0, 0)
        T.einsum("ij->ji", x)  T.einsum("ij->ij", x)  T.einsum("...j->j...", x)
        T.reshape(x, (3, 2))  T.flatten(x)  T.squeeze(x)  T.unsqueeze(x, 0)
        T.transpose(x, 0, 1)  T.permute(x, (1, 0))  T.unbind(x)[1]  T.split(x, 1)[0]
        T.chunk(x, 2)[1]  x.narrow(1, 1, 2)  x.select(0, 1)  x.unfold(1, 3, 1)  x.unfold(0, 1, 1)
        x.tensor_split(2)[1]  x.tensor_split([1], 1)[0]  x.movedim(0, 1)  x.movedim((0, 1), (1, 0))
        x.view_as(x)  x.reshape_as(x.T)  x.expand_as(x)  x.ravel()  x.unflatten(1, (3, 1))
        T.narrow(x, 0, 0, 1)  T.select(x, 1, -1)  T.movedim(x, 1, 0)  T.ravel(x)
        T.tensor_split(x, 2)[0]  T.swapaxes(x, 0, 1)  T.t(x)  T.diagonal(x)
        T.meshgrid(x[0], indexing="ij")[0]""",
    (MATRIX, COPY): """
        x.flip(0)  x.flip(0, 1)  x.repeat(1, 1)  x.repeat(2, 1)  x.clone()  x.T.contiguous()
        x.T.reshape(-1)  x.T.flatten()  x[:, 1:].reshape(-1)  x[[0, 1]]  x[x > 0]  x[x > 2]
        x[:, [0, 2]]  x[T.tensor([0])]  x.masked_select(x > 0)  x.index_select(0, T.tensor([0, 1]))
        x.gather(0, T.tensor([[0, 1, 0]]))  x + 0.0  x * 1.0  -x  x.abs()  x.relu()  x.round()
        x.clamp(-100.0, 100.0)  x**1  x.tril()  x.triu(-5)  x.masked_fill(x > 99, 0.0)
        T.where(x > 0, x, 0.0)  T.cat([x])  T.stack([x])  x.sort(1).values  x.max(0).values
        x.topk(2).values  x.sum(0)  x.cumsum(0)  x.matmul(T.eye(3))  T.einsum("ij->i", x)
        T.einsum("ij,ij->ij", x, x)  x.softmax(0)
        x.tile(1, 1)  x.roll(0)  x.roll(1, 0)  x.rot90()  x.rot90(0)  x.rot90(2)  x.diag()
        x.repeat_interleave(1)  x.repeat_interleave(1, 0)  x.scatter(0, T.tensor([[0]]), 1.0)
        x.index_fill(0, T.tensor([1]), 7.0)  x.lerp(x + 1, 0.0)  T.hstack([x])  T.vstack([x])
        x.take_along_dim(T.tensor([[0, 0, 0], [1, 1, 1]]), 0)  T.diag(x)  T.tile(x, (1,))
        T.flip(x, (0,))  x.to(T.float64)  x.detach().clone()  x[True]""",
    (MATRIX, SAME): """
        x.contiguous()  x.float()  x.to(T.float32)  x.cpu()  +x  x.to("cpu")  T.as_tensor(x)
        T.nn.Identity()(x)  T.nn.Dropout(0.5).eval()(x)  T.nn.functional.dropout(x, 0.5, False)""",
    (SQUARE, VIEW): """
        T.einsum("ii->i", x)  x.diagonal()  x.T.diagonal(1)  x.diagonal()[1:]  x.T[1:, 0]""",
    (SQUARE, COPY): """
        T.einsum("ii->", x)  T.einsum("ij->j", x)  x.diagonal().contiguous()""",
    (COLUMN, VIEW): "x.squeeze()  x.squeeze(1)  x.expand(2, 4)[:, 1]  x.expand(3, 2, 1)[0]",
    (COLUMN, COPY): 'x.sum(1)  x.mean(1)  x.repeat(1, 3)  x.amax(1)  T.einsum("ij->i", x)',
    (STACK, VIEW): """
        x.transpose(1, 2)  x.mT  x.permute(2, 0, 1)  x.diagonal()  x.diagonal(0, 2, 0)
        T.einsum("iji->ji", x)  T.einsum("kij->ijk", x)  x.flatten(1)  x.flatten(0, 1)  x[:, 0]
        T.nn.Flatten()(x)  x[0].T  x.view(2, 6)  x[..., None, 0]""",
    (STACK, COPY): """
        x.transpose(1, 2).contiguous()  x.transpose(1, 2).contiguous().view(2, 6)
        x.transpose(1, 2).reshape(2, 6)  x.flip(2)  x.permute(2, 0, 1).clone()""",
    (NUMBER, VIEW): """
        x.detach()  x.data  x.view(-1)  x.view(1, 1)  x.reshape(1)  x.reshape(())  x.expand(1)
        x.expand(1, 1)  x[None]  x[...]  x[()]  x.unsqueeze(0)  x.squeeze()  x.flatten()
        x.permute(())  x.reshape(1)[0]  x.broadcast_to((1,))  x.detach().reshape(1)
        x.swapaxes(0, -1)  x.moveaxis(0, 0)""",
    (NUMBER, COPY): "x.clone()  x.sum()  x.max()  x * 1.0  x.repeat(1)  x.flip(0)  x.cumsum(0)",
    (NUMBER, SAME): "x.contiguous()  x.float()  +x",
}  # fmt: skip
NUMPY = {  # NumPy's name -> what PyTorch calls it
    (MATRIX, VIEW): """
        np.reshape(x, -1) = x.reshape(-1)  np.ravel(x) = x.ravel()  np.transpose(x) = x.T
        np.permute_dims(x, (1, 0)) = x.permute(1, 0)  np.matrix_transpose(x) = x.mT
        np.swapaxes(x, 0, 1) = x.swapaxes(0, 1)  np.moveaxis(x, 0, 1) = x.moveaxis(0, 1)
        np.expand_dims(x, 0) = x.unsqueeze(0)  np.squeeze(x) = x.squeeze()
        np.broadcast_to(x, (1, 2, 3)) = x.expand(1, 2, 3)  np.diagonal(x) = x.diagonal()
        np.diagonal(x, 1) = x.diagonal(1)  np.split(x, 2)[0] = x.split(1)[0]
        np.einsum("ij->ji", x) = T.einsum("ij->ji", x)""",
    (MATRIX, COPY): """
        np.flip(x, 0) = x.flip(0)  np.flip(x) = x.flip(0, 1)  np.tile(x, (1, 1)) = x.tile(1, 1)
        np.copy(x) = x.clone()  np.diag(x) = x.diag()  np.sort(x) = x.sort().values
        np.concatenate([x]) = T.cat([x])  np.take(x, [0], 0) = x[[0]]  np.positive(x) = x.clone()
        np.ravel(x.T) = x.T.ravel()  np.tril(x) = x.tril()""",
    (NUMBER, VIEW): "np.ravel(x) = x.ravel()  np.reshape(x, 1) = x.reshape(1)",
}  # fmt: skip


def entries(table):
    return [
        (shape, kind, text.strip())
        for (shape, kind), texts in table.items()
        for line in texts.split("\n")
        for text in line.split("  ")
        if text.strip()
    ]


CASES = entries(TABLE) + [
    (shape, kind, text.split(" = ")[0]) for shape, kind, text in entries(NUMPY)
]


def run(text, x, library=tg):
    return eval(text, {"x": x, "T": library, "np": np})


def numbers(shape):
    return np.arange(1.0, np.prod(shape, dtype=int) + 1, dtype=np.float32).reshape(shape)


def made(shape, how):
    """(a leaf or None, x): x as a leaf without a gradient, or computed from a leaf with one."""
    leaf = tg.tensor(numbers(shape), requires_grad=how != "plain")
    if how == "plain":
        return None, leaf
    return leaf, leaf * 1.0


def seen(values, y):
    """Which of the elements `values` y looks at, or copied."""
    return np.isin(values, y.detach().numpy())


@pytest.mark.parametrize("how", ["plain", "recorded", "no_grad"])
@pytest.mark.parametrize(("shape", "kind", "text"), CASES, ids=[c[2] for c in CASES])
def test_a_write_into_one_is_or_is_not_a_write_into_the_other(shape, kind, text, how):
    values = numbers(shape)
    cut = any(word in text for word in ("detach", "data"))
    for direction in ("y", "x"):
        leaf, x = made(shape, how)
        y = run(text, x)
        assert (y is x) is (kind == SAME)
        before, at = y.detach().numpy().copy(), seen(values, y)
        with tg.no_grad() if how == "no_grad" else tg.enable_grad():
            if direction == "y":
                y *= 100.0
                moved = kind != COPY
                wanted = np.where(at & moved, 100.0 * values, values)
                np.testing.assert_array_equal(x.detach().numpy(), wanted)
                np.testing.assert_array_equal(y.detach().numpy(), 100.0 * before)
                slope = np.where(at & moved & (not cut), 100.0, 1.0)
                kept = x
            else:
                x *= 100.0
                wanted = before if kind == COPY else 100.0 * before
                np.testing.assert_array_equal(y.detach().numpy(), wanted)
                if kind == COPY or cut or "recorded" not in how:
                    continue
                slope, kept = np.where(at, 100.0, 0.0), y
        if how == "recorded":
            kept.sum().backward()
            np.testing.assert_array_equal(leaf.grad.numpy(), slope)


def test_the_table_is_pytorchs():
    torch = pytest.importorskip("torch")
    pairs = [(s, k, t.split(" = ")[-1]) for s, k, t in entries(TABLE) + entries(NUMPY)]
    found = {}
    for shape, kind, text in pairs:
        x = torch.tensor(numbers(shape))
        y = run(text, x, torch)
        shared = y.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
        if (SAME if y is x else VIEW if shared else COPY) != kind:
            found[text, shape] = kind
    assert not found


# --- graphs -------------------------------------------------------------------------------------


def leaf(*values):
    return tg.tensor(np.array(values), requires_grad=True)


def work(n):
    """Nodes and writes that a loop of n writes through views makes, backward() included."""
    w = tg.ones(n, requires_grad=True)
    start = tick()
    y = w * 1.0
    halves = [y[: n // 2], y.reshape(-1)[n // 2 :]]
    for i in range(n):
        y[i] = y[i] * 1.5
        y[i] *= 2.0
    (y.sum() + sum(h.sum() for h in halves)).backward()
    assert w.grad.tolist() == [6.0] * n
    return tick() - start


def test_a_write_costs_the_same_however_many_views_there_are():
    assert work(400) - work(200) <= 1.1 * (work(300) - work(100))
    assert work(200) < 200 * 20


def test_views_of_views_follow_a_write_through_any_of_them():
    w = tg.tensor(numbers((2, 3)).astype(np.float64), requires_grad=True)
    x = w * 1.0
    rows, turned = x[1:], x.T
    last = rows.T[1:][1]  # x[1, 2]
    flat = turned.reshape(3, 2)[2]  # x[:, 2]
    last *= 10.0
    assert flat.tolist() == [3.0, 60.0] and rows.tolist() == [[4.0, 5.0, 60.0]]
    flat *= w[0, 0] * 2.0
    (rows * tg.tensor([[1.0, 2.0, 3.0]])).sum().backward()
    # Σ = w10 + 2 w11 + 3·(10 w12 · 2 w00)
    assert w.grad.tolist() == [[360.0, 0.0, 0.0], [1.0, 2.0, 60.0]]


def test_a_view_that_nobody_asked_for_its_past_since_knows_it():
    w = leaf(1.0, 2.0, 3.0)
    x = w * 1.0
    v = x[1:]
    read = v * 3.0
    x *= 2.0
    x *= 5.0
    assert isinstance(v, tg.Tensor) and type(v).__name__ == "Tensor"
    assert v.requires_grad and not v.is_leaf and "grad_fn=<SliceBackward0>" in repr(v)
    (read.sum() + (v * v).sum()).backward()
    # 3 (w1 + w2) + 100 (w1² + w2²)
    assert w.grad.tolist() == [0.0, 403.0, 603.0]


def test_an_operand_that_has_fallen_behind_is_read_as_it_is_now():
    w, u = leaf(1.0, 2.0), leaf(3.0, 4.0)
    x = w * 1.0
    v = x[:]
    x *= 10.0
    for y in (u * v, tg.where(tg.tensor([True, True]), u, v) + v, tg.cat([u, v]), tg.stack([u, v])):
        w.grad = None
        y.sum().backward()
        assert w.grad.tolist() in ([30.0, 40.0], [10.0, 10.0])


def test_second_derivatives_through_written_views():
    w = leaf(2.0, 3.0)
    x = w * w
    x.reshape(2, 1)[0] *= w[1]  # x = [w0² w1, w1²]
    (first,) = tg.autograd.grad((x * x).sum(), w, create_graph=True)
    # Σ = w0⁴ w1² + w1⁴: ∂ = [4 w0³ w1², 2 w0⁴ w1 + 4 w1³]
    assert first.tolist() == [288.0, 204.0]
    (second,) = tg.autograd.grad(first[0], w)
    assert second.tolist() == [12 * 4.0 * 9.0, 8 * 8.0 * 3.0]


def test_the_root_lives_on_in_its_views():
    w = leaf(2.0, 5.0)

    def halves():
        b = tg.zeros(2, 2, dtype=np.float64)
        return b.T[1], b[0]

    column, row = halves()  # b[:, 1] and b[0]
    column[...] = w * 2.0
    (row * tg.tensor([1.0, 10.0])).sum().backward()
    assert row.tolist() == [0.0, 4.0] and w.grad.tolist() == [20.0, 0.0]


def test_of_many_views_only_those_in_use_are_looked_after():
    x = tg.ones(50, requires_grad=True)
    h = x * 1.0
    kept = []
    for i in range(50):
        kept.append(h[i : i + 1])
        for _ in range(20):
            h[i:]  # gone at once
    assert 50 <= len(h.memory.views) <= 2 * 50 + 16
    h.mul_(tg.arange(50.0))
    sum(v.sum() * 2.0 for v in kept).backward()
    assert [v.item() for v in kept] == list(range(50))
    assert x.grad.tolist() == [2.0 * i for i in range(50)]


def test_views_of_what_is_detached_follow_what_is_detached():
    w, u = leaf(1.0, 2.0), leaf(3.0, 4.0)
    x = w * 1.0
    d = x.detach()
    v = d[:1]
    d[...] = u * 2.0
    (v.sum() + x.sum()).backward()
    assert v.tolist() == [6.0] and u.grad.tolist() == [2.0, 0.0] and w.grad.tolist() == [1.0, 1.0]


def test_what_a_backward_pass_needs_is_not_overwritten_through_any_view():
    for view in (lambda x: x.T, lambda x: x.detach(), lambda x: x.data, lambda x: x.diagonal(),
                 lambda x: x.expand(2, 2, 2)[1], lambda x: tg.einsum("ij->ji", x)):  # fmt: skip
        w = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        x = w * 1.0
        v = view(x)
        y = x * x
        v[0] *= 2.0
        with pytest.raises(RuntimeError, match="changed it in place since"):
            y.sum().backward()


def test_a_view_that_became_a_leaf_is_protected():
    b, w = tg.zeros(3), tg.ones(1, requires_grad=True)
    v = b[:2]
    v.requires_grad_()
    with pytest.raises(RuntimeError, match="seen by a leaf"):
        b[0] = w[0]
    assert v.is_leaf and b.tolist() == [0.0] * 3


def test_new_data_leaves_a_written_view_behind():
    w = leaf(1.0, 2.0)
    y = w * 1.0
    v, u = y[:1], y[:]
    y *= 3.0  # neither v nor u has asked since
    y.data = np.zeros(2)
    y[1] = w[0] * 5.0
    v *= 2.0
    (u * tg.tensor([1.0, 10.0])).sum().backward()
    assert u.tolist() == [6.0, 6.0] and y.tolist() == [0.0, 5.0]
    assert w.grad.tolist() == [6.0, 30.0]


@pytest.mark.parametrize("writes_before", [0, 1, 2])
def test_a_view_with_new_data_follows_no_later_write(writes_before):
    """But a view of what it was does."""
    w = leaf(1.0, 2.0)
    y = w * 1.0
    v = y[:1]
    u = v[:]
    for _ in range(writes_before):
        y *= 2.0
    v.data = np.array([7.0])
    y *= 3.0
    y *= 5.0
    factor = 2.0**writes_before
    assert (v.tolist(), u.tolist(), y.tolist()) == (
        [7.0],
        [15 * factor],
        [15 * factor, 30 * factor],
    )
    v.sum().backward()
    assert w.grad.tolist() == [factor, 0.0]
    u.sum().backward()
    assert w.grad.tolist() == [16 * factor, 0.0]


# --- numbers, repeated elements, errors ---------------------------------------------------------


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(
    ("write", "value", "slope"),
    [
        (lambda y, u: y.fill_(2.0), 2.0, 0.0),
        (lambda y, u: y.zero_(), 0.0, 0.0),
        (lambda y, u: y.copy_(u), 7.0, 0.0),
        (lambda y, u: y.__setitem__(..., u.reshape(1)), 7.0, 0.0),
        (lambda y, u: y.__setitem__((), 4.0), 4.0, 0.0),
        (lambda y, u: y.__setitem__(None, u), 7.0, 0.0),
        (lambda y, u: y.__setitem__(y > 0, 4.0), 4.0, 0.0),
        (lambda y, u: y.__setitem__(y < 0, 4.0), 3.0, 1.0),
        (lambda y, u: y.__setitem__(True, u), 7.0, 0.0),
        (lambda y, u: y.mul_(2.0), 6.0, 2.0),
        (lambda y, u: y.clamp_(max=4.0), 3.0, 1.0),
        (lambda y, u: y.view(-1).fill_(2.0), 2.0, 0.0),
        (lambda y, u: y.expand(1, 1).mul_(2.0), 6.0, 2.0),
        (lambda y, u: y[None].add_(u), 10.0, 1.0),
    ],
)
def test_a_result_of_no_axes_can_be_written(write, value, slope, recorded):
    w, u = leaf(1.0, 2.0), tg.tensor(7.0, dtype=np.float64)
    with tg.enable_grad() if recorded else tg.no_grad():
        y = w.sum()
        v = y.view(1)
        write(y, u)
    assert y.item() == v.item() == value
    if recorded:
        v.sum().backward()
        assert w.grad.tolist() == [slope, slope]


def test_a_row_of_what_repeats_its_rows_can_be_written():
    for write in (
        lambda e: e[1].mul_(10.0),
        lambda e: e.__setitem__(1, e[0] * 10.0),
        lambda e: e.T[:, 1].mul_(10.0),
        lambda e: e[1:][0].mul_(10.0),
        lambda e: e[1].view(1, 3)[0].mul_(10.0),
    ):
        w = leaf(1.0, 2.0, 3.0)
        x = w * 1.0
        e = x.expand(2, 3)
        write(e)
        assert x.tolist() == e[0].tolist() == [10.0, 20.0, 30.0]
        e.sum().backward()
        assert w.grad.tolist() == [20.0, 20.0, 20.0]


def test_what_repeats_its_elements_cannot_be_written():
    x = tg.ones(3)
    e = x.expand(2, 3)
    windows = np.lib.stride_tricks.sliding_window_view(x, 2)
    for write in (
        lambda: e.fill_(0.0), lambda: e.mul_(2.0), lambda: e.__setitem__(slice(None), 0.0),
        lambda: e.T.zero_(), lambda: e[:, 0].zero_(), lambda: windows.zero_(),
        lambda: e.__setitem__(([0, 1], 1), 0.0),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"repeats its elements.*write into x\.clone\(\)"):
            write()
    assert x.tolist() == [1.0] * 3


@pytest.mark.parametrize("view", [
    lambda x: np.lib.stride_tricks.sliding_window_view(x, 2), lambda x: x.expand(2, 4),
    lambda x: x.expand(2, 4)[1:], lambda x: x.reshape(2, 2).T, lambda x: x[1:3],
])  # fmt: skip
def test_what_looks_at_a_memory_sees_that_it_was_written(view):
    """In the numbers, in the gradient of what was written, and in what backward still reads."""
    x, factor = tg.tensor([0.0, 1.0, 2.0, 3.0]), tg.tensor(3.0, requires_grad=True)
    loss = (view(x) * factor).sum()
    x.mul_(2.0)
    with pytest.raises(RuntimeError, match=r"has changed it in place"):
        loss.backward()
    leaf = tg.tensor([0.0, 1.0, 2.0, 3.0], requires_grad=True)
    h = leaf * 1.0
    y = view(h)
    h[1] = 7.0
    array = np.array([0.0, 7.0, 2.0, 3.0], np.float32)
    wanted = np.array(view(tg.tensor(array)).tolist())
    assert y.tolist() == wanted.tolist()
    y.sum().backward()
    assert leaf.grad.tolist() == [0.0 if i == 1 else float((wanted == n).sum())
                                  for i, n in enumerate(array)]  # fmt: skip


def test_what_is_repeated_as_a_copy_can_be_written():
    x = tg.tensor([1.0, 2.0])
    for y in (x.repeat(2), x.repeat(1), x.repeat(2, 1), np.tile(x, 2), x[:1].repeat(3)):
        y += 1.0
        assert x.tolist() == [1.0, 2.0] and y.reshape(-1)[0].item() == 2.0


@pytest.mark.parametrize("recorded", [True, False])
def test_sizes_of_one_in_front_are_dropped_from_what_is_written(recorded):
    one, row = tg.tensor([5.0], requires_grad=recorded), tg.ones(1, 1, 3, requires_grad=recorded)
    x = tg.zeros(2, 3)
    x[0, 1] = one
    x[1] = row
    x[0, [2]] = one.reshape(1, 1)
    assert x.tolist() == [[0.0, 5.0, 5.0], [1.0, 1.0, 1.0]]
    if recorded:
        x.sum().backward()
        assert one.grad.tolist() == [2.0] and row.grad.tolist() == [[[1.0] * 3]]
    y = tg.zeros(3)
    y[...] = row.detach()
    y.copy_(row.detach() * 2.0)
    y[2] = np.array([7.0])
    y[-1] = [8.0]
    assert y.tolist() == [2.0, 2.0, 8.0]


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (lambda x, v: x.__setitem__(0, v[:2]), ValueError,
         r"x\[index\] = v: v has shape \(2,\), which does not broadcast to \(3,\)"),
        (lambda x, v: x.__setitem__((0, 0), v), ValueError, r"names one element.*shape \(3,\)"),
        (lambda x, v: x.__setitem__(slice(1), v[:2]), ValueError, r"not broadcast to \(1, 3\)"),
        (lambda x, v: x.__setitem__([0, 1], v[:2]), ValueError, r"does not broadcast to \(2, 3\)"),
        (lambda x, v: x.__setitem__(x > 0, v[:2]), ValueError, r"x\[index\] = v"),
        (lambda x, v: x.__setitem__(5, v), IndexError, r"x\[index\] = v into shape \(2, 3\).*5"),
        (lambda x, v: x.__setitem__((0, 0, 0), v), IndexError, r"x\[index\] = v.*too many"),
        (lambda x, v: x.__setitem__(tg.tensor([True]), v), IndexError, r"x\[index\] = v.*bool"),
        (lambda x, v: x.copy_(v[:2]), ValueError, r"does not broadcast to \(2, 3\)"),
        (lambda x, v: x.__iadd__(v[:2]), ValueError, r"\(2, 3\) and \(2,\) do not broadcast"),
        (lambda x, v: x[0].__iadd__(x), ValueError, r"\+=: a result of shape \(2, 3\)"),
        (lambda x, v: x.long().__iadd__(v), (ValueError, TypeError), "int64"),
    ],
)  # fmt: skip
def test_a_write_that_does_not_fit_says_so_and_changes_nothing(write, error, message, live):
    x, v, u = tg.ones(2, 3), tg.ones(3, requires_grad=live), tg.ones(3, requires_grad=True)
    read = u * x
    with pytest.raises(error, match=message):
        write(x, v)
    assert x.tolist() == [[1.0] * 3] * 2 and x.is_leaf
    read.sum().backward()  # what it has read was not written
    assert u.grad.tolist() == [2.0] * 3


def test_contiguous_puts_the_elements_in_order():
    x = tg.tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True)
    y = x.transpose(1, 2).contiguous()
    assert y.array.flags.c_contiguous and y.contiguous() is y
    rows = y.view(2, 12)
    np.testing.assert_array_equal(
        rows.detach().numpy(), np.arange(24.0).reshape(2, 3, 4).transpose(0, 2, 1).reshape(2, 12)
    )
    (rows[0, 1] * 3.0).backward()
    assert x.grad[0, 1, 0].item() == 3.0 and x.grad.sum().item() == 3.0


@pytest.mark.parametrize("kind", ["as it is", "turned"])
@pytest.mark.parametrize(
    "step",
    [
        lambda x: x.transpose(0, 1).contiguous().view(-1) * 2.0,
        lambda x: (x.contiguous().add_(1.0), x * 1.0)[1],
        lambda x: (x.T.clone().contiguous().add_(1.0), x * 1.0)[0],
        lambda x: (lambda y: (y.copy_(x.T), y.contiguous().mul_(2.0), y * 1.0)[2])(x.T.clone()),
        lambda x: (x.flip(0).add_(1.0), x * 1.0)[1],
        lambda x: (x.repeat(1, 1).add_(1.0), x * 1.0)[1],
        lambda x: (lambda s: (s.detach().add_(1.0), s * 1.0)[1])(x.sum()),
        lambda x: (x.data.add_(1.0), x * 1.0)[1],
        lambda x: (x.__setitem__(..., tg.ones(1, 2, 3)), x * 1.0)[1],
        lambda x: (x.__setitem__((0, 0), tg.tensor([5.0])), x * 1.0)[1],
        lambda x: x.diagonal() + tg.einsum("ij->ji", x)[0, 0],
        lambda x: (x.diagonal().fill_(0.0), x * 1.0)[1],
        lambda x: (x.diagonal(1)[1:].add_(5.0), x.T.diagonal(-1) * 1.0)[1],
        lambda x: (tg.einsum("ij->ji", x)[1].add_(1.0), x * 1.0)[1],
        lambda x: (x[tg.tensor(0)].add_(1.0), x[tg.tensor(0), tg.tensor(1)].mul_(2.0), x * 1.0)[2],
        lambda x: (lambda s: (s.view(1).add_(1.0), s.expand(1, 1).mul_(2.0), s * 1.0)[2])(x.sum()),
        lambda x: (lambda v: (x.mul_(2.0), v * 1.0)[1])(x.diagonal()),
        lambda x: (lambda v: (x.mul_(2.0), v * 1.0)[1])(x[tg.tensor(1)]),
    ],
)
def test_a_compiled_step_knows_views_and_copies_too(step, kind):
    compiled = tg.compile(step)
    for order in (kind, "as it is", "turned"):  # the second call may come with another layout
        xs = [tg.tensor(numbers((2, 3))) for _ in range(2)]
        if order == "turned":
            xs = [tg.tensor(np.ascontiguousarray(numbers((2, 3)).T)).T for _ in range(2)]
        wanted, found = step(xs[0]), compiled(xs[1])
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())
        np.testing.assert_array_equal(xs[1].numpy(), xs[0].numpy())


@pytest.mark.parametrize(
    "view",
    [
        lambda h: h.diagonal(), lambda h: h.T.diagonal(-1), lambda h: h[tg.tensor(1)],
        lambda h: h[tg.tensor(1), tg.tensor(0)], lambda h: tg.einsum("ij->ji", h)[0],
        lambda h: h[tg.tensor(0)][1:], lambda h: h.reshape(-1)[tg.tensor(2)],
        lambda h: h[0].detach(),
    ],
)  # fmt: skip
def test_a_compiled_step_has_the_gradients_of_what_it_writes_through_views(view):
    def step(w, u):
        h = w * 1.0
        v = view(h)
        v *= u
        h *= h.detach()
        return tg.autograd.grad((v * h.sum()).sum(), [w, u], allow_unused=True)

    compiled = tg.compile(step)
    for seed in range(3):
        w = tg.tensor(numbers((2, 3)) + seed, requires_grad=True)
        u = tg.tensor(2.0 + seed, requires_grad=True)
        for wanted, found in zip(step(w, u), compiled(w, u)):
            assert (found is None) == (wanted is None)
            if wanted is not None:
                np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5)


def test_a_program_writes_arguments_that_numpy_locks():
    step = tg.compile(lambda x: (x.add_(1.0), x * 1.0)[1])
    for _ in range(3):
        square, rows = tg.zeros(2, 2), tg.zeros(2).expand(3, 2)
        assert step(square.diagonal()).tolist() == step(rows[1]).tolist() == [1.0, 1.0]
        assert square.tolist() == [[1.0, 0.0], [0.0, 1.0]] and rows.tolist() == [[1.0, 1.0]] * 3


def test_a_program_cannot_write_a_row_of_what_repeats_its_rows():
    with pytest.raises(tg.TraceError, match="repeats its elements"):
        tg.compile(lambda x: (x.expand(2, 3)[0].add_(1.0), x * 1.0)[1])(tg.ones(3))


def test_a_gradient_that_reads_what_a_buffer_of_a_step_was():
    def step(x, w):
        b = tg.zeros(2)
        b[0] = x[0]
        b *= w
        return tg.autograd.grad(b.sum(), w)[0]

    x, w = tg.tensor([4.0, 5.0]), tg.ones(2, requires_grad=True)
    for _ in range(2):
        assert tg.compile(step)(x, w).tolist() == step(x, w).tolist() == [4.0, 0.0]


def test_a_compiled_step_takes_a_view_that_has_fallen_behind():
    traced = []

    @tg.compile
    def total(x):
        traced.append(1)
        return (x * 2.0).sum()

    w = leaf(1.0, 2.0)
    with tg.no_grad():
        for _ in range(4):
            b = w.detach().clone()
            v = b[:1]
            with tg.enable_grad():
                b[...] = w * 1.0
            assert total(v).item() == 2.0
    assert len(traced) <= 3


def test_repeating_agrees_with_numpy_in_any_layout():
    cases = {(): [(), (3,), (20, 30)], (3, 1): [(3, 4), (2, 3, 4)], (1, 3): [(5, 3)],
             (3,): [(2, 3)], (2, 1, 3): [(2, 5, 3)], (0, 1): [(0, 3)], (1,): [(0,), (1,)],
             (2, 3): [(2, 3)]}  # fmt: skip
    for own, fulls in cases.items():
        x = np.arange(math.prod(own), dtype=np.float32).reshape(own)
        turned = np.array(x.T, order="C").T
        for y, full in itertools.product((x, turned, x[()]), fulls):
            assert np.array_equal(table.broadcast_to(y, full), np.broadcast_to(y, full)), full
    for own, full in [((2,), (3,)), ((3, 2), (2,)), ((2,), ()), ((2, 3), (4, 6))]:
        with pytest.raises(ValueError):
            table.broadcast_to(np.ones(own), full)
