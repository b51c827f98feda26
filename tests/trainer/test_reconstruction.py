"""ReconstructionTask: what is minimised and logged, of autoencoders and of variational ones."""

import math

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.data import DataLoader, TensorDataset
from expkit.errors import ConfigError
from expkit.nn.models import VAE, Autoencoder
from expkit.optim import Adam
from expkit.trainer.metrics import make_metrics
from expkit.trainer.tasks import ReconstructionTask


def data(count=24, targets=True):
    x = ek.randn(count, 6, generator=ek.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, ek.zeros(count).long()) if targets else x, batch_size=10)


@pytest.mark.parametrize("targets", [True, False])
def test_an_autoencoder_has_its_input_as_the_target(trainer, targets):
    ek.manual_seed(0)
    task = ReconstructionTask(
        Autoencoder((6,), 3, [8]), metrics=make_metrics(["mae", "mse"], "reconstruction"), optimizer=None
    )
    ours = trainer(max_epochs=2)
    ours.fit(task, data(targets=targets), data(targets=targets))
    [found] = ours.validate(task, data(targets=targets), verbose=False)
    x = np.concatenate([(batch[0] if targets else batch).numpy() for batch in data(targets=targets)])
    error = task.model(ek.tensor(x)).detach().numpy() - x
    assert found["val/loss"] == pytest.approx((error**2).mean(), rel=1e-5)
    assert found["val/mse"] == pytest.approx((error**2).mean(), rel=1e-5)
    assert found["val/mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert ours.predict(task, data(targets=targets))[0].shape == (10, 6)


def test_a_variational_one_adds_the_divergence(trainer):
    ek.manual_seed(0)
    task = ReconstructionTask(VAE((6,), 2, [8]), beta=0.5)
    ours = trainer(max_epochs=1)
    ours.fit(task, data(), data())
    [found] = ours.validate(task, data(), verbose=False)
    x = np.concatenate([batch[0].numpy() for batch in data()])
    mean, log_var = (part.detach().numpy().astype(np.float64) for part in task.model.encode(ek.tensor(x)))
    error = task.model.decode(ek.tensor(mean.astype(np.float32))).detach().numpy() - x
    kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(1).mean()
    assert found["val/recon"] == pytest.approx((error**2).mean(), rel=1e-5)
    assert found["val/kl"] == pytest.approx(kl, rel=1e-4)
    assert found["val/loss"] == pytest.approx((error**2).mean() + 0.5 * kl / 6, rel=1e-5)
    assert {"train/loss", "train/recon", "train/kl"} <= set(ours.callback_metrics)


def test_a_linear_vae_finds_the_posterior_of_probabilistic_pca(trainer):
    """Samples on a line: the posterior's variance is σ² / λ, with σ² = 1/2 and the variance λ along the line."""
    ek.manual_seed(0)
    direction = np.array([[1, -1, 2, 0, 1, -2]], np.float32)
    along = np.random.default_rng(0).normal(size=(256, 1)).astype(np.float32)
    x = (along - along.mean()) @ direction
    loader = DataLoader(TensorDataset(ek.tensor(x), ek.zeros(256).long()), batch_size=16)
    task = ReconstructionTask(VAE((6,), 1, []), optimizer=lambda parameters: Adam(parameters, lr=0.02))
    trainer(max_epochs=60, enable_checkpointing=False).fit(task, loader)
    mean, log_var = task.model.encode(ek.tensor(x))
    expected = 0.5 / (11 * along.var())
    assert math.log(expected) == pytest.approx(log_var.detach().numpy().mean(), abs=0.25)
    assert mean.detach().numpy().var() == pytest.approx(1 - expected, abs=0.1)


def test_any_module_and_loss(trainer):
    """Binary cross-entropy of images in [0, 1], of a plain module."""
    x = (ek.rand(16, 5) > 0.5).float()
    task = ReconstructionTask(nn.Linear(5, 5), nn.BCEWithLogitsLoss())
    trainer(max_epochs=1).fit(task, DataLoader(TensorDataset(x, x), batch_size=8))


def test_a_negative_beta_is_refused():
    with pytest.raises(ConfigError, match=r"beta=-1"):
        ReconstructionTask(VAE((6,)), beta=-1)
