"""Averaged models and their schedule against PyTorch's."""

import numpy as np
import pytest

import expkit as ek
from expkit.errors import ConfigError
from expkit.optim.swa_utils import (
    SWALR,
    AveragedModel,
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    get_swa_avg_fn,
    get_swa_multi_avg_fn,
    update_bn,
)

FUNCTIONS = {
    "default": ("", None),
    "ema": ("multi_avg_fn", lambda utils: utils.get_ema_multi_avg_fn(0.9)),
    "swa": ("multi_avg_fn", lambda utils: utils.get_swa_multi_avg_fn()),
    "ema, one by one": ("avg_fn", lambda utils: utils.get_ema_avg_fn(0.9)),
    "swa, one by one": ("avg_fn", lambda utils: utils.get_swa_avg_fn()),
    "own": ("avg_fn", lambda utils: lambda mean, now, count: mean * 0.5 + now * 0.5 * (count + 1)),
}


def average(lib, how, use_buffers):
    model = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.BatchNorm1d(3))
    rng = np.random.default_rng(0)
    name, make = FUNCTIONS[how]
    options = {name: make(lib.optim.swa_utils)} if name else {}
    averaged = None
    for _ in range(4):
        with lib.no_grad():
            for p in model.parameters():
                p.copy_(lib.tensor(rng.normal(size=tuple(p.shape)), dtype=lib.float32))
        model(lib.tensor(rng.normal(size=(5, 2)), dtype=lib.float32))
        averaged = averaged or lib.optim.swa_utils.AveragedModel(model, use_buffers=use_buffers, **options)
        averaged.update_parameters(model)
    return {key: value.numpy() for key, value in averaged.state_dict().items()}


@pytest.mark.torch
@pytest.mark.parametrize(("how", "use_buffers"), [*((how, False) for how in FUNCTIONS), ("own", True)])
def test_means_are_pytorchs(torch, how, use_buffers):
    import torch.optim.swa_utils

    got, want = average(ek, how, use_buffers), average(torch, how, use_buffers)
    assert list(got) == list(want)
    for key, value in want.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-5, atol=1e-6)


def test_the_mean_model_computes_and_its_state_loads():
    model = ek.nn.Linear(2, 1)
    mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn())
    mean.update_parameters(model)
    x = ek.ones(3, 2)
    assert (mean(x) == model(x)).all()
    assert mean.module.weight is not model.weight
    other = AveragedModel(ek.nn.Linear(2, 1))
    other.load_state_dict(mean.state_dict())
    assert other.n_averaged.item() == 1
    assert (other(x) == model(x)).all()


@pytest.mark.torch
def test_running_statistics_are_made_anew(torch):
    from torch.optim.swa_utils import update_bn as theirs_update

    rng = np.random.default_rng(1)
    batches = [rng.normal(2, 3, size=(n, 3)).astype(np.float32) for n in (4, 6, 2)]
    ours, theirs = ek.nn.BatchNorm1d(3, momentum=0.3), torch.nn.BatchNorm1d(3, momentum=0.3)
    ours.eval()
    theirs.eval()
    update_bn([(ek.tensor(b), None) for b in batches], ours)
    theirs_update([torch.tensor(b) for b in batches], theirs)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-5)
    assert (ours.momentum, ours.training) == (0.3, False)
    update_bn([], ek.nn.Linear(1, 1))


@pytest.mark.torch
@pytest.mark.parametrize("epochs", [0, 1, 5])
@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_the_schedule_is_pytorchs(torch, epochs, strategy):
    def rates(lib):
        import torch.optim.swa_utils as theirs

        params = [lib.ones(1, requires_grad=True) for _ in range(2)]
        optimizer = lib.optim.SGD([{"params": [params[0]]}, {"params": [params[1]], "lr": 0.5}], lr=0.1)
        kind = theirs.SWALR if lib is torch else SWALR
        schedule = kind(optimizer, [0.05, 0.2], anneal_epochs=epochs, anneal_strategy=strategy)
        found = [schedule.get_last_lr()]
        for _ in range(8):
            optimizer.step()
            schedule.step()
            found.append([float(group["lr"]) for group in optimizer.param_groups])
        return np.array(found)

    np.testing.assert_allclose(rates(ek), rates(torch), rtol=1e-10)


def test_what_cannot_be():
    model = ek.nn.Linear(1, 1)
    optimizer = ek.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match="decay=2"):
        get_ema_multi_avg_fn(2)
    with pytest.raises(ConfigError, match="not both"):
        AveragedModel(model, avg_fn=get_ema_avg_fn(), multi_avg_fn=get_swa_multi_avg_fn())
    with pytest.raises(ConfigError, match="anneal_strategy"):
        SWALR(optimizer, 0.1, anneal_strategy="cosine")
    with pytest.raises(ConfigError, match="anneal_epochs"):
        SWALR(optimizer, 0.1, anneal_epochs=-1)
    with pytest.raises(ConfigError, match="2 numbers for 1"):
        SWALR(optimizer, [0.1, 0.2])
    assert get_swa_avg_fn()(ek.ones(()), 3 * ek.ones(()), 1).item() == 2
