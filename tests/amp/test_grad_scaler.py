"""GradScaler against PyTorch's, step by step: scales, skipped steps, several optimizers, state, refusals."""

import numpy as np
import pytest

import expkit as ek
from expkit.errors import CheckpointError, ConfigError, TraceError

INF = float("inf")
# gradients (before scaling) of two optimizers at each step
STEPS = [(1, 1), (INF, 1), (1, 1), (1, float("nan")), (1, 1), (1, 1), (INF, INF), (1, 1), (1, 1), (1, 1)]


def run(lib, **options):
    """Scale, growth tracker and parameters after each step."""
    params = [lib.tensor([1.0, 2.0], requires_grad=True) for _ in range(2)]
    optimizers = [lib.optim.SGD([p], lr=0.1, momentum=0.9) for p in params]
    scaler = lib.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2, **options)
    found = []
    for number, factors in enumerate(STEPS):
        for p, optimizer, factor in zip(params, optimizers, factors, strict=True):
            optimizer.zero_grad()
            scaler.scale((p * p).sum() * 0.5).backward()
            with lib.no_grad():
                p.grad[0] *= factor
            if number % 2:
                scaler.unscale_(optimizer)
        done = [scaler.step(optimizer) for optimizer in optimizers]
        assert done == [None, None]
        scaler.update()
        state = scaler.state_dict()
        values = [v for p in params for v in p.detach().tolist()]
        found.append([scaler.get_scale(), state.get("_growth_tracker", 0), *values])
    return np.array(found), scaler.state_dict()


@pytest.mark.torch
@pytest.mark.parametrize(
    "options", [{}, {"growth_factor": 3.0, "backoff_factor": 0.25}, {"enabled": False}], ids=["default", "other", "off"]
)
def test_scales_and_parameters_are_pytorchs(torch, options):
    (got, state), (want, theirs) = run(ek, **options), run(torch, **options)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert state == theirs


@pytest.mark.torch
def test_the_scale_stays_finite(torch):
    scales = []
    for lib in (ek, torch):
        p = lib.tensor([1e-30], requires_grad=True)
        optimizer = lib.optim.SGD([p], lr=0.1)
        scaler = lib.amp.GradScaler("cpu", init_scale=1e38, growth_interval=1)
        for _ in range(3):
            optimizer.zero_grad()
            scaler.scale((p * 1e-20).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        scales.append(scaler.get_scale())
    assert scales[0] == pytest.approx(scales[1])


COMPILED = {
    "sgd": lambda ps: ek.optim.SGD(ps, lr=0.1, momentum=0.9),
    "adam": lambda ps: ek.optim.Adam(ps, lr=0.1),
    "nadam": lambda ps: ek.optim.NAdam(ps, lr=0.1),  # without a kernel of its own
}


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_steps_are_left_out_as_eager_ones_are(name, unscale):
    """Step by step: the scale, how far it is from growing, all parameters and their state."""
    rows = []
    for compiled in (False, True):
        params = [ek.tensor([1.0, 2.0], requires_grad=True), ek.tensor(3.0, requires_grad=True)]
        optimizer = COMPILED[name](params)
        scaler = ek.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)

        def step(factor, params=params, optimizer=optimizer, scaler=scaler):
            optimizer.zero_grad()
            scaler.scale((params[0] * params[0]).sum() * params[1] * factor).backward()
            if unscale:
                scaler.unscale_(optimizer)
                ek.optim.clip_grad_norm_(params, 1.0)
            scaler.step(optimizer)
            scaler.update()

        run = ek.compile(step, fullgraph=True) if compiled else step
        found = []
        for factor in (1.0, INF, 1.0, 1.0, float("nan"), 1.0, INF, 1.0, 1.0, 1.0):
            run(ek.tensor(factor))
            state = [t for p in params for t in (p, *optimizer.state[p].values())]
            numbers = scaler.state_dict()
            found.append([numbers["scale"], numbers["_growth_tracker"], *(t.detach().sum().item() for t in state)])
        rows.append(found)
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-5)
    (entry,) = run.entries.values()
    assert len(entry.replays) == 1


def test_a_program_goes_from_update_to_update():
    scaler, optimizer = ready()
    step = ek.compile(lambda: scaler.step(optimizer), fullgraph=True)
    step()
    scaler.update()
    with pytest.raises(TraceError, match="call its update"):
        step()
    scaler.unscale_(optimizer)
    with pytest.raises(TraceError, match="in one compiled function"):
        step()


def test_scaling_keeps_the_form():
    scaler = ek.amp.GradScaler("cpu", init_scale=4.0)
    a, (b, c) = scaler.scale([ek.ones(1), (ek.ones(2), ek.ones(()))])
    assert (a.tolist(), b.tolist(), c.item()) == ([4], [4, 4], 4)
    (d,) = scaler.scale(iter([ek.ones(1)]))
    assert d.item() == 4
    scaler.update(new_scale=2.0)
    assert scaler.get_scale() == 2.0


def test_a_state_goes_on():
    scaler = ek.amp.GradScaler("cpu", init_scale=4.0, growth_interval=7)
    other = ek.amp.GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()
    with pytest.raises(CheckpointError, match="disabled scaler"):
        other.load_state_dict({})


def test_a_closure_passes_where_the_scaler_is_off():
    p = ek.ones(1, requires_grad=True)
    scaler, optimizer = ek.amp.GradScaler("cpu", enabled=False), ek.optim.SGD([p])
    assert scaler.step(optimizer, closure=lambda: 3) == 3
    assert scaler.get_scale() == 1.0
    assert scaler.state_dict() == {}
    assert not scaler.is_enabled()


def ready():
    p = ek.ones(1, requires_grad=True)
    p.grad = ek.ones(1)
    return ek.amp.GradScaler("cpu"), ek.optim.SGD([p])


def twice(name):
    scaler, optimizer = ready()
    getattr(scaler, name)(optimizer)
    getattr(scaler, name)(optimizer)


def stepped_then_unscaled():
    scaler, optimizer = ready()
    scaler.step(optimizer)
    scaler.unscale_(optimizer)


def half():
    p = ek.ones(1, dtype=ek.float16)
    p.grad = p.clone()
    ek.amp.GradScaler("cpu").unscale_(ek.optim.SGD([p]))


WRONG = [
    (lambda: twice("unscale_"), RuntimeError, "already been called"),
    (lambda: twice("step"), RuntimeError, "already been called"),
    (stepped_then_unscaled, RuntimeError, "after step"),
    (half, ValueError, "float16"),
    (lambda: ready()[0].update(), RuntimeError, "no gradients were looked at"),
    (lambda: ready()[0].step(ek.optim.SGD([ek.ones(1)])), RuntimeError, "no parameter"),
    (lambda: ready()[0].step(ready()[1], closure=lambda: 1), RuntimeError, "closure"),
    (lambda: ready()[0].scale(3), ValueError, "iterable of Tensors"),
    (lambda: ek.amp.GradScaler("cpu", growth_factor=1.0), ConfigError, "growth_factor"),
    (lambda: ek.amp.GradScaler("cpu", backoff_factor=1.0), ConfigError, "backoff_factor"),
]


@pytest.mark.parametrize(("do", "error", "message"), WRONG)
def test_what_cannot_be(do, error, message):
    with pytest.raises(error, match=message):
        do()
