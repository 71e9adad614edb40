"""What is no plain array next to a Tensor: converted, or refused by name; never kept inside."""

import operator

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F

pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")

A = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
B = np.array([[5.0, 6.0], [7.0, 9.0]], np.float32)


class Sub(np.ndarray):
    """A subclass whose == says nothing of its elements."""

    def __eq__(self, other):
        return True

    __hash__ = None


class Sparse:
    """Like SciPy's: a shape, a dtype, operators of its own that leave the other side alone."""

    shape, dtype, ndim = (2, 2), np.dtype(np.float32), 2


def mapped(folder):
    array = np.memmap(folder / "numbers", np.float32, "w+", shape=(2, 2))
    array[:] = B
    return array


CONVERTED = {
    "matrix": lambda folder: np.matrix(B.copy()),
    "nothing masked": lambda folder: np.ma.array(B.copy()),
    "no mask set": lambda folder: np.ma.array(B.copy(), mask=np.zeros((2, 2))),
    "memmap": mapped,
    "subclass": lambda folder: B.copy().view(Sub),
    "recarray of numbers": lambda folder: B.copy().view(np.recarray),
}
MASKED = np.ma.array(B, mask=[[0, 1], [0, 0]])
REFUSED = {
    "masked": (MASKED, "a masked array"),
    "a masked element": (np.ma.masked, "a masked array"),
    "sparse": (Sparse(), r"[\w.]+\.Sparse"),
    "objects": (B.astype(object), "dtype object"),
    "an object": (np.array(3.0, object), "dtype object"),
    "complex numbers": (B.astype(complex), "dtype complex128"),
    "a complex number": (1j, "complex"),
    "NumPy's complex": (np.complex64(1j), "complex64"),
    "fields": (np.array([(1.0, 2.0)], [("a", "f4"), ("b", "f4")]), "dtype"),
    "dates": (np.array(["2020-01-01", "2020-01-02"], "M8[D]"), "dtype datetime64"),
    "texts": (np.array(["a", "b"]), "dtype <U1"),
    "text": ("abc", "str"),
    "None": (None, "NoneType"),
    "a dict": ({"a": 1}, "dict"),
    "a function": (np.exp, "ufunc"),
}

# f(tensor, operand), the same of two plain arrays being the oracle.
BINARY = {
    name: getattr(operator, name)
    for name in ("add", "sub", "mul", "truediv", "matmul", "mod", "floordiv", "gt", "ge", "lt",
                 "le", "eq", "ne")
}  # fmt: skip
CALLS = {
    **BINARY,
    **{f"np.{f.__name__}": f for f in (np.add, np.multiply, np.matmul, np.maximum, np.dot)},
    "pow": lambda t, k: t**k,
    "where": lambda t, k: np.where(t > 2, t, k),
    "np.concatenate": lambda t, k: np.concatenate([t, k]),
    "np.stack": lambda t, k: np.stack([t, k]),
    "einsum": lambda t, k: np.einsum("ij,jk->ik", t, k),
}
ONLY_OURS = {  # no such function of two arrays in NumPy
    "tg.where": (lambda t, k: tg.where(t > 2, t, k), np.where(A > 2, A, B)),
    "cat": (lambda t, k: tg.cat([t, k]), np.concatenate([A, B])),
    "stack": (lambda t, k: tg.stack([t, k]), np.stack([A, B])),
    "tensor": (lambda t, k: tg.tensor(k), B),
    "as_tensor": (lambda t, k: tg.as_tensor(k), B),
    "Parameter": (lambda t, k: nn.Parameter(k), B),
    "mse_loss": (lambda t, k: F.mse_loss(t, k), ((A - B) ** 2).mean()),
    "linear": (lambda t, k: F.linear(t, k), A @ B.T),
    "input of linear": (lambda t, k: F.linear(k, t), B @ A.T),
    "+=": (lambda t, k: operator.iadd(t, k), A + B),
    "*=": (lambda t, k: operator.imul(t, k), A * B),
    "assigned": (lambda t, k: t.__setitem__(slice(None), k) or t, B),
    "copy_": (lambda t, k: t.copy_(k), B),
    "data": (lambda t, k: setattr(t, "data", k) or t, B),
    "clip": (lambda t, k: t.clip(k, None), np.maximum(A, B)),
    "masked_fill": (lambda t, k: t.masked_fill(t > 2, k), np.where(A > 2, B, A)),
}
GOOD = {
    **{name: (f, f(A, B)) for name, f in CALLS.items()},
    **{f"{name}, other side": (lambda t, k, f=f: f(k, t), f(B, A)) for name, f in CALLS.items()
       if name not in ("where", "pow")},
    **ONLY_OURS,
}  # fmt: skip


@pytest.mark.parametrize("kind", CONVERTED)
@pytest.mark.parametrize("name", GOOD)
def test_a_subclass_counts_as_its_numbers(name, kind, tmp_path):
    call, wanted = GOOD[name]
    if kind in ("nothing masked", "no mask set") and "other side" in name and name[:2] != "np":
        pytest.skip("NumPy's masked arrays take the operators on their left themselves")
    operand = CONVERTED[kind](tmp_path)
    if kind == "subclass" and name in ("eq, other side", "ne, other side"):
        pytest.skip("its own == is asked first")
    y = call(tg.tensor(A), operand)
    assert isinstance(y, tg.Tensor) and type(y.array) in (np.ndarray, np.float32)
    np.testing.assert_allclose(y.detach().numpy(), wanted, rtol=1e-6)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", GOOD)
def test_what_has_no_numbers_is_refused_by_name(name, kind):
    call, _ = GOOD[name]
    operand, _ = REFUSED[kind]
    if kind == "text" and name == "mod, other side":
        pytest.skip("a text's % is Python's formatting")
    compares = name.split(",")[0] in ("eq", "ne")
    if compares and kind in ("text", "None", "a dict", "a function", "a complex number"):
        assert call(tg.tensor(A), operand) is name.startswith("ne")  # as for any two objects
        return
    t = tg.tensor(A)
    with pytest.raises((TypeError, ValueError)) as refused:
        call(t, operand)
    assert t.tolist() == A.tolist()
    if kind == "masked":
        assert "masked" in str(refused.value)


@pytest.mark.parametrize("kind", REFUSED)
def test_the_operators_name_what_arrived(kind):
    operand, what = REFUSED[kind]
    for call in (operator.add, operator.mul, operator.gt, np.maximum):
        with pytest.raises(TypeError, match=f"got (a |an array of )?{what}"):
            call(tg.tensor(A), operand)


def test_the_product_with_a_matrix_is_elementwise_and_has_gradients():
    """np.matrix means the matrix product by *; next to a Tensor it is an array."""
    m, x = np.matrix(B.copy()), tg.tensor(A, requires_grad=True)
    for y, slope in ((x * m, B), (m * x, B), (x @ m, B.sum(1) * np.ones((2, 1)))):
        x.grad = None
        y.sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), slope)
        assert type(x.grad.array) is np.ndarray


def test_a_later_change_of_a_converted_operand_is_not_seen(tmp_path):
    x = tg.tensor(A, requires_grad=True)
    for make in CONVERTED.values():
        operand = make(tmp_path)
        y = x * operand
        operand[:] = 0
        x.grad = None
        y.sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), B)


def test_index_arrays():
    x = tg.tensor(A)
    assert x[np.matrix([[1, 0]])].shape == (1, 2, 2)
    with pytest.raises(TypeError, match="index: got a masked array"):
        x[np.ma.array([0, 1], mask=[0, 1])]
    for wrong in ("a", 1j, {"a": 1}, Sparse(), np.array(["a"]), 1.5, [1.5]):
        with pytest.raises(IndexError, match="wanted integers, booleans"):
            x[wrong]


@pytest.mark.parametrize(
    "call",
    [
        F.relu, F.sigmoid, F.softplus, F.logsigmoid, F.gelu, F.silu, F.softmax, F.log_softmax,
        F.leaky_relu, F.logsumexp, lambda x: F.layer_norm(x, 2), lambda x: F.linear(x, tg.eye(2)),
        lambda x: F.conv2d(x, tg.ones(1, 1, 2, 2)), lambda x: F.max_pool2d(x, 2),
        lambda x: F.mse_loss(x, tg.ones(2)), lambda x: F.cross_entropy(x, tg.tensor([1])),
        lambda x: F.binary_cross_entropy_with_logits(x, tg.ones(2)), F.dropout,
        lambda x: tg.einsum("ij->j", x), lambda x: tg.ones(2, 2).gather(0, x), tg.zeros_like,
        tg.ones_like, lambda x: tg.full_like(x, 1.0), lambda x: tg.ones(2).outer(x),
        tg.rand_like, tg.randn_like, tg.numel,
        lambda x: F.huber_loss(x, tg.ones(2)), lambda x: F.kl_div(x, tg.ones(2)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("x", ["text", None, {"a": 1}, object(), nn.ReLU()], ids=type)
def test_a_function_says_that_it_wanted_a_tensor(call, x):
    """What arrived and what was wanted; no AttributeError of its inside."""
    with pytest.raises(TypeError, match=rf"{type(x).__name__}.*wanted"):
        call(x)


@pytest.mark.parametrize("dtype", [complex, object, "U3", "M8[s]", [("a", "f4")]])
def test_tensors_are_made_of_numbers(dtype):
    makers = [
        lambda: tg.zeros(2, dtype=dtype), lambda: tg.ones(2, dtype=dtype),
        lambda: tg.tensor([1.0], dtype=dtype), lambda: tg.eye(2, dtype=dtype),
        lambda: tg.zeros_like(tg.ones(2), dtype=dtype), lambda: tg.empty(2, dtype=dtype),
        lambda: tg.ones(2).astype(dtype), lambda: tg.ones(2).to(dtype),
        lambda: tg.zeros_like(np.zeros(2, dtype)),
    ]  # fmt: skip
    for make in makers:
        with pytest.raises((TypeError, ValueError), match="numbers"):
            make()


def test_arange_and_normal_want_numbers():
    for wrong in (None, 1j, "3", [3]):
        with pytest.raises(TypeError, match=r"arange: got a .*; wanted numbers"):
            tg.arange(wrong)
    for wrong in (None, "a", 1j, MASKED):
        with pytest.raises(TypeError, match="tensor: "):
            tg.normal(wrong, tg.ones(2))
    with pytest.raises(TypeError, match="where: the condition is a str"):
        tg.where("abc", tg.ones(2), 0.0)


# --- what a beginner writes: the name of what was called, what arrived, what was wanted --------

ONES = tg.ones(2, 3)
MISTAKES = [
    (lambda: tg.zeros(-1), ValueError, "sizes .-1,.; wanted none below 0"),
    (lambda: tg.randn(2, -1), ValueError, "wanted none below 0"),
    (lambda: tg.full((-2,), 1.0), ValueError, "wanted none below 0"),
    (lambda: tg.eye(-1), ValueError, "wanted none below 0"),
    (lambda: tg.linspace(0, 1, -1), ValueError, "wanted none below 0"),
    (lambda: tg.zeros(2.5), TypeError, "got .2.5,. for sizes; wanted integers"),
    (lambda: tg.rand("a"), TypeError, "for sizes; wanted integers"),
    (lambda: tg.zeros((2, 3), (4,)), TypeError, "for sizes; wanted integers"),
    (lambda: ONES.reshape("a"), TypeError, "for sizes; wanted integers"),
    (lambda: tg.arange(0, 10, 0), ValueError, "arange: a step of 0"),
    (lambda: ONES.view(4, 2), ValueError, "^view on shape"),
    (lambda: ONES.permute(0, 2), IndexError, "^permute on shape"),
    (lambda: ONES.mean(5), IndexError, "^mean on shape"),
    (lambda: tg.gather(ONES, 1, tg.tensor([[5]])), IndexError, "^gather on shapes"),
    (lambda: ONES.index_select(0, tg.tensor([7])), IndexError, "^index_select on shapes"),
    (lambda: ONES.expand(4, 3), ValueError, "expand: shape .2, 3. does not repeat"),
    (lambda: ONES.expand(3), ValueError, "expand: shape .2, 3. does not repeat"),
    (lambda: ONES.broadcast_to((5, 3)), ValueError, "broadcast_to: shape .2, 3. does not repeat"),
    (lambda: tg.ones(2, 2, 2).flatten(2, 1), ValueError, "start_dim=2 comes after end_dim=1"),
    (lambda: ONES.softmax("a"), TypeError, "dimension 'a': wanted an integer"),
    (lambda: ONES.transpose(0, None), TypeError, "dimension None: wanted an integer"),
    (lambda: ONES.softmax(7), IndexError, "dimension 7 of a tensor with 2"),
    (lambda: F.log_softmax(ONES, dim=2), IndexError, "dimension 2 of a tensor with 2"),
    (lambda: ONES.size(2), IndexError, "dimension 2 of a tensor with 2"),
    (lambda: ONES.sort(5), IndexError, "axis 5|dimension 5"),
    (lambda: ONES.tril().t()[0].tril(), ValueError, "tril: shape .2,.; wanted a matrix"),
    (lambda: ~ONES, TypeError, "invert: not for float32"),
    (lambda: ONES & ONES, TypeError, "and_: not for float32 and float32"),
    (lambda: -(ONES > 0), TypeError, "neg: not for bool"),
    (lambda: (ONES > 0) - (ONES > 0), TypeError, "sub: not for bool and bool"),
    (lambda: tg.where(ONES > 0, ONES, tg.ones(4)), ValueError, "where: shapes .* do not broadcast"),
    (lambda: ONES.masked_fill(tg.ones(4) > 0, 0.0), ValueError, "masked_fill: shapes .* do not"),
    (lambda: tg.allclose(ONES, tg.ones(4)), ValueError, "allclose: shapes .2, 3. and .4,. do not"),
    (lambda: ONES @ tg.tensor(1.0), ValueError, "matmul: .2, 3. @ .*a number has no rows"),
    (lambda: F.dropout(ONES, "a"), ValueError, "dropout: p='a'; wanted a probability"),
    (lambda: nn.Dropout("a"), ValueError, "Dropout: p='a'; wanted a probability"),
    (lambda: nn.utils.clip_grad_norm_([ONES], "a"), ValueError, "max_norm='a'; wanted a number"),
    (lambda: ONES.chunk(0), ValueError, "chunk: 0 pieces; wanted at least 1"),
    (lambda: ONES.topk(9), ValueError, "topk: k=9 of 3 elements"),
    (lambda: tg.cat([tg.tensor(1.0)]), ValueError, "cat: a tensor of shape .. has no dim.*stack"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_a_mistake_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
