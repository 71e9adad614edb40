"""Determinants of matrices without an inverse, decompositions, and what is refused."""

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import linalg


def adjugate(x):
    """(-1)^(i + j) times the determinant without row i and column j: the gradient of det."""
    n = len(x)
    minors = [
        [np.linalg.det(np.delete(np.delete(x, i, 0), j, 1)) for j in range(n)] for i in range(n)
    ]
    return np.array(minors) * (-1.0) ** np.add.outer(range(n), range(n))


MATRICES = {
    "invertible": np.array([[2.0, 1.0, 0.5], [0.3, -1.0, 2.0], [1.5, 0.2, 0.7]]),
    "rank 2": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]),
    "rank 1": np.outer([1.0, 2.0, -1.0], [3.0, 0.5, 2.0]),
    "zeros": np.zeros((3, 3)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_the_gradient_of_a_determinant_is_the_adjugate(name):
    x = tg.tensor(np.stack([MATRICES[name], 2 * MATRICES[name]]), requires_grad=True)
    linalg.det(x).backward(tg.tensor([1.0, -3.0], dtype=tg.float64))
    for g, a, weight in zip(x.grad.numpy(), x.detach().numpy(), (1, -3)):
        np.testing.assert_allclose(g, weight * adjugate(a), atol=1e-12)


def test_decompositions_put_their_matrix_together_again():
    a = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    A = tg.tensor(a)
    U, S, Vh = linalg.svd(A, full_matrices=False)
    Q, R = linalg.qr(A)
    eigenvalues, V = linalg.eigh(A.mT @ A)
    P = linalg.pinv(A)
    for back in (U * S.unsqueeze(-2) @ Vh, Q @ R, A @ P @ A):
        np.testing.assert_allclose(back.numpy(), a, atol=1e-5)
    again = V * eigenvalues.unsqueeze(-2) @ V.mT
    np.testing.assert_allclose(again.numpy(), a.mT @ a, atol=1e-4)
    assert {x.dtype for x in (U, S, Vh, Q, R, V, P)} == {tg.float32}
    assert repr(linalg.qr(tg.eye(1))).split("\n")[0] == "torch.return_types.linalg_qr("


@pytest.mark.parametrize("name", ["svd", "qr", "eigh", "pinv"])
def test_a_gradient_is_not_lost_in_a_decomposition(name):
    A = tg.eye(2).requires_grad_()
    with pytest.raises(RuntimeError, match=rf"{name}: .* no gradient .* {name}\(A.detach\(\)\)"):
        getattr(linalg, name)(A)
    with tg.no_grad():
        getattr(linalg, name)(A)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: linalg.inv(tg.ones(2, 2)), ValueError, "Singular matrix"),
        (lambda: linalg.inv(tg.ones(2, 3)), ValueError, r"shape \(2, 3\); wanted a square"),
        (lambda: linalg.det(tg.ones(2, 2).long()), TypeError, "got int64; wanted floats"),
        (lambda: linalg.solve(tg.ones(2, 2), tg.ones(2)), ValueError, "Singular"),
        (lambda: linalg.matrix_norm(tg.ones(2, 2), 3), ValueError, "ord=3; wanted 'fro'"),
        (lambda: linalg.matrix_norm(tg.ones(2, 2), dim=(0, 0)), ValueError, "are the same"),
        (lambda: linalg.vector_norm(tg.ones(2), "fro"), TypeError, "ord='fro'; wanted a number"),
        (lambda: linalg.norm(tg.ones(2, 2, 2), 2), ValueError, "3 dimensions with ord=2"),
        (lambda: linalg.qr(tg.ones(2, 2), "r"), ValueError, "mode='r'; wanted"),
        (lambda: linalg.svd(tg.ones(2)), ValueError, r"shape \(2,\); wanted a matrix"),
    ],
)
def test_what_has_no_answer_is_refused(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
