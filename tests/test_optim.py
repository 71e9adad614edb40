"""Optimisers and schedules: PyTorch's trajectories, saving and going on, wrong settings."""

import copy
import inspect
import math
import warnings

import nn_cases as cases
import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.optim import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Optimizer,
    RMSprop,
    lr_scheduler,
)
from tinygrad_ce.optim.optimizer import required

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of")  # schedules on their own
FROZEN, _ = cases.read()
Plateau = lr_scheduler.ReduceLROnPlateau
STATEFUL = ("SGD-momentum", "SGD-all", "SGD-groups", "Adam", "Adam-all", "Adam-groups", "AdamW")


def leaf(*values):
    return tg.tensor(list(values), requires_grad=True)


# --- PyTorch's numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("name", cases.OPTIMISERS)
def test_ten_steps_of_descent_are_pytorchs(name, double):
    parameters = cases.start(tg, double)
    path = cases.descend(tg, cases.OPTIMISERS[name](tg.optim, parameters), parameters, 10)
    assert path.dtype == (np.float64 if double else np.float32)
    close = 1e-12 if double else 1e-6
    (exact,) = FROZEN[f"descent-{name}-{double}"]
    np.testing.assert_allclose(path, exact, rtol=close, atol=close)
    assert np.abs(path[9, :20] - path[0, :20]).min() > 1e-5  # it went somewhere
    assert (path[:, 20:] == cases.start(tg, double)[2].detach().numpy()).all()  # no gradient


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("name", cases.OPTIMISERS)
def test_ten_steps_with_given_gradients_are_pytorchs(name, double):
    parameters = cases.start(tg, double)
    path = cases.fed(tg, cases.OPTIMISERS[name](tg.optim, parameters), parameters, 10)
    (exact,) = FROZEN[f"fed-{name}-{double}"]
    cases.agree(path, exact, 8, np.float64 if double else np.float32)


@pytest.mark.parametrize(("name", "metric"), [*cases.schedules()])
def test_learning_rates_of_thirty_epochs_are_pytorchs(name, metric):
    (exact,) = FROZEN[f"schedule-{name}-{metric}"]
    np.testing.assert_allclose(cases.scheduled(tg, name, metric), exact, rtol=1e-12, atol=1e-15)


def test_some_metric_lowers_the_learning_rate_twice():
    for name in cases.SCHEDULES:
        if name.startswith("Reduce"):
            runs = [FROZEN[f"schedule-{name}-{metric}"][0][:, 0] for metric in cases.METRICS]
            assert max(len({*rates}) for rates in runs) > 2, name


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
def test_a_negative_metric_that_gets_a_little_worse_is_not_better(mode, sign):
    # PyTorch: best·(1 - threshold) is above a negative best, and best itself drifts upwards
    optimizer = SGD([leaf(1.0)], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, mode, factor=0.5, patience=0)
    scheduler.step(-1.0 * sign)
    scheduler.step(-0.99995 * sign)
    assert scheduler.best == -1.0 * sign and scheduler.get_last_lr() == [0.5]
    scheduler.step(-1.00005 * sign)
    assert scheduler.best == -1.0 * sign and scheduler.get_last_lr() == [0.25]
    scheduler.step(-1.001 * sign)
    assert scheduler.best == -1.001 * sign and scheduler.get_last_lr() == [0.25]


# --- saving and going on ------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["memory", "file", "reversed"])
@pytest.mark.parametrize("name", STATEFUL)
def test_a_loaded_state_continues_the_same_path(name, through, tmp_path):
    make = cases.OPTIMISERS[name]
    parameters = cases.start(tg, False)
    whole = cases.descend(tg, make(tg.optim, parameters), parameters, 10)

    parameters = cases.start(tg, False)
    optimizer = make(tg.optim, parameters)
    cases.descend(tg, optimizer, parameters, 4)
    saved = optimizer.state_dict()
    if through == "file":
        tg.save(saved, tmp_path / "state.safetensors")
        saved = tg.load(tmp_path / "state.safetensors")
    elif through == "reversed":  # names count, not their order
        saved["state"] = {i: dict(reversed(s.items())) for i, s in saved["state"].items()}
    again = [tg.tensor(p.detach().numpy(), requires_grad=True) for p in parameters]
    other = make(tg.optim, again)
    for group in other.param_groups:
        group["lr"] = 77.0  # the settings come from the file too
    other.load_state_dict(saved)
    assert (cases.descend(tg, other, again, 6) == whole[4:]).all()


def test_a_state_dict_does_not_follow_later_steps():
    parameters = cases.start(tg, False)
    optimizer = Adam(parameters, lr=0.1)
    cases.descend(tg, optimizer, parameters, 2)
    saved = optimizer.state_dict()
    before = {n: t.numpy().copy() for n, t in saved["state"][0].items()}
    cases.descend(tg, optimizer, parameters, 2)
    assert saved["state"][0]["step"].item() == 2.0
    for name, array in before.items():
        assert (saved["state"][0][name].numpy() == array).all()
    assert optimizer.state_dict()["state"][0]["step"].item() == 4.0


def test_a_loaded_state_is_a_copy():
    first, second = cases.start(tg, False), cases.start(tg, False)
    one, two = Adam(first), Adam(second)
    cases.descend(tg, one, first, 2)
    saved = one.state_dict()
    two.load_state_dict(saved)
    cases.descend(tg, two, second, 3)
    assert saved["state"][0]["step"].item() == 2.0


def test_the_state_dict_has_pytorchs_names():
    parameters = cases.start(tg, False)
    optimizer = Adam([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.5}])
    cases.descend(tg, optimizer, parameters, 1)
    saved = optimizer.state_dict()
    assert [g["params"] for g in saved["param_groups"]] == [[0], [1, 2]]
    assert [g["lr"] for g in saved["param_groups"]] == [0.001, 0.5]
    assert {i: [*state] for i, state in saved["state"].items()} == {
        0: ["step", "exp_avg", "exp_avg_sq"],
        1: ["step", "exp_avg", "exp_avg_sq"],
    }
    optimizer = SGD(parameters, lr=0.1, momentum=0.9)
    cases.descend(tg, optimizer, parameters, 1)
    assert [*optimizer.state_dict()["state"][0]] == ["momentum_buffer"]


@pytest.mark.parametrize("name", cases.SCHEDULES)
def test_a_loaded_schedule_continues(name):
    def run(resume):
        optimizer = SGD([leaf(1.0)], lr=0.1)
        scheduler = cases.SCHEDULES[name](lr_scheduler, optimizer)
        rates = []
        for epoch in range(30):
            if epoch == 13 and resume:
                old = optimizer.state_dict(), scheduler.state_dict()
                optimizer = SGD([leaf(1.0)], lr=5.0)
                scheduler = cases.SCHEDULES[name](lr_scheduler, optimizer)
                optimizer.load_state_dict(old[0])
                scheduler.load_state_dict(old[1])
            metric = [cases.METRICS["noisy"][epoch]] if name.startswith("Reduce") else []
            scheduler.step(*metric)
            rates += scheduler.get_last_lr()
        return rates

    assert run(resume=True) == run(resume=False)
    assert len(set(run(resume=False))) > 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s["param_groups"].pop(), ValueError, r"groups of \[1\] parameters.* \[1, 2\]"),
        (lambda s: s["param_groups"][1]["params"].pop(), ValueError, r"groups of \[1, 1\]"),
        (lambda s: s.pop("state"), ValueError, "'state' and 'param_groups'"),
        (
            lambda s: s["state"].update({9: s["state"][0]}),
            ValueError,
            "state of parameter 9; this optimiser has 3",
        ),
        (
            lambda s: s["state"][0].update(exp_avg=tg.zeros(2, 2)),
            ValueError,
            r"exp_avg of parameter 0 has shape \(2, 2\), the parameter \(3, 5\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, error, message):
    parameters = cases.start(tg, False)
    optimizer = Adam([{"params": parameters[:1]}, {"params": parameters[1:]}], lr=0.5)
    cases.descend(tg, optimizer, parameters, 1)
    saved = optimizer.state_dict()
    saved["param_groups"][0]["lr"] = 99.0
    change(saved)
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(saved)
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.5]
    assert optimizer.state[parameters[0]]["exp_avg"].shape == (3, 5)


MAKERS = {
    "SGD": lambda p: SGD(p, lr=0.5, momentum=0.5),
    "Adam": lambda p: Adam(p, lr=0.5),
    "AdamW": lambda p: AdamW(p, lr=0.5),
}


def everything(optimizer):
    """Settings and state, as plain data."""
    saved = optimizer.state_dict()
    state = {i: {n: t.tolist() for n, t in s.items()} for i, s in saved["state"].items()}
    return saved["param_groups"], state


def settings(**changed):
    return lambda saved: saved["param_groups"][-1].update(changed)


def kept(i=0, **changed):
    return lambda saved: saved["state"][i].update(changed)


# What is done to a good state, to each optimiser that has such a setting or state.
SPOILED = {
    **{f"{name}={value!r}": settings(**{name: value})
       for name in ("lr", "weight_decay", "eps", "momentum")
       for value in (math.nan, -1.0, math.inf, "0.1", None, True, [0.1], 1j)},
    **{f"betas={value!r}": settings(betas=value)
       for value in ((2, 3), (0.9, 1.0), (math.nan, 0.9), (0.9,), 0.9, None, ("a", 0), (0, None))},
    "nesterov": settings(nesterov="yes"),
    "no lr": lambda s: s["param_groups"][0].pop("lr"),
    "no params": lambda s: s["param_groups"][0].pop("params"),
    "params no list": settings(params=3),
    "a parameter twice": settings(params=[0, 0]),
    "one parameter less": settings(params=[1]),
    "a group more": lambda s: s["param_groups"].append(s["param_groups"][0]),
    "groups no list": lambda s: s.update(param_groups=None),
    "a group no dict": lambda s: s.update(param_groups=[1, 2]),
    "state no dict": lambda s: s.update(state=[]),
    "state of nobody": lambda s: s["state"].update({17: {}}),
    "state of a parameter no dict": lambda s: s["state"].update({0: 3}),
    "one name more": kept(more=tg.zeros(3, 5)),
    "other names": lambda s: s["state"].update({0: {"velocity": tg.zeros(3, 5)}}),
    "a name for another": lambda s: s["state"][1].update(x=s["state"][1].popitem()[1]),
    "another's shape": lambda s: s["state"].update({0: s["state"][1]}),
    **{f"{name} {what}": kept(**{name: value})
       for name in ("momentum_buffer", "exp_avg", "exp_avg_sq", "step")
       for what, value in {"of another shape": np.zeros((5, 3)), "integers": np.zeros((3, 5), int),
                           "booleans": np.zeros((3, 5), bool), "text": "abc",
                           "complex": np.zeros((3, 5), complex)}.items()},
    "squares below 0": kept(exp_avg_sq=np.full((3, 5), -1.0)),
    "too large": kept(exp_avg=np.full((3, 5), 1e300)),
    **{f"step={value}": kept(step=value) for value in (math.nan, -1.0, 1.5, math.inf, [1.0])},
}  # fmt: skip


OTHERS = {"SGD": ("eps", "betas"), "Adam": ("momentum", "nesterov")}  # settings that it has not
OTHERS["AdamW"] = OTHERS["Adam"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in MAKERS for name in SPOILED if name.split("=")[0] not in OTHERS[kind]],
)
def test_a_spoiled_state_is_refused_and_changes_nothing(kind, name):
    parameters = cases.start(tg, False)
    optimizer = MAKERS[kind]([{"params": parameters[:1]}, {"params": parameters[1:]}])
    cases.descend(tg, optimizer, parameters, 2)
    before, tensors = everything(optimizer), [*optimizer.state.values()]
    saved = copy.deepcopy(optimizer.state_dict())
    for state in saved["state"].values():
        state.update({n: t + 1.0 for n, t in state.items()})
    saved["param_groups"][0]["lr"] = 99.0
    SPOILED[name](saved)
    with pytest.raises((ValueError, TypeError), match=rf"load_state_dict|{kind}|tensor: "):
        optimizer.load_state_dict(saved)
    assert everything(optimizer) == before
    assert all(a is b for a, b in zip(optimizer.state.values(), tensors, strict=True))


@pytest.mark.parametrize("name", ["step", "exp_avg", "exp_avg_sq"])
def test_a_state_that_lacks_a_name_is_refused(name):
    parameters = cases.start(tg, False)
    optimizer = Adam(parameters)
    cases.descend(tg, optimizer, parameters, 1)
    saved = optimizer.state_dict()
    del saved["state"][1][name]
    with pytest.raises(ValueError, match=r"parameter 1 has \[.*\]; Adam keeps"):
        optimizer.load_state_dict(saved)


def test_pytorchs_own_states_are_taken():
    """Steps as integers or float32 numbers, no momentum as None, state in another precision."""
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    adam, sgd = Adam([w]), SGD([w], lr=0.5, momentum=0.5)
    moments = {"exp_avg": np.array([1.0, 2.0]), "exp_avg_sq": np.array([3.0, 4.0])}
    groups = adam.state_dict()["param_groups"]
    for step in (3, np.float32(3), tg.tensor(3.0)):
        adam.load_state_dict({"state": {"0": {"step": step, **moments}}, "param_groups": groups})
        state = adam.state[w]
        assert state["step"].item() == 3 and state["exp_avg"].tolist() == [1.0, 2.0]
        assert {t.dtype for t in state.values()} == {np.dtype(np.float32)}
    groups = sgd.state_dict()["param_groups"]
    sgd.load_state_dict({"state": {0: {"momentum_buffer": None}}, "param_groups": groups})
    w.grad = tg.tensor([1.0, 1.0])
    sgd.step()
    assert w.tolist() == [0.5, 1.5]


HALVED = {  # PyTorch 2.13's rates of 20 epochs from 0.1 on, halved by hand before the fifth
    "StepLR": [
        0.1, 0.1, 0.05, 0.05, 0.025, 0.0125, 0.0125, 0.0125, 0.00625, 0.00625, 0.00625, 0.003125,
        0.003125, 0.003125, 0.0015625, 0.0015625, 0.0015625, 0.00078125, 0.00078125, 0.00078125,
    ],
    "CosineAnnealingLR": [
        0.0993844170297569, 0.0975528258147577, 0.0945503262094184, 0.0904508497187474,
        0.0426776695296637, 0.0396946313073118, 0.0363497624934887, 0.0327254248593737,
        0.0289108616260058, 0.025, 0.0210891383739942, 0.0172745751406263, 0.0136502375065113,
        0.0103053686926882, 0.00732233047033631, 0.00477457514062632, 0.00272483689529081,
        0.00122358709262116, 0.000307791485121559, 0,
    ],
    "CosineAnnealingLR-again": [
        0.0965745789630079, 0.0868198051533946, 0.072220754456429, 0.055, 0.0208030399336109,
        0.0151256313292354, 0.0113321081810525, 0.01, 0.0134254210369921, 0.0231801948466054,
        0.037779245543571, 0.055, 0.0722207544564291, 0.0868198051533947, 0.0965745789630079, 0.1,
        0.0965745789630079, 0.0868198051533947, 0.0722207544564291, 0.055,
    ],
}  # fmt: skip
HALVED_OF = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3, 0.5),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 20),
    "CosineAnnealingLR-again": lambda o: lr_scheduler.CosineAnnealingLR(o, 8, 0.01),
}


@pytest.mark.parametrize("resume", [None, 4, 12])
@pytest.mark.parametrize("name", HALVED)
def test_a_rate_set_by_hand_lasts(name, resume):
    make, rates = HALVED_OF[name], []
    optimizer = SGD([leaf(1.0)], lr=0.1)
    scheduler = make(optimizer)
    for epoch in range(20):
        if epoch == 4:
            optimizer.param_groups[0]["lr"] *= 0.5
        if epoch == resume:
            old = optimizer.state_dict(), scheduler.state_dict()
            optimizer = SGD([leaf(1.0)], lr=5.0)
            scheduler = make(optimizer)
            optimizer.load_state_dict(old[0])
            scheduler.load_state_dict(old[1])
        scheduler.step()
        rates += scheduler.get_last_lr()
    np.testing.assert_allclose(rates, HALVED[name], rtol=1e-12, atol=1e-15)


def test_a_schedule_of_ones_own_is_a_formula_of_the_epoch():
    class Halving(lr_scheduler.LRScheduler):
        def rate(self, first, epoch):
            return first * 0.5**epoch

    optimizer = SGD([leaf(1.0)], lr=0.5)
    scheduler = Halving(optimizer)
    scheduler.step()
    optimizer.param_groups[0]["lr"] = 3.0
    scheduler.step()
    assert scheduler.get_last_lr() == [0.125]


def test_parameters_go_by_their_numbers():
    a, b = tg.tensor([1.0], requires_grad=True), tg.tensor([1.0], requires_grad=True)
    optimizer = SGD([a, b], lr=0.5, momentum=0.5)
    saved = optimizer.state_dict()
    saved["param_groups"][0]["params"] = [7, 3]
    saved["state"] = {3: {"momentum_buffer": [30.0]}, 7: {"momentum_buffer": [70.0]}}
    optimizer.load_state_dict(saved)
    assert [optimizer.state[p]["momentum_buffer"].item() for p in (a, b)] == [70.0, 30.0]


SCHEDULES_OF = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [3, 5]),
    "ConstantLR": lr_scheduler.ConstantLR,
    "LinearLR": lr_scheduler.LinearLR,
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lr_scheduler.PolynomialLR,
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.3, 20),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)], [2]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "SequentialLR of ChainedScheduler": lambda o: lr_scheduler.SequentialLR(
        o, [SCHEDULES_OF["ChainedScheduler"](o), lr_scheduler.StepLR(o, 2)], [3]
    ),
}
BY_EPOCH = [k for k in SCHEDULES_OF if k[:3] not in ("Red", "Seq", "Cha")]
WRONG_NUMBERS = (math.nan, -2, "1", None, [1], 1j)
SHARES = (*WRONG_NUMBERS, 1.5)
SPOILED_SCHEDULES = [
    *((BY_EPOCH, "last_epoch", v) for v in (*WRONG_NUMBERS, 1.5)),
    *((BY_EPOCH, "base_lrs", v)
      for v in ([0.1, 0.2], [], 0.1, [math.nan], [-1.0], ["a"])),
    *((("StepLR",), "step_size", v) for v in (*WRONG_NUMBERS, 0, 1.5)),
    *((("StepLR", "MultiStepLR", "ExponentialLR"), "gamma", v) for v in WRONG_NUMBERS),
    *((("MultiStepLR",), "milestones", v) for v in (3, [3], {"a": 1}, {-1: 1})),
    *((("ConstantLR",), "factor", v) for v in SHARES),
    *((("LinearLR",), "start_factor", v) for v in (*SHARES, 0)),
    *((("LinearLR",), "end_factor", v) for v in SHARES),
    *((("ConstantLR", "LinearLR", "PolynomialLR"), "total_iters", v) for v in SHARES),
    *((("PolynomialLR",), "power", v) for v in WRONG_NUMBERS),
    *((("CosineAnnealingLR",), "T_max", v) for v in (*WRONG_NUMBERS, 0)),
    *((("CosineAnnealingWarmRestarts",), name, v) for v in (*SHARES, 0)
      for name in ("T_0", "T_i", "T_mult")),
    *((("CosineAnnealingWarmRestarts",), "T_cur", v) for v in WRONG_NUMBERS),
    *((("CosineAnnealingLR", "CosineAnnealingWarmRestarts"), "eta_min", v) for v in WRONG_NUMBERS),
    (("LambdaLR",), "lr_lambdas", [None, None]),
    *((("OneCycleLR",), "total_steps", v) for v in (*SHARES, 0)),
    (("OneCycleLR",), "anneal_strategy", "fast"),
    (("SequentialLR", "ChainedScheduler"), "_schedulers", [{}]),
    *((("SequentialLR",), "last_epoch", v) for v in (*WRONG_NUMBERS, -1)),
    *((("ReduceLROnPlateau",), name, v) for v in WRONG_NUMBERS for name in
      ("eps", "threshold", "factor")),
    *((("ReduceLROnPlateau",), "min_lrs", v) for v in (*WRONG_NUMBERS[:4], [-1.0], ["a"])),
    *((("ReduceLROnPlateau",), name, v) for v in (*WRONG_NUMBERS, 1.5) for name in
      ("patience", "cooldown", "num_bad_epochs", "cooldown_counter", "last_epoch")),
    *((("ReduceLROnPlateau",), name, v) for v in ("low", None, 3)
      for name in ("mode", "threshold_mode")),
    *((("ReduceLROnPlateau",), "best", v) for v in (math.nan, "a", None)),
    *((tuple(SCHEDULES_OF), "unknown", v) for v in (1,)),
]  # fmt: skip


@pytest.mark.parametrize(("kinds", "name", "value"), SPOILED_SCHEDULES)
def test_a_spoiled_schedule_is_refused_and_changes_nothing(kinds, name, value):
    for kind in kinds:
        scheduler = SCHEDULES_OF[kind](SGD([leaf(1.0)], lr=0.1))
        before = copy.deepcopy(scheduler.state_dict())
        saved = {n: v + 1 if type(v) is int else v for n, v in before.items()} | {name: value}
        if name == "anneal_strategy":
            saved["_anneal_func_type"] = saved.pop(name)
        with pytest.raises(ValueError, match=name):
            scheduler.load_state_dict(saved)
        assert scheduler.state_dict() == before


@pytest.mark.parametrize("kind", SCHEDULES_OF)
@pytest.mark.parametrize("epochs", [0, 1, 3, 7])
def test_a_schedule_goes_on_from_a_file(kind, epochs, tmp_path):
    def run(path=None):
        optimizer = SGD([leaf(1.0)], lr=0.1, momentum=0.9)
        scheduler, rates = SCHEDULES_OF[kind](optimizer), []
        for epoch in range(12):
            if path and epoch == epochs:
                tg.save({"o": optimizer.state_dict(), "s": scheduler.state_dict()}, path)
                optimizer = SGD([leaf(1.0)], lr=0.7, momentum=0.9)
                scheduler, saved = SCHEDULES_OF[kind](optimizer), tg.load(path)
                optimizer.load_state_dict(saved["o"])
                scheduler.load_state_dict(saved["s"])
            optimizer.step()
            scheduler.step(*([1.0] * (kind == "ReduceLROnPlateau")))
            rates += [*scheduler.get_last_lr(), optimizer.param_groups[0]["momentum"]]
        return rates

    assert run(tmp_path / "state.safetensors") == run()
    assert len({*run()}) > 2


def test_a_part_that_does_not_fit_leaves_all_parts_as_they_were():
    scheduler = SCHEDULES_OF["SequentialLR"](SGD([leaf(1.0)], lr=0.1))
    before = copy.deepcopy(scheduler.state_dict())
    saved = copy.deepcopy(before)
    saved["_schedulers"][0]["factor"] = 0.5
    saved["_schedulers"][1]["gamma"] = -1.0
    with pytest.raises(ValueError, match="gamma"):
        scheduler.load_state_dict(saved)
    assert scheduler.state_dict() == before


class Decay:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, epoch):
        return self.factor**epoch


def test_functions_are_not_saved_and_attributes_of_objects_are():
    def make(factor):
        optimizer = SGD([{"params": [leaf(1.0)]}, {"params": [leaf(1.0)]}], lr=1.0)
        return lr_scheduler.LambdaLR(optimizer, [Decay(factor), lambda epoch: 1.0])

    scheduler, other = make(0.5), make(0.25)
    saved = scheduler.state_dict()
    assert saved["lr_lambdas"] == [{"factor": 0.5}, None]
    other.load_state_dict(saved)
    other.step()
    assert other.get_last_lr() == [0.5, 1.0]


@pytest.mark.parametrize("kind", BY_EPOCH)
def test_a_schedule_may_begin_at_a_later_epoch(kind):
    """The groups remember their first rate: as when a training goes on from a file."""
    optimizer = SGD([leaf(1.0)], lr=0.1, momentum=0.9)
    first = SCHEDULES_OF[kind](optimizer)
    for _ in range(2):
        first.step()
    rate = optimizer.param_groups[0]["lr"]
    options = inspect.signature(getattr(lr_scheduler, kind)).parameters
    given = {n: getattr(first, n) for n in options if hasattr(first, n) and n != "optimizer"}
    given.update(
        {"LambdaLR": {"lr_lambda": Decay(0.9)}, "OneCycleLR": {"max_lr": 0.3}}.get(kind, {})
    )
    again = getattr(lr_scheduler, kind)(optimizer, **{**given, "last_epoch": 2})
    assert again.base_lrs == first.base_lrs and again.last_epoch == 3
    fresh = SGD([leaf(1.0)], lr=rate)
    with pytest.raises(KeyError, match="group 0 has no 'initial_lr'"):
        lr_scheduler.ExponentialLR(fresh, 0.9, last_epoch=2)


LATER = [  # rates of PyTorch 2.13 for: lr 0.5, initial_lr 1.0, last_epoch=3, then three steps
    (lambda s, o: s.StepLR(o, 2, 0.5, 3), [0.25, 0.25, 0.125, 0.125]),
    (lambda s, o: s.MultiStepLR(o, [5], 0.5, 3), [0.5, 0.25, 0.25, 0.25]),
    (lambda s, o: s.ConstantLR(o, 0.5, 5, 3), [0.5, 1.0, 1.0, 1.0]),
    (lambda s, o: s.LinearLR(o, 0.5, 1.0, 6, 3),
     [0.5, 0.55, 0.6000000000000001, 0.6000000000000001]),
    (lambda s, o: s.ExponentialLR(o, 0.5, 3), [0.5, 0.25, 0.125, 0.0625]),
    (lambda s, o: s.PolynomialLR(o, 6, 2.0, 3), [0.5, 0.125, 0.0, 0.0]),
    (lambda s, o: s.LambdaLR(o, lambda e: 0.5**e, 3), [0.0625, 0.03125, 0.015625, 0.0078125]),
]  # fmt: skip


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("i", range(len(LATER)))
def test_schedules_that_begin_later_are_pytorchs(i, live):
    lib = pytest.importorskip("torch") if live else tg
    make, wanted = LATER[i]
    w = lib.tensor([1.0], requires_grad=True)
    optimizer = lib.optim.SGD([{"params": [w], "initial_lr": 1.0}], lr=0.5)
    scheduler = make(lib.optim.lr_scheduler, optimizer)
    rates = scheduler.get_last_lr()
    for _ in range(3):
        optimizer.step()
        scheduler.step()
        rates = [*rates, *scheduler.get_last_lr()]
    assert rates == pytest.approx(wanted, rel=1e-12)


def test_a_schedule_that_goes_on_before_the_first_step_warns():
    for make in (SCHEDULES_OF["StepLR"], SCHEDULES_OF["OneCycleLR"]):
        optimizer = SGD([leaf(1.0)], lr=0.1, momentum=0.9)
        scheduler = make(optimizer)
        with pytest.warns(UserWarning, match=r"before `optimizer\.step\(\)`") as caught:
            scheduler.step()
        assert caught[0].filename == __file__
        with warnings.catch_warnings(action="error"):
            scheduler.step()
    optimizer = SGD([leaf(1.0)], lr=0.1)
    scheduler = SCHEDULES_OF["StepLR"](optimizer)
    own = Momenta([leaf(1.0)], lr=0.1)
    optimizer.step()
    with warnings.catch_warnings(action="error"):
        scheduler.step()
        SCHEDULES_OF["StepLR"](own).step()  # who writes a step is not counted


@pytest.mark.parametrize(("make", "rate"), [
    (lambda s, o: s.ExponentialLR(o, 0.5), 0.125),
    (lambda s, o: s.StepLR(o, 2, 0.5), 0.5),
    (lambda s, o: s.MultiStepLR(o, [2, 3, 3, 4], 0.5), 0.125),
    (lambda s, o: s.ConstantLR(o, 0.25, 4), 0.25),
    (lambda s, o: s.ConstantLR(o, 0.25, 3), 1.0),
    (lambda s, o: s.LinearLR(o, 0.5, 1.0, 6), 0.75),
    (lambda s, o: s.PolynomialLR(o, 6, 2.0), 0.25),
    (lambda s, o: s.CosineAnnealingLR(o, 6, 0.5), 0.75),
    (lambda s, o: s.LambdaLR(o, lambda epoch: 0.5**epoch), 0.125),
    (lambda s, o: s.OneCycleLR(o, 1.0, 4, pct_start=0.5, anneal_strategy="linear"), 4e-6),
])  # fmt: skip
def test_a_step_to_an_epoch_is_deprecated_and_goes_there(make, rate):
    scheduler = make(lr_scheduler, SGD([leaf(1.0)], lr=1.0, momentum=0.5))
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(3)
    assert scheduler.get_last_lr() == pytest.approx([rate]) and scheduler.last_epoch == 3


def test_a_plateau_goes_to_an_epoch():
    plateau = lr_scheduler.ReduceLROnPlateau(SGD([leaf(1.0)], lr=1.0))
    with pytest.warns(UserWarning, match="epoch parameter"):
        plateau.step(1.0, 5)
    assert plateau.last_epoch == 5


def test_warm_restarts_go_to_any_time():
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(SGD([leaf(1.0)], lr=1.0), 2, 2)
    for time, share in ((0.5, 0.25), (3.0, 0.25), (7, 1 / 8), (2.0, 0.0)):
        scheduler.step(time)
        wanted = (1 + math.cos(math.pi * share)) / 2
        assert scheduler.get_last_lr() == pytest.approx([wanted])
    plain = lr_scheduler.CosineAnnealingWarmRestarts(SGD([leaf(1.0)], lr=1.0), 2)
    plain.step(4.5)
    assert plain.get_last_lr() == pytest.approx([(1 + math.cos(math.pi / 4)) / 2])


def test_a_schedule_written_for_pytorch_has_get_lr():
    class Warm(lr_scheduler._LRScheduler):
        def __init__(self, optimizer, steps, last_epoch=-1):
            self.steps = steps
            super().__init__(optimizer, last_epoch)

        def get_lr(self):
            return [lr * min(1.0, (self.last_epoch + 1) / self.steps) for lr in self.base_lrs]

    optimizer = SGD([{"params": [leaf(1.0)]}, {"params": [leaf(1.0)], "lr": 2.0}], lr=1.0)
    scheduler, rates = Warm(optimizer, 4), []
    for _ in range(4):
        optimizer.step()
        scheduler.step()
        rates.append([group["lr"] for group in optimizer.param_groups])
    assert rates == [[0.5, 1.0], [0.75, 1.5], [1.0, 2.0], [1.0, 2.0]]
    assert scheduler.state_dict()["steps"] == 4


def test_a_group_that_is_added_later_is_scheduled_too():
    optimizer = SGD([leaf(1.0)], lr=1.0)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    listed = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, min_lr=[0.0])
    optimizer.add_param_group({"params": [leaf(2.0)], "lr": 8.0})
    scheduler.step()
    assert scheduler.get_last_lr() == [0.5, 4.0]
    plateau.step(1.0)
    plateau.step(1.0)
    assert plateau.get_last_lr() == [0.25, 2.0]
    listed.step(1.0)
    with pytest.raises(RuntimeError, match=r"2 groups and 1 min_lrs; set scheduler\.min_lrs"):
        listed.step(1.0)


@pytest.mark.parametrize("kind", SCHEDULES_OF)
def test_a_schedule_takes_only_a_whole_state(kind):
    scheduler = SCHEDULES_OF[kind](SGD([leaf(1.0)], lr=0.1))
    saved = scheduler.state_dict()
    for name in saved:
        with pytest.raises(ValueError, match=f"{name}.* is missing"):
            scheduler.load_state_dict({n: v for n, v in saved.items() if n != name})
    with pytest.raises(TypeError, match="got a list; wanted a dict"):
        scheduler.load_state_dict([])


def test_the_state_of_another_optimiser_is_refused():
    parameters = cases.start(tg, False)
    sgd = SGD(parameters, lr=0.1, momentum=0.9)
    cases.descend(tg, sgd, parameters, 1)
    adam = Adam(parameters)
    with pytest.raises(ValueError, match="a group lacks betas, a setting of Adam"):
        adam.load_state_dict(sgd.state_dict())
    cases.descend(tg, adam, parameters, 1)


# --- what a step does ---------------------------------------------------------------------------


def test_a_step_writes_into_the_parameter_and_leaves_the_gradient():
    w = leaf(1.0, 2.0)
    array = w.array
    (w * w).sum().backward()
    SGD([w], lr=0.5).step()
    assert w.tolist() == [0.0, 0.0] and w.array is array and w.requires_grad and w.is_leaf
    assert w.grad.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("name", cases.OPTIMISERS)
def test_a_step_does_not_change_the_gradients(name):
    parameters = cases.start(tg, False)
    optimizer = cases.OPTIMISERS[name](tg.optim, parameters)
    gradients = [np.arange(1, p.numel() + 1, dtype=np.float32).reshape(p.shape) for p in parameters]
    for p, g in zip(parameters, gradients):
        p.grad = tg.tensor(g)
    optimizer.step()
    optimizer.step()
    for p, g in zip(parameters, gradients):
        assert (p.grad.numpy() == g).all()


def test_backward_after_a_step_refuses_the_old_graph():
    w = leaf(1.0, 2.0)
    loss = (w * w).sum()
    loss.backward()
    SGD([w], lr=0.5).step()
    with pytest.raises(RuntimeError, match=r"SGD\.step\(\)"):
        loss.backward()


def test_the_learning_rate_is_read_at_each_step():
    w = leaf(1.0)
    optimizer = SGD([w], lr=0.5)
    w.grad = tg.tensor([1.0])
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    assert w.tolist() == [0.25]


def test_a_group_may_be_added_later():
    a, b = leaf(1.0), leaf(1.0)
    optimizer = SGD([a], lr=0.5)
    optimizer.add_param_group({"params": b, "lr": 0.25})
    for p in (a, b):
        p.grad = tg.tensor([1.0])
    optimizer.step()
    assert (a.item(), b.item()) == (0.5, 0.75)
    with pytest.raises(ValueError, match="given twice"):
        optimizer.add_param_group({"params": [a]})


def test_parameters_may_come_from_a_generator():
    model = nn.Linear(2, 3)
    optimizer = AdamW(p for p in model.parameters())
    assert optimizer.param_groups[0]["params"] == [model.weight, model.bias]


def test_plateau_ignores_the_infinite_and_counts_nan_as_bad():
    optimizer = SGD([leaf(1.0)], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    rates = []
    for metric in (math.inf, 1.0, math.nan, math.nan, 0.5, tg.tensor(0.75), 0.75):
        scheduler.step(metric)
        rates += scheduler.get_last_lr()
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(("make", "lr", "metrics", "rates"), [
    (lambda o: lr_scheduler.StepLR(o, 1, 0.5), 0.0, ((), ()), [0.0, 0.0]),
    (lambda o: lr_scheduler.CosineAnnealingLR(o, 1), 1.0, ((), ()), [0.0, 1.0]),
    (lambda o: Plateau(o, "max", 0.5, 0), 1.0, ((-5.0,), (-4.0,)), [1, 1]),
    (lambda o: Plateau(o, "min", 0.5, 0), 1.0, ((math.nan,), (1.0,)), [0.5, 0.5]),
])  # fmt: skip
def test_schedules_at_the_ends_of_their_settings(make, lr, metrics, rates):
    optimizer = SGD([leaf(1.0)], lr=lr)
    scheduler, found = make(optimizer), []
    for metric in metrics:
        scheduler.step(*metric)
        found += scheduler.get_last_lr()
    assert found == pytest.approx(rates, abs=1e-15)


def test_the_first_rates_may_be_loaded_as_a_tuple():
    scheduler = lr_scheduler.StepLR(SGD([leaf(1.0)], lr=0.5), 1)
    scheduler.load_state_dict({**scheduler.state_dict(), "base_lrs": (0.25,)})
    assert scheduler.state_dict()["base_lrs"] == (0.25,)


# --- wrong settings -----------------------------------------------------------------------------


def raises(error, message):
    return pytest.raises(error, match=message)


LAYERS = {
    "Sequential": nn.Sequential(nn.Linear(2, 3), nn.ReLU()),
    "ModuleList": nn.ModuleList([nn.Linear(2, 3)]),
    "ModuleDict": nn.ModuleDict({"a": nn.Linear(2, 3)}),
    "ParameterDict": nn.ParameterDict({"a": tg.ones(2)}),
    "ReLU": nn.ReLU(),
}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: SGD([]), ValueError, "got no parameters"),
        (lambda p: SGD(iter(())), ValueError, "got no parameters"),
        (lambda p: SGD(p), TypeError, r"got one Tensor; wanted a list: \[w\]"),
        (lambda p: SGD(nn.Linear(2, 2)), TypeError, r"a Linear; .*model\.parameters\(\)"),
        (lambda p: SGD([np.ones(2)]), TypeError, "a parameter is a ndarray; wanted a Tensor$"),
        *(
            (lambda p, m=m: SGD(m), TypeError, f"got a.? {name}; wanted a list: model.parameters")
            for name, layer in LAYERS.items()
            for m in (layer, [{"params": layer}])
        ),
        (lambda p: SGD([nn.Linear(2, 3)]), TypeError, r"a Linear; .* write \*layer.parameters\(\)"),
        (lambda p: SGD([("w", p, 1)]), TypeError, "a parameter is a tuple; wanted a Tensor"),
        (lambda p: SGD([("w", p), leaf(2.0)]), ValueError, "some parameters have names"),
        (lambda p: SGD([{"params": [("w", p)]}, {"params": [leaf(1.0)]}]), ValueError, "some grou"),
        (lambda p: SGD([tg.ones(2)]), ValueError, r"\(2,\) is not a leaf .*requires_grad=True"),
        (lambda p: SGD([p * 2]), ValueError, r"shape \(1,\) is not a leaf"),
        (lambda p: SGD([p, p]), ValueError, "given twice"),
        (lambda p: SGD([{"params": p}, {"params": [p]}]), ValueError, "given twice"),
        (lambda p: Optimizer([p], {"lr": required}), ValueError, "lacks 'lr', which has no def"),
        (lambda p: SGD([p]).add_param_group([p]), TypeError, "a group is a list; wanted a dict"),
        (lambda p: SGD([{"lr": 1.0}]), ValueError, "a group has no 'params'"),
        (lambda p: SGD([p], lr=-0.1), ValueError, r"SGD: lr=-0\.1; wanted a number ≥ 0"),
        (lambda p: SGD([p], lr=math.nan), ValueError, "SGD: lr=nan"),
        (lambda p: SGD([p], lr="0.1"), ValueError, r"SGD: lr='0\.1'"),
        (lambda p: SGD([{"params": p, "lr": -1}]), ValueError, "SGD: lr=-1"),
        (lambda p: SGD([p], momentum=-0.1), ValueError, r"SGD: momentum=-0\.1"),
        (lambda p: SGD([p], weight_decay=-0.1), ValueError, r"SGD: weight_decay=-0\.1"),
        (lambda p: SGD([p], nesterov=True), ValueError, "nesterov=True wants a momentum"),
        (lambda p: SGD([{"params": p, "nesterov": True}]), ValueError, "nesterov=True wants a mom"),
        (lambda p: SGD([p], 0.1, 0.9, 0.1, nesterov=True), ValueError, "nesterov.* no dampening"),
        (lambda p: SGD([p], differentiable=True), ValueError, "differentiable=True.*create_graph"),
        (lambda p: Adam([p], fused=True, foreach=True), ValueError, "Adam: fused and foreach excl"),
        (lambda p: RMSprop([p], centered=1), ValueError, "RMSprop: centered=1; wanted True or F"),
        (lambda p: RMSprop([p], alpha=-0.1), ValueError, r"RMSprop: alpha=-0\.1"),
        (lambda p: Adadelta([p], rho=1.5), ValueError, r"Adadelta: rho=1\.5; wanted 0 ≤ ρ ≤ 1"),
        (lambda p: Adagrad([p], initial_accumulator_value=-1), ValueError, "accumulator_value=-1"),
        (lambda p: LBFGS([{"params": [p]}, {"params": [leaf(1.0)]}]), ValueError, "got a second"),
        (lambda p: LBFGS([p], line_search_fn="wolfe"), ValueError, "search_fn='wolfe'; wanted"),
        (lambda p: LBFGS([p], tolerance_grad=None), ValueError, "LBFGS: tolerance_grad=None"),
        (lambda p: LBFGS([p]).step(), TypeError, "LBFGS: step.. got no closure"),
        (lambda p: tg.trace(lambda: LBFGS([p]).step(lambda: p.sum())), tg.TraceError,
         "LBFGS.step.. decides by the numbers"),
        (lambda p: SGD([{"params": {p}}]), TypeError, "set have no order; wanted a list"),
        (lambda p: Adam([p], betas=(0.9, 1.0)), ValueError, r"Adam: betas=\(0\.9, 1\.0\); want"),
        (lambda p: Adam([p], betas=(0.9,)), ValueError, r"Adam: betas=\(0\.9,\); wanted two"),
        (lambda p: Adam([p], betas=0.9), ValueError, r"Adam: betas=0\.9; wanted two"),
        (lambda p: Adam([p], eps=-1e-8), ValueError, "Adam: eps=-1e-08"),
        (lambda p: AdamW([p], betas=(-0.1, 0.9)), ValueError, r"AdamW: betas=\(-0\.1, 0\.9\)"),
        (lambda p: lr_scheduler.StepLR(p, 2), TypeError, "got Tensor; wanted an optimiser"),
        (lambda p: lr_scheduler.StepLR(SGD([p]), 0), ValueError, "StepLR: step_size=0"),
        (lambda p: lr_scheduler.CosineAnnealingLR(SGD([p]), 0), ValueError, "T_max=0"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(p), TypeError, "wanted an optimiser"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(SGD([p]), "low"), ValueError, "mode='low'.*min"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(SGD([p]), factor=1), ValueError, "factor=1"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(SGD([p]), factor=0), ValueError, "factor=0"),
        (lambda p: lr_scheduler.LRScheduler(SGD([p])), TypeError, "has no rate.*get_lr"),
        (lambda p: lr_scheduler.LambdaLR(SGD([p]), 3), TypeError, "lr_lambda is an int"),
        (lambda p: lr_scheduler.LambdaLR(SGD([p]), [len] * 2), ValueError, "got 2; wanted 1, one"),
        (lambda p: lr_scheduler.OneCycleLR(SGD([p]), 1.0), ValueError, "wanted total_steps, or ep"),
        (lambda p: lr_scheduler.OneCycleLR(SGD([p]), 1, epochs=1.5, steps_per_epoch=2), ValueError,
         "epochs=1.5"),
        (lambda p: lr_scheduler.OneCycleLR(SGD([p]), 1, 9, pct_start=2.0), ValueError, "pct_start"),
        (lambda p: lr_scheduler.OneCycleLR(Adagrad([p]), 1.0, 9), ValueError, "Adagrad has no mom"),
        (lambda p: lr_scheduler.OneCycleLR(SGD([p]), [1.0, 2.0], 9), ValueError, "max_lr: got 2"),
        (lambda p: [s.step() for s in [lr_scheduler.OneCycleLR(SGD([p]), 1.0, 3)] * 4], ValueError,
         "OneCycleLR: step 4 of 3"),
        (lambda p: lr_scheduler.SequentialLR(SGD([p]), [], []), ValueError, "got no schedules"),
        (lambda p: lr_scheduler.SequentialLR(SGD([p]), [3], []), TypeError, "schedule 0 is an int"),
        (lambda p: lr_scheduler.ChainedScheduler([Plateau(SGD([p]))]), ValueError, "wants a metr"),
        (lambda p: lr_scheduler.ChainedScheduler(
            [lr_scheduler.ConstantLR(SGD([p])), lr_scheduler.ConstantLR(SGD([p]))]), ValueError,
         "different optimisers"),
        (lambda p: lr_scheduler.SequentialLR(o := SGD([p]), [lr_scheduler.ConstantLR(o)], [3]),
         ValueError, "1 milestones for 1 schedules; wanted one less"),
        (lambda p: lr_scheduler.CosineAnnealingWarmRestarts(SGD([p]), 2).step(-1), ValueError,
         "epoch=-1"),
        (lambda p: lr_scheduler.StepLR(SGD([p]), 1).load_state_dict({"a": 1}), ValueError, "'a'"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(make, error, message):
    with raises(error, message):
        make(leaf(1.0))


def test_an_optimiser_without_an_update_says_so():
    w = leaf(1.0)
    w.grad = tg.tensor([1.0])
    with pytest.raises(TypeError, match="Optimizer has no update method"):
        Optimizer([w], {}).step()


def test_an_optimiser_of_ones_own_saves_what_it_keeps():
    class Signs(Optimizer):
        keeps = ("last",)

        def update(self, p, w, g, group):
            (last,) = self.state_of(p, last=w.shape)
            last[...] = np.sign(g)
            w -= group["lr"] * last

    w = leaf(1.0, -2.0)
    first, second = Signs([w], {"lr": 0.5}), Signs([w], {"lr": 1.0})
    w.grad = tg.tensor([3.0, -4.0])
    first.step()
    assert w.tolist() == [0.5, -1.5]
    second.load_state_dict(first.state_dict())
    assert second.state[w]["last"].tolist() == [1.0, -1.0]
    assert second.param_groups[0]["lr"] == 0.5
    state = first.state_dict()
    state["state"][0]["last"] = tg.ones(3)
    with pytest.raises(ValueError, match=r"last of parameter 0 has shape \(3,\), the par"):
        second.load_state_dict(state)


@pytest.mark.parametrize("read", [
    lambda group: group["scale"], lambda group: group.get("scale"),
    lambda group: {**group}["scale"],
    lambda group: dict(group.items())["scale"], lambda group: [*group.values()][1],
    lambda group: group[[*group.keys()][1]], lambda group: group[[*group][1]],
])  # fmt: skip
def test_a_compiled_step_follows_the_settings_that_are_read(read):
    class Scaled(Optimizer):
        def update(self, p, w, g, group):
            w -= group["lr"] * read(group) * g

    w = leaf(0.0)
    optimizer = Scaled([{"params": [w], "scale": 1.0}], {"lr": 1.0})
    (group,) = optimizer.param_groups
    assert [*group] == ["params", "scale", "lr"]

    @tg.compile
    def step():
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()

    for scale in (1.0, 2.0, 2.0, 4.0):
        group["scale"] = scale
        step()
    assert w.item() == -9.0 and len(step.runners) == 3


class Momenta(Optimizer):
    """As people write them for PyTorch: a step of its own, with state of any kind."""

    def __init__(self, params, lr):
        super().__init__(params, dict(lr=lr, momentum=0.5))  # noqa: C408

    @tg.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if len(state) == 0:
                    state["step"], state["past"], state["notes"] = 0, [], {"seen": p.detach()}
                    state["velocity"] = tg.zeros_like(p)
                state["step"] += 1
                state["velocity"].mul_(group["momentum"]).add_(p.grad)
                state["past"].append(state["velocity"].sum())
                p.add_(state["velocity"], alpha=-group["lr"])


def test_an_optimiser_written_for_pytorch_steps_saves_and_loads():
    w = leaf(1.0, 2.0)
    one, two = Momenta([w], 0.5), Momenta([w], 0.25)
    for grad in ([1.0, 1.0], [2.0, 0.0]):
        one.zero_grad()
        (w * tg.tensor(grad)).sum().backward()
        one.step()
    assert w.tolist() == [-0.75, 1.25]  # v = (1, 1), then (2.5, 0.5)
    two.load_state_dict(one.state_dict())
    state = two.state[w]
    assert state["step"] == 2 and state["velocity"].tolist() == [2.5, 0.5]
    assert [x.item() for x in state["past"]] == [2.0, 3.0] and [*state["notes"]] == ["seen"]
    one.step()
    assert state["step"] == 2 and len(state["past"]) == 2  # a copy
    assert two.param_groups[0]["lr"] == 0.5


def test_a_group_may_hold_what_the_optimiser_does_not_know():
    w, v = leaf(1.0), leaf(2.0)
    optimizer = SGD([{"params": [w], "name": "body", "lr": 0.5}, {"params": [v]}], lr=0.25)
    assert [group.get("name") for group in optimizer.param_groups] == ["body", None]
    saved = optimizer.state_dict()
    saved["param_groups"][1]["name"] = "head"
    optimizer.load_state_dict(saved)
    assert [(g["name"], g["lr"]) for g in optimizer.param_groups] == [("body", 0.5), ("head", 0.25)]


@pytest.mark.parametrize(
    "kind", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "LBFGS"]
)
def test_a_learning_rate_may_be_a_tensor(kind):
    paths = []
    for number in (float, tg.tensor):
        w = leaf(1.0, -2.0)
        optimizer = getattr(tg.optim, kind)([w], lr=number(0.5))

        def step(w=w, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (w * w).sum()
            loss.backward()
            return loss

        optimizer.step(step)
        optimizer.param_groups[0]["lr"] = number(0.25)
        optimizer.step(step)
        paths.append(w.tolist())
    assert paths[0] == paths[1]
    if kind != "LBFGS":
        with pytest.raises(tg.TraceError, match=r"a learning rate is a Tensor.*lr\.item\(\)"):
            tg.compile(lambda: optimizer.step(step))()


def test_a_setting_may_have_no_default():
    optimizer = Optimizer([{"params": [leaf(1.0)], "lr": 0.5}], {"lr": required, "momentum": 0.0})
    assert optimizer.param_groups[0]["lr"] == 0.5 and repr(required) == "<required parameter>"


def test_named_parameters_keep_their_names():
    model = nn.Linear(2, 1)
    optimizer = Adam(model.named_parameters(), lr=tg.tensor(0.5))
    (group,) = optimizer.param_groups
    assert group["params"] == [model.weight, model.bias] and group["lr"] == 0.5
    assert (
        group["param_names"]
        == ["weight", "bias"]
        == [*optimizer.state_dict()["param_groups"][0]["param_names"]]
    )


LAYOUTS = {  # PyTorch's settings in their order, and what each keeps after a step
    "SGD": ({"momentum": 0.9}, "lr momentum dampening weight_decay nesterov maximize foreach "
            "differentiable fused params", "momentum_buffer"),
    "Adam": ({"amsgrad": True}, "lr betas eps weight_decay amsgrad maximize foreach capturable "
             "differentiable fused decoupled_weight_decay params",
             "step exp_avg exp_avg_sq max_exp_avg_sq"),
    "AdamW": ({}, "lr betas eps weight_decay amsgrad maximize foreach capturable differentiable "
              "fused decoupled_weight_decay params", "step exp_avg exp_avg_sq"),
    "RMSprop": ({"momentum": 0.9, "centered": True}, "lr momentum alpha eps centered weight_decay "
                "capturable foreach maximize differentiable params",
                "step square_avg momentum_buffer grad_avg"),
    "Adagrad": ({}, "lr lr_decay eps weight_decay initial_accumulator_value foreach maximize "
                "differentiable fused params", "step sum"),
    "Adadelta": ({}, "lr rho eps weight_decay maximize capturable foreach differentiable params",
                 "step square_avg acc_delta"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYOUTS)
def test_states_are_laid_out_as_pytorchs(kind):
    options, settings, kept = LAYOUTS[kind]
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    optimizer = getattr(tg.optim, kind)([w], lr=0.5, **options)
    early = optimizer.state_dict()["state"]
    assert [*early.get(0, ())] == (["step", "sum"] if kind == "Adagrad" else [])
    w.grad = tg.tensor([1.0, -1.0])
    optimizer.step()
    saved = optimizer.state_dict()
    assert " ".join(saved["param_groups"][0]) == settings
    assert " ".join(saved["state"][0]) == kept
    step = saved["state"][0].get("step")
    assert step is None or (step.item(), step.shape, step.dtype) == (1.0, (), np.float32)
    lines = repr(optimizer).split("\n")
    assert lines[:2] == [f"{kind} (", "Parameter Group 0"] and lines[-1] == ")"
    names = [line.split(":")[0].strip() for line in lines[2:-1]]
    assert names == sorted(settings.split()[:-1])


def test_settings_that_are_off_may_be_missing_in_a_file():
    old = SGD([leaf(1.0)]).state_dict()
    for name in ("maximize", "foreach", "fused", "differentiable", "dampening"):
        del old["param_groups"][0][name]
    optimizer = SGD([leaf(1.0)], lr=0.5)
    optimizer.load_state_dict(old)
    assert optimizer.param_groups[0]["lr"] == 1e-3 and not optimizer.param_groups[0]["maximize"]


def test_the_state_of_rmsprop_has_what_its_settings_ask_for():
    w = leaf(1.0)
    optimizer = RMSprop([w], momentum=0.5, centered=True)
    w.grad = tg.tensor([2.0])
    optimizer.step()
    saved = optimizer.state_dict()
    del saved["state"][0]["grad_avg"]
    with pytest.raises(ValueError, match=r"RMSprop keeps .'grad_avg', 'momentum_buffer', 'square"):
        optimizer.load_state_dict(saved)
    saved["param_groups"][0]["centered"] = False
    optimizer.load_state_dict(saved)
    assert [*optimizer.state[w]] == ["step", "square_avg", "momentum_buffer"]


def test_state_for_settings_that_are_switched_on_later_is_made_then():
    w = leaf(1.0)
    optimizer = RMSprop([w], lr=0.5)
    for momentum in (0.0, 0.5):
        optimizer.param_groups[0]["momentum"] = momentum
        w.grad = tg.tensor([1.0])
        optimizer.step()
    assert [*optimizer.state[w]] == ["step", "square_avg", "momentum_buffer"]


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_step_calls_the_closure_and_returns_its_loss(kind):
    w = leaf(1.0)
    optimizer = getattr(tg.optim, kind)([w])

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with tg.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 1.0 and loss.requires_grad and w.item() < 1.0
    assert optimizer.step() is None


def test_what_no_step_reads_makes_no_other_program():
    w = leaf(0.0)
    optimizer = SGD([w], lr=1.0)

    @tg.compile
    def step():
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()

    for i in range(4):
        optimizer.param_groups[0]["name"] = f"epoch {i}"
        step()
    assert w.item() == -4.0 and len(step.runners) == 1


def valley(parameters, optimizer, counts=None):
    """A closure for Rosenbrock's function, of one tensor with two numbers or of two tensors."""

    def closure():
        optimizer.zero_grad()
        x, y = parameters[0] if len(parameters) == 1 else parameters
        loss = ((1 - x) ** 2 + 100 * (y - x * x) ** 2).sum()
        loss.backward()
        counts is None or counts.append(1)
        return loss

    return closure


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("through", ["memory", "file", "anew"])
def test_lbfgs_goes_on_from_its_state(search, through, tmp_path):
    def start(values):
        w = tg.tensor(np.array(values), requires_grad=True)
        return w, tg.optim.LBFGS([w], 0.5, 3, 99, history_size=4, line_search_fn=search)

    w, optimizer = start([-1.5, 2.0])
    for _ in range(6):
        optimizer.step(valley([w], optimizer))
    wanted = w.tolist()
    w, optimizer = start([-1.5, 2.0])
    for _ in range(3):
        optimizer.step(valley([w], optimizer))
    saved = optimizer.state_dict()
    w, optimizer = start(w.tolist())
    if through == "file":
        tg.save(saved, tmp_path / "state")
        saved = tg.load(tmp_path / "state")
    if through != "anew":
        optimizer.load_state_dict(saved)
    for _ in range(3):
        optimizer.step(valley([w], optimizer))
    assert (w.tolist() == wanted) is (through != "anew")
    names = "func_evals n_iter d t old_dirs old_stps ro H_diag prev_flat_grad prev_loss"
    assert " ".join(saved["state"][0]) == names
    assert saved["state"][0]["n_iter"] == 9 and len(saved["state"][0]["ro"]) == 4


def test_lbfgs_treats_several_parameters_as_one_vector():
    paths = []
    for arrays in ([[-1.5, 2.0]], [[-1.5], [2.0]]):
        ws = [tg.tensor(np.array(a), requires_grad=True) for a in arrays]
        idle = leaf(7.0)  # without a gradient
        optimizer = tg.optim.LBFGS([idle, *ws], line_search_fn="strong_wolfe")
        counts = []
        loss = optimizer.step(valley(ws, optimizer, counts))
        paths.append(np.concatenate([w.detach().numpy() for w in ws]))
        assert loss.item() == 6.25 + 100 * 0.0625 and idle.item() == 7.0
        assert len(counts) == optimizer.state[idle]["func_evals"] <= 25
    np.testing.assert_allclose(paths[0], paths[1], rtol=1e-12)


def test_lbfgs_finds_the_bottom_of_the_valley():
    w = tg.tensor(np.array([-1.5, 2.0]), requires_grad=True)
    optimizer = tg.optim.LBFGS([w], 1, 30, tolerance_change=0, line_search_fn="strong_wolfe")
    for _ in range(4):
        optimizer.step(valley([w], optimizer))
    np.testing.assert_allclose(w.tolist(), [1.0, 1.0], rtol=1e-8)
    before, counts = w.tolist(), []
    optimizer.step(valley([w], optimizer, counts))  # no gradient is left: nothing is done
    assert w.tolist() == before and len(counts) == 1


def test_lbfgs_goes_the_way_of_pytorch_in_float32():
    """Rounded as there: the way through the valley makes a twentieth of the last bit."""
    w = leaf(-1.5, 2.0)
    optimizer = tg.optim.LBFGS([w], max_iter=4, history_size=10, line_search_fn="strong_wolfe")
    losses = [optimizer.step(valley([w], optimizer)).item() for _ in range(12)]
    wanted = [12.5, 5.86185, 5.66074, 3.86697, 2.6323, 1.86176, 0.997536, 0.581862, 0.264051,
              0.102469, 0.0243841, 0.000369414]  # fmt: skip
    np.testing.assert_allclose(losses, wanted, rtol=1e-4)


def test_lbfgs_keeps_the_dtype_and_calls_a_compiled_closure():
    w = leaf(3.0, -2.0)
    optimizer = tg.optim.LBFGS([w], lr=tg.tensor(0.5))

    @tg.compile
    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert w.dtype == np.float32 and np.abs(w.tolist()).max() < 1e-4
    assert {t.dtype for t in optimizer.state[w]["old_dirs"]} == {np.dtype(np.float32)}


def test_lbfgs_without_a_length_stays():
    w = leaf(1.0)
    optimizer = LBFGS([w], lr=0.0, line_search_fn="strong_wolfe")
    optimizer.step(valley([w, leaf(2.0)], optimizer))
    assert w.item() == 1.0


def test_lbfgs_of_infinite_numbers_does_not_warn():
    w = leaf(1.0, 1.0)
    optimizer = tg.optim.LBFGS([w], line_search_fn="strong_wolfe")

    def closure():
        w.grad = tg.tensor([1.0, 1.0]) if w.tolist() == [1.0, 1.0] else tg.tensor([math.nan] * 2)
        return math.inf if w.tolist() == [1.0, 1.0] else math.nan

    assert optimizer.step(closure) == math.inf


def test_numbers_of_numpy_are_settings():
    w = leaf(1.0)
    w.grad = tg.tensor([1.0])
    SGD([w], lr=np.float32(0.5), momentum=np.float64(0.5)).step()
    assert w.tolist() == [0.5] and w.dtype == np.float32
