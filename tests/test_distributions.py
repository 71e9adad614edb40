"""Distributions against PyTorch's answers, frozen by ``distribution_cases.py`` and live."""

import json
import math

import distribution_cases as cases
import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import distributions as d

FROZEN = json.loads(cases.FROZEN.read_text())


@pytest.fixture(autouse=True)
def default_generator_as_before():
    state = tg.get_rng_state()
    yield
    tg.set_rng_state(state)


def agree(ours, wanted, where=""):
    """The same structure, floats up to rounding."""
    if isinstance(wanted, float) and isinstance(ours, float):
        assert ours == pytest.approx(wanted, rel=4e-6, abs=2e-6, nan_ok=True), where
    elif isinstance(wanted, dict):
        assert ours.keys() == wanted.keys()
        for key in wanted:
            agree(ours[key], wanted[key], f"{where} {key}")
    elif isinstance(wanted, list) and isinstance(ours, list):
        assert len(ours) == len(wanted), where
        for a, b in zip(ours, wanted):
            agree(a, b, where)
    else:
        assert ours == wanted and type(ours) is type(wanted), where


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("name", cases.MAKE)
def test_a_distribution_is_pytorchs(name, live):
    wanted = cases.everything(pytest.importorskip("torch"), name) if live else FROZEN[name]
    agree(cases.everything(tg, name), wanted)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("name", cases.PAIRS)
def test_a_divergence_is_pytorchs(name, live):
    wanted = cases.divergence(pytest.importorskip("torch"), name) if live else FROZEN[f"KL {name}"]
    agree(cases.divergence(tg, name), wanted)


def test_a_formula_of_ones_own():
    class Shifted(d.Normal):
        pass

    class Point(d.Distribution):
        def __init__(self):
            super().__init__()

    with pytest.raises(NotImplementedError, match="no formula for Point and Normal"):
        d.kl_divergence(Point(), d.Normal(0.0, 1.0))

    @d.register_kl(Point, d.Normal)
    def kl(p, q):
        return q.loc

    assert d.kl_divergence(Point(), Shifted(3.0, 1.0)).item() == 3.0
    for method in ("rsample", "entropy"):
        with pytest.raises(NotImplementedError, match=f"Point has no {method}"):
            getattr(Point(), method)()
    for name in ("mean", "mode", "stddev"):
        with pytest.raises(NotImplementedError, match="Point has no"):
            getattr(Point(), name)
    for name in ("log_prob", "cdf"):
        with pytest.raises(NotImplementedError, match="Point has no"):
            getattr(Point(), name)(tg.zeros(1))


def test_a_compiled_step_draws_and_follows_the_parameters():
    """The loss of a variational autoencoder's latent, in both ways of running it."""

    def build():
        w = tg.tensor([[0.5, -1.0], [0.25, 0.75]], requires_grad=True)
        optimizer = tg.optim.SGD([w], lr=0.1)

        def step(x):
            loc, log_scale = x @ w, x @ w * 0.5
            q = d.Normal(loc, log_scale.exp())
            z = q.rsample()
            p = d.Normal(tg.zeros_like(loc), 1.0)
            noise = d.Bernoulli(logits=z).log_prob((x > 0).float()).sum()
            loss = d.kl_divergence(q, p).sum() - noise + d.Uniform(0.0, 1.0).rsample()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return step, w

    runs = []
    for wrap in (lambda f: f, tg.compile):
        step, w = build()
        tg.manual_seed(1)
        step = wrap(step)
        losses = [step(tg.tensor([[1.0, -1.0 + i]])).item() for i in range(6)]
        runs.append((losses, w.tolist()))
    np.testing.assert_allclose(runs[0][0], runs[1][0], rtol=1e-5)
    np.testing.assert_allclose(runs[0][1], runs[1][1], rtol=1e-5)


def test_probabilities_have_their_graph_even_if_first_seen_without():
    logits = tg.tensor([0.0, 1.0], requires_grad=True)
    q = d.Bernoulli(logits=logits)
    with tg.no_grad():
        assert q.probs.requires_grad
    assert q.probs is q.probs
    assert d.Bernoulli.probs.__doc__ == "σ(logits)."


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: d.Normal(0.0, 0.0), ValueError, r"Normal: scale of shape \(\); wanted numbers ab"),
        (lambda: d.Normal(tg.tensor([0.0, math.nan]), 1.0), ValueError, r"Normal: loc of shape"),
        (lambda: d.Normal([0.0], 1.0), ValueError, "got a list; wanted a Tensor or a number"),
        (lambda: d.Uniform(1.0, 1.0), ValueError, "Uniform: low=1.*wanted low < high"),
        (lambda: d.Uniform(0.0, 1.0).log_prob(tg.tensor(2.0)), ValueError, "between low and high"),
        (lambda: d.Bernoulli(1.5), ValueError, "Bernoulli: probs of shape .*from 0 to 1"),
        (lambda: d.Bernoulli(), ValueError, "wanted either probs or logits"),
        (lambda: d.Bernoulli(0.5, 0.5), ValueError, "wanted either probs or logits"),
        (lambda: d.Bernoulli(0.5).log_prob(tg.tensor(0.5)), ValueError, "wanted 0 or 1"),
        (lambda: d.Categorical(), ValueError, "wanted either probs or logits"),
        (lambda: d.Categorical(tg.ones(2), tg.ones(2)), ValueError, "wanted either probs or log"),
        (lambda: d.Categorical(tg.tensor(1.0)), ValueError, r"wanted a Tensor \(..., C\)"),
        (lambda: d.Categorical(tg.tensor([1.0, -0.5])), ValueError, "probs .*at least 0"),
        (lambda: d.Categorical(logits=tg.tensor([math.nan, 0])), ValueError, "logits of shape"),
        (lambda: d.Categorical(tg.ones(3)).log_prob(tg.tensor(3)), ValueError, "from 0 to 2"),
        (lambda: d.Categorical(tg.ones(3)).log_prob(tg.tensor(0.5)), ValueError, "whole numbers"),
        (lambda: d.Normal(0.0, 1.0).log_prob(1.0), ValueError, "the value is a float; wanted a T"),
        (lambda: d.Normal(tg.ones(3), 1.0).log_prob(tg.ones(2)), ValueError, r"\(2,\) for distri"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_checks_can_be_switched_off():
    assert d.Normal(0.0, -1.0, validate_args=False).scale.item() == -1.0
    q = d.Uniform(0.0, 1.0, validate_args=False)
    assert q.log_prob(tg.tensor([2.0, 0.5])).tolist() == [-math.inf, 0.0]
    assert d.Bernoulli(0.5, validate_args=False).log_prob(tg.tensor(0.5)).item() < 0


def test_multinomial_counts_as_pytorch():
    tg.manual_seed(3)
    coin = d.Multinomial(100, tg.tensor([0.5, 0.5]))
    assert coin.sample().tolist() == [57.0, 43.0]
    assert coin.sample((3,)).tolist() == [[51.0, 49.0], [48.0, 52.0], [47.0, 53.0]]
    assert coin.mean.tolist() == [50.0, 50.0] and coin.variance.tolist() == [25.0, 25.0]
    several = d.Multinomial(7, logits=tg.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, -math.inf]]))
    drawn = several.sample((2,))
    assert drawn.tolist() == [[[1, 0, 6], [5, 2, 0]], [[1, 0, 6], [6, 1, 0]]]
    np.testing.assert_allclose(
        several.log_prob(drawn).numpy(), [[-2.9073, -1.1483], [-2.9073, -1.2469]], atol=5e-5
    )
    assert (several.batch_shape, several.event_shape) == ((2,), (3,))
    p = tg.tensor([0.2, 0.5, 0.3], requires_grad=True)
    d.Multinomial(4, p).log_prob(tg.tensor([1.0, 2.0, 1.0])).backward()
    np.testing.assert_allclose(p.grad.numpy(), [1.0, 0.0, -2 / 3], atol=1e-6)
    with pytest.raises(NotImplementedError, match=r"total_count is .*; wanted one whole number"):
        d.Multinomial(tg.tensor(3), p)
