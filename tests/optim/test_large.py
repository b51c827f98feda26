"""Lion and LAMB against their formulas in NumPy, Muon against PyTorch's and against the orthogonal factor."""

import numpy as np
import pytest

import expkit as ek
from expkit.errors import ConfigError
from expkit.optim.large import orthogonal
from expkit.registry import build

RNG = np.random.default_rng(5)
START = [RNG.normal(size=(3, 4)), RNG.normal(size=(5,))]
GRADS = [[RNG.normal(size=p.shape) for p in START] for _ in range(6)]


def lion(p, g, s, t, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
    m = s.setdefault("m", np.zeros_like(p))
    out = p * (1 - lr * weight_decay) - lr * np.sign(betas[0] * m + (1 - betas[0]) * g)
    s["m"] = betas[1] * m + (1 - betas[1]) * g
    return out


def lamb(p, g, s, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0):
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    r = s["m"] / (1 - betas[0] ** t) / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps) + weight_decay * p
    return p - lr * np.linalg.norm(p) / np.linalg.norm(r) * r


ROWS = [
    ("lion", lion, {}),
    ("lion", lion, {"lr": 0.1, "betas": (0.5, 0.8), "weight_decay": 0.3}),
    ("lamb", lamb, {}),
    ("lamb", lamb, {"lr": 0.1, "betas": (0.5, 0.8), "eps": 1e-2, "weight_decay": 0.3}),
]


def trained(name, options, grads=GRADS, start=START, sign=1.0):
    params = [ek.tensor(p, dtype=ek.float64, requires_grad=True) for p in start]
    optimizer = build("optim", {"name": name, **options}, params)
    for step in grads:
        for p, g in zip(params, step, strict=True):
            p.grad = ek.tensor(sign * g, dtype=ek.float64)
        optimizer.step()
    return [p.detach().numpy() for p in params]


@pytest.mark.parametrize(("name", "formula", "options"), ROWS)
def test_steps_follow_the_formula(name, formula, options):
    expected, states = [p.copy() for p in START], [{} for _ in START]
    for t, step in enumerate(GRADS, 1):
        expected = [formula(p, g, s, t, **options) for p, g, s in zip(expected, step, states, strict=True)]
    for a, b in zip(trained(name, options), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    for a, b in zip(trained(name, {**options, "maximize": True}, sign=-1.0), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_lamb_leaves_a_tensor_of_zeros_free_to_move():
    moved = trained("lamb", {"lr": 0.1}, [[np.ones(3)]], [np.zeros(3)])
    np.testing.assert_allclose(moved[0], -0.1, rtol=1e-4)


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3)])
def test_the_iteration_brings_singular_values_near_one(shape):
    x = ek.tensor(RNG.normal(size=shape), dtype=ek.float64)
    s = np.linalg.svd(orthogonal(x, (3.4445, -4.775, 2.0315), 5, 1e-7).numpy(), compute_uv=False)
    assert (s > 0.5).all()
    assert (s < 1.3).all()


@pytest.mark.torch
@pytest.mark.parametrize(
    "options",
    [{}, {"lr": 0.1, "momentum": 0.5, "nesterov": False, "weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}],
)
def test_muon_steps_as_pytorchs_within_its_bfloat16(torch, options):
    start, grads = [RNG.normal(size=(6, 9))], [[RNG.normal(size=(6, 9))] for _ in range(4)]
    p = torch.tensor(start[0], requires_grad=True)
    theirs = torch.optim.Muon([p], **options)
    for (g,) in grads:
        p.grad = torch.tensor(g)
        theirs.step()
    (mine,) = trained("muon", options, grads, start)
    moved = np.abs(p.detach().numpy() - start[0]).max()
    np.testing.assert_allclose(mine, p.detach().numpy(), atol=0.03 * moved)


@pytest.mark.torch
@pytest.mark.parametrize(
    "options",
    [{}, {"lr": 0.1, "beta2_decay": -0.5, "d": 1.5}, {"eps": (1e-4, 0.1), "weight_decay": 0.3, "maximize": True}],
)
def test_adafactor_steps_and_state_as_pytorchs(torch, options):
    shapes = [(6, 9), (5,), (2, 3, 4), ()]
    start, grads = [RNG.normal(size=s) for s in shapes], [[RNG.normal(size=s) for s in shapes] for _ in range(6)]
    theirs = [torch.tensor(p, requires_grad=True) for p in start]
    reference = torch.optim.Adafactor(theirs, **options)
    for step in grads:
        for p, g in zip(theirs, step, strict=True):
            p.grad = torch.tensor(g)
        reference.step()
    params = [ek.tensor(p, dtype=ek.float64, requires_grad=True) for p in start]
    optimizer = ek.optim.Adafactor(params, **options)
    for number, step in enumerate(grads):
        for p, g in zip(params, step, strict=True):
            p.grad = ek.tensor(g, dtype=ek.float64)
        optimizer.step()
        if number == 2:  # a state that is saved and loaded goes on
            saved, optimizer = optimizer.state_dict(), ek.optim.Adafactor(params, **options)
            optimizer.load_state_dict(saved)
    for a, b in zip(params, theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-11)
    kept = [{n: set(state) for n, state in o.state_dict()["state"].items()} for o in (optimizer, reference)]
    assert kept[0] == kept[1]


def test_muon_takes_matrices_only():
    with pytest.raises(ConfigError, match="only matrices"):
        build("optim", {"name": "muon"}, [ek.zeros(3, requires_grad=True)])
    with pytest.raises(ConfigError, match="adjust_lr_fn"):
        ek.optim.Muon([ek.zeros(3, 2, requires_grad=True)], adjust_lr_fn="rms")
