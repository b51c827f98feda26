"""A small GAN that makes its own optimizer steps, and the same in a bare loop with the engine alone."""

import numpy as np

from expkit import nn
from expkit.nn import functional as F
from expkit.optim import SGD, Adam
from expkit.optim.schedulers import StepLR
from expkit.tensor import float32, from_numpy, ones, randn, zeros
from expkit.trainer import Task, seed_everything

LATENT = 4


def real(logits):
    return F.binary_cross_entropy_with_logits(logits, ones(logits.shape, dtype=logits.dtype))


def fake(logits):
    return F.binary_cross_entropy_with_logits(logits, zeros(logits.shape, dtype=logits.dtype))


class Adversarial(Task):
    """A generator with Adam, a discriminator with SGD; both with a schedule of steps."""

    def __init__(self, width: int = 8, lr: float = 0.01, clip: float | None = None, spread: float = 1.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(LATENT, width), nn.Tanh(), nn.Linear(width, 4))
        self.critic = nn.Sequential(nn.Linear(4, width), nn.Dropout(0.2), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, z):
        return self.generator(z)

    def training_step(self, batch, batch_idx):
        x = batch[0]
        first, second = self.optimizers()
        self.toggle_optimizer(first)
        made = self(randn(len(x), LATENT, dtype=x.dtype) * self.hparams.spread)
        loss = real(self.critic(made))
        first.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(first, self.hparams.clip)
        first.step()
        self.untoggle_optimizer(first)
        with second.toggle_model():
            truth = real(self.critic(x)) + fake(self.critic(made.detach()))
            second.zero_grad()
            self.manual_backward(truth)
            second.step()
        self.log_dict({"train/generator": loss, "train/critic": truth})
        for schedule in self.lr_schedulers() or []:
            schedule.step()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", fake(self.critic(batch[0])))

    def configure_optimizers(self):
        first, second = Adam(self.generator.parameters(), lr=self.hparams.lr), SGD(self.critic.parameters(), lr=0.1)
        return [first, second], [StepLR(first, 4, 0.5), StepLR(second, 7, 0.5)]


def by_hand(task: Adversarial, data, epochs: int, seed: int) -> None:
    """What the trainer ought to do with `task`, written out without it."""
    [first, second], schedules = task.configure_optimizers()
    seed_everything(seed)
    task.train()
    for _ in range(epochs):
        for x, _ in data:
            made = task.generator(randn(len(x), LATENT))
            first.zero_grad()
            real(task.critic(made)).backward()
            first.step()
            truth = real(task.critic(x)) + fake(task.critic(made.detach()))
            second.zero_grad()
            truth.backward()
            second.step()
            for schedule in schedules:
                schedule.step()


def batches(count: int = 5, size: int = 8):
    rng = np.random.default_rng(0)
    return [(from_numpy(rng.normal(size=(size, 4))).to(float32), None) for _ in range(count)]
