"""Training steps, compiled: every optimizer, and what the Python around a step may do."""

import warnings

import numpy as np
import pytest

import expkit as ek
from expkit.compiler import Compiled
from expkit.registry import build
from tests.optim import test_optimizers as plain

LARGE = [
    ("lion", {"weight_decay": 0.1}), ("lamb", {"weight_decay": 0.1}), ("adafactor", {"lr": 0.1}), ("adafactor", {}),
    ("muon", {"lr": 0.1, "adjust_lr_fn": "match_rms_adamw"}),
]  # fmt: skip
# The first update of this one makes its state, so the first step with a gradient is not traced.
LATE = ("sgd", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4})


def steps(name, options, run_as, count=10):
    """The parameters after some steps whose gradients are given; the second one has none in some steps."""
    params = [ek.nn.Parameter(ek.tensor(value)) for value in plain.start()]
    grads = plain.gradients(count)
    if name in ("muon", "adafactor"):
        params = params[:1] if name == "muon" else params[:3]
    optimizer = build("optim", {"name": name, **options}, params)

    def step(grads):
        optimizer.zero_grad()
        ek.stack([(p * g).sum() for p, g in zip(params, grads, strict=True) if g is not None]).sum().backward()
        optimizer.step()

    run = run_as(step)
    for k in range(count):
        run([None if g is None else ek.tensor(g) for g in grads[k][: len(params)]])
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] and group["lr"] * 0.9
    return [p.detach().numpy() for p in params], run


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize(("name", "options"), [*(row for row in plain.ROWS if row != LATE), *LARGE], ids=str)
def test_a_compiled_step_of_every_optimizer_is_the_plain_one(name, options, ready):
    """Its state may have to be made in a traced step; the learning rate changes without a new program."""
    expected, _ = steps(name, options, lambda step: step)
    got, run = steps(name, options, lambda step: Compiled(step, fullgraph=True, ready=ready))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert all(len(entry.replays) == 1 for entry in run.entries.values())


def test_a_state_that_the_first_update_makes_is_not_baked_in():
    expected, _ = steps(*LATE, lambda step: step)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        got, _ = steps(*LATE, lambda step: Compiled(step, ready=True))
    assert all("something new into its state: momentum_buffer" in str(w.message) for w in heard)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_options_are_not_baked_into_updates_of_two_byte_floats(name):
    """Numbers become constants there, before they meet a tensor: what cannot be left open is not compiled."""
    results = []
    for compiled in (False, True):
        p = ek.nn.Parameter(ek.arange(6.0).to(ek.bfloat16) / 8)
        optimizer = build("optim", {"name": name, "lr": 0.1}, [p])

        def step(g, p=p, optimizer=optimizer):
            optimizer.zero_grad()
            (p * g).sum().backward()
            optimizer.step()

        run = Compiled(step, warn=lambda message: None) if compiled else step
        for k in range(4):
            run((ek.arange(6.0) - k).to(ek.bfloat16))
        results.append(p.detach().float().numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=0.02, atol=0.02)


def test_gradients_that_another_call_made_are_changed_where_they_are():
    """Each backward pass leaves new ones: what clips them must not write into those of the trace."""
    params = [ek.nn.Parameter(ek.ones(2)), ek.nn.Parameter(ek.ones(3))]
    kept = [ek.ones(*p.shape) for p in params]

    @ek.compile(fullgraph=True)
    def update():
        ek.nn.utils.clip_grad_value_(params, 1.5)
        for p in params:
            p.grad.mul_(0.5)
        with ek.no_grad():
            for p in params:
                p.sub_(p.grad)

    for k in range(4):
        for p, g in zip(params, kept, strict=True):
            p.grad = g * (k + 1)
        update()
        assert [p.grad.tolist() for p in params] == [[min(k + 1, 1.5) / 2] * 2, [min(k + 1, 1.5) / 2] * 3]
    assert params[0].tolist() == [1 - 0.5 - 3 * 0.75] * 2


def changing(schedule=False, hook=False):
    """A step that changes what an optimizer or a schedule keeps in Python."""
    p = ek.nn.Parameter(ek.ones(2))
    optimizer = ek.optim.SGD([p], lr=1.0)
    if hook:
        optimizer.register_step_post_hook(lambda *_: p.data.mul_(2))
    decay = ek.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)

    def step():
        optimizer.zero_grad()
        p.sum().backward()
        optimizer.step()
        if schedule:
            decay.step()
        elif not hook:
            optimizer.param_groups[0]["lr"] *= 0.5

    return p, step


@pytest.mark.parametrize("how", [{}, {"schedule": True}, {"hook": True}], ids=str)
def test_what_an_optimizer_keeps_in_python_is_not_changed_once_and_for_all(how):
    said: list[str] = []
    (a, plain_step), (b, step) = changing(**how), changing(**how)
    run = Compiled(step, warn=said.append)
    for _ in range(5):
        plain_step()
        run()
        assert a.tolist() == b.tolist()
    (message,) = said
    assert ["SGD's lr", "StepLR.step()", "hooks registered on SGD"][
        [{}, {"schedule": True}, {"hook": True}].index(how)
    ] in message
