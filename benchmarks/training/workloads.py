"""The workloads as data: which model in which size, on which batch, with which loss and optimizer.

Nothing here knows a library: `models.py` builds the models in expkit and PyTorch, `jax_models.py` in JAX. The six
reference workloads come first; the others are made of the same kinds of layers, in other architectures and odd sizes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Normal:
    """float32 from the standard normal distribution."""

    shape: tuple[int, ...]

    def __call__(self, random: np.random.Generator) -> np.ndarray:
        return random.standard_normal(self.shape, dtype=np.float32)


@dataclass(frozen=True)
class Integers:
    """int64 from 0 to below `end`: tokens or classes."""

    end: int
    shape: tuple[int, ...]

    def __call__(self, random: np.random.Generator) -> np.ndarray:
        return random.integers(self.end, size=self.shape)


@dataclass(frozen=True)
class Workload:
    """One row: `model` names a builder that takes `sizes`; images are (batch, channels, height, width)."""

    what: str
    model: str
    sizes: Mapping[str, Any]
    x: Normal | Integers
    y: Normal | Integers
    optimizer: str
    loss: str = "cross_entropy"

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """The batch that every step sees, the same in all libraries."""
        random = np.random.default_rng(0)
        return self.x(random), self.y(random)

    @property
    def images(self) -> bool:
        return len(self.x.shape) == 4


def images(batch: int, side: int, channels: int = 3) -> Normal:
    return Normal((batch, channels, side, side))


def classes(batch: int, end: int = 10) -> Integers:
    return Integers(end, (batch,))


def tokens(end: int, batch: int, length: int) -> Integers:
    return Integers(end, (batch, length))


REFERENCE: dict[str, Workload] = {
    "mlp_small": Workload(
        "64-256-256-10, batch 64, Adam",
        "mlp", {"sizes": (64, 256, 256, 10)}, Normal((64, 64)), classes(64), "adam"),
    "mlp_mnist": Workload(
        "784-1024-1024-10, batch 128, SGD momentum",
        "mlp", {"sizes": (784, 1024, 1024, 10)}, Normal((128, 784)), classes(128), "sgd"),
    "resnet20": Workload(
        "3 blocks each of 16/32/64, 32x32, batch 64, SGD momentum",
        "resnet", {"blocks": 3, "widths": (16, 32, 64)}, images(64, 32), classes(64), "sgd"),
    "resnet_wide": Workload(
        "1 block each of 64/128/256, 32x32, batch 32, SGD momentum",
        "resnet", {"blocks": 1, "widths": (64, 128, 256)}, images(32, 32), classes(32), "sgd"),
    "gpt_mini": Workload(
        "4 layers, d 256, 8 heads, T 128, batch 16, AdamW",
        "gpt", {"vocabulary": 256, "length": 128, "width": 256, "heads": 8, "layers": 4},
        tokens(256, 16, 128), tokens(256, 16, 128), "adamw"),
    "lstm": Workload(
        "64 to 256, T 64, batch 32, Adam",
        "recurrent", {"kind": "LSTM", "features": 64, "width": 256}, Normal((32, 64, 64)), classes(32), "adam"),
}  # fmt: skip
OTHERS: dict[str, Workload] = {
    "mlp_norm": Workload(
        "300-512-512-512-20, layer norm, GELU, dropout, batch 100, AdamW",
        "mlp", {"sizes": (300, 512, 512, 512, 20), "activation": "GELU", "norm": True, "dropout": 0.1},
        Normal((100, 300)), classes(100, 20), "adamw"),
    "mlp_odd": Workload(
        "101-333-77-7, tanh, batch 77, RMSprop",
        "mlp", {"sizes": (101, 333, 77, 7), "activation": "Tanh"}, Normal((77, 101)), classes(77, 7), "rmsprop"),
    "vgg": Workload(
        "conv 3x3 of 32/64/128 with max pools, 32x32, batch 50, SGD momentum",
        "vgg", {"widths": (32, 64, 128), "side": 32}, images(50, 32), classes(50), "sgd"),
    "resnet_deep": Workload(
        "bottlenecks of 32/64/128, stem 7x7 and pool, 64x64, batch 20, SGD momentum",
        "bottlenecks", {"blocks": 2, "widths": (32, 64, 128)}, images(20, 64), classes(20), "sgd"),
    "mobilenet": Workload(
        "depthwise separable 32 to 256, ReLU6, 32x32, batch 24, SGD momentum",
        "mobilenet", {"stages": ((32, 1), (64, 2), (128, 1), (128, 2), (256, 1))}, images(24, 32), classes(24), "sgd"),
    "convnext": Workload(
        "7x7 depthwise, layer norm, GELU, 4 blocks of 96, 64x64, batch 12, AdamW",
        "convnext", {"width": 96, "blocks": 4}, images(12, 64), classes(12), "adamw"),
    "autoencoder": Workload(
        "conv stride 2 to 24/48, transposed back, 28x28, batch 60, mean square, Adam",
        "autoencoder", {"widths": (24, 48)}, images(60, 28, 1), images(60, 28, 1), "adam", loss="mse_loss"),
    "vit": Workload(
        "patches 4x4, 3 layers, d 128, 4 heads, 32x32, batch 24, AdamW",
        "vit", {"side": 32, "patch": 4, "width": 128, "heads": 4, "layers": 3}, images(24, 32), classes(24), "adamw"),
    "encoder": Workload(
        "attention both ways, 2 layers, d 128, 4 heads, T 60, batch 40, AdamW",
        "encoder", {"vocabulary": 2000, "length": 60, "width": 128, "heads": 4, "layers": 2, "classes": 5},
        tokens(2000, 40, 60), classes(40, 5), "adamw"),
    "gpt_large": Workload(
        "6 layers, d 384, 6 heads, T 192, batch 4, AdamW",
        "gpt", {"vocabulary": 512, "length": 192, "width": 384, "heads": 6, "layers": 6},
        tokens(512, 4, 192), tokens(512, 4, 192), "adamw"),
    "gpt_odd": Workload(
        "3 layers, d 192, 6 heads, T 100, vocabulary 1000, batch 7, AdamW",
        "gpt", {"vocabulary": 1000, "length": 100, "width": 192, "heads": 6, "layers": 3},
        tokens(1000, 7, 100), tokens(1000, 7, 100), "adamw"),
    "gru": Workload(
        "40 to 200, T 50, batch 30, Adam",
        "recurrent", {"kind": "GRU", "features": 40, "width": 200}, Normal((30, 50, 40)), classes(30), "adam"),
    "lstm_deep": Workload(
        "2 layers, 48 to 128, T 40, batch 17, Adam",
        "recurrent", {"kind": "LSTM", "features": 48, "width": 128, "layers": 2},
        Normal((17, 40, 48)), classes(17), "adam"),
    "bag_of_words": Workload(
        "mean of 80 embeddings of 5000 x 100, 100-64-4, batch 96, Adam",
        "bag_of_words", {"vocabulary": 5000, "width": 100, "hidden": 64, "classes": 4},
        tokens(5000, 96, 80), classes(96, 4), "adam"),
}  # fmt: skip
WORKLOADS = REFERENCE | OTHERS
