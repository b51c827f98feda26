"""Images cut into square patches, each mapped to a vector: how vit and mlp_mixer see them."""

from __future__ import annotations

from math import gcd

from expkit.errors import ConfigError
from expkit.nn.models.parts import size

LARGEST, FEWEST = 16, 7  # pixels of a patch's side; patches along the shorter side of the image


def patch_size(image: tuple[int, int], given: int | None) -> int:
    """Height and width of the patches of an image (height, width): `given`, if the image divides into such.

    None: the largest of at most 16 pixels that leaves 7 patches or more along the shorter side (16 for 224 pixels,
    4 for 32 and for 28), or else the smallest (2 for 8); patches of one pixel only where no others fit.
    ConfigError for a size that does not divide the image.
    """
    common = gcd(*image)
    fitting = [side for side in range(1, common + 1) if common % side == 0]
    if given is None:
        likely = [side for side in fitting if 1 < side <= LARGEST and side < min(image)] or [1]
        return max((side for side in likely if min(image) // side >= FEWEST), default=likely[0])
    if size("model.patch_size", given) not in fitting:
        raise ConfigError(
            f"model.patch_size={given} does not divide images of {image[0]}x{image[1]} pixels. "
            f"These sizes do: {', '.join(map(str, fitting))}; null takes {patch_size(image, None)}."
        )
    return given
