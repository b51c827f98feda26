"""How much a network that was made for photographs shrinks the image in its first layers.

"large" quarters it, as in the paper: height and width come down to a 32nd in all. "small" leaves it as it is, as is
usual for images like CIFAR's: an 8th in all. "auto" is large from LARGE pixels on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from expkit.nn.models.parts import choice

Stem = Literal["auto", "large", "small"]
STEMS = ("auto", "large", "small")
LARGE = 64  # pixels of the shorter side


def halves_at_once(stem: Stem, input_shape: Iterable[int]) -> bool:
    """Whether the first layers shrink images (channels, height, width). ConfigError for an unknown `stem`."""
    if choice("model.stem", stem, STEMS) == "auto":
        return min(tuple(input_shape)[1:], default=0) >= LARGE
    return stem == "large"
