"""Made-up data of any size: for trying things out, and for tests."""

from typing import Literal

import numpy as np

from expkit.data.arrays import ArrayData, Part, Source
from expkit.data.header import Header
from expkit.data.order import seeded
from expkit.errors import ConfigError
from expkit.registry import register
from expkit.tensor import Generator, randn


@register("data", "synthetic")
class Synthetic(ArrayData):
    """Made-up data: a Gaussian cloud for each class, or a smooth nonlinear function of the inputs.

    shape: of one sample. separation: distance of the class centres from each other, in deviations of a cloud.
    noise: deviation added to the regression's targets (which have about 1), or the share of classes drawn by chance.
    num_targets is the regression's, num_classes and separation are the classification's.
    """

    def __init__(
        self,
        task: Literal["classification", "regression"] = "classification",
        num_samples: int = 1000,
        shape: tuple[int, ...] = (20,),
        num_classes: int = 3,
        num_targets: int = 1,
        separation: float = 4.0,
        noise: float = 0.0,
        batch_size: int = 64,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        seed: int = 42,
        normalize: bool = True,
        drop_last: bool = False,
    ) -> None:
        self.num_samples, self.shape, self.noise, self.separation = num_samples, tuple(shape), noise, separation
        self.kind, self.outputs = task, num_classes if task == "classification" else num_targets
        _need(task in ("classification", "regression"), f"task={task!r}: 'classification' or 'regression'")
        _need(all(size > 0 for size in self.shape) and self.shape, f"shape={list(shape)}: sizes above zero")
        _need(task == "regression" or num_classes >= 2, f"num_classes={num_classes}: at least 2")
        _need(self.outputs >= 1, f"num_targets={num_targets}: at least 1")
        _need(num_samples >= self.outputs, f"num_samples={num_samples}: at least {self.outputs}")
        _need(noise >= 0 and (task == "regression" or noise <= 1), f"noise={noise}: from 0, to 1 for classes")
        self.generator = seeded(seed, num_samples)
        super().__init__(batch_size, val_fraction, test_fraction, seed, normalize, drop_last)

    def read(self) -> Source:
        classify = self.kind == "classification"
        data = self._clouds() if classify else self._function()
        data = Part(data.x.reshape(-1, *self.shape), data.y)
        return Source(data, self.kind, self._names())

    def describe(self) -> Header:
        return Header(self.num_samples, self.shape, self.kind, self.outputs, self._names())

    def _names(self) -> list[str] | None:
        return [f"class_{number}" for number in range(self.outputs)] if self.kind == "classification" else None

    def _clouds(self) -> Part:
        size = int(np.prod(self.shape))
        # Two random centres are √(2 size) apart on average, whatever the dimension.
        centres = _normal(self.generator, self.outputs, size) * (self.separation / np.sqrt(2 * size))
        classes = np.arange(self.num_samples) % self.outputs
        x = centres[classes] + _normal(self.generator, self.num_samples, size)
        chance = np.arange(self.num_samples) < round(self.noise * self.num_samples)
        drawn = np.abs(_normal(self.generator, self.num_samples, 1)[:, 0] * 1e6).astype(np.int64) % self.outputs
        return Part(x, np.where(_shuffled(chance, self.generator), drawn, classes))

    def _function(self) -> Part:
        size = int(np.prod(self.shape))
        x = _normal(self.generator, self.num_samples, size)
        hidden = np.tanh(x @ _normal(self.generator, size, 16) / np.sqrt(size))
        y = hidden @ _normal(self.generator, 16, self.outputs) / np.sqrt(16 * 0.39)  # the mean of tanh² is 0.39
        return Part(x, y + self.noise * _normal(self.generator, self.num_samples, self.outputs))


def _normal(generator: Generator, *shape: int) -> np.ndarray:
    return randn(*shape, generator=generator).numpy().astype(np.float64)


def _shuffled(values: np.ndarray, generator: Generator) -> np.ndarray:
    return values[np.argsort(_normal(generator, len(values)), kind="stable")]


def _need(fits: object, text: str) -> None:
    if not fits:
        raise ConfigError(f"data 'synthetic': {text}.")
