"""Derivations done by hand, as theorems: one test each.

Every theorem is checked twice. The engine's gradient is compared with the formula, written in plain
NumPy; and the formula is compared with SymPy, which differentiates the definition symbolically,
knows nothing of either and computes with 40 digits. All numbers are float64.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy

import tinygrad_ce.nn.functional as F
from tinygrad_ce import log, stack, tensor
from tinygrad_ce.autograd import hessian, jacobian

# --- comparing ------------------------------------------------------------------------------


def same(found, formula, rtol=1e-12, atol=1e-14):
    """Equal up to the last few bits; `found` may be a Tensor."""
    found = found.detach().numpy() if hasattr(found, "detach") else found
    np.testing.assert_allclose(found, formula, rtol, atol)


def leaf(array):
    return tensor(np.asarray(array, np.float64), requires_grad=True)


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


# --- plain NumPy ----------------------------------------------------------------------------


def logistic(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def onehot(ids, classes):
    return np.eye(classes)[ids]


# --- SymPy ----------------------------------------------------------------------------------

exp, ln, root, relu = (
    np.vectorize(f, otypes=[object])
    for f in (sympy.exp, sympy.log, sympy.sqrt, lambda x: sympy.Piecewise((x, x > 0), (0, True)))
)


class Symbols:
    """Arrays of symbols that stand for given numbers: `Symbols(z=array).z`."""

    def __init__(self, **arrays):
        self.numbers = {}
        for name, array in arrays.items():
            grid = np.empty(np.shape(array), object)
            for at in np.ndindex(grid.shape):
                grid[at] = sympy.Symbol(f"{name}{'_'.join(map(str, at))}", real=True)
                self.numbers[grid[at]] = mpmath.mpf(float(np.asarray(array)[at]))
            setattr(self, name, grid)

    def value(self, expressions):
        """The expressions at the numbers, rounded once at the end."""
        flat = list(np.asarray(expressions, object).ravel())
        function = sympy.lambdify(list(self.numbers), flat, "mpmath", cse=True)
        with mpmath.workdps(40):
            found = [float(v) for v in function(*self.numbers.values())]
        return np.array(found).reshape(np.shape(expressions))

    def gradient(self, scalar, wrt):
        """∂scalar/∂x for each symbol x of an array, at the numbers."""
        return self.value(derivatives(scalar, wrt))

    def hessian(self, scalar, wrt):
        """∂²scalar/∂x∂x', of shape wrt.shape + wrt.shape, at the numbers."""
        rows = [derivatives(d, wrt) for d in derivatives(scalar, wrt).ravel()]
        return self.value(np.array(rows, object).reshape(wrt.shape + wrt.shape))


def derivatives(scalar, wrt):
    found = [sympy.diff(scalar, x) for x in wrt.ravel()]
    return np.array(found, object).reshape(wrt.shape)


# --- the logistic function and softmax ------------------------------------------------------


def test_sigmoid_derivative_is_s_times_one_minus_s():
    """s = 1/(1+e⁻ᶻ)  ⇒  s' = e⁻ᶻ/(1+e⁻ᶻ)² = s · e⁻ᶻ/(1+e⁻ᶻ) = s·(1−s)."""
    z = numbers(5)
    x = leaf(z)
    F.sigmoid(x).sum().backward()
    formula = logistic(z) * (1 - logistic(z))
    same(x.grad, formula)
    by = Symbols(z=z)
    same(by.gradient((1 / (1 + exp(-by.z))).sum(), by.z), formula)


def test_softplus_derivative_is_sigmoid():
    """(log(1+eᶻ))' = eᶻ/(1+eᶻ) = s(z), and log s(z) = −log(1+e⁻ᶻ) has the derivative s(−z)."""
    z = numbers(5)
    plus, minus = leaf(z), leaf(z)
    F.softplus(plus).sum().backward()
    F.logsigmoid(minus).sum().backward()
    same(plus.grad, logistic(z))
    same(minus.grad, logistic(-z))
    by = Symbols(z=z)
    same(by.gradient(ln(1 + exp(by.z)).sum(), by.z), logistic(z))
    same(by.gradient(-ln(1 + exp(-by.z)).sum(), by.z), logistic(-z))


def test_tanh_is_a_stretched_sigmoid_and_its_derivative_is_one_minus_its_square():
    """tanh z = 2s(2z) − 1  ⇒  tanh' z = 4s(2z)(1−s(2z)) = (1+t)(1−t) = 1−t²."""
    z = numbers(5)
    x, v = leaf(z), leaf(z)
    x.tanh().sum().backward()
    (F.sigmoid(v * 2.0) * 2.0 - 1.0).sum().backward()
    formula = 1 - np.tanh(z) ** 2
    same(x.grad, formula)
    same(v.grad, formula)
    by = Symbols(z=z)
    e = exp(2 * by.z)
    same(by.gradient(((e - 1) / (e + 1)).sum(), by.z), formula)


def test_softmax_jacobian_is_diag_p_minus_p_p_transposed():
    """pᵢ = eⁱ/Σ with eⁱ = exp zᵢ  ⇒  ∂pᵢ/∂zⱼ = δᵢⱼeⁱ/Σ − eⁱeʲ/Σ² = δᵢⱼpᵢ − pᵢpⱼ."""
    z = numbers(5)
    p = softmax(z)
    formula = np.diag(p) - np.outer(p, p)
    same(jacobian(lambda x: F.softmax(x, 0), leaf(z)), formula)
    by = Symbols(z=z)
    e = exp(by.z)
    same(by.value([derivatives(y, by.z) for y in e / e.sum()]), formula)


def test_log_softmax_jacobian_is_identity_minus_p_in_every_row():
    """log pᵢ = zᵢ − log Σ exp z  ⇒  ∂log pᵢ/∂zⱼ = δᵢⱼ − pⱼ."""
    z = numbers(5)
    formula = np.eye(5) - softmax(z)
    same(jacobian(lambda x: F.log_softmax(x, 0), leaf(z)), formula)
    by = Symbols(z=z)
    same(by.value([derivatives(y, by.z) for y in by.z - ln(exp(by.z).sum())]), formula)


def test_logsumexp_gradient_is_softmax_and_its_hessian_the_softmax_jacobian():
    """∂ log Σ exp z / ∂zⱼ = exp zⱼ / Σ exp z = pⱼ, and ∂pᵢ/∂zⱼ = δᵢⱼpᵢ − pᵢpⱼ."""
    z = numbers(5)
    p = softmax(z)
    x = leaf(z)
    F.logsumexp(x, 0).backward()
    curvature = np.diag(p) - np.outer(p, p)
    same(x.grad, p)
    same(hessian(lambda x: F.logsumexp(x, 0), leaf(z)), curvature)
    by = Symbols(z=z)
    loss = sympy.log(exp(by.z).sum())
    same(by.gradient(loss, by.z), p)
    same(by.hessian(loss, by.z), curvature)


# --- losses ---------------------------------------------------------------------------------


def test_binary_cross_entropy_gradient_is_sigmoid_minus_target_over_n():
    """L = 1/N Σ −y log s(z) − (1−y) log(1−s(z)) = 1/N Σ log(1+eᶻ) − y·z.

    ∂L/∂z = (s − y)/N, and the Hessian is diag(s(1−s))/N: it does not depend on y.
    """
    z, y = numbers(5), np.array([1.0, 0.0, 1.0, 0.3, 0.0])
    s = logistic(z)
    x = leaf(z)
    F.binary_cross_entropy_with_logits(x, tensor(y)).backward()
    gradient, curvature = (s - y) / 5, np.diag(s * (1 - s)) / 5
    same(x.grad, gradient)
    found = hessian(lambda x: F.binary_cross_entropy_with_logits(x, tensor(y)), leaf(z))
    same(found, curvature)
    by = Symbols(z=z)
    t = 1 / (1 + exp(-by.z))
    loss = (-y * ln(t) - (1 - y) * ln(1 - t)).sum() / 5
    same(by.gradient(loss, by.z), gradient)
    same(by.hessian(loss, by.z), curvature)


def test_binary_cross_entropy_of_probabilities_has_gradient_p_minus_y_over_p_one_minus_p():
    """L = 1/N Σ −y log p − (1−y) log(1−p)  ⇒  ∂L/∂p = (−y/p + (1−y)/(1−p))/N = (p−y)/(p(1−p)N).

    With p = s(z) the factor s(1−s) of the chain rule cancels the denominator: (s−y)/N.
    """
    p, y = logistic(numbers(5)), np.array([1.0, 0.0, 1.0, 0.3, 0.0])
    x = leaf(p)
    F.binary_cross_entropy(x, tensor(y)).backward()
    formula = (p - y) / (p * (1 - p)) / 5
    same(x.grad, formula)
    by = Symbols(p=p)
    same(by.gradient((-y * ln(by.p) - (1 - y) * ln(1 - by.p)).sum() / 5, by.p), formula)


def test_weighted_binary_cross_entropy_gradient():
    """L = 1/N Σ −wₚ·y log s − (1−y) log(1−s)  ⇒  ∂L/∂z = (−wₚ·y(1−s) + (1−y)s)/N."""
    z, y, w = numbers(5), np.array([1.0, 0.0, 1.0, 0.3, 0.0]), 3.0
    s = logistic(z)
    x = leaf(z)
    F.binary_cross_entropy_with_logits(x, tensor(y), pos_weight=tensor([w] * 5)).backward()
    formula = (-w * y * (1 - s) + (1 - y) * s) / 5
    same(x.grad, formula)
    by = Symbols(z=z)
    t = 1 / (1 + exp(-by.z))
    same(by.gradient((-w * y * ln(t) - (1 - y) * ln(1 - t)).sum() / 5, by.z), formula)


def cross_entropy_in_symbols(z, targets):
    """−1/N Σ targets·log softmax(z)."""
    e = exp(z)
    return -(targets * ln(e / e.sum(1, keepdims=True))).sum() / len(z)


def test_cross_entropy_gradient_is_softmax_minus_onehot_over_n():
    """L = −1/N Σₙ log p[n, yₙ]; each row of log p has the Jacobian δᵢⱼ − pⱼ, of which yₙ picks
    row i = yₙ  ⇒  ∂L/∂z = (p − onehot(y))/N."""
    z, ids = numbers(3, 5), np.array([4, 0, 2])
    x = leaf(z)
    F.cross_entropy(x, tensor(ids)).backward()
    formula = (softmax(z) - onehot(ids, 5)) / 3
    same(x.grad, formula)
    by = Symbols(z=z)
    same(by.gradient(cross_entropy_in_symbols(by.z, onehot(ids, 5)), by.z), formula)


def test_cross_entropy_hessian_is_diag_p_minus_p_p_transposed_over_n_within_a_sample():
    """∂(pᵢ − yᵢ)/∂zⱼ = δᵢⱼpᵢ − pᵢpⱼ for one sample, 0 between samples; divided by N."""
    z, ids = numbers(2, 3), np.array([2, 0])
    p = softmax(z)
    formula = np.zeros((2, 3, 2, 3))
    for n in range(2):
        formula[n, :, n] = (np.diag(p[n]) - np.outer(p[n], p[n])) / 2
    same(hessian(lambda x: F.cross_entropy(x, tensor(ids)), leaf(z)), formula)
    by = Symbols(z=z)
    same(by.hessian(cross_entropy_in_symbols(by.z, onehot(ids, 3)), by.z), formula)


def test_cross_entropy_of_probabilities_has_gradient_softmax_minus_target_over_n():
    """−Σᵢ tᵢ(δᵢⱼ − pⱼ) = pⱼ Σᵢtᵢ − tⱼ = pⱼ − tⱼ, since Σ t = 1."""
    z, t = numbers(3, 5), softmax(numbers(3, 5, seed=1))
    x = leaf(z)
    F.cross_entropy(x, tensor(t)).backward()
    formula = (softmax(z) - t) / 3
    same(x.grad, formula)
    by = Symbols(z=z)
    # in SymPy the given targets sum to 1 only up to rounding
    same(by.gradient(cross_entropy_in_symbols(by.z, t), by.z), formula)


def test_label_smoothing_gradient_is_softmax_minus_smoothed_target_over_n():
    """The target is (1−ε)·onehot + ε/C, which sums to 1  ⇒  (p − target)/N."""
    z, ids, smoothing = numbers(3, 5), np.array([4, 0, 2]), 0.1
    smoothed = onehot(ids, 5) * (1 - smoothing) + smoothing / 5
    x, v = leaf(z), leaf(z)
    F.cross_entropy(x, tensor(ids), label_smoothing=smoothing).backward()
    F.cross_entropy(v, tensor(onehot(ids, 5)), label_smoothing=smoothing).backward()
    formula = (softmax(z) - smoothed) / 3
    same(x.grad, formula)
    same(v.grad, formula)
    by = Symbols(z=z)
    same(by.gradient(cross_entropy_in_symbols(by.z, smoothed), by.z), formula)


def test_class_weights_scale_the_rows_of_the_gradient_and_their_sum_replaces_n():
    """L = −Σₙ w[yₙ] log p[n, yₙ] / Σₙ w[yₙ]  ⇒  ∂L/∂z[n] = w[yₙ](p[n] − onehot)/Σ w[y]."""
    z, ids, w = numbers(3, 5), np.array([4, 0, 4]), np.array([1.0, 2.0, 3.0, 4.0, 0.5])
    x = leaf(z)
    F.cross_entropy(x, tensor(ids), weight=tensor(w)).backward()
    share = (w[ids] / w[ids].sum())[:, None]
    formula = share * (softmax(z) - onehot(ids, 5))
    same(x.grad, formula)
    by = Symbols(z=z)
    same(by.gradient(cross_entropy_in_symbols(by.z, 3 * share * onehot(ids, 5)), by.z), formula)


def test_ignored_samples_get_no_gradient_and_do_not_count():
    """The mean runs over the samples that count: (p − onehot)/N' there, 0 elsewhere."""
    z, ids = numbers(3, 5), np.array([4, -100, 2])
    x = leaf(z)
    F.cross_entropy(x, tensor(ids)).backward()
    counts = np.array([[1.0], [0.0], [1.0]])
    same(x.grad, counts * (softmax(z) - onehot(ids % 5, 5)) / 2)
    same(x.grad[1], np.zeros(5), atol=0)


def test_negative_log_likelihood_gradient_is_minus_onehot_over_n():
    """L = −1/N Σ a[n, yₙ] is linear in a: −onehot(y)/N, whatever a is."""
    a, ids = numbers(3, 5), np.array([4, 0, 2])
    x = leaf(a)
    F.nll_loss(x, tensor(ids)).backward()
    same(x.grad, -onehot(ids, 5) / 3)


def test_log_likelihood_gradient_is_counts_minus_n_times_p():
    """ℓ(z) = Σᵢ nᵢ log pᵢ for counts nᵢ, N = Σ nᵢ  ⇒  ∂ℓ/∂z = n − N·p.

    So the maximum of the likelihood is where p = n/N: the model's frequencies are the data's.
    """
    z, counts = numbers(5), np.array([3.0, 1.0, 0.0, 5.0, 2.0])
    x = leaf(z)
    (F.log_softmax(x, 0) * tensor(counts)).sum().backward()
    formula = counts - counts.sum() * softmax(z)
    same(x.grad, formula)
    by = Symbols(z=z)
    e = exp(by.z)
    same(by.gradient((counts * ln(e / e.sum())).sum(), by.z), formula)

    seen = np.array([3.0, 1.0, 1.0, 5.0, 2.0])
    best = leaf(np.log(seen / seen.sum()))
    (F.log_softmax(best, 0) * tensor(seen)).sum().backward()
    same(best.grad, np.zeros(5), atol=1e-14)


def test_gaussian_log_likelihood_gradient_is_residual_over_variance():
    """ℓ(μ, σ) = Σ −log σ − (x−μ)²/2σ²  ⇒  ∂ℓ/∂μ = Σ(x−μ)/σ², ∂ℓ/∂σ = Σ(x−μ)²/σ³ − N/σ."""
    x, m, d = numbers(5), 0.3, 0.7
    mu, sigma = leaf(m), leaf(d)
    r = tensor(x) - mu
    (-(r * r) / (sigma * sigma * 2.0) - log(sigma)).sum().backward()
    of_mu = (x - m).sum() / d**2
    of_sigma = ((x - m) ** 2).sum() / d**3 - 5 / d
    same(mu.grad, of_mu)
    same(sigma.grad, of_sigma)
    by = Symbols(m=m, d=d, x=x)
    m_, d_ = by.m[()], by.d[()]
    likelihood = (-((by.x - m_) ** 2) / (2 * d_**2) - sympy.log(d_)).sum()
    same(by.value([sympy.diff(likelihood, m_), sympy.diff(likelihood, d_)]), [of_mu, of_sigma])


def test_mean_squared_error_gradient_is_two_residuals_over_n():
    """L = 1/N Σ (x−y)²  ⇒  ∂L/∂x = 2(x−y)/N, ∂L/∂y = −2(x−y)/N."""
    a, b = numbers(2, 3), numbers(2, 3, seed=1)
    x, y = leaf(a), leaf(b)
    F.mse_loss(x, y).backward()
    same(x.grad, 2 * (a - b) / 6)
    same(y.grad, -2 * (a - b) / 6)
    by = Symbols(a=a, b=b)
    loss = ((by.a - by.b) ** 2).sum() / 6
    same(by.gradient(loss, by.a), 2 * (a - b) / 6)
    same(by.gradient(loss, by.b), -2 * (a - b) / 6)


def test_binary_cross_entropy_is_softmax_cross_entropy_with_two_classes():
    """The softmax of (0, z) is (1/(1+eᶻ), eᶻ/(1+eᶻ)) = (1−s(z), s(z)): the same loss, and
    the gradient with respect to z is p₁ − y₁ = s − y both ways."""
    z, ids = numbers(5), np.array([1, 0, 1, 1, 0])
    one, two = leaf(z), leaf(z)
    binary = F.binary_cross_entropy_with_logits(one, tensor(ids.astype(float)))
    classes = F.cross_entropy(stack([two * 0.0, two], 1), tensor(ids))
    same(binary, classes.item())
    binary.backward()
    classes.backward()
    same(one.grad, two.grad.numpy())
    same(one.grad, (logistic(z) - ids) / 5)


# --- linear models --------------------------------------------------------------------------


def test_linear_regression_gradient_is_zero_at_the_solution_of_the_normal_equations():
    """L = 1/N ‖Xw − y‖²  ⇒  ∂L/∂w = 2/N Xᵀ(Xw − y), Hessian 2/N XᵀX.

    It is zero exactly where XᵀX w = Xᵀy.
    """
    X, y, w = numbers(5, 2), numbers(5), numbers(2, seed=1)
    v = leaf(w)

    def loss_of(v):
        return F.mse_loss(tensor(X) @ v, tensor(y))

    loss_of(v).backward()
    gradient, curvature = 2 / 5 * X.T @ (X @ w - y), 2 / 5 * X.T @ X
    same(v.grad, gradient)
    same(hessian(loss_of, leaf(w)), curvature)
    by = Symbols(w=w)
    loss = ((X @ by.w - y) ** 2).sum() / 5
    same(by.gradient(loss, by.w), gradient)
    same(by.hessian(loss, by.w), curvature)

    best = leaf(np.linalg.solve(X.T @ X, X.T @ y))
    loss_of(best).backward()
    same(best.grad, np.zeros(2), atol=1e-14)


def test_ridge_regression_gradient():
    """L = 1/N ‖Xw − y‖² + λ‖w‖²  ⇒  ∂L/∂w = 2/N Xᵀ(Xw − y) + 2λw."""
    X, y, w, decay = numbers(5, 2), numbers(5), numbers(2, seed=1), 0.1
    v = leaf(w)
    (F.mse_loss(tensor(X) @ v, tensor(y)) + (v * v).sum() * decay).backward()
    same(v.grad, 2 / 5 * X.T @ (X @ w - y) + 2 * decay * w)


def logistic_regression(X, y):
    """The loss as a function of w."""
    return lambda w: F.binary_cross_entropy_with_logits(tensor(X) @ w, tensor(y))


def test_logistic_regression_gradient_is_x_transposed_s_minus_y_over_n():
    """z = Xw  ⇒  ∂L/∂w = Xᵀ ∂L/∂z = Xᵀ(s − y)/N, and the Hessian is XᵀSX/N, S = diag(s(1−s)):
    positive semidefinite, so that the loss is convex."""
    X, y, w = numbers(5, 3), np.array([1.0, 0.0, 1.0, 1.0, 0.0]), numbers(3)
    s = logistic(X @ w)
    gradient, curvature = X.T @ (s - y) / 5, X.T @ np.diag(s * (1 - s)) @ X / 5
    v = leaf(w)
    logistic_regression(X, y)(v).backward()
    same(v.grad, gradient)
    found = hessian(logistic_regression(X, y), leaf(w)).numpy()
    same(found, curvature)
    assert np.linalg.eigvalsh(found).min() > 0
    by = Symbols(w=w)
    t = 1 / (1 + exp(-(X @ by.w)))
    loss = -(y * ln(t) + (1 - y) * ln(1 - t)).sum() / 5
    same(by.gradient(loss, by.w), gradient)
    same(by.hessian(loss, by.w), curvature)


def test_logistic_regression_starting_at_zero_has_curvature_one_quarter():
    """At w = 0 every z is 0, s = ½ and s(1−s) = ¼: the gradient is Xᵀ(½ − y)/N, the Hessian
    XᵀX/4N. A softplus composed of max(z, 0) and |z| has both wrong, for z = 0 is its kink."""
    X, y = numbers(5, 3), np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    gradient, curvature = X.T @ (0.5 - y) / 5, X.T @ X / 4 / 5
    by = Symbols(w=np.zeros(3))
    z = X @ by.w
    loss = (ln(1 + exp(z)) - y * z).sum() / 5
    same(by.gradient(loss, by.w), gradient)
    same(by.hessian(loss, by.w), curvature)
    for zero in (0.0, -0.0):
        w = leaf(np.full(3, zero))
        logistic_regression(X, y)(w).backward()
        same(w.grad, gradient)
        same(hessian(logistic_regression(X, y), w), curvature)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_binary_losses_have_slope_and_curvature_right_at_zero(zero):
    """At z = 0: L = log 2, L' = ½ − y, L'' = ¼, whatever the sign of the zero."""
    z, y = np.full(2, zero), np.array([0.0, 1.0])
    same(F.binary_cross_entropy_with_logits(leaf(z), tensor(y), reduction="none"), [np.log(2)] * 2)
    losses = {
        "bce": lambda x: F.binary_cross_entropy_with_logits(x, tensor(y), reduction="sum"),
        "softplus": lambda x: (F.softplus(x) - x * tensor(y)).sum(),
        "log_sigmoid": lambda x: (
            -(F.logsigmoid(x) * tensor(y) + F.logsigmoid(-x) * tensor(1 - y)).sum()
        ),
        "log of sigmoid": lambda x: (
            -(log(F.sigmoid(x)) * tensor(y) + log(F.sigmoid(-x)) * tensor(1 - y)).sum()
        ),
    }
    for loss in losses.values():
        x = leaf(z)
        loss(x).backward()
        same(x.grad, [0.5, -0.5])
        same(hessian(loss, leaf(z)), np.eye(2) / 4)


def test_softmax_regression_gradient_is_x_transposed_p_minus_y_over_n():
    """z = XW + b  ⇒  ∂L/∂W = Xᵀ(p − Y)/N and ∂L/∂b = Σₙ (p − Y)/N, its column sums."""
    X, ids = numbers(5, 2), np.array([0, 2, 1, 2, 0])
    W, b = numbers(2, 3), numbers(3)
    W_, b_ = leaf(W), leaf(b)
    F.cross_entropy(tensor(X) @ W_ + b_, tensor(ids)).backward()
    residual = (softmax(X @ W + b) - onehot(ids, 3)) / 5
    same(W_.grad, X.T @ residual)
    same(b_.grad, residual.sum(0))
    by = Symbols(W=W, b=b)
    loss = cross_entropy_in_symbols(X @ by.W + by.b, onehot(ids, 3))
    same(by.gradient(loss, by.W), X.T @ residual)
    same(by.gradient(loss, by.b), residual.sum(0))


def test_softmax_regression_starting_at_zero_sees_uniform_probabilities():
    """At W = 0, b = 0: p = 1/C, the loss is log C, ∂L/∂W = Xᵀ(1/C − Y)/N, and the Hessian with
    respect to b is (I/C − 1/C²)."""
    X, ids = numbers(5, 2), np.array([0, 2, 1, 2, 0])
    W, b = leaf(np.zeros((2, 3))), leaf(np.zeros(3))
    loss = F.cross_entropy(tensor(X) @ W + b, tensor(ids))
    loss.backward()
    residual = (1 / 3 - onehot(ids, 3)) / 5
    same(loss, np.log(3))
    same(W.grad, X.T @ residual)
    same(b.grad, residual.sum(0))
    zeros = tensor(np.zeros((2, 3)))
    curvature = hessian(lambda b: F.cross_entropy(tensor(X) @ zeros + b, tensor(ids)), b)
    same(curvature, np.eye(3) / 3 - 1 / 9)
    by = Symbols(W=np.zeros((2, 3)), b=np.zeros(3))
    symbolic = cross_entropy_in_symbols(X @ by.W + by.b, onehot(ids, 3))
    same(by.gradient(symbolic, by.W), X.T @ residual)
    same(by.hessian(symbolic, by.b), np.eye(3) / 3 - 1 / 9)


# --- the two-layer network ------------------------------------------------------------------


def two_layers(X, ids, W1, b1, W2, b2):
    """The loss, and the parameters as leaves with their gradients."""
    leaves = [leaf(p) for p in (W1, b1, W2, b2)]
    hidden = F.relu(tensor(X) @ leaves[0] + leaves[1])
    loss = F.cross_entropy(hidden @ leaves[2] + leaves[3], tensor(ids))
    loss.backward()
    return loss, leaves


def two_layers_by_hand(X, ids, W1, b1, W2, b2):
    """The four gradients, written back to front."""
    a = X @ W1 + b1
    h = np.maximum(a, 0)
    dz = (softmax(h @ W2 + b2) - onehot(ids, len(b2))) / len(X)
    da = (dz @ W2.T) * (a > 0)
    return X.T @ da, da.sum(0), h.T @ dz, dz.sum(0)


def test_two_layer_network_gradients():
    """a = XW₁ + b₁, h = relu(a), z = hW₂ + b₂, L = cross-entropy(z, y). Back to front:

    ∂z = (p − Y)/N;  ∂W₂ = hᵀ∂z, ∂b₂ = Σ∂z;  ∂h = ∂z W₂ᵀ;  ∂a = ∂h·[a > 0];
    ∂W₁ = Xᵀ∂a, ∂b₁ = Σ∂a.
    """
    X, ids = numbers(5, 2), np.array([0, 2, 1, 2, 0])
    parameters = W1, b1, W2, b2 = numbers(2, 4), numbers(4) / 4, numbers(4, 3), numbers(3)
    formulas = two_layers_by_hand(X, ids, *parameters)
    on = (X @ W1 + b1 > 0).mean(0)
    assert ((on > 0) & (on < 1)).all(), "each hidden unit is on for some samples, off for others"
    _, leaves = two_layers(X, ids, *parameters)
    for found, formula in zip(leaves, formulas):
        same(found.grad, formula)
    by = Symbols(W=W1, b=b1, V=W2, c=b2)
    logits = relu(X @ by.W + by.b) @ by.V + by.c
    loss = cross_entropy_in_symbols(logits, onehot(ids, 3))
    for symbols, formula in zip((by.W, by.b, by.V, by.c), formulas):
        same(by.gradient(loss, symbols), formula)


def test_two_layer_network_starting_at_zero_learns_only_its_last_bias():
    """All parameters 0: a = 0, h = 0, z = 0, p = 1/C. ∂W₂ = hᵀ∂z = 0; ∂h = ∂z W₂ᵀ = 0, so that
    ∂W₁ = ∂b₁ = 0; only ∂b₂ = Σ(1/C − Y)/N is not. Symmetry is never broken."""
    X, ids = numbers(5, 2), np.array([0, 2, 1, 2, 2])
    loss, (W1, b1, W2, b2) = two_layers(
        X, ids, np.zeros((2, 4)), np.zeros(4), np.zeros((4, 3)), np.zeros(3)
    )
    same(loss, np.log(3))
    for dead in (W1, b1, W2):
        same(dead.grad, np.zeros(dead.shape), atol=0)
    same(b2.grad, (1 / 3 - onehot(ids, 3)).sum(0) / 5)


def test_a_zero_first_layer_gets_no_gradient_because_relu_is_flat_at_zero():
    """W₁ = 0, b₁ = 0 but W₂ ≠ 0: a = 0 everywhere, and relu'(0) = 0 stops ∂h = ∂z W₂ᵀ ≠ 0."""
    X, ids, W2, b2 = numbers(5, 2), np.array([0, 2, 1, 2, 0]), numbers(4, 3), numbers(3)
    for zero in (0.0, -0.0):
        _, (W1, b1, _, last) = two_layers(X, ids, np.full((2, 4), zero), np.zeros(4), W2, b2)
        same(W1.grad, np.zeros((2, 4)), atol=0)
        same(b1.grad, np.zeros(4), atol=0)
        assert np.abs(last.grad.numpy()).min() > 0


def test_units_that_start_equal_stay_equal():
    """If two hidden units have equal weights in and out, their gradients are equal as well."""
    X, ids = numbers(5, 2), np.array([0, 2, 1, 2, 0])
    W1, W2 = numbers(2, 4), numbers(4, 3)
    W1[:, 1], W2[1] = W1[:, 0], W2[0]
    _, (first, bias, second, _) = two_layers(X, ids, W1, np.zeros(4), W2, np.zeros(3))
    same(first.grad[:, 0], first.grad[:, 1].numpy())
    same(second.grad[0], second.grad[1].numpy())
    same(bias.grad[0], bias.grad[1].item())


# --- normalisation --------------------------------------------------------------------------


def normalisation_backward(x, g, gamma, axis, eps):
    """dx = γ/√(σ²+ε) · (g − mean g − x̂·mean(g·x̂)), for γ constant along `axis`."""
    d = x - x.mean(axis, keepdims=True)
    deviation = np.sqrt((d * d).mean(axis, keepdims=True) + eps)
    xhat = d / deviation
    g = g * gamma
    inner = g - g.mean(axis, keepdims=True) - xhat * (g * xhat).mean(axis, keepdims=True)
    return inner / deviation, xhat


def normalised_in_symbols(x, axis, eps):
    n = x.shape[axis]
    d = x - x.sum(axis, keepdims=True) / n
    return d / root((d * d).sum(axis, keepdims=True) / n + eps)


def test_batch_normalisation_backward():
    """y = γx̂ + β, x̂ = (x−μ)/r, r = √(σ²+ε), μ and σ² over the batch, g = ∂L/∂y.

    ∂β = Σg and ∂γ = Σg·x̂ over the batch. With ĝ = gγ: ∂x̂ᵢ/∂xⱼ = (δᵢⱼ − 1/N − x̂ᵢx̂ⱼ/N)/r, since
    ∂r/∂xⱼ = (xⱼ−μ)/(Nr)  ⇒  ∂x = (ĝ − mean ĝ − x̂·mean(ĝ·x̂))/r.
    """
    x, g, eps = numbers(5, 3), numbers(5, 3, seed=1), 0.1
    gamma, beta = numbers(3), numbers(3, seed=1)
    formula, xhat = normalisation_backward(x, g, gamma, 0, eps)
    x_, gamma_, beta_ = leaf(x), leaf(gamma), leaf(beta)
    y = F.batch_norm(x_, weight=gamma_, bias=beta_, training=True, eps=eps)
    y.backward(tensor(g))
    same(y, gamma * xhat + beta)
    same(x_.grad, formula)
    same(gamma_.grad, (g * xhat).sum(0))
    same(beta_.grad, g.sum(0))
    by = Symbols(x=x, w=gamma, b=beta)
    loss = (g * (normalised_in_symbols(by.x, 0, eps) * by.w + by.b)).sum()
    same(by.gradient(loss, by.x), formula)
    same(by.gradient(loss, by.w), (g * xhat).sum(0))
    same(by.gradient(loss, by.b), g.sum(0))


def test_batch_normalisation_with_running_statistics_is_an_affine_map():
    """Outside training μ and σ² are constants: ∂x = gγ/√(σ²+ε), with no other terms."""
    x, g, gamma = numbers(5, 3), numbers(5, 3, seed=1), numbers(3)
    mean, var = numbers(3, seed=2), np.array([0.5, 1.0, 2.0])
    x_, gamma_ = leaf(x), leaf(gamma)
    F.batch_norm(x_, tensor(mean), tensor(var), gamma_, eps=0.1).backward(tensor(g))
    same(x_.grad, g * gamma / np.sqrt(var + 0.1))
    same(gamma_.grad, (g * (x - mean) / np.sqrt(var + 0.1)).sum(0))


def test_batch_normalisation_gradient_is_orthogonal_to_what_normalisation_removes():
    """Adding a constant to x changes nothing (Σ∂x = 0), nor, for ε = 0, does stretching it
    (Σ x̂·∂x = 0)."""
    x, g = numbers(5, 3), numbers(5, 3, seed=1)
    x_ = leaf(x)
    F.batch_norm(x_, training=True, eps=0.0).backward(tensor(g))
    xhat = normalisation_backward(x, g, 1.0, 0, 0.0)[1]
    same(x_.grad.numpy().sum(0), np.zeros(3))
    same((x_.grad.numpy() * xhat).sum(0), np.zeros(3))


def test_layer_normalisation_backward():
    """As for the batch, with μ and σ² over the features of one sample; γ varies along them, so
    that it belongs into ĝ = g·γ before the means are taken. ∂γ and ∂β still sum over samples."""
    x, g, eps = numbers(3, 5), numbers(3, 5, seed=1), 0.1
    gamma, beta = numbers(5), numbers(5, seed=1)
    formula, xhat = normalisation_backward(x, g, gamma, 1, eps)
    x_, gamma_, beta_ = leaf(x), leaf(gamma), leaf(beta)
    y = F.layer_norm(x_, 5, gamma_, beta_, eps)
    y.backward(tensor(g))
    same(y, gamma * xhat + beta)
    same(x_.grad, formula)
    same(gamma_.grad, (g * xhat).sum(0))
    same(beta_.grad, g.sum(0))
    by = Symbols(x=x, w=gamma, b=beta)
    loss = (g * (normalised_in_symbols(by.x, 1, eps) * by.w + by.b)).sum()
    same(by.gradient(loss, by.x), formula)
    same(by.gradient(loss, by.w), (g * xhat).sum(0))


# --- spreads and lengths --------------------------------------------------------------------


def test_variance_gradient_is_two_deviations_over_n_minus_c():
    """σ² = Σ(x−μ)²/(n−c): the term through μ vanishes, as Σ(x−μ) = 0  ⇒  2(x−μ)/(n−c); and for
    σ itself (x−μ)/(σ(n−c))."""
    x = numbers(5)
    by = Symbols(x=x)
    d = by.x - by.x.sum() / 5
    for c in (0, 1):
        v, s = leaf(x), leaf(x)
        v.var(correction=c).backward()
        s.std(correction=c).backward()
        of_var = 2 * (x - x.mean()) / (5 - c)
        of_std = (x - x.mean()) / (x.std(ddof=c) * (5 - c))
        same(v.grad, of_var)
        same(s.grad, of_std)
        same(by.gradient((d * d).sum() / (5 - c), by.x), of_var)
        same(by.gradient(sympy.sqrt((d * d).sum() / (5 - c)), by.x), of_std)


def test_norm_gradient_is_the_unit_vector():
    """‖x‖ = √Σx²  ⇒  ∂‖x‖/∂x = x/‖x‖, and the Hessian is (I − uuᵀ)/‖x‖ with u = x/‖x‖."""
    x = numbers(5)
    length = np.sqrt((x * x).sum())
    u = x / length
    v = leaf(x)
    v.norm().backward()
    same(v.grad, u)
    same(hessian(lambda v: v.norm(), leaf(x)), (np.eye(5) - np.outer(u, u)) / length)
    by = Symbols(x=x)
    symbolic = sympy.sqrt((by.x**2).sum())
    same(by.gradient(symbolic, by.x), u)
    same(by.hessian(symbolic, by.x), (np.eye(5) - np.outer(u, u)) / length)


# --- matrices -------------------------------------------------------------------------------


def test_matrix_product_gradients_are_g_b_transposed_and_a_transposed_g():
    """Y = AB, dL = Σ G·dY = tr(Gᵀ(dA·B + A·dB))  ⇒  ∂A = GBᵀ, ∂B = AᵀG."""
    A, B, G = numbers(2, 3), numbers(3, 5), numbers(2, 5)
    a, b = leaf(A), leaf(B)
    (a @ b).backward(tensor(G))
    same(a.grad, G @ B.T)
    same(b.grad, A.T @ G)
    by = Symbols(A=A, B=B)
    loss = (G * (by.A @ by.B)).sum()
    same(by.gradient(loss, by.A), G @ B.T)
    same(by.gradient(loss, by.B), A.T @ G)


def test_quadratic_form_has_gradient_a_plus_a_transposed_times_x_and_that_hessian():
    """q = xᵀAx  ⇒  ∂q/∂x = (A + Aᵀ)x, Hessian A + Aᵀ, ∂q/∂A = xxᵀ."""
    A, x = numbers(3, 3), numbers(3)
    a, v = leaf(A), leaf(x)
    (v @ a @ v).backward()
    same(v.grad, (A + A.T) @ x)
    same(a.grad, np.outer(x, x))
    same(hessian(lambda v: v @ tensor(A) @ v, leaf(x)), A + A.T)


def test_product_gradient_is_the_product_of_the_others():
    """P = Πxᵢ  ⇒  ∂P/∂xᵢ = Π of the others, also where factors are 0; ∂²P/∂xᵢ∂xⱼ leaves out two."""
    for x in ([2.0, 3.0, 5.0], [2.0, 0.0, 5.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]):
        v = leaf(x)
        v.prod().backward()
        a, b, c = x
        same(v.grad, [b * c, a * c, a * b], atol=0)
        same(hessian(lambda v: v.prod(), leaf(x)), [[0, c, b], [c, 0, a], [b, a, 0]], atol=0)
