"""Transforms of whole arrays of samples."""

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Standardize:
    """(x - mean) / std, with `mean` and `std` fitted on the training samples alone.

    Samples that are vectors have one mean per feature, images (channels, height, width, ...) one per channel, matrices
    a single one. What does not vary is only shifted.
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray) -> Self:
        """For samples x (n, ...)."""
        axes = {2: (0,), 3: (0, 1, 2)}.get(x.ndim, (0, *range(2, x.ndim)))
        wide = x.astype(np.float64, copy=False)
        mean, std = wide.mean(axis=axes, keepdims=True)[0], wide.std(axis=axes, keepdims=True)[0]
        # Rounding leaves a constant column with a tiny deviation, by which it must not be blown up.
        return cls(mean, np.where(std > 1e-12 * np.maximum(1.0, np.abs(mean)), std, 1.0))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Standardised samples, float32."""
        return ((x - self.mean) / self.std).astype(np.float32)

    def inverse(self, x: np.ndarray) -> np.ndarray:
        """The values in their own units again, float32."""
        return (x * self.std + self.mean).astype(np.float32)
