"""Compiled steps on the stand-in for a GPU are what they are on the CPU."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import nn
from tests.structure.test_fake_device import cuda, transfers  # noqa: F401  (a fixture)

MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3)), (5, 6)),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
        ),
        (4, 2, 6, 6),
    ),
}
OPTIMIZERS = {"adamw": lambda p: ek.optim.AdamW(p, lr=1e-2), "sgd": lambda p: ek.optim.SGD(p, lr=0.1, momentum=0.9)}


def trained(model, optimizer, x, y, steps=5):
    optimizer = OPTIMIZERS[optimizer](model.parameters())

    @ek.compile(fullgraph=True)
    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    losses = [step() for _ in range(steps)]
    return [*losses, *(p.detach() for p in model.parameters()), *(p.grad for p in model.parameters()), *model.buffers()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_training_steps(name, optimizer, cuda):  # noqa: F811
    make, shape = MODELS[name]
    here = make().double()
    there = copy.deepcopy(here).to(cuda)
    x, y = ek.randn(*shape, dtype=ek.float64), ek.arange(shape[0]) % 3
    moved = x.to(cuda), y.to(cuda)
    with transfers() if optimizer == "sgd" else nullcontext():  # Adam's counters are on the CPU, as PyTorch's
        got = trained(there, optimizer, *moved)
    for a, b in zip(got, trained(here, optimizer, x, y), strict=True):
        np.testing.assert_allclose(a.cpu().numpy(), b.numpy(), rtol=1e-4, atol=1e-6)
