"""Loss curves of fifty steps, eager and compiled: PyTorch's, frozen, and live where it is there."""

import numpy as np
import optim_cases as cases
import pytest

import tinygrad_ce as tg

RUNS = dict(cases.cases())
FROZEN = cases.read()


def near_zero(name):
    """L-BFGS gets there, and there the last bit of a gradient decides how."""
    return 1e-9 if "LBFGS" in name else 0.0


@pytest.mark.parametrize("name", RUNS)
def test_the_loss_curve_of_fifty_steps_is_pytorchs(name):
    losses, rates = cases.trained(tg, *RUNS[name])
    np.testing.assert_allclose(losses, FROZEN[name][0], rtol=1e-9, atol=near_zero(name))
    np.testing.assert_allclose(rates, FROZEN[name][1], rtol=1e-12, atol=1e-18)
    assert np.abs(np.diff(losses)).max() > 1e-3  # it went somewhere


@pytest.mark.parametrize("name", [name for name in cases.OPTIMISERS if "LBFGS" not in name])
def test_a_compiled_step_has_the_same_curve(name):
    make, *_ = RUNS[name]
    schedule = lambda s, o: s.StepLR(o, 20, 0.5)  # noqa: E731
    after = 1 if name == "SGD-dampening" else 0  # its first step is another one than the others
    eager = cases.trained(tg, make, schedule)
    compiled = cases.trained(tg, make, schedule, tg.compile, after)
    np.testing.assert_allclose(compiled[0], eager[0], rtol=1e-9, atol=0)
    assert compiled[1] == eager[1] and len({*eager[1]}) == 3


def test_the_first_step_with_dampening_is_not_written_down():
    with pytest.raises(tg.TraceError, match=r"first step of SGD with dampening.*outside"):
        cases.trained(tg, cases.OPTIMISERS["SGD-dampening"], None, tg.compile)


def test_every_run_is_frozen():
    assert [*RUNS] == [*FROZEN]


@pytest.mark.parametrize("name", RUNS)
def test_curves_of_the_installed_pytorch(name):
    torch = pytest.importorskip("torch")
    ours, theirs = (cases.trained(lib, *RUNS[name]) for lib in (tg, torch))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-9, atol=near_zero(name))
    assert ours[1] == theirs[1]  # learning rates are printed with all their digits
