"""Schedules against PyTorch's, state round trips from every step, chaining, and bad arguments."""

import json

import numpy as np
import pytest

import expkit as ek
from expkit.errors import CheckpointError, ConfigError
from expkit.optim import SGD
from expkit.optim import lr_scheduler as schedulers
from expkit.registry import build, names

RATES = [0.1, 0.02]  # of two parameter groups
METRICS = [
    1.0,
    0.9,
    0.95,
    0.9,
    0.9,
    0.89995,
    0.5,
    0.6,
    0.6,
    0.6,
    0.6,
    0.6,
    0.49,
    float("nan"),
    0.5,
    0.5,
    0.5,
    -1,
    -1,
    -1,
]
STEPS = len(METRICS)

# name: rows of (our arguments, class of PyTorch, its arguments)
ROWS = {
    "none": [({}, "LambdaLR", {"lr_lambda": lambda epoch: 1.0})],
    "step": [({"step_size": 3}, "StepLR", None), ({"step_size": 1, "gamma": 0.9}, "StepLR", None)],
    "multistep": [({"milestones": [12, 2, 5, 5], "gamma": 0.3}, "MultiStepLR", None)],
    "exponential": [({"gamma": 0.8}, "ExponentialLR", None)],
    "constant": [({}, "ConstantLR", None), ({"factor": 0.2, "total_iters": 3}, "ConstantLR", None)],
    "linear": [
        ({}, "LinearLR", None),
        ({"start_factor": 0.1, "end_factor": 0.7, "total_iters": 8}, "LinearLR", None),
        ({"start_factor": 1.0, "end_factor": 0.0, "total_iters": 4}, "LinearLR", None),
    ],
    "cosine": [
        ({"T_max": 30}, "CosineAnnealingLR", None),
        ({"T_max": 6, "eta_min": 0.001}, "CosineAnnealingLR", None),
        ({"T_max": 1}, "CosineAnnealingLR", None),
    ],
    "warmup_cosine": [
        ({"total_steps": 15, "warmup_steps": 4, "start_factor": 0.2, "eta_min": 0.01}, "warmup", (4, 0.2, 11, 0.01)),
        ({"total_steps": 20, "warmup_steps": 0.25}, "warmup", (5, 0.01, 15, 0.0)),
        ({"total_steps": 18, "warmup_steps": 0}, "CosineAnnealingLR", {"T_max": 18}),
    ],
    "polynomial": [
        ({}, "PolynomialLR", None),
        ({"total_iters": 15, "power": 2.0}, "PolynomialLR", None),
    ],
    "cosine_restarts": [
        ({"T_0": 4}, "CosineAnnealingWarmRestarts", None),
        ({"T_0": 3, "T_mult": 2, "eta_min": 0.001}, "CosineAnnealingWarmRestarts", None),
        ({"T_0": 1, "T_mult": 3}, "CosineAnnealingWarmRestarts", None),
    ],
    "one_cycle": [
        ({"max_lr": 0.5, "total_steps": 20}, "OneCycleLR", None),
        (
            {"max_lr": [0.5, 0.2], "epochs": 5, "steps_per_epoch": 5, "anneal_strategy": "linear", "three_phase": True},
            "OneCycleLR",
            None,
        ),
        ({"max_lr": 0.5, "total_steps": 20, "cycle_momentum": False, "pct_start": 0.5}, "OneCycleLR", None),
    ],
    "cyclic": [
        ({"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3}, "CyclicLR", None),
        (
            {"base_lr": [0.01, 0.02], "max_lr": 0.1, "step_size_up": 2, "step_size_down": 3, "mode": "triangular2"},
            "CyclicLR",
            None,
        ),
        ({"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2, "mode": "exp_range", "gamma": 0.9}, "CyclicLR", None),
    ],
    "plateau": [
        ({}, "ReduceLROnPlateau", None),
        ({"patience": 1, "factor": 0.5, "cooldown": 2}, "ReduceLROnPlateau", None),
        ({"patience": 0, "threshold": 0.05, "threshold_mode": "abs", "min_lr": 0.005}, "ReduceLROnPlateau", None),
        ({"patience": 0, "mode": "max", "factor": 0.7}, "ReduceLROnPlateau", None),
        ({"patience": 0, "mode": "max", "threshold_mode": "abs", "min_lr": [0.04, 0.001]}, "ReduceLROnPlateau", None),
        ({"patience": 0, "eps": 0.002}, "ReduceLROnPlateau", None),
    ],
}
ALL = [(name, *row) for name, rows in ROWS.items() for row in rows]
IDS = [f"{name}-{number}" for name, rows in ROWS.items() for number in range(len(rows))]


def optimizer():
    params = [ek.ones(2, requires_grad=True) for _ in RATES]
    return SGD([{"params": [p], "lr": lr} for p, lr in zip(params, RATES, strict=True)])


def torch_optimizer(torch):
    params = [torch.ones(2, requires_grad=True) for _ in RATES]
    return torch.optim.SGD([{"params": [p], "lr": lr} for p, lr in zip(params, RATES, strict=True)])


def torch_schedule(torch, optim, name, arguments):
    kinds = torch.optim.lr_scheduler
    if name != "warmup":
        return getattr(kinds, name)(optim, **arguments)
    warm, factor, rest, eta_min = arguments
    first = kinds.LinearLR(optim, start_factor=factor, total_iters=warm)
    return kinds.SequentialLR(optim, [first, kinds.CosineAnnealingLR(optim, rest, eta_min)], [warm])


def rates(schedule, optim, steps=STEPS, first=0):
    """The learning rates of all groups at the start and after each step."""
    found = [[group["lr"] for group in optim.param_groups]]
    for number in range(first, steps):
        optim.step()
        schedule.step(*([METRICS[number]] if hasattr(schedule, "num_bad_epochs") else []))
        found.append([group["lr"] for group in optim.param_groups])
        assert schedule.get_last_lr() == found[-1]
    return np.array(found, np.float64)


def test_every_registered_schedule_has_a_row():
    assert set(ROWS) == set(names("scheduler"))


@pytest.mark.parametrize(("name", "arguments", "kind", "theirs"), ALL, ids=IDS)
def test_the_learning_rates_are_pytorchs(torch, name, arguments, kind, theirs):
    reference = torch_optimizer(torch)
    want = rates(torch_schedule(torch, reference, kind, arguments if theirs is None else theirs), reference)
    optim = optimizer()
    got = rates(build("scheduler", {"name": name, **arguments}, optim), optim)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("name", "arguments", "kind", "theirs"), ALL, ids=IDS)
def test_saved_and_loaded_at_any_step_it_goes_on_to_the_bit(name, arguments, kind, theirs):
    optim = optimizer()
    whole = rates(build("scheduler", {"name": name, **arguments}, optim), optim)
    for cut in (0, 1, 4, 5, 11):
        optim = optimizer()
        schedule = build("scheduler", {"name": name, **arguments}, optim)
        rates(schedule, optim, cut)
        saved = json.loads(json.dumps([optim.state_dict(), schedule.state_dict()]))
        fresh = optimizer()
        again = build("scheduler", {"name": name, **arguments}, fresh)
        fresh.load_state_dict(saved[0])
        again.load_state_dict(saved[1])
        np.testing.assert_array_equal(rates(again, fresh, first=cut), whole[cut:])


def test_a_lambda_is_a_function_of_the_epoch(torch):
    functions = [lambda epoch: 0.9**epoch, lambda epoch: 1 / (1 + epoch)]
    reference, optim = torch_optimizer(torch), optimizer()
    want = rates(torch.optim.lr_scheduler.LambdaLR(reference, functions), reference)
    schedule = schedulers.LambdaLR(optim, functions)
    np.testing.assert_allclose(rates(schedule, optim), want, rtol=1e-12)
    assert "lr_lambdas" not in schedule.state_dict()


def test_a_factor_by_the_epoch_and_several_at_once(torch):
    def chained(kinds, optim):
        return kinds.ChainedScheduler([kinds.MultiplicativeLR(optim, lambda epoch: 0.95), kinds.ConstantLR(optim, 0.5)])

    reference, optim = torch_optimizer(torch), optimizer()
    want = rates(chained(torch.optim.lr_scheduler, reference), reference)
    schedule = chained(schedulers, optim)
    np.testing.assert_allclose(rates(schedule, optim), want, rtol=1e-12)
    fresh = chained(schedulers, optimizer())
    fresh.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert fresh.get_last_lr() == schedule.get_last_lr()


def test_warm_restarts_go_to_fractions_of_epochs(torch):
    reference, optim = torch_optimizer(torch), optimizer()
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(reference, 3, 2)
    ours = schedulers.CosineAnnealingWarmRestarts(optim, 3, 2)
    for epoch in (0.0, 0.5, 2.75, 3.0, 8.9, 9.0, 30.25):
        theirs.step(epoch)
        ours.step(epoch)
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-12)


@pytest.mark.parametrize("kind", ["OneCycleLR", "CyclicLR"])
@pytest.mark.parametrize("optim", ["SGD", "Adam"])
def test_momentum_goes_against_the_learning_rate(torch, kind, optim):
    arguments = {"OneCycleLR": {"max_lr": 0.5, "total_steps": 20}, "CyclicLR": {
        "base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4}}[kind]  # fmt: skip

    def momenta(lib, module):
        options = {"momentum": 0.9} if optim == "SGD" else {}
        one = getattr(module, optim)([lib.ones(2, requires_grad=True)], lr=0.1, **options)
        schedule, found = getattr(module.lr_scheduler, kind)(one, **arguments), []
        for _ in range(18):
            one.step()
            schedule.step()
            group = one.param_groups[0]
            found.append(group["betas"][0] if optim == "Adam" else group["momentum"])
        return found

    np.testing.assert_allclose(momenta(ek, ek.optim), momenta(torch, torch.optim), rtol=1e-12)


def test_schedules_can_be_stepped_one_after_another(torch):
    def both(kinds, optim):
        pair = kinds.ExponentialLR(optim, 0.9), kinds.StepLR(optim, 2, 0.5)
        for _ in range(6):
            optim.step()
            for schedule in pair:
                schedule.step()
        return [group["lr"] for group in optim.param_groups]

    want = both(torch.optim.lr_scheduler, torch_optimizer(torch))
    assert both(schedulers, optimizer()) == pytest.approx(want, rel=1e-12)


def test_three_in_sequence_and_one_within(torch):
    def nested(kinds, optim):
        inner = kinds.SequentialLR(optim, [kinds.ConstantLR(optim, 0.5, 9), kinds.ExponentialLR(optim, 0.9)], [2])
        return kinds.SequentialLR(optim, [kinds.LinearLR(optim, 0.5), inner, kinds.StepLR(optim, 2)], [3, 9])

    reference, optim = torch_optimizer(torch), optimizer()
    kinds = torch.optim.lr_scheduler
    flat = [kinds.LinearLR(reference, 0.5), kinds.ConstantLR(reference, 0.5, 9), kinds.ExponentialLR(reference, 0.9)]
    want = rates(kinds.SequentialLR(reference, [*flat, kinds.StepLR(reference, 2)], [3, 5, 9]), reference)
    np.testing.assert_allclose(rates(nested(schedulers, optim), optim), want, rtol=1e-12)


def test_a_schedule_that_goes_on_finds_the_learning_rates_as_they_were_left():
    optim = optimizer()
    whole = rates(schedulers.CosineAnnealingLR(optim, 30), optim)
    for group, lr in zip(optim.param_groups, whole[7], strict=True):
        group["lr"] = lr
    again = schedulers.CosineAnnealingLR(optim, 30, last_epoch=6)
    assert again.last_epoch == 7
    np.testing.assert_allclose(rates(again, optim, first=7), whole[7:], rtol=1e-12)


def test_a_learning_rate_that_is_a_tensor_is_filled():
    optim = SGD([ek.ones(2, requires_grad=True)], lr=ek.tensor(0.5))
    rate = optim.param_groups[0]["lr"]
    optim.step()
    schedulers.ExponentialLR(optim, 0.5).step()
    assert optim.param_groups[0]["lr"] is rate
    assert rate.item() == 0.25


@pytest.mark.parametrize("name", ROWS)
def test_it_says_when_it_goes_on_and_what_it_listens_to(name):
    schedule = build("scheduler", {"name": name, **ROWS[name][0][0]}, optimizer())
    assert schedule.interval == ("step" if name in ("warmup_cosine", "one_cycle", "cyclic") else "epoch")
    assert schedule.monitor == ("val/loss" if name == "plateau" else None)


BAD = [
    (lambda o: schedulers.StepLR(o, 0), "step_size=0"),
    (lambda o: schedulers.CosineAnnealingLR(o, 0), "T_max=0"),
    (lambda o: schedulers.LinearLR(o, 0.0), "start_factor=0.0"),
    (lambda o: schedulers.LinearLR(o, 0.5, 2.0), "end_factor=2.0"),
    (lambda o: schedulers.ConstantLR(o, 2.0), "factor=2.0"),
    (lambda o: schedulers.LambdaLR(o, [abs]), "1 functions for 2"),
    (lambda o: schedulers.SequentialLR(o, [], []), "at least one"),
    (lambda o: schedulers.SequentialLR(o, [schedulers.StepLR(o, 1)], [3]), "need 0 milestones"),
    (lambda o: schedulers.SequentialLR(o, [schedulers.ReduceLROnPlateau(o)], []), "waits for a metric"),
    (lambda o: schedulers.SequentialLR(o, [schedulers.StepLR(optimizer(), 1)], []), "another optimizer"),
    (lambda o: schedulers.WarmupCosineLR(o, 10, 10), "must be fewer"),
    (lambda o: schedulers.ReduceLROnPlateau(o, factor=1.0), "factor=1.0"),
    (lambda o: schedulers.ReduceLROnPlateau(o, mode="up"), "mode='up'"),
    (lambda o: schedulers.ReduceLROnPlateau(o, threshold_mode="x"), "threshold_mode='x'"),
    (lambda o: schedulers.ReduceLROnPlateau(o, min_lr=[0.1]), "1 values of min_lr"),
    (lambda o: schedulers.PolynomialLR(o, 0), "total_iters=0"),
    (lambda o: schedulers.CosineAnnealingWarmRestarts(o, 0), "T_0=0"),
    (lambda o: schedulers.OneCycleLR(o, 0.1), "total_steps"),
    (lambda o: schedulers.OneCycleLR(o, [0.1], 5), "max_lr has 1 numbers"),
    (lambda o: schedulers.CyclicLR(o, 0.1, 0.2, mode="x"), "mode='x'"),
    (lambda o: schedulers.ChainedScheduler([]), "at least one"),
    (lambda o: schedulers.StepLR(o, 1, last_epoch=3), "'initial_lr'"),
    (lambda o: schedulers.StepLR("adam", 1), "str is not an optimizer"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_is_refused_with_a_reason(make, message):
    with pytest.raises(ConfigError, match=message):
        make(optimizer())


def test_the_state_of_another_schedule_is_refused():
    with pytest.raises(CheckpointError, match="another schedule"):
        schedulers.StepLR(optimizer(), 1).load_state_dict(schedulers.ExponentialLR(optimizer(), 0.9).state_dict())


@pytest.mark.torch
@pytest.mark.parametrize("name", [name for name in ROWS if name not in ("none", "warmup_cosine")])
def test_pytorchs_state_goes_on_here(torch, name):
    ours, kind, theirs = ROWS[name][0]

    def made(lib):
        params = [lib.ones(1, requires_grad=True)]
        optimizer = lib.optim.SGD(params, lr=0.1, momentum=0.9)
        if lib is torch:
            return optimizer, getattr(torch.optim.lr_scheduler, kind)(optimizer, **(theirs or ours))
        return optimizer, build("scheduler", {"name": name, **ours}, optimizer)

    metric = [1.0] if name == "plateau" else []
    optimizer, schedule = made(torch)
    for _ in range(3):
        optimizer.step()
        schedule.step(*metric)
    mine, other = made(ek)
    other.load_state_dict(schedule.state_dict())
    mine.load_state_dict(optimizer.state_dict())
    for _ in range(4):
        for o, s in ((optimizer, schedule), (mine, other)):
            o.step()
            s.step(*metric)
        np.testing.assert_allclose(mine.param_groups[0]["lr"], optimizer.param_groups[0]["lr"], rtol=1e-12)


def test_a_schedule_before_its_optimizer_is_warned_of():
    optim = SGD([ek.ones(1, requires_grad=True)], lr=0.1)
    schedule = schedulers.StepLR(optim, 2)
    with pytest.warns(UserWarning, match="before optimizer.step"):
        schedule.step()
    schedule.step()
