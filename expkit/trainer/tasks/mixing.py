"""mixup and CutMix: batches whose samples, and targets, are mixtures of two."""

from dataclasses import dataclass

import numpy as np

from expkit.errors import ConfigError, ShapeError
from expkit.nn import functional as F
from expkit.tensor import Tensor, from_numpy, no_grad


@dataclass(frozen=True)
class Mixing:
    """What share of batches is mixed, and how; random numbers come from NumPy's generator.

    mixup_alpha: λx + (1 - λ)x', with λ from Beta(α, α). Zhang et al., arXiv:1710.09412.
    cutmix_alpha: a box of x' of the area 1 - λ in x; images (N, C, H, W). Yun et al., arXiv:1905.04899.
    prob: of mixing a batch at all. switch_prob: of CutMix where both are on.

    Targets are mixed alike: classes (N,) become probabilities (N, num_classes).
    """

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    prob: float = 1.0
    switch_prob: float = 0.5

    def __post_init__(self) -> None:
        for name in ("mixup_alpha", "cutmix_alpha"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: expected 0 (off) or more, e.g. 0.2.")
        for name, value in (("mix_prob", self.prob), ("switch_prob", self.switch_prob)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name}={value}: expected a share from 0 to 1.")

    @property
    def on(self) -> bool:
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def __call__(self, x: Tensor, y: Tensor, num_classes: int | None) -> tuple[Tensor, Tensor]:
        """A batch (x, y) mixed with itself in another order; y as probabilities if there are classes, mixed or not."""
        rng = np.random  # the global generator: its state is part of checkpoints
        with no_grad():
            if num_classes is not None:
                y = F.one_hot(y, num_classes).to(x.dtype)
            if rng.random() >= self.prob:
                return x, y
            order = from_numpy(rng.permutation(len(x))).to(x.device)
            cut = self.cutmix_alpha > 0 and (self.mixup_alpha == 0 or rng.random() < self.switch_prob)
            alpha = self.cutmix_alpha if cut else self.mixup_alpha
            share = float(rng.beta(alpha, alpha))
            if cut:
                x, share = _cut(x, x[order], share)
            else:
                x = x * share + x[order] * (1 - share)
            return x, y * share + y[order] * (1 - share)


def _cut(x: Tensor, other: Tensor, share: float) -> tuple[Tensor, float]:
    """(x with a box of `other` in it, the share of x's area that is left: a box at the border is smaller)"""
    if x.ndim != 4:
        raise ShapeError(f"cutmix_alpha is for images (N, C, H, W), got inputs {tuple(x.shape)}: use mixup_alpha.")
    height, width = x.shape[2:]
    edge = np.sqrt(1 - share)
    top, bottom = _span(height, edge)
    left, right = _span(width, edge)
    mixed = x.clone()
    mixed[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _span(size: int, edge: float) -> tuple[int, int]:
    """A random interval of about `edge` of `size`, cut off at the borders."""
    middle, half = int(np.random.randint(size)), int(size * edge) // 2  # noqa: NPY002
    return max(0, middle - half), min(size, middle + half)


def hardest(target: Tensor) -> Tensor:
    """The likeliest class of targets that are probabilities (N, C); other targets as they are."""
    return target.argmax(1) if target.ndim == 2 and target.is_floating_point() else target
