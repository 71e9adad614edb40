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


LANDSCAPES = {
    "waves": lambda w: (w * 3).sin() + 0.1 * w * w,
    "steep": lambda w: (w - 2) ** 2 * (1 + (w * 7).sin() * 0.9),
    "well": lambda w: w**4 - 2 * w * w + 0.3 * w,
    "kink": lambda w: (w - 0.3).abs() + 0.01 * w * w,
}
SEARCHES = [  # landscape, start, lr, max_iter, tolerance_change; PyTorch's w and evaluations
    ("waves", -2.5, 0.01, 2, 1e-09, -2.55585188248652, 10),
    ("waves", 0.3, 3.0, 2, 0.5, -2.566676293735431, 6),
    ("waves", 1.7, 20.0, 2, 0.5, 1.5424542050971406, 6),
    ("steep", -2.5, 20.0, 2, 0.5, -4.711696404226236, 10),
    ("steep", -1.0, 20.0, 5, 0.001, -1.1205332636427991, 8),
    ("well", 0.3, 3.0, 2, 1e-09, 0.9601495554605283, 9),
    ("well", 1.7, 0.5, 5, 1e-09, 0.9617163317672864, 12),
    ("kink", 2.0, 1.0, 2, 1e-09, 0.2999999998799173, 47),
    ("kink", -1.0, 7.0, 3, 1e-09, 0.300000000101831, 49),
    ("kink", 0.4, 0.001, 3, 0.0, 0.30000000000000004, 39),
]


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("row", SEARCHES, ids=lambda row: f"{row[0]}{row[1:-2]}")
def test_a_line_search_ends_where_pytorchs_does(row, live):
    """Two steps in one dimension: far, near, through bumps, into a kink."""
    lib = pytest.importorskip("torch") if live else tg
    name, start, lr, most, tolerance, end, evaluations = row
    w = lib.tensor([start], dtype=lib.float64, requires_grad=True)
    optimizer = lib.optim.LBFGS(
        [w], lr, most, 100, tolerance_change=tolerance, line_search_fn="strong_wolfe"
    )
    count = []

    def closure():
        count.append(1)
        optimizer.zero_grad()
        loss = LANDSCAPES[name](w).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    optimizer.step(closure)
    assert w.item() == pytest.approx(end, rel=1e-9) and len(count) == evaluations
