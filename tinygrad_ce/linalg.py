"""Linear algebra, through NumPy: inverses, solutions and norms with gradients, decompositions.

>>> from tinygrad_ce import linalg, tensor
>>> A = tensor([[2.0, 0.0], [0.0, 4.0]], requires_grad=True)
>>> linalg.det(A).backward()
>>> A.grad
tensor([[4., 0.],
        [0., 2.]])
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce.engine import arranging, functions, linear
from tinygrad_ce.engine.linear import det, inv, solve
from tinygrad_ce.engine.operands import settled_by, shaped
from tinygrad_ce.engine.returned import text
from tinygrad_ce.engine.table import axis_of, transpose
from tinygrad_ce.engine.tensor import Tensor

__all__ = [
    "cross",
    "det",
    "eigh",
    "eigvalsh",
    "inv",
    "matrix_norm",
    "norm",
    "pinv",
    "qr",
    "solve",
    "svd",
    "svdvals",
    "vector_norm",
]


def __dir__() -> list[str]:
    return __all__


class linalg_svd(NamedTuple):  # noqa: N801
    """A = U diag(S) Vh."""

    U: Tensor
    S: Tensor
    Vh: Tensor

    def __repr__(self) -> str:
        return text(self)


class linalg_qr(NamedTuple):  # noqa: N801
    """A = Q R."""

    Q: Tensor
    R: Tensor

    def __repr__(self) -> str:
        return text(self)


class linalg_eigh(NamedTuple):  # noqa: N801
    """A = V diag(eigenvalues) Vᵀ, where V are the eigenvectors."""

    eigenvalues: Tensor
    eigenvectors: Tensor

    def __repr__(self) -> str:
        return text(self)


def cross(input: Any, other: Any, *, dim: int = -1) -> Tensor:
    """The vector product along `dim`, which has size 3.

    ∂L/∂a = cross(b, g); ∂L/∂b = cross(g, a)

    >>> from tinygrad_ce import tensor
    >>> cross(tensor([1.0, 0.0, 0.0]), tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    return arranging.cross(input, other, dim)


def vector_norm(
    x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """(Σ |x|ᵖ)^(1/p) over `dim`, or over all elements; p = `ord` may be ±inf and 0.

    >>> from tinygrad_ce import tensor
    >>> vector_norm(tensor([3.0, 4.0])), vector_norm(tensor([3.0, -4.0]), ord=1)
    (tensor(5.), tensor(7.))
    """
    if not isinstance(ord, (int, float)):
        raise TypeError(f"vector_norm: ord={ord!r}; wanted a number, of vectors")
    return linear.floats(x, "vector_norm").norm(ord, dim, keepdim, dtype)


def matrix_norm(
    A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of each matrix in the two dimensions `dim`.

    "fro" is √(Σ A²); 1 and inf the largest sum of a column and of a row of |A|, with a minus the
    smallest; 2 and -2 the largest and smallest singular value; "nuc" their sum.

    >>> from tinygrad_ce import tensor
    >>> A = tensor([[1.0, -2.0], [3.0, 4.0]])
    >>> matrix_norm(A), matrix_norm(A, 1), matrix_norm(A, float("inf"))
    (tensor(5.4772), tensor(6.), tensor(7.))
    """
    A = linear.floats(A, "matrix_norm")
    i, j = (axis_of(d, A.ndim) for d in dim)
    if i == j:
        raise ValueError(f"matrix_norm: dims {tuple(dim)} are the same")
    rest = [axis for axis in range(A.ndim) if axis not in (i, j)]
    x = transpose(A if dtype is None else A.to(dtype), (*rest, i, j))
    y = norm_of_last(x, ord)
    for axis in sorted((i, j)) if keepdim else ():
        y = y.unsqueeze(axis)
    return y


def norm_of_last(x: Any, ord: Any) -> Any:
    """The norm of the matrix of the last two dimensions."""
    if ord == "fro":
        return functions.norm_of(x, 2, (-2, -1))
    if ord in ("nuc", 2, -2):
        s = linear.singular_values(x)
        return s.sum(-1) if ord == "nuc" else s[..., 0 if ord == 2 else -1]
    if ord not in (1, -1, np.inf, -np.inf):
        raise ValueError(f"matrix_norm: ord={ord!r}; wanted 'fro', 'nuc', ±1, ±2 or ±inf")
    sums = x.abs().sum(-2 if abs(ord) == 1 else -1)
    return sums.amax(-1) if ord > 0 else sums.amin(-1)


def norm(
    A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """√(Σ A²) of all elements; with `ord`, the norm of a vector or of a matrix.

    A dimension makes it the one, two dimensions the other; without any, A itself has to be a vector
    or a matrix.

    >>> from tinygrad_ce import tensor
    >>> norm(tensor([[3.0, 4.0], [6.0, 8.0]]), dim=1)
    tensor([ 5., 10.])
    """
    if ord is None or isinstance(dim, int):
        return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)
    ndim = shaped(A, "norm").ndim if dim is None else len(dim)
    if ndim == 1:
        return vector_norm(A, ord, dim, keepdim, dtype=dtype)
    if ndim != 2:
        raise ValueError(f"norm: {ndim} dimensions with ord={ord!r}; wanted 1 or 2")
    return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)


def svd(A: Any, full_matrices: bool = True) -> linalg_svd:
    """U, S, Vh with A = U diag(S) Vh; S largest first. Without a gradient.

    >>> from tinygrad_ce import tensor
    >>> svd(tensor([[0.0, 2.0], [3.0, 0.0]])).S
    tensor([3., 2.])
    """
    parts = np.linalg.svd(linear.without_gradient(A, "svd"), full_matrices)
    return linalg_svd(*(settled_by(x, "svd", A) for x in parts))


def svdvals(A: Any) -> Tensor:
    """The singular values, largest first: (..., n, m) -> (..., min(n, m)).

    >>> from tinygrad_ce import tensor
    >>> svdvals(tensor([[0.0, 2.0], [3.0, 0.0]]))
    tensor([3., 2.])
    """
    return linear.singular_values(linear.floats(A, "svdvals"))


def qr(A: Any, mode: str = "reduced") -> linalg_qr:
    """Q, R with A = Q R; QᵀQ is the identity, R is 0 below its diagonal. Without a gradient.

    >>> from tinygrad_ce import tensor
    >>> Q, R = qr(tensor([[3.0, 1.0], [4.0, 2.0]]))
    >>> abs(R[0, 0]), R[1, 0]
    (tensor(5.), tensor(0.))
    """
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: mode={mode!r}; wanted 'reduced' or 'complete'")
    decompose: Any = np.linalg.qr
    parts = decompose(linear.without_gradient(A, "qr"), mode)
    return linalg_qr(*(settled_by(x, "qr", A) for x in parts))


def eigh(A: Any, UPLO: str = "L") -> linalg_eigh:
    """Eigenvalues, smallest first, and eigenvectors of a symmetric matrix. Without a gradient.

    Only the lower triangle of A is looked at, or with UPLO="U" the upper one.

    >>> from tinygrad_ce import tensor
    >>> eigh(tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    tensor([1., 2.])
    """
    array = linear.without_gradient(linear.square(A, "eigh"), "eigh")
    parts = np.linalg.eigh(array, UPLO)  # type: ignore[call-overload]
    return linalg_eigh(*(settled_by(x, "eigh", A) for x in parts))


def eigvalsh(A: Any, UPLO: str = "L") -> Tensor:
    """The eigenvalues of a symmetric matrix, smallest first. Without a gradient.

    >>> from tinygrad_ce import tensor
    >>> eigvalsh(tensor([[2.0, 0.0], [0.0, 1.0]]))
    tensor([1., 2.])
    """
    return eigh(A, UPLO).eigenvalues


def pinv(A: Any) -> Tensor:
    """The inverse of Moore and Penrose: A A⁺ A = A. Without a gradient.

    >>> from tinygrad_ce import tensor
    >>> pinv(tensor([[2.0], [0.0]]))
    tensor([[0.5000, 0.0000]])
    """
    array = linear.without_gradient(A, "pinv")
    rcond = max(array.shape[-2:]) * np.finfo(array.dtype).eps
    return settled_by(np.linalg.pinv(array, rcond), "pinv", A)
