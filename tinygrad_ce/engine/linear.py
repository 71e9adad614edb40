"""Inverses, determinants and solutions of linear systems, through NumPy, with their gradients.

They are rules as those of the calculus table are; a traced program has none of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.operands import shaped
from tinygrad_ce.engine.rule import differentiable, rule
from tinygrad_ce.engine.table import matmul, reshape, sum

inverse_of = rule(np.linalg.inv, lambda g, y: -matmul(matmul(y.mT, g), y.mT))


@differentiable(lambda g, y, a: -matmul(solution(a.mT, g), y.mT), lambda g, a: solution(a.mT, g))
def solution(a: Any, b: Any) -> Any:
    """The matrix y with a @ y = b: (..., n, n), (..., n, k) -> (..., n, k)."""
    return np.linalg.solve(a, b)


@differentiable(lambda g, x: reshape(g, (*g.shape, 1, 1)) * cofactors(x))
def determinant(x: Any) -> Any:
    """The determinant of each matrix."""
    return np.linalg.det(x)


def _cofactors_gradient(g: Any, y: Any, x: Any) -> Any:
    """C = det·M with M = x⁻ᵀ: d det = ⟨C, dx⟩, and dM = -M dxᵀ M. An invertible x is wanted."""
    m = inverse_of(x).mT
    d = reshape(determinant(x), (*x.shape[:-2], 1, 1))
    return sum(g * m, (-2, -1), True) * y - d * matmul(matmul(m, g.mT), m)


@differentiable(_cofactors_gradient)
def cofactors(x: Any) -> Any:
    """∂det/∂x, of matrices without an inverse too: with x = U S Vᵀ, |U V| U (Π others of S) Vᵀ."""
    u, s, vh = np.linalg.svd(x)
    n = s.shape[-1]
    others = np.prod(np.where(np.eye(n, dtype=bool), 1, s[..., None, :]), -1)
    sign = np.linalg.det(u) * np.linalg.det(vh)
    return (sign[..., None, None] * u * others[..., None, :]) @ vh


def _singular_values_gradient(g: Any, x: Any) -> Any:
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    return (u * g[..., None, :]) @ vh


@differentiable(_singular_values_gradient)
def singular_values(x: Any) -> Any:
    """The square roots of the eigenvalues of x xᵀ, largest first. No second derivative."""
    return np.linalg.svd(x, compute_uv=False)


def square(A: Any, name: str) -> Any:
    """A, if it is a square matrix of floats or a stack of them."""
    shape = tuple(shaped(A, name).shape)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"{name}: shape {shape}; wanted a square matrix, or several: (..., n, n)")
    return floats(A, name)


def floats(A: Any, name: str) -> Any:
    """A, if it is of floats."""
    if shaped(A, name).dtype.kind != "f":
        raise TypeError(f"{name}: got {A.array.dtype}; wanted floats: A.float()")
    return A


def inv(A: Any) -> Any:
    """The matrix that A times it is the identity: (..., n, n) -> (..., n, n).

    ∂L/∂A = -y.mT @ g @ y.mT

    Raises ValueError where there is none.
    """
    return inverse_of(square(A, "inv"))


def det(A: Any) -> Any:
    """The determinant of a square matrix: (..., n, n) -> (...).

    Its gradient is right for matrices without an inverse, too; second derivatives want one.
    """
    return determinant(square(A, "det"))


def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """X with A X = B, or with X A = B if not `left`; B may be a vector.

    For matrices B, ∂L/∂A = -solve(A.mT, g) @ X.mT; ∂L/∂B = solve(A.mT, g)

    Raises ValueError where A has no inverse.
    """
    square(A, "solve")
    vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1])
    if not left:
        return solve(A.mT, B if vector else B.mT).mT
    y = solution(A, B.unsqueeze(-1) if vector else B)
    return y.squeeze(-1) if vector else y


def without_gradient(A: Any, name: str) -> Any:
    """The array of A, if that loses no gradient."""
    if floats(A, name).live and current().record:
        raise RuntimeError(
            f"{name}: this decomposition has no gradient here; write {name}(A.detach()), or "
            "compose what is wanted of inv, solve, det and norm"
        )
    if A.ndim < 2 or not math.prod(A.shape[-2:]):
        raise ValueError(f"{name}: shape {tuple(A.shape)}; wanted a matrix, or several")
    return A.array
