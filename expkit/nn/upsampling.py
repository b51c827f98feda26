"""Upsample: interpolation as a layer; Unfold and Fold: windows as columns."""

from __future__ import annotations

from typing import Any

import expkit.nn.functional as F
from expkit.nn.function_module import FunctionModule, module_of
from expkit.tensor import Tensor


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Tensor:
    """(N, C, *S) -> (N, C, *size): the input brought to a size, or to `scale_factor` times its own."""
    return F.interpolate(input, size, scale_factor, mode, align_corners, recompute_scale_factor)


class _Upsample(FunctionModule):
    """scale_factor is kept as floats, as PyTorch keeps it."""

    size: Any
    scale_factor: Any
    mode: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        scale = self.scale_factor
        if scale is not None:
            self.scale_factor = tuple(map(float, scale)) if isinstance(scale, list | tuple) else float(scale)

    def extra_repr(self) -> str:
        by = f"size={self.size!r}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        mode = self.__dict__.get("mode") or ("nearest" if "nearest" in type(self).function.__name__ else "bilinear")
        return f"{by}, mode={mode!r}"


Upsample = module_of("Upsample", interpolate, __name__, _Upsample)


UpsamplingNearest2d = module_of("UpsamplingNearest2d", F.upsample_nearest, __name__, _Upsample)
UpsamplingBilinear2d = module_of("UpsamplingBilinear2d", F.upsample_bilinear, __name__, _Upsample)
Unfold = module_of("Unfold", F.unfold, __name__)
Fold = module_of("Fold", F.fold, __name__)
