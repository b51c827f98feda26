"""Made-up images for segmentation: circles, squares and triangles, and which of them each pixel belongs to."""

import numpy as np

from expkit.data.arrays import ArrayData, Part, Source
from expkit.data.header import Header
from expkit.data.order import seeded
from expkit.errors import ConfigError, did_you_mean
from expkit.registry import register
from expkit.tensor import rand, randn

# Kind -> whether a pixel at (dx, dy) from the centre belongs to a figure of radius r; y points downwards.
FIGURES = {
    "circle": lambda dx, dy, r: dx**2 + dy**2 <= r**2,
    "square": lambda dx, dy, r: np.maximum(abs(dx), abs(dy)) <= r,
    "triangle": lambda dx, dy, r: (abs(dx) <= (dy + r) / 2) & (dy <= r),
}


@register("data", "shapes")
class Shapes(ArrayData):
    """Grey images (1, size, size) of figures that may overlap, and the class of each pixel: 0 is the background.

    figures: the kinds that are drawn, of which each is a class. max_figures: in an image, at least one. The brightness
    of a figure is drawn from [0.5, 1], so that it says nothing of the class. noise: deviation, added to every pixel.
    The images hang on seed and the arguments alone.
    """

    def __init__(
        self,
        num_samples: int = 1000,
        size: int = 32,
        figures: tuple[str, ...] = ("circle", "square", "triangle"),
        max_figures: int = 3,
        noise: float = 0.1,
        batch_size: int = 32,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        seed: int = 42,
        normalize: bool = True,
        drop_last: bool = False,
    ) -> None:
        self.num_samples, self.size, self.figures = num_samples, size, tuple(figures)
        self.max_figures, self.noise = max_figures, noise
        for key, least in {"num_samples": 1, "size": 8, "max_figures": 1, "noise": 0}.items():
            if getattr(self, key) < least:
                raise ConfigError(f"data 'shapes': {key}={getattr(self, key)}: at least {least}.")
        for figure in self.figures:
            if figure not in FIGURES:
                raise ConfigError(
                    f"data 'shapes': figures: there is no {figure!r}.{did_you_mean(figure, FIGURES)} "
                    f"Legal: {', '.join(FIGURES)}."
                )
        if not self.figures:
            raise ConfigError(f"data 'shapes': figures is empty: name some of {', '.join(FIGURES)}.")
        self.generator = seeded(seed, num_samples, size)
        super().__init__(batch_size, val_fraction, test_fraction, seed, normalize, drop_last)

    def read(self) -> Source:
        return Source(self._draw(), "segmentation", self._names())

    def describe(self) -> Header:
        shape = (1, self.size, self.size)
        return Header(self.num_samples, shape, "segmentation", len(self._names()), self._names())

    def _names(self) -> list[str]:
        return ["background", *self.figures]

    def _draw(self) -> Part:
        """All images at once: a first figure in each, a second one in those that have it, and so on."""
        n, size = self.num_samples, self.size
        images, classes = np.zeros((n, size, size)), np.zeros((n, size, size), np.int64)
        y, x = np.mgrid[:size, :size]
        counts = self._uniform(1, self.max_figures + 1).astype(np.int64)
        for place in range(self.max_figures):
            kinds = self._uniform(0, len(self.figures)).astype(np.int64)
            radius = self._uniform(size / 10, size / 5)
            dx, dy = (grid - self._uniform(size / 8, size * 7 / 8)[:, None, None] for grid in (x, y))
            brightness = self._uniform(0.5, 1.0)
            for kind, figure in enumerate(self.figures):
                drawn = ((kinds == kind) & (place < counts))[:, None, None]
                inside = drawn & FIGURES[figure](dx, dy, radius[:, None, None])
                classes[inside] = kind + 1
                images = np.where(inside, brightness[:, None, None], images)
        noise = randn(n, size, size, generator=self.generator).numpy()
        return Part((images + self.noise * noise)[:, None].astype(np.float32), classes)

    def _uniform(self, low: float, high: float) -> np.ndarray:
        """A number for each image, from `low` to below `high`."""
        return low + (high - low) * rand(self.num_samples, generator=self.generator).numpy().astype(np.float64)
